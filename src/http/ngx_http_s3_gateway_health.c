
/*
 * s3_health without a name: whether the upstream behind proxy_pass answers
 * what the location's own credential has signed.  It is asked for an object
 * that is not there: "there is none" is as good an answer as any, "who are
 * you" is not.
 *
 * The path says what is asked, as for a store's health: ".../live" is 200 as
 * long as a worker answers, all others ask.
 */


#include "ngx_http_s3_gateway.h"


#define NGX_HTTP_S3_HEALTH_KEY  "health"


static ngx_int_t ngx_http_s3_gateway_health_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static const char *ngx_http_s3_gateway_health_reason(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_int_t
ngx_http_s3_gateway_health(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_str_t                key;
    ngx_uint_t               live;
    s3_client_health_t       h;
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_ask_t       *ask;
    ngx_http_s3_loc_conf_t  *lcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (ngx_http_s3_health_path(&r->uri, &live) != NGX_OK) {
        return NGX_HTTP_NOT_FOUND;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (live) {
        ngx_memzero(&h, sizeof(s3_client_health_t));
        return ngx_http_s3_health_send(r, NULL, &h);
    }

    ngx_str_set(&key, NGX_HTTP_S3_HEALTH_KEY);

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    ask = ngx_http_s3_record_create(r, "GET", &key);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->timeout = lcf->timeout;
    ask->answer = ngx_http_s3_gateway_health_answer;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_health_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    s3_client_health_t  h;

    ngx_memzero(&h, sizeof(s3_client_health_t));

    return ngx_http_s3_health_send(r,
                                   ngx_http_s3_gateway_health_reason(r, ctx,
                                                                     ask),
                                   &h);
}


/* NULL: healthy */

static const char *
ngx_http_s3_gateway_health_reason(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_loc_conf_t  *lcf;

    if (ask->status == 0) {
        return "the upstream does not answer";
    }

    if (ask->status == NGX_HTTP_OK) {
        return NULL;
    }

    ngx_http_s3_gateway_refused(r, ctx, ask->status, ask->out);

    switch (ctx->fail.error) {

    case S3_ERR_NO_SUCH_BUCKET:
    case S3_ERR_NO_SUCH_KEY:
        return NULL;

    case S3_ERR_ACCESS_DENIED:

        /* who it is has been found out; records are another matter */

        lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

        return lcf->upstream.checksums == NGX_HTTP_S3_CHECKSUMS_PASS
               ? NULL
               : "the upstream does not let the credential at the bucket of "
                 "s3_checksums_bucket";

    default:
        return "the upstream refuses the request, the log says why";
    }
}
