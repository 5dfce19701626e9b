
/*
 * A request's body.
 *
 *     nginx's buffers --> s3_body_decode() --> sink
 *       (unbuffered,        runs of              an upload, or a small
 *        or read whole)     payload              document in memory
 *
 * nginx reads on only when all it has given is taken, so that a sink that is
 * full stops the client by TCP's (or HTTP/2's) own means.
 */


#include "ngx_http_s3.h"


#define NGX_HTTP_S3_FILE_BUFFER      65536
#define NGX_HTTP_S3_DOCUMENT_FIRST   4096
#define NGX_HTTP_S3_DOCUMENT_BUFFER  65536
#define NGX_HTTP_S3_JUDGE_AGAIN      100     /* ms */


static s3_error_e ngx_http_s3_payload_form(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_body_conf_t *conf,
    ngx_http_s3_payload_t *payload);
static s3_error_e ngx_http_s3_payload_length(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_body_conf_t *conf);
static s3_error_e ngx_http_s3_payload_checksum(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_body_conf_t *conf);
static void ngx_http_s3_receive_handler(ngx_http_request_t *r);
static void ngx_http_s3_receive_came(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_receive_event(ngx_http_request_t *r);
static ngx_int_t ngx_http_s3_receive_buf(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_s3_receive_take(ngx_http_s3_ctx_t *ctx,
    const u_char *last);
static void ngx_http_s3_receive_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_int_t rc);
static size_t ngx_http_s3_document_sink(ngx_http_s3_ctx_t *ctx,
    const u_char *p, size_t len);
static size_t ngx_http_s3_document_room(ngx_http_s3_ctx_t *ctx);
static s3_error_e ngx_http_s3_reserve(ngx_http_s3_ctx_t *ctx, size_t size,
    size_t *used, size_t max);
static void ngx_http_s3_reserve_judge(size_t *used, size_t size);
static void ngx_http_s3_reserve_cleanup(void *data);


/* of this worker; who holds some of it, the oldest first */
static size_t       ngx_http_s3_documents;
static size_t       ngx_http_s3_bodies;
static ngx_queue_t  ngx_http_s3_holding;
static ngx_msec_t   ngx_http_s3_judged;


ngx_uint_t
ngx_http_s3_body_taken_away(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    static const u_char  empty_sha256[32] = {
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
        0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
        0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
        0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55
    };

    return r->headers_in.content_length_n <= 0
           && !r->headers_in.chunked
           && ctx->auth.payload == S3_PAYLOAD_HASH
           && ngx_memcmp(ctx->auth.payload_hash, empty_sha256,
                         sizeof(empty_sha256))
              != 0;
}


s3_error_e
ngx_http_s3_payload_create(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    uint64_t max)
{
    u_char                  md5[S3_BODY_MD5_LEN];
    ngx_str_t               value;
    s3_error_e              error;
    ngx_uint_t              n;
    s3_header_t            *h;
    s3_body_conf_t          conf;
    ngx_http_s3_payload_t  *payload;

    /*
     * Not in the pool: threads may still add to the digests of an upload when
     * its request has ended.
     */

    payload = ngx_calloc(sizeof(ngx_http_s3_payload_t), r->connection->log);
    if (payload == NULL) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    payload->refs = 1;
    ctx->payload = payload;

    if (ngx_http_s3_wait(r, ctx, 0) != NGX_OK) {
        ngx_http_s3_release(ctx);
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ngx_memzero(&conf, sizeof(s3_body_conf_t));

    conf.max_length = max;
    conf.default_checksum = ctx->checksum ? ctx->checksum
                                          : S3_CHECKSUM_CRC64NVME;
    conf.also_checksum = ctx->also;

    error = ngx_http_s3_payload_form(r, ctx, &conf, payload);
    if (error != S3_OK) {
        return error;
    }

    error = ngx_http_s3_payload_length(r, ctx, &conf);
    if (error != S3_OK) {
        return error;
    }

    h = s3_header_find(ctx->headers.elts, ctx->nreal, "content-md5",
                       sizeof("content-md5") - 1, &n);

    if (h) {
        if (n > 1
            || s3_body_md5((char *) h->value.data, h->value.len, md5) != 0)
        {
            (void) s3_fail(&ctx->fail, S3_ERR_INVALID_DIGEST,
                           "The Content-MD5 you specified was invalid.");
            s3_fail_element(&ctx->fail, "Content-MD5", &h->value);
            return ctx->fail.error;
        }

        conf.md5 = md5;
    }

    error = ngx_http_s3_payload_checksum(r, ctx, &conf);
    if (error != S3_OK) {
        return error;
    }

    if (conf.length != S3_BODY_UNKNOWN && conf.length > max) {
        (void) s3_fail(&ctx->fail, max == NGX_HTTP_S3_MAX_PUT
                                   ? S3_ERR_ENTITY_TOO_LARGE
                                   : S3_ERR_MAX_MESSAGE_LENGTH_EXCEEDED,
                       NULL);

        value.data = ngx_pnalloc(r->pool, 2 * NGX_INT64_LEN);

        if (value.data) {
            value.len = ngx_sprintf(value.data, "%uL", conf.length)
                        - value.data;
            s3_fail_element(&ctx->fail, "ProposedSize", &value);

            value.data += NGX_INT64_LEN;
            value.len = ngx_sprintf(value.data, "%uL", max) - value.data;
            s3_fail_element(&ctx->fail, "MaxSizeAllowed", &value);
        }

        return ctx->fail.error;
    }

    if (s3_body_init(&payload->body, &conf) != S3_BODY_OK) {
        return ngx_http_s3_body_error(ctx, &payload->body);
    }

    return S3_OK;
}


/* x-amz-content-sha256, as the signature's verdict has it */

static s3_error_e
ngx_http_s3_payload_form(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_body_conf_t *conf, ngx_http_s3_payload_t *payload)
{
    switch (ctx->auth.payload) {

    case S3_PAYLOAD_HASH:
        conf->form = S3_BODY_FORM_SIGNED;
        ngx_memcpy(conf->sha256, ctx->auth.payload_hash, S3_BODY_SHA256_LEN);
        return S3_OK;

    case S3_PAYLOAD_UNSIGNED:
        conf->form = S3_BODY_FORM_UNSIGNED;
        return S3_OK;

    case S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER:
        conf->form = S3_BODY_FORM_UNSIGNED_TRAILER;
        return S3_OK;

    case S3_PAYLOAD_STREAMING_SIGNED:
        conf->form = S3_BODY_FORM_CHUNKS;
        break;

    case S3_PAYLOAD_STREAMING_SIGNED_TRAILER:
        conf->form = S3_BODY_FORM_CHUNKS_TRAILER;
        break;

    default:
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    if (ctx->auth.scope.len > sizeof(payload->scope)) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ngx_memcpy(payload->scope, ctx->auth.scope.data, ctx->auth.scope.len);

    ngx_memcpy(payload->key.signing_key, ctx->auth.signing_key, 32);
    ngx_memcpy(payload->key.date, ctx->auth.amz_date, S3_CHUNKED_DATE_LEN);
    ngx_memcpy(payload->key.seed, ctx->auth.signature,
               S3_CHUNKED_SIGNATURE_LEN);
    payload->key.scope = payload->scope;
    payload->key.scope_len = ctx->auth.scope.len;

    conf->key = &payload->key;

    return S3_OK;
}


static s3_error_e
ngx_http_s3_payload_length(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_body_conf_t *conf)
{
    off_t         length;
    ngx_uint_t    n;
    s3_header_t  *h;

    if (conf->form == S3_BODY_FORM_SIGNED
        || conf->form == S3_BODY_FORM_UNSIGNED)
    {
        if (r->headers_in.content_length_n >= 0) {
            conf->length = r->headers_in.content_length_n;
            return S3_OK;
        }

        if (r->headers_in.chunked) {
            conf->length = S3_BODY_UNKNOWN;
            return S3_OK;
        }

        /* HTTP/2 and HTTP/3 say by a flag that there is no body */

        if (r->http_version >= NGX_HTTP_VERSION_20) {
            conf->length = 0;
            return S3_OK;
        }

        return s3_fail(&ctx->fail, S3_ERR_MISSING_CONTENT_LENGTH, NULL);
    }

    h = s3_header_find(ctx->headers.elts, ctx->nreal,
                       "x-amz-decoded-content-length",
                       sizeof("x-amz-decoded-content-length") - 1, &n);

    /* botocore leaves it out where it does not know how long a stream is */

    if (h == NULL && r->headers_in.chunked) {
        conf->length = S3_BODY_UNKNOWN;
        return S3_OK;
    }

    if (h == NULL) {
        return s3_fail(&ctx->fail, S3_ERR_MISSING_CONTENT_LENGTH,
                       "You must provide the x-amz-decoded-content-length "
                       "HTTP header.");
    }

    length = ngx_atoof(h->value.data, h->value.len);

    if (n > 1 || length == NGX_ERROR) {
        return s3_fail_argument(&ctx->fail,
                                "x-amz-decoded-content-length must be a "
                                "number",
                                "x-amz-decoded-content-length", &h->value);
    }

    conf->length = length;

    return S3_OK;
}


static s3_error_e
ngx_http_s3_payload_checksum(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_body_conf_t *conf)
{
    ngx_uint_t      i, n;
    s3_header_t    *h, *trailer;
    s3_checksum_e   algorithm;

    h = ctx->headers.elts;

    for (i = 0; i < ctx->nreal && !ctx->whole; i++) {

        if (!s3_header_has_prefix(&h[i], "x-amz-checksum-",
                                  sizeof("x-amz-checksum-") - 1))
        {
            continue;
        }

        algorithm = s3_checksum_by_header((char *) h[i].name.data,
                                          h[i].name.len);

        if (algorithm == S3_CHECKSUM_NONE) {

            /* x-amz-checksum-type, -mode and -algorithm say how, not what */

            if (s3_header(&h[i], 1, "x-amz-checksum-type")
                || s3_header(&h[i], 1, "x-amz-checksum-mode")
                || s3_header(&h[i], 1, "x-amz-checksum-algorithm"))
            {
                continue;
            }

            return s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                            "The algorithm type you specified in %V header "
                            "is invalid.", &h[i].name);
        }

        if (conf->checksum != S3_CHECKSUM_NONE) {
            return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                           "Expecting a single x-amz-checksum- header. "
                           "Multiple checksum Types are not allowed.");
        }

        if (s3_checksum_parse(algorithm, (char *) h[i].value.data,
                              h[i].value.len, conf->digest)
            != 0)
        {
            return s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                            "Value for %s header is invalid.",
                            s3_checksum_info(algorithm)->header);
        }

        conf->checksum = algorithm;
    }

    trailer = s3_header_find(h, ctx->nreal, "x-amz-trailer",
                             sizeof("x-amz-trailer") - 1, &n);

    if (trailer) {
        if (n > 1) {
            return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                           "Expecting a single x-amz-trailer header.");
        }

        conf->trailer = (char *) trailer->value.data;
        conf->trailer_len = trailer->value.len;
        return S3_OK;
    }

    h = s3_header_find(h, ctx->nreal, "x-amz-sdk-checksum-algorithm",
                       sizeof("x-amz-sdk-checksum-algorithm") - 1, NULL);

    if (h && conf->checksum == S3_CHECKSUM_NONE) {
        return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                       "x-amz-sdk-checksum-algorithm specified, but no "
                       "corresponding x-amz-checksum-* or x-amz-trailer "
                       "headers were found.");
    }

    return S3_OK;
}


