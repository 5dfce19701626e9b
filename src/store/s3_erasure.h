#ifndef _S3_ERASURE_H_INCLUDED_
#define _S3_ERASURE_H_INCLUDED_


/*
 * Data is cut into stripes, a stripe into k units; m parity units are
 * computed over them (Reed-Solomon with a Cauchy matrix, ISA-L).  Shard i is
 * the units number i of all stripes, one after the other.
 *
 *     object      | stripe 0                | stripe 1                | last
 *                 | unit 0 | unit 1 | ...   | unit 0 | unit 1 | ...   | shorter
 *     shard 0     | unit 0 of stripe 0 | unit 0 of stripe 1 | ... | last
 *     shard k     | parity 0 of stripe 0 | ...
 *
 * unit: 1 MiB / k rounded up to whole blocks of 64 KiB.  The last stripe's
 * unit is ceil(rest / k) rounded up to 4096 bytes, its end filled with zeros.
 */


#include <stddef.h>
#include <stdint.h>


#define S3_MAX_DISKS         32
#define S3_BLOCK_SIZE        65536      /* bytes a CRC32C stands for */
#define S3_PAGE_SIZE         4096
#define S3_STRIPE_SIZE       (1024 * 1024)
#define S3_EXTENT_MAX        (5ULL * 1024 * 1024 * 1024)  /* a PUT, a part */


typedef struct {
    uint8_t       k;         /* data shards, 1 .. 32 */
    uint8_t       m;         /* parity shards, 0 .. k */
    uint32_t      unit;      /* bytes, a multiple of S3_BLOCK_SIZE */
} s3_geometry_t;


/* the geometry new data gets: n disks, m of them parity */
s3_geometry_t s3_geometry(unsigned n, unsigned m);

/* whether one read from a disk is one this code can work with */
int s3_geometry_valid(const s3_geometry_t *g);

/* bytes of payload in a full stripe */
static inline uint64_t
s3_stripe_size(const s3_geometry_t *g)
{
    return (uint64_t) g->k * g->unit;
}

/* the unit's bytes in the stripe that starts at stripe * s3_stripe_size() of
 * data of that size */
uint32_t s3_unit_size(const s3_geometry_t *g, uint64_t size,
    uint64_t stripe);

/* bytes of data in each shard file, without table and footer */
uint64_t s3_shard_size(const s3_geometry_t *g, uint64_t size);

/* the quorum of writes: k, or k + 1 where k = m */
static inline unsigned
s3_quorum(const s3_geometry_t *g)
{
    return g->k > g->m ? g->k : (unsigned) g->k + 1;
}

/* the disk (slot) of shard i of what has that id, among k + m disks:
 * (i + id[15] + 256 * id[14]) mod (k + m); and back */
unsigned s3_shard_slot(const s3_geometry_t *g, const uint8_t id[16],
    unsigned shard);
unsigned s3_slot_shard(const s3_geometry_t *g, const uint8_t id[16],
    unsigned slot);


/*
 * units: k + m pointers to len bytes each (any length, any alignment);
 * computes the last m from the first k.  Tables are cached by (k, m).  Any
 * thread.
 */
void s3_erasure_encode(const s3_geometry_t *g, uint8_t **units, size_t len);

/*
 * have: bit i set when units[i] holds shard i's bytes; at least k bits.
 * Computes those of want (bit i) into units[i], but for those of have.
 * Returns 0 or -1 (fewer than k, or a bit past the last shard).  Any thread.
 */
int s3_erasure_decode(const s3_geometry_t *g, uint8_t **units, size_t len,
    uint64_t have, uint64_t want);


#endif /* _S3_ERASURE_H_INCLUDED_ */
