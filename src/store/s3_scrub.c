
/*
 * Scrub: every disk reads its own shards and verifies them, a piece at a time
 * on its house lane.
 *
 *     a worker's report, a source that repair could not read
 *         --> suspects --\
 *                         +--> read and verify --> damaged: s3_damage_add()
 *     the index's rows --/
 *         one after the other, at a rate (s3_scrub)
 *
 * Nobody's word is taken: what is reported is read here first.  Suspects are
 * read at once and as fast as the disk can.
 *
 * Behind the last row a round looks at the files: those that no row names, and
 * that have stood there for an hour, are left over from a crash, and go.  Then
 * it reads the pages of the index.  One whose sum is wrong may be one that the
 * log has: the writer's thread looks twice.  One that is damaged costs the disk
 * its index (docs/commit.md, section 7).
 *
 * How far a disk has come is in DISK/scrub, which is read at the first step of
 * an opening: a restart goes on there.  It is not synced: what is lost is read
 * twice.
 */


#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "s3_brain.h"


#define S3_SCRUB_PIECE     (1024 * 1024)   /* a multiple of S3_BLOCK_SIZE */
#define S3_SCRUB_SHARDS    64              /* in a step */
#define S3_SCRUB_ROWS      64
#define S3_SCRUB_SUSPECTS  256
#define S3_SCRUB_SAVE      60              /* s between two writes of how far */
#define S3_SCRUB_IDLE      1000            /* ms after an error */
#define S3_SCRUB_FILE      512
#define S3_SCRUB_NAMES     4096            /* files in a step */
#define S3_SCRUB_NAME      4096            /* bytes of the rate each takes */
#define S3_SCRUB_LEFT      3600            /* s */


/* what a step came to, op->status */
enum {
    S3_SCRUB_PART = 0,                     /* of a shard, or of the list */
    S3_SCRUB_GOOD,
    S3_SCRUB_BAD,                          /* the shard is op->id */
    S3_SCRUB_PAGE,                         /* of the index: it may be damaged */
    S3_SCRUB_ROUND,                        /* the last page was read */
    S3_SCRUB_WAIT                          /* op->sequence: s to the next */
};


/* a shard that is being read; the disk's thread's */
typedef struct {
    s3_shard_reader_t    *reader;
    s3_shard_row_t        row;
    uint64_t              offset;
    uint64_t              size;
} s3_scrub_shard_t;


/* times: seconds since the epoch; finished: 0 in a round */
typedef struct {
    int64_t               started;
    int64_t               finished;
    uint64_t              shards;
    uint64_t              bytes;
    uint64_t              damaged;
    uint8_t               after[16];
    int                   has_after;
} s3_scrub_progress_t;


struct s3_scrub_s {

    /* the brain's */

    unsigned              running:1;
    uint64_t              next;            /* ms; of the round */
    uint64_t              counted;         /* bytes of the round */
    unsigned              nsuspects;
    uint8_t               suspects[S3_SCRUB_SUSPECTS][16];

    /* the disk's thread's */

    int                   loaded;
    time_t                saved;
    s3_scrub_progress_t   progress;
    s3_scrub_shard_t      suspect;
    s3_scrub_shard_t      shard;
    s3_shard_row_t        rows[S3_SCRUB_ROWS];
    unsigned              n;
    unsigned              i;
    uint8_t              *buf;
    unsigned              files;           /* the first two bytes of names
                                              from which on they are looked
                                              at */
    unsigned              removed;
    uint32_t              page;            /* of the index, the next; from 1 */
    int                   bad;             /* as s3_vfs_pages() has it */
};


/* ids whose first two bytes are from .. to - 1, of a directory in data/ */
typedef struct {
    unsigned              from;
    unsigned              to;
    unsigned              n;
    int                   more;
    uint8_t               ids[S3_SCRUB_NAMES][16];
} s3_scrub_names_t;


static void s3_scrub_post(s3_drive_t *drive, s3_scrub_t *s, int suspect);
static void s3_scrub_run(s3_op_t *op);
static int s3_scrub_suspected(s3_op_t *op, s3_scrub_t *s);
static int s3_scrub_next(s3_op_t *op, s3_scrub_t *s);
static int s3_scrub_begin(s3_op_t *op, s3_scrub_t *s);
static void s3_scrub_files(s3_op_t *op, s3_scrub_t *s);
static void s3_scrub_index(s3_op_t *op, s3_scrub_t *s);
static void s3_scrub_page_run(s3_op_t *op);
static void s3_scrub_page_finish(s3_op_t *op);
static int s3_scrub_directory(s3_op_t *op, s3_scrub_t *s,
    s3_scrub_names_t *names);
