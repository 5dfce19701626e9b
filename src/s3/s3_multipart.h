
/*
 * Multipart uploads: what requests about them say, and the documents that
 * answer them.
 *
 * An upload's checksums ("Checking object integrity for data uploads", S3
 * user guide) are settled when it is created:
 *
 *     x-amz-checksum-algorithm   -type, default first     parts carry
 *     CRC32, CRC32C              COMPOSITE, FULL_OBJECT   that algorithm
 *     SHA1, SHA256               COMPOSITE                that algorithm
 *     CRC64NVME                  FULL_OBJECT              that algorithm
 *     none                       FULL_OBJECT, CRC64NVME   any, or none
 *
 * COMPOSITE is the digest of the parts' digests, shown with "-N" behind it;
 * FULL_OBJECT that of all bytes, combined from those of the parts.
 */


#ifndef _S3_MULTIPART_H_INCLUDED_
#define _S3_MULTIPART_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_bucket.h"
#include "s3_checksum.h"
#include "s3_error.h"
#include "s3_header.h"
#include "s3_target.h"
#include "s3_xml.h"


#define S3_UPLOAD_ID_LEN       16      /* u64 BE ms since the epoch, random */
#define S3_UPLOAD_ID_TEXT      32      /* hex digits */
#define S3_PART_NUMBER_MAX     10000
#define S3_PART_SIZE_MIN       (5 * 1024 * 1024)   /* of all but the last */
#define S3_LIST_PARTS_MAX      1000
#define S3_LIST_UPLOADS_MAX    1000


typedef struct {
    s3_checksum_e              algorithm; /* NONE: none was named */
    unsigned                   composite:1;
} s3_upload_checksum_t;

/*
 * x-amz-checksum-algorithm and -type of CreateMultipartUpload.  S3_OK or
 * InvalidRequest.
 */
s3_error_e s3_upload_checksum_parse(ngx_pool_t *pool, s3_header_t *headers,
    ngx_uint_t n, s3_upload_checksum_t *checksum, s3_failure_t *fail);

/* 32 hex digits, lower case: NGX_OK or NGX_DECLINED, no upload has that id */
ngx_int_t s3_upload_id_parse(ngx_str_t *text, u_char id[S3_UPLOAD_ID_LEN]);

/* NoSuchUpload with the id that was asked for */
s3_error_e s3_fail_upload(s3_failure_t *fail, ngx_str_t *upload_id);

/* InvalidPartNumber of an object with that many parts (0: it was not uploaded
 * in parts), or InternalError (memory). */
s3_error_e s3_fail_part(ngx_pool_t *pool, ngx_uint_t number, ngx_uint_t total,
    s3_failure_t *fail);

/* The argument partNumber, 1..10000.  S3_OK or InvalidArgument. */
s3_error_e s3_part_number_parse(s3_target_t *target, ngx_uint_t *number,
    s3_failure_t *fail);

/*
 * A number from 0 up to 2^31 - 1, as max-parts and the like have it: empty or
 * missing: value is as it was.  S3_OK or InvalidArgument.
 */
s3_error_e s3_limit_parse(ngx_pool_t *pool, const char *name,
    ngx_str_t *text, ngx_uint_t *value, s3_failure_t *fail);


/* documents: NULL without memory */

/* a checksum in a document; text.len 0: none */
typedef struct {
    s3_checksum_e              algorithm;
    ngx_str_t                  text;
    ngx_str_t                  type;      /* empty: not written */
} s3_checksum_text_t;

/* Its element's name; NULL for NONE. */
const char *s3_checksum_element(s3_checksum_e algorithm);

/* <ChecksumCRC32>...</ChecksumCRC32>, <ChecksumType> */
void s3_checksum_write(s3_xml_t *x, s3_checksum_text_t *checksum);

/* upload_id: text */
ngx_chain_t *s3_upload_created_write(ngx_pool_t *pool, ngx_str_t *bucket,
    ngx_str_t *key, ngx_str_t *upload_id, size_t *size);

/* etag: without quotes */
ngx_chain_t *s3_upload_completed_write(ngx_pool_t *pool, ngx_str_t *location,
    ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *etag,
    s3_checksum_text_t *checksum, size_t *size);


