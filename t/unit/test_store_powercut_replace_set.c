
/*
 * Power cuts while a disk gets a copy of the index: an empty one in a lost
 * one's place, one that is forked, and one whose index is gone, its log not.
 * Wherever the power goes, the others serve at the next start, and in
 * the end the disk is a member with a shard of everything.
 *
 *     S3_POWERCUT_SEED=n      the seed of this run (printed)
 *     S3_POWERCUT_CUTS=n      cuts of each
 *
 * Cut are the moments around each rename on the disk and in the state
 * directory, and around each removal of an index, in all three ways, and
 * others sampled.
 */


#include "s3_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "s3_index_internal.h"
#include "s3_powercut.h"
#include "s3_set.h"


#define N        4
#define M        2
#define DISK     3             /* that gets the copy */
#define SIZE     300000
#define SAMPLED  24
#define CUTS     4000


typedef enum {
    REPLACED = 0,
    FORKED,
    GONE
} kind_e;


typedef struct {
    size_t              at;
    s3_powercut_mode_e  mode;
} cut_t;


static const char *const  kinds[] = { "replaced", "forked", "gone" };

static uint64_t  seed;


static unsigned
random_of(unsigned n)
{
    return (unsigned) (s3_test_random(&seed) >> 33) % n;
}


/* a batch on that disk alone */

static void
fork_disk(s3_set_t *set)
{
    int            dir;
    s3_vfs_t      *vfs;
    s3_buf_t       effects;
    s3_index_t    *index;
    s3_slice_t     slice;
    s3_commit_t    commit;
    s3_verdict_t   verdict;
    s3_position_t  before, position;

    dir = open(set->disks[DISK], O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(dir, -1);
    vfs = s3_vfs_create(dir);
    assert_non_null(vfs);
    assert_int_equal(s3_index_open(vfs, 1, 0, 1024 * 1024, &index), 0);
    assert_int_equal(s3_index_position(index, &before), 0);
    position = before;
    position.sequence++;

    memset(&effects, 0, sizeof(s3_buf_t));
    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_CREATE_BUCKET;
    commit.bucket.data = (const uint8_t *) "never";
    commit.bucket.len = 5;

    assert_int_equal(s3_index_begin(index), 0);
    assert_int_equal(s3_index_decide(index, &commit, position.sequence,
                                     &effects, &verdict), 0);
    slice.data = effects.data;
    slice.len = effects.len;
    s3_index_digest(&before, &position, slice);
    assert_int_equal(s3_index_seal(index, &position, slice, 0), 0);
    assert_int_equal(s3_index_flush(index, 0), 0);
    assert_int_equal(s3_index_commit(index), 0);

    s3_buf_free(&effects);
    s3_index_close(index);
    s3_vfs_destroy(vfs);
    (void) close(dir);
}


/* a set of which one disk needs a copy, at rest */

static void
prepare(s3_set_t *set, kind_e kind)
{
    int   fd;
    char  path[4096];

    s3_set_start(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 20000));
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "before", 1, SIZE),
                     S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "small", 2, 100),
                     S3_STORE_OK);
    assert_true(s3_set_repaired(set, 1, 20000));
    s3_set_client_close(set);
    s3_set_kill(set);

    if (kind == FORKED) {
        fork_disk(set);
    }

    s3_set_away(set, DISK);
    s3_set_start(set);
    s3_set_client(set);
    assert_int_equal(s3_set_put(set, "bucket", "later", 3, SIZE),
                     S3_STORE_OK);
    s3_set_client_close(set);
    s3_set_kill(set);

    if (kind != REPLACED) {
        s3_set_back(set, DISK);

        if (kind == GONE) {
            (void) snprintf(path, sizeof(path), "%s/index.db",
                            set->disks[DISK]);
            assert_int_equal(unlink(path), 0);
        }

        return;
    }

    /* the process has found the directory missing, and made an empty one */

    (void) snprintf(path, sizeof(path), "%s/replace", set->disks[DISK]);
    fd = open(path, O_WRONLY|O_CREAT, 0600);
    assert_int_not_equal(fd, -1);
    (void) close(fd);
}


#define WRONG(...)                                                        \
    do {                                                                  \
        (void) fprintf(stderr, "    wrong: " __VA_ARGS__);                \
        (void) fprintf(stderr, "\n");                                     \
        return 1;                                                         \
    } while (0)


static int
look(const char *dir)
{
    s3_set_t  *set;

    set = s3_set_create(dir, N, M);

    s3_set_start_here(set);
    s3_set_client(set);

    if (!s3_set_state(set, S3_STORE_OK, 20000)) {
        WRONG("the others do not serve: %d", s3_client_state(set->client));
    }

    if (s3_set_get(set, "bucket", "before", 1, SIZE, 0, SIZE) != S3_STORE_OK
        || s3_set_get(set, "bucket", "small", 2, 100, 0, 100) != S3_STORE_OK
        || s3_set_get(set, "bucket", "later", 3, SIZE, 0, SIZE)
           != S3_STORE_OK)
    {
        WRONG("what was there does not read");
    }

    if (s3_set_put(set, "bucket", "after", 4, SIZE) != S3_STORE_OK) {
        WRONG("nothing can be written");
    }

    if (!s3_set_whole(set, 30000)) {
        WRONG("the disk is no member");
    }

    if (!s3_set_repaired(set, 3, 30000)) {
        WRONG("shards are left over or missing: %u in data/, %u in tmp/",
              s3_set_files(set, "data"), s3_set_files(set, "tmp"));
    }

    if (s3_set_bucket_delete(set, "never") != S3_STORE_NO_SUCH_BUCKET) {
        WRONG("what was never decided is there");
    }

    return 0;
}


