/*
 * Pages of lists.  S3's order of keys is that of their bytes, as memcmp() and
 * the primary key have it; with a delimiter a page seeks past each common
 * prefix instead of walking over what is under it.
 */


#define _GNU_SOURCE      /* memmem() */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3_index_internal.h"


static int s3_list_page(s3_index_t *index, int64_t bucket,
    const s3_list_query_t *query, s3_buf_t *answer);
static int s3_list_seek(s3_index_t *index, sqlite3_stmt *stmt,
    int64_t bucket, const s3_buf_t *from, int *rc);
static int s3_uploads_page(s3_index_t *index, int64_t bucket,
    const s3_upload_query_t *query, s3_buf_t *answer);
static int s3_uploads_seek(s3_index_t *index, sqlite3_stmt *stmt,
    int64_t bucket, const s3_buf_t *from, s3_slice_t id, int *rc);


int
s3_index_list(s3_index_t *index, const s3_list_query_t *query,
    uint64_t *sequence, int *status, s3_buf_t *answer)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    *status = S3_STORE_OK;

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    row[S3_BUCKET_NAME].b = query->bucket;

    err = s3_row_get(index, S3_TABLE_BUCKET, row, &found);

    if (err == 0 && !found) {
        *status = S3_STORE_NO_SUCH_BUCKET;

    } else if (err == 0) {
        err = s3_list_page(index, row[S3_BUCKET_ID].n, query, answer);
    }

    return s3_index_read_end(index, err);
}


/*
 * The least byte string above all that begin with these bytes: the last byte
 * that can be raised is, and what is behind it goes.  Returns 0 where there
 * is none: all bytes are 0xff.
 */

static int
s3_list_successor(s3_buf_t *b)
{
    while (b->len && b->data[b->len - 1] == 0xff) {
        b->len--;
    }

    if (b->len == 0) {
        return 0;
    }

    b->data[b->len - 1]++;

    return 1;
}


static int
s3_slice_compare(s3_slice_t a, const uint8_t *p, size_t len)
{
    int     rc;
    size_t  n;

    n = a.len < len ? a.len : len;
    rc = n ? memcmp(a.data, p, n) : 0;

    return rc ? rc : (a.len > len) - (a.len < len);
}


/* where the delimiter ends in the key, 0: it isn't in it behind the prefix */

static size_t
s3_list_common(s3_slice_t key, size_t prefix, s3_slice_t delimiter)
{
    const uint8_t  *p;

    if (delimiter.len == 0 || key.len < prefix) {
        return 0;
    }

    p = memmem(key.data + prefix, key.len - prefix, delimiter.data,
               delimiter.len);

    return p ? (size_t) (p - key.data) + delimiter.len : 0;
}


static int
s3_list_starts(s3_slice_t key, s3_slice_t prefix)
{
    return key.len >= prefix.len
           && (prefix.len == 0
               || memcmp(key.data, prefix.data, prefix.len) == 0);
}


/* whether it is a common prefix, given on the page before */

static int
s3_list_given(s3_slice_t prefix, s3_slice_t delimiter, s3_slice_t after)
{
    return after.len && s3_list_starts(after, prefix)
           && s3_list_common(after, prefix.len, delimiter) == after.len;
}


/* the first key that may be given, into from; 0: there can be none */

static int
s3_list_start(s3_slice_t prefix, s3_slice_t delimiter, s3_slice_t after,
    s3_buf_t *from)
{
    from->len = 0;

    if (after.len && s3_slice_compare(prefix, after.data, after.len) <= 0) {
        s3_buf_bytes(from, after.data, after.len);

        if (from->error) {
            return 1;
        }

        if (s3_list_given(prefix, delimiter, after)) {
            /* a common prefix, given on the page before: what it stands for
             * is behind us */

            return s3_list_successor(from);
        }

        /* the least key above it has a zero byte more */

        s3_buf_u8(from, 0);

        return 1;
    }

    s3_buf_bytes(from, prefix.data, prefix.len);

    return 1;
}


/* an entry's bytes lie in the arena: while it grows, slices hold offsets */

static s3_slice_t
s3_list_keep(s3_buf_t *arena, s3_slice_t s)
{
    s3_slice_t  kept;

    kept.data = (const uint8_t *) (uintptr_t) arena->len;
    kept.len = s.len;

    s3_buf_bytes(arena, s.data, s.len);

    return kept;
}


static void
s3_list_place(const s3_buf_t *arena, s3_slice_t *s)
{
    s->data = s->len ? arena->data + (uintptr_t) s->data : NULL;
}


