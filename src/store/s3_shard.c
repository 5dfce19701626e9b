
/*
 * A shard file.  Integers are little endian, crc32c is the usual one
 * (Castagnoli, RFC 3720 B.4).
 *
 *     0            data, shard size bytes: units one after the other, all
 *                  but the last in whole blocks of 65536 bytes, the last in
 *                  whole pages of 4096
 *     shard size   table, pages of
 *
 *                      0      u32 crc32c of block 1023 * page
 *                      4      u32 crc32c of block 1023 * page + 1
 *                      ...    zeros where there is no such block
 *                      4092   u32 crc32c of shard id (16 bytes), page number
 *                             (u32) and the page's 4092 bytes before it
 *
 *     end - 4096   footer
 *
 *                      0      "s3shard\n"
 *                      8      u32 version: 1
 *                      12     u8  k
 *                      13     u8  m
 *                      14     u8  shard number
 *                      15     u8  0
 *                      16     set id, 16 bytes
 *                      32     shard id, 16 bytes
 *                      48     session, 16 bytes
 *                      64     u32 unit
 *                      68     u32 block size: 65536
 *                      72     u64 size of the data the shard is one of
 *                      80     u64 shard size
 *                      88     u32 pages in the table
 *                      92     zeros
 *                      4092   u32 crc32c of the 4092 bytes before it
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* SYNC_FILE_RANGE_... */
#endif

#include "s3_shard.h"
#include "s3_door.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l.h>
#include <stdlib.h>
#include <string.h>


#define S3_SHARD_MAGIC      "s3shard\n"
#define S3_SHARD_VERSION    1

/* a page's bytes under its checksum, and a table page's entries */
#define S3_PAGE_BODY        (S3_PAGE_SIZE - 4)
#define S3_PAGE_CRCS        (S3_PAGE_BODY / 4)

#define S3_FIRST_BLOCKS     16
#define S3_SHARD_BEHIND     (2 * 1024 * 1024)

/* "tmp/" SESSION "/" ID "\0" is the longest */
#define S3_SHARD_PATH       (4 + 32 + 1 + 32 + 1)


struct s3_shard_writer_s {
    s3_shard_info_t    info;
    int                dir;        /* tmp/SESSION, its own */
    int                fd;
    int                error;      /* of the first write that failed */
    uint64_t           offset;
    uint64_t           begun;      /* so far the disk was told to write */
    uint32_t          *crcs;
    uint32_t           ncrcs;
    uint32_t           max;        /* allocated */
};


struct s3_shard_reader_s {
    int                fd;
    uint8_t            shard_id[16];
    uint64_t           size;       /* of the shard */
    uint32_t           page;       /* number of the one kept */
    uint32_t           npages;
    int                kept;
    uint8_t            table[S3_PAGE_SIZE];
};


static void s3_shard_footer(uint8_t *p, const s3_shard_info_t *info);
static uint32_t s3_shard_pages(uint64_t size);
static int s3_shard_make_dir(int root, const char *data);
static int s3_shard_open_file(int root, const s3_shard_info_t *info);
static int s3_shard_table(s3_shard_reader_t *r, uint32_t page);
static int s3_shard_check_table(s3_shard_reader_t *r, uint32_t page);
static uint32_t s3_shard_table_crc(const uint8_t id[16], uint32_t page,
    const uint8_t *p);
static void s3_shard_tmp_path(char *path, const uint8_t session[16],
    const uint8_t id[16]);
static void s3_shard_data_path(char *path, const uint8_t id[16]);
static int s3_shard_write_back(s3_shard_writer_t *w);
static int s3_shard_close_writer(s3_shard_writer_t *w, int unlink, int rc);
static uint32_t s3_shard_crc(uint32_t crc, const void *p, size_t len);
static void s3_put_u32(uint8_t *p, uint32_t v);
static void s3_put_u64(uint8_t *p, uint64_t v);
static uint32_t s3_get_u32(const uint8_t *p);


void
s3_id_text(const uint8_t id[16], char text[33])
{
    unsigned           i;
    static const char  hex[] = "0123456789abcdef";

    for (i = 0; i < 16; i++) {
        text[2 * i] = hex[id[i] >> 4];
        text[2 * i + 1] = hex[id[i] & 15];
    }

    text[32] = '\0';
}


