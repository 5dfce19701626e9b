
/*
 * An upstream's documents: what is read is the same however the bytes come,
 * stays when they are gone, and an error's document is passed on so that it
 * reads the same.
 *
 *     input = kind, bytes at a time, document
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_date.h"
#include "s3_target.h"
#include "s3_upstream_xml.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


#define FUZZ_LEAVES  3


/* all that one reading found, in order */

typedef struct {
    ngx_pool_t    *pool;
    ngx_array_t    found;              /* u_char */
    ngx_uint_t     rows;
    ngx_uint_t     refuse;             /* this row; 0: none */
} fuzz_found_t;


static void
fuzz_check(int ok)
{
    if (!ok) {
        abort();
    }
}


static ngx_chain_t *
fuzz_chain(ngx_pool_t *pool, const u_char *p, size_t len, size_t piece)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_chain_t  *in, **next, *cl;

    in = NULL;
    next = &in;

    for ( /* void */ ; len; p += n, len -= n) {
        n = ngx_min(piece, len);

        b = ngx_create_temp_buf(pool, n);
        cl = ngx_alloc_chain_link(pool);

        b->last = ngx_cpymem(b->pos, p, n);

        cl->buf = b;
        cl->next = NULL;
        *next = cl;
        next = &cl->next;
    }

    return in;
}


static void
fuzz_overwrite(ngx_chain_t *in)
{
    for ( /* void */ ; in; in = in->next) {
        ngx_memset(in->buf->pos, '#', in->buf->last - in->buf->pos);
    }
}


static void
fuzz_note(fuzz_found_t *f, s3_upstream_leaf_t *leaves, ngx_uint_t n)
{
    u_char      *p;
    ngx_uint_t   i;
    ngx_str_t   *value;

    for (i = 0; i < n; i++) {
        value = &leaves[i].value;

        if (value->data == NULL) {
            fuzz_check(value->len == 0);
            *(u_char *) ngx_array_push(&f->found) = '-';
            continue;
        }

        fuzz_check(value->len <= S3_XML_TEXT);
        fuzz_check(ngx_strlen(value->data) == value->len);
        fuzz_check(s3_utf8_valid(value));

        p = ngx_array_push_n(&f->found, value->len + 1);
        ngx_memcpy(p, value->data, value->len + 1);
    }
}


static ngx_int_t
fuzz_row(void *data, s3_upstream_leaf_t *leaves)
{
    fuzz_found_t  *f = data;

    fuzz_check(f->refuse == 0 || f->rows < f->refuse);

    f->rows++;
    fuzz_note(f, leaves, FUZZ_LEAVES);

    return f->rows == f->refuse ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
fuzz_read(fuzz_found_t *f, ngx_chain_t *in, ngx_uint_t kind)
{
    ngx_int_t           rc;
    s3_upstream_xml_t   x;
    s3_upstream_leaf_t  top[FUZZ_LEAVES] = {
        { "IsTruncated", ngx_null_string },
        { "NextPartNumberMarker", ngx_null_string },
        { "Name", ngx_null_string }
    };
    s3_upstream_leaf_t  leaves[FUZZ_LEAVES] = {
        { "PartNumber", ngx_null_string },
        { "ETag", ngx_null_string },
        { "Name", ngx_null_string }
    };

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    x.pool = f->pool;
    x.root = (kind & 4) ? "ListPartsResult" : NULL;
    x.top = top;
    x.ntop = FUZZ_LEAVES;
    x.row = (kind & 8) ? NULL : "Part";
    x.leaves = leaves;
    x.nleaves = FUZZ_LEAVES;
    x.handler = fuzz_row;
    x.data = f;

    fuzz_check(ngx_array_init(&f->found, f->pool, 256, 1) == NGX_OK);
    f->rows = 0;
    f->refuse = (kind & 16) ? 2 : 0;

    rc = s3_upstream_read(&x, in);
    fuzz_overwrite(in);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED
               || (rc == NGX_ERROR && f->refuse && f->rows == f->refuse));

    if (rc == NGX_OK) {
        fuzz_note(f, top, FUZZ_LEAVES);
    }

    return rc;
}


static void
fuzz_rows(ngx_pool_t *pool, const u_char *p, size_t len, size_t piece,
    ngx_uint_t kind)
{
    ngx_int_t     one, two;
    fuzz_found_t  a, b;

    a.pool = pool;
    b.pool = pool;

    one = fuzz_read(&a, fuzz_chain(pool, p, len, piece), kind);
    two = fuzz_read(&b, fuzz_chain(pool, p, len, len + 1), kind);

    /* what comes before the end of one that is broken may differ */

    fuzz_check((one == NGX_OK) == (two == NGX_OK));

    if (one != NGX_OK) {
        return;
    }

    fuzz_check(a.rows == b.rows && a.found.nelts == b.found.nelts
               && ngx_memcmp(a.found.elts, b.found.elts, a.found.nelts)
                  == 0);
}


