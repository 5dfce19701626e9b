
/*
 * Fuzzes the aws-chunked decoder, and a body around it.
 *
 *     byte 0   bits 0-1  payload form: 0, 3 unsigned trailer, 1 signed chunks,
 *                        2 signed chunks with trailer
 *              bit 2     x-amz-trailer announces x-amz-checksum-crc32
 *              bit 3     the decoded length is known
 *              bit 4     build: see below
 *     byte 1   seed of the piece sizes
 *     byte 2-3 decoded length (big-endian)
 *     rest     the stream
 *
 * The stream is decoded whole, in pieces and byte by byte, each piece in a
 * buffer of its very size: results must be the same, payload must lie inside
 * the input and never exceed the length that was announced.
 *
 * With "build" the harness, which knows the key, makes a valid stream out of
 * the rest as payload, byte 2-3 being the place and byte 1 the value of one
 * corruption (0: none).  Nothing may pass for another payload or trailer.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "s3_body.h"


#define FUZZ_MAX        (1 << 20)
#define FUZZ_TRAILER    "x-amz-checksum-crc32"
#define FUZZ_DATE       "20130524T000000Z"
#define FUZZ_SCOPE      "20130524/us-east-1/s3/aws4_request"
#define FUZZ_SEED                                                            \
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"

#define fuzz_assert(x)                                                       \
    do {                                                                     \
        if (!(x)) {                                                          \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);          \
            abort();                                                         \
        }                                                                    \
    } while (0)


typedef struct {
    s3_body_error_e  error;
    uint64_t         decoded;
    size_t           value_len;
    char             value[S3_CHUNKED_LINE_MAX];
    unsigned char    digest[S3_CHECKSUM_DIGEST_MAX];
    unsigned char   *data;
} fuzz_result_t;


static s3_chunked_key_t  fuzz_key;


static void
fuzz_setup(s3_body_conf_t *conf, unsigned flags, uint64_t length)
{
    memset(&fuzz_key, 0, sizeof(fuzz_key));
    memcpy(fuzz_key.date, FUZZ_DATE, S3_CHUNKED_DATE_LEN);
    memcpy(fuzz_key.seed, FUZZ_SEED, S3_CHUNKED_SIGNATURE_LEN);
    fuzz_key.scope = FUZZ_SCOPE;
    fuzz_key.scope_len = sizeof(FUZZ_SCOPE) - 1;

    memset(conf, 0, sizeof(s3_body_conf_t));

    conf->form = (flags & 3) == 1 ? S3_BODY_FORM_CHUNKS
                 : (flags & 3) == 2 ? S3_BODY_FORM_CHUNKS_TRAILER
                 : S3_BODY_FORM_UNSIGNED_TRAILER;
    conf->key = &fuzz_key;
    conf->length = (flags & 8) ? length : S3_BODY_UNKNOWN;
    conf->default_checksum = S3_CHECKSUM_CRC32;

    if ((flags & 4) && conf->form != S3_BODY_FORM_CHUNKS) {
        conf->trailer = FUZZ_TRAILER;
        conf->trailer_len = sizeof(FUZZ_TRAILER) - 1;
    }
}


/* pieces: 0 byte by byte, 1 whole, else sizes drawn from it as a seed */

