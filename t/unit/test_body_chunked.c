
/*
 * The aws-chunked decoder: the examples of the S3 manual, what clients send,
 * every cut, every byte corrupted, and each way a stream can be wrong.
 */

#include "s3_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "s3_chunked.h"


#define TEST_STREAM_MAX  (256 * 1024)


/* one decoding: what came out, and how it ended */

typedef struct {
    s3_chunked_rc_e   rc;
    s3_body_error_e   error;
    size_t            len;
    size_t            value_len;
    char              value[S3_CHUNKED_LINE_MAX];
    unsigned char     data[TEST_STREAM_MAX];
} test_result_t;


typedef struct {
    s3_chunked_form_e        form;
    uint64_t                 length;
    const s3_chunked_key_t  *key;
    const char              *trailer;
} test_setup_t;


/* a stream under construction */

typedef struct {
    size_t                   len;
    s3_chunked_key_t        *key;          /* NULL: unsigned */
    char                     previous[S3_CHUNKED_SIGNATURE_LEN + 1];
    unsigned char            data[TEST_STREAM_MAX];
} test_stream_t;


static test_result_t   test_result, test_other;
static test_stream_t   test_stream;

static char            test_scope[] = "20130524/us-east-1/s3/aws4_request";


static void
test_hmac(const unsigned char *key, size_t key_len, const char *text,
    size_t len, unsigned char *mac)
{
    unsigned int  n;

    assert_non_null(HMAC(EVP_sha256(), key, (int) key_len,
                         (const unsigned char *) text, len, mac, &n));
}


/* the credentials, date and region of the manual's examples */

static void
test_key(s3_chunked_key_t *key, const char *seed)
{
    unsigned char      mac[32];
    static const char  secret[] =
        "AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    test_hmac((const unsigned char *) secret, sizeof(secret) - 1, "20130524",
              8, mac);
    test_hmac(mac, 32, "us-east-1", 9, mac);
    test_hmac(mac, 32, "s3", 2, mac);
    test_hmac(mac, 32, "aws4_request", 12, key->signing_key);

    memcpy(key->date, "20130524T000000Z", S3_CHUNKED_DATE_LEN);
    memcpy(key->seed, seed, S3_CHUNKED_SIGNATURE_LEN);
    key->scope = test_scope;
    key->scope_len = sizeof(test_scope) - 1;
}


static const char  test_seed[] =
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";


static void
test_hex(char *dst, const unsigned char *src)
{
    unsigned  i;

    for (i = 0; i < 32; i++) {
        (void) sprintf(dst + 2 * i, "%02x", src[i]);
    }
}


/* a second writing of the signature, with the formats of the manual */

static void
test_sign(test_stream_t *s, const char *fmt, const void *data, size_t len,
    char *signature)
{
    int            n;
    char           string[1024], hash[65];
    unsigned char  md[32];

    assert_int_equal(EVP_Digest(data, len, md, NULL, EVP_sha256(), NULL), 1);
    test_hex(hash, md);

    n = snprintf(string, sizeof(string), fmt, "20130524T000000Z", test_scope,
                 s->previous, hash);
    assert_true(n > 0 && (size_t) n < sizeof(string));

    test_hmac(s->key->signing_key, 32, string, (size_t) n, md);
    test_hex(signature, md);
}


static void
test_add(test_stream_t *s, const void *data, size_t len)
{
    assert_true(len <= sizeof(s->data) - s->len);
    memcpy(s->data + s->len, data, len);
    s->len += len;
}


static void
test_add_text(test_stream_t *s, const char *text)
{
    test_add(s, text, strlen(text));
}


static void
test_start(test_stream_t *s, s3_chunked_key_t *key)
{
    s->len = 0;
    s->key = key;

    if (key) {
        memcpy(s->previous, key->seed, S3_CHUNKED_SIGNATURE_LEN);
        s->previous[S3_CHUNKED_SIGNATURE_LEN] = '\0';
    }
}


/* a chunk; that of len 0 is the last and has no CRLF of its own */

static void
test_chunk(test_stream_t *s, const void *data, size_t len)
{
    char  line[128], signature[65];

    if (s->key) {
        test_sign(s, "AWS4-HMAC-SHA256-PAYLOAD\n%s\n%s\n%s\n"
                  "e3b0c44298fc1c149afbf4c8996fb924"
                  "27ae41e4649b934ca495991b7852b855\n%s",
                  data, len, signature);
        memcpy(s->previous, signature, 65);
        (void) sprintf(line, "%zx;chunk-signature=%s\r\n", len, signature);

    } else {
        (void) sprintf(line, "%zx\r\n", len);
    }

    test_add_text(s, line);

    if (len) {
        test_add(s, data, len);
        test_add_text(s, "\r\n");
    }
}


