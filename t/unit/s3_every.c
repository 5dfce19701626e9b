
/* Faults at the n-th call (s3_every.h). */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_test.h"
#include "s3_every.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>
#include <sqlite3.h>

#include "s3_door.h"
#include "s3_pool.h"


#define LEAKED   77


typedef struct {
    _Atomic int        armed;
    _Atomic int        kind;
    _Atomic unsigned   n;
    _Atomic unsigned   count;
    _Atomic int        hit;
    _Atomic int        disk;
    _Atomic unsigned   released;    /* a futex: changes at disarm */
    _Atomic int        crashed;
    _Atomic unsigned   deaths;
    _Atomic pid_t      store;
    char               what[200];
} every_t;


typedef enum {
    FAULT_NONE = 0,
    FAULT_ERROR,
    FAULT_SHORT
} fault_e;


/* of a program that is linked with libs3-every.a */
void *s3_every_malloc(size_t size);
void *s3_every_calloc(size_t n, size_t size);
void *s3_every_realloc(void *p, size_t size);
char *s3_every_strdup(const char *s);

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));


const char *const  s3_every_kinds[S3_EVERY_LAST] = {
    "eio", "dead", "nospc", "full", "short", "shortfull", "hang", "nomem",
    "sqlite"
};

static every_t             *ctl;
static const char          *who;
static s3_door_t            door;
static sqlite3_mem_methods  sqlite_mem;


/* --- the door --- */

/* the number of the disk that the descriptor, or the name, is on; -1 */

static int
disk_of(int fd, const char *name, char *path, size_t size)
{
    int      disk;
    char     link[64], *p;
    ssize_t  n;

    if (fd == AT_FDCWD) {
        (void) snprintf(path, size, "%s", name);

    } else {
        (void) snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", fd);
        n = readlink(link, path, size - 1);
        path[n > 0 ? n : 0] = '\0';

        if (name && n > 0) {
            (void) snprintf(path + n, size - n, "/%s", name);
        }
    }

    for (p = strstr(path, "/d"); p; p = strstr(p + 1, "/d")) {
        if (sscanf(p, "/d%d", &disk) == 1) {
            memmove(path, p + 1, strlen(p + 1) + 1);
            return disk;
        }
    }

    return -1;
}


static void
hang(void)
{
    unsigned  released;

    released = atomic_load(&ctl->released);

    /* disarm() clears armed first: one of the two is seen */

    while (atomic_load(&ctl->armed)
           && atomic_load(&ctl->released) == released)
    {
        (void) syscall(SYS_futex, &ctl->released, FUTEX_WAIT, released, NULL,
                       NULL, 0);
    }
}


/* room: whether the call may find none; half: whether it can be done in part */

static fault_e
fault(const char *call, int fd, const char *name, int room, int half)
{
    int       disk, kind;
    char      path[PATH_MAX];
    unsigned  n;

    if (ctl == NULL || !atomic_load(&ctl->armed)) {
        return FAULT_NONE;
    }

    kind = atomic_load(&ctl->kind);

    switch (kind) {

    case S3_EVERY_NOSPC:
    case S3_EVERY_FULL:
        if (!room) {
            return FAULT_NONE;
        }

        break;

    case S3_EVERY_SHORT:
    case S3_EVERY_SHORT_FULL:
        if (!half && !(room && atomic_load(&ctl->hit))) {
            return FAULT_NONE;
        }

        break;

    case S3_EVERY_NOMEM:
    case S3_EVERY_SQLITE:
        return FAULT_NONE;

    default:
        break;
    }

    n = atomic_fetch_add(&ctl->count, 1) + 1;

    if (n < atomic_load(&ctl->n)) {
        return FAULT_NONE;
    }

    if (n > atomic_load(&ctl->n)) {
        if (kind == S3_EVERY_EIO || kind == S3_EVERY_NOSPC
            || kind == S3_EVERY_SHORT)
        {
            return FAULT_NONE;
        }

        if ((kind == S3_EVERY_DEAD || kind == S3_EVERY_HANG)
            && disk_of(fd, name, path, sizeof(path))
               != atomic_load(&ctl->disk))
        {
            return FAULT_NONE;
        }

        if (kind == S3_EVERY_SHORT_FULL && !room) {
            return FAULT_NONE;
        }

    } else {
        disk = disk_of(fd, name, path, sizeof(path));
        atomic_store(&ctl->disk, disk);
        (void) snprintf(ctl->what, sizeof(ctl->what), "%s: %s %.150s", who,
                        call, path);
        atomic_store(&ctl->hit, 1);

        if (kind == S3_EVERY_SHORT || kind == S3_EVERY_SHORT_FULL) {
            return FAULT_SHORT;
        }

        if (disk < 0 && kind == S3_EVERY_HANG) {
            return FAULT_NONE;          /* not a disk: nobody is to bear it */
        }
    }

    if (kind == S3_EVERY_HANG) {
        hang();
        return FAULT_NONE;
    }

    errno = (kind == S3_EVERY_EIO || kind == S3_EVERY_DEAD) ? EIO : ENOSPC;

    return FAULT_ERROR;
}


