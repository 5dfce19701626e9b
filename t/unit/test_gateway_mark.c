
/* Where a gateway keeps checksums: the header, keys and bodies of records. */

#include "s3_test.h"
#include "s3_mark.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))

#define ETAG  "9e107d9d372bb6826bd81d3542a419d6"
#define MD5   "900150983cd24fb0d6963f7d28e17f72"     /* of "abc" */
#define MD5_BYTES                                                            \
    "\x90\x01\x50\x98\x3c\xd2\x4f\xb0\xd6\x96\x3f\x7d\x28\xe1\x7f\x72"

/* SHA-256 of "photos/a/b c", "photos/a/b c?2~id" and "\"odd\"/" */
#define HASH                                                                 \
    "9efdadf3eb7f9088c9e71220bdb7d90c01df5a9945c739adee19f9f97877b52c"
#define UPLOAD                                                               \
    "a7cc611c2574f4ef82b6a2a491881065ba0ec8051f705613420c204055642633"
#define ODD                                                                  \
    "82f65ae889c2f480daa1af37c1e97b1ef57785ca6e2bcd979b300a48c1921119"


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


/* bytes of their own, with nothing behind them that could be read */

static ngx_str_t
test_bytes(const void *p, size_t len)
{
    ngx_str_t  s;

    s.len = len;
    s.data = ngx_pnalloc(pool, len ? len : 1);
    assert_non_null(s.data);
    ngx_memcpy(s.data, p, len);

    return s;
}


static ngx_str_t
test_text(const char *text)
{
    return test_bytes(text, strlen(text));
}


static void
test_value(void **state)
{
    size_t               i;
    ngx_str_t            etag, value;
    s3_checksum_text_t   sum, read;

    static const struct {
        const char      *etag;
        s3_checksum_e    algorithm;
        const char      *type;
        const char      *text;
        const char      *value;
    } rows[] = {
        { ETAG, S3_CHECKSUM_CRC32, "FULL_OBJECT", "QU+jOQ==",
          ETAG " CRC32 FULL_OBJECT QU+jOQ==" },
        { ETAG "-12", S3_CHECKSUM_CRC32C, "COMPOSITE", "Nks/tw==-12",
          ETAG "-12 CRC32C COMPOSITE Nks/tw==-12" },
        { "x", S3_CHECKSUM_SHA1, "FULL_OBJECT",
          "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
          "x SHA1 FULL_OBJECT qZk+NkcGgWq6PiVxeFDCbJzQ2J0=" },
        { ETAG, S3_CHECKSUM_SHA256, "COMPOSITE",
          "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=-10000",
          ETAG " SHA256 COMPOSITE "
          "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=-10000" },
        { ETAG, S3_CHECKSUM_CRC64NVME, "FULL_OBJECT", "BeXKuz/B+us=",
          ETAG " CRC64NVME FULL_OBJECT BeXKuz/B+us=" },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        etag = test_text(rows[i].etag);

        sum.algorithm = rows[i].algorithm;
        sum.type = test_text(rows[i].type);
        sum.text = test_text(rows[i].text);

        assert_int_equal(s3_mark_write(pool, &etag, &sum, &value), NGX_OK);
        assert_str(value, rows[i].value);

        value = test_text(rows[i].value);
        ngx_memzero(&read, sizeof(read));

        assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_HERE);
        assert_int_equal(read.algorithm, rows[i].algorithm);
        assert_str(read.type, rows[i].type);
        assert_str(read.text, rows[i].text);
    }

    /* hex digits of an entity tag in either case, the whole of it */

    value = test_text(ETAG " CRC32 FULL_OBJECT QU+jOQ==");

    etag = test_text("9E107D9D372BB6826BD81D3542A419D6");
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_HERE);

    etag = test_text("9e107d9d372bb6826bd81d3542a419d7");
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_NONE);

    etag = test_text("9e107d9d372bb6826bd81d3542a419d");
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_NONE);

    etag = test_text(ETAG "-1");
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_NONE);

    etag = test_text("");
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_NONE);

    /* in a record, of whatever object */

    value = test_text("record");
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_RECORD);
}


