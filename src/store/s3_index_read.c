/*
 * Look-ups, and what the store process's housekeeping asks.  Each is one read
 * transaction.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3_index_internal.h"


/* extents that an object of parts has room for at first */
#define S3_EXTENTS_STEP    16


static int s3_read_object_row(s3_index_t *index, int64_t bucket,
    s3_slice_t key, int *status, s3_buf_t *answer);
static int s3_read_data(s3_index_t *index, s3_object_t *object);
static int s3_read_parts(s3_index_t *index, s3_object_t *object);


static int
s3_read_id(s3_index_t *index, s3_slice_t blob, uint8_t *id)
{
    if (blob.len != 16) {
        return s3_index_error(index, EBADMSG, "an id of a wrong length");
    }

    memcpy(id, blob.data, 16);

    return 0;
}


/* --- objects --- */


int
s3_index_lookup(s3_index_t *index, s3_slice_t bucket, s3_slice_t key,
    uint64_t *sequence, int *status, s3_buf_t *answer)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    *status = S3_STORE_OK;

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    row[S3_BUCKET_NAME].b = bucket;

    err = s3_row_get(index, S3_TABLE_BUCKET, row, &found);

    if (err == 0 && !found) {
        *status = S3_STORE_NO_SUCH_BUCKET;

    } else if (err == 0) {
        err = s3_read_object_row(index, row[S3_BUCKET_ID].n, key, status,
                                 answer);
    }

    return s3_index_read_end(index, err);
}


static int
s3_read_object_row(s3_index_t *index, int64_t bucket, s3_slice_t key,
    int *status, s3_buf_t *answer)
{
    int            rc, err;
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_object_t    object;
    sqlite3_stmt  *stmt;

    stmt = s3_index_stmt(index, S3_SQL_OBJECT, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, bucket);

    if (rc == SQLITE_OK) {
        rc = s3_bind_blob(stmt, 2, key.data, key.len);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_DONE) {
        *status = S3_STORE_NO_SUCH_KEY;
        return 0;
    }

    if (rc != SQLITE_ROW) {
        return s3_index_fail(index, rc);
    }

    s3_row_columns(stmt, 0, S3_TABLE_OBJECT, row);

    if (row[S3_OBJECT_FLAGS].n & S3_OBJECT_DELETE_MARKER) {
        *status = S3_STORE_NO_SUCH_KEY;
        return 0;
    }

    memset(&object, 0, sizeof(s3_object_t));

    object.size = (uint64_t) row[S3_OBJECT_SIZE].n;
    object.mtime = row[S3_OBJECT_MTIME].n;
    object.etag = row[S3_OBJECT_ETAG].b;
    object.meta = row[S3_OBJECT_META].b;
    object.checksum = row[S3_OBJECT_CHECKSUM].b;
    object.attrs = row[S3_OBJECT_ATTRS].b;

    err = s3_read_id(index, row[S3_OBJECT_DATA_ID].b, object.data_id);

    if (err == 0) {
        err = s3_read_data(index, &object);
    }

    if (err == 0) {
        s3_write_object(answer, &object);

        if (answer->error) {
            err = s3_index_error(index, answer->error,
                                 "no room for an answer");
        }
    }

    s3_object_free(&object);

    return err;
}