int
s3_id_parse(const char *text, uint8_t id[16])
{
    unsigned  i, digit;

    for (i = 0; i < 32; i++) {

        /* lower case alone: an id has one name; '\0' ends it here too */

        if (text[i] >= '0' && text[i] <= '9') {
            digit = text[i] - '0';

        } else if (text[i] >= 'a' && text[i] <= 'f') {
            digit = text[i] - 'a' + 10;

        } else {
            return -1;
        }

        if (i % 2 == 0) {
            id[i / 2] = (uint8_t) (digit << 4);

        } else {
            id[i / 2] |= (uint8_t) digit;
        }
    }

    return text[32] == '\0' ? 0 : -1;
}


int
s3_shard_create(int dir, const s3_shard_info_t *info,
    s3_shard_writer_t **writer)
{
    int                 err;
    char                name[33];
    s3_shard_writer_t  *w;

    if (!s3_geometry_valid(&info->geometry)
        || info->shard >= info->geometry.k + info->geometry.m)
    {
        return EINVAL;
    }

    w = calloc(1, sizeof(s3_shard_writer_t));
    if (w == NULL) {
        return ENOMEM;
    }

    w->info = *info;

    /* the caller's may be closed before the writer is done */

    w->dir = s3_door->openat(dir, ".", O_RDONLY|O_DIRECTORY, 0);

    if (w->dir == -1) {
        err = errno;
        free(w);
        return err;
    }

    s3_id_text(info->shard_id, name);

    w->fd = s3_door->openat(dir, name, O_CREAT|O_EXCL|O_WRONLY, 0600);

    if (w->fd == -1) {
        err = errno;
        (void) s3_door->close(w->dir);
        free(w);
        return err;
    }

    *writer = w;

    return 0;
}


int
s3_shard_write(s3_shard_writer_t *w, const void *buf, size_t len)
{
    size_t          n;
    uint32_t        max, *crcs;
    const uint8_t  *p, *last;

    if (w->error) {
        return w->error;
    }

    if (len == 0 || len % S3_PAGE_SIZE || w->offset % S3_BLOCK_SIZE) {
        w->error = EINVAL;
        return w->error;
    }

    if (len > S3_EXTENT_MAX - w->offset) {
        w->error = EFBIG;
        return w->error;
    }

    /* no overflow: S3_EXTENT_MAX */

    n = w->ncrcs + (len + S3_BLOCK_SIZE - 1) / S3_BLOCK_SIZE;

    if (n > w->max) {
        max = w->max ? w->max : S3_FIRST_BLOCKS;

        while (max < n) {
            max *= 2;
        }

        crcs = realloc(w->crcs, max * sizeof(uint32_t));
        if (crcs == NULL) {
            w->error = ENOMEM;
            return w->error;
        }

        w->crcs = crcs;
        w->max = max;
    }

    p = buf;
    last = p + len;

    for ( /* void */ ; p < last; p += n) {
        n = last - p;

        if (n > S3_BLOCK_SIZE) {
            n = S3_BLOCK_SIZE;
        }

        w->crcs[w->ncrcs++] = s3_shard_crc(0, p, n);
    }

    if (s3_door_write_all(w->fd, buf, len, w->offset) == -1) {
        w->error = errno;
        return w->error;
    }

    w->offset += len;

    if (w->offset - w->begun >= S3_SHARD_BEHIND) {
        w->error = s3_shard_write_back(w);
    }

    return w->error;
}


/*
 * What is written goes to the disk while more comes, and is waited for a piece
 * later: else all of a large shard would wait for finish's sync, longer than
 * one operation may take (s3_disk_timeout), and be dirty in memory until then.
 * It makes nothing durable.  An error it reports is not reported again.
 */

static int
s3_shard_write_back(s3_shard_writer_t *w)
{
    uint64_t  before;

    before = (w->begun < S3_SHARD_BEHIND) ? 0 : w->begun - S3_SHARD_BEHIND;

    if (s3_door->sync_file_range(w->fd, w->begun, w->offset - w->begun,
                                 SYNC_FILE_RANGE_WRITE)
        == -1
        || (w->begun > before
            && s3_door->sync_file_range(w->fd, before, w->begun - before,
                                        SYNC_FILE_RANGE_WAIT_BEFORE
                                        |SYNC_FILE_RANGE_WRITE
                                        |SYNC_FILE_RANGE_WAIT_AFTER)
               == -1))
    {
        /* a file system or a filter that has no such call: finish syncs all */

        if (errno != ENOSYS && errno != EINVAL && errno != ESPIPE
            && errno != EPERM)
        {
            return errno;
        }
    }

    w->begun = w->offset;

    return 0;
}


