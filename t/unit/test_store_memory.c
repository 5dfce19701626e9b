
/*
 * The memory of a worker: uploads and downloads that stall, beside others
 * that must get on.  A whole store with real disks; the client's budget is
 * small, so that it matters.
 */


#include "s3_test.h"

#include <stdlib.h>
#include <string.h>

#include "s3_client_internal.h"
#include "s3_download.h"
#include "s3_set.h"


#define MIB           ((size_t) 1024 * 1024)
#define SIZE          (6 * MIB + 12345)
#define WAIT          30000                  /* ms */
#define READERS       40


/* takes pieces while it may, and holds the last one else */
typedef struct {
    s3_download_t  *download;
    size_t          start;
    size_t          pos;
    unsigned        pieces;
    unsigned        holds:1;
    unsigned        stalled:1;       /* holds what it is given */
    unsigned        bad:1;
    unsigned        done:1;
    int             status;
    int64_t         rate;
} reader_t;


typedef struct {
    s3_upload_t    *upload;
    int64_t         rate;            /* of its client */
    unsigned        ready:1;
    unsigned        failed:1;
    int             status;
} writer_t;


static s3_set_t     *set;
static s3_client_t  *client;
static s3_object_t   object;
static int           found;
static uint8_t      *bytes;
static size_t        uncounted;      /* bytes of the spare all share */
static reader_t      readers[READERS];
static writer_t      writers[8];


static int
is_found(void *data)
{
    return found;
}


/* the extents are malloced, and all that a download wants */

static void
on_found(s3_call_t *call)
{
    assert_int_equal(call->status, S3_STORE_OK);
    object = call->object;
    found = 1;
}


static void
up(unsigned n, unsigned m, size_t memory)
{
    char       *dir;
    s3_call_t   call;
    s3_slice_t  bucket, key;

    dir = s3_test_dir();
    set = s3_set_create(dir, n, m);
    free(dir);
    s3_set_start(set);
    s3_set_client(set);
    client = set->client;

    assert_true(s3_set_state(set, S3_STORE_OK, WAIT));
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);
    assert_int_equal(s3_set_put(set, "bucket", "key", 7, SIZE), S3_STORE_OK);

    bytes = malloc(SIZE);
    assert_non_null(bytes);
    s3_test_fill(bytes, SIZE, 7);

    memset(&call, 0, sizeof(call));
    call.handler = on_found;
    bucket.data = (const uint8_t *) "bucket";
    bucket.len = 6;
    key.data = (const uint8_t *) "key";
    key.len = 3;
    found = 0;

    assert_int_equal(s3_client_lookup(client, &call, bucket, key),
                     S3_STORE_OK);
    assert_true(s3_set_until(set, is_found, NULL, WAIT));

    memset(readers, 0, sizeof(readers));
    memset(writers, 0, sizeof(writers));
    set->conf.memory = memory;
    uncounted = 0;
}


/* bytes of buffers that somebody has */

static size_t
used(void)
{
    size_t        size;
    s3_link_t    *l;
    s3_buffer_t  *buffer;

    size = client->resident;

    for (l = client->buffers.next; l != &client->buffers; l = l->next) {
        buffer = s3_link_data(l, s3_buffer_t, link);
        size -= buffer->resident;
    }

    return size;
}


static int
is_trimmed(void *data)
{
    return client->nbuffers == 0 && client->out_there == 0;
}


static void
down(void)
{
    char  *dir;

    assert_int_equal(client->reserved, 0);
    assert_true(s3_link_empty(&client->large));
    assert_true(s3_link_empty(&client->spares));
    assert_null(client->spare);

    /* every page is accounted for */

    assert_true(s3_set_until(set, is_trimmed, NULL, WAIT));
    assert_int_equal(client->resident, 0);

    s3_object_free(&object);
    free(bytes);

    dir = strdup(set->dir);
    s3_set_free(set);
    s3_test_dir_free(dir);
}


