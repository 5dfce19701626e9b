
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_upstream_xml.h"


typedef struct {
    ngx_pool_t                *pool;
    ngx_str_t                  code;
    ngx_str_t                  message;
    ngx_uint_t                 n;
    s3_failure_element_t       elements[S3_FAILURE_ELEMENTS];
} s3_upstream_error_t;


static s3_error_e s3_upstream_element(void *ctx, ngx_uint_t depth,
    const char *name, ngx_str_t *text);
static s3_error_e s3_upstream_error_element(void *ctx, ngx_uint_t depth,
    const char *name, ngx_str_t *text);
static s3_error_e s3_upstream_leaf(s3_upstream_xml_t *x,
    s3_upstream_leaf_t *leaves, ngx_uint_t n, const char *name,
    ngx_str_t *text);


ngx_int_t
s3_upstream_read(s3_upstream_xml_t *x, ngx_chain_t *in)
{
    s3_error_e  rc;
    ngx_uint_t  i;

    x->depth = 0;
    x->failed = 0;

    for (i = 0; i < x->ntop; i++) {
        ngx_str_null(&x->top[i].value);
    }

    if (in == NULL) {
        return NGX_DECLINED;
    }

    rc = s3_xml_read(in, s3_upstream_element, x);

    if (rc == S3_OK) {
        return NGX_OK;
    }

    return x->failed || rc == S3_ERR_INTERNAL_ERROR ? NGX_ERROR
                                                    : NGX_DECLINED;
}


static s3_error_e
s3_upstream_element(void *ctx, ngx_uint_t depth, const char *name,
    ngx_str_t *text)
{
    ngx_uint_t          i;
    s3_upstream_xml_t  *x = ctx;

    if (depth == 1) {
        return x->root == NULL || ngx_strcmp(name, x->root) == 0
               ? S3_OK : S3_ERR_MALFORMED_XML;
    }

    if (x->row && x->depth == 0 && text == NULL
        && ngx_strcmp(name, x->row) == 0)
    {
        for (i = 0; i < x->nleaves; i++) {
            ngx_str_null(&x->leaves[i].value);
        }

        x->depth = depth;
        return S3_OK;
    }

    if (text == NULL) {
        return S3_OK;
    }

    if (x->depth == 0) {
        return depth == 2 ? s3_upstream_leaf(x, x->top, x->ntop, name, text)
                          : S3_OK;
    }

    if (depth == x->depth + 1) {
        return s3_upstream_leaf(x, x->leaves, x->nleaves, name, text);
    }

    if (depth == x->depth) {
        x->depth = 0;

        if (x->handler && x->handler(x->data, x->leaves) != NGX_OK) {
            x->failed = 1;
            return S3_ERR_INTERNAL_ERROR;
        }
    }

    return S3_OK;
}


static s3_error_e
s3_upstream_leaf(s3_upstream_xml_t *x, s3_upstream_leaf_t *leaves,
    ngx_uint_t n, const char *name, ngx_str_t *text)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if (ngx_strcmp(name, leaves[i].name) != 0) {
            continue;
        }

        leaves[i].value.len = text->len;
        leaves[i].value.data = ngx_pnalloc(x->pool, text->len + 1);

        if (leaves[i].value.data == NULL) {
            x->failed = 1;
            return S3_ERR_INTERNAL_ERROR;
        }

        if (text->len) {
            ngx_memcpy(leaves[i].value.data, text->data, text->len);
        }

        leaves[i].value.data[text->len] = '\0';
        break;
    }

    return S3_OK;
}


ngx_int_t
s3_upstream_failure(ngx_pool_t *pool, ngx_chain_t *in, ngx_uint_t status,
    s3_failure_t *fail)
{
    ngx_uint_t           i;
    s3_error_e           rc;
    s3_upstream_error_t  e;

    ngx_memzero(&e, sizeof(s3_upstream_error_t));

    e.pool = pool;

    if (in == NULL) {
        return NGX_DECLINED;
    }

    rc = s3_xml_read(in, s3_upstream_error_element, &e);

    if (rc != S3_OK || e.code.len == 0) {
        return rc == S3_ERR_INTERNAL_ERROR ? NGX_ERROR : NGX_DECLINED;
    }

    s3_fail_foreign(fail, &e.code, status, &e.message);

    for (i = 0; i < e.n; i++) {
        s3_fail_element(fail, (char *) e.elements[i].name.data,
                        &e.elements[i].value);
    }

    return NGX_OK;
}


static s3_error_e
s3_upstream_error_element(void *ctx, ngx_uint_t depth, const char *name,
    ngx_str_t *text)
{
    ngx_str_t             value, *dst;
    ngx_uint_t            i;
    s3_upstream_error_t  *e = ctx;

    /* of the answer, which is ours */

    static const char  *written[] = { "Resource", "RequestId", "HostId" };

    if (depth == 1) {
        return ngx_strcmp(name, "Error") == 0 ? S3_OK : S3_ERR_MALFORMED_XML;
    }

    if (depth != 2 || text == NULL) {
        return S3_OK;
    }

    for (i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        if (ngx_strcmp(name, written[i]) == 0) {
            return S3_OK;
        }
    }

    value.len = text->len;
    value.data = ngx_pnalloc(e->pool, text->len + 1);

    if (value.data == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    if (text->len) {
        ngx_memcpy(value.data, text->data, text->len);
    }

    if (ngx_strcmp(name, "Code") == 0) {
        dst = &e->code;

    } else if (ngx_strcmp(name, "Message") == 0) {
        dst = &e->message;

    } else {
        if (e->n == S3_FAILURE_ELEMENTS) {
            return S3_OK;
        }

        dst = &e->elements[e->n].name;

        dst->len = ngx_strlen(name);
        dst->data = ngx_pnalloc(e->pool, dst->len + 1);

        if (dst->data == NULL) {
            return S3_ERR_INTERNAL_ERROR;
        }

        ngx_memcpy(dst->data, name, dst->len + 1);

        dst = &e->elements[e->n++].value;
    }

    *dst = value;

    return S3_OK;
}


void
s3_upstream_unquote(ngx_str_t *etag)
{
    if (etag->len >= 2 && etag->data[0] == '"'
        && etag->data[etag->len - 1] == '"')
    {
        etag->data++;
        etag->len -= 2;
    }
}


int64_t
s3_upstream_time(ngx_str_t *text)
{
    int64_t      msec;
    ngx_int_t    n;
    struct tm    tm;
    const char  *p;

    ngx_memzero(&tm, sizeof(struct tm));

    /* the reader's texts end in NUL */

    if (text->len < sizeof("2026-01-31T23:59:59Z") - 1) {
        return 0;
    }

    p = strptime((char *) text->data, "%Y-%m-%dT%H:%M:%S", &tm);

    if (p == NULL) {
        return 0;
    }

    msec = 0;

    if (p[0] == '.' && text->data + text->len - (u_char *) p >= 4) {
        n = ngx_atoi((u_char *) p + 1, 3);
        msec = n == NGX_ERROR ? 0 : n;
    }

    return (int64_t) timegm(&tm) * 1000 + msec;
}
