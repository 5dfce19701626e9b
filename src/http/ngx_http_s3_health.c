
/*
 * s3_health NAME: whether the store NAME serves, for load balancers, for
 * orchestrators and for "mc ready"; without NAME whether an upstream does,
 * see ngx_http_s3_gateway_health.c.  The end of the path says what is asked:
 *
 *     .../live           200 as long as a worker answers
 *     .../ready          the store process answers, and data can be read
 *     .../healthz        the same
 *     .../cluster        data can be written
 *     .../cluster/read   data can be read
 *
 * The answer comes from the page of memory shared with the store process, and
 * from the state of the connection to it: nothing is waited for, no disk is
 * touched.  Headers are those of MinIO (cmd/healthcheck-handler.go, and
 * health.go of madmin-go, which reads them for mc).
 */


#include "ngx_http_s3.h"


typedef enum {
    NGX_HTTP_S3_HEALTH_LIVE = 0,
    NGX_HTTP_S3_HEALTH_READY,
    NGX_HTTP_S3_HEALTH_WRITE,
    NGX_HTTP_S3_HEALTH_READ
} ngx_http_s3_health_e;


static ngx_int_t ngx_http_s3_health_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_s3_health_asked(ngx_str_t *uri,
    ngx_http_s3_health_e *what);
static const char *ngx_http_s3_health_reason(ngx_http_s3_health_e what,
    s3_client_health_t *h);
static ngx_int_t ngx_http_s3_health_number(ngx_http_request_t *r,
    const char *name, ngx_uint_t n);
static ngx_int_t ngx_http_s3_health_answer(ngx_http_request_t *r,
    ngx_uint_t status, const char *reason, s3_client_health_t *h);


