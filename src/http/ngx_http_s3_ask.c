
/*
 * Requests of our own to the upstream, on behalf of a client's.
 *
 *     ask()     a background subrequest in the client's location, which goes
 *               to nginx's proxy at once, past all phases: with the location's
 *               upstream, its balancing, TLS, timeouts and retries
 *     filters   its answer is kept here (ngx_http_s3_ask_take()) and goes to
 *               no client
 *     done      when the subrequest is finalized: an event, in which whoever
 *               has asked goes on
 *
 * The client's request counts its subrequests and lives as long as any of
 * them; what is asked after its answer was sent delays what comes next on
 * its connection.
 *
 * A subrequest's method is none of nginx's where it is sent by its name: no
 * proxy_cache keeps the answer or gives one.
 */


#include "ngx_http_s3_gateway.h"


#define NGX_HTTP_S3_ASK_BUFFER  4096
#define NGX_HTTP_S3_ASK_LARGE   65536


static ngx_int_t ngx_http_s3_ask_headers(ngx_http_request_t *r,
    ngx_http_request_t *sr, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_ask_start(ngx_http_request_t *sr);
static ngx_int_t ngx_http_s3_ask_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc);
static void ngx_http_s3_ask_event(ngx_event_t *ev);
static ngx_int_t ngx_http_s3_ask_keep(ngx_http_s3_ask_t *ask,
    const u_char *p, size_t len);


ngx_http_s3_ask_t *
ngx_http_s3_ask_create(ngx_http_request_t *r, const char *method,
    ngx_str_t *bucket, ngx_str_t *key)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_ask_t));

    if (ask == NULL
        || ngx_array_init(&ask->headers, r->pool, 4, sizeof(s3_header_t))
           != NGX_OK)
    {
        return NULL;
    }

    ask->method.data = (u_char *) method;
    ask->method.len = ngx_strlen(method);
    ask->bucket = *bucket;
    ask->max = NGX_HTTP_S3_ASK_ERROR;

    if (key) {
        ask->key = *key;
    }

    return ask;
}


ngx_int_t
ngx_http_s3_ask_body(ngx_http_request_t *r, ngx_http_s3_ask_t *ask,
    ngx_str_t *body)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->start = body->data;
    b->pos = body->data;
    b->last = body->data + body->len;
    b->end = b->last;
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    ask->body = body->len ? cl : NULL;
    ask->body_size = body->len;

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    size_t                       size;
    ngx_int_t                    rc;
    ngx_http_s3_ctx_t           *sctx;
    ngx_http_request_t          *sr;
    ngx_http_request_body_t     *rb;
    ngx_http_variable_value_t   *variables;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_post_subrequest_t  *ps;

    ask->request = r;
    ask->ctx = ctx;

    ask->event.handler = ngx_http_s3_ask_event;
    ask->event.data = ask;
    ask->event.log = r->connection->log;

    /* ngx_http_s3_cleanup() is what ends it with the request */

    if (ngx_http_s3_wait(r, ctx, 0) != NGX_OK) {
        goto failed;
    }

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    sctx = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_ctx_t));
    rb = ngx_pcalloc(r->pool, sizeof(ngx_http_request_body_t));

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    size = cmcf->variables.nelts * sizeof(ngx_http_variable_value_t);
    variables = ngx_palloc(r->pool, size);

    if (ps == NULL || sctx == NULL || rb == NULL || variables == NULL) {
        goto failed;
    }

    ps->handler = ngx_http_s3_ask_done;
    ps->data = ask;

    rc = ngx_http_subrequest(r, &r->uri, NULL, &sr, ps,
                             NGX_HTTP_SUBREQUEST_BACKGROUND);
    if (rc != NGX_OK) {
        goto failed;
    }

    ask->sr = sr;

    sctx->request = sr;
    sctx->request_id = ctx->request_id;
    sctx->ask = ask;

    ngx_http_set_ctx(sr, sctx, ngx_http_s3_module);

    sr->method = ask->once ? NGX_HTTP_PATCH : NGX_HTTP_UNKNOWN;
    sr->method_name = ask->method;
    sr->loc_conf = r->loc_conf;
    sr->write_event_handler = ngx_http_s3_ask_start;

    rb->bufs = ask->body;
    sr->request_body = rb;

    /* what a variable is for a question ($slice_range: nothing) it is not for
     * the request, which has its own to set ($where of "set") */

    ngx_memcpy(variables, sr->variables, size);
    sr->variables = variables;

    ask->next = ctx->gateway->asks;
    ctx->gateway->asks = ask;

    if (ngx_http_s3_ask_headers(r, sr, ask) != NGX_OK) {

        /* it is posted already, and ends with nothing sent */

        sr->method_name.len = 0;
    }

    if (ask->resume) {
        return NGX_OK;
    }

    if (ask->timeout) {
        ngx_add_timer(&ask->event, ask->timeout);
    }

    r->main->count++;

    return NGX_DONE;

