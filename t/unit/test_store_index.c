
#include "s3_test.h"
#include "s3_door.h"
#include "s3_index.h"
#include "s3_index_internal.h"

#include <fcntl.h>


#define CACHE        (1024 * 1024)
#define NDISKS       3


/* a disk's index, with a writer and a reader */
typedef struct {
    char            *dir;
    int              fd;
    s3_vfs_t        *vfs;
    s3_index_t      *writer;
    s3_index_t      *reader;
} disk_t;


/* --- a door that counts, and fails the n-th call --- */

static struct {
    unsigned         calls;      /* all that change or sync something */
    unsigned         writes;
    unsigned         syncs;
    unsigned         reads;
    unsigned         fail_at;    /* 0: never; counts calls and reads */
    int              fail_errno;
    int              fail_on;    /* all from the n-th on */
    unsigned         seen;
    unsigned         failed;
} door;


static int
door_fails(int change)
{
    door.seen++;

    if (change) {
        door.calls++;
    }

    if (door.fail_at && (door.seen == door.fail_at
                         || (door.fail_on && door.seen > door.fail_at)))
    {
        door.failed++;
        errno = door.fail_errno;
        return 1;
    }

    return 0;
}


static int
door_openat(int dir, const char *name, int flags, mode_t mode)
{
    return door_fails(flags & O_CREAT)
           ? -1 : s3_door_system.openat(dir, name, flags, mode);
}


static ssize_t
door_pread(int fd, void *buf, size_t size, off_t offset)
{
    door.reads++;

    if (door.fail_errno == ENOSPC) {
        return s3_door_system.pread(fd, buf, size, offset);
    }

    return door_fails(0) ? -1 : s3_door_system.pread(fd, buf, size, offset);
}


static ssize_t
door_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    door.writes++;
    return door_fails(1) ? -1 : s3_door_system.pwrite(fd, buf, size, offset);
}


static int
door_fdatasync(int fd)
{
    door.syncs++;

    if (door.fail_errno == ENOSPC) {
        return s3_door_system.fdatasync(fd);
    }

    return door_fails(1) ? -1 : s3_door_system.fdatasync(fd);
}


static int
door_fsync(int fd)
{
    door.syncs++;
    return door_fails(1) ? -1 : s3_door_system.fsync(fd);
}


static int
door_ftruncate(int fd, off_t size)
{
    return door_fails(1) ? -1 : s3_door_system.ftruncate(fd, size);
}


static int
door_fallocate(int fd, int mode, off_t offset, off_t size)
{
    return door_fails(1) ? -1
                         : s3_door_system.fallocate(fd, mode, offset, size);
}


static int
door_unlinkat(int dir, const char *name, int flags)
{
    return door_fails(1) ? -1 : s3_door_system.unlinkat(dir, name, flags);
}


static s3_door_t  test_door;


static void
door_install(void)
{
    memset(&door, 0, sizeof(door));

    test_door = s3_door_system;
    test_door.openat = door_openat;
    test_door.pread = door_pread;
    test_door.pwrite = door_pwrite;
    test_door.fdatasync = door_fdatasync;
    test_door.fsync = door_fsync;
    test_door.ftruncate = door_ftruncate;
    test_door.fallocate = door_fallocate;
    test_door.unlinkat = door_unlinkat;

    s3_door = &test_door;
}


static void
door_remove(void)
{
    s3_door = &s3_door_system;
}


/* --- disks --- */

static void
disk_open_index(disk_t *d, int create)
{
    d->vfs = s3_vfs_create(d->fd);
    assert_non_null(d->vfs);
    assert_int_equal(s3_index_open(d->vfs, 1, create, CACHE, &d->writer), 0);
    assert_int_equal(s3_index_open(d->vfs, 0, 0, CACHE, &d->reader), 0);
}


static void
disk_close_index(disk_t *d)
{
    s3_index_close(d->reader);
    s3_index_close(d->writer);
    s3_vfs_destroy(d->vfs);
    d->reader = NULL;
    d->writer = NULL;
    d->vfs = NULL;
}


