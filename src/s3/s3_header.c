
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_header.h"


s3_header_t *
s3_header_find(s3_header_t *headers, ngx_uint_t n, const char *name,
    size_t len, ngx_uint_t *count)
{
    ngx_uint_t    i, found;
    s3_header_t  *first;

    first = NULL;
    found = 0;

    for (i = 0; i < n; i++) {
        if (headers[i].name.len != len
            || ngx_strncasecmp(headers[i].name.data, (u_char *) name, len)
               != 0)
        {
            continue;
        }

        if (first == NULL) {
            first = &headers[i];
        }

        found++;
    }

    if (count) {
        *count = found;
    }

    return first;
}


ngx_uint_t
s3_header_has_prefix(s3_header_t *h, const char *prefix, size_t len)
{
    return h->name.len >= len
           && ngx_strncasecmp(h->name.data, (u_char *) prefix, len) == 0;
}


ngx_int_t
s3_header_join(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    ngx_str_t *name, ngx_str_t *value)
{
    size_t        len;
    u_char       *p;
    ngx_uint_t    i, found;
    s3_header_t  *h;

    len = 0;
    found = 0;

    for (i = 0; i < n; i++) {
        h = s3_header_find(&headers[i], 1, (char *) name->data, name->len,
                           NULL);

        if (h) {
            *value = h->value;
            len += h->value.len + 1;
            found++;
        }
    }

    if (found == 1) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;

    for (i = 0; i < n; i++) {
        h = s3_header_find(&headers[i], 1, (char *) name->data, name->len,
                           NULL);

        if (h == NULL) {
            continue;
        }

        if (p != value->data) {
            *p++ = ',';
        }

        p = ngx_cpymem(p, h->value.data, h->value.len);
    }

    value->len = p - value->data;

    return NGX_OK;
}


ngx_uint_t
s3_header_value_ok(ngx_str_t *value)
{
    size_t  i;
    u_char  ch;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if ((ch < 0x20 && ch != '\t') || ch == 0x7f) {
            return 0;
        }
    }

    return 1;
}