/* ListParts, and the parts in GetObjectAttributes */

typedef struct {
    ngx_uint_t                 number;
    int64_t                    mtime;     /* ms since the epoch */
    uint64_t                   size;
    ngx_str_t                  etag;      /* without quotes */
    s3_checksum_text_t         checksum;
} s3_list_part_t;

typedef struct {
    ngx_uint_t                 after;     /* part-number-marker */
    ngx_uint_t                 max;       /* max-parts, 0..1000 */
    unsigned                   encoding_url:1;

    s3_list_part_t            *parts;
    ngx_uint_t                 nparts;
    unsigned                   truncated:1;

    s3_upload_checksum_t       checksum;  /* the upload's */
} s3_list_parts_t;

/* The arguments, zeroes the rest.  S3_OK or InvalidArgument. */
s3_error_e s3_list_parts_parse(ngx_pool_t *pool, s3_target_t *target,
    s3_list_parts_t *list, s3_failure_t *fail);

ngx_chain_t *s3_list_parts_write(ngx_pool_t *pool, ngx_str_t *bucket,
    ngx_str_t *key, ngx_str_t *upload_id, s3_list_parts_t *list,
    s3_owner_t *owner, size_t *size);


/* ListMultipartUploads */

typedef struct {
    ngx_str_t                  key;
    ngx_str_t                  upload_id; /* text */
    int64_t                    initiated; /* ms since the epoch */
    s3_upload_checksum_t       checksum;
} s3_list_upload_t;

typedef struct {
    ngx_str_t                  prefix;
    ngx_str_t                  delimiter;
    ngx_str_t                  key_marker;
    ngx_str_t                  upload_id_marker;   /* as given */
    u_char                     after_id[S3_UPLOAD_ID_LEN];
    unsigned                   after_upload:1;     /* after_id counts */
    unsigned                   encoding_url:1;
    ngx_uint_t                 max;                /* max-uploads, 0..1000 */

    s3_list_upload_t          *uploads;
    ngx_uint_t                 nuploads;
    ngx_str_t                 *prefixes;
    ngx_uint_t                 nprefixes;
    unsigned                   truncated:1;
    ngx_str_t                  next_key;           /* where truncated */
    ngx_str_t                  next_upload_id;     /* text, or empty */
} s3_list_uploads_t;

s3_error_e s3_list_uploads_parse(ngx_pool_t *pool, s3_target_t *target,
    s3_list_uploads_t *list, s3_failure_t *fail);

/* after_id, of a marker that must be ours.  S3_OK or InvalidArgument. */
s3_error_e s3_list_uploads_after(s3_list_uploads_t *list,
    s3_failure_t *fail);

ngx_chain_t *s3_list_uploads_write(ngx_pool_t *pool, ngx_str_t *bucket,
    s3_list_uploads_t *list, s3_owner_t *owner, size_t *size);


/* GetObjectAttributes */

#define S3_ATTRIBUTE_ETAG           0x01
#define S3_ATTRIBUTE_CHECKSUM       0x02
#define S3_ATTRIBUTE_OBJECT_PARTS   0x04
#define S3_ATTRIBUTE_STORAGE_CLASS  0x08
#define S3_ATTRIBUTE_OBJECT_SIZE    0x10

typedef struct {
    ngx_uint_t                 attributes;         /* S3_ATTRIBUTE_... */
    ngx_str_t                  etag;               /* without quotes */
    uint64_t                   size;
    s3_checksum_text_t         checksum;
    ngx_uint_t                 total;              /* parts; 0: it has none */
    unsigned                   list:1;             /* they are listed */
    s3_list_parts_t            parts;              /* with after and max */
} s3_attributes_t;

/*
 * x-amz-object-attributes, -max-parts, -part-number-marker.  S3_OK,
 * InvalidArgument, InvalidRequest (no attribute at all).
 */
s3_error_e s3_attributes_parse(ngx_pool_t *pool, s3_header_t *headers,
    ngx_uint_t n, s3_attributes_t *a, s3_failure_t *fail);

ngx_chain_t *s3_attributes_write(ngx_pool_t *pool, s3_attributes_t *a,
    size_t *size);


#endif /* _S3_MULTIPART_H_INCLUDED_ */
