
/*
 * PutObject, and what UploadPart has of it: a body becomes an upload.
 *
 *     content handler    all that headers say is checked
 *     upload_body        READY: the body is read into it, WRITABLE: read on
 *     body read          finish; FINISHED: on enough disks, digests are done
 *     verdict            the body is what its checksums and signature say
 *     commit             one row; then 200
 *
 * Until the commit is decided nothing of it can be seen, and whatever ends
 * the request before aborts the upload.
 */


#include "ngx_http_s3.h"
#include "s3_metadata.h"


static void ngx_http_s3_upload_event(s3_upload_t *upload, void *data,
    s3_upload_event_e event, int status);
static int64_t ngx_http_s3_upload_slow(void *data);
static void ngx_http_s3_upload_digest(void *ctx, const void *p, size_t len);
static void ngx_http_s3_upload_digest_free(void *ctx);
static size_t ngx_http_s3_upload_sink(ngx_http_s3_ctx_t *ctx, const u_char *p,
    size_t len);
static void ngx_http_s3_upload_received(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_upload_copy(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_upload_verdict(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_put_commit(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_put_committed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_put_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (s3_condition_write(ctx->headers.elts, ctx->headers.nelts,
                           &ctx->condition, &ctx->fail)
        != S3_OK
        || s3_metadata_collect(r->pool, ctx->headers.elts,
                               ctx->headers.nelts, ctx->nreal, &ctx->meta,
                               &ctx->fail)
           != S3_OK
        || ngx_http_s3_payload_create(r, ctx, NGX_HTTP_S3_MAX_PUT) != S3_OK)
    {
        ngx_http_s3_release(ctx);
        return ngx_http_s3_send_error(r, ctx);
    }

    rc = ngx_http_s3_upload_body(r, ctx, 0, ngx_http_s3_put_commit);

    if (rc == NGX_OK) {
        r->main->count++;
        return NGX_DONE;
    }

    ngx_http_s3_release(ctx);

    return rc == NGX_DECLINED ? ngx_http_s3_send_error(r, ctx)
                              : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


ngx_int_t
ngx_http_s3_upload_body(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t part, ngx_http_s3_next_pt uploaded)
{
    s3_digest_t                digest;
    s3_client_t               *client;
    ngx_http_core_loc_conf_t  *clcf;

    if (!ngx_http_s3_writable(r, ctx)) {
        return NGX_DECLINED;
    }

    client = ngx_http_s3_client(r);

    ctx->uploaded = uploaded;

    digest.update = ngx_http_s3_upload_digest;
    digest.free = ngx_http_s3_upload_digest_free;
    digest.ctx = ctx->payload;

    ctx->payload->refs++;

    ctx->upload = s3_upload_create(client, ctx->payload->body.length, part,
                                   &digest, ngx_http_s3_upload_event, ctx);

    if (ctx->upload == NULL) {
        ctx->payload->refs--;
        return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
    }

    if (ctx->copy == NULL) {
        s3_upload_slow(ctx->upload, ngx_http_s3_upload_slow);
    }

    /*
     * Memory is waited for as long as a slow client would be: to read its
     * body later is as good as 503, and cheaper for both.
     */

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return ngx_http_s3_wait(r, ctx, clcf->client_body_timeout);
}


static void
ngx_http_s3_upload_event(s3_upload_t *upload, void *data,
    s3_upload_event_e event, int status)
{
    ngx_connection_t    *c;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    ctx = data;

    if (event == S3_UPLOAD_WRITABLE && ctx->run_len == 0) {

        /* nothing waits for it; a timer waits for something else */

        return;
    }

    if (!ngx_http_s3_go_on(ctx)) {
        return;
    }

    r = ctx->request;
    c = r->connection;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "s3 upload event %d status %d", (int) event, status);

    switch (event) {

    case S3_UPLOAD_READY:

        if (ctx->copy) {
            ngx_http_s3_upload_copy(r, ctx);
            break;
        }

        ngx_http_s3_receive(r, ctx, ngx_http_s3_upload_sink,
                            ngx_http_s3_upload_received);
        break;

    case S3_UPLOAD_WRITABLE:

        if (ctx->copy) {
            ngx_http_s3_upload_copy(r, ctx);
            break;
        }

        ngx_http_s3_receive_run(r, ctx);
        break;

    case S3_UPLOAD_FINISHED:
        ngx_http_s3_upload_verdict(r, ctx);
        break;

    default: /* S3_UPLOAD_FAILED */
        (void) ngx_http_s3_store_error(ctx, status);
        ngx_http_s3_end_failed(r, ctx);
        break;
    }

    ngx_http_run_posted_requests(c);
}


static int64_t
ngx_http_s3_upload_slow(void *data)
{
    return ngx_http_s3_pace_slow(data);
}


/* on a compute thread, or on the event loop; one call at a time */

static void
ngx_http_s3_upload_digest(void *ctx, const void *p, size_t len)
{
    ngx_http_s3_payload_t  *payload = ctx;

    s3_body_update(&payload->body, p, len);
}


static void
ngx_http_s3_upload_digest_free(void *ctx)
{
    ngx_http_s3_payload_release(ctx);
}


static size_t
ngx_http_s3_upload_sink(ngx_http_s3_ctx_t *ctx, const u_char *p, size_t len)
{
    return s3_upload_write(ctx->upload, p, len);
}


static void
ngx_http_s3_upload_received(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ngx_http_s3_upload_end(r, ctx) != NGX_OK) {
        ngx_http_s3_end_failed(r, ctx);
    }
}


static void
ngx_http_s3_upload_copy(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ngx_http_s3_copy_run(r, ctx) != NGX_OK) {
        ngx_http_s3_end_failed(r, ctx);
    }
}


ngx_int_t
ngx_http_s3_upload_end(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                      status;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    status = s3_upload_finish(ctx->upload);

    if (status != S3_STORE_OK
        || ngx_http_s3_wait(r, ctx, lcf->timeout) != NGX_OK)
    {
        return ngx_http_s3_failed(ctx, status);
    }

    return NGX_OK;
}


static void
ngx_http_s3_upload_verdict(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_body_t  *body;

    body = &ctx->payload->body;

    if (s3_body_finish(body) != S3_BODY_OK) {
        (void) ngx_http_s3_body_error(ctx, body);
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    ctx->uploaded(r, ctx);
}


void
ngx_http_s3_commit_condition(ngx_http_s3_ctx_t *ctx, s3_commit_t *commit,
    u_char if_match[20])
{
    switch (ctx->condition.type) {

    case S3_CONDITION_ABSENT:
        commit->conditions = S3_IF_NONE_MATCH_ANY;
        break;

    case S3_CONDITION_EXISTS:
        commit->conditions = S3_IF_MATCH_ANY;
        break;

    case S3_CONDITION_ETAG:
        commit->conditions = S3_IF_MATCH;
        commit->if_match = ngx_http_s3_etag_parse(&ctx->condition.etag,
                                                  if_match);
        break;

    default:
        break;
    }
}


void
ngx_http_s3_upload_commit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_commit_t *commit, ngx_http_s3_answer_pt answer)
{
    int                      status;
    u_char                   if_match[20];
    s3_call_t               *call;
    ngx_http_s3_loc_conf_t  *lcf;

    ngx_http_s3_commit_condition(ctx, commit, if_match);

    commit->bucket = ngx_http_s3_slice(ctx->target.bucket);
    commit->key = ngx_http_s3_slice(ctx->target.key);
    commit->etag.data = ctx->payload->body.md5;
    commit->etag.len = S3_BODY_MD5_LEN;

    call = ngx_http_s3_call(ctx, answer);

    status = s3_upload_commit(ctx->upload, call, commit);

    if (status != S3_STORE_OK) {
        (void) ngx_http_s3_store_error(ctx, status);
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    /* the upload is the call's now */

    ctx->upload = NULL;
    ctx->calling = 1;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    (void) ngx_http_s3_wait(r, ctx, lcf->timeout);
}


static void
ngx_http_s3_put_commit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char        checksum[NGX_HTTP_S3_CHECKSUM_LEN];
    s3_body_t    *body;
    s3_commit_t   commit;

    body = &ctx->payload->body;

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_PUT;
    commit.meta = ngx_http_s3_slice(ctx->meta);
    commit.checksum = ngx_http_s3_checksum_row(body->checksum, body->digest,
                                               checksum);

    ngx_http_s3_upload_commit(r, ctx, &commit, ngx_http_s3_put_committed);
}


static ngx_int_t
ngx_http_s3_put_committed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    u_char      checksum[NGX_HTTP_S3_CHECKSUM_LEN];
    ngx_str_t   etag;
    s3_body_t  *body;
    s3_slice_t  md5;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    body = &ctx->payload->body;

    md5.data = body->md5;
    md5.len = S3_BODY_MD5_LEN;

    etag = ngx_http_s3_etag_text(r->pool, md5);

    if (etag.len == 0
        || ngx_http_s3_add_etag(r, &etag) != NGX_OK
        || ngx_http_s3_add_checksum(r,
                                    ngx_http_s3_checksum_row(body->checksum,
                                                   body->digest, checksum))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_OK);
}
