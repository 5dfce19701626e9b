
/*
 * Descriptors that ThreadSanitizer need not know of.
 *
 * It keeps one table of them for the whole process, as a process has one.
 * Here the threads of each disk have a table of their own (s3_pool.c), so
 * that 7 is another file in each of them: TSan calls it a race when one of
 * them closes its own 7 while another uses his, takes what was written to one
 * for a message to who reads from the other, and ends with a failed CHECK of
 * its own where it looks for who opened it.
 *
 * So calls that make, connect or close a descriptor go to libc past TSan, by --wrap:
 * without one it has seen being made it holds nothing against a descriptor,
 * and takes none for a way to hand something over.  What is handed from
 * thread to thread is handed under a mutex.  Reads and writes are not among
 * them: the memory that they fill or take from is watched.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* RTLD_NEXT, open64() */
#endif

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>


/* looked up each time: a pointer that is kept would be one more thing that
 * threads share */

#define s3_tsan_libc(name)                                                    \
    ((__typeof__(&name)) s3_tsan_find(#name))

#define s3_tsan_mode(flags, mode)                                             \
    do {                                                                      \
        va_list  args;                                                        \
                                                                              \
        mode = 0;                                                             \
                                                                              \
        if (flags & (O_CREAT|__O_TMPFILE)) {                                  \
            va_start(args, flags);                                            \
            mode = va_arg(args, mode_t);                                      \
            va_end(args);                                                     \
        }                                                                     \
    } while (0)


int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_dup2(int fd, int to);
int __wrap_pipe(int fds[2]);
int __wrap_pipe2(int fds[2], int flags);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socketpair(int domain, int type, int protocol, int fds[2]);
int __wrap_accept(int fd, struct sockaddr *sa, socklen_t *len);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_epoll_create1(int flags);
DIR *__wrap_opendir(const char *path);
int __wrap_closedir(DIR *dir);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__wrap_freopen64(const char *path, const char *mode, FILE *file);
int __wrap_fclose(FILE *file);


/* after this program: libc's, not TSan's, which is in the program */

static void *
s3_tsan_find(const char *name)
{
    void  *p;

    p = dlsym(RTLD_NEXT, name);

    if (p == NULL) {
        abort();
    }

    return p;
}


int
__wrap_open(const char *path, int flags, ...)
{
    mode_t  mode;

    s3_tsan_mode(flags, mode);

    return s3_tsan_libc(open)(path, flags, mode);
}


int
__wrap_openat(int dir, const char *path, int flags, ...)
{
    mode_t  mode;

    s3_tsan_mode(flags, mode);

    return s3_tsan_libc(openat)(dir, path, flags, mode);
}


int
__wrap_open64(const char *path, int flags, ...)
{
    mode_t  mode;

    s3_tsan_mode(flags, mode);

    return s3_tsan_libc(open64)(path, flags, mode);
}


int
__wrap_openat64(int dir, const char *path, int flags, ...)
{
    mode_t  mode;

    s3_tsan_mode(flags, mode);

    return s3_tsan_libc(openat64)(dir, path, flags, mode);
}


int
__wrap_close(int fd)
{
    return s3_tsan_libc(close)(fd);
}


int
__wrap_dup2(int fd, int to)
{
    return s3_tsan_libc(dup2)(fd, to);
}


int
__wrap_pipe(int fds[2])
{
    return s3_tsan_libc(pipe)(fds);
}


int
__wrap_pipe2(int fds[2], int flags)
{
    return s3_tsan_libc(pipe2)(fds, flags);
}


int
__wrap_socket(int domain, int type, int protocol)
{
    return s3_tsan_libc(socket)(domain, type, protocol);
}


int
__wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
    return s3_tsan_libc(socketpair)(domain, type, protocol, fds);
}


int
__wrap_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
    return s3_tsan_libc(accept)(fd, sa, len);
}


int
__wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    return s3_tsan_libc(accept4)(fd, sa, len, flags);
}


int
__wrap_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    return s3_tsan_libc(connect)(fd, sa, len);
}


int
__wrap_eventfd(unsigned int count, int flags)
{
    return s3_tsan_libc(eventfd)(count, flags);
}


int
__wrap_epoll_create1(int flags)
{
    return s3_tsan_libc(epoll_create1)(flags);
}


DIR *
__wrap_opendir(const char *path)
{
    return s3_tsan_libc(opendir)(path);
}


int
__wrap_closedir(DIR *dir)
{
    return s3_tsan_libc(closedir)(dir);
}


FILE *
__wrap_fopen(const char *path, const char *mode)
{
    return s3_tsan_libc(fopen)(path, mode);
}


FILE *
__wrap_fopen64(const char *path, const char *mode)
{
    return s3_tsan_libc(fopen64)(path, mode);
}


FILE *
__wrap_freopen64(const char *path, const char *mode, FILE *file)
{
    return s3_tsan_libc(freopen64)(path, mode, file);
}


int
__wrap_fclose(FILE *file)
{
    return s3_tsan_libc(fclose)(file);
}