static int
look_at(s3_powercut_t *log, const char *base, const cut_t *cut)
{
    int          status;
    char         dir[320], path[N + 1][400];
    pid_t        pid;
    size_t       cuts[N + 1];
    unsigned     i;
    uint64_t     torn;
    const char  *roots[N + 1];

    (void) snprintf(dir, sizeof(dir), "%s/cut", base);
    (void) mkdir(dir, 0755);

    /* the page of the cut before tells of other disks: as after a boot */

    (void) snprintf(path[0], sizeof(path[0]), "%s/run/main.page", dir);
    (void) unlink(path[0]);

    for (i = 0; i <= N; i++) {
        (void) snprintf(path[i], sizeof(path[i]), i < N ? "%s/d%u"
                        : "%s/state", dir, i);
        (void) mkdir(path[i], 0755);
        roots[i] = path[i];
        cuts[i] = cut->at;
    }

    torn = random_of(1u << 30);

    assert_int_equal(s3_powercut_replay(log, cuts, cut->mode, torn, roots),
                     0);

    pid = fork();

    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(look(dir));
    }

    assert_int_not_equal(pid, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);

    if (status) {
        (void) fprintf(stderr, "    cut at %zu, mode %d, torn %llu\n",
                       cut->at, cut->mode, (unsigned long long) torn);
    }

    return status != 0;
}


/* around renames and removals, and other moments that make a difference */

static unsigned
moments(s3_powercut_t *log, cut_t *cuts, unsigned most)
{
    size_t                i, length;
    unsigned              n, m, named;
    s3_powercut_event_t   e;

    n = 0;
    length = s3_powercut_length(log);

    for (i = 0; i < length && n + 6 < CUTS; i++) {
        s3_powercut_event(log, i, &e);

        if ((e.call == S3_POWERCUT_RENAME && (e.disk == DISK || e.disk == N)
             && strncmp(e.text, "tmp/", 4) != 0)
            || (e.call == S3_POWERCUT_UNLINK && e.disk == DISK
                && strncmp(e.text, "index.db", 8) == 0))
        {
            for (m = 0; m < 6; m++) {
                cuts[n].at = i + m / 3;
                cuts[n++].mode = m % 3;
            }
        }
    }

    named = n;
    assert_true(named > 0);

    for (i = 0; i < SAMPLED; i++) {
        cuts[n].at = random_of(length + 1);
        cuts[n++].mode = random_of(3);
    }

    /* fewer: any of them */

    while (n > most) {
        m = random_of(n--);
        cuts[m] = cuts[n];
    }

    (void) printf("    %zu events, %u cuts, of which %u around renames "
                  "and removals\n",
                  length, n, named < n ? named : n);
    (void) fflush(stdout);

    return n;
}


static int
workload(const char *base, kind_e kind, unsigned most)
{
    char            path[4096];
    cut_t          *cuts;
    unsigned        i, n, wrong;
    s3_set_t       *set;
    s3_powercut_t  *log;

    (void) snprintf(path, sizeof(path), "%s/store", base);
    (void) mkdir(path, 0755);
    set = s3_set_create(path, N, M);
    prepare(set, kind);

    s3_powercut_start();

    for (i = 0; i < N; i++) {
        assert_int_equal(s3_powercut_disk(set->disks[i]), (int) i);
    }

    assert_int_equal(s3_powercut_disk(set->conf.state), N);

    /* the page of the process before tells of its disks */

    (void) snprintf(path, sizeof(path), "%s/main.page", set->conf.runtime);
    (void) unlink(path);

    s3_set_start_here(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 20000));
    assert_true(s3_set_whole(set, 30000));
    assert_true(s3_set_repaired(set, 2, 30000));

    log = s3_powercut_stop();

    cuts = calloc(CUTS + SAMPLED, sizeof(cut_t));
    assert_non_null(cuts);
    n = moments(log, cuts, most);
    wrong = 0;

    for (i = 0; i < n; i++) {
        wrong += look_at(log, base, &cuts[i]);
    }

    free(cuts);
    s3_powercut_free(log);

    return wrong != 0;
}


/* the process that records: a store in this one can't be ended otherwise */

static void
run(kind_e kind)
{
    int     status;
    char   *base, *env;
    pid_t   pid;

    env = getenv("S3_POWERCUT_CUTS");

    (void) printf("  seed %llu: %s\n", (unsigned long long) seed,
                  kinds[kind]);
    (void) fflush(NULL);

    base = s3_test_dir();
    pid = fork();

    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) setenv("CMOCKA_TEST_ABORT", "1", 1);
        _exit(workload(base, kind, env ? (unsigned) atoi(env) : CUTS));
    }

    assert_int_not_equal(pid, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    s3_test_dir_free(base);
    (void) random_of(2);

    assert_int_equal(status, 0);
}


static void
test_replaced(void **state)
{
    run(REPLACED);
}


static void
test_forked(void **state)
{
    run(FORKED);
}


static void
test_gone(void **state)
{
    run(GONE);
}


int
main(void)
{
    char                    *env;
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_forked),
        cmocka_unit_test(test_gone),
    };

    env = getenv("S3_POWERCUT_SEED");
    seed = env ? strtoull(env, NULL, 10) : (uint64_t) time(NULL) * 7919 + 1;

    return cmocka_run_group_tests(tests, NULL, NULL);
}
