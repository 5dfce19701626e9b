
/*
 * A fresh copy of the index, made while the set serves: for a disk whose own
 * can't be brought forward (forked, or away for longer than the history goes
 * back), or is damaged or gone, and for an empty disk that takes a lost one's
 * place.
 *
 *     source, house lane              the disk, writer lane
 *                                     DISK/copy/index.db, empty
 *     its position
 *     rows of every table, a piece -> put, commit              ... and again
 *     changes since that position --> one transaction
 *                                     one file, synced
 *                                     renamed over DISK/index.db
 *                                     closed, and opened anew
 *
 * Pieces are read as the index is at that moment; what changed meanwhile is
 * in the changes, which give rows as they are: the end is one exact position.
 * So no snapshot holds up the source's log for longer than catching up does.
 * From there on the disk is a laggard like others.
 *
 * The old index stays whole until the rename: its log is folded into it
 * before, for the log's name is the new one's from then on.  One that is
 * damaged is removed before its log is, which must not be found beside either:
 * in between there is none, and the disk still waits for a copy.  A disk in a
 * lost one's place is "copying" until it has an index, which nobody looks for
 * before; then "vacant" (s3_vacant.c).
 *
 * In read-only mode nothing changes but this, and this only where it makes up
 * a quorum: the recovery after it counts the disk.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>
#include "s3_brain.h"


#define S3_COPY_PIECE     (512 * 1024)
#define S3_COPY_LATE      6          /* long transactions, behind others' */
#define S3_COPY_AGAIN     500        /* ms, where it was not the disk's fault */
#define S3_COPY_FAILED    10000      /* ms, where it was; and after a copy */
#define S3_COPY_DIR       "copy"


struct s3_copy_s {
    s3_process_t       *process;
    s3_disk_t          *disk;
    s3_drive_t         *drive;
    s3_disk_t          *source;
    s3_drive_t         *from;
    s3_position_t       start;       /* of the source, before the first row */
    s3_index_cursor_t   cursor;
    uint64_t            changes;     /* cursor of s3_index_changes() */
    int                 begun;       /* the transaction of the changes */
    int                 stop;
    int                 installed;
    int                 failed;      /* s3_copy_end() */
    int                 at_source;   /* failed there */
    int                 finished;
};


/* what an operation needs, its own until it is freed */
typedef struct {
    s3_copy_t          *copy;
    s3_index_cursor_t   cursor;
    s3_format_t         format;
    s3_set_record_t     record;
    int                 takes;       /* a lost disk's place */
    int                 has_record;
} s3_copy_op_t;


static s3_disk_t *s3_copy_next(s3_process_t *p);
static int s3_copy_slot(s3_process_t *p, s3_disk_t *disk);
static int s3_copy_held(s3_process_t *p, const s3_disk_t *disk,
    unsigned slot);
static int s3_copy_takes(s3_process_t *p, s3_disk_t *disk);
static void s3_copy_start(s3_process_t *p, s3_disk_t *disk,
    s3_disk_t *source);
static s3_op_t *s3_copy_op(s3_copy_t *c, s3_drive_t *drive, unsigned lane,
    s3_op_pt run, s3_op_pt finish);
