
/*
 * Who is current, and bringing the others forward (docs/commit.md).
 *
 * s3_recover() runs on the brain thread between two turns of its loop and
 * waits there: nothing is decided meanwhile, questions stay parked.  Every
 * wait is bounded by the time after which a disk is late.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/rand.h>
#include "s3_brain.h"


#define S3_PIECE            (4 * 1024 * 1024)
#define S3_ROUND_SMALL      200        /* batches behind: the last round */
#define S3_CATCHUP_LATE     6          /* long transactions, behind others' */


/* operations that recovery waits for, one on each of some disks */
typedef struct {
    unsigned        waiting;
    uint64_t        failed;            /* disks by index */
    uint64_t        done;
    int             known;
    uint64_t        since[S3_MAX_DISKS];
} s3_step_t;


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
    int             known;
    int             more;
    int             begun;
    int             failed;            /* the laggard's errno, or -1: the source's */
    int             finished;
    int             last;
    int             purged;            /* tmp/: s3_keeper_purge() */
};


static void s3_disks_wait(s3_process_t *p);
static uint64_t s3_positions(s3_process_t *p);
static int s3_newest(s3_process_t *p, uint64_t readable);
static int s3_knows(s3_process_t *p, s3_disk_t *source,
    const s3_position_t *position);
static int s3_members_read(s3_process_t *p, s3_disk_t *source,
    uint64_t *since);
static int s3_forward(s3_process_t *p, s3_disk_t *disk, s3_disk_t *source);
static int s3_purge(s3_process_t *p, s3_disk_t *disk);
static void s3_purge_run(s3_op_t *op);
static void s3_stand_down(s3_process_t *p, int state);
static int s3_form(s3_process_t *p);
static int s3_adopt(s3_process_t *p);
static void s3_form_run(s3_op_t *op);
static void s3_formed_run(s3_op_t *op);
static void s3_position_run(s3_op_t *op);
static void s3_position_finish(s3_op_t *op);
static void s3_knows_run(s3_op_t *op);
static void s3_knows_finish(s3_op_t *op);
static void s3_members_run(s3_op_t *op);
static void s3_members_finish(s3_op_t *op);
static void s3_step_finish(s3_op_t *op);
static void s3_step_post(s3_step_t *step, s3_disk_t *disk, s3_op_t *op);
static void s3_step_wait(s3_process_t *p, s3_step_t *step);
static s3_catchup_t *s3_catchup_start(s3_process_t *p, s3_disk_t *disk,
    s3_disk_t *source);
static s3_disk_t *s3_catchup_next(s3_process_t *p);
static void s3_catchup_free(s3_catchup_t *c);
static void s3_catchup_round(s3_catchup_t *c);
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


