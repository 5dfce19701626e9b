
/*
 * Signature Version 4.  Vectors: the examples of the S3 API Reference
 * ("Signature Calculations for the Authorization Header", "Authenticating
 * Requests: Using Query Parameters"), and requests signed by botocore 1.43.11
 * with its clock stopped.
 */

#include "s3_test.h"
#include "s3_sigv4.h"
#include "s3_date.h"


#define TEST_HEADERS  12

typedef struct {
    const char                *method;
    const char                *path;
    const char                *query;
    struct {
        const char            *name;
        const char            *value;
    } headers[TEST_HEADERS];
} test_request_t;


#define AWS_KEY     "AKIAIOSFODNN7EXAMPLE"
#define AWS_SECRET  "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define AWS_NOW     1369353600               /* 20130524T000000Z */
#define AWS_SCOPE   AWS_KEY "/20130524/us-east-1/s3/aws4_request"
#define AWS_EMPTY                                                            \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


static test_request_t  aws_requests[] = {
    { "GET", "/test.txt", "",
      {
        { "Host", "examplebucket.s3.amazonaws.com" },
        { "Range", "bytes=0-9" },
        { "x-amz-content-sha256", AWS_EMPTY },
        { "x-amz-date", "20130524T000000Z" },
        { "Authorization", "AWS4-HMAC-SHA256 Credential=" AWS_SCOPE ","
          "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
          "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6"
          "036bdb41" },
      } },
    { "PUT", "/test$file.text", "",
      {
        { "Host", "examplebucket.s3.amazonaws.com" },
        { "Date", "Fri, 24 May 2013 00:00:00 GMT" },
        { "x-amz-date", "20130524T000000Z" },
        { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
        { "x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b"
          "4e99e42034a8b803f8b072" },
        { "Authorization", "AWS4-HMAC-SHA256 Credential=" AWS_SCOPE ","
          "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;"
          "x-amz-storage-class,"
          "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0"
          "ece108bd" },
      } },
    { "GET", "/", "lifecycle",
      {
        { "Host", "examplebucket.s3.amazonaws.com" },
        { "x-amz-date", "20130524T000000Z" },
        { "x-amz-content-sha256", AWS_EMPTY },
        { "Authorization", "AWS4-HMAC-SHA256 Credential=" AWS_SCOPE ","
          "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
          "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a01"
          "36783543" },
      } },
    { "GET", "/", "max-keys=2&prefix=J",
      {
        { "Host", "examplebucket.s3.amazonaws.com" },
        { "x-amz-date", "20130524T000000Z" },
        { "x-amz-content-sha256", AWS_EMPTY },
        { "Authorization", "AWS4-HMAC-SHA256 Credential=" AWS_SCOPE ","
          "SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
          "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711e"
          "f69dc6f7" },
      } },
    { "GET", "/test.txt",
      "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE"
      "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
      "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
      "&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d8"
      "6835f995330da4c265957d157751f604d404",
      {
        { "Host", "examplebucket.s3.amazonaws.com" },
      } },
    { "PUT", "/examplebucket/chunkObject.txt", "",
      {
        { "Host", "s3.amazonaws.com" },
        { "x-amz-date", "20130524T000000Z" },
        { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
        { "Authorization", "AWS4-HMAC-SHA256 Credential=" AWS_SCOPE ","
          "SignedHeaders=content-encoding;content-length;host;"
          "x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
          "x-amz-storage-class,"
          "Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9"
          "fa80a0a9" },
        { "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" },
        { "Content-Encoding", "aws-chunked" },
        { "x-amz-decoded-content-length", "66560" },
        { "Content-Length", "66824" },
      } },
};


#define BOTO_KEY     "AKTEST/WITH+SLASH"
#define BOTO_SECRET  "s3cr3t/+=abc"
#define BOTO_NOW     1769903970              /* 20260131T235930Z */

static test_request_t  boto_requests[] = {
    { "GET", "/bucket/a%20b/%C3%BC%2B~_-.%21%2A%27%28%29",
      "",
      {
        { "Host", "127.0.0.1:9000" },
        { "X-Amz-Date", "20260131T235930Z" },
        { "X-Amz-Content-SHA256",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85"
          "5" },
        { "Authorization",
          "AWS4-HMAC-SHA256 Credential=AKTEST/WITH+SLASH/20260131/eu-centr"
          "al-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x"
          "-amz-date, Signature=75f6e918dfc018f64a9f29cf67c01e04fa48da007b"
          "78ce52b27fc5c3c70407fd" },
      } },
    { "GET", "/bucket",
      "list-type=2&prefix=a%2Fb%20c&delimiter=%2F&encoding-type=url&max-keys"
      "=2",
      {
        { "Host", "127.0.0.1:9000" },
        { "X-Amz-Date", "20260131T235930Z" },
        { "X-Amz-Content-SHA256",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85"
          "5" },
        { "Authorization",
          "AWS4-HMAC-SHA256 Credential=AKTEST/WITH+SLASH/20260131/eu-centr"
          "al-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x"
          "-amz-date, Signature=acb328a7e06c3646d1a6e3174d1bd0aed69b641c68"
          "ec327beedc2d4b69a51b3a" },
      } },
    { "PUT", "/bucket//a/../b/./c%2Fd",
      "",
      {
        { "Host", "127.0.0.1:9000" },
        { "x-amz-meta-a", "  two   spaces\011and tab " },
        { "x-amz-meta-u", "gr\303\274n" },
        { "Content-Type", "text/plain; charset=utf-8" },
        { "X-Amz-Date", "20260131T235930Z" },
        { "X-Amz-Content-SHA256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER" },
        { "Authorization",
          "AWS4-HMAC-SHA256 Credential=AKTEST/WITH+SLASH/20260131/eu-centr"
          "al-1/s3/aws4_request, SignedHeaders=content-type;host;x-amz-con"
          "tent-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-u, Signature=c99"
          "70c54d4a5c8fc3cf7a44b58a0ed43c8b175e612bac8d5bdd675d9f3a918cf" },
      } },
    { "PUT", "/bucket/k",
      "",
      {
        { "Host", "127.0.0.1" },
        { "Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==" },
        { "X-Amz-Date", "20260131T235930Z" },
        { "X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD" },
        { "Authorization",
          "AWS4-HMAC-SHA256 Credential=AKTEST/WITH+SLASH/20260131/eu-centr"
          "al-1/s3/aws4_request, SignedHeaders=content-md5;host;x-amz-cont"
          "ent-sha256;x-amz-date, Signature=2067a7a1373f2074c516fe9d8e4691"
          "d879a216455d2b00a20f16582c7cf35675" },
      } },
    { "DELETE", "/storage/bucket/%24%26%40%3D%3B%3A%2C",
      "",
      {
        { "Host", "host.example:9000" },
        { "X-Amz-Date", "20260131T235930Z" },
        { "X-Amz-Content-SHA256",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85"
          "5" },
        { "Authorization",
          "AWS4-HMAC-SHA256 Credential=AKTEST/WITH+SLASH/20260131/eu-centr"
          "al-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x"
          "-amz-date, Signature=e5afd3bb036b4196418ed4860a79e655c0290ddb51"
          "0ee7acfce9bd8c816b0f53" },
      } },
    { "GET", "/bucket/key%20x",
      "response-content-type=text%2Fplain&versionId=null&X-Amz-Algorithm=AWS"
      "4-HMAC-SHA256&X-Amz-Credential=AKTEST%2FWITH%2BSLASH%2F20260131%2Feu-"
      "central-1%2Fs3%2Faws4_request&X-Amz-Date=20260131T235930Z&X-Amz-Expir"
      "es=600&X-Amz-SignedHeaders=host&X-Amz-Signature=285456724ffb1b38c1681"
      "139ec8690d3a0ac234de9874094bf616c70046a51cc",
      {
        { "Host", "127.0.0.1:9000" },
      } },
    { "PUT", "/storage/bucket/up",
      "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKTEST%2FWITH%2BSLA"
      "SH%2F20260131%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Date=20260131T"
      "235930Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=host%3Bx-amz-meta-k&"
      "X-Amz-Signature=7f1e350786ed10681d36edb7f44d0c945dc706bd703c234823757"
      "7f03a16f63b",
      {
        { "Host", "127.0.0.1:9000" },
        { "x-amz-meta-k", "v" },
      } },
};

#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))


typedef struct {
    ngx_pool_t                *pool;
    s3_credentials_t          *credentials;
    s3_auth_request_t          ar;
    s3_header_t                headers[TEST_HEADERS + 4];
    s3_auth_t                  auth;
    s3_failure_t               fail;
} test_t;


static void
test_request(test_t *t, test_request_t *r, const char *key,
    const char *secret, const char *region, time_t now)
{
    ngx_str_t   k, s;
    ngx_uint_t  i;

    ngx_memzero(t, sizeof(test_t));

    k = s3_test_str(key);
    s = s3_test_str(secret);

    t->pool = s3_test_pool();
    t->credentials = s3_credentials_pair(&k, &s, NULL);
    assert_non_null(t->credentials);

    t->ar.pool = t->pool;
    t->ar.method = s3_test_str(r->method);
    t->ar.paths[0] = s3_test_str(r->path);
    t->ar.npaths = 1;
    t->ar.query = s3_test_str(r->query);
    t->ar.headers = t->headers;
    t->ar.now = now;
    t->ar.skew = S3_AUTH_SKEW;
    t->ar.region = s3_test_str(region);

    for (i = 0; i < TEST_HEADERS && r->headers[i].name; i++) {
        t->headers[i].name = s3_test_str(r->headers[i].name);
        t->headers[i].value = s3_test_str(r->headers[i].value);
    }

    t->ar.nheaders = i;
}


static void
test_aws(test_t *t, ngx_uint_t i)
{
    test_request(t, &aws_requests[i], AWS_KEY, AWS_SECRET, "us-east-1",
                 AWS_NOW);
}


static void
test_boto(test_t *t, ngx_uint_t i)
{
    test_request(t, &boto_requests[i], BOTO_KEY, BOTO_SECRET, "eu-central-1",
                 BOTO_NOW);
}


static s3_error_e
test_verify(test_t *t)
{
    ngx_memzero(&t->fail, sizeof(s3_failure_t));

    return s3_auth_verify(&t->ar, t->credentials, &t->auth, &t->fail);
}


static void
test_done(test_t *t)
{
    s3_credentials_release(t->credentials);
    s3_test_pool_free(t->pool);
}


static s3_header_t *
test_header(test_t *t, const char *name)
{
    s3_header_t  *h;

    h = s3_header_find(t->headers, t->ar.nheaders, name, strlen(name), NULL);
    assert_non_null(h);

    return h;
}


static void
test_add(test_t *t, const char *name, const char *value)
{
    t->headers[t->ar.nheaders].name = s3_test_str(name);
    t->headers[t->ar.nheaders].value = s3_test_str(value);
    t->ar.nheaders++;
}


/* Replace the first "from" in s by "to". */

static ngx_str_t
test_replace(test_t *t, ngx_str_t *s, const char *from, const char *to)
{
    u_char     *p, *d;
    ngx_str_t   r;

    p = ngx_strlcasestrn(s->data, s->data + s->len, (u_char *) from,
                         strlen(from) - 1);
    assert_non_null(p);

    r.len = s->len - strlen(from) + strlen(to);
    r.data = ngx_pnalloc(t->pool, r.len + 1);

    d = ngx_cpymem(r.data, s->data, p - s->data);
    d = ngx_cpymem(d, to, strlen(to));
    ngx_memcpy(d, p + strlen(from),
               s->data + s->len - p - strlen(from));

    return r;
}


static ngx_str_t *
test_element(test_t *t, const char *name)
{
    ngx_uint_t  i;

    for (i = 0; i < t->fail.nelements; i++) {
        if (strcmp((char *) t->fail.elements[i].name.data, name) == 0) {
            return &t->fail.elements[i].value;
        }
    }

    fail_msg("no element %s", name);
    return NULL;
}


static void
test_message(test_t *t, const char *part)
{
    if (ngx_strlcasestrn(t->fail.message.data,
                         t->fail.message.data + t->fail.message.len,
                         (u_char *) part, strlen(part) - 1)
        == NULL)
    {
        fail_msg("\"%.*s\" has no \"%s\"", (int) t->fail.message.len,
                 (char *) t->fail.message.data, part);
    }
}


static void
test_aws_examples(void **state)
{
    test_t      t;
    ngx_uint_t  i;

    for (i = 0; i < test_nelts(aws_requests); i++) {
        test_aws(&t, i);
        assert_int_equal(test_verify(&t), S3_OK);
        assert_str(t.auth.access_key, AWS_KEY);
        assert_str(t.auth.scope, "20130524/us-east-1/s3/aws4_request");
        assert_memory_equal(t.auth.amz_date, "20130524T000000Z", 16);
        assert_int_equal(t.auth.type, i == 4 ? S3_AUTH_QUERY
                                             : S3_AUTH_HEADER);
        test_done(&t);
    }

    test_aws(&t, 0);
    assert_int_equal(test_verify(&t), S3_OK);
    assert_int_equal(t.auth.payload, S3_PAYLOAD_HASH);
    assert_memory_equal(t.auth.payload_hash, "\xe3\xb0\xc4\x42\x98\xfc\x1c", 7);
    test_done(&t);

    test_aws(&t, 4);
    assert_int_equal(test_verify(&t), S3_OK);
    assert_int_equal(t.auth.payload, S3_PAYLOAD_UNSIGNED);
    test_done(&t);

    /* the seed of the chunk signatures, and the first chunk's with it */

    test_aws(&t, 5);
    assert_int_equal(test_verify(&t), S3_OK);
    assert_int_equal(t.auth.payload, S3_PAYLOAD_STREAMING_SIGNED);
    assert_memory_equal(t.auth.signature, "4f232c4386841ef7", 16);

    {
        u_char     hex[64];
        ngx_str_t  sts = ngx_string(
            "AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n"
            "20130524/us-east-1/s3/aws4_request\n"
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
            "\n" AWS_EMPTY "\n"
            "bf718b6f653bebc184e1479f1935b8da974d701b893afcf49e701f3e2f9f9c5a"
            );

        assert_int_equal(s3_sigv4_sign(t.auth.signing_key, &sts, hex),
                         NGX_OK);
        assert_memory_equal(hex, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e230"
                            "7b0ade35a65485a288648", 64);
    }

    test_done(&t);
}


static void
test_botocore(void **state)
{
    test_t      t;
    ngx_uint_t  i;

    for (i = 0; i < test_nelts(boto_requests); i++) {
        test_boto(&t, i);
        assert_int_equal(test_verify(&t), S3_OK);
        assert_str(t.auth.access_key, BOTO_KEY);
        test_done(&t);
    }

    test_boto(&t, 2);
    assert_int_equal(test_verify(&t), S3_OK);
    assert_int_equal(t.auth.payload, S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER);
    test_done(&t);
}


/* Any one bit of what is signed: never accepted. */

static void
test_corruption(void **state)
{
    test_t        t;
    u_char       *copy;
    size_t        n;
    ngx_str_t    *field[2 * TEST_HEADERS + 3];
    ngx_uint_t    i, j, k, nfields, set, tried;

    tried = 0;

    for (set = 0; set < 2; set++) {
        for (i = 0; i < (set ? test_nelts(boto_requests)
                             : test_nelts(aws_requests)); i++)
        {
            if (set) {
                test_boto(&t, i);
            } else {
                test_aws(&t, i);
            }

            nfields = 0;
            field[nfields++] = &t.ar.method;
            field[nfields++] = &t.ar.paths[0];
            field[nfields++] = &t.ar.query;

            for (j = 0; j < t.ar.nheaders; j++) {
                /* names: of x-amz-* must be signed, others would be missed */
                field[nfields++] = &t.headers[j].name;
                field[nfields++] = &t.headers[j].value;
            }

            for (k = 0; k < nfields; k++) {
                copy = ngx_pnalloc(t.pool, field[k]->len + 1);
                ngx_memcpy(copy, field[k]->data, field[k]->len);
                field[k]->data = copy;

                for (n = 0; n < field[k]->len; n++) {
                    copy[n] ^= 0x01;

                    /* spaces are folded: a tab in a space's place is one */
                    if (test_verify(&t) == S3_OK) {
                        fail_msg("set %d request %d field %d byte %d",
                                 (int) set, (int) i, (int) k, (int) n);
                    }

                    tried++;
                    copy[n] ^= 0x01;
                }

                if (field[k]->len > 0) {
                    field[k]->len--;
                    /* an HTTP date that is signed, and a value's last space */
                    if (copy[field[k]->len] != ' ') {
                        assert_int_not_equal(test_verify(&t), S3_OK);
                    }
                    field[k]->len++;
                }
            }

            assert_int_equal(test_verify(&t), S3_OK);
            test_done(&t);
        }
    }

    assert_true(tried > 3000);
}


static void
test_wrong_secret(void **state)
{
    test_t      t;
    ngx_str_t  *value;

    test_request(&t, &aws_requests[0], AWS_KEY, "another", "us-east-1",
                 AWS_NOW);
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

    value = test_element(&t, "StringToSign");
    assert_str(*value, "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1"
               "/s3/aws4_request\n7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95"
               "c48bbb2dc43964946972");

    value = test_element(&t, "CanonicalRequest");
    assert_str(*value, "GET\n/test.txt\n\n"
               "host:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
               "x-amz-content-sha256:" AWS_EMPTY "\n"
               "x-amz-date:20130524T000000Z\n\n"
               "host;range;x-amz-content-sha256;x-amz-date\n" AWS_EMPTY);

    test_done(&t);

    test_request(&t, &aws_requests[0], "AKIAIOSFODNN7EXAMPL", AWS_SECRET,
                 "us-east-1", AWS_NOW);
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ACCESS_KEY_ID);
    assert_str(*test_element(&t, "AWSAccessKeyId"), AWS_KEY);
    test_done(&t);

    test_aws(&t, 0);
    s3_credentials_find(t.credentials, &(ngx_str_t) ngx_string(AWS_KEY))
        ->enabled = 0;
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ACCESS_KEY_ID);
    test_done(&t);

    /* no set at all */
    test_aws(&t, 0);
    s3_credentials_release(t.credentials);
    t.credentials = NULL;
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ACCESS_KEY_ID);
    test_done(&t);
}


