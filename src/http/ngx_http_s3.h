
/*
 * What the files of this room share: configurations, and the context of a
 * request.
 *
 *     preaccess   ngx_http_s3_request.c    the target becomes an operation
 *     access      ngx_http_s3_request.c    SigV4's verdict
 *     content     one file an operation    which end with
 *                 ngx_http_s3_error.c      an S3 error, or an answer
 *     filters     ngx_http_s3_filter.c     request id; nginx's errors as S3's
 *
 * A request that waits for the store has called ngx_http_s3_wait(), and holds
 * one count of r->main.  It goes on in a callback of s3_client_process(), or
 * ends by the timer.  Whatever the store does for it is called off by
 * ngx_http_s3_release(), at the latest in the request's cleanup.
 */


#ifndef _NGX_HTTP_S3_H_INCLUDED_
#define _NGX_HTTP_S3_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_s3_compat.h"

#include "s3_error.h"
#include "s3_header.h"
#include "s3_target.h"
#include "s3_operation.h"
#include "s3_condition.h"
#include "s3_range.h"
#include "s3_sigv4.h"
#include "s3_body.h"
#include "s3_complete.h"
#include "s3_copy.h"
#include "s3_list.h"
#include "s3_multipart.h"
#include "s3_client.h"
#include "s3_process.h"


#define NGX_HTTP_S3_MAX_PUT        ((uint64_t) 5 * 1024 * 1024 * 1024)
#define NGX_HTTP_S3_MAX_XML        (64 * 1024)

/* is not counted as a document */
#define NGX_HTTP_S3_SMALL_LIST     (64 * 1024)

#define NGX_HTTP_S3_REQUEST_ID     16


typedef struct ngx_http_s3_ctx_s       ngx_http_s3_ctx_t;
typedef struct ngx_http_s3_payload_s   ngx_http_s3_payload_t;
typedef struct ngx_http_s3_copy_s      ngx_http_s3_copy_t;
typedef struct ngx_http_s3_gateway_s   ngx_http_s3_gateway_t;
typedef struct ngx_http_s3_ask_s       ngx_http_s3_ask_t;
typedef struct ngx_http_s3_counters_s  ngx_http_s3_counters_t;


/* s3_store NAME { ... } */

typedef struct {
    ngx_str_t                     name;
    ngx_array_t                   disks;      /* ngx_str_t, absolute */
    ngx_uint_t                    parity;

    u_char                       *file;       /* of the directive */
    ngx_uint_t                    line;

    s3_conf_t                     conf;
    ngx_http_s3_counters_t       *counters;   /* NULL: nobody asks for them */

    /* of this process */
    s3_client_t                  *client;
    ngx_connection_t             *connection; /* of the client's descriptor */
    s3_process_t                 *process;
} ngx_http_s3_store_t;


/* a file of credentials, or the environment, however many locations name it */

typedef struct {
    ngx_str_t                     path;
    ngx_msec_t                    refresh;
    s3_credentials_t             *set;
    s3_credentials_stamp_t        stamp;
    ngx_event_t                   event;
    unsigned                      env:1;
    unsigned                      failed:1;   /* said so already */
} ngx_http_s3_credentials_t;


typedef struct {
    ngx_array_t                   stores;       /* ngx_http_s3_store_t * */
    ngx_array_t                   credentials;  /* ..._credentials_t * */
    ngx_uint_t                    gateways;     /* some location is one */
    ngx_int_t                     proxy_host;   /* variable's index */
    ngx_uint_t                    status;       /* some location tells it */
    ngx_http_s3_counters_t       *gateway_counters;

    ngx_path_t                   *runtime_path;
    ngx_path_t                   *state_path;

    ngx_msec_t                    disk_timeout;
    ngx_uint_t                    disk_threads;
    ngx_uint_t                    compute_threads;
    time_t                        upload_age;       /* 0: off */
    time_t                        scrub_interval;   /* 0: off */
    size_t                        scrub_rate;
    size_t                        memory;
    size_t                        document_memory;
    ngx_uint_t                    queue;
    size_t                        queue_size;
    size_t                        index_cache;
} ngx_http_s3_main_conf_t;


typedef struct {
    ngx_array_t                   mounts;       /* ngx_str_t, "/storage/" */
    ngx_uint_t                    serves;       /* some location does */
} ngx_http_s3_srv_conf_t;


/* s3_min_rate: what a client must send or take while others wait for memory
 * that it holds */

#define NGX_HTTP_S3_GRACE  10000              /* ms */

typedef struct {
    size_t                        rate;       /* bytes a second; 0: off */
    ngx_msec_t                    grace;
} ngx_http_s3_min_rate_t;


