
/*
 * s3-credential: edits the file that s3_credentials reads.
 *
 *     lock FILE  ->  read all of it  ->  write .FILE.XXXXXX, fsync
 *     ->  rename over FILE, fsync its directory  ->  unlock
 *
 * Readers see the old file or the new one.  The lock is FILE's own: who gets
 * it looks whether FILE is still that file, and tries again where somebody
 * has renamed another over it meanwhile.  Lines that are not edited, blank
 * ones among them, stay byte for byte, members that we do not know stay.
 *
 * docs/credentials.md is the manual.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>


/* src/auth/s3_credentials.h's, which a file must keep to be loaded */

#define CRED_FILE_MAX       (16 * 1024 * 1024)
#define CRED_MAX            100000
#define CRED_ACCESS_MAX     128
#define CRED_SECRET_MAX     128

#define CRED_NAME_MAX       64

#define CRED_NEW_ACCESS     20
#define CRED_NEW_SECRET     40


/* a line of the file; blank: entry is NULL */

typedef struct {
    const char      *text;                /* without "\n" */
    size_t           len;
    json_t          *entry;
} cred_line_t;


typedef struct {
    const char      *name;                /* as given, for messages */
    char            *path;                /* resolved */
    int              fd;                  /* holds the lock */
    struct stat      st;
    char            *data;
    size_t           size;
    cred_line_t     *lines;
    size_t           nlines;
    json_t          *keys;                /* access_key: index of its line */
    json_t          *names;               /* the same of upstreams' lines */
} cred_file_t;


typedef struct {
    const char      *description;
    const char      *name;                /* of an upstream's */
    const char      *upstream;            /* the one that signs for a client */
    int              show_secrets;
    const char      *key;
} cred_args_t;


static void cred_usage(FILE *out);
static int cred_add(cred_file_t *f, cred_args_t *args);
static int cred_generate(cred_file_t *f, cred_args_t *args);
static int cred_enable(cred_file_t *f, cred_args_t *args);
static int cred_disable(cred_file_t *f, cred_args_t *args);
static int cred_remove(cred_file_t *f, cred_args_t *args);
static int cred_list(cred_file_t *f, cred_args_t *args);
static int cred_stats(cred_file_t *f, cred_args_t *args);
static int cred_switch(cred_file_t *f, cred_args_t *args, int enabled);
static int cred_append(cred_file_t *f, const char *access, const char *secret,
    cred_args_t *args);
static int cred_add_strings(json_t *entry, cred_args_t *args);
static int cred_find(cred_file_t *f, cred_args_t *args, size_t *line);
static int cred_references(cred_file_t *f);
static const char *cred_index(cred_file_t *f, json_t *entry, size_t line);
static int cred_is_upstream(const json_t *entry);
static const char *cred_name_error(const json_t *entry);
static int cred_check_access(const char *access);
static int cred_enabled(const json_t *entry);
static int cred_open(cred_file_t *f, int create);
static int cred_lock(cred_file_t *f);
static int cred_parse(cred_file_t *f);
static const char *cred_entry_error(const json_t *entry);
static void cred_close(cred_file_t *f);
static int cred_save(cred_file_t *f, size_t edited, const char *text);
static int cred_write(cred_file_t *f, int fd, size_t edited,
    const char *text);
static int cred_write_all(int fd, const char *data, size_t len);
static int cred_sync_directory(const char *path);
static int cred_read_secret(char *secret, size_t size);
static int cred_read_line(char *line, size_t size);
static int cred_random(char *text, size_t len, const char *alphabet);
static void cred_print(const char *text);
static void cred_interrupted(int number);
static void cred_error(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));


