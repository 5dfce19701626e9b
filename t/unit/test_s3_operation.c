
/* The table of operations, and how a request finds its row. */

#include "s3_test.h"
#include "s3_operation.h"


#define test_nelts(a)  (sizeof(a) / sizeof((a)[0]))


static s3_face_e  test_face = S3_FACE_SERVE;


static s3_error_e
test_parse(const char *method, const char *raw, const char *name,
    const char *value, const s3_operation_t **op, s3_failure_t *fail)
{
    ngx_str_t       m, r, mount = ngx_string("/");
    ngx_pool_t     *pool;
    s3_error_e      rc;
    s3_header_t     h;
    s3_target_t     t;

    static ngx_pool_t  *last;

    /* strings of "fail" live until the next call */
    if (last) {
        s3_test_pool_free(last);
        last = NULL;
    }

    if (method == NULL) {
        return S3_OK;
    }

    pool = last = s3_test_pool();

    m = s3_test_str(method);
    r = s3_test_str(raw);
    h.name = s3_test_str(name ? name : "");
    h.value = s3_test_str(value ? value : "");
    ngx_memzero(fail, sizeof(s3_failure_t));

    rc = s3_target_parse(pool, &r, &mount, &t, fail);
    if (rc != S3_OK) {
        fail_msg("%s: target", raw);
    }

    return s3_operation_parse(pool, test_face, &m, &t, &h, name != NULL, op,
                              fail);
}


static void
test_implemented(void **state)
{
    ngx_uint_t             i;
    s3_failure_t           fail;
    const s3_operation_t  *op;

    static const struct {
        const char      *method;
        const char      *raw;
        s3_operation_e   op;
    } cases[] = {
        { "GET", "/", S3_OP_LIST_BUCKETS },
        { "GET", "/?x-id=ListBuckets&prefix=a&max-buckets=3",
          S3_OP_LIST_BUCKETS },
        { "PUT", "/abc", S3_OP_CREATE_BUCKET },
        { "PUT", "/abc/", S3_OP_CREATE_BUCKET },
        { "HEAD", "/abc", S3_OP_HEAD_BUCKET },
        { "DELETE", "/abc", S3_OP_DELETE_BUCKET },
        { "GET", "/abc?location", S3_OP_GET_BUCKET_LOCATION },
        { "GET", "/abc?location=", S3_OP_GET_BUCKET_LOCATION },
        { "GET", "/abc?acl", S3_OP_GET_BUCKET_ACL },
        { "GET", "/abc?inventory",
          S3_OP_LIST_BUCKET_INVENTORY_CONFIGURATIONS },
        { "GET", "/abc?inventory&continuation-token=t",
          S3_OP_LIST_BUCKET_INVENTORY_CONFIGURATIONS },
        { "GET", "/abc?id=a&inventory&x-id=x",
          S3_OP_GET_BUCKET_INVENTORY_CONFIGURATION },
        { "DELETE", "/abc?lifecycle", S3_OP_DELETE_BUCKET_LIFECYCLE },
        { "GET", "/abc/k?tagging&versionId=null", S3_OP_GET_OBJECT_TAGGING },
        { "GET", "/abc", S3_OP_LIST_OBJECTS },
        { "GET", "/abc?marker=a&prefix=p", S3_OP_LIST_OBJECTS },
        { "GET", "/abc?list-type=1", S3_OP_LIST_OBJECTS },
        { "GET", "/abc?versions&prefix=a", S3_OP_LIST_OBJECT_VERSIONS },
        { "POST", "/abc?delete", S3_OP_DELETE_OBJECTS },
        { "GET", "/abc?list-type=2", S3_OP_LIST_OBJECTS_V2 },
        { "GET", "/abc/?prefix=p&delimiter=%2F&list-type=2&max-keys=1"
          "&start-after=a&continuation-token=t&encoding-type=url"
          "&fetch-owner=true", S3_OP_LIST_OBJECTS_V2 },
        { "PUT", "/abc/k?x-id=PutObject", S3_OP_PUT_OBJECT },
        { "GET", "/abc/k", S3_OP_GET_OBJECT },
        { "GET", "/abc/k?response-content-type=a%2Fb&versionId=null",
          S3_OP_GET_OBJECT },
        { "GET", "/abc/k?X-Amz-Signature=1&X-Amz-Expires=2&x-foo=bar",
          S3_OP_GET_OBJECT },
        { "HEAD", "/abc/k", S3_OP_HEAD_OBJECT },
        { "HEAD", "/abc/k?partNumber=1", S3_OP_HEAD_OBJECT },
        { "GET", "/abc/k?partNumber=1&response-expires=x",
          S3_OP_GET_OBJECT },
        { "GET", "/abc/k?attributes", S3_OP_GET_OBJECT_ATTRIBUTES },
        { "GET", "/abc?uploads&prefix=p&max-uploads=1&key-marker=k"
          "&upload-id-marker=u&delimiter=d&encoding-type=url",
          S3_OP_LIST_MULTIPART_UPLOADS },
        { "POST", "/abc/k?uploads", S3_OP_CREATE_MULTIPART_UPLOAD },
        { "PUT", "/abc/k?uploadId=u&partNumber=1", S3_OP_UPLOAD_PART },
        { "GET", "/abc/k?uploadId=u&max-parts=1&part-number-marker=1",
          S3_OP_LIST_PARTS },
        { "POST", "/abc/k?uploadId=u", S3_OP_COMPLETE_MULTIPART_UPLOAD },
        { "DELETE", "/abc/k?uploadId=u", S3_OP_ABORT_MULTIPART_UPLOAD },
        { "DELETE", "/abc/k", S3_OP_DELETE_OBJECT },
        { "DELETE", "/abc/k?versionId=null", S3_OP_DELETE_OBJECT },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        if (test_parse(cases[i].method, cases[i].raw, NULL, NULL, &op, &fail)
            != S3_OK)
        {
            fail_msg("%s %s", cases[i].method, cases[i].raw);
        }

        assert_non_null(op);
        assert_int_equal(op->id, cases[i].op);
        assert_int_equal(op->where, S3_OPERATION_SERVED);
    }
}


