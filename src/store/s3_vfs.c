/*
 * SQLite's files on a disk: its calls (sqlite3_io_methods) made through the
 * door.  s3_vfs_sum.c has the sums of pages and frames, s3_vfs_lock.c what
 * connections say to each other.
 */


#define _GNU_SOURCE      /* FALLOC_FL_KEEP_SIZE */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "s3_door.h"
#include "s3_vfs_internal.h"


static int s3_vfs_open(sqlite3_vfs *v, const char *name,
    sqlite3_file *file, int flags, int *out);
static int s3_vfs_delete(sqlite3_vfs *v, const char *name, int sync);
static int s3_vfs_access(sqlite3_vfs *v, const char *name, int flags,
    int *result);
static int s3_vfs_full_path(sqlite3_vfs *v, const char *name, int size,
    char *out);
static int s3_vfs_randomness(sqlite3_vfs *v, int size, char *out);
static int s3_vfs_sleep(sqlite3_vfs *v, int us);
static int s3_vfs_time(sqlite3_vfs *v, double *days);
static int s3_vfs_time_ms(sqlite3_vfs *v, sqlite3_int64 *ms);
static int s3_vfs_last_error(sqlite3_vfs *v, int size, char *out);

static int s3_vfs_close(sqlite3_file *file);
static int s3_vfs_read(sqlite3_file *file, void *p, int size,
    sqlite3_int64 offset);
static int s3_vfs_write(sqlite3_file *file, const void *p, int size,
    sqlite3_int64 offset);
static int s3_vfs_truncate(sqlite3_file *file, sqlite3_int64 size);
static int s3_vfs_sync(sqlite3_file *file, int flags);
static int s3_vfs_size(sqlite3_file *file, sqlite3_int64 *size);
static int s3_vfs_control(sqlite3_file *file, int op, void *arg);
static int s3_vfs_sector(sqlite3_file *file);
static int s3_vfs_device(sqlite3_file *file);


static const sqlite3_io_methods  s3_vfs_methods = {
    .iVersion = 2,
    .xClose = s3_vfs_close,
    .xRead = s3_vfs_read,
    .xWrite = s3_vfs_write,
    .xTruncate = s3_vfs_truncate,
    .xSync = s3_vfs_sync,
    .xFileSize = s3_vfs_size,
    .xLock = s3_vfs_lock,
    .xUnlock = s3_vfs_unlock,
    .xCheckReservedLock = s3_vfs_reserved,
    .xFileControl = s3_vfs_control,
    .xSectorSize = s3_vfs_sector,
    .xDeviceCharacteristics = s3_vfs_device,
    .xShmMap = s3_vfs_shm_map,
    .xShmLock = s3_vfs_shm_lock,
    .xShmBarrier = s3_vfs_shm_barrier,
    .xShmUnmap = s3_vfs_shm_unmap
};


static atomic_uint    s3_vfs_number;

/* of the thread's last failing call: SQLite asks (xGetLastError) on the same
 * thread, and connections of one s3_vfs_t run on several */
static _Thread_local int  s3_vfs_errno;


/* remembers a failure; returns what SQLite is told.  A full disk is an
 * answer, not a failure of the disk. */

static int
s3_vfs_fail(s3_vfs_t *vfs, int err, int rc)
{
    int  none;

    s3_vfs_errno = err;

    if (err == ENOSPC || err == EDQUOT) {
        s3_vfs_errno = ENOSPC;
        return SQLITE_FULL;
    }

    none = 0;
    atomic_compare_exchange_strong(&vfs->error, &none, err);

    return rc;
}


/* a drop, and a failed sync: after it the kernel forgets what it could not
 * write, so no later answer of the disk can be believed */

static int
s3_vfs_gone(s3_vfs_t *vfs, int writes)
{
    if (atomic_load(&vfs->dropped)) {
        return EIO;
    }

    return writes ? atomic_load(&vfs->unsynced) : 0;
}


/* whatever a sync's error is, a full disk too, it is the disk's failure: what
 * was given to it before is lost */

static int
s3_vfs_unsynced(s3_vfs_t *vfs, int err)
{
    if (err == 0 || err == ENOSPC || err == EDQUOT) {
        err = EIO;
    }

    atomic_store(&vfs->unsynced, err);

    return err;
}


