
/*
 * The disks of the store process: opening, operations on their own threads,
 * watching the path, dropping.
 *
 *     (no drive) -- try --> opening --> present -- catching up --> member
 *         ^                    |             |                        |
 *         +------ 500 ms ------+             +--------- drop ---------+
 *
 * A drop is final for the drive: its VFS answers EIO from then on, its
 * operations are finished with EIO, its descriptors and locks go when the
 * last of its threads comes back.  The disk gets a new drive by trying again.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "s3_brain.h"


#define S3_WATCH_INTERVAL   300        /* ms */
#define S3_TRY_INTERVAL     500


static void s3_op_run(s3_task_t *task);
static void s3_op_done(s3_task_t *task);
static void s3_op_free(s3_op_t *op);
static int s3_drive_settle_cache(int root);
static void s3_drive_index_close(s3_drive_t *drive);
static void s3_drive_open_run(s3_op_t *op);
static void s3_drive_open_finish(s3_op_t *op);
static void s3_drive_watch_run(s3_op_t *op);
static void s3_drive_watch_finish(s3_op_t *op);
static void s3_drive_close_run(s3_op_t *op);
static void s3_drive_release(s3_drive_t *drive);


static s3_drive_t *
s3_drive_create(s3_disk_t *disk, s3_process_t *p)
{
    s3_drive_t      *drive;
    s3_lane_conf_t   lanes[4];

    drive = calloc(1, sizeof(s3_drive_t));
    if (drive == NULL) {
        return NULL;
    }

    drive->path = strdup(disk->path);
    if (drive->path == NULL) {
        free(drive);
        return NULL;
    }

    lanes[S3_LANE_WRITER].threads = 1;
    lanes[S3_LANE_WRITER].queue = 1024;
    lanes[S3_LANE_READER].threads = 1;
    lanes[S3_LANE_READER].queue = 65536;
    lanes[S3_LANE_HOUSE].threads = 1;
    lanes[S3_LANE_HOUSE].queue = 65536;
    lanes[S3_LANE_WATCH].threads = 1;
    lanes[S3_LANE_WATCH].queue = 64;

    drive->pool = s3_pool_create("s3-disk", lanes, 4, p->loop, 1);
    if (drive->pool == NULL) {
        free(drive->path);
        free(drive);
        return NULL;
    }

    drive->process = p;
    drive->disk = disk;
    drive->refs = 1;
    drive->root = -1;
    drive->fresh_dir = -1;
    LIST_INIT(&drive->ops);

    return drive;
}


s3_drive_t *
s3_drive_ref(s3_drive_t *drive)
{
    drive->refs++;

    return drive;
}


void
s3_drive_unref(s3_drive_t *drive)
{
    if (--drive->refs == 0) {
        s3_scrub_free(drive);
        free(drive->path);
        free(drive);
    }
}


s3_op_t *
s3_op_create(s3_drive_t *drive, unsigned lane, s3_op_pt run, s3_op_pt finish,
    void *data)
{
    s3_op_t  *op;

    op = calloc(1, sizeof(s3_op_t));
    if (op == NULL) {
        /* the brain can't go on without memory, and every start is a
         * recovery: nginx starts another store process */
        abort();
    }

    op->drive = drive;
    op->lane = lane;
    op->run = run;
    op->finish = finish;
    op->data = data;

    op->task.loop = drive->process->loop;
    op->task.run = s3_op_run;
    op->task.done = s3_op_done;
    op->task.data = op;

    drive->refs++;

    return op;
}


void
s3_op_post(s3_op_t *op)
{
    int          rc;
    s3_drive_t  *drive;

    drive = op->drive;

    LIST_INSERT_HEAD(&drive->ops, op, link);

    op->task.posted = s3_now();

    rc = drive->disk ? s3_pool_post(drive->pool, op->lane, &op->task)
                     : ESHUTDOWN;

    if (rc != 0) {
        op->error = (rc == EAGAIN) ? EAGAIN : EIO;
        op->abandoned = 1;
        op->returned = 1;
        TAILQ_INSERT_TAIL(&drive->process->orphans, op, orphan);
        s3_loop_wake(drive->process->loop);
    }
}


static void
s3_op_run(s3_task_t *task)
{
    s3_op_t  *op = task->data;

    op->run(op);
}


