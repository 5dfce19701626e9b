
/*
 * Bytes that change on the disks of a whole store: of shards, indexes, their
 * logs, format files and the record.  What is read is right all the same, as
 * long as no more than m disks have it wrong, else an error; damaged shards
 * are byte for byte what they were in the end.
 *
 *     S3_ROT=all          every byte of footers and tables, every page of an
 *                         index, each byte of the format file; else some
 *     S3_ROT_SEED=n       the seed of this run (printed)
 *
 * That a shard's reader sees each byte is tested by test_store_shard, format
 * files by test_store_format; s3-store, which shares no code with all this,
 * by t/fault/test_store_tool.py.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "s3_index_internal.h"
#include "s3_pool.h"
#include "s3_set.h"


#define BUCKET     "bucket"
#define N          4
#define M          2
#define WAIT       30000

#define MAXFILES   600           /* shard files of all disks */

#define SIZE       20000         /* shards of 12,288 bytes, table, footer */
#define SHARD      12288
#define FILESIZE   (SHARD + 8192)
#define SIZE_MANY  3400000


typedef struct {
    char        path[300];
    char        name[33];
    unsigned    disk;
    size_t      size;
    uint8_t    *bytes;
} file_t;


static s3_set_t  *set;
static uint64_t   seed;
static int        all;
static file_t     files[MAXFILES];
static unsigned   nfiles;


static unsigned
random_next(unsigned n)
{
    return (unsigned) (s3_test_random(&seed) >> 33) % n;
}


static char *
key(unsigned i)
{
    static char  name[32];

    (void) snprintf(name, sizeof(name), "key-%04u", i);

    return name;
}


static void
set_up(unsigned scrub)
{
    char  *dir;

    dir = s3_test_dir();
    set = s3_set_create(dir, N, M);
    free(dir);
    set->scrub = scrub;
    s3_set_start(set);
    s3_set_client(set);

    assert_true(s3_set_state(set, S3_STORE_OK, WAIT));
    assert_true(s3_set_whole(set, WAIT));
    assert_int_equal(s3_set_bucket_create(set, BUCKET), S3_STORE_OK);
}


static void
tear_down(void)
{
    char  *dir;

    dir = strdup(set->dir);
    s3_set_free(set);
    s3_test_dir_free(dir);
}


/* key i has the bytes of seed i; every fourth is inline */

static size_t
size_of(unsigned i)
{
    return i % 4 == 3 ? 300 + i : SIZE;
}


static void
put_keys(unsigned n)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        assert_int_equal(s3_set_put(set, BUCKET, key(i), i, size_of(i)),
                         S3_STORE_OK);
    }
}


static void
get_keys(unsigned n)
{
    int       rc;
    unsigned  i;

    for (i = 0; i < n; i++) {
        rc = s3_set_get(set, BUCKET, key(i), i, size_of(i), 0, size_of(i));

        if (rc != S3_STORE_OK) {
            print_error("%s: %d\n", key(i), rc);
        }

        assert_int_equal(rc, S3_STORE_OK);
    }

    assert_int_equal(s3_set_list(set, BUCKET, "key-"), n);
}


/* --- files --- */

static uint8_t *
file_bytes(const char *path, size_t *size)
{
    int           fd;
    uint8_t      *p;
    struct stat   st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return NULL;
    }

    assert_int_equal(fstat(fd, &st), 0);
    p = malloc(st.st_size + 1);
    assert_non_null(p);
    *size = st.st_size;
    assert_int_equal(pread(fd, p, *size, 0), *size);
    (void) close(fd);

    return p;
}


static void
flip(const char *path, off_t offset, uint8_t bits)
{
    int      fd;
    uint8_t  byte;

    fd = open(path, O_RDWR|O_CLOEXEC);
    assert_int_not_equal(fd, -1);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= bits;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    (void) close(fd);
}


/* of all shards, as they are now */