static int
s3_read_data(s3_index_t *index, s3_object_t *object)
{
    int           err, found;
    s3_value_t    row[S3_COLUMNS_MAX], bytes[S3_COLUMNS_MAX];
    s3_extent_t  *e;

    row[S3_DATA_ID].b.data = object->data_id;
    row[S3_DATA_ID].b.len = 16;

    err = s3_row_get(index, S3_TABLE_DATA, row, &found);
    if (err) {
        return err;
    }

    if (!found) {
        return s3_index_error(index, EBADMSG, "an object without data");
    }

    if (row[S3_DATA_PARTS].n) {
        return s3_read_parts(index, object);
    }

    if ((uint64_t) row[S3_DATA_SIZE].n != object->size) {
        return s3_index_error(index, EBADMSG, "data of a wrong size");
    }

    if (row[S3_DATA_INLINE].n || object->size == 0) {

        object->is_inline = 1;

        if (object->size == 0) {
            return 0;
        }

        bytes[S3_INLINE_ID].n = row[S3_DATA_INLINE].n;

        err = s3_row_get(index, S3_TABLE_INLINE, bytes, &found);

        if (err == 0 && (!found
                         || bytes[S3_INLINE_BYTES].b.len != object->size))
        {
            err = s3_index_error(index, EBADMSG, "data of a wrong size");
        }

        object->data = bytes[S3_INLINE_BYTES].b;

        return err;
    }

    e = calloc(1, sizeof(s3_extent_t));
    if (e == NULL) {
        return s3_index_error(index, ENOMEM, "no memory");
    }

    object->extents = e;
    object->nextents = 1;

    memcpy(e->shard_id, object->data_id, 16);
    e->size = object->size;
    e->mask = (uint64_t) row[S3_DATA_MASK].n;
    s3_geometry_unpack(row[S3_DATA_GEOMETRY].n, &e->geometry);

    return s3_read_id(index, row[S3_DATA_SESSION].b, e->session);
}


static int
s3_read_parts(s3_index_t *index, s3_object_t *object)
{
    int            rc, err;
    void          *p;
    uint32_t       size;
    uint64_t       offset;
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_extent_t   *e;
    sqlite3_stmt  *stmt;

    size = 0;
    offset = 0;

    stmt = s3_index_stmt(index, S3_SQL_PARTS, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = s3_bind_blob(stmt, 1, object->data_id, 16);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    for ( /* void */ ; rc == SQLITE_ROW; rc = sqlite3_step(stmt)) {

        s3_row_columns(stmt, 0, S3_TABLE_PART, row);

        if (object->nextents == S3_PARTS_MAX
            || (uint64_t) row[S3_PART_OFFSET].n != offset
            || row[S3_PART_SIZE].n < 0)
        {
            return s3_index_error(index, EBADMSG, "parts with a gap");
        }

        if (row[S3_PART_SIZE].n == 0) {
            continue;            /* it has no shards */
        }

        if (object->nextents == size) {
            size = size ? size * 2 : S3_EXTENTS_STEP;

            p = realloc(object->extents, size * sizeof(s3_extent_t));
            if (p == NULL) {
                return s3_index_error(index, ENOMEM, "no memory");
            }

            object->extents = p;
        }

        e = &object->extents[object->nextents++];

        e->number = (uint32_t) row[S3_PART_NUMBER].n;
        e->offset = offset;
        e->size = (uint64_t) row[S3_PART_SIZE].n;
        e->mask = (uint64_t) row[S3_PART_MASK].n;
        s3_geometry_unpack(row[S3_PART_GEOMETRY].n, &e->geometry);

        err = s3_read_id(index, row[S3_PART_SHARD_ID].b, e->shard_id);

        if (err == 0) {
            err = s3_read_id(index, row[S3_PART_SESSION].b, e->session);
        }

        if (err) {
            return err;
        }

        offset += e->size;
    }

    if (rc != SQLITE_DONE) {
        return s3_index_fail(index, rc);
    }

    if (offset != object->size) {
        return s3_index_error(index, EBADMSG, "parts of a wrong size");
    }

    return 0;
}


/* --- multipart uploads --- */


/* which rows of part are asked for; found: into page, blobs are SQLite's
 * memory until the end of the read */

static int
s3_read_upload(s3_index_t *index, int64_t bucket,
    const s3_part_query_t *query, s3_part_page_t *page, int *status)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    row[S3_UPLOAD_BUCKET].n = bucket;
    row[S3_UPLOAD_KEY].b = query->key;
    row[S3_UPLOAD_ID].b = s3_id(query->upload_id);

    err = s3_row_get(index, S3_TABLE_UPLOAD, row, &found);

    if (err == 0 && !found) {

        /* completed */

        row[S3_UPLOAD_BUCKET].n = -bucket;

        err = s3_row_get(index, S3_TABLE_UPLOAD, row, &found);
    }

    if (err) {
        return err;
    }

    if (!found) {
        *status = S3_STORE_NO_SUCH_UPLOAD;
        return 0;
    }

    page->upload.key = row[S3_UPLOAD_KEY].b;
    memcpy(page->upload.upload_id, query->upload_id, 16);
    page->upload.completed = row[S3_UPLOAD_STATE].n != 0;
    page->upload.initiated = row[S3_UPLOAD_INITIATED].n;
    page->upload.checksum = row[S3_UPLOAD_CHECKSUM].b;
    page->upload.attrs = row[S3_UPLOAD_ATTRS].b;
    page->upload.meta = row[S3_UPLOAD_META].b;
    page->upload.result = row[S3_UPLOAD_RESULT].b;

    return 0;
}


