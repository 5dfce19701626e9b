
/*
 * CompleteMultipartUpload: headers, the verdict over the parts that are there,
 * the list as another server gets it, the entity tag.
 *
 * Checksums were computed by Python's zlib and hashlib, those of CRC32C and
 * CRC64NVME by the definition, over parts of 5 MiB of "a" and of "abc".
 */

#include "s3_test.h"
#include "s3_complete.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))

#define XML  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS   " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

#define SIZE1      5242880
#define SIZE2      3
#define MD51       "79b281060d337b9b2b84ccf390adcf74"
#define MD52       "900150983cd24fb0d6963f7d28e17f72"
#define ETAG_BYTES                                                           \
    "\x55\x32\xe8\xc8\xd1\xde\xcf\x7e\x39\x94\xc5\xcf\xd9\x22\xcd\xd4"

#define CRC32_1    "r/zBbw=="
#define CRC32_2    "NSRBwg=="
#define CRC32_F    "EEWVSA=="          /* full object */
#define CRC32_C    "EP5sHg=="          /* composite */
#define CRC32C_1   "WpuOeg=="
#define CRC32C_2   "Nks/tw=="
#define CRC32C_F   "E89qPQ=="
#define CRC32C_C   "cB9nqA=="
#define CRC64_1    "PbvLEkWUSgg="
#define CRC64_2    "BeXKuz/B+us="
#define CRC64_F    "QRIAJfdmEZg="
#define SHA1_1     "YbjWYArJTZEodPVpqTQRIPaAyfg="
#define SHA1_2     "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="
#define SHA1_C     "gOqpkJ64RgYzFd8vow2oN73Y41k="
#define SHA256_1   "oplo+tLngqqfIECjXwWtuX7Yl56x9XLIyOp4Y34nXzw="
#define SHA256_2   "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
#define SHA256_C   "zCTnZ1IFkg541qsc6MYym5R7RRvjYgX2PdC6hZH8WME="

#define PART(n, etag, sum)                                                   \
    "<Part><PartNumber>" n "</PartNumber><ETag>" etag "</ETag>" sum "</Part>"
#define SUM(name, text)  "<Checksum" name ">" text "</Checksum" name ">"

#define BOTH               PART("1", MD51, "") PART("2", MD52, "")
#define BOTH_OF(name, one, two)                                              \
    PART("1", MD51, SUM(name, one)) PART("2", MD52, SUM(name, two))

#define NONE       S3_CHECKSUM_NONE
#define CRC32      S3_CHECKSUM_CRC32
#define CRC32C     S3_CHECKSUM_CRC32C
#define SHA1       S3_CHECKSUM_SHA1
#define SHA256     S3_CHECKSUM_SHA256
#define CRC64NVME  S3_CHECKSUM_CRC64NVME


typedef struct {
    /* the upload's */
    s3_checksum_e              algorithm;
    unsigned                   composite;
    s3_checksum_e              have[S3_PART_SUMS];
    unsigned                   partial;

    /* the request */
    const char                *list;
    const char                *header;
    const char                *value;

    s3_error_e                 error;
    const char                *result;    /* of the object; NULL: none */
    const char                *message;   /* NULL: not looked at */
} test_row_t;


static ngx_pool_t         *pool;
static s3_failure_t        fail;
static s3_complete_t       complete;
static s3_complete_whole_t whole;
static s3_stored_part_t    parts[4], *named[8];


static int
test_setup(void **state)
{
    pool = s3_test_pool();
    ngx_memzero(&fail, sizeof(fail));

    return 0;
}


static int
test_teardown(void **state)
{
    s3_test_pool_free(pool);

    return 0;
}


static void
test_element(const char *name, const char *want)
{
    ngx_uint_t  i;

    for (i = 0; i < fail.nelements; i++) {
        if (strcmp((char *) fail.elements[i].name.data, name) == 0) {
            assert_str(fail.elements[i].value, want);
            return;
        }
    }

    fail_msg("no element %s", name);
}


static void
test_hex(const char *hex, u_char md5[16])
{
    ngx_uint_t  i;

    for (i = 0; i < 16; i++) {
        md5[i] = (u_char) ngx_hextoi((u_char *) hex + 2 * i, 2);
    }
}


/* the list, without its root */

