/*
 * An index, read as it stands.  Each page of index.db ends in a checksum:
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
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define ST_VFS_NAME        "s3-store"
#define ST_VFS_DB          "disk-"     /* and its number: what SQLite opens */
#define ST_PAGE_CRC        4092
#define ST_PAGE_MAGIC      4080

/* 1 TiB: a bit of each page is kept */
#define ST_PAGES_MAX       (1ULL << 28)

#define ST_HEAP_MAX        (512LL * 1024 * 1024)
#define ST_CACHE           "4096"      /* KiB an index */
#define ST_VALUE_MAX       (1024 * 1024)
#define ST_PROBLEMS        100
#define ST_KEYS            3

/*
 * Steps of SQLite's machine for all that is asked of an index.  Rows of a page
 * take some ten thousands; a tree that has the same page in many places, with
 * good checksums, would take years.
 */
#define ST_STEPS           1000000     /* a call of the handler */
#define ST_STEPS_MIN       100         /* calls */
#define ST_STEPS_PAGE      1           /* and of each page */
#define ST_LOG_PAGES_MAX   1000000

/* seconds for SQLite's own check, parts of which have no such steps */
#define ST_CHECK_MIN       60
#define ST_CHECK_PAGES     100         /* and one for so many pages */

#define ST_APPLICATION     0x53334958  /* "S3IX" */
#define ST_FORMAT          1
#define ST_RESERVED        16


typedef struct {
    sqlite3_file  base;
    st_disk_t    *disk;
    int           log;
} st_file_t;


/* a letter a column; tables are made by the same rules (format-index.md) */

typedef struct {
    const char   *name;
    const char   *types;
    unsigned      nkey;
    const char   *columns;
    const char   *index;
} st_table_t;

static const st_table_t  st_tables[] = {
    { "bucket", "biib", 1, "name,id,created,config", "id" },
    { "object", "ibbiiibbbbb", 3,
      "bucket,key,version,flags,size,mtime,etag,checksum,data_id,attrs,meta",
      NULL },
    { "data", "bbiiiiii", 1,
      "data_id,session,refs,size,mask,geometry,parts,inline", NULL },
    { "inline", "ib", 1, "id,bytes", NULL },
    { "part", "biiiibbbbiib", 2,
      "data_id,part_number,offset,size,mtime,etag,checksum,shard_id,session,"
      "mask,geometry,attrs", "shard_id" },
    { "upload", "ibbiibbbb", 3,
      "bucket,key,upload_id,state,initiated,checksum,attrs,meta,result",
      "state" },
    { "garbage", "ibbiii", 2,
      "sequence,shard_id,session,mask,size,geometry", "shard_id" },
    { "verdict", "biii", 2, "session,request,status,mtime", NULL },
    { "member", "ii", 1, "slot,since", NULL },

    /* below this one they differ from disk to disk: how far back history
     * goes depends on where a disk was when it was brought forward */
    { "state", "bb", 1, "name,value", NULL },
    { "batch", "iib", 1, "sequence,generation,digest", NULL },
    { "change", "iib", 1, "id,tab,pk", NULL }
};

#define ST_TABLES          (sizeof(st_tables) / sizeof(st_tables[0]))
#define ST_TABLES_ALIKE    9


static const char *const  st_sql[ST_SQLS] = {
    [ST_SQL_DATA] = "SELECT session, refs, size, mask, geometry, parts, inline"
        " FROM data WHERE data_id = ?1",
    [ST_SQL_INLINE] = "SELECT bytes FROM inline WHERE id = ?2",
    [ST_SQL_BUCKET] = "SELECT name FROM bucket WHERE id = ?2",
    [ST_SQL_KNOWN] = "SELECT 1 FROM data WHERE data_id = ?1"
        " UNION ALL SELECT 1 FROM part WHERE shard_id = ?1"
        " UNION ALL SELECT 1 FROM garbage WHERE shard_id = ?1 LIMIT 1"
};


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
static int st_file_read_db(st_disk_t *disk, uint8_t *p, size_t size,
    uint64_t offset);
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
static int st_page_good(const uint8_t *page, uint64_t pgno);
static int st_page_logged(st_disk_t *disk, uint64_t pgno);
static int st_index_files(st_disk_t *disk);
static int st_index_setup(st_disk_t *disk);
static int st_index_schema(st_disk_t *disk);
static int st_index_position(st_disk_t *disk);
static int st_index_pragma(st_disk_t *disk, const char *sql, int64_t *value);
static int st_index_fail(st_disk_t *disk, const char *text);
static int st_index_steps(void *data);
static void st_index_late(int number);
static int st_authorize(void *data, int action, const char *a, const char *b,
    const char *c, const char *d);
