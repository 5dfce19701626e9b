
/*
 * The one table of S3 errors: code, HTTP status, default message.
 * Source: S3 API Reference, "Error responses", and, where it is silent, what
 * S3 answers.
 *
 * S3_OK is 0, so that a function's s3_error_e reads as "what went wrong".
 */


#ifndef _S3_ERROR_H_INCLUDED_
#define _S3_ERROR_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*     symbol, code, HTTP status, message */

#define S3_ERROR_TABLE(_)                                                    \
    _(ACCESS_CONTROL_LIST_NOT_SUPPORTED, "AccessControlListNotSupported",    \
      400, "The bucket does not allow ACLs")                                 \
    _(ACCESS_DENIED, "AccessDenied", 403, "Access Denied")                   \
    _(ACCESS_FORBIDDEN, "AccessForbidden", 403,                              \
      "CORSResponse: CORS is not enabled for this bucket.")                  \
    _(AUTHORIZATION_HEADER_MALFORMED, "AuthorizationHeaderMalformed", 400,   \
      "The authorization header that you provided is not valid.")            \
    _(AUTHORIZATION_QUERY_PARAMETERS_ERROR,                                  \
      "AuthorizationQueryParametersError", 400,                              \
      "The authorization query parameters that you provided are not valid.") \
    _(BAD_DIGEST, "BadDigest", 400,                                          \
      "The Content-MD5 or checksum value that you specified did not match "  \
      "what the server received.")                                           \
    _(BAD_REQUEST, "BadRequest", 400, "Bad Request")                         \
    _(BUCKET_ALREADY_EXISTS, "BucketAlreadyExists", 409,                     \
      "The requested bucket name is not available. Select a different name " \
      "and try again.")                                                      \
    _(BUCKET_ALREADY_OWNED_BY_YOU, "BucketAlreadyOwnedByYou", 409,           \
      "Your previous request to create the named bucket succeeded and you "  \
      "already own it.")                                                     \
    _(BUCKET_NOT_EMPTY, "BucketNotEmpty", 409,                               \
      "The bucket you tried to delete is not empty")                         \
    _(CONDITIONAL_REQUEST_CONFLICT, "ConditionalRequestConflict", 409,       \
      "A conflicting operation occurred during the request. Retry the "      \
      "request.")                                                            \
    _(ENTITY_TOO_LARGE, "EntityTooLarge", 400,                               \
      "Your proposed upload exceeds the maximum allowed size")               \
    _(ENTITY_TOO_SMALL, "EntityTooSmall", 400,                               \
      "Your proposed upload is smaller than the minimum allowed size")       \
    _(EXPIRED_TOKEN, "ExpiredToken", 400, "The provided token has expired.") \
    _(ILLEGAL_LOCATION_CONSTRAINT, "IllegalLocationConstraintException",     \
      400, "The specified location constraint is not valid for the region "  \
      "this request was sent to.")                                           \
    _(INCOMPLETE_BODY, "IncompleteBody", 400,                                \
      "The request body terminated unexpectedly")                            \
    _(INTERNAL_ERROR, "InternalError", 500,                                  \
      "We encountered an internal error. Please try again.")                 \
    _(INVALID_ACCESS_KEY_ID, "InvalidAccessKeyId", 403,                      \
      "The access key ID you provided does not exist in our records.")       \
    _(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument")          \
    _(INVALID_BUCKET_NAME, "InvalidBucketName", 400,                         \
      "The specified bucket is not valid.")                                  \
    _(INVALID_BUCKET_STATE, "InvalidBucketState", 409,                       \
      "The request is not valid for the current state of the bucket.")       \
    _(INVALID_CHUNK_SIZE, "InvalidChunkSizeError", 403,                      \
      "Only the last chunk is allowed to have a size less than 8192 bytes")  \
    _(INVALID_DIGEST, "InvalidDigest", 400,                                  \
      "The Content-MD5 or checksum value that you specified is not valid.")  \
    _(INVALID_ENCRYPTION_ALGORITHM, "InvalidEncryptionAlgorithmError", 400,  \
      "The encryption request that you specified is not valid.")             \
    _(INVALID_LOCATION_CONSTRAINT, "InvalidLocationConstraint", 400,         \
      "The specified location-constraint is not valid")                      \
    _(INVALID_OBJECT_STATE, "InvalidObjectState", 403,                       \
      "The operation is not valid for the current state of the object.")     \
    _(INVALID_PART, "InvalidPart", 400,                                      \
      "One or more of the specified parts could not be found.  The part "    \
      "may not have been uploaded, or the specified entity tag may not "     \
      "match the part's entity tag.")                                        \
    _(INVALID_PART_NUMBER, "InvalidPartNumber", 416,                         \
      "The requested partnumber is not satisfiable")                         \
    _(INVALID_PART_ORDER, "InvalidPartOrder", 400,                           \
      "The list of parts was not in ascending order. Parts must be ordered " \
      "by part number.")                                                     \
    _(INVALID_RANGE, "InvalidRange", 416,                                    \
      "The requested range is not satisfiable")                              \
    _(INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request")             \
    _(INVALID_SECURITY, "InvalidSecurity", 403,                              \
      "The provided security credentials are not valid.")                    \
    _(INVALID_STORAGE_CLASS, "InvalidStorageClass", 400,                     \
      "The storage class you specified is not valid")                        \
    _(INVALID_TAG, "InvalidTag", 400, "The tag provided was not valid.")     \
    _(INVALID_TOKEN, "InvalidToken", 400,                                    \
      "The provided token is malformed or otherwise invalid.")               \
    _(INVALID_URI, "InvalidURI", 400,                                        \
      "Couldn't parse the specified URI.")                                   \
    _(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long")          \
    _(MALFORMED_ACL, "MalformedACLError", 400,                               \
      "The XML you provided was not well-formed or did not validate against "\
      "our published schema")                                                \
    _(MALFORMED_POLICY, "MalformedPolicy", 400,                              \
      "Policies must be valid JSON and the first byte must be '{'")          \
    _(MALFORMED_POST_REQUEST, "MalformedPOSTRequest", 400,                   \
      "The body of your POST request is not well-formed "                    \
      "multipart/form-data.")                                                \
    _(MALFORMED_TRAILER, "MalformedTrailerError", 400,                       \
      "The request contained trailing data that was not well-formed or did " \
      "not conform to our published schema.")                                \
    _(MALFORMED_XML, "MalformedXML", 400,                                    \
      "The XML you provided was not well-formed or did not validate against "\
      "our published schema")                                                \
    _(MAX_MESSAGE_LENGTH_EXCEEDED, "MaxMessageLengthExceeded", 400,          \
      "Your request was too large.")                                         \
    _(METADATA_TOO_LARGE, "MetadataTooLarge", 400,                           \
      "Your metadata headers exceed the maximum allowed metadata size")      \
    _(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405,                           \
      "The specified method is not allowed against this resource.")          \
    _(MISSING_CONTENT_LENGTH, "MissingContentLength", 411,                   \
      "You must provide the Content-Length HTTP header.")                    \
    _(MISSING_CONTENT_MD5, "MissingContentMD5", 400,                         \
      "Missing required header for this request: Content-MD5")               \
    _(MISSING_REQUEST_BODY, "MissingRequestBodyError", 400,                  \
      "Request Body is empty")                                               \
    _(MISSING_SECURITY_HEADER, "MissingSecurityHeader", 400,                 \
      "Your request is missing a required header")                           \
    _(NO_SUCH_BUCKET, "NoSuchBucket", 404,                                   \
      "The specified bucket does not exist")                                 \
    _(NO_SUCH_BUCKET_POLICY, "NoSuchBucketPolicy", 404,                      \
      "The bucket policy does not exist")                                    \
    _(NO_SUCH_CONFIGURATION, "NoSuchConfiguration", 404,                     \
      "The specified configuration does not exist.")                         \
    _(NO_SUCH_CORS_CONFIGURATION, "NoSuchCORSConfiguration", 404,            \
      "The CORS configuration does not exist")                               \
    _(NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.")    \
    _(NO_SUCH_LIFECYCLE_CONFIGURATION, "NoSuchLifecycleConfiguration", 404,  \
      "The lifecycle configuration does not exist")                          \
    _(NO_SUCH_OBJECT_LOCK_CONFIGURATION, "NoSuchObjectLockConfiguration",    \
      404, "The specified object does not have a ObjectLock configuration")  \
    _(NO_SUCH_PUBLIC_ACCESS_BLOCK,                                           \
      "NoSuchPublicAccessBlockConfiguration", 404,                           \
      "The public access block configuration was not found")                 \
    _(NO_SUCH_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist")     \
    _(NO_SUCH_UPLOAD, "NoSuchUpload", 404,                                   \
      "The specified upload does not exist. The upload ID may be invalid, "  \
      "or the upload may have been aborted or completed.")                   \
    _(NO_SUCH_VERSION, "NoSuchVersion", 404,                                 \
      "The specified version does not exist.")                               \
    _(NO_SUCH_WEBSITE_CONFIGURATION, "NoSuchWebsiteConfiguration", 404,      \
      "The specified bucket does not have a website configuration")          \
    _(NOT_IMPLEMENTED, "NotImplemented", 501,                                \
      "A header you provided implies functionality that is not implemented") \
    _(NOT_MODIFIED, "NotModified", 304, "Not Modified")                      \
    _(OBJECT_LOCK_CONFIGURATION_NOT_FOUND,                                   \
      "ObjectLockConfigurationNotFoundError", 404,                           \
      "Object Lock configuration does not exist for this bucket")            \
    _(OPERATION_ABORTED, "OperationAborted", 409,                            \
      "A conflicting conditional operation is currently in progress against "\
      "this resource. Try again.")                                           \
    _(OWNERSHIP_CONTROLS_NOT_FOUND, "OwnershipControlsNotFoundError", 404,   \
      "The bucket ownership controls were not found")                        \
    _(PERMANENT_REDIRECT, "PermanentRedirect", 301,                          \
      "The bucket you are attempting to access must be addressed using the " \
      "specified endpoint.")                                                 \
    _(PRECONDITION_FAILED, "PreconditionFailed", 412,                        \
      "At least one of the pre-conditions you specified did not hold")       \
    _(REPLICATION_CONFIGURATION_NOT_FOUND,                                   \
      "ReplicationConfigurationNotFoundError", 404,                          \
      "The replication configuration was not found")                         \
    _(REQUEST_HEADER_SECTION_TOO_LARGE, "RequestHeaderSectionTooLarge", 400, \
      "Your request header section exceeds the maximum allowed size.")       \
    _(REQUEST_TIME_TOO_SKEWED, "RequestTimeTooSkewed", 403,                  \
      "The difference between the request time and the current time is too " \
      "large.")                                                              \
    _(REQUEST_TIMEOUT, "RequestTimeout", 400,                                \
      "Your socket connection to the server was not read from or written "   \
      "to within the timeout period.")                                       \
    _(SERVER_SIDE_ENCRYPTION_NOT_FOUND,                                      \
      "ServerSideEncryptionConfigurationNotFoundError", 404,                 \
      "The server side encryption configuration was not found")              \
    _(SERVICE_UNAVAILABLE, "ServiceUnavailable", 503,                        \
      "Service is unable to handle request.")                                \
    _(SIGNATURE_DOES_NOT_MATCH, "SignatureDoesNotMatch", 403,                \
      "The request signature we calculated does not match the signature you "\
      "provided. Check your key and signing method.")                        \
    _(SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.")        \
    _(TOO_MANY_BUCKETS, "TooManyBuckets", 400,                               \
      "You have attempted to create more buckets than allowed")              \
    _(UNEXPECTED_CONTENT, "UnexpectedContent", 400,                          \
      "This request does not support content.")                              \
    _(UNSUPPORTED_ARGUMENT, "UnsupportedArgument", 400,                      \
      "The request contained an unsupported argument.")                      \
    _(UNSUPPORTED_SIGNATURE, "UnsupportedSignature", 400,                    \
      "The provided request is signed with an unsupported STS Token version "\
      "or the signature version is not supported.")                          \
    _(X_AMZ_CONTENT_SHA256_MISMATCH, "XAmzContentSHA256Mismatch", 400,       \
      "The provided 'x-amz-content-sha256' header does not match what was "  \
      "computed.")


typedef enum {
    S3_OK = 0,
#define S3_ERROR_ENUM(symbol, code, status, message)  S3_ERR_##symbol,
    S3_ERROR_TABLE(S3_ERROR_ENUM)
#undef S3_ERROR_ENUM
    S3_ERR_LAST
} s3_error_e;


typedef struct {
    ngx_str_t                  code;
    ngx_uint_t                 status;
    ngx_str_t                  message;
} s3_error_t;


/*
 * What went wrong, in as much detail as the error document will say: elements
 * beyond Code and Message (ArgumentName, Region, StringToSign, ...).  The
 * caller zeroes it; strings point at constants or at the pool's memory.
 */

#define S3_FAILURE_ELEMENTS    8

typedef struct {
    ngx_str_t                  name;
    ngx_str_t                  value;
} s3_failure_element_t;

typedef struct {
    s3_error_e                 error;
    ngx_str_t                  code;      /* another server's; empty: the
                                             table's */
    ngx_uint_t                 status;    /* likewise, or 0 */
    ngx_str_t                  message;   /* empty: the table's */
    ngx_uint_t                 nelements;
    s3_failure_element_t       elements[S3_FAILURE_ELEMENTS];
} s3_failure_t;


/* The table's row; S3_OK and values out of range give InternalError's. */
const s3_error_t *s3_error(s3_error_e error);

/*
 * The error of that code ("NoSuchKey"), for libraries that report names;
 * S3_ERR_INTERNAL_ERROR when the name is unknown.
 */
s3_error_e s3_error_by_code(const char *code);

/*
 * Error for a status that nginx itself answers with (400, 404, 408, 413, 414,
 * 494, 503 of limit_req, ...).  Statuses below 400 but 304 give
 * InternalError.
 */
s3_error_e s3_error_by_status(ngx_uint_t status);

/*
 * Note an error and return it.  "message" is a constant or NULL (default
 * text).  fail may be NULL.  Elements noted before are forgotten.
 */
s3_error_e s3_fail(s3_failure_t *fail, s3_error_e error, const char *message);

/* The same with a message made by ngx_vslprintf() in the pool, <= 1 KiB. */
s3_error_e s3_failf(ngx_pool_t *pool, s3_failure_t *fail, s3_error_e error,
    const char *fmt, ...);

/*
 * Note the error of another server, under its own code and status (or those of
 * the table, where both are the same).  message may be empty: the table's,
 * where it knows the code.
 */
void s3_fail_foreign(s3_failure_t *fail, ngx_str_t *code, ngx_uint_t status,
    ngx_str_t *message);

/* What is answered: code, status and message of a failure. */
void s3_failure(s3_failure_t *fail, s3_error_t *error);

/*
 * Add an element, name a constant; value is not copied.  Beyond
 * S3_FAILURE_ELEMENTS it is dropped.
 */
void s3_fail_element(s3_failure_t *fail, const char *name, ngx_str_t *value);

/* InvalidArgument with ArgumentName and ArgumentValue, as S3 gives it. */
s3_error_e s3_fail_argument(s3_failure_t *fail, const char *message,
    const char *name, ngx_str_t *value);


#endif /* _S3_ERROR_H_INCLUDED_ */
