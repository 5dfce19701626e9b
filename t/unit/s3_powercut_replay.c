
/*
 * The replaying half of s3_powercut.h: a log, cut, becomes trees of files or
 * a hash of them.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_powercut_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>


#define S3_SECTOR     512


typedef struct {
    const s3_powercut_t *log;
    s3_powercut_mode_e   mode;
    uint64_t             random;
    unsigned             keep_data;      /* of 8 */
    unsigned             keep_names;
    size_t               cut;
    int                 *names;          /* node by entry */
    uint8_t             *marked;         /* by entry */
    size_t              *pending;        /* events on names, in order */
    size_t               npending;
    uint8_t             *bytes;          /* of the file being built */
    size_t               size;
    size_t               max;
    EVP_MD_CTX          *hash;           /* s3_powercut_hash() */
    EVP_MD_CTX          *file;
} powercut_replay_t;


static void powercut_begin(powercut_replay_t *rp, const s3_powercut_t *log,
    s3_powercut_mode_e mode);
static void powercut_begin_disk(powercut_replay_t *rp, int disk, size_t cut,
    uint64_t seed);
static void powercut_end(powercut_replay_t *rp);
static void powercut_replay_names(powercut_replay_t *rp, int disk);
static void powercut_apply_name(powercut_replay_t *rp,
    const powercut_event_t *e);
static void powercut_sync_dir(powercut_replay_t *rp, int dir);
static void powercut_end_names(powercut_replay_t *rp);
static size_t powercut_file_events(powercut_replay_t *rp,
    const powercut_node_t *node, size_t *synced);
static void powercut_replay_bytes(powercut_replay_t *rp, int n);
static void powercut_apply_write(powercut_replay_t *rp,
    const powercut_event_t *e);
static void powercut_torn_write(powercut_replay_t *rp,
    const powercut_event_t *e);
static void powercut_resize(powercut_replay_t *rp, size_t size);
static unsigned powercut_random(powercut_replay_t *rp, unsigned n);
static int powercut_clear(int fd);
static int powercut_build(powercut_replay_t *rp, int fd, int dir);
static int powercut_build_file(powercut_replay_t *rp, int fd,
    const char *name, int n);
static void powercut_hash_dir(powercut_replay_t *rp, s3_powercut_t *log,
    int dir);
static void powercut_hash_node(powercut_replay_t *rp, s3_powercut_t *log,
    int n);
static void powercut_hash_file(powercut_replay_t *rp, int n,
    uint8_t hash[S3_POWERCUT_HASH]);
static void powercut_hash_add(powercut_replay_t *rp, const void *p,
    size_t len);


