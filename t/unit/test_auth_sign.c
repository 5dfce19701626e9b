
/*
 * Signature Version 4 of requests of our own.  Vectors: the examples of the
 * S3 API Reference ("Signature Calculations for the Authorization Header"),
 * and requests signed by botocore 1.44.5 with its clock stopped.
 */

#include "s3_test.h"
#include "s3_auth_internal.h"
#include "s3_date.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))

#define AWS_KEY      "AKIAIOSFODNN7EXAMPLE"
#define AWS_SECRET   "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define AWS_NOW      1369353600              /* 20130524T000000Z */
#define AWS_DATE     "20130524T000000Z"
#define AWS_HOST     "examplebucket.s3.amazonaws.com"
#define AWS_EMPTY                                                            \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define AWS_SIGNED                                                           \
    "AWS4-HMAC-SHA256 Credential=" AWS_KEY                                   \
    "/20130524/us-east-1/s3/aws4_request, SignedHeaders="                    \
    "host;x-amz-content-sha256;x-amz-date, Signature="

#define BOTO_KEY     "AKTEST/WITH+SLASH"
#define BOTO_SECRET  "s3cr3t/+=abc"
#define BOTO_NOW     1769903970              /* 20260131T235930Z */
#define BOTO_DATE    "20260131T235930Z"

#define UNSIGNED     "UNSIGNED-PAYLOAD"

#define TEST_HEADERS  16


typedef struct {
    ngx_pool_t                *pool;
    s3_credential_t            credential;
    s3_sigv4_request_t         r;
    s3_header_t                headers[TEST_HEADERS];
    ngx_str_t                  authorization;
} test_t;


static void
test_init(test_t *t, const char *key, const char *secret, const char *region,
    time_t now)
{
    ngx_memzero(t, sizeof(test_t));

    t->pool = s3_test_pool();

    t->credential.access_key = s3_test_str(key);
    t->credential.secret_key = s3_test_str(secret);
    t->credential.enabled = 1;

    t->r.pool = t->pool;
    t->r.headers = t->headers;
    t->r.region = s3_test_str(region);
    t->r.now = now;
}


static void
test_request(test_t *t, const char *method, const char *path,
    const char *query)
{
    t->r.method = s3_test_str(method);
    t->r.path = s3_test_str(path);
    t->r.query = s3_test_str(query);
    t->r.nheaders = 0;
}


static void
test_header(test_t *t, const char *name, const char *value)
{
    s3_header_t  *h;

    assert_in_range(t->r.nheaders, 0, TEST_HEADERS - 1);

    h = &t->headers[t->r.nheaders++];
    h->name = s3_test_str(name);
    h->value = s3_test_str(value);

    if (strcasecmp(name, "x-amz-content-sha256") == 0) {
        t->r.payload = h->value;
    }
}


static void
test_sign(test_t *t)
{
    ngx_str_null(&t->authorization);

    assert_int_equal(s3_sigv4_authorization(&t->r, &t->credential,
                                            &t->authorization), NGX_OK);
}


/* what a server says to it, with or without what else came */

static s3_error_e
test_verify(test_t *t)
{
    ngx_str_t           none = ngx_null_string;
    s3_auth_t           auth;
    s3_error_e          rc;
    s3_header_t         headers[TEST_HEADERS + 1];
    s3_failure_t        fail;
    s3_credentials_t   *credentials;
    s3_auth_request_t   ar;

    ngx_memzero(&ar, sizeof(ar));
    ngx_memzero(&fail, sizeof(fail));

    credentials = s3_credentials_pair(&t->credential.access_key,
                                      &t->credential.secret_key, NULL);
    assert_non_null(credentials);

    ngx_memcpy(headers, t->headers, t->r.nheaders * sizeof(s3_header_t));
    headers[t->r.nheaders].name = s3_test_str("authorization");
    headers[t->r.nheaders].value = t->authorization;

    ar.pool = t->pool;
    ar.method = t->r.method;
    ar.paths[0] = t->r.path;
    ar.npaths = 1;
    ar.query = t->r.query;
    ar.bucket = none;
    ar.headers = headers;
    ar.nheaders = t->r.nheaders + 1;
    ar.now = t->r.now;
    ar.skew = S3_AUTH_SKEW;
    ar.region = t->r.region;

    rc = s3_auth_verify(&ar, credentials, &auth, &fail);

    s3_credentials_release(credentials);

    return rc;
}


