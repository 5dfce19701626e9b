
/*
 * The socket to the store process, and s3_client_process(), which runs
 * everything else.
 *
 *     call        asks, unsent          socket           answer
 *     ----------> [ 7 ] [ 8 ] [ 9 ] --> ======== -->     handler
 *                    ^                     | lost
 *                    +---------------------+
 *                    reads: the same message again
 *                    commits that were sent: OUTCOME first;
 *                        a verdict         -> handler
 *                        S3_STORE_UNKNOWN  -> COMMIT again
 *
 * A commit counts as sent from the moment its first byte may be on the way:
 * from then on only the store process may remove its shards (ruling 3), and
 * only after UNKNOWN, which is answered after recovery, may it go again.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>


#define S3_FD_LOOP          0
#define S3_FD_TIMER         1
#define S3_FD_SOCKET        2

#define S3_BACKOFF_MIN      20       /* ms */
#define S3_BACKOFF_MAX      200
#define S3_TICK_IDLE        500
#define S3_TICK_WAITING     20
#define S3_TICK_LATE_MIN    10
#define S3_TICK_LATE_MAX    100

#define S3_RECV_FIRST       (64 * 1024)
#define S3_RECV_KEPT        (256 * 1024)
#define S3_RECV_ROUNDS      16
#define S3_RUN_ROUNDS       8
#define S3_RUN_EVENTS       4096
#define S3_COMPUTE_QUEUE    65536


static void s3_client_run(s3_client_t *c);
static void s3_client_tick(s3_client_t *c);
static void s3_client_arm(s3_client_t *c);

static void s3_client_connect(s3_client_t *c);
static void s3_client_disconnect(s3_client_t *c);
static int s3_client_send_ask(s3_client_t *c, s3_ask_t *ask);
static int s3_client_poll(s3_client_t *c, int writing);
static void s3_client_recv(s3_client_t *c);
static int s3_client_room(s3_client_t *c, size_t size);
static int s3_client_message(s3_client_t *c, const s3_msg_t *msg,
    const uint8_t *p);
static int s3_client_hello(s3_client_t *c, const s3_msg_t *msg,
    const uint8_t *p);

static void s3_pin_store(s3_client_t *c);


s3_client_t *
s3_client_create(const s3_conf_t *conf)
{
    int                 err;
    s3_client_t        *c;
    s3_lane_conf_t      lane;
    struct epoll_event  ee;

    if (conf->ndisks == 0 || conf->ndisks > S3_MAX_DISKS) {
        errno = EINVAL;
        return NULL;
    }

    c = calloc(1, sizeof(s3_client_t));
    if (c == NULL) {
        return NULL;
    }

    c->conf = conf;
    c->epoll = -1;
    c->timer = -1;
    c->fd = -1;
    c->backoff = S3_BACKOFF_MIN;

    s3_link_init(&c->asks);
    s3_link_init(&c->unsent);
    s3_link_init(&c->commits);
    s3_link_init(&c->pins);
    s3_link_init(&c->events);
    s3_link_init(&c->waiting);
    s3_link_init(&c->budgets[S3_BUDGET_UPLOADS]);
    s3_link_init(&c->budgets[S3_BUDGET_DOWNLOADS]);
    s3_link_init(&c->holders);
    s3_link_init(&c->large);
    s3_link_init(&c->spares);
    s3_link_init(&c->buffers);
    s3_link_init(&c->disks);

    if (getrandom(c->session, sizeof(c->session), 0)
        != (ssize_t) sizeof(c->session))
    {
        goto failed;
    }

    s3_id_text(c->session, c->session_text);

    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll == -1) {
        goto failed;
    }

    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK|TFD_CLOEXEC);
    if (c->timer == -1) {
        goto failed;
    }

    c->loop = s3_loop_create();
    if (c->loop == NULL) {
        goto failed;
    }

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = EPOLLIN;
    ee.data.u32 = S3_FD_LOOP;

    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, s3_loop_fd(c->loop), &ee) == -1) {
        goto failed;
    }

    ee.data.u32 = S3_FD_TIMER;

    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->timer, &ee) == -1) {
        goto failed;
    }

    lane.threads = conf->compute ? conf->compute : 1;
    lane.queue = S3_COMPUTE_QUEUE;

    c->compute = s3_pool_create("s3-compute", &lane, 1, c->loop, 0);
    if (c->compute == NULL) {
        goto failed;
    }

    c->page = s3_page_map(conf->runtime, conf->name);

    /* disks are opened and the store process is connected to from the loop:
     * have it come there */

    s3_client_arm(c);
    s3_client_wake(c);

    return c;