static int
s3_read_object_parts(s3_index_t *index, int64_t bucket,
    const s3_part_query_t *query, s3_part_page_t *page, int *has,
    int *status)
{
    int            rc, err, found;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    *has = 0;

    stmt = s3_index_stmt(index, S3_SQL_OBJECT, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, bucket);

    if (rc == SQLITE_OK) {
        rc = s3_bind_blob(stmt, 2, query->key.data, query->key.len);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        s3_row_columns(stmt, 0, S3_TABLE_OBJECT, row);
    }

    if (rc == SQLITE_DONE
        || (rc == SQLITE_ROW
            && (row[S3_OBJECT_FLAGS].n & S3_OBJECT_DELETE_MARKER)))
    {
        *status = S3_STORE_NO_SUCH_KEY;
        return 0;
    }

    if (rc != SQLITE_ROW) {
        return s3_index_fail(index, rc);
    }

    err = s3_read_id(index, row[S3_OBJECT_DATA_ID].b,
                     page->upload.upload_id);
    if (err) {
        return err;
    }

    row[S3_DATA_ID].b = s3_id(page->upload.upload_id);

    err = s3_row_get(index, S3_TABLE_DATA, row, &found);

    if (err == 0 && !found) {
        err = s3_index_error(index, EBADMSG, "an object without data");
    }

    if (err == 0) {
        *has = row[S3_DATA_PARTS].n != 0;
    }

    return err;
}


static void
s3_read_free_parts(s3_part_page_t *page, s3_buf_t *arena)
{
    free(page->parts);
    page->parts = NULL;
    page->nparts = 0;
    s3_buf_free(arena);
}


/* up to max rows; etag and checksum are offsets into the arena while it
 * grows */

