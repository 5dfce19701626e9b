
/* ListMultipartUploads: a page is one look into the index. */


#include "ngx_http_s3.h"


static ngx_int_t ngx_http_s3_list_uploads_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_list_uploads_id(ngx_pool_t *pool,
    const u_char *id, ngx_str_t *text);


ngx_int_t
ngx_http_s3_list_multipart_uploads(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    int                 status;
    s3_client_t        *client;
    s3_list_uploads_t  *list;
    s3_upload_query_t   query;

    list = ngx_http_s3_list_uploads_params(r, ctx);

    if (list == NULL || s3_list_uploads_after(list, &ctx->fail) != S3_OK) {
        return ngx_http_s3_send_error(r, ctx);
    }

    ctx->data = list;

    ngx_memzero(&query, sizeof(s3_upload_query_t));

    query.bucket = ngx_http_s3_slice(ctx->target.bucket);
    query.prefix = ngx_http_s3_slice(list->prefix);
    query.delimiter = ngx_http_s3_slice(list->delimiter);
    query.after = ngx_http_s3_slice(list->key_marker);
    query.after_upload = list->after_upload;
    ngx_memcpy(query.after_id, list->after_id, S3_UPLOAD_ID_LEN);
    query.max = (uint32_t) list->max;

    client = ngx_http_s3_client(r);
    status = s3_client_state(client);

    if (status != S3_STORE_UNAVAILABLE) {
        status = s3_client_uploads(client,
                          ngx_http_s3_call(ctx,
                                           ngx_http_s3_list_uploads_answer),
                          &query);
    }

    return ngx_http_s3_asked(r, ctx, status);
}


s3_list_uploads_t *
ngx_http_s3_list_uploads_params(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_list_uploads_t  *list;

    list = ngx_pcalloc(r->pool, sizeof(s3_list_uploads_t));
    if (list == NULL) {
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        return NULL;
    }

    if (s3_list_uploads_parse(r->pool, &ctx->target, list, &ctx->fail)
        != S3_OK)
    {
        return NULL;
    }

    /* longer than any key: no key begins with it or is divided by it */

    if (list->prefix.len > S3_KEY_MAX || list->delimiter.len > S3_KEY_MAX
        || list->key_marker.len > S3_KEY_MAX)
    {
        (void) s3_fail(&ctx->fail, S3_ERR_KEY_TOO_LONG, NULL);
        return NULL;
    }

    return list;
}


static ngx_int_t
ngx_http_s3_list_uploads_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    size_t              size;
    ngx_str_t          *prefix;
    ngx_uint_t          i;
    s3_owner_t          owner;
    ngx_chain_t        *out;
    s3_list_upload_t   *upload;
    s3_upload_page_t   *page;
    s3_list_uploads_t  *list;
    s3_upload_entry_t  *entry;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    list = ctx->data;
    page = &ctx->call.uploads;

    upload = ngx_pcalloc(r->pool, (page->nentries + 1)
                                  * sizeof(s3_list_upload_t));
    prefix = ngx_pcalloc(r->pool, (page->nentries + 1) * sizeof(ngx_str_t));

    if (upload == NULL || prefix == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    list->uploads = upload;
    list->prefixes = prefix;
    list->truncated = page->truncated;

    for (i = 0; i < page->nentries; i++) {

        entry = &page->entries[i];

        if (entry->is_prefix) {
            prefix->data = (u_char *) entry->upload.key.data;
            prefix->len = entry->upload.key.len;
            prefix++;
            continue;
        }

        upload->key.data = (u_char *) entry->upload.key.data;
        upload->key.len = entry->upload.key.len;
        upload->initiated = entry->upload.initiated;

        ngx_http_s3_upload_checksum(entry->upload.checksum,
                                    &upload->checksum);

        if (ngx_http_s3_list_uploads_id(r->pool, entry->upload.upload_id,
                                        &upload->upload_id)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        upload++;
    }

    list->nuploads = upload - list->uploads;
    list->nprefixes = prefix - list->prefixes;

    if (page->truncated) {
        list->next_key.data = (u_char *) page->next.data;
        list->next_key.len = page->next.len;

        if (page->nentries && !page->entries[page->nentries - 1].is_prefix
            && ngx_http_s3_list_uploads_id(r->pool, page->next_id,
                                           &list->next_upload_id)
               != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (s3_owner(&owner, &ctx->auth.access_key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out = s3_list_uploads_write(r->pool, &ctx->target.bucket, list, &owner,
                                &size);

    return ngx_http_s3_send_list(r, ctx, out, size);
}


static ngx_int_t
ngx_http_s3_list_uploads_id(ngx_pool_t *pool, const u_char *id,
    ngx_str_t *text)
{
    text->data = ngx_pnalloc(pool, S3_UPLOAD_ID_TEXT);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    text->len = S3_UPLOAD_ID_TEXT;
    (void) ngx_hex_dump(text->data, (u_char *) id, S3_UPLOAD_ID_LEN);

    return NGX_OK;
}