failed:

    err = errno;

    if (c->loop != NULL) {
        s3_loop_close(c->loop);
    }

    if (c->timer != -1) {
        (void) close(c->timer);
    }

    if (c->epoll != -1) {
        (void) close(c->epoll);
    }

    free(c);
    errno = err;

    return NULL;
}


int
s3_client_fd(s3_client_t *c)
{
    return c->epoll;
}


unsigned
s3_client_active(s3_client_t *c)
{
    return c->active;
}


int
s3_client_state(s3_client_t *c)
{
    s3_client_refresh(c);

    return c->has_set ? (int) c->set.state : S3_STORE_BUSY;
}


void
s3_client_health(s3_client_t *c, s3_client_health_t *h)
{
    unsigned  i;

    memset(h, 0, sizeof(s3_client_health_t));

    h->state = s3_client_state(c);
    h->connected = c->ready && !c->broken;

    if (!c->has_set) {
        return;
    }

    h->disks = c->set.geometry.k + c->set.geometry.m;
    h->read_quorum = c->set.geometry.k;
    h->write_quorum = s3_quorum(&c->set.geometry);

    /* without a quorum there are no members */

    for (i = 0; i < h->disks; i++) {
        h->present += (c->set.disks[i].state != S3_DISK_ABSENT);
        h->healing += (c->set.disks[i].state == S3_DISK_PRESENT
                       && h->state == S3_STORE_OK);
    }
}


int
s3_client_status(s3_client_t *c, s3_status_t *status)
{
    if (c->status == NULL) {
        c->status = s3_status_map(c->conf->runtime, c->conf->name);
    }

    return c->status == NULL ? -1 : s3_status_read(c->status, status);
}


void
s3_client_load(s3_client_t *c, s3_client_load_t *load)
{
    load->calls = c->nasks;
    load->waiting = c->nwaiting;
    load->operations = c->out_there;
    load->uploads = c->held[S3_BUDGET_UPLOADS];
    load->downloads = c->held[S3_BUDGET_DOWNLOADS];
}


void
s3_client_close(s3_client_t *c)
{
    s3_ask_t   *ask;
    s3_pin_t   *pin;
    s3_disk_t  *disk;

    assert(!c->processing);

    c->closed = 1;

    while (!s3_link_empty(&c->asks)) {
        ask = s3_link_data(c->asks.next, s3_ask_t, link);

        if (ask->call != NULL) {
            ask->call->ctx = NULL;
        }

        s3_ask_unlink(c, ask);
        s3_ask_free(ask);
    }

    while (!s3_link_empty(&c->pins)) {
        pin = s3_link_data(c->pins.next, s3_pin_t, link);
        s3_link_remove(&pin->link);
        free(pin);
    }

    s3_pin_store(c);

    /* disks with operations out are lost with them: one may hang */

    while (!s3_link_empty(&c->disks)) {
        disk = s3_link_data(c->disks.next, s3_disk_t, link);
        s3_link_remove(&disk->link);
        s3_pool_leave(disk->pool);
        disk->pool = NULL;

        if (s3_link_empty(&disk->ops)) {
            free(disk->dir);
            free(disk);
        }
    }

    s3_pool_leave(c->compute);
    s3_loop_close(c->loop);

    if (c->fd != -1) {
        (void) close(c->fd);
    }

    if (c->page != NULL) {
        s3_page_unmap(c->page);
    }

    if (c->status != NULL) {
        s3_status_unmap(c->status);
    }

    (void) close(c->timer);
    (void) close(c->epoll);

    s3_buffer_trim(c, 1);
    s3_buf_free(&c->out);
    free(c->in);
    free(c);
}


