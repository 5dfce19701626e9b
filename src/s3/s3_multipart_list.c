
/*
 * Documents about multipart uploads: created, completed, ListParts,
 * ListMultipartUploads, GetObjectAttributes.  The order of elements is S3's.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_multipart.h"


static ngx_chain_t *s3_multipart_end(s3_xml_t *x, size_t *size);
static void s3_multipart_name(s3_xml_t *x, ngx_uint_t url,
    const char *element, ngx_str_t *value);
static void s3_multipart_owner(s3_xml_t *x, s3_owner_t *owner);
static void s3_multipart_checksum(s3_xml_t *x,
    s3_upload_checksum_t *checksum);
static s3_error_e s3_multipart_encoding(s3_target_t *target, ngx_uint_t *url,
    s3_failure_t *fail);
static s3_error_e s3_multipart_value(s3_target_t *target, const char *name,
    ngx_str_t *value, s3_failure_t *fail);
static void s3_attributes_parts(s3_xml_t *x, s3_attributes_t *a);


const char *
s3_checksum_element(s3_checksum_e algorithm)
{
    switch (algorithm) {

    case S3_CHECKSUM_CRC32:
        return "ChecksumCRC32";

    case S3_CHECKSUM_CRC32C:
        return "ChecksumCRC32C";

    case S3_CHECKSUM_SHA1:
        return "ChecksumSHA1";

    case S3_CHECKSUM_SHA256:
        return "ChecksumSHA256";

    case S3_CHECKSUM_CRC64NVME:
        return "ChecksumCRC64NVME";

    default:
        return NULL;
    }
}


void
s3_checksum_write(s3_xml_t *x, s3_checksum_text_t *checksum)
{
    const char  *element;

    element = s3_checksum_element(checksum->algorithm);

    if (element == NULL || checksum->text.len == 0) {
        return;
    }

    s3_xml_text(x, element, &checksum->text);

    if (checksum->type.len) {
        s3_xml_text(x, "ChecksumType", &checksum->type);
    }
}


static ngx_chain_t *
s3_multipart_end(s3_xml_t *x, size_t *size)
{
    ngx_chain_t  *out;

    out = s3_xml_end(x);

    if (out) {
        *size = x->size;
    }

    return out;
}


static void
s3_multipart_name(s3_xml_t *x, ngx_uint_t url, const char *element,
    ngx_str_t *value)
{
    if (url) {
        s3_xml_url(x, element, value);

    } else {
        s3_xml_text(x, element, value);
    }
}


/* there are no accounts: who asks is who began it, and who owns it */

static void
s3_multipart_owner(s3_xml_t *x, s3_owner_t *owner)
{
    s3_xml_open(x, "Initiator");
    s3_xml_text(x, "ID", &owner->id);
    s3_xml_text(x, "DisplayName", &owner->display_name);
    s3_xml_close(x, "Initiator");

    s3_owner_write(x, owner);
}


static void
s3_multipart_checksum(s3_xml_t *x, s3_upload_checksum_t *checksum)
{
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(checksum->algorithm);

    if (info) {
        s3_xml_cstr(x, "ChecksumAlgorithm", info->name);
        s3_xml_cstr(x, "ChecksumType", checksum->composite ? "COMPOSITE"
                                                           : "FULL_OBJECT");
    }
}


ngx_chain_t *
s3_upload_created_write(ngx_pool_t *pool, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *upload_id, size_t *size)
{
    s3_xml_t  x;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "InitiateMultipartUploadResult");
    s3_xml_text(&x, "Bucket", bucket);
    s3_xml_text(&x, "Key", key);
    s3_xml_text(&x, "UploadId", upload_id);
    s3_xml_close(&x, "InitiateMultipartUploadResult");

    return s3_multipart_end(&x, size);
}


ngx_chain_t *
s3_upload_completed_write(ngx_pool_t *pool, ngx_str_t *location,
    ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *etag,
    s3_checksum_text_t *checksum, size_t *size)
{
    s3_xml_t  x;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "CompleteMultipartUploadResult");
    s3_xml_text(&x, "Location", location);
    s3_xml_text(&x, "Bucket", bucket);
    s3_xml_text(&x, "Key", key);
    s3_xml_etag(&x, "ETag", etag);
    s3_checksum_write(&x, checksum);
    s3_xml_close(&x, "CompleteMultipartUploadResult");

    return s3_multipart_end(&x, size);
}


/* values are compared with keys or written into XML: UTF-8, as keys are */

