/*
 * What a commit means: decided once, by the rows as they are, and given to
 * the other disks as effects.
 */


#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "s3_index_internal.h"


/* verdicts that one look gives up */
#define S3_ACKED_STEP    256


static int s3_decide_op(s3_decision_t *d);
static int s3_decide_put(s3_decision_t *d);
static int s3_decide_delete(s3_decision_t *d);
static int s3_decide_copy(s3_decision_t *d);
static int s3_decide_source(s3_decision_t *d, uint64_t *size);
static int s3_decide_create_bucket(s3_decision_t *d);
static int s3_decide_delete_bucket(s3_decision_t *d);
static int s3_decide_generation(s3_decision_t *d);
static int s3_decide_garbage(s3_decision_t *d);
static int s3_decide_repaired(s3_decision_t *d);
static int s3_decide_void(s3_decision_t *d);
static int s3_decide_void_table(s3_decision_t *d, s3_table_e table,
    s3_sql_e sql);
static int s3_decide_put_found(s3_decision_t *d, s3_table_e table,
    sqlite3_stmt *stmt, const s3_value_t *row);
static int s3_decide_verdict(s3_decision_t *d);
static int s3_decide_forget(s3_decision_t *d, int64_t below);
static int s3_decide_number(s3_decision_t *d, int64_t *number);


static int
s3_slice_equal(s3_slice_t a, s3_slice_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len)
                                            == 0);
}


int
s3_index_decide(s3_index_t *index, const s3_commit_t *commit,
    uint64_t sequence, s3_buf_t *effects, s3_verdict_t *verdict)
{
    int            err, found;
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_decision_t  d;

    memset(verdict, 0, sizeof(s3_verdict_t));

    if (index->error) {
        return index->error;
    }

    if (!index->batch || sqlite3_get_autocommit(index->db)) {
        return s3_index_error(index, EINVAL, "there is no batch");
    }

    if (commit->request > INT64_MAX || sequence > INT64_MAX >> 24) {
        return s3_index_error(index, EPROTO, "a number out of range");
    }

    d.index = index;
    d.commit = commit;
    d.sequence = sequence;
    d.effects = effects;
    d.status = S3_STORE_OK;

    if (commit->request && commit->op != S3_COMMIT_SESSION_END) {

        /* a request is decided once: one that comes again, by whatever way,
         * gets the verdict it had */

        row[S3_VERDICT_SESSION].b = s3_id(commit->session);
        row[S3_VERDICT_REQUEST].n = (int64_t) commit->request;

        err = s3_row_get(index, S3_TABLE_VERDICT, row, &found);
        if (err) {
            return err;
        }

        if (found) {
            verdict->status = (uint8_t) row[S3_VERDICT_STATUS].n;
            verdict->mtime = row[S3_VERDICT_MTIME].n;
            s3_row_release(index, S3_TABLE_VERDICT);
            return 0;
        }
    }

    err = s3_decide_op(&d);

    if (err == 0 && commit->request
        && commit->op != S3_COMMIT_SESSION_END)
    {
        err = s3_decide_verdict(&d);
    }

    if (err) {
        return err;
    }

    verdict->status = (uint8_t) d.status;
    verdict->mtime = commit->mtime;

    return 0;
}


