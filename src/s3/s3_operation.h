
/*
 * The one table of operations.  Dispatch, metrics labels, policy actions,
 * docs and tests are made from it.
 */


#ifndef _S3_OPERATION_H_INCLUDED_
#define _S3_OPERATION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_header.h"
#include "s3_target.h"


typedef enum {
    S3_METHOD_GET    = 0x01,
    S3_METHOD_HEAD   = 0x02,
    S3_METHOD_PUT    = 0x04,
    S3_METHOD_POST   = 0x08,
    S3_METHOD_DELETE = 0x10,
    S3_METHOD_OPTIONS = 0x20
} s3_method_e;


typedef enum {
    S3_BODY_NONE = 0,          /* none is expected; one that comes is read
                                  and dropped */
    S3_BODY_XML,               /* small XML document, read whole */
    S3_BODY_JSON,              /* small JSON document, read whole */
    S3_BODY_DATA               /* object data, streamed */
} s3_body_e;


typedef enum {
    S3_OPERATION_REFUSED = 0,
    S3_OPERATION_PASSED,
    S3_OPERATION_SERVED
} s3_operation_where_e;


/* who answers a request: a store, or another S3 behind a gateway */

typedef enum {
    S3_FACE_SERVE = 0,
    S3_FACE_GATEWAY
} s3_face_e;


/*     symbol, name, method, level, selectors, action, body, where
 *
 *     Where: SERVED by the store and, like those that are PASSED, by a
 *     gateway's upstream; REFUSED by both.
 *
 *     Selectors: arguments that must all be present, separated by a space
 *     ("uploadId partNumber", "list-type=2"); a name that begins with ":" is
 *     a header.  The first row that fits is taken, so rows with more
 *     selectors stand before rows with less.
 */

