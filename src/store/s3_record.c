
/*
 * Encodings of records.  Integers are little endian; "slice" is a u32 length
 * and as many bytes.  The first byte is the version of the encoding, 1:
 * records stand in messages between processes of which one may be older
 * (a binary upgrade).
 *
 *   commit      u8 1 | u8 op | u8 conditions | session 16 | u64 request |
 *               u64 acked | slice bucket | slice key | slice if_match |
 *               u64 size | slice etag | slice meta | slice checksum |
 *               slice attrs | u8 is_inline | slice data | shard_id 16 |
 *               u64 mask | u64 generation | geometry
 *
 *   verdict     u8 1 | u8 status | u64 mtime
 *
 *   object      u8 1 | u64 size | u64 mtime | slice etag | slice meta |
 *               slice checksum | slice attrs | data_id 16 | u8 is_inline |
 *               slice data | u32 nextents | nextents * extent
 *
 *   extent      shard_id 16 | session 16 | u64 offset | u64 size |
 *               u64 mask | geometry
 *
 *   geometry    u8 k | u8 m | u32 unit
 *
 *   bucket      u8 1 | slice name | u64 created | slice config
 *
 *   list query  u8 1 | slice bucket | slice prefix | slice delimiter |
 *               slice after | u32 max
 *
 *   list page   u8 1 | u8 truncated | slice next | u32 nentries |
 *               nentries * entry
 *
 *   list entry  u8 is_prefix | slice key | u64 size | u64 mtime |
 *               slice etag | slice checksum
 */


#include "s3_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define S3_RECORD_VERSION   1

/* the encoding's bytes with all slices empty: what a count is held against
 * before memory is allocated for it */
#define S3_EXTENT_LEN       (16 + 16 + 8 + 8 + 8 + 6)
#define S3_LIST_ENTRY_LEN   (1 + 4 + 8 + 8 + 4 + 4)


static void s3_write_geometry(s3_buf_t *b, const s3_geometry_t *g);
static void s3_read_geometry(s3_reader_t *r, s3_geometry_t *g);
static void s3_write_slice(s3_buf_t *b, const s3_slice_t *s);
static s3_slice_t s3_read_bounded(s3_reader_t *r, size_t max);
static s3_slice_t s3_read_etag(s3_reader_t *r);
static uint8_t s3_read_flag(s3_reader_t *r);
static void s3_read_version(s3_reader_t *r);
static int s3_mask_valid(uint64_t mask, const s3_geometry_t *g);


const char *
s3_store_status_text(int status)
{
    switch (status) {

    case S3_STORE_OK:
        return "ok";

    case S3_STORE_NO_SUCH_BUCKET:
        return "no such bucket";

    case S3_STORE_NO_SUCH_KEY:
        return "no such key";

    case S3_STORE_BUCKET_EXISTS:
        return "bucket exists";

    case S3_STORE_BUCKET_NOT_EMPTY:
        return "bucket not empty";

    case S3_STORE_PRECONDITION_FAILED:
        return "precondition failed";

    case S3_STORE_CONFLICT:
        return "conflict";

    case S3_STORE_UNKNOWN:
        return "unknown commit";

    case S3_STORE_READ_ONLY:
        return "read only";

    case S3_STORE_UNAVAILABLE:
        return "unavailable";

    case S3_STORE_BUSY:
        return "busy";

    case S3_STORE_NO_SPACE:
        return "no space";

    case S3_STORE_SHARDS_MISSING:
        return "shards missing";

    case S3_STORE_BAD_REQUEST:
        return "bad request";

    case S3_STORE_DAMAGED:
        return "damaged";

    case S3_STORE_UNDECIDED:
        return "undecided";

    case S3_STORE_ERROR:
        return "error";

    case S3_STORE_NO_SUCH_UPLOAD:
        return "no such upload";

    default:
        return "no such status";
    }
}


void
s3_object_free(s3_object_t *o)
{
    free(o->extents);

    o->extents = NULL;
    o->nextents = 0;
}


