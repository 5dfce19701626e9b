
/* A body as a whole: forms, lengths, digests, verdicts, threads. */

#include "s3_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "s3_body.h"


#define TEST_HELLO      "hello world"
#define TEST_HELLO_LEN  11

#define TEST_MD5        "XrY7u+Ae7tCTyyK7j1rNww=="
#define TEST_CRC32      "DUoRhQ=="
#define TEST_CRC32C     "yZRlqg=="
#define TEST_CRC64NVME  "jSnVw/bqjr4="
#define TEST_SHA1       "Kq5sNclPz7QV2+lfQIuc6R7oRu0="
#define TEST_SHA256     "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="


static s3_body_t       test_body;
static s3_body_conf_t  test_conf;

/* OpenSSL's allocation of this number fails, once; 0: none */
static unsigned        test_fail_at;
static unsigned        test_allocations;


static void *
test_ssl_malloc(size_t size, const char *file, int line)
{
    if (test_fail_at && ++test_allocations == test_fail_at) {
        return NULL;
    }

    return malloc(size);
}


static void *
test_ssl_realloc(void *p, size_t size, const char *file, int line)
{
    if (test_fail_at && ++test_allocations == test_fail_at) {
        return NULL;
    }

    return realloc(p, size);
}


static void
test_ssl_free(void *p, const char *file, int line)
{
    free(p);
}


/* UNSIGNED-PAYLOAD of 11 bytes, nothing else asked for */

static int
test_setup(void **state)
{
    memset(&test_conf, 0, sizeof(test_conf));

    test_conf.form = S3_BODY_FORM_UNSIGNED;
    test_conf.length = TEST_HELLO_LEN;
    test_conf.default_checksum = S3_CHECKSUM_CRC64NVME;

    return 0;
}


/* cut into pieces of piece bytes; what comes out goes through the digests */

static s3_body_error_e
test_run(const void *data, size_t len, size_t piece)
{
    size_t                n, pos;
    s3_body_error_e       error;
    s3_chunked_rc_e       rc;
    const unsigned char  *p, *last, *payload, *start;

    if (s3_body_init(&test_body, &test_conf) != S3_BODY_OK) {
        goto done;
    }

    start = data;

    for (pos = 0; pos < len; pos += piece) {
        p = start + pos;
        last = len - pos < piece ? start + len : p + piece;

        do {
            rc = s3_body_decode(&test_body, &p, last, &payload, &n);

            if (rc == S3_CHUNKED_DATA) {
                s3_body_update(&test_body, payload, n);
            }

        } while (rc == S3_CHUNKED_DATA);

        if (rc == S3_CHUNKED_ERROR) {
            assert_int_not_equal(test_body.error, S3_BODY_OK);
            goto done;
        }
    }

    (void) s3_body_end(&test_body);

done:

    error = s3_body_finish(&test_body);

    assert_int_equal(error, test_body.error);

    /* the verdict is final */

    if (error) {
        assert_int_equal(s3_body_finish(&test_body), error);
        assert_true(test_body.message[0] != '\0');
    }

    s3_body_cleanup(&test_body);
    s3_body_cleanup(&test_body);

    return error;
}


static void
test_message(const void *data, size_t len, s3_body_error_e error,
    const char *message)
{
    size_t  piece;

    for (piece = 1; piece <= len; piece += len > 64 ? 17 : 1) {
        assert_int_equal(test_run(data, len, piece), error);
        assert_string_equal(test_body.message, message);
    }
}


static void
test_ok(const void *data, size_t len, s3_checksum_e checksum,
    const char *text)
{
    char    got[S3_CHECKSUM_TEXT_MAX + 1];
    size_t  piece;

    for (piece = 1; piece <= len; piece += len > 64 ? 17 : 1) {
        assert_int_equal(test_run(data, len, piece), S3_BODY_OK);
        assert_true(test_body.decoded == TEST_HELLO_LEN);
        assert_int_equal(test_body.checksum, checksum);

        (void) s3_base64_encode(test_body.md5, S3_BODY_MD5_LEN, got);
        assert_string_equal(got, TEST_MD5);

        (void) s3_checksum_text(checksum, test_body.digest, got);
        assert_string_equal(got, text);
    }
}