/* The signing key is kept for a day, and only for that day and region. */

static void
test_key_cache(void **state)
{
    test_t            t;
    u_char            a[32], b[32], c[32], d[32];
    ngx_str_t         east = ngx_string("us-east-1");
    ngx_str_t         west = ngx_string("us-west-2");
    s3_credential_t  *cr;

    test_aws(&t, 0);
    cr = s3_credentials_find(t.credentials, &(ngx_str_t) ngx_string(AWS_KEY));

    assert_int_equal(s3_sigv4_key(cr, (u_char *) "20130524", &east, a),
                     NGX_OK);
    assert_int_equal(s3_sigv4_key(cr, (u_char *) "20130525", &east, b),
                     NGX_OK);
    assert_int_equal(s3_sigv4_key(cr, (u_char *) "20130525", &west, c),
                     NGX_OK);
    assert_int_equal(s3_sigv4_key(cr, (u_char *) "20130524", &east, d),
                     NGX_OK);

    assert_memory_equal(a, d, 32);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(b, c, 32);

    /* from the cache */
    assert_int_equal(s3_sigv4_key(cr, (u_char *) "20130524", &east, d),
                     NGX_OK);
    assert_memory_equal(a, d, 32);

    assert_int_equal(test_verify(&t), S3_OK);
    test_done(&t);
}


