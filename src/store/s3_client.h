#ifndef _S3_CLIENT_H_INCLUDED_
#define _S3_CLIENT_H_INCLUDED_


/*
 * The worker's side of the store: it asks the store process for rows, and
 * reads and writes shards itself.
 *
 * One client a worker and store.  Everything here runs on the worker's event
 * loop and never blocks; callbacks run inside s3_client_process() (and
 * s3_download_next(), s3_upload_write() never call back directly).  The
 * client owns one descriptor, an epoll set: when it is readable, call
 * s3_client_process().
 */


#include "s3_conf.h"
#include "s3_record.h"
#include "s3_status.h"


typedef struct s3_client_s     s3_client_t;
typedef struct s3_call_s       s3_call_t;
typedef struct s3_upload_s     s3_upload_t;
typedef struct s3_download_s   s3_download_t;


/* conf must outlive the client.  NULL with errno */
s3_client_t *s3_client_create(const s3_conf_t *conf);
int s3_client_fd(s3_client_t *c);
void s3_client_process(s3_client_t *c);

/* calls, uploads and downloads that are under way: an exiting worker stays
 * while there are any */
unsigned s3_client_active(s3_client_t *c);

/*
 * The process ends now: nothing is waited for.  Not from a callback; uploads
 * and downloads that are under way must not be touched after it.
 */
void s3_client_close(s3_client_t *c);

/*
 * What the set can do now, from the shared page: S3_STORE_OK, _READ_ONLY,
 * _UNAVAILABLE, or _BUSY while there is no page or the store process is
 * recovering (ask all the same: calls wait).
 */
int s3_client_state(s3_client_t *c);

/*
 * The same for those who watch: from the page and the socket, nothing is
 * waited for.  Numbers are 0 while the set is not known.
 */
typedef struct {
    int              state;          /* s3_client_state() */
    int              connected;      /* the store process has answered on the
                                        connection there is */
    unsigned         disks;          /* of the set */
    unsigned         present;        /* of them: there, in order */
    unsigned         healing;        /* of these: being brought forward, in a
                                        set that can be written to */
    unsigned         read_quorum;    /* disks it takes */
    unsigned         write_quorum;
} s3_client_health_t;

void s3_client_health(s3_client_t *c, s3_client_health_t *h);

/* What the store process wrote last, however long ago that is: 0, or -1 where
 * it has written nothing that can be read. */
int s3_client_status(s3_client_t *c, s3_status_t *status);

/* What this worker has under way. */
typedef struct {
    unsigned         calls;          /* asked, not yet answered */
    unsigned         waiting;        /* uploads and downloads, for memory */
    unsigned         operations;     /* with disks' and compute threads */
    size_t           uploads;        /* bytes reserved for them */
    size_t           downloads;
} s3_client_load_t;

void s3_client_load(s3_client_t *c, s3_client_load_t *load);


/*
 * --- calls ---
 *
 * A call is the caller's memory (zeroed, handler and data set).  handler is
 * called exactly once, unless s3_client_cancel() came before: after it the
 * client knows the call no more.  While there is no store process (a reload,
 * its death) calls wait and are asked again; a commit's outcome is asked for
 * by its number before it is sent again, so that it is decided once.  How
 * long is the caller's to bound: by a timer and cancel.  A cancelled commit
 * may still be decided either way.
 */
typedef void (*s3_call_pt)(s3_call_t *call);

struct s3_call_s {
    s3_call_pt       handler;
    void            *data;

    /* the answer; slices are valid until handler returns */
    int              status;         /* s3_store_status_e */
    s3_verdict_t     verdict;        /* commit */
    s3_object_t      object;         /* lookup: the call's until
                                        s3_object_free(), but its slices
                                        point into the answer */
    s3_bucket_t      bucket;
    s3_list_page_t   page;           /* list: entries are freed after
                                        handler */
    s3_bucket_t     *buckets;        /* buckets: likewise */
    uint32_t         nbuckets;
    s3_part_page_t   parts;          /* parts: likewise */
    s3_upload_page_t uploads;        /* uploads: likewise */

