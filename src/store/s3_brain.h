#ifndef _S3_BRAIN_H_INCLUDED_
#define _S3_BRAIN_H_INCLUDED_


/*
 * What the files of the store process share; docs/commit.md tells the
 * protocol.
 *
 *     s3_process.c     the brain thread: start, loop, clock
 *     s3_socket.c      workers' connections: questions in, answers out; reads
 *     s3_drive.c       disks: opening, operations, watching, dropping
 *     s3_form.c        which disks are of the set; forming one
 *     s3_recovery.c    who is current, opening a generation
 *     s3_catchup.c     bringing a disk forward
 *     s3_copy.c        a fresh copy of the index: disks that can't be brought
 *                      forward, and new ones in the place of those lost
 *     s3_vacant.c      masks of a disk that took a lost one's place
 *     s3_batch.c       commits: decide, prepare, commit, answer
 *     s3_keeper.c      after commits: renames, garbage, sessions
 *     s3_scrub.c       shards are read and verified
 *     s3_damage.c      those that are damaged
 *     s3_repair.c      shards that are missing on members, or damaged
 *     s3_view.c        a snapshot of all indexes, for who looks at the disks
 *     s3_admin.c       the socket of s3-store
 *     s3_report.c      what of all this others can see, and what is counted
 *
 * Everything but an operation's run handler is on the brain thread.
 */


#include <stdatomic.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/types.h>
#include "s3_conf.h"
#include "s3_door.h"
#include "s3_format.h"
#include "s3_index.h"
#include "s3_page.h"
#include "s3_pool.h"
#include "s3_process.h"
#include "s3_proto.h"
#include "s3_shard.h"
#include "s3_status.h"


/* the lanes of a disk's pool here */
enum {
    S3_LANE_WRITER = 0,          /* the index's writer */
    S3_LANE_READER,              /* look-ups and lists */
    S3_LANE_HOUSE,               /* shards' renames, unlinks; catching up */
    S3_LANE_WATCH                /* opening; is it still at its path */
};

#define S3_BATCH_MAX          256
#define S3_BATCH_BYTES        (4 * 1024 * 1024)
#define S3_BATCH_SPARE        (1024 * 1024)
#define S3_SUCCEEDED          (-1)         /* has left to a successor */
#define S3_SESSION_GRACE      30000        /* ms workers have to come back */
#define S3_HISTORY            1000000      /* batches kept for laggards */
#define S3_DAMAGE_MAX         1024


typedef struct s3_disk_s       s3_disk_t;
typedef struct s3_drive_s      s3_drive_t;
typedef struct s3_op_s         s3_op_t;
typedef struct s3_conn_s       s3_conn_t;
typedef struct s3_question_s   s3_question_t;
typedef struct s3_batch_s      s3_batch_t;
typedef struct s3_catchup_s    s3_catchup_t;
typedef struct s3_copy_s       s3_copy_t;
typedef struct s3_repair_s     s3_repair_t;
typedef struct s3_scrub_s      s3_scrub_t;
typedef struct s3_view_s       s3_view_t;
typedef struct s3_admin_s      s3_admin_t;

typedef void (*s3_op_pt)(s3_op_t *op);
/* the view is there, or (NULL) it could not be had */
typedef void (*s3_view_pt)(s3_view_t *view, void *data);


/*
 * One operation on a disk's thread.  run is called there and may use the
 * drive's descriptors and connections and the op's own fields, nothing of the
 * brain's.  finish is called on the brain, once, also when the drive was
 * dropped meanwhile (error is then EIO, and run may still be running: what it
 * uses must stay until free).
 */
struct s3_op_s {
    s3_task_t              task;         /* first */
    s3_drive_t            *drive;
    LIST_ENTRY(s3_op_s)    link;         /* drive->ops */
    TAILQ_ENTRY(s3_op_s)   orphan;       /* process->orphans */
    s3_op_pt               run;
    s3_op_pt               finish;
    s3_op_pt               free;         /* may be NULL */
    void                  *data;
    int                    error;
    unsigned               lane;
    unsigned               late;         /* times conf.late it may take */
    unsigned               abandoned:1;
    unsigned               finished:1;
    unsigned               returned:1;

    /* what operations take and give, theirs until free */
    s3_buf_t               out;
    s3_position_t          position;
    uint64_t               sequence;
    uint64_t               cursor;
    uint64_t               mask;
    int                    status;
    int                    flag;
    uint8_t                id[16];
    uint8_t                session[16];
    s3_verdict_t           verdict;
};


