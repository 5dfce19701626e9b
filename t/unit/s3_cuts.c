
/*
 * Who does what.  The test's process has no threads: it forks, for every
 * place a cut can be looked at in, a process that will do nothing but fork
 * again for each cut (a copy of a process that has threads may hang on what
 * they held, and starting the program anew costs as much as looking), and for
 * each workload one that records it, replays the cuts and hands them out.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_cuts.h"

#include <errno.h>
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


#define N             S3_CUTS_DISKS
#define M             S3_CUTS_PARITY

#define PLACES        16         /* most who look wait for the store */
#define THOROUGH      12         /* of so many states one is waited for */
#define SIZE_BEFORE   70000
#define SIZE_AFTER    40000


/* what is to be looked at, and what it is held against */
typedef struct {
    char               dir[256];
    unsigned           n;
    s3_cuts_subject_t  subjects[S3_CUTS_OPS];
    uint8_t            certain[S3_CUTS_OPS];    /* states: from */
    uint8_t            possible[S3_CUTS_OPS];   /* to */
    uint8_t            whole[S3_CUTS_OPS];      /* bit s: state s is */
    uint8_t            thorough;
    uint8_t            lost;
    uint8_t            lost_first;
} asked_t;


typedef struct {
    unsigned           place;
    int                status;
} told_t;


typedef struct {
    pid_t              pid;
    int                pipe;
    int                busy;
    char               what[200];
} place_t;


/* a step of the workload's operations, in the log */
typedef struct {
    size_t             start;
    size_t             acked;
    size_t             ready[N];     /* the disk has its shard, synced */
} step_t;


typedef struct {
    uint8_t            hash[S3_POWERCUT_HASH];
    size_t             at;
    uint64_t           torn;
    s3_powercut_mode_e mode;
} state_t;


typedef struct {
    const char         *base;
    s3_powercut_t      *log;
    size_t              from;        /* events before it are not cut */
    size_t              length;
    unsigned            n;
    s3_cuts_subject_t   subjects[S3_CUTS_OPS];
    step_t              steps[S3_CUTS_OPS][S3_CUTS_STEPS];
    unsigned            cuts;
} workload_t;


static const s3_powercut_mode_e  modes[] = {
    S3_POWERCUT_DROPPED, S3_POWERCUT_KEPT, S3_POWERCUT_TORN
};

static place_t    places[PLACES];
static int        told[2];
static unsigned   failures;
static uint64_t   seed;


static uint64_t
random_next(void)
{
    return s3_test_random(&seed);
}


unsigned
s3_cuts_random(unsigned n)
{
    return (unsigned) (random_next() >> 16) % n;
}


/*
 * --- who looks ---
 *
 * 0, or the number of what is wrong, told on stderr
 */

#define WRONG(n, ...)                                                     \
    do {                                                                  \
        (void) fprintf(stderr, "    wrong %d: ", n);                      \
        (void) fprintf(stderr, __VA_ARGS__);                              \
        (void) fprintf(stderr, "\n");                                     \
        return n;                                                         \
    } while (0)