failed:

    return ask->resume ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* only what we say is sent: nothing of the client's headers */

static ngx_int_t
ngx_http_s3_ask_headers(ngx_http_request_t *r, ngx_http_request_t *sr,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_headers_in_t  *in;

    in = &sr->headers_in;

    ngx_memzero(in, sizeof(ngx_http_headers_in_t));

    in->server = r->headers_in.server;
    in->content_length_n = (ask->body || ask->method.data[0] == 'P')
                           ? (off_t) ask->body_size : -1;
    in->keep_alive_n = -1;

    return ngx_http_s3_gateway_target(sr, ask);
}


static void
ngx_http_s3_ask_start(ngx_http_request_t *sr)
{
    ngx_connection_t    *c;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    r = sr->main;
    c = r->connection;

    ctx = ngx_http_get_module_ctx(sr, ngx_http_s3_module);
    ctx = ctx ? ctx->ask->ctx : NULL;

    if (sr->method_name.len == 0 || ctx == NULL
        || ctx != ngx_http_get_module_ctx(r, ngx_http_s3_module))
    {
        ngx_http_finalize_request(sr, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    /* the client has sent all of its body: it is not the client that is slow
     * while we ask, see ngx_http_s3_gateway_body.c */

    if (ctx->gateway->body == NGX_HTTP_S3_BODY_RECORD && c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0, "s3 asks: %V %V",
                   &sr->method_name, &sr->unparsed_uri);

    ngx_http_finalize_request(sr, ctx->gateway->proxy(sr));
}


/*
 * Called by ngx_http_finalize_request() of the subrequest, a second time where
 * nginx has made an error page of the first.  Its own end is no error of the
 * client's request.
 */

static ngx_int_t
ngx_http_s3_ask_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_s3_ctx_t  *ctx;
    ngx_http_s3_ask_t  *ask = data;

    if (ask->done) {
        return NGX_OK;
    }

    ask->done = 1;

    /* an answer that was cut short is none: its end did not come */

    if (rc == NGX_OK && sr->upstream && (ask->whole || sr->header_only)) {
        ask->status = sr->headers_out.status;
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, sr->connection->log, 0,
                   "s3 asked: %V %V %i %ui", &sr->method_name,
                   &sr->unparsed_uri, rc, ask->status);

    ctx = ngx_http_get_module_ctx(sr->main, ngx_http_s3_module);

    if (ctx != ask->ctx || ctx->closed) {
        return NGX_OK;
    }

    if (ask->status && !ctx->gateway->signed_once) {

        ngx_log_error(NGX_LOG_ERR, sr->connection->log, 0,
                      "s3_gateway: the upstream was asked without a "
                      "signature; add \"include s3_gateway_params;\" to the "
                      "location");

        ask->status = 0;
    }

    if (ask->event.timer_set) {
        ngx_del_timer(&ask->event);
    }

    if (ask->resume) {

        /* the request must be there still in the event */

        sr->main->count++;
    }

    ngx_post_event(&ask->event, &ngx_posted_events);

    return NGX_OK;
}


static void
ngx_http_s3_ask_event(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_s3_ask_t   *ask;
    ngx_http_request_t  *r;

    ask = ev->data;
    r = ask->request;
    c = r->connection;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx != ask->ctx) {

        /* redirected, to an error's page: this is for nobody */

        if (!ask->ctx->closed) {
            ngx_http_finalize_request(r, NGX_DONE);
            ngx_http_run_posted_requests(c);
        }

        return;
    }

    if (!ngx_http_s3_go_on(ctx)) {
        return;
    }

    /* by its timer: what still comes is for nobody */

    ask->done = 1;

    if (ask->answer) {
        ngx_http_s3_result(r, ctx, ask->answer(r, ctx, ask));
        return;
    }

    ask->resume(r, ctx, ask);

    ngx_http_finalize_request(r, NGX_DONE);
    ngx_http_run_posted_requests(c);
}