static const struct {
    const char  *name;
    int        (*handler)(cred_file_t *f, cred_args_t *args);
    int          key;                     /* takes an access key */
    int          create;                  /* makes a file that is not there */
    const char  *help;
} cred_commands[] = {
    { "add", cred_add, 1, 1,
      "[--upstream NAME | --name NAME] FILE KEY  (secret: stdin)" },
    { "generate", cred_generate, 0, 1, "[--upstream NAME] FILE" },
    { "list", cred_list, 0, 0, "FILE" },
    { "disable", cred_disable, 1, 0, "FILE KEY | --name NAME FILE" },
    { "enable", cred_enable, 1, 0, "FILE KEY | --name NAME FILE" },
    { "remove", cred_remove, 1, 0, "FILE KEY | --name NAME FILE" },
    { "stats", cred_stats, 0, 0, "FILE" },
    { NULL, NULL, 0, 0, NULL }
};


static volatile sig_atomic_t  cred_signal;


int
main(int argc, char **argv)
{
    int          c, i, rc, key;
    cred_args_t  args;
    cred_file_t  f;

    static const struct option  options[] = {
        { "description", required_argument, NULL, 'd' },
        { "name", required_argument, NULL, 'n' },
        { "upstream", required_argument, NULL, 'u' },
        { "show-secrets", no_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };

    memset(&args, 0, sizeof(cred_args_t));
    memset(&f, 0, sizeof(cred_file_t));

    while ((c = getopt_long(argc, argv, "d:h", options, NULL)) != -1) {
        switch (c) {
        case 'd':
            args.description = optarg;
            break;
        case 'n':
            args.name = optarg;
            break;
        case 'u':
            args.upstream = optarg;
            break;
        case 's':
            args.show_secrets = 1;
            break;
        case 'h':
            cred_usage(stdout);
            return 0;
        default:
            cred_usage(stderr);
            return 2;
        }
    }

    argc -= optind;
    argv += optind;

    for (i = 0; cred_commands[i].name; i++) {
        if (argc > 0 && strcmp(argv[0], cred_commands[i].name) == 0) {
            break;
        }
    }

    /* an upstream's line is found by its name */

    key = cred_commands[i].key
          && (args.name == NULL || cred_commands[i].create);

    if (cred_commands[i].name == NULL
        || argc != 2 + key
        || (args.name && !cred_commands[i].key)
        || ((args.description || args.upstream) && !cred_commands[i].create)
        || (args.name && args.upstream)
        || (args.show_secrets && cred_commands[i].handler != cred_list))
    {
        cred_usage(stderr);
        return 2;
    }

    f.name = argv[1];
    f.fd = -1;
    args.key = argv[2];                   /* or NULL, which ends argv */

    /* what is written holds secrets, core dumps would as well */

    umask(077);

    if (cred_commands[i].create && args.key
        && cred_check_access(args.key) != 0)
    {
        return 1;
    }

    rc = -1;

    if (cred_commands[i].handler == cred_add) {

        /* it opens the file itself: nobody waits while a secret is typed */

        rc = cred_add(&f, &args);

    } else if (cred_open(&f, cred_commands[i].create) == 0) {
        rc = cred_commands[i].handler(&f, &args);
    }

    cred_close(&f);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        cred_error("standard output: %s", strerror(errno));
        rc = -1;
    }

    return rc == 0 ? 0 : 1;
}


static void
cred_usage(FILE *out)
{
    int  i;

    fprintf(out, "usage:\n");

    for (i = 0; cred_commands[i].name; i++) {
        fprintf(out, "  s3-credential %-8s %s%s\n", cred_commands[i].name,
                cred_commands[i].create ? "[--description TEXT] "
                : cred_commands[i].handler == cred_list ? "[--show-secrets] "
                : "", cred_commands[i].help);
    }
}


/* ---- commands: 0, or -1 and a message was written */


static int
cred_add(cred_file_t *f, cred_args_t *args)
{
    int   rc;
    char  secret[CRED_SECRET_MAX + 2];

    rc = cred_read_secret(secret, sizeof(secret));

    if (rc == 0) {
        rc = cred_open(f, 1);
    }

    if (rc == 0) {
        rc = cred_append(f, args->key, secret, args);
    }

    explicit_bzero(secret, sizeof(secret));

    return rc;
}


