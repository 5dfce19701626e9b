
/*
 * Every call fails once: each operation of a whole store with a fault at its
 * n-th call through the door, or its n-th allocation, in the store process or
 * in the client's, for n = 1 until it runs through without meeting it
 * (s3_every.h has the faults).
 *
 * After each: it was told success, and the new state is there; or an error,
 * and it is the old one or the new one, whole.  The set is whole again, the
 * next request works, and no later look says anything else, also of another
 * client after a restart.  No shard is left over or missing on any disk, no
 * descriptor is left, no memory (make asan).
 *
 *     S3_EVERY=all            every n, but where each takes long, or there
 *                             are many; a number: so many of each operation
 *                             and fault, at random; else one, of two faults
 *     S3_EVERY_ONLY=put:hang:17   that operation, or any; that fault; that n
 *     S3_EVERY_SEED=n         the seed of this run (printed)
 *     S3_EVERY_JOBS=n         at a time
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "s3_every.h"
#include "s3_page.h"
#include "s3_pool.h"
#include "s3_set.h"


#define BUCKET        "bucket"

#define SIZE_INLINE   3000
#define SIZE_OLD      80000
#define SIZE_NEW      90000           /* one stripe */
#define SIZE_MANY     3400000         /* four */
#define SIZE_PART_1   70000
#define SIZE_PART_2   50000
#define SIZE_PARTS    (SIZE_PART_1 + SIZE_PART_2)

/* docs/format.md */
#define FOOTER        4096
#define FOOTER_SHARD  14

#define MANY          8               /* of a DeleteObjects */
#define ROUND         12              /* of so many the end is waited for */
#define MOST          400             /* allocations, of which there are more
                                         than calls */
#define HANGS         6               /* each takes who waits ten seconds */
#define SLOW          40              /* of those that take seconds */
#define LATE          2000            /* ms */
#define WAIT          20000


typedef struct {
    char        key[32];
    uint64_t    seed;
    uint8_t     upload_id[16];
    uint8_t     refs[2][S3_PART_REF_LEN];
    unsigned    disk;

    /* as looked at */
    int         state;
    unsigned    keys;
    unsigned    shards;
} subject_t;


/*
 * prepare: without faults, leaves the old state.  run: one operation, its
 * status.  look: 0, the old state; 1, the new one; -1, neither; fills in keys
 * and shards.  Partial states that are right (a DeleteObjects is no
 * transaction) are more than 1.  mend: NULL, or what is waited for before the
 * look; whether it came
 */
typedef struct {
    const char  *name;
    void       (*prepare)(s3_set_t *set, subject_t *o);
    int        (*run)(s3_set_t *set, subject_t *o);
    int        (*look)(s3_set_t *set, subject_t *o);
    int        (*mend)(s3_set_t *set, subject_t *o);
    unsigned     ndisks;              /* at least */
    unsigned     slow;                /* seconds each: not every n */
} op_t;


typedef struct {
    const op_t *op;
    unsigned    ndisks;
    unsigned    parity;
    int         kind;                 /* -1: each */
    int         n;                    /* 0: by most */
    unsigned    most;                 /* 0: all */
    unsigned    faults;               /* bit: kind; of those that are tried */
    uint64_t    seed;
    pid_t       pid;
    char       *dir;
} series_t;


static uint64_t   seed;
static subject_t  subjects[ROUND];


static unsigned
random_next(unsigned n)
{
    return (unsigned) (s3_test_random(&seed) >> 33) % n;
}


static unsigned
shards_before(const subject_t *o)
{
    unsigned          n;
    const subject_t  *s;

    n = 0;

    for (s = subjects; s < o; s++) {
        n += s->shards;
    }

    return n;
}


/* --- operations --- */

static int
reads(s3_set_t *set, const char *key, uint64_t of, size_t size)
{
    return s3_set_head(set, BUCKET, key) == (ssize_t) size
           && s3_set_get(set, BUCKET, key, of, size, 0, size) == S3_STORE_OK;
}


static int
absent(s3_set_t *set, const char *key)
{
    return s3_set_head(set, BUCKET, key) == -1;
}


/*
 * What goes on after a fault: a disk may be found out a moment later, and a
 * client has to open it when it is back; where both of two are needed there is
 * a 503 meanwhile.  Others must not see it.
 */

#define soon(rc, few, call)                                                   \
    do {                                                                  \
        uint64_t  until_ = s3_now() + WAIT;                               \
                                                                          \
        do {                                                              \
            rc = call;                                                    \
        } while (rc != S3_STORE_OK && few && s3_now() < until_);          \
    } while (0)


static void
put(s3_set_t *set, const char *key, uint64_t of, size_t size)
{
    int  rc;

    soon(rc, 1, s3_set_put(set, BUCKET, key, of, size));
    assert_int_equal(rc, S3_STORE_OK);
}


static void
old(s3_set_t *set, const char *key)
{
    put(set, key, 900, SIZE_OLD);
}


static void
prepare_none(s3_set_t *set, subject_t *o)
{
}


static void
prepare_old(s3_set_t *set, subject_t *o)
{
    old(set, o->key);
}