    void            *ctx;            /* the client's */
};

/* each returns S3_STORE_OK: handler will be called; or S3_STORE_BUSY (queue
 * full, no memory), S3_STORE_BAD_REQUEST (longer than a message): it won't */
int s3_client_lookup(s3_client_t *c, s3_call_t *call, s3_slice_t bucket,
    s3_slice_t key);
int s3_client_bucket(s3_client_t *c, s3_call_t *call, s3_slice_t bucket);
int s3_client_buckets(s3_client_t *c, s3_call_t *call, s3_slice_t after,
    uint32_t max);
int s3_client_list(s3_client_t *c, s3_call_t *call,
    const s3_list_query_t *query);

/* an upload and a page of its parts (NO_SUCH_BUCKET, NO_SUCH_UPLOAD), or an
 * object's (NO_SUCH_BUCKET, NO_SUCH_KEY) */
int s3_client_parts(s3_client_t *c, s3_call_t *call,
    const s3_part_query_t *query);
int s3_client_uploads(s3_client_t *c, s3_call_t *call,
    const s3_upload_query_t *query);

/*
 * op, conditions, names, rows as s3_commit_t says; session, request and acked
 * are the client's to fill.  Slices are copied.  For a PUT of shards use
 * s3_upload_commit().
 */
int s3_client_commit(s3_client_t *c, s3_call_t *call,
    const s3_commit_t *commit);

void s3_client_cancel(s3_client_t *c, s3_call_t *call);


/*
 * --- slow clients ---
 *
 * Who waits for memory may wait for a client that holds it.  An upload or a
 * download whose owner has said so by s3_..._slow() is asked for its client
 * then: slow() returns how many bytes a second it is worth, or -1: that is
 * enough, or the client is not what is waited for.  Where what all of those
 * hold is what somebody waits for, the slowest are ended: FAILED with
 * S3_STORE_TOO_SLOW, asked for or not.  data is that of the handler; slow()
 * must call nobody here.
 */
typedef int64_t (*s3_slow_pt)(void *data);


/*
 * --- uploads ---
 *
 *     create -> READY -> write ... (fewer: wait for WRITABLE) -> finish
 *            -> FINISHED -> commit | abort
 *            -> FAILED   -> abort              (FAILED may come at any time)
 *
 * READY comes when its memory (two stripes) is reserved from the worker's
 * budget: read no body before.  Data up to S3_INLINE_MAX stays in memory and
 * goes with the commit.
 */
typedef enum {
    S3_UPLOAD_READY = 1,
    S3_UPLOAD_WRITABLE,
    S3_UPLOAD_FINISHED,
    S3_UPLOAD_FAILED                 /* status says why */
} s3_upload_event_e;

typedef void (*s3_upload_pt)(s3_upload_t *u, void *data,
    s3_upload_event_e event, int status);

/*
 * The digests of the data: update is called for every byte in order, on a
 * compute thread (for small data on the loop), never two calls at once, and
 * not after FINISHED; after FAILED and abort a call may still be running.
 * free(ctx) is called on the loop, once, when the upload is gone and update
 * will not be called again (before call->handler of a commit): ctx must live
 * until then.
 */
typedef struct {
    void           (*update)(void *ctx, const void *p, size_t len);
    void           (*free)(void *ctx);   /* once, on the loop; or NULL */
    void            *ctx;
} s3_digest_t;

/*
 * size: of the data, or UINT64_MAX.  part: it becomes a part of a multipart
 * upload, which never goes inline.  NULL: no memory, digest->free is not
 * called.  READY, or FAILED, comes by callback in any case: FAILED without
 * READY where the set takes no writes (READ_ONLY, UNAVAILABLE), too few disks
 * can be written to (SHARDS_MISSING) or size is over 5 GiB (BAD_REQUEST).
 * While the store process has not yet said what the set is, neither comes.
 */
