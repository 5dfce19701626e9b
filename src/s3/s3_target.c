
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_target.h"


static s3_error_e s3_target_mount(s3_target_t *target, ngx_str_t *mount,
    ngx_str_t *stripped, s3_failure_t *fail);
static ngx_int_t s3_hex(u_char ch);


s3_error_e
s3_target_parse(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *mount,
    s3_target_t *target, s3_failure_t *fail)
{
    return s3_target_parse_host(pool, raw, mount, NULL, target, fail);
}


s3_error_e
s3_target_parse_host(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *mount,
    ngx_str_t *bucket, s3_target_t *target, s3_failure_t *fail)
{
    u_char      *p, *last;
    u_char       num[NGX_SIZE_T_LEN];
    ngx_str_t    stripped, value;
    s3_error_e   rc;

    ngx_memzero(target, sizeof(s3_target_t));
    ngx_str_null(&stripped);

    /*
     * nginx ends r->uri at a "#", clients never send one: what it would mean
     * is nothing to guess about.
     */

    if (raw->len == 0 || raw->data[0] != '/'
        || ngx_strlchr(raw->data, raw->data + raw->len, '#') != NULL)
    {
        return s3_fail(fail, S3_ERR_INVALID_URI, NULL);
    }

    last = raw->data + raw->len;

    p = ngx_strlchr(raw->data, last, '?');

    target->raw_path.data = raw->data;

    if (p) {
        target->raw_path.len = p - raw->data;
        target->raw_query.data = p + 1;
        target->raw_query.len = last - (p + 1);

    } else {
        target->raw_path.len = raw->len;
    }

    target->path.data = ngx_pnalloc(pool, target->raw_path.len);
    if (target->path.data == NULL) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (s3_uri_decode(target->path.data, &target->path.len,
                      &target->raw_path, 0)
        != NGX_OK
        || ngx_strlchr(target->path.data,
                       target->path.data + target->path.len, '\0')
           != NULL)
    {
        return s3_fail(fail, S3_ERR_INVALID_URI, NULL);
    }

    rc = s3_target_mount(target, mount, &stripped, fail);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_args_parse(pool, &target->raw_query, &target->args,
                       &target->nargs);
    if (rc != S3_OK) {
        return s3_fail(fail, rc, NULL);
    }

    /* the byte at 0 is "/" */

    last = stripped.data + stripped.len;

    if (bucket) {
        target->virtual_host = 1;
        target->bucket = *bucket;
        target->bucket_path.data = target->path.data;
        target->bucket_path.len = stripped.data - target->path.data;

        p = stripped.data;

    } else if (stripped.len == 1) {
        target->level = S3_LEVEL_SERVICE;
        target->bucket_path.data = target->path.data;
        target->bucket_path.len = stripped.data - target->path.data;
        return S3_OK;

    } else {
        target->bucket.data = stripped.data + 1;

        p = ngx_strlchr(target->bucket.data, last, '/');

        target->bucket.len = (p ? p : last) - target->bucket.data;
        target->bucket_path.data = target->path.data;
        target->bucket_path.len = target->bucket.data + target->bucket.len
                                  - target->path.data;
    }

    if (p == NULL || stripped.len == 1 || p + 1 == last) {
        target->level = S3_LEVEL_BUCKET;

    } else {
        target->key.data = p + 1;
        target->key.len = last - (p + 1);
        target->level = S3_LEVEL_OBJECT;
    }

    if (!s3_bucket_name_valid(&target->bucket)) {
        (void) s3_fail(fail, S3_ERR_INVALID_BUCKET_NAME, NULL);
        s3_fail_element(fail, "BucketName", &target->bucket);
        return S3_ERR_INVALID_BUCKET_NAME;
    }

    if (target->key.len > S3_KEY_MAX) {
        (void) s3_fail(fail, S3_ERR_KEY_TOO_LONG, NULL);

        value.data = num;
        value.len = ngx_sprintf(num, "%uz", target->key.len) - num;
        value.data = ngx_pstrdup(pool, &value);

        if (value.data) {
            s3_fail_element(fail, "Size", &value);
        }

        ngx_str_set(&value, "1024");
        s3_fail_element(fail, "MaxSizeAllowed", &value);

        return S3_ERR_KEY_TOO_LONG;
    }

    if (!s3_utf8_valid(&target->key)) {
        return s3_fail(fail, S3_ERR_INVALID_URI, NULL);
    }

    return S3_OK;
}