static void s3_copy_op_free(s3_op_t *op);
static int s3_copy_failed(s3_copy_t *c, s3_op_t *op);
static void s3_copy_make_run(s3_op_t *op);
static int s3_copy_name(s3_op_t *op);
static void s3_copy_make_finish(s3_op_t *op);
static void s3_copy_source_run(s3_op_t *op);
static void s3_copy_source_finish(s3_op_t *op);
static void s3_copy_rows(s3_copy_t *c);
static void s3_copy_rows_run(s3_op_t *op);
static void s3_copy_rows_finish(s3_op_t *op);
static void s3_copy_put_run(s3_op_t *op);
static void s3_copy_put_finish(s3_op_t *op);
static void s3_copy_changes(s3_copy_t *c);
static void s3_copy_changes_run(s3_op_t *op);
static void s3_copy_changes_finish(s3_op_t *op);
static void s3_copy_apply_run(s3_op_t *op);
static void s3_copy_apply_finish(s3_op_t *op);
static void s3_copy_install_run(s3_op_t *op);
static int s3_copy_install(s3_drive_t *drive, const s3_format_t *format);
static int s3_copy_remove_old(int root);
static void s3_copy_install_finish(s3_op_t *op);
static void s3_copy_end(s3_copy_t *c, int failed);
static void s3_copy_release_run(s3_op_t *op);
static void s3_copy_clean_run(s3_op_t *op);
static int s3_copy_dir(s3_drive_t *drive);


void
s3_copy_tick(s3_process_t *p)
{
    s3_copy_t  *c;
    s3_disk_t  *disk, *source;

    c = p->copy;

    if (c == NULL) {

        if (p->recovering || p->recovery_due
            || (p->state != S3_STORE_OK && p->state != S3_STORE_READ_ONLY))
        {
            return;
        }

        disk = s3_copy_next(p);

        if (disk) {
            source = s3_disk_reader(p);

            if (source && source != disk) {
                s3_copy_start(p, disk, source);
            }
        }

        return;
    }

    if (!c->finished) {
        return;
    }

    p->copy = NULL;
    disk = c->disk;

    if (c->installed) {

        if (c->drive->disk) {
            s3_log(p, 5, "disk \"%s\" has a fresh copy of the index",
                   disk->path);
            s3_disk_drop(disk, 0, "it is opened anew, with that");
        }

        if (c->failed == 0) {
            memset(disk->damaged, 0, 16);
        }

        /* a drive that spoils each is not to keep the others busy */

        disk->next_copy = p->now + S3_COPY_FAILED;

    } else if (c->at_source) {
        disk->next_copy = p->now + S3_COPY_AGAIN;

        if (c->from->disk && c->failed != ESTALE && c->failed != ENOMEM) {
            s3_disk_drop(c->source, c->failed, "its index can't be read");
        }

    } else if (c->failed == ECANCELED) {
        disk->next_copy = p->now + S3_COPY_AGAIN;

    } else {
        disk->next_copy = p->now + S3_COPY_FAILED;

        if (c->drive->disk) {
            s3_log(p, 4, "disk \"%s\": a fresh copy of the index failed: %s",
                   disk->path, strerror(c->failed));
        }
    }

    s3_buf_free(&c->cursor.key);
    s3_drive_unref(c->drive);
    s3_drive_unref(c->from);
    free(c);
}


void
s3_copy_stop(s3_process_t *p)
{
    if (p->copy) {
        p->copy->stop = 1;
    }
}


/* a disk that needs a copy and may get one now */

static s3_disk_t *
s3_copy_next(s3_process_t *p)
{
    unsigned     i, current, n;
    s3_disk_t   *disk, *next;
    s3_drive_t  *drive;

    next = NULL;
    current = 0;
    n = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];
        drive = disk->drive;

        if (drive == NULL || !drive->open) {
            continue;
        }

        if (disk->slot >= 0 && !disk->behind) {
            current++;
            continue;
        }

        if ((disk->slot >= 0 && disk->behind) || s3_copy_takes(p, disk)) {
            n++;

            if (next == NULL && p->now >= disk->next_copy) {
                next = disk;
            }
        }
    }

    /*
     * A set in trouble is left as it is, but where copies end the trouble.
     * Whatever was decided is in the newest index of k disks, and so in them
     */

    if (p->state == S3_STORE_READ_ONLY
        && (p->full || current + n < p->quorum))
    {
        return NULL;
    }

    return next;
}


/*
 * whether it has a place, and no index: its own; or a lost disk's, by the
 * operator's word, or by its format file, which was written upon that
 */

