
/*
 * s3_domain NAME ...: below these names the host says the bucket,
 * "photos.s3.example.com" with s3_domain s3.example.com.
 */


#include "ngx_http_s3.h"


/* RFC 1035, section 2.3.4 */
#define NGX_HTTP_S3_LABEL_MAX   63
#define NGX_HTTP_S3_DOMAIN_MAX  253


static char *ngx_http_s3_domain_name(ngx_conf_t *cf, ngx_str_t *name);
static ngx_uint_t ngx_http_s3_is_default_server(ngx_conf_t *cf,
    ngx_http_core_srv_conf_t *cscf);
static ngx_uint_t ngx_http_s3_has_buckets_of(ngx_http_core_srv_conf_t *cscf,
    ngx_str_t *domain);


char *
ngx_http_s3_domain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t  *lcf = conf;

    char                    *rv;
    ngx_str_t               *value, *domain, *other;
    ngx_uint_t               i, j;

    if (lcf->domains != NGX_CONF_UNSET_PTR) {
        return "is duplicate; write all names in one directive";
    }

    lcf->domains = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                    sizeof(ngx_str_t));
    if (lcf->domains == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        rv = ngx_http_s3_domain_name(cf, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        domain = ngx_array_push(lcf->domains);
        if (domain == NULL) {
            return NGX_CONF_ERROR;
        }

        domain->len = value[i].len;
        domain->data = ngx_pnalloc(cf->pool, value[i].len);
        if (domain->data == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_strlow(domain->data, value[i].data, value[i].len);

        other = lcf->domains->elts;

        for (j = 0; j + 1 < i; j++) {
            if (other[j].len == domain->len
                && ngx_memcmp(other[j].data, domain->data, domain->len) == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "domain \"%V\" is named twice", &value[i]);
                return NGX_CONF_ERROR;
            }
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_s3_domain_name(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char       ch, prev;
    size_t       i, label;
    ngx_uint_t   digits;
    const char  *what;

    if (name->len > NGX_HTTP_S3_DOMAIN_MAX) {
        what = "is longer than a name can be";
        goto invalid;
    }

    label = 0;
    digits = 1;
    prev = '.';

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (ch == '*' || (ch == '.' && i == 0)) {
            what = "has a wildcard; the names below it are meant anyway";
            goto invalid;
        }

        if (ch == ':' || ch == '/') {
            what = "has more than a name; leave out scheme, port and path";
            goto invalid;
        }

        if (ch == '.') {
            if (prev == '.' || prev == '-') {
                break;
            }

            label = 0;

        } else if (ch >= '0' && ch <= '9') {
            label++;

        } else if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
                   || (ch == '-' && prev != '.'))
        {
            digits = 0;
            label++;

        } else {
            break;
        }

        if (label > NGX_HTTP_S3_LABEL_MAX) {
            break;
        }

        prev = ch;
    }

    if (i != name->len || prev == '.' || prev == '-') {
        what = "is no name of a host; write one such as \"s3.example.com\"";
        goto invalid;
    }

    /* 192.0.2.1 */

    if (digits) {
        what = "is an address; no names are below it, clients use path style";
        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "domain \"%V\" %s", name, what);

    return NGX_CONF_ERROR;
}


/*
 * A server is asked for its buckets' hosts when it is a listen's default, or
 * has a name that covers them.
 */

void
ngx_http_s3_check_domains(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *conf,
    const char *directive)
{
    ngx_str_t                 *domain;
    ngx_uint_t                 i;
    ngx_http_core_srv_conf_t  *cscf;

    if (conf->domains == NULL) {
        return;
    }

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (ngx_http_s3_is_default_server(cf, cscf)) {
        return;
    }

    domain = conf->domains->elts;

    for (i = 0; i < conf->domains->nelts; i++) {

        if (ngx_http_s3_has_buckets_of(cscf, &domain[i])) {
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "no server_name covers \"*.%V\" of s3_domain: requests "
                      "for buckets go to another server; add it to the "
                      "server_name of %s in %s:%ui",
                      &domain[i], directive, conf->file, conf->line);
    }
}


static ngx_uint_t
ngx_http_s3_is_default_server(ngx_conf_t *cf, ngx_http_core_srv_conf_t *cscf)
{
    ngx_uint_t                  p, a;
    ngx_http_conf_addr_t       *addr;
    ngx_http_conf_port_t       *port;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    if (cmcf->ports == NULL) {
        return 0;
    }

    port = cmcf->ports->elts;

    for (p = 0; p < cmcf->ports->nelts; p++) {

        addr = port[p].addrs.elts;

        for (a = 0; a < port[p].addrs.nelts; a++) {
            if (addr[a].default_server == cscf) {
                return 1;
            }
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_s3_has_buckets_of(ngx_http_core_srv_conf_t *cscf, ngx_str_t *domain)
{
    ngx_str_t                 name;
    ngx_uint_t                i;
    ngx_http_server_name_t   *sn;

    sn = cscf->server_names.elts;

    for (i = 0; i < cscf->server_names.nelts; i++) {

#if (NGX_PCRE)
        if (sn[i].regex) {
            return 1;
        }
#endif

        /* "*.example.com" and ".example.com" cover s3.example.com's, too */

        name = sn[i].name;

        if (name.len && name.data[0] == '*') {
            name.data++;
            name.len--;
        }

        if (name.len < 2 || name.data[0] != '.') {
            continue;
        }

        if (domain->len + 1 == name.len
            && ngx_memcmp(domain->data, name.data + 1, domain->len) == 0)
        {
            return 1;
        }

        if (domain->len >= name.len
            && ngx_memcmp(domain->data + domain->len - name.len, name.data,
                          name.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}
