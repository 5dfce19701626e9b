
/*
 * s3_gateway and s3_upstream_...: what they do, and what is checked when all
 * is read.  nginx's proxy keeps its own settings to itself: what only it knows
 * (no path in proxy_pass, the headers of s3_gateway_params) shows with the
 * first request, which is refused and says so in the log.
 */


#include "ngx_http_s3.h"
#include "s3_upstream.h"


#define NGX_HTTP_S3_GATEWAY_BUFFER  (8 * 1024 * 1024)
#define NGX_HTTP_S3_GATEWAY_BUCKET  "nginx-s3-checksums"

/* seconds; an object follows its record within the proxy's timeouts */
#define NGX_HTTP_S3_GATEWAY_ORPHANS  3600


char *
ngx_http_s3_gateway_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t   *lcf = conf;

    char                     *rv;
    rv = ngx_conf_set_flag_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK || !lcf->gateway) {
        return rv;
    }

    if (lcf->store_name.data) {
        return "and \"s3_serve\" cannot be in one location";
    }

    if (lcf->health_upstream) {
        return "and \"s3_health\" cannot be in one location; give that a "
               "location of its own, such as \"location = /healthz\"";
    }

    rv = ngx_http_s3_use_proxy(cf);

    return rv == NGX_CONF_OK ? ngx_http_s3_mount(cf, lcf) : rv;
}


char *
ngx_http_s3_use_proxy(ngx_conf_t *cf)
{
    ngx_str_t                 name;
    ngx_http_s3_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);

    if (mcf->gateways++ == 0) {
        ngx_str_set(&name, "proxy_host");

        mcf->proxy_host = ngx_http_get_variable_index(cf, &name);
        if (mcf->proxy_host == NGX_ERROR) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* It is signed as it is written: a name or an address, with a port or not. */

char *
ngx_http_s3_check_host(ngx_conf_t *cf, void *post, void *data)
{
    ngx_str_t  *host = data;

    size_t      i;
    u_char      ch;

    for (i = 0; i < host->len; i++) {
        ch = host->data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9')
              || (ch && ngx_strchr("-._:[]", ch))))
        {
            break;
        }
    }

    if (i == 0 || i > 255 || i != host->len) {
        return "is no host; write its name or address and, where it is not "
               "the scheme's own, its port, such as \"rgw.example.com:7480\"";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_s3_checksums_bucket(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t  *lcf = conf;

    time_t      orphans;
    ngx_str_t  *value, s;

    if (lcf->upstream.bucket.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (!s3_bucket_name_valid(&value[1])) {
        return "is no name of a bucket; write 3 to 63 lower-case letters, "
               "digits, \"-\" and \".\", such as \""
               NGX_HTTP_S3_GATEWAY_BUCKET "\"";
    }

    lcf->upstream.bucket = value[1];

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_http_s3_parameter(cf, "orphans=", "TIME", &s) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    orphans = ngx_parse_time(&s, 1);

    if (orphans == (time_t) NGX_ERROR || orphans == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\"; write how old a record "
                           "without an object is when it goes, such as "
                           "\"orphans=1h\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    lcf->upstream.orphans = orphans;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_merge_upstream(ngx_conf_t *cf, ngx_http_s3_upstream_conf_t *prev,
    ngx_http_s3_upstream_conf_t *conf)
{
    if (conf->credential.data == NULL) {
        conf->credential = prev->credential;
        conf->env = prev->env;
    }

    ngx_conf_merge_str_value(conf->region, prev->region, "us-east-1");
    ngx_conf_merge_str_value(conf->host, prev->host, "");
    ngx_conf_merge_uint_value(conf->style, prev->style, S3_UPSTREAM_PATH);
    ngx_conf_merge_uint_value(conf->checksums, prev->checksums,
                              NGX_HTTP_S3_CHECKSUMS_EMULATE);
    ngx_conf_merge_size_value(conf->buffer, prev->buffer,
                              NGX_HTTP_S3_GATEWAY_BUFFER);

    if (conf->bucket.data == NULL && conf->orphans == NGX_CONF_UNSET) {
        conf->orphans = prev->orphans;
    }

    ngx_conf_merge_str_value(conf->bucket, prev->bucket,
                             NGX_HTTP_S3_GATEWAY_BUCKET);
    ngx_conf_init_value(conf->orphans, NGX_HTTP_S3_GATEWAY_ORPHANS);

    return NGX_CONF_OK;
}


char *
ngx_http_s3_merge_gateway(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf)
{
    char  *rv;

    rv = ngx_http_s3_check_location(cf, prev, conf, "s3_gateway");

    return rv == NGX_CONF_OK
           ? ngx_http_s3_check_upstream(cf, conf, "s3_gateway") : rv;
}


char *
ngx_http_s3_check_upstream(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *conf,
    const char *directive)
{
    ngx_str_t                    *name;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_s3_upstream_conf_t  *uc;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "%s without an upstream; add \"proxy_pass "
                      "http://HOST;\" to its location in %s:%ui",
                      directive, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    uc = &conf->upstream;
    name = &uc->credential;

    if (name->len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "%s without keys for its upstream; add "
                      "\"s3_upstream_credentials NAME;\", the name of a line "
                      "with \"type\": \"upstream\" in the file of "
                      "s3_credentials, or \"s3_upstream_credentials env;\" "
                      "in %s:%ui",
                      directive, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (conf->credentials == NULL && uc->env == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "%s without a file with the credential \"%V\"; add "
                      "\"s3_credentials FILE;\" in %s:%ui",
                      directive, name, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (uc->env == NULL
        && s3_credentials_upstream(conf->credentials->set, name) == NULL)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no credentials for the upstream have the name \"%V\"; "
                      "add a line {\"type\": \"upstream\", \"name\": \"%V\", "
                      "\"access_key\": \"...\", \"secret_key\": \"...\"} to "
                      "\"%V\" for %s in %s:%ui",
                      name, name, &conf->credentials->path, directive,
                      conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (uc->style == S3_UPSTREAM_VIRTUAL && uc->host.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"s3_upstream_style virtual\" needs the name that "
                      "buckets stand before; add \"s3_upstream_host NAME;\" "
                      "for %s in %s:%ui",
                      directive, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
