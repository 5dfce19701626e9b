
#include "s3_erasure.h"

#include <isa-l.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>


/* k + m <= S3_MAX_DISKS bounds the product of any two of their parts */
#define S3_MAX_ROWS      (S3_MAX_DISKS / 2)
#define S3_MAX_TABLES    (32 * S3_MAX_ROWS * S3_MAX_ROWS)

/* ec_encode_data() takes an int */
#define S3_MAX_LEN       (1024 * 1024 * 1024)


static uint8_t          *s3_erasure_tables[S3_MAX_DISKS + 1][S3_MAX_ROWS + 1];
static pthread_mutex_t   s3_erasure_mutex = PTHREAD_MUTEX_INITIALIZER;


static uint8_t *s3_erasure_encode_tables(const s3_geometry_t *g,
    uint8_t *spare);
static void s3_erasure_run(unsigned k, unsigned rows, uint8_t *tables,
    uint8_t **src, uint8_t **dst, size_t len);
static unsigned s3_shard_hash(const s3_geometry_t *g, const uint8_t id[16]);


s3_geometry_t
s3_geometry(unsigned n, unsigned m)
{
    s3_geometry_t  g;

    g.k = (uint8_t) (n - m);
    g.m = (uint8_t) m;

    g.unit = (S3_STRIPE_SIZE + g.k - 1) / g.k;
    g.unit = (g.unit + S3_BLOCK_SIZE - 1) / S3_BLOCK_SIZE * S3_BLOCK_SIZE;

    return g;
}


int
s3_geometry_valid(const s3_geometry_t *g)
{
    return g->k >= 1 && g->m <= g->k
           && (unsigned) g->k + g->m <= S3_MAX_DISKS
           && g->unit != 0 && g->unit % S3_BLOCK_SIZE == 0
           && g->unit <= S3_STRIPE_SIZE;
}


uint32_t
s3_unit_size(const s3_geometry_t *g, uint64_t size, uint64_t stripe)
{
    uint64_t  full, rest;

    full = size / s3_stripe_size(g);

    if (stripe < full) {
        return g->unit;
    }

    if (stripe > full) {
        return 0;
    }

    rest = size % s3_stripe_size(g);
    rest = (rest + g->k - 1) / g->k;

    return (uint32_t) ((rest + S3_PAGE_SIZE - 1) / S3_PAGE_SIZE
                       * S3_PAGE_SIZE);
}


uint64_t
s3_shard_size(const s3_geometry_t *g, uint64_t size)
{
    uint64_t  full;

    full = size / s3_stripe_size(g);

    return full * g->unit + s3_unit_size(g, size, full);
}


unsigned
s3_shard_slot(const s3_geometry_t *g, const uint8_t id[16], unsigned shard)
{
    return (shard + s3_shard_hash(g, id)) % ((unsigned) g->k + g->m);
}


unsigned
s3_slot_shard(const s3_geometry_t *g, const uint8_t id[16], unsigned slot)
{
    unsigned  n;

    n = (unsigned) g->k + g->m;

    return (slot + n - s3_shard_hash(g, id)) % n;
}


static unsigned
s3_shard_hash(const s3_geometry_t *g, const uint8_t id[16])
{
    unsigned  hash;

    hash = id[15] | (unsigned) id[14] << 8;

    return hash % ((unsigned) g->k + g->m);
}


void
s3_erasure_encode(const s3_geometry_t *g, uint8_t **units, size_t len)
{
    uint8_t  *tables, spare[S3_MAX_TABLES];

    if (g->m == 0) {
        return;
    }

    tables = s3_erasure_encode_tables(g, spare);

    s3_erasure_run(g->k, g->m, tables, units, units + g->k, len);
}


/* spare is filled where there is no memory to keep them */

