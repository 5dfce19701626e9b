
/* What stands in headers: dates, ranges, conditions, metadata. */

#include "s3_test.h"
#include "s3_condition.h"
#include "s3_date.h"
#include "s3_metadata.h"
#include "s3_range.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))


static void
test_dates(void **state)
{
    u_char      buf[64];
    time_t      t, got;
    ngx_str_t   s;
    struct tm   tm;
    char        text[64];
    ngx_uint_t  i;

    static const char  *bad[] = {
        "", "20260131T235959", "20260131T235959z", "20260131t235959Z",
        "2026-01-31T23:59:5Z", "20261331T000000Z", "20260001T000000Z",
        "20260100T000000Z", "20260132T000000Z", "20260229T000000Z",
        "21000229T000000Z", "20260431T000000Z", "20260131T240000Z",
        "20260131T236000Z", "20260131T235960Z", "2026013 T235959Z",
        "19691231T235959Z", "+0260131T235959Z", "20260131T-35959Z"
    };

    /* against libc, days apart so that all kinds of years are met */

    for (t = 0; t < 253402300800LL; t += 86400 * 17 + 12345) {
        assert_non_null(gmtime_r(&t, &tm));
        strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &tm);

        *s3_date_basic(buf, t) = '\0';
        assert_string_equal(buf, text);

        s = s3_test_str(text);
        assert_int_equal(s3_date_parse_basic(&s, &got), NGX_OK);
        assert_int_equal(got, t);

        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.007Z", &tm);
        *s3_date_extended(buf, (int64_t) t * 1000 + 7) = '\0';
        assert_string_equal(buf, text);

        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        *s3_date_http(buf, t) = '\0';
        assert_string_equal(buf, text);

        s = s3_test_str(text);
        assert_int_equal(s3_date_parse_http(&s, &got), NGX_OK);
        assert_int_equal(got, t);
    }

    for (i = 0; i < test_nelts(bad); i++) {
        s = s3_test_str(bad[i]);
        if (s3_date_parse_basic(&s, &got) != NGX_ERROR) {
            fail_msg("%s", bad[i]);
        }
    }

    s = s3_test_str("20240229T000000Z");
    assert_int_equal(s3_date_parse_basic(&s, &got), NGX_OK);
    assert_int_equal(got, 1709164800);

    s = s3_test_str("yesterday");
    assert_int_equal(s3_date_parse_http(&s, &got), NGX_ERROR);
    s = s3_test_str("");
    assert_int_equal(s3_date_parse_http(&s, &got), NGX_ERROR);
}