/* the other S3 of a gateway */

#define NGX_HTTP_S3_CHECKSUMS_EMULATE  0
#define NGX_HTTP_S3_CHECKSUMS_PASS     1

typedef struct {
    ngx_str_t                     credential; /* its name */
    ngx_http_s3_credentials_t    *env;        /* where it is of there */
    ngx_str_t                     region;
    ngx_str_t                     host;       /* empty: proxy_pass's */
    ngx_uint_t                    style;      /* s3_upstream_style_e */
    ngx_uint_t                    checksums;
    size_t                        buffer;
    ngx_str_t                     bucket;     /* of records */
    time_t                        orphans;    /* how old they are to go */
} ngx_http_s3_upstream_conf_t;


typedef struct {
    ngx_flag_t                    gateway;    /* s3_gateway */
    ngx_http_s3_upstream_conf_t   upstream;

    ngx_str_t                     store_name;
    ngx_str_t                     mount;      /* the location's name */
    u_char                       *file;       /* of s3_serve, s3_gateway */
    ngx_uint_t                    line;

    ngx_http_s3_store_t          *store;
    ngx_str_t                     health_name;
    ngx_http_s3_store_t          *health;     /* of s3_health */
    ngx_uint_t                    health_upstream;
    ngx_uint_t                    status;     /* s3_status */
    ngx_str_t                     status_name;
    ngx_http_s3_store_t          *status_store;    /* NULL: of all */
    ngx_http_s3_counters_t       *counters;   /* of requests here; NULL: they
                                                 are not counted */
    ngx_http_s3_credentials_t    *credentials;
    ngx_str_t                     region;
    ngx_array_t                  *domains;    /* ngx_str_t, lower case */
    time_t                        clock_skew;
    ngx_msec_t                    timeout;
    ngx_http_s3_min_rate_t        min_rate;

    ngx_array_t                  *error_pages;  /* core's, as merged */
    ngx_uint_t                    no_pages;     /* and inherited: not used */

    ngx_uint_t                    errors;     /* errors are S3's here: the
                                                 location serves S3, or it is
                                                 a server whose "/" does */
} ngx_http_s3_loc_conf_t;


/* requests to this location are S3's, whoever answers them */
#define ngx_http_s3_is_ours(lcf)  ((lcf)->store || (lcf)->gateway)


/* where the bytes of a request's body go; returns how many it took: fewer
 * than len when it has to be waited for (ngx_http_s3_receive_run() then) */
typedef size_t (*ngx_http_s3_sink_pt)(ngx_http_s3_ctx_t *ctx,
    const u_char *p, size_t len);
typedef void (*ngx_http_s3_next_pt)(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);

/* calls off what an operation has asked for by calls of its own; called by
 * ngx_http_s3_release(), once */
typedef void (*ngx_http_s3_cancel_pt)(ngx_http_s3_ctx_t *ctx);

/* a document is there, see ngx_http_s3_read_document() */
typedef ngx_int_t (*ngx_http_s3_document_pt)(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);

/* what an operation does with the store's answer, see ngx_http_s3_call() */
typedef ngx_int_t (*ngx_http_s3_answer_pt)(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);


/* why a request was turned away, as s3_status tells it */

#define NGX_HTTP_S3_REASONS(_)                                               \
    _(AUTH, "auth")            /* no good signature */                       \
    _(TIME, "time")            /* of another time */                         \
    _(INVALID, "invalid")      /* no operation */                            \
    _(MEMORY, "memory")        /* none in time, or none at all */            \
    _(QUEUE, "queue")          /* it is full */                              \
    _(TIMEOUT, "timeout")      /* s3_timeout */                              \
    _(SLOW, "slow")            /* s3_min_rate */                             \
    _(LIMIT, "limit")          /* nginx's: limit_req, limit_conn */

#define NGX_HTTP_S3_REASON_ENUM(name, text)  NGX_HTTP_S3_REASON_##name,

typedef enum {
    NGX_HTTP_S3_REASONS(NGX_HTTP_S3_REASON_ENUM)
    NGX_HTTP_S3_REASON_LAST
} ngx_http_s3_reason_e;


/* ngx_http_s3_pace.c */

typedef struct {
    ngx_msec_t                    since;
    ngx_msec_t                    total;      /* waited */
    ngx_msec_t                    ms[2];
    off_t                         bytes[2];
    off_t                         taken;      /* of an answer, when looked at */
    unsigned                      waiting:1;  /* for the client, since then */
    unsigned                      sending:1;
} ngx_http_s3_pace_t;


struct ngx_http_s3_ctx_s {
    ngx_http_request_t           *request;

