
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "s3_client_internal.h"
#include "s3_page.h"
#include "s3_pool.h"
#include "s3_set.h"


#define S3_SET_WAIT   10000


typedef struct {
    s3_set_t       *set;
    int             done;
    int             status;
    s3_call_t       call;
    s3_upload_t    *upload;
    s3_download_t  *download;
    uint8_t        *data;
    size_t          size;
    size_t          pos;
    int             finished;
    ssize_t         result;
    s3_part_page_t *page;
    s3_buf_t       *refs;
} s3_set_wait_t;


static void
s3_set_log(void *data, int level, const char *text)
{
    if (getenv("S3_TEST_DEBUG")) {
        (void) fprintf(stderr, "%s[%d] %d: %s\n", (char *) data,
                       (int) getpid(), level, text);
    }
}


static void
s3_set_conf(s3_set_t *set)
{
    char  *p;

    memset(&set->conf, 0, sizeof(s3_conf_t));

    set->conf.name = "main";

    assert_int_not_equal(asprintf(&p, "%s/run", set->dir), -1);
    set->conf.runtime = p;

    assert_int_not_equal(asprintf(&p, "%s/state", set->dir), -1);
    set->conf.state = p;

    set->conf.ndisks = set->ndisks;
    set->conf.disks = (const char **) set->disks;
    set->conf.parity = set->parity;
    set->conf.late = set->late;
    set->conf.scrub_interval = set->scrub;
    set->conf.scrub_rate = 64 * 1024 * 1024;
    set->conf.threads = 2;
    set->conf.compute = 1;
    set->conf.memory = 32 * 1024 * 1024;
    set->conf.cache = 2 * 1024 * 1024;
    set->conf.log = s3_set_log;
    set->conf.log_data = "";
}


s3_set_t *
s3_set_create(const char *dir, unsigned ndisks, unsigned parity)
{
    unsigned   i;
    s3_set_t  *set;

    set = calloc(1, sizeof(s3_set_t));
    assert_non_null(set);

    set->dir = strdup(dir);
    set->ndisks = ndisks;
    set->parity = parity;
    set->late = 5000;

    for (i = 0; i < ndisks; i++) {
        assert_int_not_equal(asprintf(&set->disks[i], "%s/d%u", dir, i), -1);
        (void) mkdir(set->disks[i], 0755);
    }

    s3_set_conf(set);
    (void) mkdir(set->conf.runtime, 0755);
    (void) mkdir(set->conf.state, 0755);

    return set;
}


void
s3_set_free(s3_set_t *set)
{
    unsigned  i;

    s3_set_client_close(set);
    s3_set_kill(set);

    for (i = 0; i < set->ndisks; i++) {
        free(set->disks[i]);
    }

    free((char *) set->conf.runtime);
    free((char *) set->conf.state);
    free(set->dir);
    free(set);
}


/*
 * The program started again as a store process: before main(), by what the
 * environment says.
 */

__attribute__((constructor))
static void
s3_set_process(void)
{
    char      *env, *dir;
    s3_set_t  *set;
    unsigned   n, m, late, scrub;

    env = getenv("S3_SET_PROCESS");

    if (env == NULL) {
        return;
    }

    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);

    dir = NULL;

    if (sscanf(env, "%u:%u:%u:%u:%ms", &n, &m, &late, &scrub, &dir) != 5) {
        _exit(3);
    }

    set = s3_set_create(dir, n, m);
    set->late = late;
    set->conf.late = late;
    set->conf.scrub_interval = scrub;

    if (s3_process_start(&set->conf) == NULL) {
        _exit(4);
    }

    for ( ;; ) {
        (void) pause();
    }
}


