
/*
 * A window: one stripe, or the part of it that is wanted; rows of units:
 *
 *                    data units                  parity
 *              | unit 0 | unit 1 | ... |  ...  | unit k | ...
 *        row 0 |        |########| ### |       |        |
 *           lo |  ######|########| #   |       |        |
 *           hi |########|########|     |       |        |
 *
 *     #: wanted.  Read are the blocks of 64 KiB of each unit in which wanted
 *     rows lie, each to its own place in the buffer, so that the window lies
 *     there in one run.  Units that are missing, damaged or late are computed
 *     from the same rows of k others, in the same place.
 *
 *         start    loop                  disks' threads     compute thread
 *         -----> [ READ   ] --------------> blocks
 *                [ READ   ] <-------------- (one is missing:)
 *                [ WAIT_SPARE ]
 *                [ READ   ] --------------> the same blocks of others
 *                [ DECODE ] ---------------------------------> compute
 *                [ READY  ]
 *
 * The buffer has the data units, or where only one of them is touched its
 * rows alone: what a healthy read takes is what is reserved for it.  The
 * others, of which something is to be computed, go to a spare buffer, which
 * is held no longer than that takes, and never while a client is waited for.
 * Its memory is taken from the budget if there is some.  If not it takes
 * turns: one window of the client at a time has a spare that is not counted.
 * So whoever is being read goes on, whatever others hold.
 *
 * A late read still writes into the buffer it was given.  The window then
 * goes on in new ones (what was read is copied), and the old ones belong to
 * the operation.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_download.h"

#include <stdlib.h>
#include <string.h>


#define S3_WINDOW_RETRIES  16       /* by disks that come and go */


static void s3_window_opened(s3_event_t *event);
static void s3_window_round(s3_window_t *w);
static size_t s3_window_spare_room(s3_window_t *w);
static int s3_window_spare(s3_window_t *w);
static void s3_window_turn(s3_event_t *event);
static void s3_window_spare_free(s3_window_t *w);
static int s3_window_ask(s3_window_t *w, unsigned shard, uint32_t lo,
    uint32_t hi);
static uint8_t *s3_window_place(s3_window_t *w, unsigned shard, uint32_t row,
    s3_buffer_t **buffer);
static int s3_window_renew(s3_window_t *w);
static void s3_window_decode(s3_window_t *w);
static void s3_window_decode_run(s3_task_t *task);
static void s3_window_decoded(s3_task_t *task);
static void s3_window_end(s3_window_t *w, s3_window_state_e state,
    int status);
static void s3_window_lost(s3_window_t *w);


s3_window_t *
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
    s3_link_init(&w->turn.link);
    s3_link_init(&w->budget.link);
    s3_link_init(&w->spare_budget.link);

    w->client = d->client;
    w->download = d;
    w->er = d->er;
    w->er->refs++;
    w->index = d->current;
    w->pos = d->pos;
    w->wait.handler = s3_window_opened;
    w->turn.handler = s3_window_turn;
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
        w->offset = from - first * w->unit - w->first;

    } else {
        w->stride = w->unit;
        w->offset = from;
    }

    return w;
}


size_t
s3_window_room(s3_window_t *w)
{
    return (size_t) (w->alone ? 1 : w->er->extent.geometry.k) * w->stride;
}


static size_t
s3_window_spare_room(s3_window_t *w)
{
    return (size_t) w->er->n * w->stride - s3_window_room(w);
}


void
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


static void
s3_window_opened(s3_event_t *event)
{
    s3_window_t *w = s3_link_data(event, s3_window_t, wait);

    w->state = S3_WINDOW_READ;
    s3_window_step(w);
}


/*
 * Whenever nothing is being read: what has to be read yet, what has to be
 * computed, or the end.  A read may fail at once, where a queue is full: then
 * another round is taken, with one shard less.
 */

void
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
            (void) s3_window_ask(w, i, w->want_lo[i], w->want_hi[i]);
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

    if (s3_window_spare(w) == -1) {
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

        if (s3_window_ask(w, i, from, to) == 0) {
            have++;
        }
    }

    if (have < k && w->reading == 0) {
        s3_window_lost(w);
    }
}


/*
 * Room for the units that nobody asked for.  0, or -1: there will be some, or
 * none.
 */