static int
look_new(s3_set_t *set, subject_t *o, size_t size, unsigned shards)
{
    o->keys = 0;
    o->shards = 0;

    if (absent(set, o->key)) {
        return 0;
    }

    o->keys = 1;
    o->shards = shards;

    return reads(set, o->key, o->seed, size) ? 1 : -1;
}


static int
put_inline_run(s3_set_t *set, subject_t *o)
{
    return s3_set_put(set, BUCKET, o->key, o->seed, SIZE_INLINE);
}


static int
put_inline_look(s3_set_t *set, subject_t *o)
{
    return look_new(set, o, SIZE_INLINE, 0);
}


static int
put_run(s3_set_t *set, subject_t *o)
{
    return s3_set_put(set, BUCKET, o->key, o->seed, SIZE_NEW);
}


static int
put_look(s3_set_t *set, subject_t *o)
{
    return look_new(set, o, SIZE_NEW, 1);
}


static int
put_many_run(s3_set_t *set, subject_t *o)
{
    return s3_set_put(set, BUCKET, o->key, o->seed, SIZE_MANY);
}


static int
put_many_look(s3_set_t *set, subject_t *o)
{
    return look_new(set, o, SIZE_MANY, 1);
}


static int
overwrite_look(s3_set_t *set, subject_t *o)
{
    o->keys = 1;
    o->shards = 1;

    return reads(set, o->key, 900, SIZE_OLD) ? 0
           : reads(set, o->key, o->seed, SIZE_NEW) ? 1 : -1;
}


static int
delete_run(s3_set_t *set, subject_t *o)
{
    return s3_set_delete(set, BUCKET, o->key);
}


static int
delete_look(s3_set_t *set, subject_t *o)
{
    o->keys = 0;
    o->shards = 0;

    if (absent(set, o->key)) {
        return 1;
    }

    o->keys = 1;
    o->shards = 1;

    return reads(set, o->key, 900, SIZE_OLD) ? 0 : -1;
}


/* a DeleteObjects: its commits are sent at once; every second is inline */

typedef struct {
    unsigned    left;
    int         status;
    s3_call_t   calls[MANY];
} many_t;


static char *
many_key(const subject_t *o, unsigned i)
{
    static char  key[48];

    (void) snprintf(key, sizeof(key), "%s.%u", o->key, i);

    return key;
}


static void
many_prepare(s3_set_t *set, subject_t *o)
{
    unsigned  i;

    for (i = 0; i < MANY; i++) {
        put(set, many_key(o, i), 900 + i, i % 2 ? SIZE_INLINE : SIZE_OLD);
    }
}


static void
many_called(s3_call_t *call)
{
    many_t  *m = call->data;

    m->left--;

    if (call->status != S3_STORE_OK) {
        m->status = call->status;
    }
}


static int
many_done(void *data)
{
    many_t  *m = data;

    return m->left == 0;
}


static int
many_run(s3_set_t *set, subject_t *o)
{
    int           rc;
    many_t        m;
    unsigned      i;
    s3_commit_t   commit;

    memset(&m, 0, sizeof(many_t));

    for (i = 0; i < MANY; i++) {
        memset(&commit, 0, sizeof(s3_commit_t));
        commit.op = S3_COMMIT_DELETE;
        commit.bucket.data = (const uint8_t *) BUCKET;
        commit.bucket.len = strlen(BUCKET);
        commit.key.data = (const uint8_t *) many_key(o, i);
        commit.key.len = strlen((const char *) commit.key.data);

        m.calls[i].handler = many_called;
        m.calls[i].data = &m;

        rc = s3_client_commit(set->client, &m.calls[i], &commit);

        if (rc == S3_STORE_OK) {
            m.left++;

        } else {
            m.status = rc;
        }
    }

    if (!s3_set_until(set, many_done, &m, WAIT)) {
        for (i = 0; i < MANY; i++) {
            s3_client_cancel(set->client, &m.calls[i]);
        }

        return -1;
    }

    return m.status;
}


static int
many_look(s3_set_t *set, subject_t *o)
{
    int       left;
    unsigned  i;

    o->keys = 0;
    o->shards = 0;
    left = 0;

    for (i = 0; i < MANY; i++) {
        if (absent(set, many_key(o, i))) {
            continue;
        }

        if (!reads(set, many_key(o, i), 900 + i,
                   i % 2 ? SIZE_INLINE : SIZE_OLD))
        {
            return -1;
        }

        left |= 1 << i;
        o->keys++;
        o->shards += (i % 2 == 0);
    }

    return left == 0 ? 1 : left == (1 << MANY) - 1 ? 0 : 2 + left;
}


/* --- uploads in parts --- */

static int
part_put(s3_set_t *set, subject_t *o, unsigned number)
{
    int       rc;
    s3_buf_t  refs;

    /* not memory that may fail */

    memset(&refs, 0, sizeof(s3_buf_t));
    refs.size = 256;
    refs.data = malloc(refs.size);
    assert_non_null(refs.data);

    rc = s3_set_part(set, BUCKET, o->key, o->upload_id, number, o->seed,
                     SIZE_PARTS, number == 1 ? 0 : SIZE_PART_1,
                     number == 1 ? SIZE_PART_1 : SIZE_PART_2, 1, &refs);

    if (refs.len) {
        memcpy(o->refs[number - 1], refs.data, S3_PART_REF_LEN);
    }

    s3_buf_free(&refs);

    return rc;
}


