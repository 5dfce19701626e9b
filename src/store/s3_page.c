
/*
 * The shared page: a file of sizeof(s3_page_t) bytes, as the host's memory
 * has them.  It is of one machine and one boot: nothing in it is a truth that
 * is not on the disks.
 *
 *     0        8        16        24       32                   ...
 *     +--------+--------+---------+--------+-----+--------------+---------
 *     | magic  | epoch  | decided | change | pad | set          | workers
 *     +--------+--------+---------+--------+-----+--------------+---------
 *
 * set is guarded by change as the kernel's seqlocks are: odd while it is
 * written.  A reader copies and looks whether change is still the same.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_page.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


#define S3_PAGE_NAME     64        /* of a store: 32, and its suffix */
#define S3_PAGE_TRIES    256


_Static_assert(sizeof(s3_page_set_t) % sizeof(uint64_t) == 0,
               "the set is copied word by word");


s3_page_t *
s3_page_map(const char *runtime, const char *name)
{
    return s3_shared_map(runtime, name, "page", sizeof(s3_page_t),
                         S3_PAGE_MAGIC);
}


void *
s3_shared_map(const char *runtime, const char *name, const char *suffix,
    size_t size, uint64_t magic)
{
    int           fd, dir, err;
    char          file[S3_PAGE_NAME];
    void         *map;
    uint64_t      found;
    struct stat   st;

    if ((size_t) snprintf(file, sizeof(file), "%s.%s", name, suffix)
        >= sizeof(file))
    {
        errno = ENAMETOOLONG;
        return NULL;
    }

    dir = open(runtime, O_PATH|O_DIRECTORY|O_CLOEXEC);
    if (dir == -1) {
        return NULL;
    }

    fd = openat(dir, file, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW, 0600);

    err = errno;
    (void) close(dir);
    errno = err;

    if (fd == -1) {
        return NULL;
    }

    if (fstat(fd, &st) == -1) {
        goto failed;
    }

    if (!S_ISREG(st.st_mode) || st.st_size > (off_t) size) {
        errno = EPROTO;
        goto failed;
    }

    /* allocated, not only long enough: a full file system would answer the
     * first store to a hole with SIGBUS.  Idempotent: many come at once */

    err = posix_fallocate(fd, 0, size);
    if (err) {
        errno = err;
        goto failed;
    }

    map = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        goto failed;
    }

    (void) close(fd);

    found = 0;

    if (!__atomic_compare_exchange_n((uint64_t *) map, &found, magic, 0,
                                     __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
        && found != magic)
    {
        (void) munmap(map, size);
        errno = EPROTO;
        return NULL;
    }

    return map;

failed:

    err = errno;
    (void) close(fd);
    errno = err;

    return NULL;
}


void
s3_page_unmap(s3_page_t *page)
{
    (void) munmap(page, sizeof(s3_page_t));
}


int
s3_page_read(s3_page_t *page, s3_page_set_t *set, uint32_t *change)
{
    return s3_shared_read(&page->change, &page->set, set,
                          sizeof(s3_page_set_t), change);
}


int
s3_shared_read(_Atomic uint32_t *changes, const void *from, void *to,
    size_t size, uint32_t *change)
{
    size_t           i, n;
    uint32_t         before;
    uint64_t        *dst;
    const uint64_t  *src;

    src = from;
    dst = to;

    for (n = 0; n < S3_PAGE_TRIES; n++) {

        before = atomic_load_explicit(changes, memory_order_acquire);

        if (before & 1) {
            (void) sched_yield();
            continue;
        }

        for (i = 0; i < size / sizeof(uint64_t); i++) {
            dst[i] = __atomic_load_n(&src[i], __ATOMIC_RELAXED);
        }

        atomic_thread_fence(memory_order_acquire);

        if (atomic_load_explicit(changes, memory_order_relaxed) == before) {
            *change = before;
            return 0;
        }
    }

    return -1;
}


void
s3_page_write(s3_page_t *page, const s3_page_set_t *set)
{
    s3_shared_write(&page->change, &page->set, set, sizeof(s3_page_set_t));
}


void
s3_shared_write(_Atomic uint32_t *changes, void *to, const void *from,
    size_t size)
{
    size_t           i;
    uint32_t         change;
    uint64_t        *dst;
    const uint64_t  *src;

    src = from;
    dst = to;

    /* odd also when the writer before died in the middle of it */

    change = atomic_load_explicit(changes, memory_order_relaxed) | 1;

    atomic_store_explicit(changes, change, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);

    for (i = 0; i < size / sizeof(uint64_t); i++) {
        __atomic_store_n(&dst[i], src[i], __ATOMIC_RELAXED);
    }

    atomic_store_explicit(changes, change + 1, memory_order_release);
}
