
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

#include <openssl/evp.h>


/* 10,000 parts with SHA-256 are 2 MB as SDKs write them */
#define NGX_HTTP_S3_COMPLETE_MAX       (8 * 1024 * 1024)
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
    u_char                        upload_id[S3_UPLOAD_ID_LEN];

    /* what the headers say about the object */
    s3_checksum_e                 algorithm;  /* of digest; or NONE */
    u_char                        digest[S3_CHECKSUM_DIGEST_MAX];
    ngx_uint_t                    suffix;     /* "-N"; 0: none */
    ngx_str_t                     type;       /* x-amz-checksum-type */
    uint64_t                      size;       /* x-amz-mp-object-size */
    unsigned                      has_size:1;

    u_char                        result[NGX_HTTP_S3_COMPLETE_RESULT];
    size_t                        result_len;
} ngx_http_s3_complete_t;


static s3_error_e ngx_http_s3_complete_headers(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_complete_t *c);
static s3_error_e ngx_http_s3_complete_whole(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_complete_t *c, s3_header_t *h,
    s3_checksum_e algorithm);
static size_t ngx_http_s3_complete_sink(ngx_http_s3_ctx_t *ctx,
    const u_char *p, size_t len);
static void ngx_http_s3_complete_received(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_complete_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static s3_error_e ngx_http_s3_complete_named(ngx_http_s3_complete_t *c);
static u_char *ngx_http_s3_complete_u32(u_char *p, uint32_t n);
static ngx_int_t ngx_http_s3_complete_again(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_slice_t result);
static ngx_int_t ngx_http_s3_complete_verdict(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_part_page_t *page, s3_buf_t *refs);
static ngx_int_t ngx_http_s3_complete_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_complete_part_t *named, s3_part_t *part,
    s3_upload_checksum_t *checksum);
static ngx_int_t ngx_http_s3_complete_checksum(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_part_t **parts,
    s3_upload_checksum_t *checksum);
static ngx_int_t ngx_http_s3_complete_sum(ngx_http_s3_complete_t *c,
    s3_part_t **parts, s3_checksum_e algorithm, ngx_uint_t composite,
    u_char *digest);
static ngx_int_t ngx_http_s3_complete_invalid(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_complete_part_t *named);
static ngx_int_t ngx_http_s3_complete_commit(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_slice_t parts);
static ngx_int_t ngx_http_s3_committed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static ngx_int_t ngx_http_s3_complete_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_complete_location(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *location);
static char *ngx_http_s3_complete_name(s3_checksum_e algorithm,
    u_char name[16]);


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
    ctx->whole = 1;

    if (!ngx_http_s3_writable(r, ctx)) {
        return ngx_http_s3_send_error(r, ctx);
    }

    if (ngx_http_s3_upload_id(ctx, c->upload_id) != S3_OK
        || ngx_http_s3_complete_headers(r, ctx, c) != S3_OK
        || s3_condition_write(ctx->headers.elts, ctx->headers.nelts,
                              &ctx->condition, &ctx->fail)
           != S3_OK
        || s3_complete_begin(&c->list, r->pool, &ctx->fail) != S3_OK
        || ngx_http_s3_payload_create(r, ctx, NGX_HTTP_S3_COMPLETE_MAX)
           != S3_OK)
    {
        ngx_http_s3_release(ctx);
        return ngx_http_s3_send_error(r, ctx);
    }

    r->main->count++;

    ngx_http_s3_receive(r, ctx, ngx_http_s3_complete_sink,
                        ngx_http_s3_complete_received);

    return NGX_DONE;
}


