/*
 * Every object that can be read into a directory:
 *
 *     DIR/BUCKET/KEY            where the key is a path that a file may have
 *     DIR/_other/SHA256         else; of bucket (its id where it has no name),
 *                               0, key, 0, version
 *     DIR/_manifest.jsonl       which is which, and all that a file has not
 *     DIR/.partial              while it is written
 *
 * No bucket's name begins with "_" or ".".  A file gets its name when all of
 * it was compared with its checksums, by a rename that replaces nothing.  Keys
 * are anybody's: each name of a path is looked at, and no link is followed.
 */


#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>


#define ST_PARTIAL         ".partial"
#define ST_OTHER           "_other"
#define ST_MANIFEST        "_manifest.jsonl"
#define ST_UP_MAX          1024


typedef struct {
    st_set_t       *set;
    const char     *path;              /* of DIR */
    int             dir;
    FILE           *manifest;
    int             fd;                /* of the file that is written */
    int             error;             /* that ends it */
    int             rc;                /* exit status */
    uint64_t        done;
    uint64_t        written;
    uint64_t        renamed;           /* of them in _other */
    uint64_t        lost;
    uint64_t        bytes;
} st_salvage_t;


static int st_salvage_open(st_salvage_t *s);
static int st_salvage_make(st_salvage_t *s);
static int st_salvage_outside(st_salvage_t *s, int dir);
static int st_salvage_object(void *data, const st_object_t *object);
static int st_salvage_sink(void *data, const uint8_t *p, size_t n);
static int st_salvage_place(st_salvage_t *s, const st_object_t *o,
    char **name);
static int st_salvage_path(st_salvage_t *s, const st_object_t *o,
    char **name);
static int st_salvage_folder(int parent, const char *name);
static int st_salvage_rename(int from, int dir, const char *name);
static int st_name_good(const uint8_t *p, size_t n);
static int st_salvage_note(st_salvage_t *s, const st_object_t *o,
    const char *name, st_report_t *report);
static void st_salvage_time(int fd, int64_t ms);


int
st_salvage(st_set_t *set, char **args)
{
    int           broken;
    char         *path;
    json_t       *j;
    uint64_t      bytes;
    st_salvage_t  s;

    memset(&s, 0, sizeof(st_salvage_t));

    s.set = set;
    s.path = args[0];
    s.fd = -1;
    s.rc = st_set_verdict(set);

    st_set_warn(set);

    if (set->ncurrent == 0) {
        st_error("no index can be read: which objects there are is not "
                 "known");
        return ST_LOST;
    }

    if (st_salvage_open(&s) != 0) {
        return ST_FAILED;
    }

    if (st_index_number(set, "SELECT total(size) FROM object", &bytes)
        != 0)
    {
        bytes = 0;
    }

    st_progress_start("salvage", bytes);

    broken = 0;
    (void) st_objects(set, st_salvage_object, &s, &broken);

    st_progress_end();

    if (broken) {
        s.rc = ST_LOST;
        st_error("no index has all rows of objects: those behind the damage "
                 "were taken from the end, some may be missing");
    }

    if (fclose(s.manifest) != 0 && s.error == 0) {
        s.error = errno;
    }

    if (syncfs(s.dir) == -1 && s.error == 0) {
        s.error = errno;
    }

    (void) close(s.dir);

    if (st_json) {
        j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "type", "summary",
                      "written", (json_int_t) s.written,
                      "under_other_names", (json_int_t) s.renamed,
                      "lost", (json_int_t) s.lost,
                      "bytes", (json_int_t) s.bytes,
                      "complete", s.error == 0 && !broken);
        if (j == NULL) {
            st_no_memory();
        }

        st_json_line(j);

    } else {
        st_print("%llu objects written, %llu of them in " ST_OTHER ", %llu "
                 "bytes; %llu lost",
                 (unsigned long long) s.written,
                 (unsigned long long) s.renamed,
                 (unsigned long long) s.bytes, (unsigned long long) s.lost);
    }

    if (s.error) {
        path = st_escape(s.path, strlen(s.path));
        st_error("\"%s\": %s: not all objects were looked at", path,
                 strerror(s.error));
        free(path);
        return ST_FAILED;
    }

    return s.rc;
}


/* a directory that is new or empty, and not on a disk of the set */

