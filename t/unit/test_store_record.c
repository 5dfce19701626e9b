
#include "s3_test.h"
#include "s3_proto.h"
#include "s3_record.h"


static s3_slice_t
slice(const void *p, size_t len)
{
    s3_slice_t  s;

    s.data = p;
    s.len = len;

    return s;
}


#define text(s)  slice(s, strlen(s))


static void
assert_slice(s3_slice_t a, s3_slice_t b)
{
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, b.len);
}


static uint8_t  record_bytes[100000];     /* as long as any slice must be */


/* --- s3_buf --- */

static void
buffers(void **state)
{
    size_t       i;
    uint8_t     *p, three[3];
    s3_buf_t     b;
    s3_slice_t   s;
    s3_reader_t  r;

    memset(&b, 0, sizeof(b));

    s3_buf_u8(&b, 0x01);
    s3_buf_u16(&b, 0x0302);
    s3_buf_u32(&b, 0x07060504);
    s3_buf_u64(&b, 0x0f0e0d0c0b0a0908ULL);
    s3_buf_slice(&b, "abc", 3);
    s3_buf_slice(&b, NULL, 0);
    s3_buf_bytes(&b, NULL, 0);
    s3_buf_bytes(&b, "xyz", 3);
    p = s3_buf_reserve(&b, 2);
    assert_non_null(p);
    memcpy(p, "!?", 2);

    assert_int_equal(b.error, 0);
    assert_int_equal(b.len, 15 + 7 + 4 + 3 + 2);

    for (i = 0; i < 15; i++) {
        assert_int_equal(b.data[i], i + 1);
    }

    assert_memory_equal(b.data + 15, "\3\0\0\0abc\0\0\0\0xyz!?", 16);

    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_u8(&r), 1);
    assert_int_equal(s3_read_u16(&r), 0x0302);
    assert_int_equal(s3_read_u32(&r), 0x07060504);
    assert_int_equal(s3_read_u64(&r), 0x0f0e0d0c0b0a0908ULL);
    assert_slice(s3_read_slice(&r), text("abc"));
    assert_slice(s3_read_slice(&r), text(""));
    s3_read_bytes(&r, three, 3);
    assert_memory_equal(three, "xyz", 3);
    assert_int_equal(s3_read_u16(&r), '!' | '?' << 8);
    assert_int_equal(r.error, 0);
    assert_true(r.pos == r.last);

    /* past the end: zeros from here on */

    assert_int_equal(s3_read_u8(&r), 0);
    assert_int_equal(r.error, EBADMSG);
    s3_read_bytes(&r, three, 3);
    assert_memory_equal(three, "\0\0\0", 3);

    /* a length that points past the end, and no wrap round */

    s3_reader_init(&r, "\xff\xff\xff\xff""abc", 7);
    s = s3_read_slice(&r);
    assert_int_equal(r.error, EBADMSG);
    assert_int_equal(s.len, 0);
    assert_non_null(s.data);

    s3_reader_init(&r, "\4\0\0\0abc", 7);
    (void) s3_read_slice(&r);
    assert_int_equal(r.error, EBADMSG);

    s3_reader_init(&r, NULL, 0);
    assert_int_equal(s3_read_u64(&r), 0);
    assert_int_equal(r.error, EBADMSG);

    s3_buf_free(&b);
    assert_null(b.data);
    s3_buf_u8(&b, 1);
    assert_int_equal(b.len, 1);
    s3_buf_free(&b);
}


static void
buffer_bounds(void **state)
{
    size_t    i;
    s3_buf_t  b;

    memset(&b, 0, sizeof(b));
    b.max = 1000;

    for (i = 0; i < 1000; i++) {
        s3_buf_u8(&b, (uint8_t) i);
    }

    assert_int_equal(b.error, 0);
    assert_true(b.size <= 1000);

    s3_buf_u8(&b, 1);
    assert_int_equal(b.error, EMSGSIZE);
    assert_int_equal(b.len, 1000);

    /* it stays, though there is room for nothing more, or for nothing */

    s3_buf_bytes(&b, "", 0);
    assert_null(s3_buf_reserve(&b, 0));
    s3_buf_free(&b);

    /* 64 MiB where nothing is said */

    assert_non_null(s3_buf_reserve(&b, 64 * 1024 * 1024));
    assert_null(s3_buf_reserve(&b, 1));
    assert_int_equal(b.error, EMSGSIZE);
    s3_buf_free(&b);

    assert_null(s3_buf_reserve(&b, SIZE_MAX));
    assert_int_equal(b.error, EMSGSIZE);
    s3_buf_free(&b);

    s3_buf_u8(&b, 1);
    s3_buf_slice(&b, record_bytes, (size_t) UINT32_MAX + 1);
    assert_int_equal(b.error, EMSGSIZE);
    s3_buf_free(&b);
}


/* --- samples --- */