static void
fuzz_decode(const s3_body_conf_t *conf, const uint8_t *data, size_t len,
    uint32_t pieces, fuzz_result_t *r)
{
    size_t                n, pos, piece;
    s3_body_t             b;
    const char           *value;
    unsigned char        *copy;
    s3_chunked_rc_e       rc;
    const unsigned char  *p, *before, *payload;

    r->decoded = 0;
    r->data = malloc(len + 1);
    fuzz_assert(r->data != NULL);
    fuzz_assert(s3_body_init(&b, conf) == S3_BODY_OK);

    rc = S3_CHUNKED_MORE;

    for (pos = 0; pos < len && rc != S3_CHUNKED_ERROR; pos += piece) {

        if (pieces == 0) {
            piece = 1;

        } else if (pieces == 1) {
            piece = len;

        } else {
            pieces = pieces * 1664525 + 1013904223;
            piece = 1 + (pieces >> 24) % ((pieces >> 16 & 3) ? 8 : 256);
        }

        if (piece > len - pos) {
            piece = len - pos;
        }

        copy = malloc(piece);
        fuzz_assert(copy != NULL);
        memcpy(copy, data + pos, piece);

        p = copy;

        do {
            before = p;
            rc = s3_body_decode(&b, &p, copy + piece, &payload, &n);
            fuzz_assert(p >= before && p <= copy + piece);

            if (rc == S3_CHUNKED_DATA) {
                fuzz_assert(n > 0 && payload >= before && payload + n == p);
                s3_body_update(&b, payload, n);
                memcpy(r->data + r->decoded, payload, n);
                r->decoded += n;
                fuzz_assert(r->decoded <= len);
                fuzz_assert(r->decoded <= conf->length);
            }

        } while (rc == S3_CHUNKED_DATA);

        fuzz_assert(rc != S3_CHUNKED_MORE || p == copy + piece);

        free(copy);
    }

    (void) s3_body_end(&b);
    r->error = s3_body_finish(&b);

    fuzz_assert(r->decoded == b.decoded);
    fuzz_assert(r->error == b.error);
    fuzz_assert(r->error == S3_BODY_OK || b.message[0] != '\0');
    fuzz_assert(r->error != S3_BODY_INTERNAL_ERROR);

    memset(r->digest, 0, sizeof(r->digest));
    r->value_len = 0;

    if (r->error == S3_BODY_OK) {
        fuzz_assert(conf->length == S3_BODY_UNKNOWN
                    || r->decoded == conf->length);

        memcpy(r->digest, b.digest, sizeof(r->digest));

        value = s3_chunked_trailer(&b.chunked, &n);
        fuzz_assert((value != NULL) == (conf->trailer != NULL));

        if (value) {
            memcpy(r->value, value, n);
            r->value_len = n;
        }
    }

    s3_body_cleanup(&b);
}


static void
fuzz_same(const fuzz_result_t *a, const fuzz_result_t *b)
{
    fuzz_assert(a->error == b->error);
    fuzz_assert(a->decoded == b->decoded);
    fuzz_assert(memcmp(a->data, b->data, a->decoded) == 0);
    fuzz_assert(a->value_len == b->value_len);
    fuzz_assert(memcmp(a->value, b->value, a->value_len) == 0);
    fuzz_assert(memcmp(a->digest, b->digest, sizeof(a->digest)) == 0);
}


/* what was accepted carries the checksum of what was handed out */

static void
fuzz_checksum(const fuzz_result_t *r)
{
    char           text[S3_CHECKSUM_TEXT_MAX + 1];
    size_t         len;
    s3_checksum_t  sum;
    unsigned char  digest[S3_CHECKSUM_DIGEST_MAX];

    fuzz_assert(s3_checksum_init(&sum, S3_CHECKSUM_CRC32) == 0);
    fuzz_assert(s3_checksum_update(&sum, r->data, r->decoded) == 0);
    fuzz_assert(s3_checksum_final(&sum, digest) == 0);
    s3_checksum_cleanup(&sum);

    fuzz_assert(memcmp(digest, r->digest, 4) == 0);

    if (r->value_len) {
        len = s3_checksum_text(S3_CHECKSUM_CRC32, digest, text);
        fuzz_assert(len == r->value_len);
        fuzz_assert(memcmp(text, r->value, len) == 0);
    }
}


static void
fuzz_sign(const char *algorithm, const char *previous, const char *empty,
    const void *data, size_t len, char *signature)
{
    int            n;
    char           string[512], hash[65];
    unsigned       i, mac_len;
    unsigned char  md[EVP_MAX_MD_SIZE];

    fuzz_assert(EVP_Digest(data, len, md, NULL, EVP_sha256(), NULL) == 1);

    for (i = 0; i < 32; i++) {
        sprintf(hash + 2 * i, "%02x", md[i]);
    }

    n = snprintf(string, sizeof(string), "%s\n" FUZZ_DATE "\n" FUZZ_SCOPE
                 "\n%s\n%s%s", algorithm, previous, empty, hash);
    fuzz_assert(n > 0 && (size_t) n < sizeof(string));
    fuzz_assert(HMAC(EVP_sha256(), fuzz_key.signing_key, 32,
                     (unsigned char *) string, (size_t) n, md, &mac_len)
                != NULL);

    for (i = 0; i < 32; i++) {
        sprintf(signature + 2 * i, "%02x", md[i]);
    }
}