static void
test_value_bad(void **state)
{
    size_t              i, n;
    ngx_str_t           etag, value;
    s3_checksum_text_t  read;

    static const char  *bad[] = {
        "", " ", "recor", "record ", "RECORD", "records", ETAG, ETAG " ",
        ETAG " CRC32", ETAG " CRC32 ", ETAG " CRC32 FULL_OBJECT",
        ETAG " CRC32 FULL_OBJECT ",
        " " ETAG " CRC32 FULL_OBJECT QU+jOQ==",
        ETAG "  CRC32 FULL_OBJECT QU+jOQ==",
        ETAG " CRC32  FULL_OBJECT QU+jOQ==",
        ETAG " CRC32 FULL_OBJECT  QU+jOQ==",
        ETAG " CRC32 FULL_OBJECT QU+jOQ== x",
        ETAG " CRC32 FULL_OBJECT QU+jOQ==  ",
        ETAG " NONE FULL_OBJECT QU+jOQ==",
        ETAG " MD5 FULL_OBJECT QU+jOQ==",
        ETAG " CRC32D FULL_OBJECT QU+jOQ==",
        ETAG " CRC32 full_object QU+jOQ==",
        ETAG " CRC32 FULL_OBJEC QU+jOQ==",
        ETAG " CRC32 FULL_OBJECTS QU+jOQ==",
        ETAG " CRC32 NONE QU+jOQ==",
        ETAG " CRC32 FULL_OBJECT QU+jOQ=",
        ETAG " CRC64NVME FULL_OBJECT QU+jOQ==",
        ETAG " SHA256 FULL_OBJECT qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",

        /* it would end a header, or not be one */
        ETAG " CRC32 FULL_OBJECT QU+jOQ==\r\nx:y",
        ETAG " CRC32 FULL_OBJECT QU+jOQ=\t",
        ETAG " CRC32 FULL_OBJECT QU+jOQ=\x7f",
        ETAG " CRC32 FULL_OBJECT QU+jOQ=\xc3\xbc",
        ETAG "\tCRC32\tFULL_OBJECT\tQU+jOQ==",
        "\"" ETAG "\" CRC32 FULL_OBJECT QU+jOQ==",
    };

    etag = test_text(ETAG);

    for (i = 0; i < test_nelts(bad); i++) {
        value = test_text(bad[i]);

        if (s3_mark_read(&value, &etag, &read) != S3_MARK_NONE) {
            fail_msg("%s", bad[i]);
        }
    }

    /* cut off wherever it may be */

    n = strlen(ETAG " CRC32 FULL_OBJECT QU+jOQ==");

    for (i = 0; i <= n; i++) {
        value = test_bytes(ETAG " CRC32 FULL_OBJECT QU+jOQ==", i);
        assert_int_equal(s3_mark_read(&value, &etag, &read),
                         i == n ? S3_MARK_HERE : S3_MARK_NONE);
    }

    value = test_bytes(ETAG " CRC32 FULL_OBJECT QU+jOQ=\0", n);
    assert_int_equal(s3_mark_read(&value, &etag, &read), S3_MARK_NONE);
}


static void
test_upload(void **state)
{
    size_t                 i;
    ngx_str_t              value;
    s3_upload_checksum_t   sum, read;

    static const struct {
        s3_checksum_e    algorithm;
        unsigned         composite;
        const char      *value;
    } rows[] = {
        { S3_CHECKSUM_NONE, 0, "NONE NONE" },
        { S3_CHECKSUM_CRC32, 1, "CRC32 COMPOSITE" },
        { S3_CHECKSUM_CRC32, 0, "CRC32 FULL_OBJECT" },
        { S3_CHECKSUM_CRC32C, 1, "CRC32C COMPOSITE" },
        { S3_CHECKSUM_SHA1, 1, "SHA1 COMPOSITE" },
        { S3_CHECKSUM_SHA256, 1, "SHA256 COMPOSITE" },
        { S3_CHECKSUM_CRC64NVME, 0, "CRC64NVME FULL_OBJECT" },
    };

    static const char  *bad[] = {
        "", "NONE", "NONE ", " NONE", "none NONE", "NONES NONE", "CRC32",
        "CRC32 ", "CRC32 NONE", "CRC32 composite", "CRC32  COMPOSITE",
        "MD5 COMPOSITE", "record", "CRC32,COMPOSITE"
    };

    for (i = 0; i < test_nelts(rows); i++) {
        ngx_memzero(&sum, sizeof(sum));
        sum.algorithm = rows[i].algorithm;
        sum.composite = rows[i].composite;

        assert_int_equal(s3_mark_upload_write(pool, &sum, &value), NGX_OK);
        assert_str(value, rows[i].value);

        value = test_text(rows[i].value);
        memset(&read, 0xff, sizeof(read));

        assert_int_equal(s3_mark_upload_read(&value, &read), NGX_OK);
        assert_int_equal(read.algorithm, rows[i].algorithm);
        assert_int_equal(read.composite, rows[i].composite);
    }

    for (i = 0; i < test_nelts(bad); i++) {
        value = test_text(bad[i]);

        if (s3_mark_upload_read(&value, &read) != NGX_DECLINED) {
            fail_msg("%s", bad[i]);
        }
    }
}


