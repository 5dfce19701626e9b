
/*
 * What is looked at before a request goes on to the upstream.
 *
 *     request      what it says, as the store has it: servers of old take what
 *                  they do not understand for something else
 *     owner        x-amz-expected-bucket-owner: the upstream is asked whose
 *                  bucket it is
 *     condition    If-Match of an object that is deleted or written, and
 *                  If-None-Match of a copy: the upstream is asked which object
 *                  is there (Complete asks when its list is read)
 *
 * Servers that know owners and conditions look at them once more, when the
 * time has come.  With those that do not, two writers at the same moment may
 * both find their condition true.
 */


#include "ngx_http_s3_gateway.h"
#include "s3_metadata.h"


static s3_error_e ngx_http_s3_gateway_request_ok(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static s3_error_e ngx_http_s3_gateway_metadata_ok(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static s3_error_e ngx_http_s3_gateway_read_ok(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_ask_owner(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const char *header, ngx_str_t *bucket,
    ngx_http_s3_asked_pt answer);
static ngx_int_t ngx_http_s3_gateway_owned(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_source_owner(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_source_owned(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_is_owner(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_condition(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_condition_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_int_t
ngx_http_s3_gateway_check(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ngx_http_s3_gateway_request_ok(r, ctx) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ctx->gateway->emulate || ctx->target.bucket.len == 0
        || ctx->operation->id == S3_OP_CREATE_BUCKET)
    {
        rc = ngx_http_s3_gateway_run(r, ctx);

    } else {
        rc = ngx_http_s3_gateway_ask_owner(r, ctx,
                                           "x-amz-expected-bucket-owner",
                                           &ctx->target.bucket,
                                           ngx_http_s3_gateway_owned);

        if (rc == NGX_DECLINED) {
            rc = ngx_http_s3_gateway_source_owner(r, ctx);
        }
    }

    return rc == NGX_DECLINED ? ngx_http_s3_send_error(r, ctx) : rc;
}


/* ---- request */


static s3_error_e
ngx_http_s3_gateway_request_ok(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_arg_t           *arg;
    ngx_uint_t          n;
    s3_header_t        *headers;
    s3_list_parts_t    *parts;

    headers = ctx->headers.elts;
    n = ctx->headers.nelts;

    if (ctx->operation->body == S3_BODY_NONE
        && ngx_http_s3_body_taken_away(r, ctx))
    {
        return s3_fail(&ctx->fail, S3_ERR_X_AMZ_CONTENT_SHA256_MISMATCH,
                       NULL);
    }

    arg = s3_target_arg(&ctx->target, "uploadId");

    if (arg && ctx->operation->level == S3_LEVEL_OBJECT
        && arg->value.len > S3_KEY_MAX)
    {
        /* what no server gives out, and some fail at */

        return s3_fail_upload(&ctx->fail, &arg->value);
    }

    switch (ctx->operation->id) {

    case S3_OP_PUT_OBJECT:

        if (s3_condition_write(headers, n, &ctx->condition, &ctx->fail)
            != S3_OK)
        {
            return ctx->fail.error;
        }

        return ngx_http_s3_gateway_metadata_ok(r, ctx);

    case S3_OP_CREATE_MULTIPART_UPLOAD:
        return ngx_http_s3_gateway_metadata_ok(r, ctx);

    case S3_OP_COMPLETE_MULTIPART_UPLOAD:
        return s3_condition_write(headers, n, &ctx->condition, &ctx->fail);

    case S3_OP_DELETE_OBJECT:
        return ngx_http_s3_delete_condition(ctx);

    case S3_OP_DELETE_OBJECTS:
        return ngx_http_s3_delete_digest(ctx);

    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:
        return ngx_http_s3_gateway_read_ok(r, ctx);

    case S3_OP_LIST_OBJECTS:
    case S3_OP_LIST_OBJECTS_V2:
    case S3_OP_LIST_OBJECT_VERSIONS:
        ctx->data = ngx_http_s3_list_params(r, ctx);
        return ctx->data ? S3_OK : ctx->fail.error;

    case S3_OP_LIST_MULTIPART_UPLOADS:
        return ngx_http_s3_list_uploads_params(r, ctx) ? S3_OK
                                                       : ctx->fail.error;

    case S3_OP_LIST_PARTS:

        parts = ngx_palloc(r->pool, sizeof(s3_list_parts_t));
        if (parts == NULL) {
            return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        return s3_list_parts_parse(r->pool, &ctx->target, parts, &ctx->fail);

    default:
        return S3_OK;
    }
}


static s3_error_e
ngx_http_s3_gateway_metadata_ok(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    return s3_metadata_collect(r->pool, ctx->headers.elts,
                               ctx->headers.nelts, ctx->nreal, &ctx->meta,
                               &ctx->fail);
}


static s3_error_e
ngx_http_s3_gateway_read_ok(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t    number;
    ngx_array_t   headers;
    s3_range_t    range;
    s3_header_t  *h;

    if (ngx_array_init(&headers, r->pool, 6, sizeof(s3_header_t)) != NGX_OK) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (s3_metadata_override(&ctx->target, &headers, &ctx->fail) != S3_OK) {
        return ctx->fail.error;
    }

    h = ngx_http_s3_header_in(ctx, "range");

    if (s3_target_arg(&ctx->target, "partNumber")) {

        if (s3_part_number_parse(&ctx->target, &number, &ctx->fail) != S3_OK)
        {
            return ctx->fail.error;
        }

        if (h) {
            return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                           "Cannot specify both Range header and partNumber "
                           "query parameter");
        }
    }

    /*
     * What is no range, or more than one, is as if it were not there.  Of an
     * object as large as can be all of them are within it.
     */

    if (h && s3_range_parse(&h->value, NGX_MAX_OFF_T_VALUE, &range) == S3_OK
        && !range.partial)
    {
        ctx->gateway->no_range = 1;
    }

    return S3_OK;
}


/* ---- owner */


/* NGX_DECLINED: nobody wants to know */

static ngx_int_t
ngx_http_s3_gateway_ask_owner(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const char *header, ngx_str_t *bucket, ngx_http_s3_asked_pt answer)
{
    s3_header_t        *h;
    ngx_http_s3_ask_t  *ask;

    h = s3_header_find(ctx->headers.elts, ctx->headers.nelts, header,
                       ngx_strlen(header), NULL);

    if (h == NULL) {
        return NGX_DECLINED;
    }

    ask = ngx_http_s3_ask_create(r, "GET", bucket, NULL);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&ask->query, "acl");

    ask->answer = answer;
    ask->data = h;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_owned(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_int_t  rc;

    rc = ngx_http_s3_gateway_is_owner(r, ctx, ask);

    return rc == NGX_OK ? ngx_http_s3_gateway_source_owner(r, ctx) : rc;
}


static ngx_int_t
ngx_http_s3_gateway_source_owner(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t          rc;
    s3_header_t       *h;
    s3_copy_source_t   source;

    h = ngx_http_s3_header_in(ctx, "x-amz-copy-source");

    if (h && s3_copy_source_parse(r->pool, &h->value, &source, NULL) == S3_OK)
    {
        rc = ngx_http_s3_gateway_ask_owner(r, ctx,
                                           "x-amz-source-expected-bucket-"
                                           "owner",
                                           &source.bucket,
                                           ngx_http_s3_gateway_source_owned);
        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_http_s3_gateway_condition(r, ctx);
}


static ngx_int_t
ngx_http_s3_gateway_source_owned(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_int_t  rc;

    rc = ngx_http_s3_gateway_is_owner(r, ctx, ask);

    return rc == NGX_OK ? ngx_http_s3_gateway_condition(r, ctx) : rc;
}


static ngx_int_t
ngx_http_s3_gateway_is_owner(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_uint_t    i;
    s3_owner_t    owner;
    s3_header_t  *h, *expected;

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    if (ngx_http_s3_gateway_owner(r, ask, &owner) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* each that came: a query has them as well */

    expected = ask->data;
    h = ctx->headers.elts;

    for (i = 0; i < ctx->headers.nelts; i++) {

        if (h[i].name.len == expected->name.len
            && ngx_strncasecmp(h[i].name.data, expected->name.data,
                               expected->name.len)
               == 0
            && (h[i].value.len != owner.id.len
                || ngx_memcmp(h[i].value.data, owner.id.data, owner.id.len)
                   != 0))
        {
            (void) s3_fail(&ctx->fail, S3_ERR_ACCESS_DENIED, NULL);
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/* ---- condition */


static ngx_int_t
ngx_http_s3_gateway_condition(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ctx->operation->id == S3_OP_COPY_OBJECT
        && s3_condition_write(ctx->headers.elts, ctx->headers.nelts,
                              &ctx->condition, &ctx->fail)
           != S3_OK)
    {
        return NGX_DECLINED;
    }

    switch (ctx->operation->id) {

    case S3_OP_PUT_OBJECT:

        /* known to all servers, but as an error of its own */

        if (ctx->condition.type == S3_CONDITION_ABSENT) {
            return ngx_http_s3_gateway_run(r, ctx);
        }

        break;

    case S3_OP_COMPLETE_MULTIPART_UPLOAD:
        return ngx_http_s3_gateway_run(r, ctx);

    default:
        break;
    }

    if (ctx->condition.type == S3_CONDITION_NONE) {
        return ngx_http_s3_gateway_run(r, ctx);
    }

    return ngx_http_s3_gateway_find(r, ctx,
                                    ngx_http_s3_gateway_condition_found);
}


ngx_int_t
ngx_http_s3_gateway_find(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_asked_pt found)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_ask_create(r, "HEAD", &ctx->target.bucket,
                                 &ctx->target.key);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->answer = found;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_condition_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_int_t  rc;

    rc = ngx_http_s3_gateway_holds(r, ctx, ask);

    return rc == NGX_OK ? ngx_http_s3_gateway_run(r, ctx) : rc;
}


ngx_int_t
ngx_http_s3_gateway_holds(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t  *etag, there;

    if (ask->status == NGX_HTTP_NOT_FOUND) {

        if (ctx->condition.type == S3_CONDITION_ABSENT) {
            return NGX_OK;
        }

        (void) s3_fail(&ctx->fail, S3_ERR_NO_SUCH_KEY, NULL);
        return NGX_DECLINED;
    }

    etag = ngx_http_s3_ask_header(ask, "etag");

    if (ask->status != NGX_HTTP_OK || etag == NULL) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    there = *etag;
    s3_upstream_unquote(&there);

    if (ctx->condition.type == S3_CONDITION_EXISTS
        || (ctx->condition.type == S3_CONDITION_ETAG
            && there.len == ctx->condition.etag.len
            && ngx_memcmp(there.data, ctx->condition.etag.data, there.len)
               == 0))
    {
        return NGX_OK;
    }

    (void) s3_fail(&ctx->fail, S3_ERR_PRECONDITION_FAILED, NULL);

    return NGX_DECLINED;
}
