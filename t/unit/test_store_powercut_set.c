
/*
 * Power cuts of the whole store.
 *
 * A workload runs against a store process and a client in this process, every call that reaches a
 * disk recorded.  Then, for many cuts, the disks are built as the cut could have left them, a child process
 * starts a store on them, and what it finds is held against what was acknowledged before the cut.
 *
 *     S3_POWERCUT_SEED=n      the seed of this run (printed)
 *     S3_POWERCUT_CUTS=n      cuts a workload, at most
 */


#include "s3_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "s3_pool.h"
#include "s3_powercut.h"
#include "s3_set.h"


#define N       4
#define M       2
#define SIZE_SMALL    3000           /* inline */
#define SIZE_LARGE    1200000        /* two stripes */


typedef enum {
    OP_PUT = 0,          /* a new key, shards */
    OP_PUT_INLINE,
    OP_OVERWRITE,        /* of what was there before the recording, shards */
    OP_DELETE,           /* of what was there before the recording */
    OPS
} op_e;

static const char *const  op_names[] = {
    "put", "put-inline", "overwrite", "delete"
};

#define OPS_MAX  3
#define CHILDREN 6

/* what was acknowledged, and where in the log */
typedef struct {
    op_e       op;
    char       key[16];
    uint64_t   seed;
    size_t     size;
    size_t     start;
    size_t     acked;
    size_t     ready[N];         /* the disk has its shard, synced */
} done_t;


/* of the process that records a workload */
typedef struct {
    pid_t      pid;
    char       what[160];
} child_t;


static child_t    children[CHILDREN];

/* what a child is to look at: DIR/asked */
typedef struct {
    done_t     done[OPS_MAX];
    unsigned   n;
    size_t     cuts[N];
    int        thorough;
    unsigned   lost;
} asked_t;

static unsigned   failures;
static uint64_t   seed;


static uint64_t
random_next(void)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;

    return seed * 2685821657736338717ULL;
}


/*
 * The child: a store on what the cut has left.  Returns 0, or the number of what is wrong, told on stderr.
 */

#define WRONG(n, ...)                                                         \
    do {                                                                      \
        (void) fprintf(stderr, "    wrong %d: ", n);                          \
        (void) fprintf(stderr, __VA_ARGS__);                                  \
        (void) fprintf(stderr, "\n");                                         \
        return n;                                                             \
    } while (0)


static int
is_old(s3_set_t *set, const char *key)
{
    return s3_set_get(set, "bucket", key, 900, SIZE_LARGE, 0, SIZE_LARGE)
           == S3_STORE_OK;
}


/* the first disk that is lost: the cut alone says which, a failure can be repeated */

static unsigned
lost_first(const size_t *cuts)
{
    return cuts[0] % N;
}


