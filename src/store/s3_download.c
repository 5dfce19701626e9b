
/*
 * A download: shards on the disks in, verified pieces in order out.
 *
 *     next     loop
 *     ----> [ wait: set, slot ]
 *           [ window: READ ... READY ] -> event: a piece of it
 *     release, next
 *     ----> [ the window's next piece ] -> event
 *             ...
 *           [ the next window ] ...
 *
 * Memory: the slot, S3_PIECE_SIZE, is asked for before anything is read and
 * kept to the end.  A window is
 *
 *     large     a stripe, or what of it is wanted, and the next one is read
 *               ahead: where there is memory that nobody waits for
 *     in slot   one block of one unit: where there is none; always to be had
 *
 * and is given to the owner in pieces of S3_PIECE_SIZE.  When somebody waits
 * for memory, large windows shrink to the pieces that the owner has not yet
 * released (s3_download_squeeze()): the one, and that is in the slot then.
 *
 *     buffer of a large window
 *     |   released   | given |          not yet given            |
 *                    ^^^^^^^^^ stays    is read again when its turn comes
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_download.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>


#define S3_WINDOWS         2


static void s3_download_check(s3_download_t *d);
static void s3_download_opened(s3_event_t *event);
static void s3_download_granted(s3_budget_t *budget);
static int s3_download_extend(s3_download_t *d);
static s3_window_t *s3_download_window(s3_download_t *d);
static void s3_download_too_slow(s3_holder_t *holder);
static void s3_download_tell(s3_event_t *event);
static s3_window_t *s3_download_next_window(s3_download_t *d);
static size_t s3_download_piece(s3_window_t *w, size_t at);
static int s3_download_shrink(s3_download_t *d);
static void s3_download_drop(s3_download_t *d, s3_window_t *w);
static void s3_download_weigh(s3_download_t *d);


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
    s3_link_init(&d->slot.link);
    s3_link_init(&d->large);
    s3_link_init(&d->wait.link);
    s3_link_init(&d->holder.link);
    d->event.handler = s3_download_tell;
    d->wait.handler = s3_download_opened;

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
s3_download_slow(s3_download_t *d, s3_slow_pt slow)
{
    s3_holder_join(d->client, &d->holder, &d->slot, slow, d->data,
                   s3_download_too_slow);
}


/* its owner has a piece, which is not to be taken from it */