static s3_error_e
s3_multipart_value(s3_target_t *target, const char *name, ngx_str_t *value,
    s3_failure_t *fail)
{
    s3_arg_t  *arg;

    ngx_str_null(value);

    arg = s3_target_arg(target, name);

    if (arg) {
        *value = arg->value;

        if (!s3_utf8_valid(value)) {
            return s3_fail_argument(fail, "The value is not valid UTF-8",
                                    name, value);
        }
    }

    return S3_OK;
}


static s3_error_e
s3_multipart_encoding(s3_target_t *target, ngx_uint_t *url,
    s3_failure_t *fail)
{
    s3_arg_t  *arg;

    *url = 0;

    arg = s3_target_arg(target, "encoding-type");

    if (arg == NULL) {
        return S3_OK;
    }

    if (arg->value.len != 3 || ngx_memcmp(arg->value.data, "url", 3) != 0) {
        return s3_fail_argument(fail,
                                "Invalid Encoding Method specified in "
                                "Request", "encoding-type", &arg->value);
    }

    *url = 1;

    return S3_OK;
}


s3_error_e
s3_list_parts_parse(ngx_pool_t *pool, s3_target_t *target,
    s3_list_parts_t *list, s3_failure_t *fail)
{
    s3_arg_t    *max, *after;
    s3_error_e   rc;
    ngx_uint_t   url;

    ngx_memzero(list, sizeof(s3_list_parts_t));

    list->max = S3_LIST_PARTS_MAX;

    max = s3_target_arg(target, "max-parts");
    after = s3_target_arg(target, "part-number-marker");

    rc = s3_limit_parse(pool, "max-parts", max ? &max->value : NULL,
                        &list->max, fail);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_limit_parse(pool, "part-number-marker",
                        after ? &after->value : NULL, &list->after, fail);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_multipart_encoding(target, &url, fail);
    if (rc != S3_OK) {
        return rc;
    }

    list->encoding_url = url;
    list->max = ngx_min(list->max, S3_LIST_PARTS_MAX);

    return S3_OK;
}


ngx_chain_t *
s3_list_parts_write(ngx_pool_t *pool, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *upload_id, s3_list_parts_t *list, s3_owner_t *owner,
    size_t *size)
{
    s3_xml_t         x;
    ngx_uint_t       i;
    s3_list_part_t  *part;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "ListPartsResult");

    s3_xml_text(&x, "Bucket", bucket);
    s3_multipart_name(&x, list->encoding_url, "Key", key);
    s3_xml_text(&x, "UploadId", upload_id);
    s3_multipart_owner(&x, owner);
    s3_xml_cstr(&x, "StorageClass", "STANDARD");
    s3_xml_number(&x, "PartNumberMarker", list->after);
    s3_xml_number(&x, "NextPartNumberMarker",
                  list->nparts ? list->parts[list->nparts - 1].number : 0);
    s3_xml_number(&x, "MaxParts", list->max);

    if (list->encoding_url) {
        s3_xml_cstr(&x, "EncodingType", "url");
    }

    s3_xml_bool(&x, "IsTruncated", list->truncated);

    for (i = 0; i < list->nparts; i++) {
        part = &list->parts[i];

        s3_xml_open(&x, "Part");
        s3_xml_number(&x, "PartNumber", part->number);
        s3_xml_time(&x, "LastModified", part->mtime);
        s3_xml_etag(&x, "ETag", &part->etag);
        s3_xml_number(&x, "Size", part->size);
        s3_checksum_write(&x, &part->checksum);
        s3_xml_close(&x, "Part");
    }

    s3_multipart_checksum(&x, &list->checksum);
    s3_xml_close(&x, "ListPartsResult");

    return s3_multipart_end(&x, size);
}


s3_error_e
s3_list_uploads_parse(ngx_pool_t *pool, s3_target_t *target,
    s3_list_uploads_t *list, s3_failure_t *fail)
{
    s3_arg_t    *max;
    s3_error_e   rc;
    ngx_uint_t   url;

    ngx_memzero(list, sizeof(s3_list_uploads_t));

    list->max = S3_LIST_UPLOADS_MAX;

    max = s3_target_arg(target, "max-uploads");

    rc = s3_limit_parse(pool, "max-uploads", max ? &max->value : NULL,
                        &list->max, fail);
    if (rc != S3_OK) {
        return rc;
    }

    list->max = ngx_min(list->max, S3_LIST_UPLOADS_MAX);

    rc = s3_multipart_encoding(target, &url, fail);
    if (rc != S3_OK) {
        return rc;
    }

    list->encoding_url = url;

    rc = s3_multipart_value(target, "prefix", &list->prefix, fail);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_multipart_value(target, "delimiter", &list->delimiter, fail);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_multipart_value(target, "key-marker", &list->key_marker, fail);
    if (rc != S3_OK) {
        return rc;
    }

    rc = s3_multipart_value(target, "upload-id-marker",
                            &list->upload_id_marker, fail);
    if (rc != S3_OK) {
        return rc;
    }

    /*
     * "If key-marker is not specified, the upload-id-marker parameter is
     * ignored" (ListMultipartUploads).  That upload need not exist any more:
     * it may have been completed while its page was looked at.
     */

    if (list->key_marker.len == 0) {
        ngx_str_null(&list->upload_id_marker);
    }

    return S3_OK;
}