static void
test_trailer(test_stream_t *s, const char *name, const char *value,
    const char *eol)
{
    char  line[256], signature[65];

    (void) sprintf(line, "%s:%s%s", name, value, eol);
    test_add_text(s, line);

    if (s->key) {
        (void) sprintf(line, "%s:%s\n", name, value);
        test_sign(s, "AWS4-HMAC-SHA256-TRAILER\n%s\n%s\n%s\n%s", line,
                  strlen(line), signature);
        (void) sprintf(line, "x-amz-trailer-signature:%s\r\n", signature);
        test_add_text(s, line);
    }

    test_add_text(s, "\r\n");
}


/*
 * Decodes data in pieces: cut > 0 makes the first piece so long and the rest
 * the second; cut 0 hands over byte by byte.
 */

static void
test_decode(const test_setup_t *setup, const unsigned char *data, size_t len,
    size_t cut, test_result_t *r)
{
    size_t                n, piece, pos, value_len;
    const char           *value;
    s3_chunked_t          c;
    const unsigned char  *p, *last, *payload;

    r->len = 0;
    r->rc = S3_CHUNKED_MORE;

    if (s3_chunked_init(&c, setup->form, setup->length, setup->key,
                        setup->trailer,
                        setup->trailer ? strlen(setup->trailer) : 0)
        != 0)
    {
        r->rc = S3_CHUNKED_ERROR;
        r->error = c.error;
        s3_chunked_cleanup(&c);
        return;
    }

    for (pos = 0; pos < len; pos += piece) {
        piece = cut == 0 ? 1 : pos == 0 ? cut : len - pos;

        if (piece > len - pos) {
            piece = len - pos;
        }

        p = data + pos;
        last = p + piece;

        do {
            r->rc = s3_chunked_next(&c, &p, last, &payload, &n);

            if (r->rc == S3_CHUNKED_DATA) {
                assert_true(n > 0);
                assert_true(payload >= data + pos && payload + n == p);
                assert_true(n <= sizeof(r->data) - r->len);
                memcpy(r->data + r->len, payload, n);
                r->len += n;
                assert_true(r->len <= setup->length);
            }

        } while (r->rc == S3_CHUNKED_DATA);

        if (r->rc == S3_CHUNKED_MORE) {
            assert_ptr_equal(p, last);
        }

        if (r->rc == S3_CHUNKED_ERROR) {
            /* and stays so */
            assert_int_equal(s3_chunked_next(&c, &p, last, &payload, &n),
                             S3_CHUNKED_ERROR);
            break;
        }
    }

    assert_true(c.decoded == r->len);

    r->rc = s3_chunked_end(&c);
    r->error = c.error;

    if (r->rc == S3_CHUNKED_ERROR) {
        assert_int_not_equal(c.error, S3_BODY_OK);
        assert_non_null(c.detail);
    }

    value = s3_chunked_trailer(&c, &value_len);
    r->value_len = value_len;

    if (value) {
        memcpy(r->value, value, value_len);
    }

    s3_chunked_cleanup(&c);
    s3_chunked_cleanup(&c);
}


static void
test_done(const test_setup_t *setup, const test_stream_t *s,
    const void *data, size_t len, const char *value)
{
    test_decode(setup, s->data, s->len, s->len, &test_result);

    assert_int_equal(test_result.error, S3_BODY_OK);
    assert_int_equal(test_result.rc, S3_CHUNKED_DONE);
    assert_int_equal(test_result.len, len);

    if (len) {
        assert_memory_equal(test_result.data, data, len);
    }

    assert_int_equal(test_result.value_len, value ? strlen(value) : 0);

    if (value) {
        assert_memory_equal(test_result.value, value, strlen(value));
    }
}


static void
test_error(const test_setup_t *setup, const char *text,
    s3_body_error_e error)
{
    size_t  cut, len;

    len = strlen(text);

    for (cut = 0; cut <= len; cut++) {
        test_decode(setup, (const unsigned char *) text, len, cut,
                    &test_result);
        assert_int_equal(test_result.rc, S3_CHUNKED_ERROR);
        assert_int_equal(test_result.error, error);
    }
}


static const test_setup_t  test_crc32 = {
    S3_CHUNKED_UNSIGNED_TRAILER, 11, NULL, "x-amz-checksum-crc32"
};


