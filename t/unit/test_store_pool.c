
#include "s3_test.h"
#include "s3_pool.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>


#define NTASKS    1000
#define DEADLINE  20000     /* ms, for what must happen soon */


typedef struct {
    s3_task_t      task;
    unsigned       number;
    s3_pool_t     *pool;
} pool_task_t;


/* holds a thread until it is opened */

typedef struct {
    pthread_mutex_t  mutex;
    pthread_cond_t   cond;
    unsigned         entered;
    unsigned         left;
    int              open;
} pool_gate_t;


static pool_gate_t   pool_gate = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .cond = PTHREAD_COND_INITIALIZER
};
static unsigned      pool_ran, pool_done;
static unsigned      pool_order[NTASKS];


static int
pool_setup(void **state)
{
    pthread_mutex_lock(&pool_gate.mutex);
    pool_gate.entered = 0;
    pool_gate.left = 0;
    pool_gate.open = 0;
    pthread_mutex_unlock(&pool_gate.mutex);

    pool_ran = 0;
    pool_done = 0;

    *state = s3_loop_create();
    assert_non_null(*state);

    return 0;
}


static int
pool_teardown(void **state)
{
    if (*state != NULL) {
        s3_loop_close(*state);
    }

    return 0;
}


static void
gate_run(s3_task_t *task)
{
    pthread_mutex_lock(&pool_gate.mutex);

    pool_gate.entered++;
    pthread_cond_broadcast(&pool_gate.cond);

    while (!pool_gate.open) {
        pthread_cond_wait(&pool_gate.cond, &pool_gate.mutex);
    }

    pool_gate.left++;
    pthread_cond_broadcast(&pool_gate.cond);

    pthread_mutex_unlock(&pool_gate.mutex);
}


static void
gate_wait(unsigned n)
{
    pthread_mutex_lock(&pool_gate.mutex);

    while (pool_gate.entered < n) {
        pthread_cond_wait(&pool_gate.cond, &pool_gate.mutex);
    }

    pthread_mutex_unlock(&pool_gate.mutex);
}


/* and waits until all who entered have left */

static void
gate_open(void)
{
    pthread_mutex_lock(&pool_gate.mutex);

    pool_gate.open = 1;
    pthread_cond_broadcast(&pool_gate.cond);

    while (pool_gate.left < pool_gate.entered) {
        pthread_cond_wait(&pool_gate.cond, &pool_gate.mutex);
    }

    pthread_mutex_unlock(&pool_gate.mutex);
}


static void
count_run(s3_task_t *task)
{
    __atomic_fetch_add(&pool_ran, 1, __ATOMIC_SEQ_CST);
    task->error = 42;
}


static void
count_done(s3_task_t *task)
{
    pool_task_t *pt = task->data;

    pool_order[pool_done++] = pt->number;
}


static void
pool_task(pool_task_t *pt, s3_loop_t *loop, s3_task_pt run, unsigned number)
{
    memset(pt, 0, sizeof(pool_task_t));
    pt->task.loop = loop;
    pt->task.run = run;
    pt->task.done = count_done;
    pt->task.data = pt;
    pt->number = number;
}


static void
wait_done(s3_loop_t *loop, unsigned n)
{
    uint64_t  end;

    end = s3_now() + DEADLINE;

    while (pool_done < n) {
        assert_true(s3_now() < end);
        s3_loop_wait(loop, 100);
    }

    assert_int_equal(pool_done, n);
}


static void
order(void **state)
{
    uint64_t             now;
    unsigned             i;
    s3_loop_t           *loop = *state;
    s3_pool_t           *pool;
    static pool_task_t   tasks[NTASKS];
    s3_lane_conf_t       lane = { 1, NTASKS };

    pool = s3_pool_create("order", &lane, 1, loop, 0);
    assert_non_null(pool);

    now = s3_now();

    for (i = 0; i < NTASKS; i++) {
        pool_task(&tasks[i], loop, count_run, i);
        assert_int_equal(s3_pool_post(pool, 0, &tasks[i].task), 0);
    }

    wait_done(loop, NTASKS);

    for (i = 0; i < NTASKS; i++) {
        assert_int_equal(pool_order[i], i);
        assert_int_equal(tasks[i].task.error, 42);
        assert_in_range(tasks[i].task.posted, now, s3_now());
    }

    assert_int_equal(s3_loop_process(loop), 0);
    s3_pool_leave(pool);
}


