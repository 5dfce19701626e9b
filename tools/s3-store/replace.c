/*
 * An empty directory takes the place of a lost disk, on the operator's word:
 * the file "replace" in it, which the store process acts upon (docs/disks.md).
 * What can be known before is looked at before; then it is waited for until
 * all shards of the disk are there.
 */


#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define ST_REPLACE_FILE    "replace"
#define ST_REPLACE_STEP    200         /* ms */
#define ST_REPLACE_SEEN    10000       /* ms for nginx to look at it */
#define ST_REPLACE_GONE    60000       /* ms that it may be out meanwhile */


typedef enum {
    ST_PHASE_NONE = 0,
    ST_PHASE_COPY,
    ST_PHASE_FORWARD,
    ST_PHASE_MASKS,
    ST_PHASE_SHARDS,
    ST_PHASE_END
} st_phase_e;

typedef struct {
    st_set_t        *set;
    const char      *path;             /* of the directory */
    char            *name;             /* the same, for people */
    int              fd;
    dev_t            dev;
    ino_t            ino;
    st_phase_e       phase;
    json_int_t       before;           /* shards computed so far, at first */
} st_replace_t;


static int st_replace_directory(st_replace_t *r);
static json_t *st_replace_status(st_replace_t *r, json_t **disk);
static int st_replace_configured(st_replace_t *r, json_t *disk);
static int st_replace_slot(st_replace_t *r);
static int st_replace_word(st_replace_t *r);
static void st_replace_unasked(st_replace_t *r);
static int st_replace_wait(st_replace_t *r);
static st_phase_e st_replace_phase(json_t *status, json_t *disk);
static void st_replace_tell(st_replace_t *r, st_phase_e phase,
    json_int_t shards);
static int st_replace_end(st_replace_t *r, unsigned slot, json_int_t shards);


int  st_slot = -1;
int  st_no_wait;


int
st_replace(st_set_t *set, char **args)
{
    int           rc;
    st_replace_t  r;

    if (set->ask == NULL) {
        st_error("nobody has the set: its store process makes the disk.  "
                 "Start nginx, and run it again");
        return ST_FAILED;
    }

    memset(&r, 0, sizeof(st_replace_t));

    r.set = set;
    r.path = args[0];
    r.name = st_escape(r.path, strlen(r.path));
    r.fd = -1;
    rc = ST_FAILED;

    if (st_replace_directory(&r) == 0 && st_replace_slot(&r) == 0
        && st_replace_word(&r) == 0)
    {
        if (st_no_wait) {
            if (!st_json) {
                st_print("%s: nginx is told; its log and status say what "
                         "becomes of it", r.name);
            }

            rc = ST_OK;

        } else {
            rc = st_replace_wait(&r);
        }
    }

    if (r.fd != -1) {
        (void) close(r.fd);
    }

    free(r.name);

    return rc;
}


/* empty, and one that nginx can make a disk of */

