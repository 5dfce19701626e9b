
/* A client's request as an upstream gets it: target, query, headers. */

#include "s3_test.h"
#include "s3_upstream.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))


static ngx_pool_t  *pool;


static int
test_setup(void **state)
{
    pool = s3_test_pool();

    return 0;
}


static int
test_teardown(void **state)
{
    s3_test_pool_free(pool);

    return 0;
}


static void
test_target(void **state)
{
    size_t      i;
    ngx_str_t   host, bucket, key, query, uri, to;

    static const struct {
        s3_upstream_style_e   style;
        const char           *bucket;
        const char           *key;
        const char           *query;
        const char           *uri;
        const char           *to;
    } rows[] = {
        { S3_UPSTREAM_PATH, "", "", "", "/", "rgw:7480" },
        { S3_UPSTREAM_PATH, "", "", "max-buckets=1", "/?max-buckets=1",
          "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "", "", "/photos", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "", "acl", "/photos?acl", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "a/b", "", "/photos/a/b", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "a/b", "uploadId=2~x&partNumber=1",
          "/photos/a/b?uploadId=2~x&partNumber=1", "rgw:7480" },

        /* keys that a proxy would make others of */
        { S3_UPSTREAM_PATH, "photos", "/", "", "/photos//", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "a//b/", "", "/photos/a//b/",
          "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "../x/./..", "", "/photos/../x/./..",
          "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "a%2Fb", "", "/photos/a%252Fb",
          "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "a b+c", "", "/photos/a%20b%2Bc",
          "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "?a#b&c=d;e,f:g@h", "",
          "/photos/%3Fa%23b%26c%3Dd%3Be%2Cf%3Ag%40h", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "-._~!*'()$", "",
          "/photos/-._~%21%2A%27%28%29%24", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "\x01\r\n\x7f\"<>\\^`{|}", "",
          "/photos/%01%0D%0A%7F%22%3C%3E%5C%5E%60%7B%7C%7D", "rgw:7480" },
        { S3_UPSTREAM_PATH, "photos", "\xc3\xbc", "", "/photos/%C3%BC",
          "rgw:7480" },

        { S3_UPSTREAM_VIRTUAL, "", "", "", "/", "rgw:7480" },
        { S3_UPSTREAM_VIRTUAL, "photos", "", "", "/", "photos.rgw:7480" },
        { S3_UPSTREAM_VIRTUAL, "photos", "", "acl", "/?acl",
          "photos.rgw:7480" },
        { S3_UPSTREAM_VIRTUAL, "my.photos", "a//b c", "acl",
          "/a//b%20c?acl", "my.photos.rgw:7480" },
        { S3_UPSTREAM_VIRTUAL, "photos", "/a", "", "//a", "photos.rgw:7480" },
    };

    host = s3_test_str("rgw:7480");

    for (i = 0; i < test_nelts(rows); i++) {
        bucket = s3_test_str(rows[i].bucket);
        key = s3_test_str(rows[i].key);
        query = s3_test_str(rows[i].query);

        assert_int_equal(s3_upstream_target(pool, rows[i].style, &host,
                                            &bucket, &key, &query, &uri,
                                            &to), NGX_OK);

        assert_str(uri, rows[i].uri);
        assert_str(to, rows[i].to);
    }

    assert_str(host, "rgw:7480");
}


/* the longest key, of bytes that all are escaped */

static void
test_target_long(void **state)
{
    u_char      bytes[S3_KEY_MAX];
    ngx_str_t   host, bucket, key, query, uri, to;
    ngx_uint_t  i;

    memset(bytes, 0xc3, sizeof(bytes));

    host = s3_test_str("h");
    bucket = s3_test_str("b");
    query = s3_test_str("q");
    key.data = bytes;
    key.len = sizeof(bytes);

    for (i = 0; i < 2; i++) {
        assert_int_equal(s3_upstream_target(pool,
                                            i ? S3_UPSTREAM_VIRTUAL
                                              : S3_UPSTREAM_PATH,
                                            &host, &bucket, &key, &query,
                                            &uri, &to), NGX_OK);
        assert_int_equal(uri.len, (i ? 1 : 3) + 3 * S3_KEY_MAX + 2);
        assert_memory_equal(uri.data + uri.len - 5, "%C3?q", 5);
    }
}


