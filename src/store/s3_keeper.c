
/*
 * After commits: shards are renamed out of tmp/, the dead are unlinked,
 * sessions that ended are emptied.
 *
 * Only the store process removes shards whose commit was sent (ruling 3).
 * What died at a sequence is unlinked when no worker reads at an earlier one.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include "s3_brain.h"


#define S3_COLLECT_INTERVAL    200       /* ms */
#define S3_COLLECT_ROWS        256
#define S3_SCAN_INTERVAL       2000
#define S3_SESSIONS_MAX        1024
#define S3_KEEPER_GRACE        2000      /* workers have come back by then */
#define S3_FILES_MAX           4096      /* of a session, a look */
#define S3_REAP_INTERVAL       60000     /* ms, where there was nothing */
#define S3_REAP_AGAIN          20        /* ms, where there was more */


/* of the shards in a session that its disk's index does not know */
enum {
    S3_SESSION_SETTLE = 0,               /* nothing is removed */
    S3_SESSION_IF_DEAD,
    S3_SESSION_PURGE
};


/*
 * rows of garbage on their way: unlinked on all members, synced, then a
 * commit each
 */
typedef struct {
    s3_process_t     *process;
    unsigned          refs;          /* the brain, and operations */
    unsigned          waiting;
    unsigned          n;
    s3_shard_row_t    rows[S3_COLLECT_ROWS];
    uint64_t          done[S3_COLLECT_ROWS];
} s3_dead_t;


typedef struct {
    unsigned          n;
    uint8_t           ids[S3_FILES_MAX][16];
    int               more;
} s3_names_t;


static void s3_settle_run(s3_op_t *op);
static void s3_collect(s3_process_t *p);
static void s3_collect_run(s3_op_t *op);
static void s3_collect_finish(s3_op_t *op);
static void s3_dead_run(s3_op_t *op);
static void s3_dead_finish(s3_op_t *op);
static void s3_dead_free(s3_op_t *op);
static void s3_dead_unref(s3_dead_t *dead);
static void s3_dead_commit(s3_dead_t *dead);
static void s3_dead_answered(s3_question_t *q, s3_verdict_t *verdict);
static void s3_reap(s3_process_t *p);
static void s3_reap_run(s3_op_t *op);
static void s3_reap_finish(s3_op_t *op);
static void s3_reap_answered(s3_question_t *q, s3_verdict_t *verdict);
static void s3_old(s3_process_t *p);
static void s3_old_run(s3_op_t *op);
static void s3_old_finish(s3_op_t *op);
static void s3_old_answered(s3_question_t *q, s3_verdict_t *verdict);
static void s3_scan_run(s3_op_t *op);
static void s3_scan_finish(s3_op_t *op);
static int s3_session_clean(s3_drive_t *drive, const uint8_t session[16],
    int mode);
static void s3_session_run(s3_op_t *op);
static void s3_session_finish(s3_op_t *op);
static void s3_sessions_finish(s3_op_t *op);
static void s3_sessions_run(s3_op_t *op);


/*
 * a decided commit: its shards go to their final places; nobody waits for it,
 * readers look in both
 */

void
s3_settle(s3_process_t *p, const s3_commit_t *commit)
{
    unsigned    slot;
    s3_op_t    *op;
    s3_disk_t  *disk;

    p->collect_due = 1;

    if (commit->op == S3_COMMIT_DELETE_BUCKET) {
        p->next_reap = 0;        /* there may have been uploads in it */
    }

    if ((commit->op != S3_COMMIT_PUT && commit->op != S3_COMMIT_PART)
        || commit->is_inline || commit->size == 0 || commit->refuse)
    {
        return;
    }

    /* not before it is decided: a look for holes would not find this one */

    if (commit->mask != ((uint64_t) 1 << p->conf.ndisks) - 1) {
        p->repair_due = 1;
    }

    for (slot = 0; slot < p->conf.ndisks; slot++) {
        if (!((commit->mask >> slot) & 1)) {
            continue;
        }

        disk = s3_disk_by_slot(p, slot);
        if (disk == NULL) {
            continue;
        }

        op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_settle_run, NULL,
                          NULL);
        memcpy(op->session, commit->session, 16);
        memcpy(op->id, commit->shard_id, 16);
        s3_op_post(op);
    }
}


