
/*
 * Disks that can't just come back: lost and replaced by an empty one, forked,
 * away for longer than the history goes back, without an index that can be
 * read.  Each becomes a member again while the set serves, and any other two
 * may go then.
 */


#include "s3_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3_index_internal.h"
#include "s3_page.h"
#include "s3_pool.h"
#include "s3_set.h"


static const size_t  sizes[] = {
    0, 1, 4096, 16384, 16385, 65536, 524288, 1048577, 3 * 1024 * 1024 + 4097
};

#define NSIZES   (sizeof(sizes) / sizeof(sizes[0]))
#define NINLINE  4
#define NKEYS    500            /* of one byte each, for rows */
#define MAXLIST  1000


static char *
key(unsigned i)
{
    static char  name[32];

    (void) snprintf(name, sizeof(name), "key-%04u", i);

    return name;
}


static s3_set_t *
set_up(unsigned n, unsigned m)
{
    char      *dir;
    s3_set_t  *set;

    dir = s3_test_dir();
    set = s3_set_create(dir, n, m);
    free(dir);
    s3_set_start(set);
    s3_set_client(set);

    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);

    return set;
}


static void
tear_down(s3_set_t *set)
{
    char  *dir;

    dir = strdup(set->dir);
    s3_set_free(set);
    s3_test_dir_free(dir);
}


/* what the page says is the last process's until the new one has written */

static void
start(s3_set_t *set)
{
    int             rc;
    uint32_t        before, change;
    uint64_t        epoch, until;
    s3_page_t      *page;
    s3_page_set_t   ps;

    page = s3_page_map(set->conf.runtime, set->conf.name);
    assert_non_null(page);
    assert_int_equal(s3_page_read(page, &ps, &before), 0);
    epoch = atomic_load(&page->epoch);

    s3_set_start(set);
    until = s3_now() + 10000;

    do {
        assert_true(s3_now() < until);
        (void) usleep(1000);
        rc = s3_page_read(page, &ps, &change);
    } while (atomic_load(&page->epoch) == epoch || rc != 0
             || change == before);

    s3_page_unmap(page);
    s3_set_client(set);
}


static int
not_whole(void *data)
{
    return !s3_set_whole(data, 0);
}


/* until the store process has seen that a disk is not there */

static void
wait_out(s3_set_t *set)
{
    assert_true(s3_set_until(set, not_whole, set, 10000));
}


static void
put_all(s3_set_t *set, uint64_t seed)
{
    unsigned  i;

    for (i = 0; i < NSIZES; i++) {
        assert_int_equal(s3_set_put(set, "bucket", key(i), seed + i,
                                    sizes[i]), S3_STORE_OK);
    }
}


static void
get_all(s3_set_t *set, uint64_t seed)
{
    unsigned  i;

    for (i = 0; i < NSIZES; i++) {
        assert_int_equal(s3_set_get(set, "bucket", key(i), seed + i,
                                    sizes[i], 0, sizes[i]), S3_STORE_OK);
    }

    assert_int_equal(s3_set_list(set, "bucket", "key-"), NSIZES);
}


/* rows enough that a copy takes pieces */

static void
put_rows(s3_set_t *set)
{
    char      name[32];
    unsigned  i;

    for (i = 0; i < NKEYS; i++) {
        (void) snprintf(name, sizeof(name), "row-%06u", i);
        assert_int_equal(s3_set_put(set, "bucket", name, i, 3000),
                         S3_STORE_OK);
    }
}


static void
file(s3_set_t *set, unsigned i, const char *name, const char *text)
{
    int   fd;
    char  path[4096];

    (void) snprintf(path, sizeof(path), "%s/%s", set->disks[i], name);

    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0600);
    assert_int_not_equal(fd, -1);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void) close(fd);
}


static int
there(s3_set_t *set, unsigned i, const char *name)
{
    char  path[4096];

    (void) snprintf(path, sizeof(path), "%s/%s", set->disks[i], name);

    return access(path, F_OK) == 0;
}


/* an empty directory where the disk was */

