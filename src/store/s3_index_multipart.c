/*
 * What the commits of multipart uploads mean.
 *
 *     upload  bucket, key, upload_id       part  upload_id, 1, 2, 3 ...
 *        |
 *        | COMPLETE                           offsets; what was not named goes
 *        v
 *     upload  -bucket, key, upload_id      part  upload_id, 1, 3 ...
 *             state, result                data  upload_id, parts = 2
 *                                          object  bucket, key -> upload_id
 *
 * Parts stand under the upload's id, which is the data id of the object that
 * it becomes: a Complete moves no data and renames no shard.  An upload that
 * is completed has the negative of its bucket's id: lists never meet it.
 */


#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "s3_index_internal.h"


/* rows of part that are looked at before they are changed */
#define S3_PARTS_STEP    128

/* rows that one REAP removes */
#define S3_REAP_ROWS     256


static int s3_decide_upload(s3_decision_t *d, int64_t bucket,
    s3_value_t *row, int *completed);
static int s3_complete_check(s3_decision_t *d, int64_t *size,
    int64_t *count);
static int s3_complete_parts(s3_decision_t *d);
static int s3_parts_bind(s3_decision_t *d, const uint8_t *data_id,
    int64_t after, sqlite3_stmt **stmt, int *rc);
static int s3_parts_emit(s3_decision_t *d, s3_buf_t *changes);
static int s3_upload_ready(s3_decision_t *d, int64_t *bucket);


int
s3_decide_create_upload(s3_decision_t *d)
{
    int                 rc, err, found;
    int64_t             bucket;
    s3_value_t          row[S3_COLUMNS_MAX];
    sqlite3_stmt       *stmt;
    const s3_commit_t  *c;

    c = d->commit;

    err = s3_upload_ready(d, &bucket);

    if (err || d->status != S3_STORE_OK) {
        return err;
    }

    err = s3_decide_upload(d, bucket, row, &found);

    if (err) {
        return err;
    }

    s3_row_release(d->index, S3_TABLE_UPLOAD);

    if (d->status == S3_STORE_OK || found) {
        d->status = S3_STORE_CONFLICT;
        return 0;
    }

    d->status = S3_STORE_OK;

    /* an object that was uploaded under it, or parts of another key's */

    row[S3_DATA_ID].b = s3_id(c->upload_id);

    err = s3_row_get(d->index, S3_TABLE_DATA, row, &found);
    if (err) {
        return err;
    }

    s3_row_release(d->index, S3_TABLE_DATA);

    if (!found) {
        err = s3_parts_bind(d, c->upload_id, 0, &stmt, &rc);
        if (err) {
            return err;
        }

        found = rc == SQLITE_ROW;
        (void) sqlite3_reset(stmt);
    }

    if (found) {
        d->status = S3_STORE_CONFLICT;
        return 0;
    }

    memset(row, 0, sizeof(row));

    row[S3_UPLOAD_BUCKET].n = bucket;
    row[S3_UPLOAD_KEY].b = c->key;
    row[S3_UPLOAD_ID].b = s3_id(c->upload_id);
    row[S3_UPLOAD_INITIATED].n = c->mtime;
    row[S3_UPLOAD_CHECKSUM].b = c->checksum;
    row[S3_UPLOAD_ATTRS].b = c->attrs;
    row[S3_UPLOAD_META].b = c->meta;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                         S3_TABLE_UPLOAD, row);
}


/* names that can be, and the bucket */

static int
s3_upload_ready(s3_decision_t *d, int64_t *bucket)
{
    if (d->commit->key.len == 0 || d->commit->key.len > S3_KEY_MAX) {
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }

    return s3_decide_bucket(d, d->commit->bucket, bucket);
}


/*
 * The commit's upload, which is not completed, into row; or NO_SUCH_UPLOAD as
 * d->status, and whether it is completed.  Blobs are SQLite's memory until
 * the release of the table.
 */

static int
s3_decide_upload(s3_decision_t *d, int64_t bucket, s3_value_t *row,
    int *completed)
{
    int  err, found;

    *completed = 0;

    row[S3_UPLOAD_BUCKET].n = bucket;
    row[S3_UPLOAD_KEY].b = d->commit->key;
    row[S3_UPLOAD_ID].b = s3_id(d->commit->upload_id);

    err = s3_row_get(d->index, S3_TABLE_UPLOAD, row, &found);

    if (err || found) {
        return err;
    }

    d->status = S3_STORE_NO_SUCH_UPLOAD;

    row[S3_UPLOAD_BUCKET].n = -bucket;

    err = s3_row_get(d->index, S3_TABLE_UPLOAD, row, completed);

    s3_row_release(d->index, S3_TABLE_UPLOAD);

    return err;
}