s3_vfs_t *
s3_vfs_create(int dir)
{
    int        i;
    s3_vfs_t  *vfs;

    vfs = calloc(1, sizeof(s3_vfs_t));
    if (vfs == NULL) {
        return NULL;
    }

    if (pthread_mutex_init(&vfs->mutex, NULL) != 0) {
        free(vfs);
        return NULL;
    }

    for (i = 0; i < S3_VFS_NFILES; i++) {
        atomic_init(&vfs->files[i].fd, -1);
        atomic_init(&vfs->files[i].wfd, -1);
    }

    snprintf(vfs->name, sizeof(vfs->name), "s3-%u",
             atomic_fetch_add(&s3_vfs_number, 1));
    vfs->dir = dir;

    vfs->vfs = (sqlite3_vfs) {
        .iVersion = 2,
        .szOsFile = sizeof(s3_vfs_file_t),
        .mxPathname = S3_VFS_PATH,
        .zName = vfs->name,
        .xOpen = s3_vfs_open,
        .xDelete = s3_vfs_delete,
        .xAccess = s3_vfs_access,
        .xFullPathname = s3_vfs_full_path,
        .xRandomness = s3_vfs_randomness,
        .xSleep = s3_vfs_sleep,
        .xCurrentTime = s3_vfs_time,
        .xGetLastError = s3_vfs_last_error,
        .xCurrentTimeInt64 = s3_vfs_time_ms
    };

    if (sqlite3_vfs_register(&vfs->vfs, 0) != SQLITE_OK) {
        pthread_mutex_destroy(&vfs->mutex);
        free(vfs);
        return NULL;
    }

    return vfs;
}


const char *
s3_vfs_name(s3_vfs_t *vfs)
{
    return vfs->name;
}


void
s3_vfs_drop(s3_vfs_t *vfs)
{
    atomic_store(&vfs->dropped, 1);
}


int
s3_vfs_error(s3_vfs_t *vfs)
{
    return atomic_load(&vfs->error);
}


void
s3_vfs_damaged(s3_vfs_t *vfs)
{
    (void) s3_vfs_fail(vfs, EBADMSG, SQLITE_CORRUPT);
}


void
s3_vfs_destroy(s3_vfs_t *vfs)
{
    int  i;

    if (vfs == NULL) {
        return;
    }

    sqlite3_vfs_unregister(&vfs->vfs);

    for (i = 0; i < S3_VFS_NFILES; i++) {
        assert(vfs->files[i].refs == 0);
    }

    assert(vfs->shm_refs == 0);

    pthread_mutex_destroy(&vfs->mutex);
    free(vfs->frames);
    free(vfs);
}


/* --- files --- */


static int
s3_vfs_kind(const char *name, s3_vfs_kind_e *kind)
{
    size_t  len;

    if (name == NULL || name[0] == '\0' || strchr(name, '/') != NULL) {
        return 0;
    }

    len = strlen(name);

    if (len > 4 && strcmp(name + len - 4, "-wal") == 0) {
        *kind = S3_VFS_WAL;

    } else if (len > 8 && strcmp(name + len - 8, "-journal") == 0) {
        *kind = S3_VFS_JOURNAL;

    } else {
        *kind = S3_VFS_DB;
    }

    return 1;
}


static void
s3_vfs_release(s3_vfs_t *vfs, s3_vfs_inode_t *inode)
{
    int  fd, wfd;

    /* at the last close: a file put in its place later is opened anew */

    fd = atomic_exchange(&inode->fd, -1);
    wfd = atomic_exchange(&inode->wfd, -1);

    if (wfd != -1) {
        (void) s3_door->close(wfd);
    }

    if (fd != -1 && fd != wfd) {
        (void) s3_door->close(fd);
    }

    atomic_store(&inode->entry, 0);
    inode->reserved = 0;

    if (inode == &vfs->files[S3_VFS_WAL]) {
        vfs->nframes = 0;
        vfs->wal_next = 0;
        vfs->max_pgno = 0;
    }
}


/* opens what the connection needs and the file has not; with the mutex held.
 * Returns 0 or errno */