static void
lose(s3_set_t *set, unsigned i)
{
    s3_set_away(set, i);
    assert_int_equal(mkdir(set->disks[i], 0755), 0);
}


static void
forget_lost(s3_set_t *set, unsigned i)
{
    char  path[4096];

    (void) snprintf(path, sizeof(path), "%s.away", set->disks[i]);
    s3_test_dir_free(strdup(path));
}


/* a client may not have opened a disk yet that has just come back */

static void
wait_readable(s3_set_t *set, uint64_t seed)
{
    int       rc;
    uint64_t  until;

    until = s3_now() + 5000;

    do {
        rc = s3_set_get(set, "bucket", key(NSIZES - 1), seed + NSIZES - 1,
                        sizes[NSIZES - 1], 0, sizes[NSIZES - 1]);
    } while (rc == S3_STORE_UNAVAILABLE && s3_now() < until);

    assert_int_equal(rc, S3_STORE_OK);
}


/* every pair of two but those with that disk may go */

static void
any_two_others(s3_set_t *set, unsigned kept, uint64_t seed)
{
    unsigned  i, j;

    for (i = 0; i < set->ndisks; i++) {
        for (j = i + 1; j < set->ndisks; j++) {

            if (i == kept || j == kept) {
                continue;
            }

            s3_set_away(set, i);
            s3_set_away(set, j);
            assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 5000));
            wait_readable(set, seed);
            get_all(set, seed);
            s3_set_back(set, i);
            s3_set_back(set, j);
            assert_true(s3_set_state(set, S3_STORE_OK, 10000));
            assert_true(s3_set_whole(set, 10000));
        }
    }
}


/* --- indexes, while no store process has them --- */


typedef struct {
    int          dir;
    s3_vfs_t    *vfs;
    s3_index_t  *index;
} index_t;