static void
test_expect(s3_checksum_e checksum, const char *text)
{
    test_conf.checksum = checksum;
    assert_int_equal(s3_checksum_parse(checksum, text, strlen(text),
                                       test_conf.digest), 0);
}


static void
error_table(void **state)
{
    int  error;

    for (error = S3_BODY_OK + 1; error < S3_BODY_ERROR_LAST; error++) {
        assert_non_null(s3_body_error_code(error));
        assert_non_null(s3_body_error_message(error));
        assert_true(strlen(s3_body_error_message(error))
                    < S3_BODY_MESSAGE_MAX);
    }

    assert_string_equal(s3_body_error_code(S3_BODY_BAD_DIGEST), "BadDigest");
    assert_string_equal(s3_body_error_code(S3_BODY_SHA256_MISMATCH),
                        "XAmzContentSHA256Mismatch");
    assert_null(s3_body_error_code(S3_BODY_OK));
    assert_null(s3_body_error_code(-1));
    assert_null(s3_body_error_code(S3_BODY_ERROR_LAST));
    assert_null(s3_body_error_message(S3_BODY_ERROR_LAST));
}


static void
content_md5(void **state)
{
    char           text[64];
    unsigned char  md5[S3_BODY_MD5_LEN];

    assert_int_equal(s3_body_md5(TEST_MD5, strlen(TEST_MD5), md5), 0);
    (void) s3_base64_encode(md5, sizeof(md5), text);
    assert_string_equal(text, TEST_MD5);

    assert_int_equal(s3_body_md5("", 0, md5), -1);
    assert_int_equal(s3_body_md5("XrY7u+Ae7tCTyyK7j1rNww", 22, md5), -1);
    assert_int_equal(s3_body_md5("5eb63bbbe01eeed093cb22bb8f5acdc3", 32, md5),
                     -1);
}


static void
unsigned_payload(void **state)
{
    test_ok(TEST_HELLO, TEST_HELLO_LEN, S3_CHECKSUM_CRC64NVME,
            TEST_CRC64NVME);

    test_conf.length = S3_BODY_UNKNOWN;
    test_ok(TEST_HELLO, TEST_HELLO_LEN, S3_CHECKSUM_CRC64NVME,
            TEST_CRC64NVME);

    /* no checksum wanted at all */

    test_conf.default_checksum = S3_CHECKSUM_NONE;
    assert_int_equal(test_run(TEST_HELLO, TEST_HELLO_LEN, 3), S3_BODY_OK);
    assert_int_equal(test_body.checksum, S3_CHECKSUM_NONE);
}


static void
empty(void **state)
{
    char  text[S3_CHECKSUM_TEXT_MAX + 1];

    test_conf.length = 0;
    assert_int_equal(test_run("", 0, 1), S3_BODY_OK);

    (void) s3_base64_encode(test_body.md5, S3_BODY_MD5_LEN, text);
    assert_string_equal(text, "1B2M2Y8AsgTpgAmY7PhCfg==");
    (void) s3_checksum_text(S3_CHECKSUM_CRC64NVME, test_body.digest, text);
    assert_string_equal(text, "AAAAAAAAAAA=");
}


static void
signed_payload(void **state)
{
    test_conf.form = S3_BODY_FORM_SIGNED;
    assert_int_equal(s3_base64_decode(TEST_SHA256, 44, test_conf.sha256, 32),
                     0);

    test_ok(TEST_HELLO, TEST_HELLO_LEN, S3_CHECKSUM_CRC64NVME,
            TEST_CRC64NVME);

    test_conf.sha256[31] ^= 1;
    test_message(TEST_HELLO, TEST_HELLO_LEN, S3_BODY_SHA256_MISMATCH,
                 "The provided 'x-amz-content-sha256' header does not match "
                 "what was computed.");
}