void
s3_set_start(s3_set_t *set)
{
    char   *env;
    pid_t   pid;

    assert_int_equal(set->pid, 0);
    assert_int_not_equal(asprintf(&env, "%u:%u:%u:%u:%s", set->ndisks,
                                  set->parity, set->late, set->scrub,
                                  set->dir), -1);
    assert_int_equal(setenv("S3_SET_PROCESS", env, 1), 0);

    pid = vfork();

    if (pid == 0) {
        (void) execl("/proc/self/exe", "s3-store-process", (char *) NULL);
        _exit(127);
    }

    assert_int_not_equal(pid, -1);
    (void) unsetenv("S3_SET_PROCESS");
    free(env);
    set->pid = pid;
}


/*
 * the store process dies after us microseconds and another takes its place:
 * s3_set_reap()
 */

pid_t
s3_set_respawn(s3_set_t *set, unsigned us)
{
    char   *env;
    pid_t   pid;

    assert_int_not_equal(asprintf(&env, "%u:%u:%u:%u:%s", set->ndisks,
                                  set->parity, set->late, set->scrub,
                                  set->dir), -1);
    assert_int_equal(setenv("S3_SET_PROCESS", env, 1), 0);

    pid = fork();

    if (pid == 0) {
        (void) usleep(us);
        (void) kill(set->pid, SIGKILL);
        (void) execl("/proc/self/exe", "s3-store-process", (char *) NULL);
        _exit(127);
    }

    assert_int_not_equal(pid, -1);
    (void) unsetenv("S3_SET_PROCESS");
    free(env);

    return pid;
}


void
s3_set_reap(s3_set_t *set, pid_t next)
{
    (void) waitpid(set->pid, NULL, 0);
    set->pid = next;
}


void
s3_set_kill(s3_set_t *set)
{
    if (set->pid) {
        (void) kill(set->pid, SIGKILL);
        (void) waitpid(set->pid, NULL, 0);
        set->pid = 0;
    }
}


void
s3_set_start_here(s3_set_t *set)
{
    assert_non_null(s3_process_start(&set->conf));
}


void
s3_set_client(s3_set_t *set)
{
    set->client = s3_client_create(&set->conf);
    assert_non_null(set->client);
}


/* what is out on disks' threads when a client is closed is lost by design */

static int
s3_set_quiet(void *data)
{
    s3_set_t  *set = data;

    return set->client->out_there == 0;
}


void
s3_set_client_close(s3_set_t *set)
{
    if (set->client) {
        (void) s3_set_until(set, s3_set_quiet, set, 5000);
        s3_client_close(set->client);
        set->client = NULL;
    }
}


int
s3_set_until(s3_set_t *set, int (*done)(void *data), void *data, unsigned ms)
{
    uint64_t       until;
    struct pollfd  pfd;

    until = s3_now() + ms;

    for ( ;; ) {
        if (done(data)) {
            return 1;
        }

        if (s3_now() >= until) {
            return 0;
        }

        pfd.fd = s3_client_fd(set->client);
        pfd.events = POLLIN;

        (void) poll(&pfd, 1, 10);
        s3_client_process(set->client);
    }
}


typedef struct {
    s3_set_t  *set;
    int        state;
} s3_set_state_t;


static int
s3_set_state_done(void *data)
{
    s3_set_state_t  *s = data;

    return s3_client_state(s->set->client) == s->state;
}


int
s3_set_state(s3_set_t *set, int state, unsigned ms)
{
    s3_set_state_t  s;

    s.set = set;
    s.state = state;

    return s3_set_until(set, s3_set_state_done, &s, ms);
}


static char *
s3_set_away_path(s3_set_t *set, unsigned i)
{
    static char  path[4096];

    (void) snprintf(path, sizeof(path), "%s.away", set->disks[i]);

    return path;
}


void
s3_set_away(s3_set_t *set, unsigned i)
{
    assert_int_equal(rename(set->disks[i], s3_set_away_path(set, i)), 0);
}


void
s3_set_back(s3_set_t *set, unsigned i)
{
    assert_int_equal(rename(s3_set_away_path(set, i), set->disks[i]), 0);
}


static int
s3_set_wait_done(void *data)
{
    s3_set_wait_t  *w = data;

    return w->done;
}


