
/*
 * The workers' side against a peer in the same thread that says what the test
 * wants, over a page written by hand, on directories with real format files.
 */


#include "s3_test.h"
#include "s3_client_internal.h"
#include "s3_door.h"
#include "s3_format.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>


#define SEEN_MAX   20000
#define WAIT       20000       /* ms a test waits before it fails */


typedef struct {
    unsigned       type;
    uint64_t       request;
    uint64_t       acked;
} seen_t;


static char          *dir, *runtime, *paths[S3_MAX_DISKS];
static unsigned       ndisks;
static s3_conf_t      conf;
static s3_client_t   *client;
static s3_page_t     *page;
static s3_page_set_t  set;

/* the peer */
static int            listener = -1, peer = -1;
static uint32_t       peer_slot;
static uint8_t        peer_in[512 * 1024];
static size_t         peer_len;
static s3_buf_t       peer_out;
static int            peer_silent;      /* answers nothing but HELLO */
static int            peer_unknown;     /* what OUTCOME is answered */
static int            peer_status;      /* of look-ups and commits */
static s3_object_t   *peer_object;      /* of look-ups */
static unsigned       connections;
static seen_t         seen[SEEN_MAX];
static unsigned       nseen;
static unsigned       disk_reports;
static unsigned       shard_reports;
static uint8_t        reported_id[16];
static unsigned       reported_slots;
static s3_commit_t    committed;        /* the last one, slices gone */
static uint8_t        committed_data[S3_INLINE_MAX];
static size_t         committed_len;
static uint64_t       pin_at_lookup;

static unsigned       logged;

/* the door */
static s3_door_t          door;
static _Atomic int        door_disk;     /* path number, -1: all */
static _Atomic int        door_errno;
static _Atomic unsigned   door_calls, door_fail;
static _Atomic int        door_hang;     /* 1: writes, 2: reads, 3: opens */
static _Atomic unsigned   door_hung;
static pthread_mutex_t    door_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t     door_cond = PTHREAD_COND_INITIALIZER;


static void
test_log(void *data, int level, const char *text)
{
    logged++;

    if (getenv("S3_TEST_DEBUG")) {
        (void) fprintf(stderr, "%d: %s\n", level, text);
    }
}


static void
peer_close(void)
{
    if (peer != -1) {
        (void) close(peer);
        peer = -1;
    }

    peer_len = 0;
    s3_buf_free(&peer_out);
}


/* both ends are this thread's: a peer that blocks is never read */

static void
peer_flush(void)
{
    ssize_t  n;

    if (peer == -1 || peer_out.len == 0) {
        return;
    }

    n = send(peer, peer_out.data, peer_out.len, MSG_NOSIGNAL|MSG_DONTWAIT);

    if (n > 0) {
        peer_out.len -= n;
        memmove(peer_out.data, peer_out.data + n, peer_out.len);
    }
}


static void
peer_send(const void *p, size_t len)
{
    s3_buf_bytes(&peer_out, p, len);
    assert_int_equal(peer_out.error, 0);
    peer_flush();
}


static void
peer_answer(unsigned type, uint64_t request, unsigned status,
    void (*payload)(s3_buf_t *b))
{
    size_t    at;
    s3_buf_t  b;

    memset(&b, 0, sizeof(s3_buf_t));

    at = s3_msg_begin(&b, type, request, status);

    if (payload != NULL) {
        payload(&b);
    }

    s3_msg_end(&b, at);
    assert_int_equal(b.error, 0);

    peer_send(b.data, b.len);
    s3_buf_free(&b);
}


static void
payload_hello(s3_buf_t *b)
{
    s3_buf_u32(b, peer_slot);
    s3_buf_u64(b, atomic_load(&page->epoch));
}


static void
payload_verdict(s3_buf_t *b)
{
    s3_verdict_t  v;

    v.status = (uint8_t) peer_status;
    v.mtime = 1234567;
    s3_write_verdict(b, &v);
}


static void
payload_object(s3_buf_t *b)
{
    s3_write_object(b, peer_object);
}


static void
bucket_fill(s3_bucket_t *bucket, const char *name)
{
    memset(bucket, 0, sizeof(s3_bucket_t));
    bucket->name.data = (const uint8_t *) name;
    bucket->name.len = strlen(name);
    bucket->config.data = (const uint8_t *) "";
    bucket->created = 99;
}


static void
payload_bucket(s3_buf_t *b)
{
    s3_bucket_t  bucket;

    bucket_fill(&bucket, "photos");
    s3_write_bucket(b, &bucket);
}


static void
payload_buckets(s3_buf_t *b)
{
    s3_bucket_t  bucket;

    s3_buf_u32(b, 2);
    bucket_fill(&bucket, "aaa");
    s3_write_bucket(b, &bucket);
    bucket_fill(&bucket, "bbb");
    s3_write_bucket(b, &bucket);
}


static void
payload_list(s3_buf_t *b)
{
    s3_list_page_t   p;
    s3_list_entry_t  e;

    memset(&p, 0, sizeof(p));
    memset(&e, 0, sizeof(e));

    e.key.data = (const uint8_t *) "key";
    e.key.len = 3;
    e.size = 5;
    e.etag.data = (const uint8_t *) "0123456789abcdef";
    e.etag.len = 16;
    e.checksum.data = e.key.data;

    p.next.data = e.key.data;
    p.nentries = 1;
    p.entries = &e;

    s3_write_list_page(b, &p);
}


static void
peer_question(const s3_msg_t *msg, const uint8_t *p)
{
    seen_t       *s;
    s3_reader_t   r;
    s3_commit_t   commit;

    if (msg->type == S3_MSG_HELLO) {
        assert_int_equal(msg->length, S3_PROTO_HEADER + 20);
        assert_memory_equal(p, client->session, 16);
        atomic_store(&page->workers[peer_slot].taken, 1);
        peer_answer(S3_MSG_HELLO, 0, 0, payload_hello);
        return;
    }

    if (msg->type == S3_MSG_DISK) {
        disk_reports++;
        return;
    }

    if (msg->type == S3_MSG_SHARD) {
        assert_int_equal(msg->length, S3_PROTO_HEADER + 20);
        s3_reader_init(&r, p, 20);
        s3_read_bytes(&r, reported_id, 16);
        reported_slots |= 1U << s3_read_u32(&r);
        shard_reports++;
        return;
    }

    assert_true(nseen < SEEN_MAX);
    s = &seen[nseen++];
    s->type = msg->type;
    s->request = msg->request;
    s->acked = 0;

    s3_reader_init(&r, p, msg->length - S3_PROTO_HEADER);

    if (msg->type == S3_MSG_COMMIT) {
        assert_int_equal(s3_read_commit(&r, &commit), 0);
        assert_true(commit.request == msg->request);
        assert_memory_equal(commit.session, client->session, 16);
        s->acked = commit.acked;
        committed = commit;

        if (commit.data.len) {
            memcpy(committed_data, commit.data.data, commit.data.len);
        }

        committed_len = commit.data.len;
    }

    if (msg->type == S3_MSG_LOOKUP) {
        pin_at_lookup = atomic_load(&page->workers[peer_slot].oldest);
    }

    if (peer_silent) {
        return;
    }

    switch (msg->type) {

    case S3_MSG_LOOKUP:
        if (peer_object == NULL) {
            peer_answer(S3_MSG_ANSWER, msg->request, S3_STORE_NO_SUCH_KEY,
                        NULL);
        } else {
            peer_answer(S3_MSG_ANSWER, msg->request, 0, payload_object);
        }
        break;

    case S3_MSG_BUCKET:
        peer_answer(S3_MSG_ANSWER, msg->request, 0, payload_bucket);
        break;

    case S3_MSG_BUCKETS:
        peer_answer(S3_MSG_ANSWER, msg->request, 0, payload_buckets);
        break;

    case S3_MSG_LIST:
        peer_answer(S3_MSG_ANSWER, msg->request, 0, payload_list);
        break;

    case S3_MSG_COMMIT:
        peer_answer(S3_MSG_ANSWER, msg->request, peer_status,
                    payload_verdict);
        break;

    case S3_MSG_OUTCOME:
        if (peer_unknown) {
            peer_answer(S3_MSG_ANSWER, msg->request, S3_STORE_UNKNOWN, NULL);
        } else {
            peer_answer(S3_MSG_ANSWER, msg->request, peer_status,
                        payload_verdict);
        }
        break;

    default:
        fail_msg("question of type %u", msg->type);
    }
}


static void
peer_turn(void)
{
    size_t    pos;
    ssize_t   n;
    s3_msg_t  msg;

    if (peer == -1 && listener != -1) {
        peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        connections += (peer != -1);
    }

    if (peer == -1) {
        return;
    }

    peer_flush();

    n = recv(peer, peer_in + peer_len, sizeof(peer_in) - peer_len,
             MSG_DONTWAIT);

    if (n == 0 || (n == -1 && errno == ECONNRESET)) {
        peer_close();
        return;
    }

    if (n == -1) {
        return;
    }

    peer_len += n;
    pos = 0;

    for ( ;; ) {
        n = s3_msg_parse(peer_in + pos, peer_len - pos,
                         S3_PROTO_MAX_QUESTION + 1024, &msg);
        assert_int_not_equal(n, -1);

        if (n == 0) {
            break;
        }

        peer_question(&msg, peer_in + pos + S3_PROTO_HEADER);
        pos += n;
    }

    peer_len -= pos;
    memmove(peer_in, peer_in + pos, peer_len);
}