s3_error_e
s3_list_uploads_after(s3_list_uploads_t *list, s3_failure_t *fail)
{
    if (list->upload_id_marker.len == 0) {
        return S3_OK;
    }

    if (s3_upload_id_parse(&list->upload_id_marker, list->after_id) != NGX_OK)
    {
        return s3_fail_argument(fail, "Invalid uploadId marker",
                                "upload-id-marker", &list->upload_id_marker);
    }

    list->after_upload = 1;

    return S3_OK;
}


ngx_chain_t *
s3_list_uploads_write(ngx_pool_t *pool, ngx_str_t *bucket,
    s3_list_uploads_t *list, s3_owner_t *owner, size_t *size)
{
    s3_xml_t           x;
    ngx_str_t          next_key, next_id;
    ngx_uint_t         i, url;
    s3_list_upload_t  *upload;

    url = list->encoding_url;

    /*
     * S3 gives the last upload's as the next markers where there is no next
     * page, too, but none behind a common prefix: its page could not be gone
     * on from.  Ours can.
     */

    ngx_str_null(&next_key);
    ngx_str_null(&next_id);

    if (list->truncated) {
        next_key = list->next_key;
        next_id = list->next_upload_id;

    } else if (list->nuploads) {
        next_key = list->uploads[list->nuploads - 1].key;
        next_id = list->uploads[list->nuploads - 1].upload_id;
    }

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "ListMultipartUploadsResult");

    s3_xml_text(&x, "Bucket", bucket);
    s3_multipart_name(&x, url, "KeyMarker", &list->key_marker);
    s3_xml_text(&x, "UploadIdMarker", &list->upload_id_marker);
    s3_multipart_name(&x, url, "NextKeyMarker", &next_key);
    s3_xml_text(&x, "NextUploadIdMarker", &next_id);

    if (list->delimiter.len) {
        s3_multipart_name(&x, url, "Delimiter", &list->delimiter);
    }

    if (list->prefix.len) {
        s3_multipart_name(&x, url, "Prefix", &list->prefix);
    }

    if (url) {
        s3_xml_cstr(&x, "EncodingType", "url");
    }

    s3_xml_number(&x, "MaxUploads", list->max);
    s3_xml_bool(&x, "IsTruncated", list->truncated);

    for (i = 0; i < list->nuploads; i++) {
        upload = &list->uploads[i];

        s3_xml_open(&x, "Upload");
        s3_multipart_name(&x, url, "Key", &upload->key);
        s3_xml_text(&x, "UploadId", &upload->upload_id);
        s3_multipart_owner(&x, owner);
        s3_xml_cstr(&x, "StorageClass", "STANDARD");
        s3_xml_time(&x, "Initiated", upload->initiated);
        s3_multipart_checksum(&x, &upload->checksum);
        s3_xml_close(&x, "Upload");
    }

    for (i = 0; i < list->nprefixes; i++) {
        s3_xml_open(&x, "CommonPrefixes");
        s3_multipart_name(&x, url, "Prefix", &list->prefixes[i]);
        s3_xml_close(&x, "CommonPrefixes");
    }

    s3_xml_close(&x, "ListMultipartUploadsResult");

    return s3_multipart_end(&x, size);
}


