
/* What can be wrong with a body, in S3's codes and S3's words. */

#ifndef S3_BODY_ERROR_H
#define S3_BODY_ERROR_H


typedef enum {
    S3_BODY_OK = 0,
    S3_BODY_BAD_DIGEST,
    S3_BODY_ENTITY_TOO_LARGE,
    S3_BODY_INCOMPLETE_BODY,
    S3_BODY_INTERNAL_ERROR,               /* no memory, OpenSSL failed */
    S3_BODY_INVALID_CHUNK_SIZE,
    S3_BODY_INVALID_REQUEST,
    S3_BODY_MALFORMED_TRAILER,
    S3_BODY_SHA256_MISMATCH,
    S3_BODY_SIGNATURE_DOES_NOT_MATCH,
    S3_BODY_ERROR_LAST                    /* one past the highest */
} s3_body_error_e;


/*
 * The S3 code ("BadDigest") and S3's usual message for it.  Static strings;
 * NULL for S3_BODY_OK and unknown values.
 */
const char *s3_body_error_code(int error);
const char *s3_body_error_message(int error);


#endif /* S3_BODY_ERROR_H */