static void
remember(void)
{
    DIR            *dir;
    char            path[280];
    file_t         *f;
    unsigned        i, x;
    struct dirent  *e;

    nfiles = 0;

    for (i = 0; i < N; i++) {
        for (x = 0; x < 256; x++) {
            (void) snprintf(path, sizeof(path), "%.240s/data/%02x",
                            set->disks[i], x);
            dir = opendir(path);

            while (dir != NULL && (e = readdir(dir)) != NULL) {
                if (strlen(e->d_name) != 32) {
                    continue;
                }

                assert_true(nfiles < MAXFILES);
                f = &files[nfiles++];
                f->disk = i;
                (void) snprintf(f->name, sizeof(f->name), "%.32s", e->d_name);
                (void) snprintf(f->path, sizeof(f->path), "%.260s/%.32s",
                                path, e->d_name);
                f->bytes = file_bytes(f->path, &f->size);
                assert_non_null(f->bytes);
            }

            if (dir != NULL) {
                (void) closedir(dir);
            }
        }
    }
}


static void
forget(void)
{
    while (nfiles) {
        free(files[--nfiles].bytes);
    }
}


static int
file_same(const file_t *f)
{
    int       same;
    size_t    size;
    uint8_t  *p;

    p = file_bytes(f->path, &size);
    same = p && size == f->size && memcmp(p, f->bytes, size) == 0;
    free(p);

    return same;
}


static int
files_same(void *data)
{
    unsigned  i;

    for (i = 0; i < nfiles; i++) {
        if (!file_same(&files[i])) {
            return 0;
        }
    }

    return 1;
}


/* --- shards --- */

/*
 * A round: each shard of one disk, or of two, has one byte flipped, at the
 * places that follow; all is read, and healed by the scrub
 */

static void
shards_round(unsigned keys, unsigned *place)
{
    unsigned  i, first, second;

    first = random_next(N);
    second = (first + 1 + random_next(N - 1)) % N;

    for (i = 0; i < nfiles; i++) {
        if (files[i].disk == first) {
            flip(files[i].path, SHARD + *place % 8192, 1 << (*place % 8));
            *place += all ? 1 : 67 + random_next(300);

        } else if (files[i].disk == second) {
            flip(files[i].path, random_next(files[i].size),
                 1 << random_next(8));
        }
    }

    get_keys(keys);

    if (!s3_set_until(set, files_same, NULL, 2 * WAIT)) {
        for (i = 0; i < nfiles; i++) {
            if (!file_same(&files[i])) {
                print_error("%s is not as it was\n", files[i].path);
            }
        }

        fail();
    }

    get_keys(keys);
}


static void
test_shards(void **state)
{
    unsigned  keys, place, rounds;

    set_up(1);

    keys = all ? 160 : 20;
    put_keys(keys);
    assert_true(s3_set_repaired(set, keys - keys / 4, WAIT));
    remember();

    place = 0;
    rounds = 0;

    do {
        shards_round(keys, &place);
        rounds++;
    } while (all ? place < 8192 : rounds < 1);

    (void) printf("    %u rounds of %u shard files, healed\n", rounds,
                  nfiles);

    forget();
    tear_down();
}


/* all patterns of disks; past m it is an error, and never other bytes */