static int
s3_vfs_attach(s3_vfs_t *vfs, s3_vfs_inode_t *inode, const char *name,
    int writer, int create)
{
    int  fd, flags;

    if (writer ? atomic_load(&inode->wfd) != -1
               : atomic_load(&inode->fd) != -1)
    {
        return 0;
    }

    flags = O_CLOEXEC | O_NOFOLLOW | (writer ? O_RDWR : O_RDONLY);

    fd = s3_door->openat(vfs->dir, name, flags, 0);

    if (fd == -1 && errno == ENOENT && create) {
        fd = s3_door->openat(vfs->dir, name, flags | O_CREAT | O_EXCL, 0600);
        if (fd != -1) {
            atomic_store(&inode->entry, 1);
        }
    }

    if (fd == -1) {
        return errno;
    }

    if (writer) {
        atomic_store(&inode->wfd, fd);
    }

    /* a reader's descriptor stays where there is one: others may be in the
     * middle of a read from it */

    if (atomic_load(&inode->fd) == -1) {
        atomic_store(&inode->fd, fd);
    }

    return 0;
}


static int
s3_vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *file,
    int flags, int *out)
{
    int             err, writer, create;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;
    s3_vfs_kind_e   kind;

    vfs = (s3_vfs_t *) v;
    f = (s3_vfs_file_t *) file;

    memset(f, 0, sizeof(s3_vfs_file_t));

    if (!s3_vfs_kind(name, &kind)) {

        /* temporary files have no name, and no place on the disk */

        return s3_vfs_fail(vfs, EINVAL, SQLITE_CANTOPEN);
    }

    if (s3_vfs_gone(vfs, 0)) {
        return s3_vfs_fail(vfs, EIO, SQLITE_CANTOPEN);
    }

    /* SQLite asks for the log to be opened for writing even where the
     * database is not: see sqlite3WalOpen() */

    writer = (flags & SQLITE_OPEN_READWRITE)
             && !sqlite3_uri_boolean(name, "s3_reader", 0);
    create = writer && (flags & SQLITE_OPEN_CREATE);

    pthread_mutex_lock(&vfs->mutex);

    if (kind == S3_VFS_DB && vfs->files[S3_VFS_DB].refs == 0
        && strlen(name) < sizeof(vfs->base))
    {
        strcpy(vfs->base, name);
    }

    /* one database a disk: its descriptors and sums are no other's */

    if (strncmp(name, vfs->base, strlen(vfs->base)) != 0
        || (kind == S3_VFS_DB && strcmp(name, vfs->base) != 0))
    {
        err = EINVAL;

    } else {
        err = s3_vfs_attach(vfs, &vfs->files[kind], name, writer, create);
    }

    if (err == ENOENT && kind == S3_VFS_WAL && !writer) {

        /* an empty log, until a writer of this process makes one */

        err = 0;
    }

    if (err == 0) {
        vfs->files[kind].refs++;
    }

    pthread_mutex_unlock(&vfs->mutex);

    if (err) {
        s3_vfs_errno = err;
        return err == ENOENT ? SQLITE_CANTOPEN
                             : s3_vfs_fail(vfs, err, SQLITE_CANTOPEN);
    }

    f->vfs = vfs;
    f->inode = &vfs->files[kind];
    f->kind = kind;
    f->name = name;
    f->writer = writer;
    f->file.pMethods = &s3_vfs_methods;

    if (out) {
        *out = writer ? flags
                      : (flags & ~(SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE))
                        | SQLITE_OPEN_READONLY;
    }

    return SQLITE_OK;
}


static int
s3_vfs_close(sqlite3_file *file)
{
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    (void) s3_vfs_unlock(file, SQLITE_LOCK_NONE);
    (void) s3_vfs_shm_unmap(file, 0);

    pthread_mutex_lock(&vfs->mutex);

    if (--f->inode->refs == 0) {
        s3_vfs_release(vfs, f->inode);
    }

    pthread_mutex_unlock(&vfs->mutex);

    return SQLITE_OK;
}


static int
s3_vfs_delete(sqlite3_vfs *v, const char *name, int sync)
{
    int        err;
    s3_vfs_t  *vfs;

    vfs = (s3_vfs_t *) v;

    err = s3_vfs_gone(vfs, 1);
    if (err) {
        return s3_vfs_fail(vfs, err, SQLITE_IOERR_DELETE);
    }

    if (s3_door->unlinkat(vfs->dir, name, 0) == -1) {
        if (errno == ENOENT) {
            return SQLITE_IOERR_DELETE_NOENT;
        }

        return s3_vfs_fail(vfs, errno, SQLITE_IOERR_DELETE);
    }

    if (sync && s3_door->fsync(vfs->dir) == -1) {
        err = s3_vfs_unsynced(vfs, errno);
        return s3_vfs_fail(vfs, err, SQLITE_IOERR_DIR_FSYNC);
    }

    return SQLITE_OK;
}


