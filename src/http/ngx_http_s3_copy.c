
/*
 * What CopyObject and UploadPartCopy have in common: a source that is looked
 * up, and its bytes as an upload.
 *
 *     x-amz-copy-source    ngx_http_s3_copy_source(): whose name is it
 *     look up              ngx_http_s3_copy_find(): it is there, and
 *                          x-amz-copy-source-if-* hold
 *     bytes                ngx_http_s3_copy_stream():
 *
 *         s3_download --> pieces --> s3_upload --> digests, shards
 *                  one at a time     of the new algorithm
 *
 * In memory are two stripes of the upload and those of a download.  Who holds
 * the one and waits for the other could wait for another copy that does the
 * same; so only that many copies run at a time in a worker that all of them
 * have room within half of its memory.  The others wait for their turn, and
 * look the source up anew when it comes.
 */


#include "ngx_http_s3.h"


/* both sides, two stripes of parity as large as the data each */
#define NGX_HTTP_S3_COPY_MEMORY  (8 * 1024 * 1024)


static ngx_int_t ngx_http_s3_copy_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_uint_t ngx_http_s3_copy_begin(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static s3_error_e ngx_http_s3_copy_payload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, uint64_t length, s3_checksum_e checksum,
    s3_checksum_e also);
static ngx_int_t ngx_http_s3_copy_take(ngx_http_s3_ctx_t *ctx,
    const u_char *p, size_t len);
static void ngx_http_s3_copy_piece(s3_download_t *download, void *data,
    s3_download_event_e event, int status, const uint8_t *p, size_t len);
static void ngx_http_s3_copy_watch(ngx_http_request_t *r);
static void ngx_http_s3_copy_cancel(ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_copy_turn(ngx_event_t *ev);


/* of this worker: copies whose turn it is, and those that wait for it */
static ngx_uint_t   ngx_http_s3_copies;
static ngx_queue_t  ngx_http_s3_copies_waiting;


s3_error_e
ngx_http_s3_copy_source(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t           i, n;
    s3_header_t         *h;
    ngx_http_s3_copy_t  *copy;

    copy = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_copy_t));
    if (copy == NULL) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ctx->copy = copy;

    h = s3_header_find(ctx->headers.elts, ctx->headers.nelts,
                       "x-amz-copy-source", sizeof("x-amz-copy-source") - 1,
                       &n);

    if (h == NULL || n > 1) {
        return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                       "Expecting a single x-amz-copy-source header.");
    }

    if (s3_copy_source_parse(r->pool, &h->value, &copy->source, &ctx->fail)
        != S3_OK
        || (ctx->gateway == NULL
            && s3_copy_source_unversioned(&copy->source, &ctx->fail)
               != S3_OK))
    {
        return ctx->fail.error;
    }

    /* of a body, which a copy has not; nobody sends them to be ignored */

    h = ctx->headers.elts;

    for (i = 0; i < ctx->nreal; i++) {

        if (s3_checksum_by_header((char *) h[i].name.data, h[i].name.len)
            != S3_CHECKSUM_NONE)
        {
            (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED, NULL);
            s3_fail_element(&ctx->fail, "Header", &h[i].name);
            return S3_ERR_NOT_IMPLEMENTED;
        }
    }

    return S3_OK;
}


ngx_int_t
ngx_http_s3_copy_find(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_answer_pt found)
{
    int                  status;
    ngx_http_s3_copy_t  *copy;

    copy = ctx->copy;
    copy->found = found;

    status = s3_client_lookup(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx, ngx_http_s3_copy_found),
                              ngx_http_s3_slice(copy->source.bucket),
                              ngx_http_s3_slice(copy->source.key));

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_copy_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_str_t            etag;
    s3_object_t         *object;
    ngx_http_s3_copy_t  *copy;

    copy = ctx->copy;

    if (status != S3_STORE_OK) {
        (void) ngx_http_s3_store_error(ctx, status);

        /* not the target's */

        if (status == S3_STORE_NO_SUCH_KEY) {
            s3_fail_element(&ctx->fail, "Key", &copy->source.key);
        }

        if (status == S3_STORE_NO_SUCH_KEY
            || status == S3_STORE_NO_SUCH_BUCKET)
        {
            s3_fail_element(&ctx->fail, "BucketName", &copy->source.bucket);
        }

        return NGX_DECLINED;
    }

    object = &ctx->call.object;

    etag = ngx_http_s3_etag_text(r->pool, object->etag);

    if (etag.len == 0) {
        return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
    }

    if (s3_condition_copy(ctx->headers.elts, ctx->headers.nelts, &etag,
                          object->mtime / 1000, ngx_time(), &ctx->fail)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    return copy->found(r, ctx, status);
}


