
/*
 * What is counted of requests, where some location has s3_status: in shared
 * memory, a zone a store and one for all gateways, which a reload keeps.
 * Nothing is locked: numbers are added to.
 *
 *     rejected | an operation each: statuses, S3 errors, bytes, times | workers
 *
 * What a worker has at the moment stands in a slot of its own, with its pid: a
 * worker that was killed takes what it had with it.
 */


#include "ngx_http_s3_status.h"

#include <signal.h>


#define NGX_HTTP_S3_LOAD_INTERVAL  1000       /* ms */


static ngx_int_t ngx_http_s3_counters_init(ngx_shm_zone_t *zone, void *data);
static void ngx_http_s3_count_done(void *data);
static void ngx_http_s3_count_refusal(ngx_http_s3_count_table_t *table,
    ngx_http_s3_ctx_t *ctx);
static ngx_uint_t ngx_http_s3_count_unauthorized(ngx_http_s3_ctx_t *ctx);
static void ngx_http_s3_count_time(ngx_http_s3_histogram_t *h,
    ngx_msec_t ms);
static ngx_msec_t ngx_http_s3_count_elapsed(ngx_http_request_t *r);
static ngx_uint_t ngx_http_s3_worker_lives(ngx_atomic_uint_t pid);
static void ngx_http_s3_count_event(ngx_event_t *ev);


#define NGX_HTTP_S3_REASON_TEXT(name, text)  text,
#define NGX_HTTP_S3_NUMBER(n)           n,
#define NGX_HTTP_S3_BUCKET(ms, text)    ms,
#define NGX_HTTP_S3_SECONDS(ms, text)   text,

const ngx_uint_t  ngx_http_s3_statuses[NGX_HTTP_S3_NSTATUSES + 1] = {
    NGX_HTTP_S3_STATUSES(NGX_HTTP_S3_NUMBER) 0
};

const ngx_uint_t  ngx_http_s3_buckets[NGX_HTTP_S3_NBUCKETS] = {
    NGX_HTTP_S3_BUCKETS(NGX_HTTP_S3_BUCKET)
};

const char *const  ngx_http_s3_bucket_texts[NGX_HTTP_S3_NBUCKETS] = {
    NGX_HTTP_S3_BUCKETS(NGX_HTTP_S3_SECONDS)
};


const char *const  ngx_http_s3_reasons[NGX_HTTP_S3_NREASONS] = {
    NGX_HTTP_S3_REASONS(NGX_HTTP_S3_REASON_TEXT)
};


/* NULL: no memory */

ngx_http_s3_counters_t *
ngx_http_s3_counters(ngx_conf_t *cf, ngx_http_s3_store_t *store)
{
    u_char                    *p;
    size_t                     size, pages;
    ngx_str_t                  name;
    ngx_shm_zone_t            *zone;
    ngx_http_s3_counters_t    *counters, **slot;
    ngx_http_s3_main_conf_t   *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_s3_module);

    slot = store ? &store->counters : &mcf->gateway_counters;

    if (*slot) {
        return *slot;
    }

    counters = ngx_pcalloc(cf->pool, sizeof(ngx_http_s3_counters_t));
    if (counters == NULL) {
        return NULL;
    }

    counters->store = store;

    if (store) {
        name.data = ngx_pnalloc(cf->pool, sizeof("s3_store:") - 1
                                          + store->name.len);
        if (name.data == NULL) {
            return NULL;
        }

        p = ngx_sprintf(name.data, "s3_store:%V", &store->name);
        name.len = p - name.data;

    } else {
        ngx_str_set(&name, "s3_gateway:");
    }

    /* the table and, of the slab allocator, its head and a record a page */

    pages = sizeof(ngx_http_s3_count_table_t) / ngx_pagesize + 8;
    size = pages * (ngx_pagesize + sizeof(ngx_slab_page_t));
    size = ngx_align(size, ngx_pagesize);

    zone = ngx_shared_memory_add(cf, &name, size, &ngx_http_s3_module);
    if (zone == NULL) {
        return NULL;
    }

    zone->init = ngx_http_s3_counters_init;
    zone->data = counters;

    *slot = counters;

    return counters;
}


static ngx_int_t
ngx_http_s3_counters_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_s3_counters_t  *old = data;

    ngx_slab_pool_t         *pool;
    ngx_http_s3_counters_t  *counters;

    counters = zone->data;

    if (old) {
        counters->table = old->table;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) zone->shm.addr;

    if (zone->shm.exists) {
        counters->table = pool->data;
        return NGX_OK;
    }

    counters->table = ngx_slab_calloc(pool,
                                      sizeof(ngx_http_s3_count_table_t));
    if (counters->table == NULL) {
        return NGX_ERROR;
    }

    counters->table->started = ngx_time();

    pool->data = counters->table;

    return NGX_OK;
}


/* in a worker, at its start */

