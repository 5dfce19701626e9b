
/*
 * The set as the shared page has it, and the disks in it.
 *
 * A path of the configuration becomes a disk when its format file names the
 * set and a slot whose identity in the page is the same: which path is which
 * slot is nobody's matter.  A disk is opened once and dropped once; when the
 * page shows another instance in its slot it is opened anew, with threads and
 * descriptors of its own, and the old one ends when the last operation on it
 * has come back, which on a hung disk is never.
 *
 *     DISK/tmp/SESSION/lock     held as long as the disk is open: who finds
 *                               it free may empty SESSION (ruling 4)
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_client_internal.h"
#include "s3_door.h"
#include "s3_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>


#define S3_DISK_RETRY      500      /* ms */
#define S3_SESSION_RETRY   10       /* ms, while the lock is held */
#define S3_DISK_REPORT     1000     /* ms between two reports of a disk */
#define S3_DISK_ORPHANS    8        /* hung while opened, a path */


static void s3_client_apply(s3_client_t *c, const s3_page_set_t *set);
static void s3_client_open(s3_client_t *c);
static int s3_client_wants(s3_client_t *c, unsigned slot);
static unsigned s3_client_slots(s3_client_t *c);

static int s3_disk_create(s3_client_t *c, unsigned path);
static int s3_disk_current(s3_client_t *c, s3_disk_t *disk);
static void s3_disk_drop(s3_disk_t *disk);
static void s3_disk_failed(s3_disk_t *disk, int error);
static void s3_disk_open(s3_op_t *op);
static void s3_disk_opened(s3_op_t *op);
static void s3_disk_open_late(s3_op_t *op);
static void s3_disk_session_post(s3_disk_t *disk);
static void s3_disk_session(s3_op_t *op);
static void s3_disk_session_done(s3_op_t *op);
static void s3_disk_session_failed(s3_disk_t *disk);
static int s3_disk_session_open(s3_disk_t *disk, int root);
static int s3_disk_session_lock(int dir, int flags, int *lock);

static void s3_op_run(s3_task_t *task);
static void s3_op_done(s3_task_t *task);


void
s3_client_refresh(s3_client_t *c)
{
    uint32_t       change;
    s3_page_set_t  set;

    if (c->page == NULL) {
        return;
    }

    change = atomic_load_explicit(&c->page->change, memory_order_acquire);

    if (change == c->change || (change & 1)) {
        return;
    }

    if (s3_page_read(c->page, &set, &change) == -1) {
        return;
    }

    c->change = change;

    /* until it has formed or read its set the store process has no
     * geometry to tell */

    if (!s3_geometry_valid(&set.geometry)
        || set.geometry.k + set.geometry.m > S3_MAX_DISKS)
    {
        if (c->has_set) {
            memset(set.disks, 0, sizeof(set.disks));
            s3_client_apply(c, &set);
        }

        c->has_set = 0;

        return;
    }

    s3_client_apply(c, &set);
}


static void
s3_client_apply(s3_client_t *c, const s3_page_set_t *set)
{
    int             wanted;
    unsigned        i;
    s3_path_t      *path;
    s3_disk_t      *disk;
    s3_page_set_t   old;

    old = c->set;
    c->set = *set;

    wanted = !c->has_set;
    c->has_set = 1;

    for (i = 0; i < S3_MAX_DISKS; i++) {
        disk = c->slots[i];

        if (disk != NULL && !s3_disk_current(c, disk)) {
            s3_disk_drop(disk);
            disk = NULL;
        }

        if (disk == NULL && s3_client_wants(c, i)
            && (set->disks[i].instance != old.disks[i].instance
                || old.disks[i].state == S3_DISK_ABSENT
                || memcmp(set->disks[i].id, old.disks[i].id, 16) != 0))
        {
            wanted = 1;
        }

        if (disk != NULL && set->disks[i].state == S3_DISK_MEMBER
            && !disk->writable && !disk->opening)
        {
            s3_disk_session_post(disk);
        }
    }

    if (!wanted) {
        return;
    }

    for (i = 0; i < c->conf->ndisks; i++) {
        path = &c->paths[i];
        disk = path->disk;

        if (disk != NULL && disk->bound) {
            continue;
        }

        /* opening it hangs, while the disk is said to be back: perhaps
         * by another mount */

        if (disk != NULL && disk->open.is_late
            && path->orphans < S3_DISK_ORPHANS)
        {
            path->orphans++;
            s3_disk_drop(disk);
        }

        path->tried = 0;
        path->retry = 0;
    }

    s3_client_open(c);
}


