
/*
 * s3_status [NAME]: what the stores and gateways of this nginx do, or that one
 * store, for people and for Prometheus.
 *
 *     .../minio/v2/metrics/cluster   MinIO's names, Prometheus' text
 *     .../minio/v2/metrics/node      the same, of a host
 *     ?format=json, prometheus       JSON; Prometheus' text
 *     .../metrics, ....json          the same by the path's end
 *     any other                      by Accept; JSON where it says nothing
 *
 * All of it is in memory: the store process's status (s3_status.h), the page,
 * counters.  Nothing is asked, waited for, or read from a disk.
 */


#include "ngx_http_s3_status.h"
#include "s3_pool.h"


#define NGX_HTTP_S3_TEXT_PIECE  4096
#define NGX_HTTP_S3_TEXT_BUF    (64 * 1024)


typedef enum {
    NGX_HTTP_S3_STATUS_JSON = 0,
    NGX_HTTP_S3_STATUS_TEXT,
    NGX_HTTP_S3_STATUS_CLUSTER,
    NGX_HTTP_S3_STATUS_NODE
} ngx_http_s3_status_e;


static ngx_int_t ngx_http_s3_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_s3_status_format(ngx_http_request_t *r,
    ngx_http_s3_status_e *format);
static ngx_uint_t ngx_http_s3_status_end(ngx_str_t *uri, const char *end);
static ngx_str_t *ngx_http_s3_status_accept(ngx_http_request_t *r);
static ngx_http_s3_subject_t *ngx_http_s3_status_subjects(
    ngx_http_request_t *r, ngx_uint_t *n);
static ngx_int_t ngx_http_s3_status_store(ngx_http_request_t *r,
    ngx_http_s3_subject_t *s);
static ngx_int_t ngx_http_s3_status_escape(ngx_pool_t *pool, ngx_str_t *dst,
    const u_char *src, size_t len);