static int
s3_copy_takes(s3_process_t *p, s3_disk_t *disk)
{
    int           slot;
    s3_drive_t   *drive;
    s3_format_t  *f;

    drive = disk->drive;
    f = &drive->format;

    if (!p->has_set) {
        return 0;
    }

    if (drive->has_format) {
        return s3_incomplete(drive) && s3_of_set(p, f)
               && !s3_copy_held(p, disk, f->slot);
    }

    if (!drive->empty || !drive->asked) {
        return 0;
    }

    slot = s3_copy_slot(p, disk);

    if (slot < 0) {
        return 0;
    }

    memset(f, 0, sizeof(s3_format_t));
    memcpy(f->set_id, p->set_id, 16);
    f->slot = slot;
    f->ndisks = p->conf.ndisks;
    f->parity = p->conf.parity;
    f->copying = 1;

    return 1;
}


/*
 * Whose place it is: that of the disk which was at its path, or the only one
 * that nobody has.  A wrong guess would lock out a disk that is only away.
 */

static int
s3_copy_slot(s3_process_t *p, s3_disk_t *disk)
{
    int          slot;
    unsigned     i, j, n;
    const char  *why;

    slot = -1;

    if (disk->drive->asked_slot >= 0) {
        i = disk->drive->asked_slot;

        if (i < p->conf.ndisks && !s3_copy_held(p, disk, i)) {
            return i;
        }

        why = "asks for a slot that there is not, or that another disk has";

    } else {

        if (disk->home >= 0 && !s3_copy_held(p, disk, disk->home)) {
            return disk->home;
        }

        n = 0;

        for (i = 0; i < p->conf.ndisks; i++) {

            for (j = 0; j < p->conf.ndisks; j++) {
                if (j != disk->index && p->disks[j].home == (int) i) {
                    break;
                }
            }

            if (j == p->conf.ndisks && !s3_copy_held(p, disk, i)) {
                slot = i;
                n++;
            }
        }

        if (n == 1) {
            return slot;
        }

        why = "could take the place of more than one disk: write the slot "
              "(0 is the first) into its file \"" S3_REPLACE_FILE "\"";
    }

    if (disk->why != why) {
        disk->why = why;
        s3_log(p, 4, "disk \"%s\" %s", disk->path, why);
    }

    return -1;
}


static int
s3_copy_held(s3_process_t *p, const s3_disk_t *disk, unsigned slot)
{
    unsigned          i;
    const s3_disk_t  *other;

    for (i = 0; i < p->conf.ndisks; i++) {
        other = &p->disks[i];

        if (other == disk) {
            continue;
        }

        if (other->slot == (int) slot
            || (other->drive && other->drive->open
                && s3_incomplete(other->drive)
                && memcmp(other->drive->format.set_id, p->set_id, 16) == 0
                && other->drive->format.slot == slot))
        {
            return 1;
        }
    }

    return 0;
}


static void
s3_copy_start(s3_process_t *p, s3_disk_t *disk, s3_disk_t *source)
{
    s3_op_t       *op;
    s3_copy_t     *c;
    s3_format_t   *f;
    s3_copy_op_t  *co;

    f = &disk->drive->format;

    if (!disk->drive->has_format && RAND_bytes(f->disk_id, 16) != 1) {
        disk->next_copy = p->now + S3_COPY_FAILED;
        s3_log(p, 3, "no random bytes");
        return;
    }

    c = calloc(1, sizeof(s3_copy_t));
    if (c == NULL) {
        disk->next_copy = p->now + S3_COPY_AGAIN;
        return;
    }

    c->process = p;
    c->disk = disk;
    c->drive = s3_drive_ref(disk->drive);
    c->source = source;
    c->from = s3_drive_ref(source->drive);

    p->copy = c;
    disk->why = "its index is being copied";

    op = s3_copy_op(c, c->drive, S3_LANE_WRITER, s3_copy_make_run,
                    s3_copy_make_finish);
    co = op->data;
    co->format = *f;

    if (f->copying) {
        co->takes = 1;
        co->has_record = p->has_record;
        co->record = p->record;
        memcpy(co->record.disk_ids[f->slot], f->disk_id, 16);
        disk->home = f->slot;

        s3_log(p, 5, "disk \"%s\" takes the place of the one that was in "
               "slot %u: the index is copied", disk->path, f->slot);

    } else {
        s3_log(p, 5, "disk \"%s\": the index is copied, in place of its own",
               disk->path);
    }

    s3_op_post(op);
}