static void
boto3(void **state)
{
    test_setup_t   setup = test_crc32;
    test_stream_t *s = &test_stream;

    test_start(s, NULL);
    test_add_text(s, "b\r\nhello world\r\n0\r\n"
                  "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n");
    test_done(&setup, s, "hello world", 11, "DUoRhQ==");

    setup.length = 0;

    test_start(s, NULL);
    test_add_text(s, "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    test_done(&setup, s, "", 0, "AAAAAA==");
}


/* the size may be in capitals and have zeros before it; names know no case */

static void
variants(void **state)
{
    test_stream_t *s = &test_stream;

    test_start(s, NULL);
    test_add_text(s, "000000000000000B\r\nhello world\r\n000\r\n"
                  "X-Amz-Checksum-CRC32: \tDUoRhQ==\t \r\n\r\n");
    test_done(&test_crc32, s, "hello world", 11, "DUoRhQ==");
}


/* minio-go ends the value by LF before the CRLF */

static void
minio_go(void **state)
{
    test_stream_t *s = &test_stream;

    test_start(s, NULL);
    test_add_text(s, "b\r\nhello world\r\n0\r\n"
                  "x-amz-checksum-crc32:DUoRhQ==\n\r\n\r\n");
    test_done(&test_crc32, s, "hello world", 11, "DUoRhQ==");
}


static void
no_trailer_announced(void **state)
{
    test_setup_t   setup = test_crc32;
    test_stream_t *s = &test_stream;

    setup.trailer = NULL;

    test_start(s, NULL);
    test_add_text(s, "b\r\nhello world\r\n0\r\n\r\n");
    test_done(&setup, s, "hello world", 11, NULL);

    setup.length = S3_CHUNKED_UNKNOWN;
    test_done(&setup, s, "hello world", 11, NULL);

    /* a trailer all the same */

    test_error(&setup, "b\r\nhello world\r\n0\r\n"
               "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
               S3_BODY_MALFORMED_TRAILER);
}


static void
several_chunks(void **state)
{
    size_t         i;
    test_setup_t   setup = test_crc32;
    test_stream_t *s = &test_stream;
    static unsigned char  data[3 * 8192 + 5];

    for (i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char) (i * 7);
    }

    setup.length = sizeof(data);

    test_start(s, NULL);
    test_chunk(s, data, 8192);
    test_chunk(s, data + 8192, 2 * 8192);
    test_chunk(s, data + 3 * 8192, 5);
    test_chunk(s, "", 0);
    test_trailer(s, "x-amz-checksum-crc32", "AAAAAA==", "\r\n");
    test_done(&setup, s, data, sizeof(data), "AAAAAA==");
}


/* S3 manual, "Transferring Payload in Multiple Chunks", its example */

static void
manual_signed(void **state)
{
    test_setup_t      setup;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;
    static char       data[66560];

    memset(data, 'a', sizeof(data));
    test_key(&key, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9"
                   "fa80a0a9");

    test_start(s, NULL);
    test_add_text(s, "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9"
                     "a0e99e0e2307b0ade35a65485a288648\r\n");
    test_add(s, data, 65536);
    test_add_text(s, "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e"
                     "3c1575bbb81b612b7d234b86a503ef5497\r\n");
    test_add(s, data, 1024);
    test_add_text(s, "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f427"
                     "5b71ea724fed81ceb9323e279d449df9\r\n\r\n");

    setup.form = S3_CHUNKED_SIGNED;
    setup.length = sizeof(data);
    setup.key = &key;
    setup.trailer = NULL;

    test_done(&setup, s, data, sizeof(data), NULL);

    /* the test's own signatures are the manual's too */

    test_start(&test_stream, &key);
    test_chunk(s, data, 65536);
    assert_memory_equal(s->previous, "ad80c730a21e5b8d", 16);

    /* another seed, another key, another scope */

    test_chunk(s, data, 1024);
    test_chunk(s, "", 0);
    test_add_text(s, "\r\n");
    test_done(&setup, s, data, sizeof(data), NULL);

    key.seed[0] = '5';
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_SIGNATURE_DOES_NOT_MATCH);
    key.seed[0] = '4';

    key.signing_key[31] ^= 1;
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_SIGNATURE_DOES_NOT_MATCH);
    key.signing_key[31] ^= 1;

    key.scope_len--;
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_SIGNATURE_DOES_NOT_MATCH);
    key.scope_len++;

    key.date[15] = 'z';
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_SIGNATURE_DOES_NOT_MATCH);
}


/* S3 manual, "Including Trailing Headers (Chunked Upload)", its example */

