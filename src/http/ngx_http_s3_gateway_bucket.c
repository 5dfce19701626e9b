
/*
 * Buckets through a gateway.
 *
 *     ListBuckets         those of the upstream but the one of records, in
 *                         pages, which old servers do not have
 *     CreateBucket        our region's name is the upstream's there
 *     GetBucketLocation   our region: the one that clients sign for
 */


#include "ngx_http_s3_gateway.h"
#include "s3_bucket.h"


/* ten thousand names, and what comes with each */
#define NGX_HTTP_S3_GATEWAY_BUCKETS  (4 * 1024 * 1024)


typedef struct {
    s3_list_buckets_t             params;
    ngx_str_t                    *hidden;
    ngx_array_t                   buckets;    /* s3_list_bucket_t */
} ngx_http_s3_gateway_buckets_t;


static ngx_int_t ngx_http_s3_gateway_buckets_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *token);
static ngx_int_t ngx_http_s3_gateway_buckets_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_buckets_row(void *data,
    s3_upstream_leaf_t *leaves);
static int ngx_libc_cdecl ngx_http_s3_gateway_buckets_cmp(const void *one,
    const void *two);
static ngx_int_t ngx_http_s3_gateway_buckets_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_bucket_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_bucket_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t own);
static ngx_int_t ngx_http_s3_gateway_bucket_created(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_located(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


/* ---- ListBuckets */


ngx_int_t
ngx_http_s3_gateway_list_buckets(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_list_buckets_t              *params;
    ngx_http_s3_loc_conf_t         *lcf;
    ngx_http_s3_gateway_buckets_t  *b;

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_pass(r, ctx);
    }

    b = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_gateway_buckets_t));

    if (b == NULL
        || ngx_array_init(&b->buckets, r->pool, 16, sizeof(s3_list_bucket_t))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = b;
    params = &b->params;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);
    b->hidden = &lcf->upstream.bucket;

    if (s3_list_buckets_parse(r->pool, &ctx->target, params, &ctx->fail)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_buckets_ask(r, ctx, NULL);
}