void
s3_client_process(s3_client_t *c)
{
    int                 i, n, timer, sock;
    uint64_t            count;
    struct epoll_event  ee[4];

    if (c->processing) {
        return;
    }

    c->processing = 1;
    c->woken = 0;

    timer = 0;
    sock = 0;

    n = epoll_wait(c->epoll, ee, 4, 0);

    for (i = 0; i < n; i++) {

        switch (ee[i].data.u32) {

        case S3_FD_TIMER:
            timer = (read(c->timer, &count, sizeof(uint64_t))
                     == (ssize_t) sizeof(uint64_t));
            break;

        case S3_FD_SOCKET:
            sock = 1;
            break;
        }
    }

    /* before the timer: what came back is not late */

    (void) s3_loop_process(c->loop);

    s3_client_refresh(c);

    if (sock && c->fd != -1) {
        s3_client_recv(c);
    }

    if (timer || c->fd == -1) {
        s3_client_tick(c);
    }

    for (n = 0; n < S3_RUN_ROUNDS; n++) {
        c->woken = 0;

        s3_client_run(c);

        if (!c->woken) {
            break;
        }
    }

    if (c->fd != -1) {
        s3_client_flush(c);
    }

    if (c->broken) {
        s3_client_disconnect(c);
    }

    s3_client_arm(c);

    c->processing = 0;

    if (c->woken) {
        s3_loop_wake(c->loop);
    }
}


/* what waits for a set, for memory, for being told: each once */

static void
s3_client_run(s3_client_t *c)
{
    unsigned     n;
    s3_link_t    list;
    s3_event_t  *event;

    if (!s3_link_empty(&c->waiting) && s3_client_settled(c, 0)) {

        /* they may have to wait on */

        s3_link_init(&list);

        while (!s3_link_empty(&c->waiting)) {
            event = s3_link_data(c->waiting.next, s3_event_t, link);
            s3_link_remove(&event->link);
            s3_link_add(&list, &event->link);
        }

        while (!s3_link_empty(&list)) {
            event = s3_link_data(list.next, s3_event_t, link);
            s3_link_remove(&event->link);
            event->handler(event);
        }
    }

    s3_budget_grant(c);

    n = 0;

    for ( ;; ) {
        if (s3_link_empty(&c->events)) {
            break;
        }

        /* a handler that asks for the next piece may have it at once */

        if (++n > S3_RUN_EVENTS) {
            c->woken = 1;
            break;
        }

        event = s3_link_data(c->events.next, s3_event_t, link);
        s3_link_remove(&event->link);
        event->handler(event);
    }
}


static void
s3_client_tick(s3_client_t *c)
{
    if (c->page == NULL) {
        c->page = s3_page_map(c->conf->runtime, c->conf->name);
        s3_client_refresh(c);
    }

    s3_client_late(c);
    s3_buffer_trim(c, 0);

    if (c->fd == -1 && s3_now() >= c->retry) {
        s3_client_connect(c);
    }
}


static void
s3_client_arm(s3_client_t *c)
{
    unsigned           ms, n;
    uint64_t           now;
    struct itimerspec  it;

    ms = S3_TICK_IDLE;

    if (c->out_there) {
        n = c->conf->late / 8;

        if (n < S3_TICK_LATE_MIN) {
            n = S3_TICK_LATE_MIN;
        }

        ms = (n < S3_TICK_LATE_MAX) ? n : S3_TICK_LATE_MAX;
    }

    if (!s3_link_empty(&c->waiting) && ms > S3_TICK_WAITING) {
        ms = S3_TICK_WAITING;
    }

    if (c->fd == -1) {
        now = s3_now();
        n = (c->retry > now) ? (unsigned) (c->retry - now) : 1;

        if (n < ms) {
            ms = n;
        }
    }

    /* runs on by itself: no system call while the interval is the same */

    if (ms == c->interval) {
        return;
    }

    c->interval = ms;

    it.it_value.tv_sec = ms / 1000;
    it.it_value.tv_nsec = (long) (ms % 1000) * 1000000;
    it.it_interval = it.it_value;

    (void) timerfd_settime(c->timer, 0, &it, NULL);
}


void
s3_client_wake(s3_client_t *c)
{
    if (c->woken || c->closed) {
        return;
    }

    c->woken = 1;

    if (!c->processing) {
        s3_loop_wake(c->loop);
    }
}


void
s3_client_event(s3_client_t *c, s3_event_t *event)
{
    if (s3_link_empty(&event->link)) {
        s3_link_add(&c->events, &event->link);
        s3_client_wake(c);
    }
}


void
s3_client_log(s3_client_t *c, int level, const char *fmt, ...)
{
    char     text[512];
    va_list  args;

    if (c->conf->log == NULL) {
        return;
    }

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    c->conf->log(c->conf->log_data, level, text);
}


