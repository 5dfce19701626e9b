
/*
 * ListObjectsV2, ListObjects, ListObjectVersions: a page is one look into the
 * index.
 */


#include "ngx_http_s3.h"
#include "s3_list.h"


static ngx_uint_t ngx_http_s3_list_attributes(ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_list_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


ngx_int_t
ngx_http_s3_list_objects(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int                status;
    s3_client_t       *client;
    s3_list_query_t    query;
    s3_list_params_t  *params;

    params = ngx_http_s3_list_params(r, ctx);

    if (params == NULL
        || s3_list_after(r->pool, params, &ctx->fail) != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    ctx->data = params;

    if (params->after.len > S3_KEY_MAX) {
        return ngx_http_s3_refuse(r, ctx, S3_ERR_KEY_TOO_LONG, NULL);
    }

    ngx_memzero(&query, sizeof(s3_list_query_t));

    query.bucket = ngx_http_s3_slice(ctx->target.bucket);
    query.prefix = ngx_http_s3_slice(params->prefix);
    query.delimiter = ngx_http_s3_slice(params->delimiter);
    query.after = ngx_http_s3_slice(params->after);
    query.max = (uint32_t) ngx_min(params->max_keys, S3_LIST_MAX);

    client = ngx_http_s3_client(r);
    status = s3_client_state(client);

    if (status != S3_STORE_UNAVAILABLE) {
        status = s3_client_list(client,
                                ngx_http_s3_call(ctx,
                                                 ngx_http_s3_list_answer),
                                &query);
    }

    return ngx_http_s3_asked(r, ctx, status);
}


s3_list_params_t *
ngx_http_s3_list_params(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    s3_list_e          type;
    s3_list_params_t  *params;

    params = ngx_pcalloc(r->pool, sizeof(s3_list_params_t));
    if (params == NULL) {
        (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        return NULL;
    }

    switch (ctx->operation->id) {

    case S3_OP_LIST_OBJECTS:
        type = S3_LIST_V1;
        break;

    case S3_OP_LIST_OBJECT_VERSIONS:
        type = S3_LIST_VERSIONS;
        break;

    default:
        type = S3_LIST_V2;
        break;
    }

    if (s3_list_parse(&ctx->target, type, params, &ctx->fail) != S3_OK
        || !ngx_http_s3_list_attributes(ctx))
    {
        return NULL;
    }

    /* longer than any key: no key begins with it or is divided by it */

    if (params->prefix.len > S3_KEY_MAX || params->delimiter.len > S3_KEY_MAX
        || params->start_after.len > S3_KEY_MAX)
    {
        (void) s3_fail(&ctx->fail, S3_ERR_KEY_TOO_LONG, NULL);
        return NULL;
    }

    return params;
}


/*
 * x-amz-optional-object-attributes: RestoreStatus is the only one there is,
 * and no object here has it (none is archived).
 */

static ngx_uint_t
ngx_http_s3_list_attributes(ngx_http_s3_ctx_t *ctx)
{
    s3_header_t  *h;

    h = ngx_http_s3_header_in(ctx, "x-amz-optional-object-attributes");

    if (h == NULL
        || (h->value.len == sizeof("RestoreStatus") - 1
            && ngx_memcmp(h->value.data, "RestoreStatus", h->value.len) == 0))
    {
        return 1;
    }

    (void) s3_fail_argument(&ctx->fail, "Invalid attribute name specified.",
                            "x-amz-optional-object-attributes", &h->value);

    return 0;
}


static ngx_int_t
ngx_http_s3_list_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    size_t                     size;
    ngx_str_t                 *prefix;
    ngx_uint_t                 i, n;
    s3_owner_t                 owner;
    ngx_chain_t               *out;
    const u_char              *digest;
    s3_checksum_e              algorithm;
    s3_list_page_t            *page;
    s3_list_entry_t           *entry;
    s3_list_object_t          *object;
    s3_list_result_t           result;
    s3_list_params_t          *params;
    const s3_checksum_info_t  *info;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    params = ctx->data;
    page = &ctx->call.page;
    n = page->nentries;

    ngx_memzero(&result, sizeof(s3_list_result_t));

    object = ngx_pcalloc(r->pool, (n + 1) * sizeof(s3_list_object_t));
    prefix = ngx_pcalloc(r->pool, (n + 1) * sizeof(ngx_str_t));

    if (object == NULL || prefix == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    result.entries = object;
    result.prefixes = prefix;
    result.truncated = page->truncated;

    /* the page's bytes are the call's until we return: written out below */

    for (i = 0; i < n; i++) {

        entry = &page->entries[i];

        if (entry->is_prefix) {
            prefix->data = (u_char *) entry->key.data;
            prefix->len = entry->key.len;
            prefix++;
            continue;
        }

        object->key.data = (u_char *) entry->key.data;
        object->key.len = entry->key.len;
        object->last_modified = entry->mtime;
        object->size = entry->size;
        object->etag = ngx_http_s3_etag_text(r->pool, entry->etag);

        info = ngx_http_s3_checksum_read(entry->checksum, &algorithm, &digest,
                                         &object->checksum_type);
        if (info) {
            object->checksum_algorithm.data = (u_char *) info->name;
            object->checksum_algorithm.len = ngx_strlen(info->name);
        }

        object++;
    }

    result.nentries = object - result.entries;
    result.nprefixes = prefix - result.prefixes;

    if (page->truncated) {
        result.last.data = (u_char *) page->next.data;
        result.last.len = page->next.len;
        result.last_is_prefix = (n && page->entries[n - 1].is_prefix);
    }

    if (s3_owner(&owner, &ctx->auth.access_key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out = s3_list_write(r->pool, params, &ctx->target.bucket, &result, &owner,
                        &size);

    return ngx_http_s3_send_list(r, ctx, out, size);
}
