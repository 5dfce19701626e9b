
/*
 * DeleteObjects: up to 1,000 objects by one request.
 *
 *     document     read whole, verified, parsed
 *     bucket       must be there: one error for all
 *     commits      NGX_HTTP_S3_DELETE_WINDOW of them under way at a time, so
 *                  that the store has batches to make and other clients'
 *                  requests are not behind a thousand of ours
 *     answer       when the last is decided, in the order of the document
 *
 * Each object is deleted, or not, for itself.
 */


#include "ngx_http_s3.h"
#include "s3_delete.h"


#define NGX_HTTP_S3_DELETE_WINDOW  128


typedef struct ngx_http_s3_delete_s  ngx_http_s3_delete_t;

typedef struct {
    s3_call_t                     call;
    ngx_http_s3_delete_t         *all;
    s3_delete_object_t           *object;   /* NULL: free */
} ngx_http_s3_delete_call_t;


struct ngx_http_s3_delete_s {
    ngx_http_s3_ctx_t            *ctx;
    s3_client_t                  *client;
    s3_delete_t                   request;
    ngx_uint_t                    next;     /* the object to ask for next */
    ngx_uint_t                    running;
    ngx_http_s3_delete_call_t     calls[NGX_HTTP_S3_DELETE_WINDOW];
};


