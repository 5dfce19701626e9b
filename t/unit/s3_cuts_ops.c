
/* The operations of s3_cuts.h. */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_cuts.h"

#include <stdio.h>
#include <string.h>


#define SIZE_INLINE   3000
#define SIZE_OLD      80000
#define SIZE_NEW      90000           /* one stripe */
#define SIZE_STRIPES  1100000         /* two */

#define SIZE_PART_1   70000
#define SIZE_PART_2   50000
#define SIZE_PARTS    (SIZE_PART_1 + SIZE_PART_2)


static int
reads(s3_set_t *set, const char *key, uint64_t seed, size_t size, int whole)
{
    if (s3_set_head(set, S3_CUTS_BUCKET, key) != (ssize_t) size) {
        return 0;
    }

    return !whole || s3_set_get(set, S3_CUTS_BUCKET, key, seed, size, 0, size)
                     == S3_STORE_OK;
}


static int
absent(s3_set_t *set, const char *key)
{
    return s3_set_head(set, S3_CUTS_BUCKET, key) == -1;
}


static void
put(s3_set_t *set, const char *key, uint64_t seed, size_t size)
{
    assert_int_equal(s3_set_put(set, S3_CUTS_BUCKET, key, seed, size),
                     S3_STORE_OK);
}


static void
prepare_none(s3_set_t *set, s3_cuts_subject_t *o)
{
}


static void
prepare_old(s3_set_t *set, s3_cuts_subject_t *o)
{
    put(set, o->key, 900, SIZE_OLD);
}


static void
put_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    put(set, o->key, o->seed, SIZE_STRIPES);
}


static int
put_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s, int whole)
{
    return s == 0 ? absent(set, o->key)
                  : reads(set, o->key, o->seed, SIZE_STRIPES, whole);
}


static void
put_inline_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    put(set, o->key, o->seed, SIZE_INLINE);
}


static int
put_inline_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    return s == 0 ? absent(set, o->key)
                  : reads(set, o->key, o->seed, SIZE_INLINE, 1);
}


static void
overwrite_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    put(set, o->key, o->seed, SIZE_NEW);
}


static int
overwrite_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    return s == 0 ? reads(set, o->key, 900, SIZE_OLD, 1)
                  : reads(set, o->key, o->seed, SIZE_NEW, whole);
}


static void
delete_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    assert_int_equal(s3_set_delete(set, S3_CUTS_BUCKET, o->key), S3_STORE_OK);
}


static int
delete_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    return s == 0 ? reads(set, o->key, 900, SIZE_OLD, 1)
                  : absent(set, o->key);
}


/* --- uploads in parts --- */

static void
upload_id(s3_cuts_subject_t *o)
{
    memset(o->upload_id, 0, 16);
    o->upload_id[5] = 1;
    o->upload_id[15] = (uint8_t) o->number;
}


/* known to who looks at a cut before it was created */

static void
prepare_id(s3_set_t *set, s3_cuts_subject_t *o)
{
    upload_id(o);
}


static void
upload_create(s3_set_t *set, s3_cuts_subject_t *o)
{
    upload_id(o);
    assert_int_equal(s3_set_upload_create(set, S3_CUTS_BUCKET, o->key,
                                          o->upload_id), S3_STORE_OK);
}


/* part 1 or 2 of an object of these bytes */

static int
part_put(s3_set_t *set, const s3_cuts_subject_t *o, unsigned number,
    uint64_t seed, uint8_t ref[S3_PART_REF_LEN])
{
    int       rc;
    s3_buf_t  refs;

    memset(&refs, 0, sizeof(s3_buf_t));

    rc = s3_set_part(set, S3_CUTS_BUCKET, o->key, o->upload_id, number, seed,
                     SIZE_PARTS, number == 1 ? 0 : SIZE_PART_1,
                     number == 1 ? SIZE_PART_1 : SIZE_PART_2, 1, &refs);

    if (rc == S3_STORE_OK && ref) {
        assert_int_equal(refs.len, S3_PART_REF_LEN);
        memcpy(ref, refs.data, S3_PART_REF_LEN);
    }

    s3_buf_free(&refs);

    return rc;
}


/* what the upload lists: S3_STORE_OK where it is open */

