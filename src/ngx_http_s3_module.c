
/*
 * An S3 server on local erasure-coded disks, and a gateway before another S3:
 * directives, their defaults, and which handler stands in which phase.  What
 * they do is in src/http/.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_s3_gateway.h"
#include "s3_upstream.h"


static ngx_int_t ngx_http_s3_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_s3_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_s3_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_s3_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_s3_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_s3_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_s3_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);


static ngx_conf_num_bounds_t  ngx_http_s3_thread_bounds = {
    ngx_conf_check_num_bounds, 1, 32
};

static ngx_conf_post_t  ngx_http_s3_memory_post = {
    ngx_http_s3_check_memory
};

static ngx_conf_post_t  ngx_http_s3_documents_post = {
    ngx_http_s3_check_documents
};

static ngx_conf_post_t  ngx_http_s3_index_cache_post = {
    ngx_http_s3_check_cache
};

static ngx_conf_post_t  ngx_http_s3_disk_timeout_post = {
    ngx_http_s3_check_disk_timeout
};

static ngx_conf_post_t  ngx_http_s3_region_post = {
    ngx_http_s3_check_region
};


static ngx_conf_post_t  ngx_http_s3_host_post = {
    ngx_http_s3_check_host
};

static ngx_conf_enum_t  ngx_http_s3_upstream_styles[] = {
    { ngx_string("path"), S3_UPSTREAM_PATH },
    { ngx_string("virtual"), S3_UPSTREAM_VIRTUAL },
    { ngx_null_string, 0 }
};

static ngx_conf_enum_t  ngx_http_s3_checksums[] = {
    { ngx_string("emulate"), NGX_HTTP_S3_CHECKSUMS_EMULATE },
    { ngx_string("pass"), NGX_HTTP_S3_CHECKSUMS_PASS },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_s3_commands[] = {

    { ngx_string("s3_store"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_s3_store_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_runtime_path"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_s3_path_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, runtime_path),
      NULL },

    { ngx_string("s3_state_path"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_s3_path_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, state_path),
      NULL },

    { ngx_string("s3_disk_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, disk_timeout),
      &ngx_http_s3_disk_timeout_post },

    { ngx_string("s3_disk_threads"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, disk_threads),
      &ngx_http_s3_thread_bounds },

    { ngx_string("s3_compute_threads"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, compute_threads),
      &ngx_http_s3_thread_bounds },

    { ngx_string("s3_scrub"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_s3_scrub_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_abort_uploads"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_s3_abort_uploads_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_memory"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, memory),
      &ngx_http_s3_memory_post },

    { ngx_string("s3_document_memory"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, document_memory),
      &ngx_http_s3_documents_post },

    { ngx_string("s3_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_s3_queue_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_index_cache"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_s3_main_conf_t, index_cache),
      &ngx_http_s3_index_cache_post },

    { ngx_string("s3_credentials"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_s3_credentials_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_region"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, region),
      &ngx_http_s3_region_post },

    { ngx_string("s3_domain"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_s3_domain,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_clock_skew"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, clock_skew),
      NULL },

    { ngx_string("s3_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, timeout),
      NULL },

    { ngx_string("s3_min_rate"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_s3_min_rate_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_serve"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_s3_serve,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_gateway"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_s3_gateway_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, gateway),
      NULL },

    { ngx_string("s3_upstream_credentials"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_s3_upstream_credentials,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_upstream_region"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, upstream.region),
      &ngx_http_s3_region_post },

    { ngx_string("s3_upstream_host"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, upstream.host),
      &ngx_http_s3_host_post },

    { ngx_string("s3_upstream_style"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, upstream.style),
      &ngx_http_s3_upstream_styles },

    { ngx_string("s3_checksums"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, upstream.checksums),
      &ngx_http_s3_checksums },

    { ngx_string("s3_checksums_bucket"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_s3_checksums_bucket,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_gateway_buffer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_s3_loc_conf_t, upstream.buffer),
      NULL },

    { ngx_string("s3_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_s3_health,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("s3_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_s3_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_s3_module_ctx = {
    ngx_http_s3_preconfiguration,          /* preconfiguration */
    ngx_http_s3_postconfiguration,         /* postconfiguration */

    ngx_http_s3_create_main_conf,          /* create main configuration */
    ngx_http_s3_init_main_conf,            /* init main configuration */

    ngx_http_s3_create_srv_conf,           /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_s3_create_loc_conf,           /* create location configuration */
    ngx_http_s3_merge_loc_conf             /* merge location configuration */
};


ngx_module_t  ngx_http_s3_module = {
    NGX_MODULE_V1,
    &ngx_http_s3_module_ctx,               /* module context */
    ngx_http_s3_commands,                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_s3_process_start,             /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_s3_process_stop,              /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_s3_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_s3_add_variables(cf);
}


