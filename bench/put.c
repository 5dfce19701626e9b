
/*
 * PUT over keepalive connections, one thread each, for a given time: what
 * wrk does for GET.  A request is
 *
 *     PUT TARGET HTTP/1.1 CRLF Host: HOST:PORT CRLF
 *     Content-Length: SIZE CRLF CRLF  SIZE bytes
 *
 * TARGET is a line of the file TARGETS, used as it is (a presigned S3 URL's
 * path and query, or a path for nginx's dav module).  Thread i takes lines
 * i, i + CONNECTIONS, ... over and over, so no two ever write one key at the
 * same time.  Any answer but 200, 201 and 204 ends the run.
 *
 *     put HOST PORT CONNECTIONS SECONDS SIZE TARGETS
 *
 * prints {"requests": N, "seconds": S, "p50_us": N, "p99_us": N}.
 *
 *     cc -O2 -o put bench/put.c -lpthread
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>


#define PUT_CONNECTIONS  256
#define PUT_TARGETS      65536
#define PUT_LINE         4096
#define PUT_HEAD         16384
#define PUT_LATENCIES    (1 << 20)       /* kept of a thread */


typedef struct {
    pthread_t       tid;
    unsigned        n;
    int             fd;

    size_t          requests;
    double          end;                 /* of its last request */
    unsigned       *latency;             /* microseconds */
    size_t          nlatency;
} put_thread_t;


static struct sockaddr_in   put_address;
static const char          *put_host;
static unsigned             put_port;
static unsigned             put_connections;
static double               put_end;
static size_t               put_size;
static char                *put_body;
static char               **put_target;
static size_t               put_ntargets;
static pthread_barrier_t    put_barrier;


static void
put_die(const char *what, const char *detail)
{
    fprintf(stderr, "put: %s: %s\n", what, detail);
    exit(1);
}


static double
put_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static long
put_number(const char *name, const char *text, long max)
{
    char  *end;
    long   n;

    errno = 0;
    n = strtol(text, &end, 10);

    if (errno || end == text || *end || n < 0 || n > max) {
        put_die(name, "out of range");
    }

    return n;
}


static void
put_read_targets(const char *path)
{
    char    line[PUT_LINE];
    FILE   *f;
    size_t  len;

    f = fopen(path, "r");
    if (f == NULL) {
        put_die(path, strerror(errno));
    }

    put_target = calloc(PUT_TARGETS, sizeof(char *));
    if (put_target == NULL) {
        put_die("memory", strerror(errno));
    }

    while (put_ntargets < PUT_TARGETS && fgets(line, sizeof(line), f)) {
        len = strcspn(line, "\n");

        if (line[len] != '\n' || line[0] != '/') {
            put_die(path, "a line is too long, or no target");
        }

        line[len] = '\0';

        put_target[put_ntargets] = strdup(line);
        if (put_target[put_ntargets++] == NULL) {
            put_die("memory", strerror(errno));
        }
    }

    fclose(f);

    if (put_ntargets < put_connections) {
        put_die(path, "fewer targets than connections");
    }
}


static void
put_connect(put_thread_t *t)
{
    int  one;

    one = 1;

    t->fd = socket(AF_INET, SOCK_STREAM, 0);

    if (t->fd == -1
        || connect(t->fd, (struct sockaddr *) &put_address,
                   sizeof(put_address)) == -1
        || setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
           == -1)
    {
        put_die("connect", strerror(errno));
    }
}


static void
put_send(put_thread_t *t, char *head, size_t len)
{
    int            n, first;
    ssize_t        rc;
    struct iovec   iov[2];
    struct msghdr  msg;

    iov[0].iov_base = head;
    iov[0].iov_len = len;
    iov[1].iov_base = put_body;
    iov[1].iov_len = put_size;
    n = 2;

    while (n && iov[2 - n].iov_len == 0) {
        n--;
    }

    while (n) {
        first = 2 - n;

        memset(&msg, 0, sizeof(msg));
        msg.msg_iov = &iov[first];
        msg.msg_iovlen = n;

        rc = sendmsg(t->fd, &msg, MSG_NOSIGNAL);

        if (rc == -1 && errno == EINTR) {
            continue;
        }

        if (rc == -1) {
            put_die("send", strerror(errno));
        }

        while (n && (size_t) rc >= iov[2 - n].iov_len) {
            rc -= iov[2 - n].iov_len;
            n--;
        }

        if (n) {
            iov[2 - n].iov_base = (char *) iov[2 - n].iov_base + rc;
            iov[2 - n].iov_len -= rc;
        }
    }
}


/* the value of a header in a head that ends in NUL, or NULL */

static char *
put_header(char *head, const char *name)
{
    char    *p;
    size_t   len;

    len = strlen(name);

    for (p = strstr(head, "\r\n"); p; p = strstr(p, "\r\n")) {
        p += 2;

        if (strncasecmp(p, name, len) == 0 && p[len] == ':') {
            return p + len + 1 + strspn(p + len + 1, " \t");
        }
    }

    return NULL;
}


/* an answer of known length; returns 1 where the connection stays */