static void
header_checksums(void **state)
{
    size_t  i;
    char    message[128];

    static const struct {
        s3_checksum_e   checksum;
        const char     *text;
    } sums[] = {
        { S3_CHECKSUM_CRC32, TEST_CRC32 },
        { S3_CHECKSUM_CRC32C, TEST_CRC32C },
        { S3_CHECKSUM_SHA1, TEST_SHA1 },
        { S3_CHECKSUM_SHA256, TEST_SHA256 },
        { S3_CHECKSUM_CRC64NVME, TEST_CRC64NVME }
    };

    for (i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        test_expect(sums[i].checksum, sums[i].text);
        test_ok(TEST_HELLO, TEST_HELLO_LEN, sums[i].checksum, sums[i].text);

        test_conf.digest[s3_checksum_info(sums[i].checksum)->size - 1] ^= 1;
        (void) snprintf(message, sizeof(message),
                        "The %s you specified did not match the calculated "
                        "checksum.", s3_checksum_info(sums[i].checksum)->name);
        test_message(TEST_HELLO, TEST_HELLO_LEN, S3_BODY_BAD_DIGEST,
                     message);
    }
}


/* a second one besides, whatever the client gives */

static void
also_checksum(void **state)
{
    char      got[S3_CHECKSUM_TEXT_MAX + 1];
    unsigned  i;

    static const struct {
        s3_checksum_e   checksum;
        const char     *text;
    } given[] = {
        { S3_CHECKSUM_NONE, NULL },
        { S3_CHECKSUM_CRC32, TEST_CRC32 },
        { S3_CHECKSUM_SHA256, TEST_SHA256 },
        { S3_CHECKSUM_CRC64NVME, TEST_CRC64NVME }
    };

    test_conf.also_checksum = S3_CHECKSUM_CRC64NVME;

    for (i = 0; i < sizeof(given) / sizeof(given[0]); i++) {

        if (given[i].text) {
            test_expect(given[i].checksum, given[i].text);
        }

        assert_int_equal(test_run(TEST_HELLO, TEST_HELLO_LEN, 3), S3_BODY_OK);

        assert_int_equal(test_body.given, given[i].checksum);
        assert_int_equal(test_body.also, S3_CHECKSUM_CRC64NVME);

        (void) s3_checksum_text(test_body.also, test_body.also_digest, got);
        assert_string_equal(got, TEST_CRC64NVME);

        if (given[i].text) {
            (void) s3_checksum_text(test_body.checksum, test_body.digest,
                                    got);
            assert_string_equal(got, given[i].text);
        }
    }
}


static void
header_md5(void **state)
{
    unsigned char  md5[S3_BODY_MD5_LEN];

    assert_int_equal(s3_body_md5(TEST_MD5, strlen(TEST_MD5), md5), 0);
    test_conf.md5 = md5;
    test_ok(TEST_HELLO, TEST_HELLO_LEN, S3_CHECKSUM_CRC64NVME,
            TEST_CRC64NVME);

    md5[0] ^= 0x80;
    test_message(TEST_HELLO, TEST_HELLO_LEN, S3_BODY_BAD_DIGEST,
                 "The Content-MD5 you specified did not match what we "
                 "received.");
}


