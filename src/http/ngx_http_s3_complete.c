
/*
 * CompleteMultipartUpload
 *
 *     body       the list of parts, read as it comes in
 *     look up    the upload and all of its parts
 *     verdict    order, entity tags, sizes, checksums
 *     commit     names the very shards that were judged.  CONFLICT: a part
 *                was uploaded anew meanwhile, or it is completed: look again
 *     answer     an upload that is completed already answers, as long as it
 *                is remembered, with what it answered then, to whoever asks
 *                for the same object again
 *
 * S3 sends white space while it works, and errors with 200.  The verdict over
 * 10,000 parts and its commit take less than a second here: every answer has
 * a status of its own.
 */


#include "ngx_http_s3.h"
#include "s3_crc.h"


#define NGX_HTTP_S3_COMPLETE_ATTEMPTS  16

/*
 * What is kept of an answer:
 *
 *     +---------+-----------+-------------+----------------------------+
 *     | MD5, 16 | u32 parts | u32 numbers | checksum row, may be empty |
 *     +---------+-----------+-------------+----------------------------+
 *
 * numbers: the CRC32C of the parts' numbers, each as u32; the MD5 is of their
 * entity tags alone.
 */
#define NGX_HTTP_S3_COMPLETE_CHECKSUM  (NGX_HTTP_S3_ETAG_PARTS + 4)
#define NGX_HTTP_S3_COMPLETE_RESULT    (NGX_HTTP_S3_COMPLETE_CHECKSUM        \
                                        + NGX_HTTP_S3_CHECKSUM_LEN)


typedef struct {
    s3_complete_t                 list;
    s3_complete_whole_t           whole;
    u_char                        upload_id[S3_UPLOAD_ID_LEN];

    u_char                        result[NGX_HTTP_S3_COMPLETE_RESULT];
    size_t                        result_len;
} ngx_http_s3_complete_t;


static size_t ngx_http_s3_complete_sink(ngx_http_s3_ctx_t *ctx,
    const u_char *p, size_t len);
static ngx_int_t ngx_http_s3_complete_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_complete_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static s3_error_e ngx_http_s3_complete_named(ngx_http_s3_complete_t *c);
static u_char *ngx_http_s3_complete_u32(u_char *p, uint32_t n);
static ngx_int_t ngx_http_s3_complete_again(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_slice_t result);
static ngx_int_t ngx_http_s3_complete_verdict(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_part_page_t *page, s3_buf_t *refs);
static ngx_int_t ngx_http_s3_complete_stored(s3_part_t *part,
    s3_stored_part_t *stored);
static ngx_int_t ngx_http_s3_complete_commit(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_slice_t parts);
static ngx_int_t ngx_http_s3_committed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_complete_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


ngx_int_t
ngx_http_s3_complete_multipart_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_complete_t  *c;

    c = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_complete_t));
    if (c == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->data = c;

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (ngx_http_s3_upload_id(ctx, c->upload_id) != S3_OK
        || s3_complete_headers(r->pool, ctx->headers.elts,
                               ctx->headers.nelts, &c->whole, &ctx->fail)
           != S3_OK
        || s3_condition_write(ctx->headers.elts, ctx->headers.nelts,
                              &ctx->condition, &ctx->fail)
           != S3_OK)
    {
        return ngx_http_s3_send_error(r, ctx);
    }

    return ngx_http_s3_read_parts(r, ctx, &c->list,
                                  ngx_http_s3_complete_ask);
}


ngx_int_t
ngx_http_s3_read_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_complete_t *list, ngx_http_s3_document_pt read)
{
    ctx->whole = 1;
    ctx->parts = list;
    ctx->document_read = read;

    if (s3_complete_begin(list, r->pool, &ctx->fail) != S3_OK
        || ngx_http_s3_payload_create(r, ctx, NGX_HTTP_S3_COMPLETE_MAX)
           != S3_OK)
    {
        ngx_http_s3_release(ctx);
        return ngx_http_s3_send_error(r, ctx);
    }

    r->main->count++;

    ngx_http_s3_receive(r, ctx, ngx_http_s3_complete_sink,
                        ngx_http_s3_document_received);

    return NGX_DONE;
}


static size_t
ngx_http_s3_complete_sink(ngx_http_s3_ctx_t *ctx, const u_char *p, size_t len)
{
    /* a part takes about as much memory as its XML */

    if (ngx_http_s3_document_reserve(ctx, len) != S3_OK
        || s3_complete_feed(ctx->parts, p, len) != S3_OK)
    {
        return 0;
    }

    s3_body_update(&ctx->payload->body, p, len);

    return len;
}


