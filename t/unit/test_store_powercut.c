
/*
 * The recorder and replayer of power cuts themselves; then shard files, whose
 * promise is small enough to be checked at every cut.
 */


#include "s3_test.h"
#include "s3_powercut.h"
#include "s3_door.h"
#include "s3_pool.h"
#include "s3_shard.h"

#include <dirent.h>


#define SEEDS  200


static char           *dir;         /* with 0, 1 (recorded), r0, r1 */
static char            path[2][256], root[2][256];
static const char     *roots[2] = { root[0], root[1] };
static int             fd[2];       /* of the disks */
static s3_powercut_t  *plog;


static int
powercut_setup(void **state)
{
    int  i;

    dir = s3_test_dir();

    for (i = 0; i < 2; i++) {
        (void) snprintf(path[i], sizeof(path[i]), "%s/%d", dir, i);
        (void) snprintf(root[i], sizeof(root[i]), "%s/r%d", dir, i);
        assert_int_equal(mkdir(path[i], 0700), 0);
        assert_int_equal(mkdir(root[i], 0700), 0);
        fd[i] = open(path[i], O_RDONLY|O_DIRECTORY);
        assert_int_not_equal(fd[i], -1);
    }

    plog = NULL;

    return 0;
}


static int
powercut_teardown(void **state)
{
    int  i;

    if (s3_door != &s3_door_system) {
        plog = s3_powercut_stop();
    }

    if (plog != NULL) {
        s3_powercut_free(plog);
    }

    for (i = 0; i < 2; i++) {
        close(fd[i]);
    }

    s3_test_dir_free(dir);

    return 0;
}


static void
record(void)
{
    s3_powercut_start();
    assert_int_equal(s3_powercut_disk(path[0]), 0);
    assert_int_equal(s3_powercut_disk(path[1]), 1);
}


/* what was recorded, all of it */

static void
replay(s3_powercut_mode_e mode, uint64_t seed)
{
    size_t  cuts[2];

    cuts[0] = cuts[1] = s3_powercut_length(plog);
    assert_int_equal(s3_powercut_replay(plog, cuts, mode, seed, roots), 0);
}


/* through the door */

static int
make(int at, const char *name)
{
    int  f;

    f = s3_door->openat(at, name, O_CREAT|O_EXCL|O_RDWR, 0600);
    assert_int_not_equal(f, -1);

    return f;
}


static void
put(int f, const char *text, off_t offset)
{
    assert_int_equal(s3_door_write_all(f, text, strlen(text), offset), 0);
}


/* the file of the replayed disk 0: its length, -1 where there is none */

static ssize_t
get(const char *name, void *buf, size_t size)
{
    int      f;
    char     full[512];
    ssize_t  n;

    (void) snprintf(full, sizeof(full), "%s/%s", root[0], name);

    f = open(full, O_RDONLY);
    if (f == -1) {
        assert_int_equal(errno, ENOENT);
        return -1;
    }

    n = read(f, buf, size);
    close(f);

    return n;
}


static void
is(const char *name, const char *text)
{
    char     buf[100];
    ssize_t  n;

    n = get(name, buf, sizeof(buf));
    assert_int_equal(n, strlen(text));
    assert_memory_equal(buf, text, n);
}


static void
isnt(const char *name)
{
    char  buf[1];

    assert_int_equal(get(name, buf, 1), -1);
}


/* --- files and names --- */

static void
file_and_name(void **state)
{
    int  a, b, c;

    record();

    a = make(fd[0], "a");
    put(a, "aaa", 0);
    s3_door->fdatasync(a);
    b = make(fd[0], "b");
    s3_door->fsync(fd[0]);
    put(b, "bbb", 0);
    c = make(fd[0], "c");
    put(c, "ccc", 0);
    s3_door->fsync(c);

    plog = s3_powercut_stop();
    assert_ptr_equal(s3_door, &s3_door_system);

    /* a: both; b: a name without bytes; c: bytes without a name */

    replay(S3_POWERCUT_DROPPED, 0);
    is("a", "aaa");
    is("b", "");
    isnt("c");

    replay(S3_POWERCUT_KEPT, 0);
    is("a", "aaa");
    is("b", "bbb");
    is("c", "ccc");

    close(a);
    close(b);
    close(c);
}