static int
st_salvage_open(st_salvage_t *s)
{
    int             fd;
    DIR            *dir;
    char           *path;
    struct dirent  *entry;

    path = st_escape(s->path, strlen(s->path));

    if (st_salvage_make(s) != 0) {

        if (errno == EXDEV) {
            st_error("\"%s\" is on one of the disks, on which nothing is "
                     "written: name a directory elsewhere", path);
        } else {
            st_error("\"%s\": %s", path, strerror(errno));
        }

        goto failed;
    }

    fd = openat(s->dir, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    dir = fd == -1 ? NULL : fdopendir(fd);

    if (dir == NULL) {
        st_error("\"%s\": %s", path, strerror(errno));
        goto failed;
    }

    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0
            && strcmp(entry->d_name, "..") != 0
            && strcmp(entry->d_name, "lost+found") != 0)
        {
            break;
        }
    }

    (void) closedir(dir);

    if (entry) {
        st_error("\"%s\" is not empty: nothing is ever overwritten, name "
                 "another directory", path);
        goto failed;
    }

    fd = openat(s->dir, ST_MANIFEST, O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW
                                     |O_CLOEXEC, 0600);
    s->manifest = fd == -1 ? NULL : fdopen(fd, "w");

    if (s->manifest == NULL) {
        st_error("\"%s/" ST_MANIFEST "\": %s", path, strerror(errno));
        goto failed;
    }

    free(path);

    return 0;

failed:

    if (s->dir != -1) {
        (void) close(s->dir);
    }

    free(path);

    return -1;
}


/* opens it, made where it is not there; -1, errno: EXDEV on a disk */