static void
part_prepare(s3_set_t *set, subject_t *o)
{
    int  rc;

    s3_test_fill(o->upload_id, 16, o->seed);
    o->upload_id[0] = 0;

    soon(rc, 1, s3_set_upload_create(set, BUCKET, o->key,
                                     o->upload_id));
    assert_int_equal(rc, S3_STORE_OK);
}


static int
part_run(s3_set_t *set, subject_t *o)
{
    return part_put(set, o, 1);
}


/* how many parts the upload lists, of those that are known; -1: something
 * else; completed: whether it is */

static int
parts_listed(s3_set_t *set, subject_t *o, int *completed)
{
    int              rc, n;
    s3_buf_t         refs;
    s3_part_page_t   page;
    s3_part_query_t  query;

    memset(&refs, 0, sizeof(s3_buf_t));
    memset(&query, 0, sizeof(s3_part_query_t));
    memset(&page, 0, sizeof(s3_part_page_t));

    query.bucket.data = (const uint8_t *) BUCKET;
    query.bucket.len = strlen(BUCKET);
    query.key.data = (const uint8_t *) o->key;
    query.key.len = strlen(o->key);
    memcpy(query.upload_id, o->upload_id, 16);
    query.max = S3_PARTS_MAX;

    rc = s3_set_parts(set, &query, &page, &refs);
    n = -1;

    if (rc == S3_STORE_OK && refs.len <= sizeof(o->refs)
        && (refs.len == 0 || memcmp(refs.data, o->refs, refs.len) == 0))
    {
        n = refs.len / S3_PART_REF_LEN;
        *completed = page.upload.completed != 0;
    }

    s3_buf_free(&refs);

    return n;
}


static int
part_look(s3_set_t *set, subject_t *o)
{
    int  n, completed;

    n = parts_listed(set, o, &completed);
    o->keys = 0;
    o->shards = n;

    return n < 0 || completed ? -1 : n;
}


static void
complete_prepare(s3_set_t *set, subject_t *o)
{
    int  rc;

    part_prepare(set, o);
    soon(rc, 1, part_put(set, o, 1));
    assert_int_equal(rc, S3_STORE_OK);
    soon(rc, 1, part_put(set, o, 2));
    assert_int_equal(rc, S3_STORE_OK);
}


static int
complete_run(s3_set_t *set, subject_t *o)
{
    s3_buf_t  refs;

    memset(&refs, 0, sizeof(s3_buf_t));
    refs.data = (uint8_t *) o->refs;
    refs.len = sizeof(o->refs);

    return s3_set_complete(set, BUCKET, o->key, o->upload_id, &refs);
}


static int
complete_look(s3_set_t *set, subject_t *o)
{
    int  n, completed;

    n = parts_listed(set, o, &completed);
    o->shards = 2;
    o->keys = 0;

    if (absent(set, o->key)) {
        return n == 2 && !completed ? 0 : -1;
    }

    o->keys = 1;

    return n >= 0 && completed && reads(set, o->key, o->seed, SIZE_PARTS)
           ? 1 : -1;
}


/* --- copies, reads --- */

static void
copy_prepare(s3_set_t *set, subject_t *o)
{
    old(set, many_key(o, 0));
}


static int
copy_run(s3_set_t *set, subject_t *o)
{
    return s3_set_copy(set, BUCKET, many_key(o, 0), o->key);
}


static int
copy_look(s3_set_t *set, subject_t *o)
{
    o->keys = 1;
    o->shards = 1;

    if (!reads(set, many_key(o, 0), 900, SIZE_OLD)) {
        return -1;
    }

    if (absent(set, o->key)) {
        return 0;
    }

    o->keys = 2;

    return reads(set, o->key, 900, SIZE_OLD) ? 1 : -1;
}


static void
get_prepare(s3_set_t *set, subject_t *o)
{
    put(set, o->key, o->seed, SIZE_MANY);
}


static int
get_run(s3_set_t *set, subject_t *o)
{
    int  rc;

    rc = s3_set_get(set, BUCKET, o->key, o->seed, SIZE_MANY, 0, SIZE_MANY);

    /* s3_set_get()'s word for other bytes; a read that fails says so, too */

    return rc;
}


static int
get_look(s3_set_t *set, subject_t *o)
{
    return look_new(set, o, SIZE_MANY, 1);
}


/* --- what the store does by itself --- */

/* the shard file that was made last on that disk */

typedef struct {
    char             path[PATH_MAX];
    struct timespec  made;
    uint64_t         size;
} newest_t;