static void
turn(void)
{
    struct pollfd  pfd;

    peer_turn();

    pfd.fd = s3_client_fd(client);
    pfd.events = POLLIN;
    (void) poll(&pfd, 1, 2);

    s3_client_process(client);
}


#define until(condition)                                                      \
    do {                                                                      \
        uint64_t  end_ = s3_now() + WAIT;                                     \
        while (!(condition)) {                                                \
            if (s3_now() > end_) {                                            \
                fail_msg("line %d: waited in vain for %s", __LINE__,          \
                         #condition);                                         \
            }                                                                 \
            turn();                                                           \
        }                                                                     \
    } while (0)


static void
turns(unsigned ms)
{
    uint64_t  end;

    end = s3_now() + ms;

    while (s3_now() < end) {
        turn();
    }
}


static void
peer_listen(void)
{
    listener = s3_proto_listen(runtime, "main");
    assert_int_not_equal(listener, -1);
}


/* the store process dies */

static void
peer_die(void)
{
    peer_close();

    if (listener != -1) {
        (void) close(listener);
        listener = -1;
    }
}


/* the number of this disk's thread, of any other thread -1 */

static int
door_thread(void)
{
    int   n;
    char  name[16];

    (void) pthread_getname_np(pthread_self(), name, sizeof(name));

    return sscanf(name, "s3-disk-%d", &n) == 1 ? n : -1;
}


/* the path of a slot: not in that order */

static unsigned
at(unsigned slot)
{
    return ndisks - 1 - slot;
}


/* 1: the call is to fail; waits where it is to hang */

static int
door_call(int kind)
{
    int  n;

    n = door_thread();

    if (n == -1 || (door_disk != -1 && door_disk != n)) {
        return 0;
    }

    if (door_hang == kind) {
        door_hung++;
        (void) pthread_mutex_lock(&door_mutex);

        while (door_hang == kind) {
            (void) pthread_cond_wait(&door_cond, &door_mutex);
        }

        (void) pthread_mutex_unlock(&door_mutex);
        door_hung--;
    }

    if (door_errno && (door_fail == 0 || ++door_calls == door_fail)) {
        errno = door_errno;
        return 1;
    }

    return 0;
}


static void
door_release(void)
{
    (void) pthread_mutex_lock(&door_mutex);
    door_hang = 0;
    (void) pthread_cond_broadcast(&door_cond);
    (void) pthread_mutex_unlock(&door_mutex);
}


static int
door_openat(int fd, const char *name, int flags, mode_t mode)
{
    return door_call(3) ? -1 : s3_door_system.openat(fd, name, flags, mode);
}


static ssize_t
door_pread(int fd, void *buf, size_t size, off_t offset)
{
    return door_call(2) ? -1 : s3_door_system.pread(fd, buf, size, offset);
}


static ssize_t
door_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    return door_call(1) ? -1 : s3_door_system.pwrite(fd, buf, size, offset);
}


static int
door_fsync(int fd)
{
    return door_call(1) ? -1 : s3_door_system.fsync(fd);
}


static int
door_fdatasync(int fd)
{
    return door_call(1) ? -1 : s3_door_system.fdatasync(fd);
}


static void
door_reset(void)
{
    door_disk = -1;
    door_errno = 0;
    door_calls = 0;
    door_fail = 0;
    door_release();
}


static void
up(unsigned n, unsigned m)
{
    int          fd;
    char         path[300];
    unsigned     i;
    s3_format_t  f;

    (void) alarm(120);

    door = s3_door_system;
    door.openat = door_openat;
    door.pread = door_pread;
    door.pwrite = door_pwrite;
    door.fsync = door_fsync;
    door.fdatasync = door_fdatasync;
    door_reset();
    s3_door = &door;

    dir = s3_test_dir();
    (void) snprintf(path, sizeof(path), "%s/run", dir);
    runtime = strdup(path);
    assert_int_equal(mkdir(runtime, 0700), 0);

    ndisks = n;
    memset(&set, 0, sizeof(set));
    s3_test_fill(set.set_id, 16, 1);
    set.generation = 7;
    set.state = S3_STORE_OK;
    set.geometry = s3_geometry(n, m);

    for (i = 0; i < n; i++) {

        /* the order of the paths is no matter */

        (void) snprintf(path, sizeof(path), "%s/d%u", dir, n - 1 - i);
        paths[n - 1 - i] = strdup(path);
        assert_int_equal(mkdir(path, 0700), 0);
        fd = open(path, O_RDONLY|O_DIRECTORY);
        assert_int_not_equal(fd, -1);

        memset(&f, 0, sizeof(f));
        memcpy(f.set_id, set.set_id, 16);
        s3_test_fill(f.disk_id, 16, 100 + i);
        f.slot = i;
        f.ndisks = n;
        f.parity = m;
        f.formed = 1;
        assert_int_equal(s3_format_write(fd, &f), 0);
        (void) close(fd);

        memcpy(set.disks[i].id, f.disk_id, 16);
        set.disks[i].state = S3_DISK_MEMBER;
        set.disks[i].instance = 1;
    }

    memset(&conf, 0, sizeof(conf));
    conf.name = "main";
    conf.runtime = runtime;
    conf.ndisks = n;
    conf.disks = (const char **) paths;
    conf.parity = m;
    conf.late = 10000;
    conf.threads = 2;
    conf.compute = 1;
    conf.memory = 32 * 1024 * 1024;
    conf.log = test_log;

    page = s3_page_map(runtime, "main");
    assert_non_null(page);
    atomic_store(&page->epoch, 5);
    atomic_store(&page->decided, 100);
    s3_page_write(page, &set);

    /* of a test that failed */

    peer_die();

    peer_silent = 0;
    peer_unknown = 0;
    peer_status = 0;
    peer_object = NULL;
    peer_slot = 3;
    connections = 0;
    nseen = 0;
    disk_reports = 0;
    logged = 0;

    peer_listen();

    client = s3_client_create(&conf);
    assert_non_null(client);
    assert_int_equal(s3_client_active(client), 0);
}


static void closed(void);


static void
down(void)
{
    door_reset();
    peer_silent = 0;

    if (listener == -1) {
        peer_listen();
    }

    until(client->out_there == 0 && client->active == 0);
    assert_int_equal(client->reserved, 0);
    assert_true(s3_link_empty(&client->pins));

    s3_client_close(client);
    closed();

    s3_door = &s3_door_system;
}


static void
closed(void)
{
    unsigned  i;

    peer_die();
    s3_page_unmap(page);

    /* threads of disks may still be at an open() */

    s3_test_dir_free(dir);
    free(runtime);

    for (i = 0; i < ndisks; i++) {
        free(paths[i]);
    }

    (void) alarm(0);
}


/* --- calls --- */

typedef struct {
    s3_call_t     call;
    int           done;
    int           status;
    s3_verdict_t  verdict;
    unsigned      n;
    char          name[16];
} asked_t;


static void
asked_done(s3_call_t *call)
{
    asked_t *a = call->data;

    a->done++;
    a->status = call->status;
    a->verdict = call->verdict;

    if (call->bucket.name.len) {
        memcpy(a->name, call->bucket.name.data, call->bucket.name.len);
    }

    if (call->nbuckets) {
        a->n = call->nbuckets;
        memcpy(a->name, call->buckets[1].name.data, 3);
    }

    if (call->page.nentries) {
        a->n = call->page.nentries;
        memcpy(a->name, call->page.entries[0].key.data, 3);
    }

    s3_object_free(&call->object);
}


static void
asked_init(asked_t *a)
{
    memset(a, 0, sizeof(asked_t));
    a->call.handler = asked_done;
    a->call.data = a;
}


static s3_slice_t
slice(const char *s)
{
    s3_slice_t  v;

    v.data = (const uint8_t *) s;
    v.len = strlen(s);

    return v;
}


static void
ask_lookup(asked_t *a)
{
    asked_init(a);
    assert_int_equal(s3_client_lookup(client, &a->call, slice("bucket"),
                                      slice("key")), S3_STORE_OK);
}


static void
commit_init(s3_commit_t *commit)
{
    memset(commit, 0, sizeof(s3_commit_t));
    commit->op = S3_COMMIT_DELETE;
    commit->bucket = slice("bucket");
    commit->key = slice("key");
    commit->if_match = slice("");
    commit->etag = slice("0123456789abcdef");
    commit->meta = slice("");
    commit->checksum = slice("");
    commit->attrs = slice("");
    commit->data = slice("");
    commit->geometry = s3_geometry(4, 2);
}


static void
ask_commit(asked_t *a)
{
    s3_commit_t  commit;

    asked_init(a);
    commit_init(&commit);
    assert_int_equal(s3_client_commit(client, &a->call, &commit),
                     S3_STORE_OK);
}


