
/*
 * Signature Version 4 of a request of our own.  Its picture stands in
 * s3_sigv4.h.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/crypto.h>
#include "s3_auth_internal.h"
#include "s3_date.h"


static ngx_uint_t s3_sigv4_signs(s3_header_t *h);
static ngx_int_t s3_sigv4_names(s3_sigv4_request_t *s, ngx_str_t **names,
    ngx_uint_t *nnames, size_t *size);
static int ngx_libc_cdecl s3_sigv4_cmp_names(const void *one,
    const void *two);


ngx_int_t
s3_sigv4_authorization(s3_sigv4_request_t *s, s3_credential_t *credential,
    ngx_str_t *authorization)
{
    size_t      size;
    u_char     *p;
    u_char      key[32], hex[64], date[S3_DATE_BASIC_LEN];
    ngx_int_t   rc;
    ngx_str_t   query, path, canonical, rest, scope, string, *names;
    ngx_uint_t  i, n;

    if (s3_sigv4_canonical_query(s->pool, &s->query, NULL, &query) != NGX_OK
        || s3_sigv4_names(s, &names, &n, &size) != NGX_OK
        || s3_sigv4_canonical_rest(s->pool, &query, names, n, s->headers,
                                   s->nheaders, &s->payload, &rest)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    path.data = ngx_pnalloc(s->pool, 4 * s->path.len);
    if (path.data == NULL) {
        return NGX_ERROR;
    }

    if (s3_uri_decode(path.data, &path.len, &s->path, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    canonical.data = path.data + s->path.len;
    canonical.len = s3_uri_encode(canonical.data, &path, 1);

    (void) s3_date_basic(date, s->now);

    scope.data = ngx_pnalloc(s->pool, 8 + s->region.len
                                      + sizeof("//s3/" S3_SIGV4_TERMINAL));
    if (scope.data == NULL) {
        return NGX_ERROR;
    }

    scope.len = ngx_sprintf(scope.data, "%*s/%V/s3/" S3_SIGV4_TERMINAL,
                            (size_t) 8, date, &s->region)
                - scope.data;

    if (s3_sigv4_string_to_sign(s->pool, &s->method, &canonical, &rest, date,
                                &scope, &string)
        != NGX_OK
        || s3_sigv4_key(credential, date, &s->region, key) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = s3_sigv4_sign(key, &string, hex);

    OPENSSL_cleanse(key, sizeof(key));

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(s->pool, sizeof(S3_SIGV4_ALGORITHM " Credential=/"
                                    ", SignedHeaders=, Signature=")
                             + credential->access_key.len + scope.len + size
                             + sizeof(hex));
    if (p == NULL) {
        return NGX_ERROR;
    }

    authorization->data = p;

    p = ngx_sprintf(p, S3_SIGV4_ALGORITHM " Credential=%V/%V, SignedHeaders=",
                    &credential->access_key, &scope);

    for (i = 0; i < n; i++) {
        if (i) {
            *p++ = ';';
        }

        p = ngx_cpymem(p, names[i].data, names[i].len);
    }

    p = ngx_sprintf(p, ", Signature=%*s", sizeof(hex), hex);

    authorization->len = p - authorization->data;

    return NGX_OK;
}


/*
 * What S3 wants signed.  Other headers may be changed on the way by nginx's
 * own modules (Range by slice, If-None-Match by a cache).
 */

static ngx_uint_t
s3_sigv4_signs(s3_header_t *h)
{
    return s3_header_has_prefix(h, "x-amz-", sizeof("x-amz-") - 1)
           || s3_header(h, 1, "host")
           || s3_header(h, 1, "content-type")
           || s3_header(h, 1, "content-md5");
}


/* names in lower case, sorted, each once; size: of all of them, joined */

static ngx_int_t
s3_sigv4_names(s3_sigv4_request_t *s, ngx_str_t **names, ngx_uint_t *nnames,
    size_t *size)
{
    u_char       *p;
    ngx_str_t    *name;
    ngx_uint_t    i, n;
    s3_header_t  *h;

    name = ngx_palloc(s->pool, (s->nheaders + 1) * sizeof(ngx_str_t));
    if (name == NULL) {
        return NGX_ERROR;
    }

    *names = name;
    *size = 0;
    n = 0;

    for (i = 0; i < s->nheaders; i++) {
        h = &s->headers[i];

        if (!s3_sigv4_signs(h)) {
            continue;
        }

        p = ngx_pnalloc(s->pool, h->name.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_strlow(p, h->name.data, h->name.len);

        name[n].data = p;
        name[n].len = h->name.len;
        n++;
    }

    qsort(name, n, sizeof(ngx_str_t), s3_sigv4_cmp_names);

    *nnames = 0;

    for (i = 0; i < n; i++) {

        if (i && s3_sigv4_cmp_names(&name[i], &name[*nnames - 1]) == 0) {
            continue;
        }

        name[(*nnames)++] = name[i];
        *size += name[i].len + 1;
    }

    return NGX_OK;
}


static int ngx_libc_cdecl
s3_sigv4_cmp_names(const void *one, const void *two)
{
    ngx_int_t         rc;
    const ngx_str_t  *a, *b;

    a = one;
    b = two;

    rc = ngx_memn2cmp(a->data, b->data, a->len, b->len);

    return (rc > 0) - (rc < 0);
}
