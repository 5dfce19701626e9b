
/*
 * UploadPart, UploadPartCopy
 *
 *     look up     the upload is there: told before the body is read; which
 *                 checksum its parts carry
 *     upload      as PutObject, ngx_http_s3_put_object.c; of a source's bytes,
 *                 ngx_http_s3_copy.c
 *     commit      decides again whether the upload is there
 *
 * Checksums.  An upload that named an algorithm takes parts with that one
 * alone; where its type is FULL_OBJECT a part may come without, and it is
 * computed.  S3 refuses both other algorithms and, for COMPOSITE, none
 * ("Checksum Type mismatch occurred, expected checksum Type: sha256, actual
 * checksum Type: null").
 *
 * SDKs that add a CRC32 to every part name no algorithm when their user did
 * not: such an upload takes any, verifies it and answers with it, as S3 does;
 * the object gets a CRC64NVME of FULL_OBJECT all the same, which is computed
 * besides for each part.
 */


#include "ngx_http_s3.h"


typedef struct {
    ngx_uint_t                    number;
    u_char                        upload_id[S3_UPLOAD_ID_LEN];
    s3_upload_checksum_t          checksum;
} ngx_http_s3_part_t;


static ngx_int_t ngx_http_s3_part_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_part_copy(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static void ngx_http_s3_part_commit(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_part_committed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_upload_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_part_t  *part;

    part = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_part_t));
    if (part == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = part;

    if (s3_part_number_parse(&ctx->target, &part->number, &ctx->fail)
        != S3_OK
        || ngx_http_s3_upload_id(ctx, part->upload_id) != S3_OK
        || (ctx->operation->id == S3_OP_UPLOAD_PART_COPY
            && ngx_http_s3_copy_source(r, ctx) != S3_OK))
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_ask_parts(r, ctx, part->upload_id, 0, 0,
                                 ngx_http_s3_part_upload);
}


static ngx_int_t
ngx_http_s3_part_upload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_int_t            rc;
    ngx_http_s3_part_t  *part;

    if (status == S3_STORE_OK && ctx->call.parts.upload.completed) {
        status = S3_STORE_NO_SUCH_UPLOAD;
    }

    if (status != S3_STORE_OK) {
        return ngx_http_s3_upload_failed(ctx, status);
    }

    part = ctx->data;

    ngx_http_s3_upload_checksum(ctx->call.parts.upload.checksum,
                                &part->checksum);

    if (ctx->operation->id == S3_OP_UPLOAD_PART_COPY) {
        return ngx_http_s3_copy_find(r, ctx, ngx_http_s3_part_copy);
    }

    if (ngx_http_s3_part_payload(r, ctx, &part->checksum) != S3_OK) {
        return NGX_DECLINED;
    }

    rc = ngx_http_s3_upload_body(r, ctx, 1, ngx_http_s3_part_commit);

    if (rc == NGX_OK) {
        r->main->count++;
        return NGX_DONE;
    }

    return rc == NGX_DECLINED ? rc : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
ngx_http_s3_part_copy(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    uint64_t             offset, length;
    s3_header_t         *h;
    s3_checksum_e        algorithm, also;
    ngx_http_s3_part_t  *part;

    offset = 0;
    length = ctx->call.object.size;

    h = ngx_http_s3_header_in(ctx, "x-amz-copy-source-range");

    if (h
        && s3_copy_range_parse(r->pool, &h->value, length, &offset, &length,
                               &ctx->fail)
           != S3_OK)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_s3_copy_size(r, ctx, length) != S3_OK) {
        return NGX_DECLINED;
    }

    part = ctx->data;

    algorithm = part->checksum.algorithm;
    also = S3_CHECKSUM_NONE;

    if (algorithm == S3_CHECKSUM_NONE) {
        algorithm = S3_CHECKSUM_CRC64NVME;
        also = S3_CHECKSUM_CRC64NVME;
    }

    return ngx_http_s3_copy_stream(r, ctx, offset, length, algorithm, also, 1,
                                   ngx_http_s3_part_commit);
}


