
#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "s3_auth_internal.h"
#include "s3_date.h"


typedef struct {
    s3_verify_t               *v;
    s3_auth_request_t         *ar;
    s3_failure_t              *fail;
    ngx_pool_t                *pool;

    ngx_str_t                  signature;
    ngx_str_t                  date;      /* as in the string to sign */
    ngx_str_t                  md5;
    ngx_str_t                  type;
    s3_credential_t           *cr;
} s3_sigv2_t;


/* A line "name:value" of the string to sign, or an argument of its path. */

typedef struct {
    ngx_str_t                  name;      /* lower case: a line's */
    ngx_str_t                  value;
    ngx_uint_t                 index;     /* order received */
} s3_sigv2_item_t;


static s3_error_e s3_sigv2_parse_header(s3_sigv2_t *s,
    ngx_str_t *authorization);
static s3_error_e s3_sigv2_parse_query(s3_sigv2_t *s);
static s3_error_e s3_sigv2_expires(s3_sigv2_t *s);
static s3_error_e s3_sigv2_standard(s3_sigv2_t *s, const char *name,
    ngx_str_t *value);
static s3_error_e s3_sigv2_payload(s3_sigv2_t *s);
static s3_error_e s3_sigv2_compare(s3_sigv2_t *s);
static ngx_int_t s3_sigv2_head(s3_sigv2_t *s, ngx_str_t *out);
static ngx_int_t s3_sigv2_items(s3_sigv2_t *s, s3_sigv2_item_t **items,
    ngx_uint_t *nitems);
static ngx_int_t s3_sigv2_sub_resources(s3_sigv2_t *s, ngx_str_t *out);
static ngx_uint_t s3_sigv2_is_sub_resource(ngx_str_t *name);
static void s3_sigv2_trim(ngx_str_t *value);
static int ngx_libc_cdecl s3_sigv2_cmp(const void *one, const void *two);


/*
 * The S3 User Guide's list and what SDKs sign besides: botocore's
 * HmacV1Auth.QSAOfInterest, which is the longest of them.
 */

static ngx_str_t  s3_sigv2_sub_resource[] = {
    ngx_string("accelerate"),
    ngx_string("acl"),
    ngx_string("analytics"),
    ngx_string("cors"),
    ngx_string("defaultObjectAcl"),
    ngx_string("delete"),
    ngx_string("inventory"),
    ngx_string("lifecycle"),
    ngx_string("location"),
    ngx_string("logging"),
    ngx_string("metrics"),
    ngx_string("notification"),
    ngx_string("object-lock"),
    ngx_string("partNumber"),
    ngx_string("policy"),
    ngx_string("replication"),
    ngx_string("requestPayment"),
    ngx_string("response-cache-control"),
    ngx_string("response-content-disposition"),
    ngx_string("response-content-encoding"),
    ngx_string("response-content-language"),
    ngx_string("response-content-type"),
    ngx_string("response-expires"),
    ngx_string("restore"),
    ngx_string("select"),
    ngx_string("select-type"),
    ngx_string("storageClass"),
    ngx_string("tagging"),
    ngx_string("torrent"),
    ngx_string("uploadId"),
    ngx_string("uploads"),
    ngx_string("versionId"),
    ngx_string("versioning"),
    ngx_string("versions"),
    ngx_string("website")
};


