
/*
 * The store in nginx's processes.
 *
 *     worker           s3_client_t a store; its descriptor (an epoll set) is
 *                      in the worker's own event loop
 *     cache manager    s3_process_t a store, started by the manager callback
 *                      of the runtime path (init_process would also run in
 *                      the cache loader, which leaves after a minute)
 *     master_process off: both in the one process
 *
 * When a master is killed its children live on and keep port and locks: ours
 * ask the kernel for SIGQUIT then, and leave gracefully.
 *
 * Our threads are never joined: they are at work until the process is gone.
 * So nothing may be taken from under them when it ends: nginx unloads modules
 * when it destroys the cycle's pool (this one stays), and exit() runs the
 * destructors of libraries (ours is the last handler, _exit() follows).
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE                    /* dladdr() */
#endif

#include "ngx_http_s3.h"
#include "s3_pool.h"

#include <sys/prctl.h>
#include <dlfcn.h>
#include <stdlib.h>


#if (S3_COVERAGE)

/* libgcov: what exit() would write and _exit() does not */
void __gcov_dump(void);

#endif


/* bounds how long the store process stays for uploads that are under way */
#define NGX_HTTP_S3_LINGER  60000

/* when a store process does not start, and when nothing is to be done */
#define NGX_HTTP_S3_RETRY   1000
#define NGX_HTTP_S3_IDLE    3600000


static void ngx_http_s3_die_with_parent(ngx_log_t *log);
static void ngx_http_s3_stay(ngx_log_t *log);
static void ngx_http_s3_exit(int status, void *data);
static ngx_uint_t ngx_http_s3_start_processes(ngx_http_s3_main_conf_t *mcf);
static void ngx_http_s3_linger(void);
static ngx_int_t ngx_http_s3_start_client(ngx_http_s3_store_t *store,
    ngx_log_t *log);
static void ngx_http_s3_client_handler(ngx_event_t *ev);
static void ngx_http_s3_client_empty_handler(ngx_event_t *ev);
static void ngx_http_s3_worker_log(void *data, int level, const char *text);
static void ngx_http_s3_thread_log(void *data, int level, const char *text);


/* of this process: the configuration whose store processes run in it */
static ngx_http_s3_main_conf_t  *ngx_http_s3_running;
static ngx_uint_t                ngx_http_s3_stays;


ngx_int_t
ngx_http_s3_process_start(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_http_s3_store_t     **stores;
    ngx_http_s3_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_s3_module);

    if (mcf == NULL || (mcf->stores.nelts == 0 && mcf->gateways == 0)) {
        return NGX_OK;
    }

    if (ngx_process == NGX_PROCESS_SINGLE) {
        if (mcf->stores.nelts) {
            (void) ngx_http_s3_start_processes(mcf);
        }

    } else if (ngx_process == NGX_PROCESS_WORKER) {
        ngx_http_s3_die_with_parent(cycle->log);

    } else {
        return NGX_OK;
    }

    /*
     * An error here would end the worker with status 2, after which nginx
     * starts no other: the client is tried again by requests.
     */

    ngx_http_s3_stay(cycle->log);

    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {
        (void) ngx_http_s3_start_client(stores[i], cycle->log);
        ngx_http_s3_counters_start(stores[i]->counters, cycle->log);
    }

    ngx_http_s3_counters_start(mcf->gateway_counters, cycle->log);

    ngx_http_s3_credentials_start(mcf, cycle->log);

    return NGX_OK;
}


void
ngx_http_s3_process_stop(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_connection_t         *c;
    ngx_http_s3_store_t     **stores;
    ngx_http_s3_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_s3_module);

    if (mcf == NULL) {
        return;
    }

    /* the pool with the configuration goes before the exit handlers run */

    ngx_http_s3_running = NULL;

    ngx_http_s3_counters_stop(mcf->gateway_counters);

    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {

        ngx_http_s3_counters_stop(stores[i]->counters);

        c = stores[i]->connection;

        if (c) {

            /* the descriptor is the client's to close */

            (void) ngx_del_event(c->read, NGX_READ_EVENT, 0);

            ngx_free_connection(c);
            c->fd = (ngx_socket_t) -1;

            stores[i]->connection = NULL;
        }

        if (stores[i]->client) {
            s3_client_close(stores[i]->client);
            stores[i]->client = NULL;
        }
    }
}


