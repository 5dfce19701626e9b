
/*
 * The socket of s3-store: questions about a set that is in use.
 *
 *     abstract Unix socket "s3-store/<set id, 32 hexadecimal digits>"
 *
 *     {"ask":"status"}    {"status":{...}}      who is a member, what is done
 *     {"ask":"view"}      {"view":{...}}        held from here on
 *     {"ask":"held"}      {"held":true}         it still is
 *     {"ask":"release"}   {"held":true}         it was until now
 *     {"ask":"look","shards":[["<id>",slot],...]}
 *                         {"taken":2}           so many of them, from the
 *                                               first; holes are looked for
 *     else                {"error":"..."}
 *
 * A line each, one question at a time; docs/s3-store.md has their members.
 * The name is the set's, so that a disk's format file says where to ask, and
 * the kernel's: nothing is left where a process was killed, and the next one
 * binds it when the last is gone.  The kernel says who asks: root, or the user
 * that we are.  Whoever asks and takes no answer is asked nothing more.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE                    /* struct ucred */
#endif

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <jansson.h>
#include "s3_brain.h"


#define S3_ADMIN_NAME      "s3-store/"
#define S3_ADMIN_CONNS     8
#define S3_ADMIN_LINE      16384
#define S3_ADMIN_AGAIN     500         /* ms */


/* one who asks */
typedef struct {
    s3_process_t   *process;
    int             fd;                /* -1: free */
    unsigned        waiting:1;         /* for a view */
    uint32_t        events;
    size_t          len;
    char           *out;               /* NULL: all is sent */
    size_t          out_len;
    size_t          sent;
    char            in[S3_ADMIN_LINE];
} s3_asker_t;

struct s3_admin_s {
    int             fd;
    uint64_t        next_accept;       /* no descriptors; 0: listening */
    s3_asker_t      askers[S3_ADMIN_CONNS];
};


static int s3_admin_open(s3_process_t *p);
static void s3_admin_listen(s3_process_t *p, int on);
static void s3_admin_accept(s3_process_t *p);
static int s3_admin_permitted(int fd);
static void s3_asker_read(s3_asker_t *a);
static void s3_asker_next(s3_asker_t *a);
static void s3_asker_question(s3_asker_t *a, json_t *question);
static void s3_asker_answer(s3_asker_t *a, json_t *answer);
static void s3_asker_error(s3_asker_t *a, const char *text);
static void s3_asker_write(s3_asker_t *a);
static void s3_asker_arm(s3_asker_t *a);
static void s3_asker_close(s3_asker_t *a);
static void s3_asker_view(s3_view_t *view, void *data);
static json_t *s3_admin_look(s3_process_t *p, json_t *shards);
static json_t *s3_admin_status(s3_process_t *p);
static json_t *s3_admin_disk(s3_process_t *p, s3_disk_t *disk);
static json_t *s3_admin_hex(const uint8_t *p, size_t len);
static json_t *s3_admin_text(const char *text);


/* as soon as it is known which set it is, and the process before is gone */

void
s3_admin_tick(s3_process_t *p)
{
    if (p->admin) {

        if (p->admin->next_accept && p->now >= p->admin->next_accept) {
            p->admin->next_accept = 0;
            s3_admin_listen(p, 1);
        }

        return;
    }

    if (!p->has_set || p->now < p->next_admin) {
        return;
    }

    if (s3_admin_open(p) == -1 && errno != EADDRINUSE && p->next_admin == 0) {
        s3_log(p, 4, "store \"%s\": no socket for s3-store: %s",
               p->conf.name, strerror(errno));
    }

    p->next_admin = p->now + S3_ADMIN_AGAIN;
}


static int
s3_admin_open(s3_process_t *p)
{
    int                  i, fd, err;
    char                 id[33];
    size_t               len;
    s3_admin_t          *admin;
    struct epoll_event   ev;
    struct sockaddr_un   sa;

    s3_id_text(p->set_id, id);

    memset(&sa, 0, sizeof(sa));
    sa.sun_family = AF_UNIX;

    /* the first byte stays 0: no file */

    len = (size_t) snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "%s%s",
                            S3_ADMIN_NAME, id);

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return -1;
    }

    admin = calloc(1, sizeof(s3_admin_t));
    if (admin == NULL) {
        (void) close(fd);
        errno = ENOMEM;
        return -1;
    }

    memset(&ev, 0, sizeof(ev));
    ev.events = EPOLLIN;
    ev.data.ptr = admin;

    if (bind(fd, (struct sockaddr *) &sa,
             (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + len))
        == -1
        || listen(fd, S3_ADMIN_CONNS) == -1
        || epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == -1)
    {
        err = errno;
        (void) close(fd);
        free(admin);
        errno = err;
        return -1;
    }

    admin->fd = fd;

    for (i = 0; i < S3_ADMIN_CONNS; i++) {
        admin->askers[i].process = p;
        admin->askers[i].fd = -1;
    }

    p->admin = admin;

    return 0;
}


