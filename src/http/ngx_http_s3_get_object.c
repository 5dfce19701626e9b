
/*
 * GetObject and HeadObject
 *
 *     part         with partNumber: its row, and which object's it is
 *     look up      conditions, range; still the same object?
 *     download     the first piece is there, or computed: only now the header
 *                  is sent, so that what cannot be read is an S3 error
 *     pieces       out of the store's memory into nginx's output, one after
 *                  the other: the store may take back what nginx has not got,
 *                  so a client that does not read holds one piece
 *
 * No range filter of nginx's, no gzip, no not-modified filter: S3 has rules
 * of its own for all three.
 */


#include "ngx_http_s3.h"
#include "s3_metadata.h"


#define NGX_HTTP_S3_GET_ATTEMPTS  4


/* partNumber */

typedef struct {
    ngx_uint_t                    number;
    ngx_uint_t                    total;      /* parts of the object, 0: it
                                                 was not uploaded in parts */
    u_char                        data_id[16];
    unsigned                      found:1;
    uint64_t                      size;
    s3_slice_t                    checksum;
    u_char                        row[NGX_HTTP_S3_CHECKSUM_LEN];
} ngx_http_s3_get_part_t;


static ngx_int_t ngx_http_s3_get_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_get_part_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_get_lookup(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_get_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_get_range(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_object_t *object, ngx_str_t *etag);
static ngx_int_t ngx_http_s3_get_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_object_t *object);
static ngx_int_t ngx_http_s3_get_headers(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_object_t *object, ngx_str_t *etag);
static ngx_int_t ngx_http_s3_get_part_checksum(ngx_http_request_t *r,
    s3_object_t *object, ngx_http_s3_get_part_t *part);
static ngx_int_t ngx_http_s3_get_metadata(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_object_t *object);
static ngx_int_t ngx_http_s3_get_inline(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_object_t *object);
static void ngx_http_s3_get_piece(s3_download_t *download, void *data,
    s3_download_event_e event, int status, const uint8_t *p, size_t len);
static int64_t ngx_http_s3_get_slow(void *data);
static void ngx_http_s3_get_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_get_send(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const uint8_t *p, size_t len);
static ngx_chain_t *ngx_http_s3_get_chain(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const uint8_t *p, size_t len);
static void ngx_http_s3_get_run(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_chain_t *out);
static void ngx_http_s3_get_writer(ngx_http_request_t *r);


ngx_int_t
ngx_http_s3_get_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                      state;
    ngx_http_s3_get_part_t  *part;

    state = s3_client_state(ngx_http_s3_client(r));

    if (state == S3_STORE_UNAVAILABLE) {
        (void) ngx_http_s3_store_error(ctx, state);
        return ngx_http_s3_send_error(r, ctx);
    }

    if (s3_target_arg(&ctx->target, "partNumber")) {

        part = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_get_part_t));
        if (part == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->data = part;

        if (s3_part_number_parse(&ctx->target, &part->number, &ctx->fail)
            != S3_OK)
        {
            return ngx_http_s3_send_error(r, ctx);
        }

        if (ngx_http_s3_header_in(ctx, "range")) {
            return ngx_http_s3_refuse(r, ctx, S3_ERR_INVALID_REQUEST,
                                      "Cannot specify both Range header and "
                                      "partNumber query parameter");
        }
    }

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        r->keepalive = 0;
    }

    return ngx_http_s3_get_ask(r, ctx);
}


static ngx_int_t
ngx_http_s3_get_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_get_part_t  *part;

    part = ctx->data;

    if (part == NULL) {
        return ngx_http_s3_get_lookup(r, ctx);
    }

    return ngx_http_s3_ask_parts(r, ctx, NULL, part->number - 1, 1,
                                 ngx_http_s3_get_part_found);
}


static ngx_int_t
ngx_http_s3_get_part_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    s3_slice_t               rest, row;
    s3_part_page_t          *page;
    ngx_http_s3_get_part_t  *part;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    part = ctx->data;
    page = &ctx->call.parts;

    ngx_memcpy(part->data_id, page->upload.upload_id, sizeof(part->data_id));

    part->found = (page->nparts && page->parts[0].number == part->number);
    part->checksum.len = 0;

    if (part->found) {
        part->size = page->parts[0].size;
        rest = page->parts[0].checksum;

        if (ngx_http_s3_checksum_next(&rest, &row) != S3_CHECKSUM_NONE) {
            ngx_memcpy(part->row, row.data, row.len);

            part->checksum.data = part->row;
            part->checksum.len = row.len;
        }
    }

    return ngx_http_s3_get_lookup(r, ctx);
}


