
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_list.h"


#define S3_LIST_TOKEN_VERSION  1
#define S3_LIST_TOKEN_PREFIX   0x01    /* flag */
#define S3_LIST_TOKEN_HEAD     2       /* version, flags */
#define S3_LIST_TOKEN_CRC      4
#define S3_LIST_TOKEN_MAX      (S3_LIST_TOKEN_HEAD + S3_KEY_MAX              \
                                + S3_LIST_TOKEN_CRC)


static s3_error_e s3_list_begin_v2(s3_target_t *target,
    s3_list_params_t *params, s3_failure_t *fail);
static s3_error_e s3_list_begin_v1(s3_target_t *target,
    s3_list_params_t *params, s3_failure_t *fail);
static s3_error_e s3_list_begin_versions(s3_target_t *target,
    s3_list_params_t *params, s3_failure_t *fail);
static s3_error_e s3_list_bad_token(s3_list_params_t *params,
    s3_failure_t *fail);
static void s3_list_write_begin(s3_xml_t *x, s3_list_params_t *params,
    s3_list_result_t *page, ngx_str_t *token);
static s3_error_e s3_list_value(s3_target_t *target, const char *name,
    ngx_str_t *value, ngx_uint_t *present, s3_failure_t *fail);
static void s3_list_name(s3_xml_t *x, s3_list_params_t *params,
    const char *element, ngx_str_t *value);


s3_error_e
s3_list_parse(s3_target_t *target, s3_list_e type, s3_list_params_t *params,
    s3_failure_t *fail)
{
    ngx_int_t   n;
    ngx_str_t   value;
    s3_error_e  e;

    ngx_memzero(params, sizeof(s3_list_params_t));

    params->type = type;
    params->max_keys = S3_LIST_MAX_KEYS;

    e = s3_list_value(target, "prefix", &params->prefix, NULL, fail);
    if (e != S3_OK) {
        return e;
    }

    e = s3_list_value(target, "delimiter", &params->delimiter, NULL, fail);
    if (e != S3_OK) {
        return e;
    }

    e = s3_list_value(target, "max-keys", &value, NULL, fail);
    if (e != S3_OK) {
        return e;
    }

    if (value.len) {
        n = ngx_atoi(value.data, value.len);

        if (n == NGX_ERROR || n > NGX_MAX_INT32_VALUE) {
            return s3_fail_argument(fail,
                                    "Provided max-keys not an integer or "
                                    "within integer range",
                                    "max-keys", &value);
        }

        params->max_keys = ngx_min(n, S3_LIST_MAX_KEYS);
    }

    e = s3_list_value(target, "encoding-type", &value, NULL, fail);
    if (e != S3_OK) {
        return e;
    }

    if (value.len) {
        if (value.len != 3 || ngx_memcmp(value.data, "url", 3) != 0) {
            return s3_fail_argument(fail,
                                    "Invalid Encoding Method specified in "
                                    "Request", "encoding-type", &value);
        }

        params->encoding_url = 1;
    }

    switch (type) {

    case S3_LIST_V1:
        return s3_list_begin_v1(target, params, fail);

    case S3_LIST_VERSIONS:
        return s3_list_begin_versions(target, params, fail);

    default:
        return s3_list_begin_v2(target, params, fail);
    }
}


s3_error_e
s3_list_after(ngx_pool_t *pool, s3_list_params_t *params, s3_failure_t *fail)
{
    ngx_int_t    rc;
    ngx_str_t   *id;
    ngx_uint_t   is_prefix;

    id = &params->version_id_marker;

    if (id->len && (id->len != 4 || ngx_memcmp(id->data, "null", 4) != 0)) {
        return s3_fail_argument(fail, "Invalid version id specified",
                                "version-id-marker", id);
    }

    /* what comes after a key's only version comes after the key */

    if (!params->has_token) {
        params->after = params->start_after;
        return S3_OK;
    }

    /* S3: start-after is not looked at when there is a token */

    rc = s3_list_token_decode(pool, &params->continuation_token,
                              &params->after, &is_prefix);

    if (rc == NGX_ERROR) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    return rc == NGX_OK ? S3_OK : s3_list_bad_token(params, fail);
}


