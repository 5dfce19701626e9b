
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_metadata.h"
#include "s3_rfc2047.h"


#define S3_METADATA_VERSION    1
#define S3_METADATA_HEAD       3       /* version, count */
#define S3_METADATA_NAME_MAX   255

#define S3_META                "x-amz-meta-"
#define S3_META_LEN            (sizeof(S3_META) - 1)


/* the index is the record's id; ids are on disk and never change */

static const struct {
    ngx_str_t                  name;
    ngx_str_t                  lowcase;
    ngx_str_t                  override;
} s3_metadata_names[] = {
    { ngx_null_string, ngx_null_string, ngx_null_string },
    { ngx_string("Content-Type"), ngx_string("content-type"),
      ngx_string("response-content-type") },
    { ngx_string("Content-Encoding"), ngx_string("content-encoding"),
      ngx_string("response-content-encoding") },
    { ngx_string("Content-Disposition"), ngx_string("content-disposition"),
      ngx_string("response-content-disposition") },
    { ngx_string("Content-Language"), ngx_string("content-language"),
      ngx_string("response-content-language") },
    { ngx_string("Cache-Control"), ngx_string("cache-control"),
      ngx_string("response-cache-control") },
    { ngx_string("Expires"), ngx_string("expires"),
      ngx_string("response-expires") }
};

#define S3_METADATA_CONTENT_TYPE      1
#define S3_METADATA_CONTENT_ENCODING  2
#define S3_METADATA_NAMES                                                    \
    (sizeof(s3_metadata_names) / sizeof(s3_metadata_names[0]))


static s3_error_e s3_metadata_value(ngx_pool_t *pool, s3_header_t *headers,
    ngx_uint_t n, ngx_str_t *name, ngx_str_t *value, s3_failure_t *fail);
static ngx_uint_t s3_metadata_token(ngx_str_t *name);
static s3_error_e s3_metadata_too_large(ngx_pool_t *pool, s3_failure_t *fail,
    size_t size, ngx_uint_t max);
static ngx_int_t s3_metadata_latin1(ngx_pool_t *pool, ngx_str_t *utf8,
    ngx_str_t *latin1);


