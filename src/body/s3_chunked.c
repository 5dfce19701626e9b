
/*
 * aws-chunked on the wire.  Every line ends in CRLF; sizes are hexadecimal.
 *
 * STREAMING-UNSIGNED-PAYLOAD-TRAILER
 *
 *     10000 CRLF                                 size of the chunk
 *     <65536 bytes> CRLF                         its data
 *     400 CRLF
 *     <1024 bytes> CRLF
 *     0 CRLF                                     the last chunk, without data
 *     x-amz-checksum-crc32c:sOO8/Q== CRLF        what x-amz-trailer announced
 *     CRLF
 *
 * STREAMING-AWS4-HMAC-SHA256-PAYLOAD
 *
 *     10000;chunk-signature=<64 hexadecimal digits> CRLF
 *     <65536 bytes> CRLF
 *     0;chunk-signature=<64> CRLF
 *     CRLF
 *
 * STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
 *
 *     10000;chunk-signature=<64> CRLF
 *     <65536 bytes> CRLF
 *     0;chunk-signature=<64> CRLF
 *     x-amz-checksum-crc32c:sOO8/Q== CRLF
 *     x-amz-trailer-signature:<64> CRLF
 *     CRLF
 *
 * Each signature is hex(HMAC-SHA256(signing key, string to sign)), of
 *
 *     AWS4-HMAC-SHA256-PAYLOAD LF                AWS4-HMAC-SHA256-TRAILER LF
 *     <x-amz-date> LF                            <x-amz-date> LF
 *     <scope> LF                                 <scope> LF
 *     <signature before: the request's,          <signature of the last
 *      then the previous chunk's> LF              chunk> LF
 *     hex(SHA256("")) LF                         hex(SHA256(name:value LF))
 *     hex(SHA256(data))
 *
 * (S3 API reference, "Signature Calculations for the Authorization Header:
 * Transferring Payload in Multiple Chunks", and "... Including Trailing
 * Headers".)
 *
 * Beyond those pages:
 *
 * - Every fault of the framing is IncompleteBody, every fault of a trailer
 *   MalformedTrailerError, as S3 answers them.
 * - The least chunk size holds for unsigned chunks too: S3 answers the SDK
 *   for JavaScript, which sends these, with InvalidChunkSizeError.  It also
 *   keeps the cost of a byte bounded.
 * - minio-go, hence mc, ends the value of a trailer by LF CRLF.  One LF there
 *   is taken as white space at the value's end; otherwise no line holds a
 *   bare CR or LF.
 */

#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "s3_chunked.h"


#define S3_CHUNKED_SIZE_DIGITS  16
#define S3_CHUNKED_SHA256_LEN   32

/* three hexadecimal digests, the algorithm, a date, a scope, and LFs */
#define S3_CHUNKED_STRING_MAX                                                \
    (3 * S3_CHUNKED_SIGNATURE_LEN + 32 + S3_CHUNKED_DATE_LEN                 \
     + S3_CHUNKED_SCOPE_MAX + 8)


enum {
    s3_chunked_header = 0,                /* in a chunk header */
    s3_chunked_header_lf,
    s3_chunked_data,
    s3_chunked_data_cr,
    s3_chunked_data_lf,
    s3_chunked_trailer_line,              /* in or before a line of it */
    s3_chunked_trailer_lf,
    s3_chunked_done,
    s3_chunked_error
};


static s3_chunked_rc_e s3_chunked_fail(s3_chunked_t *c,
    s3_body_error_e error, const char *detail);
static s3_chunked_rc_e s3_chunked_parse_header(s3_chunked_t *c);
static s3_chunked_rc_e s3_chunked_parse_trailer(s3_chunked_t *c);
static s3_chunked_rc_e s3_chunked_finish(s3_chunked_t *c);
static s3_chunked_rc_e s3_chunked_verify_chunk(s3_chunked_t *c);
static s3_chunked_rc_e s3_chunked_verify_trailer(s3_chunked_t *c);
static int s3_chunked_sign(s3_chunked_t *c, const char *algorithm,
    const char *empty, const unsigned char *hash, char *signature);
