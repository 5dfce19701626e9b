
/*
 * Catching up: a disk that is behind is brought forward from another's
 * history (docs/commit.md).
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "s3_brain.h"


#define S3_PIECE            (4 * 1024 * 1024)
#define S3_ROUND_SMALL      200        /* batches behind: the last round */
#define S3_CATCHUP_LATE     6          /* long transactions, behind others' */


/*
 * A laggard is brought forward by rounds: in one round all changes up to a
 * snapshot of a current disk, in one transaction of the laggard.  A round can
 * be long, and others commit meanwhile; the last one is short and no batch is
 * started until the laggard is a member.
 */
struct s3_catchup_s {
    s3_process_t   *process;
    s3_disk_t      *disk;
    s3_drive_t     *drive;
    s3_disk_t      *source;
    s3_drive_t     *from;
    s3_position_t   position;          /* the laggard's, or the snapshot's */
    uint64_t        after;
    uint64_t        cursor;
    int             more;
    int             begun;
    int             failed;            /* s3_catchup_end() */
    int             finished;
    int             last;
    int             purged;            /* tmp/: s3_keeper_purge() */
};


static s3_disk_t *s3_catchup_next(s3_process_t *p);
static void s3_catchup_free(s3_catchup_t *c);
static void s3_catchup_snapshot_run(s3_op_t *op);
static void s3_catchup_snapshot_finish(s3_op_t *op);
static void s3_catchup_changes(s3_catchup_t *c);
static void s3_catchup_changes_run(s3_op_t *op);
static void s3_catchup_changes_finish(s3_op_t *op);
static void s3_catchup_apply_run(s3_op_t *op);
static void s3_catchup_apply_finish(s3_op_t *op);
static void s3_catchup_end(s3_catchup_t *c, int failed);
static void s3_catchup_purge_finish(s3_op_t *op);
static void s3_catchup_release_run(s3_op_t *op);
static void s3_catchup_rollback_run(s3_op_t *op);


s3_catchup_t *
s3_catchup_start(s3_process_t *p, s3_disk_t *disk, s3_disk_t *source)
{
    s3_catchup_t  *c;

    c = calloc(1, sizeof(s3_catchup_t));
    if (c == NULL) {
        return NULL;
    }

    c->process = p;
    c->disk = disk;
    c->drive = s3_drive_ref(disk->drive);
    c->source = source;
    c->from = s3_drive_ref(source->drive);
    c->position = disk->drive->position;

    return c;
}


/*
 * The process has at most one catching up, and this looks at it each turn: a
 * laggard that waits gets one; a finished round is followed by another, or
 * the disk becomes a member.
 */

void
s3_catchup_tick(s3_process_t *p)
{
    int            last;
    uint64_t       behind;
    s3_disk_t     *disk, *source;
    s3_catchup_t  *c;

    c = p->catchup;

    if (c == NULL) {

        if (p->recovering || p->recovery_due || p->state != S3_STORE_OK) {
            return;
        }

        disk = s3_catchup_next(p);
        source = s3_disk_reader(p);

        if (disk == NULL || source == NULL) {
            return;
        }

        s3_page_update(p);

        p->catchup = s3_catchup_start(p, disk, source);

        if (p->catchup) {
            behind = p->position.sequence - disk->drive->position.sequence;

            s3_log(p, 6, "disk \"%s\" is back, %lu batches behind",
                   disk->path, (unsigned long) behind);
            s3_catchup_round(p->catchup, 0);
        }

        return;
    }

    if (!c->finished) {
        return;
    }

    disk = c->disk;

    if (c->failed == 0 && c->drive->disk) {
        c->drive->position = c->position;
    }

    if (p->recovering || c->failed || c->drive->disk == NULL) {

        if (c->failed == EPROTO && c->drive->disk) {
            disk->behind = 1;
            s3_log(p, 4, "disk \"%s\" is out until it has a copy of the "
                   "index: its generation %lu, sequence %lu is not in the "
                   "history of the others",
                   disk->path, (unsigned long) c->position.generation,
                   (unsigned long) c->position.sequence);

        } else if (c->failed > 0 && c->drive->disk) {
            s3_disk_drop(disk, c->failed, "catching up failed");
        }

        s3_catchup_free(c);
        return;
    }

    if (!c->last) {

        last = 0;

        if (c->from->disk == NULL) {
            /* the next tick begins again with another source */
            s3_catchup_free(c);
            return;
        }

        if (p->position.sequence - c->position.sequence <= S3_ROUND_SMALL) {
            /* the last round: when the running batch has ended */
            p->paused = 1;

            if (p->batch) {
                return;
            }

            last = 1;
        }

        s3_catchup_round(c, last);
        return;
    }

    if (!c->purged) {
        c->finished = 0;
        s3_op_post(s3_op_create(c->drive, S3_LANE_HOUSE, s3_purge_run,
                                s3_catchup_purge_finish, c));
        return;
    }

    /* nothing was committed since: it stands where all stand */

    disk->member = s3_position_same(&c->position, &p->position);

    if (disk->member) {
        p->since[disk->slot] = 0;
        s3_log(p, 6, "disk \"%s\" is a member again", disk->path);
        p->generation_due = 1;
        p->repair_due = 1;
        p->collect_due = 1;
        disk->drive->next_scan = 0;
    }

    s3_catchup_free(c);
}


/* batches may have waited for it */

static void
s3_catchup_free(s3_catchup_t *c)
{
    s3_process_t  *p;

    p = c->process;

    p->paused = 0;
    p->catchup = NULL;

    s3_drive_unref(c->drive);
    s3_drive_unref(c->from);
    free(c);

    s3_batch_start(p);
}