s3_error_e
s3_metadata_collect(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    ngx_uint_t nreal, ngx_str_t *blob, s3_failure_t *fail)
{
    size_t        user;
    u_char       *p, *last;
    ngx_str_t     name, value;
    ngx_uint_t    i, count;
    s3_error_e    rc;
    s3_header_t  *h;

    p = ngx_pnalloc(pool, S3_METADATA_MAX);
    if (p == NULL) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    blob->data = p;
    last = p + S3_METADATA_MAX;
    p += S3_METADATA_HEAD;

    count = 0;
    user = 0;

    for (i = 1; i < S3_METADATA_NAMES; i++) {

        name = s3_metadata_names[i].lowcase;

        if (s3_header_find(headers, n, (char *) name.data, name.len, NULL)
            == NULL)
        {
            continue;
        }

        rc = s3_metadata_value(pool, headers, n, &name, &value, fail);
        if (rc != S3_OK) {
            return rc;
        }

        if (i == S3_METADATA_CONTENT_ENCODING
            && s3_metadata_encoding(pool, &value) != NGX_OK)
        {
            return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        if (value.len == 0) {
            continue;
        }

        if ((size_t) (last - p) < 3 + value.len) {
            return s3_metadata_too_large(pool, fail,
                                         S3_METADATA_MAX + value.len,
                                         S3_METADATA_MAX);
        }

        *p++ = (u_char) i;
        *p++ = (u_char) (value.len & 0xff);
        *p++ = (u_char) (value.len >> 8);
        p = ngx_cpymem(p, value.data, value.len);
        count++;
    }

    for (i = 0; i < n; i++) {
        h = &headers[i];

        if (!s3_header_has_prefix(h, S3_META, S3_META_LEN)) {
            continue;
        }

        name.len = h->name.len;

        name.data = ngx_pnalloc(pool, name.len);
        if (name.data == NULL) {
            return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        ngx_strlow(name.data, h->name.data, name.len);

        /* one that came before has been joined there */

        if (s3_header_find(headers, i, (char *) name.data, name.len, NULL)) {
            continue;
        }

        rc = s3_metadata_value(pool, headers, n, &name, &value, fail);
        if (rc != S3_OK) {
            return rc;
        }

        name.data += S3_META_LEN;
        name.len -= S3_META_LEN;

        if (name.len == 0 || name.len > S3_METADATA_NAME_MAX) {
            return s3_fail_argument(fail,
                                    "The name of a metadata header is empty "
                                    "or too long", "x-amz-meta-", NULL);
        }

        /* it comes back as a header; a presigned query may hold anything */

        if (!s3_metadata_token(&name)) {
            return s3_fail_argument(fail,
                                    "The name of a metadata header holds a "
                                    "character that no header's name may "
                                    "hold", "x-amz-meta-", NULL);
        }

        if (s3_rfc2047_decode(pool, &value, i >= nreal, &value) != NGX_OK) {
            return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        /*
         * S3 user guide, "User-defined object metadata": bytes of names and
         * values in UTF-8
         */

        user += name.len + value.len;

        if (user > S3_METADATA_USER_MAX) {
            return s3_metadata_too_large(pool, fail, user,
                                         S3_METADATA_USER_MAX);
        }

        if ((size_t) (last - p) < 4 + name.len + value.len) {
            return s3_metadata_too_large(pool, fail,
                                         S3_METADATA_MAX + value.len,
                                         S3_METADATA_MAX);
        }

        *p++ = 0;
        *p++ = (u_char) name.len;
        p = ngx_cpymem(p, name.data, name.len);
        *p++ = (u_char) (value.len & 0xff);
        *p++ = (u_char) (value.len >> 8);
        p = ngx_cpymem(p, value.data, value.len);
        count++;
    }

    blob->len = p - blob->data;

    blob->data[0] = S3_METADATA_VERSION;
    blob->data[1] = (u_char) (count & 0xff);
    blob->data[2] = (u_char) (count >> 8);

    return S3_OK;
}


/* All values of that name, joined and looked through. */

static s3_error_e
s3_metadata_value(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    ngx_str_t *name, ngx_str_t *value, s3_failure_t *fail)
{
    size_t        len;
    ngx_uint_t    i;
    s3_header_t  *h;

    len = 0;

    for (i = 0; i < n; i++) {
        h = s3_header_find(&headers[i], 1, (char *) name->data, name->len,
                           NULL);

        if (h == NULL) {
            continue;
        }

        if (!s3_header_value_ok(&h->value)) {
            return s3_fail_argument(fail,
                                    "A header's value holds a control "
                                    "character", "header", name);
        }

        len += h->value.len + 1;
    }

    if (len > S3_METADATA_MAX) {
        return s3_metadata_too_large(pool, fail, len, S3_METADATA_MAX);
    }

    return s3_header_join(pool, headers, n, name, value) == NGX_OK
           ? S3_OK : s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
}


/* RFC 9110, section 5.6.2 */

static ngx_uint_t
s3_metadata_token(ngx_str_t *name)
{
    u_char  ch;
    size_t  i;

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9')
            || (ch && ngx_strchr("!#$%&'*+-.^_`|~", ch)))
        {
            continue;
        }

        return 0;
    }

    return 1;
}


/* what stays is joined again by "," */

ngx_int_t
s3_metadata_encoding(ngx_pool_t *pool, ngx_str_t *value)
{
    u_char  *p, *last, *end, *next, *d, *dst;

    if (value->len == 0) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(pool, value->len);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    d = dst;
    p = value->data;
    last = p + value->len;

    for ( /* void */ ; p < last; p = next) {

        end = ngx_strlchr(p, last, ',');
        next = end ? end + 1 : last;
        end = end ? end : last;

        while (p < end && (*p == ' ' || *p == '\t')) { p++; }
        while (end > p && (end[-1] == ' ' || end[-1] == '\t')) { end--; }

        if (p == end
            || ((size_t) (end - p) == sizeof("aws-chunked") - 1
                && ngx_strncasecmp(p, (u_char *) "aws-chunked", end - p)
                   == 0))
        {
            continue;
        }

        if (d != dst) {
            *d++ = ',';
        }

        d = ngx_cpymem(d, p, end - p);
    }

    value->data = dst;
    value->len = d - dst;

    return NGX_OK;
}


static s3_error_e
s3_metadata_too_large(ngx_pool_t *pool, s3_failure_t *fail, size_t size,
    ngx_uint_t max)
{
    u_char     *p;
    ngx_str_t   value;

    (void) s3_fail(fail, S3_ERR_METADATA_TOO_LARGE, NULL);

    p = ngx_pnalloc(pool, 2 * NGX_SIZE_T_LEN);

    if (p) {
        value.data = p;
        value.len = ngx_sprintf(p, "%uz", size) - p;
        s3_fail_element(fail, "Size", &value);

        value.data = p + value.len;
        value.len = ngx_sprintf(value.data, "%ui", max) - value.data;
        s3_fail_element(fail, "MaxSizeAllowed", &value);
    }

    return S3_ERR_METADATA_TOO_LARGE;
}


ngx_int_t
s3_metadata_headers(ngx_pool_t *pool, ngx_str_t *blob, ngx_array_t *headers)
{
    size_t        len;
    u_char       *p, *last;
    ngx_uint_t    count, id, type;
    s3_header_t  *h;

    p = NULL;
    last = NULL;
    count = 0;
    type = 0;

    if (blob->len) {
        p = blob->data;
        last = p + blob->len;

        if (blob->len < S3_METADATA_HEAD || p[0] != S3_METADATA_VERSION) {
            return NGX_DECLINED;
        }

        count = p[1] | p[2] << 8;
        p += S3_METADATA_HEAD;
    }

    while (count--) {

        if (p == last) {
            return NGX_DECLINED;
        }

        id = *p++;

        if (id >= S3_METADATA_NAMES) {
            return NGX_DECLINED;
        }

        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        if (id == 0) {

            if (p == last || *p == 0 || (size_t) (last - p) < 1U + *p) {
                return NGX_DECLINED;
            }

            len = *p++;

            h->name.len = S3_META_LEN + len;

            h->name.data = ngx_pnalloc(pool, h->name.len);
            if (h->name.data == NULL) {
                return NGX_ERROR;
            }

            ngx_memcpy(ngx_cpymem(h->name.data, S3_META, S3_META_LEN), p,
                       len);
            p += len;

        } else {
            h->name = s3_metadata_names[id].name;
        }

        if (id == S3_METADATA_CONTENT_TYPE) {
            type = 1;
        }

        if (last - p < 2) {
            return NGX_DECLINED;
        }

        len = p[0] | p[1] << 8;
        p += 2;

        if ((size_t) (last - p) < len) {
            return NGX_DECLINED;
        }

        h->value.data = p;
        h->value.len = len;
        p += len;

        if (id == 0
            && s3_rfc2047_encode(pool, &h->value, &h->value) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (p != last) {
        return NGX_DECLINED;
    }

    if (!type) {
        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->name = s3_metadata_names[S3_METADATA_CONTENT_TYPE].name;
        ngx_str_set(&h->value, "binary/octet-stream");
    }

    return NGX_OK;
}


s3_error_e
s3_metadata_override(s3_target_t *target, ngx_array_t *headers,
    s3_failure_t *fail)
{
    s3_arg_t     *arg;
    ngx_int_t     rc;
    ngx_str_t     value;
    ngx_uint_t    i;
    s3_header_t  *h;

    for (i = 1; i < S3_METADATA_NAMES; i++) {

        arg = s3_target_arg(target,
                            (char *) s3_metadata_names[i].override.data);
        if (arg == NULL) {
            continue;
        }

        rc = s3_metadata_latin1(headers->pool, &arg->value, &value);

        if (rc == NGX_ERROR) {
            return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        /* a control character would split the response */

        if (rc == NGX_DECLINED || !s3_header_value_ok(&value)) {
            return s3_fail_argument(fail,
                                    "Header value cannot be represented "
                                    "using ISO-8859-1.",
                                    (char *)
                                    s3_metadata_names[i].override.data,
                                    &arg->value);
        }

        h = s3_header_find(headers->elts, headers->nelts,
                           (char *) s3_metadata_names[i].lowcase.data,
                           s3_metadata_names[i].lowcase.len, NULL);

        if (h == NULL) {
            h = ngx_array_push(headers);
            if (h == NULL) {
                return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
            }

            h->name = s3_metadata_names[i].name;
        }

        h->value = value;
    }

    return S3_OK;
}


/*
 * UTF-8 in ISO 8859-1, as S3 has it in the headers that a query asks for.
 * NGX_DECLINED: it has no such character, or is not UTF-8.
 */

static ngx_int_t
s3_metadata_latin1(ngx_pool_t *pool, ngx_str_t *utf8, ngx_str_t *latin1)
{
    u_char    *p, *d, *last;
    uint32_t   ch;

    d = ngx_pnalloc(pool, utf8->len);
    if (d == NULL) {
        return NGX_ERROR;
    }

    latin1->data = d;
    p = utf8->data;
    last = p + utf8->len;

    while (p < last) {
        ch = s3_utf8_next(&p, last);

        if (ch > 0xff) {
            return NGX_DECLINED;
        }

        *d++ = (u_char) ch;
    }

    latin1->len = d - latin1->data;

    return NGX_OK;
}
