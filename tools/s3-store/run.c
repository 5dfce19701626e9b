/*
 * A run of data, in shards, and any k of them are enough:
 *
 *     object      | stripe 0                 | stripe 1                 | last
 *                 | unit 0 | ... | unit k-1  | unit 0 | ... | unit k-1  | ...
 *     shard 0     | unit 0 of stripe 0       | unit 0 of stripe 1       | ...
 *     shard k     | parity 0 of stripe 0     | parity 0 of stripe 1     | ...
 *
 *     shard file  | units, S bytes | table: CRC32C of 64 KiB each | footer |
 *
 * All shards that are there are read, data and parity.  What is good is
 * decided for each 64 KiB: of two shards that are damaged in two places
 * everything can be had.
 */


#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <isa-l.h>


#define ST_TABLE_SUMS      1023        /* checksums in a page of the table */
#define ST_UNIT_MAX        (1024 * 1024)


typedef struct {
    int             fd;                /* -1: it is not to be had */
    uint64_t        page;              /* which one table has, from 0 */
    int             state;             /* 0: none, 1: good, -1: bad */
    uint8_t         table[ST_PAGE];
} st_file_t;


typedef struct {
    const st_run_t  *run;
    st_result_t     *result;
    unsigned         n;                /* k + m */
    uint64_t         unit;
    uint64_t         full;             /* stripes */
    uint64_t         last;             /* unit of the last stripe, or 0 */
    uint64_t         size;             /* S */
    st_file_t        file[ST_DISKS_MAX];
    uint8_t         *units[ST_DISKS_MAX];
    uint8_t         *parity[ST_DISKS_MAX];  /* as it must be, ST_BLOCK each */
    uint8_t         *memory;
    uint8_t         *tables;           /* of the code: data to parity */
    uint64_t         inverse_of;       /* shards that it is made of */
    uint8_t          matrix[ST_DISKS_MAX * ST_DISKS_MAX];
    uint8_t          inverse[ST_DISKS_MAX * ST_DISKS_MAX];
} st_reader_t;


static const char *st_run_shape(st_set_t *set, st_reader_t *r);
static void st_run_open(st_set_t *set, st_reader_t *r, unsigned i);
static int st_shard_find(st_disk_t *disk, const st_run_t *run);
static void st_shard_footer(st_set_t *set, st_reader_t *r, unsigned i,
    uint8_t *p);
static void st_run_memory(st_reader_t *r);
static int st_run_stripe(st_reader_t *r, uint64_t stripe, uint64_t unit);
static uint64_t st_shard_blocks(st_reader_t *r, unsigned i, uint64_t offset,
    uint64_t unit);
static int st_shard_sum(st_reader_t *r, unsigned i, uint64_t block,
    uint32_t *sum);
static int st_run_column(st_reader_t *r, uint64_t have, uint64_t at,
    size_t len, uint64_t block);
static void st_fault(st_reader_t *r, unsigned i, st_fault_e fault,
    uint64_t block);
static void st_run_pace(uint64_t bytes);
static uint32_t st_get_u32(const uint8_t *p);
static void st_put_u32(uint8_t *p, uint32_t v);
static void st_put_u64(uint8_t *p, uint64_t v);


uint64_t  st_rate;


static const char *const  st_faults[ST_FAULTS] = {
    [ST_FAULT_NONE] = "none",
    [ST_FAULT_AWAY] = "its disk is not there",
    [ST_FAULT_HOLE] = "it was not written, as the index knows",
    [ST_FAULT_GONE] = "it is not there",
    [ST_FAULT_KIND] = "it is not a file",
    [ST_FAULT_SIZE] = "it has the wrong size",
    [ST_FAULT_FOOTER] = "its footer is wrong",
    [ST_FAULT_TABLE] = "its table of checksums is wrong",
    [ST_FAULT_BLOCK] = "a block does not match its checksum",
    [ST_FAULT_READ] = "it cannot be read",
    [ST_FAULT_PARITY] = "data and parity do not match"
};


