
/* Multipart uploads: headers, ids, limits, the list of parts, documents. */

#include "s3_test.h"
#include "s3_complete.h"


#define XML  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NS   " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

#define MD5  "900150983cd24fb0d6963f7d28e17f72"     /* of "abc" */


static ngx_pool_t    *pool;
static s3_failure_t   fail;


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
test_same(ngx_chain_t *in, size_t size, const char *want)
{
    size_t  n;

    assert_non_null(in);
    assert_int_equal(size, strlen(want));

    for ( /* void */ ; in; in = in->next) {
        n = in->buf->last - in->buf->pos;
        assert_memory_equal(in->buf->pos, want, n);
        want += n;
    }

    assert_int_equal(*want, 0);
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


/* the table of the user guide, its defaults, and what is not in it */

static void
test_upload_checksum(void **state)
{
    unsigned              i, n;
    s3_error_e            rc;
    s3_header_t           h[2];
    s3_upload_checksum_t  checksum;

    static const struct {
        const char     *algorithm;
        const char     *type;
        int             ok;
        s3_checksum_e   found;
        unsigned        composite;
    } rows[] = {
        { NULL, NULL, 1, S3_CHECKSUM_NONE, 0 },
        { "CRC32", NULL, 1, S3_CHECKSUM_CRC32, 1 },
        { "CRC32", "COMPOSITE", 1, S3_CHECKSUM_CRC32, 1 },
        { "crc32", "full_object", 1, S3_CHECKSUM_CRC32, 0 },
        { "CRC32C", NULL, 1, S3_CHECKSUM_CRC32C, 1 },
        { "CRC32C", "FULL_OBJECT", 1, S3_CHECKSUM_CRC32C, 0 },
        { "SHA1", NULL, 1, S3_CHECKSUM_SHA1, 1 },
        { "SHA1", "FULL_OBJECT", 0, 0, 0 },
        { "SHA256", NULL, 1, S3_CHECKSUM_SHA256, 1 },
        { "SHA256", "COMPOSITE", 1, S3_CHECKSUM_SHA256, 1 },
        { "SHA256", "FULL_OBJECT", 0, 0, 0 },
        { "CRC64NVME", NULL, 1, S3_CHECKSUM_CRC64NVME, 0 },
        { "CRC64NVME", "FULL_OBJECT", 1, S3_CHECKSUM_CRC64NVME, 0 },
        { "CRC64NVME", "COMPOSITE", 0, 0, 0 },
        { "SHA512", NULL, 0, 0, 0 },
        { "", NULL, 0, 0, 0 },
        { NULL, "COMPOSITE", 0, 0, 0 },
        { NULL, "FULL_OBJECT", 0, 0, 0 },
        { "CRC32", "PARTIAL", 0, 0, 0 },
    };

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        n = 0;

        if (rows[i].algorithm) {
            h[n].name = s3_test_str("X-Amz-Checksum-Algorithm");
            h[n++].value = s3_test_str(rows[i].algorithm);
        }

        if (rows[i].type) {
            h[n].name = s3_test_str("x-amz-checksum-type");
            h[n++].value = s3_test_str(rows[i].type);
        }

        rc = s3_upload_checksum_parse(pool, h, n, &checksum, &fail);

        if (!rows[i].ok) {
            assert_int_equal(rc, S3_ERR_INVALID_REQUEST);
            assert_int_equal(fail.error, S3_ERR_INVALID_REQUEST);
            continue;
        }

        assert_int_equal(rc, S3_OK);
        assert_int_equal(checksum.algorithm, rows[i].found);
        assert_int_equal(checksum.composite, rows[i].composite);
    }

    h[0].name = s3_test_str("x-amz-checksum-algorithm");
    h[0].value = s3_test_str("SHA256");
    h[1].name = s3_test_str("x-amz-checksum-type");
    h[1].value = s3_test_str("FULL_OBJECT");

    (void) s3_upload_checksum_parse(pool, h, 2, &checksum, &fail);
    assert_str(fail.message, "The FULL_OBJECT checksum type cannot be used with the "
                 "sha256 checksum algorithm.");
}


