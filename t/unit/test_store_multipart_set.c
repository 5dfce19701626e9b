
/*
 * Multipart uploads and copies through a whole store: a store process that is
 * killed, disks that are away, a client.
 */


#include "s3_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "s3_client_internal.h"
#include "s3_pool.h"
#include "s3_set.h"


static const uint8_t  id_one[16] = "upload number 1";
static const uint8_t  id_two[16] = "upload number 2";

/* of an object of parts: empty, small and of several stripes */
static const size_t   sizes[] = {
    1048576 + 4097, 0, 1, 2 * 1048576, 70000, 0
};

#define NSIZES   (sizeof(sizes) / sizeof(sizes[0]))


static s3_set_t *
set_up(unsigned n, unsigned m)
{
    char      *dir;
    s3_set_t  *set;

    dir = s3_test_dir();
    set = s3_set_create(dir, n, m);
    free(dir);
    s3_set_start(set);
    s3_set_client(set);

    assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);

    return set;
}


static void
tear_down(s3_set_t *set)
{
    char  *dir;

    dir = strdup(set->dir);
    s3_set_free(set);
    s3_test_dir_free(dir);
}


static size_t
total(void)
{
    size_t  i, n;

    for (i = 0, n = 0; i < NSIZES; i++) {
        n += sizes[i];
    }

    return n;
}


static int
part(s3_set_t *set, const uint8_t id[16], uint32_t number, uint64_t seed,
    size_t size, s3_buf_t *refs)
{
    return s3_set_part(set, "bucket", "key", id, number, seed, size, 0, size,
                       1, refs);
}


/* all parts, numbered 2, 4, 6 ... */

static void
parts(s3_set_t *set, const uint8_t id[16], const char *key, uint64_t seed,
    s3_buf_t *refs)
{
    size_t    i, offset;

    for (i = 0, offset = 0; i < NSIZES; i++) {
        assert_int_equal(s3_set_part(set, "bucket", key, id,
                                     (uint32_t) (2 + 2 * i), seed, total(),
                                     offset, sizes[i], i % 4 < 2, refs),
                         S3_STORE_OK);
        offset += sizes[i];
    }
}


static void
get_all(s3_set_t *set, const char *key, uint64_t seed)
{
    size_t  i, offset, length;

    assert_int_equal(s3_set_get(set, "bucket", key, seed, total(), 0,
                                total()), S3_STORE_OK);

    /* each part alone, and a range from before its start to behind its end */

    for (i = 0, offset = 0; i < NSIZES; i++) {

        if (sizes[i]) {
            assert_int_equal(s3_set_get(set, "bucket", key, seed, total(),
                                        offset, sizes[i]), S3_STORE_OK);
        }

        length = sizes[i] + (offset ? 1 : 0);
        length += offset + sizes[i] < total();

        assert_int_equal(s3_set_get(set, "bucket", key, seed, total(),
                                    offset ? offset - 1 : 0, length),
                         S3_STORE_OK);
        offset += sizes[i];
    }
}


static int
outcome(s3_set_t *set, const uint8_t id[16], s3_part_page_t *page,
    s3_buf_t *refs)
{
    s3_part_query_t  q;

    memset(&q, 0, sizeof(q));
    q.bucket.data = (const uint8_t *) "bucket";
    q.bucket.len = 6;
    q.key.data = (const uint8_t *) "key";
    q.key.len = 3;
    memcpy(q.upload_id, id, 16);
    q.max = S3_PARTS_MAX;

    return s3_set_parts(set, &q, page, refs);
}


