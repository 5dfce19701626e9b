
/*
 * A gateway: another S3 behind us.
 *
 *     access     the client's signature is right: which keys sign upstream
 *     content    by operation:
 *
 *         PutObject, UploadPart      ngx_http_s3_gateway_put.c
 *         documents                  read and checked here, with the
 *                                    Content-MD5 that old servers want
 *         GetObject, HeadObject, ... passed as they are; checksums are added
 *                                    by the filter
 */


#include "ngx_http_s3_gateway.h"
#include "s3_delete.h"


/* of a configuration that is passed: a thousand rules, long ones */
#define NGX_HTTP_S3_GATEWAY_XML  (2 * 1024 * 1024)


static void ngx_http_s3_gateway_cleanup(void *data);
static s3_credential_t *ngx_http_s3_gateway_credential(ngx_http_request_t *r,
    s3_credentials_t *set, ngx_str_t *name);
static s3_error_e ngx_http_s3_gateway_hidden(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_delete_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_document(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_own_body(ngx_http_request_t *r,
    ngx_chain_t *body, off_t size);
static ngx_int_t ngx_http_s3_gateway_rewrite(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_gateway_request(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *query, ngx_array_t *headers);


s3_error_e
ngx_http_s3_gateway_create(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t              *name;
    s3_credential_t        *cr;
    ngx_http_s3_gateway_t  *gw;

    if (ngx_http_s3_gateway_open(r) != NGX_OK) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    gw = ctx->gateway;

    cr = s3_credentials_find(gw->set, &ctx->auth.access_key);
    name = cr ? &cr->upstream : NULL;

    if (name && name->len == sizeof(S3_UPSTREAM_SELF) - 1
        && ngx_memcmp(name->data, S3_UPSTREAM_SELF, name->len) == 0)
    {
        gw->client = cr;

    } else if (name && name->len) {
        gw->client = ngx_http_s3_gateway_credential(r, gw->set, name);
    }

    if (gw->client == NULL) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    return ngx_http_s3_gateway_hidden(r, ctx);
}


ngx_int_t
ngx_http_s3_gateway_open(ngx_http_request_t *r)
{
    s3_credentials_t        *set;
    ngx_pool_cleanup_t      *cln;
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_gateway_t   *gw;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    ctx = ngx_http_s3_ctx(r);
    gw = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_gateway_t));
    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (ctx == NULL || gw == NULL || cln == NULL
        || ngx_array_init(&gw->more, r->pool, 4, sizeof(s3_header_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->gateway = gw;

    gw->emulate = (lcf->upstream.checksums == NGX_HTTP_S3_CHECKSUMS_EMULATE);

    /* a request may last longer than the file stays as it is */

    set = lcf->credentials ? lcf->credentials->set : lcf->upstream.env->set;
    gw->set = s3_credentials_ref(set);

    cln->handler = ngx_http_s3_gateway_cleanup;
    cln->data = gw;

    gw->service = ngx_http_s3_gateway_credential(r, lcf->upstream.env
                                                 ? lcf->upstream.env->set
                                                 : set,
                                                 &lcf->upstream.credential);
    gw->client = gw->service;

    return gw->service ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_s3_gateway_cleanup(void *data)
{
    ngx_http_s3_gateway_t  *gw = data;

    s3_credentials_release(gw->set);
}


static s3_credential_t *
ngx_http_s3_gateway_credential(ngx_http_request_t *r, s3_credentials_t *set,
    ngx_str_t *name)
{
    s3_credential_t  *cr;

    cr = s3_credentials_upstream(set, name);

    if (cr && cr->enabled) {
        return cr;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "s3_gateway: credential \"%V\" for the upstream is %s",
                  name, cr ? "disabled" : "not there any more");

    return NULL;
}


/* the bucket of records is nobody's, and neither is the header of a mark */

static s3_error_e
ngx_http_s3_gateway_hidden(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t               *bucket;
    s3_header_t             *h;
    s3_copy_source_t         source;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);
    bucket = &lcf->upstream.bucket;

    if (s3_mark_reserved(ctx->headers.elts, ctx->headers.nelts)) {
        return s3_fail_argument(&ctx->fail,
                                "This name of user metadata is reserved",
                                S3_MARK_HEADER, NULL);
    }

    if (ctx->target.bucket.len == bucket->len
        && ngx_memcmp(ctx->target.bucket.data, bucket->data, bucket->len)
           == 0)
    {
        return s3_fail(&ctx->fail, ctx->operation->id == S3_OP_CREATE_BUCKET
                                   ? S3_ERR_BUCKET_ALREADY_EXISTS
                                   : S3_ERR_NO_SUCH_BUCKET, NULL);
    }

    h = ngx_http_s3_header_in(ctx, "x-amz-copy-source");

    if (h && s3_copy_source_parse(r->pool, &h->value, &source, NULL) == S3_OK
        && source.bucket.len == bucket->len
        && ngx_memcmp(source.bucket.data, bucket->data, bucket->len) == 0)
    {
        (void) s3_fail(&ctx->fail, S3_ERR_NO_SUCH_BUCKET, NULL);
        s3_fail_element(&ctx->fail, "BucketName", bucket);
        return S3_ERR_NO_SUCH_BUCKET;
    }

    return S3_OK;
}


ngx_int_t
ngx_http_s3_gateway_handler(ngx_http_request_t *r)
{
    ngx_http_s3_ctx_t  *ctx;

    if (r != r->main) {

        /* a slice of a request that was let in, or a cache's update */

        ctx = ngx_http_get_module_ctx(r->main, ngx_http_s3_module);

        if (ctx && ctx->gateway && ctx->gateway->rewritten) {
            return ctx->gateway->proxy(r);
        }
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ngx_http_s3_no_verdict(r, ctx)) {
        return NGX_HTTP_FORBIDDEN;
    }

    return ngx_http_s3_gateway_check(r, ctx);
}


ngx_int_t
ngx_http_s3_gateway_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    switch (ctx->operation->id) {

    case S3_OP_PUT_OBJECT:
        return ngx_http_s3_gateway_put_object(r, ctx);

    case S3_OP_UPLOAD_PART:
        return ngx_http_s3_gateway_upload_part(r, ctx);

    case S3_OP_CREATE_MULTIPART_UPLOAD:
        return ngx_http_s3_gateway_create_upload(r, ctx);

    case S3_OP_COMPLETE_MULTIPART_UPLOAD:
        return ngx_http_s3_gateway_complete_upload(r, ctx);

    case S3_OP_ABORT_MULTIPART_UPLOAD:
        return ngx_http_s3_gateway_abort_upload(r, ctx);

    case S3_OP_LIST_PARTS:
        return ngx_http_s3_gateway_list_parts(r, ctx);

    case S3_OP_COPY_OBJECT:
        return ngx_http_s3_gateway_copy_object(r, ctx);

    case S3_OP_UPLOAD_PART_COPY:
        return ngx_http_s3_gateway_copy_part(r, ctx);

    case S3_OP_GET_OBJECT_ATTRIBUTES:
        return ngx_http_s3_gateway_get_attributes(r, ctx);

    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:
        return ngx_http_s3_gateway_get_object(r, ctx);

    case S3_OP_LIST_OBJECTS:
    case S3_OP_LIST_OBJECTS_V2:
    case S3_OP_LIST_OBJECT_VERSIONS:
        return ngx_http_s3_gateway_list_objects(r, ctx);

    case S3_OP_LIST_BUCKETS:
        return ngx_http_s3_gateway_list_buckets(r, ctx);

    case S3_OP_CREATE_BUCKET:
        return ngx_http_s3_gateway_create_bucket(r, ctx);

    case S3_OP_GET_BUCKET_LOCATION:
        return ngx_http_s3_gateway_get_location(r, ctx);

    case S3_OP_DELETE_OBJECTS:
        return ngx_http_s3_gateway_delete_objects(r, ctx);

    default:
        break;
    }

    return ctx->gateway->emulate && ngx_http_s3_gateway_is_late(ctx)
           ? ngx_http_s3_gateway_ask_sub(r, ctx)
           : ngx_http_s3_gateway_run_passed(r, ctx);
}


ngx_int_t
ngx_http_s3_gateway_run_passed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    switch (ctx->operation->body) {

    case S3_BODY_XML:
    case S3_BODY_JSON:

        if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
            return ngx_http_s3_read_document(r, ctx, NGX_HTTP_S3_GATEWAY_XML,
                                             ngx_http_s3_gateway_document);
        }

        return ngx_http_s3_gateway_pass_none(r, ctx);

    default:

        return ngx_http_s3_gateway_pass_none(r, ctx);
    }
}


ngx_int_t
ngx_http_s3_gateway_delete_objects(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx)
{
    return ngx_http_s3_read_document(r, ctx, S3_DELETE_MAX_XML,
                                     ngx_http_s3_gateway_delete_read);
}


static ngx_int_t
ngx_http_s3_gateway_delete_read(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t           i;
    s3_delete_t          request;
    s3_delete_object_t  *object;

    if (s3_delete_read(r->pool, ctx->document, &request, &ctx->fail) != S3_OK)
    {
        return NGX_DECLINED;
    }

    /* servers that do not know it would delete the object whatever it is */

    object = request.objects.elts;

    for (i = 0; i < request.objects.nelts; i++) {

        if (ctx->gateway->emulate && object[i].etag.len) {
            (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED,
                           "Objects cannot be deleted under the condition of "
                           "an ETag here.");
            return NGX_DECLINED;
        }
    }

    return ngx_http_s3_gateway_document(r, ctx);
}


/* S3 wants one of Content-MD5 and a checksum; servers of old know the first */

static ngx_int_t
ngx_http_s3_gateway_document(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ngx_http_s3_gateway_content_md5(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_gateway_pass_body(r, ctx, ctx->document,
                                  ngx_http_s3_gateway_size(ctx->document));
}


size_t
ngx_http_s3_gateway_size(ngx_chain_t *in)
{
    size_t  size;

    for (size = 0; in; in = in->next) {
        size += in->buf->last - in->buf->pos;
    }

    return size;
}


ngx_int_t
ngx_http_s3_gateway_content_md5(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t  md5, text;

    md5.data = ctx->payload->body.md5;
    md5.len = S3_BODY_MD5_LEN;

    text.data = ngx_pnalloc(r->pool,
                            ngx_base64_encoded_length(S3_BODY_MD5_LEN));
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64(&text, &md5);

    return ngx_http_s3_gateway_add(ctx, "content-md5", &text);
}


ngx_int_t
ngx_http_s3_gateway_add(ngx_http_s3_ctx_t *ctx, const char *name,
    ngx_str_t *value)
{
    return s3_upstream_header(&ctx->gateway->more, name, value);
}


ngx_int_t
ngx_http_s3_gateway_pass_body(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_chain_t *body, size_t size)
{
    ngx_int_t  rc;

    rc = ngx_http_s3_gateway_own_body(r, body, (off_t) size);

    return rc == NGX_OK ? ngx_http_s3_gateway_pass(r, ctx) : rc;
}


/* nginx has read it, or never will: this is the proxy's from now on */

static ngx_int_t
ngx_http_s3_gateway_own_body(ngx_http_request_t *r, ngx_chain_t *body,
    off_t size)
{
    if (r->request_body == NULL) {
        r->request_body = ngx_pcalloc(r->pool,
                                      sizeof(ngx_http_request_body_t));
        if (r->request_body == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    r->request_body->bufs = body;
    r->headers_in.content_length_n = size;
    r->headers_in.chunked = 0;

    return NGX_OK;
}


/*
 * A body that comes all the same is for nobody.  Neither may the upstream hear
 * of its length, for it would wait for what is another request; nor may what
 * comes behind it be read, for it would be taken for one.
 */

ngx_int_t
ngx_http_s3_gateway_pass_none(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (r->request_body == NULL
        && (r->headers_in.content_length_n > 0 || r->headers_in.chunked))
    {
        r->keepalive = 0;
        r->lingering_close = 1;

#if (NGX_HTTP_V2)
        if (r->stream) {
            r->stream->skip_data = 1;
        }
#endif
    }

    if (r->method & (NGX_HTTP_PUT|NGX_HTTP_POST)) {
        return ngx_http_s3_gateway_pass_body(r, ctx, NULL, 0);
    }

    rc = ngx_http_s3_gateway_own_body(r, NULL, -1);

    return rc == NGX_OK ? ngx_http_s3_gateway_pass(r, ctx) : rc;
}


ngx_int_t
ngx_http_s3_gateway_pass(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (ngx_http_s3_gateway_rewrite(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* ranges of what a cache has are nginx's to cut, but for several at once */

    r->single_range = 1;

    ctx->gateway->http_version = r->http_version;

    return ctx->gateway->proxy(r);
}


static ngx_int_t
ngx_http_s3_gateway_rewrite(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_str_t                query;
    ngx_array_t              headers;
    ngx_http_s3_gateway_t   *gw;
    ngx_http_s3_loc_conf_t  *lcf;

    gw = ctx->gateway;
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_array_init(&headers, r->pool, 16, sizeof(s3_header_t)) != NGX_OK
        || ngx_http_s3_gateway_request(r, ctx, &query, &headers) != NGX_OK
        || s3_upstream_target(r->pool, lcf->upstream.style,
                              &lcf->upstream.host, &ctx->target.bucket,
                              &ctx->target.key, &query, &gw->uri, &gw->host)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    gw->rewritten = 1;

    /* the client's signature is in its query, and for nobody else */

    r->args = query;

    return ngx_http_s3_gateway_address(r, &gw->uri, &headers);
}


/* what of the client's request goes on */

static ngx_int_t
ngx_http_s3_gateway_request(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *query, ngx_array_t *headers)
{
    ngx_uint_t              i;
    s3_header_t            *more, *h;
    ngx_http_s3_gateway_t  *gw;

    gw = ctx->gateway;

    if (s3_upstream_query(r->pool, &ctx->target,
                          gw->part ? "partNumber" : NULL, query)
        != NGX_OK
        || s3_upstream_headers(r->pool, ctx->headers.elts, ctx->headers.nelts,
                               ctx->nreal, !gw->emulate, headers)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (gw->no_range) {
        s3_upstream_drop(headers, "range");
    }

    if (gw->no_range || gw->no_if_range) {
        s3_upstream_drop(headers, "if-range");
    }

    more = gw->more.elts;

    for (i = 0; i < gw->more.nelts; i++) {

        s3_upstream_drop(headers, (char *) more[i].name.data);

        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = more[i];
    }

    return NGX_OK;
}


ngx_http_s3_ask_t *
ngx_http_s3_gateway_own_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const char *method)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_ask_create(r, method, &ctx->target.bucket,
                                 &ctx->target.key);

    if (ask == NULL
        || ngx_http_s3_gateway_request(r, ctx, &ask->query, &ask->headers)
           != NGX_OK)
    {
        return NULL;
    }

    return ask;
}


ngx_int_t
ngx_http_s3_gateway_adopt(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    s3_header_t       header;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *out;

    part = &ask->sr->upstream->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NGX_OK;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        header.name = h[i].key;
        header.value = h[i].value;

        if (s3_header(&header, 1, "x-amz-request-id")) {
            ctx->request_id = header.value;
            continue;
        }

        if (!s3_header_has_prefix(&header, "x-amz-", sizeof("x-amz-") - 1)
            || s3_header(&header, 1, "x-amz-id-2")
            || s3_header_has_prefix(&header, "x-amz-meta-",
                                    sizeof("x-amz-meta-") - 1)
            || s3_header_has_prefix(&header, "x-amz-checksum-",
                                    sizeof("x-amz-checksum-") - 1))
        {
            continue;
        }

        out = ngx_list_push(&r->headers_out.headers);
        if (out == NULL) {
            return NGX_ERROR;
        }

        *out = h[i];
        out->hash = 1;
        ngx_http_s3_header_last(out);
    }
}


ngx_int_t
ngx_http_s3_gateway_owner(ngx_http_request_t *r, ngx_http_s3_ask_t *ask,
    s3_owner_t *owner)
{
    s3_upstream_xml_t   x;

    s3_upstream_leaf_t  leaves[] = {
        { "ID", ngx_null_string },
        { "DisplayName", ngx_null_string }
    };

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));

    x.pool = r->pool;
    x.row = "Owner";
    x.leaves = leaves;
    x.nleaves = 2;

    if (s3_upstream_read(&x, ask->out) == NGX_ERROR) {
        return NGX_ERROR;
    }

    owner->id = leaves[0].value;
    owner->display_name = leaves[1].value;

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_gateway_strange(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "s3_gateway: the upstream's answer to %V is none of S3's, "
                  "or too large", &ctx->operation->name);

    (void) s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);

    return NGX_DECLINED;
}