int
s3_admin_event(s3_process_t *p, void *ptr, unsigned events)
{
    int          i;
    s3_asker_t  *a;

    if (p->admin == NULL) {
        return 0;
    }

    if (ptr == p->admin) {
        s3_admin_accept(p);
        return 1;
    }

    for (i = 0; i < S3_ADMIN_CONNS; i++) {
        a = &p->admin->askers[i];

        if (ptr != a) {
            continue;
        }

        /* of one that was closed in this turn */

        if (a->fd != -1 && (events & EPOLLOUT)) {
            s3_asker_write(a);

            if (a->fd != -1) {
                s3_asker_next(a);
            }
        }

        if (a->fd != -1 && (events & (EPOLLIN|EPOLLHUP|EPOLLERR))) {
            s3_asker_read(a);
        }

        return 1;
    }

    return 0;
}


static void
s3_admin_listen(s3_process_t *p, int on)
{
    struct epoll_event  ev;

    memset(&ev, 0, sizeof(ev));
    ev.events = on ? EPOLLIN : 0;
    ev.data.ptr = p->admin;

    (void) epoll_ctl(p->epoll, EPOLL_CTL_MOD, p->admin->fd, &ev);
}


static void
s3_admin_accept(s3_process_t *p)
{
    int                 i, fd;
    s3_asker_t         *a;
    struct epoll_event  ev;

    /* one a turn: the listener says so again where there are more */

    fd = accept4(p->admin->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

    if (fd == -1) {

        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {

            /* no descriptors: it would wake us without end */

            s3_admin_listen(p, 0);
            p->admin->next_accept = p->now + S3_ADMIN_AGAIN;
        }

        return;
    }

    a = NULL;

    for (i = 0; i < S3_ADMIN_CONNS; i++) {
        if (p->admin->askers[i].fd == -1 && !p->admin->askers[i].waiting) {
            a = &p->admin->askers[i];
            break;
        }
    }

    if (a == NULL || !s3_admin_permitted(fd)) {
        (void) close(fd);
        return;
    }

    memset(&ev, 0, sizeof(ev));
    ev.events = EPOLLIN;
    ev.data.ptr = a;

    if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == -1) {
        (void) close(fd);
        return;
    }

    a->fd = fd;
    a->events = EPOLLIN;
    a->len = 0;
}


/* the name is anybody's to ask at: the kernel tells who did */

static int
s3_admin_permitted(int fd)
{
    socklen_t     len;
    struct ucred  who;

    len = sizeof(who);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0
           && len == sizeof(who) && (who.uid == 0 || who.uid == geteuid());
}


static void
s3_asker_read(s3_asker_t *a)
{
    ssize_t  n;

    if (a->len == sizeof(a->in)) {
        s3_asker_close(a);                   /* no such line is ours */
        return;
    }

    n = recv(a->fd, a->in + a->len, sizeof(a->in) - a->len, 0);

    if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
        s3_asker_close(a);
        return;
    }

    if (n == -1) {
        return;
    }

    a->len += (size_t) n;

    s3_asker_next(a);
}


/* one question, where the one before is answered and that is taken */

static void
s3_asker_next(s3_asker_t *a)
{
    char    *end;
    size_t   n;
    json_t  *question;

    while (a->fd != -1 && a->out == NULL && !a->waiting) {

        end = memchr(a->in, '\n', a->len);

        if (end == NULL) {
            break;
        }

        n = (size_t) (end - a->in);
        question = json_loadb(a->in, n, JSON_REJECT_DUPLICATES, NULL);

        a->len -= n + 1;
        memmove(a->in, end + 1, a->len);

        if (json_is_object(question)) {
            s3_asker_question(a, question);

        } else {
            s3_asker_error(a, "this is no question");
        }

        json_decref(question);
    }

    if (a->fd != -1) {
        s3_asker_arm(a);
    }
}


