
/* Copies: source, range, conditions, document. */

#include "s3_test.h"
#include "s3_condition.h"
#include "s3_copy.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))


static void
test_source(void **state)
{
    size_t             i;
    ngx_str_t          value;
    ngx_pool_t        *pool;
    s3_error_e         error;
    s3_failure_t       fail;
    s3_copy_source_t   source;

    static const struct {
        const char  *value;
        s3_error_e   error;
        const char  *bucket;
        const char  *key;
    } cases[] = {
        { "abc/d", S3_OK, "abc", "d" },
        { "/abc/d/e", S3_OK, "abc", "d/e" },
        { "abc//d", S3_OK, "abc", "/d" },
        { "abc%2Fd%2fe", S3_OK, "abc", "d/e" },
        { "%2Fabc%2Fd", S3_OK, "abc", "d" },
        { "abc/a+b%2B%20", S3_OK, "abc", "a b+ " },
        { "abc/d?versionId=null", S3_OK, "abc", "d" },
        { "abc/d%3FversionId=x", S3_OK, "abc", "d?versionId=x" },
        { "", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "/", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "//d", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "?versionId=null", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/d?", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/d?versionId=", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/d?versionId=1", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/d?version=null", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/%", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "abc/%ff", S3_ERR_INVALID_ARGUMENT, NULL, NULL },
        { "a/d", S3_ERR_INVALID_BUCKET_NAME, NULL, NULL }
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        value = s3_test_str(cases[i].value);
        ngx_memzero(&fail, sizeof(s3_failure_t));

        error = s3_copy_source_parse(pool, &value, &source, &fail);

        if (error == S3_OK) {
            error = s3_copy_source_unversioned(&source, &fail);
        }

        if (error != cases[i].error || error != fail.error) {
            fail_msg("%s: %d", cases[i].value, error);
        }

        if (error == S3_OK) {
            assert_str(source.bucket, cases[i].bucket);
            assert_str(source.key, cases[i].key);
        }
    }

    s3_test_pool_free(pool);
}


static void
test_range(void **state)
{
    size_t         i;
    uint64_t       offset, length;
    ngx_str_t      value;
    ngx_pool_t    *pool;
    s3_failure_t   fail;

    static const char  *bad[] = {
        "", "bytes", "bytes=", "bytes=-", "bytes=0", "bytes=0-", "bytes=-1",
        "bytes=1-0", "bytes=0-1,2-3", "bytes=0-1 ", " bytes=0-1", "0-1",
        "bytes=0-10", "bytes=10-10", "bytes=a-b", "bytes=0-+1",
        "bytes=0-18446744073709551616", "bytes=18446744073709551616-1"
    };

    pool = s3_test_pool();

    value = s3_test_str("bytes=0-0");
    assert_int_equal(s3_copy_range_parse(pool, &value, 10, &offset, &length,
                                         &fail),
                     S3_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(length, 1);

    value = s3_test_str("bytes=3-9");
    assert_int_equal(s3_copy_range_parse(pool, &value, 10, &offset, &length,
                                         &fail),
                     S3_OK);
    assert_int_equal(offset, 3);
    assert_int_equal(length, 7);

    for (i = 0; i < test_nelts(bad); i++) {
        value = s3_test_str(bad[i]);
        ngx_memzero(&fail, sizeof(s3_failure_t));

        if (s3_copy_range_parse(pool, &value, 10, &offset, &length, &fail)
            != S3_ERR_INVALID_ARGUMENT)
        {
            fail_msg("%s", bad[i]);
        }

        assert_int_equal(fail.nelements, 2);
    }

    s3_test_pool_free(pool);
}


static s3_error_e
test_condition(const char *name, const char *value, s3_failure_t *fail)
{
    ngx_str_t     etag;
    s3_header_t   h;

    /* an object of 2026-01-02 00:00:00, looked at a day later */

    h.name = s3_test_str(name);
    h.value = s3_test_str(value);
    etag = s3_test_str("abc");

    ngx_memzero(fail, sizeof(s3_failure_t));

    return s3_condition_copy(&h, 1, &etag, 1767312000, 1767312000 + 86400,
                             fail);
}


static void
test_conditions(void **state)
{
    s3_failure_t  fail;

    assert_int_equal(test_condition("x-amz-copy-source-if-match", "\"abc\"",
                                    &fail), S3_OK);
    assert_int_equal(test_condition("x-amz-copy-source-if-match", "\"abd\"",
                                    &fail), S3_ERR_PRECONDITION_FAILED);
    assert_str(fail.elements[0].value, "x-amz-copy-source-If-Match");

    assert_int_equal(test_condition("x-amz-copy-source-if-none-match",
                                    "\"abc\"", &fail),
                     S3_ERR_PRECONDITION_FAILED);
    assert_int_equal(test_condition("x-amz-copy-source-if-modified-since",
                                    "Fri, 02 Jan 2026 00:00:00 GMT", &fail),
                     S3_ERR_PRECONDITION_FAILED);
    assert_int_equal(test_condition("x-amz-copy-source-if-modified-since",
                                    "Thu, 01 Jan 2026 23:59:59 GMT", &fail),
                     S3_OK);

    /* a date to come is none */

    assert_int_equal(test_condition("x-amz-copy-source-if-modified-since",
                                    "Sun, 04 Jan 2026 00:00:00 GMT", &fail),
                     S3_OK);
    assert_int_equal(test_condition("x-amz-copy-source-if-unmodified-since",
                                    "Thu, 01 Jan 2026 23:59:59 GMT", &fail),
                     S3_ERR_PRECONDITION_FAILED);

    /* those of the target are another's */

    assert_int_equal(test_condition("if-none-match", "*", &fail), S3_OK);
}


static void
test_document(void **state)
{
    size_t             size;
    ngx_pool_t        *pool;
    ngx_chain_t       *out;
    s3_copy_result_t   result;

    pool = s3_test_pool();
    ngx_memzero(&result, sizeof(s3_copy_result_t));

    result.etag = s3_test_str("9e10-2");
    result.last_modified = 1767312000123;

    out = s3_copy_result_write(pool, "CopyPartResult", &result, &size);
    assert_non_null(out);
    assert_int_equal(out->buf->last - out->buf->pos, size);
    *out->buf->last = '\0';
    assert_string_equal((char *) out->buf->pos,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<CopyPartResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<LastModified>2026-01-02T00:00:00.123Z</LastModified>"
        "<ETag>&quot;9e10-2&quot;</ETag></CopyPartResult>");

    s3_test_pool_free(pool);
}


/* versions are the source's server's to know */

static void
test_version(void **state)
{
    size_t             i;
    ngx_str_t          value;
    ngx_pool_t        *pool;
    s3_failure_t       fail;
    s3_copy_source_t   source;

    static const struct {
        const char  *value;
        const char  *version;
        s3_error_e   error;            /* where there are none */
    } cases[] = {
        { "abc/d", "", S3_OK },
        { "abc/d?versionId=null", "null", S3_OK },
        { "abc/d?versionId=Null", "Null", S3_ERR_INVALID_ARGUMENT },
        { "abc/d?versionId=", "", S3_ERR_INVALID_ARGUMENT },
        { "abc/d?versionId=nul", "nul", S3_ERR_INVALID_ARGUMENT },
        { "abc/d?versionId=nulll", "nulll", S3_ERR_INVALID_ARGUMENT },
        { "abc/d?versionId=3HL4kqtJvjVBH40Nrjfkd", "3HL4kqtJvjVBH40Nrjfkd",
          S3_ERR_INVALID_ARGUMENT },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        value = s3_test_str(cases[i].value);
        ngx_memzero(&fail, sizeof(s3_failure_t));

        assert_int_equal(s3_copy_source_parse(pool, &value, &source, &fail),
                         S3_OK);
        assert_str(source.version, cases[i].version);
        assert_str(source.bucket, "abc");
        assert_str(source.key, "d");

        if (s3_copy_source_unversioned(&source, &fail) != cases[i].error) {
            fail_msg("%s", cases[i].value);
        }

        assert_int_equal(fail.error, cases[i].error);

        if (cases[i].error != S3_OK) {
            assert_str(fail.elements[0].value, "versionId");
            assert_str(fail.elements[1].value, cases[i].version);
        }
    }

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_document)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
