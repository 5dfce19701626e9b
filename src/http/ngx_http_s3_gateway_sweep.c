
/*
 * Records that nobody needs any more.
 *
 *     of an upload that was completed or aborted   at once, behind the answer
 *     of an object that was deleted                the same
 *     of anything else (overwritten, deleted by    when other records have been
 *     DeleteObjects or past us)                    written: from somewhere in
 *                                                  the bucket a few are looked
 *                                                  at, and those go whose
 *                                                  object has another entity
 *                                                  tag by now, or is gone, or
 *                                                  whose upload is
 *
 * So what is left over does not grow beyond about what is in use: for each
 * record that is written two others are looked at, sixteen behind one of eight,
 * by lot, since a list costs the upstream more than what is listed (Ceph asks
 * all shards of the bucket's index).  No gateway needs to remember, and none to
 * be told.  A record younger than an hour (s3_checksums_bucket) is left
 * alone: its object may be about to be.
 *
 * Nobody waits for a sweep but the next request on the same connection; what
 * fails in it is left for another one.
 */


#include "ngx_http_s3_gateway.h"

#include <openssl/evp.h>
#include <openssl/rand.h>


#define NGX_HTTP_S3_SWEEP_SOME  16
#define NGX_HTTP_S3_SWEEP_LOTS  8
#define NGX_HTTP_S3_SWEEP_MAX   (1024 * 1024)


typedef struct {
    ngx_http_s3_ctx_t            *ctx;
    ngx_http_request_t           *request;

    /* an upload's */
    ngx_str_t                     upload;     /* key of its record */
    ngx_str_t                     prefix;     /* of its parts' */
    ngx_str_t                     after;      /* the last one deleted */
    ngx_uint_t                    truncated;
    ngx_array_t                   keys;       /* ngx_str_t */

    /* some */
    ngx_uint_t                    at;
    s3_mark_body_t                body;
    unsigned                      around:1;   /* begun at the first */
} ngx_http_s3_sweep_t;


