
/*
 * s3_status in Prometheus' text format: families, each with its series of all
 * stores and gateways.
 *
 *     # HELP s3_requests_total Requests answered
 *     # TYPE s3_requests_total counter
 *     s3_requests_total{face="store",store="main",operation="GetObject",
 *                       status="200"} 12
 */


#include "ngx_http_s3_status.h"


/* a number of a store's; those that are not known are left out */

typedef struct {
    const char   *name;
    const char   *type;
    const char   *help;
    ngx_uint_t    process;       /* of the store process' status */
    uint64_t    (*value)(ngx_http_s3_subject_t *s);
} ngx_http_s3_store_metric_t;

/* an operation's */

typedef struct {
    const char   *name;
    const char   *help;
    size_t        offset;
} ngx_http_s3_operation_metric_t;


static void ngx_http_s3_text_stores(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_text_queues(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_text_counts(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_text_disks(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_text_disk(ngx_http_s3_text_t *t, const char *name,
    ngx_http_s3_subject_t *s, ngx_uint_t i, uint64_t value);
static void ngx_http_s3_text_requests(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_text_errors(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_text_histogram(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n, const char *name,
    const char *help, size_t offset);


#define NGX_HTTP_S3_VALUE(what, expression)                                  \
    static uint64_t                                                          \
    ngx_http_s3_value_##what(ngx_http_s3_subject_t *s)                       \
    {                                                                        \
        return expression;                                                   \
    }

NGX_HTTP_S3_VALUE(up, s->health.connected)
NGX_HTTP_S3_VALUE(writable, s->health.state == S3_STORE_OK)
NGX_HTTP_S3_VALUE(readable, s->health.state == S3_STORE_OK
                            || s->health.state == S3_STORE_READ_ONLY)
NGX_HTTP_S3_VALUE(disks, s->status->ndisks)
NGX_HTTP_S3_VALUE(members, s->members)
NGX_HTTP_S3_VALUE(parity, s->status->geometry.m)
NGX_HTTP_S3_VALUE(read_quorum, s->status->geometry.k)
NGX_HTTP_S3_VALUE(write_quorum, s->status->quorum)
NGX_HTTP_S3_VALUE(generation, s->status->generation)
NGX_HTTP_S3_VALUE(raw, s->raw)
NGX_HTTP_S3_VALUE(raw_free, s->raw_free)
NGX_HTTP_S3_VALUE(usable, s->usable)
NGX_HTTP_S3_VALUE(usable_free, s->usable_free)
NGX_HTTP_S3_VALUE(connections, s->status->connections)
NGX_HTTP_S3_VALUE(commits_bytes, s->status->commits_bytes)
NGX_HTTP_S3_VALUE(catching_up, s->status->catching_up)
NGX_HTTP_S3_VALUE(repairing, s->status->repairing)


static ngx_http_s3_store_metric_t  ngx_http_s3_store_metrics[] = {

    { "s3_store_up", "gauge",
      "Whether the store process answers", 0, ngx_http_s3_value_up },

    { "s3_store_writable", "gauge",
      "Whether there are disks enough to write", 0,
      ngx_http_s3_value_writable },

    { "s3_store_readable", "gauge",
      "Whether there are disks enough to read", 0,
      ngx_http_s3_value_readable },

    { "s3_store_disks", "gauge",
      "Disks of the configuration", 1, ngx_http_s3_value_disks },

    { "s3_store_members", "gauge",
      "Disks that take part", 1, ngx_http_s3_value_members },

    { "s3_store_parity_disks", "gauge",
      "Disks that may be lost", 1, ngx_http_s3_value_parity },

    { "s3_store_read_quorum", "gauge",
      "Disks it takes to read", 1, ngx_http_s3_value_read_quorum },

    { "s3_store_write_quorum", "gauge",
      "Disks it takes to write", 1, ngx_http_s3_value_write_quorum },

    { "s3_store_generation", "gauge",
      "Grows by one when a disk leaves or becomes a member", 1,
      ngx_http_s3_value_generation },

    { "s3_store_raw_bytes", "gauge",
      "Capacity of the disks that are there", 1, ngx_http_s3_value_raw },

    { "s3_store_raw_free_bytes", "gauge",
      "Free space of the disks that are there", 1,
      ngx_http_s3_value_raw_free },

    { "s3_store_usable_bytes", "gauge",
      "Capacity for objects, by the smallest member", 1,
      ngx_http_s3_value_usable },

    { "s3_store_usable_free_bytes", "gauge",
      "Space left for objects, by the fullest member", 1,
      ngx_http_s3_value_usable_free },

    { "s3_store_connections", "gauge",
      "Workers connected to the store process", 1,
      ngx_http_s3_value_connections },

    { "s3_store_commits_waiting_bytes", "gauge",
      "Bytes of the commits that wait for a batch", 1,
      ngx_http_s3_value_commits_bytes },

    { "s3_store_catching_up", "gauge",
      "Whether a disk is being brought forward", 1,
      ngx_http_s3_value_catching_up },

    { "s3_store_repairing", "gauge",
      "Whether missing shards are being looked for or computed", 1,
      ngx_http_s3_value_repairing },

    { NULL, NULL, NULL, 0, NULL }
};


static ngx_http_s3_operation_metric_t  ngx_http_s3_operation_metrics[] = {

    { "s3_requests_canceled_total",
      "Requests whose client left, or took nothing for too long",
      offsetof(ngx_http_s3_operation_count_t, canceled) },

    { "s3_received_bytes_total",
      "Bytes of requests, with their headers",
      offsetof(ngx_http_s3_operation_count_t, received) },

    { "s3_sent_bytes_total",
      "Bytes of answers, with their headers",
      offsetof(ngx_http_s3_operation_count_t, sent) },

    { NULL, NULL, 0 }
};


void
ngx_http_s3_status_text(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t  i, stores;

    for (i = 0, stores = 0; i < n; i++) {
        stores += (subjects[i].store != NULL);
    }

    if (stores) {
        ngx_http_s3_text_stores(t, subjects, n);
        ngx_http_s3_text_queues(t, subjects, n);
        ngx_http_s3_text_counts(t, subjects, n);
        ngx_http_s3_text_disks(t, subjects, n);
    }

    ngx_http_s3_text_requests(t, subjects, n);
    ngx_http_s3_text_errors(t, subjects, n);

    ngx_http_s3_text_histogram(t, subjects, n, "s3_request_duration_seconds",
                               "From a request's first byte to its end",
                               offsetof(ngx_http_s3_operation_count_t,
                                        duration));
    ngx_http_s3_text_histogram(t, subjects, n, "s3_request_ttfb_seconds",
                               "From a request's first byte to its answer's",
                               offsetof(ngx_http_s3_operation_count_t,
                                        first));
}


void
ngx_http_s3_text_family(ngx_http_s3_text_t *t, const char *name,
    const char *type, const char *help)
{
    ngx_http_s3_text(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
                     type);
}


static void
ngx_http_s3_text_stores(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t                   i;
    ngx_http_s3_subject_t       *s;
    ngx_http_s3_store_metric_t  *m;

    for (m = ngx_http_s3_store_metrics; m->name; m++) {

        ngx_http_s3_text_family(t, m->name, m->type, m->help);

        for (i = 0; i < n; i++) {
            s = &subjects[i];

            if (s->store && (s->status || !m->process)) {
                ngx_http_s3_text(t, "%s{store=\"%V\"} %uL\n", m->name,
                                 &s->name, m->value(s));
            }
        }
    }

    ngx_http_s3_text_family(t, "s3_store_status_age_seconds", "gauge",
                            "Since the store process has told its status");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->store && s->status) {
            ngx_http_s3_text(t, "s3_store_status_age_seconds{store=\"%V\"} "
                             "%M.%03M\n", &s->name, s->age / 1000,
                             s->age % 1000);
        }
    }
}


static void
ngx_http_s3_text_queues(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t              i;
    ngx_http_s3_subject_t  *s;

    ngx_http_s3_text_family(t, "s3_store_queue_length", "gauge",
                            "What waits for the store process");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->store == NULL || s->status == NULL) {
            continue;
        }

        ngx_http_s3_text(t,
            "s3_store_queue_length{store=\"%V\",queue=\"commits\"} %uL\n"
            "s3_store_queue_length{store=\"%V\",queue=\"deciding\"} %uL\n"
            "s3_store_queue_length{store=\"%V\",queue=\"reads_held\"} %uL\n"
            "s3_store_queue_length{store=\"%V\",queue=\"reads_parked\"} "
            "%uL\n",
            &s->name, s->status->commits, &s->name, s->status->deciding,
            &s->name, s->status->reads_held, &s->name,
            s->status->reads_parked);
    }

    ngx_http_s3_text_family(t, "s3_worker_queue_length", "gauge",
                            "What waits in the workers");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->store && s->table) {
            ngx_http_s3_text(t,
                "s3_worker_queue_length{store=\"%V\",queue=\"calls\"} %uA\n"
                "s3_worker_queue_length{store=\"%V\",queue=\"memory\"} %uA\n"
                "s3_worker_queue_length{store=\"%V\",queue=\"operations\"} "
                "%uA\n",
                &s->name, s->load.calls, &s->name, s->load.waiting,
                &s->name, s->load.operations);
        }
    }

    ngx_http_s3_text_family(t, "s3_worker_memory_bytes", "gauge",
                            "Reserved of s3_memory, all workers");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->store && s->table) {
            ngx_http_s3_text(t,
                "s3_worker_memory_bytes{store=\"%V\",use=\"uploads\"} %uA\n"
                "s3_worker_memory_bytes{store=\"%V\",use=\"downloads\"} "
                "%uA\n",
                &s->name, s->load.uploads, &s->name, s->load.downloads);
        }
    }
}