static void
bounds(void **state)
{
    unsigned         i;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    pool_task_t      tasks[6];
    s3_lane_conf_t   lanes[2] = { { 1, 3 }, { 1, 1 } };

    pool = s3_pool_create("bounds", lanes, 2, loop, 0);
    assert_non_null(pool);

    for (i = 0; i < 6; i++) {
        pool_task(&tasks[i], loop, i == 0 ? gate_run : count_run, i);
    }

    assert_int_equal(s3_pool_post(pool, 0, &tasks[0].task), 0);
    gate_wait(1);

    for (i = 1; i < 4; i++) {
        assert_int_equal(s3_pool_waiting(pool, 0), i - 1);
        assert_int_equal(s3_pool_post(pool, 0, &tasks[i].task), 0);
    }

    assert_int_equal(s3_pool_post(pool, 0, &tasks[4].task), EAGAIN);
    assert_int_equal(s3_pool_waiting(pool, 0), 3);

    /* the other lane knows nothing of it */

    assert_int_equal(s3_pool_post(pool, 1, &tasks[5].task), 0);
    wait_done(loop, 1);
    assert_int_equal(pool_order[0], 5);

    gate_open();
    wait_done(loop, 5);
    assert_int_equal(s3_pool_waiting(pool, 0), 0);

    assert_int_equal(s3_pool_post(pool, 0, &tasks[4].task), 0);
    wait_done(loop, 6);

    s3_pool_leave(pool);
}


static void
all_threads(void **state)
{
    unsigned         i;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    pool_task_t      tasks[9];
    s3_lane_conf_t   lanes[4] = { { 2, 9 }, { 1, 9 }, { 4, 9 }, { 1, 9 } };
    static unsigned  lane_of[9] = { 0, 0, 1, 2, 2, 2, 2, 3, 3 };

    pool = s3_pool_create("all", lanes, 4, loop, 0);
    assert_non_null(pool);

    /* as many as there are threads, each held: the ninth must wait */

    for (i = 0; i < 9; i++) {
        pool_task(&tasks[i], loop, gate_run, i);
        assert_int_equal(s3_pool_post(pool, lane_of[i], &tasks[i].task), 0);
    }

    gate_wait(8);
    assert_int_equal(s3_pool_waiting(pool, 3), 1);
    assert_int_equal(pool_gate.entered, 8);

    gate_open();
    wait_done(loop, 9);
    s3_pool_leave(pool);
}


static void
again_done(s3_task_t *task)
{
    int           rc;
    pool_task_t  *pt = task->data;

    /* from inside: nothing is processed, whatever has come back */

    assert_int_equal(s3_loop_process(task->loop), 0);

    pool_done++;

    if (++pt->number < NTASKS) {
        rc = s3_pool_post(pt->pool, 0, task);
        assert_int_equal(rc, 0);
        return;
    }

    s3_pool_leave(pt->pool);
}


static void
post_and_leave_in_done(void **state)
{
    s3_loop_t       *loop = *state;
    pool_task_t      pt;
    s3_lane_conf_t   lane = { 1, 1 };

    pool_task(&pt, loop, count_run, 0);
    pt.task.done = again_done;
    pt.pool = s3_pool_create("again", &lane, 1, loop, 0);
    assert_non_null(pt.pool);

    assert_int_equal(s3_pool_post(pt.pool, 0, &pt.task), 0);
    wait_done(loop, NTASKS);
    assert_int_equal(pool_ran, NTASKS);
}


static void
leave(void **state)
{
    unsigned         i;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    pool_task_t      tasks[4];
    s3_lane_conf_t   lane = { 1, 8 };

    pool = s3_pool_create("leave", &lane, 1, loop, 0);
    assert_non_null(pool);

    for (i = 0; i < 4; i++) {
        pool_task(&tasks[i], loop, i == 0 ? gate_run : count_run, i);
    }

    for (i = 0; i < 3; i++) {
        assert_int_equal(s3_pool_post(pool, 0, &tasks[i].task), 0);
    }

    gate_wait(1);
    s3_pool_leave(pool);

    /* its thread is held, hence the pool is still there */

    assert_int_equal(s3_pool_post(pool, 0, &tasks[3].task), ESHUTDOWN);

    gate_open();
    wait_done(loop, 3);
    assert_int_equal(pool_ran, 2);
}


