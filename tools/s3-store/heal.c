/*
 * What is damaged in a set in use is written anew by its store process, and
 * read again here: only what verify would take for whole is called healed.
 *
 *     all objects and parts, as list-damaged --> those that are not whole
 *     --> their shards are named to the store process, which looks itself
 *     --> it has looked, and repaired what it can
 *     --> they are read again --> healed | short | lost, and why
 *
 * Some hundred at a time.  Nothing is tried for ever: again only as long as
 * it gets better.
 */


#include "store.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define ST_HEAL_MAX        128         /* objects and parts at a time */
#define ST_HEAL_SHARDS     64          /* in a line */
#define ST_HEAL_STEP       100         /* ms */
#define ST_HEAL_STILL      600000      /* ms in which nothing happens there */
#define ST_HEAL_PASSES     3           /* of repair, one behind the other */


typedef struct {
    st_set_t        *set;
    unsigned         n;
    st_later_t       bad[ST_HEAL_MAX];
    int              rc;
    int              found;            /* the row, when it was read again */
    st_report_t      report;
    uint64_t         healed;
    uint64_t         verdicts[3];      /* of what was not */
    uint64_t         deleted;
} st_heal_t;


static int st_heal_bad(void *data, st_later_t *later);
static int st_heal_some(st_heal_t *h);
static int st_heal_name(st_heal_t *h);
static int st_heal_look(st_heal_t *h, json_t *shards);
static int st_heal_wait(st_heal_t *h);
static unsigned st_heal_left(st_heal_t *h);
static void st_heal_read(st_heal_t *h, st_later_t *later);
static int st_heal_object(void *data, const st_object_t *object);
static void st_heal_part(void *data, unsigned number, uint64_t size,
    st_report_t *report);
static void st_heal_told(void *data, st_later_t *later, int there);
static int st_heal_tell(st_heal_t *h);
static uint64_t st_number(json_t *status, const char *name);


int
st_heal(st_set_t *set, char **args)
{
    int         rc;
    json_t     *j;
    st_heal_t  *h;

    if (set->ask == NULL) {
        st_error("nobody has the set: its store process heals.  Start nginx, "
                 "and run it again");
        return ST_FAILED;
    }

    h = calloc(1, sizeof(st_heal_t));
    if (h == NULL) {
        st_no_memory();
    }

    h->set = set;

    rc = st_verify_each(set, st_heal_bad, h);

    if (rc != ST_FAILED && st_heal_some(h) != 0) {
        rc = ST_FAILED;
    }

    while (h->n) {
        st_later_free(&h->bad[--h->n]);
    }

    if (rc != ST_FAILED) {
        rc = rc > h->rc ? rc : h->rc;

        if (st_json) {
            j = json_pack("{s:s, s:I, s:I, s:I, s:I, s:i}",
                          "type", "summary",
                          "healed", (json_int_t) h->healed,
                          "short", (json_int_t) h->verdicts[ST_SHORT],
                          "lost", (json_int_t) h->verdicts[ST_GONE],
                          "deleted", (json_int_t) h->deleted, "status", rc);
            if (j == NULL) {
                st_no_memory();
            }

            st_json_line(j);

        } else {
            st_print("%llu objects and parts healed, %llu short, %llu lost",
                     (unsigned long long) h->healed,
                     (unsigned long long) h->verdicts[ST_SHORT],
                     (unsigned long long) h->verdicts[ST_GONE]);
        }
    }

    free(h);

    return rc;
}


static int
st_heal_bad(void *data, st_later_t *later)
{
    st_heal_t *h = data;

    h->bad[h->n++] = *later;

    return h->n == ST_HEAL_MAX ? st_heal_some(h) : 0;
}


static int
st_heal_some(st_heal_t *h)
{
    unsigned  i, left, before;

    if (h->n == 0) {
        return 0;
    }

    before = 0;

    for (i = 0; i < h->n; i++) {
        before += (unsigned) json_array_size(h->bad[i].report.problems)
                  + (unsigned) h->bad[i].report.more;
    }

    for ( ;; ) {

        if (st_heal_name(h) != 0 || st_heal_wait(h) != 0) {
            return -1;
        }

        left = st_heal_left(h);

        if (left == 0 || left >= before) {
            return st_heal_tell(h);
        }

        /* of some there were more problems than are named at a time */

        before = left;
    }
}


/* shards with a fault on a disk: each by its id and slot */

static int
st_heal_name(st_heal_t *h)
{
    size_t       n;
    json_t      *shards, *problem, *id, *slot, *shard;
    unsigned     i;

    shards = json_array();
    if (shards == NULL) {
        st_no_memory();
    }

    for (i = 0; i < h->n; i++) {

        json_array_foreach(h->bad[i].report.problems, n, problem) {

            id = json_object_get(problem, "id");
            slot = json_object_get(problem, "slot");

            if (id == NULL || slot == NULL) {
                continue;
            }

            shard = json_pack("[O, O]", id, slot);

            if (shard == NULL || json_array_append_new(shards, shard) != 0) {
                st_no_memory();
            }

            if (json_array_size(shards) == ST_HEAL_SHARDS
                && st_heal_look(h, shards) != 0)
            {
                json_decref(shards);
                return -1;
            }
        }
    }

    /* an empty list: what is on no disk is looked for */

    i = st_heal_look(h, shards) == 0;
    json_decref(shards);

    return i ? 0 : -1;
}


/* until all of them were taken, and then shards is empty */