/* families that nobody counts yet are not there */

static void
ngx_http_s3_text_counts(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t              i, k, begun;
    const char             *total;
    ngx_http_s3_subject_t  *s;
    const s3_count_info_t  *info;

    for (k = 0; k < S3_COUNT_LAST; k++) {

        info = s3_count_info(k);
        total = info->grows ? "_total" : "";
        begun = 0;

        for (i = 0; i < n; i++) {
            s = &subjects[i];

            if (s->status == NULL || !((s->status->counts.known >> k) & 1)) {
                continue;
            }

            if (!begun) {
                ngx_http_s3_text(t, "# HELP s3_store_%s%s %s\n"
                                 "# TYPE s3_store_%s%s %s\n",
                                 info->name, total, info->help, info->name,
                                 total, info->grows ? "counter" : "gauge");
                begun = 1;
            }

            ngx_http_s3_text(t, "s3_store_%s%s{store=\"%V\"} %uL\n",
                             info->name, total, &s->name,
                             s->status->counts.value[k]);
        }
    }
}


static void
ngx_http_s3_text_disks(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t              i, k, f;
    s3_status_disk_t       *disk;
    ngx_http_s3_subject_t  *s;

    static const struct {
        const char  *name;
        const char  *type;
        const char  *help;
    } families[] = {
        { "s3_disk_info", "gauge", "A disk, its state, and the reason" },
        { "s3_disk_member", "gauge", "Whether the disk takes part" },
        { "s3_disk_capacity_bytes", "gauge", "Bytes that can be the store's" },
        { "s3_disk_free_bytes", "gauge", "Bytes of them that are free" },
        { "s3_disk_errors_total", "counter",
          "Times the disk had to leave, or a worker had trouble with it" },
        { "s3_disk_timeouts_total", "counter",
          "Times of these that the disk was late" },
        { "s3_disk_operations", "gauge",
          "Operations of the store process that the disk has not answered" }
    };

    for (f = 0; f < sizeof(families) / sizeof(families[0]); f++) {

        ngx_http_s3_text_family(t, families[f].name, families[f].type,
                                families[f].help);

        for (i = 0; i < n; i++) {
            s = &subjects[i];

            for (k = 0; s->status && k < s->status->ndisks; k++) {
                disk = &s->status->disks[k];

                switch (f) {

                case 0:
                    ngx_http_s3_text(t, "s3_disk_info{store=\"%V\","
                                     "disk=\"%V\",slot=\"",
                                     &s->name, &s->disks[2 * k]);

                    if (disk->slot >= 0) {
                        ngx_http_s3_text(t, "%D", disk->slot);
                    }

                    ngx_http_s3_text(t, "\",state=\"%s\",reason=\"%V\"} 1\n",
                                     s3_status_disk_text(disk->state),
                                     &s->disks[2 * k + 1]);
                    break;

                case 1:
                    ngx_http_s3_text_disk(t, families[f].name, s, k,
                                          disk->state == S3_STATUS_MEMBER);
                    break;

                case 2:
                case 3:
                    if (disk->total) {
                        ngx_http_s3_text_disk(t, families[f].name, s, k,
                                              f == 2 ? disk->total
                                                     : disk->free);
                    }

                    break;

                case 4:
                    ngx_http_s3_text_disk(t, families[f].name, s, k,
                                          disk->errors);
                    break;

                case 5:
                    ngx_http_s3_text_disk(t, families[f].name, s, k,
                                          disk->timeouts);
                    break;

                default:
                    ngx_http_s3_text_disk(t, families[f].name, s, k,
                                          disk->operations);
                }
            }
        }
    }
}


