#ifndef _S3_RECORD_H_INCLUDED_
#define _S3_RECORD_H_INCLUDED_


/*
 * What the workers and the store process say to each other about: commits,
 * their verdicts, objects, pages of lists.  Each has an encoding
 * (s3_record.c), which stands in messages; rows are the index's own matter.
 *
 * Slices point into the bytes a record was decoded from, which must outlive
 * it.
 */


#include "s3_buf.h"
#include "s3_erasure.h"


#define S3_INLINE_MAX        16384      /* bytes of data kept in the index */
#define S3_KEY_MAX           1024
#define S3_BUCKET_MAX        255
#define S3_META_MAX          16384
#define S3_ATTRS_MAX         16384      /* a bucket's configuration, too */
#define S3_ETAG_MAX          20         /* MD5, u32 number of parts */
#define S3_CHECKSUM_MAX      256
#define S3_PARTS_MAX         10000
#define S3_PART_REF_LEN      20         /* of s3_write_part_ref() */
#define S3_RESULT_MAX        16384
#define S3_LIST_MAX          1000


/* the result of whatever is asked of the store */
typedef enum {
    S3_STORE_OK = 0,
    S3_STORE_NO_SUCH_BUCKET,
    S3_STORE_NO_SUCH_KEY,
    S3_STORE_BUCKET_EXISTS,
    S3_STORE_BUCKET_NOT_EMPTY,
    S3_STORE_PRECONDITION_FAILED,   /* 412 */
    S3_STORE_CONFLICT,              /* 409 */
    S3_STORE_UNKNOWN,               /* outcome: no such commit was decided */
    S3_STORE_READ_ONLY,             /* no quorum: 503 */
    S3_STORE_UNAVAILABLE,           /* fewer than k disks: 503 */
    S3_STORE_BUSY,                  /* a queue is full, or too late: SlowDown */
    S3_STORE_NO_SPACE,
    S3_STORE_SHARDS_MISSING,        /* too few shards of members: try again */
    S3_STORE_BAD_REQUEST,           /* a message that makes no sense */
    S3_STORE_DAMAGED,               /* more shards are bad than parity covers */
    S3_STORE_UNDECIDED,             /* a commit that may be either: 503; no
                                       one may remove its shards */
    S3_STORE_ERROR,                 /* logged where it happened */
    S3_STORE_NO_SUCH_UPLOAD,
    S3_STORE_TOO_SLOW,              /* a worker's own: s3_slow_pt */
    S3_STORE_LAST                   /* verdicts are stored: append before it */
} s3_store_status_e;

const char *s3_store_status_text(int status);


/* one erasure-coded run of bytes: a whole object, or a part */
typedef struct {
    uint8_t          shard_id[16];
    uint8_t          session[16];    /* that wrote it */
    uint32_t         number;         /* of the part; 0: a whole object */
    uint64_t         offset;         /* in the object */
    uint64_t         size;
    uint64_t         mask;           /* bit s: disk of slot s holds a shard */
    s3_geometry_t    geometry;
} s3_extent_t;


typedef struct {
    uint64_t         size;
    int64_t          mtime;          /* ms since the epoch */
    s3_slice_t       etag;           /* 16 bytes MD5, or MD5 and u32 parts */
    s3_slice_t       meta;           /* opaque here: s3_metadata.h */
    s3_slice_t       checksum;       /* opaque here: algorithm, type, digest */
    s3_slice_t       attrs;          /* room: tags, locks, encryption */
    uint8_t          data_id[16];
    uint8_t          is_inline;
    s3_slice_t       data;           /* the bytes, where is_inline */
    uint32_t         nextents;       /* 0 where is_inline or size 0 */
    s3_extent_t     *extents;        /* malloced; s3_object_free() */
} s3_object_t;

void s3_object_free(s3_object_t *o);


enum {
    S3_COMMIT_PUT = 1,
    S3_COMMIT_DELETE,                /* one object */
    S3_COMMIT_CREATE_BUCKET,
    S3_COMMIT_DELETE_BUCKET,
    S3_COMMIT_COPY,                  /* the object's data gets a second name */
    S3_COMMIT_CREATE_UPLOAD,
    S3_COMMIT_PART,
    S3_COMMIT_COMPLETE,
    S3_COMMIT_ABORT,

