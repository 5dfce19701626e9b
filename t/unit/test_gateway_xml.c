
/* An upstream's documents: rows of leaves, errors, entity tags, times. */

#include "s3_test.h"
#include "s3_upstream_xml.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))

#define XML  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS   " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

#define NONE  ((const char *) -1)      /* there was no such leaf */


static ngx_pool_t    *pool;
static ngx_uint_t     rows_seen;
static ngx_int_t      rows_rc;         /* what the handler returns */
static char           rows_text[1024];
static s3_failure_t   fail;


static int
test_setup(void **state)
{
    pool = s3_test_pool();
    rows_rc = NGX_OK;
    ngx_memzero(&fail, sizeof(fail));

    return 0;
}


static int
test_teardown(void **state)
{
    s3_test_pool_free(pool);

    return 0;
}


/*
 * A chain of pieces of so many bytes, overwritten after it was read: what was
 * read must not point there.
 */

static ngx_chain_t *
test_chain(const char *text, size_t piece)
{
    size_t        n, len;
    ngx_buf_t    *b;
    ngx_chain_t  *in, **next, *cl;

    in = NULL;
    next = &in;

    for (len = strlen(text); len; text += n, len -= n) {
        n = ngx_min(piece, len);

        b = ngx_create_temp_buf(pool, n);
        cl = ngx_alloc_chain_link(pool);
        assert_non_null(b);
        assert_non_null(cl);

        b->last = ngx_cpymem(b->pos, text, n);

        cl->buf = b;
        cl->next = NULL;
        *next = cl;
        next = &cl->next;
    }

    return in;
}


static void
test_overwrite(ngx_chain_t *in)
{
    for ( /* void */ ; in; in = in->next) {
        memset(in->buf->pos, 'x', in->buf->last - in->buf->pos);
    }
}


/* "1=a;2=-" for each row: "-" where the leaf is not there */

static ngx_int_t
test_row(void *data, s3_upstream_leaf_t *leaves)
{
    char  *p;

    assert_ptr_equal(data, &rows_seen);

    p = rows_text + strlen(rows_text);

    for ( /* void */ ; leaves->name; leaves++) {

        assert_in_range(p - rows_text, 0, sizeof(rows_text) - 256);

        if (leaves->value.data == NULL) {
            assert_int_equal(leaves->value.len, 0);
            p += sprintf(p, "-,");
            continue;
        }

        assert_int_equal(leaves->value.data[leaves->value.len], '\0');
        p += sprintf(p, "%s,", leaves->value.data);
    }

    strcpy(p, ";");

    rows_seen++;

    return rows_rc;
}


static ngx_int_t
test_read(const char *text, size_t piece, s3_upstream_leaf_t *top,
    ngx_uint_t ntop, const char *root, const char *row,
    s3_upstream_leaf_t *leaves, ngx_uint_t nleaves)
{
    ngx_int_t          rc;
    ngx_chain_t       *in;
    s3_upstream_xml_t  x;

    memset(&x, 0xff, sizeof(x));

    rows_seen = 0;
    rows_text[0] = '\0';

    x.pool = pool;
    x.root = root;
    x.top = top;
    x.ntop = ntop;
    x.row = row;
    x.leaves = leaves;
    x.nleaves = nleaves;
    x.handler = test_row;
    x.data = &rows_seen;

    in = test_chain(text, piece);
    rc = s3_upstream_read(&x, in);
    test_overwrite(in);

    return rc;
}


static void
test_leaf(s3_upstream_leaf_t *leaf, const char *want)
{
    if (want == NONE) {
        assert_null(leaf->value.data);
        assert_int_equal(leaf->value.len, 0);
        return;
    }

    assert_str(leaf->value, want);
    assert_int_equal(leaf->value.data[leaf->value.len], '\0');
}


