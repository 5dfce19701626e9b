
/*
 * A disk that took a lost one's place has none of its shards, and the masks
 * say that it has.  It is a member of the index, with a vote, but its shards
 * do not count (it has no generation in p->since) until every such bit is
 * cleared, by commits of many rows each:
 *
 *     rows with the bit, from the last one on -> VOID, up to the last of
 *     them -> ... -> none: its format file says "formed" -> a generation,
 *     from which on its shards count -> repair fills the holes
 *
 * "vacant" stands in the disk's own format file: cut anywhere, the next
 * process goes on, from the first row.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "s3_brain.h"


#define S3_VOID_ROWS     1000
#define S3_VOID_AGAIN    1000        /* ms */


static void s3_void_step(s3_process_t *p);
static void s3_void_run(s3_op_t *op);
static void s3_void_finish(s3_op_t *op);
static void s3_void_answered(s3_question_t *q, s3_verdict_t *verdict);
static void s3_void_end(s3_process_t *p);
static void s3_void_formed_run(s3_op_t *op);
static void s3_void_formed_finish(s3_op_t *op);


int
s3_vacant(const s3_disk_t *disk)
{
    return disk->member && disk->drive && disk->drive->format.vacant;
}


void
s3_void_tick(s3_process_t *p)
{
    unsigned  i;

    if (p->vacant || p->state != S3_STORE_OK || p->generation_due
        || p->now < p->next_void)
    {
        return;
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        if (s3_vacant(&p->disks[i])) {
            p->vacant = s3_drive_ref(p->disks[i].drive);
            memset(p->void_after, 0, 16);
            s3_void_step(p);
            return;
        }
    }
}


/* the end of a pass, or of trying for now */

static void
s3_void_end(s3_process_t *p)
{
    s3_drive_unref(p->vacant);
    p->vacant = NULL;
    p->next_void = p->now + S3_VOID_AGAIN;
}


static void
s3_void_step(s3_process_t *p)
{
    s3_op_t    *op;
    s3_disk_t  *disk;

    disk = (p->state == S3_STORE_OK) ? s3_disk_reader(p) : NULL;

    if (disk == NULL || p->vacant->disk == NULL
        || !s3_vacant(p->vacant->disk))
    {
        s3_void_end(p);
        return;
    }

    op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_void_run,
                      s3_void_finish, NULL);
    op->mask = (uint64_t) 1 << p->vacant->format.slot;
    memcpy(op->id, p->void_after, 16);
    s3_op_post(op);
}


/* the last row of a step; flag: there is one */

static void
s3_void_run(s3_op_t *op)
{
    unsigned         n;
    s3_shard_row_t  *rows;

    rows = malloc(S3_VOID_ROWS * sizeof(s3_shard_row_t));
    if (rows == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    op->task.error = s3_index_marked(op->drive->house, op->mask, op->id, rows,
                                     S3_VOID_ROWS, &n);

    if (op->task.error == 0 && n) {
        op->flag = 1;
        memcpy(op->id, rows[n - 1].shard_id, 16);
    }

    free(rows);
}


static void
s3_void_finish(s3_op_t *op)
{
    s3_op_t       *formed;
    s3_commit_t    commit;
    s3_process_t  *p;

    p = op->drive->process;

    if (op->error || p->vacant->disk == NULL
        || !s3_vacant(p->vacant->disk))
    {
        s3_void_end(p);
        return;
    }

    if (op->flag) {
        memset(&commit, 0, sizeof(s3_commit_t));
        commit.op = S3_COMMIT_VOID;
        commit.mask = op->mask;
        memcpy(commit.shard_id, p->void_after, 16);
        memcpy(commit.source, op->id, 16);

        if (s3_commit_internal(p, &commit, s3_void_answered, NULL) != 0) {
            s3_void_end(p);
        }

        return;
    }

    formed = s3_op_create(p->vacant, S3_LANE_HOUSE, s3_void_formed_run,
                          s3_void_formed_finish, NULL);
    formed->late = 1;
    s3_op_post(formed);
}


static void
s3_void_answered(s3_question_t *q, s3_verdict_t *verdict)
{
    s3_process_t  *p;

    p = q->process;

    if (verdict->status != S3_STORE_OK) {
        s3_void_end(p);
        return;
    }

    memcpy(p->void_after, q->commit.source, 16);

    s3_void_step(p);
}


static void
s3_void_formed_run(s3_op_t *op)
{
    s3_format_t  f;

    f = op->drive->format;
    f.vacant = 0;

    op->task.error = s3_format_write(op->drive->root, &f);
}


static void
s3_void_formed_finish(s3_op_t *op)
{
    s3_drive_t    *drive;
    s3_process_t  *p;

    drive = op->drive;
    p = drive->process;

    if (drive->disk && op->error && op->error != ENOSPC) {
        s3_disk_drop(drive->disk, op->error,
                     "its format file can't be written");
    }

    if (op->error == 0) {
        drive->format.vacant = 0;
        p->generation_due = 1;
        p->repair_due = 1;
        p->collect_due = 1;

        if (drive->disk) {
            s3_log(p, 5, "disk \"%s\" is empty by all masks: its shards are "
                   "computed now", drive->path);
        }
    }

    s3_void_end(p);
    s3_batch_start(p);
}
