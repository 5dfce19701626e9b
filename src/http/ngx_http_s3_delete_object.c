
/*
 * DeleteObject: 204 whether there was such a key or not (S3 API Reference).
 * If-Match: the key must be there, and be the one.
 */


#include "ngx_http_s3.h"


static ngx_int_t ngx_http_s3_delete_done(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_delete_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char        if_match[20];
    s3_call_t    *call;
    s3_commit_t   commit;

    if (ngx_http_s3_delete_condition(ctx) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_DELETE;
    commit.bucket = ngx_http_s3_slice(ctx->target.bucket);
    commit.key = ngx_http_s3_slice(ctx->target.key);

    switch (ctx->condition.type) {

    case S3_CONDITION_EXISTS:
        commit.conditions = S3_IF_MATCH_ANY;
        break;

    case S3_CONDITION_ETAG:
        commit.conditions = S3_IF_MATCH;
        commit.if_match = ngx_http_s3_etag_parse(&ctx->condition.etag,
                                                 if_match);
        break;

    default:
        break;
    }

    call = ngx_http_s3_call(ctx, ngx_http_s3_delete_done);

    return ngx_http_s3_asked(r, ctx,
                             s3_client_commit(ngx_http_s3_client(r), call,
                                              &commit));
}


s3_error_e
ngx_http_s3_delete_condition(ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t  header;

    if (s3_condition_write(ctx->headers.elts, ctx->headers.nelts,
                           &ctx->condition, &ctx->fail)
        != S3_OK)
    {
        return ctx->fail.error;
    }

    if (ctx->condition.type != S3_CONDITION_ABSENT) {
        return S3_OK;
    }

    ngx_str_set(&header, "If-None-Match");

    (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED, NULL);
    s3_fail_element(&ctx->fail, "Header", &header);

    return S3_ERR_NOT_IMPLEMENTED;
}


static ngx_int_t
ngx_http_s3_delete_done(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    if (status != S3_STORE_OK
        && (status != S3_STORE_NO_SUCH_KEY
            || ctx->condition.type != S3_CONDITION_NONE))
    {
        return ngx_http_s3_failed(ctx, status);
    }

    if (ngx_http_s3_add_version(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_NO_CONTENT);
}