static void
test_multipart_degraded(void **state)
{
    s3_buf_t         refs, there;
    s3_set_t        *set;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&there, 0, sizeof(there));

    set = set_up(4, 2);

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_OK);
    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_CONFLICT);
    assert_int_equal(s3_set_uploads(set, "bucket", "k"), 1);

    parts(set, id_one, "key", 1, &refs);

    assert_int_equal(outcome(set, id_one, &page, &there), S3_STORE_OK);
    assert_int_equal(page.nparts, NSIZES);
    assert_false(page.truncated);
    assert_int_equal(there.len, refs.len);
    assert_memory_equal(there.data, refs.data, refs.len);

    assert_int_equal(s3_set_head(set, "bucket", "key"), -1);
    assert_int_equal(s3_set_complete(set, "bucket", "key", id_two, &refs),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_OK);
    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_CONFLICT);
    assert_int_equal(s3_set_uploads(set, "bucket", "k"), 0);
    assert_int_equal(outcome(set, id_one, &page, NULL), S3_STORE_OK);
    assert_true(page.upload.completed);
    assert_int_equal(s3_set_list(set, "bucket", ""), 1);

    get_all(set, "key", 1);

    /* a shard on each disk of the four parts that are not empty; with any
     * two disks away they are all read */

    assert_true(s3_set_repaired(set, 4, 10000));

    s3_set_away(set, 0);
    s3_set_away(set, 2);
    assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 5000));
    get_all(set, "key", 1);
    s3_set_back(set, 0);
    s3_set_back(set, 2);
    assert_true(s3_set_state(set, S3_STORE_OK, 10000));

    /* a copy is a name more, and the last one takes the shards with it */

    assert_int_equal(s3_set_copy(set, "bucket", "key", "copy"), S3_STORE_OK);
    assert_int_equal(s3_set_delete(set, "bucket", "key"), S3_STORE_OK);
    get_all(set, "copy", 1);
    assert_true(s3_set_repaired(set, 4, 10000));
    assert_int_equal(s3_set_delete(set, "bucket", "copy"), S3_STORE_OK);
    assert_true(s3_set_repaired(set, 0, 10000));

    s3_buf_free(&refs);
    s3_buf_free(&there);
    tear_down(set);
}


/* what is replaced, not named, aborted or in a bucket that is gone leaves
 * nothing on any disk */

static void
test_multipart_garbage(void **state)
{
    s3_buf_t         refs, second;
    s3_set_t        *set;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&second, 0, sizeof(second));

    set = set_up(3, 1);

    /* replaced */

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_OK);
    assert_int_equal(part(set, id_one, 1, 1, 70000, &refs), S3_STORE_OK);
    assert_int_equal(part(set, id_one, 1, 2, 70000, &second), S3_STORE_OK);
    assert_true(s3_set_repaired(set, 1, 10000));

    /* as a Complete that crosses with it sees it */

    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_CONFLICT);

    /* not named */

    assert_int_equal(part(set, id_one, 2, 3, 100000, NULL), S3_STORE_OK);
    assert_int_equal(part(set, id_one, 9, 3, 100000, NULL), S3_STORE_OK);
    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &second),
                     S3_STORE_OK);
    assert_int_equal(s3_set_get(set, "bucket", "key", 2, 70000, 0, 70000),
                     S3_STORE_OK);
    assert_true(s3_set_repaired(set, 1, 10000));

    /* aborted, and a part that comes after it */

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_two),
                     S3_STORE_OK);
    assert_int_equal(part(set, id_two, 1, 4, 200000, NULL), S3_STORE_OK);
    assert_int_equal(part(set, id_two, 2, 4, 0, NULL), S3_STORE_OK);
    assert_int_equal(s3_set_upload_abort(set, "bucket", "key", id_two),
                     S3_STORE_OK);
    assert_int_equal(s3_set_upload_abort(set, "bucket", "key", id_two),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(part(set, id_two, 3, 4, 200000, NULL),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_int_equal(outcome(set, id_two, &page, NULL),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_true(s3_set_repaired(set, 1, 10000));

    /* an upload does not keep a bucket; when it is gone, so are the parts */

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_two),
                     S3_STORE_OK);
    assert_int_equal(part(set, id_two, 1, 5, 200000, NULL), S3_STORE_OK);
    assert_int_equal(s3_set_bucket_delete(set, "bucket"),
                     S3_STORE_BUCKET_NOT_EMPTY);
    assert_int_equal(s3_set_delete(set, "bucket", "key"), S3_STORE_OK);
    assert_true(s3_set_repaired(set, 1, 10000));
    assert_int_equal(s3_set_bucket_delete(set, "bucket"), S3_STORE_OK);
    assert_int_equal(part(set, id_two, 2, 5, 200000, NULL),
                     S3_STORE_NO_SUCH_BUCKET);
    assert_int_equal(s3_set_bucket_create(set, "bucket"), S3_STORE_OK);
    assert_int_equal(s3_set_uploads(set, "bucket", ""), 0);
    assert_int_equal(part(set, id_two, 2, 5, 200000, NULL),
                     S3_STORE_NO_SUCH_UPLOAD);
    assert_true(s3_set_repaired(set, 0, 10000));

    s3_buf_free(&refs);
    s3_buf_free(&second);
    tear_down(set);
}


