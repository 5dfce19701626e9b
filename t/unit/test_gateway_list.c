
/* An upstream's lists with encoding-type=url, mended; wrapped tokens. */

#include "s3_test.h"
#include "s3_upstream_list.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))

#define XML   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define NS    " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define LIST(s)                                                              \
    XML "<ListBucketResult" NS "><EncodingType>url</EncodingType>"           \
    "<Name>abc</Name>" s "</ListBucketResult>"
#define VERSIONS(s)                                                          \
    XML "<ListVersionsResult" NS "><EncodingType>url</EncodingType>"         \
    "<Name>abc</Name>" s "</ListVersionsResult>"
#define KEY(k)                                                               \
    "<Contents><Key>" k "</Key><Size>0</Size><Owner><ID>u</ID></Owner>"      \
    "</Contents>"
#define COMMON(p)  "<CommonPrefixes><Prefix>" p "</Prefix></CommonPrefixes>"

#define SAME  NULL                     /* nothing is wrong with it */


static ngx_pool_t        *pool;
static s3_list_params_t   params;
static char               text[16384];


static int
test_setup(void **state)
{
    pool = s3_test_pool();

    ngx_memzero(&params, sizeof(params));
    params.encoding_url = 1;

    return 0;
}


static int
test_teardown(void **state)
{
    s3_test_pool_free(pool);

    return 0;
}


/* the document as it is afterwards, in text; SAME where it is kept */

static const char *
test_mend(const char *document)
{
    char         *p;
    size_t        size, n;
    ngx_int_t     rc;
    ngx_str_t     doc;
    ngx_chain_t  *out;

    /* bytes of their own, nothing behind them */

    doc.len = strlen(document);
    doc.data = ngx_pnalloc(pool, doc.len ? doc.len : 1);
    assert_non_null(doc.data);
    ngx_memcpy(doc.data, document, doc.len);

    out = NULL;
    size = 0;

    rc = s3_upstream_list_mend(pool, &params, &doc, &out, &size);

    /* it stays as it was, whatever comes of it */

    assert_memory_equal(doc.data, document, doc.len);

    if (rc == NGX_DECLINED) {
        return SAME;
    }

    assert_int_equal(rc, NGX_OK);
    assert_in_range(size, 1, sizeof(text) - 1);

    for (p = text; out; out = out->next) {
        n = out->buf->last - out->buf->pos;

        /* nginx takes an empty buffer for a mistake */
        assert_in_range(n, 1, text + sizeof(text) - p - 1);
        assert_true(ngx_buf_in_memory(out->buf));

        p = (char *) ngx_cpymem(p, out->buf->pos, n);
    }

    *p = '\0';
    assert_int_equal(p - text, size);

    return text;
}


static void
test_is(const char *document, const char *want)
{
    const char  *got;

    got = test_mend(document);

    if (want == SAME || got == SAME) {
        if (want != got) {
            fail_msg("%s: %s", document, got ? got : "the same");
        }

        return;
    }

    assert_string_equal(got, want);
}


/* as Ceph 16.2 answers */