static int
every_openat(int dir, const char *name, int flags, mode_t mode)
{
    if (fault("openat", dir, name, flags & O_CREAT, 0)) {
        return -1;
    }

    return s3_door_system.openat(dir, name, flags, mode);
}


/* Linux closes the descriptor, whatever close() says */

static int
every_close(int fd)
{
    int      err;
    fault_e  f;

    f = fault("close", fd, NULL, 0, 0);
    err = errno;

    if (f) {
        (void) s3_door_system.close(fd);
        errno = err;
        return -1;
    }

    return s3_door_system.close(fd);
}


static ssize_t
every_pread(int fd, void *buf, size_t size, off_t offset)
{
    switch (fault("pread", fd, NULL, 0, size > 1)) {

    case FAULT_ERROR:
        return -1;

    case FAULT_SHORT:
        size /= 2;
        break;

    default:
        break;
    }

    return s3_door_system.pread(fd, buf, size, offset);
}


static ssize_t
every_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    switch (fault("pwrite", fd, NULL, 1, size > 1)) {

    case FAULT_ERROR:
        return -1;

    case FAULT_SHORT:
        size /= 2;
        break;

    default:
        break;
    }

    return s3_door_system.pwrite(fd, buf, size, offset);
}


static int
every_fdatasync(int fd)
{
    return fault("fdatasync", fd, NULL, 0, 0) ? -1
                                              : s3_door_system.fdatasync(fd);
}


static int
every_sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
    return fault("sync_file_range", fd, NULL, 0, 0)
           ? -1 : s3_door_system.sync_file_range(fd, offset, size, flags);
}


static int
every_fsync(int fd)
{
    return fault("fsync", fd, NULL, 0, 0) ? -1 : s3_door_system.fsync(fd);
}


static int
every_ftruncate(int fd, off_t size)
{
    return fault("ftruncate", fd, NULL, 0, 0)
           ? -1 : s3_door_system.ftruncate(fd, size);
}


static int
every_fallocate(int fd, int mode, off_t offset, off_t size)
{
    return fault("fallocate", fd, NULL, 1, 0)
           ? -1 : s3_door_system.fallocate(fd, mode, offset, size);
}


static int
every_fstat(int fd, struct stat *st)
{
    return fault("fstat", fd, NULL, 0, 0) ? -1
                                          : s3_door_system.fstat(fd, st);
}


static int
every_fstatat(int dir, const char *name, struct stat *st, int flags)
{
    return fault("fstatat", dir, name, 0, 0)
           ? -1 : s3_door_system.fstatat(dir, name, st, flags);
}


static int
every_fstatvfs(int fd, struct statvfs *st)
{
    return fault("fstatvfs", fd, NULL, 0, 0)
           ? -1 : s3_door_system.fstatvfs(fd, st);
}


static int
every_renameat(int olddir, const char *oldname, int newdir,
    const char *newname)
{
    return fault("renameat", newdir, newname, 1, 0)
           ? -1 : s3_door_system.renameat(olddir, oldname, newdir, newname);
}


static int
every_unlinkat(int dir, const char *name, int flags)
{
    return fault("unlinkat", dir, name, 0, 0)
           ? -1 : s3_door_system.unlinkat(dir, name, flags);
}


static int
every_mkdirat(int dir, const char *name, mode_t mode)
{
    return fault("mkdirat", dir, name, 1, 0)
           ? -1 : s3_door_system.mkdirat(dir, name, mode);
}


static int
every_flock(int fd, int operation)
{
    return fault("flock", fd, NULL, 0, 0) ? -1
                                          : s3_door_system.flock(fd,
                                                                 operation);
}


static int
every_list(int dir, s3_door_name_pt name, void *data)
{
    return fault("list", dir, NULL, 0, 0)
           ? -1 : s3_door_system.list(dir, name, data);
}


/* --- memory --- */

