
/*
 * The store process: one brain thread with an epoll loop, disks' threads
 * around it.
 *
 *     lock RUNTIME/NAME.lock -> page, socket -> open disks -> recover -> serve
 *
 * Nothing depends on its end.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/rand.h>
#include "s3_brain.h"


#define S3_TICK          100         /* ms */
#define S3_RECORD_AGAIN  500         /* ms */
#define S3_LOCK_AGAIN    50          /* ms, at most */
#define S3_LEAVE_GRACE   2000        /* ms; ten tries of a worker's */


/* one that waits for the lock */
typedef struct {
    int                   fd;        /* to the holder; -1 */
    unsigned              pause;     /* ms, where there is none */
    unsigned              withdrawn:1;
    unsigned              needed:1;  /* a holder has ended, counting on us */
} s3_waiting_t;


static void s3_process_free(s3_process_t *p);
static void *s3_brain(void *data);
static int s3_brain_start(s3_process_t *p);
static int s3_brain_lock(s3_process_t *p);
static void s3_brain_memory(int error);
static int s3_brain_record(s3_process_t *p);
static void s3_brain_turn(s3_process_t *p);
static int s3_brain_await(s3_process_t *p, s3_waiting_t *w);
static int s3_announce(s3_process_t *p);
static void s3_announced(s3_waiting_t *w);
static int s3_process_succeeded(s3_process_t *p);
static int s3_process_expects(s3_process_t *p, uint64_t opened, uint64_t now);


s3_process_t *
s3_process_start(const s3_conf_t *conf)
{
    int              rc;
    unsigned         i;
    sigset_t         all, old;
    pthread_t        tid;
    const char     **disks;
    s3_process_t    *p;

    p = calloc(1, sizeof(s3_process_t));
    disks = calloc(conf->ndisks, sizeof(char *));

    if (p == NULL || disks == NULL) {
        free(p);
        free(disks);
        errno = ENOMEM;
        return NULL;
    }

    p->conf = *conf;
    p->conf.disks = disks;
    p->conf.name = strdup(conf->name);
    p->conf.runtime = strdup(conf->runtime);
    p->conf.state = strdup(conf->state);

    rc = (p->conf.name == NULL || p->conf.runtime == NULL
          || p->conf.state == NULL) ? ENOMEM : 0;

    for (i = 0; i < conf->ndisks; i++) {
        disks[i] = strdup(conf->disks[i]);

        if (disks[i] == NULL) {
            rc = ENOMEM;
        }

        p->disks[i].index = i;
        p->disks[i].path = disks[i];
        p->disks[i].slot = -1;
        p->disks[i].home = -1;
    }

    if (rc != 0) {
        s3_process_free(p);
        errno = rc;
        return NULL;
    }

    p->geometry = s3_geometry(conf->ndisks, conf->parity);
    p->quorum = s3_quorum(&p->geometry);
    p->state = S3_STORE_BUSY;
    p->source = -1;
    p->listener = -1;
    p->lock = -1;

    TAILQ_INIT(&p->orphans);
    TAILQ_INIT(&p->conns);
    TAILQ_INIT(&p->graves);
    STAILQ_INIT(&p->queue);
    STAILQ_INIT(&p->limbo);
    STAILQ_INIT(&p->held);
    STAILQ_INIT(&p->parked);

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    rc = pthread_create(&tid, NULL, s3_brain, p);

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (rc != 0) {
        s3_process_free(p);
        errno = rc;
        return NULL;
    }

    (void) pthread_setname_np(tid, "s3-brain");
    (void) pthread_detach(tid);

    return p;
}


/* one that never ran */

static void
s3_process_free(s3_process_t *p)
{
    unsigned  i;

    for (i = 0; i < p->conf.ndisks; i++) {
        free((char *) p->conf.disks[i]);
    }

    free(p->conf.disks);
    free((char *) p->conf.name);
    free((char *) p->conf.runtime);
    free((char *) p->conf.state);
    free(p);
}


void
s3_log(s3_process_t *p, int level, const char *format, ...)
{
    char     text[1024];
    va_list  args;

    va_start(args, format);
    (void) vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    p->conf.log(p->conf.log_data, level, text);
}