static void
what_was_there(void **state)
{
    int   f, sub;
    char  buf[100];

    assert_int_equal(mkdirat(fd[0], "sub", 0700), 0);
    sub = openat(fd[0], "sub", O_RDONLY|O_DIRECTORY);
    f = openat(sub, "old", O_CREAT|O_RDWR, 0600);
    put(f, "before", 0);

    record();

    put(f, "AF", 0);
    put(f, "ter", 6);
    assert_int_equal(s3_door->unlinkat(sub, "nothing", 0), -1);
    assert_int_equal(errno, ENOENT);

    plog = s3_powercut_stop();
    assert_int_equal(s3_powercut_length(plog), 2);

    replay(S3_POWERCUT_DROPPED, 0);
    is("sub/old", "before");
    replay(S3_POWERCUT_KEPT, 0);
    is("sub/old", "AFforeter");

    /* the target is emptied each time */

    replay(S3_POWERCUT_DROPPED, 0);
    is("sub/old", "before");
    assert_int_equal(get("sub/new", buf, 1), -1);

    close(f);
    close(sub);
}


static void
torn_sectors(void **state)
{
    int       f, mixed, old, new;
    char      before[4096], after[4096], buf[8192];
    size_t    i, kept;
    ssize_t   n;
    uint64_t  seed;

    memset(before, 'o', sizeof(before));
    memset(after, 'n', sizeof(after));

    f = openat(fd[0], "f", O_CREAT|O_RDWR, 0600);
    assert_int_equal(s3_door_write_all(f, before, 4096, 0), 0);

    record();
    assert_int_equal(s3_door_write_all(f, after, 4096, 0), 0);
    plog = s3_powercut_stop();

    mixed = old = new = 0;

    for (seed = 0; seed < SEEDS; seed++) {
        replay(S3_POWERCUT_TORN, seed);

        n = get("f", buf, sizeof(buf));
        assert_int_equal(n, 4096);
        kept = 0;

        for (i = 0; i < 4096; i += 512) {
            assert_true(buf[i] == 'o' || buf[i] == 'n');
            assert_memory_equal(buf + i, buf[i] == 'o' ? before : after, 512);
            kept += buf[i] == 'n';
        }

        old += kept == 0;
        new += kept == 8;
        mixed += kept != 0 && kept != 8;
    }

    assert_true(old > 10);
    assert_true(new > 10);
    assert_true(mixed > SEEDS / 4);

    close(f);
}


/* a file that grows: no byte but what was written there, or zero */

static void
torn_length(void **state)
{
    int       f, lengths[9], seen;
    char      buf[8192], data[4000];
    size_t    i;
    ssize_t   n;
    uint64_t  seed;

    for (i = 0; i < sizeof(data); i++) {
        data[i] = 'x';
    }

    f = openat(fd[0], "f", O_CREAT|O_RDWR, 0600);

    record();
    assert_int_equal(s3_door_write_all(f, data, 4000, 96), 0);
    plog = s3_powercut_stop();

    memset(lengths, 0, sizeof(lengths));

    for (seed = 0; seed < SEEDS; seed++) {
        replay(S3_POWERCUT_TORN, seed);

        n = get("f", buf, sizeof(buf));
        assert_true(n == 0 || n == 4096 || n % 512 == 0);
        assert_true(n <= 4096);
        lengths[n / 512]++;

        for (i = 0; i < (size_t) n; i++) {
            assert_true(buf[i] == 0 || (buf[i] == 'x' && i >= 96));
        }
    }

    seen = 0;

    for (i = 0; i < 9; i++) {
        seen += lengths[i] != 0;
    }

    assert_true(lengths[0] != 0 && lengths[8] != 0 && seen >= 5);

    close(f);
}


static void
lengths(void **state)
{
    int  f;

    f = openat(fd[0], "f", O_CREAT|O_RDWR, 0600);
    put(f, "0123456789", 0);

    record();
    s3_door->ftruncate(f, 4);
    s3_door->fdatasync(f);
    s3_door->ftruncate(f, 6);
    s3_door->fallocate(f, FALLOC_FL_KEEP_SIZE, 0, 100);
    s3_door->fallocate(f, 0, 0, 3);
    s3_door->fallocate(f, 0, 0, 8);
    close(f);
    f = s3_door->openat(fd[0], "f", O_WRONLY|O_CREAT|O_TRUNC, 0600);
    put(f, "z", 0);
    plog = s3_powercut_stop();

    assert_int_equal(s3_powercut_length(plog), 6);

    replay(S3_POWERCUT_DROPPED, 0);
    is("f", "0123");
    replay(S3_POWERCUT_KEPT, 0);
    is("f", "z");

    close(f);
}


/* --- renames --- */

