
/*
 * GetObjectAttributes
 *
 *     parts       where they are asked for: a page of them, and which
 *                 object's they are
 *     look up     conditions; still the same object?
 *
 * S3 lists parts for COMPOSITE checksums alone, where one needs them to
 * verify the object's; of others it says how many there are.
 */


#include "ngx_http_s3.h"


#define NGX_HTTP_S3_ATTRIBUTES_ATTEMPTS  4


typedef struct {
    s3_attributes_t               answer;
    u_char                        data_id[16];
} ngx_http_s3_attributes_t;


static ngx_int_t ngx_http_s3_attributes_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_attributes_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_attributes_lookup(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_attributes_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_get_object_attributes(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    int                        state;
    ngx_http_s3_attributes_t  *a;

    a = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_attributes_t));
    if (a == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = a;

    if (s3_attributes_parse(r->pool, ctx->headers.elts, ctx->headers.nelts,
                            &a->answer, &ctx->fail)
        != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    state = s3_client_state(ngx_http_s3_client(r));

    if (state == S3_STORE_UNAVAILABLE) {
        (void) ngx_http_s3_store_error(ctx, state);
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_attributes_ask(r, ctx);
}


static ngx_int_t
ngx_http_s3_attributes_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_attributes_t  *a;

    a = ctx->data;

    if (!(a->answer.attributes & S3_ATTRIBUTE_OBJECT_PARTS)) {
        return ngx_http_s3_attributes_lookup(r, ctx);
    }

    return ngx_http_s3_ask_parts(r, ctx, NULL, a->answer.parts.after,
                                 a->answer.parts.max,
                                 ngx_http_s3_attributes_parts);
}


static ngx_int_t
ngx_http_s3_attributes_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_uint_t                 i;
    s3_slice_t                 rest, row;
    s3_list_part_t            *part;
    s3_part_page_t            *page;
    ngx_http_s3_attributes_t  *a;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    a = ctx->data;
    page = &ctx->call.parts;

    part = ngx_pcalloc(r->pool, (page->nparts + 1) * sizeof(s3_list_part_t));
    if (part == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(a->data_id, page->upload.upload_id, sizeof(a->data_id));

    a->answer.parts.parts = part;
    a->answer.parts.nparts = page->nparts;
    a->answer.parts.truncated = page->truncated;

    for (i = 0; i < page->nparts; i++, part++) {
        part->number = page->parts[i].number;
        part->size = page->parts[i].size;

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

    return ngx_http_s3_attributes_lookup(r, ctx);
}


static ngx_int_t
ngx_http_s3_attributes_lookup(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int  status;

    status = s3_client_lookup(ngx_http_s3_client(r),
                        ngx_http_s3_call(ctx, ngx_http_s3_attributes_answer),
                        ngx_http_s3_slice(ctx->target.bucket),
                        ngx_http_s3_slice(ctx->target.key));

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_attributes_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    size_t                     size;
    ngx_chain_t               *out;
    s3_object_t               *object;
    s3_attributes_t           *answer;
    ngx_http_s3_attributes_t  *a;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    a = ctx->data;
    answer = &a->answer;
    object = &ctx->call.object;

    if ((answer->attributes & S3_ATTRIBUTE_OBJECT_PARTS)
        && ngx_memcmp(a->data_id, object->data_id, sizeof(a->data_id)) != 0)
    {
        /* overwritten between the two looks */

        if (++ctx->attempts < NGX_HTTP_S3_ATTRIBUTES_ATTEMPTS) {
            return ngx_http_s3_attributes_ask(r, ctx);
        }

        return ngx_http_s3_failed(ctx, S3_STORE_BUSY);
    }

    answer->etag = ngx_http_s3_etag_text(r->pool, object->etag);

    if (answer->etag.len == 0) {
        return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
    }

    if (s3_condition_read(ctx->headers.elts, ctx->headers.nelts,
                          &answer->etag, object->mtime / 1000, &ctx->fail)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    /* without "-N" */

    if (ngx_http_s3_checksum_words(r->pool, object->checksum, 0,
                                   &answer->checksum)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    answer->size = object->size;
    answer->total = ngx_http_s3_etag_parts(object->etag);
    answer->list = (answer->checksum.type.len == sizeof("COMPOSITE") - 1);

    r->headers_out.last_modified_time = object->mtime / 1000;

    out = s3_attributes_write(r->pool, answer, &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}
