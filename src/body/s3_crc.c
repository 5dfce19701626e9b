
/*
 * CRC-32 and CRC-32C are ISA-L's.  CRC-64/NVME is ISA-L's from 2.31 on (it
 * calls it "rocksoft"); for older ones it is computed here, by folding:
 *
 *     first 8 bytes            next 8 bytes
 *     +-----------------------+-----------------------+
 *     | lo: x^127 .. x^64     | hi: x^63 .. x^0       |   16 bytes, loaded
 *     +-----------------------+-----------------------+   little-endian
 *
 * The CRC is reflected: the lowest bit of the first byte is the highest
 * power.  A block that has D bits to travel to the block it is added to is
 * lo * x^(D+64) + hi * x^D, modulo P; the powers are constants of 64 bits.
 * A carry-less product of two reflected 64-bit values comes out one bit too
 * high (126 is the highest power, 127 the highest place), so the constants
 * are one power lower: x^(D+63) and x^(D-1).
 *
 * What is left in the end, 16 bytes, goes through the table with a CRC of 0:
 * that multiplies by x^64 and reduces, and costs two look-up rounds.
 *
 * (V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction", Intel, 2009.)
 */

#include <limits.h>
#include <pthread.h>
#include <string.h>

#include <isa-l.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define S3_CRC_CLMUL  1
#endif

#include "s3_crc.h"


#if defined(ISAL_VERSION) && ISAL_VERSION >= ISAL_MAKE_VERSION(2, 31, 0)
#define S3_CRC_ISAL_CRC64NVME  1
#endif

/* reflected polynomials, the highest power left out */
#define S3_CRC32_POLY      0xedb88320ULL
#define S3_CRC32C_POLY     0x82f63b78ULL
#define S3_CRC64NVME_POLY  0x9a6c9329ac4bc9b5ULL

#define S3_CRC_IMPLS_MAX   4


typedef struct {
    uint64_t  lo;                  /* x^(D+63) mod P */
    uint64_t  hi;                  /* x^(D-1) mod P */
} s3_crc_fold_t;


static void s3_crc_setup(void);
static uint64_t s3_crc_multiply(uint64_t a, uint64_t b, uint64_t poly,
    unsigned width);
static uint64_t s3_crc_power(uint64_t n, uint64_t poly, unsigned width);
static uint64_t s3_crc_combine(uint64_t a, uint64_t b, uint64_t len,
    uint64_t poly, unsigned width);
static uint64_t s3_crc64_table_raw(uint64_t crc, const unsigned char *p,
    size_t len);
static uint64_t s3_crc64nvme_table(uint64_t crc, const void *data,
    size_t len);
#if S3_CRC_CLMUL
static uint64_t s3_crc64nvme_clmul(uint64_t crc, const void *data,
    size_t len);
static uint64_t s3_crc64nvme_vclmul(uint64_t crc, const void *data,
    size_t len);
#endif
#if S3_CRC_ISAL_CRC64NVME
static uint64_t s3_crc64nvme_isal(uint64_t crc, const void *data, size_t len);
#endif


static pthread_once_t       s3_crc_once = PTHREAD_ONCE_INIT;

/* written by s3_crc_setup() alone, read-only after it */
static uint64_t             s3_crc64_table[8][256];
static s3_crc64nvme_impl_t  s3_crc_impls[S3_CRC_IMPLS_MAX];
static size_t               s3_crc_nimpls;
#if S3_CRC_CLMUL
static s3_crc_fold_t        s3_crc_fold_16;     /* by 16 bytes */
static s3_crc_fold_t        s3_crc_fold_128;
static s3_crc_fold_t        s3_crc_fold_256;
#endif


uint32_t
s3_crc32(uint32_t crc, const void *data, size_t len)
{
    /* ISA-L inverts before and after itself */

    return crc32_gzip_refl(crc, data, len);
}


uint32_t
s3_crc32c(uint32_t crc, const void *data, size_t len)
{
    size_t          n;
    unsigned char  *p;

    /* this one neither inverts nor takes more than an int; it only reads */

    p = (unsigned char *) data;
    crc = ~crc;

    while (len) {
        n = len < (1U << 30) ? len : (1U << 30);
        crc = crc32_iscsi(p, (int) n, crc);
        p += n;
        len -= n;
    }

    return ~crc;
}


