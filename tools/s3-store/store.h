#ifndef _S3_STORE_H_INCLUDED_
#define _S3_STORE_H_INCLUDED_


/*
 * s3-store: looks after the disks of a store: while no nginx has them, and in
 * part while one has.
 *
 *     main.c      options and commands
 *     ask.c       the store process of a set that is in use
 *     disk.c      disks as arguments: lock, DISK/format, who stands where
 *     live.c      the indexes of a set that is in use
 *     page.c      SQLite's way to an index: its pages and their checksums
 *     index.c     an index is opened, checked, compared with another
 *     row.c       rows of indexes
 *     log.c       which pages the write-ahead log has
 *     run.c       shards, and data from any k of them
 *     object.c    an object's bytes against what its row says of them
 *     sum.c       checksums
 *     status.c, verify.c, salvage.c, heal.c, replace.c    a command each
 *     again.c     what verify has to ask for again where the set is in use
 *     out.c       text, JSON lines, progress
 *
 * It shares nothing with src/store but the format, of which docs/format.md and
 * docs/format-index.md are the description; that is what makes it a second
 * opinion.  Nothing on a disk is ever written.  What stands on a disk is taken
 * for anybody's: each length is bounded before it is used, symbolic links are
 * not followed, SQL of an index must be what the format says.
 *
 * Functions that return int give 0, or -1 after an error of their own; more
 * is said where there is more.  One thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <sqlite3.h>


#define ST_DISKS_MAX       32
#define ST_PAGE            4096
#define ST_BLOCK           65536
#define ST_INLINE_MAX      16384
#define ST_KEY_MAX         1024
#define ST_META_MAX        16384
#define ST_PARTS_MAX       10000
#define ST_RUN_MAX         (5ULL * 1024 * 1024 * 1024)

/* exit status; docs/s3-store.md */
#define ST_OK              0
#define ST_DAMAGED         1           /* everything can be read */
#define ST_LOST            2
#define ST_FAILED          3           /* it could not be done */


/* ---- out.c */

extern int   st_json;                  /* --json */
extern int   st_output;                /* errno of standard output, or 0 */

void st_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* nowhere else to go: says so and exits with ST_FAILED */
void st_no_memory(void) __attribute__((noreturn));

/* a line of text on standard output */
void st_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* bytes as a word of printable ASCII and UTF-8: \xNN for what is not, "\\"
 * for "\".  free() */
char *st_escape(const void *p, size_t len);
/* bytes under name; under NAME_hex, in hexadecimal, where they are not UTF-8 */
void st_json_bytes(json_t *object, const char *name, const void *p,
    size_t len);
/* one line, and the reference is gone */
void st_json_line(json_t *json);
/* json_object_set_new() that does not return without memory */
void st_json_set(json_t *object, const char *name, json_t *value);
void st_hex(const void *p, size_t len, char *text);

/* on a terminal alone; total 0: no bar */
void st_progress_start(const char *what, uint64_t total);
void st_progress(uint64_t done);
void st_progress_end(void);


/* ms of a clock that goes forward only */
uint64_t st_now(void);


/* ---- ask.c: the store process, where one has the set */

typedef struct st_ask_s  st_ask_t;

/* NULL, errno: nobody listens for that set.  owner: of its disks */
st_ask_t *st_ask_open(const uint8_t set_id[16], uid_t owner);
void st_ask_close(st_ask_t *ask);
/* a line, its end too; the answer, or NULL: none, and it was said why.  What
 * is asked may come twice, where nginx is reloaded */
json_t *st_ask(st_ask_t *ask, const char *line);
/* the user that answers */
uid_t st_ask_user(st_ask_t *ask);
/* the object that is asked for; NULL: it was said why */
json_t *st_ask_status(st_ask_t *ask);
json_t *st_ask_view(st_ask_t *ask);
/* whether the view was there until now */
int st_ask_release(st_ask_t *ask);


/* ---- log.c: DISK/index.db-wal */

/*
 * Sets the bit of each page (from 1) of which there is an image in committed
 * frames.  fd -1: no log.  max: bytes of it that count.  pages: of the map.
 * *unread: bytes that stand behind the last valid frame with the log's own
 * salts
 */
