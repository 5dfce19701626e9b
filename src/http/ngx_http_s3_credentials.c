
/*
 * s3_credentials: keys from a file, which each worker looks at again, or from
 * the environment, which is the master's for as long as it lives.  And
 * s3_upstream_credentials, what a gateway signs with.
 */


#include "ngx_http_s3.h"


static ngx_http_s3_credentials_t *ngx_http_s3_credentials_add(ngx_conf_t *cf,
    s3_credentials_t *set);
static s3_credentials_t *ngx_http_s3_credentials_env(ngx_conf_t *cf,
    const char *names[][2], ngx_uint_t n, const char *directive,
    ngx_str_t *upstream);
static ngx_int_t ngx_http_s3_keep_env(ngx_conf_t *cf, const char *name);
static void ngx_http_s3_credentials_cleanup(void *data);
static void ngx_http_s3_refresh_handler(ngx_event_t *ev);


static const char  *ngx_http_s3_env[][2] = {
    { "S3_ACCESS_KEY", "S3_SECRET_KEY" },
    { "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY" },
    { "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD" }
};


char *
ngx_http_s3_credentials_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t      *lcf = conf;

    ngx_str_t                   *value, path, s;
    ngx_msec_t                   refresh;
    ngx_uint_t                   i, env;
    s3_credentials_t            *set;
    s3_credentials_stamp_t       stamp;
    ngx_http_s3_main_conf_t     *mcf;
    ngx_http_s3_credentials_t   *c, **cp;
    char                         err[S3_CREDENTIALS_TEXT];
    char                         warning[S3_CREDENTIALS_TEXT];

    if (lcf->credentials != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;
    refresh = 30000;

    if (cf->args->nelts == 3) {

        if (ngx_http_s3_parameter(cf, "refresh=", "TIME", &s) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        refresh = ngx_parse_time(&s, 0);

        if (refresh == (ngx_msec_t) NGX_ERROR || refresh < 100) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"; write a time such "
                               "as \"refresh=30s\", at least 100ms",
                               &value[2]);
            return NGX_CONF_ERROR;
        }
    }

    path = value[1];

    env = (path.len == 3 && ngx_strncmp(path.data, "env", 3) == 0);

    if (env && cf->args->nelts == 3) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"s3_credentials env\" takes no \"%V\": the "
                           "environment of a process does not change; write "
                           "\"./env\" for a file of that name", &value[2]);
        return NGX_CONF_ERROR;
    }

    if (!env && ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);
    cp = mcf->credentials.elts;

    for (i = 0; i < mcf->credentials.nelts; i++) {
        if (cp[i]->env == env && cp[i]->path.len == path.len
            && ngx_strncmp(cp[i]->path.data, path.data, path.len) == 0)
        {
            cp[i]->refresh = ngx_min(cp[i]->refresh, refresh);
            lcf->credentials = cp[i];
            return NGX_CONF_OK;
        }
    }

    warning[0] = '\0';

    if (env) {
        set = ngx_http_s3_credentials_env(cf, ngx_http_s3_env,
                                          sizeof(ngx_http_s3_env)
                                          / sizeof(ngx_http_s3_env[0]),
                                          "s3_credentials", NULL);

    } else {
        set = s3_credentials_load((char *) path.data, &stamp, err, warning);

        if (set == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "credentials not loaded: %s; the file holds "
                               "one JSON object a line with \"access_key\" "
                               "and \"secret_key\", which s3-credential "
                               "writes", err);
        }
    }

    if (set == NULL) {
        return NGX_CONF_ERROR;
    }

    c = ngx_http_s3_credentials_add(cf, set);
    if (c == NULL) {
        return NGX_CONF_ERROR;
    }

    c->path = path;
    c->refresh = refresh;
    c->env = env;

    if (!env) {
        c->stamp = stamp;
    }

    if (warning[0]) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "%s", warning);
    }

    cp = ngx_array_push(&mcf->credentials);
    if (cp == NULL) {
        return NGX_CONF_ERROR;
    }

    *cp = c;
    lcf->credentials = c;

    return NGX_CONF_OK;
}


/*
 * "env", or the name of a line in the location's file, which may stand below
 * this directive: it is looked for when all is read.
 */

char *
ngx_http_s3_upstream_credentials(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_s3_loc_conf_t     *lcf = conf;

    ngx_str_t                  *value;
    s3_credentials_t           *set;
    ngx_http_s3_credentials_t  *c;

    static const char  *names[][2] = {
        { "S3_UPSTREAM_ACCESS_KEY", "S3_UPSTREAM_SECRET_KEY" }
    };

    if (lcf->upstream.credential.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > S3_UPSTREAM_NAME_MAX) {
        return "has no name; write that of a line with \"type\": "
               "\"upstream\" in the file of s3_credentials, or \"env\"";
    }

    lcf->upstream.credential = value[1];

    if (value[1].len != 3 || ngx_strncmp(value[1].data, "env", 3) != 0) {
        return NGX_CONF_OK;
    }

    set = ngx_http_s3_credentials_env(cf, names, 1,
                                      "s3_upstream_credentials", &value[1]);
    if (set == NULL) {
        return NGX_CONF_ERROR;
    }

    c = ngx_http_s3_credentials_add(cf, set);
    if (c == NULL) {
        return NGX_CONF_ERROR;
    }

    c->env = 1;
    lcf->upstream.env = c;

    return NGX_CONF_OK;
}


/* the set goes with the cycle's pool */