static ngx_int_t ngx_http_s3_delete_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_delete_begin(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_delete_run(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static int ngx_http_s3_delete_commit(ngx_http_s3_delete_t *d,
    ngx_http_s3_delete_call_t *c, s3_delete_object_t *object);
static void ngx_http_s3_delete_committed(s3_call_t *call);
static void ngx_http_s3_delete_verdict(ngx_http_s3_ctx_t *ctx,
    s3_delete_object_t *object, int status);
static void ngx_http_s3_delete_cancel(ngx_http_s3_ctx_t *ctx);


ngx_int_t
ngx_http_s3_delete_objects(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ngx_http_s3_delete_digest(ctx) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_read_document(r, ctx, S3_DELETE_MAX_XML,
                                     ngx_http_s3_delete_read);
}


/* Content-MD5, or a checksum in a header or in the trailer */

s3_error_e
ngx_http_s3_delete_digest(ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t    i;
    s3_header_t  *h;

    h = ctx->headers.elts;

    for (i = 0; i < ctx->nreal; i++) {

        if (s3_header(&h[i], 1, "content-md5")
            || s3_header(&h[i], 1, "x-amz-trailer")
            || s3_checksum_by_header((char *) h[i].name.data, h[i].name.len)
               != S3_CHECKSUM_NONE)
        {
            return S3_OK;
        }
    }

    /*
     * The words of S3 today.  A payload hash in x-amz-content-sha256 does not
     * count, signed as it may be (github.com/awslabs/aws-sdk-swift, issue 792,
     * shows such a request refused; versitygw's issue 1040 has the document).
     */

    return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                   "Missing required header for this request: "
                   "Content-MD5 OR x-amz-checksum-*");
}


static ngx_int_t
ngx_http_s3_delete_read(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                    status;
    ngx_http_s3_delete_t  *d;

    d = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_delete_t));
    if (d == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    d->ctx = ctx;
    d->client = ngx_http_s3_client(r);

    if (s3_delete_read(r->pool, ctx->document, &d->request, &ctx->fail)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    /* now, when nothing is deleted yet: a slow client may keep the answer */

    if (ngx_http_s3_document_reserve(ctx, s3_delete_answer_size(&d->request))
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    ctx->data = d;

    status = s3_client_bucket(d->client,
                              ngx_http_s3_call(ctx, ngx_http_s3_delete_begin),
                              ngx_http_s3_slice(ctx->target.bucket));

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_delete_begin(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_int_t  rc;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    ctx->cancel = ngx_http_s3_delete_cancel;

    rc = ngx_http_s3_delete_run(r, ctx);

    if (rc == NGX_BUSY) {
        r->main->count++;
        return NGX_DONE;
    }

    return rc;
}


/* as many commits as there is room for; NGX_BUSY: some are under way */

static ngx_int_t
ngx_http_s3_delete_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                      status;
    size_t                   size;
    ngx_uint_t               i;
    ngx_chain_t             *out;
    s3_delete_object_t      *object;
    ngx_http_s3_delete_t    *d;
    ngx_http_s3_loc_conf_t  *lcf;

    d = ctx->data;
    object = d->request.objects.elts;

    while (d->next < d->request.objects.nelts
           && d->running < NGX_HTTP_S3_DELETE_WINDOW)
    {
        if (object[d->next].error != S3_OK) {
            d->next++;
            continue;
        }

        for (i = 0; d->calls[i].object; i++) { /* void */ }

        status = ngx_http_s3_delete_commit(d, &d->calls[i],
                                           &object[d->next]);

        if (status == S3_STORE_BUSY && d->running) {

            /* the next answer makes room */

            break;
        }

        if (status != S3_STORE_OK) {
            ngx_http_s3_delete_verdict(ctx, &object[d->next], status);

        } else {
            d->running++;
        }

        d->next++;
    }

    if (d->running) {
        lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

        if (ngx_http_s3_wait(r, ctx, lcf->timeout) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_BUSY;
    }

    out = s3_delete_write(r->pool, &d->request, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}


static int
ngx_http_s3_delete_commit(ngx_http_s3_delete_t *d,
    ngx_http_s3_delete_call_t *c, s3_delete_object_t *object)
{
    int          status;
    u_char       if_match[20];
    ngx_str_t    etag;
    s3_commit_t  commit;

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_DELETE;
    commit.bucket = ngx_http_s3_slice(d->ctx->target.bucket);
    commit.key = ngx_http_s3_slice(object->key);

    etag = object->etag;

    if (etag.len == 1 && etag.data[0] == '*') {
        commit.conditions = S3_IF_MATCH_ANY;

    } else if (etag.len) {

        if (etag.len >= 2 && etag.data[0] == '"'
            && etag.data[etag.len - 1] == '"')
        {
            etag.data++;
            etag.len -= 2;
        }

        commit.conditions = S3_IF_MATCH;
        commit.if_match = ngx_http_s3_etag_parse(&etag, if_match);
    }

    ngx_memzero(&c->call, sizeof(s3_call_t));

    c->call.handler = ngx_http_s3_delete_committed;
    c->call.data = c;
    c->all = d;

    status = s3_client_commit(d->client, &c->call, &commit);

    if (status == S3_STORE_OK) {
        c->object = object;
    }

    return status;
}


static void
ngx_http_s3_delete_committed(s3_call_t *call)
{
    int                         status;
    ngx_int_t                   rc;
    s3_delete_object_t         *object;
    ngx_http_s3_ctx_t          *ctx;
    ngx_http_s3_delete_t       *d;
    ngx_http_s3_delete_call_t  *c;

    c = call->data;
    d = c->all;
    ctx = d->ctx;

    object = c->object;

    c->object = NULL;
    d->running--;

    if (!ngx_http_s3_go_on(ctx)) {
        return;
    }

    status = call->status != S3_STORE_OK ? call->status
                                         : call->verdict.status;

    ngx_http_s3_delete_verdict(ctx, object, status);

    rc = ngx_http_s3_delete_run(ctx->request, ctx);

    if (rc != NGX_BUSY) {
        ngx_http_s3_result(ctx->request, ctx, rc);
    }
}


static void
ngx_http_s3_delete_verdict(ngx_http_s3_ctx_t *ctx, s3_delete_object_t *object,
    int status)
{
    /* gone is gone, unless it had to be a certain one */

    if (status == S3_STORE_OK
        || (status == S3_STORE_NO_SUCH_KEY && object->etag.len == 0))
    {
        return;
    }

    object->error = ngx_http_s3_store_error(ctx, status);
    object->message = ctx->fail.message;

    /* the request has not failed */

    ngx_memzero(&ctx->fail, sizeof(s3_failure_t));
}


static void
ngx_http_s3_delete_cancel(ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t               i;
    ngx_http_s3_delete_t    *d;
    ngx_http_s3_loc_conf_t  *lcf;

    d = ctx->data;

    lcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_s3_module);

    if (lcf->store->client == NULL) {

        /* the process ends, and its client is closed */

        return;
    }

    for (i = 0; i < NGX_HTTP_S3_DELETE_WINDOW; i++) {

        if (d->calls[i].object) {
            s3_client_cancel(d->client, &d->calls[i].call);
            d->calls[i].object = NULL;
        }
    }

    d->running = 0;
}