static void
test_echo(void **state)
{
    params.prefix = s3_test_str("a b+/%\xc3\xbc");
    params.delimiter = s3_test_str("+ /");
    params.start_after = s3_test_str("a&b<c");

    test_is(LIST("<Prefix>a b+/%\xc3\xbc</Prefix><MaxKeys>1</MaxKeys>"
                 "<Delimiter>+ /</Delimiter><IsTruncated>true</IsTruncated>"
                 KEY("a%20b%2B%2Fc")
                 "<StartAfter>a&amp;b&lt;c</StartAfter><KeyCount>1</KeyCount>"
                 ),
            LIST("<Prefix>a%20b%2B/%25%C3%BC</Prefix><MaxKeys>1</MaxKeys>"
                 "<Delimiter>%2B%20/</Delimiter>"
                 "<IsTruncated>true</IsTruncated>" KEY("a%20b%2B%2Fc")
                 "<StartAfter>a%26b%3Cc</StartAfter><KeyCount>1</KeyCount>"));

    test_is(LIST("<Marker>x</Marker>"), LIST("<Marker>a%26b%3Cc</Marker>"));

    test_is(VERSIONS("<KeyMarker>x</KeyMarker>"
                     "<VersionIdMarker>null</VersionIdMarker>"
                     "<Version><Key>x</Key><Prefix>y</Prefix></Version>"),
            VERSIONS("<KeyMarker>a%26b%3Cc</KeyMarker>"
                     "<VersionIdMarker>null</VersionIdMarker>"
                     "<Version><Key>x</Key><Prefix>y</Prefix></Version>"));

    /* what nobody asked for is empty */

    ngx_memzero(&params, sizeof(params));

    test_is(LIST("<Prefix></Prefix><Marker> </Marker><Delimiter>/</Delimiter>"
                 ),
            LIST("<Prefix></Prefix><Marker></Marker><Delimiter></Delimiter>"
                 ));

    /* the longest there is */

    {
        char    key[S3_KEY_MAX + 1];
        size_t  n;

        memset(key, 0x01, S3_KEY_MAX);
        key[S3_KEY_MAX] = '\0';
        params.prefix = s3_test_str(key);

        assert_non_null(test_mend(LIST("<Prefix>x</Prefix>")));

        n = strlen(LIST("<Prefix></Prefix>")) + 3 * S3_KEY_MAX;
        assert_int_equal(strlen(text), n);
    }
}


static void
test_next_marker(void **state)
{
    params.delimiter = s3_test_str("/");

    /* the last key, as it stands there, or the last common prefix */

    test_is(LIST(KEY("a") KEY("a%20b%2Fc%26d")
                 "<NextMarker>a b/c&amp;d</NextMarker>"),
            LIST(KEY("a") KEY("a%20b%2Fc%26d")
                 "<NextMarker>a%20b%2Fc%26d</NextMarker>"));

    test_is(LIST(KEY("a") COMMON("b/") COMMON("b%20b/")
                 "<NextMarker>b b/</NextMarker>"),
            LIST(KEY("a") COMMON("b/") COMMON("b%20b/")
                 "<NextMarker>b%20b/</NextMarker>"));

    test_is(LIST("<NextMarker>b&#x01;&#2;</NextMarker>" KEY("b%01%02")),
            LIST("<NextMarker>b%01%02</NextMarker>" KEY("b%01%02")));

    /* a space as others write it */

    test_is(LIST(KEY("a+b%2B") "<NextMarker>a b+</NextMarker>"),
            LIST(KEY("a+b%2B") "<NextMarker>a+b%2B</NextMarker>"));

    /* an escape that is the key's own */

    test_is(LIST(KEY("a%252Fb") "<NextMarker>a%2Fb</NextMarker>"),
            LIST(KEY("a%252Fb") "<NextMarker>a%252Fb</NextMarker>"));

    /* where it is escaped it stays */

    test_is(LIST(KEY("a%252Fb") "<NextMarker>a%252Fb</NextMarker>"),
            LIST(KEY("a%252Fb") "<NextMarker>a%252Fb</NextMarker>"));

    /* another's is not known, nor is one of nothing */

    test_is(LIST(KEY("a") COMMON("b/") "<NextMarker>c d</NextMarker>"), SAME);
    test_is(LIST(KEY("a%20b") KEY("b") "<NextMarker>a b</NextMarker>"), SAME);
    test_is(LIST("<NextMarker>a b</NextMarker>"), SAME);
    test_is(LIST(KEY("") COMMON("") "<NextMarker>a b</NextMarker>"), SAME);
    test_is(LIST(KEY("a%2") "<NextMarker>a%2 </NextMarker>"), SAME);
    test_is(LIST(KEY("a%zz") "<NextMarker>a zz</NextMarker>"), SAME);

    /* "returned only if you have the delimiter request parameter" */

    params.delimiter.len = 0;

    test_is(LIST(KEY("a%20b") "<Marker></Marker><NextMarker>a b</NextMarker>"
                 "<X/>"),
            LIST(KEY("a%20b") "<Marker></Marker><X/>"));
    test_is(LIST(KEY("a") "<NextMarker></NextMarker>"), LIST(KEY("a")));
    test_is(LIST(KEY("a") "<NextMarker/>"), SAME);
}


