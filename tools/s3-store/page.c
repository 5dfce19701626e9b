/*
 * The pages of an index, read as they stand.  Each page of index.db ends in a
 * checksum:
 *
 *      0                                  4080    4084         4092    4096
 *     +----------------------------------+-------+------------+-------+
 *     | SQLite's                         | S3P1  | zeros      | crc   |
 *     +----------------------------------+-------+------------+-------+
 *
 * A VFS of our own verifies it at every read, has no call that writes, and
 * keeps the log's index in memory (locking_mode=EXCLUSIVE), so that SQLite
 * reads what the log has committed and leaves nothing behind.
 */


#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define ST_VFS_NAME        "s3-store"
#define ST_VFS_DB          "disk-"     /* and its number: what SQLite opens */
#define ST_VFS_DISKS       (2 * ST_DISKS_MAX)   /* two sets: verify.c */
#define ST_PAGE_CRC        4092
#define ST_PAGE_MAGIC      4080

#define ST_HEAP_MAX        (512LL * 1024 * 1024)


typedef struct {
    sqlite3_file  base;
    st_disk_t    *disk;
    int           log;
} st_file_t;


static int st_vfs_open(sqlite3_vfs *vfs, const char *name,
    sqlite3_file *file, int flags, int *out);
static int st_vfs_delete(sqlite3_vfs *vfs, const char *name, int sync);
static int st_vfs_access(sqlite3_vfs *vfs, const char *name, int flags,
    int *out);
static int st_vfs_full_path(sqlite3_vfs *vfs, const char *name, int size,
    char *out);
static st_disk_t *st_vfs_disk(const char *name, const char **suffix);
static int st_file_close(sqlite3_file *file);
static int st_file_read(sqlite3_file *file, void *p, int size,
    sqlite3_int64 offset);
static int st_file_write(sqlite3_file *file, const void *p, int size,
    sqlite3_int64 offset);
static int st_file_truncate(sqlite3_file *file, sqlite3_int64 size);
static int st_file_sync(sqlite3_file *file, int flags);
static int st_file_size(sqlite3_file *file, sqlite3_int64 *size);
static int st_file_lock(sqlite3_file *file, int level);
static int st_file_reserved(sqlite3_file *file, int *out);
static int st_file_control(sqlite3_file *file, int op, void *arg);
static int st_file_sector(sqlite3_file *file);
static int st_file_device(sqlite3_file *file);


static const sqlite3_io_methods  st_file_methods = {
    .iVersion = 1,
    .xClose = st_file_close,
    .xRead = st_file_read,
    .xWrite = st_file_write,
    .xTruncate = st_file_truncate,
    .xSync = st_file_sync,
    .xFileSize = st_file_size,
    .xLock = st_file_lock,
    .xUnlock = st_file_lock,
    .xCheckReservedLock = st_file_reserved,
    .xFileControl = st_file_control,
    .xSectorSize = st_file_sector,
    .xDeviceCharacteristics = st_file_device
};

static sqlite3_vfs   st_vfs;
static st_disk_t    *st_vfs_disks[ST_VFS_DISKS];


int
st_index_init(void)
{
    sqlite3_vfs  *base;

    if (sqlite3_initialize() != SQLITE_OK) {
        return -1;
    }

    (void) sqlite3_hard_heap_limit64(ST_HEAP_MAX);

    base = sqlite3_vfs_find(NULL);
    if (base == NULL) {
        return -1;
    }

    /* time, randomness and temporary files are the usual one's */

    st_vfs = *base;
    st_vfs.zName = ST_VFS_NAME;
    st_vfs.pNext = NULL;
    st_vfs.pAppData = base;
    st_vfs.xOpen = st_vfs_open;
    st_vfs.xDelete = st_vfs_delete;
    st_vfs.xAccess = st_vfs_access;
    st_vfs.xFullPathname = st_vfs_full_path;

    if (st_vfs.szOsFile < (int) sizeof(st_file_t)) {
        st_vfs.szOsFile = sizeof(st_file_t);
    }

    return sqlite3_vfs_register(&st_vfs, 0) == SQLITE_OK ? 0 : -1;
}