static void
index_open(s3_set_t *set, unsigned i, index_t *x)
{
    x->dir = open(set->disks[i], O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(x->dir, -1);
    x->vfs = s3_vfs_create(x->dir);
    assert_non_null(x->vfs);
    assert_int_equal(s3_index_open(x->vfs, 1, 0, 1024 * 1024, &x->index), 0);
}


static void
index_close(index_t *x)
{
    s3_index_close(x->index);
    s3_vfs_destroy(x->vfs);
    (void) close(x->dir);
}


/* a batch that stands on this disk alone: a bucket, or nothing */

static void
index_alone(s3_set_t *set, unsigned i, unsigned generations,
    const char *bucket)
{
    index_t        x;
    s3_buf_t       effects;
    s3_slice_t     slice;
    s3_commit_t    commit;
    s3_verdict_t   verdict;
    s3_position_t  before, position;

    index_open(set, i, &x);

    assert_int_equal(s3_index_position(x.index, &before), 0);
    position = before;
    position.generation += generations;
    position.sequence++;

    memset(&effects, 0, sizeof(s3_buf_t));
    assert_int_equal(s3_index_begin(x.index), 0);

    if (bucket) {
        memset(&commit, 0, sizeof(s3_commit_t));
        commit.op = S3_COMMIT_CREATE_BUCKET;
        commit.bucket.data = (const uint8_t *) bucket;
        commit.bucket.len = strlen(bucket);
        assert_int_equal(s3_index_decide(x.index, &commit, position.sequence,
                                         &effects, &verdict), 0);
        assert_int_equal(verdict.status, S3_STORE_OK);
    }

    slice.data = effects.data;
    slice.len = effects.len;
    s3_index_digest(&before, &position, slice);
    assert_int_equal(s3_index_seal(x.index, &position, slice, 0), 0);
    assert_int_equal(s3_index_flush(x.index, 0), 0);
    assert_int_equal(s3_index_commit(x.index), 0);

    s3_buf_free(&effects);
    index_close(&x);
}


/* forgets all history but the last batch's row */

static void
index_trim(s3_set_t *set, unsigned i)
{
    index_t        x;
    s3_buf_t       effects;
    s3_slice_t     slice;
    s3_value_t     row[S3_COLUMNS_MAX];
    s3_position_t  position;

    index_open(set, i, &x);
    assert_int_equal(s3_index_position(x.index, &position), 0);

    memset(&effects, 0, sizeof(s3_buf_t));
    row[0].n = (int64_t) position.sequence;
    s3_effect_write(&effects, S3_EFFECT_TRIM, S3_TABLE_BATCH, row);
    slice.data = effects.data;
    slice.len = effects.len;

    assert_int_equal(s3_index_begin(x.index), 0);
    assert_int_equal(s3_index_apply(x.index, slice), 0);
    assert_int_equal(s3_index_commit(x.index), 0);

    s3_buf_free(&effects);
    index_close(&x);
}


/* all rows of all tables, the position first */

static void
index_dump(s3_set_t *set, unsigned i, s3_buf_t *rows)
{
    int                more;
    index_t            x;
    s3_position_t      position;
    s3_index_cursor_t  cursor;

    memset(rows, 0, sizeof(s3_buf_t));
    memset(&cursor, 0, sizeof(s3_index_cursor_t));

    index_open(set, i, &x);
    assert_int_equal(s3_index_position(x.index, &position), 0);
    s3_buf_bytes(rows, &position, sizeof(s3_position_t));

    do {
        assert_int_equal(s3_index_rows(x.index, &cursor, 100, rows, &more),
                         0);
    } while (more);

    assert_int_equal(rows->error, 0);
    s3_buf_free(&cursor.key);
    index_close(&x);
}


/* the store process is gone, perhaps in the middle of a batch of its own */

static int
positions_equal(s3_set_t *set)
{
    index_t        x;
    unsigned       i;
    s3_position_t  first, position;

    for (i = 0; i < set->ndisks; i++) {
        index_open(set, i, &x);
        assert_int_equal(s3_index_position(x.index, &position), 0);
        index_close(&x);

        if (i == 0) {
            first = position;

        } else if (memcmp(&first, &position, sizeof(s3_position_t)) != 0) {
            return 0;
        }
    }

    return 1;
}


/* where all stand at one position all is equal */

static void
indexes_equal(s3_set_t *set)
{
    unsigned  i;
    s3_buf_t  rows[S3_MAX_DISKS];

    for (i = 0; !positions_equal(set); i++) {
        assert_true(i < 10);
        start(set);
        assert_true(s3_set_whole(set, 20000));
        s3_set_client_close(set);
        s3_set_kill(set);
    }

    for (i = 0; i < set->ndisks; i++) {
        index_dump(set, i, &rows[i]);
    }

    for (i = 1; i < set->ndisks; i++) {
        assert_int_equal(rows[i].len, rows[0].len);
        assert_memory_equal(rows[i].data, rows[0].data, rows[0].len);
    }

    for (i = 0; i < set->ndisks; i++) {
        s3_buf_free(&rows[i]);
    }
}


/* --- what may become of an index, its log left as it is --- */


static void
index_path(s3_set_t *set, unsigned i, const char *suffix, char path[4096])
{
    (void) snprintf(path, 4096, "%s/index.db%s", set->disks[i], suffix);
}


static void
index_gone(s3_set_t *set, unsigned i)
{
    char  path[4096];

    index_path(set, i, "", path);
    assert_int_equal(unlink(path), 0);
}


static void
index_empty(s3_set_t *set, unsigned i)
{
    char  path[4096];

    index_path(set, i, "", path);
    assert_int_equal(truncate(path, 0), 0);
}


static void
index_half(s3_set_t *set, unsigned i)
{
    char         path[4096];
    struct stat  st;

    index_path(set, i, "", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 8192 * 4096), 0);
}


/* a byte of the first page, and no log that has it; a journal, of what? */

