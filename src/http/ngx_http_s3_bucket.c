
/*
 * CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation
 *
 * A bucket that is there already is 409 BucketAlreadyOwnedByYou in every
 * region.  S3 answers 200 in us-east-1 "for legacy compatibility" (S3 API
 * Reference, CreateBucket) and 409 everywhere else; newer servers give 409,
 * and code written for S3 has to know it.
 */


#include "ngx_http_s3.h"
#include "s3_bucket.h"


static ngx_int_t ngx_http_s3_bucket_configured(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_bucket_commit(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t op);
static ngx_int_t ngx_http_s3_bucket_committed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_bucket_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_bucket_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_create_bucket(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    /* clients send no body and no length where they need none */

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {

        if (ngx_http_s3_body_taken_away(r, ctx)) {
            return ngx_http_s3_refuse(r, ctx,
                                      S3_ERR_X_AMZ_CONTENT_SHA256_MISMATCH,
                                      NULL);
        }

        return ngx_http_s3_bucket_commit(r, ctx, S3_COMMIT_CREATE_BUCKET);
    }

    return ngx_http_s3_read_document(r, ctx, NGX_HTTP_S3_MAX_XML,
                                     ngx_http_s3_bucket_configured);
}


static ngx_int_t
ngx_http_s3_bucket_configured(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (s3_bucket_configuration_read(r->pool, ctx->document, &lcf->region,
                                     &ctx->fail)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_s3_bucket_commit(r, ctx, S3_COMMIT_CREATE_BUCKET);
}


ngx_int_t
ngx_http_s3_delete_bucket(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_bucket_commit(r, ctx, S3_COMMIT_DELETE_BUCKET);
}


static ngx_int_t
ngx_http_s3_bucket_commit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t op)
{
    int          status;
    s3_commit_t  commit;

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = op;
    commit.bucket = ngx_http_s3_slice(ctx->target.bucket);

    status = s3_client_commit(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx,
                                               ngx_http_s3_bucket_committed),
                              &commit);

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_bucket_committed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    if (ctx->operation->id == S3_OP_DELETE_BUCKET) {
        return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_NO_CONTENT);
    }

    if (ngx_http_s3_add_bucket_location(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_OK);
}


ngx_int_t
ngx_http_s3_add_bucket_location(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char     *p;
    ngx_str_t   location;

    /* not headers_out.location, which nginx makes absolute */

    p = ngx_pnalloc(r->pool, ctx->target.bucket.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    location.data = p;
    location.len = ctx->target.bucket.len + 1;

    *p++ = '/';
    ngx_memcpy(p, ctx->target.bucket.data, ctx->target.bucket.len);

    return ngx_http_s3_add_header(r, "Location", &location);
}


ngx_int_t
ngx_http_s3_head_bucket(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    return ngx_http_s3_bucket_ask(r, ctx);
}


ngx_int_t
ngx_http_s3_get_bucket_location(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    return ngx_http_s3_bucket_ask(r, ctx);
}


static ngx_int_t
ngx_http_s3_bucket_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int           status;
    s3_client_t  *client;

    client = ngx_http_s3_client(r);
    status = s3_client_state(client);

    if (status != S3_STORE_UNAVAILABLE) {
        status = s3_client_bucket(client,
                                  ngx_http_s3_call(ctx,
                                                  ngx_http_s3_bucket_answer),
                                  ngx_http_s3_slice(ctx->target.bucket));
    }

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_bucket_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    size_t                   size;
    ngx_chain_t             *out;
    ngx_http_s3_loc_conf_t  *lcf;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_http_s3_add_header(r, "x-amz-bucket-region", &lcf->region)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->operation->id == S3_OP_HEAD_BUCKET) {
        return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_OK);
    }

    out = s3_bucket_location_write(r->pool, &lcf->region, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}
