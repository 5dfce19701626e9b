
/* The recording half of s3_powercut.h. */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_powercut_internal.h"
#include "s3_door.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/* linked into every unit test, and not all of them have the store */

#pragma weak s3_door
#pragma weak s3_door_system


static s3_powercut_t    *powercut;
static pthread_mutex_t   powercut_mutex = PTHREAD_MUTEX_INITIALIZER;
static const s3_door_t  *powercut_before;


static void powercut_fail(const char *what, const char *name);
static int powercut_scan(int fd, int disk, int dir);
static int powercut_read_base(int dir, const char *name,
    powercut_node_t *node);
static int powercut_node_new(int disk, int is_dir, const struct stat *st);
static int powercut_node_of(const struct stat *st);
static int powercut_node_fd(int fd);
static int powercut_parent(int dir, const char *path, const char **name);
static int powercut_entry(int dir, const char *name);
static powercut_event_t *powercut_add(s3_powercut_call_e call, int disk);
static void powercut_file_event(int node);
static char *powercut_path(int entry);
static void powercut_name_event(s3_powercut_call_e call, int entry,
    int entry2, int node);
static void powercut_truncated(int node, uint64_t size);
static void *powercut_grow(void *p, size_t n, size_t *max, size_t size);


/* --- the recording door --- */

static int
powercut_openat(int dir, const char *name, int flags, mode_t mode)
{
    int          fd, parent, entry, node, existed;
    const char  *last;
    struct stat  st;

    if (!(flags & (O_CREAT|O_TRUNC))) {
        return s3_door_system.openat(dir, name, flags, mode);
    }

    if ((flags & O_TMPFILE) == O_TMPFILE) {
        powercut_fail("a file without a name", name);
    }

    pthread_mutex_lock(&powercut_mutex);

    existed = fstatat(dir, name, &st, 0) == 0;

    fd = s3_door_system.openat(dir, name, flags, mode);
    if (fd == -1) {
        goto done;
    }

    if (existed) {
        node = powercut_node_fd(fd);

        if ((flags & O_TRUNC) && node != S3_NO_NODE) {
            powercut_truncated(node, 0);
        }

        goto done;
    }

    if (fstat(fd, &st) == -1) {
        abort();
    }

    /* the number may have been that of a file that is gone */

    node = powercut_node_of(&st);

    if (node != S3_NO_NODE) {
        powercut->nodes[node].ino = 0;
    }

    parent = powercut_parent(dir, name, &last);

    if (parent != S3_NO_NODE) {
        entry = powercut_entry(parent, last);
        node = powercut_node_new(powercut->nodes[parent].disk, 0, &st);
        powercut_name_event(S3_POWERCUT_CREATE, entry, S3_NO_ENTRY, node);
    }

done:

    pthread_mutex_unlock(&powercut_mutex);

    return fd;
}


static ssize_t
powercut_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    int                err, node;
    ssize_t            n;
    powercut_event_t  *e;

    pthread_mutex_lock(&powercut_mutex);

    n = s3_door_system.pwrite(fd, buf, size, offset);
    err = errno;

    if (n > 0) {
        node = powercut_node_fd(fd);

        if (node != S3_NO_NODE) {
            e = powercut_add(S3_POWERCUT_WRITE, powercut->nodes[node].disk);
            e->node = node;
            e->event.text = powercut_path(powercut->nodes[node].entry);
            e->event.offset = offset;
            e->event.len = n;
            e->data = powercut_alloc(n);
            memcpy(e->data, buf, n);
            powercut_file_event(node);
        }
    }

    pthread_mutex_unlock(&powercut_mutex);

    errno = err;

    return n;
}


static int
powercut_sync(int fd)
{
    int                err, node;
    powercut_event_t  *e;
    powercut_node_t   *n;

    pthread_mutex_lock(&powercut_mutex);

    /* errors of a descriptor that is none are the system's */

    node = powercut_node_fd(fd);

    if (node == S3_NO_NODE) {
        pthread_mutex_unlock(&powercut_mutex);
        err = s3_door_system.fsync(fd);
        return err;
    }

    n = &powercut->nodes[node];

    e = powercut_add(n->is_dir ? S3_POWERCUT_SYNC_DIR : S3_POWERCUT_SYNC,
                     n->disk);
    e->node = node;
    e->event.text = powercut_path(n->entry);

    if (!n->is_dir) {
        powercut_file_event(node);
    }

    pthread_mutex_unlock(&powercut_mutex);

    return 0;
}