void
s3_write_commit(s3_buf_t *b, const s3_commit_t *c)
{
    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_buf_u8(b, c->op);
    s3_buf_u8(b, c->conditions);
    s3_buf_bytes(b, c->session, 16);
    s3_buf_u64(b, c->request);
    s3_buf_u64(b, c->acked);
    s3_write_slice(b, &c->bucket);
    s3_write_slice(b, &c->key);
    s3_write_slice(b, &c->if_match);
    s3_buf_u64(b, c->size);
    s3_write_slice(b, &c->etag);
    s3_write_slice(b, &c->meta);
    s3_write_slice(b, &c->checksum);
    s3_write_slice(b, &c->attrs);
    s3_buf_u8(b, c->is_inline);
    s3_write_slice(b, &c->data);
    s3_buf_bytes(b, c->shard_id, 16);
    s3_buf_u64(b, c->mask);
    s3_buf_u64(b, c->generation);
    s3_write_geometry(b, &c->geometry);
}


int
s3_read_commit(s3_reader_t *r, s3_commit_t *c)
{
    int  ok;

    memset(c, 0, sizeof(s3_commit_t));

    s3_read_version(r);

    c->op = s3_read_u8(r);
    c->conditions = s3_read_u8(r);
    s3_read_bytes(r, c->session, 16);
    c->request = s3_read_u64(r);
    c->acked = s3_read_u64(r);
    c->bucket = s3_read_bounded(r, S3_BUCKET_MAX);
    c->key = s3_read_bounded(r, S3_KEY_MAX);
    c->if_match = s3_read_bounded(r, S3_ETAG_MAX);
    c->size = s3_read_u64(r);
    c->etag = s3_read_etag(r);
    c->meta = s3_read_bounded(r, S3_META_MAX);
    c->checksum = s3_read_bounded(r, S3_CHECKSUM_MAX);
    c->attrs = s3_read_bounded(r, S3_ATTRS_MAX);
    c->is_inline = s3_read_flag(r);
    c->data = s3_read_bounded(r, S3_INLINE_MAX);
    s3_read_bytes(r, c->shard_id, 16);
    c->mask = s3_read_u64(r);
    c->generation = s3_read_u64(r);
    s3_read_geometry(r, &c->geometry);

    if (r->error) {
        return r->error;
    }

    ok = !(c->conditions & ~S3_CONDITIONS)
         && s3_mask_valid(c->mask, NULL);

    switch (c->op) {

    case S3_COMMIT_PUT:
        ok = ok && c->bucket.len && c->key.len && c->size <= S3_EXTENT_MAX;

        if (c->is_inline) {
            ok = ok && c->data.len == c->size;

        } else if (c->size) {
            ok = ok && c->data.len == 0 && s3_geometry_valid(&c->geometry)
                 && s3_mask_valid(c->mask, &c->geometry);

        } else {
            ok = ok && c->data.len == 0;
        }

        break;

    case S3_COMMIT_DELETE:
        ok = ok && c->bucket.len && c->key.len;
        break;

    case S3_COMMIT_CREATE_BUCKET:
    case S3_COMMIT_DELETE_BUCKET:
        ok = ok && c->bucket.len;
        break;

    case S3_COMMIT_GENERATION:
    case S3_COMMIT_SESSION_END:
    case S3_COMMIT_GARBAGE:
    case S3_COMMIT_REPAIRED:
        break;

    default:
        ok = 0;
    }

    if (!ok) {
        r->error = EBADMSG;
    }

    return r->error;
}


void
s3_write_verdict(s3_buf_t *b, const s3_verdict_t *v)
{
    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_buf_u8(b, v->status);
    s3_buf_u64(b, (uint64_t) v->mtime);
}


int
s3_read_verdict(s3_reader_t *r, s3_verdict_t *v)
{
    s3_read_version(r);

    v->status = s3_read_u8(r);
    v->mtime = (int64_t) s3_read_u64(r);

    if (v->status >= S3_STORE_LAST) {
        r->error = EBADMSG;
    }

    return r->error;
}


void
s3_write_object(s3_buf_t *b, const s3_object_t *o)
{
    uint32_t            i;
    const s3_extent_t  *e;

    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_buf_u64(b, o->size);
    s3_buf_u64(b, (uint64_t) o->mtime);
    s3_write_slice(b, &o->etag);
    s3_write_slice(b, &o->meta);
    s3_write_slice(b, &o->checksum);
    s3_write_slice(b, &o->attrs);
    s3_buf_bytes(b, o->data_id, 16);
    s3_buf_u8(b, o->is_inline);
    s3_write_slice(b, &o->data);
    s3_buf_u32(b, o->nextents);

    for (i = 0; i < o->nextents; i++) {
        e = &o->extents[i];

        s3_buf_bytes(b, e->shard_id, 16);
        s3_buf_bytes(b, e->session, 16);
        s3_buf_u64(b, e->offset);
        s3_buf_u64(b, e->size);
        s3_buf_u64(b, e->mask);
        s3_write_geometry(b, &e->geometry);
    }
}