int st_log_map(int fd, uint64_t max, uint8_t *map, uint64_t pages,
    uint64_t *unread);


/* ---- disk.c */

typedef enum {
    ST_CURRENT = 0,                    /* stands where the newest does */
    ST_LAGGARD,                        /* in the newest one's history */
    ST_OUTDATED,                       /* older than what that history has */
    ST_FORKED,                         /* not in it */
    ST_BROKEN,                         /* of the set, its index is unreadable */
    ST_OUT,                            /* nginx has left it out */
    ST_FORMING,
    ST_EMPTY,
    ST_FOREIGN,                        /* none of this set */
    ST_UNREADABLE                      /* the directory, or DISK/format */
} st_state_e;

typedef enum {
    ST_SQL_DATA = 0,
    ST_SQL_INLINE,
    ST_SQL_BUCKET,
    ST_SQL_KNOWN,                      /* whether a row has that shard */
    ST_SQL_NAMED,                      /* of data, not of garbage */
    ST_SQLS
} st_sql_e;

#define ST_WHY_MAX         256
#define ST_BAD_PAGES       8           /* as many are named */

typedef struct {
    char            *path;
    int              fd;               /* of the directory, locked; or -1 */
    dev_t            dev;
    ino_t            ino;
    st_state_e       state;
    char             why[ST_WHY_MAX];  /* where the state is not ST_CURRENT */

    int              placed;           /* DISK/format is good: the next five */
    uint8_t          set_id[16];
    uint8_t          disk_id[16];
    unsigned         slot;
    unsigned         ndisks;
    unsigned         parity;

    int              given_index;      /* copies to be read in place of the */
    int              given_log;        /* disk's files; or -1 */

    /* index.c's */
    sqlite3         *db;               /* NULL: it can't be read */
    sqlite3_stmt    *stmt[ST_SQLS];
    int              index_fd;
    int              log_fd;
    uint8_t         *log_map;
    uint64_t         log_max;          /* bytes of it that count */
    uint64_t         pages;            /* of index.db */
    uint64_t         log_unread;
    uint64_t         steps;            /* of SQLite's, in millions */
    uint64_t         steps_max;
    uint64_t         bad[ST_BAD_PAGES];
    unsigned         nbad;             /* pages that were read and were bad,
                                          up to ST_BAD_PAGES */

    uint64_t         generation;
    uint64_t         sequence;
    uint8_t          digest[32];
} st_disk_t;


typedef struct {
    st_disk_t        disk[ST_DISKS_MAX];
    unsigned         n;                /* as many arguments */

    uint8_t          set_id[16];
    unsigned         ndisks;
    unsigned         parity;
    st_ask_t        *ask;              /* NULL: nobody else has the set */
    int              holding;          /* a view, of which the disks' own
                                          indexes are read */
    st_disk_t       *slot[ST_DISKS_MAX];  /* NULL: not given, or unusable */
    unsigned         away;             /* slots without a disk */

    /* indexes in the order in which they are asked: newest first.  The first
     * ncurrent say the same */
    st_disk_t       *view[ST_DISKS_MAX];
    unsigned         nview;
    unsigned         ncurrent;
    int              unread;           /* st_row_find() found none, and one
                                          of them could not be read */
} st_set_t;

/* what is done where a store process has the set */
typedef enum {
    ST_ALONE = 0,                      /* nothing: it is an error */
    ST_ASKED,                          /* it is asked; no index is read */
    ST_IN_PLACE,                       /* its view is held, and read */
    ST_COPIED                          /* its view is copied, and let go */
} st_how_e;

/*
 * Opens all; locks them where nobody has the set, asks for a view where a
 * store process has it.  Says on standard error what ends it: no set among
 * them, a disk that somebody else has.  Disks that are bad are no error
 */
int st_set_open(st_set_t *set, char **paths, unsigned n, st_how_e how);
/* the same disks, in use: as they are now, in place.  set stays open longer */
int st_set_open_again(st_set_t *again, st_set_t *set);
/* where indexes were read in place: 0, or -1: they may not have been what
 * they were, and nothing that was read is sure */
int st_set_release(st_set_t *set);
void st_set_close(st_set_t *set);
/* which disk has which index, once those that have none to be read are said
 * to be out */
