#ifndef _S3_POOL_H_INCLUDED_
#define _S3_POOL_H_INCLUDED_


/*
 * Threads with bounded queues, and the way back: a task runs on a thread of
 * its pool and is then handed back to the loop of its owner, where its done
 * handler is called.  Disks have a pool each (a hung disk eats nobody else's
 * threads), computing has one.
 *
 *     owner's loop               pool, lane l                 owner's loop
 *     s3_pool_post()  ------->   task->run()   -- eventfd -->  task->done()
 *
 * A pool has lanes: a queue with threads of its own each.  Tasks of a lane
 * start in the order they were posted; a lane of one thread also ends them in
 * that order.
 */


#include <stddef.h>
#include <stdint.h>


#define S3_POOL_MAX_LANES    4


typedef struct s3_loop_s   s3_loop_t;
typedef struct s3_pool_s   s3_pool_t;
typedef struct s3_task_s   s3_task_t;

typedef void (*s3_task_pt)(s3_task_t *task);


struct s3_task_s {
    s3_task_t    *next;      /* the pool's */
    s3_loop_t    *loop;      /* where done is called; set by the owner */
    s3_task_pt    run;       /* on a thread of the pool */
    s3_task_pt    done;      /* on the loop; the task is the owner's again */
    void         *data;      /* the owner's */
    uint64_t      posted;    /* ms, s3_now(); set by s3_pool_post() */
    int           error;     /* the owner's: errno of what run did, or 0 */
};


/* monotonic milliseconds; any thread */
uint64_t s3_now(void);


/*
 * The way back: an eventfd and a list.  One a worker (in s3_client_t), one in
 * the store process.  create returns NULL with errno.
 */
s3_loop_t *s3_loop_create(void);
int s3_loop_fd(s3_loop_t *loop);
/* calls done of every task that came back; returns their number.  done may
 * post tasks and destroy its own; owner's thread only. */
int s3_loop_process(s3_loop_t *loop);
/* blocks up to timeout ms until something comes back; then as process() */
int s3_loop_wait(s3_loop_t *loop, int timeout);
/* wakes the loop from any thread */
void s3_loop_wake(s3_loop_t *loop);
/* a loop stays allocated while pools hold tasks of it (they never come back
 * once it is closed: their memory is lost, which hung disks alone cause) */
void s3_loop_close(s3_loop_t *loop);


typedef struct {
    unsigned      threads;   /* 1 .. 32 */
    unsigned      queue;     /* tasks waiting at most */
} s3_lane_conf_t;


/*
 * s3_pool_create: starts the threads, all signals blocked in them.  With
 * own_files the pool's threads have a descriptor table of their own (unshare
 * CLONE_FILES), in which of the process's descriptors only 0-2 and the loop's
 * eventfd are left: a thread stuck in an uninterruptible call then keeps no
 * lock but its own disk's after the process has ended (ruling 12).  All its
 * tasks must have that loop.  Returns NULL with errno.
 */
s3_pool_t *s3_pool_create(const char *name, const s3_lane_conf_t *lanes,
    unsigned nlanes, s3_loop_t *loop, int own_files);

/* 0, or EAGAIN: the lane's queue is full, or ESHUTDOWN.  Any thread. */
int s3_pool_post(s3_pool_t *pool, unsigned lane, s3_task_t *task);

/* tasks waiting in a lane */
unsigned s3_pool_waiting(s3_pool_t *pool, unsigned lane);

/*
 * No new tasks; those waiting still run; the threads then end and the last
 * one frees the pool.  Never joins, never blocks (ruling: one hung disk must
 * not keep a process from leaving).
 */
void s3_pool_leave(s3_pool_t *pool);


#endif /* _S3_POOL_H_INCLUDED_ */