static int
cred_generate(cred_file_t *f, cred_args_t *args)
{
    int   rc;
    char  access[CRED_NEW_ACCESS + 1], secret[CRED_NEW_SECRET + 1];

    /* 100 and 238 bits; letters and digits need no quoting anywhere */

    if (cred_random(access, CRED_NEW_ACCESS,
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
        != 0
        || cred_random(secret, CRED_NEW_SECRET,
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "abcdefghijklmnopqrstuvwxyz0123456789")
           != 0)
    {
        return -1;
    }

    rc = cred_append(f, access, secret, args);

    if (rc == 0) {
        printf("access_key %s\nsecret_key %s\n", access, secret);
    }

    explicit_bzero(secret, sizeof(secret));

    return rc;
}


static int
cred_disable(cred_file_t *f, cred_args_t *args)
{
    return cred_switch(f, args, 0);
}


static int
cred_enable(cred_file_t *f, cred_args_t *args)
{
    return cred_switch(f, args, 1);
}


static int
cred_switch(cred_file_t *f, cred_args_t *args, int enabled)
{
    int      rc;
    char    *text;
    size_t   line;

    if (cred_find(f, args, &line) != 0) {
        return -1;
    }

    if (cred_enabled(f->lines[line].entry) == enabled) {
        return 0;
    }

    if (json_object_set_new(f->lines[line].entry, "enabled",
                            json_boolean(enabled))
        != 0)
    {
        cred_error("out of memory");
        return -1;
    }

    text = json_dumps(f->lines[line].entry, 0);
    if (text == NULL) {
        cred_error("out of memory");
        return -1;
    }

    rc = cred_save(f, line, text);

    explicit_bzero(text, strlen(text));
    free(text);

    return rc;
}


static int
cred_remove(cred_file_t *f, cred_args_t *args)
{
    size_t  line;

    if (cred_find(f, args, &line) != 0) {
        return -1;
    }

    if (args->name) {
        (void) json_object_del(f->names, args->name);

        if (cred_references(f) != 0) {
            return -1;
        }
    }

    return cred_save(f, line, NULL);
}


static int
cred_list(cred_file_t *f, cred_args_t *args)
{
    size_t       i;
    json_t      *entry;
    const char  *text;

    for (i = 0; i < f->nlines; i++) {
        entry = f->lines[i].entry;

        if (entry == NULL) {
            continue;
        }

        cred_print(json_string_value(json_object_get(entry, "access_key")));
        printf("\t%s\t", cred_enabled(entry) ? "enabled" : "disabled");

        if (args->show_secrets) {
            cred_print(json_string_value(json_object_get(entry,
                                                         "secret_key")));
            putchar('\t');
        }

        text = json_string_value(json_object_get(entry, "created_at"));
        cred_print(text ? text : "-");
        putchar('\t');

        text = json_string_value(json_object_get(entry, "description"));
        cred_print(text ? text : "");

        text = json_string_value(json_object_get(entry, "name"));

        if (cred_is_upstream(entry)) {
            printf("\tname ");
            cred_print(text);

        } else {
            text = json_string_value(json_object_get(entry, "upstream"));

            if (text) {
                printf("\tupstream ");
                cred_print(text);
            }
        }

        putchar('\n');
    }

    return 0;
}


static int
cred_stats(cred_file_t *f, cred_args_t *args)
{
    size_t  i, keys, enabled;

    (void) args;

    for (i = 0, keys = 0, enabled = 0; i < f->nlines; i++) {
        if (f->lines[i].entry) {
            keys++;
            enabled += cred_enabled(f->lines[i].entry);
        }
    }

    printf("keys %zu\nenabled %zu\ndisabled %zu\nbytes %zu\nmode %04o\n",
           keys, enabled, keys - enabled, f->size,
           (unsigned) (f->st.st_mode & 07777));

    return 0;
}


/* ---- what they share */


static int
cred_append(cred_file_t *f, const char *access, const char *secret,
    cred_args_t *args)
{
    int          rc;
    char        *text;
    char         now[sizeof("2026-01-31T23:59:59Z")];
    json_t      *entry;
    time_t       t;
    struct tm    tm;
    const char  *error;

    if (args->name == NULL && json_object_get(f->keys, access)) {
        cred_error("%s: \"%s\" is there already; remove it first", f->name,
                   access);
        return -1;
    }

    if (args->name && json_object_get(f->names, args->name)) {
        cred_error("%s: the name \"%s\" is there already; remove it first",
                   f->name, args->name);
        return -1;
    }

    if (json_object_size(f->keys) + json_object_size(f->names) >= CRED_MAX) {
        cred_error("%s: has %d keys, more are not loaded", f->name, CRED_MAX);
        return -1;
    }

    t = time(NULL);

    if (gmtime_r(&t, &tm) == NULL
        || strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        cred_error("what time is it?");
        return -1;
    }

    entry = json_pack("{s:s, s:s, s:b, s:s}", "access_key", access,
                      "secret_key", secret, "enabled", 1, "created_at", now);

    if (entry == NULL || cred_add_strings(entry, args) != 0) {
        cred_error("secret, names and description must be UTF-8");
        json_decref(entry);
        return -1;
    }

    error = cred_name_error(entry);

    if (error) {
        cred_error("%s", error);
        json_decref(entry);
        return -1;
    }

    if (args->upstream && strcmp(args->upstream, "self") != 0
        && json_object_get(f->names, args->upstream) == NULL)
    {
        cred_error("%s: no upstream has the name \"%s\"; add it first",
                   f->name, args->upstream);
        json_decref(entry);
        return -1;
    }

    text = json_dumps(entry, 0);
    json_decref(entry);

    if (text == NULL) {
        cred_error("out of memory");
        return -1;
    }

    rc = -1;

    if (f->size + strlen(text) + 2 > CRED_FILE_MAX) {
        cred_error("%s: would be larger than %d bytes", f->name,
                   CRED_FILE_MAX);

    } else {
        rc = cred_save(f, f->nlines, text);
    }

    explicit_bzero(text, strlen(text));
    free(text);

    return rc;
}


static int
cred_add_strings(json_t *entry, cred_args_t *args)
{
    if ((args->description
         && json_object_set_new(entry, "description",
                                json_string(args->description))
            != 0)
        || (args->upstream
            && json_object_set_new(entry, "upstream",
                                   json_string(args->upstream))
               != 0))
    {
        return -1;
    }

    return args->name
           && (json_object_set_new(entry, "type", json_string("upstream"))
               != 0
               || json_object_set_new(entry, "name", json_string(args->name))
                  != 0)
           ? -1 : 0;
}


static int
cred_find(cred_file_t *f, cred_args_t *args, size_t *line)
{
    json_t  *index;

    index = args->name ? json_object_get(f->names, args->name)
                       : json_object_get(f->keys, args->key);

    if (index == NULL) {
        cred_error("%s: no such %s, \"%s\"", f->name,
                   args->name ? "name" : "key",
                   args->name ? args->name : args->key);
        return -1;
    }

    *line = (size_t) json_integer_value(index);

    return 0;
}


/* every name that clients use is there */

static int
cred_references(cred_file_t *f)
{
    size_t       i;
    json_t      *entry;
    const char  *name;

    for (i = 0; i < f->nlines; i++) {
        entry = f->lines[i].entry;

        name = json_string_value(json_object_get(entry, "upstream"));

        if (name == NULL || cred_is_upstream(entry)
            || strcmp(name, "self") == 0
            || json_object_get(f->names, name))
        {
            continue;
        }

        cred_error("%s: the upstream \"%s\" signs for the key \"%s\"",
                   f->name, name,
                   json_string_value(json_object_get(entry, "access_key")));
        return -1;
    }

    return 0;
}


/* What could not stand in an Authorization header is not loaded. */

static int
cred_check_access(const char *access)
{
    size_t         i, len;
    unsigned char  ch;

    len = strlen(access);

    for (i = 0; i < len; i++) {
        ch = (unsigned char) access[i];

        if (ch <= 0x20 || ch >= 0x7f || ch == ',' || ch == '=') {
            break;
        }
    }

    if (len == 0 || len > CRED_ACCESS_MAX || i < len) {
        cred_error("an access key has 1 to %d printable ASCII characters, "
                   "none of them space, comma or equals sign",
                   CRED_ACCESS_MAX);
        return -1;
    }

    return 0;
}


static int
cred_enabled(const json_t *entry)
{
    json_t  *v;

    v = json_object_get(entry, "enabled");

    return v == NULL || json_is_true(v);
}


/* ---- the file */


static int
cred_open(cred_file_t *f, int create)
{
    int  i;

    /* a link stays one: what it points to is replaced */

    for (i = 0; f->path == NULL && i < 2; i++) {

        f->path = realpath(f->name, NULL);

        if (f->path == NULL && errno == ENOENT && create && i == 0) {

            /* of two who make it at once one does, both go on */

            f->fd = open(f->name, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

            if (f->fd == -1 && errno != EEXIST) {
                break;
            }

            if (f->fd != -1) {
                (void) close(f->fd);
                f->fd = -1;
            }
        }
    }

    if (f->path == NULL) {
        cred_error("%s: %s", f->name, strerror(errno));
        return -1;
    }

    if (cred_lock(f) != 0) {
        return -1;
    }

    return cred_parse(f);
}


static int
cred_lock(cred_file_t *f)
{
    ssize_t      n;
    struct stat  st;

    for ( ;; ) {

        f->fd = open(f->path, O_RDONLY|O_CLOEXEC|O_NONBLOCK);
        if (f->fd == -1) {
            goto failed;
        }

        while (flock(f->fd, LOCK_EX) == -1) {
            if (errno != EINTR) {
                goto failed;
            }
        }

        if (fstat(f->fd, &f->st) == -1 || stat(f->path, &st) == -1) {
            goto failed;
        }

        if (st.st_dev == f->st.st_dev && st.st_ino == f->st.st_ino) {
            break;
        }

        (void) close(f->fd);
    }

    if (!S_ISREG(f->st.st_mode)) {
        cred_error("%s: not a regular file", f->name);
        return -1;
    }

    if (f->st.st_size > CRED_FILE_MAX) {
        cred_error("%s: larger than %d bytes", f->name, CRED_FILE_MAX);
        return -1;
    }

    f->data = malloc((size_t) f->st.st_size + 1);
    if (f->data == NULL) {
        cred_error("out of memory");
        return -1;
    }

    while (f->size < (size_t) f->st.st_size) {
        n = read(f->fd, f->data + f->size,
                 (size_t) f->st.st_size - f->size);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            goto failed;
        }

        if (n == 0) {
            break;
        }

        f->size += (size_t) n;
    }

    return 0;

failed:

    cred_error("%s: %s", f->name, strerror(errno));

    return -1;
}


/* Refuses what nginx would not load, and quotes none of it. */

static int
cred_parse(cred_file_t *f)
{
    char          *p, *last, *end;
    size_t         i, n;
    cred_line_t   *line;
    const char    *error;
    json_error_t   e;

    last = f->data + f->size;

    for (p = f->data, n = 0; p < last; p++) {
        n += (*p == '\n');
    }

    f->lines = calloc(n + 1, sizeof(cred_line_t));
    f->keys = json_object();
    f->names = json_object();

    if (f->lines == NULL || f->keys == NULL || f->names == NULL) {
        cred_error("out of memory");
        return -1;
    }

    for (p = f->data; p < last; p = end + 1) {

        end = memchr(p, '\n', (size_t) (last - p));
        end = end ? end : last;

        line = &f->lines[f->nlines++];
        line->text = p;
        line->len = (size_t) (end - p);

        for (i = 0; i < line->len; i++) {
            if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') {
                break;
            }
        }

        if (i == line->len) {
            continue;
        }

        line->entry = json_loadb(p, line->len, JSON_REJECT_DUPLICATES, &e);

        error = cred_entry_error(line->entry);

        if (error == NULL) {
            error = cred_index(f, line->entry, f->nlines - 1);
        }

        if (error) {
            cred_error("%s:%zu: %s", f->name, f->nlines, error);
            return -1;
        }
    }

    return cred_references(f);
}