static char *st_table_sql(const st_table_t *t);
static char *st_table_index_sql(const st_table_t *t);
static size_t st_table_keys(const st_table_t *t);
static void st_problem(st_problem_pt problem, void *data, unsigned *n,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int st_same_column(sqlite3_stmt *a, sqlite3_stmt *b, int i);
static char *st_row_name(const st_table_t *t, sqlite3_stmt *stmt);
static int st_scan_pass(st_disk_t *disk, const st_scan_t *scan, int down,
    sqlite3_value **lower, sqlite3_value **upper, st_row_pt row, void *data,
    int *rc);
static int st_scan_order(sqlite3_value **values, unsigned n,
    sqlite3_stmt *stmt);
static void st_scan_keep(sqlite3_value **values, unsigned n,
    sqlite3_stmt *stmt);


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
static st_disk_t    *st_vfs_disks[ST_DISKS_MAX];
static sqlite3      *st_checked;       /* what st_index_late() ends */


/* ---- the VFS */


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

    return n < ST_DISKS_MAX ? st_vfs_disks[n] : NULL;
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

static int
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


static int
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


static int
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


/* ---- opening */


int
st_index_open(st_disk_t *disk)
{
    int       rc;
    char      name[sizeof(ST_VFS_DB) + 16];
    unsigned  i;

    if (st_index_files(disk) != 0) {
        goto failed;
    }

    for (i = 0; i < ST_DISKS_MAX && st_vfs_disks[i]; i++) { /* void */ }

    if (i == ST_DISKS_MAX) {
        (void) st_index_fail(disk, "too many disks");
        goto failed;
    }

    st_vfs_disks[i] = disk;
    (void) snprintf(name, sizeof(name), ST_VFS_DB "%u", i);

    rc = sqlite3_open_v2(name, &disk->db,
                         SQLITE_OPEN_READONLY|SQLITE_OPEN_NOMUTEX,
                         ST_VFS_NAME);
    if (rc != SQLITE_OK) {
        (void) st_index_fail(disk, NULL);
        goto failed;
    }

    if (st_index_setup(disk) == 0 && st_index_schema(disk) == 0
        && st_index_position(disk) == 0)
    {
        return 0;
    }

failed:

    st_index_close(disk);

    return -1;
}


void
st_index_close(st_disk_t *disk)
{
    unsigned  i;

    for (i = 0; i < ST_SQLS; i++) {
        (void) sqlite3_finalize(disk->stmt[i]);
        disk->stmt[i] = NULL;
    }

    (void) sqlite3_close_v2(disk->db);
    disk->db = NULL;

    for (i = 0; i < ST_DISKS_MAX; i++) {
        if (st_vfs_disks[i] == disk) {
            st_vfs_disks[i] = NULL;
        }
    }

    if (disk->index_fd != -1) {
        (void) close(disk->index_fd);
        disk->index_fd = -1;
    }

    if (disk->log_fd != -1) {
        (void) close(disk->log_fd);
        disk->log_fd = -1;
    }

    free(disk->log_map);
    disk->log_map = NULL;
}


static int
st_index_steps(void *data)
{
    st_disk_t *disk = data;

    return disk->steps++ > disk->steps_max;
}


static int
st_index_files(st_disk_t *disk)
{
    uint64_t     frames;
    struct stat  st;

    disk->index_fd = st_open_below(disk->fd, "index.db", O_RDONLY);

    if (disk->index_fd == -1 || fstat(disk->index_fd, &st) == -1) {
        return st_index_fail(disk, strerror(errno));
    }

    if (!S_ISREG(st.st_mode)) {
        return st_index_fail(disk, "not a file");
    }

    disk->pages = (uint64_t) st.st_size / ST_PAGE;

    if (disk->pages == 0) {
        return st_index_fail(disk, "empty");
    }

    if (disk->pages > ST_PAGES_MAX) {
        return st_index_fail(disk, "larger than 1 TiB");
    }

    frames = 0;
    disk->log_fd = st_open_below(disk->fd, "index.db-wal", O_RDONLY);

    if (disk->log_fd == -1 && errno != ENOENT) {
        return st_index_fail(disk, strerror(errno));
    }

    if (disk->log_fd != -1) {
        if (fstat(disk->log_fd, &st) == -1) {
            return st_index_fail(disk, strerror(errno));
        }

        if (!S_ISREG(st.st_mode)) {
            return st_index_fail(disk, "its log is not a file");
        }

        frames = (uint64_t) st.st_size / ST_PAGE;
        frames = frames < ST_LOG_PAGES_MAX ? frames : ST_LOG_PAGES_MAX;
    }

    disk->steps = 0;
    disk->steps_max = ST_STEPS_MIN + ST_STEPS_PAGE * (disk->pages + frames);

    /* one more: the last page may have been cut in the middle */

    disk->log_map = calloc(1, (size_t) ((disk->pages + 1) / 8 + 1));
    if (disk->log_map == NULL) {
        st_no_memory();
    }

    if (st_log_map(disk->log_fd, disk->log_map, disk->pages + 1,
                   &disk->log_unread)
        != 0)
    {
        return st_index_fail(disk, strerror(errno));
    }

    return 0;
}


static int
st_index_setup(st_disk_t *disk)
{
    int64_t  version, application, page;
    uint8_t  reserved;

    (void) sqlite3_extended_result_codes(disk->db, 1);
    sqlite3_progress_handler(disk->db, ST_STEPS, st_index_steps, disk);
    (void) sqlite3_limit(disk->db, SQLITE_LIMIT_LENGTH, ST_VALUE_MAX);
    (void) sqlite3_limit(disk->db, SQLITE_LIMIT_ATTACHED, 0);

    if (sqlite3_db_config(disk->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL)
        != SQLITE_OK
        || sqlite3_db_config(disk->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL)
           != SQLITE_OK
        || sqlite3_db_config(disk->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0,
                             NULL)
           != SQLITE_OK
        || sqlite3_exec(disk->db,
                        "PRAGMA locking_mode=EXCLUSIVE;"
                        "PRAGMA query_only=ON;"
                        "PRAGMA cell_size_check=ON;"
                        "PRAGMA mmap_size=0;"
                        "PRAGMA temp_store=FILE;"
                        "PRAGMA cache_size=-" ST_CACHE, NULL, NULL, NULL)
           != SQLITE_OK
        || st_index_pragma(disk, "PRAGMA user_version", &version) != 0
        || st_index_pragma(disk, "PRAGMA application_id", &application) != 0
        || st_index_pragma(disk, "PRAGMA page_size", &page) != 0)
    {
        return st_index_fail(disk, NULL);
    }

    if (st_file_read_db(disk, &reserved, 1, 20) != SQLITE_OK) {
        return st_index_fail(disk, NULL);
    }

    if (version != ST_FORMAT || application != ST_APPLICATION
        || page != ST_PAGE || reserved != ST_RESERVED)
    {
        return st_index_fail(disk, "not an index of a format that is known "
                                   "here");
    }

    return 0;
}


/*
 * SQL is part of what stands on the disk.  None but the format's is ever run:
 * no view, no trigger, no table of another kind, no column that is computed.
 */

static int
st_index_schema(st_disk_t *disk)
{
    int            rc;
    char          *sql[2 * ST_TABLES];
    size_t         i, n, seen;
    const char    *text;
    sqlite3_stmt  *stmt;

    for (i = 0, n = 0; i < ST_TABLES; i++) {
        sql[n++] = st_table_sql(&st_tables[i]);

        if (st_tables[i].index) {
            sql[n++] = st_table_index_sql(&st_tables[i]);
        }
    }

    stmt = NULL;
    seen = 0;

    rc = sqlite3_prepare_v2(disk->db, "SELECT sql FROM sqlite_master", -1,
                            &stmt, NULL);

    while (rc == SQLITE_OK || rc == SQLITE_ROW) {

        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) {
            break;
        }

        text = (const char *) sqlite3_column_text(stmt, 0);

        for (i = 0; text && i < n; i++) {
            if (sql[i] && strcmp(text, sql[i]) == 0) {
                break;
            }
        }

        if (text == NULL || i == n) {
            rc = st_index_fail(disk, "it has tables that the format does not "
                                     "know");
            goto done;
        }

        /* each once */

        sqlite3_free(sql[i]);
        sql[i] = NULL;
        seen++;
    }

    if (rc != SQLITE_DONE) {
        rc = st_index_fail(disk, NULL);

    } else if (seen != n) {
        rc = st_index_fail(disk, "a table is missing");

    } else {
        rc = 0;
    }

done:

    (void) sqlite3_finalize(stmt);

    for (i = 0; i < n; i++) {
        sqlite3_free(sql[i]);
    }

    if (rc == 0
        && sqlite3_set_authorizer(disk->db, st_authorize, NULL) != SQLITE_OK)
    {
        rc = st_index_fail(disk, NULL);
    }

    return rc;
}