static int
s3_decide_op(s3_decision_t *d)
{
    if (d->commit->refuse) {
        d->status = d->commit->refuse;
        return s3_decide_refuse(d);
    }

    switch (d->commit->op) {

    case S3_COMMIT_PUT:
        return s3_decide_put(d);

    case S3_COMMIT_DELETE:
        return s3_decide_delete(d);

    case S3_COMMIT_COPY:
        return s3_decide_copy(d);

    case S3_COMMIT_CREATE_UPLOAD:
        return s3_decide_create_upload(d);

    case S3_COMMIT_PART:
        return s3_decide_part(d);

    case S3_COMMIT_COMPLETE:
        return s3_decide_complete(d);

    case S3_COMMIT_ABORT:
        return s3_decide_abort(d);

    case S3_COMMIT_REAP:
        return s3_decide_reap(d);

    case S3_COMMIT_CREATE_BUCKET:
        return s3_decide_create_bucket(d);

    case S3_COMMIT_DELETE_BUCKET:
        return s3_decide_delete_bucket(d);

    case S3_COMMIT_GENERATION:
        return s3_decide_generation(d);

    case S3_COMMIT_SESSION_END:
        return s3_decide_forget(d, INT64_MAX);

    case S3_COMMIT_GARBAGE:
        return s3_decide_garbage(d);

    case S3_COMMIT_REPAIRED:
        return s3_decide_repaired(d);

    case S3_COMMIT_VOID:
        return s3_decide_void(d);

    default:
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }
}


/* --- objects --- */


static int
s3_decide_put(s3_decision_t *d)
{
    int                 err, found, used;
    int64_t             bucket, number;
    uint8_t             old[16];
    s3_value_t          row[S3_COLUMNS_MAX];
    const s3_commit_t  *c;

    c = d->commit;

    if (c->key.len == 0 || c->key.len > S3_KEY_MAX
        || (c->is_inline ? c->data.len != c->size
                           || c->size > S3_INLINE_MAX
                         : c->data.len != 0 || c->size > INT64_MAX
                           || (c->size && c->geometry.k == 0)))
    {
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }

    /* before anything may call these shards garbage: they may be another
     * object's, or garbage already */

    err = s3_decide_used(d, &used);
    if (err) {
        return err;
    }

    if (used) {
        d->status = S3_STORE_SHARDS_MISSING;
        return 0;
    }

    err = s3_decide_bucket(d, d->commit->bucket, &bucket);

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_object(d, bucket, &found, old);
    }

    if (err) {
        return err;
    }

    if (d->status != S3_STORE_OK) {
        return s3_decide_refuse(d);
    }

    if (found) {
        err = s3_decide_unref(d, old);
        if (err) {
            return err;
        }
    }

    number = 0;

    if (c->is_inline && c->size) {

        /* numbers that grow fill the table's pages one after the other */

        err = s3_decide_number(d, &number);
        if (err) {
            return err;
        }

        row[S3_INLINE_ID].n = number;
        row[S3_INLINE_BYTES].b = c->data;

        err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                            S3_TABLE_INLINE, row);
        if (err) {
            return err;
        }
    }

    row[S3_DATA_ID].b = s3_id(c->shard_id);
    row[S3_DATA_SESSION].b = s3_id(c->session);
    row[S3_DATA_REFS].n = 1;
    row[S3_DATA_SIZE].n = (int64_t) c->size;
    row[S3_DATA_MASK].n = c->is_inline ? 0 : (int64_t) c->mask;
    row[S3_DATA_GEOMETRY].n = c->is_inline || c->size == 0
                              ? 0 : s3_geometry_pack(&c->geometry);
    row[S3_DATA_PARTS].n = 0;
    row[S3_DATA_INLINE].n = number;

    err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT, S3_TABLE_DATA,
                        row);
    if (err) {
        return err;
    }

    memset(row, 0, sizeof(row));

    row[S3_OBJECT_BUCKET].n = bucket;
    row[S3_OBJECT_KEY].b = c->key;
    row[S3_OBJECT_SIZE].n = (int64_t) c->size;
    row[S3_OBJECT_MTIME].n = c->mtime;
    row[S3_OBJECT_ETAG].b = c->etag;
    row[S3_OBJECT_CHECKSUM].b = c->checksum;
    row[S3_OBJECT_DATA_ID].b = s3_id(c->shard_id);
    row[S3_OBJECT_ATTRS].b = c->attrs;
    row[S3_OBJECT_META].b = c->meta;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                         S3_TABLE_OBJECT, row);
}