/* --- many commits at once --- */

#define FLIGHT   400         /* of 32 KB, with room in the client's queue */


typedef struct {
    s3_set_t   *set;
    unsigned    left;            /* calls under way */
    unsigned    wanted;          /* wait until no more are */
    unsigned    n[S3_STORE_LAST];
} flight_t;


typedef struct {
    s3_call_t   call;
    flight_t   *flight;
    int        *status;          /* or NULL */
} shot_t;


static void
landed(s3_call_t *call)
{
    shot_t  *shot = call->data;

    shot->flight->left--;
    shot->flight->n[call->status]++;

    if (shot->status) {
        *shot->status = call->status;
    }

    free(shot);
}


static int
few_left(void *data)
{
    flight_t  *flight = data;

    return flight->left <= flight->wanted;
}


/* sends it and returns, once there is room for it */

static void
shoot(flight_t *flight, s3_commit_t *commit, int *status)
{
    shot_t  *shot;

    flight->wanted = FLIGHT;
    assert_true(s3_set_until(flight->set, few_left, flight, 60000));

    shot = calloc(1, sizeof(shot_t));
    assert_non_null(shot);
    shot->call.handler = landed;
    shot->call.data = shot;
    shot->flight = flight;
    shot->status = status;

    flight->left++;
    assert_int_equal(s3_client_commit(flight->set->client, &shot->call,
                                      commit), S3_STORE_OK);
}


static void
land(flight_t *flight)
{
    flight->wanted = 0;
    assert_true(s3_set_until(flight->set, few_left, flight, 60000));
}


static s3_slice_t
text(const char *s)
{
    s3_slice_t  slice;

    slice.data = (const uint8_t *) s;
    slice.len = strlen(s);

    return slice;
}


static s3_commit_t
commit_of(int op, const char *key, const uint8_t id[16])
{
    s3_commit_t  c;

    memset(&c, 0, sizeof(c));
    c.op = (uint8_t) op;
    c.bucket = text("bucket");
    c.key = text(key);
    memcpy(c.upload_id, id, 16);

    return c;
}


static s3_commit_t
complete_of(const char *key, const uint8_t id[16], const s3_buf_t *refs)
{
    s3_commit_t  c;

    c = commit_of(S3_COMMIT_COMPLETE, key, id);
    c.parts.data = refs->data;
    c.parts.len = refs->len;

    return c;
}


/* --- uploads one after the other, many under way --- */

typedef struct {
    s3_set_t     *set;
    uint32_t      next;          /* part to be begun */
    unsigned      left;          /* of S3_PARTS_MAX: not answered */
    uint8_t       shards[S3_PARTS_MAX][16];
} many_t;


typedef struct {
    s3_call_t     call;
    many_t       *many;
    uint32_t      number;
} one_t;


static void  many_begin(many_t *many);


/* what a part holds: a byte that its number says */

static uint8_t
many_byte(uint32_t number)
{
    return (uint8_t) (number * 7);
}


static void
many_answered(s3_call_t *call)
{
    one_t   *one = call->data;
    many_t  *many = one->many;

    assert_int_equal(call->status, S3_STORE_OK);
    free(one);

    many->left--;
    many_begin(many);
}


