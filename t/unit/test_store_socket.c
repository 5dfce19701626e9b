
/*
 * The store process's socket under workers that are broken: garbage, halves
 * of messages, lengths and operations that make no sense, hundreds of
 * connections, answers that nobody takes.  A real process survives it, keeps
 * its memory bounded and serves the others.
 *
 *     S3_SOCKET_SEED=n        the seed of this run (printed)
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE         /* prlimit() */
#endif

#include "s3_test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "s3_pool.h"
#include "s3_proto.h"
#include "s3_record.h"
#include "s3_set.h"


/* KiB; ASan keeps what was freed for a while, 256 MiB by default */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW_READER_MAX   (400 * 1024)
#endif
#endif

#ifndef SLOW_READER_MAX
#define SLOW_READER_MAX   (80 * 1024)
#endif


static uint64_t   seed;
static s3_set_t  *set;


static uint64_t
random_next(void)
{
    return s3_test_random(&seed);
}


static int
set_up(void **state)
{
    char  *dir;

    (void) printf("  seed %lu\n", (unsigned long) seed);

    dir = s3_test_dir();
    set = s3_set_create(dir, 4, 2);
    free(dir);

    s3_set_start(set);
    s3_set_client(set);

    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "k", 1, 100000), S3_STORE_OK);

    return 0;
}


static int
tear_down(void **state)
{
    char  *dir;

    dir = strdup(set->dir);
    s3_set_free(set);
    s3_test_dir_free(dir);

    return 0;
}


/* kilobytes of the store process's memory */

static unsigned
memory(void)
{
    FILE      *f;
    char       path[64], line[256];
    unsigned   kb;

    (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) set->pid);
    f = fopen(path, "r");
    assert_non_null(f);
    kb = 0;

    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "VmRSS: %u", &kb) == 1) {
            break;
        }
    }

    (void) fclose(f);

    return kb;
}


/* the process of the beginning, serving reads and writes */

static void
serves(void)
{
    assert_int_equal(waitpid(set->pid, NULL, WNOHANG), 0);
    assert_int_equal(s3_set_get(set, "bucket", "k", 1, 100000, 0, 100000),
                     S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "other", 2, 100),
                     S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "large", 3, 200000),
                     S3_STORE_OK);
    assert_int_equal(waitpid(set->pid, NULL, WNOHANG), 0);
}


static int
attach(void)
{
    int       fd;
    uint64_t  until;

    until = s3_now() + 5000;

    do {
        fd = s3_proto_connect(set->conf.runtime, set->conf.name);
    } while (fd == -1 && errno == EAGAIN && s3_now() < until
             && usleep(10000) == 0);           /* the backlog is full */

    assert_int_not_equal(fd, -1);

    return fd;
}


/* sends what can be sent within 2 s; returns 0, or -1 when it is closed */

static int
give(int fd, const void *p, size_t len)
{
    ssize_t         n;
    struct pollfd   pfd;
    const uint8_t  *data = p;

    while (len) {
        n = send(fd, data, len, MSG_NOSIGNAL);

        if (n == -1) {
            if (errno != EAGAIN) {
                return -1;
            }

            pfd.fd = fd;
            pfd.events = POLLOUT;

            if (poll(&pfd, 1, 2000) <= 0) {
                return 0;
            }

            continue;
        }

        data += n;
        len -= n;
    }

    return 0;
}


/* the next message within ms; 0, or -1 when there is none or it is closed */

static int
take(int fd, unsigned ms, s3_msg_t *msg, uint8_t *data, size_t size)
{
    size_t         len, want;
    ssize_t        n;
    uint64_t       until;
    struct pollfd  pfd;

    len = 0;
    want = S3_PROTO_HEADER;
    until = s3_now() + ms;

    while (len < want) {
        n = recv(fd, data + len, want - len, 0);

        if (n == 0 || (n == -1 && errno != EAGAIN)) {
            return -1;
        }

        if (n == -1) {
            if (s3_now() >= until) {
                return -1;
            }

            pfd.fd = fd;
            pfd.events = POLLIN;
            (void) poll(&pfd, 1, 10);
            continue;
        }

        len += n;

        if (len == S3_PROTO_HEADER && want == S3_PROTO_HEADER) {
            (void) s3_msg_parse(data, len, S3_PROTO_MAX_ANSWER, msg);
            assert_in_range(msg->length, S3_PROTO_HEADER, size);
            want = msg->length;
        }
    }

    return 0;
}


