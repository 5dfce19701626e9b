
/* $s3_operation, $s3_bucket, ...: for log formats, maps, a gateway's proxy */


#include "ngx_http_s3_gateway.h"


typedef enum {
    NGX_HTTP_S3_VAR_OPERATION = 0,
    NGX_HTTP_S3_VAR_BUCKET,
    NGX_HTTP_S3_VAR_KEY,
    NGX_HTTP_S3_VAR_ACCESS_KEY,
    NGX_HTTP_S3_VAR_ERROR_CODE,
    NGX_HTTP_S3_VAR_REQUEST_ID
} ngx_http_s3_var_e;


static ngx_int_t ngx_http_s3_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_s3_vars[] = {

    { ngx_string("s3_operation"), NULL, ngx_http_s3_variable,
      NGX_HTTP_S3_VAR_OPERATION, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_bucket"), NULL, ngx_http_s3_variable,
      NGX_HTTP_S3_VAR_BUCKET, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_key"), NULL, ngx_http_s3_variable,
      NGX_HTTP_S3_VAR_KEY, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_access_key"), NULL, ngx_http_s3_variable,
      NGX_HTTP_S3_VAR_ACCESS_KEY, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_error_code"), NULL, ngx_http_s3_variable,
      NGX_HTTP_S3_VAR_ERROR_CODE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_request_id"), NULL, ngx_http_s3_variable,
      NGX_HTTP_S3_VAR_REQUEST_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    /* what a gateway's proxy is to send: ngx_http_s3_gateway_sign.c */

    { ngx_string("s3_upstream_host"), NULL, ngx_http_s3_upstream_host, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_amz_date"), NULL, ngx_http_s3_amz_date, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_content_sha256"), NULL, ngx_http_s3_content_sha256, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_authorization"), NULL, ngx_http_s3_authorization, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("s3_cache_key"), NULL, ngx_http_s3_cache_key, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_s3_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_s3_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t           value;
    s3_error_t          error;
    ngx_http_s3_ctx_t  *ctx;

    ngx_str_null(&value);

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_s3_module);

    if (ctx) {

        switch (data) {

        case NGX_HTTP_S3_VAR_OPERATION:
            if (ctx->operation) {
                value = ctx->operation->name;
            }

            break;

        case NGX_HTTP_S3_VAR_BUCKET:
            value = ctx->target.bucket;
            break;

        case NGX_HTTP_S3_VAR_KEY:
            value = ctx->target.key;
            break;

        case NGX_HTTP_S3_VAR_ACCESS_KEY:

            /* proven ones alone: anybody can claim to be somebody */

            if (ctx->authorized) {
                value = ctx->auth.access_key;
            }

            break;

        case NGX_HTTP_S3_VAR_ERROR_CODE:
            if (ctx->fail.error != S3_OK) {
                s3_failure(&ctx->fail, &error);
                value = error.code;
            }

            break;

        case NGX_HTTP_S3_VAR_REQUEST_ID:
            value = ctx->request_id;
            break;
        }
    }

    if (value.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = value.len;
    v->data = value.data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
