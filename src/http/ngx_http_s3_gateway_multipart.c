
/*
 * Multipart uploads through a gateway.
 *
 *     Create    marked as one whose checksum is in a record; which checksum
 *               its parts carry is kept in a record of the upload
 *     Abort     the upload's records go when it is gone
 *     ListParts with the checksums of the parts' records, where the upload
 *               named an algorithm
 *
 * UploadPart is in ngx_http_s3_gateway_put.c, Complete in a file of its own.
 * An upload without a record was begun past us: it is passed as it is, and has
 * no checksums.
 */


#include "ngx_http_s3_gateway.h"


static ngx_int_t ngx_http_s3_gateway_created(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_create_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_aborted(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_list_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);
static ngx_int_t ngx_http_s3_gateway_listed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_gateway_list_row(void *data,
    s3_upstream_leaf_t *leaves);
static ngx_int_t ngx_http_s3_gateway_list_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);
static ngx_int_t ngx_http_s3_upload_found(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_upload_page(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);
static ngx_int_t ngx_http_s3_upload_paged(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_upload_row(void *data,
    s3_upstream_leaf_t *leaves);


/* ---- CreateMultipartUpload */


typedef struct {
    s3_upload_checksum_t          checksum;
    ngx_str_t                     upload_id;
    ngx_http_s3_record_t          record;
} ngx_http_s3_created_t;


ngx_int_t
ngx_http_s3_gateway_create_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t               value;
    ngx_http_s3_ask_t      *ask;
    ngx_http_s3_created_t  *created;

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_pass_none(r, ctx);
    }

    created = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_created_t));
    if (created == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = created;

    if (s3_upload_checksum_parse(r->pool, ctx->headers.elts,
                                 ctx->headers.nelts, &created->checksum,
                                 &ctx->fail)
        != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    ngx_str_set(&value, S3_MARK_RECORD_VALUE);

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "POST");

    if (ask == NULL
        || s3_upstream_header(&ask->headers, S3_MARK_HEADER, &value)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->once = 1;
    ask->answer = ngx_http_s3_gateway_created;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_created(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_mark_body_t          body;
    s3_upstream_xml_t       x;
    s3_upstream_leaf_t      leaf;
    ngx_http_s3_record_t   *rec;
    ngx_http_s3_created_t  *created;

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    created = ctx->data;
    rec = &created->record;

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    leaf.name = "UploadId";

    x.pool = r->pool;
    x.root = "InitiateMultipartUploadResult";
    x.top = &leaf;
    x.ntop = 1;

    if (s3_upstream_read(&x, ask->out) != NGX_OK || leaf.value.len == 0) {
        return ngx_http_s3_gateway_strange(r, ctx);
    }

    created->upload_id = leaf.value;

    ngx_memzero(&body, sizeof(s3_mark_body_t));

    body.bucket = ctx->target.bucket;
    body.key = ctx->target.key;
    body.upload_id = created->upload_id;

    if (s3_mark_upload_key(r->pool, &body.bucket, &body.key, &body.upload_id,
                           &rec->key)
        != NGX_OK
        || s3_mark_upload_write(r->pool, &created->checksum, &rec->mark)
           != NGX_OK
        || s3_mark_body_write(r->pool, &body, &rec->body) != NGX_OK
        || ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rec->answer = ngx_http_s3_gateway_create_recorded;

    return ngx_http_s3_record_put(r, ctx, rec);
}


static ngx_int_t
ngx_http_s3_gateway_create_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask)
{
    size_t                  size;
    ngx_chain_t            *out;
    ngx_http_s3_created_t  *created;

    /*
     * A client that is not told of its upload begins another: this one stays,
     * without parts, as it does when an answer is lost
     */

    if (ask->status != NGX_HTTP_OK) {
        (void) ngx_http_s3_ask_failed(r, ctx, ask);
        ngx_http_s3_record_failed(r, ctx);
        return NGX_DECLINED;
    }

    created = ctx->data;

    if (ngx_http_s3_add_upload_checksum(r, &created->checksum) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out = s3_upload_created_write(r->pool, &ctx->target.bucket,
                                  &ctx->target.key, &created->upload_id,
                                  &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}


/* ---- AbortMultipartUpload */


ngx_int_t
ngx_http_s3_gateway_abort_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_ask_t  *ask;

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_pass(r, ctx);
    }

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "DELETE");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->answer = ngx_http_s3_gateway_aborted;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_aborted(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    if (ask->status != NGX_HTTP_NO_CONTENT && ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    ngx_http_s3_sweep_upload(r, ctx, &ctx->target.bucket, &ctx->target.key,
                             &s3_target_arg(&ctx->target, "uploadId")->value);

    if (ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_NO_CONTENT);
}


/* ---- ListParts */


typedef struct {
    s3_list_parts_t               list;
    s3_owner_t                    owner;
    ngx_array_t                   parts;      /* s3_list_part_t */
} ngx_http_s3_listed_t;


ngx_int_t
ngx_http_s3_gateway_list_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_listed_t  *listed;

    listed = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_listed_t));

    if (listed == NULL
        || ngx_array_init(&listed->parts, r->pool, 16, sizeof(s3_list_part_t))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = listed;

    if (s3_list_parts_parse(r->pool, &ctx->target, &listed->list, &ctx->fail)
        != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (!ctx->gateway->emulate) {
        return ngx_http_s3_gateway_pass(r, ctx);
    }

    return ngx_http_s3_upload_find(r, ctx, ngx_http_s3_gateway_list_upload);
}


static ngx_int_t
ngx_http_s3_gateway_list_upload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_gateway_own_ask(r, ctx, "GET");

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->max = NGX_HTTP_S3_ASK_LIST;
    ask->answer = ngx_http_s3_gateway_listed;
    ask->data = upload;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_gateway_listed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_list_part_t        *part;
    s3_upstream_xml_t      x;
    ngx_http_s3_upload_t  *upload;
    ngx_http_s3_listed_t  *listed;

    s3_upstream_leaf_t     top[] = { { "IsTruncated", ngx_null_string } };
    s3_upstream_leaf_t     leaves[] = {
        { "PartNumber", ngx_null_string },
        { "LastModified", ngx_null_string },
        { "ETag", ngx_null_string },
        { "Size", ngx_null_string }
    };

    if (ask->status != NGX_HTTP_OK) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    listed = ctx->data;
    upload = ask->data;

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    x.pool = r->pool;
    x.root = "ListPartsResult";
    x.top = top;
    x.ntop = sizeof(top) / sizeof(top[0]);
    x.row = "Part";
    x.leaves = leaves;
    x.nleaves = sizeof(leaves) / sizeof(leaves[0]);
    x.handler = ngx_http_s3_gateway_list_row;
    x.data = listed;

    if (ask->too_large || s3_upstream_read(&x, ask->out) != NGX_OK) {
        return ngx_http_s3_gateway_strange(r, ctx);
    }

    if (ngx_http_s3_gateway_owner(r, ask, &listed->owner) != NGX_OK
        || ngx_http_s3_gateway_adopt(r, ctx, ask) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    listed->list.parts = listed->parts.elts;
    listed->list.nparts = listed->parts.nelts;
    listed->list.truncated = (top[0].value.len == 4
                              && ngx_strncmp(top[0].value.data, "true", 4)
                                 == 0);
    listed->list.checksum = upload->checksum;

    if (listed->list.nparts == 0
        || upload->checksum.algorithm == S3_CHECKSUM_NONE)
    {
        return ngx_http_s3_gateway_list_answer(r, ctx, upload);
    }

    part = listed->list.parts;

    return ngx_http_s3_upload_parts(r, ctx, upload, part[0].number,
                                    part[listed->list.nparts - 1].number,
                                    ngx_http_s3_gateway_list_answer);
}


static ngx_int_t
ngx_http_s3_gateway_list_row(void *data, s3_upstream_leaf_t *leaves)
{
    off_t                  size;
    ngx_int_t              n;
    s3_list_part_t        *part;
    ngx_http_s3_listed_t  *listed = data;

    n = ngx_atoi(leaves[0].value.data, leaves[0].value.len);
    size = ngx_atoof(leaves[3].value.data, leaves[3].value.len);

    if (n == NGX_ERROR || size == NGX_ERROR) {
        return NGX_OK;
    }

    part = ngx_array_push(&listed->parts);
    if (part == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(part, sizeof(s3_list_part_t));

    part->number = n;
    part->size = size;
    part->mtime = s3_upstream_time(&leaves[1].value);
    part->etag = leaves[2].value;
    s3_upstream_unquote(&part->etag);

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_gateway_list_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload)
{
    size_t                 size;
    s3_arg_t              *arg;
    ngx_uint_t             i;
    ngx_chain_t           *out;
    s3_list_part_t        *part;
    s3_stored_part_t      *stored;
    ngx_http_s3_listed_t  *listed;

    listed = ctx->data;
    part = listed->list.parts;

    for (i = 0; i < listed->list.nparts; i++, part++) {

        stored = ngx_http_s3_upload_part_of(upload, part->number,
                                            &part->etag);

        if (stored == NULL || stored->nsums == 0) {
            continue;
        }

        if (ngx_http_s3_sum_words(r->pool, &stored->sums[0], &part->checksum)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        part->checksum.type.len = 0;
    }

    arg = s3_target_arg(&ctx->target, "uploadId");

    out = s3_list_parts_write(r->pool, &ctx->target.bucket, &ctx->target.key,
                              &arg->value, &listed->list, &listed->owner,
                              &size);

    return ngx_http_s3_send_list(r, ctx, out, size);
}


/* ---- records of an upload and of its parts */


ngx_int_t
ngx_http_s3_upload_find(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_pt found)
{
    s3_arg_t              *id;
    ngx_str_t              key;
    ngx_http_s3_ask_t     *ask;
    ngx_http_s3_upload_t  *upload;

    upload = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_upload_t));

    if (upload == NULL
        || ngx_array_init(&upload->parts, r->pool, 16,
                          sizeof(s3_stored_part_t))
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    upload->found = found;

    id = s3_target_arg(&ctx->target, "uploadId");

    if (s3_mark_upload_key(r->pool, &ctx->target.bucket, &ctx->target.key,
                           &id->value, &key)
        != NGX_OK
        || s3_mark_parts_prefix(r->pool, &ctx->target.bucket,
                                &ctx->target.key, &id->value, &upload->prefix)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask = ngx_http_s3_record_create(r, "HEAD", &key);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->answer = ngx_http_s3_upload_found;
    ask->data = upload;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_upload_found(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t             *mark;
    ngx_http_s3_upload_t  *upload;

    upload = ask->data;

    if (ask->status == NGX_HTTP_OK) {
        mark = ngx_http_s3_ask_header(ask, S3_MARK_HEADER);

        upload->recorded = mark
                           && s3_mark_upload_read(mark, &upload->checksum)
                              == NGX_OK;

    } else if (ask->status != NGX_HTTP_NOT_FOUND) {

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the record of an upload could not be read "
                      "(%ui)", ask->status);

        (void) s3_fail(&ctx->fail, S3_ERR_SERVICE_UNAVAILABLE, NULL);
        return NGX_DECLINED;
    }

    return upload->found(r, ctx, upload);
}


ngx_int_t
ngx_http_s3_upload_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload, ngx_uint_t first, ngx_uint_t last,
    ngx_http_s3_upload_pt found)
{
    upload->found = found;
    upload->last = last;

    /* behind all that sorts before the first part's number */

    upload->after.data = ngx_pnalloc(r->pool, upload->prefix.len + 5);
    if (upload->after.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    upload->after.len = ngx_sprintf(upload->after.data, "%V%05ui",
                                    &upload->prefix, first)
                        - upload->after.data;

    return ngx_http_s3_upload_page(r, ctx, upload);
}


static ngx_int_t
ngx_http_s3_upload_page(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_upload_t *upload)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_record_list(r, &upload->prefix, &upload->after, 1000);

    if (ask == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ask->answer = ngx_http_s3_upload_paged;
    ask->data = upload;

    return ngx_http_s3_ask(r, ctx, ask);
}


static ngx_int_t
ngx_http_s3_upload_paged(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_int_t              rc;
    ngx_uint_t             truncated;
    s3_stored_part_t      *part;
    ngx_http_s3_upload_t  *upload;

    upload = ask->data;

    rc = ngx_http_s3_record_listed(ask, ngx_http_s3_upload_row, upload,
                                   &truncated);

    if (rc == NGX_DECLINED) {
        return ngx_http_s3_ask_failed(r, ctx, ask);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    part = upload->parts.elts;

    if (truncated && upload->parts.nelts
        && part[upload->parts.nelts - 1].number <= upload->last)
    {
        return ngx_http_s3_upload_page(r, ctx, upload);
    }

    return upload->found(r, ctx, upload);
}


static ngx_int_t
ngx_http_s3_upload_row(void *data, s3_upstream_leaf_t *leaves)
{
    ngx_str_t              name;
    s3_stored_part_t      *part;
    ngx_http_s3_upload_t  *upload = data;

    name = leaves[0].value;
    upload->after = name;

    if (name.len <= upload->prefix.len) {
        return NGX_OK;
    }

    name.data += upload->prefix.len;
    name.len -= upload->prefix.len;

    part = ngx_array_push(&upload->parts);
    if (part == NULL) {
        return NGX_ERROR;
    }

    if (s3_mark_part_read(&name, part) != NGX_OK) {
        upload->parts.nelts--;
    }

    return NGX_OK;
}


s3_stored_part_t *
ngx_http_s3_upload_part_of(ngx_http_s3_upload_t *upload, ngx_uint_t number,
    ngx_str_t *etag)
{
    u_char             hex[32];
    ngx_uint_t         low, high, mid;
    s3_stored_part_t  *part;

    /* in the order of their numbers, those of one number side by side */

    part = upload->parts.elts;
    low = 0;
    high = upload->parts.nelts;

    while (low < high) {
        mid = low + (high - low) / 2;

        if (part[mid].number < number) {
            low = mid + 1;

        } else {
            high = mid;
        }
    }

    for ( /* void */ ;
         low < upload->parts.nelts && part[low].number == number;
         low++)
    {
        (void) ngx_hex_dump(hex, part[low].md5, 16);

        if (etag->len == sizeof(hex)
            && ngx_strncasecmp(etag->data, hex, sizeof(hex)) == 0)
        {
            return &part[low];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_s3_sum_words(ngx_pool_t *pool, s3_part_sum_t *sum,
    s3_checksum_text_t *text)
{
    u_char  row[NGX_HTTP_S3_CHECKSUM_LEN];

    return ngx_http_s3_checksum_words(pool,
                                      ngx_http_s3_checksum_row(sum->algorithm,
                                                               sum->digest,
                                                               row),
                                      1, text);
}