static int
st_authorize(void *data, int action, const char *a, const char *b,
    const char *c, const char *d)
{
    switch (action) {

    case SQLITE_SELECT:
    case SQLITE_READ:
        return SQLITE_OK;

    case SQLITE_FUNCTION:
        return b && (strcmp(b, "count") == 0 || strcmp(b, "total") == 0)
               ? SQLITE_OK : SQLITE_DENY;

    case SQLITE_PRAGMA:
        return a && strcmp(a, "integrity_check") == 0 ? SQLITE_OK
                                                      : SQLITE_DENY;

    default:
        return SQLITE_DENY;
    }
}


static char *
st_table_sql(const st_table_t *t)
{
    int            rowid;
    char          *sql;
    size_t         n;
    unsigned       i;
    const char    *name, *type;
    sqlite3_str   *s;

    rowid = (t->nkey == 1 && t->types[0] == 'i');

    s = sqlite3_str_new(NULL);
    sqlite3_str_appendf(s, "CREATE TABLE \"%s\" (", t->name);

    name = t->columns;

    for (i = 0; t->types[i]; i++) {
        n = strcspn(name, ",");
        type = t->types[i] == 'b' ? "BLOB NOT NULL"
               : rowid && i == 0 ? "INTEGER PRIMARY KEY"
               : "INTEGER NOT NULL";

        sqlite3_str_appendf(s, "%s\"%.*s\" %s", i ? ", " : "", (int) n, name,
                            type);
        name += n + 1;
    }

    if (!rowid) {
        sqlite3_str_appendf(s, ", PRIMARY KEY (%.*s)) WITHOUT ROWID",
                            (int) st_table_keys(t), t->columns);

    } else {
        sqlite3_str_appendf(s, ")");
    }

    sql = sqlite3_str_finish(s);
    if (sql == NULL) {
        st_no_memory();
    }

    return sql;
}