static int
s3_window_spare(s3_window_t *w)
{
    size_t        room;
    s3_client_t  *c;

    c = w->client;
    room = s3_window_spare_room(w);

    if (w->spare != NULL || room == 0) {
        return 0;
    }

    if (c->spare != w
        && s3_budget_try(c, &w->spare_budget, S3_BUDGET_DOWNLOADS, room)
           == -1)
    {
        if (c->spare != NULL) {
            w->state = S3_WINDOW_WAIT_SPARE;
            s3_link_add(&c->spares, &w->turn.link);

            return -1;
        }

        c->spare = w;
    }

    w->spare = s3_buffer_get(c, room);

    if (w->spare == NULL) {
        s3_window_end(w, S3_WINDOW_FAILED, S3_STORE_BUSY);
        return -1;
    }

    return 0;
}


static void
s3_window_turn(s3_event_t *event)
{
    s3_window_t *w = s3_link_data(event, s3_window_t, turn);

    w->state = S3_WINDOW_READ;
    s3_window_step(w);
}


static void
s3_window_spare_free(s3_window_t *w)
{
    s3_window_t  *next;
    s3_client_t  *c;

    c = w->client;

    if (w->spare != NULL) {
        s3_buffer_unref(c, w->spare);
        w->spare = NULL;
    }

    s3_budget_free(c, &w->spare_budget);
    s3_link_remove(&w->turn.link);

    if (c->spare != w) {
        return;
    }

    c->spare = NULL;

    if (!s3_link_empty(&c->spares)) {
        next = s3_link_data(c->spares.next, s3_window_t, turn.link);
        s3_link_remove(&next->turn.link);

        c->spare = next;
        s3_client_event(c, &next->turn);
    }
}


static int
s3_window_ask(s3_window_t *w, unsigned shard, uint32_t lo, uint32_t hi)
{
    uint8_t      *p;
    s3_buffer_t  *buffer;

    p = s3_window_place(w, shard, lo, &buffer);

    return s3_window_read(w, shard, lo, hi, buffer, p);
}


/* where a row of a shard's unit stands, and in which buffer */

static uint8_t *
s3_window_place(s3_window_t *w, unsigned shard, uint32_t row,
    s3_buffer_t **buffer)
{
    unsigned  k, own;

    k = w->er->extent.geometry.k;
    own = w->alone - 1;

    if (w->alone ? shard == own : shard < k) {
        *buffer = w->buffer;
        shard = w->alone ? 0 : shard;

    } else {
        *buffer = w->spare;
        shard -= w->alone ? shard > own : k;
    }

    return (*buffer)->data + (size_t) shard * w->stride + (row - w->first);
}


/* away from buffers that late reads may write to */

static int
s3_window_renew(s3_window_t *w)
{
    uint8_t      *p;
    unsigned      i;
    s3_client_t  *c;
    s3_buffer_t  *buffer, *spare, *old, *to;

    c = w->client;
    spare = NULL;

    buffer = s3_buffer_get(c, s3_window_room(w));

    if (buffer != NULL && w->spare != NULL) {
        spare = s3_buffer_get(c, s3_window_spare_room(w));

        if (spare == NULL) {
            s3_buffer_unref(c, buffer);
            buffer = NULL;
        }
    }

    if (buffer == NULL) {
        return -1;
    }

    for (i = 0; i < w->er->n; i++) {

        if (w->shards[i] == S3_SHARD_READ) {
            p = s3_window_place(w, i, w->lo[i], &old);
            to = (old == w->buffer) ? buffer : spare;
            memcpy(to->data + (p - old->data), p, w->hi[i] - w->lo[i]);
        }
    }

    s3_buffer_unref(c, w->buffer);

    if (w->spare != NULL) {
        s3_buffer_unref(c, w->spare);
    }

    w->buffer = buffer;
    w->spare = spare;
    w->tainted = 0;

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

    uint8_t      *units[S3_MAX_DISKS];
    unsigned      i;
    s3_buffer_t  *buffer;

    for (i = 0; i < w->er->n; i++) {
        units[i] = s3_window_place(w, i, w->decode_lo, &buffer);
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

    s3_window_spare_free(w);

    /* what it has can be taken from it now */

    if (s3_budget_waited(w->client)) {
        s3_client_wake(w->client);
    }

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
            w->shards[i] = S3_SHARD_UNREAD;
        }

        s3_window_spare_free(w);

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


void
s3_window_release(s3_window_t *w)
{
    s3_link_remove(&w->link);
    w->download = NULL;

    if (w->reading || w->state == S3_WINDOW_DECODE) {
        return;
    }

    s3_window_free(w);
}


void
s3_window_free(s3_window_t *w)
{
    s3_window_spare_free(w);
    s3_link_remove(&w->wait.link);
    s3_budget_free(w->client, &w->budget);

    if (w->buffer != NULL) {
        s3_buffer_unref(w->client, w->buffer);
    }

    s3_extread_unref(w->er);
    free(w);
}