static s3_op_t *
s3_copy_op(s3_copy_t *c, s3_drive_t *drive, unsigned lane, s3_op_pt run,
    s3_op_pt finish)
{
    s3_op_t       *op;
    s3_copy_op_t  *co;

    co = calloc(1, sizeof(s3_copy_op_t));
    if (co == NULL) {
        abort();
    }

    co->copy = c;

    op = s3_op_create(drive, lane, run, finish, co);
    op->free = s3_copy_op_free;
    op->late = S3_COPY_LATE;

    return op;
}


static void
s3_copy_op_free(s3_op_t *op)
{
    s3_copy_op_t  *co;

    co = op->data;

    s3_buf_free(&co->cursor.key);
    free(co);
}


/* ends the copy where the operation failed, or it is to end */

static int
s3_copy_failed(s3_copy_t *c, s3_op_t *op)
{
    if (op->error) {
        c->at_source = (op->drive == c->from);
        s3_copy_end(c, op->error);
        return 1;
    }

    if (c->stop) {
        s3_copy_end(c, ECANCELED);
        return 1;
    }

    return 0;
}


/* an index beside the old one */

static void
s3_copy_make_run(s3_op_t *op)
{
    int            rc;
    s3_drive_t    *drive;
    s3_copy_op_t  *co;

    co = op->data;
    drive = op->drive;

    rc = co->takes ? s3_copy_name(op) : 0;

    if (rc == 0) {
        rc = s3_copy_clean(drive);
    }

    if (rc == 0
        && s3_door->mkdirat(drive->root, S3_COPY_DIR, 0700) == -1)
    {
        rc = errno;
    }

    if (rc == 0) {
        drive->fresh_dir = s3_copy_dir(drive);
        rc = drive->fresh_dir == -1 ? errno : 0;
    }

    if (rc == 0) {
        drive->fresh_vfs = s3_vfs_create(drive->fresh_dir);
        rc = drive->fresh_vfs ? 0 : ENOMEM;
    }

    if (rc == 0) {
        rc = s3_index_open(drive->fresh_vfs, 1, 1, drive->process->conf.cache,
                           &drive->fresh);
    }

    op->task.error = rc;
}


/*
 * The disk says first what it is to become: cut behind that, the record has
 * the old disk's identity still, and the new one is known by its own word.
 */

static int
s3_copy_name(s3_op_t *op)
{
    int            rc;
    s3_process_t  *p;
    s3_copy_op_t  *co;

    co = op->data;
    p = op->drive->process;

    rc = s3_format_write(op->drive->root, &co->format);

    if (rc == 0 && co->has_record) {
        rc = s3_set_record_write(p->conf.state, p->conf.name, &co->record);
    }

    if (rc == 0) {
        (void) s3_door->unlinkat(op->drive->root, S3_REPLACE_FILE, 0);
    }

    return rc;
}


static void
s3_copy_make_finish(s3_op_t *op)
{
    s3_op_t       *source;
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    if (op->error == 0 && co->takes) {
        c->drive->has_format = 1;
        c->drive->asked = 0;

        if (co->has_record) {
            c->process->record = co->record;
        }
    }

    /* its format file may have been written, and the word be gone */

    if (op->error && co->takes && c->drive->disk) {
        s3_log(c->process, 4, "disk \"%s\": a copy of the index can't be "
               "begun: %s", c->disk->path, strerror(op->error));
        s3_disk_drop(c->disk, op->error, "it is opened anew");
    }

    if (s3_copy_failed(c, op)) {
        return;
    }

    source = s3_copy_op(c, c->from, S3_LANE_HOUSE, s3_copy_source_run,
                        s3_copy_source_finish);
    s3_op_post(source);
}


