
/*
 * What the directives do: blocks, files, checks.  Every complaint names the
 * file and the line, and says what to write instead.
 */


#include "ngx_http_s3.h"
#include "s3_format.h"


#define NGX_HTTP_S3_STORE_NAME_MAX  32
#define NGX_HTTP_S3_RUNTIME_PATH    "s3/run"
#define NGX_HTTP_S3_STATE_PATH      "s3/state"
#define NGX_HTTP_S3_MIN_MEMORY      (4 * 1024 * 1024)
#define NGX_HTTP_S3_MIN_DOCUMENTS   (16 * 1024 * 1024)
#define NGX_HTTP_S3_MIN_QUEUE       16
#define NGX_HTTP_S3_MAX_QUEUE       65536
#define NGX_HTTP_S3_MIN_QUEUE_SIZE  (1024 * 1024)
#define NGX_HTTP_S3_MAX_QUEUE_SIZE  (1024 * 1024 * 1024)
#define NGX_HTTP_S3_MAX_MIN_RATE    (16 * 1024 * 1024)
#define NGX_HTTP_S3_MIN_CACHE       (512 * 1024)


static char *ngx_http_s3_store_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);
static char *ngx_http_s3_store_disk(ngx_conf_t *cf,
    ngx_http_s3_store_t *store, ngx_str_t *value);
static ngx_uint_t ngx_http_s3_nested(ngx_str_t *dir, ngx_str_t *path);
static char *ngx_http_s3_merge_serve(ngx_conf_t *cf,
    ngx_http_s3_loc_conf_t *prev, ngx_http_s3_loc_conf_t *conf);
static ngx_int_t ngx_http_s3_full_path(ngx_conf_t *cf, ngx_str_t *path);
static ngx_int_t ngx_http_s3_add_path(ngx_conf_t *cf, ngx_path_t **path,
    char *name, ngx_path_manager_pt manager, void *data);
static ngx_int_t ngx_http_s3_init_store(ngx_conf_t *cf,
    ngx_http_s3_main_conf_t *mcf, ngx_http_s3_store_t *store);
static ngx_int_t ngx_http_s3_check_disks(ngx_conf_t *cf,
    ngx_http_s3_store_t *store);


