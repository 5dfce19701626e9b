#ifndef _S3_PAGE_H_INCLUDED_
#define _S3_PAGE_H_INCLUDED_


/*
 * The shared page: RUNTIME/NAME.page, mapped by the store process and every
 * worker: what can be known without asking.  Written by the store process
 * alone, but for one slot a worker, written by that worker.  Preallocated (no
 * SIGBUS) and never replaced while somebody may have it mapped.
 */


#include <stdatomic.h>
#include "s3_erasure.h"


#define S3_PAGE_MAGIC      0x31656761705f3373ULL     /* "s3_page1" */
#define S3_PAGE_WORKERS    256


/* a disk, as far as others may use it */
enum {
    S3_DISK_ABSENT = 0,        /* not there, foreign, or hung: nobody
                                  touches it */
    S3_DISK_PRESENT,           /* not a member: shards may be read */
    S3_DISK_MEMBER             /* shards are read and written */
};


typedef struct {
    uint8_t             id[16];         /* the disk's identity, zeros: none */
    uint32_t            state;
    uint32_t            instance;       /* another one each time it comes
                                           back */
} s3_page_disk_t;

typedef struct {
    uint64_t            generation;
    uint32_t            state;          /* S3_STORE_OK, _READ_ONLY,
                                           _UNAVAILABLE, _BUSY */
    uint8_t             set_id[16];
    s3_geometry_t       geometry;       /* of new data */
    s3_page_disk_t      disks[S3_MAX_DISKS];    /* by slot */
} s3_page_set_t;

typedef struct {
    _Atomic uint64_t    taken;          /* 0: free; set and cleared by the
                                           store process */
    _Atomic uint64_t    oldest;         /* the worker's: see below */
} s3_page_worker_t;

typedef struct {
    uint64_t            magic;
    _Atomic uint64_t    epoch;          /* of the store process that wrote
                                           it last; changes at its start,
                                           before recovery */
    _Atomic uint64_t    decided;        /* sequence of the last decided
                                           batch */
    _Atomic uint32_t    change;         /* odd while set is written */
    s3_page_set_t       set;
    s3_page_worker_t    workers[S3_PAGE_WORKERS];
} s3_page_t;


/* creates the file where missing, maps it.  NULL with errno: EPROTO where the
 * file is none of ours, or of another version.  Any thread */
s3_page_t *s3_page_map(const char *runtime, const char *name);
void s3_page_unmap(s3_page_t *page);

/*
 * A consistent copy of page->set; returns the change counter it belongs to
 * (even).  0, or -1 where no copy was got in a bounded number of tries: the
 * writer died in the middle.  Any thread
 */
int s3_page_read(s3_page_t *page, s3_page_set_t *set, uint32_t *change);

/* store process only, one thread */
void s3_page_write(s3_page_t *page, const s3_page_set_t *set);


/*
 * What this is made of, for s3_status.h: RUNTIME/NAME.SUFFIX of size bytes,
 * mapped, whose first eight are magic, errors as s3_page_map()'s; and a copy
 * of size bytes (a multiple of 8) guarded by changes, which is odd while one
 * writer writes.
 */
void *s3_shared_map(const char *runtime, const char *name,
    const char *suffix, size_t size, uint64_t magic);
int s3_shared_read(_Atomic uint32_t *changes, const void *from, void *to,
    size_t size, uint32_t *change);
void s3_shared_write(_Atomic uint32_t *changes, void *to, const void *from,
    size_t size);


/*
 * The collector unlinks only what died before every pin.  A worker stores the
 * sequence decided before it asks for an object's rows (oldest of those it
 * still reads; UINT64_MAX: none), sequentially consistent: either the
 * collector sees the pin, or the look-up comes after the death and does not
 * find the shard.
 */


#endif /* _S3_PAGE_H_INCLUDED_ */