static int
s3_read_part_rows(s3_index_t *index, const s3_part_query_t *query,
    uint32_t max, s3_part_page_t *page, s3_buf_t *arena)
{
    int            rc, err;
    void          *p;
    uint32_t       i, size;
    s3_part_t     *part;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    size = 0;

    stmt = s3_index_stmt(index, S3_SQL_PARTS_AFTER, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = s3_bind_blob(stmt, 1, page->upload.upload_id, 16);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 2, query->after);
    }

    /* one more says that there are more */

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 3, (int64_t) max + 1);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    for ( /* void */ ; rc == SQLITE_ROW; rc = sqlite3_step(stmt)) {

        if (page->nparts == max) {
            page->truncated = 1;
            rc = SQLITE_DONE;
            break;
        }

        if (page->nparts == size) {
            size = size ? size * 2 : S3_EXTENTS_STEP;

            p = realloc(page->parts, size * sizeof(s3_part_t));
            if (p == NULL) {
                return s3_index_error(index, ENOMEM, "no memory");
            }

            page->parts = p;
        }

        s3_row_columns(stmt, 0, S3_TABLE_PART, row);

        part = &page->parts[page->nparts++];

        part->number = (uint32_t) row[S3_PART_NUMBER].n;
        part->size = (uint64_t) row[S3_PART_SIZE].n;
        part->mtime = row[S3_PART_MTIME].n;

        err = s3_read_id(index, row[S3_PART_SHARD_ID].b, part->shard_id);
        if (err) {
            return err;
        }

        part->etag.data = (const uint8_t *) (uintptr_t) arena->len;
        part->etag.len = row[S3_PART_ETAG].b.len;
        s3_buf_bytes(arena, row[S3_PART_ETAG].b.data, part->etag.len);

        part->checksum.data = (const uint8_t *) (uintptr_t) arena->len;
        part->checksum.len = row[S3_PART_CHECKSUM].b.len;
        s3_buf_bytes(arena, row[S3_PART_CHECKSUM].b.data,
                     part->checksum.len);

        if (arena->error) {
            return s3_index_error(index, arena->error, "no room for parts");
        }
    }

    if (rc != SQLITE_DONE) {
        return s3_index_fail(index, rc);
    }

    for (i = 0; i < page->nparts; i++) {
        part = &page->parts[i];

        part->etag.data = part->etag.len
                          ? arena->data + (uintptr_t) part->etag.data : NULL;
        part->checksum.data = part->checksum.len
                              ? arena->data
                                + (uintptr_t) part->checksum.data
                              : NULL;
    }

    return 0;
}


int
s3_index_parts(s3_index_t *index, const s3_part_query_t *query,
    uint64_t *sequence, int *status, s3_buf_t *answer)
{
    int             err, found, has;
    int64_t         bucket;
    s3_buf_t        arena;
    s3_value_t      row[S3_COLUMNS_MAX];
    s3_part_page_t  page;

    *status = S3_STORE_OK;

    memset(&page, 0, sizeof(s3_part_page_t));
    memset(&arena, 0, sizeof(s3_buf_t));

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    row[S3_BUCKET_NAME].b = query->bucket;
    has = 0;

    err = s3_row_get(index, S3_TABLE_BUCKET, row, &found);

    if (err == 0 && !found) {
        *status = S3_STORE_NO_SUCH_BUCKET;

    } else if (err == 0) {
        bucket = row[S3_BUCKET_ID].n;

        if (query->of_object) {
            err = s3_read_object_parts(index, bucket, query, &page, &has,
                                       status);

        } else {
            err = s3_read_upload(index, bucket, query, &page, status);

            /* of one that is completed they are the object's */

            has = *status == S3_STORE_OK && !page.upload.completed;
        }
    }

    if (err == 0 && has && query->max) {
        err = s3_read_part_rows(index, query,
                                query->max < S3_PARTS_MAX ? query->max
                                                          : S3_PARTS_MAX,
                                &page, &arena);
    }

    if (err == 0 && *status == S3_STORE_OK) {
        s3_write_part_page(answer, &page);

        if (answer->error) {
            err = s3_index_error(index, answer->error,
                                 "no room for an answer");
        }
    }

    s3_read_free_parts(&page, &arena);

    return s3_index_read_end(index, err);
}


/* --- buckets --- */


static void
s3_read_bucket_row(s3_buf_t *answer, const s3_value_t *row)
{
    s3_bucket_t  bucket;

    bucket.name = row[S3_BUCKET_NAME].b;
    bucket.created = row[S3_BUCKET_CREATED].n;
    bucket.config = row[S3_BUCKET_CONFIG].b;

    s3_write_bucket(answer, &bucket);
}


int
s3_index_bucket(s3_index_t *index, s3_slice_t bucket, uint64_t *sequence,
    int *status, s3_buf_t *answer)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    *status = S3_STORE_OK;

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    row[S3_BUCKET_NAME].b = bucket;

    err = s3_row_get(index, S3_TABLE_BUCKET, row, &found);

    if (err == 0 && !found) {
        *status = S3_STORE_NO_SUCH_BUCKET;

    } else if (err == 0) {
        s3_read_bucket_row(answer, row);

        if (answer->error) {
            err = s3_index_error(index, answer->error,
                                 "no room for an answer");
        }
    }

    return s3_index_read_end(index, err);
}