int
s3_shard_finish(s3_shard_writer_t *w, const s3_shard_info_t *info)
{
    int        rc;
    size_t     size;
    uint8_t   *tail, *p;
    uint32_t   i, pages;

    if (w->error) {
        return s3_shard_close_writer(w, 1, w->error);
    }

    if (info->size == 0
        || info->size > S3_EXTENT_MAX
        || memcmp(info->set_id, w->info.set_id, 16) != 0
        || memcmp(info->shard_id, w->info.shard_id, 16) != 0
        || memcmp(info->session, w->info.session, 16) != 0
        || info->geometry.k != w->info.geometry.k
        || info->geometry.m != w->info.geometry.m
        || info->geometry.unit != w->info.geometry.unit
        || info->shard != w->info.shard
        || s3_shard_size(&info->geometry, info->size) != w->offset)
    {
        return s3_shard_close_writer(w, 1, EINVAL);
    }

    /* 81 pages at most */

    pages = s3_shard_pages(w->offset);
    size = ((size_t) pages + 1) * S3_PAGE_SIZE;

    tail = calloc(1, size);
    if (tail == NULL) {
        return s3_shard_close_writer(w, 1, ENOMEM);
    }

    for (i = 0; i < w->ncrcs; i++) {
        p = tail + (size_t) (i / S3_PAGE_CRCS) * S3_PAGE_SIZE;
        s3_put_u32(p + 4 * (i % S3_PAGE_CRCS), w->crcs[i]);
    }

    for (i = 0; i < pages; i++) {
        p = tail + (size_t) i * S3_PAGE_SIZE;
        s3_put_u32(p + S3_PAGE_BODY,
                   s3_shard_table_crc(info->shard_id, i, p));
    }

    s3_shard_footer(tail + (size_t) pages * S3_PAGE_SIZE, info);

    rc = 0;

    /* the directory's sync makes the name durable; a shard counts in a mask
     * only after both */

    if (s3_door_write_all(w->fd, tail, size, w->offset) == -1
        || s3_door->fdatasync(w->fd) == -1
        || s3_door->fsync(w->dir) == -1)
    {
        rc = errno;
    }

    free(tail);

    return s3_shard_close_writer(w, rc != 0, rc);
}


void
s3_shard_abort(s3_shard_writer_t *w)
{
    (void) s3_shard_close_writer(w, 1, 0);
}


static int
s3_shard_close_writer(s3_shard_writer_t *w, int unlink, int rc)
{
    char  name[33];

    (void) s3_door->close(w->fd);

    if (unlink) {

        /* what stays behind is the cleaner's, who empties the session */

        s3_id_text(w->info.shard_id, name);
        (void) s3_door->unlinkat(w->dir, name, 0);
    }

    (void) s3_door->close(w->dir);

    free(w->crcs);
    free(w);

    return rc;
}


int
s3_shard_open(int root, const s3_shard_info_t *info,
    s3_shard_reader_t **reader)
{
    int                 fd, rc;
    uint8_t             tail[2 * S3_PAGE_SIZE], footer[S3_PAGE_SIZE];
    uint64_t            size;
    uint32_t            pages;
    struct stat         st;
    s3_shard_reader_t  *r;

    if (!s3_geometry_valid(&info->geometry) || info->size == 0
        || info->size > S3_EXTENT_MAX
        || info->shard >= info->geometry.k + info->geometry.m)
    {
        return EINVAL;
    }

    fd = s3_shard_open_file(root, info);
    if (fd == -1) {
        return errno;
    }

    r = NULL;

    if (s3_door->fstat(fd, &st) == -1) {
        rc = errno;
        goto failed;
    }

    size = s3_shard_size(&info->geometry, info->size);
    pages = s3_shard_pages(size);

    if (!S_ISREG(st.st_mode)
        || (uint64_t) st.st_size
           != size + ((uint64_t) pages + 1) * S3_PAGE_SIZE)
    {
        rc = EBADMSG;
        goto failed;
    }

    /* and with it the table's last page, of most shards the only one */

    if (s3_door_read_all(fd, tail, sizeof(tail), st.st_size - sizeof(tail))
        == -1)
    {
        rc = errno;
        goto failed;
    }

    /* every byte of a footer follows from info */

    s3_shard_footer(footer, info);

    if (memcmp(tail + S3_PAGE_SIZE, footer, S3_PAGE_SIZE) != 0) {
        rc = EBADMSG;
        goto failed;
    }

    r = malloc(sizeof(s3_shard_reader_t));
    if (r == NULL) {
        rc = ENOMEM;
        goto failed;
    }

    r->fd = fd;
    memcpy(r->shard_id, info->shard_id, 16);
    r->size = size;
    r->npages = pages;
    memcpy(r->table, tail, S3_PAGE_SIZE);

    rc = s3_shard_check_table(r, pages - 1);
    if (rc) {
        goto failed;
    }

    *reader = r;

    return 0;

failed:

    (void) s3_door->close(fd);
    free(r);

    return rc;
}