static void
renames(void **state)
{
    int       f, both[2], d[2];
    char      buf[10];
    uint64_t  seed;
    unsigned  i;

    assert_int_equal(mkdirat(fd[0], "x", 0700), 0);
    assert_int_equal(mkdirat(fd[0], "y", 0700), 0);
    d[0] = openat(fd[0], "x", O_RDONLY|O_DIRECTORY);
    d[1] = openat(fd[0], "y", O_RDONLY|O_DIRECTORY);
    f = openat(d[0], "f", O_CREAT|O_RDWR, 0600);
    put(f, "f", 0);
    close(f);
    f = openat(d[0], "g", O_CREAT|O_RDWR, 0600);
    put(f, "g", 0);
    close(f);

    record();
    assert_int_equal(s3_door->renameat(fd[0], "x/f", fd[0], "y/F"), 0);
    assert_int_equal(s3_door->renameat(d[0], "g", d[1], "G"), 0);
    plog = s3_powercut_stop();

    replay(S3_POWERCUT_DROPPED, 0);
    is("x/f", "f");
    is("x/g", "g");
    isnt("y/F");
    replay(S3_POWERCUT_KEPT, 0);
    is("y/F", "f");
    is("y/G", "g");
    isnt("x/f");

    both[0] = both[1] = 0;

    for (seed = 0; seed < SEEDS; seed++) {
        replay(S3_POWERCUT_TORN, seed);

        /* here or there, never both or none; each of the two for itself */

        assert_true((get("x/f", buf, 1) == -1) != (get("y/F", buf, 1) == -1));
        assert_true((get("x/g", buf, 1) == -1) != (get("y/G", buf, 1) == -1));

        both[0] += get("x/f", buf, 1) == -1 && get("x/g", buf, 1) == 1;
        both[1] += get("x/f", buf, 1) == 1 && get("x/g", buf, 1) == -1;
    }

    assert_true(both[0] > 5 && both[1] > 5);
    s3_powercut_free(plog);
    plog = NULL;

    /* durable after a sync of either directory */

    for (i = 0; i < 2; i++) {
        assert_int_equal(renameat(d[1], "F", d[0], "f"), 0);

        record();
        assert_int_equal(s3_door->renameat(d[0], "f", d[1], "F"), 0);
        s3_door->fsync(d[i]);
        plog = s3_powercut_stop();

        replay(S3_POWERCUT_DROPPED, 0);
        is("y/F", "f");
        isnt("x/f");

        s3_powercut_free(plog);
        plog = NULL;
    }

    close(d[0]);
    close(d[1]);
}


/* made, renamed and only the new directory synced: the old name does not come
 * back when its directory is synced later */

static void
rename_of_new(void **state)
{
    int  f, d[2];

    assert_int_equal(mkdirat(fd[0], "x", 0700), 0);
    assert_int_equal(mkdirat(fd[0], "y", 0700), 0);
    d[0] = openat(fd[0], "x", O_RDONLY|O_DIRECTORY);
    d[1] = openat(fd[0], "y", O_RDONLY|O_DIRECTORY);

    record();
    f = make(d[0], "f");
    put(f, "f", 0);
    s3_door->fsync(f);
    assert_int_equal(s3_door->renameat(d[0], "f", d[1], "F"), 0);
    s3_powercut_mark("renamed");
    s3_door->fsync(d[1]);
    s3_powercut_mark("new synced");
    s3_door->fsync(d[0]);
    plog = s3_powercut_stop();

    replay(S3_POWERCUT_DROPPED, 0);
    is("y/F", "f");
    isnt("x/f");

    close(f);
    close(d[0]);
    close(d[1]);
}


static void
rename_over(void **state)
{
    int       f, n, old, new;
    char      buf[10];
    uint64_t  seed;

    f = openat(fd[0], "f", O_CREAT|O_RDWR, 0600);
    put(f, "old", 0);
    close(f);

    record();
    f = make(fd[0], "f.new");
    put(f, "newer", 0);
    s3_door->fsync(f);
    assert_int_equal(s3_door->renameat(fd[0], "f.new", fd[0], "f"), 0);
    plog = s3_powercut_stop();

    replay(S3_POWERCUT_DROPPED, 0);
    is("f", "old");
    replay(S3_POWERCUT_KEPT, 0);
    is("f", "newer");
    isnt("f.new");

    old = new = 0;

    for (seed = 0; seed < SEEDS; seed++) {
        replay(S3_POWERCUT_TORN, seed);

        n = (int) get("f", buf, sizeof(buf));

        if (n == 3) {
            assert_memory_equal(buf, "old", 3);
            old++;

        } else {
            assert_int_equal(n, 5);
            assert_memory_equal(buf, "newer", 5);
            isnt("f.new");
            new++;
        }
    }

    assert_true(old > 10 && new > 10);

    close(f);
}


/* a name's own changes keep their order */