#define S3_OPERATION_TABLE(_)                                                \
    /* service */                                                            \
    _(LIST_BUCKETS, "ListBuckets", GET, SERVICE, "",                         \
      "s3:ListAllMyBuckets", NONE, SERVED)                                   \
                                                                             \
    /* bucket: sub-resources */                                              \
    _(GET_BUCKET_LOCATION, "GetBucketLocation", GET, BUCKET, "location",     \
      "s3:GetBucketLocation", NONE, SERVED)                                  \
    _(GET_BUCKET_ACL, "GetBucketAcl", GET, BUCKET, "acl",                    \
      "s3:GetBucketAcl", NONE, SERVED)                                       \
    _(PUT_BUCKET_ACL, "PutBucketAcl", PUT, BUCKET, "acl",                    \
      "s3:PutBucketAcl", XML, PASSED)                                        \
    _(GET_BUCKET_POLICY, "GetBucketPolicy", GET, BUCKET, "policy",           \
      "s3:GetBucketPolicy", NONE, SERVED)                                    \
    _(PUT_BUCKET_POLICY, "PutBucketPolicy", PUT, BUCKET, "policy",           \
      "s3:PutBucketPolicy", JSON, PASSED)                                    \
    _(DELETE_BUCKET_POLICY, "DeleteBucketPolicy", DELETE, BUCKET, "policy",  \
      "s3:DeleteBucketPolicy", NONE, SERVED)                                 \
    _(GET_BUCKET_POLICY_STATUS, "GetBucketPolicyStatus", GET, BUCKET,        \
      "policyStatus", "s3:GetBucketPolicyStatus", NONE, SERVED)              \
    _(GET_BUCKET_CORS, "GetBucketCors", GET, BUCKET, "cors",                 \
      "s3:GetBucketCORS", NONE, SERVED)                                      \
    _(PUT_BUCKET_CORS, "PutBucketCors", PUT, BUCKET, "cors",                 \
      "s3:PutBucketCORS", XML, PASSED)                                       \
    _(DELETE_BUCKET_CORS, "DeleteBucketCors", DELETE, BUCKET, "cors",        \
      "s3:PutBucketCORS", NONE, SERVED)                                      \
    _(GET_BUCKET_LIFECYCLE_CONFIGURATION, "GetBucketLifecycleConfiguration", \
      GET, BUCKET, "lifecycle", "s3:GetLifecycleConfiguration",              \
      NONE, SERVED)                                                          \
    _(PUT_BUCKET_LIFECYCLE_CONFIGURATION, "PutBucketLifecycleConfiguration", \
      PUT, BUCKET, "lifecycle", "s3:PutLifecycleConfiguration", XML, PASSED) \
    _(DELETE_BUCKET_LIFECYCLE, "DeleteBucketLifecycle", DELETE, BUCKET,      \
      "lifecycle", "s3:PutLifecycleConfiguration", NONE, SERVED)             \
    _(GET_BUCKET_VERSIONING, "GetBucketVersioning", GET, BUCKET,             \
      "versioning", "s3:GetBucketVersioning", NONE, SERVED)                  \
    _(PUT_BUCKET_VERSIONING, "PutBucketVersioning", PUT, BUCKET,             \
      "versioning", "s3:PutBucketVersioning", XML, PASSED)                   \
    _(GET_BUCKET_TAGGING, "GetBucketTagging", GET, BUCKET, "tagging",        \
      "s3:GetBucketTagging", NONE, SERVED)                                   \
    _(PUT_BUCKET_TAGGING, "PutBucketTagging", PUT, BUCKET, "tagging",        \
      "s3:PutBucketTagging", XML, PASSED)                                    \
    _(DELETE_BUCKET_TAGGING, "DeleteBucketTagging", DELETE, BUCKET,          \
      "tagging", "s3:PutBucketTagging", NONE, SERVED)                        \
    _(GET_BUCKET_ENCRYPTION, "GetBucketEncryption", GET, BUCKET,             \
      "encryption", "s3:GetEncryptionConfiguration", NONE, SERVED)           \
    _(PUT_BUCKET_ENCRYPTION, "PutBucketEncryption", PUT, BUCKET,             \
      "encryption", "s3:PutEncryptionConfiguration", XML, PASSED)            \
    _(DELETE_BUCKET_ENCRYPTION, "DeleteBucketEncryption", DELETE, BUCKET,    \
      "encryption", "s3:PutEncryptionConfiguration", NONE, SERVED)           \
    _(GET_OBJECT_LOCK_CONFIGURATION, "GetObjectLockConfiguration", GET,      \
      BUCKET, "object-lock", "s3:GetBucketObjectLockConfiguration",          \
      NONE, SERVED)                                                          \
    _(PUT_OBJECT_LOCK_CONFIGURATION, "PutObjectLockConfiguration", PUT,      \
      BUCKET, "object-lock", "s3:PutBucketObjectLockConfiguration",          \
      XML, PASSED)                                                           \
    _(GET_BUCKET_NOTIFICATION_CONFIGURATION,                                 \
      "GetBucketNotificationConfiguration", GET, BUCKET, "notification",     \
      "s3:GetBucketNotification", NONE, SERVED)                              \
    _(PUT_BUCKET_NOTIFICATION_CONFIGURATION,                                 \
      "PutBucketNotificationConfiguration", PUT, BUCKET, "notification",     \
      "s3:PutBucketNotification", XML, PASSED)                               \
    _(GET_BUCKET_REPLICATION, "GetBucketReplication", GET, BUCKET,           \
      "replication", "s3:GetReplicationConfiguration", NONE, SERVED)         \
    _(PUT_BUCKET_REPLICATION, "PutBucketReplication", PUT, BUCKET,           \
      "replication", "s3:PutReplicationConfiguration", XML, PASSED)          \
    _(DELETE_BUCKET_REPLICATION, "DeleteBucketReplication", DELETE, BUCKET,  \
      "replication", "s3:PutReplicationConfiguration", NONE, SERVED)         \
    _(GET_BUCKET_WEBSITE, "GetBucketWebsite", GET, BUCKET, "website",        \
      "s3:GetBucketWebsite", NONE, SERVED)                                   \
    _(PUT_BUCKET_WEBSITE, "PutBucketWebsite", PUT, BUCKET, "website",        \
      "s3:PutBucketWebsite", XML, PASSED)                                    \
    _(DELETE_BUCKET_WEBSITE, "DeleteBucketWebsite", DELETE, BUCKET,          \
      "website", "s3:DeleteBucketWebsite", NONE, SERVED)                     \
    _(GET_BUCKET_LOGGING, "GetBucketLogging", GET, BUCKET, "logging",        \
      "s3:GetBucketLogging", NONE, SERVED)                                   \
    _(PUT_BUCKET_LOGGING, "PutBucketLogging", PUT, BUCKET, "logging",        \
      "s3:PutBucketLogging", XML, PASSED)                                    \
    _(GET_BUCKET_OWNERSHIP_CONTROLS, "GetBucketOwnershipControls", GET,      \
      BUCKET, "ownershipControls", "s3:GetBucketOwnershipControls",          \
      NONE, SERVED)                                                          \
    _(PUT_BUCKET_OWNERSHIP_CONTROLS, "PutBucketOwnershipControls", PUT,      \
      BUCKET, "ownershipControls", "s3:PutBucketOwnershipControls",          \
      XML, PASSED)                                                           \
    _(DELETE_BUCKET_OWNERSHIP_CONTROLS, "DeleteBucketOwnershipControls",     \
      DELETE, BUCKET, "ownershipControls",                                   \
      "s3:PutBucketOwnershipControls", NONE, PASSED)                         \
    _(GET_PUBLIC_ACCESS_BLOCK, "GetPublicAccessBlock", GET, BUCKET,          \
      "publicAccessBlock", "s3:GetBucketPublicAccessBlock", NONE, SERVED)    \
    _(PUT_PUBLIC_ACCESS_BLOCK, "PutPublicAccessBlock", PUT, BUCKET,          \
      "publicAccessBlock", "s3:PutBucketPublicAccessBlock", XML, PASSED)     \
    _(DELETE_PUBLIC_ACCESS_BLOCK, "DeletePublicAccessBlock", DELETE, BUCKET, \
      "publicAccessBlock", "s3:PutBucketPublicAccessBlock", NONE, SERVED)    \
    _(GET_BUCKET_REQUEST_PAYMENT, "GetBucketRequestPayment", GET, BUCKET,    \
      "requestPayment", "s3:GetBucketRequestPayment", NONE, SERVED)          \
    _(PUT_BUCKET_REQUEST_PAYMENT, "PutBucketRequestPayment", PUT, BUCKET,    \
      "requestPayment", "s3:PutBucketRequestPayment", XML, PASSED)           \
    _(GET_BUCKET_ACCELERATE_CONFIGURATION,                                   \
      "GetBucketAccelerateConfiguration", GET, BUCKET, "accelerate",         \
      "s3:GetAccelerateConfiguration", NONE, SERVED)                         \
    _(PUT_BUCKET_ACCELERATE_CONFIGURATION,                                   \
      "PutBucketAccelerateConfiguration", PUT, BUCKET, "accelerate",         \
      "s3:PutAccelerateConfiguration", XML, PASSED)                          \
    _(GET_BUCKET_ANALYTICS_CONFIGURATION,                                    \
      "GetBucketAnalyticsConfiguration", GET, BUCKET,                        \
      "analytics id", "s3:GetAnalyticsConfiguration", NONE, SERVED)          \
    _(PUT_BUCKET_ANALYTICS_CONFIGURATION,                                    \
      "PutBucketAnalyticsConfiguration", PUT, BUCKET,                        \
      "analytics id", "s3:PutAnalyticsConfiguration", XML, PASSED)           \
    _(DELETE_BUCKET_ANALYTICS_CONFIGURATION,                                 \
      "DeleteBucketAnalyticsConfiguration", DELETE, BUCKET,                  \
      "analytics id", "s3:PutAnalyticsConfiguration", NONE, SERVED)          \
    _(LIST_BUCKET_ANALYTICS_CONFIGURATIONS,                                  \
      "ListBucketAnalyticsConfigurations", GET, BUCKET,                      \
      "analytics", "s3:GetAnalyticsConfiguration", NONE, SERVED)             \
    _(GET_BUCKET_INVENTORY_CONFIGURATION,                                    \
      "GetBucketInventoryConfiguration", GET, BUCKET,                        \
      "inventory id", "s3:GetInventoryConfiguration", NONE, SERVED)          \
    _(PUT_BUCKET_INVENTORY_CONFIGURATION,                                    \
      "PutBucketInventoryConfiguration", PUT, BUCKET,                        \
      "inventory id", "s3:PutInventoryConfiguration", XML, PASSED)           \
    _(DELETE_BUCKET_INVENTORY_CONFIGURATION,                                 \
      "DeleteBucketInventoryConfiguration", DELETE, BUCKET,                  \
      "inventory id", "s3:PutInventoryConfiguration", NONE, SERVED)          \
    _(LIST_BUCKET_INVENTORY_CONFIGURATIONS,                                  \
      "ListBucketInventoryConfigurations", GET, BUCKET,                      \
      "inventory", "s3:GetInventoryConfiguration", NONE, SERVED)             \
    _(GET_BUCKET_METRICS_CONFIGURATION,                                      \
      "GetBucketMetricsConfiguration", GET, BUCKET,                          \
      "metrics id", "s3:GetMetricsConfiguration", NONE, SERVED)              \
    _(PUT_BUCKET_METRICS_CONFIGURATION,                                      \
      "PutBucketMetricsConfiguration", PUT, BUCKET,                          \
      "metrics id", "s3:PutMetricsConfiguration", XML, PASSED)               \
    _(DELETE_BUCKET_METRICS_CONFIGURATION,                                   \
      "DeleteBucketMetricsConfiguration", DELETE, BUCKET,                    \
      "metrics id", "s3:PutMetricsConfiguration", NONE, SERVED)              \
    _(LIST_BUCKET_METRICS_CONFIGURATIONS,                                    \
      "ListBucketMetricsConfigurations", GET, BUCKET,                        \
      "metrics", "s3:GetMetricsConfiguration", NONE, SERVED)                 \
    _(GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,                          \
      "GetBucketIntelligentTieringConfiguration", GET, BUCKET,               \
      "intelligent-tiering id",                                              \
      "s3:GetIntelligentTieringConfiguration", NONE, SERVED)                 \
    _(PUT_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,                          \
      "PutBucketIntelligentTieringConfiguration", PUT, BUCKET,               \
      "intelligent-tiering id",                                              \
      "s3:PutIntelligentTieringConfiguration", XML, PASSED)                  \
    _(DELETE_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,                       \
      "DeleteBucketIntelligentTieringConfiguration", DELETE, BUCKET,         \
      "intelligent-tiering id",                                              \
      "s3:PutIntelligentTieringConfiguration", NONE, SERVED)                 \
    _(LIST_BUCKET_INTELLIGENT_TIERING_CONFIGURATIONS,                        \
      "ListBucketIntelligentTieringConfigurations", GET, BUCKET,             \
      "intelligent-tiering",                                                 \
      "s3:GetIntelligentTieringConfiguration", NONE, SERVED)                 \
    _(LIST_OBJECT_VERSIONS, "ListObjectVersions", GET, BUCKET, "versions",   \
      "s3:ListBucketVersions", NONE, SERVED)                                 \
    _(LIST_MULTIPART_UPLOADS, "ListMultipartUploads", GET, BUCKET,           \
      "uploads", "s3:ListBucketMultipartUploads", NONE, SERVED)              \
    _(DELETE_OBJECTS, "DeleteObjects", POST, BUCKET, "delete",               \
      "s3:DeleteObject", XML, SERVED)                                        \
    _(CREATE_SESSION, "CreateSession", GET, BUCKET, "session",               \
      "s3express:CreateSession", NONE, REFUSED)                              \
                                                                             \
    /* bucket */                                                             \
    _(LIST_OBJECTS_V2, "ListObjectsV2", GET, BUCKET, "list-type=2",          \
      "s3:ListBucket", NONE, SERVED)                                         \
    _(LIST_OBJECTS, "ListObjects", GET, BUCKET, "", "s3:ListBucket",         \
      NONE, SERVED)                                                          \
    _(HEAD_BUCKET, "HeadBucket", HEAD, BUCKET, "", "s3:ListBucket",          \
      NONE, SERVED)                                                          \
    _(CREATE_BUCKET, "CreateBucket", PUT, BUCKET, "", "s3:CreateBucket",     \
      XML, SERVED)                                                           \
    _(DELETE_BUCKET, "DeleteBucket", DELETE, BUCKET, "", "s3:DeleteBucket",  \
      NONE, SERVED)                                                          \
    _(POST_OBJECT, "PostObject", POST, BUCKET, "", "s3:PutObject",           \
      DATA, REFUSED)                                                         \
                                                                             \
    /* object: sub-resources */                                              \
    _(GET_OBJECT_ACL, "GetObjectAcl", GET, OBJECT, "acl",                    \
      "s3:GetObjectAcl", NONE, SERVED)                                       \
    _(PUT_OBJECT_ACL, "PutObjectAcl", PUT, OBJECT, "acl",                    \
      "s3:PutObjectAcl", XML, PASSED)                                        \
    _(GET_OBJECT_TAGGING, "GetObjectTagging", GET, OBJECT, "tagging",        \
      "s3:GetObjectTagging", NONE, SERVED)                                   \
    _(PUT_OBJECT_TAGGING, "PutObjectTagging", PUT, OBJECT, "tagging",        \
      "s3:PutObjectTagging", XML, PASSED)                                    \
    _(DELETE_OBJECT_TAGGING, "DeleteObjectTagging", DELETE, OBJECT,          \
      "tagging", "s3:DeleteObjectTagging", NONE, SERVED)                     \
    _(GET_OBJECT_RETENTION, "GetObjectRetention", GET, OBJECT, "retention",  \
      "s3:GetObjectRetention", NONE, SERVED)                                 \
    _(PUT_OBJECT_RETENTION, "PutObjectRetention", PUT, OBJECT, "retention",  \
      "s3:PutObjectRetention", XML, PASSED)                                  \
    _(GET_OBJECT_LEGAL_HOLD, "GetObjectLegalHold", GET, OBJECT,              \
      "legal-hold", "s3:GetObjectLegalHold", NONE, SERVED)                   \
    _(PUT_OBJECT_LEGAL_HOLD, "PutObjectLegalHold", PUT, OBJECT,              \
      "legal-hold", "s3:PutObjectLegalHold", XML, PASSED)                    \
    _(GET_OBJECT_ATTRIBUTES, "GetObjectAttributes", GET, OBJECT,             \
      "attributes", "s3:GetObjectAttributes", NONE, SERVED)                  \
    _(GET_OBJECT_TORRENT, "GetObjectTorrent", GET, OBJECT, "torrent",        \
      "s3:GetObject", NONE, REFUSED)                                         \
    _(RESTORE_OBJECT, "RestoreObject", POST, OBJECT, "restore",              \
      "s3:RestoreObject", XML, PASSED)                                       \
    _(SELECT_OBJECT_CONTENT, "SelectObjectContent", POST, OBJECT,            \
      "select select-type", "s3:GetObject", XML, PASSED)                     \
    _(RENAME_OBJECT, "RenameObject", PUT, OBJECT, "renameObject",            \
      "s3:PutObject", NONE, REFUSED)                                         \
    _(CREATE_MULTIPART_UPLOAD, "CreateMultipartUpload", POST, OBJECT,        \
      "uploads", "s3:PutObject", NONE, SERVED)                               \
    _(UPLOAD_PART_COPY, "UploadPartCopy", PUT, OBJECT,                       \
      "uploadId partNumber :x-amz-copy-source", "s3:PutObject",              \
      NONE, SERVED)                                                          \
    _(UPLOAD_PART, "UploadPart", PUT, OBJECT, "uploadId partNumber",         \
      "s3:PutObject", DATA, SERVED)                                          \
    _(LIST_PARTS, "ListParts", GET, OBJECT, "uploadId",                      \
      "s3:ListMultipartUploadParts", NONE, SERVED)                           \
    _(COMPLETE_MULTIPART_UPLOAD, "CompleteMultipartUpload", POST, OBJECT,    \
      "uploadId", "s3:PutObject", XML, SERVED)                               \
    _(ABORT_MULTIPART_UPLOAD, "AbortMultipartUpload", DELETE, OBJECT,        \
      "uploadId", "s3:AbortMultipartUpload", NONE, SERVED)                   \
                                                                             \
    /* object */                                                             \
    _(COPY_OBJECT, "CopyObject", PUT, OBJECT, ":x-amz-copy-source",          \
      "s3:PutObject", NONE, SERVED)                                          \
    _(PUT_OBJECT, "PutObject", PUT, OBJECT, "", "s3:PutObject",              \
      DATA, SERVED)                                                          \
    _(GET_OBJECT, "GetObject", GET, OBJECT, "", "s3:GetObject",              \
      NONE, SERVED)                                                          \
    _(HEAD_OBJECT, "HeadObject", HEAD, OBJECT, "", "s3:GetObject",           \
      NONE, SERVED)                                                          \
    _(DELETE_OBJECT, "DeleteObject", DELETE, OBJECT, "",                     \
      "s3:DeleteObject", NONE, SERVED)