int
s3_read_object(s3_reader_t *r, s3_object_t *o)
{
    uint32_t      i, n;
    uint64_t      size;
    s3_extent_t  *e;

    memset(o, 0, sizeof(s3_object_t));

    s3_read_version(r);

    o->size = s3_read_u64(r);
    o->mtime = (int64_t) s3_read_u64(r);
    o->etag = s3_read_etag(r);
    o->meta = s3_read_bounded(r, S3_META_MAX);
    o->checksum = s3_read_bounded(r, S3_CHECKSUM_MAX);
    o->attrs = s3_read_bounded(r, S3_ATTRS_MAX);
    s3_read_bytes(r, o->data_id, 16);
    o->is_inline = s3_read_flag(r);
    o->data = s3_read_bounded(r, S3_INLINE_MAX);
    n = s3_read_u32(r);

    if (r->error) {
        return r->error;
    }

    if (n > S3_PARTS_MAX
        || (size_t) (r->last - r->pos) / S3_EXTENT_LEN < n
        || (o->is_inline && (n || o->data.len != o->size))
        || (!o->is_inline && o->data.len))
    {
        r->error = EBADMSG;
        return r->error;
    }

    if (n) {
        o->extents = calloc(n, sizeof(s3_extent_t));
        if (o->extents == NULL) {
            return ENOMEM;
        }

        o->nextents = n;
    }

    /* extents cover the object without a hole: whoever seeks in them may
     * rely on it; the sum cannot overflow (S3_PARTS_MAX * S3_EXTENT_MAX) */

    size = 0;

    for (i = 0; i < n; i++) {
        e = &o->extents[i];

        s3_read_bytes(r, e->shard_id, 16);
        s3_read_bytes(r, e->session, 16);
        e->offset = s3_read_u64(r);
        e->size = s3_read_u64(r);
        e->mask = s3_read_u64(r);
        s3_read_geometry(r, &e->geometry);

        if (e->size == 0 || e->size > S3_EXTENT_MAX || e->offset != size
            || !s3_geometry_valid(&e->geometry)
            || !s3_mask_valid(e->mask, &e->geometry))
        {
            r->error = EBADMSG;
            break;
        }

        size += e->size;
    }

    if (!o->is_inline && size != o->size) {
        r->error = EBADMSG;
    }

    if (r->error) {
        s3_object_free(o);
    }

    return r->error;
}


void
s3_write_bucket(s3_buf_t *b, const s3_bucket_t *bucket)
{
    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_write_slice(b, &bucket->name);
    s3_buf_u64(b, (uint64_t) bucket->created);
    s3_write_slice(b, &bucket->config);
}


int
s3_read_bucket(s3_reader_t *r, s3_bucket_t *bucket)
{
    s3_read_version(r);

    bucket->name = s3_read_bounded(r, S3_BUCKET_MAX);
    bucket->created = (int64_t) s3_read_u64(r);
    bucket->config = s3_read_bounded(r, S3_ATTRS_MAX);

    if (bucket->name.len == 0) {
        r->error = EBADMSG;
    }

    return r->error;
}


void
s3_write_list_query(s3_buf_t *b, const s3_list_query_t *q)
{
    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_write_slice(b, &q->bucket);
    s3_write_slice(b, &q->prefix);
    s3_write_slice(b, &q->delimiter);
    s3_write_slice(b, &q->after);
    s3_buf_u32(b, q->max);
}


int
s3_read_list_query(s3_reader_t *r, s3_list_query_t *q)
{
    s3_read_version(r);

    q->bucket = s3_read_bounded(r, S3_BUCKET_MAX);
    q->prefix = s3_read_bounded(r, S3_KEY_MAX);
    q->delimiter = s3_read_bounded(r, S3_KEY_MAX);
    q->after = s3_read_bounded(r, S3_KEY_MAX);
    q->max = s3_read_u32(r);

    if (q->bucket.len == 0 || q->max > S3_LIST_MAX) {
        r->error = EBADMSG;
    }

    return r->error;
}


