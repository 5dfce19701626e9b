
/*
 * CopyObject and UploadPartCopy: what is copied, and the answer.
 *
 *     x-amz-copy-source: [/]bucket/key[?versionId=null]      percent-encoded
 *     x-amz-copy-source-range: bytes=first-last              of a part
 */


#ifndef _S3_COPY_H_INCLUDED_
#define _S3_COPY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_multipart.h"
#include "s3_xml.h"


/* bytes of an object that is copied whole, and of a part */
#define S3_COPY_MAX            ((uint64_t) 5 * 1024 * 1024 * 1024)


typedef struct {
    ngx_str_t                  bucket;
    ngx_str_t                  key;
    ngx_str_t                  version;   /* as given; empty: the latest */
} s3_copy_source_t;


typedef struct {
    ngx_str_t                  etag;              /* without quotes */
    int64_t                    last_modified;     /* ms since the epoch */
    s3_checksum_text_t         checksum;
} s3_copy_result_t;


/*
 * The value of x-amz-copy-source.  S3_OK and names in the pool, or
 * InvalidArgument (no bucket or key in it, an escape or text that is none),
 * InvalidBucketName, KeyTooLongError, InternalError (memory).
 */
s3_error_e s3_copy_source_parse(ngx_pool_t *pool, ngx_str_t *value,
    s3_copy_source_t *source, s3_failure_t *fail);

/* Where there are no versions: S3_OK, or InvalidArgument for all but "null". */
s3_error_e s3_copy_source_unversioned(s3_copy_source_t *source,
    s3_failure_t *fail);

/*
 * The value of x-amz-copy-source-range, for a source of so many bytes.  S3_OK,
 * or InvalidArgument: not of that form, or not within the source.
 */
s3_error_e s3_copy_range_parse(ngx_pool_t *pool, ngx_str_t *value,
    uint64_t size, uint64_t *offset, uint64_t *length, s3_failure_t *fail);

/* root: "CopyObjectResult" or "CopyPartResult".  NULL without memory. */
ngx_chain_t *s3_copy_result_write(ngx_pool_t *pool, const char *root,
    s3_copy_result_t *result, size_t *size);


#endif /* _S3_COPY_H_INCLUDED_ */