static int
upload_parts(s3_set_t *set, const s3_cuts_subject_t *o, s3_buf_t *refs,
    int *completed)
{
    int              rc;
    s3_part_page_t   page;
    s3_part_query_t  query;

    memset(refs, 0, sizeof(s3_buf_t));
    memset(&query, 0, sizeof(s3_part_query_t));
    memset(&page, 0, sizeof(s3_part_page_t));

    query.bucket.data = (const uint8_t *) S3_CUTS_BUCKET;
    query.bucket.len = strlen(S3_CUTS_BUCKET);
    query.key.data = (const uint8_t *) o->key;
    query.key.len = strlen(o->key);
    memcpy(query.upload_id, o->upload_id, 16);
    query.max = S3_PARTS_MAX;

    rc = s3_set_parts(set, &query, &page, refs);
    *completed = rc == S3_STORE_OK && page.upload.completed;

    return rc;
}


/* open, with the first n of its parts and no other */

static int
upload_lists(s3_set_t *set, const s3_cuts_subject_t *o,
    const uint8_t refs[][S3_PART_REF_LEN], unsigned n)
{
    int       rc, completed, same;
    s3_buf_t  listed;

    rc = upload_parts(set, o, &listed, &completed);

    same = rc == S3_STORE_OK && !completed
           && listed.len == n * S3_PART_REF_LEN
           && (n == 0 || memcmp(listed.data, refs, listed.len) == 0)
           && s3_set_uploads(set, S3_CUTS_BUCKET, o->key) == 1;

    s3_buf_free(&listed);

    return same;
}


static int
upload_gone(s3_set_t *set, const s3_cuts_subject_t *o)
{
    int       rc, completed;
    s3_buf_t  listed;

    rc = upload_parts(set, o, &listed, &completed);
    s3_buf_free(&listed);

    return rc == S3_STORE_NO_SUCH_UPLOAD
           && s3_set_uploads(set, S3_CUTS_BUCKET, o->key) == 0;
}


/* not listed, but remembered for who completes it again with part 1 of ref */

static int
upload_completed(s3_set_t *set, const s3_cuts_subject_t *o,
    const uint8_t ref[S3_PART_REF_LEN])
{
    int       rc, completed;
    s3_buf_t  listed, again;

    rc = upload_parts(set, o, &listed, &completed);
    s3_buf_free(&listed);

    if (rc != S3_STORE_OK || !completed) {
        return 0;
    }

    memset(&again, 0, sizeof(s3_buf_t));
    s3_buf_bytes(&again, ref, S3_PART_REF_LEN);
    s3_buf_bytes(&again, o->refs[1], S3_PART_REF_LEN);

    rc = s3_set_complete(set, S3_CUTS_BUCKET, o->key, o->upload_id, &again);
    s3_buf_free(&again);

    return rc == (s3_client_state(set->client) == S3_STORE_READ_ONLY
                  ? S3_STORE_READ_ONLY : S3_STORE_CONFLICT)
           && s3_set_uploads(set, S3_CUTS_BUCKET, o->key) == 0;
}


static int
complete_listed(s3_set_t *set, const s3_cuts_subject_t *o)
{
    int       rc, completed;
    s3_buf_t  refs;

    rc = upload_parts(set, o, &refs, &completed);

    if (rc == S3_STORE_OK) {
        rc = s3_set_complete(set, S3_CUTS_BUCKET, o->key, o->upload_id,
                             &refs);
    }

    s3_buf_free(&refs);

    return rc == S3_STORE_OK;
}


static void
multipart_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    switch (s) {

    case 0:
        upload_create(set, o);
        break;

    case 1:
    case 2:
        assert_int_equal(part_put(set, o, s, o->seed, o->refs[s - 1]),
                         S3_STORE_OK);
        break;

    default:
        assert_true(complete_listed(set, o));
    }
}


static int
multipart_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    switch (s) {

    case 0:
        return upload_gone(set, o) && absent(set, o->key);

    case 4:
        return upload_completed(set, o, o->refs[0])
               && reads(set, o->key, o->seed, SIZE_PARTS, whole);

    default:
        return upload_lists(set, o, o->refs, s - 1) && absent(set, o->key);
    }
}


