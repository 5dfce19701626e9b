
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_multipart.h"


s3_error_e
s3_upload_checksum_parse(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    s3_upload_checksum_t *checksum, s3_failure_t *fail)
{
    u_char                     name[16];
    s3_header_t               *h, *type;
    const s3_checksum_info_t  *info;

    checksum->algorithm = S3_CHECKSUM_NONE;
    checksum->composite = 0;

    h = s3_header(headers, n, "x-amz-checksum-algorithm");
    type = s3_header(headers, n, "x-amz-checksum-type");

    if (type
        && !(type->value.len == 9
             && ngx_strncasecmp(type->value.data, (u_char *) "COMPOSITE", 9)
                == 0)
        && !(type->value.len == 11
             && ngx_strncasecmp(type->value.data, (u_char *) "FULL_OBJECT",
                                11)
                == 0))
    {
        return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                       "Value for x-amz-checksum-type header is invalid.");
    }

    if (h == NULL) {
        if (type) {
            return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                           "The x-amz-checksum-type header can only be used "
                           "with the x-amz-checksum-algorithm header.");
        }

        return S3_OK;
    }

    checksum->algorithm = s3_checksum_by_name((char *) h->value.data,
                                              h->value.len);
    info = s3_checksum_info(checksum->algorithm);

    if (info == NULL) {
        return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                       "Checksum algorithm provided is unsupported. Please "
                       "try again with any of the valid types: [CRC32, "
                       "CRC32C, CRC64NVME, SHA1, SHA256]");
    }

    checksum->composite = type ? type->value.len == 9
                               : checksum->algorithm != S3_CHECKSUM_CRC64NVME;

    if ((checksum->composite
         && checksum->algorithm == S3_CHECKSUM_CRC64NVME)
        || (!checksum->composite && !info->combines))
    {
        ngx_strlow(name, (u_char *) info->name, ngx_strlen(info->name) + 1);

        return s3_failf(pool, fail, S3_ERR_INVALID_REQUEST,
                        "The %s checksum type cannot be used with the %s "
                        "checksum algorithm.",
                        checksum->composite ? "COMPOSITE" : "FULL_OBJECT",
                        name);
    }

    return S3_OK;
}


ngx_int_t
s3_upload_id_parse(ngx_str_t *text, u_char id[S3_UPLOAD_ID_LEN])
{
    u_char      ch;
    ngx_uint_t  i;

    if (text->len != S3_UPLOAD_ID_TEXT) {
        return NGX_DECLINED;
    }

    for (i = 0; i < S3_UPLOAD_ID_TEXT; i++) {
        ch = text->data[i];

        if (ch >= '0' && ch <= '9') {
            ch -= '0';

        } else if (ch >= 'a' && ch <= 'f') {
            ch -= 'a' - 10;

        } else {
            return NGX_DECLINED;
        }

        if (i & 1) {
            id[i / 2] |= ch;

        } else {
            id[i / 2] = (u_char) (ch << 4);
        }
    }

    return NGX_OK;
}


s3_error_e
s3_fail_upload(s3_failure_t *fail, ngx_str_t *upload_id)
{
    (void) s3_fail(fail, S3_ERR_NO_SUCH_UPLOAD, NULL);
    s3_fail_element(fail, "UploadId", upload_id);

    return S3_ERR_NO_SUCH_UPLOAD;
}


s3_error_e
s3_part_number_parse(s3_target_t *target, ngx_uint_t *number,
    s3_failure_t *fail)
{
    ngx_int_t  n;
    s3_arg_t  *arg;

    arg = s3_target_arg(target, "partNumber");

    n = arg ? ngx_atoi(arg->value.data, arg->value.len) : NGX_ERROR;

    if (n < 1 || n > S3_PART_NUMBER_MAX) {
        return s3_fail_argument(fail,
                                "Part number must be an integer between 1 "
                                "and 10000, inclusive",
                                "partNumber", arg ? &arg->value : NULL);
    }

    *number = n;

    return S3_OK;
}


s3_error_e
s3_fail_part(ngx_pool_t *pool, ngx_uint_t number, ngx_uint_t total,
    s3_failure_t *fail)
{
    u_char     *p;
    ngx_str_t   actual, requested;

    p = ngx_pnalloc(pool, 2 * NGX_INT32_LEN);
    if (p == NULL) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    actual.data = p;
    actual.len = ngx_sprintf(p, "%ui", total ? total : 1) - p;

    p += NGX_INT32_LEN;

    requested.data = p;
    requested.len = ngx_sprintf(p, "%ui", number) - p;

    (void) s3_fail(fail, S3_ERR_INVALID_PART_NUMBER, NULL);
    s3_fail_element(fail, "ActualPartCount", &actual);
    s3_fail_element(fail, "PartNumberRequested", &requested);

    return S3_ERR_INVALID_PART_NUMBER;
}


s3_error_e
s3_limit_parse(ngx_pool_t *pool, const char *name, ngx_str_t *text,
    ngx_uint_t *value, s3_failure_t *fail)
{
    u_char     *p;
    ngx_int_t   n;

    /* S3 takes an empty value for none */

    if (text == NULL || text->len == 0) {
        return S3_OK;
    }

    n = ngx_atoi(text->data, text->len);

    if (n != NGX_ERROR && n <= NGX_MAX_INT32_VALUE) {
        *value = n;
        return S3_OK;
    }

    /* one message for what is negative, one for what is no int */

    p = ngx_pnalloc(pool, sizeof("Argument  must be an integer between 0 and "
                                 "2147483647")
                          + ngx_strlen(name));
    if (p == NULL) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (text->len > 1 && text->data[0] == '-'
        && ngx_atoi(text->data + 1, text->len - 1) != NGX_ERROR)
    {
        (void) ngx_sprintf(p, "Argument %s must be an integer between 0 and "
                              "2147483647%Z", name);
    } else {
        (void) ngx_sprintf(p, "Provided %s not an integer or within integer "
                              "range%Z", name);
    }

    return s3_fail_argument(fail, (char *) p, name, text);
}