/* the socket */


static void
s3_client_connect(s3_client_t *c)
{
    size_t              at;
    struct epoll_event  ee;

    /* at the same pace when nothing is asked: the store process waits at its
     * end for the workers it knows of, whose uploads are not finished yet */

    c->tried = s3_now();
    c->retry = c->tried + c->backoff;
    c->backoff = (c->backoff * 2 < S3_BACKOFF_MAX) ? c->backoff * 2
                                                   : S3_BACKOFF_MAX;
    c->answered = 0;

    c->fd = s3_proto_connect(c->conf->runtime, c->conf->name);
    if (c->fd == -1) {
        return;
    }

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = EPOLLIN;
    ee.data.u32 = S3_FD_SOCKET;

    if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->fd, &ee) == -1) {
        s3_client_disconnect(c);
        return;
    }

    at = s3_msg_begin(&c->out, S3_MSG_HELLO, 0, 0);
    s3_buf_bytes(&c->out, c->session, sizeof(c->session));
    s3_buf_u32(&c->out, (uint32_t) getpid());
    s3_msg_end(&c->out, at);

    if (c->out.error) {
        s3_client_disconnect(c);           /* or nobody would say a word */
        return;
    }

    s3_client_flush(c);
}


static void
s3_client_disconnect(s3_client_t *c)
{
    s3_link_t  *l, *next;
    s3_ask_t   *ask;

    if (c->fd != -1) {
        (void) close(c->fd);
        c->fd = -1;
    }

    /* the slot in the page is somebody else's from now on */

    c->ready = 0;
    c->writing = 0;
    c->broken = 0;
    c->in_len = 0;
    c->sent = 0;
    s3_buf_free(&c->out);

    for (l = c->asks.next; l != &c->asks; l = next) {
        next = l->next;
        ask = s3_link_data(l, s3_ask_t, link);

        if (ask->type != S3_MSG_COMMIT) {

            if (ask->call == NULL) {
                s3_ask_unlink(c, ask);
                s3_ask_free(ask);
                continue;
            }

            ask->sent = 0;

        } else if (ask->sent) {
            ask->outcome = 1;
        }

        s3_link_remove(&ask->unsent);
        s3_link_add(&c->unsent, &ask->unsent);
    }
}


/* calls nobody back: s3_client_process() alone may close the socket */

void
s3_client_flush(s3_client_t *c)
{
    ssize_t    n;
    s3_ask_t  *ask;

    if (c->broken) {
        return;
    }

    for ( ;; ) {

        while (c->ready && !s3_link_empty(&c->unsent)
               && c->out.len - c->sent < S3_SEND_BUFFER)
        {
            ask = s3_link_data(c->unsent.next, s3_ask_t, unsent);

            if (s3_client_send_ask(c, ask) == -1) {
                c->broken = 1;
                s3_client_wake(c);
                return;
            }
        }

        if (c->sent == c->out.len) {
            c->sent = 0;
            c->out.len = 0;

            if (c->out.error || c->out.size > 2 * S3_SEND_BUFFER) {
                s3_buf_free(&c->out);
            }

            (void) s3_client_poll(c, 0);
            return;
        }

        n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent,
                 MSG_NOSIGNAL);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            if (errno == EAGAIN && s3_client_poll(c, 1) == 0) {
                return;
            }

            c->broken = 1;
            s3_client_wake(c);

            return;
        }

        c->sent += n;

        /* what is left stands at the start, or it would grow for ever */

        if (c->sent > S3_SEND_BUFFER) {
            c->out.len -= c->sent;
            memmove(c->out.data, c->out.data + c->sent, c->out.len);
            c->sent = 0;
        }
    }
}


static int
s3_client_send_ask(s3_client_t *c, s3_ask_t *ask)
{
    size_t  at;

    if (ask->type == S3_MSG_LOOKUP && ask->pin == NULL) {

        /* in the page before the question is on its way */

        ask->pin = s3_pin_take(c);
        if (ask->pin == NULL) {
            return -1;
        }
    }

    if (ask->outcome) {
        at = s3_msg_begin(&c->out, S3_MSG_OUTCOME, ask->request, 0);
        s3_msg_end(&c->out, at);

    } else {
        s3_buf_bytes(&c->out, ask->message.data, ask->message.len);
        ask->sent = 1;
    }

    if (c->out.error) {
        return -1;
    }

    s3_link_remove(&ask->unsent);

    return 0;
}