static ngx_int_t
ngx_http_s3_get_lookup(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int  status;

    status = s3_client_lookup(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx, ngx_http_s3_get_answer),
                              ngx_http_s3_slice(ctx->target.bucket),
                              ngx_http_s3_slice(ctx->target.key));

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_get_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_int_t                rc;
    ngx_str_t                etag;
    s3_object_t             *object;
    ngx_http_s3_loc_conf_t  *lcf;
    ngx_http_s3_get_part_t  *part;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    object = &ctx->call.object;
    part = ctx->data;

    if (part && ngx_memcmp(part->data_id, object->data_id,
                           sizeof(part->data_id))
                != 0)
    {
        /* overwritten between the two looks */

        if (++ctx->attempts < NGX_HTTP_S3_GET_ATTEMPTS) {
            return ngx_http_s3_get_ask(r, ctx);
        }

        return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
    }

    etag = ngx_http_s3_etag_text(r->pool, object->etag);

    if (etag.len == 0) {
        return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
    }

    if (s3_condition_read(ctx->headers.elts, ctx->headers.nelts, &etag,
                          object->mtime / 1000, &ctx->fail)
        != S3_OK)
    {
        if (ctx->fail.error == S3_ERR_NOT_MODIFIED) {
            if (ngx_http_s3_add_etag(r, &etag) != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            r->headers_out.last_modified_time = object->mtime / 1000;
        }

        return NGX_DECLINED;
    }

    rc = part ? ngx_http_s3_get_part(r, ctx, object)
              : ngx_http_s3_get_range(r, ctx, object, &etag);

    if (rc == NGX_OK) {
        rc = ngx_http_s3_get_headers(r, ctx, object, &etag);
    }

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? rc : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->rest = ctx->range.length;

    if (ctx->operation->id == S3_OP_HEAD_OBJECT || ctx->rest == 0) {
        ctx->own = 1;

        rc = ngx_http_send_header(r);

        if (rc != NGX_ERROR && rc <= NGX_OK && !r->header_only) {
            rc = ngx_http_send_special(r, NGX_HTTP_LAST);
        }

        return rc;
    }

    if (object->is_inline) {
        return ngx_http_s3_get_inline(r, ctx, object);
    }

    ctx->download = s3_download_create(ngx_http_s3_client(r), object,
                                       ctx->range.offset, ctx->range.length,
                                       ngx_http_s3_get_piece, ctx);
    if (ctx->download == NULL) {
        return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
    }

    s3_download_slow(ctx->download, ngx_http_s3_get_slow);

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_http_s3_wait(r, ctx, lcf->timeout) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->asked = 1;
    s3_download_next(ctx->download);

    r->main->count++;

    return NGX_DONE;
}


static ngx_int_t
ngx_http_s3_get_range(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_object_t *object, ngx_str_t *etag)
{
    ngx_str_t     value;
    s3_header_t  *h;

    h = ngx_http_s3_header_in(ctx, "range");

    if (h && !s3_condition_range(ctx->headers.elts, ctx->headers.nelts, etag,
                                 object->mtime / 1000))
    {
        h = NULL;
    }

    if (s3_range_parse(h ? &h->value : NULL, object->size, &ctx->range)
        == S3_OK)
    {
        return NGX_OK;
    }

    (void) s3_fail(&ctx->fail, S3_ERR_INVALID_RANGE, NULL);

    if (h) {
        s3_fail_element(&ctx->fail, "RangeRequested", &h->value);
    }

    value.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%uL", object->size) - value.data;
    s3_fail_element(&ctx->fail, "ActualObjectSize", &value);

    return NGX_DECLINED;
}


/*
 * A part is a range: 206.  An object that was not uploaded in parts is its
 * own part 1.
 */