static void
test_aws_examples(void **state)
{
    test_t  t;

    test_init(&t, AWS_KEY, AWS_SECRET, "us-east-1", AWS_NOW);

    /* GET Bucket Lifecycle */

    test_request(&t, "GET", "/", "lifecycle");
    test_header(&t, "Host", AWS_HOST);
    test_header(&t, "x-amz-date", AWS_DATE);
    test_header(&t, "x-amz-content-sha256", AWS_EMPTY);
    test_sign(&t);

    assert_str(t.authorization, AWS_SIGNED "fea454ca298b7da1c68078a5d1bdbfbbe"
               "0d65c699e0f91ac7a200a0136783543");

    /* Get Bucket (List Objects) */

    test_request(&t, "GET", "/", "max-keys=2&prefix=J");
    test_header(&t, "x-amz-content-sha256", AWS_EMPTY);
    test_header(&t, "host", AWS_HOST);
    test_header(&t, "X-Amz-Date", AWS_DATE);
    test_sign(&t);

    assert_str(t.authorization, AWS_SIGNED "34b48302e7b5fa45bde8084f4b7868a86"
               "f0a534bc59db6670ed5711ef69dc6f7");

    /* the order of arguments is not that of the signature */

    test_request(&t, "GET", "/", "prefix=J&max-keys=2");
    test_header(&t, "host", AWS_HOST);
    test_header(&t, "x-amz-content-sha256", AWS_EMPTY);
    test_header(&t, "x-amz-date", AWS_DATE);
    test_sign(&t);

    assert_str(t.authorization, AWS_SIGNED "34b48302e7b5fa45bde8084f4b7868a86"
               "f0a534bc59db6670ed5711ef69dc6f7");

    s3_test_pool_free(t.pool);
}


/*
 * GET Object and PUT Object sign Range and Date, as we do not: their strings,
 * from the same pieces.
 */