void
ngx_http_s3_counters_start(ngx_http_s3_counters_t *counters, ngx_log_t *log)
{
    ngx_uint_t                   i;
    ngx_atomic_uint_t            pid;
    ngx_http_s3_worker_count_t  *w;

    if (counters == NULL) {
        return;
    }

    for (i = 0; i < NGX_HTTP_S3_COUNTED_WORKERS; i++) {

        w = &counters->table->workers[i];
        pid = w->pid;

        if ((pid == 0 || !ngx_http_s3_worker_lives(pid))
            && ngx_atomic_cmp_set(&w->pid, pid, (ngx_atomic_uint_t) ngx_pid))
        {
            w->in_flight = 0;
            w->calls = 0;
            w->waiting = 0;
            w->operations = 0;
            w->uploads = 0;
            w->downloads = 0;

            counters->worker = w;
            break;
        }
    }

    if (counters->worker == NULL) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "more than %d workers: s3_status does not know what "
                      "this one has under way", NGX_HTTP_S3_COUNTED_WORKERS);
        return;
    }

    if (counters->store == NULL) {
        return;
    }

    counters->event.handler = ngx_http_s3_count_event;
    counters->event.data = counters;
    counters->event.log = log;
    counters->event.cancelable = 1;

    ngx_add_timer(&counters->event, NGX_HTTP_S3_LOAD_INTERVAL);
}


void
ngx_http_s3_counters_stop(ngx_http_s3_counters_t *counters)
{
    if (counters && counters->worker) {
        counters->worker->pid = 0;
        counters->worker = NULL;
    }
}


/* memory and queues of a store's client change without any request's doing */

static void
ngx_http_s3_count_event(ngx_event_t *ev)
{
    s3_client_load_t             load;
    ngx_http_s3_counters_t      *counters;
    ngx_http_s3_worker_count_t  *w;

    counters = ev->data;
    w = counters->worker;

    if (w == NULL) {
        return;
    }

    if (counters->store->client) {
        s3_client_load(counters->store->client, &load);

        w->calls = load.calls;
        w->waiting = load.waiting;
        w->operations = load.operations;
        w->uploads = load.uploads;
        w->downloads = load.downloads;
    }

    ngx_add_timer(ev, NGX_HTTP_S3_LOAD_INTERVAL);
}


static ngx_uint_t
ngx_http_s3_worker_lives(ngx_atomic_uint_t pid)
{
    return kill((ngx_pid_t) pid, 0) == 0 || ngx_errno == NGX_EPERM;
}


/*
 * A request of ours is under way, until it is freed.  Its context may go and
 * come again, by an internal redirect; it is one request.
 */

void
ngx_http_s3_count_begin(ngx_http_request_t *r, ngx_http_s3_counters_t *counters)
{
    ngx_http_cleanup_t  *cln;

    if (counters == NULL || counters->worker == NULL) {
        return;
    }

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_s3_count_done) {
            return;
        }
    }

    cln = ngx_http_cleanup_add(r, 0);

    if (cln) {
        cln->handler = ngx_http_s3_count_done;
        cln->data = counters;

        counters->worker->in_flight++;
    }
}


static void
ngx_http_s3_count_done(void *data)
{
    ngx_http_s3_counters_t  *counters = data;

    if (counters->worker) {
        counters->worker->in_flight--;
    }
}


/* the answer begins */

void
ngx_http_s3_count_first(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    if (!ctx->answered) {
        ctx->answered = 1;
        ctx->first = ngx_http_s3_count_elapsed(r);
    }
}


/* in the log phase, once a request */

void
ngx_http_s3_count(ngx_http_request_t *r)
{
    ngx_uint_t                      i, code, status;
    const s3_error_t               *e;
    ngx_http_s3_ctx_t              *ctx;
    ngx_http_s3_loc_conf_t         *lcf;
    ngx_http_s3_count_table_t      *table;
    ngx_http_s3_operation_count_t  *oc;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    if (lcf->counters == NULL || r != r->main) {
        return;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_s3_module);

    /* a server's own answers but for its errors, see the header filter */

    if (ctx == NULL && !ngx_http_s3_is_ours(lcf)) {
        return;
    }

    table = lcf->counters->table;
    oc = &table->operations[ctx && ctx->operation ? ctx->operation->id
                                                  : S3_OP_NONE];

    /* what was sent: an error page's own is S3's by then */

    status = r->headers_out.status ? r->headers_out.status : r->err_status;

    for (i = 0; i < NGX_HTTP_S3_NSTATUSES; i++) {
        if (ngx_http_s3_statuses[i] == status) {
            break;
        }
    }

    if (ctx && ctx->fail.error != S3_OK
        && ctx->fail.error != S3_ERR_NOT_MODIFIED)
    {
        code = ctx->fail.error;
        e = s3_error(code);

        if (ctx->fail.code.len
            && (ctx->fail.code.len != e->code.len
                || ngx_memcmp(ctx->fail.code.data, e->code.data, e->code.len)
                   != 0))
        {
            code = S3_ERR_LAST;
        }

        (void) ngx_atomic_fetch_add(&oc->error[code], 1);

        ngx_http_s3_count_refusal(table, ctx);

    } else if (status == NGX_HTTP_CLIENT_CLOSED_REQUEST
               || r->connection->error || r->connection->timedout)
    {
        (void) ngx_atomic_fetch_add(&oc->canceled, 1);
    }

    if (r->request_length > 0) {
        (void) ngx_atomic_fetch_add(&oc->received, r->request_length);
    }

    if (r->connection->sent > 0) {
        (void) ngx_atomic_fetch_add(&oc->sent, r->connection->sent);
    }

    ngx_http_s3_count_time(&oc->duration, ngx_http_s3_count_elapsed(r));

    if (ctx && ctx->answered) {
        ngx_http_s3_count_time(&oc->first, ctx->first);
    }

    /* the last: who sees the request sees all that came of it */

    (void) ngx_atomic_fetch_add(&oc->status[i], 1);
}


