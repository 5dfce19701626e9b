
/*
 * Signature Version 4: what the header or the query claims, and whether it
 * may be.  s3_sigv4_canonical.c then computes the signature.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_auth_internal.h"
#include "s3_date.h"


static s3_error_e s3_sigv4_parse_header(s3_sigv4_t *s,
    ngx_str_t *authorization);
static s3_error_e s3_sigv4_parse_query(s3_sigv4_t *s);
static s3_error_e s3_sigv4_malformed(s3_sigv4_t *s, const char *header,
    const char *query);
static s3_error_e s3_sigv4_scope(s3_sigv4_t *s);
static s3_error_e s3_sigv4_check_scope(s3_sigv4_t *s);
static s3_error_e s3_sigv4_time(s3_sigv4_t *s);
static s3_error_e s3_sigv4_payload(s3_sigv4_t *s);
static s3_error_e s3_sigv4_signed_headers(s3_sigv4_t *s);
static ngx_uint_t s3_sigv4_signed(s3_sigv4_t *s, s3_header_t *h);
static s3_error_e s3_sigv4_not_signed(s3_sigv4_t *s, ngx_uint_t host);


s3_error_e
s3_sigv4_verify(s3_verify_t *v, ngx_str_t *authorization)
{
    s3_error_e  rc;
    s3_sigv4_t  s;

    ngx_memzero(&s, sizeof(s3_sigv4_t));

    s.v = v;
    s.ar = v->ar;
    s.auth = v->auth;
    s.fail = v->fail;
    s.pool = v->ar->pool;

    rc = (s.auth->type == S3_AUTH_HEADER)
         ? s3_sigv4_parse_header(&s, authorization)
         : s3_sigv4_parse_query(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_sigv4_scope(&s);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_auth_find(v, &s.cr);
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


static s3_error_e
s3_sigv4_parse_header(s3_sigv4_t *s, ngx_str_t *authorization)
{
    u_char       *p, *last, *end, *eq, *next;
    u_char        date[NGX_INT64_LEN + S3_DATE_BASIC_LEN];
    ngx_str_t    *dst, name;
    s3_error_e    rc;
    s3_header_t  *h;

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

    rc = s3_auth_date(s->v, &h, &s->time);
    if (rc != S3_OK) {
        return rc;
    }

    /* the string to sign has the basic form whatever the header's was */

    if (h->value.len == S3_DATE_BASIC_LEN) {
        ngx_memcpy(s->auth->amz_date, h->value.data, S3_DATE_BASIC_LEN);
        return S3_OK;
    }

    /* a year of five digits would not fit */

    if (s3_date_basic(date, s->time) != date + S3_DATE_BASIC_LEN) {
        return s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                       "AWS authentication requires a valid Date or "
                       "x-amz-date header");
    }

    ngx_memcpy(s->auth->amz_date, date, S3_DATE_BASIC_LEN);

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
        arg = s3_auth_arg(s->v, names[i], &n);

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

    if (s3_date_parse_basic(&found[2]->value, &s->time) != NGX_OK) {
        return s3_sigv4_malformed(s, NULL, "X-Amz-Date must be in the ISO8601"
                                  " Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    }

    ngx_memcpy(s->auth->amz_date, found[2]->value.data, S3_DATE_BASIC_LEN);

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
    ngx_str_t  value;

    now = s->ar->now;
    skew = s->ar->skew;

    if (s->auth->type == S3_AUTH_HEADER) {

        if (s->time > now + skew || s->time < now - skew) {
            value.data = s->auth->amz_date;
            value.len = S3_DATE_BASIC_LEN;

            return s3_auth_skewed(s->v, &value);
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
        s3_auth_time_element(s->v, "X-Amz-Date", s->time);
        s3_auth_time_element(s->v, "ServerTime", now);
        return S3_ERR_ACCESS_DENIED;
    }

    if (now >= s->time + expires) {
        (void) s3_fail(s->fail, S3_ERR_ACCESS_DENIED, "Request has expired");
        s3_fail_element(s->fail, "X-Amz-Expires", &s->expires);
        s3_auth_time_element(s->v, "Expires", s->time + expires);
        s3_auth_time_element(s->v, "ServerTime", now);
        return S3_ERR_ACCESS_DENIED;
    }

    return S3_OK;
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

        arg = s3_auth_arg(s->v, "X-Amz-Content-Sha256", &n);

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
        && s3_auth_unhex(s->auth->payload_hash, &s->payload) == NGX_OK)
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


/*
 * Split SignedHeaders, then see that host and everything that changes what
 * the request means is among them.
 */

static s3_error_e
s3_sigv4_signed_headers(s3_sigv4_t *s)
{
    u_char       *p, *last, *end;
    ngx_str_t    *name;
    ngx_uint_t    i, n, host;

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
        return s3_sigv4_not_signed(s, 1);
    }

    for (i = 0; i < s->ar->nheaders; i++) {
        if (!s3_sigv4_signed(s, &s->ar->headers[i])) {
            return s3_sigv4_not_signed(s, 0);
        }
    }

    return S3_OK;

malformed:

    return s3_sigv4_malformed(s, "The authorization header is malformed; "
                              "SignedHeaders must be lower-case names, each "
                              "once, separated by semicolons.",
                              "X-Amz-SignedHeaders must be lower-case names, "
                              "each once, separated by semicolons.");
}


/* Whether the header may be there: signed, or none that has to be. */

static ngx_uint_t
s3_sigv4_signed(s3_sigv4_t *s, s3_header_t *h)
{
    ngx_uint_t  i;

    if (!s3_header_has_prefix(h, "x-amz-", sizeof("x-amz-") - 1)) {
        return 1;
    }

    for (i = 0; i < s->nnames; i++) {
        if (s->names[i].len == h->name.len
            && ngx_strncasecmp(s->names[i].data, h->name.data, h->name.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * AccessDenied that names them all, as S3 does:
 *
 *     <HeadersNotSigned>x-amz-meta-a, x-amz-meta-b</HeadersNotSigned>
 */

static s3_error_e
s3_sigv4_not_signed(s3_sigv4_t *s, ngx_uint_t host)
{
    size_t        len;
    u_char       *p;
    ngx_str_t     names;
    ngx_uint_t    i;
    s3_header_t  *h;

    h = s->ar->headers;
    len = sizeof("host") - 1;

    for (i = 0; i < s->ar->nheaders; i++) {
        len += sizeof(", ") - 1 + h[i].name.len;
    }

    p = ngx_pnalloc(s->pool, len);
    if (p == NULL) {
        return s3_fail(s->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    names.data = p;

    if (host) {
        p = ngx_cpymem(p, "host", sizeof("host") - 1);
    }

    for (i = 0; i < s->ar->nheaders; i++) {

        if (s3_sigv4_signed(s, &h[i])) {
            continue;
        }

        if (p != names.data) {
            p = ngx_cpymem(p, ", ", sizeof(", ") - 1);
        }

        ngx_strlow(p, h[i].name.data, h[i].name.len);
        p += h[i].name.len;
    }

    names.len = p - names.data;

    (void) s3_fail(s->fail, S3_ERR_ACCESS_DENIED,
                   "There were headers present in the request which were not "
                   "signed");
    s3_fail_element(s->fail, "HeadersNotSigned", &names);

    return S3_ERR_ACCESS_DENIED;
}