static void
many_event(s3_upload_t *u, void *data, s3_upload_event_e event, int status)
{
    one_t        *one = data;
    uint8_t       byte;
    s3_commit_t   c;

    assert_int_not_equal(event, S3_UPLOAD_FAILED);

    if (event == S3_UPLOAD_READY) {
        byte = many_byte(one->number);
        assert_int_equal(s3_upload_write(u, &byte, 1), 1);
        assert_int_equal(s3_upload_finish(u), S3_STORE_OK);
        return;
    }

    if (event == S3_UPLOAD_FINISHED) {
        c = commit_of(S3_COMMIT_PART, "key", id_one);
        c.number = one->number;
        one->call.handler = many_answered;
        one->call.data = one;
        assert_int_equal(s3_upload_commit(u, &one->call, &c), S3_STORE_OK);
        memcpy(one->many->shards[one->number - 1], c.shard_id, 16);
    }
}


static void
many_begin(many_t *many)
{
    one_t  *one;

    if (many->next > S3_PARTS_MAX) {
        return;
    }

    one = calloc(1, sizeof(one_t));
    assert_non_null(one);
    one->many = many;
    one->number = many->next++;

    assert_non_null(s3_upload_create(many->set->client, 1, 1, NULL,
                                     many_event, one));
}


static int
many_done(void *data)
{
    many_t  *many = data;

    return many->left == 0;
}


typedef struct {
    s3_set_t   *set;
    int         done;
    uint32_t    n;
} bytes_t;


static void
bytes_event(s3_download_t *d, void *data, s3_download_event_e event,
    int status, const uint8_t *p, size_t len)
{
    size_t    i;
    bytes_t  *b = data;

    if (event == S3_DOWNLOAD_DATA) {
        for (i = 0; i < len; i++) {
            assert_int_equal(p[i], many_byte(++b->n));
        }

        s3_download_release(d);
        s3_download_next(d);
        return;
    }

    assert_int_equal(event, S3_DOWNLOAD_DONE);
    s3_download_close(d);
    b->done = 1;
}


static void
bytes_found(s3_call_t *call)
{
    bytes_t        *b = call->data;
    s3_download_t  *d;

    assert_int_equal(call->status, S3_STORE_OK);
    assert_int_equal(call->object.size, S3_PARTS_MAX);
    assert_int_equal(call->object.nextents, S3_PARTS_MAX);

    d = s3_download_create(b->set->client, &call->object, 0,
                           call->object.size, bytes_event, b);
    assert_non_null(d);
    s3_object_free(&call->object);
    s3_download_next(d);
}


static int
bytes_done(void *data)
{
    bytes_t  *b = data;

    return b->done;
}


/* as many parts as there may be, with shards; the object is read whole */

static void
test_multipart_most_parts(void **state)
{
    many_t          *many;
    bytes_t          b;
    unsigned         i;
    s3_buf_t         refs, there;
    s3_set_t        *set;
    s3_call_t        call;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));
    memset(&there, 0, sizeof(there));
    memset(&call, 0, sizeof(call));
    memset(&b, 0, sizeof(b));
    many = calloc(1, sizeof(many_t));

    set = set_up(1, 0);

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_OK);

    many->set = set;
    many->next = 1;
    many->left = S3_PARTS_MAX;

    for (i = 0; i < 128; i++) {
        many_begin(many);
    }

    assert_true(s3_set_until(set, many_done, many, 120000));

    for (i = 0; i < S3_PARTS_MAX; i++) {
        s3_write_part_ref(&refs, i + 1, many->shards[i]);
    }

    assert_int_equal(outcome(set, id_one, &page, &there), S3_STORE_OK);
    assert_int_equal(page.nparts, S3_PARTS_MAX);
    assert_int_equal(there.len, refs.len);
    assert_memory_equal(there.data, refs.data, refs.len);

    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_OK);

    b.set = set;
    call.handler = bytes_found;
    call.data = &b;
    assert_int_equal(s3_client_lookup(set->client, &call, text("bucket"),
                                      text("key")), S3_STORE_OK);
    assert_true(s3_set_until(set, bytes_done, &b, 60000));
    assert_int_equal(b.n, S3_PARTS_MAX);

    free(many);
    s3_buf_free(&refs);
    s3_buf_free(&there);
    tear_down(set);
}