static void
s3_settle_run(s3_op_t *op)
{
    int   rc;
    int   known;

    /*
     * A condition may have refused the commit: whether the shard is wanted,
     * this disk's index says. What fails here the next look at tmp/ finds.
     */

    rc = s3_index_shard_known(op->drive->house, op->id, &known);

    if (rc == 0 && known) {
        rc = s3_shard_settle(op->drive->root, op->session, op->id);
    }

    op->task.error = rc;
}


void
s3_keeper_scan(s3_process_t *p)
{
    unsigned  i;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (p->disks[i].drive) {
            p->disks[i].drive->next_scan = 0;
        }
    }
}


void
s3_keeper_tick(s3_process_t *p)
{
    unsigned     i;
    s3_op_t     *op;
    s3_drive_t  *drive;

    if (p->state != S3_STORE_OK) {
        return;                     /* in read-only mode nothing is removed */
    }

    if (p->collect_due && !p->collecting && p->now >= p->next_collect) {
        s3_collect(p);
    }

    if (!p->reaping && p->now >= p->next_reap) {
        s3_reap(p);
    }

    if (p->conf.upload_age && !p->aborting && p->now >= p->next_abort) {
        s3_old(p);
    }

    for (i = 0; i < p->conf.ndisks; i++) {
        drive = p->disks[i].drive;

        if (p->disks[i].member && !drive->scanning
            && p->now >= drive->next_scan)
        {
            drive->scanning = 1;
            op = s3_op_create(drive, S3_LANE_HOUSE, s3_scan_run,
                              s3_scan_finish, NULL);
            s3_op_post(op);
        }
    }
}


/* garbage */

static void
s3_collect(s3_process_t *p)
{
    uint64_t    oldest;
    s3_op_t    *op;
    s3_disk_t  *disk;

    disk = s3_disk_reader(p);
    if (disk == NULL) {
        return;
    }

    oldest = s3_pins_oldest(p);

    op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_collect_run,
                      s3_collect_finish, NULL);
    op->sequence = p->position.sequence;

    if (oldest < op->sequence) {
        op->sequence = oldest;
    }

    (void) s3_members(p, &op->mask);
    op->cursor = op->sequence;

    p->collect_due = 0;
    p->collecting = 1;
    p->next_collect = p->now + S3_COLLECT_INTERVAL;

    s3_op_post(op);
}


static void
s3_collect_run(s3_op_t *op)
{
    unsigned         n;
    s3_shard_row_t  *rows;

    rows = (s3_shard_row_t *)
               s3_buf_reserve(&op->out,
                              S3_COLLECT_ROWS * sizeof(s3_shard_row_t));
    if (rows == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    n = 0;
    op->task.error = s3_index_garbage(op->drive->house, op->sequence,
                                      op->mask, rows, S3_COLLECT_ROWS, &n);
    op->status = n;
}


static void
s3_collect_finish(s3_op_t *op)
{
    unsigned       slot;
    s3_op_t       *unlink;
    s3_dead_t     *dead;
    s3_disk_t     *disk;
    s3_process_t  *p;

    p = op->drive->process;

    if (op->error || op->status == 0) {
        p->collecting = 0;
        p->collect_due |= (op->error || op->sequence < p->position.sequence);
        return;
    }

    if (op->sequence < p->position.sequence || op->status == S3_COLLECT_ROWS)
    {
        p->collect_due = 1;          /* pinned, or more */
    }

    dead = calloc(1, sizeof(s3_dead_t));
    if (dead == NULL) {
        p->collecting = 0;
        p->collect_due = 1;
        return;
    }

    dead->process = p;
    dead->refs = 1;
    dead->waiting = 1;
    dead->n = op->status;
    memcpy(dead->rows, op->out.data, dead->n * sizeof(s3_shard_row_t));

    for (slot = 0; slot < p->conf.ndisks; slot++) {
        disk = s3_disk_by_slot(p, slot);

        if (disk == NULL || !disk->member) {
            continue;
        }

        unlink = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_dead_run,
                              s3_dead_finish, dead);
        unlink->free = s3_dead_free;
        unlink->mask = (uint64_t) 1 << slot;
        dead->refs++;
        dead->waiting++;
        s3_op_post(unlink);
    }

    if (--dead->waiting == 0) {
        s3_dead_commit(dead);
    }

    s3_dead_unref(dead);
}