static void
test_list(const char *list)
{
    char  text[4096];
    int   n;

    ngx_memzero(&fail, sizeof(fail));

    n = snprintf(text, sizeof(text), "<CompleteMultipartUpload>%s"
                 "</CompleteMultipartUpload>", list);
    assert_in_range(n, 1, sizeof(text) - 1);

    assert_int_equal(s3_complete_begin(&complete, pool, &fail), S3_OK);
    assert_int_equal(s3_complete_feed(&complete, (u_char *) text, n), S3_OK);
    assert_int_equal(s3_complete_end(&complete), S3_OK);
}


static s3_error_e
test_header(const char *name, const char *value)
{
    s3_header_t  h;

    ngx_memzero(&whole, sizeof(whole));

    if (name == NULL) {
        return S3_OK;
    }

    h.name = s3_test_str(name);
    h.value = s3_test_str(value);

    return s3_complete_headers(pool, &h, 1, &whole, &fail);
}


/* a part that is there, with the checksums of those algorithms */

static void
test_part(s3_stored_part_t *part, unsigned number, int second,
    const s3_checksum_e *have)
{
    unsigned     i;
    const char  *text;

    static const char  *sums[S3_CHECKSUM_LAST][2] = {
        [CRC32] = { CRC32_1, CRC32_2 },
        [CRC32C] = { CRC32C_1, CRC32C_2 },
        [SHA1] = { SHA1_1, SHA1_2 },
        [SHA256] = { SHA256_1, SHA256_2 },
        [CRC64NVME] = { CRC64_1, CRC64_2 },
    };

    ngx_memzero(part, sizeof(s3_stored_part_t));

    part->number = number;
    part->size = second ? SIZE2 : SIZE1;
    test_hex(second ? MD52 : MD51, part->md5);

    for (i = 0; i < S3_PART_SUMS && have[i] != NONE; i++) {
        text = sums[have[i]][second];
        part->sums[i].algorithm = have[i];
        assert_int_equal(s3_checksum_parse(have[i], text, strlen(text),
                                           part->sums[i].digest), 0);
        part->nsums++;
    }
}


static s3_error_e
test_verdict(s3_checksum_e algorithm, unsigned composite, unsigned partial,
    ngx_uint_t n, s3_complete_result_t *result)
{
    s3_error_e             rc;
    ngx_str_t              id;
    s3_upload_checksum_t   checksum;

    checksum.algorithm = algorithm;
    checksum.composite = composite;

    id = s3_test_str("2~id");
    ngx_memzero(&fail, sizeof(fail));
    memset(named, 0xff, sizeof(named));
    memset(result, 0xff, sizeof(s3_complete_result_t));

    rc = s3_complete_verdict(pool, &complete, &whole, &checksum, parts, n,
                             named, &id, partial, result);

    assert_int_equal(fail.error, rc);

    return rc;
}


static void
test_rows(const test_row_t *rows, size_t n)
{
    char                   text[S3_CHECKSUM_TEXT_MAX + 1];
    size_t                 i;
    s3_error_e             rc;
    s3_complete_result_t   result;

    for (i = 0; i < n; i++) {
        test_list(rows[i].list);
        assert_int_equal(test_header(rows[i].header, rows[i].value), S3_OK);

        test_part(&parts[0], 1, 0, rows[i].have);
        test_part(&parts[1], 2, 1, rows[i].have);

        rc = test_verdict(rows[i].algorithm, rows[i].composite,
                          rows[i].partial, 2, &result);

        if (rc != rows[i].error) {
            fail_msg("row %u: %s: %.*s", (unsigned) i,
                     rc ? (char *) s3_error(rc)->code.data : "OK",
                     (int) fail.message.len, fail.message.data);
        }

        if (rows[i].message) {
            assert_str(fail.message, rows[i].message);
        }

        if (rc != S3_OK) {
            continue;
        }

        assert_ptr_equal(named[0], &parts[0]);
        assert_ptr_equal(named[1], &parts[1]);

        if (rows[i].result == NULL) {
            assert_int_equal(result.algorithm, NONE);
            continue;
        }

        assert_int_equal(result.algorithm, rows[i].algorithm
                                           ? rows[i].algorithm : CRC64NVME);
        assert_int_equal(result.composite, rows[i].composite);

        assert_int_not_equal(s3_checksum_text(result.algorithm,
                                              result.digest, text), 0);
        assert_string_equal(text, rows[i].result);
    }
}


