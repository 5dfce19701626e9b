#ifndef _S3_INDEX_INTERNAL_H_INCLUDED_
#define _S3_INDEX_INTERNAL_H_INCLUDED_


/*
 * What the files of the index share: s3_index.c (connection, batch),
 * s3_index_row.c (tables, rows, effects), s3_index_decide.c (what a commit
 * means), s3_index_multipart.c (the same of multipart uploads),
 * s3_index_catchup.c (bringing a laggard forward), s3_index_copy.c (all rows,
 * for a fresh copy), s3_index_read.c (look-ups, housekeeping),
 * s3_index_list.c (pages of lists).
 *
 * A row is an array of values in the order of its table's columns, the
 * primary key first.  The tables stand once, in s3_index_tables[]: their SQL,
 * their effects and the change log all come from it.
 */


#include <sqlite3.h>

#include "s3_index.h"


#define S3_INDEX_FILE          "index.db"
#define S3_INDEX_FORMAT        1             /* user_version */
#define S3_INDEX_APPLICATION   0x53334958    /* "S3IX" */
#define S3_INDEX_PAGE          4096

/* frames in the WAL from which a commit moves them into the database; and
 * from which it waits a moment for readers that keep it from starting over */
#define S3_INDEX_CHECKPOINT    1000
#define S3_INDEX_RESTART       16000

/* a change's id is sequence << 20 | its number in the batch */
#define S3_INDEX_CHANGE_BITS   20

/* numbers for new rows: sequence << 16 | a counter of the batch */
#define S3_INDEX_NUMBER_BITS   16

/* batches of history that one batch may forget */
#define S3_INDEX_TRIM          4

#define S3_COLUMNS_MAX         12

/* generation, sequence, digest */
#define S3_POSITION_SIZE       48


/* numbers in effects and in the change log: never used again for another */
typedef enum {
    S3_TABLE_BUCKET = 1,
    S3_TABLE_OBJECT,
    S3_TABLE_DATA,
    S3_TABLE_INLINE,
    S3_TABLE_PART,
    S3_TABLE_UPLOAD,
    S3_TABLE_GARBAGE,
    S3_TABLE_VERDICT,
    S3_TABLE_MEMBER,
    S3_TABLE_STATE,
    S3_TABLE_BATCH,
    S3_TABLE_CHANGE,
    S3_TABLES
} s3_table_e;

/* their columns */
enum { S3_BUCKET_NAME, S3_BUCKET_ID, S3_BUCKET_CREATED, S3_BUCKET_CONFIG };
enum { S3_OBJECT_BUCKET, S3_OBJECT_KEY, S3_OBJECT_VERSION, S3_OBJECT_FLAGS,
       S3_OBJECT_SIZE, S3_OBJECT_MTIME, S3_OBJECT_ETAG, S3_OBJECT_CHECKSUM,
       S3_OBJECT_DATA_ID, S3_OBJECT_ATTRS, S3_OBJECT_META };
enum { S3_DATA_ID, S3_DATA_SESSION, S3_DATA_REFS, S3_DATA_SIZE, S3_DATA_MASK,
       S3_DATA_GEOMETRY, S3_DATA_PARTS, S3_DATA_INLINE };
enum { S3_INLINE_ID, S3_INLINE_BYTES };
enum { S3_PART_DATA_ID, S3_PART_NUMBER, S3_PART_OFFSET, S3_PART_SIZE,
       S3_PART_MTIME, S3_PART_ETAG, S3_PART_CHECKSUM, S3_PART_SHARD_ID,
       S3_PART_SESSION, S3_PART_MASK, S3_PART_GEOMETRY, S3_PART_ATTRS };
enum { S3_UPLOAD_BUCKET, S3_UPLOAD_KEY, S3_UPLOAD_ID, S3_UPLOAD_STATE,
       S3_UPLOAD_INITIATED, S3_UPLOAD_CHECKSUM, S3_UPLOAD_ATTRS,
       S3_UPLOAD_META, S3_UPLOAD_RESULT };
enum { S3_GARBAGE_SEQUENCE, S3_GARBAGE_SHARD_ID, S3_GARBAGE_SESSION,
       S3_GARBAGE_MASK, S3_GARBAGE_SIZE, S3_GARBAGE_GEOMETRY };
enum { S3_VERDICT_SESSION, S3_VERDICT_REQUEST, S3_VERDICT_STATUS,
       S3_VERDICT_MTIME };
