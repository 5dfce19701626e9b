
/*
 * What an upstream answers, on its way to the client.
 *
 *     2xx    reserved metadata is taken out, the checksum it holds is put in,
 *            where it was asked for.  Where it is in a record the header, and
 *            all that comes behind it, waits for that
 *     error  the document is read whole, and answered as one of ours with the
 *            upstream's code: messages that old servers leave out are added,
 *            and what is wrong between us and the upstream (our keys, our
 *            clock) is logged, and none of the client's business
 *     HEAD   of an error is as it came: nobody says more.  Only where it is
 *            forbidden a GET is asked who is: the client or we
 *
 * Caches keep what the upstream has said: all of this is done to what comes
 * from them as well.
 */


#include "ngx_http_s3_gateway.h"


/* nginx's modules use the lower ones */
#define NGX_HTTP_S3_BUFFERED  0x08


static ngx_int_t ngx_http_s3_gateway_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t status);
static ngx_int_t ngx_http_s3_gateway_forbidden(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_gateway_forbidden_told(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_gateway_no_slices(ngx_http_request_t *r);
static ngx_uint_t ngx_http_s3_gateway_changed_on_its_way(
    ngx_http_request_t *r, ngx_http_s3_gateway_t *gw);
static s3_error_e ngx_http_s3_gateway_conditions(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_success(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_uint_t ngx_http_s3_gateway_checksum_mode(ngx_http_s3_ctx_t *ctx);
static ngx_uint_t ngx_http_s3_gateway_has_header(ngx_http_request_t *r,
    const char *name);
static ngx_int_t ngx_http_s3_gateway_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_marked(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *mark);
static void ngx_http_s3_gateway_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_keep(ngx_http_request_t *r,
    ngx_http_s3_gateway_t *gw, ngx_chain_t *in, ngx_uint_t *last);
static ngx_int_t ngx_http_s3_gateway_document_error(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_send_error(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_own_error(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_error_e error);
static ngx_uint_t ngx_http_s3_gateway_redirects(ngx_uint_t status);
static ngx_uint_t ngx_http_s3_gateway_changed(ngx_uint_t status);
static ngx_uint_t ngx_http_s3_gateway_ours(ngx_str_t *code);


ngx_int_t
ngx_http_s3_gateway_header(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t              *id;
    ngx_uint_t              status, left;
    ngx_http_upstream_t    *u;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    u = r->upstream;
    status = r->headers_out.status;

    if (gw == NULL || ctx->own) {
        return NGX_DECLINED;
    }

    switch (gw->header) {

    case NGX_HTTP_S3_HEADER_WAITS:
    case NGX_HTTP_S3_HEADER_ERROR:
        return NGX_OK;

    case NGX_HTTP_S3_HEADER_DONE:
        return NGX_DECLINED;

    default:
        break;
    }

    /* what is left of a body is for nobody: no other request comes behind it */

    left = (gw->body != NGX_HTTP_S3_BODY_PASSED
            && gw->body != NGX_HTTP_S3_BODY_SENT);

    if (left) {
        r->keepalive = 0;
    }

    /* nginx takes what is no HTTP for an answer in HTTP/0.9 */

    if (gw->rewritten && u && u->headers_in.status_n == 0
        && r->http_version == NGX_HTTP_VERSION_9)
    {
        r->http_version = gw->http_version;
        return ngx_http_s3_gateway_own_error(r, ctx,
                                             S3_ERR_SERVICE_UNAVAILABLE);
    }

    /* nginx's own error page; the slice filter has made 200 of 206 */

    if (!gw->rewritten || u == NULL || u->headers_in.status_n == 0
        || (status >= NGX_HTTP_BAD_REQUEST
            && u->headers_in.status_n != status))
    {
        return NGX_DECLINED;
    }

    if (!ngx_http_s3_cache_keyed(r, ctx)) {

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: a cache without $s3_cache_key in its key "
                      "would give one client what another may see; write "
                      "\"proxy_cache_key $s3_cache_key;\"");

        return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_INTERNAL_ERROR);
    }

    if (!gw->signed_once && !r->cached) {

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the request was sent without a signature; "
                      "add \"include s3_gateway_params;\" to the location");

        return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_INTERNAL_ERROR);
    }

    if (!r->cached
        && (u->uri.len != r->unparsed_uri.len
            || ngx_memcmp(u->uri.data, r->unparsed_uri.data, u->uri.len) != 0))
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the request was sent for another path than "
                      "it is signed for; write \"proxy_pass\" without a path");

        return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_INTERNAL_ERROR);
    }

    /* one id in header, document and log; a cache has that of another */

    id = ngx_http_s3_gateway_take_header(r, "x-amz-request-id");

    if (id && !r->cached) {
        ctx->request_id = *id;
    }

    (void) ngx_http_s3_gateway_take_header(r, "x-amz-id-2");

    if (status < NGX_HTTP_OK) {

        /* nginx would take it for the answer */

        return ngx_http_s3_gateway_own_error(r, ctx,
                                             S3_ERR_SERVICE_UNAVAILABLE);
    }

    if (status >= NGX_HTTP_BAD_REQUEST
        || ngx_http_s3_gateway_redirects(status))
    {
        return ngx_http_s3_gateway_failed(r, ctx, status);
    }

    if (left) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the upstream answered %ui to a body that "
                      "it has not got", status);

        return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_INTERNAL_ERROR);
    }

    /* Ceph does not know "If-None-Match: *" */

    if ((u->cacheable || gw->for_cache
         || ngx_http_s3_header_in(ctx, "if-none-match"))
        && (status == NGX_HTTP_OK || status == NGX_HTTP_PARTIAL_CONTENT)
        && ngx_http_s3_gateway_conditions(r, ctx) != NGX_OK)
    {
        return ctx->fail.error == S3_ERR_NOT_MODIFIED ? NGX_DECLINED
               : ngx_http_s3_gateway_own_error(r, ctx, ctx->fail.error);
    }

    if (gw->for_cache && !u->cacheable && r->headers_in.range) {

        /* all of it was asked for to be kept, which it says is not to be */

        r->allow_ranges = 1;
    }

    return ngx_http_s3_gateway_success(r, ctx);
}