static char *
st_table_index_sql(const st_table_t *t)
{
    char  *sql;

    sql = sqlite3_mprintf("CREATE INDEX \"%s_by_%s\" ON \"%s\" (\"%s\")",
                          t->name, t->index, t->name, t->index);
    if (sql == NULL) {
        st_no_memory();
    }

    return sql;
}


/* as much of its columns as are the primary key */

static size_t
st_table_keys(const st_table_t *t)
{
    unsigned     i;
    const char  *p;

    p = t->columns;

    for (i = 0; i < t->nkey; i++) {
        p += strcspn(p, ",") + (i + 1 < t->nkey);
    }

    return (size_t) (p - t->columns);
}


static int
st_index_position(st_disk_t *disk)
{
    int            i, rc;
    st_bytes_t     value;
    sqlite3_stmt  *stmt;

    rc = sqlite3_prepare_v2(disk->db, "SELECT value FROM state"
                            " WHERE name = x'706f736974696f6e'", -1, &stmt,
                            NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc != SQLITE_ROW) {
        rc = st_index_fail(disk, rc == SQLITE_DONE ? "it has no position"
                                                   : NULL);
        goto done;
    }

    value = st_column(stmt, 0);

    if (value.len != 48) {
        rc = st_index_fail(disk, "its position makes no sense");
        goto done;
    }

    for (i = 7; i >= 0; i--) {
        disk->generation = disk->generation << 8 | value.data[i];
        disk->sequence = disk->sequence << 8 | value.data[8 + i];
    }

    memcpy(disk->digest, value.data + 16, 32);
    rc = 0;

done:

    (void) sqlite3_finalize(stmt);

    return rc;
}