static void
ngx_http_s3_text_disk(ngx_http_s3_text_t *t, const char *name,
    ngx_http_s3_subject_t *s, ngx_uint_t i, uint64_t value)
{
    ngx_http_s3_text(t, "%s{store=\"%V\",disk=\"%V\"} %uL\n", name, &s->name,
                     &s->disks[2 * i], value);
}


static void
ngx_http_s3_text_requests(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t                       i, k, st;
    ngx_atomic_uint_t                count;
    ngx_http_s3_subject_t           *s;
    ngx_http_s3_operation_count_t   *oc;
    ngx_http_s3_operation_metric_t  *m;

    ngx_http_s3_text_family(t, "s3_requests_in_flight", "gauge",
                            "Requests that are not answered yet");

    for (i = 0; i < n; i++) {
        if (subjects[i].table) {
            ngx_http_s3_text(t, "s3_requests_in_flight{%V} %uA\n",
                             &subjects[i].labels, subjects[i].load.in_flight);
        }
    }

    ngx_http_s3_text_family(t, "s3_requests_rejected_total", "counter",
                            "Requests that were turned away");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->table == NULL) {
            continue;
        }

        for (k = 0; k < NGX_HTTP_S3_NREASONS; k++) {
            ngx_http_s3_text(t, "s3_requests_rejected_total{%V,"
                             "reason=\"%s\"} %uA\n", &s->labels,
                             ngx_http_s3_reasons[k], s->table->rejected[k]);
        }
    }

    ngx_http_s3_text_family(t, "s3_requests_total", "counter",
                            "Requests that have ended");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        for (k = 0; s->table && k < S3_OP_LAST; k++) {
            oc = &s->table->operations[k];

            for (st = 0; st <= NGX_HTTP_S3_NSTATUSES; st++) {
                count = oc->status[st];

                if (count == 0) {
                    continue;
                }

                ngx_http_s3_text(t, "s3_requests_total{%V,operation=\"%V\","
                                 "status=\"", &s->labels,
                                 ngx_http_s3_count_name(k));

                if (ngx_http_s3_statuses[st]) {
                    ngx_http_s3_text(t, "%ui\"} %uA\n",
                                     ngx_http_s3_statuses[st], count);

                } else {
                    ngx_http_s3_text(t, "other\"} %uA\n", count);
                }
            }
        }
    }

    for (m = ngx_http_s3_operation_metrics; m->name; m++) {

        ngx_http_s3_text_family(t, m->name, "counter", m->help);

        for (i = 0; i < n; i++) {
            s = &subjects[i];

            for (k = 0; s->table && k < S3_OP_LAST; k++) {
                oc = &s->table->operations[k];

                if (ngx_http_s3_count_requests(oc)) {
                    ngx_http_s3_text(t, "%s{%V,operation=\"%V\"} %uA\n",
                                     m->name, &s->labels,
                                     ngx_http_s3_count_name(k),
                                     *(ngx_atomic_t *) ((char *) oc
                                                        + m->offset));
                }
            }
        }
    }
}


