
/*
 * The request target and its query: parsing, the operation, list parameters,
 * hoisted headers, the presigned form.  What comes out is checked: a key is
 * UTF-8 and within bounds, a canonical query is a fixed point.
 *
 *     input = method SP target
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_list.h"
#include "s3_metadata.h"
#include "s3_operation.h"
#include "s3_sigv4.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
fuzz_check(int ok)
{
    if (!ok) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                  len;
    u_char                 *p, *space;
    ngx_int_t               rc;
    ngx_str_t               method, raw, blob, one, two, xml;
    ngx_str_t               mount = ngx_string("/storage/");
    s3_auth_t               auth;
    ngx_pool_t             *pool;
    ngx_uint_t              nreal;
    ngx_array_t            *headers;
    ngx_chain_t            *cl;
    s3_target_t             t;
    s3_failure_t            fail;
    s3_list_params_t        list;
    s3_auth_request_t       ar;
    s3_list_buckets_t       buckets;
    const s3_operation_t   *op;

    pool = s3_test_pool();

    p = ngx_pnalloc(pool, size ? size : 1);
    ngx_memcpy(p, data, size);

    space = ngx_strlchr(p, p + size, ' ');

    method.data = p;
    method.len = space ? (size_t) (space - p) : 0;
    raw.data = space ? space + 1 : p;
    raw.len = p + size - raw.data;

    ngx_memzero(&fail, sizeof(s3_failure_t));

    /* with and without a mount */

    if (raw.len < 9 || ngx_memcmp(raw.data, "/storage/", 9) != 0) {
        mount.len = 1;
    }

    if (s3_target_parse(pool, &raw, &mount, &t, &fail) == S3_OK) {

        fuzz_check(t.key.len <= S3_KEY_MAX && s3_utf8_valid(&t.key));
        fuzz_check(t.raw_stripped.len && t.nargs <= S3_ARGS_MAX);
        fuzz_check((t.level == S3_LEVEL_OBJECT) == (t.key.len != 0));
        fuzz_check((t.level == S3_LEVEL_SERVICE) == (t.bucket.len == 0));
        fuzz_check(t.bucket.len == 0 || s3_bucket_name_valid(&t.bucket));
        fuzz_check(t.bucket_path.len <= t.path.len);

        headers = ngx_array_create(pool, 4, sizeof(s3_header_t));

        if (s3_target_hoisted(pool, &t, headers) == NGX_OK) {

            if (s3_operation_parse(pool, S3_FACE_SERVE, &method, &t,
                                   headers->elts, headers->nelts, &op, &fail)
                == S3_OK)
            {
                fuzz_check(op && op->where == S3_OPERATION_SERVED
                           && op->level == t.level);
            }

            if (s3_operation_parse(pool, S3_FACE_GATEWAY, &method, &t,
                                   headers->elts, headers->nelts, &op, &fail)
                == S3_OK)
            {
                fuzz_check(op && op->where >= S3_OPERATION_PASSED
                           && op->level == t.level);
            }

            /* of a query, or as if they had come as headers */

            nreal = (raw.len & 1) ? headers->nelts : 0;

            if (s3_metadata_collect(pool, headers->elts, headers->nelts,
                                    nreal, &blob, &fail)
                == S3_OK)
            {
                headers->nelts = 0;
                fuzz_check(s3_metadata_headers(pool, &blob, headers)
                           == NGX_OK);
                (void) s3_metadata_override(&t, headers, &fail);
            }
        }

        if (s3_list_parse(&t, size % 3, &list, &fail) == S3_OK) {
            fuzz_check(list.max_keys <= S3_LIST_MAX_KEYS);
            (void) s3_list_after(pool, &list, &fail);
        }

        (void) s3_list_buckets_parse(pool, &t, &buckets, &fail);

        rc = s3_sigv4_canonical_query(pool, &t.raw_query, NULL, &one);
        fuzz_check(rc == NGX_OK);
        rc = s3_sigv4_canonical_query(pool, &one, NULL, &two);
        fuzz_check(rc == NGX_OK && one.len == two.len
                   && ngx_memcmp(one.data, two.data, one.len) == 0);

        /* the answer to it is XML whatever the key was */

        (void) s3_fail_argument(&fail, NULL, "prefix", &t.path);
        cl = s3_xml_error(pool, &fail, &t.path, &t.bucket, &t.key, NULL, NULL,
                          &len);
        fuzz_check(cl != NULL);

        for (xml.len = 0; cl; cl = cl->next) {
            for (p = cl->buf->pos; p < cl->buf->last; p++) {
                fuzz_check(*p >= 0x20 || *p == '\n');
                xml.len++;
            }
        }

        fuzz_check(xml.len == len);

        ngx_memzero(&ar, sizeof(s3_auth_request_t));
        ar.pool = pool;
        ar.method = method;
        ar.paths[0] = t.raw_path;
        ar.npaths = 1;
        ar.query = t.raw_query;
        ar.now = 1369353600;
        ar.skew = S3_AUTH_SKEW;
        fuzz_check(s3_auth_verify(&ar, NULL, &auth, &fail) != S3_OK);
    }

    s3_test_pool_free(pool);

    return 0;
}
