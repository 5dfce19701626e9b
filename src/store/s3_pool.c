
/*
 * Who holds what:
 *
 *     pool   one reference of its owner until s3_pool_leave(), one a thread;
 *            the last frees it
 *     loop   one of its owner until s3_loop_close(), one a pool, one a task
 *            from s3_pool_post() until done is called or the task is dropped
 *
 * Lock order: a pool's mutex and a loop's are never held together.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* unshare(), pthread_setname_np() */
#endif

#include "s3_pool.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>


#define S3_POOL_STACK        (256 * 1024)
#define S3_POOL_MAX_THREADS  32


struct s3_loop_s {
    pthread_mutex_t    mutex;
    s3_task_t         *first;          /* that came back */
    s3_task_t        **last;
    unsigned           refs;
    int                fd;             /* eventfd */
    int                closed;
    int                processing;     /* owner's thread only */
};


typedef struct {
    pthread_cond_t     cond;
    s3_task_t         *first;
    s3_task_t        **last;
    unsigned           waiting;
    unsigned           queue;
    unsigned           threads;
} s3_lane_t;


typedef enum {
    S3_POOL_STARTING = 0,
    S3_POOL_RUNNING,
    S3_POOL_LEAVING
} s3_pool_state_e;


struct s3_pool_s {
    pthread_mutex_t    mutex;
    pthread_cond_t     started;
    s3_pool_state_e    state;
    int                error;          /* why it did not start */
    unsigned           refs;
    unsigned           nlanes;
    unsigned           next;           /* lane of the thread created next */
    int                own_files;
    s3_loop_t         *loop;
    char               name[16];       /* of the threads, as the kernel's */
    s3_lane_t          lanes[S3_POOL_MAX_LANES];
};


static void s3_loop_ref(s3_loop_t *loop);
static void s3_loop_unref(s3_loop_t *loop, unsigned n);
static void s3_loop_signal(s3_loop_t *loop);
static void s3_loop_return(s3_loop_t *loop, s3_task_t *task);

static int s3_pool_threads(s3_pool_t *pool);
static int s3_pool_thread(s3_pool_t *pool, void *(*start)(void *));
static int s3_pool_own_files(s3_pool_t *pool);
static int s3_pool_close_others(int keep);
static void *s3_pool_first(void *data);
static void *s3_pool_other(void *data);
static void s3_pool_work(s3_pool_t *pool, s3_lane_t *lane);
static void s3_pool_unref(s3_pool_t *pool);


uint64_t
s3_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


s3_loop_t *
s3_loop_create(void)
{
    int         err;
    s3_loop_t  *loop;

    loop = calloc(1, sizeof(s3_loop_t));
    if (loop == NULL) {
        return NULL;
    }

    loop->fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (loop->fd == -1) {
        err = errno;
        free(loop);
        errno = err;
        return NULL;
    }

    (void) pthread_mutex_init(&loop->mutex, NULL);
    loop->last = &loop->first;
    loop->refs = 1;

    return loop;
}


int
s3_loop_fd(s3_loop_t *loop)
{
    return loop->fd;
}


int
s3_loop_process(s3_loop_t *loop)
{
    int         n, closed;
    unsigned    dropped;
    uint64_t    count;
    s3_task_t  *task, *next;

    /* a done handler that processes: what came back waits for the caller
     * below it, or tasks would be done out of order and without bound of
     * the stack */

    if (loop->processing) {
        return 0;
    }

    loop->processing = 1;
    s3_loop_ref(loop);

    /* the count is of no use, and there is none (EAGAIN) when called
     * without cause; read before the list is taken: who comes back after
     * that writes again */

    if (read(loop->fd, &count, sizeof(uint64_t)) == -1) {
        count = 0;
    }

    (void) pthread_mutex_lock(&loop->mutex);

    task = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;

    (void) pthread_mutex_unlock(&loop->mutex);

    n = 0;
    dropped = 0;
    closed = 0;

    for ( /* void */ ; task != NULL; task = next) {
        next = task->next;

        if (closed) {
            dropped++;
            continue;
        }

        task->done(task);

        /* the task may be gone, or be posted again */

        s3_loop_unref(loop, 1);
        n++;

        /* closed by its owner, that is by this thread */

        closed = loop->closed;
    }

    loop->processing = 0;
    s3_loop_unref(loop, dropped + 1);

    return n;
}


