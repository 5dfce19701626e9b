
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_auth_internal.h"
#include "s3_date.h"


static s3_error_e s3_auth_mechanism(s3_verify_t *v, ngx_str_t *authorization);
static ngx_int_t s3_auth_zone(ngx_str_t *date, ngx_int_t *seconds);


s3_error_e
s3_auth_verify(s3_auth_request_t *ar, s3_credentials_t *credentials,
    s3_auth_t *auth, s3_failure_t *fail)
{
    ngx_str_t    *authorization;
    ngx_uint_t    n;
    s3_error_e    rc;
    s3_header_t  *h;
    s3_verify_t   v;

    ngx_memzero(auth, sizeof(s3_auth_t));
    ngx_memzero(&v, sizeof(s3_verify_t));

    v.ar = ar;
    v.credentials = credentials;
    v.auth = auth;
    v.fail = fail;

    if (ar->nheaders > S3_AUTH_HEADERS_MAX) {
        return s3_fail(fail, S3_ERR_REQUEST_HEADER_SECTION_TOO_LARGE, NULL);
    }

    rc = s3_args_parse(ar->pool, &ar->query, &v.args, &v.nargs);
    if (rc != S3_OK) {
        return s3_fail(fail, rc, NULL);
    }

    h = s3_header_find(ar->headers, ar->nheaders, "authorization",
                       sizeof("authorization") - 1, &n);
    if (n > 1) {
        return s3_fail_argument(fail, "Only one Authorization header is "
                                "allowed", "Authorization", NULL);
    }

    authorization = h ? &h->value : NULL;

    rc = s3_auth_mechanism(&v, authorization);
    if (rc != S3_OK) {
        return rc;
    }

    return (auth->version == 2) ? s3_sigv2_verify(&v, authorization)
                                : s3_sigv4_verify(&v, authorization);
}


/* Which of the ways to authenticate was taken?  Exactly one may be. */

static s3_error_e
s3_auth_mechanism(s3_verify_t *v, ngx_str_t *authorization)
{
    ngx_uint_t  v2, v4;

    v4 = (s3_auth_arg(v, "X-Amz-Algorithm", NULL)
          || s3_auth_arg(v, "X-Amz-Signature", NULL)
          || s3_auth_arg(v, "X-Amz-Credential", NULL));

    v2 = (s3_auth_arg(v, "AWSAccessKeyId", NULL)
          || s3_auth_arg(v, "Signature", NULL));

    if ((authorization != NULL) + v4 + v2 > 1) {
        return s3_fail_argument(v->fail,
                                "Only one auth mechanism allowed; only the "
                                "X-Amz-Algorithm query parameter, Signature "
                                "query string parameter or the Authorization "
                                "header should be specified",
                                "Authorization", authorization);
    }

    if (v4 || v2) {
        v->auth->type = S3_AUTH_QUERY;
        v->auth->version = v4 ? 4 : 2;
        return S3_OK;
    }

    if (authorization == NULL) {
        return s3_fail(v->fail, S3_ERR_ACCESS_DENIED, NULL);
    }

    if (s3_str_has_prefix(authorization, "AWS4-ECDSA-P256-SHA256")) {
        return s3_fail(v->fail, S3_ERR_NOT_IMPLEMENTED,
                       "AWS4-ECDSA-P256-SHA256 is not implemented. Please "
                       "use AWS4-HMAC-SHA256.");
    }

    if (s3_str_has_prefix(authorization, S3_SIGV4_ALGORITHM)) {
        v->auth->version = 4;

    } else if (s3_str_has_prefix(authorization, "AWS ")) {
        v->auth->version = 2;

    } else {
        return s3_fail_argument(v->fail, "Unsupported Authorization Type",
                                "Authorization", NULL);
    }

    v->auth->type = S3_AUTH_HEADER;

    return S3_OK;
}


s3_error_e
s3_auth_find(s3_verify_t *v, s3_credential_t **cr)
{
    s3_arg_t     *arg;
    s3_header_t  *h;

    *cr = s3_credentials_find(v->credentials, &v->auth->access_key);

    if (*cr == NULL || !(*cr)->enabled) {
        (void) s3_fail(v->fail, S3_ERR_INVALID_ACCESS_KEY_ID, NULL);
        s3_fail_element(v->fail, "AWSAccessKeyId", &v->auth->access_key);
        return S3_ERR_INVALID_ACCESS_KEY_ID;
    }

    /*
     * Session tokens belong to temporary keys, of which there are none.
     * Version 2 has the name in lower case.
     */

    h = s3_header(v->ar->headers, v->ar->nheaders, "x-amz-security-token");
    arg = s3_auth_arg(v, v->auth->version == 2 ? "x-amz-security-token"
                                               : "X-Amz-Security-Token",
                      NULL);

    if ((h && h->value.len) || (arg && arg->value.len)) {
        return s3_fail(v->fail, S3_ERR_INVALID_TOKEN, NULL);
    }

    return S3_OK;
}


