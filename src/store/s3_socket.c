
/*
 * The store process's end of the sockets: questions in, answers out, and
 * reads, which go to a disk's reader thread and back.
 *
 * A read's answer carries the sequence of the snapshot it was made from and
 * is sent when that sequence is decided: nobody sees what may yet be rolled
 * back.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "s3_brain.h"


#define S3_CONN_OUT_MAX      (16 * 1024 * 1024)    /* bytes not yet taken */
#define S3_CONN_ASKED_MAX    8192
#define S3_CONN_READING_MAX  64        /* on disks' threads at a time */
#define S3_CONNS_MAX         512       /* twice the workers there can be */
#define S3_ACCEPT_MAX        32
#define S3_ACCEPT_AGAIN      200       /* ms, where descriptors ran out */


struct s3_conn_s {
    TAILQ_ENTRY(s3_conn_s)  link;
    s3_process_t           *process;
    int                     fd;
    unsigned                refs;        /* the socket, and questions */
    unsigned                asked;       /* questions not yet answered */
    unsigned                reading;     /* reads that were begun */
    unsigned                starting;    /* in s3_conn_reads() */
    unsigned                successor;   /* is counted as one */
    s3_questions_t          waiting;     /* reads that were not */
    int                     slot;        /* in the page; -1: no HELLO yet */
    uint32_t                pid;
    uint8_t                 session[16];
    uint32_t                events;
    s3_buf_t                in;
    s3_buf_t                out;
    size_t                  sent;
};


static void s3_socket_listen(s3_process_t *p, int on);
static void s3_conn_accept(s3_process_t *p);
static void s3_conn_read(s3_conn_t *c);
static int s3_conn_message(s3_conn_t *c, const s3_msg_t *msg,
    const uint8_t *payload);
static int s3_conn_hello(s3_conn_t *c, s3_reader_t *r, uint64_t request);
static void s3_conn_reads(s3_conn_t *c);
static void s3_conn_write(s3_conn_t *c);
static void s3_conn_arm(s3_conn_t *c);
static void s3_conn_close(s3_conn_t *c);
static void s3_conn_unref(s3_conn_t *c);
static unsigned s3_successors_add(s3_process_t *p, int n);
static void s3_successor_dismiss(s3_conn_t *c);
static void s3_outcome(s3_conn_t *c, s3_question_t *q);
static void s3_read_start(s3_question_t *q);
static void s3_read_run(s3_op_t *op);
static void s3_read_finish(s3_op_t *op);
static void s3_read_free(s3_op_t *op);


int
s3_socket_open(s3_process_t *p)
{
    struct epoll_event  ev;

    p->listener = s3_proto_listen(p->conf.runtime, p->conf.name);
    if (p->listener == -1) {
        return -1;
    }

    memset(&ev, 0, sizeof(ev));
    ev.events = EPOLLIN;
    ev.data.ptr = &p->listener;

    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->listener, &ev);
}


static void
s3_socket_listen(s3_process_t *p, int on)
{
    struct epoll_event  ev;

    memset(&ev, 0, sizeof(ev));
    ev.events = on ? EPOLLIN : 0;
    ev.data.ptr = &p->listener;

    (void) epoll_ctl(p->epoll, EPOLL_CTL_MOD, p->listener, &ev);
}


void
s3_socket_tick(s3_process_t *p)
{
    if (p->next_accept && p->now >= p->next_accept) {
        p->next_accept = 0;
        s3_socket_listen(p, 1);
    }
}


void
s3_socket_event(s3_process_t *p, void *ptr, unsigned events)
{
    s3_conn_t  *c;

    if (ptr == &p->listener) {
        s3_conn_accept(p);
        return;
    }

    c = ptr;

    if (c->fd == -1) {
        return;
    }

    c->refs++;

    if (c->fd != -1 && (events & EPOLLOUT)) {
        s3_conn_write(c);
        s3_conn_reads(c);
    }

    if (c->fd != -1 && (events & (EPOLLIN|EPOLLHUP|EPOLLERR))) {
        s3_conn_read(c);
    }

    s3_conn_unref(c);
}