static void *
s3_brain(void *data)
{
    s3_process_t  *p = data;

    if (s3_brain_start(p) != 0) {
        /* nothing is served; workers answer 503 */
        atomic_store(&p->ended, 1);
        return NULL;
    }

    p->recovery_due = 1;

    for ( ;; ) {

        if (p->recovery_due) {
            s3_recover(p);
        }

        s3_brain_turn(p);
        s3_brain_wait(p, p->recovery_due ? 0 : S3_TICK);
    }

    return NULL;
}


/*
 * The lock comes first: one store process at a time reads the page, binds the
 * socket and tries the disks.
 */

static int
s3_brain_start(s3_process_t *p)
{
    int                 i;
    uint32_t            change;
    struct epoll_event  ev;

    if (s3_brain_lock(p) != 0) {
        return -1;
    }

    p->now = s3_now();
    p->started = p->now;

    p->page = s3_page_map(p->conf.runtime, p->conf.name);

    if (p->page == NULL) {
        s3_brain_memory(errno);
        s3_log(p, 2, "page of store \"%s\" in \"%s\": %s", p->conf.name,
               p->conf.runtime, strerror(errno));
        return -1;
    }

    if (s3_page_read(p->page, &p->set, &change) != 0) {
        memset(&p->set, 0, sizeof(s3_page_set_t));
    }

    do {
        if (RAND_bytes((uint8_t *) &p->epoch, 8) != 1
            || RAND_bytes(p->heal_session, 16) != 1)
        {
            s3_log(p, 2, "no random bytes");
            return -1;
        }
    } while (p->epoch == 0);

    /* a new epoch before recovery: what workers remember is void */

    atomic_store(&p->page->epoch, p->epoch);

    p->set.state = S3_STORE_BUSY;
    s3_page_write(p->page, &p->set);

    s3_report_start(p);

    if (s3_brain_record(p) != 0) {
        return -1;
    }

    p->loop = s3_loop_create();
    p->epoll = epoll_create1(EPOLL_CLOEXEC);

    if (p->loop == NULL || p->epoll == -1) {
        s3_brain_memory(errno);
        s3_log(p, 2, "epoll: %s", strerror(errno));
        return -1;
    }

    memset(&ev, 0, sizeof(ev));
    ev.events = EPOLLIN;
    ev.data.ptr = p->loop;

    if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, s3_loop_fd(p->loop), &ev) == -1
        || s3_socket_open(p) == -1)
    {
        s3_brain_memory(errno);
        s3_log(p, 2, "socket of store \"%s\" in \"%s\": %s", p->conf.name,
               p->conf.runtime, strerror(errno));
        return -1;
    }

    atomic_store(&p->opened, s3_now());

    for (i = 0; i < (int) p->conf.ndisks; i++) {
        s3_disk_try(&p->disks[i]);
    }

    return 0;
}


/* nginx starts another store process, as it does wherever memory ends one */

static void
s3_brain_memory(int error)
{
    if (error == ENOMEM) {
        abort();
    }
}


/*
 * One that can't be read is not "there is none": nothing is formed over it.
 * It may be read a moment later, or when the operator has seen to it.
 */

static int
s3_brain_record(s3_process_t *p)
{
    int  rc, told;

    told = 0;

    for ( ;; ) {
        rc = s3_set_record_read(p->conf.state, p->conf.name, &p->record);

        if (rc == 0 || rc == ENOENT) {
            break;
        }

        if (rc != told) {
            told = rc;
            s3_log(p, 2, "the record of store \"%s\" in \"%s\" can't be "
                   "read, trying again: %s", p->conf.name, p->conf.state,
                   strerror(rc));
        }

        (void) usleep(S3_RECORD_AGAIN * 1000);
        p->now = s3_now();
    }

    if (rc == ENOENT) {
        return 0;
    }

    if (p->record.ndisks != p->conf.ndisks
        || p->record.parity != p->conf.parity)
    {
        s3_log(p, 2, "store \"%s\" was formed with %u disks and parity %u: "
               "configure it so", p->conf.name, p->record.ndisks,
               p->record.parity);
        return -1;
    }

    p->has_record = 1;

    return 0;
}


/*
 * The holder learns that we wait, and does not linger.  Two that are told to
 * leave at the same time must not leave to each other: see s3_proto.h.
 */

