/*
 * Everything against everything:
 *
 *     each index        its pages, their order, its rows against the others'
 *     each object       its rows, its shards, its bytes; and each part of an
 *                       upload that is not completed
 *     each data row     as many objects as it says
 *     each file         a row that knows it
 *
 * list-damaged is the second line alone, and prints what is not whole.
 */


#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


typedef struct {
    st_set_t       *set;
    int             list;              /* list-damaged */
    int             rc;                /* exit status */
    uint64_t        done;              /* bytes, for the progress */

    uint64_t        objects[3];        /* by verdict */
    uint64_t        parts[3];
    uint64_t        index;             /* problems of indexes */
    uint64_t        strays;            /* files without a row */
    uint64_t        leftovers;         /* in tmp/: removed by a start */
    uint64_t        files;             /* shards that rows know */

    int             damaged;           /* no index is good */
    st_disk_t      *disk;              /* whose problems these are */
    const char     *kind;
    const char     *where;             /* directory that is walked */

    st_bytes_t      bucket;            /* of the upload */
    st_bytes_t      key;
    char            upload[33];

    st_again_t     *again;             /* NULL: nobody else has the set */
    int             failed;            /* it cannot be gone on with */
    uint64_t        changed;           /* were deleted meanwhile */
    st_bad_pt       bad;               /* takes what is not whole, or NULL */
    void           *bad_data;
} st_verify_t;


static int st_verify_run(st_set_t *set, int list, st_bad_pt bad, void *data);
static void st_verify_indexes(st_verify_t *v);
static void st_verify_problem(void *data, const char *text);
static int st_verify_object(void *data, const st_object_t *object);
static void st_verify_uploads(st_verify_t *v);
static int st_verify_upload(void *data, sqlite3_stmt *stmt);
static void st_verify_part(void *data, unsigned number, uint64_t size,
    st_report_t *report);
static int st_verify_told(st_verify_t *v, st_later_t *later);
static void st_verify_shard(void *data, st_later_t *later, int there);
static void st_verify_report(st_verify_t *v, st_later_t *later);
static void st_verify_references(st_verify_t *v);
static void st_verify_files(st_verify_t *v);
static void st_verify_data(st_verify_t *v);
static void st_verify_tmp(st_verify_t *v);
static void st_verify_stray(st_verify_t *v, const char *folder,
    const char *name, const char *what);
static void st_verify_file(st_verify_t *v, const char *folder,
    const char *name);
static void st_verify_file_known(void *data, const st_file_name_t *file,
    int known);
static int st_verify_known(st_verify_t *v, const char *name);
static DIR *st_verify_dir(st_disk_t *disk, const char *path);
static void st_verify_summary(st_verify_t *v);


int
st_verify(st_set_t *set, char **args)
{
    return st_verify_run(set, 0, NULL, NULL);
}


int
st_list_damaged(st_set_t *set, char **args)
{
    return st_verify_run(set, 1, NULL, NULL);
}


int
st_verify_each(st_set_t *set, st_bad_pt bad, void *data)
{
    return st_verify_run(set, 1, bad, data);
}


static int
st_verify_run(st_set_t *set, int list, st_bad_pt bad, void *data)
{
    int              broken;
    json_t          *j;
    uint64_t         bytes, parts;
    unsigned         i;
    st_verify_t      v;
    st_again_conf_t  conf;

    memset(&v, 0, sizeof(st_verify_t));

    v.set = set;
    v.list = list;
    v.bad = bad;
    v.bad_data = data;
    v.rc = st_set_verdict(set);

    st_set_warn(set);

    if (!list) {
        for (i = 0; i < set->n; i++) {

            if (!st_json) {
                st_disk_text(set, &set->disk[i]);
                continue;
            }

            j = st_disk_json(set, &set->disk[i]);
            st_json_set(j, "type", json_string("disk"));
            st_json_line(j);
        }

        for (i = 0; !st_json && i < set->ndisks; i++) {
            if (set->slot[i] == NULL) {
                st_print("slot %u: no disk", i);
            }
        }
    }

    if (set->ncurrent == 0) {
        st_error("no index can be read: which objects there are is not "
                 "known");
        return ST_LOST;
    }

    if (!list) {
        st_verify_indexes(&v);
    }

    if (st_index_number(set, "SELECT total(size) FROM object", &bytes) != 0
        || st_index_number(set, "SELECT total(part.size) FROM upload, part"
                           " WHERE upload.state = 0"
                           " AND part.data_id = upload.upload_id", &parts)
           != 0)
    {
        bytes = 0;
        parts = 0;
    }

    conf.shard = st_verify_shard;
    conf.file = st_verify_file_known;
    conf.data = &v;

    v.again = st_again_create(set, &conf);

    st_progress_start("verify", bytes + parts);

    broken = 0;
    (void) st_objects(set, st_verify_object, &v, &broken);

    if (broken) {
        v.rc = ST_LOST;
        st_error("no index has all rows of objects: those behind the damage "
                 "were taken from the end, some may be missing");
    }

    st_verify_uploads(&v);

    st_progress_end();

    if (!list && !v.failed) {
        st_verify_references(&v);
        st_verify_files(&v);
    }

    if (st_again_end(v.again) != 0) {
        v.failed = 1;
    }

    if (v.failed) {
        st_error("not all was looked at");
        return ST_FAILED;
    }

    if (!list) {
        st_verify_summary(&v);
    }

    return v.rc;
}