static int
st_replace_directory(st_replace_t *r)
{
    uid_t        user;
    struct stat  st;

    r->fd = open(r->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (r->fd == -1 || fstat(r->fd, &st) == -1) {
        st_error("\"%s\": %s", r->name, strerror(errno));
        return -1;
    }

    r->dev = st.st_dev;
    r->ino = st.st_ino;

    switch (st_dir_empty(r->fd)) {

    case 0:
        break;

    case 1:
        st_error("\"%s\" is not empty: only an empty directory takes the "
                 "place of a disk", r->name);
        return -1;

    default:
        st_error("\"%s\": %s", r->name, strerror(errno));
        return -1;
    }

    user = st_ask_user(r->set->ask);

    if (user != 0 && (st.st_uid != user || (st.st_mode & 0700) != 0700)) {
        st_error("\"%s\" is user %u's, with mode %03o, and nginx's workers "
                 "are user %u: chown and chmod it", r->name,
                 (unsigned) st.st_uid, (unsigned) st.st_mode & 07777,
                 (unsigned) user);
        return -1;
    }

    return 0;
}


/* disk: of the status, the one at the directory; NULL: none is */

static json_t *
st_replace_status(st_replace_t *r, json_t **disk)
{
    size_t   n;
    json_t  *status, *d;

    *disk = NULL;
    status = st_ask_status(r->set->ask);

    json_array_foreach(json_object_get(status, "disks"), n, d) {
        if (st_replace_configured(r, d)) {
            *disk = d;
        }
    }

    return status;
}


static int
st_replace_configured(st_replace_t *r, json_t *disk)
{
    const char   *path;
    struct stat   st;

    path = json_string_value(json_object_get(disk, "path"));

    return path && stat(path, &st) == 0 && st.st_dev == r->dev
           && st.st_ino == r->ino;
}


/* is it nginx's, and is there a place for it */

static int
st_replace_slot(st_replace_t *r)
{
    char         list[256];
    int          len;
    size_t       n;
    json_t      *status, *disk, *d;
    uint64_t     held;
    unsigned     i;
    json_int_t   slot;
    const char  *state;

    status = st_replace_status(r, &disk);

    if (status == NULL) {
        return -1;
    }

    if (disk == NULL) {
        st_error("nginx has no disk at \"%s\": it takes the place of a lost "
                 "one at the path that s3_store gives to that", r->name);
        json_decref(status);
        return -1;
    }

    state = json_string_value(json_object_get(disk, "state"));

    if (state && strcmp(state, "member") == 0) {
        st_error("\"%s\" is a disk that nginx uses", r->name);
        json_decref(status);
        return -1;
    }

    held = 0;

    json_array_foreach(json_object_get(status, "disks"), n, d) {
        slot = json_integer_value(json_object_get(d, "slot"));

        if (slot >= 0 && slot < 64) {
            held |= 1ULL << slot;
        }
    }

    json_decref(status);

    list[0] = '\0';
    len = 0;

    for (i = 0; i < r->set->ndisks; i++) {
        if (!(held >> i & 1)) {
            len += snprintf(list + len, sizeof(list) - (size_t) len, " %u",
                            i);
        }
    }

    if (list[0] == '\0') {
        st_error("all slots of the set have a disk");
        return -1;
    }

    if (st_slot >= 0
        && ((unsigned) st_slot >= r->set->ndisks || held >> st_slot & 1))
    {
        st_error("slot %d is none that a disk is missing for: these are%s",
                 st_slot, list);
        return -1;
    }

    return 0;
}


static int
st_replace_word(st_replace_t *r)
{
    int   fd, n, rc;
    char  text[16];

    fd = openat(r->fd, ST_REPLACE_FILE,
                O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0644);

    n = st_slot >= 0 ? snprintf(text, sizeof(text), "%d\n", st_slot) : 0;

    rc = fd == -1 || fchmod(fd, 0644) == -1 || write(fd, text, (size_t) n) != n;

    if (rc) {
        st_error("\"%s/" ST_REPLACE_FILE "\": %s", r->name, strerror(errno));
    }

    if (fd != -1) {
        (void) close(fd);

        if (rc) {
            st_replace_unasked(r);
        }
    }

    return rc ? -1 : 0;
}


static void
st_replace_unasked(st_replace_t *r)
{
    (void) unlinkat(r->fd, ST_REPLACE_FILE, 0);
}


static int
st_replace_wait(st_replace_t *r)
{
    char         why[256];
    json_t      *status, *disk;
    uint64_t     now, seen;
    unsigned     slot;
    json_int_t   shards;
    st_phase_e   phase;
    const char  *reason;

    seen = st_now();
    r->before = -1;

    for ( ;; ) {
        status = st_replace_status(r, &disk);

        if (status == NULL) {
            return ST_FAILED;
        }

        now = st_now();
        phase = disk ? st_replace_phase(status, disk) : ST_PHASE_NONE;
        reason = json_string_value(json_object_get(disk, "reason"));
        slot = (unsigned) json_integer_value(json_object_get(disk, "slot"));
        shards = json_integer_value(json_object_get(status, "repaired"));

        (void) snprintf(why, sizeof(why), "%s", reason ? reason : "?");
        json_decref(status);

        if (r->before == -1) {
            r->before = shards;
        }

        if (phase != ST_PHASE_NONE) {
            seen = now;

            if (phase != r->phase) {
                st_replace_tell(r, phase, shards - r->before);
            }

            if (phase == ST_PHASE_END) {
                return st_replace_end(r, slot, shards - r->before);
            }

            (void) poll(NULL, 0, ST_REPLACE_STEP);
            continue;
        }

        /* its word, as long as nothing was done upon it */

        if (strstr(why, "more than one disk")
            || strstr(why, "asks for a slot")
            || (r->phase == ST_PHASE_NONE && now >= seen + ST_REPLACE_SEEN))
        {
            st_replace_unasked(r);
            st_error("\"%s\" is not taken: %s%s", r->name, why,
                     strstr(why, "more than one")
                     ? " (s3-store replace --slot N)" : "");
            return ST_FAILED;
        }

        if (now >= seen + ST_REPLACE_GONE) {
            st_error("\"%s\": %s.  It goes on when that has ended; nginx's "
                     "log says more", r->name, why);
            return ST_FAILED;
        }

        (void) poll(NULL, 0, ST_REPLACE_STEP);
    }
}


/* words as the store process has them, s3_status.h */

static st_phase_e
st_replace_phase(json_t *status, json_t *disk)
{
    const char  *state, *reason;

    state = json_string_value(json_object_get(disk, "state"));
    reason = json_string_value(json_object_get(disk, "reason"));

    if (state == NULL || reason == NULL) {
        return ST_PHASE_NONE;
    }

    if (strcmp(state, "foreign") == 0) {
        return strstr(reason, "is being copied") ? ST_PHASE_COPY
                                                 : ST_PHASE_NONE;
    }

    if (strcmp(state, "waiting") == 0) {
        return ST_PHASE_FORWARD;
    }

    if (strcmp(state, "member") != 0) {
        return ST_PHASE_NONE;
    }

    if (json_is_true(json_object_get(disk, "vacant"))) {
        return ST_PHASE_MASKS;
    }

    return json_is_true(json_object_get(status, "repairing"))
           || json_is_true(json_object_get(status, "repair_due"))
           || json_is_true(json_object_get(status, "catching_up"))
           ? ST_PHASE_SHARDS : ST_PHASE_END;
}


static void
st_replace_tell(st_replace_t *r, st_phase_e phase, json_int_t shards)
{
    static const char *const  names[] = {
        "", "copy", "forward", "masks", "shards", "end"
    };

    static const char *const  texts[] = {
        "", "the index is copied", "the index is brought forward",
        "it is a member; what the lost one had is struck out",
        "its shards are computed", ""
    };

    r->phase = phase;

    if (phase == ST_PHASE_END) {
        return;
    }

    if (st_json) {
        st_json_line(json_pack("{s:s, s:s}", "type", "phase", "phase",
                               names[phase]));

    } else {
        st_print("%s: %s", r->name, texts[phase]);
    }

    /* whoever watches sees it when it happens */

    (void) fflush(stdout);
}


/* what is on no disk although the set is whole again, counted by the index */

static int
st_replace_end(st_replace_t *r, unsigned slot, json_int_t shards)
{
    int         rc;
    char        sql[2][160];
    char       *paths[ST_DISKS_MAX];
    json_t     *j;
    uint64_t    n, missing;
    unsigned    i;
    st_set_t   *now;

    now = malloc(sizeof(st_set_t));
    if (now == NULL) {
        st_no_memory();
    }

    for (i = 0; i < r->set->n; i++) {
        paths[i] = r->set->disk[i].path;
    }

    (void) snprintf(sql[0], sizeof(sql[0]), "SELECT count(size) FROM data"
                    " WHERE geometry != 0 AND (mask >> %u) & 1 = 0", slot);
    (void) snprintf(sql[1], sizeof(sql[1]), "SELECT count(size) FROM part"
                    " WHERE geometry != 0 AND (mask >> %u) & 1 = 0", slot);

    rc = st_set_open(now, paths, r->set->n, ST_IN_PLACE);
    missing = 0;

    for (i = 0; rc == 0 && i < 2; i++) {
        rc = st_index_number(now, sql[i], &n);
        missing += n;
    }

    if (st_set_release(now) != 0) {
        rc = -1;
    }

    st_set_close(now);
    st_ask_close(now->ask);
    free(now);

    if (rc != 0) {
        st_error("\"%s\" is a disk of the set; which shards it lacks could "
                 "not be counted", r->name);
        return ST_FAILED;
    }

    if (st_json) {
        j = json_pack("{s:s, s:s, s:i, s:I, s:I}", "type", "replaced",
                      "state", "member", "slot", (int) slot, "computed",
                      (json_int_t) shards, "missing", (json_int_t) missing);
        if (j == NULL) {
            st_no_memory();
        }

        st_json_bytes(j, "path", r->path, strlen(r->path));
        st_json_line(j);

    } else if (missing) {
        st_print("%s: a member, slot %u; %llu shards are missing still: "
                 "heal says why", r->name, slot,
                 (unsigned long long) missing);

    } else {
        st_print("%s: a member, slot %u, and all its shards are there",
                 r->name, slot);
    }

    return missing ? ST_DAMAGED : ST_OK;
}
