
/*
 * Sub-resources of a bucket that came late, through a gateway.
 *
 * A server that does not know "?ownershipControls" takes GET for a list of
 * objects, PUT for CreateBucket, and DELETE for DeleteBucket.  So it is asked
 * by GET, of which a list's document shows that it does not know:
 *
 *     GET, DELETE   answered as the store does, which has none of them either
 *     PUT           NotImplemented
 *
 * Where it knows, GET's answer is the answer, and the others are passed.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_gateway_sub_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_uint_t
ngx_http_s3_gateway_is_late(ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t  i;

    static const char  *names[] = {
        "accelerate", "analytics", "encryption", "intelligent-tiering",
        "inventory", "metrics", "ownershipControls", "policyStatus",
        "publicAccessBlock"
    };

    if (ctx->target.level != S3_LEVEL_BUCKET) {
        return 0;
    }

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (s3_target_arg(&ctx->target, names[i])) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_s3_gateway_ask_sub(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t           none;
    ngx_http_s3_ask_t  *ask;

    /* a list, if it is one, that is short, and can be read */

    ngx_str_set(&none, "0");

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "GET");

    if (ask == NULL
        || s3_upstream_arg(r->pool, &ask->query, "max-keys", &none) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* of a body that is not sent */

    ngx_http_s3_ask_drop(ask, "content-*");
    ngx_http_s3_ask_drop(ask, "x-amz-checksum-*");
    ngx_http_s3_ask_drop(ask, "x-amz-sdk-checksum-algorithm");

    ask->answer = ngx_http_s3_gateway_sub_found;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_sub_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_upstream_xml_t   x;

    s3_upstream_leaf_t  top[] = { { "MaxKeys", ngx_null_string } };

    if (ask->status == NGX_HTTP_OK) {

        ngx_memzero(&x, sizeof(s3_upstream_xml_t));

        x.pool = r->pool;
        x.top = top;
        x.ntop = 1;

        if (ask->too_large || s3_upstream_read(&x, ask->out) != NGX_OK) {
            return ngx_http_s3_gateway_strange(r, ctx);
        }

        if (top[0].value.len) {
            return ngx_http_s3_habit(r, ctx);
        }

        if (ctx->operation->method == S3_METHOD_GET) {

            if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            return ngx_http_s3_send_document(r, ctx, ask->out, ask->size);
        }

        return ngx_http_s3_gateway_run_passed(r, ctx);
    }

    /* "there is none" is an answer of who knows what it would be */

    (void) ngx_http_s3_ask_failed(r, ctx, ask);

    if (ctx->operation->method == S3_METHOD_GET
        || ask->status != NGX_HTTP_NOT_FOUND
        || ctx->fail.error == S3_ERR_NO_SUCH_BUCKET)
    {
        return NGX_DECLINED;
    }

    ngx_memzero(&ctx->fail, sizeof(s3_failure_t));

    return ngx_http_s3_gateway_run_passed(r, ctx);
}