/*
 * The rows go only when the names are gone for good: after a power cut that
 * brings a name back, nobody would know of it.
 */

static void
s3_dead_run(s3_op_t *op)
{
    int         fd, rc;
    char        path[5 + 33];
    uint8_t    *done, touched[256];
    unsigned    i;
    s3_dead_t  *dead;

    dead = op->data;

    done = s3_buf_reserve(&op->out, dead->n);
    if (done == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    memset(touched, 0, sizeof(touched));

    for (i = 0; i < dead->n; i++) {
        done[i] = 0;

        if (dead->rows[i].mask & op->mask) {
            rc = s3_shard_remove(op->drive->root, dead->rows[i].session,
                                 dead->rows[i].shard_id);
            done[i] = (rc == 0);
            touched[dead->rows[i].shard_id[0]] |= (rc == 0);
        }
    }

    for (i = 0; i < 256; i++) {

        if (!touched[i]) {
            continue;
        }

        (void) snprintf(path, sizeof(path), "data/%02x", i);

        fd = s3_door->openat(op->drive->root, path,
                             O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

        if (fd == -1) {
            if (errno == ENOENT) {
                continue;            /* it never left tmp/ */
            }

            op->task.error = errno;
            return;
        }

        if (s3_door->fsync(fd) == -1) {
            op->task.error = errno;
        }

        (void) s3_door->close(fd);

        if (op->task.error) {
            return;
        }
    }
}


static void
s3_dead_finish(s3_op_t *op)
{
    unsigned    i;
    s3_dead_t  *dead;

    dead = op->data;

    for (i = 0; op->error == 0 && i < dead->n; i++) {
        if (op->out.data[i]) {
            dead->done[i] |= op->mask;
        }
    }

    /* a failed sync is not tried again on the same opening of a disk */

    if (op->error == EIO && op->drive->disk) {
        s3_disk_drop(op->drive->disk, op->error, "garbage is not synced");
    }

    if (--dead->waiting == 0) {
        s3_dead_commit(dead);
    }
}


static void
s3_dead_free(s3_op_t *op)
{
    s3_dead_unref(op->data);
}


static void
s3_dead_unref(s3_dead_t *dead)
{
    if (--dead->refs == 0) {
        free(dead);
    }
}


static void
s3_dead_commit(s3_dead_t *dead)
{
    unsigned       i;
    s3_commit_t    commit;
    s3_process_t  *p;

    p = dead->process;

    /* one for this loop: an answer may come at once */

    for (i = 0; i < dead->n; i++) {
        memset(&commit, 0, sizeof(s3_commit_t));
        commit.op = S3_COMMIT_GARBAGE;
        commit.mask = dead->done[i];
        memcpy(commit.shard_id, dead->rows[i].shard_id, 16);

        p->collecting++;

        if (dead->done[i] == 0
            || s3_commit_internal(p, &commit, s3_dead_answered, NULL) != 0)
        {
            p->collecting--;
            p->collect_due = 1;
        }
    }

    p->collecting--;
}


static void
s3_dead_answered(s3_question_t *q, s3_verdict_t *verdict)
{
    s3_process_t  *p;

    p = q->process;
    p->collecting--;
    p->collect_due |= (verdict->status != S3_STORE_OK);
}


/*
 * Multipart uploads that nobody can ask for any more: completed a day ago, or
 * in a bucket that is deleted.  A commit takes a bounded number of rows; the
 * next one follows while there are more.
 */

static void
s3_reap(s3_process_t *p)
{
    s3_disk_t  *disk;

    disk = s3_disk_reader(p);
    if (disk == NULL) {
        return;
    }

    p->reaping = 1;
    p->next_reap = p->now + S3_REAP_INTERVAL;

    s3_op_post(s3_op_create(disk->drive, S3_LANE_HOUSE, s3_reap_run,
                            s3_reap_finish, NULL));
}


static void
s3_reap_run(s3_op_t *op)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    op->task.error = s3_index_reapable(op->drive->house,
                                       (int64_t) ts.tv_sec * 1000
                                       + ts.tv_nsec / 1000000,
                                       &op->flag, &op->cursor);
}


static void
s3_reap_finish(s3_op_t *op)
{
    s3_commit_t    commit;
    s3_process_t  *p;

    p = op->drive->process;
    p->reaping = 0;

    if (op->error || !op->flag) {
        return;
    }

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_REAP;
    commit.gone = op->cursor;

    p->reaping = (s3_commit_internal(p, &commit, s3_reap_answered, NULL)
                  == 0);
}


static void
s3_reap_answered(s3_question_t *q, s3_verdict_t *verdict)
{
    s3_process_t  *p;

    p = q->process;
    p->reaping = 0;

    /* that kind is done with, or nothing was decided: look again, for the
     * other kind, or for more */

    p->next_reap = p->now + S3_REAP_AGAIN;
}


/* uploads that nobody has completed in time (s3_abort_uploads), one by one */

static void
s3_old(s3_process_t *p)
{
    s3_op_t    *op;
    s3_disk_t  *disk;

    disk = s3_disk_reader(p);
    if (disk == NULL) {
        return;
    }

    p->aborting = 1;
    p->next_abort = p->now + S3_REAP_INTERVAL;

    if (p->conf.upload_age < S3_REAP_INTERVAL / 1000) {
        p->next_abort = p->now + p->conf.upload_age * 1000;
    }

    op = s3_op_create(disk->drive, S3_LANE_HOUSE, s3_old_run, s3_old_finish,
                      NULL);
    op->sequence = p->conf.upload_age;
    s3_op_post(op);
}


static void
s3_old_run(s3_op_t *op)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    op->task.error = s3_index_old_upload(op->drive->house,
                                         ((int64_t) ts.tv_sec
                                          - (int64_t) op->sequence) * 1000,
                                         &op->flag, &op->out);
}