static int
s3_list_page(s3_index_t *index, int64_t bucket, const s3_list_query_t *query,
    s3_buf_t *answer)
{
    int               rc, err;
    size_t            common;
    uint32_t          i, max;
    s3_buf_t          from, arena;
    s3_slice_t        key;
    s3_list_page_t    page;
    s3_list_entry_t  *e;
    sqlite3_stmt     *stmt;

    memset(&page, 0, sizeof(s3_list_page_t));
    memset(&from, 0, sizeof(s3_buf_t));
    memset(&arena, 0, sizeof(s3_buf_t));

    err = 0;
    max = query->max < S3_LIST_MAX ? query->max : S3_LIST_MAX;

    if (max == 0) {
        goto done;
    }

    page.entries = malloc(max * sizeof(s3_list_entry_t));
    if (page.entries == NULL) {
        err = s3_index_error(index, ENOMEM, "no memory");
        goto done;
    }

    if (!s3_list_start(query->prefix, query->delimiter, query->after,
                       &from)) {
        goto done;
    }

    stmt = s3_index_stmt(index, S3_SQL_LIST, &err);
    if (stmt == NULL) {
        goto done;
    }

    err = s3_list_seek(index, stmt, bucket, &from, &rc);

    while (err == 0 && rc == SQLITE_ROW) {

        key = s3_column_blob(stmt, 0);

        if (!s3_list_starts(key, query->prefix)) {
            break;
        }

        if (page.nentries == max) {
            page.truncated = 1;
            break;
        }

        e = &page.entries[page.nentries++];
        memset(e, 0, sizeof(s3_list_entry_t));

        common = s3_list_common(key, query->prefix.len, query->delimiter);

        if (common) {
            key.len = common;

            e->is_prefix = 1;
            e->key = s3_list_keep(&arena, key);

            from.len = 0;
            s3_buf_bytes(&from, key.data, key.len);

            if (from.error || !s3_list_successor(&from)) {
                break;
            }

            err = s3_list_seek(index, stmt, bucket, &from, &rc);
            continue;
        }

        e->key = s3_list_keep(&arena, key);
        e->size = (uint64_t) sqlite3_column_int64(stmt, 1);
        e->mtime = sqlite3_column_int64(stmt, 2);
        e->etag = s3_list_keep(&arena, s3_column_blob(stmt, 3));
        e->checksum = s3_list_keep(&arena, s3_column_blob(stmt, 4));

        rc = sqlite3_step(stmt);
    }

    if (err == 0 && rc != SQLITE_ROW && rc != SQLITE_DONE) {
        err = s3_index_fail(index, rc);
    }

    (void) sqlite3_reset(stmt);

done:

    if (err == 0 && (from.error || arena.error)) {
        err = s3_index_error(index, from.error ? from.error : arena.error,
                             "no room for a list");
    }

    if (err == 0) {

        for (i = 0; i < page.nentries; i++) {
            s3_list_place(&arena, &page.entries[i].key);
            s3_list_place(&arena, &page.entries[i].etag);
            s3_list_place(&arena, &page.entries[i].checksum);
        }

        if (page.truncated) {
            page.next = page.entries[page.nentries - 1].key;
        }

        s3_write_list_page(answer, &page);

        if (answer->error) {
            err = s3_index_error(index, answer->error,
                                 "no room for an answer");
        }
    }

    free(page.entries);
    s3_buf_free(&from);
    s3_buf_free(&arena);

    return err;
}


static int
s3_list_seek(s3_index_t *index, sqlite3_stmt *stmt, int64_t bucket,
    const s3_buf_t *from, int *rc)
{
    int  err;

    (void) sqlite3_reset(stmt);

    err = from->error ? SQLITE_NOMEM : sqlite3_bind_int64(stmt, 1, bucket);

    if (err == SQLITE_OK) {
        err = s3_bind_blob(stmt, 2, from->data, from->len);
    }

    if (err != SQLITE_OK) {
        return s3_index_fail(index, err);
    }

    *rc = sqlite3_step(stmt);

    return 0;
}


/* --- multipart uploads --- */


int
s3_index_uploads(s3_index_t *index, const s3_upload_query_t *query,
    uint64_t *sequence, int *status, s3_buf_t *answer)
{
    int         err, found;
    s3_value_t  row[S3_COLUMNS_MAX];

    *status = S3_STORE_OK;

    err = s3_index_read_begin(index, sequence);
    if (err) {
        return err;
    }

    row[S3_BUCKET_NAME].b = query->bucket;

    err = s3_row_get(index, S3_TABLE_BUCKET, row, &found);

    if (err == 0 && !found) {
        *status = S3_STORE_NO_SUCH_BUCKET;

    } else if (err == 0) {
        err = s3_uploads_page(index, row[S3_BUCKET_ID].n, query, answer);
    }

    return s3_index_read_end(index, err);
}


/* as s3_list_page(), in the order of keys and then of ids.  Those completed
 * stand under another number of the bucket: none has to be walked over */

