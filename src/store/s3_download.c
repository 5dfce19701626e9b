
/*
 * A download: shards on the disks in, verified pieces in order out.
 *
 *     window (one stripe, or the part of it that is wanted), rows of units:
 *
 *                    data units                  parity
 *              | unit 0 | unit 1 | ... |  ...  | unit k | ...
 *        row 0 |        |########| ### |       |        |
 *           lo |  ######|########| #   |       |        |
 *           hi |########|########|     |       |        |
 *
 *     #: wanted.  Read are the blocks of 64 KiB of each unit in which wanted
 *     rows lie, each to its own place in the buffer, so that the piece lies
 *     there in one run.  Units that are missing, damaged or late are computed
 *     from the same rows of k others, in the same place.
 *
 *     next     loop                 disks' threads      compute thread
 *     ----> [ WAIT_SET, WAIT_MEMORY ]
 *           [ READ  ] --------------> blocks
 *           [ READ  ] <-------------- (fewer than k: read from others)
 *           [ DECODE ] -----------------------------------> if one is missing
 *           [ READY ] -> event
 *
 * Where only one unit is touched the buffer holds its rows alone.
 *
 * A late read still writes into the buffer it was given.  The window then
 * goes on in a new one (what was read is copied), and the old one belongs to
 * the operation.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define S3_WINDOWS         2
#define S3_WINDOW_RETRIES  16       /* by disks that come and go */


typedef struct s3_extread_s   s3_extread_t;
typedef struct s3_reader_op_s s3_reader_op_t;
typedef struct s3_window_s    s3_window_t;


typedef enum {
    S3_SHARD_UNREAD = 0,
    S3_SHARD_READING,
    S3_SHARD_READ,
    S3_SHARD_BAD
} s3_shard_state_e;


/* an open shard file; does one operation at a time */
typedef struct {
    s3_op_t               op;        /* the close */
    s3_shard_reader_t    *reader;    /* the thread's while one is out */
    s3_disk_t            *disk;
    unsigned              refs;      /* extent's, operations */
    unsigned              failed:1;  /* nothing is asked of it any more */
    unsigned              busy:1;
    s3_link_t             queue;     /* s3_reader_op_t.queue */
} s3_handle_t;


/* the extent being read: its open shards */
struct s3_extread_s {
    s3_extent_t           extent;
    uint8_t               set_id[16];
    unsigned              refs;      /* download's, windows */
    unsigned              n;         /* k + m */
    uint64_t              gone;      /* shards that are not there */
    s3_handle_t          *handles[S3_MAX_DISKS];    /* by shard number */
};


/* a read that is out; outlives its window when it is late */
struct s3_reader_op_s {
    s3_op_t               op;
    s3_link_t             queue;
    s3_client_t          *client;
    s3_window_t          *window;    /* NULL: it waits no longer */
    s3_handle_t          *handle;
    s3_shard_info_t       info;
    s3_buffer_t          *buffer;
    uint8_t              *p;
    size_t                len;
    uint64_t              offset;    /* in the shard */
    unsigned              shard;
};


typedef enum {
    S3_WINDOW_WAIT_SET = 0,
    S3_WINDOW_WAIT_MEMORY,
    S3_WINDOW_READ,
    S3_WINDOW_DECODE,
    S3_WINDOW_READY,
    S3_WINDOW_FAILED
} s3_window_state_e;


struct s3_window_s {
    s3_link_t             link;      /* download->windows, or in none */
    s3_client_t          *client;
    s3_download_t        *download;  /* NULL: closed */
    s3_extread_t         *er;
    s3_window_state_e     state;
    int                   status;

    uint64_t              base;      /* of the unit, in the shard */
    uint32_t              unit;      /* bytes of a unit of this stripe */
    uint32_t              first;     /* row the buffer begins with */
    uint32_t              stride;    /* from unit to unit in the buffer */
    unsigned              alone;     /* shard + 1, where it is only one */
    s3_buffer_t          *buffer;
    size_t                piece;     /* offset in the buffer */
    size_t                len;

    unsigned              reading;   /* operations that are waited for */
    unsigned              retries;
    unsigned              tainted:1; /* a late read may write to buffer */
    unsigned              given:1;
    unsigned              stepping:1;

    uint8_t               shards[S3_MAX_DISKS];   /* s3_shard_state_e */
    uint32_t              lo[S3_MAX_DISKS];       /* rows read, to be read */
    uint32_t              hi[S3_MAX_DISKS];
    uint32_t              want_lo[S3_MAX_DISKS];  /* rows of the piece */
    uint32_t              want_hi[S3_MAX_DISKS];
    unsigned              damaged:1; /* bytes were bad, or not there */

