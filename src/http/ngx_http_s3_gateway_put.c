
/*
 * PutObject and UploadPart through a gateway.
 *
 *     up to s3_gateway_buffer   read whole, checked, and sent with its
 *                               checksum in the object's metadata; nginx may
 *                               try another server
 *     more                      goes through as it comes, see
 *                               ngx_http_s3_gateway_body.c: the metadata point
 *                               to a record, which is written before the last
 *                               byte
 *     length unknown            read whole, 411 past the buffer
 *
 * Where a worker's s3_memory is used up, bodies of known length go through as
 * large ones do: nobody waits for memory that a slow client holds.
 *
 * A part has no metadata.  What it is to carry is in its upload's record, which
 * is asked for first; its own record is written when the upstream has it, and
 * before the client hears of it.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_gateway_put_body(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_put_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);
static ngx_int_t ngx_http_s3_gateway_part_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_record_t *rec);
static void ngx_http_s3_gateway_part_sum(s3_stored_part_t *part,
    s3_checksum_e algorithm, u_char *digest);
static void ngx_http_s3_gateway_part_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


ngx_int_t
ngx_http_s3_gateway_put_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ngx_http_s3_payload_create(r, ctx, NGX_HTTP_S3_MAX_PUT) != S3_OK) {
        ngx_http_s3_release(ctx);
        return ngx_http_s3_send_error(r, ctx);
    }

    /* Ceph takes quotes for a part of the entity tag, S3 takes it without */

    if (ctx->condition.type == S3_CONDITION_ETAG) {

        if (ngx_http_s3_gateway_add(ctx, "if-match", &ctx->condition.etag)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    rc = ngx_http_s3_gateway_put_body(r, ctx);

    return rc == NGX_DECLINED ? ngx_http_s3_send_error(r, ctx) : rc;
}


/* of which ctx->payload is there */

static ngx_int_t
ngx_http_s3_gateway_put_body(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    uint64_t                 length;
    ngx_str_t                value;
    ngx_http_s3_gateway_t   *gw;
    ngx_http_s3_loc_conf_t  *lcf;

    gw = ctx->gateway;
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    length = ctx->payload->body.length;

    if (length == 0 || length == S3_BODY_UNKNOWN
        || (length <= lcf->upstream.buffer
            && ngx_http_s3_body_reserve(ctx, (size_t) length) == S3_OK))
    {
        return ngx_http_s3_read_whole(r, ctx, lcf->upstream.buffer,
                                      ngx_http_s3_gateway_put_read);
    }

    /* there was no memory, and is no need of it */

    ctx->fail.error = S3_OK;
    ctx->reason = 0;

    if (gw->emulate && ctx->operation->id == S3_OP_PUT_OBJECT) {
        gw->record = 1;

        ngx_str_set(&value, S3_MARK_RECORD_VALUE);

        if (ngx_http_s3_gateway_add(ctx, S3_MARK_HEADER, &value) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_http_s3_gateway_stream(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_gateway_pass(r, ctx);
}


/* all of it is here, and good */

static ngx_int_t
ngx_http_s3_gateway_put_read(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_str_t               value;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (ngx_http_s3_gateway_sums(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (gw->emulate && ctx->operation->id == S3_OP_PUT_OBJECT) {

        if (s3_mark_write(r->pool, &gw->etag, &gw->checksum, &value) != NGX_OK
            || ngx_http_s3_gateway_add(ctx, S3_MARK_HEADER, &value) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    /* the signature does not cover the body: what the upstream can check */

    if (gw->emulate) {
        rc = ngx_http_s3_gateway_content_md5(r, ctx);

    } else if (ctx->payload->body.given != S3_CHECKSUM_NONE) {
        rc = ngx_http_s3_gateway_add(ctx,
                                     s3_checksum_info(gw->checksum.algorithm)
                                     ->header,
                                     &gw->checksum.text);
    } else {
        rc = NGX_OK;
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_gateway_pass_body(r, ctx, ctx->document,
                                         (size_t) ctx->payload->body.decoded);
}


ngx_int_t
ngx_http_s3_gateway_sums(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char                  row[NGX_HTTP_S3_CHECKSUM_LEN];
    s3_body_t              *body;
    s3_slice_t              md5;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    body = &ctx->payload->body;

    md5.data = body->md5;
    md5.len = S3_BODY_MD5_LEN;

    gw->etag = ngx_http_s3_etag_text(r->pool, md5);

    if (gw->etag.len == 0) {
        return NGX_ERROR;
    }

    return ngx_http_s3_checksum_words(r->pool,
                                      ngx_http_s3_checksum_row(
                                                      body->checksum,
                                                      body->digest, row),
                                      1, &gw->checksum);
}


ngx_int_t
ngx_http_s3_gateway_upload_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t  number;

    if (s3_part_number_parse(&ctx->target, &number, &ctx->fail) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_put_object(r, ctx);
    }

    return ngx_http_s3_upload_find(r, ctx, ngx_http_s3_gateway_part);
}


static ngx_int_t
ngx_http_s3_gateway_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload)
{
    ctx->gateway->data = upload;

    if (ngx_http_s3_part_payload(r, ctx, &upload->checksum) != S3_OK) {
        return NGX_DECLINED;
    }

    return ngx_http_s3_gateway_put_body(r, ctx);
}


ngx_int_t
ngx_http_s3_gateway_part_stored(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t               rc;
    s3_body_t              *body;
    ngx_http_s3_record_t   *rec;
    ngx_http_s3_upload_t   *upload;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;
    upload = gw->data;
    body = &ctx->payload->body;

    /* S3 tells what was asked for, or came, and no x-amz-checksum-type */

    if ((upload->checksum.algorithm != S3_CHECKSUM_NONE
         || body->given != S3_CHECKSUM_NONE)
        && ngx_http_s3_gateway_add_checksum(r, gw, 0) == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    if (!upload->recorded) {
        return NGX_DECLINED;
    }

    rec = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_record_t));
    if (rec == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_s3_gateway_part_record(r, ctx, rec);

    if (rc != NGX_OK) {
        return rc;
    }

    rec->resume = ngx_http_s3_gateway_part_recorded;

    gw->header = NGX_HTTP_S3_HEADER_WAITS;

    if (ngx_http_s3_record_put(r, ctx, rec) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_s3_gateway_hold(r);

    return NGX_OK;
}


/* NGX_OK, NGX_ERROR, NGX_DECLINED: the part cannot have one */

static ngx_int_t
ngx_http_s3_gateway_part_record(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_record_t *rec)
{
    u_char                  md5[20];
    ngx_str_t               etag;
    s3_body_t              *body;
    s3_slice_t              slice;
    ngx_uint_t              number;
    s3_stored_part_t        part;
    ngx_http_s3_upload_t   *upload;

    upload = ctx->gateway->data;
    body = &ctx->payload->body;

    ngx_str_null(&etag);

    if (r->headers_out.etag) {
        etag = r->headers_out.etag->value;
        s3_upstream_unquote(&etag);
    }

    slice = ngx_http_s3_etag_parse(&etag, md5);

    if (slice.len != 16) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "s3_gateway: entity tags of the upstream are not MD5, "
                      "checksums are lost; write \"s3_checksums pass;\"");
        return NGX_DECLINED;
    }

    ngx_memzero(&part, sizeof(s3_stored_part_t));

    (void) s3_part_number_parse(&ctx->target, &number, &ctx->fail);

    part.number = (uint32_t) number;
    part.size = body->decoded;
    ngx_memcpy(part.md5, md5, 16);

    /* as a store keeps them: what the object is made of comes first */

    if (body->also == S3_CHECKSUM_NONE) {
        ngx_http_s3_gateway_part_sum(&part, body->checksum, body->digest);

    } else {
        ngx_http_s3_gateway_part_sum(&part, body->also, body->also_digest);

        if (body->given != S3_CHECKSUM_NONE && body->given != body->also) {
            ngx_http_s3_gateway_part_sum(&part, body->given, body->digest);
        }
    }

    return s3_mark_part_write(r->pool, &upload->prefix, &part, &rec->key);
}


static void
ngx_http_s3_gateway_part_sum(s3_stored_part_t *part, s3_checksum_e algorithm,
    u_char *digest)
{
    s3_part_sum_t  *sum;

    sum = &part->sums[part->nsums++];

    sum->algorithm = algorithm;
    ngx_memcpy(sum->digest, digest, s3_checksum_info(algorithm)->size);
}


static void
ngx_http_s3_gateway_part_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    /* the client sends it again, over the one that is there */

    if (ask->status != NGX_HTTP_OK) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        (void) ngx_http_s3_filter_error(r, ctx);
    }

    ngx_http_s3_gateway_go(r, ctx);
}