static void
sample_put(s3_commit_t *c)
{
    memset(c, 0, sizeof(s3_commit_t));

    c->op = S3_COMMIT_PUT;
    c->conditions = S3_IF_MATCH;
    s3_test_fill(c->session, 16, 1);
    c->request = 7;
    c->acked = 5;
    c->bucket = text("bucket");
    c->key = text("a/key\xff");
    c->if_match = slice(record_bytes, 16);
    c->size = 3000000;
    c->etag = slice(record_bytes + 16, 16);
    c->meta = slice(record_bytes, 300);
    c->checksum = slice(record_bytes, 10);
    c->attrs = slice(record_bytes, 20);
    s3_test_fill(c->shard_id, 16, 2);
    c->mask = 0xb;
    c->generation = 12;
    c->geometry = s3_geometry(4, 2);
}


static void
sample_object(s3_object_t *o, s3_extent_t *e, uint32_t n)
{
    uint32_t  i;

    memset(o, 0, sizeof(s3_object_t));

    o->mtime = 1700000000123;
    o->etag = slice(record_bytes, 20);
    o->meta = slice(record_bytes, 300);
    o->checksum = slice(record_bytes, 10);
    o->attrs = slice(record_bytes, 20);
    s3_test_fill(o->data_id, 16, 3);
    o->nextents = n;
    o->extents = e;

    for (i = 0; i < n; i++) {
        s3_test_fill(e[i].shard_id, 16, 10 + i);
        s3_test_fill(e[i].session, 16, 20 + i);
        e[i].number = i + 1;
        e[i].offset = o->size;
        e[i].size = 5000000 + i;
        e[i].mask = 0xf;
        e[i].geometry = s3_geometry(4, 2);
        o->size += e[i].size;
    }
}


static int
commit_through(const s3_commit_t *in, s3_commit_t *out, s3_buf_t *b)
{
    int          rc;
    s3_reader_t  r;

    s3_buf_free(b);
    s3_write_commit(b, in);
    assert_int_equal(b->error, 0);

    s3_reader_init(&r, b->data, b->len);
    rc = s3_read_commit(&r, out);
    assert_int_equal(rc, r.error);

    if (rc == 0) {
        assert_true(r.pos == r.last);
    }

    return rc;
}


static int
object_through(const s3_object_t *in, s3_object_t *out, s3_buf_t *b)
{
    int          rc;
    s3_reader_t  r;

    s3_buf_free(b);
    s3_write_object(b, in);
    assert_int_equal(b->error, 0);

    s3_reader_init(&r, b->data, b->len);
    rc = s3_read_object(&r, out);

    if (rc == 0) {
        assert_true(r.pos == r.last);
    }

    return rc;
}


/* --- commits --- */

static void
commits(void **state)
{
    s3_buf_t     b;
    s3_commit_t  in, out;

    memset(&b, 0, sizeof(b));

    sample_put(&in);
    s3_test_fill(in.source, 16, 3);
    s3_test_fill(in.upload_id, 16, 4);
    in.number = 77;
    in.source_bucket = text("from");
    in.source_key = text("there");
    assert_int_equal(commit_through(&in, &out, &b), 0);

    assert_int_equal(b.data[0], 2);
    assert_int_equal(b.data[1], S3_COMMIT_PUT);

    assert_int_equal(out.op, in.op);
    assert_int_equal(out.conditions, in.conditions);
    assert_memory_equal(out.session, in.session, 16);
    assert_int_equal(out.request, in.request);
    assert_int_equal(out.acked, in.acked);
    assert_slice(out.bucket, in.bucket);
    assert_slice(out.key, in.key);
    assert_slice(out.if_match, in.if_match);
    assert_int_equal(out.size, in.size);
    assert_slice(out.etag, in.etag);
    assert_slice(out.meta, in.meta);
    assert_slice(out.checksum, in.checksum);
    assert_slice(out.attrs, in.attrs);
    assert_int_equal(out.is_inline, 0);
    assert_int_equal(out.data.len, 0);
    assert_memory_equal(out.shard_id, in.shard_id, 16);
    assert_int_equal(out.mask, in.mask);
    assert_int_equal(out.generation, in.generation);
    assert_int_equal(out.geometry.k, 2);
    assert_int_equal(out.geometry.m, 2);
    assert_int_equal(out.geometry.unit, 524288);
    assert_memory_equal(out.source, in.source, 16);
    assert_memory_equal(out.upload_id, in.upload_id, 16);
    assert_int_equal(out.number, 77);
    assert_slice(out.source_bucket, in.source_bucket);
    assert_slice(out.source_key, in.source_key);
    assert_int_equal(out.parts.len, 0);
    assert_int_equal(out.result.len, 0);
    in.number = 0;

    /* inline, up to the bound */

    in.is_inline = 1;
    in.size = S3_INLINE_MAX;
    in.data = slice(record_bytes, S3_INLINE_MAX);
    assert_int_equal(commit_through(&in, &out, &b), 0);
    assert_int_equal(out.is_inline, 1);
    assert_slice(out.data, in.data);

    in.size = 0;
    in.data.len = 0;
    assert_int_equal(commit_through(&in, &out, &b), 0);

    memset(&in, 0, sizeof(in));
    in.op = S3_COMMIT_DELETE;
    in.bucket = text("b");
    in.key = text("k");
    assert_int_equal(commit_through(&in, &out, &b), 0);
    in.op = S3_COMMIT_CREATE_BUCKET;
    in.key.len = 0;
    assert_int_equal(commit_through(&in, &out, &b), 0);
    in.op = S3_COMMIT_REPAIRED;
    in.bucket.len = 0;
    in.mask = 0xffffffff;
    assert_int_equal(commit_through(&in, &out, &b), 0);

    s3_buf_free(&b);
}


