
#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/evp.h>
#include "s3_complete.h"


static s3_error_e s3_complete_whole(ngx_pool_t *pool, s3_header_t *h,
    s3_checksum_e algorithm, s3_complete_whole_t *whole, s3_failure_t *fail);
static s3_error_e s3_complete_match(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_part_t *named, s3_stored_part_t *part,
    s3_upload_checksum_t *checksum, ngx_uint_t partial, ngx_str_t *upload_id);
static s3_error_e s3_complete_sizes(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_whole_t *whole, s3_stored_part_t **named);
static s3_error_e s3_complete_checksum(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_whole_t *whole, s3_upload_checksum_t *checksum,
    s3_stored_part_t **named, ngx_uint_t partial,
    s3_complete_result_t *result);
static ngx_int_t s3_complete_sum(s3_stored_part_t **named, ngx_uint_t n,
    s3_checksum_e algorithm, ngx_uint_t composite, u_char *digest);
static s3_part_sum_t *s3_complete_sum_of(s3_stored_part_t *part,
    s3_checksum_e algorithm);
static s3_error_e s3_complete_invalid(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_part_t *named, ngx_str_t *upload_id);
static char *s3_complete_name(s3_checksum_e algorithm, u_char name[16]);


ngx_int_t
s3_complete_etag(s3_complete_t *c, u_char md5[16])
{
    ngx_int_t            rc;
    ngx_uint_t           i;
    EVP_MD_CTX          *md;
    s3_complete_part_t  *named;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    rc = EVP_DigestInit_ex(md, EVP_md5(), NULL) == 1 ? NGX_OK : NGX_ERROR;

    named = c->parts.elts;

    for (i = 0; i < c->parts.nelts && rc == NGX_OK; i++) {
        if (EVP_DigestUpdate(md, named[i].md5, 16) != 1) {
            rc = NGX_ERROR;
        }
    }

    if (rc == NGX_OK && EVP_DigestFinal_ex(md, md5, NULL) != 1) {
        rc = NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    return rc;
}


s3_error_e
s3_complete_headers(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    s3_complete_whole_t *whole, s3_failure_t *fail)
{
    off_t           size;
    s3_error_e      rc;
    ngx_uint_t      i;
    s3_header_t    *h;
    s3_checksum_e   algorithm;

    ngx_memzero(whole, sizeof(s3_complete_whole_t));

    h = s3_header(headers, n, "x-amz-checksum-type");

    if (h) {
        if (!(h->value.len == 9
              && ngx_strncasecmp(h->value.data, (u_char *) "COMPOSITE", 9)
                 == 0)
            && !(h->value.len == 11
                 && ngx_strncasecmp(h->value.data, (u_char *) "FULL_OBJECT",
                                    11)
                    == 0))
        {
            return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                           "Value for x-amz-checksum-type header is "
                           "invalid.");
        }

        whole->type = h->value;
    }

    h = s3_header(headers, n, "x-amz-mp-object-size");

    if (h) {
        size = ngx_atoof(h->value.data, h->value.len);

        if (size == NGX_ERROR) {
            return s3_failf(pool, fail, S3_ERR_INVALID_REQUEST,
                            h->value.len && h->value.data[0] == '-'
                            ? "Value for x-amz-mp-object-size header is less "
                              "than zero: '%V'"
                            : "Value for x-amz-mp-object-size header is "
                              "invalid: '%V'",
                            &h->value);
        }

        whole->size = size;
        whole->has_size = 1;
    }

    for (i = 0; i < n; i++) {

        algorithm = s3_checksum_by_header((char *) headers[i].name.data,
                                          headers[i].name.len);

        if (algorithm == S3_CHECKSUM_NONE) {
            continue;
        }

        if (whole->algorithm != S3_CHECKSUM_NONE) {
            return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                           "Expecting a single x-amz-checksum- header. "
                           "Multiple checksum Types are not allowed.");
        }

        rc = s3_complete_whole(pool, &headers[i], algorithm, whole, fail);
        if (rc != S3_OK) {
            return rc;
        }
    }

    return S3_OK;
}


/* "5FRUiw==", or "5FRUiw==-3" */

