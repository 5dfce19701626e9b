
/*
 * A view for who looks at the disks while they are in use (s3-store): on each
 * member a snapshot of the index that stands in DISK/index.db and the first so
 * many bytes of DISK/index.db-wal, the same position on all.
 *
 *     a connection more on each member
 *     --> the running batch ends, none is begun
 *     --> a snapshot on each, and how much of the log it reads
 *     --> batches go on; the answer
 *     --> released: by the asker, or by us
 *
 * A snapshot keeps the log from starting over and the database from getting
 * pages of later ones, so that another process reads both as they are.  So
 * the log grows while it is held: a view is given up at S3_VIEW_FRAMES, below
 * where a commit would wait for it, and after S3_VIEW_TIME.  Shards are no part
 * of it: what a view names may be unlinked as soon as it is there.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "s3_brain.h"


#define S3_VIEW_FRAMES    12000         /* of a log, all that it has */
#define S3_VIEW_TIME      600000        /* ms */
#define S3_VIEW_CACHE     (64 * 1024)


enum {
    S3_VIEW_OPENING = 0,
    S3_VIEW_PAUSED,                     /* when the running batch has ended */
    S3_VIEW_HOLDING,
    S3_VIEW_HELD,
    S3_VIEW_LEAVING                     /* nobody asks for it any more */
};


struct s3_view_s {
    s3_process_t   *process;
    int             state;
    unsigned        waiting;            /* operations */
    unsigned        failed:1;
    unsigned        told:1;             /* ready() was called */
    uint64_t        until;
    s3_position_t   position;
    s3_drive_t     *drives[S3_MAX_DISKS];     /* by disk */
    uint64_t        logs[S3_MAX_DISKS];       /* bytes */
    s3_view_pt      ready;
    void           *data;
};


static void s3_view_post(s3_view_t *v, s3_op_pt run, s3_op_pt finish);
static void s3_view_open_run(s3_op_t *op);
static void s3_view_open_finish(s3_op_t *op);
static void s3_view_hold_run(s3_op_t *op);
static void s3_view_hold_finish(s3_op_t *op);
static void s3_view_tell(s3_view_t *v);
static void s3_view_leave(s3_view_t *v);
static void s3_view_close_run(s3_op_t *op);
static void s3_view_close_finish(s3_op_t *op);


int
s3_view_start(s3_process_t *p, s3_view_pt ready, void *data)
{
    unsigned    i;
    s3_view_t  *v;

    if (p->view) {
        return EBUSY;
    }

    if (p->state != S3_STORE_OK || p->recovering || p->recovery_due) {
        return EAGAIN;
    }

    v = calloc(1, sizeof(s3_view_t));
    if (v == NULL) {
        return ENOMEM;
    }

    v->process = p;
    v->ready = ready;
    v->data = data;
    v->until = p->now + S3_VIEW_TIME;
    p->view = v;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (p->disks[i].member && p->disks[i].drive) {
            v->drives[i] = s3_drive_ref(p->disks[i].drive);
        }
    }

    s3_view_post(v, s3_view_open_run, s3_view_open_finish);

    return 0;
}


/* one on each disk; in the lane that is hardly used, as commits wait for it */

static void
s3_view_post(s3_view_t *v, s3_op_pt run, s3_op_pt finish)
{
    unsigned   i;
    s3_op_t   *op;

    v->waiting = 1;

    for (i = 0; i < S3_MAX_DISKS; i++) {
        if (v->drives[i]) {
            op = s3_op_create(v->drives[i], S3_LANE_WATCH, run, finish, v);
            op->late = 1;
            op->cursor = i;
            v->waiting++;
            s3_op_post(op);
        }
    }

    /* finish handlers run later: they are never called by s3_op_post() */

    v->waiting--;
}


static void
s3_view_open_run(s3_op_t *op)
{
    s3_drive_t  *drive;

    drive = op->drive;

    if (drive->viewer == NULL) {
        op->task.error = s3_index_open(drive->vfs, 0, 0, S3_VIEW_CACHE,
                                       &drive->viewer);
    }
}