static s3_error_e
ngx_http_s3_complete_headers(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_complete_t *c)
{
    off_t           size;
    s3_error_e      rc;
    ngx_uint_t      i;
    s3_header_t    *h;
    s3_checksum_e   algorithm;

    h = ngx_http_s3_header_in(ctx, "x-amz-checksum-type");

    if (h) {
        if (!(h->value.len == 9
              && ngx_strncasecmp(h->value.data, (u_char *) "COMPOSITE", 9)
                 == 0)
            && !(h->value.len == 11
                 && ngx_strncasecmp(h->value.data, (u_char *) "FULL_OBJECT",
                                    11)
                    == 0))
        {
            return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                           "Value for x-amz-checksum-type header is "
                           "invalid.");
        }

        c->type = h->value;
    }

    h = ngx_http_s3_header_in(ctx, "x-amz-mp-object-size");

    if (h) {
        size = ngx_atoof(h->value.data, h->value.len);

        if (size == NGX_ERROR) {
            return s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                            h->value.len && h->value.data[0] == '-'
                            ? "Value for x-amz-mp-object-size header is less "
                              "than zero: '%V'"
                            : "Value for x-amz-mp-object-size header is "
                              "invalid: '%V'",
                            &h->value);
        }

        c->size = size;
        c->has_size = 1;
    }

    h = ctx->headers.elts;

    for (i = 0; i < ctx->headers.nelts; i++) {

        algorithm = s3_checksum_by_header((char *) h[i].name.data,
                                          h[i].name.len);

        if (algorithm == S3_CHECKSUM_NONE) {
            continue;
        }

        if (c->algorithm != S3_CHECKSUM_NONE) {
            return s3_fail(&ctx->fail, S3_ERR_INVALID_REQUEST,
                           "Expecting a single x-amz-checksum- header. "
                           "Multiple checksum Types are not allowed.");
        }

        rc = ngx_http_s3_complete_whole(r, ctx, c, &h[i], algorithm);
        if (rc != S3_OK) {
            return rc;
        }
    }

    return S3_OK;
}


/* "5FRUiw==", or "5FRUiw==-3" */

static s3_error_e
ngx_http_s3_complete_whole(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_complete_t *c, s3_header_t *h, s3_checksum_e algorithm)
{
    size_t                     len;
    ngx_int_t                  n;
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);
    len = ngx_min(h->value.len, info->text_len);

    if (s3_checksum_parse(algorithm, (char *) h->value.data, len, c->digest)
        != 0)
    {
        goto invalid;
    }

    if (h->value.len > len) {

        n = ngx_atoi(h->value.data + len + 1, h->value.len - len - 1);

        if (h->value.data[len] != '-' || n < 1 || n > S3_PARTS_MAX) {
            goto invalid;
        }

        c->suffix = n;
    }

    c->algorithm = algorithm;

    return S3_OK;

invalid:

    return s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                    "Value for %s header is invalid.", info->header);
}


static size_t
ngx_http_s3_complete_sink(ngx_http_s3_ctx_t *ctx, const u_char *p, size_t len)
{
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    /* a part takes about as much memory as its XML */

    if (ngx_http_s3_document_reserve(ctx, len) != S3_OK
        || s3_complete_feed(&c->list, p, len) != S3_OK)
    {
        return 0;
    }

    s3_body_update(&ctx->payload->body, p, len);

    return len;
}


