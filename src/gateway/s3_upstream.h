
/*
 * A client's request in the form in which another S3 gets it.
 *
 *     PUT /storage/photos/a%2Fb?X-Amz-Signature=...&x-id=PutObject
 *     Host: gw.example.com
 *     Content-Encoding: aws-chunked,gzip
 *     x-amz-decoded-content-length: 5
 *     x-amz-trailer: x-amz-checksum-crc32
 *     x-amz-meta-a: 1
 *
 *     PUT /photos/a/b                                 (path style)
 *     Host: rgw:7480
 *     Content-Encoding: gzip
 *     x-amz-meta-a: 1
 *     x-amz-meta-nginx-s3-checksum: ...               (s3_mark.h)
 *
 * What belongs to the way from the client to us goes: its signature, the
 * mount, the coding of its body.  What means something for the object, the
 * bucket or the answer stays.
 */


#ifndef _S3_UPSTREAM_H_INCLUDED_
#define _S3_UPSTREAM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_header.h"
#include "s3_target.h"


typedef enum {
    S3_UPSTREAM_PATH = 0,      /* http://host/bucket/key */
    S3_UPSTREAM_VIRTUAL        /* http://bucket.host/key */
} s3_upstream_style_e;


/*
 * The target of a request for bucket and key (either may be empty, key not
 * without bucket); query is encoded, without "?", or empty.  host is the
 * upstream's; *to its name for this request (that very string, or one in the
 * pool).  NGX_OK or NGX_ERROR (no memory).
 *
 * Each byte of the key but A-Z a-z 0-9 - . _ ~ / is escaped, which is the form
 * that is signed: "a//b", "../x" and "a%2Fb" arrive as what they are.
 */
ngx_int_t s3_upstream_target(ngx_pool_t *pool, s3_upstream_style_e style,
    ngx_str_t *host, ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *query,
    ngx_str_t *uri, ngx_str_t *to);

/*
 * The arguments of a client's query that an upstream gets, encoded, in their
 * order.  Left out are those of the signature, those that are headers
 * (x-amz-*), those that mean nothing (x-*), and that of the name "but" (or
 * NULL).  NGX_OK or NGX_ERROR.
 */
ngx_int_t s3_upstream_query(ngx_pool_t *pool, s3_target_t *target,
    const char *but, ngx_str_t *query);

/* "name" or "name=value" more, behind "&" where the query is not empty */
ngx_int_t s3_upstream_arg(ngx_pool_t *pool, ngx_str_t *query,
    const char *name, ngx_str_t *value);

/*
 * Push what an upstream gets of n headers onto "out" (array of s3_header_t):
 * names in lower case, each once, those that came several times joined by
 * commas.  The first nreal are real ones, the others hoisted, which makes a
 * difference for x-amz-meta-* beyond ASCII (s3_rfc2047.h): they go as S3
 * answers them, in encoded words, as servers of old answer what they got.
 * checksums: those of the body are passed on as well.  Neither Host, nor
 * anything of the signature, nor the length is among them.  NGX_OK or
 * NGX_ERROR.
 */
ngx_int_t s3_upstream_headers(ngx_pool_t *pool, s3_header_t *headers,
    ngx_uint_t n, ngx_uint_t nreal, ngx_uint_t checksums, ngx_array_t *out);

/* Whether a header has that name (in lower case; "x-*": begins so). */
ngx_uint_t s3_upstream_named(s3_header_t *h, const char *name);

/* Take those of that name out. */
void s3_upstream_drop(ngx_array_t *headers, const char *name);

/* Push one more header.  NGX_OK or NGX_ERROR.  name is a constant. */
ngx_int_t s3_upstream_header(ngx_array_t *out, const char *name,
    ngx_str_t *value);


#endif /* _S3_UPSTREAM_H_INCLUDED_ */
