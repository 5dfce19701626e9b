
/*
 * Multipart uploads and copies in the index: what each commit makes of the
 * rows, on the disk that decides and on one that is told.
 */


#include "s3_test.h"
#include "s3_door.h"
#include "s3_index.h"
#include "s3_index_internal.h"

#include <fcntl.h>


#define CACHE        (1024 * 1024)
#define NDISKS       2
#define MB           (1024 * 1024)
#define DAY          ((int64_t) 24 * 3600 * 1000)


typedef struct {
    char            *dir;
    int              fd;
    s3_vfs_t        *vfs;
    s3_index_t      *writer;
    s3_index_t      *reader;
} disk_t;


static disk_t         disks[NDISKS];
static s3_position_t  position;
static uint64_t       next_request, next_id;
static int64_t        now;
static size_t         effects_len;


static s3_slice_t
bytes(const void *p, size_t len)
{
    s3_slice_t  slice;

    slice.data = p;
    slice.len = len;

    return slice;
}


static s3_slice_t
text(const char *s)
{
    return bytes(s, strlen(s));
}


static int64_t
count(const char *table)
{
    char           sql[128];
    int64_t        n;
    sqlite3_stmt  *stmt;

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM \"%s\"", table);

    assert_int_equal(sqlite3_prepare_v2(disks[1].reader->db, sql, -1, &stmt,
                                        NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);

    return n;
}


static uint64_t
last_bucket(void)
{
    uint64_t       id;
    sqlite3_stmt  *stmt;

    assert_int_equal(sqlite3_prepare_v2(disks[1].reader->db,
                                        "SELECT max(id) FROM bucket", -1,
                                        &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    id = (uint64_t) sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);

    return id;
}


static void
dump(s3_index_t *index, s3_buf_t *b)
{
    int            rc;
    char           sql[128];
    unsigned       table;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    for (table = S3_TABLE_BUCKET; table < S3_TABLES; table++) {
        snprintf(sql, sizeof(sql), "SELECT * FROM \"%s\" ORDER BY 1, 2, 3",
                 s3_index_tables[table].name);

        if (strlen(s3_index_tables[table].types) == 2) {
            sql[strlen(sql) - 3] = '\0';
        }

        assert_int_equal(sqlite3_prepare_v2(index->db, sql, -1, &stmt, NULL),
                         SQLITE_OK);

        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            s3_row_columns(stmt, 0, table, row);
            s3_effect_write(b, S3_EFFECT_PUT, table, row);
        }

        assert_int_equal(rc, SQLITE_DONE);
        assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    }

    assert_int_equal(b->error, 0);
}


/* nothing here asks what a power cut would leave */

static int
no_sync(int fd)
{
    return 0;
}


static s3_door_t  door;