ngx_int_t
s3_target_host(ngx_pool_t *pool, ngx_str_t *host, ngx_str_t *domains,
    ngx_uint_t n, ngx_str_t *bucket)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    name;
    ngx_uint_t   i;

    name = *host;

    p = ngx_strlchr(name.data, name.data + name.len, ':');
    if (p) {
        name.len = p - name.data;
    }

    if (name.len && name.data[name.len - 1] == '.') {
        name.len--;
    }

    len = 0;

    for (i = 0; i < n; i++) {

        if (name.len < domains[i].len
            || ngx_strncasecmp(name.data + name.len - domains[i].len,
                               domains[i].data, domains[i].len)
               != 0)
        {
            continue;
        }

        if (name.len == domains[i].len) {
            return NGX_DECLINED;
        }

        if (name.data[name.len - domains[i].len - 1] == '.'
            && domains[i].len > len)
        {
            len = domains[i].len;
        }
    }

    if (len == 0) {
        return NGX_DECLINED;
    }

    bucket->len = name.len - len - 1;
    bucket->data = ngx_pnalloc(pool, bucket->len + 1);

    if (bucket->data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(bucket->data, name.data, bucket->len);

    return NGX_OK;
}


/*
 * Take the location's prefix off.  "/storage" and "/storage/" are the same
 * mount; "/storagex" is outside of both, although nginx's prefix location
 * "/storage" would take it.
 */

static s3_error_e
s3_target_mount(s3_target_t *target, ngx_str_t *mount, ngx_str_t *stripped,
    s3_failure_t *fail)
{
    size_t             i, n, len;
    static ngx_str_t   slash = ngx_string("/");

    len = mount->len;

    if (len && mount->data[len - 1] == '/') {
        len--;
    }

    if (target->path.len < len
        || ngx_memcmp(target->path.data, mount->data, len) != 0
        || (target->path.len > len && target->path.data[len] != '/'))
    {
        return s3_fail(fail, S3_ERR_INVALID_URI, NULL);
    }

    if (target->path.len == len) {
        target->raw_stripped = slash;
        *stripped = slash;

        /* "bucket_path" is reckoned from the decoded path */
        stripped->data = target->path.data + len;

        return S3_OK;
    }

    stripped->data = target->path.data + len;
    stripped->len = target->path.len - len;

    /* the same place in the raw bytes; the escapes are known to be good */

    for (i = 0, n = 0; n < len; n++) {
        i += (target->raw_path.data[i] == '%') ? 3 : 1;
    }

    target->raw_stripped.data = target->raw_path.data + i;
    target->raw_stripped.len = target->raw_path.len - i;

    return S3_OK;
}


