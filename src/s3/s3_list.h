
/*
 * ListObjectsV2, ListObjects, ListObjectVersions: parameters, continuation
 * token, answer.
 *
 *                      begins after             the next page by
 *     ListObjectsV2      continuation-token,      NextContinuationToken
 *                        start-after
 *     ListObjects        marker                   NextMarker (with a delimiter
 *                                                 only), or the last key
 *     ListObjectVersions key-marker and           NextKeyMarker,
 *                        version-id-marker        NextVersionIdMarker
 *
 * Buckets have no versions: each object is its version "null", the latest.
 *
 * The continuation token is base64url (no padding) of
 *
 *     +---------+-------+-----------------------+------------------+
 *     | version | flags | name, 1..1024 bytes   | CRC32, 4 bytes   |
 *     |  0x01   |       | the last one returned | big-endian       |
 *     +---------+-------+-----------------------+------------------+
 *
 * flags bit 0: the name is a common prefix, and all keys that begin with it
 * are behind us.  The CRC is over all bytes before it: a damaged token is
 * InvalidArgument and never another page.  It guards against accidents only;
 * a forged token shows nothing that start-after would not.
 */


#ifndef _S3_LIST_H_INCLUDED_
#define _S3_LIST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_bucket.h"
#include "s3_error.h"
#include "s3_target.h"
#include "s3_xml.h"


#define S3_LIST_MAX_KEYS       1000


typedef enum {
    S3_LIST_V2 = 0,            /* ListObjectsV2 */
    S3_LIST_V1,                /* ListObjects */
    S3_LIST_VERSIONS           /* ListObjectVersions */
} s3_list_e;


typedef struct {
    s3_list_e                  type;
    ngx_str_t                  prefix;
    ngx_str_t                  delimiter;
    ngx_str_t                  start_after;        /* as given, to echo; also
                                                      marker, key-marker */
    ngx_str_t                  continuation_token; /* as given, to echo */
    ngx_str_t                  version_id_marker;  /* as given, or empty */

    /*
     * s3_list_after(): where the page begins: after this key, and after all
     * that is rolled up with it into one common prefix.  Empty: at the
     * beginning.
     */
    ngx_str_t                  after;

    ngx_uint_t                 max_keys;           /* 0..1000 */

    unsigned                   encoding_url:1;
    unsigned                   fetch_owner:1;
    unsigned                   has_start_after:1;
    unsigned                   has_token:1;
} s3_list_params_t;


typedef struct {
    ngx_str_t                  key;
    int64_t                    last_modified;      /* ms since the epoch */
    ngx_str_t                  etag;               /* without quotes */
    uint64_t                   size;
    ngx_str_t                  checksum_algorithm; /* "CRC64NVME" or empty */
    ngx_str_t                  checksum_type;      /* "FULL_OBJECT", empty */
} s3_list_object_t;


/* not ..._page_t and ..._entry_t: the store's records have those names */

typedef struct {
    s3_list_object_t          *entries;
    ngx_uint_t                 nentries;
    ngx_str_t                 *prefixes;           /* common prefixes */
    ngx_uint_t                 nprefixes;

    /* the next page begins after this name; used when truncated */
    ngx_str_t                  last;
    unsigned                   last_is_prefix:1;
    unsigned                   truncated:1;
} s3_list_result_t;


/* S3_OK or InvalidArgument (with ArgumentName). */
s3_error_e s3_list_parse(s3_target_t *target, s3_list_e type,
    s3_list_params_t *params, s3_failure_t *fail);

/*
 * params->after, of a token and a version that must be ours ("null").  S3_OK,
 * InvalidArgument, InternalError (memory).
 */
s3_error_e s3_list_after(ngx_pool_t *pool, s3_list_params_t *params,
    s3_failure_t *fail);

/*
 * The answer's body: ListBucketResult, ListVersionsResult.  owner is written
 * with fetch_owner (which ListObjects and ListObjectVersions always have) and
 * may else be NULL.  NULL without memory.
 */
ngx_chain_t *s3_list_write(ngx_pool_t *pool, s3_list_params_t *params,
    ngx_str_t *bucket, s3_list_result_t *page, s3_owner_t *owner,
    size_t *size);

/*
 * Token of a name (1..S3_KEY_MAX bytes), and back.  NGX_OK, NGX_ERROR (no
 * memory), decode also NGX_DECLINED (not a token of ours).
 */
ngx_int_t s3_list_token_encode(ngx_pool_t *pool, ngx_str_t *name,
    ngx_uint_t is_prefix, ngx_str_t *token);
ngx_int_t s3_list_token_decode(ngx_pool_t *pool, ngx_str_t *token,
    ngx_str_t *name, ngx_uint_t *is_prefix);


#endif /* _S3_LIST_H_INCLUDED_ */