void st_set_view(st_set_t *set);
const char *st_state_name(st_state_e state);
/* {"path", "state", "slot", ...} */
json_t *st_disk_json(st_set_t *set, st_disk_t *disk);
void st_disk_text(st_set_t *set, st_disk_t *disk);
/* what the disks alone come to: ST_OK, ST_DAMAGED, or ST_LOST: fewer than
 * k of them, so that newer writes may be unseen */
int st_set_verdict(st_set_t *set);
void st_set_warn(st_set_t *set);

/* ---- live.c */

/* the indexes of a view, in place or copied: 0; -1: it was said why */
int st_live_open(st_set_t *set, st_how_e how);


/* but for lost+found.  0: empty; 1: not; -1, errno */
int st_dir_empty(int fd);
/* opens a path below the disk without following a link; -1, errno */
int st_open_below(int root, const char *path, int flags);
/* exactly n bytes: 0; or errno, EIO where the file ends before */
int st_read_at(int fd, void *p, size_t n, uint64_t offset);


/* ---- page.c */

int st_index_init(void);
/* SQLite's connection to the files of the disk: SQLite's result */
int st_vfs_add(st_disk_t *disk, sqlite3 **db);
void st_vfs_remove(st_disk_t *disk);
/* of index.db: SQLite's result */
int st_file_read_db(st_disk_t *disk, uint8_t *p, size_t size,
    uint64_t offset);
int st_page_good(const uint8_t *page, uint64_t pgno);
/* whether the log has it */
int st_page_logged(st_disk_t *disk, uint64_t pgno);


/* ---- index.c */

/* 0, or -1: disk->why says what is wrong */
int st_index_open(st_disk_t *disk);
void st_index_close(st_disk_t *disk);
/* 1: that position is in the disk's history; 0: not; -1: not, being older than
 * all of that; -2: it can't be read */
int st_index_knows(st_disk_t *disk, const st_disk_t *other);

/*
 * All pages of index.db against their checksums, and SQLite's own check of
 * their order.  Calls problem() with each, at most some hundred; 0, or the
 * number of problems
 */
typedef void (*st_problem_pt)(void *data, const char *text);
unsigned st_index_check(st_disk_t *disk, st_problem_pt problem, void *data);
/* rows of one against the rows of the other, each table; problems as above */
unsigned st_index_compare(st_disk_t *one, st_disk_t *other,
    st_problem_pt problem, void *data);

/* ---- row.c */

/* of SQLite's memory until the next step; NULL: none */
typedef struct {
    const uint8_t   *data;
    size_t           len;
} st_bytes_t;

st_bytes_t st_column(sqlite3_stmt *stmt, int i);

/*
 * Rows in the order of their key, the first nkey columns (1 or 3) that are
 * selected.  Where an index fails in the middle the next one that says the
 * same goes on; where all have failed the rows behind the damage are taken
 * from the end, and *broken is set.  row() gives 0 to go on.  Returns what
 * row() did, or 0
 */
typedef struct {
    const char      *select;           /* "SELECT a, b, ... FROM t" */
    const char      *where;            /* "AND ..." or "" */
    const char      *key;              /* "a, b" */
    unsigned         nkey;
    st_bytes_t       bind;             /* data NULL: none; else ?9 */
} st_scan_t;

typedef int (*st_row_pt)(void *data, sqlite3_stmt *stmt);
int st_scan(st_set_t *set, const st_scan_t *scan, st_row_pt row, void *data,
    int *broken);

/*
 * The one row of it, from the first index that has it: NULL: there is none.
 * Valid until st_row_done()
 */
sqlite3_stmt *st_row_find(st_set_t *set, st_sql_e sql, st_bytes_t id,
    int64_t number);
void st_row_done(sqlite3_stmt *stmt);

/* one number from a statement without parameters, of the newest index; -1 */
int st_index_number(st_set_t *set, const char *sql, uint64_t *n);


/* ---- sum.c */

enum {                                 /* as in a row's checksum column */
    ST_CRC32 = 1,
    ST_CRC32C,
    ST_SHA1,
    ST_SHA256,
    ST_CRC64NVME,
    ST_MD5,                            /* not there: the etag's */
    ST_SUMS
};