static void
test_parts(void **state)
{
    size_t  piece;

    s3_upstream_leaf_t  top[] = {
        { "IsTruncated", ngx_null_string },
        { "NextPartNumberMarker", ngx_null_string },
        { "ID", ngx_null_string },
        { "Size", ngx_null_string },
        { "Empty", ngx_null_string },
        { "Closed", ngx_null_string },
    };

    s3_upstream_leaf_t  leaves[] = {
        { "PartNumber", ngx_null_string },
        { "ETag", ngx_null_string },
        { "Size", ngx_null_string },
        { NULL, ngx_null_string },
    };

    static const char  text[] =
        XML "<ListPartsResult" NS ">\n"
        "  <Bucket>b</Bucket><Empty></Empty><Closed/>"
        "  <IsTruncated>false</IsTruncated>"
        "  <Owner><ID>someone</ID></Owner>"
        "  <Part><PartNumber>1</PartNumber><Other>x</Other>"
        "    <ETag>&quot;9e10&quot;</ETag><Size>5</Size></Part>\n"
        "  <IsTruncated>true</IsTruncated>"
        "  <Part><Checksum><Size>9</Size></Checksum>"
        "    <ETag/><PartNumber> 2\n</PartNumber></Part>"
        "  <Part/>"
        "  <Part>text<Size>1</Size><Size>2</Size></Part>"
        "  <!-- <Part/> --><NextPartNumberMarker>3&#x20;&amp;\xc3\xbc"
        "</NextPartNumberMarker></ListPartsResult>\n";

    for (piece = 1; piece <= sizeof(text); piece++) {

        assert_int_equal(test_read(text, piece, top, 6, "ListPartsResult",
                                   "Part", leaves, 3), NGX_OK);

        assert_string_equal(rows_text,
                            "1,\"9e10\",5,; 2\n,,-,;-,-,-,;-,-,2,;");
        assert_int_equal(rows_seen, 4);

        test_leaf(&top[0], "true");
        test_leaf(&top[1], "3 &\xc3\xbc");
        test_leaf(&top[2], NONE);
        test_leaf(&top[3], NONE);
        test_leaf(&top[4], "");
        test_leaf(&top[5], "");
    }

    /* the leaves of what was read before are gone */

    assert_int_equal(test_read("<ListPartsResult/>", 1, top, 6,
                               "ListPartsResult", "Part", leaves, 3),
                     NGX_OK);
    assert_int_equal(rows_seen, 0);
    test_leaf(&top[0], NONE);
    test_leaf(&top[1], NONE);
    test_leaf(&top[4], NONE);
}


/* a row stands where it may, and one within it is no other */

static void
test_rows(void **state)
{
    s3_upstream_leaf_t  top = { "Name", ngx_null_string };

    s3_upstream_leaf_t  leaves[] = {
        { "Name", ngx_null_string },
        { NULL, ngx_null_string },
    };

    assert_int_equal(test_read(
        "<ListAllMyBucketsResult><Owner><Name>o</Name></Owner><Buckets>"
        "<Bucket><Name>a</Name></Bucket><Name>no</Name>"
        "<Bucket><Bucket><Name>b</Name></Bucket></Bucket>"
        "<Bucket><Name>c</Name><Bucket/></Bucket>"
        "</Buckets><Name>top</Name></ListAllMyBucketsResult>", 3,
        &top, 1, "ListAllMyBucketsResult", "Bucket", leaves, 1), NGX_OK);

    assert_string_equal(rows_text, "a,;-,;c,;");
    test_leaf(&top, "top");

    /* the root is no row, and any root will do */

    assert_int_equal(test_read("<Bucket><Name>a</Name></Bucket>", 99, &top, 1,
                               NULL, "Bucket", leaves, 1), NGX_OK);
    assert_int_equal(rows_seen, 0);
    test_leaf(&top, "a");

    /* no rows are asked for */

    assert_int_equal(test_read("<A><Bucket><Name>a</Name></Bucket></A>", 99,
                               &top, 1, "A", NULL, NULL, 0), NGX_OK);
    assert_int_equal(rows_seen, 0);
    test_leaf(&top, NONE);

    /* names are whole, and of whatever namespace */

    assert_int_equal(test_read("<a:A xmlns:a=\"urn:a\"><a:Name>1</a:Name>"
                               "<Names>2</Names><Nam>3</Nam>"
                               "<name>4</name></a:A>", 99,
                               &top, 1, "A", NULL, NULL, 0), NGX_OK);
    test_leaf(&top, "1");

    /* the handler ends it */

    rows_rc = NGX_ERROR;
    assert_int_equal(test_read("<A><Bucket/><Bucket/></A>", 99, &top, 1, "A",
                               "Bucket", leaves, 1), NGX_ERROR);
    assert_int_equal(rows_seen, 1);

    rows_rc = NGX_DECLINED;
    assert_int_equal(test_read("<A><Bucket/><Bucket/></A>", 1, &top, 1, "A",
                               "Bucket", leaves, 1), NGX_ERROR);
    assert_int_equal(rows_seen, 1);
}


