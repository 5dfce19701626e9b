
/*
 * One S3 request after the other over keepalive connections, one thread each:
 * what wrk does for GET, for methods it can't do (HEAD) or not with bodies
 * that are large or differ.  A request is
 *
 *     METHOD TARGET HTTP/1.1 CRLF Host: HOST:PORT CRLF  HEADER CRLF
 *     Content-Length: N CRLF CRLF  N bytes
 *
 * A line of the file TARGETS is TARGET, or TARGET TAB FILE TAB HEADER.  TARGET
 * is used as it is (a presigned S3 URL's path and query, or a path for nginx's
 * dav module), FILE has the body, which else is SIZE bytes without a pattern.
 * Thread i takes lines i, i + CONNECTIONS, ..., so no two ever ask for one key
 * at the same time: over and over for SECONDS, or with -1 each line once.  Any
 * answer but 200, 201 and 204 ends the run.
 *
 *     client [-1] METHOD HOST PORT CONNECTIONS SECONDS SIZE TARGETS
 *
 * prints {"requests": N, "seconds": S, "p50_us": N, "p99_us": N}.
 *
 *     cc -O2 -o client bench/client.c -lpthread
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>


#define CLIENT_CONNECTIONS  1024
#define CLIENT_TARGETS      (1 << 20)
#define CLIENT_LINE         4096
#define CLIENT_HEAD         16384
#define CLIENT_LATENCIES    (1 << 18)       /* kept of a thread */


typedef struct {
    pthread_t       tid;
    unsigned        n;
    int             fd;

    size_t          requests;
    double          end;                 /* of its last request */
    unsigned       *latency;             /* microseconds */
    size_t          nlatency;
} client_thread_t;


typedef struct {
    char           *target;
    char           *header;              /* with its CRLF, or "" */
    char           *body;
    size_t          size;
} client_target_t;


static struct sockaddr_in   client_address;
static const char          *client_host;
static unsigned             client_port;
static unsigned             client_connections;
static double               client_end;
static size_t               client_size;
static char                *client_body;
static client_target_t     *client_targets;
static size_t               client_ntargets;
static const char          *client_method;
static int                  client_once;
static int                  client_no_body;     /* in answers: HEAD */
static pthread_barrier_t    client_barrier;


static void
client_die(const char *what, const char *detail)
{
    fprintf(stderr, "client: %s: %s\n", what, detail);
    exit(1);
}


static double
client_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static long
client_number(const char *name, const char *text, long max)
{
    char  *end;
    long   n;

    errno = 0;
    n = strtol(text, &end, 10);

    if (errno || end == text || *end || n < 0 || n > max) {
        client_die(name, "out of range");
    }

    return n;
}


/* the body of a file, mapped: read only once, however many */

static void
client_map(client_target_t *t, const char *path)
{
    int          fd;
    struct stat  st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        client_die(path, strerror(errno));
    }

    t->size = (size_t) st.st_size;
    t->body = mmap(NULL, t->size, PROT_READ, MAP_PRIVATE|MAP_POPULATE, fd, 0);

    if (t->body == MAP_FAILED) {
        client_die(path, strerror(errno));
    }

    (void) close(fd);
}


static void
client_read_targets(const char *path)
{
    char             line[CLIENT_LINE], *file, *header;
    FILE            *f;
    size_t           len;
    client_target_t  *t;

    f = fopen(path, "r");
    if (f == NULL) {
        client_die(path, strerror(errno));
    }

    client_targets = calloc(CLIENT_TARGETS, sizeof(client_target_t));
    if (client_targets == NULL) {
        client_die("memory", strerror(errno));
    }

    while (client_ntargets < CLIENT_TARGETS && fgets(line, sizeof(line), f)) {
        len = strcspn(line, "\n");

        if (line[len] != '\n' || line[0] != '/') {
            client_die(path, "a line is too long, or no target");
        }

        line[len] = '\0';

        t = &client_targets[client_ntargets++];
        t->body = client_body;
        t->size = client_size;
        t->header = "";

        file = strchr(line, '\t');

        if (file) {
            *file++ = '\0';
            header = strchr(file, '\t');

            if (header) {
                *header++ = '\0';

                if (asprintf(&t->header, "%s\r\n", header) == -1) {
                    client_die("memory", strerror(errno));
                }
            }

            client_map(t, file);
        }

        t->target = strdup(line);
        if (t->target == NULL) {
            client_die("memory", strerror(errno));
        }
    }

    fclose(f);

    if (client_ntargets < client_connections) {
        client_die(path, "fewer targets than connections");
    }
}