static void
test_mechanism(void **state)
{
    test_t  t;

    /* nobody */
    test_aws(&t, 0);
    t.ar.nheaders--;
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    assert_int_equal(t.auth.type, S3_AUTH_NONE);
    test_done(&t);

    /* twice */
    test_aws(&t, 4);
    test_add(&t, "Authorization", aws_requests[0].headers[4].value);
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ARGUMENT);
    test_message(&t, "Only one auth mechanism");
    test_done(&t);

    test_aws(&t, 0);
    test_add(&t, "authorization", aws_requests[0].headers[4].value);
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ARGUMENT);
    test_done(&t);

    /* Signature Version 2 */
    test_aws(&t, 0);
    test_header(&t, "authorization")->value =
        s3_test_str("AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    assert_int_equal(t.auth.version, 2);
    test_done(&t);

    test_aws(&t, 4);
    t.ar.query = s3_test_str("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1"
                             "&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    test_message(&t, "Request has expired");
    assert_int_equal(t.auth.version, 2);
    test_done(&t);

    /* others */
    test_aws(&t, 0);
    test_header(&t, "authorization")->value = s3_test_str("Basic QTpC");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ARGUMENT);

    test_header(&t, "authorization")->value =
        s3_test_str("AWS4-ECDSA-P256-SHA256 Credential=x");
    assert_int_equal(test_verify(&t), S3_ERR_NOT_IMPLEMENTED);

    test_header(&t, "authorization")->value = s3_test_str("");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ARGUMENT);
    test_done(&t);

    test_aws(&t, 4);
    t.ar.query = test_replace(&t, &t.ar.query, "AWS4-HMAC-SHA256",
                              "AWS4-ECDSA-P256-SHA256");
    assert_int_equal(test_verify(&t), S3_ERR_NOT_IMPLEMENTED);
    test_done(&t);
}