static void
test_upload_id(void **state)
{
    unsigned   i;
    u_char     id[S3_UPLOAD_ID_LEN];
    ngx_str_t  text;

    static const char  *bad[] = {
        "", "fakeid", "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
        "0123456789ABCDEF0123456789ABCDEF",
        "0123456789abcdef0123456789abcdeg"
    };

    text = s3_test_str("0123456789abcdef00000000000000ff");
    assert_int_equal(s3_upload_id_parse(&text, id), NGX_OK);
    assert_memory_equal(id, "\x01\x23\x45\x67\x89\xab\xcd\xef\0\0\0\0\0\0\0"
                            "\xff", 16);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        text = s3_test_str(bad[i]);
        assert_int_equal(s3_upload_id_parse(&text, id), NGX_DECLINED);
    }
}


static void
test_part_number(void **state)
{
    unsigned     i;
    s3_arg_t     arg;
    ngx_uint_t   number;
    s3_target_t  target;

    static const char  *bad[] = { "", "0", "-1", "10001", "1x", "x",
                                  "99999999999999999999" };

    ngx_memzero(&target, sizeof(target));

    target.args = &arg;
    target.nargs = 1;
    arg.name = s3_test_str("partNumber");

    arg.value = s3_test_str("1");
    assert_int_equal(s3_part_number_parse(&target, &number, &fail), S3_OK);
    assert_int_equal(number, 1);

    arg.value = s3_test_str("10000");
    assert_int_equal(s3_part_number_parse(&target, &number, &fail), S3_OK);
    assert_int_equal(number, 10000);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        arg.value = s3_test_str(bad[i]);
        assert_int_equal(s3_part_number_parse(&target, &number, &fail),
                         S3_ERR_INVALID_ARGUMENT);
        test_element("ArgumentName", "partNumber");
        test_element("ArgumentValue", bad[i]);
    }

    target.nargs = 0;
    assert_int_equal(s3_part_number_parse(&target, &number, &fail),
                     S3_ERR_INVALID_ARGUMENT);
}


static void
test_limit(void **state)
{
    ngx_str_t   text;
    ngx_uint_t  value;

    value = 7;

    assert_int_equal(s3_limit_parse(pool, "max-parts", NULL, &value, &fail),
                     S3_OK);
    assert_int_equal(value, 7);

    text = s3_test_str("");
    assert_int_equal(s3_limit_parse(pool, "max-parts", &text, &value, &fail),
                     S3_OK);
    assert_int_equal(value, 7);

    text = s3_test_str("2147483647");
    assert_int_equal(s3_limit_parse(pool, "max-parts", &text, &value, &fail),
                     S3_OK);
    assert_int_equal(value, 2147483647);

    text = s3_test_str("-3");
    assert_int_equal(s3_limit_parse(pool, "max-parts", &text, &value, &fail),
                     S3_ERR_INVALID_ARGUMENT);
    assert_str(fail.message, "Argument max-parts must be an integer between 0 and "
                 "2147483647");

    text = s3_test_str("2147483648");
    assert_int_equal(s3_limit_parse(pool, "max-parts", &text, &value, &fail),
                     S3_ERR_INVALID_ARGUMENT);
    assert_str(fail.message, "Provided max-parts not an integer or within integer range");
    test_element("ArgumentName", "max-parts");
    test_element("ArgumentValue", "2147483648");
}


/* in pieces of piece bytes */

static s3_error_e
test_complete(s3_complete_t *c, const char *text, size_t piece)
{
    size_t      n, len;
    s3_error_e  rc;

    ngx_memzero(&fail, sizeof(fail));

    assert_int_equal(s3_complete_begin(c, pool, &fail), S3_OK);

    for (len = strlen(text); len; len -= n, text += n) {
        n = len < piece ? len : piece;

        rc = s3_complete_feed(c, (u_char *) text, n);

        if (rc != S3_OK) {
            assert_int_equal(fail.error, rc);
            return rc;
        }
    }

    rc = s3_complete_end(c);
    assert_int_equal(fail.error, rc);

    return rc;
}


