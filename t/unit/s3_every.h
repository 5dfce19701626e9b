#ifndef _S3_EVERY_H_INCLUDED_
#define _S3_EVERY_H_INCLUDED_


/*
 * Faults in a whole store: the n-th call through the door, or the n-th
 * allocation, of the store process and of the client's process together.
 *
 *     s3_every_start(dir);
 *     s3_set_start(set); s3_set_client(set); ...
 *
 *     s3_every_arm(kind, n);
 *         ... an operation ...
 *     calls = s3_every_disarm();
 *     s3_every_hit(), s3_every_what()
 *
 *     s3_every_stop(set, 0);
 *
 * What counts is in memory that both processes have.  The store process has a
 * nanny between it and the test, which starts it again where it ended since
 * memory had run out (it does so by abort(), as nginx starts it again), and
 * tells of any other end.
 *
 * Allocations are those of src/ (a program that has them fail is linked with
 * libs3-every.a), of SQLite and of jansson.
 */


#include "s3_set.h"


typedef enum {
    S3_EVERY_EIO = 0,      /* the n-th call fails */
    S3_EVERY_DEAD,         /* so do all on its disk behind it */
    S3_EVERY_NOSPC,        /* the n-th of those that need room has none */
    S3_EVERY_FULL,         /* nor have any behind it, on all disks */
    S3_EVERY_SHORT,        /* the n-th read or write does half of it */
    S3_EVERY_SHORT_FULL,   /* and from then on there is no room */
    S3_EVERY_HANG,         /* it and all on its disk behind it do not return
                              until s3_every_disarm(): then they are made */
    S3_EVERY_NOMEM,        /* the n-th allocation, of src/ and jansson */
    S3_EVERY_SQLITE,       /* of SQLite */
    S3_EVERY_LAST
} s3_every_kind_e;


extern const char *const  s3_every_kinds[S3_EVERY_LAST];


/* dir: the set's.  Before the set's first process; once in a process. */
void s3_every_start(const char *dir);

/* n from 1; UINT_MAX: only counts */
void s3_every_arm(s3_every_kind_e kind, unsigned n);
/* calls counted since; those that hang go on */
unsigned s3_every_disarm(void);

/* whether the n-th was met; what it was, in static memory */
int s3_every_hit(void);
const char *s3_every_what(void);
/* the number of the disk it was on, -1: none of them, or no call */
int s3_every_disk(void);

/* how often memory has ended the store process */
unsigned s3_every_deaths(void);
/* wait status of a store process that ended otherwise; 0: none has */
int s3_every_crashed(void);

/*
 * descriptors of the store process, and of this one: of all threads, as disks'
 * threads have tables of their own
 */
unsigned s3_every_descriptors(int store);
/* on stderr */
void s3_every_descriptors_list(int store);

/*
 * the store process is killed, or, with leaks, looks for what it has leaked
 * (under ASan) and ends: its exit status then
 */
int s3_every_stop(s3_set_t *set, int leaks);
/* of this process; 0: none, or not under ASan */
int s3_every_leaks(void);


#endif /* _S3_EVERY_H_INCLUDED_ */