    uint32_t              decode_lo;
    uint32_t              decode_hi;
    uint64_t              have;
    uint64_t              lost;
    int                   decoded;   /* what s3_erasure_decode() said */
    s3_task_t             decode;

    s3_event_t            wait;
    s3_budget_t           budget;
};


struct s3_download_s {
    s3_client_t          *client;
    s3_download_pt        handler;
    void                 *data;
    s3_pin_t             *pin;

    s3_extent_t          *extents;   /* those that the range touches */
    uint32_t              nextents;
    uint32_t              current;   /* of the next window */
    uint64_t              pos;       /* in the object, of the next window */
    uint64_t              end;
    s3_extread_t         *er;        /* of current, or NULL */

    s3_link_t             windows;   /* oldest first */
    unsigned              nwindows;
    unsigned              ngiven;
    s3_budget_t           kept;      /* between two windows */

    s3_event_t            event;
    unsigned              asked:1;   /* next() is to be answered */
    unsigned              over:1;    /* DONE or FAILED was told */
    int                   status;    /* of a failure without a window */
    uint64_t              logged;    /* shards that were said to be bad */
};


static void s3_download_pump(s3_download_t *d);
static int s3_download_extend(s3_download_t *d);
static void s3_download_tell(s3_event_t *event);
static void s3_download_check(s3_download_t *d);

static s3_extread_t *s3_extread_create(s3_client_t *c,
    const s3_extent_t *extent);
static void s3_extread_unref(s3_extread_t *er);

static s3_window_t *s3_window_create(s3_download_t *d, uint64_t offset,
    uint64_t len);
static size_t s3_window_room(s3_window_t *w);
static void s3_window_opened(s3_event_t *event);
static void s3_window_granted(s3_budget_t *budget);
static void s3_window_start(s3_window_t *w);
static void s3_window_step(s3_window_t *w);
static void s3_window_round(s3_window_t *w);
static int s3_window_read(s3_window_t *w, unsigned shard, uint32_t lo,
    uint32_t hi);
static uint8_t *s3_window_place(s3_window_t *w, unsigned shard,
    uint32_t row);
static int s3_window_renew(s3_window_t *w);
static void s3_window_decode(s3_window_t *w);
static void s3_window_decode_run(s3_task_t *task);
static void s3_window_decoded(s3_task_t *task);
static void s3_window_end(s3_window_t *w, s3_window_state_e state,
    int status);
static void s3_window_lost(s3_window_t *w);
static void s3_window_release(s3_window_t *w);
static void s3_window_free(s3_window_t *w);

static s3_handle_t *s3_handle_get(s3_client_t *c, s3_extread_t *er,
    unsigned shard);
static void s3_handle_next(s3_handle_t *h);
static void s3_handle_fail(s3_handle_t *h, int error);
static void s3_handle_unref(s3_handle_t *h);
static void s3_handle_close(s3_op_t *op);
static void s3_handle_closed(s3_op_t *op);

static void s3_read_run(s3_op_t *op);
static void s3_read_done(s3_op_t *op);
static void s3_read_late(s3_op_t *op);
static void s3_read_result(s3_reader_op_t *rop, int error, int late);
static void s3_read_free(s3_reader_op_t *rop);


s3_download_t *
s3_download_create(s3_client_t *c, const s3_object_t *object,
    uint64_t offset, uint64_t length, s3_download_pt handler, void *data)
{
    uint32_t        i, n;
    s3_download_t  *d;

    d = calloc(1, sizeof(s3_download_t));
    if (d == NULL) {
        return NULL;
    }

    d->client = c;
    d->handler = handler;
    d->data = data;
    d->pos = offset;
    d->end = offset + length;

    s3_link_init(&d->windows);
    s3_link_init(&d->event.link);
    s3_link_init(&d->kept.link);
    d->event.handler = s3_download_tell;

    /* of the look-up whose rows these are; without one the oldest there
     * is, which is the best that can be said for a row of unknown age */

    if (c->pin != NULL) {
        d->pin = c->pin;
        d->pin->refs++;

    } else if (!s3_link_empty(&c->pins)) {
        d->pin = s3_link_data(c->pins.next, s3_pin_t, link);
        d->pin->refs++;

    } else {
        d->pin = s3_pin_take(c);
    }

    n = 0;

    for (i = 0; i < object->nextents; i++) {
        n += (object->extents[i].offset < d->end
              && object->extents[i].offset + object->extents[i].size
                 > offset);
    }

    d->extents = malloc((n ? n : 1) * sizeof(s3_extent_t));

    if (d->extents == NULL || d->pin == NULL) {

        if (d->pin != NULL) {
            s3_pin_release(c, d->pin);
        }

        free(d->extents);
        free(d);

        return NULL;
    }

    for (i = 0; i < object->nextents; i++) {

        if (object->extents[i].offset < d->end
            && object->extents[i].offset + object->extents[i].size > offset)
        {
            d->extents[d->nextents++] = object->extents[i];
        }
    }

    s3_download_check(d);

    c->active++;

    return d;
}