uint64_t
s3_crc64nvme(uint64_t crc, const void *data, size_t len)
{
    pthread_once(&s3_crc_once, s3_crc_setup);

    return s3_crc_impls[s3_crc_nimpls - 1].update(crc, data, len);
}


uint32_t
s3_crc32_combine(uint32_t a, uint32_t b, uint64_t len)
{
    return (uint32_t) s3_crc_combine(a, b, len, S3_CRC32_POLY, 32);
}


uint32_t
s3_crc32c_combine(uint32_t a, uint32_t b, uint64_t len)
{
    return (uint32_t) s3_crc_combine(a, b, len, S3_CRC32C_POLY, 32);
}


uint64_t
s3_crc64nvme_combine(uint64_t a, uint64_t b, uint64_t len)
{
    return s3_crc_combine(a, b, len, S3_CRC64NVME_POLY, 64);
}


const s3_crc64nvme_impl_t *
s3_crc64nvme_impls(size_t *n)
{
    pthread_once(&s3_crc_once, s3_crc_setup);

    *n = s3_crc_nimpls;

    return s3_crc_impls;
}


static void
s3_crc_add_impl(const char *name, s3_crc64nvme_pt update)
{
    s3_crc_impls[s3_crc_nimpls].name = name;
    s3_crc_impls[s3_crc_nimpls].update = update;
    s3_crc_nimpls++;
}


#if S3_CRC_CLMUL

static void
s3_crc_set_fold(s3_crc_fold_t *fold, unsigned bytes)
{
    fold->lo = s3_crc_power(bytes * 8 + 63, S3_CRC64NVME_POLY, 64);
    fold->hi = s3_crc_power(bytes * 8 - 1, S3_CRC64NVME_POLY, 64);
}

#endif


static void
s3_crc_setup(void)
{
    unsigned  i, j;
    uint64_t  crc;

    for (i = 0; i < 256; i++) {
        crc = i;

        for (j = 0; j < 8; j++) {
            crc = (crc & 1) ? (crc >> 1) ^ S3_CRC64NVME_POLY : crc >> 1;
        }

        s3_crc64_table[0][i] = crc;
    }

    for (i = 0; i < 256; i++) {
        for (j = 1; j < 8; j++) {
            crc = s3_crc64_table[j - 1][i];
            s3_crc64_table[j][i] = (crc >> 8)
                                   ^ s3_crc64_table[0][crc & 0xff];
        }
    }

    s3_crc_add_impl("table", s3_crc64nvme_table);

#if S3_CRC_CLMUL

    s3_crc_set_fold(&s3_crc_fold_16, 16);
    s3_crc_set_fold(&s3_crc_fold_128, 128);
    s3_crc_set_fold(&s3_crc_fold_256, 256);

    __builtin_cpu_init();

    if (__builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse2")) {
        s3_crc_add_impl("clmul", s3_crc64nvme_clmul);

        if (__builtin_cpu_supports("vpclmulqdq")
            && __builtin_cpu_supports("avx512f"))
        {
            s3_crc_add_impl("vclmul", s3_crc64nvme_vclmul);
        }
    }

#endif

#if S3_CRC_ISAL_CRC64NVME
    s3_crc_add_impl("isal", s3_crc64nvme_isal);
#endif
}


/* a * b mod P, all reflected: the highest bit is x^0 */

static uint64_t
s3_crc_multiply(uint64_t a, uint64_t b, uint64_t poly, unsigned width)
{
    uint64_t  bit, product;

    product = 0;

    for (bit = 1ULL << (width - 1); bit && a; bit >>= 1) {
        if (a & bit) {
            product ^= b;
            a ^= bit;
        }

        b = (b & 1) ? (b >> 1) ^ poly : b >> 1;
    }

    return product;
}


/* x^n mod P, reflected */

static uint64_t
s3_crc_power(uint64_t n, uint64_t poly, unsigned width)
{
    uint64_t  power, square;

    power = 1ULL << (width - 1);
    square = 1ULL << (width - 2);

    for ( /* void */ ; n; n >>= 1) {
        if (n & 1) {
            power = s3_crc_multiply(power, square, poly, width);
        }

        square = s3_crc_multiply(square, square, poly, width);
    }

    return power;
}