static int
look(const asked_t *a)
{
    int                       rc, s;
    unsigned                  i, keys, shards;
    s3_set_t                 *set;
    const s3_cuts_op_t       *op;
    const s3_cuts_subject_t  *o;

    set = s3_set_create(a->dir, N, M);

    /* any m disks may be lost with the power */

    for (i = 0; i < a->lost; i++) {
        s3_set_away(set, (a->lost_first + i) % N);
    }

    s3_set_start_here(set);
    s3_set_client(set);

    if (!s3_set_state(set, a->lost < M ? S3_STORE_OK : S3_STORE_READ_ONLY,
                      20000))
    {
        WRONG(1, "the set does not recover: %u disks lost, state %d", a->lost,
              s3_client_state(set->client));
    }

    if (s3_set_list(set, S3_CUTS_BUCKET, "before") != 1) {
        WRONG(2, "what was there before is not listed");
    }

    if (s3_set_get(set, S3_CUTS_BUCKET, "before", 900, SIZE_BEFORE, 0,
                   SIZE_BEFORE)
        != S3_STORE_OK)
    {
        WRONG(3, "what was there before does not read");
    }

    keys = 1;
    shards = 1;

    for (i = 0; i < a->n; i++) {
        o = &a->subjects[i];
        op = &s3_cuts_ops[o->op];

        for (s = a->certain[i]; s <= a->possible[i]; s++) {
            if (op->match(set, o, s, (a->whole[i] >> s) & 1)) {
                break;
            }
        }

        if (s > a->possible[i]) {
            WRONG(10 + i, "%s: %s is in none of the states %u to %u",
                  op->name, o->key, a->certain[i], a->possible[i]);
        }

        if (op->after && a->lost < M && ((a->whole[i] >> s) & 1)) {
            rc = op->after(set, o, s);

            if (rc == -1) {
                WRONG(20 + i, "%s: %s does not go on from state %d",
                      op->name, o->key, s);
            }

            s = rc;
        }

        keys += op->keys[s];
        shards += op->shards[s];
    }

    if (s3_set_list(set, S3_CUTS_BUCKET, "") != (int) keys) {
        WRONG(50, "the list is not what look-ups say");
    }

    if (a->lost == M) {
        return 0;                /* read-only */
    }

    rc = s3_set_put(set, S3_CUTS_BUCKET, "after", 1, SIZE_AFTER);

    if (rc == S3_STORE_OK) {
        rc = s3_set_get(set, S3_CUTS_BUCKET, "after", 1, SIZE_AFTER, 0,
                        SIZE_AFTER);
    }

    if (rc != S3_STORE_OK) {
        WRONG(51, "nothing can be written after it: %d, %u disks lost", rc,
              a->lost);
    }

    /*
     * A cut that met all disks at once leaves masks that are true, sessions
     * without a worker, and garbage that is known: in the end every disk has
     * a shard of each object, nothing else, and tmp/ is empty
     */

    shards++;

    if (a->thorough && !s3_set_repaired(set, shards, 30000)) {
        WRONG(52, "shards are left over or missing: %u in data/, %u in tmp/, "
              "expected %u", s3_set_files(set, "data"),
              s3_set_files(set, "tmp"), shards * N);
    }

    return 0;
}


/* a place: a look at what each message names, told how it went */

static void
place_process(unsigned i, int in)
{
    pid_t    pid;
    told_t   t;
    asked_t  a;

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);

    while (read(in, &a, sizeof(asked_t)) == sizeof(asked_t)) {
        pid = fork();

        if (pid == 0) {
            (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(look(&a));
        }

        t.place = i;
        t.status = -1;

        if (pid != -1) {
            (void) waitpid(pid, &t.status, 0);
        }

        if (write(told[1], &t, sizeof(told_t)) != sizeof(told_t)) {
            break;
        }
    }

    _exit(0);
}


static void
places_start(void)
{
    int       fds[2];
    unsigned  i;

    if (pipe(told) == -1) {
        abort();
    }

    for (i = 0; i < PLACES; i++) {
        if (pipe(fds) == -1) {
            abort();
        }

        places[i].pid = fork();

        if (places[i].pid == -1) {
            abort();
        }

        if (places[i].pid == 0) {
            (void) close(fds[1]);
            place_process(i, fds[0]);
        }

        (void) close(fds[0]);
        places[i].pipe = fds[1];
    }
}


static void
places_end(void)
{
    unsigned  i;

    for (i = 0; i < PLACES; i++) {
        (void) kill(places[i].pid, SIGKILL);
        (void) waitpid(places[i].pid, NULL, 0);
        (void) close(places[i].pipe);
    }

    (void) close(told[0]);
    (void) close(told[1]);
}


/* --- who cuts --- */

static void
place_done(void)
{
    told_t    t;
    place_t  *p;

    assert_int_equal(read(told[0], &t, sizeof(told_t)), sizeof(told_t));

    p = &places[t.place];
    p->busy = 0;

    if (t.status != 0) {
        failures++;
        print_error("  %s: status %x\n", p->what, t.status);
    }
}


static unsigned
place_free(void)
{
    unsigned  i;

    for ( ;; ) {
        for (i = 0; i < PLACES; i++) {
            if (!places[i].busy) {
                return i;
            }
        }

        place_done();
    }
}


