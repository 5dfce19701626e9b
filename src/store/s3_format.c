
/*
 * What a directory is, and what set it belongs to.  DISK/format, one line:
 *
 *     {"format":"s3_store disk","version":1,"set":"<32 hex digits>",
 *      "disk":"<32 hex digits>","slot":0,"disks":4,"parity":2,
 *      "state":"formed","crc32c":"<8 hex digits>"}
 *
 * state is "forming" until all disks of the set are synced.  That of a disk
 * that takes a lost one's place is "copying" until it has an index, then
 * "vacant" until no mask in the index says any more that the lost disk's
 * shards are there, then "formed".  STATE/NAME.json, the record off the disks,
 * likewise:
 *
 *     {"format":"s3_store set","version":1,"set":"<32 hex digits>",
 *      "parity":2,"disks":["<32 hex digits>", ...],"crc32c":"..."}
 *
 * with the disks' identities in the order of their slots.  crc32c is that of
 * the object without it, as jansson writes it compact and with sorted keys:
 * a flipped bit must not make another disk of it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_format.h"
#include "s3_door.h"
#include "s3_shard.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <isa-l.h>


#define S3_FORMAT_VERSION  1
#define S3_FORMAT_MAX      8192      /* bytes of a file */
#define S3_FORMAT_NAME     64        /* of a store: 32, and its suffixes */
#define S3_FORMAT_FLAGS    (JSON_COMPACT|JSON_SORT_KEYS)


static json_t *s3_format_load(int dir, const char *file, const char *kind,
    int *err);
static int s3_format_save(int dir, const char *file, json_t *json);
static char *s3_format_sum(json_t *json, char text[9]);
static int s3_format_get_id(json_t *json, uint8_t id[16]);
static int s3_format_get_uint(json_t *json, const char *name, unsigned max,
    unsigned *v);
static char *s3_format_id(const uint8_t id[16], char text[33]);
static int s3_format_leftover(int root, const char *name);
static int s3_format_name(void *data, const char *name);
static int s3_format_any(void *data, const char *name);
static int s3_set_record_open(const char *state, const char *name,
    char file[S3_FORMAT_NAME], int *dir);


int
s3_format_read(int root, s3_format_t *f)
{
    int          err;
    json_t      *json;
    const char  *state;

    memset(f, 0, sizeof(s3_format_t));

    json = s3_format_load(root, "format", "s3_store disk", &err);
    if (json == NULL) {
        return err;
    }

    err = EBADMSG;
    state = json_string_value(json_object_get(json, "state"));

    if (state == NULL
        || s3_format_get_id(json_object_get(json, "set"), f->set_id)
        || s3_format_get_id(json_object_get(json, "disk"), f->disk_id)
        || s3_format_get_uint(json, "disks", S3_MAX_DISKS, &f->ndisks)
        || s3_format_get_uint(json, "slot", S3_MAX_DISKS - 1, &f->slot)
        || s3_format_get_uint(json, "parity", S3_MAX_DISKS / 2, &f->parity)
        || f->slot >= f->ndisks || f->parity > f->ndisks / 2)
    {
        goto done;
    }

    if (strcmp(state, "formed") == 0) {
        f->formed = 1;

    } else if (strcmp(state, "copying") == 0) {
        f->copying = 1;

    } else if (strcmp(state, "vacant") == 0) {
        f->formed = 1;
        f->vacant = 1;

    } else if (strcmp(state, "forming") != 0) {
        goto done;
    }

    err = 0;

done:

    json_decref(json);

    return err;
}


int
s3_format_write(int root, const s3_format_t *f)
{
    int      err;
    char     set[33], disk[33];
    json_t  *json;

    if ((s3_door->mkdirat(root, "data", 0700) == -1 && errno != EEXIST)
        || (s3_door->mkdirat(root, "tmp", 0700) == -1 && errno != EEXIST))
    {
        return errno;
    }

    json = json_pack("{s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:s}",
                     "format", "s3_store disk",
                     "version", S3_FORMAT_VERSION,
                     "set", s3_format_id(f->set_id, set),
                     "disk", s3_format_id(f->disk_id, disk),
                     "slot", (int) f->slot,
                     "disks", (int) f->ndisks,
                     "parity", (int) f->parity,
                     "state", f->copying ? "copying"
                              : f->vacant ? "vacant"
                              : f->formed ? "formed" : "forming");
    if (json == NULL) {
        return ENOMEM;
    }

    err = s3_format_save(root, "format", json);

    json_decref(json);

    return err;
}


typedef struct {
    int    root;
    int    error;
} s3_format_list_t;


int
s3_format_empty(int root)
{
    s3_format_list_t  l;

    l.root = root;
    l.error = 0;

    if (s3_door->list(root, s3_format_name, &l) == -1) {
        return errno;
    }

    return l.error;
}


static int
s3_format_name(void *data, const char *name)
{
    s3_format_list_t *l = data;

    if (strcmp(name, "lost+found") == 0) {
        return 0;
    }

    l->error = s3_format_leftover(l->root, name);

    return l->error;
}