static void
index_first_page(s3_set_t *set, unsigned i)
{
    int   fd;
    char  path[4096], c;

    index_path(set, i, "", path);
    fd = open(path, O_RDWR);
    assert_int_not_equal(fd, -1);
    assert_int_equal(pread(fd, &c, 1, 200), 1);
    c ^= 1;
    assert_int_equal(pwrite(fd, &c, 1, 200), 1);
    (void) close(fd);

    index_path(set, i, "-wal", path);
    assert_int_equal(truncate(path, 0), 0);
    file(set, i, "index.db-journal", "not a journal, but not empty either");
}


static void
index_garbage(s3_set_t *set, unsigned i)
{
    int      fd;
    char     path[4096];
    uint8_t  bytes[3 * 4096];

    index_path(set, i, "", path);
    s3_test_fill(bytes, sizeof(bytes), i);
    fd = open(path, O_WRONLY|O_TRUNC);
    assert_int_not_equal(fd, -1);
    assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    (void) close(fd);
}


static void  (*const index_damages[])(s3_set_t *set, unsigned i) = {
    index_gone, index_empty, index_half, index_first_page, index_garbage
};

#define NDAMAGES  (sizeof(index_damages) / sizeof(index_damages[0]))


/* --- shards --- */


typedef struct {
    unsigned  n;
    ino_t     inodes[MAXLIST];
} inodes_t;


static void
inodes_of(const char *path, inodes_t *list)
{
    DIR            *dir;
    char            name[4096];
    struct stat     st;
    struct dirent  *e;

    dir = opendir(path);
    assert_non_null(dir);

    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.') {
            continue;
        }

        (void) snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        assert_int_equal(lstat(name, &st), 0);

        if (S_ISDIR(st.st_mode)) {
            inodes_of(name, list);

        } else {
            assert_true(list->n < MAXLIST);
            list->inodes[list->n++] = st.st_ino;
        }
    }

    (void) closedir(dir);
}


static int
inode_cmp(const void *a, const void *b)
{
    ino_t  x = *(const ino_t *) a, y = *(const ino_t *) b;

    return x < y ? -1 : x > y;
}


static void
shards_of(s3_set_t *set, unsigned i, inodes_t *list)
{
    char  path[4096];

    memset(list, 0, sizeof(inodes_t));
    (void) snprintf(path, sizeof(path), "%s/data", set->disks[i]);
    inodes_of(path, list);
    qsort(list->inodes, list->n, sizeof(ino_t), inode_cmp);
}


/* --- tests --- */


/* a lost disk, and an empty one in its place, while objects are written */

static void
test_replace_lost(void **state)
{
    char       aside[4096];
    unsigned   i;
    s3_set_t  *set;

    set = set_up(4, 2);
    (void) snprintf(aside, sizeof(aside), "%s.new", set->disks[1]);
    put_all(set, 1);
    put_rows(set);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    lose(set, 1);
    put_all(set, 100);
    assert_false(there(set, 1, "format"));

    file(set, 1, "replace", "");

    for (i = 0; !there(set, 1, "index.db") && i < 100; i++) {
        put_all(set, 200 + i);
    }

    assert_true(there(set, 1, "index.db"));
    put_all(set, 1000);
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));
    assert_false(there(set, 1, "replace"));
    assert_false(there(set, 1, "copy"));

    any_two_others(set, 1, 1000);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    /* the lost one is found again: its place is another's */

    assert_int_equal(rename(set->disks[1], aside), 0);
    s3_set_back(set, 1);
    start(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    get_all(set, 1000);
    put_all(set, 2000);
    assert_false(s3_set_whole(set, 1500));

    s3_set_away(set, 1);
    assert_int_equal(rename(aside, set->disks[1]), 0);
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));
    any_two_others(set, 1, 2000);

    forget_lost(set, 1);
    tear_down(set);
}


/* as many as may be lost: the set takes writes again */