static ngx_http_s3_sweep_t *ngx_http_s3_sweep_create(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_sweep_list(ngx_http_s3_sweep_t *s, ngx_str_t *after,
    ngx_uint_t max, ngx_http_s3_resume_pt listed);
static void ngx_http_s3_sweep_object_listed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_sweep_parts(ngx_http_s3_sweep_t *s);
static void ngx_http_s3_sweep_listed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_sweep_row(void *data,
    s3_upstream_leaf_t *leaves);
static void ngx_http_s3_sweep_delete(ngx_http_s3_sweep_t *s);
static void ngx_http_s3_sweep_deleted(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_sweep_document(ngx_http_s3_sweep_t *s,
    ngx_http_s3_ask_t *ask);
static void ngx_http_s3_sweep_some_listed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static ngx_int_t ngx_http_s3_sweep_some_row(void *data,
    s3_upstream_leaf_t *leaves);
static void ngx_http_s3_sweep_next(ngx_http_s3_sweep_t *s);
static void ngx_http_s3_sweep_read(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_sweep_looked(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_sweep_versions(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
static void ngx_http_s3_sweep_gone(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);


static ngx_http_s3_sweep_t *
ngx_http_s3_sweep_create(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_sweep_t  *s;

    s = ngx_pcalloc(r->pool, sizeof(ngx_http_s3_sweep_t));

    if (s == NULL
        || ngx_array_init(&s->keys, r->pool, 16, sizeof(ngx_str_t)) != NGX_OK)
    {
        return NULL;
    }

    s->request = r;
    s->ctx = ctx;

    return s;
}


/* records of its prefix, behind one of them or from the first */

static void
ngx_http_s3_sweep_list(ngx_http_s3_sweep_t *s, ngx_str_t *after,
    ngx_uint_t max, ngx_http_s3_resume_pt listed)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_record_list(s->request, &s->prefix, after, max);

    if (ask) {
        ask->resume = listed;
        ask->data = s;

        (void) ngx_http_s3_ask(s->request, s->ctx, ask);
    }
}


/* ---- an object */


void
ngx_http_s3_sweep_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ngx_http_s3_sweep_t  *s;

    s = ngx_http_s3_sweep_create(r, ctx);

    if (s == NULL
        || s3_mark_records_prefix(r->pool, &ctx->target.bucket,
                                  &ctx->target.key, &s->prefix)
           != NGX_OK)
    {
        return;
    }

    ngx_http_s3_sweep_list(s, NULL, 999, ngx_http_s3_sweep_object_listed);
}


static void
ngx_http_s3_sweep_object_listed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_uint_t            more;
    ngx_http_s3_sweep_t  *s;

    s = ask->data;

    if (ngx_http_s3_record_listed(ask, ngx_http_s3_sweep_some_row, s, &more)
        == NGX_OK
        && s->keys.nelts)
    {
        ngx_http_s3_sweep_delete(s);
    }
}


/* ---- an upload */


void
ngx_http_s3_sweep_upload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *upload_id)
{
    ngx_http_s3_sweep_t  *s;

    s = ngx_http_s3_sweep_create(r, ctx);

    if (s == NULL
        || s3_mark_upload_key(r->pool, bucket, key, upload_id, &s->upload)
           != NGX_OK
        || s3_mark_parts_prefix(r->pool, bucket, key, upload_id, &s->prefix)
           != NGX_OK)
    {
        return;
    }

    ngx_http_s3_sweep_parts(s);
}


static void
ngx_http_s3_sweep_parts(ngx_http_s3_sweep_t *s)
{
    s->keys.nelts = 0;

    /* those before may have stayed, where we may not delete them */

    ngx_http_s3_sweep_list(s, s->after.len ? &s->after : NULL, 999,
                           ngx_http_s3_sweep_listed);
}


static void
ngx_http_s3_sweep_listed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t            *key;
    ngx_http_s3_sweep_t  *s;

    s = ask->data;

    if (ngx_http_s3_record_listed(ask, ngx_http_s3_sweep_row, s,
                                  &s->truncated)
        != NGX_OK)
    {
        return;
    }

    if (s->keys.nelts) {
        key = s->keys.elts;
        s->after = key[s->keys.nelts - 1];
    }

    /* the upload's last: with it the others are found again */

    if (!s->truncated) {
        key = ngx_array_push(&s->keys);
        if (key == NULL) {
            return;
        }

        *key = s->upload;
    }

    ngx_http_s3_sweep_delete(s);
}


static ngx_int_t
ngx_http_s3_sweep_row(void *data, s3_upstream_leaf_t *leaves)
{
    ngx_str_t            *key;
    ngx_http_s3_sweep_t  *s = data;

    key = ngx_array_push(&s->keys);
    if (key == NULL) {
        return NGX_ERROR;
    }

    *key = leaves[0].value;

    return NGX_OK;
}


static void
ngx_http_s3_sweep_delete(ngx_http_s3_sweep_t *s)
{
    ngx_http_s3_ask_t  *ask;

    ask = ngx_http_s3_record_create(s->request, "POST", NULL);

    if (ask == NULL || ngx_http_s3_sweep_document(s, ask) != NGX_OK) {
        return;
    }

    ngx_str_set(&ask->query, "delete");

    ask->max = NGX_HTTP_S3_SWEEP_MAX;
    ask->resume = ngx_http_s3_sweep_deleted;
    ask->data = s;

    (void) ngx_http_s3_ask(s->request, s->ctx, ask);
}


static ngx_int_t
ngx_http_s3_sweep_document(ngx_http_s3_sweep_t *s, ngx_http_s3_ask_t *ask)
{
    u_char         digest[EVP_MAX_MD_SIZE];
    s3_xml_t       x;
    ngx_str_t     *key, src, text;
    ngx_uint_t     i;
    EVP_MD_CTX    *md;
    ngx_chain_t   *cl;
    ngx_pool_t    *pool;
    unsigned int   len;

    pool = s->request->pool;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "Delete");
    s3_xml_bool(&x, "Quiet", 1);

    key = s->keys.elts;

    for (i = 0; i < s->keys.nelts; i++) {
        s3_xml_open(&x, "Object");
        s3_xml_text(&x, "Key", &key[i]);
        s3_xml_close(&x, "Object");
    }

    s3_xml_close(&x, "Delete");

    ask->body = s3_xml_end(&x);
    ask->body_size = x.size;

    text.data = ngx_pnalloc(pool, ngx_base64_encoded_length(16));
    md = EVP_MD_CTX_new();

    if (ask->body == NULL || text.data == NULL || md == NULL
        || EVP_DigestInit_ex(md, EVP_md5(), NULL) != 1)
    {
        EVP_MD_CTX_free(md);
        return NGX_ERROR;
    }

    for (cl = ask->body; cl; cl = cl->next) {
        (void) EVP_DigestUpdate(md, cl->buf->pos,
                                cl->buf->last - cl->buf->pos);
    }

    if (EVP_DigestFinal_ex(md, digest, &len) != 1) {
        EVP_MD_CTX_free(md);
        return NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    src.data = digest;
    src.len = len;

    ngx_encode_base64(&text, &src);

    return s3_upstream_header(&ask->headers, "content-md5", &text);
}