int
s3_index_buckets(s3_index_t *index, s3_slice_t after, uint32_t max,
    uint64_t *sequence, s3_buf_t *answer)
{
    int            i, rc, err;
    size_t         at;
    uint32_t       n;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    n = 0;
    at = answer->len;
    s3_buf_u32(answer, 0);

    stmt = s3_index_stmt(index, S3_SQL_BUCKETS, &err);
    if (stmt == NULL) {
        return s3_index_read_end(index, err);
    }

    rc = s3_bind_blob(stmt, 1, after.data, after.len);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 2, max);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    for ( /* void */ ; rc == SQLITE_ROW; rc = sqlite3_step(stmt)) {
        s3_row_columns(stmt, 0, S3_TABLE_BUCKET, row);
        s3_read_bucket_row(answer, row);
        n++;
    }

    if (rc != SQLITE_DONE) {
        err = s3_index_fail(index, rc);

    } else if (answer->error) {
        err = s3_index_error(index, answer->error, "no room for an answer");

    } else {
        for (i = 0; i < 4; i++) {
            answer->data[at + (size_t) i] = (uint8_t) (n >> (8 * i));
        }
    }

    return s3_index_read_end(index, err);
}


/* --- verdicts --- */


int
s3_index_outcome(s3_index_t *index, const uint8_t session[16],
    uint64_t request, uint64_t *sequence, int *status, s3_verdict_t *verdict)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    *status = S3_STORE_UNKNOWN;
    memset(verdict, 0, sizeof(s3_verdict_t));

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    row[S3_VERDICT_SESSION].b.data = session;
    row[S3_VERDICT_SESSION].b.len = 16;
    row[S3_VERDICT_REQUEST].n = (int64_t) request;

    err = s3_row_get(index, S3_TABLE_VERDICT, row, &found);

    if (err == 0 && found) {
        *status = S3_STORE_OK;
        verdict->status = (uint8_t) row[S3_VERDICT_STATUS].n;
        verdict->mtime = row[S3_VERDICT_MTIME].n;
    }

    return s3_index_read_end(index, err);
}


int
s3_index_sessions(s3_index_t *index, uint8_t (*sessions)[16], unsigned max,
    unsigned *n)
{
    int            rc, err;
    size_t         len;
    uint64_t       sequence;
    sqlite3_stmt  *stmt;

    *n = 0;
    len = 0;

    err = s3_index_read_begin(index, &sequence);

    while (err == 0 && *n < max) {

        /* from one session to the next: as many seeks as sessions, however
         * many verdicts they have */

        stmt = s3_index_stmt(index, S3_SQL_SESSIONS, &err);
        if (stmt == NULL) {
            break;
        }

        rc = s3_bind_blob(stmt, 1, *n ? sessions[*n - 1] : NULL, len);

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        if (rc == SQLITE_DONE) {
            break;
        }

        err = rc == SQLITE_ROW ? s3_read_id(index, s3_column_blob(stmt, 0),
                                            sessions[*n])
                               : s3_index_fail(index, rc);

        if (err == 0) {
            (*n)++;
            len = 16;
        }
    }

    return s3_index_read_end(index, err);
}


/* --- housekeeping --- */


int
s3_index_members(s3_index_t *index, uint64_t since[S3_MAX_DISKS])
{
    int            rc, err;
    int64_t        slot;
    uint64_t       sequence;
    sqlite3_stmt  *stmt;

    memset(since, 0, S3_MAX_DISKS * sizeof(uint64_t));

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    stmt = s3_index_stmt(index, S3_SQL_MEMBERS, &err);
    if (stmt == NULL) {
        return s3_index_read_end(index, err);
    }

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {

        slot = sqlite3_column_int64(stmt, 0);

        if (slot < 0 || slot >= S3_MAX_DISKS) {
            err = s3_index_error(index, EBADMSG, "a member that can't be");
            break;
        }

        since[slot] = (uint64_t) sqlite3_column_int64(stmt, 1);
    }

    if (err == 0 && rc != SQLITE_DONE) {
        err = s3_index_fail(index, rc);
    }

    return s3_index_read_end(index, err);
}


