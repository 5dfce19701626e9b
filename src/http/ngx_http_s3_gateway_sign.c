
/*
 * How a request is addressed and signed: what nginx's proxy evaluates when it
 * makes the request.
 *
 *     proxy_set_header Host                 $s3_upstream_host;
 *     proxy_set_header X-Amz-Date           $s3_amz_date;
 *     proxy_set_header X-Amz-Content-Sha256 $s3_content_sha256;
 *     proxy_set_header Authorization        $s3_authorization;
 *
 * All of it is of the moment at which a request is made: a slice of a long
 * download, or a cache's question whether it still holds, is signed for its own
 * time.  What is signed is what is sent: its method, its target as it stands
 * in r->unparsed_uri, headers of r->headers_in.
 */


#include "ngx_http_s3_gateway.h"
#include "s3_date.h"

#include <openssl/evp.h>
#include <openssl/sha.h>


static ngx_int_t ngx_http_s3_value(ngx_http_variable_value_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_http_s3_host_of(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *host);
static ngx_http_s3_ctx_t *ngx_http_s3_gateway_ctx(ngx_http_request_t *r,
    ngx_http_s3_ask_t **ask);
static ngx_int_t ngx_http_s3_signed_headers(ngx_http_request_t *r,
    ngx_array_t *headers);
static ngx_int_t ngx_http_s3_cache_headers(ngx_http_request_t *r,
    ngx_uint_t emulate, u_char *hex);


static ngx_str_t  ngx_http_s3_unsigned = ngx_string("UNSIGNED-PAYLOAD");
static ngx_str_t  ngx_http_s3_trailer =
                              ngx_string("STREAMING-UNSIGNED-PAYLOAD-TRAILER");

#define ngx_http_s3_payload(ctx, ask)                                        \
    ((ask) == NULL && (ctx)->gateway->tail.len ? &ngx_http_s3_trailer        \
                                               : &ngx_http_s3_unsigned)


/*
 * The context of the client's request; NULL: it is none that has been let in.
 * A subrequest that is not ours (a slice, a cache's update) is the client's
 * request once more.
 */

static ngx_http_s3_ctx_t *
ngx_http_s3_gateway_ctx(ngx_http_request_t *r, ngx_http_s3_ask_t **ask)
{
    ngx_http_s3_ctx_t  *ctx;

    *ask = NULL;

    if (r != r->main) {
        ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

        if (ctx) {
            *ask = ctx->ask;
        }
    }

    ctx = ngx_http_get_module_ctx(r->main, ngx_http_s3_module);

    return ctx && ctx->gateway
           && (*ask || (ctx->authorized && ctx->gateway->rewritten))
           ? ctx : NULL;
}


ngx_int_t
ngx_http_s3_authorization(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                  *p, date[S3_DATE_BASIC_LEN];
    ngx_str_t                value;
    ngx_array_t              headers;
    ngx_http_s3_ctx_t       *ctx;
    ngx_http_s3_ask_t       *ask;
    s3_sigv4_request_t       s;
    ngx_http_s3_gateway_t   *gw;
    ngx_http_s3_loc_conf_t  *lcf;

    ctx = ngx_http_s3_gateway_ctx(r, &ask);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    gw = ctx->gateway;
    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (ngx_array_init(&headers, r->pool, 16, sizeof(s3_header_t)) != NGX_OK
        || ngx_http_s3_signed_headers(r, &headers) != NGX_OK
        || ngx_http_s3_host_of(r, ctx, &value) != NGX_OK
        || s3_upstream_header(&headers, "host", &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(&s, sizeof(s3_sigv4_request_t));

    s.pool = r->pool;
    s.now = ngx_time();
    s.region = lcf->upstream.region;
    s.payload = *ngx_http_s3_payload(ctx, ask);

    /* a cache may have made a GET of HEAD */

    s.method = r->upstream && r->upstream->method.len ? r->upstream->method
                                                      : r->method_name;

    s.path = r->unparsed_uri;

    p = ngx_strlchr(s.path.data, s.path.data + s.path.len, '?');

    if (p) {
        s.query.data = p + 1;
        s.query.len = s.path.data + s.path.len - s.query.data;
        s.path.len = p - s.path.data;
    }

    (void) s3_date_basic(date, s.now);

    value.data = date;
    value.len = S3_DATE_BASIC_LEN;

    if (s3_upstream_header(&headers, "x-amz-date", &value) != NGX_OK
        || s3_upstream_header(&headers, "x-amz-content-sha256", &s.payload)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    s.headers = headers.elts;
    s.nheaders = headers.nelts;

    if (s3_sigv4_authorization(&s, ask && ask->service ? gw->service
                                                       : gw->client, &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    gw->signed_once = 1;

#if (NGX_HTTP_CACHE)
    if (ask == NULL && r == r->main && r->upstream && r->upstream->cacheable) {
        gw->for_cache = 1;
    }
#endif

    return ngx_http_s3_value(v, &value);
}


ngx_int_t
ngx_http_s3_amz_date(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t           value;
    ngx_http_s3_ask_t  *ask;

    if (ngx_http_s3_gateway_ctx(r, &ask) == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    value.data = ngx_pnalloc(r->pool, S3_DATE_BASIC_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = s3_date_basic(value.data, ngx_time()) - value.data;

    return ngx_http_s3_value(v, &value);
}


ngx_int_t
ngx_http_s3_content_sha256(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_s3_ctx_t  *ctx;
    ngx_http_s3_ask_t  *ask;

    ctx = ngx_http_s3_gateway_ctx(r, &ask);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_s3_value(v, ngx_http_s3_payload(ctx, ask));
}


ngx_int_t
ngx_http_s3_upstream_host(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t           value;
    ngx_http_s3_ctx_t  *ctx;
    ngx_http_s3_ask_t  *ask;

    ctx = ngx_http_s3_gateway_ctx(r, &ask);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (ngx_http_s3_host_of(r, ctx, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_s3_value(v, &value);
}


/*
 * Which answer of the upstream's it is that a request gets: whose rights it is
 * asked for with, what, and how (x-amz-*: a key that the object is encrypted
 * with, whether its checksum is wanted).  Of the upstream's names the first
 * would do, were there not caches that several locations share.
 */

ngx_int_t
ngx_http_s3_cache_key(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char              how[2 * SHA256_DIGEST_LENGTH];
    ngx_int_t           rc;
    ngx_str_t           value, host;
    ngx_http_s3_ctx_t  *ctx;
    ngx_http_s3_ask_t  *ask;

    ctx = ngx_http_s3_gateway_ctx(r, &ask);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    rc = ngx_http_s3_cache_headers(r, ctx->gateway->emulate, how);

    if (rc == NGX_ERROR || ngx_http_s3_host_of(r, ctx, &host) != NGX_OK) {
        return NGX_ERROR;
    }

    value.data = ngx_pnalloc(r->pool, ctx->gateway->client->access_key.len + 2
                                      + host.len + r->unparsed_uri.len
                                      + sizeof(how) + sizeof("#HEAD"));
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%V@%V%V",
                            &ctx->gateway->client->access_key, &host,
                            &r->unparsed_uri)
                - value.data;

    if (rc == NGX_OK) {
        value.data[value.len++] = '#';
        ngx_memcpy(value.data + value.len, how, sizeof(how));
        value.len += sizeof(how);
    }

    if (r->method == NGX_HTTP_HEAD && r->upstream
        && r->upstream->method.len == 0)
    {
        /* proxy_cache_convert_head is off: no answer to GET */

        value.len = ngx_sprintf(value.data + value.len, "#HEAD") - value.data;
    }

    if (ask == NULL && r == r->main) {
        ctx->gateway->cache_key = value;
    }

    return ngx_http_s3_value(v, &value);
}


/* their hash in hex, for one may be a secret; NGX_DECLINED: there are none */

static ngx_int_t
ngx_http_s3_cache_headers(ngx_http_request_t *r, ngx_uint_t emulate,
    u_char *hex)
{
    u_char         digest[EVP_MAX_MD_SIZE];
    ngx_int_t      rc;
    ngx_uint_t     i;
    EVP_MD_CTX    *md;
    ngx_array_t    headers;
    s3_header_t   *h;
    unsigned int   len;

    if (ngx_array_init(&headers, r->pool, 16, sizeof(s3_header_t)) != NGX_OK
        || ngx_http_s3_signed_headers(r, &headers) != NGX_OK)
    {
        return NGX_ERROR;
    }

    s3_upstream_drop(&headers, "content-*");

    if (emulate) {

        /* answered by us, see ngx_http_s3_gateway_check.c */

        s3_upstream_drop(&headers, "x-amz-expected-bucket-owner");
    }

    if (headers.nelts == 0) {
        return NGX_DECLINED;
    }

    md = EVP_MD_CTX_new();
    rc = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 ? NGX_OK
                                                              : NGX_ERROR;
    h = headers.elts;

    for (i = 0; i < headers.nelts && rc == NGX_OK; i++) {

        /* neither has a line's end in it */

        if (EVP_DigestUpdate(md, h[i].name.data, h[i].name.len) != 1
            || EVP_DigestUpdate(md, ":", 1) != 1
            || EVP_DigestUpdate(md, h[i].value.data, h[i].value.len) != 1
            || EVP_DigestUpdate(md, "\n", 1) != 1)
        {
            rc = NGX_ERROR;
        }
    }

    if (rc == NGX_OK && EVP_DigestFinal_ex(md, digest, &len) == 1) {
        (void) ngx_hex_dump(hex, digest, SHA256_DIGEST_LENGTH);

    } else {
        rc = NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    return rc;
}


ngx_uint_t
ngx_http_s3_cache_keyed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
#if (NGX_HTTP_CACHE)
    ngx_str_t   *keys, *key;
    ngx_uint_t   i;

    if (r->cache == NULL) {
        return 1;
    }

    key = &ctx->gateway->cache_key;

    if (key->len == 0) {

        /* nobody has asked for it */

        return 0;
    }

    keys = r->cache->keys.elts;

    for (i = 0; i < r->cache->keys.nelts; i++) {

        if (memmem(keys[i].data, keys[i].len, key->data, key->len)) {
            return 1;
        }
    }

    return 0;
#else
    return 1;
#endif
}


static ngx_int_t
ngx_http_s3_value(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->len = value->len;
    v->data = value->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/*
 * s3_upstream_host, or what a client would say that speaks to the upstream
 * itself: the name of the first server of an upstream{}, else $proxy_host.
 * The name of an upstream{} is none that the upstream knows: Ceph takes it
 * for a bucket's.
 */

static ngx_int_t
ngx_http_s3_host_of(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *host)
{
    ngx_http_s3_ask_t             *ask;
    ngx_http_s3_main_conf_t       *mcf;
    ngx_http_upstream_server_t    *server;
    ngx_http_variable_value_t     *v;
    ngx_http_upstream_srv_conf_t  *uscf;

    (void) ngx_http_s3_gateway_ctx(r, &ask);

    *host = ask ? ask->host : ctx->gateway->host;

    if (host->len) {
        return NGX_OK;
    }

    uscf = r->upstream && r->upstream->conf ? r->upstream->conf->upstream
                                            : NULL;

    if (uscf && (uscf->flags & NGX_HTTP_UPSTREAM_CREATE) && uscf->servers
        && uscf->servers->nelts)
    {
        server = uscf->servers->elts;

        if (ngx_strncmp(server[0].name.data, "unix:", 5) != 0) {
            *host = server[0].name;
            return NGX_OK;
        }
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_s3_module);

    v = ngx_http_get_flushed_variable(r, mcf->proxy_host);

    if (v == NULL || v->not_found) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "s3_gateway: the location's upstream is not one of "
                      "proxy_pass");
        return NGX_ERROR;
    }

    host->data = v->data;
    host->len = v->len;

    return NGX_OK;
}


/*
 * What S3 wants signed where it is there: x-amz-*, Content-Type, Content-MD5
 * (Authenticating Requests, "Canonical Request").  Range and conditions are
 * none of these, and a cache or a slice has others than the client.
 */

static ngx_int_t
ngx_http_s3_signed_headers(ngx_http_request_t *r, ngx_array_t *headers)
{
    ngx_uint_t        i;
    s3_header_t      *h, one;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NGX_OK;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        one.name = header[i].key;
        one.value = header[i].value;

        if (!s3_upstream_named(&one, "x-amz-*")
            && !s3_upstream_named(&one, "content-*"))
        {
            continue;
        }

        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = one;
    }
}


/*
 * r: the client's request, or a subrequest of ours; headers: s3_header_t.
 * Of the pointers to headers nginx's range filter has two, for what a cache
 * has whole.
 */

ngx_int_t
ngx_http_s3_gateway_address(ngx_http_request_t *r, ngx_str_t *uri,
    ngx_array_t *headers)
{
    ngx_uint_t        i;
    s3_header_t      *h;
    ngx_table_elt_t  *header;

    r->unparsed_uri = *uri;
    r->valid_unparsed_uri = 1;

    if (ngx_list_init(&r->headers_in.headers, r->pool, headers->nelts + 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_in.range = NULL;
    r->headers_in.if_range = NULL;
    r->headers_in.upgrade = NULL;

    /* conditions are S3's, see ngx_http_s3_gateway_filter.c */

    r->headers_in.if_match = NULL;
    r->headers_in.if_none_match = NULL;
    r->headers_in.if_modified_since = NULL;
    r->headers_in.if_unmodified_since = NULL;

    h = headers->elts;

    for (i = 0; i < headers->nelts; i++) {

        header = ngx_list_push(&r->headers_in.headers);
        if (header == NULL) {
            return NGX_ERROR;
        }

        /* names are in lower case */

        header->key = h[i].name;
        header->lowcase_key = h[i].name.data;
        header->hash = ngx_hash_key(h[i].name.data, h[i].name.len);
        header->value = h[i].value;
        ngx_http_s3_header_last(header);

        if (s3_upstream_named(&h[i], "range")) {
            r->headers_in.range = header;

        } else if (s3_upstream_named(&h[i], "if-range")) {
            r->headers_in.if_range = header;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_gateway_target(ngx_http_request_t *sr, ngx_http_s3_ask_t *ask)
{
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(sr, ngx_http_s3_module);

    if (s3_upstream_target(sr->pool, lcf->upstream.style, &lcf->upstream.host,
                           &ask->bucket, &ask->key, &ask->query, &ask->uri,
                           &ask->host)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_s3_gateway_address(sr, &ask->uri, &ask->headers);
}