int
s3_decide_part(s3_decision_t *d)
{
    int                 err, used, found;
    int64_t             bucket;
    s3_value_t          row[S3_COLUMNS_MAX];
    const s3_commit_t  *c;

    c = d->commit;

    if (c->number == 0 || c->number > S3_PARTS_MAX || c->is_inline
        || c->data.len || c->size > S3_EXTENT_MAX
        || (c->size && c->geometry.k == 0))
    {
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }

    /* before anything may call these shards garbage, as of a PUT */

    err = s3_decide_used(d, &used);
    if (err) {
        return err;
    }

    if (used) {
        d->status = S3_STORE_SHARDS_MISSING;
        return 0;
    }

    err = s3_upload_ready(d, &bucket);

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_upload(d, bucket, row, &found);
        s3_row_release(d->index, S3_TABLE_UPLOAD);
    }

    if (err) {
        return err;
    }

    if (d->status != S3_STORE_OK) {
        return s3_decide_refuse(d);
    }

    row[S3_PART_DATA_ID].b = s3_id(c->upload_id);
    row[S3_PART_NUMBER].n = c->number;

    err = s3_row_get(d->index, S3_TABLE_PART, row, &found);

    if (err == 0 && found) {
        err = s3_decide_bury(d, row[S3_PART_SHARD_ID].b,
                             row[S3_PART_SESSION].b, row[S3_PART_SIZE].n,
                             row[S3_PART_GEOMETRY].n);
    }

    s3_row_release(d->index, S3_TABLE_PART);

    if (err) {
        return err;
    }

    memset(row, 0, sizeof(row));

    row[S3_PART_DATA_ID].b = s3_id(c->upload_id);
    row[S3_PART_NUMBER].n = c->number;
    row[S3_PART_SIZE].n = (int64_t) c->size;
    row[S3_PART_MTIME].n = c->mtime;
    row[S3_PART_ETAG].b = c->etag;
    row[S3_PART_CHECKSUM].b = c->checksum;
    row[S3_PART_SHARD_ID].b = s3_id(c->shard_id);
    row[S3_PART_SESSION].b = s3_id(c->session);
    row[S3_PART_MASK].n = c->size ? (int64_t) c->mask : 0;
    row[S3_PART_GEOMETRY].n = c->size ? s3_geometry_pack(&c->geometry) : 0;
    row[S3_PART_ATTRS].b = c->attrs;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT, S3_TABLE_PART,
                         row);
}


int
s3_decide_complete(s3_decision_t *d)
{
    int                 err, found, completed;
    int64_t             bucket, size, count;
    uint8_t             old[16];
    s3_value_t          row[S3_COLUMNS_MAX], other[S3_COLUMNS_MAX];
    const s3_commit_t  *c;

    c = d->commit;

    err = s3_upload_ready(d, &bucket);

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_upload(d, bucket, row, &completed);

        s3_row_release(d->index, S3_TABLE_UPLOAD);

        if (completed) {
            d->status = S3_STORE_CONFLICT;
        }
    }

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_object(d, bucket, &found, old);
    }

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_complete_check(d, &size, &count);
    }

    if (err || d->status != S3_STORE_OK) {
        return err;
    }

    /* nothing refuses it any more */

    if (found) {
        err = s3_decide_unref(d, old);
        if (err) {
            return err;
        }
    }

    err = s3_complete_parts(d);
    if (err) {
        return err;
    }

    memset(row, 0, sizeof(row));

    row[S3_DATA_ID].b = s3_id(c->upload_id);
    row[S3_DATA_SESSION].b = s3_id(c->session);
    row[S3_DATA_REFS].n = 1;
    row[S3_DATA_SIZE].n = size;
    row[S3_DATA_PARTS].n = count;

    err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT, S3_TABLE_DATA,
                        row);
    if (err) {
        return err;
    }

    /* the upload's row is SQLite's memory from here to its release */

    err = s3_decide_upload(d, bucket, row, &completed);
    if (err) {
        return err;
    }

    memset(other, 0, sizeof(other));

    other[S3_OBJECT_BUCKET].n = bucket;
    other[S3_OBJECT_KEY].b = c->key;
    other[S3_OBJECT_SIZE].n = size;
    other[S3_OBJECT_MTIME].n = c->mtime;
    other[S3_OBJECT_ETAG].b = c->etag;
    other[S3_OBJECT_CHECKSUM].b = c->checksum;
    other[S3_OBJECT_DATA_ID].b = s3_id(c->upload_id);
    other[S3_OBJECT_ATTRS].b = row[S3_UPLOAD_ATTRS].b;
    other[S3_OBJECT_META].b = row[S3_UPLOAD_META].b;

    err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                        S3_TABLE_OBJECT, other);

    if (err == 0) {
        row[S3_UPLOAD_BUCKET].n = -bucket;
        row[S3_UPLOAD_STATE].n = c->mtime > 0 ? c->mtime : 1;
        row[S3_UPLOAD_RESULT].b = c->result;

        err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                            S3_TABLE_UPLOAD, row);
    }

    s3_row_release(d->index, S3_TABLE_UPLOAD);

    if (err) {
        return err;
    }

    row[S3_UPLOAD_BUCKET].n = bucket;
    row[S3_UPLOAD_KEY].b = c->key;
    row[S3_UPLOAD_ID].b = s3_id(c->upload_id);

    return s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                         S3_TABLE_UPLOAD, row);
}


