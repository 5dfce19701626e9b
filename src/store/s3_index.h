#ifndef _S3_INDEX_H_INCLUDED_
#define _S3_INDEX_H_INCLUDED_


/*
 * The index of a disk: an SQLite database (index.db in the disk's directory),
 * the same on all disks of a set.  docs/format.md has the tables.
 *
 * A connection (s3_index_t) is a writer or a reader; used by one thread at a
 * time, one of the disk's own.  All functions block; they return 0 or an
 * errno: ENOSPC, EIO, EBADMSG (a checksum or SQLITE_CORRUPT), EPROTO (its
 * format is not one we know), ENOMEM.
 */


#include "s3_record.h"
#include "s3_vfs.h"


typedef struct s3_index_s   s3_index_t;


/* ms that a completed upload is remembered, for who asks again */
#define S3_UPLOAD_KEPT   (24 * 3600 * 1000)


/* where an index stands */
typedef struct {
    uint64_t    generation;
    uint64_t    sequence;
    uint8_t     digest[32];          /* SHA-256, chained over all batches */
} s3_position_t;


/*
 * Opens, or with create makes, the database and its tables (position 0, 0,
 * digest zero).  Settings: WAL, synchronous=FULL, page 4096, reserved
 * S3_VFS_RESERVED, no checkpoint on close, temp_store=MEMORY, cache bounded
 * to cache bytes, autocheckpoint in the writer's commit (every 1,000 frames).
 * Opening recovers the WAL in memory and writes nothing to the disk.
 */
int s3_index_open(s3_vfs_t *vfs, int writer, int create, size_t cache,
    s3_index_t **index);
void s3_index_close(s3_index_t *index);

int s3_index_position(s3_index_t *index, s3_position_t *position);

/* text of the last failure, for the log; the index's own memory */
const char *s3_index_message(s3_index_t *index);


/*
 * --- a batch (writer) ---
 *
 *     lead:    begin  decide decide ...  seal  flush  commit | rollback
 *     others:  begin  apply              seal  flush  commit | rollback
 *
 * Effects are rows to put or delete, as values: encoded, self-contained and
 * deterministic, so that applying them gives the same rows on every disk.
 */
int s3_index_begin(s3_index_t *index);

/*
 * Decides one commit by the rows as they are now (conditions, bucket there,
 * bucket empty, ...), makes its changes in the open transaction, appends them
 * to effects, with the verdict's row (session, request, verdict) where
 * commit->request is not 0, and removes verdicts of the session below
 * commit->acked.  sequence: the batch's. A refusal (verdict->status) is no
 * error.  A request that has a verdict already gets it again, and changes
 * nothing.  After an error the batch can only be rolled back, and effects are
 * void.
 *
 *     PUT           The bucket must exist; conditions against the current row.
 *                   The old row's data loses a reference: at 0 its shards
 *                   become garbage of this sequence, inline bytes are
 *                   deleted.  New rows: object, data, inline.
 *                   SHARDS_MISSING: the data id stands in the index already,
 *                   as data or garbage; no shards become garbage then.  On
 *                   any other refusal with shards they do: only the store
 *                   process may remove them now (ruling 3).
 *     DELETE        As S3: OK also where there is no such key (no effect).
 *                   With S3_IF_MATCH: NO_SUCH_KEY where there is none,
 *                   PRECONDITION_FAILED where it differs.
 *     COPY          SHARDS_MISSING never: the source's row must be there
 *                   (NO_SUCH_BUCKET, NO_SUCH_KEY) with commit->source as its
 *                   data, else CONFLICT: look it up anew.  Conditions against
 *                   the target's row.  The data gets a reference; a copy onto
 *                   itself leaves the number as it is.
 *     CREATE_UPLOAD A row of upload; the id must be new (CONFLICT).
 *     PART          NO_SUCH_UPLOAD also where it is completed.  A part of that
 *                   number that was there before becomes garbage.
 *     COMPLETE      CONFLICT where the parts named are not those that are
 *                   there, or it is completed already: look again.  Parts not
 *                   named become garbage; else as PUT.  After a refusal the
 *                   upload is as it was.
 *     ABORT         NO_SUCH_UPLOAD also where it is completed.
 *     CREATE_BUCKET BUCKET_EXISTS
 *     DELETE_BUCKET NO_SUCH_BUCKET, BUCKET_NOT_EMPTY.  Uploads are no
 *                   obstacle (as in S3): the keeper removes them later.
 *     GENERATION    Table member (slot, since): rows of slots in mask are
 *                   kept, or made with since = commit->generation, those in
 *                   commit->fresh made anew; rows of other slots are deleted.
 *     SESSION_END   Deletes all verdicts of the session.
 *     GARBAGE       The slots of mask need no unlinking any more; the row
 *                   goes with its last slot.
 *     REPAIRED      Sets bits of mask on the extent; NO_SUCH_KEY where it is
 *                   gone: the repaired shard is to be unlinked.
 *     VOID          Clears the bits of mask on the extents above shard_id, up
 *                   to source: s3_index_marked() says how far a step goes.
 *     REAP          Some of the uploads that were completed S3_UPLOAD_KEPT ms
 *                   before commit->mtime are forgotten; or (gone) of those in
 *                   a bucket that is no more, their parts with them.
 *                   NO_SUCH_UPLOAD: there are no more of them.
 *     any with      That status (the store process's) is the verdict, and the
 *     refuse        shards of a PUT or PART become garbage.
 */
