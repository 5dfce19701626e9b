
/*
 * CompleteMultipartUpload through a gateway.
 *
 *     body       the list of parts, read as it comes in
 *     find       the upload's record, and those of its parts
 *     verdict    as the store gives it (s3_complete.h); parts without a record
 *                were uploaded past us: the upstream will judge them, and the
 *                object gets no checksum
 *     record     of the object that is to be: its entity tag follows from those
 *                of the parts
 *     condition  If-Match and If-None-Match, which old servers do not look at
 *     complete   the upstream gets numbers and entity tags
 *     answer     with the object's checksum; what the parts had goes then
 *
 * Of an upstream that knows checksums the verdict is its own: it gets the list
 * as it came.
 *
 * The record is there before the object is: nobody sees an object of which it
 * is missing.  Where the upstream refuses, a record of no object stays, until
 * a sweep comes by.
 */


#include "ngx_http_s3_gateway.h"


typedef struct {
    s3_complete_t                 list;
    s3_complete_whole_t           whole;
    ngx_http_s3_upload_t         *upload;
    s3_stored_part_t             *parts;      /* as many as the list has */
    s3_complete_result_t          result;
    ngx_str_t                     etag;
    s3_checksum_text_t            checksum;
    ngx_http_s3_record_t          record;
} ngx_http_s3_completed_t;


static ngx_int_t ngx_http_s3_gateway_complete_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_complete_upload_found(
    ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload);
static ngx_int_t ngx_http_s3_gateway_complete_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);
static void ngx_http_s3_gateway_complete_part(ngx_http_s3_upload_t *upload,
    s3_complete_part_t *named, s3_stored_part_t *part);