static void
test_query(void **state)
{
    size_t         i;
    ngx_str_t      raw, query, mount = ngx_string("/");
    s3_target_t    target;
    s3_failure_t   fail;

    static const struct {
        const char  *raw;
        const char  *but;
        const char  *query;
    } rows[] = {
        { "/abc/k", NULL, "" },
        { "/abc/k?", NULL, "" },
        { "/abc?acl", NULL, "acl" },
        { "/abc?acl=", NULL, "acl" },
        { "/abc?list-type=2&prefix=a/b+c%2B&delimiter=%2f&start-after=%C3%BC",
          NULL,
          "list-type=2&prefix=a%2Fb%20c%2B&delimiter=%2F&start-after=%C3%BC" },
        { "/abc?prefix=&delimiter=&marker", NULL, "prefix&delimiter&marker" },

        /* order and repetitions are the client's */
        { "/abc?z=1&a=2&z=3&a=2", NULL, "z=1&a=2&z=3&a=2" },
        { "/abc?a%3Db=c%26d&%20=%3D", NULL, "a%3Db=c%26d&%20=%3D" },

        /* the signature's, headers, notes for logs */
        { "/abc/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=1"
          "&versionId=v&x-amz-meta-a=b&x-id=GetObject&X-Foo=1", NULL,
          "versionId=v" },
        { "/abc/k?x-id=PutObject", NULL, "" },
        { "/abc/k?x-=1&x=2&xx-a=3", NULL, "x=2&xx-a=3" },
        { "/abc/k?AWSAccessKeyId=A&Signature=s&Expires=1&acl", NULL, "acl" },
        { "/abc/k?acl&AWSAccessKeyId=A&content-type=a&content-md5=b", NULL,
          "acl" },
        { "/abc/k?Signature=s&Expires=1&content-type=a&content-md5=b", NULL,
          "Signature=s&Expires=1&content-type=a&content-md5=b" },
        { "/abc/k?AWSAccessKeyId=A&signature=s&expires=1&Content-Type=a", NULL,
          "signature=s&expires=1&Content-Type=a" },
        { "/abc?list-type=2&metadata=true&max-keys=1", NULL,
          "list-type=2&max-keys=1" },
        { "/abc?metadataTable&Metadata=1", NULL, "metadataTable&Metadata=1" },

        /* one that the caller writes itself */
        { "/abc?uploads&encoding-type=url&prefix=a", "encoding-type",
          "uploads&prefix=a" },
        { "/abc?encoding-type=url", "encoding-type", "" },
        { "/abc?encoding-type=url&a&encoding-type", "encoding-type", "a" },
        { "/abc?encoding-typ=1&encoding-types=2&Encoding-Type=3",
          "encoding-type",
          "encoding-typ=1&encoding-types=2&Encoding-Type=3" },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        raw = s3_test_str(rows[i].raw);
        ngx_memzero(&fail, sizeof(fail));

        assert_int_equal(s3_target_parse(pool, &raw, &mount, &target, &fail),
                         S3_OK);
        assert_int_equal(s3_upstream_query(pool, &target, rows[i].but,
                                           &query), NGX_OK);

        if (query.len != strlen(rows[i].query)
            || ngx_memcmp(query.data, rows[i].query, query.len) != 0)
        {
            fail_msg("%s: %.*s", rows[i].raw, (int) query.len, query.data);
        }
    }
}