/* AWS's table: what becomes of the parts' checksums */

static void
test_checksums(void **state)
{
    static const test_row_t  rows[] = {
        { NONE, 0, { CRC64NVME }, 0, BOTH, NULL, NULL, S3_OK, CRC64_F, NULL },
        { CRC64NVME, 0, { CRC64NVME }, 0, BOTH, NULL, NULL,
          S3_OK, CRC64_F, NULL },
        { CRC32, 0, { CRC32 }, 0, BOTH, NULL, NULL, S3_OK, CRC32_F, NULL },
        { CRC32C, 0, { CRC32C }, 0, BOTH, NULL, NULL, S3_OK, CRC32C_F, NULL },
        { CRC32, 0, { CRC64NVME, CRC32 }, 0, BOTH, NULL, NULL,
          S3_OK, CRC32_F, NULL },

        { CRC32, 1, { CRC32 }, 0, BOTH_OF("CRC32", CRC32_1, CRC32_2),
          NULL, NULL, S3_OK, CRC32_C, NULL },
        { CRC32C, 1, { CRC32C }, 0, BOTH_OF("CRC32C", CRC32C_1, CRC32C_2),
          NULL, NULL, S3_OK, CRC32C_C, NULL },
        { SHA1, 1, { SHA1 }, 0, BOTH_OF("SHA1", SHA1_1, SHA1_2), NULL, NULL,
          S3_OK, SHA1_C, NULL },
        { SHA256, 1, { SHA256 }, 0, BOTH_OF("SHA256", SHA256_1, SHA256_2),
          NULL, NULL, S3_OK, SHA256_C, NULL },

        /* named or not, where they need not be */
        { CRC32, 0, { CRC32 }, 0, BOTH_OF("CRC32", CRC32_1, CRC32_2),
          NULL, NULL, S3_OK, CRC32_F, NULL },
        { CRC32, 0, { CRC32 }, 0,
          PART("1", MD51, SUM("CRC32", CRC32_1)) PART("2", MD52, ""),
          NULL, NULL, S3_OK, CRC32_F, NULL },
        { NONE, 0, { CRC64NVME, SHA256 }, 0,
          BOTH_OF("SHA256", SHA256_1, SHA256_2), NULL, NULL,
          S3_OK, CRC64_F, NULL },

        /* and where they must */
        { CRC32, 1, { CRC32 }, 0, BOTH, NULL, NULL, S3_ERR_INVALID_REQUEST,
          NULL, "The upload was created using a crc32 checksum. The complete "
          "request must include the checksum for each part. It was missing "
          "for part 1 in the request." },
        { SHA256, 1, { SHA256 }, 0,
          PART("1", MD51, SUM("SHA256", SHA256_1)) PART("2", MD52, ""),
          NULL, NULL, S3_ERR_INVALID_REQUEST, NULL,
          "The upload was created using a sha256 checksum. The complete "
          "request must include the checksum for each part. It was missing "
          "for part 2 in the request." },

        /* wrong ones, and those of another algorithm */
        { CRC32, 1, { CRC32 }, 0, BOTH_OF("CRC32", CRC32_1, CRC32_1),
          NULL, NULL, S3_ERR_INVALID_PART, NULL, NULL },
        { CRC32, 0, { CRC32 }, 0, BOTH_OF("CRC32", CRC32_2, CRC32_2),
          NULL, NULL, S3_ERR_INVALID_PART, NULL, NULL },
        { NONE, 0, { CRC64NVME, SHA256 }, 0,
          BOTH_OF("SHA256", SHA256_1, SHA256_1), NULL, NULL,
          S3_ERR_INVALID_PART, NULL, NULL },
        { NONE, 0, { CRC64NVME }, 0, BOTH_OF("CRC32", CRC32_1, CRC32_2),
          NULL, NULL, S3_ERR_INVALID_PART, NULL, NULL },
        { CRC32, 0, { CRC32, CRC32C }, 0,
          BOTH_OF("CRC32C", CRC32C_1, CRC32C_2), NULL, NULL,
          S3_ERR_BAD_DIGEST, NULL,
          "The crc32c you specified for part 1 did not match what we "
          "received." },
        { CRC64NVME, 0, { CRC64NVME }, 0,
          PART("1", MD51, "") PART("2", MD52, SUM("SHA1", SHA1_2)),
          NULL, NULL, S3_ERR_BAD_DIGEST, NULL,
          "The sha1 you specified for part 2 did not match what we "
          "received." },

        /* what must be there and is not: not told as if it were right */
        { NONE, 0, { NONE }, 0, BOTH, NULL, NULL, S3_ERR_INTERNAL_ERROR,
          NULL, NULL },
        { CRC32, 0, { CRC32C }, 0, BOTH, NULL, NULL, S3_ERR_INTERNAL_ERROR,
          NULL, NULL },
        { CRC32, 1, { NONE }, 0, BOTH_OF("CRC32", CRC32_1, CRC32_2),
          NULL, NULL, S3_ERR_INVALID_PART, NULL, NULL },
    };

    test_rows(rows, test_nelts(rows));
}