static void
test_header_malformed(void **state)
{
    test_t        t;
    ngx_str_t     value;
    ngx_uint_t    i;
    s3_header_t  *h;

    static struct {
        const char  *from;
        const char  *to;
        const char  *message;
    } changes[] = {
        { "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "three components" },
        { "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256x ", "three components" },
        { "Credential=" AWS_SCOPE ",", "", "missing Credential" },
        { "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,", "",
          "missing SignedHeaders" },
        { "Signature=", "Signatur=", "must be given once" },
        { "Credential=", "Signature=x,Credential=", "must be given once" },
        { "Credential=", "Credential=x,Credential=", "must be given once" },
        { "Credential=", "Credential=,Credential=", "must be given once" },
        { "/20130524/us-east-1/s3/", "/20130524/us-east-1/",
          "Credential is mal-formed" },
        { "/20130524/us-east-1/s3/aws4_request", "",
          "Credential is mal-formed" },
        { AWS_KEY "/", "/", "Credential is mal-formed" },
        { "/20130524/", "/20130525/", "Invalid credential date" },
        { "/20130524/", "/2013052/", "Invalid credential date" },
        { "us-east-1", "us-east-2", "expecting 'us-east-1'" },
        { "/s3/", "/ec2/", "belongs to \"s3\"" },
        { "aws4_request", "aws5_request", "incorrect terminal" },
        { "host;range;", "Host;range;", "SignedHeaders must be" },
        { "host;range;", "host;;range;", "SignedHeaders must be" },
        { "host;range;", "host;host;", "SignedHeaders must be" },
        { "host;range;", ";host;range;", "SignedHeaders must be" },
        { "x-amz-date,", "x-amz-date;,", "SignedHeaders must be" },
        { "host;range;", "host;ra:ge;", "SignedHeaders must be" },
    };

    for (i = 0; i < test_nelts(changes); i++) {
        test_aws(&t, 0);
        h = test_header(&t, "authorization");

        value = h->value;
        h->value = test_replace(&t, &value, changes[i].from, changes[i].to);

        if (test_verify(&t) != S3_ERR_AUTHORIZATION_HEADER_MALFORMED) {
            fail_msg("change %d", (int) i);
        }

        test_message(&t, changes[i].message);
        test_done(&t);
    }

    test_aws(&t, 0);
    h = test_header(&t, "authorization");
    h->value = test_replace(&t, &h->value, "us-east-1", "eu-west-1");
    assert_int_equal(test_verify(&t), S3_ERR_AUTHORIZATION_HEADER_MALFORMED);
    assert_str(*test_element(&t, "Region"), "us-east-1");
    test_done(&t);

    /* spaces after the commas and another order are all right */

    test_aws(&t, 0);
    h = test_header(&t, "authorization");
    h->value = s3_test_str("AWS4-HMAC-SHA256  Signature="
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41 ,"
        "  SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Credential=" AWS_SCOPE);
    assert_int_equal(test_verify(&t), S3_OK);
    test_done(&t);
}


static void
test_unsigned_headers(void **state)
{
    test_t        t;
    s3_header_t  *h;

    test_aws(&t, 0);
    test_add(&t, "X-Amz-Acl", "private");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    test_message(&t, "not signed");
    assert_str(*test_element(&t, "HeadersNotSigned"), "x-amz-acl");
    test_done(&t);

    /* all of them, none that is signed or need not be */
    test_aws(&t, 0);
    test_add(&t, "x-amz-meta-b", "1");
    test_add(&t, "Content-Type", "text/plain");
    test_add(&t, "X-Amz-Meta-A", "2");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    assert_str(*test_element(&t, "HeadersNotSigned"),
               "x-amz-meta-b, x-amz-meta-a");
    test_done(&t);

    test_aws(&t, 0);
    h = test_header(&t, "authorization");
    h->value = test_replace(&t, &h->value, "=host;", "=");
    test_add(&t, "x-amz-acl", "private");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    assert_str(*test_element(&t, "HeadersNotSigned"), "host, x-amz-acl");
    test_done(&t);

    test_aws(&t, 4);
    test_add(&t, "x-amz-meta-a", "b");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    test_done(&t);

    /* tolerated */
    test_aws(&t, 0);
    test_add(&t, "Content-Type", "text/plain");
    assert_int_equal(test_verify(&t), S3_OK);
    test_done(&t);

    /* host: unsigned, missing, twice */
    test_aws(&t, 0);
    h = test_header(&t, "authorization");
    h->value = test_replace(&t, &h->value, "=host;", "=");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    assert_str(*test_element(&t, "HeadersNotSigned"), "host");
    test_done(&t);

    test_aws(&t, 0);
    test_header(&t, "host")->name = s3_test_str("hosT2");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    test_done(&t);

    test_aws(&t, 0);
    test_add(&t, "Host", "other");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    test_done(&t);

    /* a second value for a signed header is part of what is signed */
    test_aws(&t, 0);
    test_add(&t, "Range", "  bytes=5-,   6 ");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    assert_non_null(ngx_strlcasestrn(
                        test_element(&t, "CanonicalRequest")->data,
                        test_element(&t, "CanonicalRequest")->data
                        + test_element(&t, "CanonicalRequest")->len,
                        (u_char *) "range:bytes=0-9,bytes=5-, 6\n",
                        sizeof("range:bytes=0-9,bytes=5-, 6\n") - 2));
    test_done(&t);
}


static void
test_time(void **state)
{
    test_t  t;

    test_aws(&t, 0);

    t.ar.now = AWS_NOW + S3_AUTH_SKEW;
    assert_int_equal(test_verify(&t), S3_OK);

    t.ar.now = AWS_NOW - S3_AUTH_SKEW;
    assert_int_equal(test_verify(&t), S3_OK);

    t.ar.now = AWS_NOW + S3_AUTH_SKEW + 1;
    assert_int_equal(test_verify(&t), S3_ERR_REQUEST_TIME_TOO_SKEWED);
    assert_str(*test_element(&t, "RequestTime"), "20130524T000000Z");
    assert_str(*test_element(&t, "ServerTime"), "2013-05-24T00:15:01.000Z");
    assert_str(*test_element(&t, "MaxAllowedSkewMilliseconds"), "900000");

    t.ar.now = AWS_NOW - S3_AUTH_SKEW - 1;
    assert_int_equal(test_verify(&t), S3_ERR_REQUEST_TIME_TOO_SKEWED);

    t.ar.now = AWS_NOW;
    test_header(&t, "x-amz-date")->value = s3_test_str("20130524T000000");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);

    test_header(&t, "x-amz-date")->value = s3_test_str("20130524T240000Z");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);

    test_add(&t, "x-amz-date", "20130524T000000Z");
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    test_done(&t);
}