static void
test_complete_list(void **state)
{
    size_t               piece;
    s3_complete_t        c;
    s3_complete_part_t  *part;

    static const char  text[] =
        XML "<CompleteMultipartUpload" NS ">\n"
        " <Part><PartNumber>1</PartNumber>"
        "<ETag>&quot;" MD5 "&quot;</ETag></Part>\n"
        " <Part>\n  <ChecksumCRC32>NSRBwg==</ChecksumCRC32>\n"
        "  <ETag> " MD5 " </ETag>\n  <PartNumber> 7 </PartNumber>\n </Part>"
        "<Part><PartNumber>10001</PartNumber><ETag>nonsense</ETag></Part>"
        "</CompleteMultipartUpload>";

    for (piece = 1; piece < sizeof(text); piece += 7) {

        assert_int_equal(test_complete(&c, text, piece), S3_OK);
        assert_int_equal(c.parts.nelts, 3);
        assert_false(c.disordered);

        part = c.parts.elts;

        assert_int_equal(part[0].number, 1);
        assert_int_equal(part[0].algorithm, S3_CHECKSUM_NONE);
        assert_false(part[0].no_etag);
        assert_memory_equal(part[0].md5, "\x90\x01\x50\x98", 4);

        assert_int_equal(part[1].number, 7);
        assert_int_equal(part[1].algorithm, S3_CHECKSUM_CRC32);
        assert_memory_equal(part[1].digest, "\x35\x24\x41\xc2", 4);
        assert_memory_equal(part[1].md5, part[0].md5, 16);

        assert_int_equal(part[2].number, 10001);
        assert_true(part[2].no_etag);
        assert_int_equal(c.no_etag.len, 8);
        assert_memory_equal(c.no_etag.data, "nonsense", 8);
    }
}


#define PART(n)  "<Part><PartNumber>" n "</PartNumber><ETag>" MD5            \
                 "</ETag></Part>"
#define LIST(s)  "<CompleteMultipartUpload>" s "</CompleteMultipartUpload>"

static void
test_complete_bad(void **state)
{
    unsigned       i;
    s3_complete_t  c;

    static const struct {
        const char  *text;
        s3_error_e   error;
    } rows[] = {
        { "", S3_ERR_INVALID_REQUEST },
        { "x", S3_ERR_MALFORMED_XML },
        { LIST(""), S3_ERR_MALFORMED_XML },
        { "<Other>" PART("1") "</Other>", S3_ERR_MALFORMED_XML },
        { LIST("<Other/>"), S3_ERR_MALFORMED_XML },
        { LIST("<Part/>"), S3_ERR_MALFORMED_XML },
        { LIST("<Part><PartNumber>1</PartNumber></Part>"),
          S3_ERR_MALFORMED_XML },
        { LIST("<Part><ETag>" MD5 "</ETag></Part>"), S3_ERR_MALFORMED_XML },
        { LIST(PART("")), S3_ERR_MALFORMED_XML },
        { LIST(PART("one")), S3_ERR_MALFORMED_XML },
        { LIST(PART("0")), S3_ERR_INVALID_ARGUMENT },
        { LIST(PART("-4")), S3_ERR_INVALID_ARGUMENT },
        { LIST("<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber>"
               "<ETag>" MD5 "</ETag></Part>"), S3_ERR_MALFORMED_XML },
        { LIST("<Part><PartNumber>1</PartNumber><ETag>" MD5 "</ETag><ETag>"
               MD5 "</ETag></Part>"), S3_ERR_MALFORMED_XML },
        { LIST("<Part><PartNumber>1</PartNumber><ETag><b/></ETag></Part>"),
          S3_ERR_MALFORMED_XML },
        { LIST("<Part><PartNumber>1</PartNumber><Size>1</Size><ETag>" MD5
               "</ETag></Part>"), S3_ERR_MALFORMED_XML },
        { LIST("<Part><PartNumber>1</PartNumber><ChecksumSHA512>x"
               "</ChecksumSHA512><ETag>" MD5 "</ETag></Part>"),
          S3_ERR_MALFORMED_XML },
        { LIST("<Part><ChecksumCRC32>invalid</ChecksumCRC32></Part>"),
          S3_ERR_INVALID_ARGUMENT },
        { LIST("<Part><ChecksumCRC32>NSRBwg==</ChecksumCRC32>"
               "<ChecksumCRC32C>NSRBwg==</ChecksumCRC32C></Part>"),
          S3_ERR_INVALID_ARGUMENT },
        { "<!DOCTYPE x>" LIST(PART("1")), S3_ERR_MALFORMED_XML },
        { "<CompleteMultipartUpload>" PART("1"), S3_ERR_MALFORMED_XML },
        { LIST(PART("1")) "<more/>", S3_ERR_MALFORMED_XML },
    };

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(test_complete(&c, rows[i].text, 5), rows[i].error);
    }

    assert_int_equal(test_complete(&c, LIST(PART("2") PART("1")), 64),
                     S3_OK);
    assert_true(c.disordered);

    assert_int_equal(test_complete(&c, LIST(PART("2") PART("2")), 64),
                     S3_OK);
    assert_true(c.disordered);
}