static int
multipart_after(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s)
{
    unsigned  n;

    if (s == 0 || s == 4) {
        return s;
    }

    for (n = s; n <= 2; n++) {
        if (part_put(set, o, n, o->seed, NULL) != S3_STORE_OK) {
            return -1;
        }
    }

    return complete_listed(set, o)
           && reads(set, o->key, o->seed, SIZE_PARTS, 1) ? 4 : -1;
}


static void
prepare_whole(s3_set_t *set, s3_cuts_subject_t *o)
{
    upload_create(set, o);
    assert_int_equal(part_put(set, o, 1, o->seed, o->refs[0]), S3_STORE_OK);
    assert_int_equal(part_put(set, o, 2, o->seed, o->refs[1]), S3_STORE_OK);
}


/* part 1 is another object's */

static void
prepare_parts(s3_set_t *set, s3_cuts_subject_t *o)
{
    upload_create(set, o);
    assert_int_equal(part_put(set, o, 1, 900, o->refs[0]), S3_STORE_OK);
    assert_int_equal(part_put(set, o, 2, o->seed, o->refs[1]), S3_STORE_OK);
}


static void
part_again_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    if (s == 0) {
        assert_int_equal(part_put(set, o, 1, o->seed, o->refs[2]),
                         S3_STORE_OK);

    } else {
        assert_true(complete_listed(set, o));
    }
}


static int
part_again_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    uint8_t  refs[2][S3_PART_REF_LEN];

    if (s == 0) {
        return upload_lists(set, o, o->refs, 2) && absent(set, o->key);
    }

    if (s == 2) {
        return upload_completed(set, o, o->refs[2])
               && reads(set, o->key, o->seed, SIZE_PARTS, whole);
    }

    memcpy(refs[0], o->refs[2], S3_PART_REF_LEN);
    memcpy(refs[1], o->refs[1], S3_PART_REF_LEN);

    return upload_lists(set, o, refs, 2) && absent(set, o->key);
}


static int
part_again_after(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s)
{
    if (s == 2) {
        return 2;
    }

    /* with the old part 1 there is no object that one seed makes */

    if (s == 0 && part_put(set, o, 1, o->seed, NULL) != S3_STORE_OK) {
        return -1;
    }

    return complete_listed(set, o)
           && reads(set, o->key, o->seed, SIZE_PARTS, 1) ? 2 : -1;
}


static void
abort_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    assert_int_equal(s3_set_upload_abort(set, S3_CUTS_BUCKET, o->key,
                                         o->upload_id), S3_STORE_OK);
}


static int
abort_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s, int whole)
{
    return absent(set, o->key)
           && (s == 0 ? upload_lists(set, o, o->refs, 2)
                      : upload_gone(set, o));
}


static int
abort_after(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s)
{
    if (s == 0 && s3_set_upload_abort(set, S3_CUTS_BUCKET, o->key,
                                      o->upload_id)
                  != S3_STORE_OK)
    {
        return -1;
    }

    return upload_gone(set, o) ? 1 : -1;
}


/* --- copies --- */

static const char *
copy_key(const s3_cuts_subject_t *o)
{
    static char  key[32];

    (void) snprintf(key, sizeof(key), "%s-copy", o->key);

    return key;
}


static void
copy_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    switch (s) {

    case 0:
        assert_int_equal(s3_set_copy(set, S3_CUTS_BUCKET, o->key,
                                     copy_key(o)), S3_STORE_OK);
        break;

    case 1:
        overwrite_step(set, o, s);
        break;

    default:
        delete_step(set, o, s);
    }
}


static int
copy_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s, int whole)
{
    if (s == 0 ? !absent(set, copy_key(o))
               : !reads(set, copy_key(o), 900, SIZE_OLD, 1))
    {
        return 0;
    }

    return s <= 1 ? reads(set, o->key, 900, SIZE_OLD, 1)
                  : s == 2 ? reads(set, o->key, o->seed, SIZE_NEW, whole)
                           : absent(set, o->key);
}


static int
copy_after(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s)
{
    if (s == 0) {
        return 0;
    }

    if (s3_set_delete(set, S3_CUTS_BUCKET, o->key) != S3_STORE_OK
        || !copy_match(set, o, 3, 1))
    {
        return -1;
    }

    return 3;
}


/* --- conditional writes --- */

typedef struct {
    s3_call_t    call;
    int          done;
} race_t;


