
/* DeleteObjects: the document and its answer. */

#include "s3_test.h"
#include "s3_delete.h"


#define NS  " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""


static s3_error_e
test_read(ngx_pool_t *pool, const char *text, s3_delete_t *d)
{
    ngx_buf_t     b;
    ngx_chain_t   in;
    s3_failure_t  fail;

    ngx_memzero(&b, sizeof(ngx_buf_t));
    ngx_memzero(&fail, sizeof(s3_failure_t));

    b.pos = (u_char *) text;
    b.last = b.pos + strlen(text);
    b.memory = 1;

    in.buf = &b;
    in.next = NULL;

    return s3_delete_read(pool, &in, d, &fail);
}


static void
test_document(void **state)
{
    size_t               size;
    s3_delete_t          d;
    ngx_pool_t          *pool;
    ngx_chain_t         *out;
    s3_delete_object_t  *o;

    pool = s3_test_pool();

    assert_int_equal(test_read(pool, "<Delete" NS "><Quiet>TRUE</Quiet>\n"
                               " <Object> <Key>a&amp;&#13;b</Key>"
                               "<VersionId>null</VersionId></Object>"
                               "<Object><VersionId>7</VersionId><Key>b</Key>"
                               "</Object><Object><ETag>\"x\"</ETag>"
                               "<Key> c </Key><VersionId/></Object></Delete>",
                               &d),
                     S3_OK);

    assert_true(d.quiet);
    assert_int_equal(d.objects.nelts, 3);

    o = d.objects.elts;
    assert_str(o[0].key, "a&\rb");
    assert_str(o[0].version_id, "null");
    assert_int_equal(o[0].error, S3_OK);
    assert_int_equal(o[1].error, S3_ERR_NO_SUCH_VERSION);
    assert_str(o[2].key, " c ");
    assert_str(o[2].etag, "\"x\"");
    assert_int_equal(o[2].version_id.len, 0);

    out = s3_delete_write(pool, &d, &size);
    assert_non_null(out);
    assert_null(out->next);
    assert_int_equal(out->buf->last - out->buf->pos, size);
    *out->buf->last = '\0';
    assert_string_equal((char *) out->buf->pos,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<DeleteResult" NS "><Error><Key>b</Key><VersionId>7</VersionId>"
        "<Code>NoSuchVersion</Code><Message>The specified version does not "
        "exist.</Message></Error></DeleteResult>");

    s3_test_pool_free(pool);
}


static void
test_bounds(void **state)
{
    char                *text, *p;
    size_t               i, n;
    s3_delete_t          d;
    ngx_pool_t          *pool;
    s3_delete_object_t  *o;

    pool = s3_test_pool();

    text = malloc(100000);
    assert_non_null(text);

    for (n = 1000; n <= 1001; n++) {
        p = text + sprintf(text, "<Delete>");

        for (i = 0; i < n; i++) {
            p += sprintf(p, "<Object><Key>%u</Key></Object>", (unsigned) i);
        }

        sprintf(p, "</Delete>");

        assert_int_equal(test_read(pool, text, &d),
                         n == 1000 ? S3_OK : S3_ERR_MALFORMED_XML);
    }

    for (n = 1024; n <= 1025; n++) {
        p = text + sprintf(text, "<Delete><Object><Key>");
        memset(p, 'k', n);
        sprintf(p + n, "</Key></Object></Delete>");

        assert_int_equal(test_read(pool, text, &d), S3_OK);

        o = d.objects.elts;
        assert_int_equal(o[0].error, n == 1024 ? S3_OK : S3_ERR_KEY_TOO_LONG);
    }

    free(text);

    s3_test_pool_free(pool);
}


static void
test_malformed(void **state)
{
    size_t        i;
    s3_delete_t   d;
    ngx_pool_t   *pool;

    static const struct {
        const char  *text;
        s3_error_e   error;
    } cases[] = {
        { "<Delete/>", S3_ERR_MALFORMED_XML },
        { "<Delete><Key>a</Key></Delete>", S3_ERR_MALFORMED_XML },
        { "<Delete><Object/></Delete>", S3_ERR_MALFORMED_XML },
        { "<Delete><Object><Key/></Object></Delete>", S3_ERR_MALFORMED_XML },
        { "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
          S3_ERR_MALFORMED_XML },
        { "<Delete><Quiet><Key>a</Key></Quiet></Delete>",
          S3_ERR_MALFORMED_XML },
        { "<Delete><Object><Key>a</Key><Size>1</Size></Object></Delete>",
          S3_ERR_NOT_IMPLEMENTED },
        { "<Delete><Object><Key>a</Key><LastModifiedTime/></Object></Delete>",
          S3_ERR_NOT_IMPLEMENTED },
        { "", S3_ERR_MALFORMED_XML }
    };

    pool = s3_test_pool();

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (test_read(pool, cases[i].text, &d) != cases[i].error) {
            fail_msg("%s", cases[i].text);
        }
    }

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_malformed)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
