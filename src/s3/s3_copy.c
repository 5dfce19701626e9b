
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_copy.h"
#include "s3_target.h"


static s3_error_e s3_copy_source_failed(ngx_str_t *value,
    const char *message, s3_failure_t *fail);
static u_char *s3_copy_number(u_char *p, u_char *last, uint64_t *n);


s3_error_e
s3_copy_source_parse(ngx_pool_t *pool, ngx_str_t *value,
    s3_copy_source_t *source, s3_failure_t *fail)
{
    u_char     *p, *query, *slash;
    size_t      len;
    ngx_str_t   path, version;

    static const char  form[] = "Copy Source must mention the source bucket "
                                "and key: sourcebucket/sourcekey";

    path = *value;
    ngx_str_null(&version);

    /* a question mark of the key's is escaped */

    query = ngx_strlchr(path.data, path.data + path.len, '?');

    if (query) {
        version.data = query + 1;
        version.len = path.data + path.len - version.data;
        path.len = query - path.data;

        if (version.len < sizeof("versionId=") - 1
            || ngx_memcmp(version.data, "versionId=",
                          sizeof("versionId=") - 1)
               != 0)
        {
            return s3_copy_source_failed(value, form, fail);
        }

        version.data += sizeof("versionId=") - 1;
        version.len -= sizeof("versionId=") - 1;
    }

    source->version = version;

    p = ngx_pnalloc(pool, path.len + 1);
    if (p == NULL) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    /*
     * "+" is a space here: keys with a plus that was not escaped are not found
     * (github.com/aws/aws-sdk-js, issue 1821; aws-sdk-php, issue 236).
     */

    if (s3_uri_decode(p, &len, &path, 1) != NGX_OK) {
        return s3_copy_source_failed(value, form, fail);
    }

    /* some clients escape the slashes, too: they are looked for only now */

    path.data = p;
    path.len = len;

    if (path.len && path.data[0] == '/') {
        path.data++;
        path.len--;
    }

    slash = ngx_strlchr(path.data, path.data + path.len, '/');

    if (slash == NULL || slash == path.data
        || slash + 1 == path.data + path.len
        || !s3_utf8_valid(&path))
    {
        return s3_copy_source_failed(value, form, fail);
    }

    source->bucket.data = path.data;
    source->bucket.len = slash - path.data;

    source->key.data = slash + 1;
    source->key.len = path.data + path.len - source->key.data;

    if (!s3_bucket_name_valid(&source->bucket)) {
        (void) s3_fail(fail, S3_ERR_INVALID_BUCKET_NAME, NULL);
        s3_fail_element(fail, "BucketName", &source->bucket);
        return S3_ERR_INVALID_BUCKET_NAME;
    }

    if (source->key.len > S3_KEY_MAX) {
        return s3_fail(fail, S3_ERR_KEY_TOO_LONG, NULL);
    }

    return S3_OK;
}


s3_error_e
s3_copy_source_unversioned(s3_copy_source_t *source, s3_failure_t *fail)
{
    if (source->version.data == NULL
        || (source->version.len == 4
            && ngx_memcmp(source->version.data, "null", 4) == 0))
    {
        return S3_OK;
    }

    return s3_fail_argument(fail, "Invalid version id specified", "versionId",
                            &source->version);
}


static s3_error_e
s3_copy_source_failed(ngx_str_t *value, const char *message,
    s3_failure_t *fail)
{
    return s3_fail_argument(fail, message, "x-amz-copy-source", value);
}


/*
 * The words of both errors are S3's (github.com/gaul/s3proxy, issue 304;
 * versity/versitygw, issue 610: 400 and not 416).
 */

s3_error_e
s3_copy_range_parse(ngx_pool_t *pool, ngx_str_t *value, uint64_t size,
    uint64_t *offset, uint64_t *length, s3_failure_t *fail)
{
    u_char     *p, *last;
    uint64_t    first, end;
    ngx_str_t   name = ngx_string("x-amz-copy-source-range");

    p = value->data;
    last = p + value->len;

    if (value->len < sizeof("bytes=") - 1
        || ngx_strncmp(p, "bytes=", sizeof("bytes=") - 1) != 0)
    {
        goto invalid;
    }

    p = s3_copy_number(p + sizeof("bytes=") - 1, last, &first);

    if (p == NULL || p == last || *p != '-') {
        goto invalid;
    }

    p = s3_copy_number(p + 1, last, &end);

    if (p != last || first > end) {
        goto invalid;
    }

    if (end >= size) {
        (void) s3_failf(pool, fail, S3_ERR_INVALID_ARGUMENT,
                        "Range specified is not valid for source object of "
                        "size: %uL", size);
        s3_fail_element(fail, "ArgumentName", &name);
        s3_fail_element(fail, "ArgumentValue", value);
        return S3_ERR_INVALID_ARGUMENT;
    }

    *offset = first;
    *length = end - first + 1;

    return S3_OK;

invalid:

    return s3_fail_argument(fail,
                            "The x-amz-copy-source-range value must be of "
                            "the form bytes=first-last where first and last "
                            "are the zero-based offsets of the first and "
                            "last bytes to copy", (char *) name.data, value);
}


/* digits, up to 18 of them; NULL: none, or more */

static u_char *
s3_copy_number(u_char *p, u_char *last, uint64_t *n)
{
    u_char  *start;

    *n = 0;

    for (start = p; p < last && *p >= '0' && *p <= '9'; p++) {

        if (p - start == 18) {
            return NULL;
        }

        *n = *n * 10 + (*p - '0');
    }

    return p == start ? NULL : p;
}


ngx_chain_t *
s3_copy_result_write(ngx_pool_t *pool, const char *root,
    s3_copy_result_t *result, size_t *size)
{
    s3_xml_t      x;
    ngx_chain_t  *out;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, root);

    s3_xml_time(&x, "LastModified", result->last_modified);
    s3_xml_etag(&x, "ETag", &result->etag);

    s3_checksum_write(&x, &result->checksum);
    s3_xml_close(&x, root);

    out = s3_xml_end(&x);

    if (out) {
        *size = x.size;
    }

    return out;
}
