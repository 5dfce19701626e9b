/*
 * An object's bytes, and what its rows say of them:
 *
 *     object    size, etag, checksum, data_id  ->  data
 *     data      inline: id in "inline";  parts: rows of "part" under the data
 *               id;  neither: one run of shards, whose id the data id is
 *
 *     etag      MD5, 16 of the bytes;  or of the parts' MD5s, and their number
 *     checksum  algorithm 1 | kind 1 | digest [| parts 4, where kind is 1]
 *               kind 0: of the bytes; 1: of the parts' digests
 *
 * docs/format-index.md has the columns.
 */


#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define ST_PROBLEMS_MAX    64          /* kept of one object */


/* a checksum as it stands in a row */

typedef struct {
    unsigned         algorithm;        /* 0: none */
    int              composite;
    const uint8_t   *digest;
    uint32_t         parts;            /* composite: of how many */
} st_checksum_t;


typedef struct {
    st_set_t          *set;
    st_report_t       *report;
    st_sink_pt         sink;           /* or NULL */
    void              *data;

    /* of a part */
    unsigned           number;         /* 0: the object itself */
    st_sums_t          part_sums;
    unsigned           part_want;

    /* of the object */
    st_sums_t          sums;           /* over all bytes */
    unsigned           composite;      /* algorithm */
    EVP_MD_CTX        *etag;           /* over the parts' MD5 */
    st_sums_t          digests;        /* over the parts' digests */
    uint64_t           parts;
    uint64_t           offset;
    int                sink_rc;

    /* of uploads */
    st_part_pt         part;
    void              *part_data;
} st_object_ctx_t;


static int st_object_data(st_object_ctx_t *c, const st_object_t *o);
static int st_object_inline(st_object_ctx_t *c, int64_t id, uint64_t size);
static int st_object_run(st_object_ctx_t *c, const st_run_t *run);
static int st_object_parts(st_object_ctx_t *c, st_bytes_t data_id,
    uint64_t parts);
static int st_object_part_row(void *data, sqlite3_stmt *stmt);
static int st_part_read(st_object_ctx_t *c, sqlite3_stmt *stmt);
static int st_upload_part_row(void *data, sqlite3_stmt *stmt);
static int st_object_sink(void *data, const uint8_t *p, size_t n);
static int st_object_sums(st_object_ctx_t *c, const st_object_t *o,
    const st_checksum_t *checksum);
static int st_checksum_next(st_bytes_t *rest, st_checksum_t *checksum);
static void st_problem_add(st_object_ctx_t *c, json_t *problem);
static int st_lost(st_object_ctx_t *c, const char *text);
static void st_wrong(st_object_ctx_t *c, const char *text);
static int st_objects_row(void *data, sqlite3_stmt *stmt);


static const char *const  st_verdicts[] = {
    [ST_WHOLE] = "whole",
    [ST_SHORT] = "short",
    [ST_GONE] = "lost"
};


const char *
st_verdict_name(st_verdict_e verdict)
{
    return st_verdicts[verdict];
}


void
st_report_init(st_report_t *report)
{
    memset(report, 0, sizeof(st_report_t));
}


void
st_report_free(st_report_t *report)
{
    json_decref(report->problems);
    report->problems = NULL;
}


/* ---- problems */


static void
st_problem_add(st_object_ctx_t *c, json_t *problem)
{
    if (problem == NULL) {
        st_no_memory();
    }

    if (c->number) {
        st_json_set(problem, "part", json_integer(c->number));
    }

    if (c->report->problems == NULL) {
        c->report->problems = json_array();
    }

    if (json_array_size(c->report->problems) >= ST_PROBLEMS_MAX) {
        c->report->more++;
        json_decref(problem);
        return;
    }

    if (json_array_append_new(c->report->problems, problem) != 0) {
        st_no_memory();
    }
}


/* what can be read all the same */

static void
st_wrong(st_object_ctx_t *c, const char *text)
{
    if (c->report->verdict == ST_WHOLE) {
        c->report->verdict = ST_SHORT;
    }

    st_problem_add(c, json_pack("{s:s}", "problem", text));
}