static void
race_called(s3_call_t *call)
{
    race_t  *r = call->data;

    r->done = 1;
}


static int
race_done(void *data)
{
    race_t  *r = data;

    return r[0].done && r[1].done;
}


static s3_slice_t
slice(const void *p, size_t len)
{
    s3_slice_t  s;

    s.data = p;
    s.len = len;

    return s;
}


/* an inline put If-None-Match: * of the bytes of that seed */

static void
put_if(s3_set_t *set, s3_call_t *call, const s3_cuts_subject_t *o,
    uint64_t seed)
{
    uint8_t      etag[16], data[SIZE_INLINE];
    s3_commit_t  commit;

    s3_test_fill(data, SIZE_INLINE, seed);
    memset(etag, 7, sizeof(etag));
    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_PUT;
    commit.conditions = S3_IF_NONE_MATCH_ANY;
    commit.bucket = slice(S3_CUTS_BUCKET, strlen(S3_CUTS_BUCKET));
    commit.key = slice(o->key, strlen(o->key));
    commit.size = SIZE_INLINE;
    commit.etag = slice(etag, sizeof(etag));
    commit.is_inline = 1;
    commit.data = slice(data, SIZE_INLINE);
    s3_test_fill(commit.shard_id, 16, seed * 1000 + o->number + 1);

    assert_int_equal(s3_client_commit(set->client, call, &commit),
                     S3_STORE_OK);
}


static void
complete_if(s3_set_t *set, s3_call_t *call, const s3_cuts_subject_t *o)
{
    uint8_t      etag[20];
    s3_commit_t  commit;

    memset(etag, 9, sizeof(etag));
    memset(&commit, 0, sizeof(s3_commit_t));
    commit.op = S3_COMMIT_COMPLETE;
    commit.conditions = S3_IF_NONE_MATCH_ANY;
    commit.bucket = slice(S3_CUTS_BUCKET, strlen(S3_CUTS_BUCKET));
    commit.key = slice(o->key, strlen(o->key));
    memcpy(commit.upload_id, o->upload_id, 16);
    commit.parts = slice(o->refs, 2 * S3_PART_REF_LEN);
    commit.etag = slice(etag, sizeof(etag));
    commit.result = slice("result", 6);

    assert_int_equal(s3_client_commit(set->client, call, &commit),
                     S3_STORE_OK);
}


/* the one that was told so; there must be one */

static unsigned
race_won(s3_set_t *set, race_t *r)
{
    assert_true(s3_set_until(set, race_done, r, 10000));

    assert_int_equal(r[0].call.status == S3_STORE_OK,
                     r[1].call.status == S3_STORE_PRECONDITION_FAILED);
    assert_int_equal(r[1].call.status == S3_STORE_OK,
                     r[0].call.status == S3_STORE_PRECONDITION_FAILED);

    return r[0].call.status == S3_STORE_OK ? 1 : 2;
}


static void
race_init(race_t *r)
{
    memset(r, 0, 2 * sizeof(race_t));
    r[0].call.handler = r[1].call.handler = race_called;
    r[0].call.data = &r[0];
    r[1].call.data = &r[1];
}


static void
put_race_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    race_t  r[2];

    race_init(r);
    put_if(set, &r[0].call, o, o->seed);
    put_if(set, &r[1].call, o, o->seed + 100);

    o->winner = race_won(set, r);
}


static int
put_race_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    return s == 0 ? absent(set, o->key)
                  : reads(set, o->key,
                          o->winner == 1 ? o->seed : o->seed + 100,
                          SIZE_INLINE, 1);
}


/* one more, later: 412 where the key was won, and only there */

static int
put_race_after(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s)
{
    race_t  r[2];

    race_init(r);
    r[1].done = 1;
    put_if(set, &r[0].call, o, o->seed + 200);

    if (!s3_set_until(set, race_done, r, 10000)
        || r[0].call.status != (s == 0 ? S3_STORE_OK
                                       : S3_STORE_PRECONDITION_FAILED))
    {
        return -1;
    }

    return s == 0 ? (reads(set, o->key, o->seed + 200, SIZE_INLINE, 1)
                     ? 1 : -1)
                  : (put_race_match(set, o, 1, 1) ? 1 : -1);
}


/* who is sent first wins as a rule: by the number, the one or the other */