static void
commit_bounds(void **state)
{
    uint32_t     i;
    s3_buf_t     b, refs;
    s3_commit_t  c, out;

    memset(&b, 0, sizeof(b));
    memset(&refs, 0, sizeof(refs));

#define good(set)                                                             \
    sample_put(&c);                                                           \
    set;                                                                      \
    assert_int_equal(commit_through(&c, &out, &b), 0)

#define bad(set)                                                              \
    sample_put(&c);                                                           \
    set;                                                                      \
    assert_int_equal(commit_through(&c, &out, &b), EBADMSG)

    bad(c.op = 0);
    bad(c.op = 5);
    bad(c.op = 63);
    bad(c.op = 68);
    bad(c.conditions = 8);
    good(c.conditions = 7);
    good(c.bucket = slice(record_bytes, 255));
    bad(c.bucket = slice(record_bytes, 256));
    bad(c.bucket.len = 0);
    good(c.key = slice(record_bytes, 1024));
    bad(c.key = slice(record_bytes, 1025));
    bad(c.key.len = 0);
    good(c.if_match = slice(record_bytes, 20));
    bad(c.if_match = slice(record_bytes, 21));
    bad(c.etag.len = 15);
    bad(c.etag.len = 21);
    good(c.meta = slice(record_bytes, 16384));
    bad(c.meta = slice(record_bytes, 16385));
    good(c.attrs = slice(record_bytes, 16384));
    bad(c.attrs = slice(record_bytes, 16385));
    good(c.checksum = slice(record_bytes, 256));
    bad(c.checksum = slice(record_bytes, 257));
    good(c.size = S3_EXTENT_MAX);
    bad(c.size = S3_EXTENT_MAX + 1);
    bad(c.mask = 0x10);
    bad(c.geometry.k = 0);
    bad(c.geometry.m = 3);
    bad(c.geometry.unit = 1);
    bad(c.data = slice(record_bytes, 10));
    bad(c.is_inline = 2);
    bad(c.is_inline = 1);
    bad(c.is_inline = 1; c.size = 10; c.data = slice(record_bytes, 9));
    bad(c.is_inline = 1; c.size = 16385;
        c.data = slice(record_bytes, 16385));
    bad(c.op = S3_COMMIT_GARBAGE; c.mask = 1ULL << 32);
    bad(c.op = S3_COMMIT_DELETE; c.key.len = 0);
    bad(c.op = S3_COMMIT_DELETE_BUCKET; c.bucket.len = 0);
    bad(c.op = S3_COMMIT_REAP);

    good(c.op = S3_COMMIT_COPY; c.source_bucket = text("b");
         c.source_key = slice(record_bytes, 1024));
    bad(c.op = S3_COMMIT_COPY; c.source_bucket = text("b"));
    bad(c.op = S3_COMMIT_COPY; c.source_key = text("k"));
    bad(c.op = S3_COMMIT_COPY; c.source_bucket = slice(record_bytes, 256);
        c.source_key = text("k"));
    bad(c.op = S3_COMMIT_COPY; c.source_bucket = text("b");
        c.source_key = slice(record_bytes, 1025));

    good(c.op = S3_COMMIT_CREATE_UPLOAD);
    bad(c.op = S3_COMMIT_CREATE_UPLOAD; c.key.len = 0);
    good(c.op = S3_COMMIT_ABORT);
    bad(c.op = S3_COMMIT_ABORT; c.bucket.len = 0);

    good(c.op = S3_COMMIT_PART; c.number = 1);
    good(c.op = S3_COMMIT_PART; c.number = S3_PARTS_MAX);
    good(c.op = S3_COMMIT_PART; c.number = 1; c.size = 0; c.geometry.k = 0);
    bad(c.op = S3_COMMIT_PART);
    bad(c.op = S3_COMMIT_PART; c.number = S3_PARTS_MAX + 1);
    bad(c.op = S3_COMMIT_PART; c.number = 1; c.is_inline = 1; c.size = 0);
    bad(c.op = S3_COMMIT_PART; c.number = 1; c.size = S3_EXTENT_MAX + 1);
    bad(c.op = S3_COMMIT_PART; c.number = 1; c.geometry.k = 0);
    bad(c.op = S3_COMMIT_PART; c.number = 1; c.mask = 0x10);
    bad(c.op = S3_COMMIT_PART; c.number = 1; c.key.len = 0);

    s3_buf_free(&refs);

    for (i = 1; i <= S3_PARTS_MAX; i++) {
        s3_write_part_ref(&refs, i, record_bytes + i);
    }

    good(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, refs.len);
         c.result = slice(record_bytes, S3_RESULT_MAX));
    assert_slice(out.parts, c.parts);
    assert_slice(out.result, c.result);
    assert_true(b.len + S3_PROTO_HEADER < S3_PROTO_MAX_QUESTION);

    /* with everything else as long as it may be, it is still a message */

    good(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, refs.len);
         c.result = slice(record_bytes, S3_RESULT_MAX);
         c.meta = slice(record_bytes, S3_META_MAX);
         c.attrs = slice(record_bytes, S3_ATTRS_MAX);
         c.key = slice(record_bytes, S3_KEY_MAX);
         c.checksum = slice(record_bytes, S3_CHECKSUM_MAX));
    assert_true(b.len + S3_PROTO_HEADER < S3_PROTO_MAX_QUESTION);

    bad(c.op = S3_COMMIT_COMPLETE);
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, 19));
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, 21));
    good(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data + 20, 20));
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, 20);
        c.result = slice(record_bytes, S3_RESULT_MAX + 1));
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, 20);
        c.key.len = 0);

    s3_write_part_ref(&refs, 10001, record_bytes);
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, refs.len));
    bad(c.op = S3_COMMIT_COMPLETE;
        c.parts = slice(refs.data + S3_PARTS_MAX * 20, 20));
    refs.len = 0;
    s3_write_part_ref(&refs, 0, record_bytes);
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, refs.len));
    refs.len = 0;
    s3_write_part_ref(&refs, 2, record_bytes);
    s3_write_part_ref(&refs, 2, record_bytes);
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, refs.len));
    refs.len = 20;
    s3_write_part_ref(&refs, 1, record_bytes);
    bad(c.op = S3_COMMIT_COMPLETE; c.parts = slice(refs.data, refs.len));

    s3_buf_free(&refs);