static void
lengths(void **state)
{
    test_conf.length = TEST_HELLO_LEN + 1;
    test_message(TEST_HELLO, TEST_HELLO_LEN, S3_BODY_INCOMPLETE_BODY,
                 "You did not provide the number of bytes specified by the "
                 "Content-Length HTTP header");

    test_conf.length = TEST_HELLO_LEN - 1;
    assert_int_equal(test_run(TEST_HELLO, TEST_HELLO_LEN, 4),
                     S3_BODY_INCOMPLETE_BODY);
    assert_true(test_body.decoded <= TEST_HELLO_LEN - 1);

    /* the largest size that is allowed: announced, and counted */

    test_conf.length = TEST_HELLO_LEN;
    test_conf.max_length = TEST_HELLO_LEN;
    assert_int_equal(test_run(TEST_HELLO, TEST_HELLO_LEN, 4), S3_BODY_OK);

    test_conf.max_length = TEST_HELLO_LEN - 1;
    assert_int_equal(test_run(TEST_HELLO, TEST_HELLO_LEN, 4),
                     S3_BODY_ENTITY_TOO_LARGE);
    assert_true(test_body.decoded == 0);

    test_conf.length = S3_BODY_UNKNOWN;
    assert_int_equal(test_run(TEST_HELLO, TEST_HELLO_LEN, 4),
                     S3_BODY_ENTITY_TOO_LARGE);
    assert_true(test_body.decoded == 8);

    test_conf.form = S3_BODY_FORM_UNSIGNED_TRAILER;
    assert_int_equal(test_run("b\r\nhello world\r\n0\r\n\r\n", 21, 1),
                     S3_BODY_ENTITY_TOO_LARGE);
    assert_true(test_body.decoded == 10);
}


/* what the second half says goes before what was not asked */

static void
unfinished(void **state)
{
    size_t                n;
    const unsigned char  *p, *payload;

    static const unsigned char  data[] = TEST_HELLO;

    /* no end */

    assert_int_equal(s3_body_init(&test_body, &test_conf), S3_BODY_OK);
    p = data;
    assert_int_equal(s3_body_decode(&test_body, &p, data + 11, &payload, &n),
                     S3_CHUNKED_DATA);
    s3_body_update(&test_body, payload, n);
    assert_int_equal(s3_body_finish(&test_body), S3_BODY_INCOMPLETE_BODY);
    s3_body_cleanup(&test_body);

    /* payload that never went through the digests */

    assert_int_equal(s3_body_init(&test_body, &test_conf), S3_BODY_OK);
    p = data;
    assert_int_equal(s3_body_decode(&test_body, &p, data + 11, &payload, &n),
                     S3_CHUNKED_DATA);
    s3_body_update(&test_body, payload, n - 1);
    assert_int_equal(s3_body_end(&test_body), S3_BODY_OK);
    assert_int_equal(s3_body_finish(&test_body), S3_BODY_INTERNAL_ERROR);
    s3_body_cleanup(&test_body);
}


static void
test_trailer_conf(const char *trailer)
{
    test_conf.form = S3_BODY_FORM_UNSIGNED_TRAILER;
    test_conf.trailer = trailer;
    test_conf.trailer_len = trailer ? strlen(trailer) : 0;
}


static void
trailer(void **state)
{
    static const char  good[] = "b\r\nhello world\r\n0\r\n"
                                "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    static const char  other[] = "b\r\nhello w0rld\r\n0\r\n"
                                 "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    static const char  odd[] = "b\r\nhello world\r\n0\r\n"
                               "x-amz-checksum-crc32:DUoRhQ=\r\n\r\n";
    static const char  longer[] = "b\r\nhello world\r\n0\r\n"
                                  "x-amz-checksum-crc32:DUoRhQAA\r\n\r\n";
    static const char  none[] = "b\r\nhello world\r\n0\r\n\r\n";

    test_trailer_conf("x-amz-checksum-crc32");

    test_ok(good, sizeof(good) - 1, S3_CHECKSUM_CRC32, TEST_CRC32);

    test_message(other, sizeof(other) - 1, S3_BODY_BAD_DIGEST,
                 "The CRC32 you specified did not match the calculated "
                 "checksum.");
    test_message(odd, sizeof(odd) - 1, S3_BODY_INVALID_REQUEST,
                 "Value for x-amz-checksum-crc32 trailing header is "
                 "invalid.");
    test_message(longer, sizeof(longer) - 1, S3_BODY_INVALID_REQUEST,
                 "Value for x-amz-checksum-crc32 trailing header is "
                 "invalid.");
    test_message(none, sizeof(none) - 1, S3_BODY_MALFORMED_TRAILER,
                 "The request contained trailing data that was not "
                 "well-formed or did not conform to our published schema.");
    test_message(good, sizeof(good) - 2, S3_BODY_INCOMPLETE_BODY,
                 "The request body terminated unexpectedly");

    /* no trailer announced: the default checksum is computed */

    test_trailer_conf(NULL);
    test_ok(none, sizeof(none) - 1, S3_CHECKSUM_CRC64NVME, TEST_CRC64NVME);
    test_message(good, sizeof(good) - 1, S3_BODY_MALFORMED_TRAILER,
                 "The request contained trailing data that was not "
                 "well-formed or did not conform to our published schema.");

    /* a header's checksum over the decoded payload */

    test_expect(S3_CHECKSUM_SHA256, TEST_SHA256);
    test_ok(none, sizeof(none) - 1, S3_CHECKSUM_SHA256, TEST_SHA256);
}