/* why it was turned away, if that is what it was */

static void
ngx_http_s3_count_refusal(ngx_http_s3_count_table_t *table,
    ngx_http_s3_ctx_t *ctx)
{
    ngx_uint_t  reason;

    reason = NGX_HTTP_S3_REASON_LAST;

    if (ctx->reason) {
        reason = ctx->reason - 1;

    } else if (!ctx->authorized) {
        reason = ngx_http_s3_count_unauthorized(ctx);
    }

    if (reason != NGX_HTTP_S3_REASON_LAST) {
        (void) ngx_atomic_fetch_add(&table->rejected[reason], 1);
    }
}


/* nobody's operation came to be */

static ngx_uint_t
ngx_http_s3_count_unauthorized(ngx_http_s3_ctx_t *ctx)
{
    switch (ctx->fail.error) {

    case S3_ERR_REQUEST_TIME_TOO_SKEWED:
        return NGX_HTTP_S3_REASON_TIME;

    case S3_ERR_ACCESS_DENIED:
    case S3_ERR_AUTHORIZATION_HEADER_MALFORMED:
    case S3_ERR_AUTHORIZATION_QUERY_PARAMETERS_ERROR:
    case S3_ERR_EXPIRED_TOKEN:
    case S3_ERR_INVALID_ACCESS_KEY_ID:
    case S3_ERR_INVALID_TOKEN:
    case S3_ERR_MISSING_SECURITY_HEADER:
    case S3_ERR_SIGNATURE_DOES_NOT_MATCH:
    case S3_ERR_UNSUPPORTED_SIGNATURE:
        return NGX_HTTP_S3_REASON_AUTH;

    default:
        return ctx->operation == NULL ? NGX_HTTP_S3_REASON_INVALID
                                      : NGX_HTTP_S3_REASON_LAST;
    }
}


static void
ngx_http_s3_count_time(ngx_http_s3_histogram_t *h, ngx_msec_t ms)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_S3_NBUCKETS; i++) {
        if (ms <= ngx_http_s3_buckets[i]) {
            break;
        }
    }

    (void) ngx_atomic_fetch_add(&h->n[i], 1);
    (void) ngx_atomic_fetch_add(&h->ms, ms);
}


/* as $request_time */

static ngx_msec_t
ngx_http_s3_count_elapsed(ngx_http_request_t *r)
{
    ngx_time_t      *tp;
    ngx_msec_int_t   ms;

    tp = ngx_timeofday();

    ms = (ngx_msec_int_t) ((tp->sec - r->start_sec) * 1000
                           + (tp->msec - r->start_msec));

    return ngx_max(ms, 0);
}


ngx_atomic_uint_t
ngx_http_s3_count_requests(ngx_http_s3_operation_count_t *oc)
{
    ngx_uint_t         i;
    ngx_atomic_uint_t  n;

    n = 0;

    for (i = 0; i <= NGX_HTTP_S3_NSTATUSES; i++) {
        n += oc->status[i];
    }

    return n;
}


ngx_str_t *
ngx_http_s3_count_name(ngx_uint_t operation)
{
    const s3_operation_t  *op;

    static ngx_str_t  unknown = ngx_string("Unknown");

    op = s3_operation(operation);

    return op ? (ngx_str_t *) &op->name : &unknown;
}


const ngx_str_t *
ngx_http_s3_count_code(ngx_uint_t error)
{
    static ngx_str_t  other = ngx_string("Other");

    return error < S3_ERR_LAST ? &s3_error(error)->code : &other;
}


void
ngx_http_s3_count_load(ngx_http_s3_count_table_t *table,
    ngx_http_s3_worker_count_t *load)
{
    ngx_uint_t                   i;
    ngx_http_s3_worker_count_t  *w;

    for (i = 0; i < NGX_HTTP_S3_COUNTED_WORKERS; i++) {
        w = &table->workers[i];

        if (w->pid == 0 || !ngx_http_s3_worker_lives(w->pid)) {
            continue;
        }

        load->in_flight += w->in_flight;
        load->calls += w->calls;
        load->waiting += w->waiting;
        load->operations += w->operations;
        load->uploads += w->uploads;
        load->downloads += w->downloads;
    }
}