static ngx_int_t
ngx_http_s3_complete_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    if (s3_complete_end(&c->list) != S3_OK
        || ngx_http_s3_complete_named(c) != S3_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_s3_ask_parts(r, ctx, c->upload_id, 0, S3_PARTS_MAX,
                                 ngx_http_s3_complete_parts);
}


/* entity tag and numbers of what is named: no other parts than these can make
 * the object */

static s3_error_e
ngx_http_s3_complete_named(ngx_http_s3_complete_t *c)
{
    u_char              *p, number[4];
    uint32_t             crc;
    ngx_uint_t           i;
    s3_complete_part_t  *named;

    if (s3_complete_etag(&c->list, c->result) != NGX_OK) {
        return s3_fail(c->list.fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    crc = 0;
    named = c->list.parts.elts;

    for (i = 0; i < c->list.parts.nelts; i++) {
        (void) ngx_http_s3_complete_u32(number, named[i].number);
        crc = s3_crc32c(crc, number, sizeof(number));
    }

    p = ngx_http_s3_complete_u32(c->result + 16, (uint32_t) i);
    (void) ngx_http_s3_complete_u32(p, crc);

    return S3_OK;
}


static u_char *
ngx_http_s3_complete_u32(u_char *p, uint32_t n)
{
    *p++ = (u_char) n;
    *p++ = (u_char) (n >> 8);
    *p++ = (u_char) (n >> 16);
    *p++ = (u_char) (n >> 24);

    return p;
}


static ngx_int_t
ngx_http_s3_complete_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    s3_buf_t                 refs;
    ngx_int_t                rc;
    s3_part_page_t          *page;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_upload_failed(ctx, status);
    }

    page = &ctx->call.parts;

    if (page->upload.completed) {
        return ngx_http_s3_complete_again(r, ctx, page->upload.result);
    }

    ngx_memzero(&refs, sizeof(s3_buf_t));

    rc = ngx_http_s3_complete_verdict(r, ctx, page, &refs);

    if (rc == NGX_OK) {
        rc = ngx_http_s3_complete_commit(r, ctx,
                                    (s3_slice_t) { refs.data, refs.len });
    }

    s3_buf_free(&refs);

    return rc;
}


/*
 * Completed already.  An answer may have been lost on its way: who names the
 * same parts gets it again.  Who names others is not told that they have
 * become the object.
 */

static ngx_int_t
ngx_http_s3_complete_again(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_slice_t result)
{
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    if (result.len < NGX_HTTP_S3_COMPLETE_CHECKSUM
        || result.len > NGX_HTTP_S3_COMPLETE_RESULT)
    {
        return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
    }

    if (c->list.disordered
        || ngx_memcmp(result.data, c->result, NGX_HTTP_S3_COMPLETE_CHECKSUM)
           != 0)
    {
        return ngx_http_s3_upload_failed(ctx, S3_STORE_NO_SUCH_UPLOAD);
    }

    ngx_memcpy(c->result, result.data, result.len);
    c->result_len = result.len;

    return ngx_http_s3_complete_answer(r, ctx);
}


/* NGX_OK: c->result and refs are filled in, or NGX_DECLINED, 500 */

