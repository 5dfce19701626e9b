/*
 * What was seen of a set in use and may have changed since its rows were read.
 *
 *     a shard was not there    a later view still has its row: it was
 *                              missing.  Ids are used once: a row that is
 *                              there has been there all the time
 *     no row has a file        a later view has one: it is newer.  None has,
 *                              and the file is there even then: nobody's
 *
 * They are asked for many at a time: a view costs the set a moment without
 * commits.
 */


#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>


#define ST_AGAIN_SHARDS    256
#define ST_AGAIN_FILES     4096
#define ST_AGAIN_TRIES     5


struct st_again_s {
    st_set_t         *set;
    st_again_conf_t   conf;
    unsigned          nshards;
    unsigned          nfiles;
    st_later_t        shards[ST_AGAIN_SHARDS];
    int               there[ST_AGAIN_SHARDS];
    st_file_name_t    files[ST_AGAIN_FILES];
    int               known[ST_AGAIN_FILES];  /* -1: it is gone */
};


static int st_again_ask(st_again_t *a);
static int st_again_look(st_again_t *a, st_set_t *now);
/* 1, 0; -1: the indexes can't be read there */
static int st_again_find(st_set_t *now, st_sql_e sql, const uint8_t id[16]);


st_again_t *
st_again_create(st_set_t *set, const st_again_conf_t *conf)
{
    st_again_t  *a;

    if (set->ask == NULL) {
        return NULL;
    }

    a = calloc(1, sizeof(st_again_t));
    if (a == NULL) {
        st_no_memory();
    }

    a->set = set;
    a->conf = *conf;

    return a;
}


void
st_later_free(st_later_t *later)
{
    json_decref(later->json);
    free(later->name);
    free(later->key);
    st_report_free(&later->report);
}


int
st_again_shard(st_again_t *a, const st_later_t *later)
{
    a->shards[a->nshards++] = *later;

    return a->nshards == ST_AGAIN_SHARDS ? st_again_ask(a) : 0;
}


int
st_again_file(st_again_t *a, const st_file_name_t *file)
{
    a->files[a->nfiles++] = *file;

    return a->nfiles == ST_AGAIN_FILES ? st_again_ask(a) : 0;
}


int
st_again_end(st_again_t *a)
{
    int       rc;
    unsigned  i;

    if (a == NULL) {
        return 0;
    }

    rc = st_again_ask(a);

    /* where it could not be asked */

    for (i = 0; i < a->nshards; i++) {
        st_later_free(&a->shards[i]);
    }

    free(a);

    return rc;
}


/* tells all that were put aside */

static int
st_again_ask(st_again_t *a)
{
    int        rc;
    unsigned   i, n;
    st_set_t  *now;

    if (a->nshards == 0 && a->nfiles == 0) {
        return 0;
    }

    now = malloc(sizeof(st_set_t));
    if (now == NULL) {
        st_no_memory();
    }

    rc = -1;

    for (n = 0; rc != 0 && n < ST_AGAIN_TRIES; n++) {

        rc = st_set_open_again(now, a->set);

        if (rc != 0) {
            st_set_close(now);
            break;
        }

        rc = st_again_look(a, now);

        if (st_set_release(now) != 0) {
            rc = -1;
        }

        st_set_close(now);
    }

    free(now);

    if (rc != 0) {
        if (n == ST_AGAIN_TRIES) {
            st_error("so much is written to the set that no index can be "
                     "asked again");
        }

        return -1;
    }

    for (i = 0; i < a->nshards; i++) {
        a->conf.shard(a->conf.data, &a->shards[i], a->there[i]);
    }

    a->nshards = 0;

    for (i = 0; i < a->nfiles; i++) {
        if (a->known[i] >= 0) {
            a->conf.file(a->conf.data, &a->files[i], a->known[i]);
        }
    }

    a->nfiles = 0;

    return 0;
}


static int
st_again_look(st_again_t *a, st_set_t *now)
{
    int              fd;
    char             folder[64];
    uint8_t          id[16];
    unsigned         i;
    struct stat      st;
    st_file_name_t  *f;

    if (now->ncurrent == 0) {
        return -1;
    }

    for (i = 0; i < a->nshards; i++) {
        a->there[i] = st_again_find(now, ST_SQL_NAMED,
                                    a->shards[i].report.gone_id);

        if (a->there[i] < 0) {
            return -1;
        }
    }

    for (i = 0; i < a->nfiles; i++) {
        f = &a->files[i];

        if (st_id_parse(f->name, id) != 0) {
            return -1;
        }

        a->known[i] = st_again_find(now, ST_SQL_KNOWN, id);

        if (a->known[i] < 0) {
            return -1;
        }

        if (a->known[i]) {
            continue;
        }

        /* unlinked, and then forgotten, before the view: not its problem */

        (void) snprintf(folder, sizeof(folder), "data/%.2s", f->name);
        fd = st_open_below(f->disk->fd, folder, O_RDONLY|O_DIRECTORY);

        if (fd == -1
            || fstatat(fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == -1)
        {
            a->known[i] = -1;
        }

        if (fd != -1) {
            (void) close(fd);
        }
    }

    return 0;
}


static int
st_again_find(st_set_t *now, st_sql_e sql, const uint8_t id[16])
{
    st_bytes_t     b;
    sqlite3_stmt  *stmt;

    b.data = id;
    b.len = 16;

    stmt = st_row_find(now, sql, b, 0);
    st_row_done(stmt);

    return stmt ? 1 : now->unread ? -1 : 0;
}
