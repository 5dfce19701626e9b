
/*
 * s3_status: what is counted, and the ways to tell it.
 *
 *     ngx_http_s3_counters.c        counts, in the log phase
 *     ngx_http_s3_status.c          the directive, its handler
 *     ngx_http_s3_status_json.c     the answers
 *     ngx_http_s3_status_text.c
 *     ngx_http_s3_status_minio.c
 */


#ifndef _NGX_HTTP_S3_STATUS_H_INCLUDED_
#define _NGX_HTTP_S3_STATUS_H_INCLUDED_


#include "ngx_http_s3.h"


/* upper bounds in ms, and in seconds; one more is without bound */

#define NGX_HTTP_S3_BUCKETS(_)                                               \
    _(5, "0.005") _(10, "0.01") _(25, "0.025") _(50, "0.05") _(100, "0.1")   \
    _(250, "0.25") _(500, "0.5") _(1000, "1") _(2500, "2.5") _(5000, "5")    \
    _(10000, "10") _(30000, "30") _(60000, "60")

/* statuses that are counted each on its own; others together as 0 */

#define NGX_HTTP_S3_STATUSES(_)                                              \
    _(200) _(204) _(206) _(301) _(304) _(307) _(400) _(401) _(403) _(404)    \
    _(405) _(408) _(409) _(411) _(412) _(413) _(414) _(416) _(429) _(499)    \
    _(500) _(501) _(502) _(503) _(504)

#define NGX_HTTP_S3_NREASONS   NGX_HTTP_S3_REASON_LAST

#define NGX_HTTP_S3_ONE(...)   + 1
#define NGX_HTTP_S3_NBUCKETS   (0 NGX_HTTP_S3_BUCKETS(NGX_HTTP_S3_ONE))
#define NGX_HTTP_S3_NSTATUSES  (0 NGX_HTTP_S3_STATUSES(NGX_HTTP_S3_ONE))

#define NGX_HTTP_S3_COUNTED_WORKERS  256


typedef struct {
    ngx_atomic_t     n[NGX_HTTP_S3_NBUCKETS + 1];    /* not cumulative */
    ngx_atomic_t     ms;
} ngx_http_s3_histogram_t;

typedef struct {
    ngx_atomic_t     status[NGX_HTTP_S3_NSTATUSES + 1];    /* the last: all
                                                              others */
    ngx_atomic_t     error[S3_ERR_LAST + 1];         /* the last: codes that
                                                        the table has not */
    ngx_atomic_t     canceled;
    ngx_atomic_t     received;                       /* bytes */
    ngx_atomic_t     sent;

    ngx_http_s3_histogram_t  duration;
    ngx_http_s3_histogram_t  first;                  /* byte of the answer */
} ngx_http_s3_operation_count_t;

/* written by its worker alone, which must live for it to count */

typedef struct {
    ngx_atomic_t     pid;                            /* 0: free */
    ngx_atomic_t     in_flight;
    ngx_atomic_t     calls;                          /* as s3_client_load_t */
    ngx_atomic_t     waiting;
    ngx_atomic_t     operations;
    ngx_atomic_t     uploads;
    ngx_atomic_t     downloads;
} ngx_http_s3_worker_count_t;

/* shared memory: all requests of a store, or of all gateways */

typedef struct {
    time_t                          started;
    ngx_atomic_t                    rejected[NGX_HTTP_S3_NREASONS];
    ngx_http_s3_operation_count_t   operations[S3_OP_LAST];  /* S3_OP_NONE:
                                                                not known */
    ngx_http_s3_worker_count_t      workers[NGX_HTTP_S3_COUNTED_WORKERS];
} ngx_http_s3_count_table_t;

struct ngx_http_s3_counters_s {
    ngx_http_s3_store_t            *store;           /* NULL: gateways */
    ngx_http_s3_count_table_t      *table;
    ngx_http_s3_worker_count_t     *worker;          /* of this process */
    ngx_event_t                     event;
};


/* what is known of a store, or of all gateways, at one moment */

typedef struct {
    ngx_http_s3_store_t            *store;           /* NULL: gateways */
    ngx_str_t                       name;            /* needs no escapes */
    ngx_str_t                       labels;          /* face="...",... */
    s3_client_health_t              health;
    s3_status_t                    *status;          /* NULL: not known */
    ngx_str_t                      *disks;           /* of status: path and
                                                        reason of each, escaped
                                                        */
    ngx_msec_t                      age;             /* of status */
    uint64_t                        raw;             /* bytes */
    uint64_t                        raw_free;
    uint64_t                        usable;
    uint64_t                        usable_free;
    ngx_uint_t                      members;
    ngx_http_s3_count_table_t      *table;           /* NULL: no location
                                                        serves it */
    ngx_http_s3_worker_count_t      load;            /* of all workers */
} ngx_http_s3_subject_t;


/* text that grows; failed: no memory */

typedef struct {
    ngx_pool_t                     *pool;
    ngx_chain_t                    *out;
    ngx_chain_t                   **last;
    ngx_buf_t                      *buf;
    size_t                          size;
    ngx_uint_t                      failed;
} ngx_http_s3_text_t;

/* a piece, cut off at 4 KiB; format as ngx_vslprintf()'s */
void ngx_http_s3_text(ngx_http_s3_text_t *t, const char *fmt, ...);
/* the lines before a metric's values */
void ngx_http_s3_text_family(ngx_http_s3_text_t *t, const char *name,
    const char *type, const char *help);


/*
 * ngx_http_s3_status_...: all subjects as a document.  Counters are read one
 * after the other while others count: each is right, sums may differ by what
 * came in between.
 */
void ngx_http_s3_status_json(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
void ngx_http_s3_status_text(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
/* node: /minio/v2/metrics/node, else /cluster */
void ngx_http_s3_status_minio(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n, ngx_uint_t node);

/* "ok", "read_only", "unavailable", "starting": of s3_store_status_e */
const char *ngx_http_s3_state_text(int state);


/*
 * ngx_http_s3_counters.c
 *
 * statuses: the numbers, 0 for the last; buckets: ms, and the same in seconds.
 * requests: how many an operation had.
 */
extern const ngx_uint_t  ngx_http_s3_statuses[NGX_HTTP_S3_NSTATUSES + 1];
extern const ngx_uint_t  ngx_http_s3_buckets[NGX_HTTP_S3_NBUCKETS];
extern const char *const
    ngx_http_s3_bucket_texts[NGX_HTTP_S3_NBUCKETS];

extern const char *const
    ngx_http_s3_reasons[NGX_HTTP_S3_NREASONS];

ngx_atomic_uint_t ngx_http_s3_count_requests(
    ngx_http_s3_operation_count_t *oc);
/* "Unknown" of S3_OP_NONE */
ngx_str_t *ngx_http_s3_count_name(ngx_uint_t operation);
/* "Other" of S3_ERR_LAST */
const ngx_str_t *ngx_http_s3_count_code(ngx_uint_t error);
/* the sum of all living workers' */
void ngx_http_s3_count_load(ngx_http_s3_count_table_t *table,
    ngx_http_s3_worker_count_t *load);


#endif /* _NGX_HTTP_S3_STATUS_H_INCLUDED_ */
