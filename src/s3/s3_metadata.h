
/*
 * The headers S3 keeps with an object, as one blob in the object's row.
 *
 *     +---------+----------+--------------------------------------------+
 *     | version | count    | count records                              |
 *     |  0x01   | u16 (LE) |                                            |
 *     +---------+----------+--------------------------------------------+
 *
 *     system header            +----+---------+-------+
 *                              | id | u16 len | value |        id 1..6
 *                              +----+---------+-------+
 *
 *     x-amz-meta-NAME          +----+--------+------+---------+-------+
 *                              | 0  | u8 len | NAME | u16 len | value |
 *                              +----+--------+------+---------+-------+
 *
 *     id  1 Content-Type      2 Content-Encoding     3 Content-Disposition
 *         4 Content-Language  5 Cache-Control        6 Expires
 *
 * NAME is lower-case, 1..255 bytes.  A system header's value is the bytes
 * that came, without a control character but tab; that of x-amz-meta-NAME is
 * UTF-8 and may hold any character (s3_rfc2047.h).  An object without headers
 * has the 3 bytes 01 00 00.
 */


#ifndef _S3_METADATA_H_INCLUDED_
#define _S3_METADATA_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_header.h"
#include "s3_target.h"


#define S3_METADATA_MAX        16384   /* bytes of a blob */
#define S3_METADATA_USER_MAX   2048    /* names and values of x-amz-meta-*,
                                          in UTF-8 */


/*
 * Collect from a request's headers: the first nreal are real ones, whose
 * x-amz-meta-* are ISO 8859-1, the others hoisted, UTF-8.  Headers of one
 * name are joined by commas; aws-chunked is taken out of Content-Encoding (it
 * names the transfer, not the object).  S3_OK and the blob in the pool, or
 * MetadataTooLarge (also for a blob over S3_METADATA_MAX), InvalidArgument
 * (control character, empty or too long name), InternalError (memory).
 */
s3_error_e s3_metadata_collect(ngx_pool_t *pool, s3_header_t *headers,
    ngx_uint_t n, ngx_uint_t nreal, ngx_str_t *blob, s3_failure_t *fail);

/*
 * Push the response's headers (s3_header_t) onto the array: Content-Type
 * always ("binary/octet-stream" when none was given, as S3 does), the rest as
 * stored, x-amz-meta-* in encoded words where they are not printable ASCII.
 * Strings point into the blob and the pool.  NGX_OK, NGX_ERROR (no
 * memory), NGX_DECLINED (the blob is damaged).  An empty blob is one without
 * headers.
 */
ngx_int_t s3_metadata_headers(ngx_pool_t *pool, ngx_str_t *blob,
    ngx_array_t *headers);

/*
 * "aws-chunked, gzip" becomes "gzip": aws-chunked is how the body came, and
 * not the object's.  value: of Content-Encoding.  NGX_OK, or NGX_ERROR.
 */
ngx_int_t s3_metadata_encoding(ngx_pool_t *pool, ngx_str_t *value);

/*
 * GetObject's response-content-type, -language, -expires, -cache-control,
 * -content-disposition, -content-encoding: replace or add in "headers" (array
 * of s3_header_t, in its pool), in ISO 8859-1.  S3_OK, InvalidArgument (not
 * to be had in it, control characters), InternalError (memory).
 */
s3_error_e s3_metadata_override(s3_target_t *target, ngx_array_t *headers,
    s3_failure_t *fail);


#endif /* _S3_METADATA_H_INCLUDED_ */