    ngx_str_t                     request_id;
    u_char                        request_id_text[NGX_HTTP_S3_REQUEST_ID];

    s3_target_t                   target;
    const s3_operation_t         *operation;
    ngx_array_t                   headers;    /* s3_header_t: the nreal of the
                                                 request, then hoisted ones */
    ngx_uint_t                    nreal;
    s3_auth_t                     auth;
    s3_failure_t                  fail;
    ngx_uint_t                    reason;     /* ..._reason_e + 1; 0: none */

    /* what the store does for us */
    ngx_event_t                   timer;
    s3_call_t                     call;
    ngx_http_s3_answer_pt         answer;     /* to the call */
    ngx_http_s3_cancel_pt         cancel;     /* what else is under way */
    s3_upload_t                  *upload;
    s3_download_t                *download;
    ngx_uint_t                    attempts;

    ngx_http_s3_pace_t            pace;       /* the client's */
    ngx_queue_t                   holding;    /* of those with memory that is
                                                 not a store's */

    /* a body coming in */
    ngx_http_s3_payload_t        *payload;
    ngx_http_s3_sink_pt           sink;
    ngx_http_s3_next_pt           received;
    ngx_http_s3_next_pt           uploaded;   /* of an upload of a body */
    s3_checksum_e                 checksum;   /* where none is given; NONE:
                                                 CRC64NVME */
    s3_checksum_e                 also;       /* is computed besides */
    ngx_chain_t                  *in;
    const u_char                 *pos;        /* in the first buf of "in" */
    const u_char                 *run;        /* payload not yet taken */
    size_t                        run_len;
    u_char                       *file_buf;   /* of a body in a file */
    size_t                        file_len;
    ngx_http_s3_copy_t           *copy;       /* instead of a body */
    s3_condition_t                condition;
    ngx_str_t                     meta;
    ngx_chain_t                  *document;   /* a small body, read whole */
    ngx_chain_t                  *document_last;
    size_t                        document_size; /* reserved for it */
    size_t                        document_max;  /* bytes it may still have */
    size_t                        body_size;     /* reserved for an object's */
    ngx_http_s3_document_pt       document_read;

    /* an object going out */
    s3_range_t                    range;
    uint64_t                      rest;       /* bytes not yet handed out */
    ngx_chain_t                  *busy;       /* the piece being sent */
    ngx_chain_t                  *free;

    /* another S3 behind us, ngx_http_s3_gateway.h */
    ngx_http_s3_gateway_t        *gateway;
    ngx_http_s3_ask_t            *ask;        /* that this request is, a
                                                 subrequest of ours */

    /* an error page of nginx's replaced by ours */
    ngx_chain_t                  *error_chain;

    s3_complete_t                *parts;      /* a list that is read */

    void                         *data;       /* the operation's */

    ngx_msec_t                    first;      /* from the request's first
                                                 byte to its answer's */

    unsigned                      parsed:1;
    unsigned                      authorized:1;
    unsigned                      own:1;      /* the answer is ours */
    unsigned                      calling:1;
    unsigned                      asked:1;    /* a piece is on its way */
    unsigned                      too_slow:1; /* is ended for it */
    unsigned                      whole:1;    /* checksums in headers are not
                                                 the body's, but those of an
                                                 object made of parts */
    unsigned                      cleanup:1;  /* handlers are installed */
    unsigned                      closed:1;   /* nothing resumes any more */
    unsigned                      error_sent:1;
    unsigned                      answered:1; /* first is set */
};


extern ngx_module_t  ngx_http_s3_module;


/*
 * ngx_http_s3_conf.c: what the directives do.  Handlers of ngx_command_t, and
 * of ngx_conf_post_t (check_...: data is the value that was set);
 * init: after all is read, NGX_OK or NGX_ERROR.
 */