static int
s3_vfs_access(sqlite3_vfs *v, const char *name, int flags, int *result)
{
    s3_vfs_t     *vfs;
    struct stat   st;

    vfs = (s3_vfs_t *) v;

    if (s3_vfs_gone(vfs, 0)) {
        return s3_vfs_fail(vfs, EIO, SQLITE_IOERR_ACCESS);
    }

    if (s3_door->fstatat(vfs->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {

        /* as unixAccess(): an empty journal counts as none */

        *result = flags != SQLITE_ACCESS_EXISTS || st.st_size > 0
                  || !S_ISREG(st.st_mode);
        return SQLITE_OK;
    }

    if (errno != ENOENT) {
        return s3_vfs_fail(vfs, errno, SQLITE_IOERR_ACCESS);
    }

    *result = 0;

    return SQLITE_OK;
}


static int
s3_vfs_full_path(sqlite3_vfs *v, const char *name, int size, char *out)
{
    if (strlen(name) >= (size_t) size) {
        return SQLITE_CANTOPEN;
    }

    /* relative to the disk's directory, as openat() takes it */

    strcpy(out, name);

    return SQLITE_OK;
}


/* --- reading and writing --- */


/* up to size bytes, as many as the file has: their number, or -1 */

static ssize_t
s3_vfs_pread(int fd, uint8_t *p, size_t size, uint64_t offset)
{
    size_t   got;
    ssize_t  n;

    got = 0;

    while (got < size) {
        n = s3_door->pread(fd, p + got, size - got, (off_t) (offset + got));

        if (n == 0) {
            break;
        }

        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }

            return -1;
        }

        got += (size_t) n;
    }

    return (ssize_t) got;
}


/* any part of a page is read with its whole page, and verified */

static int
s3_vfs_read_db(s3_vfs_file_t *f, uint8_t *p, size_t size, uint64_t offset)
{
    int          fd;
    size_t       from, n;
    ssize_t      got;
    uint8_t      page[S3_VFS_PAGE];
    uint8_t     *to;
    uint64_t     pgno;
    struct stat  st;

    fd = atomic_load(&f->inode->fd);

    while (size) {
        pgno = offset / S3_VFS_PAGE;
        from = (size_t) (offset % S3_VFS_PAGE);
        n = S3_VFS_PAGE - from < size ? S3_VFS_PAGE - from : size;

        to = n == S3_VFS_PAGE ? p : page;

        got = s3_vfs_pread(fd, to, S3_VFS_PAGE, pgno * S3_VFS_PAGE);

        if (got == -1) {
            return s3_vfs_fail(f->vfs, errno, SQLITE_IOERR_READ);
        }

        if (got == 0 && pgno == 0) {

            /* an empty file is a database that is still to be made */

            memset(p, 0, size);
            return SQLITE_IOERR_SHORT_READ;
        }

        if (got != S3_VFS_PAGE || pgno >= UINT32_MAX
            || !s3_vfs_verify(to, (uint32_t) pgno + 1))
        {
            /*
             * SQLite takes a read past the end for zeros, which here can only
             * be a file that lost its end: pages are read once they were
             * written.  But for page 1 alone, torn in the transaction that
             * makes the database: its journal is looked for after the first
             * read, and rolls it back.
             */

            if (pgno == 0 && f->lock < SQLITE_LOCK_SHARED
                && s3_door->fstatat(f->vfs->dir,
                                    sqlite3_filename_journal(f->name), &st,
                                    AT_SYMLINK_NOFOLLOW) == 0
                && st.st_size > 0)
            {
                memset(p, 0, size);
                return SQLITE_IOERR_SHORT_READ;
            }

            /*
             * Torn in a checkpoint, it stands in the log, which is not looked
             * for either before the header was read.  Of that SQLite takes
             * the size of pages for a guess; page 1 itself it reads from the
             * log, or here once more, with a lock.
             */

            if (pgno == 0 && got == S3_VFS_PAGE && n < S3_VFS_PAGE
                && f->lock < SQLITE_LOCK_SHARED
                && s3_door->fstatat(f->vfs->dir,
                                    sqlite3_filename_wal(f->name), &st,
                                    AT_SYMLINK_NOFOLLOW) == 0
                && st.st_size > 0)
            {
                memcpy(p, page + from, n);
                return SQLITE_OK;
            }

            return s3_vfs_fail(f->vfs, EBADMSG, SQLITE_IOERR_DATA);
        }

        if (to == page) {
            memcpy(p, page + from, n);
        }

        p += n;
        offset += n;
        size -= n;
    }

    return SQLITE_OK;
}