static void
manual_signed_trailer(void **state)
{
    test_setup_t      setup;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;
    static char       data[66560];

    memset(data, 'a', sizeof(data));
    test_key(&key, test_seed);

    test_start(s, NULL);
    test_add_text(s, "10000;chunk-signature=b474d8862b1487a5145d686f57f013e5"
                     "4db672cee1c953b3010fb58501ef5aa2\r\n");
    test_add(s, data, 65536);
    test_add_text(s, "\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20"
                     "fe354e373826ccbbe2c1d40a8cae51e5c7\r\n");
    test_add(s, data, 1024);
    test_add_text(s, "\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf8379"
                     "5951dd77a3a99e6e65d5c9f85863f992\r\n"
                     "x-amz-checksum-crc32c:sOO8/Q==\r\n"
                     "x-amz-trailer-signature:d81f82fc3505edab99d459891051a7"
                     "32e8730629a2e4a59689829ca17fe2e435\r\n\r\n");

    setup.form = S3_CHUNKED_SIGNED_TRAILER;
    setup.length = sizeof(data);
    setup.key = &key;
    setup.trailer = "x-amz-checksum-crc32c";

    test_done(&setup, s, data, sizeof(data), "sOO8/Q==");

    /* announced in another case, and with minio-go's line ends */

    setup.trailer = "X-Amz-Checksum-Crc32c";
    test_done(&setup, s, data, sizeof(data), "sOO8/Q==");

    test_start(s, &key);
    test_chunk(s, data, 65536);
    test_chunk(s, data, 1024);
    test_chunk(s, "", 0);
    test_trailer(s, "x-amz-checksum-crc32c", "sOO8/Q==", "\n\r\n");
    test_done(&setup, s, data, sizeof(data), "sOO8/Q==");
}


/* a small signed stream with a trailer, all it needs to be decoded */

static void
test_small_signed(test_setup_t *setup, s3_chunked_key_t *key)
{
    test_key(key, test_seed);

    setup->form = S3_CHUNKED_SIGNED_TRAILER;
    setup->length = 5;
    setup->key = key;
    setup->trailer = "x-amz-checksum-crc32";

    test_start(&test_stream, key);
    test_chunk(&test_stream, "hello", 5);
    test_chunk(&test_stream, "", 0);
    test_trailer(&test_stream, setup->trailer, "NhCmhg==", "\r\n");
}


/* cut at every byte, and byte by byte */

static void
splits(void **state)
{
    size_t            cut;
    test_setup_t      setup;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;

    test_small_signed(&setup, &key);

    for (cut = 0; cut <= s->len; cut++) {
        test_decode(&setup, s->data, s->len, cut, &test_result);
        assert_int_equal(test_result.rc, S3_CHUNKED_DONE);
        assert_int_equal(test_result.len, 5);
        assert_memory_equal(test_result.data, "hello", 5);
        assert_int_equal(test_result.value_len, 8);
        assert_memory_equal(test_result.value, "NhCmhg==", 8);
    }

    test_start(s, NULL);
    test_add_text(s, "b\r\nhello world\r\n0\r\n"
                  "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n");

    for (cut = 0; cut <= s->len; cut++) {
        test_decode(&test_crc32, s->data, s->len, cut, &test_result);
        assert_int_equal(test_result.rc, S3_CHUNKED_DONE);
        assert_int_equal(test_result.len, 11);
        assert_memory_equal(test_result.data, "hello world", 11);
    }
}


/* cut short anywhere: IncompleteBody, nothing else, and never DONE */

static void
truncated(void **state)
{
    size_t            len;
    test_setup_t      setup;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;

    test_small_signed(&setup, &key);

    for (len = 0; len < s->len; len++) {
        test_decode(&setup, s->data, len, len, &test_result);
        assert_int_equal(test_result.rc, S3_CHUNKED_ERROR);
        assert_int_equal(test_result.error, S3_BODY_INCOMPLETE_BODY);

        test_decode(&setup, s->data, len, 0, &test_result);
        assert_int_equal(test_result.rc, S3_CHUNKED_ERROR);
        assert_int_equal(test_result.error, S3_BODY_INCOMPLETE_BODY);
    }
}


/*
 * Every byte replaced by every other value.  Of a signed stream no change may
 * pass but of what carries no meaning: the case of the size and of names.
 */

static void
corrupted_signed(void **state)
{
    size_t            i;
    unsigned          v, passed;
    unsigned char     was;
    test_setup_t      setup;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;

    test_small_signed(&setup, &key);
    passed = 0;

    for (i = 0; i < s->len; i++) {
        was = s->data[i];

        for (v = 0; v < 256; v++) {

            if (v == was) {
                continue;
            }

            s->data[i] = (unsigned char) v;
            test_decode(&setup, s->data, s->len, s->len, &test_result);

            if (test_result.rc == S3_CHUNKED_DONE) {
                assert_true((v | 0x20) == was);
                assert_int_equal(test_result.len, 5);
                assert_memory_equal(test_result.data, "hello", 5);
                assert_memory_equal(test_result.value, "NhCmhg==", 8);
                passed++;
            }
        }

        s->data[i] = was;
    }

    /* letters of x-amz-checksum-crc32 and of x-amz-trailer-signature */

    assert_int_equal(passed, 15 + 20);
}


