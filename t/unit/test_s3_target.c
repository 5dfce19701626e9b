
/* Targets, arguments, percent-encoding, bucket names, UTF-8. */

#include "s3_test.h"
#include "s3_target.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))


static s3_error_e
test_parse(ngx_pool_t *pool, const char *raw, const char *mount,
    s3_target_t *t, s3_failure_t *fail)
{
    ngx_str_t  r, m;

    r = s3_test_str(raw);
    m = s3_test_str(mount);
    ngx_memzero(fail, sizeof(s3_failure_t));

    return s3_target_parse(pool, &r, &m, t, fail);
}


static void
test_paths(void **state)
{
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    s3_target_t    t;
    s3_failure_t   fail;

    static const struct {
        const char  *raw;
        const char  *mount;
        s3_level_e   level;
        const char  *bucket;
        const char  *key;
        const char  *stripped;
        const char  *bucket_path;
    } cases[] = {
        { "/", "/", S3_LEVEL_SERVICE, "", "", "/", "" },
        { "/?x-id=ListBuckets", "/", S3_LEVEL_SERVICE, "", "", "/", "" },
        { "/abc", "/", S3_LEVEL_BUCKET, "abc", "", "/abc", "/abc" },
        { "/abc/", "/", S3_LEVEL_BUCKET, "abc", "", "/abc/", "/abc" },
        { "/abc/k", "/", S3_LEVEL_OBJECT, "abc", "k", "/abc/k", "/abc" },
        { "/abc//k", "/", S3_LEVEL_OBJECT, "abc", "/k", "/abc//k", "/abc" },
        { "/abc//", "/", S3_LEVEL_OBJECT, "abc", "/", "/abc//", "/abc" },
        { "/abc/a//b/", "/", S3_LEVEL_OBJECT, "abc", "a//b/", "/abc/a//b/",
          "/abc" },
        { "/abc/./x", "/", S3_LEVEL_OBJECT, "abc", "./x", "/abc/./x",
          "/abc" },
        { "/abc/a/../b", "/", S3_LEVEL_OBJECT, "abc", "a/../b",
          "/abc/a/../b", "/abc" },
        { "/abc/a%2Fb%20c+d", "/", S3_LEVEL_OBJECT, "abc", "a/b c+d",
          "/abc/a%2Fb%20c+d", "/abc" },
        { "/abc/%25%3f%C3%BC", "/", S3_LEVEL_OBJECT, "abc", "%?\303\274",
          "/abc/%25%3f%C3%BC", "/abc" },
        { "/abc/%01%0d%0a", "/", S3_LEVEL_OBJECT, "abc", "\001\r\n",
          "/abc/%01%0d%0a", "/abc" },
        { "/storage/abc/k?a=b", "/storage/", S3_LEVEL_OBJECT, "abc", "k",
          "/abc/k", "/storage/abc" },
        { "/storage/abc/k", "/storage", S3_LEVEL_OBJECT, "abc", "k",
          "/abc/k", "/storage/abc" },
        { "/storage", "/storage/", S3_LEVEL_SERVICE, "", "", "/",
          "/storage" },
        { "/storage/", "/storage/", S3_LEVEL_SERVICE, "", "", "/",
          "/storage" },
        { "/st%6frage/%61bc/k", "/storage/", S3_LEVEL_OBJECT, "abc", "k",
          "/%61bc/k", "/storage/abc" },
        { "/storage%2fabc/k", "/storage/", S3_LEVEL_OBJECT, "abc", "k",
          "%2fabc/k", "/storage/abc" },
        { "/a/b/c/abc/k", "/a/b/c/", S3_LEVEL_OBJECT, "abc", "k", "/abc/k",
          "/a/b/c/abc" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        assert_int_equal(test_parse(pool, cases[i].raw, cases[i].mount, &t,
                                    &fail), S3_OK);
        assert_int_equal(t.level, cases[i].level);
        assert_str(t.bucket, cases[i].bucket);
        assert_str(t.key, cases[i].key);
        assert_str(t.raw_stripped, cases[i].stripped);
        assert_str(t.bucket_path, cases[i].bucket_path);
    }

    s3_test_pool_free(pool);
}


static void
test_refused(void **state)
{
    u_char         raw[2048];
    ngx_str_t      r, m;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    s3_target_t    t;
    s3_failure_t   fail;

    static const struct {
        const char  *raw;
        const char  *mount;
        s3_error_e   error;
    } cases[] = {
        { "", "/", S3_ERR_INVALID_URI },
        { "abc", "/", S3_ERR_INVALID_URI },
        { "*", "/", S3_ERR_INVALID_URI },
        { "/abc/%", "/", S3_ERR_INVALID_URI },
        { "/abc/%2", "/", S3_ERR_INVALID_URI },
        { "/abc/%2g", "/", S3_ERR_INVALID_URI },
        { "/abc/%u0041", "/", S3_ERR_INVALID_URI },
        { "/abc/%00", "/", S3_ERR_INVALID_URI },
        { "/abc/k#f", "/", S3_ERR_INVALID_URI },
        { "/abc/k?a#f", "/", S3_ERR_INVALID_URI },
        { "/abc/k?a=%", "/", S3_ERR_INVALID_URI },
        { "/abc/k?%zz", "/", S3_ERR_INVALID_URI },
        { "/abc/%ff", "/", S3_ERR_INVALID_URI },
        { "/abc/%c0%80", "/", S3_ERR_INVALID_URI },
        { "/abc/%ed%a0%80", "/", S3_ERR_INVALID_URI },
        { "/storagex/abc/k", "/storage", S3_ERR_INVALID_URI },
        { "/other/abc/k", "/storage/", S3_ERR_INVALID_URI },
        { "/", "/storage/", S3_ERR_INVALID_URI },
        { "//abc", "/", S3_ERR_INVALID_BUCKET_NAME },
        { "/ab/k", "/", S3_ERR_INVALID_BUCKET_NAME },
        { "/Abc", "/", S3_ERR_INVALID_BUCKET_NAME },
        { "/../abc", "/", S3_ERR_INVALID_BUCKET_NAME },
        { "/storage/../abc", "/storage/", S3_ERR_INVALID_BUCKET_NAME },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        if (test_parse(pool, cases[i].raw, cases[i].mount, &t, &fail)
            != cases[i].error)
        {
            fail_msg("%s", cases[i].raw);
        }

        assert_int_equal(fail.error, cases[i].error);
    }

    /* 1024 bytes of key and no more; what counts is decoded */

    m = s3_test_str("/");
    r.data = raw;
    r.len = ngx_sprintf(raw, "/abc/%%41") - raw;
    ngx_memset(raw + r.len, 'k', 1024);

    r.len += 1023;
    assert_int_equal(s3_target_parse(pool, &r, &m, &t, &fail), S3_OK);
    assert_int_equal(t.key.len, 1024);

    r.len++;
    assert_int_equal(s3_target_parse(pool, &r, &m, &t, &fail),
                     S3_ERR_KEY_TOO_LONG);
    assert_str(fail.elements[0].value, "1025");

    s3_test_pool_free(pool);
}


static void
test_args(void **state)
{
    u_char         raw[1024];
    ngx_str_t      r, m;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    s3_target_t    t;
    s3_failure_t   fail;

    pool = s3_test_pool();

    assert_int_equal(test_parse(pool, "/abc?acl&prefix=a%2Fb+c&&x=&y=%26=%3D"
                                "&prefix=2", "/", &t, &fail), S3_OK);
    assert_int_equal(t.nargs, 5);
    assert_str(t.args[0].name, "acl");
    assert_str(t.args[0].value, "");
    assert_str(t.args[1].value, "a/b c");
    assert_str(t.args[2].value, "");
    assert_str(t.args[3].value, "&==");
    assert_str(s3_target_arg(&t, "prefix")->value, "a/b c");
    assert_null(s3_target_arg(&t, "pref"));
    assert_null(s3_target_arg(&t, "PREFIX"));
    assert_str(t.raw_query, "acl&prefix=a%2Fb+c&&x=&y=%26=%3D&prefix=2");

    assert_int_equal(test_parse(pool, "/abc?", "/", &t, &fail), S3_OK);
    assert_int_equal(t.nargs, 0);

    /* bounded */

    m = s3_test_str("/");
    r.data = raw;
    r.len = ngx_sprintf(raw, "/abc?") - raw;

    for (i = 0; i < S3_ARGS_MAX - 1; i++) {
        raw[r.len++] = 'a';
        raw[r.len++] = '&';
    }

    raw[r.len++] = 'a';
    assert_int_equal(s3_target_parse(pool, &r, &m, &t, &fail), S3_OK);
    assert_int_equal(t.nargs, S3_ARGS_MAX);

    raw[r.len++] = '&';
    assert_int_equal(s3_target_parse(pool, &r, &m, &t, &fail),
                     S3_ERR_INVALID_URI);

    s3_test_pool_free(pool);
}


static void
test_hoisted(void **state)
{
    ngx_pool_t    *pool;
    ngx_array_t   *headers;
    s3_header_t   *h;
    s3_target_t    t;
    s3_failure_t   fail;

    pool = s3_test_pool();
    headers = ngx_array_create(pool, 4, sizeof(s3_header_t));

    h = ngx_array_push(headers);
    h->name = s3_test_str("X-Amz-Storage-Class");
    h->value = s3_test_str("STANDARD");

    assert_int_equal(test_parse(pool,
        "/abc/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x"
        "&X-Amz-Date=d&X-Amz-Expires=1&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=s&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"
        "&X-Amz-User-Agent=a&x-id=PutObject&X-Amz-Meta-Color=gr%C3%BCn"
        "&x-amz-acl=private&x-amz-storage-class=GLACIER"
        "&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-checksum-mode=ENABLED"
        "&x-amz-sdk-checksum-algorithm=CRC32", "/", &t, &fail), S3_OK);
    assert_int_equal(s3_target_hoisted(pool, &t, headers), NGX_OK);

    h = headers->elts;
    assert_int_equal(headers->nelts, 4);
    assert_str(h[1].name, "x-amz-meta-color");
    assert_str(h[1].value, "gr\303\274n");
    assert_str(h[2].name, "x-amz-acl");
    assert_str(h[3].name, "x-amz-checksum-mode");

    /* would be a header of its own in an answer */

    assert_int_equal(test_parse(pool, "/abc/k?x-amz-meta-a=b%0d%0ac:d", "/",
                                &t, &fail), S3_OK);
    assert_int_equal(s3_target_hoisted(pool, &t, headers), NGX_DECLINED);

    s3_test_pool_free(pool);
}


static void
test_encoding(void **state)
{
    u_char      buf[1024];
    size_t      len;
    ngx_str_t   s, all;
    u_char      bytes[256];
    ngx_uint_t  i;

    s = s3_test_str("aZ09-._~/ +%\303\274*'()!");
    len = s3_uri_encode(buf, &s, 1);
    assert_int_equal(len, s3_uri_encode(NULL, &s, 1));
    s.data = buf;
    s.len = len;
    assert_str(s, "aZ09-._~/%20%2B%25%C3%BC%2A%27%28%29%21");

    s = s3_test_str("a/b");
    len = s3_uri_encode(buf, &s, 0);
    s.data = buf;
    s.len = len;
    assert_str(s, "a%2Fb");

    /* every byte there and back */

    for (i = 0; i < 256; i++) {
        bytes[i] = (u_char) i;
    }

    all.data = bytes;
    all.len = 256;
    s.data = buf;
    s.len = s3_uri_encode(buf, &all, 0);
    assert_int_equal(s3_uri_decode(buf, &len, &s, 1), NGX_OK);
    assert_int_equal(len, 256);
    assert_memory_equal(buf, bytes, 256);
}


static void
test_bucket_names(void **state)
{
    ngx_str_t   s;
    ngx_uint_t  i;

    static const char  *good[] = {
        "abc", "a.b", "1-2", "my.bucket-1", "1.2.3.4.5", "1.2.3", "a--b",
        "0123456789012345678901234567890123456789012345678901234567890ab",
        "1.2.3.a", "xn-abc", "s3alias", "sthre-a"
    };

    static const char  *bad[] = {
        "", "a", "ab", "Abc", "a_c", "-ab", "ab-", ".ab", "ab.", "a..b",
        "192.168.5.4", "1.2.3.4", "999.999.999.999", "xn--abc", "sthree-abc",
        "amzn-s3-demo-abc", "abc-s3alias", "abc--ol-s3", "abc.mrap",
        "abc--x-s3", "abc--table-s3", "a b", "a/b", "a\nb", "b\303\274cher",
        "0123456789012345678901234567890123456789012345678901234567890abc"
    };

    for (i = 0; i < test_nelts(good); i++) {
        s = s3_test_str(good[i]);
        if (!s3_bucket_name_valid(&s)) {
            fail_msg("%s", good[i]);
        }
    }

    for (i = 0; i < test_nelts(bad); i++) {
        s = s3_test_str(bad[i]);
        if (s3_bucket_name_valid(&s)) {
            fail_msg("%s", bad[i]);
        }
    }
}


static void
test_utf8(void **state)
{
    u_char      buf[4], *p;
    uint32_t    ch;
    ngx_str_t   s;
    ngx_uint_t  i, n;

    static const char  *bad[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41",
        "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xe2\x82", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xfe"
    };

    for (i = 0; i < test_nelts(bad); i++) {
        s = s3_test_str(bad[i]);
        assert_false(s3_utf8_valid(&s));
    }

    /* every code point */

    for (ch = 0; ch <= 0x10ffff; ch++) {
        if (ch < 0x80) {
            buf[0] = ch;
            n = 1;
        } else if (ch < 0x800) {
            buf[0] = 0xc0 | ch >> 6;
            buf[1] = 0x80 | (ch & 0x3f);
            n = 2;
        } else if (ch < 0x10000) {
            buf[0] = 0xe0 | ch >> 12;
            buf[1] = 0x80 | (ch >> 6 & 0x3f);
            buf[2] = 0x80 | (ch & 0x3f);
            n = 3;
        } else {
            buf[0] = 0xf0 | ch >> 18;
            buf[1] = 0x80 | (ch >> 12 & 0x3f);
            buf[2] = 0x80 | (ch >> 6 & 0x3f);
            buf[3] = 0x80 | (ch & 0x3f);
            n = 4;
        }

        p = buf;

        if (ch >= 0xd800 && ch <= 0xdfff) {
            assert_int_equal(s3_utf8_next(&p, buf + n), S3_UTF8_INVALID);
            assert_ptr_equal(p, buf + 1);

        } else {
            assert_int_equal(s3_utf8_next(&p, buf + n), ch);
            assert_ptr_equal(p, buf + n);
        }
    }
}


/* The host says the bucket, below one of the domains. */

static void
test_hosts(void **state)
{
    ngx_str_t      raw, mount, host, bucket;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    s3_target_t    t;
    s3_failure_t   fail;

    static ngx_str_t  domains[] = {
        ngx_string("example.com"),
        ngx_string("s3.example.com"),
        ngx_string("s3.test")
    };

    static const struct {
        const char  *host;
        const char  *bucket;       /* NULL: path style */
    } hosts[] = {
        { "photos.s3.example.com", "photos" },
        { "photos.s3.example.com:8080", "photos" },
        { "photos.s3.example.com.", "photos" },
        { "photos.s3.example.com.:443", "photos" },
        { "Photos.S3.Example.COM", "photos" },
        { "a.b.c.s3.example.com", "a.b.c" },
        { "photos.s3.test", "photos" },
        { "photos.example.com", "photos" },
        { "as3.example.com", "as3" },
        { ".s3.example.com", "" },
        { "a_b.s3.test", "a_b" },
        { "s3.example.com", NULL },
        { "S3.example.com:80", NULL },
        { "s3.example.com.", NULL },
        { "example.com", NULL },
        { "as3.test", NULL },
        { "xs3.test:80", NULL },
        { "s3.test.org", NULL },
        { "test", NULL },
        { "127.0.0.1:9000", NULL },
        { "[::1]:9000", NULL },
        { ":", NULL },
        { ".", NULL },
        { "", NULL },
    };

    static const struct {
        const char  *raw;
        const char  *mount;
        const char  *bucket;
        s3_error_e   error;
        s3_level_e   level;
        const char  *key;
        const char  *stripped;
        const char  *bucket_path;
    } cases[] = {
        { "/", "/", "photos", S3_OK, S3_LEVEL_BUCKET, "", "/", "" },
        { "/?list-type=2", "/", "photos", S3_OK, S3_LEVEL_BUCKET, "", "/",
          "" },
        { "/k", "/", "photos", S3_OK, S3_LEVEL_OBJECT, "k", "/k", "" },
        { "/a/b%20c", "/", "a.b.c", S3_OK, S3_LEVEL_OBJECT, "a/b c",
          "/a/b%20c", "" },
        { "//k", "/", "photos", S3_OK, S3_LEVEL_OBJECT, "/k", "//k", "" },
        { "/photos/", "/", "photos", S3_OK, S3_LEVEL_OBJECT, "photos/",
          "/photos/", "" },
        { "/Bad_Name", "/", "photos", S3_OK, S3_LEVEL_OBJECT, "Bad_Name",
          "/Bad_Name", "" },
        { "/storage", "/storage/", "photos", S3_OK, S3_LEVEL_BUCKET, "", "/",
          "/storage" },
        { "/storage/", "/storage/", "photos", S3_OK, S3_LEVEL_BUCKET, "",
          "/", "/storage" },
        { "/storage/k", "/storage/", "photos", S3_OK, S3_LEVEL_OBJECT, "k",
          "/k", "/storage" },
        { "/other/k", "/storage/", "photos", S3_ERR_INVALID_URI, 0, "", "",
          "" },
        { "/k", "/", "a_b", S3_ERR_INVALID_BUCKET_NAME, 0, "", "", "" },
        { "/k", "/", "", S3_ERR_INVALID_BUCKET_NAME, 0, "", "", "" },
        { "/", "/", "xn--a", S3_ERR_INVALID_BUCKET_NAME, 0, "", "", "" },
        { "/%ff", "/", "photos", S3_ERR_INVALID_URI, 0, "", "", "" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(hosts); i++) {
        host = s3_test_str(hosts[i].host);

        if (s3_target_host(pool, &host, domains, test_nelts(domains),
                           &bucket)
            != (hosts[i].bucket ? NGX_OK : NGX_DECLINED))
        {
            fail_msg("%s", hosts[i].host);
        }

        if (hosts[i].bucket) {
            assert_str(bucket, hosts[i].bucket);
        }
    }

    for (i = 0; i < test_nelts(cases); i++) {
        raw = s3_test_str(cases[i].raw);
        mount = s3_test_str(cases[i].mount);
        bucket = s3_test_str(cases[i].bucket);
        ngx_memzero(&fail, sizeof(s3_failure_t));

        if (s3_target_parse_host(pool, &raw, &mount, &bucket, &t, &fail)
            != cases[i].error)
        {
            fail_msg("%s in %s", cases[i].raw, cases[i].bucket);
        }

        if (cases[i].error != S3_OK) {
            continue;
        }

        assert_true(t.virtual_host);
        assert_int_equal(t.level, cases[i].level);
        assert_str(t.bucket, cases[i].bucket);
        assert_str(t.key, cases[i].key);
        assert_str(t.raw_stripped, cases[i].stripped);
        assert_str(t.bucket_path, cases[i].bucket_path);
    }

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_args),
        cmocka_unit_test(test_hoisted),
        cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_bucket_names),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