static int
st_salvage_make(st_salvage_t *s)
{
    int    parent, rc, err;
    char  *path, *name;

    s->dir = open(s->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (s->dir != -1) {
        return st_salvage_outside(s, s->dir);
    }

    if (errno != ENOENT) {
        return -1;
    }

    /* where it will be is looked at before anything is there */

    path = strdup(s->path);
    if (path == NULL) {
        st_no_memory();
    }

    name = path + strlen(path);

    while (name > path && name[-1] == '/') {
        *--name = '\0';
    }

    name = strrchr(path, '/');

    if (name == NULL) {
        name = path;
        parent = open(".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    } else {
        *name++ = '\0';
        parent = open(name == path + 1 ? "/" : path,
                      O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    }

    rc = -1;

    if (parent != -1 && st_salvage_outside(s, parent) == 0
        && mkdirat(parent, name, 0700) == 0)
    {
        s->dir = openat(parent, name,
                        O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        rc = s->dir == -1 ? -1 : 0;
    }

    err = errno;

    if (parent != -1) {
        (void) close(parent);
    }

    free(path);
    errno = err;

    return rc;
}


/* upwards to the root: none of it may be a disk */

static int
st_salvage_outside(st_salvage_t *s, int dir)
{
    int          fd, up, rc, n, err;
    unsigned     i;
    struct stat  st, last;

    fd = dir;
    rc = -1;
    memset(&last, 0, sizeof(struct stat));

    for (n = 0; n < ST_UP_MAX; n++) {

        if (fstat(fd, &st) == -1) {
            break;
        }

        for (i = 0; i < s->set->n; i++) {
            if (s->set->disk[i].fd != -1 && s->set->disk[i].dev == st.st_dev
                && s->set->disk[i].ino == st.st_ino)
            {
                errno = EXDEV;
                goto done;
            }
        }

        if (n && st.st_dev == last.st_dev && st.st_ino == last.st_ino) {
            rc = 0;
            break;
        }

        last = st;

        up = openat(fd, "..", O_PATH|O_DIRECTORY|O_CLOEXEC);

        if (fd != dir) {
            err = errno;
            (void) close(fd);
            errno = err;
        }

        fd = up;

        if (fd == -1) {
            return -1;
        }
    }

done:

    if (fd != dir) {
        err = errno;
        (void) close(fd);
        errno = err;
    }

    return rc;
}


/* ---- an object */


static int
st_salvage_object(void *data, const st_object_t *o)
{
    int            rc;
    char          *name, *text;
    st_report_t    report;
    st_salvage_t  *s = data;

    if (o->flags & ST_DELETE_MARKER) {
        return 0;
    }

    s->fd = openat(s->dir, ST_PARTIAL, O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW
                                       |O_CLOEXEC, 0600);
    if (s->fd == -1) {
        s->error = errno;
        return -1;
    }

    name = NULL;
    st_report_init(&report);

    rc = st_object_read(s->set, o, st_salvage_sink, s, &report);

    if (rc == 0 && report.verdict != ST_GONE) {
        st_salvage_time(s->fd, o->mtime);
        rc = st_salvage_place(s, o, &name);
    }

    (void) close(s->fd);
    s->fd = -1;

    if (name == NULL) {
        (void) unlinkat(s->dir, ST_PARTIAL, 0);
    }

    if (rc == 0) {
        rc = st_salvage_note(s, o, name, &report);
    }

    if (rc == 0 && report.verdict == ST_GONE) {
        s->lost++;
        s->rc = ST_LOST;

        if (!st_json) {
            text = st_object_name(o->bucket, o->key, o->version);
            st_print("lost: %s", text);
            free(text);
        }

    } else if (rc == 0) {
        s->written++;
        s->bytes += o->size;

        if (report.verdict == ST_SHORT && s->rc == ST_OK) {
            s->rc = ST_DAMAGED;
        }
    }

    free(name);
    st_report_free(&report);

    s->done += o->size;
    st_progress(s->done);

    return rc;
}


static int
st_salvage_sink(void *data, const uint8_t *p, size_t n)
{
    ssize_t        got;
    st_salvage_t  *s = data;

    while (n) {
        got = write(s->fd, p, n);

        if (got == -1) {
            if (errno == EINTR) {
                continue;
            }

            s->error = errno;
            return -1;
        }

        p += got;
        n -= (size_t) got;
    }

    return 0;
}


/* 0 and the name that it has got; -1: s->error */

static int
st_salvage_place(st_salvage_t *s, const st_object_t *o, char **name)
{
    int          dir;
    char         hex[65], number[32];
    uint8_t      digest[EVP_MAX_MD_SIZE];
    st_bytes_t   bucket;
    EVP_MD_CTX  *md;

    if (o->bucket.data && o->version.len == 0
        && !(o->flags & ST_NOT_CURRENT)
        && st_salvage_path(s, o, name) == 0)
    {
        return 0;
    }

    if (s->error) {
        return -1;
    }

    bucket = o->bucket;

    if (bucket.data == NULL) {
        (void) snprintf(number, sizeof(number), "%lld",
                        (long long) o->bucket_id);
        bucket.data = (uint8_t *) number;
        bucket.len = strlen(number);
    }

    md = EVP_MD_CTX_new();

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(md, bucket.data, bucket.len) != 1
        || EVP_DigestUpdate(md, "", 1) != 1
        || EVP_DigestUpdate(md, o->key.data, o->key.len) != 1
        || EVP_DigestUpdate(md, "", 1) != 1
        || EVP_DigestUpdate(md, o->version.data, o->version.len) != 1
        || EVP_DigestFinal_ex(md, digest, NULL) != 1)
    {
        st_no_memory();
    }

    EVP_MD_CTX_free(md);

    st_hex(digest, 32, hex);

    dir = st_salvage_folder(s->dir, ST_OTHER);

    if (dir == -1 || st_salvage_rename(s->dir, dir, hex) != 0) {
        s->error = errno;

        if (dir != -1) {
            (void) close(dir);
        }

        return -1;
    }

    (void) close(dir);

    if (asprintf(name, ST_OTHER "/%s", hex) == -1) {
        st_no_memory();
    }

    s->renamed++;

    return 0;
}


/* BUCKET/KEY; -1: it can't have that name, or s->error */

static int
st_salvage_path(st_salvage_t *s, const st_object_t *o, char **name)
{
    int             dir, next, rc;
    char            part[256];
    size_t          n;
    const uint8_t  *p, *last;

    if (!st_name_good(o->bucket.data, o->bucket.len)
        || o->bucket.data[0] == '_' || o->bucket.data[0] == '.'
        || memchr(o->bucket.data, '/', o->bucket.len))
    {
        return -1;
    }

    /* all of it before the first directory is made */

    last = o->key.data + o->key.len;

    for (p = o->key.data; ; p += n + 1) {
        for (n = 0; p + n < last && p[n] != '/'; n++) { /* void */ }

        if (!st_name_good(p, n)) {
            return -1;
        }

        if (p + n == last) {
            break;
        }
    }

    memcpy(part, o->bucket.data, o->bucket.len);
    part[o->bucket.len] = '\0';

    dir = s->dir;
    p = o->key.data;

    for ( ;; ) {
        next = st_salvage_folder(dir, part);

        if (dir != s->dir) {
            rc = errno;
            (void) close(dir);
            errno = rc;
        }

        if (next == -1) {
            goto failed;
        }

        dir = next;

        for (n = 0; p + n < last && p[n] != '/'; n++) { /* void */ }

        memcpy(part, p, n);
        part[n] = '\0';

        if (p + n == last) {
            break;
        }

        p += n + 1;
    }

    rc = st_salvage_rename(s->dir, dir, part);

    next = errno;
    (void) close(dir);
    errno = next;

    if (rc != 0) {
        goto failed;
    }

    *name = malloc(o->bucket.len + o->key.len + 2);
    if (*name == NULL) {
        st_no_memory();
    }

    memcpy(*name, o->bucket.data, o->bucket.len);
    (*name)[o->bucket.len] = '/';
    memcpy(*name + o->bucket.len + 1, o->key.data, o->key.len);
    (*name)[o->bucket.len + 1 + o->key.len] = '\0';

    return 0;

failed:

    /* a file system that is full or fails will not take another name */

    if (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EROFS
        || errno == EMFILE || errno == ENOMEM)
    {
        s->error = errno;
    }

    return -1;
}


static int
st_salvage_folder(int parent, const char *name)
{
    if (mkdirat(parent, name, 0700) == -1 && errno != EEXIST) {
        return -1;
    }

    return openat(parent, name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
}


static int
st_salvage_rename(int from, int dir, const char *name)
{
    if (renameat2(from, ST_PARTIAL, dir, name, RENAME_NOREPLACE) == 0) {
        return 0;
    }

    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }

    /* a file system that does not know it */

    if (linkat(from, ST_PARTIAL, dir, name, 0) == -1) {
        return -1;
    }

    return unlinkat(from, ST_PARTIAL, 0);
}


static int
st_name_good(const uint8_t *p, size_t n)
{
    size_t  i;

    if (n == 0 || n > 255 || (n == 1 && p[0] == '.')
        || (n == 2 && p[0] == '.' && p[1] == '.'))
    {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


static void
st_salvage_time(int fd, int64_t ms)
{
    struct timespec  ts[2];

    if (ms < 0) {
        return;
    }

    ts[0].tv_sec = 0;
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_sec = ms / 1000;
    ts[1].tv_nsec = ms % 1000 * 1000000;

    /* it stands in the manifest as well */
    (void) futimens(fd, ts);
}


/* ---- the manifest */


static int
st_salvage_note(st_salvage_t *s, const st_object_t *o, const char *name,
    st_report_t *report)
{
    char       *text, etag[64], when[64];
    json_t     *j, *meta, *type;
    time_t      t;
    struct tm   tm;

    j = st_object_json(o->bucket, o->key, o->version);

    if (name) {
        st_json_bytes(j, "file", name, strlen(name));
    } else {
        st_json_set(j, "file", json_null());
    }

    st_etag_text(o->etag, etag);
    st_json_set(j, "size", json_integer((json_int_t) o->size));
    st_json_set(j, "etag", json_string(etag));

    t = (time_t) (o->mtime / 1000);

    if (gmtime_r(&t, &tm) && strftime(when, sizeof(when),
                                      "%Y-%m-%dT%H:%M:%SZ", &tm))
    {
        st_json_set(j, "last_modified", json_string(when));
    }

    meta = st_meta_json(o->meta);

    if (meta) {
        type = json_object_get(meta, "content-type");

        if (type) {
            st_json_set(j, "content_type", json_incref(type));
        }

        st_json_set(j, "metadata", meta);

    } else {
        st_json_set(j, "metadata", json_null());
    }

    st_json_set(j, "verdict", json_string(st_verdict_name(report->verdict)));

    if (report->problems) {
        st_json_set(j, "problems", json_incref(report->problems));
    }

    text = json_dumps(j, JSON_COMPACT);
    if (text == NULL) {
        st_no_memory();
    }

    if (fprintf(s->manifest, "%s\n", text) < 0) {
        s->error = errno;
    }

    free(text);
    json_decref(j);

    return s->error ? -1 : 0;
}
