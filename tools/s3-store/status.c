/* Which disks these are, where each index stands, and how much is there. */


#include "store.h"

#include <stdlib.h>


static const struct {
    const char  *name;
    const char  *sql;
} st_numbers[] = {
    /* not count(*), which is one step of SQLite's, however long it takes */

    { "buckets", "SELECT count(created) FROM bucket" },
    { "objects", "SELECT count(size) FROM object WHERE (flags & 1) = 0" },
    { "bytes", "SELECT total(size) FROM object WHERE (flags & 1) = 0" },
    { "uploads", "SELECT count(initiated) FROM upload WHERE state = 0" },
    { "garbage", "SELECT count(size) FROM garbage" }
};

#define ST_NUMBERS         (sizeof(st_numbers) / sizeof(st_numbers[0]))


int
st_status(st_set_t *set, char **args)
{
    int       rc, known[ST_NUMBERS];
    char      id[33];
    json_t   *j, *disks, *away;
    size_t    n;
    uint64_t  number[ST_NUMBERS];
    unsigned  i;

    st_hex(set->set_id, 16, id);
    rc = st_set_verdict(set);

    for (n = 0; n < ST_NUMBERS; n++) {
        known[n] = st_index_number(set, st_numbers[n].sql, &number[n]) == 0;

        if (!known[n]) {
            rc = rc < ST_DAMAGED ? ST_DAMAGED : rc;
        }
    }

    if (st_set_release(set) != 0) {
        st_error("so much is written to the set that its indexes cannot be "
                 "counted in place: s3_status says which disks it has");
        return ST_FAILED;
    }

    if (!st_json) {
        st_print("set %s: %u disks, parity %u%s", id, set->ndisks, set->parity,
                 set->ask ? ", in use" : "");

        for (i = 0; i < set->n; i++) {
            st_disk_text(set, &set->disk[i]);
        }

        for (i = 0; i < set->ndisks; i++) {
            if (set->slot[i] == NULL) {
                st_print("slot %u: no disk", i);
            }
        }

        for (n = 0; n < ST_NUMBERS; n++) {
            if (known[n]) {
                st_print("%s %llu", st_numbers[n].name,
                         (unsigned long long) number[n]);
            } else {
                st_print("%s unknown", st_numbers[n].name);
            }
        }

        st_set_warn(set);

        return rc;
    }

    j = json_object();
    disks = json_array();
    away = json_array();

    if (j == NULL || disks == NULL || away == NULL) {
        st_no_memory();
    }

    for (i = 0; i < set->n; i++) {
        if (json_array_append_new(disks, st_disk_json(set, &set->disk[i]))
            != 0)
        {
            st_no_memory();
        }
    }

    for (i = 0; i < set->ndisks; i++) {
        if (set->slot[i] == NULL
            && json_array_append_new(away, json_integer(i)) != 0)
        {
            st_no_memory();
        }
    }

    st_json_set(j, "set", json_string(id));
    st_json_set(j, "slots", json_integer(set->ndisks));
    st_json_set(j, "parity", json_integer(set->parity));
    st_json_set(j, "in_use", json_boolean(set->ask != NULL));
    st_json_set(j, "disks", disks);
    st_json_set(j, "slots_without_disk", away);

    for (n = 0; n < ST_NUMBERS; n++) {
        st_json_set(j, st_numbers[n].name,
                    known[n] ? json_integer((json_int_t) number[n])
                             : json_null());
    }

    st_json_line(j);
    st_set_warn(set);

    return rc;
}