/*
 * ngx_path_t.manager: called in the cache manager process, at its start and
 * whenever the time it returned has passed.
 */

ngx_msec_t
ngx_http_s3_manager(void *data)
{
    ngx_http_s3_main_conf_t  *mcf = data;

    if (ngx_http_s3_running == NULL) {
        ngx_http_s3_die_with_parent(ngx_cycle->log);
    }

    return ngx_http_s3_start_processes(mcf) ? NGX_HTTP_S3_RETRY
                                            : NGX_HTTP_S3_IDLE;
}


static void
ngx_http_s3_die_with_parent(ngx_log_t *log)
{
    if (prctl(PR_SET_PDEATHSIG, ngx_signal_value(NGX_SHUTDOWN_SIGNAL), 0, 0,
              0)
        == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      "prctl(PR_SET_PDEATHSIG) failed");
        return;
    }

    /* it may be gone already */

    if (getppid() != ngx_parent) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "master process %P is gone, leaving", ngx_parent);
        ngx_quit = 1;
    }
}


/* before the first thread: neither our code nor what it uses goes early */

static void
ngx_http_s3_stay(ngx_log_t *log)
{
    Dl_info  info;

    if (ngx_http_s3_stays) {
        return;
    }

    ngx_http_s3_stays = 1;

    if (dladdr((void *) (uintptr_t) ngx_http_s3_stay, &info) == 0
        || dlopen(info.dli_fname, RTLD_NOW|RTLD_NOLOAD|RTLD_NODELETE) == NULL)
    {
        /* linked into nginx itself: nothing unloads it */

        ngx_log_debug0(NGX_LOG_DEBUG_CORE, log, 0, "s3 module is static");
    }

    if (on_exit(ngx_http_s3_exit, NULL) != 0) {
        ngx_log_error(NGX_LOG_ALERT, log, 0, "on_exit() failed");
    }
}


/* handlers run in reverse order: before OpenSSL's own, whose memory threads
 * use */

static void
ngx_http_s3_exit(int status, void *data)
{
    if (ngx_http_s3_running) {
        ngx_http_s3_linger();
    }

#if (S3_COVERAGE)
    __gcov_dump();
#endif

    _exit(status);
}


/* returns how many did not start */

static ngx_uint_t
ngx_http_s3_start_processes(ngx_http_s3_main_conf_t *mcf)
{
    s3_conf_t              conf;
    ngx_uint_t             i, failed;
    ngx_http_s3_store_t  **stores;

    ngx_http_s3_stay(ngx_cycle->log);
    ngx_http_s3_running = mcf;

    failed = 0;
    stores = mcf->stores.elts;

    for (i = 0; i < mcf->stores.nelts; i++) {

        if (stores[i]->process) {
            continue;
        }

        conf = stores[i]->conf;
        conf.log = ngx_http_s3_thread_log;
        conf.log_data = stores[i];

        stores[i]->process = s3_process_start(&conf);

        if (stores[i]->process == NULL) {
            ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, ngx_errno,
                          "store process of \"%V\" did not start",
                          &stores[i]->name);
            failed++;
            continue;
        }

        ngx_log_debug1(NGX_LOG_DEBUG_CORE, ngx_cycle->log, 0,
                       "s3 store process of \"%V\" started",
                       &stores[i]->name);
    }

    return failed;
}


/*
 * nginx ends its cache manager by exit() as soon as it is told to; workers
 * that finish uploads still need us.  A fast shutdown ends them too.
 */