#undef good
#undef bad

    s3_buf_free(&b);
}


static void
verdicts(void **state)
{
    s3_buf_t      b;
    s3_reader_t   r;
    s3_verdict_t  in, out;

    memset(&b, 0, sizeof(b));

    in.status = S3_STORE_PRECONDITION_FAILED;
    in.mtime = -1;
    s3_write_verdict(&b, &in);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "\2\5\xff\xff\xff\xff\xff\xff\xff\xff", 10);

    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_verdict(&r, &out), 0);
    assert_int_equal(out.status, in.status);
    assert_int_equal(out.mtime, -1);

    b.data[1] = S3_STORE_LAST;
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_verdict(&r, &out), EBADMSG);

    b.data[1] = 0;
    b.data[0] = 1;
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_verdict(&r, &out), EBADMSG);

    s3_buf_free(&b);
}


/* --- objects --- */

static void
objects(void **state)
{
    uint32_t      i;
    s3_buf_t      b;
    s3_object_t   in, out;
    s3_extent_t  *e;

    memset(&b, 0, sizeof(b));
    e = calloc(S3_PARTS_MAX + 1, sizeof(s3_extent_t));

    sample_object(&in, e, 3);
    assert_int_equal(object_through(&in, &out, &b), 0);
    assert_int_equal(out.size, 15000003);
    assert_int_equal(out.mtime, 1700000000123);
    assert_slice(out.etag, in.etag);
    assert_slice(out.meta, in.meta);
    assert_slice(out.checksum, in.checksum);
    assert_slice(out.attrs, in.attrs);
    assert_memory_equal(out.data_id, in.data_id, 16);
    assert_int_equal(out.nextents, 3);

    for (i = 0; i < 3; i++) {
        assert_memory_equal(out.extents[i].shard_id, e[i].shard_id, 16);
        assert_memory_equal(out.extents[i].session, e[i].session, 16);
        assert_int_equal(out.extents[i].number, i + 1);
        assert_int_equal(out.extents[i].offset, e[i].offset);
        assert_int_equal(out.extents[i].size, e[i].size);
        assert_int_equal(out.extents[i].mask, e[i].mask);
        assert_int_equal(out.extents[i].geometry.k, 2);
        assert_int_equal(out.extents[i].geometry.m, 2);
        assert_int_equal(out.extents[i].geometry.unit, 524288);
    }

    s3_object_free(&out);
    assert_null(out.extents);
    s3_object_free(&out);

    sample_object(&in, e, S3_PARTS_MAX);
    assert_int_equal(object_through(&in, &out, &b), 0);
    assert_int_equal(out.nextents, S3_PARTS_MAX);
    s3_object_free(&out);

    sample_object(&in, e, S3_PARTS_MAX + 1);
    assert_int_equal(object_through(&in, &out, &b), EBADMSG);
    assert_null(out.extents);

    /* empty, and inline */

    sample_object(&in, e, 0);
    assert_int_equal(object_through(&in, &out, &b), 0);
    assert_null(out.extents);

    in.is_inline = 1;
    in.size = 100;
    in.data = slice(record_bytes, 100);
    assert_int_equal(object_through(&in, &out, &b), 0);
    assert_slice(out.data, in.data);

    in.size = 101;
    assert_int_equal(object_through(&in, &out, &b), EBADMSG);

#define bad(set)                                                              \
    sample_object(&in, e, 3);                                                 \
    set;                                                                      \
    assert_int_equal(object_through(&in, &out, &b), EBADMSG);                 \
    assert_null(out.extents);                                                 \
    assert_int_equal(out.nextents, 0)

    bad(in.is_inline = 1);
    bad(in.data = slice(record_bytes, 1));
    bad(in.size++);
    bad(in.size = 0);
    bad(in.etag.len = 17);
    bad(in.meta.len = S3_META_MAX + 1);
    bad(e[0].offset = 1);
    bad(e[1].offset--);
    bad(e[2].size = 0);
    bad(e[2].size = S3_EXTENT_MAX + 1);
    bad(e[1].geometry.k = 1);
    bad(e[1].geometry.m = 40);
    bad(e[2].mask = 0x1f);
    bad(e[2].mask = 1ULL << 63);

#undef bad

    s3_buf_free(&b);
    free(e);
}