/* of an unsigned one payload changes pass here, and its trailer says so */

static void
corrupted_unsigned(void **state)
{
    size_t         i;
    unsigned       v;
    unsigned char  was;
    test_stream_t *s = &test_stream;

    test_start(s, NULL);
    test_add_text(s, "b\r\nhello world\r\n0\r\n"
                  "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n");

    for (i = 0; i < s->len; i++) {
        was = s->data[i];

        for (v = 0; v < 256; v++) {

            if (v == was) {
                continue;
            }

            s->data[i] = (unsigned char) v;
            test_decode(&test_crc32, s->data, s->len, s->len, &test_result);
            test_decode(&test_crc32, s->data, s->len, 0, &test_other);

            assert_int_equal(test_result.rc, test_other.rc);
            assert_int_equal(test_result.error, test_other.error);
            assert_int_equal(test_result.len, test_other.len);

            if (test_result.rc == S3_CHUNKED_DONE) {
                assert_int_equal(test_result.len, 11);

                /* payload, the case of a name or the size, the value */

                assert_true((i >= 3 && i < 14) || (v | 0x20) == was
                            || (i >= 40 && i < 48));
            }
        }

        s->data[i] = was;
    }
}


static void
framing_errors(void **state)
{
    size_t        i;
    test_setup_t  unknown = test_crc32;

    static const char  *bad[] = {
        "",
        "\r\n",
        "b\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b\r\nhello world\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b\r\nhello world\r\n0\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b\rhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b\r\nhello world\r0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b\r\nhello world0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "a\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        " b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b \r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "0xb\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "-b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "+b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "b;\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "g\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "0000000000000000b\r\nhello world\r\n0\r\n\r\n",
        "1000000000000000b\r\nhello world\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello world\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello world\r\n0\r\n\r\n",
        "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n\r\n",
        "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\nX",
        "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\rX\r\n",
        "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n",
        "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\n\n",
        "b\r\nhello world\r\n",
        /* more and less than 11 */
        "c\r\nhello world!\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "a\r\nhello worl\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        test_error(&test_crc32, bad[i], S3_BODY_INCOMPLETE_BODY);
    }

    /* the largest size, which only an unknown length lets through at first */

    unknown.length = S3_CHUNKED_UNKNOWN;
    test_error(&unknown, "ffffffffffffffff\r\nhello world\r\n0\r\n\r\n",
               S3_BODY_INCOMPLETE_BODY);
}


/* a size that wraps around when it is added to what was decoded */

static void
size_wraps(void **state)
{
    test_setup_t   setup = test_crc32;
    test_stream_t *s = &test_stream;
    static char    data[8192];

    setup.length = sizeof(data) + 11;

    test_start(s, NULL);
    test_chunk(s, data, sizeof(data));
    test_add_text(s, "ffffffffffffffff\r\n");
    test_add(s, data, sizeof(data));

    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_INCOMPLETE_BODY);
    assert_int_equal(test_result.len, sizeof(data));

    setup.length = S3_CHUNKED_UNKNOWN;
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_INCOMPLETE_BODY);
    assert_int_equal(test_result.len, sizeof(data));
}


/* spaces make a valid trailer as long as a line may be, and one longer */

static void
longest_line(void **state)
{
    size_t         n;
    char           text[1024];
    test_stream_t *s = &test_stream;

    for (n = S3_CHUNKED_LINE_MAX - 3; n <= S3_CHUNKED_LINE_MAX + 9; n++) {
        (void) sprintf(text, "b\r\nhello world\r\n0\r\n"
                       "x-amz-checksum-crc32:%*s\r\n\r\n", (int) n - 21,
                       "DUoRhQ==");
        test_start(s, NULL);
        test_add_text(s, text);

        if (n <= S3_CHUNKED_LINE_MAX) {
            test_done(&test_crc32, s, "hello world", 11, "DUoRhQ==");

        } else {
            test_decode(&test_crc32, s->data, s->len, s->len, &test_result);
            assert_int_equal(test_result.error, S3_BODY_MALFORMED_TRAILER);
        }
    }
}


static void
long_lines(void **state)
{
    size_t  n;
    char    text[1024];

    for (n = S3_CHUNKED_LINE_MAX - 2; n <= S3_CHUNKED_LINE_MAX + 300; n++) {
        memset(text, '0', n);
        (void) strcpy(text + n, "\r\n\r\n");
        test_decode(&test_crc32, (unsigned char *) text, n + 4, n + 4,
                    &test_result);
        assert_int_equal(test_result.error, S3_BODY_INCOMPLETE_BODY);

        (void) strcpy(text, "b\r\nhello world\r\n0\r\n");
        memset(text + 19, 'x', n);
        (void) strcpy(text + 19 + n, ":y\r\n\r\n");
        test_decode(&test_crc32, (unsigned char *) text, 19 + n + 6, 0,
                    &test_result);
        assert_int_equal(test_result.error, S3_BODY_MALFORMED_TRAILER);
    }
}