static void
test_ranges(void **state)
{
    u_char      buf[S3_RANGE_TEXT + 1];
    ngx_str_t   s;
    ngx_uint_t  i;
    s3_error_e  rc;
    s3_range_t  r;

    static const struct {
        const char  *header;
        uint64_t     size;
        s3_error_e   error;
        uint64_t     offset;
        uint64_t     length;
        unsigned     partial;
    } cases[] = {
        { "bytes=0-0", 10, S3_OK, 0, 1, 1 },
        { "bytes=0-9", 10, S3_OK, 0, 10, 1 },
        { "bytes=0-", 10, S3_OK, 0, 10, 1 },
        { "bytes=9-", 10, S3_OK, 9, 1, 1 },
        { "bytes=3-5", 10, S3_OK, 3, 3, 1 },
        { "bytes=3-500", 10, S3_OK, 3, 7, 1 },
        { "Bytes=3-5", 10, S3_OK, 3, 3, 1 },
        { "bytes= 3-5 ", 10, S3_OK, 3, 3, 1 },
        { "bytes=-1", 10, S3_OK, 9, 1, 1 },
        { "bytes=-10", 10, S3_OK, 0, 10, 1 },
        { "bytes=-11", 10, S3_OK, 0, 10, 1 },
        { "bytes=5-18446744073709551615", 10, S3_OK, 5, 5, 1 },
        { "bytes=5-99999999999999999999999", 10, S3_OK, 5, 5, 1 },
        { "bytes=-99999999999999999999999", 10, S3_OK, 0, 10, 1 },
        { "bytes=0-18446744073709551614", 18446744073709551615ULL, S3_OK, 0,
          18446744073709551615ULL, 1 },

        /* beyond the end */
        { "bytes=10-", 10, S3_ERR_INVALID_RANGE, 0, 0, 0 },
        { "bytes=10-20", 10, S3_ERR_INVALID_RANGE, 0, 0, 0 },
        { "bytes=99999999999999999999999-", 10, S3_ERR_INVALID_RANGE, 0, 0,
          0 },
        { "bytes=-0", 10, S3_ERR_INVALID_RANGE, 0, 0, 0 },
        { "bytes=0-", 0, S3_ERR_INVALID_RANGE, 0, 0, 0 },
        { "bytes=-1", 0, S3_ERR_INVALID_RANGE, 0, 0, 0 },

        /* as if it were not there */
        { "", 10, S3_OK, 0, 10, 0 },
        { "bytes", 10, S3_OK, 0, 10, 0 },
        { "bytes=", 10, S3_OK, 0, 10, 0 },
        { "bytes=   ", 10, S3_OK, 0, 10, 0 },
        { "bytes=-", 10, S3_OK, 0, 10, 0 },
        { "bytes=5-3", 10, S3_OK, 0, 10, 0 },
        { "bytes=50-30", 10, S3_OK, 0, 10, 0 },
        { "bytes=0-1,3-4", 10, S3_OK, 0, 10, 0 },
        { "bytes=-1,3-4", 10, S3_OK, 0, 10, 0 },
        { "bytes=0", 10, S3_OK, 0, 10, 0 },
        { "bytes=a-b", 10, S3_OK, 0, 10, 0 },
        { "bytes=0-b", 10, S3_OK, 0, 10, 0 },
        { "bytes=0--1", 10, S3_OK, 0, 10, 0 },
        { "bytes=--1", 10, S3_OK, 0, 10, 0 },
        { "bytes=+0-1", 10, S3_OK, 0, 10, 0 },
        { "bytes=0x0-1", 10, S3_OK, 0, 10, 0 },
        { "bytes:0-1", 10, S3_OK, 0, 10, 0 },
        { "items=0-1", 10, S3_OK, 0, 10, 0 },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        s = s3_test_str(cases[i].header);
        rc = s3_range_parse(&s, cases[i].size, &r);

        if (rc != cases[i].error) {
            fail_msg("%s", cases[i].header);
        }

        if (rc == S3_OK) {
            if (r.offset != cases[i].offset || r.length != cases[i].length
                || r.partial != cases[i].partial)
            {
                fail_msg("%s: %lu %lu %u", cases[i].header,
                         (unsigned long) r.offset, (unsigned long) r.length,
                         r.partial);
            }
        }
    }

    assert_int_equal(s3_range_parse(NULL, 5, &r), S3_OK);
    assert_int_equal(r.length, 5);

    s = s3_test_str("bytes=-3");
    assert_int_equal(s3_range_parse(&s, 1234, &r), S3_OK);
    *s3_range_text(buf, &r, 1234) = '\0';
    assert_string_equal(buf, "bytes 1231-1233/1234");
}


#define IM   "If-Match"
#define INM  "If-None-Match"
#define IMS  "If-Modified-Since"
#define IUS  "If-Unmodified-Since"
#define OLD  "Sat, 31 Jan 2026 23:59:58 GMT"
#define NOW  "Sat, 31 Jan 2026 23:59:59 GMT"
#define NEW  "Sun, 01 Feb 2026 00:00:00 GMT"