static void
test_replace_two_lost(void **state)
{
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    lose(set, 0);
    lose(set, 3);
    assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 5000));
    get_all(set, 1);

    s3_set_client_close(set);
    s3_set_kill(set);
    start(set);
    assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 10000));

    /* which of the two is whose nobody knows any more */

    file(set, 0, "replace", "");
    file(set, 3, "replace", "7\n");
    assert_false(s3_set_whole(set, 1500));
    assert_false(there(set, 0, "format"));
    assert_false(there(set, 3, "format"));

    file(set, 0, "replace", "0");
    file(set, 3, "replace", "3\n");
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    /* all data came from the two that were left: now they go */

    s3_set_away(set, 1);
    s3_set_away(set, 2);
    assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 5000));
    wait_readable(set, 1);
    get_all(set, 1);
    s3_set_back(set, 1);
    s3_set_back(set, 2);
    assert_true(s3_set_whole(set, 20000));

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    forget_lost(set, 0);
    forget_lost(set, 3);
    tear_down(set);
}


/* whatever else stands there is not touched, nor is a directory unasked */

static void
test_replace_not_empty(void **state)
{
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);

    lose(set, 2);
    file(set, 2, "replace", "");
    file(set, 2, "thesis.txt", "three years of work");
    wait_out(set);
    assert_false(s3_set_whole(set, 2000));
    assert_false(there(set, 2, "format"));
    assert_true(there(set, 2, "replace"));
    assert_true(there(set, 2, "thesis.txt"));
    put_all(set, 50);
    get_all(set, 50);

    forget_lost(set, 2);
    tear_down(set);
}


/* the store process dies at any moment of it */

static void
test_replace_killed(void **state)
{
    pid_t      next;
    unsigned   round, i;
    uint64_t   until;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_rows(set);

    for (round = 0; round < 12; round++) {
        put_all(set, round * 100);

        i = round % 4;
        lose(set, i);
        file(set, i, "replace", "");

        /* a watch sees it within 300 ms and the opening after it */

        until = s3_now() + 5000;

        while (!there(set, i, "format") && s3_now() < until) {
            put_all(set, round * 100 + 20);
        }

        assert_true(there(set, i, "format"));

        next = s3_set_respawn(set, (round * 9973) % 150000);
        put_all(set, round * 100 + 40);
        s3_set_reap(set, next);
        put_all(set, round * 100 + 60);

        assert_true(s3_set_whole(set, 20000));
        assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));
        get_all(set, round * 100 + 60);
        forget_lost(set, i);
    }

    any_two_others(set, i, (round - 1) * 100 + 60);

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


/*
 * A batch on one disk alone, which was away when the others opened the next
 * generation: it gets a copy of their index, and keeps its shards.
 */

static void
test_forked(void **state)
{
    inodes_t   before, after;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);
    put_rows(set);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    s3_set_client_close(set);
    s3_set_kill(set);
    index_alone(set, 2, 0, "never-decided");
    shards_of(set, 2, &before);
    assert_int_equal(before.n, NSIZES - NINLINE);

    s3_set_away(set, 2);
    start(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    assert_int_equal(s3_set_put(set, "bucket", "later", 7, 100000),
                     S3_STORE_OK);
    assert_int_equal(s3_set_bucket_delete(set, "never-decided"),
                     S3_STORE_NO_SUCH_BUCKET);

    s3_set_back(set, 2);
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE + 1, 20000));
    assert_false(there(set, 2, "copy"));

    shards_of(set, 2, &after);
    assert_int_equal(after.n, before.n + 1);

    for (unsigned i = 0; i < before.n; i++) {
        assert_non_null(bsearch(&before.inodes[i], after.inodes, after.n,
                                sizeof(ino_t), inode_cmp));
    }

    any_two_others(set, 2, 1);
    assert_int_equal(s3_set_bucket_delete(set, "never-decided"),
                     S3_STORE_NO_SUCH_BUCKET);

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


/* not forked, but the others have forgotten what it lacks */