char *
ngx_http_s3_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t    *lcf = conf;

    ngx_str_t                 *value;
    ngx_http_s3_main_conf_t   *mcf;
    ngx_http_core_loc_conf_t  *clcf;

    if (lcf->status) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "follows a directive such as \"s3_serve\" or \"proxy_pass\", "
               "which serves this location already; give each a location of "
               "its own";
    }

    lcf->status = 1;
    lcf->file = cf->conf_file->file.name.data;
    lcf->line = cf->conf_file->line;

    if (cf->args->nelts == 2) {
        value = cf->args->elts;
        lcf->status_name = value[1];
    }

    clcf->handler = ngx_http_s3_status_handler;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);
    mcf->status = 1;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_merge_status(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf)
{
    ngx_http_s3_main_conf_t   *mcf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* "if" and "limit_except" within a location of ours */

    if (!conf->status) {
        conf->status = prev->status;
        conf->status_store = prev->status_store;

        if (clcf->lmt_excpt && clcf->handler == NULL) {
            clcf->handler = ngx_http_s3_status_handler;
        }

        return NGX_CONF_OK;
    }

    if (clcf->handler != ngx_http_s3_status_handler || conf->gateway
        || conf->health_upstream)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "a directive such as \"proxy_pass\", \"s3_gateway\" or "
                      "\"s3_health\" stands in the location of s3_status; "
                      "give each a location of its own in %s:%ui",
                      conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);

    if (conf->status_name.data == NULL) {

        if (mcf->stores.nelts == 0 && mcf->gateways == 0) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "s3_status has nothing to tell: there is no store "
                          "and no gateway; add \"s3_store NAME { disk PATH; "
                          "... }\" to http{} in %s:%ui",
                          conf->file, conf->line);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    conf->status_store = ngx_http_s3_find_store(cf, &conf->status_name);

    if (conf->status_store == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "store \"%V\" is not defined; add \"s3_store %V { disk "
                      "PATH; ... }\" to http{} for s3_status in %s:%ui",
                      &conf->status_name, &conf->status_name, conf->file,
                      conf->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_s3_status_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_str_t               value;
    ngx_uint_t              n;
    ngx_http_s3_text_t      t;
    ngx_http_s3_status_e    format;
    ngx_http_s3_subject_t  *subjects;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (ngx_http_s3_status_format(r, &format) != NGX_OK) {
        return NGX_HTTP_BAD_REQUEST;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    subjects = ngx_http_s3_status_subjects(r, &n);
    if (subjects == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&t, sizeof(ngx_http_s3_text_t));

    t.pool = r->pool;
    t.last = &t.out;

    switch (format) {

    case NGX_HTTP_S3_STATUS_JSON:
        ngx_http_s3_status_json(&t, subjects, n);
        break;

    case NGX_HTTP_S3_STATUS_TEXT:
        ngx_http_s3_status_text(&t, subjects, n);
        break;

    default:
        ngx_http_s3_status_minio(&t, subjects, n,
                                 format == NGX_HTTP_S3_STATUS_NODE);
    }

    ngx_str_set(&value, "no-store");

    if (t.failed || t.buf == NULL
        || ngx_http_s3_add_header(r, "Cache-Control", &value) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    t.buf->last_buf = (r == r->main) ? 1 : 0;
    t.buf->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = t.size;

    if (format == NGX_HTTP_S3_STATUS_JSON) {
        ngx_str_set(&r->headers_out.content_type, "application/json");

    } else {

        /* Prometheus' exposition formats, "Basic info" */

        ngx_str_set(&r->headers_out.content_type,
                    "text/plain; version=0.0.4; charset=utf-8");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, t.out);
}


/* NGX_DECLINED: ?format= names none */

static ngx_int_t
ngx_http_s3_status_format(ngx_http_request_t *r, ngx_http_s3_status_e *format)
{
    ngx_str_t   value;
    ngx_str_t  *accept;

    if (ngx_http_s3_status_end(&r->uri, "/minio/v2/metrics/cluster")) {
        *format = NGX_HTTP_S3_STATUS_CLUSTER;
        return NGX_OK;
    }

    if (ngx_http_s3_status_end(&r->uri, "/minio/v2/metrics/node")) {
        *format = NGX_HTTP_S3_STATUS_NODE;
        return NGX_OK;
    }

    if (ngx_http_arg(r, (u_char *) "format", sizeof("format") - 1, &value)
        == NGX_OK)
    {
        if (value.len == 4 && ngx_strncmp(value.data, "json", 4) == 0) {
            *format = NGX_HTTP_S3_STATUS_JSON;
            return NGX_OK;
        }

        if (value.len == 10 && ngx_strncmp(value.data, "prometheus", 10) == 0)
        {
            *format = NGX_HTTP_S3_STATUS_TEXT;
            return NGX_OK;
        }

        return NGX_DECLINED;
    }

    *format = NGX_HTTP_S3_STATUS_JSON;

    if (ngx_http_s3_status_end(&r->uri, ".json")) {
        return NGX_OK;
    }

    if (ngx_http_s3_status_end(&r->uri, "/metrics")) {
        *format = NGX_HTTP_S3_STATUS_TEXT;
        return NGX_OK;
    }

    accept = ngx_http_s3_status_accept(r);

    if (accept
        && ngx_strlcasestrn(accept->data, accept->data + accept->len,
                            (u_char *) "application/json",
                            sizeof("application/json") - 2)
           == NULL
        && (ngx_strlcasestrn(accept->data, accept->data + accept->len,
                             (u_char *) "text/plain",
                             sizeof("text/plain") - 2)
            || ngx_strlcasestrn(accept->data, accept->data + accept->len,
                                (u_char *) "application/openmetrics-text",
                                sizeof("application/openmetrics-text") - 2)))
    {
        *format = NGX_HTTP_S3_STATUS_TEXT;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_s3_status_end(ngx_str_t *uri, const char *end)
{
    size_t  len;

    len = ngx_strlen(end);

    return uri->len >= len
           && ngx_strncmp(uri->data + uri->len - len, end, len) == 0;
}


static ngx_str_t *
ngx_http_s3_status_accept(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("accept") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "accept",
                               sizeof("accept") - 1)
               == 0)
        {
            return &h[i].value;
        }
    }
}


static ngx_http_s3_subject_t *
ngx_http_s3_status_subjects(ngx_http_request_t *r, ngx_uint_t *n)
{
    ngx_uint_t                i;
    ngx_http_s3_store_t     **stores;
    ngx_http_s3_subject_t    *s;
    ngx_http_s3_loc_conf_t   *lcf;
    ngx_http_s3_main_conf_t  *mcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_s3_module);

    s = ngx_pcalloc(r->pool, (mcf->stores.nelts + 1)
                             * sizeof(ngx_http_s3_subject_t));
    if (s == NULL) {
        return NULL;
    }

    *n = 0;
    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {

        if (lcf->status_store && lcf->status_store != stores[i]) {
            continue;
        }

        s[*n].store = stores[i];

        if (ngx_http_s3_status_store(r, &s[*n]) != NGX_OK) {
            return NULL;
        }

        (*n)++;
    }

    if (lcf->status_store == NULL && mcf->gateway_counters) {
        s[*n].table = mcf->gateway_counters->table;
        ngx_str_set(&s[*n].labels, "face=\"gateway\"");
        (*n)++;
    }

    for (i = 0; i < *n; i++) {
        if (s[i].table) {
            ngx_http_s3_count_load(s[i].table, &s[i].load);
        }
    }

    return s;
}


/*
 * An object has a k-th of its size on each disk, hence the smallest of them is
 * what bounds it: k times that.
 */