static void
test_client_calls(void **state)
{
    asked_t          a[4], c;
    s3_list_query_t  q;

    up(4, 2);

    ask_lookup(&a[0]);

    asked_init(&a[1]);
    assert_int_equal(s3_client_bucket(client, &a[1].call, slice("photos")),
                     S3_STORE_OK);
    asked_init(&a[2]);
    assert_int_equal(s3_client_buckets(client, &a[2].call, slice(""), 10),
                     S3_STORE_OK);

    memset(&q, 0, sizeof(q));
    q.bucket = slice("photos");
    q.prefix = q.delimiter = q.after = slice("");
    q.max = 10;
    asked_init(&a[3]);
    assert_int_equal(s3_client_list(client, &a[3].call, &q), S3_STORE_OK);

    ask_commit(&c);

    assert_int_equal(s3_client_active(client), 5);

    until(a[0].done && a[1].done && a[2].done && a[3].done && c.done);

    assert_int_equal(a[0].status, S3_STORE_NO_SUCH_KEY);
    assert_int_equal(a[1].status, S3_STORE_OK);
    assert_string_equal(a[1].name, "photos");
    assert_int_equal(a[2].n, 2);
    assert_string_equal(a[2].name, "bbb");
    assert_int_equal(a[3].n, 1);
    assert_string_equal(a[3].name, "key");
    assert_int_equal(c.status, S3_STORE_OK);
    assert_true(c.verdict.mtime == 1234567);

    assert_int_equal(s3_client_active(client), 0);
    assert_int_equal(nseen, 5);
    assert_int_equal(connections, 1);

    /* a refusal is a verdict like any other */

    peer_status = S3_STORE_PRECONDITION_FAILED;
    ask_commit(&c);
    until(c.done);
    assert_int_equal(c.status, S3_STORE_PRECONDITION_FAILED);

    down();
}


static void
test_client_waits_for_process(void **state)
{
    asked_t  a, c;

    up(4, 2);
    until(client->ready);
    peer_die();

    ask_lookup(&a);
    ask_commit(&c);
    turns(300);
    assert_int_equal(a.done + c.done, 0);

    /* the page was another process's */

    atomic_store(&page->epoch, 6);
    peer_slot = 9;
    peer_listen();

    until(a.done && c.done);
    assert_int_equal(c.status, S3_STORE_OK);
    assert_int_equal(nseen, 2);
    assert_int_equal(seen[1].type, S3_MSG_COMMIT);

    down();
}


static unsigned
seen_of(unsigned type)
{
    unsigned  i, n;

    n = 0;

    for (i = 0; i < nseen; i++) {
        n += (seen[i].type == type);
    }

    return n;
}


/* reads go again; of a commit the outcome is asked for; unknown: it goes
 * again, by the same number */

static void
test_client_outcome_unknown(void **state)
{
    asked_t  a, c;

    up(4, 2);
    peer_silent = 1;

    ask_lookup(&a);
    ask_commit(&c);
    until(nseen == 2);
    peer_die();

    peer_silent = 0;
    peer_unknown = 1;
    peer_listen();

    until(a.done && c.done);

    assert_int_equal(c.status, S3_STORE_OK);
    assert_int_equal(nseen, 5);
    assert_int_equal(seen_of(S3_MSG_LOOKUP), 2);
    assert_int_equal(seen[3].type, S3_MSG_OUTCOME);
    assert_int_equal(seen[4].type, S3_MSG_COMMIT);
    assert_true(seen[1].request == seen[3].request);
    assert_true(seen[1].request == seen[4].request);

    down();
}


static void
test_client_outcome_known(void **state)
{
    unsigned  i;
    asked_t   c;

    up(4, 2);
    peer_silent = 1;
    ask_commit(&c);
    until(nseen == 1);

    /* dies while it is asked for the outcome, again and again */

    for (i = 0; i < 3; i++) {
        peer_die();
        peer_listen();
        until(nseen == 2 + i);
    }

    peer_die();
    peer_silent = 0;
    peer_status = S3_STORE_CONFLICT;
    peer_listen();

    until(c.done);
    assert_int_equal(c.status, S3_STORE_CONFLICT);
    assert_int_equal(seen_of(S3_MSG_COMMIT), 1);
    assert_int_equal(seen_of(S3_MSG_OUTCOME), 4);

    down();
}


static void
test_client_acked(void **state)
{
    asked_t  c[4];

    up(4, 2);
    peer_silent = 1;

    ask_commit(&c[0]);
    ask_commit(&c[1]);
    until(nseen == 2);
    assert_true(seen[0].acked == seen[0].request);
    assert_true(seen[1].acked == seen[0].request);

    /* answered out of order: the lowest unanswered one counts */

    peer_answer(S3_MSG_ANSWER, seen[1].request, 0, payload_verdict);
    until(c[1].done);
    ask_commit(&c[2]);
    until(nseen == 3);
    assert_true(seen[2].acked == seen[0].request);

    /* one that was cancelled is not answered for all that */

    s3_client_cancel(client, &c[0].call);
    ask_commit(&c[3]);
    until(nseen == 4);
    assert_true(seen[3].acked == seen[0].request);

    peer_answer(S3_MSG_ANSWER, seen[0].request, 0, payload_verdict);
    peer_answer(S3_MSG_ANSWER, seen[2].request, 0, payload_verdict);
    peer_answer(S3_MSG_ANSWER, seen[3].request, 0, payload_verdict);
    until(c[2].done && c[3].done);
    assert_int_equal(c[0].done, 0);

    ask_commit(&c[1]);
    until(nseen == 5);
    assert_true(seen[4].acked == seen[4].request);
    peer_answer(S3_MSG_ANSWER, seen[4].request, 0, payload_verdict);
    until(c[1].done);

    down();
}


static void
test_client_cancel(void **state)
{
    asked_t  a, b, c, d;

    up(4, 2);
    until(client->ready);
    peer_die();
    turns(20);

    /* not sent: it never is */

    ask_lookup(&a);
    ask_commit(&c);
    s3_client_cancel(client, &a.call);
    s3_client_cancel(client, &c.call);
    assert_int_equal(s3_client_active(client), 0);

    peer_silent = 1;
    peer_listen();
    ask_lookup(&b);
    ask_commit(&d);
    until(nseen == 2);
    assert_int_equal(seen[0].type, S3_MSG_LOOKUP);

    /* sent: the answer is nobody's */

    s3_client_cancel(client, &b.call);
    s3_client_cancel(client, &d.call);
    peer_answer(S3_MSG_ANSWER, seen[0].request, S3_STORE_NO_SUCH_KEY, NULL);
    until(client->nasks == 1);

    /* and the commit goes on to be decided without its call */

    peer_die();
    peer_silent = 0;
    peer_unknown = 1;
    peer_listen();
    until(client->nasks == 0);
    assert_int_equal(nseen, 4);
    assert_int_equal(seen[2].type, S3_MSG_OUTCOME);
    assert_int_equal(seen[3].type, S3_MSG_COMMIT);

    assert_int_equal(a.done + b.done + c.done + d.done, 0);

    down();
}


static void
test_client_garbage(void **state)
{
    unsigned       i, n;
    asked_t        a;
    uint8_t        bytes[64];

    up(4, 2);
    peer_silent = 1;
    ask_lookup(&a);
    until(nseen == 1);

    logged = 0;
    n = 1;

    for (i = 0; i < 12; i++) {
        memset(bytes, 0, sizeof(bytes));

        switch (i % 6) {
        case 0:                                     /* anything */
            s3_test_fill(bytes, sizeof(bytes), i);
            peer_send(bytes, sizeof(bytes));
            break;
        case 1:                                     /* another version */
            memcpy(bytes, "\24\0\0\0\12\0\2\0", 8);
            peer_send(bytes, 20);
            break;
        case 2:                                     /* too long */
            memcpy(bytes, "\0\0\0\177\12\0\1\0", 8);
            peer_send(bytes, 20);
            break;
        case 3:                                     /* not asked for */
            peer_answer(S3_MSG_ANSWER, 999, 0, NULL);
            break;
        case 4:                                     /* an object, cut */
            peer_answer(S3_MSG_ANSWER, seen[0].request, 0, NULL);
            break;
        case 5:                                     /* HELLO twice */
            peer_answer(S3_MSG_HELLO, 0, 0, payload_hello);
            break;
        }

        n++;
        until(connections == n && nseen == n);
        assert_int_equal(seen[n - 1].type, S3_MSG_LOOKUP);
        assert_true(seen[n - 1].request == seen[0].request);
    }

    assert_int_equal(a.done, 0);

    /* once, not a line each time: the rest are about connecting */

    assert_true(logged <= 1 + 12);

    peer_answer(S3_MSG_ANSWER, seen[0].request, S3_STORE_NO_SUCH_KEY, NULL);
    until(a.done);

    down();
}


/* a process that answers from another time */

static void
test_client_epoch(void **state)
{
    asked_t  a;

    up(4, 2);
    until(client->ready);
    peer_die();
    turns(10);

    /* the page's file was removed, and made anew, behind our back */

    {
        char  path[300];

        (void) snprintf(path, sizeof(path), "%s/main.page", runtime);
        assert_int_equal(unlink(path), 0);
        s3_page_unmap(page);
        page = s3_page_map(runtime, "main");
        assert_non_null(page);
        atomic_store(&page->epoch, 77);
        atomic_store(&page->decided, 1000);
        s3_page_write(page, &set);
    }

    peer_listen();
    ask_lookup(&a);
    until(a.done);
    assert_true(pin_at_lookup == 1000);

    down();
}


