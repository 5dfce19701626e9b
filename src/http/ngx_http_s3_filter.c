
/*
 * Header and body filters.
 *
 * Every answer of a location of ours gets x-amz-request-id and x-amz-id-2.
 * Where the answer is an error page of nginx's own (bad headers, a limit, a
 * denied address), its status and its page are replaced by S3's.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_s3_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


void
ngx_http_s3_init_filters(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_s3_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_s3_body_filter;
}


static ngx_int_t
ngx_http_s3_header_filter(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx && ctx->ask) {
        return ngx_http_s3_ask_answers(r, ctx->ask);
    }

    if (!lcf->errors || r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    /* a server's own answers but for its errors are none of ours */

    if (ctx == NULL && !ngx_http_s3_is_ours(lcf)
        && r->headers_out.status < NGX_HTTP_BAD_REQUEST)
    {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_s3_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_s3_gateway_header(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_s3_filter_header(r, ctx);
}


ngx_int_t
ngx_http_s3_filter_header(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t  status;

    ngx_http_s3_count_first(r, ctx);

    status = r->headers_out.status;

    if (!ctx->own && ctx->error_chain == NULL
        && status >= NGX_HTTP_BAD_REQUEST)
    {
        /*
         * 494, too large headers, has become 400 before headers are sent, see
         * ngx_http_special_response_handler(): which takes lingering_close off
         * every other 400.
         */

        if (status == NGX_HTTP_BAD_REQUEST && r->lingering_close) {
            status = NGX_HTTP_REQUEST_HEADER_TOO_LARGE;
        }

        /* a gateway's body that was refused: nginx knows that it was */

        if (ctx->gateway == NULL
            || ctx->gateway->body != NGX_HTTP_S3_BODY_BAD)
        {
            (void) s3_fail(&ctx->fail, s3_error_by_status(status), NULL);
        }

        if (ctx->fail.error == S3_ERR_SLOW_DOWN && !ctx->authorized) {
            ctx->reason = NGX_HTTP_S3_REASON_LIMIT + 1;
        }

        if (ngx_http_s3_filter_error(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_s3_add_header(r, "x-amz-request-id", &ctx->request_id)
        != NGX_OK
        || ngx_http_s3_add_header(r, "x-amz-id-2", ngx_http_s3_host_id())
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


ngx_int_t
ngx_http_s3_filter_error(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    size_t        size;
    ngx_str_t     value;
    s3_error_t    e;
    ngx_chain_t  *cl;

    s3_failure(&ctx->fail, &e);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "s3 answer of status %ui becomes %V",
                   r->headers_out.status, &e.code);

    r->headers_out.status = e.status;
    r->headers_out.status_line.len = 0;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    ctx->error_chain = ngx_http_s3_error_document(r, ctx, &size);
    if (ctx->error_chain == NULL) {
        return NGX_ERROR;
    }

    for (cl = ctx->error_chain; cl->next; cl = cl->next) { /* void */ }

    cl->buf->last_buf = 1;
    cl->buf->last_in_chain = 1;

    r->headers_out.content_length_n = size;
    ngx_str_set(&r->headers_out.content_type, "application/xml");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ctx->fail.error == S3_ERR_SLOW_DOWN
        || ctx->fail.error == S3_ERR_SERVICE_UNAVAILABLE)
    {
        ngx_str_set(&value, "1");

        return ngx_http_s3_add_header(r, "Retry-After", &value);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_filter_body(ngx_http_request_t *r, ngx_chain_t *out)
{
    return ngx_http_next_body_filter(r, out);
}


static ngx_int_t
ngx_http_s3_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t           rc;
    ngx_chain_t        *cl, *out;
    ngx_http_s3_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx && ctx->ask) {
        return ngx_http_s3_ask_take(r, ctx->ask, in);
    }

    if (ctx == NULL || r != r->main) {
        return ngx_http_next_body_filter(r, in);
    }

    rc = ngx_http_s3_gateway_output(r, ctx, in);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->error_chain == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    /* nginx's page goes nowhere */

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    out = NULL;

    if (in && !ctx->error_sent) {
        out = ctx->error_chain;
        ctx->error_sent = 1;
    }

    return ngx_http_next_body_filter(r, out);
}