s3_error_e
s3_sigv2_verify(s3_verify_t *v, ngx_str_t *authorization)
{
    s3_error_e  rc;
    s3_sigv2_t  s;

    ngx_memzero(&s, sizeof(s3_sigv2_t));

    s.v = v;
    s.ar = v->ar;
    s.fail = v->fail;
    s.pool = v->ar->pool;

    ngx_str_set(&s.date, "");
    ngx_str_set(&s.md5, "");
    ngx_str_set(&s.type, "");

    rc = (v->auth->type == S3_AUTH_HEADER)
         ? s3_sigv2_parse_header(&s, authorization)
         : s3_sigv2_parse_query(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_auth_find(v, &s.cr);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv2_payload(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv2_standard(&s, "content-md5", &s.md5);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv2_standard(&s, "content-type", &s.type);
    if (rc != S3_OK) {
        return rc;
    }

    return s3_sigv2_compare(&s);
}


static s3_error_e
s3_sigv2_parse_header(s3_sigv2_t *s, ngx_str_t *authorization)
{
    u_char       *p, *last, *colon;
    time_t        t;
    s3_auth_t    *auth;
    s3_error_e    rc;
    s3_header_t  *h;

    auth = s->v->auth;

    p = authorization->data + sizeof("AWS ") - 1;
    last = authorization->data + authorization->len;

    if (ngx_strlchr(p, last, ' ') != NULL) {
        return s3_fail_argument(s->fail, "Authorization header is invalid -- "
                                "one and only one ' ' (space) required",
                                "Authorization", NULL);
    }

    /* from its end: base64 has no colon, an access key may */

    for (colon = last; colon > p && colon[-1] != ':'; colon--) {
        /* void */
    }

    if (colon == p || colon == last || colon - 1 == p
        || colon - 1 - p > S3_ACCESS_KEY_MAX)
    {
        return s3_fail_argument(s->fail, "AWS authorization header is "
                                "invalid.  Expected AwsAccessKeyId:signature",
                                "Authorization", NULL);
    }

    auth->access_key.data = p;
    auth->access_key.len = colon - 1 - p;

    s->signature.data = colon;
    s->signature.len = last - colon;

    rc = s3_auth_date(s->v, &h, &t);
    if (rc != S3_OK) {
        return rc;
    }

    if (t > s->ar->now + s->ar->skew || t < s->ar->now - s->ar->skew) {
        return s3_auth_skewed(s->v, &h->value);
    }

    /* x-amz-date stands among the x-amz-* */

    if (!s3_header_has_prefix(h, "x-amz-", sizeof("x-amz-") - 1)) {
        s->date = h->value;
    }

    return S3_OK;
}


static s3_error_e
s3_sigv2_parse_query(s3_sigv2_t *s)
{
    ngx_uint_t   i, n;
    s3_arg_t    *arg;
    s3_auth_t   *auth;
    ngx_str_t   *dst[3];

    static const char  *names[] = {
        "AWSAccessKeyId", "Signature", "Expires"
    };

    auth = s->v->auth;

    dst[0] = &auth->access_key;
    dst[1] = &s->signature;
    dst[2] = &s->date;

    for (i = 0; i < 3; i++) {
        arg = s3_auth_arg(s->v, names[i], &n);

        if (n != 1 || arg->value.len == 0) {
            ngx_str_null(&auth->access_key);

            return s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                           "Query-string authentication requires the "
                           "Signature, Expires and AWSAccessKeyId "
                           "parameters");
        }

        *dst[i] = arg->value;
    }

    if (auth->access_key.len > S3_ACCESS_KEY_MAX) {
        ngx_str_null(&auth->access_key);
        return s3_fail(s->fail, S3_ERR_INVALID_ACCESS_KEY_ID, NULL);
    }

    return s3_sigv2_expires(s);
}


/* A moment, not a span; S3 knows no upper bound of it. */

static s3_error_e
s3_sigv2_expires(s3_sigv2_t *s)
{
    time_t  expires;

    expires = ngx_atotm(s->date.data, s->date.len);

    if (expires == (time_t) NGX_ERROR) {
        return s3_failf(s->pool, s->fail, S3_ERR_ACCESS_DENIED,
                        "Invalid date (should be seconds since epoch): %V",
                        &s->date);
    }

    if (s->ar->now > expires) {
        (void) s3_fail(s->fail, S3_ERR_ACCESS_DENIED, "Request has expired");
        s3_auth_time_element(s->v, "Expires", expires);
        s3_auth_time_element(s->v, "ServerTime", s->ar->now);
        return S3_ERR_ACCESS_DENIED;
    }

    return S3_OK;
}


/* Content-MD5 and Content-Type: one value, the one that will be used. */

static s3_error_e
s3_sigv2_standard(s3_sigv2_t *s, const char *name, ngx_str_t *value)
{
    ngx_uint_t    n;
    s3_header_t  *h;

    h = s3_header_find(s->ar->headers, s->ar->nheaders, name,
                       ngx_strlen(name), &n);

    if (n > 1) {
        return s3_fail_argument(s->fail, "A signed header must be given once",
                                name, NULL);
    }

    if (h) {
        *value = h->value;
        s3_sigv2_trim(value);
    }

    return S3_OK;
}


/*
 * Version 2 signs no payload.  x-amz-content-sha256 is a header as any other
 * to it; but what it says of the body must be true, and chunks could be
 * neither verified nor left in what is stored.
 */

static s3_error_e
s3_sigv2_payload(s3_sigv2_t *s)
{
    ngx_uint_t    n;
    s3_arg_t     *arg;
    ngx_str_t    *value;
    s3_header_t  *h;

    s->v->auth->payload = S3_PAYLOAD_UNSIGNED;

    h = s3_header_find(s->ar->headers, s->ar->nheaders,
                       "x-amz-content-sha256",
                       sizeof("x-amz-content-sha256") - 1, &n);
    value = h ? &h->value : NULL;

    if (h == NULL) {
        arg = s3_auth_arg(s->v, "x-amz-content-sha256", &n);
        value = arg ? &arg->value : NULL;
    }

    if (value == NULL) {
        return S3_OK;
    }

    if (n == 1 && s3_str_eq(value, "UNSIGNED-PAYLOAD")) {
        return S3_OK;
    }

    if (n == 1 && value->len == 64
        && s3_auth_unhex(s->v->auth->payload_hash, value) == NGX_OK)
    {
        s->v->auth->payload = S3_PAYLOAD_HASH;
        return S3_OK;
    }

    if (s3_str_has_prefix(value, "STREAMING-AWS4-ECDSA-P256-SHA256-")) {
        return s3_fail(s->fail, S3_ERR_NOT_IMPLEMENTED,
                       "AWS4-ECDSA-P256-SHA256 is not implemented. Please "
                       "use AWS4-HMAC-SHA256.");
    }

    return s3_fail_argument(s->fail, "x-amz-content-sha256 must be "
                            "UNSIGNED-PAYLOAD, or a valid sha256 value.",
                            "x-amz-content-sha256", value);
}


static s3_error_e
s3_sigv2_compare(s3_sigv2_t *s)
{
    u_char      *p;
    u_char       signature[S3_SIGV2_SIGNATURE_LEN];
    ngx_str_t    head, args, sts, first, *path;
    ngx_uint_t   i, n, slash;

    if (s3_sigv2_head(s, &head) != NGX_OK
        || s3_sigv2_sub_resources(s, &args) != NGX_OK)
    {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ngx_str_null(&first);

    for (i = 0; i < s->ar->npaths && i < S3_AUTH_PATHS_MAX; i++) {

        path = &s->ar->paths[i];

        /*
         * "GET /bucket" is signed as sent, or, by botocore, as "/bucket/",
         * which is what S3 makes of it.
         */

        slash = (s->ar->bucket.len == 0 && path->len > 1
                 && ngx_strlchr(path->data + 1, path->data + path->len, '/')
                    == NULL);

        for (n = 0; n <= slash; n++) {

            sts.data = ngx_pnalloc(s->pool, head.len + 1 + s->ar->bucket.len
                                            + path->len + 1 + args.len);
            if (sts.data == NULL) {
                return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
            }

            p = ngx_cpymem(sts.data, head.data, head.len);

            if (s->ar->bucket.len) {
                *p++ = '/';
                p = ngx_cpymem(p, s->ar->bucket.data, s->ar->bucket.len);
            }

            p = ngx_cpymem(p, path->data, path->len);

            if (n) {
                *p++ = '/';
            }

            p = ngx_cpymem(p, args.data, args.len);

            sts.len = p - sts.data;

            if (s3_sigv2_sign(&s->cr->secret_key, &sts, signature)
                != NGX_OK)
            {
                return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
            }

            if (s->signature.len == sizeof(signature)
                && CRYPTO_memcmp(s->signature.data, signature,
                                 sizeof(signature))
                   == 0)
            {
                return S3_OK;
            }

            if (first.data == NULL) {
                first = sts;
            }
        }
    }

    (void) s3_fail(s->fail, S3_ERR_SIGNATURE_DOES_NOT_MATCH, NULL);
    s3_fail_element(s->fail, "AWSAccessKeyId", &s->v->auth->access_key);
    s3_fail_element(s->fail, "StringToSign", &first);
    s3_fail_element(s->fail, "SignatureProvided", &s->signature);

    return S3_ERR_SIGNATURE_DOES_NOT_MATCH;
}


/* What stands before the path. */

static ngx_int_t
s3_sigv2_head(s3_sigv2_t *s, ngx_str_t *out)
{
    size_t            len;
    u_char           *p;
    ngx_uint_t        i, n;
    s3_sigv2_item_t  *items;

    if (s3_sigv2_items(s, &items, &n) != NGX_OK) {
        return NGX_ERROR;
    }

    len = s->ar->method.len + s->md5.len + s->type.len + s->date.len + 4;

    for (i = 0; i < n; i++) {
        len += items[i].name.len + 1 + items[i].value.len + 1;
    }

    p = ngx_pnalloc(s->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;

    p = ngx_cpymem(p, s->ar->method.data, s->ar->method.len);
    *p++ = '\n';
    p = ngx_cpymem(p, s->md5.data, s->md5.len);
    *p++ = '\n';
    p = ngx_cpymem(p, s->type.data, s->type.len);
    *p++ = '\n';
    p = ngx_cpymem(p, s->date.data, s->date.len);
    *p++ = '\n';

    for (i = 0; i < n; i++) {

        if (i && items[i].name.len == items[i - 1].name.len
            && ngx_memcmp(items[i].name.data, items[i - 1].name.data,
                          items[i].name.len)
               == 0)
        {
            /* in place of the line's end */
            p[-1] = ',';

        } else {
            p = ngx_cpymem(p, items[i].name.data, items[i].name.len);
            *p++ = ':';
        }

        p = ngx_cpymem(p, items[i].value.data, items[i].value.len);
        *p++ = '\n';
    }

    out->len = p - out->data;

    return NGX_OK;
}


/*
 * x-amz-* of the headers, then those of the query that no header of the same
 * name overrides: the rule of s3_target_hoisted(), so that whatever will be
 * taken for a header was signed as one.
 */

static ngx_int_t
s3_sigv2_items(s3_sigv2_t *s, s3_sigv2_item_t **items, ngx_uint_t *nitems)
{
    u_char           *low;
    ngx_str_t        *name, *value;
    ngx_uint_t        i, n, total, nheaders;
    s3_sigv2_item_t  *item;

    nheaders = s->ar->nheaders;
    total = nheaders + s->v->nargs;

    item = ngx_palloc(s->pool, (total + 1) * sizeof(s3_sigv2_item_t));
    if (item == NULL) {
        return NGX_ERROR;
    }

    for (i = 0, n = 0; i < total; i++) {

        if (i < nheaders) {
            name = &s->ar->headers[i].name;
            value = &s->ar->headers[i].value;

        } else {
            name = &s->v->args[i - nheaders].name;
            value = &s->v->args[i - nheaders].value;
        }

        if (name->len < sizeof("x-amz-") - 1
            || ngx_strncasecmp(name->data, (u_char *) "x-amz-",
                               sizeof("x-amz-") - 1)
               != 0)
        {
            continue;
        }

        low = ngx_pnalloc(s->pool, name->len);
        if (low == NULL) {
            return NGX_ERROR;
        }

        ngx_strlow(low, name->data, name->len);

        if (i >= nheaders
            && s3_header_find(s->ar->headers, nheaders, (char *) low,
                              name->len, NULL))
        {
            continue;
        }

        item[n].name.data = low;
        item[n].name.len = name->len;
        item[n].value = *value;
        item[n].index = i;

        s3_sigv2_trim(&item[n].value);

        n++;
    }

    qsort(item, n, sizeof(s3_sigv2_item_t), s3_sigv2_cmp);

    *items = item;
    *nitems = n;

    return NGX_OK;
}


/* "?acl&versionId=null", or nothing */

static ngx_int_t
s3_sigv2_sub_resources(s3_sigv2_t *s, ngx_str_t *out)
{
    size_t            len;
    u_char           *p;
    s3_arg_t         *arg;
    ngx_uint_t        i, n;
    s3_sigv2_item_t  *items;

    ngx_str_set(out, "");

    items = ngx_palloc(s->pool,
                       (s->v->nargs + 1) * sizeof(s3_sigv2_item_t));
    if (items == NULL) {
        return NGX_ERROR;
    }

    for (i = 0, n = 0, len = 0; i < s->v->nargs; i++) {
        arg = &s->v->args[i];

        if (!s3_sigv2_is_sub_resource(&arg->name)) {
            continue;
        }

        items[n].name = arg->name;
        items[n].value = arg->value;
        items[n].index = i;

        len += 1 + arg->name.len + 1 + arg->value.len;
        n++;
    }

    if (n == 0) {
        return NGX_OK;
    }

    qsort(items, n, sizeof(s3_sigv2_item_t), s3_sigv2_cmp);

    p = ngx_pnalloc(s->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;

    for (i = 0; i < n; i++) {
        *p++ = i ? '&' : '?';
        p = ngx_cpymem(p, items[i].name.data, items[i].name.len);

        if (items[i].value.len) {
            *p++ = '=';
            p = ngx_cpymem(p, items[i].value.data, items[i].value.len);
        }
    }

    out->len = p - out->data;

    return NGX_OK;
}


static ngx_uint_t
s3_sigv2_is_sub_resource(ngx_str_t *name)
{
    ngx_str_t   *known;
    ngx_uint_t   i;

    for (i = 0;
         i < sizeof(s3_sigv2_sub_resource) / sizeof(s3_sigv2_sub_resource[0]);
         i++)
    {
        known = &s3_sigv2_sub_resource[i];

        if (known->len == name->len
            && ngx_memcmp(known->data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
s3_sigv2_trim(ngx_str_t *value)
{
    while (value->len && (value->data[0] == ' ' || value->data[0] == '\t')) {
        value->data++;
        value->len--;
    }

    while (value->len && (value->data[value->len - 1] == ' '
                          || value->data[value->len - 1] == '\t'))
    {
        value->len--;
    }
}


static int ngx_libc_cdecl
s3_sigv2_cmp(const void *one, const void *two)
{
    ngx_int_t               rc;
    const s3_sigv2_item_t  *a, *b;

    a = one;
    b = two;

    rc = ngx_memn2cmp(a->name.data, b->name.data, a->name.len, b->name.len);

    if (rc == 0) {
        return (a->index > b->index) - (a->index < b->index);
    }

    return (rc > 0) - (rc < 0);
}


ngx_int_t
s3_sigv2_sign(ngx_str_t *secret, ngx_str_t *string,
    u_char signature[S3_SIGV2_SIGNATURE_LEN])
{
    u_char        digest[EVP_MAX_MD_SIZE];
    ngx_str_t     src, dst;
    unsigned int  len;

    if (HMAC(EVP_sha1(), secret->data, (int) secret->len, string->data,
             string->len, digest, &len)
        == NULL)
    {
        return NGX_ERROR;
    }

    src.data = digest;
    src.len = len;
    dst.data = signature;

    ngx_encode_base64(&dst, &src);

    OPENSSL_cleanse(digest, sizeof(digest));

    return NGX_OK;
}