static s3_error_e
s3_complete_whole(ngx_pool_t *pool, s3_header_t *h, s3_checksum_e algorithm,
    s3_complete_whole_t *whole, s3_failure_t *fail)
{
    size_t                     len;
    ngx_int_t                  n;
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);
    len = ngx_min(h->value.len, info->text_len);

    if (s3_checksum_parse(algorithm, (char *) h->value.data, len,
                          whole->digest)
        != 0)
    {
        goto invalid;
    }

    if (h->value.len > len) {

        n = ngx_atoi(h->value.data + len + 1, h->value.len - len - 1);

        if (h->value.data[len] != '-' || n < 1 || n > S3_PART_NUMBER_MAX) {
            goto invalid;
        }

        whole->suffix = n;
    }

    whole->algorithm = algorithm;

    return S3_OK;

invalid:

    return s3_failf(pool, fail, S3_ERR_INVALID_REQUEST,
                    "Value for %s header is invalid.", info->header);
}


s3_error_e
s3_complete_verdict(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_whole_t *whole, s3_upload_checksum_t *checksum,
    s3_stored_part_t *parts, ngx_uint_t n, s3_stored_part_t **named,
    ngx_str_t *upload_id, ngx_uint_t partial, s3_complete_result_t *result)
{
    s3_error_e           rc;
    ngx_uint_t           i, j;
    s3_complete_part_t  *part;

    ngx_memzero(result, sizeof(s3_complete_result_t));

    if (c->disordered) {
        (void) s3_fail(c->fail, S3_ERR_INVALID_PART_ORDER, NULL);
        s3_fail_element(c->fail, "UploadId", upload_id);
        return S3_ERR_INVALID_PART_ORDER;
    }

    if (whole->type.len
        && (checksum->algorithm == S3_CHECKSUM_NONE
            || (whole->type.len == sizeof("COMPOSITE") - 1)
               != checksum->composite))
    {
        return s3_failf(pool, c->fail, S3_ERR_INVALID_REQUEST,
                        "The upload was created using the %s checksum mode. "
                        "The complete request must use the same checksum "
                        "mode.",
                        checksum->algorithm == S3_CHECKSUM_NONE ? "null"
                        : checksum->composite ? "COMPOSITE" : "FULL_OBJECT");
    }

    /* both are in the order of numbers */

    part = c->parts.elts;
    j = 0;

    for (i = 0; i < c->parts.nelts; i++) {

        while (j < n && parts[j].number < part[i].number) {
            j++;
        }

        if (j == n || parts[j].number != part[i].number) {
            return s3_complete_invalid(pool, c, &part[i], upload_id);
        }

        named[i] = &parts[j];

        rc = s3_complete_match(pool, c, &part[i], named[i], checksum, partial,
                               upload_id);
        if (rc != S3_OK) {
            return rc;
        }
    }

    rc = s3_complete_sizes(pool, c, whole, named);
    if (rc != S3_OK) {
        return rc;
    }

    return s3_complete_checksum(pool, c, whole, checksum, named, partial,
                                result);
}


/* one part as it is named against what is there */

static s3_error_e
s3_complete_match(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_part_t *named, s3_stored_part_t *part,
    s3_upload_checksum_t *checksum, ngx_uint_t partial, ngx_str_t *upload_id)
{
    u_char                     name[16];
    s3_part_sum_t             *sum;
    const s3_checksum_info_t  *info;

    if (named->no_etag || ngx_memcmp(part->md5, named->md5, 16) != 0) {
        return s3_complete_invalid(pool, c, named, upload_id);
    }

    if (named->algorithm == S3_CHECKSUM_NONE) {

        if (!checksum->composite) {
            return S3_OK;
        }

        return s3_failf(pool, c->fail, S3_ERR_INVALID_REQUEST,
                        "The upload was created using a %s checksum. The "
                        "complete request must include the checksum for each "
                        "part. It was missing for part %uD in the request.",
                        s3_complete_name(checksum->algorithm, name),
                        named->number);
    }

    info = s3_checksum_info(named->algorithm);

    if (checksum->algorithm != S3_CHECKSUM_NONE
        && checksum->algorithm != named->algorithm)
    {
        return s3_failf(pool, c->fail, S3_ERR_BAD_DIGEST,
                        "The %s you specified for part %uD did not match "
                        "what we received.",
                        s3_complete_name(named->algorithm, name),
                        named->number);
    }

    /*
     * Where the upload named no algorithm S3 knows no checksums of parts and
     * answers InvalidPart to any.  We have verified those that came with a
     * part: to repeat one is no error, as with other servers.
     */

    if (partial && part->nsums == 0) {
        return S3_OK;
    }

    sum = s3_complete_sum_of(part, named->algorithm);

    if (sum == NULL
        || ngx_memcmp(sum->digest, named->digest, info->size) != 0)
    {
        return s3_complete_invalid(pool, c, named, upload_id);
    }

    return S3_OK;
}