static int
s3_brain_lock(s3_process_t *p)
{
    int           rc;
    char          path[4096];
    s3_waiting_t  w;

    (void) snprintf(path, sizeof(path), "%s/%s.lock", p->conf.runtime,
                    p->conf.name);

    p->lock = open(path, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (p->lock == -1) {
        s3_log(p, 2, "open \"%s\": %s", path, strerror(errno));
        return -1;
    }

    memset(&w, 0, sizeof(s3_waiting_t));
    w.fd = -1;
    w.pause = 1;

    for ( ;; ) {
        rc = flock(p->lock, LOCK_EX|LOCK_NB);

        if (rc == 0) {
            break;
        }

        if (errno != EWOULDBLOCK && errno != EINTR) {
            s3_log(p, 2, "flock \"%s\": %s", path, strerror(errno));
            break;
        }

        if (s3_brain_await(p, &w) != 0) {
            break;
        }
    }

    if (w.fd != -1) {
        (void) close(w.fd);
    }

    return rc;
}


/* until the lock may be free; -1: we are to leave, and nobody counts on us */

static int
s3_brain_await(s3_process_t *p, s3_waiting_t *w)
{
    struct pollfd  pfd;

    if (atomic_load(&p->leaving)) {

        if (w->fd == -1 && !w->needed) {
            return -1;
        }

        if (w->fd != -1 && !w->withdrawn) {
            (void) shutdown(w->fd, SHUT_WR);
            w->withdrawn = 1;
        }
    }

    if (w->fd == -1) {
        w->fd = s3_announce(p);
        w->withdrawn = 0;
    }

    if (w->fd == -1) {

        /* between a holder's end and the next one's socket */

        (void) usleep(w->pause * 1000);
        w->pause = (w->pause * 2 < S3_LOCK_AGAIN) ? w->pause * 2
                                                  : S3_LOCK_AGAIN;
        return 0;
    }

    pfd.fd = w->fd;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, S3_LOCK_AGAIN) > 0) {
        s3_announced(w);
    }

    return 0;
}


/* what the holder says to it, or that it has ended */

static void
s3_announced(s3_waiting_t *w)
{
    ssize_t   n;
    uint8_t   data[S3_PROTO_HEADER];
    s3_msg_t  msg;

    n = recv(w->fd, data, sizeof(data), 0);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    w->needed = !(n > 0 && s3_msg_parse(data, n, sizeof(data), &msg) > 0
                  && msg.type == S3_MSG_SUCCESSOR);

    (void) close(w->fd);
    w->fd = -1;
    w->pause = 1;
}


/* tells the store process that may be there that it has a successor: the
 * connection, or -1 */

static int
s3_announce(s3_process_t *p)
{
    int       fd;
    size_t    at;
    ssize_t   n;
    s3_buf_t  b;

    fd = s3_proto_connect(p->conf.runtime, p->conf.name);

    if (fd == -1) {
        return -1;
    }

    memset(&b, 0, sizeof(s3_buf_t));
    at = s3_msg_begin(&b, S3_MSG_SUCCESSOR, 0, 0);
    s3_msg_end(&b, at);

    n = b.error ? -1 : send(fd, b.data, b.len, MSG_NOSIGNAL);

    s3_buf_free(&b);

    if (n == -1) {
        (void) close(fd);
        return -1;
    }

    return fd;
}


/* everything that looks at the clock */

static void
s3_brain_turn(s3_process_t *p)
{
    if (p->now < p->next_tick) {
        return;
    }

    p->next_tick = p->now + S3_TICK / 2;

    s3_disks_tick(p);
    s3_socket_tick(p);
    s3_view_tick(p);
    s3_admin_tick(p);

    if (p->state == S3_STORE_READ_ONLY && p->full
        && p->now >= p->next_generation)
    {
        p->recovery_due = 1;               /* there may be room again */
    }

    if (!p->recovery_due) {
        s3_copy_tick(p);
    }

    if (p->state != S3_STORE_OK || p->recovery_due) {
        return;
    }

    s3_catchup_tick(p);
    s3_void_tick(p);
    s3_batch_start(p);
    s3_keeper_tick(p);
    s3_scrub_tick(p);
    s3_repair_tick(p);
}


/*
 * also called by what waits on the brain thread: recovery.  Never from a
 * finish handler
 */