static void
ngx_http_s3_linger(void)
{
    uint64_t               end, now;
    ngx_uint_t             i, bound;
    ngx_core_conf_t       *ccf;
    ngx_http_s3_store_t  **stores;

    if (ngx_terminate) {
        return;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    bound = ccf->shutdown_timeout ? ccf->shutdown_timeout + 1000
                                  : NGX_HTTP_S3_LINGER;

    stores = ngx_http_s3_running->stores.elts;
    end = s3_now() + bound;

    for (i = 0; i < ngx_http_s3_running->stores.nelts; i++) {
        now = s3_now();

        if (stores[i]->process && now < end) {
            s3_process_linger(stores[i]->process, (unsigned) (end - now));
        }
    }
}


static ngx_int_t
ngx_http_s3_start_client(ngx_http_s3_store_t *store, ngx_log_t *log)
{
    s3_conf_t         *conf;
    ngx_connection_t  *c;

    conf = &store->conf;
    conf->log = ngx_http_s3_worker_log;
    conf->log_data = store;

    store->client = s3_client_create(conf);

    if (store->client == NULL) {
        ngx_log_error(NGX_LOG_CRIT, log, ngx_errno,
                      "client of store \"%V\" was not created", &store->name);
        return NGX_ERROR;
    }

    c = ngx_get_connection(s3_client_fd(store->client), ngx_cycle->log);
    if (c == NULL) {
        goto failed;
    }

    c->data = store;

    c->read->handler = ngx_http_s3_client_handler;
    c->read->log = ngx_cycle->log;
    c->write->handler = ngx_http_s3_client_empty_handler;
    c->write->log = ngx_cycle->log;

    /*
     * Level-triggered: s3_client_process() may leave something for the next
     * time.
     */

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        goto failed;
    }

    store->connection = c;

    return NGX_OK;

failed:

    s3_client_close(store->client);
    store->client = NULL;

    return NGX_ERROR;
}


s3_client_t *
ngx_http_s3_store_client(ngx_http_s3_store_t *store, ngx_log_t *log)
{
    if (store->client == NULL
        && ngx_http_s3_start_client(store, log) != NGX_OK)
    {
        return NULL;
    }

    return store->client;
}


s3_client_t *
ngx_http_s3_client(ngx_http_request_t *r)
{
    ngx_http_s3_loc_conf_t  *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_s3_module);

    return ngx_http_s3_store_client(lcf->store, r->connection->log);
}


static void
ngx_http_s3_client_handler(ngx_event_t *ev)
{
    ngx_connection_t     *c;
    ngx_http_s3_store_t  *store;

    c = ev->data;
    store = c->data;

    /*
     * worker_shutdown_timeout sets c->close and calls every connection's
     * handler: requests end by theirs, this one stays for their cleanup.
     */

    s3_client_process(store->client);
}


static void
ngx_http_s3_client_empty_handler(ngx_event_t *ev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, ev->log, 0,
                   "s3 client empty handler");
}


static void
ngx_http_s3_worker_log(void *data, int level, const char *text)
{
    /* the text names the store */

    ngx_log_error((ngx_uint_t) level, ngx_cycle->log, 0, "s3 %s", text);
}


/*
 * Called on a thread of the store's: no cached time, none of nginx's
 * functions that keep state.  The line is made here and written to the files
 * of the cycle's log (whose descriptors change on "reopen": looked at each
 * time).  Logs that are no file (syslog, memory) cannot be written to from a
 * thread; where there is no other, the line goes to standard error.
 */

static void
ngx_http_s3_thread_log(void *data, int level, const char *text)
{
    u_char             *p, *last;
    ngx_fd_t            fd;
    ngx_log_t          *log;
    ngx_uint_t          written;
    struct tm           tm;
    struct timespec     ts;
    u_char              line[NGX_MAX_ERROR_STR];

    static const char  *levels[] = {
        "stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info",
        "debug"
    };

    if (level < NGX_LOG_STDERR || level > NGX_LOG_DEBUG) {
        level = NGX_LOG_ERR;
    }

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0
        || localtime_r(&ts.tv_sec, &tm) == NULL)
    {
        ngx_memzero(&tm, sizeof(struct tm));
    }

    last = line + NGX_MAX_ERROR_STR - 1;

    p = ngx_slprintf(line, last,
                     "%4d/%02d/%02d %02d:%02d:%02d [%s] %P#" NGX_TID_T_FMT
                     ": s3 %s",
                     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec, levels[level], ngx_pid,
                     ngx_log_tid, text);
    *p++ = '\n';

    written = 0;

    for (log = ngx_cycle->log; log; log = log->next) {

        if (log->log_level < (ngx_uint_t) level
            && !(log->log_level & NGX_LOG_DEBUG_ALL))
        {
            break;
        }

        if (log->writer || log->file == NULL) {
            continue;
        }

        fd = *(volatile ngx_fd_t *) &log->file->fd;

        if (fd != NGX_INVALID_FILE) {
            (void) ngx_write_fd(fd, line, p - line);
            written = 1;
        }
    }

    if (!written && level <= NGX_LOG_NOTICE) {
        (void) ngx_write_fd(ngx_stderr, line, p - line);
    }
}
