/*
 * Checksums that a row may have of its object.  As they stand there: a byte
 * algorithm, a byte kind, the digest; a CRC's digest is its value, big endian.
 */


#include "store.h"

#include <string.h>
#include <isa-l.h>


/* CRC-64/NVME, reflected: ad93d23594c93659 */
#define ST_CRC64_POLY      0x9a6c9329ac4bc9b5ULL


static uint64_t st_crc64(uint64_t crc, const uint8_t *p, size_t n);
static void st_put_be(uint8_t *p, uint64_t v, size_t size);


static const struct {
    const char  *name;
    size_t       size;
} st_sum_facts[ST_SUMS] = {
    { NULL, 0 },
    { "CRC32", 4 },
    { "CRC32C", 4 },
    { "SHA1", 20 },
    { "SHA256", 32 },
    { "CRC64NVME", 8 },
    { "MD5", 16 }
};


const char *
st_sum_name(unsigned algorithm)
{
    return algorithm < ST_SUMS ? st_sum_facts[algorithm].name : NULL;
}


size_t
st_sum_size(unsigned algorithm)
{
    return algorithm < ST_SUMS ? st_sum_facts[algorithm].size : 0;
}


void
st_sums_begin(st_sums_t *s, unsigned want)
{
    unsigned       i;
    const EVP_MD  *md;

    memset(s, 0, sizeof(st_sums_t));

    s->want = want;

    for (i = 0; i < ST_SUMS; i++) {

        if (!(want & (1U << i))) {
            continue;
        }

        md = i == ST_SHA1 ? EVP_sha1() : i == ST_SHA256 ? EVP_sha256()
             : i == ST_MD5 ? EVP_md5() : NULL;

        if (md == NULL) {
            continue;
        }

        s->md[i] = EVP_MD_CTX_new();

        if (s->md[i] == NULL || EVP_DigestInit_ex(s->md[i], md, NULL) != 1) {
            st_no_memory();
        }
    }
}


void
st_sums_update(st_sums_t *s, const void *p, size_t n)
{
    unsigned  i;

    if (s->want & (1U << ST_CRC32)) {
        s->crc32 = crc32_gzip_refl(s->crc32, p, n);
    }

    if (s->want & (1U << ST_CRC32C)) {
        s->crc32c = st_crc32c(s->crc32c, p, n);
    }

    if (s->want & (1U << ST_CRC64NVME)) {
        s->crc64 = st_crc64(s->crc64, p, n);
    }

    for (i = 0; i < ST_SUMS; i++) {
        if (s->md[i] && EVP_DigestUpdate(s->md[i], p, n) != 1) {
            st_no_memory();
        }
    }
}


void
st_sums_digest(st_sums_t *s, unsigned algorithm, uint8_t *digest)
{
    switch (algorithm) {

    case ST_CRC32:
        st_put_be(digest, s->crc32, 4);
        break;

    case ST_CRC32C:
        st_put_be(digest, s->crc32c, 4);
        break;

    case ST_CRC64NVME:
        st_put_be(digest, s->crc64, 8);
        break;

    default:
        if (EVP_DigestFinal_ex(s->md[algorithm], digest, NULL) != 1) {
            st_no_memory();
        }
    }
}


void
st_sums_end(st_sums_t *s)
{
    unsigned  i;

    for (i = 0; i < ST_SUMS; i++) {
        EVP_MD_CTX_free(s->md[i]);
        s->md[i] = NULL;
    }
}


/* crc: 0, or that of the bytes before; n: less than 2^31 */

uint32_t
st_crc32c(uint32_t crc, const void *p, size_t n)
{
    /* ISA-L's inverts nothing, and lacks a const */

    return ~crc32_iscsi((unsigned char *) p, (int) n, ~crc);
}


/* eight bytes a step: table[i][b] is b followed by i zero bytes */

static uint64_t
st_crc64(uint64_t crc, const uint8_t *p, size_t n)
{
    unsigned         i, j;
    uint64_t         v;

    static int       ready;
    static uint64_t  table[8][256];

    if (!ready) {
        for (i = 0; i < 256; i++) {
            v = i;

            for (j = 0; j < 8; j++) {
                v = v & 1 ? v >> 1 ^ ST_CRC64_POLY : v >> 1;
            }

            table[0][i] = v;
        }

        for (i = 0; i < 256; i++) {
            for (j = 1; j < 8; j++) {
                v = table[j - 1][i];
                table[j][i] = v >> 8 ^ table[0][v & 0xff];
            }
        }

        ready = 1;
    }

    crc = ~crc;

    for ( /* void */ ; n >= 8; n -= 8, p += 8) {
        v = crc;

        for (i = 0; i < 8; i++) {
            v ^= (uint64_t) p[i] << (8 * i);
        }

        crc = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff]
              ^ table[5][v >> 16 & 0xff] ^ table[4][v >> 24 & 0xff]
              ^ table[3][v >> 32 & 0xff] ^ table[2][v >> 40 & 0xff]
              ^ table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
    }

    while (n--) {
        crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
    }

    return ~crc;
}


static void
st_put_be(uint8_t *p, uint64_t v, size_t size)
{
    while (size) {
        p[--size] = (uint8_t) v;
        v >>= 8;
    }
}
