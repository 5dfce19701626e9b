
/* XML in and out: escaping, error documents, lists, bounded reading. */

#include "s3_test.h"
#include "s3_bucket.h"
#include "s3_list.h"
#include "s3_xml.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))
#define XML            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS             " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""


/* A chain as one string; its length must be what was said. */

static ngx_str_t
test_join(ngx_pool_t *pool, ngx_chain_t *in, size_t size)
{
    u_char     *p;
    ngx_str_t   s;

    assert_non_null(in);

    s.data = ngx_pnalloc(pool, size + 1);
    assert_non_null(s.data);

    for (p = s.data; in; in = in->next) {
        assert_true((size_t) (in->buf->last - in->buf->pos)
                    <= size - (p - s.data));
        p = ngx_cpymem(p, in->buf->pos, in->buf->last - in->buf->pos);
    }

    s.len = p - s.data;
    assert_int_equal(s.len, size);

    return s;
}


static ngx_chain_t *
test_chain(ngx_pool_t *pool, const char *text, size_t len, size_t piece)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_chain_t  *first, **last, *cl;

    first = NULL;
    last = &first;

    do {
        n = ngx_min(len, piece);
        b = ngx_calloc_buf(pool);
        b->pos = (u_char *) text;
        b->last = b->pos + n;
        b->memory = 1;
        cl = ngx_alloc_chain_link(pool);
        cl->buf = b;
        cl->next = NULL;
        *last = cl;
        last = &cl->next;
        text += n;
        len -= n;
    } while (len);

    return first;
}


