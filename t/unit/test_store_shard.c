
#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* SYNC_FILE_RANGE_WAIT_AFTER */
#endif

#include "s3_test.h"
#include "s3_shard.h"
#include "s3_door.h"


/* --- fixture: a disk with tmp/SESSION and data/ --- */

typedef struct {
    char              *path;
    int                root;
    int                dir;        /* tmp/SESSION */
    s3_shard_info_t    info;
    char               tmp[80];
    char               data[48];
} shard_disk_t;


static shard_disk_t   disk;
static s3_door_t      shard_door;
static unsigned       shard_calls, shard_fail;
static int            shard_errno;


static int
shard_setup(void **state)
{
    char  session[33], id[33], path[64];

    disk.path = s3_test_dir();
    disk.root = open(disk.path, O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(disk.root, -1);

    memset(&disk.info, 0, sizeof(s3_shard_info_t));
    s3_test_fill(disk.info.set_id, 16, 1);
    s3_test_fill(disk.info.shard_id, 16, 2);
    s3_test_fill(disk.info.session, 16, 3);
    disk.info.geometry = s3_geometry(4, 2);
    disk.info.shard = 3;

    s3_id_text(disk.info.session, session);
    s3_id_text(disk.info.shard_id, id);
    (void) snprintf(disk.tmp, sizeof(disk.tmp), "tmp/%s/%s", session, id);
    (void) snprintf(disk.data, sizeof(disk.data), "data/%.2s/%s", id, id);

    (void) snprintf(path, sizeof(path), "tmp/%s", session);
    assert_int_equal(mkdirat(disk.root, "tmp", 0700), 0);
    assert_int_equal(mkdirat(disk.root, "data", 0700), 0);
    assert_int_equal(mkdirat(disk.root, path, 0700), 0);
    disk.dir = openat(disk.root, path, O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(disk.dir, -1);

    return 0;
}


static int
shard_teardown(void **state)
{
    s3_door = &s3_door_system;

    close(disk.dir);
    close(disk.root);
    s3_test_dir_free(disk.path);

    return 0;
}


static int
there(const char *path)
{
    struct stat  st;

    return fstatat(disk.root, path, &st, 0) == 0;
}


/* the bytes of shard p of data of that size, written in units; not settled */

static int
write_shard(uint64_t size, uint64_t seed)
{
    int                 rc;
    uint8_t            *unit;
    uint32_t            len;
    uint64_t            stripe;
    s3_shard_writer_t  *w;

    disk.info.size = 0;

    rc = s3_shard_create(disk.dir, &disk.info, &w);
    if (rc) {
        return rc;
    }

    unit = malloc(disk.info.geometry.unit);
    assert_non_null(unit);

    for (stripe = 0; /* void */ ; stripe++) {
        len = s3_unit_size(&disk.info.geometry, size, stripe);
        if (len == 0) {
            break;
        }

        s3_test_fill(unit, len, seed + stripe);

        rc = s3_shard_write(w, unit, len);
        if (rc) {
            break;
        }
    }

    free(unit);

    /* an error of write comes again from finish */

    disk.info.size = size;

    if (rc) {
        assert_int_equal(s3_shard_finish(w, &disk.info), rc);
        return rc;
    }

    return s3_shard_finish(w, &disk.info);
}


static void
check_shard(uint64_t size, uint64_t seed)
{
    uint8_t            *unit, *want;
    uint32_t            len;
    uint64_t            stripe, offset;
    s3_shard_reader_t  *r;

    unit = malloc(disk.info.geometry.unit);
    want = malloc(disk.info.geometry.unit);
    assert_true(unit != NULL && want != NULL);

    disk.info.size = size;
    assert_int_equal(s3_shard_open(disk.root, &disk.info, &r), 0);

    offset = 0;

    for (stripe = 0; /* void */ ; stripe++) {
        len = s3_unit_size(&disk.info.geometry, size, stripe);
        if (len == 0) {
            break;
        }

        assert_int_equal(s3_shard_read(r, unit, len, offset), 0);
        s3_test_fill(want, len, seed + stripe);
        assert_memory_equal(unit, want, len);

        offset += len;
    }

    s3_shard_close(r);
    free(unit);
    free(want);
}


/* all of a small shard: 0 or what opening or reading it says */

static int
try_shard(void)
{
    int                 rc;
    uint8_t             buf[3 * S3_BLOCK_SIZE];
    uint64_t            size;
    s3_shard_reader_t  *r;

    rc = s3_shard_open(disk.root, &disk.info, &r);
    if (rc) {
        return rc;
    }

    size = s3_shard_size(&disk.info.geometry, disk.info.size);
    assert_true(size <= sizeof(buf));

    rc = s3_shard_read(r, buf, size, 0);
    s3_shard_close(r);

    return rc;
}


/* --- tests --- */

static void
ids(void **state)
{
    char     text[33];
    uint8_t  id[16], back[16];

    s3_test_fill(id, 16, 7);
    id[0] = 0x0a;
    id[15] = 0xf0;
    s3_id_text(id, text);
    assert_int_equal(strlen(text), 32);
    assert_memory_equal(text, "0a", 2);
    assert_memory_equal(text + 30, "f0", 3);
    assert_int_equal(s3_id_parse(text, back), 0);
    assert_memory_equal(id, back, 16);

    assert_int_equal(s3_id_parse("", back), -1);
    assert_int_equal(s3_id_parse("0", back), -1);
    assert_int_equal(s3_id_parse("0123456789abcdef0123456789abcde", back),
                     -1);
    assert_int_equal(s3_id_parse("0123456789abcdef0123456789abcdef0", back),
                     -1);
    assert_int_equal(s3_id_parse("0123456789ABCDEF0123456789abcdef", back),
                     -1);
    assert_int_equal(s3_id_parse("0123456789abcdeg0123456789abcdef", back),
                     -1);
    assert_int_equal(s3_id_parse("0123456789abcdef/123456789abcdef", back),
                     -1);
}


static void
round_trip(void **state)
{
    size_t  i;

    static const uint64_t  sizes[] = { 1, 4096, 8192, 8193, 16385, 131072,
                                       131073, 1048575, 1048576, 1048577,
                                       3 * 1048576 + 70000, 9000000 };

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(write_shard(sizes[i], i), 0);
        check_shard(sizes[i], i);
        assert_int_equal(s3_shard_settle(disk.root, disk.info.session,
                                         disk.info.shard_id),
                         0);
        check_shard(sizes[i], i);
        assert_int_equal(s3_shard_remove(disk.root, disk.info.session,
                                         disk.info.shard_id),
                         0);
    }

    disk.info.geometry = s3_geometry(1, 0);
    disk.info.shard = 0;
    assert_int_equal(write_shard(3000001, 1), 0);
    check_shard(3000001, 1);
}


/* a CRC32C of our own, bit by bit */

static uint32_t
crc32c(uint32_t crc, const uint8_t *p, size_t len)
{
    unsigned  i;

    crc = ~crc;

    while (len--) {
        crc ^= *p++;

        for (i = 0; i < 8; i++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }

    return ~crc;
}


static uint64_t
number(const uint8_t *p, unsigned len)
{
    uint64_t  v;

    v = 0;

    while (len--) {
        v = v << 8 | p[len];
    }

    return v;
}


static void
format(void **state)
{
    int       fd;
    size_t    i, size;
    uint8_t  *file, *footer, *table, page[4] = { 0, 0, 0, 0 };

    assert_int_equal(crc32c(0, (uint8_t *) "123456789", 9), 0xe3069283);

    /* one stripe less a little: a unit of 8 blocks, the last one short */

    assert_int_equal(write_shard(1000000, 5), 0);
    size = 7 * 65536 + 45056;
    assert_int_equal(s3_shard_size(&disk.info.geometry, 1000000), size);

    file = malloc(size + 8192);
    fd = openat(disk.root, disk.tmp, O_RDONLY);
    assert_int_not_equal(fd, -1);
    assert_int_equal(lseek(fd, 0, SEEK_END), size + 8192);
    assert_int_equal(s3_door_read_all(fd, file, size + 8192, 0), 0);
    close(fd);

    table = file + size;

    for (i = 0; i < 8; i++) {
        assert_int_equal(number(table + 4 * i, 4),
                         crc32c(0, file + i * 65536,
                                i < 7 ? 65536 : 45056));
    }

    for (i = 32; i < 4092; i++) {
        assert_int_equal(table[i], 0);
    }

    assert_int_equal(number(table + 4092, 4),
                     crc32c(crc32c(crc32c(0, disk.info.shard_id, 16),
                                   page, 4),
                            table, 4092));

    footer = table + 4096;

    assert_memory_equal(footer, "s3shard\n", 8);
    assert_int_equal(number(footer + 8, 4), 1);
    assert_int_equal(footer[12], 2);
    assert_int_equal(footer[13], 2);
    assert_int_equal(footer[14], 3);
    assert_int_equal(footer[15], 0);
    assert_memory_equal(footer + 16, disk.info.set_id, 16);
    assert_memory_equal(footer + 32, disk.info.shard_id, 16);
    assert_memory_equal(footer + 48, disk.info.session, 16);
    assert_int_equal(number(footer + 64, 4), 524288);
    assert_int_equal(number(footer + 68, 4), 65536);
    assert_int_equal(number(footer + 72, 8), 1000000);
    assert_int_equal(number(footer + 80, 8), size);
    assert_int_equal(number(footer + 88, 4), 1);

    for (i = 92; i < 4092; i++) {
        assert_int_equal(footer[i], 0);
    }

    assert_int_equal(number(footer + 4092, 4), crc32c(0, footer, 4092));

    free(file);
}


static void
every_flipped_byte(void **state)
{
    int       fd;
    off_t     offset, size;
    uint8_t   byte, flipped;

    assert_int_equal(write_shard(10000, 5), 0);
    assert_int_equal(try_shard(), 0);

    fd = openat(disk.root, disk.tmp, O_RDWR);
    assert_int_not_equal(fd, -1);
    size = lseek(fd, 0, SEEK_END);
    assert_int_equal(size, 8192 + 4096 + 4096);

    for (offset = 0; offset < size; offset++) {
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        flipped = byte ^ (uint8_t) (1 << offset % 8);
        assert_int_equal(pwrite(fd, &flipped, 1, offset), 1);

        assert_int_equal(try_shard(), EBADMSG);

        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    }

    assert_int_equal(try_shard(), 0);
    close(fd);
}


static void
every_length(void **state)
{
    int       fd;
    off_t     len, size;
    uint8_t   file[16384];

    assert_int_equal(write_shard(10000, 5), 0);

    fd = openat(disk.root, disk.tmp, O_RDWR);
    assert_int_not_equal(fd, -1);
    size = lseek(fd, 0, SEEK_END);
    assert_int_equal(s3_door_read_all(fd, file, size, 0), 0);

    for (len = 0; len < size; len += 512) {
        assert_int_equal(ftruncate(fd, len), 0);
        assert_int_equal(try_shard(), EBADMSG);
    }

    assert_int_equal(s3_door_write_all(fd, file, size, 0), 0);
    assert_int_equal(try_shard(), 0);

    for (len = size + 1; len < size + 10000; len += 4095) {
        assert_int_equal(ftruncate(fd, len), 0);
        assert_int_equal(try_shard(), EBADMSG);
    }

    close(fd);
}


static void
other_data(void **state)
{
    s3_shard_info_t  info;

    assert_int_equal(write_shard(10000, 5), 0);
    info = disk.info;

    disk.info.set_id[15] ^= 1;
    assert_int_equal(try_shard(), EBADMSG);
    disk.info = info;

    disk.info.shard = 2;
    assert_int_equal(try_shard(), EBADMSG);
    disk.info = info;

    /* the same shard size, even the same stripe */

    disk.info.size = 10001;
    assert_int_equal(try_shard(), EBADMSG);
    disk.info = info;

    disk.info.geometry = s3_geometry(3, 1);
    disk.info.shard = 2;
    assert_int_equal(try_shard(), EBADMSG);
    disk.info = info;

    disk.info.geometry.unit = 1024 * 1024;
    assert_int_equal(try_shard(), EBADMSG);
    disk.info = info;

    /* another id: nowhere */

    disk.info.shard_id[0] ^= 1;
    assert_int_equal(try_shard(), ENOENT);
    disk.info = info;

    /* of another session: not found while it is in tmp, refused after */

    disk.info.session[0] ^= 1;
    assert_int_equal(try_shard(), ENOENT);
    assert_int_equal(s3_shard_settle(disk.root, info.session, info.shard_id),
                     0);
    assert_int_equal(try_shard(), EBADMSG);
    disk.info = info;
    assert_int_equal(try_shard(), 0);

    /* info that makes no sense */

    disk.info.size = 0;
    assert_int_equal(try_shard(), EINVAL);
    disk.info.size = S3_EXTENT_MAX + 1;
    assert_int_equal(try_shard(), EINVAL);
    disk.info = info;
    disk.info.shard = 4;
    assert_int_equal(try_shard(), EINVAL);
    disk.info = info;
    disk.info.geometry.k = 0;
    assert_int_equal(try_shard(), EINVAL);
}


/* a shard under another's name: its table page names it */

static void
another_shards_table(void **state)
{
    int       fd;
    uint8_t   table[4096];

    assert_int_equal(write_shard(10000, 5), 0);
    fd = openat(disk.root, disk.tmp, O_RDONLY);
    assert_int_equal(pread(fd, table, 4096, 8192), 4096);
    close(fd);

    disk.info.shard_id[15] ^= 1;
    assert_int_equal(write_shard(10000, 6), 0);
    s3_id_text(disk.info.shard_id, disk.tmp + 37);
    fd = openat(disk.root, disk.tmp, O_WRONLY);
    assert_int_equal(pwrite(fd, table, 4096, 8192), 4096);
    close(fd);

    assert_int_equal(try_shard(), EBADMSG);
}


static void
ranges(void **state)
{
    uint8_t            *buf, *want;
    uint64_t            size, first, last;
    s3_shard_reader_t  *r;

    disk.info.geometry = s3_geometry(2, 1);
    disk.info.shard = 0;
    assert_int_equal(write_shard(1024 * 1024 - 5000, 9), 0);
    size = s3_shard_size(&disk.info.geometry, disk.info.size);
    assert_int_equal(size % S3_BLOCK_SIZE, 61440);

    buf = malloc(size + S3_BLOCK_SIZE);
    want = malloc(size);
    s3_test_fill(want, size, 9);

    assert_int_equal(s3_shard_open(disk.root, &disk.info, &r), 0);

    for (first = 0; first < size; first += S3_BLOCK_SIZE) {
        for (last = first + S3_BLOCK_SIZE; /* void */ ;
             last += S3_BLOCK_SIZE)
        {
            if (last > size) {
                last = size;
            }

            memset(buf, 0, size);
            assert_int_equal(s3_shard_read(r, buf, last - first, first), 0);
            assert_memory_equal(buf, want + first, last - first);

            if (last == size) {
                break;
            }
        }
    }

    assert_int_equal(s3_shard_read(r, buf, 0, 0), EINVAL);
    assert_int_equal(s3_shard_read(r, buf, S3_BLOCK_SIZE, 1), EINVAL);
    assert_int_equal(s3_shard_read(r, buf, 4096, 0), EINVAL);
    assert_int_equal(s3_shard_read(r, buf, size + 4096, 0), EINVAL);
    assert_int_equal(s3_shard_read(r, buf, S3_BLOCK_SIZE,
                                   size + S3_BLOCK_SIZE - 61440),
                     EINVAL);
    assert_int_equal(s3_shard_read(r, buf, S3_BLOCK_SIZE,
                                   UINT64_MAX - S3_BLOCK_SIZE + 1),
                     EINVAL);

    s3_shard_close(r);
    free(buf);
    free(want);
}


/* more than 1023 blocks: pages of the table are read when needed */

static void
long_table(void **state)
{
    int                 fd;
    uint8_t             byte;
    uint64_t            size, table;
    static uint8_t      buf[S3_BLOCK_SIZE];
    s3_shard_reader_t  *r;

    size = (1023 + 1023 + 5) * (uint64_t) S3_BLOCK_SIZE + 4096;
    disk.info.geometry = s3_geometry(1, 0);
    disk.info.shard = 0;
    assert_int_equal(write_shard(size, 11), 0);
    check_shard(size, 11);

    table = s3_shard_size(&disk.info.geometry, size);
    fd = openat(disk.root, disk.tmp, O_RDWR);
    assert_int_equal(lseek(fd, 0, SEEK_END), table + 4 * 4096);

    assert_int_equal(s3_shard_open(disk.root, &disk.info, &r), 0);

    /* there and back */

    assert_int_equal(s3_shard_read(r, buf, 4096, 2051 * 65536), 0);
    assert_int_equal(s3_shard_read(r, buf, 65536, 0), 0);
    assert_int_equal(s3_shard_read(r, buf, 65536, 2046 * 65536), 0);
    assert_int_equal(s3_shard_read(r, buf, 65536, 1023 * 65536), 0);
    assert_int_equal(s3_shard_read(r, buf, 65536, 1022 * 65536), 0);
    s3_shard_close(r);

    /* the middle page, damaged: the rest can still be read */

    assert_int_equal(pread(fd, &byte, 1, table + 4096 + 8), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, table + 4096 + 8), 1);

    assert_int_equal(s3_shard_open(disk.root, &disk.info, &r), 0);
    assert_int_equal(s3_shard_read(r, buf, 65536, 0), 0);
    assert_int_equal(s3_shard_read(r, buf, 65536, 1023 * 65536), EBADMSG);
    assert_int_equal(s3_shard_read(r, buf, 65536, 1024 * 65536), EBADMSG);
    assert_int_equal(s3_shard_read(r, buf, 65536, 0), 0);
    assert_int_equal(s3_shard_read(r, buf, 4096, 2051 * 65536), 0);

    /* and page 2 in the place of page 0 */

    assert_int_equal(pread(fd, buf, 4096, table + 2 * 4096), 4096);
    assert_int_equal(pwrite(fd, buf, 4096, table), 4096);
    assert_int_equal(s3_shard_read(r, buf, 65536, 0), EBADMSG);

    s3_shard_close(r);
    close(fd);
}


static void
writer_refusals(void **state)
{
    static uint8_t      buf[2 * S3_BLOCK_SIZE];
    s3_shard_info_t     info;
    s3_shard_writer_t  *w;

    info = disk.info;

    /* an odd length; after a short one; the file goes with the writer */

    assert_int_equal(s3_shard_create(disk.dir, &info, &w), 0);
    assert_true(there(disk.tmp));
    assert_int_equal(s3_shard_write(w, buf, 100), EINVAL);
    assert_int_equal(s3_shard_write(w, buf, S3_BLOCK_SIZE), EINVAL);
    assert_int_equal(s3_shard_finish(w, &info), EINVAL);
    assert_false(there(disk.tmp));

    assert_int_equal(s3_shard_create(disk.dir, &info, &w), 0);
    assert_int_equal(s3_shard_write(w, buf, 4096), 0);
    assert_int_equal(s3_shard_write(w, buf, 4096), EINVAL);
    s3_shard_abort(w);
    assert_false(there(disk.tmp));

    /* an empty one; a size that is not what was written; other data */

    assert_int_equal(s3_shard_create(disk.dir, &info, &w), 0);
    info.size = 0;
    assert_int_equal(s3_shard_finish(w, &info), EINVAL);

    assert_int_equal(s3_shard_create(disk.dir, &info, &w), 0);
    assert_int_equal(s3_shard_write(w, buf, 4096), 0);
    info.size = 8193;
    assert_int_equal(s3_shard_finish(w, &info), EINVAL);
    assert_false(there(disk.tmp));

    assert_int_equal(s3_shard_create(disk.dir, &info, &w), 0);
    assert_int_equal(s3_shard_write(w, buf, 4096), 0);
    info.size = 8192;
    info.shard = 1;
    assert_int_equal(s3_shard_finish(w, &info), EINVAL);
    info = disk.info;

    /* twice */

    assert_int_equal(write_shard(5000, 1), 0);
    assert_int_equal(s3_shard_create(disk.dir, &info, &w), EEXIST);
    check_shard(5000, 1);

    info.geometry.unit = 5;
    assert_int_equal(s3_shard_create(disk.dir, &info, &w), EINVAL);
    info = disk.info;
    info.shard = 4;
    assert_int_equal(s3_shard_create(disk.dir, &info, &w), EINVAL);
}


static ssize_t
swallow_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    return size;
}


