
/*
 * A request's body, from the bytes on the wire to the verdict.
 *
 *     raw bytes --> (a) decode --> runs of payload --> (b) digest
 *                        |                                 |
 *                        +-----------> (c) finish <--------+
 *
 * (a) s3_body_decode(), s3_body_end(): cheap but for chunk signatures; where
 *     the bytes arrive.
 * (b) s3_body_update(): MD5 always (it is the ETag), the checksum that is
 *     asked for, SHA-256 where the payload form needs it; over the same
 *     payload in order.  About 0.6 GB/s, so large bodies do it on compute
 *     threads: on any thread, on one at a time, side by side with (a).
 * (c) s3_body_finish(): when both are through.
 *
 * (a) and (b) share no memory but what init wrote; (c) reads both, so the
 * caller orders it after them.  The struct is of a fixed size, the caller's.
 *
 * What only headers can tell is left to the caller: a length that is missing
 * (411 MissingContentLength), x-amz-sdk-checksum-algorithm without or against
 * the checksum that came, several x-amz-checksum-* headers.
 */

#ifndef S3_BODY_H
#define S3_BODY_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "s3_body_error.h"
#include "s3_checksum.h"
#include "s3_chunked.h"


#define S3_BODY_UNKNOWN       UINT64_MAX
#define S3_BODY_MD5_LEN       16
#define S3_BODY_SHA256_LEN    32
#define S3_BODY_MESSAGE_MAX   128


/* what x-amz-content-sha256 says (src/auth reads it) */

typedef enum {
    S3_BODY_FORM_UNSIGNED,                /* UNSIGNED-PAYLOAD, or none */
    S3_BODY_FORM_SIGNED,                  /* hex(SHA256(payload)) */
    S3_BODY_FORM_UNSIGNED_TRAILER,        /* STREAMING-UNSIGNED-... */
    S3_BODY_FORM_CHUNKS,                  /* STREAMING-AWS4-HMAC-... */
    S3_BODY_FORM_CHUNKS_TRAILER           /* ... -TRAILER */
} s3_body_form_e;


/* copied by s3_body_init(), but for what the pointers in key point to */

typedef struct {
    s3_body_form_e           form;
    unsigned char            sha256[S3_BODY_SHA256_LEN];  /* FORM_SIGNED */
    const s3_chunked_key_t  *key;         /* FORM_CHUNKS*, else NULL */

    /* bytes of payload: x-amz-decoded-content-length, or Content-Length */
    uint64_t                 length;      /* or S3_BODY_UNKNOWN */
    uint64_t                 max_length;  /* 5 GiB in S3; 0: unlimited */

    const unsigned char     *md5;         /* Content-MD5 decoded, or NULL */

    /* the one x-amz-checksum-* header, decoded; or S3_CHECKSUM_NONE */
    s3_checksum_e            checksum;
    unsigned char            digest[S3_CHECKSUM_DIGEST_MAX];

    /* the value of x-amz-trailer as sent; or NULL */
    const char              *trailer;
    size_t                   trailer_len;

    /* computed when the client gives none; S3_CHECKSUM_NONE for nothing */
    s3_checksum_e            default_checksum;

    /* computed besides, whatever the client gives; or S3_CHECKSUM_NONE */
    s3_checksum_e            also_checksum;
} s3_body_conf_t;


/* to be read: everything before "private" */

typedef struct {
    uint64_t        length;               /* as in the configuration */
    uint64_t        decoded;              /* payload handed out by (a) */
    s3_checksum_e   given;                /* the client's own checksum, in a
                                             header or trailer; or NONE */

    /* after an error */
    s3_body_error_e error;
    const char     *detail;               /* for the log; NULL or static */
    char            message[S3_BODY_MESSAGE_MAX];     /* for the client */

    /* after s3_body_finish() returned S3_BODY_OK */
    unsigned char   md5[S3_BODY_MD5_LEN];
    s3_checksum_e   checksum;             /* computed; may be NONE */
    unsigned char   digest[S3_CHECKSUM_DIGEST_MAX];
    s3_checksum_e   also;                 /* as configured */
    unsigned char   also_digest[S3_CHECKSUM_DIGEST_MAX];

    /* private */

    s3_body_form_e  form;
    uint64_t        max_length;
    unsigned        ended:1;
    s3_chunked_t    chunked;

    /* expected */
    unsigned char   expect_sha256[S3_BODY_SHA256_LEN];
    unsigned char   expect_md5[S3_BODY_MD5_LEN];
    unsigned char   expect_digest[S3_CHECKSUM_DIGEST_MAX];
    unsigned        has_md5:1;
    unsigned        has_digest:1;         /* from a header */
    unsigned        has_trailer:1;        /* it will come, or must have */

    /* (b); nothing of (a) may share a bit field with it */
    struct {
        uint64_t       len;
        int            failed;
        EVP_MD_CTX    *md5;
        EVP_MD_CTX    *sha256;
        s3_checksum_t  checksum;
        s3_checksum_t  also;              /* unless it is the same */
    } digests;
} s3_body_t;


/*
 * The 16 bytes in the value of Content-MD5; 0, or -1 (S3: InvalidDigest).
 */
int s3_body_md5(const char *text, size_t len, unsigned char *md5);

/*
 * Starts a body.  Returns S3_BODY_OK or an error, in b->error and b->message
 * too: S3_BODY_INVALID_REQUEST (a checksum header besides x-amz-trailer, an
 * x-amz-trailer that is no checksum or comes with a form without trailer),
 * S3_BODY_ENTITY_TOO_LARGE, S3_BODY_INTERNAL_ERROR.  s3_body_cleanup() is
 * owed in every case.
 */
s3_body_error_e s3_body_init(s3_body_t *b, const s3_body_conf_t *conf);

/*
 * (a) Takes raw bytes as s3_chunked_next() does, see there.  For the forms
 * without chunks the payload is the input.  S3_CHUNKED_DONE comes for the
 * forms with chunks only; the others end where the HTTP body ends.  On
 * S3_CHUNKED_ERROR b->error and b->message are set.
 */
s3_chunked_rc_e s3_body_decode(s3_body_t *b, const unsigned char **pos,
    const unsigned char *last, const unsigned char **payload,
    size_t *payload_len);

/*
 * (a) The HTTP body has ended; needed once before finish.  Returns
 * S3_BODY_OK, or the error, S3_BODY_INCOMPLETE_BODY when it ended too early.
 */
s3_body_error_e s3_body_end(s3_body_t *b);

/*
 * (b) Adds a run of payload to the digests.  A failure of OpenSSL is kept
 * for s3_body_finish().
 */
void s3_body_update(s3_body_t *b, const void *data, size_t len);

/*
 * (c) The verdict, once: S3_BODY_OK and md5, checksum, digest are filled in;
 * or the error (b->error, b->message), the first of: the decoder's,
 * XAmzContentSHA256Mismatch, BadDigest for Content-MD5, InvalidRequest for a
 * trailer that is no digest, BadDigest for the checksum.
 */
s3_body_error_e s3_body_finish(s3_body_t *b);

/* Frees what init took; harmless when repeated. */
void s3_body_cleanup(s3_body_t *b);


#endif /* S3_BODY_H */