s3_error_e
s3_args_parse(ngx_pool_t *pool, ngx_str_t *raw, s3_arg_t **args,
    ngx_uint_t *nargs)
{
    u_char      *p, *last, *end, *eq, *dst;
    s3_arg_t    *arg;
    ngx_str_t    s;
    ngx_uint_t   n;

    *args = NULL;
    *nargs = 0;

    if (raw->len == 0) {
        return S3_OK;
    }

    last = raw->data + raw->len;

    for (p = raw->data, n = 1; p < last; p++) {
        if (*p == '&') {
            n++;
        }
    }

    if (n > S3_ARGS_MAX) {
        return S3_ERR_INVALID_URI;
    }

    arg = ngx_palloc(pool, n * sizeof(s3_arg_t));
    dst = ngx_pnalloc(pool, raw->len);

    if (arg == NULL || dst == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    *args = arg;

    for (p = raw->data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        if (end == p) {
            continue;
        }

        eq = ngx_strlchr(p, end, '=');

        s.data = p;
        s.len = (eq ? eq : end) - p;

        arg->name.data = dst;

        if (s3_uri_decode(dst, &arg->name.len, &s, 1) != NGX_OK) {
            return S3_ERR_INVALID_URI;
        }

        dst += arg->name.len;

        arg->value.data = dst;
        arg->value.len = 0;

        if (eq) {
            s.data = eq + 1;
            s.len = end - (eq + 1);

            if (s3_uri_decode(dst, &arg->value.len, &s, 1) != NGX_OK) {
                return S3_ERR_INVALID_URI;
            }

            dst += arg->value.len;
        }

        arg++;
    }

    *nargs = arg - *args;

    return S3_OK;
}


s3_arg_t *
s3_target_arg(s3_target_t *target, const char *name)
{
    size_t      len;
    ngx_uint_t  i;

    len = ngx_strlen(name);

    for (i = 0; i < target->nargs; i++) {
        if (target->args[i].name.len == len
            && ngx_memcmp(target->args[i].name.data, name, len) == 0)
        {
            return &target->args[i];
        }
    }

    return NULL;
}


ngx_int_t
s3_target_hoisted(ngx_pool_t *pool, s3_target_t *target, ngx_array_t *headers)
{
    s3_arg_t    *arg;
    ngx_str_t    name;
    ngx_uint_t   i, j, nreal;
    s3_header_t  *h;

    static const char  *skip[] = {
        /* of the signature */
        "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires",
        "x-amz-signedheaders", "x-amz-signature", "x-amz-security-token",
        "x-amz-content-sha256", "x-amz-user-agent",
        /* the checksum of no body, see s3_target.h */
        "x-amz-sdk-checksum-algorithm",
        NULL
    };

    nreal = headers->nelts;

    for (i = 0; i < target->nargs; i++) {
        arg = &target->args[i];

        if (arg->name.len < sizeof("x-amz-") - 1
            || ngx_strncasecmp(arg->name.data, (u_char *) "x-amz-",
                               sizeof("x-amz-") - 1)
               != 0)
        {
            continue;
        }

        name.len = arg->name.len;
        name.data = ngx_pnalloc(pool, name.len);
        if (name.data == NULL) {
            return NGX_ERROR;
        }

        ngx_strlow(name.data, arg->name.data, name.len);

        for (j = 0; skip[j]; j++) {
            if (name.len == ngx_strlen(skip[j])
                && ngx_memcmp(name.data, skip[j], name.len) == 0)
            {
                break;
            }
        }

        if (skip[j]
            || (name.len >= sizeof("x-amz-checksum-") - 1
                && ngx_memcmp(name.data, "x-amz-checksum-",
                              sizeof("x-amz-checksum-") - 1)
                   == 0
                && !(name.len == sizeof("x-amz-checksum-mode") - 1
                     && ngx_memcmp(name.data, "x-amz-checksum-mode", name.len)
                        == 0)))
        {
            continue;
        }

        if (s3_header_find(headers->elts, nreal, (char *) name.data, name.len,
                           NULL))
        {
            continue;
        }

        if (!s3_header_value_ok(&arg->value)) {
            return NGX_DECLINED;
        }

        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->name = name;
        h->value = arg->value;
    }

    return NGX_OK;
}


ngx_int_t
s3_uri_decode(u_char *dst, size_t *dst_len, ngx_str_t *src, ngx_uint_t plus)
{
    u_char     *p, *last, *d;
    ngx_int_t   hi, lo;

    d = dst;

    if (src->len == 0) {
        *dst_len = 0;
        return NGX_OK;
    }

    last = src->data + src->len;

    for (p = src->data; p < last; p++) {

        if (*p == '%') {

            if (last - p < 3) {
                return NGX_ERROR;
            }

            hi = s3_hex(p[1]);
            lo = s3_hex(p[2]);

            if (hi < 0 || lo < 0) {
                return NGX_ERROR;
            }

            *d++ = (u_char) (hi << 4 | lo);
            p += 2;
            continue;
        }

        *d++ = (plus && *p == '+') ? ' ' : *p;
    }

    *dst_len = d - dst;

    return NGX_OK;
}


static ngx_int_t
s3_hex(u_char ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }

    ch |= 0x20;

    if (ch >= 'a' && ch <= 'f') {
        return ch - 'a' + 10;
    }

    return -1;
}