static void
test_errors(void **state)
{
    ngx_uint_t             i;
    s3_error_e             rc;
    s3_failure_t           fail;
    const s3_operation_t  *op;

    static const struct {
        const char      *method;
        const char      *raw;
        s3_error_e       error;
        s3_operation_e   op;
    } cases[] = {
        { "PUT", "/abc?acl", S3_ERR_NOT_IMPLEMENTED, S3_OP_PUT_BUCKET_ACL },
        { "PUT", "/abc?policy", S3_ERR_NOT_IMPLEMENTED,
          S3_OP_PUT_BUCKET_POLICY },
        { "DELETE", "/abc?ownershipControls", S3_ERR_NOT_IMPLEMENTED,
          S3_OP_DELETE_BUCKET_OWNERSHIP_CONTROLS },
        { "PUT", "/abc?inventory&id=a", S3_ERR_NOT_IMPLEMENTED,
          S3_OP_PUT_BUCKET_INVENTORY_CONFIGURATION },
        { "GET", "/abc/k?torrent", S3_ERR_NOT_IMPLEMENTED,
          S3_OP_GET_OBJECT_TORRENT },
        { "PUT", "/abc/k?retention", S3_ERR_NOT_IMPLEMENTED,
          S3_OP_PUT_OBJECT_RETENTION },
        { "POST", "/abc/k?restore", S3_ERR_NOT_IMPLEMENTED,
          S3_OP_RESTORE_OBJECT },

        /* never a silent fall-through to the plain operation */
        { "PUT", "/abc/k?uploadId=u", S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "PUT", "/abc/k?partNumber=1", S3_ERR_INVALID_ARGUMENT,
          S3_OP_NONE },
        { "GET", "/abc/k?uploadId=u&partNumber=1", S3_ERR_INVALID_ARGUMENT,
          S3_OP_NONE },
        { "DELETE", "/abc/k?uploadId=u&partNumber=1", S3_ERR_INVALID_ARGUMENT,
          S3_OP_NONE },
        { "DELETE", "/abc?location", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "HEAD", "/abc?acl", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "DELETE", "/abc/k?acl", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "GET", "/abc?location&metadataTable", S3_ERR_NOT_IMPLEMENTED, -1 },
        { "GET", "/abc?list-type=2&id=a", S3_ERR_NOT_IMPLEMENTED, -1 },
        { "PUT", "/abc?inventory", S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "GET", "/abc?list-type=2&foo", S3_ERR_NOT_IMPLEMENTED, -1 },
        { "PUT", "/abc/k?foo=bar", S3_ERR_NOT_IMPLEMENTED, -1 },
        { "PUT", "/abc/k?prefix=bar", S3_ERR_NOT_IMPLEMENTED, -1 },
        { "DELETE", "/abc/k?location", S3_ERR_NOT_IMPLEMENTED, -1 },
        { "GET", "/?acl", S3_ERR_NOT_IMPLEMENTED, -1 },

        { "GET", "/abc?acl&policy", S3_ERR_INVALID_ARGUMENT, S3_OP_NONE },
        { "GET", "/abc?acl&id=a", S3_ERR_INVALID_ARGUMENT, S3_OP_NONE },
        { "GET", "/abc?location&acl", S3_ERR_INVALID_ARGUMENT, S3_OP_NONE },
        { "GET", "/abc/k?versionId=x", S3_ERR_INVALID_ARGUMENT, -1 },

        { "POST", "/", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "PUT", "/", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "POST", "/abc/k", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "OPTIONS", "/abc/k", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "PATCH", "/abc/k", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "get", "/abc/k", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "MKCOL", "/abc", S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        rc = test_parse(cases[i].method, cases[i].raw, NULL, NULL, &op,
                        &fail);

        if (rc != cases[i].error) {
            fail_msg("%s %s: %s", cases[i].method, cases[i].raw,
                     rc ? (char *) s3_error(rc)->code.data : "OK");
        }

        assert_int_equal(fail.error, rc);

        if (cases[i].op == S3_OP_NONE) {
            assert_null(op);

        } else if (cases[i].op != (s3_operation_e) -1) {
            assert_int_equal(op->id, cases[i].op);
        }
    }

    (void) test_parse("GET", "/abc?acl&policy", NULL, NULL, &op, &fail);
    assert_str(fail.message,
               "Conflicting query string parameters: acl, policy");

    (void) test_parse("PATCH", "/abc", NULL, NULL, &op, &fail);
    assert_str(fail.elements[0].value, "PATCH");
    assert_str(fail.elements[1].value, "BUCKET");
}


static void
test_headers(void **state)
{
    ngx_uint_t             i;
    s3_error_e             rc;
    s3_failure_t           fail;
    const s3_operation_t  *op;

    static const struct {
        const char  *name;
        const char  *value;
        s3_error_e   error;
    } cases[] = {
        { "x-amz-acl", "private", S3_OK },
        { "X-Amz-Acl", "bucket-owner-full-control", S3_OK },
        { "x-amz-acl", "public-read",
          S3_ERR_ACCESS_CONTROL_LIST_NOT_SUPPORTED },
        { "x-amz-acl", "", S3_ERR_ACCESS_CONTROL_LIST_NOT_SUPPORTED },
        { "x-amz-grant-read", "id=1",
          S3_ERR_ACCESS_CONTROL_LIST_NOT_SUPPORTED },
        { "x-amz-storage-class", "STANDARD", S3_OK },
        { "x-amz-storage-class", "GLACIER", S3_ERR_INVALID_STORAGE_CLASS },
        { "x-amz-tagging", "a=b", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-server-side-encryption", "AES256", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-server-side-encryption-customer-key", "x",
          S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-object-lock-mode", "GOVERNANCE", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-bucket-object-lock-enabled", "true",
          S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-bucket-object-lock-enabled", "false", S3_OK },
        { "x-amz-object-ownership", "BucketOwnerEnforced", S3_OK },
        { "x-amz-object-ownership", "ObjectWriter", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-website-redirect-location", "/x", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-write-offset-bytes", "1", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-expected-bucket-owner", "1", S3_OK },
        { "x-amz-source-expected-bucket-owner", "1", S3_OK },
        { "x-amz-mfa", "1 123456", S3_OK },
        { "x-amz-bypass-governance-retention", "true",
          S3_ERR_INVALID_ARGUMENT },
        { "x-amz-tagging-directive", "COPY", S3_OK },
        { "x-amz-tagging-directive", "REPLACE", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-copy-source", "/abc/j", S3_OK },
        { "x-amz-some-new-thing", "1", S3_ERR_NOT_IMPLEMENTED },
        { "x-amz-meta-anything", "1", S3_OK },
        { "x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", S3_OK },
        { "x-amz-checksum-xxhash", "AA", S3_ERR_INVALID_REQUEST },
        { "x-amz-sdk-checksum-algorithm", "CRC32", S3_OK },
        { "x-amz-sdk-checksum-algorithm", "MD4", S3_ERR_INVALID_REQUEST },
        { "x-amz-sdk-checksum-algorithm", "mode", S3_ERR_INVALID_REQUEST },
        { "x-amz-decoded-content-length", "1", S3_OK },
        { "x-amz-trailer", "x-amz-checksum-crc32", S3_OK },
        { "x-amzn-trace-id", "1", S3_OK },
        { "x-forwarded-for", "1", S3_OK },
    };

    for (i = 0; i < test_nelts(cases); i++) {
        rc = test_parse("PUT", "/abc/k", cases[i].name, cases[i].value, &op,
                        &fail);

        if (rc != cases[i].error) {
            fail_msg("%s: %s: %s", cases[i].name, cases[i].value,
                     rc ? (char *) s3_error(rc)->code.data : "OK");
        }
    }

    assert_int_equal(test_parse("PUT", "/abc/k", "x-amz-copy-source", "/a/b",
                                &op, &fail), S3_OK);
    assert_int_equal(op->id, S3_OP_COPY_OBJECT);

    assert_int_equal(test_parse("PUT", "/abc/k?uploadId=1&partNumber=1",
                                "x-amz-copy-source", "/a/b", &op, &fail),
                     S3_OK);
    assert_int_equal(op->id, S3_OP_UPLOAD_PART_COPY);

    (void) test_parse(NULL, NULL, NULL, NULL, &op, &fail);
}


/* What the table itself must be, for those who make things from it. */

static void
test_table(void **state)
{
    ngx_uint_t             i, j, n;
    const s3_operation_t  *op, *other;

    assert_null(s3_operation(S3_OP_NONE));
    assert_null(s3_operation(S3_OP_LAST));

    for (i = S3_OP_NONE + 1, n = 0; i < S3_OP_LAST; i++) {
        op = s3_operation(i);
        assert_int_equal(op->id, i);
        assert_true(op->name.len > 0);
        assert_memory_equal(op->action.data, "s3", 2);
        n += (op->where == S3_OPERATION_SERVED);

        for (j = i + 1; j < S3_OP_LAST; j++) {
            other = s3_operation(j);
            assert_string_not_equal((char *) op->name.data,
                                    (char *) other->name.data);

            /* a row behind one that always fits would never be reached */
            if (op->method == other->method && op->level == other->level) {
                assert_string_not_equal(op->selectors, "");
                assert_string_not_equal(op->selectors, other->selectors);
            }
        }
    }

    assert_true(n >= 10);
}


static void
test_error_table(void **state)
{
    ngx_uint_t         i;
    const s3_error_t  *e;

    for (i = S3_OK + 1; i < S3_ERR_LAST; i++) {
        e = s3_error(i);
        assert_true(e->status >= 300 && e->status < 600);
        assert_true(e->message.len > 0);
        assert_int_equal(s3_error_by_code((char *) e->code.data), i);
    }

    assert_str(s3_error(S3_ERR_NO_SUCH_KEY)->code, "NoSuchKey");
    assert_int_equal(s3_error(S3_ERR_INVALID_RANGE)->status, 416);
    assert_int_equal(s3_error_by_code("Nonsense"), S3_ERR_INTERNAL_ERROR);
    assert_int_equal(s3_error_by_code(""), S3_ERR_INTERNAL_ERROR);
    assert_str(s3_error(9999)->code, "InternalError");
    assert_str(s3_error(S3_OK)->code, "InternalError");

    assert_int_equal(s3_error_by_status(413), S3_ERR_ENTITY_TOO_LARGE);
    assert_int_equal(s3_error_by_status(494),
                     S3_ERR_REQUEST_HEADER_SECTION_TOO_LARGE);
    assert_int_equal(s3_error_by_status(503), S3_ERR_SLOW_DOWN);
    assert_int_equal(s3_error_by_status(502), S3_ERR_SERVICE_UNAVAILABLE);
    assert_int_equal(s3_error_by_status(418), S3_ERR_BAD_REQUEST);
    assert_int_equal(s3_error_by_status(200), S3_ERR_INTERNAL_ERROR);
}


/* a gateway leaves to its upstream what the store does not have */

static void
test_gateway(void **state)
{
    ngx_uint_t             i;
    s3_error_e             rc;
    s3_failure_t           fail;
    const s3_operation_t  *op;

    static const struct {
        const char      *method;
        const char      *raw;
        const char      *name;
        const char      *value;
        s3_error_e       serve;
        s3_error_e       gateway;
        s3_operation_e   op;           /* of the gateway's, where it is OK */
    } cases[] = {
        { "PUT", "/abc?acl", NULL, NULL, S3_ERR_NOT_IMPLEMENTED, S3_OK,
          S3_OP_PUT_BUCKET_ACL },
        { "PUT", "/abc?policy", NULL, NULL, S3_ERR_NOT_IMPLEMENTED, S3_OK,
          S3_OP_PUT_BUCKET_POLICY },
        { "PUT", "/abc/k?tagging", NULL, NULL, S3_ERR_NOT_IMPLEMENTED, S3_OK,
          S3_OP_PUT_OBJECT_TAGGING },
        { "POST", "/abc/k?restore", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_OK, S3_OP_RESTORE_OBJECT },
        { "POST", "/abc/k?select&select-type=2", NULL, NULL,
          S3_ERR_NOT_IMPLEMENTED, S3_OK, S3_OP_SELECT_OBJECT_CONTENT },

        /* of both, and of neither */
        { "PUT", "/abc/k", NULL, NULL, S3_OK, S3_OK, S3_OP_PUT_OBJECT },
        { "GET", "/abc/k?torrent", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "PUT", "/abc/k?renameObject", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "POST", "/abc", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "GET", "/abc?session", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },

        /* what old servers would take for another operation */
        { "DELETE", "/abc?nobodyKnows", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "PUT", "/abc/k?foo=bar", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "DELETE", "/abc/k?location", NULL, NULL, S3_ERR_NOT_IMPLEMENTED,
          S3_ERR_NOT_IMPLEMENTED, S3_OP_NONE },
        { "GET", "/abc?acl&policy", NULL, NULL, S3_ERR_INVALID_ARGUMENT,
          S3_ERR_INVALID_ARGUMENT, S3_OP_NONE },
        { "DELETE", "/abc?location", NULL, NULL, S3_ERR_METHOD_NOT_ALLOWED,
          S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },
        { "PATCH", "/abc/k", NULL, NULL, S3_ERR_METHOD_NOT_ALLOWED,
          S3_ERR_METHOD_NOT_ALLOWED, S3_OP_NONE },

        /* versions */
        { "GET", "/abc/k?versionId=v1", NULL, NULL, S3_ERR_INVALID_ARGUMENT,
          S3_OK, S3_OP_GET_OBJECT },
        { "HEAD", "/abc/k?versionId=v1", NULL, NULL, S3_ERR_INVALID_ARGUMENT,
          S3_OK, S3_OP_HEAD_OBJECT },
        { "DELETE", "/abc/k?versionId=v1", NULL, NULL,
          S3_ERR_INVALID_ARGUMENT, S3_OK, S3_OP_DELETE_OBJECT },
        { "GET", "/abc/k?tagging&versionId=v1", NULL, NULL,
          S3_ERR_INVALID_ARGUMENT, S3_OK, S3_OP_GET_OBJECT_TAGGING },

        /* headers */
        { "PUT", "/abc/k", "x-amz-acl", "public-read",
          S3_ERR_ACCESS_CONTROL_LIST_NOT_SUPPORTED, S3_OK, S3_OP_PUT_OBJECT },
        { "PUT", "/abc/k", "x-amz-grant-read", "id=1",
          S3_ERR_ACCESS_CONTROL_LIST_NOT_SUPPORTED, S3_OK, S3_OP_PUT_OBJECT },
        { "PUT", "/abc/k", "x-amz-storage-class", "GLACIER",
          S3_ERR_INVALID_STORAGE_CLASS, S3_OK, S3_OP_PUT_OBJECT },
        { "PUT", "/abc/k", "x-amz-tagging", "a=b", S3_ERR_NOT_IMPLEMENTED,
          S3_OK, S3_OP_PUT_OBJECT },
        { "PUT", "/abc/k", "x-amz-server-side-encryption", "AES256",
          S3_ERR_NOT_IMPLEMENTED, S3_OK, S3_OP_PUT_OBJECT },
        { "PUT", "/abc", "x-amz-object-ownership", "ObjectWriter",
          S3_ERR_NOT_IMPLEMENTED, S3_OK, S3_OP_CREATE_BUCKET },
        { "DELETE", "/abc/k", "x-amz-bypass-governance-retention", "true",
          S3_ERR_INVALID_ARGUMENT, S3_OK, S3_OP_DELETE_OBJECT },
        { "PUT", "/abc/k", "x-amz-some-new-thing", "1",
          S3_ERR_NOT_IMPLEMENTED, S3_OK, S3_OP_PUT_OBJECT },

        /* those that we read ourselves must be right */
        { "PUT", "/abc/k", "x-amz-checksum-xxhash", "AA",
          S3_ERR_INVALID_REQUEST, S3_ERR_INVALID_REQUEST, S3_OP_NONE },
        { "PUT", "/abc/k", "x-amz-sdk-checksum-algorithm", "MD4",
          S3_ERR_INVALID_REQUEST, S3_ERR_INVALID_REQUEST, S3_OP_NONE },
        { "PUT", "/abc/k", "x-amz-sdk-checksum-algorithm", "CRC32", S3_OK,
          S3_OK, S3_OP_PUT_OBJECT },
    };

    for (i = 0; i < test_nelts(cases); i++) {

        for (test_face = S3_FACE_SERVE; test_face <= S3_FACE_GATEWAY;
             test_face++)
        {
            rc = test_parse(cases[i].method, cases[i].raw, cases[i].name,
                            cases[i].value, &op, &fail);

            if (rc != (test_face == S3_FACE_SERVE ? cases[i].serve
                                                  : cases[i].gateway))
            {
                fail_msg("%s %s (%s), %s: %s", cases[i].method, cases[i].raw,
                         cases[i].name ? cases[i].name : "",
                         test_face ? "gateway" : "serve",
                         rc ? (char *) s3_error(rc)->code.data : "OK");
            }

            assert_int_equal(fail.error, rc);

            if (rc == S3_OK) {
                assert_int_equal(op->id, cases[i].op);
            }
        }
    }

    test_face = S3_FACE_SERVE;

    (void) test_parse(NULL, NULL, NULL, NULL, &op, &fail);
}


/* a version may be named wherever S3 takes one */

static void
test_versions(void **state)
{
    ngx_uint_t             i;
    s3_failure_t           fail;
    const s3_operation_t  *op;

    static const struct {
        const char      *method;
        const char      *raw;
        s3_operation_e   op;
    } cases[] = {
        { "PUT", "/abc/k?acl&versionId=v", S3_OP_PUT_OBJECT_ACL },
        { "PUT", "/abc/k?tagging&versionId=v", S3_OP_PUT_OBJECT_TAGGING },
        { "DELETE", "/abc/k?tagging&versionId=v",
          S3_OP_DELETE_OBJECT_TAGGING },
        { "PUT", "/abc/k?retention&versionId=v",
          S3_OP_PUT_OBJECT_RETENTION },
        { "PUT", "/abc/k?legal-hold&versionId=v",
          S3_OP_PUT_OBJECT_LEGAL_HOLD },
        { "POST", "/abc/k?restore&versionId=v", S3_OP_RESTORE_OBJECT },
        { "GET", "/abc/k?attributes&versionId=v",
          S3_OP_GET_OBJECT_ATTRIBUTES },
    };

    test_face = S3_FACE_GATEWAY;

    for (i = 0; i < test_nelts(cases); i++) {
        if (test_parse(cases[i].method, cases[i].raw, NULL, NULL, &op, &fail)
            != S3_OK)
        {
            test_face = S3_FACE_SERVE;
            fail_msg("%s %s: %.*s", cases[i].method, cases[i].raw,
                     (int) fail.message.len, fail.message.data);
        }

        assert_int_equal(op->id, cases[i].op);
    }

    /* an object is put as the latest one, and a part has no versions */

    assert_int_not_equal(test_parse("PUT", "/abc/k?versionId=v", NULL, NULL,
                                    &op, &fail), S3_OK);
    assert_int_not_equal(test_parse("PUT", "/abc/k?uploadId=u&partNumber=1"
                                    "&versionId=v", NULL, NULL, &op, &fail),
                         S3_OK);

    test_face = S3_FACE_SERVE;

    (void) test_parse(NULL, NULL, NULL, NULL, &op, &fail);
}


/* a header that decides something comes once, whoever answers */

static void
test_once(void **state)
{
    ngx_uint_t             i;
    ngx_str_t              method, raw, mount = ngx_string("/");
    ngx_pool_t            *pool;
    s3_header_t            h[2];
    s3_target_t            t;
    s3_failure_t           fail;
    const s3_operation_t  *op;

    static const struct {
        const char  *name;
        s3_error_e   error;
    } cases[] = {
        { "x-amz-checksum-algorithm", S3_ERR_INVALID_REQUEST },
        { "x-amz-checksum-mode", S3_ERR_INVALID_REQUEST },
        { "x-amz-metadata-directive", S3_ERR_INVALID_REQUEST },
        { "x-amz-mp-object-size", S3_ERR_INVALID_REQUEST },
        { "x-amz-meta-a", S3_OK },
    };

    pool = s3_test_pool();

    method = s3_test_str("GET");
    raw = s3_test_str("/abc/k");

    assert_int_equal(s3_target_parse(pool, &raw, &mount, &t, &fail), S3_OK);

    for (i = 0; i < test_nelts(cases); i++) {
        h[0].name = s3_test_str(cases[i].name);
        h[0].value = s3_test_str("1");
        h[1] = h[0];

        ngx_memzero(&fail, sizeof(s3_failure_t));
        assert_int_equal(s3_operation_parse(pool, S3_FACE_SERVE, &method, &t,
                                            h, 2, &op, &fail),
                         cases[i].error);
        assert_int_equal(s3_operation_parse(pool, S3_FACE_GATEWAY, &method,
                                            &t, h, 2, &op, &fail),
                         cases[i].error);
        assert_int_equal(s3_operation_parse(pool, S3_FACE_GATEWAY, &method,
                                            &t, h, 1, &op, &fail), S3_OK);
    }

    s3_test_pool_free(pool);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_implemented),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_gateway),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_error_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
