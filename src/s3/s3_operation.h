
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


/*     symbol, name, method, level, selectors, action, body, implemented
 *
 *     Selectors: arguments that must all be present, separated by a space
 *     ("uploadId partNumber", "list-type=2"); a name that begins with ":" is
 *     a header.  The first row that fits is taken, so rows with more
 *     selectors stand before rows with less.
 */

#define S3_OPERATION_TABLE(_)                                                \
    /* service */                                                            \
    _(LIST_BUCKETS, "ListBuckets", GET, SERVICE, "",                         \
      "s3:ListAllMyBuckets", NONE, 1)                                        \
                                                                             \
    /* bucket: sub-resources */                                              \
    _(GET_BUCKET_LOCATION, "GetBucketLocation", GET, BUCKET, "location",     \
      "s3:GetBucketLocation", NONE, 1)                                       \
    _(GET_BUCKET_ACL, "GetBucketAcl", GET, BUCKET, "acl",                    \
      "s3:GetBucketAcl", NONE, 1)                                            \
    _(PUT_BUCKET_ACL, "PutBucketAcl", PUT, BUCKET, "acl",                    \
      "s3:PutBucketAcl", XML, 0)                                             \
    _(GET_BUCKET_POLICY, "GetBucketPolicy", GET, BUCKET, "policy",           \
      "s3:GetBucketPolicy", NONE, 1)                                         \
    _(PUT_BUCKET_POLICY, "PutBucketPolicy", PUT, BUCKET, "policy",           \
      "s3:PutBucketPolicy", JSON, 0)                                         \
    _(DELETE_BUCKET_POLICY, "DeleteBucketPolicy", DELETE, BUCKET, "policy",  \
      "s3:DeleteBucketPolicy", NONE, 1)                                      \
    _(GET_BUCKET_POLICY_STATUS, "GetBucketPolicyStatus", GET, BUCKET,        \
      "policyStatus", "s3:GetBucketPolicyStatus", NONE, 1)                   \
    _(GET_BUCKET_CORS, "GetBucketCors", GET, BUCKET, "cors",                 \
      "s3:GetBucketCORS", NONE, 1)                                           \
    _(PUT_BUCKET_CORS, "PutBucketCors", PUT, BUCKET, "cors",                 \
      "s3:PutBucketCORS", XML, 0)                                            \
    _(DELETE_BUCKET_CORS, "DeleteBucketCors", DELETE, BUCKET, "cors",        \
      "s3:PutBucketCORS", NONE, 1)                                           \
    _(GET_BUCKET_LIFECYCLE_CONFIGURATION, "GetBucketLifecycleConfiguration", \
      GET, BUCKET, "lifecycle", "s3:GetLifecycleConfiguration", NONE, 1)     \
    _(PUT_BUCKET_LIFECYCLE_CONFIGURATION, "PutBucketLifecycleConfiguration", \
      PUT, BUCKET, "lifecycle", "s3:PutLifecycleConfiguration", XML, 0)      \
    _(DELETE_BUCKET_LIFECYCLE, "DeleteBucketLifecycle", DELETE, BUCKET,      \
      "lifecycle", "s3:PutLifecycleConfiguration", NONE, 1)                  \
    _(GET_BUCKET_VERSIONING, "GetBucketVersioning", GET, BUCKET,             \
      "versioning", "s3:GetBucketVersioning", NONE, 1)                       \
    _(PUT_BUCKET_VERSIONING, "PutBucketVersioning", PUT, BUCKET,             \
      "versioning", "s3:PutBucketVersioning", XML, 0)                        \
    _(GET_BUCKET_TAGGING, "GetBucketTagging", GET, BUCKET, "tagging",        \
      "s3:GetBucketTagging", NONE, 1)                                        \
    _(PUT_BUCKET_TAGGING, "PutBucketTagging", PUT, BUCKET, "tagging",        \
      "s3:PutBucketTagging", XML, 0)                                         \
    _(DELETE_BUCKET_TAGGING, "DeleteBucketTagging", DELETE, BUCKET,          \
      "tagging", "s3:PutBucketTagging", NONE, 1)                             \
    _(GET_BUCKET_ENCRYPTION, "GetBucketEncryption", GET, BUCKET,             \
      "encryption", "s3:GetEncryptionConfiguration", NONE, 1)                \
    _(PUT_BUCKET_ENCRYPTION, "PutBucketEncryption", PUT, BUCKET,             \
      "encryption", "s3:PutEncryptionConfiguration", XML, 0)                 \
    _(DELETE_BUCKET_ENCRYPTION, "DeleteBucketEncryption", DELETE, BUCKET,    \
      "encryption", "s3:PutEncryptionConfiguration", NONE, 1)                \
    _(GET_OBJECT_LOCK_CONFIGURATION, "GetObjectLockConfiguration", GET,      \
      BUCKET, "object-lock", "s3:GetBucketObjectLockConfiguration", NONE, 1) \
    _(PUT_OBJECT_LOCK_CONFIGURATION, "PutObjectLockConfiguration", PUT,      \
      BUCKET, "object-lock", "s3:PutBucketObjectLockConfiguration", XML, 0)  \
    _(GET_BUCKET_NOTIFICATION_CONFIGURATION,                                 \
      "GetBucketNotificationConfiguration", GET, BUCKET, "notification",     \
      "s3:GetBucketNotification", NONE, 1)                                   \
    _(PUT_BUCKET_NOTIFICATION_CONFIGURATION,                                 \
      "PutBucketNotificationConfiguration", PUT, BUCKET, "notification",     \
      "s3:PutBucketNotification", XML, 0)                                    \
    _(GET_BUCKET_REPLICATION, "GetBucketReplication", GET, BUCKET,           \
      "replication", "s3:GetReplicationConfiguration", NONE, 1)              \
    _(PUT_BUCKET_REPLICATION, "PutBucketReplication", PUT, BUCKET,           \
      "replication", "s3:PutReplicationConfiguration", XML, 0)               \
    _(DELETE_BUCKET_REPLICATION, "DeleteBucketReplication", DELETE, BUCKET,  \
      "replication", "s3:PutReplicationConfiguration", NONE, 1)              \
    _(GET_BUCKET_WEBSITE, "GetBucketWebsite", GET, BUCKET, "website",        \
      "s3:GetBucketWebsite", NONE, 1)                                        \
    _(PUT_BUCKET_WEBSITE, "PutBucketWebsite", PUT, BUCKET, "website",        \
      "s3:PutBucketWebsite", XML, 0)                                         \
    _(DELETE_BUCKET_WEBSITE, "DeleteBucketWebsite", DELETE, BUCKET,          \
      "website", "s3:DeleteBucketWebsite", NONE, 1)                          \
    _(GET_BUCKET_LOGGING, "GetBucketLogging", GET, BUCKET, "logging",        \
      "s3:GetBucketLogging", NONE, 1)                                        \
    _(PUT_BUCKET_LOGGING, "PutBucketLogging", PUT, BUCKET, "logging",        \
      "s3:PutBucketLogging", XML, 0)                                         \
    _(GET_BUCKET_OWNERSHIP_CONTROLS, "GetBucketOwnershipControls", GET,      \
      BUCKET, "ownershipControls", "s3:GetBucketOwnershipControls", NONE, 1) \
    _(PUT_BUCKET_OWNERSHIP_CONTROLS, "PutBucketOwnershipControls", PUT,      \
      BUCKET, "ownershipControls", "s3:PutBucketOwnershipControls", XML, 0)  \
    _(DELETE_BUCKET_OWNERSHIP_CONTROLS, "DeleteBucketOwnershipControls",     \
      DELETE, BUCKET, "ownershipControls",                                   \
      "s3:PutBucketOwnershipControls", NONE, 0)                              \
    _(GET_PUBLIC_ACCESS_BLOCK, "GetPublicAccessBlock", GET, BUCKET,          \
      "publicAccessBlock", "s3:GetBucketPublicAccessBlock", NONE, 1)         \
    _(PUT_PUBLIC_ACCESS_BLOCK, "PutPublicAccessBlock", PUT, BUCKET,          \
      "publicAccessBlock", "s3:PutBucketPublicAccessBlock", XML, 0)          \
    _(DELETE_PUBLIC_ACCESS_BLOCK, "DeletePublicAccessBlock", DELETE, BUCKET, \
      "publicAccessBlock", "s3:PutBucketPublicAccessBlock", NONE, 1)         \
    _(GET_BUCKET_REQUEST_PAYMENT, "GetBucketRequestPayment", GET, BUCKET,    \
      "requestPayment", "s3:GetBucketRequestPayment", NONE, 1)               \
    _(PUT_BUCKET_REQUEST_PAYMENT, "PutBucketRequestPayment", PUT, BUCKET,    \
      "requestPayment", "s3:PutBucketRequestPayment", XML, 0)                \
    _(GET_BUCKET_ACCELERATE_CONFIGURATION,                                   \
      "GetBucketAccelerateConfiguration", GET, BUCKET, "accelerate",         \
      "s3:GetAccelerateConfiguration", NONE, 1)                              \
    _(PUT_BUCKET_ACCELERATE_CONFIGURATION,                                   \
      "PutBucketAccelerateConfiguration", PUT, BUCKET, "accelerate",         \
      "s3:PutAccelerateConfiguration", XML, 0)                               \
    _(GET_BUCKET_ANALYTICS_CONFIGURATION,                                    \
      "GetBucketAnalyticsConfiguration", GET, BUCKET,                        \
      "analytics id", "s3:GetAnalyticsConfiguration", NONE, 1)               \
    _(PUT_BUCKET_ANALYTICS_CONFIGURATION,                                    \
      "PutBucketAnalyticsConfiguration", PUT, BUCKET,                        \
      "analytics id", "s3:PutAnalyticsConfiguration", XML, 0)                \
    _(DELETE_BUCKET_ANALYTICS_CONFIGURATION,                                 \
      "DeleteBucketAnalyticsConfiguration", DELETE, BUCKET,                  \
      "analytics id", "s3:PutAnalyticsConfiguration", NONE, 1)               \
    _(LIST_BUCKET_ANALYTICS_CONFIGURATIONS,                                  \
      "ListBucketAnalyticsConfigurations", GET, BUCKET,                      \
      "analytics", "s3:GetAnalyticsConfiguration", NONE, 1)                  \
    _(GET_BUCKET_INVENTORY_CONFIGURATION,                                    \
      "GetBucketInventoryConfiguration", GET, BUCKET,                        \
      "inventory id", "s3:GetInventoryConfiguration", NONE, 1)               \
    _(PUT_BUCKET_INVENTORY_CONFIGURATION,                                    \
      "PutBucketInventoryConfiguration", PUT, BUCKET,                        \
      "inventory id", "s3:PutInventoryConfiguration", XML, 0)                \
    _(DELETE_BUCKET_INVENTORY_CONFIGURATION,                                 \
      "DeleteBucketInventoryConfiguration", DELETE, BUCKET,                  \
      "inventory id", "s3:PutInventoryConfiguration", NONE, 1)               \
    _(LIST_BUCKET_INVENTORY_CONFIGURATIONS,                                  \
      "ListBucketInventoryConfigurations", GET, BUCKET,                      \
      "inventory", "s3:GetInventoryConfiguration", NONE, 1)                  \
    _(GET_BUCKET_METRICS_CONFIGURATION,                                      \
      "GetBucketMetricsConfiguration", GET, BUCKET,                          \
      "metrics id", "s3:GetMetricsConfiguration", NONE, 1)                   \
    _(PUT_BUCKET_METRICS_CONFIGURATION,                                      \
      "PutBucketMetricsConfiguration", PUT, BUCKET,                          \
      "metrics id", "s3:PutMetricsConfiguration", XML, 0)                    \
    _(DELETE_BUCKET_METRICS_CONFIGURATION,                                   \
      "DeleteBucketMetricsConfiguration", DELETE, BUCKET,                    \
      "metrics id", "s3:PutMetricsConfiguration", NONE, 1)                   \
    _(LIST_BUCKET_METRICS_CONFIGURATIONS,                                    \
      "ListBucketMetricsConfigurations", GET, BUCKET,                        \
      "metrics", "s3:GetMetricsConfiguration", NONE, 1)                      \
    _(GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,                          \
      "GetBucketIntelligentTieringConfiguration", GET, BUCKET,               \
      "intelligent-tiering id",                                              \
      "s3:GetIntelligentTieringConfiguration", NONE, 1)                      \
    _(PUT_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,                          \
      "PutBucketIntelligentTieringConfiguration", PUT, BUCKET,               \
      "intelligent-tiering id",                                              \
      "s3:PutIntelligentTieringConfiguration", XML, 0)                       \
    _(DELETE_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,                       \
      "DeleteBucketIntelligentTieringConfiguration", DELETE, BUCKET,         \
      "intelligent-tiering id",                                              \
      "s3:PutIntelligentTieringConfiguration", NONE, 1)                      \
    _(LIST_BUCKET_INTELLIGENT_TIERING_CONFIGURATIONS,                        \
      "ListBucketIntelligentTieringConfigurations", GET, BUCKET,             \
      "intelligent-tiering",                                                 \
      "s3:GetIntelligentTieringConfiguration", NONE, 1)                      \
    _(LIST_OBJECT_VERSIONS, "ListObjectVersions", GET, BUCKET, "versions",   \
      "s3:ListBucketVersions", NONE, 1)                                      \
    _(LIST_MULTIPART_UPLOADS, "ListMultipartUploads", GET, BUCKET,           \
      "uploads", "s3:ListBucketMultipartUploads", NONE, 1)                   \
    _(DELETE_OBJECTS, "DeleteObjects", POST, BUCKET, "delete",               \
      "s3:DeleteObject", XML, 1)                                             \
    _(CREATE_SESSION, "CreateSession", GET, BUCKET, "session",               \
      "s3express:CreateSession", NONE, 0)                                    \
                                                                             \
    /* bucket */                                                             \
    _(LIST_OBJECTS_V2, "ListObjectsV2", GET, BUCKET, "list-type=2",          \
      "s3:ListBucket", NONE, 1)                                              \
    _(LIST_OBJECTS, "ListObjects", GET, BUCKET, "", "s3:ListBucket",         \
      NONE, 1)                                                               \
    _(HEAD_BUCKET, "HeadBucket", HEAD, BUCKET, "", "s3:ListBucket",          \
      NONE, 1)                                                               \
    _(CREATE_BUCKET, "CreateBucket", PUT, BUCKET, "", "s3:CreateBucket",     \
      XML, 1)                                                                \
    _(DELETE_BUCKET, "DeleteBucket", DELETE, BUCKET, "", "s3:DeleteBucket",  \
      NONE, 1)                                                               \
    _(POST_OBJECT, "PostObject", POST, BUCKET, "", "s3:PutObject",           \
      DATA, 0)                                                               \
                                                                             \
    /* object: sub-resources */                                              \
    _(GET_OBJECT_ACL, "GetObjectAcl", GET, OBJECT, "acl",                    \
      "s3:GetObjectAcl", NONE, 1)                                            \
    _(PUT_OBJECT_ACL, "PutObjectAcl", PUT, OBJECT, "acl",                    \
      "s3:PutObjectAcl", XML, 0)                                             \
    _(GET_OBJECT_TAGGING, "GetObjectTagging", GET, OBJECT, "tagging",        \
      "s3:GetObjectTagging", NONE, 1)                                        \
    _(PUT_OBJECT_TAGGING, "PutObjectTagging", PUT, OBJECT, "tagging",        \
      "s3:PutObjectTagging", XML, 0)                                         \
    _(DELETE_OBJECT_TAGGING, "DeleteObjectTagging", DELETE, OBJECT,          \
      "tagging", "s3:DeleteObjectTagging", NONE, 1)                          \
    _(GET_OBJECT_RETENTION, "GetObjectRetention", GET, OBJECT, "retention",  \
      "s3:GetObjectRetention", NONE, 1)                                      \
    _(PUT_OBJECT_RETENTION, "PutObjectRetention", PUT, OBJECT, "retention",  \
      "s3:PutObjectRetention", XML, 0)                                       \
    _(GET_OBJECT_LEGAL_HOLD, "GetObjectLegalHold", GET, OBJECT,              \
      "legal-hold", "s3:GetObjectLegalHold", NONE, 1)                        \
    _(PUT_OBJECT_LEGAL_HOLD, "PutObjectLegalHold", PUT, OBJECT,              \
      "legal-hold", "s3:PutObjectLegalHold", XML, 0)                         \
    _(GET_OBJECT_ATTRIBUTES, "GetObjectAttributes", GET, OBJECT,             \
      "attributes", "s3:GetObjectAttributes", NONE, 1)                       \
    _(GET_OBJECT_TORRENT, "GetObjectTorrent", GET, OBJECT, "torrent",        \
      "s3:GetObject", NONE, 0)                                               \
    _(RESTORE_OBJECT, "RestoreObject", POST, OBJECT, "restore",              \
      "s3:RestoreObject", XML, 0)                                            \
    _(SELECT_OBJECT_CONTENT, "SelectObjectContent", POST, OBJECT,            \
      "select select-type", "s3:GetObject", XML, 0)                          \
    _(RENAME_OBJECT, "RenameObject", PUT, OBJECT, "renameObject",            \
      "s3:PutObject", NONE, 0)                                               \
    _(CREATE_MULTIPART_UPLOAD, "CreateMultipartUpload", POST, OBJECT,        \
      "uploads", "s3:PutObject", NONE, 1)                                    \
    _(UPLOAD_PART_COPY, "UploadPartCopy", PUT, OBJECT,                       \
      "uploadId partNumber :x-amz-copy-source", "s3:PutObject", NONE, 1)     \
    _(UPLOAD_PART, "UploadPart", PUT, OBJECT, "uploadId partNumber",         \
      "s3:PutObject", DATA, 1)                                               \
    _(LIST_PARTS, "ListParts", GET, OBJECT, "uploadId",                      \
      "s3:ListMultipartUploadParts", NONE, 1)                                \
    _(COMPLETE_MULTIPART_UPLOAD, "CompleteMultipartUpload", POST, OBJECT,    \
      "uploadId", "s3:PutObject", XML, 1)                                    \
    _(ABORT_MULTIPART_UPLOAD, "AbortMultipartUpload", DELETE, OBJECT,        \
      "uploadId", "s3:AbortMultipartUpload", NONE, 1)                        \
                                                                             \
    /* object */                                                             \
    _(COPY_OBJECT, "CopyObject", PUT, OBJECT, ":x-amz-copy-source",          \
      "s3:PutObject", NONE, 1)                                               \
    _(PUT_OBJECT, "PutObject", PUT, OBJECT, "", "s3:PutObject", DATA, 1)     \
    _(GET_OBJECT, "GetObject", GET, OBJECT, "", "s3:GetObject", NONE, 1)     \
    _(HEAD_OBJECT, "HeadObject", HEAD, OBJECT, "", "s3:GetObject", NONE, 1)  \
    _(DELETE_OBJECT, "DeleteObject", DELETE, OBJECT, "",                     \
      "s3:DeleteObject", NONE, 1)


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
    unsigned                   implemented:1;
} s3_operation_t;


/* Row of the table; NULL for S3_OP_NONE and values out of range. */
const s3_operation_t *s3_operation(s3_operation_e id);

/*
 * Which operation a request is.  method: bytes of the request line ("GET").
 * headers: the real ones and those of s3_target_hoisted().
 *
 * S3_OK and *op (a row with implemented = 1), or
 *   NotImplemented     the operation, an argument or a header stands for
 *                      something that is not there (*op is set to the row
 *                      when one is known, for logs)
 *   MethodNotAllowed   the method fits nothing at this resource
 *   InvalidArgument    two sub-resources at once
 *   AccessControlListNotSupported, InvalidStorageClass
 * Pure function of its arguments; strings in fail come from the pool.
 */
s3_error_e s3_operation_parse(ngx_pool_t *pool, ngx_str_t *method,
    s3_target_t *target, s3_header_t *headers, ngx_uint_t nheaders,
    const s3_operation_t **op, s3_failure_t *fail);


#endif /* _S3_OPERATION_H_INCLUDED_ */
