/*
 * A connection to an index, and its batches.  The database's
 * format is in docs/format-index.md; what is ours in it:
 *
 *     state.position     generation 8 | sequence 8 | digest 32
 *     change.id          sequence << 20 | number of the effect in the batch
 *     change.pk          the row's primary key columns, as in an effect
 *
 * all integers little endian.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "s3_index_internal.h"


static int s3_index_setup(s3_index_t *index, int create, size_t cache);
static int s3_index_create(s3_index_t *index);
static int s3_index_exec(s3_index_t *index, const char *sql);
static int s3_index_pragma(s3_index_t *index, const char *sql,
    int64_t *value);
static int s3_index_wal_hook(void *data, sqlite3 *db, const char *name,
    int frames);
static void s3_index_checkpoint(s3_index_t *index);
static int s3_index_ready(s3_index_t *index);


static const s3_slice_t  s3_position_name = {
    (const uint8_t *) "position", sizeof("position") - 1
};


/* --- connection --- */


int
s3_index_open(s3_vfs_t *vfs, int writer, int create, size_t cache,
    s3_index_t **out)
{
    int          rc, err, flags;
    s3_index_t  *index;

    *out = NULL;

    index = calloc(1, sizeof(s3_index_t));
    if (index == NULL) {
        return ENOMEM;
    }

    index->vfs = vfs;
    index->writer = writer;

    flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
    flags |= !writer ? SQLITE_OPEN_READONLY
                     : SQLITE_OPEN_READWRITE
                       | (create ? SQLITE_OPEN_CREATE : 0);

    rc = sqlite3_open_v2(writer ? S3_INDEX_FILE
                                : "file:" S3_INDEX_FILE "?s3_reader=1",
                         &index->db, flags, s3_vfs_name(vfs));

    if (rc != SQLITE_OK) {
        err = index->db ? s3_index_fail(index, rc) : ENOMEM;

    } else {
        err = s3_index_setup(index, create && writer, cache);
    }

    if (err) {
        s3_index_close(index);
        return err;
    }

    *out = index;

    return 0;
}


static int
s3_index_setup(s3_index_t *index, int create, size_t cache)
{
    int      rc, err, persist;
    char     sql[64];
    int64_t  version, application, tables, page;

    (void) sqlite3_extended_result_codes(index->db, 1);

    rc = sqlite3_db_config(index->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                           NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_db_config(index->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_db_config(index->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0,
                               NULL);
    }

    /* for the moments in which another connection recovers the log */

    if (rc == SQLITE_OK) {
        rc = sqlite3_busy_timeout(index->db, 5000);
    }

    if (rc == SQLITE_OK) {
        persist = 1;
        rc = sqlite3_file_control(index->db, "main",
                                  SQLITE_FCNTL_PERSIST_WAL, &persist);
    }

    if (rc != SQLITE_OK) {
        return s3_index_fail(index, rc);
    }

    (void) snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%zu",
                    cache / 1024 ? cache / 1024 : 64);

    err = s3_index_exec(index, sql);

    /*
     * secure_delete is a default of some builds: ON also writes every page
     * that gets free, to fill it with zeros.
     */

    if (err == 0) {
        err = s3_index_exec(index, "PRAGMA mmap_size=0;"
                                   "PRAGMA temp_store=MEMORY;"
                                   "PRAGMA foreign_keys=OFF;"
                                   "PRAGMA locking_mode=NORMAL;"
                                   "PRAGMA secure_delete=FAST;"
                                   "PRAGMA synchronous=FULL");
    }

    if (err == 0) {
        err = s3_index_pragma(index, "PRAGMA user_version", &version);
    }

    if (err == 0) {
        err = s3_index_pragma(index, "SELECT count(*) FROM sqlite_master",
                              &tables);
    }

    if (err == 0 && version == 0 && tables == 0) {

        /* a file that is empty, or was left so by a crash in its making */

        err = create ? s3_index_create(index) : ENOENT;

        if (err == 0) {
            err = s3_index_pragma(index, "PRAGMA user_version", &version);
        }
    }

    if (err == 0) {
        err = s3_index_pragma(index, "PRAGMA application_id", &application);
    }

    if (err == 0) {
        err = s3_index_pragma(index, "PRAGMA page_size", &page);
    }

    if (err) {
        return err;
    }

    if (version != S3_INDEX_FORMAT || application != S3_INDEX_APPLICATION
        || page != S3_INDEX_PAGE)
    {
        return s3_index_error(index, EPROTO, "not an index of a format that"
                                             " is known here");
    }

    (void) sqlite3_wal_hook(index->db, s3_index_wal_hook, index);

    return 0;
}