static int
s3_decide_delete(s3_decision_t *d)
{
    int         err, found;
    int64_t     bucket;
    uint8_t     old[16];
    s3_value_t  row[S3_COLUMNS_MAX];

    err = s3_decide_bucket(d, d->commit->bucket, &bucket);

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_object(d, bucket, &found, old);
    }

    if (err || d->status != S3_STORE_OK || !found) {
        return err;
    }

    err = s3_decide_unref(d, old);
    if (err) {
        return err;
    }

    memset(row, 0, sizeof(row));

    row[S3_OBJECT_BUCKET].n = bucket;
    row[S3_OBJECT_KEY].b = d->commit->key;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                         S3_TABLE_OBJECT, row);
}


/*
 * The data gets a second name: no byte of it is copied, and it goes with the
 * last of its names.
 */

static int
s3_decide_copy(s3_decision_t *d)
{
    int                 err, found, used;
    int64_t             bucket;
    uint8_t             old[16];
    uint64_t            size;
    s3_value_t          row[S3_COLUMNS_MAX];
    const s3_commit_t  *c;

    c = d->commit;

    if (c->key.len == 0 || c->key.len > S3_KEY_MAX) {
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }

    err = s3_decide_bucket(d, c->bucket, &bucket);

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_source(d, &size);
    }

    if (err == 0 && d->status == S3_STORE_OK) {
        err = s3_decide_object(d, bucket, &found, old);
    }

    if (err || d->status != S3_STORE_OK) {
        return err;
    }

    if (!found || memcmp(old, c->source, 16) != 0) {

        row[S3_DATA_ID].b = s3_id(c->source);

        err = s3_row_get(d->index, S3_TABLE_DATA, row, &used);
        if (err) {
            return err;
        }

        if (!used) {
            return s3_index_error(d->index, EBADMSG,
                                  "an object without data");
        }

        row[S3_DATA_REFS].n++;

        err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                            S3_TABLE_DATA, row);

        if (err == 0 && found) {
            err = s3_decide_unref(d, old);
        }

        if (err) {
            return err;
        }
    }

    memset(row, 0, sizeof(row));

    row[S3_OBJECT_BUCKET].n = bucket;
    row[S3_OBJECT_KEY].b = c->key;
    row[S3_OBJECT_SIZE].n = (int64_t) size;
    row[S3_OBJECT_MTIME].n = c->mtime;
    row[S3_OBJECT_ETAG].b = c->etag;
    row[S3_OBJECT_CHECKSUM].b = c->checksum;
    row[S3_OBJECT_DATA_ID].b = s3_id(c->source);
    row[S3_OBJECT_ATTRS].b = c->attrs;
    row[S3_OBJECT_META].b = c->meta;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                         S3_TABLE_OBJECT, row);
}


/* whether the source is still what it was when it was looked at */

static int
s3_decide_source(s3_decision_t *d, uint64_t *size)
{
    int                 rc, err;
    int64_t             bucket;
    s3_value_t          row[S3_COLUMNS_MAX];
    sqlite3_stmt       *stmt;
    const s3_commit_t  *c;

    c = d->commit;
    *size = 0;

    err = s3_decide_bucket(d, c->source_bucket, &bucket);

    if (err || d->status != S3_STORE_OK) {
        return err;
    }

    stmt = s3_index_stmt(d->index, S3_SQL_OBJECT, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, bucket);

    if (rc == SQLITE_OK) {
        rc = s3_bind_blob(stmt, 2, c->source_key.data, c->source_key.len);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        s3_row_columns(stmt, 0, S3_TABLE_OBJECT, row);

        if (row[S3_OBJECT_FLAGS].n & S3_OBJECT_DELETE_MARKER) {
            d->status = S3_STORE_NO_SUCH_KEY;

        } else if (!s3_slice_equal(row[S3_OBJECT_DATA_ID].b,
                                   s3_id(c->source)))
        {
            d->status = S3_STORE_CONFLICT;
        }

        *size = (uint64_t) row[S3_OBJECT_SIZE].n;

    } else if (rc == SQLITE_DONE) {
        d->status = S3_STORE_NO_SUCH_KEY;

    } else {
        err = s3_index_fail(d->index, rc);
    }

    (void) sqlite3_reset(stmt);

    return err;
}