static int
s3_uploads_page(s3_index_t *index, int64_t bucket,
    const s3_upload_query_t *query, s3_buf_t *answer)
{
    int                 rc, err;
    size_t              common;
    uint8_t             last[17];
    uint32_t            i, max;
    s3_buf_t            from, arena;
    s3_slice_t          key, id, none;
    s3_upload_page_t    page;
    s3_upload_entry_t  *e;
    sqlite3_stmt       *stmt;

    memset(&page, 0, sizeof(s3_upload_page_t));
    memset(&from, 0, sizeof(s3_buf_t));
    memset(&arena, 0, sizeof(s3_buf_t));
    memset(&none, 0, sizeof(s3_slice_t));

    err = 0;
    max = query->max < S3_LIST_MAX ? query->max : S3_LIST_MAX;

    if (max == 0) {
        goto done;
    }

    page.entries = calloc(max, sizeof(s3_upload_entry_t));
    if (page.entries == NULL) {
        err = s3_index_error(index, ENOMEM, "no memory");
        goto done;
    }

    id = none;

    if (query->after_upload && query->after.len
        && s3_slice_compare(query->prefix, query->after.data,
                            query->after.len) <= 0
        && !s3_list_given(query->prefix, query->delimiter, query->after))
    {
        s3_buf_bytes(&from, query->after.data, query->after.len);

        /* the least id above it */

        memcpy(last, query->after_id, 16);
        last[16] = 0;
        id.data = last;
        id.len = sizeof(last);

    } else if (!s3_list_start(query->prefix, query->delimiter, query->after,
                              &from))
    {
        goto done;
    }

    stmt = s3_index_stmt(index, S3_SQL_UPLOADS, &err);
    if (stmt == NULL) {
        goto done;
    }

    err = s3_uploads_seek(index, stmt, bucket, &from, id, &rc);

    while (err == 0 && rc == SQLITE_ROW) {

        key = s3_column_blob(stmt, 0);

        if (!s3_list_starts(key, query->prefix)) {
            break;
        }

        if (page.nentries == max) {
            page.truncated = 1;
            break;
        }

        e = &page.entries[page.nentries++];

        common = s3_list_common(key, query->prefix.len, query->delimiter);

        if (common) {
            key.len = common;

            e->is_prefix = 1;
            e->upload.key = s3_list_keep(&arena, key);

            from.len = 0;
            s3_buf_bytes(&from, key.data, key.len);

            if (from.error || !s3_list_successor(&from)) {
                break;
            }

            err = s3_uploads_seek(index, stmt, bucket, &from, none, &rc);
            continue;
        }

        id = s3_column_blob(stmt, 1);

        if (id.len != 16) {
            err = s3_index_error(index, EBADMSG, "an id of a wrong length");
            break;
        }

        e->upload.key = s3_list_keep(&arena, key);
        memcpy(e->upload.upload_id, id.data, 16);
        e->upload.initiated = sqlite3_column_int64(stmt, 2);
        e->upload.checksum = s3_list_keep(&arena, s3_column_blob(stmt, 3));

        rc = sqlite3_step(stmt);
    }

    if (err == 0 && rc != SQLITE_ROW && rc != SQLITE_DONE) {
        err = s3_index_fail(index, rc);
    }

    (void) sqlite3_reset(stmt);

done:

    if (err == 0 && (from.error || arena.error)) {
        err = s3_index_error(index, from.error ? from.error : arena.error,
                             "no room for a list");
    }

    if (err == 0) {

        for (i = 0; i < page.nentries; i++) {
            s3_list_place(&arena, &page.entries[i].upload.key);
            s3_list_place(&arena, &page.entries[i].upload.checksum);
        }

        if (page.truncated) {
            e = &page.entries[page.nentries - 1];
            page.next = e->upload.key;
            memcpy(page.next_id, e->upload.upload_id, 16);
        }

        s3_write_upload_page(answer, &page);

        if (answer->error) {
            err = s3_index_error(index, answer->error,
                                 "no room for an answer");
        }
    }

    free(page.entries);
    s3_buf_free(&from);
    s3_buf_free(&arena);

    return err;
}


static int
s3_uploads_seek(s3_index_t *index, sqlite3_stmt *stmt, int64_t bucket,
    const s3_buf_t *from, s3_slice_t id, int *rc)
{
    int  err;

    (void) sqlite3_reset(stmt);

    err = from->error ? SQLITE_NOMEM : sqlite3_bind_int64(stmt, 1, bucket);

    if (err == SQLITE_OK) {
        err = s3_bind_blob(stmt, 2, from->data, from->len);
    }

    if (err == SQLITE_OK) {
        err = s3_bind_blob(stmt, 3, id.data, id.len);
    }

    if (err != SQLITE_OK) {
        return s3_index_fail(index, err);
    }

    *rc = sqlite3_step(stmt);

    return 0;
}