char *
ngx_http_s3_store_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_main_conf_t  *mcf = conf;

    u_char                    ch;
    char                     *rv;
    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_conf_t                save;
    ngx_http_s3_store_t      *store, **stores;

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > NGX_HTTP_S3_STORE_NAME_MAX) {
        goto invalid;
    }

    for (i = 0; i < value[1].len; i++) {
        ch = value[1].data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-'))
        {
            goto invalid;
        }
    }

    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {
        if (stores[i]->name.len == value[1].len
            && ngx_strncmp(stores[i]->name.data, value[1].data, value[1].len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "store \"%V\" is defined twice, first in "
                               "%s:%ui; give it another name",
                               &value[1], stores[i]->file, stores[i]->line);
            return NGX_CONF_ERROR;
        }
    }

    store = ngx_pcalloc(cf->pool, sizeof(ngx_http_s3_store_t));
    if (store == NULL) {
        return NGX_CONF_ERROR;
    }

    store->name = value[1];
    store->parity = NGX_CONF_UNSET_UINT;
    store->file = cf->conf_file->file.name.data;
    store->line = cf->conf_file->line;

    if (ngx_array_init(&store->disks, cf->pool, 4, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    stores = ngx_array_push(&mcf->stores);
    if (stores == NULL) {
        return NGX_CONF_ERROR;
    }

    *stores = store;

    save = *cf;

    cf->handler = ngx_http_s3_store_directive;
    cf->handler_conf = (char *) store;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (store->disks.nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "store \"%V\" has no disks; add \"disk PATH;\" "
                           "for each drive", &store->name);
        return NGX_CONF_ERROR;
    }

    if (store->parity == NGX_CONF_UNSET_UINT) {
        store->parity = store->disks.nelts / 2;
    }

    if (store->parity > store->disks.nelts / 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parity %ui of store \"%V\" is more than half of "
                           "its %ui disks; write \"parity %ui;\" or less",
                           store->parity, &store->name, store->disks.nelts,
                           store->disks.nelts / 2);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid store name \"%V\"; use 1 to %d letters, "
                       "digits, \"_\" and \"-\"",
                       &value[1], NGX_HTTP_S3_STORE_NAME_MAX);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_s3_store_directive(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    ngx_http_s3_store_t  *store = conf;

    ngx_int_t             n;
    ngx_str_t            *value;

    value = cf->args->elts;

    if (ngx_strcmp(value[0].data, "disk") == 0) {

        if (cf->args->nelts != 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"disk\" takes one path; write a \"disk\" "
                               "for each drive");
            return NGX_CONF_ERROR;
        }

        return ngx_http_s3_store_disk(cf, store, &value[1]);
    }

    if (ngx_strcmp(value[0].data, "parity") == 0) {

        if (store->parity != NGX_CONF_UNSET_UINT) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"parity\" is duplicate");
            return NGX_CONF_ERROR;
        }

        n = NGX_ERROR;

        if (cf->args->nelts == 2) {
            n = ngx_atoi(value[1].data, value[1].len);
        }

        if (n == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"parity\"; write a number from 0 to "
                               "half of the disks");
            return NGX_CONF_ERROR;
        }

        store->parity = n;

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in s3_store; it knows "
                       "\"disk\" and \"parity\"", &value[0]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_s3_store_disk(ngx_conf_t *cf, ngx_http_s3_store_t *store,
    ngx_str_t *value)
{
    ngx_str_t                 path, *disk;
    ngx_uint_t                i, s;
    ngx_file_info_t           fi, other;
    ngx_http_s3_store_t     **stores;
    ngx_http_s3_main_conf_t  *mcf;

    if (store->disks.nelts == S3_MAX_DISKS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "store \"%V\" has more than %d disks; spread them "
                           "over several stores", &store->name, S3_MAX_DISKS);
        return NGX_CONF_ERROR;
    }

    if (value->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty path of a disk; name its directory");
        return NGX_CONF_ERROR;
    }

    path = *value;

    if (ngx_http_s3_full_path(cf, &path) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);
    stores = mcf->stores.elts;

    for (s = 0; s < mcf->stores.nelts; s++) {

        disk = stores[s]->disks.elts;

        for (i = 0; i < stores[s]->disks.nelts; i++) {

            if (ngx_strcmp(disk[i].data, path.data) == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "disk \"%V\" is named twice; each disk "
                                   "needs a directory of its own", &path);
                return NGX_CONF_ERROR;
            }

            if (ngx_http_s3_nested(&disk[i], &path)
                || ngx_http_s3_nested(&path, &disk[i]))
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "disks \"%V\" and \"%V\" are one within "
                                   "the other; each needs a directory of its "
                                   "own, on a drive of its own",
                                   &disk[i], &path);
                return NGX_CONF_ERROR;
            }

            /* a link, or a directory mounted twice */

            if (ngx_file_info(path.data, &fi) != NGX_FILE_ERROR
                && ngx_file_info(disk[i].data, &other) != NGX_FILE_ERROR
                && fi.st_dev == other.st_dev && fi.st_ino == other.st_ino)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "disks \"%V\" and \"%V\" are the same "
                                   "directory; each disk needs its own",
                                   &disk[i], &path);
                return NGX_CONF_ERROR;
            }
        }
    }

    disk = ngx_array_push(&store->disks);
    if (disk == NULL) {
        return NGX_CONF_ERROR;
    }

    *disk = path;

    return NGX_CONF_OK;
}


/*
 * Whether path is below dir: as they are written and, for "nginx -t" alone
 * (to ask takes the disk's answer), with all links followed.
 */

static ngx_uint_t
ngx_http_s3_nested(ngx_str_t *dir, ngx_str_t *path)
{
    char        *d, *p;
    size_t       len;
    ngx_uint_t   nested;

    len = (dir->len == 1) ? 0 : dir->len;

    if (path->len > len && ngx_strncmp(path->data, dir->data, len) == 0
        && path->data[len] == '/')
    {
        return 1;
    }

    if (!ngx_test_config) {
        return 0;
    }

    nested = 0;

    d = realpath((char *) dir->data, NULL);
    p = realpath((char *) path->data, NULL);

    if (d && p) {
        len = (d[1] == '\0') ? 0 : ngx_strlen(d);

        nested = (ngx_strlen(p) > len && ngx_strncmp(p, d, len) == 0
                  && p[len] == '/');
    }

    free(d);
    free(p);

    return nested;
}


/* absolute, "//" and "/./" and trailing slashes taken out, ends in NUL */