/* one opening of a disk, from the first try to its drop */
struct s3_drive_s {
    s3_process_t          *process;
    s3_disk_t             *disk;         /* NULL once dropped */
    s3_pool_t             *pool;
    unsigned               refs;         /* operations, and the disk */
    LIST_HEAD(, s3_op_s)   ops;
    char                  *path;

    /* the disk's threads' */
    int                    root;
    s3_vfs_t              *vfs;
    s3_index_t            *writer;
    s3_index_t            *reader;
    s3_index_t            *house;
    s3_index_t            *viewer;       /* a view's (watch lane) */
    s3_index_t            *copied;       /* a copy's reader (house lane) */
    s3_index_t            *fresh;        /* a copy's, still being made
                                            (writer lane) */
    s3_vfs_t              *fresh_vfs;
    int                    fresh_dir;
    dev_t                  dev;
    ino_t                  ino;
    _Atomic int            lanes;        /* still to close */

    /* what opening found; the brain's once open */
    s3_format_t            format;
    int                    has_format;
    int                    broken;       /* of a set, but its index can't be
                                            opened: why, an errno */
    int                    empty;
    int                    asked;        /* to take a lost disk's place */
    int                    asked_slot;   /* -1: none was named */
    s3_position_t          position;
    unsigned               open:1;
    unsigned               opening:1;
    unsigned               watching:1;
    unsigned               scanning:1;
    uint64_t               next_watch;
    uint64_t               next_scan;
    s3_scrub_t            *scrub;        /* s3_scrub.c's; may be NULL */
    uint64_t               total;        /* bytes, as the last look found
                                            them; 0: not known */
    uint64_t               free;
};


/* a disk of the configuration */
struct s3_disk_s {
    unsigned               index;        /* in conf->disks */
    const char            *path;
    s3_drive_t            *drive;
    int                    slot;         /* -1: not known to be of this set */
    unsigned               member:1;
    unsigned               dropped:1;    /* by this process, since it was a
                                            member last: starts anew */
    unsigned               behind:1;     /* forked, or away for too long:
                                            it needs a copy; or unknown */
    int                    home;         /* the slot it had last, or -1 */
    uint64_t               next_try;
    uint64_t               next_copy;    /* after one that failed */
    uint8_t                damaged[16];  /* the disk whose index was found to
                                            be, while others had theirs: it
                                            waits for a copy; 0: none */
    int                    error;        /* why it is out */
    int                    told;         /* as last logged */
    const char            *why;
    const char            *dropped_for;  /* NULL: opened, or tried, since */
    int                    dropped_error;
    uint64_t               errors;       /* as s3_status.h has them */
    uint64_t               timeouts;
};


struct s3_question_s {
    STAILQ_ENTRY(s3_question_s)  link;
    s3_process_t          *process;
    s3_conn_t             *conn;         /* NULL: nobody waits for it */
    uint64_t               request;
    uint16_t               type;
    unsigned               refs;         /* batches, and whoever has it now */
    unsigned               reading:1;    /* counted in conn->reading */
    s3_commit_t            commit;       /* slices point into data */
    void                  *context;      /* internal commits: the asker's */
    void                 (*answered)(s3_question_t *q, s3_verdict_t *verdict);
    uint64_t               sequence;     /* a read's snapshot */
    int                    status;
    s3_buf_t               answer;
    size_t                 len;
    uint8_t                data[];       /* the payload */
};

STAILQ_HEAD(s3_questions_s, s3_question_s);
typedef struct s3_questions_s   s3_questions_t;


struct s3_batch_s {
    s3_process_t          *process;
    unsigned               refs;         /* the brain, and operations */
    unsigned               n;            /* decided in it */
    unsigned               taken;        /* held by it, of which some may
                                            have found no room */
    s3_question_t         *questions[S3_BATCH_MAX];
    s3_verdict_t           verdicts[S3_BATCH_MAX];
    s3_position_t          before;
    s3_position_t          position;
    uint64_t               keep_from;
    s3_buf_t               effects;
    int                    alone;        /* of one that was refused with others
                                            for want of room */
    uint64_t               spare;        /* bytes */
    int                    deciding;
    int                    committing;
    int                    refused;      /* errno of a refusal for all */
    int                    undecided;
    uint64_t               waiting;      /* disks (by index) to answer */
    uint64_t               prepared;
    uint64_t               committed;
};