static void
test_escape(void **state)
{
    s3_xml_t     x;
    ngx_str_t    s;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    static const struct {
        const char  *in;
        const char  *out;
    } cases[] = {
        { "", "" },
        { "plain /-_.~", "plain /-_.~" },
        { "<a href=\"x\">&'", "&lt;a href=&quot;x&quot;&gt;&amp;&apos;" },
        { "]]>", "]]&gt;" },
        { "a\001b\r\n\t\177", "a&#x1;b&#xd;&#xa;&#x9;&#x7f;" },
        { "\303\274\360\237\230\200", "\303\274\360\237\230\200" },
        { "\357\277\277x", "&#xffff;x" },
        { "\357\277\276", "&#xfffe;" },
        { "a\377b\303", "a\357\277\275b\357\277\275" },
        { "\355\240\200",
          "\357\277\275\357\277\275\357\277\275" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        s = s3_test_str(cases[i].in);
        s3_xml_begin(&x, pool);
        s3_xml_text(&x, "a", &s);
        s = test_join(pool, s3_xml_end(&x), x.size);
        s.data += sizeof(XML) - 1 + 3;
        s.len -= sizeof(XML) - 1 + 3 + 4;
        assert_str(s, cases[i].out);
    }

    s3_xml_begin(&x, pool);
    s3_xml_number(&x, "n", 18446744073709551615ULL);
    s3_xml_bool(&x, "b", 1);
    s3_xml_bool(&x, "c", 0);
    s3_xml_time(&x, "t", 1769903999007LL);
    s = s3_test_str("abc");
    s3_xml_etag(&x, "e", &s);
    s = s3_test_str("a b/%+\r\303\274~");
    s3_xml_url(&x, "u", &s);
    s = test_join(pool, s3_xml_end(&x), x.size);
    assert_str(s, XML "<n>18446744073709551615</n><b>true</b><c>false</c>"
               "<t>2026-01-31T23:59:59.007Z</t><e>&quot;abc&quot;</e>"
               "<u>a%20b/%25%2B%0D%C3%BC~</u>");

    s3_test_pool_free(pool);
}


/* Longer than one buffer, and than the pieces that are encoded at a time. */

static void
test_long(void **state)
{
    u_char      *big;
    s3_xml_t     x;
    ngx_str_t    s, out;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    pool = s3_test_pool();

    big = ngx_pnalloc(pool, 100000);
    for (i = 0; i < 100000; i++) {
        big[i] = "a<"[i % 2];
    }

    s.data = big;
    s.len = 100000;

    s3_xml_begin(&x, pool);
    s3_xml_text(&x, "a", &s);
    out = test_join(pool, s3_xml_end(&x), x.size);
    assert_int_equal(out.len, sizeof(XML) - 1 + 7 + 50000 * 5);
    assert_memory_equal(out.data + sizeof(XML) - 1, "<a>a&lt;a&lt;", 13);
    assert_memory_equal(out.data + out.len - 9, "a&lt;</a>", 9);

    s3_xml_begin(&x, pool);
    s3_xml_url(&x, "a", &s);
    out = test_join(pool, s3_xml_end(&x), x.size);
    assert_int_equal(out.len, sizeof(XML) - 1 + 7 + 50000 * 4);
    assert_memory_equal(out.data + out.len - 12, "a%3Ca%3C</a>", 12);

    s3_test_pool_free(pool);
}


static void
test_error_document(void **state)
{
    size_t         size;
    ngx_str_t      out, resource, bucket, key, id, host;
    ngx_pool_t    *pool;
    ngx_chain_t   *cl;
    s3_failure_t   fail;

    pool = s3_test_pool();
    ngx_memzero(&fail, sizeof(s3_failure_t));

    resource = s3_test_str("/abc/a<b");
    bucket = s3_test_str("abc");
    key = s3_test_str("a<b");
    id = s3_test_str("0123");
    host = s3_test_str("h");

    (void) s3_fail(&fail, S3_ERR_NO_SUCH_KEY, NULL);
    cl = s3_xml_error(pool, &fail, &resource, &bucket, &key, &id, &host,
                      &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<Error><Code>NoSuchKey</Code><Message>The specified "
               "key does not exist.</Message><Key>a&lt;b</Key><BucketName>abc"
               "</BucketName><Resource>/abc/a&lt;b</Resource><RequestId>0123"
               "</RequestId><HostId>h</HostId></Error>");

    (void) s3_failf(pool, &fail, S3_ERR_INVALID_BUCKET_NAME, "no %V", &key);
    s3_fail_element(&fail, "BucketName", &bucket);
    cl = s3_xml_error(pool, &fail, NULL, &bucket, NULL, NULL, NULL, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<Error><Code>InvalidBucketName</Code><Message>no "
               "a&lt;b</Message><BucketName>abc</BucketName></Error>");

    (void) s3_fail_argument(&fail, "m", "max-keys", &key);
    cl = s3_xml_error(pool, &fail, NULL, NULL, NULL, &id, NULL, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<Error><Code>InvalidArgument</Code><Message>m"
               "</Message><ArgumentName>max-keys</ArgumentName>"
               "<ArgumentValue>a&lt;b</ArgumentValue><RequestId>0123"
               "</RequestId></Error>");

    s3_test_pool_free(pool);
}


static void
test_configuration(void **state)
{
    size_t         piece;
    ngx_str_t      region;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    s3_error_e     rc;
    s3_failure_t   fail;

    static const struct {
        const char  *text;
        s3_error_e   error;
    } cases[] = {
        { "", S3_OK },
        { "<CreateBucketConfiguration" NS "><LocationConstraint>eu-west-1"
          "</LocationConstraint></CreateBucketConfiguration>", S3_OK },
        { XML "<CreateBucketConfiguration>\n <LocationConstraint>eu-west-1"
          "</LocationConstraint>\n</CreateBucketConfiguration>\n", S3_OK },
        { "<a:CreateBucketConfiguration xmlns:a=\"x\"/>", S3_OK },
        { "<CreateBucketConfiguration/>", S3_OK },
        { "<CreateBucketConfiguration><LocationConstraint/>"
          "</CreateBucketConfiguration>", S3_OK },
        { "<CreateBucketConfiguration><LocationConstraint>&#101;u-west-1"
          "</LocationConstraint></CreateBucketConfiguration>", S3_OK },
        { "<CreateBucketConfiguration><LocationConstraint>"
          "<![CDATA[eu-west-1]]></LocationConstraint>"
          "</CreateBucketConfiguration>", S3_OK },
        { "<CreateBucketConfiguration><LocationConstraint>eu-west-2"
          "</LocationConstraint></CreateBucketConfiguration>",
          S3_ERR_ILLEGAL_LOCATION_CONSTRAINT },
        { "<CreateBucketConfiguration><LocationConstraint>eu-west-1"
          "</LocationConstraint>", S3_ERR_MALFORMED_XML },
        { "<CreateBucketConfiguration><LocationConstraint>eu-west-1"
          "</Location></CreateBucketConfiguration>", S3_ERR_MALFORMED_XML },
        { "<Other/>", S3_ERR_MALFORMED_XML },
        { "<CreateBucketConfiguration><x/></CreateBucketConfiguration>",
          S3_ERR_MALFORMED_XML },
        { "<CreateBucketConfiguration/><x/>", S3_ERR_MALFORMED_XML },
        { "<CreateBucketConfiguration><LocationConstraint>&amp;x;&y;"
          "</LocationConstraint></CreateBucketConfiguration>",
          S3_ERR_MALFORMED_XML },
        { "<!DOCTYPE CreateBucketConfiguration>"
          "<CreateBucketConfiguration/>", S3_ERR_MALFORMED_XML },
        { "<!DOCTYPE x [<!ENTITY e \"eu-west-1\">]>"
          "<CreateBucketConfiguration><LocationConstraint>&e;"
          "</LocationConstraint></CreateBucketConfiguration>",
          S3_ERR_MALFORMED_XML },
        { "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>"
          "<CreateBucketConfiguration><LocationConstraint>&e;"
          "</LocationConstraint></CreateBucketConfiguration>",
          S3_ERR_MALFORMED_XML },
        { "not xml", S3_ERR_MALFORMED_XML },
        { "<", S3_ERR_MALFORMED_XML },
        { "<CreateBucketConfiguration>\377</CreateBucketConfiguration>",
          S3_ERR_MALFORMED_XML },
        { "<CreateBucketConfiguration><Location><Name>x</Name></Location>"
          "</CreateBucketConfiguration>", S3_ERR_NOT_IMPLEMENTED },
        { "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>",
          S3_ERR_NOT_IMPLEMENTED },
    };

    pool = s3_test_pool();
    region = s3_test_str("eu-west-1");

    for (i = 0; i < test_nelts(cases); i++) {
        for (piece = 1; piece < 200; piece += 66) {
            ngx_memzero(&fail, sizeof(s3_failure_t));

            rc = s3_bucket_configuration_read(pool,
                     test_chain(pool, cases[i].text, strlen(cases[i].text),
                                piece), &region, &fail);

            if (rc != cases[i].error || (rc && fail.error != rc)) {
                fail_msg("%s: %s", cases[i].text,
                         rc ? (char *) s3_error(rc)->code.data : "OK");
            }
        }
    }

    assert_int_equal(s3_bucket_configuration_read(pool, NULL, &region, NULL),
                     S3_OK);

    s3_test_pool_free(pool);
}


typedef struct {
    ngx_uint_t   starts;
    ngx_uint_t   ends;
    ngx_uint_t   deepest;
    size_t       longest;
} test_reader_t;


static s3_error_e
test_handler(void *ctx, ngx_uint_t depth, const char *name, ngx_str_t *text)
{
    test_reader_t  *r = ctx;

    if (text) {
        r->ends++;
        r->longest = ngx_max(r->longest, text->len);
    } else {
        r->starts++;
    }

    r->deepest = ngx_max(r->deepest, depth);

    return S3_OK;
}


static void
test_reader_bounds(void **state)
{
    char           *text;
    size_t          n, i;
    ngx_pool_t     *pool;
    test_reader_t   r;

    pool = s3_test_pool();
    text = ngx_palloc(pool, 1024 * 1024);

    /* depth */

    for (n = 0; n < S3_XML_DEPTH; n++) {
        ngx_memcpy(text + 3 * n, "<a>", 3);
        ngx_memcpy(text + 3 * S3_XML_DEPTH + 4 * n, "</a>", 4);
    }

    ngx_memzero(&r, sizeof(r));
    assert_int_equal(s3_xml_read(test_chain(pool, text, 7 * S3_XML_DEPTH,
                                            10), test_handler, &r), S3_OK);
    assert_int_equal(r.deepest, S3_XML_DEPTH);
    assert_int_equal(r.starts, r.ends);

    for (n = 0; n < 1000; n++) {
        ngx_memcpy(text + 3 * n, "<a>", 3);
    }

    ngx_memzero(&r, sizeof(r));
    assert_int_equal(s3_xml_read(test_chain(pool, text, 3000, 100),
                                 test_handler, &r), S3_ERR_MALFORMED_XML);
    assert_int_equal(r.deepest, S3_XML_DEPTH);

    /* text */

    for (i = 0; i < 2; i++) {
        ngx_memcpy(text, "<a>", 3);
        ngx_memset(text + 3, 'x', S3_XML_TEXT + i);
        ngx_memcpy(text + 3 + S3_XML_TEXT + i, "</a>", 4);

        ngx_memzero(&r, sizeof(r));
        assert_int_equal(s3_xml_read(test_chain(pool, text,
                                                S3_XML_TEXT + i + 7, 5000),
                                     test_handler, &r),
                         i ? S3_ERR_MALFORMED_XML : S3_OK);
        assert_int_equal(r.longest, i ? 0 : S3_XML_TEXT);
    }

    s3_test_pool_free(pool);
}


/*
 * libxml2 compares each attribute of a tag with each, and keeps what has no
 * end yet: a million attributes would take it hours.
 */

static void
test_reader_markup(void **state)
{
    char           *text, *p, *last;
    size_t          i, n;
    ngx_pool_t     *pool;
    test_reader_t   r;

    static const char  *open[] = {
        "<a ", "<a ", "<!-- ", "<?a ", "<a>&", "<a b=\"", "<"
    };
    static const char  *more[] = {
        "a%06ui=\"\" ", "xmlns:a%06ui=\"b\" ", "x%06ui ", "x%06ui ",
        "x%06ui", "> x%06ui ", "x%06ui"
    };

    pool = s3_test_pool();
    text = ngx_palloc(pool, 4 * 1024 * 1024);
    last = text + 2 * 1024 * 1024;

    for (i = 0; i < test_nelts(open); i++) {

        p = (char *) ngx_sprintf((u_char *) text, "%s", open[i]);

        for (n = 0; p < last; n++) {
            p = (char *) ngx_sprintf((u_char *) p, more[i], (ngx_uint_t) n);
        }

        ngx_memzero(&r, sizeof(r));
        assert_int_equal(s3_xml_read(test_chain(pool, text, p - text, 65536),
                                     test_handler, &r),
                         S3_ERR_MALFORMED_XML);
        assert_true(r.starts <= 1);
    }

    /* as many as are allowed, and one more */

    for (i = 0; i < 2; i++) {

        p = (char *) ngx_sprintf((u_char *) text, "<a xmlns=\"b\"");

        for (n = 0; n < S3_XML_ATTRIBUTES - 1 + i; n++) {
            p = (char *) ngx_sprintf((u_char *) p, " c%ui=\"\"",
                                     (ngx_uint_t) n);
        }

        p = (char *) ngx_sprintf((u_char *) p, "/>");

        ngx_memzero(&r, sizeof(r));
        assert_int_equal(s3_xml_read(test_chain(pool, text, p - text, 65536),
                                     test_handler, &r),
                         i ? S3_ERR_MALFORMED_XML : S3_OK);
    }

    /* a comment that is long but for people */

    p = (char *) ngx_sprintf((u_char *) text, "<a><!--");
    ngx_memset(p, 'x', 10000);
    p = (char *) ngx_sprintf((u_char *) p + 10000, "--></a>");

    ngx_memzero(&r, sizeof(r));
    assert_int_equal(s3_xml_read(test_chain(pool, text, p - text, 65536),
                                 test_handler, &r), S3_OK);

    s3_test_pool_free(pool);
}


static void
test_location(void **state)
{
    size_t        size;
    ngx_str_t     region, out;
    ngx_pool_t   *pool;
    ngx_chain_t  *cl;

    pool = s3_test_pool();

    region = s3_test_str("eu-west-1");
    cl = s3_bucket_location_write(pool, &region, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<LocationConstraint" NS ">eu-west-1"
               "</LocationConstraint>");

    region = s3_test_str("us-east-1");
    cl = s3_bucket_location_write(pool, &region, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<LocationConstraint" NS "></LocationConstraint>");

    s3_test_pool_free(pool);
}


/* an error under another server's code, or under one that both have */

static void
test_foreign_error(void **state)
{
    size_t         size;
    ngx_str_t      out, code, message, bucket, key, value;
    ngx_pool_t    *pool;
    s3_error_t     error;
    ngx_chain_t   *cl;
    s3_failure_t   fail;

    pool = s3_test_pool();
    ngx_memzero(&fail, sizeof(s3_failure_t));

    bucket = s3_test_str("abc");
    key = s3_test_str("k");
    value = s3_test_str("a&b");

    code = s3_test_str("User<Suspended");
    message = s3_test_str("No more.");
    s3_fail_foreign(&fail, &code, 403, &message);
    assert_int_equal(fail.error, S3_ERR_ACCESS_DENIED);

    s3_failure(&fail, &error);
    assert_str(error.code, "User<Suspended");
    assert_str(error.message, "No more.");
    assert_int_equal(error.status, 403);

    s3_fail_element(&fail, "Key", &value);
    s3_fail_element(&fail, "BucketName", &value);
    cl = s3_xml_error(pool, &fail, NULL, &bucket, &key, NULL, NULL, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<Error><Code>User&lt;Suspended</Code>"
               "<Message>No more.</Message><Key>a&amp;b</Key>"
               "<BucketName>a&amp;b</BucketName></Error>");

    /* without a message: the code, or the table's where it knows it */

    ngx_str_null(&message);
    s3_fail_foreign(&fail, &code, 507, &message);
    assert_int_equal(fail.nelements, 0);
    s3_failure(&fail, &error);
    assert_str(error.message, "User<Suspended");
    assert_int_equal(error.status, 507);

    code = s3_test_str("NoSuchKey");
    s3_fail_foreign(&fail, &code, 404, &message);
    assert_int_equal(fail.error, S3_ERR_NO_SUCH_KEY);
    s3_failure(&fail, &error);
    assert_str(error.code, "NoSuchKey");
    assert_str(error.message, "The specified key does not exist.");
    assert_int_equal(error.status, 404);

    message = s3_test_str("Gone.");
    s3_fail_foreign(&fail, &code, 410, &message);
    s3_failure(&fail, &error);
    assert_str(error.message, "Gone.");
    assert_int_equal(error.status, 410);

    /* no status: the table's */

    s3_fail_foreign(&fail, &code, 0, &message);
    s3_failure(&fail, &error);
    assert_int_equal(error.status, 404);

    code = s3_test_str("NoSuchKeyX");
    s3_fail_foreign(&fail, &code, 0, &message);
    s3_failure(&fail, &error);
    assert_str(error.code, "NoSuchKeyX");
    assert_int_equal(error.status, 500);

    /* one of ours afterwards has nothing of it */

    s3_fail_foreign(&fail, &code, 410, &message);
    (void) s3_fail(&fail, S3_ERR_NO_SUCH_BUCKET, NULL);
    s3_failure(&fail, &error);
    assert_str(error.code, "NoSuchBucket");
    assert_str(error.message, "The specified bucket does not exist");
    assert_int_equal(error.status, 404);

    cl = s3_xml_error(pool, &fail, NULL, NULL, NULL, NULL, NULL, &size);
    out = test_join(pool, cl, size);
    assert_str(out, XML "<Error><Code>NoSuchBucket</Code><Message>The "
               "specified bucket does not exist</Message></Error>");

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_error_document),
        cmocka_unit_test(test_foreign_error),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_reader_bounds),
        cmocka_unit_test(test_reader_markup),
        cmocka_unit_test(test_location),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