/* Date in the place of x-amz-date: the string to sign has the basic form. */

static void
test_date_header(void **state)
{
    test_t            t;
    u_char            key[32], hex[64];
    ngx_str_t         region = ngx_string("us-east-1");
    ngx_str_t         value;
    s3_header_t      *h;
    s3_credential_t  *cr;

    test_aws(&t, 0);
    h = test_header(&t, "x-amz-date");
    h->name = s3_test_str("Date");
    h->value = s3_test_str("Fri, 24 May 2013 00:00:00 GMT");

    h = test_header(&t, "authorization");
    h->value = test_replace(&t, &h->value, "x-amz-date,", "date,");

    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

    /* what a client would have signed */
    cr = s3_credentials_find(t.credentials, &(ngx_str_t) ngx_string(AWS_KEY));
    assert_int_equal(s3_sigv4_key(cr, (u_char *) "20130524", &region, key),
                     NGX_OK);
    assert_int_equal(s3_sigv4_sign(key, test_element(&t, "StringToSign"),
                                   hex), NGX_OK);

    value.data = ngx_pnalloc(t.pool, 65);
    ngx_memcpy(value.data, hex, 64);
    value.data[64] = '\0';
    h->value = test_replace(&t, &h->value, "f0e8bdb87c964420e857bd35b5d6ed310b"
                            "d44f0170aba48dd91039c6036bdb41",
                            (char *) value.data);

    assert_int_equal(test_verify(&t), S3_OK);
    assert_memory_equal(t.auth.amz_date, "20130524T000000Z", 16);

    /* the date counts although it is a header of another form */
    t.ar.now = AWS_NOW + 3600;
    assert_int_equal(test_verify(&t), S3_ERR_REQUEST_TIME_TOO_SKEWED);
    test_done(&t);
}


