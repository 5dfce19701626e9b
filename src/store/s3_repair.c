
/*
 * Repair from the masks: an extent whose mask lacks a member has a hole; its
 * shard is computed from k others, written to that disk, and the bit is set
 * by a commit.  And of damage (s3_damage.c): a shard that its mask has and
 * nobody can read is written anew and renamed over the old one; the commit
 * only tells whether the extent is still there.  One extent at a time, a
 * stripe at a time:
 *
 *     damage, then holes -> read a unit on k disks -> compute, write where it
 *     lacks -> next stripe
 *           -> table, footer, sync, rename -> commit REPAIRED -> next extent
 *
 * Each stripe is read from whichever shards have it: several that are damaged,
 * but not in the same stripe, heal each other.  An extent with a stripe that k
 * disks don't have is passed over; the next pass, after a disk has come back,
 * looks at it again.  Where a disk failed in a way that may pass, the next
 * pass comes by itself, after a second, two, four, ...; that ends, but where
 * there was no room.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include "s3_brain.h"


#define S3_REPAIR_ROWS     16
#define S3_REPAIR_AGAIN    1000       /* ms */
#define S3_REPAIR_TRIES    7          /* the last after 64 times that */


/* a disk's end of the repair of an extent; its thread's but for refs */
typedef struct {
    unsigned              refs;       /* the repair, and operations */
    s3_shard_reader_t    *reader;
    s3_shard_writer_t    *writer;
} s3_repair_io_t;


/* the units of a stripe, shared by the threads that write from them */
typedef struct {
    unsigned              refs;
    uint64_t              have;       /* shards */
    uint8_t              *units[S3_MAX_DISKS];
    size_t                len;
} s3_repair_stripe_t;


struct s3_repair_s {
    s3_process_t         *process;
    s3_shard_row_t        rows[S3_REPAIR_ROWS];
    unsigned              n;
    unsigned              i;          /* of rows: the one in work */
    uint8_t               after[16];
    int                   has_after;
    unsigned              repaired;

    uint64_t              generation;
    uint64_t              sources;    /* slots */
    uint64_t              tried;      /* slots, of the stripe */
    uint64_t              failed;     /* slots that failed as sources */
    uint64_t              targets;    /* slots */
    uint64_t              lost;       /* targets that failed */
    uint64_t              damaged;    /* slots: the row is one of damage */
    unsigned              again:1;    /* a disk failed */
    unsigned              full:1;     /* or had no room */
    s3_drive_t           *drives[S3_MAX_DISKS];     /* by slot */
    s3_repair_io_t       *io[S3_MAX_DISKS];
    s3_repair_stripe_t   *stripe;
    uint64_t              offset;     /* of the stripe in the shard */
    uint64_t              shard_size;
    unsigned              waiting;
};


typedef struct {
    s3_repair_t          *repair;
    s3_repair_io_t       *io;
    s3_repair_stripe_t   *stripe;
    s3_shard_info_t       info;
    unsigned              slot;
    uint64_t              offset;
    size_t                len;
    uint8_t              *unit;
    unsigned              damaged:1;  /* another file of that shard */
    uint8_t               heal_session[16];
} s3_repair_op_t;


static void s3_repair_again(s3_repair_t *r);
static void s3_repair_failed(s3_repair_t *r, int error);
static void s3_repair_next(s3_repair_t *r);
static void s3_repair_damage_run(s3_op_t *op);
static void s3_repair_damage_finish(s3_op_t *op);
static void s3_repair_damage_end(s3_repair_t *r, uint64_t done);
static void s3_repair_holes(s3_repair_t *r, s3_disk_t *disk);
static void s3_repair_holes_run(s3_op_t *op);
static void s3_repair_holes_finish(s3_op_t *op);
static void s3_repair_row(s3_repair_t *r);
static void s3_repair_row_end(s3_repair_t *r);
static void s3_repair_read(s3_repair_t *r);
static unsigned s3_repair_sources(s3_repair_t *r, unsigned n);
static void s3_repair_ask(s3_repair_t *r, uint64_t slots);
static void s3_repair_read_run(s3_op_t *op);
static void s3_repair_read_finish(s3_op_t *op);
static void s3_repair_write(s3_repair_t *r);
static void s3_repair_write_run(s3_op_t *op);
static void s3_repair_write_finish(s3_op_t *op);
static void s3_repair_finish(s3_repair_t *r);
static void s3_repair_finish_run(s3_op_t *op);
static void s3_repair_finish_finish(s3_op_t *op);
static void s3_repair_answered(s3_question_t *q, s3_verdict_t *verdict);
static void s3_repair_unlink_run(s3_op_t *op);
static void s3_repair_close_run(s3_op_t *op);
static void s3_repair_op_free(s3_op_t *op);
static s3_op_t *s3_repair_op(s3_repair_t *r, unsigned slot, s3_op_pt run,
    s3_op_pt finish);