static void
s3_view_open_finish(s3_op_t *op)
{
    s3_view_t  *v;

    v = op->data;
    v->failed |= (op->error != 0);

    if (--v->waiting) {
        return;
    }

    if (v->failed || v->state == S3_VIEW_LEAVING) {
        s3_view_leave(v);
        return;
    }

    v->state = S3_VIEW_PAUSED;

    (void) s3_view_pauses(v->process);
}


int
s3_view_pauses(s3_process_t *p)
{
    s3_view_t  *v;

    v = p->view;

    if (v == NULL) {
        return 0;
    }

    if (v->state == S3_VIEW_PAUSED && p->batch == NULL) {
        v->state = S3_VIEW_HOLDING;
        v->position = p->position;
        s3_view_post(v, s3_view_hold_run, s3_view_hold_finish);
    }

    return v->state == S3_VIEW_HOLDING;
}


static void
s3_view_hold_run(s3_op_t *op)
{
    op->task.error = s3_index_snapshot(op->drive->viewer, &op->position);

    if (op->task.error == 0) {
        op->sequence = s3_index_log(op->drive->viewer);
    }
}


static void
s3_view_hold_finish(s3_op_t *op)
{
    s3_view_t     *v;
    s3_process_t  *p;

    v = op->data;
    p = v->process;

    v->logs[op->cursor] = op->sequence;
    v->failed |= (op->error != 0
                  || !s3_position_same(&op->position, &v->position));

    if (--v->waiting) {
        return;
    }

    if (v->failed || v->state == S3_VIEW_LEAVING) {
        s3_view_leave(v);

    } else {
        v->state = S3_VIEW_HELD;
        s3_view_tell(v);
    }

    s3_batch_start(p);
}


/* once: it is there, or will not be */

static void
s3_view_tell(s3_view_t *v)
{
    if (!v->told) {
        v->told = 1;
        v->ready(v->state == S3_VIEW_HELD ? v : NULL, v->data);
    }
}


const s3_position_t *
s3_view_position(s3_view_t *v)
{
    return &v->position;
}


int
s3_view_disk(s3_view_t *v, unsigned i, uint64_t *log)
{
    if (v->drives[i] == NULL) {
        return -1;
    }

    *log = v->logs[i];

    return 0;
}


int
s3_view_held(s3_process_t *p, const void *data)
{
    return p->view && p->view->state == S3_VIEW_HELD
           && p->view->data == data;
}


void
s3_view_tick(s3_process_t *p)
{
    unsigned    i;
    s3_view_t  *v;

    v = p->view;

    if (v == NULL || v->state == S3_VIEW_LEAVING) {
        return;
    }

    if (p->now >= v->until) {
        s3_view_stop(p, NULL);
        return;
    }

    for (i = 0; i < S3_MAX_DISKS; i++) {
        if (v->drives[i]
            && (v->drives[i]->disk == NULL || !v->drives[i]->disk->member
                || (v->state == S3_VIEW_HELD
                    && s3_vfs_frames(v->drives[i]->vfs) >= S3_VIEW_FRAMES)))
        {
            s3_view_stop(p, NULL);
            return;
        }
    }
}


void
s3_view_stop(s3_process_t *p, const void *data)
{
    s3_view_t  *v;

    v = p->view;

    if (v == NULL || v->state == S3_VIEW_LEAVING
        || (data && v->data != data))
    {
        return;
    }

    if (v->waiting) {
        v->state = S3_VIEW_LEAVING;      /* when these are back */

    } else {
        s3_view_leave(v);
    }

    s3_batch_start(p);
}


static void
s3_view_leave(s3_view_t *v)
{
    v->state = S3_VIEW_LEAVING;
    s3_view_tell(v);
    s3_view_post(v, s3_view_close_run, s3_view_close_finish);
}


static void
s3_view_close_run(s3_op_t *op)
{
    s3_drive_t  *drive;

    drive = op->drive;

    if (drive->viewer) {
        (void) s3_index_release(drive->viewer);
        s3_index_close(drive->viewer);
        drive->viewer = NULL;
    }
}


static void
s3_view_close_finish(s3_op_t *op)
{
    unsigned    i;
    s3_view_t  *v;

    v = op->data;

    if (--v->waiting) {
        return;
    }

    for (i = 0; i < S3_MAX_DISKS; i++) {
        if (v->drives[i]) {
            s3_drive_unref(v->drives[i]);
        }
    }

    v->process->view = NULL;
    free(v);
}
