
#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* fallocate(), sync_file_range(), O_PATH */
#endif

#include "s3_door.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_openat2
#include <linux/openat2.h>
#endif


#define S3_DOOR_PATH  256        /* tmp/SESSION/ID has 69 bytes */


static int s3_door_openat(int dir, const char *name, int flags, mode_t mode);
static int s3_door_walk(int dir, const char *name, int flags, mode_t mode);
static int s3_door_fstatat(int dir, const char *name, struct stat *st,
    int flags);
static int s3_door_renameat(int olddir, const char *oldname, int newdir,
    const char *newname);
static int s3_door_unlinkat(int dir, const char *name, int flags);
static int s3_door_mkdirat(int dir, const char *name, mode_t mode);
static int s3_door_parent(int dir, const char **name);
static void s3_door_leave(int parent, int dir);
static int s3_door_list(int dir, s3_door_name_pt name, void *data);


const s3_door_t  s3_door_system = {
    .openat = s3_door_openat,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .sync_file_range = sync_file_range,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .fstat = fstat,
    .fstatat = s3_door_fstatat,
    .fstatvfs = fstatvfs,
    .renameat = s3_door_renameat,
    .unlinkat = s3_door_unlinkat,
    .mkdirat = s3_door_mkdirat,
    .flock = flock,
    .list = s3_door_list
};

const s3_door_t  *s3_door = &s3_door_system;


/*
 * O_CLOEXEC: nginx executes a new binary at USR2, which must not inherit a
 * disk's lock.  O_NOCTTY: a disk's directory is the operator's, what lies in
 * it may be anything.
 *
 * No link is followed below a disk's directory, in none of a name's parts:
 * what lies on a disk must not lead off it.  A path that was configured
 * (AT_FDCWD) may have some.
 */

static int
s3_door_openat(int dir, const char *name, int flags, mode_t mode)
{
    /* openat2() takes no flag that it has no use for */

    flags |= (flags & O_PATH) ? O_CLOEXEC : O_CLOEXEC|O_NOCTTY;

    if (dir == AT_FDCWD) {
        return openat(dir, name, flags, mode);
    }

#ifdef SYS_openat2
    {
        long             fd;
        struct open_how  how;

        memset(&how, 0, sizeof(struct open_how));
        how.flags = (unsigned) flags;
        how.mode = (flags & O_CREAT) ? mode : 0;
        how.resolve = RESOLVE_NO_SYMLINKS|RESOLVE_BENEATH;

        fd = syscall(SYS_openat2, dir, name, &how, sizeof(struct open_how));

        /* since Linux 5.6; filters of containers may say EPERM for calls
         * that they do not know */

        if (fd != -1 || (errno != ENOSYS && errno != EPERM)) {
            return (int) fd;
        }
    }
#endif

    return s3_door_walk(dir, name, flags, mode);
}


/* the same by a call for each part of the name */

