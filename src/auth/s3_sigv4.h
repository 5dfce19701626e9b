
/*
 * AWS Signature Version 4 as S3 uses it (S3 API Reference, "Authenticating
 * Requests (AWS Signature Version 4)").
 *
 *     CanonicalRequest =                  StringToSign =
 *         PUT                               AWS4-HMAC-SHA256
 *         /bucket/a%20b                     20130524T000000Z
 *         acl=&prefix=x                     20130524/REGION/s3/aws4_request
 *         host:example.com                  hex(SHA256(CanonicalRequest))
 *         x-amz-date:20130524T000000Z
 *                                       key = HMAC(HMAC(HMAC(HMAC("AWS4" +
 *         host;x-amz-date                 secret, date), region), "s3"),
 *         hex(SHA256(payload))            "aws4_request")
 *                                       signature = hex(HMAC(key,
 *                                         StringToSign))
 *
 *     Authorization: AWS4-HMAC-SHA256
 *                    Credential=AKID/20130524/REGION/s3/aws4_request,
 *                    SignedHeaders=host;x-amz-date, Signature=hex
 * or
 *     ?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20130524...
 *     &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400
 *     &X-Amz-SignedHeaders=host&X-Amz-Signature=hex
 *
 * A request whose host or any x-amz-* header is unsigned is refused; an
 * unsigned Content-Type is tolerated, as by S3.
 */


#ifndef _S3_SIGV4_H_INCLUDED_
#define _S3_SIGV4_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_auth.h"


#define S3_SIGV4_EXPIRES_MAX   604800  /* seconds, seven days */
#define S3_SIGV4_SCOPE_MAX     128


/*
 * The signing key for DATE (8 digits), region, service "s3", from the
 * credential's cache where it is there.  NGX_OK or NGX_ERROR.
 */
ngx_int_t s3_sigv4_key(s3_credential_t *credential, u_char *date,
    ngx_str_t *region, u_char key[32]);

/* Lower-case hex of HMAC-SHA-256(key, string): the signature. */
ngx_int_t s3_sigv4_sign(u_char key[32], ngx_str_t *string, u_char hex[64]);


/*
 * Canonical query: arguments decoded ("+" is a space), encoded again, sorted
 * by name, then value, joined.  The argument "except" (exact, decoded name;
 * NULL: none) is left out.  NGX_OK, NGX_ERROR (no memory), NGX_DECLINED (bad
 * escape or too many arguments).  Public for its tests and for signing
 * requests.
 */
ngx_int_t s3_sigv4_canonical_query(ngx_pool_t *pool, ngx_str_t *query,
    const char *except, ngx_str_t *canonical);


/*
 * A request of our own: s3_sigv4_sign.c.  path and query as they are sent,
 * query without "?"; headers all that are sent, with host, x-amz-date
 * (S3_DATE_BASIC_LEN bytes, of "now") and x-amz-content-sha256, whose value is
 * payload; each name once.  Signed are host, Content-Type, Content-MD5 and
 * every x-amz-*.
 */
typedef struct {
    ngx_pool_t                *pool;
    ngx_str_t                  method;
    ngx_str_t                  path;
    ngx_str_t                  query;
    s3_header_t               *headers;
    ngx_uint_t                 nheaders;
    ngx_str_t                  payload;
    ngx_str_t                  region;
    time_t                     now;
} s3_sigv4_request_t;

/*
 * The value of Authorization, in the pool.  NGX_OK, or NGX_ERROR: no memory,
 * or an escape in the path that is none.
 */
ngx_int_t s3_sigv4_authorization(s3_sigv4_request_t *s,
    s3_credential_t *credential, ngx_str_t *authorization);


#endif /* _S3_SIGV4_H_INCLUDED_ */