static ngx_int_t
ngx_http_s3_full_path(ngx_conf_t *cf, ngx_str_t *path)
{
    u_char     *p, *dst, *last;
    ngx_str_t   full;

    full = *path;

    if (ngx_conf_full_name(cf->cycle, &full, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    path->data = ngx_pnalloc(cf->pool, full.len + 2);
    if (path->data == NULL) {
        return NGX_ERROR;
    }

    p = full.data;
    last = full.data + full.len;
    dst = path->data;

    while (p < last) {

        if (*p == '/') {
            while (p < last
                   && (*p == '/'
                       || (*p == '.' && p[-1] == '/'
                           && (p + 1 == last || p[1] == '/'))))
            {
                p++;
            }

            *dst++ = '/';
            continue;
        }

        *dst++ = *p++;
    }

    if (dst - path->data > 1 && dst[-1] == '/') {
        dst--;
    }

    *dst = '\0';
    path->len = dst - path->data;

    return NGX_OK;
}


/*
 * As ngx_conf_set_path_slot(), without levels, and not yet in the cycle's
 * list of paths: that is done where a store is defined.
 */

char *
ngx_http_s3_path_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char        *p = conf;

    ngx_str_t   *value;
    ngx_path_t  *path, **slot;

    slot = (ngx_path_t **) (p + cmd->offset);

    if (*slot) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty path; name a directory";
    }

    path = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
    if (path == NULL) {
        return NGX_CONF_ERROR;
    }

    path->name = value[1];

    if (ngx_http_s3_full_path(cf, &path->name) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    path->conf_file = cf->conf_file->file.name.data;
    path->line = cf->conf_file->line;

    *slot = path;

    return NGX_CONF_OK;
}


/* post handlers: nginx names the directive before, file and line after */

char *
ngx_http_s3_check_memory(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *memory = data;

    if (*memory < NGX_HTTP_S3_MIN_MEMORY) {
        return "is less than 4m: not even two uploads fit; write "
               "\"s3_memory 32m;\"";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_s3_check_documents(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *memory = data;

    if (*memory < NGX_HTTP_S3_MIN_DOCUMENTS) {
        return "is less than 16m: not even one large DeleteObjects fits; "
               "write \"s3_document_memory 32m;\"";
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_s3_parameter(ngx_conf_t *cf, const char *name, const char *what,
    ngx_str_t *s)
{
    size_t      n;
    ngx_str_t  *value;

    value = cf->args->elts;
    n = ngx_strlen(name);

    if (ngx_strncmp(value[2].data, name, n) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"; write \"%s%s\"",
                           &value[2], name, what);
        return NGX_ERROR;
    }

    s->data = value[2].data + n;
    s->len = value[2].len - n;

    return NGX_OK;
}


/* s3_queue number [size=size] */

char *
ngx_http_s3_queue_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_main_conf_t  *mcf = conf;

    ssize_t                   size;
    ngx_int_t                 n;
    ngx_str_t                *value, s;

    if (mcf->queue != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n < NGX_HTTP_S3_MIN_QUEUE
        || n > NGX_HTTP_S3_MAX_QUEUE)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number \"%V\"; write \"s3_queue 4096;\", "
                           "16 to 65536", &value[1]);
        return NGX_CONF_ERROR;
    }

    mcf->queue = n;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_http_s3_parameter(cf, "size=", "SIZE", &s) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR || size < NGX_HTTP_S3_MIN_QUEUE_SIZE
        || size > NGX_HTTP_S3_MAX_QUEUE_SIZE)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"; write a size such as "
                           "\"size=16m\", 1m to 1g", &value[2]);
        return NGX_CONF_ERROR;
    }

    mcf->queue_size = size;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_check_cache(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *cache = data;

    if (*cache < NGX_HTTP_S3_MIN_CACHE) {
        return "is less than 512k; write \"s3_index_cache 8m;\"";
    }

    return NGX_CONF_OK;
}


/* "off", which is 0, or a time in seconds: the first argument */

static char *
ngx_http_s3_off_or_time(ngx_conf_t *cf, ngx_command_t *cmd, time_t *sec)
{
    ngx_int_t   time;
    ngx_str_t  *value;

    if (*sec != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        *sec = 0;
        return NGX_CONF_OK;
    }

    time = ngx_parse_time(&value[1], 1);

    if (time == NGX_ERROR || time < 1 || time > 0x7fffffff) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\"; write \"%V 7d;\", at least "
                           "1s, or \"%V off;\"", &value[1], &cmd->name,
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    *sec = time;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_abort_uploads_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_main_conf_t  *mcf = conf;

    return ngx_http_s3_off_or_time(cf, cmd, &mcf->upload_age);
}