static int
s3_client_poll(s3_client_t *c, int writing)
{
    struct epoll_event  ee;

    if (c->writing == (unsigned) writing) {
        return 0;
    }

    memset(&ee, 0, sizeof(struct epoll_event));
    ee.events = writing ? (EPOLLIN|EPOLLOUT) : EPOLLIN;
    ee.data.u32 = S3_FD_SOCKET;

    if (epoll_ctl(c->epoll, EPOLL_CTL_MOD, c->fd, &ee) == -1) {
        return -1;
    }

    c->writing = writing;

    return 0;
}


static void
s3_client_recv(s3_client_t *c)
{
    int        rounds;
    size_t     pos;
    ssize_t    n, len;
    s3_msg_t   msg;

    for (rounds = 0; rounds < S3_RECV_ROUNDS; rounds++) {

        if (s3_client_room(c, c->in_len + 1) == -1) {
            s3_client_disconnect(c);
            return;
        }

        n = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, 0);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1 && errno == EAGAIN) {
            break;
        }

        if (n <= 0) {

            /* the store process is gone; another one may be there already */

            if (c->answered) {
                c->retry = 0;
            }

            s3_client_disconnect(c);
            return;
        }

        c->in_len += n;

        for (pos = 0; pos < c->in_len; pos += len) {

            len = s3_msg_parse(c->in + pos, c->in_len - pos,
                               S3_PROTO_MAX_ANSWER, &msg);
            if (len == 0) {
                break;
            }

            if (len == -1
                || s3_client_message(c, &msg, c->in + pos + S3_PROTO_HEADER)
                   == -1)
            {
                if (!c->garbage) {
                    c->garbage = 1;
                    s3_client_log(c, S3_LOG_ERR, "store \"%s\": the store "
                                  "process sent what is no message of "
                                  "version %d", c->conf->name,
                                  S3_PROTO_VERSION);
                }

                c->retry = s3_now() + c->backoff;
                s3_client_disconnect(c);
                return;
            }
        }

        c->in_len -= pos;
        memmove(c->in, c->in + pos, c->in_len);

        if (c->in_len >= S3_PROTO_HEADER) {

            /* the whole of a large answer by as few calls as may be */

            (void) s3_msg_parse(c->in, c->in_len, S3_PROTO_MAX_ANSWER, &msg);

            if (s3_client_room(c, msg.length) == -1) {
                s3_client_disconnect(c);
                return;
            }
        }
    }

    if (c->in_len == 0 && c->in_size > S3_RECV_KEPT) {
        free(c->in);
        c->in = NULL;
        c->in_size = 0;
    }
}


static int
s3_client_room(s3_client_t *c, size_t size)
{
    uint8_t  *p;

    if (size <= c->in_size) {
        return 0;
    }

    if (size < S3_RECV_FIRST) {
        size = S3_RECV_FIRST;
    }

    p = realloc(c->in, size);
    if (p == NULL) {
        return -1;
    }

    c->in = p;
    c->in_size = size;

    return 0;
}


static int
s3_client_message(s3_client_t *c, const s3_msg_t *msg, const uint8_t *p)
{
    s3_ask_t  *ask;

    if (msg->type == S3_MSG_HELLO) {
        return s3_client_hello(c, msg, p);
    }

    if (msg->type != S3_MSG_ANSWER || !c->ready) {
        return -1;
    }

    ask = s3_ask_find(c, msg->request);

    /* of a question that was not put: no answer can be trusted any more */

    if (ask == NULL || !s3_link_empty(&ask->unsent)) {
        return -1;
    }

    if (s3_client_answer(c, ask, msg, p) == -1) {
        return -1;
    }

    c->answered = 1;
    c->garbage = 0;
    c->backoff = S3_BACKOFF_MIN;

    return 0;
}