static void
test_shards_past_parity(void **state)
{
    int       rc;
    size_t    size;
    unsigned  i, mask, bad;
    uint64_t  until;

    set_up(0);

    assert_int_equal(s3_set_put(set, BUCKET, "large", 7, SIZE_MANY),
                     S3_STORE_OK);
    assert_true(s3_set_repaired(set, 1, WAIT));
    remember();
    assert_int_equal(nfiles, N);
    size = files[0].size;

    for (mask = 1; mask < 1 << N; mask++) {
        bad = __builtin_popcount(mask);

        if (!all && mask % 3 != 0) {
            continue;
        }

        /* the same stripe of each, the last */

        for (i = 0; i < N; i++) {
            if ((mask >> i) & 1) {
                flip(files[i].path, size - 8192 - 1 - random_next(1000), 4);
            }
        }

        rc = s3_set_get(set, BUCKET, "large", 7, SIZE_MANY, 0, SIZE_MANY);

        if (bad <= M) {
            assert_int_equal(rc, S3_STORE_OK);

        } else {
            assert_int_not_equal(rc, S3_STORE_OK);

            /* what stripes are whole can be read */

            assert_int_equal(s3_set_get(set, BUCKET, "large", 7, SIZE_MANY, 0,
                                        1000000), S3_STORE_OK);
        }

        /* put right by hand, where it cannot be by the store */

        for (i = 0; i < N; i++) {
            int  fd;

            if (bad > M && ((mask >> i) & 1)) {
                fd = open(files[i].path, O_WRONLY|O_CLOEXEC);
                assert_int_not_equal(fd, -1);
                assert_int_equal(pwrite(fd, files[i].bytes, size, 0), size);
                (void) close(fd);
            }
        }

        /* a parity shard that nobody reads has no one who finds it */

        until = s3_now() + WAIT;

        while (!files_same(NULL) && s3_now() < until) {
            assert_int_equal(s3_set_get(set, BUCKET, "large", 7, SIZE_MANY, 0,
                                        SIZE_MANY), S3_STORE_OK);

            for (i = 0; i < N; i++) {
                if (!file_same(&files[i])
                    && files[i].bytes[size - 4096 + 14] >= N - M)
                {
                    int  fd;

                    fd = open(files[i].path, O_WRONLY|O_CLOEXEC);
                    assert_int_not_equal(fd, -1);
                    assert_int_equal(pwrite(fd, files[i].bytes, size, 0),
                                     size);
                    (void) close(fd);
                }
            }
        }

        assert_true(files_same(NULL));
    }

    forget();
    tear_down();
}


/* --- indexes --- */

/* all that is in its log goes into the database: pages of all kinds */

static void
index_fold(unsigned i)
{
    int          dir;
    s3_vfs_t    *vfs;
    s3_index_t  *index;

    dir = open(set->disks[i], O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    assert_int_not_equal(dir, -1);
    vfs = s3_vfs_create(dir);
    assert_non_null(vfs);
    assert_int_equal(s3_index_open(vfs, 1, 0, 1024 * 1024, &index), 0);
    assert_int_equal(s3_index_fold(index), 0);
    s3_index_close(index);
    s3_vfs_destroy(vfs);
    (void) close(dir);
}


/*
 * The set with what stands on its disks: all reads are right and writes
 * succeed, whether the disk of that file is left out or not
 */

static void
serves(unsigned keys)
{
    static unsigned  n;

    assert_true(s3_set_state(set, S3_STORE_OK, WAIT));
    get_keys(keys);

    n++;
    assert_int_equal(s3_set_put(set, BUCKET, "more", n, SIZE), S3_STORE_OK);
    assert_int_equal(s3_set_get(set, BUCKET, "more", n, SIZE, 0, SIZE),
                     S3_STORE_OK);
    assert_int_equal(s3_set_delete(set, BUCKET, "more"), S3_STORE_OK);
    assert_int_equal(s3_set_head(set, BUCKET, "more"), -1);
}


static char *
path_of(unsigned i, const char *name)
{
    static char  path[400];

    (void) snprintf(path, sizeof(path), "%.300s/%s", set->disks[i], name);

    return path;
}


/* each file of a disk's index as it was, so that the next flip is the only
 * one: all of the set, as the others have gone on */

static void
disks_save(void)
{
    char  *command;

    assert_int_not_equal(asprintf(&command, "rm -rf '%s/saved'; "
                                  "mkdir '%s/saved'; cp -a '%s'/d? "
                                  "'%s'/state '%s/saved'", set->dir,
                                  set->dir, set->dir, set->dir, set->dir),
                         -1);
    assert_int_equal(system(command), 0);
    free(command);
}


static void
disks_restore(void)
{
    char  *command;

    assert_int_not_equal(asprintf(&command, "rm -rf '%s'/d? '%s/state'; "
                                  "cp -a '%s/saved/.' '%s'", set->dir,
                                  set->dir, set->dir, set->dir), -1);
    assert_int_equal(system(command), 0);
    free(command);
}


static void
start_and_serve(unsigned keys)
{
    s3_set_start(set);
    s3_set_client(set);
    serves(keys);
    s3_set_client_close(set);
    s3_set_kill(set);
}


/*
 * With two left out there is no quorum; what is read is right all the same.  A
 * page that nobody has read yet is no reason to be left out
 */

static void
start_and_read(unsigned keys)
{
    s3_set_start(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 3000)
                || s3_set_state(set, S3_STORE_READ_ONLY, WAIT));
    get_keys(keys);
    s3_set_client_close(set);
    s3_set_kill(set);
}