/* whether the other side closes within ms */

static int
closed(int fd, unsigned ms)
{
    ssize_t        n;
    uint8_t        data[4096];
    uint64_t       until;
    struct pollfd  pfd;

    until = s3_now() + ms;

    do {
        n = recv(fd, data, sizeof(data), 0);

        if (n == 0 || (n == -1 && errno != EAGAIN)) {
            return 1;
        }

        if (n == -1) {
            pfd.fd = fd;
            pfd.events = POLLIN;
            (void) poll(&pfd, 1, 10);
        }

    } while (s3_now() < until);

    return 0;
}


static void
question(s3_buf_t *b, unsigned type, uint64_t request, const void *p,
    size_t len)
{
    size_t  at;

    at = s3_msg_begin(b, type, request, 0);
    s3_buf_bytes(b, p, len);
    s3_msg_end(b, at);
    assert_int_equal(b->error, 0);
}


/* a worker that has said who it is */

static int
worker(uint8_t mark)
{
    int       fd;
    uint8_t   who[20], data[4096];
    uint32_t  pid;
    s3_msg_t  msg;
    s3_buf_t  b;

    fd = attach();

    memset(&b, 0, sizeof(s3_buf_t));
    memset(who, mark, 16);
    pid = getpid();
    memcpy(who + 16, &pid, 4);
    question(&b, S3_MSG_HELLO, 0, who, 20);

    assert_int_equal(give(fd, b.data, b.len), 0);
    s3_buf_free(&b);

    assert_int_equal(take(fd, 10000, &msg, data, sizeof(data)), 0);
    assert_int_equal(msg.type, S3_MSG_HELLO);

    return fd;
}


static void
test_socket_garbage(void **state)
{
    int       fd;
    uint8_t   data[2048];
    unsigned  i;

    for (i = 0; i < 200; i++) {
        fd = (i & 1) ? attach() : worker(i);
        s3_test_fill(data, sizeof(data), random_next());
        (void) give(fd, data, 1 + random_next() % sizeof(data));
        (void) close(fd);
    }

    /* a length under the header, over the bound, and of another version */

    for (i = 0; i < 3; i++) {
        fd = worker(7);
        memset(data, 0, S3_PROTO_HEADER);
        data[4] = S3_MSG_LOOKUP;
        data[6] = i == 2 ? 2 : S3_PROTO_VERSION;
        data[0] = i == 0 ? S3_PROTO_HEADER - 1 : S3_PROTO_HEADER;
        data[3] = i == 1 ? 0x7f : 0;
        (void) give(fd, data, S3_PROTO_HEADER);
        assert_true(closed(fd, 2000));
        (void) close(fd);
    }

    serves();
}


/* what may come only after HELLO, HELLO twice, types that are none */

static void
test_socket_out_of_order(void **state)
{
    int       fd;
    unsigned  type;
    uint8_t   payload[64];
    s3_buf_t  b;

    memset(payload, 0, sizeof(payload));

    for (type = 0; type < 20; type++) {

        if (type == S3_MSG_SUCCESSOR) {
            continue;
        }

        fd = attach();
        memset(&b, 0, sizeof(s3_buf_t));
        question(&b, type, 1, payload, type == S3_MSG_HELLO ? 19 : 64);
        (void) give(fd, b.data, b.len);
        assert_true(closed(fd, 2000));
        s3_buf_free(&b);
        (void) close(fd);
    }

    for (type = S3_MSG_HELLO; type < 20; type += 19 - S3_MSG_HELLO) {
        fd = worker(9);
        memset(&b, 0, sizeof(s3_buf_t));
        memset(payload, 1, 20);
        question(&b, type, 1, payload, 20);
        (void) give(fd, b.data, b.len);
        assert_true(closed(fd, 2000));
        s3_buf_free(&b);
        (void) close(fd);
    }

    serves();
}


static s3_slice_t
slice(const char *s)
{
    s3_slice_t  v;

    v.data = (const uint8_t *) s;
    v.len = strlen(s);

    return v;
}


/*
 * Commits of the store process's own kind, or cut short, or with bytes
 * changed: refused or decided, each is answered once, and none of them names
 * a generation or drops verdicts.
 */