static void
order_of_a_name(void **state)
{
    int       f, n, seen[3];
    char      buf[10];
    uint64_t  seed;

    f = openat(fd[0], "f", O_CREAT|O_RDWR, 0600);
    put(f, "first", 0);
    close(f);

    record();
    assert_int_equal(s3_door->unlinkat(fd[0], "f", 0), 0);
    f = make(fd[0], "f");
    put(f, "2nd", 0);
    s3_door->fsync(f);
    plog = s3_powercut_stop();

    seen[0] = seen[1] = seen[2] = 0;

    for (seed = 0; seed < SEEDS; seed++) {
        replay(S3_POWERCUT_TORN, seed);

        n = (int) get("f", buf, sizeof(buf));
        assert_true(n == 5 || n == -1 || n == 3);
        seen[n == 5 ? 0 : n == -1 ? 1 : 2]++;
    }

    assert_true(seen[0] > 5 && seen[1] > 5 && seen[2] > 5);

    close(f);
}


/* moved out of the way, and another made: the first is never lost */

static void
order_of_two_names(void **state)
{
    int       f, seen[3];
    char      buf[10];
    ssize_t   at, aside;
    uint64_t  seed;

    f = openat(fd[0], "f", O_CREAT|O_RDWR, 0600);
    put(f, "first", 0);
    close(f);

    record();
    assert_int_equal(s3_door->renameat(fd[0], "f", fd[0], "g"), 0);
    f = make(fd[0], "f");
    put(f, "2nd", 0);
    s3_door->fsync(f);
    plog = s3_powercut_stop();

    seen[0] = seen[1] = seen[2] = 0;

    for (seed = 0; seed < SEEDS; seed++) {
        replay(S3_POWERCUT_TORN, seed);

        at = get("f", buf, sizeof(buf));
        aside = get("g", buf, sizeof(buf));

        if (at == 5) {
            assert_int_equal(aside, -1);
            seen[0]++;

        } else {
            assert_true(at == -1 || at == 3);
            assert_int_equal(aside, 5);
            seen[at == -1 ? 1 : 2]++;
        }
    }

    assert_true(seen[0] > 5 && seen[1] > 5 && seen[2] > 5);

    close(f);
}


static void
directories(void **state)
{
    int  f, d;

    record();

    /* synced to the bottom, but not at the top */

    assert_int_equal(s3_door->mkdirat(fd[0], "d", 0700), 0);
    d = s3_door->openat(fd[0], "d", O_RDONLY|O_DIRECTORY, 0);
    f = make(d, "f");
    put(f, "f", 0);
    s3_door->fsync(f);
    s3_door->fsync(d);
    s3_powercut_mark("below");
    s3_door->fsync(fd[0]);
    s3_powercut_mark("all");

    /* renamed as a whole, and removed */

    assert_int_equal(s3_door->renameat(fd[0], "d", fd[0], "e"), 0);
    s3_door->fsync(fd[0]);
    s3_powercut_mark("renamed");
    assert_int_equal(s3_door->unlinkat(d, "f", 0), 0);
    assert_int_equal(s3_door->unlinkat(fd[0], "e", AT_REMOVEDIR), 0);
    s3_door->fsync(fd[0]);

    plog = s3_powercut_stop();

    {
        size_t               i, cuts[2];
        s3_powercut_event_t  e;

        for (i = 0; i < s3_powercut_length(plog); i++) {
            s3_powercut_event(plog, i, &e);

            if (e.call != S3_POWERCUT_MARK) {
                continue;
            }

            cuts[0] = cuts[1] = i;
            assert_int_equal(s3_powercut_replay(plog, cuts,
                                                S3_POWERCUT_DROPPED, 0,
                                                roots),
                             0);

            if (strcmp(e.text, "below") == 0) {
                isnt("d/f");
                isnt("d");

            } else if (strcmp(e.text, "all") == 0) {
                is("d/f", "f");

            } else {
                is("e/f", "f");
                isnt("d/f");
            }
        }
    }

    replay(S3_POWERCUT_DROPPED, 0);
    isnt("e");
    isnt("d");

    close(f);
    close(d);
}


/* --- the log --- */

