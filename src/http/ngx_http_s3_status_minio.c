
/*
 * s3_status under MinIO's names, for dashboards and alerts that know these:
 * its metrics of version 2 (cmd/metrics-v2.go: names, labels and types), where
 * the meaning is the same.  What means something else here, or nothing, is
 * left out; docs/monitoring.md has the list.
 *
 *     server   this host's name
 *     api      MinIO's name of the operation, "putobjectpart"
 *     pool     a store's number in the configuration; set is 0
 *
 * One host is one node.  With several stores numbers of disks and bytes are
 * sums.
 */


#include "ngx_http_s3_status.h"


typedef enum {
    NGX_HTTP_S3_MINIO_TOTAL = 0,
    NGX_HTTP_S3_MINIO_ERRORS,
    NGX_HTTP_S3_MINIO_4XX,
    NGX_HTTP_S3_MINIO_5XX,
    NGX_HTTP_S3_MINIO_CANCELED
} ngx_http_s3_minio_e;


static void ngx_http_s3_minio_one(ngx_http_s3_text_t *t, const char *name,
    const char *type, const char *help, uint64_t value);
static void ngx_http_s3_minio_cluster(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_minio_sets(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_minio_node(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static void ngx_http_s3_minio_requests(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static uint64_t ngx_http_s3_minio_count(ngx_http_s3_operation_count_t *oc,
    ngx_http_s3_minio_e what);
static void ngx_http_s3_minio_ttfb(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n);
static size_t ngx_http_s3_minio_api(ngx_uint_t operation, u_char *api);


#define NGX_HTTP_S3_MINIO_API  64


void
ngx_http_s3_status_minio(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n, ngx_uint_t node)
{
    time_t      started;
    ngx_uint_t  i, stores;

    stores = 0;
    started = 0;

    for (i = 0; i < n; i++) {
        stores += (subjects[i].store != NULL);

        if (subjects[i].table
            && (started == 0 || subjects[i].table->started < started))
        {
            started = subjects[i].table->started;
        }
    }

    ngx_http_s3_minio_one(t, "minio_cluster_nodes_online_total", "gauge",
                          "Hosts of the store that are up: this one", 1);
    ngx_http_s3_minio_one(t, "minio_cluster_nodes_offline_total", "gauge",
                          "Hosts of the store that are down", 0);

    if (started) {
        ngx_http_s3_minio_one(t, "minio_node_process_starttime_seconds",
                              "gauge", "When nginx has begun to count, Unix "
                              "time", started);
        ngx_http_s3_minio_one(t, "minio_node_process_uptime_seconds",
                              "gauge", "Since then", ngx_time() - started);
    }

    if (stores && node) {
        ngx_http_s3_minio_node(t, subjects, n);

    } else if (stores) {
        ngx_http_s3_minio_cluster(t, subjects, n);
        ngx_http_s3_minio_sets(t, subjects, n);
    }

    ngx_http_s3_minio_requests(t, subjects, n);
    ngx_http_s3_minio_ttfb(t, subjects, n);
}


static void
ngx_http_s3_minio_one(ngx_http_s3_text_t *t, const char *name,
    const char *type, const char *help, uint64_t value)
{
    ngx_http_s3_text_family(t, name, type, help);
    ngx_http_s3_text(t, "%s{server=\"%V\"} %uL\n", name,
                     &ngx_cycle->hostname, value);
}


static void
ngx_http_s3_minio_cluster(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    uint64_t                raw, raw_free, usable, usable_free;
    ngx_uint_t              i, disks, members, healthy, quorum, known;
    ngx_http_s3_subject_t  *s;

    raw = 0;
    raw_free = 0;
    usable = 0;
    usable_free = 0;
    disks = 0;
    members = 0;
    healthy = 1;
    quorum = 0;
    known = 1;

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->store == NULL) {
            continue;
        }

        healthy &= (s->health.connected && s->health.state == S3_STORE_OK);

        if (s->status == NULL) {
            known = 0;
            continue;
        }

        raw += s->raw;
        raw_free += s->raw_free;
        usable += s->usable;
        usable_free += s->usable_free;
        disks += s->status->ndisks;
        members += s->members;
        quorum = ngx_max(quorum, s->status->quorum);
    }

    ngx_http_s3_minio_one(t, "minio_cluster_health_status", "gauge",
                          "Whether there are disks enough to write", healthy);

    if (!known) {
        return;
    }

    ngx_http_s3_minio_one(t, "minio_cluster_write_quorum", "gauge",
                          "Disks it takes to write", quorum);

    ngx_http_s3_minio_one(t, "minio_cluster_capacity_raw_total_bytes",
                          "gauge", "Capacity of the disks that are there",
                          raw);
    ngx_http_s3_minio_one(t, "minio_cluster_capacity_raw_free_bytes",
                          "gauge", "Free space of the disks that are there",
                          raw_free);
    ngx_http_s3_minio_one(t, "minio_cluster_capacity_usable_total_bytes",
                          "gauge", "Capacity for objects", usable);
    ngx_http_s3_minio_one(t, "minio_cluster_capacity_usable_free_bytes",
                          "gauge", "Space left for objects", usable_free);

    ngx_http_s3_minio_one(t, "minio_cluster_drive_total", "gauge",
                          "Disks of the configuration", disks);
    ngx_http_s3_minio_one(t, "minio_cluster_drive_online_total", "gauge",
                          "Disks that take part", members);
    ngx_http_s3_minio_one(t, "minio_cluster_drive_offline_total", "gauge",
                          "Disks that do not", disks - members);
}


static void
ngx_http_s3_minio_sets(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    uint64_t                value;
    ngx_uint_t              i, f;
    ngx_http_s3_subject_t  *s;

    static const struct {
        const char  *name;
        const char  *help;
    } families[] = {
        { "minio_cluster_health_erasure_set_status",
          "Whether there are disks enough to write" },
        { "minio_cluster_health_erasure_set_read_quorum",
          "Disks it takes to read" },
        { "minio_cluster_health_erasure_set_write_quorum",
          "Disks it takes to write" },
        { "minio_cluster_health_erasure_set_online_drives",
          "Disks that take part" },
        { "minio_cluster_health_erasure_set_healing_drives",
          "Disks that are being brought forward" }
    };

    for (f = 0; f < sizeof(families) / sizeof(families[0]); f++) {

        ngx_http_s3_text_family(t, families[f].name, "gauge",
                                families[f].help);

        for (i = 0; i < n; i++) {
            s = &subjects[i];

            if (s->store == NULL || (f > 0 && s->status == NULL)) {
                continue;
            }

            switch (f) {

            case 0:
                value = s->health.connected
                        && s->health.state == S3_STORE_OK;
                break;

            case 1:
                value = s->status->geometry.k;
                break;

            case 2:
                value = s->status->quorum;
                break;

            case 3:
                value = s->members;
                break;

            default:
                value = s->health.healing;
            }

            ngx_http_s3_text(t, "%s{server=\"%V\",pool=\"%ui\",set=\"0\"} "
                             "%uL\n", families[f].name, &ngx_cycle->hostname,
                             i, value);
        }
    }
}


static void
ngx_http_s3_minio_node(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    uint64_t                value;
    ngx_uint_t              i, k, f, disks, members;
    s3_status_disk_t       *disk;
    ngx_http_s3_subject_t  *s;

    static const struct {
        const char  *name;
        const char  *type;
        const char  *help;
    } families[] = {
        { "minio_node_drive_total_bytes", "gauge", "Capacity of a disk" },
        { "minio_node_drive_free_bytes", "gauge", "Free space of a disk" },
        { "minio_node_drive_used_bytes", "gauge", "The rest of it" },
        { "minio_node_drive_errors_availability", "counter",
          "Times the disk failed or was late" },
        { "minio_node_drive_errors_ioerror", "counter",
          "Times the disk failed" },
        { "minio_node_drive_errors_timeout", "counter",
          "Times the disk was late" }
    };

    disks = 0;
    members = 0;

    for (i = 0; i < n; i++) {
        if (subjects[i].status) {
            disks += subjects[i].status->ndisks;
            members += subjects[i].members;
        }
    }

    if (disks) {
        ngx_http_s3_minio_one(t, "minio_node_drive_total", "gauge",
                              "Disks of the configuration", disks);
        ngx_http_s3_minio_one(t, "minio_node_drive_online_total", "gauge",
                              "Disks that take part", members);
        ngx_http_s3_minio_one(t, "minio_node_drive_offline_total", "gauge",
                              "Disks that do not", disks - members);
    }

    for (f = 0; f < sizeof(families) / sizeof(families[0]); f++) {

        ngx_http_s3_text_family(t, families[f].name, families[f].type,
                                families[f].help);

        for (i = 0; i < n; i++) {
            s = &subjects[i];

            for (k = 0; s->status && k < s->status->ndisks; k++) {
                disk = &s->status->disks[k];

                if (f < 3 && disk->total == 0) {
                    continue;
                }

                switch (f) {

                case 0:
                    value = disk->total;
                    break;

                case 1:
                    value = disk->free;
                    break;

                case 2:
                    value = disk->total - ngx_min(disk->free, disk->total);
                    break;

                case 3:
                    value = disk->errors;
                    break;

                case 4:
                    value = disk->errors - disk->timeouts;
                    break;

                default:
                    value = disk->timeouts;
                }

                ngx_http_s3_text(t, "%s{server=\"%V\",drive=\"%V\"} %uL\n",
                                 families[f].name, &ngx_cycle->hostname,
                                 &s->disks[2 * k], value);
            }
        }
    }
}


static void
ngx_http_s3_minio_requests(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    size_t                          len;
    u_char                          api[NGX_HTTP_S3_MINIO_API];
    uint64_t                        value, all, received, sent, waiting,
                                    in_flight, auth, skew, invalid;
    ngx_uint_t                      i, k, f;
    ngx_http_s3_subject_t          *s;
    ngx_http_s3_operation_count_t  *oc;

    static const struct {
        const char           *name;
        const char           *help;
        ngx_http_s3_minio_e   what;
    } families[] = {
        { "minio_s3_requests_total", "Requests that have ended",
          NGX_HTTP_S3_MINIO_TOTAL },
        { "minio_s3_requests_errors_total",
          "Requests answered with 4xx or 5xx", NGX_HTTP_S3_MINIO_ERRORS },
        { "minio_s3_requests_4xx_errors_total",
          "Requests answered with 4xx", NGX_HTTP_S3_MINIO_4XX },
        { "minio_s3_requests_5xx_errors_total",
          "Requests answered with 5xx", NGX_HTTP_S3_MINIO_5XX },
        { "minio_s3_requests_canceled_total", "Requests whose client left",
          NGX_HTTP_S3_MINIO_CANCELED }
    };

    received = 0;
    sent = 0;
    waiting = 0;
    in_flight = 0;
    auth = 0;
    skew = 0;
    invalid = 0;

    for (i = 0; i < n; i++) {
        s = &subjects[i];

        if (s->table == NULL) {
            continue;
        }

        waiting += s->load.waiting;
        in_flight += s->load.in_flight;
        auth += s->table->rejected[NGX_HTTP_S3_REASON_AUTH];
        skew += s->table->rejected[NGX_HTTP_S3_REASON_TIME];
        invalid += s->table->rejected[NGX_HTTP_S3_REASON_INVALID];

        for (k = 0; k < S3_OP_LAST; k++) {
            received += s->table->operations[k].received;
            sent += s->table->operations[k].sent;
        }
    }

    ngx_http_s3_minio_one(t, "minio_s3_traffic_received_bytes", "counter",
                          "Bytes of requests, with their headers", received);
    ngx_http_s3_minio_one(t, "minio_s3_traffic_sent_bytes", "counter",
                          "Bytes of answers, with their headers", sent);
    ngx_http_s3_minio_one(t, "minio_s3_requests_inflight_total", "gauge",
                          "Requests that are not answered yet", in_flight);
    ngx_http_s3_minio_one(t, "minio_s3_requests_waiting_total", "gauge",
                          "Uploads and downloads that wait for memory",
                          waiting);
    ngx_http_s3_minio_one(t, "minio_s3_requests_rejected_auth_total",
                          "counter", "Requests without a good signature",
                          auth);
    ngx_http_s3_minio_one(t, "minio_s3_requests_rejected_timestamp_total",
                          "counter", "Requests of another time", skew);
    ngx_http_s3_minio_one(t, "minio_s3_requests_rejected_invalid_total",
                          "counter", "Requests that are no operation of S3",
                          invalid);

    for (f = 0; f < sizeof(families) / sizeof(families[0]); f++) {

        ngx_http_s3_text_family(t, families[f].name, "counter",
                                families[f].help);

        for (k = 0; k < S3_OP_LAST; k++) {

            value = 0;
            all = 0;

            for (i = 0; i < n; i++) {
                if (subjects[i].table) {
                    oc = &subjects[i].table->operations[k];

                    all += ngx_http_s3_count_requests(oc);
                    value += ngx_http_s3_minio_count(oc, families[f].what);
                }
            }

            if (all) {
                len = ngx_http_s3_minio_api(k, api);

                ngx_http_s3_text(t, "%s{server=\"%V\",api=\"%*s\"} %uL\n",
                                 families[f].name, &ngx_cycle->hostname, len,
                                 api, value);
            }
        }
    }
}


/* 499 is canceled and no error, as MinIO has it */

static uint64_t
ngx_http_s3_minio_count(ngx_http_s3_operation_count_t *oc,
    ngx_http_s3_minio_e what)
{
    uint64_t    n;
    ngx_uint_t  i, status, from, to;

    switch (what) {

    case NGX_HTTP_S3_MINIO_TOTAL:
        return ngx_http_s3_count_requests(oc);

    case NGX_HTTP_S3_MINIO_CANCELED:
        return oc->canceled;

    case NGX_HTTP_S3_MINIO_4XX:
        from = 400;
        to = 499;
        break;

    case NGX_HTTP_S3_MINIO_5XX:
        from = 500;
        to = 600;
        break;

    default:
        from = 400;
        to = 600;
    }

    n = 0;

    for (i = 0; i < NGX_HTTP_S3_NSTATUSES; i++) {
        status = ngx_http_s3_statuses[i];

        if (status >= from && status < to
            && status != NGX_HTTP_CLIENT_CLOSED_REQUEST)
        {
            n += oc->status[i];
        }
    }

    return n;
}


/* a gauge to MinIO, with a histogram's label */

static void
ngx_http_s3_minio_ttfb(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    size_t                    len;
    u_char                    api[NGX_HTTP_S3_MINIO_API];
    uint64_t                  count, all;
    ngx_uint_t                i, k, b;
    ngx_http_s3_histogram_t  *h;

    ngx_http_s3_text_family(t, "minio_s3_requests_ttfb_seconds_distribution",
                            "gauge",
                            "From a request's first byte to its answer's");

    for (k = 0; k < S3_OP_LAST; k++) {

        all = 0;

        for (i = 0; i < n; i++) {
            if (subjects[i].table) {
                all += ngx_http_s3_count_requests(
                           &subjects[i].table->operations[k]);
            }
        }

        if (all == 0) {
            continue;
        }

        len = ngx_http_s3_minio_api(k, api);
        count = 0;

        for (b = 0; b <= NGX_HTTP_S3_NBUCKETS; b++) {

            for (i = 0; i < n; i++) {
                if (subjects[i].table) {
                    h = &subjects[i].table->operations[k].first;
                    count += h->n[b];
                }
            }

            /* MinIO's buckets, which are some of ours */

            if (b == NGX_HTTP_S3_NBUCKETS) {
                ngx_http_s3_text(t,
                    "minio_s3_requests_ttfb_seconds_distribution"
                    "{server=\"%V\",api=\"%*s\",le=\"+Inf\"} %uL\n",
                    &ngx_cycle->hostname, len, api, count);

            } else if (ngx_http_s3_buckets[b] >= 50
                       && ngx_http_s3_buckets[b] <= 10000)
            {
                ngx_http_s3_text(t,
                    "minio_s3_requests_ttfb_seconds_distribution"
                    "{server=\"%V\",api=\"%*s\",le=\"%ui.%03ui\"} %uL\n",
                    &ngx_cycle->hostname, len, api,
                    ngx_http_s3_buckets[b] / 1000,
                    ngx_http_s3_buckets[b] % 1000, count);
            }
        }
    }
}


/* MinIO's names are those of its handlers (cmd/api-router.go), lower case */

static size_t
ngx_http_s3_minio_api(ngx_uint_t operation, u_char *api)
{
    size_t      len;
    ngx_str_t  *name;
    ngx_uint_t  i;

    static const struct {
        ngx_uint_t   operation;
        const char  *api;
    } others[] = {
        { S3_OP_LIST_OBJECTS, "listobjectsv1" },
        { S3_OP_CREATE_BUCKET, "putbucket" },
        { S3_OP_DELETE_OBJECTS, "deletemultipleobjects" },
        { S3_OP_CREATE_MULTIPART_UPLOAD, "newmultipartupload" },
        { S3_OP_UPLOAD_PART, "putobjectpart" },
        { S3_OP_UPLOAD_PART_COPY, "copyobjectpart" },
        { S3_OP_LIST_PARTS, "listobjectparts" },
        { S3_OP_GET_BUCKET_LIFECYCLE_CONFIGURATION, "getbucketlifecycle" },
        { S3_OP_PUT_BUCKET_LIFECYCLE_CONFIGURATION, "putbucketlifecycle" },
        { S3_OP_GET_BUCKET_ACCELERATE_CONFIGURATION, "getbucketaccelerate" },
        { S3_OP_POST_OBJECT, "postpolicybucket" },
        { S3_OP_RESTORE_OBJECT, "postrestoreobject" }
    };

    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i].operation == operation) {
            len = ngx_strlen(others[i].api);
            ngx_memcpy(api, others[i].api, len);
            return len;
        }
    }

    name = ngx_http_s3_count_name(operation);
    len = ngx_min(name->len, NGX_HTTP_S3_MINIO_API);

    ngx_strlow(api, name->data, len);

    return len;
}