static s3_slice_t
s3_set_slice(const char *s)
{
    s3_slice_t  slice;

    slice.data = (const uint8_t *) s;
    slice.len = strlen(s);

    return slice;
}


static void
s3_set_called(s3_call_t *call)
{
    s3_set_wait_t  *w = call->data;

    w->done = 1;
    w->status = call->status;
}


static s3_set_wait_t *
s3_set_wait(s3_set_t *set)
{
    s3_set_wait_t  *w;

    /* not freed where it took too long: the client still knows it */

    w = calloc(1, sizeof(s3_set_wait_t));
    assert_non_null(w);
    w->set = set;
    w->call.handler = s3_set_called;
    w->call.data = w;

    return w;
}


static int
s3_set_end(s3_set_wait_t *w)
{
    int  status;

    if (!s3_set_until(w->set, s3_set_wait_done, w, S3_SET_WAIT)) {
        if (w->upload) {
            s3_upload_abort(w->upload);
        }

        if (w->download) {
            s3_download_close(w->download);
        }

        s3_client_cancel(w->set->client, &w->call);
        free(w->data);
        free(w);
        return -1;
    }

    status = w->status;
    free(w->data);
    free(w);

    return status;
}


/* what the client did not take: no memory */

static int
s3_set_refused(s3_set_wait_t *w, int status)
{
    free(w->data);
    free(w);

    return status;
}


int
s3_set_commit(s3_set_t *set, s3_commit_t *commit)
{
    int             rc;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);

    rc = s3_client_commit(set->client, &w->call, commit);

    if (rc != S3_STORE_OK) {
        free(w);
        return rc;
    }

    return s3_set_end(w);
}


int
s3_set_bucket_create(s3_set_t *set, const char *bucket)
{
    s3_commit_t  commit;

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_CREATE_BUCKET;
    commit.bucket = s3_set_slice(bucket);

    return s3_set_commit(set, &commit);
}


int
s3_set_bucket_delete(s3_set_t *set, const char *bucket)
{
    s3_commit_t  commit;

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_DELETE_BUCKET;
    commit.bucket = s3_set_slice(bucket);

    return s3_set_commit(set, &commit);
}


int
s3_set_delete(s3_set_t *set, const char *bucket, const char *key)
{
    s3_commit_t  commit;

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_DELETE;
    commit.bucket = s3_set_slice(bucket);
    commit.key = s3_set_slice(key);

    return s3_set_commit(set, &commit);
}


typedef struct {
    s3_set_wait_t  *w;
    const char     *bucket;
    const char     *key;
    const uint8_t  *upload_id;
    uint32_t        number;
    s3_buf_t       *refs;
    s3_upload_t    *ready;        /* of a put that waits before its commit */
    unsigned        waits:1;
} s3_set_put_t;


static void
s3_set_feed(s3_set_wait_t *w)
{
    w->pos += s3_upload_write(w->upload, w->data + w->pos,
                              w->size - w->pos);

    if (w->pos == w->size && !w->finished) {
        w->finished = 1;
        (void) s3_upload_finish(w->upload);
    }
}


static void
s3_set_put_commit(s3_set_put_t *put, s3_upload_t *u)
{
    int             rc;
    uint8_t         etag[16];
    s3_commit_t     commit;
    s3_set_wait_t  *w;

    w = put->w;

    memset(&commit, 0, sizeof(s3_commit_t));
    memset(etag, 7, 16);
    commit.bucket = s3_set_slice(put->bucket);
    commit.key = s3_set_slice(put->key);
    commit.etag.data = etag;
    commit.etag.len = 16;

    if (put->upload_id) {
        memcpy(commit.upload_id, put->upload_id, 16);
        commit.number = put->number;
    }

    w->upload = NULL;
    rc = s3_upload_commit(u, &w->call, &commit);

    if (put->refs) {
        s3_write_part_ref(put->refs, put->number, commit.shard_id);
    }

    if (rc != S3_STORE_OK) {
        s3_upload_abort(u);
        w->done = 1;
        w->status = rc;
    }
}


