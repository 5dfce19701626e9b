
#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "s3_date.h"
#include "s3_sigv4.h"
#include "s3_target.h"


/*
 * Bounds of the work one request can cause: every signed name is looked for
 * among all headers.
 */
#define S3_SIGV4_HEADERS_MAX   512
#define S3_SIGV4_SIGNED_MAX    128

#define S3_SIGV4_ALGORITHM     "AWS4-HMAC-SHA256"
#define S3_SIGV4_TERMINAL      "aws4_request"

#define s3_str_eq(s, text)                                                   \
    ((s)->len == sizeof(text) - 1                                            \
     && ngx_memcmp((s)->data, text, sizeof(text) - 1) == 0)

#define s3_str_has_prefix(s, text)                                           \
    ((s)->len >= sizeof(text) - 1                                            \
     && ngx_memcmp((s)->data, text, sizeof(text) - 1) == 0)


/* A request being verified. */

typedef struct {
    s3_auth_request_t         *ar;
    s3_auth_t                 *auth;
    s3_failure_t              *fail;
    ngx_pool_t                *pool;

    s3_arg_t                  *args;
    ngx_uint_t                 nargs;

    ngx_str_t                  credential;     /* KEY/DATE/REGION/s3/... */
    ngx_str_t                  date;
    ngx_str_t                  region;
    ngx_str_t                  service;
    ngx_str_t                  terminal;

    ngx_str_t                  signed_headers; /* "host;x-amz-date" */
    ngx_str_t                 *names;
    ngx_uint_t                 nnames;

    ngx_str_t                  signature;
    ngx_str_t                  expires;        /* query only */
    time_t                     time;           /* of the request */
    ngx_str_t                  payload;        /* as it is signed */

    s3_credential_t           *cr;
} s3_sigv4_t;


static s3_error_e s3_sigv4_mechanism(s3_sigv4_t *s, ngx_str_t *authorization);
static s3_error_e s3_sigv4_parse_header(s3_sigv4_t *s,
    ngx_str_t *authorization);
static s3_error_e s3_sigv4_parse_query(s3_sigv4_t *s);
static s3_error_e s3_sigv4_malformed(s3_sigv4_t *s, const char *header,
    const char *query);
static s3_error_e s3_sigv4_scope(s3_sigv4_t *s);
static s3_error_e s3_sigv4_check_scope(s3_sigv4_t *s);
static s3_error_e s3_sigv4_date(s3_sigv4_t *s, ngx_str_t *amz_date);
static s3_error_e s3_sigv4_time(s3_sigv4_t *s);
static s3_error_e s3_sigv4_skewed(s3_sigv4_t *s);
static void s3_sigv4_time_element(s3_sigv4_t *s, const char *name, time_t t);
static s3_error_e s3_sigv4_payload(s3_sigv4_t *s);
static s3_error_e s3_sigv4_token(s3_sigv4_t *s);
static s3_error_e s3_sigv4_signed_headers(s3_sigv4_t *s);
static s3_error_e s3_sigv4_compare(s3_sigv4_t *s);
static ngx_int_t s3_sigv4_canonical_headers(s3_sigv4_t *s, ngx_str_t *out);
static size_t s3_sigv4_trim(u_char *dst, ngx_str_t *value);
static ngx_int_t s3_sigv4_string_to_sign(s3_sigv4_t *s, ngx_str_t *path,
    ngx_str_t *rest, ngx_str_t *out);
static ngx_int_t s3_sigv4_unhex(u_char *dst, ngx_str_t *hex);
static s3_arg_t *s3_sigv4_arg(s3_sigv4_t *s, const char *name,
    ngx_uint_t *count);
static int ngx_libc_cdecl s3_sigv4_cmp_args(const void *one, const void *two);