static void
ngx_http_s3_complete_received(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    if (s3_body_finish(&ctx->payload->body) != S3_BODY_OK) {
        (void) ngx_http_s3_body_error(ctx, &ctx->payload->body);
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    if (s3_complete_end(&c->list) != S3_OK
        || ngx_http_s3_complete_named(c) != S3_OK)
    {
        ngx_http_s3_end_failed(r, ctx);
        return;
    }

    rc = ngx_http_s3_ask_parts(r, ctx, c->upload_id, 0, S3_PARTS_MAX,
                               ngx_http_s3_complete_parts);

    ngx_http_finalize_request(r, rc);
}


/* entity tag and numbers of what is named: no other parts than these can make
 * the object */

static s3_error_e
ngx_http_s3_complete_named(ngx_http_s3_complete_t *c)
{
    u_char              *p, number[4];
    uint32_t             crc;
    ngx_uint_t           i;
    EVP_MD_CTX          *md;
    s3_complete_part_t  *named;

    md = EVP_MD_CTX_new();

    if (md == NULL || EVP_DigestInit_ex(md, EVP_md5(), NULL) != 1) {
        goto failed;
    }

    crc = 0;
    named = c->list.parts.elts;

    for (i = 0; i < c->list.parts.nelts; i++) {
        if (EVP_DigestUpdate(md, named[i].md5, 16) != 1) {
            goto failed;
        }

        (void) ngx_http_s3_complete_u32(number, named[i].number);
        crc = s3_crc32c(crc, number, sizeof(number));
    }

    if (EVP_DigestFinal_ex(md, c->result, NULL) != 1) {
        goto failed;
    }

    EVP_MD_CTX_free(md);

    p = ngx_http_s3_complete_u32(c->result + 16, (uint32_t) i);
    (void) ngx_http_s3_complete_u32(p, crc);

    return S3_OK;

failed:

    EVP_MD_CTX_free(md);

    return s3_fail(c->list.fail, S3_ERR_INTERNAL_ERROR, NULL);
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
    ngx_http_s3_complete_t  *c;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_upload_failed(ctx, status);
    }

    c = ctx->data;
    page = &ctx->call.parts;

    if (page->upload.completed) {
        return ngx_http_s3_complete_again(r, ctx, page->upload.result);
    }

    if (c->list.disordered) {
        (void) s3_fail(&ctx->fail, S3_ERR_INVALID_PART_ORDER, NULL);
        s3_fail_element(&ctx->fail, "UploadId",
                        &s3_target_arg(&ctx->target, "uploadId")->value);
        return NGX_DECLINED;
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
    uint64_t                  size;
    ngx_int_t                 rc;
    ngx_str_t                 value[4];
    ngx_uint_t                i, j, n;
    s3_part_t               **parts, *part;
    s3_complete_part_t       *named;
    s3_upload_checksum_t      checksum;
    ngx_http_s3_complete_t   *c;

    c = ctx->data;
    named = c->list.parts.elts;
    n = c->list.parts.nelts;

    ngx_http_s3_upload_checksum(page->upload.checksum, &checksum);

    if (c->type.len
        && (checksum.algorithm == S3_CHECKSUM_NONE
            || (c->type.len == sizeof("COMPOSITE") - 1)
               != checksum.composite))
    {
        (void) s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                        "The upload was created using the %s checksum mode. "
                        "The complete request must use the same checksum "
                        "mode.",
                        checksum.algorithm == S3_CHECKSUM_NONE ? "null"
                        : checksum.composite ? "COMPOSITE" : "FULL_OBJECT");
        return NGX_DECLINED;
    }

    parts = ngx_palloc(r->pool, n * sizeof(s3_part_t *));
    if (parts == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* both are in the order of numbers */

    j = 0;
    size = 0;

    for (i = 0; i < n; i++) {

        while (j < page->nparts && page->parts[j].number < named[i].number) {
            j++;
        }

        if (j == page->nparts || page->parts[j].number != named[i].number) {
            return ngx_http_s3_complete_invalid(r, ctx, &named[i]);
        }

        parts[i] = &page->parts[j];

        rc = ngx_http_s3_complete_part(r, ctx, &named[i], parts[i],
                                       &checksum);
        if (rc != NGX_OK) {
            return rc;
        }

        size += parts[i]->size;

        s3_write_part_ref(refs, named[i].number, parts[i]->shard_id);
    }

    if (refs->error) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (i = 0; i + 1 < n; i++) {
        part = parts[i];

        if (part->size >= S3_PART_SIZE_MIN) {
            continue;
        }

        value[0].data = ngx_pnalloc(r->pool, 2 * NGX_INT64_LEN);
        if (value[0].data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        value[0].len = ngx_sprintf(value[0].data, "%uL", part->size)
                       - value[0].data;
        value[1].data = value[0].data + NGX_INT64_LEN;
        value[1].len = ngx_sprintf(value[1].data, "%uD", part->number)
                       - value[1].data;
        value[2] = ngx_http_s3_etag_text(r->pool, part->etag);
        ngx_str_set(&value[3], "5242880");

        (void) s3_fail(&ctx->fail, S3_ERR_ENTITY_TOO_SMALL, NULL);
        s3_fail_element(&ctx->fail, "ProposedSize", &value[0]);
        s3_fail_element(&ctx->fail, "MinSizeAllowed", &value[3]);
        s3_fail_element(&ctx->fail, "PartNumber", &value[1]);
        s3_fail_element(&ctx->fail, "ETag", &value[2]);

        return NGX_DECLINED;
    }

    if (c->has_size && c->size != size) {
        (void) s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                        "The provided 'x-amz-mp-object-size' header value "
                        "%uL does not match what was computed: %uL",
                        c->size, size);
        return NGX_DECLINED;
    }

    return ngx_http_s3_complete_checksum(r, ctx, parts, &checksum);
}


/* one part as it is named against what is there */

static ngx_int_t
ngx_http_s3_complete_part(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_complete_part_t *named, s3_part_t *part,
    s3_upload_checksum_t *checksum)
{
    u_char                     name[16];
    s3_slice_t                 rest, row;
    s3_checksum_e              algorithm;
    const s3_checksum_info_t  *info;

    if (named->no_etag || part->etag.len != 16
        || ngx_memcmp(part->etag.data, named->md5, 16) != 0)
    {
        return ngx_http_s3_complete_invalid(r, ctx, named);
    }

    if (named->algorithm == S3_CHECKSUM_NONE) {

        if (!checksum->composite) {
            return NGX_OK;
        }

        (void) s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                        "The upload was created using a %s checksum. The "
                        "complete request must include the checksum for each "
                        "part. It was missing for part %uD in the request.",
                        ngx_http_s3_complete_name(checksum->algorithm, name),
                        named->number);
        return NGX_DECLINED;
    }

    info = s3_checksum_info(named->algorithm);

    if (checksum->algorithm != S3_CHECKSUM_NONE
        && checksum->algorithm != named->algorithm)
    {
        (void) s3_failf(r->pool, &ctx->fail, S3_ERR_BAD_DIGEST,
                        "The %s you specified for part %uD did not match "
                        "what we received.",
                        ngx_http_s3_complete_name(named->algorithm, name),
                        named->number);
        return NGX_DECLINED;
    }

    /*
     * Where the upload named no algorithm S3 knows no checksums of parts and
     * answers InvalidPart to any.  We have verified those that came with a
     * part: to repeat one is no error, as with other servers.
     */

    rest = part->checksum;

    for ( ;; ) {
        algorithm = ngx_http_s3_checksum_next(&rest, &row);

        if (algorithm == S3_CHECKSUM_NONE) {
            return ngx_http_s3_complete_invalid(r, ctx, named);
        }

        if (algorithm == (s3_checksum_e) named->algorithm) {
            break;
        }
    }

    if (ngx_memcmp(row.data + 2, named->digest, info->size) != 0) {
        return ngx_http_s3_complete_invalid(r, ctx, named);
    }

    return NGX_OK;
}