static void
test_bad(void **state)
{
    char    *text, *p;
    size_t   i, n;

    s3_upstream_leaf_t  top = { "N", ngx_null_string };

    static const char  *bad[] = {
        "", " ", "x", "{\"A\": 1}", "<A>", "<A><N>1</N>", "<A/><A/>",
        "<A></B>", "<B><N>1</N></B>", "<Error><Code>NoSuchKey</Code></Error>",
        "<!DOCTYPE A><A/>", "<!DOCTYPE A [<!ENTITY e \"x\">]><A>&e;</A>",
        "<A><N>&unknown;</N></A>", "<A><N>&#1;</N></A>", "<A><N>\x01</N></A>",
        "<A><N>\xff</N></A>",
        "<html><head><title>502 Bad Gateway</title></head></html>",
    };

    for (i = 0; i < test_nelts(bad); i++) {
        for (n = 1; n < 50; n += 12) {
            if (test_read(bad[i], n, &top, 1, "A", NULL, NULL, 0)
                != NGX_DECLINED)
            {
                fail_msg("%s", bad[i]);
            }
        }
    }

    /* as long as a text may be, and one more; too deep */

    text = malloc(S3_XML_TEXT + 100);
    assert_non_null(text);

    for (n = S3_XML_TEXT; n <= S3_XML_TEXT + 1; n++) {
        p = text + sprintf(text, "<A><N>");
        memset(p, 'a', n);
        strcpy(p + n, "</N></A>");

        assert_int_equal(test_read(text, 4096, &top, 1, "A", NULL, NULL, 0),
                         n == S3_XML_TEXT ? NGX_OK : NGX_DECLINED);

        if (n == S3_XML_TEXT) {
            assert_int_equal(top.value.len, n);
        }
    }

    for (n = S3_XML_DEPTH; n <= S3_XML_DEPTH + 1; n++) {
        p = text;

        for (i = 0; i < n; i++) {
            p += sprintf(p, "<A>");
        }

        for (i = 0; i < n; i++) {
            p += sprintf(p, "</A>");
        }

        assert_int_equal(test_read(text, 4096, &top, 1, "A", NULL, NULL, 0),
                         n == S3_XML_DEPTH ? NGX_OK : NGX_DECLINED);
    }

    free(text);
}


static ngx_int_t
test_failed(const char *text, size_t piece, ngx_uint_t status)
{
    ngx_int_t     rc;
    ngx_chain_t  *in;

    ngx_memzero(&fail, sizeof(fail));

    in = test_chain(text, piece);
    rc = s3_upstream_failure(pool, in, status, &fail);
    test_overwrite(in);

    return rc;
}


static void
test_failure(void **state)
{
    size_t       piece;
    s3_error_t   error;
    ngx_str_t    name;

    static const char  known[] =
        XML "<Error><Code>NoSuchBucket</Code><BucketName>abc</BucketName>"
        "<Resource>/abc</Resource><RequestId>tx1</RequestId>"
        "<HostId>h</HostId></Error>";

    static const char  unknown[] =
        XML "<Error" NS ">\n <Code>UserSuspended</Code>\n"
        " <Message>No &lt;more&gt;</Message><HostId>h</HostId>"
        "<Since>2026</Since><Deep><Code>Other</Code></Deep>"
        "<Empty/></Error>";

    for (piece = 1; piece < sizeof(unknown); piece += 3) {

        assert_int_equal(test_failed(known, piece, 404), NGX_OK);
        assert_int_equal(fail.error, S3_ERR_NO_SUCH_BUCKET);
        assert_int_equal(fail.nelements, 1);
        assert_string_equal(fail.elements[0].name.data, "BucketName");
        assert_str(fail.elements[0].value, "abc");

        s3_failure(&fail, &error);
        assert_str(error.code, "NoSuchBucket");
        assert_str(error.message, "The specified bucket does not exist");
        assert_int_equal(error.status, 404);

        assert_int_equal(test_failed(unknown, piece, 403), NGX_OK);
        assert_int_equal(fail.error, s3_error_by_status(403));

        s3_failure(&fail, &error);
        assert_str(error.code, "UserSuspended");
        assert_str(error.message, "No <more>");
        assert_int_equal(error.status, 403);

        assert_int_equal(fail.nelements, 3);
        assert_string_equal(fail.elements[0].name.data, "Since");
        assert_str(fail.elements[0].value, "2026");
        assert_string_equal(fail.elements[1].name.data, "Deep");
        assert_str(fail.elements[1].value, "");
        name = fail.elements[2].name;
        assert_str(name, "Empty");
        assert_int_equal(fail.elements[2].value.len, 0);
    }

    /* a known code under another status; no status: the table's */

    assert_int_equal(test_failed(known, 99, 503), NGX_OK);
    s3_failure(&fail, &error);
    assert_int_equal(error.status, 503);
    assert_str(error.code, "NoSuchBucket");

    assert_int_equal(test_failed(known, 99, 0), NGX_OK);
    s3_failure(&fail, &error);
    assert_int_equal(error.status, 404);

    /* without a message */

    assert_int_equal(test_failed("<Error><Code>QuotaExceeded</Code></Error>",
                                 99, 403), NGX_OK);
    s3_failure(&fail, &error);
    assert_str(error.code, "QuotaExceeded");
    assert_str(error.message, "QuotaExceeded");
}