/*
 * Whether the parts that the commit names are there, by number and shard id:
 * one that was uploaded anew in between is another.
 */

static int
s3_complete_check(s3_decision_t *d, int64_t *size, int64_t *count)
{
    int            rc, err;
    uint8_t        shard_id[16];
    uint32_t       number, last;
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_reader_t    r;
    sqlite3_stmt  *stmt;

    *size = 0;
    *count = 0;
    last = 0;

    if (d->commit->parts.len == 0
        || d->commit->parts.len > S3_PARTS_MAX * S3_PART_REF_LEN)
    {
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }

    s3_reader_init(&r, d->commit->parts.data, d->commit->parts.len);

    stmt = s3_index_stmt(d->index, S3_SQL_PARTS, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = s3_bind_blob(stmt, 1, d->commit->upload_id, 16);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    while (r.pos != r.last
           && (rc == SQLITE_ROW || rc == SQLITE_DONE))
    {
        number = s3_read_u32(&r);
        s3_read_bytes(&r, shard_id, 16);

        if (r.error || number <= last || number > S3_PARTS_MAX) {
            d->status = S3_STORE_BAD_REQUEST;
            break;
        }

        last = number;

        while (rc == SQLITE_ROW && sqlite3_column_int64(stmt, S3_PART_NUMBER)
                                   < (int64_t) number)
        {
            rc = sqlite3_step(stmt);
        }

        if (rc != SQLITE_ROW) {
            d->status = S3_STORE_CONFLICT;
            break;
        }

        s3_row_columns(stmt, 0, S3_TABLE_PART, row);

        if (row[S3_PART_NUMBER].n != (int64_t) number
            || row[S3_PART_SHARD_ID].b.len != 16
            || memcmp(row[S3_PART_SHARD_ID].b.data, shard_id, 16) != 0)
        {
            d->status = S3_STORE_CONFLICT;
            break;
        }

        /* no overflow: S3_PARTS_MAX * S3_EXTENT_MAX */

        *size += row[S3_PART_SIZE].n;
        (*count)++;
    }

    err = rc == SQLITE_ROW || rc == SQLITE_DONE
          ? 0 : s3_index_fail(d->index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


/* the first rows behind a number; *rc: SQLITE_ROW or SQLITE_DONE */

static int
s3_parts_bind(s3_decision_t *d, const uint8_t *data_id, int64_t after,
    sqlite3_stmt **stmt, int *rc)
{
    int  err;

    *stmt = s3_index_stmt(d->index, S3_SQL_PARTS_AFTER, &err);
    if (*stmt == NULL) {
        return err;
    }

    *rc = s3_bind_blob(*stmt, 1, data_id, 16);

    if (*rc == SQLITE_OK) {
        *rc = sqlite3_bind_int64(*stmt, 2, after);
    }

    if (*rc == SQLITE_OK) {
        *rc = sqlite3_bind_int(*stmt, 3, S3_PARTS_STEP);
    }

    if (*rc == SQLITE_OK) {
        *rc = sqlite3_step(*stmt);
    }

    if (*rc == SQLITE_ROW || *rc == SQLITE_DONE) {
        return 0;
    }

    err = s3_index_fail(d->index, *rc);
    (void) sqlite3_reset(*stmt);

    return err;
}


/* a statement must not walk over a table that changes under it: what becomes
 * of its rows is gathered, and done after it */

static int
s3_parts_emit(s3_decision_t *d, s3_buf_t *changes)
{
    int          err;
    s3_value_t   row[S3_COLUMNS_MAX];
    s3_table_e   table;
    s3_effect_e  effect;
    s3_reader_t  r;

    if (changes->error) {
        return s3_index_error(d->index, changes->error, "no room for parts");
    }

    err = 0;
    s3_reader_init(&r, changes->data, changes->len);

    while (err == 0 && r.pos != r.last) {

        err = s3_effect_read(&r, &effect, &table, row);

        if (err) {
            return s3_index_error(d->index, err,
                                  "an effect that can't be read");
        }

        err = s3_index_emit(d->index, d->effects, effect, table, row);
    }

    changes->len = 0;

    return err;
}


/* those that are named get their place in the object, others are garbage */

static int
s3_complete_parts(s3_decision_t *d)
{
    int                 rc, err;
    int64_t             after, offset;
    uint8_t             shard_id[16];
    uint32_t            number;
    s3_buf_t            changes;
    s3_value_t          row[S3_COLUMNS_MAX];
    s3_reader_t         r;
    sqlite3_stmt       *stmt;
    const s3_commit_t  *c;

    c = d->commit;
    after = 0;
    offset = 0;

    memset(&changes, 0, sizeof(s3_buf_t));

    s3_reader_init(&r, c->parts.data, c->parts.len);

    number = s3_read_u32(&r);
    s3_read_bytes(&r, shard_id, 16);

    for ( ;; ) {

        err = s3_parts_bind(d, c->upload_id, after, &stmt, &rc);

        if (err || rc == SQLITE_DONE) {
            break;
        }

        for ( /* void */ ; err == 0 && rc == SQLITE_ROW;
             rc = sqlite3_step(stmt))
        {
            s3_row_columns(stmt, 0, S3_TABLE_PART, row);
            after = row[S3_PART_NUMBER].n;

            if (after != (int64_t) number) {
                err = s3_decide_bury(d, row[S3_PART_SHARD_ID].b,
                                     row[S3_PART_SESSION].b,
                                     row[S3_PART_SIZE].n,
                                     row[S3_PART_GEOMETRY].n);
                s3_effect_write(&changes, S3_EFFECT_DELETE, S3_TABLE_PART,
                                row);
                continue;
            }

            if (row[S3_PART_OFFSET].n != offset) {
                row[S3_PART_OFFSET].n = offset;
                s3_effect_write(&changes, S3_EFFECT_PUT, S3_TABLE_PART, row);
            }

            offset += row[S3_PART_SIZE].n;
            number = 0;

            if (r.pos != r.last) {
                number = s3_read_u32(&r);
                s3_read_bytes(&r, shard_id, 16);
            }
        }

        if (err == 0 && rc != SQLITE_DONE) {
            err = s3_index_fail(d->index, rc);
        }

        (void) sqlite3_reset(stmt);

        if (err == 0) {
            err = s3_parts_emit(d, &changes);
        }

        if (err) {
            break;
        }
    }

    s3_buf_free(&changes);

    return err;
}


int
s3_decide_bury_parts(s3_decision_t *d, const uint8_t *data_id, unsigned *max)
{
    int            rc, err;
    int64_t        after;
    s3_buf_t       changes;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    after = 0;
    memset(&changes, 0, sizeof(s3_buf_t));

    do {
        err = s3_parts_bind(d, data_id, after, &stmt, &rc);

        if (err || rc == SQLITE_DONE) {
            break;
        }

        for ( /* void */ ; err == 0 && rc == SQLITE_ROW && *max;
             rc = sqlite3_step(stmt))
        {
            s3_row_columns(stmt, 0, S3_TABLE_PART, row);
            after = row[S3_PART_NUMBER].n;

            err = s3_decide_bury(d, row[S3_PART_SHARD_ID].b,
                                 row[S3_PART_SESSION].b, row[S3_PART_SIZE].n,
                                 row[S3_PART_GEOMETRY].n);
            s3_effect_write(&changes, S3_EFFECT_DELETE, S3_TABLE_PART, row);
            (*max)--;
        }

        if (err == 0 && rc != SQLITE_ROW && rc != SQLITE_DONE) {
            err = s3_index_fail(d->index, rc);
        }

        (void) sqlite3_reset(stmt);

        if (err == 0) {
            err = s3_parts_emit(d, &changes);
        }

    } while (err == 0 && *max);

    s3_buf_free(&changes);

    return err;
}


int
s3_decide_abort(s3_decision_t *d)
{
    int         err, completed;
    int64_t     bucket;
    unsigned    max;
    s3_value_t  row[S3_COLUMNS_MAX];

    err = s3_upload_ready(d, &bucket);

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_upload(d, bucket, row, &completed);
        s3_row_release(d->index, S3_TABLE_UPLOAD);
    }

    if (err || d->status != S3_STORE_OK) {
        return err;
    }

    max = UINT_MAX;

    err = s3_decide_bury_parts(d, d->commit->upload_id, &max);
    if (err) {
        return err;
    }

    row[S3_UPLOAD_BUCKET].n = bucket;
    row[S3_UPLOAD_KEY].b = d->commit->key;
    row[S3_UPLOAD_ID].b = s3_id(d->commit->upload_id);

    return s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                         S3_TABLE_UPLOAD, row);
}


/* --- uploads whose time is over --- */


/* up to *max of those that were completed long ago: rows alone, the parts are
 * the object's */

static int
s3_reap_completed(s3_decision_t *d, unsigned *max)
{
    int            rc, err;
    s3_buf_t       changes;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    stmt = s3_index_stmt(d->index, S3_SQL_COMPLETED, &err);
    if (stmt == NULL) {
        return err;
    }

    memset(&changes, 0, sizeof(s3_buf_t));

    rc = sqlite3_bind_int64(stmt, 1, d->commit->mtime - S3_UPLOAD_KEPT);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 2, *max);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    for ( /* void */ ; rc == SQLITE_ROW && *max; rc = sqlite3_step(stmt)) {
        s3_row_columns(stmt, 0, S3_TABLE_UPLOAD, row);
        s3_effect_write(&changes, S3_EFFECT_DELETE, S3_TABLE_UPLOAD, row);
        (*max)--;
    }

    err = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0
                                                : s3_index_fail(d->index, rc);

    (void) sqlite3_reset(stmt);

    if (err == 0) {
        err = s3_parts_emit(d, &changes);
    }

    s3_buf_free(&changes);

    return err;
}