static void
test_complete_many(void **state)
{
    char           *text, *p;
    unsigned        i, n;
    s3_complete_t   c;

    for (n = 10000; n <= 10001; n++) {
        text = malloc(n * 160 + 100);
        assert_non_null(text);

        p = text + sprintf(text, "<CompleteMultipartUpload>");

        for (i = 1; i <= n; i++) {
            p += sprintf(p, PART("%u"), i);
        }

        strcpy(p, "</CompleteMultipartUpload>");

        assert_int_equal(test_complete(&c, text, 4096),
                         n == 10000 ? S3_OK : S3_ERR_MALFORMED_XML);
        assert_int_equal(c.parts.nelts, 10000);

        free(text);
    }
}


static void
test_documents(void **state)
{
    size_t              size;
    ngx_str_t           bucket, key, id, etag, location;
    ngx_chain_t        *out;
    s3_checksum_text_t  checksum;

    bucket = s3_test_str("b");
    key = s3_test_str("a<b");
    id = s3_test_str("0123");
    etag = s3_test_str(MD5 "-3");
    location = s3_test_str("http://h/b/a%3Cb");

    out = s3_upload_created_write(pool, &bucket, &key, &id, &size);
    test_same(out, size,
              XML "<InitiateMultipartUploadResult" NS "><Bucket>b</Bucket>"
              "<Key>a&lt;b</Key><UploadId>0123</UploadId>"
              "</InitiateMultipartUploadResult>");

    checksum.algorithm = S3_CHECKSUM_CRC32;
    checksum.text = s3_test_str("5FRUiw==-3");
    checksum.type = s3_test_str("COMPOSITE");

    out = s3_upload_completed_write(pool, &location, &bucket, &key, &etag,
                                    &checksum, &size);
    test_same(out, size,
              XML "<CompleteMultipartUploadResult" NS ">"
              "<Location>http://h/b/a%3Cb</Location><Bucket>b</Bucket>"
              "<Key>a&lt;b</Key><ETag>&quot;" MD5 "-3&quot;</ETag>"
              "<ChecksumCRC32>5FRUiw==-3</ChecksumCRC32>"
              "<ChecksumType>COMPOSITE</ChecksumType>"
              "</CompleteMultipartUploadResult>");
}


static void
test_elements(void **state)
{
    static const char  *names[] = { "CRC32", "CRC32C", "SHA1", "SHA256",
                                    "CRC64NVME" };

    char         name[32];
    ngx_uint_t   i;

    assert_null(s3_checksum_element(S3_CHECKSUM_NONE));
    assert_null(s3_checksum_element(S3_CHECKSUM_LAST));

    for (i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "Checksum%s", names[i]);
        assert_string_equal(s3_checksum_element(
                                s3_checksum_by_name(names[i],
                                                    strlen(names[i]))),
                            name);
    }
}