static void
s3_conn_accept(s3_process_t *p)
{
    int                 fd;
    unsigned            n;
    s3_conn_t          *c;
    struct epoll_event  ev;

    /* no more a turn: those that are closed leave in between */

    for (n = 0; n < S3_ACCEPT_MAX; n++) {
        fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

        if (fd == -1) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                s3_log(p, 4, "accept: %s", strerror(errno));

                /* no descriptors: the listener would wake us without end */

                s3_socket_listen(p, 0);
                p->next_accept = p->now + S3_ACCEPT_AGAIN;
            }

            return;
        }

        if (p->nconns >= S3_CONNS_MAX) {
            (void) close(fd);
            continue;
        }

        c = calloc(1, sizeof(s3_conn_t));
        if (c == NULL) {
            (void) close(fd);
            return;
        }

        c->process = p;
        c->fd = fd;
        c->refs = 1;
        c->slot = -1;
        STAILQ_INIT(&c->waiting);
        c->in.max = 2 * S3_PROTO_MAX_QUESTION;
        c->out.max = 256 * 1024 * 1024;
        c->events = EPOLLIN;

        memset(&ev, 0, sizeof(ev));
        ev.events = c->events;
        ev.data.ptr = c;

        if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == -1) {
            (void) close(fd);
            free(c);
            return;
        }

        TAILQ_INSERT_TAIL(&p->conns, c, link);
        p->nconns++;
    }
}


static void
s3_conn_read(s3_conn_t *c)
{
    size_t    pos;
    ssize_t   n;
    uint8_t  *p;
    s3_msg_t  msg;
    size_t    room;

    room = 65536;
    p = s3_buf_reserve(&c->in, room);

    if (p == NULL) {
        s3_conn_close(c);
        return;
    }

    c->in.len -= room;
    n = recv(c->fd, p, room, 0);

    if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
        s3_conn_close(c);
        return;
    }

    if (n == -1) {
        return;
    }

    c->in.len += n;
    pos = 0;

    while (c->fd != -1) {
        n = s3_msg_parse(c->in.data + pos, c->in.len - pos,
                         S3_PROTO_MAX_QUESTION, &msg);

        if (n == 0) {
            break;
        }

        if (n < 0
            || s3_conn_message(c, &msg, c->in.data + pos + S3_PROTO_HEADER)
               != 0)
        {
            s3_log(c->process, 4, "worker %u sent what is no message: "
                   "closing its connection", c->pid);
            s3_conn_close(c);
            return;
        }

        pos += n;
    }

    if (pos && c->fd != -1) {
        memmove(c->in.data, c->in.data + pos, c->in.len - pos);
        c->in.len -= pos;
    }

    if (c->fd != -1) {
        s3_conn_arm(c);
    }
}


static int
s3_conn_message(s3_conn_t *c, const s3_msg_t *msg, const uint8_t *payload)
{
    size_t          len;
    uint8_t         id[16];
    uint32_t        error, slot;
    s3_reader_t     r;
    s3_process_t   *p;
    s3_question_t  *q;

    p = c->process;
    len = msg->length - S3_PROTO_HEADER;

    s3_reader_init(&r, payload, len);

    if (msg->type == S3_MSG_SUCCESSOR) {
        if (!c->successor) {
            c->successor = s3_successors_add(p, 1);
        }

        return 0;
    }

    if (msg->type == S3_MSG_HELLO) {
        return s3_conn_hello(c, &r, msg->request);
    }

    if (c->slot < 0) {
        return -1;
    }

    if (msg->type == S3_MSG_DISK) {
        s3_read_bytes(&r, id, 16);
        (void) s3_read_u32(&r);
        error = s3_read_u32(&r);

        if (r.error == 0) {
            s3_disk_suspect(p, id, error);
        }

        return r.error ? -1 : 0;
    }

    if (msg->type == S3_MSG_SHARD) {
        s3_read_bytes(&r, id, 16);
        slot = s3_read_u32(&r);

        if (r.error == 0) {
            (void) s3_suspect(p, id, slot);
        }

        return r.error ? -1 : 0;
    }

    if ((msg->type < S3_MSG_LOOKUP || msg->type > S3_MSG_OUTCOME)
        && msg->type != S3_MSG_PARTS && msg->type != S3_MSG_UPLOADS)
    {
        return -1;
    }

    q = calloc(1, sizeof(s3_question_t) + len);
    if (q == NULL) {
        return -1;
    }

    q->process = p;
    q->refs = 1;
    q->type = msg->type;
    q->request = msg->request;
    q->len = len;
    memcpy(q->data, payload, len);

    q->conn = c;
    c->refs++;
    c->asked++;

    if (msg->type == S3_MSG_COMMIT) {
        s3_reader_init(&r, q->data, len);

        if (s3_read_commit(&r, &q->commit) != 0
            || q->commit.op < S3_COMMIT_PUT
            || q->commit.op > S3_COMMIT_ABORT
            || msg->request == 0)
        {
            s3_question_answer(q, S3_STORE_BAD_REQUEST, NULL, 0);
            return 0;
        }

        /* who it is was said once */

        memcpy(q->commit.session, c->session, 16);
        q->commit.request = msg->request;
        q->commit.mtime = 0;
        q->commit.refuse = 0;

        s3_commit_queue(p, q);
        return 0;
    }

    if (msg->type == S3_MSG_OUTCOME) {
        s3_outcome(c, q);
        return 0;
    }

    STAILQ_INSERT_TAIL(&c->waiting, q, link);
    s3_conn_reads(c);
    return 0;
}