static void
test_client_bounded(void **state)
{
    int       rc;
    unsigned  i;
    asked_t  *a;

    up(4, 2);
    until(client->ready);
    peer_die();
    turns(10);

    a = calloc(S3_CONF_QUEUE + 1, sizeof(asked_t));
    assert_non_null(a);

    for (i = 0; i < S3_CONF_QUEUE; i++) {
        ask_lookup(&a[i]);
    }

    asked_init(&a[i]);
    rc = s3_client_lookup(client, &a[i].call, slice("b"), slice("k"));
    assert_int_equal(rc, S3_STORE_BUSY);

    peer_listen();

    for (i = 0; i < S3_CONF_QUEUE; i++) {
        until(a[i].done == 1);
    }

    assert_int_equal(a[i].done, 0);

    free(a);
    down();
}


static void
test_client_state(void **state)
{
    up(4, 2);

    assert_int_equal(s3_client_state(client), S3_STORE_OK);

    set.state = S3_STORE_READ_ONLY;
    s3_page_write(page, &set);
    assert_int_equal(s3_client_state(client), S3_STORE_READ_ONLY);

    /* no geometry that could be worked with */

    set.geometry.k = 0;
    s3_page_write(page, &set);
    assert_int_equal(s3_client_state(client), S3_STORE_BUSY);

    set.geometry.k = 255;
    set.geometry.m = 255;
    s3_page_write(page, &set);
    assert_int_equal(s3_client_state(client), S3_STORE_BUSY);
    turns(50);

    set.geometry = s3_geometry(4, 2);
    set.state = S3_STORE_OK;
    s3_page_write(page, &set);
    assert_int_equal(s3_client_state(client), S3_STORE_OK);

    down();
}


/* --- uploads --- */

typedef struct {
    s3_upload_t   *upload;
    uint8_t       *data;
    size_t         size;
    size_t         pos;
    size_t         step;           /* bytes a write */
    unsigned       ready;
    unsigned       writable;
    unsigned       finished;
    unsigned       failed;
    int            status;
    unsigned       stopped:1;      /* does not write by itself */

    /* the digest's */
    size_t         digested;
    int            wrong;
    unsigned       freed;
} put_t;


static void
put_update(void *ctx, const void *p, size_t len)
{
    put_t *put = ctx;

    if (put->freed || put->digested + len > put->size
        || memcmp(put->data + put->digested, p, len) != 0)
    {
        put->wrong = 1;
    }

    put->digested += len;
}


static void
put_free(void *ctx)
{
    put_t *put = ctx;

    put->freed++;
}


static void
put_write(put_t *put)
{
    size_t  n, taken;

    while (put->pos < put->size) {
        n = put->size - put->pos;

        if (n > put->step) {
            n = put->step;
        }

        taken = s3_upload_write(put->upload, put->data + put->pos, n);
        put->pos += taken;

        if (taken < n) {
            return;
        }
    }

    (void) s3_upload_finish(put->upload);
}


static void
put_event(s3_upload_t *u, void *data, s3_upload_event_e event, int status)
{
    put_t *put = data;

    switch (event) {

    case S3_UPLOAD_READY:
        put->ready++;
        break;

    case S3_UPLOAD_WRITABLE:
        assert_int_equal(put->ready, 1);
        put->writable++;
        break;

    case S3_UPLOAD_FINISHED:
        put->finished++;
        return;

    case S3_UPLOAD_FAILED:
        put->failed++;
        put->status = status;
        return;
    }

    if (!put->stopped) {
        put_write(put);
    }
}


static void
put_start(put_t *put, size_t size, uint64_t given, uint64_t seed)
{
    s3_digest_t  digest;

    memset(put, 0, sizeof(put_t));
    put->size = size;
    put->step = 100000;
    put->data = malloc(size ? size : 1);
    assert_non_null(put->data);
    s3_test_fill(put->data, size, seed);

    digest.update = put_update;
    digest.free = put_free;
    digest.ctx = put;

    put->upload = s3_upload_create(client, given, 0, &digest, put_event, put);
    assert_non_null(put->upload);
}


static void
put_end(put_t *put)
{
    /* a digest may be running still */

    until(put->freed);
    assert_int_equal(put->freed, 1);
    free(put->data);
    put->data = NULL;
}


/* finished and committed; the object as the store process would have it */

static void
put_commit(put_t *put, s3_object_t *object, s3_extent_t *extent)
{
    asked_t      c;
    s3_commit_t  commit;

    until(put->finished || put->failed);
    assert_int_equal(put->failed, 0);
    assert_int_equal(put->wrong, 0);
    assert_int_equal(put->digested, put->size);

    asked_init(&c);
    commit_init(&commit);
    assert_int_equal(s3_upload_commit(put->upload, &c.call, &commit),
                     S3_STORE_OK);
    until(c.done);
    assert_int_equal(c.status, S3_STORE_OK);
    assert_int_equal(put->freed, 1);
    assert_int_equal(put->finished, 1);
    assert_int_equal(put->ready, 1);

    assert_int_equal(committed.op, S3_COMMIT_PUT);
    assert_true(committed.size == put->size);
    assert_true(committed.is_inline || committed.generation == 7);

    memset(object, 0, sizeof(s3_object_t));
    object->size = put->size;
    object->is_inline = committed.is_inline;

    if (committed.is_inline) {
        assert_int_equal(committed_len, put->size);
        assert_memory_equal(committed_data, put->data, put->size);
        return;
    }

    assert_int_equal(committed_len, 0);

    memset(extent, 0, sizeof(s3_extent_t));
    memcpy(extent->shard_id, committed.shard_id, 16);
    memcpy(extent->session, committed.session, 16);
    extent->size = put->size;
    extent->mask = committed.mask;
    extent->geometry = committed.geometry;
    object->nextents = 1;
    object->extents = extent;
}


/* where a shard of it is on the disk of a slot, and whether there is one */

static int
shard_path(const s3_extent_t *e, unsigned slot, char *path, size_t size)
{
    char         id[33], session[33];
    struct stat  st;

    s3_id_text(e->shard_id, id);
    s3_id_text(e->session, session);

    (void) snprintf(path, size, "%s/d%u/tmp/%s/%s", dir, at(slot), session,
                    id);

    return stat(path, &st) == 0;
}


/* files in tmp/SESSION of all disks, the locks not counted */

static unsigned
tmp_files(void)
{
    DIR            *d;
    char            path[300];
    unsigned        i, n;
    struct dirent  *e;

    n = 0;

    for (i = 0; i < ndisks; i++) {
        (void) snprintf(path, sizeof(path), "%s/d%u/tmp/%s", dir, i,
                        client->session_text);
        d = opendir(path);

        if (d == NULL) {
            continue;
        }

        while ((e = readdir(d)) != NULL) {
            n += (e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0);
        }

        (void) closedir(d);
    }

    return n;
}


/* --- downloads --- */

typedef struct {
    s3_download_t  *download;
    uint8_t        *data;
    size_t          size;
    size_t          pos;
    unsigned        pieces;
    unsigned        done;
    unsigned        failed;
    int             status;
    unsigned        hold;        /* pieces kept before one is released */
    unsigned        held;
    const uint8_t  *first;       /* the first piece */
} get_t;


static void
get_event(s3_download_t *d, void *data, s3_download_event_e event,
    int status, const uint8_t *p, size_t len)
{
    get_t *get = data;

    switch (event) {

    case S3_DOWNLOAD_DATA:
        assert_true(len > 0 && get->pos + len <= get->size);
        memcpy(get->data + get->pos, p, len);
        get->pos += len;
        get->pieces++;
        get->first = get->first ? get->first : p;

        if (++get->held > get->hold) {
            s3_download_release(d);
            get->held--;
        }

        s3_download_next(d);
        break;

    case S3_DOWNLOAD_DONE:
        get->done++;
        break;

    case S3_DOWNLOAD_FAILED:
        get->failed++;
        get->status = status;
        break;
    }
}


static void
get_start(get_t *get, const s3_object_t *object, uint64_t offset,
    uint64_t length)
{
    memset(get, 0, sizeof(get_t));
    get->size = length;
    get->data = malloc(length);
    assert_non_null(get->data);

    get->download = s3_download_create(client, object, offset, length,
                                       get_event, get);
    assert_non_null(get->download);
    s3_download_next(get->download);
}


static void
get_end(get_t *get)
{
    s3_download_close(get->download);
    free(get->data);
}


/* the status, or -1: other bytes */

static int
get_range(const s3_object_t *object, const uint8_t *data, uint64_t offset,
    uint64_t length)
{
    int    rc;
    get_t  get;

    get_start(&get, object, offset, length);
    until(get.done || get.failed);

    rc = get.status;

    if (get.done) {
        rc = (get.pos == length
              && memcmp(get.data, data + offset, length) == 0) ? 0 : -1;
    }

    get_end(&get);

    return rc;
}