/* what a thread does after its task's loop was closed is seen by asan alone;
 * here: nothing is called, and everything comes to an end */

static void
close_while_out(void **state)
{
    unsigned         i;
    uint64_t         end;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    s3_lane_conf_t   lane = { 1, 8 };

    static pool_task_t  tasks[4];       /* lost, as the contract says */

    pool = s3_pool_create("closed", &lane, 1, loop, 0);
    assert_non_null(pool);

    /* one back and not processed, one running, two waiting */

    for (i = 0; i < 4; i++) {
        pool_task(&tasks[i], loop, i == 1 ? gate_run : count_run, i);
        assert_int_equal(s3_pool_post(pool, 0, &tasks[i].task), 0);
    }

    gate_wait(1);

    s3_loop_close(loop);
    *state = NULL;

    s3_pool_leave(pool);
    gate_open();

    end = s3_now() + DEADLINE;

    while (__atomic_load_n(&pool_ran, __ATOMIC_SEQ_CST) < 3) {
        assert_true(s3_now() < end);
        poll(NULL, 0, 1);
    }

    assert_int_equal(pool_done, 0);
}


static void
close_done(s3_task_t *task)
{
    pool_done++;
    s3_loop_close(task->loop);
}


static void
close_in_done(void **state)
{
    unsigned         i;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    s3_lane_conf_t   lane = { 1, 8 };

    static pool_task_t  tasks[3];       /* lost, too */

    pool = s3_pool_create("closing", &lane, 1, loop, 0);
    assert_non_null(pool);

    for (i = 0; i < 3; i++) {
        pool_task(&tasks[i], loop, i == 2 ? gate_run : count_run, i);
        tasks[i].task.done = close_done;
        assert_int_equal(s3_pool_post(pool, 0, &tasks[i].task), 0);
    }

    /* the first two are back: the first one's handler closes */

    gate_wait(1);
    assert_int_equal(s3_loop_process(loop), 1);
    *state = NULL;

    assert_int_equal(pool_done, 1);

    s3_pool_leave(pool);
    gate_open();
}


static void *
wake_thread(void *data)
{
    s3_loop_wake(data);
    return NULL;
}


static void
wake(void **state)
{
    uint64_t    start;
    pthread_t   tid;
    s3_loop_t  *loop = *state;

    start = s3_now();
    assert_int_equal(s3_loop_wait(loop, 30), 0);
    assert_true(s3_now() - start >= 29);

    assert_int_equal(pthread_create(&tid, NULL, wake_thread, loop), 0);

    start = s3_now();
    assert_int_equal(s3_loop_wait(loop, DEADLINE), 0);
    assert_true(s3_now() - start < DEADLINE / 2);

    pthread_join(tid, NULL);
}


/* --- own files --- */

static char        *files_dir;
static int          files_fd;      /* opened before the pool was created */
static int          files_own;     /* opened by a thread of the pool */
static struct stat  files_stat;


static void
files_look(s3_task_t *task)
{
    int  fd;

    task->error = 0;

    if (fcntl(files_fd, F_GETFD) != -1 || errno != EBADF) {
        task->error = 1;
        return;
    }

    for (fd = 3; fd < 1024; fd++) {
        if (fd != s3_loop_fd(task->loop) && fcntl(fd, F_GETFD) != -1) {
            task->error = fd;
            return;
        }
    }

    if (fcntl(s3_loop_fd(task->loop), F_GETFD) == -1) {
        task->error = 2;
    }
}


static void
files_open(s3_task_t *task)
{
    char  path[1024];

    (void) snprintf(path, sizeof(path), "%s/lock", files_dir);

    files_own = open(path, O_RDWR, 0600);

    task->error = (files_own == -1
                   || fstat(files_own, &files_stat) == -1
                   || flock(files_own, LOCK_EX|LOCK_NB) == -1)
                  ? errno : 0;
}


/* on another lane's thread: the table is the pool's, not the thread's */

static void
files_shared(s3_task_t *task)
{
    struct stat  st;

    task->error = fstat(files_own, &st) == -1 ? errno
                  : st.st_ino != files_stat.st_ino;
}


