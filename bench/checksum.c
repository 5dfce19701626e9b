
/*
 * What a core sums up a second, per algorithm, from memory that fits the
 * second-level cache (1 MiB, a stripe).  Prints "name GB/s" lines.
 *
 *     cc -O2 -Isrc/body bench/checksum.c src/body/s3_c[rh]*.c \
 *        -lisal -lcrypto -lpthread
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "s3_checksum.h"
#include "s3_crc.h"


#define BENCH_LEN      (1 << 20)
#define BENCH_SECONDS  0.3


static unsigned char      bench_data[BENCH_LEN];
static volatile uint64_t  bench_sink;


static double
bench_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static void
bench_print(const char *name, unsigned rounds, double seconds)
{
    printf("%-20s %7.2f\n", name, (double) rounds * BENCH_LEN / 1e9 / seconds);
}


static void
bench_impl(const s3_crc64nvme_impl_t *impl)
{
    char      name[64];
    double    start, now;
    unsigned  rounds;

    rounds = 0;
    start = bench_now();

    do {
        bench_sink = impl->update(bench_sink, bench_data, BENCH_LEN);
        rounds++;
        now = bench_now();
    } while (now - start < BENCH_SECONDS);

    (void) snprintf(name, sizeof(name), "CRC64NVME/%s", impl->name);
    bench_print(name, rounds, now - start);
}


static void
bench_checksum(s3_checksum_e algorithm)
{
    double         start, now;
    unsigned       rounds;
    s3_checksum_t  sum;
    unsigned char  digest[S3_CHECKSUM_DIGEST_MAX];

    if (s3_checksum_init(&sum, algorithm) != 0) {
        return;
    }

    rounds = 0;
    start = bench_now();

    do {
        (void) s3_checksum_update(&sum, bench_data, BENCH_LEN);
        rounds++;
        now = bench_now();
    } while (now - start < BENCH_SECONDS);

    (void) s3_checksum_final(&sum, digest);
    s3_checksum_cleanup(&sum);

    bench_print(s3_checksum_info(algorithm)->name, rounds, now - start);
}


static void
bench_md5(void)
{
    double         start, now;
    unsigned       rounds;
    EVP_MD_CTX    *ctx;

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_md5(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return;
    }

    rounds = 0;
    start = bench_now();

    do {
        (void) EVP_DigestUpdate(ctx, bench_data, BENCH_LEN);
        rounds++;
        now = bench_now();
    } while (now - start < BENCH_SECONDS);

    EVP_MD_CTX_free(ctx);

    bench_print("MD5", rounds, now - start);
}


int
main(void)
{
    size_t                      i, n;
    const s3_crc64nvme_impl_t  *impls;

    for (i = 0; i < BENCH_LEN; i++) {
        bench_data[i] = (unsigned char) (i * 2654435761U >> 13);
    }

    impls = s3_crc64nvme_impls(&n);

    for (i = 0; i < n; i++) {
        bench_impl(&impls[i]);
    }

    bench_checksum(S3_CHECKSUM_CRC32);
    bench_checksum(S3_CHECKSUM_CRC32C);
    bench_checksum(S3_CHECKSUM_SHA1);
    bench_checksum(S3_CHECKSUM_SHA256);
    bench_md5();

    return 0;
}
