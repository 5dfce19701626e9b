/*
 * The disks that were given, and what set they are.  DISK/format is one JSON
 * object (docs/format.md):
 *
 *     {"format":"s3_store disk","version":1,"set":"<32 hex digits>",
 *      "disk":"<32 hex digits>","slot":0,"disks":4,"parity":2,
 *      "state":"formed","crc32c":"<8 hex digits>"}
 *
 * The lock is the store process's: flock() of the directory, exclusive.  Where
 * a store process has it, that is asked (live.c).
 */


#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


#define ST_FORMAT_MAX      8192


static void st_set_init(st_set_t *set);
static void st_set_ask(st_set_t *set);
static int st_disk_open(st_set_t *set, st_disk_t *disk);
static int st_disk_lock(st_disk_t *disk, st_how_e how);
static void st_disk_format(st_disk_t *disk);
static const char *st_format_read(st_disk_t *disk, json_t *json);
static int st_format_sum(json_t *json);
static int st_format_number(json_t *json, const char *name, unsigned max,
    unsigned *v);
static int st_format_id(json_t *json, const char *name, uint8_t id[16]);
static void st_disk_state(st_disk_t *disk, st_state_e state, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));
static int st_set_place(st_set_t *set);
static int st_newer(const st_disk_t *a, const st_disk_t *b);
static unsigned st_same(st_set_t *set, const st_disk_t *disk);


static const char *const  st_states[] = {
    [ST_CURRENT] = "current",
    [ST_LAGGARD] = "laggard",
    [ST_OUTDATED] = "outdated",
    [ST_FORKED] = "forked",
    [ST_BROKEN] = "broken",
    [ST_OUT] = "out",
    [ST_FORMING] = "forming",
    [ST_EMPTY] = "empty",
    [ST_FOREIGN] = "foreign",
    [ST_UNREADABLE] = "unreadable"
};


const char *
st_state_name(st_state_e state)
{
    return st_states[state];
}


static void
st_set_init(st_set_t *set)
{
    unsigned  i;

    memset(set, 0, sizeof(st_set_t));

    for (i = 0; i < ST_DISKS_MAX; i++) {
        set->disk[i].fd = -1;
        set->disk[i].index_fd = -1;
        set->disk[i].log_fd = -1;
        set->disk[i].log_max = UINT64_MAX;
        set->disk[i].given_index = -1;
        set->disk[i].given_log = -1;
    }
}


int
st_set_open(st_set_t *set, char **paths, unsigned n, st_how_e how)
{
    unsigned    i;
    st_disk_t  *disk;

    st_set_init(set);

    if (n > ST_DISKS_MAX) {
        st_error("%u disks: a set has at most %d", n, ST_DISKS_MAX);
        return -1;
    }

    for (i = 0; i < n; i++) {
        disk = &set->disk[set->n++];

        disk->path = strdup(paths[i]);
        if (disk->path == NULL) {
            st_no_memory();
        }

        if (st_disk_open(set, disk) != 0) {
            return -1;
        }
    }

    if (how != ST_ALONE) {
        st_set_ask(set);
    }

    if (set->ask) {
        return st_set_place(set) != 0 ? -1
               : how == ST_ASKED ? 0 : st_live_open(set, how);
    }

    /* all locks before anything is read */

    for (i = 0; i < n; i++) {
        if (set->disk[i].fd != -1
            && st_disk_lock(&set->disk[i], how) != 0)
        {
            return -1;
        }
    }

    for (i = 0; i < n; i++) {
        if (set->disk[i].fd != -1) {
            st_disk_format(&set->disk[i]);
        }
    }

    if (st_set_place(set) != 0) {
        return -1;
    }

    st_set_view(set);

    return 0;
}


/* the first set among them that a store process answers for */

static void
st_set_ask(st_set_t *set)
{
    unsigned      i;
    st_disk_t    *disk;
    struct stat   st;

    for (i = 0; i < set->n; i++) {
        disk = &set->disk[i];

        if (disk->fd != -1) {
            st_disk_format(disk);
        }
    }

    for (i = 0; i < set->n && set->ask == NULL; i++) {
        disk = &set->disk[i];

        if (disk->placed && fstat(disk->fd, &st) == 0) {
            set->ask = st_ask_open(disk->set_id, st.st_uid);
        }
    }

    /* what nobody has is read when it is locked */

    for (i = 0; i < set->n && set->ask == NULL; i++) {
        if (set->disk[i].fd != -1) {
            set->disk[i].state = ST_CURRENT;
            set->disk[i].placed = 0;
        }
    }
}


