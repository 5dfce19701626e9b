
/*
 * Documents about buckets: ListBuckets, GetBucketLocation, and the body of
 * CreateBucket.
 */


#ifndef _S3_BUCKET_H_INCLUDED_
#define _S3_BUCKET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_target.h"
#include "s3_xml.h"


/*
 * Who owns things.  There are no accounts, so the owner is derived from the
 * access key: ID is the hex SHA-256 of it (64 digits, like a canonical user
 * ID), DisplayName the access key.
 */

typedef struct {
    ngx_str_t                  id;
    ngx_str_t                  display_name;
    u_char                     hex[64];   /* id, where it is derived */
} s3_owner_t;

/* display_name points to access_key's bytes.  NGX_OK or NGX_ERROR. */
ngx_int_t s3_owner(s3_owner_t *owner, ngx_str_t *access_key);

/* <Owner><ID/><DisplayName/></Owner> */
void s3_owner_write(s3_xml_t *x, s3_owner_t *owner);


/* ListBuckets */

#define S3_LIST_BUCKETS_MAX    10000

typedef struct {
    ngx_str_t                  prefix;
    ngx_str_t                  after;     /* decoded continuation-token: the
                                             page begins after this name */
    ngx_str_t                  bucket_region;
    ngx_uint_t                 max_buckets;
                                          /* 1..10000 */
    unsigned                   regions:1; /* BucketRegion is told: "if the
                                             request contains at least one
                                             valid parameter" (S3 API
                                             Reference, Bucket) */
} s3_list_buckets_t;

typedef struct {
    ngx_str_t                  name;
    int64_t                    created;   /* ms since the epoch */
} s3_list_bucket_t;

/* S3_OK or InvalidArgument. */
s3_error_e s3_list_buckets_parse(ngx_pool_t *pool, s3_target_t *target,
    s3_list_buckets_t *params, s3_failure_t *fail);

/*
 * The answer's body.  truncated: more follow after the last bucket.  region
 * is written as each bucket's BucketRegion.  NULL without memory.
 */
ngx_chain_t *s3_list_buckets_write(ngx_pool_t *pool,
    s3_list_buckets_t *params, s3_owner_t *owner, s3_list_bucket_t *buckets,
    ngx_uint_t n, ngx_uint_t truncated, ngx_str_t *region, size_t *size);


/* GetBucketLocation: empty element for us-east-1, as S3 answers. */
ngx_chain_t *s3_bucket_location_write(ngx_pool_t *pool, ngx_str_t *region,
    size_t *size);

/*
 * CreateBucket's body, which may be empty (in == NULL or no bytes).  S3_OK,
 * MalformedXML, IllegalLocationConstraintException (a constraint other than
 * our region), NotImplemented (Location and Bucket: directory buckets; Tags),
 * InternalError.  The caller bounds the size, 64 KiB are plenty.
 */
s3_error_e s3_bucket_configuration_read(ngx_pool_t *pool, ngx_chain_t *in,
    ngx_str_t *region, s3_failure_t *fail);


#endif /* _S3_BUCKET_H_INCLUDED_ */
