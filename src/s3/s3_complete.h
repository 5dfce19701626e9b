
/*
 * CompleteMultipartUpload: the list of parts, and the verdict over it.
 *
 *     <CompleteMultipartUpload>
 *       <Part>
 *         <PartNumber>1</PartNumber>
 *         <ETag>"9e107d9d372bb6826bd81d3542a419d6"</ETag>
 *         <ChecksumCRC32>QU+jOQ==</ChecksumCRC32>
 *       </Part>
 *       ...
 *     </CompleteMultipartUpload>
 */


#ifndef _S3_COMPLETE_H_INCLUDED_
#define _S3_COMPLETE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_checksum.h"
#include "s3_error.h"
#include "s3_header.h"
#include "s3_multipart.h"
#include "s3_xml.h"


/* a part as whoever keeps it knows it */

#define S3_PART_SUMS           2       /* the upload's, and the client's */

typedef struct {
    uint8_t                    algorithm;
    u_char                     digest[S3_CHECKSUM_DIGEST_MAX];
} s3_part_sum_t;

typedef struct {
    uint32_t                   number;
    uint32_t                   nsums;
    uint64_t                   size;
    u_char                     md5[16];
    s3_part_sum_t              sums[S3_PART_SUMS];
} s3_stored_part_t;


/*
 * CompleteMultipartUpload's document, read as it comes in: of 2 MB for 10,000
 * parts only what counts is kept.
 */

typedef struct {
    uint32_t                   number;    /* past S3_PART_NUMBER_MAX: some
                                             number that no part has */
    uint8_t                    algorithm; /* of digest, s3_checksum_e */
    uint8_t                    no_etag;   /* nothing that could be one */
    u_char                     md5[16];
    u_char                     digest[S3_CHECKSUM_DIGEST_MAX];
} s3_complete_part_t;

typedef struct {
    ngx_array_t                parts;     /* s3_complete_part_t */
    unsigned                   disordered:1;
    ngx_str_t                  no_etag;   /* the first such, as given */

    /* private */
    ngx_pool_t                *pool;
    s3_failure_t              *fail;
    s3_xml_reader_t           *reader;
    ngx_pool_cleanup_t        *cleanup;
    s3_complete_part_t         part;
    unsigned                   any:1;     /* some byte came */
    unsigned                   has_number:1;
    unsigned                   has_etag:1;
} s3_complete_t;

/*
 * begin: S3_OK or InternalError; the rest is freed with the pool.  feed:
 * S3_OK, or the error (noted in fail) that ends reading: MalformedXML,
 * InvalidArgument, InternalError.  end: as feed, and InvalidRequest for an
 * empty body, MalformedXML for no part.
 */
s3_error_e s3_complete_begin(s3_complete_t *c, ngx_pool_t *pool,
    s3_failure_t *fail);
s3_error_e s3_complete_feed(s3_complete_t *c, const u_char *p, size_t len);
s3_error_e s3_complete_end(s3_complete_t *c);

/*
 * The list once more, numbers and entity tags alone: what any server takes.
 * All parts have one.  NULL without memory.
 */
ngx_chain_t *s3_complete_write(s3_complete_t *c, size_t *size);

/* MD5 over those of the parts: the object's entity tag is it, and "-N" */
ngx_int_t s3_complete_etag(s3_complete_t *c, u_char md5[16]);


/* what the headers say about the object that is to be */

typedef struct {
    s3_checksum_e              algorithm; /* of digest; or NONE */
    u_char                     digest[S3_CHECKSUM_DIGEST_MAX];
    ngx_uint_t                 suffix;    /* "-N"; 0: none */
    ngx_str_t                  type;      /* x-amz-checksum-type */
    uint64_t                   size;      /* x-amz-mp-object-size */
    unsigned                   has_size:1;
} s3_complete_whole_t;

/* S3_OK or InvalidRequest. */
s3_error_e s3_complete_headers(ngx_pool_t *pool, s3_header_t *headers,
    ngx_uint_t n, s3_complete_whole_t *whole, s3_failure_t *fail);


/*
 * The verdict: parts named, and in order; entity tags, sizes, checksums.
 * parts: those that are there, n, in the order of their numbers.  named, room
 * for as many as the list has, receives the ones that make the object.
 *
 * S3_OK and the object's checksum in result, or InvalidPart,
 * InvalidPartOrder, EntityTooSmall, InvalidRequest, BadDigest, InternalError
 * (memory; or, where not partial, a part without a checksum that it must
 * have).
 *
 * partial: parts may be without checksums that nobody was asked to compute;
 * then result.algorithm is NONE.
 */
typedef struct {
    s3_checksum_e              algorithm;
    unsigned                   composite:1;
    u_char                     digest[S3_CHECKSUM_DIGEST_MAX];
} s3_complete_result_t;

s3_error_e s3_complete_verdict(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_whole_t *whole, s3_upload_checksum_t *checksum,
    s3_stored_part_t *parts, ngx_uint_t n, s3_stored_part_t **named,
    ngx_str_t *upload_id, ngx_uint_t partial, s3_complete_result_t *result);


#endif /* _S3_COMPLETE_H_INCLUDED_ */