/* rows come from a disk: the extents must be valid and make up the range */

static void
s3_download_check(s3_download_t *d)
{
    uint32_t      i;
    uint64_t      pos;
    s3_extent_t  *e;

    pos = d->pos;

    for (i = 0; i < d->nextents; i++) {
        e = &d->extents[i];

        if (e->offset > pos || (i && e->offset != pos) || e->size == 0
            || e->size > UINT64_MAX - e->offset
            || !s3_geometry_valid(&e->geometry)
            || e->geometry.k + e->geometry.m > S3_MAX_DISKS)
        {
            d->status = S3_STORE_DAMAGED;
            return;
        }

        pos = e->offset + e->size;
    }

    if (d->nextents == 0 || pos < d->end) {
        d->status = S3_STORE_DAMAGED;
    }
}


void
s3_download_next(s3_download_t *d)
{
    assert(!d->asked);

    d->asked = 1;

    s3_download_pump(d);
}


void
s3_download_release(s3_download_t *d)
{
    s3_window_t  *w;

    assert(d->ngiven);

    w = s3_link_data(d->windows.next, s3_window_t, link);

    assert(w->given);

    d->ngiven--;
    d->nwindows--;

    if (d->nwindows == 0 && d->pos < d->end) {

        /* what has begun goes on: it does not queue for memory again behind
         * readers that take their time */

        d->kept.size = w->budget.size;
        w->budget.size = 0;
    }

    s3_window_release(w);

    s3_download_pump(d);
}


void
s3_download_close(s3_download_t *d)
{
    s3_window_t  *w;

    while (!s3_link_empty(&d->windows)) {
        w = s3_link_data(d->windows.next, s3_window_t, link);
        s3_window_release(w);
    }

    if (d->er != NULL) {
        s3_extread_unref(d->er);
    }

    s3_link_remove(&d->event.link);
    s3_budget_free(d->client, &d->kept);
    s3_pin_release(d->client, d->pin);

    d->client->active--;

    free(d->extents);
    free(d);
}


/* tells what is ready, starts what may be started */

static void
s3_download_pump(s3_download_t *d)
{
    s3_link_t    *l;
    s3_window_t  *w;

    if (d->over) {
        return;
    }

    /* nothing is read before it was asked for the first time */

    while (d->status == S3_STORE_OK && d->pos < d->end
           && d->nwindows < S3_WINDOWS
           && (d->asked || d->nwindows))
    {
        if (s3_download_extend(d) == -1) {
            break;
        }
    }

    if (!d->asked) {
        return;
    }

    for (l = d->windows.next; l != &d->windows; l = l->next) {
        w = s3_link_data(l, s3_window_t, link);

        if (!w->given) {

            if (w->state == S3_WINDOW_READY || w->state == S3_WINDOW_FAILED) {
                s3_client_event(d->client, &d->event);
            }

            return;
        }
    }

    if (d->status != S3_STORE_OK || d->pos == d->end) {
        s3_client_event(d->client, &d->event);
    }
}


/*
 * A window more.  The first one waits for the set and for memory; one read
 * ahead takes what nobody waits for, and not before the one that is to be
 * given first has its own: who holds memory never waits for more of it.
 */