static s3_error_e
s3_list_begin_v2(s3_target_t *target, s3_list_params_t *params,
    s3_failure_t *fail)
{
    ngx_str_t    value;
    ngx_uint_t   present;
    s3_error_e   e;

    e = s3_list_value(target, "start-after", &params->start_after, &present,
                      fail);
    if (e != S3_OK) {
        return e;
    }

    params->has_start_after = present;

    e = s3_list_value(target, "fetch-owner", &value, NULL, fail);
    if (e != S3_OK) {
        return e;
    }

    if (value.len) {
        if (value.len == 4
            && ngx_strncasecmp(value.data, (u_char *) "true", 4) == 0)
        {
            params->fetch_owner = 1;

        } else if (value.len != 5
                   || ngx_strncasecmp(value.data, (u_char *) "false", 5) != 0)
        {
            return s3_fail_argument(fail, "fetch-owner must be true or false",
                                    "fetch-owner", &value);
        }
    }

    e = s3_list_value(target, "continuation-token",
                      &params->continuation_token, &present, fail);
    if (e != S3_OK) {
        return e;
    }

    params->has_token = present;

    return present && params->continuation_token.len == 0
           ? s3_list_bad_token(params, fail) : S3_OK;
}


static s3_error_e
s3_list_bad_token(s3_list_params_t *params, s3_failure_t *fail)
{
    return s3_fail_argument(fail,
                            "The continuation token provided is incorrect",
                            "continuation-token",
                            &params->continuation_token);
}


static s3_error_e
s3_list_begin_v1(s3_target_t *target, s3_list_params_t *params,
    s3_failure_t *fail)
{
    s3_arg_t    *arg;
    s3_error_e   e;

    /* "2" is the other operation's */

    arg = s3_target_arg(target, "list-type");

    if (arg) {
        return s3_fail_argument(fail, "Invalid List Type specified in "
                                "Request", "list-type", &arg->value);
    }

    e = s3_list_value(target, "marker", &params->start_after, NULL, fail);
    if (e != S3_OK) {
        return e;
    }

    params->fetch_owner = 1;

    return S3_OK;
}


static s3_error_e
s3_list_begin_versions(s3_target_t *target, s3_list_params_t *params,
    s3_failure_t *fail)
{
    ngx_str_t   *id;
    ngx_uint_t   present;
    s3_error_e   e;

    e = s3_list_value(target, "key-marker", &params->start_after, NULL,
                      fail);
    if (e != S3_OK) {
        return e;
    }

    params->fetch_owner = 1;

    id = &params->version_id_marker;

    e = s3_list_value(target, "version-id-marker", id, &present, fail);
    if (e != S3_OK || !present) {
        return e;
    }

    if (params->start_after.len == 0) {

        /* clients send both, empty, for the first page */

        return id->len == 0 ? S3_OK
               : s3_fail_argument(fail, "A version-id marker cannot be "
                                  "specified without a key marker.",
                                  "version-id-marker", id);
    }

    return id->len ? S3_OK
           : s3_fail_argument(fail, "A version-id marker cannot be empty.",
                              "version-id-marker", id);
}


/*
 * An argument's value, empty when it is not there.  All values are compared
 * with keys or written into XML, so they must be UTF-8 as keys are.
 */

static s3_error_e
s3_list_value(s3_target_t *target, const char *name, ngx_str_t *value,
    ngx_uint_t *present, s3_failure_t *fail)
{
    s3_arg_t  *arg;

    arg = s3_target_arg(target, name);

    if (present) {
        *present = (arg != NULL);
    }

    if (arg == NULL) {
        ngx_str_null(value);
        return S3_OK;
    }

    *value = arg->value;

    if (!s3_utf8_valid(value)) {
        return s3_fail_argument(fail, "The value is not valid UTF-8", name,
                                value);
    }

    return S3_OK;
}