static void
test_arg(void **state)
{
    ngx_str_t  query, value;

    ngx_str_null(&query);

    assert_int_equal(s3_upstream_arg(pool, &query, "uploads", NULL), NGX_OK);
    assert_str(query, "uploads");

    value = s3_test_str("");
    assert_int_equal(s3_upstream_arg(pool, &query, "prefix", &value), NGX_OK);
    assert_str(query, "uploads&prefix");

    value = s3_test_str("a/b &=+\xff");
    assert_int_equal(s3_upstream_arg(pool, &query, "marker", &value), NGX_OK);
    assert_str(query, "uploads&prefix&marker=a%2Fb%20%26%3D%2B%FF");

    ngx_str_null(&query);
    value = s3_test_str("2");
    assert_int_equal(s3_upstream_arg(pool, &query, "list-type", &value),
                     NGX_OK);
    assert_str(query, "list-type=2");
}


/* name: value lines of what goes upstream */

static void
test_passed(s3_header_t *headers, ngx_uint_t n, ngx_uint_t nreal,
    ngx_uint_t checksums, const char *want)
{
    char           text[4096], *p;
    ngx_uint_t     i;
    ngx_array_t   *out;
    s3_header_t   *h;

    out = ngx_array_create(pool, 1, sizeof(s3_header_t));
    assert_non_null(out);

    assert_int_equal(s3_upstream_headers(pool, headers, n, nreal, checksums,
                                         out), NGX_OK);

    h = out->elts;
    p = text;
    *p = '\0';

    for (i = 0; i < out->nelts; i++) {

        /* constants are compared with it */
        assert_int_equal(h[i].name.data[h[i].name.len], '\0');

        p += sprintf(p, "%.*s: %.*s\n", (int) h[i].name.len, h[i].name.data,
                     (int) h[i].value.len, h[i].value.data);
        assert_in_range(p - text, 0, sizeof(text) - 1024);
    }

    assert_string_equal(text, want);
}


static void
test_headers(void **state)
{
    size_t       i;
    char         want[128];
    s3_header_t  h;

    static const char  *passed[] = {
        "content-type", "content-md5", "content-disposition",
        "content-language", "cache-control", "expires", "range", "if-match",
        "if-none-match", "if-modified-since", "if-unmodified-since",
        "if-range", "origin", "access-control-request-method",
        "access-control-request-headers", "user-agent", "referer",
        "x-amz-meta-a", "x-amz-acl", "x-amz-grant-read",
        "x-amz-storage-class", "x-amz-tagging", "x-amz-copy-source",
        "x-amz-copy-source-range", "x-amz-copy-source-if-match",
        "x-amz-metadata-directive", "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-object-lock-mode", "x-amz-object-attributes",
        "x-amz-expected-bucket-owner", "x-amz-mp-object-size",
        "x-amz-website-redirect-location", "x-amz-some-new-thing",
        "x-amz-mfa", "x-amz-bypass-governance-retention"
    };

    static const char  *dropped[] = {
        "host", "authorization", "content-length", "transfer-encoding",
        "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
        "date", "accept", "accept-encoding", "cookie", "x-forwarded-for",
        "via", "amz-sdk-request", "amz-sdk-invocation-id", "x-amzn-trace-id",
        "x-amz", "x-amz-content-sha256", "x-amz-date",
        "x-amz-security-token", "x-amz-decoded-content-length",
        "x-amz-trailer", "x-amz-te", "x-amz-user-agent", "x-amz-cf-id",
        "x-amz-id-2", "x-amz-request-id", "content-typ", "content-types",
        "range2", "access-control-reques", ""
    };

    static const char  *sums[] = {
        "x-amz-checksum-crc32", "x-amz-checksum-crc64nvme",
        "x-amz-checksum-sha256", "x-amz-checksum-mode",
        "x-amz-checksum-algorithm", "x-amz-checksum-type",
        "x-amz-sdk-checksum-algorithm"
    };

    h.value = s3_test_str("1");

    for (i = 0; i < test_nelts(passed); i++) {
        h.name = s3_test_str(passed[i]);
        snprintf(want, sizeof(want), "%s: 1\n", passed[i]);
        test_passed(&h, 1, 1, 0, want);
        test_passed(&h, 1, 0, 1, want);
    }

    for (i = 0; i < test_nelts(dropped); i++) {
        h.name = s3_test_str(dropped[i]);
        test_passed(&h, 1, 1, 0, "");
        test_passed(&h, 1, 1, 1, "");
    }

    for (i = 0; i < test_nelts(sums); i++) {
        h.name = s3_test_str(sums[i]);
        snprintf(want, sizeof(want), "%s: 1\n", sums[i]);
        test_passed(&h, 1, 1, 0, "");
        test_passed(&h, 1, 1, 1, want);
    }

    test_passed(&h, 0, 0, 1, "");
}


