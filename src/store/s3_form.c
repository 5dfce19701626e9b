
/*
 * Which disks are of the set, and forming a set where there is none: part of
 * a recovery, on the brain thread.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/rand.h>
#include "s3_brain.h"


#define S3_FORM_AGAIN  5000        /* ms, after one that failed */


static int s3_form(s3_process_t *p);
static void s3_form_failed(s3_process_t *p);
static void s3_form_drop(s3_disk_t *disk);
static void s3_form_run(s3_op_t *op);
static void s3_form_finish(s3_op_t *op);
static void s3_form_ended(s3_op_t *op);
static void s3_formed_run(s3_op_t *op);
static void s3_formed_finish(s3_op_t *op);


/*
 * Which of the open disks are of the set: by the record, else by their own
 * format files.  Forms a new set where there is neither.  0: slots are given;
 * -1: there is nothing to work with (logged).
 */

int
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

        if (disk->drive->has_format && disk->drive->format.copying) {
            continue;                /* s3_copy.c */
        }

        if (!disk->drive->has_format) {
            empty += disk->drive->empty;

            if (disk->drive->empty && disk->drive->asked && p->has_set) {
                continue;            /* s3_copy.c */
            }

            if (disk->why == NULL && (p->has_set || !disk->drive->empty)) {
                disk->why = disk->drive->empty
                                ? "is empty: not mounted?"
                                : "is not empty and has no format file";
                s3_log(p, 4, "disk \"%s\" %s%s", disk->path, disk->why,
                       disk->drive->empty
                           ? " (a new disk in a lost one's place needs a "
                             "file \"" S3_REPLACE_FILE "\" in it)"
                           : "");
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
            || !disk->drive->has_format || disk->drive->format.copying)
        {
            continue;
        }

        f = &disk->drive->format;

        if (!s3_of_set(p, f)) {
            if (disk->why == NULL) {
                disk->why = "is of another set";
                s3_log(p, 4, "disk \"%s\" %s", disk->path, disk->why);
            }

            continue;
        }

        if (disk->drive->broken) {

            /* s3_copy.c; its place is its own, whoever else asks for one */

            disk->home = f->slot;
            disk->why = "its index is damaged";
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
        disk->home = f->slot;
        disk->why = NULL;
        n++;
    }

    if (forming || !p->has_record) {
        return s3_form(p);
    }

    return n ? 0 : -1;
}


int
s3_of_set(s3_process_t *p, const s3_format_t *f)
{
    return p->has_set && memcmp(f->set_id, p->set_id, 16) == 0
           && f->ndisks == p->conf.ndisks && f->parity == p->conf.parity
           && (f->copying || !p->has_record
               || memcmp(p->record.disk_ids[f->slot], f->disk_id, 16) == 0);
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
                              s3_form_finish, &step);
            op->sequence = p->conf.cache;
            s3_step_post(&step, disk, op);
        }

        s3_step_wait(p, &step);

        if (step.failed) {
            s3_form_failed(p);
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
                s3_form_failed(p);
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
            || !disk->drive->has_format || s3_incomplete(disk->drive)
            || memcmp(disk->drive->format.set_id, p->set_id, 16) != 0)
        {
            continue;
        }

        disk->slot = disk->drive->format.slot;
        disk->home = disk->slot;

        if (disk->drive->format.formed) {
            continue;
        }

        op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_formed_run,
                          s3_formed_finish, &step);
        op->sequence = p->conf.cache;
        s3_step_post(&step, disk, op);
    }

    s3_step_wait(p, &step);

    for (i = 0; i < p->conf.ndisks; i++) {
        if ((step.failed >> i) & 1) {
            s3_form_drop(&p->disks[i]);
        }
    }

    return 0;
}


static void
s3_form_finish(s3_op_t *op)
{
    /* here, not on its thread: the status is told meanwhile */

    if (op->error == 0) {
        op->drive->has_format = 1;
        op->drive->empty = 0;
    }

    s3_form_ended(op);
}


static void
s3_formed_finish(s3_op_t *op)
{
    if (op->error == 0) {
        op->drive->format.formed = 1;
    }

    s3_form_ended(op);
}


static void
s3_form_ended(s3_op_t *op)
{
    if (op->error && op->drive->disk) {
        s3_log(op->drive->process, 4, "disk \"%s\" can't be formed: %s",
               op->drive->path, strerror(op->error));
    }

    s3_step_finish(op);
}


/* all disks are opened anew, and what is there by then is looked at */

static void
s3_form_failed(s3_process_t *p)
{
    unsigned  i;

    s3_log(p, 4, "store \"%s\": forming failed", p->conf.name);

    for (i = 0; i < p->conf.ndisks; i++) {
        s3_form_drop(&p->disks[i]);
    }
}


/* what stands in the way there may stay for long, and each try is logged */

static void
s3_form_drop(s3_disk_t *disk)
{
    s3_disk_drop(disk, 0, "forming failed");

    disk->next_try = s3_now() + S3_FORM_AGAIN;
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
        rc = s3_drive_index_open(drive, 1, op->sequence);
    }

    if (rc == 0 && s3_door->fsync(drive->root) == -1) {
        rc = errno;
    }

    op->task.error = rc;
}


static void
s3_formed_run(s3_op_t *op)
{
    int           rc;
    s3_drive_t   *drive;
    s3_format_t   format;

    drive = op->drive;

    rc = s3_drive_index_open(drive, 0, op->sequence);

    if (rc == 0) {
        format = drive->format;
        format.formed = 1;
        rc = s3_format_write(drive->root, &format);
    }

    op->task.error = rc;
}
