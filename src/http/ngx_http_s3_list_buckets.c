
/*
 * ListBuckets: the store is asked for pages of names until enough of them
 * have the prefix.
 */


#include "ngx_http_s3.h"
#include "s3_bucket.h"


#define NGX_HTTP_S3_BUCKETS_PAGE  1000


typedef struct {
    s3_list_buckets_t             params;
    ngx_str_t                     after;
    ngx_array_t                   buckets;    /* s3_list_bucket_t */
} ngx_http_s3_buckets_t;


static ngx_int_t ngx_http_s3_buckets_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_buckets_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_buckets_take(ngx_http_request_t *r,
    ngx_http_s3_buckets_t *b, s3_call_t *call);
static ngx_int_t ngx_http_s3_buckets_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


ngx_int_t
ngx_http_s3_list_buckets(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char                  *p;
    ngx_str_t               *prefix, before;
    ngx_http_s3_buckets_t   *b;
    ngx_http_s3_loc_conf_t  *lcf;

    b = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_buckets_t));

    if (b == NULL
        || ngx_array_init(&b->buckets, r->pool, 16, sizeof(s3_list_bucket_t))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = b;

    if (s3_list_buckets_parse(r->pool, &ctx->target, &b->params, &ctx->fail)
        != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    b->after = b->params.after;
    prefix = &b->params.prefix;

    if (prefix->len > S3_BUCKET_MAX || b->after.len > S3_BUCKET_MAX) {
        return ngx_http_s3_refuse(r, ctx, S3_ERR_INVALID_ARGUMENT, NULL);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (b->params.bucket_region.len
        && (b->params.bucket_region.len != lcf->region.len
            || ngx_memcmp(b->params.bucket_region.data, lcf->region.data,
                          lcf->region.len)
               != 0))
    {
        /* all buckets are in the one region */

        return ngx_http_s3_buckets_answer(r, ctx);
    }

    if (prefix->len && prefix->data[prefix->len - 1] > 0) {

        /*
         * Just before all names with the prefix: names hold nothing above
         * "z", so that no name is between "photor~" and "photos".
         */

        before.len = prefix->len + 1;
        before.data = ngx_pnalloc(r->pool, before.len);
        if (before.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        p = ngx_cpymem(before.data, prefix->data, prefix->len);
        p[-1]--;
        *p = '~';

        if (ngx_memn2cmp(b->after.data, before.data, b->after.len, before.len)
            < 0)
        {
            b->after = before;
        }
    }

    return ngx_http_s3_buckets_ask(r, ctx);
}


static ngx_int_t
ngx_http_s3_buckets_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                     status;
    s3_client_t            *client;
    ngx_http_s3_buckets_t  *b;

    b = ctx->data;

    client = ngx_http_s3_client(r);
    status = s3_client_state(client);

    if (status != S3_STORE_UNAVAILABLE) {
        status = s3_client_buckets(client,
                                   ngx_http_s3_call(ctx,
                                                   ngx_http_s3_buckets_found),
                                   ngx_http_s3_slice(b->after),
                                   NGX_HTTP_S3_BUCKETS_PAGE);
    }

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_buckets_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    switch (ngx_http_s3_buckets_take(r, ctx->data, &ctx->call)) {

    case NGX_OK:
        return ngx_http_s3_buckets_answer(r, ctx);

    case NGX_AGAIN:
        return ngx_http_s3_buckets_ask(r, ctx);

    default: /* NGX_ERROR */
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


/* NGX_OK: that is all, NGX_AGAIN: there may be more, NGX_ERROR */

static ngx_int_t
ngx_http_s3_buckets_take(ngx_http_request_t *r, ngx_http_s3_buckets_t *b,
    s3_call_t *call)
{
    ngx_str_t          name, *prefix;
    ngx_uint_t         i;
    s3_list_bucket_t  *bucket;

    prefix = &b->params.prefix;

    for (i = 0; i < call->nbuckets; i++) {

        name.data = (u_char *) call->buckets[i].name.data;
        name.len = call->buckets[i].name.len;

        if (name.len < prefix->len
            || (prefix->len
                && ngx_memcmp(name.data, prefix->data, prefix->len) != 0))
        {
            if (ngx_memn2cmp(name.data, prefix->data, name.len, prefix->len)
                > 0)
            {
                /* behind the last one with the prefix */
                return NGX_OK;
            }

            continue;
        }

        bucket = ngx_array_push(&b->buckets);
        if (bucket == NULL) {
            return NGX_ERROR;
        }

        bucket->name.len = name.len;
        bucket->name.data = ngx_pstrdup(r->pool, &name);
        bucket->created = call->buckets[i].created;

        if (bucket->name.data == NULL) {
            return NGX_ERROR;
        }

        if (b->buckets.nelts > b->params.max_buckets) {
            return NGX_OK;
        }
    }

    if (i < NGX_HTTP_S3_BUCKETS_PAGE) {
        return NGX_OK;
    }

    b->after.len = call->buckets[i - 1].name.len;
    b->after.data = ngx_pnalloc(r->pool, b->after.len);

    if (b->after.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(b->after.data, call->buckets[i - 1].name.data, b->after.len);

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_s3_buckets_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    size_t                   size;
    ngx_uint_t               n, truncated;
    s3_owner_t               owner;
    ngx_chain_t             *out;
    ngx_http_s3_buckets_t   *b;
    ngx_http_s3_loc_conf_t  *lcf;

    b = ctx->data;

    if (s3_owner(&owner, &ctx->auth.access_key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    n = b->buckets.nelts;
    truncated = 0;

    if (n > b->params.max_buckets) {
        n = b->params.max_buckets;
        truncated = 1;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    out = s3_list_buckets_write(r->pool, &b->params, &owner, b->buckets.elts,
                                n, truncated, &lcf->region, &size);

    return ngx_http_s3_send_list(r, ctx, out, size);
}