static int
s3_same(const s3_position_t *a, const s3_position_t *b)
{
    return s3_newer(a, b) == 0 && memcmp(a->digest, b->digest, 32) == 0;
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

    while (p->batch || p->catchup) {
        s3_brain_wait(p, 20);
        s3_disks_tick(p);
        s3_catchup_tick(p);
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

        disk->behind = !s3_same(&disk->drive->position, &p->position)
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

        s3_log(p, 4, "disk \"%s\" stays out: its generation %lu, sequence "
               "%lu is not in the history of the others", disk->path,
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

        if (!s3_same(&disk->drive->position, &p->position)) {

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

        } else {
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


/*
 * Which of the open disks are of the set: by the record, else by their own
 * format files.  Forms a new set where there is neither.  0: slots are given;
 * -1: there is nothing to work with (logged).
 */

static int
s3_adopt(s3_process_t *p)
{
    unsigned      i, j, n, count, best, empty, forming;
    s3_disk_t    *disk, *other;
    s3_format_t  *f;

    n = 0;
    empty = 0;
    forming = 0;
    best = 0;

    if (!p->has_set && p->has_record) {
        memcpy(p->set_id, p->record.set_id, 16);
        p->has_set = 1;
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        if (disk->member) {
            continue;                /* keeps its slot, whatever turns up */
        }

        disk->slot = -1;

        if (disk->drive == NULL || !disk->drive->open) {
            continue;
        }

        if (!disk->drive->has_format) {
            empty += disk->drive->empty;

            if (disk->why == NULL && (p->has_set || !disk->drive->empty)) {
                disk->why = disk->drive->empty
                                ? "is empty: not mounted?"
                                : "is not empty and has no format file";
                s3_log(p, 4, "disk \"%s\" %s", disk->path, disk->why);
            }

            continue;
        }

        f = &disk->drive->format;

        if (!f->formed) {
            forming++;
        }

        if (f->formed && !p->has_set) {

            /* the record is lost: the set most disks are of */

            count = 0;

            for (j = 0; j < p->conf.ndisks; j++) {
                other = &p->disks[j];
                count += (other->drive && other->drive->open
                          && other->drive->has_format
                          && memcmp(other->drive->format.set_id, f->set_id,
                                    16) == 0);
            }

            if (count > best) {
                best = count;
                memcpy(p->set_id, f->set_id, 16);
            }
        }
    }

    if (best) {
        p->has_set = 1;
    }

    if (!p->has_set) {

        /* first format: only where all are empty, or were being formed */

        if (empty + forming < p->conf.ndisks) {
            s3_log(p, 4, "store \"%s\" is not formed: only %u of %u disks "
                   "are there and empty", p->conf.name, empty + forming,
                   p->conf.ndisks);
            return -1;
        }

        return s3_form(p);
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        if (disk->member) {
            n++;
            continue;
        }

        if (disk->drive == NULL || !disk->drive->open
            || !disk->drive->has_format)
        {
            continue;
        }

        f = &disk->drive->format;

        if (memcmp(f->set_id, p->set_id, 16) != 0
            || f->ndisks != p->conf.ndisks || f->parity != p->conf.parity
            || (p->has_record
                && memcmp(p->record.disk_ids[f->slot], f->disk_id, 16) != 0))
        {
            if (disk->why == NULL) {
                disk->why = "is of another set";
                s3_log(p, 4, "disk \"%s\" %s", disk->path, disk->why);
            }

            continue;
        }

        for (j = 0; j < p->conf.ndisks; j++) {
            if (p->disks[j].slot == (int) f->slot) {
                break;
            }
        }

        if (j != p->conf.ndisks) {
            s3_log(p, 4, "disk \"%s\" is a copy of \"%s\"", disk->path,
                   p->disks[j].path);
            continue;
        }

        disk->slot = f->slot;
        disk->why = NULL;
        n++;
    }

    if (forming || !p->has_record) {
        return s3_form(p);
    }

    return n ? 0 : -1;
}


/*
 * Forming: every disk gets a format file that says "forming" and an index;
 * when all are synced, the record off the disks; then every format file says
 * "formed".  Cut anywhere before the record, it starts over; after it, it
 * goes on.
 */

static int
s3_form(s3_process_t *p)
{
    int               rc;
    unsigned          i, slot;
    s3_op_t          *op;
    s3_step_t         step;
    s3_disk_t        *disk;
    s3_set_record_t   record;

    if (!p->has_set) {

        memset(&step, 0, sizeof(s3_step_t));
        memset(&record, 0, sizeof(s3_set_record_t));

        if (RAND_bytes(record.set_id, 16) != 1
            || RAND_bytes(record.disk_ids[0], sizeof(record.disk_ids)) != 1)
        {
            s3_log(p, 3, "no random bytes");
            return -1;
        }

        record.ndisks = p->conf.ndisks;
        record.parity = p->conf.parity;

        memset(record.disk_ids[p->conf.ndisks], 0,
               (S3_MAX_DISKS - p->conf.ndisks) * 16);

        for (i = 0; i < p->conf.ndisks; i++) {
            disk = &p->disks[i];

            memset(&disk->drive->format, 0, sizeof(s3_format_t));
            memcpy(disk->drive->format.set_id, record.set_id, 16);
            memcpy(disk->drive->format.disk_id, record.disk_ids[i], 16);
            disk->drive->format.slot = i;
            disk->drive->format.ndisks = record.ndisks;
            disk->drive->format.parity = record.parity;

            op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_form_run,
                              s3_step_finish, &step);
            op->sequence = p->conf.cache;
            s3_step_post(&step, disk, op);
        }

        s3_step_wait(p, &step);

        if (step.failed) {
            s3_log(p, 4, "store \"%s\": forming failed", p->conf.name);

            for (i = 0; i < p->conf.ndisks; i++) {
                if (p->disks[i].drive) {
                    s3_disk_drop(&p->disks[i], 0, "forming failed");
                }
            }

            return -1;
        }

        memcpy(p->set_id, record.set_id, 16);

    } else {

        /* the record was lost, or forming was cut after it was written */

        if (p->has_record) {
            record = p->record;

        } else {
            memset(&record, 0, sizeof(s3_set_record_t));
            memcpy(record.set_id, p->set_id, 16);
            record.ndisks = p->conf.ndisks;
            record.parity = p->conf.parity;

            for (i = 0; i < p->conf.ndisks; i++) {
                slot = p->disks[i].slot;

                if ((int) slot >= 0) {
                    memcpy(record.disk_ids[slot],
                           p->disks[i].drive->format.disk_id, 16);
                }
            }

            for (i = 0; i < p->conf.ndisks; i++) {
                static const uint8_t  none[16];

                if (memcmp(record.disk_ids[i], none, 16) == 0) {
                    /* a record with gaps would lock the absent out */
                    goto formed;
                }
            }
        }
    }

    if (!p->has_record) {
        rc = s3_set_record_write(p->conf.state, p->conf.name, &record);

        if (rc != 0) {
            s3_log(p, 3, "state of store \"%s\" can't be written to \"%s\": "
                   "%s", p->conf.name, p->conf.state, strerror(rc));

            if (!p->has_set) {
                return -1;
            }

        } else {
            p->record = record;
            p->has_record = 1;
        }
    }

formed:

    p->has_set = 1;

    memset(&step, 0, sizeof(s3_step_t));

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        if (disk->drive == NULL || !disk->drive->open
            || !disk->drive->has_format
            || memcmp(disk->drive->format.set_id, p->set_id, 16) != 0)
        {
            continue;
        }

        disk->slot = disk->drive->format.slot;

        if (disk->drive->format.formed) {
            continue;
        }

        op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_formed_run,
                          s3_step_finish, &step);
        op->sequence = p->conf.cache;
        s3_step_post(&step, disk, op);
    }

    s3_step_wait(p, &step);

    for (i = 0; i < p->conf.ndisks; i++) {
        if ((step.failed >> i) & 1) {
            s3_disk_drop(&p->disks[i], 0, "forming failed");
        }
    }

    return 0;
}


/* on the disk's thread */

static int
s3_form_open(s3_drive_t *drive, int create, size_t cache)
{
    int  rc;

    if (drive->vfs) {
        return 0;
    }

    drive->vfs = s3_vfs_create(drive->root);
    if (drive->vfs == NULL) {
        return ENOMEM;
    }

    rc = s3_index_open(drive->vfs, 1, create, cache, &drive->writer);

    if (rc == 0) {
        rc = s3_index_open(drive->vfs, 0, 0, cache, &drive->reader);
    }

    if (rc == 0) {
        rc = s3_index_open(drive->vfs, 0, 0, cache / 4, &drive->house);
    }

    if (rc == 0) {
        rc = s3_index_position(drive->reader, &drive->position);
    }

    return rc;
}


static void
s3_form_run(s3_op_t *op)
{
    int          rc;
    s3_drive_t  *drive;

    drive = op->drive;

    /* what a forming that was cut has left: no one was told of it */

    (void) s3_door->unlinkat(drive->root, "index.db", 0);
    (void) s3_door->unlinkat(drive->root, "index.db-wal", 0);

    rc = s3_format_write(drive->root, &drive->format);

    if (rc == 0) {
        rc = s3_form_open(drive, 1, op->sequence);
    }

    if (rc == 0 && s3_door->fsync(drive->root) == -1) {
        rc = errno;
    }

    if (rc == 0) {
        drive->has_format = 1;
        drive->empty = 0;
    }

    op->task.error = rc;
}


static void
s3_formed_run(s3_op_t *op)
{
    int          rc;
    s3_drive_t  *drive;

    drive = op->drive;

    rc = s3_form_open(drive, 0, op->sequence);

    if (rc == 0) {
        drive->format.formed = 1;
        rc = s3_format_write(drive->root, &drive->format);
    }

    op->task.error = rc;
}


/* steps */

static void
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


static void
s3_step_post(s3_step_t *step, s3_disk_t *disk, s3_op_t *op)
{
    op->late = 1;
    op->mask = (uint64_t) 1 << disk->index;
    step->waiting++;
    s3_op_post(op);
}


static void
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
                count += s3_same(a, &p->disks[j].drive->position);
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

    p->catchup->last = 1;
    s3_catchup_round(p->catchup);

    while (p->catchup) {
        s3_brain_wait(p, 20);
        s3_disks_tick(p);
        s3_catchup_tick(p);
    }

    return (disk->drive == drive && s3_same(&drive->position, &p->position))
               ? 0 : -1;
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


static void
s3_purge_run(s3_op_t *op)
{
    op->task.error = s3_keeper_purge(op->drive);
}


/* catching up */

static s3_catchup_t *
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
            s3_log(p, 6, "disk \"%s\" is back, %lu batches behind",
                   disk->path, (unsigned long) (p->position.sequence
                                             - disk->drive->position.sequence));
            s3_catchup_round(p->catchup);
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
            s3_log(p, 4, "disk \"%s\" stays out: its generation %lu, "
                   "sequence %lu is not in the history of the others",
                   disk->path, (unsigned long) c->position.generation,
                   (unsigned long) c->position.sequence);

        } else if (c->failed > 0 && c->drive->disk) {
            s3_disk_drop(disk, c->failed, "catching up failed");
        }

        s3_catchup_free(c);
        return;
    }

    if (!c->last) {

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

            c->last = 1;
        }

        c->finished = 0;
        s3_catchup_round(c);
        return;
    }

    if (!c->purged) {
        c->finished = 0;
        s3_op_post(s3_op_create(c->drive, S3_LANE_HOUSE, s3_purge_run,
                                s3_catchup_purge_finish, c));
        return;
    }

    /* nothing was committed since: it stands where all stand */

    disk->member = s3_same(&c->position, &p->position);

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


static void
s3_catchup_round(s3_catchup_t *c)
{
    s3_op_t  *op;

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
        rc = s3_index_flush(index);

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