static ngx_int_t
ngx_http_s3_complete_verdict(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_part_page_t *page, s3_buf_t *refs)
{
    u_char                   *p;
    ngx_uint_t                i, n;
    s3_slice_t                row;
    s3_stored_part_t         *parts, **named;
    s3_complete_result_t      result;
    s3_upload_checksum_t      checksum;
    ngx_http_s3_complete_t   *c;

    c = ctx->data;
    n = c->list.parts.nelts;

    ngx_http_s3_upload_checksum(page->upload.checksum, &checksum);

    parts = ngx_palloc(r->pool, (page->nparts + 1)
                                * sizeof(s3_stored_part_t));
    named = ngx_palloc(r->pool, n * sizeof(s3_stored_part_t *));

    if (parts == NULL || named == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (i = 0; i < page->nparts; i++) {
        if (ngx_http_s3_complete_stored(&page->parts[i], &parts[i])
            != NGX_OK)
        {
            return ngx_http_s3_failed(ctx, S3_STORE_DAMAGED);
        }
    }

    if (s3_complete_verdict(r->pool, &c->list, &c->whole, &checksum, parts,
                            page->nparts, named,
                            &s3_target_arg(&ctx->target, "uploadId")->value,
                            0, &result)
        != S3_OK)
    {
        return NGX_DECLINED;
    }

    for (i = 0; i < n; i++) {
        s3_write_part_ref(refs, named[i]->number,
                          page->parts[named[i] - parts].shard_id);
    }

    if (refs->error) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = c->result + NGX_HTTP_S3_COMPLETE_CHECKSUM;

    row = result.composite
          ? ngx_http_s3_checksum_composite(result.algorithm, result.digest, n,
                                           p)
          : ngx_http_s3_checksum_row(result.algorithm, result.digest, p);

    c->result_len = NGX_HTTP_S3_COMPLETE_CHECKSUM + row.len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_complete_stored(s3_part_t *part, s3_stored_part_t *stored)
{
    s3_slice_t      rest, row;
    s3_checksum_e   algorithm;
    s3_part_sum_t  *sum;

    if (part->etag.len != 16) {
        return NGX_DECLINED;
    }

    stored->number = part->number;
    stored->size = part->size;
    stored->nsums = 0;
    ngx_memcpy(stored->md5, part->etag.data, 16);

    rest = part->checksum;

    while (stored->nsums < S3_PART_SUMS) {

        algorithm = ngx_http_s3_checksum_next(&rest, &row);

        if (algorithm == S3_CHECKSUM_NONE) {
            break;
        }

        sum = &stored->sums[stored->nsums++];

        sum->algorithm = algorithm;
        ngx_memcpy(sum->digest, row.data + 2, row.len - 2);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_complete_commit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_slice_t parts)
{
    int                      status;
    u_char                   if_match[20];
    s3_commit_t              commit;
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    ngx_memzero(&commit, sizeof(s3_commit_t));

    commit.op = S3_COMMIT_COMPLETE;
    commit.bucket = ngx_http_s3_slice(ctx->target.bucket);
    commit.key = ngx_http_s3_slice(ctx->target.key);
    ngx_memcpy(commit.upload_id, c->upload_id, S3_UPLOAD_ID_LEN);

    ngx_http_s3_commit_condition(ctx, &commit, if_match);

    commit.parts = parts;
    commit.result.data = c->result;
    commit.result.len = c->result_len;
    commit.etag.data = c->result;
    commit.etag.len = NGX_HTTP_S3_ETAG_PARTS;
    commit.checksum.data = c->result + NGX_HTTP_S3_COMPLETE_CHECKSUM;
    commit.checksum.len = c->result_len - NGX_HTTP_S3_COMPLETE_CHECKSUM;

    status = s3_client_commit(ngx_http_s3_client(r),
                              ngx_http_s3_call(ctx, ngx_http_s3_committed),
                              &commit);

    return ngx_http_s3_asked(r, ctx, status);
}


static ngx_int_t
ngx_http_s3_committed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    ngx_http_s3_complete_t  *c;

    if (status == S3_STORE_OK) {
        return ngx_http_s3_complete_answer(r, ctx);
    }

    /*
     * The same etag may have other shards now, or somebody else was first; a
     * client that keeps uploading the parts it completes gets 409 in the end.
     */

    if (status == S3_STORE_CONFLICT
        && ++ctx->attempts < NGX_HTTP_S3_COMPLETE_ATTEMPTS)
    {
        c = ctx->data;

        return ngx_http_s3_ask_parts(r, ctx, c->upload_id, 0, S3_PARTS_MAX,
                                     ngx_http_s3_complete_parts);
    }

    return ngx_http_s3_upload_failed(ctx, status);
}


static ngx_int_t
ngx_http_s3_complete_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    size_t                   size;
    ngx_str_t                location, etag;
    s3_slice_t               row;
    ngx_chain_t             *out;
    s3_checksum_text_t       checksum;
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    row.data = c->result;
    row.len = NGX_HTTP_S3_ETAG_PARTS;

    etag = ngx_http_s3_etag_text(r->pool, row);

    row.data = c->result + NGX_HTTP_S3_COMPLETE_CHECKSUM;
    row.len = c->result_len - NGX_HTTP_S3_COMPLETE_CHECKSUM;

    if (etag.len == 0
        || ngx_http_s3_checksum_words(r->pool, row, 1, &checksum) != NGX_OK
        || ngx_http_s3_complete_location(r, ctx, &location) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    out = s3_upload_completed_write(r->pool, &location, &ctx->target.bucket,
                                    &ctx->target.key, &etag, &checksum,
                                    &size);

    return ngx_http_s3_send_document(r, ctx, out, size);
}


/*
 * The address under which this request came is the object's, whatever the
 * style, the mount and the name of the server.
 */

ngx_int_t
ngx_http_s3_complete_location(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *location)
{
    const char   *scheme;
    ngx_str_t     host;
    s3_header_t  *h;

    h = ngx_http_s3_header_in(ctx, "host");

    host = h ? h->value : r->headers_in.server;
    scheme = "http";

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        scheme = "https";
    }
#endif

    location->data = ngx_pnalloc(r->pool, sizeof("https://") + host.len
                                          + ctx->target.raw_path.len);
    if (location->data == NULL) {
        return NGX_ERROR;
    }

    location->len = ngx_sprintf(location->data, "%s://%V%V", scheme, &host,
                                &ctx->target.raw_path)
                    - location->data;

    return NGX_OK;
}