int
s3_decide_bucket(s3_decision_t *d, s3_slice_t name, int64_t *id)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    row[S3_BUCKET_NAME].b = name;

    err = s3_row_get(d->index, S3_TABLE_BUCKET, row, &found);
    if (err) {
        return err;
    }

    if (found) {
        *id = row[S3_BUCKET_ID].n;

    } else {
        d->status = S3_STORE_NO_SUCH_BUCKET;
    }

    s3_row_release(d->index, S3_TABLE_BUCKET);

    return 0;
}


/* the current object, and the commit's conditions on it; a delete marker
 * stands for no object */

int
s3_decide_object(s3_decision_t *d, int64_t bucket, int *found,
    uint8_t *data_id)
{
    int                 rc, err, match, damaged;
    s3_value_t          row[S3_COLUMNS_MAX];
    sqlite3_stmt       *stmt;
    const s3_commit_t  *c;

    c = d->commit;
    *found = 0;
    match = 0;
    damaged = 0;

    stmt = s3_index_stmt(d->index, S3_SQL_OBJECT, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, bucket);

    if (rc == SQLITE_OK) {
        rc = s3_bind_blob(stmt, 2, c->key.data, c->key.len);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        s3_row_columns(stmt, 0, S3_TABLE_OBJECT, row);

        if (!(row[S3_OBJECT_FLAGS].n & S3_OBJECT_DELETE_MARKER)) {
            *found = 1;
            match = s3_slice_equal(row[S3_OBJECT_ETAG].b, c->if_match);

            if (row[S3_OBJECT_DATA_ID].b.len == 16) {
                memcpy(data_id, row[S3_OBJECT_DATA_ID].b.data, 16);

            } else {
                damaged = 1;
            }
        }

        rc = SQLITE_DONE;
    }

    err = rc == SQLITE_DONE ? 0 : s3_index_fail(d->index, rc);

    (void) sqlite3_reset(stmt);

    if (err) {
        return err;
    }

    if (damaged) {
        return s3_index_error(d->index, EBADMSG, "an object without data");
    }

    /*
     * S3 manual, PutObject: If-None-Match: * fails with 412 where there is an
     * object; If-Match with 404 where there is none and 412 where it differs.
     */

    if ((c->conditions & S3_IF_NONE_MATCH_ANY) && *found) {
        d->status = S3_STORE_PRECONDITION_FAILED;

    } else if ((c->conditions & (S3_IF_MATCH|S3_IF_MATCH_ANY)) && !*found) {
        d->status = S3_STORE_NO_SUCH_KEY;

    } else if ((c->conditions & S3_IF_MATCH) && !match) {
        d->status = S3_STORE_PRECONDITION_FAILED;
    }

    return 0;
}


/* whether the commit's data id stands in some row already */

int
s3_decide_used(s3_decision_t *d, int *used)
{
    int            i, rc, err;
    s3_sql_e       sql;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    row[S3_DATA_ID].b = s3_id(d->commit->shard_id);

    err = s3_row_get(d->index, S3_TABLE_DATA, row, used);

    s3_row_release(d->index, S3_TABLE_DATA);

    /* of a part the id alone counts: COMPLETE names it, empty or not */

    if (d->commit->op != S3_COMMIT_PART
        && (d->commit->is_inline || d->commit->size == 0))
    {
        return err;
    }

    for (i = 0; i < 2 && err == 0 && !*used; i++) {

        sql = i ? S3_SQL_PART_BY_SHARD : S3_SQL_GARBAGE_BY_SHARD;

        stmt = s3_index_stmt(d->index, sql, &err);
        if (stmt == NULL) {
            return err;
        }

        rc = s3_bind_blob(stmt, 1, d->commit->shard_id, 16);

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        *used = rc == SQLITE_ROW;

        if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            err = s3_index_fail(d->index, rc);
        }

        (void) sqlite3_reset(stmt);
    }

    return err;
}