    /* the store process's own */
    S3_COMMIT_GENERATION = 64,       /* no user write; mask: the members */
    S3_COMMIT_SESSION_END,           /* drops the verdicts of session */
    S3_COMMIT_GARBAGE,               /* shard_id: slots of mask are unlinked */
    S3_COMMIT_REPAIRED,              /* shard_id: slots of mask hold it now */
    S3_COMMIT_REAP,                  /* uploads whose time is over */
    S3_COMMIT_VOID                   /* shards of those above shard_id, up to
                                        source: none in the slots of mask */
};

#define S3_IF_NONE_MATCH_ANY   1     /* If-None-Match: * */
#define S3_IF_MATCH            2     /* etag in if_match */
#define S3_IF_MATCH_ANY        4     /* If-Match: * */
#define S3_CONDITIONS          7     /* all of them */


/* a write; (session, request) names it for good (ruling 2) */
typedef struct {
    uint8_t          op;
    uint8_t          conditions;
    uint8_t          session[16];
    uint64_t         request;        /* 1 upward in a session */
    uint64_t         acked;          /* verdicts of requests below are done
                                        with */
    s3_slice_t       bucket;
    s3_slice_t       key;
    s3_slice_t       if_match;       /* as s3_object_t.etag */

    /* S3_COMMIT_PUT */
    uint64_t         size;
    s3_slice_t       etag;
    s3_slice_t       meta;
    s3_slice_t       checksum;
    s3_slice_t       attrs;          /* also CREATE_BUCKET: its configuration */
    uint8_t          is_inline;
    s3_slice_t       data;
    uint8_t          shard_id[16];   /* also GARBAGE, REPAIRED; = data id */
    uint64_t         mask;
    uint64_t         generation;     /* in which the shards were opened */
    s3_geometry_t    geometry;

    /* S3_COMMIT_COPY: etag, meta, checksum, attrs are the new object's */
    s3_slice_t       source_bucket;
    s3_slice_t       source_key;
    uint8_t          source[16];     /* data id it had when it was looked at */

    /* of multipart uploads: CREATE_UPLOAD (with meta, checksum, attrs), PART
     * (with what a PUT of shards has, never inline), COMPLETE (with
     * conditions, etag, checksum; meta and attrs are the upload's), ABORT */
    uint8_t          upload_id[16];
    uint32_t         number;         /* PART: 1 .. S3_PARTS_MAX */
    s3_slice_t       parts;          /* COMPLETE: s3_write_part_ref() each, in
                                        ascending order of numbers */
    s3_slice_t       result;         /* COMPLETE: opaque, kept for who asks
                                        again */

    /* the store process's, not in messages */
    int64_t          mtime;
    uint64_t         fresh;          /* GENERATION: members that start anew,
                                        whatever the rows say */
    uint64_t         gone;           /* REAP: id of a bucket that is no more;
                                        0: uploads completed long ago */
    uint8_t          refuse;         /* s3_store_status_e: the verdict, whatever
                                        the rows say; 0: they decide */
} s3_commit_t;


typedef struct {
    uint8_t          status;         /* s3_store_status_e */
    int64_t          mtime;
} s3_verdict_t;


typedef struct {
    s3_slice_t       name;
    int64_t          created;        /* ms since the epoch */
    s3_slice_t       config;
} s3_bucket_t;


typedef struct {
    s3_slice_t       bucket;
    s3_slice_t       prefix;
    s3_slice_t       delimiter;      /* len 0: none */
    s3_slice_t       after;          /* keys greater than it (bytes) */
    uint32_t         max;            /* 0 .. S3_LIST_MAX */
} s3_list_query_t;

/* an entry of a page: an object, or a common prefix */
typedef struct {
    uint8_t          is_prefix;
    s3_slice_t       key;
    uint64_t         size;
    int64_t          mtime;
    s3_slice_t       etag;
    s3_slice_t       checksum;
} s3_list_entry_t;

typedef struct {
    uint8_t          truncated;
    s3_slice_t       next;           /* "after" of the next page, if truncated:
                                        the last key or common prefix given; a
                                        common prefix given as after skips all
                                        under it */
    uint32_t         nentries;       /* in key order, prefixes among them */
    s3_list_entry_t *entries;        /* malloced; free() */
} s3_list_page_t;


/*
 * A multipart upload.  upload_id: u64 BE ms since the epoch, 8 random bytes:
 * uploads of one key are listed in the order of their beginning.  It is the
 * data id of the object that it becomes.
 */
typedef struct {
    s3_slice_t       key;
    uint8_t          upload_id[16];
    uint8_t          completed;      /* its rows are kept for 24 hours */
    int64_t          initiated;      /* ms since the epoch */
    s3_slice_t       checksum;       /* opaque here; as these: CREATE_UPLOAD's */
    s3_slice_t       attrs;
    s3_slice_t       meta;
    s3_slice_t       result;         /* completed: COMPLETE's */
} s3_multipart_t;