static int
st_heal_look(st_heal_t *h, json_t *shards)
{
    char      *text, *line;
    json_t    *answer, *taken;
    size_t     n;
    uint64_t   until;

    until = st_now() + ST_HEAL_STILL;

    do {
        text = json_dumps(shards, JSON_COMPACT);

        if (text == NULL
            || asprintf(&line, "{\"ask\":\"look\",\"shards\":%s}\n", text)
               == -1)
        {
            st_no_memory();
        }

        answer = st_ask(h->set->ask, line);
        free(text);
        free(line);

        if (answer == NULL) {
            return -1;
        }

        taken = json_object_get(answer, "taken");
        n = (size_t) json_integer_value(taken);

        if (!json_is_integer(taken) || n > json_array_size(shards)) {
            st_error("nginx's store process answers what is not known here");
            json_decref(answer);
            return -1;
        }

        json_decref(answer);

        if (n == 0 && json_array_size(shards)) {

            if (st_now() >= until) {
                st_error("nginx's store process does not get on");
                return -1;
            }

            (void) poll(NULL, 0, ST_HEAL_STEP);

        } else {
            until = st_now() + ST_HEAL_STILL;
        }

        while (n--) {
            (void) json_array_remove(shards, 0);
        }

    } while (json_array_size(shards));

    return 0;
}


/* until it has looked at all, and repaired or given up */

static int
st_heal_wait(st_heal_t *h)
{
    json_t    *status;
    unsigned   i;
    uint64_t   now, first, passes, suspects, waiting, sum, last, until;

    static const char *const  names[] = {
        "suspects", "damage_waiting", "repaired", "repair_passes"
    };

    first = UINT64_MAX;
    last = UINT64_MAX;
    until = 0;

    for ( ;; ) {
        status = st_ask_status(h->set->ask);

        if (status == NULL) {
            return -1;
        }

        now = st_now();
        sum = 0;

        for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            sum = sum * 1000003 + st_number(status, names[i]);
        }

        if (sum != last) {
            last = sum;
            until = now + ST_HEAL_STILL;
        }

        suspects = st_number(status, "suspects");
        waiting = st_number(status, "damage_waiting");
        passes = st_number(status, "repair_passes");

        if (first == UINT64_MAX || passes < first) {
            first = passes;                  /* a process anew counts anew */
        }

        i = json_is_true(json_object_get(status, "repairing"))
            || json_is_true(json_object_get(status, "repair_due"));

        json_decref(status);

        /* what fails each time comes to no end there: here it does */

        if (suspects == 0
            && ((waiting == 0 && !i) || passes >= first + ST_HEAL_PASSES))
        {
            return 0;
        }

        if (now >= until) {
            st_error("nginx's store process does not get on");
            return -1;
        }

        (void) poll(NULL, 0, ST_HEAL_STEP);
    }
}


static uint64_t
st_number(json_t *status, const char *name)
{
    return (uint64_t) json_integer_value(json_object_get(status, name));
}


/* reads them again; how many problems there still are */

static unsigned
st_heal_left(st_heal_t *h)
{
    unsigned  i, left;

    left = 0;

    for (i = 0; i < h->n; i++) {
        st_heal_read(h, &h->bad[i]);

        left += (unsigned) json_array_size(h->bad[i].report.problems)
                + (unsigned) h->bad[i].report.more;
    }

    return left;
}


/*
 * By the same rows as before: a shard that was written anew has its old id,
 * and stands where it should have been
 */

static void
st_heal_read(st_heal_t *h, st_later_t *later)
{
    st_bytes_t  key, version;

    h->found = 0;

    if (later->part) {
        st_part_find(h->set, later->upload_id, later->number, st_heal_part,
                     h);

    } else {
        key.data = later->key;
        key.len = later->key_len;
        version.data = later->key + later->key_len;
        version.len = later->version_len;

        st_object_find(h->set, later->bucket_id, key, version,
                       st_heal_object, h);
    }

    /* a row that can't be read any more: what was seen stands */

    if (h->found) {
        st_report_free(&later->report);
        later->report = h->report;
    }
}


static int
st_heal_object(void *data, const st_object_t *object)
{
    st_heal_t *h = data;

    st_report_init(&h->report);
    (void) st_object_read(h->set, object, NULL, NULL, &h->report);
    h->found = 1;

    return 0;
}


static void
st_heal_part(void *data, unsigned number, uint64_t size, st_report_t *report)
{
    st_heal_t *h = data;

    h->report = *report;
    report->problems = NULL;
    h->found = 1;
}


static int
st_heal_tell(st_heal_t *h)
{
    unsigned          i, n;
    st_again_t       *again;
    st_again_conf_t   conf;

    /* what is gone now may have been deleted while it was healed */

    memset(&conf, 0, sizeof(st_again_conf_t));
    conf.shard = st_heal_told;
    conf.data = h;

    again = st_again_create(h->set, &conf);
    n = h->n;
    h->n = 0;

    for (i = 0; i < n; i++) {

        if (!h->bad[i].report.gone) {
            st_heal_told(h, &h->bad[i], 1);

        } else if (st_again_shard(again, &h->bad[i]) != 0) {

            while (++i < n) {
                st_later_free(&h->bad[i]);
            }

            (void) st_again_end(again);
            return -1;
        }
    }

    return st_again_end(again);
}


static void
st_heal_told(void *data, st_later_t *later, int there)
{
    st_heal_t     *h = data;
    st_verdict_e   verdict;

    verdict = later->report.verdict;

    if (!there) {
        h->deleted++;

    } else if (verdict == ST_WHOLE) {
        h->healed++;
        st_verify_line(later, "healed");

    } else {
        h->verdicts[verdict]++;
        h->rc = verdict == ST_GONE ? ST_LOST
                : h->rc == ST_OK ? ST_DAMAGED : h->rc;
        st_verify_line(later, st_verdict_name(verdict));
    }

    st_later_free(later);
}