static void
places_wait(void)
{
    unsigned  i;

    for (i = 0; i < PLACES; i++) {
        while (places[i].busy) {
            place_done();
        }
    }
}


/* what these cuts demand, on top of what a demands already; first: nothing
 * was demanded */

static void
demand(const workload_t *w, asked_t *a, const size_t *cuts, int first)
{
    int                  together;
    unsigned             i, s, d, have, ready, certain, possible, whole;
    const step_t        *step;
    const s3_cuts_op_t  *op;

    together = 1;

    for (d = 1; d < N; d++) {
        together &= (cuts[d] == cuts[0]);
    }

    for (i = 0; i < w->n; i++) {
        op = &s3_cuts_ops[w->subjects[i].op];
        certain = 0;
        possible = 0;
        whole = 1;

        for (s = 0; s < op->steps; s++) {
            step = &w->steps[i][s];
            have = 0;
            ready = 0;

            for (d = 0; d < N; d++) {
                have += (cuts[d] >= step->acked);
                ready += (cuts[d] >= step->ready[d]);

                if (cuts[d] > step->start) {
                    possible = s + 1;
                }
            }

            if (have >= S3_CUTS_QUORUM) {
                certain = s + 1;
            }

            /*
             * A row that is there has its shards, or no batch would have
             * taken it.  Disks that were cut at moments of their own can
             * break that: one has the commit that followed upon syncs which
             * others never saw.
             */

            if (((whole >> s) & 1) && (together || ready >= S3_CUTS_QUORUM)) {
                whole |= 1 << (s + 1);
            }
        }

        if (first || certain > a->certain[i]) {
            a->certain[i] = certain;
        }

        if (first || possible < a->possible[i]) {
            a->possible[i] = possible;
        }

        a->whole[i] = first ? whole : a->whole[i] | whole;
    }
}


static void
remove_of(const char *dir, const char *name)
{
    char  path[4096];

    (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void) unlink(path);
}


/* a: what is demanded; the rest of it is filled in */

static void
cut(workload_t *w, asked_t *a, const size_t *cuts, s3_powercut_mode_e mode,
    uint64_t torn)
{
    char         path[N + 1][320], away[400];
    size_t       all[N + 1];
    place_t     *p;
    unsigned     i, place;
    const char  *roots[N + 1];

    w->cuts++;
    place = place_free();
    p = &places[place];

    (void) snprintf(a->dir, sizeof(a->dir), "%s/cut%u", w->base, place);
    (void) mkdir(a->dir, 0755);

    /* the page of the cut before tells of other disks: as after a boot */

    remove_of(a->dir, "run/main.page");
    remove_of(a->dir, "run/main.sock");
    remove_of(a->dir, "run/main.lock");

    all[N] = 0;

    for (i = 0; i <= N; i++) {
        (void) snprintf(path[i], sizeof(path[i]), i < N ? "%s/d%u"
                        : "%s/state", a->dir, i);
        (void) snprintf(away, sizeof(away), "%s/d%u.away", a->dir, i);

        if (access(away, F_OK) == 0) {             /* of the cut before */
            (void) rmdir(path[i]);
            assert_int_equal(rename(away, path[i]), 0);
        }

        (void) mkdir(path[i], 0755);
        roots[i] = path[i];

        if (i < N) {
            all[i] = cuts[i];
            all[N] = cuts[i] > all[N] ? cuts[i] : all[N];
        }
    }

    assert_int_equal(s3_powercut_replay(w->log, all, mode, torn, roots), 0);

    a->n = w->n;
    memcpy(a->subjects, w->subjects, sizeof(a->subjects));

    (void) snprintf(p->what, sizeof(p->what),
                    "cut at %zu %zu %zu %zu of %zu, mode %d, seed %llu, "
                    "%u lost from %u", cuts[0], cuts[1], cuts[2], cuts[3],
                    w->length, mode, (unsigned long long) torn, a->lost,
                    a->lost_first);

    p->busy = 1;
    assert_int_equal(write(p->pipe, a, sizeof(asked_t)), sizeof(asked_t));
}