static int
st_vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file,
    int flags, int *out)
{
    st_file_t    *f;
    st_disk_t    *disk;
    sqlite3_vfs  *base;
    const char   *suffix;

    base = vfs->pAppData;
    file->pMethods = NULL;

    if (name == NULL) {

        /* what is sorted: in the directory for temporary files */
        return base->xOpen(base, name, file, flags, out);
    }

    disk = st_vfs_disk(name, &suffix);

    if (disk == NULL
        || (*suffix != '\0' && strcmp(suffix, "-wal") != 0))
    {
        return SQLITE_CANTOPEN;
    }

    f = (st_file_t *) file;

    f->base.pMethods = &st_file_methods;
    f->disk = disk;
    f->log = (*suffix != '\0');

    if (out) {
        *out = (flags & ~(SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE))
               | SQLITE_OPEN_READONLY;
    }

    return SQLITE_OK;
}


static int
st_vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    return SQLITE_IOERR_DELETE;
}


static int
st_vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    st_disk_t   *disk;
    const char  *suffix;

    disk = st_vfs_disk(name, &suffix);

    *out = disk && (*suffix == '\0'
                    || (strcmp(suffix, "-wal") == 0 && disk->log_fd != -1));

    return SQLITE_OK;
}


static int
st_vfs_full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
    return snprintf(out, (size_t) size, "%s", name) < size
           ? SQLITE_OK : SQLITE_CANTOPEN;
}


int
st_vfs_add(st_disk_t *disk, sqlite3 **db)
{
    char      name[sizeof(ST_VFS_DB) + 16];
    unsigned  i;

    for (i = 0; i < ST_VFS_DISKS && st_vfs_disks[i]; i++) { /* void */ }

    if (i == ST_VFS_DISKS) {
        return SQLITE_FULL;
    }

    st_vfs_disks[i] = disk;
    (void) snprintf(name, sizeof(name), ST_VFS_DB "%u", i);

    return sqlite3_open_v2(name, db, SQLITE_OPEN_READONLY|SQLITE_OPEN_NOMUTEX,
                           ST_VFS_NAME);
}


void
st_vfs_remove(st_disk_t *disk)
{
    unsigned  i;

    for (i = 0; i < ST_VFS_DISKS; i++) {
        if (st_vfs_disks[i] == disk) {
            st_vfs_disks[i] = NULL;
        }
    }
}


static st_disk_t *
st_vfs_disk(const char *name, const char **suffix)
{
    char           *end;
    unsigned long   n;

    if (strncmp(name, ST_VFS_DB, sizeof(ST_VFS_DB) - 1) != 0) {
        return NULL;
    }

    n = strtoul(name + sizeof(ST_VFS_DB) - 1, &end, 10);
    *suffix = end;

    return n < ST_VFS_DISKS ? st_vfs_disks[n] : NULL;
}


static int
st_file_close(sqlite3_file *file)
{
    return SQLITE_OK;
}


static int
st_file_read(sqlite3_file *file, void *p, int size, sqlite3_int64 offset)
{
    ssize_t     n;
    size_t      got;
    st_file_t  *f;

    f = (st_file_t *) file;

    if (!f->log) {
        return st_file_read_db(f->disk, p, (size_t) size, (uint64_t) offset);
    }

    /* frames' checksums are SQLite's, who looks at them */

    if ((uint64_t) offset > f->disk->log_max
        || (uint64_t) size > f->disk->log_max - (uint64_t) offset)
    {
        memset(p, 0, (size_t) size);
        return SQLITE_IOERR_SHORT_READ;
    }

    for (got = 0; f->disk->log_fd != -1 && got < (size_t) size; got += n) {

        n = pread(f->disk->log_fd, (uint8_t *) p + got, (size_t) size - got,
                  offset + (off_t) got);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            return SQLITE_IOERR_READ;
        }

        if (n == 0) {
            break;
        }
    }

    if (got < (size_t) size) {
        memset((uint8_t *) p + got, 0, (size_t) size - got);
        return SQLITE_IOERR_SHORT_READ;
    }

    return SQLITE_OK;
}