static void
client_connect(client_thread_t *t)
{
    int  one;

    one = 1;

    t->fd = socket(AF_INET, SOCK_STREAM, 0);

    if (t->fd == -1
        || connect(t->fd, (struct sockaddr *) &client_address,
                   sizeof(client_address)) == -1
        || setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
           == -1)
    {
        client_die("connect", strerror(errno));
    }
}


static void
client_send(client_thread_t *t, char *head, size_t len,
    const client_target_t *target)
{
    int            n, first;
    ssize_t        rc;
    struct iovec   iov[2];
    struct msghdr  msg;

    iov[0].iov_base = head;
    iov[0].iov_len = len;
    iov[1].iov_base = target->body;
    iov[1].iov_len = target->size;
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
            client_die("send", strerror(errno));
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
client_header(char *head, const char *name)
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
client_receive(client_thread_t *t)
{
    int      status;
    char     head[CLIENT_HEAD + 1], *end, *value;
    size_t   len, body;
    ssize_t  rc;

    len = 0;
    end = NULL;

    while (end == NULL) {

        if (len == CLIENT_HEAD) {
            client_die("answer", "its head is too long");
        }

        rc = recv(t->fd, head + len, CLIENT_HEAD - len, 0);

        if (rc == -1 && errno == EINTR) {
            continue;
        }

        if (rc <= 0) {
            client_die("receive", rc ? strerror(errno) : "connection closed");
        }

        len += rc;
        head[len] = '\0';
        end = strstr(head, "\r\n\r\n");
    }

    if (sscanf(head, "HTTP/1.1 %d", &status) != 1
        || (status != 200 && status != 201 && status != 204))
    {
        client_die("refused", head);
    }

    end[2] = '\0';
    body = 0;
    value = client_header(head, "Content-Length");

    if (value) {
        body = client_no_body ? 0 : strtoul(value, NULL, 10);

    } else if (status != 204 && !client_no_body) {
        client_die("answer", "without Content-Length");
    }

    /* nothing is pipelined: what came past the head is of its body */

    len -= end + 4 - head;

    if (len > body) {
        client_die("answer", "more bytes than its Content-Length");
    }

    body -= len;

    while (body) {
        rc = recv(t->fd, head, body < CLIENT_HEAD ? body : CLIENT_HEAD, 0);

        if (rc == -1 && errno == EINTR) {
            continue;
        }

        if (rc <= 0) {
            client_die("receive", rc ? strerror(errno) : "connection closed");
        }

        body -= rc;
    }

    value = client_header(head, "Connection");

    return value == NULL || strncasecmp(value, "close", 5) != 0;
}


static void *
client_thread(void *data)
{
    client_thread_t *t = data;

    int               len;
    char              head[2 * CLIENT_LINE];
    double            start;
    size_t            i;
    client_target_t  *target;

    client_connect(t);
    i = t->n;

    pthread_barrier_wait(&client_barrier);

    do {
        target = &client_targets[i];

        len = snprintf(head, sizeof(head),
                       "%s %s HTTP/1.1\r\nHost: %s:%u\r\n%s", client_method,
                       target->target, client_host, client_port,
                       target->header);

        if (target->size || client_method[0] == 'P') {
            len += snprintf(head + len, sizeof(head) - len,
                            "Content-Length: %zu\r\n", target->size);
        }

        len += snprintf(head + len, sizeof(head) - len, "\r\n");

        if ((size_t) len >= sizeof(head)) {
            client_die("request", "its head is too long");
        }

        start = client_now();

        client_send(t, head, len, target);

        if (!client_receive(t)) {
            close(t->fd);
            client_connect(t);
        }

        t->end = client_now();

        if (t->nlatency < CLIENT_LATENCIES) {
            t->latency[t->nlatency++] = (t->end - start) * 1e6;
        }

        t->requests++;

        i += client_connections;

        if (i >= client_ntargets) {

            if (client_once) {
                break;
            }

            i = t->n;
        }

    } while (t->end < client_end);

    close(t->fd);

    return NULL;
}


static int
client_compare(const void *one, const void *two)
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
    client_thread_t  *threads;

    if (argc > 1 && strcmp(argv[1], "-1") == 0) {
        client_once = 1;
        argc--;
        argv++;
    }

    if (argc != 8) {
        fprintf(stderr, "usage: client [-1] METHOD HOST PORT CONNECTIONS "
                "SECONDS SIZE TARGETS\n");
        return 2;
    }

    client_method = argv[1];
    client_no_body = (strcmp(client_method, "HEAD") == 0);
    client_host = argv[2];
    client_port = client_number("PORT", argv[3], 65535);
    client_connections = client_number("CONNECTIONS", argv[4],
                                       CLIENT_CONNECTIONS);
    seconds = client_number("SECONDS", argv[5], 3600);
    client_size = client_number("SIZE", argv[6], 1L << 30);

    if (client_connections == 0) {
        client_die("CONNECTIONS", "out of range");
    }

    client_address.sin_family = AF_INET;
    client_address.sin_port = htons(client_port);

    if (inet_pton(AF_INET, client_host, &client_address.sin_addr) != 1) {
        client_die(client_host, "not an IPv4 address");
    }

    /* bytes that neither a compressor nor a file system can make less of */

    client_body = malloc(client_size + 8);
    threads = calloc(client_connections, sizeof(client_thread_t));

    if (client_body == NULL || threads == NULL) {
        client_die("memory", strerror(errno));
    }

    srandom(1);

    for (i = 0; i < client_size; i += 4) {
        long  bytes = random();

        memcpy(client_body + i, &bytes, 4);
    }

    client_read_targets(argv[7]);

    pthread_barrier_init(&client_barrier, NULL, client_connections + 1);

    for (i = 0; i < client_connections; i++) {
        threads[i].n = i;
        threads[i].latency = malloc(CLIENT_LATENCIES * sizeof(unsigned));

        if (threads[i].latency == NULL
            || pthread_create(&threads[i].tid, NULL, client_thread, &threads[i])
               != 0)
        {
            client_die("thread", "not created");
        }
    }

    start = client_now();
    client_end = start + seconds;

    pthread_barrier_wait(&client_barrier);

    requests = 0;
    n = 0;
    end = start;

    for (i = 0; i < client_connections; i++) {
        pthread_join(threads[i].tid, NULL);

        requests += threads[i].requests;
        n += threads[i].nlatency;

        if (threads[i].end > end) {
            end = threads[i].end;
        }
    }

    latency = malloc(n * sizeof(unsigned));
    if (latency == NULL) {
        client_die("memory", strerror(errno));
    }

    n = 0;

    for (i = 0; i < client_connections; i++) {
        memcpy(latency + n, threads[i].latency,
               threads[i].nlatency * sizeof(unsigned));
        n += threads[i].nlatency;
    }

    qsort(latency, n, sizeof(unsigned), client_compare);

    printf("{\"requests\": %zu, \"seconds\": %.3f, \"p50_us\": %u, "
           "\"p99_us\": %u}\n", requests, end - start, latency[n / 2],
           latency[n - 1 - n / 100]);

    return 0;
}