static int
st_lost(st_object_ctx_t *c, const char *text)
{
    c->report->verdict = ST_GONE;
    st_problem_add(c, json_pack("{s:s}", "problem", text));

    return -1;
}


char *
st_problem_text(json_t *problem)
{
    char        *text, *disk, part[32], shard[128], block[96];
    json_t      *j;
    const char  *id, *path;

    part[0] = '\0';
    shard[0] = '\0';
    block[0] = '\0';
    disk = NULL;
    path = NULL;

    j = json_object_get(problem, "part");

    if (j) {
        (void) snprintf(part, sizeof(part), "part %lld: ",
                        (long long) json_integer_value(j));
    }

    id = json_string_value(json_object_get(problem, "id"));

    if (id) {
        (void) snprintf(shard, sizeof(shard), "shard %lld, %s, ",
                        (long long) json_integer_value(
                                         json_object_get(problem, "shard")),
                        id);

        path = json_string_value(json_object_get(problem, "disk"));

        if (path == NULL) {
            path = json_string_value(json_object_get(problem, "disk_hex"));
        }

        disk = path ? st_escape(path, strlen(path)) : NULL;
    }

    j = json_object_get(problem, "blocks");

    if (j) {
        (void) snprintf(block, sizeof(block), " (block %lld, %lld in all)",
                        (long long) json_integer_value(
                                         json_object_get(problem, "block")),
                        (long long) json_integer_value(j));
    }

    if (id && disk == NULL
        && asprintf(&disk, "of slot %lld",
                    (long long) json_integer_value(
                                         json_object_get(problem, "slot")))
           == -1)
    {
        st_no_memory();
    }

    if (asprintf(&text, "%s%s%s%s%s%s", part, shard, path ? "on " : "",
                 disk ? disk : "", id ? ": " : "",
                 json_string_value(json_object_get(problem, "problem")))
        == -1)
    {
        st_no_memory();
    }

    free(disk);

    if (block[0]) {
        disk = text;

        if (asprintf(&text, "%s%s", disk, block) == -1) {
            st_no_memory();
        }

        free(disk);
    }

    return text;
}


/* ---- reading */


int
st_object_read(st_set_t *set, const st_object_t *o, st_sink_pt sink,
    void *data, st_report_t *report)
{
    int              want;
    st_bytes_t       rest;
    st_checksum_t    checksum;
    st_object_ctx_t  c;

    memset(&c, 0, sizeof(st_object_ctx_t));

    c.set = set;
    c.report = report;
    c.sink = sink;
    c.data = data;

    if (o->bucket.data == NULL) {
        st_wrong(&c, "its bucket has no row");
    }

    if (o->key.len > ST_KEY_MAX || o->data_id.len != 16
        || (o->etag.len != 16 && o->etag.len != 20))
    {
        (void) st_lost(&c, "its row makes no sense");
        return 0;
    }

    rest = o->checksum;

    if (st_checksum_next(&rest, &checksum) != 0 || rest.len) {
        (void) st_lost(&c, "its row's checksum makes no sense");
        return 0;
    }

    want = o->etag.len == 16 ? 1 << ST_MD5 : 0;

    if (checksum.algorithm && !checksum.composite) {
        want |= 1 << checksum.algorithm;
    }

    st_sums_begin(&c.sums, (unsigned) want);

    if (checksum.composite) {
        c.composite = checksum.algorithm;
        st_sums_begin(&c.digests, 1U << checksum.algorithm);
    }

    c.etag = EVP_MD_CTX_new();

    if (c.etag == NULL || EVP_DigestInit_ex(c.etag, EVP_md5(), NULL) != 1) {
        st_no_memory();
    }

    if (st_object_data(&c, o) == 0) {
        (void) st_object_sums(&c, o, &checksum);
    }

    EVP_MD_CTX_free(c.etag);
    st_sums_end(&c.sums);
    st_sums_end(&c.digests);

    return c.sink_rc;
}


/* 0: its bytes have gone through the sink */

