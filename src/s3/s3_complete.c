
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_complete.h"


static s3_error_e s3_complete_failed(s3_complete_t *c, s3_error_e rc);
static s3_error_e s3_complete_element(void *ctx, ngx_uint_t depth,
    const char *name, ngx_str_t *text);
static s3_error_e s3_complete_number(s3_complete_t *c, ngx_str_t *text);
static s3_error_e s3_complete_part_etag(s3_complete_t *c, ngx_str_t *text);
static s3_error_e s3_complete_part_checksum(s3_complete_t *c,
    s3_checksum_e algorithm, ngx_str_t *text);
static s3_error_e s3_complete_part(s3_complete_t *c);
static void s3_complete_cleanup(void *data);


s3_error_e
s3_complete_begin(s3_complete_t *c, ngx_pool_t *pool, s3_failure_t *fail)
{
    ngx_pool_cleanup_t  *cln;

    ngx_memzero(c, sizeof(s3_complete_t));

    c->pool = pool;
    c->fail = fail;

    cln = ngx_pool_cleanup_add(pool, 0);

    if (cln == NULL
        || ngx_array_init(&c->parts, pool, 16, sizeof(s3_complete_part_t))
           != NGX_OK)
    {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    c->reader = s3_xml_reader_create(s3_complete_element, c);
    if (c->reader == NULL) {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    cln->handler = s3_complete_cleanup;
    cln->data = c->reader;

    c->cleanup = cln;

    return S3_OK;
}


static void
s3_complete_cleanup(void *data)
{
    if (data) {
        s3_xml_reader_destroy(data);
    }
}


s3_error_e
s3_complete_feed(s3_complete_t *c, const u_char *p, size_t len)
{
    if (len) {
        c->any = 1;
    }

    return s3_complete_failed(c, s3_xml_reader_feed(c->reader, p, len));
}


s3_error_e
s3_complete_end(s3_complete_t *c)
{
    s3_error_e  rc;

    if (!c->any) {
        return s3_fail(c->fail, S3_ERR_INVALID_REQUEST,
                       "You must specify at least one part");
    }

    rc = s3_complete_failed(c, s3_xml_reader_end(c->reader));

    /* memory that a long request need not hold */

    s3_complete_cleanup(c->reader);
    c->cleanup->data = NULL;
    c->reader = NULL;

    if (rc != S3_OK) {
        return rc;
    }

    if (c->parts.nelts == 0) {
        return s3_fail(c->fail, S3_ERR_MALFORMED_XML, NULL);
    }

    return S3_OK;
}


/* what the reader itself found is not noted yet */

static s3_error_e
s3_complete_failed(s3_complete_t *c, s3_error_e rc)
{
    if (rc != S3_OK && c->fail && c->fail->error != rc) {
        return s3_fail(c->fail, rc, NULL);
    }

    return rc;
}


static s3_error_e
s3_complete_element(void *ctx, ngx_uint_t depth, const char *name,
    ngx_str_t *text)
{
    size_t          len;
    ngx_str_t       value;
    s3_checksum_e   algorithm;
    s3_complete_t  *c = ctx;

    switch (depth) {

    case 1:
        return ngx_strcmp(name, "CompleteMultipartUpload") == 0
               ? S3_OK : S3_ERR_MALFORMED_XML;

    case 2:
        if (ngx_strcmp(name, "Part") != 0) {
            return S3_ERR_MALFORMED_XML;
        }

        if (text) {
            return s3_complete_part(c);
        }

        ngx_memzero(&c->part, sizeof(s3_complete_part_t));
        c->has_number = 0;
        c->has_etag = 0;

        return S3_OK;

    case 3:
        break;

    default:
        return S3_ERR_MALFORMED_XML;
    }

    algorithm = S3_CHECKSUM_NONE;
    len = ngx_strlen(name);

    if (ngx_strcmp(name, "PartNumber") != 0 && ngx_strcmp(name, "ETag") != 0)
    {
        if (len <= 8 || ngx_strncmp(name, "Checksum", 8) != 0) {
            return S3_ERR_MALFORMED_XML;
        }

        algorithm = s3_checksum_by_name(name + 8, len - 8);

        if (algorithm == S3_CHECKSUM_NONE) {
            return S3_ERR_MALFORMED_XML;
        }
    }

    if (text == NULL) {
        return S3_OK;
    }

    value = *text;

    while (value.len && (*value.data == ' ' || *value.data == '\t'
                         || *value.data == CR || *value.data == LF))
    {
        value.data++;
        value.len--;
    }

    while (value.len && (value.data[value.len - 1] == ' '
                         || value.data[value.len - 1] == '\t'
                         || value.data[value.len - 1] == CR
                         || value.data[value.len - 1] == LF))
    {
        value.len--;
    }

    if (algorithm != S3_CHECKSUM_NONE) {
        return s3_complete_part_checksum(c, algorithm, &value);
    }

    return name[0] == 'P' ? s3_complete_number(c, &value)
                          : s3_complete_part_etag(c, &value);
}


static s3_error_e
s3_complete_number(s3_complete_t *c, ngx_str_t *text)
{
    u_char     *p;
    ngx_int_t   n;
    ngx_str_t   value;

    if (c->has_number) {
        return S3_ERR_MALFORMED_XML;
    }

    c->has_number = 1;

    n = ngx_atoi(text->data, text->len);

    if (n >= 1) {
        c->part.number = (uint32_t) ngx_min(n, NGX_MAX_INT32_VALUE);
        return S3_OK;
    }

    if (n == NGX_ERROR
        && !(text->len > 1 && text->data[0] == '-'
             && ngx_atoi(text->data + 1, text->len - 1) != NGX_ERROR))
    {
        return S3_ERR_MALFORMED_XML;
    }

    p = ngx_pstrdup(c->pool, text);
    if (p == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    value.data = p;
    value.len = text->len;

    return s3_fail_argument(c->fail, "PartNumber must be >= 1", "PartNumber",
                            &value);
}


static s3_error_e
s3_complete_part_etag(s3_complete_t *c, ngx_str_t *text)
{
    ngx_int_t   n;
    ngx_str_t   etag;
    ngx_uint_t  i;

    if (c->has_etag) {
        return S3_ERR_MALFORMED_XML;
    }

    c->has_etag = 1;
    etag = *text;

    if (etag.len >= 2 && etag.data[0] == '"'
        && etag.data[etag.len - 1] == '"')
    {
        etag.data++;
        etag.len -= 2;
    }

    if (etag.len == 32) {

        for (i = 0; i < 16; i++) {
            n = ngx_hextoi(etag.data + 2 * i, 2);

            if (n == NGX_ERROR) {
                break;
            }

            c->part.md5[i] = (u_char) n;
        }

        if (i == 16) {
            return S3_OK;
        }
    }

    /* InvalidPart, when its turn comes: never to be found */

    c->part.no_etag = 1;

    if (c->no_etag.data == NULL) {
        etag.len = ngx_min(etag.len, 256);

        c->no_etag.data = ngx_pstrdup(c->pool, &etag);
        if (c->no_etag.data == NULL) {
            return S3_ERR_INTERNAL_ERROR;
        }

        c->no_etag.len = etag.len;
    }

    return S3_OK;
}


static s3_error_e
s3_complete_part_checksum(s3_complete_t *c, s3_checksum_e algorithm,
    ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   value;

    if (c->part.algorithm == S3_CHECKSUM_NONE
        && s3_checksum_parse(algorithm, (char *) text->data, text->len,
                             c->part.digest)
           == 0)
    {
        c->part.algorithm = algorithm;
        return S3_OK;
    }

    value.len = ngx_min(text->len, 256);
    value.data = text->data;

    p = ngx_pstrdup(c->pool, &value);
    if (p == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    value.data = p;

    return s3_fail_argument(c->fail, "Invalid Base64 or multiple checksums "
                            "present in request", "Checksum", &value);
}


static s3_error_e
s3_complete_part(s3_complete_t *c)
{
    s3_complete_part_t  *part;

    if (!c->has_number || !c->has_etag) {
        return S3_ERR_MALFORMED_XML;
    }

    if (c->parts.nelts == S3_PART_NUMBER_MAX) {
        return S3_ERR_MALFORMED_XML;
    }

    if (c->parts.nelts) {
        part = c->parts.elts;

        if (part[c->parts.nelts - 1].number >= c->part.number) {
            c->disordered = 1;
        }
    }

    part = ngx_array_push(&c->parts);
    if (part == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    *part = c->part;

    return S3_OK;
}


ngx_chain_t *
s3_complete_write(s3_complete_t *c, size_t *size)
{
    u_char               hex[32];
    s3_xml_t             x;
    ngx_str_t            etag;
    ngx_uint_t           i;
    ngx_chain_t         *out;
    s3_complete_part_t  *part;

    s3_xml_begin(&x, c->pool);
    s3_xml_open_ns(&x, "CompleteMultipartUpload");

    part = c->parts.elts;

    for (i = 0; i < c->parts.nelts; i++) {

        etag.data = hex;
        etag.len = ngx_hex_dump(hex, part[i].md5, 16) - hex;

        s3_xml_open(&x, "Part");
        s3_xml_number(&x, "PartNumber", part[i].number);
        s3_xml_etag(&x, "ETag", &etag);
        s3_xml_close(&x, "Part");
    }

    s3_xml_close(&x, "CompleteMultipartUpload");

    out = s3_xml_end(&x);
    *size = x.size;

    return out;
}