void
ngx_http_s3_ask_cancel(ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_ask_t  *ask;

    if (ctx->gateway == NULL) {
        return;
    }

    for (ask = ctx->gateway->asks; ask; ask = ask->next) {
        if (ask->event.posted) {
            ngx_delete_posted_event(&ask->event);
        }

        if (ask->event.timer_set) {
            ngx_del_timer(&ask->event);
        }
    }
}


/*
 * nginx's pipe gives nothing to a request that is not the one its connection
 * is about, before all of the answer has come, and then stops for want of
 * buffers: without buffering each piece comes when it is there.
 */

ngx_int_t
ngx_http_s3_ask_answers(ngx_http_request_t *sr, ngx_http_s3_ask_t *ask)
{
    if (sr->upstream) {
        sr->upstream->buffering = 0;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_ask_take(ngx_http_request_t *sr, ngx_http_s3_ask_t *ask,
    ngx_chain_t *in)
{
    size_t      len;
    ngx_buf_t  *b;

    for ( /* void */ ; in; in = in->next) {

        b = in->buf;
        len = ngx_buf_in_memory(b) ? (size_t) (b->last - b->pos) : 0;

        if (b->last_buf || b->last_in_chain) {
            ask->whole = 1;
        }

        if (len && !ask->too_large) {

            if (ask->take && sr->headers_out.status < 300) {
                if (ask->take(ask, b->pos, len) != NGX_OK) {
                    return NGX_ERROR;
                }

            } else if (ngx_http_s3_ask_keep(ask, b->pos, len) != NGX_OK) {
                return NGX_ERROR;
            }
        }

        b->pos = b->last;
        b->file_pos = b->file_last;
    }

    return NGX_OK;
}


/* NGX_OK also where there is no room: ask->too_large */

static ngx_int_t
ngx_http_s3_ask_keep(ngx_http_s3_ask_t *ask, const u_char *p, size_t len)
{
    size_t              n, size;
    ngx_buf_t          *b;
    ngx_chain_t        *cl;
    ngx_http_s3_ctx_t  *ctx;

    if (ask->size + len > ask->max) {
        ask->too_large = 1;
        return NGX_OK;
    }

    ctx = ask->ctx;

    while (len) {

        cl = ask->out_last;

        if (cl == NULL || cl->buf->last == cl->buf->end) {

            size = ask->size ? NGX_HTTP_S3_ASK_LARGE : NGX_HTTP_S3_ASK_BUFFER;

            if (size > NGX_HTTP_S3_ASK_BUFFER
                && ngx_http_s3_document_reserve(ctx, size) != S3_OK)
            {
                ask->too_large = 1;
                return NGX_OK;
            }

            cl = ngx_alloc_chain_link(ask->request->pool);
            b = ngx_create_temp_buf(ask->request->pool, size);

            if (cl == NULL || b == NULL) {
                return NGX_ERROR;
            }

            cl->buf = b;
            cl->next = NULL;

            if (ask->out_last) {
                ask->out_last->next = cl;

            } else {
                ask->out = cl;
            }

            ask->out_last = cl;
        }

        b = cl->buf;
        n = ngx_min(len, (size_t) (b->end - b->last));

        b->last = ngx_cpymem(b->last, p, n);

        p += n;
        len -= n;
        ask->size += n;
    }

    return NGX_OK;
}


void
ngx_http_s3_ask_drop(ngx_http_s3_ask_t *ask, const char *name)
{
    s3_upstream_drop(&ask->headers, name);
}


ngx_str_t *
ngx_http_s3_ask_header(ngx_http_s3_ask_t *ask, const char *name)
{
    ngx_table_elt_t  *h;

    if (ask->status == 0) {
        return NULL;
    }

    h = ngx_http_s3_find_header(&ask->sr->upstream->headers_in.headers, name);

    return h ? &h->value : NULL;
}


ngx_table_elt_t *
ngx_http_s3_find_header(ngx_list_t *headers, const char *name)
{
    ngx_uint_t        i;
    s3_header_t       header;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &headers->part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        header.name = h[i].key;

        if (h[i].hash && s3_upstream_named(&header, name)) {
            return &h[i];
        }
    }
}


ngx_int_t
ngx_http_s3_ask_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    if (ask->status == 0) {
        (void) s3_fail(&ctx->fail, S3_ERR_SERVICE_UNAVAILABLE, NULL);
        return NGX_DECLINED;
    }

    ngx_http_s3_gateway_refused(r, ctx, ask->status, ask->out);

    return NGX_DECLINED;
}