/* some parts' checksums are not known */

static void
test_partial(void **state)
{
    s3_complete_result_t  result;

    static const test_row_t  rows[] = {
        { NONE, 0, { NONE }, 1, BOTH, NULL, NULL, S3_OK, NULL, NULL },
        { NONE, 0, { CRC64NVME }, 1, BOTH, NULL, NULL, S3_OK, CRC64_F, NULL },
        { NONE, 0, { CRC32 }, 1, BOTH, NULL, NULL, S3_OK, NULL, NULL },
        { CRC32, 0, { NONE }, 1, BOTH, NULL, NULL, S3_OK, NULL, NULL },
        { CRC32, 1, { NONE }, 1, BOTH_OF("CRC32", CRC32_1, CRC32_2),
          NULL, NULL, S3_OK, NULL, NULL },
        { CRC32, 1, { CRC32 }, 1, BOTH_OF("CRC32", CRC32_1, CRC32_2),
          NULL, NULL, S3_OK, CRC32_C, NULL },

        /* what is known counts, and what is asked for is */
        { CRC32, 1, { CRC32 }, 1, BOTH_OF("CRC32", CRC32_1, CRC32_1),
          NULL, NULL, S3_ERR_INVALID_PART, NULL, NULL },
        { NONE, 0, { CRC32 }, 1, BOTH_OF("SHA1", SHA1_1, SHA1_2),
          NULL, NULL, S3_ERR_INVALID_PART, NULL, NULL },
        { CRC32, 1, { NONE }, 1, BOTH, NULL, NULL, S3_ERR_INVALID_REQUEST,
          NULL, NULL },
        { CRC32, 0, { NONE }, 1, BOTH_OF("SHA1", SHA1_1, SHA1_2),
          NULL, NULL, S3_ERR_BAD_DIGEST, NULL, NULL },

        /* nobody can say whether it is right */
        { CRC32, 0, { NONE }, 1, BOTH, "x-amz-checksum-crc32", CRC32_F,
          S3_ERR_INVALID_REQUEST, NULL, NULL },
        { NONE, 0, { NONE }, 1, BOTH, "x-amz-checksum-crc64nvme", CRC64_F,
          S3_ERR_INVALID_REQUEST, NULL, NULL },
    };

    static const s3_checksum_e  none[S3_PART_SUMS] = { NONE };
    static const s3_checksum_e  crc32[S3_PART_SUMS] = { CRC32 };

    test_rows(rows, test_nelts(rows));

    /* one of two: no checksum of the object, either way */

    test_list(BOTH);
    (void) test_header(NULL, NULL);

    test_part(&parts[0], 1, 0, crc32);
    test_part(&parts[1], 2, 1, none);
    assert_int_equal(test_verdict(CRC32, 0, 1, 2, &result), S3_OK);
    assert_int_equal(result.algorithm, NONE);
    assert_int_equal(test_verdict(CRC32, 0, 0, 2, &result),
                     S3_ERR_INTERNAL_ERROR);

    test_part(&parts[0], 1, 0, none);
    test_part(&parts[1], 2, 1, crc32);
    assert_int_equal(test_verdict(CRC32, 0, 1, 2, &result), S3_OK);
    assert_int_equal(result.algorithm, NONE);
}


/* the object's checksum as the client has it */