static int
s3_shard_open_file(int root, const s3_shard_info_t *info)
{
    int   fd;
    char  data[S3_SHARD_PATH], tmp[S3_SHARD_PATH];

    s3_shard_data_path(data, info->shard_id);
    s3_shard_tmp_path(tmp, info->session, info->shard_id);

    fd = s3_door->openat(root, data, O_RDONLY|O_NOFOLLOW, 0);
    if (fd != -1 || errno != ENOENT) {
        return fd;
    }

    fd = s3_door->openat(root, tmp, O_RDONLY|O_NOFOLLOW, 0);
    if (fd != -1 || errno != ENOENT) {
        return fd;
    }

    /* renamed between the two looks; it never goes back */

    return s3_door->openat(root, data, O_RDONLY|O_NOFOLLOW, 0);
}


int
s3_shard_read(s3_shard_reader_t *r, void *buf, size_t len, uint64_t offset)
{
    int        rc;
    size_t     n;
    uint8_t   *p, *last;
    uint64_t   block;

    if (len == 0 || offset % S3_BLOCK_SIZE || offset > r->size
        || len > r->size - offset
        || (len % S3_BLOCK_SIZE && offset + len != r->size))
    {
        return EINVAL;
    }

    if (s3_door_read_all(r->fd, buf, len, offset) == -1) {
        return errno;
    }

    p = buf;
    last = p + len;
    block = offset / S3_BLOCK_SIZE;

    for ( /* void */ ; p < last; p += n) {
        n = last - p;

        if (n > S3_BLOCK_SIZE) {
            n = S3_BLOCK_SIZE;
        }

        rc = s3_shard_table(r, (uint32_t) (block / S3_PAGE_CRCS));
        if (rc) {
            return rc;
        }

        if (s3_shard_crc(0, p, n)
            != s3_get_u32(r->table + 4 * (block % S3_PAGE_CRCS)))
        {
            return EBADMSG;
        }

        block++;
    }

    return 0;
}


void
s3_shard_close(s3_shard_reader_t *r)
{
    (void) s3_door->close(r->fd);
    free(r);
}


void
s3_shard_forget(s3_shard_reader_t *r, s3_shard_writer_t *w)
{
    free(r);

    if (w) {
        free(w->crcs);
        free(w);
    }
}


/* that page of the table into r->table */

static int
s3_shard_table(s3_shard_reader_t *r, uint32_t page)
{
    if (r->kept && r->page == page) {
        return 0;
    }

    r->kept = 0;

    if (s3_door_read_all(r->fd, r->table, S3_PAGE_SIZE,
                         r->size + (uint64_t) page * S3_PAGE_SIZE)
        == -1)
    {
        return errno;
    }

    return s3_shard_check_table(r, page);
}


static int
s3_shard_check_table(s3_shard_reader_t *r, uint32_t page)
{
    r->kept = 0;

    if (s3_get_u32(r->table + S3_PAGE_BODY)
        != s3_shard_table_crc(r->shard_id, page, r->table))
    {
        return EBADMSG;
    }

    r->kept = 1;
    r->page = page;

    return 0;
}


int
s3_shard_settle(int root, const uint8_t session[16],
    const uint8_t shard_id[16])
{
    int          rc;
    char         data[S3_SHARD_PATH], tmp[S3_SHARD_PATH];
    struct stat  st;

    s3_shard_data_path(data, shard_id);
    s3_shard_tmp_path(tmp, session, shard_id);

    if (s3_door->renameat(root, tmp, root, data) == 0) {
        return 0;
    }

    if (errno != ENOENT) {
        return errno;
    }

    /* there is no tmp, or no XX */

    if (s3_door->fstatat(root, tmp, &st, AT_SYMLINK_NOFOLLOW) == -1) {

        if (errno != ENOENT) {
            return errno;
        }

        return s3_door->fstatat(root, data, &st, AT_SYMLINK_NOFOLLOW) == -1
               ? errno : 0;
    }

    rc = s3_shard_make_dir(root, data);
    if (rc) {
        return rc;
    }

    return s3_door->renameat(root, tmp, root, data) == -1 ? errno : 0;
}


/*
 * data/XX, durable before anything is renamed into it: a later sync of tmp/
 * SESSION makes the rename durable, and the shard would be in neither place
 * if XX were lost.
 */