static int
s3_download_extend(s3_download_t *d)
{
    size_t        room;
    uint64_t      offset, size, stripe, len;
    s3_extent_t  *e;
    s3_window_t  *w;

    if (d->nwindows) {
        w = s3_link_data(d->windows.prev, s3_window_t, link);

        if (w->state < S3_WINDOW_READ || w->state == S3_WINDOW_FAILED
            || !s3_client_settled(d->client, 0))
        {
            return -1;
        }
    }

    e = &d->extents[d->current];

    if (d->pos == e->offset + e->size) {

        if (d->er != NULL) {
            s3_extread_unref(d->er);
            d->er = NULL;
        }

        e = &d->extents[++d->current];
    }

    offset = d->pos - e->offset;
    stripe = s3_stripe_size(&e->geometry);
    size = e->size - offset;
    len = stripe - offset % stripe;

    if (len > size) {
        len = size;
    }

    if (len > d->end - d->pos) {
        len = d->end - d->pos;
    }

    if (d->er == NULL) {
        d->er = s3_extread_create(d->client, e);

        if (d->er == NULL) {
            d->status = S3_STORE_BUSY;
            return -1;
        }
    }

    w = s3_window_create(d, offset, len);

    if (w == NULL) {
        d->status = S3_STORE_BUSY;
        return -1;
    }

    room = s3_window_room(w);

    if (d->nwindows) {

        if (s3_budget_try(d->client, &w->budget, room) == -1) {
            s3_window_free(w);
            return -1;
        }

        w->state = S3_WINDOW_READ;

    } else if (d->kept.size >= room) {
        w->budget.size = d->kept.size;
        d->kept.size = 0;

    } else {
        s3_budget_free(d->client, &d->kept);
    }

    s3_link_add(&d->windows, &w->link);
    d->nwindows++;
    d->pos += len;

    if (w->state == S3_WINDOW_READ) {
        s3_window_start(w);

    } else {
        s3_link_add(&d->client->waiting, &w->wait.link);
        s3_client_wake(d->client);
    }

    return 0;
}


static void
s3_download_tell(s3_event_t *event)
{
    s3_download_t *d = s3_link_data(event, s3_download_t, event);

    s3_link_t    *l;
    s3_window_t  *w;

    if (!d->asked || d->over) {
        return;
    }

    for (l = d->windows.next; l != &d->windows; l = l->next) {
        w = s3_link_data(l, s3_window_t, link);

        if (w->given) {
            continue;
        }

        if (w->state == S3_WINDOW_READY) {
            w->given = 1;
            d->ngiven++;
            d->asked = 0;

            d->handler(d, d->data, S3_DOWNLOAD_DATA, S3_STORE_OK,
                       w->buffer->data + w->piece, w->len);

        } else if (w->state == S3_WINDOW_FAILED) {
            d->asked = 0;
            d->over = 1;

            d->handler(d, d->data, S3_DOWNLOAD_FAILED, w->status, NULL, 0);
        }

        return;
    }

    if (d->status != S3_STORE_OK) {
        d->asked = 0;
        d->over = 1;
        d->handler(d, d->data, S3_DOWNLOAD_FAILED, d->status, NULL, 0);

    } else if (d->pos == d->end) {
        d->asked = 0;
        d->over = 1;
        d->handler(d, d->data, S3_DOWNLOAD_DONE, S3_STORE_OK, NULL, 0);
    }
}


/* extents */


static s3_extread_t *
s3_extread_create(s3_client_t *c, const s3_extent_t *extent)
{
    s3_extread_t  *er;

    er = calloc(1, sizeof(s3_extread_t));
    if (er == NULL) {
        return NULL;
    }

    er->refs = 1;
    er->extent = *extent;
    er->n = (unsigned) extent->geometry.k + extent->geometry.m;

    return er;
}


static void
s3_extread_unref(s3_extread_t *er)
{
    unsigned  i;

    if (--er->refs) {
        return;
    }

    for (i = 0; i < er->n; i++) {
        if (er->handles[i] != NULL) {
            s3_handle_unref(er->handles[i]);
        }
    }

    free(er);
}


/* windows */


/* len bytes at offset of the extent, all in one stripe */