/* no byte of a checksummed stream changes and still gives another payload */

static void
corrupted(void **state)
{
    size_t         i;
    unsigned       v;
    unsigned char  was;
    static char    data[] = "b\r\nhello world\r\n0\r\n"
                            "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n";

    test_trailer_conf("x-amz-checksum-crc32");

    for (i = 0; i < sizeof(data) - 1; i++) {
        was = (unsigned char) data[i];

        for (v = 0; v < 256; v++) {

            if (v == was) {
                continue;
            }

            data[i] = (char) v;

            /* all that may pass: capitals in the size and the name */

            if (test_run(data, sizeof(data) - 1, sizeof(data))
                == S3_BODY_OK)
            {
                assert_true((v | 0x20) == was && (i < 1 || i >= 19));
            }
        }

        data[i] = (char) was;
    }
}


static void
requests(void **state)
{
    test_trailer_conf("x-amz-checksum-md5");
    test_message("0\r\n\r\n", 5, S3_BODY_INVALID_REQUEST,
                 "The value specified in the x-amz-trailer header is not "
                 "supported");

    test_trailer_conf("x-amz-checksum-crc32,x-amz-checksum-sha1");
    assert_int_equal(test_run("0\r\n\r\n", 5, 5), S3_BODY_INVALID_REQUEST);

    test_trailer_conf("x-amz-checksum-crc32");
    test_expect(S3_CHECKSUM_SHA1, TEST_SHA1);
    test_message("0\r\n\r\n", 5, S3_BODY_INVALID_REQUEST,
                 "Expecting a single x-amz-checksum- header");
    test_conf.checksum = S3_CHECKSUM_NONE;

    test_conf.form = S3_BODY_FORM_UNSIGNED;
    assert_int_equal(test_run("0\r\n\r\n", 5, 5), S3_BODY_INVALID_REQUEST);
    test_conf.form = S3_BODY_FORM_CHUNKS;
    assert_int_equal(test_run("0\r\n\r\n", 5, 5), S3_BODY_INVALID_REQUEST);

    /* signed chunks without a key */

    test_trailer_conf(NULL);
    test_conf.form = S3_BODY_FORM_CHUNKS;
    assert_int_equal(test_run("0\r\n\r\n", 5, 5), S3_BODY_INVALID_REQUEST);
    test_conf.form = S3_BODY_FORM_CHUNKS_TRAILER;
    assert_int_equal(test_run("0\r\n\r\n", 5, 5), S3_BODY_INVALID_REQUEST);

    /* an unknown checksum to compute */

    test_setup(NULL);
    test_conf.default_checksum = S3_CHECKSUM_LAST;
    assert_int_equal(test_run("", 0, 1), S3_BODY_INTERNAL_ERROR);
}


/* the example of the S3 manual, "Transferring Payload in Multiple Chunks" */

static char              test_chunks[66560 + 512];
static s3_chunked_key_t  test_chunks_key;


