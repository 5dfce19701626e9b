
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "s3_body.h"


/* so that every digest finds the bytes in the processor's cache */
#define S3_BODY_BLOCK  32768


static s3_body_error_e s3_body_fail(s3_body_t *b, s3_body_error_e error,
    const char *detail);
static s3_body_error_e s3_body_fail_message(s3_body_t *b,
    s3_body_error_e error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static EVP_MD_CTX *s3_body_digest(const EVP_MD *md);
static s3_body_error_e s3_body_init_trailer(s3_body_t *b,
    const s3_body_conf_t *conf);
static s3_body_error_e s3_body_parse_trailer(s3_body_t *b);


/* S3 API reference, "Error responses"; the words are those S3 sends */

static const struct {
    const char  *code;
    const char  *message;
} s3_body_errors[S3_BODY_ERROR_LAST] = {

    [S3_BODY_BAD_DIGEST] = { "BadDigest",
        "The Content-MD5 you specified did not match what we received." },

    [S3_BODY_ENTITY_TOO_LARGE] = { "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed object size." },

    [S3_BODY_INCOMPLETE_BODY] = { "IncompleteBody",
        "The request body terminated unexpectedly" },

    [S3_BODY_INTERNAL_ERROR] = { "InternalError",
        "We encountered an internal error. Please try again." },

    [S3_BODY_INVALID_CHUNK_SIZE] = { "InvalidChunkSizeError",
        "Only the last chunk is allowed to have a size less than 8192 "
        "bytes" },

    [S3_BODY_INVALID_REQUEST] = { "InvalidRequest", "Invalid Request" },

    [S3_BODY_MALFORMED_TRAILER] = { "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or "
        "did not conform to our published schema." },

    [S3_BODY_SHA256_MISMATCH] = { "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was "
        "computed." },

    [S3_BODY_SIGNATURE_DOES_NOT_MATCH] = { "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature "
        "you provided. Check your key and signing method." }
};


const char *
s3_body_error_code(int error)
{
    if (error <= S3_BODY_OK || error >= S3_BODY_ERROR_LAST) {
        return NULL;
    }

    return s3_body_errors[error].code;
}


const char *
s3_body_error_message(int error)
{
    if (error <= S3_BODY_OK || error >= S3_BODY_ERROR_LAST) {
        return NULL;
    }

    return s3_body_errors[error].message;
}


int
s3_body_md5(const char *text, size_t len, unsigned char *md5)
{
    return s3_base64_decode(text, len, md5, S3_BODY_MD5_LEN);
}


s3_body_error_e
s3_body_init(s3_body_t *b, const s3_body_conf_t *conf)
{
    memset(b, 0, sizeof(s3_body_t));

    b->form = conf->form;
    b->length = conf->length;
    b->max_length = conf->max_length ? conf->max_length : S3_BODY_UNKNOWN - 1;

    if (b->length != S3_BODY_UNKNOWN && b->length > b->max_length) {
        return s3_body_fail(b, S3_BODY_ENTITY_TOO_LARGE, NULL);
    }

    b->checksum = conf->checksum;

    if (conf->checksum != S3_CHECKSUM_NONE) {
        b->has_digest = 1;
        memcpy(b->expect_digest, conf->digest, S3_CHECKSUM_DIGEST_MAX);
    }

    if (conf->md5) {
        b->has_md5 = 1;
        memcpy(b->expect_md5, conf->md5, S3_BODY_MD5_LEN);
    }

    memcpy(b->expect_sha256, conf->sha256, S3_BODY_SHA256_LEN);

    if (s3_body_init_trailer(b, conf) != S3_BODY_OK) {
        return b->error;
    }

    b->given = b->checksum;

    if (b->checksum == S3_CHECKSUM_NONE) {
        b->checksum = conf->default_checksum;
    }

    b->also = conf->also_checksum;

    /* OpenSSL's MD5 is absent where only a FIPS provider is loaded */

    b->digests.md5 = s3_body_digest(EVP_md5());

    if (b->digests.md5 == NULL) {
        return s3_body_fail(b, S3_BODY_INTERNAL_ERROR, "no MD5 context");
    }

    if (b->form == S3_BODY_FORM_SIGNED) {
        b->digests.sha256 = s3_body_digest(EVP_sha256());

        if (b->digests.sha256 == NULL) {
            return s3_body_fail(b, S3_BODY_INTERNAL_ERROR,
                                "no SHA-256 context");
        }
    }

    if (b->checksum != S3_CHECKSUM_NONE
        && s3_checksum_init(&b->digests.checksum, b->checksum) != 0)
    {
        return s3_body_fail(b, S3_BODY_INTERNAL_ERROR, "no checksum context");
    }

    if (b->also != S3_CHECKSUM_NONE && b->also != b->checksum
        && s3_checksum_init(&b->digests.also, b->also) != 0)
    {
        return s3_body_fail(b, S3_BODY_INTERNAL_ERROR, "no checksum context");
    }

    return S3_BODY_OK;
}


static s3_body_error_e
s3_body_init_trailer(s3_body_t *b, const s3_body_conf_t *conf)
{
    s3_checksum_e      checksum;
    s3_chunked_form_e  form;

    if (conf->trailer && conf->trailer_len) {

        if (conf->form != S3_BODY_FORM_UNSIGNED_TRAILER
            && conf->form != S3_BODY_FORM_CHUNKS_TRAILER)
        {
            return s3_body_fail_message(b, S3_BODY_INVALID_REQUEST,
                                        "The x-amz-trailer header needs an "
                                        "x-amz-content-sha256 that ends in "
                                        "-TRAILER");
        }

        /* S3 takes a single checksum; its trailers are nothing else */

        checksum = s3_checksum_by_header(conf->trailer, conf->trailer_len);

        if (checksum == S3_CHECKSUM_NONE) {
            return s3_body_fail_message(b, S3_BODY_INVALID_REQUEST,
                                        "The value specified in the "
                                        "x-amz-trailer header is not "
                                        "supported");
        }

        if (b->has_digest) {
            return s3_body_fail_message(b, S3_BODY_INVALID_REQUEST,
                                        "Expecting a single "
                                        "x-amz-checksum- header");
        }

        b->checksum = checksum;
        b->has_trailer = 1;
    }

    switch (conf->form) {

    case S3_BODY_FORM_UNSIGNED_TRAILER:
        form = S3_CHUNKED_UNSIGNED_TRAILER;
        break;

    case S3_BODY_FORM_CHUNKS:
        form = S3_CHUNKED_SIGNED;
        break;

    case S3_BODY_FORM_CHUNKS_TRAILER:
        form = S3_CHUNKED_SIGNED_TRAILER;
        break;

    default:
        return S3_BODY_OK;
    }

    if (s3_chunked_init(&b->chunked, form, conf->length, conf->key,
                        conf->trailer, conf->trailer_len)
        != 0)
    {
        return s3_body_fail(b, b->chunked.error, b->chunked.detail);
    }

    return S3_BODY_OK;
}


s3_chunked_rc_e
s3_body_decode(s3_body_t *b, const unsigned char **pos,
    const unsigned char *last, const unsigned char **payload,
    size_t *payload_len)
{
    size_t           n;
    s3_chunked_rc_e  rc;

    if (b->error) {
        return S3_CHUNKED_ERROR;
    }

    switch (b->form) {

    case S3_BODY_FORM_UNSIGNED:
    case S3_BODY_FORM_SIGNED:

        n = (size_t) (last - *pos);

        if (n == 0) {
            return S3_CHUNKED_MORE;
        }

        /* an HTTP server cuts at Content-Length; a guard nevertheless */

        if (b->length != S3_BODY_UNKNOWN && n > b->length - b->decoded) {
            (void) s3_body_fail(b, S3_BODY_INCOMPLETE_BODY,
                                "more bytes than Content-Length");
            return S3_CHUNKED_ERROR;
        }

        *payload = *pos;
        *payload_len = n;
        *pos = last;
        rc = S3_CHUNKED_DATA;
        break;

    default:
        rc = s3_chunked_next(&b->chunked, pos, last, payload, payload_len);
        break;
    }

    if (rc == S3_CHUNKED_ERROR) {
        (void) s3_body_fail(b, b->chunked.error, b->chunked.detail);
        return rc;
    }

    if (rc == S3_CHUNKED_DATA) {

        if (*payload_len > b->max_length - b->decoded) {
            (void) s3_body_fail(b, S3_BODY_ENTITY_TOO_LARGE, NULL);
            return S3_CHUNKED_ERROR;
        }

        b->decoded += *payload_len;
    }

    return rc;
}


s3_body_error_e
s3_body_end(s3_body_t *b)
{
    if (b->error) {
        return b->error;
    }

    switch (b->form) {

    case S3_BODY_FORM_UNSIGNED:
    case S3_BODY_FORM_SIGNED:

        if (b->length != S3_BODY_UNKNOWN && b->decoded != b->length) {
            return s3_body_fail_message(b, S3_BODY_INCOMPLETE_BODY,
                                        "You did not provide the number of "
                                        "bytes specified by the "
                                        "Content-Length HTTP header");
        }

        break;

    default:

        if (s3_chunked_end(&b->chunked) != S3_CHUNKED_DONE) {
            return s3_body_fail(b, b->chunked.error, b->chunked.detail);
        }

        break;
    }

    b->ended = 1;

    return S3_BODY_OK;
}


void
s3_body_update(s3_body_t *b, const void *data, size_t len)
{
    size_t                n;
    const unsigned char  *p;

    p = data;
    b->digests.len += len;

    for ( /* void */ ; len; p += n, len -= n) {
        n = len < S3_BODY_BLOCK ? len : S3_BODY_BLOCK;

        if (b->digests.md5 == NULL
            || EVP_DigestUpdate(b->digests.md5, p, n) != 1
            || (b->digests.sha256
                && EVP_DigestUpdate(b->digests.sha256, p, n) != 1)
            || (b->checksum != S3_CHECKSUM_NONE
                && s3_checksum_update(&b->digests.checksum, p, n) != 0)
            || (b->digests.also.algorithm != S3_CHECKSUM_NONE
                && s3_checksum_update(&b->digests.also, p, n) != 0))
        {
            b->digests.failed = 1;
            return;
        }
    }
}


s3_body_error_e
s3_body_finish(s3_body_t *b)
{
    unsigned char              sha256[S3_BODY_SHA256_LEN];
    const s3_checksum_info_t  *info;

    if (b->error) {
        return b->error;
    }

    if (!b->ended) {
        return s3_body_fail(b, S3_BODY_INCOMPLETE_BODY,
                            "finished before its end");
    }

    if (b->digests.failed || b->digests.len != b->decoded) {
        return s3_body_fail(b, S3_BODY_INTERNAL_ERROR,
                            b->digests.failed
                            ? "OpenSSL failed in a digest"
                            : "not all payload went through the digests");
    }

    if (EVP_DigestFinal_ex(b->digests.md5, b->md5, NULL) != 1
        || (b->digests.sha256
            && EVP_DigestFinal_ex(b->digests.sha256, sha256, NULL) != 1)
        || (b->checksum != S3_CHECKSUM_NONE
            && s3_checksum_final(&b->digests.checksum, b->digest) != 0)
        || (b->digests.also.algorithm != S3_CHECKSUM_NONE
            && s3_checksum_final(&b->digests.also, b->also_digest) != 0))
    {
        return s3_body_fail(b, S3_BODY_INTERNAL_ERROR,
                            "OpenSSL failed in a digest");
    }

    if (b->also != S3_CHECKSUM_NONE && b->also == b->checksum) {
        memcpy(b->also_digest, b->digest, S3_CHECKSUM_DIGEST_MAX);
    }

    if (b->digests.sha256
        && CRYPTO_memcmp(sha256, b->expect_sha256, S3_BODY_SHA256_LEN) != 0)
    {
        return s3_body_fail(b, S3_BODY_SHA256_MISMATCH, NULL);
    }

    if (b->has_md5
        && CRYPTO_memcmp(b->md5, b->expect_md5, S3_BODY_MD5_LEN) != 0)
    {
        return s3_body_fail(b, S3_BODY_BAD_DIGEST, NULL);
    }

    if (b->has_trailer && s3_body_parse_trailer(b) != S3_BODY_OK) {
        return b->error;
    }

    if (b->has_digest || b->has_trailer) {
        info = s3_checksum_info(b->checksum);

        if (CRYPTO_memcmp(b->digest, b->expect_digest, info->size) != 0) {
            return s3_body_fail_message(b, S3_BODY_BAD_DIGEST,
                                        "The %s you specified did not match "
                                        "the calculated checksum.",
                                        info->name);
        }
    }

    return S3_BODY_OK;
}


static s3_body_error_e
s3_body_parse_trailer(s3_body_t *b)
{
    size_t       len;
    const char  *value;

    /* the decoder has seen to it that the trailer came */

    value = s3_chunked_trailer(&b->chunked, &len);

    if (value == NULL
        || s3_checksum_parse(b->checksum, value, len, b->expect_digest) != 0)
    {
        return s3_body_fail_message(b, S3_BODY_INVALID_REQUEST,
                                    "Value for %s trailing header is "
                                    "invalid.",
                                    s3_checksum_info(b->checksum)->header);
    }

    return S3_BODY_OK;
}


void
s3_body_cleanup(s3_body_t *b)
{
    s3_chunked_cleanup(&b->chunked);
    s3_checksum_cleanup(&b->digests.checksum);
    s3_checksum_cleanup(&b->digests.also);

    EVP_MD_CTX_free(b->digests.md5);
    EVP_MD_CTX_free(b->digests.sha256);

    b->digests.md5 = NULL;
    b->digests.sha256 = NULL;
}


static s3_body_error_e
s3_body_fail(s3_body_t *b, s3_body_error_e error, const char *detail)
{
    const char  *message;

    b->error = error;
    b->detail = detail;

    message = s3_body_error_message(error);

    (void) snprintf(b->message, sizeof(b->message), "%s",
                    message ? message : "");

    return error;
}


static s3_body_error_e
s3_body_fail_message(s3_body_t *b, s3_body_error_e error, const char *fmt,
    ...)
{
    va_list  args;

    b->error = error;
    b->detail = NULL;

    va_start(args, fmt);
    (void) vsnprintf(b->message, sizeof(b->message), fmt, args);
    va_end(args);

    return error;
}


static EVP_MD_CTX *
s3_body_digest(const EVP_MD *md)
{
    EVP_MD_CTX  *ctx;

    ctx = EVP_MD_CTX_new();

    if (ctx && EVP_DigestInit_ex(ctx, md, NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return NULL;
    }

    return ctx;
}