static void s3_repair_stripe_unref(s3_repair_stripe_t *s);
static void s3_repair_end(s3_repair_t *r);


void
s3_repair_tick(s3_process_t *p)
{
    unsigned      i;
    s3_repair_t  *r;

    if (p->next_again && p->now >= p->next_again) {
        p->next_again = 0;
        p->repair_due = 1;
        s3_damage_again(p);
    }

    if (p->repair || !p->repair_due || p->now < p->next_repair
        || p->state != S3_STORE_OK || p->catchup || p->generation_due)
    {
        return;
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        if (s3_vacant(&p->disks[i])) {
            return;                  /* no commit would take its shards */
        }
    }

    r = calloc(1, sizeof(s3_repair_t));
    if (r == NULL) {
        return;
    }

    r->process = p;
    p->repair = r;
    p->repair_due = 0;

    s3_repair_next(r);
}


static void
s3_repair_end(s3_repair_t *r)
{
    s3_process_t  *p;

    p = r->process;

    if (r->repaired) {
        s3_log(p, 6, "store \"%s\": %u shards repaired", p->conf.name,
               r->repaired);
    }

    p->repair = NULL;
    p->repair_passes++;
    p->next_repair = p->now + S3_REPAIR_AGAIN;

    s3_repair_again(r);

    free(r);
}


/* other members, or something that was repaired: tries are counted anew */

static void
s3_repair_again(s3_repair_t *r)
{
    uint64_t       members;
    s3_process_t  *p;

    p = r->process;

    (void) s3_members(p, &members);

    if (r->repaired || members != p->repair_members) {
        p->repair_members = members;
        p->repair_tries = 0;
    }

    if (!r->again && !r->full) {
        return;
    }

    if (p->repair_tries < S3_REPAIR_TRIES) {
        p->repair_tries++;

    } else if (!r->full) {
        return;
    }

    p->next_again = p->now
                    + ((uint64_t) S3_REPAIR_AGAIN << (p->repair_tries - 1));
}


static void
s3_repair_failed(s3_repair_t *r, int error)
{
    /* what damaged shards say is no trouble that passes */

    if (error == ENOSPC || error == EDQUOT) {
        r->full = 1;

    } else if (error != EBADMSG && error != ENOENT) {
        r->again = 1;
    }
}


static void
s3_repair_next(s3_repair_t *r)
{
    s3_op_t       *op;
    s3_disk_t     *disk;
    s3_damage_t   *d;
    s3_process_t  *p;

    p = r->process;
    disk = (p->state == S3_STORE_OK) ? s3_disk_reader(p) : NULL;

    if (disk == NULL) {
        p->repair_due = 1;
        s3_repair_end(r);
        return;
    }

    d = s3_damage_next(p);

    if (d == NULL) {
        s3_repair_holes(r, disk);
        return;
    }

    r->damaged = d->slots;

    op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_repair_damage_run,
                      s3_repair_damage_finish, r);
    memcpy(op->id, d->shard_id, 16);
    s3_op_post(op);
}


