
/*
 * The store as a whole, without nginx: a store process that is killed, disks
 * that are moved away and back, and a client that must see every acknowledged
 * write.
 */


#include "s3_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "s3_pool.h"
#include "s3_set.h"


static const size_t  sizes[] = {
    0, 1, 4096, 16384, 16385, 65535, 65536, 65537, 524288, 1048575, 1048576,
    1048577, 5 * 1024 * 1024 + 4097
};

#define NSIZES   (sizeof(sizes) / sizeof(sizes[0]))


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
    int       rc;
    size_t    half;
    unsigned  i;

    for (i = 0; i < NSIZES; i++) {
        rc = s3_set_get(set, "bucket", key(i), seed + i, sizes[i], 0,
                        sizes[i]);

        if (rc != S3_STORE_OK) {
            print_error("%s, %zu bytes: %d\n", key(i), sizes[i], rc);
        }

        assert_int_equal(rc, S3_STORE_OK);

        half = sizes[i] / 2;

        if (half) {
            assert_int_equal(s3_set_get(set, "bucket", key(i), seed + i,
                                        sizes[i], half - 1,
                                        sizes[i] - half), S3_STORE_OK);
        }
    }

    assert_int_equal(s3_set_list(set, "bucket", ""), NSIZES);
}


static void
test_set_write_read(void **state)
{
    s3_set_t  *set;

    set = set_up(4, 2);

    assert_int_equal(s3_set_bucket_create(set, "bucket"),
                     S3_STORE_BUCKET_EXISTS);
    assert_int_equal(s3_set_put(set, "none", "k", 1, 10),
                     S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(s3_set_head(set, "bucket", "k"), -1);

    put_all(set, 100);
    get_all(set, 100);
    put_all(set, 200);
    get_all(set, 200);

    assert_int_equal(s3_set_bucket_delete(set, "bucket"),
                     S3_STORE_BUCKET_NOT_EMPTY);

    tear_down(set);
}


static void
test_set_other_geometries(void **state)
{
    unsigned               i;
    s3_set_t              *set;
    static const unsigned  nm[][2] = { {1, 0}, {2, 1}, {3, 1}, {6, 2},
                                       {16, 4} };

    for (i = 0; i < sizeof(nm) / sizeof(nm[0]); i++) {
        set = set_up(nm[i][0], nm[i][1]);
        put_all(set, 10);
        get_all(set, 10);
        tear_down(set);
    }
}


static int
files_none(void *data)
{
    s3_set_t  *set = data;

    return s3_set_files(set, "data") + s3_set_files(set, "tmp") == 0;
}


/* what is overwritten, deleted or refused leaves nothing behind */

static void
test_set_garbage(void **state)
{
    unsigned   i;
    s3_set_t  *set;

    set = set_up(4, 2);

    put_all(set, 1);
    put_all(set, 2);

    assert_int_equal(s3_set_put(set, "none", "k", 1, 100000),
                     S3_STORE_NO_SUCH_BUCKET);

    for (i = 0; i < NSIZES; i++) {
        assert_int_equal(s3_set_delete(set, "bucket", key(i)), S3_STORE_OK);
        assert_int_equal(s3_set_head(set, "bucket", key(i)), -1);
    }

    assert_int_equal(s3_set_delete(set, "bucket", "never"), S3_STORE_OK);
    assert_int_equal(s3_set_list(set, "bucket", ""), 0);
    assert_true(s3_set_until(set, files_none, set, 10000));
    assert_int_equal(s3_set_bucket_delete(set, "bucket"), S3_STORE_OK);
    assert_int_equal(s3_set_bucket_delete(set, "bucket"),
                     S3_STORE_NO_SUCH_BUCKET);

    tear_down(set);
}


static void
test_set_kill_restart(void **state)
{
    unsigned   i;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);

    for (i = 0; i < 5; i++) {
        s3_set_kill(set);
        s3_set_start(set);
        get_all(set, 1 + i);
        put_all(set, 2 + i);
    }

    /* and with another client: nothing was in this one's memory */

    s3_set_client_close(set);
    s3_set_kill(set);
    s3_set_start(set);
    s3_set_client(set);
    get_all(set, 1 + i);

    tear_down(set);
}


