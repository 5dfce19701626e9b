#ifndef _S3_PROCESS_H_INCLUDED_
#define _S3_PROCESS_H_INCLUDED_


/*
 * The store process: the one owner of a set's metadata.  Threads of ours in a
 * process that somebody else started (nginx's cache manager; a test).
 * Crash-only: it may be ended at any instruction, and every start is a
 * recovery.
 */


#include "s3_conf.h"


typedef struct s3_process_s   s3_process_t;


/*
 * Starts the brain thread (all signals blocked in it) and returns at once; it
 * waits for the store's lock, recovers, then serves the socket in
 * conf->runtime.  conf is copied.  NULL with errno.
 */
s3_process_t *s3_process_start(const s3_conf_t *conf);

/*
 * For the exit handler of the process: returns when no worker is connected, or
 * about to be, a successor waits for the lock, or ms have passed.  One that
 * waits for the lock itself returns when nobody counts on it any more.  Any
 * thread; once.
 */
void s3_process_linger(s3_process_t *p, unsigned ms);


#endif /* _S3_PROCESS_H_INCLUDED_ */
