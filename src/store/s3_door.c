
#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* fallocate() */
#endif

#include "s3_door.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>


static int s3_door_openat(int dir, const char *name, int flags, mode_t mode);
static int s3_door_list(int dir, s3_door_name_pt name, void *data);


const s3_door_t  s3_door_system = {
    .openat = s3_door_openat,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .fstat = fstat,
    .fstatat = fstatat,
    .fstatvfs = fstatvfs,
    .renameat = renameat,
    .unlinkat = unlinkat,
    .mkdirat = mkdirat,
    .flock = flock,
    .list = s3_door_list
};

const s3_door_t  *s3_door = &s3_door_system;


/*
 * O_CLOEXEC: nginx executes a new binary at USR2, which must not inherit a
 * disk's lock.  O_NOCTTY: a disk's directory is the operator's, what lies in
 * it may be anything.
 */

static int
s3_door_openat(int dir, const char *name, int flags, mode_t mode)
{
    return openat(dir, name, flags|O_CLOEXEC|O_NOCTTY, mode);
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