unsigned
s3_vfs_pages(s3_vfs_t *vfs, uint32_t pgno, unsigned n, int strict, int *bad)
{
    int       fd;
    ssize_t   got;
    uint8_t   page[S3_VFS_PAGE];
    uint32_t  count;
    unsigned  i;

    static const uint8_t  zeros[S3_VFS_PAGE];

    *bad = 0;
    fd = atomic_load(&vfs->files[S3_VFS_DB].fd);

    for (i = 0; i < n; i++) {
        got = s3_vfs_pread(fd, page, S3_VFS_PAGE,
                           (uint64_t) (pgno + i - 1) * S3_VFS_PAGE);

        if (got == S3_VFS_PAGE
            && (s3_vfs_verify(page, pgno + i)
                || (!strict && memcmp(page, zeros, S3_VFS_PAGE) == 0)))
        {
            continue;
        }

        if (got == 0
            && s3_vfs_pread(fd, page, S3_VFS_PAGE, 0) == S3_VFS_PAGE
            && s3_vfs_verify(page, 1))
        {
            /* the header's number of pages, as of the last checkpoint */

            count = (uint32_t) page[28] << 24 | (uint32_t) page[29] << 16
                    | (uint32_t) page[30] << 8 | page[31];

            *bad = (pgno + i <= count) ? 2 : 0;
            break;
        }

        *bad = 1;
        break;
    }

    return i;
}


static int
s3_vfs_read(sqlite3_file *file, void *p, int size, sqlite3_int64 offset)
{
    int             fd, err;
    ssize_t         got;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    if (s3_vfs_gone(vfs, 0)) {
        return s3_vfs_fail(vfs, EIO, SQLITE_IOERR_READ);
    }

    if (f->kind == S3_VFS_DB) {
        return s3_vfs_read_db(f, p, (size_t) size, (uint64_t) offset);
    }

    fd = atomic_load(&f->inode->fd);

    got = fd == -1 ? 0
                   : s3_vfs_pread(fd, p, (size_t) size, (uint64_t) offset);

    if (got == -1) {
        return s3_vfs_fail(vfs, errno, SQLITE_IOERR_READ);
    }

    if (got < size) {

        /* recovery looks for the end of the log by the file's size, so that
         * a short read of a page is a log that lost its end */

        if (f->kind == S3_VFS_WAL && size >= S3_VFS_PAGE) {
            return s3_vfs_fail(vfs, EBADMSG, SQLITE_IOERR_DATA);
        }

        memset((uint8_t *) p + got, 0, (size_t) (size - got));
        return SQLITE_IOERR_SHORT_READ;
    }

    if (f->kind == S3_VFS_WAL) {
        pthread_mutex_lock(&vfs->mutex);
        err = s3_vfs_wal_check(vfs, p, (uint64_t) offset, (uint64_t) size);
        pthread_mutex_unlock(&vfs->mutex);

        if (err) {
            return s3_vfs_fail(vfs, err, err == ENOMEM ? SQLITE_IOERR_NOMEM
                                                       : SQLITE_IOERR_DATA);
        }
    }

    return SQLITE_OK;
}