/* opens what the page has and we have not */

static void
s3_client_open(s3_client_t *c)
{
    unsigned    i, n;
    uint64_t    now;
    s3_path_t  *path;

    n = 0;

    for (i = 0; i < S3_MAX_DISKS; i++) {
        n += (s3_client_wants(c, i) && c->slots[i] == NULL);
    }

    if (n == 0) {
        return;
    }

    now = s3_now();

    for (i = 0; i < c->conf->ndisks; i++) {
        path = &c->paths[i];

        if (path->disk != NULL || now < path->retry) {
            continue;
        }

        if (s3_disk_create(c, i) == -1) {
            s3_client_log(c, S3_LOG_ERR, "store \"%s\": no threads for disk "
                          "\"%s\" (%d: %s)", c->conf->name,
                          c->conf->disks[i], errno, strerror(errno));
            path->retry = now + S3_DISK_RETRY;
            path->tried = 1;
        }
    }
}


static unsigned
s3_client_slots(s3_client_t *c)
{
    return c->has_set ? (unsigned) c->set.geometry.k + c->set.geometry.m : 0;
}


static int
s3_client_wants(s3_client_t *c, unsigned slot)
{
    return c->has_set && slot < s3_client_slots(c)
           && c->set.disks[slot].state != S3_DISK_ABSENT;
}


int
s3_client_settled(s3_client_t *c, int writing)
{
    int         wanted;
    uint64_t    now;
    unsigned    i;
    s3_path_t  *path;
    s3_disk_t  *disk;

    if (!c->has_set) {
        return 0;
    }

    now = s3_now();
    wanted = 0;

    for (i = 0; i < s3_client_slots(c); i++) {

        if (!s3_client_wants(c, i)) {
            continue;
        }

        disk = c->slots[i];

        if (disk == NULL) {
            wanted = 1;

        } else if (writing && !disk->writable
                   && c->set.disks[i].state == S3_DISK_MEMBER
                   && (disk->opening ? !disk->open.is_late
                                     : now < disk->session_by))
        {
            return 0;
        }
    }

    if (!wanted) {
        return 1;
    }

    for (i = 0; i < c->conf->ndisks; i++) {
        path = &c->paths[i];

        if (!path->tried && (path->disk == NULL || !path->disk->bound)) {
            return 0;
        }
    }

    return 1;
}


void
s3_client_late(s3_client_t *c)
{
    unsigned    i;
    uint64_t    now, since, started;
    s3_op_t    *op;
    s3_link_t  *d, *o, *dnext, *onext;
    s3_disk_t  *disk;

    now = s3_now();

    for (d = c->disks.next; d != &c->disks; d = dnext) {
        dnext = d->next;
        disk = s3_link_data(d, s3_disk_t, link);

        for (o = disk->ops.next; o != &disk->ops; o = onext) {
            onext = o->next;
            op = s3_link_data(o, s3_op_t, link);

            if (op->is_late) {
                continue;
            }

            /* what waits behind others is late only when none of them
             * comes back: a long queue is no hung disk */

            started = atomic_load(&op->started);

            if (started == 0) {
                started = op->task.posted;
                since = disk->last_done;

            } else {
                since = 0;
            }

            if (since < started) {
                since = started;
            }

            if (now < since + c->conf->late) {
                continue;
            }

            op->is_late = 1;
            disk->nlate++;

            s3_disk_error(disk, ETIMEDOUT, "operation");

            if (op->late != NULL) {
                op->late(op);
            }
        }
    }

    s3_client_open(c);

    for (i = 0; i < s3_client_slots(c); i++) {
        disk = c->slots[i];

        if (disk != NULL && c->set.disks[i].state == S3_DISK_MEMBER
            && !disk->writable && !disk->opening
            && now >= disk->session_next)
        {
            s3_disk_session_post(disk);
        }
    }
}


int
s3_disk_writable(s3_client_t *c, unsigned slot)
{
    s3_disk_t  *disk;

    disk = c->slots[slot];

    return disk != NULL && disk->writable && disk->nlate == 0
           && c->set.disks[slot].state == S3_DISK_MEMBER;
}


int
s3_disk_readable(s3_client_t *c, unsigned slot)
{
    s3_disk_t  *disk;

    disk = c->slots[slot];

    return disk != NULL && disk->nlate == 0;
}