static int
no_memory(s3_every_kind_e kind, size_t size)
{
    void  *frames[16];

    if (ctl == NULL || !atomic_load(&ctl->armed)
        || atomic_load(&ctl->kind) != (int) kind
        || atomic_fetch_add(&ctl->count, 1) + 1 != atomic_load(&ctl->n))
    {
        return 0;
    }

    atomic_store(&ctl->disk, -1);
    (void) snprintf(ctl->what, sizeof(ctl->what), "%s: %zu bytes", who, size);
    atomic_store(&ctl->hit, 1);

    if (getenv("S3_TEST_DEBUG")) {
        backtrace_symbols_fd(frames, backtrace(frames, 16), 2);
    }

    errno = ENOMEM;

    return 1;
}


void *
s3_every_malloc(size_t size)
{
    return no_memory(S3_EVERY_NOMEM, size) ? NULL : malloc(size);
}


void *
s3_every_calloc(size_t n, size_t size)
{
    return no_memory(S3_EVERY_NOMEM, n * size) ? NULL : calloc(n, size);
}


void *
s3_every_realloc(void *p, size_t size)
{
    return no_memory(S3_EVERY_NOMEM, size) ? NULL : realloc(p, size);
}


char *
s3_every_strdup(const char *s)
{
    return no_memory(S3_EVERY_NOMEM, strlen(s)) ? NULL : strdup(s);
}


static void *
sqlite_malloc(int size)
{
    return no_memory(S3_EVERY_SQLITE, size) ? NULL : sqlite_mem.xMalloc(size);
}


static void *
sqlite_realloc(void *p, int size)
{
    return no_memory(S3_EVERY_SQLITE, size) ? NULL
                                            : sqlite_mem.xRealloc(p, size);
}


/* --- the processes --- */

static void
every_install(const char *path, const char *name)
{
    int                  fd;
    sqlite3_mem_methods  mem;

    fd = open(path, O_RDWR|O_CREAT|O_CLOEXEC, 0600);

    if (fd == -1 || ftruncate(fd, sizeof(every_t)) == -1) {
        abort();
    }

    ctl = mmap(NULL, sizeof(every_t), PROT_READ|PROT_WRITE, MAP_SHARED, fd,
               0);
    (void) close(fd);

    if (ctl == MAP_FAILED) {
        abort();
    }

    who = name;

    door.openat = every_openat;
    door.close = every_close;
    door.pread = every_pread;
    door.pwrite = every_pwrite;
    door.fdatasync = every_fdatasync;
    door.fsync = every_fsync;
    door.sync_file_range = every_sync_file_range;
    door.ftruncate = every_ftruncate;
    door.fallocate = every_fallocate;
    door.fstat = every_fstat;
    door.fstatat = every_fstatat;
    door.fstatvfs = every_fstatvfs;
    door.renameat = every_renameat;
    door.unlinkat = every_unlinkat;
    door.mkdirat = every_mkdirat;
    door.flock = every_flock;
    door.list = every_list;
    s3_door = &door;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_mem) != SQLITE_OK) {
        abort();
    }

    mem = sqlite_mem;
    mem.xMalloc = sqlite_malloc;
    mem.xRealloc = sqlite_realloc;

    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &mem) != SQLITE_OK) {
        abort();
    }

    json_set_alloc_funcs(s3_every_malloc, free);
}


void
s3_every_start(const char *dir)
{
    char  *path;

    assert_int_not_equal(asprintf(&path, "%s/every", dir), -1);
    assert_int_equal(setenv("S3_EVERY_PAGE", path, 1), 0);
    every_install(path, "client");
    free(path);
}


static pid_t
nanny_start(sigset_t *old)
{
    pid_t  pid;

    pid = fork();

    if (pid == 0) {
        (void) sigprocmask(SIG_SETMASK, old, NULL);
        (void) setenv("S3_EVERY_STORE", "1", 1);
        (void) execl("/proc/self/exe", "s3-store-process", (char *) NULL);
        _exit(127);
    }

    if (pid == -1) {
        abort();
    }

    atomic_store(&ctl->store, pid);

    return pid;
}


static void
nanny(void)
{
    int       status;
    pid_t     pid;
    sigset_t  set, old;

    (void) prctl(PR_SET_PDEATHSIG, SIGUSR1);
    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGCHLD);
    (void) sigaddset(&set, SIGTERM);
    (void) sigaddset(&set, SIGUSR1);
    (void) sigprocmask(SIG_BLOCK, &set, &old);

    pid = nanny_start(&old);

    for ( ;; ) {
        switch (sigwaitinfo(&set, NULL)) {

        case SIGCHLD:
            if (waitpid(pid, &status, WNOHANG) != pid) {
                break;
            }

            /* 4: it could not begin */

            if (((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
                 || (WIFEXITED(status) && WEXITSTATUS(status) == 4))
                && (atomic_load(&ctl->kind) == S3_EVERY_NOMEM
                    || atomic_load(&ctl->kind) == S3_EVERY_SQLITE)
                && atomic_load(&ctl->hit))
            {
                (void) atomic_fetch_add(&ctl->deaths, 1);

            } else {
                atomic_store(&ctl->crashed, status);
            }

            pid = nanny_start(&old);
            break;

        case SIGTERM:
            (void) kill(pid, SIGTERM);
            (void) waitpid(pid, &status, 0);
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);

        case SIGUSR1:
            (void) kill(pid, SIGKILL);
            (void) waitpid(pid, NULL, 0);
            _exit(0);

        default:
            break;
        }
    }
}