static void
too_big(void **state)
{
    uint64_t            i;
    s3_shard_writer_t  *w;
    static uint8_t      buf[16 * 1024 * 1024];

    shard_door = s3_door_system;
    shard_door.pwrite = swallow_pwrite;
    s3_door = &shard_door;

    disk.info.geometry = s3_geometry(1, 0);
    disk.info.shard = 0;
    assert_int_equal(s3_shard_create(disk.dir, &disk.info, &w), 0);

    for (i = 0; i < S3_EXTENT_MAX; i += sizeof(buf)) {
        assert_int_equal(s3_shard_write(w, buf, sizeof(buf)), 0);
    }

    assert_int_equal(s3_shard_write(w, buf, 4096), EFBIG);
    s3_shard_abort(w);
}


/* --- every call of the door fails once --- */

static int
shard_stumble(void)
{
    if (++shard_calls == shard_fail) {
        errno = shard_errno;
        return 1;
    }

    return 0;
}


static int
fail_openat(int dir, const char *name, int flags, mode_t mode)
{
    return shard_stumble() ? -1
                           : s3_door_system.openat(dir, name, flags, mode);
}


static ssize_t
fail_pread(int fd, void *buf, size_t size, off_t offset)
{
    return shard_stumble() ? -1 : pread(fd, buf, size, offset);
}


