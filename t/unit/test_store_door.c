
#include "s3_test.h"
#include "s3_door.h"

#include <stddef.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>


/* a door whose reads and writes stumble: short counts, EINTR, errors */

static s3_door_t   door_test;
static size_t      door_chunk;
static unsigned    door_calls, door_fail, door_eintr;
static int         door_errno;


static int
door_stumble(size_t *size)
{
    door_calls++;

    if (door_eintr && door_calls % door_eintr == 0) {
        errno = EINTR;
        return -1;
    }

    if (door_fail && door_calls == door_fail) {
        errno = door_errno;
        return -1;
    }

    if (*size > door_chunk) {
        *size = door_chunk;
    }

    return 0;
}


static ssize_t
door_pread(int fd, void *buf, size_t size, off_t offset)
{
    return door_stumble(&size) ? -1 : pread(fd, buf, size, offset);
}


static ssize_t
door_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    return door_stumble(&size) ? -1 : pwrite(fd, buf, size, offset);
}


static int
door_setup(void **state)
{
    door_test = s3_door_system;
    door_test.pread = door_pread;
    door_test.pwrite = door_pwrite;
    s3_door = &door_test;

    door_chunk = 7;
    door_calls = 0;
    door_fail = 0;
    door_eintr = 0;
    door_errno = 0;

    *state = s3_test_dir();

    return 0;
}


static int
door_teardown(void **state)
{
    s3_door = &s3_door_system;
    s3_test_dir_free(*state);

    return 0;
}


static int
door_open_dir(void **state)
{
    int  dir;

    dir = open(*state, O_RDONLY|O_DIRECTORY);
    assert_int_not_equal(dir, -1);

    return dir;
}


static void
short_counts(void **state)
{
    int   dir, fd;
    char  in[1000], out[1000];

    dir = door_open_dir(state);
    fd = s3_door->openat(dir, "f", O_CREAT|O_RDWR, 0600);
    assert_int_not_equal(fd, -1);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);

    s3_test_fill(in, sizeof(in), 1);
    memset(out, 0, sizeof(out));

    door_eintr = 3;

    assert_int_equal(s3_door_write_all(fd, in, sizeof(in), 5), 0);
    assert_int_equal(s3_door_read_all(fd, out, sizeof(out), 5), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_true(door_calls > 2 * 1000 / 7);

    assert_int_equal(s3_door_write_all(fd, in, 0, 0), 0);
    assert_int_equal(s3_door_read_all(fd, out, 0, 4096), 0);

    close(fd);
    close(dir);
}


static void
end_of_file(void **state)
{
    int   dir, fd;
    char  buf[100];

    dir = door_open_dir(state);
    fd = s3_door->openat(dir, "f", O_CREAT|O_RDWR, 0600);

    memset(buf, 'x', sizeof(buf));
    assert_int_equal(s3_door_write_all(fd, buf, sizeof(buf), 0), 0);

    errno = 0;
    assert_int_equal(s3_door_read_all(fd, buf, sizeof(buf), 1), -1);
    assert_int_equal(errno, EIO);

    /* a write that takes nothing is no reason to try for ever */

    door_chunk = 0;
    errno = 0;
    assert_int_equal(s3_door_write_all(fd, buf, sizeof(buf), 0), -1);
    assert_int_equal(errno, EIO);

    close(fd);
    close(dir);
}


static void
errors_at_every_call(void **state)
{
    int       dir, fd, rc;
    char      buf[100];
    unsigned  n;

    dir = door_open_dir(state);
    fd = s3_door->openat(dir, "f", O_CREAT|O_RDWR, 0600);

    memset(buf, 'x', sizeof(buf));
    door_errno = ENOSPC;

    for (n = 1; /* void */ ; n++) {
        door_calls = 0;
        door_fail = n;
        errno = 0;
        rc = s3_door_write_all(fd, buf, sizeof(buf), 0);

        if (rc == 0) {
            break;
        }

        assert_int_equal(errno, ENOSPC);
        assert_int_equal(door_calls, n);
    }

    assert_int_equal(n, 100 / 7 + 2);

    door_errno = EIO;

    for (n = 1; /* void */ ; n++) {
        door_calls = 0;
        door_fail = n;
        errno = 0;
        rc = s3_door_read_all(fd, buf, sizeof(buf), 0);

        if (rc == 0) {
            break;
        }

        assert_int_equal(errno, EIO);
    }

    assert_int_equal(n, 100 / 7 + 2);

    close(fd);
    close(dir);
}


typedef struct {
    unsigned  seen;      /* bits of "0" .. "9" */
    unsigned  calls;
    unsigned  end;       /* after so many */
} door_names_t;


static int
door_name(void *data, const char *name)
{
    door_names_t *names = data;

    assert_int_equal(strlen(name), 1);
    assert_in_range(name[0], '0', '9');

    names->seen |= 1u << (name[0] - '0');
    names->calls++;

    return names->calls == names->end;
}