#define ST_SUM_MAX         32

typedef struct {
    unsigned         want;             /* bit of each */
    uint32_t         crc32;
    uint32_t         crc32c;
    uint64_t         crc64;
    EVP_MD_CTX      *md[ST_SUMS];
} st_sums_t;

const char *st_sum_name(unsigned algorithm);
/* bytes of a digest; 0: there is no such algorithm */
size_t st_sum_size(unsigned algorithm);
void st_sums_begin(st_sums_t *s, unsigned want);
void st_sums_update(st_sums_t *s, const void *p, size_t n);
/* the digest of one of those that were wanted; once each */
void st_sums_digest(st_sums_t *s, unsigned algorithm, uint8_t *digest);
void st_sums_end(st_sums_t *s);

uint32_t st_crc32c(uint32_t crc, const void *p, size_t n);


/* ---- run.c */

typedef struct {
    st_bytes_t       shard_id;         /* 16 bytes */
    st_bytes_t       session;          /* 16 bytes */
    uint64_t         size;             /* of the data */
    uint64_t         mask;
    uint64_t         geometry;
} st_run_t;

typedef enum {
    ST_FAULT_NONE = 0,
    ST_FAULT_AWAY,                     /* its disk is */
    ST_FAULT_HOLE,                     /* the row does not say it is there */
    ST_FAULT_GONE,                     /* the row says it is */
    ST_FAULT_KIND,                     /* no file */
    ST_FAULT_SIZE,
    ST_FAULT_FOOTER,
    ST_FAULT_TABLE,
    ST_FAULT_BLOCK,
    ST_FAULT_READ,
    ST_FAULT_PARITY,                   /* its sums are right, its bytes not */
    ST_FAULTS
} st_fault_e;

typedef struct {
    st_fault_e       fault;            /* the first */
    int              error;            /* of ST_FAULT_READ */
    uint64_t         block;            /* where */
    uint64_t         count;            /* blocks that are unusable */
} st_shard_t;

typedef struct {
    unsigned         k;
    unsigned         m;
    unsigned         slots[ST_DISKS_MAX];
    st_shard_t       shard[ST_DISKS_MAX];
    unsigned         short_of;         /* shards with a fault */
    const char      *invalid;          /* what of the row makes no sense */
    uint64_t         lost_at;          /* first byte that can't be had */
} st_result_t;

const char *st_fault_name(st_fault_e fault);

/* takes the data in order; 0 to go on */
typedef int (*st_sink_pt)(void *data, const uint8_t *p, size_t n);

/* 0: all data went through the sink; 1: it can't be had, result says why;
 * -1: the sink has ended it */
int st_run_read(st_set_t *set, const st_run_t *run, st_sink_pt sink,
    void *data, st_result_t *result);

/* 32 hexadecimal digits, lower case: 0 */
int st_id_parse(const char *text, uint8_t id[16]);


/* ---- object.c */

typedef enum {
    ST_WHOLE = 0,
    ST_SHORT,                          /* whole, shards are missing */
    ST_GONE                            /* lost */
} st_verdict_e;

const char *st_verdict_name(st_verdict_e verdict);
/* BUCKET/KEY, for people: escaped.  free() */
char *st_object_name(st_bytes_t bucket, st_bytes_t key, st_bytes_t version);
/* {"bucket", "key", "version"} */
json_t *st_object_json(st_bytes_t bucket, st_bytes_t key,
    st_bytes_t version);

typedef struct {
    int64_t          bucket_id;
    st_bytes_t       bucket;           /* its name; data NULL: it has no row */
    st_bytes_t       key;
    st_bytes_t       version;
    uint64_t         flags;
    uint64_t         size;
    int64_t          mtime;
    st_bytes_t       etag;
    st_bytes_t       checksum;
    st_bytes_t       data_id;
    st_bytes_t       meta;
} st_object_t;

#define ST_DELETE_MARKER   1
#define ST_NOT_CURRENT     2

typedef struct {
    st_verdict_e     verdict;
    unsigned         short_of;         /* most of any of its runs */
    json_t          *problems;         /* an array, or NULL */
    uint64_t         more;             /* problems that are not in it */
    int              gone;             /* a shard was not there */
    uint8_t          gone_id[16];      /* which one */
} st_report_t;