s3_error_e
s3_auth_verify(s3_auth_request_t *ar, s3_credentials_t *credentials,
    s3_auth_t *auth, s3_failure_t *fail)
{
    ngx_uint_t    n;
    s3_error_e    rc;
    s3_sigv4_t    s;
    s3_header_t  *h;

    ngx_memzero(auth, sizeof(s3_auth_t));
    ngx_memzero(&s, sizeof(s3_sigv4_t));

    s.ar = ar;
    s.auth = auth;
    s.fail = fail;
    s.pool = ar->pool;

    if (ar->nheaders > S3_SIGV4_HEADERS_MAX) {
        return s3_fail(fail, S3_ERR_REQUEST_HEADER_SECTION_TOO_LARGE, NULL);
    }

    rc = s3_args_parse(s.pool, &ar->query, &s.args, &s.nargs);
    if (rc != S3_OK) {
        return s3_fail(fail, rc, NULL);
    }

    h = s3_header_find(ar->headers, ar->nheaders, "authorization",
                       sizeof("authorization") - 1, &n);
    if (n > 1) {
        return s3_fail_argument(fail, "Only one Authorization header is "
                                "allowed", "Authorization", NULL);
    }

    rc = s3_sigv4_mechanism(&s, h ? &h->value : NULL);
    if (rc != S3_OK) {
        return rc;
    }

    rc = (auth->type == S3_AUTH_HEADER) ? s3_sigv4_parse_header(&s, &h->value)
                                        : s3_sigv4_parse_query(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv4_scope(&s);
    if (rc != S3_OK) {
        return rc;
    }

    s.cr = s3_credentials_find(credentials, &auth->access_key);

    if (s.cr == NULL || !s.cr->enabled) {
        (void) s3_fail(fail, S3_ERR_INVALID_ACCESS_KEY_ID, NULL);
        s3_fail_element(fail, "AWSAccessKeyId", &auth->access_key);
        return S3_ERR_INVALID_ACCESS_KEY_ID;
    }

    rc = s3_sigv4_token(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv4_check_scope(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv4_time(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv4_payload(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv4_signed_headers(&s);
    if (rc != S3_OK) {
        return rc;
    }

    return s3_sigv4_compare(&s);
}


/* Which of the ways to authenticate was taken?  Exactly one may be. */

static s3_error_e
s3_sigv4_mechanism(s3_sigv4_t *s, ngx_str_t *authorization)
{
    ngx_uint_t  v2, v4;

    v4 = (s3_sigv4_arg(s, "X-Amz-Algorithm", NULL)
          || s3_sigv4_arg(s, "X-Amz-Signature", NULL)
          || s3_sigv4_arg(s, "X-Amz-Credential", NULL));

    v2 = (s3_sigv4_arg(s, "AWSAccessKeyId", NULL) != NULL);

    if ((authorization != NULL) + v4 + v2 > 1) {
        return s3_fail_argument(s->fail,
                                "Only one auth mechanism allowed; only the "
                                "X-Amz-Algorithm query parameter, Signature "
                                "query string parameter or the Authorization "
                                "header should be specified",
                                "Authorization", authorization);
    }

    if (v2 || (authorization && s3_str_has_prefix(authorization, "AWS "))) {
        return s3_fail(s->fail, S3_ERR_INVALID_REQUEST,
                       "The authorization mechanism you have provided is not "
                       "supported. Please use AWS4-HMAC-SHA256.");
    }

    if (v4) {
        s->auth->type = S3_AUTH_QUERY;
        return S3_OK;
    }

    if (authorization == NULL) {
        return s3_fail(s->fail, S3_ERR_ACCESS_DENIED, NULL);
    }

    if (s3_str_has_prefix(authorization, "AWS4-ECDSA-P256-SHA256")) {
        return s3_fail(s->fail, S3_ERR_NOT_IMPLEMENTED,
                       "AWS4-ECDSA-P256-SHA256 is not implemented. Please "
                       "use AWS4-HMAC-SHA256.");
    }

    if (!s3_str_has_prefix(authorization, S3_SIGV4_ALGORITHM)) {
        return s3_fail_argument(s->fail, "Unsupported Authorization Type",
                                "Authorization", NULL);
    }

    s->auth->type = S3_AUTH_HEADER;

    return S3_OK;
}


static s3_error_e
s3_sigv4_parse_header(s3_sigv4_t *s, ngx_str_t *authorization)
{
    u_char       *p, *last, *end, *eq, *next;
    ngx_str_t    *dst, name;
    ngx_uint_t    n;
    s3_header_t  *h;
    s3_error_e    rc;
    ngx_str_t     date;

    p = authorization->data + sizeof(S3_SIGV4_ALGORITHM) - 1;
    last = authorization->data + authorization->len;

    if (p == last || (*p != ' ' && *p != '\t')) {
        return s3_sigv4_malformed(s, "The authorization header is malformed; "
                                  "the authorization header requires three "
                                  "components: Credential, SignedHeaders, and"
                                  " Signature.", NULL);
    }

    for ( /* void */ ; p < last; p = next) {

        end = ngx_strlchr(p, last, ',');
        next = end ? end + 1 : last;
        end = end ? end : last;

        while (p < end && (*p == ' ' || *p == '\t')) { p++; }
        while (end > p && (end[-1] == ' ' || end[-1] == '\t')) { end--; }

        if (p == end) {
            continue;
        }

        eq = ngx_strlchr(p, end, '=');

        name.data = p;
        name.len = eq ? (size_t) (eq - p) : 0;

        if (s3_str_eq(&name, "Credential")) {
            dst = &s->credential;

        } else if (s3_str_eq(&name, "SignedHeaders")) {
            dst = &s->signed_headers;

        } else if (s3_str_eq(&name, "Signature")) {
            dst = &s->signature;

        } else {
            dst = NULL;
        }

        if (dst == NULL || dst->data) {
            return s3_sigv4_malformed(s, "The authorization header is "
                                      "malformed; each of Credential, "
                                      "SignedHeaders, and Signature must be "
                                      "given once.", NULL);
        }

        dst->data = eq + 1;
        dst->len = end - (eq + 1);
    }

    if (s->credential.len == 0) {
        return s3_sigv4_malformed(s, "The authorization header is malformed; "
                                  "missing Credential.", NULL);
    }

    if (s->signed_headers.len == 0) {
        return s3_sigv4_malformed(s, "The authorization header is malformed; "
                                  "missing SignedHeaders.", NULL);
    }

    if (s->signature.len == 0) {
        return s3_sigv4_malformed(s, "The authorization header is malformed; "
                                  "missing Signature.", NULL);
    }

    h = s3_header_find(s->ar->headers, s->ar->nheaders, "x-amz-date",
                       sizeof("x-amz-date") - 1, &n);

    if (h == NULL) {
        h = s3_header_find(s->ar->headers, s->ar->nheaders, "date",
                           sizeof("date") - 1, &n);
    }

    if (n != 1) {
        return s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                       "AWS authentication requires a valid Date or "
                       "x-amz-date header");
    }

    /* the string to sign has the basic form whatever the header's was */

    if (h->value.len != S3_DATE_BASIC_LEN) {

        if (s3_date_parse_http(&h->value, &s->time) != NGX_OK) {
            return s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                           "AWS authentication requires a valid Date or "
                           "x-amz-date header");
        }

        date.len = S3_DATE_BASIC_LEN;

        date.data = ngx_pnalloc(s->pool, 2 * S3_DATE_BASIC_LEN);
        if (date.data == NULL) {
            return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        if (s3_date_basic(date.data, s->time)
            != date.data + S3_DATE_BASIC_LEN)
        {
            return s3_fail(s->fail, S3_ERR_ACCESS_DENIED, NULL);
        }

    } else {
        date = h->value;
    }

    rc = s3_sigv4_date(s, &date);
    if (rc != S3_OK) {
        return s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                       "AWS authentication requires a valid Date or "
                       "x-amz-date header");
    }

    return S3_OK;
}


static s3_error_e
s3_sigv4_parse_query(s3_sigv4_t *s)
{
    ngx_uint_t   i, n;
    s3_arg_t    *arg, *found[6];

    static const char  *names[] = {
        "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
        "X-Amz-SignedHeaders", "X-Amz-Signature"
    };

    for (i = 0; i < 6; i++) {
        arg = s3_sigv4_arg(s, names[i], &n);

        if (n != 1 || arg->value.len == 0) {
            return s3_sigv4_malformed(s, NULL,
                                      "Query-string authentication version 4 "
                                      "requires the X-Amz-Algorithm, "
                                      "X-Amz-Credential, X-Amz-Signature, "
                                      "X-Amz-Date, X-Amz-SignedHeaders, and "
                                      "X-Amz-Expires parameters.");
        }

        found[i] = arg;
    }

    if (s3_str_eq(&found[0]->value, "AWS4-ECDSA-P256-SHA256")) {
        return s3_fail(s->fail, S3_ERR_NOT_IMPLEMENTED,
                       "AWS4-ECDSA-P256-SHA256 is not implemented. Please "
                       "use AWS4-HMAC-SHA256.");
    }

    if (!s3_str_eq(&found[0]->value, S3_SIGV4_ALGORITHM)) {
        return s3_sigv4_malformed(s, NULL, "X-Amz-Algorithm only supports "
                                  "\"AWS4-HMAC-SHA256\"");
    }

    s->credential = found[1]->value;
    s->expires = found[3]->value;
    s->signed_headers = found[4]->value;
    s->signature = found[5]->value;

    if (s3_sigv4_date(s, &found[2]->value) != S3_OK) {
        return s3_sigv4_malformed(s, NULL, "X-Amz-Date must be in the ISO8601"
                                  " Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    }

    return S3_OK;
}


/* The error of the mechanism in use. */

static s3_error_e
s3_sigv4_malformed(s3_sigv4_t *s, const char *header, const char *query)
{
    if (s->auth->type == S3_AUTH_HEADER) {
        return s3_fail(s->fail, S3_ERR_AUTHORIZATION_HEADER_MALFORMED,
                       header);
    }

    return s3_fail(s->fail, S3_ERR_AUTHORIZATION_QUERY_PARAMETERS_ERROR,
                   query);
}


static s3_error_e
s3_sigv4_date(s3_sigv4_t *s, ngx_str_t *amz_date)
{
    if (s3_date_parse_basic(amz_date, &s->time) != NGX_OK) {
        return S3_ERR_ACCESS_DENIED;
    }

    ngx_memcpy(s->auth->amz_date, amz_date->data, S3_DATE_BASIC_LEN);

    return S3_OK;
}


/* Cut the credential from its end: an access key may hold slashes. */

static s3_error_e
s3_sigv4_scope(s3_sigv4_t *s)
{
    u_char      *p, *end;
    ngx_str_t   *part[4];
    ngx_uint_t   i;

    part[0] = &s->terminal;
    part[1] = &s->service;
    part[2] = &s->region;
    part[3] = &s->date;

    end = s->credential.data + s->credential.len;

    for (i = 0; i < 4; i++) {

        for (p = end; p > s->credential.data && p[-1] != '/'; p--) {
            /* void */
        }

        if (p == s->credential.data) {
            break;
        }

        part[i]->data = p;
        part[i]->len = end - p;

        end = p - 1;
    }

    s->auth->access_key.data = s->credential.data;
    s->auth->access_key.len = end - s->credential.data;

    if (i < 4 || s->auth->access_key.len == 0
        || s->auth->access_key.len > S3_ACCESS_KEY_MAX)
    {
        ngx_str_null(&s->auth->access_key);

        return s3_sigv4_malformed(s,
                   "The authorization header is malformed; the Credential is "
                   "mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/"
                   "SERVICE/aws4_request\".",
                   "Error parsing the X-Amz-Credential parameter; the "
                   "Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMM"
                   "DD/REGION/SERVICE/aws4_request\".");
    }

    s->auth->scope.data = s->date.data;
    s->auth->scope.len = s->credential.data + s->credential.len
                         - s->date.data;

    if (s->auth->scope.len > S3_SIGV4_SCOPE_MAX) {
        return s3_sigv4_malformed(s, "The authorization header is malformed; "
                                  "the Credential is too long.",
                                  "Error parsing the X-Amz-Credential "
                                  "parameter; the Credential is too long.");
    }

    return S3_OK;
}


static s3_error_e
s3_sigv4_check_scope(s3_sigv4_t *s)
{
    ngx_str_t    date, *region;
    s3_error_e   code;
    const char  *what;

    if (s->auth->type == S3_AUTH_HEADER) {
        code = S3_ERR_AUTHORIZATION_HEADER_MALFORMED;
        what = "The authorization header is malformed";

    } else {
        code = S3_ERR_AUTHORIZATION_QUERY_PARAMETERS_ERROR;
        what = "Error parsing the X-Amz-Credential parameter";
    }

    date.data = s->auth->amz_date;
    date.len = 8;

    if (s->date.len != date.len
        || ngx_memcmp(s->date.data, date.data, date.len) != 0)
    {
        return s3_failf(s->pool, s->fail, code,
                        "%s; Invalid credential date \"%V\". This date is "
                        "not the same as X-Amz-Date: \"%V\".",
                        what, &s->date, &date);
    }

    region = &s->ar->region;

    if (region->len
        && (s->region.len != region->len
            || ngx_memcmp(s->region.data, region->data, region->len) != 0))
    {
        (void) s3_failf(s->pool, s->fail, code,
                        "%s; the region '%V' is wrong; expecting '%V'",
                        what, &s->region, region);
        s3_fail_element(s->fail, "Region", region);
        return code;
    }

    if (!s3_str_eq(&s->service, "s3")) {
        return s3_failf(s->pool, s->fail, code,
                        "%s; incorrect service \"%V\". This endpoint belongs "
                        "to \"s3\".", what, &s->service);
    }

    if (!s3_str_eq(&s->terminal, S3_SIGV4_TERMINAL)) {
        return s3_failf(s->pool, s->fail, code,
                        "%s; incorrect terminal \"%V\". This endpoint uses "
                        "\"aws4_request\".", what, &s->terminal);
    }

    return S3_OK;
}


static s3_error_e
s3_sigv4_time(s3_sigv4_t *s)
{
    time_t     now, skew;
    ngx_int_t  expires;

    now = s->ar->now;
    skew = s->ar->skew;

    if (s->auth->type == S3_AUTH_HEADER) {

        if (s->time > now + skew || s->time < now - skew) {
            return s3_sigv4_skewed(s);
        }

        return S3_OK;
    }

    if (s->expires.data[0] == '-') {
        return s3_sigv4_malformed(s, NULL,
                                  "X-Amz-Expires must be non-negative");
    }

    expires = ngx_atoi(s->expires.data, s->expires.len);

    if (expires == NGX_ERROR) {
        return s3_sigv4_malformed(s, NULL,
                                  "X-Amz-Expires should be a number");
    }

    if (expires > S3_SIGV4_EXPIRES_MAX) {
        return s3_sigv4_malformed(s, NULL,
                                  "X-Amz-Expires must be less than a week (in"
                                  " seconds); that is, the given "
                                  "X-Amz-Expires must be less than 604800 "
                                  "seconds");
    }

    if (expires == 0) {
        return s3_sigv4_malformed(s, NULL,
                                  "X-Amz-Expires must be at least 1 second");
    }

    if (s->time > now + skew) {
        (void) s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                       "Request is not valid yet");
        s3_sigv4_time_element(s, "X-Amz-Date", s->time);
        s3_sigv4_time_element(s, "ServerTime", now);
        return S3_ERR_ACCESS_DENIED;
    }

    if (now >= s->time + expires) {
        (void) s3_fail(s->fail, S3_ERR_ACCESS_DENIED, "Request has expired");
        s3_fail_element(s->fail, "X-Amz-Expires", &s->expires);
        s3_sigv4_time_element(s, "Expires", s->time + expires);
        s3_sigv4_time_element(s, "ServerTime", now);
        return S3_ERR_ACCESS_DENIED;
    }

    return S3_OK;
}


static s3_error_e
s3_sigv4_skewed(s3_sigv4_t *s)
{
    ngx_str_t  value;

    (void) s3_fail(s->fail, S3_ERR_REQUEST_TIME_TOO_SKEWED, NULL);

    value.data = s->auth->amz_date;
    value.len = sizeof(s->auth->amz_date);
    s3_fail_element(s->fail, "RequestTime", &value);

    s3_sigv4_time_element(s, "ServerTime", s->ar->now);

    value.data = ngx_pnalloc(s->pool, NGX_TIME_T_LEN + 3);

    if (value.data) {
        value.len = ngx_sprintf(value.data, "%T000", s->ar->skew)
                    - value.data;
        s3_fail_element(s->fail, "MaxAllowedSkewMilliseconds", &value);
    }

    return S3_ERR_REQUEST_TIME_TOO_SKEWED;
}


static void
s3_sigv4_time_element(s3_sigv4_t *s, const char *name, time_t t)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(s->pool, S3_DATE_EXTENDED_LEN + NGX_INT64_LEN);

    if (value.data) {
        value.len = s3_date_extended(value.data, (int64_t) t * 1000)
                    - value.data;
        s3_fail_element(s->fail, name, &value);
    }
}


/* x-amz-content-sha256: what is signed in the payload's place. */

static s3_error_e
s3_sigv4_payload(s3_sigv4_t *s)
{
    s3_arg_t     *arg;
    ngx_uint_t    i, n;
    s3_header_t  *h;

    static const struct {
        ngx_str_t     name;
        s3_payload_e  payload;
    } forms[] = {
        { ngx_string("UNSIGNED-PAYLOAD"), S3_PAYLOAD_UNSIGNED },
        { ngx_string("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
          S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER },
        { ngx_string("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
          S3_PAYLOAD_STREAMING_SIGNED },
        { ngx_string("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
          S3_PAYLOAD_STREAMING_SIGNED_TRAILER }
    };

    h = s3_header_find(s->ar->headers, s->ar->nheaders,
                       "x-amz-content-sha256",
                       sizeof("x-amz-content-sha256") - 1, &n);

    if (n > 1) {
        return s3_fail_argument(s->fail,
                                "x-amz-content-sha256 must be given once",
                                "x-amz-content-sha256", NULL);
    }

    if (h) {
        s->payload = h->value;

    } else if (s->auth->type == S3_AUTH_HEADER) {
        return s3_fail(s->fail, S3_ERR_INVALID_REQUEST,
                       "Missing required header for this request: "
                       "x-amz-content-sha256");

    } else {
        /* the JS SDK puts it into the query */

        arg = s3_sigv4_arg(s, "X-Amz-Content-Sha256", &n);

        if (n > 1) {
            return s3_fail_argument(s->fail,
                                    "X-Amz-Content-Sha256 must be given once",
                                    "X-Amz-Content-Sha256", NULL);
        }

        if (arg) {
            s->payload = arg->value;

        } else {
            ngx_str_set(&s->payload, "UNSIGNED-PAYLOAD");
        }
    }

    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (s->payload.len == forms[i].name.len
            && ngx_memcmp(s->payload.data, forms[i].name.data,
                          forms[i].name.len)
               == 0)
        {
            s->auth->payload = forms[i].payload;
            return S3_OK;
        }
    }

    if (s3_str_has_prefix(&s->payload, "STREAMING-AWS4-ECDSA-P256-SHA256-")) {
        return s3_fail(s->fail, S3_ERR_NOT_IMPLEMENTED,
                       "AWS4-ECDSA-P256-SHA256 is not implemented. Please "
                       "use AWS4-HMAC-SHA256.");
    }

    if (s->payload.len == 64
        && s3_sigv4_unhex(s->auth->payload_hash, &s->payload) == NGX_OK)
    {
        s->auth->payload = S3_PAYLOAD_HASH;
        return S3_OK;
    }

    return s3_fail_argument(s->fail,
                            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                            "STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
                            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
                            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
                            "valid sha256 value.", "x-amz-content-sha256",
                            &s->payload);
}


/* Session tokens belong to temporary keys, of which there are none. */

static s3_error_e
s3_sigv4_token(s3_sigv4_t *s)
{
    s3_arg_t     *arg;
    s3_header_t  *h;

    h = s3_header(s->ar->headers, s->ar->nheaders, "x-amz-security-token");
    arg = s3_sigv4_arg(s, "X-Amz-Security-Token", NULL);

    if ((h && h->value.len) || (arg && arg->value.len)) {
        return s3_fail(s->fail, S3_ERR_INVALID_TOKEN, NULL);
    }

    return S3_OK;
}


/*
 * Split SignedHeaders, then see that host and everything that changes what
 * the request means is among them.
 */

static s3_error_e
s3_sigv4_signed_headers(s3_sigv4_t *s)
{
    u_char       *p, *last, *end;
    ngx_str_t    *name, unsigned_names;
    ngx_uint_t    i, j, n, host;
    s3_header_t  *h;

    last = s->signed_headers.data + s->signed_headers.len;

    for (p = s->signed_headers.data, n = 1; p < last; p++) {

        if (*p == ';') {
            n++;
            continue;
        }

        if (*p <= 0x20 || *p >= 0x7f || *p == ':'
            || (*p >= 'A' && *p <= 'Z'))
        {
            goto malformed;
        }
    }

    if (n > S3_SIGV4_SIGNED_MAX) {
        goto malformed;
    }

    s->names = ngx_palloc(s->pool, n * sizeof(ngx_str_t));
    if (s->names == NULL) {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    host = 0;

    for (p = s->signed_headers.data; p <= last; p = end + 1) {

        end = ngx_strlchr(p, last, ';');
        end = end ? end : last;

        name = &s->names[s->nnames];
        name->data = p;
        name->len = end - p;

        if (name->len == 0) {
            goto malformed;
        }

        for (i = 0; i < s->nnames; i++) {
            if (s->names[i].len == name->len
                && ngx_memcmp(s->names[i].data, p, name->len) == 0)
            {
                goto malformed;
            }
        }

        if (s3_str_eq(name, "host")) {
            host = 1;
        }

        s->nnames++;
    }

    (void) s3_header_find(s->ar->headers, s->ar->nheaders, "host", 4, &n);

    if (!host || n != 1) {
        ngx_str_set(&unsigned_names, "host");
        goto unsigned_header;
    }

    for (i = 0; i < s->ar->nheaders; i++) {
        h = &s->ar->headers[i];

        if (!s3_header_has_prefix(h, "x-amz-", 6)) {
            continue;
        }

        for (j = 0; j < s->nnames; j++) {
            if (s->names[j].len == h->name.len
                && ngx_strncasecmp(s->names[j].data, h->name.data,
                                   h->name.len)
                   == 0)
            {
                break;
            }
        }

        if (j == s->nnames) {
            unsigned_names = h->name;
            goto unsigned_header;
        }
    }

    return S3_OK;

malformed:

    return s3_sigv4_malformed(s, "The authorization header is malformed; "
                              "SignedHeaders must be lower-case names, each "
                              "once, separated by semicolons.",
                              "X-Amz-SignedHeaders must be lower-case names, "
                              "each once, separated by semicolons.");

unsigned_header:

    (void) s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                   "There were headers present in the request which were not "
                   "signed");
    s3_fail_element(s->fail, "HeadersNotSigned", &unsigned_names);

    return S3_ERR_ACCESS_DENIED;
}


static s3_error_e
s3_sigv4_compare(s3_sigv4_t *s)
{
    size_t      len;
    u_char     *p;
    u_char      hex[64];
    ngx_int_t   rc;
    ngx_str_t   query, headers, rest, path, canonical, sts, first, request;
    ngx_uint_t  i;

    rc = s3_sigv4_canonical_query(s->pool, &s->ar->query,
                                  s->auth->type == S3_AUTH_QUERY
                                  ? "X-Amz-Signature" : NULL, &query);
    if (rc != NGX_OK) {
        return s3_fail(s->fail, rc == NGX_DECLINED ? S3_ERR_INVALID_URI
                                                   : S3_ERR_INTERNAL_ERROR,
                       NULL);
    }

    if (s3_sigv4_canonical_headers(s, &headers) != NGX_OK) {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    /* what follows the path */

    len = query.len + headers.len + s->signed_headers.len + s->payload.len
          + sizeof("\n\n\n\n") - 1;

    rest.data = ngx_pnalloc(s->pool, len);
    if (rest.data == NULL) {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    p = rest.data;
    *p++ = '\n';
    p = ngx_cpymem(p, query.data, query.len);
    *p++ = '\n';
    p = ngx_cpymem(p, headers.data, headers.len);
    *p++ = '\n';
    p = ngx_cpymem(p, s->signed_headers.data, s->signed_headers.len);
    *p++ = '\n';
    p = ngx_cpymem(p, s->payload.data, s->payload.len);
    rest.len = p - rest.data;

    if (s3_sigv4_key(s->cr, s->date.data, &s->region, s->auth->signing_key)
        != NGX_OK)
    {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ngx_str_null(&first);
    ngx_str_null(&request);

    for (i = 0; i < s->ar->npaths && i < S3_SIGV4_PATHS_MAX; i++) {

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

            if (s3_sigv4_string_to_sign(s, &canonical, &rest, &sts) != NGX_OK
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
 * "name:value\n" for each signed header in SignedHeaders' order; the values
 * of one name are joined by commas in the order received.
 */

static ngx_int_t
s3_sigv4_canonical_headers(s3_sigv4_t *s, ngx_str_t *out)
{
    size_t        len;
    u_char       *p;
    ngx_uint_t    i, j, found;
    s3_header_t  *h;

    len = s->signed_headers.len + 2 * s->nnames;

    for (i = 0; i < s->ar->nheaders; i++) {
        len += s->ar->headers[i].value.len + 1;
    }

    p = ngx_pnalloc(s->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;

    for (i = 0; i < s->nnames; i++) {
        p = ngx_cpymem(p, s->names[i].data, s->names[i].len);
        *p++ = ':';

        found = 0;

        for (j = 0; j < s->ar->nheaders; j++) {
            h = &s->ar->headers[j];

            if (h->name.len != s->names[i].len
                || !s3_header_has_prefix(h, (char *) s->names[i].data,
                                         s->names[i].len))
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

    out->len = p - out->data;

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


static ngx_int_t
s3_sigv4_string_to_sign(s3_sigv4_t *s, ngx_str_t *path, ngx_str_t *rest,
    ngx_str_t *out)
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
        || EVP_DigestUpdate(md, s->ar->method.data, s->ar->method.len) != 1
        || EVP_DigestUpdate(md, "\n", 1) != 1
        || EVP_DigestUpdate(md, path->data, path->len) != 1
        || EVP_DigestUpdate(md, rest->data, rest->len) != 1
        || EVP_DigestFinal_ex(md, digest, &len) != 1)
    {
        EVP_MD_CTX_free(md);
        return NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    p = ngx_pnalloc(s->pool, sizeof(S3_SIGV4_ALGORITHM) + S3_DATE_BASIC_LEN
                             + 1 + s->auth->scope.len + 1 + 2 * len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    out->data = p;

    p = ngx_cpymem(p, S3_SIGV4_ALGORITHM "\n", sizeof(S3_SIGV4_ALGORITHM));
    p = ngx_cpymem(p, s->auth->amz_date, S3_DATE_BASIC_LEN);
    *p++ = '\n';
    p = ngx_cpymem(p, s->auth->scope.data, s->auth->scope.len);
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


/* Lower-case only, as everybody sends it. */

static ngx_int_t
s3_sigv4_unhex(u_char *dst, ngx_str_t *hex)
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


static s3_arg_t *
s3_sigv4_arg(s3_sigv4_t *s, const char *name, ngx_uint_t *count)
{
    size_t       len;
    s3_arg_t    *first;
    ngx_uint_t   i, found;

    len = ngx_strlen(name);
    first = NULL;
    found = 0;

    for (i = 0; i < s->nargs; i++) {
        if (s->args[i].name.len == len
            && ngx_memcmp(s->args[i].name.data, name, len) == 0)
        {
            first = first ? first : &s->args[i];
            found++;
        }
    }

    if (count) {
        *count = found;
    }

    return first;
}