static void
test_whole(void **state)
{
#define C_LIST  BOTH_OF("CRC32", CRC32_1, CRC32_2)

    static const test_row_t  rows[] = {
        { CRC32, 1, { CRC32 }, 0, C_LIST, "x-amz-checksum-crc32", CRC32_C,
          S3_OK, CRC32_C, NULL },
        { CRC32, 1, { CRC32 }, 0, C_LIST, "X-Amz-Checksum-CRC32",
          CRC32_C "-2", S3_OK, CRC32_C, NULL },
        { CRC32, 1, { CRC32 }, 0, C_LIST, "x-amz-checksum-crc32",
          CRC32_C "-1", S3_ERR_BAD_DIGEST, NULL,
          "The crc32 you specified did not match the calculated checksum." },
        { CRC32, 1, { CRC32 }, 0, C_LIST, "x-amz-checksum-crc32", CRC32_F,
          S3_ERR_BAD_DIGEST, NULL, NULL },
        { CRC32, 1, { CRC32, CRC32C }, 0, C_LIST, "x-amz-checksum-crc32c",
          CRC32C_C, S3_ERR_BAD_DIGEST, NULL, NULL },

        { CRC32, 0, { CRC32 }, 0, BOTH, "x-amz-checksum-crc32", CRC32_F,
          S3_OK, CRC32_F, NULL },
        { CRC32, 0, { CRC32 }, 0, BOTH, "x-amz-checksum-crc32", CRC32_F "-2",
          S3_ERR_BAD_DIGEST, NULL, NULL },
        { CRC32, 0, { CRC32 }, 0, BOTH, "x-amz-checksum-crc32", CRC32_C,
          S3_ERR_BAD_DIGEST, NULL, NULL },

        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-checksum-crc64nvme",
          CRC64_F, S3_OK, CRC64_F, NULL },
        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-checksum-crc64nvme",
          CRC64_1, S3_ERR_BAD_DIGEST, NULL,
          "The crc64nvme you specified did not match the calculated "
          "checksum." },
        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-checksum-crc64nvme",
          CRC64_F "-2", S3_ERR_BAD_DIGEST, NULL, NULL },

        /* the upload asked for none, the parts came with one */
        { NONE, 0, { CRC64NVME, CRC32 }, 0, BOTH, "x-amz-checksum-crc32",
          CRC32_F, S3_OK, CRC64_F, NULL },
        { NONE, 0, { CRC64NVME, CRC32 }, 0, BOTH, "x-amz-checksum-crc32",
          CRC32_C "-2", S3_OK, CRC64_F, NULL },
        { NONE, 0, { CRC64NVME, CRC32 }, 0, BOTH, "x-amz-checksum-crc32",
          CRC32_C "-3", S3_ERR_BAD_DIGEST, NULL, NULL },
        { NONE, 0, { CRC64NVME, CRC32 }, 0, BOTH, "x-amz-checksum-crc32",
          CRC32_C, S3_ERR_BAD_DIGEST, NULL, NULL },
        { NONE, 0, { CRC64NVME, CRC32 }, 0, BOTH, "x-amz-checksum-crc32",
          CRC32_1, S3_ERR_BAD_DIGEST, NULL, NULL },
        { NONE, 0, { CRC64NVME, SHA256 }, 0, BOTH, "x-amz-checksum-sha256",
          SHA256_C "-2", S3_OK, CRC64_F, NULL },
        { NONE, 0, { CRC64NVME, SHA256 }, 0, BOTH, "x-amz-checksum-sha256",
          SHA256_C, S3_ERR_INVALID_REQUEST, NULL,
          "Checksum Type mismatch occurred, expected checksum Type: null, "
          "actual checksum Type: sha256" },
        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-checksum-crc32", CRC32_F,
          S3_ERR_INVALID_REQUEST, NULL,
          "Checksum Type mismatch occurred, expected checksum Type: null, "
          "actual checksum Type: crc32" },

        /* the type, and the size */
        { CRC32, 1, { CRC32 }, 0, C_LIST, "x-amz-checksum-type", "COMPOSITE",
          S3_OK, CRC32_C, NULL },
        { CRC32, 1, { CRC32 }, 0, C_LIST, "x-amz-checksum-type",
          "FULL_OBJECT", S3_ERR_INVALID_REQUEST, NULL,
          "The upload was created using the COMPOSITE checksum mode. The "
          "complete request must use the same checksum mode." },
        { CRC32, 0, { CRC32 }, 0, BOTH, "x-amz-checksum-type", "full_object",
          S3_OK, CRC32_F, NULL },
        { CRC32, 0, { CRC32 }, 0, BOTH, "x-amz-checksum-type", "composite",
          S3_ERR_INVALID_REQUEST, NULL,
          "The upload was created using the FULL_OBJECT checksum mode. The "
          "complete request must use the same checksum mode." },
        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-checksum-type",
          "FULL_OBJECT", S3_ERR_INVALID_REQUEST, NULL,
          "The upload was created using the null checksum mode. The "
          "complete request must use the same checksum mode." },

        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-mp-object-size", "5242883",
          S3_OK, CRC64_F, NULL },
        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-mp-object-size", "5242882",
          S3_ERR_INVALID_REQUEST, NULL,
          "The provided 'x-amz-mp-object-size' header value 5242882 does not "
          "match what was computed: 5242883" },
        { NONE, 0, { CRC64NVME }, 0, BOTH, "x-amz-mp-object-size", "0",
          S3_ERR_INVALID_REQUEST, NULL, NULL },
    };

    test_rows(rows, test_nelts(rows));
}