static int
st_object_data(st_object_ctx_t *c, const st_object_t *o)
{
    int64_t        number;
    uint8_t        session[16];
    uint64_t       size, parts;
    st_run_t       run;
    st_bytes_t     b;
    sqlite3_stmt  *stmt;

    stmt = st_row_find(c->set, ST_SQL_DATA, o->data_id, 0);

    if (stmt == NULL) {
        return st_lost(c, "its data has no row");
    }

    b = st_column(stmt, 0);
    memset(session, 0, 16);
    memcpy(session, b.data, b.len == 16 ? 16 : 0);

    run.shard_id = o->data_id;
    run.session.data = session;
    run.session.len = b.len;
    run.size = (uint64_t) sqlite3_column_int64(stmt, 2);
    run.mask = (uint64_t) sqlite3_column_int64(stmt, 3);
    run.geometry = (uint64_t) sqlite3_column_int64(stmt, 4);

    size = run.size;
    parts = (uint64_t) sqlite3_column_int64(stmt, 5);
    number = sqlite3_column_int64(stmt, 6);

    st_row_done(stmt);

    if (size != o->size) {
        return st_lost(c, "its data has another size than its row says");
    }

    if (number) {
        return st_object_inline(c, number, size);
    }

    if (parts) {
        return st_object_parts(c, o->data_id, parts)
               || (c->offset != size
                   && st_lost(c, "its parts do not come to its size")) ? -1
                                                                       : 0;
    }

    return size ? st_object_run(c, &run) : 0;
}


static int
st_object_inline(st_object_ctx_t *c, int64_t id, uint64_t size)
{
    int            rc;
    st_bytes_t     bytes, none;
    sqlite3_stmt  *stmt;

    none.data = NULL;
    none.len = 0;

    stmt = st_row_find(c->set, ST_SQL_INLINE, none, id);

    if (stmt == NULL) {
        return st_lost(c, "its bytes, which stand in the index, have no row");
    }

    bytes = st_column(stmt, 0);
    rc = -1;

    if (bytes.len != size || bytes.len > ST_INLINE_MAX) {
        (void) st_lost(c, "its bytes, which stand in the index, are not as "
                          "many as its row says");

    } else {
        rc = st_object_sink(c, bytes.data, bytes.len);
    }

    st_row_done(stmt);

    return rc;
}


static int
st_object_run(st_object_ctx_t *c, const st_run_t *run)
{
    int           rc;
    char          id[33];
    json_t       *j;
    unsigned      i;
    st_disk_t    *disk;
    st_shard_t   *s;
    st_result_t   result;

    rc = st_run_read(c->set, run, st_object_sink, c, &result);

    if (rc == -1) {
        return -1;
    }

    if (result.invalid) {
        j = json_pack("{s:s, s:s}", "problem", "its row makes no sense",
                      "column", result.invalid);
        c->report->verdict = ST_GONE;
        st_problem_add(c, j);
        return -1;
    }

    if (result.short_of && c->report->verdict == ST_WHOLE) {
        c->report->verdict = ST_SHORT;
    }

    if (result.short_of > c->report->short_of) {
        c->report->short_of = result.short_of;
    }

    st_hex(run->shard_id.data, 16, id);

    for (i = 0; i < result.k + result.m; i++) {
        s = &result.shard[i];

        if (s->fault == ST_FAULT_NONE) {
            continue;
        }

        j = json_pack("{s:s, s:s, s:i, s:i}", "problem",
                      st_fault_name(s->fault), "id", id, "shard", (int) i,
                      "slot", (int) result.slots[i]);
        if (j == NULL) {
            st_no_memory();
        }

        if (s->fault == ST_FAULT_GONE) {
            c->report->gone = 1;
            memcpy(c->report->gone_id, run->shard_id.data, 16);
        }

        disk = c->set->slot[result.slots[i]];

        if (disk) {
            st_json_bytes(j, "disk", disk->path, strlen(disk->path));
        }

        if (s->fault == ST_FAULT_READ) {
            st_json_set(j, "error", json_string(strerror(s->error)));
        }

        if (s->fault == ST_FAULT_BLOCK || s->fault == ST_FAULT_TABLE
            || s->fault == ST_FAULT_PARITY)
        {
            st_json_set(j, "block", json_integer((json_int_t) s->block));
            st_json_set(j, "blocks", json_integer((json_int_t) s->count));
        }

        st_problem_add(c, j);
    }

    if (rc == 1) {
        c->report->verdict = ST_GONE;

        j = json_pack("{s:s, s:i, s:I}", "problem", "fewer shards are good "
                      "than are needed", "needed", (int) result.k, "at",
                      (json_int_t) (c->offset + result.lost_at));
        st_problem_add(c, j);

        return -1;
    }

    return 0;
}