ngx_chain_t *
s3_list_write(ngx_pool_t *pool, s3_list_params_t *params, ngx_str_t *bucket,
    s3_list_result_t *page, s3_owner_t *owner, size_t *size)
{
    s3_xml_t           x;
    ngx_str_t          token;
    ngx_uint_t         i;
    ngx_chain_t       *out;
    const char        *root, *element;
    s3_list_object_t  *entry;

    root = "ListBucketResult";
    element = "Contents";

    ngx_str_null(&token);

    if (params->type == S3_LIST_VERSIONS) {
        root = "ListVersionsResult";
        element = "Version";
    }

    if (params->type == S3_LIST_V2 && page->truncated
        && s3_list_token_encode(pool, &page->last, page->last_is_prefix,
                                &token)
           != NGX_OK)
    {
        return NULL;
    }

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, root);

    s3_xml_text(&x, "Name", bucket);
    s3_list_name(&x, params, "Prefix", &params->prefix);

    s3_list_write_begin(&x, params, page, &token);

    s3_xml_number(&x, "MaxKeys", params->max_keys);

    if (params->delimiter.len) {
        s3_list_name(&x, params, "Delimiter", &params->delimiter);
    }

    if (params->encoding_url) {
        s3_xml_cstr(&x, "EncodingType", "url");
    }

    s3_xml_bool(&x, "IsTruncated", page->truncated);

    for (i = 0; i < page->nentries; i++) {
        entry = &page->entries[i];

        s3_xml_open(&x, element);
        s3_list_name(&x, params, "Key", &entry->key);

        if (params->type == S3_LIST_VERSIONS) {
            s3_xml_cstr(&x, "VersionId", "null");
            s3_xml_cstr(&x, "IsLatest", "true");
        }

        s3_xml_time(&x, "LastModified", entry->last_modified);
        s3_xml_etag(&x, "ETag", &entry->etag);

        if (entry->checksum_algorithm.len) {
            s3_xml_text(&x, "ChecksumAlgorithm", &entry->checksum_algorithm);
        }

        if (entry->checksum_type.len) {
            s3_xml_text(&x, "ChecksumType", &entry->checksum_type);
        }

        s3_xml_number(&x, "Size", entry->size);

        if (params->fetch_owner && owner) {
            s3_owner_write(&x, owner);
        }

        s3_xml_cstr(&x, "StorageClass", "STANDARD");
        s3_xml_close(&x, element);
    }

    for (i = 0; i < page->nprefixes; i++) {
        s3_xml_open(&x, "CommonPrefixes");
        s3_list_name(&x, params, "Prefix", &page->prefixes[i]);
        s3_xml_close(&x, "CommonPrefixes");
    }

    s3_xml_close(&x, root);

    out = s3_xml_end(&x);

    if (out) {
        *size = x.size;
    }

    return out;
}


/* where the page begins, and the next one */

static void
s3_list_write_begin(s3_xml_t *x, s3_list_params_t *params,
    s3_list_result_t *page, ngx_str_t *token)
{
    switch (params->type) {

    case S3_LIST_V1:
        s3_list_name(x, params, "Marker", &params->start_after);

        /* "returned only if you have the delimiter request parameter
         * specified" (S3 API Reference, ListObjects) */

        if (page->truncated && params->delimiter.len) {
            s3_list_name(x, params, "NextMarker", &page->last);
        }

        break;

    case S3_LIST_VERSIONS:
        s3_list_name(x, params, "KeyMarker", &params->start_after);
        s3_xml_text(x, "VersionIdMarker", &params->version_id_marker);

        if (page->truncated) {
            s3_list_name(x, params, "NextKeyMarker", &page->last);

            if (!page->last_is_prefix) {
                s3_xml_cstr(x, "NextVersionIdMarker", "null");
            }
        }

        break;

    default:
        if (params->has_start_after) {
            s3_list_name(x, params, "StartAfter", &params->start_after);
        }

        if (params->has_token) {
            s3_xml_text(x, "ContinuationToken", &params->continuation_token);
        }

        if (page->truncated) {
            s3_xml_text(x, "NextContinuationToken", token);
        }

        s3_xml_number(x, "KeyCount", page->nentries + page->nprefixes);
    }
}