static int
s3_extent_row(s3_index_t *index, s3_table_e table, const s3_value_t *row,
    s3_shard_row_t *r)
{
    int  err, part;

    part = (table == S3_TABLE_PART);

    memset(r, 0, sizeof(s3_shard_row_t));

    r->mask = (uint64_t) row[part ? (int) S3_PART_MASK
                                  : (int) S3_DATA_MASK].n;
    r->size = (uint64_t) row[part ? (int) S3_PART_SIZE
                                  : (int) S3_DATA_SIZE].n;
    s3_geometry_unpack(row[part ? (int) S3_PART_GEOMETRY
                                : (int) S3_DATA_GEOMETRY].n,
                       &r->geometry);

    err = s3_read_id(index, row[part ? (int) S3_PART_SHARD_ID
                                     : (int) S3_DATA_ID].b,
                     r->shard_id);

    return err ? err
               : s3_read_id(index, row[part ? (int) S3_PART_SESSION
                                            : (int) S3_DATA_SESSION].b,
                            r->session);
}


int
s3_index_shard(s3_index_t *index, const uint8_t shard_id[16],
    s3_shard_row_t *shard, int *found)
{
    int            rc, err;
    uint64_t       sequence;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    *found = 0;

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    row[S3_DATA_ID].b.data = shard_id;
    row[S3_DATA_ID].b.len = 16;

    err = s3_row_get(index, S3_TABLE_DATA, row, found);

    if (err == 0 && *found) {

        /* inline and empty data has no shards, that of parts others */

        *found = row[S3_DATA_GEOMETRY].n != 0 && row[S3_DATA_PARTS].n == 0;

        if (*found) {
            err = s3_extent_row(index, S3_TABLE_DATA, row, shard);
        }

    } else if (err == 0) {
        stmt = s3_index_stmt(index, S3_SQL_PART_BY_SHARD, &err);

        if (stmt) {
            rc = s3_bind_blob(stmt, 1, shard_id, 16);

            if (rc == SQLITE_OK) {
                rc = sqlite3_step(stmt);
            }

            if (rc == SQLITE_ROW) {
                s3_row_columns(stmt, 0, S3_TABLE_PART, row);
                *found = row[S3_PART_GEOMETRY].n != 0;

                if (*found) {
                    err = s3_extent_row(index, S3_TABLE_PART, row, shard);
                }

            } else if (rc != SQLITE_DONE) {
                err = s3_index_fail(index, rc);
            }
        }
    }

    return s3_index_read_end(index, err);
}


int
s3_index_shard_known(s3_index_t *index, const uint8_t shard_id[16],
    int *known)
{
    s3_shard_row_t  row;

    return s3_index_shard(index, shard_id, &row, known);
}


static int
s3_read_number(s3_index_t *index, s3_sql_e sql, int64_t arg, int64_t *value,
    int *found)
{
    int            rc, err;
    sqlite3_stmt  *stmt;

    *value = 0;

    stmt = s3_index_stmt(index, sql, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = sqlite3_bind_int64(stmt, 1, arg);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    *found = rc == SQLITE_ROW;

    if (*found) {
        *value = sqlite3_column_int64(stmt, 0);
    }

    err = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0
                                                : s3_index_fail(index, rc);

    (void) sqlite3_reset(stmt);

    return err;
}


int
s3_index_reapable(s3_index_t *index, int64_t mtime, int *found,
    uint64_t *gone)
{
    int            rc, err, there;
    int64_t        bucket, known;
    uint64_t       sequence;
    sqlite3_stmt  *stmt;

    *found = 0;
    *gone = 0;

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    stmt = s3_index_stmt(index, S3_SQL_COMPLETED, &err);
    if (stmt == NULL) {
        return s3_index_read_end(index, err);
    }

    rc = sqlite3_bind_int64(stmt, 1, mtime - S3_UPLOAD_KEPT);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 2, 1);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {
        *found = 1;

    } else if (rc != SQLITE_DONE) {
        err = s3_index_fail(index, rc);
    }

    /* from one bucket to the next: as many seeks as buckets, however many
     * uploads they have; those that are completed have negative numbers */

    bucket = 0;

    while (err == 0 && !*found) {

        err = s3_read_number(index, S3_SQL_UPLOAD_BUCKETS, bucket, &bucket,
                             &there);

        if (err || !there) {
            break;
        }

        err = s3_read_number(index, S3_SQL_BUCKET_BY_ID, bucket, &known,
                             &there);

        if (err == 0 && !known) {
            *found = 1;
            *gone = (uint64_t) bucket;
        }
    }

    return s3_index_read_end(index, err);
}


