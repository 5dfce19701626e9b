
/*
 * s3_powercut_hash(): equal where, and only where, the replayed trees are.
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
#include <unistd.h>

#include "s3_door.h"
#include "s3_powercut.h"


#define STATES  4096


typedef struct {
    uint8_t   hash[S3_POWERCUT_HASH];
    char     *tree;                      /* paths and bytes, in order */
    size_t    len;
} tree_t;


static void
tree_add(tree_t *t, const char *path, const void *p, size_t len)
{
    size_t  n;

    n = strlen(path) + 1;

    t->tree = realloc(t->tree, t->len + n + sizeof(len) + len);
    assert_non_null(t->tree);

    memcpy(t->tree + t->len, path, n);
    memcpy(t->tree + t->len + n, &len, sizeof(len));

    if (len) {
        memcpy(t->tree + t->len + n + sizeof(len), p, len);
    }

    t->len += n + sizeof(len) + len;
}


static int
no_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}


static void
tree_read(tree_t *t, const char *dir)
{
    int              f, i, n;
    char             path[1024], data[8192];
    ssize_t          len;
    struct stat      st;
    struct dirent  **names;

    n = scandir(dir, &names, no_dots, alphasort);
    assert_int_not_equal(n, -1);

    for (i = 0; i < n; i++) {
        (void) snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        free(names[i]);
        assert_int_equal(lstat(path, &st), 0);

        if (S_ISDIR(st.st_mode)) {
            tree_add(t, path, NULL, 0);
            tree_read(t, path);
            continue;
        }

        f = open(path, O_RDONLY);
        len = read(f, data, sizeof(data));
        assert_true(len >= 0 && len < (ssize_t) sizeof(data));
        tree_add(t, path, data, len);
        (void) close(f);
    }

    free(names);
}


static int
make(int at, const char *name)
{
    int  f;

    f = s3_door->openat(at, name, O_CREAT|O_RDWR, 0600);
    assert_int_not_equal(f, -1);

    return f;
}


static void
test_hash_is_of_the_tree(void **state)
{
    int                  fd[2], f, g, h;
    char                *dir, path[2][512], root[2][512], data[3000];
    size_t               i, j, n, length, cuts[2], equal;
    tree_t              *trees, *t;
    unsigned             mode, draw;
    const char          *roots[2] = { root[0], root[1] };
    s3_powercut_t       *plog;

    dir = s3_test_dir();

    for (i = 0; i < 2; i++) {
        (void) snprintf(path[i], sizeof(path[i]), "%s/%zu", dir, i);
        (void) snprintf(root[i], sizeof(root[i]), "%s/r%zu", dir, i);
        assert_int_equal(mkdir(path[i], 0700), 0);
        assert_int_equal(mkdir(root[i], 0700), 0);
        fd[i] = open(path[i], O_RDONLY|O_DIRECTORY);
        assert_int_not_equal(fd[i], -1);
    }

    f = open(path[0], O_RDONLY|O_DIRECTORY);
    g = openat(f, "old", O_CREAT|O_RDWR, 0600);
    assert_int_equal(write(g, "as it was", 9), 9);
    (void) close(g);
    (void) close(f);

    s3_test_fill(data, sizeof(data), 3);

    s3_powercut_start();
    assert_int_equal(s3_powercut_disk(path[0]), 0);
    assert_int_equal(s3_powercut_disk(path[1]), 1);

    f = make(fd[0], "f");
    assert_int_equal(s3_door_write_all(f, data, 3000, 0), 0);
    s3_powercut_mark("written");
    assert_int_equal(s3_door->fsync(f), 0);
    assert_int_equal(s3_door->fsync(fd[0]), 0);
    assert_int_equal(s3_door_write_all(f, data, 1000, 1500), 0);
    assert_int_equal(s3_door_write_all(f, data + 1500, 1000, 1500), 0);
    assert_int_equal(s3_door->ftruncate(f, 700), 0);
    assert_int_equal(s3_door->fsync(f), 0);
    assert_int_equal(s3_door->mkdirat(fd[1], "d", 0700), 0);
    g = s3_door->openat(fd[1], "d", O_RDONLY|O_DIRECTORY, 0);
    h = make(g, "h");
    assert_int_equal(s3_door_write_all(h, data, 600, 0), 0);
    assert_int_equal(s3_door->fsync(g), 0);
    assert_int_equal(s3_door->renameat(g, "h", fd[1], "i"), 0);
    assert_int_equal(s3_door->fsync(fd[1]), 0);
    assert_int_equal(s3_door->fsync(h), 0);
    assert_int_equal(s3_door->renameat(fd[0], "f", fd[0], "old"), 0);
    assert_int_equal(s3_door_write_all(f, "x", 1, 5000), 0);
    assert_int_equal(s3_door->unlinkat(fd[1], "i", 0), 0);
    assert_int_equal(s3_door->fsync(fd[0]), 0);
    assert_int_equal(s3_door->fsync(fd[1]), 0);

    (void) close(f);
    (void) close(g);
    (void) close(h);

    plog = s3_powercut_stop();
    length = s3_powercut_length(plog);
    trees = calloc(STATES, sizeof(tree_t));
    assert_non_null(trees);
    n = 0;

    /* cuts upward and downward, ways mixed: what is kept is not stale */

    for (mode = 0; mode < 3; mode++) {
        for (draw = 0; draw < 3; draw++) {
            for (i = 0; i <= length; i++) {
                t = &trees[n++];
                assert_true(n <= STATES);
                cuts[0] = draw == 1 ? length - i : i;
                cuts[1] = draw == 2 ? length - i : cuts[0];

                s3_powercut_hash(plog, cuts, (mode + i) % 3, draw, t->hash);
                assert_int_equal(s3_powercut_replay(plog, cuts,
                                                    (mode + i) % 3, draw,
                                                    roots), 0);
                tree_read(t, root[0]);
                tree_read(t, root[1]);
            }
        }
    }

    equal = 0;

    for (i = 0; i < n; i++) {
        for (j = 0; j < i; j++) {
            int  same = trees[i].len == trees[j].len
                        && (trees[i].len == 0
                            || memcmp(trees[i].tree, trees[j].tree,
                                      trees[i].len) == 0);

            assert_int_equal(memcmp(trees[i].hash, trees[j].hash,
                                    S3_POWERCUT_HASH) == 0, same);
            equal += same;
        }
    }

    /* both occur */

    assert_true(equal > n && equal < n * (n - 1) / 4);

    for (i = 0; i < n; i++) {
        free(trees[i].tree);
    }

    free(trees);
    s3_powercut_free(plog);
    (void) close(fd[0]);
    (void) close(fd[1]);
    s3_test_dir_free(dir);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_hash_is_of_the_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