static void s3_chunked_hex(char *dst, const unsigned char *src, size_t len);


static const char  s3_chunked_signature_ext[] = ";chunk-signature=";
static const char  s3_chunked_signature_trailer[] = "x-amz-trailer-signature";

/* hex(SHA256("")) */
static const char  s3_chunked_empty[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";


int
s3_chunked_init(s3_chunked_t *c, s3_chunked_form_e form,
    uint64_t decoded_length, const s3_chunked_key_t *key, const char *trailer,
    size_t trailer_len)
{
    memset(c, 0, sizeof(s3_chunked_t));

    c->form = form;
    c->decoded_length = decoded_length;
    c->state = s3_chunked_header;

    if (trailer && trailer_len) {

        if (form == S3_CHUNKED_SIGNED) {
            (void) s3_chunked_fail(c, S3_BODY_INVALID_REQUEST,
                                   "x-amz-trailer with a payload form "
                                   "that has no trailer");
            return -1;
        }

        if (trailer_len > S3_CHUNKED_NAME_MAX) {
            (void) s3_chunked_fail(c, S3_BODY_INVALID_REQUEST,
                                   "name in x-amz-trailer too long");
            return -1;
        }

        memcpy(c->announced, trailer, trailer_len);
        c->announced_len = trailer_len;
    }

    if (form == S3_CHUNKED_UNSIGNED_TRAILER) {
        return 0;
    }

    if (key == NULL || key->scope_len > S3_CHUNKED_SCOPE_MAX) {
        (void) s3_chunked_fail(c, S3_BODY_INVALID_REQUEST,
                               "signed chunks without a key to check them, "
                               "or with too long a scope");
        return -1;
    }

    c->key = key;
    memcpy(c->previous, key->seed, S3_CHUNKED_SIGNATURE_LEN);

    c->md = EVP_MD_CTX_new();

    if (c->md == NULL || EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1) {
        s3_chunked_cleanup(c);
        (void) s3_chunked_fail(c, S3_BODY_INTERNAL_ERROR,
                               "no SHA-256 context");
        return -1;
    }

    return 0;
}


s3_chunked_rc_e
s3_chunked_next(s3_chunked_t *c, const unsigned char **pos,
    const unsigned char *last, const unsigned char **payload,
    size_t *payload_len)
{
    size_t                n;
    unsigned char         ch;
    s3_chunked_rc_e       rc;
    const unsigned char  *p;

    p = *pos;
    rc = S3_CHUNKED_MORE;

    /* rc other than MORE leaves the loop; an error takes no further byte */

    while (rc == S3_CHUNKED_MORE && p < last) {

        switch (c->state) {

        case s3_chunked_header:
        case s3_chunked_trailer_line:
            ch = *p++;

            if (ch == '\r') {
                c->state = c->state == s3_chunked_header
                           ? s3_chunked_header_lf : s3_chunked_trailer_lf;
                break;
            }

            if (c->line_len == S3_CHUNKED_LINE_MAX) {
                rc = c->state == s3_chunked_header
                     ? s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                       "chunk header too long")
                     : s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                                       "trailer too long");
                break;
            }

            c->line[c->line_len++] = (char) ch;
            break;

        case s3_chunked_header_lf:

            if (*p++ != '\n') {
                rc = s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                     "CR without LF in a chunk header");
                break;
            }

            rc = s3_chunked_parse_header(c);
            c->line_len = 0;
            break;

        case s3_chunked_data:
            n = (size_t) (last - p);

            if (n > c->chunk_rest) {
                n = (size_t) c->chunk_rest;
            }

            if (c->md && EVP_DigestUpdate(c->md, p, n) != 1) {
                rc = s3_chunked_fail(c, S3_BODY_INTERNAL_ERROR,
                                     "SHA-256 failed");
                break;
            }

            *payload = p;
            *payload_len = n;

            p += n;
            c->decoded += n;
            c->chunk_rest -= n;

            if (c->chunk_rest == 0) {
                c->state = s3_chunked_data_cr;
            }

            rc = S3_CHUNKED_DATA;
            break;

        case s3_chunked_data_cr:

            if (*p++ != '\r') {
                rc = s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                     "no CRLF after a chunk's data");
                break;
            }

            c->state = s3_chunked_data_lf;
            break;

        case s3_chunked_data_lf:

            if (*p++ != '\n') {
                rc = s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                     "no CRLF after a chunk's data");
                break;
            }

            c->state = s3_chunked_header;
            rc = s3_chunked_verify_chunk(c);
            break;

        case s3_chunked_trailer_lf:

            if (*p++ != '\n') {
                rc = s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                     "CR without LF in the trailer");
                break;
            }

            if (c->line_len == 0) {
                rc = s3_chunked_finish(c);
                break;
            }

            rc = s3_chunked_parse_trailer(c);
            c->line_len = 0;
            break;

        case s3_chunked_done:
            rc = s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                 "bytes after the end of the body");
            break;

        default: /* s3_chunked_error */
            rc = S3_CHUNKED_ERROR;
            break;
        }
    }

    *pos = p;

    if (rc == S3_CHUNKED_DATA) {
        return rc;
    }

    if (c->state == s3_chunked_done && p < last) {
        return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                               "bytes after the end of the body");
    }

    return c->state == s3_chunked_done ? S3_CHUNKED_DONE
           : c->state == s3_chunked_error ? S3_CHUNKED_ERROR
           : S3_CHUNKED_MORE;
}