static void
ngx_http_s3_sweep_deleted(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_sweep_t  *s;

    s = ask->data;

    if (s->truncated && ask->status == NGX_HTTP_OK) {
        ngx_http_s3_sweep_parts(s);
    }
}


/* ---- some */


void
ngx_http_s3_sweep_some(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    u_char                random[32], *p;
    ngx_str_t             after;
    ngx_http_s3_sweep_t  *s;

    if (RAND_bytes(random, sizeof(random)) != 1
        || random[1] % NGX_HTTP_S3_SWEEP_LOTS)
    {
        return;
    }

    s = ngx_http_s3_sweep_create(r, ctx);
    p = ngx_pnalloc(r->pool, 2 + 2 * sizeof(random));

    if (s == NULL || p == NULL) {
        return;
    }

    /* uploads one time in four: there are fewer of them */

    if (random[0] & 3) {
        ngx_str_set(&s->prefix, S3_MARK_OBJECTS);

    } else {
        ngx_str_set(&s->prefix, S3_MARK_UPLOADS);
    }

    after.data = p;

    p = ngx_cpymem(p, s->prefix.data, s->prefix.len);
    p = ngx_hex_dump(p, random, sizeof(random));

    after.len = p - after.data;

    ngx_http_s3_sweep_list(s, &after, NGX_HTTP_S3_SWEEP_SOME,
                           ngx_http_s3_sweep_some_listed);
}


static void
ngx_http_s3_sweep_some_listed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_sweep_t  *s;

    s = ask->data;

    if (ngx_http_s3_record_listed(ask, ngx_http_s3_sweep_some_row, s,
                                  &s->truncated)
        != NGX_OK)
    {
        return;
    }

    /* behind the last one is the first */

    if (s->keys.nelts == 0 && !s->truncated && !s->around) {
        s->around = 1;
        ngx_http_s3_sweep_list(s, NULL, NGX_HTTP_S3_SWEEP_SOME,
                               ngx_http_s3_sweep_some_listed);
        return;
    }

    ngx_http_s3_sweep_next(s);
}


static ngx_int_t
ngx_http_s3_sweep_some_row(void *data, s3_upstream_leaf_t *leaves)
{
    int64_t                  time;
    ngx_http_s3_sweep_t     *s = data;
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(s->request, ngx_http_s3_module);

    time = s3_upstream_time(&leaves[1].value);

    if (time == 0 || time / 1000 + lcf->upstream.orphans > ngx_time()) {
        return NGX_OK;
    }

    return ngx_http_s3_sweep_row(data, leaves);
}


static void
ngx_http_s3_sweep_next(ngx_http_s3_sweep_t *s)
{
    ngx_str_t          *key;
    ngx_http_s3_ask_t  *ask;

    if (s->at == s->keys.nelts) {
        return;
    }

    key = s->keys.elts;

    ask = ngx_http_s3_record_create(s->request, "GET", &key[s->at]);

    if (ask) {
        ask->max = NGX_HTTP_S3_SWEEP_MAX;
        ask->resume = ngx_http_s3_sweep_read;
        ask->data = s;

        (void) ngx_http_s3_ask(s->request, s->ctx, ask);
    }
}


/* whose record is it? */

