/*
 * Bringing a laggard forward: the current disk's side of it.
 */


#include <errno.h>
#include <string.h>

#include "s3_index_internal.h"


/* the second of the two runs of a catch-up (see s3_index_changes()) */
#define S3_CURSOR_BATCHES    (1ull << 63)



int
s3_index_snapshot(s3_index_t *index, s3_position_t *position)
{
    int  err;

    if (index->batch || index->snapshot) {
        return s3_index_error(index, EINVAL, "no snapshot can begin here");
    }

    err = s3_index_run(index, S3_SQL_BEGIN);
    if (err) {
        return err;
    }

    err = s3_index_position(index, position);
    if (err) {
        return s3_index_read_end(index, err);
    }

    index->snapshot = 1;

    return 0;
}


int
s3_index_release(s3_index_t *index)
{
    if (!index->snapshot) {
        return 0;
    }

    index->snapshot = 0;

    return s3_index_read_end(index, 0);
}


uint64_t
s3_index_log(s3_index_t *index)
{
    sqlite3_file  *file;

    file = NULL;

    if (sqlite3_file_control(index->db, "main", SQLITE_FCNTL_FILE_POINTER,
                             &file)
        != SQLITE_OK || file == NULL)
    {
        return 0;
    }

    return s3_vfs_log(file);
}


/*
 * A batch's row is forgotten before or together with the changes it needs
 * (those of later batches), so that where the row stands they all stand.
 */

int
s3_index_knows(s3_index_t *index, const s3_position_t *position, int *known)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    *known = 0;

    row[S3_BATCH_SEQUENCE].n = (int64_t) position->sequence;

    err = s3_row_get(index, S3_TABLE_BATCH, row, &found);

    if (err == 0 && found) {
        *known = row[S3_BATCH_GENERATION].n == (int64_t) position->generation
                 && row[S3_BATCH_DIGEST].b.len == sizeof(position->digest)
                 && memcmp(row[S3_BATCH_DIGEST].b.data, position->digest,
                           sizeof(position->digest)) == 0;
    }

    s3_row_release(index, S3_TABLE_BATCH);

    return err;
}


/* the rows of change from id on, each with what became of its row.  *next: 0
 * when there are no more */

static int
s3_index_changed(s3_index_t *index, uint64_t id, size_t end,
    s3_buf_t *effects, uint64_t *next)
{
    int            rc, err, found;
    s3_value_t     change[S3_COLUMNS_MAX], row[S3_COLUMNS_MAX];
    s3_table_e     table;
    sqlite3_stmt  *stmt;

    *next = 0;

    stmt = s3_index_stmt(index, S3_SQL_CHANGES, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, (int64_t) id);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    while (rc == SQLITE_ROW) {

        s3_row_columns(stmt, 0, S3_TABLE_CHANGE, change);

        if (effects->len >= end) {
            *next = (uint64_t) change[S3_CHANGE_ID].n;
            rc = SQLITE_DONE;
            break;
        }

        table = (s3_table_e) change[S3_CHANGE_TABLE].n;

        if (change[S3_CHANGE_TABLE].n < S3_TABLE_BUCKET
            || change[S3_CHANGE_TABLE].n >= S3_TABLE_STATE
            || s3_row_read_key(change[S3_CHANGE_KEY].b, table, row) != 0)
        {
            (void) sqlite3_reset(stmt);
            return s3_index_error(index, EBADMSG, "a row of change that makes"
                                                  " no sense");
        }

        s3_effect_write(effects, S3_EFFECT_PUT, S3_TABLE_CHANGE, change);

        err = s3_row_get(index, table, row, &found);
        if (err) {
            (void) sqlite3_reset(stmt);
            return err;
        }

        s3_effect_write(effects, found ? S3_EFFECT_PUT : S3_EFFECT_DELETE,
                        table, row);
        s3_row_release(index, table);

        rc = sqlite3_step(stmt);
    }

    err = rc == SQLITE_DONE ? 0 : s3_index_fail(index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


/* the rows of batch from sequence on, in the same way */

static int
s3_index_batches(s3_index_t *index, uint64_t sequence, size_t end,
    s3_buf_t *effects, uint64_t *next)
{
    int            rc, err;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    *next = 0;

    stmt = s3_index_stmt(index, S3_SQL_BATCHES, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, (int64_t) sequence);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    while (rc == SQLITE_ROW) {

        s3_row_columns(stmt, 0, S3_TABLE_BATCH, row);

        if (effects->len >= end) {
            *next = (uint64_t) row[S3_BATCH_SEQUENCE].n;
            rc = SQLITE_DONE;
            break;
        }

        s3_effect_write(effects, S3_EFFECT_PUT, S3_TABLE_BATCH, row);

        rc = sqlite3_step(stmt);
    }

    err = rc == SQLITE_DONE ? 0 : s3_index_fail(index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


/*
 * First the changes, then the batches, each from the cursor on; with the last
 * of them what this disk has forgotten, and the position: a laggard whose
 * catch-up is cut short in between still stands where it stood.
 */

int
s3_index_changes(s3_index_t *index, uint64_t after, uint64_t *cursor,
    size_t max, s3_buf_t *effects, int *more)
{
    int             rc, err;
    size_t          end;
    uint8_t         value[S3_POSITION_SIZE];
    uint64_t        next;
    s3_value_t      row[S3_COLUMNS_MAX];
    sqlite3_stmt   *stmt;
    s3_position_t   position;

    *more = 1;

    if (after >= INT64_MAX >> S3_INDEX_CHANGE_BITS) {
        return s3_index_error(index, EPROTO, "a sequence out of range");
    }

    end = effects->len + (max ? max : 1);

    if (!(*cursor & S3_CURSOR_BATCHES)) {

        err = s3_index_changed(index, *cursor ? *cursor
                                      : (after + 1) << S3_INDEX_CHANGE_BITS,
                               end, effects, &next);

        *cursor = next ? next : S3_CURSOR_BATCHES | (after + 1);

        if (err == 0 && effects->error) {
            err = s3_index_error(index, effects->error,
                                 "no room for changes");
        }

        if (err || effects->len >= end) {
            return err;
        }
    }

    err = s3_index_batches(index, *cursor & ~S3_CURSOR_BATCHES, end, effects,
                           &next);

    if (err == 0 && next) {
        *cursor = S3_CURSOR_BATCHES | next;

    } else if (err == 0) {
        err = s3_index_position(index, &position);

        stmt = err ? NULL : s3_index_stmt(index, S3_SQL_OLDEST, &err);

        if (stmt) {
            rc = sqlite3_step(stmt);
            row[0].n = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
            (void) sqlite3_reset(stmt);

            if (rc != SQLITE_ROW) {
                return s3_index_fail(index, rc);
            }

            s3_effect_write(effects, S3_EFFECT_TRIM, S3_TABLE_BATCH, row);

            s3_position_row(&position, value, row);
            s3_effect_write(effects, S3_EFFECT_PUT, S3_TABLE_STATE, row);

            *more = 0;
        }
    }

    if (err == 0 && effects->error) {
        err = s3_index_error(index, effects->error, "no room for changes");
    }

    return err;
}