static void
s3_asker_question(s3_asker_t *a, json_t *question)
{
    int            rc;
    const char    *ask;
    s3_process_t  *p;

    p = a->process;
    ask = json_string_value(json_object_get(question, "ask"));
    ask = ask ? ask : "";

    if (strcmp(ask, "status") == 0) {
        s3_asker_answer(a, s3_admin_status(p));

    } else if (strcmp(ask, "look") == 0) {
        s3_asker_answer(a, s3_admin_look(p, json_object_get(question,
                                                            "shards")));

    } else if (strcmp(ask, "held") == 0 || strcmp(ask, "release") == 0) {

        rc = s3_view_held(p, a);

        if (ask[0] == 'r') {
            s3_view_stop(p, a);
        }

        s3_asker_answer(a, json_pack("{s:b}", "held", rc));

    } else if (strcmp(ask, "view") == 0) {

        rc = s3_view_start(p, s3_asker_view, a);

        if (rc == 0) {
            a->waiting = 1;
            return;
        }

        s3_asker_error(a, rc == EBUSY ? "there is a view already"
                          : rc == EAGAIN ? "the set does not take writes now"
                          : strerror(rc));

    } else {
        s3_asker_error(a, "this question is not known here");
    }
}


static void
s3_asker_view(s3_view_t *view, void *data)
{
    json_t               *disks, *disk;
    unsigned              i;
    uint64_t              log;
    s3_asker_t           *a = data;
    s3_process_t         *p;
    const s3_position_t  *position;

    p = a->process;

    a->waiting = 0;

    if (a->fd == -1) {
        return;                          /* he has left, and it is stopped */
    }

    if (view == NULL) {
        s3_asker_error(a, "there is no view now: a disk has left, or comes");
        s3_asker_next(a);
        return;
    }

    position = s3_view_position(view);
    disks = json_array();

    for (i = 0; disks && i < p->conf.ndisks; i++) {

        if (s3_view_disk(view, i, &log) == 0) {
            disk = json_pack("{s:o, s:I}", "id",
                             s3_admin_hex(p->disks[i].drive
                                              ->format.disk_id, 16),
                             "log", (json_int_t) log);

            if (json_array_append_new(disks, disk) != 0) {
                json_decref(disks);
                disks = NULL;
            }
        }
    }

    s3_asker_answer(a, json_pack("{s:{s:I, s:I, s:o, s:o}}", "view",
                                 "generation",
                                 (json_int_t) position->generation,
                                 "sequence", (json_int_t) position->sequence,
                                 "digest", s3_admin_hex(position->digest, 32),
                                 "disks", disks));
    s3_asker_next(a);
}


/* the answer's reference goes; NULL: no memory for it */

static void
s3_asker_answer(s3_asker_t *a, json_t *answer)
{
    size_t  len;
    char   *text;

    text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    json_decref(answer);

    if (text == NULL) {
        s3_asker_close(a);
        return;
    }

    /* the line's end takes the place of the string's */

    len = strlen(text);
    text[len] = '\n';

    a->out = text;
    a->out_len = len + 1;
    a->sent = 0;

    s3_asker_write(a);
}


static void
s3_asker_error(s3_asker_t *a, const char *text)
{
    s3_asker_answer(a, json_pack("{s:s}", "error", text));
}


static void
s3_asker_write(s3_asker_t *a)
{
    ssize_t  n;

    while (a->out && a->sent < a->out_len) {
        n = send(a->fd, a->out + a->sent, a->out_len - a->sent, MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            if (errno != EAGAIN) {
                s3_asker_close(a);
                return;
            }

            s3_asker_arm(a);
            return;
        }

        a->sent += (size_t) n;
    }

    if (a->out) {
        free(a->out);
        a->out = NULL;
    }

    s3_asker_arm(a);
}


static void
s3_asker_arm(s3_asker_t *a)
{
    uint32_t            events;
    struct epoll_event  ev;

    /* one that waits is listened to, to hear that he leaves */

    events = a->out ? EPOLLOUT : EPOLLIN;

    if (events == a->events) {
        return;
    }

    memset(&ev, 0, sizeof(ev));
    ev.events = events;
    ev.data.ptr = a;

    if (epoll_ctl(a->process->epoll, EPOLL_CTL_MOD, a->fd, &ev) == -1) {
        s3_asker_close(a);
        return;
    }

    a->events = events;
}


static void
s3_asker_close(s3_asker_t *a)
{
    if (a->fd == -1) {
        return;
    }

    (void) close(a->fd);
    a->fd = -1;

    free(a->out);
    a->out = NULL;

    s3_view_stop(a->process, a);
}