static void
index_pages(unsigned keys)
{
    size_t    size;
    uint8_t  *p;
    unsigned  page, pages, i, bit;

    p = file_bytes(path_of(0, "index.db"), &size);
    assert_non_null(p);
    free(p);
    pages = size / 4096;
    assert_true(pages >= 12);

    for (i = 0; i < (all ? pages : 3); i++) {
        page = all ? i : i == 0 ? 0 : random_next(pages);
        bit = random_next(8);

        disks_restore();
        flip(path_of(0, "index.db"), page * 4096 + random_next(4096),
             1 << bit);

        /* m disks, with other pages */

        flip(path_of(1, "index.db"),
             random_next(pages) * 4096 + random_next(4096), 1 << bit);

        start_and_read(keys);

        /* one */

        disks_restore();
        flip(path_of(0, "index.db"), page * 4096 + random_next(4096),
             1 << bit);
        start_and_serve(keys);
    }

    (void) printf("    %u pages of %u\n", i, pages);
}


/*
 * Each page, where its cells are, of which most are read only when somebody
 * asks: found then, and read from another disk
 */

static void
index_cells(unsigned keys)
{
    size_t    size;
    uint8_t  *p;
    unsigned  page, disk;

    for (disk = 0; disk < (all ? N : 1); disk++) {
        disks_restore();

        p = file_bytes(path_of(disk, "index.db"), &size);
        assert_non_null(p);
        free(p);

        for (page = 1; page < size / 4096; page++) {
            flip(path_of(disk, "index.db"),
                 page * 4096 + 4079 - random_next(300), 1);
        }

        start_and_serve(keys);
    }
}


/* under a store that runs: what it has read it has read right */

static void
index_pages_running(unsigned keys)
{
    size_t    size;
    uint8_t  *p;
    unsigned  page;

    disks_restore();
    s3_set_start(set);
    s3_set_client(set);
    serves(keys);

    p = file_bytes(path_of(2, "index.db"), &size);
    assert_non_null(p);
    free(p);

    for (page = 0; page < size / 4096; page++) {
        flip(path_of(2, "index.db"), page * 4096 + random_next(4096), 2);
    }

    serves(keys);
    s3_set_client_close(set);
    s3_set_client(set);
    serves(keys);

    s3_set_client_close(set);
    s3_set_kill(set);
}


static void
index_log(unsigned keys)
{
    size_t    size[2];
    uint8_t  *p;
    unsigned  i, disk;

    for (disk = 0; disk < 2; disk++) {
        p = file_bytes(path_of(disk, "index.db-wal"), &size[disk]);
        assert_non_null(p);
        free(p);
        assert_true(size[disk] > 8192);
    }

    for (i = 0; i < (all ? 60 : 3); i++) {
        disks_restore();

        /* the header of the log, of a frame, or somewhere; m disks */

        for (disk = 0; disk < 2; disk++) {
            flip(path_of(disk, "index.db-wal"),
                 i == 0 ? random_next(32)
                 : i % 3 == 1 ? 32 + random_next((size[disk] - 32) / 4120)
                                     * 4120 + random_next(24)
                 : random_next(size[disk]), 1 << random_next(8));
        }

        start_and_read(keys);
    }

    /* and cut short, to any length */

    for (i = 0; i < (all ? 20 : 1); i++) {
        disks_restore();
        assert_int_equal(truncate(path_of(3, "index.db-wal"),
                                  random_next(size[0])), 0);
        start_and_serve(keys);
    }
}