static void
test_away_too_long(void **state)
{
    unsigned   i;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    s3_set_away(set, 0);
    put_all(set, 100);
    put_rows(set);
    assert_int_equal(s3_set_put(set, "bucket", "later", 7, 100000),
                     S3_STORE_OK);
    assert_int_equal(s3_set_delete(set, "bucket", key(5)), S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", key(5), 105, sizes[5]),
                     S3_STORE_OK);

    s3_set_client_close(set);
    s3_set_kill(set);

    for (i = 1; i < 4; i++) {
        index_trim(set, i);
    }

    s3_set_back(set, 0);
    start(set);
    assert_true(s3_set_whole(set, 20000));

    /* garbage of when it was away is gone there, too */

    assert_true(s3_set_repaired(set, NSIZES - NINLINE + 1, 20000));
    any_two_others(set, 0, 100);

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


/*
 * docs/commit.md, section 7: A and C at one batch, B at another of a higher
 * generation; all disks are there, and none of them was ever decided.
 */

static void
test_all_there_but_forked(void **state)
{
    s3_set_t  *set;

    set = set_up(3, 1);
    put_all(set, 1);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    s3_set_client_close(set);
    s3_set_kill(set);
    index_alone(set, 0, 0, "a-and-c");
    index_alone(set, 2, 0, "a-and-c");
    index_alone(set, 1, 1, NULL);

    start(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 20000));
    assert_true(s3_set_whole(set, 20000));
    get_all(set, 1);
    put_all(set, 50);
    assert_int_equal(s3_set_bucket_delete(set, "a-and-c"),
                     S3_STORE_NO_SUCH_BUCKET);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


/*
 * An index that can't be opened: the disk gets the others', and keeps its
 * shards.  Nothing of the old one is left, its log least of all.
 */

static void
test_index_damaged(void **state)
{
    unsigned   i, n;
    inodes_t   before, after;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);
    put_rows(set);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    for (n = 0; n < NDAMAGES; n++) {
        i = n % 4;
        s3_set_client_close(set);
        s3_set_kill(set);
        shards_of(set, i, &before);
        assert_int_equal(before.n, NSIZES - NINLINE);
        index_damages[n](set, i);

        start(set);
        assert_true(s3_set_state(set, S3_STORE_OK, 10000));
        get_all(set, 1);
        assert_true(s3_set_whole(set, 20000));
        assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));
        shards_of(set, i, &after);
        assert_int_equal(after.n, before.n);
        assert_memory_equal(after.inodes, before.inodes,
                            before.n * sizeof(ino_t));
        assert_false(there(set, i, "copy"));
        assert_false(there(set, i, "index.db-journal"));
    }

    any_two_others(set, i, 1);

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


/*
 * As many as may be lost: what is left are k indexes, which have all that was
 * decided, and with the copies the set takes writes.
 */

static void
test_two_indexes_damaged(void **state)
{
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 10000));

    s3_set_client_close(set);
    s3_set_kill(set);
    index_gone(set, 1);
    index_empty(set, 2);
    start(set);

    assert_true(s3_set_state(set, S3_STORE_OK, 20000));
    assert_true(s3_set_whole(set, 20000));
    get_all(set, 1);
    put_all(set, 50);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    /* one, and another disk is away: the same */

    s3_set_client_close(set);
    s3_set_kill(set);
    index_gone(set, 3);
    s3_set_away(set, 0);
    start(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 20000));
    get_all(set, 50);
    put_all(set, 100);
    s3_set_back(set, 0);
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


/*
 * More than may be lost: the one that is left may be one that has missed what
 * was acknowledged.  It is not copied, and nothing is served, until another is
 * back.
 */

