
/*
 * Who asks, and may they?
 *
 *     Authorization: AWS4-HMAC-SHA256 ...    s3_sigv4.h, Signature Version 4
 *     ?X-Amz-Algorithm=AWS4-HMAC-SHA256...
 *     Authorization: AWS KEY:SIGNATURE       s3_sigv2.h, Signature Version 2
 *     ?AWSAccessKeyId=KEY&Signature=...
 *
 * Exactly one of them.  A request that brings none is nobody's.
 */


#ifndef _S3_AUTH_H_INCLUDED_
#define _S3_AUTH_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_credentials.h"
#include "s3_error.h"
#include "s3_header.h"


#define S3_AUTH_PATHS_MAX      4
#define S3_AUTH_SKEW           900     /* seconds, S3's */


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
    ngx_str_t                  paths[S3_AUTH_PATHS_MAX];
    ngx_uint_t                 npaths;

    ngx_str_t                  query;     /* raw, without "?" */

    /* the bucket, where Host and not the path names it; else empty */
    ngx_str_t                  bucket;

    /* as received; ":authority" of HTTP/2 is given as "host" */
    s3_header_t               *headers;
    ngx_uint_t                 nheaders;

    time_t                     now;
    time_t                     skew;      /* seconds */
    ngx_str_t                  region;    /* empty: any */
} s3_auth_request_t;


typedef struct {
    s3_auth_type_e             type;
    ngx_uint_t                 version;      /* 2 or 4 */
    ngx_str_t                  access_key;   /* set as soon as it was read,
                                                also on failure (for logs:
                                                not yet proven) */
    s3_payload_e               payload;
    u_char                     payload_hash[32];
                                             /* S3_PAYLOAD_HASH */

    /* Version 4: what chunk signatures continue from */
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


#endif /* _S3_AUTH_H_INCLUDED_ */