static int
look(const char *dir, const done_t *done, unsigned n, const size_t *cuts,
    int thorough, unsigned lost)
{
    ssize_t        size;
    unsigned       i, d, have, ready, keys, shards;
    s3_set_t      *set;
    const done_t  *o;
    int            rc, applied, whole, together;

    set = s3_set_create(dir, N, M);

    /* any m disks may be lost with the power */

    for (d = 0; d < lost; d++) {
        s3_set_away(set, (lost_first(cuts) + d) % N);
    }

    s3_set_start_here(set);
    s3_set_client(set);

    if (!s3_set_state(set, lost < M ? S3_STORE_OK : S3_STORE_READ_ONLY,
                      20000))
    {
        WRONG(1, "the set does not recover: %u disks lost, state %d", lost,
              s3_client_state(set->client));
    }

    if (s3_set_list(set, "bucket", "before") != 1) {
        WRONG(2, "what was there before is not listed");
    }

    if (s3_set_get(set, "bucket", "before", 900, SIZE_LARGE, 0, SIZE_LARGE)
        != S3_STORE_OK)
    {
        WRONG(3, "what was there before does not read");
    }

    keys = 1;
    shards = 2;                  /* before, and after */
    together = 1;

    for (d = 1; d < N; d++) {
        together &= (cuts[d] == cuts[0]);
    }

    for (i = 0; i < n; i++) {
        o = &done[i];

        /* on how many disks had everything happened that was before the answer */

        have = 0;
        ready = 0;
        applied = 0;

        for (d = 0; d < N; d++) {
            have += (cuts[d] >= o->acked);
            ready += (cuts[d] >= o->ready[d]);
            applied |= (cuts[d] > o->start);
        }

        size = s3_set_head(set, "bucket", o->key);

        if (size == -2) {
            WRONG(10 + i, "%s: can't be looked up", o->key);
        }

        switch (o->op) {

        case OP_PUT:
        case OP_PUT_INLINE:

            if (have >= N - M && size == -1) {
                WRONG(10 + i, "%s: acknowledged, on %u disks, and not there",
                      o->key, have);
            }

            if (!applied && size != -1) {
                WRONG(10 + i, "%s: there before it was written", o->key);
            }

            whole = size == -1
                    || s3_set_get(set, "bucket", o->key, o->seed, o->size, 0,
                                  o->size) == S3_STORE_OK;
            keys += (size != -1);
            shards += (size != -1 && o->op == OP_PUT);
            break;

        case OP_OVERWRITE:
            whole = s3_set_get(set, "bucket", o->key, o->seed, o->size, 0,
                               o->size) == S3_STORE_OK;

            if (!whole) {
                if (have >= N - M) {
                    WRONG(20 + i, "%s: acknowledged, on %u disks, and not "
                          "there", o->key, have);
                }

                whole = is_old(set, o->key);
            }

            keys++;
            shards++;
            break;

        default: /* OP_DELETE */

            if (have >= N - M && size != -1) {
                WRONG(30 + i, "%s: deleted, on %u disks, and there", o->key,
                      have);
            }

            whole = size == -1 || is_old(set, o->key);
            keys += (size != -1);
            shards += (size != -1);
            ready = N;
        }

        /*
         * A row that is there has its shards, or no batch would have taken it.  Disks that were cut at moments of their own can
         * break that: one has the commit that followed upon syncs which others never saw.
         */

        if (!whole && (together || ready >= N - M)) {
            WRONG(40 + i, "%s: there in part: shards on %u disks, answered on "
                  "%u", o->key, ready, have);
        }
    }

    if (s3_set_list(set, "bucket", "") != (int) keys) {
        WRONG(50, "the list is not what look-ups say");
    }

    if (lost == M) {
        return 0;                /* read-only */
    }

    rc = s3_set_put(set, "bucket", "after", 1, SIZE_LARGE);

    if (rc == S3_STORE_OK) {
        rc = s3_set_get(set, "bucket", "after", 1, SIZE_LARGE, 0, SIZE_LARGE);
    }

    if (rc != S3_STORE_OK) {
        WRONG(51, "nothing can be written after it: %d, %u disks lost", rc,
              lost);
    }

    /*
     * A cut that met all disks at once leaves masks that are true, sessions without a worker, and garbage that is known: in the
     * end every disk has a shard of each object, nothing else, and tmp/ is empty
     */

    if (thorough && together && lost == 0 && !s3_set_repaired(set, shards, 20000)) {
        WRONG(52, "shards are left over or missing: %u in data/, %u in tmp/, "
              "expected %u", s3_set_files(set, "data"),
              s3_set_files(set, "tmp"), shards * N);
    }

    return 0;
}


/* cuts are looked at side by side: a store that starts mostly waits */

static void
child_reap(void)
{
    int       status;
    pid_t     pid;
    unsigned  i;

    pid = wait(&status);
    assert_int_not_equal(pid, -1);

    for (i = 0; i < CHILDREN; i++) {
        if (children[i].pid == pid) {
            children[i].pid = 0;

            if (status != 0) {
                failures++;
                print_error("  %s: status %x\n", children[i].what, status);
            }
        }
    }
}


static unsigned
child_slot(void)
{
    unsigned  i;

    for ( ;; ) {
        for (i = 0; i < CHILDREN; i++) {
            if (children[i].pid == 0) {
                return i;
            }
        }

        child_reap();
    }
}


static void
child_reap_all(void)
{
    unsigned  i;

    for (i = 0; i < CHILDREN; i++) {
        while (children[i].pid) {
            child_reap();
        }
    }
}


/* the program started again: what cut() wants to know of a directory */

static int
look_asked(const char *dir)
{
    char      file[4096 + 16];
    FILE     *in;
    asked_t   asked;

    (void) snprintf(file, sizeof(file), "%s/asked", dir);
    in = fopen(file, "r");

    if (in == NULL || fread(&asked, sizeof(asked_t), 1, in) != 1) {
        return 126;
    }

    (void) fclose(in);

    return look(dir, asked.done, asked.n, asked.cuts, asked.thorough,
                asked.lost);
}


