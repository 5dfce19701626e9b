
/*
 * A body on its way through the gateway: nginx's filter of request bodies.
 *
 *     client --> nginx's reader --> decode, digest --> nginx's proxy --> S3
 *                                       |
 *                                       +-- all but the last byte, until
 *                                           the verdict
 *
 * The last byte goes up when the body is known to be what its checksums and
 * signatures say, and, of an object whose checksum was not known when the
 * headers were sent, when its record is written.  A body that is bad ends the
 * connection to the upstream short of its Content-Length: what is stored there
 * stays as it was.
 *
 * Payload is moved to the front of nginx's own buffers, which stay busy until
 * it is sent: nothing is allocated, whatever the client sends.
 *
 * Content-Length of what is sent is the decoded length.  It must not stand in
 * headers_in while nginx reads (HTTP/2 compares it at the end; the reader goes
 * by headers_in.chunked), so it stands there only while the proxy makes its
 * request: the first call wraps r->upstream->create_request.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_gateway_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static void ngx_http_s3_gateway_read_before(ngx_http_request_t *r);
static ngx_int_t ngx_http_s3_gateway_body_begin(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_create_request(ngx_http_request_t *r);
static void ngx_http_s3_gateway_read_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_s3_gateway_decode(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_s3_gateway_body_end(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_body_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_chain_t *ngx_http_s3_gateway_last(ngx_http_request_t *r,
    ngx_http_s3_gateway_t *gw);
static ngx_chain_t *ngx_http_s3_gateway_bytes(ngx_http_request_t *r,
    u_char *p, size_t len);
static ngx_int_t ngx_http_s3_gateway_frame(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


static ngx_http_request_body_filter_pt  ngx_http_next_request_body_filter;


void
ngx_http_s3_gateway_init_body(void)
{
    ngx_http_next_request_body_filter = ngx_http_top_request_body_filter;
    ngx_http_top_request_body_filter = ngx_http_s3_gateway_body_filter;
}


ngx_int_t
ngx_http_s3_gateway_stream(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_body_t              *body;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    body = &ctx->payload->body;

    if (r->request_body) {
        ngx_http_s3_gateway_read_before(r);
        return NGX_ERROR;
    }

    gw->body = NGX_HTTP_S3_BODY_READ;
    gw->length = body->length;

    return !gw->emulate && body->has_trailer && gw->length
           ? ngx_http_s3_gateway_frame(r, ctx) : NGX_OK;
}


static void
ngx_http_s3_gateway_read_before(ngx_http_request_t *r)
{
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "s3_gateway: somebody else reads the body of this request "
                  "(\"mirror\"?), it cannot be checked");
}


/*
 * A server that knows checksums gets that of a trailer in one: all of the body
 * as one chunk, of which the length is known (S3 API Reference, "Signature
 * calculations ... with trailing headers").
 *
 *     500000\r\n  ...  \r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n
 */

