
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_upstream.h"
#include "s3_metadata.h"
#include "s3_rfc2047.h"


static ngx_uint_t s3_upstream_passes_arg(s3_target_t *target, s3_arg_t *arg,
    const char *but);
static ngx_uint_t s3_upstream_passes(s3_header_t *h, ngx_uint_t checksums);
static ngx_uint_t s3_upstream_in(s3_header_t *h, const char **names,
    ngx_uint_t n);


ngx_int_t
s3_upstream_target(ngx_pool_t *pool, s3_upstream_style_e style,
    ngx_str_t *host, ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *query,
    ngx_str_t *uri, ngx_str_t *to)
{
    u_char  *p;

    p = ngx_pnalloc(pool, 1 + 3 * bucket->len + 1
                          + s3_uri_encode(NULL, key, 1) + 1 + query->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *to = *host;

    uri->data = p;
    *p++ = '/';

    if (bucket->len && style == S3_UPSTREAM_VIRTUAL) {

        to->len = bucket->len + 1 + host->len;
        to->data = ngx_pnalloc(pool, to->len);

        if (to->data == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_sprintf(to->data, "%V.%V", bucket, host);

    } else if (bucket->len) {
        p += s3_uri_encode(p, bucket, 0);

        if (key->len) {
            *p++ = '/';
        }
    }

    p += s3_uri_encode(p, key, 1);

    if (query->len) {
        *p++ = '?';
        p = ngx_cpymem(p, query->data, query->len);
    }

    uri->len = p - uri->data;

    return NGX_OK;
}


ngx_int_t
s3_upstream_query(ngx_pool_t *pool, s3_target_t *target, const char *but,
    ngx_str_t *query)
{
    size_t       len;
    u_char      *p;
    s3_arg_t    *arg;
    ngx_uint_t   i;

    len = 0;

    for (i = 0; i < target->nargs; i++) {
        arg = &target->args[i];

        len += s3_uri_encode(NULL, &arg->name, 0)
               + s3_uri_encode(NULL, &arg->value, 0) + 2;
    }

    p = ngx_pnalloc(pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    query->data = p;

    for (i = 0; i < target->nargs; i++) {
        arg = &target->args[i];

        if (!s3_upstream_passes_arg(target, arg, but)) {
            continue;
        }

        if (p != query->data) {
            *p++ = '&';
        }

        p += s3_uri_encode(p, &arg->name, 0);

        if (arg->value.len) {
            *p++ = '=';
            p += s3_uri_encode(p, &arg->value, 0);
        }
    }

    query->len = p - query->data;

    return NGX_OK;
}


static ngx_uint_t
s3_upstream_passes_arg(s3_target_t *target, s3_arg_t *arg, const char *but)
{
    ngx_uint_t  i;

    static ngx_str_t  v2[] = {
        ngx_string("AWSAccessKeyId"),
        ngx_string("Signature"),
        ngx_string("Expires"),
        ngx_string("content-type"),
        ngx_string("content-md5")
    };

    if (arg->name.len >= 2
        && ngx_strncasecmp(arg->name.data, (u_char *) "x-", 2) == 0)
    {
        return 0;
    }

    if (but && arg->name.len == ngx_strlen(but)
        && ngx_memcmp(arg->name.data, but, arg->name.len) == 0)
    {
        return 0;
    }

    /* minio-go's, see s3_operation.c */

    if (arg->name.len == sizeof("metadata") - 1
        && ngx_memcmp(arg->name.data, "metadata", arg->name.len) == 0)
    {
        return 0;
    }

    if (s3_target_arg(target, "AWSAccessKeyId") == NULL) {
        return 1;
    }

    for (i = 0; i < sizeof(v2) / sizeof(v2[0]); i++) {
        if (arg->name.len == v2[i].len
            && ngx_memcmp(arg->name.data, v2[i].data, v2[i].len) == 0)
        {
            return 0;
        }
    }

    return 1;
}


ngx_int_t
s3_upstream_arg(ngx_pool_t *pool, ngx_str_t *query, const char *name,
    ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   q;

    p = ngx_pnalloc(pool, query->len + 1 + ngx_strlen(name) + 1
                          + (value ? 3 * value->len : 0));
    if (p == NULL) {
        return NGX_ERROR;
    }

    q.data = p;

    if (query->len) {
        p = ngx_cpymem(p, query->data, query->len);
        *p++ = '&';
    }

    p = ngx_cpymem(p, name, ngx_strlen(name));

    if (value && value->len) {
        *p++ = '=';
        p += s3_uri_encode(p, value, 0);
    }

    q.len = p - q.data;
    *query = q;

    return NGX_OK;
}


ngx_int_t
s3_upstream_headers(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    ngx_uint_t nreal, ngx_uint_t checksums, ngx_array_t *out)
{
    u_char       *p;
    ngx_str_t     name, value;
    ngx_uint_t    i;
    s3_header_t  *h;

    for (i = 0; i < n; i++) {

        if (!s3_upstream_passes(&headers[i], checksums)) {
            continue;
        }

        p = ngx_pnalloc(pool, headers[i].name.len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_strlow(p, headers[i].name.data, headers[i].name.len);
        p[headers[i].name.len] = '\0';

        name.data = p;
        name.len = headers[i].name.len;

        /* one that came before has been joined there */

        if (s3_header_find(headers, i, (char *) p, name.len, NULL)) {
            continue;
        }

        if (s3_header_join(pool, headers, n, &name, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        if (s3_upstream_named(&headers[i], "content-encoding")) {

            if (s3_metadata_encoding(pool, &value) != NGX_OK) {
                return NGX_ERROR;
            }

            if (value.len == 0) {
                continue;
            }
        }

        if (s3_upstream_named(&headers[i], "x-amz-meta-*")
            && (s3_rfc2047_decode(pool, &value, i >= nreal, &value) != NGX_OK
                || s3_rfc2047_encode(pool, &value, &value) != NGX_OK))
        {
            return NGX_ERROR;
        }

        h = ngx_array_push(out);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->name = name;
        h->value = value;
    }

    return NGX_OK;
}


ngx_int_t
s3_upstream_header(ngx_array_t *out, const char *name, ngx_str_t *value)
{
    s3_header_t  *h;

    h = ngx_array_push(out);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->name.data = (u_char *) name;
    h->name.len = ngx_strlen(name);
    h->value = *value;

    return NGX_OK;
}


void
s3_upstream_drop(ngx_array_t *headers, const char *name)
{
    ngx_uint_t    i, n;
    s3_header_t  *h;

    h = headers->elts;
    n = 0;

    for (i = 0; i < headers->nelts; i++) {
        if (!s3_upstream_named(&h[i], name)) {
            h[n++] = h[i];
        }
    }

    headers->nelts = n;
}


static ngx_uint_t
s3_upstream_passes(s3_header_t *h, ngx_uint_t checksums)
{
    /* "*" at the end: a prefix */

    static const char  *passed[] = {
        "content-type", "content-md5", "content-encoding",
        "content-disposition", "content-language", "cache-control",
        "expires", "range", "if-match", "if-none-match",
        "if-modified-since", "if-unmodified-since", "if-range", "origin",
        "access-control-request-*", "user-agent", "referer"
    };

    /* of the way to us, or made anew */

    static const char  *dropped[] = {
        "x-amz-content-sha256", "x-amz-date", "x-amz-security-token",
        "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-te",
        "x-amz-user-agent", "x-amz-cf-id", "x-amz-id-2", "x-amz-request-id"
    };

    static const char  *sums[] = {
        "x-amz-checksum-*", "x-amz-sdk-checksum-algorithm"
    };

    if (!s3_header_has_prefix(h, "x-amz-", sizeof("x-amz-") - 1)) {
        return s3_upstream_in(h, passed, sizeof(passed) / sizeof(passed[0]));
    }

    if (s3_upstream_in(h, dropped, sizeof(dropped) / sizeof(dropped[0]))) {
        return 0;
    }

    return checksums
           || !s3_upstream_in(h, sums, sizeof(sums) / sizeof(sums[0]));
}


static ngx_uint_t
s3_upstream_in(s3_header_t *h, const char **names, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        if (s3_upstream_named(h, names[i])) {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
s3_upstream_named(s3_header_t *h, const char *name)
{
    size_t  len;

    len = ngx_strlen(name);

    if (name[len - 1] == '*') {
        return s3_header_has_prefix(h, name, len - 1);
    }

    return h->name.len == len && s3_header_has_prefix(h, name, len);
}