/*
 * Starts reads, as long as the worker takes their answers: those that could
 * be under way at a time are what its memory here is bounded by, and the
 * others' turn does not wait for all that one worker asks.
 */

static void
s3_conn_reads(s3_conn_t *c)
{
    s3_question_t  *q;

    if (c->starting) {
        return;                  /* answered at once: the loop below goes on */
    }

    c->starting = 1;
    c->refs++;

    while ((q = STAILQ_FIRST(&c->waiting)) != NULL) {

        if (c->fd == -1) {
            STAILQ_REMOVE_HEAD(&c->waiting, link);
            s3_question_free(q);
            continue;
        }

        if (c->reading >= S3_CONN_READING_MAX
            || c->out.len - c->sent >= S3_CONN_OUT_MAX)
        {
            break;
        }

        STAILQ_REMOVE_HEAD(&c->waiting, link);
        q->reading = 1;
        c->reading++;
        s3_read_start(q);
    }

    c->starting = 0;
    s3_conn_unref(c);
}


/* a worker; the same process gets the same slot again, with its pins */

static int
s3_conn_hello(s3_conn_t *c, s3_reader_t *r, uint64_t request)
{
    int            i, slot;
    size_t         at;
    uint64_t       taken;
    s3_process_t  *p;

    p = c->process;

    s3_read_bytes(r, c->session, 16);
    c->pid = s3_read_u32(r);

    if (r->error || c->slot >= 0 || c->pid == 0) {
        return -1;
    }

    slot = -1;

    for (i = 0; i < S3_PAGE_WORKERS; i++) {
        taken = atomic_load(&p->page->workers[i].taken);

        if (taken == c->pid) {
            slot = i;
            break;
        }

        if (slot < 0
            && (taken == 0
                || (kill((pid_t) taken, 0) == -1 && errno == ESRCH)))
        {
            slot = i;
        }
    }

    if (slot < 0) {
        return -1;
    }

    if (i == S3_PAGE_WORKERS) {
        atomic_store(&p->page->workers[slot].oldest, UINT64_MAX);
        atomic_store(&p->page->workers[slot].taken, c->pid);
    }

    c->slot = slot;
    atomic_fetch_add(&p->connected, 1);
    atomic_store(&p->greeted, 1);

    at = s3_msg_begin(&c->out, S3_MSG_HELLO, request, 0);
    s3_buf_u32(&c->out, slot);
    s3_buf_u64(&c->out, p->epoch);
    s3_msg_end(&c->out, at);

    if (c->out.error) {
        return -1;
    }

    s3_conn_write(c);

    return 0;
}


static void
s3_conn_write(s3_conn_t *c)
{
    ssize_t  n;

    while (c->fd != -1 && c->sent < c->out.len) {
        n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent,
                 MSG_NOSIGNAL);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            if (errno != EAGAIN) {
                s3_conn_close(c);
                return;
            }

            break;
        }

        c->sent += n;
    }

    if (c->fd == -1) {
        return;
    }

    if (c->sent == c->out.len) {
        c->sent = 0;
        c->out.len = 0;

        if (c->out.size > 1024 * 1024) {
            size_t  max = c->out.max;

            s3_buf_free(&c->out);
            c->out.max = max;
        }

    } else if (c->sent > c->out.len / 2) {
        memmove(c->out.data, c->out.data + c->sent, c->out.len - c->sent);
        c->out.len -= c->sent;
        c->sent = 0;
    }

    s3_conn_arm(c);
}


/* a worker that does not take its answers is not read from */