static ssize_t
fail_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    return shard_stumble() ? -1 : pwrite(fd, buf, size, offset);
}


static int
fail_fdatasync(int fd)
{
    return shard_stumble() ? -1 : fdatasync(fd);
}


static int
fail_fsync(int fd)
{
    return shard_stumble() ? -1 : fsync(fd);
}


static int
fail_fstat(int fd, struct stat *st)
{
    return shard_stumble() ? -1 : fstat(fd, st);
}


static int
fail_fstatat(int dir, const char *name, struct stat *st, int flags)
{
    return shard_stumble() ? -1 : fstatat(dir, name, st, flags);
}


static int
fail_renameat(int olddir, const char *oldname, int newdir,
    const char *newname)
{
    return shard_stumble() ? -1
                           : renameat(olddir, oldname, newdir, newname);
}


static int
fail_mkdirat(int dir, const char *name, mode_t mode)
{
    return shard_stumble() ? -1 : mkdirat(dir, name, mode);
}


static int
fail_unlinkat(int dir, const char *name, int flags)
{
    return shard_stumble() ? -1 : unlinkat(dir, name, flags);
}


static void
failing_door(void)
{
    shard_door = s3_door_system;
    shard_door.openat = fail_openat;
    shard_door.pread = fail_pread;
    shard_door.pwrite = fail_pwrite;
    shard_door.fdatasync = fail_fdatasync;
    shard_door.fsync = fail_fsync;
    shard_door.fstat = fail_fstat;
    shard_door.fstatat = fail_fstatat;
    shard_door.renameat = fail_renameat;
    shard_door.mkdirat = fail_mkdirat;
    shard_door.unlinkat = fail_unlinkat;

    shard_errno = EIO;
    s3_door = &shard_door;
}


