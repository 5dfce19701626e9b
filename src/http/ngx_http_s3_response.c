
/* Answers, and the rows of an object in the words of headers. */


#include "ngx_http_s3.h"


ngx_int_t
ngx_http_s3_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_http_s3_header_last(h);
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;
    h->lowcase_key = NULL;

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_send_empty(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t status)
{
    ngx_int_t  rc;

    ctx->own = 1;

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    r->headers_out.status = status;
    r->disable_not_modified = 1;

    if (status != NGX_HTTP_NO_CONTENT) {
        r->headers_out.content_length_n = 0;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_send_special(r, NGX_HTTP_LAST);
}


ngx_int_t
ngx_http_s3_send_document(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_chain_t *out, size_t size)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl;

    if (out == NULL) {
        return ngx_http_s3_refuse(r, ctx, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ctx->own = 1;

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    for (cl = out; cl->next; cl = cl->next) { /* void */ }

    cl->buf->last_buf = 1;
    cl->buf->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = size;
    r->disable_not_modified = 1;

    ngx_str_set(&r->headers_out.content_type, "application/xml");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    /* nginx sends it, and waits for the client, until the request is freed */

    if (ctx->document_size) {
        ngx_http_s3_pace_sent(ctx);
        ngx_http_s3_pace_wait(ctx);
    }

    return ngx_http_output_filter(r, out);
}


ngx_int_t
ngx_http_s3_send_list(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_chain_t *out, size_t size)
{
    if (out && size > NGX_HTTP_S3_SMALL_LIST
        && ngx_http_s3_document_reserve(ctx, size) != S3_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_s3_send_document(r, ctx, out, size);
}


ngx_str_t
ngx_http_s3_etag_text(ngx_pool_t *pool, s3_slice_t etag)
{
    u_char     *p;
    ngx_str_t   text;

    ngx_str_null(&text);

    if (etag.len != 16 && etag.len != NGX_HTTP_S3_ETAG_PARTS) {
        return text;
    }

    p = ngx_pnalloc(pool, NGX_HTTP_S3_ETAG_LEN);
    if (p == NULL) {
        return text;
    }

    text.data = p;

    p = ngx_hex_dump(p, (u_char *) etag.data, 16);

    if (etag.len == NGX_HTTP_S3_ETAG_PARTS) {
        p = ngx_sprintf(p, "-%ui", ngx_http_s3_etag_parts(etag));
    }

    text.len = p - text.data;

    return text;
}


ngx_uint_t
ngx_http_s3_etag_parts(s3_slice_t etag)
{
    if (etag.len != NGX_HTTP_S3_ETAG_PARTS) {
        return 0;
    }

    return (ngx_uint_t) etag.data[16] | (ngx_uint_t) etag.data[17] << 8
           | (ngx_uint_t) etag.data[18] << 16
           | (ngx_uint_t) etag.data[19] << 24;
}


s3_slice_t
ngx_http_s3_etag_parse(ngx_str_t *text, u_char buf[20])
{
    ngx_int_t   n;
    ngx_uint_t  i;
    s3_slice_t  etag;

    etag.data = buf;
    etag.len = 16;

    if (text->len < 32) {
        goto nobody;
    }

    for (i = 0; i < 16; i++) {
        n = ngx_hextoi(text->data + 2 * i, 2);
        if (n == NGX_ERROR) {
            goto nobody;
        }

        buf[i] = (u_char) n;
    }

    if (text->len == 32) {
        return etag;
    }

    if (text->data[32] != '-') {
        goto nobody;
    }

    n = ngx_atoi(text->data + 33, text->len - 33);

    if (n == NGX_ERROR || n > 0xffff) {
        goto nobody;
    }

    buf[16] = (u_char) n;
    buf[17] = (u_char) (n >> 8);
    buf[18] = 0;
    buf[19] = 0;

    etag.len = 20;

    return etag;

nobody:

    /* 4,294,967,295 parts */

    ngx_memset(buf, 0xff, 20);
    etag.len = 20;

    return etag;
}


s3_slice_t
ngx_http_s3_checksum_row(s3_checksum_e algorithm, const u_char *digest,
    u_char buf[NGX_HTTP_S3_CHECKSUM_LEN])
{
    s3_slice_t                 row;
    const s3_checksum_info_t  *info;

    row.data = buf;
    row.len = 0;

    info = s3_checksum_info(algorithm);

    if (info) {
        buf[0] = (u_char) algorithm;
        buf[1] = 0;
        ngx_memcpy(buf + 2, digest, info->size);
        row.len = 2 + info->size;
    }

    return row;
}


s3_slice_t
ngx_http_s3_checksum_composite(s3_checksum_e algorithm, const u_char *digest,
    ngx_uint_t parts, u_char buf[NGX_HTTP_S3_CHECKSUM_LEN])
{
    u_char      *p;
    s3_slice_t   row;

    row = ngx_http_s3_checksum_row(algorithm, digest, buf);

    if (row.len) {
        buf[1] = 1;

        p = buf + row.len;

        *p++ = (u_char) parts;
        *p++ = (u_char) (parts >> 8);
        *p++ = (u_char) (parts >> 16);
        *p++ = (u_char) (parts >> 24);

        row.len = p - buf;
    }

    return row;
}


s3_checksum_e
ngx_http_s3_checksum_next(s3_slice_t *rest, s3_slice_t *row)
{
    const s3_checksum_info_t  *info;

    if (rest->len < 2 || rest->data[1] != 0) {
        return S3_CHECKSUM_NONE;
    }

    info = s3_checksum_info(rest->data[0]);

    if (info == NULL || rest->len < 2 + info->size) {
        return S3_CHECKSUM_NONE;
    }

    row->data = rest->data;
    row->len = 2 + info->size;

    rest->data += row->len;
    rest->len -= row->len;

    return row->data[0];
}


const s3_checksum_info_t *
ngx_http_s3_checksum_read(s3_slice_t row, s3_checksum_e *algorithm,
    const u_char **digest, ngx_str_t *type)
{
    const s3_checksum_info_t  *info;

    if (row.len < 2 || row.data[1] > 1) {
        return NULL;
    }

    info = s3_checksum_info(row.data[0]);

    if (info == NULL || row.len != 2 + info->size + 4 * row.data[1]) {
        return NULL;
    }

    *algorithm = row.data[0];
    *digest = row.data + 2;

    if (row.data[1] == 0) {
        ngx_str_set(type, "FULL_OBJECT");

    } else {
        ngx_str_set(type, "COMPOSITE");
    }

    return info;
}


ngx_int_t
ngx_http_s3_checksum_words(ngx_pool_t *pool, s3_slice_t row,
    ngx_uint_t suffix, s3_checksum_text_t *text)
{
    u_char                    *p;
    uint32_t                   parts;
    const u_char              *digest;
    const s3_checksum_info_t  *info;

    ngx_memzero(text, sizeof(s3_checksum_text_t));

    info = ngx_http_s3_checksum_read(row, &text->algorithm, &digest,
                                     &text->type);
    if (info == NULL) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, S3_CHECKSUM_TEXT_MAX + 1 + NGX_INT32_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->text.data = p;

    p += s3_checksum_text(text->algorithm, digest, (char *) p);

    if (suffix && row.data[1]) {
        digest += info->size;

        parts = (uint32_t) digest[0] | (uint32_t) digest[1] << 8
                | (uint32_t) digest[2] << 16 | (uint32_t) digest[3] << 24;

        p = ngx_sprintf(p, "-%uD", parts);
    }

    text->text.len = p - text->text.data;

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_add_checksum(ngx_http_request_t *r, s3_slice_t row)
{
    s3_checksum_text_t  text;

    if (ngx_http_s3_checksum_words(r->pool, row, 1, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    if (text.text.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_s3_add_header(r, s3_checksum_info(text.algorithm)->header,
                               &text.text)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_s3_add_header(r, "x-amz-checksum-type", &text.type);
}


ngx_int_t
ngx_http_s3_add_version(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t  value;

    if (s3_target_arg(&ctx->target, "versionId") == NULL) {
        return NGX_OK;
    }

    ngx_str_set(&value, "null");

    return ngx_http_s3_add_header(r, "x-amz-version-id", &value);
}


ngx_int_t
ngx_http_s3_add_etag(ngx_http_request_t *r, ngx_str_t *etag)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_http_s3_header_last(h);
    ngx_str_set(&h->key, "ETag");
    h->lowcase_key = NULL;

    h->value.data = ngx_pnalloc(r->pool, etag->len + 2);
    if (h->value.data == NULL) {
        h->hash = 0;
        return NGX_ERROR;
    }

    h->value.len = ngx_sprintf(h->value.data, "\"%V\"", etag) - h->value.data;

    r->headers_out.etag = h;

    return NGX_OK;
}