static ngx_int_t
ngx_http_s3_gateway_frame(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char                    *p;
    ngx_str_t                  length, name;
    ngx_http_s3_gateway_t     *gw;
    const s3_checksum_info_t  *info;

    gw = ctx->gateway;

    info = s3_checksum_info(ctx->payload->body.checksum);

    name.data = (u_char *) info->header;
    name.len = info->header_len;

    gw->tail.len = sizeof("\r\n0\r\n:\r\n\r\n") - 1 + name.len
                   + info->text_len;

    p = ngx_pnalloc(r->pool, 2 * NGX_INT64_LEN + 2 + gw->tail.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    length.data = p;
    length.len = ngx_sprintf(p, "%uL", gw->length) - p;

    gw->head.data = p + length.len;
    gw->head.len = ngx_sprintf(gw->head.data, "%xL\r\n", gw->length)
                   - gw->head.data;

    gw->tail.data = gw->head.data + gw->head.len;

    return ngx_http_s3_gateway_add(ctx, "x-amz-decoded-content-length",
                                   &length) == NGX_OK
           ? ngx_http_s3_gateway_add(ctx, "x-amz-trailer", &name)
           : NGX_ERROR;
}


static ngx_int_t
ngx_http_s3_gateway_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t               rc;
    ngx_chain_t            *cl, *next, *out, **ll;
    ngx_http_s3_ctx_t      *ctx;
    ngx_http_s3_gateway_t  *gw;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx == NULL || ctx->gateway == NULL
        || ctx->gateway->body == NGX_HTTP_S3_BODY_PASSED)
    {
        return ngx_http_next_request_body_filter(r, in);
    }

    gw = ctx->gateway;

    if (gw->create_request == NULL
        && ngx_http_s3_gateway_body_begin(r, ctx) != NGX_OK)
    {
        return ngx_http_s3_gateway_body_failed(r, ctx);
    }

    if (gw->late && gw->body == NGX_HTTP_S3_BODY_READ) {
        (void) s3_fail(&ctx->fail, S3_ERR_REQUEST_TIMEOUT, NULL);
        gw->body = NGX_HTTP_S3_BODY_BAD;
    }

    out = NULL;
    ll = &out;

    for (cl = in; cl; cl = next) {

        /* the links are the reader's, which looks at its buffers after us */

        next = cl->next;

        if (gw->body == NGX_HTTP_S3_BODY_READ) {

            if (cl->buf->last_buf) {
                gw->ended = 1;
                cl->buf->last_buf = 0;
            }

            if (ngx_http_s3_gateway_decode(r, ctx, cl->buf) != NGX_OK) {
                gw->body = NGX_HTTP_S3_BODY_BAD;
            }
        }

        if (gw->body == NGX_HTTP_S3_BODY_BAD) {
            cl->buf->pos = cl->buf->last;
            continue;
        }

        if (cl->buf->pos == cl->buf->last) {
            continue;
        }

        if (gw->head.len && !gw->begun) {

            *ll = ngx_http_s3_gateway_bytes(r, gw->head.data, gw->head.len);
            if (*ll == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            ll = &(*ll)->next;
        }

        gw->begun = 1;

        *ll = ngx_alloc_chain_link(r->pool);
        if (*ll == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        (*ll)->buf = cl->buf;
        (*ll)->next = NULL;
        ll = &(*ll)->next;
    }

    if (gw->body == NGX_HTTP_S3_BODY_READ && gw->ended
        && ngx_http_s3_gateway_body_end(r, ctx) != NGX_OK)
    {
        gw->body = NGX_HTTP_S3_BODY_BAD;
    }

    if (gw->body == NGX_HTTP_S3_BODY_BAD) {
        return ngx_http_s3_gateway_body_failed(r, ctx);
    }

    if (gw->body == NGX_HTTP_S3_BODY_GOOD) {

        *ll = ngx_http_s3_gateway_last(r, gw);
        if (*ll == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        gw->body = NGX_HTTP_S3_BODY_SENT;
    }

    rc = ngx_http_next_request_body_filter(r, out);

    while (out) {
        cl = out;
        out = out->next;
        ngx_free_chain(r->pool, cl);
    }

    /* nginx sets it while it reads; a request that is slow is ours to answer */

    if (rc == NGX_OK && gw->body == NGX_HTTP_S3_BODY_READ
        && r->read_event_handler != ngx_http_s3_gateway_read_handler
        && r->read_event_handler != ngx_http_block_reading)
    {
        gw->read_event_handler = r->read_event_handler;
        r->read_event_handler = ngx_http_s3_gateway_read_handler;
    }

    return rc;
}


static ngx_int_t
ngx_http_s3_gateway_body_begin(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (r->upstream == NULL || r->upstream->create_request == NULL) {
        ngx_http_s3_gateway_read_before(r);
        return NGX_ERROR;
    }

    gw->create_request = r->upstream->create_request;
    r->upstream->create_request = ngx_http_s3_gateway_create_request;

    r->request_body->filter_need_buffering = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_gateway_create_request(ngx_http_request_t *r)
{
    off_t                   length;
    ngx_int_t               rc;
    ngx_uint_t              chunked;
    ngx_http_s3_ctx_t      *ctx;
    ngx_http_s3_gateway_t  *gw;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);
    gw = ctx->gateway;

    length = r->headers_in.content_length_n;
    chunked = r->headers_in.chunked;

    r->headers_in.content_length_n = (off_t) (gw->head.len + gw->length
                                              + gw->tail.len);
    r->headers_in.chunked = 0;

    rc = gw->create_request(r);

    r->headers_in.content_length_n = length;
    r->headers_in.chunked = chunked;

    return rc;
}


/* 408 would close the connection without a word; S3 answers RequestTimeout */

static void
ngx_http_s3_gateway_read_handler(ngx_http_request_t *r)
{
    ngx_event_t            *rev;
    ngx_http_s3_ctx_t      *ctx;
    ngx_http_s3_gateway_t  *gw;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);
    gw = ctx->gateway;
    rev = r->connection->read;

    r->read_event_handler = gw->read_event_handler;

    if (rev->timedout) {
        rev->timedout = 0;
        gw->late = 1;
    }

    r->read_event_handler(r);
}


/* b keeps what goes on of it */

static ngx_int_t
ngx_http_s3_gateway_decode(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_buf_t *b)
{
    size_t                  len;
    u_char                 *dst;
    s3_body_t              *body;
    const u_char           *pos, *run;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    body = &ctx->payload->body;

    pos = b->pos;
    dst = b->pos;

    while (pos < b->last) {

        switch (s3_body_decode(body, &pos, b->last, &run, &len)) {

        case S3_CHUNKED_DATA:
            break;

        case S3_CHUNKED_MORE:
        case S3_CHUNKED_DONE:
            continue;

        default:
            (void) ngx_http_s3_body_error(ctx, body);
            return NGX_ERROR;
        }

        s3_body_update(body, run, len);

        gw->passed += len;

        if (gw->passed > gw->length) {

            /* the decoder sees to it */

            (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
            return NGX_ERROR;
        }

        if (gw->passed == gw->length) {
            len--;
            gw->last[0] = run[len];
            gw->has_last = 1;
        }

        if (dst != run) {
            ngx_memmove(dst, run, len);
        }

        dst += len;
    }

    b->last = dst;

    return NGX_OK;
}


/* NGX_OK: it is good, or its record is being written */

static ngx_int_t
ngx_http_s3_gateway_body_end(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_body_t              *body;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    body = &ctx->payload->body;

    if (s3_body_end(body) != S3_BODY_OK || s3_body_finish(body) != S3_BODY_OK)
    {
        (void) ngx_http_s3_body_error(ctx, body);
        return NGX_ERROR;
    }

    gw->body = NGX_HTTP_S3_BODY_GOOD;

    if (ngx_http_s3_gateway_sums(r, ctx) != NGX_OK) {
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        return NGX_ERROR;
    }

    if (!gw->record) {
        return NGX_OK;
    }

    gw->body = NGX_HTTP_S3_BODY_RECORD;

    if (ngx_http_s3_gateway_write_record(r, ctx) != NGX_OK) {
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        return NGX_ERROR;
    }

    return NGX_OK;
}


void
ngx_http_s3_gateway_recorded(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_uint_t written)
{
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (gw->body != NGX_HTTP_S3_BODY_RECORD) {
        return;
    }

    gw->body = written ? NGX_HTTP_S3_BODY_GOOD : NGX_HTTP_S3_BODY_BAD;

    /* the reader calls the filters once more, without a buffer */

    r->read_event_handler(r);
}


/*
 * Neither 408, on which nginx says nothing, nor 400, on which it does not wait
 * for what a client is still sending: the header filter puts the right status
 * in its place.
 */

static ngx_int_t
ngx_http_s3_gateway_body_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "s3 body refused after %uL of %uL bytes",
                  ctx->gateway->passed, ctx->gateway->length);

    if (!ctx->gateway->ended) {
        r->keepalive = 0;
        r->lingering_close = 1;
    }

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* the last byte, and what follows it */

static ngx_chain_t *
ngx_http_s3_gateway_last(ngx_http_request_t *r, ngx_http_s3_gateway_t *gw)
{
    u_char       *p;
    ngx_chain_t  *first, *cl, **ll;

    first = NULL;
    ll = &first;

    if (gw->head.len && !gw->begun) {

        /* a body of one byte */

        *ll = ngx_http_s3_gateway_bytes(r, gw->head.data, gw->head.len);
        if (*ll == NULL) {
            return NULL;
        }

        ll = &(*ll)->next;
    }

    *ll = ngx_http_s3_gateway_bytes(r, gw->last, gw->has_last ? 1 : 0);
    if (*ll == NULL) {
        return NULL;
    }

    cl = *ll;

    if (gw->tail.len) {
        p = ngx_sprintf(gw->tail.data, "\r\n0\r\n%s:%V\r\n\r\n",
                        s3_checksum_info(gw->checksum.algorithm)->header,
                        &gw->checksum.text);

        if (p != gw->tail.data + gw->tail.len) {
            return NULL;
        }

        cl->next = ngx_http_s3_gateway_bytes(r, gw->tail.data, gw->tail.len);
        if (cl->next == NULL) {
            return NULL;
        }

        cl = cl->next;
    }

    cl->buf->last_buf = 1;

    return first;
}


static ngx_chain_t *
ngx_http_s3_gateway_bytes(ngx_http_request_t *r, u_char *p, size_t len)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(r->pool);
    b = ngx_calloc_buf(r->pool);

    if (cl == NULL || b == NULL) {
        return NULL;
    }

    if (len) {
        b->start = p;
        b->pos = p;
        b->last = p + len;
        b->end = b->last;
        b->memory = 1;
        b->flush = r->request_body_no_buffering;
    }

    cl->buf = b;
    cl->next = NULL;

    return cl;
}
