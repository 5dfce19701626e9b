
/*
 * Disks that come and go, and a store process that dies, at random moments
 * while objects are written: whatever was acknowledged is there in the end,
 * and the process has not died of itself.
 *
 *     S3_CHURN_SEED=n         the seed of this run (printed)
 *     S3_CHURN_SECONDS=n      of a run
 */


#include "s3_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "s3_pool.h"
#include "s3_set.h"


#define N          4
#define M          2
#define KEYS       24
#define TRIES      64         /* writes of a key that may be the last one */
#define ENOUGH     20         /* acknowledged, for a run to say anything */


/* what a key may be: the last acknowledged, or one that nobody knows of */
typedef struct {
    uint64_t   seed;          /* 0: deleted */
    size_t     size;
} value_t;

typedef struct {
    unsigned   n;
    value_t    values[TRIES];
} candidates_t;


const char *__lsan_default_suppressions(void);


static uint64_t  seed;


/*
 * Under ASan: what a thread of a disk still has when a client is closed is
 * nobody's to free, threads are never joined.  A process's end, elsewhere.
 */

const char *
__lsan_default_suppressions(void)
{
    return "leak:s3_disk_create\n";
}


static uint64_t
random_next(void)
{
    return s3_test_random(&seed);
}


static s3_set_t *
set_up(void)
{
    char      *dir;
    s3_set_t  *set;

    dir = s3_test_dir();
    set = s3_set_create(dir, N, M);
    free(dir);

    set->late = 1000;
    set->conf.late = 1000;

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
still_the_same(s3_set_t *set)
{
    assert_int_equal(waitpid(set->pid, NULL, WNOHANG), 0);
}


static void
key_name(char *name, unsigned i)
{
    (void) snprintf(name, 16, "key-%02u", i);
}


static int
key_is(s3_set_t *set, unsigned i, const candidates_t *k)
{
    char      name[16];
    unsigned  j;
    ssize_t   size;

    key_name(name, i);
    size = s3_set_head(set, "bucket", name);

    for (j = 0; j < k->n; j++) {

        if (k->values[j].seed == 0) {
            if (size == -1) {
                return 1;
            }

            continue;
        }

        if (size == (ssize_t) k->values[j].size
            && s3_set_get(set, "bucket", name, k->values[j].seed, size, 0,
                          size) == S3_STORE_OK)
        {
            return 1;
        }
    }

    print_error("%s: %zd bytes, none of %u values that it may have\n", name,
                size, k->n);

    for (j = 0; j < k->n; j++) {
        print_error("    seed %lu, %zu bytes\n",
                    (unsigned long) k->values[j].seed, k->values[j].size);
    }

    return 0;
}


/* a child that moves disks away and back until *end is closed; none is then */

static pid_t
mover(s3_set_t *set, unsigned most, int *end)
{
    int            fds[2], away[N];
    pid_t          pid;
    unsigned       i, out;
    struct pollfd  pfd;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);

    (void) random_next();
    pid = fork();

    if (pid != 0) {
        assert_int_not_equal(pid, -1);
        (void) close(fds[0]);
        *end = fds[1];
        return pid;
    }

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void) close(fds[1]);
    seed ^= 0x9e3779b97f4a7c15ULL;
    memset(away, 0, sizeof(away));
    out = 0;
    pfd.fd = fds[0];
    pfd.events = POLLIN;

    while (poll(&pfd, 1, random_next() % 400) == 0) {
        i = random_next() % N;

        if (away[i]) {
            s3_set_back(set, i);
            away[i] = 0;
            out--;

        } else if (out < most) {
            s3_set_away(set, i);
            away[i] = 1;
            out++;
        }
    }

    for (i = 0; i < N; i++) {
        if (away[i]) {
            s3_set_back(set, i);
        }
    }

    _exit(0);
}