enum { S3_MEMBER_SLOT, S3_MEMBER_SINCE };
enum { S3_STATE_NAME, S3_STATE_VALUE };
enum { S3_BATCH_SEQUENCE, S3_BATCH_GENERATION, S3_BATCH_DIGEST };
enum { S3_CHANGE_ID, S3_CHANGE_TABLE, S3_CHANGE_KEY };

/* object.flags */
#define S3_OBJECT_DELETE_MARKER   1
#define S3_OBJECT_NOT_CURRENT     2     /* there is a newer version */


typedef struct {
    int64_t            n;         /* of an integer column */
    s3_slice_t         b;         /* of a blob column */
} s3_value_t;


typedef struct {
    const char        *name;
    const char        *types;     /* a letter a column: i, b */
    unsigned           nkey;      /* of them primary key */
    const char        *columns;   /* names, separated by commas */
    const char        *index;     /* columns of a second index, or NULL */
} s3_table_t;

extern const s3_table_t   s3_index_tables[S3_TABLES];


/* effects: what happens to a row */
typedef enum {
    S3_EFFECT_PUT = 1,
    S3_EFFECT_DELETE,
    S3_EFFECT_TRIM,               /* S3_TABLE_BATCH: history below the key */
    S3_EFFECTS
} s3_effect_e;


/* other statements than those of the tables */
typedef enum {
    S3_SQL_BEGIN = 0,
    S3_SQL_BEGIN_WRITE,
    S3_SQL_COMMIT,
    S3_SQL_ROLLBACK,
    S3_SQL_OBJECT,
    S3_SQL_BUCKET_USED,
    S3_SQL_BUCKET_BY_ID,
    S3_SQL_PARTS,
    S3_SQL_PARTS_AFTER,
    S3_SQL_PART_BY_SHARD,
    S3_SQL_GARBAGE_BY_SHARD,
    S3_SQL_VERDICTS,
    S3_SQL_TRIM_BATCH,
    S3_SQL_TRIM_CHANGE,
    S3_SQL_OLDEST,
    S3_SQL_BATCHES,
    S3_SQL_CHANGES,
    S3_SQL_BUCKETS,
    S3_SQL_LIST,
    S3_SQL_UPLOADS,
    S3_SQL_UPLOAD_OF,
    S3_SQL_UPLOAD_BUCKETS,
    S3_SQL_COMPLETED,
    S3_SQL_OLD_UPLOAD,
    S3_SQL_GARBAGE,
    S3_SQL_HOLES,
    S3_SQL_PART_HOLES,
    S3_SQL_MARKED,
    S3_SQL_PART_MARKED,
    S3_SQL_SESSIONS,
    S3_SQL_MEMBERS,
    S3_SQL_STATEMENTS
} s3_sql_e;

extern const char *const  s3_index_sql[S3_SQL_STATEMENTS];


typedef enum {
    S3_ROW_GET = 0,
    S3_ROW_PUT,
    S3_ROW_DELETE,
    S3_ROW_STATEMENTS
} s3_row_e;


struct s3_index_s {
    sqlite3           *db;
    s3_vfs_t          *vfs;
    int                writer;
    int                batch;     /* between begin and commit or rollback */
    int                snapshot;  /* between snapshot and release */
    int                error;     /* of the batch: nothing more goes in */
    int                failed;    /* a checkpoint's, for the next begin */
    int                frames;    /* in the WAL after the last commit */
    uint64_t           counter;   /* of numbers given in the batch */

    sqlite3_stmt      *rows[S3_TABLES][S3_ROW_STATEMENTS];
    sqlite3_stmt      *sql[S3_SQL_STATEMENTS];

    char               message[256];
};


/* s3_index.c */

/* SQLite's result as errno, with its text kept; in a batch it sticks */
int s3_index_fail(s3_index_t *index, int rc);
/* the same for what SQLite knows nothing of */
int s3_index_error(s3_index_t *index, int err, const char *text);

/* the rows that say where an index stands; value: S3_POSITION_SIZE bytes */
void s3_position_row(const s3_position_t *position, uint8_t *value,
    s3_value_t *row);
void s3_batch_row(const s3_position_t *position, s3_value_t *row);

/* one snapshot around a read, and the sequence it shows; end() takes the
 * read's result and returns it, or its own */
int s3_index_read_begin(s3_index_t *index, uint64_t *sequence);
int s3_index_read_end(s3_index_t *index, int rc);