/*
 * Completes whose rows are far larger than what asks for them: a batch has no
 * room for all that wait, and those that find none are the next one's first.
 */

#define LARGE   640

static void
test_multipart_large_batch(void **state)
{
    int              status[LARGE + 1];
    char             key[16];
    uint8_t          id[16], *large;
    uint64_t         before;
    unsigned         i;
    s3_buf_t         refs;
    flight_t         flight;
    s3_set_t        *set;
    s3_commit_t      c;

    memset(&refs, 0, sizeof(refs));
    memset(&flight, 0, sizeof(flight));
    large = calloc(1, S3_META_MAX);

    set = set_up(3, 1);
    flight.set = set;

    for (i = 0; i < LARGE; i++) {
        (void) snprintf(key, sizeof(key), "key-%03u", i);
        s3_test_fill(id, 16, i);
        c = commit_of(S3_COMMIT_CREATE_UPLOAD, key, id);
        c.meta.data = large;
        c.meta.len = S3_META_MAX;
        c.attrs.data = large;
        c.attrs.len = S3_ATTRS_MAX;
        shoot(&flight, &c, NULL);

        c = commit_of(S3_COMMIT_PART, key, id);
        c.number = 1;
        s3_test_fill(c.shard_id, 16, 1000 + i);
        shoot(&flight, &c, NULL);
    }

    land(&flight);
    assert_int_equal(flight.n[S3_STORE_OK], 2 * LARGE);

    before = atomic_load(&set->client->page->decided);

    for (i = 0; i < LARGE; i++) {
        (void) snprintf(key, sizeof(key), "key-%03u", i);
        s3_test_fill(id, 16, i);
        s3_test_fill(c.shard_id, 16, 1000 + i);
        refs.len = 0;
        s3_write_part_ref(&refs, 1, c.shard_id);
        c = complete_of(key, id, &refs);
        shoot(&flight, &c, &status[i]);
    }

    /* in order: it is decided after the one that it asks for */

    c = commit_of(S3_COMMIT_DELETE, "key-639", id);
    c.conditions = S3_IF_MATCH_ANY;
    shoot(&flight, &c, &status[LARGE]);
    land(&flight);

    for (i = 0; i <= LARGE; i++) {
        assert_int_equal(status[i], S3_STORE_OK);
    }

    /* 40 MiB of rows, and 8 or a little more in a batch */

    assert_true(atomic_load(&set->client->page->decided) >= before + 5);
    assert_int_equal(s3_set_list(set, "bucket", ""), LARGE - 1);
    assert_true(s3_set_whole(set, 1000));

    free(large);
    s3_buf_free(&refs);
    tear_down(set);
}


/* what crosses: in either order, and only one of the two can be */