static void
list(void **state)
{
    int           dir, fd, i;
    char          name[2];
    door_names_t  names;

    dir = door_open_dir(state);

    memset(&names, 0, sizeof(names));
    assert_int_equal(s3_door->list(dir, door_name, &names), 0);
    assert_int_equal(names.calls, 0);

    for (i = 0; i < 10; i++) {
        name[0] = (char) ('0' + i);
        name[1] = '\0';

        if (i % 2) {
            fd = s3_door->openat(dir, name, O_CREAT|O_WRONLY, 0600);
            assert_int_not_equal(fd, -1);
            s3_door->close(fd);

        } else {
            assert_int_equal(s3_door->mkdirat(dir, name, 0700), 0);
        }
    }

    /* twice over the same descriptor: each from the start */

    for (i = 0; i < 2; i++) {
        memset(&names, 0, sizeof(names));
        assert_int_equal(s3_door->list(dir, door_name, &names), 0);
        assert_int_equal(names.seen, 0x3ff);
        assert_int_equal(names.calls, 10);
    }

    memset(&names, 0, sizeof(names));
    names.end = 3;
    assert_int_equal(s3_door->list(dir, door_name, &names), 0);
    assert_int_equal(names.calls, 3);

    fd = s3_door->openat(dir, "1", O_RDONLY, 0);
    errno = 0;
    assert_int_equal(s3_door->list(fd, door_name, &names), -1);
    assert_int_equal(errno, ENOTDIR);

    close(fd);
    close(dir);
}