static void
test_socket_commits(void **state)
{
    int            fd;
    uint8_t        data[4096];
    size_t         len;
    unsigned       i, j, sent, answered;
    s3_msg_t       msg;
    s3_buf_t       b, c;
    s3_commit_t    commit;

    fd = worker(21);
    sent = 0;

    for (i = 0; i < 600; i++) {
        memset(&commit, 0, sizeof(s3_commit_t));
        memset(&c, 0, sizeof(s3_buf_t));
        memset(&b, 0, sizeof(s3_buf_t));

        commit.op = 1 + random_next() % 4;
        commit.bucket = slice(i % 3 ? "bucket" : "none");
        commit.key = slice("from a broken worker");
        commit.conditions = random_next() % 8;
        commit.etag = slice("0123456789abcdef");
        commit.generation = random_next() % 4;
        commit.size = 100000;
        commit.mask = random_next() % 16;
        commit.geometry.k = 2;
        commit.geometry.m = 2;
        commit.geometry.unit = 524288;
        s3_test_fill(commit.shard_id, 16, i % 7);

        if (i % 4 == 0) {
            commit.op = 64 + random_next() % 192;        /* not a worker's */
            commit.mask = ~(uint64_t) 0;
        }

        if (commit.op == S3_COMMIT_CREATE_BUCKET
            || commit.op == S3_COMMIT_DELETE_BUCKET)
        {
            commit.bucket = slice("none");
        }

        s3_write_commit(&c, &commit);
        assert_int_equal(c.error, 0);
        len = c.len;

        if (i % 4 == 1) {
            len = random_next() % c.len;

        } else if (i % 4 == 2) {
            for (j = random_next() % 4; j != 0; j--) {
                c.data[random_next() % c.len] = random_next();
            }
        }

        question(&b, S3_MSG_COMMIT, i % 50 == 49 ? 0 : i + 1, c.data, len);
        assert_int_equal(give(fd, b.data, b.len), 0);
        sent++;

        s3_buf_free(&b);
        s3_buf_free(&c);
    }

    for (answered = 0; answered < sent; answered++) {
        assert_int_equal(take(fd, 10000, &msg, data, sizeof(data)), 0);
        assert_int_equal(msg.type, S3_MSG_ANSWER);
        assert_in_range(msg.status, 0, S3_STORE_LAST - 1);

        /* the store process's own: never decided */

        if (msg.request % 4 == 1) {
            assert_int_equal(msg.status, S3_STORE_BAD_REQUEST);
        }
    }

    (void) close(fd);
    serves();
    assert_true(s3_set_whole(set, 10000));

    s3_set_kill(set);
    s3_set_start(set);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    serves();
}


/* reads with payloads that are cut or changed: an answer each */

static void
test_socket_reads(void **state)
{
    int              fd;
    uint8_t         *data;
    size_t           len;
    unsigned         i, type;
    s3_buf_t         b, q;
    s3_msg_t         msg;
    s3_list_query_t  list;

    fd = worker(22);
    data = malloc(S3_PROTO_MAX_ANSWER);
    assert_non_null(data);

    for (i = 0; i < 1000; i++) {
        memset(&b, 0, sizeof(s3_buf_t));
        memset(&q, 0, sizeof(s3_buf_t));
        type = S3_MSG_LOOKUP + i % 4;

        if (type == S3_MSG_LIST) {
            memset(&list, 0, sizeof(s3_list_query_t));
            list.bucket = slice("bucket");
            list.max = random_next() % 2000;
            s3_write_list_query(&q, &list);

        } else {
            s3_buf_slice(&q, "bucket", 6);
            s3_buf_slice(&q, "k", 1);
        }

        len = q.len;

        if (i % 3 == 1) {
            len = random_next() % q.len;

        } else if (i % 3 == 2) {
            q.data[random_next() % q.len] = random_next();
        }

        question(&b, i % 10 == 9 ? S3_MSG_OUTCOME : type, i + 1, q.data, len);
        assert_int_equal(give(fd, b.data, b.len), 0);
        s3_buf_free(&b);
        s3_buf_free(&q);

        assert_int_equal(take(fd, 10000, &msg, data, S3_PROTO_MAX_ANSWER), 0);
        assert_int_equal(msg.type, S3_MSG_ANSWER);
        assert_int_equal(msg.request, i + 1);
        assert_in_range(msg.status, 0, S3_STORE_LAST - 1);
    }

    free(data);
    (void) close(fd);
    serves();
}


/* halves of messages that stay halves, on more connections than there are workers */

