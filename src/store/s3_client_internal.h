
/*
 * What the files of the worker's side share.
 *
 *     s3_client.c           the socket, pins, the timer, s3_client_process()
 *     s3_client_call.c      calls and their answers
 *     s3_client_disk.c      the set as the page has it, disks and what runs
 *                           on them, lateness
 *     s3_client_memory.c    stripe buffers and the budget for them
 *     s3_upload.c           s3_upload_*()
 *     s3_download*.c        s3_download_*()
 *
 * All on the loop, but for run functions of operations and compute tasks.
 * Nothing calls the owner back but s3_client_process(): events wait in a list
 * for it, what wants memory or an opened set waits likewise.
 */


#ifndef _S3_CLIENT_INTERNAL_H_INCLUDED_
#define _S3_CLIENT_INTERNAL_H_INCLUDED_


#include "s3_client.h"
#include "s3_page.h"
#include "s3_pool.h"
#include "s3_proto.h"
#include "s3_shard.h"


#define S3_REPORTED       16           /* shards, see s3_client_send_shard() */
#define S3_REPORT_AGAIN   5000         /* ms */
#define S3_LANE_SHARDS        0
#define S3_LANE_SESSION       1

#define S3_LOG_ERR            4      /* as NGX_LOG_* */
#define S3_LOG_WARN           5
#define S3_LOG_NOTICE         6
#define S3_LOG_INFO           7

#define S3_CALLS_HASH         1024   /* a power of two */
#define S3_SEND_BUFFER        (256 * 1024)

/* 5 GiB: S3 manual, "Amazon S3 multipart upload limits", a PUT and a part */
#define S3_UPLOAD_MAX         (5ULL * 1024 * 1024 * 1024)


/* a list: its head is a link too */
typedef struct s3_link_s   s3_link_t;

struct s3_link_s {
    s3_link_t            *prev;
    s3_link_t            *next;
};

#define s3_link_data(l, type, field)                                          \
    ((type *) (void *) ((char *) (l) - offsetof(type, field)))

static inline void
s3_link_init(s3_link_t *l)
{
    l->prev = l;
    l->next = l;
}

/* of a head: nothing in the list; of a link: in none */
static inline int
s3_link_empty(const s3_link_t *l)
{
    return l->next == l;
}

