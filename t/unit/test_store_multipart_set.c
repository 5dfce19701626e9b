
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


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_multipart_degraded),
        cmocka_unit_test(test_multipart_garbage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