static void
store_leaks(int signo)
{
    /* on the one thread that does nothing but wait */

    _exit(s3_every_leaks() ? LEAKED : 0);
}


/* before s3_set.c's, which starts the store process */

__attribute__((constructor(200)))
static void
every_process(void)
{
    char  *path;

    path = getenv("S3_EVERY_PAGE");

    if (path == NULL || getenv("S3_SET_PROCESS") == NULL) {
        return;
    }

    every_install(path, "store");

    if (getenv("S3_EVERY_STORE") == NULL) {
        nanny();
    }

    (void) signal(SIGTERM, store_leaks);
}


int
s3_every_leaks(void)
{
    return __lsan_do_recoverable_leak_check
           ? __lsan_do_recoverable_leak_check() : 0;
}


int
s3_every_stop(s3_set_t *set, int leaks)
{
    int  status;

    assert_int_equal(kill(set->pid, leaks ? SIGTERM : SIGUSR1), 0);
    assert_int_equal(waitpid(set->pid, &status, 0), set->pid);
    set->pid = 0;

    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}


void
s3_every_arm(s3_every_kind_e kind, unsigned n)
{
    atomic_store(&ctl->kind, kind);
    atomic_store(&ctl->n, n);
    atomic_store(&ctl->count, 0);
    atomic_store(&ctl->hit, 0);
    atomic_store(&ctl->disk, -1);
    ctl->what[0] = '\0';
    atomic_store(&ctl->armed, 1);
}


unsigned
s3_every_disarm(void)
{
    atomic_store(&ctl->armed, 0);
    (void) atomic_fetch_add(&ctl->released, 1);
    (void) syscall(SYS_futex, &ctl->released, FUTEX_WAKE, INT_MAX, NULL, NULL,
                   0);

    return atomic_load(&ctl->count);
}


int
s3_every_hit(void)
{
    return atomic_load(&ctl->hit);
}


const char *
s3_every_what(void)
{
    /* until then a thread may be writing it */

    return atomic_load(&ctl->hit) ? ctl->what : "";
}


int
s3_every_disk(void)
{
    return atomic_load(&ctl->disk);
}


unsigned
s3_every_deaths(void)
{
    return atomic_load(&ctl->deaths);
}


int
s3_every_crashed(void)
{
    return atomic_load(&ctl->crashed);
}


/*
 * But the locks of the store process's own sessions, which repair makes.  out:
 * they are listed there, or NULL
 */

static unsigned
entries(const char *path, FILE *out)
{
    DIR            *dir;
    char            link[PATH_MAX];
    ssize_t         len;
    unsigned        n;
    struct dirent  *e;

    dir = opendir(path);

    if (dir == NULL) {
        return 0;                       /* a thread that has ended */
    }

    n = 0;

    while ((e = readdir(dir)) != NULL) {
        len = readlinkat(dirfd(dir), e->d_name, link, sizeof(link));

        if (len <= 0 || (len > 5 && memcmp(link + len - 5, "/lock", 5) == 0)) {
            continue;
        }

        n++;

        if (out) {
            (void) fprintf(out, "%s/%s: %.*s\n", path, e->d_name, (int) len,
                           link);
        }
    }

    (void) closedir(dir);

    return n;
}


static unsigned
descriptors(int store, FILE *out)
{
    DIR            *dir;
    char            path[400], root[64];
    unsigned        n;
    struct dirent  *e;

    (void) snprintf(root, sizeof(root), "/proc/%d/task",
                    (int) (store ? atomic_load(&ctl->store) : getpid()));
    dir = opendir(root);
    n = 0;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.') {
            (void) snprintf(path, sizeof(path), "%s/%s/fd", root, e->d_name);
            n += entries(path, out);
        }
    }

    if (dir != NULL) {
        (void) closedir(dir);
    }

    return n;
}


unsigned
s3_every_descriptors(int store)
{
    return descriptors(store, NULL);
}


void
s3_every_descriptors_list(int store)
{
    (void) descriptors(store, stderr);
}