int
st_set_open_again(st_set_t *again, st_set_t *set)
{
    int         rc;
    unsigned    i;
    st_disk_t  *disk;

    st_set_init(again);

    for (i = 0; i < set->n; i++) {
        disk = &again->disk[again->n++];

        disk->path = strdup(set->disk[i].path);
        if (disk->path == NULL) {
            st_no_memory();
        }

        if (st_disk_open(again, disk) != 0) {
            return -1;
        }

        if (disk->fd != -1) {
            st_disk_format(disk);
        }
    }

    again->ask = set->ask;
    rc = st_set_place(again);

    return rc == 0 ? st_live_open(again, ST_IN_PLACE) : -1;
}


int
st_set_release(st_set_t *set)
{
    if (!set->holding) {
        return 0;
    }

    set->holding = 0;

    return st_ask_release(set->ask) ? 0 : -1;
}


void
st_set_close(st_set_t *set)
{
    unsigned    i;
    st_disk_t  *disk;

    for (i = 0; i < set->n; i++) {
        disk = &set->disk[i];

        st_index_close(disk);

        if (disk->given_index != -1) {
            (void) close(disk->given_index);
        }

        if (disk->given_log != -1) {
            (void) close(disk->given_log);
        }

        if (disk->fd != -1) {
            (void) close(disk->fd);
        }

        free(disk->path);
    }
}


/* -1: it is twice there */