s3_chunked_rc_e
s3_chunked_end(s3_chunked_t *c)
{
    switch (c->state) {

    case s3_chunked_done:
        return S3_CHUNKED_DONE;

    case s3_chunked_error:
        return S3_CHUNKED_ERROR;

    default:
        return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                               "the body ends inside its chunks");
    }
}


const char *
s3_chunked_trailer(const s3_chunked_t *c, size_t *len)
{
    *len = c->value_len;

    return c->trailer_seen ? c->value : NULL;
}


void
s3_chunked_cleanup(s3_chunked_t *c)
{
    EVP_MD_CTX_free(c->md);
    c->md = NULL;
}


static s3_chunked_rc_e
s3_chunked_fail(s3_chunked_t *c, s3_body_error_e error, const char *detail)
{
    c->state = s3_chunked_error;
    c->error = error;
    c->detail = detail;

    return S3_CHUNKED_ERROR;
}


/* size[;chunk-signature=...], in c->line */

static s3_chunked_rc_e
s3_chunked_parse_header(s3_chunked_t *c)
{
    char      ch;
    size_t    i, ext;
    uint64_t  size;

    size = 0;

    for (i = 0; i < c->line_len; i++) {
        ch = c->line[i];

        if (ch >= '0' && ch <= '9') {
            ch -= '0';

        } else if (ch >= 'a' && ch <= 'f') {
            ch -= 'a' - 10;

        } else if (ch >= 'A' && ch <= 'F') {
            ch -= 'A' - 10;

        } else {
            break;
        }

        if (i == S3_CHUNKED_SIZE_DIGITS) {
            return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                   "too many digits in a chunk's size");
        }

        /* 16 digits fill 64 bits: no overflow */

        size = size << 4 | (uint64_t) ch;
    }

    if (i == 0) {
        return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                               "a chunk header without a size");
    }

    if (c->form == S3_CHUNKED_UNSIGNED_TRAILER) {

        if (i != c->line_len) {
            return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                   "garbage after a chunk's size");
        }

    } else {
        ext = sizeof(s3_chunked_signature_ext) - 1;

        if (c->line_len != i + ext + S3_CHUNKED_SIGNATURE_LEN
            || memcmp(&c->line[i], s3_chunked_signature_ext, ext) != 0)
        {
            return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                   "no chunk-signature after a chunk's size");
        }

        memcpy(c->signature, &c->line[i + ext], S3_CHUNKED_SIGNATURE_LEN);
    }

    if (size == 0) {

        /*
         * The signature of the last chunk covers no data: it is due now, and
         * the trailer's is made with it.
         */

        c->state = s3_chunked_trailer_line;

        if (c->decoded_length != S3_CHUNKED_UNKNOWN
            && c->decoded != c->decoded_length)
        {
            return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                                   "less payload than "
                                   "x-amz-decoded-content-length");
        }

        return s3_chunked_verify_chunk(c);
    }

    if (c->small_chunk) {
        return s3_chunked_fail(c, S3_BODY_INVALID_CHUNK_SIZE,
                               "a chunk of less than 8192 bytes "
                               "was not the last");
    }

    /* written so that nothing overflows: decoded <= decoded_length holds */

    if (size > c->decoded_length - c->decoded) {
        return s3_chunked_fail(c, S3_BODY_INCOMPLETE_BODY,
                               "more payload than "
                               "x-amz-decoded-content-length");
    }

    c->small_chunk = size < S3_CHUNKED_MIN;
    c->chunk_rest = size;
    c->state = s3_chunked_data;

    return S3_CHUNKED_MORE;
}