static void
s3_download_too_slow(s3_holder_t *holder)
{
    s3_download_t *d = s3_link_data(holder, s3_download_t, holder);

    if (!d->over) {
        d->too_slow = 1;
        s3_client_event(d->client, &d->event);
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

    assert(d->npieces);

    w = s3_link_data(d->windows.next, s3_window_t, link);

    assert(w->released < w->given);

    d->npieces--;
    w->released += s3_download_piece(w, w->released);

    /* its client takes what it is given: others are squeezed before it */

    if (!s3_link_empty(&d->large)) {
        s3_link_remove(&d->large);
        s3_link_add(&d->client->large, &d->large);
    }

    if (w->released == w->len) {
        s3_download_drop(d, w);
    }

    s3_download_pump(d);
}


void
s3_download_close(s3_download_t *d)
{
    s3_window_t  *w;

    while (!s3_link_empty(&d->windows)) {
        w = s3_link_data(d->windows.next, s3_window_t, link);

        /* its operations may be out for a while yet */

        if (w->in_slot) {
            w->budget = d->slot;
            s3_link_init(&w->budget.link);
            d->slot.size = 0;
        }

        s3_window_release(w);
    }

    if (d->er != NULL) {
        s3_extread_unref(d->er);
    }

    s3_link_remove(&d->event.link);
    s3_link_remove(&d->wait.link);
    s3_link_remove(&d->large);
    s3_holder_leave(&d->holder);
    s3_budget_free(d->client, &d->slot);
    s3_pin_release(d->client, d->pin);

    d->client->active--;

    free(d->extents);
    free(d);
}


void
s3_download_pump(s3_download_t *d)
{
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

    w = s3_download_next_window(d);

    if (w != NULL) {

        if (w->state == S3_WINDOW_READY || w->state == S3_WINDOW_FAILED) {
            s3_client_event(d->client, &d->event);
        }

        return;
    }

    if (d->status != S3_STORE_OK || d->pos == d->end) {
        s3_client_event(d->client, &d->event);
    }
}


/* every disk that is there is open */

static void
s3_download_opened(s3_event_t *event)
{
    s3_download_t *d = s3_link_data(event, s3_download_t, wait);

    if (d->slot.size == 0) {

        if (s3_budget_ask(d->client, &d->slot, S3_BUDGET_DOWNLOADS,
                          S3_PIECE_SIZE, s3_download_granted)
            == -1)
        {
            d->status = S3_STORE_BUSY;
            s3_download_pump(d);
        }

        return;
    }

    d->waiting = 0;
    s3_download_pump(d);
}


int
s3_download_waits(s3_download_t *d)
{
    return !s3_link_empty(&d->slot.link);
}


static void
s3_download_granted(s3_budget_t *budget)
{
    s3_download_t *d = s3_link_data(budget, s3_download_t, slot);

    d->waiting = 0;
    s3_download_pump(d);
}


/* a window more: 0, or -1: not now */

static int
s3_download_extend(s3_download_t *d)
{
    s3_client_t  *c;
    s3_window_t  *w;

    c = d->client;

    if (d->waiting) {
        return -1;
    }

    if (d->nwindows) {

        /* one ahead only of one that gets on: what that one waits for may
         * be what this one would take */

        w = s3_link_data(d->windows.prev, s3_window_t, link);

        if (w->state < S3_WINDOW_READ || w->state == S3_WINDOW_FAILED
            || !s3_client_settled(c, 0))
        {
            return -1;
        }

    } else if (d->slot.size == 0 || !s3_client_settled(c, 0)) {
        d->waiting = 1;
        s3_link_add(&c->waiting, &d->wait.link);
        s3_client_wake(c);

        return -1;
    }

    if (d->pos == d->extents[d->current].offset
                  + d->extents[d->current].size)
    {
        if (d->er != NULL) {
            s3_extread_unref(d->er);
            d->er = NULL;
        }

        d->current++;
    }

    if (d->er == NULL) {
        d->er = s3_extread_create(&d->extents[d->current]);

        if (d->er == NULL) {
            d->status = S3_STORE_BUSY;
            return -1;
        }
    }

    w = s3_download_window(d);

    if (w == NULL) {
        return -1;
    }

    s3_link_add(&d->windows, &w->link);
    d->nwindows++;
    d->pos += w->len;

    s3_download_weigh(d);
    s3_window_start(w);

    return 0;
}


/* the next one, with its memory; NULL: not now, or d->status */

static s3_window_t *
s3_download_window(s3_download_t *d)
{
    uint64_t        offset, stripe, len, from;
    uint32_t        unit, row, end;
    s3_extent_t    *e;
    s3_window_t    *w;
    s3_geometry_t  *g;

    e = &d->extents[d->current];
    g = &e->geometry;

    offset = d->pos - e->offset;
    stripe = s3_stripe_size(g);
    from = offset % stripe;
    len = stripe - from;

    if (len > e->size - offset) {
        len = e->size - offset;
    }

    if (len > d->end - d->pos) {
        len = d->end - d->pos;
    }

    w = s3_window_create(d, offset, len);

    if (w == NULL) {
        d->status = S3_STORE_BUSY;
        return NULL;
    }

    /* without another window the slot is free */

    if (d->nwindows == 0 && s3_window_room(w) <= d->slot.size) {
        w->in_slot = 1;
        return w;
    }

    if (s3_budget_try(d->client, &w->budget, S3_BUDGET_DOWNLOADS,
                      s3_window_room(w))
        == 0)
    {
        return w;
    }

    s3_window_free(w);

    if (d->nwindows) {
        return NULL;
    }

    unit = s3_unit_size(g, e->size, offset / stripe);
    row = (uint32_t) (from % unit);
    end = row - row % S3_BLOCK_SIZE + S3_BLOCK_SIZE;
    end = (end < unit) ? end : unit;

    w = s3_window_create(d, offset, (len < end - row) ? len : end - row);

    if (w == NULL) {
        d->status = S3_STORE_BUSY;
        return NULL;
    }

    w->in_slot = 1;

    return w;
}


size_t
s3_download_take(s3_download_t *d, const uint8_t **p)
{
    size_t        len;
    s3_window_t  *w;

    if (d->asked || d->over) {
        return 0;
    }

    w = s3_download_next_window(d);

    if (w == NULL || w->state != S3_WINDOW_READY) {
        return 0;
    }

    len = s3_download_piece(w, w->given);
    *p = w->buffer->data + w->offset + w->given;

    w->given += len;
    d->npieces++;

    return len;
}


static void
s3_download_tell(s3_event_t *event)
{
    s3_download_t *d = s3_link_data(event, s3_download_t, event);

    size_t          len;
    s3_window_t    *w;
    const uint8_t  *p;

    if (d->too_slow && !d->over) {
        d->asked = 0;
        d->over = 1;
        d->handler(d, d->data, S3_DOWNLOAD_FAILED, S3_STORE_TOO_SLOW, NULL,
                   0);
        return;
    }

    if (!d->asked || d->over) {
        return;
    }

    w = s3_download_next_window(d);

    if (w != NULL && w->state == S3_WINDOW_READY) {
        d->asked = 0;
        len = s3_download_take(d, &p);

        d->handler(d, d->data, S3_DOWNLOAD_DATA, S3_STORE_OK, p, len);

        return;
    }

    if (w != NULL) {

        if (w->state == S3_WINDOW_FAILED) {
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


/* of which the next piece is, or NULL: all of them are given */

static s3_window_t *
s3_download_next_window(s3_download_t *d)
{
    s3_link_t    *l;
    s3_window_t  *w;

    for (l = d->windows.next; l != &d->windows; l = l->next) {
        w = s3_link_data(l, s3_window_t, link);

        if (w->given < w->len) {
            return w;
        }
    }

    return NULL;
}


/* bytes of the piece that begins there: pages of two never overlap but for
 * one, where a window was shrunk between them */

static size_t
s3_download_piece(s3_window_t *w, size_t at)
{
    size_t  len;

    len = S3_PIECE_SIZE - (w->offset + at) % S3_PIECE_SIZE;

    return (len < w->len - at) ? len : w->len - at;
}


int
s3_download_squeeze(s3_client_t *c)
{
    s3_link_t  *l;

    for (l = c->large.next; l != &c->large; l = l->next) {

        if (s3_download_shrink(s3_link_data(l, s3_download_t, large))) {
            return 1;
        }
    }

    return 0;
}


/*
 * To what its owner has, if it has something: then its client is what is
 * waited for.  Returns whether there was anything to take.
 */

static int
s3_download_shrink(s3_download_t *d)
{
    size_t        kept, before;
    s3_client_t  *c;
    s3_link_t    *l;
    s3_window_t  *w, *last;

    c = d->client;
    last = s3_link_data(d->windows.prev, s3_window_t, link);

    if (d->npieces == 0 || last->state != S3_WINDOW_READY) {
        return 0;
    }

    before = c->reserved;

    /* windows of which nothing is given, and the rest of the last that is
     * left: the first has been given from */

    while (last->given == 0) {
        d->pos = last->pos;
        s3_download_drop(d, last);
        last = s3_link_data(d->windows.prev, s3_window_t, link);
    }

    last->len = last->given;
    d->pos = last->pos + last->given;

    if (d->current != last->index) {
        s3_extread_unref(d->er);
        d->er = last->er;
        d->er->refs++;
        d->current = last->index;
    }

    for (l = d->windows.next; l != &d->windows; l = l->next) {
        w = s3_link_data(l, s3_window_t, link);

        if (w->in_slot) {
            continue;
        }

        kept = s3_buffer_keep(c, w->buffer, w->offset + w->released,
                              w->offset + w->given);

        if (w == s3_link_data(d->windows.next, s3_window_t, link)
            && kept <= d->slot.size)
        {
            w->in_slot = 1;
            kept = 0;
        }

        s3_budget_shrink(c, &w->budget, kept);
    }

    s3_download_weigh(d);

    return c->reserved < before;
}


/* a window is done with */

static void
s3_download_drop(s3_download_t *d, s3_window_t *w)
{
    d->nwindows--;
    s3_window_release(w);
    s3_download_weigh(d);
}


/* whether there is something to be taken from it */

static void
s3_download_weigh(s3_download_t *d)
{
    s3_link_t    *l;
    s3_window_t  *w;

    for (l = d->windows.next; l != &d->windows; l = l->next) {
        w = s3_link_data(l, s3_window_t, link);

        if (w->budget.size) {

            if (s3_link_empty(&d->large)) {
                s3_link_add(&d->client->large, &d->large);
            }

            return;
        }
    }

    s3_link_remove(&d->large);
}