static ngx_int_t
ngx_http_s3_status_store(ngx_http_request_t *r, ngx_http_s3_subject_t *s)
{
    uint64_t           now, least, least_free;
    ngx_uint_t         i;
    s3_client_t       *client;
    s3_status_disk_t  *disk;

    s->name = s->store->name;          /* letters, digits, "-" and "_" */
    s->health.state = S3_STORE_BUSY;

    s->labels.data = ngx_pnalloc(r->pool, sizeof("face='store',store=''")
                                          + s->name.len);
    if (s->labels.data == NULL) {
        return NGX_ERROR;
    }

    s->labels.len = ngx_sprintf(s->labels.data,
                                "face=\"store\",store=\"%V\"", &s->name)
                    - s->labels.data;

    if (s->store->counters) {
        s->table = s->store->counters->table;
    }

    client = ngx_http_s3_store_client(s->store, r->connection->log);
    if (client == NULL) {
        return NGX_OK;
    }

    s3_client_health(client, &s->health);

    s->status = ngx_palloc(r->pool, sizeof(s3_status_t));
    if (s->status == NULL) {
        return NGX_ERROR;
    }

    if (s3_client_status(client, s->status) != 0) {
        s->status = NULL;
        return NGX_OK;
    }

    now = s3_now();
    s->age = now > s->status->updated ? now - s->status->updated : 0;

    s->disks = ngx_pcalloc(r->pool,
                           s->status->ndisks * 2 * sizeof(ngx_str_t));
    if (s->disks == NULL) {
        return NGX_ERROR;
    }

    least = UINT64_MAX;
    least_free = UINT64_MAX;

    for (i = 0; i < s->status->ndisks; i++) {
        disk = &s->status->disks[i];

        if (ngx_http_s3_status_escape(r->pool, &s->disks[2 * i],
                                      (u_char *) disk->path,
                                      ngx_strlen(disk->path))
            != NGX_OK
            || ngx_http_s3_status_escape(r->pool, &s->disks[2 * i + 1],
                                         (u_char *) disk->reason,
                                         ngx_strlen(disk->reason))
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        s->members += (disk->state == S3_STATUS_MEMBER);

        if (disk->total == 0) {
            continue;
        }

        s->raw += disk->total;
        s->raw_free += disk->free;

        if (disk->state == S3_STATUS_MEMBER) {
            least = ngx_min(least, disk->total);
            least_free = ngx_min(least_free, disk->free);
        }
    }

    if (least != UINT64_MAX) {
        s->usable = least * s->status->geometry.k;
        s->usable_free = least_free * s->status->geometry.k;
    }

    return NGX_OK;
}


/*
 * For JSON's strings and Prometheus' labels alike, both of which are UTF-8 and
 * know \" and \\; of what else would have to be written in two ways, and of
 * bytes that are no UTF-8, a "?" stays.
 */

static ngx_int_t
ngx_http_s3_status_escape(ngx_pool_t *pool, ngx_str_t *dst, const u_char *src,
    size_t len)
{
    u_char    *p, *last, *start, *out;
    uint32_t   ch;

    out = ngx_pnalloc(pool, 2 * len + 1);
    if (out == NULL) {
        return NGX_ERROR;
    }

    dst->data = out;

    p = (u_char *) src;
    last = p + len;

    while (p < last) {

        if (*p < 0x80) {

            if (*p < 0x20 || *p == 0x7f) {
                *out++ = '?';

            } else {
                if (*p == '"' || *p == '\\') {
                    *out++ = '\\';
                }

                *out++ = *p;
            }

            p++;
            continue;
        }

        start = p;
        ch = ngx_utf8_decode(&p, last - p);

        if (ch > 0x10ffff || (ch >= 0xd800 && ch <= 0xdfff)) {
            *out++ = '?';
            p = start + 1;
            continue;
        }

        out = ngx_cpymem(out, start, p - start);
    }

    dst->len = out - dst->data;

    return NGX_OK;
}


void
ngx_http_s3_text(ngx_http_s3_text_t *t, const char *fmt, ...)
{
    u_char       *p;
    va_list       args;
    ngx_chain_t  *cl;

    if (t->failed) {
        return;
    }

    if (t->buf == NULL || t->buf->end - t->buf->last < NGX_HTTP_S3_TEXT_PIECE)
    {
        cl = ngx_alloc_chain_link(t->pool);
        if (cl == NULL) {
            t->failed = 1;
            return;
        }

        cl->buf = ngx_create_temp_buf(t->pool, NGX_HTTP_S3_TEXT_BUF);
        cl->next = NULL;

        if (cl->buf == NULL) {
            t->failed = 1;
            return;
        }

        *t->last = cl;
        t->last = &cl->next;
        t->buf = cl->buf;
    }

    p = t->buf->last;

    va_start(args, fmt);
    t->buf->last = ngx_vslprintf(p, p + NGX_HTTP_S3_TEXT_PIECE, fmt, args);
    va_end(args);

    t->size += t->buf->last - p;
}


const char *
ngx_http_s3_state_text(int state)
{
    switch (state) {

    case S3_STORE_OK:
        return "ok";

    case S3_STORE_READ_ONLY:
        return "read_only";

    case S3_STORE_UNAVAILABLE:
        return "unavailable";

    default:
        return "starting";
    }
}
