
/*
 * Signature Version 2.  Vectors: the examples of the S3 User Guide ("Signing
 * and authenticating REST requests").
 */

#include "s3_test.h"
#include "s3_auth.h"
#include "s3_sigv2.h"


#define AWS_KEY     "AKIAIOSFODNN7EXAMPLE"
#define AWS_SECRET  "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define AWS_NOW     1175024400           /* Tue, 27 Mar 2007 19:40:00 GMT */
#define AWS_SIGNED(s)  { "Authorization", "AWS " AWS_KEY ":" s }

#define TEST_HEADERS  12


typedef struct {
    const char                *method;
    const char                *bucket;       /* in Host; NULL: in the path */
    const char                *path;
    const char                *query;
    struct {
        const char            *name;
        const char            *value;
    } headers[TEST_HEADERS];
    time_t                     now;
} test_request_t;


static test_request_t  examples[] = {
    { "GET", "awsexamplebucket1", "/photos/puppy.jpg", "",
      {
        { "Host", "awsexamplebucket1.s3.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 19:36:42 +0000" },
        AWS_SIGNED("qgk2+6Sv9/oM7G3qLEjTH1a1l1g="),
      }, 1175024202 },
    { "PUT", "awsexamplebucket1", "/photos/puppy.jpg", "",
      {
        { "Content-Type", "image/jpeg" },
        { "Content-Length", "94328" },
        { "Host", "awsexamplebucket1.s3.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 21:15:45 +0000" },
        AWS_SIGNED("iqRzw+ileNPu1fhspnRs8nOjjIA="),
      }, 1175030145 },
    { "GET", "awsexamplebucket1", "/", "prefix=photos&max-keys=50&marker=pup",
      {
        { "User-Agent", "Mozilla/5.0" },
        { "Host", "awsexamplebucket1.s3.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 19:42:41 +0000" },
        AWS_SIGNED("m0WP8eCtspQl5Ahe6L1SozdX9YA="),
      }, 1175024561 },
    { "GET", "awsexamplebucket1", "/", "acl",
      {
        { "Host", "awsexamplebucket1.s3.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 19:44:46 +0000" },
        AWS_SIGNED("82ZHiFIjc+WbcwFKGUVEQspPn+0="),
      }, 1175024686 },
    { "DELETE", NULL, "/awsexamplebucket1/photos/puppy.jpg", "",
      {
        { "User-Agent", "dotnet" },
        { "Host", "s3.us-west-1.amazonaws.com" },
        { "Date", "Tue, 27 Mar 2007 21:20:26 +0000" },
        AWS_SIGNED("XbyTlbQdu9Xw5o8P4iMwPktxQd8="),
      }, 1175030426 },
    { "PUT", "static.example.com", "/db-backup.dat.gz", "",
      {
        { "User-Agent", "curl/7.15.5" },
        { "Host", "static.example.com:8080" },
        { "Date", "Tue, 27 Mar 2007 21:06:08 +0000" },
        { "x-amz-acl", "public-read" },
        { "content-type", "application/x-download" },
        { "Content-MD5", "4gJE4saaMU4BqNR0kLY+lw==" },
        { "X-Amz-Meta-ReviewedBy", "joe@example.com" },
        { "X-Amz-Meta-ReviewedBy", " jane@example.com" },
        { "X-Amz-Meta-FileChecksum", "0x02661779" },
        { "X-Amz-Meta-ChecksumAlgorithm", "crc32" },
        { "Content-Encoding", "gzip" },
        AWS_SIGNED("jtBQa0Aq+DkULFI8qrpwIjGEx0E="),
      }, 1175029568 },
    { "GET", NULL, "/", "",
      {
        { "Host", "s3.us-west-1.amazonaws.com" },
        { "Date", "Wed, 28 Mar 2007 01:29:59 +0000" },
        AWS_SIGNED("qGdzdERIC03wnaRNKh6OqZehG9s="),
      }, 1175045399 },
    { "GET", NULL, "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re", "",
      {
        { "Host", "s3.us-west-1.amazonaws.com" },
        { "Date", "Wed, 28 Mar 2007 01:49:49 +0000" },
        AWS_SIGNED("DNEZGsoieTZ92F3bUfSPQcbGmlM="),
      }, 1175046589 },
    { "GET", "johnsmith", "/photos/puppy.jpg",
      "AWSAccessKeyId=" AWS_KEY "&Expires=1175139620"
      "&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D",
      {
        { "Host", "johnsmith.s3.amazonaws.com" },
        { "Date", "Mon, 26 Mar 2007 19:37:58 +0000" },
      }, 1175139620 },
};