/* name:value, in c->line */

static s3_chunked_rc_e
s3_chunked_parse_trailer(s3_chunked_t *c)
{
    char    *name, *value, *end;
    size_t   name_len, value_len;

    c->state = s3_chunked_trailer_line;

    if (c->form == S3_CHUNKED_SIGNED) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "a trailer in a payload form without one");
    }

    name = c->line;
    end = c->line + c->line_len;

    value = memchr(name, ':', c->line_len);

    if (value == NULL || value == name) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "a trailer without a name or a colon");
    }

    name_len = (size_t) (value - name);
    value++;

    if (end[-1] == '\n') {
        end--;
    }

    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }

    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }

    value_len = (size_t) (end - value);

    if (value_len == 0 || memchr(value, '\n', value_len) != NULL) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "a trailer without a value, or over "
                               "several lines");
    }

    if (c->trailer_signed) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "a trailer after x-amz-trailer-signature");
    }

    if (name_len == sizeof(s3_chunked_signature_trailer) - 1
        && strncasecmp(name, s3_chunked_signature_trailer, name_len) == 0)
    {
        if (c->form != S3_CHUNKED_SIGNED_TRAILER
            || value_len != S3_CHUNKED_SIGNATURE_LEN)
        {
            return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                                   "x-amz-trailer-signature that is "
                                   "unexpected or not 64 digits long");
        }

        memcpy(c->signature, value, S3_CHUNKED_SIGNATURE_LEN);
        c->trailer_signed = 1;

        return s3_chunked_verify_trailer(c);
    }

    if (name_len != c->announced_len
        || strncasecmp(name, c->announced, name_len) != 0)
    {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "a trailer that x-amz-trailer "
                               "did not announce");
    }

    if (c->trailer_seen) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "the same trailer twice");
    }

    memcpy(c->value, value, value_len);
    c->value_len = value_len;
    c->trailer_seen = 1;

    return S3_CHUNKED_MORE;
}


/* the empty line */

static s3_chunked_rc_e
s3_chunked_finish(s3_chunked_t *c)
{
    if (c->announced_len && !c->trailer_seen) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "the trailer that x-amz-trailer announced "
                               "is missing");
    }

    if (c->form == S3_CHUNKED_SIGNED_TRAILER && !c->trailer_signed) {
        return s3_chunked_fail(c, S3_BODY_MALFORMED_TRAILER,
                               "x-amz-trailer-signature is missing");
    }

    c->state = s3_chunked_done;

    return S3_CHUNKED_DONE;
}


static s3_chunked_rc_e
s3_chunked_verify_chunk(s3_chunked_t *c)
{
    char           signature[S3_CHUNKED_SIGNATURE_LEN];
    unsigned char  hash[S3_CHUNKED_SHA256_LEN];

    if (c->form == S3_CHUNKED_UNSIGNED_TRAILER) {
        return S3_CHUNKED_MORE;
    }

    if (EVP_DigestFinal_ex(c->md, hash, NULL) != 1
        || EVP_DigestInit_ex(c->md, NULL, NULL) != 1
        || s3_chunked_sign(c, "AWS4-HMAC-SHA256-PAYLOAD", s3_chunked_empty,
                           hash, signature)
           != 0)
    {
        return s3_chunked_fail(c, S3_BODY_INTERNAL_ERROR,
                               "HMAC-SHA256 failed");
    }

    if (CRYPTO_memcmp(signature, c->signature, S3_CHUNKED_SIGNATURE_LEN)) {
        return s3_chunked_fail(c, S3_BODY_SIGNATURE_DOES_NOT_MATCH,
                               "the signature of a chunk does not match");
    }

    memcpy(c->previous, signature, S3_CHUNKED_SIGNATURE_LEN);

    return S3_CHUNKED_MORE;
}