/* an open disk of the set that is no member and may become one */

static s3_disk_t *
s3_catchup_next(s3_process_t *p)
{
    unsigned    i;
    s3_disk_t  *disk;

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        if (disk->drive == NULL || !disk->drive->open || disk->member
            || disk->behind)
        {
            continue;
        }

        if (disk->slot < 0 && s3_adopt(p) != 0) {
            return NULL;
        }

        if (disk->slot >= 0) {
            return disk;
        }

        disk->behind = 1;
    }

    return NULL;
}


void
s3_catchup_round(s3_catchup_t *c, int last)
{
    s3_op_t  *op;

    c->last = last;
    c->finished = 0;
    c->cursor = 0;
    c->more = 1;
    c->begun = 0;
    c->after = c->position.sequence;

    if (c->from->disk == NULL || c->drive->disk == NULL) {
        s3_catchup_end(c, -1);
        return;
    }

    op = s3_op_create(c->from, S3_LANE_HOUSE, s3_catchup_snapshot_run,
                      s3_catchup_snapshot_finish, c);
    op->position = c->position;
    op->late = S3_CATCHUP_LATE;
    s3_op_post(op);
}


static void
s3_catchup_snapshot_run(s3_op_t *op)
{
    int            rc;
    s3_position_t  position;

    rc = s3_index_snapshot(op->drive->house, &position);

    if (rc == 0) {
        rc = s3_index_knows(op->drive->house, &op->position, &op->flag);

        if (rc != 0 || !op->flag) {
            (void) s3_index_release(op->drive->house);
        }
    }

    op->position = position;
    op->task.error = rc;
}


static void
s3_catchup_snapshot_finish(s3_op_t *op)
{
    s3_catchup_t  *c;

    c = op->data;

    if (op->error) {
        s3_catchup_end(c, -1);
        return;
    }

    if (!op->flag) {
        s3_catchup_end(c, EPROTO);
        return;
    }

    c->position = op->position;

    s3_catchup_changes(c);
}


static void
s3_catchup_changes(s3_catchup_t *c)
{
    s3_op_t  *op;

    op = s3_op_create(c->from, S3_LANE_HOUSE, s3_catchup_changes_run,
                      s3_catchup_changes_finish, c);
    op->sequence = c->after;
    op->cursor = c->cursor;
    op->late = S3_CATCHUP_LATE;
    s3_op_post(op);
}


static void
s3_catchup_changes_run(s3_op_t *op)
{
    op->task.error = s3_index_changes(op->drive->house, op->sequence,
                                      &op->cursor, S3_PIECE, &op->out,
                                      &op->flag);

    if (op->task.error || !op->flag) {
        (void) s3_index_release(op->drive->house);
    }
}


static void
s3_catchup_changes_finish(s3_op_t *op)
{
    s3_op_t       *apply;
    s3_catchup_t  *c;

    c = op->data;

    if (op->error) {
        s3_catchup_end(c, -1);
        return;
    }

    c->cursor = op->cursor;
    c->more = op->flag;

    apply = s3_op_create(c->drive, S3_LANE_WRITER, s3_catchup_apply_run,
                         s3_catchup_apply_finish, c);
    apply->out = op->out;
    memset(&op->out, 0, sizeof(s3_buf_t));
    apply->flag = c->more;
    apply->status = !c->begun;
    c->begun = 1;
    apply->late = S3_CATCHUP_LATE;
    s3_op_post(apply);
}


static void
s3_catchup_apply_run(s3_op_t *op)
{
    int          rc;
    s3_slice_t   effects;
    s3_index_t  *index;

    rc = 0;
    index = op->drive->writer;
    effects.data = op->out.data;
    effects.len = op->out.len;

    if (op->status) {
        rc = s3_index_begin(index);
    }

    if (rc == 0) {
        rc = s3_index_apply(index, effects);
    }

    if (rc == 0 && !op->flag) {
        rc = s3_index_flush(index, 0);

        if (rc == 0) {
            rc = s3_index_commit(index);
        }
    }

    if (rc != 0) {
        s3_index_rollback(index);
    }

    op->task.error = rc;
}


static void
s3_catchup_apply_finish(s3_op_t *op)
{
    s3_catchup_t  *c;

    c = op->data;

    if (op->error) {
        if (c->more && c->from->disk) {
            s3_op_post(s3_op_create(c->from, S3_LANE_HOUSE,
                                    s3_catchup_release_run, NULL, NULL));
        }

        c->begun = 0;
        s3_catchup_end(c, op->error);
        return;
    }

    if (c->more) {
        s3_catchup_changes(c);
        return;
    }

    c->begun = 0;
    s3_catchup_end(c, 0);
}


static void
s3_catchup_purge_finish(s3_op_t *op)
{
    s3_catchup_t  *c;

    c = op->data;
    c->purged = 1;
    s3_catchup_end(c, op->error);
}


static void
s3_catchup_release_run(s3_op_t *op)
{
    (void) s3_index_release(op->drive->house);
}


static void
s3_catchup_rollback_run(s3_op_t *op)
{
    s3_index_rollback(op->drive->writer);
}


/* failed: 0, the laggard's errno (EPROTO: forked), or -1: the source's */

static void
s3_catchup_end(s3_catchup_t *c, int failed)
{
    if (c->begun && c->drive->disk) {
        s3_op_post(s3_op_create(c->drive, S3_LANE_WRITER,
                                s3_catchup_rollback_run, NULL, NULL));
    }

    if (failed == -1 && c->from->disk) {
        s3_disk_drop(c->source, EIO, "its history can't be read");
    }

    c->begun = 0;
    c->failed = failed;
    c->finished = 1;

    s3_loop_wake(c->process->loop);
}
