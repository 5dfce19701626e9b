#ifndef _S3_STATUS_H_INCLUDED_
#define _S3_STATUS_H_INCLUDED_


/*
 * What the store process knows, for those who watch: RUNTIME/NAME.status1,
 * mapped by the store process, which alone writes it (s3_report.c), and by
 * every worker.  Nothing is decided by what stands here: that is the page's
 * (s3_page.h).
 *
 * The number in the file's name is the format's: a process of another format
 * has another file, which shows by its age that nobody writes it.
 */


#include <stdatomic.h>
#include "s3_page.h"


#define S3_STATUS_MAGIC     0x31746174735f3373ULL     /* "s3_stat1" */
#define S3_STATUS_SUFFIX    "status1"
#define S3_STATUS_PATH      256
#define S3_STATUS_REASON    128
#define S3_STATUS_COUNTS    32


/* a disk of the configuration */
typedef enum {
    S3_STATUS_AWAY = 0,        /* not there, hung, damaged: see reason */
    S3_STATUS_FOREIGN,         /* there, and not of this set */
    S3_STATUS_BEHIND,          /* of this set, and cannot be brought forward:
                                  it needs a copy of the index */
    S3_STATUS_WAITING,         /* in order; no member: it is being brought
                                  forward, or there are too few of them */
    S3_STATUS_MEMBER
} s3_status_disk_e;


/*
 * What the store process counts: symbol, name, whether it only grows (it is
 * taken over by the next store process then), what it is.  Rows are added at
 * the end, S3_STATUS_COUNTS at most: the format stays.  What nobody has
 * counted yet is not known, and is not shown.
 */
#define S3_COUNT_TABLE(_)                                                    \
    _(SHARDS_REPAIRED, "shards_repaired", 1,                                 \
      "Shards computed from others and written anew")                        \
    _(SHARDS_DAMAGED, "shards_damaged", 1,                                   \
      "Shards found missing or damaged on disks that should have them")      \
    _(DAMAGE_WAITING, "damage_waiting", 0,                                   \
      "Objects and parts with damaged shards that wait for repair")          \
    _(DAMAGE_STUCK, "damage_stuck", 0,                                       \
      "Objects and parts with damaged shards that cannot be repaired now")   \
    _(SCRUB_ROUNDS, "scrub_rounds", 1,                                       \
      "Times that a disk has verified all its shards")                       \
    _(SCRUB_BYTES, "scrub_bytes", 1, "Bytes of shards that were verified")

typedef enum {
#define S3_COUNT_ENUM(symbol, name, grows, help)  S3_COUNT_##symbol,
    S3_COUNT_TABLE(S3_COUNT_ENUM)
#undef S3_COUNT_ENUM
    S3_COUNT_LAST
} s3_count_e;

typedef struct {
    const char          *name;
    int                  grows;
    const char          *help;
} s3_count_info_t;


typedef struct {
    uint64_t             known;         /* bits, by s3_count_e */
    uint64_t             value[S3_STATUS_COUNTS];
} s3_status_counts_t;

typedef struct {
    uint8_t              id[16];        /* zeros: not known */
    uint64_t             total;         /* bytes that can be ours; 0: not
                                           known */
    uint64_t             free;          /* of them */
    uint64_t             errors;        /* times it was dropped, or a worker
                                           had trouble with it */
    uint64_t             timeouts;      /* of them: it was late */
    uint32_t             state;         /* s3_status_disk_e */
    int32_t              slot;          /* -1: none is known */
    int32_t              error;         /* errno it is out for, or 0 */
    uint32_t             operations;    /* of the store process, under way */
    char                 path[S3_STATUS_PATH];        /* cut off there */
    char                 reason[S3_STATUS_REASON];    /* "": none */
} s3_status_disk_t;

typedef struct {
    uint64_t             updated;       /* ms, s3_now(); 0: never */
    uint64_t             started;       /* ms: the store process */
    uint64_t             generation;
    uint64_t             sequence;
    uint32_t             state;         /* S3_STORE_OK, ... */
    uint32_t             ndisks;
    uint32_t             quorum;        /* to write */
    uint32_t             connections;   /* of workers */
    s3_geometry_t        geometry;      /* of new data */

    uint64_t             commits;       /* wait for a batch */
    uint64_t             commits_bytes;
    uint64_t             deciding;      /* in a batch */
    uint64_t             reads_held;    /* their batch is not decided */
    uint64_t             reads_parked;  /* until recovery is over */

    uint32_t             catching_up;   /* a disk is brought forward */
    uint32_t             repairing;

    s3_status_counts_t   counts;
    s3_status_disk_t     disks[S3_MAX_DISKS];    /* as configured */
} s3_status_t;

typedef struct {
    uint64_t             magic;
    _Atomic uint32_t     change;        /* odd while status is written */
    uint32_t             pad;
    s3_status_t          status;
} s3_status_page_t;


/* as s3_page_map().  Any thread */
s3_status_page_t *s3_status_map(const char *runtime, const char *name);
void s3_status_unmap(s3_status_page_t *page);

/* a consistent copy: 0, or -1 where none was got, or nobody has written yet.
 * Any thread */
int s3_status_read(s3_status_page_t *page, s3_status_t *status);
/* store process only, one thread */
void s3_status_write(s3_status_page_t *page, const s3_status_t *status);

/* the table's row */
const s3_count_info_t *s3_count_info(s3_count_e count);
/* "member", "away", ... */
const char *s3_status_disk_text(unsigned state);


#endif /* _S3_STATUS_H_INCLUDED_ */