void
ngx_http_s3_payload_release(ngx_http_s3_payload_t *payload)
{
    if (--payload->refs) {
        return;
    }

    s3_body_cleanup(&payload->body);

    /* chunk signatures are made with the signing key */

    ngx_explicit_memzero(&payload->key, sizeof(s3_chunked_key_t));

    ngx_free(payload);
}


void
ngx_http_s3_receive(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_sink_pt sink, ngx_http_s3_next_pt received)
{
    ngx_int_t  rc;

    ctx->sink = sink;
    ctx->received = received;

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_s3_receive_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_s3_receive_failed(r, ctx, rc);
        return;
    }

    /* reading holds a count of its own, which is ours from now on */

    ngx_http_finalize_request(r, NGX_DONE);
}


static void
ngx_http_s3_receive_handler(ngx_http_request_t *r)
{
    ngx_http_s3_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    ngx_http_s3_receive_came(r, ctx);
    ngx_http_s3_receive_run(r, ctx);
}


static void
ngx_http_s3_receive_came(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    off_t         bytes;
    ngx_chain_t  *cl;

    ctx->in = r->request_body->bufs;
    r->request_body->bufs = NULL;

    bytes = 0;

    for (cl = ctx->in; cl; cl = cl->next) {
        bytes += ngx_buf_size(cl->buf);
    }

    ngx_http_s3_pace_came(ctx, bytes);
}


