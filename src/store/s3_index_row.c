/*
 * Tables and rows.  An effect is a row that is put or deleted, in bytes that
 * give the same row on every disk:
 *
 *      0        1        2
 *     +--------+--------+-----------------------------------------
 *     | effect | table  | columns, one after the other ...
 *     +--------+--------+-----------------------------------------
 *
 *     integer column      8 bytes, little endian
 *     blob column         4 bytes length, little endian; the bytes
 *
 *     effect 1, put       all columns: replaces a row of that primary key
 *     effect 2, delete    the columns of the primary key
 *     effect 3, trim      table 11 (batch) and one integer: the rows of
 *                         batch and change below that sequence go
 *
 * A batch's effects stand one after the other without anything between them;
 * the digest is over these bytes.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3_index_internal.h"


const s3_table_t  s3_index_tables[S3_TABLES] = {

    [S3_TABLE_BUCKET] = { "bucket", "biib", 1,
        "name,id,created,config", "id" },

    [S3_TABLE_OBJECT] = { "object", "ibbiiibbbbb", 3,
        "bucket,key,version,flags,size,mtime,etag,checksum,data_id,"
        "attrs,meta", NULL },

    [S3_TABLE_DATA] = { "data", "bbiiiiii", 1,
        "data_id,session,refs,size,mask,geometry,parts,inline", NULL },

    [S3_TABLE_INLINE] = { "inline", "ib", 1,
        "id,bytes", NULL },

    [S3_TABLE_PART] = { "part", "biiiibbbbiib", 2,
        "data_id,part_number,offset,size,mtime,etag,checksum,shard_id,"
        "session,mask,geometry,attrs", "shard_id" },

    [S3_TABLE_UPLOAD] = { "upload", "ibbiibbbb", 3,
        "bucket,key,upload_id,state,initiated,checksum,attrs,meta,result",
        "state" },

    [S3_TABLE_GARBAGE] = { "garbage", "ibbiii", 2,
        "sequence,shard_id,session,mask,size,geometry", "shard_id" },

    [S3_TABLE_VERDICT] = { "verdict", "biii", 2,
        "session,request,status,mtime", NULL },

    [S3_TABLE_MEMBER] = { "member", "ii", 1,
        "slot,since", NULL },

    [S3_TABLE_STATE] = { "state", "bb", 1,
        "name,value", NULL },

    [S3_TABLE_BATCH] = { "batch", "iib", 1,
        "sequence,generation,digest", NULL },

    [S3_TABLE_CHANGE] = { "change", "iib", 1,
        "id,tab,pk", NULL }
};


const char *const  s3_index_sql[S3_SQL_STATEMENTS] = {

    [S3_SQL_BEGIN] = "BEGIN",

    [S3_SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",

    [S3_SQL_COMMIT] = "COMMIT",

    [S3_SQL_ROLLBACK] = "ROLLBACK",

    /* the current version; 2 is S3_OBJECT_NOT_CURRENT */
    [S3_SQL_OBJECT] = "SELECT * FROM object WHERE bucket = ?1 AND key = ?2"
        " AND (flags & 2) = 0 LIMIT 1",

    [S3_SQL_BUCKET_USED] = "SELECT EXISTS"
        "(SELECT 1 FROM object WHERE bucket = ?1)",

    [S3_SQL_BUCKET_BY_ID] = "SELECT EXISTS"
        "(SELECT 1 FROM bucket WHERE id = ?1)",

    [S3_SQL_PARTS] = "SELECT * FROM part WHERE data_id = ?1"
        " ORDER BY part_number",

    [S3_SQL_PARTS_AFTER] = "SELECT * FROM part WHERE data_id = ?1"
        " AND part_number > ?2 ORDER BY part_number LIMIT ?3",

    [S3_SQL_PART_BY_SHARD] = "SELECT * FROM part WHERE shard_id = ?1",

    [S3_SQL_GARBAGE_BY_SHARD] = "SELECT * FROM garbage WHERE shard_id = ?1",

    [S3_SQL_VERDICTS] = "SELECT request FROM verdict"
        " WHERE session = ?1 AND request < ?2 ORDER BY request LIMIT ?3",

    [S3_SQL_TRIM_BATCH] = "DELETE FROM batch WHERE sequence < ?1",

    [S3_SQL_TRIM_CHANGE] = "DELETE FROM change WHERE id < ?1",

    [S3_SQL_OLDEST] = "SELECT sequence FROM batch ORDER BY sequence LIMIT 1",

    [S3_SQL_BATCHES] = "SELECT * FROM batch WHERE sequence >= ?1"
        " ORDER BY sequence",

    [S3_SQL_CHANGES] = "SELECT * FROM change WHERE id >= ?1 ORDER BY id",

    [S3_SQL_BUCKETS] = "SELECT * FROM bucket WHERE name > ?1"
        " ORDER BY name LIMIT ?2",

    [S3_SQL_LIST] = "SELECT key, size, mtime, etag, checksum FROM object"
        " WHERE bucket = ?1 AND key >= ?2 AND flags = 0 ORDER BY key",

    [S3_SQL_UPLOADS] = "SELECT key, upload_id, initiated, checksum"
        " FROM upload WHERE bucket = ?1 AND (key, upload_id) >= (?2, ?3)"
        " ORDER BY key, upload_id",

    [S3_SQL_UPLOAD_OF] = "SELECT * FROM upload WHERE bucket = ?1"
        " ORDER BY key, upload_id LIMIT 1",

    [S3_SQL_UPLOAD_BUCKETS] = "SELECT bucket FROM upload WHERE bucket > ?1"
        " ORDER BY bucket LIMIT 1",

    /* 0: not completed */
    [S3_SQL_COMPLETED] = "SELECT * FROM upload WHERE state <= ?1"
        " AND state > 0 ORDER BY state LIMIT ?2",

    [S3_SQL_OLD_UPLOAD] = "SELECT bucket.name, upload.key, upload.upload_id"
        " FROM upload JOIN bucket ON bucket.id = upload.bucket"
        " WHERE upload.state = 0 AND upload.initiated < ?1 LIMIT 1",

    [S3_SQL_GARBAGE] = "SELECT * FROM garbage WHERE sequence <= ?1"
        " AND (mask & ?2) <> 0 ORDER BY sequence, shard_id LIMIT ?3",

    [S3_SQL_HOLES] = "SELECT * FROM data WHERE data_id > ?1 AND inline = 0"
        " AND parts = 0 AND size > 0 AND (mask & ?2) <> ?2"
        " ORDER BY data_id LIMIT ?3",

    [S3_SQL_PART_HOLES] = "SELECT * FROM part WHERE shard_id > ?1"
        " AND size > 0 AND (mask & ?2) <> ?2 ORDER BY shard_id LIMIT ?3",

    [S3_SQL_MARKED] = "SELECT * FROM data WHERE data_id > ?1"
        " AND (mask & ?2) <> 0 ORDER BY data_id LIMIT ?3",

    [S3_SQL_PART_MARKED] = "SELECT * FROM part WHERE shard_id > ?1"
        " AND (mask & ?2) <> 0 ORDER BY shard_id LIMIT ?3",

    [S3_SQL_SESSIONS] = "SELECT session FROM verdict WHERE session > ?1"
        " ORDER BY session LIMIT 1",

    [S3_SQL_MEMBERS] = "SELECT slot, since FROM member ORDER BY slot"
};