#define test_nelts(a)  (sizeof(a) / sizeof(a[0]))


typedef struct {
    ngx_pool_t                *pool;
    s3_header_t                headers[TEST_HEADERS];
    s3_auth_request_t          ar;
    s3_auth_t                  auth;
    s3_failure_t               fail;
} test_run_t;


static s3_error_e
verify(test_run_t *t, test_request_t *r)
{
    s3_error_e         rc;
    ngx_str_t          access, secret;
    ngx_uint_t         i;
    s3_credentials_t  *credentials;

    ngx_memzero(t, sizeof(test_run_t));

    t->pool = s3_test_pool();

    access = s3_test_str(AWS_KEY);
    secret = s3_test_str(AWS_SECRET);

    credentials = s3_credentials_pair(&access, &secret, NULL);
    assert_non_null(credentials);

    t->ar.pool = t->pool;
    t->ar.method = s3_test_str(r->method);
    t->ar.paths[0] = s3_test_str(r->path);
    t->ar.npaths = 1;
    t->ar.query = s3_test_str(r->query);
    t->ar.now = r->now ? r->now : AWS_NOW;
    t->ar.skew = S3_AUTH_SKEW;
    t->ar.region = s3_test_str("us-east-1");
    t->ar.headers = t->headers;

    if (r->bucket) {
        t->ar.bucket = s3_test_str(r->bucket);
    }

    for (i = 0; i < TEST_HEADERS && r->headers[i].name; i++) {
        t->headers[i].name = s3_test_str(r->headers[i].name);
        t->headers[i].value = s3_test_str(r->headers[i].value);
        t->ar.nheaders++;
    }

    rc = s3_auth_verify(&t->ar, credentials, &t->auth, &t->fail);

    assert_true(rc == S3_OK || t->fail.error == rc);

    s3_credentials_release(credentials);

    return rc;
}


static void
done(test_run_t *t)
{
    s3_test_pool_free(t->pool);
}


static ngx_str_t *
element(test_run_t *t, const char *name)
{
    ngx_uint_t  i;

    for (i = 0; i < t->fail.nelements; i++) {
        if (t->fail.elements[i].name.len == strlen(name)
            && memcmp(t->fail.elements[i].name.data, name, strlen(name)) == 0)
        {
            return &t->fail.elements[i].value;
        }
    }

    fail_msg("no element %s", name);

    return NULL;
}


static void
test_examples(void **state)
{
    test_run_t  t;
    ngx_uint_t  i;

    for (i = 0; i < test_nelts(examples); i++) {

        assert_int_equal(verify(&t, &examples[i]), S3_OK);

        assert_int_equal(t.auth.version, 2);
        assert_int_equal(t.auth.type, examples[i].query[0] == 'A'
                                      ? S3_AUTH_QUERY : S3_AUTH_HEADER);
        assert_int_equal(t.auth.payload, S3_PAYLOAD_UNSIGNED);
        assert_str(t.auth.access_key, AWS_KEY);

        done(&t);
    }
}


/* Whatever is signed and was changed: the first example but one thing. */