static void
get_ranges(const s3_object_t *object, const uint8_t *data, uint64_t seed,
    unsigned n)
{
    int       rc;
    size_t    size;
    uint64_t  r[2], offset, length;

    size = object->size;
    assert_int_equal(get_range(object, data, 0, size), 0);

    while (n--) {
        s3_test_fill(r, sizeof(r), seed * 1000 + n + 1);
        offset = r[0] % size;
        length = r[1] % (size - offset) + 1;

        if (n & 1) {
            length = length % 5000 + 1;
            length = (length < size - offset) ? length : size - offset;
        }

        rc = get_range(object, data, offset, length);

        if (rc) {
            fail_msg("%lu bytes at %lu of %zu: %d", length, offset, size, rc);
        }
    }
}


static void
test_upload_inline(void **state)
{
    size_t       i;
    put_t        put;
    s3_extent_t  extent;
    s3_object_t  object;

    static const size_t  sizes[] = { 0, 1, 1000, S3_INLINE_MAX };

    up(4, 2);

    for (i = 0; i < 8; i++) {
        put_start(&put, sizes[i / 2], i & 1 ? UINT64_MAX : sizes[i / 2], i);
        put_commit(&put, &object, &extent);
        assert_true(object.is_inline);
        put_end(&put);
    }

    assert_int_equal(tmp_files(), 0);

    down();
}


/* inline data needs no disk: it waits for none */

static void
test_upload_inline_no_disks(void **state)
{
    unsigned     i;
    put_t        put;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);

    for (i = 0; i < 4; i++) {
        set.disks[i].state = S3_DISK_ABSENT;
    }

    set.state = S3_STORE_BUSY;
    s3_page_write(page, &set);

    put_start(&put, 10, 10, 1);
    put_commit(&put, &object, &extent);
    put_end(&put);

    down();
}


static void
test_upload_download(void **state)
{
    put_t        put;
    size_t       i, g;
    s3_extent_t  extent;
    s3_object_t  object;

    static const unsigned  geometries[][2] = {
        { 1, 0 }, { 2, 0 }, { 2, 1 }, { 3, 1 }, { 4, 2 }, { 5, 2 }, { 9, 3 }
    };
    static const size_t    sizes[] = {
        S3_INLINE_MAX + 1, 65536, 65537, 300000, 1048575, 1048576, 1048577,
        1179648, 1179649, 2 * 1048576, 3333333
    };

    for (g = 0; g < sizeof(geometries) / sizeof(geometries[0]); g++) {

        up(geometries[g][0], geometries[g][1]);

        for (i = 0; i < sizeof(sizes) / sizeof(size_t); i++) {
            put_start(&put, sizes[i], i & 1 ? UINT64_MAX : sizes[i], i + 1);
            put.step = i & 2 ? 77777 : 5000000;
            put_commit(&put, &object, &extent);
            assert_false(object.is_inline);
            assert_true(extent.mask == (1ULL << ndisks) - 1);
            get_ranges(&object, put.data, i + 1, 4);
            put_end(&put);
        }

        assert_int_equal(tmp_files(), ndisks * i);
        assert_int_equal(disk_reports, 0);

        down();
    }
}


static void
test_upload_streams(void **state)
{
    put_t        put;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    conf.memory = 4 * 1024 * 1024;

    put_start(&put, 40 * 1024 * 1024 + 5, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);

    /* two stripes were all it had */

    assert_true(put.writable >= 30);
    get_ranges(&object, put.data, 1, 10);
    put_end(&put);

    /* what is idle is given back */

    until(client->nbuffers == 0);

    down();
}


/* the end of the last units is zeros, not what the buffer held before */

static void
test_upload_padding(void **state)
{
    int          fd;
    char         path[300];
    put_t        put;
    size_t       j;
    uint8_t      bytes[4096];
    unsigned     i;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    put_start(&put, 4000000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    put_end(&put);

    put_start(&put, 2 * 1048576 + 10, UINT64_MAX, 2);
    put_commit(&put, &object, &extent);

    for (i = 0; i < 2; i++) {
        assert_true(shard_path(&extent, s3_shard_slot(&extent.geometry,
                                                      extent.shard_id, i),
                               path, sizeof(path)));
        fd = open(path, O_RDONLY);
        assert_int_not_equal(fd, -1);
        assert_int_equal(pread(fd, bytes, 4096, 1048576), 4096);
        (void) close(fd);

        for (j = i ? 0 : 10; j < 4096; j++) {
            assert_int_equal(bytes[j], 0);
        }
    }

    put_end(&put);
    down();
}


static void
test_upload_wrong_size(void **state)
{
    put_t  put;

    up(4, 2);

    /* more than was said, small and large */

    put_start(&put, 101, 100, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_BAD_REQUEST);
    s3_upload_abort(put.upload);
    assert_int_equal(put.freed, 1);
    put_end(&put);

    put_start(&put, 3000001, 3000000, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_BAD_REQUEST);
    assert_int_equal(put.finished, 0);
    s3_upload_abort(put.upload);
    put_end(&put);

    /* less */

    put_start(&put, 99, 100, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_BAD_REQUEST);
    s3_upload_abort(put.upload);
    put_end(&put);

    /* over what S3 takes */

    put_start(&put, 1, 5ULL * 1024 * 1024 * 1024 + 1, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_BAD_REQUEST);
    assert_int_equal(put.ready, 0);
    s3_upload_abort(put.upload);
    put_end(&put);

    until(client->out_there == 0);
    assert_int_equal(tmp_files(), 0);

    down();
}


/* at any moment; nothing stays behind, and the digest is let go once */

static void
test_upload_abort(void **state)
{
    put_t     put;
    unsigned  i, n;

    up(4, 2);

    for (i = 0; i < 60; i++) {
        put_start(&put, 5000000, i & 1 ? 5000000 : UINT64_MAX, i);

        for (n = 0; n < i; n++) {
            turn();
        }

        assert_int_equal(put.failed, 0);
        s3_upload_abort(put.upload);

        until(client->out_there == 0);
        assert_int_equal(put.freed, 1);
        assert_int_equal(put.wrong, 0);
        assert_int_equal(tmp_files(), 0);
        assert_int_equal(s3_client_active(client), 0);
        put_end(&put);
    }

    /* finished, and the commit not sent */

    put_start(&put, 200000, UINT64_MAX, 1);
    until(put.finished);
    assert_int_equal(tmp_files(), 4);
    s3_upload_abort(put.upload);
    until(client->out_there == 0);
    assert_int_equal(tmp_files(), 0);
    put_end(&put);

    down();
}


static void
test_upload_commit_cancelled(void **state)
{
    put_t        put;
    asked_t      c;
    s3_commit_t  commit;

    up(4, 2);

    /* not sent: as if aborted */

    put_start(&put, 200000, UINT64_MAX, 1);
    until(put.finished);
    peer_die();
    turns(20);

    asked_init(&c);
    commit_init(&commit);
    assert_int_equal(s3_upload_commit(put.upload, &c.call, &commit), 0);
    assert_int_equal(s3_client_active(client), 2);
    s3_client_cancel(client, &c.call);
    until(client->out_there == 0);
    assert_int_equal(tmp_files(), 0);
    assert_int_equal(put.freed, 1);
    assert_int_equal(s3_client_active(client), 0);
    put_end(&put);

    /* sent: the shards are the store process's, refused or not */

    peer_silent = 1;
    peer_listen();
    put_start(&put, 200000, UINT64_MAX, 1);
    until(put.finished);
    asked_init(&c);
    commit_init(&commit);
    assert_int_equal(s3_upload_commit(put.upload, &c.call, &commit), 0);
    until(nseen == 1);
    s3_client_cancel(client, &c.call);
    assert_int_equal(put.freed, 1);
    put_end(&put);

    peer_status = S3_STORE_PRECONDITION_FAILED;
    peer_answer(S3_MSG_ANSWER, seen[0].request, peer_status,
                payload_verdict);
    until(client->nasks == 0 && client->out_there == 0);
    assert_int_equal(tmp_files(), 4);
    assert_int_equal(c.done, 0);

    down();
}


static void
test_upload_states(void **state)
{
    put_t        put;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);

    /* read-only: said at once, nothing is written */

    set.state = S3_STORE_READ_ONLY;
    set.disks[0].state = S3_DISK_ABSENT;
    set.disks[1].state = S3_DISK_ABSENT;
    s3_page_write(page, &set);

    put_start(&put, 200000, UINT64_MAX, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_READ_ONLY);
    assert_int_equal(put.ready, 0);
    s3_upload_abort(put.upload);
    put_end(&put);

    /* the store process recovers, and knows no members yet: it waits */

    set.state = S3_STORE_BUSY;
    s3_page_write(page, &set);

    put_start(&put, 200000, UINT64_MAX, 1);
    turns(200);
    assert_int_equal(put.ready + put.failed, 0);

    /* three of four are enough; the one that is out gets no shard */

    set.state = S3_STORE_OK;
    set.disks[1].state = S3_DISK_MEMBER;
    set.disks[1].instance++;
    s3_page_write(page, &set);

    put_commit(&put, &object, &extent);
    assert_true(extent.mask == 0xe);
    assert_int_equal(tmp_files(), 3);
    get_ranges(&object, put.data, 1, 4);
    put_end(&put);

    down();
}