int s3_index_decide(s3_index_t *index, const s3_commit_t *commit,
    uint64_t sequence, s3_buf_t *effects, s3_verdict_t *verdict);

/* EPROTO: the bytes make no sense */
int s3_index_apply(s3_index_t *index, s3_slice_t effects);

/*
 * The rows of the batch itself: batch (generation, sequence, digest), change
 * (sequence, table, primary key) for every effect, and the position.
 * Bounds the history: batches below keep_from are forgotten with their
 * changes.
 */
int s3_index_seal(s3_index_t *index, const s3_position_t *position,
    s3_slice_t effects, uint64_t keep_from);

/* the digest a batch gets: SHA-256 over the digest before it, generation,
 * sequence and effects; any thread */
void s3_index_digest(const s3_position_t *before, s3_position_t *position,
    s3_slice_t effects);

/*
 * Writes the open transaction's pages into the WAL and syncs it: from here
 * commit can't fail for want of space.  ENOSPC unless the database has room for
 * spare bytes more: what is kept for those who make room.
 */
int s3_index_flush(s3_index_t *index, uint64_t spare);
int s3_index_commit(s3_index_t *index);
void s3_index_rollback(s3_index_t *index);


/*
 * --- catching up ---
 *
 * On a disk that is current (reader), inside one read transaction from
 * snapshot to release: s3_index_knows says whether the laggard's position
 * stands in the history of batches; changes gives, piece by piece, effects
 * (batch, change and position rows included) that bring it from there to the
 * snapshot's position.  On the laggard (writer): begin, apply each piece,
 * flush, commit. cursor: 0 at first; *more = 0 with the last piece.
 */
int s3_index_snapshot(s3_index_t *index, s3_position_t *position);
int s3_index_release(s3_index_t *index);
/* of a snapshot that began while nothing was written: how many bytes of the
 * log belong to it, as long as it lasts; 0: it is all in the database */
uint64_t s3_index_log(s3_index_t *index);
int s3_index_knows(s3_index_t *index, const s3_position_t *position,
    int *known);
int s3_index_changes(s3_index_t *index, uint64_t after, uint64_t *cursor,
    size_t max, s3_buf_t *effects, int *more);


/*
 * --- a fresh copy ---
 *
 * On a disk that is current (a reader): effects that put its rows, all but
 * the position, piece by piece, each piece as the index is when it is read.
 * What changed between the first piece and the last is then brought forward
 * as a laggard is, from a position read before the first piece: changes give
 * rows as they are, so that the end is exact.  cursor: zeros at first, freed
 * by its owner (s3_buf_free() of key); *more = 0 with the last piece.
 */
typedef struct {
    unsigned         table;
    s3_buf_t         key;            /* of the row read last */
} s3_index_cursor_t;

int s3_index_rows(s3_index_t *index, s3_index_cursor_t *cursor, size_t max,
    s3_buf_t *effects, int *more);

/*
 * The whole log moves into the database and leaves an empty one behind, both
 * synced: the database's file alone is the index (writer; no batch is open,
 * and no other connection is in the middle of a read)
 */
int s3_index_fold(s3_index_t *index);

