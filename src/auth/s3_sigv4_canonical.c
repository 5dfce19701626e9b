
/*
 * Signature Version 4: the canonical request, the string to sign, the key.
 * Their picture stands in s3_sigv4.h.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "s3_auth_internal.h"
#include "s3_date.h"


static size_t s3_sigv4_trim(u_char *dst, ngx_str_t *value);
static int ngx_libc_cdecl s3_sigv4_cmp_args(const void *one, const void *two);


s3_error_e
s3_sigv4_compare(s3_sigv4_t *s)
{
    u_char     *p;
    u_char      hex[64];
    ngx_int_t   rc;
    ngx_str_t   query, rest, path, canonical, sts, first, request;
    ngx_uint_t  i;

    rc = s3_sigv4_canonical_query(s->pool, &s->ar->query,
                                  s->auth->type == S3_AUTH_QUERY
                                  ? "X-Amz-Signature" : NULL, &query);
    if (rc != NGX_OK) {
        return s3_fail(s->fail, rc == NGX_DECLINED ? S3_ERR_INVALID_URI
                                                   : S3_ERR_INTERNAL_ERROR,
                       NULL);
    }

    if (s3_sigv4_canonical_rest(s->pool, &query, s->names, s->nnames,
                                s->ar->headers, s->ar->nheaders, &s->payload,
                                &rest)
        != NGX_OK)
    {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (s3_sigv4_key(s->cr, s->date.data, &s->region, s->auth->signing_key)
        != NGX_OK)
    {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ngx_str_null(&first);
    ngx_str_null(&request);

    for (i = 0; i < s->ar->npaths && i < S3_AUTH_PATHS_MAX; i++) {

        path.data = ngx_pnalloc(s->pool, s->ar->paths[i].len);
        canonical.data = ngx_pnalloc(s->pool, 3 * s->ar->paths[i].len);

        if (path.data == NULL || canonical.data == NULL) {
            return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        if (s3_uri_decode(path.data, &path.len, &s->ar->paths[i], 0)
            != NGX_OK)
        {
            return s3_fail(s->fail, S3_ERR_INVALID_URI, NULL);
        }

        canonical.len = s3_uri_encode(canonical.data, &path, 1);

        /*
         * Encoded as S3 says, and as sent: botocore and others sign the bytes
         * they send, and not all encode alike.  Both name the same object.
         */

        for ( ;; ) {

            if (s3_sigv4_string_to_sign(s->pool, &s->ar->method, &canonical,
                                        &rest, s->auth->amz_date,
                                        &s->auth->scope, &sts)
                != NGX_OK
                || s3_sigv4_sign(s->auth->signing_key, &sts, hex) != NGX_OK)
            {
                return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
            }

            if (s->signature.len == sizeof(hex)
                && CRYPTO_memcmp(s->signature.data, hex, sizeof(hex)) == 0)
            {
                ngx_memcpy(s->auth->signature, hex, sizeof(hex));
                return S3_OK;
            }

            if (first.data == NULL) {
                first = sts;
                request = canonical;
            }

            if (canonical.len == s->ar->paths[i].len
                && ngx_memcmp(canonical.data, s->ar->paths[i].data,
                              canonical.len)
                   == 0)
            {
                break;
            }

            canonical = s->ar->paths[i];
        }
    }

    OPENSSL_cleanse(s->auth->signing_key, sizeof(s->auth->signing_key));

    (void) s3_fail(s->fail, S3_ERR_SIGNATURE_DOES_NOT_MATCH, NULL);
    s3_fail_element(s->fail, "AWSAccessKeyId", &s->auth->access_key);
    s3_fail_element(s->fail, "StringToSign", &first);
    s3_fail_element(s->fail, "SignatureProvided", &s->signature);

    /* made of what the client sent, it is how people find their mistake */

    path = request;
    request.len = s->ar->method.len + 1 + path.len + rest.len;
    request.data = ngx_pnalloc(s->pool, request.len);

    if (request.data) {
        p = ngx_cpymem(request.data, s->ar->method.data, s->ar->method.len);
        *p++ = '\n';
        p = ngx_cpymem(p, path.data, path.len);
        ngx_memcpy(p, rest.data, rest.len);

        s3_fail_element(s->fail, "CanonicalRequest", &request);
    }

    return S3_ERR_SIGNATURE_DOES_NOT_MATCH;
}