static void
test_too_many_indexes_damaged(void **state)
{
    unsigned   i;
    s3_set_t  *set;

    set = set_up(3, 1);
    put_all(set, 1);

    /* disk 0 has missed the second half, with disk 1's index the only ones */

    s3_set_away(set, 0);
    wait_out(set);
    put_all(set, 50);

    s3_set_client_close(set);
    s3_set_kill(set);
    s3_set_back(set, 0);
    s3_set_away(set, 1);
    index_gone(set, 2);
    start(set);

    assert_false(s3_set_state(set, S3_STORE_OK, 1500));
    assert_int_equal(s3_client_state(set->client), S3_STORE_UNAVAILABLE);
    assert_false(there(set, 2, "index.db"));
    assert_int_not_equal(s3_set_get(set, "bucket", key(0), 1, sizes[0], 0,
                                    sizes[0]), S3_STORE_OK);

    s3_set_back(set, 1);
    assert_true(s3_set_state(set, S3_STORE_OK, 20000));
    assert_true(s3_set_whole(set, 20000));
    get_all(set, 50);
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    /* no disk has one */

    s3_set_client_close(set);
    s3_set_kill(set);

    for (i = 0; i < 3; i++) {
        index_gone(set, i);
    }

    start(set);
    assert_false(s3_set_state(set, S3_STORE_OK, 1500));
    assert_int_equal(s3_client_state(set->client), S3_STORE_UNAVAILABLE);

    for (i = 0; i < 3; i++) {
        assert_false(there(set, i, "index.db"));
    }

    tear_down(set);
}


/*
 * A disk that was replaced, and its index is damaged: its place is another's
 * all the same.  Nor may an empty one take the place of one that has its own.
 */

static void
test_index_damaged_of_a_lost_disk(void **state)
{
    char       aside[4096];
    s3_set_t  *set;

    set = set_up(4, 2);
    (void) snprintf(aside, sizeof(aside), "%s.new", set->disks[1]);
    put_all(set, 1);
    lose(set, 1);
    file(set, 1, "replace", "");
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));

    s3_set_client_close(set);
    s3_set_kill(set);
    assert_int_equal(rename(set->disks[1], aside), 0);
    s3_set_back(set, 1);
    index_gone(set, 1);
    start(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    put_all(set, 50);
    assert_false(s3_set_whole(set, 1500));
    assert_false(there(set, 1, "index.db"));

    /* disk 0 is to be replaced at the same time: one place is free, not two */

    s3_set_client_close(set);
    s3_set_kill(set);
    s3_test_dir_free(strdup(set->disks[1]));
    assert_int_equal(rename(aside, set->disks[1]), 0);
    index_gone(set, 1);
    lose(set, 0);
    file(set, 0, "replace", "");
    start(set);
    assert_true(s3_set_whole(set, 20000));
    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));
    get_all(set, 50);

    forget_lost(set, 0);
    tear_down(set);
}


/* a copy that was cut at any moment leaves the old index or the new one */

static void
test_forked_killed(void **state)
{
    pid_t      next;
    unsigned   round, i;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_rows(set);
    put_all(set, 1);

    for (round = 0; round < 12; round++) {
        i = round % 4;

        s3_set_client_close(set);
        s3_set_kill(set);

        if (round % 3 == 2) {
            index_damages[round / 3](set, i);

        } else {
            index_alone(set, i, 0, "never-decided");
        }

        s3_set_away(set, i);
        start(set);
        assert_true(s3_set_state(set, S3_STORE_OK, 10000));
        put_all(set, round * 100 + 20);
        s3_set_back(set, i);

        next = s3_set_respawn(set, 300000 + (round * 50021) % 600000);
        put_all(set, round * 100);
        s3_set_reap(set, next);
        put_all(set, round * 100 + 50);

        assert_true(s3_set_whole(set, 20000));
        get_all(set, round * 100 + 50);
    }

    assert_true(s3_set_repaired(set, NSIZES - NINLINE, 20000));
    any_two_others(set, i, (round - 1) * 100 + 50);

    s3_set_client_close(set);
    s3_set_kill(set);
    indexes_equal(set);

    tear_down(set);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_replace_lost),
        cmocka_unit_test(test_replace_two_lost),
        cmocka_unit_test(test_replace_not_empty),
        cmocka_unit_test(test_replace_killed),
        cmocka_unit_test(test_forked),
        cmocka_unit_test(test_away_too_long),
        cmocka_unit_test(test_all_there_but_forked),
        cmocka_unit_test(test_index_damaged),
        cmocka_unit_test(test_two_indexes_damaged),
        cmocka_unit_test(test_too_many_indexes_damaged),
        cmocka_unit_test(test_index_damaged_of_a_lost_disk),
        cmocka_unit_test(test_forked_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