static int
s3_door_walk(int dir, const char *name, int flags, mode_t mode)
{
    int          fd, next;
    char         part[S3_DOOR_PATH];
    size_t       n;
    const char  *p;

    fd = dir;

    while ((p = strchr(name, '/')) != NULL) {
        n = p - name;

        if (n == 0 || n >= sizeof(part)) {
            s3_door_leave(fd, dir);
            errno = EINVAL;
            return -1;
        }

        memcpy(part, name, n);
        part[n] = '\0';

        next = openat(fd, part, O_PATH|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        s3_door_leave(fd, dir);

        if (next == -1) {
            return -1;
        }

        fd = next;
        name = p + 1;
    }

    next = openat(fd, name, flags|O_NOFOLLOW, mode);
    s3_door_leave(fd, dir);

    return next;
}


/* these take the last part of a name as it is, whatever it is */

static int
s3_door_fstatat(int dir, const char *name, struct stat *st, int flags)
{
    int  rc, parent;

    parent = s3_door_parent(dir, &name);
    if (parent == -1) {
        return -1;
    }

    if (dir != AT_FDCWD) {
        flags |= AT_SYMLINK_NOFOLLOW;
    }

    rc = fstatat(parent, name, st, flags);
    s3_door_leave(parent, dir);

    return rc;
}


static int
s3_door_renameat(int olddir, const char *oldname, int newdir,
    const char *newname)
{
    int  rc, from, to;

    from = s3_door_parent(olddir, &oldname);
    if (from == -1) {
        return -1;
    }

    to = s3_door_parent(newdir, &newname);
    if (to == -1) {
        s3_door_leave(from, olddir);
        return -1;
    }

    rc = renameat(from, oldname, to, newname);
    s3_door_leave(to, newdir);
    s3_door_leave(from, olddir);

    return rc;
}


static int
s3_door_unlinkat(int dir, const char *name, int flags)
{
    int  rc, parent;

    parent = s3_door_parent(dir, &name);
    if (parent == -1) {
        return -1;
    }

    rc = unlinkat(parent, name, flags);
    s3_door_leave(parent, dir);

    return rc;
}


static int
s3_door_mkdirat(int dir, const char *name, mode_t mode)
{
    int  rc, parent;

    parent = s3_door_parent(dir, &name);
    if (parent == -1) {
        return -1;
    }

    rc = mkdirat(parent, name, mode);
    s3_door_leave(parent, dir);

    return rc;
}


/*
 * The directory of the name's last part, and that part: a descriptor to be
 * given to s3_door_leave(), or -1 with errno.
 */

static int
s3_door_parent(int dir, const char **name)
{
    char         path[S3_DOOR_PATH];
    size_t       n;
    const char  *p;

    p = strrchr(*name, '/');

    if (dir == AT_FDCWD || p == NULL) {
        return dir;
    }

    n = p - *name;

    if (n >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }

    memcpy(path, *name, n);
    path[n] = '\0';

    *name = p + 1;

    return s3_door_openat(dir, path, O_PATH|O_DIRECTORY, 0);
}


/* errno stays */

static void
s3_door_leave(int parent, int dir)
{
    int  err;

    if (parent != dir) {
        err = errno;
        (void) close(parent);
        errno = err;
    }
}


static int
s3_door_list(int dir, s3_door_name_pt name, void *data)
{
    int             fd, rc, err;
    DIR            *d;
    struct dirent  *entry;

    /* a descriptor of its own: dir's file offset is shared by its threads */

    fd = openat(dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    d = fdopendir(fd);
    if (d == NULL) {
        err = errno;
        (void) close(fd);
        errno = err;
        return -1;
    }

    rc = 0;

    for ( ;; ) {
        errno = 0;

        entry = readdir(d);
        if (entry == NULL) {
            rc = errno ? -1 : 0;
            break;
        }

        if (strcmp(entry->d_name, ".") == 0
            || strcmp(entry->d_name, "..") == 0)
        {
            continue;
        }

        if (name(data, entry->d_name)) {
            break;
        }
    }

    err = errno;
    (void) closedir(d);
    errno = err;

    return rc;
}


int
s3_door_read_all(int fd, void *buf, size_t size, off_t offset)
{
    char     *p;
    ssize_t   n;

    p = buf;

    while (size) {
        n = s3_door->pread(fd, p, size, offset);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return -1;
        }

        if (n == 0) {
            errno = EIO;
            return -1;
        }

        p += n;
        size -= n;
        offset += n;
    }

    return 0;
}


int
s3_door_write_all(int fd, const void *buf, size_t size, off_t offset)
{
    ssize_t      n;
    const char  *p;

    p = buf;

    while (size) {
        n = s3_door->pwrite(fd, p, size, offset);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return -1;
        }

        /* not an answer pwrite() gives; it would loop for ever */

        if (n == 0) {
            errno = EIO;
            return -1;
        }

        p += n;
        size -= n;
        offset += n;
    }

    return 0;
}
