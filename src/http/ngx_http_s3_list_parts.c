
/* ListParts: a page is one look into the index. */


#include "ngx_http_s3.h"


typedef struct {
    s3_list_parts_t               list;
    u_char                        upload_id[S3_UPLOAD_ID_LEN];
} ngx_http_s3_list_parts_t;


static ngx_int_t ngx_http_s3_list_parts_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_list_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_list_parts_t  *lp;

    lp = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_list_parts_t));
    if (lp == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = lp;

    if (s3_list_parts_parse(r->pool, &ctx->target, &lp->list, &ctx->fail)
        != S3_OK
        || ngx_http_s3_upload_id(ctx, lp->upload_id) != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_ask_parts(r, ctx, lp->upload_id, lp->list.after,
                                 lp->list.max,
                                 ngx_http_s3_list_parts_answer);
}


static ngx_int_t
ngx_http_s3_list_parts_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    size_t                     size;
    s3_arg_t                  *arg;
    ngx_uint_t                 i;
    s3_owner_t                 owner;
    s3_slice_t                 rest, row;
    ngx_chain_t               *out;
    s3_list_part_t            *part;
    s3_part_page_t            *page;
    ngx_http_s3_list_parts_t  *lp;

    page = &ctx->call.parts;

    if (status == S3_STORE_OK && page->upload.completed) {
        status = S3_STORE_NO_SUCH_UPLOAD;
    }

    if (status != S3_STORE_OK) {
        return ngx_http_s3_upload_failed(ctx, status);
    }

    lp = ctx->data;

    part = ngx_pcalloc(r->pool, (page->nparts + 1) * sizeof(s3_list_part_t));
    if (part == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    lp->list.parts = part;
    lp->list.nparts = page->nparts;
    lp->list.truncated = page->truncated;

    ngx_http_s3_upload_checksum(page->upload.checksum, &lp->list.checksum);

    for (i = 0; i < page->nparts; i++, part++) {
        part->number = page->parts[i].number;
        part->mtime = page->parts[i].mtime;
        part->size = page->parts[i].size;
        part->etag = ngx_http_s3_etag_text(r->pool, page->parts[i].etag);

        /* none where the upload named no algorithm, as S3 has it */

        if (lp->list.checksum.algorithm == S3_CHECKSUM_NONE) {
            continue;
        }

        rest = page->parts[i].checksum;

        if (ngx_http_s3_checksum_next(&rest, &row) != S3_CHECKSUM_NONE) {

            if (ngx_http_s3_checksum_words(r->pool, row, 0, &part->checksum)
                != NGX_OK)
            {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            part->checksum.type.len = 0;
        }
    }

    if (s3_owner(&owner, &ctx->auth.access_key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    arg = s3_target_arg(&ctx->target, "uploadId");

    out = s3_list_parts_write(r->pool, &ctx->target.bucket, &ctx->target.key,
                              &arg->value, &lp->list, &owner, &size);

    return ngx_http_s3_send_list(r, ctx, out, size);
}