static int
st_disk_open(st_set_t *set, st_disk_t *disk)
{
    char         *path;
    unsigned      i;
    struct stat   st;

    disk->fd = open(disk->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (disk->fd == -1 || fstat(disk->fd, &st) == -1) {
        st_disk_state(disk, ST_UNREADABLE, "%s", strerror(errno));
        return 0;
    }

    disk->dev = st.st_dev;
    disk->ino = st.st_ino;

    path = st_escape(disk->path, strlen(disk->path));

    for (i = 0; &set->disk[i] != disk; i++) {
        if (set->disk[i].fd != -1 && set->disk[i].dev == disk->dev
            && set->disk[i].ino == disk->ino)
        {
            st_error("\"%s\" is given twice", path);
            free(path);
            return -1;
        }
    }

    free(path);

    return 0;
}


/* -1: it is somebody else's */

static int
st_disk_lock(st_disk_t *disk, st_how_e how)
{
    char  *path;

    if (flock(disk->fd, LOCK_EX|LOCK_NB) == 0) {
        return 0;
    }

    if (errno == EWOULDBLOCK) {
        path = st_escape(disk->path, strlen(disk->path));

        if (how == ST_ALONE) {
            st_error("\"%s\" is in use: nginx has the set, or another "
                     "s3-store.  This works on disks that nobody has: stop "
                     "nginx (nginx -s quit), wait until its processes are "
                     "gone, and run it again", path);

        } else {
            st_error("\"%s\" is in use, and no store process answers for "
                     "its set: nginx is just starting, or ending, or another "
                     "s3-store has the set", path);
        }

        free(path);
        return -1;
    }

    st_disk_state(disk, ST_UNREADABLE, "it cannot be locked: %s",
                  strerror(errno));
    (void) close(disk->fd);
    disk->fd = -1;

    return 0;
}


static void
st_disk_format(st_disk_t *disk)
{
    int           fd, rc;
    char          text[ST_FORMAT_MAX];
    json_t       *json;
    const char   *why;
    struct stat   st;

    fd = st_open_below(disk->fd, "format", O_RDONLY);

    if (fd == -1) {

        if (errno == ENOENT) {
            rc = st_dir_empty(disk->fd);

            if (rc == 0) {
                st_disk_state(disk, ST_EMPTY, "nothing is in it: is it "
                              "mounted?");
                return;
            }

            if (rc > 0) {
                st_disk_state(disk, ST_FOREIGN, "it has no file \"format\" "
                              "and is not empty");
                return;
            }
        }

        st_disk_state(disk, ST_UNREADABLE, "its format: %s", errno == ELOOP
                      ? "not a file" : strerror(errno));
        return;
    }

    why = NULL;
    json = NULL;

    if (fstat(fd, &st) == -1) {
        why = strerror(errno);

    } else if (!S_ISREG(st.st_mode)) {
        why = "not a file";

    } else if (st.st_size == 0 || st.st_size > ST_FORMAT_MAX) {
        why = "of a size that it cannot have";

    } else {
        rc = st_read_at(fd, text, (size_t) st.st_size, 0);

        if (rc) {
            why = strerror(rc);

        } else {
            json = json_loadb(text, (size_t) st.st_size,
                              JSON_REJECT_DUPLICATES, NULL);
            why = json ? st_format_read(disk, json) : "not JSON";
        }
    }

    (void) close(fd);
    json_decref(json);

    if (why) {
        st_disk_state(disk, ST_UNREADABLE, "its format: %s", why);
    }
}


/* NULL, or what is wrong */

static const char *
st_format_read(st_disk_t *disk, json_t *json)
{
    const char  *s;

    if (!json_is_object(json) || st_format_sum(json) != 0) {
        return "it does not match its checksum";
    }

    s = json_string_value(json_object_get(json, "format"));

    if (s == NULL || strcmp(s, "s3_store disk") != 0
        || json_integer_value(json_object_get(json, "version")) != 1)
    {
        return "of a version that is not known here";
    }

    if (st_format_id(json, "set", disk->set_id) != 0
        || st_format_id(json, "disk", disk->disk_id) != 0
        || st_format_number(json, "disks", ST_DISKS_MAX, &disk->ndisks) != 0
        || st_format_number(json, "slot", ST_DISKS_MAX - 1, &disk->slot) != 0
        || st_format_number(json, "parity", ST_DISKS_MAX / 2, &disk->parity)
           != 0
        || disk->slot >= disk->ndisks || disk->parity > disk->ndisks / 2)
    {
        return "it makes no sense";
    }

    s = json_string_value(json_object_get(json, "state"));

    if (s && strcmp(s, "forming") == 0) {
        st_disk_state(disk, ST_FORMING, "its set was never completed");
        return NULL;
    }

    if (s && strcmp(s, "copying") == 0) {
        st_disk_state(disk, ST_FORMING,
                      "it takes a lost disk's place, and has no index yet");
        return NULL;
    }

    /* vacant: its index is good, and of its shards none is there yet */

    if (s == NULL || (strcmp(s, "formed") != 0 && strcmp(s, "vacant") != 0)) {
        return "it makes no sense";
    }

    disk->placed = 1;

    return NULL;
}


/* crc32c: of the object without it, compact and with sorted keys */

static int
st_format_sum(json_t *json)
{
    char        *text, found[9], sum[9];
    const char  *s;

    s = json_string_value(json_object_get(json, "crc32c"));

    if (s == NULL || strlen(s) != 8) {
        return -1;
    }

    memcpy(found, s, 9);
    (void) json_object_del(json, "crc32c");

    text = json_dumps(json, JSON_COMPACT|JSON_SORT_KEYS);
    if (text == NULL) {
        st_no_memory();
    }

    (void) snprintf(sum, sizeof(sum), "%08x",
                    st_crc32c(0, text, strlen(text)));
    free(text);

    return strcmp(sum, found) == 0 ? 0 : -1;
}


static int
st_format_number(json_t *json, const char *name, unsigned max, unsigned *v)
{
    json_t      *j;
    json_int_t   n;

    j = json_object_get(json, name);
    n = json_integer_value(j);

    if (!json_is_integer(j) || n < 0 || n > (json_int_t) max) {
        return -1;
    }

    *v = (unsigned) n;

    return 0;
}


static int
st_format_id(json_t *json, const char *name, uint8_t id[16])
{
    const char  *s;

    s = json_string_value(json_object_get(json, name));

    return s ? st_id_parse(s, id) : -1;
}


int
st_dir_empty(int root)
{
    int             fd, rc;
    DIR            *dir;
    struct dirent  *entry;

    fd = openat(root, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    dir = fdopendir(fd);
    if (dir == NULL) {
        rc = errno;
        (void) close(fd);
        errno = rc;
        return -1;
    }

    rc = 0;

    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        rc = strcmp(entry->d_name, ".") != 0
             && strcmp(entry->d_name, "..") != 0
             && strcmp(entry->d_name, "lost+found") != 0;
    }

    (void) closedir(dir);

    return rc;
}


static void
st_disk_state(st_disk_t *disk, st_state_e state, const char *fmt, ...)
{
    va_list  args;

    disk->state = state;
    disk->placed = 0;

    va_start(args, fmt);
    (void) vsnprintf(disk->why, ST_WHY_MAX, fmt, args);
    va_end(args);
}


/* which set it is: that of most of them; and who has which slot */

static int
st_set_place(st_set_t *set)
{
    unsigned    i, j, count, best;
    st_disk_t  *disk, *first;

    first = NULL;
    best = 0;

    for (i = 0; i < set->n; i++) {
        disk = &set->disk[i];
        count = 0;

        for (j = 0; disk->placed && j < set->n; j++) {
            count += set->disk[j].placed
                     && memcmp(set->disk[j].set_id, disk->set_id, 16) == 0
                     && set->disk[j].ndisks == disk->ndisks
                     && set->disk[j].parity == disk->parity;
        }

        if (count > best) {
            best = count;
            first = disk;
        }
    }

    if (first == NULL) {

        for (i = 0; i < set->n; i++) {
            char  *path;

            disk = &set->disk[i];
            path = st_escape(disk->path, strlen(disk->path));
            st_error("\"%s\" is no disk of a set: %s: %s", path,
                     st_state_name(disk->state), disk->why);
            free(path);
        }

        st_error("none of these is a disk of a set");
        return -1;
    }

    memcpy(set->set_id, first->set_id, 16);
    set->ndisks = first->ndisks;
    set->parity = first->parity;
    set->away = set->ndisks;

    for (i = 0; i < set->n; i++) {
        disk = &set->disk[i];

        if (!disk->placed) {
            continue;
        }

        if (memcmp(disk->set_id, set->set_id, 16) != 0) {
            st_disk_state(disk, ST_FOREIGN, "it is of another set");

        } else if (disk->ndisks != set->ndisks
                   || disk->parity != set->parity)
        {
            st_disk_state(disk, ST_FOREIGN, "its format says %u disks with "
                          "parity %u, the others' %u and %u", disk->ndisks,
                          disk->parity, set->ndisks, set->parity);

        } else if (set->slot[disk->slot]) {
            st_disk_state(disk, ST_FOREIGN, "another disk has its slot, %u",
                          disk->slot);

        } else {
            set->slot[disk->slot] = disk;
            set->away--;
        }
    }

    return 0;
}


/* docs/commit.md, section 5 */

void
st_set_view(st_set_t *set)
{
    int          rc;
    unsigned     i, j, n;
    st_disk_t   *disk, *newest;

    n = 0;

    for (i = 0; i < set->n; i++) {
        disk = &set->disk[i];

        if (!disk->placed || disk->state == ST_OUT) {
            continue;
        }

        if (st_index_open(disk) != 0) {
            disk->state = ST_BROKEN;
            continue;
        }

        set->view[n++] = disk;
    }

    set->nview = n;

    if (n == 0) {
        return;
    }

    newest = set->view[0];

    for (i = 1; i < n; i++) {
        disk = set->view[i];
        rc = st_newer(disk, newest);

        /* equals that differ: more disks, then the smaller digest */

        if (rc == 0) {
            rc = (int) st_same(set, disk) - (int) st_same(set, newest);
        }

        if (rc == 0) {
            rc = memcmp(newest->digest, disk->digest, 32);
        }

        if (rc > 0) {
            newest = disk;
        }
    }

    for (i = 0; i < n; i++) {
        disk = set->view[i];

        if (st_newer(disk, newest) == 0
            && memcmp(disk->digest, newest->digest, 32) == 0)
        {
            disk->state = ST_CURRENT;
            continue;
        }

        switch (st_index_knows(newest, disk)) {

        case 1:
            disk->state = ST_LAGGARD;
            (void) snprintf(disk->why, ST_WHY_MAX, "it is brought forward "
                            "when the store starts");
            break;

        case -1:
            disk->state = ST_OUTDATED;
            (void) snprintf(disk->why, ST_WHY_MAX, "the others have forgotten "
                            "what it has missed: the store leaves it out");
            break;

        case 0:
            disk->state = ST_FORKED;
            (void) snprintf(disk->why, ST_WHY_MAX, "its last writes are not "
                            "in the history of the others: the store leaves "
                            "it out");
            break;

        default:
            disk->state = ST_OUTDATED;
            (void) snprintf(disk->why, ST_WHY_MAX, "the history of the others "
                            "cannot be read");
        }
    }

    /* those that say the same first; both in the order of arguments */

    for (i = 0, j = 0; i < n; i++) {
        disk = set->view[i];

        if (disk->state == ST_CURRENT) {
            memmove(&set->view[j + 1], &set->view[j],
                    (i - j) * sizeof(st_disk_t *));
            set->view[j++] = disk;
        }
    }

    set->ncurrent = j;
}


static int
st_newer(const st_disk_t *a, const st_disk_t *b)
{
    if (a->generation != b->generation) {
        return a->generation > b->generation ? 1 : -1;
    }

    return a->sequence == b->sequence ? 0
           : a->sequence > b->sequence ? 1 : -1;
}


static unsigned
st_same(st_set_t *set, const st_disk_t *disk)
{
    unsigned  i, n;

    for (i = 0, n = 0; i < set->nview; i++) {
        n += st_newer(set->view[i], disk) == 0
             && memcmp(set->view[i]->digest, disk->digest, 32) == 0;
    }

    return n;
}


int
st_set_verdict(st_set_t *set)
{
    int       rc;
    unsigned  i;

    /* a store process knows what was decided: any one has it */

    if (set->nview < (set->ask ? 1 : set->ndisks - set->parity)) {
        return ST_LOST;
    }

    rc = set->away ? ST_DAMAGED : ST_OK;

    for (i = 0; i < set->n; i++) {
        if (set->disk[i].state != ST_CURRENT) {
            rc = ST_DAMAGED;
        }
    }

    return rc;
}


void
st_set_warn(st_set_t *set)
{
    unsigned  k;

    k = set->ndisks - set->parity;

    if (set->nview < k && set->ask == NULL) {
        st_error("%u of %u indexes can be read, and only %u of them are sure "
                 "to have what was written last", set->nview, set->ndisks, k);
    }
}


json_t *
st_disk_json(st_set_t *set, st_disk_t *disk)
{
    char     text[65];
    json_t  *j;

    j = json_object();
    if (j == NULL) {
        st_no_memory();
    }

    st_json_bytes(j, "path", disk->path, strlen(disk->path));
    st_json_set(j, "state", json_string(st_state_name(disk->state)));

    if (disk->state != ST_CURRENT) {
        st_json_bytes(j, "why", disk->why, strlen(disk->why));
    }

    if (disk->placed) {
        st_hex(disk->disk_id, 16, text);
        st_json_set(j, "disk", json_string(text));
        st_json_set(j, "slot", json_integer(disk->slot));
    }

    if (disk->db) {
        st_hex(disk->digest, 32, text);
        st_json_set(j, "generation",
                    json_integer((json_int_t) disk->generation));
        st_json_set(j, "sequence", json_integer((json_int_t) disk->sequence));
        st_json_set(j, "digest", json_string(text));
    }

    return j;
}


void
st_disk_text(st_set_t *set, st_disk_t *disk)
{
    char  *path, *why, digest[65], where[64];

    path = st_escape(disk->path, strlen(disk->path));
    why = st_escape(disk->why, strlen(disk->why));

    where[0] = '\0';

    if (disk->placed) {
        (void) snprintf(where, sizeof(where), "slot %u, ", disk->slot);
    }

    if (disk->db) {
        st_hex(disk->digest, 32, digest);
        st_print("disk %s: %s%s, generation %llu, sequence %llu, digest "
                 "%.16s%s%s", path, where, st_state_name(disk->state),
                 (unsigned long long) disk->generation,
                 (unsigned long long) disk->sequence, digest,
                 disk->state == ST_CURRENT ? "" : ": ",
                 disk->state == ST_CURRENT ? "" : why);

    } else {
        st_print("disk %s: %s%s: %s", path, where,
                 st_state_name(disk->state), why);
    }

    free(path);
    free(why);
}


/* ---- what others need of a disk */


/*
 * Each name of the path by itself: a link in the place of data/ or data/XX
 * would lead out of the disk, too.  O_NONBLOCK: somebody's pipe.
 */

int
st_open_below(int root, const char *path, int flags)
{
    int          fd, next, err;
    char         name[256];
    size_t       n;
    const char  *p;

    fd = root;
    p = path;

    for ( ;; ) {
        n = strcspn(p, "/");

        if (n == 0 || n >= sizeof(name)) {
            errno = ENAMETOOLONG;
            next = -1;
            break;
        }

        memcpy(name, p, n);
        name[n] = '\0';
        p += n;

        next = openat(fd, name, (*p ? O_RDONLY|O_DIRECTORY : flags)
                                | O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC);

        if (next == -1 || *p == '\0') {
            break;
        }

        if (fd != root) {
            (void) close(fd);
        }

        fd = next;
        p++;
    }

    if (fd != root) {
        err = errno;
        (void) close(fd);
        errno = err;
    }

    return next;
}


int
st_read_at(int fd, void *data, size_t n, uint64_t offset)
{
    ssize_t   got;
    uint8_t  *p;

    for (p = data; n; p += got, n -= (size_t) got, offset += (size_t) got) {

        got = pread(fd, p, n, (off_t) offset);

        if (got == -1) {
            if (errno == EINTR) {
                got = 0;
                continue;
            }

            return errno;
        }

        if (got == 0) {
            return EIO;
        }
    }

    return 0;
}