const char *
st_fault_name(st_fault_e fault)
{
    return st_faults[fault];
}


int
st_id_parse(const char *text, uint8_t id[16])
{
    int       n;
    unsigned  i;

    if (strlen(text) != 32) {
        return -1;
    }

    for (i = 0; i < 32; i++) {

        if (text[i] >= '0' && text[i] <= '9') {
            n = text[i] - '0';

        } else if (text[i] >= 'a' && text[i] <= 'f') {
            n = text[i] - 'a' + 10;

        } else {
            return -1;
        }

        id[i / 2] = (uint8_t) (i % 2 ? id[i / 2] | n : n << 4);
    }

    return 0;
}


int
st_run_read(st_set_t *set, const st_run_t *run, st_sink_pt sink, void *data,
    st_result_t *result)
{
    int           rc;
    size_t        n;
    unsigned      i;
    uint64_t      stripe, unit, left;
    st_reader_t  *r;

    memset(result, 0, sizeof(st_result_t));

    r = calloc(1, sizeof(st_reader_t));
    if (r == NULL) {
        st_no_memory();
    }

    r->run = run;
    r->result = result;

    for (i = 0; i < ST_DISKS_MAX; i++) {
        r->file[i].fd = -1;
    }

    result->invalid = st_run_shape(set, r);

    if (result->invalid) {
        free(r);
        return 1;
    }

    for (i = 0; i < r->n; i++) {
        st_run_open(set, r, i);
    }

    st_run_memory(r);

    rc = 0;
    left = run->size;

    for (stripe = 0; left && rc == 0; stripe++) {

        unit = stripe < r->full ? r->unit : r->last;

        if (st_run_stripe(r, stripe, unit) != 0) {
            result->lost_at = run->size - left;
            rc = 1;
            break;
        }

        for (i = 0; i < result->k && left && rc == 0; i++) {
            n = unit < left ? (size_t) unit : (size_t) left;
            left -= n;
            rc = sink(data, r->units[i], n) == 0 ? 0 : -1;
        }
    }

    for (i = 0; i < r->n; i++) {
        result->short_of += (result->shard[i].fault != ST_FAULT_NONE);

        if (r->file[i].fd != -1) {
            (void) close(r->file[i].fd);
        }
    }

    free(r->memory);
    free(r);

    return rc;
}


/* what the row says, bounded; NULL, or what makes no sense */

static const char *
st_run_shape(st_set_t *set, st_reader_t *r)
{
    unsigned         k, m;
    uint64_t         unit, rest;
    const st_run_t  *run;

    run = r->run;

    k = run->geometry & 0xff;
    m = run->geometry >> 8 & 0xff;
    unit = run->geometry >> 16;

    if (run->shard_id.len != 16 || run->session.len != 16) {
        return "a shard's id is not 16 bytes";
    }

    if (k == 0 || m > k || k + m != set->ndisks || unit == 0
        || unit % ST_BLOCK != 0 || unit > ST_UNIT_MAX)
    {
        return "its geometry";
    }

    if (run->size == 0 || run->size > ST_RUN_MAX) {
        return "its size";
    }

    r->result->k = k;
    r->result->m = m;
    r->n = k + m;
    r->unit = unit;
    r->full = run->size / (k * unit);

    rest = run->size % (k * unit);
    r->last = ((rest + k - 1) / k + ST_PAGE - 1) / ST_PAGE * ST_PAGE;
    r->size = r->full * unit + r->last;

    return NULL;
}