static int
set_up(void **state)
{
    unsigned  i;
    disk_t   *d;

    door = s3_door_system;
    door.fsync = no_sync;
    door.fdatasync = no_sync;
    s3_door = &door;

    memset(&position, 0, sizeof(position));
    next_request = 1;
    next_id = 1;
    now = 1700000000000;

    for (i = 0; i < NDISKS; i++) {
        d = &disks[i];

        d->dir = s3_test_dir();
        d->fd = open(d->dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        assert_true(d->fd >= 0);
        d->vfs = s3_vfs_create(d->fd);
        assert_non_null(d->vfs);
        assert_int_equal(s3_index_open(d->vfs, 1, 1, CACHE, &d->writer), 0);
        assert_int_equal(s3_index_open(d->vfs, 0, 0, CACHE, &d->reader), 0);
    }

    return 0;
}


/* every test ends with the same rows on both disks */

static int
tear_down(void **state)
{
    unsigned  i;
    disk_t   *d;
    s3_buf_t  x[NDISKS];

    memset(x, 0, sizeof(x));

    for (i = 0; i < NDISKS; i++) {
        dump(disks[i].reader, &x[i]);
    }

    assert_int_equal(x[0].len, x[1].len);
    assert_memory_equal(x[0].data, x[1].data, x[0].len);

    for (i = 0; i < NDISKS; i++) {
        d = &disks[i];

        s3_buf_free(&x[i]);
        s3_index_close(d->reader);
        s3_index_close(d->writer);
        s3_vfs_destroy(d->vfs);
        (void) close(d->fd);
        s3_test_dir_free(d->dir);
    }

    s3_door = &s3_door_system;

    return 0;
}


/* --- commits --- */

static s3_commit_t
commit_of(int op, const char *bucket, const char *key)
{
    s3_commit_t  c;

    memset(&c, 0, sizeof(c));

    c.op = (uint8_t) op;
    memset(c.session, 0x55, 16);
    c.request = next_request++;
    c.bucket = text(bucket);
    c.key = text(key);
    c.mtime = ++now;

    return c;
}


static int
run(s3_commit_t c)
{
    unsigned       i;
    s3_buf_t       effects;
    s3_slice_t     slice;
    s3_verdict_t   v;
    s3_position_t  after;

    memset(&effects, 0, sizeof(effects));

    after = position;
    after.sequence++;

    assert_int_equal(s3_index_begin(disks[0].writer), 0);
    assert_int_equal(s3_index_decide(disks[0].writer, &c, after.sequence,
                                     &effects, &v), 0);

    slice = bytes(effects.data, effects.len);
    effects_len = effects.len;

    s3_index_digest(&position, &after, slice);

    for (i = 1; i < NDISKS; i++) {
        assert_int_equal(s3_index_begin(disks[i].writer), 0);
        assert_int_equal(s3_index_apply(disks[i].writer, slice), 0);
    }

    for (i = 0; i < NDISKS; i++) {
        assert_int_equal(s3_index_seal(disks[i].writer, &after, slice, 0),
                         0);
        assert_int_equal(s3_index_flush(disks[i].writer, 0), 0);
        assert_int_equal(s3_index_commit(disks[i].writer), 0);
    }

    position = after;
    s3_buf_free(&effects);

    return v.status;
}


static s3_commit_t
upload_of(int op, const char *key, uint64_t id)
{
    s3_commit_t  c;

    c = commit_of(op, "b", key);
    s3_test_fill(c.upload_id, 16, 1000000 + id);

    return c;
}


static s3_commit_t
part_of(const char *key, uint64_t id, uint32_t number, uint64_t size)
{
    s3_commit_t  c;

    c = upload_of(S3_COMMIT_PART, key, id);
    c.number = number;
    c.size = size;
    c.mask = 7;
    c.geometry.k = 2;
    c.geometry.m = 1;
    c.geometry.unit = 524288;
    c.etag = bytes("fedcba9876543210", 16);
    c.checksum = text("part sum");
    s3_test_fill(c.shard_id, 16, next_id++);

    return c;
}


static s3_commit_t
complete_of(const char *key, uint64_t id, const s3_buf_t *refs)
{
    s3_commit_t  c;

    c = upload_of(S3_COMMIT_COMPLETE, key, id);
    c.parts = bytes(refs->data, refs->len);
    c.etag = bytes("0123456789abcdef\2\0\0\0", 20);
    c.checksum = text("sum");
    c.result = text("result");

    return c;
}


static s3_commit_t
put_of(const char *key, uint64_t size)
{
    s3_commit_t  c;

    c = part_of(key, 0, 0, size);
    c.op = S3_COMMIT_PUT;

    return c;
}


static void
make_bucket(const char *name)
{
    assert_int_equal(run(commit_of(S3_COMMIT_CREATE_BUCKET, name, "")),
                     S3_STORE_OK);
}


static void
create(const char *key, uint64_t id)
{
    s3_commit_t  c;

    c = upload_of(S3_COMMIT_CREATE_UPLOAD, key, id);
    c.checksum = text("crc");
    c.attrs = text("attrs");
    c.meta = text("meta");
    assert_int_equal(run(c), S3_STORE_OK);
}


/* --- reads --- */

static int
lookup(const char *key, s3_object_t *o, s3_buf_t *answer)
{
    int          status;
    uint64_t     sequence;
    s3_reader_t  r;

    s3_buf_free(answer);

    assert_int_equal(s3_index_lookup(disks[1].reader, text("b"), text(key),
                                     &sequence, &status, answer), 0);

    if (status == S3_STORE_OK) {
        s3_reader_init(&r, answer->data, answer->len);
        assert_int_equal(s3_read_object(&r, o), 0);
    }

    return status;
}


static int
parts_of(const char *key, uint64_t id, int of_object, uint32_t after,
    uint32_t max, s3_part_page_t *page, s3_buf_t *answer)
{
    int              status;
    uint64_t         sequence;
    s3_reader_t      r;
    s3_part_query_t  q;

    s3_buf_free(answer);
    memset(&q, 0, sizeof(q));

    q.bucket = text("b");
    q.key = text(key);
    q.of_object = (uint8_t) of_object;
    s3_test_fill(q.upload_id, 16, 1000000 + id);
    q.after = after;
    q.max = max;

    assert_int_equal(s3_index_parts(disks[1].reader, &q, &sequence, &status,
                                    answer), 0);
    assert_int_equal(sequence, position.sequence);

    if (status == S3_STORE_OK) {
        s3_reader_init(&r, answer->data, answer->len);
        assert_int_equal(s3_read_part_page(&r, page), 0);
        assert_ptr_equal(r.pos, r.last);
    }

    return status;
}


static int
known(const uint8_t *shard_id)
{
    int  k;

    assert_int_equal(s3_index_shard_known(disks[1].reader, shard_id, &k), 0);

    return k;
}


static int
garbage(const uint8_t *shard_id)
{
    int              there;
    unsigned         i, n;
    s3_shard_row_t  *rows;

    rows = calloc(30000, sizeof(s3_shard_row_t));

    assert_int_equal(s3_index_garbage(disks[1].reader, UINT64_MAX, 7, rows,
                                      30000, &n), 0);

    for (i = 0, there = 0; i < n; i++) {
        there += memcmp(rows[i].shard_id, shard_id, 16) == 0;
    }

    free(rows);

    return there;
}


/* --- tests --- */

static void
test_upload_becomes_object(void **state)
{
    uint8_t          old[16];
    s3_buf_t         refs, stale, answer;
    s3_commit_t      c, p[7];
    s3_object_t      o;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&stale, 0, sizeof(stale));
    memset(&answer, 0, sizeof(answer));

    assert_int_equal(run(upload_of(S3_COMMIT_CREATE_UPLOAD, "k", 1)),
                     S3_STORE_NO_SUCH_BUCKET);
    c = part_of("k", 1, 1, 5 * MB);
    assert_int_equal(run(c), S3_STORE_NO_SUCH_BUCKET);
    assert_true(garbage(c.shard_id));

    make_bucket("b");

    c = part_of("k", 1, 1, 5 * MB);
    assert_int_equal(run(c), S3_STORE_NO_SUCH_UPLOAD);
    assert_true(garbage(c.shard_id));
    assert_false(known(c.shard_id));
    assert_int_equal(parts_of("k", 1, 0, 0, 10, &page, &answer),
                     S3_STORE_NO_SUCH_UPLOAD);

    create("k", 1);
    assert_int_equal(run(upload_of(S3_COMMIT_CREATE_UPLOAD, "k", 1)),
                     S3_STORE_CONFLICT);

    /* parts, in no order; one of no bytes, one uploaded anew, one unwanted */

    p[3] = part_of("k", 1, 3, 3 * MB);
    assert_int_equal(run(p[3]), S3_STORE_OK);
    p[1] = part_of("k", 1, 1, 4 * MB);
    assert_int_equal(run(p[1]), S3_STORE_OK);
    p[2] = part_of("k", 1, 2, 0);
    assert_int_equal(run(p[2]), S3_STORE_OK);
    p[5] = part_of("k", 1, 10000, 7 * MB);
    assert_int_equal(run(p[5]), S3_STORE_OK);

    memcpy(old, p[1].shard_id, 16);
    s3_write_part_ref(&stale, 1, old);
    assert_true(known(old));
    p[1] = part_of("k", 1, 1, 5 * MB);
    assert_int_equal(run(p[1]), S3_STORE_OK);
    assert_true(garbage(old));
    assert_false(known(old));
    assert_true(known(p[1].shard_id));

    /* the id of another's shards */

    c = part_of("k", 1, 4, 5 * MB);
    memcpy(c.shard_id, p[3].shard_id, 16);
    assert_int_equal(run(c), S3_STORE_SHARDS_MISSING);
    assert_false(garbage(p[3].shard_id));
    c = part_of("k", 1, 4, 0);
    memcpy(c.shard_id, p[2].shard_id, 16);
    assert_int_equal(run(c), S3_STORE_SHARDS_MISSING);

    /* numbers that there are none of */

    assert_int_equal(run(part_of("k", 1, 0, MB)), S3_STORE_BAD_REQUEST);
    assert_int_equal(run(part_of("k", 1, 10001, MB)), S3_STORE_BAD_REQUEST);

    assert_int_equal(parts_of("k", 1, 0, 0, 2, &page, &answer), S3_STORE_OK);
    assert_int_equal(page.nparts, 2);
    assert_true(page.truncated);
    assert_int_equal(page.parts[0].number, 1);
    assert_int_equal(page.parts[0].size, 5 * MB);
    assert_int_equal(page.parts[0].mtime, p[1].mtime);
    assert_memory_equal(page.parts[0].shard_id, p[1].shard_id, 16);
    assert_memory_equal(page.parts[0].etag.data, "fedcba9876543210", 16);
    assert_memory_equal(page.parts[0].checksum.data, "part sum", 8);
    assert_int_equal(page.parts[1].number, 2);
    assert_int_equal(page.parts[1].size, 0);
    assert_false(page.upload.completed);
    assert_memory_equal(page.upload.meta.data, "meta", 4);
    assert_memory_equal(page.upload.attrs.data, "attrs", 5);
    assert_memory_equal(page.upload.checksum.data, "crc", 3);
    free(page.parts);

    assert_int_equal(parts_of("k", 1, 0, 2, 2, &page, &answer), S3_STORE_OK);
    assert_int_equal(page.nparts, 2);
    assert_false(page.truncated);
    assert_int_equal(page.parts[1].number, 10000);
    free(page.parts);

    assert_int_equal(parts_of("k", 1, 0, 0, 0, &page, &answer), S3_STORE_OK);
    assert_int_equal(page.nparts, 0);

    /* nothing of it can be seen */

    assert_int_equal(lookup("k", &o, &answer), S3_STORE_NO_SUCH_KEY);

    /* what is refused leaves it as it was */

    assert_int_equal(run(complete_of("k", 1, &stale)), S3_STORE_CONFLICT);

    s3_write_part_ref(&refs, 3, p[3].shard_id);
    s3_write_part_ref(&refs, 1, p[1].shard_id);
    assert_int_equal(run(complete_of("k", 1, &refs)), S3_STORE_BAD_REQUEST);
    refs.len = 0;
    s3_write_part_ref(&refs, 1, p[1].shard_id);
    s3_write_part_ref(&refs, 4, p[3].shard_id);
    assert_int_equal(run(complete_of("k", 1, &refs)), S3_STORE_CONFLICT);
    refs.len = 0;
    assert_int_equal(run(complete_of("k", 1, &refs)), S3_STORE_BAD_REQUEST);

    s3_write_part_ref(&refs, 1, p[1].shard_id);
    s3_write_part_ref(&refs, 2, p[2].shard_id);
    s3_write_part_ref(&refs, 3, p[3].shard_id);
    c = complete_of("k", 1, &refs);
    c.conditions = S3_IF_MATCH_ANY;
    assert_int_equal(run(c), S3_STORE_NO_SUCH_KEY);
    assert_int_equal(run(complete_of("k", 2, &refs)),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(run(complete_of("other", 1, &refs)),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(count("part"), 4);
    assert_true(known(p[5].shard_id));

    /* over an object that was there */

    assert_int_equal(run(put_of("k", 9 * MB)), S3_STORE_OK);
    c = complete_of("k", 1, &refs);
    c.conditions = S3_IF_NONE_MATCH_ANY;
    assert_int_equal(run(c), S3_STORE_PRECONDITION_FAILED);

    c = complete_of("k", 1, &refs);
    c.conditions = S3_IF_MATCH;
    c.if_match = bytes("fedcba9876543210", 16);
    assert_int_equal(run(c), S3_STORE_OK);

    assert_int_equal(lookup("k", &o, &answer), S3_STORE_OK);
    assert_int_equal(o.size, 8 * MB);
    assert_int_equal(o.mtime, c.mtime);
    assert_int_equal(o.is_inline, 0);
    assert_memory_equal(o.data_id, c.upload_id, 16);
    assert_memory_equal(o.meta.data, "meta", 4);
    assert_memory_equal(o.attrs.data, "attrs", 5);
    assert_memory_equal(o.checksum.data, "sum", 3);
    assert_int_equal(o.etag.len, 20);
    assert_int_equal(o.nextents, 2);
    assert_int_equal(o.extents[0].number, 1);
    assert_int_equal(o.extents[0].offset, 0);
    assert_int_equal(o.extents[0].size, 5 * MB);
    assert_int_equal(o.extents[1].number, 3);
    assert_int_equal(o.extents[1].offset, 5 * MB);
    assert_int_equal(o.extents[1].mask, 7);
    assert_memory_equal(o.extents[1].shard_id, p[3].shard_id, 16);
    assert_memory_equal(o.extents[1].session, p[3].session, 16);
    s3_object_free(&o);

    assert_true(garbage(p[5].shard_id));
    assert_false(known(p[5].shard_id));
    assert_int_equal(count("part"), 3);
    assert_int_equal(count("data"), 1);

    /* again, and what else can be asked of it now */

    assert_int_equal(run(complete_of("k", 1, &refs)), S3_STORE_CONFLICT);
    assert_int_equal(run(upload_of(S3_COMMIT_ABORT, "k", 1)),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(run(upload_of(S3_COMMIT_CREATE_UPLOAD, "k", 1)),
                     S3_STORE_CONFLICT);
    assert_int_equal(run(upload_of(S3_COMMIT_CREATE_UPLOAD, "l", 1)),
                     S3_STORE_CONFLICT);
    c = part_of("k", 1, 2, MB);
    assert_int_equal(run(c), S3_STORE_NO_SUCH_UPLOAD);
    assert_true(garbage(c.shard_id));

    assert_int_equal(parts_of("k", 1, 0, 0, 10, &page, &answer), S3_STORE_OK);
    assert_true(page.upload.completed);
    assert_memory_equal(page.upload.result.data, "result", 6);
    assert_int_equal(page.nparts, 0);

    assert_int_equal(parts_of("k", 9, 1, 1, 10, &page, &answer), S3_STORE_OK);
    assert_int_equal(page.nparts, 2);
    assert_int_equal(page.parts[0].number, 2);
    assert_int_equal(page.parts[1].number, 3);
    assert_int_equal(page.parts[1].size, 3 * MB);
    free(page.parts);

    /* deleted: the result is kept, the parts are not */

    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b", "k")), S3_STORE_OK);
    assert_int_equal(count("part"), 0);
    assert_int_equal(count("data"), 0);
    assert_true(garbage(p[1].shard_id));
    assert_true(garbage(p[3].shard_id));
    assert_false(garbage(p[2].shard_id));
    assert_int_equal(run(complete_of("k", 1, &refs)), S3_STORE_CONFLICT);
    assert_int_equal(parts_of("k", 9, 1, 0, 10, &page, &answer),
                     S3_STORE_NO_SUCH_KEY);

    s3_buf_free(&refs);
    s3_buf_free(&stale);
    s3_buf_free(&answer);
}


static void
test_object_of_nothing(void **state)
{
    s3_buf_t         refs, answer;
    s3_commit_t      p;
    s3_object_t      o;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&answer, 0, sizeof(answer));

    make_bucket("b");
    create("k", 1);
    p = part_of("k", 1, 1, 0);
    assert_int_equal(run(p), S3_STORE_OK);
    s3_write_part_ref(&refs, 1, p.shard_id);
    assert_int_equal(run(complete_of("k", 1, &refs)), S3_STORE_OK);

    assert_int_equal(lookup("k", &o, &answer), S3_STORE_OK);
    assert_int_equal(o.size, 0);
    assert_int_equal(o.nextents, 0);
    s3_object_free(&o);

    assert_int_equal(parts_of("k", 0, 1, 0, 10, &page, &answer), S3_STORE_OK);
    assert_int_equal(page.nparts, 1);
    free(page.parts);

    /* one that was not uploaded in parts has none */

    assert_int_equal(run(put_of("whole", MB)), S3_STORE_OK);
    assert_int_equal(parts_of("whole", 0, 1, 0, 10, &page, &answer),
                     S3_STORE_OK);
    assert_int_equal(page.nparts, 0);

    s3_buf_free(&refs);
    s3_buf_free(&answer);
}


static void
test_abort(void **state)
{
    s3_buf_t         answer;
    s3_commit_t      p[3], c;
    s3_part_page_t   page;

    memset(&answer, 0, sizeof(answer));

    make_bucket("b");
    create("k", 1);
    create("k", 2);

    p[0] = part_of("k", 1, 1, 5 * MB);
    p[1] = part_of("k", 1, 2, 5 * MB);
    p[2] = part_of("k", 2, 1, 5 * MB);
    assert_int_equal(run(p[0]), S3_STORE_OK);
    assert_int_equal(run(p[1]), S3_STORE_OK);
    assert_int_equal(run(p[2]), S3_STORE_OK);

    assert_int_equal(run(upload_of(S3_COMMIT_ABORT, "k", 1)), S3_STORE_OK);
    assert_true(garbage(p[0].shard_id));
    assert_true(garbage(p[1].shard_id));
    assert_true(known(p[2].shard_id));
    assert_int_equal(count("part"), 1);
    assert_int_equal(parts_of("k", 1, 0, 0, 10, &page, &answer),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(run(upload_of(S3_COMMIT_ABORT, "k", 1)),
                     S3_STORE_NO_SUCH_UPLOAD);

    /* a part that comes late, and one whose shards are too few */

    c = part_of("k", 1, 3, MB);
    assert_int_equal(run(c), S3_STORE_NO_SUCH_UPLOAD);
    assert_true(garbage(c.shard_id));

    c = part_of("k", 2, 3, MB);
    c.refuse = S3_STORE_SHARDS_MISSING;
    assert_int_equal(run(c), S3_STORE_SHARDS_MISSING);
    assert_true(garbage(c.shard_id));
    assert_int_equal(count("part"), 1);

    s3_buf_free(&answer);
}


static void
test_copy(void **state)
{
    s3_buf_t     answer;
    s3_commit_t  big, c, inl;
    s3_object_t  o;

    memset(&answer, 0, sizeof(answer));

    make_bucket("b");
    make_bucket("c");

    big = put_of("big", 5 * MB);
    assert_int_equal(run(big), S3_STORE_OK);

#define copy(from, to, of)                                                    \
    c = commit_of(S3_COMMIT_COPY, "b", to);                                   \
    c.source_bucket = text("b");                                              \
    c.source_key = text(from);                                                \
    memcpy(c.source, (of).shard_id, 16);                                      \
    c.etag = bytes("0123456789abcdef", 16);                                   \
    c.meta = text("new")

    copy("big", "two", big);
    c.bucket = text("none");
    assert_int_equal(run(c), S3_STORE_NO_SUCH_BUCKET);
    copy("big", "two", big);
    c.source_bucket = text("none");
    assert_int_equal(run(c), S3_STORE_NO_SUCH_BUCKET);
    copy("none", "two", big);
    assert_int_equal(run(c), S3_STORE_NO_SUCH_KEY);
    copy("big", "two", big);
    c.source[0] ^= 1;
    assert_int_equal(run(c), S3_STORE_CONFLICT);
    copy("big", "big", big);
    c.conditions = S3_IF_NONE_MATCH_ANY;
    assert_int_equal(run(c), S3_STORE_PRECONDITION_FAILED);

    copy("big", "two", big);
    c.conditions = S3_IF_NONE_MATCH_ANY;
    assert_int_equal(run(c), S3_STORE_OK);
    assert_int_equal(lookup("two", &o, &answer), S3_STORE_OK);
    assert_int_equal(o.size, 5 * MB);
    assert_memory_equal(o.data_id, big.shard_id, 16);
    assert_memory_equal(o.meta.data, "new", 3);
    assert_memory_equal(o.etag.data, "0123456789abcdef", 16);
    assert_int_equal(o.mtime, c.mtime);
    assert_int_equal(o.nextents, 1);
    assert_int_equal(o.extents[0].number, 0);
    s3_object_free(&o);

    /* onto itself, and onto its twin: the number stays */

    copy("big", "big", big);
    assert_int_equal(run(c), S3_STORE_OK);
    copy("two", "big", big);
    assert_int_equal(run(c), S3_STORE_OK);
    assert_int_equal(count("data"), 1);

    /* into another bucket */

    copy("big", "three", big);
    c.bucket = text("c");
    assert_int_equal(run(c), S3_STORE_OK);

    /* the data goes with its last name */

    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b", "big")),
                     S3_STORE_OK);
    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "c", "three")),
                     S3_STORE_OK);
    assert_false(garbage(big.shard_id));
    assert_true(known(big.shard_id));

    /* small data, over the last name of the large */

    inl = put_of("small", 5);
    inl.is_inline = 1;
    inl.data = text("hello");
    assert_int_equal(run(inl), S3_STORE_OK);
    copy("small", "two", inl);
    assert_int_equal(run(c), S3_STORE_OK);
    assert_true(garbage(big.shard_id));
    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b", "small")),
                     S3_STORE_OK);
    assert_int_equal(lookup("two", &o, &answer), S3_STORE_OK);
    assert_int_equal(o.is_inline, 1);
    assert_memory_equal(o.data.data, "hello", 5);
    s3_object_free(&o);
    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b", "two")),
                     S3_STORE_OK);
    assert_int_equal(count("data"), 0);
    assert_int_equal(count("inline"), 0);

    s3_buf_free(&answer);
}