static void
test_headers_joined(void **state)
{
    size_t       i;
    s3_header_t  h[9];

    static const struct {
        const char  *name;
        const char  *value;
    } rows[] = {
        { "X-Amz-Meta-B", "1" },
        { "Content-Type", "text/plain" },
        { "Host", "gw" },
        { "x-amz-meta-a", "x, y" },
        { "x-amz-meta-b", "" },
        { "X-AMZ-META-B", "3" },
        { "Range", "bytes=0-1" },
        { "x-amz-meta-bb", "4" },
        { "X-Amz-Meta-A", "z" },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        h[i].name = s3_test_str(rows[i].name);
        h[i].value = s3_test_str(rows[i].value);
    }

    test_passed(h, test_nelts(rows), test_nelts(rows), 0,
                "x-amz-meta-b: 1,,3\n"
                "content-type: text/plain\n"
                "x-amz-meta-a: x, y,z\n"
                "range: bytes=0-1\n"
                "x-amz-meta-bb: 4\n");

    /* what came is as it was */

    assert_str(h[0].name, "X-Amz-Meta-B");
    assert_str(h[0].value, "1");
}


static void
test_headers_encoding(void **state)
{
    size_t       i;
    s3_header_t  h[2];

    static const struct {
        const char  *value;
        const char  *want;
    } rows[] = {
        { "gzip", "content-encoding: gzip\n" },
        { "aws-chunked", "" },
        { "AWS-Chunked", "" },
        { " aws-chunked , ", "" },
        { "aws-chunked,gzip", "content-encoding: gzip\n" },
        { "gzip, aws-chunked", "content-encoding: gzip\n" },
        { "br, aws-chunked,gzip", "content-encoding: br,gzip\n" },
        { "aws-chunkedx", "content-encoding: aws-chunkedx\n" },
        { "", "" },
    };

    h[0].name = s3_test_str("Content-Encoding");

    for (i = 0; i < test_nelts(rows); i++) {
        h[0].value = s3_test_str(rows[i].value);
        test_passed(h, 1, 1, 0, rows[i].want);
    }

    h[0].value = s3_test_str("aws-chunked");
    h[1].name = s3_test_str("content-encoding");
    h[1].value = s3_test_str("gzip");
    test_passed(h, 2, 2, 0, "content-encoding: gzip\n");

    h[1].value = s3_test_str("aws-chunked");
    test_passed(h, 2, 2, 0, "");
}


/* as S3 answers it, whichever way it came */