/*
 * On all disks, whatever the mask says: a disk that was moved away or dropped
 * while the shard was written may have a file that no mask ever named.
 */

int
s3_decide_bury(s3_decision_t *d, s3_slice_t shard_id, s3_slice_t session,
    int64_t size, int64_t geometry)
{
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_geometry_t  g;

    if (geometry == 0) {
        return 0;                /* no shards */
    }

    if (shard_id.len != 16 || session.len != 16) {
        return s3_index_error(d->index, EBADMSG, "a row without data");
    }

    s3_geometry_unpack(geometry, &g);

    row[S3_GARBAGE_SEQUENCE].n = (int64_t) d->sequence;
    row[S3_GARBAGE_SHARD_ID].b = shard_id;
    row[S3_GARBAGE_SESSION].b = session;
    row[S3_GARBAGE_MASK].n = ((int64_t) 1 << (g.k + g.m)) - 1;
    row[S3_GARBAGE_SIZE].n = size;
    row[S3_GARBAGE_GEOMETRY].n = geometry;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                         S3_TABLE_GARBAGE, row);
}


/* the shards of a commit that is refused: none but the store process may
 * remove them now (ruling 3) */

int
s3_decide_refuse(s3_decision_t *d)
{
    int                 err, used;
    const s3_commit_t  *c;

    c = d->commit;

    if ((c->op != S3_COMMIT_PUT && c->op != S3_COMMIT_PART)
        || c->is_inline || c->size == 0)
    {
        return 0;
    }

    err = s3_decide_used(d, &used);

    if (err || used) {
        return err;
    }

    return s3_decide_bury(d, s3_id(c->shard_id), s3_id(c->session),
                          (int64_t) c->size,
                          s3_geometry_pack(&c->geometry));
}


int
s3_decide_unref(s3_decision_t *d, const uint8_t *data_id)
{
    int         err, found;
    int64_t     number, parts;
    unsigned    max;
    s3_value_t  row[S3_COLUMNS_MAX], other[S3_COLUMNS_MAX];

    row[S3_DATA_ID].b = s3_id(data_id);

    err = s3_row_get(d->index, S3_TABLE_DATA, row, &found);
    if (err) {
        return err;
    }

    if (!found || row[S3_DATA_REFS].n < 1) {
        s3_row_release(d->index, S3_TABLE_DATA);
        return s3_index_error(d->index, EBADMSG, "an object without data");
    }

    if (row[S3_DATA_REFS].n > 1) {
        row[S3_DATA_REFS].n--;
        return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                             S3_TABLE_DATA, row);
    }

    number = row[S3_DATA_INLINE].n;
    parts = row[S3_DATA_PARTS].n;

    if (number) {
        other[S3_INLINE_ID].n = number;

        err = s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                            S3_TABLE_INLINE, other);

    } else if (parts == 0) {
        err = s3_decide_bury(d, row[S3_DATA_ID].b, row[S3_DATA_SESSION].b,
                             row[S3_DATA_SIZE].n, row[S3_DATA_GEOMETRY].n);
    }

    if (err == 0) {
        err = s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                            S3_TABLE_DATA, row);
    }

    s3_row_release(d->index, S3_TABLE_DATA);

    if (err == 0 && parts) {
        max = UINT_MAX;
        err = s3_decide_bury_parts(d, data_id, &max);
    }

    return err;
}


/* --- buckets --- */