static void
test_keys(void **state)
{
    size_t       i;
    u_char       tag[66];
    ngx_str_t    bucket, key, etag, id, name, other;

    /* what stands in a key, and what is hashed */

    static const char  *plain[] = { ETAG, ETAG "-10000", "x", "-", "A1" };
    static const char  *odd[] = { "", "\"odd\"", "a/b", "a b", "a.b", "a_b",
                                  "a\x7f", "\xc3\xbc", "a+b", "@", "[",
                                  "P\r" };

    bucket = test_text("photos");
    key = test_text("a/b c");
    etag = test_text(ETAG);
    id = test_text("2~id");

    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &name),
                     NGX_OK);
    assert_str(name, "o/" HASH "/" ETAG);

    assert_int_equal(s3_mark_upload_key(pool, &bucket, &key, &id, &name),
                     NGX_OK);
    assert_str(name, "u/" UPLOAD);

    assert_int_equal(s3_mark_parts_prefix(pool, &bucket, &key, &id, &name),
                     NGX_OK);
    assert_str(name, "p/" UPLOAD "/");

    for (i = 0; i < test_nelts(plain); i++) {
        etag = test_text(plain[i]);
        assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag,
                                            &name), NGX_OK);
        assert_int_equal(name.len, 2 + 64 + 1 + etag.len);
        assert_memory_equal(name.data, "o/" HASH "/", 67);
        assert_memory_equal(name.data + 67, etag.data, etag.len);
    }

    for (i = 0; i < test_nelts(odd); i++) {
        etag = test_text(odd[i]);
        assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag,
                                            &name), NGX_OK);
        assert_int_equal(name.len, 2 + 64 + 1 + 64);
        assert_memory_equal(name.data, "o/" HASH "/", 67);
    }

    etag = test_text("\"odd\"");
    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &name),
                     NGX_OK);
    assert_str(name, "o/" HASH "/" ODD);

    /* 64 bytes, and one more */

    memset(tag, 'e', sizeof(tag));

    etag = test_bytes(tag, 64);
    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &name),
                     NGX_OK);
    assert_int_equal(name.len, 131);
    assert_memory_equal(name.data + 67, tag, 64);

    etag = test_bytes(tag, 65);
    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &name),
                     NGX_OK);
    assert_str(name, "o/" HASH "/770d480ba4fa5d2fecf210ea7380e6bb4235cbd298da"
                     "ee613a64de97da8aad9b");

    /* another bucket, key, upload: another name */

    etag = test_text(ETAG);
    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &name),
                     NGX_OK);

    bucket = test_text("photos-a");
    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &other),
                     NGX_OK);
    assert_int_equal(other.len, name.len);
    assert_memory_not_equal(other.data, name.data, name.len);

    bucket = test_text("photos");
    key = test_text("a/b c?2~id");
    assert_int_equal(s3_mark_record_key(pool, &bucket, &key, &etag, &other),
                     NGX_OK);
    assert_memory_not_equal(other.data, name.data, name.len);
}


static void
test_part(s3_stored_part_t *part, unsigned number, uint64_t size)
{
    ngx_memzero(part, sizeof(s3_stored_part_t));

    part->number = number;
    part->size = size;
    ngx_memcpy(part->md5, MD5_BYTES, 16);
}