/*
 * What encoding-type=url encodes: Delimiter, Prefix, Key, StartAfter, and the
 * markers of ListObjects and ListObjectVersions (S3 API Reference).
 */

static void
s3_list_name(s3_xml_t *x, s3_list_params_t *params, const char *element,
    ngx_str_t *value)
{
    if (params->encoding_url) {
        s3_xml_url(x, element, value);

    } else {
        s3_xml_text(x, element, value);
    }
}


ngx_int_t
s3_list_token_encode(ngx_pool_t *pool, ngx_str_t *name, ngx_uint_t is_prefix,
    ngx_str_t *token)
{
    size_t      len;
    u_char     *p;
    u_char      buf[S3_LIST_TOKEN_MAX];
    uint32_t    crc;
    ngx_str_t   src;

    if (name->len == 0 || name->len > S3_KEY_MAX) {
        return NGX_ERROR;
    }

    buf[0] = S3_LIST_TOKEN_VERSION;
    buf[1] = is_prefix ? S3_LIST_TOKEN_PREFIX : 0;

    p = ngx_cpymem(buf + S3_LIST_TOKEN_HEAD, name->data, name->len);

    crc = ngx_crc32_long(buf, p - buf);

    *p++ = (u_char) (crc >> 24);
    *p++ = (u_char) (crc >> 16);
    *p++ = (u_char) (crc >> 8);
    *p++ = (u_char) crc;

    src.data = buf;
    src.len = p - buf;

    len = ngx_base64_encoded_length(src.len);

    token->data = ngx_pnalloc(pool, len);
    if (token->data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64url(token, &src);

    return NGX_OK;
}


ngx_int_t
s3_list_token_decode(ngx_pool_t *pool, ngx_str_t *token, ngx_str_t *name,
    ngx_uint_t *is_prefix)
{
    u_char     *p;
    uint32_t    crc;
    ngx_str_t   dst, again;

    if (token->len == 0
        || token->len > ngx_base64_encoded_length(S3_LIST_TOKEN_MAX))
    {
        return NGX_DECLINED;
    }

    dst.data = ngx_pnalloc(pool, ngx_base64_decoded_length(token->len));
    again.data = ngx_pnalloc(pool, token->len + 4);

    if (dst.data == NULL || again.data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_decode_base64url(&dst, token) != NGX_OK) {
        return NGX_DECLINED;
    }

    /* one token a name: no padding, no loose bits in the last digit */

    ngx_encode_base64url(&again, &dst);

    if (again.len != token->len
        || ngx_memcmp(again.data, token->data, token->len) != 0)
    {
        return NGX_DECLINED;
    }

    if (dst.len < S3_LIST_TOKEN_HEAD + 1 + S3_LIST_TOKEN_CRC
        || dst.len > S3_LIST_TOKEN_MAX
        || dst.data[0] != S3_LIST_TOKEN_VERSION
        || (dst.data[1] & ~S3_LIST_TOKEN_PREFIX))
    {
        return NGX_DECLINED;
    }

    p = dst.data + dst.len - S3_LIST_TOKEN_CRC;

    crc = (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
          | (uint32_t) p[2] << 8 | p[3];

    if (crc != ngx_crc32_long(dst.data, p - dst.data)) {
        return NGX_DECLINED;
    }

    name->data = dst.data + S3_LIST_TOKEN_HEAD;
    name->len = p - name->data;
    *is_prefix = dst.data[1] & S3_LIST_TOKEN_PREFIX;

    return NGX_OK;
}