static void
on_piece(s3_download_t *d, void *data, s3_download_event_e event, int status,
    const uint8_t *p, size_t len)
{
    reader_t *r = data;

    assert_true(client->reserved <= set->conf.memory);
    assert_true(client->resident <= set->conf.memory + uncounted);

    if (event != S3_DOWNLOAD_DATA) {
        r->done = 1;
        r->status = (event == S3_DOWNLOAD_DONE) ? 0 : status;
        return;
    }

    for ( ;; ) {
        assert_true(len > 0 && len <= S3_PIECE_SIZE);
        assert_true(len <= SIZE - r->pos);

        r->bad |= memcmp(p, bytes + r->pos, len) != 0;
        r->pos += len;
        r->pieces++;
        r->holds = 1;

        if (r->stalled) {
            return;
        }

        r->holds = 0;
        s3_download_release(d);

        len = s3_download_take(d, &p);

        if (len == 0) {
            s3_download_next(d);
            return;
        }
    }
}


static void
reader_start(reader_t *r, size_t start)
{
    memset(r, 0, sizeof(reader_t));
    r->start = start;
    r->pos = start;
    r->stalled = 1;
    r->download = s3_download_create(client, &object, start, SIZE - start,
                                     on_piece, r);
    assert_non_null(r->download);
    s3_download_next(r->download);
}


/* its client reads on */

static void
reader_go(reader_t *r)
{
    r->stalled = 0;

    if (r->holds) {
        r->holds = 0;
        s3_download_release(r->download);
        s3_download_next(r->download);
    }
}


static int
reader_is_done(void *data)
{
    return ((reader_t *) data)->done;
}


static int
reader_holds(void *data)
{
    return ((reader_t *) data)->holds;
}


static void
reader_end(reader_t *r)
{
    reader_go(r);
    assert_true(s3_set_until(set, reader_is_done, r, WAIT));
    assert_int_equal(r->status, S3_STORE_OK);
    assert_false(r->bad);
    assert_int_equal(r->pos, SIZE);
    s3_download_close(r->download);
    r->download = NULL;
}


static void
on_upload(s3_upload_t *u, void *data, s3_upload_event_e event, int status)
{
    writer_t *w = data;

    w->ready |= (event == S3_UPLOAD_READY);
    w->failed |= (event == S3_UPLOAD_FAILED);
    w->status = status;
}


static void
writer_start(writer_t *w)
{
    w->upload = s3_upload_create(client, 64 * MIB, 0, NULL, on_upload, w);
    assert_non_null(w->upload);
}


static int
writer_is_ready(void *data)
{
    return ((writer_t *) data)->ready;
}


static int
never(void *data)
{
    return 0;
}


/* what happens in a while: nothing, is what is said of it after */

static void
a_while(void)
{
    (void) s3_set_until(set, never, NULL, 50);
}


static unsigned
ready(void)
{
    unsigned  i, n;

    for (i = 0, n = 0; i < 8; i++) {
        n += writers[i].ready;
    }

    return n;
}


/* uploads that stall leave a quarter to readers */

static void
test_memory_uploads_stall(void **state)
{
    unsigned  i;

    up(4, 2, 16 * MIB);

    for (i = 0; i < 8; i++) {
        writer_start(&writers[i]);
    }

    assert_true(s3_set_until(set, writer_is_ready, &writers[2], WAIT));
    a_while();
    assert_int_equal(ready(), 3);
    assert_int_equal(client->held[S3_BUDGET_UPLOADS], 12 * MIB);

    /* those that come later than the uploads that wait, and read at once */

    for (i = 0; i < 10; i++) {
        reader_start(&readers[i], i * 77777);
    }

    for (i = 0; i < 10; i++) {
        reader_end(&readers[i]);
    }

    assert_int_equal(ready(), 3);

    /* who waited gets what is given back, in order */

    s3_upload_abort(writers[1].upload);
    assert_true(s3_set_until(set, writer_is_ready, &writers[3], WAIT));
    a_while();
    assert_int_equal(ready(), 4);

    /* one that waits no longer is in nobody's way */

    s3_upload_abort(writers[4].upload);
    s3_upload_abort(writers[0].upload);
    assert_true(s3_set_until(set, writer_is_ready, &writers[5], WAIT));

    for (i = 2; i < 8; i++) {
        if (i != 4) {
            s3_upload_abort(writers[i].upload);
        }
    }

    down();
}