static void
test_part_names(void **state)
{
    size_t             i, n;
    ngx_str_t          prefix, name;
    s3_stored_part_t   part, read;

    static const char  full[] = "00007-" MD5 "-5242880-1.~_~~_w-4.ungWv48Bz~p"
                                "BQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";

    prefix = test_text("p/" UPLOAD "/");

    /* no sum */

    test_part(&part, 1, 0);
    assert_int_equal(s3_mark_part_write(pool, &prefix, &part, &name), NGX_OK);
    assert_str(name, "p/" UPLOAD "/00001-" MD5 "-0");

    name = test_bytes(name.data + prefix.len, name.len - prefix.len);
    memset(&read, 0xff, sizeof(read));
    assert_int_equal(s3_mark_part_read(&name, &read), NGX_OK);
    assert_memory_equal(&read, &part, sizeof(part));

    /* two, in base64url, whose "-" is "~" */

    test_part(&part, 7, 5242880);
    part.nsums = 2;
    part.sums[0].algorithm = S3_CHECKSUM_CRC32;
    ngx_memcpy(part.sums[0].digest, "\xfb\xff\xbe\xff", 4);
    part.sums[1].algorithm = S3_CHECKSUM_SHA256;
    assert_int_equal(s3_checksum_parse(S3_CHECKSUM_SHA256,
                        "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", 44,
                        part.sums[1].digest), 0);

    prefix = test_text("");
    assert_int_equal(s3_mark_part_write(pool, &prefix, &part, &name), NGX_OK);
    assert_str(name, full);

    name = test_text(full);
    memset(&read, 0xff, sizeof(read));
    assert_int_equal(s3_mark_part_read(&name, &read), NGX_OK);
    assert_memory_equal(&read, &part, sizeof(part));

    /* cut off: never more than is there */

    n = sizeof(full) - 1;

    for (i = 0; i < n; i++) {
        name = test_bytes(full, i);

        if (s3_mark_part_read(&name, &read) == NGX_OK) {
            assert_in_range(i, sizeof("00007-" MD5 "-5") - 1, n);
            assert_true(read.nsums < 2);
        }
    }

    /* the longest there can be, of each algorithm, and back */

    for (i = 1; i < S3_CHECKSUM_LAST; i++) {
        test_part(&part, 10000, 0x7fffffffffffffff);
        part.nsums = 2;

        part.sums[0].algorithm = i;
        memset(part.sums[0].digest, 0xff, s3_checksum_info(i)->size);
        part.sums[1].algorithm = S3_CHECKSUM_SHA256;
        memset(part.sums[1].digest, 0xfb, 32);

        prefix = test_text("p/" UPLOAD "/");
        assert_int_equal(s3_mark_part_write(pool, &prefix, &part, &name),
                         NGX_OK);
        assert_memory_equal(name.data + prefix.len,
                            "10000-" MD5 "-9223372036854775807-", 59);
        assert_null(memchr(name.data, '=', name.len));
        assert_null(memchr(name.data, '+', name.len));

        name.data += prefix.len;
        name.len -= prefix.len;
        assert_null(memchr(name.data, '/', name.len));

        memset(&read, 0xff, sizeof(read));
        assert_int_equal(s3_mark_part_read(&name, &read), NGX_OK);
        assert_memory_equal(&read, &part, sizeof(part));
    }
}


#define P  "00001-" MD5 "-3"

static void
test_part_names_bad(void **state)
{
    size_t             i;
    ngx_str_t          name;
    s3_stored_part_t   part;

    static const char  *bad[] = {
        "", "-", "--", "00001", "00001-", "00001-" MD5, "00001-" MD5 "-",
        "00000-" MD5 "-3", "10001-" MD5 "-3", "99999-" MD5 "-3",
        "-0001-" MD5 "-3", "0x001-" MD5 "-3", "1e1-" MD5 "-3",
        "18446744073709551617-" MD5 "-3",
        "00001-900150983cd24fb0d6963f7d28e17f7-3",
        "00001-900150983cd24fb0d6963f7d28e17f722-3",
        "00001-900150983cd24fb0d6963f7d28e17f7g-3",
        "00001-+00150983cd24fb0d6963f7d28e17f72-3",
        "00001-" MD5 "-x", "00001-" MD5 "-+3", "00001-" MD5 "-3.0",
        "00001-" MD5 "-9223372036854775808",
        "00001-" MD5 "-18446744073709551616",
        P "-1.NSRBw", P "-1.NSRBwgAA", P "-1.NSRBwg-1", P "-1.",
        P "-1", P "-1NSRBwg", P "-1ANSRBwg", P "-.NSRBwg", P "-0.NSRBwg",
        P "-6.NSRBwg",
        P "-9.NSRBwg", P "-/.NSRBwg", P "-:.NSRBwg", P "-\xb1.NSRBwg",
        P "-11.NSRBwg", P "-1.NSR wg", P "-1.NSR+wg", P "-1.NSR\xffwg",
        P "-5.NSRBwg", P "-4.NSRBwg", P "--1.NSRBwg",
        P "-1.NSRBwg-1.NSRBwg-1.NSRBwg",
        P "-4.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };

    for (i = 0; i < test_nelts(bad); i++) {
        name = test_text(bad[i]);

        if (s3_mark_part_read(&name, &part) != NGX_DECLINED) {
            fail_msg("%s", bad[i]);
        }
    }

    name = test_text(P "-1.NSRBwg");
    assert_int_equal(s3_mark_part_read(&name, &part), NGX_OK);
    assert_int_equal(part.nsums, 1);
    assert_memory_equal(part.sums[0].digest, "\x35\x24\x41\xc2", 4);
}


/* a chain of pieces, each of which is bytes of its own */

static ngx_chain_t *
test_chain(const char *text, size_t len, size_t piece)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_str_t     s;
    ngx_chain_t  *in, **next, *cl;

    in = NULL;
    next = &in;

    for ( /* void */ ; len; text += n, len -= n) {
        n = ngx_min(piece, len);
        s = test_bytes(text, n);

        b = ngx_calloc_buf(pool);
        cl = ngx_alloc_chain_link(pool);
        assert_non_null(b);
        assert_non_null(cl);

        b->pos = s.data;
        b->last = s.data + n;
        b->memory = 1;

        cl->buf = b;
        cl->next = NULL;
        *next = cl;
        next = &cl->next;
    }

    return in;
}


