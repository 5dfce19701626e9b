/*
 * An index is opened, and refused where it is not what the format says; two
 * are compared.  page.c is SQLite's way to it, row.c what is asked of it.
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


/* 1 TiB: a bit of each page is kept */
#define ST_PAGES_MAX       (1ULL << 28)

#define ST_CACHE           "4096"      /* KiB an index */
#define ST_VALUE_MAX       (1024 * 1024)
#define ST_PROBLEMS        100

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


static sqlite3      *st_checked;       /* what st_index_late() ends */


int
st_index_open(st_disk_t *disk)
{
    if (st_index_files(disk) != 0) {
        goto failed;
    }

    if (st_vfs_add(disk, &disk->db) != SQLITE_OK) {
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

    st_vfs_remove(disk);

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

    if (disk->given_index != -1) {
        disk->index_fd = disk->given_index;
        disk->given_index = -1;

    } else {
        disk->index_fd = st_open_below(disk->fd, "index.db", O_RDONLY);
    }

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

    if (disk->given_log != -1) {
        disk->log_fd = disk->given_log;
        disk->given_log = -1;

    } else if (disk->log_max) {
        disk->log_fd = st_open_below(disk->fd, "index.db-wal", O_RDONLY);
    }

    if (disk->log_fd == -1 && disk->log_max && errno != ENOENT) {
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

    if (st_log_map(disk->log_fd, disk->log_max, disk->log_map,
                   disk->pages + 1, &disk->log_unread)
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