/* ---- parts */


static const st_scan_t  st_parts_scan = {
    "SELECT part_number, \"offset\", size, etag, checksum, shard_id, session,"
    " mask, geometry FROM part", "AND data_id = ?9", "part_number", 1,
    { NULL, 0 }
};


static int
st_object_parts(st_object_ctx_t *c, st_bytes_t data_id, uint64_t parts)
{
    int        rc, broken;
    st_scan_t  scan;

    if (parts > ST_PARTS_MAX) {
        return st_lost(c, "its row makes no sense");
    }

    scan = st_parts_scan;
    scan.bind = data_id;
    broken = 0;

    rc = st_scan(c->set, &scan, st_object_part_row, c, &broken);

    c->number = 0;

    if (rc != 0 || c->sink_rc) {
        return -1;
    }

    if (broken || c->parts != parts) {
        return st_lost(c, broken ? "not all of its parts' rows can be read"
                                 : "it has not as many parts as its row says");
    }

    return 0;
}


static int
st_object_part_row(void *data, sqlite3_stmt *stmt)
{
    int               rc;
    size_t            size;
    uint8_t           digest[ST_SUM_MAX];
    uint64_t          part_size, offset;
    st_object_ctx_t  *c = data;

    offset = (uint64_t) sqlite3_column_int64(stmt, 1);
    part_size = (uint64_t) sqlite3_column_int64(stmt, 2);

    c->parts++;
    c->number = (unsigned) sqlite3_column_int64(stmt, 0);
    c->part_want = 1U << ST_MD5;

    if (c->composite) {
        c->part_want |= 1U << c->composite;
    }

    if (offset != c->offset) {

        /* after damage in the index parts come in another order */

        return st_lost(c, "it does not begin where the part before it ends");
    }

    rc = st_part_read(c, stmt);

    c->offset += part_size;

    if (rc == 0 && c->composite) {
        size = st_sum_size(c->composite);
        st_sums_digest(&c->part_sums, c->composite, digest);
        st_sums_update(&c->digests, digest, size);
    }

    st_sums_end(&c->part_sums);

    return rc;
}


/* c->part_want: what the caller takes itself, MD5 but for which */

static int
st_part_read(st_object_ctx_t *c, sqlite3_stmt *stmt)
{
    uint8_t        digest[ST_SUM_MAX];
    unsigned       n, i;
    st_run_t       run;
    st_sums_t      other;
    st_bytes_t     etag, rest;
    st_checksum_t  sum[4];

    etag = st_column(stmt, 3);
    rest = st_column(stmt, 4);

    run.size = (uint64_t) sqlite3_column_int64(stmt, 2);
    run.shard_id = st_column(stmt, 5);
    run.session = st_column(stmt, 6);
    run.mask = (uint64_t) sqlite3_column_int64(stmt, 7);
    run.geometry = (uint64_t) sqlite3_column_int64(stmt, 8);

    for (n = 0; rest.len && n < 4; n++) {
        if (st_checksum_next(&rest, &sum[n]) != 0 || sum[n].composite) {
            break;
        }
    }

    memset(&c->part_sums, 0, sizeof(st_sums_t));

    if (rest.len || etag.len != 16) {
        return st_lost(c, "its row makes no sense");
    }

    /* the digest of one algorithm can be taken once */

    memset(&other, 0, sizeof(st_sums_t));

    for (i = 0; i < n; i++) {
        c->part_want |= 1U << sum[i].algorithm;
    }

    st_sums_begin(&c->part_sums, c->part_want);

    if (run.size && st_object_run(c, &run) != 0) {
        return -1;
    }

    st_sums_digest(&c->part_sums, ST_MD5, digest);

    if (memcmp(digest, etag.data, 16) != 0) {
        return st_lost(c, "its bytes do not match its etag");
    }

    if (c->etag && EVP_DigestUpdate(c->etag, digest, 16) != 1) {
        st_no_memory();
    }

    for (i = 0; i < n; i++) {

        if (c->composite == sum[i].algorithm) {

            /* the caller's: looked at in a copy */

            if (c->part_sums.md[sum[i].algorithm]) {
                other.md[sum[i].algorithm] = EVP_MD_CTX_new();

                if (other.md[sum[i].algorithm] == NULL
                    || EVP_MD_CTX_copy_ex(other.md[sum[i].algorithm],
                                          c->part_sums.md[sum[i].algorithm])
                       != 1)
                {
                    st_no_memory();
                }
            }

            other.crc32 = c->part_sums.crc32;
            other.crc32c = c->part_sums.crc32c;
            other.crc64 = c->part_sums.crc64;

            st_sums_digest(&other, sum[i].algorithm, digest);
            st_sums_end(&other);

        } else {
            st_sums_digest(&c->part_sums, sum[i].algorithm, digest);
        }

        if (memcmp(digest, sum[i].digest, st_sum_size(sum[i].algorithm))
            != 0)
        {
            return st_lost(c, "its bytes do not match its checksum");
        }
    }

    return 0;
}


