
/*
 * CopyObject and UploadPartCopy through a gateway: the upstream copies, and
 * what we keep of checksums follows.
 *
 *     source       HEAD: its entity tag, its mark
 *     object       mark with the checksum  goes with the metadata, as they are
 *                                          copied or replaced
 *                  mark of a record        the record is written for the copy,
 *                                          before there is one
 *                  another algorithm is    the source is read and summed up,
 *                  asked for               its metadata and the new mark take
 *                                          the place of those copied
 *     part         copied; then the very bytes are read and summed up
 *
 * All of it speaks of the source with the entity tag that was found: the copy
 * and the reading are asked for under that condition.  Where the source cannot
 * be had (it is not there, or encrypted by a client's key) the request is
 * passed, and the upstream says what there is to say.
 */


#include "ngx_http_s3_gateway.h"


typedef struct {
    ngx_str_t                     query;      /* of the source's version */
    uint64_t                      size;
    ngx_str_t                     etag;
    s3_mark_e                     mark;
    s3_checksum_text_t            checksum;   /* of the source */
    ngx_http_s3_ask_t            *head;

    ngx_str_t                     odd;        /* what a part is not of */
    unsigned                      sum:1;      /* its bytes are to be read */

    /* what is read */
    uint64_t                      offset;
    uint64_t                      length;
    uint64_t                      skip;       /* of what came unasked */
    s3_body_t                     body;
    unsigned                      reading:1;

    s3_copy_result_t              result;
    ngx_http_s3_upload_t         *upload;     /* of a part */
    ngx_http_s3_ask_t            *copied;
    ngx_http_s3_record_t          record;
} ngx_http_s3_gateway_copy_t;