s3_error_e
ngx_http_s3_part_payload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_upload_checksum_t *checksum)
{
    u_char          name[2][16];
    const char     *p;
    s3_checksum_e   given;

    ctx->checksum = checksum->algorithm;

    if (checksum->algorithm == S3_CHECKSUM_NONE) {
        ctx->also = S3_CHECKSUM_CRC64NVME;
    }

    if (ngx_http_s3_payload_create(r, ctx, NGX_HTTP_S3_MAX_PUT) != S3_OK) {
        return ctx->fail.error;
    }

    given = ctx->payload->body.given;

    if (checksum->algorithm == S3_CHECKSUM_NONE
        || given == checksum->algorithm
        || (given == S3_CHECKSUM_NONE && !checksum->composite))
    {
        return S3_OK;
    }

    p = s3_checksum_info(checksum->algorithm)->name;
    ngx_strlow(name[0], (u_char *) p, ngx_strlen(p) + 1);

    p = given ? s3_checksum_info(given)->name : "null";
    ngx_strlow(name[1], (u_char *) p, ngx_strlen(p) + 1);

    return s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                    "Checksum Type mismatch occurred, expected checksum "
                    "Type: %s, actual checksum Type: %s", name[0], name[1]);
}


static void
ngx_http_s3_part_commit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char               checksum[2 * NGX_HTTP_S3_CHECKSUM_LEN];
    s3_body_t           *body;
    s3_slice_t           row;
    s3_commit_t          commit;
    ngx_http_s3_part_t  *part;

    part = ctx->data;
    body = &ctx->payload->body;

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_PART;
    commit.number = (uint32_t) part->number;
    ngx_memcpy(commit.upload_id, part->upload_id, S3_UPLOAD_ID_LEN);

    if (body->also == S3_CHECKSUM_NONE) {
        row = ngx_http_s3_checksum_row(body->checksum, body->digest,
                                       checksum);

    } else {
        row = ngx_http_s3_checksum_row(body->also, body->also_digest,
                                       checksum);

        if (body->given != S3_CHECKSUM_NONE && body->given != body->also) {
            row.len += ngx_http_s3_checksum_row(body->given, body->digest,
                                                checksum + row.len).len;
        }
    }

    commit.checksum = row;

    ngx_http_s3_upload_commit(r, ctx, &commit, ngx_http_s3_part_committed);
}


static ngx_int_t
ngx_http_s3_part_committed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    u_char               checksum[NGX_HTTP_S3_CHECKSUM_LEN];
    ngx_str_t            etag;
    s3_body_t           *body;
    s3_slice_t           md5, row;
    s3_checksum_text_t   text;
    ngx_http_s3_part_t  *part;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_upload_failed(ctx, status);
    }

    part = ctx->data;
    body = &ctx->payload->body;

    md5.data = body->md5;
    md5.len = S3_BODY_MD5_LEN;

    if (ctx->copy) {
        row.data = checksum;
        row.len = 0;

        if (part->checksum.algorithm != S3_CHECKSUM_NONE) {
            row = ngx_http_s3_checksum_row(body->checksum, body->digest,
                                           checksum);
        }

        if (ngx_http_s3_copy_result(r, ctx, md5, row) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* a part has no ChecksumType */

        ngx_str_null(&ctx->copy->result.checksum.type);

        return ngx_http_s3_copy_answer(r, ctx, "CopyPartResult");
    }

    etag = ngx_http_s3_etag_text(r->pool, md5);

    if (etag.len == 0 || ngx_http_s3_add_etag(r, &etag) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* a part has no x-amz-checksum-type */

    if (part->checksum.algorithm != S3_CHECKSUM_NONE
        || body->given != S3_CHECKSUM_NONE)
    {
        if (ngx_http_s3_checksum_words(r->pool,
                                       ngx_http_s3_checksum_row(
                                                            body->checksum,
                                                            body->digest,
                                                            checksum),
                                       0, &text)
            != NGX_OK
            || ngx_http_s3_add_header(r,
                                      s3_checksum_info(text.algorithm)
                                      ->header,
                                      &text.text)
               != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_OK);
}