/* an access key may be a client's and, besides, upstreams' */

static const char *
cred_index(cred_file_t *f, json_t *entry, size_t line)
{
    json_t      *index;
    const char  *text;

    if (cred_is_upstream(entry)) {
        index = f->names;
        text = json_string_value(json_object_get(entry, "name"));

        if (json_object_get(index, text)) {
            return "\"name\" was used before in this file";
        }

    } else {
        index = f->keys;
        text = json_string_value(json_object_get(entry, "access_key"));

        if (json_object_get(index, text)) {
            return "\"access_key\" was used before in this file";
        }
    }

    return json_object_set_new(index, text, json_integer((json_int_t) line))
           == 0 ? NULL : "out of memory";
}


static int
cred_is_upstream(const json_t *entry)
{
    const char  *type;

    type = json_string_value(json_object_get(entry, "type"));

    return type && strcmp(type, "upstream") == 0;
}


static const char *
cred_name_error(const json_t *entry)
{
    int          upstream;
    size_t       i, len;
    json_t      *v;
    const char  *text;

    v = json_object_get(entry, "type");
    text = json_string_value(v);

    if (v && (text == NULL || (strcmp(text, "client") != 0
                               && strcmp(text, "upstream") != 0)))
    {
        return "\"type\" is neither \"client\" nor \"upstream\"";
    }

    upstream = cred_is_upstream(entry);

    v = json_object_get(entry, upstream ? "name" : "upstream");

    if (v == NULL && !upstream) {
        return NULL;
    }

    text = json_string_value(v);
    len = json_string_length(v);

    for (i = 0; i < len; i++) {
        if ((unsigned char) text[i] <= 0x20 || (unsigned char) text[i] >= 0x7f)
        {
            break;
        }
    }

    if (len == 0 || len > CRED_NAME_MAX || i < len) {
        return upstream ? "\"name\" of an upstream's must have 1 to 64 "
                          "printable characters without space"
                        : "\"upstream\" must be the \"name\" of an "
                          "upstream's, or \"self\"";
    }

    if (upstream && strcmp(text, "self") == 0) {
        return "\"self\" is no name of an upstream's: it means a client's "
               "own pair";
    }

    return NULL;
}


