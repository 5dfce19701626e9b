/*
 * The indexes of a set that is in use.  Its store process is asked for a view:
 * on each member index.db and the first so many bytes of index.db-wal are one
 * state of the index, the same on all, until the view is let go.
 *
 *     in place   what is read is sure if the view is there to the end
 *     copied     to files without a name in TMPDIR, and let go at once
 *
 * Pages that are moved from the log into index.db meanwhile are read from the
 * log: torn ones, too.  The store process gives a view up where the log gets
 * too long, and then it is tried anew.
 */


#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define ST_LIVE_TRIES      5
#define ST_LIVE_PIECE      (1024 * 1024)


static int st_live_disks(st_set_t *set, json_t *status, json_t *view);
static void st_live_out(st_disk_t *disk, json_t *status, const char *id);
static int st_live_copy(st_disk_t *disk);
static int st_live_file(st_disk_t *disk, const char *name, uint64_t max,
    int *fd);
static int st_live_temp(void);
static void st_live_position(st_set_t *set, json_t *view);


int
st_live_open(st_set_t *set, st_how_e how)
{
    int        rc, held;
    json_t    *status, *view;
    unsigned   i, n;

    for (n = 0; n < ST_LIVE_TRIES; n++) {

        status = st_ask_status(set->ask);
        view = status ? st_ask_view(set->ask) : NULL;

        if (view == NULL) {
            json_decref(status);
            return -1;
        }

        rc = st_live_disks(set, status, view);

        for (i = 0; rc == 0 && how == ST_COPIED && i < set->n; i++) {
            if (set->disk[i].placed && set->disk[i].state != ST_OUT) {
                rc = st_live_copy(&set->disk[i]);
            }
        }

        if (rc == 0 && how == ST_IN_PLACE) {
            set->holding = 1;
            st_set_view(set);
            st_live_position(set, view);
        }

        held = how == ST_IN_PLACE || st_ask_release(set->ask);

        if (rc == 0 && held && how == ST_COPIED) {
            st_set_view(set);
            st_live_position(set, view);
        }

        json_decref(status);
        json_decref(view);

        if (rc || held) {
            return rc;
        }

        for (i = 0; i < set->n; i++) {
            if (set->disk[i].given_index != -1) {
                (void) close(set->disk[i].given_index);
                set->disk[i].given_index = -1;
            }

            if (set->disk[i].given_log != -1) {
                (void) close(set->disk[i].given_log);
                set->disk[i].given_log = -1;
            }
        }
    }

    st_error("the indexes could not be copied while the set stood still, %d "
             "times: so much is written.  Run it at another time, or with "
             "TMPDIR on a faster disk", ST_LIVE_TRIES);

    return -1;
}


/* which of them have an index in the view; -1: they are not of that set */

static int
st_live_disks(st_set_t *set, json_t *status, json_t *view)
{
    char         id[33];
    size_t       n;
    json_t      *disks, *disk, *found;
    unsigned     i;
    st_disk_t   *d;
    const char  *text;

    st_hex(set->set_id, 16, id);
    text = json_string_value(json_object_get(status, "set"));

    if (text == NULL || strcmp(text, id) != 0) {
        st_error("these are disks of more than one set");
        return -1;
    }

    disks = json_object_get(view, "disks");

    for (i = 0; i < set->n; i++) {
        d = &set->disk[i];

        if (!d->placed) {
            continue;
        }

        st_hex(d->disk_id, 16, id);
        found = NULL;

        json_array_foreach(disks, n, disk) {
            text = json_string_value(json_object_get(disk, "id"));

            if (text && strcmp(text, id) == 0) {
                found = json_object_get(disk, "log");
            }
        }

        if (found == NULL) {
            st_live_out(d, status, id);
            continue;
        }

        d->state = ST_CURRENT;
        d->log_max = (uint64_t) json_integer_value(found);
    }

    return 0;
}


static void
st_live_out(st_disk_t *disk, json_t *status, const char *id)
{
    size_t       n;
    json_t      *d;
    const char  *text, *reason;

    reason = NULL;

    json_array_foreach(json_object_get(status, "disks"), n, d) {
        text = json_string_value(json_object_get(d, "id"));

        if (text && strcmp(text, id) == 0) {
            reason = json_string_value(json_object_get(d, "reason"));
        }
    }

    disk->state = ST_OUT;
    (void) snprintf(disk->why, ST_WHY_MAX, "nginx has left it out: %s",
                    reason && reason[0] ? reason : "why, its log says");
}