static void
st_run_open(st_set_t *set, st_reader_t *r, unsigned i)
{
    int             rc;
    uint8_t         footer[ST_PAGE], found[ST_PAGE];
    uint64_t        pages;
    unsigned        slot;
    st_disk_t      *disk;
    struct stat     st;
    const uint8_t  *id;

    id = r->run->shard_id.data;
    slot = (i + id[15] + 256U * id[14]) % r->n;
    r->result->slots[i] = slot;

    disk = set->slot[slot];

    if (disk == NULL) {
        st_fault(r, i, ST_FAULT_AWAY, 0);
        return;
    }

    r->file[i].fd = st_shard_find(disk, r->run);

    if (r->file[i].fd == -1) {

        if (errno == ENOENT) {
            st_fault(r, i, r->run->mask >> slot & 1 ? ST_FAULT_GONE
                                                    : ST_FAULT_HOLE, 0);

        } else if (errno == ELOOP || errno == ENOTDIR) {
            st_fault(r, i, ST_FAULT_KIND, 0);

        } else {
            r->result->shard[i].error = errno;
            st_fault(r, i, ST_FAULT_READ, 0);
        }

        return;
    }

    if (fstat(r->file[i].fd, &st) == -1) {
        rc = errno;
        goto unreadable;
    }

    if (!S_ISREG(st.st_mode)) {
        st_fault(r, i, ST_FAULT_KIND, 0);
        goto unusable;
    }

    pages = (r->size + ST_BLOCK - 1) / ST_BLOCK;
    pages = (pages + ST_TABLE_SUMS - 1) / ST_TABLE_SUMS;

    if ((uint64_t) st.st_size != r->size + (pages + 1) * ST_PAGE) {
        st_fault(r, i, ST_FAULT_SIZE, 0);
        goto unusable;
    }

    rc = st_read_at(r->file[i].fd, found, ST_PAGE,
                    r->size + pages * ST_PAGE);
    if (rc) {
        goto unreadable;
    }

    st_shard_footer(set, r, i, footer);

    if (memcmp(found, footer, ST_PAGE) != 0) {
        st_fault(r, i, ST_FAULT_FOOTER, 0);
        goto unusable;
    }

    return;

unreadable:

    r->result->shard[i].error = rc;
    st_fault(r, i, ST_FAULT_READ, 0);

unusable:

    (void) close(r->file[i].fd);
    r->file[i].fd = -1;
}


/* in its place, or where it was written: it is renamed after its commit, maybe
 * while it is looked for */

static int
st_shard_find(st_disk_t *disk, const st_run_t *run)
{
    int   fd;
    char  path[128], id[33], session[33];

    st_hex(run->shard_id.data, 16, id);
    st_hex(run->session.data, 16, session);

    (void) snprintf(path, sizeof(path), "data/%.2s/%s", id, id);
    fd = st_open_below(disk->fd, path, O_RDONLY);

    if (fd == -1 && errno == ENOENT) {
        (void) snprintf(path, sizeof(path), "tmp/%s/%s", session, id);
        fd = st_open_below(disk->fd, path, O_RDONLY);
    }

    if (fd == -1 && errno == ENOENT) {
        (void) snprintf(path, sizeof(path), "data/%.2s/%s", id, id);
        fd = st_open_below(disk->fd, path, O_RDONLY);
    }

    return fd;
}


/* every byte of it follows from the row */

static void
st_shard_footer(st_set_t *set, st_reader_t *r, unsigned i, uint8_t *p)
{
    uint64_t  blocks;

    blocks = (r->size + ST_BLOCK - 1) / ST_BLOCK;

    memset(p, 0, ST_PAGE);

    memcpy(p, "s3shard\n", 8);
    st_put_u32(p + 8, 1);
    p[12] = (uint8_t) r->result->k;
    p[13] = (uint8_t) r->result->m;
    p[14] = (uint8_t) i;
    memcpy(p + 16, set->set_id, 16);
    memcpy(p + 32, r->run->shard_id.data, 16);
    memcpy(p + 48, r->run->session.data, 16);
    st_put_u32(p + 64, (uint32_t) r->unit);
    st_put_u32(p + 68, ST_BLOCK);
    st_put_u64(p + 72, r->run->size);
    st_put_u64(p + 80, r->size);
    st_put_u32(p + 88, (uint32_t) ((blocks + ST_TABLE_SUMS - 1)
                                   / ST_TABLE_SUMS));
    st_put_u32(p + 4092, st_crc32c(0, p, 4092));
}