static uint8_t *
s3_erasure_encode_tables(const s3_geometry_t *g, uint8_t *spare)
{
    size_t    size;
    uint8_t  *tables, matrix[S3_MAX_DISKS * S3_MAX_DISKS];

    (void) pthread_mutex_lock(&s3_erasure_mutex);

    tables = s3_erasure_tables[g->k][g->m];

    (void) pthread_mutex_unlock(&s3_erasure_mutex);

    if (tables != NULL) {
        return tables;
    }

    /* two threads may do the same: the first one's stay */

    gf_gen_cauchy1_matrix(matrix, g->k + g->m, g->k);
    ec_init_tables(g->k, g->m, matrix + (size_t) g->k * g->k, spare);

    size = (size_t) 32 * g->k * g->m;

    tables = malloc(size);
    if (tables == NULL) {
        return spare;
    }

    memcpy(tables, spare, size);

    (void) pthread_mutex_lock(&s3_erasure_mutex);

    if (s3_erasure_tables[g->k][g->m] == NULL) {
        s3_erasure_tables[g->k][g->m] = tables;

    } else {
        free(tables);
        tables = s3_erasure_tables[g->k][g->m];
    }

    (void) pthread_mutex_unlock(&s3_erasure_mutex);

    return tables;
}


/*
 * With E the generator (identity above, Cauchy below) and S its rows of k
 * shards we have, shards = S * data, hence data = inv(S) * shards: a lost
 * data shard's row is one of inv(S), a lost parity shard's is its row of E
 * times inv(S).
 */

int
s3_erasure_decode(const s3_geometry_t *g, uint8_t **units, size_t len,
    uint64_t have, uint64_t want)
{
    uint8_t   *row, *src[S3_MAX_DISKS], *dst[S3_MAX_DISKS];
    uint8_t    matrix[S3_MAX_DISKS * S3_MAX_DISKS];
    uint8_t    some[S3_MAX_DISKS * S3_MAX_DISKS];
    uint8_t    inverse[S3_MAX_DISKS * S3_MAX_DISKS];
    uint8_t    rows[S3_MAX_ROWS * S3_MAX_ROWS];
    uint8_t    tables[S3_MAX_TABLES];
    unsigned   i, j, l, n, k, nsrc, ndst;

    k = g->k;
    n = k + g->m;

    if ((have | want) >> n) {
        return -1;
    }

    gf_gen_cauchy1_matrix(matrix, n, k);

    /* data shards come first: rows of the identity cost nothing */

    nsrc = 0;

    for (i = 0; i < n && nsrc < k; i++) {
        if (have & ((uint64_t) 1 << i)) {
            memcpy(some + nsrc * k, matrix + i * k, k);
            src[nsrc++] = units[i];
        }
    }

    if (nsrc < k) {
        return -1;
    }

    /* what is there is not computed: it would overwrite its own source */

    want &= ~have;

    if (want == 0) {
        return 0;
    }

    /* never singular: every square part of a Cauchy matrix is regular */

    if (gf_invert_matrix(some, inverse, k) != 0) {
        return -1;
    }

    ndst = 0;

    for (i = 0; i < n; i++) {

        if (!(want & ((uint64_t) 1 << i))) {
            continue;
        }

        row = rows + ndst * k;

        if (i < k) {
            memcpy(row, inverse + i * k, k);

        } else {
            for (j = 0; j < k; j++) {
                row[j] = 0;

                for (l = 0; l < k; l++) {
                    row[j] ^= gf_mul(matrix[i * k + l], inverse[l * k + j]);
                }
            }
        }

        dst[ndst++] = units[i];
    }

    ec_init_tables(k, ndst, rows, tables);

    s3_erasure_run(k, ndst, tables, src, dst, len);

    return 0;
}


static void
s3_erasure_run(unsigned k, unsigned rows, uint8_t *tables, uint8_t **src,
    uint8_t **dst, size_t len)
{
    size_t    n, offset;
    uint8_t  *in[S3_MAX_DISKS], *out[S3_MAX_DISKS];
    unsigned  i;

    for (offset = 0; offset < len; offset += n) {

        n = len - offset;

        if (n > S3_MAX_LEN) {
            n = S3_MAX_LEN;
        }

        for (i = 0; i < k; i++) {
            in[i] = src[i] + offset;
        }

        for (i = 0; i < rows; i++) {
            out[i] = dst[i] + offset;
        }

        ec_encode_data((int) n, k, rows, tables, in, out);
    }
}