static int
s3_disk_create(s3_client_t *c, unsigned path)
{
    int              err;
    char             name[16];
    s3_disk_t       *disk;
    s3_lane_conf_t   lanes[2];

    disk = calloc(1, sizeof(s3_disk_t));
    if (disk == NULL) {
        return -1;
    }

    lanes[S3_LANE_SHARDS].threads = c->conf->threads ? c->conf->threads : 1;
    lanes[S3_LANE_SHARDS].queue = s3_conf_queue(c->conf);
    lanes[S3_LANE_SESSION].threads = 1;
    lanes[S3_LANE_SESSION].queue = s3_conf_queue(c->conf);

    (void) snprintf(name, sizeof(name), "s3-disk-%u", path);

    disk->dir = strdup(c->conf->disks[path]);
    if (disk->dir == NULL) {
        free(disk);
        errno = ENOMEM;
        return -1;
    }

    memcpy(disk->session_text, c->session_text, sizeof(disk->session_text));

    disk->pool = s3_pool_create(name, lanes, 2, c->loop, 1);
    if (disk->pool == NULL) {
        err = errno;
        free(disk->dir);
        free(disk);
        errno = err;
        return -1;
    }

    disk->client = c;
    disk->path = path;
    disk->refs = 1;
    disk->root = -1;
    disk->session = -1;
    disk->lock = -1;
    disk->last_done = s3_now();
    disk->set = c->set;

    s3_link_init(&disk->ops);
    s3_link_add(&c->disks, &disk->link);

    c->paths[path].disk = disk;

    disk->opening = 1;
    disk->open.run = s3_disk_open;
    disk->open.done = s3_disk_opened;
    disk->open.late = s3_disk_open_late;

    (void) s3_disk_post(disk, S3_LANE_SESSION, &disk->open, 1);

    return 0;
}


static int
s3_disk_current(s3_client_t *c, s3_disk_t *disk)
{
    s3_page_disk_t  *pd;

    pd = &c->set.disks[disk->slot];

    return pd->state != S3_DISK_ABSENT && pd->instance == disk->instance
           && memcmp(pd->id, disk->id, 16) == 0
           && memcmp(c->set.set_id, disk->set.set_id, 16) == 0;
}


static void
s3_disk_drop(s3_disk_t *disk)
{
    s3_client_t  *c;

    c = disk->client;

    if (disk->bound) {
        disk->bound = 0;
        c->slots[disk->slot] = NULL;
    }

    c->paths[disk->path].disk = NULL;
    disk->dropped = 1;

    s3_disk_unref(disk);
}


void
s3_disk_ref(s3_disk_t *disk)
{
    disk->refs++;
}


void
s3_disk_unref(s3_disk_t *disk)
{
    if (--disk->refs) {
        return;
    }

    /* with the last of its threads their descriptor table goes, the lock
     * of tmp/SESSION with it */

    s3_link_remove(&disk->link);
    s3_pool_leave(disk->pool);
    free(disk->dir);
    free(disk);
}


static void
s3_disk_open(s3_op_t *op)
{
    s3_disk_t       *disk = op->disk;
    s3_opened_t     *opened = &disk->opened;

    s3_format_t      format;
    s3_page_disk_t  *pd;

    opened->root = s3_door->openat(AT_FDCWD, disk->dir,
                                   O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);
    opened->session = -1;
    opened->lock = -1;
    opened->session_error = 0;

    if (opened->root == -1) {
        opened->error = errno;
        return;
    }

    opened->error = s3_format_read(opened->root, &format);

    if (opened->error == 0) {
        pd = &disk->set.disks[format.slot];

        opened->slot = format.slot;
        memcpy(opened->disk_id, format.disk_id, 16);

        if (memcmp(format.set_id, disk->set.set_id, 16) != 0
            || memcmp(format.disk_id, pd->id, 16) != 0)
        {
            /* another set's, or one the store process does not know */

            opened->error = ENODEV;

        } else if (pd->state == S3_DISK_ABSENT) {
            opened->error = ENODEV;

        } else if (pd->state == S3_DISK_MEMBER) {
            opened->session_error = s3_disk_session_open(disk, opened->root);
        }
    }

    if (opened->error) {
        (void) s3_door->close(opened->root);
        opened->root = -1;
    }
}