static s3_window_t *
s3_window_create(s3_download_t *d, uint64_t offset, uint64_t len)
{
    uint32_t        j, k, from, to, lo, hi, first, last;
    uint64_t        stripe;
    s3_window_t    *w;
    s3_geometry_t  *g;

    w = calloc(1, sizeof(s3_window_t));
    if (w == NULL) {
        return NULL;
    }

    s3_link_init(&w->link);
    s3_link_init(&w->wait.link);
    s3_link_init(&w->budget.link);

    w->client = d->client;
    w->download = d;
    w->er = d->er;
    w->er->refs++;
    w->wait.handler = s3_window_opened;
    w->decode.data = w;

    g = &w->er->extent.geometry;
    k = g->k;

    stripe = offset / s3_stripe_size(g);
    from = (uint32_t) (offset % s3_stripe_size(g));
    to = from + (uint32_t) len;

    w->base = stripe * g->unit;
    w->unit = s3_unit_size(g, w->er->extent.size, stripe);
    w->len = len;

    first = from / w->unit;
    last = (to - 1) / w->unit;

    for (j = first; j <= last && j < k; j++) {

        lo = (j == first) ? from - j * w->unit : 0;
        hi = (j == last) ? to - j * w->unit : w->unit;

        lo -= lo % S3_BLOCK_SIZE;
        hi += S3_BLOCK_SIZE - 1;
        hi -= hi % S3_BLOCK_SIZE;

        w->want_lo[j] = lo;
        w->want_hi[j] = (hi < w->unit) ? hi : w->unit;
    }

    if (first == last) {
        w->alone = first + 1;
        w->first = w->want_lo[first];
        w->stride = w->want_hi[first] - w->first;
        w->piece = from - first * w->unit - w->first;

    } else {
        w->stride = w->unit;
        w->piece = from;
    }

    return w;
}


static size_t
s3_window_room(s3_window_t *w)
{
    return (size_t) w->er->n * w->stride;
}


static void
s3_window_opened(s3_event_t *event)
{
    s3_window_t *w = s3_link_data(event, s3_window_t, wait);

    size_t  room, whole;

    if (w->buffer != NULL) {
        w->state = S3_WINDOW_READ;
        s3_window_step(w);

        return;
    }

    if (w->budget.size) {
        s3_window_granted(&w->budget);
        return;
    }

    /* enough for any window that follows: it is kept until the end */

    room = s3_window_room(w);

    if (w->download->pos < w->download->end) {
        whole = (size_t) w->er->n * w->er->extent.geometry.unit;
        room = whole > room ? whole : room;
    }

    w->state = S3_WINDOW_WAIT_MEMORY;
    s3_budget_ask(w->client, &w->budget, room, s3_window_granted);
}


static void
s3_window_granted(s3_budget_t *budget)
{
    s3_window_t *w = s3_link_data(budget, s3_window_t, budget);

    s3_window_start(w);

    /* the next one may be read with it */

    s3_download_pump(w->download);
}


static void
s3_window_start(s3_window_t *w)
{
    w->state = S3_WINDOW_READ;

    w->buffer = s3_buffer_get(w->client, s3_window_room(w));

    if (w->buffer == NULL) {
        s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_BUSY);
        return;
    }

    s3_window_step(w);
}


/*
 * Whenever nothing is being read: what has to be read yet, what has to be
 * computed, or the end.  A read may fail at once, where a queue is full: then
 * another round is taken, with one shard less.
 */

static void
s3_window_step(s3_window_t *w)
{
    if (w->stepping) {
        return;
    }

    w->stepping = 1;

    while (w->state == S3_WINDOW_READ && w->reading == 0) {
        s3_window_round(w);
    }

    w->stepping = 0;
}


static void
s3_window_round(s3_window_t *w)
{
    uint32_t  lo, hi, from, to;
    unsigned  i, k, n, have;

    k = w->er->extent.geometry.k;
    n = w->er->n;

    if (w->tainted && s3_window_renew(w) == -1) {
        s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_BUSY);
        return;
    }

    /* what is wanted itself */

    for (i = 0; i < k; i++) {

        if (w->shards[i] == S3_SHARD_UNREAD && w->want_hi[i]) {
            (void) s3_window_read(w, i, w->want_lo[i], w->want_hi[i]);
        }
    }

    if (w->reading) {
        return;
    }

    /* what of it is lost: the rows that are needed of others */

    w->lost = 0;
    lo = UINT32_MAX;
    hi = 0;

    for (i = 0; i < k; i++) {

        if (w->want_hi[i] == 0 || w->shards[i] == S3_SHARD_READ) {
            continue;
        }

        w->lost |= 1ULL << i;
        lo = (w->want_lo[i] < lo) ? w->want_lo[i] : lo;
        hi = (w->want_hi[i] > hi) ? w->want_hi[i] : hi;
    }

    if (w->lost == 0) {
        s3_window_end(w, S3_WINDOW_READY, S3_STORE_OK);
        return;
    }

    /* those that have been read first: with luck no row is missing */

    w->have = 0;
    have = 0;

    for (i = 0; i < n && have < k; i++) {

        if (w->shards[i] == S3_SHARD_READ && w->lo[i] <= lo
            && w->hi[i] >= hi)
        {
            w->have |= 1ULL << i;
            have++;
        }
    }

    if (have == k) {
        w->decode_lo = lo;
        w->decode_hi = hi;
        s3_window_decode(w);

        return;
    }

    for (i = 0; i < n && have < k; i++) {

        if ((w->have & (1ULL << i)) || w->shards[i] == S3_SHARD_BAD) {
            continue;
        }

        from = lo;
        to = hi;

        /* what was read of the piece is read again, in one run: were the
         * rest alone to fail, the shard would be good and bad at once */

        if (w->shards[i] == S3_SHARD_READ) {
            from = (w->lo[i] < lo) ? w->lo[i] : lo;
            to = (w->hi[i] > hi) ? w->hi[i] : hi;
        }

        if (s3_window_read(w, i, from, to) == 0) {
            have++;
        }
    }

    if (have < k && w->reading == 0) {
        s3_window_lost(w);
    }
}