s3_upload_t *s3_upload_create(s3_client_t *c, uint64_t size, int part,
    const s3_digest_t *digest, s3_upload_pt handler, void *data);

/* once, before READY; see above */
void s3_upload_slow(s3_upload_t *u, s3_slow_pt slow);

/* what it waits for is memory */
int s3_upload_waits(s3_upload_t *u);

/* takes up to len bytes (copied), returns how many; fewer: wait for WRITABLE.
 * Data past the size given at create, or 5 GiB, is not taken: FAILED */
size_t s3_upload_write(s3_upload_t *u, const void *p, size_t len);

/*
 * All data is written: flush, sync; FINISHED when durable on enough disks and
 * all digests are updated.  S3_STORE_OK: FINISHED or FAILED will come; else
 * why it failed (fewer bytes than size: BAD_REQUEST), and FAILED comes too,
 * unless the upload is aborted before.
 */
int s3_upload_finish(s3_upload_t *u);

/*
 * After FINISHED: as s3_client_commit() with what the upload wrote: op
 * (S3_COMMIT_PUT or, of a part, S3_COMMIT_PART), size, is_inline, data,
 * shard_id, mask, generation, geometry are filled in.  S3_STORE_OK: the
 * upload is gone when call->handler is called or the call cancelled (its
 * shards are removed then only if the commit was not sent).  Else nothing has changed: the upload is to be
 * aborted.
 */
int s3_upload_commit(s3_upload_t *u, s3_call_t *call, s3_commit_t *commit);

/* any time before commit: removes what was written; no more callbacks but
 * digest->free */
void s3_upload_abort(s3_upload_t *u);


/*
 * --- downloads ---
 *
 * Pieces in order, each verified, of up to 64 KiB.  At most two stripes are
 * in memory, while that takes nothing from others; what the owner holds is
 * never taken from it, so it should hold one piece, and release it before it
 * asks for the next.  With disks missing or damaged the rest is computed.
 * The object's rows are copied at create.  Inline data needs no download.
 */
typedef enum {
    S3_DOWNLOAD_DATA = 1,            /* p, len: the caller's until
                                        s3_download_release() */
    S3_DOWNLOAD_DONE,                /* all given */
    S3_DOWNLOAD_FAILED               /* status; TOO_SLOW may come unasked */
} s3_download_event_e;

typedef void (*s3_download_pt)(s3_download_t *d, void *data,
    s3_download_event_e event, int status, const uint8_t *p, size_t len);

/* offset + length <= object->size, length > 0.  NULL: no memory */
s3_download_t *s3_download_create(s3_client_t *c, const s3_object_t *object,
    uint64_t offset, uint64_t length, s3_download_pt handler, void *data);

/* once, before the first s3_download_next(); see above */
void s3_download_slow(s3_download_t *d, s3_slow_pt slow);

/* what it waits for is memory */
int s3_download_waits(s3_download_t *d);

/*
 * Asks for the next piece: one event will come by callback.  At most one
 * outstanding.  Who holds a piece may have to release it before another
 * comes: only the first has memory of its own.  Before the first event comes
 * the download may wait for that memory, in its turn, without bound.
 */
void s3_download_next(s3_download_t *d);

/* The next piece, if it is in memory and none is asked for: its length, and
 * *p as of S3_DOWNLOAD_DATA, no event comes.  0: there is none, ask. */
size_t s3_download_take(s3_download_t *d, const uint8_t **p);

/* the oldest piece given is done with */
void s3_download_release(s3_download_t *d);

/* once, at any time; pieces not released are invalid after it; no more
 * callbacks */
void s3_download_close(s3_download_t *d);


#endif /* _S3_CLIENT_H_INCLUDED_ */