static void
same(size_t *cuts, size_t at)
{
    unsigned  d;

    for (d = 0; d < N; d++) {
        cuts[d] = at;
    }
}


static int
state_compare(const void *one, const void *two)
{
    int             rc;
    const state_t  *a = one, *b = two;

    rc = memcmp(a->hash, b->hash, S3_POWERCUT_HASH);

    return rc ? rc : a->at < b->at ? -1 : a->at > b->at;
}


/* every moment, for all disks at once, in every way; returns how many */

static size_t
cut_all(workload_t *w)
{
    size_t    i, j, m, points, looked, cuts[N + 1];
    asked_t   a;
    state_t  *states, *st;

    points = w->length - w->from + 1;
    states = calloc(3 * points, sizeof(state_t));
    assert_non_null(states);
    st = states;

    for (m = 0; m < 3; m++) {
        for (i = w->from; i <= w->length; i++, st++) {
            st->at = i;
            st->mode = modes[m];
            st->torn = random_next();
            same(cuts, i);
            cuts[N] = i;
            s3_powercut_hash(w->log, cuts, st->mode, st->torn, st->hash);
        }
    }

    qsort(states, 3 * points, sizeof(state_t), state_compare);
    looked = 0;

    for (i = 0; i < 3 * points; i = j) {
        memset(&a, 0, sizeof(asked_t));

        for (j = i; j < 3 * points
                    && memcmp(states[i].hash, states[j].hash,
                              S3_POWERCUT_HASH) == 0; j++)
        {
            same(cuts, states[j].at);
            demand(w, &a, cuts, j == i);
        }

        a.thorough = (looked++ % THOROUGH == 0);
        same(cuts, states[i].at);
        cut(w, &a, cuts, states[i].mode, states[i].torn);
    }

    (void) printf("    %zu moments of all disks x 3: %zu states looked at, "
                  "%zu identical to one of them\n", points, looked,
                  3 * points - looked);

    free(states);

    return looked;
}


/* as many as most, of each kind a quarter; half: one moment for all disks */

static void
cut_some(workload_t *w, unsigned most, int together)
{
    size_t    cuts[N];
    asked_t   a;
    unsigned  i, d, n[3] = { 0, 0, 0 };

    for (i = 0; i < most; i++) {
        memset(&a, 0, sizeof(asked_t));
        same(cuts, w->from + s3_cuts_random(w->length - w->from + 1));

        if (i % 4 == 3 || (!together && i % 4 == 1)) {
            n[1]++;

            for (d = 0; d < N; d++) {
                cuts[d] = w->from + s3_cuts_random(w->length - w->from + 1);
            }

        } else if (i % 4 == 2 || !together) {
            n[2]++;
            a.lost = 1 + s3_cuts_random(M);
            a.lost_first = s3_cuts_random(N);

        } else {
            n[0]++;
            a.thorough = (i % 4 == 1);
        }

        demand(w, &a, cuts, 1);
        cut(w, &a, cuts, modes[s3_cuts_random(3)], random_next());
    }

    (void) printf("    sampled: %u of all disks at one moment, %u of each at "
                  "its own, %u with disks lost\n", n[0], n[1], n[2]);
}


/* where the log has what the workload's marks tell of */

static void
find_steps(workload_t *w)
{
    char                  kind;
    size_t                i;
    unsigned              o, s, d, open;
    step_t               *step;
    s3_powercut_event_t   e;

    step = NULL;
    open = 0;

    for (i = 0; i < w->length; i++) {
        s3_powercut_event(w->log, i, &e);

        if (e.call == S3_POWERCUT_MARK) {
            if (sscanf(e.text, "%c %u %u", &kind, &o, &s) != 3) {
                w->from = i;                /* "begin" */
                continue;
            }

            step = &w->steps[o][s];

            if (kind == 's') {
                step->start = i;
                open = 1;

            } else {
                step->acked = i;
                open = 0;
            }
        }

        /* of tmp/SESSION: after its shard's own */

        if (open && e.call == S3_POWERCUT_SYNC_DIR && e.disk < N
            && strncmp(e.text, "tmp/", 4) == 0)
        {
            step->ready[e.disk] = i + 1;
        }
    }

    assert_int_not_equal(w->from, 0);

    for (o = 0; o < w->n; o++) {
        for (s = 0; s < s3_cuts_ops[w->subjects[o].op].steps; s++) {
            step = &w->steps[o][s];
            assert_true(step->start >= w->from && step->acked > step->start);

            for (d = 0; d < N; d++) {
                assert_int_equal(step->ready[d] != 0,
                                 (s3_cuts_ops[w->subjects[o].op].writes >> s)
                                 & 1);
            }
        }
    }
}