s3_error_e
s3_attributes_parse(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    s3_attributes_t *a, s3_failure_t *fail)
{
    u_char       *p, *last, *start;
    ngx_str_t     value;
    s3_error_e    rc;
    ngx_uint_t    i, j;
    s3_header_t  *h;

    static const struct {
        ngx_str_t   name;
        ngx_uint_t  attribute;
    } names[] = {
        { ngx_string("ETag"), S3_ATTRIBUTE_ETAG },
        { ngx_string("Checksum"), S3_ATTRIBUTE_CHECKSUM },
        { ngx_string("ObjectParts"), S3_ATTRIBUTE_OBJECT_PARTS },
        { ngx_string("StorageClass"), S3_ATTRIBUTE_STORAGE_CLASS },
        { ngx_string("ObjectSize"), S3_ATTRIBUTE_OBJECT_SIZE }
    };

    ngx_memzero(a, sizeof(s3_attributes_t));

    /* a list, in one header or several; JS puts blanks after the commas */

    for (i = 0; i < n; i++) {

        h = s3_header(&headers[i], 1, "x-amz-object-attributes");

        if (h == NULL || h->value.len == 0) {
            continue;
        }

        p = h->value.data;
        last = p + h->value.len;

        while (p < last) {

            if (*p == ' ' || *p == '\t' || *p == ',') {
                p++;
                continue;
            }

            start = p;

            while (p < last && *p != ',') { p++; }

            value.data = start;
            value.len = p - start;

            while (value.data[value.len - 1] == ' '
                   || value.data[value.len - 1] == '\t')
            {
                value.len--;
            }

            for (j = 0; j < sizeof(names) / sizeof(names[0]); j++) {
                if (value.len == names[j].name.len
                    && ngx_memcmp(value.data, names[j].name.data, value.len)
                       == 0)
                {
                    break;
                }
            }

            if (j == sizeof(names) / sizeof(names[0])) {
                return s3_fail_argument(fail,
                                        "Invalid attribute name specified.",
                                        "x-amz-object-attributes", &value);
            }

            a->attributes |= names[j].attribute;
        }
    }

    if (a->attributes == 0) {
        return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                       "The x-amz-object-attributes header specifying the "
                       "attributes to be retrieved is either missing or "
                       "empty");
    }

    a->parts.max = S3_LIST_PARTS_MAX;

    h = s3_header(headers, n, "x-amz-max-parts");

    rc = s3_limit_parse(pool, "x-amz-max-parts", h ? &h->value : NULL,
                        &a->parts.max, fail);
    if (rc != S3_OK) {
        return rc;
    }

    a->parts.max = ngx_min(a->parts.max, S3_LIST_PARTS_MAX);

    h = s3_header(headers, n, "x-amz-part-number-marker");

    return s3_limit_parse(pool, "x-amz-part-number-marker",
                          h ? &h->value : NULL, &a->parts.after, fail);
}


ngx_chain_t *
s3_attributes_write(ngx_pool_t *pool, s3_attributes_t *a, size_t *size)
{
    s3_xml_t  x;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "GetObjectAttributesResponse");

    /* without quotes, unlike everywhere else */

    if (a->attributes & S3_ATTRIBUTE_ETAG) {
        s3_xml_text(&x, "ETag", &a->etag);
    }

    if ((a->attributes & S3_ATTRIBUTE_CHECKSUM) && a->checksum.text.len) {
        s3_xml_open(&x, "Checksum");
        s3_checksum_write(&x, &a->checksum);
        s3_xml_close(&x, "Checksum");
    }

    if ((a->attributes & S3_ATTRIBUTE_OBJECT_PARTS) && a->total) {
        s3_attributes_parts(&x, a);
    }

    if (a->attributes & S3_ATTRIBUTE_STORAGE_CLASS) {
        s3_xml_cstr(&x, "StorageClass", "STANDARD");
    }

    if (a->attributes & S3_ATTRIBUTE_OBJECT_SIZE) {
        s3_xml_number(&x, "ObjectSize", a->size);
    }

    s3_xml_close(&x, "GetObjectAttributesResponse");

    return s3_multipart_end(&x, size);
}


static void
s3_attributes_parts(s3_xml_t *x, s3_attributes_t *a)
{
    ngx_uint_t        i;
    s3_list_parts_t  *list;

    list = &a->parts;

    s3_xml_open(x, "ObjectParts");

    if (a->list) {
        s3_xml_bool(x, "IsTruncated", list->truncated);
        s3_xml_number(x, "MaxParts", list->max);
        s3_xml_number(x, "NextPartNumberMarker",
                      list->nparts ? list->parts[list->nparts - 1].number
                                   : 0);
        s3_xml_number(x, "PartNumberMarker", list->after);

        for (i = 0; i < list->nparts; i++) {
            s3_xml_open(x, "Part");
            s3_xml_number(x, "PartNumber", list->parts[i].number);
            s3_xml_number(x, "Size", list->parts[i].size);
            s3_checksum_write(x, &list->parts[i].checksum);
            s3_xml_close(x, "Part");
        }
    }

    s3_xml_number(x, "PartsCount", a->total);
    s3_xml_close(x, "ObjectParts");
}