static int
powercut_ftruncate(int fd, off_t size)
{
    int  rc, err, node;

    pthread_mutex_lock(&powercut_mutex);

    rc = s3_door_system.ftruncate(fd, size);
    err = errno;

    if (rc == 0) {
        node = powercut_node_fd(fd);

        if (node != S3_NO_NODE) {
            powercut_truncated(node, size);
        }
    }

    pthread_mutex_unlock(&powercut_mutex);

    errno = err;

    return rc;
}


static int
powercut_fallocate(int fd, int mode, off_t offset, off_t size)
{
    int          rc, err, node;
    struct stat  st;

    /* holes and zeros would be writes */

    if (mode & ~FALLOC_FL_KEEP_SIZE) {
        powercut_fail("fallocate()", "a mode that changes bytes");
    }

    pthread_mutex_lock(&powercut_mutex);

    if (fstat(fd, &st) == -1) {
        st.st_size = 0;
    }

    rc = s3_door_system.fallocate(fd, mode, offset, size);
    err = errno;

    if (rc == 0 && mode == 0 && offset + size > st.st_size) {
        node = powercut_node_fd(fd);

        if (node != S3_NO_NODE) {
            powercut_truncated(node, offset + size);
        }
    }

    pthread_mutex_unlock(&powercut_mutex);

    errno = err;

    return rc;
}


static int
powercut_renameat(int olddir, const char *oldname, int newdir,
    const char *newname)
{
    int          rc, err, from, to, entry, entry2, node;
    const char  *last, *last2;
    struct stat  st, st2;

    pthread_mutex_lock(&powercut_mutex);

    from = powercut_parent(olddir, oldname, &last);
    to = powercut_parent(newdir, newname, &last2);

    if (fstatat(olddir, oldname, &st, AT_SYMLINK_NOFOLLOW) == -1) {
        st.st_ino = 0;
    }

    if (fstatat(newdir, newname, &st2, AT_SYMLINK_NOFOLLOW) == -1) {
        st2.st_ino = 0;
    }

    rc = s3_door_system.renameat(olddir, oldname, newdir, newname);
    err = errno;

    if (rc == 0 && (from != S3_NO_NODE || to != S3_NO_NODE)) {

        /* into a disk or out of it: nothing that can be replayed */

        if (from == S3_NO_NODE || to == S3_NO_NODE
            || powercut->nodes[from].disk != powercut->nodes[to].disk)
        {
            powercut_fail("renamed into a disk or out of it", oldname);
        }

        entry = powercut_entry(from, last);
        entry2 = powercut_entry(to, last2);
        node = powercut->entries[entry].now;

        if (node == S3_NO_NODE) {
            powercut_fail("was not made through the door", oldname);
        }

        /* two names of one file: rename() does nothing */

        if (entry != entry2
            && (st2.st_ino == 0 || st2.st_ino != st.st_ino))
        {
            powercut_name_event(S3_POWERCUT_RENAME, entry, entry2, node);
        }
    }

    pthread_mutex_unlock(&powercut_mutex);

    errno = err;

    return rc;
}


static int
powercut_unlinkat(int dir, const char *name, int flags)
{
    int          rc, err, parent, entry;
    const char  *last;

    pthread_mutex_lock(&powercut_mutex);

    parent = powercut_parent(dir, name, &last);

    rc = s3_door_system.unlinkat(dir, name, flags);
    err = errno;

    if (rc == 0 && parent != S3_NO_NODE) {
        entry = powercut_entry(parent, last);
        powercut_name_event(S3_POWERCUT_UNLINK, entry, S3_NO_ENTRY,
                            S3_NO_NODE);
    }

    pthread_mutex_unlock(&powercut_mutex);

    errno = err;

    return rc;
}


static int
powercut_mkdirat(int dir, const char *name, mode_t mode)
{
    int          rc, err, parent, entry, node;
    const char  *last;
    struct stat  st;

    pthread_mutex_lock(&powercut_mutex);

    rc = s3_door_system.mkdirat(dir, name, mode);
    err = errno;

    if (rc == 0) {
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
            abort();
        }

        node = powercut_node_of(&st);

        if (node != S3_NO_NODE) {
            powercut->nodes[node].ino = 0;
        }

        parent = powercut_parent(dir, name, &last);

        if (parent != S3_NO_NODE) {
            entry = powercut_entry(parent, last);
            node = powercut_node_new(powercut->nodes[parent].disk, 1, &st);
            powercut_name_event(S3_POWERCUT_MKDIR, entry, S3_NO_ENTRY, node);
        }
    }

    pthread_mutex_unlock(&powercut_mutex);

    errno = err;

    return rc;
}