/* a shard that its mask says is there, and that can't be read */
typedef struct {
    uint8_t         shard_id[16];
    uint64_t        slots;
    unsigned        stuck:1;           /* until other disks are members */
} s3_damage_t;


/*
 * Whether it has no index: it offers no state, serves no reader, and counts
 * for neither k nor q, until it has a copy
 */
static inline int
s3_incomplete(const s3_drive_t *drive)
{
    return drive->has_format && (drive->format.copying || drive->broken);
}


/* operations that recovery waits for, one on each of some disks */
typedef struct {
    unsigned        waiting;
    uint64_t        failed;            /* disks by index */
    uint64_t        done;
    int             known;
    uint64_t        since[S3_MAX_DISKS];
} s3_step_t;


static inline int
s3_position_same(const s3_position_t *a, const s3_position_t *b)
{
    return a->generation == b->generation && a->sequence == b->sequence
           && memcmp(a->digest, b->digest, 32) == 0;
}


struct s3_process_s {
    s3_conf_t              conf;
    s3_geometry_t          geometry;
    unsigned               quorum;
    s3_loop_t             *loop;
    int                    epoll;
    int                    listener;
    unsigned               nconns;
    uint64_t               next_accept;  /* no descriptors; 0: listening */
    int                    lock;
    s3_page_t             *page;
    s3_page_set_t          set;          /* as in the page */
    uint64_t               epoch;
    uint64_t               now;          /* ms */
    uint64_t               started;

    s3_disk_t              disks[S3_MAX_DISKS];
    uint64_t               since[S3_MAX_DISKS];    /* by slot; 0: no member */
    int                    has_record;
    int                    has_set;
    s3_set_record_t        record;
    uint8_t                set_id[16];

    int                    state;        /* S3_STORE_OK, _BUSY, ... */
    s3_position_t          position;     /* the newest decided */
    int                    generation_due;
    int                    recovery_due;
    int                    recovering;   /* 2: opening the generation */
    int                    paused;       /* a laggard's last round */
    int                    full;         /* no room for a generation */
    uint64_t               next_generation;    /* not before, where full */
    uint64_t               lost;         /* a worker's connection, last */
    int                    source;       /* read-only: the disk read */
    unsigned               turn;         /* of the disks, for reads */

    TAILQ_HEAD(, s3_op_s)  orphans;      /* of dropped drives */
    TAILQ_HEAD(, s3_conn_s) conns;
    TAILQ_HEAD(, s3_conn_s) graves;      /* closed, freed after the turn */
    s3_questions_t         queue;        /* commits */
    s3_questions_t         limbo;        /* commits of an undecided batch */
    s3_questions_t         held;         /* reads ahead of what is decided */
    s3_questions_t         parked;       /* reads while recovering */
    unsigned               queued;
    size_t                 queued_bytes;
    unsigned               alone;        /* the first of them, which are to be
                                            decided one by one */
    s3_batch_t            *batch;
    s3_catchup_t          *catchup;
    s3_copy_t             *copy;
    s3_drive_t            *vacant;       /* whose masks are being voided */
    uint8_t                void_after[16];
    uint64_t               next_void;
    s3_repair_t           *repair;
    s3_view_t             *view;
    s3_admin_t            *admin;        /* NULL: its socket is not there */
    uint64_t               next_admin;

    uint64_t               next_tick;
    uint64_t               next_collect;
    int                    collecting;
    int                    collect_due;
    int                    reaping;
    uint64_t               next_reap;
    int                    aborting;
    uint64_t               next_abort;
    int                    repair_due;
    uint64_t               next_repair;
    uint64_t               next_again;   /* ms; of what disks failed in; 0:
                                            nothing */
    unsigned               repair_tries; /* since something was repaired */
    uint64_t               repair_members;  /* slots, then */
    uint64_t               repair_passes;    /* that have ended */
    uint8_t                heal_session[16];

    s3_damage_t            damage[S3_DAMAGE_MAX];
    unsigned               ndamage;
    uint64_t               damage_members;   /* slots, when last looked */

    s3_status_page_t      *status_page;  /* NULL: nobody sees it */
    s3_status_t           *status;       /* as last written */
    s3_status_counts_t     counts;
    uint64_t               next_report;

