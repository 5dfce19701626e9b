
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
#include "s3_credentials.h"
#include "s3_error.h"
#include "s3_header.h"


#define S3_SIGV4_EXPIRES_MAX   604800  /* seconds, seven days */
#define S3_SIGV4_PATHS_MAX     4
#define S3_SIGV4_SCOPE_MAX     128
#define S3_SIGV4_SKEW          900     /* seconds, S3's */


typedef enum {
    S3_AUTH_NONE = 0,
    S3_AUTH_HEADER,
    S3_AUTH_QUERY
} s3_auth_type_e;


/* What x-amz-content-sha256 says about the body. */
typedef enum {
    S3_PAYLOAD_HASH = 1,                /* hex SHA-256 of the body */
    S3_PAYLOAD_UNSIGNED,                /* UNSIGNED-PAYLOAD */
    S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
                                      /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
    S3_PAYLOAD_STREAMING_SIGNED,
                                      /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    S3_PAYLOAD_STREAMING_SIGNED_TRAILER
                                        /* ...-PAYLOAD-TRAILER */
} s3_payload_e;


typedef struct {
    ngx_pool_t                *pool;

    ngx_str_t                  method;

    /*
     * Raw paths (no query) the client may have signed; any of them will do:
     * the path as received; that without the location's prefix; that with the
     * prefix a proxy in front took away.
     */
    ngx_str_t                  paths[S3_SIGV4_PATHS_MAX];
    ngx_uint_t                 npaths;

    ngx_str_t                  query;     /* raw, without "?" */

    /* as received; ":authority" of HTTP/2 is given as "host" */
    s3_header_t               *headers;
    ngx_uint_t                 nheaders;

    time_t                     now;
    time_t                     skew;      /* seconds */
    ngx_str_t                  region;    /* empty: any */
} s3_auth_request_t;


typedef struct {
    s3_auth_type_e             type;
    ngx_str_t                  access_key;   /* set as soon as it was read,
                                                also on failure (for logs:
                                                not yet proven) */
    s3_payload_e               payload;
    u_char                     payload_hash[32];
                                             /* S3_PAYLOAD_HASH */

    /* what chunk signatures continue from */
    u_char                     amz_date[16]; /* 20130524T000000Z */
    ngx_str_t                  scope;        /* DATE/REGION/s3/aws4_request */
    u_char                     signing_key[32];
    u_char                     signature[64];/* lower-case hex, the seed */
} s3_auth_t;


/*
 * Who asks?  S3_OK: the signature is right, auth is filled in whole.  Else
 * the error, with message and elements in fail (zeroed by the caller).  No
 * authentication at all: AccessDenied with auth->type S3_AUTH_NONE.
 *
 * Strings in auth and fail are in the pool or constants.  Reads nothing
 * of the body.  Comparison of signatures takes constant time.
 */
s3_error_e s3_auth_verify(s3_auth_request_t *ar,
    s3_credentials_t *credentials, s3_auth_t *auth, s3_failure_t *fail);

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


#endif /* _S3_SIGV4_H_INCLUDED_ */
