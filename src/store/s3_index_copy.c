/*
 * All rows of an index, for a fresh copy on another disk: the current disk's
 * side of it; what makes an index one file; and whether a page of that is
 * damaged.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3_index_internal.h"


static int s3_index_table_rows(s3_index_t *index, s3_index_cursor_t *cursor,
    size_t end, s3_buf_t *effects, int *more);
static sqlite3_stmt *s3_index_table_stmt(s3_index_t *index, s3_table_e table,
    int after, int *err);


int
s3_index_rows(s3_index_t *index, s3_index_cursor_t *cursor, size_t max,
    s3_buf_t *effects, int *more)
{
    int       err, rest;
    size_t    end;
    uint64_t  sequence;

    *more = 1;
    end = effects->len + (max ? max : 1);

    if (cursor->table == 0) {
        cursor->table = S3_TABLE_BUCKET;
        cursor->key.len = 0;
    }

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    while (err == 0 && cursor->table < S3_TABLES && effects->len < end) {

        rest = 0;

        /* the position comes with the last change */

        if (cursor->table != S3_TABLE_STATE) {
            err = s3_index_table_rows(index, cursor, end, effects, &rest);
        }

        if (err == 0 && !rest) {
            cursor->table++;
            cursor->key.len = 0;
        }
    }

    *more = cursor->table < S3_TABLES;

    return s3_index_read_end(index, err);
}


static int
s3_index_table_rows(s3_index_t *index, s3_index_cursor_t *cursor, size_t end,
    s3_buf_t *effects, int *more)
{
    int            rc, err;
    s3_slice_t     key;
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_table_e     table;
    sqlite3_stmt  *stmt;

    table = (s3_table_e) cursor->table;

    stmt = s3_index_table_stmt(index, table, cursor->key.len != 0, &err);
    if (stmt == NULL) {
        return err;
    }

    if (cursor->key.len) {
        key.data = cursor->key.data;
        key.len = cursor->key.len;

        err = s3_row_read_key(key, table, row);

        if (err == 0) {
            err = s3_row_bind(index, stmt, table, row,
                              s3_index_tables[table].nkey);
        }

        if (err) {
            (void) sqlite3_finalize(stmt);
            return err;
        }
    }

    *more = 0;

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {

        s3_row_columns(stmt, 0, table, row);
        s3_effect_write(effects, S3_EFFECT_PUT, table, row);

        if (effects->len < end && !effects->error) {
            continue;
        }

        cursor->key.len = 0;
        s3_row_write_key(&cursor->key, table, row);
        *more = 1;
        break;
    }

    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        err = effects->error ? effects->error : cursor->key.error;

        if (err) {
            err = s3_index_error(index, err, "no room for rows");
        }

    } else {
        err = s3_index_fail(index, rc);
    }

    (void) sqlite3_finalize(stmt);

    return err;
}


/* a statement of its own: a table has one or two pieces' worth of use for it
 * at a time, and finalizing it ends its read */

static sqlite3_stmt *
s3_index_table_stmt(s3_index_t *index, s3_table_e table, int after, int *err)
{
    int                rc, len;
    char               sql[256], key[128];
    size_t             n, at;
    unsigned           i;
    const char        *name;
    sqlite3_stmt      *stmt;
    const s3_table_t  *t;

    t = &s3_index_tables[table];

    /* the primary key's columns are the first */

    name = t->columns;
    at = 0;

    for (i = 0; i < t->nkey; i++) {
        n = strcspn(name + at, ",");
        at += n + (i + 1 < t->nkey);
    }

    (void) snprintf(key, sizeof(key), "%.*s", (int) at, name);

    len = snprintf(sql, sizeof(sql), "SELECT * FROM \"%s\"", t->name);

    if (after) {
        len += snprintf(sql + len, sizeof(sql) - (size_t) len,
                        " WHERE (%s) > (", key);

        for (i = 0; i < t->nkey; i++) {
            len += snprintf(sql + len, sizeof(sql) - (size_t) len, "%s?%u",
                            i ? ", " : "", i + 1);
        }

        len += snprintf(sql + len, sizeof(sql) - (size_t) len, ")");
    }

    (void) snprintf(sql + len, sizeof(sql) - (size_t) len, " ORDER BY %s",
                    key);

    *err = 0;

    rc = sqlite3_prepare_v2(index->db, sql, -1, &stmt, NULL);

    if (rc != SQLITE_OK) {
        *err = s3_index_fail(index, rc);
        return NULL;
    }

    return stmt;
}


int
s3_index_fold(s3_index_t *index)
{
    int  rc, err, left, done;

    if (!index->writer || index->batch || index->failed) {
        return s3_index_error(index, index->failed ? index->failed : EINVAL,
                              "its log can't be folded here");
    }

    rc = sqlite3_wal_checkpoint_v2(index->db, "main",
                                   SQLITE_CHECKPOINT_TRUNCATE, &left, &done);

    if (rc != SQLITE_OK) {
        return s3_index_fail(index, rc);
    }

    if (left != 0) {
        return s3_index_error(index, EBUSY, "its log is in use");
    }

    /* a log that is cut off must not be back after a power cut: it would be
     * taken for the next database's */

    err = s3_vfs_sync_wal(index->vfs, 0);

    return err ? s3_index_error(index, err, "the log can't be synced") : 0;
}


int
s3_index_page(s3_index_t *index, uint32_t pgno, int bad, int *damaged)
{
    int  rc, left, done, strict;

    if (!index->writer || index->batch || index->failed) {
        return EBUSY;
    }

    strict = (bad == 2);

    if (s3_vfs_pages(index->vfs, pgno, 1, strict, damaged) == 1
        || !*damaged)
    {
        return 0;
    }

    /* it may have a better one in the log */

    rc = sqlite3_wal_checkpoint_v2(index->db, "main",
                                   SQLITE_CHECKPOINT_PASSIVE, &left, &done);

    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
        return s3_index_fail(index, rc);
    }

    if (rc != SQLITE_OK || left != done) {
        return EBUSY;
    }

    (void) s3_vfs_pages(index->vfs, pgno, 1, strict, damaged);

    return 0;
}