/*
 * a commit under way when the store process dies is decided once: it waits,
 * and is answered with success
 */

static void
test_set_kill_under_commits(void **state)
{
    size_t     size;
    pid_t      next;
    unsigned   i, round;
    s3_set_t  *set;

    set = set_up(4, 2);

    for (round = 0; round < 20; round++) {

        next = s3_set_respawn(set, (round * 7919) % 9000);

        for (i = 0; i < 10; i++) {
            size = i % 2 ? 100 : 70000;

            assert_int_equal(s3_set_put(set, "bucket", key(round * 10 + i),
                                        round * 10 + i, size), S3_STORE_OK);
        }

        s3_set_reap(set, next);
    }

    for (i = 0; i < 200; i++) {
        size = i % 2 ? 100 : 70000;

        assert_int_equal(s3_set_get(set, "bucket", key(i), i, size, 0, size),
                         S3_STORE_OK);
    }

    assert_int_equal(s3_set_list(set, "bucket", ""), 200);
    assert_true(s3_set_repaired(set, 100, 10000));

    tear_down(set);
}


static void
test_set_two_of_four(void **state)
{
    unsigned   i, j, n;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);

    for (i = 0; i < 4; i++) {
        for (j = i + 1; j < 4; j++) {

            /* with one away writes succeed */

            s3_set_away(set, i);
            n = i * 4 + j;
            put_all(set, n * 100);
            get_all(set, n * 100);

            /* with two, everything reads and nothing writes */

            s3_set_away(set, j);
            assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 3000));
            get_all(set, n * 100);
            assert_int_equal(s3_set_put(set, "bucket", "new", 1, 10),
                             S3_STORE_READ_ONLY);
            assert_int_equal(s3_set_put(set, "bucket", "new", 1, 100000),
                             S3_STORE_READ_ONLY);

            s3_set_back(set, i);
            s3_set_back(set, j);
            assert_true(s3_set_state(set, S3_STORE_OK, 5000));
            put_all(set, n * 100 + 50);
            get_all(set, n * 100 + 50);

            /*
             * all shards are there again (the first four sizes are inline and
             * have none): any other two may go
             */

            assert_true(s3_set_whole(set, 10000));
            assert_true(s3_set_repaired(set, NSIZES - 4, 10000));
        }
    }

    tear_down(set);
}


static void
test_set_three_of_four(void **state)
{
    unsigned   i;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);

    for (i = 0; i < 3; i++) {
        s3_set_away(set, i);
    }

    assert_true(s3_set_state(set, S3_STORE_UNAVAILABLE, 3000));
    assert_int_equal(s3_set_get(set, "bucket", key(1), 2, 1, 0, 1),
                     S3_STORE_UNAVAILABLE);

    for (i = 0; i < 3; i++) {
        s3_set_back(set, i);
    }

    assert_true(s3_set_state(set, S3_STORE_OK, 5000));
    get_all(set, 1);

    tear_down(set);
}


/* an empty directory where a disk was is not a new disk */

static void
test_set_never_formats_silently(void **state)
{
    char       path[4096];
    unsigned   i;
    s3_set_t  *set;

    set = set_up(4, 2);
    put_all(set, 1);
    s3_set_client_close(set);
    s3_set_kill(set);

    for (i = 0; i < 4; i++) {
        s3_set_away(set, i);
        assert_int_equal(mkdir(set->disks[i], 0755), 0);
    }

    s3_set_start(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_UNAVAILABLE, 10000));

    for (i = 0; i < 4; i++) {
        (void) snprintf(path, sizeof(path), "%s/format", set->disks[i]);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(rmdir(set->disks[i]), 0);
        s3_set_back(set, i);
    }

    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    get_all(set, 1);

    tear_down(set);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_set_write_read),
        cmocka_unit_test(test_set_other_geometries),
        cmocka_unit_test(test_set_garbage),
        cmocka_unit_test(test_set_kill_restart),
        cmocka_unit_test(test_set_kill_under_commits),
        cmocka_unit_test(test_set_two_of_four),
        cmocka_unit_test(test_set_three_of_four),
        cmocka_unit_test(test_set_never_formats_silently),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
