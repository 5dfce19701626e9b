
/*
 * The bucket of records, in which a gateway keeps the checksums that have no
 * place in an object's own metadata.  s3_mark.h shows what is in it.
 *
 *     put    a record; the bucket is made when it turns out not to be there
 *     get    a record's mark
 *
 * All of it is signed by the location's own credential: clients whose requests
 * are signed by others share it, and see nothing of it.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_record_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_record_t *rec);
static ngx_int_t ngx_http_s3_record_bucket(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_record_t *rec);
static ngx_int_t ngx_http_s3_record_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_record_resume(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_record_next(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_record_through(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_int_t
ngx_http_s3_record_put(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_record_t *rec)
{
    rec->bucket_asked = 0;

    return ngx_http_s3_record_ask(r, ctx, rec);
}


ngx_http_s3_ask_t *
ngx_http_s3_record_create(ngx_http_request_t *r, const char *method,
    ngx_str_t *key)
{
    ngx_http_s3_ask_t       *ask;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    ask = ngx_http_s3_ask_create(r, method, &lcf->upstream.bucket, key);

    if (ask) {
        ask->service = 1;
    }

    return ask;
}


static ngx_int_t
ngx_http_s3_record_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_record_t *rec)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_record_create(r, "PUT", &rec->key);

    if (ask == NULL
        || ngx_http_s3_ask_body(r, ask, &rec->body) != NGX_OK
        || (rec->mark.len
            && s3_upstream_header(&ask->headers, S3_MARK_HEADER, &rec->mark)
               != NGX_OK))
    {
        return rec->resume ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->data = rec;
    ask->answer = rec->answer ? ngx_http_s3_record_answer : NULL;
    ask->resume = rec->resume ? ngx_http_s3_record_resume : NULL;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_record_bucket(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_record_t *rec)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_record_create(r, "PUT", NULL);

    if (ask == NULL) {
        return rec->resume ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rec->bucket_asked = 1;

    ask->data = rec;
    ask->answer = rec->answer ? ngx_http_s3_record_answer : NULL;
    ask->resume = rec->resume ? ngx_http_s3_record_resume : NULL;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_record_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_int_t              rc;
    ngx_http_s3_record_t  *rec;

    rec = ask->data;

    rc = ngx_http_s3_record_next(r, ctx, ask);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    ask->data = rec->data;

    return rec->answer(r, ctx, ask);
}


static void
ngx_http_s3_record_resume(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_record_t  *rec;

    rec = ask->data;

    if (ngx_http_s3_record_next(r, ctx, ask) == NGX_OK) {
        return;
    }

    ask->data = rec->data;

    rec->resume(r, ctx, ask);
}


/* NGX_DECLINED: that was the answer; else asked again, or an error */

static ngx_int_t
ngx_http_s3_record_next(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_failure_t           fail;
    ngx_http_s3_record_t  *rec;

    rec = ask->data;

    if (ask->key.len == 0) {

        /* the bucket; somebody else may have been first */

        return ask->status == NGX_HTTP_OK || ask->status == NGX_HTTP_CONFLICT
               ? ngx_http_s3_record_ask(r, ctx, rec) : NGX_DECLINED;
    }

    if (ask->status != NGX_HTTP_NOT_FOUND || rec->bucket_asked) {
        return NGX_DECLINED;
    }

    ngx_memzero(&fail, sizeof(s3_failure_t));

    if (s3_upstream_failure(r->pool, ask->out, ask->status, &fail) != NGX_OK
        || fail.error != S3_ERR_NO_SUCH_BUCKET)
    {
        return NGX_DECLINED;
    }

    return ngx_http_s3_record_bucket(r, ctx, rec);
}