/* ---- copies */


static int
st_live_copy(st_disk_t *disk)
{
    int  rc;

    rc = st_live_file(disk, "index.db", UINT64_MAX, &disk->given_index);

    if (rc == 0 && disk->log_max) {
        rc = st_live_file(disk, "index.db-wal", disk->log_max,
                          &disk->given_log);
    }

    return rc;
}


/* what can't be read of the file is the index's to find: no error here */

static int
st_live_file(st_disk_t *disk, const char *name, uint64_t max, int *fd)
{
    int           from, rc;
    size_t        n, page;
    ssize_t       wrote;
    uint8_t      *buf;
    uint64_t      at, size;
    struct stat   st;

    from = st_open_below(disk->fd, name, O_RDONLY);

    if (from == -1) {
        return 0;
    }

    if (fstat(from, &st) == -1 || !S_ISREG(st.st_mode)) {
        (void) close(from);
        return 0;
    }

    size = (uint64_t) st.st_size < max ? (uint64_t) st.st_size : max;
    buf = malloc(ST_LIVE_PIECE);

    if (buf == NULL) {
        st_no_memory();
    }

    rc = -1;
    *fd = st_live_temp();

    if (*fd == -1) {
        goto done;
    }

    for (at = 0; at < size; at += n) {
        n = size - at < ST_LIVE_PIECE ? (size_t) (size - at) : ST_LIVE_PIECE;

        if (st_read_at(from, buf, n, at) != 0) {

            /* zeros would be a page that was never used */

            memset(buf, 0xff, n);

            for (page = 0; page < n; page += ST_PAGE) {
                (void) st_read_at(from, buf + page,
                                  n - page < ST_PAGE ? n - page : ST_PAGE,
                                  at + page);
            }
        }

        wrote = pwrite(*fd, buf, n, (off_t) at);

        if (wrote <= 0) {
            goto done;
        }

        n = (size_t) wrote;
    }

    rc = 0;

done:

    if (rc) {
        st_error("a copy of the index of %llu bytes, in TMPDIR: %s",
                 (unsigned long long) size, strerror(errno));
    }

    free(buf);
    (void) close(from);

    return rc;
}


/* a file that is gone with the process; not /tmp, which may be memory */

static int
st_live_temp(void)
{
    int          fd, err;
    char         path[4096];
    const char  *dir;

    dir = getenv("TMPDIR");
    dir = dir && dir[0] ? dir : "/var/tmp";

    fd = open(dir, O_TMPFILE|O_RDWR|O_CLOEXEC, 0600);

    if (fd != -1 || (errno != EOPNOTSUPP && errno != EISDIR)) {
        return fd;
    }

    if ((size_t) snprintf(path, sizeof(path), "%s/s3-store.XXXXXX", dir)
        >= sizeof(path))
    {
        errno = ENAMETOOLONG;
        return -1;
    }

    fd = mkostemp(path, O_CLOEXEC);

    if (fd != -1 && unlink(path) == -1) {
        err = errno;
        (void) close(fd);
        errno = err;
        return -1;
    }

    return fd;
}


/*
 * The store process has the frames of its log in memory, sums and all: where
 * an index on the disk ends before the view does, a frame is damaged.
 */

static void
st_live_position(st_set_t *set, json_t *view)
{
    unsigned     i, n;
    uint64_t     generation, sequence;
    st_disk_t   *disk;

    generation = (uint64_t) json_integer_value(json_object_get(view,
                                                               "generation"));
    sequence = (uint64_t) json_integer_value(json_object_get(view,
                                                             "sequence"));

    n = 0;

    for (i = 0; i < set->nview; i++) {
        disk = set->view[i];

        if (disk->generation == generation && disk->sequence == sequence) {
            set->view[n++] = disk;
            continue;
        }

        disk->state = ST_BROKEN;
        (void) snprintf(disk->why, ST_WHY_MAX, "its index: it ends at "
                        "sequence %llu, and nginx has read %llu of it: its "
                        "log is damaged",
                        (unsigned long long) disk->sequence,
                        (unsigned long long) sequence);
    }

    if (n != set->nview) {
        set->nview = n;
        set->ncurrent = n;
    }
}