/*
 * Appending B to A moves A up by the bits of B.  The two inversions (all
 * ones before, inverted after) cancel out: both sides carry them alike.
 *
 * The move by a length costs a hundred times what moving does, and the parts
 * of an upload, up to 10,000, have all but one the same length: the last move
 * of each thread is remembered.
 */

static uint64_t
s3_crc_combine(uint64_t a, uint64_t b, uint64_t len, uint64_t poly,
    unsigned width)
{
    uint64_t  power;

    static __thread struct {
        uint64_t  poly;                /* 0: none */
        uint64_t  len;
        uint64_t  power;
    } last;

    if (last.poly != poly || last.len != len) {

        /* the length in bits may not fit: take the 8th power of x^len */

        power = s3_crc_power(len, poly, width);
        power = s3_crc_multiply(power, power, poly, width);
        power = s3_crc_multiply(power, power, poly, width);
        power = s3_crc_multiply(power, power, poly, width);

        last.poly = poly;
        last.len = len;
        last.power = power;
    }

    return s3_crc_multiply(a, last.power, poly, width) ^ b;
}


/* without the inversions */

static uint64_t
s3_crc64_table_raw(uint64_t crc, const unsigned char *p, size_t len)
{
    for ( /* void */ ; len >= 8; p += 8, len -= 8) {
        crc ^= (uint64_t) p[0] | (uint64_t) p[1] << 8
               | (uint64_t) p[2] << 16 | (uint64_t) p[3] << 24
               | (uint64_t) p[4] << 32 | (uint64_t) p[5] << 40
               | (uint64_t) p[6] << 48 | (uint64_t) p[7] << 56;

        crc = s3_crc64_table[7][crc & 0xff]
              ^ s3_crc64_table[6][(crc >> 8) & 0xff]
              ^ s3_crc64_table[5][(crc >> 16) & 0xff]
              ^ s3_crc64_table[4][(crc >> 24) & 0xff]
              ^ s3_crc64_table[3][(crc >> 32) & 0xff]
              ^ s3_crc64_table[2][(crc >> 40) & 0xff]
              ^ s3_crc64_table[1][(crc >> 48) & 0xff]
              ^ s3_crc64_table[0][crc >> 56];
    }

    for ( /* void */ ; len; p++, len--) {
        crc = (crc >> 8) ^ s3_crc64_table[0][(crc ^ *p) & 0xff];
    }

    return crc;
}


static uint64_t
s3_crc64nvme_table(uint64_t crc, const void *data, size_t len)
{
    return ~s3_crc64_table_raw(~crc, data, len);
}


#if S3_CRC_CLMUL

__attribute__((target("pclmul,sse2")))
static inline __m128i
s3_crc_fold(__m128i block, __m128i k, __m128i next)
{
    return _mm_xor_si128(next,
                         _mm_xor_si128(_mm_clmulepi64_si128(block, k, 0x00),
                                       _mm_clmulepi64_si128(block, k, 0x11)));
}


__attribute__((target("pclmul,sse2")))
static inline __m128i
s3_crc_load(const unsigned char *p)
{
    return _mm_loadu_si128((const __m128i *) p);
}


__attribute__((target("pclmul,sse2")))
static inline __m128i
s3_crc_constants(const s3_crc_fold_t *fold)
{
    return _mm_set_epi64x((long long) fold->hi, (long long) fold->lo);
}


/* the last steps: n blocks of 16 bytes, one behind the other, and a tail */

__attribute__((target("pclmul,sse2")))
static uint64_t
s3_crc_fold_end(const __m128i *blocks, unsigned n, const unsigned char *p,
    size_t len)
{
    __m128i        block, k;
    unsigned       i;
    uint64_t       crc;
    unsigned char  rest[16];

    k = s3_crc_constants(&s3_crc_fold_16);
    block = blocks[0];

    for (i = 1; i < n; i++) {
        block = s3_crc_fold(block, k, blocks[i]);
    }

    for ( /* void */ ; len >= 16; p += 16, len -= 16) {
        block = s3_crc_fold(block, k, s3_crc_load(p));
    }

    _mm_storeu_si128((__m128i *) rest, block);
    crc = s3_crc64_table_raw(0, rest, 16);

    return s3_crc64_table_raw(crc, p, len);
}