size_t
s3_uri_encode(u_char *dst, ngx_str_t *src, ngx_uint_t slash)
{
    u_char   ch;
    size_t   i, len;

    static u_char  hex[] = "0123456789ABCDEF";

    len = 0;

    for (i = 0; i < src->len; i++) {
        ch = src->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9')
            || ch == '-' || ch == '.' || ch == '_' || ch == '~'
            || (ch == '/' && slash))
        {
            if (dst) {
                dst[len] = ch;
            }

            len++;
            continue;
        }

        if (dst) {
            dst[len] = '%';
            dst[len + 1] = hex[ch >> 4];
            dst[len + 2] = hex[ch & 0xf];
        }

        len += 3;
    }

    return len;
}


uint32_t
s3_utf8_next(u_char **p, u_char *last)
{
    u_char     *s;
    uint32_t    ch, min;
    ngx_uint_t  n;

    s = *p;
    ch = *s++;
    *p = s;

    if (ch < 0x80) {
        return ch;
    }

    if (ch >= 0xc2 && ch <= 0xdf) {
        ch &= 0x1f;
        min = 0x80;
        n = 1;

    } else if ((ch & 0xf0) == 0xe0) {
        ch &= 0x0f;
        min = 0x800;
        n = 2;

    } else if (ch >= 0xf0 && ch <= 0xf4) {
        ch &= 0x07;
        min = 0x10000;
        n = 3;

    } else {
        return S3_UTF8_INVALID;
    }

    if ((size_t) (last - s) < n) {
        return S3_UTF8_INVALID;
    }

    while (n--) {
        if ((*s & 0xc0) != 0x80) {
            return S3_UTF8_INVALID;
        }

        ch = (ch << 6) | (*s++ & 0x3f);
    }

    if (ch < min || ch > 0x10ffff || (ch >= 0xd800 && ch <= 0xdfff)) {
        return S3_UTF8_INVALID;
    }

    *p = s;

    return ch;
}


ngx_uint_t
s3_utf8_valid(ngx_str_t *s)
{
    u_char  *p, *last;

    if (s->len == 0) {
        return 1;
    }

    p = s->data;
    last = p + s->len;

    while (p < last) {
        if (s3_utf8_next(&p, last) == S3_UTF8_INVALID) {
            return 0;
        }
    }

    return 1;
}


/* S3 user guide, "General purpose bucket naming rules" */

ngx_uint_t
s3_bucket_name_valid(ngx_str_t *name)
{
    u_char      ch, prev;
    size_t      i, len;
    ngx_uint_t  digits, dots;

    static const char  *prefixes[] = { "xn--", "sthree-", "amzn-s3-demo-" };
    static const char  *suffixes[] = { "-s3alias", "--ol-s3", ".mrap",
                                       "--x-s3", "--table-s3" };

    if (name->len < 3 || name->len > 63) {
        return 0;
    }

    digits = 1;
    dots = 0;
    prev = '.';

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (ch >= '0' && ch <= '9') {
            /* void */

        } else if (ch >= 'a' && ch <= 'z') {
            digits = 0;

        } else if (ch == '-') {
            digits = 0;

            if (i == 0) {
                return 0;
            }

        } else if (ch == '.') {
            /* the first character counts as one after a dot */

            if (prev == '.') {
                return 0;
            }

            dots++;

        } else {
            return 0;
        }

        prev = ch;
    }

    if (prev == '.' || prev == '-') {
        return 0;
    }

    /* formatted as an IP address */

    if (digits && dots == 3) {
        return 0;
    }

    for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        len = ngx_strlen(prefixes[i]);

        if (name->len >= len
            && ngx_memcmp(name->data, prefixes[i], len) == 0)
        {
            return 0;
        }
    }

    for (i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        len = ngx_strlen(suffixes[i]);

        if (name->len >= len
            && ngx_memcmp(name->data + name->len - len, suffixes[i], len)
               == 0)
        {
            return 0;
        }
    }

    return 1;
}