/* a count is held against the bytes there are before memory is taken */

static void
counts_that_lie(void **state)
{
    size_t          at;
    s3_buf_t        b;
    s3_object_t     o;
    s3_reader_t     r;
    s3_list_page_t  p;

    memset(&b, 0, sizeof(b));
    memset(&o, 0, sizeof(o));
    s3_write_object(&b, &o);
    at = b.len - 4;
    b.data[at] = 0x10;
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_object(&r, &o), EBADMSG);
    s3_buf_free(&b);

    memset(&p, 0, sizeof(p));
    s3_write_list_page(&b, &p);
    at = b.len - 4;
    b.data[at] = 1;
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_list_page(&r, &p), EBADMSG);
    assert_null(p.entries);
    s3_buf_free(&b);
}


/* --- buckets and lists --- */

static void
buckets(void **state)
{
    s3_buf_t     b;
    s3_bucket_t  in, out;
    s3_reader_t  r;

    memset(&b, 0, sizeof(b));

    in.name = text("a-bucket");
    in.created = 1700000000000;
    in.config = slice(record_bytes, S3_ATTRS_MAX);
    s3_write_bucket(&b, &in);

    /* two, one after the other */

    in.config.len = 0;
    s3_write_bucket(&b, &in);

    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_bucket(&r, &out), 0);
    assert_slice(out.name, in.name);
    assert_int_equal(out.created, in.created);
    assert_int_equal(out.config.len, S3_ATTRS_MAX);
    assert_int_equal(s3_read_bucket(&r, &out), 0);
    assert_int_equal(out.config.len, 0);
    assert_true(r.pos == r.last);
    assert_int_equal(s3_read_bucket(&r, &out), EBADMSG);
    s3_buf_free(&b);

    in.name.len = 0;
    s3_write_bucket(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_bucket(&r, &out), EBADMSG);
    s3_buf_free(&b);

    in.name = text("b");
    in.config = slice(record_bytes, S3_ATTRS_MAX + 1);
    s3_write_bucket(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_bucket(&r, &out), EBADMSG);
    s3_buf_free(&b);
}


static int
query_through(const s3_list_query_t *in, s3_list_query_t *out, s3_buf_t *b)
{
    s3_reader_t  r;

    s3_buf_free(b);
    s3_write_list_query(b, in);
    s3_reader_init(&r, b->data, b->len);

    return s3_read_list_query(&r, out);
}


static void
list_queries(void **state)
{
    s3_buf_t         b;
    s3_list_query_t  in, out;

    memset(&b, 0, sizeof(b));

    in.bucket = text("bucket");
    in.prefix = slice(record_bytes, 1024);
    in.delimiter = text("/");
    in.after = slice(record_bytes, 1024);
    in.max = S3_LIST_MAX;

    assert_int_equal(query_through(&in, &out, &b), 0);
    assert_slice(out.bucket, in.bucket);
    assert_slice(out.prefix, in.prefix);
    assert_slice(out.delimiter, in.delimiter);
    assert_slice(out.after, in.after);
    assert_int_equal(out.max, 1000);

    in.max = 1001;
    assert_int_equal(query_through(&in, &out, &b), EBADMSG);
    in.max = 0;
    assert_int_equal(query_through(&in, &out, &b), 0);
    in.prefix.len = 1025;
    assert_int_equal(query_through(&in, &out, &b), EBADMSG);
    in.prefix.len = 0;
    in.after.len = 1025;
    assert_int_equal(query_through(&in, &out, &b), EBADMSG);
    in.after.len = 0;
    in.delimiter = slice(record_bytes, 1025);
    assert_int_equal(query_through(&in, &out, &b), EBADMSG);
    in.delimiter.len = 0;
    in.bucket.len = 0;
    assert_int_equal(query_through(&in, &out, &b), EBADMSG);

    s3_buf_free(&b);
}


static void
list_pages(void **state)
{
    uint32_t          i;
    s3_buf_t          b;
    s3_reader_t       r;
    s3_list_page_t    in, out;
    s3_list_entry_t  *e;

    memset(&b, 0, sizeof(b));
    e = calloc(S3_LIST_MAX + 1, sizeof(s3_list_entry_t));

    in.truncated = 1;
    in.next = text("key/");
    in.nentries = S3_LIST_MAX;
    in.entries = e;

    for (i = 0; i <= S3_LIST_MAX; i++) {
        e[i].is_prefix = i % 2;
        e[i].key = slice(record_bytes + i, 1 + i);
        e[i].size = i * 3;
        e[i].mtime = i * 5;
        e[i].etag = slice(record_bytes, i % 2 ? 0 : 16);
        e[i].checksum = slice(record_bytes, i % 7);
    }

    s3_write_list_page(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_list_page(&r, &out), 0);
    assert_true(r.pos == r.last);
    assert_int_equal(out.truncated, 1);
    assert_slice(out.next, in.next);
    assert_int_equal(out.nentries, S3_LIST_MAX);

    for (i = 0; i < S3_LIST_MAX; i++) {
        assert_int_equal(out.entries[i].is_prefix, e[i].is_prefix);
        assert_slice(out.entries[i].key, e[i].key);
        assert_int_equal(out.entries[i].size, e[i].size);
        assert_int_equal(out.entries[i].mtime, e[i].mtime);
        assert_slice(out.entries[i].etag, e[i].etag);
        assert_slice(out.entries[i].checksum, e[i].checksum);
    }

    free(out.entries);
    s3_buf_free(&b);

    in.nentries = S3_LIST_MAX + 1;
    s3_write_list_page(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_list_page(&r, &out), EBADMSG);
    assert_null(out.entries);
    s3_buf_free(&b);

    in.nentries = 2;
    e[1].key = slice(record_bytes, S3_KEY_MAX + 1);
    s3_write_list_page(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_list_page(&r, &out), EBADMSG);
    assert_null(out.entries);
    assert_int_equal(out.nentries, 0);
    s3_buf_free(&b);

    free(e);
}