void
st_upload_read(st_set_t *set, st_bytes_t upload_id, st_part_pt part,
    void *data, int *broken)
{
    st_scan_t        scan;
    st_object_ctx_t  c;

    memset(&c, 0, sizeof(st_object_ctx_t));

    c.set = set;
    c.part = part;
    c.part_data = data;

    scan = st_parts_scan;
    scan.bind = upload_id;

    (void) st_scan(set, &scan, st_upload_part_row, &c, broken);
}


void
st_part_find(st_set_t *set, const uint8_t upload_id[16], unsigned number,
    st_part_pt part, void *data)
{
    int              broken;
    char             where[64];
    st_scan_t        scan;
    st_object_ctx_t  c;

    memset(&c, 0, sizeof(st_object_ctx_t));

    c.set = set;
    c.part = part;
    c.part_data = data;

    (void) snprintf(where, sizeof(where),
                    "AND data_id = ?9 AND part_number = %u", number);

    scan = st_parts_scan;
    scan.where = where;
    scan.bind.data = upload_id;
    scan.bind.len = 16;

    (void) st_scan(set, &scan, st_upload_part_row, &c, &broken);
}


static int
st_upload_part_row(void *data, sqlite3_stmt *stmt)
{
    unsigned          number;
    uint64_t          size;
    st_report_t       report;
    st_object_ctx_t  *c = data;

    st_report_init(&report);

    number = (unsigned) sqlite3_column_int64(stmt, 0);
    size = (uint64_t) sqlite3_column_int64(stmt, 2);

    c->report = &report;
    c->part_want = 1U << ST_MD5;
    c->offset = 0;

    (void) st_part_read(c, stmt);

    st_sums_end(&c->part_sums);

    c->part(c->part_data, number, size, &report);

    st_report_free(&report);

    return 0;
}


/* ---- checksums */


static int
st_object_sink(void *data, const uint8_t *p, size_t n)
{
    st_object_ctx_t *c = data;

    st_sums_update(&c->sums, p, n);
    st_sums_update(&c->part_sums, p, n);

    if (c->sink && c->sink(c->data, p, n) != 0) {
        c->sink_rc = -1;
        return -1;
    }

    return 0;
}


static int
st_object_sums(st_object_ctx_t *c, const st_object_t *o,
    const st_checksum_t *checksum)
{
    uint8_t   digest[ST_SUM_MAX];
    uint32_t  parts;

    if (o->etag.len == 16) {
        st_sums_digest(&c->sums, ST_MD5, digest);

    } else {
        if (EVP_DigestFinal_ex(c->etag, digest, NULL) != 1) {
            st_no_memory();
        }

        parts = (uint32_t) o->etag.data[16] | (uint32_t) o->etag.data[17] << 8
                | (uint32_t) o->etag.data[18] << 16
                | (uint32_t) o->etag.data[19] << 24;

        if (parts != c->parts) {
            return st_lost(c, "its etag is that of another number of parts");
        }
    }

    if (memcmp(digest, o->etag.data, 16) != 0) {
        return st_lost(c, "its bytes do not match its etag");
    }

    if (checksum->algorithm == 0) {
        return 0;
    }

    if (checksum->composite && checksum->parts != c->parts) {
        return st_lost(c, "its checksum is that of another number of parts");
    }

    st_sums_digest(checksum->composite ? &c->digests : &c->sums,
                   checksum->algorithm, digest);

    if (memcmp(digest, checksum->digest, st_sum_size(checksum->algorithm))
        != 0)
    {
        return st_lost(c, "its bytes do not match its checksum");
    }

    return 0;
}


