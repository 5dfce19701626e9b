/*
 * A view of a set in use: what stands on each disk is one state, whatever is
 * written meanwhile, and it is given up before a log gets too long.
 */


#include "s3_test.h"
#include "s3_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <jansson.h>
#include <sqlite3.h>
#include "s3_format.h"
#include "s3_shard.h"


#define DISKS    3
#define INLINE   16384


static int
ask_open(s3_set_t *set)
{
    int                 fd, root;
    char                id[33];
    unsigned            i;
    s3_format_t         f;
    struct sockaddr_un  sa;

    root = open(set->disks[0], O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(root, -1);
    assert_int_equal(s3_format_read(root, &f), 0);
    (void) close(root);

    s3_id_text(f.set_id, id);

    memset(&sa, 0, sizeof(sa));
    sa.sun_family = AF_UNIX;
    (void) snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "s3-store/%s",
                    id);

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);
    assert_int_not_equal(fd, -1);

    /* it is bound at a tick */

    for (i = 0; i < 2000; i++) {
        if (connect(fd, (struct sockaddr *) &sa,
                    (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1
                                 + 9 + 32))
            == 0)
        {
            return fd;
        }

        (void) usleep(5000);
    }

    fail_msg("no socket: %s", strerror(errno));

    return -1;
}


static json_t *
ask(int fd, const char *what)
{
    char     line[128], answer[65536];
    size_t   n;
    ssize_t  got;
    json_t  *j;

    (void) snprintf(line, sizeof(line), "{\"ask\":\"%s\"}\n", what);
    assert_int_equal(send(fd, line, strlen(line), 0), strlen(line));

    n = 0;

    do {
        got = recv(fd, answer + n, sizeof(answer) - n, 0);
        assert_true(got > 0);
        n += (size_t) got;
    } while (answer[n - 1] != '\n');

    j = json_loadb(answer, n, 0, NULL);
    assert_non_null(j);

    return j;
}


static json_t *
ask_view(int fd)
{
    json_t    *j;
    unsigned   i;

    for (i = 0; i < 2000; i++) {
        j = ask(fd, "view");

        if (json_object_get(j, "view")) {
            return j;
        }

        json_decref(j);
        (void) usleep(5000);
    }

    fail_msg("no view");

    return NULL;
}


static int
held(int fd, const char *what)
{
    int      rc;
    json_t  *j;

    j = ask(fd, what);
    rc = json_is_true(json_object_get(j, "held"));
    json_decref(j);

    return rc;
}


static void
copy(const char *from, const char *to, uint64_t max)
{
    int       in, out;
    char      buf[65536];
    size_t    n;
    ssize_t   got;

    (void) unlink(to);

    if (max == 0) {
        return;
    }

    in = open(from, O_RDONLY);
    out = open(to, O_WRONLY|O_CREAT|O_TRUNC, 0600);
    assert_true(in != -1 && out != -1);

    while (max) {
        n = max < sizeof(buf) ? (size_t) max : sizeof(buf);
        got = read(in, buf, n);
        assert_true(got >= 0);

        if (got == 0) {
            break;
        }

        assert_int_equal(write(out, buf, (size_t) got), got);
        max -= (uint64_t) got;
    }

    (void) close(in);
    (void) close(out);
}


/* where a copy of the index stands, as SQLite alone reads it; and how many
 * objects it has */

static int64_t
stands(const char *path, uint8_t position[48])
{
    int64_t        n;
    sqlite3       *db;
    sqlite3_stmt  *stmt;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT value, (SELECT count(*)"
                                        " FROM object) FROM state", -1, &stmt,
                                        NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_bytes(stmt, 0), 48);
    memcpy(position, sqlite3_column_blob(stmt, 0), 48);
    n = sqlite3_column_int64(stmt, 1);
    (void) sqlite3_finalize(stmt);

    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA quick_check", -1, &stmt,
                                        NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *) sqlite3_column_text(stmt, 0), "ok");
    (void) sqlite3_finalize(stmt);

    (void) sqlite3_close(db);

    return n;
}


static void
puts_some(s3_set_t *set, unsigned *key, unsigned n)
{
    char  name[32];

    while (n--) {
        (void) snprintf(name, sizeof(name), "key%06u", (*key)++);
        assert_int_equal(s3_set_put(set, "bucket", name, *key, INLINE),
                         S3_STORE_OK);
    }
}