char *
ngx_http_s3_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t    *lcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (lcf->health_name.data || lcf->health_upstream) {
        return "is duplicate";
    }

    lcf->file = cf->conf_file->file.name.data;
    lcf->line = cf->conf_file->line;

    if (cf->args->nelts == 1) {

        if (lcf->gateway == 1) {
            return "and \"s3_gateway\" cannot be in one location; give it a "
                   "location of its own, such as \"location = /healthz\"";
        }

        lcf->health_upstream = 1;
        return ngx_http_s3_use_proxy(cf);
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "follows a directive such as \"s3_serve\" or \"proxy_pass\", "
               "which serves this location already; give each a location of "
               "its own";
    }

    value = cf->args->elts;

    lcf->health_name = value[1];

    clcf->handler = ngx_http_s3_health_handler;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_merge_health(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->health_upstream) {
        return ngx_http_s3_check_upstream(cf, conf, "s3_health");
    }

    if (conf->health_name.data == NULL) {

        /* "if" and "limit_except" within a location of ours */

        if (clcf->noname) {
            conf->health = prev->health;

            if (clcf->lmt_excpt && clcf->handler == NULL) {
                clcf->handler = ngx_http_s3_health_handler;
            }
        }

        return NGX_CONF_OK;
    }

    conf->health = ngx_http_s3_find_store(cf, &conf->health_name);

    if (conf->health == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "store \"%V\" is not defined; add \"s3_store %V { disk "
                      "PATH; ... }\" to http{} for s3_health in %s:%ui",
                      &conf->health_name, &conf->health_name, conf->file,
                      conf->line);
        return NGX_CONF_ERROR;
    }

    if (clcf->handler != ngx_http_s3_health_handler) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "a directive such as \"proxy_pass\" follows s3_health "
                      "and would serve its location instead; give each a "
                      "location of its own in %s:%ui",
                      conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_s3_health_handler(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_str_t                value;
    ngx_uint_t               status;
    const char              *reason;
    s3_client_t             *client;
    s3_client_health_t       h;
    ngx_http_s3_health_e     what;
    ngx_http_s3_loc_conf_t  *lcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (ngx_http_s3_health_asked(&r->uri, &what) != NGX_OK) {
        return NGX_HTTP_NOT_FOUND;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    ngx_memzero(&h, sizeof(s3_client_health_t));
    h.state = S3_STORE_BUSY;

    client = ngx_http_s3_store_client(lcf->health, r->connection->log);

    if (client) {
        s3_client_health(client, &h);
    }

    reason = ngx_http_s3_health_reason(what, &h);
    status = reason ? NGX_HTTP_SERVICE_UNAVAILABLE : NGX_HTTP_OK;

    /*
     * "May this host be taken down?"  A set lives on one host: no.  MinIO
     * says so by 412.
     */

    if ((what == NGX_HTTP_S3_HEALTH_WRITE || what == NGX_HTTP_S3_HEALTH_READ)
        && ngx_http_arg(r, (u_char *) "maintenance",
                        sizeof("maintenance") - 1, &value)
           == NGX_OK
        && value.len == 4 && ngx_strncmp(value.data, "true", 4) == 0)
    {
        reason = "without this host there is no store";
        status = NGX_HTTP_PRECONDITION_FAILED;
    }

    if (what == NGX_HTTP_S3_HEALTH_WRITE) {
        rc = ngx_http_s3_health_number(r, "X-Minio-Write-Quorum",
                                       h.write_quorum);

    } else if (what == NGX_HTTP_S3_HEALTH_READ) {
        rc = ngx_http_s3_health_number(r, "X-Minio-Read-Quorum",
                                       h.read_quorum);
    }

    if (rc == NGX_OK && h.healing
        && (what == NGX_HTTP_S3_HEALTH_WRITE
            || what == NGX_HTTP_S3_HEALTH_READ))
    {
        rc = ngx_http_s3_health_number(r, "X-Minio-Healing-Drives",
                                       h.healing);
    }

    if (rc == NGX_OK && status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        ngx_str_set(&value, "offline");
        rc = ngx_http_s3_add_header(r, "X-Minio-Server-Status", &value);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_s3_health_answer(r, status, reason, &h);
}


ngx_int_t
ngx_http_s3_health_path(ngx_str_t *uri, ngx_uint_t *live)
{
    ngx_http_s3_health_e  what;

    if (ngx_http_s3_health_asked(uri, &what) != NGX_OK) {
        return NGX_DECLINED;
    }

    *live = (what == NGX_HTTP_S3_HEALTH_LIVE);

    return NGX_OK;
}


ngx_int_t
ngx_http_s3_health_send(ngx_http_request_t *r, const char *reason,
    s3_client_health_t *h)
{
    return ngx_http_s3_health_answer(r, reason ? NGX_HTTP_SERVICE_UNAVAILABLE
                                               : NGX_HTTP_OK, reason, h);
}


static ngx_int_t
ngx_http_s3_health_asked(ngx_str_t *uri, ngx_http_s3_health_e *what)
{
    ngx_uint_t  i;

    static const struct {
        ngx_str_t             end;
        ngx_http_s3_health_e  what;
    } ends[] = {
        { ngx_string("/live"), NGX_HTTP_S3_HEALTH_LIVE },
        { ngx_string("/ready"), NGX_HTTP_S3_HEALTH_READY },
        { ngx_string("/healthz"), NGX_HTTP_S3_HEALTH_READY },
        { ngx_string("/cluster"), NGX_HTTP_S3_HEALTH_WRITE },
        { ngx_string("/cluster/read"), NGX_HTTP_S3_HEALTH_READ }
    };

    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (uri->len >= ends[i].end.len
            && ngx_strncmp(uri->data + uri->len - ends[i].end.len,
                           ends[i].end.data, ends[i].end.len)
               == 0)
        {
            *what = ends[i].what;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


/* NULL: healthy */

static const char *
ngx_http_s3_health_reason(ngx_http_s3_health_e what, s3_client_health_t *h)
{
    if (what == NGX_HTTP_S3_HEALTH_LIVE) {
        return NULL;
    }

    if (!h->connected) {
        return "the store process does not answer";
    }

    switch (h->state) {

    case S3_STORE_OK:
        return NULL;

    case S3_STORE_READ_ONLY:
        return what == NGX_HTTP_S3_HEALTH_WRITE
               ? "too few disks to write" : NULL;

    case S3_STORE_UNAVAILABLE:
        return "too few disks to read";

    default:
        return "the store is starting";
    }
}


static ngx_int_t
ngx_http_s3_health_number(ngx_http_request_t *r, const char *name,
    ngx_uint_t n)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", n) - value.data;

    return ngx_http_s3_add_header(r, name, &value);
}


static ngx_int_t
ngx_http_s3_health_answer(ngx_http_request_t *r, ngx_uint_t status,
    const char *reason, s3_client_health_t *h)
{
    size_t        size;
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_str_t     value;
    ngx_chain_t   out;

    ngx_str_set(&value, "no-store");

    if (ngx_http_s3_add_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    size = sizeof(": 4294967295 of 4294967295 disks, 4294967295 healing\n")
           + (reason ? ngx_strlen(reason) : 2);

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_sprintf(b->last, "%s", reason ? reason : "ok");

    if (h->disks) {
        b->last = ngx_sprintf(b->last, ": %ui of %ui disks",
                              (ngx_uint_t) h->present,
                              (ngx_uint_t) h->disks);
    }

    if (h->healing) {
        b->last = ngx_sprintf(b->last, ", %ui healing",
                              (ngx_uint_t) h->healing);
    }

    *b->last++ = '\n';

    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.status = status;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "text/plain");
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