/* which parts are named, and are they there? */

static void
test_named(void **state)
{
    size_t                 i;
    s3_complete_result_t   result;

    static const s3_checksum_e  have[S3_PART_SUMS] = { CRC64NVME };

    static const struct {
        const char  *list;
        s3_error_e   error;
        const char  *number;           /* of the part that is invalid */
        const char  *etag;
    } rows[] = {
        { BOTH, S3_OK, NULL, NULL },
        { PART("1", MD51, "") PART("9", MD52, ""), S3_OK, NULL, NULL },
        { PART("9", MD52, ""), S3_OK, NULL, NULL },
        { PART("2", MD52, ""), S3_OK, NULL, NULL },
        { PART("3", MD52, ""), S3_ERR_INVALID_PART, "3", MD52 },
        { PART("10", MD52, ""), S3_ERR_INVALID_PART, "10", MD52 },
        { PART("10001", MD52, ""), S3_ERR_INVALID_PART, "10001", MD52 },
        { PART("99999999999", MD52, ""), S3_ERR_INVALID_PART, "2147483647",
          MD52 },
        { PART("1", MD51, "") PART("3", MD52, "") PART("9", MD51, ""),
          S3_ERR_INVALID_PART, "3", MD52 },
        { PART("1", MD52, ""), S3_ERR_INVALID_PART, "1", MD52 },
        { PART("1", MD51, "") PART("2", MD51, ""), S3_ERR_INVALID_PART, "2",
          MD51 },
        { PART("2", "&quot;nonsense&quot;", ""), S3_ERR_INVALID_PART, "2",
          "nonsense" },
        { PART("2", "", ""), S3_ERR_INVALID_PART, "2", "" },
        { PART("2", MD52 "-1", ""), S3_ERR_INVALID_PART, "2", MD52 "-1" },
        { PART("2", MD52, "") PART("1", MD51, ""),
          S3_ERR_INVALID_PART_ORDER, NULL, NULL },
        { PART("2", MD52, "") PART("2", MD52, ""),
          S3_ERR_INVALID_PART_ORDER, NULL, NULL },
        { PART("7", "x", "") PART("1", "x", ""),
          S3_ERR_INVALID_PART_ORDER, NULL, NULL },
    };

    test_part(&parts[0], 1, 0, have);
    test_part(&parts[1], 2, 1, have);
    test_part(&parts[2], 9, 1, have);

    (void) test_header(NULL, NULL);

    for (i = 0; i < test_nelts(rows); i++) {
        test_list(rows[i].list);

        if (test_verdict(NONE, 0, 0, 3, &result) != rows[i].error) {
            fail_msg("row %u: %d", (unsigned) i, fail.error);
        }

        if (rows[i].error == S3_OK) {
            continue;
        }

        test_element("UploadId", "2~id");

        if (rows[i].number) {
            test_element("PartNumber", rows[i].number);
            test_element("ETag", rows[i].etag);
        }

        assert_int_equal(result.algorithm, NONE);
    }

    /* what cannot be an entity tag is none, whatever it is taken for */

    ngx_memzero(parts[0].md5, 16);
    test_list(PART("1", "nonsense", ""));
    assert_int_equal(test_verdict(NONE, 0, 0, 3, &result),
                     S3_ERR_INVALID_PART);
    test_element("ETag", "nonsense");

    test_part(&parts[0], 1, 0, have);

    /* those that make the object, and no others */

    test_list(PART("1", MD51, "") PART("9", MD52, ""));
    assert_int_equal(test_verdict(NONE, 0, 0, 3, &result), S3_OK);
    assert_ptr_equal(named[0], &parts[0]);
    assert_ptr_equal(named[1], &parts[2]);

    test_list(PART("9", MD52, ""));
    assert_int_equal(test_verdict(NONE, 0, 0, 3, &result), S3_OK);
    assert_ptr_equal(named[0], &parts[2]);

    /* none is there */

    assert_int_equal(test_verdict(NONE, 0, 0, 0, &result),
                     S3_ERR_INVALID_PART);
}