static void
s3_copy_source_run(s3_op_t *op)
{
    int          rc;
    s3_drive_t  *drive;

    drive = op->drive;
    rc = 0;

    /* a connection of its own: the house's may be held at a snapshot */

    if (drive->copied == NULL) {
        rc = s3_index_open(drive->vfs, 0, 0, drive->process->conf.cache / 4,
                           &drive->copied);
    }

    if (rc == 0) {
        rc = s3_index_position(drive->copied, &op->position);
    }

    op->task.error = rc;
}


static void
s3_copy_source_finish(s3_op_t *op)
{
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    if (s3_copy_failed(c, op)) {
        return;
    }

    c->start = op->position;

    s3_copy_rows(c);
}


/* the cursor goes with the operation, and comes back with its end */

static void
s3_copy_rows(s3_copy_t *c)
{
    s3_op_t       *op;
    s3_copy_op_t  *co;

    op = s3_copy_op(c, c->from, S3_LANE_HOUSE, s3_copy_rows_run,
                    s3_copy_rows_finish);
    co = op->data;
    co->cursor = c->cursor;
    memset(&c->cursor, 0, sizeof(s3_index_cursor_t));

    s3_op_post(op);
}


static void
s3_copy_rows_run(s3_op_t *op)
{
    s3_copy_op_t  *co;

    co = op->data;

    op->task.error = s3_index_rows(op->drive->copied, &co->cursor,
                                   S3_COPY_PIECE, &op->out, &op->flag);
}


static void
s3_copy_rows_finish(s3_op_t *op)
{
    s3_op_t       *put;
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    if (s3_copy_failed(c, op)) {
        return;
    }

    c->cursor = co->cursor;
    memset(&co->cursor, 0, sizeof(s3_index_cursor_t));

    put = s3_copy_op(c, c->drive, S3_LANE_WRITER, s3_copy_put_run,
                     s3_copy_put_finish);
    put->out = op->out;
    memset(&op->out, 0, sizeof(s3_buf_t));
    put->flag = op->flag;

    s3_op_post(put);
}


static void
s3_copy_put_run(s3_op_t *op)
{
    int          rc;
    s3_slice_t   effects;
    s3_index_t  *index;

    index = op->drive->fresh;
    effects.data = op->out.data;
    effects.len = op->out.len;

    rc = s3_index_begin(index);

    if (rc == 0) {
        rc = s3_index_apply(index, effects);
    }

    if (rc == 0) {
        rc = s3_index_commit(index);
    }

    op->task.error = rc;
}


static void
s3_copy_put_finish(s3_op_t *op)
{
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    if (s3_copy_failed(c, op)) {
        return;
    }

    if (op->flag) {
        s3_copy_rows(c);
        return;
    }

    s3_copy_changes(c);
}


/* what changed since: from here on in one snapshot */

static void
s3_copy_changes(s3_copy_t *c)
{
    s3_op_t  *op;

    op = s3_copy_op(c, c->from, S3_LANE_HOUSE, s3_copy_changes_run,
                    s3_copy_changes_finish);
    op->position = c->start;
    op->cursor = c->changes;
    op->status = !c->begun;
    s3_op_post(op);
}