static int s3_scrub_name(void *data, const char *name);
static int s3_scrub_left(s3_op_t *op, int dir, const uint8_t id[16]);
static void s3_scrub_read(s3_op_t *op, s3_scrub_t *s, s3_scrub_shard_t *shard);
static int s3_scrub_open(s3_op_t *op, s3_scrub_shard_t *shard);
static void s3_scrub_passed(s3_op_t *op, s3_scrub_t *s,
    s3_scrub_shard_t *shard);
static void s3_scrub_bad(s3_op_t *op, s3_scrub_t *s, s3_scrub_shard_t *shard,
    int error);
static void s3_scrub_finish(s3_op_t *op);
static void s3_scrub_close(s3_scrub_shard_t *shard);
static void s3_scrub_load(int root, s3_scrub_progress_t *pr);
static void s3_scrub_save(int root, s3_scrub_t *s);


static s3_scrub_t *
s3_scrub_get(s3_drive_t *drive)
{
    if (drive->scrub == NULL) {
        drive->scrub = calloc(1, sizeof(s3_scrub_t));
    }

    return drive->scrub;
}


int
s3_suspect(s3_process_t *p, const uint8_t id[16], unsigned slot)
{
    unsigned      i;
    s3_disk_t    *disk;
    s3_scrub_t   *s;

    disk = (slot < p->conf.ndisks) ? s3_disk_by_slot(p, slot) : NULL;

    if (disk == NULL || !disk->member || s3_vacant(disk)) {
        return -1;
    }

    if (s3_damage_known(p, id, slot)) {
        return 0;
    }

    s = s3_scrub_get(disk->drive);

    if (s == NULL || s->nsuspects == S3_SCRUB_SUSPECTS) {
        return 1;                  /* whoever reads it next says so again */
    }

    for (i = 0; i < s->nsuspects; i++) {
        if (memcmp(s->suspects[i], id, 16) == 0) {
            return 0;
        }
    }

    memcpy(s->suspects[s->nsuspects++], id, 16);

    if (p->state == S3_STORE_OK && !s->running) {
        s3_scrub_post(disk->drive, s, 1);
    }

    return 0;
}


unsigned
s3_suspects(s3_process_t *p)
{
    unsigned     i, n;
    s3_drive_t  *drive;

    n = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        drive = p->disks[i].drive;
        n += drive && drive->scrub ? drive->scrub->nsuspects : 0;
    }

    return n;
}


void
s3_scrub_tick(s3_process_t *p)
{
    unsigned      i;
    s3_disk_t    *disk;
    s3_scrub_t   *s;

    for (i = 0; i < p->conf.ndisks; i++) {
        disk = &p->disks[i];

        /* of a vacant one no shard is there, whatever masks say */

        if (!disk->member || disk->drive == NULL || s3_vacant(disk)) {
            continue;
        }

        s = s3_scrub_get(disk->drive);

        if (s == NULL || s->running) {
            continue;
        }

        if (s->nsuspects) {
            s3_scrub_post(disk->drive, s, 1);

        } else if (p->conf.scrub_interval && p->now >= s->next
                   && p->catchup == NULL)
        {
            /* a laggard holds the house's connection at a snapshot, to which
             * newer rows are unknown */

            s3_scrub_post(disk->drive, s, 0);
        }
    }
}


static void
s3_scrub_post(s3_drive_t *drive, s3_scrub_t *s, int suspect)
{
    s3_op_t       *op;
    s3_process_t  *p;

    p = drive->process;

    op = s3_op_create(drive, S3_LANE_HOUSE, s3_scrub_run, s3_scrub_finish, s);
    op->flag = suspect;
    op->mask = (uint64_t) 1 << drive->disk->slot;
    op->sequence = p->conf.scrub_interval;
    memcpy(op->session, p->set_id, 16);

    if (suspect) {
        memcpy(op->id, s->suspects[0], 16);
    }

    s->running = 1;
    s3_op_post(op);
}


/* the disk's thread: one step */

