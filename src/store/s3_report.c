
/*
 * What the store process tells those who watch, see s3_status.h: written
 * several times a second, and never read by itself but at its start, for what
 * the store process before it had counted.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "s3_brain.h"


#define S3_REPORT_INTERVAL   250       /* ms */


static void s3_report_take_over(s3_process_t *p);


/* Without it the store serves all the same. */

void
s3_report_start(s3_process_t *p)
{
    s3_count_add(p, S3_COUNT_SHARDS_REPAIRED, 0);
    s3_count_add(p, S3_COUNT_SHARDS_DAMAGED, 0);
    s3_count_add(p, S3_COUNT_SCRUB_ROUNDS, 0);
    s3_count_add(p, S3_COUNT_SCRUB_BYTES, 0);

    p->status = calloc(1, sizeof(s3_status_t));
    p->status_page = s3_status_map(p->conf.runtime, p->conf.name);

    if (p->status == NULL || p->status_page == NULL) {
        s3_log(p, 4, "status of store \"%s\" in \"%s\": %s", p->conf.name,
               p->conf.runtime, strerror(errno));
        return;
    }

    s3_report_take_over(p);
}


/* counters go on over a reload; the host has not booted meanwhile, or the file
 * is gone */

static void
s3_report_take_over(s3_process_t *p)
{
    unsigned           i, n;
    s3_status_t       *old;
    s3_status_disk_t  *sd;

    old = p->status;

    if (s3_status_read(p->status_page, old) != 0 || old->updated > p->now) {
        memset(old, 0, sizeof(s3_status_t));
        return;
    }

    for (i = 0; i < S3_COUNT_LAST; i++) {
        if (s3_count_info(i)->grows && ((old->counts.known >> i) & 1)) {
            s3_count_add(p, i, old->counts.value[i]);
        }
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        for (n = 0; n < old->ndisks; n++) {
            sd = &old->disks[n];

            if (strncmp(sd->path, p->disks[i].path, S3_STATUS_PATH - 1) == 0)
            {
                p->disks[i].errors = sd->errors;
                p->disks[i].timeouts = sd->timeouts;
                break;
            }
        }
    }
}


void
s3_count_add(s3_process_t *p, s3_count_e count, uint64_t n)
{
    p->counts.known |= (uint64_t) 1 << count;
    p->counts.value[count] += n;
}


void
s3_count_set(s3_process_t *p, s3_count_e count, uint64_t n)
{
    p->counts.known |= (uint64_t) 1 << count;
    p->counts.value[count] = n;
}


void
s3_report_tick(s3_process_t *p)
{
    unsigned        i;
    s3_status_t    *s;
    s3_question_t  *q;

    if (p->status_page == NULL || p->status == NULL
        || p->now < p->next_report)
    {
        return;
    }

    p->next_report = p->now + S3_REPORT_INTERVAL;

    s = p->status;
    memset(s, 0, sizeof(s3_status_t));

    s->updated = p->now;
    s->started = p->started;
    s->generation = p->position.generation;
    s->sequence = p->position.sequence;
    s->state = p->state;
    s->ndisks = p->conf.ndisks;
    s->quorum = p->quorum;
    s->connections = p->nconns;
    s->geometry = p->geometry;

    s->commits = p->queued;
    s->commits_bytes = p->queued_bytes;
    s->deciding = p->batch ? p->batch->n : 0;

    STAILQ_FOREACH(q, &p->held, link) {
        s->reads_held++;
    }

    STAILQ_FOREACH(q, &p->parked, link) {
        s->reads_parked++;
    }

    s->catching_up = (p->catchup != NULL);
    s->repairing = (p->repair != NULL);

    s3_damage_count(p);
    s->counts = p->counts;

    for (i = 0; i < p->conf.ndisks; i++) {
        s3_report_disk(p, &p->disks[i], &s->disks[i]);
    }

    s3_status_write(p->status_page, s);
}


void
s3_report_disk(s3_process_t *p, s3_disk_t *disk, s3_status_disk_t *sd)
{
    s3_op_t      *op;
    s3_drive_t   *drive;
    const char   *why;

    drive = disk->drive;
    why = "";

    (void) snprintf(sd->path, S3_STATUS_PATH, "%s", disk->path);

    sd->slot = -1;
    sd->errors = disk->errors;
    sd->timeouts = disk->timeouts;

    if (drive == NULL || !drive->open) {
        sd->state = S3_STATUS_AWAY;
        sd->error = disk->error;

        if (disk->dropped_for) {
            (void) snprintf(sd->reason, S3_STATUS_REASON, "%s%s%s",
                            disk->dropped_for, disk->dropped_error ? ": " : "",
                            disk->dropped_error
                                ? strerror(disk->dropped_error) : "");
            return;
        }

        why = disk->error ? s3_disk_error_text(disk->error)
                          : "it is being opened";

        (void) snprintf(sd->reason, S3_STATUS_REASON, "%s", why);
        return;
    }

    sd->total = drive->total;
    sd->free = drive->free;

    LIST_FOREACH(op, &drive->ops, link) {
        sd->operations++;
    }

    if (drive->has_format) {
        memcpy(sd->id, drive->format.disk_id, 16);
    }

    if (disk->slot < 0 && s3_incomplete(drive)
        && s3_of_set(p, &drive->format))
    {
        sd->state = S3_STATUS_BEHIND;
        sd->slot = drive->format.slot;
        why = disk->why ? disk->why : "it has no index";

    } else if (disk->slot < 0) {
        sd->state = S3_STATUS_FOREIGN;
        why = disk->why ? disk->why : "it has no place in the set";

    } else if (disk->member) {
        sd->state = S3_STATUS_MEMBER;

    } else if (disk->behind) {
        sd->state = S3_STATUS_BEHIND;
        why = "its history is not the set's, or too old";

    } else {
        sd->state = S3_STATUS_WAITING;
        why = p->state == S3_STORE_OK ? "it is being brought forward"
                                      : "too few disks are there";
    }

    if (disk->slot >= 0) {
        sd->slot = disk->slot;
    }

    (void) snprintf(sd->reason, S3_STATUS_REASON, "%s", why);
}