/* 0: it is being read, or -1: the shard is not to be had */

static int
s3_window_read(s3_window_t *w, unsigned shard, uint32_t lo, uint32_t hi)
{
    unsigned         slot;
    s3_handle_t     *h;
    s3_reader_op_t  *rop;

    slot = s3_shard_slot(&w->er->extent.geometry, w->er->extent.shard_id,
                         shard);

    h = NULL;
    rop = NULL;

    if ((w->er->extent.mask & (1ULL << slot))
        && s3_disk_readable(w->client, slot))
    {
        h = s3_handle_get(w->client, w->er, shard);

        if (h == NULL) {
            w->damaged |= ((w->er->gone & (1ULL << shard)) != 0);
        }
    }

    if (h != NULL) {
        rop = calloc(1, sizeof(s3_reader_op_t));
    }

    if (rop == NULL) {
        w->shards[shard] = S3_SHARD_BAD;
        return -1;
    }

    rop->client = w->client;
    rop->window = w;
    rop->handle = h;
    h->refs++;
    rop->shard = shard;
    rop->buffer = w->buffer;
    s3_buffer_ref(w->buffer);
    rop->p = s3_window_place(w, shard, lo);
    rop->len = hi - lo;
    rop->offset = w->base + lo;

    memcpy(rop->info.set_id, w->client->set.set_id, 16);
    memcpy(rop->info.shard_id, w->er->extent.shard_id, 16);
    memcpy(rop->info.session, w->er->extent.session, 16);
    rop->info.geometry = w->er->extent.geometry;
    rop->info.shard = (uint8_t) shard;
    rop->info.size = w->er->extent.size;

    rop->op.run = s3_read_run;
    rop->op.done = s3_read_done;
    rop->op.late = s3_read_late;
    s3_link_init(&rop->queue);

    w->shards[shard] = S3_SHARD_READING;
    w->lo[shard] = lo;
    w->hi[shard] = hi;
    w->reading++;

    s3_link_add(&h->queue, &rop->queue);
    s3_handle_next(h);

    return 0;
}


/* where a row of a shard's unit stands in the buffer */

static uint8_t *
s3_window_place(s3_window_t *w, unsigned shard, uint32_t row)
{
    /* where one unit alone is wanted it stands first, and the others
     * have its rows only */

    if (w->alone) {
        shard = (shard + w->er->n - (w->alone - 1)) % w->er->n;
    }

    return w->buffer->data + (size_t) shard * w->stride + (row - w->first);
}


/* away from a buffer that late reads may write to */

static int
s3_window_renew(s3_window_t *w)
{
    size_t        at;
    unsigned      i;
    s3_buffer_t  *buffer, *old;

    buffer = s3_buffer_get(w->client, s3_window_room(w));
    if (buffer == NULL) {
        return -1;
    }

    old = w->buffer;

    for (i = 0; i < w->er->n; i++) {

        if (w->shards[i] == S3_SHARD_READ) {
            at = s3_window_place(w, i, w->lo[i]) - old->data;
            memcpy(buffer->data + at, old->data + at, w->hi[i] - w->lo[i]);
        }
    }

    w->buffer = buffer;
    w->tainted = 0;

    s3_buffer_unref(w->client, old);

    return 0;
}


static void
s3_window_decode(s3_window_t *w)
{
    w->decode.loop = w->client->loop;
    w->decode.run = s3_window_decode_run;
    w->decode.done = s3_window_decoded;

    if (s3_pool_post(w->client->compute, 0, &w->decode)) {
        s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_BUSY);
        return;
    }

    w->state = S3_WINDOW_DECODE;
    w->client->out_there++;
}