int
s3_loop_wait(s3_loop_t *loop, int timeout)
{
    struct pollfd  pfd;

    pfd.fd = loop->fd;
    pfd.events = POLLIN;
    pfd.revents = 0;

    (void) poll(&pfd, 1, timeout);

    return s3_loop_process(loop);
}


void
s3_loop_wake(s3_loop_t *loop)
{
    (void) pthread_mutex_lock(&loop->mutex);

    if (!loop->closed) {
        s3_loop_signal(loop);
    }

    (void) pthread_mutex_unlock(&loop->mutex);
}


void
s3_loop_close(s3_loop_t *loop)
{
    unsigned    dropped;
    s3_task_t  *task;

    (void) pthread_mutex_lock(&loop->mutex);

    loop->closed = 1;
    dropped = 0;

    for (task = loop->first; task != NULL; task = task->next) {
        dropped++;
    }

    loop->first = NULL;
    loop->last = &loop->first;

    /* under the mutex: a thread that shares this table must not signal a
     * descriptor that has got the same number */

    (void) close(loop->fd);

    (void) pthread_mutex_unlock(&loop->mutex);

    s3_loop_unref(loop, dropped + 1);
}


static void
s3_loop_ref(s3_loop_t *loop)
{
    (void) pthread_mutex_lock(&loop->mutex);

    loop->refs++;

    (void) pthread_mutex_unlock(&loop->mutex);
}


static void
s3_loop_unref(s3_loop_t *loop, unsigned n)
{
    unsigned  refs;

    (void) pthread_mutex_lock(&loop->mutex);

    loop->refs -= n;
    refs = loop->refs;

    (void) pthread_mutex_unlock(&loop->mutex);

    if (refs == 0) {
        (void) pthread_mutex_destroy(&loop->mutex);
        free(loop);
    }
}


/* under the mutex, not closed */

static void
s3_loop_signal(s3_loop_t *loop)
{
    uint64_t  one;

    one = 1;

    while (write(loop->fd, &one, sizeof(uint64_t)) == -1 && errno == EINTR) {
        /* EAGAIN: the counter is full, hence readable */
    }
}


static void
s3_loop_return(s3_loop_t *loop, s3_task_t *task)
{
    int  closed;

    (void) pthread_mutex_lock(&loop->mutex);

    closed = loop->closed;

    if (!closed) {
        if (loop->first == NULL) {
            s3_loop_signal(loop);
        }

        task->next = NULL;
        *loop->last = task;
        loop->last = &task->next;
    }

    (void) pthread_mutex_unlock(&loop->mutex);

    if (closed) {
        s3_loop_unref(loop, 1);
    }
}


s3_pool_t *
s3_pool_create(const char *name, const s3_lane_conf_t *lanes,
    unsigned nlanes, s3_loop_t *loop, int own_files)
{
    int         err;
    unsigned    i;
    sigset_t    all, old;
    s3_lane_t  *lane;
    s3_pool_t  *pool;

    if (nlanes == 0 || nlanes > S3_POOL_MAX_LANES) {
        errno = EINVAL;
        return NULL;
    }

    for (i = 0; i < nlanes; i++) {
        if (lanes[i].threads == 0 || lanes[i].threads > S3_POOL_MAX_THREADS
            || lanes[i].queue == 0)
        {
            errno = EINVAL;
            return NULL;
        }
    }

    pool = calloc(1, sizeof(s3_pool_t));
    if (pool == NULL) {
        return NULL;
    }

    (void) pthread_mutex_init(&pool->mutex, NULL);
    (void) pthread_cond_init(&pool->started, NULL);
    (void) snprintf(pool->name, sizeof(pool->name), "%s", name);

    pool->refs = 1;
    pool->nlanes = nlanes;
    pool->own_files = own_files;
    pool->loop = loop;
    s3_loop_ref(loop);

    for (i = 0; i < nlanes; i++) {
        lane = &pool->lanes[i];
        (void) pthread_cond_init(&lane->cond, NULL);
        lane->last = &lane->first;
        lane->queue = lanes[i].queue;
        lane->threads = lanes[i].threads;
    }

    /* inherited by the first thread, and from it by the others: signals are
     * the process's owner's */

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    err = s3_pool_thread(pool, s3_pool_first);

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    (void) pthread_mutex_lock(&pool->mutex);

    if (err == 0) {
        while (pool->state == S3_POOL_STARTING) {
            (void) pthread_cond_wait(&pool->started, &pool->mutex);
        }

        err = pool->error;
    }

    (void) pthread_mutex_unlock(&pool->mutex);

    if (err) {
        s3_pool_leave(pool);
        errno = err;
        return NULL;
    }

    return pool;
}