static void
s3_copy_changes_run(s3_op_t *op)
{
    int            rc, known;
    s3_index_t    *index;
    s3_position_t  position;

    index = op->drive->copied;
    rc = 0;

    if (op->status) {
        rc = s3_index_snapshot(index, &position);

        if (rc == 0) {
            rc = s3_index_knows(index, &op->position, &known);
        }

        if (rc == 0 && !known) {

            /* the history is shorter than the copying was: once more */

            rc = ESTALE;
        }
    }

    if (rc == 0) {
        rc = s3_index_changes(index, op->position.sequence, &op->cursor,
                              S3_COPY_PIECE, &op->out, &op->flag);
    }

    if (rc || !op->flag) {
        (void) s3_index_release(index);
    }

    op->task.error = rc;
}


static void
s3_copy_changes_finish(s3_op_t *op)
{
    s3_op_t       *apply;
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    if (s3_copy_failed(c, op)) {
        return;
    }

    c->changes = op->cursor;

    apply = s3_copy_op(c, c->drive, S3_LANE_WRITER, s3_copy_apply_run,
                       s3_copy_apply_finish);
    apply->out = op->out;
    memset(&op->out, 0, sizeof(s3_buf_t));
    apply->flag = op->flag;
    apply->status = !c->begun;
    c->begun = 1;

    s3_op_post(apply);
}


static void
s3_copy_apply_run(s3_op_t *op)
{
    int          rc;
    s3_slice_t   effects;
    s3_index_t  *index;

    index = op->drive->fresh;
    effects.data = op->out.data;
    effects.len = op->out.len;

    rc = op->status ? s3_index_begin(index) : 0;

    if (rc == 0) {
        rc = s3_index_apply(index, effects);
    }

    if (rc == 0 && !op->flag) {
        rc = s3_index_commit(index);
    }

    op->task.error = rc;
}


static void
s3_copy_apply_finish(s3_op_t *op)
{
    s3_op_t       *install;
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    if (s3_copy_failed(c, op)) {
        return;
    }

    if (op->flag) {
        s3_copy_changes(c);
        return;
    }

    install = s3_copy_op(c, c->drive, S3_LANE_WRITER, s3_copy_install_run,
                         s3_copy_install_finish);
    co = install->data;
    co->format = c->drive->format;
    s3_op_post(install);
}


static void
s3_copy_install_run(s3_op_t *op)
{
    s3_copy_op_t  *co;

    co = op->data;

    op->task.error = s3_copy_install(op->drive, &co->format);

    if (op->task.error == 0) {
        (void) s3_copy_clean(op->drive);
    }
}


static int
s3_copy_install(s3_drive_t *drive, const s3_format_t *format)
{
    int           fd, rc;
    s3_format_t   f;

    rc = s3_index_fold(drive->fresh);
    if (rc) {
        return rc;
    }

    s3_index_close(drive->fresh);
    drive->fresh = NULL;

    /* whatever SQLite has synced of it */

    fd = s3_door->openat(drive->fresh_dir, "index.db",
                         O_RDWR|O_CLOEXEC|O_NOFOLLOW, 0);
    if (fd == -1) {
        return errno;
    }

    rc = s3_door->fsync(fd) == -1 ? errno : 0;
    (void) s3_door->close(fd);

    if (rc) {
        return rc;
    }

    rc = drive->writer ? s3_index_fold(drive->writer)
                       : s3_copy_remove_old(drive->root);
    if (rc) {
        return rc;
    }

    if (s3_door->renameat(drive->fresh_dir, "index.db", drive->root,
                          "index.db")
        == -1)
    {
        return errno;
    }

    if (s3_door->fsync(drive->root) == -1) {
        return errno;
    }

    if (!format->copying) {
        return 0;
    }

    f = *format;
    f.copying = 0;
    f.formed = 1;
    f.vacant = 1;

    return s3_format_write(drive->root, &f);
}


/*
 * An index that was damaged; or, where a disk is copying, that of a copy which
 * was cut behind the rename.  Without its log it could be an older state that
 * opens well, and votes for less than was acknowledged; its log would be taken
 * for the new one's.
 */