ngx_int_t
ngx_http_s3_copy_stream(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    uint64_t offset, uint64_t length, s3_checksum_e checksum,
    s3_checksum_e also, ngx_uint_t part, ngx_http_s3_next_pt uploaded)
{
    ngx_int_t            rc;
    s3_object_t         *object;
    ngx_http_s3_copy_t  *copy;

    copy = ctx->copy;
    object = &ctx->call.object;

    ngx_http_s3_copy_watch(r);

    if (!copy->turn && !ngx_http_s3_copy_begin(r, ctx)) {
        r->main->count++;
        return NGX_DONE;
    }

    if (ngx_http_s3_copy_payload(r, ctx, length, checksum, also) != S3_OK) {
        return NGX_DECLINED;
    }

    ctx->rest = length;

    if (object->is_inline) {

        /* the row is the call's */

        if (offset + length > object->data.len) {
            return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
        }

        copy->data = ngx_pnalloc(r->pool, (size_t) length + 1);
        if (copy->data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_memcpy(copy->data, object->data.data + offset, (size_t) length);

        rc = ngx_http_s3_copy_take(ctx, copy->data, (size_t) length);
        if (rc != NGX_OK) {
            return rc;
        }

    } else if (length) {

        /* at once: what we have read of the row is pinned until we return */

        copy->download = s3_download_create(ngx_http_s3_client(r), object,
                                            offset, length,
                                            ngx_http_s3_copy_piece, ctx);
        if (copy->download == NULL) {
            return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
        }
    }

    rc = ngx_http_s3_upload_body(r, ctx, part, uploaded);

    if (rc == NGX_OK) {
        r->main->count++;
        return NGX_DONE;
    }

    return rc == NGX_DECLINED ? rc : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* 1: it is our turn; 0: we wait.  ngx_http_s3_release() undoes both */

static ngx_uint_t
ngx_http_s3_copy_begin(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t                 max;
    ngx_http_s3_copy_t        *copy;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_s3_main_conf_t   *mcf;

    copy = ctx->copy;
    ctx->cancel = ngx_http_s3_copy_cancel;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_s3_module);

    max = mcf->memory / 2 / NGX_HTTP_S3_COPY_MEMORY;

    if (ngx_http_s3_copies < ngx_max(max, 1)) {
        ngx_http_s3_copies++;
        copy->turn = 1;
        return 1;
    }

    copy->event.handler = ngx_http_s3_copy_turn;
    copy->event.data = ctx;
    copy->event.log = r->connection->log;

    if (ngx_http_s3_copies_waiting.next == NULL) {
        ngx_queue_init(&ngx_http_s3_copies_waiting);
    }

    ngx_queue_insert_tail(&ngx_http_s3_copies_waiting, &copy->queue);
    copy->waiting = 1;

    ngx_log_debug0(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "s3 copy waits for its turn");

    /* as long as the memory for a body is waited for */

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    (void) ngx_http_s3_wait(r, ctx, clcf->client_body_timeout);

    return 0;
}


/*
 * 5 GiB take a while: a copy whose client has gone ends, and others have its
 * turn.  Its end may have come together with the request, and has no event of
 * its own then.
 */

static void
ngx_http_s3_copy_watch(ngx_http_request_t *r)
{
    ngx_event_t  *rev;

    r->read_event_handler = ngx_http_test_reading;

    rev = r->connection->read;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
    }
}


static void
ngx_http_s3_copy_turn(ngx_event_t *ev)
{
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    ctx = ev->data;

    if (!ngx_http_s3_go_on(ctx)) {
        return;
    }

    r = ctx->request;

    ngx_http_s3_result(r, ctx,
                       ngx_http_s3_copy_find(r, ctx, ctx->copy->found));
}


/* a body that no client sends: digests are all there is to it */

static s3_error_e
ngx_http_s3_copy_payload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    uint64_t length, s3_checksum_e checksum, s3_checksum_e also)
{
    s3_body_conf_t          conf;
    ngx_http_s3_payload_t  *payload;

    /* see ngx_http_s3_payload_create() */

    payload = ngx_calloc(sizeof(ngx_http_s3_payload_t), r->connection->log);
    if (payload == NULL) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    payload->refs = 1;
    ctx->payload = payload;

    ngx_memzero(&conf, sizeof(s3_body_conf_t));

    conf.form = S3_BODY_FORM_UNSIGNED;
    conf.length = length;
    conf.max_length = NGX_HTTP_S3_MAX_PUT;
    conf.default_checksum = checksum;
    conf.also_checksum = also;

    if (s3_body_init(&payload->body, &conf) != S3_BODY_OK) {
        return ngx_http_s3_body_error(ctx, &payload->body);
    }

    return S3_OK;
}


/* READY, WRITABLE, or a piece has come: go on as far as it goes */