    /* for the thread that has it leave; successors: those that wait, or
     * S3_SUCCEEDED; opened: ms, the socket, 0: not yet */
    _Atomic int            connected;
    _Atomic int            greeted;      /* a worker was connected */
    _Atomic int            successors;
    _Atomic int            leaving;      /* it is to leave */
    _Atomic int            ended;        /* serves nobody, and never will */
    _Atomic uint64_t       opened;
};


/* s3_process.c */
void s3_log(s3_process_t *p, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* lets everything that came back be handled; waits up to ms for something */
void s3_brain_wait(s3_process_t *p, int ms);
void s3_state_set(s3_process_t *p, int state);
void s3_page_update(s3_process_t *p);

/* s3_drive.c */
s3_op_t *s3_op_create(s3_drive_t *drive, unsigned lane, s3_op_pt run,
    s3_op_pt finish, void *data);
/*
 * Whoever keeps a drive between operations holds a reference: a dropped
 * drive is freed when its last operation is back
 */
s3_drive_t *s3_drive_ref(s3_drive_t *drive);
/* Whether the directory at its path is the one that is open: 0, or an errno.
 * Any of its threads. */
int s3_drive_there(s3_drive_t *drive);
/* The index and all that reads it, where that is not open; create: where there
 * is none, a new one.  0 or an errno: what could be opened is open then.  The
 * disk's threads. */
int s3_drive_index_open(s3_drive_t *drive, int create, size_t cache);
void s3_drive_unref(s3_drive_t *drive);
/* the op is the framework's from here: finish is always called, later */
void s3_op_post(s3_op_t *op);
void s3_orphans_finish(s3_process_t *p);
void s3_disk_try(s3_disk_t *disk);
/* why: a constant */
void s3_disk_drop(s3_disk_t *disk, int error, const char *why);
/* whether enough others have a good index: one that is damaged is then copied
 * from them */
int s3_disk_spared(s3_process_t *p, const s3_disk_t *disk);
/* why a disk could not be opened, in words */
const char *s3_disk_error_text(int error);
void s3_disks_tick(s3_process_t *p);
/* looks at the disk at once: somebody had trouble with it */
void s3_disk_suspect(s3_process_t *p, const uint8_t id[16], int error);
unsigned s3_members(s3_process_t *p, uint64_t *slots);
s3_disk_t *s3_disk_by_slot(s3_process_t *p, unsigned slot);
/*
 * a disk whose index is current, for a read: members in turn, the source in
 * read-only mode; NULL: none
 */
s3_disk_t *s3_disk_reader(s3_process_t *p);

/* s3_form.c */
/* gives disks their slots; 0, or -1: nothing to work with (logged) */
int s3_adopt(s3_process_t *p);
/* whether it is the set's, as that is known, and no disk that was replaced */
int s3_of_set(s3_process_t *p, const s3_format_t *f);

/* s3_recovery.c */
void s3_recover(s3_process_t *p);
/* an op of a step is posted by s3_step_post(), its finish handler calls
 * s3_step_finish() */
void s3_step_post(s3_step_t *step, s3_disk_t *disk, s3_op_t *op);
void s3_step_finish(s3_op_t *op);
void s3_step_wait(s3_process_t *p, s3_step_t *step);
void s3_purge_run(s3_op_t *op);

/* s3_catchup.c */
void s3_catchup_tick(s3_process_t *p);
/* NULL: no memory.  p->catchup is the caller's to set */
s3_catchup_t *s3_catchup_start(s3_process_t *p, s3_disk_t *disk,
    s3_disk_t *source);
void s3_catchup_round(s3_catchup_t *c, int last);

/* s3_copy.c */
void s3_copy_tick(s3_process_t *p);
/* it ends without a copy, soon; where it has come too far the disk leaves */
void s3_copy_stop(s3_process_t *p);
/* on the disk's threads: what a copy has open */
void s3_copy_close(s3_drive_t *drive);
/* and what one that was cut has left behind; 0 or errno */
int s3_copy_clean(s3_drive_t *drive);

/* s3_vacant.c */
/* whether it is a member whose shards do not count yet */
int s3_vacant(const s3_disk_t *disk);
void s3_void_tick(s3_process_t *p);

/* s3_batch.c */
void s3_batch_start(s3_process_t *p);
/* an internal commit; answered may be NULL */
int s3_commit_internal(s3_process_t *p, const s3_commit_t *commit,
    void (*answered)(s3_question_t *q, s3_verdict_t *verdict), void *context);
void s3_commit_queue(s3_process_t *p, s3_question_t *q);
void s3_limbo_settle(s3_process_t *p);
/* whether a commit of that session was received and is not decided */
int s3_session_pending(s3_process_t *p, const uint8_t session[16]);

/* s3_socket.c */
int s3_socket_open(s3_process_t *p);
/* listens again, where descriptors had run out */
void s3_socket_tick(s3_process_t *p);
void s3_socket_event(s3_process_t *p, void *ptr, unsigned events);
/* sends the answer and lets go of the question */
void s3_question_answer(s3_question_t *q, int status, const void *payload,
    size_t len);
void s3_question_free(s3_question_t *q);
/* sends a commit's answer; the question stays the caller's */
void s3_answer_verdict(s3_question_t *q, const s3_verdict_t *verdict);
void s3_graves_clear(s3_process_t *p);
void s3_held_release(s3_process_t *p);
void s3_parked_release(s3_process_t *p);
int s3_session_connected(s3_process_t *p, const uint8_t session[16]);
uint64_t s3_pins_oldest(s3_process_t *p);

/* s3_keeper.c */
void s3_settle(s3_process_t *p, const s3_commit_t *commit);
void s3_keeper_tick(s3_process_t *p);
/* on the disk's thread, the house lane; 0 or errno */
int s3_keeper_purge(s3_drive_t *drive);
/* every disk's tmp/ at the next tick */
void s3_keeper_scan(s3_process_t *p);

/* s3_scrub.c */
void s3_scrub_tick(s3_process_t *p);
/* somebody could not read that shard: it is looked at.  0; 1: there is no room
 * for it now; -1: not on that disk, which is no member */
int s3_suspect(s3_process_t *p, const uint8_t id[16], unsigned slot);
/* that are not looked at yet */
unsigned s3_suspects(s3_process_t *p);
/* on the drive's last thread; and when nobody has the drive any more */
void s3_scrub_release(s3_drive_t *drive);
void s3_scrub_free(s3_drive_t *drive);

/* s3_damage.c */
void s3_damage_add(s3_process_t *p, const uint8_t id[16], unsigned slot);
int s3_damage_known(s3_process_t *p, const uint8_t id[16], unsigned slot);
/* one to work on, or NULL; good until the next call of the others */
s3_damage_t *s3_damage_next(s3_process_t *p);
/* written anew on slots, or no row has it any more */
void s3_damage_done(s3_process_t *p, const uint8_t id[16], uint64_t slots);
/* those in the list, for who watches */
void s3_damage_count(s3_process_t *p);
/* whether it was not stuck before */
int s3_damage_stuck(s3_process_t *p, const uint8_t id[16]);
/* those that are stuck are tried again */
void s3_damage_again(s3_process_t *p);

/* s3_repair.c */
void s3_repair_tick(s3_process_t *p);

/* s3_view.c */
/*
 * ready is called once, later; one view at a time.  0, or an errno: ready is
 * not called then.  EBUSY: there is one; EAGAIN: not in this state
 */
int s3_view_start(s3_process_t *p, s3_view_pt ready, void *data);
/* while ready() runs: where it stands; of a disk of the configuration the
 * bytes of its log that count, -1: it has none */
const s3_position_t *s3_view_position(s3_view_t *v);
int s3_view_disk(s3_view_t *v, unsigned i, uint64_t *log);
/* whether there is one with that data, as it was when it was ready */
int s3_view_held(s3_process_t *p, const void *data);
/* lets go of it, whatever it is doing; ready() may be called.  data NULL:
 * whoever's it is */
void s3_view_stop(s3_process_t *p, const void *data);
void s3_view_tick(s3_process_t *p);
/* whether no batch may begin: asked where one could */
int s3_view_pauses(s3_process_t *p);

/* s3_admin.c */
void s3_admin_tick(s3_process_t *p);
/* whether it was the socket's */
int s3_admin_event(s3_process_t *p, void *ptr, unsigned events);

/* s3_report.c */
void s3_report_disk(s3_process_t *p, s3_disk_t *disk, s3_status_disk_t *sd);
void s3_report_start(s3_process_t *p);
void s3_report_tick(s3_process_t *p);
/* from the first of them on a count is known, and shown: add 0 to begin.
 * add: of what only grows; set: of what is */
void s3_count_add(s3_process_t *p, s3_count_e count, uint64_t n);
void s3_count_set(s3_process_t *p, s3_count_e count, uint64_t n);


#endif /* _S3_BRAIN_H_INCLUDED_ */