static inline void
s3_link_add(s3_link_t *head, s3_link_t *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static inline void
s3_link_remove(s3_link_t *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    s3_link_init(l);
}


/* a sequence from which on the collector must wait */
typedef struct {
    s3_link_t             link;         /* client->pins, by sequence */
    uint64_t              sequence;
    unsigned              refs;
} s3_pin_t;


/* a call on its way */
typedef struct s3_ask_s   s3_ask_t;

struct s3_ask_s {
    s3_link_t             link;         /* client->asks, by request */
    s3_link_t             unsent;       /* client->unsent, or in none */
    s3_link_t             commit;       /* client->commits, or in none */
    s3_ask_t             *next;         /* of the same hash */
    s3_call_t            *call;         /* NULL: cancelled */
    uint64_t              request;
    unsigned              type;         /* S3_MSG_ */
    unsigned              sent:1;       /* perhaps: from the first byte on */
    unsigned              outcome:1;    /* OUTCOME goes, or went, instead */
    s3_buf_t              message;
    s3_pin_t             *pin;
    s3_upload_t          *upload;
};


/* something to be told to the owner */
typedef struct s3_event_s   s3_event_t;

struct s3_event_s {
    s3_link_t             link;         /* client->events, or in none */
    void                (*handler)(s3_event_t *event);
};


/* who the memory is for: neither takes the other's share */
typedef enum {
    S3_BUDGET_UPLOADS = 0,
    S3_BUDGET_DOWNLOADS,
    S3_BUDGET_LAST
} s3_budget_class_e;


/* memory that is held, or waited for */
typedef struct s3_budget_s   s3_budget_t;

struct s3_budget_s {
    s3_link_t             link;         /* client->budgets, or in none */
    s3_budget_class_e     class;
    size_t                size;         /* granted: bytes */
    size_t                wanted;
    uint64_t              asked;        /* by which those that wait compare */
    void                (*handler)(s3_budget_t *budget);
};


/* memory that is held for a client, who may be slow */
typedef struct s3_holder_s   s3_holder_t;

struct s3_holder_s {
    s3_link_t             link;         /* client->holders, or in none */
    s3_budget_t          *budget;
    s3_slow_pt            slow;
    void                 *data;
    void                (*end)(s3_holder_t *holder);
    int64_t               rate;         /* bytes/s, while it is judged */
    uint64_t              ended;        /* ms; 0: it is not */
};


typedef struct {
    s3_link_t             link;         /* client->buffers while free */
    uint8_t              *data;         /* page-aligned */
    size_t                size;
    size_t                resident;     /* of size: what may have pages */
    unsigned              refs;
    uint64_t              freed;        /* ms */
} s3_buffer_t;


typedef struct s3_disk_s   s3_disk_t;
typedef struct s3_op_s     s3_op_t;

/*
 * A blocking operation of a disk.  run is on one of its threads and sets
 * task.error; done on the loop, always, once, and may free the operation;
 * late on the loop, at most once and before done.  The operation holds a
 * reference to the disk.
 */
struct s3_op_s {
    s3_task_t             task;
    s3_link_t             link;         /* disk->ops */
    s3_op_t              *next;         /* in disk->backlog */
    s3_disk_t            *disk;
    void                (*run)(s3_op_t *op);
    void                (*done)(s3_op_t *op);
    void                (*late)(s3_op_t *op);    /* or NULL */
    _Atomic uint64_t      started;      /* ms, 0: waits in the queue */
    unsigned              lane;
    unsigned              is_late:1;
};


typedef struct {
    int                   error;
    int                   session_error;
    int                   root;         /* -1 */
    int                   session;      /* -1 */
    int                   lock;         /* -1 */
    uint8_t               disk_id[16];
    unsigned              slot;
} s3_opened_t;


/* one of conf->disks, as it is this time: opened once, dropped once */
struct s3_disk_s {
    s3_client_t          *client;
    s3_link_t             link;         /* client->disks */
    s3_pool_t            *pool;
    unsigned              path;         /* in conf->disks */
    char                 *dir;          /* its copy; as the next, constant: */
    char                  session_text[33];    /* of its threads, which may
                                           be there when the client is not */
    unsigned              refs;         /* path, operations, open shards */

    uint8_t               id[16];
    unsigned              slot;
    uint32_t              instance;

    /* descriptors in the table of its threads; written there before any
     * shard's operation is posted, constant after it */
    int                   root;
    int                   session;
    int                   lock;

    unsigned              dropped:1;
    unsigned              opening:1;    /* the operation below is out */
    unsigned              bound:1;      /* is client->slots[slot] */
    unsigned              writable:1;   /* has its tmp/SESSION */
    unsigned              nlate;        /* operations out that are late */
    uint64_t              last_done;    /* ms */
    uint64_t              reported;     /* ms, of the last S3_MSG_DISK */
    uint64_t              session_by;   /* ms: waited for until then */
    uint64_t              session_next; /* ms: to be tried again */

    s3_link_t             ops;
    s3_op_t              *backlog;      /* that must run, queue full */

    s3_op_t               open;
    s3_opened_t           opened;       /* of its thread while it runs */
    s3_page_set_t         set;          /* as it was when open was posted */
};


typedef struct {
    s3_disk_t            *disk;         /* NULL: not tried, failed, dropped */
    uint64_t              retry;        /* ms: not before */
    unsigned              tried:1;      /* since the set changed */
    unsigned              orphans;      /* opened for ever */
    int                   error;        /* logged last */
} s3_path_t;


/* a shard that was reported, not to be for a while */
typedef struct {
    uint8_t               id[16];
    unsigned              slot;
    uint64_t              until;        /* ms */
} s3_reported_t;


struct s3_client_s {
    const s3_conf_t      *conf;
    int                   epoll;
    int                   timer;
    s3_loop_t            *loop;
    s3_pool_t            *compute;
    uint8_t               session[16];
    char                  session_text[33];

    unsigned              processing:1;
    unsigned              closed:1;
    unsigned              woken:1;
    unsigned              active;       /* calls, uploads, downloads */
    unsigned              out_there;    /* operations and compute tasks */

    /* the socket */
    int                   fd;           /* -1 */
    unsigned              ready:1;      /* HELLO is answered */
    unsigned              writing:1;    /* EPOLLOUT is asked for */
    unsigned              broken:1;     /* close it when nobody reads it */
    unsigned              answered:1;   /* anything but HELLO */
    unsigned              garbage:1;    /* what came was logged */
    uint32_t              slot;
    uint64_t              tried;        /* ms: the last time */
    uint64_t              retry;        /* ms: not before */
    unsigned              backoff;      /* ms */
    s3_buf_t              out;
    size_t                sent;         /* of out */
    uint8_t              *in;
    size_t                in_len;
    size_t                in_size;

    /* calls */
    uint64_t              request;      /* the last one given */
    s3_link_t             asks;
    s3_link_t             unsent;
    s3_link_t             commits;
    unsigned              nasks;
    size_t                asks_bytes;
    s3_ask_t             *hash[S3_CALLS_HASH];

    s3_link_t             pins;
    s3_pin_t             *pin;          /* of the call being answered */

    s3_link_t             events;
    s3_link_t             waiting;      /* s3_event_t: for an opened set */

    /* memory */
    s3_link_t             budgets[S3_BUDGET_LAST];
    uint64_t              nasked;
    unsigned              nwaiting;     /* in budgets */
    size_t                held[S3_BUDGET_LAST];
    size_t                reserved;     /* the sum of held */
    s3_link_t             holders;      /* whose clients may be slow */
    uint64_t              judged;       /* ms: when they were looked at */
    s3_link_t             large;        /* s3_download_t: hold more than
                                           their slot; whoever has taken a
                                           piece last is last */
    struct s3_window_s   *spare;        /* has the spare that is not
                                           counted */
    s3_link_t             spares;       /* s3_window_t.turn: wait for it */
    s3_link_t             buffers;      /* free ones, oldest first */
    unsigned              nbuffers;     /* free ones */
    size_t                resident;     /* of all buffers */

    s3_reported_t         reported[S3_REPORTED];
    unsigned              nreported;

    /* the set */
    s3_page_t            *page;
    s3_status_page_t     *status;       /* NULL: nobody asked for it yet */
    s3_page_set_t         set;
    uint32_t              change;
    unsigned              has_set:1;
    s3_link_t             disks;        /* dropped ones too */
    s3_path_t             paths[S3_MAX_DISKS];
    s3_disk_t            *slots[S3_MAX_DISKS];

    unsigned              interval;     /* ms the timer runs at */
};


/* s3_client.c */
void s3_client_log(s3_client_t *c, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* has s3_client_process() called again, if it is not running */
void s3_client_wake(s3_client_t *c);
void s3_client_event(s3_client_t *c, s3_event_t *event);
void s3_client_send_disk(s3_client_t *c, s3_disk_t *disk, int error);
/* a shard that could not be read: the store process looks at it; what was
 * reported a moment ago is not again */
void s3_client_send_shard(s3_client_t *c, const uint8_t id[16],
    unsigned slot);
/* sends what there is; calls nobody back */
void s3_client_flush(s3_client_t *c);
s3_pin_t *s3_pin_take(s3_client_t *c);
void s3_pin_release(s3_client_t *c, s3_pin_t *pin);

/* s3_client_call.c */
int s3_client_commit_upload(s3_client_t *c, s3_call_t *call,
    const s3_commit_t *commit, s3_upload_t *upload);
/* hands the answer to the call, which ends with it; -1: it is none */
int s3_client_answer(s3_client_t *c, s3_ask_t *ask, const s3_msg_t *msg,
    const uint8_t *p);
s3_ask_t *s3_ask_find(s3_client_t *c, uint64_t request);
void s3_ask_unlink(s3_client_t *c, s3_ask_t *ask);
void s3_ask_free(s3_ask_t *ask);

/* s3_client_disk.c */
void s3_client_refresh(s3_client_t *c);
/* whether every disk that the page has was opened, or was tried; writing: so
 * was the tmp/SESSION of every member */
int s3_client_settled(s3_client_t *c, int writing);
void s3_client_late(s3_client_t *c);
void s3_disk_ref(s3_disk_t *disk);
void s3_disk_unref(s3_disk_t *disk);
/* fit for new shards, for reading */
int s3_disk_writable(s3_client_t *c, unsigned slot);
int s3_disk_readable(s3_client_t *c, unsigned slot);
/* 0 or EAGAIN; must: it is kept and posted later instead */
int s3_disk_post(s3_disk_t *disk, unsigned lane, s3_op_t *op, int must);
/* an operation failed: what of it is the disk's own fault is reported */
void s3_disk_error(s3_disk_t *disk, int error, const char *what);

/* s3_client_memory.c */
s3_buffer_t *s3_buffer_get(s3_client_t *c, size_t size);
void s3_buffer_ref(s3_buffer_t *buffer);
void s3_buffer_unref(s3_client_t *c, s3_buffer_t *buffer);
/* gives back the pages outside of these bytes, returns how many bytes have
 * pages still; what is written there by others comes to nothing */
size_t s3_buffer_keep(s3_client_t *c, s3_buffer_t *buffer, size_t from,
    size_t to);
/* frees buffers that were not used for a while; all: every free one */
void s3_buffer_trim(s3_client_t *c, int all);
/* in the order of asking; the handler is called by s3_client_process().  -1:
 * too many wait already */
int s3_budget_ask(s3_client_t *c, s3_budget_t *budget,
    s3_budget_class_e class, size_t size,
    void (*handler)(s3_budget_t *budget));
/* at once and in nobody's way, or -1 */
int s3_budget_try(s3_client_t *c, s3_budget_t *budget,
    s3_budget_class_e class, size_t size);
/* gives back what is over size */
void s3_budget_shrink(s3_client_t *c, s3_budget_t *budget, size_t size);
void s3_budget_free(s3_client_t *c, s3_budget_t *budget);
/* whether anybody waits */
int s3_budget_waited(s3_client_t *c);
void s3_budget_grant(s3_client_t *c);
/* end is called by s3_budget_grant(), once; leave: in none is no harm */
void s3_holder_join(s3_client_t *c, s3_holder_t *holder, s3_budget_t *budget,
    s3_slow_pt slow, void *data, void (*end)(s3_holder_t *holder));
void s3_holder_leave(s3_holder_t *holder);

/* s3_download.c: takes memory from a download whose client takes its time;
 * 0: there was none to take */
int s3_download_squeeze(s3_client_t *c);

/* s3_upload.c */
void s3_upload_answered(s3_upload_t *u);
void s3_upload_unsent(s3_upload_t *u);


#endif /* _S3_CLIENT_INTERNAL_H_INCLUDED_ */