/* readers that stall shrink to a piece when somebody waits, not before */

static void
test_memory_readers_stall(void **state)
{
    size_t    held;
    unsigned  i;

    up(4, 2, 16 * MIB);

    for (i = 0; i < 16; i++) {
        reader_start(&readers[i], i * 99999);
        assert_true(s3_set_until(set, reader_holds, &readers[i], WAIT));
        a_while();
    }

    held = client->held[S3_BUDGET_DOWNLOADS];
    assert_true(held > 8 * MIB && held <= 12 * MIB);

    for (i = 0; i < 3; i++) {
        writer_start(&writers[i]);
    }

    assert_true(s3_set_until(set, writer_is_ready, &writers[2], WAIT));
    assert_true(client->held[S3_BUDGET_DOWNLOADS] <= 4 * MIB);
    assert_true(used() <= 4 * MIB);

    /* more than their own quarter uploads do not get of readers' */

    held = client->held[S3_BUDGET_DOWNLOADS];
    writer_start(&writers[3]);
    a_while();
    assert_false(writers[3].ready);
    assert_int_equal(client->held[S3_BUDGET_DOWNLOADS], held);

    /* the pieces they hold are what they were, and they go on */

    for (i = 0; i < 16; i++) {
        reader_end(&readers[15 - i]);
    }

    assert_false(writers[3].ready);

    for (i = 0; i < 4; i++) {
        s3_upload_abort(writers[i].upload);
    }

    down();
}


/* as many as there are slots hold one each; the next ones in turn */

static void
test_memory_slots(void **state)
{
    unsigned  i, n;

    up(4, 2, MIB);

    for (i = 0; i < 16; i++) {
        reader_start(&readers[i], i * 5000);
    }

    for (i = 0; i < 12; i++) {
        assert_true(s3_set_until(set, reader_holds, &readers[i], WAIT));
    }

    a_while();

    for (i = 0, n = 0; i < 16; i++) {
        n += readers[i].holds;
    }

    assert_int_equal(n, 12);
    assert_int_equal(client->held[S3_BUDGET_DOWNLOADS],
                     12 * S3_PIECE_SIZE);

    /* the others stand still; one goes on alone, and makes room */

    reader_end(&readers[5]);
    assert_true(s3_set_until(set, reader_holds, &readers[12], WAIT));
    assert_false(readers[13].holds);

    /* one that waits is ended by its owner */

    s3_download_close(readers[13].download);
    readers[13].download = NULL;

    s3_download_close(readers[0].download);
    readers[0].download = NULL;
    assert_true(s3_set_until(set, reader_holds, &readers[14], WAIT));

    for (i = 0; i < 16; i++) {
        if (readers[i].download != NULL) {
            reader_end(&readers[i]);
        }
    }

    down();
}


/* half of each window must be computed, with no memory for that */

static void
test_memory_degraded(void **state)
{
    unsigned  i;

    up(4, 2, MIB);
    uncounted = 3 * object.extents[0].geometry.unit;

    s3_set_away(set, 0);
    s3_set_away(set, 1);
    assert_true(s3_set_state(set, S3_STORE_READ_ONLY, WAIT));

    for (i = 0; i < 12; i++) {
        reader_start(&readers[i], i * 70000);
    }

    for (i = 0; i < 12; i++) {
        assert_true(s3_set_until(set, reader_holds, &readers[i], WAIT));
    }

    /* all at once, then one beside eleven that hold all there is */

    for (i = 0; i < 6; i++) {
        reader_go(&readers[i]);
    }

    for (i = 0; i < 12; i++) {
        reader_end(&readers[i]);
    }

    down();
}


/* disks enough for the widest of spares; whoever is closed leaves nothing */