static void
s3_window_decode_run(s3_task_t *task)
{
    s3_window_t *w = task->data;

    unsigned  i;
    uint8_t  *units[S3_MAX_DISKS];

    for (i = 0; i < w->er->n; i++) {
        units[i] = s3_window_place(w, i, w->decode_lo);
    }

    w->decoded = s3_erasure_decode(&w->er->extent.geometry, units,
                                   w->decode_hi - w->decode_lo, w->have,
                                   w->lost);
}


static void
s3_window_decoded(s3_task_t *task)
{
    s3_window_t *w = task->data;

    w->client->out_there--;

    if (w->download == NULL) {
        w->state = S3_WINDOW_FAILED;
        s3_window_release(w);
        return;
    }

    if (w->decoded == -1) {
        s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_BUSY);
        return;
    }

    s3_window_end(w, S3_WINDOW_READY, S3_STORE_OK);
}


static void
s3_window_end(s3_window_t *w, s3_window_state_e state, int status)
{
    w->state = state;
    w->status = status;

    s3_download_pump(w->download);
}


/* fewer than k of the shards */

static void
s3_window_lost(s3_window_t *w)
{
    unsigned        i, present;
    s3_client_t    *c;
    s3_geometry_t  *g;

    c = w->client;
    g = &w->er->extent.geometry;
    present = 0;

    if (!s3_client_settled(c, 0) && w->retries++ < S3_WINDOW_RETRIES) {

        /* disks are being opened, again perhaps: those may have them */

        for (i = 0; i < w->er->n; i++) {
            if (w->shards[i] == S3_SHARD_BAD) {
                w->shards[i] = S3_SHARD_UNREAD;
            }
        }

        w->damaged = 0;
        w->state = S3_WINDOW_WAIT_SET;
        s3_link_add(&c->waiting, &w->wait.link);
        s3_client_wake(c);

        return;
    }

    for (i = 0; i < w->er->n; i++) {
        present += s3_disk_readable(c, i);
    }

    if (present >= g->k && w->damaged) {
        s3_client_log(c, S3_LOG_ERR, "store \"%s\": fewer than %d good "
                      "shards of %d: data is lost", c->conf->name, g->k,
                      (int) w->er->n);
        s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_DAMAGED);
        return;
    }

    s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_UNAVAILABLE);
}


/* out of its download: freed when nothing of it is out */

static void
s3_window_release(s3_window_t *w)
{
    s3_link_remove(&w->link);
    w->download = NULL;

    if (w->reading || w->state == S3_WINDOW_DECODE) {
        return;
    }

    s3_window_free(w);
}


static void
s3_window_free(s3_window_t *w)
{
    s3_link_remove(&w->wait.link);
    s3_budget_free(w->client, &w->budget);

    if (w->buffer != NULL) {
        s3_buffer_unref(w->client, w->buffer);
    }

    s3_extread_unref(w->er);
    free(w);
}


/* open shards */


static s3_handle_t *
s3_handle_get(s3_client_t *c, s3_extread_t *er, unsigned shard)
{
    s3_disk_t    *disk;
    s3_handle_t  *h;

    disk = c->slots[s3_shard_slot(&er->extent.geometry, er->extent.shard_id,
                                  shard)];
    h = er->handles[shard];

    /* of the disk's instance before this one: it has been away */

    if (h != NULL && h->disk != disk) {
        er->handles[shard] = NULL;
        er->gone &= ~(1ULL << shard);
        s3_handle_unref(h);
        h = NULL;
    }

    if (h == NULL) {
        h = calloc(1, sizeof(s3_handle_t));
        if (h == NULL) {
            return NULL;
        }

        h->refs = 1;
        h->disk = disk;
        s3_disk_ref(disk);
        s3_link_init(&h->queue);
        er->handles[shard] = h;
    }

    if (h->failed) {
        return NULL;
    }

    return h;
}


static void
s3_handle_next(s3_handle_t *h)
{
    s3_reader_op_t  *rop;

    /* a result may end the download, and the handle with it */

    h->refs++;

    while (!h->busy && !s3_link_empty(&h->queue)) {
        rop = s3_link_data(h->queue.next, s3_reader_op_t, queue);
        s3_link_remove(&rop->queue);

        /* closed while it was in the queue */

        if (rop->window->download == NULL) {
            s3_read_result(rop, ECANCELED, 0);
            s3_read_free(rop);
            continue;
        }

        if (s3_disk_post(h->disk, S3_LANE_SHARDS, &rop->op, 0) == 0) {
            h->busy = 1;
            break;
        }

        s3_read_result(rop, EAGAIN, 0);
        s3_read_free(rop);
    }

    s3_handle_unref(h);
}