static void
cut(s3_powercut_t *log, const char *base, const done_t *done, unsigned n,
    const size_t *cuts, s3_powercut_mode_e mode, int thorough,
    unsigned lost)
{
    char         path[N + 1][4096 + 16];
    char         dir[4096], file[4096 + 16];
    FILE        *out;
    pid_t        pid;
    asked_t      asked;
    size_t       all[N + 1], top;
    uint64_t     torn;
    unsigned     i, slot;
    const char  *roots[N + 1];

    top = 0;
    slot = child_slot();

    (void) snprintf(dir, sizeof(dir), "%s/cut%u", base, slot);
    (void) mkdir(dir, 0755);

    /* the page of the cut before tells of other disks: as after a boot */

    for (i = 0; i < 3; i++) {
        (void) snprintf(path[0], sizeof(path[0]), "%s/run/main.%s", dir,
                        i == 0 ? "page" : i == 1 ? "sock" : "lock");
        (void) unlink(path[0]);
    }

    for (i = 0; i < N; i++) {
        (void) snprintf(path[0], sizeof(path[0]), "%s/d%u.away", dir, i);
        (void) snprintf(path[1], sizeof(path[1]), "%s/d%u", dir, i);

        if (access(path[0], F_OK) == 0) {          /* of the cut before */
            (void) rmdir(path[1]);
            assert_int_equal(rename(path[0], path[1]), 0);
        }
    }

    for (i = 0; i <= N; i++) {
        (void) snprintf(path[i], sizeof(path[i]), i < N ? "%s/d%u"
                        : "%s/state", dir, i);
        (void) mkdir(path[i], 0755);
        roots[i] = path[i];

        if (i < N) {
            all[i] = cuts[i];
            top = cuts[i] > top ? cuts[i] : top;
        }
    }

    all[N] = top;
    torn = random_next();

    assert_int_equal(s3_powercut_replay(log, all, mode, torn, roots), 0);

    memset(&asked, 0, sizeof(asked_t));
    memcpy(asked.done, done, n * sizeof(done_t));
    memcpy(asked.cuts, cuts, sizeof(asked.cuts));
    asked.n = n;
    asked.thorough = thorough;
    asked.lost = lost;

    (void) snprintf(file, sizeof(file), "%s/asked", dir);
    out = fopen(file, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(&asked, sizeof(asked_t), 1, out), 1);
    assert_int_equal(fclose(out), 0);

    (void) fflush(NULL);
    assert_int_equal(setenv("S3_POWERCUT_LOOK", dir, 1), 0);
    pid = fork();

    if (pid == 0) {

        /* this process has threads, and what they held is held for ever in
         * its copy: a store there may hang */

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) execl("/proc/self/exe", "s3-powercut-look", (char *) NULL);
        _exit(127);
    }

    assert_int_not_equal(pid, -1);
    (void) unsetenv("S3_POWERCUT_LOOK");

    children[slot].pid = pid;
    (void) snprintf(children[slot].what, sizeof(children[slot].what),
                    "cut at %zu %zu %zu %zu of %zu, mode %d, seed %lu",
                    cuts[0], cuts[1], cuts[2], cuts[3],
                    s3_powercut_length(log), mode, (unsigned long) torn);
}


/* the child that records: a store in this process can't be ended otherwise */