static ngx_int_t
test_body_read(const char *text, size_t piece, s3_mark_body_t *body)
{
    memset(body, 0xff, sizeof(s3_mark_body_t));

    return s3_mark_body_read(pool, test_chain(text, strlen(text), piece),
                             strlen(text), body);
}


static void
test_body(void **state)
{
    size_t            piece;
    ngx_str_t         text;
    s3_mark_body_t    body, read;
    s3_list_part_t    parts[2];

    static const char  full[] =
        "{\"bucket\":\"photos\",\"key\":\"a\\\"\\\\/\xc3\xbc\\n\","
        "\"upload_id\":\"2~id\","
        "\"parts\":[[1,5242880,\"NSRBwg==\"],[10000,9223372036854775807]]}";

    ngx_memzero(&body, sizeof(body));
    body.bucket = test_text("photos");
    body.key = test_text("k");

    assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_OK);
    assert_str(text, "{\"bucket\":\"photos\",\"key\":\"k\"}");

    /* no parts, and a list of none */

    body.parts = parts;
    body.key = test_text("");
    assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_OK);
    assert_str(text, "{\"bucket\":\"photos\",\"key\":\"\",\"parts\":[]}");

    ngx_memzero(parts, sizeof(parts));
    parts[0].number = 1;
    parts[0].size = 5242880;
    parts[0].checksum.text = test_text("NSRBwg==");
    parts[1].number = 10000;
    parts[1].size = 0x7fffffffffffffff;

    body.key = test_text("a\"\\/\xc3\xbc\n");
    body.upload_id = test_text("2~id");
    body.nparts = 2;

    assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_OK);
    assert_str(text, full);

    for (piece = 1; piece <= sizeof(full); piece++) {
        assert_int_equal(test_body_read(full, piece, &read), NGX_OK);
        assert_str(read.bucket, "photos");
        assert_str(read.key, "a\"\\/\xc3\xbc\n");
        assert_str(read.upload_id, "2~id");
        assert_int_equal(read.nparts, 2);
        assert_int_equal(read.parts[0].number, 1);
        assert_int_equal(read.parts[0].size, 5242880);
        assert_str(read.parts[0].checksum.text, "NSRBwg==");
        assert_int_equal(read.parts[1].number, 10000);
        assert_int_equal(read.parts[1].size, 0x7fffffffffffffff);
        assert_int_equal(read.parts[1].checksum.text.len, 0);
    }

    /* what is not there is empty, what nobody knows is passed over */

    assert_int_equal(test_body_read(" {\"x\": [{}], \"key\": \"k\",\n"
                                    "\"bucket\": \"b\"} ", 3, &read), NGX_OK);
    assert_str(read.bucket, "b");
    assert_str(read.key, "k");
    assert_int_equal(read.upload_id.len, 0);
    assert_null(read.parts);
    assert_int_equal(read.nparts, 0);

    assert_int_equal(test_body_read("{\"bucket\":\"b\",\"key\":\"k\","
                                    "\"parts\":[]}", 9, &read), NGX_OK);
    assert_non_null(read.parts);
    assert_int_equal(read.nparts, 0);

    /* a chain that is longer than was said, or shorter */

    assert_int_equal(s3_mark_body_read(pool, test_chain("{}{}", 4, 2), 2,
                                       &read), NGX_DECLINED);
    assert_int_equal(s3_mark_body_read(pool,
                                       test_chain("{\"bucket\":\"b\",\"key\":"
                                                  "\"k\"}", 24, 5),
                                       1000, &read), NGX_OK);
    assert_int_equal(s3_mark_body_read(pool, NULL, 0, &read), NGX_DECLINED);

    /* no text that JSON can hold */

    body.key = test_text("\xff");
    assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_ERROR);

    body.key = test_text("k");
    body.upload_id = test_text("\xff");
    assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_ERROR);

    body.upload_id.len = 0;
    parts[1].checksum.text = test_text("\xff");
    assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_ERROR);
}


