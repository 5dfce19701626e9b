/*
 * SQLite's write-ahead log (sqlite.org/fileformat2.html, section 4), read as
 * far as to know of which pages it has an image.  Integers are big endian.
 *
 *      0            32         56                  4152       4176
 *     +------------+----------+-------------------+----------+----...
 *     | header     | frame 1  | image, 4096 bytes | frame 2  |
 *     +------------+----------+-------------------+----------+----...
 *
 *     header   magic 4 | version 4 | page size 4 | checkpoints 4
 *              | salts 8 | checksum 8, of the 24 bytes before
 *     frame    page 4 | pages of the database, or 0 4 | salts 8
 *              | checksum 8, carried on over the first 8 bytes and the image
 *
 * Frames count up to the last one that ends a commit.
 */


#include "store.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>


#define ST_LOG_HEADER      32
#define ST_LOG_FRAME       24
#define ST_LOG_MAGIC       0x377f0682  /* | 1: sums of big-endian words */


static uint32_t st_get_be(const uint8_t *p);
static void st_log_sum(const uint8_t *p, size_t n, int big, uint32_t sum[2]);
static int st_log_walk(int fd, uint64_t size, const uint8_t *header,
    uint64_t last, uint8_t *map, uint64_t pages, uint64_t *commit,
    uint64_t *end, uint64_t *stale);


int
st_log_map(int fd, uint64_t max, uint8_t *map, uint64_t pages,
    uint64_t *unread)
{
    int          rc;
    uint8_t      header[ST_LOG_HEADER];
    uint32_t     sum[2];
    uint64_t     commit, end, stale, size;
    struct stat  st;

    *unread = 0;

    if (fd == -1) {
        return 0;
    }

    if (fstat(fd, &st) == -1) {
        return -1;
    }

    size = (uint64_t) st.st_size < max ? (uint64_t) st.st_size : max;

    if (size < ST_LOG_HEADER) {
        return 0;
    }

    rc = st_read_at(fd, header, ST_LOG_HEADER, 0);
    if (rc) {
        errno = rc;
        return -1;
    }

    sum[0] = 0;
    sum[1] = 0;
    st_log_sum(header, 24, header[3] & 1, sum);

    if ((st_get_be(header) & ~1U) != ST_LOG_MAGIC
        || st_get_be(header + 8) != ST_PAGE
        || st_get_be(header + 24) != sum[0]
        || st_get_be(header + 28) != sum[1])
    {
        /* none: SQLite sees it as empty */
        return 0;
    }

    /* first where the last commit ends, then what stands before it */

    rc = st_log_walk(fd, size, header, UINT64_MAX, NULL, 0,
                     &commit, &end, &stale);

    if (rc == 0 && stale) {
        *unread = size - end;
    }

    if (rc == 0 && commit) {
        rc = st_log_walk(fd, size, header, commit, map,
                         pages, &commit, &end, &stale);
    }

    if (rc) {
        errno = rc;
        return -1;
    }

    return 0;
}


/*
 * Up to that many frames.  commit: frames up to the last commit; end: offset
 * of the first that is not valid; stale: whether that one has the log's salts
 */

static int
st_log_walk(int fd, uint64_t size, const uint8_t *header, uint64_t last,
    uint8_t *map, uint64_t pages, uint64_t *commit, uint64_t *end,
    uint64_t *stale)
{
    int       rc, big;
    uint8_t   frame[ST_LOG_FRAME + ST_PAGE];
    uint32_t  sum[2], pgno;
    uint64_t  n;

    *commit = 0;
    *stale = 0;
    *end = ST_LOG_HEADER;

    big = header[3] & 1;
    sum[0] = st_get_be(header + 24);
    sum[1] = st_get_be(header + 28);

    for (n = 0; n < last && size - *end >= sizeof(frame); n++) {

        rc = st_read_at(fd, frame, sizeof(frame), *end);
        if (rc) {
            return rc;
        }

        if (memcmp(frame + 8, header + 16, 8) != 0) {
            return 0;
        }

        st_log_sum(frame, 8, big, sum);
        st_log_sum(frame + ST_LOG_FRAME, ST_PAGE, big, sum);

        pgno = st_get_be(frame);

        if (st_get_be(frame + 16) != sum[0] || st_get_be(frame + 20) != sum[1]
            || pgno == 0)
        {
            *stale = 1;
            return 0;
        }

        if (map && pgno <= pages) {
            map[pgno / 8] |= (uint8_t) (1U << (pgno % 8));
        }

        if (st_get_be(frame + 4)) {
            *commit = n + 1;
        }

        *end += sizeof(frame);
    }

    return 0;
}


static void
st_log_sum(const uint8_t *p, size_t n, int big, uint32_t sum[2])
{
    size_t    i;
    uint32_t  a, b;

    for (i = 0; i < n; i += 8) {
        a = st_get_be(p + i);
        b = st_get_be(p + i + 4);

        if (!big) {
            a = __builtin_bswap32(a);
            b = __builtin_bswap32(b);
        }

        sum[0] += a + sum[1];
        sum[1] += b + sum[0];
    }
}


static uint32_t
st_get_be(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}