static int
st_index_pragma(st_disk_t *disk, const char *sql, int64_t *value)
{
    int            rc;
    sqlite3_stmt  *stmt;

    rc = sqlite3_prepare_v2(disk->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);

        if (rc == SQLITE_ROW) {
            *value = sqlite3_column_int64(stmt, 0);
        }
    }

    (void) sqlite3_finalize(stmt);

    return rc == SQLITE_ROW ? 0 : -1;
}


/* text NULL: SQLite's, and which page it was */

static int
st_index_fail(st_disk_t *disk, const char *text)
{
    if (text) {
        (void) snprintf(disk->why, ST_WHY_MAX, "its index: %s", text);

    } else if (disk->nbad) {
        (void) snprintf(disk->why, ST_WHY_MAX,
                        "its index: page %llu does not match its checksum",
                        (unsigned long long) disk->bad[0]);

    } else {
        (void) snprintf(disk->why, ST_WHY_MAX, "its index: %s",
                        disk->db ? sqlite3_errmsg(disk->db)
                                 : "out of memory");
    }

    return -1;
}


int
st_index_knows(st_disk_t *disk, const st_disk_t *other)
{
    int            rc, found;
    st_bytes_t     digest;
    sqlite3_stmt  *stmt;

    found = 0;

    rc = sqlite3_prepare_v2(disk->db, "SELECT sequence, generation, digest"
                            " FROM batch WHERE sequence <= ?1"
                            " ORDER BY sequence DESC LIMIT 1", -1, &stmt,
                            NULL);

    if (rc == SQLITE_OK) {
        (void) sqlite3_bind_int64(stmt, 1, (sqlite3_int64) other->sequence);
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        digest = st_column(stmt, 2);

        found = (uint64_t) sqlite3_column_int64(stmt, 0) == other->sequence
                && (uint64_t) sqlite3_column_int64(stmt, 1)
                   == other->generation
                && digest.len == 32
                && memcmp(digest.data, other->digest, 32) == 0;
    }

    (void) sqlite3_finalize(stmt);

    return rc == SQLITE_ROW ? found : rc == SQLITE_DONE ? -1 : -2;
}


/* ---- checking */


static void
st_problem(st_problem_pt problem, void *data, unsigned *n, const char *fmt,
    ...)
{
    char     text[1024];
    va_list  args;

    if ((*n)++ >= ST_PROBLEMS) {
        return;
    }

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    problem(data, text);
}


unsigned
st_index_check(st_disk_t *disk, st_problem_pt problem, void *data)
{
    int            rc, err;
    uint8_t        page[ST_PAGE];
    uint64_t       pgno, zeros;
    unsigned       n;
    const char    *text;
    struct stat    st;
    sqlite3_stmt  *stmt;

    static const uint8_t  zero[ST_PAGE];

    n = 0;
    zeros = 0;

    for (pgno = 1; pgno <= disk->pages; pgno++) {

        err = st_read_at(disk->index_fd, page, ST_PAGE,
                         (pgno - 1) * ST_PAGE);

        if (err == 0 && st_page_good(page, pgno)) {
            continue;
        }

        if (st_page_logged(disk, pgno)) {
            continue;
        }

        if (err) {
            st_problem(problem, data, &n, "page %llu: %s",
                       (unsigned long long) pgno, strerror(err));

        } else if (memcmp(page, zero, ST_PAGE) == 0) {

            /* never written: a page that was got and given back in one
             * transaction.  Nothing refers to it, or what follows says so */
            zeros++;

        } else {
            st_problem(problem, data, &n,
                       "page %llu does not match its checksum",
                       (unsigned long long) pgno);
        }
    }

    if (fstat(disk->index_fd, &st) == 0 && st.st_size % ST_PAGE != 0
        && !st_page_logged(disk, disk->pages + 1))
    {
        st_problem(problem, data, &n, "its size, %lld bytes, is no multiple "
                   "of a page", (long long) st.st_size);
    }

    /* the order of all pages, and rows against their second index */

    disk->nbad = 0;

    st_checked = disk->db;
    (void) signal(SIGALRM, st_index_late);
    (void) alarm((unsigned) (ST_CHECK_MIN + disk->pages / ST_CHECK_PAGES));

    rc = sqlite3_prepare_v2(disk->db, "PRAGMA integrity_check(100)", -1,
                            &stmt, NULL);

    while (rc == SQLITE_OK || rc == SQLITE_ROW) {

        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) {
            break;
        }

        text = (const char *) sqlite3_column_text(stmt, 0);

        if (text && strcmp(text, "ok") != 0) {
            st_problem(problem, data, &n, "%s", text);
        }
    }

    (void) alarm(0);

    if (rc != SQLITE_DONE) {
        if (disk->nbad) {
            st_problem(problem, data, &n, "page %llu cannot be read: %s",
                       (unsigned long long) disk->bad[0],
                       sqlite3_errmsg(disk->db));
        } else {
            st_problem(problem, data, &n, "%s", sqlite3_errmsg(disk->db));
        }
    }

    (void) sqlite3_finalize(stmt);

    if (zeros && n) {
        st_problem(problem, data, &n, "%llu pages are zeros",
                   (unsigned long long) zeros);
    }

    return n;
}