/* s3_index_row.c */

/* a statement ready to be bound; NULL: index->message, *err */
sqlite3_stmt *s3_index_stmt(s3_index_t *index, s3_sql_e sql, int *err);
/* runs one that gives no rows, and resets it */
int s3_index_run(s3_index_t *index, s3_sql_e sql);
void s3_index_reset(s3_index_t *index);
void s3_index_finalize(s3_index_t *index);

int s3_bind_blob(sqlite3_stmt *stmt, int i, const void *p, size_t len);
s3_slice_t s3_column_blob(sqlite3_stmt *stmt, int i);
/* the row's first n columns as the statement's parameters, from the first */
int s3_row_bind(s3_index_t *index, sqlite3_stmt *stmt, s3_table_e table,
    const s3_value_t *row, unsigned n);
/* all of a table's columns, from the statement's i-th on */
void s3_row_columns(sqlite3_stmt *stmt, int i, s3_table_e table,
    s3_value_t *row);

/*
 * Looks for the row whose primary key stands in row; found, its columns are
 * filled in.  Blobs are SQLite's memory until s3_row_release() of the table.
 */
int s3_row_get(s3_index_t *index, s3_table_e table, s3_value_t *row,
    int *found);
void s3_row_release(s3_index_t *index, s3_table_e table);

/* appends the effect; row may be SQLite's memory */
void s3_effect_write(s3_buf_t *b, s3_effect_e effect, s3_table_e table,
    const s3_value_t *row);
/* 0 or EPROTO; row points into the reader's bytes */
int s3_effect_read(s3_reader_t *r, s3_effect_e *effect, s3_table_e *table,
    s3_value_t *row);
int s3_effect_apply(s3_index_t *index, s3_effect_e effect, s3_table_e table,
    const s3_value_t *row);

/* appends it and makes it so; releases what s3_row_get() found there */
int s3_index_emit(s3_index_t *index, s3_buf_t *effects, s3_effect_e effect,
    s3_table_e table, const s3_value_t *row);

/* k | m << 8 | unit << 16, and back */
int64_t s3_geometry_pack(const s3_geometry_t *g);
void s3_geometry_unpack(int64_t v, s3_geometry_t *g);

/* primary key columns alone, as change.key has them */
void s3_row_write_key(s3_buf_t *b, s3_table_e table, const s3_value_t *row);
int s3_row_read_key(s3_slice_t key, s3_table_e table, s3_value_t *row);

/* SQL of the table and of its second index; sqlite3_free().  NULL: no memory,
 * or the table has no second index */
char *s3_table_create(s3_table_e table);
char *s3_table_create_index(s3_table_e table);


/* s3_index_decide.c: a commit being decided */

typedef struct {
    s3_index_t         *index;
    const s3_commit_t  *commit;
    uint64_t            sequence;
    s3_buf_t           *effects;
    int                 status;
} s3_decision_t;

static inline s3_slice_t
s3_id(const uint8_t *id)
{
    s3_slice_t  s;

    s.data = id;
    s.len = 16;

    return s;
}

/* the bucket's id, or NO_SUCH_BUCKET as d->status */
int s3_decide_bucket(s3_decision_t *d, s3_slice_t name, int64_t *id);
/* the current object of the commit's key, and its conditions */
int s3_decide_object(s3_decision_t *d, int64_t bucket, int *found,
    uint8_t *data_id);
/* the commit's shards may be another's already */
int s3_decide_used(s3_decision_t *d, int *used);
/* what a refusal leaves of a commit with shards */
int s3_decide_refuse(s3_decision_t *d);
/* shards that no row names any more */
int s3_decide_bury(s3_decision_t *d, s3_slice_t shard_id,
    s3_slice_t session, int64_t size, int64_t geometry);
/* an object less has that data */
int s3_decide_unref(s3_decision_t *d, const uint8_t *data_id);


/* s3_index_multipart.c */

int s3_decide_create_upload(s3_decision_t *d);
int s3_decide_part(s3_decision_t *d);
int s3_decide_complete(s3_decision_t *d);
int s3_decide_abort(s3_decision_t *d);
int s3_decide_reap(s3_decision_t *d);
/* up to *max of the parts under that id become garbage; *max: what is left
 * of it */
int s3_decide_bury_parts(s3_decision_t *d, const uint8_t *data_id,
    unsigned *max);


#endif /* _S3_INDEX_INTERNAL_H_INCLUDED_ */