static void
st_run_memory(st_reader_t *r)
{
    size_t    unit;
    uint8_t  *p;
    unsigned  i, k, m;

    k = r->result->k;
    m = r->result->m;
    unit = (size_t) (r->full ? r->unit : r->last);

    r->memory = malloc(r->n * unit + m * (size_t) ST_BLOCK
                       + 32 * (size_t) k * m + 1);
    if (r->memory == NULL) {
        st_no_memory();
    }

    p = r->memory;

    for (i = 0; i < r->n; i++) {
        r->units[i] = p;
        p += unit;
    }

    for (i = 0; i < m; i++) {
        r->parity[i] = p;
        p += ST_BLOCK;
    }

    r->tables = p;

    /* parity byte p: the sum over j of d[j] / ((k + p) xor j) */

    gf_gen_cauchy1_matrix(r->matrix, (int) r->n, (int) k);

    if (m) {
        ec_init_tables((int) k, (int) m, r->matrix + k * k, r->tables);
    }
}


/* its data units; -1: they can't be had */

static int
st_run_stripe(st_reader_t *r, uint64_t stripe, uint64_t unit)
{
    size_t    len;
    uint64_t  at, offset, have, good[ST_DISKS_MAX];
    unsigned  i;

    offset = stripe * r->unit;

    st_run_pace(unit * r->n);

    for (i = 0; i < r->n; i++) {
        good[i] = r->file[i].fd == -1 ? 0
                                      : st_shard_blocks(r, i, offset, unit);
    }

    for (at = 0; at < unit; at += ST_BLOCK) {

        len = unit - at < ST_BLOCK ? (size_t) (unit - at) : ST_BLOCK;
        have = 0;

        for (i = 0; i < r->n; i++) {
            have |= (good[i] >> (at / ST_BLOCK) & 1) << i;
        }

        if (st_run_column(r, have, at, len, (offset + at) / ST_BLOCK) != 0) {
            return -1;
        }
    }

    return 0;
}


/* so many are read next: not before it is their time */

static void
st_run_pace(uint64_t bytes)
{
    uint64_t         now, due;
    struct timespec  ts;

    static uint64_t  start, done;

    if (st_rate == 0) {
        return;
    }

    now = st_now();

    if (start == 0) {
        start = now;
    }

    due = start + (uint64_t) ((double) done * 1000 / (double) st_rate);
    done += bytes;

    if (due > now) {
        ts.tv_sec = (time_t) ((due - now) / 1000);
        ts.tv_nsec = (long) ((due - now) % 1000 * 1000000);
        (void) nanosleep(&ts, NULL);

    } else {

        /* what was not read while something else was done is not made up */

        start = now;
        done = bytes;
    }
}


/* a bit for each block of the unit that is good */

static uint64_t
st_shard_blocks(st_reader_t *r, unsigned i, uint64_t offset, uint64_t unit)
{
    int         rc;
    size_t      len;
    uint32_t    sum;
    uint64_t    at, good;
    st_file_t  *f;

    f = &r->file[i];
    good = 0;

    rc = st_read_at(f->fd, r->units[i], (size_t) unit, offset);

    for (at = 0; at < unit; at += ST_BLOCK) {

        len = unit - at < ST_BLOCK ? (size_t) (unit - at) : ST_BLOCK;

        /* a bad sector must not take its neighbours with it */

        if (rc != 0) {
            rc = st_read_at(f->fd, r->units[i] + at, len, offset + at);

            if (rc != 0) {
                r->result->shard[i].error = rc;
                st_fault(r, i, ST_FAULT_READ, (offset + at) / ST_BLOCK);
                continue;
            }

            rc = -1;
        }

        if (st_shard_sum(r, i, (offset + at) / ST_BLOCK, &sum) != 0) {
            st_fault(r, i, ST_FAULT_TABLE, (offset + at) / ST_BLOCK);
            continue;
        }

        if (st_crc32c(0, r->units[i] + at, len) != sum) {
            st_fault(r, i, ST_FAULT_BLOCK, (offset + at) / ST_BLOCK);
            continue;
        }

        good |= 1ULL << (at / ST_BLOCK);
    }

    return good;
}