/* ---- indexes */


static void
st_verify_indexes(st_verify_t *v)
{
    unsigned    i, n;
    uint64_t    before;
    st_disk_t  *good[ST_DISKS_MAX], *bad[ST_DISKS_MAX], *disk;
    unsigned    ngood, nbad;

    ngood = 0;
    nbad = 0;
    v->kind = "index";

    for (i = 0; i < v->set->nview; i++) {
        disk = v->set->view[i];
        v->disk = disk;
        before = v->index;

        n = st_index_check(disk, st_verify_problem, v);
        v->index = before + n;

        if (i >= v->set->ncurrent) {
            continue;
        }

        if (n) {
            bad[nbad++] = disk;
        } else {
            good[ngood++] = disk;
        }
    }

    /* those without damage are asked first from now on */

    memcpy(v->set->view, good, ngood * sizeof(st_disk_t *));
    memcpy(v->set->view + ngood, bad, nbad * sizeof(st_disk_t *));

    /* of one that is damaged nothing more could be said */

    v->damaged = (ngood == 0);

    for (i = 1; i < ngood; i++) {
        v->disk = v->set->view[i];
        before = v->index;

        n = st_index_compare(v->set->view[0], v->disk, st_verify_problem, v);
        v->index = before + n;
    }

    if (v->index && v->rc == ST_OK) {
        v->rc = ST_DAMAGED;
    }
}


static void
st_verify_problem(void *data, const char *text)
{
    char         *path, *safe;
    json_t       *j;
    st_verify_t  *v = data;

    if (st_json) {
        j = json_object();
        if (j == NULL) {
            st_no_memory();
        }

        st_json_set(j, "type", json_string(v->kind));

        if (v->disk) {
            st_json_bytes(j, "disk", v->disk->path, strlen(v->disk->path));
        }

        st_json_bytes(j, "problem", text, strlen(text));
        st_json_line(j);
        return;
    }

    safe = st_escape(text, strlen(text));

    if (v->disk) {
        path = st_escape(v->disk->path, strlen(v->disk->path));
        st_print("%s of %s: %s", v->kind, path, safe);
        free(path);

    } else {
        st_print("%s: %s", v->kind, safe);
    }

    free(safe);
}


/* ---- objects */


static int
st_verify_object(void *data, const st_object_t *object)
{
    char          etag[64];
    st_later_t    later;
    st_verify_t  *v = data;

    if (object->flags & ST_DELETE_MARKER) {
        return 0;
    }

    memset(&later, 0, sizeof(st_later_t));

    st_report_init(&later.report);
    (void) st_object_read(v->set, object, NULL, NULL, &later.report);

    if (st_json) {
        later.json = st_object_json(object->bucket, object->key,
                                    object->version);
        st_json_set(later.json, "type", json_string("object"));
        st_etag_text(object->etag, etag);
        st_json_set(later.json, "size",
                    json_integer((json_int_t) object->size));
        st_json_set(later.json, "etag", json_string(etag));

    } else {
        later.name = st_object_name(object->bucket, object->key,
                                    object->version);
    }

    if (v->bad && later.report.verdict != ST_WHOLE) {
        later.bucket_id = object->bucket_id;
        later.key_len = object->key.len;
        later.version_len = object->version.len;
        later.key = malloc(later.key_len + later.version_len + 1);

        if (later.key == NULL) {
            st_no_memory();
        }

        memcpy(later.key, object->key.data, later.key_len);
        memcpy(later.key + later.key_len, object->version.data,
               later.version_len);
    }

    v->done += object->size;

    if (st_verify_told(v, &later) != 0) {
        return -1;
    }

    st_progress(v->done);

    return 0;
}