static void
s3_disk_opened(s3_op_t *op)
{
    s3_disk_t    *disk = op->disk;
    s3_client_t  *c = disk->client;
    s3_opened_t  *opened = &disk->opened;

    disk->opening = 0;

    if (disk->dropped) {

        /* given up as hung: it was not for ever */

        c->paths[disk->path].orphans--;
        return;
    }

    if (opened->error) {
        s3_disk_failed(disk, opened->error);
        return;
    }

    disk->slot = opened->slot;
    disk->instance = disk->set.disks[disk->slot].instance;
    memcpy(disk->id, opened->disk_id, 16);
    disk->root = opened->root;

    if (!s3_disk_current(c, disk)) {

        /* the set has changed meanwhile: look again at once */

        c->paths[disk->path].retry = 0;
        s3_disk_drop(disk);
        s3_client_open(c);

        return;
    }

    if (c->slots[disk->slot] != NULL) {
        s3_disk_failed(disk, EEXIST);
        return;
    }

    disk->bound = 1;
    c->slots[disk->slot] = disk;
    c->paths[disk->path].tried = 1;
    c->paths[disk->path].error = 0;

    if (opened->session != -1) {
        disk->session = opened->session;
        disk->lock = opened->lock;
        disk->writable = 1;

    } else if (c->set.disks[disk->slot].state == S3_DISK_MEMBER) {

        if (opened->session_error) {
            s3_disk_session_failed(disk);

        } else {
            s3_disk_session_post(disk);
        }
    }

    s3_client_wake(c);
}


static void
s3_disk_open_late(s3_op_t *op)
{
    /* uploads and downloads wait for it no longer */

    op->disk->client->paths[op->disk->path].tried = 1;
    s3_client_wake(op->disk->client);
}


static void
s3_disk_failed(s3_disk_t *disk, int error)
{
    s3_path_t    *path;
    s3_client_t  *c;

    c = disk->client;
    path = &c->paths[disk->path];

    if (path->error != error) {
        path->error = error;
        s3_client_log(c, S3_LOG_WARN, "store \"%s\": disk \"%s\" cannot be "
                      "opened (%d: %s)", c->conf->name,
                      c->conf->disks[disk->path], error,
                      error == EEXIST ? "the same disk twice"
                      : error == ENODEV ? "not of the set, or not in use"
                      : strerror(error));
    }

    path->retry = s3_now() + S3_DISK_RETRY;
    path->tried = 1;

    s3_disk_drop(disk);
    s3_client_wake(c);
}


static void
s3_disk_session_post(s3_disk_t *disk)
{
    disk->opening = 1;
    disk->open.run = s3_disk_session;
    disk->open.done = s3_disk_session_done;
    disk->open.late = s3_disk_open_late;

    (void) s3_disk_post(disk, S3_LANE_SESSION, &disk->open, 1);
}


static void
s3_disk_session(s3_op_t *op)
{
    s3_disk_t *disk = op->disk;

    /* descriptors of a session that was lost stay open: operations on them
     * may be running, and a number must not become another directory's */

    disk->opened.session_error = s3_disk_session_open(disk, disk->root);
}


static void
s3_disk_session_done(s3_op_t *op)
{
    s3_disk_t    *disk = op->disk;
    s3_client_t  *c = disk->client;
    s3_opened_t  *opened = &disk->opened;

    disk->opening = 0;

    if (disk->dropped) {
        return;
    }

    if (opened->session_error) {
        s3_disk_session_failed(disk);

    } else {
        disk->session = opened->session;
        disk->lock = opened->lock;
        disk->writable = 1;
        disk->session_by = 0;
    }

    s3_client_wake(c);
}


/*
 * Where the lock is held it is most often by the instance before this one,
 * whose last thread is just about to end: uploads wait for it, but not for a
 * hung one.
 */

static void
s3_disk_session_failed(s3_disk_t *disk)
{
    uint64_t  now;

    now = s3_now();

    if (disk->opened.session_error != EAGAIN) {
        s3_disk_error(disk, disk->opened.session_error, "tmp/SESSION");
        disk->session_next = now + S3_DISK_RETRY;
        disk->session_by = now;

        return;
    }

    if (disk->session_by == 0) {
        disk->session_by = now + disk->client->conf->late;
    }

    disk->session_next = now + (now < disk->session_by ? S3_SESSION_RETRY
                                                       : S3_DISK_RETRY);
}


/*
 * Makes tmp/SESSION, or takes it over from the disk's instance before this
 * one, when that has ended: EAGAIN until then.  The lock is taken before the
 * directory gets its name (ruling 4).  On the disk's thread.
 */

