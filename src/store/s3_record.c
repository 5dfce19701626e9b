
/*
 * Encodings of records.  Integers are little endian; "slice" is a u32 length
 * and as many bytes.  The first byte is the version of the encoding, 2:
 * records stand in messages between processes of which one may be older
 * (a binary upgrade).
 *
 *   commit      u8 2 | u8 op | u8 conditions | session 16 | u64 request |
 *               u64 acked | slice bucket | slice key | slice if_match |
 *               u64 size | slice etag | slice meta | slice checksum |
 *               slice attrs | u8 is_inline | slice data | shard_id 16 |
 *               u64 mask | u64 generation | geometry |
 *               slice source_bucket | slice source_key | source 16 |
 *               upload_id 16 | u32 number | slice parts | slice result
 *
 *   parts       any number of: u32 number | shard_id 16
 *
 *   verdict     u8 2 | u8 status | u64 mtime
 *
 *   object      u8 2 | u64 size | u64 mtime | slice etag | slice meta |
 *               slice checksum | slice attrs | data_id 16 | u8 is_inline |
 *               slice data | u32 nextents | nextents * extent
 *
 *   extent      shard_id 16 | session 16 | u32 number | u64 offset |
 *               u64 size | u64 mask | geometry
 *
 *   geometry    u8 k | u8 m | u32 unit
 *
 *   bucket      u8 2 | slice name | u64 created | slice config
 *
 *   list query  u8 2 | slice bucket | slice prefix | slice delimiter |
 *               slice after | u32 max
 *
 *   list page   u8 2 | u8 truncated | slice next | u32 nentries |
 *               nentries * entry
 *
 *   list entry  u8 is_prefix | slice key | u64 size | u64 mtime |
 *               slice etag | slice checksum
 *
 *   part query  u8 2 | slice bucket | slice key | u8 of_object |
 *               upload_id 16 | u32 after | u32 max
 *
 *   part page   u8 2 | upload | u8 truncated | u32 nparts | nparts * part
 *
 *   upload      slice key | upload_id 16 | u8 completed | u64 initiated |
 *               slice checksum | slice attrs | slice meta | slice result
 *
 *   part        u32 number | shard_id 16 | u64 size | u64 mtime |
 *               slice etag | slice checksum
 *
 *   upload query   u8 2 | slice bucket | slice prefix | slice delimiter |
 *               slice after | u8 after_upload | after_id 16 | u32 max
 *
 *   upload page u8 2 | u8 truncated | slice next | next_id 16 |
 *               u32 nentries | nentries * (u8 is_prefix | upload)
 */


#include "s3_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define S3_RECORD_VERSION   2

/* the encoding's bytes with all slices empty: what a count is held against
 * before memory is allocated for it */
#define S3_EXTENT_LEN       (16 + 16 + 4 + 8 + 8 + 8 + 6)
#define S3_LIST_ENTRY_LEN   (1 + 4 + 8 + 8 + 4 + 4)
#define S3_PART_LEN         (4 + 16 + 8 + 8 + 4 + 4)
#define S3_UPLOAD_ENTRY_LEN (1 + 4 + 16 + 1 + 8 + 4 + 4 + 4 + 4)