static const char *
cred_entry_error(const json_t *entry)
{
    size_t         i, len;
    json_t        *v;
    const char    *text;
    unsigned char  ch;

    if (!json_is_object(entry)) {
        return "not a JSON object";
    }

    v = json_object_get(entry, "access_key");
    text = json_string_value(v);
    len = json_string_length(v);

    if (text == NULL || len == 0 || len > CRED_ACCESS_MAX) {
        return "\"access_key\" is no string of 1 to 128 characters";
    }

    for (i = 0; i < len; i++) {
        ch = (unsigned char) text[i];

        if (ch <= 0x20 || ch >= 0x7f || ch == ',' || ch == '=') {
            return "\"access_key\" must be printable ASCII without space, "
                   "comma and equals sign";
        }
    }

    v = json_object_get(entry, "secret_key");
    len = json_string_length(v);

    if (!json_is_string(v) || len == 0 || len > CRED_SECRET_MAX) {
        return "\"secret_key\" is no string of 1 to 128 bytes";
    }

    v = json_object_get(entry, "enabled");

    if (v && !json_is_boolean(v)) {
        return "\"enabled\" is neither true nor false";
    }

    v = json_object_get(entry, "created_at");

    if (v && !json_is_string(v)) {
        return "\"created_at\" is not a string";
    }

    v = json_object_get(entry, "description");

    if (v && !json_is_string(v)) {
        return "\"description\" is not a string";
    }

    return cred_name_error(entry);
}