void st_report_init(st_report_t *report);
void st_report_free(st_report_t *report);
/* "what is wrong" of a problem, for people.  free() */
char *st_problem_text(json_t *problem);

/*
 * Reads all of it and compares what the row says.  sink may be NULL.  0, or
 * -1: the sink has ended it
 */
int st_object_read(st_set_t *set, const st_object_t *object, st_sink_pt sink,
    void *data, st_report_t *report);

/* parts of an upload that is not completed, each a report */
typedef void (*st_part_pt)(void *data, unsigned number, uint64_t size,
    st_report_t *report);
void st_upload_read(st_set_t *set, st_bytes_t upload_id, st_part_pt part,
    void *data, int *broken);

/* that part alone */
void st_part_find(st_set_t *set, const uint8_t upload_id[16], unsigned number,
    st_part_pt part, void *data);

/* every object of the newest index, in order */
typedef int (*st_object_pt)(void *data, const st_object_t *object);
int st_objects(st_set_t *set, st_object_pt object, void *data, int *broken);
/* the one with that key */
void st_object_find(st_set_t *set, int64_t bucket_id, st_bytes_t key,
    st_bytes_t version, st_object_pt object, void *data);

/* "d41d...-3", or "" where it makes no sense */
void st_etag_text(st_bytes_t etag, char text[64]);
/* {"content-type": ..., ...}, names in lower case; NULL: it makes no sense */
json_t *st_meta_json(st_bytes_t meta);


/* ---- again.c */

/*
 * A set in use goes on: a shard that was not there may have been deleted after
 * the view that named it, a file that no row has may be newer.  They are put
 * aside, and told when a later view has said which
 */
typedef struct st_again_s  st_again_t;

typedef struct {
    int              part;             /* else an object */
    json_t          *json;             /* or NULL: */
    char            *name;
    st_report_t      report;

    /* where it is found again, of heal alone */
    int64_t          bucket_id;
    uint8_t         *key;              /* and the version, behind it */
    size_t           key_len;
    size_t           version_len;
    uint8_t          upload_id[16];
    unsigned         number;
} st_later_t;

void st_later_free(st_later_t *later);

typedef struct {
    st_disk_t       *disk;
    char             folder[64];
    char             name[64];
} st_file_name_t;

typedef struct {
    /* there: it was damage; else it is deleted by now */
    void           (*shard)(void *data, st_later_t *later, int there);
    /* known: a row has it; 0: none has, and it is still there */
    void           (*file)(void *data, const st_file_name_t *file,
                           int known);
    void            *data;
} st_again_conf_t;

/* NULL where nobody else has the set */
st_again_t *st_again_create(st_set_t *set, const st_again_conf_t *conf);
/* json, name and report's problems are its own from there.  0; -1: no view is
 * to be had any more, and it was said why */
int st_again_shard(st_again_t *again, const st_later_t *later);
int st_again_file(st_again_t *again, const st_file_name_t *file);
/* all that are left, and the end */
int st_again_end(st_again_t *again);


/* ---- verify.c */

/*
 * As list-damaged, but what is not whole goes to bad(), whose it is from there.
 * 0; -1: it has to end.  An exit status
 */
typedef int (*st_bad_pt)(void *data, st_later_t *later);
int st_verify_each(st_set_t *set, st_bad_pt bad, void *data);
/* a line, or some of text, of one that is or is not whole */
void st_verify_line(st_later_t *later, const char *verdict);


/* ---- commands: an exit status */

extern uint64_t  st_rate;              /* --rate, bytes/s of all disks; 0 */
extern int       st_slot;              /* --slot, or -1 */
extern int       st_no_wait;           /* --no-wait */

int st_status(st_set_t *set, char **args);
int st_verify(st_set_t *set, char **args);
int st_list_damaged(st_set_t *set, char **args);
int st_salvage(st_set_t *set, char **args);
int st_heal(st_set_t *set, char **args);
int st_replace(st_set_t *set, char **args);


#endif /* _S3_STORE_H_INCLUDED_ */