static void
status_texts(void **state)
{
    int  i, j;

    for (i = 0; i < S3_STORE_LAST; i++) {
        for (j = 0; j < i; j++) {
            assert_string_not_equal(s3_store_status_text(i),
                                    s3_store_status_text(j));
        }

        assert_string_not_equal(s3_store_status_text(i),
                                s3_store_status_text(-1));
    }
}


/* --- cut and damaged --- */

typedef int (*record_read_pt)(s3_reader_t *r);


static int
read_commit(s3_reader_t *r)
{
    s3_commit_t  c;

    return s3_read_commit(r, &c);
}


static int
read_object(s3_reader_t *r)
{
    int          rc;
    s3_object_t  o;

    rc = s3_read_object(r, &o);

    /* nothing to free after an error: asan's leak check */

    if (rc == 0) {
        s3_object_free(&o);
    }

    return rc;
}


static int
read_query(s3_reader_t *r)
{
    s3_list_query_t  q;

    return s3_read_list_query(r, &q);
}


static int
read_page(s3_reader_t *r)
{
    int             rc;
    s3_list_page_t  p;

    rc = s3_read_list_page(r, &p);

    if (rc == 0) {
        free(p.entries);
    }

    return rc;
}


/* --- multipart uploads --- */

static s3_multipart_t
sample_upload(void)
{
    s3_multipart_t  u;

    memset(&u, 0, sizeof(u));
    u.key = text("dir/key");
    s3_test_fill(u.upload_id, 16, 5);
    u.initiated = 1700000000123;
    u.checksum = slice(record_bytes, 10);
    u.attrs = slice(record_bytes, 20);
    u.meta = slice(record_bytes, 30);

    return u;
}


static void
upload_same(const s3_multipart_t *a, const s3_multipart_t *b)
{
    assert_slice(a->key, b->key);
    assert_memory_equal(a->upload_id, b->upload_id, 16);
    assert_int_equal(a->completed, b->completed);
    assert_int_equal(a->initiated, b->initiated);
    assert_slice(a->checksum, b->checksum);
    assert_slice(a->attrs, b->attrs);
    assert_slice(a->meta, b->meta);
    assert_slice(a->result, b->result);
}


static void
part_pages(void **state)
{
    uint32_t          i;
    s3_buf_t          b;
    s3_part_t        *parts;
    s3_reader_t       r;
    s3_part_page_t    in, out;
    s3_part_query_t   q, qout;

    memset(&b, 0, sizeof(b));
    memset(&q, 0, sizeof(q));

#define through(result)                                                       \
    s3_buf_free(&b);                                                          \
    s3_write_part_query(&b, &q);                                              \
    s3_reader_init(&r, b.data, b.len);                                        \
    assert_int_equal(s3_read_part_query(&r, &qout), result)

    q.bucket = text("bucket");
    q.key = text("key");
    q.of_object = 1;
    s3_test_fill(q.upload_id, 16, 6);
    q.after = 17;
    q.max = S3_PARTS_MAX;
    through(0);
    assert_true(r.pos == r.last);
    assert_slice(qout.bucket, q.bucket);
    assert_slice(qout.key, q.key);
    assert_int_equal(qout.of_object, 1);
    assert_memory_equal(qout.upload_id, q.upload_id, 16);
    assert_int_equal(qout.after, 17);
    assert_int_equal(qout.max, S3_PARTS_MAX);
    q.max = S3_PARTS_MAX + 1;
    through(EBADMSG);
    q.max = 0;
    through(0);
    q.key.len = 0;
    through(EBADMSG);
    q.key = text("key");
    q.bucket.len = 0;
    through(EBADMSG);

#undef through

    parts = calloc(S3_PARTS_MAX + 1, sizeof(s3_part_t));

    memset(&in, 0, sizeof(in));
    in.upload = sample_upload();
    in.upload.completed = 1;
    in.upload.result = slice(record_bytes, S3_RESULT_MAX);
    in.truncated = 1;
    in.nparts = S3_PARTS_MAX;
    in.parts = parts;

    for (i = 0; i <= S3_PARTS_MAX; i++) {
        parts[i].number = i + 1;
        s3_test_fill(parts[i].shard_id, 16, i);
        parts[i].size = i;
        parts[i].mtime = 1700000000000 + i;
        parts[i].etag = slice(record_bytes + i, 16);
        parts[i].checksum = slice(record_bytes + i, S3_CHECKSUM_MAX);
    }

    s3_buf_free(&b);
    s3_write_part_page(&b, &in);
    assert_true(b.len + S3_PROTO_HEADER < S3_PROTO_MAX_ANSWER);

    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_part_page(&r, &out), 0);
    assert_true(r.pos == r.last);
    upload_same(&in.upload, &out.upload);
    assert_int_equal(out.truncated, 1);
    assert_int_equal(out.nparts, S3_PARTS_MAX);

    for (i = 0; i < S3_PARTS_MAX; i++) {
        assert_int_equal(out.parts[i].number, i + 1);
        assert_memory_equal(out.parts[i].shard_id, parts[i].shard_id, 16);
        assert_int_equal(out.parts[i].size, i);
        assert_int_equal(out.parts[i].mtime, parts[i].mtime);
        assert_slice(out.parts[i].etag, parts[i].etag);
        assert_slice(out.parts[i].checksum, parts[i].checksum);
    }

    free(out.parts);