static void
s3_conn_arm(s3_conn_t *c)
{
    uint32_t            events;
    struct epoll_event  ev;

    events = 0;

    if (c->out.len - c->sent < S3_CONN_OUT_MAX
        && c->asked < S3_CONN_ASKED_MAX)
    {
        events |= EPOLLIN;
    }

    if (c->sent < c->out.len) {
        events |= EPOLLOUT;
    }

    if (events == c->events) {
        return;
    }

    memset(&ev, 0, sizeof(ev));
    ev.events = events;
    ev.data.ptr = c;
    c->events = events;

    if (epoll_ctl(c->process->epoll, EPOLL_CTL_MOD, c->fd, &ev) == -1) {
        s3_conn_close(c);
    }
}


static void
s3_conn_close(s3_conn_t *c)
{
    s3_process_t  *p;

    if (c->fd == -1) {
        return;
    }

    p = c->process;

    if (c->successor) {
        s3_successor_dismiss(c);
    }

    (void) epoll_ctl(p->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    (void) close(c->fd);
    c->fd = -1;

    TAILQ_REMOVE(&p->conns, c, link);
    p->nconns--;

    if (c->slot >= 0) {
        /* its slot and pins stay until the process is gone */
        atomic_fetch_sub(&p->connected, 1);
        p->lost = p->now;
        s3_keeper_scan(p);
    }

    s3_conn_reads(c);            /* frees those that were not begun */
    s3_conn_unref(c);
}


/* whether they are counted: not once this process has left to one of them */

static unsigned
s3_successors_add(s3_process_t *p, int n)
{
    int  count;

    count = atomic_load(&p->successors);

    do {
        if (count == S3_SUCCEEDED) {
            return 0;
        }

    } while (!atomic_compare_exchange_weak(&p->successors, &count,
                                           count + n));

    return 1;
}


/* it is gone, or goes when it is told that nobody counts on it */

static void
s3_successor_dismiss(s3_conn_t *c)
{
    size_t    at;
    s3_buf_t  b;

    c->successor = 0;

    if (!s3_successors_add(c->process, -1)) {
        return;
    }

    memset(&b, 0, sizeof(s3_buf_t));
    at = s3_msg_begin(&b, S3_MSG_SUCCESSOR, 0, 0);
    s3_msg_end(&b, at);

    if (b.error == 0) {
        (void) send(c->fd, b.data, b.len, MSG_NOSIGNAL);
    }

    s3_buf_free(&b);
}


static void
s3_conn_unref(s3_conn_t *c)
{
    if (--c->refs == 0) {
        /* the loop may have an event of it in its list still */
        TAILQ_INSERT_TAIL(&c->process->graves, c, link);
    }
}


void
s3_graves_clear(s3_process_t *p)
{
    s3_conn_t  *c;

    while ((c = TAILQ_FIRST(&p->graves)) != NULL) {
        TAILQ_REMOVE(&p->graves, c, link);
        s3_buf_free(&c->in);
        s3_buf_free(&c->out);
        free(c);
    }
}


void
s3_question_free(s3_question_t *q)
{
    s3_conn_t  *c;

    if (--q->refs) {
        return;
    }

    c = q->conn;

    if (c) {
        q->conn = NULL;

        c->asked--;
        c->reading -= q->reading;

        if (c->fd != -1) {
            s3_conn_arm(c);
        }

        s3_conn_reads(c);

        s3_conn_unref(c);
    }

    s3_buf_free(&q->answer);
    free(q);
}


static void
s3_question_send(s3_question_t *q, int status, const void *payload,
    size_t len)
{
    size_t      at;
    s3_conn_t  *c;

    c = q->conn;

    if (c == NULL || c->fd == -1) {
        return;
    }

    at = s3_msg_begin(&c->out, S3_MSG_ANSWER, q->request, status);
    s3_buf_bytes(&c->out, payload, len);
    s3_msg_end(&c->out, at);

    if (c->out.error) {
        s3_log(c->process, 4, "worker %u does not take its answers", c->pid);
        s3_conn_close(c);
        return;
    }

    s3_conn_write(c);
}


void
s3_question_answer(s3_question_t *q, int status, const void *payload,
    size_t len)
{
    s3_question_send(q, status, payload, len);
    s3_question_free(q);
}


void
s3_answer_verdict(s3_question_t *q, const s3_verdict_t *verdict)
{
    s3_buf_t  b;

    if (q->conn == NULL) {
        return;
    }

    memset(&b, 0, sizeof(s3_buf_t));
    s3_write_verdict(&b, verdict);

    if (b.error == 0) {
        s3_question_send(q, verdict->status, b.data, b.len);

    } else if (q->conn->fd != -1) {

        /* the worker asks what became of it when it is connected again */

        s3_log(q->conn->process, 4, "no memory for an answer to worker %u",
               q->conn->pid);
        s3_conn_close(q->conn);
    }

    s3_buf_free(&b);
}


/*
 * OUTCOME: the commit may be queued or in a batch still (the connection
 * broke, the process did not die): then the answer is the commit's own,
 * later.
 */

static void
s3_outcome(s3_conn_t *c, s3_question_t *q)
{
    unsigned         i;
    s3_process_t    *p;
    s3_question_t   *w, *found;

    p = c->process;
    found = NULL;

    STAILQ_FOREACH(w, &p->queue, link) {
        if (w->request == q->request
            && memcmp(w->commit.session, c->session, 16) == 0)
        {
            found = w;
        }
    }

    STAILQ_FOREACH(w, &p->limbo, link) {
        if (w->request == q->request
            && memcmp(w->commit.session, c->session, 16) == 0)
        {
            found = w;
        }
    }

    for (i = 0; p->batch && i < p->batch->n; i++) {
        w = p->batch->questions[i];

        if (w->request == q->request && w->commit.request
            && memcmp(w->commit.session, c->session, 16) == 0)
        {
            found = w;
        }
    }

    if (found == NULL) {
        memcpy(q->commit.session, c->session, 16);
        s3_read_start(q);
        return;
    }

    if (found->conn != c) {
        /* hand the old question over to the new connection */

        if (found->conn) {
            found->conn->asked--;
            found->conn->reading -= found->reading;
            s3_conn_unref(found->conn);
        }

        found->reading = 0;
        found->conn = c;
        c->refs++;
        c->asked++;
    }

    s3_question_free(q);
}


/* reads */

static void
s3_read_start(s3_question_t *q)
{
    s3_op_t       *op;
    s3_disk_t     *disk;
    s3_process_t  *p;

    p = q->process;

    if (p->state == S3_STORE_BUSY) {
        STAILQ_INSERT_TAIL(&p->parked, q, link);
        return;
    }

    /* without a quorum "no such verdict" is not an answer (ruling 2) */

    if (q->type == S3_MSG_OUTCOME && p->state != S3_STORE_OK) {
        s3_question_answer(q, S3_STORE_UNDECIDED, NULL, 0);
        return;
    }

    disk = (p->state == S3_STORE_UNAVAILABLE) ? NULL : s3_disk_reader(p);

    if (disk == NULL) {
        s3_question_answer(q, S3_STORE_UNAVAILABLE, NULL, 0);
        return;
    }

    op = s3_op_create(disk->drive, S3_LANE_READER, s3_read_run,
                      s3_read_finish, q);
    op->free = s3_read_free;
    op->late = 1;
    op->out.max = S3_PROTO_MAX_ANSWER - S3_PROTO_HEADER;
    q->refs++;
    s3_op_post(op);
}


static void
s3_read_run(s3_op_t *op)
{
    int                 rc;
    uint32_t            max;
    s3_slice_t          bucket, key;
    s3_index_t         *index;
    s3_reader_t         r;
    s3_question_t      *q;
    s3_list_query_t     query;
    s3_part_query_t     parts;
    s3_upload_query_t   uploads;

    q = op->data;
    index = op->drive->reader;
    op->status = S3_STORE_OK;

    s3_reader_init(&r, q->data, q->len);

    switch (q->type) {

    case S3_MSG_LOOKUP:
        bucket = s3_read_slice(&r);
        key = s3_read_slice(&r);

        if (r.error) {
            break;
        }

        op->task.error = s3_index_lookup(index, bucket, key, &op->sequence,
                                         &op->status, &op->out);
        return;

    case S3_MSG_BUCKET:
        bucket = s3_read_slice(&r);

        if (r.error) {
            break;
        }

        op->task.error = s3_index_bucket(index, bucket, &op->sequence,
                                         &op->status, &op->out);
        return;

    case S3_MSG_BUCKETS:
        key = s3_read_slice(&r);
        max = s3_read_u32(&r);

        if (r.error || max > 10000) {
            break;
        }

        op->task.error = s3_index_buckets(index, key, max, &op->sequence,
                                          &op->out);
        return;

    case S3_MSG_LIST:
        if (s3_read_list_query(&r, &query) != 0) {
            break;
        }

        op->task.error = s3_index_list(index, &query, &op->sequence,
                                       &op->status, &op->out);
        return;

    case S3_MSG_PARTS:
        if (s3_read_part_query(&r, &parts) != 0) {
            break;
        }

        op->task.error = s3_index_parts(index, &parts, &op->sequence,
                                        &op->status, &op->out);
        return;

    case S3_MSG_UPLOADS:
        if (s3_read_upload_query(&r, &uploads) != 0) {
            break;
        }

        op->task.error = s3_index_uploads(index, &uploads, &op->sequence,
                                          &op->status, &op->out);
        return;

    default: /* S3_MSG_OUTCOME */

        rc = s3_index_outcome(index, q->commit.session, q->request,
                              &op->sequence, &op->status, &op->verdict);

        if (rc == 0 && op->status == S3_STORE_OK) {
            s3_write_verdict(&op->out, &op->verdict);
            op->status = op->verdict.status;
            rc = op->out.error;
        }

        op->task.error = rc;
        return;
    }

    op->status = S3_STORE_BAD_REQUEST;
}


static void
s3_read_finish(s3_op_t *op)
{
    s3_process_t   *p;
    s3_question_t  *q;

    q = op->data;
    p = q->process;

    if (op->error == EAGAIN) {
        s3_question_answer(q, S3_STORE_BUSY, NULL, 0);
        return;
    }

    if (op->error == ENOMEM || op->error == EMSGSIZE) {
        s3_question_answer(q, S3_STORE_ERROR, NULL, 0);
        return;
    }

    if (op->error) {
        if (op->drive->disk) {
            s3_disk_drop(op->drive->disk, op->error, "a look-up failed");
        }

        s3_read_start(q);       /* another disk, or parked */
        return;
    }

    q->sequence = op->sequence;
    q->status = op->status;

    if (q->sequence > p->position.sequence) {
        q->answer = op->out;
        memset(&op->out, 0, sizeof(s3_buf_t));
        STAILQ_INSERT_TAIL(&p->held, q, link);
        return;
    }

    s3_question_answer(q, q->status, op->out.data, op->out.len);
}


/* the thread is back: it does not read the question any more */

static void
s3_read_free(s3_op_t *op)
{
    s3_question_free(op->data);
}


void
s3_held_release(s3_process_t *p)
{
    s3_questions_t   held;
    s3_question_t   *q;

    if (STAILQ_EMPTY(&p->held)) {
        return;
    }

    STAILQ_INIT(&held);
    STAILQ_CONCAT(&held, &p->held);

    while ((q = STAILQ_FIRST(&held)) != NULL) {
        STAILQ_REMOVE_HEAD(&held, link);

        if (p->state == S3_STORE_OK
            && q->sequence <= p->position.sequence)
        {
            s3_question_answer(q, q->status, q->answer.data, q->answer.len);

        } else if (p->batch && p->state == S3_STORE_OK) {
            STAILQ_INSERT_TAIL(&p->held, q, link);

        } else {
            /* what it saw was rolled back, or is not settled: look anew */
            s3_buf_free(&q->answer);
            s3_read_start(q);
        }
    }
}


void
s3_parked_release(s3_process_t *p)
{
    s3_questions_t   parked;
    s3_question_t   *q;

    STAILQ_INIT(&parked);
    STAILQ_CONCAT(&parked, &p->parked);

    while ((q = STAILQ_FIRST(&parked)) != NULL) {
        STAILQ_REMOVE_HEAD(&parked, link);
        s3_read_start(q);
    }
}


int
s3_session_connected(s3_process_t *p, const uint8_t session[16])
{
    s3_conn_t  *c;

    TAILQ_FOREACH(c, &p->conns, link) {
        if (c->slot >= 0 && memcmp(c->session, session, 16) == 0) {
            return 1;
        }
    }

    return 0;
}


/* the lowest pin of the living; slots of the dead are freed */

uint64_t
s3_pins_oldest(s3_process_t *p)
{
    unsigned   i;
    uint64_t   taken, pin, oldest;

    oldest = UINT64_MAX;

    for (i = 0; i < S3_PAGE_WORKERS; i++) {
        taken = atomic_load(&p->page->workers[i].taken);

        if (taken == 0) {
            continue;
        }

        if (kill((pid_t) taken, 0) == -1 && errno == ESRCH) {
            atomic_store(&p->page->workers[i].taken, 0);
            continue;
        }

        pin = atomic_load(&p->page->workers[i].oldest);

        if (pin < oldest) {
            oldest = pin;
        }
    }

    return oldest;
}