ngx_int_t
ngx_http_s3_copy_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    size_t                   n;
    ngx_http_s3_copy_t      *copy;
    ngx_http_s3_loc_conf_t  *lcf;

    copy = ctx->copy;

    if (ctx->run_len) {
        n = s3_upload_write(ctx->upload, ctx->run, ctx->run_len);

        ctx->run += n;
        ctx->run_len -= n;
    }

    if (ctx->run_len == 0) {

        if (copy->piece) {
            copy->piece = 0;
            s3_download_release(copy->download);
        }

        if (ctx->rest == 0) {

            if (copy->download) {
                s3_download_close(copy->download);
                copy->download = NULL;
            }

            if (s3_body_end(&ctx->payload->body) != S3_BODY_OK) {
                (void) ngx_http_s3_body_error(ctx, &ctx->payload->body);
                return NGX_DECLINED;
            }

            /* what is done is committed, whoever hears of it */

            r->read_event_handler = ngx_http_block_reading;

            return ngx_http_s3_upload_end(r, ctx);
        }

        s3_download_next(copy->download);
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    return ngx_http_s3_wait(r, ctx, lcf->timeout) == NGX_OK
           ? NGX_OK : ngx_http_s3_failed(ctx, S3_STORE_ERROR);
}


static void
ngx_http_s3_copy_piece(s3_download_t *download, void *data,
    s3_download_event_e event, int status, const uint8_t *p, size_t len)
{
    ngx_int_t            rc;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    ctx = data;

    if (!ngx_http_s3_go_on(ctx)) {
        return;
    }

    r = ctx->request;

    if (event != S3_DOWNLOAD_DATA || len == 0 || len > ctx->rest) {
        ngx_http_s3_result(r, ctx,
                           ngx_http_s3_failed(ctx,
                                              event == S3_DOWNLOAD_FAILED
                                              ? status : S3_STORE_ERROR));
        return;
    }

    ctx->copy->piece = 1;

    rc = ngx_http_s3_copy_take(ctx, p, len);

    if (rc == NGX_OK) {
        rc = ngx_http_s3_copy_run(r, ctx);
    }

    if (rc != NGX_OK) {
        ngx_http_s3_result(r, ctx, rc);
    }
}


/* the next bytes, which the body counts as it does those of a client */

static ngx_int_t
ngx_http_s3_copy_take(ngx_http_s3_ctx_t *ctx, const u_char *p, size_t len)
{
    s3_body_t  *body;

    body = &ctx->payload->body;

    if (len
        && s3_body_decode(body, &p, p + len, &ctx->run, &ctx->run_len)
           != S3_CHUNKED_DATA)
    {
        (void) ngx_http_s3_body_error(ctx, body);
        return NGX_DECLINED;
    }

    ctx->rest -= len;

    return NGX_OK;
}


static void
ngx_http_s3_copy_cancel(ngx_http_s3_ctx_t *ctx)
{
    ngx_queue_t         *q;
    ngx_http_s3_copy_t  *copy, *next;

    copy = ctx->copy;

    /* unlike a GET's, its pieces are on their way to nobody */

    if (copy->download) {
        s3_download_close(copy->download);
        copy->download = NULL;
    }

    if (copy->waiting) {
        ngx_queue_remove(&copy->queue);
        copy->waiting = 0;
    }

    if (copy->event.posted) {
        ngx_delete_posted_event(&copy->event);
    }

    if (!copy->turn) {
        return;
    }

    copy->turn = 0;

    if (ngx_http_s3_copies_waiting.next == NULL
        || ngx_queue_empty(&ngx_http_s3_copies_waiting))
    {
        ngx_http_s3_copies--;
        return;
    }

    q = ngx_queue_head(&ngx_http_s3_copies_waiting);
    next = ngx_queue_data(q, ngx_http_s3_copy_t, queue);

    ngx_queue_remove(q);
    next->waiting = 0;
    next->turn = 1;

    ngx_post_event(&next->event, &ngx_posted_events);
}


s3_error_e
ngx_http_s3_copy_size(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    uint64_t size)
{
    if (size <= S3_COPY_MAX) {
        return S3_OK;
    }

    return s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                    "The specified copy source is larger than the maximum "
                    "allowable size for a copy source: %uL", S3_COPY_MAX);
}


ngx_int_t
ngx_http_s3_copy_result(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_slice_t etag, s3_slice_t checksum)
{
    s3_copy_result_t  *result;

    result = &ctx->copy->result;

    result->etag = ngx_http_s3_etag_text(r->pool, etag);

    if (result->etag.len == 0) {
        return NGX_ERROR;
    }

    return ngx_http_s3_checksum_words(r->pool, checksum, 1,
                                      &result->checksum);
}


ngx_int_t
ngx_http_s3_copy_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const char *root)
{
    size_t        size;
    ngx_chain_t  *out;

    ctx->copy->result.last_modified = ctx->call.verdict.mtime;

    out = s3_copy_result_write(r->pool, root, &ctx->copy->result, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}
