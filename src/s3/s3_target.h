
/*
 * The request target: from raw bytes to bucket, key and query arguments.
 *
 *     /storage/photos/2026/a%2Fb%20c.jpg?response-expires=x&x-id=GetObject
 *     |------| |----| |---------------| |-------------------------------|
 *      mount   bucket       key                      query
 *
 * or, in virtual-host style, below the domain s3.example.com:
 *
 *     Host: photos.s3.example.com:443
 *           |----|
 *           bucket
 *     /storage/2026/a%2Fb%20c.jpg?response-expires=x&x-id=GetObject
 *     |------| |---------------| |-------------------------------|
 *      mount         key                      query
 *
 * The bytes are those the client sent (r->unparsed_uri), not nginx's r->uri:
 * nginx merges slashes and resolves dot segments, and "a//b", "./x", "a/../b"
 * and "%2F" are legal S3 keys.  Nothing is normalised here.
 */


#ifndef _S3_TARGET_H_INCLUDED_
#define _S3_TARGET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_header.h"


#define S3_KEY_MAX             1024    /* bytes of UTF-8, S3 user guide */
#define S3_ARGS_MAX            256     /* arguments in a query */


typedef enum {
    S3_LEVEL_SERVICE = 1,
    S3_LEVEL_BUCKET  = 2,
    S3_LEVEL_OBJECT  = 4
} s3_level_e;


typedef struct {
    ngx_str_t                  name;      /* decoded, "+" is a space */
    ngx_str_t                  value;     /* decoded; empty for "?acl" */
} s3_arg_t;


typedef struct {
    ngx_str_t                  raw_path;  /* as received, before "?" */
    ngx_str_t                  raw_query; /* as received, after "?" */
    ngx_str_t                  raw_stripped;
                                          /* raw_path without the mount,
                                             begins with "/" */

    ngx_str_t                  path;      /* decoded raw_path */
    ngx_str_t                  bucket_path;
                                          /* the part of "path" up to and with
                                             the bucket (virtual host: before
                                             the key); must be a prefix of
                                             r->uri, or nginx chose the
                                             location for another path */

    ngx_str_t                  bucket;    /* decoded; empty: service level */
    ngx_str_t                  key;       /* decoded; empty: bucket level */
    s3_level_e                 level;

    s3_arg_t                  *args;
    ngx_uint_t                 nargs;

    unsigned                   virtual_host:1;
                                          /* the bucket is the host's */
} s3_target_t;


/*
 * Parse "raw" (path and query of the request target; an absolute-form target
 * is the caller's to cut).  "mount" is the location's prefix, "/" or
 * "/storage/" or "/storage"; it is compared with the decoded path.
 *
 * S3_OK, or InvalidURI (bad escape, NUL, path outside of the mount, key that
 * is not UTF-8, too many arguments), InvalidBucketName, KeyTooLongError,
 * InternalError (no memory).  "target" points into raw and the pool.
 */
s3_error_e s3_target_parse(ngx_pool_t *pool, ngx_str_t *raw, ngx_str_t *mount,
    s3_target_t *target, s3_failure_t *fail);

/*
 * The same where s3_target_host() has found a bucket: all of the path below
 * the mount is the key.  bucket NULL: s3_target_parse().
 */
s3_error_e s3_target_parse_host(ngx_pool_t *pool, ngx_str_t *raw,
    ngx_str_t *mount, ngx_str_t *bucket, s3_target_t *target,
    s3_failure_t *fail);

/*
 * The bucket in the value of a Host header (with or without a port or a dot at
 * its end, in any case): what is before the longest of n domains, which are in
 * lower case.  It must be the header that is signed: a request line may name
 * another host, for which nginx chooses the server.
 *
 * NGX_OK: *bucket is in the pool, in lower case, and may be no valid name.
 * NGX_DECLINED: path style, as the host is one of the domains itself or below
 * none of them.  NGX_ERROR: no memory.
 */
ngx_int_t s3_target_host(ngx_pool_t *pool, ngx_str_t *host,
    ngx_str_t *domains, ngx_uint_t n, ngx_str_t *bucket);

/*
 * The arguments of a raw query alone.  S3_OK, InvalidURI, InternalError.
 * Empty pieces ("a&&b") are skipped.
 */
s3_error_e s3_args_parse(ngx_pool_t *pool, ngx_str_t *raw, s3_arg_t **args,
    ngx_uint_t *nargs);

/* The first argument of that (exact) name, or NULL. */
s3_arg_t *s3_target_arg(s3_target_t *target, const char *name);

/*
 * Presigned URLs carry headers as arguments (the JS SDK hoists x-amz-*): push
 * each x-amz-* argument that is none of the signature's as an s3_header_t
 * with a lower-case name onto "headers" (array of s3_header_t).
 * x-amz-checksum-* and x-amz-sdk-checksum-algorithm are left out: they are
 * presigned for no body, and users need the upload to work.  A header that is
 * also present for real is not added twice.  NGX_OK or NGX_ERROR (no memory);
 * a value unfit for a header gives NGX_DECLINED.
 *
 * To be called after authentication took the real headers: hoisted ones are
 * signed as arguments.
 */
ngx_int_t s3_target_hoisted(ngx_pool_t *pool, s3_target_t *target,
    ngx_array_t *headers);


/*
 * Strict percent-decoding of "src" into dst (src->len bytes suffice; dst may
 * be src->data).  plus: "+" is a space, as in a query.  NGX_ERROR: an escape
 * that is not "%" and two hex digits.
 */
ngx_int_t s3_uri_decode(u_char *dst, size_t *dst_len, ngx_str_t *src,
    ngx_uint_t plus);

/*
 * SigV4's URI encoding (S3 API Reference, "UriEncode()"): all but A-Z a-z 0-9
 * - . _ ~ becomes %XX in upper case; "/" stays when slash is set.  dst NULL:
 * the length only.  Returns the length; at most 3 * src->len.
 */
size_t s3_uri_encode(u_char *dst, ngx_str_t *src, ngx_uint_t slash);

/*
 * The next code point of UTF-8 (RFC 3629: shortest form, no surrogates, at
 * most 0x10ffff), *p moves behind it; S3_UTF8_INVALID moves *p by one byte.
 * *p < last is the caller's to check.
 */
#define S3_UTF8_INVALID        0xffffffff

uint32_t s3_utf8_next(u_char **p, u_char *last);

/* 1 when all of the bytes are UTF-8. */
ngx_uint_t s3_utf8_valid(ngx_str_t *s);

/* 1 when the bytes keep S3's "General purpose bucket naming rules". */
ngx_uint_t s3_bucket_name_valid(ngx_str_t *name);


#endif /* _S3_TARGET_H_INCLUDED_ */