static void
disk_make(disk_t *d)
{
    memset(d, 0, sizeof(disk_t));

    d->dir = s3_test_dir();
    d->fd = open(d->dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    assert_true(d->fd >= 0);

    disk_open_index(d, 1);
}


static void
disk_free(disk_t *d)
{
    if (d->vfs) {
        disk_close_index(d);
    }

    (void) close(d->fd);
    s3_test_dir_free(d->dir);
}


static void
disk_copy_file(disk_t *from, disk_t *to, const char *name)
{
    int      in, out;
    char     buf[65536];
    ssize_t  n;

    in = openat(from->fd, name, O_RDONLY);
    assert_true(in >= 0);
    out = openat(to->fd, name, O_WRONLY|O_CREAT|O_TRUNC, 0600);
    assert_true(out >= 0);

    while ((n = read(in, buf, sizeof(buf))) > 0) {
        assert_int_equal(write(out, buf, (size_t) n), n);
    }

    (void) close(in);
    (void) close(out);
}


/* the files as they are now, opened as after a crash */

static void
disk_crash_copy(disk_t *from, disk_t *to)
{
    memset(to, 0, sizeof(disk_t));

    to->dir = s3_test_dir();
    to->fd = open(to->dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    assert_true(to->fd >= 0);

    disk_copy_file(from, to, "index.db");
    disk_copy_file(from, to, "index.db-wal");

    disk_open_index(to, 0);
}


/* every row of every table, as effects */

static void
dump(s3_index_t *index, s3_buf_t *b)
{
    int            rc;
    char           sql[128];
    unsigned       table;
    s3_value_t     row[S3_COLUMNS_MAX];
    sqlite3_stmt  *stmt;

    for (table = S3_TABLE_BUCKET; table < S3_TABLES; table++) {
        snprintf(sql, sizeof(sql), "SELECT * FROM \"%s\" ORDER BY 1, 2",
                 s3_index_tables[table].name);

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


static void
assert_same(s3_index_t *a, s3_index_t *b)
{
    s3_buf_t  x, y;

    memset(&x, 0, sizeof(x));
    memset(&y, 0, sizeof(y));

    dump(a, &x);
    dump(b, &y);

    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);

    s3_buf_free(&x);
    s3_buf_free(&y);
}


static int64_t
rows(s3_index_t *index, const char *table)
{
    char           sql[128];
    int64_t        n;
    sqlite3_stmt  *stmt;

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM \"%s\"", table);

    assert_int_equal(sqlite3_prepare_v2(index->db, sql, -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);

    return n;
}


/* --- commits --- */

static s3_slice_t
text(const char *s)
{
    s3_slice_t  slice;

    slice.data = (const uint8_t *) s;
    slice.len = strlen(s);

    return slice;
}


static s3_slice_t
bytes(const void *p, size_t len)
{
    s3_slice_t  slice;

    slice.data = p;
    slice.len = len;

    return slice;
}


static uint64_t  next_request = 1;
static uint64_t  next_id = 1;


static s3_commit_t
commit_of(int op, const char *bucket, s3_slice_t key)
{
    s3_commit_t  c;

    memset(&c, 0, sizeof(c));

    c.op = (uint8_t) op;
    memset(c.session, 0x55, 16);
    c.request = next_request++;
    c.bucket = text(bucket);
    c.key = key;
    c.mtime = 1700000000000 + (int64_t) c.request;

    return c;
}


static s3_commit_t
put_inline(const char *bucket, s3_slice_t key, s3_slice_t data)
{
    s3_commit_t  c;

    c = commit_of(S3_COMMIT_PUT, bucket, key);

    s3_test_fill(c.shard_id, 16, next_id++);
    c.is_inline = 1;
    c.data = data;
    c.size = data.len;
    c.etag = bytes("0123456789abcdef", 16);
    c.meta = text("meta");
    c.checksum = text("sum");

    return c;
}


static s3_commit_t
put_shards(const char *bucket, s3_slice_t key, uint64_t size, uint64_t mask)
{
    s3_commit_t  c;

    c = commit_of(S3_COMMIT_PUT, bucket, key);

    s3_test_fill(c.shard_id, 16, next_id++);
    c.size = size;
    c.mask = mask;
    c.geometry.k = 2;
    c.geometry.m = 1;
    c.geometry.unit = 524288;
    c.etag = bytes("fedcba9876543210", 16);

    return c;
}


/* one batch on all disks; statuses into verdicts.  The position goes on */

static void
run_batch(disk_t *disks, unsigned ndisks, s3_position_t *position,
    const s3_commit_t *commits, unsigned n, s3_verdict_t *verdicts,
    uint64_t keep_from)
{
    unsigned       i;
    s3_buf_t       effects;
    s3_slice_t     slice;
    s3_position_t  after;

    memset(&effects, 0, sizeof(effects));

    assert_int_equal(s3_index_begin(disks[0].writer), 0);

    after = *position;
    after.sequence++;

    for (i = 0; i < n; i++) {
        assert_int_equal(s3_index_decide(disks[0].writer, &commits[i],
                                         after.sequence, &effects,
                                         &verdicts[i]), 0);
    }

    slice = bytes(effects.data, effects.len);

    s3_index_digest(position, &after, slice);

    for (i = 1; i < ndisks; i++) {
        assert_int_equal(s3_index_begin(disks[i].writer), 0);
        assert_int_equal(s3_index_apply(disks[i].writer, slice), 0);
    }

    for (i = 0; i < ndisks; i++) {
        assert_int_equal(s3_index_seal(disks[i].writer, &after, slice,
                                       keep_from), 0);
        assert_int_equal(s3_index_flush(disks[i].writer, 0), 0);
    }

    for (i = 0; i < ndisks; i++) {
        assert_int_equal(s3_index_commit(disks[i].writer), 0);
    }

    *position = after;

    s3_buf_free(&effects);
}


static int
run_one(disk_t *disks, unsigned ndisks, s3_position_t *position,
    s3_commit_t c)
{
    s3_verdict_t  v;

    run_batch(disks, ndisks, position, &c, 1, &v, 0);

    return v.status;
}


/* --- tests --- */

static void
semantics(void **state)
{
    int              known, status;
    disk_t           d[2];
    uint8_t          session[4][16], same[16];
    uint64_t         sequence, since[S3_MAX_DISKS];
    unsigned         n;
    s3_buf_t         answer;
    s3_bucket_t      bucket;
    s3_commit_t      c, big;
    s3_object_t      o;
    s3_reader_t      r;
    s3_verdict_t     v;
    s3_position_t    p;
    s3_shard_row_t   shards[8];

    memset(&p, 0, sizeof(p));
    memset(&answer, 0, sizeof(answer));
    disk_make(&d[0]);
    disk_make(&d[1]);

#define one(c)  run_one(d, 2, &p, c)
#define key     text("key")

    /* buckets */

    assert_int_equal(one(put_inline("b", key, text("x"))),
                     S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(one(commit_of(S3_COMMIT_DELETE, "b", key)),
                     S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(one(commit_of(S3_COMMIT_DELETE_BUCKET, "b", text(""))),
                     S3_STORE_NO_SUCH_BUCKET);

    c = commit_of(S3_COMMIT_CREATE_BUCKET, "b", text(""));
    c.attrs = text("config");
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(one(commit_of(S3_COMMIT_CREATE_BUCKET, "b", text(""))),
                     S3_STORE_BUCKET_EXISTS);
    assert_int_equal(one(commit_of(S3_COMMIT_CREATE_BUCKET, "a", text(""))),
                     S3_STORE_OK);

    assert_int_equal(s3_index_bucket(d[1].reader, text("b"), &sequence,
                                     &status, &answer), 0);
    assert_int_equal(status, S3_STORE_OK);
    assert_int_equal(sequence, p.sequence);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_bucket(&r, &bucket), 0);
    assert_int_equal(bucket.created, c.mtime);
    assert_int_equal(bucket.config.len, 6);
    s3_buf_free(&answer);

    assert_int_equal(s3_index_bucket(d[1].reader, text("c"), &sequence,
                                     &status, &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(answer.len, 0);

    assert_int_equal(s3_index_buckets(d[0].reader, text(""), 10, &sequence,
                                      &answer), 0);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_u32(&r), 2);
    assert_int_equal(s3_read_bucket(&r, &bucket), 0);
    assert_memory_equal(bucket.name.data, "a", 1);
    assert_int_equal(s3_read_bucket(&r, &bucket), 0);
    assert_memory_equal(bucket.name.data, "b", 1);
    assert_ptr_equal(r.pos, r.last);
    s3_buf_free(&answer);

    assert_int_equal(s3_index_buckets(d[0].reader, text("a"), 1, &sequence,
                                      &answer), 0);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_u32(&r), 1);
    assert_int_equal(s3_read_bucket(&r, &bucket), 0);
    assert_memory_equal(bucket.name.data, "b", 1);
    s3_buf_free(&answer);

    /* conditions where there is nothing */

    c = put_inline("b", key, text("x"));
    c.conditions = S3_IF_MATCH;
    c.if_match = bytes("0123456789abcdef", 16);
    assert_int_equal(one(c), S3_STORE_NO_SUCH_KEY);

    c = put_inline("b", key, text("x"));
    c.conditions = S3_IF_MATCH_ANY;
    assert_int_equal(one(c), S3_STORE_NO_SUCH_KEY);

    c = commit_of(S3_COMMIT_DELETE, "b", key);
    assert_int_equal(one(c), S3_STORE_OK);
    c = commit_of(S3_COMMIT_DELETE, "b", key);
    c.conditions = S3_IF_MATCH;
    c.if_match = bytes("0123456789abcdef", 16);
    assert_int_equal(one(c), S3_STORE_NO_SUCH_KEY);

    /* an object, small */

    c = put_inline("b", key, text("hello"));
    c.conditions = S3_IF_NONE_MATCH_ANY;
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(rows(d[1].reader, "inline"), 1);

    assert_int_equal(s3_index_lookup(d[1].reader, text("b"), key, &sequence,
                                     &status, &answer), 0);
    assert_int_equal(status, S3_STORE_OK);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_object(&r, &o), 0);
    assert_int_equal(o.size, 5);
    assert_int_equal(o.mtime, c.mtime);
    assert_int_equal(o.is_inline, 1);
    assert_memory_equal(o.data.data, "hello", 5);
    assert_memory_equal(o.etag.data, "0123456789abcdef", 16);
    assert_memory_equal(o.meta.data, "meta", 4);
    assert_memory_equal(o.checksum.data, "sum", 3);
    s3_object_free(&o);
    s3_buf_free(&answer);

    /* the request again: the verdict it had, and nothing else */

    memcpy(same, c.shard_id, 16);
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(rows(d[0].reader, "data"), 1);

    /* another request with the same data */

    c.request = next_request++;
    c.conditions = 0;
    assert_int_equal(one(c), S3_STORE_SHARDS_MISSING);
    assert_int_equal(rows(d[0].reader, "data"), 1);

    c = put_inline("b", key, text("y"));
    c.conditions = S3_IF_NONE_MATCH_ANY;
    assert_int_equal(one(c), S3_STORE_PRECONDITION_FAILED);

    assert_int_equal(s3_index_outcome(d[1].reader, c.session, c.request,
                                      &sequence, &status, &v), 0);
    assert_int_equal(status, S3_STORE_OK);
    assert_int_equal(v.status, S3_STORE_PRECONDITION_FAILED);
    assert_int_equal(v.mtime, c.mtime);
    assert_int_equal(s3_index_outcome(d[1].reader, c.session, c.request + 1,
                                      &sequence, &status, &v), 0);
    assert_int_equal(status, S3_STORE_UNKNOWN);

    assert_int_equal(one(commit_of(S3_COMMIT_DELETE_BUCKET, "b", text(""))),
                     S3_STORE_BUCKET_NOT_EMPTY);

    /* overwritten by one with shards, whose twin is refused */

    big = put_shards("b", key, 3000000, 7);
    big.conditions = S3_IF_MATCH;
    big.if_match = bytes("0123456789abcdef", 16);
    assert_int_equal(one(big), S3_STORE_OK);
    assert_int_equal(rows(d[1].reader, "inline"), 0);
    assert_int_equal(rows(d[1].reader, "data"), 1);
    assert_int_equal(rows(d[1].reader, "garbage"), 0);

    assert_int_equal(s3_index_shard_known(d[1].reader, big.shard_id, &known),
                     0);
    assert_int_equal(known, 1);
    assert_int_equal(s3_index_shard_known(d[1].reader, same, &known), 0);
    assert_int_equal(known, 0);

    assert_int_equal(s3_index_lookup(d[0].reader, text("b"), key, &sequence,
                                     &status, &answer), 0);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_object(&r, &o), 0);
    assert_int_equal(o.is_inline, 0);
    assert_int_equal(o.nextents, 1);
    assert_memory_equal(o.extents[0].shard_id, big.shard_id, 16);
    assert_memory_equal(o.extents[0].session, big.session, 16);
    assert_int_equal(o.extents[0].mask, 7);
    assert_int_equal(o.extents[0].size, 3000000);
    assert_int_equal(o.extents[0].geometry.k, 2);
    assert_int_equal(o.extents[0].geometry.m, 1);
    assert_int_equal(o.extents[0].geometry.unit, 524288);
    s3_object_free(&o);
    s3_buf_free(&answer);

    c = put_shards("b", key, 3000000, 3);
    c.conditions = S3_IF_MATCH;
    c.if_match = bytes("0123456789abcdef", 16);
    assert_int_equal(one(c), S3_STORE_PRECONDITION_FAILED);

    assert_int_equal(s3_index_garbage(d[1].reader, p.sequence, 7, shards, 8,
                                      &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(shards[0].shard_id, c.shard_id, 16);
    assert_int_equal(shards[0].mask, 7);       /* whatever the mask was */
    assert_int_equal(shards[0].sequence, p.sequence);
    assert_int_equal(s3_index_garbage(d[1].reader, p.sequence - 1, 7, shards,
                                      8, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(s3_index_garbage(d[1].reader, p.sequence, 8, shards, 8,
                                      &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(s3_index_shard_known(d[1].reader, c.shard_id, &known),
                     0);
    assert_int_equal(known, 0);

    /* what is garbage is not taken back */

    c.request = next_request++;
    c.conditions = 0;
    assert_int_equal(one(c), S3_STORE_SHARDS_MISSING);

    /* the store process's own refusal */

    c = put_shards("b", text("other"), 3000000, 5);
    c.refuse = S3_STORE_BUSY;
    assert_int_equal(one(c), S3_STORE_BUSY);
    assert_int_equal(rows(d[1].reader, "garbage"), 2);

    /* slots are unlinked, first some, then all */

    memcpy(same, c.shard_id, 16);
    c = commit_of(S3_COMMIT_GARBAGE, "", text(""));
    c.request = 0;
    memcpy(c.shard_id, same, 16);
    c.mask = 1;
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(rows(d[1].reader, "garbage"), 2);
    c.mask = 6;
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(rows(d[1].reader, "garbage"), 1);

    /* holes and their repair */

    c = put_shards("b", text("hole"), 100000, 3);
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(s3_index_holes(d[0].reader, 7, NULL, shards, 8, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(shards[0].shard_id, c.shard_id, 16);
    assert_int_equal(shards[0].size, 100000);
    assert_int_equal(s3_index_holes(d[0].reader, 7, c.shard_id, shards, 8,
                                    &n), 0);
    assert_int_equal(n, 0);

    memcpy(same, c.shard_id, 16);
    c = commit_of(S3_COMMIT_REPAIRED, "", text(""));
    c.request = 0;
    memcpy(c.shard_id, same, 16);
    c.mask = 4;
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(s3_index_holes(d[1].reader, 7, NULL, shards, 8, &n), 0);
    assert_int_equal(n, 0);

    c.shard_id[0] ^= 1;
    assert_int_equal(one(c), S3_STORE_NO_SUCH_KEY);

    /* members */

    c = commit_of(S3_COMMIT_GENERATION, "", text(""));
    c.request = 0;
    c.generation = 1;
    c.mask = 7;
    p.generation = 1;
    assert_int_equal(one(c), S3_STORE_OK);
    c.generation = 2;
    c.mask = 13;
    p.generation = 2;
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(s3_index_members(d[1].reader, since), 0);
    assert_int_equal(since[0], 1);
    assert_int_equal(since[1], 0);
    assert_int_equal(since[2], 1);
    assert_int_equal(since[3], 2);
    assert_int_equal(since[4], 0);

    /* deleting it leaves its shards as garbage */

    c = commit_of(S3_COMMIT_DELETE, "b", key);
    c.conditions = S3_IF_MATCH;
    c.if_match = bytes("0123456789abcdef", 16);
    assert_int_equal(one(c), S3_STORE_PRECONDITION_FAILED);
    assert_int_equal(one(commit_of(S3_COMMIT_DELETE, "b", key)),
                     S3_STORE_OK);
    assert_int_equal(rows(d[1].reader, "garbage"), 2);
    assert_int_equal(one(commit_of(S3_COMMIT_DELETE, "b", text("hole"))),
                     S3_STORE_OK);
    assert_int_equal(one(put_inline("b", text("empty"), text(""))),
                     S3_STORE_OK);
    assert_int_equal(s3_index_lookup(d[0].reader, text("b"), text("empty"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_OK);
    s3_buf_free(&answer);
    assert_int_equal(one(commit_of(S3_COMMIT_DELETE, "b", text("empty"))),
                     S3_STORE_OK);
    assert_int_equal(s3_index_lookup(d[0].reader, text("b"), key, &sequence,
                                     &status, &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_KEY);
    assert_int_equal(s3_index_lookup(d[0].reader, text("c"), key, &sequence,
                                     &status, &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(rows(d[1].reader, "data"), 0);
    assert_int_equal(rows(d[1].reader, "inline"), 0);
    assert_int_equal(one(commit_of(S3_COMMIT_DELETE_BUCKET, "b", text(""))),
                     S3_STORE_OK);

    /* verdicts: acknowledged, of several sessions, of one that ended */

    assert_true(rows(d[1].reader, "verdict") > 10);
    c = commit_of(S3_COMMIT_DELETE_BUCKET, "none", text(""));
    c.acked = c.request - 1;
    assert_int_equal(one(c), S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(rows(d[1].reader, "verdict"), 2);

    c = commit_of(S3_COMMIT_DELETE_BUCKET, "none", text(""));
    memset(c.session, 0x66, 16);
    assert_int_equal(one(c), S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(s3_index_sessions(d[1].reader, session, 4, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(session[0][0], 0x55);
    assert_int_equal(session[1][0], 0x66);
    assert_int_equal(s3_index_sessions(d[1].reader, session, 1, &n), 0);
    assert_int_equal(n, 1);

    c.op = S3_COMMIT_SESSION_END;
    c.request = 0;
    memset(c.session, 0x55, 16);
    assert_int_equal(one(c), S3_STORE_OK);
    assert_int_equal(s3_index_sessions(d[1].reader, session, 4, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(session[0][0], 0x66);

#undef one
#undef key

    assert_same(d[0].writer, d[1].writer);
    assert_same(d[0].reader, d[1].reader);

    disk_free(&d[0]);
    disk_free(&d[1]);
}


/* rows of parts are written by UploadPart, which comes later; read they are
 * here, and given up with their object */

static void
parts(void **state)
{
    int              i, known, status;
    disk_t           d;
    uint8_t          id[16], shard[3][16];
    uint64_t         sequence;
    unsigned         n;
    s3_buf_t         effects, answer;
    s3_value_t       row[S3_COLUMNS_MAX];
    s3_commit_t      c;
    s3_object_t      o;
    s3_reader_t      r;
    s3_verdict_t     v;
    s3_geometry_t    g;
    s3_position_t    p, after;
    s3_shard_row_t   shards[8];

    memset(&p, 0, sizeof(p));
    memset(&effects, 0, sizeof(effects));
    memset(&answer, 0, sizeof(answer));
    disk_make(&d);

    assert_int_equal(run_one(&d, 1, &p, commit_of(S3_COMMIT_CREATE_BUCKET,
                                                  "b", text(""))), 0);
    c = put_shards("b", text("k"), 6000, 7);
    assert_int_equal(run_one(&d, 1, &p, c), 0);

    /* the object as Complete would leave it */

    g.k = 2;
    g.m = 1;
    g.unit = 524288;

    assert_int_equal(s3_index_begin(d.writer), 0);

    row[S3_DATA_ID].b = bytes(c.shard_id, 16);
    assert_int_equal(s3_row_get(d.writer, S3_TABLE_DATA, row, &known), 0);
    row[S3_DATA_PARTS].n = 3;
    row[S3_DATA_GEOMETRY].n = 0;
    memcpy(id, c.shard_id, 16);
    assert_int_equal(s3_index_emit(d.writer, &effects, S3_EFFECT_PUT,
                                   S3_TABLE_DATA, row), 0);

    for (i = 0; i < 3; i++) {
        memset(row, 0, sizeof(row));
        memset(shard[i], 0x10 * (3 - i), 16);
        row[S3_PART_DATA_ID].b = bytes(id, 16);
        row[S3_PART_NUMBER].n = 10 * (i + 1);
        row[S3_PART_OFFSET].n = 2000 * i;
        row[S3_PART_SIZE].n = 2000;
        row[S3_PART_SHARD_ID].b = bytes(shard[i], 16);
        row[S3_PART_SESSION].b = bytes(c.session, 16);
        row[S3_PART_MASK].n = i == 1 ? 3 : 7;
        row[S3_PART_GEOMETRY].n = s3_geometry_pack(&g);
        assert_int_equal(s3_index_emit(d.writer, &effects, S3_EFFECT_PUT,
                                       S3_TABLE_PART, row), 0);
    }

    after = p;
    after.sequence++;
    s3_index_digest(&p, &after, bytes(effects.data, effects.len));
    assert_int_equal(s3_index_seal(d.writer, &after,
                                   bytes(effects.data, effects.len), 0), 0);
    assert_int_equal(s3_index_flush(d.writer, 0), 0);
    assert_int_equal(s3_index_commit(d.writer), 0);
    p = after;

    assert_int_equal(s3_index_lookup(d.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_object(&r, &o), 0);
    assert_int_equal(o.nextents, 3);

    for (i = 0; i < 3; i++) {
        assert_int_equal(o.extents[i].offset, 2000 * i);
        assert_int_equal(o.extents[i].size, 2000);
        assert_memory_equal(o.extents[i].shard_id, shard[i], 16);
    }

    s3_object_free(&o);
    s3_buf_free(&answer);

    assert_int_equal(s3_index_shard_known(d.reader, shard[1], &known), 0);
    assert_int_equal(known, 1);
    assert_int_equal(s3_index_shard_known(d.reader, id, &known), 0);
    assert_int_equal(known, 0);
    assert_int_equal(s3_index_holes(d.reader, 7, NULL, shards, 8, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(shards[0].shard_id, shard[1], 16);

    c = commit_of(S3_COMMIT_REPAIRED, "", text(""));
    c.request = 0;
    memcpy(c.shard_id, shard[1], 16);
    c.mask = 4;
    assert_int_equal(run_one(&d, 1, &p, c), 0);
    assert_int_equal(s3_index_holes(d.reader, 7, NULL, shards, 8, &n), 0);
    assert_int_equal(n, 0);

    c = commit_of(S3_COMMIT_DELETE, "b", text("k"));
    run_batch(&d, 1, &p, &c, 1, &v, 0);
    assert_int_equal(v.status, S3_STORE_OK);
    assert_int_equal(rows(d.reader, "part"), 0);
    assert_int_equal(rows(d.reader, "data"), 0);
    assert_int_equal(s3_index_garbage(d.reader, p.sequence, 7, shards, 8,
                                      &n), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(shards[0].shard_id, shard[2], 16);

    s3_buf_free(&effects);
    disk_free(&d);
}


static void
bad_effects(void **state)
{
    size_t                i, len;
    disk_t                d;
    s3_buf_t              effects;
    s3_commit_t           c;
    s3_verdict_t          v;
    s3_position_t         p;

    static const uint8_t  bad[][12] = {
        { 0, 1 }, { 4, 1 }, { 1, 0 }, { 1, 13 }, { 3, 1 }, { 2, 1, 255 },
        { 3, 11, 255, 255, 255, 255, 255, 255, 255, 255 }
    };

    memset(&p, 0, sizeof(p));
    memset(&effects, 0, sizeof(effects));
    disk_make(&d);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(s3_index_begin(d.writer), 0);
        assert_int_equal(s3_index_apply(d.writer, bytes(bad[i], 10)),
                         EPROTO);

        /* and sticks: a batch with a hole can't be committed */

        assert_int_equal(s3_index_flush(d.writer, 0), EPROTO);
        assert_int_equal(s3_index_commit(d.writer), EPROTO);
        s3_index_rollback(d.writer);
    }

    assert_int_equal(s3_index_begin(d.writer), 0);
    c = commit_of(S3_COMMIT_CREATE_BUCKET, "b", text(""));
    assert_int_equal(s3_index_decide(d.writer, &c, 1, &effects, &v), 0);
    s3_index_rollback(d.writer);

    for (len = 1; len < effects.len; len++) {

        if (effects.data[len] == S3_EFFECT_PUT
            && effects.data[len + 1] == S3_TABLE_VERDICT)
        {
            /* between two effects */
            continue;
        }

        assert_int_equal(s3_index_begin(d.writer), 0);
        assert_int_equal(s3_index_apply(d.writer, bytes(effects.data, len)),
                         EPROTO);
        s3_index_rollback(d.writer);
    }

    /* out of order */

    assert_int_equal(s3_index_apply(d.writer, bytes(effects.data, 0)),
                     EINVAL);
    assert_int_equal(s3_index_commit(d.writer), EINVAL);
    assert_int_equal(s3_index_begin(d.reader), EINVAL);
    assert_int_equal(rows(d.reader, "bucket"), 0);

    s3_buf_free(&effects);
    disk_free(&d);
}


/* --- random operations against a model --- */

#define MODEL_MAX    4000


typedef struct {
    uint8_t      key[24];
    size_t       len;
    uint64_t     size;
    int64_t      mtime;
} model_key_t;


static model_key_t  model[MODEL_MAX];
static unsigned     nmodel;

static uint64_t     random_state;


static unsigned
rnd(unsigned n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;

    return (unsigned) ((random_state * 0x2545f4914f6cdd1dULL) >> 33) % n;
}


static void
rnd_seed(const char *name)
{
    struct timespec  ts;

    if (getenv("S3_TEST_SEED")) {
        random_state = strtoull(getenv("S3_TEST_SEED"), NULL, 10);

    } else {
        (void) clock_gettime(CLOCK_REALTIME, &ts);
        random_state = (uint64_t) ts.tv_nsec * 1000003 + (uint64_t) ts.tv_sec;
    }

    print_message("%s: S3_TEST_SEED=%llu\n", name,
                  (unsigned long long) random_state);

    random_state |= 1;
}


/* few letters, so that keys meet: among them the least and the greatest */

static size_t
rnd_key(uint8_t *p, size_t max)
{
    size_t  i, len;

    static const uint8_t  letters[] = { 'a', 'b', '/', '/', 0, 0xff, 0xfe };

    len = rnd((unsigned) max + 1);

    for (i = 0; i < len; i++) {
        p[i] = letters[rnd(sizeof(letters))];
    }

    return len;
}


static int
key_compare(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    int  rc;

    rc = memcmp(a, b, alen < blen ? alen : blen);

    return rc ? rc : (alen > blen) - (alen < blen);
}


static unsigned
model_find(const uint8_t *key, size_t len, int *found)
{
    int       rc;
    unsigned  i;

    *found = 0;

    for (i = 0; i < nmodel; i++) {
        rc = key_compare(model[i].key, model[i].len, key, len);

        if (rc >= 0) {
            *found = rc == 0;
            break;
        }
    }

    return i;
}


static size_t
model_common(const uint8_t *key, size_t len, size_t prefix,
    const uint8_t *delimiter, size_t dlen)
{
    size_t  i;

    if (dlen == 0) {
        return 0;
    }

    for (i = prefix; i + dlen <= len; i++) {
        if (memcmp(key + i, delimiter, dlen) == 0) {
            return i + dlen;
        }
    }

    return 0;
}


static void
check_list(s3_index_t *index)
{
    int               status, truncated, skip;
    size_t            plen, dlen, alen, common, last_len, skip_len;
    uint8_t           prefix[8], delimiter[4], after[24];
    uint32_t          n;
    uint64_t          sequence;
    unsigned          i;
    const uint8_t    *last;
    s3_buf_t          answer;
    s3_reader_t       r;
    s3_list_page_t    page;
    s3_list_query_t   q;

    memset(&q, 0, sizeof(q));
    memset(&answer, 0, sizeof(answer));

    plen = rnd(3) ? 0 : rnd_key(prefix, 3);
    dlen = rnd(3) ? 1 : rnd_key(delimiter, 2);

    if (dlen == 1) {
        delimiter[0] = "/ab\xff"[rnd(4)];
    }

    alen = 0;

    if (rnd(2)) {
        alen = rnd_key(after, 6);

        if (rnd(2) && nmodel) {
            i = rnd(nmodel);
            memcpy(after, model[i].key, model[i].len);
            alen = model[i].len;
        }

        if (rnd(3) == 0) {
            common = model_common(after, alen, plen < alen ? plen : alen,
                                  delimiter, dlen);
            alen = common ? common : alen;
        }
    }

    q.bucket = text("b");
    q.prefix = bytes(prefix, plen);
    q.delimiter = bytes(delimiter, dlen);
    q.after = bytes(after, alen);
    q.max = rnd(4) ? rnd(12) : 1000;

    assert_int_equal(s3_index_list(index, &q, &sequence, &status, &answer),
                     0);
    assert_int_equal(status, S3_STORE_OK);

    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_list_page(&r, &page), 0);

    /* the same from the model, the long way */

    skip = alen >= plen && memcmp(after, prefix, plen) == 0
           && alen > 0
           && model_common(after, alen, plen, delimiter, dlen) == alen;
    skip_len = skip ? alen : 0;

    n = 0;
    truncated = 0;
    last = NULL;
    last_len = 0;

    for (i = 0; i < nmodel && q.max; i++) {

        if (alen && key_compare(model[i].key, model[i].len, after, alen)
                    <= 0)
        {
            continue;
        }

        if (model[i].len < plen || memcmp(model[i].key, prefix, plen) != 0) {
            continue;
        }

        common = model_common(model[i].key, model[i].len, plen, delimiter,
                              dlen);

        if (common) {
            if (last && last_len == common
                && memcmp(last, model[i].key, common) == 0)
            {
                continue;
            }

            if (skip && common == skip_len
                && memcmp(after, model[i].key, common) == 0)
            {
                continue;
            }

            last = model[i].key;
            last_len = common;
        }

        if (n == q.max) {
            truncated = 1;
            break;
        }

        assert_true(n < page.nentries);
        assert_int_equal(page.entries[n].is_prefix, common != 0);
        assert_int_equal(page.entries[n].key.len,
                         common ? common : model[i].len);
        assert_memory_equal(page.entries[n].key.data, model[i].key,
                            page.entries[n].key.len);

        if (!common) {
            assert_int_equal(page.entries[n].size, model[i].size);
            assert_int_equal(page.entries[n].mtime, model[i].mtime);
        }

        n++;
    }

    assert_int_equal(page.nentries, n);
    assert_int_equal(page.truncated, truncated);

    if (truncated) {
        assert_int_equal(page.next.len, page.entries[n - 1].key.len);
        assert_memory_equal(page.next.data, page.entries[n - 1].key.data,
                            page.next.len);
    }

    free(page.entries);
    s3_buf_free(&answer);
}


/* pages one after the other give each entry once */

static void
check_pages(s3_index_t *index)
{
    int               status;
    size_t            after_len;
    uint8_t           after[24];
    uint32_t          i, n, all;
    uint64_t          sequence;
    s3_buf_t          answer;
    s3_reader_t       r;
    s3_list_page_t    page;
    s3_list_query_t   q;

    memset(&q, 0, sizeof(q));
    memset(&answer, 0, sizeof(answer));

    q.bucket = text("b");
    q.delimiter = bytes("/", rnd(2));
    q.max = 1000;

    assert_int_equal(s3_index_list(index, &q, &sequence, &status, &answer),
                     0);
    s3_reader_init(&r, answer.data, answer.len);
    assert_int_equal(s3_read_list_page(&r, &page), 0);
    assert_int_equal(page.truncated, 0);
    all = page.nentries;
    free(page.entries);
    s3_buf_free(&answer);

    after_len = 0;
    n = 0;
    q.max = 1 + rnd(20);

    do {
        q.after = bytes(after, after_len);

        assert_int_equal(s3_index_list(index, &q, &sequence, &status,
                                       &answer), 0);
        s3_reader_init(&r, answer.data, answer.len);
        assert_int_equal(s3_read_list_page(&r, &page), 0);

        for (i = 0; i < page.nentries; i++) {
            assert_true(after_len == 0 && n == 0 && i == 0 ? 1
                        : key_compare(page.entries[i].key.data,
                                      page.entries[i].key.len, after,
                                      after_len) > 0);
            after_len = page.entries[i].key.len;
            memcpy(after, page.entries[i].key.data, after_len);
        }

        n += page.nentries;
        status = page.truncated;

        free(page.entries);
        s3_buf_free(&answer);

    } while (status);

    assert_int_equal(n, all);
}


static void
random_commits(void **state)
{
    int             found, known, more, status;
    disk_t          d[NDISKS], late;
    size_t          len;
    uint8_t         key[64][24], data[64];
    uint64_t        sequence, cursor;
    unsigned        i, n, b, at, pieces;
    s3_buf_t        effects, answer;
    s3_commit_t     c[64];
    s3_verdict_t    v[64];
    s3_position_t   p, old[200], snap;

    rnd_seed("random_commits");

    memset(&p, 0, sizeof(p));
    memset(&effects, 0, sizeof(effects));
    memset(&answer, 0, sizeof(answer));
    memset(data, 'x', sizeof(data));
    nmodel = 0;

    for (i = 0; i < NDISKS; i++) {
        disk_make(&d[i]);
    }

    disk_make(&late);

    assert_int_equal(run_one(d, NDISKS, &p,
                             commit_of(S3_COMMIT_CREATE_BUCKET, "b",
                                       text(""))), 0);
    old[0] = p;

    for (b = 1; b < 200; b++) {

        n = rnd(20);

        for (i = 0; i < n; i++) {
            len = 0;

            while (len == 0) {
                len = rnd_key(key[i], 1 + rnd(9));
            }

            switch (rnd(5)) {

            case 0:
                c[i] = commit_of(S3_COMMIT_DELETE, "b", bytes(key[i], len));
                break;

            case 1:
                c[i] = put_shards("b", bytes(key[i], len), 20000 + rnd(9999),
                                  7);
                break;

            default:
                c[i] = put_inline("b", bytes(key[i], len),
                                  bytes(data, rnd(64)));
                break;
            }

            if (rnd(4) == 0) {
                c[i].acked = c[i].request > 30 ? c[i].request - 30 : 0;
            }

            if (c[i].op == S3_COMMIT_PUT && rnd(6) == 0) {
                c[i].conditions = S3_IF_NONE_MATCH_ANY;
            }
        }

        run_batch(d, NDISKS, &p, c, n, v, b > 50 ? p.sequence - 49 : 0);
        old[b] = p;

        for (i = 0; i < n; i++) {
            at = model_find(c[i].key.data, c[i].key.len, &found);

            if (c[i].op == S3_COMMIT_DELETE) {
                assert_int_equal(v[i].status, S3_STORE_OK);

                if (found) {
                    nmodel--;
                    memmove(&model[at], &model[at + 1],
                            (nmodel - at) * sizeof(model_key_t));
                }

                continue;
            }

            if (found && c[i].conditions) {
                assert_int_equal(v[i].status, S3_STORE_PRECONDITION_FAILED);
                continue;
            }

            assert_int_equal(v[i].status, S3_STORE_OK);

            if (!found) {
                if (nmodel == MODEL_MAX) {
                    fail_msg("the model is full");
                }

                memmove(&model[at + 1], &model[at],
                        (nmodel - at) * sizeof(model_key_t));
                nmodel++;
                memcpy(model[at].key, c[i].key.data, c[i].key.len);
                model[at].len = c[i].key.len;
            }

            model[at].size = c[i].size;
            model[at].mtime = c[i].mtime;
        }

        /* "late" follows the first batches only, by catching up */

        if (b == 20 || b == 40) {
            assert_int_equal(s3_index_position(late.writer, &snap), 0);
            cursor = 0;
            more = 1;
            assert_int_equal(s3_index_begin(late.writer), 0);
            sequence = snap.sequence;
            assert_int_equal(s3_index_snapshot(d[1].reader, &snap), 0);

            while (more) {
                assert_int_equal(s3_index_changes(d[1].reader, sequence,
                                                  &cursor, 1 + rnd(2000),
                                                  &effects, &more), 0);
                assert_int_equal(s3_index_apply(late.writer,
                                                bytes(effects.data,
                                                      effects.len)), 0);
                effects.len = 0;
            }

            assert_int_equal(s3_index_release(d[1].reader), 0);
            assert_int_equal(s3_index_flush(late.writer, 0), 0);
            assert_int_equal(s3_index_commit(late.writer), 0);
            assert_same(late.writer, d[1].writer);
        }

        for (i = 0; i < 20; i++) {
            check_list(d[rnd(NDISKS)].reader);
        }

        check_pages(d[rnd(NDISKS)].reader);

        if (b % 40 == 0) {

            /* as after kill -9: nothing but the files */

            i = rnd(NDISKS);
            disk_close_index(&d[i]);
            disk_open_index(&d[i], 0);
        }
    }

    for (i = 1; i < NDISKS; i++) {
        assert_same(d[0].reader, d[i].reader);
    }

    for (i = 0; i < nmodel; i++) {
        assert_int_equal(s3_index_lookup(d[2].reader, text("b"),
                                         bytes(model[i].key, model[i].len),
                                         &sequence, &status, &answer), 0);
        assert_int_equal(status, S3_STORE_OK);
        assert_int_equal(sequence, p.sequence);
        answer.len = 0;
    }

    s3_buf_free(&answer);

    assert_int_equal(rows(d[0].reader, "object"), nmodel);
    assert_int_equal(rows(d[0].reader, "data"), nmodel);
    assert_true(rows(d[0].reader, "batch") <= 51);

    /* positions of the history, and others */

    for (b = 0; b < 200; b++) {
        assert_int_equal(s3_index_knows(d[1].reader, &old[b], &known), 0);
        assert_int_equal(known, b >= 150 ? 1 : known);
        assert_int_equal(b < 140 ? known : 0, 0);

        old[b].digest[31] ^= 1;
        assert_int_equal(s3_index_knows(d[1].reader, &old[b], &known), 0);
        assert_int_equal(known, 0);
        old[b].digest[31] ^= 1;

        old[b].generation++;
        assert_int_equal(s3_index_knows(d[1].reader, &old[b], &known), 0);
        assert_int_equal(known, 0);
        old[b].generation--;
    }

    /* "late" is too late by now */

    assert_int_equal(s3_index_position(late.reader, &snap), 0);
    assert_int_equal(s3_index_knows(d[0].reader, &snap, &known), 0);
    assert_int_equal(known, 0);

    /* two that were current once, brought forward in one go and in pieces */

    for (pieces = 0; pieces < 2; pieces++) {
        disk_free(&late);
        disk_crash_copy(&d[2], &late);
        assert_same(late.reader, d[2].reader);

        for (b = 0; b < 30; b++) {
            len = 0;

            while (len == 0) {
                len = rnd_key(key[0], 8);
            }

            c[0] = rnd(2) ? put_inline("b", bytes(key[0], len),
                                       bytes(data, rnd(64)))
                          : commit_of(S3_COMMIT_DELETE, "b",
                                      bytes(key[0], len));
            run_batch(d, NDISKS, &p, c, 1, v, p.sequence - 40);
        }

        assert_int_equal(s3_index_position(late.reader, &snap), 0);
        assert_int_equal(s3_index_knows(d[0].reader, &snap, &known), 0);
        assert_int_equal(known, 1);

        sequence = snap.sequence;
        cursor = 0;
        more = 1;

        assert_int_equal(s3_index_snapshot(d[0].reader, &snap), 0);
        assert_memory_equal(&snap, &p, sizeof(p));
        assert_int_equal(s3_index_begin(late.writer), 0);

        for (n = 0; more; n++) {
            assert_int_equal(s3_index_changes(d[0].reader, sequence, &cursor,
                                              pieces ? 1 : 1 << 20, &effects,
                                              &more), 0);
            assert_int_equal(s3_index_apply(late.writer,
                                            bytes(effects.data,
                                                  effects.len)), 0);
            effects.len = 0;

            if (n == 3) {

                /* the snapshot does not see what comes meanwhile */

                c[0] = put_inline("b", text("meanwhile"), bytes(data, 3));
                run_batch(d, NDISKS, &p, c, 1, v, p.sequence - 40);
            }
        }

        assert_true(pieces ? n > 50 : n == 1);
        assert_int_equal(s3_index_release(d[0].reader), 0);
        assert_int_equal(s3_index_flush(late.writer, 0), 0);
        assert_int_equal(s3_index_commit(late.writer), 0);

        assert_int_equal(s3_index_position(late.reader, &p), 0);
        assert_memory_equal(&snap, &p, sizeof(p));

        if (pieces == 0) {
            assert_same(late.reader, d[0].reader);
        }

        assert_int_equal(s3_index_position(d[0].reader, &p), 0);
    }

    s3_buf_free(&effects);
    disk_free(&late);

    for (i = 0; i < NDISKS; i++) {
        disk_free(&d[i]);
    }
}


/* --- what reaches the disk, and when --- */

static void
flush_and_commit(void **state)
{
    disk_t         d, copy;
    s3_buf_t       effects;
    uint64_t       sequence;
    int            status;
    s3_buf_t       answer;
    s3_commit_t    c;
    s3_verdict_t   v;
    s3_position_t  p, after;

    memset(&p, 0, sizeof(p));
    memset(&effects, 0, sizeof(effects));
    memset(&answer, 0, sizeof(answer));

    door_install();
    disk_make(&d);

    assert_int_equal(run_one(&d, 1, &p, commit_of(S3_COMMIT_CREATE_BUCKET,
                                                  "b", text(""))), 0);

    memset(&door, 0, sizeof(door));
    c = put_inline("b", text("k"), text("v"));
    assert_int_equal(s3_index_begin(d.writer), 0);
    assert_int_equal(s3_index_decide(d.writer, &c, 2, &effects, &v), 0);
    after = p;
    after.sequence++;
    s3_index_digest(&p, &after, bytes(effects.data, effects.len));
    assert_int_equal(s3_index_seal(d.writer, &after,
                                   bytes(effects.data, effects.len), 0), 0);
    assert_int_equal(door.writes, 0);
    assert_int_equal(door.syncs, 0);

    assert_int_equal(s3_index_flush(d.writer, 0), 0);
    assert_true(door.writes > 4);
    assert_int_equal(door.syncs, 1);

    /* a crash here: as if it had never been */

    disk_crash_copy(&d, &copy);
    assert_int_equal(s3_index_position(copy.reader, &after), 0);
    assert_memory_equal(&after, &p, sizeof(p));
    assert_int_equal(s3_index_lookup(copy.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_KEY);
    disk_free(&copy);

    /* nor does a reader beside it see it yet */

    assert_int_equal(s3_index_lookup(d.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_KEY);
    assert_int_equal(sequence, 1);

    memset(&door, 0, sizeof(door));
    assert_int_equal(s3_index_commit(d.writer), 0);
    assert_true(door.writes >= 2 && door.writes <= 4);
    assert_int_equal(door.syncs, 1);

    disk_crash_copy(&d, &copy);
    assert_int_equal(s3_index_lookup(copy.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_OK);
    assert_int_equal(sequence, 2);
    disk_free(&copy);

    /* opening, reading and closing change nothing */

    memset(&door, 0, sizeof(door));
    disk_close_index(&d);
    disk_open_index(&d, 0);
    answer.len = 0;
    assert_int_equal(s3_index_lookup(d.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_OK);
    disk_close_index(&d);
    assert_int_equal(door.calls, 0);

    /* a reader alone, even where the log is gone */

    disk_open_index(&d, 0);
    assert_int_equal(sqlite3_wal_checkpoint_v2(d.writer->db, "main",
                                               SQLITE_CHECKPOINT_TRUNCATE,
                                               NULL, NULL), SQLITE_OK);
    disk_close_index(&d);
    memset(&door, 0, sizeof(door));

    assert_int_equal(unlinkat(d.fd, "index.db-wal", 0), 0);
    d.vfs = s3_vfs_create(d.fd);
    assert_int_equal(s3_index_open(d.vfs, 0, 0, CACHE, &d.reader), 0);
    assert_int_equal(door.calls, 0);
    assert_int_equal(faccessat(d.fd, "index.db-wal", F_OK, 0), -1);
    answer.len = 0;
    assert_int_equal(s3_index_lookup(d.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_OK);

    /* a writer that comes later makes one, and the reader sees its work */

    assert_int_equal(s3_index_open(d.vfs, 1, 0, CACHE, &d.writer), 0);
    assert_int_equal(s3_index_position(d.reader, &p), 0);
    assert_int_equal(run_one(&d, 1, &p, commit_of(S3_COMMIT_DELETE, "b",
                                                  text("k"))), 0);
    assert_int_equal(s3_index_lookup(d.reader, text("b"), text("k"),
                                     &sequence, &status, &answer), 0);
    assert_int_equal(status, S3_STORE_NO_SUCH_KEY);
    s3_index_close(d.writer);
    s3_index_close(d.reader);
    s3_vfs_destroy(d.vfs);
    d.vfs = NULL;

    door_remove();
    s3_buf_free(&effects);
    s3_buf_free(&answer);
    disk_free(&d);
}


static void
opening(void **state)
{
    int         fd;
    disk_t      d;
    s3_index_t *index;

    memset(&d, 0, sizeof(d));
    d.dir = s3_test_dir();
    d.fd = open(d.dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    d.vfs = s3_vfs_create(d.fd);

    assert_int_equal(s3_index_open(d.vfs, 0, 0, CACHE, &index), ENOENT);
    assert_null(index);
    assert_int_equal(s3_index_open(d.vfs, 1, 0, CACHE, &index), ENOENT);
    assert_null(index);
    assert_int_equal(s3_vfs_error(d.vfs), 0);

    fd = openat(d.fd, "index.db", O_CREAT|O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(s3_index_open(d.vfs, 1, 0, CACHE, &index), ENOENT);
    assert_int_equal(s3_index_open(d.vfs, 1, 1, CACHE, &index), 0);
    assert_int_equal(sqlite3_exec(index->db, "PRAGMA user_version=2", NULL,
                                  NULL, NULL), SQLITE_OK);
    s3_index_close(index);
    assert_int_equal(s3_index_open(d.vfs, 1, 1, CACHE, &index), EPROTO);
    assert_int_equal(s3_index_open(d.vfs, 0, 0, CACHE, &index), EPROTO);

    /* not a database */

    assert_int_equal(unlinkat(d.fd, "index.db-wal", 0), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, "nonsense", 8, 8192), 8);
    assert_int_equal(s3_index_open(d.vfs, 0, 0, CACHE, &index), EBADMSG);
    assert_int_equal(s3_vfs_error(d.vfs), EBADMSG);
    (void) close(fd);

    s3_vfs_destroy(d.vfs);
    d.vfs = NULL;
    disk_free(&d);
}


/* --- every call fails once --- */

static void
failing_calls(int error, int on)
{
    int            rc, op;
    disk_t         d, copy;
    uint8_t        big[9000];
    unsigned       n, failures;
    uint64_t       sequence;
    int            status;
    s3_buf_t       effects, before, behind, now, answer;
    s3_commit_t    c;
    s3_verdict_t   v;
    s3_position_t  p, after;

    memset(big, 'z', sizeof(big));
    memset(&effects, 0, sizeof(effects));
    memset(&before, 0, sizeof(before));
    memset(&behind, 0, sizeof(behind));
    memset(&now, 0, sizeof(now));
    memset(&answer, 0, sizeof(answer));

    for (op = 0; op < 3; op++) {

        memset(&p, 0, sizeof(p));
        disk_make(&d);
        assert_int_equal(run_one(&d, 1, &p,
                                 commit_of(S3_COMMIT_CREATE_BUCKET, "b",
                                           text(""))), 0);
        assert_int_equal(run_one(&d, 1, &p,
                                 put_inline("b", text("other"),
                                            bytes(big, 5000))), 0);

        if (op) {
            assert_int_equal(run_one(&d, 1, &p,
                                     put_inline("b", text("k"),
                                                bytes(big, 9000))), 0);
        }

        dump(d.writer, &before);
        c = op == 2 ? commit_of(S3_COMMIT_DELETE, "b", text("k"))
                    : put_inline("b", text("k"), bytes(big, 8000));
        failures = 0;

        for (n = 1; ; n++) {
            disk_crash_copy(&d, &copy);

            door_install();
            door.fail_at = n;
            door.fail_errno = error;
            door.fail_on = on;

            effects.len = 0;
            after = p;
            after.sequence++;

            rc = s3_index_begin(copy.writer);

            if (rc == 0) {
                rc = s3_index_decide(copy.writer, &c, after.sequence,
                                     &effects, &v);
            }

            if (rc == 0) {
                s3_index_digest(&p, &after, bytes(effects.data,
                                                  effects.len));
                rc = s3_index_seal(copy.writer, &after,
                                   bytes(effects.data, effects.len), 0);
            }

            if (rc == 0) {
                rc = s3_index_flush(copy.writer, 0);
            }

            if (rc == 0) {
                rc = s3_index_commit(copy.writer);
            }

            if (rc) {
                assert_int_equal(rc, error);
                assert_true(door.failed > 0);
                s3_index_rollback(copy.writer);
                failures++;
            }

            if (error == ENOSPC) {
                assert_int_equal(s3_vfs_error(copy.vfs), 0);

            } else if (rc) {
                assert_int_equal(s3_vfs_error(copy.vfs), error);
            }

            door_remove();

            if (error == ENOSPC && rc) {

                /* room again: the same connection goes on */

                effects.len = 0;
                assert_int_equal(s3_index_begin(copy.writer), 0);
                assert_int_equal(s3_index_decide(copy.writer, &c,
                                                 after.sequence, &effects,
                                                 &v), 0);
                s3_index_rollback(copy.writer);
            }

            disk_close_index(&copy);
            disk_open_index(&copy, 0);

            now.len = 0;
            dump(copy.reader, &now);

            if (rc == 0 && behind.len == 0) {
                dump(copy.reader, &behind);
            }

            if (rc == 0) {
                assert_int_equal(now.len, behind.len);
                assert_memory_equal(now.data, behind.data, now.len);

            } else if (now.len != before.len
                       || memcmp(now.data, before.data, now.len) != 0)
            {
                /* only a commit whose sync failed may have come through */

                assert_int_equal(s3_index_position(copy.reader, &after), 0);
                assert_int_equal(after.sequence, p.sequence + 1);
                assert_int_not_equal(error, ENOSPC);
            }

            answer.len = 0;
            assert_int_equal(s3_index_lookup(copy.reader, text("b"),
                                             text("other"), &sequence,
                                             &status, &answer), 0);
            assert_int_equal(status, S3_STORE_OK);

            disk_free(&copy);

            if (door.failed == 0) {
                break;
            }
        }

        assert_int_equal(rc, 0);
        assert_true(failures > 5);

        disk_free(&d);
        before.len = 0;
        behind.len = 0;
    }

    s3_buf_free(&effects);
    s3_buf_free(&before);
    s3_buf_free(&behind);
    s3_buf_free(&now);
    s3_buf_free(&answer);
}


static void
every_call_fails(void **state)
{
    failing_calls(EIO, 0);
    failing_calls(EIO, 1);
}


static void
no_space(void **state)
{
    failing_calls(ENOSPC, 0);
    failing_calls(ENOSPC, 1);
}


/* making an index, cut at every call */

static void
creation_fails(void **state)
{
    int          rc;
    disk_t       d;
    unsigned     n;
    s3_index_t  *index;

    for (n = 1; ; n++) {
        memset(&d, 0, sizeof(d));
        d.dir = s3_test_dir();
        d.fd = open(d.dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        d.vfs = s3_vfs_create(d.fd);

        door_install();
        door.fail_at = n;
        door.fail_errno = EIO;
        door.fail_on = 1;

        rc = s3_index_open(d.vfs, 1, 1, CACHE, &index);
        s3_index_close(index);
        s3_vfs_destroy(d.vfs);
        door_remove();

        disk_open_index(&d, 1);
        assert_int_equal(rows(d.reader, "state"), 1);
        assert_int_equal(rows(d.reader, "batch"), 1);
        disk_free(&d);

        if (door.failed == 0) {
            break;
        }

        if (rc) {
            assert_int_equal(rc, EIO);
        }
    }

    assert_int_equal(rc, 0);
    assert_true(n > 20);
}


static void
checkpoints(void **state)
{
    int            status;
    disk_t         d, copy;
    uint8_t        big[16384];
    char           name[32];
    uint64_t       sequence;
    unsigned       i;
    s3_buf_t       answer;
    struct stat    st;
    s3_position_t  p;

    memset(&p, 0, sizeof(p));
    memset(&answer, 0, sizeof(answer));
    disk_make(&d);

    assert_int_equal(run_one(&d, 1, &p, commit_of(S3_COMMIT_CREATE_BUCKET,
                                                  "b", text(""))), 0);

    for (i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "key%u", i % 300);
        s3_test_fill(big, sizeof(big), i % 300);
        assert_int_equal(run_one(&d, 1, &p,
                                 put_inline("b", text(name),
                                            bytes(big, sizeof(big)))), 0);
    }

    /* 2,000 batches of over ten frames, and the log starts over each time it
     * has a thousand */

    assert_int_equal(fstatat(d.fd, "index.db-wal", &st, 0), 0);
    assert_true(st.st_size < 1200 * 4120);
    assert_int_equal(fstatat(d.fd, "index.db", &st, 0), 0);
    assert_true(st.st_size > 300 * 16384);

    disk_crash_copy(&d, &copy);
    assert_same(copy.reader, d.reader);

    for (i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "key%u", i);
        s3_test_fill(big, sizeof(big), i);
        answer.len = 0;
        assert_int_equal(s3_index_lookup(copy.reader, text("b"), text(name),
                                         &sequence, &status, &answer), 0);
        assert_int_equal(status, S3_STORE_OK);
        assert_non_null(memmem(answer.data, answer.len, big, sizeof(big)));
    }

    s3_buf_free(&answer);
    disk_free(&copy);
    disk_free(&d);
}


static void
assert_plan(s3_index_t *index, const char *sql)
{
    int            rc;
    char          *explain;
    const char    *detail;
    sqlite3_stmt  *stmt;

    explain = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);
    assert_int_equal(sqlite3_prepare_v2(index->db, explain, -1, &stmt, NULL),
                     SQLITE_OK);
    sqlite3_free(explain);

    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        detail = (const char *) sqlite3_column_text(stmt, 3);

        if (strncmp(detail, "SEARCH ", 7) != 0
            && strstr(detail, "CONSTANT ROW") == NULL
            && strstr(detail, "SUBQUERY") == NULL)
        {
            fail_msg("%s: %s", sql, detail);
        }
    }

    assert_int_equal(rc, SQLITE_DONE);
    sqlite3_finalize(stmt);
}


static void
plans(void **state)
{
    int            found;
    disk_t         d;
    unsigned       table, what;
    s3_value_t     row[S3_COLUMNS_MAX];

    static const s3_sql_e  searches[] = {
        S3_SQL_OBJECT, S3_SQL_BUCKET_USED, S3_SQL_PARTS, S3_SQL_PART_BY_SHARD,
        S3_SQL_GARBAGE_BY_SHARD, S3_SQL_VERDICTS, S3_SQL_TRIM_BATCH,
        S3_SQL_TRIM_CHANGE, S3_SQL_BATCHES, S3_SQL_CHANGES, S3_SQL_BUCKETS,
        S3_SQL_LIST, S3_SQL_GARBAGE, S3_SQL_HOLES, S3_SQL_PART_HOLES,
        S3_SQL_SESSIONS, S3_SQL_BUCKET_BY_ID, S3_SQL_PARTS_AFTER,
        S3_SQL_UPLOADS, S3_SQL_UPLOAD_OF, S3_SQL_UPLOAD_BUCKETS,
        S3_SQL_COMPLETED
    };

    disk_make(&d);

    for (what = 0; what < sizeof(searches) / sizeof(searches[0]); what++) {
        assert_plan(d.writer, s3_index_sql[searches[what]]);
    }

    memset(row, 0, sizeof(row));

    for (table = S3_TABLE_BUCKET; table < S3_TABLES; table++) {
        assert_int_equal(s3_row_get(d.writer, table, row, &found), 0);
        assert_plan(d.writer,
                    sqlite3_sql(d.writer->rows[table][S3_ROW_GET]));
    }

    disk_free(&d);
}


/* figures for those who want them: S3_TEST_RATES=1 */

static double
now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static void
rates(void **state)
{
    int              status;
    char             name[32][40];
    double           t;
    disk_t           d;
    uint8_t          data[1024];
    uint64_t         sequence;
    unsigned         i, j, n;
    s3_buf_t         answer;
    s3_commit_t      c[32];
    s3_verdict_t     v[32];
    s3_position_t    p;
    s3_list_query_t  q;

    n = getenv("S3_TEST_RATES") ? 3000 : 20;

    memset(&p, 0, sizeof(p));
    memset(&q, 0, sizeof(q));
    memset(&answer, 0, sizeof(answer));
    s3_test_fill(data, sizeof(data), 1);
    random_state = 88172645463325252ULL;
    disk_make(&d);

    assert_int_equal(run_one(&d, 1, &p, commit_of(S3_COMMIT_CREATE_BUCKET,
                                                  "b", text(""))), 0);
    t = now();

    for (i = 0; i < n; i++) {
        for (j = 0; j < 32; j++) {
            snprintf(name[j], sizeof(name[j]), "%08x/%u", rnd(1 << 30),
                     i * 32 + j);
            c[j] = put_inline("b", text(name[j]), bytes(data, sizeof(data)));
            c[j].acked = c[j].request > 64 ? c[j].request - 64 : 0;
        }

        run_batch(&d, 1, &p, c, 32, v, p.sequence > 100 ? p.sequence - 100
                                                        : 0);
    }

    t = now() - t;
    print_message("%u puts of 1 KiB in batches of 32: %.0f/s\n", n * 32,
                  n * 32 / t);

    t = now();

    for (i = 0; i < n; i++) {
        answer.len = 0;
        assert_int_equal(s3_index_lookup(d.reader, text("b"),
                                         text(name[i % 32]), &sequence,
                                         &status, &answer), 0);
        assert_int_equal(status, S3_STORE_OK);
    }

    t = now() - t;
    print_message("lookup, hot: %.1f us\n", t / n * 1e6);

    q.bucket = text("b");
    q.max = 1000;
    t = now();

    for (i = 0; i < n / 20; i++) {
        answer.len = 0;
        snprintf(name[0], sizeof(name[0]), "%08x", rnd(1 << 29));
        q.after = text(name[0]);
        assert_int_equal(s3_index_list(d.reader, &q, &sequence, &status,
                                       &answer), 0);
    }

    t = now() - t;
    print_message("list page of 1,000: %.0f us\n", t / (n / 20) * 1e6);

    s3_buf_free(&answer);
    disk_free(&d);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(semantics),
        cmocka_unit_test(parts),
        cmocka_unit_test(bad_effects),
        cmocka_unit_test(random_commits),
        cmocka_unit_test(flush_and_commit),
        cmocka_unit_test(opening),
        cmocka_unit_test(every_call_fails),
        cmocka_unit_test(no_space),
        cmocka_unit_test(creation_fails),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test(plans),
        cmocka_unit_test(rates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