static void
test_sizes(void **state)
{
    s3_complete_result_t  result;

    static const s3_checksum_e  have[S3_PART_SUMS] = { CRC64NVME };

    (void) test_header(NULL, NULL);

    test_part(&parts[0], 1, 0, have);
    test_part(&parts[1], 2, 1, have);

    test_list(BOTH);

    parts[0].size = S3_PART_SIZE_MIN;
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result), S3_OK);

    parts[0].size = S3_PART_SIZE_MIN - 1;
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result),
                     S3_ERR_ENTITY_TOO_SMALL);
    test_element("ProposedSize", "5242879");
    test_element("MinSizeAllowed", "5242880");
    test_element("PartNumber", "1");
    test_element("ETag", MD51);

    parts[0].size = 0;
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result),
                     S3_ERR_ENTITY_TOO_SMALL);
    test_element("ProposedSize", "0");

    /* the last may be of any size, and one that is not named does not count */

    parts[1].size = 0;
    test_list(PART("2", MD52, ""));
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result), S3_OK);

    test_list(PART("1", MD51, ""));
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result), S3_OK);

    /* more than 32 bits */

    parts[0].size = 5368709120;
    parts[1].size = 5368709120;
    test_list(BOTH);

    assert_int_equal(test_header("x-amz-mp-object-size", "10737418240"),
                     S3_OK);
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result), S3_OK);

    assert_int_equal(test_header("x-amz-mp-object-size", "2147483648"),
                     S3_OK);
    assert_int_equal(test_verdict(NONE, 0, 0, 2, &result),
                     S3_ERR_INVALID_REQUEST);
}