/* nothing more is asked of it, what waits for it fails with it */

static void
s3_handle_fail(s3_handle_t *h, int error)
{
    s3_reader_op_t  *rop;

    h->failed = 1;
    h->refs++;

    while (!s3_link_empty(&h->queue)) {
        rop = s3_link_data(h->queue.next, s3_reader_op_t, queue);
        s3_link_remove(&rop->queue);
        s3_read_result(rop, error, 0);
        s3_read_free(rop);
    }

    s3_handle_unref(h);
}


static void
s3_handle_unref(s3_handle_t *h)
{
    if (--h->refs) {
        return;
    }

    if (h->reader == NULL) {
        s3_disk_unref(h->disk);
        free(h);

        return;
    }

    h->op.run = s3_handle_close;
    h->op.done = s3_handle_closed;
    h->op.late = NULL;

    (void) s3_disk_post(h->disk, S3_LANE_SHARDS, &h->op, 1);
}


static void
s3_handle_close(s3_op_t *op)
{
    s3_handle_t *h = (s3_handle_t *) op;

    s3_shard_close(h->reader);
}


static void
s3_handle_closed(s3_op_t *op)
{
    s3_handle_t *h = (s3_handle_t *) op;

    s3_disk_unref(h->disk);
    free(h);
}


/* reads */


/* on a thread of the disk */

static void
s3_read_run(s3_op_t *op)
{
    s3_reader_op_t *rop = (s3_reader_op_t *) op;

    int           rc;
    s3_handle_t  *h;

    h = rop->handle;
    rc = 0;

    if (h->reader == NULL) {
        rc = s3_shard_open(h->disk->root, &rop->info, &h->reader);

        /* told apart from a read that fails: nothing of it is to be had */

        if (rc) {
            h->reader = NULL;
        }
    }

    if (rc == 0) {
        rc = s3_shard_read(h->reader, rop->p, rop->len, rop->offset);
    }

    op->task.error = rc;
}


static void
s3_read_done(s3_op_t *op)
{
    s3_reader_op_t *rop = (s3_reader_op_t *) op;

    int           error;
    s3_handle_t  *h;

    h = rop->handle;
    h->busy = 0;
    error = op->task.error;

    if (rop->window != NULL) {
        s3_read_result(rop, error, 0);
    }

    /* one block that is damaged does not make the others so; a file that
     * cannot be opened, or a disk that fails, has no others */

    if (error && (h->reader == NULL || error != EBADMSG)) {
        s3_handle_fail(h, error);
    }

    s3_handle_next(h);
    s3_read_free(rop);
}


static void
s3_read_late(s3_op_t *op)
{
    s3_reader_op_t *rop = (s3_reader_op_t *) op;

    if (rop->window != NULL) {
        s3_read_result(rop, ETIMEDOUT, 1);
    }

    s3_handle_fail(rop->handle, ETIMEDOUT);
}


/* what became of a read; the window may be gone after it */

static void
s3_read_result(s3_reader_op_t *rop, int error, int late)
{
    uint64_t        bit;
    s3_window_t    *w;
    s3_download_t  *d;

    w = rop->window;
    rop->window = NULL;
    d = w->download;
    bit = 1ULL << rop->shard;

    w->reading--;

    if (late) {
        w->tainted = 1;
    }

    w->shards[rop->shard] = error ? S3_SHARD_BAD : S3_SHARD_READ;

    if (error == ENOENT || error == EBADMSG) {
        w->damaged = 1;
    }

    if (error == ENOENT) {

        /* lost, or collected since the look-up: the store process knows
         * better than to count the disk as failing */

        w->er->gone |= bit;

    } else if (error && error != ECANCELED && !late) {

        if (error != EBADMSG || d == NULL || !(d->logged & bit)) {
            s3_disk_error(rop->handle->disk, error, "read of a shard");
        }

        if (d != NULL) {
            d->logged |= bit;
        }
    }

    if (w->reading) {
        return;
    }

    if (d == NULL) {
        s3_window_free(w);
        return;
    }

    if (w->state == S3_WINDOW_READ) {
        s3_window_step(w);
    }
}


static void
s3_read_free(s3_reader_op_t *rop)
{
    s3_buffer_unref(rop->client, rop->buffer);
    s3_handle_unref(rop->handle);
    free(rop);
}
