
/* format files and the record off the disks */


#include "s3_test.h"
#include "s3_door.h"
#include "s3_format.h"


static char        *dir;
static int          root;
static s3_door_t    door;
static unsigned     calls, fail;


static int
setup(void **state)
{
    dir = s3_test_dir();
    root = open(dir, O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(root, -1);

    return 0;
}


static int
teardown(void **state)
{
    s3_door = &s3_door_system;
    (void) close(root);
    s3_test_dir_free(dir);

    return 0;
}


static void
format_fill(s3_format_t *f)
{
    memset(f, 0, sizeof(s3_format_t));
    s3_test_fill(f->set_id, 16, 1);
    s3_test_fill(f->disk_id, 16, 2);
    f->slot = 3;
    f->ndisks = 4;
    f->parity = 2;
}


static void
put_file(const char *name, const void *p, size_t len)
{
    int  fd;

    fd = openat(root, name, O_WRONLY|O_CREAT|O_TRUNC, 0600);
    assert_int_not_equal(fd, -1);
    assert_int_equal(write(fd, p, len), len);
    (void) close(fd);
}


static size_t
get_file(const char *name, char *p, size_t max)
{
    int      fd;
    ssize_t  n;

    fd = openat(root, name, O_RDONLY);
    assert_int_not_equal(fd, -1);
    n = read(fd, p, max);
    assert_true(n >= 0);
    (void) close(fd);

    return n;
}


static void
test_format_write_read(void **state)
{
    struct stat  st;
    s3_format_t  f, g;

    assert_int_equal(s3_format_read(root, &g), ENOENT);

    format_fill(&f);

    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_read(root, &g), 0);
    assert_memory_equal(&f, &g, sizeof(s3_format_t));

    f.formed = 1;

    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_read(root, &g), 0);
    assert_memory_equal(&f, &g, sizeof(s3_format_t));

    assert_int_equal(fstatat(root, "data", &st, 0), 0);
    assert_int_equal(fstatat(root, "tmp", &st, 0), 0);
    assert_int_equal(fstatat(root, "format.new", &st, 0), -1);
}


/* whatever single bit flips, it is no other disk's */

static void
test_format_flipped(void **state)
{
    int          rc;
    char         text[1024];
    size_t       i, len;
    unsigned     bit;
    s3_format_t  f, g;

    format_fill(&f);
    assert_int_equal(s3_format_write(root, &f), 0);
    len = get_file("format", text, sizeof(text));
    assert_true(len > 100 && len < sizeof(text));

    for (i = 0; i < len - 1; i++) {
        for (bit = 0; bit < 8; bit++) {

            text[i] ^= (char) (1 << bit);
            put_file("format", text, len);
            rc = s3_format_read(root, &g);

            if (rc != EBADMSG) {
                fail_msg("bit %u of byte %zu flipped: %d", bit, i, rc);
            }

            text[i] ^= (char) (1 << bit);
        }
    }

    /* cut short */

    for (i = 0; i < len - 1; i++) {
        put_file("format", text, i);
        assert_int_equal(s3_format_read(root, &g), EBADMSG);
    }
}


static void
test_format_no_file(void **state)
{
    char         big[9000];
    s3_format_t  f;

    memset(big, ' ', sizeof(big));
    put_file("format", big, sizeof(big));
    assert_int_equal(s3_format_read(root, &f), EBADMSG);
    assert_int_equal(unlinkat(root, "format", 0), 0);

    assert_int_equal(mkdirat(root, "format", 0700), 0);
    assert_int_equal(s3_format_read(root, &f), EBADMSG);
    assert_int_equal(unlinkat(root, "format", AT_REMOVEDIR), 0);

    /* must not wait for a writer */

    assert_int_equal(mkfifoat(root, "format", 0700), 0);
    assert_int_equal(s3_format_read(root, &f), EBADMSG);
    assert_int_equal(unlinkat(root, "format", 0), 0);

    assert_int_equal(symlinkat("elsewhere", root, "format"), 0);
    assert_int_equal(s3_format_read(root, &f), EBADMSG);
}


static void
test_format_bounds(void **state)
{
    s3_format_t  f, g;

    format_fill(&f);
    f.slot = 4;
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_read(root, &g), EBADMSG);

    format_fill(&f);
    f.parity = 3;
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_read(root, &g), EBADMSG);

    format_fill(&f);
    f.ndisks = 33;
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_read(root, &g), EBADMSG);

    format_fill(&f);
    f.ndisks = 32;
    f.slot = 31;
    f.parity = 16;
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_read(root, &g), 0);
}