static ngx_int_t
ngx_http_s3_gateway_buckets_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *token)
{
    ngx_str_t           none;
    ngx_http_s3_ask_t  *ask;

    ngx_str_null(&none);

    ask = ngx_http_s3_ask_create(r, "GET", &none, NULL);

    if (ask == NULL
        || (token && s3_upstream_arg(r->pool, &ask->query,
                                     "continuation-token", token)
                     != NGX_OK))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->max = NGX_HTTP_S3_GATEWAY_BUCKETS;
    ask->answer = ngx_http_s3_gateway_buckets_found;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_buckets_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    s3_upstream_xml_t               x;
    ngx_http_s3_gateway_buckets_t  *b;

    s3_upstream_leaf_t              top[] = {
        { "ContinuationToken", ngx_null_string }
    };

    s3_upstream_leaf_t              leaves[] = {
        { "Name", ngx_null_string },
        { "CreationDate", ngx_null_string }
    };

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    b = ctx->data;

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    x.pool = r->pool;
    x.root = "ListAllMyBucketsResult";
    x.top = top;
    x.ntop = sizeof(top) / sizeof(top[0]);
    x.row = "Bucket";
    x.leaves = leaves;
    x.nleaves = sizeof(leaves) / sizeof(leaves[0]);
    x.handler = ngx_http_s3_gateway_buckets_row;
    x.data = b;

    if (ask->too_large || s3_upstream_read(&x, ask->out) != NGX_OK) {
        return ngx_http_s3_gateway_strange(r, ctx);
    }

    /* one page more than is asked for is enough */

    if (top[0].value.len && b->buckets.nelts <= b->params.max_buckets
        && ++ctx->attempts < S3_LIST_BUCKETS_MAX)
    {
        return ngx_http_s3_gateway_buckets_ask(r, ctx, &top[0].value);
    }

    return ngx_http_s3_gateway_buckets_answer(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_buckets_row(void *data, s3_upstream_leaf_t *leaves)
{
    ngx_str_t                      *name, *prefix, *after;
    s3_list_bucket_t               *bucket;
    ngx_http_s3_gateway_buckets_t  *b = data;

    name = &leaves[0].value;
    prefix = &b->params.prefix;
    after = &b->params.after;

    if ((name->len == b->hidden->len
         && ngx_memcmp(name->data, b->hidden->data, name->len) == 0)
        || name->len < prefix->len
        || (prefix->len
            && ngx_memcmp(name->data, prefix->data, prefix->len) != 0)
        || ngx_memn2cmp(name->data, after->data, name->len, after->len) <= 0)
    {
        return NGX_OK;
    }

    bucket = ngx_array_push(&b->buckets);
    if (bucket == NULL) {
        return NGX_ERROR;
    }

    bucket->name = *name;
    bucket->created = s3_upstream_time(&leaves[1].value);

    return NGX_OK;
}


static int ngx_libc_cdecl
ngx_http_s3_gateway_buckets_cmp(const void *one, const void *two)
{
    const s3_list_bucket_t  *a = one, *b = two;

    return (int) ngx_memn2cmp(a->name.data, b->name.data, a->name.len,
                              b->name.len);
}


static ngx_int_t
ngx_http_s3_gateway_buckets_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    size_t                          size;
    ngx_uint_t                      n, truncated;
    s3_owner_t                      owner;
    ngx_chain_t                    *out;
    s3_list_buckets_t              *params;
    ngx_http_s3_loc_conf_t         *lcf;
    ngx_http_s3_gateway_buckets_t  *b;

    b = ctx->data;
    params = &b->params;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_http_s3_gateway_owner(r, ask, &owner) != NGX_OK
        || ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    n = b->buckets.nelts;
    truncated = 0;

    ngx_qsort(b->buckets.elts, n, sizeof(s3_list_bucket_t),
              ngx_http_s3_gateway_buckets_cmp);

    if (params->bucket_region.len
        && (params->bucket_region.len != lcf->region.len
            || ngx_memcmp(params->bucket_region.data, lcf->region.data,
                          lcf->region.len)
               != 0))
    {
        /* all buckets are in the one region */

        n = 0;
    }

    if (n > params->max_buckets) {
        n = params->max_buckets;
        truncated = 1;
    }

    out = s3_list_buckets_write(r->pool, params, &owner, b->buckets.elts, n,
                                truncated, &lcf->region, &size);

    return ngx_http_s3_send_list(r, ctx, out, size);
}


/* ---- CreateBucket */


ngx_int_t
ngx_http_s3_gateway_create_bucket(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return ngx_http_s3_read_document(r, ctx, NGX_HTTP_S3_MAX_XML,
                                         ngx_http_s3_gateway_bucket_read);
    }

    if (ngx_http_s3_body_taken_away(r, ctx)) {
        (void) s3_fail(&ctx->fail, S3_ERR_X_AMZ_CONTENT_SHA256_MISMATCH,
                       NULL);
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_bucket_ask(r, ctx, 1);
}


static ngx_int_t
ngx_http_s3_gateway_bucket_read(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_error_e               e;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    e = s3_bucket_configuration_read(r->pool, ctx->document, &lcf->region,
                                     &ctx->fail);

    /* another region, or a placement of Ceph's, is for the upstream to judge;
     * so is what it knows, and the store does not */

    if (e == S3_ERR_ILLEGAL_LOCATION_CONSTRAINT
        || e == S3_ERR_NOT_IMPLEMENTED)
    {
        ngx_memzero(&ctx->fail, sizeof(s3_failure_t));

        return ngx_http_s3_gateway_bucket_ask(r, ctx, 0);
    }

    return e == S3_OK ? ngx_http_s3_gateway_bucket_ask(r, ctx, 1)
                      : NGX_DECLINED;
}


/* own: the region is ours, which the upstream has another name for, or none */

static ngx_int_t
ngx_http_s3_gateway_bucket_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t own)
{
    s3_xml_t                 x;
    ngx_str_t               *region;
    ngx_http_s3_ask_t       *ask;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);
    region = &lcf->upstream.region;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "PUT");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_s3_ask_drop(ask, "content-md5");
    ngx_http_s3_ask_drop(ask, "x-amz-checksum-*");
    ngx_http_s3_ask_drop(ask, "x-amz-sdk-checksum-algorithm");

    if (!own) {
        ask->body = ctx->document;
        ask->body_size = ngx_http_s3_gateway_size(ctx->document);

    } else if (region->len != sizeof("us-east-1") - 1
               || ngx_memcmp(region->data, "us-east-1", region->len) != 0)
    {
        s3_xml_begin(&x, r->pool);
        s3_xml_open_ns(&x, "CreateBucketConfiguration");
        s3_xml_text(&x, "LocationConstraint", region);
        s3_xml_close(&x, "CreateBucketConfiguration");

        ask->body = s3_xml_end(&x);
        ask->body_size = x.size;

        if (ask->body == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ask->answer = ngx_http_s3_gateway_bucket_created;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_bucket_created(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK
        || ngx_http_s3_add_bucket_location(r, ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_OK);
}


/* ---- GetBucketLocation */


ngx_int_t
ngx_http_s3_gateway_get_location(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "GET");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->answer = ngx_http_s3_gateway_located;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_located(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    size_t                   size;
    ngx_chain_t             *out;
    ngx_http_s3_loc_conf_t  *lcf;

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK
        || ngx_http_s3_gateway_region(r) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out = s3_bucket_location_write(r->pool, &lcf->region, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}