/* at once, or when it is sure; it is not the caller's any more */

static int
st_verify_told(st_verify_t *v, st_later_t *later)
{
    if (v->again && later->report.gone) {
        if (st_again_shard(v->again, later) != 0) {
            v->failed = 1;
        }

    } else {
        st_verify_shard(v, later, 1);
    }

    return v->failed ? -1 : 0;
}


static void
st_verify_shard(void *data, st_later_t *later, int there)
{
    st_verify_t  *v = data;

    if (!there) {
        v->changed++;
        st_later_free(later);
        return;
    }

    if (later->part) {
        v->parts[later->report.verdict]++;

    } else {
        v->objects[later->report.verdict]++;
    }

    if (v->bad && later->report.verdict != ST_WHOLE) {
        if (v->failed) {
            st_later_free(later);

        } else if (v->bad(v->bad_data, later) != 0) {
            v->failed = 1;
        }

        return;
    }

    st_verify_report(v, later);
    st_later_free(later);
}


static void
st_verify_uploads(st_verify_t *v)
{
    int  broken;

    static const st_scan_t  scan = {
        "SELECT bucket, key, upload_id FROM upload NOT INDEXED",
        "AND state = 0", "bucket,key,upload_id", 3, { NULL, 0 }
    };

    broken = 0;

    (void) st_scan(v->set, &scan, st_verify_upload, v, &broken);

    if (broken) {
        v->rc = ST_LOST;
        st_error("no index has all rows of uploads");
    }
}


static int
st_verify_upload(void *data, sqlite3_stmt *stmt)
{
    int            broken;
    st_bytes_t     none, id;
    st_verify_t   *v = data;
    sqlite3_stmt  *bucket;

    none.data = NULL;
    none.len = 0;

    id = st_column(stmt, 2);

    if (id.len != 16) {
        return 0;
    }

    bucket = st_row_find(v->set, ST_SQL_BUCKET, none,
                         sqlite3_column_int64(stmt, 0));

    v->bucket = none;

    if (bucket) {
        v->bucket = st_column(bucket, 0);
    }

    v->key = st_column(stmt, 1);
    st_hex(id.data, 16, v->upload);

    broken = 0;
    st_upload_read(v->set, id, st_verify_part, v, &broken);

    st_row_done(bucket);

    if (broken) {
        v->rc = ST_LOST;
        st_error("no index has all rows of the parts of upload %s",
                 v->upload);
    }

    return 0;
}


static void
st_verify_part(void *data, unsigned number, uint64_t size,
    st_report_t *report)
{
    char         *object;
    st_bytes_t    none;
    st_later_t    later;
    st_verify_t  *v = data;

    none.data = (const uint8_t *) "";
    none.len = 0;

    if (v->failed) {
        return;
    }

    memset(&later, 0, sizeof(st_later_t));

    later.part = 1;
    later.number = number;
    later.report = *report;
    report->problems = NULL;

    (void) st_id_parse(v->upload, later.upload_id);

    if (st_json) {
        later.json = st_object_json(v->bucket, v->key, none);
        st_json_set(later.json, "type", json_string("part"));
        st_json_set(later.json, "upload", json_string(v->upload));
        st_json_set(later.json, "part", json_integer(number));
        st_json_set(later.json, "size", json_integer((json_int_t) size));

    } else {
        object = st_object_name(v->bucket, v->key, none);

        if (asprintf(&later.name, "%s (part %u of upload %s)", object, number,
                     v->upload)
            == -1)
        {
            st_no_memory();
        }

        free(object);
    }

    v->done += size;

    if (st_verify_told(v, &later) == 0) {
        st_progress(v->done);
    }
}