static void
trailer_errors(void **state)
{
    size_t  i;
    char    text[512];

    static const char  *bad[] = {
        "\r\n",
        "x-amz-checksum-crc32\r\n\r\n",
        "x-amz-checksum-crc32DUoRhQ==\r\n\r\n",
        ":DUoRhQ==\r\n\r\n",
        "x-amz-checksum-crc32:\r\n\r\n",
        "x-amz-checksum-crc32: \t \r\n\r\n",
        "x-amz-checksum-crc32:\n\r\n\r\n",
        "x-amz-checksum-crc32c:DUoRhQ==\r\n\r\n",
        "x-amz-checksum-crc3:DUoRhQ==\r\n\r\n",
        "x-amz-checksum-crc32 :DUoRhQ==\r\n\r\n",
        " x-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "x-amz-meta-a:b\r\n\r\n",
        "x-amz-checksum-crc32:DUoRhQ==\r\nx-amz-meta-a:b\r\n\r\n",
        "x-amz-checksum-crc32:DUoRhQ==\r\n"
            "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        "x-amz-checksum-crc32:DUoRhQ==\n\r\n\n\r\n",
        "x-amz-checksum-crc32:DUoRhQ==\n\n\r\n\r\n",
        "x-amz-checksum-crc32:DUoR\nhQ==\r\n\r\n",
        "x-amz-checksum-crc32:DUoRhQ==\nx-amz-meta-a:b\r\n\r\n",
        "x-amz-checksum-crc32:DUoRhQ==\n\nX\r\n",
        /* only a signed stream has this one */
        "x-amz-checksum-crc32:DUoRhQ==\r\nx-amz-trailer-signature:"
            "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
            "\r\n\r\n"
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void) snprintf(text, sizeof(text), "b\r\nhello world\r\n0\r\n%s",
                        bad[i]);
        test_error(&test_crc32, text, S3_BODY_MALFORMED_TRAILER);
    }
}


static void
small_chunks(void **state)
{
    size_t            n;
    test_setup_t      setup = test_crc32;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;
    static char       data[2 * 8192];

    test_error(&test_crc32, "5\r\nhello\r\n6\r\n world\r\n0\r\n"
               "x-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
               S3_BODY_INVALID_CHUNK_SIZE);

    test_key(&key, test_seed);

    for (n = 8190; n <= 8194; n++) {
        setup.length = n + 7;

        test_start(s, NULL);
        test_chunk(s, data, n);
        test_chunk(s, data, 7);
        test_chunk(s, "", 0);
        test_trailer(s, setup.trailer, "AAAAAA==", "\r\n");

        test_decode(&setup, s->data, s->len, s->len, &test_result);
        assert_int_equal(test_result.error, n < 8192
                                            ? S3_BODY_INVALID_CHUNK_SIZE
                                            : S3_BODY_OK);

        test_start(s, &key);
        test_chunk(s, data, n);
        test_chunk(s, data, 7);
        test_chunk(s, "", 0);
        test_add_text(s, "\r\n");

        {
            test_setup_t  sig = { S3_CHUNKED_SIGNED, n + 7, &key, NULL };

            test_decode(&sig, s->data, s->len, s->len, &test_result);
            assert_int_equal(test_result.error, n < 8192
                                                ? S3_BODY_INVALID_CHUNK_SIZE
                                                : S3_BODY_OK);
        }
    }
}