void
s3_brain_wait(s3_process_t *p, int ms)
{
    int                 i, n;
    struct epoll_event  events[64];

    s3_orphans_finish(p);

    if (!TAILQ_EMPTY(&p->orphans)) {
        ms = 0;
    }

    n = epoll_wait(p->epoll, events, 64, ms);

    p->now = s3_now();

    for (i = 0; i < n; i++) {
        if (events[i].data.ptr == p->loop) {
            (void) s3_loop_process(p->loop);
        }
    }

    for (i = 0; i < n; i++) {
        if (events[i].data.ptr != p->loop
            && !s3_admin_event(p, events[i].data.ptr, events[i].events))
        {
            s3_socket_event(p, events[i].data.ptr, events[i].events);
        }
    }

    s3_orphans_finish(p);
    s3_graves_clear(p);
    s3_report_tick(p);

    /* a round of catching up goes on at once, not at the next tick */

    if (p->catchup && !p->recovering) {
        s3_catchup_tick(p);
    }
}


void
s3_state_set(s3_process_t *p, int state)
{
    p->state = state;
    s3_page_update(p);
}


/*
 * While recovering the disks stay in the page as they were: workers go on
 * writing and reading shards through a reload or the store process's death.
 */

void
s3_page_update(s3_process_t *p)
{
    unsigned         i, slot, state;
    s3_disk_t       *disk;
    s3_page_disk_t  *pd;

    if (p->page == NULL) {
        return;
    }

    if (p->state == S3_STORE_BUSY) {

        /* the ones that are out are, whatever comes */

        for (i = 0; i < p->conf.ndisks; i++) {
            disk = &p->disks[i];

            if (disk->slot >= 0 && disk->drive == NULL) {
                p->set.disks[disk->slot].state = S3_DISK_ABSENT;
            }
        }

        p->set.state = S3_STORE_BUSY;
        s3_page_write(p->page, &p->set);
        return;
    }

    p->set.state = p->state;
    p->set.generation = p->position.generation;
    p->set.geometry = p->geometry;
    memcpy(p->set.set_id, p->set_id, 16);

    for (slot = 0; slot < p->conf.ndisks; slot++) {
        pd = &p->set.disks[slot];
        disk = s3_disk_by_slot(p, slot);

        if (disk == NULL) {
            pd->state = S3_DISK_ABSENT;
            continue;
        }

        /* a member of workers from the generation on that made it one */

        state = (disk->member && p->since[slot]) ? S3_DISK_MEMBER
                                                 : S3_DISK_PRESENT;

        if (memcmp(pd->id, disk->drive->format.disk_id, 16) != 0
            || (state != pd->state && pd->state != S3_DISK_MEMBER))
        {
            pd->instance++;
            memcpy(pd->id, disk->drive->format.disk_id, 16);
        }

        pd->state = state;
    }

    s3_page_write(p->page, &p->set);
}


void
s3_process_linger(s3_process_t *p, unsigned ms)
{
    uint64_t  begun, now, opened;

    begun = s3_now();

    atomic_store(&p->leaving, 1);

    for (now = begun; now < begun + ms && !atomic_load(&p->ended);
         now = s3_now())
    {
        opened = atomic_load(&p->opened);

        if (opened == 0) {

            /* waits for the lock, or has it and starts */

            if (now >= begun + S3_LEAVE_GRACE) {
                return;
            }

        } else if (s3_process_succeeded(p)
                   || (atomic_load(&p->connected) == 0
                       && !s3_process_expects(p, opened, now)))
        {
            return;
        }

        (void) usleep(2000);
    }
}


/* decides it as well: from here on no successor is let go */

static int
s3_process_succeeded(s3_process_t *p)
{
    int  count;

    count = atomic_load(&p->successors);

    return count > 0
           && atomic_compare_exchange_strong(&p->successors, &count,
                                             S3_SUCCEEDED);
}


/*
 * Whether workers may yet come: those that were connected to the process
 * before this one need a moment, and so do new ones.
 */

static int
s3_process_expects(s3_process_t *p, uint64_t opened, uint64_t now)
{
    unsigned  i;
    uint64_t  pid;

    if (now >= opened + S3_LEAVE_GRACE) {
        return 0;
    }

    if (!atomic_load(&p->greeted)) {
        return 1;
    }

    for (i = 0; i < S3_PAGE_WORKERS; i++) {
        pid = atomic_load(&p->page->workers[i].taken);

        if (pid && pid != (uint64_t) getpid()
            && (kill((pid_t) pid, 0) == 0 || errno != ESRCH))
        {
            return 1;
        }
    }

    return 0;
}