static int
s3_index_create(s3_index_t *index)
{
    int             n, rc, err;
    char           *sql;
    uint8_t         value[S3_POSITION_SIZE];
    unsigned        table;
    s3_value_t      row[S3_COLUMNS_MAX];
    s3_position_t   zero;

    n = S3_VFS_RESERVED;

    err = s3_index_exec(index, "PRAGMA page_size=4096");
    if (err) {
        return err;
    }

    rc = sqlite3_file_control(index->db, "main", SQLITE_FCNTL_RESERVE_BYTES,
                              &n);
    if (rc != SQLITE_OK) {
        return s3_index_fail(index, rc);
    }

    /* writes page 1, under a rollback journal, and makes the log */

    err = s3_index_exec(index, "PRAGMA journal_mode=WAL");
    if (err) {
        return err;
    }

    err = s3_index_exec(index, "BEGIN IMMEDIATE");

    for (table = S3_TABLE_BUCKET; err == 0 && table < S3_TABLES; table++) {
        sql = s3_table_create(table);
        err = sql ? s3_index_exec(index, sql) : ENOMEM;
        sqlite3_free(sql);

        if (err == 0 && s3_index_tables[table].index) {
            sql = s3_table_create_index(table);
            err = sql ? s3_index_exec(index, sql) : ENOMEM;
            sqlite3_free(sql);
        }
    }

    memset(&zero, 0, sizeof(s3_position_t));

    if (err == 0) {
        s3_position_row(&zero, value, row);
        err = s3_effect_apply(index, S3_EFFECT_PUT, S3_TABLE_STATE, row);
    }

    if (err == 0) {

        /* the history begins before the first batch: a disk that has only
         * this row can be brought forward by changes alone */

        s3_batch_row(&zero, row);
        err = s3_effect_apply(index, S3_EFFECT_PUT, S3_TABLE_BATCH, row);
    }

    if (err == 0) {
        sql = sqlite3_mprintf("PRAGMA application_id=%d;"
                              "PRAGMA user_version=%d;"
                              "COMMIT", S3_INDEX_APPLICATION,
                              S3_INDEX_FORMAT);
        err = sql ? s3_index_exec(index, sql) : ENOMEM;
        sqlite3_free(sql);
    }

    return err;
}


void
s3_index_close(s3_index_t *index)
{
    if (index == NULL) {
        return;
    }

    s3_index_finalize(index);

    /* a batch that is open is rolled back, in memory */

    (void) sqlite3_close(index->db);

    free(index);
}


