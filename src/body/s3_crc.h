
/*
 * Cyclic redundancy checks, the three that S3 knows, and their combination.
 *
 * All three are reflected, start from all ones and end inverted, so that a
 * value can be carried on: crc(A || B) = update(update(0, A), B).
 *
 *     name        polynomial           width   check("123456789")
 *     CRC-32      0x04c11db7           32      0xcbf43926
 *     CRC-32C     0x1edc6f41           32      0xe3069283
 *     CRC-64/NVME 0xad93d23594c93659   64      0xae8b14860a799888
 *
 * Nothing here allocates or fails; every function may run on any thread.
 */

#ifndef S3_CRC_H
#define S3_CRC_H

#include <stddef.h>
#include <stdint.h>


typedef uint64_t (*s3_crc64nvme_pt)(uint64_t crc, const void *data,
    size_t len);

/* one way to compute CRC-64/NVME on this machine */
typedef struct {
    const char       *name;
    s3_crc64nvme_pt   update;
} s3_crc64nvme_impl_t;


/*
 * crc: the value over the bytes before (0 when there are none); data, len:
 * the next bytes, any alignment.  Returns the value over all of them.
 */
uint32_t s3_crc32(uint32_t crc, const void *data, size_t len);
uint32_t s3_crc32c(uint32_t crc, const void *data, size_t len);
uint64_t s3_crc64nvme(uint64_t crc, const void *data, size_t len);

/*
 * The value over A || B from the values over A and over B and the length of
 * B in bytes; len 0 gives a.  About 100 polynomial products: microseconds.
 */
uint32_t s3_crc32_combine(uint32_t a, uint32_t b, uint64_t len);
uint32_t s3_crc32c_combine(uint32_t a, uint32_t b, uint64_t len);
uint64_t s3_crc64nvme_combine(uint64_t a, uint64_t b, uint64_t len);

/*
 * The implementations that this processor can run, the slowest (the table)
 * first, the one that s3_crc64nvme() uses last; *n gets their number.  For
 * tests and benchmarks.  The list is static.
 */
const s3_crc64nvme_impl_t *s3_crc64nvme_impls(size_t *n);


#endif /* S3_CRC_H */