/*
 * Headers are "name:value\n" for each name in their order; the values of one
 * name are joined by commas in the order received.
 */

ngx_int_t
s3_sigv4_canonical_rest(ngx_pool_t *pool, ngx_str_t *query, ngx_str_t *names,
    ngx_uint_t nnames, s3_header_t *headers, ngx_uint_t nheaders,
    ngx_str_t *payload, ngx_str_t *rest)
{
    size_t        len;
    u_char       *p;
    ngx_uint_t    i, j, found;
    s3_header_t  *h;

    len = query->len + payload->len + sizeof("\n\n\n\n") - 1;

    for (i = 0; i < nnames; i++) {
        len += 2 * names[i].len + sizeof(":\n;") - 1;
    }

    for (i = 0; i < nheaders; i++) {
        len += headers[i].value.len + 1;
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rest->data = p;

    *p++ = '\n';
    p = ngx_cpymem(p, query->data, query->len);
    *p++ = '\n';

    for (i = 0; i < nnames; i++) {
        p = ngx_cpymem(p, names[i].data, names[i].len);
        *p++ = ':';

        found = 0;

        for (j = 0; j < nheaders; j++) {
            h = &headers[j];

            if (h->name.len != names[i].len
                || !s3_header_has_prefix(h, (char *) names[i].data,
                                         names[i].len))
            {
                continue;
            }

            if (found++) {
                *p++ = ',';
            }

            p += s3_sigv4_trim(p, &h->value);
        }

        *p++ = '\n';
    }

    *p++ = '\n';

    for (i = 0; i < nnames; i++) {
        if (i) {
            *p++ = ';';
        }

        p = ngx_cpymem(p, names[i].data, names[i].len);
    }

    *p++ = '\n';
    p = ngx_cpymem(p, payload->data, payload->len);

    rest->len = p - rest->data;

    return NGX_OK;
}


/* Trimall(): no spaces at the ends, one in place of several. */

static size_t
s3_sigv4_trim(u_char *dst, ngx_str_t *value)
{
    u_char  *p, *last, *d;

    if (value->len == 0) {
        return 0;
    }

    d = dst;
    last = value->data + value->len;

    for (p = value->data; p < last; p++) {

        if (*p == ' ' || *p == '\t') {
            if (d == dst || d[-1] == ' ') {
                continue;
            }

            *d++ = ' ';
            continue;
        }

        *d++ = *p;
    }

    if (d > dst && d[-1] == ' ') {
        d--;
    }

    return d - dst;
}


ngx_int_t
s3_sigv4_string_to_sign(ngx_pool_t *pool, ngx_str_t *method, ngx_str_t *path,
    ngx_str_t *rest, u_char *amz_date, ngx_str_t *scope, ngx_str_t *out)
{
    u_char        *p;
    u_char         digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX    *md;
    unsigned int   len;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(md, method->data, method->len) != 1
        || EVP_DigestUpdate(md, "\n", 1) != 1
        || EVP_DigestUpdate(md, path->data, path->len) != 1
        || EVP_DigestUpdate(md, rest->data, rest->len) != 1
        || EVP_DigestFinal_ex(md, digest, &len) != 1)
    {
        EVP_MD_CTX_free(md);
        return NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    p = ngx_pnalloc(pool, sizeof(S3_SIGV4_ALGORITHM) + S3_DATE_BASIC_LEN
                          + 1 + scope->len + 1 + 2 * len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;

    p = ngx_cpymem(p, S3_SIGV4_ALGORITHM "\n", sizeof(S3_SIGV4_ALGORITHM));
    p = ngx_cpymem(p, amz_date, S3_DATE_BASIC_LEN);
    *p++ = '\n';
    p = ngx_cpymem(p, scope->data, scope->len);
    *p++ = '\n';
    p = ngx_hex_dump(p, digest, len);

    out->len = p - out->data;

    return NGX_OK;
}


ngx_int_t
s3_sigv4_key(s3_credential_t *credential, u_char *date, ngx_str_t *region,
    u_char key[32])
{
    u_char         buf[4 + S3_SECRET_KEY_MAX], out[EVP_MAX_MD_SIZE];
    ngx_int_t      rc;
    unsigned int   len;
    const EVP_MD  *md;

    if (credential->key_region_len == region->len
        && region->len && region->len <= sizeof(credential->key_region)
        && ngx_memcmp(credential->key_region, region->data, region->len) == 0
        && ngx_memcmp(credential->key_date, date, 8) == 0)
    {
        ngx_memcpy(key, credential->key, 32);
        return NGX_OK;
    }

    if (credential->secret_key.len > S3_SECRET_KEY_MAX) {
        return NGX_ERROR;
    }

    md = EVP_sha256();
    rc = NGX_ERROR;

    ngx_memcpy(buf, "AWS4", 4);
    ngx_memcpy(buf + 4, credential->secret_key.data,
               credential->secret_key.len);

    if (HMAC(md, buf, (int) (4 + credential->secret_key.len), date, 8, out,
             &len)
        && HMAC(md, out, 32, region->data, region->len, key, &len)
        && HMAC(md, key, 32, (u_char *) "s3", 2, out, &len)
        && HMAC(md, out, 32, (u_char *) S3_SIGV4_TERMINAL,
                sizeof(S3_SIGV4_TERMINAL) - 1, key, &len))
    {
        rc = NGX_OK;
    }

    OPENSSL_cleanse(buf, sizeof(buf));
    OPENSSL_cleanse(out, sizeof(out));

    if (rc == NGX_OK && region->len
        && region->len <= sizeof(credential->key_region))
    {
        ngx_memcpy(credential->key_region, region->data, region->len);
        credential->key_region_len = region->len;
        ngx_memcpy(credential->key_date, date, 8);
        ngx_memcpy(credential->key, key, 32);
    }

    return rc;
}


ngx_int_t
s3_sigv4_sign(u_char key[32], ngx_str_t *string, u_char hex[64])
{
    u_char        digest[EVP_MAX_MD_SIZE];
    unsigned int  len;

    if (HMAC(EVP_sha256(), key, 32, string->data, string->len, digest, &len)
        == NULL)
    {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(hex, digest, 32);

    return NGX_OK;
}


ngx_int_t
s3_sigv4_canonical_query(ngx_pool_t *pool, ngx_str_t *query,
    const char *except, ngx_str_t *canonical)
{
    size_t       len;
    u_char      *p;
    s3_arg_t    *args, *arg;
    ngx_str_t    s;
    ngx_uint_t   i, n, nargs;
    s3_error_e   rc;

    canonical->data = (u_char *) "";
    canonical->len = 0;

    rc = s3_args_parse(pool, query, &args, &nargs);
    if (rc != S3_OK) {
        return rc == S3_ERR_INVALID_URI ? NGX_DECLINED : NGX_ERROR;
    }

    /* in place: these are our own copies */

    for (i = 0, n = 0, len = 0; i < nargs; i++) {
        arg = &args[i];

        if (except && arg->name.len == ngx_strlen(except)
            && ngx_memcmp(arg->name.data, except, arg->name.len) == 0)
        {
            continue;
        }

        s = arg->name;

        args[n].name.len = s3_uri_encode(NULL, &s, 0);
        p = ngx_pnalloc(pool, args[n].name.len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        (void) s3_uri_encode(p, &s, 0);
        args[n].name.data = p;

        s = arg->value;

        args[n].value.len = s3_uri_encode(NULL, &s, 0);
        p = ngx_pnalloc(pool, args[n].value.len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        (void) s3_uri_encode(p, &s, 0);
        args[n].value.data = p;

        len += args[n].name.len + 1 + args[n].value.len + 1;
        n++;
    }

    if (n == 0) {
        return NGX_OK;
    }

    qsort(args, n, sizeof(s3_arg_t), s3_sigv4_cmp_args);

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    canonical->data = p;

    for (i = 0; i < n; i++) {
        if (i) {
            *p++ = '&';
        }

        p = ngx_cpymem(p, args[i].name.data, args[i].name.len);
        *p++ = '=';
        p = ngx_cpymem(p, args[i].value.data, args[i].value.len);
    }

    canonical->len = p - canonical->data;

    return NGX_OK;
}


static int ngx_libc_cdecl
s3_sigv4_cmp_args(const void *one, const void *two)
{
    ngx_int_t        rc;
    const s3_arg_t  *a, *b;

    a = one;
    b = two;

    rc = ngx_memn2cmp(a->name.data, b->name.data, a->name.len, b->name.len);

    if (rc == 0) {
        rc = ngx_memn2cmp(a->value.data, b->value.data, a->value.len,
                          b->value.len);
    }

    return (rc > 0) - (rc < 0);
}