static void
system_calls(void **state)
{
    int             dir, fd, other;
    struct stat     st;
    struct statvfs  vfs;

    dir = door_open_dir(state);

    fd = s3_door->openat(dir, "a", O_CREAT|O_RDWR, 0600);
    assert_int_equal(s3_door->ftruncate(fd, 10), 0);
    assert_int_equal(s3_door->fallocate(fd, 0, 0, 100), 0);
    assert_int_equal(s3_door->fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 100);
    assert_int_equal(s3_door->fdatasync(fd), 0);
    assert_int_equal(s3_door->fsync(dir), 0);
    assert_int_equal(s3_door->fstatvfs(fd, &vfs), 0);
    assert_true(vfs.f_bsize > 0);

    other = s3_door->openat(dir, "a", O_RDWR, 0);
    assert_int_equal(s3_door->flock(fd, LOCK_EX|LOCK_NB), 0);
    assert_int_equal(s3_door->flock(other, LOCK_EX|LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);

    assert_int_equal(s3_door->renameat(dir, "a", dir, "b"), 0);
    assert_int_equal(s3_door->fstatat(dir, "a", &st, 0), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(s3_door->fstatat(dir, "b", &st, 0), 0);
    assert_int_equal(s3_door->unlinkat(dir, "b", 0), 0);

    assert_int_equal(s3_door->close(fd), 0);
    assert_int_equal(s3_door->close(other), 0);
    close(dir);
}


/*
 * DIR/d/s/f, DIR/real/s/g, and links: DIR/d/l to f, DIR/to to real, DIR/d/to
 * to real/s.  0, or the line that says what is not as it must be.
 */

#define DOOR_MUST(cond)                                                       \
    if (!(cond)) {                                                            \
        return __LINE__;                                                      \
    }

#define DOOR_LED_OFF(call)                                                    \
    DOOR_MUST((call) == -1 && (errno == ELOOP || errno == ENOTDIR))

static int
door_links(int dir)
{
    int          fd, sub;
    char         c;
    struct stat  st;

    fd = s3_door->openat(dir, "d/s/f", O_RDWR, 0);
    DOOR_MUST(fd != -1);
    DOOR_MUST(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    DOOR_MUST(pread(fd, &c, 1, 0) == 1 && c == 'f');
    close(fd);

    fd = s3_door->openat(dir, "d/s/n", O_CREAT|O_EXCL|O_RDWR, 0640);
    DOOR_MUST(fd != -1 && fstat(fd, &st) == 0);
    DOOR_MUST((st.st_mode & 07777) == 0640);
    close(fd);

    DOOR_MUST(s3_door->openat(dir, "d/s/x", O_RDONLY, 0) == -1
              && errno == ENOENT);
    DOOR_MUST(s3_door->openat(dir, "d/x/f", O_RDONLY, 0) == -1
              && errno == ENOENT);
    DOOR_MUST(s3_door->openat(dir, "/etc/passwd", O_RDONLY, 0) == -1);

    /* at the end of a name and before it */

    DOOR_LED_OFF(s3_door->openat(dir, "d/l", O_RDONLY, 0));
    DOOR_LED_OFF(s3_door->openat(dir, "to", O_RDONLY|O_DIRECTORY, 0));
    DOOR_LED_OFF(s3_door->openat(dir, "to/s/g", O_RDONLY, 0));
    DOOR_LED_OFF(s3_door->openat(dir, "d/to/g", O_RDONLY, 0));
    DOOR_LED_OFF(s3_door->openat(dir, "d/to/n", O_CREAT|O_WRONLY, 0600));
    DOOR_LED_OFF(s3_door->fstatat(dir, "d/to/g", &st, 0));
    DOOR_LED_OFF(s3_door->unlinkat(dir, "d/to/g", 0));
    DOOR_LED_OFF(s3_door->unlinkat(dir, "to/s", AT_REMOVEDIR));
    DOOR_LED_OFF(s3_door->mkdirat(dir, "d/to/m", 0700));
    DOOR_LED_OFF(s3_door->renameat(dir, "d/s/n", dir, "d/to/n"));
    DOOR_LED_OFF(s3_door->renameat(dir, "d/to/g", dir, "d/s/g"));

    /* what is renamed and removed is the link, what is looked at, too */

    DOOR_MUST(s3_door->fstatat(dir, "d/l", &st, 0) == 0
              && S_ISLNK(st.st_mode));
    DOOR_MUST(s3_door->renameat(dir, "d/l", dir, "d/s/k") == 0);
    DOOR_MUST(s3_door->unlinkat(dir, "d/s/k", 0) == 0);

    sub = s3_door->openat(dir, "d/s", O_RDONLY|O_DIRECTORY, 0);
    DOOR_MUST(sub != -1);
    DOOR_MUST(s3_door->renameat(sub, "n", dir, "d/m") == 0);
    DOOR_MUST(s3_door->fstatat(dir, "d/m", &st, 0) == 0);
    DOOR_MUST(s3_door->mkdirat(dir, "d/s/d", 0700) == 0);
    DOOR_MUST(s3_door->unlinkat(dir, "d/s/d", AT_REMOVEDIR) == 0);
    close(sub);

    return fstatat(dir, "real/s/g", &st, 0) == 0 ? 0 : __LINE__;
}


static void
door_links_make(int dir)
{
    int  fd;

    assert_int_equal(mkdirat(dir, "d", 0700), 0);
    assert_int_equal(mkdirat(dir, "d/s", 0700), 0);
    assert_int_equal(mkdirat(dir, "real", 0700), 0);
    assert_int_equal(mkdirat(dir, "real/s", 0700), 0);

    fd = openat(dir, "d/s/f", O_CREAT|O_WRONLY, 0600);
    assert_int_equal(write(fd, "f", 1), 1);
    close(fd);

    fd = openat(dir, "real/s/g", O_CREAT|O_WRONLY, 0600);
    assert_int_not_equal(fd, -1);
    close(fd);

    assert_int_equal(symlinkat("s/f", dir, "d/l"), 0);
    assert_int_equal(symlinkat("real", dir, "to"), 0);
    assert_int_equal(symlinkat("../real/s", dir, "d/to"), 0);
}


static void
links(void **state)
{
    int  dir;

    dir = door_open_dir(state);
    door_links_make(dir);

    assert_int_equal(door_links(dir), 0);

    close(dir);
}


/* a kernel, or a container, without openat2() */

static void
links_by_parts(int err, void **state)
{
    int                 dir, status;
    pid_t               pid;
    struct sock_fprog   program;
    struct sock_filter  filter[] = {
        BPF_STMT(BPF_LD|BPF_W|BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ERRNO | (unsigned) err),
        BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ALLOW),
    };

    dir = door_open_dir(state);
    door_links_make(dir);

    pid = fork();
    assert_int_not_equal(pid, -1);

    if (pid == 0) {
        program.len = sizeof(filter) / sizeof(filter[0]);
        program.filter = filter;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1
            || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == -1
            || syscall(SYS_openat2, dir, "d", NULL, 0) != -1 || errno != err)
        {
            _exit(2);
        }

        status = door_links(dir);

        if (status) {
            fprintf(stderr, "line %d\n", status);
        }

        _exit(status != 0);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    close(dir);
}


static void
links_of_an_old_kernel(void **state)
{
    links_by_parts(ENOSYS, state);
}


static void
links_where_a_filter_refuses(void **state)
{
    links_by_parts(EPERM, state);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(short_counts, door_setup,
                                        door_teardown),
        cmocka_unit_test_setup_teardown(end_of_file, door_setup,
                                        door_teardown),
        cmocka_unit_test_setup_teardown(errors_at_every_call, door_setup,
                                        door_teardown),
        cmocka_unit_test_setup_teardown(list, door_setup, door_teardown),
        cmocka_unit_test_setup_teardown(system_calls, door_setup,
                                        door_teardown),
        cmocka_unit_test_setup_teardown(links, door_setup, door_teardown),
        cmocka_unit_test_setup_teardown(links_of_an_old_kernel, door_setup,
                                        door_teardown),
        cmocka_unit_test_setup_teardown(links_where_a_filter_refuses,
                                        door_setup, door_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