/* an error, or a redirect, which is one */

static ngx_int_t
ngx_http_s3_gateway_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t status)
{
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (ngx_http_s3_gateway_redirects(status)) {

        /* where to: nothing that a client could sign for */

        ngx_http_clear_location(r);
    }

    if (r->method != NGX_HTTP_HEAD) {

        gw->header = NGX_HTTP_S3_HEADER_ERROR;
        gw->error_last = &gw->error;
        r->filter_need_in_memory = 1;

        return NGX_OK;
    }

    if (ngx_http_s3_gateway_redirects(status)) {
        ngx_http_s3_gateway_refused(r, ctx, status, NULL);
        return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_INTERNAL_ERROR);
    }

    if (gw->own_match && ngx_http_s3_gateway_changed(status)) {
        return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_SLOW_DOWN);
    }

    if (status == NGX_HTTP_FORBIDDEN) {
        return ngx_http_s3_gateway_forbidden(r, ctx);
    }

    (void) s3_fail(&ctx->fail, s3_error_by_status(status), NULL);

    gw->header = NGX_HTTP_S3_HEADER_DONE;
    ctx->own = 1;

    return NGX_DECLINED;
}


/* to HEAD a server does not say why; to GET it does, and of one byte */

static ngx_int_t
ngx_http_s3_gateway_forbidden(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t           value;
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "GET");

    if (ask == NULL) {
        return NGX_ERROR;
    }

    if (ctx->target.level == S3_LEVEL_OBJECT) {
        ngx_http_s3_ask_drop(ask, "range");
        ngx_str_set(&value, "bytes=0-0");

        if (s3_upstream_header(&ask->headers, "range", &value) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        ngx_str_set(&value, "0");

        if (s3_upstream_arg(r->pool, &ask->query, "max-keys", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ask->max = NGX_HTTP_S3_ASK_ERROR;
    ask->resume = ngx_http_s3_gateway_forbidden_told;

    return ngx_http_s3_gateway_wait(r, ctx, ask);
}


static void
ngx_http_s3_gateway_forbidden_told(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_gateway_refused(r, ctx, NGX_HTTP_FORBIDDEN,
                                ask->status == NGX_HTTP_FORBIDDEN ? ask->out
                                                                  : NULL);

    if (ngx_http_s3_filter_error(r, ctx) != NGX_OK) {
        r->connection->error = 1;
    }

    ngx_http_s3_gateway_go(r, ctx);
}


/* the conditions of a request which the upstream was asked without */

static s3_error_e
ngx_http_s3_gateway_conditions(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t  etag;

    if (r->headers_out.etag == NULL
        || (ctx->operation->id != S3_OP_GET_OBJECT
            && ctx->operation->id != S3_OP_HEAD_OBJECT))
    {
        return S3_OK;
    }

    etag = r->headers_out.etag->value;
    s3_upstream_unquote(&etag);

    if (ctx->gateway->own_match
        && (etag.len != ctx->gateway->etag.len
            || ngx_memcmp(etag.data, ctx->gateway->etag.data, etag.len) != 0))
    {
        return s3_fail(&ctx->fail, S3_ERR_SLOW_DOWN, NULL);
    }

    if (s3_condition_read(ctx->headers.elts, ctx->headers.nelts, &etag,
                          r->headers_out.last_modified_time, &ctx->fail)
        == S3_OK)
    {
        return S3_OK;
    }

    if (ctx->fail.error == S3_ERR_NOT_MODIFIED) {

        /* as nginx's filter makes it */

        (void) ngx_http_s3_gateway_take_header(r, S3_MARK_HEADER);

        r->headers_out.status = NGX_HTTP_NOT_MODIFIED;
        r->headers_out.status_line.len = 0;
        r->headers_out.content_type.len = 0;
        ngx_http_clear_content_length(r);
        ngx_http_clear_accept_ranges(r);

        ctx->gateway->header = NGX_HTTP_S3_HEADER_DONE;

        ngx_http_s3_gateway_no_slices(r);
    }

    return ctx->fail.error;
}


/*
 * nginx's slice filter goes on with the next slice whatever became of the
 * first one, but without its context.
 */

static void
ngx_http_s3_gateway_no_slices(ngx_http_request_t *r)
{
    ngx_uint_t  i;

    for (i = 0; ngx_cycle->modules[i]; i++) {

        if (ngx_strcmp(ngx_cycle->modules[i]->name,
                       "ngx_http_slice_filter_module")
            == 0)
        {
            r->ctx[ngx_cycle->modules[i]->ctx_index] = NULL;
        }
    }
}


static ngx_int_t
ngx_http_s3_gateway_success(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t              *mark;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    gw->header = NGX_HTTP_S3_HEADER_DONE;

    mark = ngx_http_s3_gateway_take_header(r, S3_MARK_HEADER);

    if (!gw->emulate) {

        /* of the whole, of which a cache may give a part */

        if (r->headers_in.range) {
            (void) ngx_http_s3_gateway_take_header(r, "x-amz-checksum-*");
        }

        return NGX_DECLINED;
    }

    switch (ctx->operation->id) {

    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:

        if (gw->part) {
            return ngx_http_s3_gateway_part(r, ctx);
        }

        if (s3_target_arg(&ctx->target, "partNumber")
            && r->headers_out.status == NGX_HTTP_OK
            && !ngx_http_s3_gateway_has_header(r, "x-amz-mp-parts-count"))
        {
            /* it was not there a moment ago, and this is all of it */

            return ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_SLOW_DOWN);
        }

        return mark ? ngx_http_s3_gateway_marked(r, ctx, mark) : NGX_DECLINED;

    case S3_OP_HEAD_BUCKET:
        return ngx_http_s3_gateway_region(r) == NGX_OK ? NGX_DECLINED
                                                       : NGX_ERROR;

    case S3_OP_PUT_OBJECT:

        if (ngx_http_s3_gateway_changed_on_its_way(r, gw)) {
            return ngx_http_s3_gateway_own_error(r, ctx,
                                                 S3_ERR_INTERNAL_ERROR);
        }

        if (gw->record) {
            ngx_http_s3_sweep_some(r, ctx);
        }

        return ngx_http_s3_gateway_add_checksum(r, gw, 1);

    case S3_OP_DELETE_OBJECT:

        /* a record may be of another version */

        if (s3_target_arg(&ctx->target, "versionId") == NULL
            && !ngx_http_s3_gateway_has_header(r, "x-amz-version-id")
            && !ngx_http_s3_gateway_has_header(r, "x-amz-delete-marker"))
        {
            ngx_http_s3_sweep_object(r, ctx);
        }

        return NGX_DECLINED;

    case S3_OP_UPLOAD_PART:

        return ngx_http_s3_gateway_changed_on_its_way(r, gw)
               ? ngx_http_s3_gateway_own_error(r, ctx, S3_ERR_INTERNAL_ERROR)
               : ngx_http_s3_gateway_part_stored(r, ctx);

    default:
        return NGX_DECLINED;
    }
}


/*
 * The entity tag is the MD5 of what has arrived (but of what the upstream
 * encrypts by a key of somebody's), and we have that of what came.
 */

static ngx_uint_t
ngx_http_s3_gateway_changed_on_its_way(ngx_http_request_t *r,
    ngx_http_s3_gateway_t *gw)
{
    u_char      md5[20];
    ngx_str_t   etag;
    s3_slice_t  slice;

    if (r->headers_out.etag == NULL || gw->etag.len == 0
        || ngx_http_s3_gateway_has_header(r, "x-amz-server-side-encryption*"))
    {
        return 0;
    }

    etag = r->headers_out.etag->value;
    s3_upstream_unquote(&etag);

    slice = ngx_http_s3_etag_parse(&etag, md5);

    if (slice.len != 16
        || (etag.len == gw->etag.len
            && ngx_strncasecmp(etag.data, gw->etag.data, etag.len) == 0))
    {
        return 0;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "s3_gateway: the upstream has stored other bytes than were "
                  "sent: their MD5 is %V, and %V in its answer", &gw->etag,
                  &etag);

    return 1;
}


static ngx_uint_t
ngx_http_s3_gateway_checksum_mode(ngx_http_s3_ctx_t *ctx)
{
    s3_header_t  *h;

    h = ngx_http_s3_header_in(ctx, "x-amz-checksum-mode");

    return h && h->value.len == 7
           && ngx_strncasecmp(h->value.data, (u_char *) "enabled", 7) == 0;
}


static ngx_uint_t
ngx_http_s3_gateway_has_header(ngx_http_request_t *r, const char *name)
{
    return ngx_http_s3_find_header(&r->headers_out.headers, name) != NULL;
}


static ngx_int_t
ngx_http_s3_gateway_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char                 *p;
    ngx_str_t               value;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (gw->parts) {

        p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "%ui", gw->parts) - p;

        if (ngx_http_s3_add_header(r, "x-amz-mp-parts-count", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_s3_gateway_checksum_mode(ctx)
           ? ngx_http_s3_gateway_add_checksum(r, gw, 1) : NGX_DECLINED;
}


/* all buckets are in the region that clients sign for */

ngx_int_t
ngx_http_s3_gateway_region(ngx_http_request_t *r)
{
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    (void) ngx_http_s3_gateway_take_header(r, "x-amz-bucket-region");

    return ngx_http_s3_add_header(r, "x-amz-bucket-region", &lcf->region);
}


/* NGX_DECLINED: the header may go */

static ngx_int_t
ngx_http_s3_gateway_marked(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *mark)
{
    ngx_http_s3_ask_t      *ask;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    /* S3 tells the checksum of the whole, and of nothing less */

    if (!ngx_http_s3_gateway_checksum_mode(ctx)
        || r->headers_out.status != NGX_HTTP_OK
        || r->headers_in.range
        || r->headers_out.etag == NULL)
    {
        return NGX_DECLINED;
    }

    gw->etag = r->headers_out.etag->value;
    s3_upstream_unquote(&gw->etag);

    switch (s3_mark_read(mark, &gw->etag, &gw->checksum)) {

    case S3_MARK_HERE:
        return ngx_http_s3_gateway_add_checksum(r, gw, 1);

    case S3_MARK_RECORD:
        break;

    default:
        return NGX_DECLINED;
    }

    ask = ngx_http_s3_record_find(r, ctx, &gw->etag, "HEAD");

    if (ask == NULL) {
        return NGX_ERROR;
    }

    ask->resume = ngx_http_s3_gateway_found;

    return ngx_http_s3_gateway_wait(r, ctx, ask);
}


static void
ngx_http_s3_gateway_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_int_t               rc;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    /* an object without its record is one without a checksum */

    rc = ngx_http_s3_record_read(ask, &gw->etag, &gw->checksum);

    if (rc == NGX_OK) {
        rc = ngx_http_s3_gateway_add_checksum(r, gw, 1);

    } else if (ask->status != NGX_HTTP_NOT_FOUND) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the record of an object's checksum could "
                      "not be read (%ui), it is answered without", ask->status);
    }

    ngx_http_s3_gateway_go(r, ctx);
}