static void
test_query(void **state)
{
    test_t      t;
    ngx_str_t   query;
    ngx_uint_t  i;

    static struct {
        const char  *from;
        const char  *to;
        const char  *message;
    } changes[] = {
        { "X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", "requires the" },
        { "X-Amz-Date=20130524T000000Z&", "", "requires the" },
        { "X-Amz-Expires=86400&", "", "requires the" },
        { "X-Amz-Expires=86400&", "X-Amz-Expires=86400&X-Amz-Expires=1&",
          "requires the" },
        { "X-Amz-SignedHeaders=host&", "", "requires the" },
        { "X-Amz-Signature=", "X-Amz-Sig=", "requires the" },
        { "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "only supports" },
        { "20130524T000000Z", "20130524", "ISO8601" },
        { "=86400", "=-1", "non-negative" },
        { "=86400", "=8x", "should be a number" },
        { "=86400", "=99999999999999999999", "should be a number" },
        { "=86400", "=604801", "less than a week" },
        { "=86400", "=0", "at least 1 second" },
        { "us-east-1", "us-east-2", "the region 'us-east-2' is wrong" },
        { "%2Fs3%2F", "%2Fs4%2F", "incorrect service" },
        { "%2Faws4_request", "", "mal-formed" },
        { "SignedHeaders=host", "SignedHeaders=Host", "lower-case" },
    };

    for (i = 0; i < test_nelts(changes); i++) {
        test_aws(&t, 4);
        query = t.ar.query;
        t.ar.query = test_replace(&t, &query, changes[i].from, changes[i].to);

        if (test_verify(&t) != S3_ERR_AUTHORIZATION_QUERY_PARAMETERS_ERROR) {
            fail_msg("change %d", (int) i);
        }

        test_message(&t, changes[i].message);
        test_done(&t);
    }

    /* a day, to the second */

    test_aws(&t, 4);

    t.ar.now = AWS_NOW + 86399;
    assert_int_equal(test_verify(&t), S3_OK);

    t.ar.now = AWS_NOW + 86400;
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    assert_str(t.fail.message, "Request has expired");
    assert_str(*test_element(&t, "Expires"), "2013-05-25T00:00:00.000Z");
    assert_str(*test_element(&t, "X-Amz-Expires"), "86400");

    t.ar.now = AWS_NOW - 901;
    assert_int_equal(test_verify(&t), S3_ERR_ACCESS_DENIED);
    assert_str(t.fail.message, "Request is not valid yet");

    t.ar.now = AWS_NOW - 900;
    assert_int_equal(test_verify(&t), S3_OK);

    /* arguments added after signing */

    query = t.ar.query;
    t.ar.query = test_replace(&t, &query, "&X-Amz-Expires",
                              "&versionId=null&X-Amz-Expires");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

    t.ar.query = test_replace(&t, &query, "&X-Amz-Expires",
                              "&a=%zz&X-Amz-Expires");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_URI);

    test_done(&t);
}