static size_t
test_chunks_setup(void)
{
    char  *p;

    static const unsigned char  signing_key[32] = {
        0xdb, 0xb8, 0x93, 0xac, 0xc0, 0x10, 0x96, 0x49,
        0x18, 0xf1, 0xfd, 0x43, 0x3a, 0xdd, 0x87, 0xc7,
        0x0e, 0x8b, 0x0d, 0xb6, 0xbe, 0x30, 0xc1, 0xfb,
        0xea, 0xfe, 0xfa, 0x5e, 0xc6, 0xba, 0x83, 0x78
    };

    memcpy(test_chunks_key.signing_key, signing_key, 32);
    memcpy(test_chunks_key.date, "20130524T000000Z", 16);
    memcpy(test_chunks_key.seed, "4f232c4386841ef735655705268965c4"
                                 "4a0e4690baa4adea153f7db9fa80a0a9", 64);
    test_chunks_key.scope = "20130524/us-east-1/s3/aws4_request";
    test_chunks_key.scope_len = strlen(test_chunks_key.scope);

    p = test_chunks;
    p += sprintf(p, "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9"
                    "a0e99e0e2307b0ade35a65485a288648\r\n");
    memset(p, 'a', 65536);
    p += 65536;
    p += sprintf(p, "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e"
                    "3c1575bbb81b612b7d234b86a503ef5497\r\n");
    memset(p, 'a', 1024);
    p += 1024;
    p += sprintf(p, "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f427"
                    "5b71ea724fed81ceb9323e279d449df9\r\n\r\n");

    test_conf.form = S3_BODY_FORM_CHUNKS;
    test_conf.length = 66560;
    test_conf.key = &test_chunks_key;

    return (size_t) (p - test_chunks);
}


static void
chunks(void **state)
{
    size_t  len;

    len = test_chunks_setup();

    assert_int_equal(test_run(test_chunks, len, 1000), S3_BODY_OK);
    assert_true(test_body.decoded == 66560);

    test_chunks[3000] ^= 1;
    assert_int_equal(test_run(test_chunks, len, 1000),
                     S3_BODY_SIGNATURE_DOES_NOT_MATCH);
    assert_string_equal(s3_body_error_code(test_body.error),
                        "SignatureDoesNotMatch");
    assert_non_null(test_body.detail);
}


/*
 * Each allocation of OpenSSL fails in turn until all went through: an error,
 * never another verdict, and (AddressSanitizer) nothing left behind.
 */

static void
allocations(void **state)
{
    size_t           len;
    unsigned         failed;
    s3_body_error_e  error;

    len = test_chunks_setup();
    test_expect(S3_CHECKSUM_SHA256, TEST_SHA256);

    /* once as it is: the algorithms are loaded; not that payload's digest */

    assert_int_equal(test_run(test_chunks, len, len), S3_BODY_BAD_DIGEST);

    failed = 0;

    for (test_fail_at = 1; /* void */ ; test_fail_at++) {
        test_allocations = 0;
        error = test_run(test_chunks, len, len);

        if (test_allocations < test_fail_at) {
            break;
        }

        if (error == S3_BODY_INTERNAL_ERROR) {
            failed++;

        } else {
            /* OpenSSL did without it */
            assert_int_equal(error, S3_BODY_BAD_DIGEST);
        }
    }

    test_fail_at = 0;

    assert_int_equal(error, S3_BODY_BAD_DIGEST);

    /* at least the contexts of MD5, of two SHA-256 and of each HMAC */

    assert_true(failed >= 6);
    assert_int_equal(test_run(test_chunks, len, len), S3_BODY_BAD_DIGEST);
}


/* (a) on this thread, (b) on another, stripe by stripe; TSan is content */

#define TEST_STRIPE   (1 << 20)
#define TEST_STRIPES  6

typedef struct {
    pthread_mutex_t       mutex;
    pthread_cond_t        cond;
    const unsigned char  *run[TEST_STRIPES * 4];
    size_t                len[TEST_STRIPES * 4];
    unsigned              n;
    int                   closed;
} test_queue_t;

static test_queue_t  test_queue = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, { NULL }, { 0 }, 0, 0
};