static void
signed_errors(void **state)
{
    size_t            i;
    char              text[1024], last[128];
    test_setup_t      setup, plain;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;

    static const char  zeros[] =
        "0000000000000000000000000000000000000000000000000000000000000000";

    static const char  *headers[] = {
        "0\r\n\r\n",
        "0;\r\n\r\n",
        "0;chunk-signature=\r\n\r\n",
        "0;chunk-signature=abc\r\n\r\n",
        "0; chunk-signature=0000000000000000000000000000000000000000000000000"
            "00000000000000\r\n\r\n",
        "0;Chunk-signature=00000000000000000000000000000000000000000000000000"
            "00000000000000\r\n\r\n",
        "0;chunk-signature=00000000000000000000000000000000000000000000000000"
            "000000000000000\r\n\r\n",
        ";chunk-signature=000000000000000000000000000000000000000000000000000"
            "0000000000000\r\n\r\n"
    };

    test_key(&key, test_seed);

    plain.form = S3_CHUNKED_SIGNED;
    plain.length = 0;
    plain.key = &key;
    plain.trailer = NULL;

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        test_error(&plain, headers[i], S3_BODY_INCOMPLETE_BODY);
    }

    (void) sprintf(text, "0;chunk-signature=%s\r\n\r\n", zeros);
    test_error(&plain, text, S3_BODY_SIGNATURE_DOES_NOT_MATCH);

    /* an empty body, signed */

    test_start(s, &key);
    test_chunk(s, "", 0);
    (void) snprintf(last, sizeof(last), "%.*s", (int) s->len,
                    (char *) s->data);
    test_add_text(s, "\r\n");
    test_done(&plain, s, "", 0, NULL);

    /* a trailer where the form has none */

    (void) sprintf(text, "%sx-amz-checksum-crc32:AAAAAA==\r\n\r\n", last);
    test_error(&plain, text, S3_BODY_MALFORMED_TRAILER);

    /* the trailer, or its signature, missing; the signature wrong or odd */

    test_small_signed(&setup, &key);
    setup.length = 0;

    (void) sprintf(text, "%s\r\n", last);
    test_error(&setup, text, S3_BODY_MALFORMED_TRAILER);

    (void) sprintf(text, "%sx-amz-checksum-crc32:AAAAAA==\r\n\r\n", last);
    test_error(&setup, text, S3_BODY_MALFORMED_TRAILER);

    (void) sprintf(text, "%sx-amz-checksum-crc32:AAAAAA==\r\n"
                   "x-amz-trailer-signature:%s\r\n\r\n", last, zeros);
    test_error(&setup, text, S3_BODY_SIGNATURE_DOES_NOT_MATCH);

    (void) sprintf(text, "%sx-amz-checksum-crc32:AAAAAA==\r\n"
                   "x-amz-trailer-signature:%s0\r\n\r\n", last, zeros);
    test_error(&setup, text, S3_BODY_MALFORMED_TRAILER);

    (void) sprintf(text, "%sx-amz-trailer-signature:%s\r\n\r\n", last,
                   zeros);
    test_error(&setup, text, S3_BODY_SIGNATURE_DOES_NOT_MATCH);

    /* a trailer behind the signature is signed by nothing */

    test_start(s, &key);
    test_chunk(s, "", 0);
    test_trailer(s, setup.trailer, "AAAAAA==", "\r\n");
    test_done(&setup, s, "", 0, "AAAAAA==");

    s->len -= 2;
    test_add_text(s, "x-amz-checksum-crc32:BBBBBB==\r\n\r\n");
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_MALFORMED_TRAILER);

    /* and so is one whose signature stands before it */

    test_start(s, &key);
    test_chunk(s, "", 0);
    {
        char  sig[65], line[128];

        test_sign(s, "AWS4-HMAC-SHA256-TRAILER\n%s\n%s\n%s\n%s", "", 0, sig);
        (void) sprintf(line, "x-amz-trailer-signature:%s\r\n", sig);
        test_add_text(s, line);
    }
    test_add_text(s, "x-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    test_decode(&setup, s->data, s->len, s->len, &test_result);
    assert_int_equal(test_result.error, S3_BODY_MALFORMED_TRAILER);
}


/* chunks in another order, one left out, one from another stream */

static void
signed_order(void **state)
{
    size_t            a, b, end;
    test_setup_t      setup;
    test_stream_t    *s = &test_stream;
    s3_chunked_key_t  key;
    static char       data[2 * 8192];
    static unsigned char  swapped[TEST_STREAM_MAX];

    memset(data, 'a', 8192);
    memset(data + 8192, 'b', 8192);
    test_key(&key, test_seed);

    test_start(s, &key);
    test_chunk(s, data, 8192);
    a = s->len;
    test_chunk(s, data + 8192, 8192);
    b = s->len;
    test_chunk(s, "", 0);
    test_add_text(s, "\r\n");
    end = s->len;

    setup.form = S3_CHUNKED_SIGNED;
    setup.length = sizeof(data);
    setup.key = &key;
    setup.trailer = NULL;
    test_done(&setup, s, data, sizeof(data), NULL);

    memcpy(swapped, s->data + a, b - a);
    memcpy(swapped + (b - a), s->data, a);
    memcpy(swapped + b, s->data + b, end - b);
    test_decode(&setup, swapped, end, end, &test_result);
    assert_int_equal(test_result.error, S3_BODY_SIGNATURE_DOES_NOT_MATCH);

    setup.length = 8192;
    memcpy(swapped, s->data, a);
    memcpy(swapped + a, s->data + b, end - b);
    test_decode(&setup, swapped, end - (b - a), end, &test_result);
    assert_int_equal(test_result.error, S3_BODY_SIGNATURE_DOES_NOT_MATCH);
}


