
/* ListObjectsV2 and ListBuckets: parameters, tokens, documents. */

#include "s3_test.h"
#include "s3_bucket.h"
#include "s3_list.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))
#define XML            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS             " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""


static void
test_target(ngx_pool_t *pool, const char *query, s3_target_t *t)
{
    u_char     *p;
    ngx_str_t   raw, mount = ngx_string("/");

    p = ngx_pnalloc(pool, strlen(query) + 16);
    raw.data = p;
    raw.len = ngx_sprintf(p, "/abc?%s", query) - p;

    assert_int_equal(s3_target_parse(pool, &raw, &mount, t, NULL), S3_OK);
}


static ngx_str_t
test_join(ngx_pool_t *pool, ngx_chain_t *in, size_t size)
{
    u_char     *p;
    ngx_str_t   s;

    assert_non_null(in);

    s.data = p = ngx_pnalloc(pool, size + 1);

    for ( /* void */ ; in; in = in->next) {
        p = ngx_cpymem(p, in->buf->pos, in->buf->last - in->buf->pos);
    }

    s.len = p - s.data;
    assert_int_equal(s.len, size);

    return s;
}


static s3_error_e
test_parse(ngx_pool_t *pool, s3_target_t *t, s3_list_params_t *p,
    s3_failure_t *fail)
{
    s3_error_e  e;

    e = s3_list_parse(t, S3_LIST_V2, p, fail);

    return e == S3_OK ? s3_list_after(pool, p, fail) : e;
}


static void
test_parameters(void **state)
{
    s3_target_t        t;
    ngx_pool_t        *pool;
    s3_list_params_t   p;

    pool = s3_test_pool();

    test_target(pool, "list-type=2", &t);
    assert_int_equal(test_parse(pool, &t, &p, NULL), S3_OK);
    assert_int_equal(p.max_keys, 1000);
    assert_int_equal(p.after.len, 0);
    assert_false(p.encoding_url || p.fetch_owner || p.has_start_after
                 || p.has_token);

    test_target(pool, "list-type=2&prefix=a%2F&delimiter=%2F&max-keys=7"
                "&start-after=a%2Fb&encoding-type=url&fetch-owner=true", &t);
    assert_int_equal(test_parse(pool, &t, &p, NULL), S3_OK);
    assert_str(p.prefix, "a/");
    assert_str(p.delimiter, "/");
    assert_int_equal(p.max_keys, 7);
    assert_str(p.after, "a/b");
    assert_true(p.encoding_url && p.fetch_owner && p.has_start_after);

    test_target(pool, "max-keys=0", &t);
    assert_int_equal(test_parse(pool, &t, &p, NULL), S3_OK);
    assert_int_equal(p.max_keys, 0);

    test_target(pool, "max-keys=2147483647", &t);
    assert_int_equal(test_parse(pool, &t, &p, NULL), S3_OK);
    assert_int_equal(p.max_keys, 1000);

    test_target(pool, "max-keys=&delimiter=&fetch-owner=false", &t);
    assert_int_equal(test_parse(pool, &t, &p, NULL), S3_OK);
    assert_int_equal(p.max_keys, 1000);

    s3_test_pool_free(pool);
}