static int
s3_decide_create_bucket(s3_decision_t *d)
{
    int         err, found;
    int64_t     id;
    s3_value_t  row[S3_COLUMNS_MAX];

    if (d->commit->bucket.len == 0 || d->commit->bucket.len > S3_BUCKET_MAX) {
        d->status = S3_STORE_BAD_REQUEST;
        return 0;
    }

    row[S3_BUCKET_NAME].b = d->commit->bucket;

    err = s3_row_get(d->index, S3_TABLE_BUCKET, row, &found);

    s3_row_release(d->index, S3_TABLE_BUCKET);

    if (err) {
        return err;
    }

    if (found) {
        d->status = S3_STORE_BUCKET_EXISTS;
        return 0;
    }

    err = s3_decide_number(d, &id);
    if (err) {
        return err;
    }

    row[S3_BUCKET_NAME].b = d->commit->bucket;
    row[S3_BUCKET_ID].n = id;
    row[S3_BUCKET_CREATED].n = d->commit->mtime;
    row[S3_BUCKET_CONFIG].b = d->commit->attrs;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                         S3_TABLE_BUCKET, row);
}


static int
s3_decide_delete_bucket(s3_decision_t *d)
{
    int            rc, err, used;
    int64_t        id;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    err = s3_decide_bucket(d, d->commit->bucket, &id);

    if (err || d->status != S3_STORE_OK) {
        return err;
    }

    /* versions and delete markers count as well */

    stmt = s3_index_stmt(d->index, S3_SQL_BUCKET_USED, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, id);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    used = rc == SQLITE_ROW && sqlite3_column_int(stmt, 0);

    err = rc == SQLITE_ROW ? 0 : s3_index_fail(d->index, rc);

    (void) sqlite3_reset(stmt);

    if (err) {
        return err;
    }

    if (used) {
        d->status = S3_STORE_BUCKET_NOT_EMPTY;
        return 0;
    }

    row[S3_BUCKET_NAME].b = d->commit->bucket;

    return s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                         S3_TABLE_BUCKET, row);
}


/* sequence << 16 | counter: unique as long as the sequence goes up */

static int
s3_decide_number(s3_decision_t *d, int64_t *number)
{
    if (d->index->counter >> S3_INDEX_NUMBER_BITS) {
        return s3_index_error(d->index, EMSGSIZE,
                              "too many new rows in a batch");
    }

    *number = (int64_t) (d->sequence << S3_INDEX_NUMBER_BITS
                         | d->index->counter++);

    if (*number == 0) {

        /* 0 means none; no batch has sequence 0, but nothing says so here */

        *number = (int64_t) d->index->counter++;
    }

    return 0;
}


/* --- the store process's own --- */


static int
s3_decide_generation(s3_decision_t *d)
{
    int         err, found, member;
    unsigned    slot;
    s3_value_t  row[S3_COLUMNS_MAX];

    for (slot = 0; slot < S3_MAX_DISKS; slot++) {

        row[S3_MEMBER_SLOT].n = slot;
        member = (int) (d->commit->mask >> slot & 1);

        err = s3_row_get(d->index, S3_TABLE_MEMBER, row, &found);

        s3_row_release(d->index, S3_TABLE_MEMBER);

        if (err == 0
            && (found != member
                || (member && (d->commit->fresh >> slot & 1))))
        {
            row[S3_MEMBER_SINCE].n = (int64_t) d->commit->generation;

            err = s3_index_emit(d->index, d->effects,
                                member ? S3_EFFECT_PUT : S3_EFFECT_DELETE,
                                S3_TABLE_MEMBER, row);
        }

        if (err) {
            return err;
        }
    }

    return 0;
}


static int
s3_decide_garbage(s3_decision_t *d)
{
    int            rc, err;
    int64_t        mask;
    uint8_t        shard_id[16], session[16];
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    memcpy(shard_id, d->commit->shard_id, 16);

    stmt = s3_index_stmt(d->index, S3_SQL_GARBAGE_BY_SHARD, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = s3_bind_blob(stmt, 1, shard_id, 16);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc != SQLITE_ROW) {
        (void) sqlite3_reset(stmt);
        return rc == SQLITE_DONE ? 0 : s3_index_fail(d->index, rc);
    }

    s3_row_columns(stmt, 0, S3_TABLE_GARBAGE, row);

    memset(session, 0, sizeof(session));

    if (row[S3_GARBAGE_SESSION].b.len == 16) {
        memcpy(session, row[S3_GARBAGE_SESSION].b.data, 16);
    }

    (void) sqlite3_reset(stmt);

    row[S3_GARBAGE_SHARD_ID].b = s3_id(shard_id);
    row[S3_GARBAGE_SESSION].b = s3_id(session);

    mask = row[S3_GARBAGE_MASK].n & ~(int64_t) d->commit->mask;

    if (mask == row[S3_GARBAGE_MASK].n) {
        return 0;
    }

    row[S3_GARBAGE_MASK].n = mask;

    return s3_index_emit(d->index, d->effects,
                         mask ? S3_EFFECT_PUT : S3_EFFECT_DELETE,
                         S3_TABLE_GARBAGE, row);
}