/* the bucket's first upload, with as many of its parts; *found: there was
 * one */

static int
s3_reap_upload(s3_decision_t *d, unsigned *max, int *found)
{
    int            rc, err;
    uint8_t        id[16];
    s3_buf_t       changes;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    *found = 0;

    stmt = s3_index_stmt(d->index, S3_SQL_UPLOAD_OF, &err);
    if (stmt == NULL) {
        return err;
    }

    err = 0;
    memset(&changes, 0, sizeof(s3_buf_t));

    rc = sqlite3_bind_int64(stmt, 1, (int64_t) d->commit->gone);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        s3_row_columns(stmt, 0, S3_TABLE_UPLOAD, row);

        if (row[S3_UPLOAD_ID].b.len == 16) {
            memcpy(id, row[S3_UPLOAD_ID].b.data, 16);
            s3_effect_write(&changes, S3_EFFECT_DELETE, S3_TABLE_UPLOAD, row);
            *found = 1;

        } else {
            err = s3_index_error(d->index, EBADMSG,
                                 "an id of a wrong length");
        }

    } else if (rc != SQLITE_DONE) {
        err = s3_index_fail(d->index, rc);
    }

    (void) sqlite3_reset(stmt);

    if (err == 0 && *found) {
        err = s3_decide_bury_parts(d, id, max);
    }

    /* none left of *max: there may be parts still, which only the row leads
     * to */

    if (err == 0 && *found && *max) {
        (*max)--;
        err = s3_parts_emit(d, &changes);
    }

    s3_buf_free(&changes);

    return err;
}


int
s3_decide_reap(s3_decision_t *d)
{
    int            rc, err, found;
    unsigned       max;
    sqlite3_stmt  *stmt;

    max = S3_REAP_ROWS;

    if (d->commit->gone == 0) {
        err = s3_reap_completed(d, &max);

    } else {

        /* who found it gone may have seen what was not decided then */

        stmt = s3_index_stmt(d->index, S3_SQL_BUCKET_BY_ID, &err);
        if (stmt == NULL) {
            return err;
        }

        rc = sqlite3_bind_int64(stmt, 1, (int64_t) d->commit->gone);

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        found = rc == SQLITE_ROW && !sqlite3_column_int(stmt, 0);

        err = rc == SQLITE_ROW ? 0 : s3_index_fail(d->index, rc);

        (void) sqlite3_reset(stmt);

        while (err == 0 && found && max) {
            err = s3_reap_upload(d, &max, &found);
        }
    }

    if (err == 0 && max) {
        d->status = S3_STORE_NO_SUCH_UPLOAD;
    }

    return err;
}