static void
st_verify_report(st_verify_t *v, st_later_t *later)
{
    st_verdict_e  verdict;

    verdict = later->report.verdict;

    if (verdict == ST_GONE) {
        v->rc = ST_LOST;

    } else if (verdict == ST_SHORT && v->rc == ST_OK) {
        v->rc = ST_DAMAGED;
    }

    if (verdict == ST_WHOLE && (v->list || !st_json)) {
        return;
    }

    st_verify_line(later, st_verdict_name(verdict));
}


void
st_verify_line(st_later_t *later, const char *verdict)
{
    char         *text;
    size_t        i;
    json_t       *problem;
    st_report_t  *report;

    report = &later->report;

    if (later->json) {
        st_json_set(later->json, "verdict", json_string(verdict));
        st_json_set(later->json, "short_of", json_integer(report->short_of));

        if (report->problems) {
            st_json_set(later->json, "problems",
                        json_incref(report->problems));
        }

        if (report->more) {
            st_json_set(later->json, "more_problems",
                        json_integer((json_int_t) report->more));
        }

        st_json_line(later->json);
        later->json = NULL;
        return;
    }

    if (report->verdict == ST_SHORT && report->short_of) {
        st_print("%s, of %u shard%s: %s", verdict, report->short_of,
                 report->short_of == 1 ? "" : "s", later->name);

    } else {
        st_print("%s: %s", verdict, later->name);
    }

    json_array_foreach(report->problems, i, problem) {
        text = st_problem_text(problem);
        st_print("    %s", text);
        free(text);
    }

    if (report->more) {
        st_print("    and %llu more", (unsigned long long) report->more);
    }
}


/* ---- references: two lists in the order of data ids */


static void
st_verify_references(st_verify_t *v)
{
    int            rc[2], order, i;
    char           text[160], id[33];
    int64_t        n[2];
    sqlite3       *db;
    st_bytes_t     b[2];
    sqlite3_stmt  *stmt[2];

    static const char *const  sql[2] = {
        "SELECT data_id, count(*) FROM object WHERE (flags & 1) = 0"
        " GROUP BY data_id ORDER BY data_id",
        "SELECT data_id, refs FROM data ORDER BY data_id"
    };

    db = v->set->view[0]->db;
    v->disk = NULL;
    v->kind = "references";

    if (v->damaged) {
        st_verify_problem(v, "not counted: no index is whole");
        return;
    }

    for (i = 0; i < 2; i++) {
        stmt[i] = NULL;
        rc[i] = sqlite3_prepare_v2(db, sql[i], -1, &stmt[i], NULL);

        if (rc[i] == SQLITE_OK) {
            rc[i] = sqlite3_step(stmt[i]);
        }
    }

    while ((rc[0] == SQLITE_ROW || rc[0] == SQLITE_DONE)
           && (rc[1] == SQLITE_ROW || rc[1] == SQLITE_DONE)
           && (rc[0] == SQLITE_ROW || rc[1] == SQLITE_ROW))
    {
        for (i = 0; i < 2; i++) {
            n[i] = 0;
            b[i].data = (const uint8_t *) "";
            b[i].len = 0;

            if (rc[i] == SQLITE_ROW) {
                b[i] = st_column(stmt[i], 0);
                n[i] = sqlite3_column_int64(stmt[i], 1);
            }
        }

        if (rc[0] != SQLITE_ROW) {
            order = 1;

        } else if (rc[1] != SQLITE_ROW) {
            order = -1;

        } else {
            order = memcmp(b[0].data, b[1].data,
                           b[0].len < b[1].len ? b[0].len : b[1].len);
            order = order ? order : (b[0].len > b[1].len)
                                    - (b[0].len < b[1].len);
        }

        /* an object without data is the object's problem */

        if (order > 0 || (order == 0 && n[0] != n[1])) {

            st_hex(b[1].data, b[1].len < 16 ? b[1].len : 16, id);
            (void) snprintf(text, sizeof(text), "data %s: its row says that "
                            "%lld objects have it, there are %lld", id,
                            (long long) n[1],
                            (long long) (order > 0 ? 0 : n[0]));

            st_verify_problem(v, text);
            v->index++;
            v->rc = v->rc == ST_OK ? ST_DAMAGED : v->rc;
        }

        if (order <= 0) {
            rc[0] = sqlite3_step(stmt[0]);
        }

        if (order >= 0) {
            rc[1] = sqlite3_step(stmt[1]);
        }
    }

    if (rc[0] != SQLITE_DONE || rc[1] != SQLITE_DONE) {
        (void) snprintf(text, sizeof(text), "not counted: %s",
                        sqlite3_errmsg(db));
        st_verify_problem(v, text);
        v->index++;
        v->rc = v->rc == ST_OK ? ST_DAMAGED : v->rc;
    }

    (void) sqlite3_finalize(stmt[0]);
    (void) sqlite3_finalize(stmt[1]);
}