/* 0; algorithm 0 where nothing is left; -1: it makes no sense */

static int
st_checksum_next(st_bytes_t *rest, st_checksum_t *checksum)
{
    size_t          size, n;
    const uint8_t  *p;

    memset(checksum, 0, sizeof(st_checksum_t));

    if (rest->len == 0) {
        return 0;
    }

    p = rest->data;

    if (rest->len < 2 || p[0] == 0 || p[0] > ST_CRC64NVME || p[1] > 1) {
        return -1;
    }

    size = st_sum_size(p[0]);
    n = 2 + size + (p[1] ? 4 : 0);

    if (rest->len < n) {
        return -1;
    }

    checksum->algorithm = p[0];
    checksum->composite = p[1];
    checksum->digest = p + 2;

    if (p[1]) {
        p += 2 + size;
        checksum->parts = (uint32_t) p[0] | (uint32_t) p[1] << 8
                          | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
    }

    rest->data += n;
    rest->len -= n;

    return 0;
}


/* ---- all of them */


typedef struct {
    st_set_t       *set;
    st_object_pt    object;
    void           *data;
    int             known;             /* bucket is the name of id */
    int64_t         id;
    uint8_t         bucket[256];
    size_t          bucket_len;
} st_objects_t;


static const st_scan_t  st_objects_scan = {
    "SELECT bucket, key, version, flags, size, mtime, etag, checksum,"
    " data_id, meta FROM object", "", "bucket,key,version", 3, { NULL, 0 }
};


int
st_objects(st_set_t *set, st_object_pt object, void *data, int *broken)
{
    st_objects_t  c;

    memset(&c, 0, sizeof(st_objects_t));

    c.set = set;
    c.object = object;
    c.data = data;

    return st_scan(set, &st_objects_scan, st_objects_row, &c, broken);
}


void
st_object_find(st_set_t *set, int64_t bucket_id, st_bytes_t key,
    st_bytes_t version, st_object_pt object, void *data)
{
    int           broken;
    char          where[192], hex[129];
    st_scan_t     scan;
    st_objects_t  c;

    memset(&c, 0, sizeof(st_objects_t));

    c.set = set;
    c.object = object;
    c.data = data;

    /* versions are short, as long as there are none but the null version */

    st_hex(version.data, version.len < 64 ? version.len : 64, hex);
    (void) snprintf(where, sizeof(where),
                    "AND bucket = %lld AND key = ?9 AND version = x'%s'",
                    (long long) bucket_id, hex);

    scan = st_objects_scan;
    scan.where = where;
    scan.bind = key;

    (void) st_scan(set, &scan, st_objects_row, &c, &broken);
}


static int
st_objects_row(void *data, sqlite3_stmt *stmt)
{
    int64_t        id;
    st_bytes_t     none, name;
    st_object_t    o;
    st_objects_t  *c = data;
    sqlite3_stmt  *bucket;

    memset(&o, 0, sizeof(st_object_t));

    id = sqlite3_column_int64(stmt, 0);

    if (!c->known || c->id != id) {
        none.data = NULL;
        none.len = 0;

        c->id = id;
        c->known = 1;
        c->bucket_len = 0;

        bucket = st_row_find(c->set, ST_SQL_BUCKET, none, id);

        if (bucket) {
            name = st_column(bucket, 0);

            if (name.len < sizeof(c->bucket)) {
                memcpy(c->bucket, name.data, name.len);
                c->bucket_len = name.len;
            }

            st_row_done(bucket);
        }
    }

    o.bucket_id = id;
    o.bucket.data = c->bucket_len ? c->bucket : NULL;
    o.bucket.len = c->bucket_len;

    o.key = st_column(stmt, 1);
    o.version = st_column(stmt, 2);
    o.flags = (uint64_t) sqlite3_column_int64(stmt, 3);
    o.size = (uint64_t) sqlite3_column_int64(stmt, 4);
    o.mtime = sqlite3_column_int64(stmt, 5);
    o.etag = st_column(stmt, 6);
    o.checksum = st_column(stmt, 7);
    o.data_id = st_column(stmt, 8);
    o.meta = st_column(stmt, 9);

    return c->object(c->data, &o);
}