/*
 * A page of which the log has an image may be torn: what was moved there was
 * not finished.  SQLite reads the image, but for the first page's header
 * which it looks at before it knows of the log.
 */

int
st_file_read_db(st_disk_t *disk, uint8_t *p, size_t size, uint64_t offset)
{
    size_t    from, n;
    uint8_t   page[ST_PAGE];
    uint64_t  pgno;

    if (disk->pages == 0) {
        memset(p, 0, size);
        return SQLITE_IOERR_SHORT_READ;
    }

    while (size) {
        pgno = offset / ST_PAGE + 1;
        from = (size_t) (offset % ST_PAGE);
        n = ST_PAGE - from < size ? ST_PAGE - from : size;

        if (pgno > disk->pages
            || st_read_at(disk->index_fd, page, ST_PAGE, offset - from) != 0
            || (!st_page_good(page, pgno)
                && !(n < ST_PAGE && st_page_logged(disk, pgno))))
        {
            if (disk->nbad < ST_BAD_PAGES) {
                disk->bad[disk->nbad++] = pgno;
            }

            return SQLITE_IOERR_READ;
        }

        memcpy(p, page + from, n);

        p += n;
        offset += n;
        size -= n;
    }

    return SQLITE_OK;
}


int
st_page_good(const uint8_t *page, uint64_t pgno)
{
    uint8_t   number[4];
    uint32_t  crc, found;

    number[0] = (uint8_t) pgno;
    number[1] = (uint8_t) (pgno >> 8);
    number[2] = (uint8_t) (pgno >> 16);
    number[3] = (uint8_t) (pgno >> 24);

    crc = st_crc32c(st_crc32c(0, number, 4), page, ST_PAGE_CRC);

    found = (uint32_t) page[ST_PAGE_CRC]
            | (uint32_t) page[ST_PAGE_CRC + 1] << 8
            | (uint32_t) page[ST_PAGE_CRC + 2] << 16
            | (uint32_t) page[ST_PAGE_CRC + 3] << 24;

    return found == crc && memcmp(page + ST_PAGE_MAGIC, "S3P1", 4) == 0;
}


int
st_page_logged(st_disk_t *disk, uint64_t pgno)
{
    return pgno <= disk->pages + 1
           && disk->log_map[pgno / 8] & (1U << (pgno % 8));
}


static int
st_file_write(sqlite3_file *file, const void *p, int size,
    sqlite3_int64 offset)
{
    return SQLITE_READONLY;
}


static int
st_file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return SQLITE_READONLY;
}


static int
st_file_sync(sqlite3_file *file, int flags)
{
    return SQLITE_OK;
}


static int
st_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int          fd;
    st_file_t   *f;
    struct stat  st;

    f = (st_file_t *) file;
    fd = f->log ? f->disk->log_fd : f->disk->index_fd;

    if (fd == -1) {
        *size = 0;
        return SQLITE_OK;
    }

    if (fstat(fd, &st) == -1) {
        return SQLITE_IOERR_FSTAT;
    }

    *size = st.st_size;

    if (f->log && (uint64_t) *size > f->disk->log_max) {
        *size = (sqlite3_int64) f->disk->log_max;
    }

    return SQLITE_OK;
}


/* the disk is locked, and there is one connection */

static int
st_file_lock(sqlite3_file *file, int level)
{
    return SQLITE_OK;
}


static int
st_file_reserved(sqlite3_file *file, int *out)
{
    *out = 0;
    return SQLITE_OK;
}


static int
st_file_control(sqlite3_file *file, int op, void *arg)
{
    return SQLITE_NOTFOUND;
}


static int
st_file_sector(sqlite3_file *file)
{
    return ST_PAGE;
}


static int
st_file_device(sqlite3_file *file)
{
    return 0;
}