static void
test_conditions(void **state)
{
    ngx_str_t     etag;
    ngx_uint_t    i, n;
    s3_error_e    rc;
    s3_failure_t  fail;
    s3_header_t   h[4];

    static const struct {
        const char  *headers[8];
        s3_error_e   error;
    } cases[] = {
        { { NULL }, S3_OK },
        { { IM, "\"abc\"" }, S3_OK },
        { { IM, "abc" }, S3_OK },
        { { IM, "*" }, S3_OK },
        { { IM, "\"x\", \"abc\"" }, S3_OK },
        { { IM, "\"x\",\"y\"" }, S3_ERR_PRECONDITION_FAILED },
        { { IM, "\"ab\"" }, S3_ERR_PRECONDITION_FAILED },
        { { IM, "W/\"abc\"" }, S3_ERR_PRECONDITION_FAILED },
        { { IM, "" }, S3_ERR_PRECONDITION_FAILED },
        { { IM, "\"abc" }, S3_ERR_PRECONDITION_FAILED },
        { { IM, "\"x\"", IM, "\"abc\"" }, S3_OK },
        { { INM, "\"abc\"" }, S3_ERR_NOT_MODIFIED },
        { { INM, "W/\"abc\"" }, S3_ERR_NOT_MODIFIED },
        { { INM, "abc" }, S3_ERR_NOT_MODIFIED },
        { { INM, " * " }, S3_ERR_NOT_MODIFIED },
        { { INM, "\"x\" , W/\"y\",abc " }, S3_ERR_NOT_MODIFIED },
        { { INM, "\"x\"" }, S3_OK },
        { { INM, "\"*\"" }, S3_OK },
        { { IMS, OLD }, S3_OK },
        { { IMS, NOW }, S3_ERR_NOT_MODIFIED },
        { { IMS, NEW }, S3_ERR_NOT_MODIFIED },
        { { IMS, "garbage" }, S3_OK },
        { { IUS, OLD }, S3_ERR_PRECONDITION_FAILED },
        { { IUS, NOW }, S3_OK },
        { { IUS, NEW }, S3_OK },
        { { IUS, "garbage" }, S3_OK },

        /* S3's two rules of precedence */
        { { IM, "\"abc\"", IUS, OLD }, S3_OK },
        { { IM, "\"x\"", IUS, NEW }, S3_ERR_PRECONDITION_FAILED },
        { { INM, "\"abc\"", IMS, OLD }, S3_ERR_NOT_MODIFIED },
        { { INM, "\"x\"", IMS, NEW }, S3_OK },

        { { IM, "\"abc\"", INM, "\"abc\"" }, S3_ERR_NOT_MODIFIED },
        { { IUS, OLD, INM, "\"abc\"" }, S3_ERR_PRECONDITION_FAILED },
        { { IM, "\"abc\"", IMS, NEW }, S3_ERR_NOT_MODIFIED },
    };

    etag = s3_test_str("abc");

    for (i = 0; i < test_nelts(cases); i++) {
        for (n = 0; n < 4 && cases[i].headers[2 * n]; n++) {
            h[n].name = s3_test_str(cases[i].headers[2 * n]);
            h[n].value = s3_test_str(cases[i].headers[2 * n + 1]);
        }

        ngx_memzero(&fail, sizeof(s3_failure_t));
        rc = s3_condition_read(h, n, &etag, 1769903999, &fail);

        if (rc != cases[i].error) {
            fail_msg("case %d: %d", (int) i, (int) rc);
        }

        assert_int_equal(fail.error, rc);
        assert_int_equal(fail.nelements, rc != S3_OK);
    }
}