static s3_door_t  powercut_door = {
    .openat = powercut_openat,
    .pwrite = powercut_pwrite,
    .fdatasync = powercut_sync,
    .fsync = powercut_sync,
    .ftruncate = powercut_ftruncate,
    .fallocate = powercut_fallocate,
    .renameat = powercut_renameat,
    .unlinkat = powercut_unlinkat,
    .mkdirat = powercut_mkdirat
};


/* what the recorder cannot record must not pass for recorded */

static void
powercut_fail(const char *what, const char *name)
{
    fprintf(stderr, "s3_powercut: %s: %s\n", what, name);
    abort();
}


/* --- recording --- */

void
s3_powercut_start(void)
{
    if (powercut != NULL) {
        abort();
    }

    powercut = powercut_alloc(sizeof(s3_powercut_t));
    memset(powercut, 0, sizeof(s3_powercut_t));

    powercut_door.close = s3_door_system.close;
    powercut_door.pread = s3_door_system.pread;

    /* it makes nothing durable, whatever has reached the disk by then */

    powercut_door.sync_file_range = s3_door_system.sync_file_range;
    powercut_door.fstat = s3_door_system.fstat;
    powercut_door.fstatat = s3_door_system.fstatat;
    powercut_door.fstatvfs = s3_door_system.fstatvfs;
    powercut_door.flock = s3_door_system.flock;
    powercut_door.list = s3_door_system.list;

    powercut_before = s3_door;
    s3_door = &powercut_door;
}


int
s3_powercut_disk(const char *path)
{
    int          fd, rc, disk, node;
    struct stat  st;

    pthread_mutex_lock(&powercut_mutex);

    disk = powercut->ndisks;

    if (disk == S3_POWERCUT_MAX_DISKS) {
        abort();
    }

    rc = -1;

    fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd != -1 && fstat(fd, &st) == 0) {
        node = powercut_node_new(disk, 1, &st);
        powercut->roots[disk] = node;
        powercut->ndisks++;

        rc = powercut_scan(fd, disk, node);
    }

    if (fd != -1) {
        (void) close(fd);
    }

    pthread_mutex_unlock(&powercut_mutex);

    return rc == -1 ? -1 : disk;
}


void
s3_powercut_mark(const char *fmt, ...)
{
    char              *text;
    va_list            args;
    powercut_event_t  *e;

    va_start(args, fmt);

    if (vasprintf(&text, fmt, args) == -1) {
        abort();
    }

    va_end(args);

    pthread_mutex_lock(&powercut_mutex);

    if (powercut != NULL) {
        e = powercut_add(S3_POWERCUT_MARK, -1);
        e->event.text = text;

    } else {
        free(text);
    }

    pthread_mutex_unlock(&powercut_mutex);
}


s3_powercut_t *
s3_powercut_stop(void)
{
    s3_powercut_t  *log;

    pthread_mutex_lock(&powercut_mutex);

    log = powercut;
    powercut = NULL;
    s3_door = powercut_before;

    pthread_mutex_unlock(&powercut_mutex);

    return log;
}


void
s3_powercut_free(s3_powercut_t *log)
{
    size_t  i;

    for (i = 0; i < log->nnodes; i++) {
        free(log->nodes[i].base);
        free(log->nodes[i].events);
    }

    for (i = 0; i < log->nentries; i++) {
        free(log->entries[i].name);
    }

    for (i = 0; i < log->nevents; i++) {
        free((char *) log->events[i].event.text);
        free((char *) log->events[i].event.text2);
        free(log->events[i].data);
    }

    free(log->nodes);
    free(log->entries);
    free(log->events);
    free(log);
}


/* what is in the directory now, and below it */

static int
powercut_scan(int fd, int disk, int dir)
{
    int             rc, sub, entry, node, copy;
    DIR            *d;
    struct stat     st;
    struct dirent  *de;

    copy = openat(fd, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (copy == -1) {
        return -1;
    }

    d = fdopendir(copy);
    if (d == NULL) {
        (void) close(copy);
        return -1;
    }

    rc = 0;

    while (rc == 0 && (de = readdir(d)) != NULL) {

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) {
            continue;
        }

        if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
            rc = -1;
            break;
        }

        entry = powercut_entry(dir, de->d_name);
        node = powercut_node_new(disk, S_ISDIR(st.st_mode) != 0, &st);

        powercut->entries[entry].base = node;
        powercut->entries[entry].now = node;
        powercut->nodes[node].entry = entry;

        if (S_ISDIR(st.st_mode)) {
            sub = openat(fd, de->d_name, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
            if (sub == -1) {
                rc = -1;
                break;
            }

            rc = powercut_scan(sub, disk, node);
            (void) close(sub);

        } else if (S_ISREG(st.st_mode)) {
            rc = powercut_read_base(fd, de->d_name, &powercut->nodes[node]);

        } else {
            errno = EINVAL;
            rc = -1;
        }
    }

    (void) closedir(d);

    return rc;
}