int
s3_index_old_upload(s3_index_t *index, int64_t before, int *found,
    s3_buf_t *name)
{
    int            i, rc, err;
    uint64_t       sequence;
    s3_slice_t     column[3];
    sqlite3_stmt  *stmt;

    *found = 0;

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    stmt = s3_index_stmt(index, S3_SQL_OLD_UPLOAD, &err);
    if (stmt == NULL) {
        return s3_index_read_end(index, err);
    }

    rc = sqlite3_bind_int64(stmt, 1, before);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    if (rc == SQLITE_ROW) {

        for (i = 0; i < 3; i++) {
            column[i].data = sqlite3_column_blob(stmt, i);
            column[i].len = sqlite3_column_bytes(stmt, i);
        }

        if (column[2].len != 16) {
            err = s3_index_error(index, EBADMSG, "an id of a wrong length");

        } else {
            s3_buf_slice(name, column[0].data, column[0].len);
            s3_buf_slice(name, column[1].data, column[1].len);
            s3_buf_bytes(name, column[2].data, 16);

            err = name->error;
            *found = (err == 0);
        }

    } else if (rc != SQLITE_DONE) {
        err = s3_index_fail(index, rc);
    }

    return s3_index_read_end(index, err);
}


int
s3_index_garbage(s3_index_t *index, uint64_t until, uint64_t slots,
    s3_shard_row_t *rows, unsigned max, unsigned *n)
{
    int              rc, err;
    uint64_t         sequence;
    s3_value_t       row[S3_COLUMNS_MAX];
    sqlite3_stmt    *stmt;
    s3_shard_row_t  *r;

    *n = 0;

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    stmt = s3_index_stmt(index, S3_SQL_GARBAGE, &err);
    if (stmt == NULL) {
        return s3_index_read_end(index, err);
    }

    rc = sqlite3_bind_int64(stmt, 1, until > INT64_MAX ? INT64_MAX
                                                       : (int64_t) until);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 2, (int64_t) slots);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 3, max);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    while (err == 0 && rc == SQLITE_ROW && *n < max) {

        s3_row_columns(stmt, 0, S3_TABLE_GARBAGE, row);

        r = &rows[(*n)++];
        memset(r, 0, sizeof(s3_shard_row_t));

        r->sequence = (uint64_t) row[S3_GARBAGE_SEQUENCE].n;
        r->mask = (uint64_t) row[S3_GARBAGE_MASK].n;
        r->size = (uint64_t) row[S3_GARBAGE_SIZE].n;
        s3_geometry_unpack(row[S3_GARBAGE_GEOMETRY].n, &r->geometry);

        err = s3_read_id(index, row[S3_GARBAGE_SHARD_ID].b, r->shard_id);

        if (err == 0) {
            err = s3_read_id(index, row[S3_GARBAGE_SESSION].b, r->session);
        }

        if (err == 0) {
            rc = sqlite3_step(stmt);
        }
    }

    if (err == 0 && rc != SQLITE_DONE && rc != SQLITE_ROW) {
        err = s3_index_fail(index, rc);
    }

    return s3_index_read_end(index, err);
}


