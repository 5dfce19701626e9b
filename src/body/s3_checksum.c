
#include <string.h>
#include <strings.h>

#include "s3_checksum.h"
#include "s3_crc.h"


#define s3_checksum_row(name, header, size, combines)                        \
    { name, header, sizeof(header) - 1, size, 4 * ((size + 2) / 3), combines }


static int s3_base64_value(char ch);


static const s3_checksum_info_t  s3_checksums[S3_CHECKSUM_LAST] = {

    [S3_CHECKSUM_CRC32] =
        s3_checksum_row("CRC32", "x-amz-checksum-crc32", 4, 1),
    [S3_CHECKSUM_CRC32C] =
        s3_checksum_row("CRC32C", "x-amz-checksum-crc32c", 4, 1),
    [S3_CHECKSUM_SHA1] =
        s3_checksum_row("SHA1", "x-amz-checksum-sha1", 20, 0),
    [S3_CHECKSUM_SHA256] =
        s3_checksum_row("SHA256", "x-amz-checksum-sha256", 32, 0),
    [S3_CHECKSUM_CRC64NVME] =
        s3_checksum_row("CRC64NVME", "x-amz-checksum-crc64nvme", 8, 1)
};


static const char  s3_base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";


const s3_checksum_info_t *
s3_checksum_info(s3_checksum_e algorithm)
{
    if ((unsigned) algorithm >= S3_CHECKSUM_LAST
        || s3_checksums[algorithm].name == NULL)
    {
        return NULL;
    }

    return &s3_checksums[algorithm];
}


s3_checksum_e
s3_checksum_by_header(const char *name, size_t len)
{
    unsigned                   i;
    const s3_checksum_info_t  *info;

    for (i = 1; i < S3_CHECKSUM_LAST; i++) {
        info = &s3_checksums[i];

        if (len == info->header_len
            && strncasecmp(name, info->header, len) == 0)
        {
            return (s3_checksum_e) i;
        }
    }

    return S3_CHECKSUM_NONE;
}


s3_checksum_e
s3_checksum_by_name(const char *name, size_t len)
{
    unsigned     i;
    const char  *known;

    for (i = 1; i < S3_CHECKSUM_LAST; i++) {
        known = s3_checksums[i].name;

        if (len == strlen(known) && strncasecmp(name, known, len) == 0) {
            return (s3_checksum_e) i;
        }
    }

    return S3_CHECKSUM_NONE;
}


int
s3_checksum_init(s3_checksum_t *sum, s3_checksum_e algorithm)
{
    const EVP_MD  *md;

    sum->algorithm = algorithm;
    sum->crc = 0;
    sum->md = NULL;

    switch (algorithm) {

    case S3_CHECKSUM_CRC32:
    case S3_CHECKSUM_CRC32C:
    case S3_CHECKSUM_CRC64NVME:
        return 0;

    case S3_CHECKSUM_SHA1:
        md = EVP_sha1();
        break;

    case S3_CHECKSUM_SHA256:
        md = EVP_sha256();
        break;

    default:
        sum->algorithm = S3_CHECKSUM_NONE;
        return -1;
    }

    sum->md = EVP_MD_CTX_new();

    if (sum->md == NULL || EVP_DigestInit_ex(sum->md, md, NULL) != 1) {
        s3_checksum_cleanup(sum);
        return -1;
    }

    return 0;
}


int
s3_checksum_update(s3_checksum_t *sum, const void *data, size_t len)
{
    switch (sum->algorithm) {

    case S3_CHECKSUM_CRC32:
        sum->crc = s3_crc32((uint32_t) sum->crc, data, len);
        return 0;

    case S3_CHECKSUM_CRC32C:
        sum->crc = s3_crc32c((uint32_t) sum->crc, data, len);
        return 0;

    case S3_CHECKSUM_CRC64NVME:
        sum->crc = s3_crc64nvme(sum->crc, data, len);
        return 0;

    case S3_CHECKSUM_SHA1:
    case S3_CHECKSUM_SHA256:
        return EVP_DigestUpdate(sum->md, data, len) == 1 ? 0 : -1;

    default:
        return -1;
    }
}


static void
s3_checksum_put(unsigned char *digest, uint64_t crc, size_t size)
{
    while (size) {
        digest[--size] = (unsigned char) crc;
        crc >>= 8;
    }
}


static uint64_t
s3_checksum_get(const unsigned char *digest, size_t size)
{
    size_t    i;
    uint64_t  crc;

    crc = 0;

    for (i = 0; i < size; i++) {
        crc = crc << 8 | digest[i];
    }

    return crc;
}