static void
test_multipart_crossing(void **state)
{
    int              a, b, round;
    uint8_t          id[16];
    s3_buf_t         refs, again;
    flight_t         flight;
    s3_set_t        *set;
    s3_commit_t      first, second;

    memset(&refs, 0, sizeof(refs));
    memset(&again, 0, sizeof(again));
    memset(&flight, 0, sizeof(flight));

    set = set_up(3, 1);
    flight.set = set;

    /* two Completes, of different parts: one is the object */

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_OK);
    assert_int_equal(part(set, id_one, 1, 1, 70000, &refs), S3_STORE_OK);
    assert_int_equal(part(set, id_one, 2, 2, 80000, &again), S3_STORE_OK);
    first = complete_of("key", id_one, &refs);
    second = complete_of("key", id_one, &again);
    shoot(&flight, &first, &a);
    shoot(&flight, &second, &b);
    land(&flight);
    assert_int_equal(a, S3_STORE_OK);
    assert_int_equal(b, S3_STORE_CONFLICT);
    assert_int_equal(s3_set_get(set, "bucket", "key", 1, 70000, 0, 70000),
                     S3_STORE_OK);
    assert_true(s3_set_repaired(set, 1, 10000));

    /* an Abort and a Complete, in both orders */

    for (round = 0; round < 2; round++) {
        refs.len = 0;
        memset(id, '0' + round, 16);
        assert_int_equal(s3_set_upload_create(set, "bucket", "key", id),
                         S3_STORE_OK);
        assert_int_equal(part(set, id, 1, 3, 90000, &refs), S3_STORE_OK);
        first = complete_of("key", id, &refs);
        second = commit_of(S3_COMMIT_ABORT, "key", id);
        shoot(&flight, round ? &first : &second, round ? &a : &b);
        shoot(&flight, round ? &second : &first, round ? &b : &a);
        land(&flight);
        assert_int_equal(a, round ? S3_STORE_OK : S3_STORE_NO_SUCH_UPLOAD);
        assert_int_equal(b, round ? S3_STORE_NO_SUCH_UPLOAD : S3_STORE_OK);
        assert_int_equal(s3_set_get(set, "bucket", "key", round ? 3 : 1,
                                    round ? 90000 : 70000, 0, 70000),
                         S3_STORE_OK);
        assert_true(s3_set_repaired(set, 1, 10000));
    }

    /*
     * A part uploaded anew, or another one, while the upload is completed or
     * aborted under it: its shards are on the disks, its commit comes late
     */

    for (round = 0; round < 4; round++) {
        refs.len = 0;
        memset(id, 'a' + round, 16);
        assert_int_equal(s3_set_upload_create(set, "bucket", "key", id),
                         S3_STORE_OK);
        assert_int_equal(part(set, id, 1, 4, 100000, &refs), S3_STORE_OK);
        first = round % 2 ? complete_of("key", id, &refs)
                          : commit_of(S3_COMMIT_ABORT, "key", id);
        shoot(&flight, &first, &a);
        b = part(set, id, round / 2 ? 1 : 2, 5, 300000, NULL);
        land(&flight);
        assert_int_equal(a, S3_STORE_OK);
        assert_int_equal(b, S3_STORE_NO_SUCH_UPLOAD);
        assert_true(s3_set_repaired(set, 1, 10000));
    }

    /* conditions on the key, one of many may make it */

    assert_int_equal(s3_set_delete(set, "bucket", "key"), S3_STORE_OK);
    memset(flight.n, 0, sizeof(flight.n));

    for (round = 0; round < 8; round++) {
        s3_buf_free(&refs);
        memset(id, 'A' + round, 16);
        assert_int_equal(s3_set_upload_create(set, "bucket", "key", id),
                         S3_STORE_OK);
        assert_int_equal(part(set, id, 1, 6, 20000, &refs), S3_STORE_OK);
        first = complete_of("key", id, &refs);
        first.conditions = S3_IF_NONE_MATCH_ANY;
        shoot(&flight, &first, NULL);
    }

    land(&flight);
    assert_int_equal(flight.n[S3_STORE_OK], 1);
    assert_int_equal(flight.n[S3_STORE_PRECONDITION_FAILED], 7);
    assert_int_equal(s3_set_uploads(set, "bucket", "key"), 7);
    assert_int_equal(s3_set_get(set, "bucket", "key", 6, 20000, 0, 20000),
                     S3_STORE_OK);

    s3_buf_free(&refs);
    s3_buf_free(&again);
    tear_down(set);
}


/*
 * The store process dies after each answer, before it has renamed a shard or
 * not; the worker that wrote the parts dies as well.  What was answered is
 * there, and what is there has its shards on all disks.
 */