static void
newest_of(const char *path, newest_t *newest)
{
    DIR            *dir;
    char            name[PATH_MAX];
    struct stat     st;
    struct dirent  *e;

    dir = opendir(path);
    assert_non_null(dir);

    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.') {
            continue;
        }

        (void) snprintf(name, sizeof(name), "%.3000s/%s", path, e->d_name);

        if (lstat(name, &st) == -1) {
            continue;
        }

        if (S_ISDIR(st.st_mode)) {
            newest_of(name, newest);

        } else if (newest->path[0] == '\0'
                   || st.st_mtim.tv_sec > newest->made.tv_sec
                   || (st.st_mtim.tv_sec == newest->made.tv_sec
                       && st.st_mtim.tv_nsec > newest->made.tv_nsec))
        {
            memcpy(newest->path, name, sizeof(name));
            newest->made = st.st_mtim;
            newest->size = st.st_size;
        }
    }

    (void) closedir(dir);
}


static newest_t  damaged;
static uint8_t  *damaged_bytes;       /* as they were */


static uint8_t *
bytes_of(const char *path, uint64_t size)
{
    int       fd;
    uint8_t  *p;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return NULL;
    }

    p = malloc(size + 1);
    assert_non_null(p);

    if (read(fd, p, size + 1) != (ssize_t) size) {
        free(p);
        p = NULL;
    }

    (void) close(fd);

    return p;
}


static int
healed(void *data)
{
    int       same;
    uint8_t  *p;

    p = bytes_of(damaged.path, damaged.size);
    same = (p != NULL && memcmp(p, damaged_bytes, damaged.size) == 0);
    free(p);

    return same;
}


/* one byte of one shard, in the first block of data, is another */

static void
heal_prepare(s3_set_t *set, subject_t *o)
{
    int       fd;
    char      path[PATH_MAX];
    uint8_t   byte;

    /* nothing else is repaired meanwhile: what is newest is this one's */

    assert_true(s3_set_repaired(set, shards_before(o), 2 * WAIT));
    get_prepare(set, o);
    assert_true(s3_set_repaired(set, shards_before(o) + 1, 2 * WAIT));

    /* one of data */

    do {
        o->disk = (o->disk + 1) % set->ndisks;
        (void) snprintf(path, sizeof(path), "%s/data", set->disks[o->disk]);
        memset(&damaged, 0, sizeof(newest_t));
        newest_of(path, &damaged);

        free(damaged_bytes);
        damaged_bytes = damaged.path[0] ? bytes_of(damaged.path, damaged.size)
                                        : NULL;
    } while (damaged_bytes == NULL
             || damaged_bytes[damaged.size - FOOTER + FOOTER_SHARD]
                >= set->ndisks - set->parity);

    fd = open(damaged.path, O_WRONLY|O_CLOEXEC);
    assert_int_not_equal(fd, -1);
    byte = damaged_bytes[o->seed % 4096] ^ 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, o->seed % 4096), 1);
    (void) close(fd);
}


static int
heal_run(s3_set_t *set, subject_t *o)
{
    int  rc;

    rc = get_run(set, o);

    (void) s3_set_until(set, healed, NULL, 3000);

    return rc;
}


/* read again: what was reported to a store process that died is forgotten */

static int
heal_mend(s3_set_t *set, subject_t *o)
{
    unsigned  i;

    for (i = 0; i < 20; i++) {
        if (s3_set_until(set, healed, NULL, 1000)) {
            return 1;
        }

        if (get_run(set, o) == S3_STORE_DAMAGED) {
            return 0;
        }
    }

    return 0;
}


/* nobody reads it: the scrub finds it */

static int
scrub_run(s3_set_t *set, subject_t *o)
{
    (void) s3_set_until(set, healed, NULL, 3000);

    return S3_STORE_OK;
}


static int
scrub_mend(s3_set_t *set, subject_t *o)
{
    return s3_set_until(set, healed, NULL, 2 * WAIT);
}


static void
hole_prepare(s3_set_t *set, subject_t *o)
{
    o->disk = o->seed % set->ndisks;
    s3_set_away(set, o->disk);

    while (s3_set_whole(set, 0)) {
        (void) s3_set_head(set, BUCKET, o->key);
    }

    get_prepare(set, o);
}


static int
hole_run(s3_set_t *set, subject_t *o)
{
    s3_set_back(set, o->disk);
    (void) s3_set_repaired(set, shards_before(o) + 1, 4000);

    return S3_STORE_OK;
}


static void
start_prepare(s3_set_t *set, subject_t *o)
{
    get_prepare(set, o);
    (void) s3_every_stop(set, 0);
}


static int
start_run(s3_set_t *set, subject_t *o)
{
    s3_set_start(set);

    return get_run(set, o);
}


/* an empty directory, with the operator's word, where a disk was */

static void
replace_prepare(s3_set_t *set, subject_t *o)
{
    int   fd;
    char  path[PATH_MAX];

    get_prepare(set, o);
    o->disk = o->seed % set->ndisks;
    s3_set_away(set, o->disk);
    assert_int_equal(mkdir(set->disks[o->disk], 0755), 0);

    while (s3_set_whole(set, 0)) {
        (void) s3_set_head(set, BUCKET, o->key);
    }

    (void) snprintf(path, sizeof(path), "%s/replace", set->disks[o->disk]);
    fd = open(path, O_WRONLY|O_CREAT|O_CLOEXEC, 0600);
    assert_int_not_equal(fd, -1);
    (void) close(fd);
}