static void
st_index_late(int number)
{
    sqlite3_interrupt(st_checked);
}


unsigned
st_index_compare(st_disk_t *one, st_disk_t *other, st_problem_pt problem,
    void *data)
{
    int                i, rc[2];
    char              *sql, *name;
    size_t             t;
    unsigned           n, side;
    st_disk_t         *disk[2];
    sqlite3_stmt      *stmt[2];
    const st_table_t  *table;

    n = 0;
    disk[0] = one;
    disk[1] = other;

    for (t = 0; t < ST_TABLES_ALIKE; t++) {

        table = &st_tables[t];

        sql = sqlite3_mprintf("SELECT * FROM \"%s\" NOT INDEXED"
                              " ORDER BY %.*s", table->name,
                              (int) st_table_keys(table), table->columns);
        if (sql == NULL) {
            st_no_memory();
        }

        for (side = 0; side < 2; side++) {
            stmt[side] = NULL;
            rc[side] = sqlite3_prepare_v2(disk[side]->db, sql, -1,
                                          &stmt[side], NULL);
        }

        sqlite3_free(sql);

        for ( ;; ) {

            for (side = 0; side < 2; side++) {
                if (rc[side] == SQLITE_OK || rc[side] == SQLITE_ROW) {
                    rc[side] = sqlite3_step(stmt[side]);
                }
            }

            if (rc[0] != SQLITE_ROW || rc[1] != SQLITE_ROW) {
                break;
            }

            for (i = 0; table->types[i]; i++) {
                if (!st_same_column(stmt[0], stmt[1], i)) {
                    break;
                }
            }

            if (table->types[i]) {
                name = st_row_name(table, stmt[0]);
                st_problem(problem, data, &n, "table %s: the row of %s is "
                           "not the other indexes'", table->name, name);
                free(name);
                break;
            }
        }

        if (rc[0] == SQLITE_ROW ? rc[1] == SQLITE_DONE
                                : rc[0] == SQLITE_DONE && rc[1] == SQLITE_ROW)
        {
            side = rc[0] == SQLITE_ROW ? 0 : 1;
            name = st_row_name(table, stmt[side]);
            st_problem(problem, data, &n, "table %s: %s has no row of %s",
                       table->name, side ? "another index" : "it", name);
            free(name);

        } else if (rc[1] != SQLITE_ROW && rc[1] != SQLITE_DONE) {
            st_problem(problem, data, &n, "table %s: %s", table->name,
                       sqlite3_errmsg(other->db));
        }

        (void) sqlite3_finalize(stmt[0]);
        (void) sqlite3_finalize(stmt[1]);
    }

    return n;
}


static int
st_same_column(sqlite3_stmt *a, sqlite3_stmt *b, int i)
{
    int         type;
    st_bytes_t  x, y;

    type = sqlite3_column_type(a, i);

    if (type != sqlite3_column_type(b, i)) {
        return 0;
    }

    if (type == SQLITE_INTEGER) {
        return sqlite3_column_int64(a, i) == sqlite3_column_int64(b, i);
    }

    x = st_column(a, i);
    y = st_column(b, i);

    return x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len)
                                            == 0);
}


