
/*
 * Lists of objects through a gateway: passed as they are; with
 * encoding-type=url, which all SDKs send, read whole and mended (see
 * s3_upstream_list.h).
 */


#include "ngx_http_s3_gateway.h"
#include "s3_upstream_list.h"


/* a thousand keys, each byte of them escaped, and what comes with each */
#define NGX_HTTP_S3_GATEWAY_LIST  (6 * 1024 * 1024)


static ngx_int_t ngx_http_s3_gateway_list_token(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_list_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_int_t
ngx_http_s3_gateway_list_objects(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_list_params_t   *params;
    ngx_http_s3_ask_t  *ask;

    params = ctx->data;

    if (!ctx->gateway->emulate || !params->encoding_url) {
        return ngx_http_s3_gateway_pass_none(r, ctx);
    }

    if (params->has_token && ngx_http_s3_gateway_list_token(r, ctx) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "GET");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->max = NGX_HTTP_S3_GATEWAY_LIST;
    ask->answer = ngx_http_s3_gateway_list_found;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_list_token(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t          rc;
    s3_arg_t          *arg;
    s3_list_params_t  *params;

    params = ctx->data;
    arg = s3_target_arg(&ctx->target, "continuation-token");

    rc = s3_upstream_list_token(r->pool, &params->continuation_token,
                                &arg->value);

    if (rc == NGX_ERROR) {
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_gateway_list_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    size_t             size;
    u_char            *p;
    ngx_int_t          rc;
    ngx_str_t          document;
    ngx_chain_t       *cl, *out;
    s3_list_params_t  *params;

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    if (ask->too_large) {
        return ngx_http_s3_gateway_strange(r, ctx);
    }

    params = ctx->data;

    if (ask->size > NGX_HTTP_S3_SMALL_LIST
        && ngx_http_s3_document_reserve(ctx, ask->size) != S3_OK)
    {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, ask->size + 1);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    document.data = p;
    document.len = ask->size;

    for (cl = ask->out; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    rc = s3_upstream_list_mend(r->pool, params, &document, &out, &size);

    if (rc == NGX_DECLINED) {
        out = ask->out;
        size = ask->size;
    }

    if (rc == NGX_ERROR || ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_send_document(r, ctx, out, size);
}