static int
replace_run(s3_set_t *set, subject_t *o)
{
    (void) s3_set_whole(set, 6000);
    (void) s3_set_repaired(set, shards_before(o) + 1, 4000);

    return get_run(set, o);
}


static int
replace_mend(s3_set_t *set, subject_t *o)
{
    char  path[PATH_MAX];

    (void) snprintf(path, sizeof(path), "%s.away", set->disks[o->disk]);

    if (access(path, F_OK) == 0) {
        s3_test_dir_free(strdup(path));
    }

    /* or with the next disk that is lost too much would be */

    return s3_set_whole(set, 2 * WAIT)
           && s3_set_repaired(set, shards_before(o) + 1, 2 * WAIT);
}


#define op(name, prepare, run, look)                                      \
    { name, prepare, run, look, NULL, 2, 0 }

static const op_t  ops[] = {
    op("put-inline", prepare_none, put_inline_run, put_inline_look),
    op("put", prepare_none, put_run, put_look),
    op("put-stripes", prepare_none, put_many_run, put_many_look),
    op("overwrite", prepare_old, put_run, overwrite_look),
    op("part", part_prepare, part_run, part_look),
    op("complete", complete_prepare, complete_run, complete_look),
    op("copy", copy_prepare, copy_run, copy_look),
    op("delete", prepare_old, delete_run, delete_look),
    op("delete-objects", many_prepare, many_run, many_look),
    op("get", get_prepare, get_run, get_look),
    { "heal", heal_prepare, heal_run, get_look, heal_mend, 2, 1 },
    { "scrub", heal_prepare, scrub_run, get_look, scrub_mend, 2, 1 },
    { "hole", hole_prepare, hole_run, get_look, NULL, 4, 1 },
    { "start", start_prepare, start_run, get_look, NULL, 2, 1 },
    { "replace", replace_prepare, replace_run, get_look, replace_mend, 2, 1 },
    { "format", NULL, NULL, NULL, NULL, 2, 1 },          /* once_formed() */
};

#undef op

#define NOPS   (sizeof(ops) / sizeof(ops[0]))


/* --- a series: one operation, some faults, in a process of its own --- */

static s3_set_t   *set;
static unsigned    nsubjects;
static unsigned    descriptors[2];
static char        at[300];           /* what is being done, for a failure */

#define check(what, ...)                                                  \
    do {                                                                  \
        if (!(what)) {                                                    \
            (void) fprintf(stderr, "%s: ", at);                           \
            (void) fprintf(stderr, __VA_ARGS__);                          \
            (void) fprintf(stderr, "\n");                                 \
            abort();                                                      \
        }                                                                 \
    } while (0)


/* a scrub that goes on has a shard of each disk open: of four threads */

static int
descriptors_same(void *data)
{
    return s3_every_descriptors(0) <= descriptors[0]
           && s3_every_descriptors(1) <= descriptors[1]
                                         + (set->scrub ? 4 * set->ndisks : 0);
}


/* those of a set where nothing goes on: the same at three looks */

static void
descriptors_learn(void)
{
    unsigned  i;

    for (i = 0; i < 3; i++) {
        if (s3_every_descriptors(0) != descriptors[0]
            || s3_every_descriptors(1) != descriptors[1])
        {
            descriptors[0] = s3_every_descriptors(0);
            descriptors[1] = s3_every_descriptors(1);
            i = 0;
        }

        (void) s3_set_until(set, many_done, &(many_t) { .left = 1 }, 120);
    }
}


/*
 * A client may not have opened yet a disk that is back, or any: then there
 * are too few of them, which passes
 */

static int
look_soon(const series_t *series, subject_t *o)
{
    int       state;
    uint64_t  until;

    until = s3_now() + WAIT;

    do {
        state = series->op->look(set, o);
    } while (state < 0 && s3_now() < until);

    return state;
}


static void
look(const series_t *series, subject_t *o, const char *when)
{
    int  state;

    state = look_soon(series, o);

    check(state >= 0, "%s: neither old nor new", when);
    check(state == o->state, "%s: state %d was %d", when, state, o->state);
}


/* what is there in the end is what was told, to whoever looks */

