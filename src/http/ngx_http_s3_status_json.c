
/*
 * s3_status as JSON, for people and programs:
 *
 *     {
 *       "stores": [{"name": "main", "state": "ok", "disks": [...], ...,
 *                   "requests": {...}}],
 *       "gateways": {"requests": {...}}
 *     }
 *
 * What is not known is null, or an operation that nobody asked for is left
 * out.  docs/monitoring.md has all of it.
 */


#include "ngx_http_s3_status.h"


static void ngx_http_s3_json_store(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *s);
static void ngx_http_s3_json_disk(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *s, ngx_uint_t i);
static void ngx_http_s3_json_requests(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *s);
static void ngx_http_s3_json_operation(ngx_http_s3_text_t *t,
    ngx_uint_t operation, ngx_http_s3_operation_count_t *oc);
static void ngx_http_s3_json_histogram(ngx_http_s3_text_t *t,
    const char *name, ngx_http_s3_histogram_t *h);


void
ngx_http_s3_status_json(ngx_http_s3_text_t *t,
    ngx_http_s3_subject_t *subjects, ngx_uint_t n)
{
    ngx_uint_t  i, comma;

    ngx_http_s3_text(t, "{\"stores\":[");

    comma = 0;

    for (i = 0; i < n; i++) {
        if (subjects[i].store) {
            ngx_http_s3_text(t, comma++ ? ",\n" : "\n");
            ngx_http_s3_json_store(t, &subjects[i]);
        }
    }

    ngx_http_s3_text(t, "]");

    for (i = 0; i < n; i++) {
        if (subjects[i].store == NULL) {
            ngx_http_s3_text(t, ",\n\"gateways\":{");
            ngx_http_s3_json_requests(t, &subjects[i]);
            ngx_http_s3_text(t, "}");
        }
    }

    ngx_http_s3_text(t, "}\n");
}


static void
ngx_http_s3_json_store(ngx_http_s3_text_t *t, ngx_http_s3_subject_t *s)
{
    ngx_uint_t              i;
    s3_status_t            *st;
    const s3_count_info_t  *info;

    st = s->status;

    ngx_http_s3_text(t, "{\"name\":\"%V\",\"state\":\"%s\","
                     "\"store_process\":%s,", &s->name,
                     ngx_http_s3_state_text(s->health.state),
                     s->health.connected ? "true" : "false");

    if (st == NULL) {
        ngx_http_s3_text(t, "\"age_ms\":null,\"disks\":null,");

    } else {
        ngx_http_s3_text(t, "\"age_ms\":%M,\"generation\":%uL,"
                         "\"sequence\":%uL,"
                         "\"data\":%ui,\"parity\":%ui,\n"
                         "\"quorum\":{\"read\":%ui,\"write\":%ui,"
                         "\"members\":%ui},\n",
                         s->age, st->generation, st->sequence,
                         (ngx_uint_t) st->geometry.k,
                         (ngx_uint_t) st->geometry.m,
                         (ngx_uint_t) st->geometry.k,
                         (ngx_uint_t) st->quorum, s->members);

        ngx_http_s3_text(t, "\"capacity\":{\"raw\":%uL,\"raw_free\":%uL,"
                         "\"usable\":%uL,\"usable_free\":%uL},\n",
                         s->raw, s->raw_free, s->usable, s->usable_free);

        ngx_http_s3_text(t, "\"queues\":{\"commits\":%uL,"
                         "\"commits_bytes\":%uL,\"deciding\":%uL,"
                         "\"reads_held\":%uL,\"reads_parked\":%uL},"
                         "\"connections\":%ui,\n",
                         st->commits, st->commits_bytes, st->deciding,
                         st->reads_held, st->reads_parked,
                         (ngx_uint_t) st->connections);

        ngx_http_s3_text(t, "\"catching_up\":%s,\"repairing\":%s,"
                         "\"counts\":{",
                         st->catching_up ? "true" : "false",
                         st->repairing ? "true" : "false");

        for (i = 0; i < S3_COUNT_LAST; i++) {
            info = s3_count_info(i);

            ngx_http_s3_text(t, "%s\"%s\":", i ? "," : "", info->name);

            if ((st->counts.known >> i) & 1) {
                ngx_http_s3_text(t, "%uL", st->counts.value[i]);

            } else {
                ngx_http_s3_text(t, "null");
            }
        }

        ngx_http_s3_text(t, "},\n\"disks\":[");

        for (i = 0; i < st->ndisks; i++) {
            ngx_http_s3_text(t, i ? ",\n" : "\n");
            ngx_http_s3_json_disk(t, s, i);
        }

        ngx_http_s3_text(t, "],\n");
    }

    ngx_http_s3_text(t, "\"workers\":{\"calls\":%uA,"
                     "\"waiting_for_memory\":%uA,\"operations\":%uA,"
                     "\"upload_bytes\":%uA,\"download_bytes\":%uA},\n",
                     s->load.calls, s->load.waiting, s->load.operations,
                     s->load.uploads, s->load.downloads);

    ngx_http_s3_json_requests(t, s);

    ngx_http_s3_text(t, "}");
}


