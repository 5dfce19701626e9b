
/* messages, the socket's place, the shared page */


#include "s3_test.h"
#include "s3_page.h"
#include "s3_proto.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>


static void
test_proto_message(void **state)
{
    size_t    at;
    s3_buf_t  b;
    s3_msg_t  msg;

    static const uint8_t  bytes[] = {
        23, 0, 0, 0,  10, 0,  1, 0,  8, 7, 6, 5, 4, 3, 2, 1,  13, 0, 0, 0,
        'a', 'b', 'c'
    };

    memset(&b, 0, sizeof(s3_buf_t));

    /* not at the start: several stand in one buffer */

    s3_buf_u8(&b, 0xff);

    at = s3_msg_begin(&b, S3_MSG_ANSWER, 0x0102030405060708ULL, 13);
    assert_int_equal(at, 1);
    s3_buf_bytes(&b, "abc", 3);
    s3_msg_end(&b, at);

    assert_int_equal(b.error, 0);
    assert_int_equal(b.len, 1 + sizeof(bytes));
    assert_memory_equal(b.data + 1, bytes, sizeof(bytes));

    assert_int_equal(s3_msg_parse(b.data + 1, b.len - 1, 23, &msg), 23);
    assert_int_equal(msg.length, 23);
    assert_int_equal(msg.type, S3_MSG_ANSWER);
    assert_int_equal(msg.version, S3_PROTO_VERSION);
    assert_true(msg.request == 0x0102030405060708ULL);
    assert_int_equal(msg.status, 13);

    s3_buf_free(&b);
}


static void
test_proto_parse(void **state)
{
    size_t    i;
    s3_msg_t  msg;
    uint8_t   bytes[24] = { 24, 0, 0, 0, 3, 0, 1, 0 };

    for (i = 0; i < 24; i++) {
        assert_int_equal(s3_msg_parse(bytes, i, 1000, &msg), 0);
    }

    assert_int_equal(s3_msg_parse(bytes, 24, 1000, &msg), 24);

    /* over the bound: said as soon as the header is there */

    assert_int_equal(s3_msg_parse(bytes, 20, 23, &msg), -1);

    bytes[0] = 19;
    assert_int_equal(s3_msg_parse(bytes, 24, 1000, &msg), -1);

    bytes[0] = 0;
    assert_int_equal(s3_msg_parse(bytes, 24, 1000, &msg), -1);

    bytes[0] = 20;
    assert_int_equal(s3_msg_parse(bytes, 24, 1000, &msg), 20);

    bytes[6] = 2;
    assert_int_equal(s3_msg_parse(bytes, 24, 1000, &msg), -1);

    bytes[6] = 1;
    bytes[3] = 0xff;
    assert_int_equal(s3_msg_parse(bytes, 24, S3_PROTO_MAX_ANSWER, &msg), -1);
}


/* a directory deeper than sun_path is long, and one listener after another */