static int
s3_decide_repaired(s3_decision_t *d)
{
    int            rc, err, found;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    row[S3_DATA_ID].b = s3_id(d->commit->shard_id);

    err = s3_row_get(d->index, S3_TABLE_DATA, row, &found);

    if (err) {
        return err;
    }

    if (found) {
        if (row[S3_DATA_GEOMETRY].n == 0 || row[S3_DATA_PARTS].n
            || ((uint64_t) row[S3_DATA_MASK].n & d->commit->mask)
               == d->commit->mask)
        {
            s3_row_release(d->index, S3_TABLE_DATA);
            return 0;
        }

        row[S3_DATA_MASK].n |= (int64_t) d->commit->mask;

        return s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                             S3_TABLE_DATA, row);
    }

    stmt = s3_index_stmt(d->index, S3_SQL_PART_BY_SHARD, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = s3_bind_blob(stmt, 1, d->commit->shard_id, 16);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_DONE) {
        /* deleted meanwhile: who repaired it has a shard to unlink */
        (void) sqlite3_reset(stmt);
        d->status = S3_STORE_NO_SUCH_KEY;
        return 0;
    }

    if (rc != SQLITE_ROW) {
        (void) sqlite3_reset(stmt);
        return s3_index_fail(d->index, rc);
    }

    s3_row_columns(stmt, 0, S3_TABLE_PART, row);

    if (((uint64_t) row[S3_PART_MASK].n & d->commit->mask)
        == d->commit->mask)
    {
        (void) sqlite3_reset(stmt);
        return 0;
    }

    row[S3_PART_MASK].n |= (int64_t) d->commit->mask;

    return s3_decide_put_found(d, S3_TABLE_PART, stmt, row);
}


/* the row moves out of the statement's memory before the table changes */

static int
s3_decide_put_found(s3_decision_t *d, s3_table_e table, sqlite3_stmt *stmt,
    const s3_value_t *found)
{
    int          err;
    s3_buf_t     copy;
    s3_value_t   row[S3_COLUMNS_MAX];
    s3_effect_e  effect;
    s3_reader_t  r;

    memset(&copy, 0, sizeof(s3_buf_t));
    s3_effect_write(&copy, S3_EFFECT_PUT, table, found);
    (void) sqlite3_reset(stmt);

    if (copy.error) {
        err = s3_index_error(d->index, copy.error, "no room for a row");

    } else {
        s3_reader_init(&r, copy.data, copy.len);
        err = s3_effect_read(&r, &effect, &table, row);
    }

    if (err == 0) {
        err = s3_index_emit(d->index, d->effects, effect, table, row);
    }

    s3_buf_free(&copy);

    return err;
}


/*
 * The disk of a slot is another one now, and empty.  A step of many: what is
 * written meanwhile does not count on that disk, so that none of the rows
 * behind a step gets the bit again.
 */

static int
s3_decide_void(s3_decision_t *d)
{
    int  err;

    err = s3_decide_void_table(d, S3_TABLE_DATA, S3_SQL_MARKED);

    return err ? err
               : s3_decide_void_table(d, S3_TABLE_PART, S3_SQL_PART_MARKED);
}