/* the object's checksum, into c->result */

static ngx_int_t
ngx_http_s3_complete_checksum(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_part_t **parts, s3_upload_checksum_t *checksum)
{
    u_char                     digest[S3_CHECKSUM_DIGEST_MAX], name[16];
    ngx_int_t                  rc;
    ngx_uint_t                 n;
    s3_slice_t                 row;
    s3_checksum_e              algorithm;
    ngx_http_s3_complete_t    *c;
    const s3_checksum_info_t  *info;

    c = ctx->data;
    n = c->list.parts.nelts;

    algorithm = checksum->algorithm ? checksum->algorithm
                                    : S3_CHECKSUM_CRC64NVME;
    info = s3_checksum_info(algorithm);

    rc = ngx_http_s3_complete_sum(c, parts, algorithm, checksum->composite,
                                  digest);

    if (rc != NGX_OK) {

        /* each part has it: it was required, or computed */

        return rc == NGX_DECLINED ? ngx_http_s3_failed(ctx, S3_STORE_DAMAGED)
                                  : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (c->algorithm == algorithm) {

        if (ngx_memcmp(c->digest, digest, info->size) != 0
            || (c->suffix && (!checksum->composite || c->suffix != n)))
        {
            goto mismatch;
        }

    } else if (c->algorithm != S3_CHECKSUM_NONE) {

        if (checksum->algorithm != S3_CHECKSUM_NONE) {
            goto mismatch;
        }

        /*
         * S3 passes over what it did not ask for.  Here it holds, if all
         * parts came with that algorithm, and else nobody knows.
         */

        rc = ngx_http_s3_complete_sum(c, parts, c->algorithm, c->suffix,
                                      digest);

        if (rc == NGX_DECLINED) {
            (void) s3_failf(r->pool, &ctx->fail, S3_ERR_INVALID_REQUEST,
                            "Checksum Type mismatch occurred, expected "
                            "checksum Type: null, actual checksum Type: %s",
                            ngx_http_s3_complete_name(c->algorithm, name));
            return NGX_DECLINED;
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (ngx_memcmp(c->digest, digest,
                       s3_checksum_info(c->algorithm)->size)
            != 0
            || (c->suffix && c->suffix != n))
        {
            algorithm = c->algorithm;
            goto mismatch;
        }

        rc = ngx_http_s3_complete_sum(c, parts, algorithm, 0, digest);
        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (checksum->composite) {
        row = ngx_http_s3_checksum_composite(algorithm, digest, n,
                                   c->result
                                   + NGX_HTTP_S3_COMPLETE_CHECKSUM);
    } else {
        row = ngx_http_s3_checksum_row(algorithm, digest,
                                   c->result
                                   + NGX_HTTP_S3_COMPLETE_CHECKSUM);
    }

    c->result_len = NGX_HTTP_S3_COMPLETE_CHECKSUM + row.len;

    return NGX_OK;

mismatch:

    (void) s3_failf(r->pool, &ctx->fail, S3_ERR_BAD_DIGEST,
                    "The %s you specified did not match the calculated "
                    "checksum.",
                    ngx_http_s3_complete_name(algorithm, name));

    return NGX_DECLINED;
}


/*
 * The parts' checksums as one.  NGX_OK, NGX_ERROR, NGX_DECLINED: some part
 * has none of that algorithm, or they do not combine.
 */

static ngx_int_t
ngx_http_s3_complete_sum(ngx_http_s3_complete_t *c, s3_part_t **parts,
    s3_checksum_e algorithm, ngx_uint_t composite, u_char *digest)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    s3_slice_t                 rest, row;
    s3_checksum_t              sum;
    s3_checksum_e              found;
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);

    if (!composite && !info->combines) {
        return NGX_DECLINED;
    }

    if (s3_checksum_init(&sum, algorithm) != 0) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    for (i = 0; i < c->list.parts.nelts && rc == NGX_OK; i++) {

        rest = parts[i]->checksum;

        do {
            found = ngx_http_s3_checksum_next(&rest, &row);
        } while (found != S3_CHECKSUM_NONE && found != algorithm);

        if (found == S3_CHECKSUM_NONE) {
            rc = NGX_DECLINED;

        } else if (composite) {
            if (s3_checksum_update(&sum, row.data + 2, info->size) != 0) {
                rc = NGX_ERROR;
            }

        } else if (i == 0) {
            ngx_memcpy(digest, row.data + 2, info->size);

        } else if (s3_checksum_combine(algorithm, digest, row.data + 2,
                                       parts[i]->size, digest)
                   != 0)
        {
            rc = NGX_ERROR;
        }
    }

    if (rc == NGX_OK && composite && s3_checksum_final(&sum, digest) != 0) {
        rc = NGX_ERROR;
    }

    s3_checksum_cleanup(&sum);

    return rc;
}


static ngx_int_t
ngx_http_s3_complete_invalid(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_complete_part_t *named)
{
    ngx_str_t                number, etag;
    s3_slice_t               md5;
    ngx_http_s3_complete_t  *c;

    c = ctx->data;

    number.data = ngx_pnalloc(r->pool, NGX_INT32_LEN);
    if (number.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    number.len = ngx_sprintf(number.data, "%uD", named->number) - number.data;

    if (named->no_etag) {

        /* the first such: no other is reached */

        etag = c->list.no_etag;

    } else {
        md5.data = named->md5;
        md5.len = 16;
        etag = ngx_http_s3_etag_text(r->pool, md5);
    }

    (void) s3_fail(&ctx->fail, S3_ERR_INVALID_PART, NULL);
    s3_fail_element(&ctx->fail, "UploadId",
                    &s3_target_arg(&ctx->target, "uploadId")->value);
    s3_fail_element(&ctx->fail, "PartNumber", &number);
    s3_fail_element(&ctx->fail, "ETag", &etag);

    return NGX_DECLINED;
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

static ngx_int_t
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


/* lower case, as S3's messages about Complete have it */

static char *
ngx_http_s3_complete_name(s3_checksum_e algorithm, u_char name[16])
{
    const char  *p;

    p = s3_checksum_info(algorithm)->name;
    ngx_strlow(name, (u_char *) p, ngx_strlen(p) + 1);

    return (char *) name;
}