#define bad(set)                                                              \
    set;                                                                      \
    s3_buf_free(&b);                                                          \
    s3_write_part_page(&b, &in);                                              \
    s3_reader_init(&r, b.data, b.len);                                        \
    assert_int_equal(s3_read_part_page(&r, &out), EBADMSG);                   \
    assert_null(out.parts);                                                   \
    assert_int_equal(out.nparts, 0)

    bad(in.nparts = S3_PARTS_MAX + 1);
    in.nparts = 3;
    bad(parts[2].number = 2);
    bad(parts[2].number = S3_PARTS_MAX + 1);
    bad(parts[2].number = 3; parts[0].number = 0);
    bad(parts[0].number = 1; parts[1].size = S3_EXTENT_MAX + 1);
    bad(parts[1].size = 0; parts[1].etag.len = 15);
    parts[1].etag.len = 16;
    bad(in.upload.completed = 2);
    bad(in.upload.completed = 0;
        in.upload.result = slice(record_bytes, S3_RESULT_MAX + 1));

#undef bad

    free(parts);
    s3_buf_free(&b);
}


static void
upload_pages(void **state)
{
    uint32_t             i;
    s3_buf_t             b;
    s3_reader_t          r;
    s3_upload_page_t     in, out;
    s3_upload_query_t    q, qout;
    s3_upload_entry_t   *e;

    memset(&b, 0, sizeof(b));
    memset(&q, 0, sizeof(q));

#define through(result)                                                       \
    s3_buf_free(&b);                                                          \
    s3_write_upload_query(&b, &q);                                            \
    s3_reader_init(&r, b.data, b.len);                                        \
    assert_int_equal(s3_read_upload_query(&r, &qout), result)

    q.bucket = text("bucket");
    q.prefix = slice(record_bytes, 1024);
    q.delimiter = text("/");
    q.after = slice(record_bytes, 1024);
    q.after_upload = 1;
    s3_test_fill(q.after_id, 16, 6);
    q.max = S3_LIST_MAX;
    through(0);
    assert_true(r.pos == r.last);
    assert_slice(qout.bucket, q.bucket);
    assert_slice(qout.prefix, q.prefix);
    assert_slice(qout.delimiter, q.delimiter);
    assert_slice(qout.after, q.after);
    assert_int_equal(qout.after_upload, 1);
    assert_memory_equal(qout.after_id, q.after_id, 16);
    assert_int_equal(qout.max, S3_LIST_MAX);
    q.max = S3_LIST_MAX + 1;
    through(EBADMSG);
    q.max = 0;
    q.after_upload = 2;
    through(EBADMSG);
    q.after_upload = 0;
    q.after = slice(record_bytes, 1025);
    through(EBADMSG);
    q.after.len = 0;
    q.bucket.len = 0;
    through(EBADMSG);

#undef through

    e = calloc(S3_LIST_MAX + 1, sizeof(s3_upload_entry_t));

    memset(&in, 0, sizeof(in));
    in.truncated = 1;
    in.next = text("dir/key");
    s3_test_fill(in.next_id, 16, 7);
    in.nentries = S3_LIST_MAX;
    in.entries = e;

    for (i = 0; i <= S3_LIST_MAX; i++) {
        e[i].is_prefix = i % 2;
        e[i].upload = sample_upload();
        e[i].upload.key = slice(record_bytes + i, S3_KEY_MAX);
        e[i].upload.initiated = i;
    }

    s3_buf_free(&b);
    s3_write_upload_page(&b, &in);
    assert_true(b.len + S3_PROTO_HEADER < S3_PROTO_MAX_ANSWER);

    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_upload_page(&r, &out), 0);
    assert_true(r.pos == r.last);
    assert_int_equal(out.truncated, 1);
    assert_slice(out.next, in.next);
    assert_memory_equal(out.next_id, in.next_id, 16);
    assert_int_equal(out.nentries, S3_LIST_MAX);

    for (i = 0; i < S3_LIST_MAX; i++) {
        assert_int_equal(out.entries[i].is_prefix, i % 2);
        upload_same(&out.entries[i].upload, &e[i].upload);
    }

    free(out.entries);

    in.nentries = S3_LIST_MAX + 1;
    s3_buf_free(&b);
    s3_write_upload_page(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_upload_page(&r, &out), EBADMSG);
    assert_null(out.entries);

    in.nentries = 2;
    e[1].upload.key = slice(record_bytes, S3_KEY_MAX + 1);
    s3_buf_free(&b);
    s3_write_upload_page(&b, &in);
    s3_reader_init(&r, b.data, b.len);
    assert_int_equal(s3_read_upload_page(&r, &out), EBADMSG);
    assert_null(out.entries);
    assert_int_equal(out.nentries, 0);

    free(e);
    s3_buf_free(&b);
}