static int
s3_disk_session_open(s3_disk_t *disk, int root)
{
    int           tmp, dir, lock, err;
    char          temp[40];
    const char   *name;

    name = disk->session_text;
    (void) snprintf(temp, sizeof(temp), ".%s.new", name);

    tmp = s3_door->openat(root, "tmp",
                          O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, 0);
    if (tmp == -1) {
        return errno;
    }

    err = 0;
    lock = -1;

    dir = s3_door->openat(tmp, name,
                          O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, 0);

    if (dir != -1) {
        err = s3_disk_session_lock(dir, 0, &lock);
        goto done;
    }

    if (errno != ENOENT) {
        err = errno;
        goto done;
    }

    if (s3_door->mkdirat(tmp, temp, 0700) == -1 && errno != EEXIST) {
        err = errno;
        goto done;
    }

    dir = s3_door->openat(tmp, temp,
                          O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, 0);
    if (dir == -1) {
        err = errno;
        goto done;
    }

    err = s3_disk_session_lock(dir, O_CREAT, &lock);

    if (err == 0 && s3_door->renameat(tmp, temp, tmp, name) == -1) {
        err = errno;
    }

    /* a shard is durable only with all the names above it */

    if (err == 0
        && (s3_door->fsync(dir) == -1 || s3_door->fsync(tmp) == -1))
    {
        err = errno;
    }

done:

    if (err && lock != -1) {
        (void) s3_door->close(lock);
    }

    if (err && dir != -1) {
        (void) s3_door->close(dir);
    }

    if (err == 0) {
        disk->opened.session = dir;
        disk->opened.lock = lock;
    }

    (void) s3_door->close(tmp);

    return err;
}


static int
s3_disk_session_lock(int dir, int flags, int *lock)
{
    int          err;
    struct stat  st;

    *lock = s3_door->openat(dir, "lock", O_RDWR|O_NOFOLLOW|O_CLOEXEC|flags,
                            0600);

    if (*lock == -1) {

        /* a cleaner is at it */

        return errno == ENOENT ? EAGAIN : errno;
    }

    err = 0;

    if (s3_door->flock(*lock, LOCK_EX|LOCK_NB) == -1
        || s3_door->fstat(*lock, &st) == -1)
    {
        err = (errno == EWOULDBLOCK) ? EAGAIN : errno;

    } else if (st.st_nlink == 0) {
        err = EAGAIN;
    }

    if (err) {
        (void) s3_door->close(*lock);
        *lock = -1;
    }

    return err;
}


/* operations */


int
s3_disk_post(s3_disk_t *disk, unsigned lane, s3_op_t *op, int must)
{
    s3_client_t  *c;

    c = disk->client;

    op->disk = disk;
    op->lane = lane;
    op->is_late = 0;
    op->next = NULL;
    atomic_store(&op->started, 0);

    op->task.loop = c->loop;
    op->task.run = s3_op_run;
    op->task.done = s3_op_done;
    op->task.error = 0;
    op->task.posted = s3_now();

    if (s3_pool_post(disk->pool, lane, &op->task)) {

        if (!must) {
            return EAGAIN;
        }

        op->next = disk->backlog;
        disk->backlog = op;
    }

    disk->refs++;
    c->out_there++;
    s3_link_add(&disk->ops, &op->link);

    return 0;
}


static void
s3_op_run(s3_task_t *task)
{
    s3_op_t *op = (s3_op_t *) task;

    atomic_store(&op->started, s3_now());

    op->run(op);
}


static void
s3_op_done(s3_task_t *task)
{
    s3_op_t *op = (s3_op_t *) task;

    s3_op_t      *next;
    s3_disk_t    *disk;
    s3_client_t  *c;

    disk = op->disk;
    c = disk->client;

    s3_link_remove(&op->link);
    c->out_there--;
    disk->last_done = s3_now();

    if (op->is_late) {
        disk->nlate--;
    }

    while (disk->backlog != NULL) {
        next = disk->backlog;
        disk->backlog = next->next;

        if (s3_pool_post(disk->pool, next->lane, &next->task)) {
            next->next = disk->backlog;
            disk->backlog = next;
            break;
        }
    }

    op->done(op);

    /* the operation may be gone, or be out again */

    s3_disk_unref(disk);
}


void
s3_disk_error(s3_disk_t *disk, int error, const char *what)
{
    uint64_t      now;
    s3_client_t  *c;

    c = disk->client;

    switch (error) {

    case 0:
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EINVAL:
        return;

    case EBADMSG:
        break;

    default:
        now = s3_now();

        if (disk->dropped || !disk->bound
            || (disk->reported && now < disk->reported + S3_DISK_REPORT))
        {
            return;
        }

        disk->reported = now;
        s3_client_send_disk(c, disk, error);
        break;
    }

    s3_client_log(c, S3_LOG_ERR, "store \"%s\": disk \"%s\": %s failed "
                  "(%d: %s)", c->conf->name, c->conf->disks[disk->path], what,
                  error, strerror(error));
}
