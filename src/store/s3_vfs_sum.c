/*
 * Sums of what an index has on the disk.
 *
 * A page of the database as it stands on the disk, 4096 bytes:
 *
 *      0                                  4080    4084         4092    4096
 *     +----------------------------------+-------+------------+-------+
 *     | SQLite's                         | magic | zeros      | crc   |
 *     +----------------------------------+-------+------------+-------+
 *
 *     magic   53 33 50 31, "S3P1"
 *     crc     CRC32C, little endian, of the page number (4 bytes, little
 *             endian, from 1) and then of bytes 0 to 4091: a page that was
 *             written to another page's place does not match either
 *
 * The write-ahead log is SQLite's own format (sqlite.org/fileformat2.html,
 * 4.1), of which this file uses the places:
 *
 *      0            32          56                 4152        4176
 *     +------------+-----------+------------------+-----------+----...
 *     | log header | frame 1:  | page image       | frame 2   |
 *     |            | pgno, ... | 4096 bytes       |           |
 *     +------------+-----------+------------------+-----------+----...
 *
 * SQLite verifies its frames once, at recovery, and trusts them from then on.
 * So a CRC32C of every page image is kept in memory: from its write, or from
 * the read of the whole frame that only recovery makes of a frame not known
 * yet.  The entries always describe what the file holds, stale frames of a
 * restarted log included.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l.h>

#include "s3_vfs_internal.h"


static const uint8_t  s3_vfs_magic[4] = { 'S', '3', 'P', '1' };


static uint32_t
s3_vfs_crc(const void *p, size_t size, uint32_t seed)
{
    uint8_t   head[4];
    uint32_t  crc;

    head[0] = (uint8_t) seed;
    head[1] = (uint8_t) (seed >> 8);
    head[2] = (uint8_t) (seed >> 16);
    head[3] = (uint8_t) (seed >> 24);

    /* ISA-L neither inverts the start value nor the result */
    crc = crc32_iscsi(head, sizeof(head), 0xffffffff);
    crc = crc32_iscsi((unsigned char *) p, (int) size, crc);

    return ~crc;
}


void
s3_vfs_stamp(uint8_t *page, uint32_t pgno)
{
    uint32_t  crc;

    memcpy(page + S3_VFS_MAGIC_AT, s3_vfs_magic, sizeof(s3_vfs_magic));
    memset(page + S3_VFS_MAGIC_AT + sizeof(s3_vfs_magic), 0,
           S3_VFS_CRC_AT - S3_VFS_MAGIC_AT - sizeof(s3_vfs_magic));

    crc = s3_vfs_crc(page, S3_VFS_CRC_AT, pgno);

    page[S3_VFS_CRC_AT] = (uint8_t) crc;
    page[S3_VFS_CRC_AT + 1] = (uint8_t) (crc >> 8);
    page[S3_VFS_CRC_AT + 2] = (uint8_t) (crc >> 16);
    page[S3_VFS_CRC_AT + 3] = (uint8_t) (crc >> 24);
}


/*
 * A page of zeros does not pass: SQLite reads no page that it has not written
 * (new pages are taken without reading), while zeros are what a disk gives
 * for blocks it has lost, and in an overflow page they would pass for data.
 */

int
s3_vfs_verify(const uint8_t *page, uint32_t pgno)
{
    uint32_t  crc;

    if (memcmp(page + S3_VFS_MAGIC_AT, s3_vfs_magic, sizeof(s3_vfs_magic))
        != 0)
    {
        return 0;
    }

    crc = (uint32_t) page[S3_VFS_CRC_AT]
          | (uint32_t) page[S3_VFS_CRC_AT + 1] << 8
          | (uint32_t) page[S3_VFS_CRC_AT + 2] << 16
          | (uint32_t) page[S3_VFS_CRC_AT + 3] << 24;

    return crc == s3_vfs_crc(page, S3_VFS_CRC_AT, pgno);
}


/* --- the log's frames, with the mutex held --- */