static void
test_upload_budget(void **state)
{
    put_t        put[12];
    unsigned     i, n;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);

    /* room for three large uploads, of two stripes of four units each; a
     * quarter is not for uploads */

    conf.memory = 4 * 2 * 4 * (512 * 1024);

    for (i = 0; i < 12; i++) {
        put_start(&put[i], 5000000, UINT64_MAX, i);
        put[i].stopped = 1;
    }

    until(put[2].ready);
    turns(50);

    for (i = 0, n = 0; i < 12; i++) {
        n += put[i].ready;
    }

    assert_int_equal(n, 3);

    /* in the order they came, as the ones before end */

    for (i = 0; i < 12; i++) {
        until(put[i].ready);
        assert_true(i >= 9 || !put[i + 3].ready);

        put[i].stopped = 0;
        put_write(&put[i]);
        put_commit(&put[i], &object, &extent);
        put_end(&put[i]);
    }

    /* less than one needs: one at a time */

    conf.memory = 1000;

    for (i = 0; i < 4; i++) {
        put_start(&put[i], 3000000, 3000000, i);
        put[i].stopped = 1;
    }

    for (i = 0; i < 4; i++) {
        until(put[i].ready);
        turns(20);
        assert_true(i == 3 || !put[i + 1].ready);

        put[i].stopped = 0;
        put_write(&put[i]);
        put_commit(&put[i], &object, &extent);
        put_end(&put[i]);
    }

    down();
}


static void
test_upload_disk_fails(void **state)
{
    put_t        put;
    unsigned     i;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);

    /* any one: without it, and the store process hears of it */

    for (i = 0; i < 4; i++) {
        disk_reports = 0;
        door_disk = at(i);
        door_errno = 0;

        put_start(&put, 3000000, UINT64_MAX, i);
        until(put.ready);
        door_errno = EIO;

        put_commit(&put, &object, &extent);
        assert_true(extent.mask == (0xf ^ (1ULL << i)));
        until(disk_reports);

        door_errno = 0;
        get_ranges(&object, put.data, 1, 2);
        put_end(&put);
        until(client->out_there == 0);
    }

    assert_int_equal(tmp_files(), 12);

    /* all, by a full file system: no disk's fault */

    disk_reports = 0;
    door_disk = -1;
    door_errno = ENOSPC;
    put_start(&put, 3000000, UINT64_MAX, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_NO_SPACE);
    assert_int_equal(disk_reports, 0);
    door_errno = 0;
    s3_upload_abort(put.upload);
    put_end(&put);

    until(client->out_there == 0);
    assert_int_equal(tmp_files(), 12);

    /* fewer than a quorum */

        door_errno = EIO;
    put_start(&put, 300000, UINT64_MAX, 1);
    until(put.failed);
    assert_int_equal(put.status, S3_STORE_SHARDS_MISSING);
    s3_upload_abort(put.upload);
    put_end(&put);
    door_errno = 0;

    until(client->out_there == 0);
    assert_int_equal(tmp_files(), 12);

    down();
}


/* the n-th call on any disk fails, for every n: finished and right, or failed
 * and nothing left */

static void
test_upload_each_call_fails(void **state)
{
    int          failed, finished;
    put_t        put;
    unsigned     n, files;
    s3_extent_t  extent;
    s3_object_t  object;

    up(2, 1);
    until(client->slots[0] && client->slots[1] && client->slots[0]->writable
          && client->slots[1]->writable);

    files = 0;
    failed = 0;
    finished = 0;

    for (n = 1; n < 500; n++) {
        door_calls = 0;
        door_fail = n;
        door_errno = n & 1 ? EIO : ENOSPC;

        put_start(&put, 3000000, UINT64_MAX, n);
        until(put.finished || put.failed);

        door_errno = 0;

        /* two of two must have it: k + 1, where k = m */

        if (put.failed) {
            failed++;
            s3_upload_abort(put.upload);

        } else {
            finished++;
            put_commit(&put, &object, &extent);
            assert_true(extent.mask == 3);
            files += 2;
            assert_int_equal(get_range(&object, put.data, 0, put.size), 0);
        }

        put_end(&put);
        until(client->out_there == 0);
        assert_int_equal(tmp_files(), files);

        if (door_calls < n) {
            break;
        }
    }

    assert_true(failed >= 10);
    assert_int_equal(finished, 1);

    down();
}


static void
test_upload_hung_disk(void **state)
{
    put_t        put, second;
    uint64_t     began;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    conf.late = 1000;
    until(client->slots[2] && client->slots[2]->writable);

    door_disk = at(2);
    door_hang = 1;

    /* without it after that time, and the store process hears of it */

    began = s3_now();
    put_start(&put, 3000000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    assert_true(s3_now() - began >= 1000);
    assert_true(extent.mask == 0xb);
    until(disk_reports);
    assert_true(door_hung > 0);

    /* the next one does not even try */

    put_start(&second, 3000000, UINT64_MAX, 2);
    put_commit(&second, &object, &extent);
    assert_true(extent.mask == 0xb);
    assert_int_equal(client->slots[2]->nlate, 1);
    get_ranges(&object, second.data, 1, 3);
    put_end(&second);

    /* it comes back: what was written late goes, and it is used again */

    door_release();
    until(client->slots[2]->nlate == 0 && client->out_there == 0);
    assert_int_equal(tmp_files(), 6);
    put_end(&put);

    put_start(&put, 3000000, UINT64_MAX, 3);
    put_commit(&put, &object, &extent);
    assert_true(extent.mask == 0xf);
    put_end(&put);

    down();
}


/* an upload that is aborted while a disk hangs, and the client closed */

static void
test_upload_hung_abort(void **state)
{
    put_t  put;

    up(4, 2);
    conf.late = 1000;
    until(client->slots[1] && client->slots[1]->writable);

    door_disk = at(1);
    door_hang = 1;

    put_start(&put, 3000000, UINT64_MAX, 1);
    until(door_hung);
    s3_upload_abort(put.upload);
    until(put.freed);
    put_end(&put);

    turns(1200);
    assert_int_equal(s3_client_active(client), 0);
    assert_int_equal(client->reserved, 0);

    door_release();
    until(client->out_there == 0);
    assert_int_equal(tmp_files(), 0);

    down();
}


static void
shards_remove(const s3_extent_t *e, uint64_t slots)
{
    char      path[300];
    unsigned  i;

    for (i = 0; i < ndisks; i++) {
        if (slots & (1ULL << i)) {
            assert_true(shard_path(e, i, path, sizeof(path)));
            assert_int_equal(unlink(path), 0);
        }
    }
}


/* without any up to m of them everything reads; without more the status says
 * why */

static void
test_download_degraded(void **state)
{
    put_t        put;
    uint64_t     lost;
    s3_extent_t  extent;
    s3_object_t  object;

    up(5, 2);

    for (lost = 0; lost < 32; lost++) {
        put_start(&put, 2500000, UINT64_MAX, lost + 1);
        put_commit(&put, &object, &extent);

        shards_remove(&extent, lost);

        if (__builtin_popcountll(lost) <= 2) {
            get_ranges(&object, put.data, lost, 8);

        } else {
            assert_int_equal(get_range(&object, put.data, 0, put.size),
                             S3_STORE_DAMAGED);
        }

        put_end(&put);
    }

    down();
}


static void
test_download_absent(void **state)
{
    put_t        put;
    unsigned     i;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    put_start(&put, 2500000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);

    set.disks[0].state = S3_DISK_ABSENT;
    set.disks[2].state = S3_DISK_ABSENT;
    s3_page_write(page, &set);
    get_ranges(&object, put.data, 1, 8);

    set.disks[1].state = S3_DISK_ABSENT;
    set.state = S3_STORE_UNAVAILABLE;
    s3_page_write(page, &set);
    assert_int_equal(get_range(&object, put.data, 0, put.size),
                     S3_STORE_UNAVAILABLE);

    /* back again, as others: they are opened anew */

    for (i = 0; i < 3; i++) {
        set.disks[i].state = S3_DISK_PRESENT;
        set.disks[i].instance++;
    }

    set.state = S3_STORE_READ_ONLY;
    s3_page_write(page, &set);
    get_ranges(&object, put.data, 2, 8);

    set.disks[3].state = S3_DISK_ABSENT;
    s3_page_write(page, &set);
    get_ranges(&object, put.data, 3, 8);

    put_end(&put);
    down();
}


/* disks come and go while a download runs: what it has read is right */

static void
test_download_flapping(void **state)
{
    get_t        get;
    put_t        put;
    unsigned     i, n;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    put_start(&put, 20 * 1024 * 1024, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);

    for (n = 0; n < 5; n++) {
        get_start(&get, &object, 0, put.size);

        for (i = 0; !get.done && !get.failed; i++) {
            assert_true(i < 20000);

            if (i % 3 == 0) {
                set.disks[(i / 3) % 4].instance++;
                set.disks[(i / 3) % 4].state = (i / 3) & 1 ? S3_DISK_ABSENT
                                                           : S3_DISK_MEMBER;
                set.disks[(i / 3 + 2) % 4].state = S3_DISK_MEMBER;
                s3_page_write(page, &set);
            }

            turn();
        }

        assert_int_equal(get.failed, 0);
        assert_int_equal(get.pos, put.size);
        assert_memory_equal(get.data, put.data, put.size);
        get_end(&get);
    }

    put_end(&put);
    down();
}


static void
flip(const s3_extent_t *e, unsigned slot, uint64_t offset)
{
    int   fd;
    char  c, path[300];

    assert_true(shard_path(e, slot, path, sizeof(path)));
    fd = open(path, O_RDWR);
    assert_int_not_equal(fd, -1);
    assert_int_equal(pread(fd, &c, 1, offset), 1);
    c ^= 0x10;
    assert_int_equal(pwrite(fd, &c, 1, offset), 1);
    (void) close(fd);
}


/* a flipped bit in any two shards, anywhere: never served, always mended */

static void
test_download_damaged(void **state)
{
    put_t        put;
    uint64_t     size, r[4];
    unsigned     i, a, b;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);

    for (i = 0; i < 40; i++) {
        put_start(&put, 2500000, UINT64_MAX, i + 1);
        put_commit(&put, &object, &extent);
        size = s3_shard_size(&extent.geometry, extent.size);

        s3_test_fill(r, sizeof(r), i + 1);
        a = r[0] % 4;
        b = (a + 1 + r[1] % 3) % 4;

        /* in the data, the table, the footer */

        flip(&extent, a, r[2] % (size + (i & 1 ? 100 : 4096 + 90)));
        flip(&extent, b, r[3] % (size + (i & 1 ? 100 : 4096 + 90)));

        get_ranges(&object, put.data, i + 1, 6);
        put_end(&put);
    }

    /* three of the same block: each is reported, and once */

    put_start(&put, 2500000, UINT64_MAX, i + 1);
    put_commit(&put, &object, &extent);
    flip(&extent, 0, 70000);
    flip(&extent, 1, 70000);
    flip(&extent, 2, 70000);

    shard_reports = 0;
    reported_slots = 0;

    for (i = 0; i < 3; i++) {
        assert_int_equal(get_range(&object, put.data, 0, put.size),
                         S3_STORE_DAMAGED);
    }

    assert_memory_equal(reported_id, extent.shard_id, 16);
    assert_int_equal(reported_slots, 7);
    assert_int_equal(shard_reports, 3);

    /* and of different ones, which spoil no stripe */

    put_end(&put);
    put_start(&put, 4 * 1048576, UINT64_MAX, 42);
    put_commit(&put, &object, &extent);
    flip(&extent, 0, 0);
    flip(&extent, 1, 524288);
    flip(&extent, 2, 2 * 524288);
    flip(&extent, 3, 3 * 524288);
    get_ranges(&object, put.data, 1, 20);
    put_end(&put);

    down();
}