static void
uploads_are(const s3_upload_query_t *q, const char *expected)
{
    int               status;
    char              out[4096];
    size_t            len;
    uint64_t          sequence;
    uint8_t           id[16];
    unsigned          n;
    uint32_t          i, number;
    s3_buf_t          answer;
    s3_reader_t       r;
    s3_upload_page_t  page;

    memset(&answer, 0, sizeof(answer));

    assert_int_equal(s3_index_uploads(disks[1].reader, q, &sequence, &status,
                                      &answer), 0);
    assert_int_equal(status, S3_STORE_OK);

    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_upload_page(&r, &page), 0);
    assert_ptr_equal(r.pos, r.last);

    len = 0;
    out[0] = '\0';

    for (i = 0; i < page.nentries; i++) {

        for (n = 1, number = 0; n < 20; n++) {
            s3_test_fill(id, 16, 1000000 + n);
            number = memcmp(id, page.entries[i].upload.upload_id, 16) == 0
                     ? n : number;
        }

        len += (size_t) snprintf(out + len, sizeof(out) - len,
                                 page.entries[i].is_prefix ? "%.*s* "
                                                           : "%.*s:%u ",
                                 (int) page.entries[i].upload.key.len,
                                 (const char *)
                                 page.entries[i].upload.key.data, number);
    }

    if (page.truncated) {
        (void) snprintf(out + len, sizeof(out) - len, "...");
    }

    assert_string_equal(out, expected);

    free(page.entries);
    s3_buf_free(&answer);
}