typedef struct {
    uint32_t         number;         /* 1 .. S3_PARTS_MAX */
    uint8_t          shard_id[16];
    uint64_t         size;
    int64_t          mtime;
    s3_slice_t       etag;
    s3_slice_t       checksum;
} s3_part_t;

typedef struct {
    s3_slice_t       bucket;
    s3_slice_t       key;
    uint8_t          of_object;      /* the current object's parts, not an
                                        upload's */
    uint8_t          upload_id[16];
    uint32_t         after;          /* parts with a greater number */
    uint32_t         max;            /* 0 .. S3_PARTS_MAX */
} s3_part_query_t;

/*
 * of_object: upload has the object's data id as upload_id and nothing else,
 * and there are no parts where it was not uploaded in parts
 */
typedef struct {
    s3_multipart_t   upload;
    uint8_t          truncated;
    uint32_t         nparts;         /* in the order of numbers */
    s3_part_t       *parts;          /* malloced; free() */
} s3_part_page_t;

typedef struct {
    s3_slice_t       bucket;
    s3_slice_t       prefix;
    s3_slice_t       delimiter;      /* len 0: none */
    s3_slice_t       after;          /* keys greater than it; or, with */
    uint8_t          after_upload;   /* it, also uploads of that key greater */
    uint8_t          after_id[16];   /* than after_id */
    uint32_t         max;            /* 0 .. S3_LIST_MAX */
} s3_upload_query_t;

/* an entry: an upload that is not completed (key, upload_id, initiated,
 * checksum), or a common prefix in its key */
typedef struct {
    uint8_t          is_prefix;
    s3_multipart_t   upload;
} s3_upload_entry_t;

typedef struct {
    uint8_t              truncated;
    s3_slice_t           next;       /* the last key or common prefix given */
    uint8_t              next_id[16]; /* zeros after a common prefix */
    uint32_t             nentries;   /* in the order of keys, then ids */
    s3_upload_entry_t   *entries;    /* malloced; free() */
} s3_upload_page_t;


/*
 * write_*: append the encoding; look at b->error once.  read_*: 0, EBADMSG or
 * ENOMEM; nothing to free after an error.  Every bound above is checked, and
 * what a reader of the record may rely on: names where the operation has
 * them, a valid geometry and a mask within it where there are shards, inline
 * data as long as size says, extents that cover the object without a hole.
 */
void s3_write_commit(s3_buf_t *b, const s3_commit_t *c);
int s3_read_commit(s3_reader_t *r, s3_commit_t *c);
void s3_write_verdict(s3_buf_t *b, const s3_verdict_t *v);
int s3_read_verdict(s3_reader_t *r, s3_verdict_t *v);
void s3_write_object(s3_buf_t *b, const s3_object_t *o);
int s3_read_object(s3_reader_t *r, s3_object_t *o);
void s3_write_bucket(s3_buf_t *b, const s3_bucket_t *bucket);
int s3_read_bucket(s3_reader_t *r, s3_bucket_t *bucket);
void s3_write_list_query(s3_buf_t *b, const s3_list_query_t *q);
int s3_read_list_query(s3_reader_t *r, s3_list_query_t *q);
void s3_write_list_entry(s3_buf_t *b, const s3_list_entry_t *e);
/* truncated, next, count, entries */
void s3_write_list_page(s3_buf_t *b, const s3_list_page_t *p);
int s3_read_list_page(s3_reader_t *r, s3_list_page_t *p);
/* an element of s3_commit_t.parts: u32 number | shard id 16 */
void s3_write_part_ref(s3_buf_t *b, uint32_t number,
    const uint8_t shard_id[16]);
void s3_write_part_query(s3_buf_t *b, const s3_part_query_t *q);
int s3_read_part_query(s3_reader_t *r, s3_part_query_t *q);
void s3_write_part_page(s3_buf_t *b, const s3_part_page_t *p);
int s3_read_part_page(s3_reader_t *r, s3_part_page_t *p);
void s3_write_upload_query(s3_buf_t *b, const s3_upload_query_t *q);
int s3_read_upload_query(s3_reader_t *r, s3_upload_query_t *q);
void s3_write_upload_page(s3_buf_t *b, const s3_upload_page_t *p);
int s3_read_upload_page(s3_reader_t *r, s3_upload_page_t *p);


#endif /* _S3_RECORD_H_INCLUDED_ */