/*
 * s3_format_write() ended before its rename leaves these; with them taken
 * for contents a first start that was cut could never be repeated.
 */

static int
s3_format_leftover(int root, const char *name)
{
    int  fd, n, err;

    if (strcmp(name, "format.new") == 0
        || strcmp(name, S3_REPLACE_FILE) == 0)
    {
        return 0;
    }

    if (strcmp(name, "data") != 0 && strcmp(name, "tmp") != 0) {
        return ENOTEMPTY;
    }

    fd = s3_door->openat(root, name,
                         O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, 0);
    if (fd == -1) {
        return (errno == ENOTDIR || errno == ELOOP) ? ENOTEMPTY : errno;
    }

    n = 0;
    err = 0;

    if (s3_door->list(fd, s3_format_any, &n) == -1) {
        err = errno;

    } else if (n) {
        err = ENOTEMPTY;
    }

    (void) s3_door->close(fd);

    return err;
}


static int
s3_format_any(void *data, const char *name)
{
    int *n = data;

    *n = 1;

    return 1;
}


int
s3_format_asked(int root, int *slot)
{
    int          fd, n;
    char         text[8];
    ssize_t      len;
    struct stat  st;

    *slot = -1;

    fd = s3_door->openat(root, S3_REPLACE_FILE,
                         O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC, 0);
    if (fd == -1) {
        return 0;
    }

    len = -1;

    if (s3_door->fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        len = s3_door->pread(fd, text, sizeof(text) - 1, 0);
    }

    (void) s3_door->close(fd);

    if (len == -1) {
        return 0;
    }

    text[len] = '\0';

    if (text[strspn(text, " \n")] == '\0') {
        return 1;
    }

    *slot = S3_MAX_DISKS;
    n = 0;

    if (sscanf(text, " %2u %n", (unsigned *) slot, &n) != 1
        || text[n] != '\0' || *slot > S3_MAX_DISKS)
    {
        *slot = S3_MAX_DISKS;
    }

    return 1;
}


int
s3_format_check(const char *path, unsigned ndisks, unsigned parity,
    s3_format_t *f)
{
    int  fd, rc;

    memset(f, 0, sizeof(s3_format_t));

    fd = s3_door->openat(AT_FDCWD, path, O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0);
    if (fd == -1) {
        return 0;
    }

    rc = s3_format_read(fd, f);

    (void) s3_door->close(fd);

    /* the state of disks never fails nginx -t; a set that is another one
     * than the configuration says is no state */

    if (rc == 0 && (f->ndisks != ndisks || f->parity != parity)) {
        return EINVAL;
    }

    return 0;
}


int
s3_set_record_read(const char *state, const char *name, s3_set_record_t *r)
{
    int      dir, err;
    char     file[S3_FORMAT_NAME];
    size_t   i;
    json_t  *json, *disks;

    memset(r, 0, sizeof(s3_set_record_t));

    err = s3_set_record_open(state, name, file, &dir);
    if (err) {
        return err;
    }

    json = s3_format_load(dir, file, "s3_store set", &err);

    (void) s3_door->close(dir);

    if (json == NULL) {
        return err;
    }

    err = EBADMSG;
    disks = json_object_get(json, "disks");

    if (!json_is_array(disks) || json_array_size(disks) == 0
        || json_array_size(disks) > S3_MAX_DISKS
        || s3_format_get_id(json_object_get(json, "set"), r->set_id)
        || s3_format_get_uint(json, "parity", S3_MAX_DISKS / 2, &r->parity))
    {
        goto done;
    }

    r->ndisks = json_array_size(disks);

    if (r->parity > r->ndisks / 2) {
        goto done;
    }

    for (i = 0; i < r->ndisks; i++) {
        if (s3_format_get_id(json_array_get(disks, i), r->disk_ids[i])) {
            goto done;
        }
    }

    err = 0;

done:

    json_decref(json);

    return err;
}


int
s3_set_record_write(const char *state, const char *name,
    const s3_set_record_t *r)
{
    int       dir, err;
    char      file[S3_FORMAT_NAME], id[33];
    json_t   *json, *disks;
    unsigned  i;

    if (r->ndisks == 0 || r->ndisks > S3_MAX_DISKS) {
        return EINVAL;
    }

    disks = json_array();
    if (disks == NULL) {
        return ENOMEM;
    }

    for (i = 0; i < r->ndisks; i++) {
        if (json_array_append_new(disks,
                         json_string(s3_format_id(r->disk_ids[i], id))) == -1)
        {
            json_decref(disks);
            return ENOMEM;
        }
    }

    /* o: the reference to disks is taken, on failure too */

    json = json_pack("{s:s, s:i, s:s, s:i, s:o}",
                     "format", "s3_store set",
                     "version", S3_FORMAT_VERSION,
                     "set", s3_format_id(r->set_id, id),
                     "parity", (int) r->parity,
                     "disks", disks);
    if (json == NULL) {
        return ENOMEM;
    }

    err = s3_set_record_open(state, name, file, &dir);

    if (err == 0) {
        err = s3_format_save(dir, file, json);
        (void) s3_door->close(dir);
    }

    json_decref(json);

    return err;
}