static void
test_format_empty(void **state)
{
    s3_format_t  f;

    assert_int_equal(s3_format_empty(root), 0);

    assert_int_equal(mkdirat(root, "lost+found", 0700), 0);
    assert_int_equal(s3_format_empty(root), 0);

    /* cut in the middle of the first format */

    assert_int_equal(mkdirat(root, "data", 0700), 0);
    assert_int_equal(mkdirat(root, "tmp", 0700), 0);
    put_file("format.new", "{", 1);
    assert_int_equal(s3_format_empty(root), 0);

    put_file("tmp/x", "", 0);
    assert_int_equal(s3_format_empty(root), ENOTEMPTY);
    assert_int_equal(unlinkat(root, "tmp/x", 0), 0);

    put_file("x", "", 0);
    assert_int_equal(s3_format_empty(root), ENOTEMPTY);
    assert_int_equal(unlinkat(root, "x", 0), 0);

    assert_int_equal(unlinkat(root, "tmp", AT_REMOVEDIR), 0);
    put_file("tmp", "", 0);
    assert_int_equal(s3_format_empty(root), ENOTEMPTY);
    assert_int_equal(unlinkat(root, "tmp", 0), 0);
    assert_int_equal(s3_format_empty(root), 0);

    format_fill(&f);
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_empty(root), ENOTEMPTY);
}


static void
test_format_check(void **state)
{
    s3_format_t  f, g;

    assert_int_equal(s3_format_check("/nonexistent", 4, 2, &g), 0);
    assert_int_equal(s3_format_check(dir, 4, 2, &g), 0);

    format_fill(&f);
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(s3_format_check(dir, 4, 2, &g), 0);

    assert_int_equal(s3_format_check(dir, 4, 1, &g), EINVAL);
    assert_int_equal(g.ndisks, 4);
    assert_int_equal(g.parity, 2);
    assert_int_equal(s3_format_check(dir, 5, 2, &g), EINVAL);

    /* the state of a disk fails no configuration */

    put_file("format", "garbage", 7);
    assert_int_equal(s3_format_check(dir, 5, 2, &g), 0);
}


/* the n-th call fails */

static int
failing(void)
{
    if (++calls == fail) {
        errno = EIO;
        return 1;
    }

    return 0;
}


static int
door_openat(int fd, const char *name, int flags, mode_t mode)
{
    return failing() ? -1 : s3_door_system.openat(fd, name, flags, mode);
}


static ssize_t
door_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    return failing() ? -1 : s3_door_system.pwrite(fd, buf, size, offset);
}


static int
door_fsync(int fd)
{
    return failing() ? -1 : s3_door_system.fsync(fd);
}


static int
door_renameat(int a, const char *from, int b, const char *to)
{
    return failing() ? -1 : s3_door_system.renameat(a, from, b, to);
}


static void
test_format_fails(void **state)
{
    int          rc;
    struct stat  st;
    s3_format_t  old, f, g;

    format_fill(&old);
    assert_int_equal(s3_format_write(root, &old), 0);

    f = old;
    f.formed = 1;

    door = s3_door_system;
    door.openat = door_openat;
    door.pwrite = door_pwrite;
    door.fsync = door_fsync;
    door.renameat = door_renameat;

    for (fail = 1; fail < 100; fail++) {
        calls = 0;
        s3_door = &door;
        rc = s3_format_write(root, &f);
        s3_door = &s3_door_system;

        assert_int_equal(s3_format_read(root, &g), 0);
        assert_int_equal(fstatat(root, "format.new", &st, 0), -1);

        if (rc == 0) {
            assert_memory_equal(&g, &f, sizeof(s3_format_t));
            break;
        }

        assert_int_equal(rc, EIO);
        assert_int_equal(s3_format_write(root, &old), 0);
    }

    /* open, write, sync, rename, sync of the directory */

    assert_int_equal(fail, 6);
}


static void
test_record(void **state)
{
    char             text[1024];
    size_t           len;
    unsigned         i;
    s3_set_record_t  r, s;

    assert_int_equal(s3_set_record_read(dir, "main", &s), ENOENT);
    assert_int_equal(s3_set_record_read("/nonexistent", "main", &s), ENOENT);

    memset(&r, 0, sizeof(s3_set_record_t));
    s3_test_fill(r.set_id, 16, 1);
    r.ndisks = 5;
    r.parity = 2;

    for (i = 0; i < 5; i++) {
        s3_test_fill(r.disk_ids[i], 16, 10 + i);
    }

    assert_int_equal(s3_set_record_write(dir, "main", &r), 0);
    assert_int_equal(s3_set_record_read(dir, "main", &s), 0);
    assert_memory_equal(&r, &s, sizeof(s3_set_record_t));
    assert_int_equal(s3_set_record_read(dir, "other", &s), ENOENT);

    len = get_file("main.json", text, sizeof(text));

    for (i = 0; i < len - 1; i++) {
        text[i] ^= 1;
        put_file("main.json", text, len);
        assert_int_equal(s3_set_record_read(dir, "main", &s), EBADMSG);
        text[i] ^= 1;
    }

    r.ndisks = 33;
    assert_int_equal(s3_set_record_write(dir, "main", &r), EINVAL);
    r.ndisks = 0;
    assert_int_equal(s3_set_record_write(dir, "main", &r), EINVAL);
}


/* each kind of file is taken for itself only */

static void
test_record_is_no_format(void **state)
{
    s3_format_t      f;
    s3_set_record_t  r;

    format_fill(&f);
    assert_int_equal(s3_format_write(root, &f), 0);
    assert_int_equal(renameat(root, "format", root, "main.json"), 0);
    assert_int_equal(s3_set_record_read(dir, "main", &r), EBADMSG);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test_setup_teardown(test_format_write_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_format_flipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_format_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_is_no_format, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
