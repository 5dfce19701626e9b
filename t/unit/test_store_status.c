
/* The store process's status: what others read while it is written. */

#include "s3_test.h"
#include "s3_status.h"

#include <fcntl.h>
#include <pthread.h>


#define STATUS_WRITES  20000


static void
nothing_written(void **state)
{
    char              *dir;
    s3_status_t        status;
    s3_status_page_t  *page;

    dir = s3_test_dir();
    page = s3_status_map(dir, "main");
    assert_non_null(page);

    assert_int_equal(s3_status_read(page, &status), -1);

    s3_status_unmap(page);
    s3_test_dir_free(dir);
}


static void
written_and_read(void **state)
{
    char              *dir;
    s3_status_t        in, out;
    s3_status_page_t  *page, *other;

    dir = s3_test_dir();
    page = s3_status_map(dir, "main");
    other = s3_status_map(dir, "main");
    assert_non_null(page);
    assert_non_null(other);

    memset(&in, 0, sizeof(s3_status_t));
    in.updated = 1;
    in.ndisks = 1;
    in.counts.known = 1 << S3_COUNT_SHARDS_REPAIRED;
    in.counts.value[S3_COUNT_SHARDS_REPAIRED] = 7;
    strcpy(in.disks[0].path, "/srv/d1");

    s3_status_write(page, &in);

    assert_int_equal(s3_status_read(other, &out), 0);
    assert_memory_equal(&in, &out, sizeof(s3_status_t));

    /* what makes no sense is not taken, or bounded */

    in.ndisks = S3_MAX_DISKS + 1;
    s3_status_write(page, &in);
    assert_int_equal(s3_status_read(other, &out), -1);

    in.ndisks = S3_MAX_DISKS;
    memset(in.disks[0].path, 'x', S3_STATUS_PATH);
    memset(in.disks[31].reason, 'y', S3_STATUS_REASON);
    s3_status_write(page, &in);
    assert_int_equal(s3_status_read(other, &out), 0);
    assert_int_equal(strlen(out.disks[0].path), S3_STATUS_PATH - 1);
    assert_int_equal(strlen(out.disks[31].reason), S3_STATUS_REASON - 1);

    s3_status_unmap(other);
    s3_status_unmap(page);
    s3_test_dir_free(dir);
}


/* the one who writes died in the middle: nobody reads until another writes */

static void
half_written(void **state)
{
    char              *dir;
    s3_status_t        status;
    s3_status_page_t  *page;

    dir = s3_test_dir();
    page = s3_status_map(dir, "main");
    assert_non_null(page);

    memset(&status, 0, sizeof(s3_status_t));
    status.updated = 1;
    s3_status_write(page, &status);

    page->change++;
    assert_int_equal(s3_status_read(page, &status), -1);

    status.updated = 2;
    s3_status_write(page, &status);
    assert_int_equal(s3_status_read(page, &status), 0);
    assert_int_equal(status.updated, 2);

    s3_status_unmap(page);
    s3_test_dir_free(dir);
}


static void
other_formats(void **state)
{
    int                fd;
    char              *dir, path[4096];
    s3_status_page_t  *page;

    static const uint64_t  magic = 0x32746174735f3373ULL;     /* s3_stat2 */

    dir = s3_test_dir();
    (void) snprintf(path, sizeof(path), "%s/main." S3_STATUS_SUFFIX, dir);

    fd = open(path, O_RDWR|O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, &magic, 8), 8);

    page = s3_status_map(dir, "main");
    assert_null(page);
    assert_int_equal(errno, EPROTO);

    /* of a larger one */

    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, sizeof(s3_status_page_t) + 1), 0);

    page = s3_status_map(dir, "main");
    assert_null(page);
    assert_int_equal(errno, EPROTO);

    close(fd);
    s3_test_dir_free(dir);
}


static void *
status_writer(void *data)
{
    unsigned      i;
    s3_status_t   status;

    for (i = 1; i <= STATUS_WRITES; i++) {
        memset(&status, i & 0xff, sizeof(s3_status_t));
        status.updated = i;
        status.ndisks = S3_MAX_DISKS;
        s3_status_write(data, &status);
    }

    return NULL;
}


/* what is read was written at one moment */

static void
never_torn(void **state)
{
    char              *dir;
    unsigned           n, read;
    pthread_t          tid;
    s3_status_t        status;
    s3_status_page_t  *page;

    dir = s3_test_dir();
    page = s3_status_map(dir, "main");
    assert_non_null(page);

    assert_int_equal(pthread_create(&tid, NULL, status_writer, page), 0);

    read = 0;

    do {
        if (s3_status_read(page, &status) != 0) {
            continue;
        }

        read++;
        memset(&n, status.updated & 0xff, sizeof(n));
        assert_int_equal(status.disks[0].state, n);
        assert_int_equal(status.disks[S3_MAX_DISKS - 1].operations, n);
        assert_int_equal((uint8_t) status.generation,
                         status.updated & 0xff);

    } while (read == 0 || status.updated != STATUS_WRITES);

    assert_int_equal(pthread_join(tid, NULL), 0);

    s3_status_unmap(page);
    s3_test_dir_free(dir);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_written),
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(half_written),
        cmocka_unit_test(other_formats),
        cmocka_unit_test(never_torn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