static int
s3_index_exec(s3_index_t *index, const char *sql)
{
    int  rc;

    rc = sqlite3_exec(index->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : s3_index_fail(index, rc);
}


static int
s3_index_pragma(s3_index_t *index, const char *sql, int64_t *value)
{
    int            rc, err;
    sqlite3_stmt  *stmt;

    *value = 0;
    err = 0;

    rc = sqlite3_prepare_v2(index->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        *value = sqlite3_column_int64(stmt, 0);

    } else {
        err = s3_index_fail(index, rc);
    }

    (void) sqlite3_finalize(stmt);

    return err;
}


int
s3_index_fail(s3_index_t *index, int rc)
{
    int  err, known, extended;

    /* sqlite3_db_cacheflush() and a few others leave no error behind, and
     * sqlite3_open_v2() returns no extended code */

    extended = sqlite3_extended_errcode(index->db);
    known = (extended & 0xff) == (rc & 0xff);

    if (known && rc == (rc & 0xff)) {
        rc = extended;
    }

    switch (rc & 0xff) {

    case SQLITE_FULL:
        err = ENOSPC;
        break;

    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        err = EBADMSG;
        s3_vfs_damaged(index->vfs);
        break;

    case SQLITE_NOMEM:
        err = ENOMEM;
        break;

    case SQLITE_TOOBIG:
        err = EMSGSIZE;
        break;

    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        err = EBUSY;
        break;

    case SQLITE_IOERR:
        err = rc == SQLITE_IOERR_NOMEM ? ENOMEM
              : rc == SQLITE_IOERR_DATA ? EBADMSG
              : known ? sqlite3_system_errno(index->db) : EIO;
        break;

    case SQLITE_CANTOPEN:
        err = sqlite3_system_errno(index->db);
        break;

    default:
        err = EIO;
        break;
    }

    return s3_index_error(index, err ? err : EIO,
                          known ? sqlite3_errmsg(index->db)
                                : sqlite3_errstr(rc));
}


int
s3_index_error(s3_index_t *index, int err, const char *text)
{
    (void) snprintf(index->message, sizeof(index->message), "%s (%s)", text,
                    strerror(err));

    if (index->batch && index->error == 0) {
        index->error = err;
    }

    return err;
}


const char *
s3_index_message(s3_index_t *index)
{
    return index->message;
}


/* --- position --- */


static void
s3_put_u64(uint8_t *p, uint64_t v)
{
    int  i;

    for (i = 0; i < 8; i++) {
        p[i] = (uint8_t) (v >> (8 * i));
    }
}


void
s3_position_row(const s3_position_t *position, uint8_t *value,
    s3_value_t *row)
{
    s3_put_u64(value, position->generation);
    s3_put_u64(value + 8, position->sequence);
    memcpy(value + 16, position->digest, sizeof(position->digest));

    row[S3_STATE_NAME].b = s3_position_name;
    row[S3_STATE_VALUE].b.data = value;
    row[S3_STATE_VALUE].b.len = S3_POSITION_SIZE;
}


void
s3_batch_row(const s3_position_t *position, s3_value_t *row)
{
    row[S3_BATCH_SEQUENCE].n = (int64_t) position->sequence;
    row[S3_BATCH_GENERATION].n = (int64_t) position->generation;
    row[S3_BATCH_DIGEST].b.data = position->digest;
    row[S3_BATCH_DIGEST].b.len = sizeof(position->digest);
}


int
s3_index_position(s3_index_t *index, s3_position_t *position)
{
    int          err, found;
    s3_value_t   row[S3_COLUMNS_MAX];
    s3_reader_t  r;

    memset(position, 0, sizeof(s3_position_t));

    row[S3_STATE_NAME].b = s3_position_name;

    err = s3_row_get(index, S3_TABLE_STATE, row, &found);
    if (err) {
        return err;
    }

    if (!found || row[S3_STATE_VALUE].b.len != S3_POSITION_SIZE) {
        s3_row_release(index, S3_TABLE_STATE);
        return s3_index_error(index, EBADMSG, "the index has no position");
    }

    s3_reader_init(&r, row[S3_STATE_VALUE].b.data,
                   row[S3_STATE_VALUE].b.len);

    position->generation = s3_read_u64(&r);
    position->sequence = s3_read_u64(&r);
    s3_read_bytes(&r, position->digest, sizeof(position->digest));

    s3_row_release(index, S3_TABLE_STATE);

    return 0;
}


void
s3_index_digest(const s3_position_t *before, s3_position_t *position,
    s3_slice_t effects)
{
    uint8_t      numbers[16];
    EVP_MD_CTX  *ctx;

    s3_put_u64(numbers, position->generation);
    s3_put_u64(numbers + 8, position->sequence);

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL
        || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(ctx, before->digest, sizeof(before->digest)) != 1
        || EVP_DigestUpdate(ctx, numbers, sizeof(numbers)) != 1
        || EVP_DigestUpdate(ctx, effects.data, effects.len) != 1
        || EVP_DigestFinal_ex(ctx, position->digest, NULL) != 1)
    {
        /* no memory, and nobody may go on with a digest that is none; to
         * die is always safe here (design: crash-only) */

        abort();
    }

    EVP_MD_CTX_free(ctx);
}