/* ---- for people */


char *
st_object_name(st_bytes_t bucket, st_bytes_t key, st_bytes_t version)
{
    char  *name, *b, *k, hex[65];

    b = bucket.data ? st_escape(bucket.data, bucket.len)
                    : st_escape("?", 1);
    k = st_escape(key.data, key.len < 4096 ? key.len : 4096);

    st_hex(version.data, version.len < 32 ? version.len : 32, hex);

    if (asprintf(&name, "%s/%s%s%s", b, k, hex[0] ? " version " : "", hex)
        == -1)
    {
        st_no_memory();
    }

    free(b);
    free(k);

    return name;
}


json_t *
st_object_json(st_bytes_t bucket, st_bytes_t key, st_bytes_t version)
{
    json_t  *j;

    j = json_object();
    if (j == NULL) {
        st_no_memory();
    }

    if (bucket.data) {
        st_json_bytes(j, "bucket", bucket.data, bucket.len);
    }

    st_json_bytes(j, "key", key.data, key.len);

    if (version.len) {
        st_json_bytes(j, "version", version.data, version.len);
    }

    return j;
}


void
st_etag_text(st_bytes_t etag, char text[64])
{
    text[0] = '\0';

    if (etag.len != 16 && etag.len != 20) {
        return;
    }

    st_hex(etag.data, 16, text);

    if (etag.len == 20) {
        (void) sprintf(text + 32, "-%u",
                       (unsigned) etag.data[16]
                       | (unsigned) etag.data[17] << 8
                       | (unsigned) etag.data[18] << 16
                       | (unsigned) etag.data[19] << 24);
    }
}


/*
 * version 1 | count 2 | records; a record: id 1 | length 2 | value, or of
 * x-amz-meta-NAME: 0 | length 1 | NAME | length 2 | value
 */

json_t *
st_meta_json(st_bytes_t meta)
{
    char            name[sizeof("x-amz-meta-") + 255];
    json_t         *j;
    size_t          n;
    unsigned        id, count;
    const uint8_t  *p, *last;

    static const char *const  names[] = {
        NULL, "content-type", "content-encoding", "content-disposition",
        "content-language", "cache-control", "expires"
    };

    j = json_object();
    if (j == NULL) {
        st_no_memory();
    }

    if (meta.len == 0) {
        return j;
    }

    p = meta.data;
    last = p + meta.len;

    if (meta.len < 3 || meta.len > ST_META_MAX || p[0] != 1) {
        goto bad;
    }

    count = p[1] | (unsigned) p[2] << 8;
    p += 3;

    while (count--) {

        if (p == last || *p >= sizeof(names) / sizeof(names[0])) {
            goto bad;
        }

        id = *p++;

        if (id == 0) {
            if (p == last || (size_t) (last - p) < 1U + *p) {
                goto bad;
            }

            n = *p++;
            memcpy(name, "x-amz-meta-", 11);
            memcpy(name + 11, p, n);
            name[11 + n] = '\0';
            p += n;

            if (strlen(name) != 11 + n) {
                goto bad;
            }

        } else {
            (void) strcpy(name, names[id]);
        }

        if (last - p < 2) {
            goto bad;
        }

        n = p[0] | (unsigned) p[1] << 8;
        p += 2;

        if ((size_t) (last - p) < n) {
            goto bad;
        }

        /* a name is anybody's as well */

        for (id = 0; name[id]; id++) {
            if (name[id] <= 0x20 || name[id] == 0x7f) {
                goto bad;
            }
        }

        st_json_bytes(j, name, p, n);
        p += n;
    }

    if (p == last) {
        return j;
    }

bad:

    json_decref(j);

    return NULL;
}