static void
test_download_hung_disk(void **state)
{
    get_t        get;
    put_t        put;
    unsigned     i, hung;
    uint64_t     began;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    conf.late = 1000;
    put_start(&put, 5000000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);

    for (i = 0; i < 4; i++) {
        disk_reports = 0;
        door_disk = at(i);
        door_hang = 2;

        began = s3_now();
        get_start(&get, &object, 0, put.size);
        until(get.done || get.failed);
        assert_int_equal(get.failed, 0);
        assert_int_equal(get.pos, put.size);
        assert_memory_equal(get.data, put.data, put.size);
        get_end(&get);

        /* held up once, not each stripe */

        hung = door_hung;
        assert_int_equal(hung, client->slots[i]->nlate);
        assert_true(s3_now() - began < 2 * conf.late + 2000);

        /* and not at all from now on: it is not even asked */

        assert_int_equal(get_range(&object, put.data, 0, put.size), 0);
        assert_int_equal(door_hung, hung);

        door_release();
        until(client->out_there == 0);
        assert_int_equal(client->slots[i]->nlate, 0);

        turns(20);
    }

    put_end(&put);
    down();
}


/* a late read writes into the buffer it was given, whatever became of that */

static void
test_download_hung_then_bad(void **state)
{
    get_t        get;
    put_t        put;
    unsigned     slot;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    conf.late = 1000;
    put_start(&put, 900000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);

    slot = s3_shard_slot(&extent.geometry, extent.shard_id, 0);
    flip(&extent, slot, 1000);

    door_disk = at(slot);
    until(client->out_there == 0);
    door_hang = 2;

    get_start(&get, &object, 0, put.size);
    get.hold = 100;
    until(get.done || get.failed);
    assert_int_equal(get.failed, 0);
    assert_int_equal(get.held, get.pieces);

    /* the pieces are still ours when the read comes back at last, with a bit
     * that is wrong; they stand one after the other: it was one window */

    door_release();
    until(client->out_there == 0);
    assert_memory_equal(get.data, put.data, put.size);
    assert_memory_equal(get.first, put.data, put.size);

    get_end(&get);
    put_end(&put);
    down();
}