int
s3_pool_post(s3_pool_t *pool, unsigned lane, s3_task_t *task)
{
    s3_lane_t  *l;

    assert(lane < pool->nlanes);
    assert(task->loop != NULL && task->run != NULL && task->done != NULL);

    /* the eventfd of no other loop is left in the table of its threads */

    assert(!pool->own_files || task->loop == pool->loop);

    l = &pool->lanes[lane];

    /* before the task can come back */

    s3_loop_ref(task->loop);

    (void) pthread_mutex_lock(&pool->mutex);

    if (pool->state != S3_POOL_RUNNING) {
        (void) pthread_mutex_unlock(&pool->mutex);
        s3_loop_unref(task->loop, 1);
        return ESHUTDOWN;
    }

    if (l->waiting >= l->queue) {
        (void) pthread_mutex_unlock(&pool->mutex);
        s3_loop_unref(task->loop, 1);
        return EAGAIN;
    }

    task->posted = s3_now();
    task->next = NULL;
    *l->last = task;
    l->last = &task->next;
    l->waiting++;

    (void) pthread_cond_signal(&l->cond);
    (void) pthread_mutex_unlock(&pool->mutex);

    return 0;
}


unsigned
s3_pool_waiting(s3_pool_t *pool, unsigned lane)
{
    unsigned  n;

    assert(lane < pool->nlanes);

    (void) pthread_mutex_lock(&pool->mutex);

    n = pool->lanes[lane].waiting;

    (void) pthread_mutex_unlock(&pool->mutex);

    return n;
}


void
s3_pool_leave(s3_pool_t *pool)
{
    unsigned  i;

    (void) pthread_mutex_lock(&pool->mutex);

    pool->state = S3_POOL_LEAVING;

    for (i = 0; i < pool->nlanes; i++) {
        (void) pthread_cond_broadcast(&pool->lanes[i].cond);
    }

    (void) pthread_mutex_unlock(&pool->mutex);

    s3_pool_unref(pool);
}


static void
s3_pool_unref(s3_pool_t *pool)
{
    unsigned  i, refs;

    (void) pthread_mutex_lock(&pool->mutex);

    refs = --pool->refs;

    (void) pthread_mutex_unlock(&pool->mutex);

    if (refs) {
        return;
    }

    for (i = 0; i < pool->nlanes; i++) {
        assert(pool->lanes[i].first == NULL);
        (void) pthread_cond_destroy(&pool->lanes[i].cond);
    }

    (void) pthread_cond_destroy(&pool->started);
    (void) pthread_mutex_destroy(&pool->mutex);

    s3_loop_unref(pool->loop, 1);

    free(pool);
}


/* creates one thread, with a reference to the pool; 0 or an error number */