static void
test_failure_bad(void **state)
{
    char         text[1024], *p;
    size_t       i;
    ngx_chain_t *in;

    static const char  *bad[] = {
        "", "x", "<Error>", "<Error/>", "<Error><Code/></Error>",
        "<Error><Code></Code><Message>m</Message></Error>",
        "<Error><Deep><Code>NoSuchKey</Code></Deep></Error>",
        "<Errors><Code>NoSuchKey</Code></Errors>",
        "<ListBucketResult><Code>NoSuchKey</Code></ListBucketResult>",
        "<Error><Code>NoSuchKey</Code></Error><x/>",
        "<Error><Code>NoSuchKey</Code>",
        "<!DOCTYPE x><Error><Code>NoSuchKey</Code></Error>",
        "{\"Code\":\"NoSuchKey\"}",
    };

    for (i = 0; i < test_nelts(bad); i++) {
        if (test_failed(bad[i], 5, 404) != NGX_DECLINED) {
            fail_msg("%s", bad[i]);
        }

        assert_int_equal(fail.error, S3_OK);
        assert_int_equal(fail.nelements, 0);
    }

    in = NULL;
    assert_int_equal(s3_upstream_failure(pool, in, 404, &fail), NGX_DECLINED);

    /* more elements than an error can have */

    p = text + sprintf(text, "<Error>");

    for (i = 0; i < S3_FAILURE_ELEMENTS + 3; i++) {
        p += sprintf(p, "<E%u>%u</E%u>", (unsigned) i, (unsigned) i,
                     (unsigned) i);
    }

    sprintf(p, "<Code>NoSuchKey</Code><Message>m</Message></Error>");

    assert_int_equal(test_failed(text, 7, 404), NGX_OK);
    assert_int_equal(fail.error, S3_ERR_NO_SUCH_KEY);
    assert_str(fail.message, "m");
    assert_int_equal(fail.nelements, S3_FAILURE_ELEMENTS);
    assert_str(fail.elements[S3_FAILURE_ELEMENTS - 1].value, "7");
}


static void
test_unquote(void **state)
{
    size_t     i;
    ngx_str_t  etag;

    static const char  *rows[][2] = {
        { "\"9e10-2\"", "9e10-2" }, { "9e10", "9e10" }, { "\"\"", "" },
        { "", "" }, { "\"", "\"" }, { "\"9e10", "\"9e10" },
        { "9e10\"", "9e10\"" }, { "\"\"9e10\"\"", "\"9e10\"" },
        { "W/\"9e10\"", "W/\"9e10\"" }, { "\"\"\"", "\"" },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        etag.len = strlen(rows[i][0]);
        etag.data = ngx_pnalloc(pool, etag.len + 1);
        ngx_memcpy(etag.data, rows[i][0], etag.len);

        s3_upstream_unquote(&etag);
        assert_str(etag, rows[i][1]);
    }
}


static void
test_time(void **state)
{
    size_t     i;
    ngx_str_t  text;

    static const struct {
        const char  *text;
        int64_t      msec;
    } rows[] = {
        { "1970-01-01T00:00:00.001Z", 1 },
        { "2026-01-31T23:59:59.000Z", 1769903999000 },
        { "2026-01-31T23:59:59.123Z", 1769903999123 },
        { "2026-01-31T23:59:59Z", 1769903999000 },
        { "2024-02-29T12:00:00.999Z", 1709208000999 },
        { "2026-01-31T23:59:59.123456Z", 1769903999123 },
        { "", 0 },
        { "2026-01-31", 0 },
        { "2026-01-31T23:59", 0 },
        { "2026-01-31T23:59:59", 0 },
        { "2026-13-31T23:59:59.000Z", 0 },
        { "2026-01-32T23:59:59.000Z", 0 },
        { "2026-01-31T24:59:59.000Z", 0 },
        { "Sat, 31 Jan 2026 23:59:59 GMT", 0 },
        { "xxxxxxxxxxxxxxxxxxxxxxxx", 0 },
    };

    for (i = 0; i < test_nelts(rows); i++) {

        /* as the reader leaves it: a NUL behind it */

        text.len = strlen(rows[i].text);
        text.data = ngx_pnalloc(pool, text.len + 1);
        assert_non_null(text.data);
        strcpy((char *) text.data, rows[i].text);

        if (s3_upstream_time(&text) != rows[i].msec) {
            fail_msg("%s: %lld", rows[i].text,
                     (long long) s3_upstream_time(&text));
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_parts, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_rows, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_bad, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_failure, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_failure_bad, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_unquote, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_time, test_setup, test_teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