/* ---- files */


static void
st_verify_files(st_verify_t *v)
{
    unsigned  i;

    for (i = 0; i < v->set->ndisks; i++) {
        if (v->set->slot[i]) {
            v->disk = v->set->slot[i];
            st_verify_data(v);
            st_verify_tmp(v);
        }
    }
}


static DIR *
st_verify_dir(st_disk_t *disk, const char *path)
{
    int   fd, err;
    DIR  *dir;

    fd = st_open_below(disk->fd, path, O_RDONLY|O_DIRECTORY);
    if (fd == -1) {
        return NULL;
    }

    dir = fdopendir(fd);
    if (dir == NULL) {
        err = errno;
        (void) close(fd);
        errno = err;
    }

    return dir;
}


static void
st_verify_data(st_verify_t *v)
{
    DIR            *data, *dir;
    char            path[64];
    uint8_t         id[16];
    struct stat     st;
    struct dirent  *folder, *entry;

    data = st_verify_dir(v->disk, "data");

    if (data == NULL) {
        st_verify_stray(v, "", "data", strerror(errno));
        return;
    }

    while ((folder = readdir(data)) != NULL) {

        if (strcmp(folder->d_name, ".") == 0
            || strcmp(folder->d_name, "..") == 0)
        {
            continue;
        }

        if (strspn(folder->d_name, "0123456789abcdef") != 2
            || folder->d_name[2] != '\0')
        {
            st_verify_stray(v, "data/", folder->d_name,
                            "no directory of shards");
            continue;
        }

        (void) snprintf(path, sizeof(path), "data/%.2s", folder->d_name);
        dir = st_verify_dir(v->disk, path);

        if (dir == NULL) {
            st_verify_stray(v, "data/", folder->d_name,
                            errno == ENOTDIR || errno == ELOOP
                            ? "no directory of shards" : strerror(errno));
            continue;
        }

        (void) snprintf(path, sizeof(path), "data/%.2s/", folder->d_name);

        while ((entry = readdir(dir)) != NULL) {

            if (strcmp(entry->d_name, ".") == 0
                || strcmp(entry->d_name, "..") == 0)
            {
                continue;
            }

            if (st_id_parse(entry->d_name, id) != 0
                || strncmp(entry->d_name, folder->d_name, 2) != 0
                || fstatat(dirfd(dir), entry->d_name, &st,
                           AT_SYMLINK_NOFOLLOW)
                   == -1
                || !S_ISREG(st.st_mode))
            {
                st_verify_stray(v, path, entry->d_name, "no shard");
                continue;
            }

            st_verify_file(v, path, entry->d_name);
        }

        (void) closedir(dir);
    }

    (void) closedir(data);
}


static void
st_verify_file(st_verify_t *v, const char *folder, const char *name)
{
    st_file_name_t  file;

    if (st_verify_known(v, name)) {
        v->files++;
        return;
    }

    file.disk = v->disk;
    (void) snprintf(file.folder, sizeof(file.folder), "%s", folder);
    (void) snprintf(file.name, sizeof(file.name), "%.32s", name);

    if (v->again == NULL) {
        st_verify_file_known(v, &file, 0);

    } else if (!v->failed && st_again_file(v->again, &file) != 0) {
        v->failed = 1;
    }
}


static void
st_verify_file_known(void *data, const st_file_name_t *file, int known)
{
    st_verify_t  *v = data;

    if (known) {
        v->files++;
        return;
    }

    v->disk = file->disk;
    st_verify_stray(v, file->folder, file->name, "no row has it");
}


/* a crash leaves such files, and the next start removes them */