static void s3_write_geometry(s3_buf_t *b, const s3_geometry_t *g);
static void s3_read_geometry(s3_reader_t *r, s3_geometry_t *g);
static void s3_write_slice(s3_buf_t *b, const s3_slice_t *s);
static s3_slice_t s3_read_bounded(s3_reader_t *r, size_t max);
static s3_slice_t s3_read_etag(s3_reader_t *r);
static uint8_t s3_read_flag(s3_reader_t *r);
static void s3_read_version(s3_reader_t *r);
static int s3_mask_valid(uint64_t mask, const s3_geometry_t *g);
static int s3_shards_valid(const s3_commit_t *c);
static int s3_parts_valid(s3_slice_t parts);
static void s3_write_multipart(s3_buf_t *b, const s3_multipart_t *u);
static void s3_read_multipart(s3_reader_t *r, s3_multipart_t *u);


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

    case S3_STORE_TOO_SLOW:
        return "too slow";

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
    s3_write_slice(b, &c->source_bucket);
    s3_write_slice(b, &c->source_key);
    s3_buf_bytes(b, c->source, 16);
    s3_buf_bytes(b, c->upload_id, 16);
    s3_buf_u32(b, c->number);
    s3_write_slice(b, &c->parts);
    s3_write_slice(b, &c->result);
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
    c->source_bucket = s3_read_bounded(r, S3_BUCKET_MAX);
    c->source_key = s3_read_bounded(r, S3_KEY_MAX);
    s3_read_bytes(r, c->source, 16);
    s3_read_bytes(r, c->upload_id, 16);
    c->number = s3_read_u32(r);
    c->parts = s3_read_bounded(r, S3_PARTS_MAX * S3_PART_REF_LEN);
    c->result = s3_read_bounded(r, S3_RESULT_MAX);

    if (r->error) {
        return r->error;
    }

    ok = !(c->conditions & ~S3_CONDITIONS)
         && s3_mask_valid(c->mask, NULL);

    switch (c->op) {

    case S3_COMMIT_PUT:
        ok = ok && c->bucket.len && c->key.len;

        if (c->is_inline) {
            ok = ok && c->data.len == c->size;

        } else {
            ok = ok && s3_shards_valid(c);
        }

        break;

    case S3_COMMIT_PART:
        ok = ok && c->bucket.len && c->key.len && !c->is_inline
             && c->number >= 1 && c->number <= S3_PARTS_MAX
             && s3_shards_valid(c);
        break;

    case S3_COMMIT_COMPLETE:
        ok = ok && c->bucket.len && c->key.len && s3_parts_valid(c->parts);
        break;

    case S3_COMMIT_COPY:
        ok = ok && c->bucket.len && c->key.len && c->source_bucket.len
             && c->source_key.len;
        break;

    case S3_COMMIT_CREATE_UPLOAD:
    case S3_COMMIT_ABORT:
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
        s3_buf_u32(b, e->number);
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
        e->number = s3_read_u32(r);
        e->offset = s3_read_u64(r);
        e->size = s3_read_u64(r);
        e->mask = s3_read_u64(r);
        s3_read_geometry(r, &e->geometry);

        if (e->size == 0 || e->size > S3_EXTENT_MAX || e->offset != size
            || e->number > S3_PARTS_MAX
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


/* --- multipart uploads --- */


void
s3_write_part_ref(s3_buf_t *b, uint32_t number, const uint8_t shard_id[16])
{
    s3_buf_u32(b, number);
    s3_buf_bytes(b, shard_id, 16);
}


void
s3_write_part_query(s3_buf_t *b, const s3_part_query_t *q)
{
    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_write_slice(b, &q->bucket);
    s3_write_slice(b, &q->key);
    s3_buf_u8(b, q->of_object);
    s3_buf_bytes(b, q->upload_id, 16);
    s3_buf_u32(b, q->after);
    s3_buf_u32(b, q->max);
}


int
s3_read_part_query(s3_reader_t *r, s3_part_query_t *q)
{
    s3_read_version(r);

    q->bucket = s3_read_bounded(r, S3_BUCKET_MAX);
    q->key = s3_read_bounded(r, S3_KEY_MAX);
    q->of_object = s3_read_flag(r);
    s3_read_bytes(r, q->upload_id, 16);
    q->after = s3_read_u32(r);
    q->max = s3_read_u32(r);

    if (q->bucket.len == 0 || q->key.len == 0 || q->max > S3_PARTS_MAX) {
        r->error = EBADMSG;
    }

    return r->error;
}


static void
s3_write_multipart(s3_buf_t *b, const s3_multipart_t *u)
{
    s3_write_slice(b, &u->key);
    s3_buf_bytes(b, u->upload_id, 16);
    s3_buf_u8(b, u->completed);
    s3_buf_u64(b, (uint64_t) u->initiated);
    s3_write_slice(b, &u->checksum);
    s3_write_slice(b, &u->attrs);
    s3_write_slice(b, &u->meta);
    s3_write_slice(b, &u->result);
}


static void
s3_read_multipart(s3_reader_t *r, s3_multipart_t *u)
{
    u->key = s3_read_bounded(r, S3_KEY_MAX);
    s3_read_bytes(r, u->upload_id, 16);
    u->completed = s3_read_flag(r);
    u->initiated = (int64_t) s3_read_u64(r);
    u->checksum = s3_read_bounded(r, S3_CHECKSUM_MAX);
    u->attrs = s3_read_bounded(r, S3_ATTRS_MAX);
    u->meta = s3_read_bounded(r, S3_META_MAX);
    u->result = s3_read_bounded(r, S3_RESULT_MAX);
}


void
s3_write_part_page(s3_buf_t *b, const s3_part_page_t *p)
{
    uint32_t          i;
    const s3_part_t  *part;

    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_write_multipart(b, &p->upload);
    s3_buf_u8(b, p->truncated);
    s3_buf_u32(b, p->nparts);

    for (i = 0; i < p->nparts; i++) {
        part = &p->parts[i];

        s3_buf_u32(b, part->number);
        s3_buf_bytes(b, part->shard_id, 16);
        s3_buf_u64(b, part->size);
        s3_buf_u64(b, (uint64_t) part->mtime);
        s3_write_slice(b, &part->etag);
        s3_write_slice(b, &part->checksum);
    }
}


int
s3_read_part_page(s3_reader_t *r, s3_part_page_t *p)
{
    uint32_t    i, n, last;
    s3_part_t  *part;

    memset(p, 0, sizeof(s3_part_page_t));

    s3_read_version(r);
    s3_read_multipart(r, &p->upload);

    p->truncated = s3_read_flag(r);
    n = s3_read_u32(r);

    if (r->error) {
        return r->error;
    }

    if (n > S3_PARTS_MAX || (size_t) (r->last - r->pos) / S3_PART_LEN < n) {
        r->error = EBADMSG;
        return r->error;
    }

    if (n) {
        p->parts = calloc(n, sizeof(s3_part_t));
        if (p->parts == NULL) {
            return ENOMEM;
        }

        p->nparts = n;
    }

    last = 0;

    for (i = 0; i < n; i++) {
        part = &p->parts[i];

        part->number = s3_read_u32(r);
        s3_read_bytes(r, part->shard_id, 16);
        part->size = s3_read_u64(r);
        part->mtime = (int64_t) s3_read_u64(r);
        part->etag = s3_read_etag(r);
        part->checksum = s3_read_bounded(r, S3_CHECKSUM_MAX);

        if (part->number <= last || part->number > S3_PARTS_MAX
            || part->size > S3_EXTENT_MAX)
        {
            r->error = EBADMSG;
            break;
        }

        last = part->number;
    }

    if (r->error) {
        free(p->parts);
        p->parts = NULL;
        p->nparts = 0;
    }

    return r->error;
}


void
s3_write_upload_query(s3_buf_t *b, const s3_upload_query_t *q)
{
    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_write_slice(b, &q->bucket);
    s3_write_slice(b, &q->prefix);
    s3_write_slice(b, &q->delimiter);
    s3_write_slice(b, &q->after);
    s3_buf_u8(b, q->after_upload);
    s3_buf_bytes(b, q->after_id, 16);
    s3_buf_u32(b, q->max);
}


int
s3_read_upload_query(s3_reader_t *r, s3_upload_query_t *q)
{
    s3_read_version(r);

    q->bucket = s3_read_bounded(r, S3_BUCKET_MAX);
    q->prefix = s3_read_bounded(r, S3_KEY_MAX);
    q->delimiter = s3_read_bounded(r, S3_KEY_MAX);
    q->after = s3_read_bounded(r, S3_KEY_MAX);
    q->after_upload = s3_read_flag(r);
    s3_read_bytes(r, q->after_id, 16);
    q->max = s3_read_u32(r);

    if (q->bucket.len == 0 || q->max > S3_LIST_MAX) {
        r->error = EBADMSG;
    }

    return r->error;
}


void
s3_write_upload_page(s3_buf_t *b, const s3_upload_page_t *p)
{
    uint32_t  i;

    s3_buf_u8(b, S3_RECORD_VERSION);
    s3_buf_u8(b, p->truncated);
    s3_write_slice(b, &p->next);
    s3_buf_bytes(b, p->next_id, 16);
    s3_buf_u32(b, p->nentries);

    for (i = 0; i < p->nentries; i++) {
        s3_buf_u8(b, p->entries[i].is_prefix);
        s3_write_multipart(b, &p->entries[i].upload);
    }
}


int
s3_read_upload_page(s3_reader_t *r, s3_upload_page_t *p)
{
    uint32_t  i, n;

    memset(p, 0, sizeof(s3_upload_page_t));

    s3_read_version(r);

    p->truncated = s3_read_flag(r);
    p->next = s3_read_bounded(r, S3_KEY_MAX);
    s3_read_bytes(r, p->next_id, 16);
    n = s3_read_u32(r);

    if (r->error) {
        return r->error;
    }

    if (n > S3_LIST_MAX
        || (size_t) (r->last - r->pos) / S3_UPLOAD_ENTRY_LEN < n)
    {
        r->error = EBADMSG;
        return r->error;
    }

    if (n) {
        p->entries = calloc(n, sizeof(s3_upload_entry_t));
        if (p->entries == NULL) {
            return ENOMEM;
        }

        p->nentries = n;
    }

    for (i = 0; i < n; i++) {
        p->entries[i].is_prefix = s3_read_flag(r);
        s3_read_multipart(r, &p->entries[i].upload);
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


/* data that is in no message: none, or shards */

static int
s3_shards_valid(const s3_commit_t *c)
{
    if (c->data.len || c->size > S3_EXTENT_MAX) {
        return 0;
    }

    return c->size == 0
           || (s3_geometry_valid(&c->geometry)
               && s3_mask_valid(c->mask, &c->geometry));
}


/* at least one, in ascending order of numbers */

static int
s3_parts_valid(s3_slice_t parts)
{
    uint32_t     last, number;
    uint8_t      shard_id[16];
    s3_reader_t  r;

    if (parts.len == 0 || parts.len % S3_PART_REF_LEN) {
        return 0;
    }

    last = 0;
    s3_reader_init(&r, parts.data, parts.len);

    while (r.pos != r.last) {
        number = s3_read_u32(&r);
        s3_read_bytes(&r, shard_id, 16);

        if (r.error || number <= last || number > S3_PARTS_MAX) {
            return 0;
        }

        last = number;
    }

    return 1;
}