/* --- a batch --- */


int
s3_index_begin(s3_index_t *index)
{
    int  err;

    if (index->failed) {
        return s3_index_error(index, index->failed,
                              "the last checkpoint failed");
    }

    if (!index->writer || index->batch) {
        return s3_index_error(index, EINVAL, "no batch can begin here");
    }

    err = s3_index_run(index, S3_SQL_BEGIN_WRITE);
    if (err) {
        return err;
    }

    index->batch = 1;
    index->error = 0;
    index->counter = 0;

    return 0;
}


/* SQLite may have rolled back by itself after an error: what came next would
 * be a transaction of its own */

static int
s3_index_ready(s3_index_t *index)
{
    if (index->error) {
        return index->error;
    }

    if (!index->batch || sqlite3_get_autocommit(index->db)) {
        return s3_index_error(index, EINVAL, "there is no batch");
    }

    return 0;
}


int
s3_index_apply(s3_index_t *index, s3_slice_t effects)
{
    int          err;
    s3_value_t   row[S3_COLUMNS_MAX];
    s3_table_e   table;
    s3_effect_e  effect;
    s3_reader_t  r;

    err = s3_index_ready(index);

    s3_reader_init(&r, effects.data, effects.len);

    while (err == 0 && r.pos != r.last) {

        err = s3_effect_read(&r, &effect, &table, row);
        if (err) {
            return s3_index_error(index, err, "effects that make no sense");
        }

        err = s3_effect_apply(index, effect, table, row);
    }

    return err;
}