static s3_error_e
s3_complete_sizes(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_whole_t *whole, s3_stored_part_t **named)
{
    uint64_t           size;
    ngx_str_t          value[4];
    ngx_uint_t         i, n;
    s3_stored_part_t  *part;

    n = c->parts.nelts;
    size = named[n - 1]->size;

    for (i = 0; i + 1 < n; i++) {
        part = named[i];
        size += part->size;

        if (part->size >= S3_PART_SIZE_MIN) {
            continue;
        }

        value[0].data = ngx_pnalloc(pool, 2 * NGX_INT64_LEN + 32);
        if (value[0].data == NULL) {
            return s3_fail(c->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        value[0].len = ngx_sprintf(value[0].data, "%uL", part->size)
                       - value[0].data;
        value[1].data = value[0].data + NGX_INT64_LEN;
        value[1].len = ngx_sprintf(value[1].data, "%uD", part->number)
                       - value[1].data;
        value[2].data = value[1].data + NGX_INT64_LEN;
        value[2].len = ngx_hex_dump(value[2].data, part->md5, 16)
                       - value[2].data;
        ngx_str_set(&value[3], "5242880");

        (void) s3_fail(c->fail, S3_ERR_ENTITY_TOO_SMALL, NULL);
        s3_fail_element(c->fail, "ProposedSize", &value[0]);
        s3_fail_element(c->fail, "MinSizeAllowed", &value[3]);
        s3_fail_element(c->fail, "PartNumber", &value[1]);
        s3_fail_element(c->fail, "ETag", &value[2]);

        return S3_ERR_ENTITY_TOO_SMALL;
    }

    if (whole->has_size && whole->size != size) {
        return s3_failf(pool, c->fail, S3_ERR_INVALID_REQUEST,
                        "The provided 'x-amz-mp-object-size' header value "
                        "%uL does not match what was computed: %uL",
                        whole->size, size);
    }

    return S3_OK;
}


static s3_error_e
s3_complete_checksum(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_whole_t *whole, s3_upload_checksum_t *checksum,
    s3_stored_part_t **named, ngx_uint_t partial,
    s3_complete_result_t *result)
{
    u_char                     digest[S3_CHECKSUM_DIGEST_MAX], name[16];
    ngx_int_t                  rc;
    ngx_uint_t                 n;
    s3_checksum_e              algorithm;
    const s3_checksum_info_t  *info;

    n = c->parts.nelts;

    algorithm = checksum->algorithm ? checksum->algorithm
                                    : S3_CHECKSUM_CRC64NVME;
    info = s3_checksum_info(algorithm);

    rc = s3_complete_sum(named, n, algorithm, checksum->composite, digest);

    if (rc == NGX_OK) {
        result->algorithm = algorithm;
        result->composite = checksum->composite;
        ngx_memcpy(result->digest, digest, info->size);

    } else if (rc == NGX_ERROR || !partial) {

        /* each part has it: it was required, or computed */

        return s3_fail(c->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (whole->algorithm == S3_CHECKSUM_NONE) {
        return S3_OK;
    }

    if (whole->algorithm == algorithm && rc == NGX_OK) {

        if (ngx_memcmp(whole->digest, digest, info->size) != 0
            || (whole->suffix
                && (!checksum->composite || whole->suffix != n)))
        {
            goto mismatch;
        }

        return S3_OK;
    }

    if (whole->algorithm != algorithm
        && checksum->algorithm != S3_CHECKSUM_NONE)
    {
        goto mismatch;
    }

    /*
     * S3 passes over what it did not ask for.  Here it holds, if all parts
     * came with that algorithm, and else nobody knows.
     */

    algorithm = whole->algorithm;

    rc = s3_complete_sum(named, n, algorithm, whole->suffix, digest);

    if (rc == NGX_DECLINED) {
        return s3_failf(pool, c->fail, S3_ERR_INVALID_REQUEST,
                        "Checksum Type mismatch occurred, expected checksum "
                        "Type: null, actual checksum Type: %s",
                        s3_complete_name(algorithm, name));
    }

    if (rc != NGX_OK) {
        return s3_fail(c->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (ngx_memcmp(whole->digest, digest, s3_checksum_info(algorithm)->size)
        == 0
        && (whole->suffix == 0 || whole->suffix == n))
    {
        return S3_OK;
    }

mismatch:

    return s3_failf(pool, c->fail, S3_ERR_BAD_DIGEST,
                    "The %s you specified did not match the calculated "
                    "checksum.",
                    s3_complete_name(algorithm, name));
}


/*
 * The parts' checksums as one.  NGX_OK, NGX_ERROR, NGX_DECLINED: some part
 * has none of that algorithm, or they do not combine.
 */

static ngx_int_t
s3_complete_sum(s3_stored_part_t **named, ngx_uint_t n,
    s3_checksum_e algorithm, ngx_uint_t composite, u_char *digest)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    s3_part_sum_t             *part;
    s3_checksum_t              sum;
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);

    if (!composite && !info->combines) {
        return NGX_DECLINED;
    }

    if (s3_checksum_init(&sum, algorithm) != 0) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    for (i = 0; i < n && rc == NGX_OK; i++) {

        part = s3_complete_sum_of(named[i], algorithm);

        if (part == NULL) {
            rc = NGX_DECLINED;

        } else if (composite) {
            if (s3_checksum_update(&sum, part->digest, info->size) != 0) {
                rc = NGX_ERROR;
            }

        } else if (i == 0) {
            ngx_memcpy(digest, part->digest, info->size);

        } else if (s3_checksum_combine(algorithm, digest, part->digest,
                                       named[i]->size, digest)
                   != 0)
        {
            rc = NGX_ERROR;
        }
    }

    if (rc == NGX_OK && composite && s3_checksum_final(&sum, digest) != 0) {
        rc = NGX_ERROR;
    }

    s3_checksum_cleanup(&sum);

    return rc;
}


static s3_part_sum_t *
s3_complete_sum_of(s3_stored_part_t *part, s3_checksum_e algorithm)
{
    ngx_uint_t  i;

    for (i = 0; i < part->nsums; i++) {
        if (part->sums[i].algorithm == algorithm) {
            return &part->sums[i];
        }
    }

    return NULL;
}


static s3_error_e
s3_complete_invalid(ngx_pool_t *pool, s3_complete_t *c,
    s3_complete_part_t *named, ngx_str_t *upload_id)
{
    ngx_str_t  number, etag;

    number.data = ngx_pnalloc(pool, NGX_INT32_LEN + 32);
    if (number.data == NULL) {
        return s3_fail(c->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    number.len = ngx_sprintf(number.data, "%uD", named->number) - number.data;

    if (named->no_etag) {

        /* the first such: no other is reached */

        etag = c->no_etag;

    } else {
        etag.data = number.data + NGX_INT32_LEN;
        etag.len = ngx_hex_dump(etag.data, named->md5, 16) - etag.data;
    }

    (void) s3_fail(c->fail, S3_ERR_INVALID_PART, NULL);
    s3_fail_element(c->fail, "UploadId", upload_id);
    s3_fail_element(c->fail, "PartNumber", &number);
    s3_fail_element(c->fail, "ETag", &etag);

    return S3_ERR_INVALID_PART;
}


/* lower case, as S3's messages about Complete have it */

static char *
s3_complete_name(s3_checksum_e algorithm, u_char name[16])
{
    const char  *p;

    p = s3_checksum_info(algorithm)->name;
    ngx_strlow(name, (u_char *) p, ngx_strlen(p) + 1);

    return (char *) name;
}
