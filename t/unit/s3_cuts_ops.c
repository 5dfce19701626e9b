
/* The operations of s3_cuts.h. */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_cuts.h"

#include <string.h>


#define SIZE_INLINE   3000
#define SIZE_OLD      80000
#define SIZE_NEW      90000           /* one stripe */
#define SIZE_STRIPES  1100000         /* two */


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
};