static void
ngx_http_s3_text_errors(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t              i, k, e;
    ngx_atomic_uint_t       count;
    ngx_http_s3_subject_t  *s;

    ngx_http_s3_text_family(t, "s3_errors_total", "counter",
                            "Requests that ended with an error of S3's");

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        for (k = 0; s->table && k < S3_OP_LAST; k++) {
            for (e = S3_OK + 1; e <= S3_ERR_LAST; e++) {
                count = s->table->operations[k].error[e];

                if (count) {
                    ngx_http_s3_text(t, "s3_errors_total{%V,"
                                     "operation=\"%V\",code=\"%V\"} %uA\n",
                                     &s->labels, ngx_http_s3_count_name(k),
                                     ngx_http_s3_count_code(e), count);
                }
            }
        }
    }
}


static void
ngx_http_s3_text_histogram(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n, const char *name,
    const char *help, size_t offset)
{
    ngx_str_t                      *op;
    ngx_uint_t                      i, k, b;
    ngx_atomic_uint_t               count, ms;
    ngx_http_s3_subject_t          *s;
    ngx_http_s3_histogram_t        *h;
    ngx_http_s3_operation_count_t  *oc;

    ngx_http_s3_text_family(t, name, "histogram", help);

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        for (k = 0; s->table && k < S3_OP_LAST; k++) {
            oc = &s->table->operations[k];

            if (ngx_http_s3_count_requests(oc) == 0) {
                continue;
            }

            h = (ngx_http_s3_histogram_t *) ((char *) oc + offset);
            op = ngx_http_s3_count_name(k);
            count = 0;

            for (b = 0; b < NGX_HTTP_S3_NBUCKETS; b++) {
                count += h->n[b];

                ngx_http_s3_text(t, "%s_bucket{%V,operation=\"%V\","
                                 "le=\"%s\"} %uA\n", name, &s->labels, op,
                                 ngx_http_s3_bucket_texts[b], count);
            }

            count += h->n[b];
            ms = h->ms;

            ngx_http_s3_text(t, "%s_bucket{%V,operation=\"%V\",le=\"+Inf\"} "
                             "%uA\n", name, &s->labels, op, count);
            ngx_http_s3_text(t, "%s_sum{%V,operation=\"%V\"} %uA.%03uA\n",
                             name, &s->labels, op, ms / 1000, ms % 1000);
            ngx_http_s3_text(t, "%s_count{%V,operation=\"%V\"} %uA\n", name,
                             &s->labels, op, count);
        }
    }
}