static void
ngx_http_s3_receive_event(ngx_http_request_t *r)
{
    ngx_http_s3_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    ngx_http_s3_receive_run(r, ctx);
}


void
ngx_http_s3_receive_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_chain_t             *cl;
    ngx_connection_t        *c;
    ngx_http_s3_loc_conf_t  *lcf;

    c = r->connection;

    if (ctx->too_slow) {

        /* the timer ends it, whatever comes now */

        return;
    }

    for ( ;; ) {

        while (ctx->in) {

            rc = ngx_http_s3_receive_buf(r, ctx, ctx->in->buf);

            if (rc == NGX_AGAIN) {

                ngx_log_debug0(NGX_LOG_DEBUG_HTTP, c->log, 0,
                               "s3 body waits for the store");

                if (c->read->timer_set) {
                    ngx_del_timer(c->read);
                }

                r->read_event_handler = ngx_http_block_reading;

                lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

                if (ngx_http_s3_wait(r, ctx, lcf->timeout) != NGX_OK) {
                    rc = NGX_ERROR;

                } else {
                    return;
                }
            }

            if (rc != NGX_OK) {
                if (ctx->fail.error == S3_OK) {
                    (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
                }

                ngx_http_s3_end_failed(r, ctx);
                return;
            }

            cl = ctx->in;
            ctx->in = cl->next;
            ngx_free_chain(r->pool, cl);
        }

        if (!r->reading_body) {
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_s3_receive_failed(r, ctx, rc);
            return;
        }

        ngx_http_s3_receive_came(r, ctx);

        if (ctx->in == NULL && r->reading_body) {
            ngx_http_s3_pace_wait(ctx);
            r->read_event_handler = ngx_http_s3_receive_event;
            return;
        }
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "s3 body received, %uL bytes",
                   ctx->payload->body.decoded);

    r->read_event_handler = ngx_http_block_reading;

    if (s3_body_end(&ctx->payload->body) != S3_BODY_OK) {
        (void) ngx_http_s3_body_error(ctx, &ctx->payload->body);
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    ctx->received(r, ctx);
}


/* NGX_OK: all of b is taken, NGX_AGAIN, NGX_ERROR: see ctx->fail */

static ngx_int_t
ngx_http_s3_receive_buf(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_buf_t *b)
{
    size_t     size;
    ssize_t    n;
    ngx_int_t  rc;

    /*
     * In a file: somebody else (a module that looks at bodies) had it read
     * whole, and it was large.
     */

    while (!ngx_buf_in_memory(b) && b->in_file) {

        if (ctx->file_buf == NULL) {
            ctx->file_buf = ngx_palloc(r->pool, NGX_HTTP_S3_FILE_BUFFER);
            if (ctx->file_buf == NULL) {
                return NGX_ERROR;
            }
        }

        if (ctx->pos == NULL) {

            if (b->file_pos >= b->file_last) {
                return NGX_OK;
            }

            size = (size_t) ngx_min(b->file_last - b->file_pos,
                                    NGX_HTTP_S3_FILE_BUFFER);

            n = ngx_read_file(b->file, ctx->file_buf, size, b->file_pos);

            if (n == NGX_ERROR || n == 0) {
                return NGX_ERROR;
            }

            b->file_pos += n;
            ctx->file_len = n;
            ctx->pos = ctx->file_buf;
        }

        rc = ngx_http_s3_receive_take(ctx, ctx->file_buf + ctx->file_len);
        if (rc != NGX_OK) {
            return rc;
        }

        ctx->pos = NULL;
    }

    if (!ngx_buf_in_memory(b)) {
        return NGX_OK;
    }

    if (ctx->pos == NULL) {
        ctx->pos = b->pos;
    }

    rc = ngx_http_s3_receive_take(ctx, b->last);

    if (rc == NGX_OK) {
        ctx->pos = NULL;
        b->pos = b->last;
    }

    return rc;
}


static ngx_int_t
ngx_http_s3_receive_take(ngx_http_s3_ctx_t *ctx, const u_char *last)
{
    size_t      n;
    s3_body_t  *body;

    body = &ctx->payload->body;

    for ( ;; ) {

        if (ctx->run_len) {
            n = ctx->sink(ctx, ctx->run, ctx->run_len);

            ctx->run += n;
            ctx->run_len -= n;

            if (ctx->run_len) {
                return ctx->fail.error == S3_OK ? NGX_AGAIN : NGX_ERROR;
            }
        }

        switch (s3_body_decode(body, &ctx->pos, last, &ctx->run,
                               &ctx->run_len))
        {
        case S3_CHUNKED_DATA:
            break;

        case S3_CHUNKED_MORE:
        case S3_CHUNKED_DONE:
            ctx->run_len = 0;

            if (ctx->pos == last) {
                return NGX_OK;
            }

            break;

        default:
            ctx->run_len = 0;
            (void) ngx_http_s3_body_error(ctx, body);
            return NGX_ERROR;
        }
    }
}


static void
ngx_http_s3_receive_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_int_t rc)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (c->error) {

        /* gone: nobody to answer */

        ngx_http_s3_release(ctx);
        ngx_http_finalize_request(r, rc);
        return;
    }

    switch (rc) {

    case NGX_HTTP_REQUEST_TIME_OUT:

        /* S3 answers, nginx would just close */

        c->timedout = 0;
        c->read->timedout = 0;

        (void) s3_fail(&ctx->fail, S3_ERR_REQUEST_TIMEOUT, NULL);
        break;

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        (void) s3_fail(&ctx->fail, S3_ERR_ENTITY_TOO_LARGE, NULL);
        break;

    case NGX_HTTP_BAD_REQUEST:
        (void) s3_fail(&ctx->fail, S3_ERR_INCOMPLETE_BODY, NULL);
        break;

    default:
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        break;
    }

    /* what is left of the body is not known: never another request */

    r->keepalive = 0;
    r->lingering_close = 1;

    ngx_http_s3_end_failed(r, ctx);
}