int
s3_index_seal(s3_index_t *index, const s3_position_t *position,
    s3_slice_t effects, uint64_t keep_from)
{
    int            rc, err;
    int64_t        id, oldest, bound;
    uint8_t        value[S3_POSITION_SIZE];
    s3_buf_t       key;
    s3_value_t     row[S3_COLUMNS_MAX], change[S3_COLUMNS_MAX];
    s3_table_e     table;
    s3_effect_e    effect;
    s3_reader_t    r;
    sqlite3_stmt  *stmt;

    err = s3_index_ready(index);
    if (err) {
        return err;
    }

    if (position->sequence > INT64_MAX >> S3_INDEX_CHANGE_BITS) {
        return s3_index_error(index, EPROTO, "a sequence out of range");
    }

    memset(&key, 0, sizeof(s3_buf_t));

    id = (int64_t) (position->sequence << S3_INDEX_CHANGE_BITS);
    s3_reader_init(&r, effects.data, effects.len);

    while (err == 0 && r.pos != r.last) {

        err = s3_effect_read(&r, &effect, &table, row);

        if (err || effect == S3_EFFECT_TRIM || table == S3_TABLE_BATCH
            || table == S3_TABLE_CHANGE || table == S3_TABLE_STATE)
        {
            err = s3_index_error(index, EPROTO, "effects that make no sense");
            break;
        }

        if (((id + 1) >> S3_INDEX_CHANGE_BITS)
            != (int64_t) position->sequence)
        {
            err = s3_index_error(index, EMSGSIZE, "too many effects");
            break;
        }

        key.len = 0;
        s3_row_write_key(&key, table, row);

        if (key.error) {
            err = s3_index_error(index, key.error, "no room for a key");
            break;
        }

        change[S3_CHANGE_ID].n = id++;
        change[S3_CHANGE_TABLE].n = table;
        change[S3_CHANGE_KEY].b.data = key.data;
        change[S3_CHANGE_KEY].b.len = key.len;

        err = s3_effect_apply(index, S3_EFFECT_PUT, S3_TABLE_CHANGE, change);
    }

    s3_buf_free(&key);

    if (err == 0) {
        s3_batch_row(position, row);
        err = s3_effect_apply(index, S3_EFFECT_PUT, S3_TABLE_BATCH, row);
    }

    if (err == 0) {
        s3_position_row(position, value, row);
        err = s3_effect_apply(index, S3_EFFECT_PUT, S3_TABLE_STATE, row);
    }

    if (err) {
        return err;
    }

    /*
     * Every batch may forget a few: one more than comes in would do, and none
     * has to pay for a history that a lost disk has held for hours.
     */

    stmt = s3_index_stmt(index, S3_SQL_OLDEST, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_step(stmt);
    oldest = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    (void) sqlite3_reset(stmt);

    if (rc != SQLITE_ROW) {
        return s3_index_fail(index, rc);
    }

    bound = keep_from < position->sequence ? (int64_t) keep_from
                                           : (int64_t) position->sequence;

    if (bound <= oldest) {
        return 0;
    }

    row[0].n = bound - oldest > S3_INDEX_TRIM ? oldest + S3_INDEX_TRIM
                                              : bound;

    return s3_effect_apply(index, S3_EFFECT_TRIM, S3_TABLE_BATCH, row);
}


int
s3_index_flush(s3_index_t *index, uint64_t spare)
{
    int  rc, err;

    err = s3_index_ready(index);
    if (err) {
        return err;
    }

    /* pages that a statement holds would stay behind */

    s3_index_reset(index);

    rc = sqlite3_db_cacheflush(index->db);
    if (rc != SQLITE_OK) {
        return s3_index_fail(index, rc);
    }

    err = s3_vfs_sync_wal(index->vfs, spare);
    if (err) {
        return s3_index_error(index, err, "the log can't be synced");
    }

    return 0;
}


int
s3_index_commit(s3_index_t *index)
{
    int  err;

    err = s3_index_ready(index);

    if (err == 0) {
        err = s3_index_run(index, S3_SQL_COMMIT);
    }

    if (err) {
        return err;
    }

    index->batch = 0;

    if (index->frames >= S3_INDEX_CHECKPOINT) {
        s3_index_checkpoint(index);
    }

    return 0;
}


static int
s3_index_wal_hook(void *data, sqlite3 *db, const char *name, int frames)
{
    s3_index_t  *index;

    index = data;
    index->frames = frames;

    return SQLITE_OK;
}


/* the commit stands, whatever comes of this */

static void
s3_index_checkpoint(s3_index_t *index)
{
    int  rc, err;

    rc = sqlite3_wal_checkpoint_v2(index->db, "main",
                                   index->frames >= S3_INDEX_RESTART
                                   ? SQLITE_CHECKPOINT_RESTART
                                   : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    if (rc == SQLITE_OK || rc == SQLITE_BUSY) {
        return;
    }

    err = s3_index_fail(index, rc);

    if (err != ENOSPC && err != ENOMEM) {
        index->failed = err;
    }
}


void
s3_index_rollback(s3_index_t *index)
{
    int  full;

    s3_index_reset(index);

    full = (index->error == ENOSPC);
    index->batch = 0;
    index->error = 0;

    if (!sqlite3_get_autocommit(index->db)) {

        /* its own failure leaves nothing to do: SQLite then reads the state
         * anew, from the log's last commit */

        (void) s3_index_run(index, S3_SQL_ROLLBACK);
    }

    /* a log that has no room to grow starts over, in the room that it has */

    if (full && index->frames && index->failed == 0) {
        s3_index_checkpoint(index);
        index->frames = 0;
    }
}


/* --- reads: one transaction --- */


int
s3_index_read_begin(s3_index_t *index, uint64_t *sequence)
{
    int            err;
    s3_position_t  position;

    if (!index->batch && !index->snapshot) {
        err = s3_index_run(index, S3_SQL_BEGIN);
        if (err) {
            return err;
        }
    }

    err = s3_index_position(index, &position);

    if (err) {
        return s3_index_read_end(index, err);
    }

    *sequence = position.sequence;

    return 0;
}


int
s3_index_read_end(s3_index_t *index, int rc)
{
    int  err;

    s3_index_reset(index);

    if (index->batch || index->snapshot
        || sqlite3_get_autocommit(index->db))
    {
        return rc;
    }

    err = s3_index_run(index, rc ? S3_SQL_ROLLBACK : S3_SQL_COMMIT);

    return rc ? rc : err;
}