static ngx_int_t
ngx_http_s3_get_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_object_t *object)
{
    ngx_uint_t               i;
    ngx_http_s3_get_part_t  *part;

    part = ctx->data;
    part->total = ngx_http_s3_etag_parts(object->etag);

    if (part->total == 0 && part->number == 1) {
        ctx->range.offset = 0;
        ctx->range.length = object->size;
        ctx->range.partial = (object->size != 0);

        return NGX_OK;
    }

    if (part->total && part->found) {

        ctx->range.offset = 0;
        ctx->range.length = part->size;

        /* no Content-Range can name an empty part: 200 */

        ctx->range.partial = (part->size != 0);

        if (part->size == 0) {
            return NGX_OK;
        }

        for (i = 0; i < object->nextents; i++) {

            if (object->extents[i].number == part->number
                && object->extents[i].size == part->size)
            {
                ctx->range.offset = object->extents[i].offset;
                return NGX_OK;
            }
        }

        return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
    }

    return s3_fail_part(r->pool, part->number, part->total, &ctx->fail)
           == S3_ERR_INVALID_PART_NUMBER ? NGX_DECLINED : NGX_ERROR;
}


/* NGX_OK, NGX_ERROR, NGX_DECLINED: ctx->fail */

static ngx_int_t
ngx_http_s3_get_headers(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_object_t *object, ngx_str_t *etag)
{
    u_char                  *p;
    ngx_int_t                rc;
    ngx_str_t                value;
    s3_header_t             *h;
    ngx_table_elt_t         *elt;
    ngx_http_s3_get_part_t  *part;

    /* a second attempt may find another object */

    if (ngx_list_init(&r->headers_out.headers, r->pool, 20,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_out.status = ctx->range.partial ? NGX_HTTP_PARTIAL_CONTENT
                                               : NGX_HTTP_OK;
    r->headers_out.content_length_n = ctx->range.length;
    r->headers_out.last_modified_time = object->mtime / 1000;

    r->disable_not_modified = 1;
    r->allow_ranges = 0;

#if (NGX_HTTP_GZIP)
    r->gzip_tested = 1;
    r->gzip_ok = 0;
#endif

    rc = ngx_http_s3_get_metadata(r, ctx, object);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_s3_add_etag(r, etag) != NGX_OK
        || ngx_http_s3_add_version(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    elt = ngx_list_push(&r->headers_out.headers);
    if (elt == NULL) {
        return NGX_ERROR;
    }

    elt->hash = 1;
    ngx_http_s3_header_last(elt);
    ngx_str_set(&elt->key, "Accept-Ranges");
    ngx_str_set(&elt->value, "bytes");
    elt->lowcase_key = NULL;
    r->headers_out.accept_ranges = elt;

    if (ctx->range.partial) {
        p = ngx_pnalloc(r->pool, S3_RANGE_TEXT);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = s3_range_text(p, &ctx->range, object->size) - p;

        if (ngx_http_s3_add_header(r, "Content-Range", &value) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    part = ctx->data;

    if (part && part->total) {
        p = ngx_pnalloc(r->pool, NGX_INT32_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "%ui", part->total) - p;

        if (ngx_http_s3_add_header(r, "x-amz-mp-parts-count", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    h = ngx_http_s3_header_in(ctx, "x-amz-checksum-mode");

    if (h == NULL || h->value.len != 7
        || ngx_strncasecmp(h->value.data, (u_char *) "enabled", 7) != 0)
    {
        return NGX_OK;
    }

    if (part == NULL) {
        return ctx->range.partial ? NGX_OK
                                  : ngx_http_s3_add_checksum(r,
                                                        object->checksum);
    }

    return ngx_http_s3_get_part_checksum(r, object, part);
}


/*
 * As S3: that of the part where the object's is COMPOSITE; the object's where
 * the part is all of it; else none.
 */

static ngx_int_t
ngx_http_s3_get_part_checksum(ngx_http_request_t *r, s3_object_t *object,
    ngx_http_s3_get_part_t *part)
{
    ngx_str_t            type;
    const u_char        *digest;
    s3_checksum_e        algorithm;
    s3_checksum_text_t   text;

    if (part->total == 0
        || ngx_http_s3_checksum_read(object->checksum, &algorithm, &digest,
                                     &type)
           == NULL
        || type.len != sizeof("COMPOSITE") - 1)
    {
        return part->total > 1 ? NGX_OK
                               : ngx_http_s3_add_checksum(r,
                                                        object->checksum);
    }

    if (ngx_http_s3_checksum_words(r->pool, part->checksum, 0, &text)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (text.text.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_s3_add_header(r, s3_checksum_info(text.algorithm)->header,
                               &text.text)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_s3_add_header(r, "x-amz-checksum-type", &type);
}


static ngx_int_t
ngx_http_s3_get_metadata(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_object_t *object)
{
    ngx_int_t         rc;
    ngx_str_t         blob;
    ngx_uint_t        i;
    s3_header_t      *h;
    ngx_array_t       headers;
    ngx_table_elt_t  *elt;

    /* the rows are the call's, headers live longer */

    blob.len = object->meta.len;
    blob.data = ngx_pnalloc(r->pool, blob.len + 1);

    if (blob.data == NULL
        || ngx_array_init(&headers, r->pool, 8, sizeof(s3_header_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (blob.len) {
        ngx_memcpy(blob.data, object->meta.data, blob.len);
    }

    rc = s3_metadata_headers(r->pool, &blob, &headers);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc != NGX_OK) {
        (void) ngx_http_s3_store_error(ctx, S3_STORE_DAMAGED);
        return NGX_DECLINED;
    }

    if (s3_metadata_override(&ctx->target, &headers, &ctx->fail) != S3_OK) {
        return NGX_DECLINED;
    }

    h = headers.elts;

    for (i = 0; i < headers.nelts; i++) {

        if (s3_header(&h[i], 1, "content-type")) {
            r->headers_out.content_type = h[i].value;
            r->headers_out.content_type_len = h[i].value.len;
            r->headers_out.content_type_lowcase = NULL;
            continue;
        }

        /*
         * r->headers_out.content_encoding stays unset: filters that undo
         * encodings (gunzip) do not see it, the object goes out as it is.
         */

        elt = ngx_list_push(&r->headers_out.headers);
        if (elt == NULL) {
            return NGX_ERROR;
        }

        elt->hash = 1;
        ngx_http_s3_header_last(elt);
        elt->key = h[i].name;
        elt->value = h[i].value;
        elt->lowcase_key = NULL;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_get_inline(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_object_t *object)
{
    ngx_int_t    rc;
    ngx_buf_t   *b;
    ngx_chain_t  out;

    if (object->data.len != object->size
        || ctx->range.offset + ctx->range.length > object->data.len)
    {
        return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
    }

    b = ngx_create_temp_buf(r->pool, (size_t) ctx->range.length);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->pos, object->data.data + ctx->range.offset,
                         (size_t) ctx->range.length);
    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    ctx->own = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


static void
ngx_http_s3_get_piece(s3_download_t *download, void *data,
    s3_download_event_e event, int status, const uint8_t *p, size_t len)
{
    ngx_connection_t    *c;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    ctx = data;
    ctx->asked = 0;

    if (!ngx_http_s3_go_on(ctx)) {
        return;
    }

    r = ctx->request;
    c = r->connection;

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "s3 download event %d status %d, %uz bytes", (int) event,
                   status, len);

    if (event != S3_DOWNLOAD_DATA || len == 0 || len > ctx->rest) {

        /* the end comes by count: here it is too early */

        ngx_http_s3_get_failed(r, ctx, event == S3_DOWNLOAD_FAILED
                                       ? status : S3_STORE_ERROR);

    } else if (ngx_http_s3_get_send(r, ctx, p, len) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }

    ngx_http_run_posted_requests(c);
}


static int64_t
ngx_http_s3_get_slow(void *data)
{
    return ngx_http_s3_pace_slow(data);
}


static void
ngx_http_s3_get_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_int_t  rc;

    /*
     * The shards of a row that was read a moment ago may be gone: the object
     * was overwritten.  There is another row then.
     */

    if (status == S3_STORE_SHARDS_MISSING && !r->header_sent
        && ++ctx->attempts < NGX_HTTP_S3_GET_ATTEMPTS)
    {
        s3_download_close(ctx->download);
        ctx->download = NULL;

        rc = ngx_http_s3_get_ask(r, ctx);

        /* asking took a count, or ended in an answer: one is still ours */

        ngx_http_finalize_request(r, rc);
        return;
    }

    (void) ngx_http_s3_store_error(ctx, status);

    ngx_http_s3_end_failed(r, ctx);
}


static ngx_int_t
ngx_http_s3_get_send(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const uint8_t *p, size_t len)
{
    ngx_int_t     rc;
    ngx_chain_t  *out;

    if (!r->header_sent) {
        ctx->own = 1;

        rc = ngx_http_send_header(r);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            return NGX_ERROR;
        }

        r->write_event_handler = ngx_http_s3_get_writer;

        /* as ngx_http_set_write_handler(): a client that goes away while it
         * is waited for is noticed, be it a stream whose window is used up */

        r->read_event_handler = r->discard_body
                                ? ngx_http_discarded_request_body_handler
                                : ngx_http_test_reading;
    }

    out = ngx_http_s3_get_chain(r, ctx, p, len);
    if (out == NULL) {
        return NGX_ERROR;
    }

    ngx_http_s3_get_run(r, ctx, out);

    return NGX_OK;
}


static ngx_chain_t *
ngx_http_s3_get_chain(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const uint8_t *p, size_t len)
{
    ngx_buf_t    *b;
    ngx_chain_t  *out, *cl;

    cl = ngx_chain_get_free_buf(r->pool, &ctx->free);
    out = ngx_alloc_chain_link(r->pool);

    if (cl == NULL || out == NULL) {
        return NULL;
    }

    b = cl->buf;
    ngx_memzero(b, sizeof(ngx_buf_t));

    b->start = (u_char *) p;
    b->pos = (u_char *) p;
    b->last = (u_char *) p + len;
    b->end = b->last;
    b->memory = 1;
    b->tag = (ngx_buf_tag_t) &ngx_http_s3_module;

    ctx->rest -= len;

    if (ctx->rest == 0) {
        b->last_buf = 1;
        b->last_in_chain = 1;

    } else {

        /* no filter keeps it to itself: the next one comes when it is sent */

        b->flush = 1;
    }

    out->buf = b;
    out->next = NULL;

    ctx->busy = cl;

    return out;
}


/* sends what there is, takes what is there already, then asks or waits */

static void
ngx_http_s3_get_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_chain_t *out)
{
    size_t                     len;
    ngx_int_t                  rc;
    ngx_chain_t               *cl, *ln;
    ngx_event_t               *wev;
    const uint8_t             *p;
    ngx_connection_t          *c;
    ngx_http_s3_loc_conf_t    *lcf;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    for ( ;; ) {
        rc = ngx_http_output_filter(r, out);

        for (ln = out; ln; ln = cl) {
            cl = ln->next;
            ngx_free_chain(r->pool, ln);
        }

        if (rc == NGX_ERROR) {
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (ctx->rest == 0) {

            /* what is still on its way is nginx's own writer's */

            if (wev->timer_set && !wev->delayed) {
                ngx_del_timer(wev);
            }

            ngx_http_finalize_request(r, rc);
            return;
        }

        if (ngx_buf_size(ctx->busy->buf)) {
            break;
        }

        cl = ctx->busy;
        ctx->busy = NULL;

        cl->next = ctx->free;
        ctx->free = cl;

        s3_download_release(ctx->download);

        len = s3_download_take(ctx->download, &p);

        if (len == 0) {

            /* the client has all, the store's turn */

            ctx->asked = 1;
            s3_download_next(ctx->download);

            if (wev->timer_set && !wev->delayed) {
                ngx_del_timer(wev);
            }

            ngx_http_s3_pace_came(ctx, 0);

            lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

            (void) ngx_http_s3_wait(r, ctx, lcf->timeout);
            return;
        }

        out = (len <= ctx->rest) ? ngx_http_s3_get_chain(r, ctx, p, len)
                                 : NULL;

        if (out == NULL) {
            ngx_http_finalize_request(r, NGX_ERROR);
            return;
        }
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    ngx_http_s3_pace_sent(ctx);
    ngx_http_s3_pace_wait(ctx);

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


static void
ngx_http_s3_get_writer(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_s3_ctx_t         *ctx;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;

        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (ctx->busy == NULL) {

        /* nothing to send: the store is waited for */

        return;
    }

    if (wev->delayed) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    ngx_http_s3_get_run(r, ctx, NULL);
}