static void
test_headers_metadata(void **state)
{
    size_t       i;
    s3_header_t  h;

    static const struct {
        ngx_uint_t   nreal;
        const char  *value;
        const char  *want;
    } rows[] = {
        { 1, "cafe", "x-amz-meta-a: cafe\n" },
        { 1, "a\tb", "x-amz-meta-a: a\tb\n" },
        { 1, "=?UTF-8?B?Y2Fmw6k=?=",
          "x-amz-meta-a: =?UTF-8?Q?caf=C3=A9?=\n" },
        { 1, "=?UTF-8?Q?caf=C3=A9?=",
          "x-amz-meta-a: =?UTF-8?Q?caf=C3=A9?=\n" },
        { 1, "caf\xe9", "x-amz-meta-a: =?UTF-8?Q?caf=C3=A9?=\n" },
        { 1, "\xc3\xa9", "x-amz-meta-a: =?UTF-8?B?w4PCqQ==?=\n" },
        { 0, "caf\xc3\xa9", "x-amz-meta-a: =?UTF-8?Q?caf=C3=A9?=\n" },
        { 0, "cafe", "x-amz-meta-a: cafe\n" },
        { 1, "=?UTF-8?B?DQo=?=", "x-amz-meta-a: =?UTF-8?B?DQo=?=\n" },
    };

    h.name = s3_test_str("X-Amz-Meta-A");

    for (i = 0; i < test_nelts(rows); i++) {
        h.value = s3_test_str(rows[i].value);
        test_passed(&h, 1, rows[i].nreal, 0, rows[i].want);
    }

    /* other headers are bytes */

    h.name = s3_test_str("Content-Disposition");
    h.value = s3_test_str("caf\xe9");
    test_passed(&h, 1, 1, 0, "content-disposition: caf\xe9\n");
}


static void
test_named(void **state)
{
    s3_header_t  h;

    h.name = s3_test_str("X-Amz-Meta-A");

    assert_true(s3_upstream_named(&h, "x-amz-meta-a"));
    assert_true(s3_upstream_named(&h, "x-amz-meta-*"));
    assert_true(s3_upstream_named(&h, "x-amz-meta-a*"));
    assert_true(s3_upstream_named(&h, "x-*"));
    assert_true(s3_upstream_named(&h, "*"));
    assert_false(s3_upstream_named(&h, "x-amz-meta-"));
    assert_false(s3_upstream_named(&h, "x-amz-meta-ab"));
    assert_false(s3_upstream_named(&h, "x-amz-meta-a-*"));
    assert_false(s3_upstream_named(&h, "x-amz-metb-*"));

    h.name.len = 0;
    assert_false(s3_upstream_named(&h, "x-amz-meta-a"));
    assert_false(s3_upstream_named(&h, "x*"));
}


static void
test_drop(void **state)
{
    size_t        i;
    ngx_str_t     value;
    ngx_array_t  *headers;
    s3_header_t  *h;

    static const char  *names[] = { "x-amz-meta-a", "range", "x-amz-meta-b",
                                    "x-amz-acl", "Range", "if-range" };

    headers = ngx_array_create(pool, 1, sizeof(s3_header_t));
    assert_non_null(headers);

    for (i = 0; i < test_nelts(names); i++) {
        value = s3_test_str(i & 1 ? "odd" : "even");
        assert_int_equal(s3_upstream_header(headers, names[i], &value),
                         NGX_OK);
    }

    assert_int_equal(headers->nelts, 6);

    s3_upstream_drop(headers, "content-type");
    assert_int_equal(headers->nelts, 6);

    s3_upstream_drop(headers, "range");
    assert_int_equal(headers->nelts, 4);

    h = headers->elts;
    assert_str(h[0].name, "x-amz-meta-a");
    assert_str(h[0].value, "even");
    assert_str(h[1].name, "x-amz-meta-b");
    assert_str(h[2].name, "x-amz-acl");
    assert_str(h[2].value, "odd");
    assert_str(h[3].name, "if-range");

    s3_upstream_drop(headers, "x-amz-meta-*");
    assert_int_equal(headers->nelts, 2);
    assert_str(h[0].name, "x-amz-acl");
    assert_str(h[1].name, "if-range");

    s3_upstream_drop(headers, "*");
    assert_int_equal(headers->nelts, 0);

    s3_upstream_drop(headers, "*");
    assert_int_equal(headers->nelts, 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_target, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_target_long, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_query, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_arg, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_headers, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_headers_joined, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_headers_encoding, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_headers_metadata, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_named, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_drop, test_setup, test_teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