static void
disks_and_marks(void **state)
{
    int                  f[2];
    char                 full[600], buf[10];
    size_t               n, points[100], cuts[2];
    s3_powercut_event_t  e;

    record();
    s3_powercut_mark("start %d", 1);
    f[0] = make(fd[0], "a");
    f[1] = make(fd[1], "b");
    put(f[0], "0", 0);
    put(f[1], "1", 0);
    s3_door->fsync(f[1]);
    s3_door->fsync(fd[1]);
    s3_powercut_mark("end");
    plog = s3_powercut_stop();
    s3_powercut_mark("not recorded");

    assert_int_equal(s3_powercut_length(plog), 8);
    s3_powercut_event(plog, 0, &e);
    assert_int_equal(e.call, S3_POWERCUT_MARK);
    assert_string_equal(e.text, "start 1");
    s3_powercut_event(plog, 2, &e);
    assert_int_equal(e.call, S3_POWERCUT_CREATE);
    assert_int_equal(e.disk, 1);
    assert_string_equal(e.text, "b");
    s3_powercut_event(plog, 6, &e);
    assert_int_equal(e.call, S3_POWERCUT_SYNC_DIR);
    assert_string_equal(e.text, ".");

    n = s3_powercut_points(plog, 0, points);
    assert_int_equal(n, 3);
    assert_int_equal(points[0], 0);
    assert_int_equal(points[1], 2);
    assert_int_equal(points[2], 4);
    assert_int_equal(s3_powercut_points(plog, 1, points), 5);

    /* each at its own moment */

    cuts[0] = 3;
    cuts[1] = 8;
    assert_int_equal(s3_powercut_replay(plog, cuts, S3_POWERCUT_KEPT, 0,
                                        roots),
                     0);
    is("a", "");
    (void) snprintf(full, sizeof(full), "../r1/b");
    is(full, "1");

    cuts[0] = 0;
    cuts[1] = 6;
    assert_int_equal(s3_powercut_replay(plog, cuts, S3_POWERCUT_DROPPED, 0,
                                        roots),
                     0);
    isnt("a");
    assert_int_equal(get(full, buf, 1), -1);

    /* left out: stays as it is */

    cuts[0] = 8;
    cuts[1] = 8;
    roots[1] = NULL;
    assert_int_equal(s3_powercut_replay(plog, cuts, S3_POWERCUT_KEPT, 0,
                                        roots),
                     0);
    roots[1] = root[1];
    is("a", "0");
    assert_int_equal(get(full, buf, 1), -1);

    close(f[0]);
    close(f[1]);
}


/* what is not on a disk is nobody's business */

static void
elsewhere(void **state)
{
    int   f, d;
    char  name[300];

    record();

    (void) snprintf(name, sizeof(name), "%s/elsewhere", dir);
    assert_int_equal(s3_door->mkdirat(AT_FDCWD, name, 0700), 0);
    d = s3_door->openat(AT_FDCWD, name, O_RDONLY|O_DIRECTORY, 0);
    f = make(d, "f");
    put(f, "x", 0);
    assert_int_equal(s3_door->fsync(f), 0);
    assert_int_equal(s3_door->fsync(d), 0);
    assert_int_equal(s3_door->renameat(d, "f", d, "g"), 0);
    assert_int_equal(s3_door->unlinkat(d, "g", 0), 0);
    assert_int_equal(s3_door->fsync(-1), -1);
    assert_int_equal(errno, EBADF);
    close(f);

    /* by a path that leads to one */

    (void) snprintf(name, sizeof(name), "%s/f", path[0]);
    f = make(AT_FDCWD, name);
    close(f);
    close(d);

    plog = s3_powercut_stop();
    assert_int_equal(s3_powercut_length(plog), 1);
    replay(S3_POWERCUT_KEPT, 0);
    is("f", "");
}


/* a number of an inode that is free again is another file */

static void
inodes_again(void **state)
{
    int   i, f;
    char  name[20], text[20], outside[300];

    (void) snprintf(outside, sizeof(outside), "%s/outside", dir);

    record();

    for (i = 0; i < 50; i++) {
        (void) snprintf(name, sizeof(name), "f%d", i);
        (void) snprintf(text, sizeof(text), "text %d", i);
        f = make(fd[0], name);
        put(f, text, 0);
        s3_door->fsync(f);
        s3_door->close(f);

        if (i % 2) {
            assert_int_equal(s3_door->unlinkat(fd[0], name, 0), 0);
        }

        /* outside the disks, too */

        f = make(AT_FDCWD, outside);
        put(f, "nothing of ours", 0);
        s3_door->close(f);
        assert_int_equal(s3_door->unlinkat(AT_FDCWD, outside, 0), 0);
    }

    plog = s3_powercut_stop();
    replay(S3_POWERCUT_KEPT, 0);

    for (i = 0; i < 50; i++) {
        (void) snprintf(name, sizeof(name), "f%d", i);
        (void) snprintf(text, sizeof(text), "text %d", i);

        if (i % 2) {
            isnt(name);

        } else {
            is(name, text);
        }
    }
}


/* two pools, each with a table of its own: the same number, two files */

static int  own_number[2];


static void
own_run(s3_task_t *task)
{
    int    f, d;
    char  *to = task->data;

    d = s3_door->openat(AT_FDCWD, to, O_RDONLY|O_DIRECTORY, 0);
    f = s3_door->openat(d, "f", O_CREAT|O_RDWR, 0600);

    task->error = s3_door_write_all(f, to, strlen(to), 0) == -1
                  || s3_door->fsync(f) == -1 || s3_door->fsync(d) == -1;

    own_number[to == path[1]] = f;
}


