
/*
 * GetObjectAttributes through a gateway: what a HEAD of the object says, and
 * its mark or record.  Servers that do not know the operation take it for
 * GetObject, or answer 500.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_gateway_attributes_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const char *method, ngx_http_s3_asked_pt answer);
static ngx_int_t ngx_http_s3_gateway_attributes_refused(
    ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_attributes_head(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_attributes_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_attributes_parts(ngx_http_request_t *r,
    s3_attributes_t *a, s3_mark_body_t *body);
static ngx_int_t ngx_http_s3_gateway_attributes_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


ngx_int_t
ngx_http_s3_gateway_get_attributes(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    s3_attributes_t  *a;

    a = ngx_pcalloc(r->pool, sizeof(s3_attributes_t));
    if (a == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = a;

    if (s3_attributes_parse(r->pool, ctx->headers.elts, ctx->headers.nelts, a,
                            &ctx->fail)
        != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_pass(r, ctx);
    }

    return ngx_http_s3_gateway_attributes_ask(r, ctx, "HEAD",
                                          ngx_http_s3_gateway_attributes_head);
}


/* the object, with the client's conditions */

static ngx_int_t
ngx_http_s3_gateway_attributes_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const char *method, ngx_http_s3_asked_pt answer)
{
    s3_arg_t           *version;
    ngx_str_t           first;
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, method);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_s3_ask_drop(ask, "range");
    ngx_http_s3_ask_drop(ask, "x-amz-object-attributes");
    ngx_http_s3_ask_drop(ask, "x-amz-max-parts");
    ngx_http_s3_ask_drop(ask, "x-amz-part-number-marker");

    /* should it be there by now, one byte of it will do */

    ngx_str_set(&first, "bytes=0-0");

    if (method[0] == 'G'
        && s3_upstream_header(&ask->headers, "range", &first) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->query.len = 0;

    version = s3_target_arg(&ctx->target, "versionId");

    if (version
        && s3_upstream_arg(r->pool, &ask->query, "versionId", &version->value)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->answer = answer;

    return ngx_http_s3_ask(r, ctx, ask);
}


/* HEAD of what is not there says no more than that */

static ngx_int_t
ngx_http_s3_gateway_attributes_refused(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    if (ask->status != 0
        && (ask->status < NGX_HTTP_BAD_REQUEST
            || ask->status == NGX_HTTP_RANGE_NOT_SATISFIABLE))
    {

        /* it has come meanwhile */

        return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
    }

    return ngx_http_s3_ask_failed(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_attributes_head(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    u_char           *p, *last;
    ngx_int_t         n;
    ngx_str_t        *value, *etag;
    s3_attributes_t  *a;

    a = ctx->data;

    if (ask->status == NGX_HTTP_NOT_FOUND) {
        return ngx_http_s3_gateway_attributes_ask(r, ctx, "GET",
                                       ngx_http_s3_gateway_attributes_refused);
    }

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    etag = ngx_http_s3_ask_header(ask, "etag");

    if (etag == NULL || ask->sr->upstream->headers_in.content_length_n < 0) {
        return ngx_http_s3_gateway_strange(r, ctx);
    }

    a->etag = *etag;
    s3_upstream_unquote(&a->etag);
    a->size = ask->sr->upstream->headers_in.content_length_n;

    last = a->etag.data + a->etag.len;
    p = ngx_strlchr(a->etag.data, last, '-');

    if (p) {
        n = ngx_atoi(p + 1, last - p - 1);
        a->total = n == NGX_ERROR ? 0 : n;
    }

    r->headers_out.last_modified_time =
                              ask->sr->upstream->headers_in.last_modified_time;

    if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    value = ngx_http_s3_ask_header(ask, S3_MARK_HEADER);

    if (value
        && s3_mark_read(value, &a->etag, &a->checksum) == S3_MARK_RECORD
        && (a->attributes & (S3_ATTRIBUTE_CHECKSUM
                             |S3_ATTRIBUTE_OBJECT_PARTS)))
    {
        ask = ngx_http_s3_record_find(r, ctx, &a->etag,
                                      a->attributes
                                      & S3_ATTRIBUTE_OBJECT_PARTS ? "GET"
                                                                  : "HEAD");
        if (ask == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ask->max = NGX_HTTP_S3_ASK_LIST;
        ask->answer = ngx_http_s3_gateway_attributes_record;

        return ngx_http_s3_ask(r, ctx, ask);
    }

    return ngx_http_s3_gateway_attributes_answer(r, ctx);
}


static ngx_int_t
ngx_http_s3_gateway_attributes_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    s3_mark_body_t    body;
    s3_attributes_t  *a;

    a = ctx->data;

    if (ask->status != NGX_HTTP_OK && ask->status != NGX_HTTP_NOT_FOUND) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    if (ngx_http_s3_record_read(ask, &a->etag, &a->checksum) == NGX_OK
        && ask->size && !ask->too_large
        && s3_mark_body_read(r->pool, ask->out, ask->size, &body) == NGX_OK
        && ngx_http_s3_gateway_attributes_parts(r, a, &body) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_gateway_attributes_answer(r, ctx);
}


/* S3 lists parts for COMPOSITE checksums alone */

static ngx_int_t
ngx_http_s3_gateway_attributes_parts(ngx_http_request_t *r,
    s3_attributes_t *a, s3_mark_body_t *body)
{
    ngx_uint_t       i, n;
    s3_list_part_t  *part;

    a->list = (a->checksum.type.len == sizeof("COMPOSITE") - 1);

    part = body->parts;

    for (i = 0; i < body->nparts && part[i].number <= a->parts.after; i++) {
        /* void */
    }

    n = ngx_min(body->nparts - i, a->parts.max);

    a->parts.parts = part + i;
    a->parts.nparts = n;
    a->parts.truncated = (i + n < body->nparts);

    for ( /* void */ ; n; n--, i++) {
        part[i].checksum.algorithm = a->checksum.algorithm;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_gateway_attributes_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    u_char           *p, *last;
    size_t            size;
    ngx_chain_t      *out;
    s3_attributes_t  *a;

    a = ctx->data;

    /* without "-N" */

    last = a->checksum.text.data + a->checksum.text.len;
    p = ngx_strlchr(a->checksum.text.data, last, '-');

    if (p) {
        a->checksum.text.len = p - a->checksum.text.data;
    }

    out = s3_attributes_write(r->pool, a, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}