static void
test_headers(void **state)
{
    size_t       i;
    s3_error_e   rc;
    s3_header_t  h[3];

    static const struct {
        const char  *name;
        const char  *value;
        s3_error_e   error;
        const char  *message;
    } rows[] = {
        { "x-amz-checksum-type", "", S3_ERR_INVALID_REQUEST,
          "Value for x-amz-checksum-type header is invalid." },
        { "x-amz-checksum-type", "COMPOSITES", S3_ERR_INVALID_REQUEST, NULL },
        { "x-amz-checksum-type", "FULL-OBJECT", S3_ERR_INVALID_REQUEST,
          NULL },
        { "x-amz-mp-object-size", "", S3_ERR_INVALID_REQUEST,
          "Value for x-amz-mp-object-size header is invalid: ''" },
        { "x-amz-mp-object-size", "-1", S3_ERR_INVALID_REQUEST,
          "Value for x-amz-mp-object-size header is less than zero: '-1'" },
        { "x-amz-mp-object-size", "1x", S3_ERR_INVALID_REQUEST,
          "Value for x-amz-mp-object-size header is invalid: '1x'" },
        { "x-amz-mp-object-size", "9223372036854775808",
          S3_ERR_INVALID_REQUEST, NULL },
        { "x-amz-mp-object-size", "9223372036854775807", S3_OK, NULL },
        { "x-amz-checksum-crc32", "", S3_ERR_INVALID_REQUEST,
          "Value for x-amz-checksum-crc32 header is invalid." },
        { "x-amz-checksum-crc32", "NSRBwg=", S3_ERR_INVALID_REQUEST, NULL },
        { "x-amz-checksum-crc32", "NSRBwg==-", S3_ERR_INVALID_REQUEST, NULL },
        { "x-amz-checksum-crc32", "NSRBwg==-0", S3_ERR_INVALID_REQUEST,
          NULL },
        { "x-amz-checksum-crc32", "NSRBwg==-10001", S3_ERR_INVALID_REQUEST,
          NULL },
        { "x-amz-checksum-crc32", "NSRBwg==-1x", S3_ERR_INVALID_REQUEST,
          NULL },
        { "x-amz-checksum-crc32", "NSRBwg==+1", S3_ERR_INVALID_REQUEST,
          NULL },
        { "x-amz-checksum-crc32", "NSRBwg==1", S3_ERR_INVALID_REQUEST, NULL },
        { "x-amz-checksum-crc32", "NSRBwh==", S3_ERR_INVALID_REQUEST, NULL },
        { "x-amz-checksum-sha256", "NSRBwg==", S3_ERR_INVALID_REQUEST,
          "Value for x-amz-checksum-sha256 header is invalid." },
        { "x-amz-checksum-md5", "x", S3_OK, NULL },
        { "content-md5", "x", S3_OK, NULL },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        ngx_memzero(&fail, sizeof(fail));

        rc = test_header(rows[i].name, rows[i].value);

        if (rc != rows[i].error || fail.error != rc) {
            fail_msg("%s: %s", rows[i].name, rows[i].value);
        }

        if (rows[i].message) {
            assert_str(fail.message, rows[i].message);
        }
    }

    /* nothing, and all of it */

    memset(&whole, 0xff, sizeof(whole));
    assert_int_equal(s3_complete_headers(pool, NULL, 0, &whole, &fail),
                     S3_OK);
    assert_int_equal(whole.algorithm, NONE);
    assert_int_equal(whole.suffix, 0);
    assert_int_equal(whole.type.len, 0);
    assert_false(whole.has_size);

    h[0].name = s3_test_str("X-Amz-Checksum-CRC32");
    h[0].value = s3_test_str("NSRBwg==-10000");
    h[1].name = s3_test_str("X-Amz-Mp-Object-Size");
    h[1].value = s3_test_str("0");
    h[2].name = s3_test_str("X-Amz-Checksum-Type");
    h[2].value = s3_test_str("composite");

    assert_int_equal(s3_complete_headers(pool, h, 3, &whole, &fail), S3_OK);
    assert_int_equal(whole.algorithm, CRC32);
    assert_memory_equal(whole.digest, "\x35\x24\x41\xc2", 4);
    assert_int_equal(whole.suffix, 10000);
    assert_str(whole.type, "composite");
    assert_true(whole.has_size);
    assert_int_equal(whole.size, 0);

    /* two checksums, of one algorithm or of two */

    h[1].name = s3_test_str("x-amz-checksum-crc32c");
    h[1].value = s3_test_str("Nks/tw==");
    assert_int_equal(s3_complete_headers(pool, h, 2, &whole, &fail),
                     S3_ERR_INVALID_REQUEST);
    assert_str(fail.message, "Expecting a single x-amz-checksum- header. "
               "Multiple checksum Types are not allowed.");

    h[1] = h[0];
    assert_int_equal(s3_complete_headers(pool, h, 2, &whole, &fail),
                     S3_ERR_INVALID_REQUEST);
}


/* what any server takes, and the entity tag that it will answer */

static void
test_write(void **state)
{
    size_t        size, n;
    u_char        md5[16];
    const char   *p;
    ngx_chain_t  *out;

    static const char  want[] =
        XML "<CompleteMultipartUpload" NS ">"
        "<Part><PartNumber>1</PartNumber><ETag>&quot;" MD51 "&quot;</ETag>"
        "</Part>"
        "<Part><PartNumber>10000</PartNumber><ETag>&quot;" MD52 "&quot;"
        "</ETag></Part></CompleteMultipartUpload>";

    test_list(PART("1", "&quot;" MD51 "&quot;", SUM("CRC32", CRC32_1))
              PART("10000", "900150983CD24FB0D6963F7D28E17F72", ""));

    out = s3_complete_write(&complete, &size);
    assert_non_null(out);
    assert_int_equal(size, strlen(want));

    for (p = want; out; out = out->next) {
        n = out->buf->last - out->buf->pos;
        assert_in_range(n, 1, strlen(p));
        assert_memory_equal(out->buf->pos, p, n);
        p += n;
    }

    assert_int_equal(*p, '\0');

    assert_int_equal(s3_complete_etag(&complete, md5), NGX_OK);
    assert_memory_equal(md5, ETAG_BYTES, 16);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_checksums, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_partial, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_whole, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_named, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_sizes, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_headers, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_write, test_setup,
                                        test_teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
