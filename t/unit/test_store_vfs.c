
#include "s3_test.h"
#include "s3_door.h"
#include "s3_index.h"
#include "s3_index_internal.h"
#include "s3_vfs.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>


#define PAGE      4096
#define FRAME     (PAGE + 24)
#define NROWS     200


typedef struct {
    char            *dir;
    int              fd;
    s3_vfs_t        *vfs;
    sqlite3         *db;
} disk_t;


/* a database of its own, in WAL mode: the index adds nothing to these */

static int
db_open(disk_t *d, sqlite3 **db, const char *name)
{
    int  rc;

    rc = sqlite3_open_v2(name, db, SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE
                                   |SQLITE_OPEN_NOMUTEX|SQLITE_OPEN_URI
                                   |SQLITE_OPEN_EXRESCODE,
                         s3_vfs_name(d->vfs));
    assert_non_null(*db);

    sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_wal_autocheckpoint(*db, 0);

    /* statement journals, as in the index */

    (void) sqlite3_exec(*db, "PRAGMA temp_store=MEMORY", NULL, NULL, NULL);

    /* the header is read on opening */

    return rc;
}


static int
run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}


/* 0 when every row that comes is right, and all come: else SQLite's result,
 * or -1 for a row that is wrong */

static int
check_rows(sqlite3 *db)
{
    int            rc, n;
    uint8_t        want[3000];
    sqlite3_stmt  *stmt;

    rc = sqlite3_prepare_v2(db, "SELECT id, bytes FROM t ORDER BY id", -1,
                            &stmt, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }

    for (n = 0; (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++) {

        s3_test_fill(want, sizeof(want),
                     (uint64_t) sqlite3_column_int64(stmt, 0));

        if (sqlite3_column_int(stmt, 0) != n
            || sqlite3_column_bytes(stmt, 1) != sizeof(want)
            || memcmp(sqlite3_column_blob(stmt, 1), want, sizeof(want)) != 0)
        {
            sqlite3_finalize(stmt);
            return -1;
        }
    }

    sqlite3_finalize(stmt);

    if (rc == SQLITE_DONE) {
        return n == NROWS ? 0 : -1;
    }

    return rc;
}


static void
disk_make(disk_t *d)
{
    int            i, n;
    uint8_t        bytes[3000];
    sqlite3_stmt  *stmt;

    d->dir = s3_test_dir();
    d->fd = open(d->dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    d->vfs = s3_vfs_create(d->fd);
    assert_non_null(d->vfs);

    assert_int_equal(db_open(d, &d->db, "t.db"), SQLITE_OK);

    n = S3_VFS_RESERVED;
    assert_int_equal(sqlite3_file_control(d->db, "main",
                                          SQLITE_FCNTL_RESERVE_BYTES, &n),
                     SQLITE_OK);
    assert_int_equal(run(d->db, "PRAGMA journal_mode=WAL"), SQLITE_OK);
    assert_int_equal(run(d->db, "CREATE TABLE t (id INTEGER PRIMARY KEY,"
                                " bytes BLOB)"), SQLITE_OK);

    assert_int_equal(run(d->db, "BEGIN"), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(d->db, "INSERT INTO t VALUES (?, ?)",
                                        -1, &stmt, NULL), SQLITE_OK);

    for (i = 0; i < NROWS; i++) {
        s3_test_fill(bytes, sizeof(bytes), (uint64_t) i);
        sqlite3_bind_int(stmt, 1, i);
        sqlite3_bind_blob(stmt, 2, bytes, sizeof(bytes), SQLITE_STATIC);
        assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
        sqlite3_reset(stmt);
    }

    sqlite3_finalize(stmt);
    assert_int_equal(run(d->db, "COMMIT"), SQLITE_OK);
}


static void
disk_free(disk_t *d)
{
    if (d->db) {
        assert_int_equal(sqlite3_close(d->db), SQLITE_OK);
    }

    s3_vfs_destroy(d->vfs);
    (void) close(d->fd);
    s3_test_dir_free(d->dir);
}


/* another connection, so that nothing comes out of a page cache */

static int
fresh_check(disk_t *d)
{
    int       rc;
    sqlite3  *db;

    rc = db_open(d, &db, "t.db");

    if (rc == SQLITE_OK) {
        rc = check_rows(db);
    }

    assert_int_equal(sqlite3_close(db), SQLITE_OK);

    return rc;
}


static void
flip(disk_t *d, const char *name, off_t at)
{
    int      fd;
    uint8_t  byte;

    fd = openat(d->fd, name, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void) close(fd);
}


static off_t
size_of(disk_t *d, const char *name)
{
    struct stat  st;

    assert_int_equal(fstatat(d->fd, name, &st, 0), 0);

    return st.st_size;
}


/* --- tests --- */

static void
pages_verified(void **state)
{
    int      fd, rc, pages, i;
    off_t    at, size;
    disk_t   d;
    uint8_t  one[PAGE], two[PAGE];

    disk_make(&d);

    assert_int_equal(sqlite3_wal_checkpoint_v2(d.db, "main",
                                               SQLITE_CHECKPOINT_TRUNCATE,
                                               NULL, NULL), SQLITE_OK);
    assert_int_equal(size_of(&d, "t.db-wal"), 0);
    size = size_of(&d, "t.db");
    pages = (int) (size / PAGE);
    assert_true(pages > NROWS / 2);
    assert_int_equal(fresh_check(&d), 0);
    assert_int_equal(s3_vfs_error(d.vfs), 0);

    /* one bit of any page, wherever it is: rows, header, sum, magic, zeros */

    for (i = 0; i < pages; i++) {
        at = (off_t) i * PAGE + (i * 997) % PAGE;

        if (i % 5 == 1) {
            at = (off_t) i * PAGE + 4080 + i % 16;
        }

        flip(&d, "t.db", at);
        rc = fresh_check(&d);

        if (rc != SQLITE_IOERR_DATA) {
            fail_msg("page %d, byte %d: %d", i + 1, (int) (at % PAGE), rc);
        }

        assert_int_equal(s3_vfs_error(d.vfs), EBADMSG);
        flip(&d, "t.db", at);
        assert_int_equal(fresh_check(&d), 0);
    }

    /* the header, which SQLite reads alone */

    for (i = 0; i < 100; i++) {
        flip(&d, "t.db", i);
        assert_int_equal(fresh_check(&d), SQLITE_IOERR_DATA);
        flip(&d, "t.db", i);
    }

    /* a page in another's place, a page of zeros, a file without its end */

    fd = openat(d.fd, "t.db", O_RDWR);
    assert_int_equal(pread(fd, one, PAGE, 5 * PAGE), PAGE);
    assert_int_equal(pread(fd, two, PAGE, 6 * PAGE), PAGE);
    assert_int_equal(pwrite(fd, two, PAGE, 5 * PAGE), PAGE);
    assert_int_equal(fresh_check(&d), SQLITE_IOERR_DATA);

    memset(two, 0, PAGE);
    assert_int_equal(pwrite(fd, two, PAGE, 5 * PAGE), PAGE);
    assert_int_equal(fresh_check(&d), SQLITE_IOERR_DATA);
    assert_int_equal(pwrite(fd, one, PAGE, 5 * PAGE), PAGE);
    assert_int_equal(fresh_check(&d), 0);

    assert_int_equal(ftruncate(fd, size - PAGE), 0);
    assert_int_not_equal(fresh_check(&d), 0);
    assert_int_not_equal(fresh_check(&d), -1);
    assert_int_equal(ftruncate(fd, size - 10), 0);
    assert_int_not_equal(fresh_check(&d), 0);
    assert_int_not_equal(fresh_check(&d), -1);
    (void) close(fd);

    disk_free(&d);
}


static void
frames_verified(void **state)
{
    int     rc, i, frames;
    off_t   at, size;
    disk_t  d;

    disk_make(&d);

    size = size_of(&d, "t.db-wal");
    frames = (int) ((size - 32) / FRAME);
    assert_true(frames > NROWS / 2);
    assert_int_equal(fresh_check(&d), 0);

    /* with the writer there, nobody recovers: sums are those of the writes */

    for (i = 0; i < frames; i += 7) {
        at = 32 + (off_t) i * FRAME + 24 + (i * 1009) % PAGE;
        flip(&d, "t.db-wal", at);
        rc = fresh_check(&d);

        /* page 1 was written twice: the old frame is read by nobody */

        if (i > 3 && rc != SQLITE_IOERR_DATA) {
            fail_msg("frame %d: %d", i + 1, rc);
        }

        assert_int_not_equal(rc, -1);
        flip(&d, "t.db-wal", at);
        assert_int_equal(fresh_check(&d), 0);
    }

    /* neither does a checkpoint carry it into the database */

    flip(&d, "t.db-wal", 32 + 50 * FRAME + 100);
    assert_int_equal(sqlite3_wal_checkpoint_v2(d.db, "main",
                                               SQLITE_CHECKPOINT_PASSIVE,
                                               NULL, NULL),
                     SQLITE_IOERR_DATA);
    flip(&d, "t.db-wal", 32 + 50 * FRAME + 100);
    assert_int_equal(sqlite3_close(d.db), SQLITE_OK);

    /* recovered: the sums are those of the frames that SQLite verified */

    assert_int_equal(db_open(&d, &d.db, "t.db"), SQLITE_OK);
    assert_int_equal(check_rows(d.db), 0);
    flip(&d, "t.db-wal", 32 + 60 * FRAME + 100);
    assert_int_equal(fresh_check(&d), SQLITE_IOERR_DATA);
    flip(&d, "t.db-wal", 32 + 60 * FRAME + 100);

    /* the log starts over: its old frames keep their sums until rewritten */

    assert_int_equal(sqlite3_wal_checkpoint_v2(d.db, "main",
                                               SQLITE_CHECKPOINT_RESTART,
                                               NULL, NULL), SQLITE_OK);
    assert_int_equal(run(d.db, "BEGIN; CREATE TABLE u AS SELECT * FROM t;"
                               "DELETE FROM t; INSERT INTO t SELECT * FROM u;"
                               "COMMIT"), SQLITE_OK);
    assert_int_equal(fresh_check(&d), 0);
    assert_true(size_of(&d, "t.db-wal") < 3 * size);

    for (i = 0, rc = 0; i < frames; i += 5) {
        at = 32 + (off_t) i * FRAME + 100;
        flip(&d, "t.db-wal", at);

        switch (fresh_check(&d)) {

        case 0:
            /* a frame of the other table */
            break;

        case SQLITE_IOERR_DATA:
            rc++;
            break;

        default:
            fail();
        }

        flip(&d, "t.db-wal", at);
    }

    assert_true(rc > 5);

    disk_free(&d);
}


static atomic_uint  changes;


static ssize_t
counted_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    atomic_fetch_add(&changes, 1);
    return s3_door_system.pwrite(fd, buf, size, offset);
}


static int
counted_fdatasync(int fd)
{
    atomic_fetch_add(&changes, 1);
    return s3_door_system.fdatasync(fd);
}


static int
failing_fdatasync(int fd)
{
    errno = ENOSPC;
    return -1;
}


static void
dropped(void **state)
{
    disk_t     d;
    s3_door_t  counted;

    disk_make(&d);

    counted = s3_door_system;
    counted.pwrite = counted_pwrite;
    counted.fdatasync = counted_fdatasync;
    s3_door = &counted;

    assert_int_equal(run(d.db, "BEGIN; DELETE FROM t WHERE id < 50"),
                     SQLITE_OK);
    s3_vfs_drop(d.vfs);
    changes = 0;

    assert_int_equal(sqlite3_db_cacheflush(d.db), SQLITE_IOERR_WRITE);
    assert_int_equal(s3_vfs_sync_wal(d.vfs, 0), EIO);
    assert_int_not_equal(run(d.db, "COMMIT"), SQLITE_OK);
    assert_int_not_equal(run(d.db, "PRAGMA wal_checkpoint"), SQLITE_OK);
    assert_int_equal(s3_vfs_error(d.vfs), EIO);
    assert_int_equal(sqlite3_close(d.db), SQLITE_OK);
    s3_vfs_destroy(d.vfs);
    assert_int_equal(changes, 0);

    /* the disk as it was */

    s3_door = &s3_door_system;
    d.vfs = s3_vfs_create(d.fd);
    d.db = NULL;
    assert_int_equal(fresh_check(&d), 0);
    disk_free(&d);
}


static void
failed_sync(void **state)
{
    disk_t     d;
    s3_door_t  failing;

    disk_make(&d);

    failing = s3_door_system;
    failing.fdatasync = failing_fdatasync;

    assert_int_equal(run(d.db, "BEGIN; DELETE FROM t WHERE id < 50"),
                     SQLITE_OK);
    assert_int_equal(sqlite3_db_cacheflush(d.db), SQLITE_OK);

    s3_door = &failing;
    assert_int_equal(s3_vfs_sync_wal(d.vfs, 0), EIO);
    s3_door = &s3_door_system;

    /* never again, though the disk would take it now; reading goes on */

    assert_int_equal(s3_vfs_sync_wal(d.vfs, 0), EIO);
    assert_int_equal(s3_vfs_error(d.vfs), EIO);
    assert_int_not_equal(run(d.db, "COMMIT"), SQLITE_OK);
    (void) run(d.db, "ROLLBACK");
    assert_int_equal(fresh_check(&d), 0);
    assert_int_not_equal(run(d.db, "DELETE FROM t"), SQLITE_OK);

    disk_free(&d);
}


/* --- connections side by side --- */

typedef struct {
    disk_t        *d;
    atomic_int    *stop;
    unsigned       reads;
    int            bad;
} reader_t;


static void *
reader_run(void *data)
{
    int64_t        sum, total;
    sqlite3       *db;
    reader_t      *r;
    sqlite3_stmt  *stmt;

    r = data;

    sqlite3_open_v2("file:t.db?s3_reader=1", &db,
                    SQLITE_OPEN_READONLY|SQLITE_OPEN_NOMUTEX|SQLITE_OPEN_URI,
                    s3_vfs_name(r->d->vfs));
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(db, 5000);
    sqlite3_prepare_v2(db, "SELECT sum(v), count(*) FROM pair", -1, &stmt,
                       NULL);

    while (!atomic_load(r->stop) || r->reads == 0) {

        if (sqlite3_step(stmt) != SQLITE_ROW) {
            r->bad++;
            break;
        }

        /* money moves between rows: a snapshot shows all of it */

        sum = sqlite3_column_int64(stmt, 0);
        total = sqlite3_column_int64(stmt, 1);

        if (sum != 1000 * total || total != 100) {
            r->bad++;
        }

        sqlite3_reset(stmt);
        r->reads++;
    }

    sqlite3_finalize(stmt);
    sqlite3_close(db);

    return NULL;
}


static void
readers_and_writer(void **state)
{
    int         i;
    char        sql[200];
    disk_t      d;
    reader_t    r[3];
    pthread_t   thread[3];
    atomic_int  stop;

    disk_make(&d);

    assert_int_equal(run(d.db, "CREATE TABLE pair (id INTEGER PRIMARY KEY,"
                               " v INTEGER, pad BLOB);"
                               "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL"
                               " SELECT i + 1 FROM n WHERE i < 99)"
                               " INSERT INTO pair"
                               " SELECT i, 1000, zeroblob(500) FROM n"),
                     SQLITE_OK);

    atomic_init(&stop, 0);

    for (i = 0; i < 3; i++) {
        memset(&r[i], 0, sizeof(reader_t));
        r[i].d = &d;
        r[i].stop = &stop;
        assert_int_equal(pthread_create(&thread[i], NULL, reader_run, &r[i]),
                         0);
    }

    for (i = 0; i < 400; i++) {
        snprintf(sql, sizeof(sql), "BEGIN IMMEDIATE;"
                 "UPDATE pair SET v = v - 1 WHERE id = %d;"
                 "UPDATE pair SET v = v + 1 WHERE id = %d; COMMIT",
                 i % 100, (i * 37 + 11) % 100);
        assert_int_equal(run(d.db, sql), SQLITE_OK);

        if (i % 20 == 0) {
            assert_int_equal(run(d.db, "PRAGMA wal_checkpoint(PASSIVE)"),
                             SQLITE_OK);
        }
    }

    atomic_store(&stop, 1);

    for (i = 0; i < 3; i++) {
        (void) pthread_join(thread[i], NULL);
        assert_int_equal(r[i].bad, 0);
        assert_true(r[i].reads > 0);
    }

    assert_int_equal(s3_vfs_error(d.vfs), 0);
    disk_free(&d);
}


static void
one_writer(void **state)
{
    disk_t    d;
    sqlite3  *other;

    disk_make(&d);
    assert_int_equal(db_open(&d, &other, "t.db"), SQLITE_OK);

    assert_int_equal(run(d.db, "BEGIN IMMEDIATE"), SQLITE_OK);
    assert_int_equal(run(other, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    assert_int_equal(run(other, "BEGIN; SELECT count(*) FROM t"), SQLITE_OK);
    assert_int_equal(run(d.db, "DELETE FROM t; COMMIT"), SQLITE_OK);

    /* its snapshot stands, keeps the log from starting over, and can't be
     * written to any more */

    assert_int_equal(check_rows(other), 0);
    assert_int_equal(sqlite3_wal_checkpoint_v2(d.db, "main",
                                               SQLITE_CHECKPOINT_RESTART,
                                               NULL, NULL), SQLITE_BUSY);
    assert_int_equal(run(other, "DELETE FROM t"), SQLITE_BUSY_SNAPSHOT);
    assert_int_equal(run(other, "ROLLBACK; BEGIN IMMEDIATE; ROLLBACK"),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    disk_free(&d);
}


/*
 * The power went in a checkpoint that wrote page 1: the log has it, and is not
 * looked at before the header was read.  Without the log it is damage.
 */

static void
torn_first_page(void **state)
{
    int       fd, i;
    disk_t    d;
    uint8_t   first[PAGE], torn[PAGE];

    disk_make(&d);

    assert_int_equal(sqlite3_wal_checkpoint_v2(d.db, "main",
                                               SQLITE_CHECKPOINT_PASSIVE,
                                               NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(d.db), SQLITE_OK);
    d.db = NULL;
    assert_true(size_of(&d, "t.db-wal") > 0);

    fd = openat(d.fd, "t.db", O_RDWR);
    assert_int_equal(pread(fd, first, PAGE, 0), PAGE);

    for (i = 0; i < 40; i++) {

        /* some sectors of it, a byte of the header, nothing that is right */

        memcpy(torn, first, PAGE);

        if (i < 8) {
            memset(torn + i * 512, 0, 512);

        } else if (i < 36) {
            torn[i] ^= 0xff;

        } else {
            s3_test_fill(torn, PAGE, i);
        }

        if (memcmp(torn, first, PAGE) == 0) {
            continue;                  /* it was zeros */
        }

        assert_int_equal(pwrite(fd, torn, PAGE, 0), PAGE);

        if (fresh_check(&d) != 0) {
            fail_msg("torn so: %d", i);
        }
    }

    assert_int_equal(s3_vfs_error(d.vfs), 0);

    assert_int_equal(unlinkat(d.fd, "t.db-wal", 0), 0);
    assert_int_equal(fresh_check(&d), SQLITE_IOERR_DATA);

    assert_int_equal(pwrite(fd, first, PAGE, 0), PAGE);
    assert_int_equal(fresh_check(&d), 0);
    (void) close(fd);

    disk_free(&d);
}


/* names that lead elsewhere */

static void
names(void **state)
{
    disk_t    d;
    sqlite3  *db;

    disk_make(&d);

    assert_int_equal(symlinkat("t.db", d.fd, "link.db"), 0);
    assert_int_equal(db_open(&d, &db, "u.db") & 0xff, SQLITE_CANTOPEN);
    sqlite3_close(db);

    assert_int_equal(sqlite3_close(d.db), SQLITE_OK);
    d.db = NULL;

    assert_int_equal(db_open(&d, &db, "link.db") & 0xff, SQLITE_CANTOPEN);
    sqlite3_close(db);
    assert_int_equal(db_open(&d, &db, "../t.db") & 0xff, SQLITE_CANTOPEN);
    sqlite3_close(db);
    assert_int_equal(db_open(&d, &db, "/t.db") & 0xff, SQLITE_CANTOPEN);
    sqlite3_close(db);

    disk_free(&d);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(pages_verified),
        cmocka_unit_test(frames_verified),
        cmocka_unit_test(dropped),
        cmocka_unit_test(failed_sync),
        cmocka_unit_test(readers_and_writer),
        cmocka_unit_test(one_writer),
        cmocka_unit_test(torn_first_page),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