int
s3_index_shard_named(s3_index_t *index, const uint8_t shard_id[16],
    int *named)
{
    int            rc, err;
    uint64_t       sequence;
    sqlite3_stmt  *stmt;

    /* what is seen of it here may become garbage before the next look */

    err = s3_index_shard_known(index, shard_id, named);

    if (err || *named) {
        return err;
    }

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        return err;
    }

    stmt = s3_index_stmt(index, S3_SQL_GARBAGE_BY_SHARD, &err);

    if (stmt) {
        rc = s3_bind_blob(stmt, 1, shard_id, 16);

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        *named = (rc == SQLITE_ROW);

        if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
            err = s3_index_fail(index, rc);
        }
    }

    return s3_index_read_end(index, err);
}


/* the shards of one table that a statement finds, in the order of their ids */

static int
s3_index_table_extents(s3_index_t *index, s3_table_e table, s3_sql_e sql,
    uint64_t slots, s3_slice_t after, s3_shard_row_t *rows, unsigned max,
    unsigned *n)
{
    int            rc, err;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    *n = 0;

    stmt = s3_index_stmt(index, sql, &err);
    if (stmt == NULL) {
        return err;
    }

    rc = s3_bind_blob(stmt, 1, after.data, after.len);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 2, (int64_t) slots);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(stmt, 3, max);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }

    while (rc == SQLITE_ROW && *n < max) {

        s3_row_columns(stmt, 0, table, row);

        err = s3_extent_row(index, table, row, &rows[(*n)++]);
        if (err) {
            return err;
        }

        rc = sqlite3_step(stmt);
    }

    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0
                                                 : s3_index_fail(index, rc);
}


/* of both tables, the first max of them */

static int
s3_index_extents(s3_index_t *index, s3_sql_e data, s3_sql_e part,
    uint64_t slots, const uint8_t *after, s3_shard_row_t *rows, unsigned max,
    unsigned *n)
{
    int              err;
    unsigned         i, j, ndata, nparts;
    uint64_t         sequence;
    s3_slice_t       from;
    s3_shard_row_t  *both;

    *n = 0;

    if (max == 0) {
        return 0;
    }

    both = malloc(2 * (size_t) max * sizeof(s3_shard_row_t));
    if (both == NULL) {
        return s3_index_error(index, ENOMEM, "no memory");
    }

    err = s3_index_read_begin(index, &sequence);
    if (err) {
        free(both);
        return err;
    }

    from.data = after;
    from.len = after ? 16 : 0;
    ndata = 0;
    nparts = 0;

    err = s3_index_table_extents(index, S3_TABLE_DATA, data, slots, from,
                                 both, max, &ndata);

    if (err == 0) {
        err = s3_index_table_extents(index, S3_TABLE_PART, part, slots, from,
                                     both + max, max, &nparts);
    }

    err = s3_index_read_end(index, err);

    for (i = 0, j = 0; err == 0 && *n < max && (i < ndata || j < nparts); ) {

        if (j == nparts
            || (i < ndata && memcmp(both[i].shard_id,
                                    both[max + j].shard_id, 16) < 0))
        {
            rows[(*n)++] = both[i++];

        } else {
            rows[(*n)++] = both[max + j++];
        }
    }

    free(both);

    return err;
}


int
s3_index_holes(s3_index_t *index, uint64_t slots, const uint8_t *after,
    s3_shard_row_t *rows, unsigned max, unsigned *n)
{
    return s3_index_extents(index, S3_SQL_HOLES, S3_SQL_PART_HOLES, slots,
                            after, rows, max, n);
}


int
s3_index_marked(s3_index_t *index, uint64_t slots, const uint8_t *after,
    s3_shard_row_t *rows, unsigned max, unsigned *n)
{
    return s3_index_extents(index, S3_SQL_MARKED, S3_SQL_PART_MARKED, slots,
                            after, rows, max, n);
}