static void
ngx_http_s3_json_disk(ngx_http_s3_text_t *t, ngx_http_s3_subject_t *s,
    ngx_uint_t i)
{
    s3_status_disk_t  *disk;

    disk = &s->status->disks[i];

    ngx_http_s3_text(t, "{\"path\":\"%V\",\"state\":\"%s\",",
                     &s->disks[2 * i], s3_status_disk_text(disk->state));

    if (disk->slot < 0) {
        ngx_http_s3_text(t, "\"slot\":null,");

    } else {
        ngx_http_s3_text(t, "\"slot\":%D,", disk->slot);
    }

    if (disk->reason[0]) {
        ngx_http_s3_text(t, "\"reason\":\"%V\",", &s->disks[2 * i + 1]);

    } else {
        ngx_http_s3_text(t, "\"reason\":null,");
    }

    if (disk->total) {
        ngx_http_s3_text(t, "\"capacity\":%uL,\"free\":%uL,", disk->total,
                         disk->free);

    } else {
        ngx_http_s3_text(t, "\"capacity\":null,\"free\":null,");
    }

    ngx_http_s3_text(t, "\"errors\":%uL,\"timeouts\":%uL,"
                     "\"operations\":%ui}", disk->errors, disk->timeouts,
                     (ngx_uint_t) disk->operations);
}


static void
ngx_http_s3_json_requests(ngx_http_s3_text_t *t, ngx_http_s3_subject_t *s)
{
    ngx_uint_t                      i, comma;
    ngx_http_s3_operation_count_t  *oc;

    if (s->table == NULL) {
        ngx_http_s3_text(t, "\"requests\":null");
        return;
    }

    ngx_http_s3_text(t, "\"requests\":{\"in_flight\":%uA,"
                     "\"rejected\":{", s->load.in_flight);

    for (i = 0; i < NGX_HTTP_S3_NREASONS; i++) {
        ngx_http_s3_text(t, "%s\"%s\":%uA", i ? "," : "",
                         ngx_http_s3_reasons[i], s->table->rejected[i]);
    }

    ngx_http_s3_text(t, "},\"operations\":{");

    comma = 0;

    for (i = 0; i < S3_OP_LAST; i++) {
        oc = &s->table->operations[i];

        if (ngx_http_s3_count_requests(oc)) {
            ngx_http_s3_text(t, comma++ ? ",\n" : "\n");
            ngx_http_s3_json_operation(t, i, oc);
        }
    }

    ngx_http_s3_text(t, "}}");
}


static void
ngx_http_s3_json_operation(ngx_http_s3_text_t *t, ngx_uint_t operation,
    ngx_http_s3_operation_count_t *oc)
{
    ngx_uint_t         i, comma;
    ngx_atomic_uint_t  n;

    ngx_http_s3_text(t, "\"%V\":{\"requests\":%uA,\"status\":{",
                     ngx_http_s3_count_name(operation),
                     ngx_http_s3_count_requests(oc));

    comma = 0;

    for (i = 0; i <= NGX_HTTP_S3_NSTATUSES; i++) {
        n = oc->status[i];

        if (n == 0) {
            continue;
        }

        if (comma++) {
            ngx_http_s3_text(t, ",");
        }

        if (ngx_http_s3_statuses[i]) {
            ngx_http_s3_text(t, "\"%ui\":%uA", ngx_http_s3_statuses[i], n);

        } else {
            ngx_http_s3_text(t, "\"other\":%uA", n);
        }
    }

    ngx_http_s3_text(t, "},\"errors\":{");

    comma = 0;

    for (i = S3_OK + 1; i <= S3_ERR_LAST; i++) {
        n = oc->error[i];

        if (n) {
            ngx_http_s3_text(t, "%s\"%V\":%uA", comma++ ? "," : "",
                             ngx_http_s3_count_code(i), n);
        }
    }

    ngx_http_s3_text(t, "},\"canceled\":%uA,\"received_bytes\":%uA,"
                     "\"sent_bytes\":%uA,",
                     oc->canceled, oc->received, oc->sent);

    ngx_http_s3_json_histogram(t, "duration_seconds", &oc->duration);
    ngx_http_s3_text(t, ",");
    ngx_http_s3_json_histogram(t, "ttfb_seconds", &oc->first);
    ngx_http_s3_text(t, "}");
}


static void
ngx_http_s3_json_histogram(ngx_http_s3_text_t *t, const char *name,
    ngx_http_s3_histogram_t *h)
{
    ngx_uint_t         i;
    ngx_atomic_uint_t  n, ms;

    ngx_http_s3_text(t, "\"%s\":{\"buckets\":{", name);

    n = 0;

    for (i = 0; i < NGX_HTTP_S3_NBUCKETS; i++) {
        n += h->n[i];

        ngx_http_s3_text(t, "%s\"%s\":%uA", i ? "," : "",
                         ngx_http_s3_bucket_texts[i], n);
    }

    n += h->n[i];
    ms = h->ms;

    ngx_http_s3_text(t, "},\"count\":%uA,\"sum\":%uA.%03uA}", n, ms / 1000,
                     ms % 1000);
}