static void
churn(unsigned most, int kills, unsigned seconds)
{
    int                  rc, status, end;
    char                *env, name[16];
    pid_t                pid, next;
    unsigned             i, acked, refused, unknown, shards;
    candidates_t              *keys, *k;
    value_t              v;
    uint64_t             until, last;
    s3_set_t            *set;
    static const size_t  sizes[] = { 0, 100, 17000, 70000, 300000, 1200000 };

    env = getenv("S3_CHURN_SECONDS");

    if (env) {
        seconds = atoi(env);
    }

    (void) printf("  seed %lu\n", (unsigned long) seed);
    (void) fflush(NULL);

    set = set_up();
    keys = calloc(KEYS, sizeof(candidates_t));
    assert_non_null(keys);

    for (i = 0; i < KEYS; i++) {
        keys[i].n = 1;                       /* not there */
    }

    until = s3_now() + seconds * 1000;
    last = until + 60000;
    pid = mover(set, most, &end);
    acked = refused = unknown = 0;
    next = 0;

    /* with two away nothing is acknowledged: until something was, for long */

    while (s3_now() < until || (acked <= ENOUGH && s3_now() < last)) {

        if (kills && random_next() % 40 == 0) {
            next = s3_set_respawn(set, random_next() % 9000);
        }

        i = random_next() % KEYS;
        k = &keys[i];
        key_name(name, i);

        if (k->n == TRIES) {
            continue;
        }

        if (random_next() % 5 == 0) {
            v.seed = 0;
            v.size = 0;
            rc = s3_set_delete(set, "bucket", name);

        } else {
            v.seed = random_next() | 1;
            v.size = sizes[random_next() % 6];
            rc = s3_set_put(set, "bucket", name, v.seed, v.size);
        }

        if (rc == S3_STORE_OK) {
            k->values[0] = v;
            k->n = 1;
            acked++;

        } else {
            k->values[k->n++] = v;           /* there, or not */
            refused += (rc != -1);
            unknown += (rc == -1);
            (void) usleep(5000);
        }

        if (next) {
            s3_set_reap(set, next);
            next = 0;
        }

        /* what is there while disks go reads as it should, or not at all */

        i = random_next() % KEYS;

        if (keys[i].n == 1 && keys[i].values[0].seed) {
            key_name(name, i);
            v = keys[i].values[0];
            rc = s3_set_get(set, "bucket", name, v.seed, v.size, 0, v.size);

            /*
             * fewer than k shards of it may be in sight: DAMAGED is what is
             * said of that, too; another object's bytes are found at the end
             */

            assert_int_not_equal(rc, S3_STORE_NO_SUCH_KEY);
        }
    }

    (void) close(end);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    still_the_same(set);

    assert_true(s3_set_whole(set, 20000));

    shards = 0;

    for (i = 0; i < KEYS; i++) {
        assert_true(key_is(set, i, &keys[i]));

        key_name(name, i);
        shards += (s3_set_head(set, "bucket", name) > 16384);
    }

    (void) printf("  %u acknowledged, %u refused, %u unknown\n", acked,
                  refused, unknown);

    assert_true(acked > ENOUGH);

    /* a worker's session ends with the worker: what was refused goes then */

    s3_set_client_close(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    (void) s3_set_repaired(set, shards, 20000);

    if (!s3_set_repaired(set, shards, 0)) {
        print_error("%u files in data/, %u in tmp/, of %u objects\n",
                    s3_set_files(set, "data"), s3_set_files(set, "tmp"),
                    shards);
        fail();
    }

    still_the_same(set);
    free(keys);
    tear_down(set);
}


static void
test_churn_one_away(void **state)
{
    churn(1, 0, 6);
}


static void
test_churn_two_away(void **state)
{
    churn(2, 0, 6);
}


static void
test_churn_two_away_and_kills(void **state)
{
    churn(2, 1, 6);
}


/* how many shards a disk has; removes them where asked */

static unsigned
shards_of(s3_set_t *set, unsigned i, int remove)
{
    DIR            *data, *xx;
    char            path[4096], file[8192];
    unsigned        n;
    struct dirent  *e, *f;

    n = 0;
    (void) snprintf(path, sizeof(path), "%s/data", set->disks[i]);
    data = opendir(path);
    assert_non_null(data);

    while ((e = readdir(data)) != NULL) {
        if (e->d_name[0] == '.') {
            continue;
        }

        (void) snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        xx = opendir(file);
        assert_non_null(xx);

        while ((f = readdir(xx)) != NULL) {
            if (f->d_name[0] == '.') {
                continue;
            }

            n++;

            if (remove) {
                (void) snprintf(file, sizeof(file), "%s/%s/%s", path,
                                e->d_name, f->d_name);
                assert_int_equal(unlink(file), 0);
            }
        }

        (void) closedir(xx);
    }

    (void) closedir(data);

    return n;
}


static int
three_left(void *data)
{
    return !s3_set_whole(data, 0);
}


static int
settled(void *data)
{
    s3_set_t  *set = data;

    return shards_of(set, 0, 0) + shards_of(set, 1, 0)
           + shards_of(set, 2, 0) == 3;
}


static int
repaired_anyway(void *data)
{
    s3_set_t  *set = data;

    return shards_of(set, 3, 0) == 1;
}


/* repair that meets a shard which is not there takes another one */

static void
test_repair_with_a_lost_source(void **state)
{
    unsigned   lost;
    s3_set_t  *set;

    for (lost = 0; lost < 2; lost++) {
        set = set_up();

        /* a disk that went is written to until the process has seen it */

        s3_set_away(set, 3);
        assert_true(s3_set_until(set, three_left, set, 10000));
        assert_int_equal(s3_set_put(set, "bucket", "k", 1, 3000000),
                         S3_STORE_OK);

        assert_true(s3_set_until(set, settled, set, 10000));
        assert_int_equal(shards_of(set, lost, 1), 1);
        s3_set_back(set, 3);

        assert_true(s3_set_until(set, repaired_anyway, set, 10000));
        still_the_same(set);
        assert_int_equal(s3_set_get(set, "bucket", "k", 1, 3000000, 0,
                                    3000000), S3_STORE_OK);
        tear_down(set);
    }
}


static void
back(s3_set_t *set)
{
    s3_set_back(set, 3);
    assert_true(s3_set_whole(set, 10000));

    /* repair has looked for holes, and is ready to do so again */

    (void) usleep(1500000);
}


/* a shard that was not written to a disk which is back before the commit */

static void
test_repair_of_what_was_begun_before(void **state)
{
    s3_set_t  *set;

    set = set_up();

    s3_set_away(set, 3);
    assert_true(s3_set_until(set, three_left, set, 10000));
    assert_int_equal(s3_set_put_after(set, "bucket", "k", 1, 3000000, back),
                     S3_STORE_OK);

    assert_true(s3_set_repaired(set, 1, 10000));
    tear_down(set);
}


int
main(void)
{
    char                     *env;
    const struct CMUnitTest   tests[] = {
        cmocka_unit_test(test_repair_with_a_lost_source),
        cmocka_unit_test(test_repair_of_what_was_begun_before),
        cmocka_unit_test(test_churn_one_away),
        cmocka_unit_test(test_churn_two_away),
        cmocka_unit_test(test_churn_two_away_and_kills),
    };

    env = getenv("S3_CHURN_SEED");
    seed = env ? strtoull(env, NULL, 10) : (uint64_t) time(NULL) * 7919 + 1;

    return cmocka_run_group_tests(tests, NULL, NULL);
}