ngx_int_t
ngx_http_s3_read_document(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    size_t max, ngx_http_s3_document_pt read)
{
    if (ngx_http_s3_payload_create(r, ctx, max) != S3_OK) {
        ngx_http_s3_release(ctx);
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_read_whole(r, ctx, max, read);
}


ngx_int_t
ngx_http_s3_read_whole(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    size_t max, ngx_http_s3_document_pt read)
{
    ctx->document_read = read;
    ctx->document_max = max;

    r->main->count++;

    ngx_http_s3_receive(r, ctx, ngx_http_s3_document_sink,
                        ngx_http_s3_document_received);

    return NGX_DONE;
}


s3_error_e
ngx_http_s3_document_reserve(ngx_http_s3_ctx_t *ctx, size_t size)
{
    ngx_http_s3_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_s3_module);

    return ngx_http_s3_reserve(ctx, size, &ngx_http_s3_documents,
                               mcf->document_memory);
}


s3_error_e
ngx_http_s3_body_reserve(ngx_http_s3_ctx_t *ctx, size_t size)
{
    ngx_http_s3_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_s3_module);

    return ngx_http_s3_reserve(ctx, size, &ngx_http_s3_bodies, mcf->memory);
}


static s3_error_e
ngx_http_s3_reserve(ngx_http_s3_ctx_t *ctx, size_t size, size_t *used,
    size_t max)
{
    ngx_pool_cleanup_t  *cln;

    if (*used + size > max) {
        ngx_http_s3_reserve_judge(used, *used + size - max);

        return ngx_http_s3_turn_away(ctx, NGX_HTTP_S3_REASON_MEMORY);
    }

    if (ctx->document_size == 0 && ctx->body_size == 0) {

        cln = ngx_pool_cleanup_add(ctx->request->pool, 0);
        if (cln == NULL) {
            return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        cln->handler = ngx_http_s3_reserve_cleanup;
        cln->data = ctx;

        if (ngx_http_s3_holding.next == NULL) {
            ngx_queue_init(&ngx_http_s3_holding);
        }

        ngx_queue_insert_tail(&ngx_http_s3_holding, &ctx->holding);
    }

    *used += size;

    if (used == &ngx_http_s3_bodies) {
        ctx->body_size += size;

    } else {
        ctx->document_size += size;
    }

    return S3_OK;
}


/*
 * Nobody waits for this memory, but somebody was just refused: slow clients
 * that have so much of it are ended, from the timer, and who comes again finds
 * it.
 */

static void
ngx_http_s3_reserve_judge(size_t *used, size_t size)
{
    size_t              n;
    ngx_queue_t        *q;
    ngx_http_s3_ctx_t  *ctx;

    if (ngx_http_s3_holding.next == NULL
        || ngx_current_msec - ngx_http_s3_judged < NGX_HTTP_S3_JUDGE_AGAIN)
    {
        return;
    }

    ngx_http_s3_judged = ngx_current_msec;

    for (q = ngx_queue_head(&ngx_http_s3_holding);
         q != ngx_queue_sentinel(&ngx_http_s3_holding);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_s3_ctx_t, holding);

        n = (used == &ngx_http_s3_bodies) ? ctx->body_size
                                          : ctx->document_size;

        if (n == 0
            || (!ctx->too_slow && ngx_http_s3_pace_slow(ctx) < 0))
        {
            continue;
        }

        if (!ctx->too_slow) {
            ctx->too_slow = 1;

            if (ngx_http_s3_wait(ctx->request, ctx, 1) != NGX_OK) {
                continue;
            }
        }

        if (n >= size) {
            return;
        }

        size -= n;
    }
}


