
/*
 * GetObject and HeadObject through a gateway: passed as they are, but for
 * what servers of old do not look at.
 *
 *     partNumber   a HEAD shows whether the upstream knows parts.  Where it
 *                  does not, the object's record does: a part is a range
 *     If-Range     a HEAD shows whether the range holds
 *
 * In both cases it is the object that was found, or none.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_gateway_head(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_asked_pt answer);
static ngx_int_t ngx_http_s3_gateway_if_range(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_part_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_part_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_part_of(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_mark_body_t *body);
static ngx_int_t ngx_http_s3_gateway_part_pass(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, uint64_t offset, uint64_t size);
static ngx_int_t ngx_http_s3_gateway_same(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


ngx_int_t
ngx_http_s3_gateway_get_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ctx->gateway->emulate) {

        if (s3_target_arg(&ctx->target, "partNumber")) {
            return ngx_http_s3_gateway_head(r, ctx,
                                            ngx_http_s3_gateway_part_found);
        }

        if (ngx_http_s3_header_in(ctx, "if-range")
            && ngx_http_s3_header_in(ctx, "range")
            && !ctx->gateway->no_range)
        {
            return ngx_http_s3_gateway_head(r, ctx,
                                            ngx_http_s3_gateway_if_range);
        }
    }

    return ngx_http_s3_gateway_pass_none(r, ctx);
}


/* with the client's conditions */

static ngx_int_t
ngx_http_s3_gateway_head(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_asked_pt answer)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "HEAD");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_s3_ask_drop(ask, "range");
    ngx_http_s3_ask_drop(ask, "if-range");

    ask->answer = answer;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_if_range(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t              *etag;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    etag = ngx_http_s3_ask_header(ask, "etag");

    if (ask->status != NGX_HTTP_OK || etag == NULL) {

        /* it is for the request itself to be told so */

        return ngx_http_s3_gateway_pass_none(r, ctx);
    }

    gw->etag = *etag;
    s3_upstream_unquote(&gw->etag);

    if (!s3_condition_range(ctx->headers.elts, ctx->headers.nelts, &gw->etag,
                            ask->sr->upstream->headers_in.last_modified_time))
    {
        gw->no_range = 1;
        return ngx_http_s3_gateway_pass_none(r, ctx);
    }

    gw->no_if_range = 1;

    return ngx_http_s3_gateway_same(r, ctx);
}


/* of the object that was found, or 503: it is another by now */

static ngx_int_t
ngx_http_s3_gateway_same(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char     *p;
    ngx_str_t   value;

    if (ngx_http_s3_header_in(ctx, "if-match") == NULL) {

        p = ngx_pnalloc(r->pool, ctx->gateway->etag.len + 2);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "\"%V\"", &ctx->gateway->etag) - p;

        if (ngx_http_s3_gateway_add(ctx, "if-match", &value) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->gateway->own_match = 1;
    }

    return ngx_http_s3_gateway_pass_none(r, ctx);
}


/* ---- partNumber */


static ngx_int_t
ngx_http_s3_gateway_part_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    u_char                 *p, *last;
    ngx_int_t               n;
    ngx_str_t              *etag, *value;
    s3_mark_e               mark;
    ngx_uint_t              number;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (ask->status == 0 || ask->status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    etag = ngx_http_s3_ask_header(ask, "etag");

    if (ask->status != NGX_HTTP_OK || etag == NULL
        || ngx_http_s3_ask_header(ask, "x-amz-mp-parts-count"))
    {
        /* 206, or 416: it knows what a part is */

        return ngx_http_s3_gateway_pass_none(r, ctx);
    }

    gw->etag = *etag;
    s3_upstream_unquote(&gw->etag);

    value = ngx_http_s3_ask_header(ask, S3_MARK_HEADER);

    mark = value ? s3_mark_read(value, &gw->etag, &gw->checksum)
                 : S3_MARK_NONE;

    last = gw->etag.data + gw->etag.len;
    p = ngx_strlchr(gw->etag.data, last, '-');

    if (p == NULL) {

        /* not uploaded in parts: its own first one */

        (void) s3_part_number_parse(&ctx->target, &number, &ctx->fail);

        if (number != 1) {
            (void) s3_fail_part(r->pool, number, 0, &ctx->fail);
            return NGX_DECLINED;
        }

        ctx->range.length = ask->sr->upstream->headers_in.content_length_n;

        if (mark != S3_MARK_RECORD) {
            return ngx_http_s3_gateway_part_pass(r, ctx, 0,
                                                 ctx->range.length);
        }

    } else {
        n = ngx_atoi(p + 1, last - p - 1);
        gw->parts = n == NGX_ERROR ? 0 : n;
    }

    ask = ngx_http_s3_record_find(r, ctx, &gw->etag, p ? "GET" : "HEAD");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->max = NGX_HTTP_S3_ASK_LIST;
    ask->answer = ngx_http_s3_gateway_part_record;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_part_record(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_int_t               rc;
    s3_mark_body_t          body;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (ask->status != NGX_HTTP_OK && ask->status != NGX_HTTP_NOT_FOUND) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    rc = ngx_http_s3_record_read(ask, &gw->etag, &gw->checksum);

    if (gw->parts == 0) {
        return ngx_http_s3_gateway_part_pass(r, ctx, 0, ctx->range.length);
    }

    ngx_memzero(&body, sizeof(s3_mark_body_t));

    if (rc != NGX_OK
        || ask->too_large
        || s3_mark_body_read(r->pool, ask->out, ask->size, &body) != NGX_OK
        || body.nparts == 0)
    {
        (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED,
                       "The parts of this object are not known: it was not "
                       "uploaded through this gateway.");
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_part_of(r, ctx, &body);
}


static ngx_int_t
ngx_http_s3_gateway_part_of(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_mark_body_t *body)
{
    uint64_t                offset;
    ngx_uint_t              i, number;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    (void) s3_part_number_parse(&ctx->target, &number, &ctx->fail);

    offset = 0;

    for (i = 0; i < body->nparts && body->parts[i].number != number; i++) {
        offset += body->parts[i].size;
    }

    if (i == body->nparts) {
        (void) s3_fail_part(r->pool, number, gw->parts, &ctx->fail);
        return NGX_DECLINED;
    }

    /* as S3: that of the part where the object's is COMPOSITE; the object's
     * where the part is all of it; else none */

    if (gw->checksum.type.len == sizeof("COMPOSITE") - 1) {
        gw->checksum.text = body->parts[i].checksum.text;

    } else if (body->nparts > 1) {
        gw->checksum.text.len = 0;
    }

    return ngx_http_s3_gateway_part_pass(r, ctx, offset, body->parts[i].size);
}


/* "bytes=0-" is the empty object, too, and no range names an empty part */

static ngx_int_t
ngx_http_s3_gateway_part_pass(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    uint64_t offset, uint64_t size)
{
    u_char     *p;
    ngx_str_t   range;

    ctx->gateway->part = 1;

    if (size == 0 && offset) {
        (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED,
                       "An empty part cannot be asked for");
        return NGX_DECLINED;
    }

    if (size) {
        /* nginx's filters read it up to a NUL */

        p = ngx_pnalloc(r->pool, sizeof("bytes=-") + 2 * NGX_INT64_LEN);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        range.data = p;
        range.len = ngx_sprintf(p, "bytes=%uL-%uL%Z", offset,
                                offset + size - 1)
                    - p - 1;

        if (ngx_http_s3_gateway_add(ctx, "range", &range) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_s3_gateway_same(r, ctx);
}