#define B  "\"bucket\":\"b\",\"key\":\"k\""

static void
test_body_bad(void **state)
{
    size_t           i, n;
    s3_mark_body_t   body;

    static const char  good[] = "{" B ",\"parts\":[[1,2,\"x\"]]}";

    static const char  *bad[] = {
        "", " ", "x", "[]", "\"\"", "1", "null", "{}", "{" B, "{" B "}x",
        "{" B ",}", "{\"bucket\":\"b\"}", "{\"key\":\"k\"}",
        "{\"bucket\":1,\"key\":\"k\"}", "{\"bucket\":\"b\",\"key\":null}",
        "{" B ",\"key\":\"k\"}",
        "{" B ",\"upload_id\":7}", "{" B ",\"upload_id\":null}",
        "{" B ",\"parts\":null}", "{" B ",\"parts\":{}}",
        "{" B ",\"parts\":[1]}", "{" B ",\"parts\":[[]]}",
        "{" B ",\"parts\":[[0,1]]}", "{" B ",\"parts\":[[10001,1]]}",
        "{" B ",\"parts\":[[-1,1]]}", "{" B ",\"parts\":[[1,-1]]}",
        "{" B ",\"parts\":[[\"1\",1]]}", "{" B ",\"parts\":[[1.0,1]]}",
        "{" B ",\"parts\":[[1,9223372036854775808]]}",
        "{" B ",\"parts\":[[1,1],{}]}",
        "{\"bucket\":\"\xff\",\"key\":\"k\"}",
        "{\"bucket\":\"a\\u0000\",\"key\":\"k\"}",
    };

    for (i = 0; i < test_nelts(bad); i++) {
        if (test_body_read(bad[i], 7, &body) != NGX_DECLINED) {
            fail_msg("%s", bad[i]);
        }
    }

    n = sizeof(good) - 1;

    for (i = 0; i <= n; i++) {
        assert_int_equal(s3_mark_body_read(pool, test_chain(good, i, n), i,
                                           &body),
                         i == n ? NGX_OK : NGX_DECLINED);
    }
}


static void
test_body_parts(void **state)
{
    ngx_str_t        text;
    ngx_uint_t       i, n;
    ngx_chain_t     *in;
    s3_mark_body_t   body, read;

    /* as many as an upload may have, and one more */

    for (n = S3_PART_NUMBER_MAX; n <= S3_PART_NUMBER_MAX + 1; n++) {

        ngx_memzero(&body, sizeof(body));
        body.bucket = test_text("b");
        body.key = test_text("k");
        body.nparts = n;
        body.parts = ngx_pcalloc(pool, n * sizeof(s3_list_part_t));
        assert_non_null(body.parts);

        for (i = 0; i < n; i++) {
            body.parts[i].number = ngx_min(i + 1, S3_PART_NUMBER_MAX);
            body.parts[i].size = i;
        }

        assert_int_equal(s3_mark_body_write(pool, &body, &text), NGX_OK);

        in = test_chain((char *) text.data, text.len, 4096);

        if (n > S3_PART_NUMBER_MAX) {
            assert_int_equal(s3_mark_body_read(pool, in, text.len, &read),
                             NGX_DECLINED);
            break;
        }

        assert_int_equal(s3_mark_body_read(pool, in, text.len, &read),
                         NGX_OK);
        assert_int_equal(read.nparts, n);

        for (i = 0; i < n; i++) {
            assert_int_equal(read.parts[i].number, i + 1);
            assert_int_equal(read.parts[i].size, i);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_value, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_value_bad, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_upload, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_keys, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_part_names, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_part_names_bad, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_body, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_body_bad, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_body_parts, test_setup,
                                        test_teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
