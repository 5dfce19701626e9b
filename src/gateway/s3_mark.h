
/*
 * Where a gateway keeps the checksums that its upstream knows nothing of.
 *
 * Metadata of the object itself, a header that clients never see:
 *
 *     x-amz-meta-nginx-s3-checksum: ETAG ALGORITHM TYPE CHECKSUM
 *         9e107d9d372bb6826bd81d3542a419d6 CRC32 FULL_OBJECT QU+jOQ==
 *
 *     x-amz-meta-nginx-s3-checksum: record
 *         where the checksum was not known when the headers were sent
 *
 * ETAG is the object's, so that metadata which somebody carried over to other
 * bytes counts for nothing.  Objects of a service bucket:
 *
 *     key                          header above        body, JSON
 *     o/HASH/ETAG                  ETAG ... CHECKSUM   bucket, key, parts
 *         a record, of the object BUCKET/KEY as it has that entity tag
 *     u/UPLOAD                     ALGORITHM TYPE      bucket, key, upload_id
 *         an upload under way; "NONE NONE": it named no algorithm
 *     p/UPLOAD/NNNNN-ETAG-SIZE-SUM[-SUM]               none
 *         one of its parts: all there is to know is in the name, so that a
 *         list of a thousand parts is one request.  SUM is an algorithm's
 *         number, ".", and the digest in base64url
 *
 * HASH is the hex SHA-256 of BUCKET/KEY, UPLOAD that of BUCKET/KEY?UPLOAD_ID.
 */


#ifndef _S3_MARK_H_INCLUDED_
#define _S3_MARK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_checksum.h"
#include "s3_complete.h"
#include "s3_header.h"
#include "s3_multipart.h"


#define S3_MARK_HEADER         "x-amz-meta-nginx-s3-checksum"
#define S3_MARK_RECORD_VALUE   "record"

#define S3_MARK_OBJECTS        "o/"
#define S3_MARK_UPLOADS        "u/"
#define S3_MARK_PARTS          "p/"


typedef enum {
    S3_MARK_NONE = 0,          /* no mark, or one that does not count */
    S3_MARK_HERE,              /* the checksum is in it */
    S3_MARK_RECORD             /* it is in a record */
} s3_mark_e;


/*
 * Whether one of n headers would be stored under that name: Ceph takes "_" for
 * "-".
 */
ngx_uint_t s3_mark_reserved(s3_header_t *headers, ngx_uint_t n);

/*
 * The header's value.  etag: without quotes.  NGX_OK or NGX_ERROR (memory).
 */
ngx_int_t s3_mark_write(ngx_pool_t *pool, ngx_str_t *etag,
    s3_checksum_text_t *checksum, ngx_str_t *value);

/*
 * Reads it, of an object (or record) with that entity tag.  checksum is
 * filled in with S3_MARK_HERE; its strings point into value and constants.
 */
s3_mark_e s3_mark_read(ngx_str_t *value, ngx_str_t *etag,
    s3_checksum_text_t *checksum);

/* An upload's.  read: NGX_OK or NGX_DECLINED. */
ngx_int_t s3_mark_upload_write(ngx_pool_t *pool,
    s3_upload_checksum_t *checksum, ngx_str_t *value);
ngx_int_t s3_mark_upload_read(ngx_str_t *value,
    s3_upload_checksum_t *checksum);


/*
 * Keys in the service bucket.  NGX_OK or NGX_ERROR.  An entity tag with
 * anything but letters, digits and "-" in it is written as its hash.
 *
 *     record    o/HASH/ETAG
 *     records   o/HASH/
 *     upload    u/UPLOAD
 *     parts     p/UPLOAD/
 */
ngx_int_t s3_mark_record_key(ngx_pool_t *pool, ngx_str_t *bucket,
    ngx_str_t *key, ngx_str_t *etag, ngx_str_t *name);
ngx_int_t s3_mark_records_prefix(ngx_pool_t *pool, ngx_str_t *bucket,
    ngx_str_t *key, ngx_str_t *prefix);
ngx_int_t s3_mark_upload_key(ngx_pool_t *pool, ngx_str_t *bucket,
    ngx_str_t *key, ngx_str_t *upload_id, ngx_str_t *name);
ngx_int_t s3_mark_parts_prefix(ngx_pool_t *pool, ngx_str_t *bucket,
    ngx_str_t *key, ngx_str_t *upload_id, ngx_str_t *prefix);

/*
 * The key of a part behind its prefix, and back: NGX_OK, NGX_ERROR (memory),
 * read NGX_DECLINED: no name of ours.
 */
ngx_int_t s3_mark_part_write(ngx_pool_t *pool, ngx_str_t *prefix,
    s3_stored_part_t *part, ngx_str_t *name);
ngx_int_t s3_mark_part_read(ngx_str_t *name, s3_stored_part_t *part);


/*
 * Bodies.  parts may be NULL.  write: the text in the pool, NGX_OK or
 * NGX_ERROR.  read: NGX_OK, NGX_ERROR (memory), NGX_DECLINED: none of ours;
 * what is not there is empty.
 */
typedef struct {
    ngx_str_t                  bucket;
    ngx_str_t                  key;
    ngx_str_t                  upload_id;
    s3_list_part_t            *parts;     /* number, size, checksum */
    ngx_uint_t                 nparts;
} s3_mark_body_t;

ngx_int_t s3_mark_body_write(ngx_pool_t *pool, s3_mark_body_t *body,
    ngx_str_t *text);
ngx_int_t s3_mark_body_read(ngx_pool_t *pool, ngx_chain_t *in, size_t size,
    s3_mark_body_t *body);


#endif /* _S3_MARK_H_INCLUDED_ */
