/*
 * The store process of a set that is in use, asked over its socket: the
 * abstract Unix socket "s3-store/<set id, 32 hexadecimal digits>", lines of
 * JSON (docs/s3-store.md).
 *
 * It is waited for with a bound, and its socket is looked for anew where it
 * has gone: nginx was reloaded.  The kernel says who answers.
 */


#include "store.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>


#define ST_ASK_NAME        "s3-store/"
#define ST_ASK_WAIT        10000       /* ms for an answer */
#define ST_ASK_AGAIN       10000       /* ms for a socket that was there */
#define ST_ASK_STEP        50
#define ST_ANSWER_MAX      (1024 * 1024)


struct st_ask_s {
    int              fd;               /* -1: it has gone */
    char             set[33];
    uid_t            owner;            /* of the set's disks */
    uid_t            user;             /* who answers */
};


static int st_ask_connect(st_ask_t *ask);
static json_t *st_ask_once(st_ask_t *ask, const char *line, int *late);


st_ask_t *
st_ask_open(const uint8_t set_id[16], uid_t owner)
{
    st_ask_t  *ask;

    ask = calloc(1, sizeof(st_ask_t));
    if (ask == NULL) {
        st_no_memory();
    }

    st_hex(set_id, 16, ask->set);
    ask->owner = owner;

    if (st_ask_connect(ask) != 0) {
        free(ask);
        return NULL;
    }

    return ask;
}


void
st_ask_close(st_ask_t *ask)
{
    if (ask) {
        if (ask->fd != -1) {
            (void) close(ask->fd);
        }

        free(ask);
    }
}


static int
st_ask_connect(st_ask_t *ask)
{
    int                 err;
    size_t              len;
    socklen_t           size;
    uint64_t            until;
    struct ucred        who;
    struct sockaddr_un  sa;

    memset(&sa, 0, sizeof(sa));
    sa.sun_family = AF_UNIX;
    len = (size_t) snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "%s%s",
                            ST_ASK_NAME, ask->set);

    ask->fd = socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (ask->fd == -1) {
        return -1;
    }

    until = st_now() + ST_ASK_WAIT;

    while (connect(ask->fd, (struct sockaddr *) &sa,
                   (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1
                                + len))
           == -1)
    {
        /* others are waiting to be let in */

        if (errno != EAGAIN || st_now() >= until) {
            goto failed;
        }

        (void) poll(NULL, 0, ST_ASK_STEP);
    }

    /* a name in the kernel is whoever's that takes it first */

    size = sizeof(who);

    if (getsockopt(ask->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == -1) {
        goto failed;
    }

    if (who.uid != 0 && who.uid != ask->owner && who.uid != geteuid()) {
        st_error("user %u answers in place of the set's store process",
                 (unsigned) who.uid);
        errno = EPERM;
        goto failed;
    }

    ask->user = who.uid;

    return 0;

failed:

    err = errno;
    (void) close(ask->fd);
    ask->fd = -1;
    errno = err;

    return -1;
}


uid_t
st_ask_user(st_ask_t *ask)
{
    return ask->user;
}


json_t *
st_ask(st_ask_t *ask, const char *line)
{
    int       late;
    json_t   *answer;
    uint64_t  until;

    until = st_now() + ST_ASK_AGAIN;

    for ( ;; ) {
        late = 0;
        answer = NULL;

        if (ask->fd != -1 || st_ask_connect(ask) == 0) {
            answer = st_ask_once(ask, line, &late);
        }

        if (answer) {
            return answer;
        }

        if (ask->fd != -1) {
            (void) close(ask->fd);
            ask->fd = -1;
        }

        if (late) {
            st_error("nginx's store process does not answer: its state is "
                     "in nginx's log and s3_status");
            return NULL;
        }

        if (st_now() >= until) {
            st_error("nginx's store process is gone");
            return NULL;
        }

        (void) poll(NULL, 0, ST_ASK_STEP);
    }
}


/* NULL: no answer; late: it hangs */

static json_t *
st_ask_once(st_ask_t *ask, const char *line, int *late)
{
    int            n;
    char          *buf;
    size_t         len, sent, got, room;
    json_t        *answer;
    ssize_t        rc;
    uint64_t       until, now;
    struct pollfd  pfd;

    buf = NULL;
    answer = NULL;
    len = strlen(line);
    sent = 0;
    got = 0;
    room = 0;
    until = st_now() + ST_ASK_WAIT;

    for ( ;; ) {
        now = st_now();

        pfd.fd = ask->fd;
        pfd.events = sent < len ? POLLOUT : POLLIN;

        n = now < until ? poll(&pfd, 1, (int) (until - now)) : 0;

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            *late = 1;
            break;
        }

        if (sent < len) {
            rc = send(ask->fd, line + sent, len - sent, MSG_NOSIGNAL);

            if (rc == -1 && errno != EAGAIN && errno != EINTR) {
                break;
            }

            sent += rc > 0 ? (size_t) rc : 0;
            continue;
        }

        if (got == room) {

            if (room >= ST_ANSWER_MAX) {
                break;
            }

            room += 16384;
            buf = realloc(buf, room);

            if (buf == NULL) {
                st_no_memory();
            }
        }

        rc = recv(ask->fd, buf + got, room - got, 0);

        if (rc == -1 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }

        if (rc <= 0) {
            break;
        }

        got += (size_t) rc;

        if (buf[got - 1] == '\n') {
            answer = json_loadb(buf, got, 0, NULL);
            break;
        }
    }

    free(buf);

    return answer;
}


json_t *
st_ask_status(st_ask_t *ask)
{
    json_t  *answer, *status;

    answer = st_ask(ask, "{\"ask\":\"status\"}\n");
    status = json_incref(json_object_get(answer, "status"));
    json_decref(answer);

    if (answer && !json_is_object(status)) {
        st_error("nginx's store process answers what is not known here");
        json_decref(status);
        return NULL;
    }

    return status;
}


/*
 * Another one may have a view, a disk may come or go: tried again for a while
 */

json_t *
st_ask_view(st_ask_t *ask)
{
    char         why[256];
    json_t      *answer, *view;
    uint64_t     until;
    const char  *error;

    until = st_now() + ST_ASK_WAIT;

    for ( ;; ) {
        answer = st_ask(ask, "{\"ask\":\"view\"}\n");

        if (answer == NULL) {
            return NULL;
        }

        view = json_object_get(answer, "view");

        if (json_is_object(view)) {
            (void) json_incref(view);
            json_decref(answer);
            return view;
        }

        error = json_string_value(json_object_get(answer, "error"));
        (void) snprintf(why, sizeof(why), "%s", error ? error : "no view");
        json_decref(answer);

        if (st_now() >= until) {
            st_error("nginx's store process gives no view of the set: %s",
                     why);
            return NULL;
        }

        (void) poll(NULL, 0, ST_ASK_STEP);
    }
}


int
st_ask_release(st_ask_t *ask)
{
    int      held;
    json_t  *answer;

    /* not st_ask(): with the connection the view is gone */

    answer = NULL;

    if (ask->fd != -1) {
        answer = st_ask_once(ask, "{\"ask\":\"release\"}\n", &held);
    }

    held = json_is_true(json_object_get(answer, "held"));

    if (answer == NULL && ask->fd != -1) {
        (void) close(ask->fd);
        ask->fd = -1;
    }

    json_decref(answer);

    return held;
}
