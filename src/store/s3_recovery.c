
/*
 * Who is current, and opening a generation with them (docs/commit.md).
 *
 * s3_recover() runs on the brain thread between two turns of its loop and
 * waits there: nothing is decided meanwhile, questions stay parked.  Every
 * wait is bounded by the time after which a disk is late.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "s3_brain.h"


static void s3_disks_wait(s3_process_t *p);
static uint64_t s3_positions(s3_process_t *p);
static int s3_newest(s3_process_t *p, uint64_t readable);
static int s3_knows(s3_process_t *p, s3_disk_t *source,
    const s3_position_t *position);
static int s3_members_read(s3_process_t *p, s3_disk_t *source,
    uint64_t *since);
static int s3_forward(s3_process_t *p, s3_disk_t *disk, s3_disk_t *source);
static int s3_purge(s3_process_t *p, s3_disk_t *disk);
static void s3_stand_down(s3_process_t *p, int state);
static void s3_position_run(s3_op_t *op);
static void s3_position_finish(s3_op_t *op);
static void s3_knows_run(s3_op_t *op);
static void s3_knows_finish(s3_op_t *op);
static void s3_members_run(s3_op_t *op);
static void s3_members_finish(s3_op_t *op);


static int
s3_newer(const s3_position_t *a, const s3_position_t *b)
{
    if (a->generation != b->generation) {
        return a->generation > b->generation ? 1 : -1;
    }

    if (a->sequence != b->sequence) {
        return a->sequence > b->sequence ? 1 : -1;
    }

    return 0;
}


void
s3_recover(s3_process_t *p)
{
    int            newest;
    unsigned       i, present;
    uint64_t       readable, reachable;
    uint64_t       since[S3_MAX_DISKS];
    s3_disk_t     *disk, *source;

    p->recovering = 1;
    p->paused = 0;

    s3_state_set(p, S3_STORE_BUSY);

    /* what is under way ends first: nothing may change what is read here */

    s3_copy_stop(p);
    s3_view_stop(p, NULL);

    while (p->batch || p->catchup || p->copy) {
        s3_brain_wait(p, 20);
        s3_disks_tick(p);
        s3_catchup_tick(p);
        s3_copy_tick(p);
    }

    s3_disks_wait(p);

    p->recovery_due = 0;

    if (s3_adopt(p) != 0) {
        s3_stand_down(p, S3_STORE_UNAVAILABLE);
        return;
    }

    readable = s3_positions(p);
    present = __builtin_popcountll(readable);

    if (present < p->geometry.k) {
        s3_stand_down(p, S3_STORE_UNAVAILABLE);
        return;
    }

    newest = s3_newest(p, readable);
    source = &p->disks[newest];
    p->source = newest;
    p->position = source->drive->position;

    /* who stands there, or can be brought there */

    reachable = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        if (!((readable >> i) & 1) || disk->drive == NULL) {
            continue;
        }

        disk->behind = !s3_position_same(&disk->drive->position, &p->position)
                       && !s3_knows(p, source, &disk->drive->position);

        if (source->drive == NULL) {
            s3_stand_down(p, S3_STORE_BUSY);
            return;
        }

        if (disk->drive == NULL) {
            continue;                          /* dropped meanwhile */
        }

        if (!disk->behind) {
            reachable |= (uint64_t) 1 << i;
            continue;
        }

        s3_log(p, 4, "disk \"%s\" is out until it has a copy of the index: "
               "its generation %lu, sequence %lu is not in the history of the "
               "others", disk->path,
               (unsigned long) disk->drive->position.generation,
               (unsigned long) disk->drive->position.sequence);
    }

    if ((unsigned) __builtin_popcountll(reachable) < p->quorum) {
        s3_stand_down(p, S3_STORE_READ_ONLY);      /* ruling 6 */
        return;
    }

    if (s3_members_read(p, source, since) != 0) {
        s3_stand_down(p, S3_STORE_BUSY);
        return;
    }

    memset(p->since, 0, sizeof(p->since));

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        if (!((reachable >> i) & 1) || disk->drive == NULL) {
            continue;
        }

        if (!s3_position_same(&disk->drive->position, &p->position)) {

            if (s3_forward(p, disk, source) != 0) {

                if (source->drive == NULL) {
                    s3_stand_down(p, S3_STORE_BUSY);
                    return;
                }

                continue;
            }
        }

        /*
         * One that this process dropped starts anew.  Others that the newest
         * generation names stayed members, the laggards too: what they
         * missed was being committed when a process died, and the shards
         * that workers have synced on them count.
         */

        if (disk->dropped) {
            if (s3_purge(p, disk) != 0) {
                continue;
            }

        } else if (!disk->drive->format.vacant) {
            p->since[disk->slot] = since[disk->slot];
        }

        disk->member = 1;
    }

    if (s3_members(p, NULL) < p->quorum) {
        s3_stand_down(p, S3_STORE_READ_ONLY);
        return;
    }

    /*
     * a batch without user writes opens a generation; then answers are given
     */

    atomic_store(&p->page->decided, p->position.sequence);
    p->generation_due = 1;
    p->full = 0;
    p->next_generation = 0;
    p->recovering = 2;
    s3_batch_start(p);

    while (p->batch) {
        s3_brain_wait(p, 20);
        s3_disks_tick(p);
    }

    if (p->full) {

        /* no room for it: what is there is served, and it is tried again */

        s3_stand_down(p, S3_STORE_READ_ONLY);
        return;
    }

    if (p->generation_due && s3_members(p, NULL) >= p->quorum) {
        /* refused or undecided: from the start again */
        p->recovery_due = 1;
    }

    if (p->recovery_due || s3_members(p, NULL) < p->quorum) {
        s3_stand_down(p, S3_STORE_READ_ONLY);
        return;
    }

    p->recovering = 0;
    s3_state_set(p, S3_STORE_OK);

    s3_log(p, 6, "store \"%s\": generation %lu, sequence %lu, %u of %u disks",
           p->conf.name, (unsigned long) p->position.generation,
           (unsigned long) p->position.sequence, s3_members(p, NULL),
           p->conf.ndisks);

    p->repair_due = 1;
    p->collect_due = 1;

    s3_keeper_scan(p);
    s3_limbo_settle(p);
    s3_parked_release(p);
    s3_held_release(p);
    s3_batch_start(p);
}