static int
read_parts(s3_reader_t *r)
{
    int             rc;
    s3_part_page_t  p;

    rc = s3_read_part_page(r, &p);

    if (rc == 0) {
        free(p.parts);
    }

    return rc;
}


static int
read_uploads(s3_reader_t *r)
{
    int               rc;
    s3_upload_page_t  p;

    rc = s3_read_upload_page(r, &p);

    if (rc == 0) {
        free(p.entries);
    }

    return rc;
}


static void
cut_and_damage(record_read_pt read, const s3_buf_t *b)
{
    size_t       i, len;
    uint8_t     *copy;
    unsigned     round, n;
    uint32_t     random[64];
    s3_reader_t  r;

    /* every shorter length, in memory of just that size */

    for (len = 0; len < b->len; len++) {
        copy = malloc(len ? len : 1);
        memcpy(copy, b->data, len);
        s3_reader_init(&r, copy, len);
        assert_int_equal(read(&r), EBADMSG);
        free(copy);
    }

    copy = malloc(b->len);

    for (round = 0; round < 20000; round++) {
        s3_test_fill(random, sizeof(random), round);
        memcpy(copy, b->data, b->len);
        n = 1 + random[0] % 16;

        for (i = 1; i <= n; i++) {
            copy[random[i] % b->len] = (uint8_t) random[i + 20];
        }

        s3_reader_init(&r, copy, b->len);
        (void) read(&r);
        assert_true(r.pos <= r.last);
    }

    free(copy);
}


static void
damaged(void **state)
{
    uint32_t         i;
    s3_buf_t         b;
    s3_commit_t      c;
    s3_extent_t      e[3];
    s3_object_t      o;
    s3_list_page_t   p;
    s3_list_query_t  q;
    s3_list_entry_t  entries[5];
    s3_part_t          part[5];
    s3_part_page_t     parts;
    s3_upload_page_t   uploads;
    s3_upload_entry_t  upload[5];

    memset(&b, 0, sizeof(b));

    sample_put(&c);
    s3_write_commit(&b, &c);
    cut_and_damage(read_commit, &b);
    s3_buf_free(&b);

    sample_object(&o, e, 3);
    s3_write_object(&b, &o);
    cut_and_damage(read_object, &b);
    s3_buf_free(&b);

    q.bucket = text("bucket");
    q.prefix = text("prefix/");
    q.delimiter = text("/");
    q.after = text("prefix/key");
    q.max = 100;
    s3_write_list_query(&b, &q);
    cut_and_damage(read_query, &b);
    s3_buf_free(&b);

    memset(entries, 0, sizeof(entries));

    for (i = 0; i < 5; i++) {
        entries[i].key = slice(record_bytes, 10 + i);
        entries[i].etag = slice(record_bytes, 16);
    }

    p.truncated = 1;
    p.next = text("next");
    p.nentries = 5;
    p.entries = entries;
    s3_write_list_page(&b, &p);
    cut_and_damage(read_page, &b);
    s3_buf_free(&b);

    memset(&parts, 0, sizeof(parts));
    memset(part, 0, sizeof(part));
    parts.upload = sample_upload();
    parts.nparts = 5;
    parts.parts = part;

    for (i = 0; i < 5; i++) {
        part[i].number = 1 + i;
        part[i].etag = slice(record_bytes, 16);
        part[i].checksum = slice(record_bytes, 8);
    }

    s3_write_part_page(&b, &parts);
    cut_and_damage(read_parts, &b);
    s3_buf_free(&b);

    memset(&uploads, 0, sizeof(uploads));
    memset(upload, 0, sizeof(upload));
    uploads.next = text("next");
    uploads.nentries = 5;
    uploads.entries = upload;

    for (i = 0; i < 5; i++) {
        upload[i].upload = sample_upload();
    }

    s3_write_upload_page(&b, &uploads);
    cut_and_damage(read_uploads, &b);
    s3_buf_free(&b);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers),
        cmocka_unit_test(buffer_bounds),
        cmocka_unit_test(commits),
        cmocka_unit_test(commit_bounds),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(objects),
        cmocka_unit_test(counts_that_lie),
        cmocka_unit_test(buckets),
        cmocka_unit_test(list_queries),
        cmocka_unit_test(list_pages),
        cmocka_unit_test(part_pages),
        cmocka_unit_test(upload_pages),
        cmocka_unit_test(status_texts),
        cmocka_unit_test(damaged),
    };

    s3_test_fill(record_bytes, sizeof(record_bytes), 99);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