static void
workload(const char *base, const op_e *ops, unsigned n, unsigned cuts_max)
{
    char            path[4096], key[16];
    done_t          done[OPS_MAX];
    size_t          cuts[N], length, *points;
    unsigned        i, j, d, k, made, opened;
    s3_set_t       *set;
    s3_powercut_t  *log;
    static const s3_powercut_mode_e  modes[] = {
        S3_POWERCUT_DROPPED, S3_POWERCUT_KEPT, S3_POWERCUT_TORN
    };

    (void) snprintf(path, sizeof(path), "%s/store", base);
    (void) mkdir(path, 0755);

    s3_powercut_start();

    set = s3_set_create(path, N, M);

    for (i = 0; i < N; i++) {
        assert_int_equal(s3_powercut_disk(set->disks[i]), (int) i);
    }

    assert_int_equal(s3_powercut_disk(set->conf.state), N);

    s3_set_start_here(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "before", 900, SIZE_LARGE),
                     S3_STORE_OK);

    for (i = 0; i < n; i++) {
        if (ops[i] == OP_OVERWRITE || ops[i] == OP_DELETE) {
            (void) snprintf(key, sizeof(key), "key-%u", i);
            assert_int_equal(s3_set_put(set, "bucket", key, 900, SIZE_LARGE),
                             S3_STORE_OK);
        }
    }

    /* renames of what was just written are part of what may be cut */

    s3_powercut_mark("start");

    for (i = 0; i < n; i++) {
        done[i].op = ops[i];
        done[i].seed = 10 + i;
        done[i].size = ops[i] == OP_PUT_INLINE ? SIZE_SMALL : SIZE_LARGE;
        (void) snprintf(done[i].key, sizeof(done[i].key), "key-%u", i);

        s3_powercut_mark("op %u", i);

        assert_int_equal(ops[i] == OP_DELETE
                         ? s3_set_delete(set, "bucket", done[i].key)
                         : s3_set_put(set, "bucket", done[i].key,
                                      done[i].seed, done[i].size),
                         S3_STORE_OK);

        s3_powercut_mark("ack %u", i);
    }

    /* until the garbage is gone and all is renamed: that may be cut, too */

    for (i = k = 0; i < n; i++) {
        k += (ops[i] == OP_PUT || ops[i] == OP_OVERWRITE);
    }

    assert_true(s3_set_repaired(set, k + 1, 10000));

    log = s3_powercut_stop();
    length = s3_powercut_length(log);
    points = malloc((length + 1) * sizeof(size_t));
    assert_non_null(points);
    made = 0;
    opened = 0;
    j = 0;

    for (i = 0; i < length; i++) {
        s3_powercut_event_t  e;

        s3_powercut_event(log, i, &e);

        if (e.call == S3_POWERCUT_MARK && e.text[0] == 's') {
            made = i;
        }

        if (e.call == S3_POWERCUT_MARK && e.text[0] == 'o') {
            done[j].start = i;
            opened = j + 1;
            memset(done[j].ready, 0, sizeof(done[j].ready));
        }

        /* of tmp/SESSION: after its shard's own */

        if (e.call == S3_POWERCUT_SYNC_DIR && e.disk < N && made && j < n
            && opened == j + 1 && strncmp(e.text, "tmp/", 4) == 0)
        {
            done[j].ready[e.disk] = i + 1;
        }

        if (e.call == S3_POWERCUT_MARK && e.text[0] == 'a') {
            done[j++].acked = i;
        }
    }

    assert_int_equal(j, n);

    for (i = 0; i < n; i++) {
        for (d = 0; d < N; d++) {
            assert_int_equal(done[i].ready[d] != 0,
                             done[i].op == OP_PUT
                             || done[i].op == OP_OVERWRITE);
        }
    }

    j = made;                   /* cuts before it are of another workload */

    /*
     * One moment for all disks: every point there is, or as many as were asked for, sampled; each as three kinds of loss.
     * Then each disk at a moment of its own.
     */

    k = length - j;

    for (i = 0; i < cuts_max; i++) {

        if (i % 4 == 3) {
            for (d = 0; d < N; d++) {
                cuts[d] = j + random_next() % (k + 1);
            }

        } else {
            size_t  at = k + 1 <= cuts_max ? j + i % (k + 1)
                                           : j + random_next() % (k + 1);

            for (d = 0; d < N; d++) {
                cuts[d] = at;
            }
        }

        cut(log, base, done, n, cuts, modes[random_next() % 3],
            i % 4 == 1, i % 4 == 2 ? 1 + random_next() % M : 0);
    }

    child_reap_all();

    (void) printf("  %u events, %u cuts, %u wrong\n", (unsigned) k, cuts_max,
                  failures);
    (void) fflush(NULL);

    free(points);
    s3_powercut_free(log);
}


static void
run(const op_e *ops, unsigned n, unsigned cuts_max)
{
    int       status;
    char     *base, *env;
    pid_t     pid;
    unsigned  i;

    env = getenv("S3_POWERCUT_CUTS");

    if (env) {
        cuts_max = atoi(env);
    }

    (void) printf("  seed %lu:", (unsigned long) seed);

    for (i = 0; i < n; i++) {
        (void) printf(" %s", op_names[ops[i]]);
    }

    (void) printf("\n");
    (void) fflush(NULL);

    base = s3_test_dir();
    pid = fork();

    if (pid == 0) {
        workload(base, ops, n, cuts_max);
        _exit(failures != 0);
    }

    assert_int_not_equal(pid, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    s3_test_dir_free(base);
    (void) random_next();

    assert_int_equal(status, 0);
}


static void
test_powercut_singles(void **state)
{
    unsigned  i;
    op_e      ops[OPS_MAX];

    for (i = 0; i < OPS; i++) {
        ops[0] = i;
        run(ops, 1, 120);
    }
}


static void
test_powercut_pairs(void **state)
{
    unsigned  i;
    op_e      ops[OPS_MAX];

    for (i = 0; i < OPS * OPS; i++) {
        ops[0] = i / OPS;
        ops[1] = i % OPS;
        run(ops, 2, 30);
    }
}


static void
test_powercut_triples(void **state)
{
    unsigned  i;
    op_e      ops[OPS_MAX];

    for (i = 0; i < 6; i++) {
        ops[0] = random_next() % OPS;
        ops[1] = random_next() % OPS;
        ops[2] = random_next() % OPS;
        run(ops, 3, 25);
    }
}


int
main(void)
{
    char                     *env;
    const struct CMUnitTest   tests[] = {
        cmocka_unit_test(test_powercut_singles),
        cmocka_unit_test(test_powercut_pairs),
        cmocka_unit_test(test_powercut_triples),
    };

    env = getenv("S3_POWERCUT_LOOK");

    if (env) {
        _exit(look_asked(env));
    }

    env = getenv("S3_POWERCUT_SEED");
    seed = env ? strtoull(env, NULL, 10) : (uint64_t) time(NULL) * 7919 + 1;

    return cmocka_run_group_tests(tests, NULL, NULL);
}