static void
fuzz_build(const s3_body_conf_t *conf, const uint8_t *data, size_t len,
    unsigned at, unsigned value)
{
    char            previous[65], line[128], text[S3_CHECKSUM_TEXT_MAX + 1];
    char           *stream, *p;
    size_t          n, pos, total;
    fuzz_result_t   r;
    s3_checksum_t   sum;
    unsigned char   digest[S3_CHECKSUM_DIGEST_MAX];

    stream = malloc(len + (len / S3_CHUNKED_MIN + 2) * 128 + 256);
    fuzz_assert(stream != NULL);

    p = stream;
    pos = 0;
    memcpy(previous, FUZZ_SEED, 65);

    for ( ;; ) {
        n = len - pos;

        if (n > S3_CHUNKED_MIN) {
            n = S3_CHUNKED_MIN;
        }

        p += sprintf(p, "%zx", n);

        if (conf->form != S3_BODY_FORM_UNSIGNED_TRAILER) {
            fuzz_sign("AWS4-HMAC-SHA256-PAYLOAD", previous,
                      "e3b0c44298fc1c149afbf4c8996fb924"
                      "27ae41e4649b934ca495991b7852b855\n",
                      data + pos, n, previous);
            p += sprintf(p, ";chunk-signature=%s", previous);
        }

        p += sprintf(p, "\r\n");

        if (n == 0) {
            break;
        }

        memcpy(p, data + pos, n);
        p += n;
        pos += n;
        p += sprintf(p, "\r\n");
    }

    line[0] = '\0';

    if (conf->trailer) {
        fuzz_assert(s3_checksum_init(&sum, S3_CHECKSUM_CRC32) == 0);
        fuzz_assert(s3_checksum_update(&sum, data, len) == 0);
        fuzz_assert(s3_checksum_final(&sum, digest) == 0);
        s3_checksum_cleanup(&sum);

        (void) s3_checksum_text(S3_CHECKSUM_CRC32, digest, text);
        p += sprintf(p, FUZZ_TRAILER ":%s\r\n", text);
        (void) sprintf(line, FUZZ_TRAILER ":%s\n", text);
    }

    if (conf->form == S3_BODY_FORM_CHUNKS_TRAILER) {
        fuzz_sign("AWS4-HMAC-SHA256-TRAILER", previous, "", line,
                  strlen(line), previous);
        p += sprintf(p, "x-amz-trailer-signature:%s\r\n", previous);
    }

    p += sprintf(p, "\r\n");
    total = (size_t) (p - stream);

    if (value) {
        stream[at % total] ^= (char) value;
    }

    fuzz_decode(conf, (uint8_t *) stream, total, at | 2, &r);

    if (value == 0) {
        fuzz_assert(r.error == S3_BODY_OK);
    }

    /* an unsigned body without a checksum proves nothing about its bytes */

    if (r.error == S3_BODY_OK
        && (conf->form != S3_BODY_FORM_UNSIGNED_TRAILER || conf->trailer))
    {
        fuzz_assert(r.decoded == len);
        fuzz_assert(memcmp(r.data, data, len) == 0);
        fuzz_checksum(&r);
    }

    free(r.data);
    free(stream);
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned        flags, seed, number;
    fuzz_result_t   whole, pieces, bytes;
    s3_body_conf_t  conf;

    if (size < 4 || size > FUZZ_MAX) {
        return 0;
    }

    flags = data[0];
    seed = data[1];
    number = (unsigned) data[2] << 8 | data[3];
    data += 4;
    size -= 4;

    if (flags & 16) {
        fuzz_setup(&conf, flags, size);
        fuzz_build(&conf, data, size, number, seed);
        return 0;
    }

    fuzz_setup(&conf, flags, number);

    fuzz_decode(&conf, data, size, 1, &whole);
    fuzz_decode(&conf, data, size, seed + 2, &pieces);
    fuzz_decode(&conf, data, size, 0, &bytes);

    fuzz_same(&whole, &pieces);
    fuzz_same(&whole, &bytes);

    if (whole.error == S3_BODY_OK) {
        fuzz_checksum(&whole);
    }

    free(whole.data);
    free(pieces.data);
    free(bytes.data);

    return 0;
}