static void
s3_set_uploaded(s3_upload_t *u, void *data, s3_upload_event_e event,
    int status)
{
    s3_set_put_t   *put = data;
    s3_set_wait_t  *w = put->w;

    switch (event) {

    case S3_UPLOAD_READY:
    case S3_UPLOAD_WRITABLE:
        s3_set_feed(w);
        return;

    case S3_UPLOAD_FINISHED:
        if (put->waits) {
            put->ready = u;

        } else {
            s3_set_put_commit(put, u);
        }

        return;

    case S3_UPLOAD_FAILED:
        w->upload = NULL;
        s3_upload_abort(u);
        w->done = 1;
        w->status = status;
        return;
    }
}


static int
s3_set_put_ready(void *data)
{
    s3_set_put_t  *put = data;

    return put->ready || put->w->done;
}


int
s3_set_put(s3_set_t *set, const char *bucket, const char *key, uint64_t seed,
    size_t size)
{
    return s3_set_put_after(set, bucket, key, seed, size, NULL);
}


int
s3_set_put_after(s3_set_t *set, const char *bucket, const char *key,
    uint64_t seed, size_t size, void (*meanwhile)(s3_set_t *set))
{
    s3_set_put_t    put;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);
    w->data = malloc(size + 1);
    assert_non_null(w->data);
    s3_test_fill(w->data, size, seed);
    w->size = size;

    memset(&put, 0, sizeof(s3_set_put_t));
    put.w = w;
    put.bucket = bucket;
    put.key = key;
    put.waits = (meanwhile != NULL);

    w->upload = s3_upload_create(set->client, size, 0, NULL, s3_set_uploaded,
                                 &put);

    if (w->upload == NULL) {
        return s3_set_refused(w, S3_STORE_BUSY);
    }

    if (meanwhile) {
        assert_true(s3_set_until(set, s3_set_put_ready, &put, S3_SET_WAIT));

        if (put.ready) {
            meanwhile(set);
            s3_set_put_commit(&put, put.ready);
        }
    }

    return s3_set_end(w);
}


int
s3_set_upload_create(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16])
{
    s3_commit_t  commit;

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_CREATE_UPLOAD;
    commit.bucket = s3_set_slice(bucket);
    commit.key = s3_set_slice(key);
    memcpy(commit.upload_id, upload_id, 16);

    return s3_set_commit(set, &commit);
}


int
s3_set_part(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16], uint32_t number, uint64_t seed,
    size_t total, size_t offset, size_t size, int known, s3_buf_t *refs)
{
    s3_set_put_t    put;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);
    w->data = malloc(total + 1);
    assert_non_null(w->data);
    s3_test_fill(w->data, total, seed);
    memmove(w->data, w->data + offset, size);
    w->size = size;

    memset(&put, 0, sizeof(s3_set_put_t));
    put.w = w;
    put.bucket = bucket;
    put.key = key;
    put.upload_id = upload_id;
    put.number = number;
    put.refs = refs;

    w->upload = s3_upload_create(set->client, known ? size : UINT64_MAX, 1,
                                 NULL, s3_set_uploaded, &put);

    if (w->upload == NULL) {
        return s3_set_refused(w, S3_STORE_BUSY);
    }

    return s3_set_end(w);
}


int
s3_set_complete(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16], const s3_buf_t *refs)
{
    uint8_t      etag[20];
    s3_commit_t  commit;

    memset(&commit, 0, sizeof(s3_commit_t));
    memset(etag, 9, sizeof(etag));
    commit.op = S3_COMMIT_COMPLETE;
    commit.bucket = s3_set_slice(bucket);
    commit.key = s3_set_slice(key);
    memcpy(commit.upload_id, upload_id, 16);
    commit.parts.data = refs->data;
    commit.parts.len = refs->len;
    commit.etag.data = etag;
    commit.etag.len = sizeof(etag);
    commit.result = s3_set_slice("result");

    return s3_set_commit(set, &commit);
}


