/*
 * Rows of indexes: from the first one that can give them, in order, or by
 * their key.
 */


#include "store.h"

#include <string.h>


#define ST_KEYS            3


static const char *const  st_sql[ST_SQLS] = {
    [ST_SQL_DATA] = "SELECT session, refs, size, mask, geometry, parts, inline"
        " FROM data WHERE data_id = ?1",
    [ST_SQL_INLINE] = "SELECT bytes FROM inline WHERE id = ?2",
    [ST_SQL_BUCKET] = "SELECT name FROM bucket WHERE id = ?2",
    [ST_SQL_KNOWN] = "SELECT 1 FROM data WHERE data_id = ?1"
        " UNION ALL SELECT 1 FROM part WHERE shard_id = ?1"
        " UNION ALL SELECT 1 FROM garbage WHERE shard_id = ?1 LIMIT 1",
    [ST_SQL_NAMED] = "SELECT 1 FROM data WHERE data_id = ?1"
        " UNION ALL SELECT 1 FROM part WHERE shard_id = ?1 LIMIT 1"
};


static int st_scan_pass(st_disk_t *disk, const st_scan_t *scan, int down,
    sqlite3_value **lower, sqlite3_value **upper, st_row_pt row, void *data,
    int *rc);
static int st_scan_order(sqlite3_value **values, unsigned n,
    sqlite3_stmt *stmt);
static void st_scan_keep(sqlite3_value **values, unsigned n,
    sqlite3_stmt *stmt);


st_bytes_t
st_column(sqlite3_stmt *stmt, int i)
{
    st_bytes_t  b;

    b.data = sqlite3_column_blob(stmt, i);
    b.len = b.data ? (size_t) sqlite3_column_bytes(stmt, i) : 0;

    if (b.data == NULL) {
        b.data = (const uint8_t *) "";
    }

    return b;
}


int
st_scan(st_set_t *set, const st_scan_t *scan, st_row_pt row, void *data,
    int *broken)
{
    int             rc, done;
    unsigned        i;
    sqlite3_value  *lower[ST_KEYS], *upper[ST_KEYS];

    memset(lower, 0, sizeof(lower));
    memset(upper, 0, sizeof(upper));

    rc = 0;
    done = 0;

    for (i = 0; i < set->ncurrent && !done; i++) {
        done = st_scan_pass(set->view[i], scan, 0, lower, upper, row, data,
                            &rc);
    }

    if (!done) {
        *broken = 1;
    }

    for (i = 0; i < set->ncurrent && !done; i++) {
        done = st_scan_pass(set->view[i], scan, 1, lower, upper, row, data,
                            &rc);
    }

    for (i = 0; i < ST_KEYS; i++) {
        sqlite3_value_free(lower[i]);
        sqlite3_value_free(upper[i]);
    }

    return rc;
}


/*
 * Rows between lower and upper, which move with it.  1: all, or row() has
 * ended it (*rc); 0: the index can't be read any further
 */

static int
st_scan_pass(st_disk_t *disk, const st_scan_t *scan, int down,
    sqlite3_value **lower, sqlite3_value **upper, st_row_pt row, void *data,
    int *rc)
{
    int            step;
    char          *sql;
    size_t         n;
    unsigned       i;
    const char    *name;
    sqlite3_str   *s;
    sqlite3_stmt  *stmt;

    s = sqlite3_str_new(NULL);
    sqlite3_str_appendf(s, "%s WHERE 1", scan->select);

    if (lower[0]) {
        sqlite3_str_appendf(s, " AND (%s) > (?1%s)", scan->key,
                            scan->nkey == 3 ? ", ?2, ?3" : "");
    }

    if (upper[0]) {
        sqlite3_str_appendf(s, " AND (%s) < (?4%s)", scan->key,
                            scan->nkey == 3 ? ", ?5, ?6" : "");
    }

    sqlite3_str_appendf(s, " %s ORDER BY ", scan->where);

    name = scan->key;

    for (i = 0; i < scan->nkey; i++) {
        n = strcspn(name, ",");
        sqlite3_str_appendf(s, "%s%.*s%s", i ? ", " : "", (int) n, name,
                            down ? " DESC" : "");
        name += n + 1;
    }

    sql = sqlite3_str_finish(s);
    if (sql == NULL) {
        st_no_memory();
    }

    step = sqlite3_prepare_v2(disk->db, sql, -1, &stmt, NULL);
    sqlite3_free(sql);

    if (step != SQLITE_OK) {
        return 0;
    }

    for (i = 0; i < scan->nkey; i++) {
        if (lower[0]) {
            (void) sqlite3_bind_value(stmt, (int) i + 1, lower[i]);
        }

        if (upper[0]) {
            (void) sqlite3_bind_value(stmt, (int) i + 4, upper[i]);
        }
    }

    if (scan->bind.data) {
        (void) sqlite3_bind_blob(stmt, 9, scan->bind.data,
                                 (int) scan->bind.len, SQLITE_STATIC);
    }

    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {

        /* else a damaged tree might give the same rows for ever */

        if ((lower[0] && st_scan_order(lower, scan->nkey, stmt) >= 0)
            || (upper[0] && st_scan_order(upper, scan->nkey, stmt) <= 0))
        {
            break;
        }

        st_scan_keep(down ? upper : lower, scan->nkey, stmt);

        *rc = row(data, stmt);

        if (*rc != 0) {
            step = SQLITE_DONE;
            break;
        }
    }

    (void) sqlite3_finalize(stmt);

    return step == SQLITE_DONE;
}