static int
s3_pool_thread(s3_pool_t *pool, void *(*start)(void *))
{
    int             rc;
    pthread_t       tid;
    pthread_attr_t  attr;

    rc = pthread_attr_init(&attr);
    if (rc) {
        return rc;
    }

    (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

    rc = pthread_attr_setstacksize(&attr, S3_POOL_STACK);

    if (rc == 0) {
        (void) pthread_mutex_lock(&pool->mutex);
        pool->refs++;
        (void) pthread_mutex_unlock(&pool->mutex);

        rc = pthread_create(&tid, &attr, start, pool);

        if (rc) {
            s3_pool_unref(pool);
        }
    }

    (void) pthread_attr_destroy(&attr);

    return rc;
}


/*
 * The first thread takes the pool's own descriptor table and then creates
 * the others, which share it: pthread_create() is clone(CLONE_FILES).
 */

static void *
s3_pool_first(void *data)
{
    s3_pool_t *pool = data;

    int  rc;

    (void) pthread_setname_np(pthread_self(), pool->name);

    rc = pool->own_files ? s3_pool_own_files(pool) : 0;

    if (rc == 0) {
        rc = s3_pool_threads(pool);
    }

    (void) pthread_mutex_lock(&pool->mutex);

    pool->error = rc;
    pool->state = rc ? S3_POOL_LEAVING : S3_POOL_RUNNING;

    (void) pthread_cond_signal(&pool->started);
    (void) pthread_mutex_unlock(&pool->mutex);

    s3_pool_work(pool, &pool->lanes[0]);
    s3_pool_unref(pool);

    return NULL;
}


static int
s3_pool_threads(s3_pool_t *pool)
{
    int       rc;
    unsigned  i, n;

    /* this thread is the first of lane 0 */

    n = 1;

    for (i = 0; i < pool->nlanes; i++) {

        for ( /* void */ ; n < pool->lanes[i].threads; n++) {

            rc = s3_pool_thread(pool, s3_pool_other);
            if (rc) {
                return rc;
            }
        }

        n = 0;
    }

    return 0;
}


static void *
s3_pool_other(void *data)
{
    s3_pool_t *pool = data;

    unsigned    i, n;

    (void) pthread_setname_np(pthread_self(), pool->name);

    /* the n-th thread, the first not counted, belongs to the lane in which
     * that number falls */

    (void) pthread_mutex_lock(&pool->mutex);

    n = ++pool->next;

    (void) pthread_mutex_unlock(&pool->mutex);

    for (i = 0; n >= pool->lanes[i].threads; i++) {
        n -= pool->lanes[i].threads;
    }

    s3_pool_work(pool, &pool->lanes[i]);
    s3_pool_unref(pool);

    return NULL;
}


static void
s3_pool_work(s3_pool_t *pool, s3_lane_t *lane)
{
    s3_task_t  *task;

    (void) pthread_mutex_lock(&pool->mutex);

    for ( ;; ) {

        task = lane->first;

        if (task == NULL) {
            if (pool->state == S3_POOL_LEAVING) {
                break;
            }

            (void) pthread_cond_wait(&lane->cond, &pool->mutex);
            continue;
        }

        lane->first = task->next;

        if (lane->first == NULL) {
            lane->last = &lane->first;
        }

        lane->waiting--;

        (void) pthread_mutex_unlock(&pool->mutex);

        task->run(task);
        s3_loop_return(task->loop, task);

        (void) pthread_mutex_lock(&pool->mutex);
    }

    (void) pthread_mutex_unlock(&pool->mutex);
}


static int
s3_pool_own_files(s3_pool_t *pool)
{
    int  keep;

    if (unshare(CLONE_FILES) == -1) {
        return errno;
    }

    keep = pool->loop->fd;

#ifdef SYS_close_range

    /* Linux 5.9; older ones, and sandboxes that do not know it, refuse */

    if ((keep <= 3 || syscall(SYS_close_range, 3, keep - 1, 0) == 0)
        && syscall(SYS_close_range, keep < 3 ? 3 : keep + 1, ~0U, 0) == 0)
    {
        return 0;
    }

#endif

    return s3_pool_close_others(keep);
}


static int
s3_pool_close_others(int keep)
{
    int             fd, n;
    DIR            *d;
    struct dirent  *entry;

    /* not "self", which is the table of the process's first thread */

    d = opendir("/proc/thread-self/fd");
    if (d == NULL) {
        return errno;
    }

    /* the listing changes while it is read: until there is nothing left */

    do {
        n = 0;
        rewinddir(d);

        for ( ;; ) {
            entry = readdir(d);
            if (entry == NULL) {
                break;
            }

            fd = atoi(entry->d_name);

            if (fd < 3 || fd == keep || fd == dirfd(d)) {
                continue;
            }

            (void) close(fd);
            n++;
        }

    } while (n);

    (void) closedir(d);

    return 0;
}