static ngx_int_t ngx_http_s3_gateway_copy_begin(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static s3_error_e ngx_http_s3_gateway_copy_path(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_copy_head(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_copy_again(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_copy_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_object_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_copy_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_keep(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_refused(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_summed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_mark_body_t *body);
static ngx_int_t ngx_http_s3_gateway_copy_write(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *etag);
static ngx_int_t ngx_http_s3_gateway_copy_written(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_copy_condition(
    ngx_http_s3_gateway_copy_t *copy, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_metadata(ngx_http_request_t *r,
    ngx_http_s3_gateway_copy_t *copy, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copied(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_sum(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_asked_pt summed,
    s3_checksum_e algorithm, s3_checksum_e also);
static ngx_int_t ngx_http_s3_gateway_copy_take(ngx_http_s3_ask_t *ask,
    const u_char *p, size_t len);
static void ngx_http_s3_gateway_copy_cleanup(void *data);
static ngx_int_t ngx_http_s3_gateway_copy_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);
static ngx_int_t ngx_http_s3_gateway_copy_part_summed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_part_recorded(
    ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_copy_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


ngx_int_t
ngx_http_s3_gateway_copy_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_s3_gateway_copy_begin(r, ctx);

    return rc == NGX_DECLINED ? ngx_http_s3_gateway_copy_head(r, ctx) : rc;
}


ngx_int_t
ngx_http_s3_gateway_copy_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t   rc;
    ngx_uint_t  number;

    if (s3_part_number_parse(&ctx->target, &number, &ctx->fail) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    rc = ngx_http_s3_gateway_copy_begin(r, ctx);

    return rc == NGX_DECLINED
           ? ngx_http_s3_upload_find(r, ctx, ngx_http_s3_gateway_copy_upload)
           : rc;
}


/* NGX_DECLINED: we have a part in it; else the handler's result */

static ngx_int_t
ngx_http_s3_gateway_copy_begin(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t                   i;
    s3_header_t                 *h;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_gateway_copy_t));
    if (copy == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = copy;

    if ((ctx->operation->id == S3_OP_COPY_OBJECT
         ? ngx_http_s3_copy_request(r, ctx) : ngx_http_s3_copy_source(r, ctx))
        != S3_OK
        || ngx_http_s3_gateway_copy_path(r, ctx) != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_pass_none(r, ctx);
    }

    /* what we cannot read */

    h = ctx->headers.elts;

    for (i = 0; i < ctx->headers.nelts; i++) {
        if (s3_header_has_prefix(&h[i], "x-amz-copy-source-server-side-",
                                 sizeof("x-amz-copy-source-server-side-")
                                 - 1))
        {
            return ngx_http_s3_gateway_pass_none(r, ctx);
        }
    }

    return NGX_DECLINED;
}


/*
 * The source in one form for all servers: not all take "+" for a space, or one
 * slash before the bucket.
 */

static s3_error_e
ngx_http_s3_gateway_copy_path(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char                      *p;
    size_t                       len;
    ngx_str_t                    version, none;
    s3_copy_source_t            *source;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;
    source = &ctx->copy->source;

    if (source->version.data) {

        p = ngx_pnalloc(r->pool, source->version.len + 1);
        if (p == NULL) {
            return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        if (s3_uri_decode(p, &len, &source->version, 0) != NGX_OK || len == 0)
        {
            return s3_fail_argument(&ctx->fail,
                                    "Invalid version id specified",
                                    "versionId", &source->version);
        }

        version.data = p;
        version.len = len;

        if (s3_upstream_arg(r->pool, &copy->query, "versionId", &version)
            != NGX_OK)
        {
            return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }
    }

    ngx_str_null(&none);

    if (s3_upstream_target(r->pool, S3_UPSTREAM_PATH, &none, &source->bucket,
                           &source->key, &copy->query,
                           &ngx_http_s3_header_in(ctx, "x-amz-copy-source")
                           ->value,
                           &none)
        != NGX_OK)
    {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    return S3_OK;
}


static ngx_int_t
ngx_http_s3_gateway_copy_head(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_ask_t           *ask;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    ask = ngx_http_s3_ask_create(r, "HEAD", &ctx->copy->source.bucket,
                                 &ctx->copy->source.key);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->query = copy->query;
    ask->answer = ngx_http_s3_gateway_copy_found;

    return ngx_http_s3_ask(r, ctx, ask);
}


/* the source has become another object since it was found */

static ngx_int_t
ngx_http_s3_gateway_copy_again(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (++ctx->attempts < NGX_HTTP_S3_COPY_ATTEMPTS) {
        return ngx_http_s3_gateway_copy_head(r, ctx);
    }

    return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
}


static ngx_int_t
ngx_http_s3_gateway_copy_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    off_t                        size;
    ngx_str_t                   *value;
    s3_header_t                 *h;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    copy->head = ask;
    copy->copied = NULL;
    copy->sum = 0;
    copy->etag.len = 0;
    copy->mark = S3_MARK_NONE;
    copy->checksum.text.len = 0;

    if (ask->status == 0) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    value = ngx_http_s3_ask_header(ask, "etag");

    size = ask->sr->upstream->headers_in.content_length_n;

    if (ask->status != NGX_HTTP_OK || value == NULL || size < 0) {

        /* the answer to HEAD has no document that says why */

        return ngx_http_s3_gateway_copy_ask(r, ctx);
    }

    copy->etag = *value;
    s3_upstream_unquote(&copy->etag);

    copy->size = size;
    copy->length = size;

    value = ngx_http_s3_ask_header(ask, S3_MARK_HEADER);

    copy->mark = value ? s3_mark_read(value, &copy->etag, &copy->checksum)
                       : S3_MARK_NONE;

    if (copy->odd.len && copy->odd.len == copy->etag.len
        && ngx_memcmp(copy->odd.data, copy->etag.data, copy->etag.len) == 0)
    {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "s3_gateway: the entity tag of a copied part is not the "
                      "MD5 of its source, it gets no checksum");

        return ngx_http_s3_gateway_copy_answer(r, ctx);
    }

    if (s3_condition_copy(ctx->headers.elts, ctx->headers.nelts, &copy->etag,
                          ask->sr->upstream->headers_in.last_modified_time,
                          ngx_time(), &ctx->fail)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    if (ctx->operation->id == S3_OP_COPY_OBJECT) {
        return ngx_http_s3_gateway_copy_object_found(r, ctx);
    }

    h = ngx_http_s3_header_in(ctx, "x-amz-copy-source-range");

    if (h && s3_copy_range_parse(r->pool, &h->value, copy->size,
                                 &copy->offset, &copy->length, &ctx->fail)
             != S3_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_copy_ask(r, ctx);
}


/* ---- an object */


static ngx_int_t
ngx_http_s3_gateway_copy_object_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t                    key;
    ngx_http_s3_ask_t           *ask;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    if (copy->mark == S3_MARK_RECORD) {

        if (s3_mark_record_key(r->pool, &ctx->copy->source.bucket,
                               &ctx->copy->source.key, &copy->etag, &key)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ask = ngx_http_s3_record_create(r, "GET", &key);

        if (ask == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ask->max = NGX_HTTP_S3_ASK_LIST;
        ask->answer = ngx_http_s3_gateway_copy_recorded;

        return ngx_http_s3_ask(r, ctx, ask);
    }

    /* who names an algorithm wants the checksum of the whole */

    if (ctx->copy->algorithm != S3_CHECKSUM_NONE
        && (copy->mark != S3_MARK_HERE
            || copy->checksum.algorithm != ctx->copy->algorithm))
    {
        return ngx_http_s3_gateway_copy_sum(r, ctx,
                                            ngx_http_s3_gateway_copy_summed,
                                            ctx->copy->algorithm,
                                            S3_CHECKSUM_NONE);
    }

    return ngx_http_s3_gateway_copy_ask(r, ctx);
}


static ngx_int_t
ngx_http_s3_gateway_copy_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_int_t                    rc;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    if (ask->status != NGX_HTTP_OK && ask->status != NGX_HTTP_NOT_FOUND) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    rc = ngx_http_s3_record_read(ask, &copy->etag, &copy->checksum);

    if (ctx->copy->algorithm != S3_CHECKSUM_NONE
        && (rc != NGX_OK || copy->checksum.algorithm != ctx->copy->algorithm
            || copy->checksum.type.len == sizeof("COMPOSITE") - 1))
    {
        return ngx_http_s3_gateway_copy_sum(r, ctx,
                                            ngx_http_s3_gateway_copy_summed,
                                            ctx->copy->algorithm,
                                            S3_CHECKSUM_NONE);
    }

    if (rc != NGX_OK) {
        copy->checksum.text.len = 0;
        return ngx_http_s3_gateway_copy_ask(r, ctx);
    }

    return ngx_http_s3_gateway_copy_keep(r, ctx, ask);
}


/* the source's record, parts and all, for the copy */

static ngx_int_t
ngx_http_s3_gateway_copy_keep(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_mark_body_t  body;

    if (ask->too_large
        || s3_mark_body_read(r->pool, ask->out, ask->size, &body) != NGX_OK)
    {
        ngx_memzero(&body, sizeof(s3_mark_body_t));
    }

    return ngx_http_s3_gateway_copy_record(r, ctx, &body);
}


static ngx_int_t
ngx_http_s3_gateway_copy_summed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    u_char                       row[NGX_HTTP_S3_CHECKSUM_LEN];
    ngx_int_t                    rc;
    s3_mark_body_t               body;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    rc = ngx_http_s3_gateway_copy_read(r, ctx, ask);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_s3_checksum_words(r->pool,
                                   ngx_http_s3_checksum_row(
                                                       copy->body.checksum,
                                                       copy->body.digest,
                                                       row),
                                   1, &copy->checksum)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    copy->sum = 1;

    /* the entity tag that the copy of an upload in parts gets is not known */

    if (copy->etag.len == 32) {
        copy->mark = S3_MARK_HERE;
        return ngx_http_s3_gateway_copy_ask(r, ctx);
    }

    copy->mark = S3_MARK_RECORD;

    ngx_memzero(&body, sizeof(s3_mark_body_t));

    return ngx_http_s3_gateway_copy_record(r, ctx, &body);
}


/* a record of the copy, which is there before the copy is */

static ngx_int_t
ngx_http_s3_gateway_copy_record(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_mark_body_t *body)
{
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    body->bucket = ctx->target.bucket;
    body->key = ctx->target.key;

    if (s3_mark_body_write(r->pool, body, &copy->record.body) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_gateway_copy_write(r, ctx, &copy->etag);
}


static ngx_int_t
ngx_http_s3_gateway_copy_write(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *etag)
{
    ngx_http_s3_record_t        *rec;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;
    rec = &copy->record;

    if (s3_mark_record_key(r->pool, &ctx->target.bucket, &ctx->target.key,
                           etag, &rec->key)
        != NGX_OK
        || s3_mark_write(r->pool, etag, &copy->checksum, &rec->mark)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rec->answer = ngx_http_s3_gateway_copy_written;

    return ngx_http_s3_record_put(r, ctx, rec);
}


static ngx_int_t
ngx_http_s3_gateway_copy_written(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    if (ask->status != NGX_HTTP_OK) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    return copy->copied ? ngx_http_s3_gateway_copy_answer(r, ctx)
                        : ngx_http_s3_gateway_copy_ask(r, ctx);
}


/* ---- the upstream copies */


static ngx_int_t
ngx_http_s3_gateway_copy_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_str_t                    value;
    ngx_http_s3_ask_t           *ask;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "PUT");

    if (ask == NULL
        || ngx_http_s3_gateway_copy_condition(copy, ask) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->operation->id == S3_OP_COPY_OBJECT) {

        rc = NGX_OK;

        if (copy->sum && !ctx->copy->replace) {
            rc = ngx_http_s3_gateway_copy_metadata(r, copy, ask);
        }

        if (rc == NGX_OK && (copy->sum || ctx->copy->replace)) {

            if (copy->mark == S3_MARK_HERE) {
                rc = s3_mark_write(r->pool, &copy->etag, &copy->checksum,
                                   &value);
            } else {
                ngx_str_set(&value, S3_MARK_RECORD_VALUE);
            }

            if (rc == NGX_OK && copy->mark != S3_MARK_NONE) {
                rc = s3_upstream_header(&ask->headers, S3_MARK_HEADER,
                                        &value);
            }
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ask->max = NGX_HTTP_S3_ASK_LIST;
    ask->answer = ngx_http_s3_gateway_copied;

    return ngx_http_s3_ask(r, ctx, ask);
}


/*
 * What is copied is what was found, or nothing.  Ceph 16.2 knows the header of
 * objects by another name, and has none for parts: see
 * ngx_http_s3_gateway_copy_part_summed().
 */

static ngx_int_t
ngx_http_s3_gateway_copy_condition(ngx_http_s3_gateway_copy_t *copy,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t   *id;
    ngx_uint_t   n;

    static const char  *names[] = {
        "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-unmodified-since"
    };

    if (copy->etag.len == 0) {
        return NGX_OK;
    }

    for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        ngx_http_s3_ask_drop(ask, names[n]);
    }

    if (s3_upstream_header(&ask->headers, names[0], &copy->etag) != NGX_OK) {
        return NGX_ERROR;
    }

    /* S3 refuses headers it does not know.  "tx00000..." are Ceph's ids */

    id = ngx_http_s3_ask_header(copy->head, "x-amz-request-id");

    if (id == NULL || id->len < 3 || ngx_memcmp(id->data, "tx0", 3) != 0) {
        return NGX_OK;
    }

    return s3_upstream_header(&ask->headers, "x-amz-copy-if-match",
                              &copy->etag);
}


/* the source's, as the copy's own: there is one mark more among them */

static ngx_int_t
ngx_http_s3_gateway_copy_metadata(ngx_http_request_t *r,
    ngx_http_s3_gateway_copy_t *copy, ngx_http_s3_ask_t *ask)
{
    u_char           *p;
    ngx_str_t         value;
    ngx_uint_t        i, n;
    s3_header_t       h, *out;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    static const char  *names[] = {
        "content-type", "content-encoding", "content-disposition",
        "content-language", "cache-control", "expires",
        "x-amz-website-redirect-location"
    };

    for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        ngx_http_s3_ask_drop(ask, names[n]);
    }

    ngx_http_s3_ask_drop(ask, "x-amz-metadata-directive");

    part = &copy->head->sr->upstream->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        h.name = header[i].key;
        h.value = header[i].value;

        for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
            if (s3_header_find(&h, 1, names[n], ngx_strlen(names[n]), NULL)) {
                break;
            }
        }

        if ((n == sizeof(names) / sizeof(names[0])
             && !s3_header_has_prefix(&h, "x-amz-meta-",
                                      sizeof("x-amz-meta-") - 1))
            || s3_header(&h, 1, S3_MARK_HEADER))
        {
            continue;
        }

        p = ngx_pnalloc(r->pool, h.name.len + 1);
        out = ngx_array_push(&ask->headers);

        if (p == NULL || out == NULL) {
            return NGX_ERROR;
        }

        ngx_strlow(p, h.name.data, h.name.len);

        out->name.data = p;
        out->name.len = h.name.len;
        out->value = h.value;
    }

    ngx_str_set(&value, "REPLACE");

    return s3_upstream_header(&ask->headers, "x-amz-metadata-directive",
                              &value);
}


static ngx_int_t
ngx_http_s3_gateway_copied(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_checksum_e                algorithm, also;
    s3_upstream_xml_t            x;
    ngx_http_s3_gateway_copy_t  *copy;

    s3_upstream_leaf_t           top[] = {
        { "ETag", ngx_null_string },
        { "LastModified", ngx_null_string }
    };

    copy = ctx->data;

    if (ask->status == NGX_HTTP_PRECONDITION_FAILED && copy->etag.len
        && ctx->condition.type == S3_CONDITION_NONE)
    {
        return ngx_http_s3_gateway_copy_again(r, ctx);
    }

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_gateway_copy_refused(r, ctx, ask);
    }

    copy->copied = ask;

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    x.pool = r->pool;
    x.root = ctx->operation->id == S3_OP_COPY_OBJECT ? "CopyObjectResult"
                                                     : "CopyPartResult";
    x.top = top;
    x.ntop = sizeof(top) / sizeof(top[0]);

    if (s3_upstream_read(&x, ask->out) != NGX_OK || top[0].value.len == 0) {

        /* an error may come with 200: S3 has said so before it knew */

        if (s3_upstream_failure(r->pool, ask->out, 0, &ctx->fail) == NGX_OK) {
            return NGX_DECLINED;
        }

        return ngx_http_s3_gateway_strange(r, ctx);
    }

    s3_upstream_unquote(&top[0].value);

    copy->result.etag = top[0].value;
    copy->result.last_modified = s3_upstream_time(&top[1].value);

    if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->operation->id == S3_OP_COPY_OBJECT) {

        copy->result.checksum = copy->checksum;

        if (copy->mark == S3_MARK_RECORD && copy->checksum.text.len
            && (copy->result.etag.len != copy->etag.len
                || ngx_strncasecmp(copy->result.etag.data, copy->etag.data,
                                   copy->etag.len)
                   != 0))
        {
            return ngx_http_s3_gateway_copy_write(r, ctx, &copy->result.etag);
        }

        return ngx_http_s3_gateway_copy_answer(r, ctx);
    }

    if (!copy->upload->recorded || copy->etag.len == 0) {
        return ngx_http_s3_gateway_copy_answer(r, ctx);
    }

    algorithm = copy->upload->checksum.algorithm;
    also = S3_CHECKSUM_NONE;

    if (algorithm == S3_CHECKSUM_NONE) {
        algorithm = S3_CHECKSUM_CRC64NVME;
        also = S3_CHECKSUM_CRC64NVME;
    }

    return ngx_http_s3_gateway_copy_sum(r, ctx,
                                        ngx_http_s3_gateway_copy_part_summed,
                                        algorithm, also);
}


/* what is missing is the source, where it is not the target's bucket */

static ngx_int_t
ngx_http_s3_gateway_copy_refused(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    (void) ngx_http_s3_ask_failed(r, ctx, ask);

    if (ctx->fail.error == S3_ERR_NO_SUCH_KEY) {
        s3_fail_element(&ctx->fail, "Key", &ctx->copy->source.key);
        s3_fail_element(&ctx->fail, "BucketName", &ctx->copy->source.bucket);
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_s3_gateway_copy_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    size_t                       size;
    ngx_chain_t                 *out;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    if (copy->record.key.len) {
        ngx_http_s3_sweep_some(r, ctx);
    }

    out = s3_copy_result_write(r->pool,
                               ctx->operation->id == S3_OP_COPY_OBJECT
                               ? "CopyObjectResult" : "CopyPartResult",
                               &copy->result, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}


/* ---- bytes of the source, summed up */


static ngx_int_t
ngx_http_s3_gateway_copy_sum(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_asked_pt summed, s3_checksum_e algorithm, s3_checksum_e also)
{
    u_char                      *p;
    ngx_str_t                    range, match;
    s3_body_conf_t               conf;
    ngx_http_s3_ask_t           *ask;
    ngx_pool_cleanup_t          *cln;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    if (copy->reading) {
        s3_body_cleanup(&copy->body);
        copy->reading = 0;
    }

    ask = ngx_http_s3_ask_create(r, "GET", &ctx->copy->source.bucket,
                                 &ctx->copy->source.key);
    cln = ngx_pool_cleanup_add(r->pool, 0);
    p = ngx_pnalloc(r->pool, sizeof("bytes=-") + 2 * NGX_INT64_LEN
                             + copy->etag.len + 2);

    if (ask == NULL || cln == NULL || p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&conf, sizeof(s3_body_conf_t));

    conf.form = S3_BODY_FORM_UNSIGNED;
    conf.length = copy->length;
    conf.default_checksum = algorithm;
    conf.also_checksum = also;

    if (s3_body_init(&copy->body, &conf) != S3_BODY_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_s3_gateway_copy_cleanup;
    cln->data = copy;

    copy->reading = 1;

    match.data = p;
    match.len = ngx_sprintf(p, "\"%V\"", &copy->etag) - p;

    if (s3_upstream_header(&ask->headers, "if-match", &match) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    copy->skip = copy->offset;

    if (copy->length != copy->size) {

        range.data = p + match.len;
        range.len = ngx_sprintf(range.data, "bytes=%uL-%uL", copy->offset,
                                copy->offset + copy->length - 1)
                    - range.data;

        if (s3_upstream_header(&ask->headers, "range", &range) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ask->query = copy->query;
    ask->take = ngx_http_s3_gateway_copy_take;
    ask->answer = summed;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_copy_take(ngx_http_s3_ask_t *ask, const u_char *p,
    size_t len)
{
    size_t                       n;
    const u_char                *run, *last;
    ngx_http_s3_ctx_t           *ctx;
    ngx_http_s3_gateway_copy_t  *copy;

    ctx = ask->ctx;
    copy = ctx->data;

    last = p + len;

    /* all of it, as a location with $slice_range asks for no other range */

    if (ask->status == NGX_HTTP_OK) {
        n = ngx_min(len, copy->skip);

        copy->skip -= n;
        p += n;
    }

    n = last - p;
    last = p + ngx_min(n, copy->length - copy->body.decoded);

    while (p < last) {

        if (s3_body_decode(&copy->body, &p, last, &run, &n)
            != S3_CHUNKED_DATA)
        {
            return NGX_ERROR;
        }

        s3_body_update(&copy->body, run, n);
    }

    return NGX_OK;
}


static void
ngx_http_s3_gateway_copy_cleanup(void *data)
{
    ngx_http_s3_gateway_copy_t  *copy = data;

    s3_body_cleanup(&copy->body);
}


/* NGX_OK: the digests are of the bytes that the entity tag is of; else what
 * the operation returns */

static ngx_int_t
ngx_http_s3_gateway_copy_read(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    if (ask->status == NGX_HTTP_PRECONDITION_FAILED) {
        return ngx_http_s3_gateway_copy_again(r, ctx);
    }

    if (ask->status != NGX_HTTP_OK
        && ask->status != NGX_HTTP_PARTIAL_CONTENT)
    {
        return ngx_http_s3_gateway_copy_refused(r, ctx, ask);
    }

    if (s3_body_end(&copy->body) != S3_BODY_OK
        || s3_body_finish(&copy->body) != S3_BODY_OK)
    {
        return ngx_http_s3_gateway_strange(r, ctx);
    }

    return NGX_OK;
}


/* ---- a part */


static ngx_int_t
ngx_http_s3_gateway_copy_upload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload)
{
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;
    copy->upload = upload;

    return ngx_http_s3_gateway_copy_head(r, ctx);
}


static ngx_int_t
ngx_http_s3_gateway_copy_part_summed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    u_char                       md5[20];
    ngx_int_t                    rc;
    s3_slice_t                   slice;
    ngx_uint_t                   number;
    s3_part_sum_t               *sum;
    s3_stored_part_t             part;
    ngx_http_s3_gateway_copy_t  *copy;

    copy = ctx->data;

    rc = ngx_http_s3_gateway_copy_read(r, ctx, ask);

    if (rc != NGX_OK) {
        return rc;
    }

    slice = ngx_http_s3_etag_parse(&copy->result.etag, md5);

    if (slice.len != 16 || ngx_memcmp(md5, copy->body.md5, 16) != 0) {

        /* it is of another object; or entity tags are no MD5 here */

        copy->odd = copy->etag;

        return ngx_http_s3_gateway_copy_again(r, ctx);
    }

    ngx_memzero(&part, sizeof(s3_stored_part_t));

    (void) s3_part_number_parse(&ctx->target, &number, &ctx->fail);

    part.number = (uint32_t) number;
    part.size = copy->length;
    ngx_memcpy(part.md5, md5, 16);

    sum = &part.sums[part.nsums++];
    sum->algorithm = copy->body.checksum;
    ngx_memcpy(sum->digest, copy->body.digest,
               s3_checksum_info(sum->algorithm)->size);

    if (copy->upload->checksum.algorithm != S3_CHECKSUM_NONE) {

        if (ngx_http_s3_sum_words(r->pool, sum, &copy->result.checksum)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* a part has no ChecksumType */

        copy->result.checksum.type.len = 0;
    }

    if (s3_mark_part_write(r->pool, &copy->upload->prefix, &part,
                           &copy->record.key)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    copy->record.answer = ngx_http_s3_gateway_copy_part_recorded;

    return ngx_http_s3_record_put(r, ctx, &copy->record);
}


static ngx_int_t
ngx_http_s3_gateway_copy_part_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    if (ask->status != NGX_HTTP_OK) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_copy_answer(r, ctx);
}