static void
s3_old_finish(s3_op_t *op)
{
    s3_buf_t      *name;
    s3_reader_t    r;
    s3_commit_t    commit;
    s3_process_t  *p;

    p = op->drive->process;
    p->aborting = 0;

    if (op->error || !op->flag) {
        return;
    }

    name = malloc(sizeof(s3_buf_t));
    if (name == NULL) {
        return;
    }

    /* the commit's names stand in it until it is answered */

    *name = op->out;
    memset(&op->out, 0, sizeof(s3_buf_t));

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_ABORT;

    s3_reader_init(&r, name->data, name->len);
    commit.bucket = s3_read_slice(&r);
    commit.key = s3_read_slice(&r);
    s3_read_bytes(&r, commit.upload_id, 16);

    if (r.error
        || s3_commit_internal(p, &commit, s3_old_answered, name) != 0)
    {
        s3_buf_free(name);
        free(name);
        return;
    }

    p->aborting = 1;
}


static void
s3_old_answered(s3_question_t *q, s3_verdict_t *verdict)
{
    s3_buf_t      *name;
    s3_process_t  *p;

    p = q->process;
    name = q->context;

    if (verdict->status == S3_STORE_OK) {
        s3_log(p, 6, "store \"%s\": an upload that is older than %u s is "
               "aborted", p->conf.name, p->conf.upload_age);
    }

    /* the slices in it are not looked at again */

    s3_buf_free(name);
    free(name);

    p->aborting = 0;
    p->next_abort = p->now + S3_REAP_AGAIN;
}


/*
 * Sessions: every directory in tmp/ is looked at.  Where its lock is free its
 * worker is dead: what the index knows is renamed, the rest removed, the
 * directory too.  Where it is held only the known are renamed.
 */