static void
test_multipart_kill(void **state)
{
    unsigned         i;
    s3_buf_t         refs;
    s3_set_t        *set;
    s3_part_page_t   page;

    memset(&refs, 0, sizeof(refs));

    set = set_up(3, 1);

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_OK);
    s3_set_kill(set);
    s3_set_start(set);

    for (i = 0; i < 4; i++) {
        assert_int_equal(s3_set_part(set, "bucket", "key", id_one, i + 1, 1,
                                     400000, i * 100000, 100000, 1, &refs),
                         S3_STORE_OK);
        s3_set_kill(set);

        if (i % 2) {

            /* its session's lock is free from here on */

            s3_set_client_close(set);
            s3_set_client(set);
        }

        s3_set_start(set);
        assert_true(s3_set_state(set, S3_STORE_OK, 10000));
    }

    /* long enough for the session of the first two to be emptied */

    assert_true(s3_set_repaired(set, 4, 15000));
    assert_int_equal(outcome(set, id_one, &page, NULL), S3_STORE_OK);
    assert_int_equal(page.nparts, 4);

    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_OK);
    s3_set_kill(set);
    s3_set_start(set);
    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_CONFLICT);
    assert_int_equal(outcome(set, id_one, &page, NULL), S3_STORE_OK);
    assert_true(page.upload.completed);
    assert_int_equal(s3_set_get(set, "bucket", "key", 1, 400000, 0, 400000),
                     S3_STORE_OK);

    assert_int_equal(s3_set_copy(set, "bucket", "key", "copy"), S3_STORE_OK);
    s3_set_kill(set);
    s3_set_start(set);
    assert_int_equal(s3_set_delete(set, "bucket", "key"), S3_STORE_OK);
    s3_set_kill(set);
    s3_set_start(set);
    assert_int_equal(s3_set_get(set, "bucket", "copy", 1, 400000, 99999,
                                200002), S3_STORE_OK);
    assert_true(s3_set_repaired(set, 4, 15000));

    s3_buf_free(&refs);
    tear_down(set);
}


/* disks come and go between the parts and at the Complete: another one is
 * away each time, and in the end any two may be */

static void
test_multipart_disks_away(void **state)
{
    size_t           offset;
    unsigned         i, away;
    s3_buf_t         refs;
    s3_set_t        *set;

    memset(&refs, 0, sizeof(refs));

    set = set_up(4, 2);

    assert_int_equal(s3_set_upload_create(set, "bucket", "key", id_one),
                     S3_STORE_OK);

    for (i = 0, offset = 0, away = 0; i < NSIZES; i++) {
        away = i % 4;
        s3_set_away(set, away);
        assert_int_equal(s3_set_part(set, "bucket", "key", id_one, i + 1, 1,
                                     total(), offset, sizes[i], 1, &refs),
                         S3_STORE_OK);
        offset += sizes[i];
        s3_set_back(set, away);
        assert_true(s3_set_whole(set, 10000));
    }

    s3_set_away(set, 3);
    assert_int_equal(s3_set_complete(set, "bucket", "key", id_one, &refs),
                     S3_STORE_OK);
    assert_int_equal(s3_set_copy(set, "bucket", "key", "copy"), S3_STORE_OK);
    get_all(set, "key", 1);
    s3_set_back(set, 3);
    assert_true(s3_set_whole(set, 10000));
    assert_true(s3_set_repaired(set, 4, 15000));

    for (i = 0; i < 4; i++) {
        s3_set_away(set, i);
        s3_set_away(set, (i + 1) % 4);
        assert_true(s3_set_state(set, S3_STORE_READ_ONLY, 5000));
        get_all(set, i % 2 ? "key" : "copy", 1);
        s3_set_back(set, i);
        s3_set_back(set, (i + 1) % 4);
        assert_true(s3_set_state(set, S3_STORE_OK, 10000));
        assert_true(s3_set_whole(set, 10000));
    }

    s3_buf_free(&refs);
    tear_down(set);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_multipart_degraded),
        cmocka_unit_test(test_multipart_garbage),
        cmocka_unit_test(test_multipart_most_parts),
        cmocka_unit_test(test_multipart_large_batch),
        cmocka_unit_test(test_multipart_crossing),
        cmocka_unit_test(test_multipart_kill),
        cmocka_unit_test(test_multipart_disks_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