static ngx_http_s3_credentials_t *
ngx_http_s3_credentials_add(ngx_conf_t *cf, s3_credentials_t *set)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_s3_credentials_t  *c;

    c = ngx_pcalloc(cf->pool, sizeof(ngx_http_s3_credentials_t));
    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (c == NULL || cln == NULL) {
        s3_credentials_release(set);
        return NULL;
    }

    c->set = set;

    cln->handler = ngx_http_s3_credentials_cleanup;
    cln->data = c;

    return c;
}


/*
 * The first of the pairs that is there.  Half a pair is a mistake, not a pair
 * to be passed over: somebody else's keys would be good instead.
 */

static s3_credentials_t *
ngx_http_s3_credentials_env(ngx_conf_t *cf, const char *names[][2],
    ngx_uint_t n, const char *directive, ngx_str_t *upstream)
{
    ngx_str_t          access, secret;
    ngx_uint_t         i;
    s3_credentials_t  *set;

    for (i = 0; i < n; i++) {

        access.data = (u_char *) getenv(names[i][0]);
        secret.data = (u_char *) getenv(names[i][1]);

        access.len = access.data ? ngx_strlen(access.data) : 0;
        secret.len = secret.data ? ngx_strlen(secret.data) : 0;

        if (access.len == 0 && secret.len == 0) {
            continue;
        }

        if (access.len == 0 || secret.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%s env\": %s is set in nginx's "
                               "environment, %s is not; set both or none",
                               directive, names[i][access.len == 0],
                               names[i][access.len != 0]);
            return NULL;
        }

        set = s3_credentials_pair(&access, &secret, upstream);

        if (set == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%s env\": %s must have 1 to "
                               "128 printable characters without space, "
                               "comma and equals sign, %s 1 to 128 bytes",
                               directive, names[i][0], names[i][1]);
            return NULL;
        }

        if (ngx_http_s3_keep_env(cf, names[i][0]) != NGX_OK
            || ngx_http_s3_keep_env(cf, names[i][1]) != NGX_OK)
        {
            s3_credentials_release(set);
            return NULL;
        }

        return set;
    }

    if (upstream) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s env\" finds no keys in nginx's "
                           "environment; set %s and %s",
                           directive, names[0][0], names[0][1]);
        return NULL;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%s env\" finds no keys in nginx's "
                       "environment; set S3_ACCESS_KEY and S3_SECRET_KEY (or "
                       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                       "MINIO_ROOT_USER and MINIO_ROOT_PASSWORD)",
                       directive);

    return NULL;
}


/*
 * As "env NAME;": ngx_exec_new_binary() gives the new binary what
 * ngx_set_environment() has been told of, and nothing else.
 */

static ngx_int_t
ngx_http_s3_keep_env(ngx_conf_t *cf, const char *name)
{
    ngx_str_t        *var;
    ngx_uint_t        i;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);
    var = ccf->env.elts;

    for (i = 0; i < ccf->env.nelts; i++) {
        if (var[i].len == ngx_strlen(name)
            && ngx_strncmp(var[i].data, name, var[i].len) == 0)
        {
            return NGX_OK;
        }
    }

    var = ngx_array_push(&ccf->env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    /* ends in NUL, which ngx_set_environment() wants */

    var->data = (u_char *) name;
    var->len = ngx_strlen(name);

    return NGX_OK;
}


static void
ngx_http_s3_credentials_cleanup(void *data)
{
    ngx_http_s3_credentials_t  *c = data;

    s3_credentials_release(c->set);
    c->set = NULL;
}


void
ngx_http_s3_credentials_start(ngx_http_s3_main_conf_t *mcf, ngx_log_t *log)
{
    ngx_uint_t                   i;
    ngx_event_t                 *ev;
    ngx_http_s3_credentials_t  **c;

    c = mcf->credentials.elts;

    for (i = 0; i < mcf->credentials.nelts; i++) {

        if (c[i]->env) {
            continue;
        }

        ev = &c[i]->event;

        ev->handler = ngx_http_s3_refresh_handler;
        ev->data = c[i];
        ev->log = log;
        ev->cancelable = 1;

        ngx_add_timer(ev, c[i]->refresh);
    }
}


static void
ngx_http_s3_refresh_handler(ngx_event_t *ev)
{
    ngx_http_s3_credentials_t  *c = ev->data;

    char                        err[S3_CREDENTIALS_TEXT];
    char                        warning[S3_CREDENTIALS_TEXT];
    s3_credentials_t           *set;
    s3_credentials_stamp_t      stamp;

    if (ngx_exiting) {
        return;
    }

    ngx_add_timer(ev, c->refresh);

    if (!s3_credentials_changed((char *) c->path.data, &c->stamp)) {
        c->failed = 0;
        return;
    }

    set = s3_credentials_load((char *) c->path.data, &stamp, err, warning);

    if (set == NULL) {

        /* the old ones stay; a file is said to be bad once */

        if (!c->failed) {
            ngx_log_error(NGX_LOG_ERR, ev->log, 0,
                          "credentials not reloaded, the old ones stay: %s",
                          err);
            c->failed = 1;
        }

        return;
    }

    s3_credentials_release(c->set);

    c->set = set;
    c->stamp = stamp;
    c->failed = 0;

    ngx_log_error(NGX_LOG_NOTICE, ev->log, 0,
                  "credentials reloaded from \"%V\": %ui keys", &c->path,
                  s3_credentials_count(set));
}