/* its primary key, for people */

static char *
st_row_name(const st_table_t *t, sqlite3_stmt *stmt)
{
    char        *name, *text, number[32];
    size_t       n, len;
    unsigned     i;
    st_bytes_t   b;

    name = NULL;
    len = 0;

    for (i = 0; i < t->nkey; i++) {

        if (t->types[i] == 'i') {
            (void) snprintf(number, sizeof(number), "%lld",
                            (long long) sqlite3_column_int64(stmt, (int) i));
            text = strdup(number);

        } else {
            b = st_column(stmt, (int) i);
            text = st_escape(b.data, b.len < 128 ? b.len : 128);
        }

        if (text == NULL) {
            st_no_memory();
        }

        n = strlen(text);

        name = realloc(name, len + n + 2);
        if (name == NULL) {
            st_no_memory();
        }

        if (len) {
            name[len++] = ' ';
        }

        memcpy(name + len, text, n + 1);
        len += n;
        free(text);
    }

    return name;
}


/* ---- rows */


st_bytes_t
st_column(sqlite3_stmt *stmt, int i)
{
    st_bytes_t  b;

    b.data = sqlite3_column_blob(stmt, i);
    b.len = b.data ? (size_t) sqlite3_column_bytes(stmt, i) : 0;

    if (b.data == NULL) {
        b.data = (const uint8_t *) "";
    }

    return b;
}


int
st_scan(st_set_t *set, const st_scan_t *scan, st_row_pt row, void *data,
    int *broken)
{
    int             rc, done;
    unsigned        i;
    sqlite3_value  *lower[ST_KEYS], *upper[ST_KEYS];

    memset(lower, 0, sizeof(lower));
    memset(upper, 0, sizeof(upper));

    rc = 0;
    done = 0;

    for (i = 0; i < set->ncurrent && !done; i++) {
        done = st_scan_pass(set->view[i], scan, 0, lower, upper, row, data,
                            &rc);
    }

    if (!done) {
        *broken = 1;
    }

    for (i = 0; i < set->ncurrent && !done; i++) {
        done = st_scan_pass(set->view[i], scan, 1, lower, upper, row, data,
                            &rc);
    }

    for (i = 0; i < ST_KEYS; i++) {
        sqlite3_value_free(lower[i]);
        sqlite3_value_free(upper[i]);
    }

    return rc;
}


/*
 * Rows between lower and upper, which move with it.  1: all, or row() has
 * ended it (*rc); 0: the index can't be read any further
 */

static int
st_scan_pass(st_disk_t *disk, const st_scan_t *scan, int down,
    sqlite3_value **lower, sqlite3_value **upper, st_row_pt row, void *data,
    int *rc)
{
    int            step;
    char          *sql;
    size_t         n;
    unsigned       i;
    const char    *name;
    sqlite3_str   *s;
    sqlite3_stmt  *stmt;

    s = sqlite3_str_new(NULL);
    sqlite3_str_appendf(s, "%s WHERE 1", scan->select);

    if (lower[0]) {
        sqlite3_str_appendf(s, " AND (%s) > (?1%s)", scan->key,
                            scan->nkey == 3 ? ", ?2, ?3" : "");
    }

    if (upper[0]) {
        sqlite3_str_appendf(s, " AND (%s) < (?4%s)", scan->key,
                            scan->nkey == 3 ? ", ?5, ?6" : "");
    }

    sqlite3_str_appendf(s, " %s ORDER BY ", scan->where);

    name = scan->key;

    for (i = 0; i < scan->nkey; i++) {
        n = strcspn(name, ",");
        sqlite3_str_appendf(s, "%s%.*s%s", i ? ", " : "", (int) n, name,
                            down ? " DESC" : "");
        name += n + 1;
    }

    sql = sqlite3_str_finish(s);
    if (sql == NULL) {
        st_no_memory();
    }

    step = sqlite3_prepare_v2(disk->db, sql, -1, &stmt, NULL);
    sqlite3_free(sql);

    if (step != SQLITE_OK) {
        return 0;
    }

    for (i = 0; i < scan->nkey; i++) {
        if (lower[0]) {
            (void) sqlite3_bind_value(stmt, (int) i + 1, lower[i]);
        }

        if (upper[0]) {
            (void) sqlite3_bind_value(stmt, (int) i + 4, upper[i]);
        }
    }

    if (scan->bind.data) {
        (void) sqlite3_bind_blob(stmt, 9, scan->bind.data,
                                 (int) scan->bind.len, SQLITE_STATIC);
    }

    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {

        /* else a damaged tree might give the same rows for ever */

        if ((lower[0] && st_scan_order(lower, scan->nkey, stmt) >= 0)
            || (upper[0] && st_scan_order(upper, scan->nkey, stmt) <= 0))
        {
            break;
        }

        st_scan_keep(down ? upper : lower, scan->nkey, stmt);

        *rc = row(data, stmt);

        if (*rc != 0) {
            step = SQLITE_DONE;
            break;
        }
    }

    (void) sqlite3_finalize(stmt);

    return step == SQLITE_DONE;
}