static void
wrong_setup(void **state)
{
    char              name[S3_CHUNKED_NAME_MAX + 2];
    s3_chunked_t      c;
    s3_chunked_key_t  key;

    test_key(&key, test_seed);

    assert_int_equal(s3_chunked_init(&c, S3_CHUNKED_SIGNED, 1, NULL, NULL, 0),
                     -1);
    assert_int_equal(c.error, S3_BODY_INVALID_REQUEST);
    assert_int_equal(s3_chunked_end(&c), S3_CHUNKED_ERROR);

    assert_int_equal(s3_chunked_init(&c, S3_CHUNKED_SIGNED, 1, &key, "x", 1),
                     -1);
    assert_int_equal(c.error, S3_BODY_INVALID_REQUEST);

    key.scope_len = S3_CHUNKED_SCOPE_MAX + 1;
    assert_int_equal(s3_chunked_init(&c, S3_CHUNKED_SIGNED, 1, &key, NULL, 0),
                     -1);
    assert_int_equal(c.error, S3_BODY_INVALID_REQUEST);

    memset(name, 'x', sizeof(name));
    assert_int_equal(s3_chunked_init(&c, S3_CHUNKED_UNSIGNED_TRAILER, 1, NULL,
                                     name, S3_CHUNKED_NAME_MAX + 1), -1);
    assert_int_equal(c.error, S3_BODY_INVALID_REQUEST);

    assert_int_equal(s3_chunked_init(&c, S3_CHUNKED_UNSIGNED_TRAILER, 1, NULL,
                                     name, S3_CHUNKED_NAME_MAX), 0);
    s3_chunked_cleanup(&c);
}


/* the longest scope that is taken fits the buffer it is signed in */

static void
longest_scope(void **state)
{
    char              scope[S3_CHUNKED_SCOPE_MAX], text[128];
    test_setup_t      setup;
    s3_chunked_key_t  key;

    test_key(&key, test_seed);
    memset(scope, 's', sizeof(scope));
    key.scope = scope;
    key.scope_len = sizeof(scope);

    setup.form = S3_CHUNKED_SIGNED;
    setup.length = 0;
    setup.key = &key;
    setup.trailer = NULL;

    (void) sprintf(text, "0;chunk-signature=%s\r\n\r\n", test_seed);
    test_error(&setup, text, S3_BODY_SIGNATURE_DOES_NOT_MATCH);
}


/* after the end: DONE stays without input, a byte is an error */

static void
after_the_end(void **state)
{
    size_t                n;
    s3_chunked_t          c;
    const unsigned char  *p, *payload;

    static const unsigned char  text[] = "0\r\n\r\nX";

    assert_int_equal(s3_chunked_init(&c, S3_CHUNKED_UNSIGNED_TRAILER, 0, NULL,
                                     NULL, 0), 0);

    p = text;
    assert_int_equal(s3_chunked_next(&c, &p, text + 5, &payload, &n),
                     S3_CHUNKED_DONE);
    assert_ptr_equal(p, text + 5);
    assert_int_equal(s3_chunked_next(&c, &p, text + 5, &payload, &n),
                     S3_CHUNKED_DONE);
    assert_int_equal(s3_chunked_end(&c), S3_CHUNKED_DONE);

    assert_int_equal(s3_chunked_next(&c, &p, text + 6, &payload, &n),
                     S3_CHUNKED_ERROR);
    assert_int_equal(c.error, S3_BODY_INCOMPLETE_BODY);
    assert_int_equal(s3_chunked_end(&c), S3_CHUNKED_ERROR);

    s3_chunked_cleanup(&c);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(boto3),
        cmocka_unit_test(variants),
        cmocka_unit_test(minio_go),
        cmocka_unit_test(no_trailer_announced),
        cmocka_unit_test(several_chunks),
        cmocka_unit_test(manual_signed),
        cmocka_unit_test(manual_signed_trailer),
        cmocka_unit_test(splits),
        cmocka_unit_test(truncated),
        cmocka_unit_test(corrupted_signed),
        cmocka_unit_test(corrupted_unsigned),
        cmocka_unit_test(framing_errors),
        cmocka_unit_test(size_wraps),
        cmocka_unit_test(longest_line),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(trailer_errors),
        cmocka_unit_test(small_chunks),
        cmocka_unit_test(signed_errors),
        cmocka_unit_test(signed_order),
        cmocka_unit_test(wrong_setup),
        cmocka_unit_test(longest_scope),
        cmocka_unit_test(after_the_end)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