static void
test_write_conditions(void **state)
{
    ngx_uint_t      i, n;
    s3_failure_t    fail;
    s3_header_t     h[2];
    s3_condition_t  c;

    static const struct {
        const char      *headers[4];
        s3_error_e       error;
        s3_condition_e   type;
        const char      *etag;
    } cases[] = {
        { { NULL }, S3_OK, S3_CONDITION_NONE, "" },
        { { INM, "*" }, S3_OK, S3_CONDITION_ABSENT, "" },
        { { INM, " * " }, S3_OK, S3_CONDITION_ABSENT, "" },
        { { IM, "*" }, S3_OK, S3_CONDITION_EXISTS, "" },
        { { IM, "\"abc\"" }, S3_OK, S3_CONDITION_ETAG, "abc" },
        { { IM, "abc" }, S3_OK, S3_CONDITION_ETAG, "abc" },
        { { IM, "\"abc-2\"" }, S3_OK, S3_CONDITION_ETAG, "abc-2" },
        { { INM, "\"abc\"" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { INM, "" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { INM, "*", INM, "*" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "\"\"" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "W/\"abc\"" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "\"a\",\"b\"" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "a,b" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "a", IM, "b" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IM, "a", INM, "*" }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IMS, OLD }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
        { { IUS, OLD }, S3_ERR_NOT_IMPLEMENTED, 0, "" },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        for (n = 0; n < 2 && cases[i].headers[2 * n]; n++) {
            h[n].name = s3_test_str(cases[i].headers[2 * n]);
            h[n].value = s3_test_str(cases[i].headers[2 * n + 1]);
        }

        if (s3_condition_write(h, n, &c, &fail) != cases[i].error) {
            fail_msg("case %d", (int) i);
        }

        if (cases[i].error == S3_OK) {
            assert_int_equal(c.type, cases[i].type);
            assert_str(c.etag, cases[i].etag);
        }
    }
}


static void
test_set(s3_header_t *h, const char *name, const char *value)
{
    h->name = s3_test_str(name);
    h->value = s3_test_str(value);
}


/* all of them real headers */

static s3_error_e
collect(ngx_pool_t *pool, s3_header_t *h, ngx_uint_t n, ngx_str_t *blob,
    s3_failure_t *fail)
{
    return s3_metadata_collect(pool, h, n, n, blob, fail);
}


static void
test_metadata(void **state)
{
    ngx_str_t      blob, part;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    ngx_array_t   *out;
    s3_header_t    h[16], *o;

    pool = s3_test_pool();

    /* nothing */

    assert_int_equal(collect(pool, h, 0, &blob, NULL), S3_OK);
    assert_int_equal(blob.len, 3);
    assert_memory_equal(blob.data, "\x01\x00\x00", 3);

    out = ngx_array_create(pool, 1, sizeof(s3_header_t));
    assert_int_equal(s3_metadata_headers(pool, &blob, out), NGX_OK);
    assert_int_equal(out->nelts, 1);
    o = out->elts;
    assert_str(o[0].name, "Content-Type");
    assert_str(o[0].value, "binary/octet-stream");

    /* all of them, in another order */

    test_set(&h[0], "X-Amz-Meta-B_c.d", "1");
    test_set(&h[1], "expires", "0");
    test_set(&h[2], "CACHE-CONTROL", "no-store");
    test_set(&h[3], "Content-Language", "de");
    test_set(&h[4], "Content-Disposition", "attachment; filename=\"\303\274\"");
    test_set(&h[5], "Content-Encoding", "aws-chunked, gzip");
    test_set(&h[6], "Content-Type", "text/plain");
    test_set(&h[7], "x-amz-meta-a", "x");
    test_set(&h[8], "Host", "not stored");
    test_set(&h[9], "x-amz-meta-b_C.d", "2");
    test_set(&h[10], "x-amz-meta-empty", "");
    test_set(&h[11], "x-amz-acl", "private");
    test_set(&h[12], "x-amz-meta-tab", "a\tb");

    assert_int_equal(collect(pool, h, 13, &blob, NULL), S3_OK);

    out = ngx_array_create(pool, 1, sizeof(s3_header_t));
    assert_int_equal(s3_metadata_headers(pool, &blob, out), NGX_OK);
    assert_int_equal(out->nelts, 10);
    o = out->elts;
    assert_str(o[0].name, "Content-Type");
    assert_str(o[0].value, "text/plain");
    assert_str(o[1].name, "Content-Encoding");
    assert_str(o[1].value, "gzip");
    assert_str(o[2].name, "Content-Disposition");
    assert_str(o[2].value, "attachment; filename=\"\303\274\"");
    assert_str(o[3].name, "Content-Language");
    assert_str(o[3].value, "de");
    assert_str(o[4].name, "Cache-Control");
    assert_str(o[4].value, "no-store");
    assert_str(o[5].name, "Expires");
    assert_str(o[5].value, "0");
    assert_str(o[6].name, "x-amz-meta-b_c.d");
    assert_str(o[6].value, "1,2");
    assert_str(o[7].name, "x-amz-meta-a");
    assert_str(o[8].name, "x-amz-meta-empty");
    assert_str(o[8].value, "");
    assert_str(o[9].value, "a\tb");

    /* a blob that was cut, or has bytes too many, is never half believed */

    part = blob;

    for (part.len = 1; part.len < blob.len; part.len++) {
        out = ngx_array_create(pool, 1, sizeof(s3_header_t));
        assert_int_equal(s3_metadata_headers(pool, &part, out),
                         NGX_DECLINED);
    }

    part.data = ngx_pnalloc(pool, blob.len + 1);
    ngx_memcpy(part.data, blob.data, blob.len);
    part.data[blob.len] = 0;
    part.len = blob.len + 1;
    assert_int_equal(s3_metadata_headers(pool, &part, out), NGX_DECLINED);

    for (i = 0; i < 3; i++) {
        part.len = blob.len;
        part.data[0] = i == 0 ? 2 : 1;
        part.data[1] = i == 1 ? 9 : 10;
        part.data[3] = i == 2 ? 7 : 1;
        assert_int_equal(s3_metadata_headers(pool, &part, out),
                         NGX_DECLINED);
    }

    part.data[3] = 1;
    assert_int_equal(s3_metadata_headers(pool, &part, out), NGX_OK);

    s3_test_pool_free(pool);
}


static void
test_metadata_encoding(void **state)
{
    ngx_str_t      blob;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    ngx_array_t   *out;
    s3_header_t    h, *o;

    static const char  *cases[][2] = {
        { "aws-chunked", NULL },
        { "AWS-Chunked", NULL },
        { "aws-chunked,gzip", "gzip" },
        { "gzip,aws-chunked", "gzip" },
        { "gzip , aws-chunked , br", "gzip,br" },
        { "aws-chunked,", NULL },
        { "", NULL },
        { "aws-chunked2", "aws-chunked2" },
        { "gzip", "gzip" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        test_set(&h, "Content-Encoding", cases[i][0]);
        assert_int_equal(collect(pool, &h, 1, &blob, NULL),
                         S3_OK);

        out = ngx_array_create(pool, 1, sizeof(s3_header_t));
        assert_int_equal(s3_metadata_headers(pool, &blob, out), NGX_OK);
        o = out->elts;

        if (cases[i][1]) {
            assert_int_equal(out->nelts, 2);
            assert_str(o[0].value, cases[i][1]);

        } else {
            assert_int_equal(out->nelts, 1);
        }
    }

    s3_test_pool_free(pool);
}


/* What S3 answers to what was sent: s3_rfc2047.h. */

static void
test_metadata_words(void **state)
{
    ngx_str_t      blob;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    ngx_array_t   *out;
    s3_header_t    h, *o;

    static const struct {
        const char  *sent;
        const char  *header;      /* NULL: as sent */
        const char  *hoisted;     /* NULL: as for a header */
    } cases[] = {
        { "plain =? ?= a_b", NULL, NULL },
        { "", NULL, NULL },

        /* the S3 user guide's own example */
        { "\303\204M\303\204Z\303\225\303\221 S3",
          "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?=",
          "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=" },

        /* Q where most is ASCII, as many of each: B */
        { "caf\303\251", "=?UTF-8?Q?caf=C3=83=C2=A9?=",
          "=?UTF-8?Q?caf=C3=A9?=" },
        { "ab\303\251", "=?UTF-8?B?YWLDg8Kp?=", "=?UTF-8?Q?ab=C3=A9?=" },
        { "a\303\251", "=?UTF-8?B?YcODwqk=?=", "=?UTF-8?B?YcOp?=" },

        /* Latin-1; in a query it is no UTF-8 */
        { "caf\351", "=?UTF-8?Q?caf=C3=A9?=", "=?UTF-8?Q?caf=EF=BF=BD?=" },

        /* a character of 4 bytes is two of Java's */
        { "a\360\237\230\200", "=?UTF-8?B?YcOwwp/CmMKA?=",
          "=?UTF-8?B?YfCfmIA=?=" },
        { "abc\360\237\230\200", "=?UTF-8?B?YWJjw7DCn8KYwoA=?=",
          "=?UTF-8?Q?abc=F0=9F=98=80?=" },

        /* what is encoded beside it, and what is not */
        { "a_b?c=d\te\"f%g\303\251",
          "=?UTF-8?Q?a=5Fb=3Fc=3Dd=09e\"f%g=C3=83=C2=A9?=",
          "=?UTF-8?Q?a=5Fb=3Fc=3Dd=09e\"f%g=C3=A9?=" },

        /* words are decoded */
        { "=?UTF-8?B?Y2Fmw6k=?=", "=?UTF-8?Q?caf=C3=A9?=", NULL },
        { "=?utf-8?q?caf=c3=a9?=", "=?UTF-8?Q?caf=C3=A9?=", NULL },
        { "=?ISO-8859-1?Q?caf=E9?=", "=?UTF-8?Q?caf=C3=A9?=", NULL },
        { "=?iso-8859-1*fr?Q?caf=E9?=", "=?UTF-8?Q?caf=C3=A9?=", NULL },
        { "=?US-ASCII?Q?caf=E9?=", "=?UTF-8?Q?caf=EF=BF=BD?=", NULL },
        { "=?UTF-8?Q?just_ascii?=", "just ascii", NULL },
        { "=?UTF-8?B?YWJj?=", "abc", NULL },
        { "=?UTF-8?B?YQ==?= \t =?UTF-8?Q?b?=", "ab", NULL },
        { " a  =?UTF-8?B?YWJj?=  b ", " a  abc  b ", NULL },
        { "=?UTF-8?Q?a?= \303\251bc", "=?UTF-8?Q?a_=C3=83=C2=A9bc?=",
          "=?UTF-8?Q?a_=C3=A9bc?=" },
        { "=?UTF-8?B?4oI=?= ab", "=?UTF-8?Q?=EF=BF=BD=EF=BF=BD_ab?=", NULL },

        /* what would split the answer, or end it, stays in a word */
        { "=?UTF-8?B?YWJjDQpTZXQtQ29va2llOiBk?=",
          "=?UTF-8?Q?abc=0D=0ASet-Cookie:_d?=", NULL },
        { "=?UTF-8?Q?=00?=", "=?UTF-8?B?AA==?=", NULL },
        { "=?UTF-8?Q?ab=7F?=", "=?UTF-8?Q?ab=7F?=", NULL },

        /* no words: kept as they are */
        { "=?UTF-8?B?Y2Fmw6k?=", NULL, NULL },
        { "=?UTF-8?B?YW=j?=", NULL, NULL },
        { "=?UTF-8?B?=GGG?=", NULL, NULL },
        { "=?UTF-8?B?YWJj====?=", NULL, NULL },
        { "=?UTF-8?B?Y*Jj?=", NULL, NULL },
        { "=?UTF-8?B?\?=", NULL, NULL },
        { "=?UTF-8?Q?a=Z1?=", NULL, NULL },
        { "=?UTF-8?Q?a=4?=", NULL, NULL },
        { "=?UTF-8?Q?a?b?=", NULL, NULL },
        { "=?UTF-8?X?abcd?=", NULL, NULL },
        { "=?UTF-8?QQ?abcd?=", NULL, NULL },
        { "=?KOI8-R?B?YWJj?=", NULL, NULL },
        { "=??Q?abc?=", NULL, NULL },
        { "=?UTF-8?Q?abc?", NULL, NULL },
        { "=?UTF-8?=", NULL, NULL },
        { "=?UTF-8?Q?=", NULL, NULL },
        { "=?=", NULL, NULL },
        { "x=?UTF-8?Q?abc?=", NULL, NULL },
        { "=?UTF-8?Q?abc?=,", NULL, NULL },

        /* a word of 75 characters; a longer one is two of half the text */
        { "=?UTF-8?Q?=C3=A9abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
          "wxyzabcde?=",
          "=?UTF-8?Q?=C3=A9abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
          "wxyzabcde?=", NULL },
        { "=?UTF-8?Q?=C3=A9abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
          "wxyzabcdef?=",
          "=?UTF-8?Q?=C3=A9abcdefghijklmnopqrstuvwxyzab?= "
          "=?UTF-8?Q?cdefghijklmnopqrstuvwxyzabcdef?=", NULL },

        /* the second of the two is not parted from its first half */
        { "=?UTF-8?B?8J+YgPCfmIDwn5iA8J+YgPCfmIA=?= "
          "=?UTF-8?B?8J+YgPCfmIDwn5iA8J+YgPCfmIDwn5iA8J+YgPCfmIA=?=",
          "=?UTF-8?B?8J+YgPCfmIDwn5iA8J+YgPCfmIDwn5iA?= "
          "=?UTF-8?B?8J+YgPCfmIDwn5iA8J+YgPCfmIDwn5iA8J+YgA==?=", NULL },
    };

    pool = s3_test_pool();

    for (i = 0; i < 2 * test_nelts(cases); i++) {
        const char  *want;

        want = cases[i / 2].header;

        if (i % 2 && cases[i / 2].hoisted) {
            want = cases[i / 2].hoisted;
        }

        if (want == NULL) {
            want = cases[i / 2].sent;
        }

        test_set(&h, "x-amz-meta-a", cases[i / 2].sent);
        assert_int_equal(s3_metadata_collect(pool, &h, 1, i % 2 ? 0 : 1,
                                             &blob, NULL),
                         S3_OK);

        out = ngx_array_create(pool, 1, sizeof(s3_header_t));
        assert_int_equal(s3_metadata_headers(pool, &blob, out), NGX_OK);
        o = out->elts;

        if (o[0].value.len != strlen(want)
            || memcmp(o[0].value.data, want, o[0].value.len) != 0)
        {
            fail_msg("%s: %.*s, not %s", cases[i / 2].sent,
                     (int) o[0].value.len, o[0].value.data, want);
        }
    }

    /* a system header's bytes are nobody's text */

    test_set(&h, "Cache-Control", "=?UTF-8?B?YWJj?= \303\251\351");
    assert_int_equal(collect(pool, &h, 1, &blob, NULL), S3_OK);
    out = ngx_array_create(pool, 1, sizeof(s3_header_t));
    assert_int_equal(s3_metadata_headers(pool, &blob, out), NGX_OK);
    o = out->elts;
    assert_str(o[0].value, "=?UTF-8?B?YWJj?= \303\251\351");

    /* the longest: each byte of it a word's 3 characters, and halved */

    h.name = s3_test_str("x-amz-meta-a");
    h.value.len = (S3_METADATA_USER_MAX - 1) / 2;
    h.value.data = ngx_pnalloc(pool, h.value.len + 1);
    ngx_memset(h.value.data, 0xff, h.value.len + 1);
    assert_int_equal(collect(pool, &h, 1, &blob, NULL), S3_OK);
    out = ngx_array_create(pool, 1, sizeof(s3_header_t));
    assert_int_equal(s3_metadata_headers(pool, &blob, out), NGX_OK);
    o = out->elts;
    h.value = o[0].value;

    while (h.value.len) {
        u_char  *end;

        end = ngx_strlchr(h.value.data, h.value.data + h.value.len, ' ');
        end = end ? end + 1 : h.value.data + h.value.len;
        assert_true(end - h.value.data <= 76);
        assert_memory_equal(h.value.data, "=?UTF-8?B?w7/Dv8O/", 18);
        h.value.len -= end - h.value.data;
        h.value.data = end;
    }

    /* as many bytes are too many in UTF-8 */

    h.value.data = ngx_pnalloc(pool, 1024);
    h.value.len = 1024;
    ngx_memset(h.value.data, 0xff, 1024);
    assert_int_equal(collect(pool, &h, 1, &blob, NULL),
                     S3_ERR_METADATA_TOO_LARGE);

    s3_test_pool_free(pool);
}


static void
test_metadata_bounds(void **state)
{
    u_char        *big;
    ngx_str_t      blob;
    ngx_pool_t    *pool;
    s3_header_t    h[3];
    s3_failure_t   fail;

    pool = s3_test_pool();
    big = ngx_pnalloc(pool, 70000);
    ngx_memset(big, 'v', 70000);

    /* 2 KB of user metadata, names counted without the prefix */

    test_set(&h[0], "x-amz-meta-abc", "12345");
    test_set(&h[1], "x-amz-meta-d", "");
    h[1].value.data = big;
    h[1].value.len = 2048 - 8 - 1;
    assert_int_equal(collect(pool, h, 2, &blob, NULL), S3_OK);

    h[1].value.len++;
    assert_int_equal(collect(pool, h, 2, &blob, &fail),
                     S3_ERR_METADATA_TOO_LARGE);
    assert_str(fail.elements[0].value, "2049");
    assert_str(fail.elements[1].value, "2048");

    /* 16 KiB of everything */

    test_set(&h[0], "Content-Disposition", "");
    h[0].value.data = big;
    h[0].value.len = S3_METADATA_MAX - 3 - 3;
    assert_int_equal(collect(pool, h, 1, &blob, NULL), S3_OK);
    assert_int_equal(blob.len, S3_METADATA_MAX);

    h[0].value.len++;
    assert_int_equal(collect(pool, h, 1, &blob, &fail),
                     S3_ERR_METADATA_TOO_LARGE);

    h[0].value.len = 70000;
    assert_int_equal(collect(pool, h, 1, &blob, &fail),
                     S3_ERR_METADATA_TOO_LARGE);

    h[0].value.len = S3_METADATA_MAX - 3 - 3;
    test_set(&h[1], "x-amz-meta-d", "");
    assert_int_equal(collect(pool, h, 2, &blob, &fail),
                     S3_ERR_METADATA_TOO_LARGE);

    /* names */

    test_set(&h[0], "x-amz-meta-", "v");
    assert_int_equal(collect(pool, h, 1, &blob, &fail),
                     S3_ERR_INVALID_ARGUMENT);

    ngx_memcpy(big, "x-amz-meta-", 11);
    h[0].name.data = big;
    h[0].name.len = 11 + 255;
    assert_int_equal(collect(pool, h, 1, &blob, &fail), S3_OK);
    h[0].name.len = 11 + 256;
    assert_int_equal(collect(pool, h, 1, &blob, &fail),
                     S3_ERR_INVALID_ARGUMENT);

    /* what would split an answer */

    test_set(&h[0], "x-amz-meta-a", "b\r\nSet-Cookie: c");
    assert_int_equal(collect(pool, h, 1, &blob, &fail),
                     S3_ERR_INVALID_ARGUMENT);

    test_set(&h[0], "Content-Type", "a\177");
    assert_int_equal(collect(pool, h, 1, &blob, &fail),
                     S3_ERR_INVALID_ARGUMENT);

    s3_test_pool_free(pool);
}


static void
test_override(void **state)
{
    ngx_str_t      raw, mount = ngx_string("/");
    s3_target_t    t;
    ngx_pool_t    *pool;
    ngx_array_t   *out;
    s3_header_t   *o;

    pool = s3_test_pool();

    raw = s3_test_str("/abc/k?response-content-type=text%2Fplain"
                      "&response-cache-control=no-store&response-expires=1"
                      "&response-content-language=de"
                      "&response-content-encoding=br"
                      "&response-content-disposition=inline");
    assert_int_equal(s3_target_parse(pool, &raw, &mount, &t, NULL), S3_OK);

    out = ngx_array_create(pool, 1, sizeof(s3_header_t));
    o = ngx_array_push(out);
    test_set(o, "Content-Type", "image/png");
    o = ngx_array_push(out);
    test_set(o, "x-amz-meta-a", "b");

    assert_int_equal(s3_metadata_override(&t, out, NULL), S3_OK);
    assert_int_equal(out->nelts, 7);
    o = out->elts;
    assert_str(o[0].value, "text/plain");
    assert_str(o[1].value, "b");
    assert_str(s3_header(o, 7, "cache-control")->value, "no-store");
    assert_str(s3_header(o, 7, "expires")->value, "1");
    assert_str(s3_header(o, 7, "content-language")->value, "de");
    assert_str(s3_header(o, 7, "content-encoding")->value, "br");
    assert_str(s3_header(o, 7, "content-disposition")->value, "inline");

    /* in ISO 8859-1, or not at all */

    raw = s3_test_str("/abc/k?response-content-disposition=caf%C3%A9"
                      "&response-expires=");
    assert_int_equal(s3_target_parse(pool, &raw, &mount, &t, NULL), S3_OK);
    assert_int_equal(s3_metadata_override(&t, out, NULL), S3_OK);
    o = out->elts;
    assert_str(s3_header(o, 7, "content-disposition")->value, "caf\351");

    raw = s3_test_str("/abc/k?response-content-disposition=%E2%82%AC");
    assert_int_equal(s3_target_parse(pool, &raw, &mount, &t, NULL), S3_OK);
    assert_int_equal(s3_metadata_override(&t, out, NULL),
                     S3_ERR_INVALID_ARGUMENT);

    raw = s3_test_str("/abc/k?response-content-type=a%0d%0aSet-Cookie:b");
    assert_int_equal(s3_target_parse(pool, &raw, &mount, &t, NULL), S3_OK);
    assert_int_equal(s3_metadata_override(&t, out, NULL),
                     S3_ERR_INVALID_ARGUMENT);

    s3_test_pool_free(pool);
}


/* values of one name, whichever way the name is written */

static void
test_join(void **state)
{
    ngx_str_t     name, value;
    ngx_pool_t   *pool;
    s3_header_t   h[5];

    pool = s3_test_pool();

    test_set(&h[0], "X-Amz-Meta-A", "1");
    test_set(&h[1], "x-amz-meta-ab", "2");
    test_set(&h[2], "x-amz-meta-a", "");
    test_set(&h[3], "x-amz-meta-", "3");
    test_set(&h[4], "X-AMZ-META-A", "4, 5");

    name = s3_test_str("x-amz-meta-a");

    assert_int_equal(s3_header_join(pool, h, 5, &name, &value), NGX_OK);
    assert_str(value, "1,,4, 5");

    assert_int_equal(s3_header_join(pool, h, 3, &name, &value), NGX_OK);
    assert_str(value, "1,");

    /* one is itself */

    assert_int_equal(s3_header_join(pool, h, 2, &name, &value), NGX_OK);
    assert_str(value, "1");
    assert_ptr_equal(value.data, h[0].value.data);

    assert_int_equal(s3_header_join(pool, &h[2], 1, &name, &value), NGX_OK);
    assert_int_equal(value.len, 0);

    name = s3_test_str("x-amz-meta-ab");
    assert_int_equal(s3_header_join(pool, h, 5, &name, &value), NGX_OK);
    assert_str(value, "2");

    s3_test_pool_free(pool);
}


static void
test_encoding(void **state)
{
    ngx_str_t    value;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    static const char  *cases[][2] = {
        { "", "" }, { "gzip", "gzip" }, { "aws-chunked", "" },
        { "AWS-CHUNKED", "" }, { "aws-chunked,", "" }, { " , ", "" },
        { "aws-chunked,gzip", "gzip" }, { "gzip , aws-chunked", "gzip" },
        { "gzip,aws-chunked,br", "gzip,br" },
        { "aws-chunked,aws-chunked", "" }, { "aws-chunk", "aws-chunk" },
        { "xaws-chunked", "xaws-chunked" },
        { "aws-chunked-2", "aws-chunked-2" }
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        value = s3_test_str(cases[i][0]);
        assert_int_equal(s3_metadata_encoding(pool, &value), NGX_OK);
        assert_str(value, cases[i][1]);
    }

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_write_conditions),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_encoding),
        cmocka_unit_test(test_metadata_words),
        cmocka_unit_test(test_metadata_bounds),
        cmocka_unit_test(test_override),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_encoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