static void
s3_op_done(s3_task_t *task)
{
    s3_op_t  *op = task->data;

    op->returned = 1;

    if (op->abandoned) {
        if (op->finished) {
            s3_op_free(op);
        }

        return;
    }

    op->error = task->error;
    op->finished = 1;

    if (op->finish) {
        op->finish(op);
    }

    s3_op_free(op);
}


static void
s3_op_free(s3_op_t *op)
{
    LIST_REMOVE(op, link);

    if (op->free) {
        op->free(op);
    }

    s3_buf_free(&op->out);
    s3_drive_unref(op->drive);
    free(op);
}


void
s3_orphans_finish(s3_process_t *p)
{
    s3_op_t  *op;

    while ((op = TAILQ_FIRST(&p->orphans)) != NULL) {
        TAILQ_REMOVE(&p->orphans, op, orphan);

        op->finished = 1;

        if (op->finish) {
            op->finish(op);
        }

        if (op->returned) {
            s3_op_free(op);
        }
    }
}


void
s3_disk_try(s3_disk_t *disk)
{
    s3_op_t       *op;
    s3_process_t  *p;

    p = (s3_process_t *) ((char *) (disk - disk->index)
                          - offsetof(s3_process_t, disks));

    disk->next_try = p->now + S3_TRY_INTERVAL;

    if (disk->drive == NULL) {
        disk->drive = s3_drive_create(disk, p);
        if (disk->drive == NULL) {
            s3_log(p, 4, "disk \"%s\": threads: %s", disk->path,
                   strerror(errno));
            return;
        }
    }

    if (disk->drive->open || disk->drive->opening) {
        return;
    }

    disk->drive->opening = 1;

    op = s3_op_create(disk->drive, S3_LANE_WATCH, s3_drive_open_run,
                      s3_drive_open_finish, NULL);
    op->sequence = p->conf.cache;
    memcpy(op->id, disk->damaged, 16);
    s3_op_post(op);
}


/*
 * What a start reads must be what the disk has.  A process before us may have
 * died between a write and its sync: then it is synced now.  Or its sync
 * failed, and the kernel calls pages clean that never reached the disk: then
 * they leave the cache.  docs/commit.md tells what is lost without either.
 */