int
s3_checksum_final(s3_checksum_t *sum, unsigned char *digest)
{
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(sum->algorithm);

    if (info == NULL) {
        return -1;
    }

    if (sum->md) {
        return EVP_DigestFinal_ex(sum->md, digest, NULL) == 1 ? 0 : -1;
    }

    s3_checksum_put(digest, sum->crc, info->size);

    return 0;
}


void
s3_checksum_cleanup(s3_checksum_t *sum)
{
    EVP_MD_CTX_free(sum->md);

    sum->md = NULL;
    sum->algorithm = S3_CHECKSUM_NONE;
}


size_t
s3_checksum_text(s3_checksum_e algorithm, const unsigned char *digest,
    char *text)
{
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);

    if (info == NULL) {
        text[0] = '\0';
        return 0;
    }

    return s3_base64_encode(digest, info->size, text);
}


int
s3_checksum_parse(s3_checksum_e algorithm, const char *text, size_t len,
    unsigned char *digest)
{
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);

    if (info == NULL) {
        return -1;
    }

    return s3_base64_decode(text, len, digest, info->size);
}


int
s3_checksum_combine(s3_checksum_e algorithm, const unsigned char *a,
    const unsigned char *b, uint64_t b_len, unsigned char *digest)
{
    uint64_t                   crc, crc_a, crc_b;
    const s3_checksum_info_t  *info;

    info = s3_checksum_info(algorithm);

    if (info == NULL || !info->combines) {
        return -1;
    }

    crc_a = s3_checksum_get(a, info->size);
    crc_b = s3_checksum_get(b, info->size);

    switch (algorithm) {

    case S3_CHECKSUM_CRC32:
        crc = s3_crc32_combine((uint32_t) crc_a, (uint32_t) crc_b, b_len);
        break;

    case S3_CHECKSUM_CRC32C:
        crc = s3_crc32c_combine((uint32_t) crc_a, (uint32_t) crc_b, b_len);
        break;

    default: /* S3_CHECKSUM_CRC64NVME */
        crc = s3_crc64nvme_combine(crc_a, crc_b, b_len);
        break;
    }

    s3_checksum_put(digest, crc, info->size);

    return 0;
}


size_t
s3_base64_encode(const unsigned char *data, size_t len, char *text)
{
    char      *p;
    uint32_t   v;

    for (p = text; len; p += 4) {
        v = (uint32_t) data[0] << 16;

        if (len > 1) {
            v |= (uint32_t) data[1] << 8;
        }

        if (len > 2) {
            v |= data[2];
        }

        p[0] = s3_base64_alphabet[v >> 18];
        p[1] = s3_base64_alphabet[(v >> 12) & 63];
        p[2] = len > 1 ? s3_base64_alphabet[(v >> 6) & 63] : '=';
        p[3] = len > 2 ? s3_base64_alphabet[v & 63] : '=';

        if (len <= 3) {
            p += 4;
            break;
        }

        data += 3;
        len -= 3;
    }

    *p = '\0';

    return (size_t) (p - text);
}


int
s3_base64_decode(const char *text, size_t len, unsigned char *data,
    size_t size)
{
    int       value;
    size_t    chars, i, n;
    uint32_t  bits;

    if (len != 4 * ((size + 2) / 3)) {
        return -1;
    }

    chars = (size * 8 + 5) / 6;
    bits = 0;
    n = 0;

    for (i = 0; i < chars; i++) {
        value = s3_base64_value(text[i]);

        if (value < 0) {
            return -1;
        }

        bits = bits << 6 | (uint32_t) value;

        /* the 1st character of each four completes no byte */

        if (i & 3) {
            data[n++] = (unsigned char) (bits >> (6 - 2 * (i & 3)));
            bits &= (1U << (6 - 2 * (i & 3))) - 1;
        }
    }

    if (bits) {
        return -1;
    }

    for ( /* void */ ; i < len; i++) {
        if (text[i] != '=') {
            return -1;
        }
    }

    return 0;
}


static int
s3_base64_value(char ch)
{
    if (ch >= 'A' && ch <= 'Z') {
        return ch - 'A';
    }

    if (ch >= 'a' && ch <= 'z') {
        return ch - 'a' + 26;
    }

    if (ch >= '0' && ch <= '9') {
        return ch - '0' + 52;
    }

    return ch == '+' ? 62 : ch == '/' ? 63 : -1;
}