static void
ngx_http_s3_sweep_read(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_ask_t    *look;
    ngx_http_s3_sweep_t  *s;

    s = ask->data;

    if (ask->status != NGX_HTTP_OK || ask->too_large
        || s3_mark_body_read(r->pool, ask->out, ask->size, &s->body)
           != NGX_OK)
    {
        return;
    }

    if (ask->key.data[0] == S3_MARK_UPLOADS[0]) {

        look = ngx_http_s3_ask_create(r, "GET", &s->body.bucket,
                                      &s->body.key);
        if (look == NULL) {
            return;
        }

        ngx_str_set(&look->query, "max-parts=1");

        if (s3_upstream_arg(r->pool, &look->query, "uploadId",
                            &s->body.upload_id)
            != NGX_OK)
        {
            return;
        }

    } else {
        look = ngx_http_s3_ask_create(r, "HEAD", &s->body.bucket,
                                      &s->body.key);
        if (look == NULL) {
            return;
        }
    }

    look->service = 1;
    look->resume = ngx_http_s3_sweep_looked;
    look->data = s;

    (void) ngx_http_s3_ask(r, ctx, look);
}


/*
 * Gone is what is not there, and an object with another entity tag.  What the
 * location's own credential may not see is left alone.
 */

static void
ngx_http_s3_sweep_looked(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t            *key, *etag, tag, name;
    ngx_uint_t            gone;
    ngx_http_s3_ask_t    *look;
    ngx_http_s3_sweep_t  *s;

    s = ask->data;
    key = s->keys.elts;

    gone = (ask->status == NGX_HTTP_NOT_FOUND);

    if (ask->query.len == 0 && ask->status == NGX_HTTP_OK) {

        etag = ngx_http_s3_ask_header(ask, "etag");

        if (etag) {
            tag = *etag;
            s3_upstream_unquote(&tag);

            gone = s3_mark_record_key(r->pool, &s->body.bucket, &s->body.key,
                                      &tag, &name)
                   == NGX_OK
                   && (name.len != key[s->at].len
                       || ngx_memcmp(name.data, key[s->at].data, name.len)
                          != 0);
        }
    }

    if (!gone) {
        s->at++;
        ngx_http_s3_sweep_next(s);
        return;
    }

    if (ask->query.len) {
        ngx_http_s3_sweep_upload(r, ctx, &s->body.bucket, &s->body.key,
                                 &s->body.upload_id);
        return;
    }

    ngx_str_null(&name);

    look = ngx_http_s3_ask_create(r, "GET", &s->body.bucket, &name);

    if (look) {
        ngx_str_set(&look->query, "versioning");

        look->max = NGX_HTTP_S3_ASK_ERROR;
        look->service = 1;
        look->resume = ngx_http_s3_sweep_versions;
        look->data = s;

        (void) ngx_http_s3_ask(r, ctx, look);
    }
}


/* in a bucket that has or had versions it may be an older one's */

static void
ngx_http_s3_sweep_versions(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_str_t            *key;
    s3_upstream_xml_t     x;
    s3_upstream_leaf_t    leaf;
    ngx_http_s3_ask_t    *remove;
    ngx_http_s3_sweep_t  *s;

    s = ask->data;
    key = s->keys.elts;

    ngx_memzero(&x, sizeof(s3_upstream_xml_t));
    ngx_memzero(&leaf, sizeof(s3_upstream_leaf_t));

    leaf.name = "Status";

    x.pool = r->pool;
    x.root = "VersioningConfiguration";
    x.top = &leaf;
    x.ntop = 1;

    if (ask->status != NGX_HTTP_NOT_FOUND
        && (ask->status != NGX_HTTP_OK
            || s3_upstream_read(&x, ask->out) != NGX_OK
            || leaf.value.len))
    {
        s->at++;
        ngx_http_s3_sweep_next(s);
        return;
    }

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "s3 sweeps record %V", &key[s->at]);

    remove = ngx_http_s3_record_create(r, "DELETE", &key[s->at]);

    if (remove) {
        remove->resume = ngx_http_s3_sweep_gone;
        remove->data = s;

        (void) ngx_http_s3_ask(r, ctx, remove);
    }
}


static void
ngx_http_s3_sweep_gone(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_sweep_t  *s;

    s = ask->data;

    s->at++;
    ngx_http_s3_sweep_next(s);
}