static s3_chunked_rc_e
s3_chunked_verify_trailer(s3_chunked_t *c)
{
    int            failed;
    char           ch, signature[S3_CHUNKED_SIGNATURE_LEN];
    size_t         i;
    unsigned char  hash[S3_CHUNKED_SHA256_LEN];

    /* name in lower case, colon, value, LF; the context is fresh */

    failed = 0;

    if (c->trailer_seen) {

        for (i = 0; i < c->announced_len; i++) {
            ch = c->announced[i];

            if (ch >= 'A' && ch <= 'Z') {
                ch |= 0x20;
            }

            failed |= EVP_DigestUpdate(c->md, &ch, 1) != 1;
        }

        failed |= EVP_DigestUpdate(c->md, ":", 1) != 1;
        failed |= EVP_DigestUpdate(c->md, c->value, c->value_len) != 1;
        failed |= EVP_DigestUpdate(c->md, "\n", 1) != 1;
    }

    if (failed
        || EVP_DigestFinal_ex(c->md, hash, NULL) != 1
        || s3_chunked_sign(c, "AWS4-HMAC-SHA256-TRAILER", NULL, hash,
                           signature)
           != 0)
    {
        return s3_chunked_fail(c, S3_BODY_INTERNAL_ERROR,
                               "HMAC-SHA256 failed");
    }

    if (CRYPTO_memcmp(signature, c->signature, S3_CHUNKED_SIGNATURE_LEN)) {
        return s3_chunked_fail(c, S3_BODY_SIGNATURE_DOES_NOT_MATCH,
                               "the signature of the trailer "
                               "does not match");
    }

    return S3_CHUNKED_MORE;
}


static char *
s3_chunked_append(char *p, const char *text, size_t len)
{
    memcpy(p, text, len);

    return p + len;
}


/* empty: the line of the hash of nothing, or NULL for none */

static int
s3_chunked_sign(s3_chunked_t *c, const char *algorithm, const char *empty,
    const unsigned char *hash, char *signature)
{
    char           string[S3_CHUNKED_STRING_MAX], *p;
    unsigned int   len;
    unsigned char  mac[EVP_MAX_MD_SIZE];

    p = s3_chunked_append(string, algorithm, strlen(algorithm));
    *p++ = '\n';
    p = s3_chunked_append(p, c->key->date, S3_CHUNKED_DATE_LEN);
    *p++ = '\n';
    p = s3_chunked_append(p, c->key->scope, c->key->scope_len);
    *p++ = '\n';
    p = s3_chunked_append(p, c->previous, S3_CHUNKED_SIGNATURE_LEN);
    *p++ = '\n';

    if (empty) {
        p = s3_chunked_append(p, empty, S3_CHUNKED_SIGNATURE_LEN);
        *p++ = '\n';
    }

    s3_chunked_hex(p, hash, S3_CHUNKED_SHA256_LEN);
    p += 2 * S3_CHUNKED_SHA256_LEN;

    if (HMAC(EVP_sha256(), c->key->signing_key,
             (int) sizeof(c->key->signing_key), (unsigned char *) string,
             (size_t) (p - string), mac, &len)
        == NULL)
    {
        return -1;
    }

    s3_chunked_hex(signature, mac, S3_CHUNKED_SHA256_LEN);

    return 0;
}


static void
s3_chunked_hex(char *dst, const unsigned char *src, size_t len)
{
    static const char  digits[] = "0123456789abcdef";

    for ( /* void */ ; len; src++, len--) {
        *dst++ = digits[*src >> 4];
        *dst++ = digits[*src & 15];
    }
}