/* s3_scrub off | interval [rate=size] */

char *
ngx_http_s3_scrub_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_main_conf_t  *mcf = conf;

    char                     *rv;
    ssize_t                   rate;
    ngx_str_t                *value, s;

    value = cf->args->elts;

    rv = ngx_http_s3_off_or_time(cf, cmd, &mcf->scrub_interval);

    if (rv != NGX_CONF_OK || cf->args->nelts == 2) {
        return rv;
    }

    if (mcf->scrub_interval == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"s3_scrub off\" takes no \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_s3_parameter(cf, "rate=", "SIZE", &s) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    rate = ngx_parse_size(&s);

    if (rate == NGX_ERROR || rate < 1024) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"; write a size a second "
                           "such as \"rate=8m\", at least 1k", &value[2]);
        return NGX_CONF_ERROR;
    }

    mcf->scrub_rate = rate;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_check_disk_timeout(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *timeout = data;

    if (*timeout == 0) {
        return "is 0: every disk would be late; write "
               "\"s3_disk_timeout 2s;\"";
    }

    return NGX_CONF_OK;
}


/* s3_min_rate off | rate [grace=time] */

char *
ngx_http_s3_min_rate_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t  *lcf = conf;

    ssize_t                  rate;
    ngx_int_t                grace;
    ngx_str_t               *value, s;

    if (lcf->min_rate.rate != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    value = cf->args->elts;

    /* both or none of them is inherited */

    lcf->min_rate.grace = NGX_HTTP_S3_GRACE;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"s3_min_rate off\" takes no \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        lcf->min_rate.rate = 0;

        return NGX_CONF_OK;
    }

    rate = ngx_parse_size(&value[1]);

    if (rate == NGX_ERROR || rate < 1 || rate > NGX_HTTP_S3_MAX_MIN_RATE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid rate \"%V\"; write bytes a second such "
                           "as \"s3_min_rate 16k;\", 1 to 16m, or "
                           "\"s3_min_rate off;\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    lcf->min_rate.rate = rate;

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_http_s3_parameter(cf, "grace=", "TIME", &s) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    grace = ngx_parse_time(&s, 0);

    if (grace == NGX_ERROR || grace < 1000 || grace > 3600000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"; write a time such as "
                           "\"grace=10s\", 1s to 1h", &value[2]);
        return NGX_CONF_ERROR;
    }

    lcf->min_rate.grace = grace;

    return NGX_CONF_OK;
}


/* It stands between slashes in the scope of every signature. */

char *
ngx_http_s3_check_region(ngx_conf_t *cf, void *post, void *data)
{
    ngx_str_t  *region = data;

    u_char      ch;
    size_t      i;

    for (i = 0; i < region->len; i++) {
        ch = region->data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9')
              || ch == '-' || ch == '_' || ch == '.'))
        {
            break;
        }
    }

    if (i == 0 || i > 32 || i != region->len) {
        return "is no region; write 1 to 32 letters, digits, \"-\", \"_\" "
               "and \".\", such as \"us-east-1\"";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_s3_serve(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_s3_loc_conf_t    *lcf = conf;

    char                      *rv;
    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    if (lcf->store_name.data) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "follows a directive such as \"proxy_pass\", which serves "
               "this location already; give each a location of its own";
    }

    if (lcf->gateway == 1) {
        return "and \"s3_gateway\" cannot be in one location";
    }

    rv = ngx_http_s3_mount(cf, lcf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    value = cf->args->elts;

    lcf->store_name = value[1];

    clcf->handler = ngx_http_s3_content_handler;

    return NGX_CONF_OK;
}


char *
ngx_http_s3_mount(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *lcf)
{
    ngx_str_t                 *mount;
    ngx_uint_t                 regex;
    ngx_http_s3_srv_conf_t    *scf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

#if (NGX_PCRE)
    regex = (clcf->regex != NULL);
#else
    regex = 0;
#endif

    if (regex || clcf->named || clcf->noname || clcf->exact_match
        || clcf->name.len == 0 || clcf->name.data[0] != '/')
    {
        return "needs a prefix location, whose name is the path to strip; "
               "write it in \"location /\" or \"location /storage/\"";
    }

    lcf->mount = clcf->name;
    lcf->file = cf->conf_file->file.name.data;
    lcf->line = cf->conf_file->line;

    scf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_s3_module);
    scf->serves = 1;

    if (lcf->mount.len > 1 && lcf->mount.data[lcf->mount.len - 1] == '/') {
        mount = ngx_array_push(&scf->mounts);
        if (mount == NULL) {
            return NGX_CONF_ERROR;
        }

        *mount = lcf->mount;
    }

    return NGX_CONF_OK;
}