static void
st_verify_tmp(st_verify_t *v)
{
    DIR            *tmp, *dir;
    char            path[64];
    uint8_t         id[16];
    struct dirent  *session, *entry;

    tmp = st_verify_dir(v->disk, "tmp");

    if (tmp == NULL) {
        if (errno != ENOENT) {
            st_verify_stray(v, "", "tmp", strerror(errno));
        }

        return;
    }

    while ((session = readdir(tmp)) != NULL) {

        if (strcmp(session->d_name, ".") == 0
            || strcmp(session->d_name, "..") == 0)
        {
            continue;
        }

        if (st_id_parse(session->d_name, id) != 0) {
            v->leftovers++;
            continue;
        }

        (void) snprintf(path, sizeof(path), "tmp/%.32s", session->d_name);
        dir = st_verify_dir(v->disk, path);

        if (dir == NULL) {
            v->leftovers++;
            continue;
        }

        while ((entry = readdir(dir)) != NULL) {

            if (strcmp(entry->d_name, ".") == 0
                || strcmp(entry->d_name, "..") == 0
                || strcmp(entry->d_name, "lock") == 0)
            {
                continue;
            }

            if (st_id_parse(entry->d_name, id) == 0
                && st_verify_known(v, entry->d_name))
            {
                v->files++;

            } else {
                v->leftovers++;
            }
        }

        (void) closedir(dir);
    }

    (void) closedir(tmp);
}


static int
st_verify_known(st_verify_t *v, const char *name)
{
    uint8_t        id[16];
    st_bytes_t     b;
    sqlite3_stmt  *stmt;

    (void) st_id_parse(name, id);

    b.data = id;
    b.len = 16;

    stmt = st_row_find(v->set, ST_SQL_KNOWN, b, 0);
    st_row_done(stmt);

    return stmt != NULL;
}


static void
st_verify_stray(st_verify_t *v, const char *folder, const char *name,
    const char *what)
{
    char  *text, *safe;

    safe = st_escape(name, strlen(name));

    if (asprintf(&text, "%s%s: %s", folder, safe, what) == -1) {
        st_no_memory();
    }

    v->kind = "stray";
    v->strays++;
    v->rc = v->rc == ST_OK ? ST_DAMAGED : v->rc;

    /* it is ASCII and UTF-8 now: escaped twice it would not be the name */

    if (st_json) {
        st_verify_problem(v, text);

    } else {
        char  *path;

        path = st_escape(v->disk->path, strlen(v->disk->path));
        st_print("stray of %s: %s", path, text);
        free(path);
    }

    free(text);
    free(safe);
}


/* ---- the end */


static void
st_verify_summary(st_verify_t *v)
{
    json_t  *j;

    if (!st_json) {
        if (v->changed) {
            st_print("%llu objects and parts were deleted or overwritten "
                     "meanwhile", (unsigned long long) v->changed);
        }

        st_print("%llu objects: %llu whole, %llu short, %llu lost",
                 (unsigned long long) (v->objects[0] + v->objects[1]
                                       + v->objects[2]),
                 (unsigned long long) v->objects[0],
                 (unsigned long long) v->objects[1],
                 (unsigned long long) v->objects[2]);
        st_print("%llu parts of uploads: %llu whole, %llu short, %llu lost",
                 (unsigned long long) (v->parts[0] + v->parts[1]
                                       + v->parts[2]),
                 (unsigned long long) v->parts[0],
                 (unsigned long long) v->parts[1],
                 (unsigned long long) v->parts[2]);
        st_print("%llu shard files, %llu strays, %llu left in tmp/; %llu "
                 "problems of indexes",
                 (unsigned long long) v->files,
                 (unsigned long long) v->strays,
                 (unsigned long long) v->leftovers,
                 (unsigned long long) v->index);
        return;
    }

    j = json_pack("{s:s, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, s:I, s:I, s:I,"
                  " s:I, s:i}",
                  "type", "summary",
                  "objects",
                  "whole", (json_int_t) v->objects[0],
                  "short", (json_int_t) v->objects[1],
                  "lost", (json_int_t) v->objects[2],
                  "parts",
                  "whole", (json_int_t) v->parts[0],
                  "short", (json_int_t) v->parts[1],
                  "lost", (json_int_t) v->parts[2],
                  "shard_files", (json_int_t) v->files,
                  "strays", (json_int_t) v->strays,
                  "left_in_tmp", (json_int_t) v->leftovers,
                  "index_problems", (json_int_t) v->index,
                  "status", v->rc);
    if (j == NULL) {
        st_no_memory();
    }

    if (v->set->ask) {
        st_json_set(j, "changed", json_integer((json_int_t) v->changed));
    }

    st_json_line(j);
}