static void
complete_race_step(s3_set_t *set, s3_cuts_subject_t *o, unsigned s)
{
    race_t  r[2];

    race_init(r);

    if (o->number & 1) {
        put_if(set, &r[1].call, o, o->seed + 100);
        complete_if(set, &r[0].call, o);

    } else {
        complete_if(set, &r[0].call, o);
        put_if(set, &r[1].call, o, o->seed + 100);
    }

    o->winner = race_won(set, r);
}


static int
complete_race_match(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s,
    int whole)
{
    if (s == 1 && o->winner == 1) {
        return upload_completed(set, o, o->refs[0])
               && reads(set, o->key, o->seed, SIZE_PARTS, whole);
    }

    return upload_lists(set, o, o->refs, 2)
           && (s == 0 ? absent(set, o->key)
                      : reads(set, o->key, o->seed + 100, SIZE_INLINE, 1));
}


/* what lost, or never came, is complete without a condition */

static int
complete_race_after(s3_set_t *set, const s3_cuts_subject_t *o, unsigned s)
{
    if (s == 1 && o->winner == 1) {
        return 1;
    }

    return complete_listed(set, o)
           && reads(set, o->key, o->seed, SIZE_PARTS, 1) ? 1 : -1;
}


const s3_cuts_op_t  s3_cuts_ops[S3_CUTS_LAST] = {

    [S3_CUTS_PUT] = {
        .name = "put",
        .steps = 1,
        .writes = 1,
        .prepare = prepare_none,
        .step = put_step,
        .match = put_match,
        .keys = { 0, 1 },
        .shards = { 0, 1 },
    },

    [S3_CUTS_PUT_INLINE] = {
        .name = "put-inline",
        .steps = 1,
        .prepare = prepare_none,
        .step = put_inline_step,
        .match = put_inline_match,
        .keys = { 0, 1 },
    },

    [S3_CUTS_OVERWRITE] = {
        .name = "overwrite",
        .steps = 1,
        .writes = 1,
        .prepare = prepare_old,
        .step = overwrite_step,
        .match = overwrite_match,
        .keys = { 1, 1 },
        .shards = { 1, 1 },
    },

    [S3_CUTS_DELETE] = {
        .name = "delete",
        .steps = 1,
        .prepare = prepare_old,
        .step = delete_step,
        .match = delete_match,
        .keys = { 1, 0 },
        .shards = { 1, 0 },
    },

    [S3_CUTS_MULTIPART] = {
        .name = "multipart",
        .steps = 4,
        .writes = 2|4,
        .prepare = prepare_id,
        .step = multipart_step,
        .match = multipart_match,
        .after = multipart_after,
        .keys = { 0, 0, 0, 0, 1 },
        .shards = { 0, 0, 1, 2, 2 },
    },

    [S3_CUTS_PART_AGAIN] = {
        .name = "part-again",
        .steps = 2,
        .writes = 1,
        .prepare = prepare_parts,
        .step = part_again_step,
        .match = part_again_match,
        .after = part_again_after,
        .keys = { 0, 0, 1 },
        .shards = { 2, 2, 2 },
    },

    [S3_CUTS_ABORT] = {
        .name = "abort",
        .steps = 1,
        .prepare = prepare_parts,
        .step = abort_step,
        .match = abort_match,
        .after = abort_after,
        .shards = { 2, 0 },
    },

    [S3_CUTS_COPY] = {
        .name = "copy",
        .steps = 3,
        .writes = 2,
        .prepare = prepare_old,
        .step = copy_step,
        .match = copy_match,
        .after = copy_after,
        .keys = { 1, 2, 2, 1 },
        .shards = { 1, 1, 2, 1 },
    },

    [S3_CUTS_PUT_RACE] = {
        .name = "put-race",
        .steps = 1,
        .prepare = prepare_none,
        .step = put_race_step,
        .match = put_race_match,
        .after = put_race_after,
        .keys = { 0, 1 },
    },

    [S3_CUTS_COMPLETE_RACE] = {
        .name = "complete-race",
        .steps = 1,
        .prepare = prepare_whole,
        .step = complete_race_step,
        .match = complete_race_match,
        .after = complete_race_after,
        .keys = { 0, 1 },
        .shards = { 2, 2 },
    },
};