/* no quorum: nothing is written, checkpoints included */

static void
s3_stand_down(s3_process_t *p, int state)
{
    unsigned  i, n;

    n = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        p->disks[i].member = 0;
        n += (p->disks[i].slot >= 0 && p->disks[i].drive
              && p->disks[i].drive->open);
    }

    memset(p->since, 0, sizeof(p->since));

    p->recovering = 0;

    if (state == S3_STORE_BUSY) {
        p->recovery_due = 1;
    }

    if (p->recovery_due) {
        /* a disk came or went meanwhile: once again */
        return;
    }

    if (state == S3_STORE_READ_ONLY) {

        if (p->disks[p->source].drive == NULL) {
            p->recovery_due = 1;
            return;
        }

        /* an undecided batch found there reads as committed (ruling 6) */
        atomic_store(&p->page->decided, p->position.sequence);

        if (p->full) {
            s3_log(p, 4, "store \"%s\" is read-only: a disk is full",
                   p->conf.name);

        } else {
            s3_log(p, 4, "store \"%s\" is read-only: %u of %u disks, %u are "
                   "needed to write", p->conf.name, n, p->conf.ndisks,
                   p->quorum);
        }

    } else {
        p->source = -1;

        s3_log(p, 4, "store \"%s\" is unavailable: %u of %u disks, %u are "
               "needed to read", p->conf.name, n, p->conf.ndisks,
               p->geometry.k);
    }

    s3_state_set(p, state);
    s3_limbo_settle(p);
    s3_parked_release(p);
    s3_held_release(p);
    s3_batch_start(p);
}