/* references to what a key may hold; all else is as it stands */

static void
test_entities(void **state)
{
    size_t  i;
    char    from[1024], to[1024];

    static const struct {
        const char  *marker;
        const char  *key;
        int          known;
    } rows[] = {
        { "&amp;&lt;&gt;&quot;&apos;", "%26%3C%3E%22%27", 1 },
        { "&#38;&#x26;&#X26;&#0038;", "%26%26%26%26", 1 },
        { "&#x7f;&#127;&#0;&#x1f;", "%7F%7F%00%1F", 1 },
        { "&#128;", "%26%23128%3B", 1 },
        { "&#x80;", "%26%23x80%3B", 1 },
        { "&#128;", "%80", 0 },
        { "&#;&#x;&;", "%26%23%3B%26%23x%3B%26%3B", 1 },
        { "&amp", "%26amp", 1 },
        { "&", "%26", 1 },
        { "a&", "a%26", 1 },
        { "&&amp;", "%26%26", 1 },
        { "&amp;lt;", "%26lt%3B", 1 },
        { "&unknown;", "%26unknown%3B", 1 },
        { "&AMP;", "%26AMP%3B", 1 },
        { "&#-1;&#+1;&#1x;&#x1g;", "%26%23-1%3B%26%23%2B1%3B%26%231x%3B"
          "%26%23x1g%3B", 1 },
        { "&#000000038;", "%26%23000000038%3B", 1 },
        { "&#99999999;", "%26%2399999999%3B", 1 },
        { "\xc3\xbc\xff", "%C3%BC%FF", 1 },
    };

    params.delimiter = s3_test_str("/");

    for (i = 0; i < test_nelts(rows); i++) {
        snprintf(from, sizeof(from), LIST(KEY("%s")
                                          "<NextMarker>%s</NextMarker>"),
                 rows[i].key, rows[i].marker);
        snprintf(to, sizeof(to), LIST(KEY("%s") "<NextMarker>%s</NextMarker>"
                                      ), rows[i].key, rows[i].key);

        test_is(from, rows[i].known ? to : SAME);
    }
}


static void
test_versions(void **state)
{
    params.delimiter = s3_test_str("/");

    test_is(VERSIONS("<NextKeyMarker>a b</NextKeyMarker>"
                     "<NextVersionIdMarker>null</NextVersionIdMarker>"
                     "<Version><Key>a</Key></Version>"
                     "<DeleteMarker><Key>a%20b</Key></DeleteMarker>"),
            VERSIONS("<NextKeyMarker>a%20b</NextKeyMarker>"
                     "<NextVersionIdMarker>null</NextVersionIdMarker>"
                     "<Version><Key>a</Key></Version>"
                     "<DeleteMarker><Key>a%20b</Key></DeleteMarker>"));

    /* a common prefix has no versions */

    test_is(VERSIONS(COMMON("a%20b/")
                     "<NextKeyMarker>a b/</NextKeyMarker>"
                     "<NextVersionIdMarker>null</NextVersionIdMarker><X></X>"
                     ),
            VERSIONS(COMMON("a%20b/")
                     "<NextKeyMarker>a%20b/</NextKeyMarker><X></X>"));

    /* there is no marker that it could be of */

    test_is(VERSIONS(COMMON("a%20b/")
                     "<NextVersionIdMarker>null</NextVersionIdMarker>"),
            SAME);

    /* a marker of keys needs no delimiter */

    params.delimiter.len = 0;

    test_is(VERSIONS("<NextKeyMarker>a b</NextKeyMarker>"
                     "<Version><Key>a%20b</Key></Version>"),
            VERSIONS("<NextKeyMarker>a%20b</NextKeyMarker>"
                     "<Version><Key>a%20b</Key></Version>"));
}


/* what is no list with encoded names is not touched */