ngx_http_s3_ask_t *
ngx_http_s3_record_list(ngx_http_request_t *r, ngx_str_t *prefix,
    ngx_str_t *after, ngx_uint_t max)
{
    ngx_str_t           value;
    ngx_http_s3_ask_t  *ask;

    u_char              number[NGX_INT_T_LEN];

    ask = ngx_http_s3_record_create(r, "GET", NULL);

    if (ask == NULL) {
        return NULL;
    }

    ask->max = NGX_HTTP_S3_ASK_LIST;

    value.data = number;
    value.len = ngx_sprintf(number, "%ui", max) - number;

    ngx_str_set(&ask->query, "list-type=2");

    if (s3_upstream_arg(r->pool, &ask->query, "max-keys", &value) != NGX_OK
        || s3_upstream_arg(r->pool, &ask->query, "prefix", prefix) != NGX_OK
        || (after
            && s3_upstream_arg(r->pool, &ask->query, "start-after", after)
               != NGX_OK))
    {
        return NULL;
    }

    return ask;
}


ngx_int_t
ngx_http_s3_record_listed(ngx_http_s3_ask_t *ask, s3_upstream_row_pt row,
    void *data, ngx_uint_t *truncated)
{
    ngx_int_t           rc;
    s3_upstream_xml_t   x;

    s3_upstream_leaf_t  top[] = { { "IsTruncated", ngx_null_string } };
    s3_upstream_leaf_t  leaves[] = {
        { "Key", ngx_null_string },
        { "LastModified", ngx_null_string }
    };

    *truncated = 0;

    /* no bucket: nothing is in it */

    if (ask->status == NGX_HTTP_NOT_FOUND) {
        return NGX_OK;
    }

    if (ask->status != NGX_HTTP_OK || ask->too_large) {
        return NGX_DECLINED;
    }

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    x.pool = ask->request->pool;
    x.root = "ListBucketResult";
    x.top = top;
    x.ntop = 1;
    x.row = "Contents";
    x.leaves = leaves;
    x.nleaves = 2;
    x.handler = row;
    x.data = data;

    rc = s3_upstream_read(&x, ask->out);

    *truncated = (top[0].value.len == 4
                  && ngx_strncmp(top[0].value.data, "true", 4) == 0);

    return rc;
}


ngx_http_s3_ask_t *
ngx_http_s3_record_find(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *etag, const char *method)
{
    ngx_str_t  key;

    if (s3_mark_record_key(r->pool, &ctx->target.bucket, &ctx->target.key,
                           etag, &key)
        != NGX_OK)
    {
        return NULL;
    }

    return ngx_http_s3_record_create(r, method, &key);
}


ngx_int_t
ngx_http_s3_record_read(ngx_http_s3_ask_t *ask, ngx_str_t *etag,
    s3_checksum_text_t *checksum)
{
    ngx_str_t  *mark;

    if (ask->status != NGX_HTTP_OK) {
        return NGX_DECLINED;
    }

    mark = ngx_http_s3_ask_header(ask, S3_MARK_HEADER);

    return mark && s3_mark_read(mark, etag, checksum) == S3_MARK_HERE
           ? NGX_OK : NGX_DECLINED;
}


/*
 * Of a body on its way through: its entity tag is known before the upstream
 * has it.
 */

ngx_int_t
ngx_http_s3_gateway_write_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    s3_mark_body_t          body;
    ngx_http_s3_record_t   *rec;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    rec = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_record_t));
    if (rec == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&body, sizeof(s3_mark_body_t));

    body.bucket = ctx->target.bucket;
    body.key = ctx->target.key;

    if (s3_mark_record_key(r->pool, &body.bucket, &body.key, &gw->etag,
                           &rec->key)
        != NGX_OK
        || s3_mark_write(r->pool, &gw->etag, &gw->checksum, &rec->mark)
           != NGX_OK
        || s3_mark_body_write(r->pool, &body, &rec->body) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rec->resume = ngx_http_s3_record_through;

    return ngx_http_s3_record_put(r, ctx, rec);
}


static void
ngx_http_s3_record_through(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    if (ask->status != NGX_HTTP_OK) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
    }

    ngx_http_s3_gateway_recorded(r, ctx, ask->status == NGX_HTTP_OK);
}


void
ngx_http_s3_record_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_error_t               e;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    s3_failure(&ctx->fail, &e);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "s3_gateway: no record could be written to the bucket "
                  "\"%V\": %V", &lcf->upstream.bucket, &e.code);

    /* that bucket is none of the client's */

    if (ctx->fail.error != S3_ERR_SERVICE_UNAVAILABLE
        && ctx->fail.error != S3_ERR_SLOW_DOWN)
    {
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }
}
