
/*
 * Decoder of the "aws-chunked" content coding: raw bytes in, payload out.
 * The bytes on the wire stand at the top of s3_chunked.c.
 *
 * A push decoder: the caller hands over what has arrived, cut anywhere, and
 * gets back runs of payload that point into its own buffer.  The state is of
 * a fixed size whatever the client sends.  No thread of its own, no lock: it
 * runs on any thread, on one at a time.  For the forms with chunk signatures
 * it hashes the payload (SHA-256) as it goes, at about 2 GB/s a core.
 *
 * Payload of a signed chunk is handed out before that chunk's signature can
 * be checked (it covers the whole chunk): nothing may become visible before
 * S3_CHUNKED_DONE.
 */

#ifndef S3_CHUNKED_H
#define S3_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "s3_body_error.h"


#define S3_CHUNKED_UNKNOWN        UINT64_MAX

/* S3 manual: every chunk but the last one with data has at least this */
#define S3_CHUNKED_MIN            8192

/*
 * The longest line taken, without its CRLF.  A chunk header is at most
 * 16 + 17 + 64 characters; a trailer 24 + 1 + 44, a signature 24 + 64.
 */
#define S3_CHUNKED_LINE_MAX       256
#define S3_CHUNKED_NAME_MAX       64
#define S3_CHUNKED_SCOPE_MAX      256

#define S3_CHUNKED_SIGNATURE_LEN  64      /* hexadecimal, lower case */
#define S3_CHUNKED_DATE_LEN       16      /* 20130524T000000Z */


typedef enum {
    /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
    S3_CHUNKED_UNSIGNED_TRAILER,
    /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    S3_CHUNKED_SIGNED,
    /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
    S3_CHUNKED_SIGNED_TRAILER
} s3_chunked_form_e;


typedef enum {
    S3_CHUNKED_MORE,                      /* all input taken, more to come */
    S3_CHUNKED_DATA,                      /* a run of payload */
    S3_CHUNKED_DONE,                      /* the end, all of it valid */
    S3_CHUNKED_ERROR                      /* see error and detail; final */
} s3_chunked_rc_e;


/* what chunk signatures are made with, from the request's own signature */
typedef struct {
    unsigned char  signing_key[32];
    char           date[S3_CHUNKED_DATE_LEN];         /* x-amz-date */
    char           seed[S3_CHUNKED_SIGNATURE_LEN];    /* its signature */
    const char    *scope;       /* 20130524/us-east-1/s3/aws4_request */
    size_t         scope_len;
} s3_chunked_key_t;


/* the caller owns the struct; to be read: decoded, error, detail */
typedef struct {
    uint64_t                 decoded;     /* bytes of payload so far */
    s3_body_error_e          error;
    const char              *detail;      /* what was wrong; for the log */

    /* private */

    s3_chunked_form_e        form;
    unsigned                 state;
    uint64_t                 decoded_length;
    uint64_t                 chunk_size;
    uint64_t                 chunk_rest;

    unsigned                 small_chunk:1;
    unsigned                 trailer_seen:1;
    unsigned                 trailer_signed:1;

    size_t                   line_len;
    size_t                   announced_len;
    size_t                   value_len;

    const s3_chunked_key_t  *key;
    EVP_MD_CTX              *md;

    char                     line[S3_CHUNKED_LINE_MAX];
    char                     announced[S3_CHUNKED_NAME_MAX];
    char                     value[S3_CHUNKED_LINE_MAX];
    char                     previous[S3_CHUNKED_SIGNATURE_LEN];
    char                     signature[S3_CHUNKED_SIGNATURE_LEN];
} s3_chunked_t;


/*
 * Starts a decoder.
 *
 *   decoded_length    x-amz-decoded-content-length in bytes, or
 *                     S3_CHUNKED_UNKNOWN
 *   key               NULL for the unsigned form, else the key material; it
 *                     and its scope must live as long as the decoder
 *   trailer           the one name that x-amz-trailer announces, or NULL;
 *                     compared without case; copied
 *
 * Returns 0, or -1 with c->error set: S3_BODY_INVALID_REQUEST for arguments
 * that do not fit together, S3_BODY_INTERNAL_ERROR when OpenSSL has no
 * memory.  s3_chunked_cleanup() may follow in either case and must after 0.
 */
int s3_chunked_init(s3_chunked_t *c, s3_chunked_form_e form,
    uint64_t decoded_length, const s3_chunked_key_t *key, const char *trailer,
    size_t trailer_len);

/*
 * Takes bytes from *pos up to last and moves *pos over what it took.
 *
 *   S3_CHUNKED_DATA   *payload and *payload_len (not 0) are a run inside the
 *                     caller's input, valid as long as that is; call again
 *   S3_CHUNKED_MORE   *pos == last
 *   S3_CHUNKED_DONE   the end was reached; again on every later call without
 *                     input, while any byte after the end is an error
 *   S3_CHUNKED_ERROR  c->error and c->detail say what; again on every call
 */
s3_chunked_rc_e s3_chunked_next(s3_chunked_t *c, const unsigned char **pos,
    const unsigned char *last, const unsigned char **payload,
    size_t *payload_len);

/*
 * The raw body has ended.  Returns S3_CHUNKED_DONE, or S3_CHUNKED_ERROR
 * (S3_BODY_INCOMPLETE_BODY when it ended too early).
 */
s3_chunked_rc_e s3_chunked_end(s3_chunked_t *c);

/*
 * The value of the announced trailer, trimmed, without a NUL, in the struct;
 * NULL and *len 0 when none has come.  Trust it after S3_CHUNKED_DONE only.
 */
const char *s3_chunked_trailer(const s3_chunked_t *c, size_t *len);

/* Frees what init took; harmless when repeated. */
void s3_chunked_cleanup(s3_chunked_t *c);


#endif /* S3_CHUNKED_H */