static int
s3_drive_settle_cache(int root)
{
    int                       fd, rc;
    unsigned                  i;
    static const char *const  names[] = { "index.db-wal", "index.db" };

    for (i = 0; i < 2; i++) {
        fd = s3_door->openat(root, names[i], O_RDWR|O_CLOEXEC|O_NOFOLLOW, 0);

        if (fd == -1) {
            if (errno == ENOENT) {
                continue;                  /* opening the index will tell */
            }

            return errno;
        }

        rc = s3_door->fdatasync(fd) == -1 ? errno : 0;

        if (rc == 0) {
            /*
             * no call that can fail a start: memory file systems have no
             * other copy
             */
            (void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        }

        (void) s3_door->close(fd);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


/* the disk's thread: all that a start needs to know, nothing is written */

static void
s3_drive_open_run(s3_op_t *op)
{
    int           rc, data;
    s3_drive_t   *drive;
    struct stat   st;

    drive = op->drive;

    drive->root = s3_door->openat(AT_FDCWD, drive->path,
                                  O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);
    if (drive->root == -1) {
        op->task.error = errno;
        return;
    }

    if (s3_door->fstat(drive->root, &st) == -1) {
        goto failed;
    }

    drive->dev = st.st_dev;
    drive->ino = st.st_ino;

    if (s3_door->flock(drive->root, LOCK_EX|LOCK_NB) == -1) {
        goto failed;
    }

    rc = s3_format_read(drive->root, &drive->format);

    if (rc == ENOENT) {
        drive->has_format = 0;
        drive->empty = (s3_format_empty(drive->root) == 0);
        drive->asked = s3_format_asked(drive->root, &drive->asked_slot);
        return;
    }

    if (rc != 0) {
        errno = rc;
        goto failed;
    }

    drive->has_format = 1;
    drive->empty = 0;

    /*
     * A process before us may have made a directory in data/ and died before
     * it synced it; what settles there from now on finds it and takes it for
     * durable.
     */

    data = s3_door->openat(drive->root, "data",
                           O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);
    if (data == -1) {
        goto failed;
    }

    rc = s3_door->fsync(data) == -1 ? errno : 0;
    (void) s3_door->close(data);

    if (rc != 0) {
        errno = rc;
        goto failed;
    }

    if (!drive->format.formed && op->flag == 0) {
        /* its index may be half made; forming looks after it */
        return;
    }

    if (drive->format.formed
        && memcmp(drive->format.disk_id, op->id, 16) == 0)
    {
        /*
         * It may open well, as the page that is damaged is not looked at, or
         * at an older state, as a log ends with a frame that is: what it has
         * voted for is not to be learnt from it.
         */

        drive->broken = EBADMSG;
        return;
    }

    rc = s3_drive_settle_cache(drive->root);

    if (rc == 0) {
        rc = s3_drive_index_open(drive, 0, op->sequence);
    }

    if (rc == 0) {
        return;
    }

    if ((rc == EBADMSG || rc == ENOENT) && drive->format.formed) {
        s3_drive_index_close(drive);
        drive->broken = rc;
        return;
    }

    errno = rc;

failed:

    op->task.error = errno ? errno : EIO;
    s3_drive_release(drive);
}


int
s3_drive_index_open(s3_drive_t *drive, int create, size_t cache)
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
s3_drive_index_close(s3_drive_t *drive)
{
    if (drive->writer) {
        s3_index_close(drive->writer);
        drive->writer = NULL;
    }

    if (drive->reader) {
        s3_index_close(drive->reader);
        drive->reader = NULL;
    }

    if (drive->house) {
        s3_index_close(drive->house);
        drive->house = NULL;
    }

    if (drive->viewer) {
        s3_index_close(drive->viewer);
        drive->viewer = NULL;
    }

    if (drive->vfs) {
        s3_vfs_destroy(drive->vfs);
        drive->vfs = NULL;
    }
}


static void
s3_drive_release(s3_drive_t *drive)
{
    s3_scrub_release(drive);
    s3_copy_close(drive);                /* has a reader of our index */
    s3_drive_index_close(drive);

    if (drive->root != -1) {
        s3_door->close(drive->root);        /* the lock goes with it */
        drive->root = -1;
    }
}


static void
s3_drive_open_finish(s3_op_t *op)
{
    s3_disk_t     *disk;
    s3_drive_t    *drive;
    s3_process_t  *p;

    drive = op->drive;
    disk = drive->disk;
    p = drive->process;

    drive->opening = 0;

    if (disk == NULL) {
        return;
    }

    if (op->error) {
        disk->error = op->error;
        disk->dropped_for = NULL;

        if (op->error == EWOULDBLOCK
            && p->now < p->started + p->conf.late)
        {
            /* the store process before us is leaving */
            disk->next_try = p->now + 10;
            return;
        }

        if (disk->told != op->error) {
            disk->told = op->error;
            s3_log(p, 4, "disk \"%s\" is left out: %s", disk->path,
                   s3_disk_error_text(op->error));
        }

        return;
    }

    drive->open = 1;
    drive->next_watch = p->now + S3_WATCH_INTERVAL;
    disk->slot = -1;     /* another directory may stand there: s3_adopt() */
    disk->error = 0;
    disk->told = 0;
    disk->behind = 0;
    disk->dropped_for = NULL;
    p->recovery_due |= (p->state != S3_STORE_OK);

    if (drive->broken) {
        s3_log(p, 4, "disk \"%s\" is out until it has a copy of the index: "
               "its own is %s", disk->path,
               drive->broken == ENOENT ? "not there" : "damaged");
    }
}


const char *
s3_disk_error_text(int error)
{
    switch (error) {

    case EWOULDBLOCK:
        return "its lock is held by another process";

    case EBADMSG:
        return "its format file is damaged";

    default:
        return strerror(error);
    }
}


void
s3_disk_drop(s3_disk_t *disk, int error, const char *why)
{
    unsigned       i;
    s3_op_t       *op;
    s3_drive_t    *drive;
    s3_process_t  *p;

    drive = disk->drive;

    if (drive == NULL) {
        return;
    }

    p = drive->process;

    if (drive->vfs) {

        if (s3_vfs_error(drive->vfs) == EBADMSG && s3_disk_spared(p, disk)) {
            memcpy(disk->damaged, drive->format.disk_id, 16);
        }

        s3_vfs_drop(drive->vfs);
    }

    disk->drive = NULL;
    disk->dropped = 1;
    drive->disk = NULL;
    disk->error = error ? error : EIO;
    disk->told = disk->error;
    disk->dropped_for = why;
    disk->dropped_error = error;
    disk->errors++;
    disk->timeouts += (error == ETIMEDOUT);
    disk->next_try = p->now + S3_TRY_INTERVAL;
    p->next_report = 0;

    s3_log(p, 4, "disk \"%s\" is dropped: %s%s%s", disk->path, why,
           error ? ": " : "", error ? strerror(error) : "");

    if (disk->member) {
        disk->member = 0;
        p->since[disk->slot] = 0;
        p->generation_due = 1;

        if (p->state == S3_STORE_OK && s3_members(p, NULL) < p->quorum) {
            p->recovery_due = 1;
            s3_state_set(p, S3_STORE_BUSY);
        }

    } else if (p->state != S3_STORE_OK) {
        p->recovery_due = 1;
    }

    s3_page_update(p);

    LIST_FOREACH(op, &drive->ops, link) {
        if (!op->abandoned && !op->finished) {
            op->abandoned = 1;
            op->error = EIO;
            TAILQ_INSERT_TAIL(&p->orphans, op, orphan);
        }
    }

    s3_loop_wake(p->loop);

    /* behind whatever runs in each lane; never where one hangs */

    atomic_store(&drive->lanes, 4);

    for (i = 0; i < 4; i++) {
        op = s3_op_create(drive, i, s3_drive_close_run, NULL, NULL);
        op->abandoned = 1;
        op->finished = 1;
        LIST_INSERT_HEAD(&drive->ops, op, link);

        if (s3_pool_post(drive->pool, i, &op->task) != 0) {
            /* a full queue: the descriptors stay until the process ends */
            s3_op_free(op);
        }
    }

    s3_pool_leave(drive->pool);
    s3_drive_unref(drive);
}


/*
 * Whether the others have all that was decided: k of them, whose indexes are
 * well.  Else a damaged index is better than none.
 */

int
s3_disk_spared(s3_process_t *p, const s3_disk_t *disk)
{
    unsigned          i, n;
    const s3_disk_t  *other;

    n = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        other = &p->disks[i];

        n += (other != disk && other->slot >= 0 && !other->behind
              && other->drive && other->drive->open);
    }

    return n >= p->geometry.k;
}


static void
s3_drive_close_run(s3_op_t *op)
{
    if (atomic_fetch_sub(&op->drive->lanes, 1) == 1) {
        s3_drive_release(op->drive);
    }
}


int
s3_drive_there(s3_drive_t *drive)
{
    struct stat  st;

    if (s3_door->fstatat(AT_FDCWD, drive->path, &st, 0) == -1) {
        return errno;
    }

    return st.st_dev == drive->dev && st.st_ino == drive->ino ? 0 : ESTALE;
}


static void
s3_drive_watch_run(s3_op_t *op)
{
    struct stat     st;
    struct statvfs  sv;

    op->task.error = s3_drive_there(op->drive);

    if (op->task.error) {
        return;
    }

    if (op->flag) {
        op->flag = s3_format_asked(op->drive->root, &op->status)
                   && s3_format_empty(op->drive->root) == 0;
        return;
    }

    /* for those who watch: what others' reserve leaves; no reason to drop it */

    if (s3_door->fstatvfs(op->drive->root, &sv) == 0) {
        op->flag = 1;
        op->cursor = (uint64_t) sv.f_bavail * sv.f_frsize;
        op->mask = (uint64_t) (sv.f_blocks - sv.f_bfree + sv.f_bavail)
                   * sv.f_frsize;
    }

    /* emptied under us: what we have open is not on the disk any more */

    if (s3_door->fstatat(op->drive->root, "format", &st,
                         AT_SYMLINK_NOFOLLOW) == -1
        || (op->drive->vfs
            && s3_door->fstatat(op->drive->root, "index.db", &st,
                                AT_SYMLINK_NOFOLLOW) == -1))
    {
        op->task.error = errno;
        return;
    }

    op->task.error = op->drive->vfs ? s3_vfs_error(op->drive->vfs) : 0;
}


static void
s3_drive_watch_finish(s3_op_t *op)
{
    s3_drive_t  *drive;

    drive = op->drive;
    drive->watching = 0;
    drive->next_watch = drive->process->now + S3_WATCH_INTERVAL;

    if (drive->disk == NULL) {
        return;
    }

    if (op->error == 0 && !drive->has_format) {
        drive->asked = op->flag;
        drive->asked_slot = op->status;
        drive->empty |= op->flag;
        return;
    }

    if (op->error == 0) {
        drive->total = op->flag ? op->mask : 0;
        drive->free = op->flag ? op->cursor : 0;
        return;
    }

    if (op->error == EAGAIN) {
        return;
    }

    /* ENOSPC refuses writes and drops no disk (ruling 9) */

    if (op->error != ENOSPC) {
        s3_disk_drop(drive->disk, op->error == ESTALE ? 0 : op->error,
                     op->error == ESTALE
                         ? "another directory stands at its path"
                         : "it is not well");
    }
}


void
s3_disk_suspect(s3_process_t *p, const uint8_t id[16], int error)
{
    unsigned     i;
    s3_drive_t  *drive;

    for (i = 0; i < p->conf.ndisks; i++) {
        drive = p->disks[i].drive;

        if (drive && drive->open && drive->has_format
            && memcmp(drive->format.disk_id, id, 16) == 0)
        {
            s3_log(p, 5, "disk \"%s\": a worker reports: %s",
                   p->disks[i].path, strerror(error));
            drive->next_watch = p->now;

            /*
             * What failed in a worker's write is not known to be on the
             * disk: it leaves, and comes back when it opens well.
             */

            if ((error == EIO || error == EROFS) && p->disks[i].member) {
                s3_disk_drop(&p->disks[i], error, "a worker's write failed");

            } else {
                p->disks[i].errors++;
                p->disks[i].timeouts += (error == ETIMEDOUT);
            }
        }
    }
}


void
s3_disks_tick(s3_process_t *p)
{
    unsigned     i, late;
    uint64_t     first;
    s3_op_t     *op, *watch;
    s3_disk_t   *disk;
    s3_drive_t  *drive;

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];
        drive = disk->drive;

        if (drive == NULL || !drive->open) {
            if (p->now >= disk->next_try) {
                s3_disk_try(disk);
            }

            continue;
        }

        late = 0;
        first = 0;

        LIST_FOREACH(op, &drive->ops, link) {
            if (op->late && !op->abandoned
                && p->now > op->task.posted + op->late * p->conf.late)
            {
                late = 1;
                first = p->now - op->task.posted;
                break;
            }
        }

        if (late) {

            /*
             * Lateness never drops a set below its quorum: one stalled file
             * system under all directories must not drop them all (ruling 8)
             */

            if (!disk->member || s3_members(p, NULL) > p->quorum) {
                s3_log(p, 4, "disk \"%s\" has not answered for %lu ms",
                       disk->path, (unsigned long) first);
                s3_disk_drop(disk, ETIMEDOUT, "too late");
                continue;
            }
        }

        if (!drive->watching && p->now >= drive->next_watch) {
            drive->watching = 1;

            watch = s3_op_create(drive, S3_LANE_WATCH, s3_drive_watch_run,
                                 s3_drive_watch_finish, NULL);
            watch->late = 1;
            watch->flag = !drive->has_format;
            s3_op_post(watch);
        }
    }
}


unsigned
s3_members(s3_process_t *p, uint64_t *slots)
{
    unsigned  i, n;
    uint64_t  mask;

    n = 0;
    mask = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (p->disks[i].member) {
            n++;
            mask |= (uint64_t) 1 << p->disks[i].slot;
        }
    }

    if (slots) {
        *slots = mask;
    }

    return n;
}


s3_disk_t *
s3_disk_by_slot(s3_process_t *p, unsigned slot)
{
    unsigned  i;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (p->disks[i].slot == (int) slot && p->disks[i].drive
            && p->disks[i].drive->open)
        {
            return &p->disks[i];
        }
    }

    return NULL;
}


s3_disk_t *
s3_disk_reader(s3_process_t *p)
{
    unsigned    i;
    s3_disk_t  *disk;

    if (p->state == S3_STORE_READ_ONLY) {
        disk = p->source < 0 ? NULL : &p->disks[p->source];
        return disk && disk->drive && disk->drive->open ? disk : NULL;
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[p->turn++ % p->conf.ndisks];

        if (disk->member && disk->drive) {
            return disk;
        }
    }

    return NULL;
}