static void
test_others(void **state)
{
    size_t      i;
    const char  *p;
    char         part[512];

    static const char  *same[] = {
        "", " ", "x", "<", ">", "<>", "</>", "<//", "<?", "<!", "</a></b>",
        "<a/>", "<a></a>", "<?xml version=\"1.0\"?>",

        XML "<ListBucketResult" NS "><Name>abc</Name><Prefix>a b</Prefix>"
        KEY("a") "<NextMarker>a</NextMarker></ListBucketResult>",
        XML "<ListBucketResult><X><EncodingType>url</EncodingType></X>"
        "<Prefix>a b</Prefix></ListBucketResult>",
        "<EncodingType>url</EncodingType><Prefix>a b</Prefix>",
        XML "<Error><Code>NoSuchBucket</Code></Error>",

        LIST(""), LIST("<Prefix/>"), LIST("<prefix>a b</prefix>"),
        LIST("<Prefix><b>a b</b></Prefix>"),
        LIST("<X><Prefix>a b</Prefix></X>"),
        LIST("<Prefixes>a b</Prefixes>"), LIST("<Prefi>a b</Prefi>"),
        LIST("<!-- > -->"),
    };

    static const char  whole[] = LIST("<Prefix>a b</Prefix>" KEY("x"));

    params.prefix = s3_test_str("a b");

    for (i = 0; i < test_nelts(same); i++) {
        test_is(same[i], SAME);
    }

    /* names end where attributes begin */

    test_is(LIST("<Prefix a=\"1\">a b</Prefix>"),
            LIST("<Prefix a=\"1\">a%20b</Prefix>"));
    test_is(LIST("<Prefix\n>a b</Prefix ><Prefix\t>c</Prefix>"
                 "<Prefix\r>d</Prefix>"),
            LIST("<Prefix\n>a%20b</Prefix ><Prefix\t>a%20b</Prefix>"
                 "<Prefix\r>a%20b</Prefix>"));

    /* an element that ends where it begins has no text and no level */

    test_is(LIST("<X/><Prefix>a b</Prefix><Delimiter/><Y a=\"b\"/>"),
            LIST("<X/><Prefix>a%20b</Prefix><Delimiter/><Y a=\"b\"/>"));

    /* cut off anywhere: what is there is mended, no more */

    p = strstr(whole, "</Prefix>") + 9;

    for (i = 0; i < sizeof(whole) - 1; i++) {
        ngx_memcpy(part, whole, i);
        part[i] = '\0';

        if (i < (size_t) (p - whole)) {
            test_is(part, SAME);

        } else {
            assert_non_null(test_mend(part));
            assert_int_equal(strlen(text), i + 2);
            assert_non_null(strstr(text, "<Prefix>a%20b</Prefix>"));
        }
    }
}


static void
test_tokens(void **state)
{
    char        *p, *end, document[512];
    size_t       i;
    ngx_str_t    token, raw;

    static const struct {
        const char  *token;            /* as it stands in the document */
        const char  *raw;              /* NULL: it stays */
    } rows[] = {
        { "a b/c&amp;d", NULL },
        { "", NULL },
        { "\xc3\xbc\x7f", NULL },
        { "k&#x01;x", "k\x01x" },
        { "k\x01x", "k\x01x" },
        { "&#9;", "\t" },
        { "a&amp;&#10;&lt;b", "a&\n<b" },
        { "nginx.&#x1f;", "nginx.\x1f" },
        { "k&#x20;x", NULL },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        snprintf(document, sizeof(document),
                 LIST("<NextContinuationToken>%s</NextContinuationToken>"),
                 rows[i].token);

        if (rows[i].raw == NULL) {
            test_is(document, SAME);
            continue;
        }

        assert_non_null(test_mend(document));

        p = strstr(text, "<NextContinuationToken>nginx.");
        assert_non_null(p);

        p += sizeof("<NextContinuationToken>") - 1;
        end = strstr(p, "</NextContinuationToken>");
        assert_non_null(end);

        token.data = (u_char *) p;
        token.len = end - p;

        assert_int_equal(strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
                                   "opqrstuvwxyz0123456789-_."),
                         token.len);

        /* and back, as the client sends it */

        assert_int_equal(s3_upstream_list_token(pool, &token, &raw), NGX_OK);
        assert_str(raw, rows[i].raw);

        /* the page that it leads to says what the client said */

        p = strndup(p, token.len);
        assert_non_null(p);

        params.continuation_token = s3_test_str(p);

        snprintf(document, sizeof(document),
                 LIST("<ContinuationToken>%s</ContinuationToken>"),
                 rows[i].token);

        assert_non_null(test_mend(document));
        assert_non_null(strstr(text, p));
        assert_null(strstr(text, rows[i].token));

        free(p);
        ngx_str_null(&params.continuation_token);
    }

    params.continuation_token = s3_test_str("k x");
    test_is(LIST("<ContinuationToken>k x</ContinuationToken>"), SAME);
}


