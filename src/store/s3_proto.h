#ifndef _S3_PROTO_H_INCLUDED_
#define _S3_PROTO_H_INCLUDED_


/*
 * Messages between a worker and the store process, over a Unix stream socket
 * RUNTIME/NAME.sock.  Little endian:
 *
 *      0        4      6        8                16        20
 *     +--------+------+--------+----------------+---------+---------...
 *     | length | type | version| request        | status  | payload
 *     +--------+------+--------+----------------+---------+---------...
 *
 * length: of the whole message.  request: chosen by the asker, comes back in
 * the answer; requests of a session are numbered upward from 1 and never used
 * twice.  status: s3_store_status_e in answers, 0 in questions.  Answers come
 * in any order.
 *
 *     worker                                store process
 *     HELLO    session 16, u32 pid      ->  HELLO  u32 slot in the page,
 *                                                  u64 epoch
 *                                           (or closes: no free slot)
 *     LOOKUP   slice bucket, slice key  ->  ANSWER object
 *     BUCKET   slice bucket             ->  ANSWER bucket
 *     BUCKETS  slice after, u32 max     ->  ANSWER u32 count, buckets
 *     LIST     list query               ->  ANSWER list page
 *     PARTS    part query               ->  ANSWER part page
 *     UPLOADS  upload query             ->  ANSWER upload page
 *     COMMIT   commit                   ->  ANSWER verdict
 *     OUTCOME  (request: the commit's)  ->  ANSWER verdict, or status
 *                                                  S3_STORE_UNKNOWN: was never
 *                                                  decided and never will be:
 *                                                  send it again
 *     DISK     id 16, u32 instance,         (none: the process looks for
 *              u32 errno                    itself)
 *     SHARD    shard id 16, u32 slot    ->  (none: likewise)
 *     SUCCESSOR                         ->  SUCCESSOR, when the sender has
 *                                           shut down its end and is not
 *                                           needed
 *
 * SUCCESSOR is sent by a store process that waits for the lock, and holds as
 * long as its connection: whoever has the lock may leave to it what workers
 * still want.  One that is to leave itself shuts down its end of the
 * connection.  The answer says that the other has not left and now will not
 * count on it; where the connection ends without one, the other has.
 */


#include <sys/types.h>

#include "s3_buf.h"


#define S3_PROTO_VERSION         1
#define S3_PROTO_HEADER          20

/* a COMPLETE of S3_PARTS_MAX parts has 200,000 bytes of them, and an answer
 * with as many parts and their checksums 3.2 MB */
#define S3_PROTO_MAX_QUESTION    (256 * 1024)
#define S3_PROTO_MAX_ANSWER      (4 * 1024 * 1024)


enum {
    S3_MSG_HELLO = 1,
    S3_MSG_LOOKUP,
    S3_MSG_BUCKET,
    S3_MSG_BUCKETS,
    S3_MSG_LIST,
    S3_MSG_COMMIT,
    S3_MSG_OUTCOME,
    S3_MSG_DISK,
    S3_MSG_SUCCESSOR,
    S3_MSG_ANSWER,
    S3_MSG_PARTS,
    S3_MSG_UPLOADS,
    S3_MSG_SHARD
};


typedef struct {
    uint32_t      length;
    uint16_t      type;
    uint16_t      version;
    uint64_t      request;
    uint32_t      status;
} s3_msg_t;


/* begin: appends a header; returns where it stands (an offset in b).  end:
 * fills in its length */
size_t s3_msg_begin(s3_buf_t *b, unsigned type, uint64_t request,
    unsigned status);
void s3_msg_end(s3_buf_t *b, size_t at);

/*
 * Looks at the first bytes received: returns the message's length when all of
 * it is there (msg is filled in, its payload is data + S3_PROTO_HEADER), 0
 * when more is needed, -1 when it is not a message (wrong version, length
 * under the header or over max).
 */
ssize_t s3_msg_parse(const uint8_t *data, size_t len, size_t max,
    s3_msg_t *msg);


/*
 * RUNTIME/NAME.sock, non-blocking, close-on-exec; the path's length is no
 * matter (by way of /proc/thread-self/fd).  Return a descriptor, or -1 with
 * errno.  listen: binds under another name and renames, so that there is no
 * moment without a socket; only who holds the store's lock may call it.
 */
int s3_proto_connect(const char *runtime, const char *name);
int s3_proto_listen(const char *runtime, const char *name);


#endif /* _S3_PROTO_H_INCLUDED_ */