/*
 * At the start all disks get as long to answer as a late one has; those that
 * come later bring another recovery, or catch up.  A lock held elsewhere is
 * most often the store process before us, about to leave.
 */

static void
s3_disks_wait(s3_process_t *p)
{
    unsigned     i, n;
    uint64_t     until;
    s3_disk_t   *disk;

    until = p->started + p->conf.late;

    for ( ;; ) {
        n = 0;

        for (i = 0; i < p->conf.ndisks; i++) {
            disk = &p->disks[i];

            if (disk->drive && disk->drive->opening) {
                n++;

            } else if (disk->error == EWOULDBLOCK
                       && (disk->drive == NULL || !disk->drive->open))
            {
                n++;

                if (p->now >= disk->next_try) {
                    s3_disk_try(disk);
                }
            }
        }

        if (n == 0 || s3_now() > until) {
            return;
        }

        s3_brain_wait(p, 10);
    }
}


/* steps */

void
s3_step_finish(s3_op_t *op)
{
    s3_step_t  *step;

    /* s3_step_wait() waits for all: the step is there */

    step = op->data;
    step->waiting--;

    if (op->error) {
        step->failed |= op->mask;

    } else {
        step->done |= op->mask;
    }
}


void
s3_step_post(s3_step_t *step, s3_disk_t *disk, s3_op_t *op)
{
    op->late = 1;
    op->mask = (uint64_t) 1 << disk->index;
    step->waiting++;
    s3_op_post(op);
}


void
s3_step_wait(s3_process_t *p, s3_step_t *step)
{
    unsigned    i;
    uint64_t    until;
    s3_op_t    *op;

    until = s3_now() + p->conf.late;

    while (step->waiting) {
        s3_brain_wait(p, 20);

        if (s3_now() < until) {
            continue;
        }

        for (i = 0; i < p->conf.ndisks; i++) {
            if (p->disks[i].drive == NULL) {
                continue;
            }

            LIST_FOREACH(op, &p->disks[i].drive->ops, link) {
                if (op->data == step && !op->abandoned) {
                    s3_disk_drop(&p->disks[i], ETIMEDOUT,
                                 "too late in recovery");
                    break;
                }
            }
        }
    }
}


/* where each index stands; a set of disks by index */

static uint64_t
s3_positions(s3_process_t *p)
{
    unsigned    i;
    s3_op_t    *op;
    s3_step_t   step;

    memset(&step, 0, sizeof(s3_step_t));

    for (i = 0; i < p->conf.ndisks; i++) {
        if (p->disks[i].slot >= 0 && p->disks[i].drive
            && p->disks[i].drive->open)
        {
            op = s3_op_create(p->disks[i].drive, S3_LANE_READER,
                              s3_position_run, s3_position_finish, &step);
            s3_step_post(&step, &p->disks[i], op);
        }
    }

    s3_step_wait(p, &step);

    for (i = 0; i < p->conf.ndisks; i++) {
        if ((step.failed >> i) & 1) {
            s3_disk_drop(&p->disks[i], EIO, "its index can't be read");
        }

        if (p->disks[i].drive == NULL) {
            step.done &= ~((uint64_t) 1 << i);
        }
    }

    return step.done;
}


static void
s3_position_run(s3_op_t *op)
{
    op->task.error = s3_index_position(op->drive->reader, &op->position);
}


static void
s3_position_finish(s3_op_t *op)
{
    if (op->error == 0) {
        op->drive->position = op->position;
    }

    s3_step_finish(op);
}


/*
 * Of equals with other digests (a fork) the side with more disks, and, these
 * being equal too, the smaller digest: any rule that every start comes to.
 */

