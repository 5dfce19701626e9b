
/*
 * CopyObject
 *
 *     source       looked up; its conditions hold
 *     same bytes   and the same checksum: one commit gives the data a second
 *                  name.  Where the source has become another object in
 *                  between it is looked up anew
 *     else         its bytes are read and written, for a checksum of another
 *                  algorithm, or of the whole where the source's is COMPOSITE
 *
 * An object that shares its source's data keeps its ETag, its checksum and its
 * parts.  S3 makes an object of one part of it, with the MD5 of the whole as
 * its ETag.
 */


#include "ngx_http_s3.h"
#include "s3_metadata.h"


static s3_error_e ngx_http_s3_copy_headers(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_copy_decide(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_copy_share(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_copy_shared(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static void ngx_http_s3_copy_uploaded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_copy_committed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_copy_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ngx_http_s3_copy_request(r, ctx) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_copy_find(r, ctx, ngx_http_s3_copy_decide);
}


s3_error_e
ngx_http_s3_copy_request(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t         i;
    s3_copy_source_t  *source;

    static const char  *changes[] = {
        "x-amz-storage-class", "x-amz-website-redirect-location",
        "x-amz-server-side-encryption"
    };

    if (s3_condition_write(ctx->headers.elts, ctx->headers.nelts,
                           &ctx->condition, &ctx->fail)
        != S3_OK
        || ngx_http_s3_copy_source(r, ctx) != S3_OK
        || ngx_http_s3_copy_headers(r, ctx) != S3_OK)
    {
        return ctx->fail.error;
    }

    source = &ctx->copy->source;

    /* each is a change for S3 although it be the same again, see
     * github.com/minio/minio, issue 9357 */

    for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        if (s3_header_find(ctx->headers.elts, ctx->headers.nelts, changes[i],
                           ngx_strlen(changes[i]), NULL))
        {
            return S3_OK;
        }
    }

    if (!ctx->copy->replace
        && (source->version.data == NULL || ctx->gateway == NULL)
        && source->bucket.len == ctx->target.bucket.len
        && ngx_memcmp(source->bucket.data, ctx->target.bucket.data,
                      source->bucket.len)
           == 0
        && source->key.len == ctx->target.key.len
        && ngx_memcmp(source->key.data, ctx->target.key.data, source->key.len)
           == 0)
    {
        /* another checksum is no change: so does S3
         * (github.com/scality/cloudserver, pull request 6188) */

        return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                       "This copy request is illegal because it is trying to "
                       "copy an object to itself without changing the "
                       "object's metadata, storage class, website redirect "
                       "location or encryption attributes.");
    }

    return S3_OK;
}


static s3_error_e
ngx_http_s3_copy_headers(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_header_t  *h;

    h = ngx_http_s3_header_in(ctx, "x-amz-copy-source-range");

    if (h) {

        /* UploadPartCopy's; nobody who sends it wants the whole object */

        (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED, NULL);
        s3_fail_element(&ctx->fail, "Header", &h->name);
        return S3_ERR_NOT_IMPLEMENTED;
    }

    h = ngx_http_s3_header_in(ctx, "x-amz-checksum-algorithm");

    if (h) {
        ctx->copy->algorithm = s3_checksum_by_name((char *) h->value.data,
                                                   h->value.len);

        if (ctx->copy->algorithm == S3_CHECKSUM_NONE) {
            return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                           "Checksum algorithm provided is unsupported. "
                           "Please try again with any of the valid types: "
                           "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
        }
    }

    h = ngx_http_s3_header_in(ctx, "x-amz-metadata-directive");

    if (h == NULL
        || (h->value.len == sizeof("COPY") - 1
            && ngx_memcmp(h->value.data, "COPY", h->value.len) == 0))
    {
        return S3_OK;
    }

    if (h->value.len != sizeof("REPLACE") - 1
        || ngx_memcmp(h->value.data, "REPLACE", h->value.len) != 0)
    {
        return s3_fail_argument(&ctx->fail, "Unknown metadata directive.",
                                "x-amz-metadata-directive", &h->value);
    }

    ctx->copy->replace = 1;

    return s3_metadata_collect(r->pool, ctx->headers.elts,
                               ctx->headers.nelts, ctx->nreal, &ctx->meta,
                               &ctx->fail);
}


static ngx_int_t
ngx_http_s3_copy_decide(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_str_t                  type;
    s3_object_t               *object;
    const u_char              *digest;
    s3_checksum_e              algorithm;
    ngx_http_s3_copy_t        *copy;
    const s3_checksum_info_t  *info;

    copy = ctx->copy;
    object = &ctx->call.object;

    if (ngx_http_s3_copy_size(r, ctx, object->size) != S3_OK) {
        return NGX_DECLINED;
    }

    if (!copy->replace) {
        ctx->meta.len = object->meta.len;
        ctx->meta.data = ngx_pnalloc(r->pool, object->meta.len + 1);

        if (ctx->meta.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (object->meta.len) {
            ngx_memcpy(ctx->meta.data, object->meta.data, object->meta.len);
        }
    }

    info = ngx_http_s3_checksum_read(object->checksum, &algorithm, &digest,
                                     &type);

    /* who names an algorithm wants the checksum of the whole: the copy is not
     * an upload in parts, whatever its source was */

    if (copy->algorithm == S3_CHECKSUM_NONE
        || (info && copy->algorithm == algorithm
            && type.len == sizeof("FULL_OBJECT") - 1))
    {
        return ngx_http_s3_copy_share(r, ctx);
    }

    return ngx_http_s3_copy_stream(r, ctx, 0, object->size, copy->algorithm,
                                   S3_CHECKSUM_NONE, 0,
                                   ngx_http_s3_copy_uploaded);
}


static ngx_int_t
ngx_http_s3_copy_share(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                  status;
    u_char               if_match[20];
    s3_object_t         *object;
    s3_commit_t          commit;
    ngx_http_s3_copy_t  *copy;

    copy = ctx->copy;
    object = &ctx->call.object;

    /* for the answer: the rows go with this callback */

    if (ngx_http_s3_copy_result(r, ctx, object->etag, object->checksum)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_COPY;
    commit.bucket = ngx_http_s3_slice(ctx->target.bucket);
    commit.key = ngx_http_s3_slice(ctx->target.key);
    commit.source_bucket = ngx_http_s3_slice(copy->source.bucket);
    commit.source_key = ngx_http_s3_slice(copy->source.key);
    commit.etag = object->etag;
    commit.meta = ngx_http_s3_slice(ctx->meta);
    commit.checksum = object->checksum;
    commit.attrs = object->attrs;

    ngx_memcpy(commit.source, object->data_id, sizeof(commit.source));

    ngx_http_s3_commit_condition(ctx, &commit, if_match);

    status = s3_client_commit(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx, ngx_http_s3_copy_shared),
                              &commit);

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_copy_shared(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    if (status == S3_STORE_CONFLICT) {

        if (++ctx->attempts < NGX_HTTP_S3_COPY_ATTEMPTS) {
            return ngx_http_s3_copy_find(r, ctx, ngx_http_s3_copy_decide);
        }

        status = S3_STORE_BUSY;
    }

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    return ngx_http_s3_copy_answer(r, ctx, "CopyObjectResult");
}


static void
ngx_http_s3_copy_uploaded(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char        checksum[NGX_HTTP_S3_CHECKSUM_LEN];
    s3_body_t    *body;
    s3_commit_t   commit;

    body = &ctx->payload->body;

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_PUT;
    commit.meta = ngx_http_s3_slice(ctx->meta);
    commit.checksum = ngx_http_s3_checksum_row(body->checksum, body->digest,
                                               checksum);

    ngx_http_s3_upload_commit(r, ctx, &commit, ngx_http_s3_copy_committed);
}


static ngx_int_t
ngx_http_s3_copy_committed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    u_char      checksum[NGX_HTTP_S3_CHECKSUM_LEN];
    s3_body_t  *body;
    s3_slice_t  md5;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    body = &ctx->payload->body;

    md5.data = body->md5;
    md5.len = S3_BODY_MD5_LEN;

    if (ngx_http_s3_copy_result(r, ctx, md5,
                                ngx_http_s3_checksum_row(body->checksum,
                                                         body->digest,
                                                         checksum))
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_copy_answer(r, ctx, "CopyObjectResult");
}