static void
test_download_each_read_fails(void **state)
{
    put_t        put;
    unsigned     n;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    put_start(&put, 2500000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    until(client->out_there == 0);

    for (n = 1; n < 500; n++) {
        door_calls = 0;
        door_fail = n;
        door_errno = EIO;

        assert_int_equal(get_range(&object, put.data, 0, put.size), 0);
        until(client->out_there == 0);

        door_errno = 0;

        if (door_calls < n) {
            break;
        }
    }

    assert_true(n > 5 && n < 500);

    put_end(&put);
    down();
}


/* closed at any moment, with pieces held */

static void
test_download_close(void **state)
{
    get_t        get;
    put_t        put;
    unsigned     i, n;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    put_start(&put, 9000000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);

    for (i = 0; i < 60; i++) {

        if (i == 30) {
            shards_remove(&extent, 3);
        }

        get_start(&get, &object, 0, put.size);
        get.hold = i % 2;

        for (n = 0; n < i % 30; n++) {
            turn();
        }

        get_end(&get);
    }

    until(client->out_there == 0);
    assert_int_equal(client->reserved, 0);

    put_end(&put);
    down();
}


/* many at once, in a budget for two, none starves */

static void
test_download_budget(void **state)
{
    get_t        get[16];
    put_t        put;
    unsigned     i;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    put_start(&put, 6000000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    put.stopped = 1;

    conf.memory = 2 * 4 * (512 * 1024);

    for (i = 0; i < 16; i++) {
        get_start(&get[i], &object, i * 1000, put.size - i * 1000);
    }

    for (i = 0; i < 16; i++) {
        until(get[i].done || get[i].failed);
        assert_true(client->reserved <= conf.memory);
        assert_int_equal(get[i].failed, 0);
        assert_int_equal(get[i].pos, put.size - i * 1000);
        assert_memory_equal(get[i].data, put.data + i * 1000, get[i].pos);
        get_end(&get[i]);
    }

    put_end(&put);
    down();
}


/* several extents, as of a multipart upload, of different sizes and masks */

static void
test_download_extents(void **state)
{
    put_t        put[4];
    size_t       at;
    uint8_t     *all;
    unsigned     i;
    s3_extent_t  extents[4];
    s3_object_t  object;

    static const size_t  sizes[] = { 1200000, 20000, 3000000, 65537 };

    up(4, 2);
    at = 0;
    all = malloc(5000000);
    assert_non_null(all);

    for (i = 0; i < 4; i++) {
        put_start(&put[i], sizes[i], UINT64_MAX, i + 1);
        put_commit(&put[i], &object, &extents[i]);
        extents[i].offset = at;
        memcpy(all + at, put[i].data, sizes[i]);
        at += sizes[i];
        put_end(&put[i]);

        if (i & 1) {
            shards_remove(&extents[i], 1 << i);
            extents[i].mask &= ~1ULL;
        }
    }

    memset(&object, 0, sizeof(object));
    object.size = at;
    object.nextents = 4;
    object.extents = extents;

    get_ranges(&object, all, 1, 40);
    assert_int_equal(get_range(&object, all, 1199999, 2), 0);
    assert_int_equal(get_range(&object, all, 1200000, 20000), 0);
    assert_int_equal(get_range(&object, all, at - 1, 1), 0);

    /* rows with a hole are no object */

    extents[2].offset++;
    assert_int_equal(get_range(&object, all, 0, at - 1), S3_STORE_DAMAGED);
    extents[2].offset--;
    object.nextents = 3;
    assert_int_equal(get_range(&object, all, 0, at), S3_STORE_DAMAGED);

    free(all);
    down();
}


/* --- pins --- */

static s3_object_t   pin_object;
static get_t         pin_get;


static void
pin_looked_up(s3_call_t *call)
{
    asked_t *a = call->data;

    a->done++;
    assert_int_equal(call->status, S3_STORE_OK);

    /* held while the handler runs, and by what it makes of it */

    assert_true(atomic_load(&page->workers[peer_slot].oldest) == 100);

    get_start(&pin_get, &call->object, 0, call->object.size);
    s3_object_free(&call->object);
}


static void
test_client_pins(void **state)
{
    put_t        put;
    asked_t      a, b;
    s3_extent_t  extent;

    up(4, 2);
    until(client->ready);

    assert_true(atomic_load(&page->workers[3].oldest) == UINT64_MAX);

    put_start(&put, 100000, UINT64_MAX, 1);
    put_commit(&put, &pin_object, &extent);

    /* of a look-up that is on its way */

    ask_lookup(&a);
    until(a.done);
    assert_true(pin_at_lookup == 100);
    assert_true(atomic_load(&page->workers[3].oldest) == UINT64_MAX);

    /* of a download: until it is closed, and whatever is read after it */

    pin_object.etag = slice("0123456789abcdef");
    pin_object.meta = pin_object.checksum = pin_object.attrs = slice("");
    pin_object.data = slice("");
    pin_object.extents = &extent;
    peer_object = &pin_object;

    asked_init(&a);
    a.call.handler = pin_looked_up;
    assert_int_equal(s3_client_lookup(client, &a.call, slice("bucket"),
                                      slice("key")), S3_STORE_OK);
    until(a.done);
    assert_true(atomic_load(&page->workers[3].oldest) == 100);

    peer_object = NULL;
    atomic_store(&page->decided, 200);
    ask_lookup(&b);
    until(b.done);
    assert_true(pin_at_lookup == 100);

    /* another process, another slot: it is there before the questions */

    peer_die();
    turns(30);
    peer_slot = 12;
    ask_lookup(&b);
    peer_listen();
    until(b.done);
    assert_true(pin_at_lookup == 100);
    assert_true(atomic_load(&page->workers[12].oldest) == 100);

    until(pin_get.done);
    assert_memory_equal(pin_get.data, put.data, put.size);
    get_end(&pin_get);
    assert_true(atomic_load(&page->workers[12].oldest) == UINT64_MAX);

    ask_lookup(&b);
    until(b.done);
    assert_true(pin_at_lookup == 200);

    put_end(&put);
    down();
}


/* --- disks --- */

static int
session_there(unsigned i, int *locked)
{
    int   fd, rc;
    char  path[300];

    (void) snprintf(path, sizeof(path), "%s/d%u/tmp/%s/lock", dir, at(i),
                    client->session_text);
    fd = open(path, O_RDWR);

    if (fd == -1) {
        return 0;
    }

    rc = s3_door_system.flock(fd, 2 | 4);    /* LOCK_EX, LOCK_NB */
    *locked = (rc == -1);
    (void) close(fd);

    return 1;
}


static void
test_disk_session(void **state)
{
    int           locked;
    put_t         put;
    unsigned      i;
    s3_extent_t   extent;
    s3_object_t   object;

    up(4, 2);
    set.disks[3].state = S3_DISK_PRESENT;
    s3_page_write(page, &set);

    until(client->slots[0] && client->slots[1] && client->slots[2]
          && client->slots[3] && client->out_there == 0);

    /* read only: it is not written to */

    assert_false(session_there(3, &locked));

    for (i = 0; i < 3; i++) {
        assert_true(session_there(i, &locked));
        assert_true(locked);
    }

    /* a member now, by the same instance */

    set.disks[3].state = S3_DISK_MEMBER;
    s3_page_write(page, &set);
    until(client->slots[3]->writable);
    assert_true(session_there(3, &locked) && locked);

    /* another instance: the same directory, taken over, and locked again */

    for (i = 0; i < 20; i++) {
        set.disks[i % 4].instance++;
        s3_page_write(page, &set);

        put_start(&put, 100000, UINT64_MAX, 1);
        put_commit(&put, &object, &extent);
        assert_true(extent.mask == 0xf);
        put_end(&put);

        assert_true(session_there(i % 4, &locked) && locked);
    }

    assert_int_equal(disk_reports, 0);

    /* out: nothing of it is kept open, so another may empty its session */

    set.disks[0].state = S3_DISK_ABSENT;
    s3_page_write(page, &set);
    until(client->slots[0] == NULL && client->out_there == 0);

    until(session_there(0, &locked) && !locked);

    down();
}


/* directories that are none of the set's */

static void
test_disk_foreign(void **state)
{
    int          fd;
    char         path[300], other[300];
    put_t        put;
    s3_extent_t  extent;
    s3_object_t  object;
    s3_format_t  f;

    up(4, 2);
    set.disks[0].instance++;
    set.disks[1].instance++;

    /* before they are opened: another's identity, no format at all */

    fd = open(paths[at(0)], O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(fd, -1);
    assert_int_equal(s3_format_read(fd, &f), 0);
    f.disk_id[0] ^= 1;
    assert_int_equal(s3_format_write(fd, &f), 0);
    s3_page_write(page, &set);

    put_start(&put, 100000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    assert_true(extent.mask == 0xe);
    put_end(&put);

    /* it is right again: found without being told */

    f.disk_id[0] ^= 1;
    assert_int_equal(s3_format_write(fd, &f), 0);
    (void) close(fd);
    until(client->slots[0] && client->slots[0]->writable);

    /* the same disk a second time, by a copy of its directory's format */

    (void) snprintf(path, sizeof(path), "%s/format", paths[at(0)]);
    (void) snprintf(other, sizeof(other), "%s/format", paths[at(1)]);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(link(path, other), 0);
    set.disks[1].instance++;
    s3_page_write(page, &set);

    put_start(&put, 100000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    assert_true(extent.mask == 0xd);
    put_end(&put);

    down();
}


/* opening hangs: waited for once, and not by those that come later */

static void
test_disk_hung_open(void **state)
{
    put_t        put;
    uint64_t     began;
    s3_extent_t  extent;
    s3_object_t  object;

    up(4, 2);
    conf.late = 1500;
    until(client->slots[0] && client->slots[1] && client->slots[2]
          && client->slots[3] && client->out_there == 0);

    door_disk = at(1);
    door_hang = 2;                     /* the reading of its format file */
    set.disks[1].instance++;
    s3_page_write(page, &set);

    put_start(&put, 100000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    assert_true(extent.mask == 0xd);
    put_end(&put);

    began = s3_now();
    put_start(&put, 100000, UINT64_MAX, 1);
    put_commit(&put, &object, &extent);
    assert_true(s3_now() - began < 1400);
    put_end(&put);

    /* said to be back while that open still hangs: another is tried */

    set.disks[1].instance++;
    s3_page_write(page, &set);
    turns(20);
    assert_int_equal(client->paths[at(1)].orphans, 1);

    door_release();
    until(client->slots[1] && client->slots[1]->writable
          && client->out_there == 0);
    assert_int_equal(client->paths[at(1)].orphans, 0);

    down();
}


/* a worker ends while a disk hangs in its opening, which then goes on: it is
 * lost with its disk, but does not look for what the client had.  The last
 * test: that thread may still be at the door */

static void
test_disk_hung_close(void **state)
{
    static s3_disk_t  *lost;

    char  path[300], lock[310];

    up(1, 0);
    until(client->slots[0] && client->slots[0]->writable
          && client->out_there == 0);

    door_hang = 2;                     /* the reading of its format file */
    set.disks[0].instance++;
    s3_page_write(page, &set);
    until(door_hung);

    (void) snprintf(path, sizeof(path), "%s/tmp/%s", paths[0],
                    client->session_text);
    (void) snprintf(lock, sizeof(lock), "%s/lock", path);
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(rmdir(path), 0);

    lost = client->paths[0].disk;
    assert_non_null(lost);
    s3_client_close(client);

    door_release();

    while (access(path, F_OK) == -1) {
        (void) usleep(1000);
    }

    closed();
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_client_calls),
        cmocka_unit_test(test_client_waits_for_process),
        cmocka_unit_test(test_client_outcome_unknown),
        cmocka_unit_test(test_client_outcome_known),
        cmocka_unit_test(test_client_acked),
        cmocka_unit_test(test_client_cancel),
        cmocka_unit_test(test_client_garbage),
        cmocka_unit_test(test_client_epoch),
        cmocka_unit_test(test_client_bounded),
        cmocka_unit_test(test_client_state),
        cmocka_unit_test(test_client_pins),
        cmocka_unit_test(test_upload_inline),
        cmocka_unit_test(test_upload_inline_no_disks),
        cmocka_unit_test(test_upload_download),
        cmocka_unit_test(test_upload_streams),
        cmocka_unit_test(test_upload_padding),
        cmocka_unit_test(test_upload_wrong_size),
        cmocka_unit_test(test_upload_abort),
        cmocka_unit_test(test_upload_commit_cancelled),
        cmocka_unit_test(test_upload_states),
        cmocka_unit_test(test_upload_budget),
        cmocka_unit_test(test_upload_disk_fails),
        cmocka_unit_test(test_upload_each_call_fails),
        cmocka_unit_test(test_upload_hung_disk),
        cmocka_unit_test(test_upload_hung_abort),
        cmocka_unit_test(test_download_degraded),
        cmocka_unit_test(test_download_absent),
        cmocka_unit_test(test_download_flapping),
        cmocka_unit_test(test_download_damaged),
        cmocka_unit_test(test_download_hung_disk),
        cmocka_unit_test(test_download_hung_then_bad),
        cmocka_unit_test(test_download_each_read_fails),
        cmocka_unit_test(test_download_close),
        cmocka_unit_test(test_download_budget),
        cmocka_unit_test(test_download_extents),
        cmocka_unit_test(test_disk_session),
        cmocka_unit_test(test_disk_foreign),
        cmocka_unit_test(test_disk_hung_open),
        cmocka_unit_test(test_disk_hung_close),
    };

    if (getenv("S3_TEST_FILTER") != NULL) {
        cmocka_set_test_filter(getenv("S3_TEST_FILTER"));
    }

    return cmocka_run_group_tests(tests, NULL, NULL);
}