static void
cred_close(cred_file_t *f)
{
    size_t  i;

    for (i = 0; i < f->nlines; i++) {
        json_decref(f->lines[i].entry);
    }

    json_decref(f->keys);
    json_decref(f->names);

    if (f->data) {
        explicit_bzero(f->data, f->size);
    }

    free(f->data);
    free(f->lines);
    free(f->path);

    /* the lock goes with it, after the rename */

    if (f->fd != -1) {
        (void) close(f->fd);
    }
}


/*
 * The file with line "edited" replaced by text, or without it (NULL), or with
 * text as another line (edited is the number of lines).
 */

static int
cred_save(cred_file_t *f, size_t edited, const char *text)
{
    int        fd, rc;
    char      *tmp, *slash;
    mode_t     mode;
    sigset_t   all, old;

    if (asprintf(&tmp, "%s.XXXXXX", f->path) == -1) {
        cred_error("out of memory");
        return -1;
    }

    /* a name that no pattern such as *.jsonl takes: ".keys.jsonl.XXXXXX" */

    slash = strrchr(f->path, '/');

    if (slash) {
        free(tmp);

        if (asprintf(&tmp, "%.*s/.%s.XXXXXX", (int) (slash - f->path),
                     f->path, slash + 1)
            == -1)
        {
            cred_error("out of memory");
            return -1;
        }
    }

    /* what is interrupted leaves no file with secrets behind */

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);

    rc = -1;
    fd = mkstemp(tmp);

    if (fd == -1) {
        cred_error("%s: %s", tmp, strerror(errno));
        goto done;
    }

    /*
     * The owner stays, and so does what the group may: nginx's workers read
     * the file as another user.  Everybody else never may.
     */

    mode = f->st.st_mode & 0660;

    if ((geteuid() != f->st.st_uid || getegid() != f->st.st_gid)
        && fchown(fd, f->st.st_uid, f->st.st_gid) == -1)
    {
        cred_error("%s: its owner cannot be kept: %s", f->name,
                   strerror(errno));

    } else if (fchmod(fd, mode) == -1
               || cred_write(f, fd, edited, text) != 0
               || fsync(fd) == -1)
    {
        cred_error("%s: %s", tmp, strerror(errno));

    } else if (rename(tmp, f->path) == -1
               || cred_sync_directory(f->path) != 0)
    {
        cred_error("%s: %s", f->name, strerror(errno));

    } else {
        rc = 0;
    }

    if (rc != 0) {
        (void) unlink(tmp);
    }

    (void) close(fd);