static int
s3_set_record_open(const char *state, const char *name,
    char file[S3_FORMAT_NAME], int *dir)
{
    /* with room for ".new" */

    if ((size_t) snprintf(file, S3_FORMAT_NAME - 4, "%s.json", name)
        >= S3_FORMAT_NAME - 4)
    {
        return ENAMETOOLONG;
    }

    *dir = s3_door->openat(AT_FDCWD, state, O_RDONLY|O_DIRECTORY|O_CLOEXEC,
                           0);

    return *dir == -1 ? errno : 0;
}


/* the object in the file, whose kind, version and sum are right; or NULL */

static json_t *
s3_format_load(int dir, const char *file, const char *kind, int *err)
{
    int           fd;
    char          text[S3_FORMAT_MAX], sum[9], found[9];
    json_t       *json;
    struct stat   st;
    const char   *s;

    fd = s3_door->openat(dir, file, O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC,
                         0);
    if (fd == -1) {
        *err = (errno == ELOOP) ? EBADMSG : errno;
        return NULL;
    }

    *err = 0;

    if (s3_door->fstat(fd, &st) == -1) {
        *err = errno;

    } else if (!S_ISREG(st.st_mode) || st.st_size == 0
               || st.st_size > (off_t) sizeof(text))
    {
        *err = EBADMSG;

    } else if (s3_door_read_all(fd, text, st.st_size, 0) == -1) {
        *err = errno;
    }

    (void) s3_door->close(fd);

    if (*err) {
        return NULL;
    }

    json = json_loadb(text, st.st_size, JSON_REJECT_DUPLICATES, NULL);

    s = json_string_value(json_object_get(json, "crc32c"));

    if (s == NULL || strlen(s) != 8) {
        goto bad;
    }

    memcpy(found, s, 9);
    (void) json_object_del(json, "crc32c");

    if (s3_format_sum(json, sum) == NULL) {
        json_decref(json);
        *err = ENOMEM;
        return NULL;
    }

    if (strcmp(sum, found) != 0) {
        goto bad;
    }

    s = json_string_value(json_object_get(json, "format"));

    if (s == NULL || strcmp(s, kind) != 0
        || json_integer_value(json_object_get(json, "version"))
           != S3_FORMAT_VERSION)
    {
        goto bad;
    }

    return json;

bad:

    json_decref(json);
    *err = EBADMSG;

    return NULL;
}


static int
s3_format_save(int dir, const char *file, json_t *json)
{
    int     fd, err;
    char   *text, temp[S3_FORMAT_NAME], sum[9];
    size_t  len;

    (void) snprintf(temp, sizeof(temp), "%s.new", file);

    if (s3_format_sum(json, sum) == NULL
        || json_object_set_new(json, "crc32c", json_string(sum)) == -1)
    {
        return ENOMEM;
    }

    text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        return ENOMEM;
    }

    len = strlen(text);

    if (len >= S3_FORMAT_MAX) {
        free(text);
        return EMSGSIZE;
    }

    text[len++] = '\n';

    fd = s3_door->openat(dir, temp,
                       O_WRONLY|O_CREAT|O_TRUNC|O_NOFOLLOW|O_CLOEXEC, 0600);
    if (fd == -1) {
        err = errno;
        free(text);
        return err;
    }

    err = 0;

    if (s3_door_write_all(fd, text, len, 0) == -1
        || s3_door->fsync(fd) == -1)
    {
        err = errno;
    }

    if (s3_door->close(fd) == -1 && err == 0) {
        err = errno;
    }

    free(text);

    if (err == 0 && s3_door->renameat(dir, temp, dir, file) == -1) {
        err = errno;
    }

    if (err) {
        (void) s3_door->unlinkat(dir, temp, 0);
        return err;
    }

    return s3_door->fsync(dir) == -1 ? errno : 0;
}


static char *
s3_format_sum(json_t *json, char text[9])
{
    char      *s;
    unsigned   crc;

    s = json_dumps(json, S3_FORMAT_FLAGS);
    if (s == NULL) {
        return NULL;
    }

    crc = crc32_iscsi((unsigned char *) s, (int) strlen(s), 0xffffffff);
    (void) snprintf(text, 9, "%08x", crc ^ 0xffffffff);

    free(s);

    return text;
}


static char *
s3_format_id(const uint8_t id[16], char text[33])
{
    s3_id_text(id, text);

    return text;
}


static int
s3_format_get_id(json_t *json, uint8_t id[16])
{
    const char  *s;

    s = json_string_value(json);

    return (s == NULL || strlen(s) != 32) ? -1 : s3_id_parse(s, id);
}


static int
s3_format_get_uint(json_t *json, const char *name, unsigned max,
    unsigned *v)
{
    json_int_t   n;
    json_t      *j;

    j = json_object_get(json, name);

    if (!json_is_integer(j)) {
        return -1;
    }

    n = json_integer_value(j);

    if (n < 0 || n > (json_int_t) max) {
        return -1;
    }

    *v = (unsigned) n;

    return 0;
}