/* the decoder has seen to it that there are no more than max bytes, where the
 * length is known */

static size_t
ngx_http_s3_document_sink(ngx_http_s3_ctx_t *ctx, const u_char *p, size_t len)
{
    size_t        n, rest, size;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;
    ngx_pool_t   *pool;

    pool = ctx->request->pool;

    if (ctx->document_max < len) {
        (void) s3_fail(&ctx->fail, S3_ERR_MISSING_CONTENT_LENGTH,
                       "A body of unknown length must not be as large as "
                       "this one: you must provide its length.");
        return 0;
    }

    ctx->document_max -= len;

    for (rest = len; rest; rest -= n) {

        cl = ctx->document_last;

        if (cl == NULL || cl->buf->last == cl->buf->end) {

            size = ngx_http_s3_document_room(ctx);

            if (size == 0) {
                return 0;
            }

            cl = ngx_alloc_chain_link(pool);
            b = ngx_create_temp_buf(pool, size);

            if (cl == NULL || b == NULL) {
                (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
                return 0;
            }

            cl->buf = b;
            cl->next = NULL;

            if (ctx->document_last) {
                ctx->document_last->next = cl;

            } else {
                ctx->document = cl;
            }

            ctx->document_last = cl;
        }

        b = cl->buf;
        n = ngx_min(rest, (size_t) (b->end - b->last));

        b->last = ngx_cpymem(b->last, p, n);
        p += n;
    }

    s3_body_update(&ctx->payload->body, p - len, len);

    return len;
}


/* size of the next buffer, which is reserved; 0: see ctx->fail */

static size_t
ngx_http_s3_document_room(ngx_http_s3_ctx_t *ctx)
{
    size_t        size;
    uint64_t      length;
    s3_error_e    rc;
    ngx_chain_t  *cl;

    cl = ctx->document_last;
    length = ctx->payload->body.length;

    if (ctx->body_size && length != S3_BODY_UNKNOWN) {

        /* all of it has been reserved */

        return (size_t) ngx_min(length, NGX_HTTP_S3_DOCUMENT_BUFFER);
    }

    size = NGX_HTTP_S3_DOCUMENT_FIRST;

    if (cl) {
        size = ngx_min(2 * (cl->buf->end - cl->buf->start),
                       NGX_HTTP_S3_DOCUMENT_BUFFER);
    }

    rc = ctx->operation->body == S3_BODY_DATA
         ? ngx_http_s3_body_reserve(ctx, size)
         : ngx_http_s3_document_reserve(ctx, size);

    return rc == S3_OK ? size : 0;
}


void
ngx_http_s3_document_received(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (s3_body_finish(&ctx->payload->body) != S3_BODY_OK) {
        (void) ngx_http_s3_body_error(ctx, &ctx->payload->body);
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    rc = ctx->document_read(r, ctx);

    if (rc == NGX_DECLINED) {
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    ngx_http_finalize_request(r, rc);
}


static void
ngx_http_s3_reserve_cleanup(void *data)
{
    ngx_http_s3_ctx_t  *ctx = data;

    ngx_queue_remove(&ctx->holding);

    ngx_http_s3_documents -= ctx->document_size;
    ngx_http_s3_bodies -= ctx->body_size;
}
