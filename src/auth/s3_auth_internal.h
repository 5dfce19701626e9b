
/*
 * What the files of a request's verification share.
 */


#ifndef _S3_AUTH_INTERNAL_H_INCLUDED_
#define _S3_AUTH_INTERNAL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_auth.h"
#include "s3_sigv2.h"
#include "s3_sigv4.h"
#include "s3_target.h"


/*
 * Bounds of the work one request can cause: every signed name is looked for
 * among all headers.
 */
#define S3_AUTH_HEADERS_MAX    512
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
    s3_credentials_t          *credentials;
    s3_auth_t                 *auth;
    s3_failure_t              *fail;

    s3_arg_t                  *args;      /* of the query, decoded */
    ngx_uint_t                 nargs;
} s3_verify_t;


/* The same by Signature Version 4. */

typedef struct {
    s3_verify_t               *v;
    s3_auth_request_t         *ar;
    s3_auth_t                 *auth;
    s3_failure_t              *fail;
    ngx_pool_t                *pool;

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


/*
 * s3_sigv4.c, s3_sigv2.c: v->auth->type is set, authorization the header's
 * value (not with S3_AUTH_QUERY).  S3_OK, or the error, noted in v->fail.
 */
s3_error_e s3_sigv4_verify(s3_verify_t *v, ngx_str_t *authorization);
s3_error_e s3_sigv2_verify(s3_verify_t *v, ngx_str_t *authorization);

/*
 * s3_sigv4_canonical.c
 *
 * compare: all of s is filled in; is the signature right?
 *
 * canonical_rest: what follows the path in a canonical request: canonical
 * query, headers, their names (lower case, sorted), payload.
 *
 * string_to_sign: path is canonical; amz_date has S3_DATE_BASIC_LEN bytes.
 */
s3_error_e s3_sigv4_compare(s3_sigv4_t *s);
ngx_int_t s3_sigv4_canonical_rest(ngx_pool_t *pool, ngx_str_t *query,
    ngx_str_t *names, ngx_uint_t nnames, s3_header_t *headers,
    ngx_uint_t nheaders, ngx_str_t *payload, ngx_str_t *rest);
ngx_int_t s3_sigv4_string_to_sign(ngx_pool_t *pool, ngx_str_t *method,
    ngx_str_t *path, ngx_str_t *rest, u_char *amz_date, ngx_str_t *scope,
    ngx_str_t *out);


/* s3_auth.c */

/*
 * The credential of v->auth->access_key: InvalidAccessKeyId where there is
 * none or it is disabled, InvalidToken where a session token came with it.
 */
s3_error_e s3_auth_find(s3_verify_t *v, s3_credential_t **cr);

/* The first argument of that (exact) name or NULL; how many there are. */
s3_arg_t *s3_auth_arg(s3_verify_t *v, const char *name, ngx_uint_t *count);

/*
 * The time in x-amz-date, or else in Date: the basic form of ISO 8601 or one
 * of HTTP's.  header: the one it was taken from.  S3_OK, or AccessDenied.
 */
s3_error_e s3_auth_date(s3_verify_t *v, s3_header_t **header, time_t *t);

/* Note RequestTimeTooSkewed; request_time as the client has written it. */
s3_error_e s3_auth_skewed(s3_verify_t *v, ngx_str_t *request_time);

/* Add an element of a time to the failure. */
void s3_auth_time_element(s3_verify_t *v, const char *name, time_t t);

/* Lower-case hexadecimal, as everybody sends it. */
ngx_int_t s3_auth_unhex(u_char *dst, ngx_str_t *hex);


#endif /* _S3_AUTH_INTERNAL_H_INCLUDED_ */