static void
test_changed(void **state)
{
    test_run_t      t;
    ngx_uint_t      i;
    test_request_t  r;

    for (i = 0; i < 9; i++) {

        r = examples[5];                     /* PUT, with all the headers */

        switch (i) {
        case 0: r.method = "GET"; break;
        case 1: r.bucket = "static.example.org"; break;
        case 2: r.path = "/db-backup.dat.gy"; break;
        case 3: r.query = "acl"; break;
        case 4: r.headers[2].value = "Tue, 27 Mar 2007 21:06:09 +0000"; break;
        case 5: r.headers[4].value = "text/html"; break;
        case 6: r.headers[5].value = "5gJE4saaMU4BqNR0kLY+lw=="; break;
        case 7: r.headers[7].value = "jane@example.org"; break;
        case 8: r.query = "X-Amz-Meta-More=1"; break;
        }

        assert_int_equal(verify(&t, &r), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
        assert_str(*element(&t, "AWSAccessKeyId"), AWS_KEY);
        assert_str(*element(&t, "SignatureProvided"),
                   "jtBQa0Aq+DkULFI8qrpwIjGEx0E=");
        done(&t);
    }

    r = examples[3];
    r.headers[2].value = "AWS " AWS_KEY ":83ZHiFIjc+WbcwFKGUVEQspPn+0=";

    assert_int_equal(verify(&t, &r), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    assert_str(*element(&t, "StringToSign"),
               "GET\n\n\nTue, 27 Mar 2007 19:44:46 +0000\n"
               "/awsexamplebucket1/?acl");
    done(&t);
}


/* x-amz-date stands for Date; x-amz-* of the query are taken for headers. */

static void
test_string_to_sign(void **state)
{
    test_run_t  t;

    static test_request_t  r = {
        "PUT", NULL, "/b/k",
        "x-amz-meta-c=%20d%20&versionId=a%2Fb&prefix=p&uploads&X-Amz-Meta-A=9"
        "&partNumber=2",
        {
            { "Host", "h" },
            { "Date", "Tue, 27 Mar 2007 19:00:00 +0000" },
            { "X-Amz-Date", "20070327T194000Z" },
            { "x-amz-meta-a", "1" },
            { "x-amz-meta-b", "" },
            AWS_SIGNED("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        }, 0
    };

    assert_int_equal(verify(&t, &r), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    assert_str(*element(&t, "StringToSign"),
               "PUT\n\n\n\nx-amz-date:20070327T194000Z\nx-amz-meta-a:1\n"
               "x-amz-meta-b:\nx-amz-meta-c:d\n"
               "/b/k?partNumber=2&uploads&versionId=a/b");
    done(&t);
}


static void
test_header_malformed(void **state)
{
    ngx_uint_t      i;
    test_run_t      t;
    test_request_t  r;

    static struct {
        const char  *value;
        s3_error_e   rc;
    } cases[] = {
        { "AWS ", S3_ERR_INVALID_ARGUMENT },
        { "AWS x", S3_ERR_INVALID_ARGUMENT },
        { "AWS :", S3_ERR_INVALID_ARGUMENT },
        { "AWS x:", S3_ERR_INVALID_ARGUMENT },
        { "AWS :c2ln", S3_ERR_INVALID_ARGUMENT },
        { "AWS  " AWS_KEY ":c2ln", S3_ERR_INVALID_ARGUMENT },
        { "AWS " AWS_KEY ": c2ln", S3_ERR_INVALID_ARGUMENT },
        { "AWS NOBODY:c2ln", S3_ERR_INVALID_ACCESS_KEY_ID },
        { "AWS " AWS_KEY ":c2ln", S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "aws " AWS_KEY ":c2ln", S3_ERR_INVALID_ARGUMENT },
        { "AWS", S3_ERR_INVALID_ARGUMENT },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        r = examples[0];
        r.headers[2].value = cases[i].value;

        assert_int_equal(verify(&t, &r), cases[i].rc);
        done(&t);
    }
}


static void
test_date(void **state)
{
    ngx_uint_t      i;
    test_run_t      t;
    test_request_t  r;

    static struct {
        const char  *name;
        const char  *value;
        s3_error_e   rc;
    } cases[] = {
        { "Date", "Tue, 27 Mar 2007 19:36:42 GMT",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "x-amz-date", "Tue, 27 Mar 2007 19:36:42 +0000",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "x-amz-date", "20070327T193642Z",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "Date", "Tue, 27 Mar 2007 21:06:42 +0130",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "Date", "Tue, 27 Mar 2007 14:36:42 -0500",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "Date", "Tue, 27 Mar 2007 19:36:42 -0500",
          S3_ERR_REQUEST_TIME_TOO_SKEWED },
        { "Date", "Tue, 27 Mar 2007 19:52:00 +0000",
          S3_ERR_REQUEST_TIME_TOO_SKEWED },
        { "Date", "Tue, 27 Mar 2007 19:20:00 +0000",
          S3_ERR_REQUEST_TIME_TOO_SKEWED },
        { "Date", "Tue, 27 Mar 2007 19:36:42 +00x0", S3_ERR_ACCESS_DENIED },
        { "Date", "", S3_ERR_ACCESS_DENIED },
        { "Date", "yesterday", S3_ERR_ACCESS_DENIED },
        { "x-amz-date", "yesterday", S3_ERR_ACCESS_DENIED },
        { "x-not-date", "Tue, 27 Mar 2007 19:36:42 +0000",
          S3_ERR_ACCESS_DENIED },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        r = examples[0];
        r.headers[1].name = cases[i].name;
        r.headers[1].value = cases[i].value;

        assert_int_equal(verify(&t, &r), cases[i].rc);

        if (cases[i].rc == S3_ERR_REQUEST_TIME_TOO_SKEWED) {
            assert_str(*element(&t, "RequestTime"), cases[i].value);
            assert_str(*element(&t, "MaxAllowedSkewMilliseconds"), "900000");
        }

        done(&t);
    }

    /* twice: which of them? */

    r = examples[0];
    r.headers[3].name = "Date";
    r.headers[3].value = "Tue, 27 Mar 2007 19:36:42 +0000";

    assert_int_equal(verify(&t, &r), S3_ERR_ACCESS_DENIED);
    done(&t);
}


static void
test_query(void **state)
{
    ngx_uint_t      i;
    test_run_t      t;
    test_request_t  r;

#define KEY   "AWSAccessKeyId=" AWS_KEY
#define SIG   "Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
#define WHEN  "Expires=1175139620"

    static struct {
        const char  *query;
        s3_error_e   rc;
        const char  *message;
    } cases[] = {
        { SIG "&" WHEN "&" KEY, S3_OK, NULL },
        { KEY "&" SIG "&" WHEN "&prefix=x", S3_OK, NULL },
        { KEY "&" SIG "&" WHEN "&versionId=x",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH, NULL },
        { KEY "&" SIG "&" WHEN "&x-amz-meta-a=1",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH, NULL },
        { KEY "&" SIG "&Expires=1175139621",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH, NULL },
        { KEY "&" SIG "&Expires=1175024399", S3_ERR_ACCESS_DENIED,
          "Request has expired" },
        { KEY "&" SIG "&Expires=x", S3_ERR_ACCESS_DENIED,
          "Invalid date (should be seconds since epoch): x" },
        { KEY "&" SIG "&Expires=-1", S3_ERR_ACCESS_DENIED,
          "Invalid date (should be seconds since epoch): -1" },
        { KEY "&" SIG "&Expires=99999999999999999999",
          S3_ERR_ACCESS_DENIED, "Invalid date (should be seconds since "
          "epoch): 99999999999999999999" },
        { KEY "&" SIG, S3_ERR_ACCESS_DENIED,
          "Query-string authentication requires the Signature, Expires and "
          "AWSAccessKeyId parameters" },
        { KEY "&" WHEN, S3_ERR_ACCESS_DENIED, NULL },
        { SIG "&" WHEN, S3_ERR_ACCESS_DENIED, NULL },
        { WHEN, S3_ERR_ACCESS_DENIED, NULL },
        { KEY "&" KEY "&" SIG "&" WHEN, S3_ERR_ACCESS_DENIED, NULL },
        { KEY "&" SIG "&" WHEN "&" WHEN, S3_ERR_ACCESS_DENIED, NULL },
        { KEY "&Signature=&" WHEN, S3_ERR_ACCESS_DENIED, NULL },
        { "AWSAccessKeyId=X&" SIG "&" WHEN, S3_ERR_INVALID_ACCESS_KEY_ID,
          NULL },
        { KEY "&" SIG "&" WHEN "&x-amz-security-token=t",
          S3_ERR_INVALID_TOKEN, NULL },
        { KEY "&" SIG "&" WHEN "&X-Amz-Algorithm=AWS4-HMAC-SHA256",
          S3_ERR_INVALID_ARGUMENT, NULL },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        r = examples[8];
        r.now = AWS_NOW;
        r.query = cases[i].query;

        assert_int_equal(verify(&t, &r), cases[i].rc);

        if (cases[i].message) {
            assert_str(t.fail.message, cases[i].message);
        }

        done(&t);
    }

    /* and the header */

    r = examples[8];
    r.headers[2] = examples[0].headers[2];
    assert_int_equal(verify(&t, &r), S3_ERR_INVALID_ARGUMENT);
    done(&t);

    /* the last second, and the one after */

    r = examples[8];
    r.now = 1175139621;
    assert_int_equal(verify(&t, &r), S3_ERR_ACCESS_DENIED);
    assert_str(*element(&t, "Expires"), "2007-03-29T03:40:20.000Z");
    done(&t);
}


static void
test_payload(void **state)
{
    ngx_uint_t      i;
    test_run_t      t;
    test_request_t  r;

    static struct {
        const char  *value;
        s3_error_e   rc;
    } cases[] = {
        { "UNSIGNED-PAYLOAD", S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
          S3_ERR_SIGNATURE_DOES_NOT_MATCH },
        { "STREAMING-UNSIGNED-PAYLOAD-TRAILER", S3_ERR_INVALID_ARGUMENT },
        { "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", S3_ERR_INVALID_ARGUMENT },
        { "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
          S3_ERR_INVALID_ARGUMENT },
        { "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
          S3_ERR_NOT_IMPLEMENTED },
        { "", S3_ERR_INVALID_ARGUMENT },
        { "x", S3_ERR_INVALID_ARGUMENT },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        r = examples[0];
        r.headers[3].name = "x-amz-content-sha256";
        r.headers[3].value = cases[i].value;

        assert_int_equal(verify(&t, &r), cases[i].rc);
        done(&t);
    }
}


/* "/bucket" may be signed as "/bucket/"; a key's slash is its own. */

static void
test_bucket_path(void **state)
{
    test_run_t      t;
    test_request_t  r;

    r = examples[3];
    r.bucket = NULL;

    r.path = "/awsexamplebucket1/";
    assert_int_equal(verify(&t, &r), S3_OK);
    done(&t);

    r.path = "/awsexamplebucket1";
    assert_int_equal(verify(&t, &r), S3_OK);
    done(&t);

    r.bucket = "awsexamplebucket1";
    r.path = "";
    assert_int_equal(verify(&t, &r), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    done(&t);

    r = examples[4];
    r.path = "/awsexamplebucket1/photos/puppy.jpg/";
    assert_int_equal(verify(&t, &r), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    done(&t);
}


static void
test_headers_twice(void **state)
{
    test_run_t      t;
    test_request_t  r;

    r = examples[1];
    r.headers[5].name = "Content-Type";
    r.headers[5].value = "text/html";

    assert_int_equal(verify(&t, &r), S3_ERR_INVALID_ARGUMENT);
    done(&t);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_string_to_sign),
        cmocka_unit_test(test_header_malformed),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_payload),
        cmocka_unit_test(test_bucket_path),
        cmocka_unit_test(test_headers_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