static void
test_indexes(void **state)
{
    unsigned  i, keys;

    set_up(0);

    keys = 120;
    put_keys(keys);
    assert_true(s3_set_repaired(set, keys - keys / 4, WAIT));
    s3_set_client_close(set);
    s3_set_kill(set);

    disks_save();
    index_log(keys);
    disks_restore();

    for (i = 0; i < N; i++) {
        index_fold(i);
    }

    disks_save();
    index_pages(keys);
    index_cells(keys);
    index_pages_running(keys);

    tear_down();
}


/* --- what says which disk it is --- */

static void
test_format_files(void **state)
{
    size_t    size;
    uint8_t  *p;
    unsigned  i, keys;

    set_up(0);
    keys = 8;
    put_keys(keys);
    s3_set_client_close(set);
    s3_set_kill(set);
    disks_save();

    p = file_bytes(path_of(0, "format"), &size);
    assert_non_null(p);
    free(p);

    for (i = 0; i < (all ? size : 3); i++) {
        disks_restore();
        flip(path_of(0, "format"), all ? i : random_next(size),
             1 << random_next(8));
        start_and_serve(keys);

        /* m of them: no quorum */

        flip(path_of(1, "format"), random_next(size), 1 << random_next(8));
        s3_set_start(set);
        s3_set_client(set);
        assert_true(s3_set_state(set, S3_STORE_READ_ONLY, WAIT)
                    || s3_set_state(set, S3_STORE_OK, 1000));
        get_keys(keys);
        s3_set_client_close(set);
        s3_set_kill(set);
    }

    tear_down();
}


/* nothing is formed over it, and when it is right again all goes on */

static void
test_record(void **state)
{
    int        fd;
    char       path[400];
    size_t     size;
    uint8_t   *p;
    unsigned   i, keys;

    set_up(0);
    keys = 8;
    put_keys(keys);
    s3_set_client_close(set);
    s3_set_kill(set);

    (void) snprintf(path, sizeof(path), "%.300s/state/main.json", set->dir);
    p = file_bytes(path, &size);
    assert_non_null(p);

    for (i = 0; i < (all ? 40 : 1); i++) {
        flip(path, random_next(size), 1 << random_next(8));

        s3_set_start(set);
        s3_set_client(set);

        /* the page is the one of before, until the process has the lock */

        assert_true(s3_set_state(set, S3_STORE_BUSY, WAIT));
        assert_false(s3_set_state(set, S3_STORE_OK, 1000));

        fd = open(path, O_WRONLY|O_CLOEXEC);
        assert_int_not_equal(fd, -1);
        assert_int_equal(pwrite(fd, p, size, 0), size);
        (void) close(fd);

        serves(keys);
        s3_set_client_close(set);
        s3_set_kill(set);
    }

    free(p);
    tear_down();
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_shards_past_parity),
        cmocka_unit_test(test_indexes),
        cmocka_unit_test(test_format_files),
        cmocka_unit_test(test_record),
    };

    all = getenv("S3_ROT") && strcmp(getenv("S3_ROT"), "all") == 0;
    seed = getenv("S3_ROT_SEED") ? strtoull(getenv("S3_ROT_SEED"), NULL, 10)
                                 : (uint64_t) time(NULL) * 1000003;

    (void) printf("S3_ROT_SEED=%llu\n", (unsigned long long) seed);
    (void) fflush(stdout);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