/* of values before the row's: less than, equal to, greater than 0 */

static int
st_scan_order(sqlite3_value **values, unsigned n, sqlite3_stmt *stmt)
{
    int             rc;
    size_t          len;
    int64_t         a, b;
    unsigned        i;
    st_bytes_t      y;
    sqlite3_value  *x;

    for (i = 0; i < n; i++) {
        x = values[i];

        if (sqlite3_value_type(x) != sqlite3_column_type(stmt, (int) i)) {
            return sqlite3_value_type(x) < sqlite3_column_type(stmt, (int) i)
                   ? -1 : 1;
        }

        if (sqlite3_value_type(x) == SQLITE_INTEGER) {
            a = sqlite3_value_int64(x);
            b = sqlite3_column_int64(stmt, (int) i);
            rc = (a > b) - (a < b);

        } else {
            y = st_column(stmt, (int) i);
            len = (size_t) sqlite3_value_bytes(x);

            rc = len && y.len ? memcmp(sqlite3_value_blob(x), y.data,
                                       len < y.len ? len : y.len)
                              : 0;
            rc = rc ? rc : (len > y.len) - (len < y.len);
        }

        if (rc) {
            return rc;
        }
    }

    return 0;
}


static void
st_scan_keep(sqlite3_value **values, unsigned n, sqlite3_stmt *stmt)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        sqlite3_value_free(values[i]);

        values[i] = sqlite3_value_dup(sqlite3_column_value(stmt, (int) i));
        if (values[i] == NULL) {
            st_no_memory();
        }
    }
}


sqlite3_stmt *
st_row_find(st_set_t *set, st_sql_e sql, st_bytes_t id, int64_t number)
{
    unsigned       i;
    st_disk_t     *disk;
    sqlite3_stmt  *stmt;

    for (i = 0; i < set->ncurrent; i++) {
        disk = set->view[i];

        if (disk->stmt[sql] == NULL
            && sqlite3_prepare_v2(disk->db, st_sql[sql], -1,
                                  &disk->stmt[sql], NULL)
               != SQLITE_OK)
        {
            continue;
        }

        stmt = disk->stmt[sql];
        (void) sqlite3_reset(stmt);

        if (id.data) {
            (void) sqlite3_bind_blob(stmt, 1, id.data, (int) id.len,
                                     SQLITE_TRANSIENT);
        } else {
            (void) sqlite3_bind_int64(stmt, 2, number);
        }

        if (sqlite3_step(stmt) == SQLITE_ROW) {
            return stmt;
        }

        (void) sqlite3_reset(stmt);
    }

    return NULL;
}


void
st_row_done(sqlite3_stmt *stmt)
{
    if (stmt) {
        (void) sqlite3_reset(stmt);
    }
}


int
st_index_number(st_set_t *set, const char *sql, uint64_t *n)
{
    int            rc;
    double         v;
    unsigned       i;
    sqlite3_stmt  *stmt;

    for (i = 0; i < set->ncurrent; i++) {

        rc = sqlite3_prepare_v2(set->view[i]->db, sql, -1, &stmt, NULL);

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        if (rc == SQLITE_ROW) {
            v = sqlite3_column_double(stmt, 0);
            *n = v < 0 ? 0 : v >= 1.8e19 ? UINT64_MAX : (uint64_t) v;
        }

        (void) sqlite3_finalize(stmt);

        if (rc == SQLITE_ROW) {
            return 0;
        }
    }

    return -1;
}