int
s3_set_upload_abort(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16])
{
    s3_commit_t  commit;

    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_ABORT;
    commit.bucket = s3_set_slice(bucket);
    commit.key = s3_set_slice(key);
    memcpy(commit.upload_id, upload_id, 16);

    return s3_set_commit(set, &commit);
}


static void
s3_set_data_id(s3_call_t *call)
{
    s3_set_wait_t  *w = call->data;

    memcpy(w->data, call->object.data_id, 16);
    s3_object_free(&call->object);

    w->done = 1;
    w->status = call->status;
}


int
s3_set_copy(s3_set_t *set, const char *bucket, const char *source,
    const char *key)
{
    int             rc;
    uint8_t         etag[16];
    s3_commit_t     commit;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);
    w->call.handler = s3_set_data_id;

    /* w is gone when the call has ended */

    memset(&commit, 0, sizeof(s3_commit_t));
    memset(etag, 8, sizeof(etag));
    w->data = commit.source;

    rc = s3_client_lookup(set->client, &w->call, s3_set_slice(bucket),
                          s3_set_slice(source));

    if (rc != S3_STORE_OK) {
        free(w);
        return rc;
    }

    if (!s3_set_until(set, s3_set_wait_done, w, S3_SET_WAIT)) {
        s3_client_cancel(set->client, &w->call);
        free(w);
        return -1;
    }

    rc = w->status;
    free(w);

    if (rc != S3_STORE_OK) {
        return rc;
    }

    commit.op = S3_COMMIT_COPY;
    commit.bucket = s3_set_slice(bucket);
    commit.key = s3_set_slice(key);
    commit.source_bucket = commit.bucket;
    commit.source_key = s3_set_slice(source);
    commit.etag.data = etag;
    commit.etag.len = sizeof(etag);

    return s3_set_commit(set, &commit);
}


static void
s3_set_got_parts(s3_call_t *call)
{
    uint32_t        i;
    s3_set_wait_t  *w = call->data;

    w->done = 1;
    w->status = call->status;
    *w->page = call->parts;
    w->page->parts = NULL;

    for (i = 0; w->refs && i < call->parts.nparts; i++) {
        s3_write_part_ref(w->refs, call->parts.parts[i].number,
                          call->parts.parts[i].shard_id);
    }
}


int
s3_set_parts(s3_set_t *set, const s3_part_query_t *query,
    s3_part_page_t *page, s3_buf_t *refs)
{
    int             rc;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);
    w->call.handler = s3_set_got_parts;
    w->page = page;
    w->refs = refs;

    rc = s3_client_parts(set->client, &w->call, query);
    assert_int_equal(rc, S3_STORE_OK);

    return s3_set_end(w);
}


static void
s3_set_got_uploads(s3_call_t *call)
{
    s3_set_wait_t  *w = call->data;

    w->done = 1;
    w->status = call->status == S3_STORE_OK ? (int) call->uploads.nentries
                                            : -1;
}


int
s3_set_uploads(s3_set_t *set, const char *bucket, const char *prefix)
{
    int                rc;
    s3_set_wait_t     *w;
    s3_upload_query_t  query;

    memset(&query, 0, sizeof(s3_upload_query_t));
    query.bucket = s3_set_slice(bucket);
    query.prefix = s3_set_slice(prefix);
    query.max = S3_LIST_MAX;

    w = s3_set_wait(set);
    w->call.handler = s3_set_got_uploads;

    rc = s3_client_uploads(set->client, &w->call, &query);
    assert_int_equal(rc, S3_STORE_OK);

    return s3_set_end(w);
}


typedef struct {
    s3_set_wait_t  *w;
    size_t          offset;
    size_t          length;
} s3_set_get_t;