static int
s3_vfs_frames_grow(s3_vfs_t *vfs, size_t n)
{
    size_t     size;
    uint64_t  *p;

    if (n > S3_VFS_MAX_FRAMES) {
        return ENOSPC;
    }

    if (n > vfs->sframes) {
        size = vfs->sframes ? vfs->sframes : 1024;

        while (size < n) {
            size *= 2;
        }

        p = realloc(vfs->frames, size * sizeof(uint64_t));
        if (p == NULL) {
            return ENOMEM;
        }

        vfs->frames = p;
        vfs->sframes = size;
    }

    if (n > vfs->nframes) {
        memset(vfs->frames + vfs->nframes, 0,
               (n - vfs->nframes) * sizeof(uint64_t));
        vfs->nframes = n;
    }

    return 0;
}


/* the frames (from 0) whose page images the bytes from offset touch */

static void
s3_vfs_frames_of(uint64_t offset, uint64_t size, size_t *first, size_t *last)
{
    uint64_t  end;

    end = offset + size;

    if (size == 0 || end <= S3_VFS_WAL_HEADER + S3_VFS_FRAME_HEADER) {
        *first = 1;
        *last = 0;
        return;
    }

    *first = offset <= S3_VFS_WAL_HEADER
             ? 0 : (size_t) ((offset - S3_VFS_WAL_HEADER) / S3_VFS_FRAME);
    *last = (size_t) ((end - 1 - S3_VFS_WAL_HEADER) / S3_VFS_FRAME);

    if (end <= S3_VFS_WAL_HEADER + *last * (uint64_t) S3_VFS_FRAME
               + S3_VFS_FRAME_HEADER)
    {
        /* only the last one's header */

        if (*last == 0 || *last == *first) {
            *first = 1;
            *last = 0;
            return;
        }

        (*last)--;
    }
}


/* before a write all it touches is unknown, after it known where whole */

int
s3_vfs_wal_note(s3_vfs_t *vfs, const uint8_t *p, uint64_t offset,
    uint64_t size, int done)
{
    int       err;
    size_t    i, first, last;
    uint32_t  pgno;
    uint64_t  at;

    s3_vfs_frames_of(offset, size, &first, &last);

    if (first > last) {

        /* a frame's header alone: its page number bounds the database */

        if (done && size == S3_VFS_FRAME_HEADER
            && offset >= S3_VFS_WAL_HEADER)
        {
            pgno = (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
                   | (uint32_t) p[2] << 8 | p[3];

            if (pgno > vfs->max_pgno) {
                vfs->max_pgno = pgno;
            }
        }

        return 0;
    }

    if (!done) {
        err = s3_vfs_frames_grow(vfs, last + 1);
        if (err) {
            return err;
        }
    }

    for (i = first; i <= last; i++) {
        at = S3_VFS_WAL_HEADER + i * (uint64_t) S3_VFS_FRAME
             + S3_VFS_FRAME_HEADER;

        vfs->frames[i] = 0;

        if (done && at >= offset && at + S3_VFS_PAGE <= offset + size) {
            vfs->frames[i] = S3_VFS_KNOWN
                             | s3_vfs_crc(p + (at - offset), S3_VFS_PAGE, 0);
        }
    }

    return 0;
}


int
s3_vfs_wal_check(s3_vfs_t *vfs, const uint8_t *p, uint64_t offset,
    uint64_t size)
{
    int       err;
    size_t    i, first, last;
    uint64_t  at, sum;

    s3_vfs_frames_of(offset, size, &first, &last);

    if (first > last) {
        return 0;
    }

    for (i = first; i <= last; i++) {
        at = S3_VFS_WAL_HEADER + i * (uint64_t) S3_VFS_FRAME
             + S3_VFS_FRAME_HEADER;

        if (at < offset || at + S3_VFS_PAGE > offset + size) {

            /* a piece of a page can't be verified, and SQLite reads none */

            return EBADMSG;
        }

        sum = S3_VFS_KNOWN | s3_vfs_crc(p + (at - offset), S3_VFS_PAGE, 0);

        if (i < vfs->nframes && vfs->frames[i]) {

            if (vfs->frames[i] != sum) {
                return EBADMSG;
            }

            continue;
        }

        if (at - S3_VFS_FRAME_HEADER < offset) {

            /* not recovery, and nobody knows what should stand here */

            return EBADMSG;
        }

        err = s3_vfs_frames_grow(vfs, i + 1);
        if (err) {
            return err;
        }

        vfs->frames[i] = sum;
    }

    return 0;
}