static void
round_end(const series_t *series)
{
    int        rc;
    unsigned   i, keys, shards;
    subject_t *o;

    keys = 0;
    shards = 0;

    for (i = 0; i < nsubjects; i++) {
        keys += subjects[i].keys;
        shards += subjects[i].shards;
    }

    if (nsubjects == 0) {
        return;
    }

    (void) snprintf(at, sizeof(at), "%s: end of a round", series->op->name);

    check(s3_set_whole(set, WAIT), "the set is not whole");
    check(s3_set_repaired(set, shards, 2 * WAIT),
          "%u files in data/, %u in tmp/, of %u shards",
          s3_set_files(set, "data"), s3_set_files(set, "tmp"), shards);

    rc = s3_set_until(set, descriptors_same, NULL, WAIT);

    if (!rc) {
        s3_every_descriptors_list(0);
        s3_every_descriptors_list(1);
    }

    check(rc,
          "descriptors: %u were %u in the client, %u were %u in the store "
          "process", s3_every_descriptors(0), descriptors[0],
          s3_every_descriptors(1), descriptors[1]);

    s3_set_client_close(set);
    rc = s3_every_stop(set, 1);
    check(rc == 0, "the store process has leaked memory: %d", rc);
    check(s3_every_leaks() == 0, "the client has leaked memory");

    s3_set_start(set);
    s3_set_client(set);

    check(s3_set_state(set, S3_STORE_OK, WAIT), "it does not start again");
    check(s3_set_whole(set, WAIT), "the set is not whole after a start");

    for (i = 0; i < nsubjects; i++) {
        look(series, &subjects[i], "after a restart");
    }

    check(s3_set_list(set, BUCKET, "k") == (int) keys,
          "the list is not what look-ups say");

    for (i = 0; i < nsubjects; i++) {
        o = &subjects[i];

        if (o->upload_id[15] || o->upload_id[14]) {
            (void) s3_set_upload_abort(set, BUCKET, o->key, o->upload_id);
        }

        check(s3_set_delete(set, BUCKET, o->key) == S3_STORE_OK,
              "no delete");

        for (rc = 0; rc < MANY; rc++) {
            check(s3_set_delete(set, BUCKET, many_key(o, rc))
                  == S3_STORE_OK, "no delete");
        }
    }

    check(s3_set_list(set, BUCKET, "k") == 0, "something is left");
    check(s3_set_repaired(set, 0, 2 * WAIT), "shards are left");

    nsubjects = 0;
    descriptors_learn();
}


typedef struct {
    unsigned    done;
    unsigned    failed;
} count_t;

typedef unsigned (*once_pt)(const series_t *series, s3_every_kind_e kind,
    unsigned n, unsigned number, count_t *count);


static int
disk_out(void *data)
{
    return !s3_set_whole(set, 0);
}


/* returns the calls it made */

static unsigned
once(const series_t *series, s3_every_kind_e kind, unsigned n,
    unsigned number, count_t *count)
{
    int         rc, state, status;
    unsigned    calls;
    subject_t  *o;

    o = &subjects[nsubjects++];
    memset(o, 0, sizeof(subject_t));
    (void) snprintf(o->key, sizeof(o->key), "k%05u", number);
    o->seed = 1000 + number;

    (void) snprintf(at, sizeof(at), "%s:%s:%u", series->op->name,
                    s3_every_kinds[kind], n);

    check(s3_set_whole(set, WAIT), "the set is not whole before");
    series->op->prepare(set, o);

    s3_every_arm(kind, n);
    rc = series->op->run(set, o);

    (void) snprintf(at, sizeof(at), "%s:%s:%u (%s), status %d",
                    series->op->name, s3_every_kinds[kind], n,
                    s3_every_what(), rc);

    if (kind == S3_EVERY_HANG && series->parity == 1) {

        /*
         * Lateness takes no set below its quorum, which is both disks: it is
         * waited for, and whoever asked has a bound of his own
         */

        rc = rc == -1 ? S3_STORE_UNDECIDED : rc;

    } else if (kind == S3_EVERY_HANG && s3_every_hit()
               && s3_every_disk() >= 0)
    {
        check(s3_set_until(set, disk_out, NULL, 10 * LATE),
              "the disk hangs and is not left out");
    }

    /* where no other disk is out yet */

    if (kind == S3_EVERY_HANG && series->parity > 1 && s3_every_hit()
        && s3_every_disk() >= 0 && series->op->run != hole_run
        && series->op->run != replace_run)
    {
        check(s3_set_put(set, BUCKET, "beside", number, SIZE_OLD)
              == S3_STORE_OK, "nothing can be written beside");
        check(reads(set, "beside", number, SIZE_OLD), "it cannot be read");
        check(s3_set_delete(set, BUCKET, "beside") == S3_STORE_OK,
              "it cannot be deleted");
    }

    check(rc != -1, "it did not end");

    calls = s3_every_disarm();

    if (getenv("S3_TEST_DEBUG")) {
        (void) fprintf(stderr, "%s: %u calls\n", at, calls);
    }

    check(s3_every_crashed() == 0, "the store process ended with %x",
          s3_every_crashed());
    check(s3_set_whole(set, 2 * WAIT), "the set is not whole again");
    check(series->op->mend == NULL || series->op->mend(set, o),
          "it is not mended");

    if (rc == S3_STORE_UNDECIDED) {

        /* what nobody waits for any more is decided before this is */

        soon(status, set->ndisks == 2, s3_set_put(set, BUCKET, "next", 0, 1));
        check(status == S3_STORE_OK, "it goes on undecided");
    }

    state = look_soon(series, o);
    o->state = state;

    check(state >= 0, "neither old nor new");
    check(rc != S3_STORE_OK || state == 1, "success, and state %d", state);

    /* refused: what may be either has statuses of its own */

    check(rc == S3_STORE_OK || rc == S3_STORE_UNDECIDED || state != 1
          || series->op->look == get_look || series->op->look == many_look,
          "refused, and there");

    /* the next request; what was found is what is found */

    soon(status, set->ndisks == 2,
         s3_set_put(set, BUCKET, "next", number, SIZE_NEW));
    check(status == S3_STORE_OK, "the next put fails: %d", status);
    check(reads(set, "next", number, SIZE_NEW), "what it put is not read");
    soon(status, set->ndisks == 2, s3_set_delete(set, BUCKET, "next"));
    check(status == S3_STORE_OK, "the next delete fails: %d", status);
    look(series, o, "afterwards");

    if (s3_every_hit()) {
        count->done += (rc == S3_STORE_OK);
        count->failed += (rc != S3_STORE_OK);
    }

    if (nsubjects == ROUND) {
        round_end(series);
    }

    return calls;
}