static int
s3_vfs_write(sqlite3_file *file, const void *p, int size,
    sqlite3_int64 offset)
{
    int             fd, err;
    uint8_t         page[S3_VFS_PAGE];
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    err = s3_vfs_gone(vfs, 1);
    fd = atomic_load(&f->inode->wfd);

    if (err == 0 && (!f->writer || fd == -1)) {
        err = EROFS;
    }

    if (err) {
        return s3_vfs_fail(vfs, err, SQLITE_IOERR_WRITE);
    }

    if (f->kind == S3_VFS_DB) {

        if (size != S3_VFS_PAGE || offset % S3_VFS_PAGE != 0) {
            return s3_vfs_fail(vfs, EINVAL, SQLITE_IOERR_WRITE);
        }

        memcpy(page, p, S3_VFS_PAGE);
        s3_vfs_stamp(page, (uint32_t) (offset / S3_VFS_PAGE) + 1);
        p = page;

    } else if (f->kind == S3_VFS_WAL) {
        pthread_mutex_lock(&vfs->mutex);
        err = s3_vfs_wal_note(vfs, p, (uint64_t) offset, (uint64_t) size, 0);
        pthread_mutex_unlock(&vfs->mutex);

        if (err) {
            return s3_vfs_fail(vfs, err, SQLITE_IOERR_WRITE);
        }
    }

    if (s3_door_write_all(fd, p, (size_t) size, (off_t) offset) == -1) {
        return s3_vfs_fail(vfs, errno, SQLITE_IOERR_WRITE);
    }

    if (f->kind == S3_VFS_WAL) {
        pthread_mutex_lock(&vfs->mutex);
        (void) s3_vfs_wal_note(vfs, p, (uint64_t) offset, (uint64_t) size, 1);
        vfs->wal_next = (uint64_t) offset + (uint64_t) size;
        pthread_mutex_unlock(&vfs->mutex);
    }

    return SQLITE_OK;
}


static int
s3_vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int             fd, err;
    size_t          n;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    err = s3_vfs_gone(vfs, 1);
    fd = atomic_load(&f->inode->wfd);

    if (err == 0 && (!f->writer || fd == -1)) {
        err = EROFS;
    }

    if (err == 0 && s3_door->ftruncate(fd, (off_t) size) == -1) {
        err = errno;
    }

    if (err) {
        return s3_vfs_fail(vfs, err, SQLITE_IOERR_TRUNCATE);
    }

    pthread_mutex_lock(&vfs->mutex);

    f->inode->reserved = 0;

    if (f->kind == S3_VFS_WAL) {
        n = size <= S3_VFS_WAL_HEADER
            ? 0 : (size_t) ((size - S3_VFS_WAL_HEADER) / S3_VFS_FRAME);

        if (n < vfs->nframes) {
            vfs->nframes = n;
        }

        vfs->wal_next = (uint64_t) size;
    }

    pthread_mutex_unlock(&vfs->mutex);

    return SQLITE_OK;
}


static int
s3_vfs_sync_inode(s3_vfs_t *vfs, s3_vfs_inode_t *inode)
{
    int  fd, err;

    err = s3_vfs_gone(vfs, 1);
    if (err) {
        return err;
    }

    fd = atomic_load(&inode->wfd);
    if (fd == -1) {
        return EROFS;
    }

    if (s3_door->fdatasync(fd) == -1) {
        return s3_vfs_unsynced(vfs, errno);
    }

    if (atomic_load(&inode->entry)) {

        if (s3_door->fsync(vfs->dir) == -1) {
            return s3_vfs_unsynced(vfs, errno);
        }

        atomic_store(&inode->entry, 0);
    }

    return 0;
}


static int
s3_vfs_sync(sqlite3_file *file, int flags)
{
    int             err;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;

    err = s3_vfs_sync_inode(f->vfs, f->inode);

    return err ? s3_vfs_fail(f->vfs, err, SQLITE_IOERR_FSYNC) : SQLITE_OK;
}


/* file systems without fallocate() give what they have when it is written */

static int
s3_vfs_reserve_to(s3_vfs_inode_t *inode, uint64_t to)
{
    if (s3_door->fallocate(atomic_load(&inode->wfd), FALLOC_FL_KEEP_SIZE,
                           (off_t) inode->reserved,
                           (off_t) (to - inode->reserved))
        == -1)
    {
        if (errno != EOPNOTSUPP && errno != ENOSYS) {
            return errno;
        }
    }

    inode->reserved = to;

    return 0;
}


/* in steps; where there is no room for one, what is needed */

static int
s3_vfs_reserve(s3_vfs_inode_t *inode, uint64_t need)
{
    int  err;

    if (need <= inode->reserved) {
        return 0;
    }

    err = s3_vfs_reserve_to(inode, (need + S3_VFS_RESERVE - 1)
                                   / S3_VFS_RESERVE * S3_VFS_RESERVE);

    if (err == ENOSPC || err == EDQUOT) {
        err = s3_vfs_reserve_to(inode, need);
    }

    return err;
}