/* what the table says of a block; -1: that page of it is no good */

static int
st_shard_sum(st_reader_t *r, unsigned i, uint64_t block, uint32_t *sum)
{
    uint8_t     head[20];
    uint64_t    page;
    st_file_t  *f;

    f = &r->file[i];
    page = block / ST_TABLE_SUMS;

    if (f->state == 0 || f->page != page) {
        f->page = page;
        f->state = -1;

        if (st_read_at(f->fd, f->table, ST_PAGE, r->size + page * ST_PAGE)
            == 0)
        {
            memcpy(head, r->run->shard_id.data, 16);
            st_put_u32(head + 16, (uint32_t) page);

            if (st_crc32c(st_crc32c(0, head, 20), f->table, 4092)
                == st_get_u32(f->table + 4092))
            {
                f->state = 1;
            }
        }
    }

    *sum = st_get_u32(f->table + 4 * (block % ST_TABLE_SUMS));

    return f->state == 1 ? 0 : -1;
}


/*
 * One block of each shard: computes the data that lacks, then all parity from
 * the data, and compares it with the parity that is there.
 */

static int
st_run_column(st_reader_t *r, uint64_t have, uint64_t at, size_t len,
    uint64_t block)
{
    uint8_t   *src[ST_DISKS_MAX], *dst[ST_DISKS_MAX], *rows, *tables;
    uint8_t    some[ST_DISKS_MAX * ST_DISKS_MAX];
    uint64_t   from, lacking;
    unsigned   i, k, m, n, ndst;

    k = r->result->k;
    m = r->result->m;
    lacking = ~have & ((1ULL << k) - 1);

    if (lacking) {

        for (i = 0, n = 0, from = 0; i < r->n && n < k; i++) {
            if (have >> i & 1) {
                memcpy(some + n * k, r->matrix + i * k, k);
                src[n++] = r->units[i] + at;
                from |= 1ULL << i;
            }
        }

        if (n < k) {
            return -1;
        }

        if (r->inverse_of != from) {

            /* every square part of a Cauchy matrix is regular */

            if (gf_invert_matrix(some, r->inverse, (int) k) != 0) {
                return -1;
            }

            r->inverse_of = from;
        }

        rows = malloc(33 * (size_t) k * k);
        if (rows == NULL) {
            st_no_memory();
        }

        tables = rows + k * k;

        for (i = 0, ndst = 0; i < k; i++) {
            if (lacking >> i & 1) {
                memcpy(rows + ndst * k, r->inverse + i * k, k);
                dst[ndst++] = r->units[i] + at;
            }
        }

        ec_init_tables((int) k, (int) ndst, rows, tables);
        ec_encode_data((int) len, (int) k, (int) ndst, tables, src, dst);

        free(rows);
    }

    if (have >> k == 0) {
        return 0;
    }

    for (i = 0; i < k; i++) {
        src[i] = r->units[i] + at;
    }

    ec_encode_data((int) len, (int) k, (int) m, r->tables, src, r->parity);

    for (i = 0; i < m; i++) {
        if (have >> (k + i) & 1
            && memcmp(r->parity[i], r->units[k + i] + at, len) != 0)
        {
            st_fault(r, k + i, ST_FAULT_PARITY, block);
        }
    }

    return 0;
}


static void
st_fault(st_reader_t *r, unsigned i, st_fault_e fault, uint64_t block)
{
    st_shard_t  *s;

    s = &r->result->shard[i];

    if (s->fault == ST_FAULT_NONE) {
        s->fault = fault;
        s->block = block;
    }

    s->count++;
}


static uint32_t
st_get_u32(const uint8_t *p)
{
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
           | (uint32_t) p[3] << 24;
}


static void
st_put_u32(uint8_t *p, uint32_t v)
{
    unsigned  i;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t) (v >> (8 * i));
    }
}


static void
st_put_u64(uint8_t *p, uint64_t v)
{
    st_put_u32(p, (uint32_t) v);
    st_put_u32(p + 4, (uint32_t) (v >> 32));
}
