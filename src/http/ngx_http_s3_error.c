
/*
 * Errors, as S3 answers them.
 *
 *     HTTP/1.1 404 Not Found
 *     x-amz-request-id: 4442587FB7D0A2F9
 *     x-amz-id-2: qAZ1WL2jzAz...
 *     Content-Type: application/xml
 *
 *     <?xml version="1.0" encoding="UTF-8"?>
 *     <Error>
 *       <Code>NoSuchKey</Code>
 *       <Message>The specified key does not exist.</Message>
 *       <Key>photos/a.jpg</Key>
 *       <Resource>/bucket/photos/a.jpg</Resource>
 *       <RequestId>4442587FB7D0A2F9</RequestId>
 *       <HostId>qAZ1WL2jzAz...</HostId>
 *     </Error>
 */


#include "ngx_http_s3.h"
#include "s3_xml.h"


#define NGX_HTTP_S3_DISCARD  (1024 * 1024)


static ngx_str_t ngx_http_s3_log_text(ngx_pool_t *pool,
    const ngx_str_t *text);
static ngx_int_t ngx_http_s3_error_headers(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_str_t *ngx_http_s3_error_element(ngx_http_s3_ctx_t *ctx,
    const char *name);


ngx_int_t
ngx_http_s3_send_error(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    size_t             size;
    ngx_int_t          rc;
    ngx_str_t          code, text;
    ngx_uint_t         level;
    ngx_chain_t       *out, *cl;
    s3_error_t         e;

    s3_failure(&ctx->fail, &e);

    level = NGX_LOG_INFO;

    if (e.status >= NGX_HTTP_INTERNAL_SERVER_ERROR
        && e.status != NGX_HTTP_NOT_IMPLEMENTED)
    {
        level = NGX_LOG_ERR;
    }

    code = ngx_http_s3_log_text(r->pool, &e.code);
    text = ngx_http_s3_log_text(r->pool, &e.message);

    ngx_log_error(level, r->connection->log, 0, "s3 %V: %V", &code, &text);

    ctx->own = 1;

    /*
     * A client that waits for "100 Continue" sees the refusal first and may
     * send no body at all, or all of it: what comes next on the connection is
     * not to be known (RFC 9110, section 10.1.1).
     */

    if (r->headers_in.expect && !r->expect_tested) {
        r->keepalive = 0;
    }

    r->expect_tested = 1;

    /* to read much just to drop it is worth less than a connection */

    if (r->headers_in.content_length_n > NGX_HTTP_S3_DISCARD) {
        r->keepalive = 0;
    }

    if (ngx_http_discard_request_body(r) != NGX_OK || r->reading_body) {
        r->keepalive = 0;
    }

    r->headers_out.status = e.status;
    r->headers_out.status_line.len = 0;
    r->disable_not_modified = 1;

    if (e.status == NGX_HTTP_NOT_MODIFIED) {
        rc = ngx_http_send_header(r);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            return rc;
        }

        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    /* an answer may have been half made: what is an object's goes */

    if (ngx_list_init(&r->headers_out.headers, r->pool, 8,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_out.etag = NULL;
    r->headers_out.accept_ranges = NULL;
    r->headers_out.last_modified = NULL;
    r->headers_out.last_modified_time = -1;

    out = ngx_http_s3_error_document(r, ctx, &size);
    if (out == NULL || ngx_http_s3_error_headers(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    for (cl = out; cl->next; cl = cl->next) { /* void */ }

    cl->buf->last_buf = 1;
    cl->buf->last_in_chain = 1;

    r->headers_out.content_length = NULL;
    r->headers_out.content_length_n = size;
    ngx_str_set(&r->headers_out.content_type, "application/xml");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, out);
}


/*
 * A message may quote what the client sent, and query arguments may hold any
 * byte: the error log, which nginx writes as it is, gets "\x0A" as the access
 * log would.
 */

static ngx_str_t
ngx_http_s3_log_text(ngx_pool_t *pool, const ngx_str_t *text)
{
    u_char     *p;
    size_t      i;
    ngx_str_t   s;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] < 0x20 || text->data[i] > 0x7e) {
            break;
        }
    }

    if (i == text->len) {
        return *text;
    }

    ngx_str_null(&s);

    p = ngx_pnalloc(pool, 4 * text->len);
    if (p == NULL) {
        return s;
    }

    s.data = p;

    for (i = 0; i < text->len; i++) {
        if (text->data[i] < 0x20 || text->data[i] > 0x7e) {
            p = ngx_sprintf(p, "\\x%02Xi", (ngx_int_t) text->data[i]);

        } else {
            *p++ = text->data[i];
        }
    }

    s.len = p - s.data;

    return s;
}


static ngx_int_t
ngx_http_s3_error_headers(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t  *element, value;

    switch (ctx->fail.error) {

    case S3_ERR_SERVICE_UNAVAILABLE:
    case S3_ERR_SLOW_DOWN:
        ngx_str_set(&value, "1");
        return ngx_http_s3_add_header(r, "Retry-After", &value);

    case S3_ERR_INVALID_RANGE:

        /* RFC 9110, section 15.5.17 */

        element = ngx_http_s3_error_element(ctx, "ActualObjectSize");
        if (element == NULL) {
            return NGX_OK;
        }

        value.data = ngx_pnalloc(r->pool, sizeof("bytes */") - 1
                                          + element->len);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_sprintf(value.data, "bytes */%V", element)
                    - value.data;

        return ngx_http_s3_add_header(r, "Content-Range", &value);

    case S3_ERR_AUTHORIZATION_HEADER_MALFORMED:
    case S3_ERR_AUTHORIZATION_QUERY_PARAMETERS_ERROR:

        /*
         * An answer to HEAD has no document: SDKs that sign for a wrong region
         * learn the right one from here (botocore's S3RegionRedirectorv2)
         */

        element = ngx_http_s3_error_element(ctx, "Region");
        if (element == NULL || ctx->target.bucket.len == 0) {
            return NGX_OK;
        }

        return ngx_http_s3_add_header(r, "x-amz-bucket-region", element);

    default:
        return NGX_OK;
    }
}


static ngx_str_t *
ngx_http_s3_error_element(ngx_http_s3_ctx_t *ctx, const char *name)
{
    size_t                 len;
    ngx_uint_t             i;
    s3_failure_element_t  *e;

    len = ngx_strlen(name);
    e = ctx->fail.elements;

    for (i = 0; i < ctx->fail.nelements; i++) {
        if (e[i].name.len == len
            && ngx_strncmp(e[i].name.data, name, len) == 0)
        {
            return &e[i].value;
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_s3_refuse(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_error_e error, const char *message)
{
    (void) s3_fail(&ctx->fail, error, message);

    return ngx_http_s3_send_error(r, ctx);
}


ngx_uint_t
ngx_http_s3_writable(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int  state;

    state = s3_client_state(ngx_http_s3_client(r));

    if (state == S3_STORE_READ_ONLY || state == S3_STORE_UNAVAILABLE) {
        (void) ngx_http_s3_store_error(ctx, state);
        return 0;
    }

    return 1;
}


/*
 * 503 ServiceUnavailable is what SDKs try again later, 503 SlowDown what they
 * try again with longer pauses.  A full store is ServiceUnavailable too: S3
 * knows no such error, 507 is not tried again by old SDKs, and space is made
 * by deleting.
 */

s3_error_e
ngx_http_s3_store_error(ngx_http_s3_ctx_t *ctx, int status)
{
    switch (status) {

    case S3_STORE_NO_SUCH_BUCKET:
        return s3_fail(&ctx->fail, S3_ERR_NO_SUCH_BUCKET, NULL);

    case S3_STORE_NO_SUCH_KEY:
        return s3_fail(&ctx->fail, S3_ERR_NO_SUCH_KEY, NULL);

    case S3_STORE_NO_SUCH_UPLOAD:
        return s3_fail(&ctx->fail, S3_ERR_NO_SUCH_UPLOAD, NULL);

    case S3_STORE_BUCKET_EXISTS:
        return s3_fail(&ctx->fail, S3_ERR_BUCKET_ALREADY_OWNED_BY_YOU, NULL);

    case S3_STORE_BUCKET_NOT_EMPTY:
        return s3_fail(&ctx->fail, S3_ERR_BUCKET_NOT_EMPTY, NULL);

    case S3_STORE_PRECONDITION_FAILED:
        return s3_fail(&ctx->fail, S3_ERR_PRECONDITION_FAILED, NULL);

    case S3_STORE_CONFLICT:
        return s3_fail(&ctx->fail, S3_ERR_CONDITIONAL_REQUEST_CONFLICT, NULL);

    case S3_STORE_READ_ONLY:
        return s3_fail(&ctx->fail, S3_ERR_SERVICE_UNAVAILABLE,
                       "Too many disks are missing to write; reading works.");

    case S3_STORE_UNAVAILABLE:
        return s3_fail(&ctx->fail, S3_ERR_SERVICE_UNAVAILABLE,
                       "Too many disks are missing.");

    case S3_STORE_BUSY:
        return ngx_http_s3_turn_away(ctx, NGX_HTTP_S3_REASON_QUEUE);

    case S3_STORE_SHARDS_MISSING:
    case S3_STORE_UNKNOWN:
    case S3_STORE_UNDECIDED:
        return s3_fail(&ctx->fail, S3_ERR_SLOW_DOWN, NULL);

    case S3_STORE_NO_SPACE:
        return s3_fail(&ctx->fail, S3_ERR_SERVICE_UNAVAILABLE,
                       "The disks are full.");

    case S3_STORE_TOO_SLOW:
        return ngx_http_s3_too_slow(ctx);

    default:
        ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                      "store: %s", s3_store_status_text(status));

        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }
}


s3_error_e
ngx_http_s3_turn_away(ngx_http_s3_ctx_t *ctx, ngx_http_s3_reason_e reason)
{
    ctx->reason = reason + 1;

    return s3_fail(&ctx->fail, S3_ERR_SLOW_DOWN, NULL);
}


s3_error_e
ngx_http_s3_too_slow(ngx_http_s3_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    /* the rest of its body is not waited for either */

    r->keepalive = 0;
    r->lingering_close = 1;

    ctx->reason = NGX_HTTP_S3_REASON_SLOW + 1;

    return s3_fail(&ctx->fail, S3_ERR_REQUEST_TIMEOUT,
                   "Your connection is too slow, and others waited for the "
                   "memory that the request held. Please try again.");
}


s3_error_e
ngx_http_s3_body_error(ngx_http_s3_ctx_t *ctx, s3_body_t *b)
{
    if (b->detail) {
        ngx_log_error(NGX_LOG_INFO, ctx->request->connection->log, 0,
                      "request body: %s", b->detail);
    }

    return s3_failf(ctx->request->pool, &ctx->fail,
                    s3_error_by_code(s3_body_error_code(b->error)), "%s",
                    b->message);
}


void
ngx_http_s3_end_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t         level;
    ngx_connection_t  *c;

    c = r->connection;

    ngx_http_s3_release(ctx);

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    r->read_event_handler = ngx_http_block_reading;

    if (!r->header_sent) {
        ngx_http_finalize_request(r, ngx_http_s3_send_error(r, ctx));
        return;
    }

    /* the client must see that the body is short */

    level = (ctx->fail.error == S3_ERR_REQUEST_TIMEOUT) ? NGX_LOG_INFO
                                                        : NGX_LOG_ERR;

    ngx_log_error(level, c->log, 0,
                  "s3 %V after the header was sent, closing the connection",
                  &s3_error(ctx->fail.error)->code);

    c->error = 1;

#if (NGX_HTTP_V2)

    /*
     * A stream is reset, which nginx queues, but sends only from handlers of
     * the connection, and this is none.
     */

    if (r->stream) {
        ngx_post_event(r->stream->connection->connection->write,
                       &ngx_posted_events);
    }

#endif

    ngx_http_finalize_request(r, NGX_ERROR);
}


ngx_chain_t *
ngx_http_s3_error_document(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    size_t *size)
{
    return s3_xml_error(r->pool, &ctx->fail,
                        ctx->target.path.len ? &ctx->target.path : &r->uri,
                        &ctx->target.bucket, &ctx->target.key,
                        &ctx->request_id, ngx_http_s3_host_id(), size);
}
