
/*
 * The checksums that S3 verifies, stores and returns ("Checking object
 * integrity", S3 user guide): x-amz-checksum-*.
 *
 *     name        header                     digest   on the wire (base64)
 *     CRC32       x-amz-checksum-crc32        4 bytes   8 characters
 *     CRC32C      x-amz-checksum-crc32c       4         8
 *     SHA1        x-amz-checksum-sha1        20        28
 *     SHA256      x-amz-checksum-sha256      32        44
 *     CRC64NVME   x-amz-checksum-crc64nvme    8        12
 *
 * A digest of a CRC is its value in big-endian order.
 */

#ifndef S3_CHECKSUM_H
#define S3_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>


#define S3_CHECKSUM_DIGEST_MAX  32
#define S3_CHECKSUM_TEXT_MAX    44        /* characters, without a NUL */


/* the values may be stored on disk: append, never renumber */

typedef enum {
    S3_CHECKSUM_NONE = 0,
    S3_CHECKSUM_CRC32 = 1,
    S3_CHECKSUM_CRC32C = 2,
    S3_CHECKSUM_SHA1 = 3,
    S3_CHECKSUM_SHA256 = 4,
    S3_CHECKSUM_CRC64NVME = 5,
    S3_CHECKSUM_LAST                      /* one past the highest */
} s3_checksum_e;


typedef struct {
    const char  *name;                    /* as in x-amz-checksum-algorithm */
    const char  *header;                  /* lower case */
    size_t       header_len;
    size_t       size;                    /* of the digest, bytes */
    size_t       text_len;                /* of its base64 form */
    unsigned     combines:1;              /* s3_checksum_combine() works */
} s3_checksum_info_t;


/* a sum over a stream; the caller owns the struct, the fields are private */
typedef struct {
    s3_checksum_e  algorithm;
    uint64_t       crc;                   /* the CRCs */
    EVP_MD_CTX    *md;                    /* SHA-1 and SHA-256 */
} s3_checksum_t;


/* Static facts of an algorithm; NULL for NONE and for unknown values. */
const s3_checksum_info_t *s3_checksum_info(s3_checksum_e algorithm);

/*
 * The algorithm of a header's name ("x-amz-checksum-crc32") or of its own
 * name ("CRC32"), in any case as S3 takes it; NONE when there is none such.
 */
s3_checksum_e s3_checksum_by_header(const char *name, size_t len);
s3_checksum_e s3_checksum_by_name(const char *name, size_t len);

/*
 * Starts a sum.  Returns 0, or -1 when the algorithm is unknown or OpenSSL
 * has no memory or does not offer it (SHA-1 may be switched off); then
 * nothing needs cleaning up.  After 0 s3_checksum_cleanup() is owed.
 * A sum may move between threads but is used by one at a time.
 */
int s3_checksum_init(s3_checksum_t *sum, s3_checksum_e algorithm);

/* Adds bytes.  Returns 0, or -1 when OpenSSL failed. */
int s3_checksum_update(s3_checksum_t *sum, const void *data, size_t len);

/*
 * Writes the digest (info->size bytes, at most S3_CHECKSUM_DIGEST_MAX).
 * The sum is spent then.  Returns 0, or -1 when OpenSSL failed.
 */
int s3_checksum_final(s3_checksum_t *sum, unsigned char *digest);

/* Frees what init took; harmless when repeated or on a zeroed struct. */
void s3_checksum_cleanup(s3_checksum_t *sum);

/*
 * Text form of a digest.  text has room for S3_CHECKSUM_TEXT_MAX + 1 bytes
 * and gets a NUL.  Returns the length without it; 0 for an unknown algorithm.
 */
size_t s3_checksum_text(s3_checksum_e algorithm, const unsigned char *digest,
    char *text);

/*
 * The other way round, strictly: the very length, the alphabet of RFC 4648
 * section 4, full padding, unused bits zero, nothing else around it.
 * Returns 0 and fills digest, or -1.
 */
int s3_checksum_parse(s3_checksum_e algorithm, const char *text, size_t len,
    unsigned char *digest);

/*
 * The digest over A || B from theirs and the length of B in bytes; digest
 * may be a or b.  Returns 0, or -1 for an algorithm that cannot (SHA).
 */
int s3_checksum_combine(s3_checksum_e algorithm, const unsigned char *a,
    const unsigned char *b, uint64_t b_len, unsigned char *digest);

/*
 * Base64 of RFC 4648 section 4.  Encode: text has room for
 * 4 * ((len + 2) / 3) + 1 bytes, gets a NUL; returns the length without it.
 * Decode: strict as above, to exactly size bytes; returns 0 or -1.
 */
size_t s3_base64_encode(const unsigned char *data, size_t len, char *text);
int s3_base64_decode(const char *text, size_t len, unsigned char *data,
    size_t size);


#endif /* S3_CHECKSUM_H */