static void
s3_repair_damage_run(s3_op_t *op)
{
    s3_shard_row_t  *row;

    row = (s3_shard_row_t *) s3_buf_reserve(&op->out, sizeof(s3_shard_row_t));
    if (row == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    op->task.error = s3_index_shard(op->drive->house, op->id, row,
                                    &op->flag);
}


static void
s3_repair_damage_finish(s3_op_t *op)
{
    s3_repair_t  *r;

    r = op->data;

    if (op->error) {
        r->process->repair_due = 1;
        s3_repair_end(r);
        return;
    }

    r->n = 0;
    r->i = 0;

    if (op->flag) {
        memcpy(r->rows, op->out.data, sizeof(s3_shard_row_t));

        /* slots that the mask has lost meanwhile are holes */

        r->damaged &= r->rows[0].mask;
        r->n = (r->damaged != 0);
    }

    if (r->n == 0) {
        s3_damage_done(r->process, op->id, UINT64_MAX);
        s3_repair_next(r);
        return;
    }

    s3_repair_row(r);
}


/* what became of the damage in work: on slots of done it is no more */

static void
s3_repair_damage_end(s3_repair_t *r, uint64_t done)
{
    char             name[33];
    s3_process_t    *p;
    s3_shard_row_t  *row;

    p = r->process;
    row = &r->rows[r->i];

    if (r->damaged == 0) {
        return;
    }

    s3_damage_done(p, row->shard_id, done);

    if ((r->damaged & ~done) && s3_damage_stuck(p, row->shard_id)) {
        s3_id_text(row->shard_id, name);
        s3_log(p, 4, "store \"%s\": shard %s cannot be repaired now, fewer "
               "than %u others can be read, or its disk not written to",
               p->conf.name, name, row->geometry.k);
    }

    r->damaged = 0;
}


static void
s3_repair_holes(s3_repair_t *r, s3_disk_t *disk)
{
    s3_op_t  *op;

    op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_repair_holes_run,
                      s3_repair_holes_finish, r);
    (void) s3_members(r->process, &op->mask);
    op->flag = r->has_after;
    memcpy(op->id, r->after, 16);
    s3_op_post(op);
}