/* NGX_DECLINED, or NGX_ERROR */

ngx_int_t
ngx_http_s3_gateway_add_checksum(ngx_http_request_t *r,
    ngx_http_s3_gateway_t *gw, ngx_uint_t type)
{
    s3_checksum_text_t  *checksum;

    checksum = &gw->checksum;

    if (checksum->text.len == 0) {
        return NGX_DECLINED;
    }

    /* of a server that has learnt about checksums meanwhile */

    (void) ngx_http_s3_gateway_take_header(r, "x-amz-checksum-*");

    if (ngx_http_s3_add_header(r,
                               s3_checksum_info(checksum->algorithm)->header,
                               &checksum->text)
        != NGX_OK
        || (type
            && ngx_http_s3_add_header(r, "x-amz-checksum-type",
                                      &checksum->type)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_s3_gateway_wait(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ctx->gateway->header = NGX_HTTP_S3_HEADER_WAITS;

    if (ngx_http_s3_ask(r, ctx, ask) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_s3_gateway_hold(r);

    return NGX_OK;
}


/* nginx's own filter would set it, and the upstream goes by it */

void
ngx_http_s3_gateway_hold(ngx_http_request_t *r)
{
    if (r->method == NGX_HTTP_HEAD) {
        r->header_only = 1;
    }

    r->buffered |= NGX_HTTP_S3_BUFFERED;
}


void
ngx_http_s3_gateway_go(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_chain_t            *cl, *out;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (gw->header != NGX_HTTP_S3_HEADER_WAITS) {
        return;
    }

    gw->header = NGX_HTTP_S3_HEADER_DONE;
    r->buffered &= ~NGX_HTTP_S3_BUFFERED;

    out = gw->out;
    gw->out = NULL;

    rc = ngx_http_s3_filter_header(r, ctx);

    if (ctx->error_chain && rc != NGX_ERROR) {

        for (cl = out; cl; cl = cl->next) {
            cl->buf->pos = cl->buf->last;
            cl->buf->file_pos = cl->buf->file_last;
        }

        out = ctx->error_chain;
        ctx->error_sent = 1;
    }

    if (rc != NGX_ERROR && rc <= NGX_OK && !r->header_only && out) {
        rc = ngx_http_s3_filter_body(r, out);
    }

    if (rc == NGX_ERROR) {
        r->connection->error = 1;
    }

    /* the upstream's, or where that is done, nginx's writer */

    r->write_event_handler(r);
}


/* the first header of that name ("x-*": that begins so), which goes, as all of
 * them do; NULL: there is none */

ngx_str_t *
ngx_http_s3_gateway_take_header(ngx_http_request_t *r, const char *name)
{
    ngx_str_t        *value;
    ngx_table_elt_t  *h;

    value = NULL;

    while ((h = ngx_http_s3_find_header(&r->headers_out.headers, name))) {

        h->hash = 0;

        if (value == NULL) {
            value = &h->value;
        }
    }

    return value;
}


ngx_int_t
ngx_http_s3_gateway_output(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_uint_t              last;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (gw == NULL || ctx->own) {
        return NGX_DECLINED;
    }

    switch (gw->header) {

    case NGX_HTTP_S3_HEADER_ERROR:

        if (ngx_http_s3_gateway_keep(r, gw, in, &last) != NGX_OK) {
            return NGX_ERROR;
        }

        /* the end may not come at all, where the upstream has gone */

        return last || (!r->cached && r->upstream
                        && r->upstream->cleanup == NULL)
               ? ngx_http_s3_gateway_document_error(r, ctx) : NGX_OK;

    case NGX_HTTP_S3_HEADER_WAITS:

        if (in && ngx_chain_add_copy(r->pool, &gw->out, in) != NGX_OK) {
            return NGX_ERROR;
        }

        r->buffered |= NGX_HTTP_S3_BUFFERED;

        return NGX_OK;

    default:
        return NGX_DECLINED;
    }
}


/* of a document, which is dropped past its bound */

static ngx_int_t
ngx_http_s3_gateway_keep(ngx_http_request_t *r, ngx_http_s3_gateway_t *gw,
    ngx_chain_t *in, ngx_uint_t *last)
{
    size_t        len;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    *last = 0;

    for ( /* void */ ; in; in = in->next) {

        len = ngx_buf_in_memory(in->buf)
              ? (size_t) (in->buf->last - in->buf->pos) : 0;

        if (len && gw->error_size + len <= NGX_HTTP_S3_ASK_ERROR) {

            b = ngx_create_temp_buf(r->pool, len);
            cl = ngx_alloc_chain_link(r->pool);

            if (b == NULL || cl == NULL) {
                return NGX_ERROR;
            }

            b->last = ngx_cpymem(b->last, in->buf->pos, len);

            cl->buf = b;
            cl->next = NULL;

            *gw->error_last = cl;
            gw->error_last = &cl->next;
        }

        gw->error_size += len;

        if (in->buf->last_buf) {
            *last = 1;
        }

        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_gateway_document_error(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    ngx_http_s3_gateway_refused(r, ctx, r->headers_out.status,
                                gw->error_size <= NGX_HTTP_S3_ASK_ERROR
                                ? gw->error : NULL);

    gw->header = NGX_HTTP_S3_HEADER_DONE;

    return ngx_http_s3_gateway_send_error(r, ctx);
}


/* the header has not been sent, what would have come behind it is not wanted */

static ngx_int_t
ngx_http_s3_gateway_send_error(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ngx_http_s3_filter_error(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_s3_filter_header(r, ctx);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    ctx->error_sent = 1;

    return ngx_http_s3_filter_body(r, ctx->error_chain);
}


/* the same from within the header filter, which goes on with it */

static ngx_int_t
ngx_http_s3_gateway_own_error(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_error_e error)
{
    (void) s3_fail(&ctx->fail, error, NULL);

    ctx->gateway->header = NGX_HTTP_S3_HEADER_DONE;

    ngx_http_s3_gateway_no_slices(r);

    return ngx_http_s3_filter_error(r, ctx) == NGX_OK ? NGX_DECLINED
                                                      : NGX_ERROR;
}


void
ngx_http_s3_gateway_refused(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t status, ngx_chain_t *document)
{
    s3_arg_t           *id;
    ngx_str_t           code;
    s3_failure_t       *fail;

    fail = &ctx->fail;

    if (ngx_http_s3_gateway_redirects(status)) {

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the upstream answers %ui and sends us "
                      "elsewhere; see s3_upstream_host, s3_upstream_region "
                      "and proxy_pass", status);

        (void) s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
        return;
    }

    if (s3_upstream_failure(r->pool, document, status, fail) != NGX_OK) {

        /* no document of S3's: a proxy's between us, or a page */

        (void) s3_fail(fail, s3_error_by_status(status), NULL);
        return;
    }

    /* ListParts of Ceph's takes an upload for a key */

    id = s3_target_arg(&ctx->target, "uploadId");

    if (id && ctx->target.level == S3_LEVEL_OBJECT
        && (fail->error == S3_ERR_NO_SUCH_UPLOAD
            || (fail->error == S3_ERR_NO_SUCH_KEY
                && ctx->operation->id == S3_OP_LIST_PARTS)))
    {
        (void) s3_fail_upload(fail, &id->value);
    }

    if (ctx->gateway->own_match && ngx_http_s3_gateway_changed(status)) {
        (void) s3_fail(fail, S3_ERR_SLOW_DOWN, NULL);
    }

    if (!ngx_http_s3_gateway_ours(&fail->code)) {
        return;
    }

    code = fail->code;

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "s3_gateway: the upstream refuses the credential \"%V\": "
                  "%V", ctx->gateway->client->name.len
                        ? &ctx->gateway->client->name
                        : &ctx->gateway->client->access_key,
                  &code);

    (void) s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
}


static ngx_uint_t
ngx_http_s3_gateway_redirects(ngx_uint_t status)
{
    return status >= NGX_HTTP_SPECIAL_RESPONSE
           && status < NGX_HTTP_BAD_REQUEST
           && status != NGX_HTTP_NOT_MODIFIED;
}


/* an object, while it was looked at: Ceph may know no better name for that */

static ngx_uint_t
ngx_http_s3_gateway_changed(ngx_uint_t status)
{
    return status == NGX_HTTP_PRECONDITION_FAILED
           || status == NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* codes about what we have signed, which no client can mend */

static ngx_uint_t
ngx_http_s3_gateway_ours(ngx_str_t *code)
{
    ngx_uint_t  i;

    static ngx_str_t  codes[] = {
        ngx_string("InvalidAccessKeyId"),
        ngx_string("SignatureDoesNotMatch"),
        ngx_string("RequestTimeTooSkewed"),
        ngx_string("AuthorizationHeaderMalformed"),
        ngx_string("InvalidToken"),
        ngx_string("ExpiredToken"),
        ngx_string("InvalidSecurity"),
        ngx_string("XAmzContentSHA256Mismatch"),
        ngx_string("UserSuspended")
    };

    for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].len == code->len
            && ngx_memcmp(codes[i].data, code->data, code->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}
