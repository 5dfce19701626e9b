
/*
 * A request on its way through the phases: what is asked (preaccess), who
 * asks (access), and whose function answers (content).  And how it waits for
 * the store.
 */


#include "ngx_http_s3_gateway.h"
#include "s3_bucket.h"

#include <openssl/evp.h>
#include <openssl/rand.h>


static ngx_int_t ngx_http_s3_collect_headers(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static s3_error_e ngx_http_s3_parse(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_loc_conf_t *lcf);
static s3_error_e ngx_http_s3_expected_owner(ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_mask(ngx_http_request_t *r);
static void ngx_http_s3_mask_line(ngx_str_t *line);
static void ngx_http_s3_mask_args(u_char *p, u_char *last);
static void ngx_http_s3_answered(s3_call_t *call);
static void ngx_http_s3_wait_handler(ngx_event_t *ev);
static void ngx_http_s3_cleanup(void *data);
static void ngx_http_s3_pool_cleanup(void *data);


/*
 * "location /storage/" does not match "/storage", which is what clients with
 * the endpoint http://host/storage send to list buckets.  nginx's own remedy,
 * a redirect, would break the signature.
 */

ngx_int_t
ngx_http_s3_server_rewrite_handler(ngx_http_request_t *r)
{
    u_char                  *p;
    ngx_str_t               *mount;
    ngx_uint_t               i;
    ngx_http_s3_srv_conf_t  *scf;

    scf = ngx_http_get_module_srv_conf(r, ngx_http_s3_module);

    mount = scf->mounts.elts;

    for (i = 0; i < scf->mounts.nelts; i++) {

        if (r->uri.len != mount[i].len - 1
            || ngx_strncmp(r->uri.data, mount[i].data, r->uri.len) != 0)
        {
            continue;
        }

        p = ngx_pnalloc(r->pool, mount[i].len);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_memcpy(p, mount[i].data, mount[i].len);

        r->uri.data = p;
        r->uri.len = mount[i].len;

        break;
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_s3_preaccess_handler(ngx_http_request_t *r)
{
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (!ngx_http_s3_is_ours(lcf) || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_s3_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->parsed) {
        return NGX_DECLINED;
    }

    ctx->parsed = 1;

    ngx_http_s3_count_begin(r, lcf->counters);

    if (ngx_http_s3_parse(r, ctx, lcf) == S3_OK) {

        ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "s3 operation %V bucket \"%V\" key \"%V\"",
                       &ctx->operation->name, &ctx->target.bucket,
                       &ctx->target.key);

        return NGX_DECLINED;
    }

    ngx_http_finalize_request(r, ngx_http_s3_send_error(r, ctx));

    return NGX_DONE;
}


static s3_error_e
ngx_http_s3_parse(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_loc_conf_t *lcf)
{
    ngx_int_t     rc;
    ngx_str_t     raw, bucket;
    s3_error_e    error;
    s3_header_t  *host;

    /* a copy: what nginx logs is masked in place */

    raw.len = r->unparsed_uri.len;
    raw.data = ngx_pstrdup(r->pool, &r->unparsed_uri);

    if (raw.data == NULL) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ngx_http_s3_mask(r);

    if (ngx_http_s3_collect_headers(r, ctx) != NGX_OK) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    ctx->nreal = ctx->headers.nelts;

    rc = NGX_DECLINED;
    host = ngx_http_s3_header_in(ctx, "host");

    if (lcf->domains && host) {
        rc = s3_target_host(r->pool, &host->value, lcf->domains->elts,
                            lcf->domains->nelts, &bucket);

        if (rc == NGX_ERROR) {
            return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
        }
    }

    error = s3_target_parse_host(r->pool, &raw, &lcf->mount,
                                 rc == NGX_OK ? &bucket : NULL, &ctx->target,
                                 &ctx->fail);
    if (error != S3_OK) {
        return error;
    }

    /*
     * nginx has chosen the location by the normalised path: the path that we
     * serve must not be another one, nor one whose bucket's name just begins
     * alike ("/b/../bx/k" is "/bx/k" for nginx).
     */

    if (r->uri.len < ctx->target.bucket_path.len
        || ngx_strncmp(r->uri.data, ctx->target.bucket_path.data,
                       ctx->target.bucket_path.len)
           != 0
        || (r->uri.len > ctx->target.bucket_path.len
            && r->uri.data[ctx->target.bucket_path.len] != '/'))
    {
        return s3_fail(&ctx->fail, S3_ERR_INVALID_URI, NULL);
    }

    rc = s3_target_hoisted(r->pool, &ctx->target, &ctx->headers);

    if (rc == NGX_DECLINED) {
        return s3_fail(&ctx->fail, S3_ERR_INVALID_ARGUMENT,
                       "A query parameter holds a character that no header "
                       "may hold.");
    }

    if (rc != NGX_OK) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    return s3_operation_parse(r->pool, lcf->store ? S3_FACE_SERVE
                                                  : S3_FACE_GATEWAY,
                              &r->method_name, &ctx->target, ctx->headers.elts,
                              ctx->headers.nelts, &ctx->operation,
                              &ctx->fail);
}


static ngx_int_t
ngx_http_s3_collect_headers(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t        i, host;
    s3_header_t      *h;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    if (ngx_array_init(&ctx->headers, r->pool, 16, sizeof(s3_header_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    host = 0;
    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        h = ngx_array_push(&ctx->headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->name = header[i].key;
        h->value = header[i].value;

        if (h->name.len == 4
            && ngx_strncasecmp(h->name.data, (u_char *) "host", 4) == 0)
        {
            host = 1;
        }
    }

    /* HTTP/3's :authority is not in the list */

    if (!host && r->headers_in.server.len) {
        h = ngx_array_push(&ctx->headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&h->name, "host");

        if (r->host_start && r->host_end > r->host_start) {
            h->value.data = r->host_start;
            h->value.len = r->host_end - r->host_start;

        } else {
            h->value = r->headers_in.server;
        }
    }

    return NGX_OK;
}


/*
 * Signatures of presigned URLs stay valid for days and must reach no log.
 * nginx logs the request line ($request, error log), $request_uri and $args.
 * HTTP/2's request line is a copy of its own.
 */

static void
ngx_http_s3_mask(ngx_http_request_t *r)
{
    ngx_http_s3_mask_line(&r->request_line);
    ngx_http_s3_mask_line(&r->unparsed_uri);

    if (r->args.len) {
        ngx_http_s3_mask_args(r->args.data, r->args.data + r->args.len);
    }
}


static void
ngx_http_s3_mask_line(ngx_str_t *line)
{
    u_char  *p, *last;

    if (line->len == 0) {
        return;
    }

    last = line->data + line->len;

    p = ngx_strlchr(line->data, last, '?');

    if (p) {
        ngx_http_s3_mask_args(p + 1, last);
    }
}


/*
 * The first of the log phase: a request that nginx refused before a location
 * was found (a header too large) may have brought a good signature as well.
 */

ngx_int_t
ngx_http_s3_log_handler(ngx_http_request_t *r)
{
    u_char                  *p;
    ngx_str_t                line;
    ngx_http_s3_srv_conf_t  *scf;

    ngx_http_s3_count(r);

    scf = ngx_http_get_module_srv_conf(r, ngx_http_s3_module);

    if (!scf->serves) {
        return NGX_OK;
    }

    ngx_http_s3_mask(r);

    /* what $request is made of where the line has not ended */

    if (r->request_line.data == NULL && r->request_start && r->header_in) {

        for (p = r->request_start; p < r->header_in->last; p++) {
            if (*p == CR || *p == LF) {
                break;
            }
        }

        line.data = r->request_start;
        line.len = p - r->request_start;

        ngx_http_s3_mask_line(&line);
    }

    return NGX_OK;
}


static void
ngx_http_s3_mask_args(u_char *p, u_char *last)
{
    u_char      *start;
    size_t       len;
    u_char       name[32];
    ngx_str_t    raw;
    ngx_uint_t   i;

    static ngx_str_t  names[] = {
        ngx_string("x-amz-signature"),
        ngx_string("x-amz-credential"),
        ngx_string("x-amz-security-token"),
        ngx_string("signature"),
        ngx_string("awsaccesskeyid")
    };

    while (p < last) {

        start = p;

        while (p < last && *p != '=' && *p != '&' && *p != ' ') {
            p++;
        }

        if (p == last || *p != '=') {
            p++;
            continue;
        }

        /* names may be escaped, too; 3 bytes a character at most */

        raw.data = start;
        raw.len = p - start;

        p++;

        if (raw.len <= sizeof(name)
            && s3_uri_decode(name, &len, &raw, 1) == NGX_OK)
        {
            for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                if (names[i].len == len
                    && ngx_strncasecmp(names[i].data, name, len) == 0)
                {
                    while (p < last && *p != '&' && *p != ' ') {
                        *p++ = '*';
                    }

                    break;
                }
            }

        } else if (raw.len > sizeof(name) && raw.len <= 3 * sizeof(name)) {

            /* a long name with escapes is nobody's but a hider's */

            while (p < last && *p != '&' && *p != ' ') {
                *p++ = '*';
            }
        }

        while (p < last && *p != '&' && *p != ' ') {
            p++;
        }

        p++;
    }
}


ngx_int_t
ngx_http_s3_access_handler(ngx_http_request_t *r)
{
    s3_error_e               error;
    s3_auth_request_t        ar;
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (!ngx_http_s3_is_ours(lcf)) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx == NULL || !ctx->parsed) {
        return NGX_HTTP_FORBIDDEN;
    }

    ngx_memzero(&ar, sizeof(s3_auth_request_t));

    ar.pool = r->pool;
    ar.method = r->method_name;

    /*
     * The path as the client sees it, which is the one received, or, where a
     * proxy in front of us put our prefix before it, the one without.
     */

    ar.paths[ar.npaths++] = ctx->target.raw_path;

    if (ctx->target.raw_stripped.len
        && ctx->target.raw_stripped.len != ctx->target.raw_path.len)
    {
        ar.paths[ar.npaths++] = ctx->target.raw_stripped;
    }

    if (ctx->target.virtual_host) {
        ar.bucket = ctx->target.bucket;
    }

    ar.query = ctx->target.raw_query;
    ar.headers = ctx->headers.elts;
    ar.nheaders = ctx->nreal;
    ar.now = ngx_time();
    ar.skew = lcf->clock_skew;
    ar.region = lcf->region;

    error = s3_auth_verify(&ar, lcf->credentials->set, &ctx->auth,
                           &ctx->fail);

    if (error == S3_OK) {
        error = lcf->store ? ngx_http_s3_expected_owner(ctx)
                           : ngx_http_s3_gateway_create(r, ctx);
    }

    if (error == S3_OK) {
        ctx->authorized = 1;

        ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                       "s3 request signed by \"%V\"", &ctx->auth.access_key);

        return NGX_OK;
    }

    ngx_http_finalize_request(r, ngx_http_s3_send_error(r, ctx));

    return NGX_DONE;
}


/*
 * The owner of all buckets is who asks, see s3_owner(): that is the id which
 * lists and ACLs show, and which clients send back to be sure of it.
 */

static s3_error_e
ngx_http_s3_expected_owner(ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t    i, n;
    s3_owner_t    owner;
    s3_header_t  *h;

    static ngx_str_t  names[] = {
        ngx_string("x-amz-expected-bucket-owner"),
        ngx_string("x-amz-source-expected-bucket-owner")
    };

    if (s3_owner(&owner, &ctx->auth.access_key) != NGX_OK) {
        return s3_fail(&ctx->fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    h = ctx->headers.elts;

    for (i = 0; i < ctx->headers.nelts; i++) {
        for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {

            if (h[i].name.len == names[n].len
                && ngx_strncasecmp(h[i].name.data, names[n].data,
                                   names[n].len)
                   == 0
                && (h[i].value.len != owner.id.len
                    || ngx_memcmp(h[i].value.data, owner.id.data,
                                  owner.id.len)
                       != 0))
            {
                return s3_fail(&ctx->fail, S3_ERR_ACCESS_DENIED, NULL);
            }
        }
    }

    return S3_OK;
}


/*
 * A gateway stands before whatever handler the location has: nginx's proxy,
 * that of an "if" within it.
 */

ngx_int_t
ngx_http_s3_precontent_handler(ngx_http_request_t *r)
{
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if ((!lcf->gateway && !lcf->health_upstream)
        || r->content_handler == ngx_http_s3_gateway_handler
        || r->content_handler == ngx_http_s3_gateway_health)
    {
        return NGX_DECLINED;
    }

    if (r->content_handler == NULL) {
        return NGX_HTTP_FORBIDDEN;
    }

    if (lcf->health_upstream) {

        if (r != r->main || ngx_http_s3_gateway_open(r) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

        ctx->gateway->proxy = r->content_handler;
        r->content_handler = ngx_http_s3_gateway_health;

        return NGX_DECLINED;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ngx_http_s3_no_verdict(r, ctx)) {
        return NGX_HTTP_FORBIDDEN;
    }

    ctx->gateway->proxy = r->content_handler;
    r->content_handler = ngx_http_s3_gateway_handler;

    return NGX_DECLINED;
}


/*
 * nginx skips the access phase for subrequests: what has no verdict of its
 * own is not served.
 */

ngx_uint_t
ngx_http_s3_no_verdict(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (r == r->main && ctx && ctx->authorized) {
        return 0;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "request without a verdict on its signature refused "
                  "(a subrequest?)");
    return 1;
}


ngx_int_t
ngx_http_s3_content_handler(ngx_http_request_t *r)
{
    ngx_http_s3_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ngx_http_s3_no_verdict(r, ctx)) {
        return NGX_HTTP_FORBIDDEN;
    }

    if (ngx_http_s3_client(r) == NULL) {
        return ngx_http_s3_refuse(r, ctx, S3_ERR_SERVICE_UNAVAILABLE, NULL);
    }

    if (ctx->operation->body == S3_BODY_NONE
        && ngx_http_s3_body_taken_away(r, ctx))
    {
        return ngx_http_s3_refuse(r, ctx,
                                  S3_ERR_X_AMZ_CONTENT_SHA256_MISMATCH, NULL);
    }

    switch (ctx->operation->id) {

    case S3_OP_LIST_BUCKETS:
        return ngx_http_s3_list_buckets(r, ctx);

    case S3_OP_CREATE_BUCKET:
        return ngx_http_s3_create_bucket(r, ctx);

    case S3_OP_HEAD_BUCKET:
        return ngx_http_s3_head_bucket(r, ctx);

    case S3_OP_DELETE_BUCKET:
        return ngx_http_s3_delete_bucket(r, ctx);

    case S3_OP_GET_BUCKET_LOCATION:
        return ngx_http_s3_get_bucket_location(r, ctx);

    case S3_OP_LIST_OBJECTS_V2:
    case S3_OP_LIST_OBJECTS:
    case S3_OP_LIST_OBJECT_VERSIONS:
        return ngx_http_s3_list_objects(r, ctx);

    case S3_OP_COPY_OBJECT:
        return ngx_http_s3_copy_object(r, ctx);

    case S3_OP_PUT_OBJECT:
        return ngx_http_s3_put_object(r, ctx);

    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:
        return ngx_http_s3_get_object(r, ctx);

    case S3_OP_DELETE_OBJECT:
        return ngx_http_s3_delete_object(r, ctx);

    case S3_OP_DELETE_OBJECTS:
        return ngx_http_s3_delete_objects(r, ctx);

    case S3_OP_GET_OBJECT_ATTRIBUTES:
        return ngx_http_s3_get_object_attributes(r, ctx);

    case S3_OP_CREATE_MULTIPART_UPLOAD:
        return ngx_http_s3_create_multipart_upload(r, ctx);

    case S3_OP_UPLOAD_PART:
    case S3_OP_UPLOAD_PART_COPY:
        return ngx_http_s3_upload_part(r, ctx);

    case S3_OP_COMPLETE_MULTIPART_UPLOAD:
        return ngx_http_s3_complete_multipart_upload(r, ctx);

    case S3_OP_ABORT_MULTIPART_UPLOAD:
        return ngx_http_s3_abort_multipart_upload(r, ctx);

    case S3_OP_LIST_PARTS:
        return ngx_http_s3_list_parts(r, ctx);

    case S3_OP_LIST_MULTIPART_UPLOADS:
        return ngx_http_s3_list_multipart_uploads(r, ctx);

    default:
        return ngx_http_s3_habitual(r, ctx);
    }
}


ngx_http_s3_ctx_t *
ngx_http_s3_ctx(ngx_http_request_t *r)
{
    u_char              random[NGX_HTTP_S3_REQUEST_ID / 2];
    ngx_uint_t          i;
    ngx_http_s3_ctx_t  *ctx;

    static const u_char  hex[] = "0123456789ABCDEF";

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    if (ctx) {
        return ctx;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NULL;
    }

    for (i = 0; i < sizeof(random); i++) {
        ctx->request_id_text[2 * i] = hex[random[i] >> 4];
        ctx->request_id_text[2 * i + 1] = hex[random[i] & 0xf];
    }

    ctx->request_id.data = ctx->request_id_text;
    ctx->request_id.len = NGX_HTTP_S3_REQUEST_ID;
    ctx->request = r;

    ngx_http_set_ctx(r, ctx, ngx_http_s3_module);

    return ctx;
}


ngx_str_t *
ngx_http_s3_host_id(void)
{
    u_char         digest[EVP_MAX_MD_SIZE];
    ngx_str_t      src;
    unsigned int   len;

    static u_char     text[ngx_base64_encoded_length(EVP_MAX_MD_SIZE)];
    static ngx_str_t  id;

    if (id.len == 0) {
        if (EVP_Digest(ngx_cycle->hostname.data, ngx_cycle->hostname.len,
                       digest, &len, EVP_sha256(), NULL)
            != 1)
        {
            return &id;
        }

        src.data = digest;
        src.len = len;

        id.data = text;
        ngx_encode_base64(&id, &src);
    }

    return &id;
}


ngx_int_t
ngx_http_s3_wait(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx, ngx_msec_t ms)
{
    ngx_pool_cleanup_t  *pcln;
    ngx_http_cleanup_t  *cln;

    if (!ctx->cleanup) {

        /*
         * Two cleanups: nothing may resume a request that is being ended, but
         * its pieces must live until the last frame that points to them is
         * gone, which HTTP/2 waits for before it destroys the pool.
         */

        pcln = ngx_pool_cleanup_add(r->pool, 0);
        cln = ngx_http_cleanup_add(r, 0);

        if (pcln == NULL || cln == NULL) {
            return NGX_ERROR;
        }

        pcln->handler = ngx_http_s3_pool_cleanup;
        pcln->data = ctx;

        cln->handler = ngx_http_s3_cleanup;
        cln->data = ctx;

        ctx->timer.handler = ngx_http_s3_wait_handler;
        ctx->timer.data = ctx;
        ctx->timer.log = r->connection->log;

        ctx->cleanup = 1;
    }

    if (ms) {
        ngx_add_timer(&ctx->timer, ms);
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_s3_go_on(ngx_http_s3_ctx_t *ctx)
{
    if (ctx->closed) {
        return 0;
    }

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    ngx_http_set_log_request(ctx->request->connection->log, ctx->request);

    return 1;
}


void
ngx_http_s3_release(ngx_http_s3_ctx_t *ctx)
{
    s3_client_t             *client;
    ngx_http_s3_loc_conf_t  *lcf;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->calling) {
        lcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_s3_module);
        client = lcf->store->client;

        ctx->calling = 0;

        if (client) {
            s3_client_cancel(client, &ctx->call);
        }
    }

    if (ctx->cancel) {
        ctx->cancel(ctx);
        ctx->cancel = NULL;
    }

    if (ctx->upload) {
        s3_upload_abort(ctx->upload);
        ctx->upload = NULL;
    }

    if (ctx->payload) {
        ngx_http_s3_payload_release(ctx->payload);
        ctx->payload = NULL;
    }
}


s3_call_t *
ngx_http_s3_call(ngx_http_s3_ctx_t *ctx, ngx_http_s3_answer_pt answer)
{
    ngx_memzero(&ctx->call, sizeof(s3_call_t));

    ctx->call.handler = ngx_http_s3_answered;
    ctx->call.data = ctx;
    ctx->answer = answer;

    return &ctx->call;
}


ngx_int_t
ngx_http_s3_asked(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx, int status)
{
    ngx_http_s3_loc_conf_t  *lcf;

    if (status != S3_STORE_OK) {
        (void) ngx_http_s3_store_error(ctx, status);
        return ngx_http_s3_send_error(r, ctx);
    }

    ctx->calling = 1;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_http_s3_wait(r, ctx, lcf->timeout) != NGX_OK) {
        ngx_http_s3_release(ctx);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_s3_answered(s3_call_t *call)
{
    int                  status;
    ngx_int_t            rc;
    s3_object_t          object;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    ctx = call->data;
    ctx->calling = 0;

    /* the call goes with the request, or is used for the next question */

    object = call->object;

    if (!ngx_http_s3_go_on(ctx)) {
        s3_object_free(&object);
        return;
    }

    r = ctx->request;

    status = call->status != S3_STORE_OK ? call->status
                                         : call->verdict.status;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "s3 %V answered: %s", &ctx->operation->name,
                   s3_store_status_text(status));

    rc = ctx->answer(r, ctx, status);

    s3_object_free(&object);

    ngx_http_s3_result(r, ctx, rc);
}


void
ngx_http_s3_result(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_int_t rc)
{
    ngx_connection_t  *c;

    c = r->connection;

    if (rc == NGX_DECLINED) {
        ngx_http_s3_end_failed(r, ctx);

    } else {

        /* NGX_DONE gives back the count that was held up to here */

        ngx_http_finalize_request(r, rc);
    }

    ngx_http_run_posted_requests(c);
}


ngx_int_t
ngx_http_s3_failed(ngx_http_s3_ctx_t *ctx, int status)
{
    (void) ngx_http_s3_store_error(ctx, status);

    return NGX_DECLINED;
}


static void
ngx_http_s3_wait_handler(ngx_event_t *ev)
{
    ngx_connection_t    *c;
    ngx_http_s3_ctx_t   *ctx;
    ngx_http_request_t  *r;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (ctx->too_slow) {
        (void) ngx_http_s3_too_slow(ctx);

        /* its memory goes with the request, which does not linger for it */

        r->reading_body = 0;
        r->lingering_close = 0;

        ngx_http_s3_result(r, ctx, NGX_DECLINED);
        return;
    }

    if ((ctx->upload && s3_upload_waits(ctx->upload))
        || (ctx->download && s3_download_waits(ctx->download)))
    {
        ngx_log_error(NGX_LOG_WARN, c->log, 0,
                      "others hold all of s3_memory for too long");

        (void) ngx_http_s3_turn_away(ctx, NGX_HTTP_S3_REASON_MEMORY);

    } else {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "the store did not answer within its time");

        (void) ngx_http_s3_turn_away(ctx, NGX_HTTP_S3_REASON_TIMEOUT);
    }

    ngx_http_s3_result(r, ctx, NGX_DECLINED);
}


static void
ngx_http_s3_cleanup(void *data)
{
    ngx_http_s3_ctx_t  *ctx = data;

    ctx->closed = 1;

    ngx_http_s3_ask_cancel(ctx);
    ngx_http_s3_release(ctx);
}


static void
ngx_http_s3_pool_cleanup(void *data)
{
    ngx_http_s3_ctx_t  *ctx = data;

    if (ctx->download) {
        s3_download_close(ctx->download);
        ctx->download = NULL;
    }
}