static int
s3_copy_remove_old(int root)
{
    unsigned                  i;
    static const char *const  names[] = { "index.db", "index.db-wal",
                                          "index.db-journal" };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {

        if (s3_door->unlinkat(root, names[i], 0) == -1 && errno != ENOENT) {
            return errno;
        }

        if (i != 1 && s3_door->fsync(root) == -1) {
            return errno;
        }
    }

    return 0;
}


static void
s3_copy_install_finish(s3_op_t *op)
{
    s3_copy_t     *c;
    s3_copy_op_t  *co;

    co = op->data;
    c = co->copy;

    /*
     * Once begun it may be in place, whatever was answered: the disk is
     * opened anew in any case, and what is there then counts
     */

    if (op->error && c->drive->disk) {
        s3_log(c->process, 4, "disk \"%s\": a fresh copy of the index can't "
               "be put in its place: %s", c->disk->path, strerror(op->error));
        s3_disk_drop(c->disk, op->error, "it is opened anew");
        c->disk->next_copy = c->process->now + S3_COPY_FAILED;
    }

    c->installed = 1;
    s3_copy_end(c, op->error);
}


static void
s3_copy_end(s3_copy_t *c, int failed)
{
    if (c->from->disk) {
        s3_op_post(s3_op_create(c->from, S3_LANE_HOUSE, s3_copy_release_run,
                                NULL, NULL));
    }

    if (!c->installed && c->drive->disk) {
        s3_op_post(s3_op_create(c->drive, S3_LANE_WRITER, s3_copy_clean_run,
                                NULL, NULL));
    }

    c->failed = failed;
    c->finished = 1;

    s3_loop_wake(c->process->loop);
}


static void
s3_copy_release_run(s3_op_t *op)
{
    if (op->drive->copied) {
        s3_index_close(op->drive->copied);
        op->drive->copied = NULL;
    }
}


static void
s3_copy_clean_run(s3_op_t *op)
{
    op->task.error = s3_copy_clean(op->drive);
}


/* --- the disk's threads --- */


void
s3_copy_close(s3_drive_t *drive)
{
    if (drive->copied) {
        s3_index_close(drive->copied);
        drive->copied = NULL;
    }

    if (drive->fresh) {
        s3_index_close(drive->fresh);
        drive->fresh = NULL;
    }

    if (drive->fresh_vfs) {
        s3_vfs_destroy(drive->fresh_vfs);
        drive->fresh_vfs = NULL;
    }

    if (drive->fresh_dir != -1) {
        (void) s3_door->close(drive->fresh_dir);
        drive->fresh_dir = -1;
    }
}


/* not through a link that stands in its place */

static int
s3_copy_dir(s3_drive_t *drive)
{
    return s3_door->openat(drive->root, S3_COPY_DIR,
                           O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW, 0);
}


int
s3_copy_clean(s3_drive_t *drive)
{
    int                       dir, rc;
    unsigned                  i;
    static const char *const  names[] = { "index.db", "index.db-wal",
                                          "index.db-journal" };

    if (drive->fresh) {
        s3_index_close(drive->fresh);
        drive->fresh = NULL;
    }

    if (drive->fresh_vfs) {
        s3_vfs_destroy(drive->fresh_vfs);
        drive->fresh_vfs = NULL;
    }

    if (drive->fresh_dir != -1) {
        (void) s3_door->close(drive->fresh_dir);
        drive->fresh_dir = -1;
    }

    dir = s3_copy_dir(drive);

    if (dir == -1) {
        return errno == ENOENT ? 0 : errno;
    }

    rc = 0;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (s3_door->unlinkat(dir, names[i], 0) == -1 && errno != ENOENT) {
            rc = errno;
        }
    }

    (void) s3_door->close(dir);

    if (rc == 0
        && s3_door->unlinkat(drive->root, S3_COPY_DIR, AT_REMOVEDIR) == -1)
    {
        rc = errno;
    }

    return rc;
}
