#ifndef _S3_POWERCUT_H_INCLUDED_
#define _S3_POWERCUT_H_INCLUDED_


/*
 * Power cuts.  A door that records every call that changes a disk, and a
 * replayer that builds what a loss of power after any of them could have left
 * behind.
 *
 *     s3_powercut_start();
 *     s3_powercut_disk(path) ...              each disk, in its state now
 *         ... the store runs; s3_powercut_mark("put 1 acked") ...
 *     log = s3_powercut_stop();
 *
 *     for each choice of cuts:
 *         s3_powercut_replay(log, cuts, mode, seed, roots);
 *         ... start the store on roots, look ...
 *
 *     s3_powercut_free(log);
 *
 * What is certain after a cut, and nothing else is:
 *
 *     what was there at s3_powercut_disk()
 *     the bytes and the length of a file at its last fsync() or fdatasync()
 *     a name made, removed or changed before the last fsync() of its
 *         directory (of one of its two, for a rename), and whatever happened
 *         before it to the same names
 *
 * So a file that was synced is lost while its name is not, and so is all that
 * lies in a directory whose own name was not synced in the directory above.
 * A rename is there or not, never half.
 *
 * One recording at a time.  The calls of all threads are put into one order,
 * by making them one after the other; syncs are recorded and not made.  Files
 * are known by device and inode, not by descriptor: threads may have tables
 * of their own.
 */


#include <stddef.h>
#include <stdint.h>
#include <stdio.h>


#define S3_POWERCUT_MAX_DISKS  32
#define S3_POWERCUT_HASH       32


typedef struct s3_powercut_s  s3_powercut_t;


typedef enum {
    S3_POWERCUT_MARK = 0,
    S3_POWERCUT_CREATE,
    S3_POWERCUT_MKDIR,
    S3_POWERCUT_RENAME,
    S3_POWERCUT_UNLINK,          /* a directory, too */
    S3_POWERCUT_WRITE,
    S3_POWERCUT_TRUNCATE,        /* also fallocate() that makes it longer */
    S3_POWERCUT_SYNC,
    S3_POWERCUT_SYNC_DIR
} s3_powercut_call_e;


typedef struct {
    s3_powercut_call_e   call;
    int                  disk;       /* -1: a mark */
    const char          *text;       /* the mark's; the path in the disk */
    const char          *text2;      /* RENAME: the new path */
    uint64_t             offset;     /* WRITE; TRUNCATE: the length */
    size_t               len;        /* WRITE */
} s3_powercut_event_t;


typedef enum {
    S3_POWERCUT_DROPPED = 0,     /* nothing but what is certain */
    S3_POWERCUT_KEPT,            /* everything up to the cut */
    S3_POWERCUT_TORN             /* of unsynced writes some sectors of 512
                                    bytes, of unsynced names some; each name's
                                    changes up to one of them */
} s3_powercut_mode_e;


/* The door is the recorder's from here on.  Aborts without memory, as all of
 * this does. */
void s3_powercut_start(void);

/* path: an existing directory, read whole.  Its number, from 0; -1 with
 * errno.  Any directory will do: the state directory is one more disk. */
int s3_powercut_disk(const char *path);

/* into the order of calls; any thread; nothing while nothing is recorded */
void s3_powercut_mark(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/* Puts back the door; calls that other threads still make go unrecorded. */
s3_powercut_t *s3_powercut_stop(void);

void s3_powercut_free(s3_powercut_t *log);


size_t s3_powercut_length(const s3_powercut_t *log);
void s3_powercut_event(const s3_powercut_t *log, size_t i,
    s3_powercut_event_t *event);

/*
 * The cuts that make a difference to a disk: 0, and one after each call on
 * it.  points has room for s3_powercut_length() + 1; returns their number.
 */
size_t s3_powercut_points(const s3_powercut_t *log, int disk, size_t *points);

/* events from .. to - 1, a line each */
void s3_powercut_print(const s3_powercut_t *log, size_t from, size_t to,
    FILE *out);


/*
 * cuts[d]: disk d has seen those of the log's first cuts[d] events that
 * concern it, 0 .. length.  roots[d]: a directory that becomes the disk;
 * whatever is in it is removed; NULL: left out.  The same arguments give the
 * same state.  Returns 0 or errno.
 */
int s3_powercut_replay(const s3_powercut_t *log, const size_t *cuts,
    s3_powercut_mode_e mode, uint64_t seed, const char *const *roots);

/*
 * Of the names and bytes that s3_powercut_replay() with these arguments
 * makes of all disks: where two are equal, the states are (SHA-256).  The log
 * keeps hashes of files: quick where only the cuts change, upward.
 */
void s3_powercut_hash(s3_powercut_t *log, const size_t *cuts,
    s3_powercut_mode_e mode, uint64_t seed, uint8_t hash[S3_POWERCUT_HASH]);


#endif /* _S3_POWERCUT_H_INCLUDED_ */