/* a token of the upstream's own that begins as ours do: a key may */

static void
test_token_echo(void **state)
{
    params.continuation_token = s3_test_str("nginx.c&<f>");
    test_is(LIST("<ContinuationToken>nginx.c&amp;&lt;f&gt;"
                 "</ContinuationToken>"), SAME);
}


static void
test_token_alike(void **state)
{
    char        *p, *end, document[512];
    size_t       i;
    ngx_str_t    token, raw;
    const char  *got;

    /* keys, as they stand in a document; the first unwraps to "zzz" */

    static const char  *keys[] = { "nginx.AQB6enrHJDp1", "nginx.", "nginx.a",
                                   "nginx.conf", "nginx", "a\xef\xbf\xbd" };

    for (i = 0; i < test_nelts(keys); i++) {
        snprintf(document, sizeof(document),
                 LIST("<NextContinuationToken>%s</NextContinuationToken>"),
                 keys[i]);

        got = test_mend(document);

        p = strstr(got ? got : document, "<NextContinuationToken>");
        assert_non_null(p);
        p += sizeof("<NextContinuationToken>") - 1;
        end = strstr(p, "</NextContinuationToken>");
        assert_non_null(end);

        token.data = (u_char *) p;
        token.len = end - p;

        if (s3_upstream_list_token(pool, &token, &raw) != NGX_OK) {
            raw = token;
        }

        assert_str(raw, keys[i]);
    }
}


/* U+FFFE and U+FFFF are characters of keys, and none of XML's */

static void
test_token_nonchar(void **state)
{
    assert_non_null(test_mend(LIST("<NextContinuationToken>a\xef\xbf\xbe"
                                   "</NextContinuationToken>")));
    assert_non_null(strstr(text, ">nginx."));

    assert_non_null(test_mend(LIST("<NextContinuationToken>\xef\xbf\xbf"
                                   "</NextContinuationToken>")));
    assert_non_null(strstr(text, ">nginx."));

    test_is(LIST("<NextContinuationToken>\xef\xbf\xbd\xef\xbe\xbf\xef\xbf"
                 "</NextContinuationToken>"), SAME);
}


static void
test_token_bad(void **state)
{
    char        document[4096];
    size_t      i, n;
    ngx_str_t   token, raw;

    static const char  *bad[] = {
        "", "a", "nginx", "nginx.", "Nginx.AQBhAAAAAA", "nginx.a", "nginx.!",
        "nginx.AQBhAAAAAA", "nginx.nginx.AQBhAAAAAA"
    };

    for (i = 0; i < test_nelts(bad); i++) {
        token.len = strlen(bad[i]);
        token.data = ngx_pnalloc(pool, token.len + 1);
        assert_non_null(token.data);
        ngx_memcpy(token.data, bad[i], token.len);

        if (s3_upstream_list_token(pool, &token, &raw) != NGX_DECLINED) {
            fail_msg("%s", bad[i]);
        }
    }

    /* as long as a key may be; what is longer is no key */

    for (n = S3_KEY_MAX; n <= S3_KEY_MAX + 1; n++) {
        strcpy(document, XML "<ListBucketResult><EncodingType>url"
                         "</EncodingType><NextContinuationToken>&#1;");
        i = strlen(document);
        memset(document + i, 'k', n - 1);
        strcpy(document + i + n - 1, "</NextContinuationToken>"
                                     "</ListBucketResult>");

        if (n > S3_KEY_MAX) {
            test_is(document, SAME);

        } else {
            assert_non_null(test_mend(document));
            assert_non_null(strstr(text, "<NextContinuationToken>nginx."));
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_echo, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_next_marker, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_entities, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_versions, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_others, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_tokens, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_token_echo, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_token_alike, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_token_nonchar, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(test_token_bad, test_setup,
                                        test_teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