static void
test_payload(void **state)
{
    test_t       t;
    ngx_uint_t   i;

    static struct {
        const char  *value;
        s3_error_e   error;
    } values[] = {
        { "unsigned-payload", S3_ERR_INVALID_ARGUMENT },
        { "", S3_ERR_INVALID_ARGUMENT },
        { "e3b0c442", S3_ERR_INVALID_ARGUMENT },
        { "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
          S3_ERR_INVALID_ARGUMENT },
        { "g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
          S3_ERR_INVALID_ARGUMENT },
        { "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
          S3_ERR_NOT_IMPLEMENTED },
        { "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
          S3_ERR_NOT_IMPLEMENTED },
        { "UNSIGNED-PAYLOAD", S3_ERR_SIGNATURE_DOES_NOT_MATCH },
    };

    for (i = 0; i < test_nelts(values); i++) {
        test_aws(&t, 0);
        test_header(&t, "x-amz-content-sha256")->value =
            s3_test_str(values[i].value);
        assert_int_equal(test_verify(&t), values[i].error);
        test_done(&t);
    }

    test_aws(&t, 0);
    test_header(&t, "x-amz-content-sha256")->name = s3_test_str("x-other");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_REQUEST);
    test_message(&t, "x-amz-content-sha256");
    test_done(&t);

    test_aws(&t, 0);
    test_add(&t, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_ARGUMENT);
    test_done(&t);
}