/* of values before the row's: less than, equal to, greater than 0 */

static int
st_scan_order(sqlite3_value **values, unsigned n, sqlite3_stmt *stmt)
{
    int             rc;
    size_t          len;
    int64_t         a, b;
    unsigned        i;
    st_bytes_t      y;
    sqlite3_value  *x;

    for (i = 0; i < n; i++) {
        x = values[i];

        if (sqlite3_value_type(x) != sqlite3_column_type(stmt, (int) i)) {
            return sqlite3_value_type(x) < sqlite3_column_type(stmt, (int) i)
                   ? -1 : 1;
        }

        if (sqlite3_value_type(x) == SQLITE_INTEGER) {
            a = sqlite3_value_int64(x);
            b = sqlite3_column_int64(stmt, (int) i);
            rc = (a > b) - (a < b);

        } else {
            y = st_column(stmt, (int) i);
            len = (size_t) sqlite3_value_bytes(x);

            rc = len && y.len ? memcmp(sqlite3_value_blob(x), y.data,
                                       len < y.len ? len : y.len)
                              : 0;
            rc = rc ? rc : (len > y.len) - (len < y.len);
        }

        if (rc) {
            return rc;
        }
    }

    return 0;
}


static void
st_scan_keep(sqlite3_value **values, unsigned n, sqlite3_stmt *stmt)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        sqlite3_value_free(values[i]);

        values[i] = sqlite3_value_dup(sqlite3_column_value(stmt, (int) i));
        if (values[i] == NULL) {
            st_no_memory();
        }
    }
}


sqlite3_stmt *
st_row_find(st_set_t *set, st_sql_e sql, st_bytes_t id, int64_t number)
{
    int            rc;
    unsigned       i;
    st_disk_t     *disk;
    sqlite3_stmt  *stmt;

    set->unread = 0;

    for (i = 0; i < set->ncurrent; i++) {
        disk = set->view[i];

        if (disk->stmt[sql] == NULL
            && sqlite3_prepare_v2(disk->db, st_sql[sql], -1,
                                  &disk->stmt[sql], NULL)
               != SQLITE_OK)
        {
            set->unread = 1;
            continue;
        }

        stmt = disk->stmt[sql];
        (void) sqlite3_reset(stmt);

        if (id.data) {
            (void) sqlite3_bind_blob(stmt, 1, id.data, (int) id.len,
                                     SQLITE_TRANSIENT);
        } else {
            (void) sqlite3_bind_int64(stmt, 2, number);
        }

        rc = sqlite3_step(stmt);

        if (rc == SQLITE_ROW) {
            return stmt;
        }

        set->unread |= (rc != SQLITE_DONE);

        (void) sqlite3_reset(stmt);
    }

    return NULL;
}


void
st_row_done(sqlite3_stmt *stmt)
{
    if (stmt) {
        (void) sqlite3_reset(stmt);
    }
}


int
st_index_number(st_set_t *set, const char *sql, uint64_t *n)
{
    int            rc;
    double         v;
    unsigned       i;
    sqlite3_stmt  *stmt;

    for (i = 0; i < set->ncurrent; i++) {

        rc = sqlite3_prepare_v2(set->view[i]->db, sql, -1, &stmt, NULL);

        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }

        if (rc == SQLITE_ROW) {
            v = sqlite3_column_double(stmt, 0);
            *n = v < 0 ? 0 : v >= 1.8e19 ? UINT64_MAX : (uint64_t) v;
        }

        (void) sqlite3_finalize(stmt);

        if (rc == SQLITE_ROW) {
            return 0;
        }
    }

    return -1;
}