static int
s3_decide_void_table(s3_decision_t *d, s3_table_e table, s3_sql_e sql)
{
    int            rc, err, id, mask;
    uint8_t        after[16];
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    id = table == S3_TABLE_PART ? (int) S3_PART_SHARD_ID : (int) S3_DATA_ID;
    mask = table == S3_TABLE_PART ? (int) S3_PART_MASK : (int) S3_DATA_MASK;

    memcpy(after, d->commit->shard_id, 16);

    for ( ;; ) {

        stmt = s3_index_stmt(d->index, sql, &err);
        if (stmt == NULL) {
            return err;
        }

        rc = s3_bind_blob(stmt, 1, after, 16);

        if (rc == SQLITE_OK) {
            rc = sqlite3_bind_int64(stmt, 2, (int64_t) d->commit->mask);
        }

        if (rc == SQLITE_OK) {
            rc = sqlite3_bind_int64(stmt, 3, 1);
        }

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        if (rc != SQLITE_ROW) {
            (void) sqlite3_reset(stmt);
            return rc == SQLITE_DONE ? 0 : s3_index_fail(d->index, rc);
        }

        s3_row_columns(stmt, 0, table, row);

        if (row[id].b.len != 16) {
            (void) sqlite3_reset(stmt);
            return s3_index_error(d->index, EBADMSG, "a row without data");
        }

        if (memcmp(row[id].b.data, d->commit->source, 16) > 0) {
            (void) sqlite3_reset(stmt);
            return 0;
        }

        memcpy(after, row[id].b.data, 16);
        row[mask].n &= ~(int64_t) d->commit->mask;

        err = s3_decide_put_found(d, table, stmt, row);
        if (err) {
            return err;
        }
    }
}


/* --- verdicts --- */


static int
s3_decide_verdict(s3_decision_t *d)
{
    int         err;
    s3_value_t  row[S3_COLUMNS_MAX];

    row[S3_VERDICT_SESSION].b = s3_id(d->commit->session);
    row[S3_VERDICT_REQUEST].n = (int64_t) d->commit->request;
    row[S3_VERDICT_STATUS].n = d->status;
    row[S3_VERDICT_MTIME].n = d->commit->mtime;

    err = s3_index_emit(d->index, d->effects, S3_EFFECT_PUT,
                        S3_TABLE_VERDICT, row);

    if (err || d->commit->acked < 2) {
        return err;
    }

    return s3_decide_forget(d, d->commit->acked > INT64_MAX
                               ? INT64_MAX : (int64_t) d->commit->acked);
}


/* the session's verdicts of requests below that number */

static int
s3_decide_forget(s3_decision_t *d, int64_t below)
{
    int            rc, err;
    int64_t        requests[S3_ACKED_STEP];
    unsigned       i, n;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    do {
        stmt = s3_index_stmt(d->index, S3_SQL_VERDICTS, &err);
        if (stmt == NULL) {
            return err;
        }

        rc = s3_bind_blob(stmt, 1, d->commit->session, 16);

        if (rc == SQLITE_OK) {
            rc = sqlite3_bind_int64(stmt, 2, below);
        }

        if (rc == SQLITE_OK) {
            rc = sqlite3_bind_int(stmt, 3, S3_ACKED_STEP);
        }

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        for (n = 0; rc == SQLITE_ROW && n < S3_ACKED_STEP; n++) {
            requests[n] = sqlite3_column_int64(stmt, 0);
            rc = sqlite3_step(stmt);
        }

        err = rc == SQLITE_DONE ? 0 : s3_index_fail(d->index, rc);

        (void) sqlite3_reset(stmt);

        for (i = 0; i < n && err == 0; i++) {
            row[S3_VERDICT_SESSION].b = s3_id(d->commit->session);
            row[S3_VERDICT_REQUEST].n = requests[i];

            err = s3_index_emit(d->index, d->effects, S3_EFFECT_DELETE,
                                S3_TABLE_VERDICT, row);
        }

    } while (err == 0 && n == S3_ACKED_STEP);

    return err;
}