static void
test_token(void **state)
{
    test_t     t;
    ngx_str_t  query;

    test_aws(&t, 0);
    test_add(&t, "x-amz-security-token", "abc");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_TOKEN);
    test_done(&t);

    test_aws(&t, 4);
    query = t.ar.query;
    t.ar.query = test_replace(&t, &query, "&X-Amz-Expires",
                              "&X-Amz-Security-Token=abc&X-Amz-Expires");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_TOKEN);
    test_done(&t);
}


/* The path as received, without the mount, or with one taken away. */

static void
test_paths(void **state)
{
    test_t  t;

    test_boto(&t, 4);
    t.ar.paths[0] = s3_test_str("/bucket/%24%26%40%3D%3B%3A%2C");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

    t.ar.paths[1] = s3_test_str("/storage/bucket/%24%26%40%3D%3B%3A%2C");
    t.ar.npaths = 2;
    assert_int_equal(test_verify(&t), S3_OK);

    /* the same key in another spelling: signed as S3 encodes it */
    t.ar.paths[1] = s3_test_str("/storage/bucket/$&@=;:,");
    assert_int_equal(test_verify(&t), S3_OK);

    t.ar.paths[1] = s3_test_str("/storage/bucket/%24%26%40%3d%3b%3a%2c");
    assert_int_equal(test_verify(&t), S3_OK);

    t.ar.paths[1] = s3_test_str("/storage/bucket/%24%26%40%3D%3B%3A%2D");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);

    t.ar.paths[1] = s3_test_str("/storage/bucket/%2");
    assert_int_equal(test_verify(&t), S3_ERR_INVALID_URI);
    test_done(&t);

    /* "%2F" was signed as sent; "/" is another spelling of the same key */
    test_boto(&t, 2);
    t.ar.paths[0] = s3_test_str("/bucket//a/.././b/c/d");
    assert_int_equal(test_verify(&t), S3_ERR_SIGNATURE_DOES_NOT_MATCH);
    test_done(&t);
}


static void
test_any_region(void **state)
{
    test_t  t;

    test_boto(&t, 0);
    ngx_str_null(&t.ar.region);
    assert_int_equal(test_verify(&t), S3_OK);
    test_done(&t);
}


static void
test_bounds(void **state)
{
    test_t        t;
    u_char       *p, *start;
    s3_header_t  *headers;
    ngx_uint_t    i;

    test_aws(&t, 0);

    headers = ngx_palloc(t.pool, 513 * sizeof(s3_header_t));
    for (i = 0; i < 513; i++) {
        headers[i].name = s3_test_str("a");
        headers[i].value = s3_test_str("b");
    }

    t.ar.headers = headers;
    t.ar.nheaders = 513;
    assert_int_equal(test_verify(&t),
                     S3_ERR_REQUEST_HEADER_SECTION_TOO_LARGE);

    t.ar.headers = t.headers;
    t.ar.nheaders = 5;
    start = ngx_palloc(t.pool, 8192);
    p = ngx_sprintf(start, "AWS4-HMAC-SHA256 Credential=%s,Signature=0,"
                    "SignedHeaders=host", AWS_SCOPE);

    for (i = 0; i < 128; i++) {
        p = ngx_sprintf(p, ";x%ui", i);
    }

    test_header(&t, "authorization")->value.data = start;
    test_header(&t, "authorization")->value.len = p - start;
    assert_int_equal(test_verify(&t), S3_ERR_AUTHORIZATION_HEADER_MALFORMED);
    test_message(&t, "SignedHeaders");
    test_done(&t);
}


static void
test_canonical_query(void **state)
{
    ngx_str_t    in, out;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    static const char  *cases[][2] = {
        { "", "" },
        { "acl", "acl=" },
        { "b=2&a=1", "a=1&b=2" },
        { "a=2&a=1&a", "a=&a=1&a=2" },
        { "a-b=1&a=2&a%20=3", "a=2&a%20=3&a-b=1" },
        { "&&a=1&", "a=1" },
        { "a=b=c", "a=b%3Dc" },
        { "p=a+b", "p=a%20b" },
        { "p=%7e%2a%2F", "p=~%2A%2F" },
        { "x=1&X-Amz-Signature=abc", "x=1" },
        { "%c3%bc=%C3%BC", "%C3%BC=%C3%BC" },
    };

    pool = s3_test_pool();

    for (i = 0; i < test_nelts(cases); i++) {
        in = s3_test_str(cases[i][0]);
        assert_int_equal(s3_sigv4_canonical_query(pool, &in,
                                                  "X-Amz-Signature", &out),
                         NGX_OK);
        assert_str(out, cases[i][1]);
    }

    in = s3_test_str("a=%f");
    assert_int_equal(s3_sigv4_canonical_query(pool, &in, NULL, &out),
                     NGX_DECLINED);

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_aws_examples),
        cmocka_unit_test(test_botocore),
        cmocka_unit_test(test_corruption),
        cmocka_unit_test(test_wrong_secret),
        cmocka_unit_test(test_key_cache),
        cmocka_unit_test(test_mechanism),
        cmocka_unit_test(test_header_malformed),
        cmocka_unit_test(test_unsigned_headers),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_date_header),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_payload),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_any_region),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_canonical_query),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