static void
s3_scrub_run(s3_op_t *op)
{
    unsigned     n;
    s3_scrub_t  *s;

    s = op->data;

    if (s->buf == NULL
        && posix_memalign((void **) &s->buf, S3_PAGE_SIZE, S3_SCRUB_PIECE)
           != 0)
    {
        s->buf = NULL;
        op->task.error = ENOMEM;
        return;
    }

    if (op->flag) {
        if (s3_scrub_suspected(op, s)) {
            s3_scrub_read(op, s, &s->suspect);
        }

        return;
    }

    for (n = 0; n < S3_SCRUB_SHARDS; n++) {

        if (!s3_scrub_next(op, s)) {
            return;
        }

        s3_scrub_read(op, s, &s->shard);

        if (op->task.error || op->status != S3_SCRUB_GOOD
            || op->cursor >= S3_SCRUB_PIECE)
        {
            return;
        }
    }
}


/* whether there is one to read */

static int
s3_scrub_suspected(s3_op_t *op, s3_scrub_t *s)
{
    int                found;
    s3_scrub_shard_t  *shard;

    shard = &s->suspect;

    if (shard->reader) {
        return 1;
    }

    op->status = S3_SCRUB_GOOD;

    op->task.error = s3_index_shard(op->drive->house, op->id, &shard->row,
                                    &found);

    /* deleted, or a hole that repair knows of */

    return op->task.error == 0 && found && (shard->row.mask & op->mask);
}


static int
s3_scrub_next(s3_op_t *op, s3_scrub_t *s)
{
    s3_scrub_progress_t  *pr;

    if (!s3_scrub_begin(op, s)) {
        return 0;
    }

    if (s->shard.reader) {
        return 1;
    }

    pr = &s->progress;

    if (s->i == s->n) {
        s->i = 0;
        s->n = 0;

        op->task.error = s3_index_marked(op->drive->house, op->mask,
                                         pr->has_after ? pr->after : NULL,
                                         s->rows, S3_SCRUB_ROWS, &s->n);
        if (op->task.error) {
            return 0;
        }

        if (s->n == 0) {
            s3_scrub_files(op, s);
            return 0;
        }
    }

    s->shard.row = s->rows[s->i++];

    return 1;
}


/* whether a round is under way */

static int
s3_scrub_begin(s3_op_t *op, s3_scrub_t *s)
{
    int64_t               now, due;
    s3_scrub_progress_t  *pr;

    pr = &s->progress;

    if (!s->loaded) {
        s3_scrub_load(op->drive->root, pr);
        s->loaded = 1;
        s->saved = time(NULL);
    }

    if (pr->started && pr->finished == 0) {
        return 1;
    }

    now = time(NULL);
    due = pr->started + (int64_t) op->sequence;

    if (pr->started && pr->started <= now && now < due) {
        op->status = S3_SCRUB_WAIT;
        op->sequence = due - now;
        return 0;
    }

    memset(pr, 0, sizeof(s3_scrub_progress_t));
    pr->started = now;
    s->files = 0;
    s->removed = 0;
    s->page = 0;

    s3_scrub_save(op->drive->root, s);

    return 1;
}