static void
check_view(s3_set_t *set, json_t *view, unsigned objects)
{
    char        from[4200], to[4200];
    json_t     *disks;
    uint8_t     position[48];
    uint64_t    log, sequence;
    unsigned    i, b;

    disks = json_object_get(view, "disks");
    assert_int_equal(json_array_size(disks), DISKS);

    for (i = 0; i < DISKS; i++) {
        log = (uint64_t) json_integer_value(
                             json_object_get(json_array_get(disks, i),
                                             "log"));

        (void) snprintf(from, sizeof(from), "%s/index.db", set->disks[i]);
        (void) snprintf(to, sizeof(to), "%s/copy.db", set->dir);
        copy(from, to, UINT64_MAX);

        (void) snprintf(from, sizeof(from), "%s/index.db-wal",
                        set->disks[i]);
        (void) snprintf(to, sizeof(to), "%s/copy.db-wal", set->dir);
        copy(from, to, log);

        (void) snprintf(to, sizeof(to), "%s/copy.db-shm", set->dir);
        (void) unlink(to);

        (void) snprintf(to, sizeof(to), "%s/copy.db", set->dir);
        assert_int_equal(stands(to, position), objects);

        sequence = 0;

        for (b = 8; b-- > 0; /* void */ ) {
            sequence = sequence << 8 | position[8 + b];
        }

        assert_int_equal(sequence, json_integer_value(
                                       json_object_get(view, "sequence")));
    }
}


/* a set that serves, with a bucket */

static s3_set_t *
set_up(char **dir)
{
    s3_set_t  *set;

    *dir = s3_test_dir();
    set = s3_set_create(*dir, DISKS, 1);
    s3_set_start(set);
    s3_set_client(set);
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);

    return set;
}


static void
tear_down(s3_set_t *set, char *dir)
{
    s3_set_free(set);
    s3_test_dir_free(dir);
}


static void
test_exact(void **state)
{
    int        fd;
    char      *dir;
    json_t    *j;
    unsigned   key, before, round;
    s3_set_t  *set;

    set = set_up(&dir);

    fd = ask_open(set);
    key = 0;

    /* logs are moved into the databases, and start over, in between */

    for (round = 0; round < 12; round++) {
        puts_some(set, &key, 7);
        before = key;

        j = ask_view(fd);
        puts_some(set, &key, 40);

        check_view(set, json_object_get(j, "view"), before);
        json_decref(j);

        assert_true(held(fd, "held"));
        assert_true(held(fd, "release"));
        assert_false(held(fd, "held"));
    }

    (void) close(fd);
    tear_down(set, dir);
}


/*
 * All of a log has just been moved into the database: no byte of it counts,
 * and those who write start it over under the view.  Each disk does so when
 * its own log is long enough, not all in one commit.
 */

static void
test_without_log(void **state)
{
    int        fd;
    char      *dir;
    json_t    *j, *disks, *log;
    unsigned   key, before, i, seen, now;
    s3_set_t  *set;

    set = set_up(&dir);

    fd = ask_open(set);
    key = 0;
    seen = 0;

    do {
        assert_true(key < 4000);
        puts_some(set, &key, 1);
        before = key;

        j = ask_view(fd);
        disks = json_object_get(json_object_get(j, "view"), "disks");
        now = 0;

        for (i = 0; i < DISKS; i++) {
            log = json_object_get(json_array_get(disks, i), "log");
            assert_true(json_is_integer(log));
            now |= (unsigned) (json_integer_value(log) == 0) << i;
        }

        if (now & ~seen) {
            puts_some(set, &key, 40);
            check_view(set, json_object_get(j, "view"), before);
            seen |= now;
        }

        json_decref(j);
        assert_true(held(fd, "release"));

    } while (seen != (1u << DISKS) - 1);

    (void) close(fd);
    tear_down(set, dir);
}


static void
test_given_up(void **state)
{
    int        fd, other;
    char      *dir;
    json_t    *j;
    int64_t    generation;
    unsigned   key, before, i;
    s3_set_t  *set;

    set = set_up(&dir);

    fd = ask_open(set);
    other = ask_open(set);
    key = 0;

    json_decref(ask_view(fd));

    /* one at a time; and who has none lets go of none */

    j = ask(other, "view");
    assert_non_null(json_object_get(j, "error"));
    json_decref(j);
    assert_false(held(other, "release"));
    assert_true(held(fd, "held"));

    /* a disk that leaves takes it along */

    s3_set_away(set, 1);

    while (held(fd, "held")) {
        puts_some(set, &key, 1);
        (void) usleep(10000);
    }

    s3_set_back(set, 1);

    /* as does a log that grows; the next one has nothing to do with it */

    for ( ;; ) {
        j = ask_view(other);
        i = (unsigned) json_array_size(
                json_object_get(json_object_get(j, "view"), "disks"));
        generation = json_integer_value(
                         json_object_get(json_object_get(j, "view"),
                                         "generation"));
        json_decref(j);

        if (i == DISKS) {
            break;
        }

        (void) held(other, "release");
        (void) usleep(10000);
    }

    before = key;

    while (held(other, "held")) {
        assert_true(key < before + 6000);
        puts_some(set, &key, 50);
    }

    assert_true(key > before + 500);

    /* and no disk had to wait for it, and to leave: that were a generation */

    j = ask_view(fd);
    assert_int_equal(json_integer_value(
                         json_object_get(json_object_get(j, "view"),
                                         "generation")), generation);
    json_decref(j);

    assert_false(held(other, "release"));
    assert_true(held(fd, "held"));

    (void) close(fd);
    (void) close(other);
    tear_down(set, dir);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_without_log),
        cmocka_unit_test(test_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