char *ngx_http_s3_store_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_s3_path_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_s3_serve(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/* The location's name is what is stripped: NGX_CONF_OK, or the complaint. */
char *ngx_http_s3_mount(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *lcf);
char *ngx_http_s3_check_memory(ngx_conf_t *cf, void *post, void *data);
/* What stands behind "NAME=" in a directive's second argument: NGX_OK, or
 * NGX_ERROR, logged with what is to be written. */
ngx_int_t ngx_http_s3_parameter(ngx_conf_t *cf, const char *name,
    const char *what, ngx_str_t *s);
char *ngx_http_s3_check_documents(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_s3_queue_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_s3_check_cache(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_s3_check_disk_timeout(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_s3_abort_uploads_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_s3_scrub_slot(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_s3_min_rate_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_s3_check_region(ngx_conf_t *cf, void *post, void *data);
/* The store of that name, or NULL. */
ngx_http_s3_store_t *ngx_http_s3_find_store(ngx_conf_t *cf, ngx_str_t *name);
char *ngx_http_s3_merge_location(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf);
/* What s3_serve and s3_gateway ask of a location alike. */
char *ngx_http_s3_check_location(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf, const char *directive);
ngx_int_t ngx_http_s3_init_stores(ngx_conf_t *cf,
    ngx_http_s3_main_conf_t *mcf);


/*
 * ngx_http_s3_credentials.c: s3_credentials, s3_upstream_credentials; in a
 * worker, their timers
 */
char *ngx_http_s3_credentials_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_s3_upstream_credentials(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
void ngx_http_s3_credentials_start(ngx_http_s3_main_conf_t *mcf,
    ngx_log_t *log);


/* ngx_http_s3_gateway_conf.c: the directive, checks when all is read */
char *ngx_http_s3_gateway_slot(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* The location's answers come through nginx's proxy: NGX_CONF_OK, or none. */
char *ngx_http_s3_use_proxy(ngx_conf_t *cf);
/* There is one, and a credential that signs for it. */
char *ngx_http_s3_check_upstream(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *conf,
    const char *directive);
char *ngx_http_s3_check_host(ngx_conf_t *cf, void *post, void *data);
char *ngx_http_s3_checksums_bucket(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_s3_merge_upstream(ngx_conf_t *cf,
    ngx_http_s3_upstream_conf_t *prev, ngx_http_s3_upstream_conf_t *conf);
char *ngx_http_s3_merge_gateway(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf);


/*
 * ngx_http_s3_health.c: the directive, and its store when all is read.  path:
 * what is asked, NGX_OK or NGX_DECLINED (it is no such path); send: reason
 * NULL is 200.
 */
char *ngx_http_s3_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_s3_merge_health(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf);
ngx_int_t ngx_http_s3_health_path(ngx_str_t *uri, ngx_uint_t *live);
ngx_int_t ngx_http_s3_health_send(ngx_http_request_t *r, const char *reason,
    s3_client_health_t *h);


/*
 * ngx_http_s3_status.c: the directive, and its store when all is read.
 */
char *ngx_http_s3_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_s3_merge_status(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *prev,
    ngx_http_s3_loc_conf_t *conf);


/*
 * ngx_http_s3_counters.c.  counters: those of a store or (NULL) of gateways,
 * made when there are none; NULL: no memory.  start, stop: in a worker; NULL
 * is none.  begin: of a request, until it is freed; first: its answer begins;
 * count: in the log phase.
 */
ngx_http_s3_counters_t *ngx_http_s3_counters(ngx_conf_t *cf,
    ngx_http_s3_store_t *store);
void ngx_http_s3_counters_start(ngx_http_s3_counters_t *counters,
    ngx_log_t *log);
void ngx_http_s3_counters_stop(ngx_http_s3_counters_t *counters);
void ngx_http_s3_count_begin(ngx_http_request_t *r,
    ngx_http_s3_counters_t *counters);
void ngx_http_s3_count_first(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);
void ngx_http_s3_count(ngx_http_request_t *r);


/*
 * ngx_http_s3_domain.c: the directive, and a warning where requests for
 * buckets would not come to the server of a location of ours.
 */
char *ngx_http_s3_domain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_http_s3_check_domains(ngx_conf_t *cf, ngx_http_s3_loc_conf_t *conf,
    const char *directive);


/*
 * ngx_http_s3_store.c: clients and store processes in nginx's processes.
 * start and stop are init_process and exit_process; manager that of the
 * runtime path.
 */
ngx_int_t ngx_http_s3_process_start(ngx_cycle_t *cycle);
void ngx_http_s3_process_stop(ngx_cycle_t *cycle);
ngx_msec_t ngx_http_s3_manager(void *data);

/* A store's client, that of the location's; NULL: there is none (logged). */
s3_client_t *ngx_http_s3_store_client(ngx_http_s3_store_t *store,
    ngx_log_t *log);
s3_client_t *ngx_http_s3_client(ngx_http_request_t *r);


/* ngx_http_s3_request.c: handlers of phases */

ngx_int_t ngx_http_s3_server_rewrite_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_preaccess_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_access_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_log_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_precontent_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_content_handler(ngx_http_request_t *r);

/* 1 (and it is logged): nobody has looked at the request's signature. */
ngx_uint_t ngx_http_s3_no_verdict(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);

/* The request's context, made when there is none; NULL without memory. */
ngx_http_s3_ctx_t *ngx_http_s3_ctx(ngx_http_request_t *r);

/*
 * x-amz-id-2: which host has answered, the base64 of its name's SHA-256.
 * Never NULL, the same for the life of the process.
 */
ngx_str_t *ngx_http_s3_host_id(void);

/* The first header of that (lower-case) name, hoisted ones among them. */
#define ngx_http_s3_header_in(ctx, name)                                     \
    s3_header((s3_header_t *) (ctx)->headers.elts, (ctx)->headers.nelts, name)


/*
 * Waiting for the store.  wait: installs the cleanup, and starts the timer of
 * ms; NGX_OK or NGX_ERROR.  The request must hold a count: an operation's
 * handler does r->main->count++ and returns NGX_DONE.  go_on: the first thing
 * every callback does; 0 when the request has ended meanwhile.  release:
 * calls off whatever the store does for the request but the download, whose
 * pieces may still be on their way out; they go with the pool.
 */
ngx_int_t ngx_http_s3_wait(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_msec_t ms);
ngx_uint_t ngx_http_s3_go_on(ngx_http_s3_ctx_t *ctx);
void ngx_http_s3_release(ngx_http_s3_ctx_t *ctx);

/*
 * Prepares ctx->call, of which s3_client_...() asks; what that returned is
 * passed to asked(): NGX_DONE, a count is held and the timer runs; or the
 * error is sent, and its result is returned.
 *
 * When the store has answered, and the request is still there, answer() is
 * called.  status: the call's, or a commit's verdict; what was found is in
 * ctx->call, the rows of which are valid until answer() returns (object's
 * extents are freed then).  What it returns, ngx_http_s3_result() takes.
 */
s3_call_t *ngx_http_s3_call(ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_answer_pt answer);
ngx_int_t ngx_http_s3_asked(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status);

/*
 * The end of every callback from the store.  rc is what a content handler
 * returns, NGX_DONE after r->main->count++ (asked() does that) where the
 * request waits again; or NGX_DECLINED: ctx->fail is sent.  Nothing of the
 * request may be touched after it.
 */
void ngx_http_s3_result(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_int_t rc);

/* A status of the store's as an error: noted in ctx->fail; NGX_DECLINED. */
ngx_int_t ngx_http_s3_failed(ngx_http_s3_ctx_t *ctx, int status);


/*
 * ngx_http_s3_pace.c: s3_min_rate.
 *
 * wait: the client is what is waited for from now on, if it was not before.
 * came: it is no longer, and so many bytes of it are there.  sent: the same of
 * an answer, whose bytes are looked up; the first call is the beginning.
 * slow: as s3_slow_pt, bytes a second, or -1: it is not slow.
 */
void ngx_http_s3_pace_wait(ngx_http_s3_ctx_t *ctx);
void ngx_http_s3_pace_came(ngx_http_s3_ctx_t *ctx, off_t bytes);
void ngx_http_s3_pace_sent(ngx_http_s3_ctx_t *ctx);
int64_t ngx_http_s3_pace_slow(ngx_http_s3_ctx_t *ctx);


/* ngx_http_s3_error.c */

/*
 * Send ctx->fail as S3's XML: discards the body, or closes the connection
 * where it was read in part.  Returns what an output filter does.
 */
ngx_int_t ngx_http_s3_send_error(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* Note the error (s3_fail()) and send it. */
ngx_int_t ngx_http_s3_refuse(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_error_e error, const char *message);
/* Does the store take writes?  Otherwise the error is noted in ctx->fail. */
ngx_uint_t ngx_http_s3_writable(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* The S3 error of what the store said, noted in ctx->fail. */
s3_error_e ngx_http_s3_store_error(ngx_http_s3_ctx_t *ctx, int status);
/* SlowDown, noted likewise, and why. */
s3_error_e ngx_http_s3_turn_away(ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_reason_e reason);
/* RequestTimeout of a client that is, noted likewise: the connection ends. */
s3_error_e ngx_http_s3_too_slow(ngx_http_s3_ctx_t *ctx);
/* The same for a body; b->error is set. */
s3_error_e ngx_http_s3_body_error(ngx_http_s3_ctx_t *ctx, s3_body_t *b);
/*
 * End a request that waits: release, send ctx->fail (after the header: close
 * the connection), finalize.
 */
void ngx_http_s3_end_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);
/* The error document and its size; NULL without memory. */
ngx_chain_t *ngx_http_s3_error_document(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, size_t *size);

/* ngx_http_s3_response.c: answers */

/* NGX_OK or NGX_ERROR.  name: lower case or as shown; value is not copied. */
ngx_int_t ngx_http_s3_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);
/* Header alone, no body; finishes the answer. */
ngx_int_t ngx_http_s3_send_empty(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t status);
/* An XML document; NULL: 500. */
ngx_int_t ngx_http_s3_send_document(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_chain_t *out, size_t size);
/*
 * The same for an answer to ngx_http_s3_call() that may be large, a page of a
 * list: it is kept until a client has taken it, slow as it may be.  Also
 * NGX_DECLINED: there are too many of them, SlowDown is noted in ctx->fail.
 */
ngx_int_t ngx_http_s3_send_list(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_chain_t *out, size_t size);

/*
 * Rows of an object.
 *
 *     etag        MD5 16            or     MD5 16 | u32 LE parts
 *                 "9e107d9d..."            "9e107d9d...-12"
 *
 *     checksum    +-----------+------+---------+
 *                 | algorithm | type | digest  |   algorithm: s3_checksum_e
 *                 +-----------+------+---------+   type: 0 FULL_OBJECT,
 *                                                        1 COMPOSITE
 *                 COMPOSITE has a u32 LE, the number of parts, behind it.
 *                 A part has one, FULL_OBJECT, and where its upload named no
 *                 algorithm CRC64NVME, and then the one that came with it.
 */
#define NGX_HTTP_S3_CHECKSUM_LEN   (2 + S3_CHECKSUM_DIGEST_MAX + 4)
#define NGX_HTTP_S3_ETAG_LEN       (32 + 1 + NGX_INT32_LEN)
#define NGX_HTTP_S3_ETAG_PARTS     20     /* its row, of an object of parts */
/* how many, of such a row; 0 of another */
ngx_uint_t ngx_http_s3_etag_parts(s3_slice_t etag);

/* without quotes, in the pool; len 0: no memory or not an etag */
ngx_str_t ngx_http_s3_etag_text(ngx_pool_t *pool, s3_slice_t etag);
/* 16 or 20 bytes in "buf"; a text that is no etag gives one nobody has */
s3_slice_t ngx_http_s3_etag_parse(ngx_str_t *text, u_char buf[20]);
s3_slice_t ngx_http_s3_checksum_row(s3_checksum_e algorithm,
    const u_char *digest, u_char buf[NGX_HTTP_S3_CHECKSUM_LEN]);
s3_slice_t ngx_http_s3_checksum_composite(s3_checksum_e algorithm,
    const u_char *digest, ngx_uint_t parts,
    u_char buf[NGX_HTTP_S3_CHECKSUM_LEN]);
/* cuts a FULL_OBJECT one off a part's; its algorithm, NONE: no more */
s3_checksum_e ngx_http_s3_checksum_next(s3_slice_t *rest, s3_slice_t *row);
/* in words; suffix: "-N" behind a COMPOSITE one.  NGX_OK (text.len 0: there
 * is none), NGX_ERROR: no memory */
ngx_int_t ngx_http_s3_checksum_words(ngx_pool_t *pool, s3_slice_t row,
    ngx_uint_t suffix, s3_checksum_text_t *text);
/* NULL: none, or damaged; *type points to a constant */
const s3_checksum_info_t *ngx_http_s3_checksum_read(s3_slice_t row,
    s3_checksum_e *algorithm, const u_char **digest, ngx_str_t *type);
/* x-amz-checksum-NAME and x-amz-checksum-type */
ngx_int_t ngx_http_s3_add_checksum(ngx_http_request_t *r, s3_slice_t row);
/*
 * x-amz-version-id: null, where versionId=null was asked for: S3 tells the
 * version that was asked for, and an unversioned bucket has no other (for
 * DeleteObject see github.com/minio/minio, pull request 11090).
 */
ngx_int_t ngx_http_s3_add_version(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* "etag" in quotes */
ngx_int_t ngx_http_s3_add_etag(ngx_http_request_t *r, ngx_str_t *etag);


/*
 * ngx_http_s3_body.c: a request's body, from nginx's buffers through the
 * decoder into a sink, never more of it in memory than nginx's own buffer.
 */
struct ngx_http_s3_payload_s {
    s3_body_t                     body;
    s3_chunked_key_t              key;
    char                          scope[S3_SIGV4_SCOPE_MAX];
    ngx_uint_t                    refs;
};

/*
 * Looks at everything the headers say about the body, before a byte of it is
 * read.  S3_OK, or the error, noted in ctx->fail.  max: bytes of payload.
 */
s3_error_e ngx_http_s3_payload_create(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, uint64_t max);
/*
 * For operations that need no body: none has come, but the hash that was
 * signed is that of one.
 */
ngx_uint_t ngx_http_s3_body_taken_away(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* one reference: the request's, the upload's */
void ngx_http_s3_payload_release(ngx_http_s3_payload_t *payload);

/*
 * Begin to read; sink gets the payload, received is called when the HTTP body
 * has ended well.  On failure the request is ended.  The request holds a
 * count.
 */
void ngx_http_s3_receive(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_sink_pt sink, ngx_http_s3_next_pt received);
/*
 * For content handlers whose request has a document: reads it whole, at most
 * max bytes, verifies its checksums and signatures, and calls read(), which
 * finds it in ctx->document (NULL: it is empty) and returns what
 * ngx_http_s3_result() takes.  Memory grows with what has come, and past
 * s3_document_memory the answer is 503 SlowDown.
 */
ngx_int_t ngx_http_s3_read_document(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, size_t max, ngx_http_s3_document_pt read);

/*
 * The same for any body, of which ctx->payload is there.  More than max bytes
 * where its length is not known: MissingContentLength.
 */
ngx_int_t ngx_http_s3_read_whole(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, size_t max, ngx_http_s3_document_pt read);

/* What is done when all has been received: the verdict, then read(). */
void ngx_http_s3_document_received(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);

/*
 * Counts size bytes as a document's until the request's pool goes: its memory,
 * or, where it is read as it comes, about that of what is kept of it.  S3_OK,
 * or SlowDown noted in ctx->fail.
 */
s3_error_e ngx_http_s3_document_reserve(ngx_http_s3_ctx_t *ctx, size_t size);
/* Likewise as an object's, of s3_memory, which a gateway keeps whole. */
s3_error_e ngx_http_s3_body_reserve(ngx_http_s3_ctx_t *ctx, size_t size);

/* the sink takes bytes again */
void ngx_http_s3_receive_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);


/*
 * ngx_http_s3_put_object.c: a request's body becomes an upload of the
 * store's.
 *
 * upload_body: ctx->payload is there; part: as s3_upload_create() has it.
 * NGX_OK: uploaded() will be called when the body is on enough disks and is
 * what its checksums and signature say, or the error sent; the request needs
 * a count.  NGX_DECLINED: see ctx->fail; NGX_ERROR: 500.
 *
 * upload_commit: what uploaded() does.  Fills in etag and conditions; answer
 * as for ngx_http_s3_call().  On failure the request is ended.
 */
ngx_int_t ngx_http_s3_upload_body(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t part, ngx_http_s3_next_pt uploaded);
void ngx_http_s3_upload_commit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    s3_commit_t *commit, ngx_http_s3_answer_pt answer);

/* all of the payload is written; NGX_OK, or NGX_DECLINED: see ctx->fail */
ngx_int_t ngx_http_s3_upload_end(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);

/* ctx->condition in a commit; if_match: memory for it */
void ngx_http_s3_commit_condition(ngx_http_s3_ctx_t *ctx,
    s3_commit_t *commit, u_char if_match[20]);


/*
 * ngx_http_s3_copy.c: an object takes the place of a request's body.
 *
 *     source    makes ctx->copy of x-amz-copy-source; S3_OK, or ctx->fail
 *     find      looks it up, returns what ngx_http_s3_asked() does; found() is
 *               an answer, with ctx->call.object, and is called only where
 *               there is such an object and x-amz-copy-source-if-* hold
 *     size      S3_OK, or InvalidRequest for more than S3_COPY_MAX bytes
 *     stream    within found(), which returns what it returns: bytes of the
 *               object become an upload (part, uploaded: upload_body() above),
 *               with digests in ctx->payload: MD5, checksum and, besides,
 *               also.  found() may be called again
 *     result    what is answered: rows as they are stored; NGX_OK, NGX_ERROR
 *     answer    sends it, with the time of the verdict in ctx->call
 */
/* of a source that has become another object since it was looked up */
#define NGX_HTTP_S3_COPY_ATTEMPTS  5

struct ngx_http_s3_copy_s {
    s3_copy_source_t              source;
    s3_copy_result_t              result;
    s3_checksum_e                 algorithm;  /* asked for; or NONE */
    ngx_http_s3_answer_pt         found;

    s3_download_t                *download;
    u_char                       *data;       /* that was inline */

    ngx_queue_t                   queue;      /* of those that wait */
    ngx_event_t                   event;      /* it is our turn */

    unsigned                      replace:1;  /* metadata */
    unsigned                      piece:1;    /* one is ours to release */
    unsigned                      waiting:1;
    unsigned                      turn:1;
};

s3_error_e ngx_http_s3_copy_source(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* All that CopyObject's headers say, with source.  S3_OK, or ctx->fail. */
s3_error_e ngx_http_s3_copy_request(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_copy_find(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_answer_pt found);
s3_error_e ngx_http_s3_copy_size(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, uint64_t size);
ngx_int_t ngx_http_s3_copy_stream(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, uint64_t offset, uint64_t length,
    s3_checksum_e checksum, s3_checksum_e also, ngx_uint_t part,
    ngx_http_s3_next_pt uploaded);
ngx_int_t ngx_http_s3_copy_result(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_slice_t etag, s3_slice_t checksum);
ngx_int_t ngx_http_s3_copy_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const char *root);

/* the upload is ready, or takes bytes again; as ngx_http_s3_upload_end() */
ngx_int_t ngx_http_s3_copy_run(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);


/*
 * ngx_http_s3_upload_part.c: ctx->payload of a part of an upload with that
 * checksum, as ngx_http_s3_payload_create(); also InvalidRequest: the part
 * comes with another one.
 */
s3_error_e ngx_http_s3_part_payload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_upload_checksum_t *checksum);


/* ngx_http_s3_multipart.c: what the operations of multipart uploads share */

/* The argument uploadId.  S3_OK, or NoSuchUpload noted in ctx->fail. */
s3_error_e ngx_http_s3_upload_id(ngx_http_s3_ctx_t *ctx,
    u_char id[S3_UPLOAD_ID_LEN]);
/* As ngx_http_s3_failed(), but NoSuchUpload says which. */
ngx_int_t ngx_http_s3_upload_failed(ngx_http_s3_ctx_t *ctx, int status);
/* Asks for an upload's parts, returns what ngx_http_s3_asked() does. */
ngx_int_t ngx_http_s3_ask_parts(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    const u_char *upload_id, ngx_uint_t after, ngx_uint_t max,
    ngx_http_s3_answer_pt answer);
/* s3_multipart_t.checksum: two bytes, algorithm and type as above; or none */
void ngx_http_s3_upload_checksum(s3_slice_t row,
    s3_upload_checksum_t *checksum);
/* x-amz-checksum-algorithm and -type of an upload that has been created */
ngx_int_t ngx_http_s3_add_upload_checksum(ngx_http_request_t *r,
    s3_upload_checksum_t *checksum);


/* 10,000 parts with SHA-256 are 2 MB as SDKs write them */
#define NGX_HTTP_S3_COMPLETE_MAX  (8 * 1024 * 1024)

/*
 * ngx_http_s3_complete.c: reads CompleteMultipartUpload's list of parts as it
 * comes, as ngx_http_s3_read_document() does; read() ends the list.
 */
ngx_int_t ngx_http_s3_read_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, s3_complete_t *list,
    ngx_http_s3_document_pt read);
/* The address under which the request came.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_complete_location(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *location);


/*
 * What requests say, as the store has it and a gateway asks it of those that
 * it passes: NULL, or not S3_OK, with ctx->fail.
 */
s3_list_params_t *ngx_http_s3_list_params(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
s3_list_uploads_t *ngx_http_s3_list_uploads_params(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* CreateBucket's answer: Location.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_add_bucket_location(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* DeleteObject: ctx->condition, an If-Match */
s3_error_e ngx_http_s3_delete_condition(ngx_http_s3_ctx_t *ctx);
/* DeleteObjects: one of Content-MD5 and a checksum is there. */
s3_error_e ngx_http_s3_delete_digest(ngx_http_s3_ctx_t *ctx);


/* operations: handlers of the content phase, r and ctx are checked */

ngx_int_t ngx_http_s3_list_buckets(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_create_bucket(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_head_bucket(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_delete_bucket(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_get_bucket_location(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_list_objects(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_put_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_get_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_delete_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_delete_objects(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_copy_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_get_object_attributes(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_create_multipart_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_upload_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_complete_multipart_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_abort_multipart_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_list_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_list_multipart_uploads(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* any operation that has a row in its table, else NotImplemented */
ngx_int_t ngx_http_s3_habitual(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* its answer, of a bucket that is there; what an ngx_http_s3_answer_pt
 * returns */
ngx_int_t ngx_http_s3_habit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);


/* ngx_http_s3_variables.c, ngx_http_s3_filter.c: init, NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_s3_add_variables(ngx_conf_t *cf);
void ngx_http_s3_init_filters(void);

/*
 * ngx_http_s3_filter.c, for filters that hold an answer back.  header: with
 * ids, to the next filter; an error that is none of ours becomes one.  error:
 * ctx->fail, headers and document, in place of what was to be answered; the
 * header is still to be sent.  body: to the next filter.
 */
ngx_int_t ngx_http_s3_filter_header(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_filter_error(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_filter_body(ngx_http_request_t *r, ngx_chain_t *out);


#define ngx_http_s3_slice(s)                                                 \
    ((s3_slice_t) { (const uint8_t *) (s).data, (s).len })


#endif /* _NGX_HTTP_S3_H_INCLUDED_ */
