
/* Checksums against published vectors, each other, and their combination. */

#include "s3_test.h"

#include <stdlib.h>
#include <string.h>

#include "s3_checksum.h"
#include "s3_crc.h"


static uint64_t  test_seed = 20261120;


static uint64_t
test_random(void)
{
    uint64_t  v;

    s3_test_fill(&v, sizeof(v), test_seed++);

    return v;
}


static unsigned char *
test_bytes(size_t len)
{
    unsigned char  *p;

    p = malloc(len + 1);
    assert_non_null(p);
    s3_test_fill(p, len, test_seed++);

    return p;
}


/* bit by bit, from the definition; what all else is compared with */

static uint64_t
test_crc(uint64_t poly, unsigned width, const unsigned char *p, size_t len)
{
    unsigned  i;
    uint64_t  crc, ones;

    ones = width == 64 ? UINT64_MAX : (1ULL << width) - 1;
    crc = ones;

    while (len--) {
        crc ^= *p++;

        for (i = 0; i < 8; i++) {
            crc = (crc & 1) ? (crc >> 1) ^ poly : crc >> 1;
        }
    }

    return crc ^ ones;
}


static void
vectors(void **state)
{
    size_t         i;
    unsigned char  buf[4096];

    assert_int_equal(s3_crc32(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(s3_crc32c(0, "123456789", 9), 0xe3069283);
    assert_true(s3_crc64nvme(0, "123456789", 9) == 0xae8b14860a799888ULL);

    assert_int_equal(s3_crc32(0, "", 0), 0);
    assert_int_equal(s3_crc32c(0, "", 0), 0);
    assert_true(s3_crc64nvme(0, "", 0) == 0);

    /* RFC 3720, B.4 (there in the order of the wire) */

    memset(buf, 0, 32);
    assert_int_equal(s3_crc32c(0, buf, 32), 0x8a9136aa);
    memset(buf, 0xff, 32);
    assert_int_equal(s3_crc32c(0, buf, 32), 0x62a8ab43);

    for (i = 0; i < 32; i++) {
        buf[i] = (unsigned char) i;
    }

    assert_int_equal(s3_crc32c(0, buf, 32), 0x46dd794e);

    for (i = 0; i < 32; i++) {
        buf[i] = (unsigned char) (31 - i);
    }

    assert_int_equal(s3_crc32c(0, buf, 32), 0x113fdb5c);

    /* NVM Express NVM Command Set Specification, 64b CRC test cases */

    memset(buf, 0, 4096);
    assert_true(s3_crc64nvme(0, buf, 4096) == 0x6482d367eb22b64eULL);
    memset(buf, 0xff, 4096);
    assert_true(s3_crc64nvme(0, buf, 4096) == 0xc0ddba7302eca3acULL);

    for (i = 0; i < 4096; i++) {
        buf[i] = (unsigned char) i;
    }

    assert_true(s3_crc64nvme(0, buf, 4096) == 0x3e729f5f6750449cULL);
}


/* every implementation, all short lengths at all alignments, long ones too */

static void
crc64nvme_impls(void **state)
{
    size_t                      i, n, len, offset, cut;
    uint64_t                    crc;
    unsigned char              *buf;
    const s3_crc64nvme_impl_t  *impls;

    impls = s3_crc64nvme_impls(&n);
    assert_true(n >= 1);
    assert_string_equal(impls[0].name, "table");

    buf = test_bytes(70000);

    for (len = 0; len < 1100; len++) {
        offset = len % 67;
        crc = test_crc(0x9a6c9329ac4bc9b5ULL, 64, buf + offset, len);

        for (i = 0; i < n; i++) {
            assert_true(impls[i].update(0, buf + offset, len) == crc);
        }
    }

    for (offset = 0; offset < 64; offset++) {
        len = 4096 + (size_t) (test_random() % 60000);
        crc = impls[0].update(0, buf + offset, len);

        for (i = 1; i < n; i++) {
            assert_true(impls[i].update(0, buf + offset, len) == crc);
        }

        /* carried on at any place by any of them */

        cut = (size_t) (test_random() % len);

        for (i = 0; i < n; i++) {
            crc = impls[i].update(0, buf + offset, cut);
            crc = impls[(i + 1) % n].update(crc, buf + offset + cut,
                                            len - cut);
            assert_true(crc == impls[0].update(0, buf + offset, len));
        }
    }

    crc = test_crc(0x9a6c9329ac4bc9b5ULL, 64, buf, 70000);
    assert_true(s3_crc64nvme(0, buf, 70000) == crc);

    free(buf);
}


static void
crc32s_bitwise(void **state)
{
    size_t          len, offset;
    unsigned char  *buf;

    buf = test_bytes(2000);

    for (len = 0; len < 1100; len++) {
        offset = len % 67;

        assert_true(s3_crc32(0, buf + offset, len)
                    == test_crc(0xedb88320, 32, buf + offset, len));
        assert_true(s3_crc32c(0, buf + offset, len)
                    == test_crc(0x82f63b78, 32, buf + offset, len));
    }

    free(buf);
}


static const s3_checksum_e  test_all[] = {
    S3_CHECKSUM_CRC32, S3_CHECKSUM_CRC32C, S3_CHECKSUM_SHA1,
    S3_CHECKSUM_SHA256, S3_CHECKSUM_CRC64NVME
};

#define TEST_ALL  (sizeof(test_all) / sizeof(test_all[0]))


static void
test_digest(s3_checksum_e algorithm, const void *data, size_t len,
    unsigned char *digest)
{
    s3_checksum_t  sum;

    assert_int_equal(s3_checksum_init(&sum, algorithm), 0);
    assert_int_equal(s3_checksum_update(&sum, data, len), 0);
    assert_int_equal(s3_checksum_final(&sum, digest), 0);
    s3_checksum_cleanup(&sum);
}


static void
combine(void **state)
{
    size_t                     i, j, len, cut;
    unsigned char             *buf, whole[S3_CHECKSUM_DIGEST_MAX];
    unsigned char              a[S3_CHECKSUM_DIGEST_MAX];
    unsigned char              b[S3_CHECKSUM_DIGEST_MAX];
    const s3_checksum_info_t  *info;

    buf = test_bytes(20000);

    for (i = 0; i < TEST_ALL; i++) {
        info = s3_checksum_info(test_all[i]);

        for (j = 0; j < 300; j++) {
            len = (size_t) (test_random() % 20000);
            cut = j == 0 ? 0 : j == 1 ? len
                             : (size_t) (test_random() % (len + 1));

            test_digest(test_all[i], buf, len, whole);
            test_digest(test_all[i], buf, cut, a);
            test_digest(test_all[i], buf + cut, len - cut, b);

            if (!info->combines) {
                assert_int_equal(s3_checksum_combine(test_all[i], a, b,
                                                     len - cut, a), -1);
                break;
            }

            assert_int_equal(s3_checksum_combine(test_all[i], a, b,
                                                 len - cut, a), 0);
            assert_memory_equal(a, whole, info->size);
        }
    }

    free(buf);
}


/* more bytes than fit any buffer: n zeros by doubling against one by one */

static void
combine_long(void **state)
{
    size_t     i;
    uint32_t   c32, c32c;
    uint64_t   len, c64;
    static unsigned char  zeros[1 << 16];

    c32 = s3_crc32(0, zeros, sizeof(zeros));
    c32c = s3_crc32c(0, zeros, sizeof(zeros));
    c64 = s3_crc64nvme(0, zeros, sizeof(zeros));
    len = sizeof(zeros);

    for (i = 0; i < 8; i++) {
        c32 = s3_crc32_combine(c32, c32, len);
        c32c = s3_crc32c_combine(c32c, c32c, len);
        c64 = s3_crc64nvme_combine(c64, c64, len);
        len *= 2;
    }

    assert_true(len == 16777216);

    {
        uint32_t  d32 = 0, d32c = 0;
        uint64_t  d64 = 0;

        for (i = 0; i < 256; i++) {
            d32 = s3_crc32(d32, zeros, sizeof(zeros));
            d32c = s3_crc32c(d32c, zeros, sizeof(zeros));
            d64 = s3_crc64nvme(d64, zeros, sizeof(zeros));
        }

        assert_true(c32 == d32);
        assert_true(c32c == d32c);
        assert_true(c64 == d64);
    }

    /*
     * A length whose bits do not fit 64 bits, against steps whose bits do;
     * b is 0: only a moves.
     */

    len = 1ULL << 60;

    assert_true(s3_crc64nvme_combine(c64, 0, 2 * len + 5)
                == s3_crc64nvme_combine(s3_crc64nvme_combine(
                       s3_crc64nvme_combine(c64, 0, len), 0, len), 0, 5));
    assert_true(s3_crc32_combine(c32, 0, 2 * len + 5)
                == s3_crc32_combine(s3_crc32_combine(
                       s3_crc32_combine(c32, 0, len), 0, len), 0, 5));
    assert_true(s3_crc32c_combine(c32c, 0, 2 * len + 5)
                == s3_crc32c_combine(s3_crc32c_combine(
                       s3_crc32c_combine(c32c, 0, len), 0, len), 0, 5));
}


static void
streaming(void **state)
{
    size_t                     i, j, pos, n;
    s3_checksum_t              sum;
    unsigned char             *buf, whole[S3_CHECKSUM_DIGEST_MAX];
    unsigned char              parts[S3_CHECKSUM_DIGEST_MAX];
    const s3_checksum_info_t  *info;

    buf = test_bytes(9000);

    for (i = 0; i < TEST_ALL; i++) {
        info = s3_checksum_info(test_all[i]);
        test_digest(test_all[i], buf, 9000, whole);

        for (j = 0; j < 20; j++) {
            assert_int_equal(s3_checksum_init(&sum, test_all[i]), 0);

            for (pos = 0; pos < 9000; pos += n) {
                n = (size_t) (test_random() % 700);

                if (n > 9000 - pos) {
                    n = 9000 - pos;
                }

                assert_int_equal(s3_checksum_update(&sum, buf + pos, n), 0);
            }

            assert_int_equal(s3_checksum_final(&sum, parts), 0);
            s3_checksum_cleanup(&sum);
            s3_checksum_cleanup(&sum);

            assert_memory_equal(parts, whole, info->size);
        }
    }

    free(buf);
}


static void
texts(void **state)
{
    size_t         i, len;
    char           text[S3_CHECKSUM_TEXT_MAX + 1];
    unsigned char  digest[S3_CHECKSUM_DIGEST_MAX];
    unsigned char  back[S3_CHECKSUM_DIGEST_MAX];

    static const char  *expected[TEST_ALL] = {
        "y/Q5Jg==",
        "4waSgw==",
        "98O8HYCOBHMq32eZZczDTKeuNEE=",
        "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        "rosUhgp5mIg="
    };

    for (i = 0; i < TEST_ALL; i++) {
        test_digest(test_all[i], "123456789", 9, digest);

        len = s3_checksum_text(test_all[i], digest, text);
        assert_int_equal(len, s3_checksum_info(test_all[i])->text_len);
        assert_int_equal(strlen(text), len);

        assert_string_equal(text, expected[i]);

        assert_int_equal(s3_checksum_parse(test_all[i], text, len, back), 0);
        assert_memory_equal(back, digest,
                            s3_checksum_info(test_all[i])->size);
    }
}


static void
parse_strict(void **state)
{
    size_t         i;
    unsigned char  d[S3_CHECKSUM_DIGEST_MAX];

    static const char  *bad[] = {
        "", "y/Q5Jg", "y/Q5Jg=", "y/Q5Jg===", "y/Q5Jg==\n", " y/Q5Jg==",
        "y/Q5Jh==",                     /* unused bits set */
        "y/Q5J===", "y/Q5====", "=/Q5Jg==", "y/Q5=g==", "y_Q5Jg==",
        "y/Q5Jg=A", "y/Q5JgA=", "y/Q5JgAA", "y/Q5.g==", "y/Q5Jg==y/Q5Jg=="
    };

    assert_int_equal(s3_checksum_parse(S3_CHECKSUM_CRC32, "y/Q5Jg==", 8, d),
                     0);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(s3_checksum_parse(S3_CHECKSUM_CRC32, bad[i],
                                           strlen(bad[i]), d), -1);
    }

    assert_int_equal(s3_checksum_parse(S3_CHECKSUM_CRC32, "y/Q\0Jg==", 8, d),
                     -1);
    assert_int_equal(s3_checksum_parse(S3_CHECKSUM_CRC64NVME, "y/Q5Jg==", 8,
                                       d), -1);
    assert_int_equal(s3_checksum_parse(S3_CHECKSUM_NONE, "", 0, d), -1);
}


/* each length, and every decoded value encodes back: RFC 4648 section 10 */

static void
base64(void **state)
{
    size_t         i, len;
    char           text[64];
    unsigned char  data[40], back[40];

    static const char  *pairs[][2] = {
        { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" }
    };

    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        len = s3_base64_encode((const unsigned char *) pairs[i][0],
                               strlen(pairs[i][0]), text);
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(len, strlen(pairs[i][1]));
    }

    for (i = 0; i < 4000; i++) {
        len = i % 40;

        s3_test_fill(data, len, test_seed++);

        (void) s3_base64_encode(data, len, text);
        assert_int_equal(s3_base64_decode(text, strlen(text), back, len), 0);
        assert_memory_equal(back, data, len);
    }
}


static void
names(void **state)
{
    size_t                     i;
    const s3_checksum_info_t  *info;

    for (i = 0; i < TEST_ALL; i++) {
        info = s3_checksum_info(test_all[i]);
        assert_non_null(info);
        assert_int_equal(strlen(info->header), info->header_len);
        assert_int_equal(info->text_len, 4 * ((info->size + 2) / 3));
        assert_true(info->size <= S3_CHECKSUM_DIGEST_MAX);
        assert_true(info->text_len <= S3_CHECKSUM_TEXT_MAX);
        assert_int_equal(s3_checksum_by_name(info->name,
                                             strlen(info->name)),
                         test_all[i]);
        assert_int_equal(s3_checksum_by_header(info->header,
                                               info->header_len),
                         test_all[i]);
    }

    assert_int_equal(s3_checksum_by_name("crc64nvme", 9),
                     S3_CHECKSUM_CRC64NVME);
    assert_int_equal(s3_checksum_by_header("X-Amz-Checksum-Crc32C", 21),
                     S3_CHECKSUM_CRC32C);
    assert_int_equal(s3_checksum_by_header("x-amz-checksum-crc32x", 20),
                     S3_CHECKSUM_CRC32);
    assert_int_equal(s3_checksum_by_header("x-amz-checksum-crc3", 19),
                     S3_CHECKSUM_NONE);
    assert_int_equal(s3_checksum_by_header("x-amz-checksum-type", 19),
                     S3_CHECKSUM_NONE);
    assert_int_equal(s3_checksum_by_name("MD5", 3), S3_CHECKSUM_NONE);
    assert_int_equal(s3_checksum_by_name("", 0), S3_CHECKSUM_NONE);
    assert_null(s3_checksum_info(S3_CHECKSUM_NONE));
    assert_null(s3_checksum_info(S3_CHECKSUM_LAST));
    assert_null(s3_checksum_info((s3_checksum_e) 77));
}


static void
unknown_algorithm(void **state)
{
    char           text[S3_CHECKSUM_TEXT_MAX + 1];
    s3_checksum_t  sum;
    unsigned char  d[S3_CHECKSUM_DIGEST_MAX] = { 0 };

    assert_int_equal(s3_checksum_init(&sum, S3_CHECKSUM_NONE), -1);
    assert_int_equal(s3_checksum_update(&sum, "x", 1), -1);
    assert_int_equal(s3_checksum_final(&sum, d), -1);
    assert_int_equal(s3_checksum_init(&sum, S3_CHECKSUM_LAST), -1);
    assert_int_equal(s3_checksum_text(S3_CHECKSUM_NONE, d, text), 0);
    assert_string_equal(text, "");
    s3_checksum_cleanup(&sum);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(crc64nvme_impls),
        cmocka_unit_test(crc32s_bitwise),
        cmocka_unit_test(combine),
        cmocka_unit_test(combine_long),
        cmocka_unit_test(streaming),
        cmocka_unit_test(texts),
        cmocka_unit_test(parse_strict),
        cmocka_unit_test(base64),
        cmocka_unit_test(names),
        cmocka_unit_test(unknown_algorithm)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
