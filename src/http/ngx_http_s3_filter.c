
/*
 * Header and body filters.
 *
 * Every answer of a location of ours gets x-amz-request-id and x-amz-id-2.
 * Where the answer is an error page of nginx's own (bad headers, a limit, a
 * denied address), its status and its page are replaced by S3's.
 */


#include "ngx_http_s3.h"


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
    size_t                   size;
    ngx_str_t                value;
    ngx_uint_t               status;
    ngx_chain_t             *cl;
    s3_error_e               error;
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (!lcf->errors || r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    status = r->headers_out.status;
    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    /* a server's own answers but for its errors are none of ours */

    if (ctx == NULL && lcf->store == NULL && status < NGX_HTTP_BAD_REQUEST) {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_http_s3_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_s3_add_header(r, "x-amz-request-id", &ctx->request_id)
        != NGX_OK
        || ngx_http_s3_add_header(r, "x-amz-id-2", ngx_http_s3_host_id())
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->own || status < NGX_HTTP_BAD_REQUEST) {
        return ngx_http_next_header_filter(r);
    }

    /*
     * 494, too large headers, has become 400 before headers are sent, see
     * ngx_http_special_response_handler(): which takes lingering_close off
     * every other 400.
     */

    if (status == NGX_HTTP_BAD_REQUEST && r->lingering_close) {
        status = NGX_HTTP_REQUEST_HEADER_TOO_LARGE;
    }

    error = s3_error_by_status(status);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "s3 error page of status %ui becomes %V", status,
                   &s3_error(error)->code);

    (void) s3_fail(&ctx->fail, error, NULL);

    r->headers_out.status = s3_error(error)->status;
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

    if (error == S3_ERR_SLOW_DOWN || error == S3_ERR_SERVICE_UNAVAILABLE) {
        ngx_str_set(&value, "1");

        if (ngx_http_s3_add_header(r, "Retry-After", &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_s3_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_chain_t        *cl, *out;
    ngx_http_s3_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx == NULL || ctx->error_chain == NULL || r != r->main) {
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