/*
 * Shards that s3-store could not read or found wrong: as those that workers
 * report, they are read here first.  And whatever is not on a member at all
 * is looked for.
 */

static json_t *
s3_admin_look(s3_process_t *p, json_t *shards)
{
    size_t       i;
    json_t      *shard, *slot;
    uint8_t      id[16];
    unsigned     n;
    const char  *text;

    p->repair_due = 1;

    for (i = 0; i < json_array_size(shards); i++) {
        shard = json_array_get(shards, i);
        text = json_string_value(json_array_get(shard, 0));
        slot = json_array_get(shard, 1);

        if (text == NULL || s3_id_parse(text, id) != 0
            || !json_is_integer(slot) || json_integer_value(slot) < 0
            || json_integer_value(slot) >= (json_int_t) p->conf.ndisks)
        {
            return json_pack("{s:s}", "error", "this is no shard");
        }

        n = (unsigned) json_integer_value(slot);

        /* what could not be repaired is tried again: somebody asks for it */

        if (s3_damage_known(p, id, n)) {
            s3_damage_add(p, id, n);

        } else if (s3_suspect(p, id, n) > 0) {
            break;
        }
    }

    return json_pack("{s:I}", "taken", (json_int_t) i);
}


static json_t *
s3_admin_status(s3_process_t *p)
{
    json_t      *disks;
    unsigned     i;
    const char  *state;

    state = p->state == S3_STORE_OK ? "ok"
            : p->state == S3_STORE_READ_ONLY ? "read_only"
            : p->state == S3_STORE_BUSY ? "starting" : "unavailable";

    disks = json_array();

    for (i = 0; disks && i < p->conf.ndisks; i++) {
        if (json_array_append_new(disks, s3_admin_disk(p, &p->disks[i]))
            != 0)
        {
            json_decref(disks);
            disks = NULL;
        }
    }

    s3_damage_count(p);

    return json_pack("{s:{s:s, s:o, s:s, s:I, s:I, s:i, s:i, s:o, s:b, s:b,"
                     " s:b, s:b, s:I, s:I, s:I, s:I, s:I}}", "status",
                     "name", p->conf.name,
                     "set", s3_admin_hex(p->set_id, 16),
                     "state", state,
                     "generation", (json_int_t) p->position.generation,
                     "sequence", (json_int_t) p->position.sequence,
                     "slots", (int) p->conf.ndisks,
                     "parity", (int) p->conf.parity,
                     "disks", disks,
                     "copying", p->copy != NULL,
                     "catching_up", p->catchup != NULL,
                     "repairing", p->repair != NULL,
                     "repair_due", p->repair_due || p->generation_due,
                     "repair_passes", (json_int_t) p->repair_passes,
                     "repaired", (json_int_t)
                         p->counts.value[S3_COUNT_SHARDS_REPAIRED],
                     "suspects", (json_int_t) s3_suspects(p),
                     "damage_waiting", (json_int_t)
                         p->counts.value[S3_COUNT_DAMAGE_WAITING],
                     "damage_stuck", (json_int_t)
                         p->counts.value[S3_COUNT_DAMAGE_STUCK]);
}


static json_t *
s3_admin_disk(s3_process_t *p, s3_disk_t *disk)
{
    json_t            *id;
    s3_status_disk_t   sd;

    static const uint8_t  none[16];

    memset(&sd, 0, sizeof(s3_status_disk_t));
    s3_report_disk(p, disk, &sd);

    id = memcmp(sd.id, none, 16) == 0 ? json_null() : s3_admin_hex(sd.id, 16);

    return json_pack("{s:o, s:o, s:i, s:s, s:o, s:b}",
                     "path", s3_admin_text(disk->path),
                     "id", id,
                     "slot", (int) sd.slot,
                     "state", s3_status_disk_text(sd.state),
                     "reason", s3_admin_text(sd.reason),
                     "vacant", s3_vacant(disk));
}


static json_t *
s3_admin_hex(const uint8_t *p, size_t len)
{
    char      text[65];
    size_t    i;

    for (i = 0; i < len; i++) {
        (void) sprintf(text + 2 * i, "%02x", p[i]);
    }

    return json_stringn(text, 2 * len);
}


/* a path may be no UTF-8 */

static json_t *
s3_admin_text(const char *text)
{
    json_t  *j;

    j = json_string(text);

    return j ? j : json_null();
}