static ngx_int_t ngx_http_s3_gateway_complete_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_stored_part_t **named);
static ngx_int_t ngx_http_s3_gateway_complete_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_complete_condition(
    ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_complete_holds(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_complete_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_completed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_complete_unknown(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *failed);
static ngx_int_t ngx_http_s3_gateway_complete_refused(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_complete_again(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_complete_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_complete_pass(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_complete_passed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_complete_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_int_t
ngx_http_s3_gateway_complete_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_completed_t  *c;

    c = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_completed_t));
    if (c == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = c;

    if (!ctx->gateway->emulate) {

        /* checksums in headers are the object's, and not the list's */

        ctx->whole = 1;

        return ngx_http_s3_read_document(r, ctx, NGX_HTTP_S3_COMPLETE_MAX,
                                         ngx_http_s3_gateway_complete_pass);
    }

    if (s3_complete_headers(r->pool, ctx->headers.elts, ctx->headers.nelts,
                            &c->whole, &ctx->fail)
        != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_read_parts(r, ctx, &c->list,
                                  ngx_http_s3_gateway_complete_read);
}


static ngx_int_t
ngx_http_s3_gateway_complete_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    u_char                   *p, md5[16];
    ngx_http_s3_completed_t  *c;

    c = ctx->data;

    if (s3_complete_end(&c->list) != S3_OK) {
        return NGX_DECLINED;
    }

    p = ngx_pnalloc(r->pool, NGX_HTTP_S3_ETAG_LEN);

    if (p == NULL || s3_complete_etag(&c->list, md5) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    c->etag.data = p;

    p = ngx_hex_dump(p, md5, 16);
    p = ngx_sprintf(p, "-%ui", c->list.parts.nelts);

    c->etag.len = p - c->etag.data;

    return ngx_http_s3_upload_find(r, ctx,
                                   ngx_http_s3_gateway_complete_upload_found);
}


static ngx_int_t
ngx_http_s3_gateway_complete_upload_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload)
{
    ngx_uint_t                i, first, last;
    s3_complete_part_t       *named;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;
    c->upload = upload;

    if (!upload->recorded) {
        return ngx_http_s3_gateway_complete_condition(r, ctx);
    }

    named = c->list.parts.elts;
    first = last = named[0].number;

    for (i = 1; i < c->list.parts.nelts; i++) {
        first = ngx_min(first, named[i].number);
        last = ngx_max(last, named[i].number);
    }

    return ngx_http_s3_upload_parts(r, ctx, upload, first, last,
                                    ngx_http_s3_gateway_complete_parts);
}


static ngx_int_t
ngx_http_s3_gateway_complete_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload)
{
    ngx_uint_t                i, n;
    s3_stored_part_t        **named;
    s3_complete_part_t       *part;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;
    n = c->list.parts.nelts;
    part = c->list.parts.elts;

    c->parts = ngx_palloc(r->pool, n * sizeof(s3_stored_part_t));
    named = ngx_palloc(r->pool, n * sizeof(s3_stored_part_t *));

    if (c->parts == NULL || named == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (i = 0; i < n; i++) {
        ngx_http_s3_gateway_complete_part(upload, &part[i], &c->parts[i]);
    }

    if (s3_complete_verdict(r->pool, &c->list, &c->whole, &upload->checksum,
                            c->parts, n, named,
                            &s3_target_arg(&ctx->target, "uploadId")->value,
                            1, &c->result)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    if (c->result.algorithm == S3_CHECKSUM_NONE) {
        return ngx_http_s3_gateway_complete_condition(r, ctx);
    }

    return ngx_http_s3_gateway_complete_record(r, ctx, named);
}


/* the part as it is recorded; or as it is named, where it is not */

static void
ngx_http_s3_gateway_complete_part(ngx_http_s3_upload_t *upload,
    s3_complete_part_t *named, s3_stored_part_t *part)
{
    u_char             hex[32];
    ngx_str_t          etag;
    ngx_uint_t         i;
    s3_stored_part_t  *stored, *end;

    etag.data = hex;
    etag.len = ngx_hex_dump(hex, named->md5, 16) - hex;

    stored = ngx_http_s3_upload_part_of(upload, named->number, &etag);

    if (stored == NULL) {
        ngx_memzero(part, sizeof(s3_stored_part_t));

        part->number = named->number;
        part->size = S3_PART_SIZE_MIN;
        ngx_memcpy(part->md5, named->md5, 16);

        return;
    }

    *part = *stored;

    /* the same bytes may have come with one checksum and with another */

    end = (s3_stored_part_t *) upload->parts.elts + upload->parts.nelts;

    for ( /* void */ ; stored < end && stored->number == named->number;
         stored++)
    {
        for (i = 0; i < stored->nsums; i++) {
            if (stored->sums[i].algorithm == named->algorithm
                && ngx_memcmp(stored->md5, named->md5, 16) == 0)
            {
                *part = *stored;
                return;
            }
        }
    }
}


static ngx_int_t
ngx_http_s3_gateway_complete_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_stored_part_t **named)
{
    u_char                    row[NGX_HTTP_S3_CHECKSUM_LEN];
    ngx_uint_t                i, j, n;
    s3_slice_t                slice;
    s3_list_part_t           *part;
    s3_mark_body_t            body;
    ngx_http_s3_record_t     *rec;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;
    n = c->list.parts.nelts;
    rec = &c->record;

    slice = c->result.composite
            ? ngx_http_s3_checksum_composite(c->result.algorithm,
                                             c->result.digest, n, row)
            : ngx_http_s3_checksum_row(c->result.algorithm, c->result.digest,
                                       row);

    part = ngx_pcalloc(r->pool, n * sizeof(s3_list_part_t));

    if (part == NULL
        || ngx_http_s3_checksum_words(r->pool, slice, 1, &c->checksum)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (i = 0; i < n; i++) {
        part[i].number = named[i]->number;
        part[i].size = named[i]->size;

        for (j = 0; j < named[i]->nsums; j++) {

            if (named[i]->sums[j].algorithm == c->result.algorithm
                && ngx_http_s3_sum_words(r->pool, &named[i]->sums[j],
                                         &part[i].checksum)
                   != NGX_OK)
            {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }
        }
    }

    ngx_memzero(&body, sizeof(s3_mark_body_t));

    body.bucket = ctx->target.bucket;
    body.key = ctx->target.key;
    body.upload_id = s3_target_arg(&ctx->target, "uploadId")->value;
    body.parts = part;
    body.nparts = n;

    if (s3_mark_record_key(r->pool, &body.bucket, &body.key, &c->etag,
                           &rec->key)
        != NGX_OK
        || s3_mark_write(r->pool, &c->etag, &c->checksum, &rec->mark)
           != NGX_OK
        || s3_mark_body_write(r->pool, &body, &rec->body) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rec->answer = ngx_http_s3_gateway_complete_recorded;

    return ngx_http_s3_record_put(r, ctx, rec);
}


static ngx_int_t
ngx_http_s3_gateway_complete_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    if (ask->status != NGX_HTTP_OK) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_complete_condition(r, ctx);
}


static ngx_int_t
ngx_http_s3_gateway_complete_condition(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    return ctx->condition.type == S3_CONDITION_NONE
           ? ngx_http_s3_gateway_complete_ask(r, ctx)
           : ngx_http_s3_gateway_find(r, ctx,
                                      ngx_http_s3_gateway_complete_holds);
}


static ngx_int_t
ngx_http_s3_gateway_complete_holds(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_int_t                 rc;
    ngx_str_t                *etag, there;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;

    rc = ngx_http_s3_gateway_holds(r, ctx, ask);

    if (rc == NGX_OK) {
        return ngx_http_s3_gateway_complete_ask(r, ctx);
    }

    /* the same once more, by who has not heard that it was done: the upstream
     * knows */

    etag = ngx_http_s3_ask_header(ask, "etag");

    if (!c->upload->recorded && etag) {
        there = *etag;
        s3_upstream_unquote(&there);

        if (there.len == c->etag.len
            && ngx_strncasecmp(there.data, c->etag.data, there.len) == 0)
        {
            ngx_memzero(&ctx->fail, sizeof(s3_failure_t));

            return ngx_http_s3_gateway_complete_ask(r, ctx);
        }
    }

    return rc;
}


static ngx_int_t
ngx_http_s3_gateway_complete_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_ask_t        *ask;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "POST");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->body = s3_complete_write(&c->list, &ask->body_size);

    if (ask->body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* of the client's document, and this is ours */

    ngx_http_s3_ask_drop(ask, "content-md5");

    ask->once = 1;
    ask->answer = ngx_http_s3_gateway_completed;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_completed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_upstream_xml_t         x;
    s3_upstream_leaf_t        leaf;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;

    if (ask->status == NGX_HTTP_INTERNAL_SERVER_ERROR
        && !c->upload->recorded)
    {
        return ngx_http_s3_gateway_complete_unknown(r, ctx, ask);
    }

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    leaf.name = "ETag";

    x.pool = r->pool;
    x.root = "CompleteMultipartUploadResult";
    x.top = &leaf;
    x.ntop = 1;

    if (s3_upstream_read(&x, ask->out) != NGX_OK) {
        return ngx_http_s3_gateway_complete_failed(r, ctx, ask);
    }

    s3_upstream_unquote(&leaf.value);

    /* Ceph 16.2 leaves it empty, the first time that it is asked */

    if (leaf.value.len
        && (leaf.value.len != c->etag.len
            || ngx_strncasecmp(leaf.value.data, c->etag.data, c->etag.len)
               != 0))
    {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "s3_gateway: entity tags of the upstream are not MD5, "
                      "checksums are lost; write \"s3_checksums pass;\"");

        c->etag = leaf.value;
    }

    if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (c->upload->recorded) {
        ngx_http_s3_sweep_upload(r, ctx, &ctx->target.bucket,
                                 &ctx->target.key,
                                 &s3_target_arg(&ctx->target, "uploadId")
                                  ->value);
        ngx_http_s3_sweep_some(r, ctx);
    }

    if (c->result.algorithm == S3_CHECKSUM_NONE) {

        /* done before, and answered to nobody? */

        ask = ngx_http_s3_record_find(r, ctx, &c->etag, "HEAD");

        if (ask == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ask->answer = ngx_http_s3_gateway_complete_again;

        return ngx_http_s3_ask(r, ctx, ask);
    }

    return ngx_http_s3_gateway_complete_answer(r, ctx);
}


/* Ceph 16.2 answers so where there is no such upload; ListParts is told */

static ngx_int_t
ngx_http_s3_gateway_complete_unknown(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *failed)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "GET");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_s3_ask_drop(ask, "content-*");
    ngx_http_s3_ask_drop(ask, "if-*");

    ask->answer = ngx_http_s3_gateway_complete_refused;
    ask->data = failed;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_complete_refused(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    if (ask->status == NGX_HTTP_NOT_FOUND) {
        (void) s3_fail_upload(&ctx->fail,
                         &s3_target_arg(&ctx->target, "uploadId")->value);
        return NGX_DECLINED;
    }

    return ngx_http_s3_ask_failed(r, ctx, ask->data);
}


static ngx_int_t
ngx_http_s3_gateway_complete_again(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_completed_t  *c;

    c = ctx->data;

    if (ngx_http_s3_record_read(ask, &c->etag, &c->checksum) != NGX_OK) {
        c->checksum.text.len = 0;
    }

    return ngx_http_s3_gateway_complete_answer(r, ctx);
}


static ngx_int_t
ngx_http_s3_gateway_complete_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    size_t                    size;
    ngx_str_t                 location;
    ngx_chain_t              *out;
    ngx_http_s3_completed_t  *c;

    c = ctx->data;

    if (ngx_http_s3_complete_location(r, ctx, &location) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out = s3_upload_completed_write(r->pool, &location, &ctx->target.bucket,
                                    &ctx->target.key, &c->etag, &c->checksum,
                                    &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}


static ngx_int_t
ngx_http_s3_gateway_complete_pass(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "POST");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->body = ctx->document;
    ask->body_size = ngx_http_s3_gateway_size(ctx->document);
    ask->once = 1;
    ask->answer = ngx_http_s3_gateway_complete_passed;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_complete_passed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    ngx_uint_t                a, n;
    s3_upstream_xml_t         x;
    s3_upstream_leaf_t        leaf[S3_CHECKSUM_LAST + 1];
    ngx_http_s3_completed_t  *c;

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    c = ctx->data;

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));
    ngx_memzero(leaf, sizeof(leaf));

    leaf[0].name = "ETag";
    leaf[1].name = "ChecksumType";
    n = 2;

    for (a = S3_CHECKSUM_NONE + 1; a < S3_CHECKSUM_LAST; a++) {
        leaf[n++].name = s3_checksum_element(a);
    }

    x.pool = r->pool;
    x.root = "CompleteMultipartUploadResult";
    x.top = leaf;
    x.ntop = n;

    if (s3_upstream_read(&x, ask->out) != NGX_OK) {
        return ngx_http_s3_gateway_complete_failed(r, ctx, ask);
    }

    c->etag = leaf[0].value;
    s3_upstream_unquote(&c->etag);

    for (a = S3_CHECKSUM_NONE + 1; a < S3_CHECKSUM_LAST; a++) {

        if (leaf[a + 1].value.len) {
            c->checksum.algorithm = a;
            c->checksum.text = leaf[a + 1].value;
            c->checksum.type = leaf[1].value;
        }
    }

    return ngx_http_s3_gateway_adopt(r, ctx, ask) == NGX_OK
           ? ngx_http_s3_gateway_complete_answer(r, ctx)
           : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* an error may come with 200: S3 has said so before it knew */

static ngx_int_t
ngx_http_s3_gateway_complete_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    if (s3_upstream_failure(r->pool, ask->out, 0, &ctx->fail) == NGX_OK) {
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_strange(r, ctx);
}