static void
test_bad_parameters(void **state)
{
    ngx_uint_t         i;
    s3_target_t        t;
    ngx_pool_t        *pool;
    s3_failure_t       fail;
    s3_list_params_t   p;

    static const struct {
        const char  *query;
        const char  *argument;
    } cases[] = {
        { "max-keys=-1", "max-keys" },
        { "max-keys=x", "max-keys" },
        { "max-keys=1x", "max-keys" },
        { "max-keys=2147483648", "max-keys" },
        { "max-keys=99999999999999999999", "max-keys" },
        { "max-keys=%2B1", "max-keys" },
        { "encoding-type=base64", "encoding-type" },
        { "encoding-type=URL", "encoding-type" },
        { "fetch-owner=1", "fetch-owner" },
        { "prefix=%ff", "prefix" },
        { "delimiter=%c0%80", "delimiter" },
        { "start-after=%ed%a0%80", "start-after" },
        { "continuation-token=", "continuation-token" },
        { "continuation-token=abc", "continuation-token" },
        { "continuation-token=%ff", "continuation-token" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        ngx_memzero(&fail, sizeof(s3_failure_t));
        test_target(pool, cases[i].query, &t);

        if (test_parse(pool, &t, &p, &fail) != S3_ERR_INVALID_ARGUMENT) {
            fail_msg("%s", cases[i].query);
        }

        assert_int_equal(fail.error, S3_ERR_INVALID_ARGUMENT);
        assert_str(fail.elements[0].value, cases[i].argument);
    }

    s3_test_pool_free(pool);
}


static void
test_token(void **state)
{
    size_t             i;
    u_char             key[S3_KEY_MAX + 1], ch;
    ngx_str_t          name, token, again;
    ngx_uint_t         is_prefix, n, prefix, bit;
    s3_target_t        t;
    ngx_pool_t        *pool;
    s3_list_params_t   p;
    u_char             query[2048];

    static size_t  sizes[] = { 1, 2, 3, 4, 100, S3_KEY_MAX };

    pool = s3_test_pool();
    s3_test_fill(key, sizeof(key), 42);

    for (n = 0; n < test_nelts(sizes); n++) {
        for (prefix = 0; prefix < 2; prefix++) {
            name.data = key;
            name.len = sizes[n];

            assert_int_equal(s3_list_token_encode(pool, &name, prefix,
                                                  &token), NGX_OK);

            for (i = 0; i < token.len; i++) {
                ch = token.data[i];
                assert_true((ch >= '0' && ch <= '9')
                            || (ch >= 'a' && ch <= 'z')
                            || (ch >= 'A' && ch <= 'Z')
                            || ch == '-' || ch == '_');
            }

            assert_int_equal(s3_list_token_decode(pool, &token, &again,
                                                  &is_prefix), NGX_OK);
            assert_int_equal(is_prefix, prefix);
            assert_int_equal(again.len, name.len);
            assert_memory_equal(again.data, key, name.len);

            /* one bit of one character, one character less */

            for (i = 0; i < token.len; i++) {
                for (bit = 0; bit < 8; bit++) {
                    token.data[i] ^= 1 << bit;
                    assert_int_equal(s3_list_token_decode(pool, &token,
                                                          &again, &is_prefix),
                                     NGX_DECLINED);
                    token.data[i] ^= 1 << bit;
                }
            }

            token.len--;
            assert_int_equal(s3_list_token_decode(pool, &token, &again,
                                                  &is_prefix), NGX_DECLINED);
        }
    }

    name.len = 0;
    assert_int_equal(s3_list_token_encode(pool, &name, 0, &token),
                     NGX_ERROR);
    name.len = S3_KEY_MAX + 1;
    assert_int_equal(s3_list_token_encode(pool, &name, 0, &token),
                     NGX_ERROR);

    /* padding that nobody was given */

    name = s3_test_str("a/");
    assert_int_equal(s3_list_token_encode(pool, &name, 0, &token), NGX_OK);
    *ngx_snprintf(query, sizeof(query) - 1, "%V==", &token) = '\0';
    token = s3_test_str((char *) query);
    assert_int_equal(s3_list_token_decode(pool, &token, &again, &is_prefix),
                     NGX_DECLINED);

    /* the token wins over start-after */

    name = s3_test_str("a/");
    assert_int_equal(s3_list_token_encode(pool, &name, 1, &token), NGX_OK);
    *ngx_snprintf(query, sizeof(query) - 1, "start-after=zzz"
                  "&continuation-token=%V", &token) = '\0';
    test_target(pool, (char *) query, &t);
    assert_int_equal(test_parse(pool, &t, &p, NULL), S3_OK);
    assert_str(p.after, "a/");
    assert_true(p.has_token && p.has_start_after);
    assert_str(p.start_after, "zzz");

    s3_test_pool_free(pool);
}


static void
test_document(void **state)
{
    size_t             size;
    ngx_str_t          bucket, out, prefixes[1], key, token;
    s3_owner_t         owner;
    ngx_pool_t        *pool;
    ngx_chain_t       *cl;
    s3_list_result_t   page;
    s3_list_object_t   e[2];
    s3_list_params_t   p;

    pool = s3_test_pool();

    bucket = s3_test_str("abc");
    ngx_memzero(&p, sizeof(p));
    ngx_memzero(&page, sizeof(page));
    ngx_memzero(e, sizeof(e));

    p.max_keys = 1000;
    cl = s3_list_write(pool, &p, &bucket, &page, NULL, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<ListBucketResult" NS "><Name>abc</Name>"
               "<Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000"
               "</MaxKeys><IsTruncated>false</IsTruncated>"
               "</ListBucketResult>");

    key = s3_test_str("AKEY");
    assert_int_equal(s3_owner(&owner, &key), NGX_OK);

    p.prefix = s3_test_str("a&");
    p.delimiter = s3_test_str("/");
    p.max_keys = 3;
    p.fetch_owner = 1;
    p.has_start_after = 1;
    p.start_after = s3_test_str("a& ");

    e[0].key = s3_test_str("a& b+\001");
    e[0].last_modified = 1769903999007LL;
    e[0].etag = s3_test_str("d41d8cd98f00b204e9800998ecf8427e");
    e[0].size = 5368709120ULL;
    e[0].checksum_algorithm = s3_test_str("CRC64NVME");
    e[0].checksum_type = s3_test_str("FULL_OBJECT");
    e[1] = e[0];
    ngx_str_null(&e[1].checksum_algorithm);
    ngx_str_null(&e[1].checksum_type);

    prefixes[0] = s3_test_str("a&x/");
    page.entries = e;
    page.nentries = 2;
    page.prefixes = prefixes;
    page.nprefixes = 1;
    page.truncated = 1;
    page.last = prefixes[0];
    page.last_is_prefix = 1;

    assert_int_equal(s3_list_token_encode(pool, &page.last, 1, &token),
                     NGX_OK);
    assert_str(token, "AQFhJngvtJM_JQ");

    cl = s3_list_write(pool, &p, &bucket, &page, &owner, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<ListBucketResult" NS "><Name>abc</Name>"
               "<Prefix>a&amp;</Prefix><StartAfter>a&amp; </StartAfter>"
               "<NextContinuationToken>AQFhJngvtJM_JQ</NextContinuationToken>"
               "<KeyCount>3</KeyCount><MaxKeys>3</MaxKeys>"
               "<Delimiter>/</Delimiter><IsTruncated>true</IsTruncated>"

               "<Contents><Key>a&amp; b+&#x1;</Key>"
               "<LastModified>2026-01-31T23:59:59.007Z</LastModified>"
               "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
               "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"
               "<ChecksumType>FULL_OBJECT</ChecksumType>"
               "<Size>5368709120</Size><Owner><ID>"
               "c8f0ebe84bcf312f7347939714d938937bc5dc6da58e8803afebd3eafb112"
               "b3c</ID><DisplayName>AKEY</DisplayName></Owner>"
               "<StorageClass>STANDARD</StorageClass></Contents>"

               "<Contents><Key>a&amp; b+&#x1;</Key>"
               "<LastModified>2026-01-31T23:59:59.007Z</LastModified>"
               "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
               "<Size>5368709120</Size><Owner><ID>"
               "c8f0ebe84bcf312f7347939714d938937bc5dc6da58e8803afebd3eafb112"
               "b3c</ID><DisplayName>AKEY</DisplayName></Owner>"
               "<StorageClass>STANDARD</StorageClass></Contents>"

               "<CommonPrefixes><Prefix>a&amp;x/</Prefix></CommonPrefixes>"
               "</ListBucketResult>");

    p.encoding_url = 1;
    p.fetch_owner = 0;
    p.has_token = 1;
    p.continuation_token = s3_test_str("t");
    page.truncated = 0;
    page.nentries = 1;

    cl = s3_list_write(pool, &p, &bucket, &page, NULL, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<ListBucketResult" NS "><Name>abc</Name>"
               "<Prefix>a%26</Prefix><StartAfter>a%26%20</StartAfter>"
               "<ContinuationToken>t</ContinuationToken>"
               "<KeyCount>2</KeyCount><MaxKeys>3</MaxKeys>"
               "<Delimiter>/</Delimiter><EncodingType>url</EncodingType>"
               "<IsTruncated>false</IsTruncated>"
               "<Contents><Key>a%26%20b%2B%01</Key>"
               "<LastModified>2026-01-31T23:59:59.007Z</LastModified>"
               "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>"
               "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"
               "<ChecksumType>FULL_OBJECT</ChecksumType>"
               "<Size>5368709120</Size>"
               "<StorageClass>STANDARD</StorageClass></Contents>"
               "<CommonPrefixes><Prefix>a%26x/</Prefix></CommonPrefixes>"
               "</ListBucketResult>");

    s3_test_pool_free(pool);
}


static void
test_buckets(void **state)
{
    size_t               size;
    ngx_str_t            key, region, out, token, after;
    s3_owner_t           owner;
    ngx_uint_t           i, is_prefix;
    s3_target_t          t;
    ngx_pool_t          *pool;
    ngx_chain_t         *cl;
    s3_list_bucket_t     b[2];
    s3_list_buckets_t    p;
    u_char               query[256];

    static const char  *bad[] = {
        "max-buckets=0", "max-buckets=10001", "max-buckets=x",
        "continuation-token=abc"
    };

    pool = s3_test_pool();
    key = s3_test_str("AKEY");
    region = s3_test_str("eu-west-1");
    assert_int_equal(s3_owner(&owner, &key), NGX_OK);

    b[0].name = s3_test_str("abc");
    b[0].created = 1000;
    b[1].name = s3_test_str("b.c");
    b[1].created = 1769903999007LL;

    test_target(pool, "", &t);
    assert_int_equal(s3_list_buckets_parse(pool, &t, &p, NULL), S3_OK);
    assert_int_equal(p.max_buckets, 10000);

    cl = s3_list_buckets_write(pool, &p, &owner, b, 2, 0, &region, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<ListAllMyBucketsResult" NS "><Owner><ID>"
               "c8f0ebe84bcf312f7347939714d938937bc5dc6da58e8803afebd3eafb112"
               "b3c</ID><DisplayName>AKEY</DisplayName></Owner><Buckets>"
               "<Bucket><Name>abc</Name><CreationDate>1970-01-01T00:00:01.000Z"
               "</CreationDate></Bucket><Bucket><Name>b.c</Name><CreationDate>"
               "2026-01-31T23:59:59.007Z</CreationDate></Bucket></Buckets>"
               "</ListAllMyBucketsResult>");

    assert_int_equal(s3_list_token_encode(pool, &b[0].name, 0, &token),
                     NGX_OK);
    *ngx_snprintf(query, sizeof(query) - 1, "max-buckets=1&prefix=a"
                  "&continuation-token=%V", &token) = '\0';
    test_target(pool, (char *) query, &t);
    assert_int_equal(s3_list_buckets_parse(pool, &t, &p, NULL), S3_OK);
    assert_int_equal(p.max_buckets, 1);
    assert_str(p.after, "abc");
    assert_str(p.prefix, "a");

    cl = s3_list_buckets_write(pool, &p, &owner, b, 1, 1, &region, &size);
    out = test_join(pool, cl, size);
    assert_non_null(ngx_strlcasestrn(out.data, out.data + out.len, (u_char *)
        "<BucketRegion>eu-west-1</BucketRegion></Bucket></Buckets>"
        "<Prefix>a</Prefix><ContinuationToken>",
        sizeof("<BucketRegion>eu-west-1</BucketRegion></Bucket></Buckets>"
               "<Prefix>a</Prefix><ContinuationToken>") - 2));
    assert_int_equal(s3_list_token_decode(pool, &token, &after, &is_prefix),
                     NGX_OK);
    assert_str(after, "abc");

    for (i = 0; i < test_nelts(bad); i++) {
        test_target(pool, bad[i], &t);
        assert_int_equal(s3_list_buckets_parse(pool, &t, &p, NULL),
                         S3_ERR_INVALID_ARGUMENT);
    }

    s3_test_pool_free(pool);
}


/* markers as they come: another server's are its own to look at */

static void
test_after(void **state)
{
    size_t             i;
    s3_error_e         rc;
    s3_target_t        t;
    ngx_pool_t        *pool;
    s3_failure_t       fail;
    s3_list_params_t   p;

    static const struct {
        const char  *query;
        s3_list_e    type;
        s3_error_e   parsed;
        s3_error_e   after;
        const char  *value;            /* of after; or the argument's name */
    } cases[] = {
        { "", S3_LIST_V2, S3_OK, S3_OK, "" },
        { "start-after=a%2Fb", S3_LIST_V2, S3_OK, S3_OK, "a/b" },
        { "marker=a%2Fb", S3_LIST_V2, S3_OK, S3_OK, "" },
        { "continuation-token=AQFhJngvtJM_JQ", S3_LIST_V2, S3_OK, S3_OK,
          "a&x/" },
        { "continuation-token=a%20key&start-after=b", S3_LIST_V2, S3_OK,
          S3_ERR_INVALID_ARGUMENT, "continuation-token" },
        { "continuation-token=", S3_LIST_V2, S3_ERR_INVALID_ARGUMENT, S3_OK,
          "continuation-token" },

        { "marker=a%2Fb", S3_LIST_V1, S3_OK, S3_OK, "a/b" },
        { "marker=", S3_LIST_V1, S3_OK, S3_OK, "" },
        { "continuation-token=x&start-after=y", S3_LIST_V1, S3_OK, S3_OK,
          "" },

        { "key-marker=a", S3_LIST_VERSIONS, S3_OK, S3_OK, "a" },
        { "key-marker=a&version-id-marker=null", S3_LIST_VERSIONS, S3_OK,
          S3_OK, "a" },
        { "key-marker=a&version-id-marker=v1", S3_LIST_VERSIONS, S3_OK,
          S3_ERR_INVALID_ARGUMENT, "version-id-marker" },
        { "key-marker=a&version-id-marker=nul", S3_LIST_VERSIONS, S3_OK,
          S3_ERR_INVALID_ARGUMENT, "version-id-marker" },
        { "key-marker=a&version-id-marker=nulll", S3_LIST_VERSIONS, S3_OK,
          S3_ERR_INVALID_ARGUMENT, "version-id-marker" },
        { "key-marker=a&version-id-marker=", S3_LIST_VERSIONS,
          S3_ERR_INVALID_ARGUMENT, S3_OK, "version-id-marker" },
        { "version-id-marker=null", S3_LIST_VERSIONS,
          S3_ERR_INVALID_ARGUMENT, S3_OK, "version-id-marker" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        ngx_memzero(&fail, sizeof(s3_failure_t));
        test_target(pool, cases[i].query, &t);

        rc = s3_list_parse(&t, cases[i].type, &p, &fail);

        if (rc != cases[i].parsed || fail.error != rc) {
            fail_msg("%s: %d", cases[i].query, rc);
        }

        if (rc == S3_OK) {
            rc = s3_list_after(pool, &p, &fail);

            if (rc != cases[i].after || fail.error != rc) {
                fail_msg("%s: %d", cases[i].query, rc);
            }
        }

        if (rc == S3_OK) {
            assert_str(p.after, cases[i].value);

        } else {
            assert_str(fail.elements[0].value, cases[i].value);
        }
    }

    /* what is to be said again stays as it was given */

    test_target(pool, "continuation-token=a%20key&start-after=b", &t);
    assert_int_equal(s3_list_parse(&t, S3_LIST_V2, &p, &fail), S3_OK);
    assert_true(p.has_token);
    assert_str(p.continuation_token, "a key");
    assert_str(p.start_after, "b");

    test_target(pool, "key-marker=a&version-id-marker=v1", &t);
    assert_int_equal(s3_list_parse(&t, S3_LIST_VERSIONS, &p, &fail), S3_OK);
    assert_str(p.version_id_marker, "v1");

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_bad_parameters),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