static void
test_lists(void **state)
{
    int                status;
    uint8_t            one[16], two[16];
    uint64_t           sequence;
    s3_buf_t           refs, answer;
    s3_commit_t        p;
    s3_upload_query_t  q;

    memset(&refs, 0, sizeof(refs));
    memset(&answer, 0, sizeof(answer));

    make_bucket("b");
    make_bucket("c");

    create("a", 1);
    create("dir/x", 3);
    create("dir/y", 4);
    create("dir/sub/z", 5);
    create("k", 6);
    create("k", 7);
    create("k", 8);
    create("zz", 9);

    /* one that is completed is seen no more */

    create("k", 10);
    p = part_of("k", 10, 1, MB);
    assert_int_equal(run(p), S3_STORE_OK);
    s3_write_part_ref(&refs, 1, p.shard_id);
    assert_int_equal(run(complete_of("k", 10, &refs)), S3_STORE_OK);

    memset(&q, 0, sizeof(q));
    q.bucket = text("none");
    q.max = 1000;
    assert_int_equal(s3_index_uploads(disks[1].reader, &q, &sequence, &status,
                                      &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_BUCKET);
    q.bucket = text("c");
    uploads_are(&q, "");

    /* ids are random bytes here: the order is that of the bytes */

    s3_test_fill(one, 16, 1000000 + 6);
    s3_test_fill(two, 16, 1000000 + 7);

    q.bucket = text("b");
    q.prefix = text("dir/");
    uploads_are(&q, "dir/sub/z:5 dir/x:3 dir/y:4 ");
    q.max = 2;
    uploads_are(&q, "dir/sub/z:5 dir/x:3 ...");
    q.after = text("dir/x");
    uploads_are(&q, "dir/y:4 ");
    q.after = text("");
    q.max = 1000;
    q.delimiter = text("/");
    uploads_are(&q, "dir/sub/* dir/x:3 dir/y:4 ");
    q.prefix = text("");
    q.after = text("a");
    q.max = 1;
    uploads_are(&q, "dir/* ...");
    q.after = text("dir/");
    q.after_upload = 1;
    q.max = 0;
    uploads_are(&q, "");
    q.prefix = text("z");
    q.max = 5;
    uploads_are(&q, "zz:9 ");

    /* uploads of one key, page by page */

    q.prefix = text("");
    q.after = text("k");
    q.after_upload = 0;
    uploads_are(&q, "zz:9 ");

    {
        int               i, n;
        char              seen[20];
        s3_reader_t       r;
        s3_upload_page_t  page;

        memset(seen, 0, sizeof(seen));
        memset(&q, 0, sizeof(q));
        q.bucket = text("b");
        q.max = 1;
        n = 0;

        for ( ;; ) {
            uint8_t  id[16];
            char     last[64];

            s3_buf_free(&answer);
            assert_int_equal(s3_index_uploads(disks[1].reader, &q, &sequence,
                                              &status, &answer), 0);
            s3_reader_init(&r, answer.data, answer.len);
            assert_int_equal(s3_read_upload_page(&r, &page), 0);
            assert_int_equal(page.nentries, 1);
            assert_memory_equal(page.entries[0].upload.checksum.data, "crc",
                                3);

            for (i = 1; i < 20; i++) {
                s3_test_fill(id, 16, 1000000 + (uint64_t) i);

                if (memcmp(id, page.entries[0].upload.upload_id, 16) == 0) {
                    seen[i]++;
                }
            }

            n++;
            free(page.entries);

            if (!page.truncated) {
                break;
            }

            assert_true(page.next.len < sizeof(last));
            memcpy(last, page.next.data, page.next.len);
            last[page.next.len] = '\0';

            s3_test_fill(one, 16, 0);
            memcpy(two, page.next_id, 16);
            memcpy(q.after_id, two, 16);
            q.after_upload = 1;

            /* out of the answer's memory */

            q.after = text(strcmp(last, "k") == 0 ? "k"
                           : strcmp(last, "a") == 0 ? "a"
                           : strcmp(last, "dir/x") == 0 ? "dir/x"
                           : strcmp(last, "dir/y") == 0 ? "dir/y"
                           : strcmp(last, "dir/sub/z") == 0 ? "dir/sub/z"
                           : "zz");
        }

        assert_int_equal(n, 8);

        for (i = 1; i < 20; i++) {
            assert_int_equal(seen[i], i == 1 || (i >= 3 && i <= 9));
        }
    }

    s3_buf_free(&refs);
    s3_buf_free(&answer);
}


static void
reapable(int64_t mtime, int expected, uint64_t *gone)
{
    int  found;

    assert_int_equal(s3_index_reapable(disks[1].reader, mtime, &found, gone),
                     0);
    assert_int_equal(found, expected);
}


static void
test_reap(void **state)
{
    int              i, rounds;
    uint8_t          shard[16];
    uint64_t         gone;
    s3_buf_t         refs, answer;
    s3_commit_t      c, p;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&answer, 0, sizeof(answer));

    make_bucket("a");
    make_bucket("b");

    reapable(now + 2 * DAY, 0, &gone);

    create("k", 1);
    p = part_of("k", 1, 1, MB);
    assert_int_equal(run(p), S3_STORE_OK);
    s3_write_part_ref(&refs, 1, p.shard_id);
    c = complete_of("k", 1, &refs);
    assert_int_equal(run(c), S3_STORE_OK);
    create("k", 2);
    reapable(c.mtime + DAY - 1, 0, &gone);
    reapable(c.mtime + DAY, 1, &gone);
    assert_int_equal(gone, 0);

    /* a moment too early, and in time */

    p = commit_of(S3_COMMIT_REAP, "", "");
    p.request = 0;
    p.mtime = c.mtime + DAY - 1;
    assert_int_equal(run(p), S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(count("upload"), 2);
    p.mtime = c.mtime + DAY;
    assert_int_equal(run(p), S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(count("upload"), 1);
    assert_int_equal(parts_of("k", 1, 0, 0, 10, &page, &answer),
                     S3_STORE_NO_SUCH_UPLOAD);

    /* the object stays, and so does what is not completed */

    assert_int_equal(count("part"), 1);
    reapable(c.mtime + 30 * DAY, 0, &gone);
    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b", "k")), S3_STORE_OK);

    /* a bucket is deleted with 300 parts in one upload, and 300 uploads */

    for (i = 1; i <= 300; i++) {
        c = part_of("k", 2, (uint32_t) i, MB);
        assert_int_equal(run(c), S3_STORE_OK);
    }

    memcpy(shard, c.shard_id, 16);

    for (i = 0; i < 300; i++) {
        create("l", 100 + (uint64_t) i);
    }

    assert_int_equal(run(commit_of(S3_COMMIT_DELETE_BUCKET, "b", "")),
                     S3_STORE_OK);
    assert_int_equal(parts_of("k", 2, 0, 0, 10, &page, &answer),
                     S3_STORE_NO_SUCH_BUCKET);

    make_bucket("b");
    assert_int_equal(parts_of("k", 2, 0, 0, 10, &page, &answer),
                     S3_STORE_NO_SUCH_UPLOAD);
    create("mine", 3);

    for (rounds = 0; ; rounds++) {
        int  found;

        assert_int_equal(s3_index_reapable(disks[1].reader, now, &found,
                                           &gone), 0);

        if (!found) {
            break;
        }

        assert_int_not_equal(gone, 0);
        p = commit_of(S3_COMMIT_REAP, "", "");
        p.request = 0;
        p.gone = gone;
        (void) run(p);
        assert_true(effects_len < 256 * 200);
        assert_true(rounds < 10);
    }

    assert_true(rounds >= 3);
    assert_int_equal(count("upload"), 1);
    assert_int_equal(count("part"), 0);
    assert_true(garbage(shard));
    assert_int_equal(parts_of("mine", 3, 0, 0, 10, &page, &answer),
                     S3_STORE_OK);

    /* a bucket that is there after all: the last one made */

    p.gone = last_bucket();
    assert_int_equal(run(p), S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(count("upload"), 1);

    s3_buf_free(&refs);
    s3_buf_free(&answer);
}


/* 10,000 parts in one batch: completed, overwritten, deleted */

static void
test_most_parts(void **state)
{
    int              i;
    unsigned         j, n;
    s3_buf_t         refs, effects, answer;
    s3_slice_t       slice;
    s3_object_t      o;
    s3_commit_t      c;
    s3_verdict_t     v;
    s3_position_t    after;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&effects, 0, sizeof(effects));
    memset(&answer, 0, sizeof(answer));

    make_bucket("b");

    for (n = 1; n <= 2; n++) {

        create("k", n);
        refs.len = 0;
        after = position;
        after.sequence++;
        effects.len = 0;

        /* all of them in one batch, as none would be in a store */

        assert_int_equal(s3_index_begin(disks[0].writer), 0);

        for (i = 1; i <= S3_PARTS_MAX; i++) {
            c = part_of("k", n, (uint32_t) i, MB);
            c.request = 0;
            assert_int_equal(s3_index_decide(disks[0].writer, &c,
                                             after.sequence, &effects, &v),
                             0);
            assert_int_equal(v.status, S3_STORE_OK);
            s3_write_part_ref(&refs, (uint32_t) i, c.shard_id);
        }

        slice = bytes(effects.data, effects.len);
        s3_index_digest(&position, &after, slice);
        assert_int_equal(s3_index_begin(disks[1].writer), 0);
        assert_int_equal(s3_index_apply(disks[1].writer, slice), 0);

        for (j = 0; j < NDISKS; j++) {
            assert_int_equal(s3_index_seal(disks[j].writer, &after, slice,
                                           0), 0);
            assert_int_equal(s3_index_flush(disks[j].writer, 0), 0);
            assert_int_equal(s3_index_commit(disks[j].writer), 0);
        }

        position = after;

        assert_int_equal(run(complete_of("k", n, &refs)), S3_STORE_OK);
        assert_true(effects_len < 8 * MB);
        assert_int_equal(count("part"), S3_PARTS_MAX);

        assert_int_equal(lookup("k", &o, &answer), S3_STORE_OK);
        assert_int_equal(o.nextents, S3_PARTS_MAX);
        assert_int_equal(o.size, (uint64_t) S3_PARTS_MAX * MB);
        s3_object_free(&o);
    }

    assert_int_equal(parts_of("k", 0, 1, 0, S3_PARTS_MAX, &page, &answer),
                     S3_STORE_OK);
    assert_int_equal(page.nparts, S3_PARTS_MAX);
    assert_false(page.truncated);
    free(page.parts);

    assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b", "k")), S3_STORE_OK);
    assert_int_equal(count("part"), 0);
    assert_int_equal(count("garbage"), 2 * S3_PARTS_MAX);

    s3_buf_free(&refs);
    s3_buf_free(&effects);
    s3_buf_free(&answer);
}


/* --- random commits against a model --- */

#define KEYS       4
#define UPLOADS    12
#define PARTS      5
#define SHARDS     20000


/* what a key names: shards in their order; a whole object has one */
typedef struct {
    int           there;
    uint64_t      data;              /* number of the data id */
    unsigned      n;
    uint64_t      shards[PARTS];
} model_object_t;

typedef struct {
    int           state;             /* 0: none, 1: open, 2: completed */
    uint64_t      id;
    unsigned      key;
    uint64_t      shards[PARTS];     /* 0: no such part */
} model_upload_t;


static uint64_t        random_state;
static const char     *names[KEYS] = { "a", "b", "b/c", "d" };
static model_object_t  objects[KEYS];
static model_upload_t  uploads[UPLOADS];
static uint8_t         sent[SHARDS];        /* was taken, or refused */


static unsigned
rnd(unsigned n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;

    return (unsigned) ((random_state * 0x2545f4914f6cdd1dULL) >> 33) % n;
}


/* every third part is empty */

static uint64_t
size_of(uint64_t shard)
{
    return shard % 3 ? 100000 + shard : 0;
}


static int64_t
one_number(const char *sql)
{
    int64_t        n;
    sqlite3_stmt  *stmt;

    assert_int_equal(sqlite3_prepare_v2(disks[1].reader->db, sql, -1, &stmt,
                                        NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);

    return n;
}


/* what must hold of the rows, whatever has been done */

static void
rows_hold(void)
{
    unsigned  i;

    static const char  *none[] = {

        /* an object has its data, data its objects */
        "SELECT count(*) FROM object o WHERE NOT EXISTS"
        " (SELECT 1 FROM data d WHERE d.data_id = o.data_id"
        "  AND d.size = o.size)",
        "SELECT count(*) FROM data d WHERE refs <> (SELECT count(*)"
        " FROM object o WHERE o.data_id = d.data_id) OR refs < 1",

        /* data of parts is the sum of them, one behind the other */
        "SELECT count(*) FROM data d WHERE parts > 0 AND (parts <>"
        " (SELECT count(*) FROM part p WHERE p.data_id = d.data_id)"
        " OR size <> (SELECT sum(size) FROM part p"
        "  WHERE p.data_id = d.data_id))",
        "SELECT count(*) FROM part p JOIN data d USING (data_id)"
        " WHERE p.offset <> (SELECT coalesce(sum(q.size), 0) FROM part q"
        "  WHERE q.data_id = p.data_id AND q.part_number < p.part_number)",

        /* a part is an object's or an upload's, not both's */
        "SELECT count(*) FROM part p WHERE"
        " (EXISTS (SELECT 1 FROM data d WHERE d.data_id = p.data_id"
        "  AND d.parts > 0))"
        " + (EXISTS (SELECT 1 FROM upload u WHERE u.upload_id = p.data_id"
        "  AND u.bucket > 0)) <> 1",

        /* completed, and only then, under the other number */
        "SELECT count(*) FROM upload WHERE (bucket < 0) <> (state > 0)",

        /* garbage is what nobody names */
        "SELECT count(*) FROM garbage g WHERE EXISTS (SELECT 1 FROM part p"
        " WHERE p.shard_id = g.shard_id) OR EXISTS (SELECT 1 FROM data d"
        " WHERE d.data_id = g.shard_id)",
        "SELECT count(*) FROM (SELECT 1 FROM garbage GROUP BY shard_id"
        " HAVING count(*) > 1)"
    };

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        if (one_number(none[i]) != 0) {
            fail_msg("%s", none[i]);
        }
    }
}


static void
model_holds(void)
{
    unsigned         i, j, n;
    uint8_t          id[16];
    uint64_t         size;
    s3_buf_t         answer;
    s3_object_t      o;
    s3_part_page_t   page;

    memset(&answer, 0, sizeof(answer));

    for (i = 0; i < KEYS; i++) {

        assert_int_equal(lookup(names[i], &o, &answer),
                         objects[i].there ? S3_STORE_OK
                                          : S3_STORE_NO_SUCH_KEY);

        if (!objects[i].there) {
            continue;
        }

        for (j = 0, n = 0, size = 0; j < objects[i].n; j++) {

            if (size_of(objects[i].shards[j]) == 0) {
                continue;
            }

            s3_test_fill(id, 16, objects[i].shards[j]);
            assert_true(n < o.nextents);
            assert_memory_equal(o.extents[n].shard_id, id, 16);
            assert_int_equal(o.extents[n].offset, size);
            size += size_of(objects[i].shards[j]);
            n++;
        }

        assert_int_equal(o.nextents, n);
        assert_int_equal(o.size, size);
        s3_object_free(&o);
    }

    for (i = 0; i < UPLOADS; i++) {

        if (uploads[i].id == 0) {
            continue;
        }

        assert_int_equal(parts_of(names[uploads[i].key], uploads[i].id, 0, 0,
                                  10, &page, &answer),
                         uploads[i].state ? S3_STORE_OK
                                          : S3_STORE_NO_SUCH_UPLOAD);

        if (uploads[i].state == 0) {
            continue;
        }

        assert_int_equal(page.upload.completed, uploads[i].state == 2);

        for (j = 0, n = 0; j < PARTS && uploads[i].state == 1; j++) {

            if (uploads[i].shards[j] == 0) {
                continue;
            }

            s3_test_fill(id, 16, uploads[i].shards[j]);
            assert_true(n < page.nparts);
            assert_int_equal(page.parts[n].number, j + 1);
            assert_memory_equal(page.parts[n].shard_id, id, 16);
            n++;
        }

        assert_int_equal(page.nparts, n);
        free(page.parts);
    }

    s3_buf_free(&answer);
}


static void
random_part(unsigned u)
{
    int          status;
    unsigned     number;
    uint64_t     shard;
    s3_commit_t  c;

    number = rnd(PARTS);
    shard = next_id;
    c = part_of(names[uploads[u].key], uploads[u].id, number + 1,
                size_of(shard));
    assert_true(shard < SHARDS);
    sent[shard] = 1;

    status = run(c);

    if (uploads[u].state == 1) {
        assert_int_equal(status, S3_STORE_OK);
        uploads[u].shards[number] = shard;

    } else {
        assert_int_equal(status, S3_STORE_NO_SUCH_UPLOAD);
    }
}


static void
random_complete(unsigned u)
{
    int              status, expected, stale;
    uint8_t          id[16];
    unsigned         j, key;
    s3_buf_t         refs;
    s3_commit_t      c;
    model_object_t   object;

    memset(&refs, 0, sizeof(refs));
    memset(&object, 0, sizeof(object));
    stale = 0;
    key = uploads[u].key;

    for (j = 0; j < PARTS; j++) {

        if (rnd(4) == 0 || (uploads[u].shards[j] == 0 && rnd(10))) {
            continue;
        }

        /* a part that is not there, or one that it was before */

        s3_test_fill(id, 16, uploads[u].shards[j]);

        if (uploads[u].shards[j] == 0 || rnd(20) == 0) {
            s3_test_fill(id, 16, 1);
            stale = 1;
        }

        s3_write_part_ref(&refs, j + 1, id);
        object.shards[object.n++] = uploads[u].shards[j];
    }

    c = complete_of(names[key], uploads[u].id, &refs);

    if (rnd(4) == 0) {
        c.conditions = S3_IF_NONE_MATCH_ANY;
    }

    status = run(c);

    expected = uploads[u].state == 0 ? S3_STORE_NO_SUCH_UPLOAD
               : uploads[u].state == 2 ? S3_STORE_CONFLICT
               : c.conditions && objects[key].there
                 ? S3_STORE_PRECONDITION_FAILED
               : object.n == 0 ? S3_STORE_BAD_REQUEST
               : stale ? S3_STORE_CONFLICT : S3_STORE_OK;

    assert_int_equal(status, expected);

    if (status == S3_STORE_OK) {
        uploads[u].state = 2;
        object.there = 1;
        object.data = 1000000 + uploads[u].id;
        objects[key] = object;
    }

    s3_buf_free(&refs);
}


static void
random_copy(void)
{
    int          status;
    unsigned     from, to;
    s3_commit_t  c;

    from = rnd(KEYS);
    to = rnd(KEYS);

    c = commit_of(S3_COMMIT_COPY, "b", names[to]);
    c.source_bucket = text("b");
    c.source_key = text(names[from]);
    s3_test_fill(c.source, 16, objects[from].data);
    c.source[3] ^= rnd(5) == 0;

    status = run(c);

    if (!objects[from].there) {
        assert_int_equal(status, S3_STORE_NO_SUCH_KEY);

    } else if (status != S3_STORE_OK) {
        assert_int_equal(status, S3_STORE_CONFLICT);

    } else {
        objects[to] = objects[from];
    }
}


static void
test_random(void **state)
{
    int              known_, more;
    unsigned         i, u, step;
    uint8_t          id[16];
    uint64_t         cursor, ids, from;
    s3_buf_t         effects;
    s3_commit_t      c;
    s3_position_t    snap;
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    random_state = getenv("S3_TEST_SEED")
                   ? strtoull(getenv("S3_TEST_SEED"), NULL, 10)
                   : (uint64_t) ts.tv_nsec * 1000003 + (uint64_t) ts.tv_sec;
    print_message("test_random: S3_TEST_SEED=%llu\n",
                  (unsigned long long) random_state);
    random_state |= 1;

    memset(objects, 0, sizeof(objects));
    memset(uploads, 0, sizeof(uploads));
    memset(sent, 0, sizeof(sent));
    memset(&effects, 0, sizeof(effects));

    make_bucket("b");
    ids = 0;

    for (step = 0; step < 800; step++) {

        u = rnd(UPLOADS);

        switch (rnd(10)) {

        case 0:
            if (uploads[u].state == 1) {
                break;
            }

            memset(&uploads[u], 0, sizeof(model_upload_t));
            uploads[u].state = 1;
            uploads[u].id = ++ids;
            uploads[u].key = rnd(KEYS);
            create(names[uploads[u].key], ids);
            break;

        case 1:
            if (uploads[u].id == 0) {
                break;
            }

            assert_int_equal(run(upload_of(S3_COMMIT_ABORT,
                                           names[uploads[u].key],
                                           uploads[u].id)),
                             uploads[u].state == 1
                             ? S3_STORE_OK : S3_STORE_NO_SUCH_UPLOAD);

            if (uploads[u].state == 1) {
                uploads[u].state = 0;
            }

            break;

        case 2:
            i = rnd(KEYS);
            assert_int_equal(run(commit_of(S3_COMMIT_DELETE, "b",
                                           names[i])), S3_STORE_OK);
            objects[i].there = 0;
            break;

        case 3:
            i = rnd(KEYS);

            memset(&objects[i], 0, sizeof(model_object_t));
            objects[i].there = 1;
            objects[i].data = next_id;
            objects[i].n = 1;
            objects[i].shards[0] = next_id;

            sent[next_id] = 1;
            c = put_of(names[i], 0);
            c.size = size_of(objects[i].data);
            assert_int_equal(run(c), S3_STORE_OK);
            break;

        case 4:
            random_copy();
            break;

        case 5:
        case 6:
            if (uploads[u].id) {
                random_complete(u);
            }

            break;

        default:
            if (uploads[u].id) {
                random_part(u);
            }
        }

        if (step % 20 == 0) {
            rows_hold();
            model_holds();
        }

        if (step == 500) {
            assert_int_equal(s3_index_position(disks[1].reader, &snap), 0);
        }
    }

    /* every shard that was sent is somebody's, or garbage */

    for (i = 0; i < SHARDS; i++) {
        if (sent[i] && size_of(i)) {
            s3_test_fill(id, 16, i);
            assert_int_equal(known(id) + garbage(id), 1);
        }
    }

    /* a laggard gets the same rows from the history alone */

    s3_index_close(disks[1].reader);
    s3_index_close(disks[1].writer);
    s3_vfs_destroy(disks[1].vfs);
    (void) close(disks[1].fd);
    s3_test_dir_free(disks[1].dir);

    disks[1].dir = s3_test_dir();
    disks[1].fd = open(disks[1].dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    disks[1].vfs = s3_vfs_create(disks[1].fd);
    assert_int_equal(s3_index_open(disks[1].vfs, 1, 1, CACHE,
                                   &disks[1].writer), 0);
    assert_int_equal(s3_index_open(disks[1].vfs, 0, 0, CACHE,
                                   &disks[1].reader), 0);

    assert_int_equal(s3_index_knows(disks[0].reader, &snap, &known_), 0);
    assert_int_equal(known_, 1);

    cursor = 0;
    more = 1;
    from = 0;

    assert_int_equal(s3_index_begin(disks[1].writer), 0);
    assert_int_equal(s3_index_snapshot(disks[0].reader, &snap), 0);

    while (more) {
        effects.len = 0;
        assert_int_equal(s3_index_changes(disks[0].reader, from, &cursor,
                                          5000, &effects, &more), 0);
        assert_int_equal(s3_index_apply(disks[1].writer,
                                        bytes(effects.data, effects.len)),
                         0);
    }

    assert_int_equal(s3_index_release(disks[0].reader), 0);
    assert_int_equal(s3_index_flush(disks[1].writer, 0), 0);
    assert_int_equal(s3_index_commit(disks[1].writer), 0);

    rows_hold();
    model_holds();

    s3_buf_free(&effects);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_upload_becomes_object, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_object_of_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_abort, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_most_parts, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