/* 8 blocks at a time: a product takes several cycles, one may start each */

__attribute__((target("pclmul,sse2")))
static uint64_t
s3_crc64nvme_clmul(uint64_t crc, const void *data, size_t len)
{
    __m128i               b[8], k;
    unsigned              i;
    const unsigned char  *p;

    p = data;

    if (len < 128) {
        if (len < 16) {
            return s3_crc64nvme_table(crc, p, len);
        }

        b[0] = _mm_xor_si128(s3_crc_load(p),
                             _mm_set_epi64x(0, (long long) ~crc));

        return ~s3_crc_fold_end(b, 1, p + 16, len - 16);
    }

    for (i = 0; i < 8; i++) {
        b[i] = s3_crc_load(p + 16 * i);
    }

    b[0] = _mm_xor_si128(b[0], _mm_set_epi64x(0, (long long) ~crc));
    k = s3_crc_constants(&s3_crc_fold_128);

    p += 128;
    len -= 128;

    for ( /* void */ ; len >= 128; p += 128, len -= 128) {
        b[0] = s3_crc_fold(b[0], k, s3_crc_load(p));
        b[1] = s3_crc_fold(b[1], k, s3_crc_load(p + 16));
        b[2] = s3_crc_fold(b[2], k, s3_crc_load(p + 32));
        b[3] = s3_crc_fold(b[3], k, s3_crc_load(p + 48));
        b[4] = s3_crc_fold(b[4], k, s3_crc_load(p + 64));
        b[5] = s3_crc_fold(b[5], k, s3_crc_load(p + 80));
        b[6] = s3_crc_fold(b[6], k, s3_crc_load(p + 96));
        b[7] = s3_crc_fold(b[7], k, s3_crc_load(p + 112));
    }

    return ~s3_crc_fold_end(b, 8, p, len);
}


/* the same with 4 blocks a register: 16 blocks at a time */

__attribute__((target("avx512f,vpclmulqdq,pclmul")))
static inline __m512i
s3_crc_fold4(__m512i block, __m512i k, const unsigned char *p)
{
    /* 0x96: the exclusive or of all three */

    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(block, k, 0x00),
                                     _mm512_clmulepi64_epi128(block, k, 0x11),
                                     _mm512_loadu_si512(p), 0x96);
}


__attribute__((target("avx512f,vpclmulqdq,pclmul")))
static uint64_t
s3_crc64nvme_vclmul(uint64_t crc, const void *data, size_t len)
{
    __m128i               b[16];
    __m512i               v[4], k;
    unsigned              i;
    const unsigned char  *p;

    if (len < 512) {
        return s3_crc64nvme_clmul(crc, data, len);
    }

    p = data;

    for (i = 0; i < 4; i++) {
        v[i] = _mm512_loadu_si512(p + 64 * i);
    }

    v[0] = _mm512_xor_si512(v[0],
                            _mm512_zextsi128_si512(
                                _mm_set_epi64x(0, (long long) ~crc)));
    k = _mm512_broadcast_i32x4(s3_crc_constants(&s3_crc_fold_256));

    p += 256;
    len -= 256;

    for ( /* void */ ; len >= 256; p += 256, len -= 256) {
        v[0] = s3_crc_fold4(v[0], k, p);
        v[1] = s3_crc_fold4(v[1], k, p + 64);
        v[2] = s3_crc_fold4(v[2], k, p + 128);
        v[3] = s3_crc_fold4(v[3], k, p + 192);
    }

    for (i = 0; i < 4; i++) {
        _mm512_storeu_si512(&b[4 * i], v[i]);
    }

    return ~s3_crc_fold_end(b, 16, p, len);
}

#endif /* S3_CRC_CLMUL */


#if S3_CRC_ISAL_CRC64NVME

static uint64_t
s3_crc64nvme_isal(uint64_t crc, const void *data, size_t len)
{
    return crc64_rocksoft_refl(crc, data, len);
}

#endif