static int
put_receive(put_thread_t *t)
{
    int      status;
    char     head[PUT_HEAD + 1], *end, *value;
    size_t   len, body;
    ssize_t  rc;

    len = 0;
    end = NULL;

    while (end == NULL) {

        if (len == PUT_HEAD) {
            put_die("answer", "its head is too long");
        }

        rc = recv(t->fd, head + len, PUT_HEAD - len, 0);

        if (rc == -1 && errno == EINTR) {
            continue;
        }

        if (rc <= 0) {
            put_die("receive", rc ? strerror(errno) : "connection closed");
        }

        len += rc;
        head[len] = '\0';
        end = strstr(head, "\r\n\r\n");
    }

    if (sscanf(head, "HTTP/1.1 %d", &status) != 1
        || (status != 200 && status != 201 && status != 204))
    {
        put_die("refused", head);
    }

    end[2] = '\0';
    body = 0;
    value = put_header(head, "Content-Length");

    if (value) {
        body = strtoul(value, NULL, 10);

    } else if (status != 204) {
        put_die("answer", "without Content-Length");
    }

    /* nothing is pipelined: what came past the head is of its body */

    len -= end + 4 - head;

    if (len > body) {
        put_die("answer", "more bytes than its Content-Length");
    }

    body -= len;

    while (body) {
        rc = recv(t->fd, head, body < PUT_HEAD ? body : PUT_HEAD, 0);

        if (rc == -1 && errno == EINTR) {
            continue;
        }

        if (rc <= 0) {
            put_die("receive", rc ? strerror(errno) : "connection closed");
        }

        body -= rc;
    }

    value = put_header(head, "Connection");

    return value == NULL || strncasecmp(value, "close", 5) != 0;
}


static void *
put_thread(void *data)
{
    put_thread_t *t = data;

    int     len;
    char    head[PUT_LINE + 256];
    double  start;
    size_t  i;

    put_connect(t);
    i = t->n;

    pthread_barrier_wait(&put_barrier);

    do {
        len = snprintf(head, sizeof(head),
                       "PUT %s HTTP/1.1\r\nHost: %s:%u\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       put_target[i], put_host, put_port, put_size);

        start = put_now();

        put_send(t, head, len);

        if (!put_receive(t)) {
            close(t->fd);
            put_connect(t);
        }

        t->end = put_now();

        if (t->nlatency < PUT_LATENCIES) {
            t->latency[t->nlatency++] = (t->end - start) * 1e6;
        }

        t->requests++;

        i += put_connections;

        if (i >= put_ntargets) {
            i = t->n;
        }

    } while (t->end < put_end);

    close(t->fd);

    return NULL;
}


static int
put_compare(const void *one, const void *two)
{
    unsigned  a = *(const unsigned *) one, b = *(const unsigned *) two;

    return (a > b) - (a < b);
}


int
main(int argc, char **argv)
{
    double         start, end, seconds;
    size_t         i, requests, n;
    unsigned      *latency;
    put_thread_t  *threads;

    if (argc != 7) {
        fprintf(stderr, "usage: put HOST PORT CONNECTIONS SECONDS SIZE "
                "TARGETS\n");
        return 2;
    }

    put_host = argv[1];
    put_port = put_number("PORT", argv[2], 65535);
    put_connections = put_number("CONNECTIONS", argv[3], PUT_CONNECTIONS);
    seconds = put_number("SECONDS", argv[4], 3600);
    put_size = put_number("SIZE", argv[5], 1L << 30);

    if (put_connections == 0) {
        put_die("CONNECTIONS", "out of range");
    }

    put_address.sin_family = AF_INET;
    put_address.sin_port = htons(put_port);

    if (inet_pton(AF_INET, put_host, &put_address.sin_addr) != 1) {
        put_die(put_host, "not an IPv4 address");
    }

    put_read_targets(argv[6]);

    /* bytes that neither a compressor nor a file system can make less of */

    put_body = malloc(put_size + 8);
    threads = calloc(put_connections, sizeof(put_thread_t));

    if (put_body == NULL || threads == NULL) {
        put_die("memory", strerror(errno));
    }

    srandom(1);

    for (i = 0; i < put_size; i += 4) {
        long  bytes = random();

        memcpy(put_body + i, &bytes, 4);
    }

    pthread_barrier_init(&put_barrier, NULL, put_connections + 1);

    for (i = 0; i < put_connections; i++) {
        threads[i].n = i;
        threads[i].latency = malloc(PUT_LATENCIES * sizeof(unsigned));

        if (threads[i].latency == NULL
            || pthread_create(&threads[i].tid, NULL, put_thread, &threads[i])
               != 0)
        {
            put_die("thread", "not created");
        }
    }

    start = put_now();
    put_end = start + seconds;

    pthread_barrier_wait(&put_barrier);

    requests = 0;
    n = 0;
    end = start;

    for (i = 0; i < put_connections; i++) {
        pthread_join(threads[i].tid, NULL);

        requests += threads[i].requests;
        n += threads[i].nlatency;

        if (threads[i].end > end) {
            end = threads[i].end;
        }
    }

    latency = malloc(n * sizeof(unsigned));
    if (latency == NULL) {
        put_die("memory", strerror(errno));
    }

    n = 0;

    for (i = 0; i < put_connections; i++) {
        memcpy(latency + n, threads[i].latency,
               threads[i].nlatency * sizeof(unsigned));
        n += threads[i].nlatency;
    }

    qsort(latency, n, sizeof(unsigned), put_compare);

    printf("{\"requests\": %zu, \"seconds\": %.3f, \"p50_us\": %u, "
           "\"p99_us\": %u}\n", requests, end - start, latency[n / 2],
           latency[n - 1 - n / 100]);

    return 0;
}