done:

    sigprocmask(SIG_SETMASK, &old, NULL);
    free(tmp);

    return rc;
}


static int
cred_write(cred_file_t *f, int fd, size_t edited, const char *text)
{
    size_t        i;
    const char   *p;
    cred_line_t  *line;

    for (i = 0; i <= f->nlines; i++) {

        if (i == edited) {
            if (text && (cred_write_all(fd, text, strlen(text)) != 0
                         || cred_write_all(fd, "\n", 1) != 0))
            {
                return -1;
            }

            continue;
        }

        if (i == f->nlines) {
            break;
        }

        line = &f->lines[i];
        p = line->text;

        if (cred_write_all(fd, p, line->len) != 0
            || cred_write_all(fd, "\n", 1) != 0)
        {
            return -1;
        }
    }

    return 0;
}


/* Buffered by hand: stdio would keep secrets in memory it does not wipe. */

static int
cred_write_all(int fd, const char *data, size_t len)
{
    ssize_t  n;

    while (len) {
        n = write(fd, data, len);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return -1;
        }

        data += n;
        len -= (size_t) n;
    }

    return 0;
}


static int
cred_sync_directory(const char *path)
{
    int    fd, rc;
    char  *directory, *slash;

    directory = strdup(path);
    if (directory == NULL) {
        return -1;
    }

    slash = strrchr(directory, '/');

    if (slash == directory) {
        slash++;
    }

    if (slash) {
        *slash = '\0';
    }

    fd = open(slash ? directory : ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    free(directory);

    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);
    (void) close(fd);

    return rc;
}


