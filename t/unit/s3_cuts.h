#ifndef _S3_CUTS_H_INCLUDED_
#define _S3_CUTS_H_INCLUDED_


/*
 * Power cuts of the whole store.
 *
 * A workload runs against a store process and a client in one process, every
 * call that reaches a disk recorded.  Then, for many cuts, the disks are
 * built as the cut could have left them, another process starts a store on
 * them, and what it finds is held against what was acknowledged before the
 * cut.
 *
 *     S3_POWERCUT_SEED=n      the seed of this run (printed)
 *     S3_POWERCUT_CUTS=n      cuts of a workload: so many, sampled, however
 *                             many there are
 *
 * A workload is up to S3_CUTS_OPS operations, one after the other, each on a
 * key of its own.  An operation is a number of steps, each of which is
 * answered before the next begins; after each its key is in another state.
 * Whatever the cut, the key must be in one of the states from the last step
 * that was answered before it to the last that had begun, whole.
 *
 * Every moment of the log is a cut of all disks, in three ways: what was not
 * synced is dropped, kept, torn.  Cuts that leave the same names and bytes
 * are looked at once, held against what all of them demand: the latest step
 * answered and the earliest not begun.  Then, sampled, each disk is cut at a
 * moment of its own, and up to m disks are lost with the power.
 */


#include "s3_test.h"

#include "s3_set.h"


#define S3_CUTS_DISKS    4
#define S3_CUTS_PARITY   2
#define S3_CUTS_QUORUM   (S3_CUTS_DISKS - S3_CUTS_PARITY)
#define S3_CUTS_OPS      3          /* of a workload */
#define S3_CUTS_STEPS    5          /* of an operation */
#define S3_CUTS_BUCKET   "bucket"


/* what an operation was done to: the process that looks knows of it, too */
typedef struct {
    unsigned         op;            /* s3_cuts_ops[] */
    unsigned         number;        /* in the workload */
    char             key[16];
    uint64_t         seed;
    uint8_t          upload_id[16];
    uint8_t          refs[3][S3_PART_REF_LEN];    /* parts 1, 2; 1 anew */
    unsigned         winner;        /* of a race: 1, 2 */
} s3_cuts_subject_t;


/*
 * steps: prepare() is not recorded and leaves state 0, step(s) leaves
 * state s + 1.  Both assert that they succeed.
 *
 * match: whether the key is as in that state; where whole is 0 its bytes need
 * not be there.  keys[s], shards[s]: how many keys and shard files a disk the
 * subject has in state s.  writes: bit s where step s writes shards.
 *
 * after: NULL, or what must be possible in state s now: the state it leaves,
 * or -1.  The set takes writes, and the state is whole.
 */
typedef struct {
    const char      *name;
    unsigned         steps;
    unsigned         writes;
    void           (*prepare)(s3_set_t *set, s3_cuts_subject_t *o);
    void           (*step)(s3_set_t *set, s3_cuts_subject_t *o, unsigned s);
    int            (*match)(s3_set_t *set, const s3_cuts_subject_t *o,
                            unsigned s, int whole);
    int            (*after)(s3_set_t *set, const s3_cuts_subject_t *o,
                            unsigned s);
    uint8_t          keys[S3_CUTS_STEPS + 1];
    uint8_t          shards[S3_CUTS_STEPS + 1];
} s3_cuts_op_t;


typedef enum {
    S3_CUTS_PUT = 0,             /* a new key, shards of two stripes */
    S3_CUTS_PUT_INLINE,
    S3_CUTS_OVERWRITE,
    S3_CUTS_DELETE,
    S3_CUTS_MULTIPART,           /* create, two parts, complete */
    S3_CUTS_PART_AGAIN,          /* a part anew, complete */
    S3_CUTS_ABORT,               /* of an upload with two parts */
    S3_CUTS_COPY,                /* then the source is overwritten, deleted */
    S3_CUTS_PUT_RACE,            /* two puts If-None-Match: * at once */
    S3_CUTS_COMPLETE_RACE,       /* such a put, and such a Complete */
    S3_CUTS_LAST
} s3_cuts_op_e;

extern const s3_cuts_op_t  s3_cuts_ops[S3_CUTS_LAST];


/* First in main(): starts the processes that look, takes the seed.  Then
 * cmocka's tests, and the end of the processes. */
int s3_cuts_main(const struct CMUnitTest *tests, size_t n);

#define s3_cuts_run_group_tests(tests)                                    \
    s3_cuts_main(tests, sizeof(tests) / sizeof((tests)[0]))

/* fails the test when a cut is wrong.  most: 0, every cut; else as many,
 * sampled */
void s3_cuts_run(const s3_cuts_op_e *ops, unsigned n, unsigned most);

/* 0 .. n - 1, of the seed */
unsigned s3_cuts_random(unsigned n);


#endif /* _S3_CUTS_H_INCLUDED_ */
