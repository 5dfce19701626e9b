
/*
 * XML of requests: DeleteObjects, CompleteMultipartUpload, CreateBucket.
 * What is read is within the bounds its header names, however the bytes come,
 * and the answer is about as large as was foreseen.
 *
 *     input = kind, bytes at a time, document
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_bucket.h"
#include "s3_delete.h"
#include "s3_complete.h"
#include "s3_target.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int ok)
{
    if (!ok) {
        abort();
    }
}


static void
fuzz_delete(ngx_pool_t *pool, ngx_chain_t *in)
{
    size_t               size, most;
    ngx_uint_t           i;
    s3_delete_t          request;
    s3_failure_t         fail;
    s3_delete_object_t  *object;

    ngx_memzero(&fail, sizeof(s3_failure_t));

    if (s3_delete_read(pool, in, &request, &fail) != S3_OK) {
        fuzz_check(fail.error != S3_OK);
        return;
    }

    fuzz_check(request.objects.nelts >= 1
               && request.objects.nelts <= S3_DELETE_MAX);

    object = request.objects.elts;

    for (i = 0; i < request.objects.nelts; i++) {
        fuzz_check(object[i].key.len && s3_utf8_valid(&object[i].key));
        fuzz_check(object[i].key.len <= S3_KEY_MAX
                   || object[i].error != S3_OK);
    }

    /* what an error adds to each, and the document's frame */

    most = s3_delete_answer_size(&request) + 256 * (i + 1);

    fuzz_check(s3_delete_write(pool, &request, &size) != NULL);
    fuzz_check(size <= most);
}


static void
fuzz_complete(ngx_pool_t *pool, ngx_chain_t *in)
{
    s3_error_e           rc;
    ngx_uint_t           i;
    s3_failure_t         fail;
    s3_complete_t        c;
    s3_complete_part_t  *part;

    ngx_memzero(&fail, sizeof(s3_failure_t));

    rc = s3_complete_begin(&c, pool, &fail);

    for ( /* void */ ; in && rc == S3_OK; in = in->next) {
        rc = s3_complete_feed(&c, in->buf->pos, in->buf->last - in->buf->pos);
    }

    if (rc == S3_OK) {
        rc = s3_complete_end(&c);
    }

    if (rc != S3_OK) {
        fuzz_check(fail.error == rc);
        return;
    }

    fuzz_check(c.parts.nelts >= 1 && c.parts.nelts <= S3_PART_NUMBER_MAX);

    part = c.parts.elts;

    for (i = 0; i < c.parts.nelts; i++) {
        fuzz_check(part[i].number >= 1);
        fuzz_check(i == 0 || c.disordered
                   || part[i].number > part[i - 1].number);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char        *p, *last;
    size_t         piece;
    ngx_buf_t     *b;
    ngx_str_t      region;
    ngx_pool_t    *pool;
    ngx_chain_t   *in, **next, *cl;
    s3_failure_t   fail;

    if (size < 2) {
        return 0;
    }

    pool = s3_test_pool();
    piece = data[1] ? data[1] : 65536;
    in = NULL;
    next = &in;

    p = ngx_pnalloc(pool, size);
    ngx_memcpy(p, data, size);
    last = p + size;

    for (p += 2; p < last; p = b->last) {
        b = ngx_calloc_buf(pool);
        cl = ngx_alloc_chain_link(pool);

        b->pos = p;
        b->last = p + ngx_min(piece, (size_t) (last - p));
        b->memory = 1;

        cl->buf = b;
        cl->next = NULL;
        *next = cl;
        next = &cl->next;
    }

    switch (data[0] & 3) {

    case 0:
        fuzz_delete(pool, in);
        break;

    case 1:
        fuzz_complete(pool, in);
        break;

    default:
        ngx_memzero(&fail, sizeof(s3_failure_t));
        ngx_str_set(&region, "us-east-1");
        (void) s3_bucket_configuration_read(pool, in, &region, &fail);
        break;
    }

    s3_test_pool_free(pool);

    return 0;
}