static int
fuzz_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}


static void
fuzz_failure_same(s3_failure_t *a, s3_failure_t *b)
{
    ngx_uint_t  i;

    fuzz_check(a->error == b->error && a->status == b->status);
    fuzz_check(fuzz_same(&a->code, &b->code));
    fuzz_check(a->nelements == b->nelements);

    for (i = 0; i < a->nelements; i++) {
        fuzz_check(ngx_strcmp(a->elements[i].name.data,
                              b->elements[i].name.data) == 0);
        fuzz_check(fuzz_same(&a->elements[i].value, &b->elements[i].value));
    }
}


static void
fuzz_failure(ngx_pool_t *pool, const u_char *p, size_t len, size_t piece,
    ngx_uint_t status)
{
    size_t         size;
    ngx_int_t      rc;
    ngx_str_t      resource, id;
    s3_error_t     one, two;
    ngx_chain_t   *in, *cl;
    s3_failure_t   a, b;

    ngx_memzero(&a, sizeof(s3_failure_t));
    ngx_memzero(&b, sizeof(s3_failure_t));

    in = fuzz_chain(pool, p, len, piece);
    rc = s3_upstream_failure(pool, in, status, &a);
    fuzz_overwrite(in);

    in = fuzz_chain(pool, p, len, len + 1);
    fuzz_check(s3_upstream_failure(pool, in, status, &b) == rc);
    fuzz_overwrite(in);

    if (rc != NGX_OK) {
        fuzz_check(rc == NGX_DECLINED && a.error == S3_OK
                   && a.nelements == 0 && a.code.len == 0);
        return;
    }

    fuzz_check(a.error > S3_OK && a.error < S3_ERR_LAST);
    fuzz_check(a.code.len && a.nelements <= S3_FAILURE_ELEMENTS);
    fuzz_failure_same(&a, &b);
    fuzz_check(fuzz_same(&a.message, &b.message));

    /* the client reads what the upstream said */

    ngx_str_set(&resource, "/b/k");
    ngx_str_set(&id, "0123");

    in = s3_xml_error(pool, &a, &resource, NULL, NULL, &id, &id, &size);

    for (cl = in; cl; cl = cl->next) {
        size -= cl->buf->last - cl->buf->pos;
    }

    fuzz_check(in != NULL && size == 0);

    ngx_memzero(&b, sizeof(s3_failure_t));
    fuzz_check(s3_upstream_failure(pool, in, status, &b) == NGX_OK);
    fuzz_failure_same(&a, &b);

    s3_failure(&a, &one);
    s3_failure(&b, &two);
    fuzz_check(fuzz_same(&one.code, &two.code)
               && fuzz_same(&one.message, &two.message)
               && one.status == two.status);
}


/* what is a time is one when it is written, too */

static void
fuzz_time(ngx_pool_t *pool, const u_char *p, size_t len)
{
    int64_t    msec;
    ngx_str_t  text;

    text.len = len;
    text.data = ngx_pnalloc(pool, len + 1);
    ngx_memcpy(text.data, p, len);
    text.data[len] = '\0';

    msec = s3_upstream_time(&text);

    if (msec > 0) {
        text.data = ngx_pnalloc(pool, S3_DATE_EXTENDED_LEN + NGX_INT64_LEN);
        text.len = s3_date_extended(text.data, msec) - text.data;
        text.data[text.len] = '\0';
        fuzz_check(s3_upstream_time(&text) == msec);
    }

    text.len = len;
    text.data = ngx_pnalloc(pool, len + 1);
    ngx_memcpy(text.data, p, len);

    s3_upstream_unquote(&text);
    fuzz_check(text.len == len
               || (text.len + 2 == len && p[0] == '"' && p[len - 1] == '"'));
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       piece;
    ngx_pool_t  *pool;

    if (size < 2) {
        return 0;
    }

    pool = s3_test_pool();
    piece = data[1] ? data[1] : 65536;

    switch (data[0] & 3) {

    case 0:
    case 1:
        fuzz_rows(pool, data + 2, size - 2, piece, data[0]);
        break;

    case 2:
        fuzz_failure(pool, data + 2, size - 2, piece,
                     (data[0] & 4) ? 403 : 0);
        break;

    default:
        fuzz_time(pool, data + 2, size - 2);
        break;
    }

    s3_test_pool_free(pool);

    return 0;
}