static int
s3_newest(s3_process_t *p, uint64_t readable)
{
    int              rc, newest;
    unsigned         i, j, count, best;
    s3_position_t   *a, *b;

    newest = -1;
    best = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (!((readable >> i) & 1)) {
            continue;
        }

        a = &p->disks[i].drive->position;
        count = 0;

        for (j = 0; j < p->conf.ndisks; j++) {
            if ((readable >> j) & 1) {
                count += s3_position_same(a, &p->disks[j].drive->position);
            }
        }

        rc = 1;

        if (newest >= 0) {
            b = &p->disks[newest].drive->position;
            rc = s3_newer(a, b);

            if (rc == 0) {
                rc = (int) count - (int) best;
            }

            if (rc == 0) {
                rc = memcmp(b->digest, a->digest, 32);
            }
        }

        if (rc > 0) {
            newest = i;
            best = count;
        }
    }

    return newest;
}


static int
s3_knows(s3_process_t *p, s3_disk_t *source, const s3_position_t *position)
{
    s3_op_t    *op;
    s3_step_t   step;

    memset(&step, 0, sizeof(s3_step_t));

    op = s3_op_create(source->drive, S3_LANE_HOUSE, s3_knows_run,
                      s3_knows_finish, &step);
    op->position = *position;
    s3_step_post(&step, source, op);
    s3_step_wait(p, &step);

    if (step.failed && source->drive) {
        s3_disk_drop(source, EIO, "its history can't be read");
    }

    return step.known;
}


static void
s3_knows_run(s3_op_t *op)
{
    op->task.error = s3_index_knows(op->drive->house, &op->position,
                                    &op->flag);
}


static void
s3_knows_finish(s3_op_t *op)
{
    s3_step_t  *step;

    step = op->data;
    step->known = (op->error == 0 && op->flag);

    s3_step_finish(op);
}


static int
s3_members_read(s3_process_t *p, s3_disk_t *source, uint64_t *since)
{
    s3_op_t    *op;
    s3_step_t   step;

    memset(&step, 0, sizeof(s3_step_t));

    op = s3_op_create(source->drive, S3_LANE_HOUSE, s3_members_run,
                      s3_members_finish, &step);
    s3_step_post(&step, source, op);
    s3_step_wait(p, &step);

    if (step.failed && source->drive) {
        s3_disk_drop(source, EIO, "its members can't be read");
    }

    memcpy(since, step.since, sizeof(step.since));

    return step.failed ? -1 : 0;
}


static void
s3_members_run(s3_op_t *op)
{
    uint64_t  since[S3_MAX_DISKS];

    op->task.error = s3_index_members(op->drive->house, since);

    if (op->task.error == 0) {
        s3_buf_bytes(&op->out, since, sizeof(since));
        op->task.error = op->out.error;
    }
}


static void
s3_members_finish(s3_op_t *op)
{
    s3_step_t  *step;

    if (op->error == 0) {
        step = op->data;
        memcpy(step->since, op->out.data, sizeof(step->since));
    }

    s3_step_finish(op);
}


/* brings a laggard forward while nothing else is written; 0 or -1 */

static int
s3_forward(s3_process_t *p, s3_disk_t *disk, s3_disk_t *source)
{
    s3_drive_t  *drive;

    drive = disk->drive;

    p->catchup = s3_catchup_start(p, disk, source);
    if (p->catchup == NULL) {
        return -1;
    }

    s3_catchup_round(p->catchup, 1);

    while (p->catchup) {
        s3_brain_wait(p, 20);
        s3_disks_tick(p);
        s3_catchup_tick(p);
    }

    return disk->drive == drive
           && s3_position_same(&drive->position, &p->position) ? 0 : -1;
}


/* 0 or -1 */

static int
s3_purge(s3_process_t *p, s3_disk_t *disk)
{
    s3_op_t    *op;
    s3_step_t   step;

    memset(&step, 0, sizeof(s3_step_t));

    op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_purge_run,
                      s3_step_finish, &step);
    s3_step_post(&step, disk, op);
    s3_step_wait(p, &step);

    if (step.failed && disk->drive) {
        s3_disk_drop(disk, EIO, "its tmp/ can't be read");
    }

    return step.failed || disk->drive == NULL ? -1 : 0;
}


void
s3_purge_run(s3_op_t *op)
{
    op->task.error = s3_keeper_purge(op->drive);
}