/* ---- secrets */


/* From standard input: arguments are seen by everybody in ps. */

static int
cred_read_secret(char *secret, size_t size)
{
    int               rc;
    char              again[CRED_SECRET_MAX + 2];
    struct termios    quiet, old;
    struct sigaction  sa;

    if (!isatty(STDIN_FILENO)) {
        return cred_read_line(secret, size);
    }

    /* no SA_RESTART: the read ends, and the terminal is put back */

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = cred_interrupted;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    sigaction(SIGQUIT, &sa, NULL);

    if (tcgetattr(STDIN_FILENO, &old) == -1) {
        cred_error("terminal: %s", strerror(errno));
        return -1;
    }

    quiet = old;
    quiet.c_lflag &= ~(tcflag_t) ECHO;

    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == -1) {
        cred_error("terminal: %s", strerror(errno));
        return -1;
    }

    fprintf(stderr, "Secret key: ");
    rc = cred_read_line(secret, size);

    if (rc == 0) {
        fprintf(stderr, "\nAgain: ");
        rc = cred_read_line(again, sizeof(again));
    }

    fprintf(stderr, "\n");
    (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);

    if (rc == 0 && strcmp(secret, again) != 0) {
        cred_error("the two are not the same");
        rc = -1;
    }

    explicit_bzero(again, sizeof(again));

    return rc;
}


static int
cred_read_line(char *line, size_t size)
{
    char     ch;
    size_t   len;
    ssize_t  n;

    for (len = 0; len < size; /* void */ ) {

        n = read(STDIN_FILENO, &ch, 1);

        if (cred_signal) {
            return -1;
        }

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            cred_error("standard input: %s", strerror(errno));
            return -1;
        }

        if (n == 0 || ch == '\n') {
            break;
        }

        if ((unsigned char) ch < 0x20 || ch == 0x7f) {
            cred_error("a secret key holds no control characters");
            return -1;
        }

        line[len++] = ch;
    }

    if (len == 0 || len > CRED_SECRET_MAX) {
        cred_error("a secret key has 1 to %d bytes, on one line of standard "
                   "input", CRED_SECRET_MAX);
        return -1;
    }

    line[len] = '\0';

    return 0;
}


static int
cred_random(char *text, size_t len, const char *alphabet)
{
    size_t         i, n;
    ssize_t        got;
    unsigned char  byte;

    n = strlen(alphabet);

    for (i = 0; i < len; /* void */ ) {

        got = getrandom(&byte, 1, 0);

        if (got == -1 && errno != EINTR) {
            cred_error("getrandom(): %s", strerror(errno));
            return -1;
        }

        /* the last, incomplete round of the alphabet would favour some */

        if (got == 1 && byte < 256 - 256 % n) {
            text[i++] = alphabet[byte % n];
        }
    }

    text[len] = '\0';

    return 0;
}


/* Descriptions are anybody's text, terminals obey what they are sent. */

static void
cred_print(const char *text)
{
    const unsigned char  *p;

    for (p = (const unsigned char *) text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || *p == '\\') {
            printf("\\x%02x", *p);

        } else if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
            printf("\\x%02x", *++p);

        } else {
            putchar(*p);
        }
    }
}


static void
cred_interrupted(int number)
{
    cred_signal = number;
}


static void
cred_error(const char *fmt, ...)
{
    va_list  args;

    fprintf(stderr, "s3-credential: ");

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fprintf(stderr, "\n");
}