static int
powercut_read_base(int dir, const char *name, powercut_node_t *node)
{
    int          fd, rc;
    size_t       done;
    ssize_t      n;
    struct stat  st;

    fd = openat(dir, name, O_RDONLY|O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    rc = fstat(fd, &st);

    if (rc == 0) {
        node->size = st.st_size;
        node->base = powercut_alloc(node->size);

        for (done = 0; done < node->size; done += n) {
            n = pread(fd, node->base + done, node->size - done, done);

            if (n <= 0) {
                rc = -1;
                break;
            }
        }
    }

    (void) close(fd);

    return rc;
}


static int
powercut_node_new(int disk, int is_dir, const struct stat *st)
{
    powercut_node_t  *n;

    powercut->nodes = powercut_grow(powercut->nodes, powercut->nnodes,
                                    &powercut->max_nodes,
                                    sizeof(powercut_node_t));

    n = &powercut->nodes[powercut->nnodes];
    memset(n, 0, sizeof(powercut_node_t));

    n->disk = disk;
    n->is_dir = is_dir;
    n->dev = st->st_dev;
    n->ino = st->st_ino;
    n->entry = S3_NO_ENTRY;
    n->first = S3_NO_ENTRY;

    return (int) powercut->nnodes++;
}


static int
powercut_node_of(const struct stat *st)
{
    size_t  i;

    /* threads that go on after s3_powercut_stop() */

    if (powercut == NULL) {
        return S3_NO_NODE;
    }

    /* the newest are asked for most */

    for (i = powercut->nnodes; i > 0; i--) {
        if (powercut->nodes[i - 1].ino == st->st_ino
            && powercut->nodes[i - 1].dev == st->st_dev)
        {
            return (int) (i - 1);
        }
    }

    return S3_NO_NODE;
}


static int
powercut_node_fd(int fd)
{
    struct stat  st;

    return fstat(fd, &st) == -1 ? S3_NO_NODE : powercut_node_of(&st);
}


/* the directory a path's last name stands in */

static int
powercut_parent(int dir, const char *path, const char **name)
{
    int          rc;
    char        *upper;
    struct stat  st;
    const char  *slash;

    slash = strrchr(path, '/');

    if (slash == NULL) {
        *name = path;

        rc = (dir == AT_FDCWD) ? stat(".", &st) : fstat(dir, &st);

        return rc == -1 ? S3_NO_NODE : powercut_node_of(&st);
    }

    *name = slash + 1;

    upper = strndup(path, slash - path + 1);
    if (upper == NULL) {
        abort();
    }

    rc = fstatat(dir, upper, &st, 0);
    free(upper);

    return rc == -1 ? S3_NO_NODE : powercut_node_of(&st);
}


static int
powercut_entry(int dir, const char *name)
{
    int                i;
    powercut_entry_t  *e;

    for (i = powercut->nodes[dir].first; i != S3_NO_ENTRY; i = e->next) {
        e = &powercut->entries[i];

        if (strcmp(e->name, name) == 0) {
            return i;
        }
    }

    powercut->entries = powercut_grow(powercut->entries, powercut->nentries,
                                      &powercut->max_entries,
                                      sizeof(powercut_entry_t));

    e = &powercut->entries[powercut->nentries];

    e->dir = dir;
    e->next = powercut->nodes[dir].first;
    e->name = strdup(name);
    e->base = S3_NO_NODE;
    e->now = S3_NO_NODE;

    if (e->name == NULL) {
        abort();
    }

    powercut->nodes[dir].first = (int) powercut->nentries;

    return (int) powercut->nentries++;
}


static powercut_event_t *
powercut_add(s3_powercut_call_e call, int disk)
{
    powercut_event_t  *e;

    powercut->events = powercut_grow(powercut->events, powercut->nevents,
                                     &powercut->max_events,
                                     sizeof(powercut_event_t));

    e = &powercut->events[powercut->nevents++];
    memset(e, 0, sizeof(powercut_event_t));

    e->event.call = call;
    e->event.disk = disk;
    e->node = S3_NO_NODE;
    e->entry = S3_NO_ENTRY;
    e->entry2 = S3_NO_ENTRY;

    return e;
}


/* the event added last is the file's */

static void
powercut_file_event(int node)
{
    powercut_node_t  *n;

    n = &powercut->nodes[node];

    n->events = powercut_grow(n->events, n->nevents, &n->max,
                              sizeof(size_t));
    n->events[n->nevents++] = powercut->nevents - 1;
}


/* for people */

static char *
powercut_path(int entry)
{
    int                dir;
    char              *path, *upper;
    powercut_entry_t  *e;

    if (entry == S3_NO_ENTRY) {
        path = strdup(".");

    } else {
        e = &powercut->entries[entry];
        dir = powercut->nodes[e->dir].entry;

        if (dir == S3_NO_ENTRY) {
            path = strdup(e->name);

        } else {
            upper = powercut_path(dir);

            if (asprintf(&path, "%s/%s", upper, e->name) == -1) {
                abort();
            }

            free(upper);
        }
    }

    if (path == NULL) {
        abort();
    }

    return path;
}


static void
powercut_name_event(s3_powercut_call_e call, int entry, int entry2, int node)
{
    int                dir;
    powercut_event_t  *e;

    dir = powercut->entries[entry].dir;

    e = powercut_add(call, powercut->nodes[dir].disk);
    e->node = node;
    e->entry = entry;
    e->entry2 = entry2;
    e->event.text = powercut_path(entry);

    powercut->entries[entry].now = (call == S3_POWERCUT_CREATE
                                    || call == S3_POWERCUT_MKDIR)
                                   ? node : S3_NO_NODE;

    if (call == S3_POWERCUT_RENAME) {
        e->event.text2 = powercut_path(entry2);
        powercut->entries[entry2].now = node;
        entry = entry2;
    }

    if (node != S3_NO_NODE) {
        powercut->nodes[node].entry = entry;
    }
}


static void
powercut_truncated(int node, uint64_t size)
{
    powercut_event_t  *e;

    e = powercut_add(S3_POWERCUT_TRUNCATE, powercut->nodes[node].disk);
    e->node = node;
    e->event.text = powercut_path(powercut->nodes[node].entry);
    e->event.offset = size;

    powercut_file_event(node);
}


/* --- looking at a log --- */

size_t
s3_powercut_length(const s3_powercut_t *log)
{
    return log->nevents;
}


void
s3_powercut_event(const s3_powercut_t *log, size_t i,
    s3_powercut_event_t *event)
{
    if (i >= log->nevents) {
        abort();
    }

    *event = log->events[i].event;
}


size_t
s3_powercut_points(const s3_powercut_t *log, int disk, size_t *points)
{
    size_t  i, n;

    n = 0;
    points[n++] = 0;

    for (i = 0; i < log->nevents; i++) {
        if (log->events[i].event.disk == disk) {
            points[n++] = i + 1;
        }
    }

    return n;
}


void
s3_powercut_print(const s3_powercut_t *log, size_t from, size_t to, FILE *out)
{
    size_t                      i;
    const s3_powercut_event_t  *e;

    static const char  *calls[] = { "mark", "create", "mkdir", "rename",
                                    "unlink", "write", "truncate", "sync",
                                    "sync dir" };

    for (i = from; i < to && i < log->nevents; i++) {
        e = &log->events[i].event;

        if (e->call == S3_POWERCUT_MARK) {
            fprintf(out, "%5zu  -- %s\n", i, e->text);
            continue;
        }

        fprintf(out, "%5zu  disk %d  %-8s  %s", i, e->disk, calls[e->call],
                e->text);

        if (e->call == S3_POWERCUT_RENAME) {
            fprintf(out, " -> %s", e->text2);

        } else if (e->call == S3_POWERCUT_WRITE) {
            fprintf(out, "  %zu bytes at %llu", e->len,
                    (unsigned long long) e->offset);

        } else if (e->call == S3_POWERCUT_TRUNCATE) {
            fprintf(out, "  to %llu", (unsigned long long) e->offset);
        }

        fprintf(out, "\n");
    }
}


static void *
powercut_grow(void *p, size_t n, size_t *max, size_t size)
{
    if (n < *max) {
        return p;
    }

    *max = *max ? *max * 2 : 64;

    p = realloc(p, *max * size);
    if (p == NULL) {
        abort();
    }

    return p;
}