static void
test_attributes(void **state)
{
    size_t            size;
    s3_header_t       h[3];
    ngx_chain_t      *out;
    s3_list_part_t    part;
    s3_attributes_t   a;

    h[0].name = s3_test_str("x-amz-object-attributes");

    /* as the SDK of JavaScript sends it */

    h[0].value = s3_test_str("ETag, Checksum , ObjectParts,StorageClass");
    h[1].name = s3_test_str("X-Amz-Object-Attributes");
    h[1].value = s3_test_str("ObjectSize");
    h[2].name = s3_test_str("x-amz-max-parts");
    h[2].value = s3_test_str("5000");

    assert_int_equal(s3_attributes_parse(pool, h, 3, &a, &fail), S3_OK);
    assert_int_equal(a.attributes, 0x1f);
    assert_int_equal(a.parts.max, 1000);
    assert_int_equal(a.parts.after, 0);

    a.etag = s3_test_str(MD5 "-1");
    a.size = 3;
    a.checksum.algorithm = S3_CHECKSUM_CRC32;
    a.checksum.text = s3_test_str("NSRBwg==");
    a.checksum.type = s3_test_str("COMPOSITE");
    a.total = 1;
    a.list = 1;
    a.parts.parts = &part;
    a.parts.nparts = 1;

    ngx_memzero(&part, sizeof(part));
    part.number = 1;
    part.size = 3;
    part.checksum = a.checksum;
    part.checksum.type.len = 0;

    out = s3_attributes_write(pool, &a, &size);
    test_same(out, size,
              XML "<GetObjectAttributesResponse" NS "><ETag>" MD5 "-1</ETag>"
              "<Checksum><ChecksumCRC32>NSRBwg==</ChecksumCRC32>"
              "<ChecksumType>COMPOSITE</ChecksumType></Checksum>"
              "<ObjectParts><IsTruncated>false</IsTruncated>"
              "<MaxParts>1000</MaxParts>"
              "<NextPartNumberMarker>1</NextPartNumberMarker>"
              "<PartNumberMarker>0</PartNumberMarker>"
              "<Part><PartNumber>1</PartNumber><Size>3</Size>"
              "<ChecksumCRC32>NSRBwg==</ChecksumCRC32></Part>"
              "<PartsCount>1</PartsCount></ObjectParts>"
              "<StorageClass>STANDARD</StorageClass>"
              "<ObjectSize>3</ObjectSize></GetObjectAttributesResponse>");

    h[0].value = s3_test_str("ETag,Invalid_argument");
    assert_int_equal(s3_attributes_parse(pool, h, 1, &a, &fail),
                     S3_ERR_INVALID_ARGUMENT);
    test_element("ArgumentName", "x-amz-object-attributes");
    test_element("ArgumentValue", "Invalid_argument");

    h[0].value = s3_test_str(" , ");
    assert_int_equal(s3_attributes_parse(pool, h, 1, &a, &fail),
                     S3_ERR_INVALID_REQUEST);
    assert_int_equal(s3_attributes_parse(pool, h, 0, &a, &fail),
                     S3_ERR_INVALID_REQUEST);
}


static void
test_fail_part(void **state)
{
    assert_int_equal(s3_fail_part(pool, 3, 2, &fail),
                     S3_ERR_INVALID_PART_NUMBER);
    assert_int_equal(fail.error, S3_ERR_INVALID_PART_NUMBER);
    test_element("ActualPartCount", "2");
    test_element("PartNumberRequested", "3");

    /* not uploaded in parts: it is one */

    assert_int_equal(s3_fail_part(pool, 10000, 0, &fail),
                     S3_ERR_INVALID_PART_NUMBER);
    test_element("ActualPartCount", "1");
    test_element("PartNumberRequested", "10000");
}


/* a marker of an upload: ours, or another server's to look at */

static void
test_uploads_after(void **state)
{
    s3_arg_t            arg[2];
    s3_target_t         target;
    s3_list_uploads_t   list;

    ngx_memzero(&target, sizeof(target));
    target.args = arg;
    target.nargs = 2;

    arg[0].name = s3_test_str("upload-id-marker");
    arg[0].value = s3_test_str("0123456789abcdef00000000000000ff");
    arg[1].name = s3_test_str("key-marker");
    arg[1].value = s3_test_str("k");

    assert_int_equal(s3_list_uploads_parse(pool, &target, &list, &fail),
                     S3_OK);
    assert_str(list.upload_id_marker, "0123456789abcdef00000000000000ff");
    assert_false(list.after_upload);

    assert_int_equal(s3_list_uploads_after(&list, &fail), S3_OK);
    assert_true(list.after_upload);
    assert_memory_equal(list.after_id, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
    assert_int_equal(list.after_id[15], 0xff);

    arg[0].value = s3_test_str("2~WpnpnJ");
    assert_int_equal(s3_list_uploads_parse(pool, &target, &list, &fail),
                     S3_OK);
    assert_str(list.upload_id_marker, "2~WpnpnJ");
    assert_int_equal(s3_list_uploads_after(&list, &fail),
                     S3_ERR_INVALID_ARGUMENT);
    assert_false(list.after_upload);
    test_element("ArgumentName", "upload-id-marker");
    test_element("ArgumentValue", "2~WpnpnJ");

    /* "If key-marker is not specified, the upload-id-marker parameter is
     * ignored" */

    target.nargs = 1;
    assert_int_equal(s3_list_uploads_parse(pool, &target, &list, &fail),
                     S3_OK);
    assert_int_equal(list.upload_id_marker.len, 0);
    assert_int_equal(s3_list_uploads_after(&list, &fail), S3_OK);
    assert_false(list.after_upload);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_upload_checksum, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_upload_id, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_part_number, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_limit, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_complete_list, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_complete_bad, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_complete_many, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_documents, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_attributes, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_elements, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_fail_part, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_uploads_after, test_setup,
                                        test_teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