/* the first start of a set */

static unsigned
once_formed(const series_t *series, s3_every_kind_e kind, unsigned n,
    unsigned number, count_t *count)
{
    int       formed, leaks;
    char      path[PATH_MAX];
    unsigned  calls;

    (void) snprintf(path, sizeof(path), "%s/f%u", series->dir, number);
    assert_int_equal(mkdir(path, 0755), 0);
    (void) snprintf(at, sizeof(at), "format:%s:%u", s3_every_kinds[kind], n);

    set = s3_set_create(path, series->ndisks, series->parity);
    set->late = LATE;
    set->conf.late = LATE;

    s3_every_arm(kind, n);
    s3_set_start(set);
    s3_set_client(set);
    formed = s3_set_state(set, S3_STORE_OK, 4000);
    calls = s3_every_disarm();

    (void) snprintf(at, sizeof(at), "format:%s:%u (%s), formed at once %d",
                    s3_every_kinds[kind], n, s3_every_what(), formed);

    check(s3_every_crashed() == 0, "the store process ended with %x",
          s3_every_crashed());
    check(s3_set_state(set, S3_STORE_OK, 2 * WAIT), "it is not formed");
    check(s3_set_whole(set, 2 * WAIT), "the set is not whole");
    check(s3_set_bucket_create(set, BUCKET) == S3_STORE_OK, "no bucket");
    put(set, "k", number, SIZE_NEW);

    s3_set_client_close(set);
    leaks = s3_every_stop(set, 1);
    check(leaks == 0, "the store process has leaked memory: %d", leaks);
    check(s3_every_leaks() == 0, "the client has leaked memory");

    s3_set_start(set);
    s3_set_client(set);
    check(s3_set_state(set, S3_STORE_OK, WAIT), "it does not start again");
    check(s3_set_whole(set, WAIT), "the set is not whole after a start");
    check(reads(set, "k", number, SIZE_NEW), "what was put does not read");
    check(s3_set_repaired(set, 1, WAIT), "%u files in data/, %u in tmp/",
          s3_set_files(set, "data"), s3_set_files(set, "tmp"));

    s3_set_client_close(set);
    (void) s3_every_stop(set, 0);
    s3_set_free(set);
    s3_test_dir_free(strdup(path));

    if (s3_every_hit()) {
        count->done += formed;
        count->failed += !formed;
    }

    return calls;
}


static void
series_kind(const series_t *series, s3_every_kind_e kind, unsigned *number)
{
    count_t   count;
    once_pt   one;
    unsigned  n, calls, i, met, most;

    memset(&count, 0, sizeof(count_t));
    one = series->op->run ? once : once_formed;

    if (series->n) {
        (void) one(series, kind, series->n, (*number)++, &count);
        round_end(series);
        return;
    }

    calls = one(series, kind, UINT_MAX, (*number)++, &count);
    met = 0;

    most = kind == S3_EVERY_HANG && series->parity == 1 ? HANGS
           : series->op->slow ? SLOW
           : kind >= S3_EVERY_NOMEM && calls > MOST ? MOST : 0;

    if (series->most && (most == 0 || most > series->most)) {
        most = series->most;
    }

    if (most == 0) {
        do {
            (void) one(series, kind, ++met, (*number)++, &count);
        } while (s3_every_hit());

        met--;

    } else {
        for (i = 0; i < most && calls; i++) {
            n = 1 + i * calls / most + random_next(calls / most + 1);
            (void) one(series, kind, n, (*number)++, &count);
            met += s3_every_hit();
        }
    }

    round_end(series);

    (void) printf("    %-14s %u+%u %-9s %5u calls, %4u met: %u succeeded, "
                  "%u failed; store process ended %u times\n",
                  series->op->name, series->ndisks - series->parity,
                  series->parity, s3_every_kinds[kind], calls, met,
                  count.done, count.failed, s3_every_deaths());
    (void) fflush(stdout);
}


static void
set_up(const series_t *series)
{
    set = s3_set_create(series->dir, series->ndisks, series->parity);
    set->late = LATE;
    set->conf.late = LATE;
    set->scrub = strcmp(series->op->name, "scrub") == 0;
    s3_set_start(set);
    s3_set_client(set);
    assert_true(s3_set_state(set, S3_STORE_OK, WAIT));
    assert_true(s3_set_whole(set, WAIT));
    assert_int_equal(s3_set_bucket_create(set, BUCKET), S3_STORE_OK);
    descriptors_learn();
}