static void
s3_set_downloaded(s3_download_t *d, void *data, s3_download_event_e event,
    int status, const uint8_t *p, size_t len)
{
    s3_set_get_t   *get = data;
    s3_set_wait_t  *w = get->w;

    switch (event) {

    case S3_DOWNLOAD_DATA:
        if (get->length < w->pos + len
            || memcmp(p, w->data + get->offset + w->pos, len) != 0)
        {
            w->status = S3_STORE_DAMAGED;
            w->done = 1;
            w->download = NULL;
            s3_download_close(d);
            return;
        }

        w->pos += len;
        s3_download_release(d);
        s3_download_next(d);
        return;

    case S3_DOWNLOAD_DONE:
        w->status = w->pos == get->length ? S3_STORE_OK : S3_STORE_DAMAGED;
        break;

    case S3_DOWNLOAD_FAILED:
        w->status = status;
        break;
    }

    w->done = 1;
    w->download = NULL;
    s3_download_close(d);
}


static void
s3_set_found(s3_call_t *call)
{
    s3_object_t    *o;
    s3_set_get_t   *get = call->data;
    s3_set_wait_t  *w = get->w;

    o = &call->object;

    if (call->status != S3_STORE_OK) {
        w->status = call->status;
        w->done = 1;
        return;
    }

    w->result = (ssize_t) o->size;

    if (get->length == SIZE_MAX) {
        w->status = S3_STORE_OK;
        w->done = 1;

    } else if (o->size != w->size) {
        w->status = S3_STORE_DAMAGED;
        w->done = 1;

    } else if (get->length == 0) {
        w->status = S3_STORE_OK;
        w->done = 1;

    } else if (o->is_inline) {
        w->status = memcmp(o->data.data + get->offset,
                           w->data + get->offset, get->length) == 0
                        ? S3_STORE_OK : S3_STORE_DAMAGED;
        w->done = 1;

    } else {
        w->download = s3_download_create(w->set->client, o, get->offset,
                                         get->length, s3_set_downloaded, get);

        if (w->download) {
            s3_download_next(w->download);

        } else {
            w->status = S3_STORE_BUSY;
            w->done = 1;
        }
    }

    s3_object_free(o);
}


int
s3_set_get(s3_set_t *set, const char *bucket, const char *key, uint64_t seed,
    size_t size, size_t offset, size_t length)
{
    int             rc;
    s3_set_get_t    get;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);
    w->data = malloc(size + 1);
    assert_non_null(w->data);
    s3_test_fill(w->data, size, seed);
    w->size = size;
    w->call.handler = s3_set_found;
    w->call.data = &get;

    get.w = w;
    get.offset = offset;
    get.length = length;

    rc = s3_client_lookup(set->client, &w->call, s3_set_slice(bucket),
                          s3_set_slice(key));

    if (rc != S3_STORE_OK) {
        free(w->data);
        free(w);
        return rc;
    }

    return s3_set_end(w);
}


ssize_t
s3_set_head(s3_set_t *set, const char *bucket, const char *key)
{
    ssize_t         result;
    s3_set_get_t    get;
    s3_set_wait_t  *w;

    w = s3_set_wait(set);
    w->call.handler = s3_set_found;
    w->call.data = &get;
    w->result = -1;

    get.w = w;
    get.length = SIZE_MAX;

    assert_int_equal(s3_client_lookup(set->client, &w->call,
                                      s3_set_slice(bucket),
                                      s3_set_slice(key)), S3_STORE_OK);

    if (!s3_set_until(set, s3_set_wait_done, w, S3_SET_WAIT)) {
        s3_client_cancel(set->client, &w->call);
        free(w);
        return -2;
    }

    result = w->status == S3_STORE_OK ? w->result
             : w->status == S3_STORE_NO_SUCH_KEY ? -1 : -2;
    free(w);

    return result;
}


static void
s3_set_listed(s3_call_t *call)
{
    s3_set_wait_t  *w = call->data;

    w->done = 1;
    w->status = call->status;
    w->result = call->page.nentries;
}