static void
own_done(s3_task_t *task)
{
    assert_int_equal(task->error, 0);
}


static void
own_tables(void **state)
{
    int             i, n;
    char            buf[300];
    s3_task_t       task[2];
    s3_loop_t      *loop;
    s3_pool_t      *pool[2];
    s3_lane_conf_t  lane = { 1, 1 };

    record();

    loop = s3_loop_create();
    assert_non_null(loop);

    for (i = 0; i < 2; i++) {
        pool[i] = s3_pool_create("disk", &lane, 1, loop, 1);
        assert_non_null(pool[i]);

        memset(&task[i], 0, sizeof(s3_task_t));
        task[i].loop = loop;
        task[i].run = own_run;
        task[i].done = own_done;
        task[i].data = path[i];
        assert_int_equal(s3_pool_post(pool[i], 0, &task[i]), 0);
    }

    for (n = 0; n < 2; /* void */ ) {
        n += s3_loop_wait(loop, 1000);
    }

    assert_int_equal(own_number[0], own_number[1]);

    s3_pool_leave(pool[0]);
    s3_pool_leave(pool[1]);
    s3_loop_close(loop);

    plog = s3_powercut_stop();

    replay(S3_POWERCUT_DROPPED, 0);
    assert_int_equal(get("f", buf, sizeof(buf)), strlen(path[0]));
    assert_memory_equal(buf, path[0], strlen(path[0]));
    assert_int_equal(get("../r1/f", buf, sizeof(buf)), strlen(path[1]));
    assert_memory_equal(buf, path[1], strlen(path[1]));
}


/* --- a lot of everything --- */

static uint64_t
hash(uint64_t h, const void *p, size_t len)
{
    size_t          i;
    const uint8_t  *q = p;

    for (i = 0; i < len; i++) {
        h = (h ^ q[i]) * 1099511628211ULL;
    }

    return h;
}


/* names, kinds and bytes of all that is below; in whatever order */

static uint64_t
tree(int at, uint64_t above)
{
    int             f;
    DIR            *d;
    ssize_t         n;
    uint8_t         buf[16384];
    uint64_t        h, sum;
    struct dirent  *de;

    d = fdopendir(openat(at, ".", O_RDONLY|O_DIRECTORY));
    assert_non_null(d);
    sum = 0;

    while ((de = readdir(d)) != NULL) {
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) {
            continue;
        }

        f = openat(at, de->d_name, O_RDONLY);
        assert_int_not_equal(f, -1);

        h = hash(above, de->d_name, strlen(de->d_name) + 1);

        if (de->d_type == DT_DIR) {
            sum += hash(h, "d", 1) + tree(f, h);

        } else {
            n = read(f, buf, sizeof(buf));
            assert_true(n >= 0 && n < (ssize_t) sizeof(buf));
            sum += hash(hash(h, "f", 1), buf, n);
        }

        close(f);
    }

    closedir(d);

    return sum;
}