typedef enum {
    S3_OP_NONE = 0,
#define S3_OPERATION_ENUM(symbol, n, m, l, s, a, b, i)  S3_OP_##symbol,
    S3_OPERATION_TABLE(S3_OPERATION_ENUM)
#undef S3_OPERATION_ENUM
    S3_OP_LAST
} s3_operation_e;


typedef struct {
    s3_operation_e             id;
    ngx_str_t                  name;      /* "GetObject" */
    s3_method_e                method;
    s3_level_e                 level;
    const char                *selectors;
    ngx_str_t                  action;    /* "s3:GetObject" */
    s3_body_e                  body;
    s3_operation_where_e       where;
} s3_operation_t;


/* Row of the table; NULL for S3_OP_NONE and values out of range. */
const s3_operation_t *s3_operation(s3_operation_e id);

/*
 * Which operation a request is.  method: bytes of the request line ("GET").
 * headers: the real ones and those of s3_target_hoisted().
 *
 * S3_OK and *op (a row that is there for the face), or
 *   NotImplemented     the operation, an argument or a header stands for
 *                      something that is not there (*op is set to the row
 *                      when one is known, for logs)
 *   MethodNotAllowed   the method fits nothing at this resource
 *   InvalidArgument    two sub-resources at once
 *   AccessControlListNotSupported, InvalidStorageClass
 *
 * For a gateway versions, ACLs, storage classes and all headers that the store
 * does not have are the upstream's to decide.  Arguments nobody knows are not:
 * old servers take a request with such a one for another operation, and
 * "DELETE /bucket?ownershipControls" for DeleteBucket.
 *
 * Pure function of its arguments; strings in fail come from the pool.
 */
s3_error_e s3_operation_parse(ngx_pool_t *pool, s3_face_e face,
    ngx_str_t *method, s3_target_t *target, s3_header_t *headers,
    ngx_uint_t nheaders, const s3_operation_t **op, s3_failure_t *fail);


#endif /* _S3_OPERATION_H_INCLUDED_ */