static void *
test_thread(void *data)
{
    size_t                len;
    unsigned              i;
    const unsigned char  *run;

    for (i = 0; /* void */ ; i++) {
        pthread_mutex_lock(&test_queue.mutex);

        while (i == test_queue.n && !test_queue.closed) {
            pthread_cond_wait(&test_queue.cond, &test_queue.mutex);
        }

        if (i == test_queue.n) {
            pthread_mutex_unlock(&test_queue.mutex);
            return NULL;
        }

        run = test_queue.run[i];
        len = test_queue.len[i];
        pthread_mutex_unlock(&test_queue.mutex);

        s3_body_update(data, run, len);
    }
}


static void
threads(void **state)
{
    size_t                i, n, size;
    pthread_t             tid;
    unsigned char        *data, md5[S3_BODY_MD5_LEN];
    s3_chunked_rc_e       rc;
    const unsigned char  *p, *payload;

    size = (size_t) TEST_STRIPE * TEST_STRIPES + 333;
    data = malloc(size);
    assert_non_null(data);

    for (i = 0; i < size; i++) {
        data[i] = (unsigned char) (i * 2654435761U >> 11);
    }

    assert_int_equal(EVP_Digest(data, size, md5, NULL, EVP_md5(), NULL), 1);

    test_conf.form = S3_BODY_FORM_SIGNED;
    test_conf.length = size;
    test_conf.md5 = md5;
    assert_int_equal(EVP_Digest(data, size, test_conf.sha256, NULL,
                                EVP_sha256(), NULL), 1);

    assert_int_equal(s3_body_init(&test_body, &test_conf), S3_BODY_OK);
    assert_int_equal(pthread_create(&tid, NULL, test_thread, &test_body), 0);

    p = data;

    while (p < data + size) {
        n = (size_t) (data + size - p);
        rc = s3_body_decode(&test_body, &p,
                            p + (n < TEST_STRIPE ? n : TEST_STRIPE),
                            &payload, &n);
        assert_int_equal(rc, S3_CHUNKED_DATA);

        pthread_mutex_lock(&test_queue.mutex);
        test_queue.run[test_queue.n] = payload;
        test_queue.len[test_queue.n] = n;
        test_queue.n++;
        pthread_cond_signal(&test_queue.cond);
        pthread_mutex_unlock(&test_queue.mutex);
    }

    assert_int_equal(s3_body_end(&test_body), S3_BODY_OK);

    pthread_mutex_lock(&test_queue.mutex);
    test_queue.closed = 1;
    pthread_cond_signal(&test_queue.cond);
    pthread_mutex_unlock(&test_queue.mutex);

    assert_int_equal(pthread_join(tid, NULL), 0);
    assert_int_equal(s3_body_finish(&test_body), S3_BODY_OK);
    assert_memory_equal(test_body.md5, md5, S3_BODY_MD5_LEN);

    s3_body_cleanup(&test_body);
    free(data);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(error_table),
        cmocka_unit_test(content_md5),
        cmocka_unit_test_setup(unsigned_payload, test_setup),
        cmocka_unit_test_setup(empty, test_setup),
        cmocka_unit_test_setup(signed_payload, test_setup),
        cmocka_unit_test_setup(header_checksums, test_setup),
        cmocka_unit_test_setup(also_checksum, test_setup),
        cmocka_unit_test_setup(header_md5, test_setup),
        cmocka_unit_test_setup(lengths, test_setup),
        cmocka_unit_test_setup(unfinished, test_setup),
        cmocka_unit_test_setup(trailer, test_setup),
        cmocka_unit_test_setup(corrupted, test_setup),
        cmocka_unit_test_setup(requests, test_setup),
        cmocka_unit_test_setup(chunks, test_setup),
        cmocka_unit_test_setup(allocations, test_setup),
        cmocka_unit_test_setup(threads, test_setup)
    };

    if (CRYPTO_set_mem_functions(test_ssl_malloc, test_ssl_realloc,
                                 test_ssl_free)
        != 1)
    {
        return 1;
    }

    return cmocka_run_group_tests(tests, NULL, NULL);
}