s3_arg_t *
s3_auth_arg(s3_verify_t *v, const char *name, ngx_uint_t *count)
{
    size_t       len;
    s3_arg_t    *first;
    ngx_uint_t   i, found;

    len = ngx_strlen(name);
    first = NULL;
    found = 0;

    for (i = 0; i < v->nargs; i++) {
        if (v->args[i].name.len == len
            && ngx_memcmp(v->args[i].name.data, name, len) == 0)
        {
            first = first ? first : &v->args[i];
            found++;
        }
    }

    if (count) {
        *count = found;
    }

    return first;
}


s3_error_e
s3_auth_date(s3_verify_t *v, s3_header_t **header, time_t *t)
{
    ngx_int_t     zone;
    ngx_uint_t    n;
    s3_header_t  *h;

    h = s3_header_find(v->ar->headers, v->ar->nheaders, "x-amz-date",
                       sizeof("x-amz-date") - 1, &n);

    if (h == NULL) {
        h = s3_header_find(v->ar->headers, v->ar->nheaders, "date",
                           sizeof("date") - 1, &n);
    }

    *header = h;

    if (n != 1) {
        goto invalid;
    }

    if (h->value.len == S3_DATE_BASIC_LEN) {

        if (s3_date_parse_basic(&h->value, t) != NGX_OK) {
            goto invalid;
        }

        return S3_OK;
    }

    if (s3_auth_zone(&h->value, &zone) != NGX_OK
        || s3_date_parse_http(&h->value, t) != NGX_OK)
    {
        goto invalid;
    }

    *t -= zone;

    return S3_OK;

invalid:

    return s3_fail(v->fail, S3_ERR_ACCESS_DENIED,
                   "AWS authentication requires a valid Date or x-amz-date "
                   "header");
}


/*
 * ngx_parse_http_time() looks at no zone, HTTP having but one.  s3cmd and old
 * SDKs write RFC 5322's "+0000".
 */

static ngx_int_t
s3_auth_zone(ngx_str_t *date, ngx_int_t *seconds)
{
    u_char     *p;
    ngx_int_t   hours, minutes;

    *seconds = 0;

    if (date->len < 6) {
        return NGX_ERROR;
    }

    p = date->data + date->len - 5;

    if (p[-1] != ' ' || (*p != '+' && *p != '-')) {
        return NGX_OK;
    }

    hours = ngx_atoi(p + 1, 2);
    minutes = ngx_atoi(p + 3, 2);

    if (hours == NGX_ERROR || minutes == NGX_ERROR || minutes > 59) {
        return NGX_ERROR;
    }

    *seconds = hours * 3600 + minutes * 60;

    if (*p == '-') {
        *seconds = - *seconds;
    }

    return NGX_OK;
}


s3_error_e
s3_auth_skewed(s3_verify_t *v, ngx_str_t *request_time)
{
    ngx_str_t  value;

    (void) s3_fail(v->fail, S3_ERR_REQUEST_TIME_TOO_SKEWED, NULL);

    s3_fail_element(v->fail, "RequestTime", request_time);
    s3_auth_time_element(v, "ServerTime", v->ar->now);

    value.data = ngx_pnalloc(v->ar->pool, NGX_TIME_T_LEN + 3);

    if (value.data) {
        value.len = ngx_sprintf(value.data, "%T000", v->ar->skew)
                    - value.data;
        s3_fail_element(v->fail, "MaxAllowedSkewMilliseconds", &value);
    }

    return S3_ERR_REQUEST_TIME_TOO_SKEWED;
}


void
s3_auth_time_element(s3_verify_t *v, const char *name, time_t t)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(v->ar->pool,
                             S3_DATE_EXTENDED_LEN + NGX_INT64_LEN);

    if (value.data) {
        value.len = s3_date_extended(value.data, (int64_t) t * 1000)
                    - value.data;
        s3_fail_element(v->fail, name, &value);
    }
}


ngx_int_t
s3_auth_unhex(u_char *dst, ngx_str_t *hex)
{
    u_char  ch, v;
    size_t  i;

    for (i = 0; i < hex->len; i++) {
        ch = hex->data[i];

        if (ch >= '0' && ch <= '9') {
            v = ch - '0';

        } else if (ch >= 'a' && ch <= 'f') {
            v = ch - 'a' + 10;

        } else {
            return NGX_ERROR;
        }

        if (i % 2) {
            dst[i / 2] |= v;

        } else {
            dst[i / 2] = (u_char) (v << 4);
        }
    }

    return NGX_OK;
}
