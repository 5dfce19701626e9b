
/*
 * What the files of a download share.
 *
 *     s3_download.c            s3_download_*(): which window comes next, what
 *                              memory it may take, pieces for the owner
 *     s3_download_window.c     a window: what of it is read from where, what
 *                              is computed
 *     s3_download_read.c       open shards and reads of them
 *
 * All on the loop.
 */


#ifndef _S3_DOWNLOAD_H_INCLUDED_
#define _S3_DOWNLOAD_H_INCLUDED_


#include "s3_client_internal.h"


/* bytes of a piece, at most, and of a download's slot; not more than a CRC's
 * block: a window of one block must fit into the slot */
#define S3_PIECE_SIZE      S3_BLOCK_SIZE


typedef struct s3_extread_s   s3_extread_t;
typedef struct s3_reader_op_s s3_reader_op_t;
typedef struct s3_window_s    s3_window_t;


typedef enum {
    S3_SHARD_UNREAD = 0,
    S3_SHARD_READING,
    S3_SHARD_READ,
    S3_SHARD_BAD
} s3_shard_state_e;


/* an open shard file; does one operation at a time */
typedef struct {
    s3_op_t               op;        /* the close */
    s3_shard_reader_t    *reader;    /* the thread's while one is out */
    s3_disk_t            *disk;
    unsigned              refs;      /* extent's, operations */
    unsigned              failed:1;  /* nothing is asked of it any more */
    unsigned              busy:1;
    s3_link_t             queue;     /* s3_reader_op_t.queue */
} s3_handle_t;


/* the extent being read: its open shards */
struct s3_extread_s {
    s3_extent_t           extent;
    unsigned              refs;      /* download's, windows */
    unsigned              n;         /* k + m */
    uint64_t              gone;      /* shards that are not there */
    s3_handle_t          *handles[S3_MAX_DISKS];    /* by shard number */
};


/* a read that is out; outlives its window when it is late */
struct s3_reader_op_s {
    s3_op_t               op;
    s3_link_t             queue;
    s3_client_t          *client;
    s3_window_t          *window;    /* NULL: it waits no longer */
    s3_handle_t          *handle;
    s3_shard_info_t       info;
    s3_buffer_t          *buffer;
    uint8_t              *p;
    size_t                len;
    uint64_t              offset;    /* in the shard */
    unsigned              shard;
};


typedef enum {
    S3_WINDOW_WAIT_SET = 0,
    S3_WINDOW_WAIT_SPARE,
    S3_WINDOW_READ,
    S3_WINDOW_DECODE,
    S3_WINDOW_READY,
    S3_WINDOW_FAILED
} s3_window_state_e;


struct s3_window_s {
    s3_link_t             link;      /* download->windows, or in none */
    s3_client_t          *client;
    s3_download_t        *download;  /* NULL: closed */
    s3_extread_t         *er;
    uint32_t              index;     /* of the extent, in the download's */
    uint64_t              pos;       /* of the window, in the object */
    s3_window_state_e     state;
    int                   status;

    uint64_t              base;      /* of the unit, in the shard */
    uint32_t              unit;      /* bytes of a unit of this stripe */
    uint32_t              first;     /* row the buffers begin with */
    uint32_t              stride;    /* from unit to unit in a buffer */
    unsigned              alone;     /* shard + 1, where it is only one */
    s3_buffer_t          *buffer;    /* the units that are wanted */
    s3_buffer_t          *spare;     /* the others, while it is computed */

    size_t                offset;    /* of the window, in the buffer */
    size_t                len;
    size_t                given;     /* bytes of len, in pieces */
    size_t                released;

    unsigned              reading;   /* operations that are waited for */
    unsigned              retries;
    unsigned              in_slot:1; /* its memory is the download's slot */
    unsigned              tainted:1; /* a late read may write to a buffer */
    unsigned              damaged:1; /* bytes were bad, or not there */
    unsigned              stepping:1;

    uint8_t               shards[S3_MAX_DISKS];   /* s3_shard_state_e */
    uint32_t              lo[S3_MAX_DISKS];       /* rows read, to be read */
    uint32_t              hi[S3_MAX_DISKS];
    uint32_t              want_lo[S3_MAX_DISKS];  /* rows that are wanted */
    uint32_t              want_hi[S3_MAX_DISKS];

    uint32_t              decode_lo;
    uint32_t              decode_hi;
    uint64_t              have;
    uint64_t              lost;
    int                   decoded;   /* what s3_erasure_decode() said */
    s3_task_t             decode;

    s3_event_t            wait;      /* for the set */
    s3_event_t            turn;      /* for the spare that all share */
    s3_budget_t           budget;    /* of the buffer, unless in_slot */
    s3_budget_t           spare_budget;
};


struct s3_download_s {
    s3_client_t          *client;
    s3_download_pt        handler;
    void                 *data;
    s3_pin_t             *pin;

    s3_extent_t          *extents;   /* those that the range touches */
    uint32_t              nextents;
    uint32_t              current;   /* of the next window */
    uint64_t              pos;       /* in the object, of the next window */
    uint64_t              end;
    s3_extread_t         *er;        /* of current, or NULL */

    s3_link_t             windows;   /* oldest first */
    unsigned              nwindows;
    unsigned              npieces;   /* given, not released */

    s3_budget_t           slot;
    s3_holder_t           holder;
    s3_link_t             large;     /* client->large, or in none */
    s3_event_t            wait;      /* for the set */

    s3_event_t            event;
    unsigned              waiting:1; /* for the set, or the slot */
    unsigned              asked:1;   /* next() is to be answered */
    unsigned              over:1;    /* DONE or FAILED was told */
    unsigned              too_slow:1;   /* its client: to be told */
    int                   status;    /* of a failure without a window */
    uint64_t              logged;    /* shards that were said to be bad */
};


/* s3_download.c: tells what is ready, starts what may be started */
void s3_download_pump(s3_download_t *d);

/* s3_download_window.c */

/* len bytes at offset of d->er's extent, all in one stripe; NULL: no memory.
 * Its memory is to be reserved, s3_window_room() bytes, then start it */
s3_window_t *s3_window_create(s3_download_t *d, uint64_t offset,
    uint64_t len);
size_t s3_window_room(s3_window_t *w);
void s3_window_start(s3_window_t *w);
void s3_window_step(s3_window_t *w);
/* out of its download: freed when nothing of it is out */
void s3_window_release(s3_window_t *w);
void s3_window_free(s3_window_t *w);

/* s3_download_read.c */

s3_extread_t *s3_extread_create(const s3_extent_t *extent);
void s3_extread_unref(s3_extread_t *er);
/* rows of a shard to p in the buffer.  0: the window is stepped when they are
 * there, or are not to be had; or -1: the shard is not to be had */
int s3_window_read(s3_window_t *w, unsigned shard, uint32_t lo, uint32_t hi,
    s3_buffer_t *buffer, uint8_t *p);


#endif /* _S3_DOWNLOAD_H_INCLUDED_ */