/* the process that records: a store in this one can't be ended otherwise */

static void
workload(const char *base, const s3_cuts_op_e *ops, unsigned n,
    unsigned most)
{
    char                 path[4096];
    unsigned             i, s, shards;
    s3_set_t            *set;
    workload_t           w;
    s3_cuts_subject_t   *o;
    const s3_cuts_op_t  *op;

    memset(&w, 0, sizeof(workload_t));
    w.base = base;
    w.n = n;

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
    assert_int_equal(s3_set_bucket_create(set, S3_CUTS_BUCKET), S3_STORE_OK);
    assert_int_equal(s3_set_put(set, S3_CUTS_BUCKET, "before", 900,
                                SIZE_BEFORE), S3_STORE_OK);

    for (i = 0; i < n; i++) {
        o = &w.subjects[i];
        o->op = ops[i];
        o->number = i;
        o->seed = 10 + i;
        (void) snprintf(o->key, sizeof(o->key), "key-%u", i);
        s3_cuts_ops[ops[i]].prepare(set, o);
    }

    /* renames of what was just written are part of what may be cut */

    s3_powercut_mark("begin");
    shards = 1;

    for (i = 0; i < n; i++) {
        op = &s3_cuts_ops[ops[i]];

        for (s = 0; s < op->steps; s++) {
            s3_powercut_mark("s %u %u", i, s);
            op->step(set, &w.subjects[i], s);
            s3_powercut_mark("a %u %u", i, s);
        }

        shards += op->shards[op->steps];
    }

    /* until the garbage is gone and all is renamed: that may be cut, too */

    assert_true(s3_set_repaired(set, shards, 20000));

    w.log = s3_powercut_stop();
    w.length = s3_powercut_length(w.log);
    find_steps(&w);

    if (most) {
        cut_some(&w, most, 1);

    } else {
        (void) cut_all(&w);
        cut_some(&w, 24, 0);
    }

    places_wait();

    (void) printf("    %zu events, %u cuts looked at, %u wrong\n",
                  w.length - w.from, w.cuts, failures);
    (void) fflush(NULL);

    s3_powercut_free(w.log);
}


void
s3_cuts_run(const s3_cuts_op_e *ops, unsigned n, unsigned most)
{
    int       status;
    char     *base, *env;
    pid_t     pid;
    unsigned  i;

    env = getenv("S3_POWERCUT_CUTS");

    if (env) {
        most = atoi(env);
    }

    (void) printf("  seed %llu:", (unsigned long long) seed);

    for (i = 0; i < n; i++) {
        (void) printf(" %s", s3_cuts_ops[ops[i]].name);
    }

    (void) printf("\n");
    (void) fflush(NULL);

    base = s3_test_dir();
    pid = fork();

    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);

        /* an assertion there must not go on with the next test here */

        (void) setenv("CMOCKA_TEST_ABORT", "1", 1);
        workload(base, ops, n, most);
        _exit(failures != 0);
    }

    assert_int_not_equal(pid, -1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    s3_test_dir_free(base);
    (void) random_next();

    assert_int_equal(status, 0);
}


int
s3_cuts_main(const struct CMUnitTest *tests, size_t n)
{
    int    rc;
    char  *env;

    env = getenv("S3_POWERCUT_SEED");
    seed = env ? strtoull(env, NULL, 10) : (uint64_t) time(NULL) * 7919 + 1;

    places_start();
    rc = _cmocka_run_group_tests("power cuts", tests, n, NULL, NULL);
    places_end();

    return rc;
}