static void
own_files(void **state)
{
    char             path[1024];
    uint64_t         end;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    struct stat      st;
    pool_task_t      pt;
    s3_lane_conf_t   lanes[2] = { { 1, 8 }, { 2, 8 } };

    files_dir = s3_test_dir();
    (void) snprintf(path, sizeof(path), "%s/lock", files_dir);
    files_fd = open(path, O_CREAT|O_RDWR, 0600);
    assert_int_not_equal(files_fd, -1);

    pool = s3_pool_create("own", lanes, 2, loop, 1);
    assert_non_null(pool);

    /* its own threads closed nothing of ours */

    assert_int_equal(fstat(files_fd, &st), 0);
    assert_int_not_equal(fcntl(s3_loop_fd(loop), F_GETFD), -1);

    pool_task(&pt, loop, files_look, 0);
    assert_int_equal(s3_pool_post(pool, 1, &pt.task), 0);
    wait_done(loop, 1);
    assert_int_equal(pt.task.error, 0);

    pt.task.run = files_open;
    assert_int_equal(s3_pool_post(pool, 0, &pt.task), 0);
    wait_done(loop, 2);
    assert_int_equal(pt.task.error, 0);

    pt.task.run = files_shared;
    assert_int_equal(s3_pool_post(pool, 1, &pt.task), 0);
    wait_done(loop, 3);
    assert_int_equal(pt.task.error, 0);

    /* the pool alone holds the lock, and lets go of it when its last thread
     * has ended */

    assert_int_equal(flock(files_fd, LOCK_EX|LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);

    s3_pool_leave(pool);

    end = s3_now() + DEADLINE;

    while (flock(files_fd, LOCK_EX|LOCK_NB) == -1) {
        assert_int_equal(errno, EWOULDBLOCK);
        assert_true(s3_now() < end);
        poll(NULL, 0, 1);
    }

    close(files_fd);
    s3_test_dir_free(files_dir);
}


static void
thread_run(s3_task_t *task)
{
    char      name[16];
    sigset_t  set;

    task->error = 0;

    if (pthread_getname_np(pthread_self(), name, sizeof(name)) != 0
        || strcmp(name, "s3 a long name ") != 0)
    {
        task->error = 1;
    }

    if (pthread_sigmask(SIG_BLOCK, NULL, &set) != 0
        || !sigismember(&set, SIGTERM) || !sigismember(&set, SIGUSR2)
        || !sigismember(&set, SIGCHLD))
    {
        task->error = 2;
    }
}


static void
names_and_signals(void **state)
{
    sigset_t         set;
    s3_loop_t       *loop = *state;
    s3_pool_t       *pool;
    pool_task_t      pt;
    s3_lane_conf_t   lanes[2] = { { 1, 1 }, { 1, 1 } };

    pool = s3_pool_create("s3 a long name that is cut", lanes, 2, loop, 0);
    assert_non_null(pool);

    /* the caller's are what they were */

    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    assert_false(sigismember(&set, SIGTERM));

    pool_task(&pt, loop, thread_run, 0);
    assert_int_equal(s3_pool_post(pool, 0, &pt.task), 0);
    wait_done(loop, 1);
    assert_int_equal(pt.task.error, 0);

    assert_int_equal(s3_pool_post(pool, 1, &pt.task), 0);
    wait_done(loop, 2);
    assert_int_equal(pt.task.error, 0);

    s3_pool_leave(pool);
}


static void
refusals(void **state)
{
    s3_loop_t       *loop = *state;
    s3_lane_conf_t   none = { 0, 1 }, many = { 33, 1 }, queue = { 1, 0 };
    s3_lane_conf_t   lanes[5] = { { 1, 1 }, { 1, 1 }, { 1, 1 }, { 1, 1 },
                                  { 1, 1 } };

    errno = 0;
    assert_null(s3_pool_create("x", lanes, 0, loop, 0));
    assert_int_equal(errno, EINVAL);
    assert_null(s3_pool_create("x", lanes, 5, loop, 0));
    assert_null(s3_pool_create("x", &none, 1, loop, 0));
    assert_null(s3_pool_create("x", &many, 1, loop, 0));
    errno = 0;
    assert_null(s3_pool_create("x", &queue, 1, loop, 0));
    assert_int_equal(errno, EINVAL);
}


#define pool_test(name)                                                       \
    cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)


int
main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(order),
        pool_test(bounds),
        pool_test(all_threads),
        pool_test(post_and_leave_in_done),
        pool_test(leave),
        pool_test(close_while_out),
        pool_test(close_in_done),
        pool_test(wake),
        pool_test(own_files),
        pool_test(names_and_signals),
        pool_test(refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