static void
test_socket_many(void **state)
{
    int       fds[300];
    uint8_t   half[S3_PROTO_HEADER + 100];
    unsigned  i, before;
    s3_buf_t  b;

    before = memory();

    memset(&b, 0, sizeof(s3_buf_t));
    memset(half, 0, sizeof(half));
    half[1] = 0x80;                           /* 32 KiB are to come */
    half[4] = S3_MSG_LOOKUP;
    half[6] = S3_PROTO_VERSION;

    for (i = 0; i < 300; i++) {
        fds[i] = attach();
        (void) give(fds[i], half, 1 + i % sizeof(half));
    }

    serves();
    assert_true(memory() < before + 64 * 1024);

    for (i = 0; i < 300; i++) {
        (void) close(fds[i]);
    }

    serves();
}


/* more connections than the process has descriptors for: the others wait, and it does not spin */

static void
test_socket_no_descriptors(void **state)
{
    int            fds[700];
    char           path[64], *p, stat[1024];
    FILE          *f;
    unsigned       i, n;
    unsigned long  u[2], s[2];
    struct rlimit  old, limit;

    assert_int_equal(prlimit(set->pid, RLIMIT_NOFILE, NULL, &old), 0);
    limit = old;
    limit.rlim_cur = 100;
    assert_int_equal(prlimit(set->pid, RLIMIT_NOFILE, &limit, NULL), 0);

    for (n = 0; n < 700; n++) {
        fds[n] = s3_proto_connect(set->conf.runtime, set->conf.name);

        if (fds[n] == -1) {
            break;                            /* the backlog is full */
        }
    }

    serves();
    (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) set->pid);

    for (i = 0; i < 2; i++) {
        f = fopen(path, "r");
        assert_non_null(f);
        assert_non_null(fgets(stat, sizeof(stat), f));
        (void) fclose(f);
        p = strrchr(stat, ')');
        assert_non_null(p);
        assert_int_equal(sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u "
                                "%*u %*u %lu %lu", &u[i], &s[i]), 2);

        if (i == 0) {
            (void) usleep(1000000);
        }
    }

    /* ticks of 10 ms: a loop that spins takes a hundred */

    assert_true(u[1] + s[1] - u[0] - s[0] < 50);

    assert_int_equal(prlimit(set->pid, RLIMIT_NOFILE, &old, NULL), 0);

    for (i = 0; i < n; i++) {
        (void) close(fds[i]);
    }

    serves();
    (void) close(worker(33));
}


/* who does not take its answers is not read from, or is closed; memory stays bounded */

static void
test_socket_slow_reader(void **state)
{
    int              fd;
    unsigned         i, before;
    char             name[64];
    size_t           at;
    ssize_t          n;
    uint64_t         until;
    s3_buf_t         b;
    s3_list_query_t  list;

    for (i = 0; i < 300; i++) {
        (void) snprintf(name, sizeof(name), "%050u", i);
        assert_int_equal(s3_set_put(set, "bucket", name, i, 10), S3_STORE_OK);
    }

    before = memory();
    fd = worker(44);

    memset(&b, 0, sizeof(s3_buf_t));
    memset(&list, 0, sizeof(s3_list_query_t));
    list.bucket = slice("bucket");
    list.max = 1000;

    for (i = 0; i < 1000; i++) {
        at = s3_msg_begin(&b, S3_MSG_LIST, i + 1, 0);
        s3_write_list_query(&b, &list);
        s3_msg_end(&b, at);
    }

    until = s3_now() + 4000;
    at = 0;

    while (s3_now() < until) {
        n = send(fd, b.data + at, b.len - at, MSG_NOSIGNAL);

        if (n == -1 && errno != EAGAIN) {
            break;
        }

        at = n == -1 ? at : (at + n) % b.len;

        if (n == -1) {
            (void) usleep(10000);
        }
    }

    serves();
    (void) printf("  %u KiB, %u before\n", memory(), before);
    assert_true(memory() < before + SLOW_READER_MAX);

    (void) close(fd);
    s3_buf_free(&b);
    serves();
}


int
main(void)
{
    char                     *env;
    const struct CMUnitTest   tests[] = {
        cmocka_unit_test_setup_teardown(test_socket_garbage, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_out_of_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_commits, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_reads, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_socket_no_descriptors, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_socket_slow_reader, set_up,
                                        tear_down),
    };

    env = getenv("S3_SOCKET_SEED");
    seed = env ? strtoull(env, NULL, 10) : (uint64_t) time(NULL) * 7919 + 1;

    return cmocka_run_group_tests(tests, NULL, NULL);
}