static void
test_aws_strings(void **state)
{
    test_t      t;
    u_char      key[32], hex[64];
    ngx_str_t   names[5], query, path, payload, rest, scope, string;
    ngx_uint_t  i;

    static const struct {
        const char  *method;
        const char  *path;
        const char  *names[5];
        const char  *values[5];
        const char  *payload;
        const char  *hash;             /* of the canonical request */
        const char  *signature;
    } rows[] = {
        { "GET", "/test.txt",
          { "host", "range", "x-amz-content-sha256", "x-amz-date" },
          { AWS_HOST, "bytes=0-9", AWS_EMPTY, AWS_DATE }, AWS_EMPTY,
          "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        },
        { "PUT", "/test%24file.text",
          { "date", "host", "x-amz-content-sha256", "x-amz-date",
            "x-amz-storage-class" },
          { "Fri, 24 May 2013 00:00:00 GMT", AWS_HOST,
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b07"
            "2", AWS_DATE, "REDUCED_REDUNDANCY" },
          "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
          "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        char         want[256];
        ngx_uint_t   n;

        test_init(&t, AWS_KEY, AWS_SECRET, "us-east-1", AWS_NOW);
        test_request(&t, rows[i].method, rows[i].path, "");

        for (n = 0; n < 5 && rows[i].names[n]; n++) {
            names[n] = s3_test_str(rows[i].names[n]);
            test_header(&t, rows[i].names[n], rows[i].values[n]);
        }

        query = s3_test_str("");
        path = s3_test_str(rows[i].path);
        payload = s3_test_str(rows[i].payload);
        scope = s3_test_str("20130524/us-east-1/s3/aws4_request");

        assert_int_equal(s3_sigv4_canonical_rest(t.pool, &query, names, n,
                                                 t.headers, n, &payload,
                                                 &rest), NGX_OK);
        assert_int_equal(s3_sigv4_string_to_sign(t.pool, &t.r.method, &path,
                                                 &rest, (u_char *) AWS_DATE,
                                                 &scope, &string), NGX_OK);

        snprintf(want, sizeof(want), "AWS4-HMAC-SHA256\n" AWS_DATE "\n"
                 "20130524/us-east-1/s3/aws4_request\n%s", rows[i].hash);
        assert_str(string, want);

        assert_int_equal(s3_sigv4_key(&t.credential, (u_char *) AWS_DATE,
                                      &t.r.region, key), NGX_OK);
        assert_int_equal(s3_sigv4_sign(key, &string, hex), NGX_OK);
        assert_memory_equal(hex, rows[i].signature, 64);

        s3_test_pool_free(t.pool);
    }
}


/* what botocore signs of a request with these headers and no others */

static void
test_botocore(void **state)
{
    test_t  t;

    static const char  put[] =
        "AWS4-HMAC-SHA256 Credential=" BOTO_KEY "/20260131/eu-central-1/s3/"
        "aws4_request, SignedHeaders=content-md5;content-type;host;"
        "x-amz-content-sha256;x-amz-date;x-amz-meta-b;"
        "x-amz-meta-nginx-s3-checksum, Signature=61a4b8f9cece96b7493b9ffd4ed"
        "7cbfcc685072ed673451440be541956bbce46";

    static const char  list[] =
        "AWS4-HMAC-SHA256 Credential=" BOTO_KEY "/20260131/us-east-1/s3/"
        "aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=838aab53c30dc807bcecc73382b3b6125292cfea44dc6001cd76ab354"
        "9ae0014";

    test_init(&t, BOTO_KEY, BOTO_SECRET, "eu-central-1", BOTO_NOW);

    test_request(&t, "PUT",
                 "/bucket/a%20b/%C3%BC%2B~_-.%21%2A%27%28%29", "");
    test_header(&t, "x-amz-meta-nginx-s3-checksum", "record");
    test_header(&t, "Content-Type", "text/plain; charset=utf-8");
    test_header(&t, "X-Amz-Date", BOTO_DATE);
    test_header(&t, "Content-MD5", "kAFQmDzST7DWlj99KOF/cg==");
    test_header(&t, "Host", "127.0.0.1:7480");
    test_header(&t, "x-amz-content-sha256", UNSIGNED);
    test_header(&t, "x-amz-meta-b", " two  words ");
    test_sign(&t);
    assert_str(t.authorization, put);

    /* what nginx's own modules may change is not signed */

    test_header(&t, "Range", "bytes=0-1");
    test_header(&t, "If-Match", "\"1\"");
    test_header(&t, "If-None-Match", "*");
    test_header(&t, "Content-Length", "3");
    test_header(&t, "Content-Encoding", "gzip");
    test_header(&t, "Cache-Control", "no-cache");
    test_header(&t, "User-Agent", "x-amz-");
    test_sign(&t);
    assert_str(t.authorization, put);

    t.r.region = s3_test_str("us-east-1");
    test_request(&t, "GET", "/bucket",
                 "list-type=2&prefix=a%2Fb%20c&delimiter=%2F"
                 "&encoding-type=url&max-keys=2");
    test_header(&t, "Host", "127.0.0.1:7480");
    test_header(&t, "X-Amz-Date", BOTO_DATE);
    test_header(&t, "X-Amz-Content-SHA256", UNSIGNED);
    test_sign(&t);
    assert_str(t.authorization, list);

    s3_test_pool_free(t.pool);
}


/* targets as a gateway writes them: a server takes them for what they are */

static void
test_round_trip(void **state)
{
    test_t       t;
    ngx_uint_t   i;

    static const struct {
        const char  *method;
        const char  *path;
        const char  *query;
    } rows[] = {
        { "GET", "/", "" },
        { "HEAD", "/bucket", "" },
        { "GET", "/bucket", "acl" },
        { "GET", "/bucket", "acl=" },
        { "PUT", "/bucket//a//../b/./c/", "" },
        { "PUT", "/bucket/a%252Fb%3F%23", "" },
        { "PUT", "/bucket/%01%0D%0A%7F%22%3C%3E%5C%5E%60%7B%7C%7D", "" },
        { "PUT", "/bucket/-._~%21%2A%27%28%29%24", "" },
        { "PUT", "/bucket/k", "uploadId=2~x%2F-_.&partNumber=10000" },
        { "GET", "/bucket", "z=1&a=2&z=0&a=1&A=3&a%20=4&a-=5&a=" },
        { "GET", "/bucket", "prefix=a%2Fb%20c%2B%3D%26&delimiter=%2F" },
        { "GET", "/bucket", "&&versions&&" },
        { "DELETE", "/bucket/k", "versionId=null" },
    };

    for (i = 0; i < test_nelts(rows); i++) {
        test_init(&t, BOTO_KEY, BOTO_SECRET, "eu-central-1", BOTO_NOW);
        test_request(&t, rows[i].method, rows[i].path, rows[i].query);
        test_header(&t, "Host", "127.0.0.1:7480");
        test_header(&t, "x-amz-date", BOTO_DATE);
        test_header(&t, "x-amz-content-sha256", UNSIGNED);
        test_header(&t, "x-amz-meta-empty", "");
        test_header(&t, "x-amz-meta-latin", "caf\xe9, \t x");
        test_header(&t, "Content-Type", "a/b");
        test_header(&t, "Range", "bytes=0-1");
        test_sign(&t);

        if (test_verify(&t) != S3_OK) {
            fail_msg("%s %s?%s", rows[i].method, rows[i].path,
                     rows[i].query);
        }

        /* each of what is signed counts, and the Range does not */

        t.headers[6].value = s3_test_str("bytes=0-2");
        assert_int_equal(test_verify(&t), S3_OK);

        t.headers[5].value = s3_test_str("a/c");
        assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

        t.headers[5].value = s3_test_str("a/b");
        t.headers[3].value = s3_test_str("x");
        assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

        t.headers[3].value = s3_test_str("");
        t.headers[0].value = s3_test_str("127.0.0.1:7481");
        assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

        s3_test_pool_free(t.pool);
    }
}


/* a plus in a path is one, and signed as S3 writes it */

static void
test_plus(void **state)
{
    test_t      t;
    ngx_str_t   one;

    test_init(&t, BOTO_KEY, BOTO_SECRET, "eu-central-1", BOTO_NOW);

    test_request(&t, "GET", "/b/a%2Bb", "");
    test_header(&t, "Host", "127.0.0.1:7480");
    test_header(&t, "x-amz-date", BOTO_DATE);
    test_header(&t, "x-amz-content-sha256", UNSIGNED);
    test_sign(&t);
    one = t.authorization;

    t.r.path = s3_test_str("/b/a+b");
    test_sign(&t);
    assert_int_equal(one.len, t.authorization.len);
    assert_memory_equal(one.data, t.authorization.data, one.len);

    t.r.path = s3_test_str("/b/a%20b");
    test_sign(&t);
    assert_memory_not_equal(one.data, t.authorization.data, one.len);

    s3_test_pool_free(t.pool);
}


/* the key is kept for a day: another day, region and pair have another */

static void
test_keys(void **state)
{
    test_t      t;
    char        date[S3_DATE_BASIC_LEN + 1];
    ngx_uint_t  i;

    static const struct {
        time_t       now;
        const char  *region;
    } rows[] = {
        { AWS_NOW, "us-east-1" }, { AWS_NOW + 86399, "us-east-1" },
        { AWS_NOW + 86400, "us-east-1" }, { AWS_NOW, "us-east-2" },
        { AWS_NOW, "us-east-1" }, { AWS_NOW, "default" },
        { AWS_NOW, "a-region-of-more-than-thirty-two-characters" },
        { AWS_NOW, "a-region-of-more-than-thirty-two-character" },
    };

    test_init(&t, AWS_KEY, AWS_SECRET, "us-east-1", AWS_NOW);

    for (i = 0; i < test_nelts(rows); i++) {
        t.r.now = rows[i].now;
        t.r.region = s3_test_str(rows[i].region);
        *s3_date_basic((u_char *) date, rows[i].now) = '\0';

        test_request(&t, "GET", "/", "");
        test_header(&t, "host", "h");
        test_header(&t, "x-amz-date", date);
        test_header(&t, "x-amz-content-sha256", UNSIGNED);
        test_sign(&t);

        assert_int_equal(test_verify(&t), S3_OK);
    }

    /* verified by a pair with another secret */

    t.credential.secret_key = s3_test_str("other");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

    s3_test_pool_free(t.pool);
}


static void
test_bad(void **state)
{
    test_t      t;
    ngx_uint_t  i;

    static const char  *paths[] = { "/%", "/%2", "/%zz", "/a%2gb" };
    static const char  *queries[] = { "a=%", "%2=1", "a=%zz" };

    test_init(&t, AWS_KEY, AWS_SECRET, "us-east-1", AWS_NOW);

    for (i = 0; i < test_nelts(paths); i++) {
        test_request(&t, "GET", paths[i], "");
        test_header(&t, "host", "h");
        test_header(&t, "x-amz-content-sha256", UNSIGNED);

        assert_int_equal(s3_sigv4_authorization(&t.r, &t.credential,
                                                &t.authorization),
                         NGX_ERROR);
    }

    for (i = 0; i < test_nelts(queries); i++) {
        test_request(&t, "GET", "/", queries[i]);
        test_header(&t, "host", "h");
        test_header(&t, "x-amz-content-sha256", UNSIGNED);

        assert_int_equal(s3_sigv4_authorization(&t.r, &t.credential,
                                                &t.authorization),
                         NGX_ERROR);
    }

    s3_test_pool_free(t.pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_aws_examples),
        cmocka_unit_test(test_aws_strings),
        cmocka_unit_test(test_botocore),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_plus),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bad)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