static uint64_t
tree_of(const char *name)
{
    int       f;
    uint64_t  sum;

    f = open(name, O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(f, -1);
    sum = tree(f, 1);
    close(f);

    return sum;
}


#define DIRS   4
#define NAMES  5
#define STEPS  1000


static void
sync_all(const int *d)
{
    int   i, j, f;
    char  name[8];

    s3_door->fsync(fd[0]);

    for (i = 0; i < DIRS; i++) {
        s3_door->fsync(d[i]);

        for (j = 0; j < NAMES; j++) {
            (void) snprintf(name, sizeof(name), "f%d", j);
            f = s3_door->openat(d[i], name, O_RDWR, 0);

            if (f != -1) {
                s3_door->fdatasync(f);
                s3_door->close(f);
            }
        }
    }
}


static void
a_lot_of_everything(void **state)
{
    int              i, f, d[DIRS];
    char             a[8], b[8];
    size_t           cuts[2], at[STEPS];
    uint8_t          data[4000];
    uint32_t         r[8];
    uint64_t         sums[STEPS];
    unsigned char    synced[STEPS];

    record();

    for (i = 0; i < DIRS; i++) {
        (void) snprintf(a, sizeof(a), "d%d", i);
        assert_int_equal(s3_door->mkdirat(fd[0], a, 0700), 0);
        d[i] = s3_door->openat(fd[0], a, O_RDONLY|O_DIRECTORY, 0);
    }

    for (i = 0; i < STEPS; i++) {
        s3_test_fill(r, sizeof(r), i);
        (void) snprintf(a, sizeof(a), "f%d", r[1] % NAMES);
        (void) snprintf(b, sizeof(b), "f%d", r[2] % NAMES);
        synced[i] = 0;

        switch (r[0] % 10) {

        case 0:
            s3_door->unlinkat(d[r[3] % DIRS], a, 0);
            break;

        case 1:
        case 2:
            s3_door->renameat(d[r[3] % DIRS], a, d[r[4] % DIRS], b);
            break;

        case 3:
            s3_door->fsync(d[r[3] % DIRS]);
            break;

        case 4:
            if (r[4] % 4 == 0) {
                sync_all(d);
                synced[i] = 1;
            }

            break;

        default:
            f = s3_door->openat(d[r[3] % DIRS], a, O_RDWR|O_CREAT, 0600);
            assert_int_not_equal(f, -1);

            if (r[5] % 8 == 0) {
                s3_door->ftruncate(f, r[6] % 8000);

            } else if (r[5] % 8 == 1) {
                s3_door->fsync(f);

            } else {
                s3_test_fill(data, sizeof(data), i);
                s3_door_write_all(f, data, r[6] % 4000, r[7] % 8000);
            }

            s3_door->close(f);
        }

        s3_powercut_mark("%d", i);
        at[i] = 0;
        sums[i] = tree_of(path[0]);
    }

    plog = s3_powercut_stop();

    {
        size_t               n;
        s3_powercut_event_t  e;

        for (n = 0; n < s3_powercut_length(plog); n++) {
            s3_powercut_event(plog, n, &e);

            if (e.call == S3_POWERCUT_MARK) {
                at[atoi(e.text)] = n;
            }
        }
    }

    /* kept: as it was at every step; and so it was, however cut, where all
     * had been synced */

    for (i = 0; i < STEPS; i++) {
        cuts[0] = cuts[1] = at[i];
        assert_int_equal(s3_powercut_replay(plog, cuts, S3_POWERCUT_KEPT, 0,
                                            roots),
                         0);
        assert_true(tree_of(root[0]) == sums[i]);

        if (synced[i]) {
            assert_int_equal(s3_powercut_replay(plog, cuts,
                                                S3_POWERCUT_DROPPED, 0,
                                                roots),
                             0);
            assert_true(tree_of(root[0]) == sums[i]);
            assert_int_equal(s3_powercut_replay(plog, cuts,
                                                S3_POWERCUT_TORN, i, roots),
                             0);
            assert_true(tree_of(root[0]) == sums[i]);
        }
    }

    /* the same seed, the same state; another, most often another */

    {
        int       same;
        uint64_t  seed, first, other;

        same = 0;

        for (seed = 0; seed < 20; seed++) {
            replay(S3_POWERCUT_TORN, seed);
            first = tree_of(root[0]);
            replay(S3_POWERCUT_TORN, seed + 1);
            other = tree_of(root[0]);
            replay(S3_POWERCUT_TORN, seed);
            assert_true(tree_of(root[0]) == first);
            same += first == other;
        }

        assert_true(same < 15);
    }

    for (i = 0; i < DIRS; i++) {
        close(d[i]);
    }
}


/* --- shards: at every cut, in every mode --- */

static s3_shard_info_t  info;


/* 0: read and right; ENOENT, EBADMSG; anything else is a failure */

static int
look(void)
{
    int                 rc, f;
    uint8_t             buf[20480], want[20480];
    uint64_t            size;
    s3_shard_reader_t  *r;

    f = open(root[0], O_RDONLY|O_DIRECTORY);
    rc = s3_shard_open(f, &info, &r);

    if (rc == 0) {
        size = s3_shard_size(&info.geometry, info.size);
        assert_int_equal(size, sizeof(buf));
        rc = s3_shard_read(r, buf, size, 0);
        s3_shard_close(r);

        if (rc == 0) {
            s3_test_fill(want, sizeof(want), 77);
            assert_memory_equal(buf, want, sizeof(want));
        }
    }

    close(f);
    assert_true(rc == 0 || rc == ENOENT || rc == EBADMSG);

    return rc;
}


static void
shards(void **state)
{
    int                  tmp, session, mode, rc, found, bad;
    char                 name[33];
    size_t               i, n, synced, removed, cuts[2];
    uint8_t              data[20480];
    uint64_t             seed;
    s3_shard_writer_t   *w;
    s3_powercut_event_t  e;

    memset(&info, 0, sizeof(info));
    s3_test_fill(info.shard_id, 16, 1);
    s3_test_fill(info.session, 16, 2);
    info.geometry = s3_geometry(4, 2);
    info.size = 2 * sizeof(data);

    assert_int_equal(mkdirat(fd[0], "tmp", 0700), 0);
    assert_int_equal(mkdirat(fd[0], "data", 0700), 0);
    s3_id_text(info.session, name);
    tmp = openat(fd[0], "tmp", O_RDONLY|O_DIRECTORY);
    assert_int_equal(mkdirat(tmp, name, 0700), 0);
    session = openat(tmp, name, O_RDONLY|O_DIRECTORY);

    record();

    s3_test_fill(data, sizeof(data), 77);
    assert_int_equal(s3_shard_create(session, &info, &w), 0);
    assert_int_equal(s3_shard_write(w, data, sizeof(data)), 0);
    assert_int_equal(s3_shard_finish(w, &info), 0);
    s3_powercut_mark("synced");
    assert_int_equal(s3_shard_settle(fd[0], info.session, info.shard_id), 0);

    /* another upload of the session makes the rename durable */

    s3_door->fsync(session);
    s3_powercut_mark("removed");
    assert_int_equal(s3_shard_remove(fd[0], info.session, info.shard_id), 0);

    plog = s3_powercut_stop();
    n = s3_powercut_length(plog);
    synced = removed = n;

    for (i = 0; i < n; i++) {
        s3_powercut_event(plog, i, &e);

        if (e.call == S3_POWERCUT_MARK) {
            *(strcmp(e.text, "synced") == 0 ? &synced : &removed) = i;
        }
    }

    assert_true(synced < removed && removed < n);

    found = bad = 0;

    for (i = 0; i <= n; i++) {
        cuts[0] = cuts[1] = i;

        for (mode = S3_POWERCUT_DROPPED; mode <= S3_POWERCUT_TORN; mode++) {

            for (seed = 0; seed < (mode == S3_POWERCUT_TORN ? 40 : 1); seed++)
            {
                assert_int_equal(s3_powercut_replay(plog, cuts, mode, seed,
                                                    roots),
                                 0);
                rc = look();

                if (rc != 0 && i >= synced && i <= removed) {
                    s3_powercut_print(plog, 0, i, stderr);
                    fail_msg("lost: cut %zu, mode %d, seed %d", i, mode,
                             (int) seed);
                }

                found += rc == 0 && i < synced;
                bad += rc == EBADMSG;
            }
        }
    }

    /* or the loop has looked at nothing: some are whole though not all was
     * synced, some are torn */

    assert_true(found > 0);
    assert_true(bad > 0);

    close(session);
    close(tmp);
}


/* how long the power-cut tests of the store will take */

static void
speed(void **state)
{
    int       f, i, s, wal;
    char      name[40];
    size_t    cuts[2];
    uint8_t   data[8192];
    uint64_t  start, ms;

    assert_int_equal(mkdirat(fd[0], "s", 0700), 0);
    s = openat(fd[0], "s", O_RDONLY|O_DIRECTORY);

    record();
    s3_test_fill(data, sizeof(data), 5);

    wal = make(fd[0], "wal");

    for (i = 0; i < 100; i++) {
        (void) snprintf(name, sizeof(name), "f%d", i);
        f = make(s, name);
        s3_door_write_all(f, data, sizeof(data), 0);
        s3_door_write_all(f, data, sizeof(data), sizeof(data));
        s3_door->fdatasync(f);
        s3_door->fsync(s);
        s3_door->close(f);
        s3_door_write_all(wal, data, 4120, i * 8240);
        s3_door_write_all(wal, data, 4120, i * 8240 + 4120);
        s3_door->fdatasync(wal);
        (void) s3_door->renameat(s, name, fd[0], name);
        s3_powercut_mark("%d", i);
    }

    plog = s3_powercut_stop();
    assert_int_equal(s3_powercut_length(plog), 1 + 100 * 10);

    start = s3_now();

    for (i = 0; i < 100; i++) {
        cuts[0] = cuts[1] = i * 10;
        assert_int_equal(s3_powercut_replay(plog, cuts, S3_POWERCUT_TORN, i,
                                            roots),
                         0);
    }

    ms = s3_now() - start;
    print_message("%zu calls: %llu us a replay\n", s3_powercut_length(plog),
                  (unsigned long long) ms * 1000 / 100);

    close(wal);
    close(s);
}


#define powercut_test(name)                                                   \
    cmocka_unit_test_setup_teardown(name, powercut_setup, powercut_teardown)


int
main(void)
{
    const struct CMUnitTest tests[] = {
        powercut_test(file_and_name),
        powercut_test(what_was_there),
        powercut_test(torn_sectors),
        powercut_test(torn_length),
        powercut_test(lengths),
        powercut_test(renames),
        powercut_test(rename_of_new),
        powercut_test(rename_over),
        powercut_test(order_of_a_name),
        powercut_test(order_of_two_names),
        powercut_test(directories),
        powercut_test(disks_and_marks),
        powercut_test(elsewhere),
        powercut_test(inodes_again),
        powercut_test(own_tables),
        powercut_test(a_lot_of_everything),
        powercut_test(shards),
        powercut_test(speed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