/* --- statements --- */


static sqlite3_stmt *
s3_index_prepare(s3_index_t *index, sqlite3_stmt **stmt, const char *sql,
    int *err)
{
    int  rc;

    rc = sqlite3_prepare_v3(index->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                            stmt, NULL);
    if (rc != SQLITE_OK) {
        *err = s3_index_fail(index, rc);
        return NULL;
    }

    return *stmt;
}


sqlite3_stmt *
s3_index_stmt(s3_index_t *index, s3_sql_e sql, int *err)
{
    sqlite3_stmt  *stmt;

    stmt = index->sql[sql];

    if (stmt) {
        (void) sqlite3_reset(stmt);
        return stmt;
    }

    return s3_index_prepare(index, &index->sql[sql], s3_index_sql[sql], err);
}


int
s3_index_run(s3_index_t *index, s3_sql_e sql)
{
    int            rc, err;
    sqlite3_stmt  *stmt;

    stmt = s3_index_stmt(index, sql, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_step(stmt);

    err = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0
                                                : s3_index_fail(index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


static sqlite3_stmt *
s3_row_stmt(s3_index_t *index, s3_table_e table, s3_row_e what, int *err)
{
    int                len;
    char               sql[512];
    size_t             n;
    unsigned           i, ncolumns;
    const char        *name;
    sqlite3_stmt      *stmt;
    const s3_table_t  *t;

    stmt = index->rows[table][what];

    if (stmt) {
        (void) sqlite3_reset(stmt);
        return stmt;
    }

    t = &s3_index_tables[table];
    ncolumns = (unsigned) strlen(t->types);

    if (what == S3_ROW_PUT) {
        len = snprintf(sql, sizeof(sql), "INSERT OR REPLACE INTO \"%s\""
                       " VALUES (", t->name);

        for (i = 0; i < ncolumns; i++) {
            len += snprintf(sql + len, sizeof(sql) - (size_t) len, "%s?%u",
                            i ? ", " : "", i + 1);
        }

        (void) snprintf(sql + len, sizeof(sql) - (size_t) len, ")");

    } else {
        len = snprintf(sql, sizeof(sql), "%s FROM \"%s\" WHERE ",
                       what == S3_ROW_GET ? "SELECT *" : "DELETE", t->name);

        name = t->columns;

        for (i = 0; i < t->nkey; i++) {
            n = strcspn(name, ",");
            len += snprintf(sql + len, sizeof(sql) - (size_t) len,
                            "%s\"%.*s\" = ?%u", i ? " AND " : "", (int) n,
                            name, i + 1);
            name += n + 1;
        }
    }

    return s3_index_prepare(index, &index->rows[table][what], sql, err);
}


void
s3_index_reset(s3_index_t *index)
{
    unsigned  i, j;

    for (i = 0; i < S3_TABLES; i++) {
        for (j = 0; j < S3_ROW_STATEMENTS; j++) {
            (void) sqlite3_reset(index->rows[i][j]);
        }
    }

    for (i = 0; i < S3_SQL_STATEMENTS; i++) {
        (void) sqlite3_reset(index->sql[i]);
    }
}


void
s3_index_finalize(s3_index_t *index)
{
    unsigned  i, j;

    for (i = 0; i < S3_TABLES; i++) {
        for (j = 0; j < S3_ROW_STATEMENTS; j++) {
            (void) sqlite3_finalize(index->rows[i][j]);
            index->rows[i][j] = NULL;
        }
    }

    for (i = 0; i < S3_SQL_STATEMENTS; i++) {
        (void) sqlite3_finalize(index->sql[i]);
        index->sql[i] = NULL;
    }
}


int
s3_bind_blob(sqlite3_stmt *stmt, int i, const void *p, size_t len)
{
    /* a NULL pointer would be bound as SQL's NULL */

    return sqlite3_bind_blob(stmt, i, len ? p : "", (int) len, SQLITE_STATIC);
}


s3_slice_t
s3_column_blob(sqlite3_stmt *stmt, int i)
{
    s3_slice_t  s;

    s.data = sqlite3_column_blob(stmt, i);
    s.len = s.data ? (size_t) sqlite3_column_bytes(stmt, i) : 0;

    return s;
}


/* --- rows --- */


void
s3_row_columns(sqlite3_stmt *stmt, int i, s3_table_e table, s3_value_t *row)
{
    const char  *type;

    for (type = s3_index_tables[table].types; *type; type++, row++, i++) {

        if (*type == 'i') {
            row->n = sqlite3_column_int64(stmt, i);

        } else {
            row->b = s3_column_blob(stmt, i);
        }
    }
}


int
s3_row_bind(s3_index_t *index, sqlite3_stmt *stmt, s3_table_e table,
    const s3_value_t *row, unsigned n)
{
    int          rc;
    unsigned     i;
    const char  *types;

    types = s3_index_tables[table].types;

    for (i = 0; i < n; i++) {

        if (types[i] == 'i') {
            rc = sqlite3_bind_int64(stmt, (int) i + 1, row[i].n);

        } else {
            rc = s3_bind_blob(stmt, (int) i + 1, row[i].b.data, row[i].b.len);
        }

        if (rc != SQLITE_OK) {
            return s3_index_fail(index, rc);
        }
    }

    return 0;
}


int
s3_row_get(s3_index_t *index, s3_table_e table, s3_value_t *row, int *found)
{
    int            rc, err;
    sqlite3_stmt  *stmt;

    *found = 0;

    stmt = s3_row_stmt(index, table, S3_ROW_GET, &err);
    if (stmt == NULL) {
        return err;
    }

    err = s3_row_bind(index, stmt, table, row, s3_index_tables[table].nkey);
    if (err) {
        return err;
    }

    rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW) {
        s3_row_columns(stmt, 0, table, row);
        *found = 1;
        return 0;
    }

    err = rc == SQLITE_DONE ? 0 : s3_index_fail(index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


void
s3_row_release(s3_index_t *index, s3_table_e table)
{
    (void) sqlite3_reset(index->rows[table][S3_ROW_GET]);
}


static void
s3_row_write(s3_buf_t *b, s3_table_e table, const s3_value_t *row,
    unsigned n)
{
    unsigned     i;
    const char  *types;

    types = s3_index_tables[table].types;

    for (i = 0; i < n; i++) {

        if (types[i] == 'i') {
            s3_buf_u64(b, (uint64_t) row[i].n);

        } else {
            s3_buf_slice(b, row[i].b.data, row[i].b.len);
        }
    }
}


static void
s3_row_read(s3_reader_t *r, s3_table_e table, s3_value_t *row, unsigned n)
{
    unsigned     i;
    const char  *types;

    types = s3_index_tables[table].types;

    for (i = 0; i < n; i++) {

        if (types[i] == 'i') {
            row[i].n = (int64_t) s3_read_u64(r);

        } else {
            row[i].b = s3_read_slice(r);
        }
    }
}


void
s3_row_write_key(s3_buf_t *b, s3_table_e table, const s3_value_t *row)
{
    s3_row_write(b, table, row, s3_index_tables[table].nkey);
}


int
s3_row_read_key(s3_slice_t key, s3_table_e table, s3_value_t *row)
{
    s3_reader_t  r;

    s3_reader_init(&r, key.data, key.len);
    s3_row_read(&r, table, row, s3_index_tables[table].nkey);

    return r.error || r.pos != r.last ? EPROTO : 0;
}


int64_t
s3_geometry_pack(const s3_geometry_t *g)
{
    return (int64_t) g->k | (int64_t) g->m << 8 | (int64_t) g->unit << 16;
}


void
s3_geometry_unpack(int64_t v, s3_geometry_t *g)
{
    g->k = (uint8_t) v;
    g->m = (uint8_t) (v >> 8);
    g->unit = (uint32_t) (v >> 16);
}


/* --- effects --- */


static unsigned
s3_effect_columns(s3_effect_e effect, s3_table_e table)
{
    return effect == S3_EFFECT_PUT
           ? (unsigned) strlen(s3_index_tables[table].types)
           : s3_index_tables[table].nkey;
}


void
s3_effect_write(s3_buf_t *b, s3_effect_e effect, s3_table_e table,
    const s3_value_t *row)
{
    s3_buf_u8(b, (uint8_t) effect);
    s3_buf_u8(b, (uint8_t) table);
    s3_row_write(b, table, row, s3_effect_columns(effect, table));
}


int
s3_effect_read(s3_reader_t *r, s3_effect_e *effect, s3_table_e *table,
    s3_value_t *row)
{
    *effect = s3_read_u8(r);
    *table = s3_read_u8(r);

    if (r->error
        || *effect < S3_EFFECT_PUT || *effect >= S3_EFFECTS
        || *table < S3_TABLE_BUCKET || *table >= S3_TABLES
        || (*effect == S3_EFFECT_TRIM && *table != S3_TABLE_BATCH))
    {
        return EPROTO;
    }

    s3_row_read(r, *table, row, s3_effect_columns(*effect, *table));

    return r->error ? EPROTO : 0;
}


static int
s3_effect_trim(s3_index_t *index, int64_t sequence)
{
    int            rc, err;
    sqlite3_stmt  *batch, *change;

    batch = s3_index_stmt(index, S3_SQL_TRIM_BATCH, &err);
    if (batch == NULL) {
        return err;
    }

    change = s3_index_stmt(index, S3_SQL_TRIM_CHANGE, &err);
    if (change == NULL) {
        return err;
    }

    if (sequence < 0 || sequence > INT64_MAX >> S3_INDEX_CHANGE_BITS) {
        return s3_index_error(index, EPROTO, "a sequence out of range");
    }

    rc = sqlite3_bind_int64(batch, 1, sequence);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(change, 1, sequence << S3_INDEX_CHANGE_BITS);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(batch);
    }

    if (rc == SQLITE_DONE) {
        rc = sqlite3_step(change);
    }

    err = rc == SQLITE_DONE ? 0 : s3_index_fail(index, rc);

    (void) sqlite3_reset(batch);
    (void) sqlite3_reset(change);

    return err;
}


int
s3_effect_apply(s3_index_t *index, s3_effect_e effect, s3_table_e table,
    const s3_value_t *row)
{
    int            rc, err;
    sqlite3_stmt  *stmt;

    if (effect == S3_EFFECT_TRIM) {
        return s3_effect_trim(index, row[0].n);
    }

    stmt = s3_row_stmt(index, table, effect == S3_EFFECT_PUT ? S3_ROW_PUT
                                                             : S3_ROW_DELETE,
                       &err);
    if (stmt == NULL) {
        return err;
    }

    err = s3_row_bind(index, stmt, table, row,
                      s3_effect_columns(effect, table));
    if (err) {
        return err;
    }

    rc = sqlite3_step(stmt);

    err = rc == SQLITE_DONE ? 0 : s3_index_fail(index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


int
s3_index_emit(s3_index_t *index, s3_buf_t *effects, s3_effect_e effect,
    s3_table_e table, const s3_value_t *row)
{
    int          err;
    size_t       at;
    s3_value_t   copy[S3_COLUMNS_MAX];
    s3_table_e   t;
    s3_effect_e  e;
    s3_reader_t  r;

    at = effects->len;

    s3_effect_write(effects, effect, table, row);

    if (effects->error) {
        return s3_index_error(index, effects->error,
                              "no room for a batch's effects");
    }

    /* what is applied are the very bytes that the others get, which also
     * outlive the row read from the table that now changes */

    s3_row_release(index, table);

    s3_reader_init(&r, effects->data + at, effects->len - at);

    err = s3_effect_read(&r, &e, &t, copy);
    if (err) {
        return s3_index_error(index, err, "an effect that can't be read");
    }

    return s3_effect_apply(index, e, t, copy);
}


/* --- the tables' SQL --- */


/*
 * A table with one integer as its key is ordered by it anyway; all others
 * are WITHOUT ROWID, b-trees in the order of their primary key.
 */

char *
s3_table_create(s3_table_e table)
{
    int                rowid;
    char              *sql, *last;
    size_t             n;
    unsigned           i;
    const char        *name, *keys, *type;
    const s3_table_t  *t;

    t = &s3_index_tables[table];
    rowid = t->nkey == 1 && t->types[0] == 'i';

    sql = sqlite3_mprintf("CREATE TABLE \"%w\" (", t->name);
    name = t->columns;

    for (i = 0; sql && t->types[i]; i++) {
        n = strcspn(name, ",");
        last = sql;

        type = t->types[i] == 'b' ? "BLOB NOT NULL"
               : rowid && i == 0 ? "INTEGER PRIMARY KEY"
               : "INTEGER NOT NULL";

        sql = sqlite3_mprintf("%s%s\"%.*w\" %s", last, i ? ", " : "", (int) n,
                              name, type);
        sqlite3_free(last);
        name += n + 1;
    }

    if (sql == NULL) {
        return NULL;
    }

    last = sql;

    if (rowid) {
        sql = sqlite3_mprintf("%s)", last);

    } else {
        keys = t->columns;
        name = keys;

        for (i = 0; i < t->nkey; i++) {
            name += strcspn(name, ",") + 1;
        }

        sql = sqlite3_mprintf("%s, PRIMARY KEY (%.*s)) WITHOUT ROWID", last,
                              (int) (name - 1 - keys), keys);
    }

    sqlite3_free(last);

    return sql;
}


char *
s3_table_create_index(s3_table_e table)
{
    const s3_table_t  *t;

    t = &s3_index_tables[table];

    if (t->index == NULL) {
        return NULL;
    }

    return sqlite3_mprintf("CREATE INDEX \"%w_by_%w\" ON \"%w\" (\"%w\")",
                           t->name, t->index, t->name, t->index);
}