int
s3_set_list(s3_set_t *set, const char *bucket, const char *prefix)
{
    ssize_t           result;
    s3_set_wait_t    *w;
    s3_list_query_t   query;

    w = s3_set_wait(set);
    w->call.handler = s3_set_listed;

    memset(&query, 0, sizeof(s3_list_query_t));
    query.bucket = s3_set_slice(bucket);
    query.prefix = s3_set_slice(prefix);
    query.max = 1000;

    assert_int_equal(s3_client_list(set->client, &w->call, &query),
                     S3_STORE_OK);

    if (!s3_set_until(set, s3_set_wait_done, w, S3_SET_WAIT)) {
        s3_client_cancel(set->client, &w->call);
        free(w);
        return -1;
    }

    result = w->status == S3_STORE_OK ? w->result : -1;
    free(w);

    return result;
}


static int
s3_set_whole_done(void *data)
{
    int             rc;
    unsigned        i, n;
    uint32_t        change;
    s3_set_t       *set = data;
    s3_page_t      *page;
    s3_page_set_t   ps;

    page = s3_page_map(set->conf.runtime, set->conf.name);
    assert_non_null(page);

    rc = s3_page_read(page, &ps, &change);
    s3_page_unmap(page);

    n = 0;

    for (i = 0; rc == 0 && i < set->ndisks; i++) {
        n += (ps.disks[i].state == S3_DISK_MEMBER);
    }

    return rc == 0 && ps.state == S3_STORE_OK && n == set->ndisks;
}


int
s3_set_whole(s3_set_t *set, unsigned ms)
{
    return s3_set_until(set, s3_set_whole_done, set, ms);
}


typedef struct {
    s3_set_t  *set;
    unsigned   shards;
} s3_set_repaired_t;


static uint64_t  s3_set_sum;       /* of the names a count has seen */


static unsigned s3_set_count(const char *path);


static int
s3_set_repaired_done(void *data)
{
    char                path[4096];
    unsigned            i;
    uint64_t            first;
    s3_set_repaired_t  *r = data;

    first = 0;

    for (i = 0; i < r->set->ndisks; i++) {
        (void) snprintf(path, sizeof(path), "%s/data", r->set->disks[i]);
        s3_set_sum = 0;

        if (s3_set_count(path) != r->shards) {
            return 0;
        }

        if (i == 0) {
            first = s3_set_sum;
        }

        if (s3_set_sum != first) {
            return 0;
        }
    }

    return s3_set_files(r->set, "tmp") == 0;
}


int
s3_set_repaired(s3_set_t *set, unsigned shards, unsigned ms)
{
    s3_set_repaired_t  r;

    r.set = set;
    r.shards = shards;

    return s3_set_until(set, s3_set_repaired_done, &r, ms);
}


static uint64_t
s3_set_name_sum(const char *name)
{
    uint64_t  sum;

    for (sum = 14695981039346656037ULL; *name; name++) {
        sum = (sum ^ (uint8_t) *name) * 1099511628211ULL;
    }

    return sum;
}


static unsigned
s3_set_count(const char *path)
{
    DIR            *dir;
    char            name[4096];
    unsigned        n;
    struct stat     st;
    struct dirent  *e;

    n = 0;
    dir = opendir(path);

    if (dir == NULL) {
        return 0;
    }

    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0
            || strcmp(e->d_name, "lock") == 0)
        {
            continue;
        }

        (void) snprintf(name, sizeof(name), "%s/%s", path, e->d_name);

        if (lstat(name, &st) == 0) {
            if (S_ISDIR(st.st_mode)) {
                n += s3_set_count(name);

            } else {
                n++;
                s3_set_sum += s3_set_name_sum(e->d_name);
            }
        }
    }

    (void) closedir(dir);

    return n;
}


unsigned
s3_set_files(s3_set_t *set, const char *sub)
{
    char      path[4096];
    unsigned  i, n;

    n = 0;

    for (i = 0; i < set->ndisks; i++) {
        (void) snprintf(path, sizeof(path), "%s/%s", set->disks[i], sub);
        n += s3_set_count(path);
    }

    return n;
}