int
s3_vfs_sync_wal(s3_vfs_t *vfs, uint64_t spare)
{
    int              err;
    s3_vfs_inode_t  *db, *wal;

    db = &vfs->files[S3_VFS_DB];
    wal = &vfs->files[S3_VFS_WAL];

    err = s3_vfs_gone(vfs, 1);

    if (err == 0 && (atomic_load(&wal->wfd) == -1
                     || atomic_load(&db->wfd) == -1))
    {
        err = EROFS;
    }

    if (err == 0) {

        /*
         * What is still to come must find its room now, while the batch can
         * be refused: the commit's frames, and the database's growth, which
         * the checkpoint writes.
         */

        pthread_mutex_lock(&vfs->mutex);

        err = s3_vfs_reserve(wal, vfs->wal_next + S3_VFS_COMMIT_ROOM);

        if (err == 0) {
            err = s3_vfs_reserve(db, ((uint64_t) vfs->max_pgno + 1)
                                     * S3_VFS_PAGE + spare);
        }

        pthread_mutex_unlock(&vfs->mutex);
    }

    if (err == 0) {
        err = s3_vfs_sync_inode(vfs, wal);
    }

    if (err) {
        (void) s3_vfs_fail(vfs, err, SQLITE_IOERR_FSYNC);
        return s3_vfs_errno;
    }

    return 0;
}


static int
s3_vfs_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int             fd;
    struct stat     st;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;

    if (s3_vfs_gone(f->vfs, 0)) {
        return s3_vfs_fail(f->vfs, EIO, SQLITE_IOERR_FSTAT);
    }

    fd = atomic_load(&f->inode->fd);

    if (fd == -1) {
        *size = 0;
        return SQLITE_OK;
    }

    if (s3_door->fstat(fd, &st) == -1) {
        return s3_vfs_fail(f->vfs, errno, SQLITE_IOERR_FSTAT);
    }

    *size = st.st_size;

    return SQLITE_OK;
}


static int
s3_vfs_control(sqlite3_file *file, int op, void *arg)
{
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;

    switch (op) {

    case SQLITE_FCNTL_PERSIST_WAL:

        if (*(int *) arg >= 0) {
            f->persist = *(int *) arg;
        } else {
            *(int *) arg = f->persist;
        }

        return SQLITE_OK;

    case SQLITE_FCNTL_POWERSAFE_OVERWRITE:

        *(int *) arg = 1;
        return SQLITE_OK;

    default:
        return SQLITE_NOTFOUND;
    }
}


static int
s3_vfs_sector(sqlite3_file *file)
{
    return S3_VFS_PAGE;
}


/* writing bytes harms none beside them, even when power fails: SQLite's own
 * default (sqlite.org/psow.html) */

static int
s3_vfs_device(sqlite3_file *file)
{
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}


/* --- the rest --- */


static int
s3_vfs_randomness(sqlite3_vfs *v, int size, char *out)
{
    ssize_t  n;

    n = getrandom(out, (size_t) size, 0);

    return n < 0 ? 0 : (int) n;
}


static int
s3_vfs_sleep(sqlite3_vfs *v, int us)
{
    struct timespec  ts;

    ts.tv_sec = us / 1000000;
    ts.tv_nsec = (long) (us % 1000000) * 1000;

    (void) nanosleep(&ts, NULL);

    return us;
}


static int
s3_vfs_time_ms(sqlite3_vfs *v, sqlite3_int64 *ms)
{
    struct timespec  ts;

    if (clock_gettime(CLOCK_REALTIME, &ts) == -1) {
        return SQLITE_ERROR;
    }

    /* since noon of 24 November 4714 BC, Greenwich */

    *ms = 210866760000000LL + (sqlite3_int64) ts.tv_sec * 1000
          + ts.tv_nsec / 1000000;

    return SQLITE_OK;
}


static int
s3_vfs_time(sqlite3_vfs *v, double *days)
{
    sqlite3_int64  ms;

    if (s3_vfs_time_ms(v, &ms) != SQLITE_OK) {
        return SQLITE_ERROR;
    }

    *days = (double) ms / 86400000.0;

    return SQLITE_OK;
}


static int
s3_vfs_last_error(sqlite3_vfs *v, int size, char *out)
{
    if (size > 0) {
        out[0] = '\0';
    }

    return s3_vfs_errno;
}