static void
series_run(const series_t *series)
{
    int       kind;
    char      path[PATH_MAX];
    unsigned  number;

    /* a failed assertion ends the process */

    assert_int_equal(setenv("CMOCKA_TEST_ABORT", "1", 1), 0);
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);

    (void) snprintf(path, sizeof(path), "%s/log", series->dir);
    assert_non_null(freopen(path, "a", stdout));
    assert_int_not_equal(dup2(fileno(stdout), 2), -1);

    seed = series->seed;
    s3_every_start(series->dir);

    if (series->op->run) {
        set_up(series);
    }

    number = 0;

    for (kind = 0; kind < S3_EVERY_LAST; kind++) {
        if (series->kind == kind
            || (series->kind == -1 && ((series->faults >> kind) & 1)))
        {
            series_kind(series, kind, &number);
        }
    }

    if (series->op->run) {
        s3_set_client_close(set);
        (void) s3_every_stop(set, 0);
    }

    (void) fflush(stdout);
    _exit(0);
}


/* --- all of them --- */

static void
log_print(const char *dir, int all)
{
    char   line[4096], path[PATH_MAX];
    FILE  *f;

    (void) snprintf(path, sizeof(path), "%s/log", dir);
    f = fopen(path, "r");

    while (f && fgets(line, sizeof(line), f)) {
        if (all || strncmp(line, "    ", 4) == 0) {
            (void) printf("%s", line);
        }
    }

    if (f) {
        (void) fclose(f);
    }
}


static unsigned
series_end(series_t *series, unsigned n)
{
    int       status;
    pid_t     pid;
    unsigned  i;

    pid = wait(&status);
    assert_int_not_equal(pid, -1);

    for (i = 0; i < n; i++) {
        if (series[i].pid == pid) {
            log_print(series[i].dir, status != 0);
            s3_test_dir_free(series[i].dir);
            series[i].pid = 0;

            if (status != 0) {
                print_error("%s, %u disks: status %x, seed %llu\n",
                            series[i].op->name, series[i].ndisks, status,
                            (unsigned long long) series[i].seed);
                return 1;
            }
        }
    }

    return 0;
}


static unsigned
number_of(const char *name, unsigned otherwise)
{
    return getenv(name) ? strtoul(getenv(name), NULL, 10) : otherwise;
}


static void
test_every(void **state)
{
    int         kind, first, last;
    char        op[32], fault[32];
    series_t   *series, *s;
    unsigned    i, n, running, jobs, most, failures, k, only;

    jobs = number_of("S3_EVERY_JOBS", 8);
    most = number_of("S3_EVERY", 1);            /* all: 0 */

    op[0] = '\0';
    fault[0] = '\0';
    only = 0;

    if (getenv("S3_EVERY_ONLY")) {
        (void) sscanf(getenv("S3_EVERY_ONLY"), "%31[^:]:%31[^:]:%u", op,
                      fault, &only);
    }

    series = calloc(2 * NOPS * S3_EVERY_LAST, sizeof(series_t));
    assert_non_null(series);
    n = 0;

    for (i = 0; i < NOPS; i++) {
        if (op[0] && strcmp(op, "any") != 0 && strcmp(op, ops[i].name) != 0) {
            continue;
        }

        /* each fault a series where there is much to do */

        first = most && !fault[0] ? -1 : 0;
        last = most && !fault[0] ? 0 : S3_EVERY_LAST;

        for (kind = first; kind < last; kind++) {
            if (fault[0] && strcmp(fault, s3_every_kinds[kind]) != 0) {
                continue;
            }

            for (k = 0; k < 2; k++) {
                if (4 - 2 * k < ops[i].ndisks) {
                    continue;
                }

                s = &series[n++];
                s->op = &ops[i];
                s->kind = kind;
                s->ndisks = 4 - 2 * k;
                s->parity = 2 - k;
                s->most = most;
                s->faults = getenv("S3_EVERY") ? ~0U
                            : 1U << random_next(S3_EVERY_LAST)
                              | 1U << random_next(S3_EVERY_LAST);
                s->n = only;
                s->seed = seed + n;
            }
        }
    }

    assert_true(n > 0);
    running = 0;
    failures = 0;

    (void) printf("S3_EVERY_SEED=%llu\n", (unsigned long long) seed);
    (void) fflush(stdout);

    for (i = 0; i < n; i++) {
        if (running == jobs) {
            failures += series_end(series, n);
            running--;
        }

        series[i].dir = s3_test_dir();
        (void) fflush(stdout);
        series[i].pid = fork();
        assert_int_not_equal(series[i].pid, -1);

        if (series[i].pid == 0) {
            series_run(&series[i]);
        }

        running++;
    }

    while (running--) {
        failures += series_end(series, n);
    }

    free(series);
    assert_int_equal(failures, 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_every),
    };

    seed = getenv("S3_EVERY_SEED")
           ? strtoull(getenv("S3_EVERY_SEED"), NULL, 10)
           : (uint64_t) time(NULL) * 1000003;

    return cmocka_run_group_tests(tests, NULL, NULL);
}
