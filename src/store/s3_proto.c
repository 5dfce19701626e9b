
/*
 * Messages and the socket they go over.  s3_proto.h has the picture of the
 * bytes.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_proto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>


#define S3_PROTO_BACKLOG  511
#define S3_PROTO_NAME     64       /* of a store: 32, and its suffixes */


static int s3_proto_socket(int dir, const char *file,
    struct sockaddr_un *sa);


size_t
s3_msg_begin(s3_buf_t *b, unsigned type, uint64_t request, unsigned status)
{
    size_t  at;

    at = b->len;

    s3_buf_u32(b, 0);
    s3_buf_u16(b, (uint16_t) type);
    s3_buf_u16(b, S3_PROTO_VERSION);
    s3_buf_u64(b, request);
    s3_buf_u32(b, status);

    return at;
}


void
s3_msg_end(s3_buf_t *b, size_t at)
{
    size_t     i, len;
    uint8_t   *p;

    if (b->error) {
        return;
    }

    len = b->len - at;

    if (len > UINT32_MAX) {
        b->error = EMSGSIZE;
        return;
    }

    p = b->data + at;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t) (len >> (8 * i));
    }
}


ssize_t
s3_msg_parse(const uint8_t *data, size_t len, size_t max, s3_msg_t *msg)
{
    s3_reader_t  r;

    if (len < S3_PROTO_HEADER) {
        return 0;
    }

    s3_reader_init(&r, data, S3_PROTO_HEADER);

    msg->length = s3_read_u32(&r);
    msg->type = s3_read_u16(&r);
    msg->version = s3_read_u16(&r);
    msg->request = s3_read_u64(&r);
    msg->status = s3_read_u32(&r);

    /* before the rest is waited for: it may never come */

    if (msg->version != S3_PROTO_VERSION || msg->length < S3_PROTO_HEADER
        || msg->length > max)
    {
        return -1;
    }

    return len < msg->length ? 0 : (ssize_t) msg->length;
}


int
s3_proto_connect(const char *runtime, const char *name)
{
    int                 fd, dir, err;
    char                file[S3_PROTO_NAME];
    struct sockaddr_un  sa;

    if ((size_t) snprintf(file, sizeof(file), "%s.sock", name)
        >= sizeof(file))
    {
        errno = ENAMETOOLONG;
        return -1;
    }

    dir = open(runtime, O_PATH|O_DIRECTORY|O_CLOEXEC);
    if (dir == -1) {
        return -1;
    }

    fd = s3_proto_socket(dir, file, &sa);

    /* a Unix socket connects at once or not at all: EAGAIN where the
     * backlog is full */

    if (fd != -1
        && connect(fd, (struct sockaddr *) &sa, sizeof(sa)) == -1)
    {
        err = errno;
        (void) close(fd);
        errno = err;
        fd = -1;
    }

    err = errno;
    (void) close(dir);
    errno = err;

    return fd;
}


int
s3_proto_listen(const char *runtime, const char *name)
{
    int                 fd, dir, err;
    char                file[S3_PROTO_NAME], temp[S3_PROTO_NAME];
    struct sockaddr_un  sa;

    if ((size_t) snprintf(file, sizeof(file), "%s.sock", name)
        >= sizeof(file)
        || (size_t) snprintf(temp, sizeof(temp), "%s.sock.new", name)
           >= sizeof(temp))
    {
        errno = ENAMETOOLONG;
        return -1;
    }

    dir = open(runtime, O_PATH|O_DIRECTORY|O_CLOEXEC);
    if (dir == -1) {
        return -1;
    }

    fd = s3_proto_socket(dir, temp, &sa);
    if (fd == -1) {
        goto done;
    }

    /* the caller holds the store's lock: what is there, a process that
     * died here has left */

    if (unlinkat(dir, temp, 0) == -1 && errno != ENOENT) {
        goto failed;
    }

    if (bind(fd, (struct sockaddr *) &sa, sizeof(sa)) == -1
        || fchmodat(dir, temp, 0600, 0) == -1
        || listen(fd, S3_PROTO_BACKLOG) == -1
        || renameat(dir, temp, dir, file) == -1)
    {
        goto failed;
    }

    goto done;

failed:

    err = errno;
    (void) close(fd);
    errno = err;
    fd = -1;

done:

    err = errno;
    (void) close(dir);
    errno = err;

    return fd;
}


/* sun_path has room for 108 bytes, a runtime directory may be deeper */

static int
s3_proto_socket(int dir, const char *file, struct sockaddr_un *sa)
{
    memset(sa, 0, sizeof(struct sockaddr_un));
    sa->sun_family = AF_UNIX;

    /* thread-self: threads with a descriptor table of their own */

    if ((size_t) snprintf(sa->sun_path, sizeof(sa->sun_path),
                          "/proc/thread-self/fd/%d/%s", dir, file)
        >= sizeof(sa->sun_path))
    {
        errno = ENAMETOOLONG;
        return -1;
    }

    return socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
}