/*
 * Whether that page of the database's file is not what it must be, which
 * s3_vfs_pages() could not tell for sure (writer: nothing else writes there
 * meanwhile).  bad: what that said; a checkpoint gives a file its size again,
 * and zeros for what it had lost.  0; EBUSY: ask again later, a batch is open
 * or the log can't be moved into the file as yet
 */
int s3_index_page(s3_index_t *index, uint32_t pgno, int bad, int *damaged);


/*
 * --- reads ---  each in one snapshot, whose sequence is given: the answer is
 * released to the asker only when that sequence is decided.  status as
 * s3_store_status_e; they append the encoding of what was found (s3_record.h)
 * to answer.
 */
int s3_index_lookup(s3_index_t *index, s3_slice_t bucket, s3_slice_t key,
    uint64_t *sequence, int *status, s3_buf_t *answer);      /* object */
int s3_index_bucket(s3_index_t *index, s3_slice_t bucket,
    uint64_t *sequence, int *status, s3_buf_t *answer);      /* bucket */
int s3_index_buckets(s3_index_t *index, s3_slice_t after, uint32_t max,
    uint64_t *sequence, s3_buf_t *answer);    /* u32 count, buckets by name */
int s3_index_list(s3_index_t *index, const s3_list_query_t *query,
    uint64_t *sequence, int *status, s3_buf_t *answer);      /* list page */
/* part page */
int s3_index_parts(s3_index_t *index, const s3_part_query_t *query,
    uint64_t *sequence, int *status, s3_buf_t *answer);
/* upload page */
int s3_index_uploads(s3_index_t *index, const s3_upload_query_t *query,
    uint64_t *sequence, int *status, s3_buf_t *answer);
/* S3_STORE_UNKNOWN where there is no such verdict */
int s3_index_outcome(s3_index_t *index, const uint8_t session[16],
    uint64_t request, uint64_t *sequence, int *status,
    s3_verdict_t *verdict);


/*
 * --- housekeeping --- (reader)
 */

/* whether some row names the shard (extents; not garbage) */
int s3_index_shard_known(s3_index_t *index, const uint8_t shard_id[16],
    int *known);
/* the same, of garbage too */
int s3_index_shard_named(s3_index_t *index, const uint8_t shard_id[16],
    int *named);

typedef struct {
    uint64_t         sequence;       /* garbage: of its death */
    uint8_t          shard_id[16];
    uint8_t          session[16];
    uint64_t         mask;           /* garbage: slots still to unlink */
    uint64_t         size;
    s3_geometry_t    geometry;
} s3_shard_row_t;

/* the extent of that shard; found: 0 where no object and no part has it */
int s3_index_shard(s3_index_t *index, const uint8_t shard_id[16],
    s3_shard_row_t *row, int *found);

/*
 * up to max rows of garbage that died at sequence <= until and whose mask has
 * one of slots, oldest first
 */
int s3_index_garbage(s3_index_t *index, uint64_t until, uint64_t slots,
    s3_shard_row_t *rows, unsigned max, unsigned *n);

/*
 * the member table: since[slot] is the generation in which the disk became a
 * member, 0 where it is none
 */
int s3_index_members(s3_index_t *index, uint64_t since[S3_MAX_DISKS]);

/*
 * up to max extents with shard_id > after (NULL: from the first) whose mask
 * lacks one of the slots
 */
int s3_index_holes(s3_index_t *index, uint64_t slots,
    const uint8_t *after, s3_shard_row_t *rows, unsigned max, unsigned *n);

/* the same of those whose mask has one of the slots */
int s3_index_marked(s3_index_t *index, uint64_t slots,
    const uint8_t *after, s3_shard_row_t *rows, unsigned max, unsigned *n);

/* whether there is something for REAP at that time (mtime), and in which
 * bucket (its gone) */
int s3_index_reapable(s3_index_t *index, int64_t mtime, int *found,
    uint64_t *gone);

/*
 * an upload that began before that time (ms since the epoch) and is not
 * completed: the length of its bucket's name (u32), that, the length of its
 * key (u32), that, and its id, 16 bytes, are appended to name
 */
int s3_index_old_upload(s3_index_t *index, int64_t before, int *found,
    s3_buf_t *name);

/* sessions that have verdicts, up to max, 16 bytes each */
int s3_index_sessions(s3_index_t *index, uint8_t (*sessions)[16],
    unsigned max, unsigned *n);


#endif /* _S3_INDEX_H_INCLUDED_ */
