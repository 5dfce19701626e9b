#ifndef _S3_DOOR_H_INCLUDED_
#define _S3_DOOR_H_INCLUDED_


/*
 * The one door to the disk: every open, read, write, sync, rename and unlink
 * of the store, SQLite's included, is a call through this table.  Tests put
 * another table in its place: to fail the n-th call, to hang, or to record
 * what reached the disk and what was synced, for the power-cut replay.
 *
 * Every function behaves as the system call of its name: it returns -1 (or
 * a short count) and sets errno.  But that no link is followed in any part of
 * a name, unless it is that of AT_FDCWD: ELOOP or ENOTDIR.  Such names have no
 * "..".  Thread: any; a descriptor is valid only on the threads of the disk it
 * was opened on (see s3_pool.h).
 */


#include <sys/types.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <stdint.h>


/* called once a name, "." and ".." left out; non-zero ends the listing */
typedef int (*s3_door_name_pt)(void *data, const char *name);


typedef struct {
    int      (*openat)(int dir, const char *name, int flags, mode_t mode);
    int      (*close)(int fd);
    ssize_t  (*pread)(int fd, void *buf, size_t size, off_t offset);
    ssize_t  (*pwrite)(int fd, const void *buf, size_t size, off_t offset);
    int      (*fdatasync)(int fd);
    int      (*fsync)(int fd);
    int      (*sync_file_range)(int fd, off_t offset, off_t size,
                 unsigned flags);
    int      (*ftruncate)(int fd, off_t size);
    int      (*fallocate)(int fd, int mode, off_t offset, off_t size);
    int      (*fstat)(int fd, struct stat *st);
    int      (*fstatat)(int dir, const char *name, struct stat *st,
                 int flags);
    int      (*fstatvfs)(int fd, struct statvfs *st);
    int      (*renameat)(int olddir, const char *oldname, int newdir,
                 const char *newname);
    int      (*unlinkat)(int dir, const char *name, int flags);
    int      (*mkdirat)(int dir, const char *name, mode_t mode);
    int      (*flock)(int fd, int operation);
    int      (*list)(int dir, s3_door_name_pt name, void *data);
} s3_door_t;


/* the table in use; tests replace it before the first disk is opened */
extern const s3_door_t   *s3_door;

/* the system calls themselves */
extern const s3_door_t    s3_door_system;


/*
 * All of size bytes or an error: the loops around short reads and writes and
 * EINTR.  Return 0, or -1 with errno (a read past the end of the file is EIO:
 * whoever calls it knows how long the file must be).
 */
int s3_door_read_all(int fd, void *buf, size_t size, off_t offset);
int s3_door_write_all(int fd, const void *buf, size_t size, off_t offset);


#endif /* _S3_DOOR_H_INCLUDED_ */