static void
errors_at_every_call(void **state)
{
    int       rc;
    char      xx[8];
    unsigned  n;

    (void) snprintf(xx, sizeof(xx), "%.7s", disk.data);
    failing_door();

    /* directory, open, three units, tail, two syncs */

    for (n = 1; /* void */ ; n++) {
        shard_calls = 0;
        shard_fail = n;
        rc = write_shard(2500000, 5);

        if (rc == 0) {
            break;
        }

        assert_int_equal(rc, EIO);
        assert_false(there(disk.tmp));
    }

    assert_int_equal(n, 9);

    shard_fail = 0;
    check_shard(2500000, 5);
    assert_int_equal(s3_shard_remove(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);
    assert_int_equal(write_shard(10000, 5), 0);

    /* data (no), tmp, fstat, tail, data */

    for (n = 1; /* void */ ; n++) {
        shard_calls = 0;
        shard_fail = n;
        rc = try_shard();

        if (rc == 0) {
            break;
        }

        assert_int_equal(rc, EIO);
    }

    assert_int_equal(n, 6);

    /* rename (no), fstatat, mkdir, open, sync, rename */

    for (n = 1; /* void */ ; n++) {
        shard_calls = 0;
        shard_fail = n;
        rc = s3_shard_settle(disk.root, disk.info.session,
                             disk.info.shard_id);

        if (rc == 0) {
            break;
        }

        assert_int_equal(rc, EIO);
        assert_true(there(disk.tmp));
        assert_false(there(disk.data));

        /* or the next would find what this one has made */

        (void) unlinkat(disk.root, xx, AT_REMOVEDIR);
    }

    assert_int_equal(n, 7);
    assert_true(there(disk.data));

    for (n = 1; n <= 2; n++) {
        shard_calls = 0;
        shard_fail = n;
        assert_int_equal(s3_shard_remove(disk.root, disk.info.session,
                                         disk.info.shard_id),
                         EIO);
        assert_true(there(disk.data));
    }

    shard_fail = 0;
    assert_int_equal(s3_shard_remove(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);
    assert_false(there(disk.data));
}


static void
settle_and_remove(void **state)
{
    /* nowhere */

    assert_int_equal(s3_shard_settle(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     ENOENT);
    assert_int_equal(s3_shard_remove(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);

    /* twice: the second finds it there */

    assert_int_equal(write_shard(5000, 1), 0);
    assert_int_equal(s3_shard_settle(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);
    assert_false(there(disk.tmp));
    assert_true(there(disk.data));
    assert_int_equal(s3_shard_settle(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);
    check_shard(5000, 1);

    /* in both: the new one wins */

    assert_int_equal(write_shard(6000, 2), 0);
    assert_int_equal(s3_shard_settle(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);
    assert_false(there(disk.tmp));
    check_shard(6000, 2);

    /* removed from both */

    assert_int_equal(write_shard(7000, 3), 0);
    assert_int_equal(s3_shard_remove(disk.root, disk.info.session,
                                     disk.info.shard_id),
                     0);
    assert_false(there(disk.tmp));
    assert_false(there(disk.data));
}


/* between a reader's first look and its second the store process renames */

static int
racing_openat(int dir, const char *name, int flags, mode_t mode)
{
    int  fd;

    fd = s3_door_system.openat(dir, name, flags, mode);

    if (fd == -1 && strncmp(name, "data/", 5) == 0 && shard_calls++ == 0) {
        assert_int_equal(s3_shard_settle(disk.root, disk.info.session,
                                         disk.info.shard_id),
                         0);
        errno = ENOENT;
    }

    return fd;
}


static void
renamed_while_looking(void **state)
{
    assert_int_equal(write_shard(5000, 1), 0);

    shard_door = s3_door_system;
    shard_door.openat = racing_openat;
    shard_calls = 0;
    s3_door = &shard_door;

    check_shard(5000, 1);
    assert_int_equal(shard_calls, 1);
    assert_false(there(disk.tmp));
}


/* what is synced, and in which order */

static char      sync_order[16];
static unsigned  sync_n;


static ssize_t
order_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    sync_order[sync_n++] = 'w';
    return pwrite(fd, buf, size, offset);
}


static int
order_fdatasync(int fd)
{
    sync_order[sync_n++] = 'd';
    return fdatasync(fd);
}


static int
order_fsync(int fd)
{
    struct stat  st, dir;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(fstat(disk.dir, &dir), 0);
    assert_int_equal(st.st_ino, dir.st_ino);

    sync_order[sync_n++] = 'D';
    return fsync(fd);
}


static void
synced_in_order(void **state)
{
    shard_door = s3_door_system;
    shard_door.pwrite = order_pwrite;
    shard_door.fdatasync = order_fdatasync;
    shard_door.fsync = order_fsync;
    s3_door = &shard_door;

    sync_n = 0;
    assert_int_equal(write_shard(5000, 1), 0);
    assert_int_equal(sync_n, 4);
    assert_memory_equal(sync_order, "wwdD", 4);
}


/* a large shard is on its way before it is synced, but for its end */

static int
none_sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    shard_calls++;
    errno = shard_errno;

    return -1;
}


static uint64_t  back_begun;             /* bytes */
static uint64_t  back_waited;


static int
back_sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    if (++shard_calls == shard_fail) {
        errno = shard_errno;
        return -1;
    }

    if (flags & SYNC_FILE_RANGE_WAIT_AFTER) {
        assert_int_equal(offset, back_waited);
        back_waited += size;
        assert_true(back_waited <= back_begun);

    } else {
        assert_int_equal(offset, back_begun);
        back_begun += size;
    }

    return s3_door_system.sync_file_range(fd, offset, size, flags);
}


static int
back_fdatasync(int fd)
{
    struct stat  st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_true((uint64_t) st.st_size - back_begun <= 4 << 20);
    assert_true((uint64_t) st.st_size - back_waited <= 8 << 20);

    return fdatasync(fd);
}


/* another shard, whose calls are counted from the first */

static int
back_write(uint64_t size)
{
    back_begun = 0;
    back_waited = 0;
    shard_calls = 0;
    disk.info.shard_id[0]++;

    return write_shard(size, 1);
}


static void
written_as_it_comes(void **state)
{
    unsigned  i;

    static const int  none[] = { ENOSYS, EINVAL, ESPIPE, EPERM };

    shard_door = s3_door_system;
    shard_door.sync_file_range = back_sync_file_range;
    shard_door.fdatasync = back_fdatasync;
    s3_door = &shard_door;

    shard_fail = 0;

    assert_int_equal(back_write(100 << 20), 0);
    assert_true(back_waited > 20 << 20);

    /* what it reports is an error of the shard: no sync says it again */

    shard_door.fdatasync = fdatasync;
    shard_errno = EIO;

    for (shard_fail = 1; shard_fail < 5; shard_fail++) {
        assert_int_equal(back_write(100 << 20), EIO);
    }

    /* where there is no such call it is done without */

    shard_door.sync_file_range = none_sync_file_range;

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        shard_errno = none[i];
        assert_int_equal(back_write(20 << 20), 0);
        assert_true(shard_calls > 1);
    }
}


#define shard_test(name)                                                      \
    cmocka_unit_test_setup_teardown(name, shard_setup, shard_teardown)


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        shard_test(round_trip),
        shard_test(format),
        shard_test(every_flipped_byte),
        shard_test(every_length),
        shard_test(other_data),
        shard_test(another_shards_table),
        shard_test(ranges),
        shard_test(long_table),
        shard_test(writer_refusals),
        shard_test(too_big),
        shard_test(errors_at_every_call),
        shard_test(settle_and_remove),
        shard_test(renamed_while_looking),
        shard_test(synced_in_order),
        shard_test(written_as_it_comes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