int
s3_powercut_replay(const s3_powercut_t *log, const size_t *cuts,
    s3_powercut_mode_e mode, uint64_t seed, const char *const *roots)
{
    int                fd, rc, disk;
    powercut_replay_t  rp;

    powercut_begin(&rp, log, mode);

    rc = 0;

    for (disk = 0; disk < log->ndisks && rc == 0; disk++) {

        if (roots[disk] == NULL) {
            continue;
        }

        powercut_begin_disk(&rp, disk, cuts[disk], seed);

        fd = open(roots[disk], O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        if (fd == -1) {
            rc = errno;
            break;
        }

        if (powercut_clear(fd) == -1
            || powercut_build(&rp, fd, log->roots[disk]) == -1)
        {
            rc = errno;
        }

        (void) close(fd);
    }

    powercut_end(&rp);

    return rc;
}


void
s3_powercut_hash(s3_powercut_t *log, const size_t *cuts,
    s3_powercut_mode_e mode, uint64_t seed, uint8_t hash[S3_POWERCUT_HASH])
{
    int                disk;
    powercut_replay_t  rp;

    powercut_begin(&rp, log, mode);

    rp.hash = EVP_MD_CTX_new();
    rp.file = EVP_MD_CTX_new();

    if (rp.hash == NULL || rp.file == NULL
        || EVP_DigestInit_ex(rp.hash, EVP_sha256(), NULL) != 1)
    {
        abort();
    }

    for (disk = 0; disk < log->ndisks; disk++) {
        powercut_begin_disk(&rp, disk, cuts[disk], seed);
        powercut_hash_dir(&rp, log, log->roots[disk]);
    }

    if (EVP_DigestFinal_ex(rp.hash, hash, NULL) != 1) {
        abort();
    }

    EVP_MD_CTX_free(rp.hash);
    EVP_MD_CTX_free(rp.file);

    powercut_end(&rp);
}


static void
powercut_begin(powercut_replay_t *rp, const s3_powercut_t *log,
    s3_powercut_mode_e mode)
{
    memset(rp, 0, sizeof(powercut_replay_t));

    rp->log = log;
    rp->mode = mode;
    rp->names = powercut_alloc(log->nentries * sizeof(int));
    rp->marked = powercut_alloc(log->nentries);
    rp->pending = powercut_alloc(log->nevents * sizeof(size_t));
}


static void
powercut_begin_disk(powercut_replay_t *rp, int disk, size_t cut,
    uint64_t seed)
{
    static const unsigned  keep[] = { 0, 1, 4, 7, 8 };

    /* of each disk its own: what is left of one says nothing of another,
     * and all of nothing, nearly nothing, half, nearly all, all occur */

    rp->random = (seed + 1) * 0x9e3779b97f4a7c15ULL
                 ^ ((uint64_t) disk + 1) * 0xd1342543de82ef95ULL;

    (void) powercut_random(rp, 1);
    (void) powercut_random(rp, 1);

    rp->keep_data = keep[powercut_random(rp, 5)];
    rp->keep_names = keep[powercut_random(rp, 5)];
    rp->cut = cut < rp->log->nevents ? cut : rp->log->nevents;

    powercut_replay_names(rp, disk);
}


static void
powercut_end(powercut_replay_t *rp)
{
    free(rp->names);
    free(rp->marked);
    free(rp->pending);
    free(rp->bytes);
}


static void
powercut_replay_names(powercut_replay_t *rp, int disk)
{
    size_t                   i;
    const powercut_event_t  *e;

    for (i = 0; i < rp->log->nentries; i++) {
        rp->names[i] = rp->log->entries[i].base;
    }

    rp->npending = 0;

    for (i = 0; i < rp->cut; i++) {
        e = &rp->log->events[i];

        if (e->event.disk != disk) {
            continue;
        }

        if (e->entry != S3_NO_ENTRY) {
            rp->pending[rp->npending++] = i;

        } else if (e->event.call == S3_POWERCUT_SYNC_DIR) {
            powercut_sync_dir(rp, e->node);
        }
    }

    powercut_end_names(rp);
}


static void
powercut_apply_name(powercut_replay_t *rp, const powercut_event_t *e)
{
    switch (e->event.call) {

    case S3_POWERCUT_CREATE:
    case S3_POWERCUT_MKDIR:
        rp->names[e->entry] = e->node;
        break;

    case S3_POWERCUT_RENAME:
        rp->names[e->entry] = S3_NO_NODE;
        rp->names[e->entry2] = e->node;
        break;

    default:
        rp->names[e->entry] = S3_NO_NODE;
    }
}


/*
 * What concerns the directory becomes certain, and so does what happened
 * before it to the same names: else a file renamed away would come back under
 * its old name when that is synced.
 */

static void
powercut_sync_dir(powercut_replay_t *rp, int dir)
{
    size_t                   i, n;
    const powercut_entry_t  *entries;
    const powercut_event_t  *e;

    if (rp->npending == 0) {
        return;
    }

    entries = rp->log->entries;
    memset(rp->marked, 0, rp->log->nentries);

    /* backwards: marked are names of what is taken */

    for (i = rp->npending; i > 0; i--) {
        e = &rp->log->events[rp->pending[i - 1]];

        if (entries[e->entry].dir == dir
            || rp->marked[e->entry]
            || (e->entry2 != S3_NO_ENTRY
                && (entries[e->entry2].dir == dir
                    || rp->marked[e->entry2])))
        {
            rp->marked[e->entry] = 1;

            if (e->entry2 != S3_NO_ENTRY) {
                rp->marked[e->entry2] = 1;
            }

            /* the highest bit: taken */

            rp->pending[i - 1] |= ~(SIZE_MAX >> 1);
        }
    }

    n = 0;

    for (i = 0; i < rp->npending; i++) {

        if (rp->pending[i] & ~(SIZE_MAX >> 1)) {
            powercut_apply_name(rp, &rp->log->events[rp->pending[i]
                                                     & (SIZE_MAX >> 1)]);

        } else {
            rp->pending[n++] = rp->pending[i];
        }
    }

    rp->npending = n;
}


static void
powercut_end_names(powercut_replay_t *rp)
{
    int                      keep;
    size_t                   i;
    const powercut_event_t  *e;

    if (rp->mode == S3_POWERCUT_DROPPED) {
        return;
    }

    /* marked are names of which something is lost: nothing later is there */

    memset(rp->marked, 0, rp->log->nentries);

    for (i = 0; i < rp->npending; i++) {
        e = &rp->log->events[rp->pending[i]];

        keep = rp->mode == S3_POWERCUT_KEPT
               || (!rp->marked[e->entry]
                   && (e->entry2 == S3_NO_ENTRY || !rp->marked[e->entry2])
                   && powercut_random(rp, 8) < rp->keep_names);

        if (keep) {
            powercut_apply_name(rp, e);
            continue;
        }

        rp->marked[e->entry] = 1;

        if (e->entry2 != S3_NO_ENTRY) {
            rp->marked[e->entry2] = 1;
        }
    }
}


/* how many of a file's events are before the cut; synced: and before its last
 * sync */

static size_t
powercut_file_events(powercut_replay_t *rp, const powercut_node_t *node,
    size_t *synced)
{
    size_t                   end;
    const powercut_event_t  *e;

    *synced = 0;

    for (end = 0; end < node->nevents && node->events[end] < rp->cut; end++) {
        e = &rp->log->events[node->events[end]];

        if (e->event.call == S3_POWERCUT_SYNC) {
            *synced = end + 1;
        }
    }

    return end;
}


/* a file's bytes into rp->bytes */

static void
powercut_replay_bytes(powercut_replay_t *rp, int n)
{
    size_t                   i, synced, end;
    const powercut_node_t   *node;
    const powercut_event_t  *e;

    node = &rp->log->nodes[n];

    rp->size = 0;
    powercut_resize(rp, node->size);

    if (node->size) {
        memcpy(rp->bytes, node->base, node->size);
    }

    end = powercut_file_events(rp, node, &synced);

    for (i = 0; i < end; i++) {
        e = &rp->log->events[node->events[i]];

        if (e->event.call == S3_POWERCUT_SYNC) {
            continue;
        }

        if (i >= synced && rp->mode == S3_POWERCUT_DROPPED) {
            break;
        }

        if (i < synced || rp->mode == S3_POWERCUT_KEPT) {

            if (e->event.call == S3_POWERCUT_WRITE) {
                powercut_apply_write(rp, e);

            } else {
                powercut_resize(rp, e->event.offset);
            }

            continue;
        }

        if (e->event.call == S3_POWERCUT_WRITE) {
            powercut_torn_write(rp, e);

        } else if (powercut_random(rp, 8) < rp->keep_data) {
            powercut_resize(rp, e->event.offset);
        }
    }
}


static void
powercut_apply_write(powercut_replay_t *rp, const powercut_event_t *e)
{
    if (e->event.offset + e->event.len > rp->size) {
        powercut_resize(rp, e->event.offset + e->event.len);
    }

    memcpy(rp->bytes + e->event.offset, e->data, e->event.len);
}


static void
powercut_torn_write(powercut_replay_t *rp, const powercut_event_t *e)
{
    size_t  at, end, last;

    at = e->event.offset;
    last = at + e->event.len;

    /* the length may be there without the bytes: zeros then */

    if (last > rp->size && rp->keep_data && powercut_random(rp, 4) == 0) {
        powercut_resize(rp, last);
    }

    for ( /* void */ ; at < last; at = end) {
        end = (at / S3_SECTOR + 1) * S3_SECTOR;

        if (end > last) {
            end = last;
        }

        if (powercut_random(rp, 8) >= rp->keep_data) {
            continue;
        }

        if (end > rp->size) {
            powercut_resize(rp, end);
        }

        memcpy(rp->bytes + at, e->data + (at - e->event.offset), end - at);
    }
}


static void
powercut_resize(powercut_replay_t *rp, size_t size)
{
    uint8_t  *bytes;

    if (size > rp->max) {
        bytes = realloc(rp->bytes, size * 2);
        if (bytes == NULL) {
            abort();
        }

        rp->bytes = bytes;
        rp->max = size * 2;
    }

    if (size > rp->size) {
        memset(rp->bytes + rp->size, 0, size - rp->size);
    }

    rp->size = size;
}


/* 0 .. n - 1; xorshift64* */

static unsigned
powercut_random(powercut_replay_t *rp, unsigned n)
{
    if (rp->random == 0) {
        rp->random = 1;
    }

    rp->random ^= rp->random >> 12;
    rp->random ^= rp->random << 25;
    rp->random ^= rp->random >> 27;

    return (unsigned) ((rp->random * 0x2545f4914f6cdd1dULL) >> 33) % n;
}


static int
powercut_clear(int fd)
{
    int             rc, sub, copy;
    DIR            *d;
    struct dirent  *de;

    copy = openat(fd, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (copy == -1) {
        return -1;
    }

    d = fdopendir(copy);
    if (d == NULL) {
        (void) close(copy);
        return -1;
    }

    rc = 0;

    while (rc == 0 && (de = readdir(d)) != NULL) {

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) {
            continue;
        }

        if (unlinkat(fd, de->d_name, 0) == 0) {
            continue;
        }

        sub = openat(fd, de->d_name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW
                                     |O_CLOEXEC);
        if (sub == -1) {
            rc = -1;
            break;
        }

        rc = powercut_clear(sub);
        (void) close(sub);

        if (rc == 0) {
            rc = unlinkat(fd, de->d_name, AT_REMOVEDIR);
        }
    }

    (void) closedir(d);

    return rc;
}


static int
powercut_build(powercut_replay_t *rp, int fd, int dir)
{
    int                      i, n, sub, rc;
    const powercut_entry_t  *entry;

    for (i = rp->log->nodes[dir].first; i != S3_NO_ENTRY; i = entry->next) {
        entry = &rp->log->entries[i];
        n = rp->names[i];

        if (n == S3_NO_NODE) {
            continue;
        }

        if (!rp->log->nodes[n].is_dir) {
            if (powercut_build_file(rp, fd, entry->name, n) == -1) {
                return -1;
            }

            continue;
        }

        if (mkdirat(fd, entry->name, 0700) == -1) {
            return -1;
        }

        sub = openat(fd, entry->name, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        if (sub == -1) {
            return -1;
        }

        rc = powercut_build(rp, sub, n);
        (void) close(sub);

        if (rc == -1) {
            return -1;
        }
    }

    return 0;
}


static int
powercut_build_file(powercut_replay_t *rp, int fd, const char *name, int n)
{
    int      file, rc;
    size_t   done;
    ssize_t  written;

    powercut_replay_bytes(rp, n);

    file = openat(fd, name, O_CREAT|O_EXCL|O_WRONLY|O_CLOEXEC, 0600);
    if (file == -1) {
        return -1;
    }

    rc = 0;

    for (done = 0; done < rp->size; done += written) {
        written = pwrite(file, rp->bytes + done, rp->size - done, done);

        if (written == -1) {
            rc = -1;
            break;
        }
    }

    (void) close(file);

    return rc;
}


/* as powercut_build(): the same names in the same order */

static void
powercut_hash_dir(powercut_replay_t *rp, s3_powercut_t *log, int dir)
{
    int                      i, n;
    const powercut_entry_t  *entry;

    for (i = log->nodes[dir].first; i != S3_NO_ENTRY; i = entry->next) {
        entry = &log->entries[i];
        n = rp->names[i];

        if (n == S3_NO_NODE) {
            continue;
        }

        powercut_hash_add(rp, entry->name, strlen(entry->name) + 1);

        if (log->nodes[n].is_dir) {
            powercut_hash_add(rp, "d", 1);
            powercut_hash_dir(rp, log, n);

        } else {
            powercut_hash_node(rp, log, n);
        }
    }

    powercut_hash_add(rp, "", 1);            /* no name is empty */
}


/*
 * A file most of whose writes are there, none in part, is mostly what it was
 * at the cut before.
 */

static void
powercut_hash_node(powercut_replay_t *rp, s3_powercut_t *log, int n)
{
    size_t            whole, synced, end;
    uint8_t           hash[S3_POWERCUT_HASH];
    powercut_node_t  *node;

    node = &log->nodes[n];

    end = powercut_file_events(rp, node, &synced);
    whole = rp->mode == S3_POWERCUT_KEPT ? end : synced;

    if (rp->mode == S3_POWERCUT_TORN && synced != end) {
        powercut_hash_file(rp, n, hash);

    } else {
        while (whole > 0
               && log->events[node->events[whole - 1]].event.call
                  == S3_POWERCUT_SYNC)
        {
            whole--;
        }

        if (node->hashed != whole + 1) {
            powercut_hash_file(rp, n, node->hash);
            node->hashed = whole + 1;
        }

        memcpy(hash, node->hash, sizeof(hash));
    }

    powercut_hash_add(rp, "f", 1);
    powercut_hash_add(rp, hash, sizeof(hash));
}


static void
powercut_hash_file(powercut_replay_t *rp, int n,
    uint8_t hash[S3_POWERCUT_HASH])
{
    powercut_replay_bytes(rp, n);

    if (EVP_DigestInit_ex(rp->file, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(rp->file, rp->bytes, rp->size) != 1
        || EVP_DigestFinal_ex(rp->file, hash, NULL) != 1)
    {
        abort();
    }
}


static void
powercut_hash_add(powercut_replay_t *rp, const void *p, size_t len)
{
    if (EVP_DigestUpdate(rp->hash, p, len) != 1) {
        abort();
    }
}