ngx_http_s3_store_t *
ngx_http_s3_find_store(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_s3_store_t      **stores;
    ngx_http_s3_main_conf_t   *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);
    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {
        if (stores[i]->name.len == name->len
            && ngx_strncmp(stores[i]->name.data, name->data, name->len) == 0)
        {
            return stores[i];
        }
    }

    return NULL;
}


/*
 * Called for each location once all is read and nginx's core has merged its
 * own: stores may be defined after they are used.
 */

char *
ngx_http_s3_merge_location(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    conf->error_pages = clcf->error_pages;

    if (conf->status || (prev->status && clcf->noname)) {
        return ngx_http_s3_merge_status(cf, prev, conf);
    }

    if (conf->gateway) {
        return ngx_http_s3_merge_gateway(cf, prev, conf);
    }

    if (conf->store_name.data) {
        return ngx_http_s3_merge_serve(cf, prev, conf);
    }

    if (conf->health_name.data || conf->health_upstream || prev->health) {
        return ngx_http_s3_merge_health(cf, prev, conf);
    }

    /* "if" and "limit_except" within a location of ours */

    if (clcf->noname && ngx_http_s3_is_ours(prev)) {
        conf->store = prev->store;
        conf->gateway = prev->gateway;
        conf->mount = prev->mount;
        conf->errors = prev->errors;
        conf->no_pages = prev->no_pages;
        conf->counters = prev->counters;

        if (conf->no_pages && clcf->error_pages == prev->error_pages) {
            clcf->error_pages = NULL;
        }

        if (clcf->lmt_excpt && clcf->handler == NULL && conf->store) {
            clcf->handler = ngx_http_s3_content_handler;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_s3_merge_serve(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    conf->store = ngx_http_s3_find_store(cf, &conf->store_name);

    if (conf->store == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "store \"%V\" is not defined; add \"s3_store %V { disk "
                      "PATH; ... }\" to http{} in %s:%ui",
                      &conf->store_name, &conf->store_name, conf->file,
                      conf->line);
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler != ngx_http_s3_content_handler) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "a directive such as \"proxy_pass\" follows s3_serve "
                      "and would serve its location instead; give each a "
                      "location of its own in %s:%ui",
                      conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    return ngx_http_s3_check_location(cf, prev, conf, "s3_serve");
}


char *
ngx_http_s3_check_location(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf, const char *directive)
{
    ngx_http_s3_main_conf_t   *mcf;
    ngx_http_core_srv_conf_t  *cscf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->credentials == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "%s without credentials: nobody could sign a "
                      "request; add \"s3_credentials FILE;\" in %s:%ui",
                      directive, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (conf->timeout == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "s3_timeout is 0; write a time such as \"10s\" for "
                      "%s:%ui", conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"satisfy any\" would let requests in without a "
                      "signature; write \"satisfy all;\" in the location of "
                      "%s in %s:%ui", directive, conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (cscf->ignore_invalid_headers) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "nginx drops headers with \"_\" or \".\" in their "
                      "names, metadata and signatures break; add \"include "
                      "s3_params;\" to the server of %s in %s:%ui",
                      directive, conf->file, conf->line);
    }

    if (clcf->client_max_body_size != 0
        && (uint64_t) clcf->client_max_body_size < NGX_HTTP_S3_MAX_PUT)
    {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "client_max_body_size is %O bytes, S3 allows 5g in one "
                      "upload; add \"include s3_params;\" to the server of "
                      "%s in %s:%ui",
                      clcf->client_max_body_size, directive, conf->file,
                      conf->line);
    }

    ngx_http_s3_check_domains(cf, conf, directive);

    /*
     * "error_page 500 502 503 504 /50x.html;" stands in most servers and is
     * meant for people; one in the location itself is meant.
     */

    if (clcf->error_pages && clcf->error_pages == prev->error_pages) {
        conf->no_pages = 1;
        clcf->error_pages = NULL;
    }

    conf->errors = 1;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);

    if (mcf->status) {
        conf->counters = ngx_http_s3_counters(cf, conf->store);
        if (conf->counters == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    /*
     * Errors found before a location is (a bad request line, too large
     * headers) are answered with the server's configuration.
     */

    if (conf->mount.len == 1) {
        prev->errors = 1;
        prev->counters = conf->counters;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_s3_init_stores(ngx_conf_t *cf, ngx_http_s3_main_conf_t *mcf)
{
    ngx_uint_t             i;
    ngx_http_s3_store_t  **stores;

    /*
     * The runtime path's manager is what makes nginx start its cache manager
     * process, in which our store processes are.
     */

    if (ngx_http_s3_add_path(cf, &mcf->runtime_path, NGX_HTTP_S3_RUNTIME_PATH,
                             ngx_http_s3_manager, mcf)
        != NGX_OK
        || ngx_http_s3_add_path(cf, &mcf->state_path, NGX_HTTP_S3_STATE_PATH,
                                NULL, &mcf->state_path)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {
        if (ngx_http_s3_init_store(cf, mcf, stores[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        if (ngx_test_config
            && ngx_http_s3_check_disks(cf, stores[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_add_path(ngx_conf_t *cf, ngx_path_t **slot, char *name,
    ngx_path_manager_pt manager, void *data)
{
    ngx_err_t    err;
    ngx_path_t  *path;

    path = *slot;

    if (path == NULL) {
        path = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
        if (path == NULL) {
            return NGX_ERROR;
        }

        path->name.data = (u_char *) name;
        path->name.len = ngx_strlen(name);

        if (ngx_http_s3_full_path(cf, &path->name) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    path->manager = manager;
    path->data = data;

    *slot = path;

    if (ngx_add_path(cf, slot) != NGX_OK) {
        return NGX_ERROR;
    }

    /* nginx makes the last directory of a path, and gives it to workers */

    err = ngx_create_full_path(path->name.data, 0755);

    if (err) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, err,
                      ngx_create_dir_n " for \"%V\" failed", &path->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_s3_init_store(ngx_conf_t *cf, ngx_http_s3_main_conf_t *mcf,
    ngx_http_s3_store_t *store)
{
    u_char       *p;
    ngx_str_t    *disk;
    ngx_uint_t    i;
    s3_conf_t    *conf;
    const char  **disks;

    conf = &store->conf;

    p = ngx_pnalloc(cf->pool, store->name.len + 1);
    disks = ngx_palloc(cf->pool, store->disks.nelts * sizeof(char *));

    if (p == NULL || disks == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(p, store->name.data, store->name.len + 1);

    disk = store->disks.elts;

    for (i = 0; i < store->disks.nelts; i++) {
        disks[i] = (const char *) disk[i].data;
    }

    conf->name = (const char *) p;
    conf->runtime = (const char *) mcf->runtime_path->name.data;
    conf->state = (const char *) mcf->state_path->name.data;
    conf->ndisks = store->disks.nelts;
    conf->disks = disks;
    conf->parity = store->parity;
    conf->late = mcf->disk_timeout;
    conf->threads = mcf->disk_threads;
    conf->compute = mcf->compute_threads;
    conf->upload_age = mcf->upload_age;
    conf->scrub_interval = mcf->scrub_interval;
    conf->scrub_rate = mcf->scrub_rate;
    conf->memory = mcf->memory;
    conf->queue = mcf->queue;
    conf->queue_size = mcf->queue_size;
    conf->cache = mcf->index_cache;

    return NGX_OK;
}


/*
 * A set that was formed with other numbers is another set.  Only "nginx -t"
 * looks: the master must not wait for a disk that hangs; what the store
 * process finds it says in the log.
 */

static ngx_int_t
ngx_http_s3_check_disks(ngx_conf_t *cf, ngx_http_s3_store_t *store)
{
    ngx_str_t    *disk;
    ngx_uint_t    i;
    s3_format_t   f;

    disk = store->disks.elts;

    for (i = 0; i < store->disks.nelts; i++) {

        if (s3_format_check((char *) disk[i].data, store->disks.nelts,
                            store->parity, &f)
            != EINVAL)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "disk \"%V\" belongs to a set of %ui disks with parity "
                      "%ui, store \"%V\" has %ui with parity %ui; write it "
                      "as it was formed in %s:%ui",
                      &disk[i], (ngx_uint_t) f.ndisks, (ngx_uint_t) f.parity,
                      &store->name, store->disks.nelts, store->parity,
                      store->file, store->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}