static void
s3_scrub_files(s3_op_t *op, s3_scrub_t *s)
{
    s3_scrub_names_t  *names;

    names = malloc(sizeof(s3_scrub_names_t));

    if (names == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    op->status = S3_SCRUB_PART;

    while (s->files < 0x10000 && op->cursor < S3_SCRUB_PIECE) {

        op->task.error = s3_scrub_directory(op, s, names);

        if (op->task.error) {
            break;
        }

        s->files = names->to;
    }

    free(names);

    if (op->task.error == 0 && s->files == 0x10000) {
        s3_scrub_index(op, s);
    }
}


static void
s3_scrub_index(s3_op_t *op, s3_scrub_t *s)
{
    unsigned  n;

    if (s->page == 0) {
        s->page = 1;
    }

    n = s3_vfs_pages(op->drive->vfs, s->page, S3_SCRUB_PIECE / S3_PAGE_SIZE,
                     0, &s->bad);

    s->page += n;
    op->cursor += (uint64_t) n * S3_PAGE_SIZE;

    if (s->bad) {

        if (s3_drive_there(op->drive) != 0) {
            op->task.error = EIO;
            return;
        }

        op->status = S3_SCRUB_PAGE;
        return;
    }

    if (n == 0) {
        s->progress.finished = time(NULL);
        s3_scrub_save(op->drive->root, s);
        op->status = S3_SCRUB_ROUND;
    }
}


static void
s3_scrub_page_run(s3_op_t *op)
{
    op->task.error = s3_index_page(op->drive->writer, op->sequence,
                                   op->status, &op->flag);
}


static void
s3_scrub_page_finish(s3_op_t *op)
{
    s3_disk_t     *disk;
    s3_scrub_t    *s;
    s3_process_t  *p;

    s = op->data;
    disk = op->drive->disk;
    p = op->drive->process;

    s->running = 0;
    s->next = p->now + S3_SCRUB_IDLE;

    if (disk == NULL || op->error || !op->flag) {
        return;                              /* it is read once more */
    }

    s3_log(p, 4, "disk \"%s\": page %lu of its index is damaged", disk->path,
           (unsigned long) op->sequence);

    if (!s3_disk_spared(p, disk)) {

        /* nothing to be done; of a lost end the first page says all */

        s->page = (s->bad == 2) ? UINT32_MAX : s->page + 1;
        return;
    }

    s3_vfs_damaged(op->drive->vfs);
    s3_disk_drop(disk, EBADMSG, "a page of its index is damaged");
}


/* all of one, or of a large one as much as names holds: to is where it ends */

static int
s3_scrub_directory(s3_op_t *op, s3_scrub_t *s, s3_scrub_names_t *names)
{
    int       rc, dir;
    char      path[8];
    unsigned  i;

    names->from = s->files;
    names->to = (s->files | 0xff) + 1;

    (void) snprintf(path, sizeof(path), "data/%02x", (s->files >> 8) & 0xff);

    dir = s3_door->openat(op->drive->root, path,
                          O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, 0);

    if (dir == -1) {
        return errno == ENOENT ? 0 : errno;
    }

    for ( ;; ) {
        names->n = 0;
        names->more = 0;

        rc = s3_door->list(dir, s3_scrub_name, names) == -1 ? errno : 0;

        if (rc || !names->more || names->to == names->from + 1) {
            break;
        }

        names->to = names->from + (names->to - names->from) / 2;
    }

    for (i = 0; rc == 0 && i < names->n; i++) {
        rc = s3_scrub_left(op, dir, names->ids[i]);
        op->cursor += S3_SCRUB_NAME;

        if (rc == EEXIST) {
            rc = 0;
            s->removed++;
        }
    }

    (void) s3_door->close(dir);

    return rc;
}


static int
s3_scrub_name(void *data, const char *name)
{
    s3_scrub_names_t *names = data;

    uint8_t   id[16];
    unsigned  at;

    if (s3_id_parse(name, id) != 0) {
        return 0;
    }

    at = id[0] << 8 | id[1];

    if (at < names->from || at >= names->to) {
        return 0;
    }

    if (names->n == S3_SCRUB_NAMES) {
        names->more = 1;
        return 1;
    }

    memcpy(names->ids[names->n++], id, 16);

    return 0;
}


/* EEXIST: it was nobody's, and is gone; 0: it stays; or an error */

static int
s3_scrub_left(s3_op_t *op, int dir, const uint8_t id[16])
{
    int          rc, known;
    char         name[33];
    struct stat  st;

    rc = s3_index_shard_named(op->drive->house, id, &known);

    if (rc || known) {
        return rc;
    }

    s3_id_text(id, name);

    if (s3_door->fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
        return errno == ENOENT ? 0 : errno;
    }

    if (!S_ISREG(st.st_mode) || st.st_mtime + S3_SCRUB_LEFT > time(NULL)) {
        return 0;
    }

    if (s3_door->unlinkat(dir, name, 0) == -1) {
        return errno == ENOENT ? 0 : errno;
    }

    return EEXIST;
}


static void
s3_scrub_read(s3_op_t *op, s3_scrub_t *s, s3_scrub_shard_t *shard)
{
    int     rc;
    size_t  len;

    rc = shard->reader ? 0 : s3_scrub_open(op, shard);

    if (rc == ENOENT) {

        /* deleted meanwhile */

        s3_scrub_passed(op, s, shard);
        op->status = S3_SCRUB_GOOD;
        return;
    }

    len = 0;

    if (rc == 0) {
        len = S3_SCRUB_PIECE;

        if (len > shard->size - shard->offset) {
            len = shard->size - shard->offset;
        }

        rc = s3_shard_read(shard->reader, s->buf, len, shard->offset);
    }

    if (rc) {
        s3_scrub_bad(op, s, shard, rc);
        return;
    }

    op->cursor += len;
    shard->offset += len;

    if (!op->flag) {
        s->progress.bytes += len;
    }

    if (shard->offset < shard->size) {
        op->status = S3_SCRUB_PART;
        return;
    }

    s3_scrub_passed(op, s, shard);
    op->status = S3_SCRUB_GOOD;
}


/* with this one it is through, whatever came of it */

static void
s3_scrub_passed(s3_op_t *op, s3_scrub_t *s, s3_scrub_shard_t *shard)
{
    s3_scrub_close(shard);

    if (op->flag) {
        return;
    }

    s->progress.shards++;
    s->progress.has_after = 1;
    memcpy(s->progress.after, shard->row.shard_id, 16);

    if (time(NULL) >= s->saved + S3_SCRUB_SAVE) {
        s3_scrub_save(op->drive->root, s);
    }
}


/* 0; ENOENT: no row has it any more; an error of the shard */

static int
s3_scrub_open(s3_op_t *op, s3_scrub_shard_t *shard)
{
    int              rc, found;
    s3_shard_row_t   row;
    s3_shard_info_t  info;

    if (shard->row.geometry.k == 0 || shard->row.size == 0) {
        return ENOENT;
    }

    memset(&info, 0, sizeof(s3_shard_info_t));

    memcpy(info.set_id, op->session, 16);
    memcpy(info.shard_id, shard->row.shard_id, 16);
    memcpy(info.session, shard->row.session, 16);
    info.geometry = shard->row.geometry;
    info.size = shard->row.size;
    info.shard = s3_slot_shard(&info.geometry, info.shard_id,
                               __builtin_ctzll(op->mask));

    rc = s3_shard_open(op->drive->root, &info, &shard->reader);

    if (rc) {
        shard->reader = NULL;

        if (rc == ENOENT) {

            /* the row was read a while ago */

            rc = s3_index_shard(op->drive->house, info.shard_id, &row,
                                &found);

            if (rc == 0) {
                rc = (found && (row.mask & op->mask)) ? EBADMSG : ENOENT;
            }
        }

        return rc;
    }

    shard->offset = 0;
    shard->size = s3_shard_size(&info.geometry, info.size);

    return 0;
}


/*
 * A sector that can't be read is damage like wrong bytes: it is written anew,
 * and a disk that can't be written to is dropped then
 */

static void
s3_scrub_bad(s3_op_t *op, s3_scrub_t *s, s3_scrub_shard_t *shard, int error)
{
    if (error == ENOMEM || error == EMFILE || error == ENFILE
        || s3_drive_there(op->drive) != 0)
    {
        s3_scrub_close(shard);
        op->task.error = error;
        return;
    }

    memcpy(op->id, shard->row.shard_id, 16);
    op->status = S3_SCRUB_BAD;

    if (!op->flag) {
        s->progress.damaged++;
    }

    s3_scrub_passed(op, s, shard);
}


static void
s3_scrub_finish(s3_op_t *op)
{
    char           name[33];
    s3_op_t       *page;
    uint64_t       bytes;
    unsigned       slot;
    s3_disk_t     *disk;
    s3_scrub_t    *s;
    s3_process_t  *p;

    s = op->data;
    disk = op->drive->disk;
    p = op->drive->process;

    s->running = 0;

    if (disk == NULL) {
        return;
    }

    if (op->error) {
        s->next = p->now + S3_SCRUB_IDLE;
        return;
    }

    if (op->status == S3_SCRUB_BAD && disk->member) {
        slot = __builtin_ctzll(op->mask);
        s3_id_text(op->id, name);

        s3_log(p, 4, "disk \"%s\": shard %s is damaged", disk->path, name);
        s3_damage_add(p, op->id, slot);
    }

    if (op->flag) {

        if (op->status != S3_SCRUB_PART) {
            s->nsuspects--;
            memmove(s->suspects[0], s->suspects[1], 16 * s->nsuspects);
        }

        if (s->nsuspects && disk->member && p->state == S3_STORE_OK) {
            s3_scrub_post(op->drive, s, 1);
        }

        return;
    }

    /* the thread's: it is not running */

    bytes = s->progress.bytes;

    if (bytes < s->counted) {
        s->counted = 0;                          /* another round */
    }

    s3_count_add(p, S3_COUNT_SCRUB_BYTES, bytes - s->counted);
    s->counted = bytes;

    switch (op->status) {

    case S3_SCRUB_PAGE:
        page = s3_op_create(op->drive, S3_LANE_WRITER, s3_scrub_page_run,
                            s3_scrub_page_finish, s);
        page->sequence = s->page;
        page->status = s->bad;
        s->running = 1;
        s3_op_post(page);
        break;

    case S3_SCRUB_WAIT:
        s->next = p->now + op->sequence * 1000;
        break;

    case S3_SCRUB_ROUND:
        s3_count_add(p, S3_COUNT_SCRUB_ROUNDS, 1);
        s->next = p->now + S3_SCRUB_IDLE;

        /* holes that were given up, when nothing came of any of the tries */

        p->repair_due = 1;

        s3_log(p, 6, "disk \"%s\" is scrubbed: %" PRIu64 " shards of %" PRIu64
               " bytes, %" PRIu64 " of them damaged", disk->path,
               s->progress.shards, s->progress.bytes, s->progress.damaged);

        if (s->removed) {
            s3_log(p, 5, "disk \"%s\": %u files that no object has were "
                   "removed", disk->path, s->removed);
        }

        break;

    default:
        s->next = p->now + op->cursor * 1000 / p->conf.scrub_rate;
    }
}


static void
s3_scrub_close(s3_scrub_shard_t *shard)
{
    if (shard->reader) {
        s3_shard_close(shard->reader);
        shard->reader = NULL;
    }
}


void
s3_scrub_release(s3_drive_t *drive)
{
    s3_scrub_t  *s;

    s = drive->scrub;

    if (s) {
        s3_scrub_close(&s->suspect);
        s3_scrub_close(&s->shard);
    }
}


void
s3_scrub_free(s3_drive_t *drive)
{
    if (drive->scrub) {
        free(drive->scrub->buf);
        free(drive->scrub);
    }
}


/* a file that makes no sense is none: the round begins again */

static void
s3_scrub_load(int root, s3_scrub_progress_t *pr)
{
    int                  fd;
    char                 text[S3_SCRUB_FILE + 1], after[33];
    ssize_t              n;
    s3_scrub_progress_t  read;

    fd = s3_door->openat(root, "scrub", O_RDONLY|O_NOFOLLOW|O_CLOEXEC, 0);

    if (fd == -1) {
        return;
    }

    n = s3_door->pread(fd, text, S3_SCRUB_FILE, 0);
    (void) s3_door->close(fd);

    if (n <= 0) {
        return;
    }

    text[n] = '\0';
    memset(&read, 0, sizeof(s3_scrub_progress_t));

    if (sscanf(text, "s3scrub 1\nstarted %" SCNd64 "\nfinished %" SCNd64
               "\nshards %" SCNu64 "\nbytes %" SCNu64 "\ndamaged %" SCNu64
               "\nafter %32[0-9a-f]\n", &read.started, &read.finished,
               &read.shards, &read.bytes, &read.damaged, after)
        != 6
        || read.started <= 0 || read.finished < 0)
    {
        return;
    }

    /* a lone 0: nothing was read yet */

    read.has_after = (s3_id_parse(after, read.after) == 0);

    *pr = read;
}


static void
s3_scrub_save(int root, s3_scrub_t *s)
{
    int                   fd, n, rc;
    char                  text[S3_SCRUB_FILE], after[33];
    s3_scrub_progress_t  *pr;

    pr = &s->progress;
    s->saved = time(NULL);

    (void) strcpy(after, "0");

    if (pr->has_after) {
        s3_id_text(pr->after, after);
    }

    n = snprintf(text, sizeof(text), "s3scrub 1\nstarted %" PRId64
                 "\nfinished %" PRId64 "\nshards %" PRIu64 "\nbytes %" PRIu64
                 "\ndamaged %" PRIu64 "\nafter %s\n", pr->started,
                 pr->finished, pr->shards, pr->bytes, pr->damaged, after);

    fd = s3_door->openat(root, "scrub.new",
                         O_WRONLY|O_CREAT|O_TRUNC|O_NOFOLLOW|O_CLOEXEC, 0600);

    if (fd == -1) {
        return;
    }

    rc = s3_door_write_all(fd, text, n, 0);
    (void) s3_door->close(fd);

    if (rc == 0) {
        (void) s3_door->renameat(root, "scrub.new", root, "scrub");
    }
}
