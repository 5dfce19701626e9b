
/*
 * CreateMultipartUpload and AbortMultipartUpload, and what all operations of
 * multipart uploads share.
 *
 * An upload's id is its time and 8 random bytes, shown as hex: uploads of a
 * key are listed in the order of their beginning, as S3 does it.
 */


#include "ngx_http_s3.h"
#include "s3_metadata.h"

#include <openssl/rand.h>


#define NGX_HTTP_S3_CREATE_ATTEMPTS  4


typedef struct {
    u_char                        upload_id[S3_UPLOAD_ID_LEN];
    s3_upload_checksum_t          checksum;
} ngx_http_s3_create_t;


static ngx_int_t ngx_http_s3_create_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_created(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_aborted(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


s3_error_e
ngx_http_s3_upload_id(ngx_http_s3_ctx_t *ctx, u_char id[S3_UPLOAD_ID_LEN])
{
    s3_arg_t  *arg;

    /* the operation would be another one without it */

    arg = s3_target_arg(&ctx->target, "uploadId");

    if (s3_upload_id_parse(&arg->value, id) != NGX_OK) {
        return s3_fail_upload(&ctx->fail, &arg->value);
    }

    return S3_OK;
}


ngx_int_t
ngx_http_s3_upload_failed(ngx_http_s3_ctx_t *ctx, int status)
{
    s3_arg_t  *arg;

    if (status == S3_STORE_NO_SUCH_UPLOAD) {
        arg = s3_target_arg(&ctx->target, "uploadId");

        (void) s3_fail_upload(&ctx->fail, &arg->value);

        return NGX_DECLINED;
    }

    return ngx_http_s3_failed(ctx, status);
}


ngx_int_t
ngx_http_s3_ask_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const u_char *upload_id, ngx_uint_t after, ngx_uint_t max,
    ngx_http_s3_answer_pt answer)
{
    int               status;
    s3_client_t      *client;
    s3_part_query_t   query;

    ngx_memzero(&query, sizeof(s3_part_query_t));

    query.bucket = ngx_http_s3_slice(ctx->target.bucket);
    query.key = ngx_http_s3_slice(ctx->target.key);
    query.after = (uint32_t) ngx_min(after, S3_PARTS_MAX);
    query.max = (uint32_t) max;

    if (upload_id) {
        ngx_memcpy(query.upload_id, upload_id, S3_UPLOAD_ID_LEN);

    } else {
        query.of_object = 1;
    }

    client = ngx_http_s3_client(r);
    status = s3_client_state(client);

    if (status != S3_STORE_UNAVAILABLE) {
        status = s3_client_parts(client, ngx_http_s3_call(ctx, answer),
                                 &query);
    }

    return ngx_http_s3_asked(r, ctx, status);
}


void
ngx_http_s3_upload_checksum(s3_slice_t row, s3_upload_checksum_t *checksum)
{
    checksum->algorithm = S3_CHECKSUM_NONE;
    checksum->composite = 0;

    if (row.len == 2 && s3_checksum_info(row.data[0])) {
        checksum->algorithm = row.data[0];
        checksum->composite = row.data[1];
    }
}


ngx_int_t
ngx_http_s3_add_upload_checksum(ngx_http_request_t *r,
    s3_upload_checksum_t *checksum)
{
    ngx_str_t  value;

    if (checksum->algorithm == S3_CHECKSUM_NONE) {
        return NGX_OK;
    }

    value.data = (u_char *) s3_checksum_info(checksum->algorithm)->name;
    value.len = ngx_strlen(value.data);

    if (ngx_http_s3_add_header(r, "x-amz-checksum-algorithm", &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (checksum->composite) {
        ngx_str_set(&value, "COMPOSITE");

    } else {
        ngx_str_set(&value, "FULL_OBJECT");
    }

    return ngx_http_s3_add_header(r, "x-amz-checksum-type", &value);
}


ngx_int_t
ngx_http_s3_create_multipart_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_create_t  *create;

    create = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_create_t));
    if (create == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = create;

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (s3_upload_checksum_parse(r->pool, ctx->headers.elts,
                                 ctx->headers.nelts, &create->checksum,
                                 &ctx->fail)
        != S3_OK
        || s3_metadata_collect(r->pool, ctx->headers.elts,
                               ctx->headers.nelts, ctx->nreal, &ctx->meta,
                               &ctx->fail)
           != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_create_ask(r, ctx);
}


static ngx_int_t
ngx_http_s3_create_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                    status;
    u_char                 checksum[2];
    int64_t                now;
    ngx_uint_t             i;
    s3_commit_t            commit;
    struct timeval         tv;
    ngx_http_s3_create_t  *create;

    create = ctx->data;

    ngx_gettimeofday(&tv);
    now = (int64_t) tv.tv_sec * 1000 + tv.tv_usec / 1000;

    for (i = 0; i < 8; i++) {
        create->upload_id[i] = (u_char) (now >> (56 - 8 * i));
    }

    if (RAND_bytes(create->upload_id + 8, S3_UPLOAD_ID_LEN - 8) != 1) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_CREATE_UPLOAD;
    commit.bucket = ngx_http_s3_slice(ctx->target.bucket);
    commit.key = ngx_http_s3_slice(ctx->target.key);
    commit.meta = ngx_http_s3_slice(ctx->meta);
    ngx_memcpy(commit.upload_id, create->upload_id, S3_UPLOAD_ID_LEN);

    if (create->checksum.algorithm != S3_CHECKSUM_NONE) {
        checksum[0] = (u_char) create->checksum.algorithm;
        checksum[1] = (u_char) create->checksum.composite;

        commit.checksum.data = checksum;
        commit.checksum.len = 2;
    }

    status = s3_client_commit(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx, ngx_http_s3_created),
                              &commit);

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_created(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx, int status)
{
    size_t                 size;
    u_char                 text[S3_UPLOAD_ID_TEXT];
    ngx_str_t              upload_id;
    ngx_chain_t           *out;
    ngx_http_s3_create_t  *create;

    /* somebody has that id, one in 2^64 a millisecond */

    if (status == S3_STORE_CONFLICT
        && ++ctx->attempts < NGX_HTTP_S3_CREATE_ATTEMPTS)
    {
        return ngx_http_s3_create_ask(r, ctx);
    }

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    create = ctx->data;

    if (ngx_http_s3_add_upload_checksum(r, &create->checksum) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    (void) ngx_hex_dump(text, create->upload_id, S3_UPLOAD_ID_LEN);

    upload_id.data = text;
    upload_id.len = S3_UPLOAD_ID_TEXT;

    out = s3_upload_created_write(r->pool, &ctx->target.bucket,
                                  &ctx->target.key, &upload_id, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}


ngx_int_t
ngx_http_s3_abort_multipart_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    int          status;
    s3_commit_t  commit;

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    ngx_memzero(&commit, sizeof(s3_commit_t));

    if (ngx_http_s3_upload_id(ctx, commit.upload_id) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    commit.op = S3_COMMIT_ABORT;
    commit.bucket = ngx_http_s3_slice(ctx->target.bucket);
    commit.key = ngx_http_s3_slice(ctx->target.key);

    status = s3_client_commit(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx, ngx_http_s3_aborted),
                              &commit);

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_aborted(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx, int status)
{
    if (status != S3_STORE_OK) {
        return ngx_http_s3_upload_failed(ctx, status);
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_NO_CONTENT);
}