static int
s3_names_add(void *data, const char *name)
{
    s3_names_t  *names = data;

    if (names->n == S3_FILES_MAX) {
        names->more = 1;
        return 1;
    }

    if (s3_id_parse(name, names->ids[names->n]) == 0) {
        names->n++;
    }

    return 0;
}


static void
s3_scan_run(s3_op_t *op)
{
    int          fd;
    unsigned     i;
    s3_names_t  *names;

    names = malloc(sizeof(s3_names_t));
    if (names == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    names->n = 0;
    names->more = 0;

    fd = s3_door->openat(op->drive->root, "tmp",
                         O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

    if (fd == -1) {
        op->task.error = errno;

    } else {
        if (s3_door->list(fd, s3_names_add, names) == -1) {
            op->task.error = errno;
        }

        (void) s3_door->close(fd);
    }

    for (i = 0; i < names->n; i++) {
        s3_buf_bytes(&op->out, names->ids[i], 16);
    }

    free(names);
}


static void
s3_scan_finish(s3_op_t *op)
{
    size_t         i;
    s3_op_t       *session;
    s3_drive_t    *drive;
    s3_process_t  *p;

    drive = op->drive;
    p = drive->process;
    drive->scanning = 0;
    drive->next_scan = p->now + S3_SCAN_INTERVAL;

    if (op->error || drive->disk == NULL || p->state != S3_STORE_OK) {
        return;
    }

    for (i = 0; i + 16 <= op->out.len; i += 16) {

        if (memcmp(op->out.data + i, p->heal_session, 16) == 0) {
            continue;
        }

        session = s3_op_create(drive, S3_LANE_HOUSE, s3_session_run,
                               s3_session_finish, NULL);
        memcpy(session->session, op->out.data + i, 16);

        /*
         * Its last commit must be decided before anything is removed
         * (ruling 4).  And it must be dead: a worker gives up its lock on a
         * disk that was dropped, and that disk may be back as the member it
         * was, with shards that a commit is yet to name, where the process
         * that dropped it died before it told the index.
         *
         * Nor while a laggard catches up: the connection that knows the
         * shards may be held at a snapshot, where later commits are unknown.
         */

        session->flag = p->now >= p->started + S3_KEEPER_GRACE
                        && p->catchup == NULL
                        && !s3_session_pending(p, session->session)
                        && !s3_session_connected(p, session->session);
        s3_op_post(session);
    }

    if (drive->disk == s3_disk_reader(p)) {
        s3_op_post(s3_op_create(drive, S3_LANE_HOUSE, s3_sessions_run,
                                s3_sessions_finish, NULL));
    }
}


static void
s3_session_run(s3_op_t *op)
{
    op->status = s3_session_clean(op->drive, op->session,
                                  op->flag ? S3_SESSION_IF_DEAD
                                           : S3_SESSION_SETTLE);
}


/*
 * What the index knows is renamed.  The rest is removed, and the directory
 * with it, where the lock is free: a worker that is alive holds it, it takes
 * it before the directory has its name, and it is held here while files are
 * removed.  Or (S3_SESSION_PURGE) the rest is removed whoever holds the lock.
 * Returns whether the session is dead.
 */

static int
s3_session_clean(s3_drive_t *drive, const uint8_t session[16], int mode)
{
    int          dir, lock, known, dead, left;
    char         path[4 + 33], name[33];
    unsigned     i;
    s3_names_t  *names;

    names = NULL;
    dead = 0;

    s3_id_text(session, name);
    (void) snprintf(path, sizeof(path), "tmp/%s", name);

    dir = s3_door->openat(drive->root, path,
                          O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);
    if (dir == -1) {
        return 0;
    }

    lock = s3_door->openat(dir, "lock", O_RDWR|O_CLOEXEC, 0);

    dead = mode != S3_SESSION_SETTLE
           && (lock == -1 ? errno == ENOENT
                          : s3_door->flock(lock, LOCK_EX|LOCK_NB) == 0);

    names = malloc(sizeof(s3_names_t));
    if (names == NULL) {
        goto done;
    }

    names->n = 0;
    names->more = 0;

    if (s3_door->list(dir, s3_names_add, names) == -1) {
        goto done;
    }

    left = names->more;

    for (i = 0; i < names->n; i++) {

        if (s3_index_shard_known(drive->house, names->ids[i], &known) != 0) {
            goto done;
        }

        if (known) {
            if (s3_shard_settle(drive->root, session, names->ids[i]) != 0) {
                left = 1;
            }

        } else if (dead || mode == S3_SESSION_PURGE) {
            s3_id_text(names->ids[i], name);

            if (s3_door->unlinkat(dir, name, 0) == -1) {
                left = 1;
            }
        }
    }

    if (dead && !left) {
        (void) s3_door->unlinkat(dir, "lock", 0);
        (void) s3_door->unlinkat(drive->root, path, AT_REMOVEDIR);
    }

done:

    free(names);

    if (lock != -1) {
        (void) s3_door->close(lock);
    }

    (void) s3_door->close(dir);

    return dead;
}


/*
 * A disk that becomes a member anew: no commit may count a shard that was
 * opened on it before (ruling 11), so what its index does not know in tmp/ is
 * nobody's, whether its worker lives or not.  On the disk's thread, before
 * workers are told that it is a member.
 */

int
s3_keeper_purge(s3_drive_t *drive)
{
    int          fd, rc;
    unsigned     i;
    s3_names_t  *names;

    names = malloc(sizeof(s3_names_t));
    if (names == NULL) {
        return ENOMEM;
    }

    names->n = 0;
    names->more = 0;
    rc = s3_copy_clean(drive);

    fd = s3_door->openat(drive->root, "tmp",
                         O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

    if (fd == -1) {
        rc = errno;

    } else {
        if (s3_door->list(fd, s3_names_add, names) == -1) {
            rc = errno;
        }

        (void) s3_door->close(fd);
    }

    for (i = 0; rc == 0 && i < names->n; i++) {
        (void) s3_session_clean(drive, names->ids[i], S3_SESSION_PURGE);
    }

    free(names);

    return rc;
}


static void
s3_session_finish(s3_op_t *op)
{
}


/*
 * verdicts are kept until their session is dead; pids of connected ones
 * aside, tmp/ on every disk knows
 */

static void
s3_sessions_run(s3_op_t *op)
{
    int           dir;
    char          path[4 + 33], name[33];
    unsigned      i, n;
    uint8_t     (*ids)[16];

    ids = malloc(S3_SESSIONS_MAX * 16);
    if (ids == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    n = 0;
    op->task.error = s3_index_sessions(op->drive->house, ids,
                                       S3_SESSIONS_MAX, &n);

    for (i = 0; op->task.error == 0 && i < n; i++) {
        s3_id_text(ids[i], name);
        (void) snprintf(path, sizeof(path), "tmp/%s", name);

        dir = s3_door->openat(op->drive->root, path,
                              O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);

        if (dir != -1) {
            (void) s3_door->close(dir);
            continue;
        }

        if (errno == ENOENT) {
            s3_buf_bytes(&op->out, ids[i], 16);
        }
    }

    free(ids);
}


static void
s3_sessions_finish(s3_op_t *op)
{
    size_t         i;
    s3_commit_t    commit;
    s3_process_t  *p;

    p = op->drive->process;

    /* a worker that lost its connection has come back by then, and asks */

    if (op->error || p->now < p->started + S3_SESSION_GRACE
        || (p->lost && p->now < p->lost + S3_SESSION_GRACE))
    {
        return;
    }

    for (i = 0; i + 16 <= op->out.len; i += 16) {

        if (s3_session_connected(p, op->out.data + i)
            || s3_session_pending(p, op->out.data + i))
        {
            continue;
        }

        memset(&commit, 0, sizeof(s3_commit_t));
        commit.op = S3_COMMIT_SESSION_END;
        memcpy(commit.session, op->out.data + i, 16);

        (void) s3_commit_internal(p, &commit, NULL, NULL);
    }
}