static ngx_int_t
ngx_http_s3_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_array_t                *log;
    ngx_http_handler_pt        *h;
    ngx_http_s3_main_conf_t    *mcf;
    ngx_http_core_main_conf_t  *cmcf;

    static struct {
        ngx_http_phases         phase;
        ngx_http_handler_pt     handler;
    } handlers[] = {
        { NGX_HTTP_SERVER_REWRITE_PHASE, ngx_http_s3_server_rewrite_handler },
        { NGX_HTTP_PREACCESS_PHASE, ngx_http_s3_preaccess_handler },
        { NGX_HTTP_ACCESS_PHASE, ngx_http_s3_access_handler },
        { NGX_HTTP_PRECONTENT_PHASE, ngx_http_s3_precontent_handler }
    };

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);

    if (mcf->stores.nelts == 0 && mcf->gateways == 0) {
        return NGX_OK;
    }

    if (mcf->stores.nelts && ngx_http_s3_init_stores(cf, mcf) != NGX_OK) {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    for (i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        h = ngx_array_push(&cmcf->phases[handlers[i].phase].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = handlers[i].handler;
    }

    /* the log phase runs in order: before the access log is written */

    log = &cmcf->phases[NGX_HTTP_LOG_PHASE].handlers;

    if (ngx_array_push(log) == NULL) {
        return NGX_ERROR;
    }

    h = log->elts;

    ngx_memmove(h + 1, h, (log->nelts - 1) * sizeof(ngx_http_handler_pt));

    h[0] = ngx_http_s3_log_handler;

    ngx_http_s3_init_filters();
    ngx_http_s3_gateway_init_body();

    return NGX_OK;
}


static void *
ngx_http_s3_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_s3_main_conf_t  *mcf;

    mcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_s3_main_conf_t));
    if (mcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&mcf->stores, cf->pool, 2,
                       sizeof(ngx_http_s3_store_t *))
        != NGX_OK
        || ngx_array_init(&mcf->credentials, cf->pool, 2,
                          sizeof(ngx_http_s3_credentials_t *))
           != NGX_OK)
    {
        return NULL;
    }

    mcf->disk_timeout = NGX_CONF_UNSET_MSEC;
    mcf->disk_threads = NGX_CONF_UNSET_UINT;
    mcf->compute_threads = NGX_CONF_UNSET_UINT;
    mcf->upload_age = NGX_CONF_UNSET;
    mcf->scrub_interval = NGX_CONF_UNSET;
    mcf->scrub_rate = NGX_CONF_UNSET_SIZE;
    mcf->memory = NGX_CONF_UNSET_SIZE;
    mcf->document_memory = NGX_CONF_UNSET_SIZE;
    mcf->queue = NGX_CONF_UNSET_UINT;
    mcf->queue_size = NGX_CONF_UNSET_SIZE;
    mcf->index_cache = NGX_CONF_UNSET_SIZE;

    return mcf;
}


static char *
ngx_http_s3_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_s3_main_conf_t  *mcf = conf;

    ngx_conf_init_msec_value(mcf->disk_timeout, 2000);
    ngx_conf_init_uint_value(mcf->disk_threads, 2);
    ngx_conf_init_uint_value(mcf->compute_threads, 2);
    ngx_conf_init_value(mcf->upload_age, 0);
    ngx_conf_init_value(mcf->scrub_interval, 7 * 24 * 60 * 60);
    ngx_conf_init_size_value(mcf->scrub_rate, 8 * 1024 * 1024);
    ngx_conf_init_size_value(mcf->memory, 32 * 1024 * 1024);
    ngx_conf_init_size_value(mcf->document_memory, 32 * 1024 * 1024);
    ngx_conf_init_uint_value(mcf->queue, S3_CONF_QUEUE);
    ngx_conf_init_size_value(mcf->queue_size, S3_CONF_QUEUE_SIZE);
    ngx_conf_init_size_value(mcf->index_cache, 8 * 1024 * 1024);

    return NGX_CONF_OK;
}


static void *
ngx_http_s3_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_s3_srv_conf_t  *scf;

    scf = ngx_pcalloc(cf->pool, sizeof(ngx_http_s3_srv_conf_t));
    if (scf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&scf->mounts, cf->pool, 1, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NULL;
    }

    return scf;
}


static void *
ngx_http_s3_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_s3_loc_conf_t));
    if (lcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     lcf->store_name = { 0, NULL };
     *     lcf->store = NULL;
     *     lcf->region = { 0, NULL };
     *     lcf->upstream.credential, region, host, bucket = { 0, NULL };
     *     lcf->upstream.env = NULL;
     *     lcf->errors = 0;
     */

    lcf->gateway = NGX_CONF_UNSET;
    lcf->upstream.style = NGX_CONF_UNSET_UINT;
    lcf->upstream.checksums = NGX_CONF_UNSET_UINT;
    lcf->upstream.buffer = NGX_CONF_UNSET_SIZE;
    lcf->upstream.orphans = NGX_CONF_UNSET;

    lcf->credentials = NGX_CONF_UNSET_PTR;
    lcf->domains = NGX_CONF_UNSET_PTR;
    lcf->clock_skew = NGX_CONF_UNSET;
    lcf->timeout = NGX_CONF_UNSET_MSEC;
    lcf->min_rate.rate = NGX_CONF_UNSET_SIZE;
    lcf->min_rate.grace = NGX_CONF_UNSET_MSEC;

    return lcf;
}


static char *
ngx_http_s3_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_s3_loc_conf_t  *prev = parent;
    ngx_http_s3_loc_conf_t  *conf = child;

    ngx_conf_merge_ptr_value(conf->credentials, prev->credentials, NULL);
    ngx_conf_merge_str_value(conf->region, prev->region, "us-east-1");
    ngx_conf_merge_ptr_value(conf->domains, prev->domains, NULL);
    ngx_conf_merge_sec_value(conf->clock_skew, prev->clock_skew,
                             S3_AUTH_SKEW);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 10000);
    ngx_conf_merge_size_value(conf->min_rate.rate, prev->min_rate.rate,
                              16 * 1024);
    ngx_conf_merge_msec_value(conf->min_rate.grace, prev->min_rate.grace,
                              NGX_HTTP_S3_GRACE);

    /* the location's own, see ngx_http_s3_merge_location() */

    ngx_conf_init_value(conf->gateway, 0);

    if (ngx_http_s3_merge_upstream(cf, &prev->upstream, &conf->upstream)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return ngx_http_s3_merge_location(cf, prev, conf);
}