static int
s3_shard_make_dir(int root, const char *data)
{
    int   fd, rc;
    char  dir[8];

    memcpy(dir, data, 7);
    dir[7] = '\0';

    if (s3_door->mkdirat(root, dir, 0700) == -1 && errno != EEXIST) {
        return errno;
    }

    fd = s3_door->openat(root, "data", O_RDONLY|O_DIRECTORY, 0);
    if (fd == -1) {
        return errno;
    }

    rc = s3_door->fsync(fd) == -1 ? errno : 0;

    (void) s3_door->close(fd);

    return rc;
}


int
s3_shard_unlink_tmp(int root, const uint8_t session[16],
    const uint8_t shard_id[16])
{
    char  path[S3_SHARD_PATH];

    s3_shard_tmp_path(path, session, shard_id);

    return s3_door->unlinkat(root, path, 0) == -1 && errno != ENOENT
           ? errno : 0;
}


int
s3_shard_remove(int root, const uint8_t session[16],
    const uint8_t shard_id[16])
{
    char  path[S3_SHARD_PATH];

    /* in the order in which it moves: it can't slip by */

    s3_shard_tmp_path(path, session, shard_id);

    if (s3_door->unlinkat(root, path, 0) == -1 && errno != ENOENT) {
        return errno;
    }

    s3_shard_data_path(path, shard_id);

    if (s3_door->unlinkat(root, path, 0) == -1 && errno != ENOENT) {
        return errno;
    }

    return 0;
}


static void
s3_shard_footer(uint8_t *p, const s3_shard_info_t *info)
{
    uint64_t  size;

    size = s3_shard_size(&info->geometry, info->size);

    memset(p, 0, S3_PAGE_SIZE);

    memcpy(p, S3_SHARD_MAGIC, 8);
    s3_put_u32(p + 8, S3_SHARD_VERSION);
    p[12] = info->geometry.k;
    p[13] = info->geometry.m;
    p[14] = info->shard;
    memcpy(p + 16, info->set_id, 16);
    memcpy(p + 32, info->shard_id, 16);
    memcpy(p + 48, info->session, 16);
    s3_put_u32(p + 64, info->geometry.unit);
    s3_put_u32(p + 68, S3_BLOCK_SIZE);
    s3_put_u64(p + 72, info->size);
    s3_put_u64(p + 80, size);
    s3_put_u32(p + 88, s3_shard_pages(size));
    s3_put_u32(p + S3_PAGE_BODY, s3_shard_crc(0, p, S3_PAGE_BODY));
}


/* in the table of a shard of that size */

static uint32_t
s3_shard_pages(uint64_t size)
{
    uint64_t  blocks;

    blocks = (size + S3_BLOCK_SIZE - 1) / S3_BLOCK_SIZE;

    return (uint32_t) ((blocks + S3_PAGE_CRCS - 1) / S3_PAGE_CRCS);
}


static uint32_t
s3_shard_table_crc(const uint8_t id[16], uint32_t page, const uint8_t *p)
{
    uint8_t   number[4];
    uint32_t  crc;

    s3_put_u32(number, page);

    crc = s3_shard_crc(0, id, 16);
    crc = s3_shard_crc(crc, number, 4);

    return s3_shard_crc(crc, p, S3_PAGE_BODY);
}


static void
s3_shard_tmp_path(char *path, const uint8_t session[16],
    const uint8_t id[16])
{
    memcpy(path, "tmp/", 4);
    s3_id_text(session, path + 4);
    path[36] = '/';
    s3_id_text(id, path + 37);
}


static void
s3_shard_data_path(char *path, const uint8_t id[16])
{
    memcpy(path, "data/", 5);
    s3_id_text(id, path + 8);
    path[5] = path[8];
    path[6] = path[9];
    path[7] = '/';
}


/* crc: 0, or that of the bytes before */

static uint32_t
s3_shard_crc(uint32_t crc, const void *p, size_t len)
{
    /* crc32_iscsi() inverts nothing itself, and lacks a const */

    return ~crc32_iscsi((unsigned char *) p, (int) len, ~crc);
}


static void
s3_put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t) v;
    p[1] = (uint8_t) (v >> 8);
    p[2] = (uint8_t) (v >> 16);
    p[3] = (uint8_t) (v >> 24);
}


static void
s3_put_u64(uint8_t *p, uint64_t v)
{
    s3_put_u32(p, (uint32_t) v);
    s3_put_u32(p + 4, (uint32_t) (v >> 32));
}


static uint32_t
s3_get_u32(const uint8_t *p)
{
    return p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
           | (uint32_t) p[3] << 24;
}