static int
s3_client_hello(s3_client_t *c, const s3_msg_t *msg, const uint8_t *p)
{
    uint32_t     slot;
    uint64_t     epoch;
    s3_reader_t  r;

    if (c->ready || msg->status != S3_STORE_OK) {
        return -1;
    }

    s3_reader_init(&r, p, msg->length - S3_PROTO_HEADER);

    slot = s3_read_u32(&r);
    epoch = s3_read_u64(&r);

    if (r.error || slot >= S3_PAGE_WORKERS) {
        return -1;
    }

    /* a page of another epoch: the file was removed, and made anew, while we
     * had it mapped; or the process that answers is no longer the one */

    if (c->page != NULL && atomic_load(&c->page->epoch) != epoch) {
        s3_page_unmap(c->page);
        c->page = NULL;
    }

    if (c->status != NULL) {
        s3_status_unmap(c->status);
        c->status = NULL;
    }

    if (c->page == NULL) {
        c->page = s3_page_map(c->conf->runtime, c->conf->name);

        if (c->page == NULL || atomic_load(&c->page->epoch) != epoch) {
            c->broken = 1;
            return 0;
        }

        c->change = 0;
    }

    c->ready = 1;
    c->slot = slot;

    /* what is read still, before anything is asked */

    s3_pin_store(c);
    s3_client_refresh(c);

    s3_client_log(c, S3_LOG_INFO, "store \"%s\": connected, slot %u",
                  c->conf->name, slot);

    return 0;
}


void
s3_client_send_disk(s3_client_t *c, s3_disk_t *disk, int error)
{
    size_t  at;

    /* not kept for later: the process looks at every disk when it starts */

    if (!c->ready || c->broken || c->out.len - c->sent >= S3_SEND_BUFFER) {
        return;
    }

    at = s3_msg_begin(&c->out, S3_MSG_DISK, 0, 0);
    s3_buf_bytes(&c->out, disk->id, sizeof(disk->id));
    s3_buf_u32(&c->out, disk->instance);
    s3_buf_u32(&c->out, (uint32_t) error);
    s3_msg_end(&c->out, at);

    c->broken |= (c->out.error != 0);
    s3_client_wake(c);
}


void
s3_client_send_shard(s3_client_t *c, const uint8_t id[16], unsigned slot)
{
    size_t         at;
    unsigned       i;
    uint64_t       now;
    s3_reported_t *reported;

    if (!c->ready || c->broken || c->out.len - c->sent >= S3_SEND_BUFFER) {
        return;
    }

    now = s3_now();

    for (i = 0; i < S3_REPORTED; i++) {
        reported = &c->reported[i];

        if (reported->until > now && reported->slot == slot
            && memcmp(reported->id, id, 16) == 0)
        {
            return;
        }
    }

    reported = &c->reported[c->nreported++ % S3_REPORTED];
    reported->until = now + S3_REPORT_AGAIN;
    reported->slot = slot;
    memcpy(reported->id, id, 16);

    at = s3_msg_begin(&c->out, S3_MSG_SHARD, 0, 0);
    s3_buf_bytes(&c->out, id, 16);
    s3_buf_u32(&c->out, slot);
    s3_msg_end(&c->out, at);

    c->broken |= (c->out.error != 0);
    s3_client_wake(c);
}


/* pins */


s3_pin_t *
s3_pin_take(s3_client_t *c)
{
    uint64_t    decided;
    s3_pin_t   *pin;
    s3_link_t  *l;

    decided = (c->page != NULL) ? atomic_load(&c->page->decided) : 0;

    /* by sequence, and nearly always the highest */

    for (l = c->pins.prev; l != &c->pins; l = l->prev) {
        pin = s3_link_data(l, s3_pin_t, link);

        if (pin->sequence == decided) {
            pin->refs++;
            return pin;
        }

        if (pin->sequence < decided) {
            break;
        }
    }

    pin = malloc(sizeof(s3_pin_t));
    if (pin == NULL) {
        return NULL;
    }

    pin->sequence = decided;
    pin->refs = 1;

    /* behind l */

    s3_link_add(l->next, &pin->link);

    s3_pin_store(c);

    return pin;
}


void
s3_pin_release(s3_client_t *c, s3_pin_t *pin)
{
    if (--pin->refs) {
        return;
    }

    s3_link_remove(&pin->link);
    free(pin);

    s3_pin_store(c);
}


static void
s3_pin_store(s3_client_t *c)
{
    uint64_t  oldest;

    if (!c->ready || c->page == NULL) {
        return;
    }

    oldest = s3_link_empty(&c->pins) ? UINT64_MAX
                 : s3_link_data(c->pins.next, s3_pin_t, link)->sequence;

    atomic_store(&c->page->workers[c->slot].oldest, oldest);
}