static void
test_memory_closed(void **state)
{
    size_t    at;
    unsigned  i, round;

    up(8, 4, 8 * MIB);
    uncounted = 7 * object.extents[0].geometry.unit;

    for (round = 0; round < 12; round++) {

        if (round == 6) {
            for (i = 0; i < 4; i++) {
                s3_set_away(set, i);
            }

            assert_true(s3_set_state(set, S3_STORE_READ_ONLY, WAIT));
        }

        for (i = 0; i < READERS; i++) {
            at = (size_t) (i * 7919 + round * 104729) % SIZE;
            reader_start(&readers[i], at);
            readers[i].stalled = i & 1;
        }

        (void) s3_set_until(set, never, NULL, round % 6);

        for (i = 0; i < READERS; i++) {
            s3_download_close(readers[i].download);
            assert_false(readers[i].bad);
        }
    }

    /* what is out has its memory until it is back */

    assert_true(s3_set_until(set, is_trimmed, NULL, WAIT));

    down();
}


static int64_t
writer_rate(void *data)
{
    return ((writer_t *) data)->rate;
}


static int64_t
reader_rate(void *data)
{
    return ((reader_t *) data)->rate;
}


static int
writer_is_failed(void *data)
{
    return ((writer_t *) data)->failed;
}


/* of those whose clients are slow the slowest goes, where that helps */

static void
test_memory_slow_writers(void **state)
{
    unsigned  i;

    up(4, 2, 16 * MIB);

    for (i = 0; i < 4; i++) {
        writer_start(&writers[i]);
        writers[i].rate = -1;
        s3_upload_slow(writers[i].upload, writer_rate);
    }

    assert_true(s3_set_until(set, writer_is_ready, &writers[2], WAIT));

    /* nobody is slow: the fourth waits */

    (void) s3_set_until(set, never, NULL, 800);
    assert_int_equal(ready(), 3);

    writers[0].rate = 300;
    writers[1].rate = 7;
    writers[2].rate = 8;

    assert_true(s3_set_until(set, writer_is_failed, &writers[1], WAIT));
    assert_int_equal(writers[1].status, S3_STORE_TOO_SLOW);
    assert_true(s3_set_until(set, writer_is_ready, &writers[3], WAIT));

    /* nobody waits any more */

    (void) s3_set_until(set, never, NULL, 800);
    assert_false(writers[0].failed);
    assert_false(writers[2].failed);
    assert_false(writers[3].failed);

    for (i = 0; i < 4; i++) {
        s3_upload_abort(writers[i].upload);
    }

    down();
}


/* the same of readers, who hold a piece: they are told without having asked */

static void
test_memory_slow_readers(void **state)
{
    unsigned  i, n;

    up(4, 2, 4 * MIB);

    /* three quarters in slots */

    set->conf.memory = READERS * S3_PIECE_SIZE / 3 * 4;
    n = set->conf.memory / 4 * 3 / S3_PIECE_SIZE;
    assert_true(n < READERS);

    for (i = 0; i < n; i++) {
        reader_start(&readers[i], i * 4096);
        readers[i].rate = -1;
        s3_download_slow(readers[i].download, reader_rate);
        assert_true(s3_set_until(set, reader_holds, &readers[i], WAIT));
    }

    reader_start(&readers[n], 0);
    (void) s3_set_until(set, never, NULL, 800);
    assert_false(readers[n].holds);

    readers[3].rate = 2;
    readers[5].rate = 1;

    assert_true(s3_set_until(set, reader_is_done, &readers[5], WAIT));
    assert_int_equal(readers[5].status, S3_STORE_TOO_SLOW);

    /* the memory is the owner's to give back */

    assert_false(readers[n].holds);
    assert_false(readers[3].done);
    s3_download_close(readers[5].download);
    assert_true(s3_set_until(set, reader_holds, &readers[n], WAIT));
    assert_false(readers[3].done);

    for (i = 0; i <= n; i++) {
        if (i != 5) {
            reader_end(&readers[i]);
        }
    }

    down();
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_memory_uploads_stall),
        cmocka_unit_test(test_memory_readers_stall),
        cmocka_unit_test(test_memory_slots),
        cmocka_unit_test(test_memory_degraded),
        cmocka_unit_test(test_memory_closed),
        cmocka_unit_test(test_memory_slow_writers),
        cmocka_unit_test(test_memory_slow_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