void
s3_write_list_entry(s3_buf_t *b, const s3_list_entry_t *e)
{
    s3_buf_u8(b, e->is_prefix);
    s3_write_slice(b, &e->key);
    s3_buf_u64(b, e->size);
    s3_buf_u64(b, (uint64_t) e->mtime);
    s3_write_slice(b, &e->etag);
    s3_write_slice(b, &e->checksum);
}


void
s3_write_list_page(s3_buf_t *b, const s3_list_page_t *p)
{
    uint32_t  i;

    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_buf_u8(b, p->truncated);
    s3_write_slice(b, &p->next);
    s3_buf_u32(b, p->nentries);

    for (i = 0; i < p->nentries; i++) {
        s3_write_list_entry(b, &p->entries[i]);
    }
}


int
s3_read_list_page(s3_reader_t *r, s3_list_page_t *p)
{
    uint32_t          i, n;
    s3_list_entry_t  *e;

    memset(p, 0, sizeof(s3_list_page_t));

    s3_read_version(r);

    p->truncated = s3_read_flag(r);
    p->next = s3_read_bounded(r, S3_KEY_MAX);
    n = s3_read_u32(r);

    if (r->error) {
        return r->error;
    }

    if (n > S3_LIST_MAX
        || (size_t) (r->last - r->pos) / S3_LIST_ENTRY_LEN < n)
    {
        r->error = EBADMSG;
        return r->error;
    }

    if (n) {
        p->entries = calloc(n, sizeof(s3_list_entry_t));
        if (p->entries == NULL) {
            return ENOMEM;
        }

        p->nentries = n;
    }

    for (i = 0; i < n; i++) {
        e = &p->entries[i];

        e->is_prefix = s3_read_flag(r);
        e->key = s3_read_bounded(r, S3_KEY_MAX);
        e->size = s3_read_u64(r);
        e->mtime = (int64_t) s3_read_u64(r);
        e->etag = s3_read_etag(r);
        e->checksum = s3_read_bounded(r, S3_CHECKSUM_MAX);
    }

    if (r->error) {
        free(p->entries);
        p->entries = NULL;
        p->nentries = 0;
    }

    return r->error;
}


static void
s3_write_geometry(s3_buf_t *b, const s3_geometry_t *g)
{
    s3_buf_u8(b, g->k);
    s3_buf_u8(b, g->m);
    s3_buf_u32(b, g->unit);
}


static void
s3_read_geometry(s3_reader_t *r, s3_geometry_t *g)
{
    g->k = s3_read_u8(r);
    g->m = s3_read_u8(r);
    g->unit = s3_read_u32(r);
}


static void
s3_write_slice(s3_buf_t *b, const s3_slice_t *s)
{
    s3_buf_slice(b, s->data, s->len);
}


static s3_slice_t
s3_read_bounded(s3_reader_t *r, size_t max)
{
    s3_slice_t  s;

    s = s3_read_slice(r);

    if (s.len > max) {
        r->error = EBADMSG;
        s.len = 0;
    }

    return s;
}


/* none, an MD5, or that of a multipart object with its number of parts */

static s3_slice_t
s3_read_etag(s3_reader_t *r)
{
    s3_slice_t  s;

    s = s3_read_bounded(r, S3_ETAG_MAX);

    if (s.len != 0 && s.len != 16 && s.len != S3_ETAG_MAX) {
        r->error = EBADMSG;
        s.len = 0;
    }

    return s;
}


static uint8_t
s3_read_flag(s3_reader_t *r)
{
    uint8_t  v;

    v = s3_read_u8(r);

    if (v > 1) {
        r->error = EBADMSG;
        return 0;
    }

    return v;
}


static void
s3_read_version(s3_reader_t *r)
{
    if (s3_read_u8(r) != S3_RECORD_VERSION) {
        r->error = EBADMSG;
    }
}


/* g NULL: slots of any set */

static int
s3_mask_valid(uint64_t mask, const s3_geometry_t *g)
{
    unsigned  n;

    n = (g == NULL) ? S3_MAX_DISKS : (unsigned) g->k + g->m;

    return (mask >> n) == 0;
}