static void
test_proto_socket(void **state)
{
    int    first, second, fd, peer;
    char  *dir, path[512];
    char   c;

    dir = s3_test_dir();
    (void) snprintf(path, sizeof(path), "%s/%0100d", dir, 1);
    assert_int_equal(mkdir(path, 0700), 0);
    (void) strcat(path, "/");
    (void) memset(path + strlen(path), 'x', 100);
    path[strlen(dir) + 1 + 100 + 1 + 100] = '\0';
    assert_int_equal(mkdir(path, 0700), 0);

    assert_int_equal(s3_proto_connect(path, "main"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(s3_proto_connect("/nonexistent", "main"), -1);
    assert_int_equal(errno, ENOENT);

    first = s3_proto_listen(path, "main");
    assert_int_not_equal(first, -1);

    fd = s3_proto_connect(path, "main");
    assert_int_not_equal(fd, -1);
    peer = accept(first, NULL, NULL);
    assert_int_not_equal(peer, -1);
    assert_int_equal(send(fd, "1", 1, 0), 1);
    assert_int_equal(recv(peer, &c, 1, 0), 1);
    (void) close(peer);
    (void) close(fd);

    /* the next one takes the name over; the first one's queue is its own */

    second = s3_proto_listen(path, "main");
    assert_int_not_equal(second, -1);

    fd = s3_proto_connect(path, "main");
    assert_int_not_equal(fd, -1);
    assert_int_equal(accept(first, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    peer = accept(second, NULL, NULL);
    assert_int_not_equal(peer, -1);
    (void) close(peer);
    (void) close(fd);

    (void) close(second);
    assert_int_equal(s3_proto_connect(path, "main"), -1);
    assert_int_equal(errno, ECONNREFUSED);

    (void) close(first);
    s3_test_dir_free(dir);
}


static void
test_page_map(void **state)
{
    int            fd;
    char          *dir, path[256];
    uint32_t       change;
    struct stat    st;
    s3_page_t     *page, *other;
    s3_page_set_t  set, copy;

    dir = s3_test_dir();

    page = s3_page_map(dir, "main");
    assert_non_null(page);
    other = s3_page_map(dir, "main");
    assert_non_null(other);

    (void) snprintf(path, sizeof(path), "%s/main.page", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, sizeof(s3_page_t));
    assert_true((size_t) st.st_blocks * 512 >= sizeof(s3_page_t));

    assert_int_equal(s3_page_read(other, &copy, &change), 0);
    assert_int_equal(change, 0);

    s3_test_fill(&set, sizeof(set), 1);
    s3_page_write(page, &set);
    assert_int_equal(s3_page_read(other, &copy, &change), 0);
    assert_int_equal(change, 2);
    assert_memory_equal(&copy, &set, sizeof(set));

    /* a writer died in the middle; the next one mends it */

    atomic_store(&page->change, 3);
    assert_int_equal(s3_page_read(other, &copy, &change), -1);
    s3_page_write(page, &set);
    assert_int_equal(s3_page_read(other, &copy, &change), 0);
    assert_int_equal(change, 4);

    s3_page_unmap(page);
    s3_page_unmap(other);

    /* what it said is there for the next one, but not for another version */

    page = s3_page_map(dir, "main");
    assert_non_null(page);
    assert_int_equal(page->change, 4);
    page->magic++;
    s3_page_unmap(page);

    assert_null(s3_page_map(dir, "main"));
    assert_int_equal(errno, EPROTO);

    fd = open(path, O_WRONLY|O_TRUNC);
    assert_int_not_equal(fd, -1);
    assert_int_equal(ftruncate(fd, sizeof(s3_page_t) + 1), 0);
    (void) close(fd);

    assert_null(s3_page_map(dir, "main"));
    assert_int_equal(errno, EPROTO);

    s3_test_dir_free(dir);
}


#define WRITES  20000


static void *
page_writer(void *data)
{
    s3_page_t *page = data;

    unsigned       i;
    s3_page_set_t  set;

    for (i = 1; i <= WRITES; i++) {
        memset(&set, (int) (i & 0xff), sizeof(set));
        s3_page_write(page, &set);
    }

    return NULL;
}


/* every copy is of one write */

static void
test_page_torn(void **state)
{
    char          *dir;
    size_t         i;
    uint32_t       change;
    unsigned       n;
    pthread_t      tid;
    s3_page_t     *page;
    s3_page_set_t  set;

    dir = s3_test_dir();
    page = s3_page_map(dir, "main");
    assert_non_null(page);

    assert_int_equal(pthread_create(&tid, NULL, page_writer, page), 0);

    n = 0;

    do {
        if (s3_page_read(page, &set, &change) == -1) {
            continue;
        }

        for (i = 0; i < sizeof(set); i++) {
            if (((uint8_t *) &set)[i] != (uint8_t) (change / 2)) {
                fail_msg("byte %zu of write %u is torn", i, change / 2);
            }
        }

        n++;

    } while (change != 2 * WRITES);

    assert_int_equal(pthread_join(tid, NULL), 0);
    assert_true(n > 0);

    s3_page_unmap(page);
    s3_test_dir_free(dir);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_proto_message),
        cmocka_unit_test(test_proto_parse),
        cmocka_unit_test(test_proto_socket),
        cmocka_unit_test(test_page_map),
        cmocka_unit_test(test_page_torn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