static void
s3_repair_holes_run(s3_op_t *op)
{
    unsigned         n;
    s3_shard_row_t  *rows;

    rows = (s3_shard_row_t *)
               s3_buf_reserve(&op->out,
                              S3_REPAIR_ROWS * sizeof(s3_shard_row_t));
    if (rows == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    n = 0;
    op->task.error = s3_index_holes(op->drive->house, op->mask,
                                    op->flag ? op->id : NULL, rows,
                                    S3_REPAIR_ROWS, &n);
    op->status = n;
}


static void
s3_repair_holes_finish(s3_op_t *op)
{
    s3_repair_t  *r;

    r = op->data;

    if (op->error || op->status == 0) {
        r->process->repair_due |= (op->error != 0);
        s3_repair_end(r);
        return;
    }

    r->n = op->status;
    r->i = 0;
    memcpy(r->rows, op->out.data, r->n * sizeof(s3_shard_row_t));
    memcpy(r->after, r->rows[r->n - 1].shard_id, 16);
    r->has_after = 1;

    s3_repair_row(r);
}


static void
s3_repair_row(s3_repair_t *r)
{
    unsigned         slot;
    uint64_t         members;
    s3_disk_t       *disk;
    s3_process_t    *p;
    s3_shard_row_t  *row;

    p = r->process;

    if (p->state != S3_STORE_OK || p->recovery_due) {
        p->repair_due = 1;
        s3_repair_end(r);
        return;
    }

    if (r->i == r->n) {
        s3_repair_next(r);
        return;
    }

    row = &r->rows[r->i];

    (void) s3_members(p, &members);

    r->generation = p->position.generation;
    r->targets = members & (~row->mask | r->damaged);
    r->lost = 0;
    r->failed = 0;
    r->offset = 0;
    r->shard_size = s3_shard_size(&row->geometry, row->size);

    for (slot = 0; slot < p->conf.ndisks; slot++) {
        disk = s3_disk_by_slot(p, slot);

        if (disk == NULL) {
            continue;
        }

        r->drives[slot] = s3_drive_ref(disk->drive);
        r->io[slot] = calloc(1, sizeof(s3_repair_io_t));

        if (r->io[slot] == NULL) {
            abort();
        }

        r->io[slot]->refs = 1;
    }

    r->sources = 0;
    r->tried = 0;

    if (s3_repair_sources(r, row->geometry.k) < row->geometry.k
        || r->targets == 0
        || row->geometry.k + row->geometry.m != (int) p->conf.ndisks)
    {
        s3_repair_row_end(r);
        return;
    }

    s3_repair_read(r);
}


/* closes what the row has open, and goes to the next */

static void
s3_repair_row_end(s3_repair_t *r)
{
    unsigned   slot;
    s3_op_t   *op;

    for (slot = 0; slot < S3_MAX_DISKS; slot++) {

        if (r->io[slot]) {
            op = s3_repair_op(r, slot, s3_repair_close_run, NULL);
            s3_op_post(op);

            if (--r->io[slot]->refs == 0) {
                free(r->io[slot]);
            }

            r->io[slot] = NULL;
        }

        if (r->drives[slot]) {
            s3_drive_unref(r->drives[slot]);
            r->drives[slot] = NULL;
        }
    }

    if (r->stripe) {
        s3_repair_stripe_unref(r->stripe);
        r->stripe = NULL;
    }

    s3_repair_damage_end(r, 0);

    r->i++;
    s3_repair_row(r);
}


static s3_op_t *
s3_repair_op(s3_repair_t *r, unsigned slot, s3_op_pt run, s3_op_pt finish)
{
    s3_op_t         *op;
    s3_process_t    *p;
    s3_shard_row_t  *row;
    s3_repair_op_t  *ro;

    p = r->process;
    row = &r->rows[r->i];

    ro = calloc(1, sizeof(s3_repair_op_t));
    if (ro == NULL) {
        abort();
    }

    ro->repair = r;
    ro->slot = slot;
    ro->io = r->io[slot];
    ro->io->refs++;
    ro->offset = r->offset;
    ro->damaged = (r->damaged >> slot) & 1;
    ro->stripe = r->stripe;

    if (ro->stripe) {
        ro->stripe->refs++;
        ro->len = ro->stripe->len;
    }

    memcpy(ro->heal_session, p->heal_session, 16);
    memcpy(ro->info.set_id, p->set_id, 16);
    memcpy(ro->info.shard_id, row->shard_id, 16);
    memcpy(ro->info.session, row->session, 16);
    ro->info.geometry = row->geometry;
    ro->info.size = row->size;
    ro->info.shard = s3_slot_shard(&row->geometry, row->shard_id, slot);

    op = s3_op_create(r->drives[slot], S3_LANE_HOUSE, run, finish, ro);
    op->free = s3_repair_op_free;

    return op;
}


static void
s3_repair_op_free(s3_op_t *op)
{
    s3_repair_op_t  *ro;

    ro = op->data;

    if (--ro->io->refs == 0) {

        /* of a disk that was dropped, whose threads' descriptors are gone */

        s3_shard_forget(ro->io->reader, ro->io->writer);
        free(ro->io);
    }

    if (ro->stripe) {
        s3_repair_stripe_unref(ro->stripe);
    }

    free(ro->unit);
    free(ro);
}


static void
s3_repair_stripe_unref(s3_repair_stripe_t *s)
{
    unsigned  i;

    if (--s->refs == 0) {
        for (i = 0; i < S3_MAX_DISKS; i++) {
            free(s->units[i]);
        }

        free(s);
    }
}


static void
s3_repair_read(s3_repair_t *r)
{
    s3_shard_row_t  *row;

    row = &r->rows[r->i];

    if (r->stripe) {
        s3_repair_stripe_unref(r->stripe);
    }

    r->stripe = calloc(1, sizeof(s3_repair_stripe_t));
    if (r->stripe == NULL) {
        abort();
    }

    r->stripe->refs = 1;
    r->stripe->len = row->geometry.unit;

    if (r->offset + r->stripe->len > r->shard_size) {
        r->stripe->len = r->shard_size - r->offset;
    }

    r->tried = 0;
    s3_repair_ask(r, r->sources);
}


/*
 * n more to read from, of those that were not tried for the stripe: first what
 * is not known to be damaged, for the stripe it may be well nevertheless.
 * Returns how many there are.
 */

static unsigned
s3_repair_sources(s3_repair_t *r, unsigned n)
{
    unsigned         i, slot, found;
    uint64_t         from[3], mask;

    mask = r->rows[r->i].mask & ~r->tried;

    from[0] = mask & ~r->damaged & ~r->failed;
    from[1] = mask & r->damaged & ~r->failed;
    from[2] = mask & r->failed;

    found = 0;

    for (i = 0; i < 3; i++) {
        for (slot = 0; slot < S3_MAX_DISKS && found < n; slot++) {
            if (((from[i] >> slot) & 1) && r->drives[slot]) {
                r->sources |= (uint64_t) 1 << slot;
                found++;
            }
        }
    }

    return found;
}


static void
s3_repair_ask(s3_repair_t *r, uint64_t slots)
{
    unsigned   slot, n;
    s3_op_t   *ops[S3_MAX_DISKS];

    n = 0;
    r->tried |= slots;

    for (slot = 0; slot < S3_MAX_DISKS; slot++) {
        if ((slots >> slot) & 1) {
            ops[n++] = s3_repair_op(r, slot, s3_repair_read_run,
                                    s3_repair_read_finish);
        }
    }

    r->waiting = n;

    while (n) {
        s3_op_post(ops[--n]);
    }
}


static void
s3_repair_read_run(s3_op_t *op)
{
    int              rc;
    s3_repair_op_t  *ro;

    ro = op->data;
    rc = 0;

    if (ro->io->reader == NULL) {
        rc = s3_shard_open(op->drive->root, &ro->info, &ro->io->reader);
    }

    if (rc == 0) {
        if (posix_memalign((void **) &ro->unit, S3_PAGE_SIZE, ro->len) != 0) {
            ro->unit = NULL;
            rc = ENOMEM;
        }
    }

    if (rc == 0) {
        rc = s3_shard_read(ro->io->reader, ro->unit, ro->len, ro->offset);
    }

    op->task.error = rc;
}


static void
s3_repair_read_finish(s3_op_t *op)
{
    unsigned         i, lack;
    uint64_t         bit;
    s3_repair_t     *r;
    s3_repair_op_t  *ro;

    ro = op->data;
    r = ro->repair;

    if (op->error == 0) {
        i = ro->info.shard;
        r->stripe->units[i] = ro->unit;
        r->stripe->have |= (uint64_t) 1 << i;
        ro->unit = NULL;

    } else {
        bit = (uint64_t) 1 << ro->slot;

        if (!((r->failed | r->damaged) & bit)) {
            s3_log(r->process, 4, "repair: a shard in slot %u can't be read: "
                   "%s", ro->slot, strerror(op->error));
            (void) s3_suspect(r->process, ro->info.shard_id, ro->slot);
        }

        s3_repair_failed(r, op->error);
        r->failed |= bit;
        r->sources &= ~bit;
    }

    if (--r->waiting) {
        return;
    }

    lack = r->rows[r->i].geometry.k - __builtin_popcountll(r->stripe->have);

    if (lack) {

        /* the stripe from others; without them the row is passed over */

        if (s3_repair_sources(r, lack) < lack) {
            s3_repair_row_end(r);
            return;
        }

        s3_repair_ask(r, r->sources & ~r->tried);
        return;
    }

    s3_repair_write(r);
}


static void
s3_repair_write(s3_repair_t *r)
{
    unsigned   slot, n;
    s3_op_t   *ops[S3_MAX_DISKS];

    n = 0;

    for (slot = 0; slot < S3_MAX_DISKS; slot++) {
        if (((r->targets & ~r->lost) >> slot) & 1) {
            ops[n++] = s3_repair_op(r, slot, s3_repair_write_run,
                                    s3_repair_write_finish);
        }
    }

    if (n == 0) {
        s3_repair_row_end(r);
        return;
    }

    r->waiting = n;

    while (n) {
        s3_op_post(ops[--n]);
    }
}


/* tmp/SESSION of the store process itself, its lock held as a worker's is */

static int
s3_repair_session(int root, const uint8_t session[16], int *dir)
{
    int   rc, tmp, lock;
    char  name[33], path[4 + 33], fresh[5 + 33];

    s3_id_text(session, name);
    (void) snprintf(path, sizeof(path), "tmp/%s", name);

    *dir = s3_door->openat(root, path, O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

    if (*dir != -1) {
        return 0;
    }

    if (errno != ENOENT) {
        return errno;
    }

    (void) snprintf(fresh, sizeof(fresh), "tmp/.%s", name);

    if (s3_door->mkdirat(root, fresh, 0700) == -1 && errno != EEXIST) {
        return errno;
    }

    *dir = s3_door->openat(root, fresh, O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

    if (*dir == -1) {
        return errno;
    }

    lock = s3_door->openat(*dir, "lock", O_RDWR|O_CREAT|O_CLOEXEC, 0600);

    tmp = s3_door->openat(root, "tmp", O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

    if (lock == -1 || tmp == -1
        || s3_door->flock(lock, LOCK_EX|LOCK_NB) == -1
        || s3_door->renameat(root, fresh, root, path) == -1
        || s3_door->fsync(tmp) == -1)
    {
        rc = errno;

        if (lock != -1) {
            (void) s3_door->close(lock);
        }

        if (tmp != -1) {
            (void) s3_door->close(tmp);
        }

        (void) s3_door->close(*dir);
        return rc;
    }

    (void) s3_door->close(tmp);

    /* lock stays open as long as the disk's threads: that is the lock */

    return 0;
}


static void
s3_repair_write_run(s3_op_t *op)
{
    int              rc, dir;
    uint8_t         *units[S3_MAX_DISKS];
    uint64_t         want;
    s3_repair_op_t  *ro;

    ro = op->data;
    rc = 0;

    if (ro->io->writer == NULL) {

        if (ro->offset != 0) {
            op->task.error = EINVAL;
            return;
        }

        rc = s3_repair_session(op->drive->root, ro->heal_session, &dir);

        if (rc == 0) {
            rc = s3_shard_create(dir, &ro->info, &ro->io->writer);

            if (rc == EEXIST) {
                char  name[33];

                /* of a repair that was given up */

                s3_id_text(ro->info.shard_id, name);
                (void) s3_door->unlinkat(dir, name, 0);
                rc = s3_shard_create(dir, &ro->info, &ro->io->writer);
            }

            (void) s3_door->close(dir);
        }
    }

    if (rc == 0 && ((ro->stripe->have >> ro->info.shard) & 1)) {

        /* damaged elsewhere: of this stripe it has been read */

        op->task.error = s3_shard_write(ro->io->writer,
                                        ro->stripe->units[ro->info.shard],
                                        ro->len);
        return;
    }

    if (rc == 0
        && posix_memalign((void **) &ro->unit, S3_PAGE_SIZE, ro->len) != 0)
    {
        ro->unit = NULL;
        rc = ENOMEM;
    }

    if (rc == 0) {
        memcpy(units, ro->stripe->units, sizeof(units));
        units[ro->info.shard] = ro->unit;
        want = (uint64_t) 1 << ro->info.shard;

        if (s3_erasure_decode(&ro->info.geometry, units, ro->len,
                              ro->stripe->have, want)
            != 0)
        {
            rc = ENOMEM;
        }
    }

    if (rc == 0) {
        rc = s3_shard_write(ro->io->writer, ro->unit, ro->len);
    }

    op->task.error = rc;
}


static void
s3_repair_write_finish(s3_op_t *op)
{
    s3_repair_t     *r;
    s3_repair_op_t  *ro;

    ro = op->data;
    r = ro->repair;

    if (op->error) {
        r->lost |= (uint64_t) 1 << ro->slot;
        s3_repair_failed(r, op->error);
        s3_log(r->process, 4, "repair: slot %u can't be written: %s",
               ro->slot, strerror(op->error));
    }

    if (--r->waiting) {
        return;
    }

    r->offset += r->stripe->len;

    if (r->offset < r->shard_size) {
        s3_repair_read(r);
        return;
    }

    s3_repair_finish(r);
}


static void
s3_repair_finish(s3_repair_t *r)
{
    unsigned   slot, n;
    s3_op_t   *ops[S3_MAX_DISKS];

    n = 0;

    for (slot = 0; slot < S3_MAX_DISKS; slot++) {
        if (((r->targets & ~r->lost) >> slot) & 1) {
            ops[n++] = s3_repair_op(r, slot, s3_repair_finish_run,
                                    s3_repair_finish_finish);
        }
    }

    if (n == 0) {
        s3_repair_row_end(r);
        return;
    }

    r->waiting = n;

    while (n) {
        s3_op_post(ops[--n]);
    }
}


static void
s3_repair_finish_run(s3_op_t *op)
{
    int              rc;
    s3_repair_op_t  *ro;

    ro = op->data;

    rc = s3_shard_finish(ro->io->writer, &ro->info);
    ro->io->writer = NULL;

    /*
     * Of a disk that is about to be dropped no commit will take the shard, and
     * nobody would unlink it if the object were deleted while the disk is away
     */

    if (rc == 0) {
        rc = s3_drive_there(op->drive);

        if (rc) {
            (void) s3_shard_remove(op->drive->root, ro->heal_session,
                                   ro->info.shard_id);
        }
    }

    if (rc == 0) {
        rc = s3_shard_settle(op->drive->root, ro->heal_session,
                             ro->info.shard_id);
    }

    /* or what is damaged would be renamed over what is not */

    if (rc == 0 && ro->damaged) {
        rc = s3_shard_unlink_tmp(op->drive->root, ro->info.session,
                                 ro->info.shard_id);
    }

    op->task.error = rc;
}


static void
s3_repair_finish_finish(s3_op_t *op)
{
    s3_commit_t      commit;
    s3_repair_t     *r;
    s3_repair_op_t  *ro;

    ro = op->data;
    r = ro->repair;

    if (op->error) {
        r->lost |= (uint64_t) 1 << ro->slot;

        /* or it may be there again before anybody has seen it go */

        s3_repair_failed(r, op->error == ENOENT ? EIO : op->error);
    }

    if (--r->waiting) {
        return;
    }

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_REPAIRED;
    commit.mask = r->targets & ~r->lost;
    commit.generation = r->generation;
    memcpy(commit.shard_id, r->rows[r->i].shard_id, 16);

    if (commit.mask == 0) {
        s3_repair_row_end(r);
        return;
    }

    if (s3_commit_internal(r->process, &commit, s3_repair_answered, r) != 0) {

        r->again = 1;
        s3_repair_row_end(r);
    }
}


/*
 * the object may have been deleted meanwhile: then nobody else knows of the
 * shard
 */

static void
s3_repair_answered(s3_question_t *q, s3_verdict_t *verdict)
{
    unsigned      slot;
    s3_op_t      *op;
    s3_repair_t  *r;

    r = q->context;

    if (verdict->status == S3_STORE_OK) {
        r->repaired += __builtin_popcountll(q->commit.mask);
        s3_repair_damage_end(r, q->commit.mask);
        s3_count_add(r->process, S3_COUNT_SHARDS_REPAIRED,
                     __builtin_popcountll(q->commit.mask));

    } else if (verdict->status == S3_STORE_NO_SUCH_KEY) {

        for (slot = 0; slot < S3_MAX_DISKS; slot++) {
            if (((r->targets & ~r->lost) >> slot) & 1) {
                op = s3_repair_op(r, slot, s3_repair_unlink_run, NULL);
                s3_op_post(op);
            }
        }

        s3_repair_damage_end(r, UINT64_MAX);

    } else {
        s3_repair_failed(r, verdict->status == S3_STORE_NO_SPACE ? ENOSPC
                                                                 : EIO);
    }

    s3_repair_row_end(r);
}


static void
s3_repair_unlink_run(s3_op_t *op)
{
    s3_repair_op_t  *ro;

    ro = op->data;

    op->task.error = s3_shard_remove(op->drive->root, ro->heal_session,
                                     ro->info.shard_id);
}


static void
s3_repair_close_run(s3_op_t *op)
{
    s3_repair_op_t  *ro;

    ro = op->data;

    if (ro->io->reader) {
        s3_shard_close(ro->io->reader);
        ro->io->reader = NULL;
    }

    if (ro->io->writer) {
        s3_shard_abort(ro->io->writer);
        ro->io->writer = NULL;
    }
}
