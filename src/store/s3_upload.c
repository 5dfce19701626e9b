
/*
 * An upload: bytes in, shards on the disks out.
 *
 *     write         loop          compute thread       disks' threads
 *     -------> [ stripe FILL ]
 *              [ stripe FULL ] --> digest, parity
 *              [ stripe WRITE ] ------------------> a unit to each shard file
 *              [ stripe FREE ]  <------------------ all written, failed, late
 *
 * Two stripes, so that one is filled or computed while the other is written.
 * Each disk has an s3_ushard_t, which does one operation at a time:
 *
 *     create+write  write ...  write+finish     the last stripe is finished
 *                                               in the same operation: of a
 *                                               small object there is one
 *     abort+remove                              the upload failed or was
 *                                               aborted
 *
 * A shard that failed or is late leaves the upload and lives on until its
 * operation has come back; what it wrote is then removed, from the session's
 * own directory only: a file of that name in data/ is another's.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_client_internal.h"
#include "s3_door.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>


typedef struct s3_ushard_s   s3_ushard_t;


typedef enum {
    S3_STRIPE_FREE = 0,
    S3_STRIPE_FILL,
    S3_STRIPE_FULL,                  /* to be computed, or being */
    S3_STRIPE_WRITE
} s3_stripe_state_e;


typedef struct {
    s3_stripe_state_e     state;
    s3_buffer_t          *buffer;
    size_t                fill;      /* bytes of payload */
    uint32_t              unit;
    unsigned              pending;   /* shards that have not written it */
} s3_stripe_t;


typedef enum {
    S3_USHARD_IDLE = 0,
    S3_USHARD_WRITE,
    S3_USHARD_FINISH,                /* after a write where there is one */
    S3_USHARD_REMOVE
} s3_ushard_action_e;


struct s3_ushard_s {
    s3_op_t               op;
    s3_upload_t          *upload;    /* NULL: it left */
    s3_disk_t            *disk;
    s3_shard_info_t       info;
    s3_shard_writer_t    *writer;    /* the thread's while one is out */
    unsigned              slot;
    uint64_t              next;      /* stripe */

    /* the operation that is out */
    s3_ushard_action_e    action;
    s3_buffer_t          *buffer;
    const uint8_t        *p;
    size_t                len;

    unsigned              created:1; /* there is a file, perhaps */
    unsigned              synced:1;
};


typedef enum {
    S3_UPLOAD_WAIT_SET = 0,
    S3_UPLOAD_WAIT_MEMORY,
    S3_UPLOAD_OPEN,
    S3_UPLOAD_FINISHING,
    S3_UPLOAD_IS_FINISHED,
    S3_UPLOAD_COMMITTING,
    S3_UPLOAD_IS_FAILED,
    S3_UPLOAD_GONE                   /* only the compute task holds it */
} s3_upload_state_e;


struct s3_upload_s {
    s3_client_t          *client;
    s3_upload_pt          handler;
    void                 *data;
    s3_digest_t           digest;
    s3_upload_state_e     state;
    int                   status;    /* why it failed */

    uint64_t              size;      /* given, or UINT64_MAX */
    uint64_t              pos;       /* taken */

    uint8_t              *small;     /* size bytes, where small by size */

    s3_geometry_t         geometry;
    uint64_t              generation;
    uint8_t               shard_id[16];
    uint64_t              mask;

    size_t                capacity;  /* of payload in a stripe */
    size_t                room;      /* bytes of a stripe's buffer */
    s3_stripe_t           stripes[2];
    uint64_t              filled;    /* number of stripes that are full */
    uint64_t              computed;
    s3_task_t             compute;

    s3_ushard_t          *shards[S3_MAX_DISKS];     /* by number */
    unsigned              nshards;   /* that are still in */
    unsigned              nsynced;
    int                   error;     /* of shards that are not: errno */

    s3_event_t            wait;
    s3_event_t            event;
    s3_budget_t           budget;
    s3_holder_t           holder;

    unsigned              part:1;    /* never inline */
    unsigned              computing:1;
    unsigned              blocked:1; /* write took less than it was given */
    unsigned              tell_ready:1;
    unsigned              tell_writable:1;
    unsigned              tell_end:1;   /* FINISHED or FAILED */
};


static void s3_upload_opened(s3_event_t *event);
static void s3_upload_granted(s3_budget_t *budget);
static int s3_upload_shards(s3_upload_t *u);
static void s3_upload_too_slow(s3_holder_t *holder);
static void s3_upload_tell(s3_event_t *event);
static s3_stripe_t *s3_upload_stripe(s3_upload_t *u);
static void s3_upload_full(s3_upload_t *u, s3_stripe_t *stripe);
static void s3_upload_next(s3_upload_t *u);
static void s3_upload_compute(s3_task_t *task);
static void s3_upload_computed(s3_task_t *task);
static void s3_upload_written(s3_upload_t *u, s3_stripe_t *stripe);
static void s3_upload_free_stripe(s3_upload_t *u, s3_stripe_t *stripe);
static void s3_upload_check(s3_upload_t *u);
static void s3_upload_done(s3_upload_t *u);
static void s3_upload_fail(s3_upload_t *u, int status);
static void s3_upload_let_go(s3_upload_t *u);
static void s3_upload_free(s3_upload_t *u);

static void s3_ushard_next(s3_ushard_t *us);
static void s3_ushard_post(s3_ushard_t *us);
static void s3_ushard_run(s3_op_t *op);
static void s3_ushard_done(s3_op_t *op);
static void s3_ushard_late(s3_op_t *op);
static void s3_ushard_leave(s3_ushard_t *us, int error);
static void s3_ushard_clean(s3_ushard_t *us);
static void s3_ushard_free(s3_ushard_t *us);


s3_upload_t *
s3_upload_create(s3_client_t *c, uint64_t size, int part,
    const s3_digest_t *digest, s3_upload_pt handler, void *data)
{
    s3_upload_t  *u;

    u = calloc(1, sizeof(s3_upload_t));
    if (u == NULL) {
        return NULL;
    }

    u->client = c;
    u->handler = handler;
    u->data = data;
    u->size = size;
    u->part = part ? 1 : 0;

    s3_link_init(&u->wait.link);
    s3_link_init(&u->event.link);
    s3_link_init(&u->budget.link);
    s3_link_init(&u->holder.link);

    u->wait.handler = s3_upload_opened;
    u->event.handler = s3_upload_tell;
    u->compute.data = u;

    if (getrandom(u->shard_id, sizeof(u->shard_id), 0)
        != (ssize_t) sizeof(u->shard_id))
    {
        free(u);
        return NULL;
    }

    if (size <= (part ? 0 : S3_INLINE_MAX)) {
        u->small = malloc(size ? size : 1);

        if (u->small == NULL) {
            free(u);
            return NULL;
        }
    }

    if (digest != NULL) {
        u->digest = *digest;
    }

    c->active++;

    if (size != UINT64_MAX && size > S3_UPLOAD_MAX) {
        s3_upload_fail(u, S3_STORE_BAD_REQUEST);

    } else if (u->small != NULL) {
        u->state = S3_UPLOAD_WAIT_MEMORY;

        if (s3_budget_ask(c, &u->budget, S3_BUDGET_UPLOADS, size,
                          s3_upload_granted)
            == -1)
        {
            s3_upload_fail(u, S3_STORE_BUSY);
        }

    } else {
        s3_link_add(&c->waiting, &u->wait.link);
        s3_client_wake(c);
    }

    return u;
}


void
s3_upload_slow(s3_upload_t *u, s3_slow_pt slow)
{
    s3_holder_join(u->client, &u->holder, &u->budget, slow, u->data,
                   s3_upload_too_slow);
}


static void
s3_upload_too_slow(s3_holder_t *holder)
{
    s3_upload_t *u = s3_link_data(holder, s3_upload_t, holder);

    /* with its last byte the client is out of it */

    if (u->state == S3_UPLOAD_OPEN) {
        s3_upload_fail(u, S3_STORE_TOO_SLOW);
    }
}


/* every disk that is there is open */

static void
s3_upload_opened(s3_event_t *event)
{
    s3_upload_t *u = s3_link_data(event, s3_upload_t, wait);

    size_t          budget, n;
    uint64_t        whole;
    unsigned        i, members, usable;
    s3_client_t    *c;
    s3_page_set_t  *set;

    c = u->client;
    set = &c->set;

    n = (size_t) set->geometry.k + set->geometry.m;
    members = 0;
    usable = 0;

    for (i = 0; i < n; i++) {
        members += (set->disks[i].state == S3_DISK_MEMBER);
        usable += s3_disk_writable(c, i);
    }

    if (!s3_client_settled(c, 1)
        || (set->state == S3_STORE_BUSY
            && members < s3_quorum(&set->geometry)))
    {
        /* the store process is recovering: it knows no members yet; or
         * their directories for our session are being made */

        s3_link_add(&c->waiting, &u->wait.link);
        return;
    }

    if (set->state == S3_STORE_READ_ONLY
        || set->state == S3_STORE_UNAVAILABLE)
    {
        s3_upload_fail(u, set->state);
        return;
    }

    if (usable < s3_quorum(&set->geometry)) {
        s3_upload_fail(u, S3_STORE_SHARDS_MISSING);
        return;
    }

    u->geometry = set->geometry;
    whole = s3_stripe_size(&u->geometry);

    if (u->size <= whole) {
        u->capacity = u->size;
        u->room = n * s3_unit_size(&u->geometry, u->size, 0);
        budget = u->room;

    } else {
        u->capacity = whole;
        u->room = n * u->geometry.unit;
        budget = 2 * u->room;
    }

    u->state = S3_UPLOAD_WAIT_MEMORY;

    if (s3_budget_ask(c, &u->budget, S3_BUDGET_UPLOADS, budget,
                      s3_upload_granted)
        == -1)
    {
        s3_upload_fail(u, S3_STORE_BUSY);
    }
}


int
s3_upload_waits(s3_upload_t *u)
{
    return u->state == S3_UPLOAD_WAIT_MEMORY;
}


static void
s3_upload_granted(s3_budget_t *budget)
{
    s3_upload_t *u = s3_link_data(budget, s3_upload_t, budget);

    /* members are those of the moment the shards are opened, and so is
     * the generation (ruling 11): waiting for memory may have taken long */

    if (u->small == NULL && s3_upload_shards(u) == -1) {
        return;
    }

    u->state = S3_UPLOAD_OPEN;
    u->tell_ready = 1;
    s3_client_event(u->client, &u->event);
}


static int
s3_upload_shards(s3_upload_t *u)
{
    unsigned        i, n, slot;
    s3_client_t    *c;
    s3_ushard_t    *us;
    s3_geometry_t  *g;

    c = u->client;
    g = &u->geometry;

    if (memcmp(g, &c->set.geometry, sizeof(s3_geometry_t)) != 0) {
        s3_upload_fail(u, S3_STORE_SHARDS_MISSING);
        return -1;
    }

    u->generation = c->set.generation;
    n = (unsigned) g->k + g->m;

    for (i = 0; i < n; i++) {
        slot = s3_shard_slot(g, u->shard_id, i);

        if (!s3_disk_writable(c, slot)) {
            continue;
        }

        us = calloc(1, sizeof(s3_ushard_t));
        if (us == NULL) {
            s3_upload_fail(u, S3_STORE_ERROR);
            return -1;
        }

        us->upload = u;
        us->slot = slot;
        us->disk = c->slots[slot];
        s3_disk_ref(us->disk);

        us->op.run = s3_ushard_run;
        us->op.done = s3_ushard_done;
        us->op.late = s3_ushard_late;

        memcpy(us->info.set_id, c->set.set_id, 16);
        memcpy(us->info.shard_id, u->shard_id, 16);
        memcpy(us->info.session, c->session, 16);
        us->info.geometry = *g;
        us->info.shard = (uint8_t) i;

        u->shards[i] = us;
        u->nshards++;
    }

    if (u->nshards < s3_quorum(g)) {
        s3_upload_fail(u, S3_STORE_SHARDS_MISSING);
        return -1;
    }

    return 0;
}


/* one event a time: the handler may end the upload */

static void
s3_upload_tell(s3_event_t *event)
{
    s3_upload_t *u = s3_link_data(event, s3_upload_t, event);

    int                 status;
    s3_upload_event_e   e;

    status = S3_STORE_OK;

    if (u->state == S3_UPLOAD_IS_FAILED) {
        u->tell_ready = 0;
        u->tell_writable = 0;
    }

    if (u->tell_ready) {
        u->tell_ready = 0;
        e = S3_UPLOAD_READY;

    } else if (u->tell_writable) {
        u->tell_writable = 0;
        e = S3_UPLOAD_WRITABLE;

    } else if (u->tell_end) {
        u->tell_end = 0;
        status = u->status;
        e = (u->state == S3_UPLOAD_IS_FAILED) ? S3_UPLOAD_FAILED
                                              : S3_UPLOAD_FINISHED;
    } else {
        return;
    }

    if (u->tell_writable || u->tell_end) {
        s3_client_event(u->client, &u->event);
    }

    u->handler(u, u->data, e, status);
}


size_t
s3_upload_write(s3_upload_t *u, const void *p, size_t len)
{
    size_t          n, taken;
    s3_stripe_t    *stripe;
    const uint8_t  *src;

    if (u->state != S3_UPLOAD_OPEN || len == 0) {
        return 0;
    }

    if (len > (u->size < S3_UPLOAD_MAX ? u->size : S3_UPLOAD_MAX) - u->pos) {
        s3_upload_fail(u, S3_STORE_BAD_REQUEST);
        return 0;
    }

    if (u->small != NULL) {
        memcpy(u->small + u->pos, p, len);
        u->pos += len;

        return len;
    }

    src = p;
    taken = 0;

    while (taken < len) {

        stripe = s3_upload_stripe(u);

        if (stripe == NULL) {

            if (u->state == S3_UPLOAD_OPEN) {
                u->blocked = 1;
            }

            break;
        }

        n = u->capacity - stripe->fill;

        if (n > len - taken) {
            n = len - taken;
        }

        memcpy(stripe->buffer->data + stripe->fill, src + taken, n);

        stripe->fill += n;
        taken += n;
        u->pos += n;
    }

    return taken;
}


/*
 * The stripe that has room, or NULL.  A full one is passed on not before more
 * data comes: the last one, full or not, is then still here at finish.
 */

static s3_stripe_t *
s3_upload_stripe(s3_upload_t *u)
{
    s3_stripe_t  *stripe;

    stripe = &u->stripes[u->filled & 1];

    if (stripe->state == S3_STRIPE_FILL) {

        if (stripe->fill < u->capacity) {
            return stripe;
        }

        s3_upload_full(u, stripe);

        stripe = &u->stripes[u->filled & 1];
    }

    if (u->state != S3_UPLOAD_OPEN || stripe->state != S3_STRIPE_FREE) {
        return NULL;
    }

    stripe->buffer = s3_buffer_get(u->client, u->room);

    if (stripe->buffer == NULL) {
        s3_upload_fail(u, S3_STORE_BUSY);
        return NULL;
    }

    stripe->state = S3_STRIPE_FILL;
    stripe->fill = 0;

    return stripe;
}


static void
s3_upload_full(s3_upload_t *u, s3_stripe_t *stripe)
{
    stripe->state = S3_STRIPE_FULL;

    /* the whole unit, but for the last stripe, which alone is not full */

    stripe->unit = s3_unit_size(&u->geometry, stripe->fill, 0);

    u->filled++;

    s3_upload_next(u);
}


/* digests want the stripes in order: one after the other */

static void
s3_upload_next(s3_upload_t *u)
{
    s3_stripe_t  *stripe;

    if (u->computing) {
        return;
    }

    stripe = &u->stripes[u->computed & 1];

    if (u->computed == u->filled || stripe->state != S3_STRIPE_FULL) {
        return;
    }

    u->compute.loop = u->client->loop;
    u->compute.run = s3_upload_compute;
    u->compute.done = s3_upload_computed;

    if (s3_pool_post(u->client->compute, 0, &u->compute)) {
        s3_upload_fail(u, S3_STORE_BUSY);
        return;
    }

    u->computing = 1;
    u->client->out_there++;
}


/* on a compute thread: the loop leaves this stripe alone meanwhile */

static void
s3_upload_compute(s3_task_t *task)
{
    s3_upload_t *u = task->data;

    size_t        i, n;
    uint8_t      *p, *units[S3_MAX_DISKS];
    s3_stripe_t  *stripe;

    stripe = &u->stripes[u->computed & 1];
    p = stripe->buffer->data;

    if (u->digest.update != NULL) {
        u->digest.update(u->digest.ctx, p, stripe->fill);
    }

    /* the buffer may have been another's: no byte of that reaches a disk */

    n = (size_t) u->geometry.k * stripe->unit;
    memset(p + stripe->fill, 0, n - stripe->fill);

    if (u->geometry.m == 0) {
        return;
    }

    n = (size_t) u->geometry.k + u->geometry.m;

    for (i = 0; i < n; i++) {
        units[i] = p + i * stripe->unit;
    }

    s3_erasure_encode(&u->geometry, units, stripe->unit);
}


static void
s3_upload_computed(s3_task_t *task)
{
    s3_upload_t *u = task->data;

    unsigned      i, n;
    s3_stripe_t  *stripe;

    u->computing = 0;
    u->client->out_there--;

    if (u->state == S3_UPLOAD_GONE) {
        s3_upload_free(u);
        return;
    }

    if (u->state == S3_UPLOAD_IS_FAILED) {
        s3_upload_let_go(u);
        return;
    }

    stripe = &u->stripes[u->computed & 1];
    u->computed++;

    stripe->state = S3_STRIPE_WRITE;
    stripe->pending = u->nshards;

    n = (unsigned) u->geometry.k + u->geometry.m;

    for (i = 0; i < n; i++) {
        if (u->shards[i] != NULL) {
            s3_ushard_next(u->shards[i]);

            if (u->state == S3_UPLOAD_IS_FAILED) {
                return;
            }
        }
    }

    s3_upload_next(u);
}


/* one shard less is pending of the stripe */

static void
s3_upload_written(s3_upload_t *u, s3_stripe_t *stripe)
{
    assert(stripe->state == S3_STRIPE_WRITE && stripe->pending);

    if (--stripe->pending) {
        return;
    }

    s3_upload_free_stripe(u, stripe);

    if (u->blocked && u->state == S3_UPLOAD_OPEN) {
        u->blocked = 0;
        u->tell_writable = 1;
        s3_client_event(u->client, &u->event);
    }
}


static void
s3_upload_free_stripe(s3_upload_t *u, s3_stripe_t *stripe)
{
    if (stripe->buffer != NULL) {
        s3_buffer_unref(u->client, stripe->buffer);
        stripe->buffer = NULL;
    }

    stripe->state = S3_STRIPE_FREE;
    stripe->fill = 0;
}


int
s3_upload_finish(s3_upload_t *u)
{
    uint8_t      *small;
    unsigned      i, n;
    s3_stripe_t  *stripe;

    if (u->state == S3_UPLOAD_IS_FAILED) {
        return u->status;
    }

    if (u->state != S3_UPLOAD_OPEN) {
        return S3_STORE_BAD_REQUEST;
    }

    if (u->size != UINT64_MAX && u->pos != u->size) {
        s3_upload_fail(u, S3_STORE_BAD_REQUEST);
        return S3_STORE_BAD_REQUEST;
    }

    stripe = &u->stripes[u->filled & 1];

    if (u->small == NULL && u->pos <= (u->part ? 0 : S3_INLINE_MAX)
        && u->filled == 0)
    {
        /* of unknown size, and small after all; a part, if it is empty */

        small = malloc(u->pos ? u->pos : 1);
        if (small == NULL) {
            s3_upload_fail(u, S3_STORE_BUSY);
            return S3_STORE_BUSY;
        }

        if (u->pos) {
            memcpy(small, stripe->buffer->data, u->pos);
        }

        u->small = small;

        n = (unsigned) u->geometry.k + u->geometry.m;

        for (i = 0; i < n; i++) {
            if (u->shards[i] != NULL) {
                s3_ushard_leave(u->shards[i], 0);
            }
        }
    }

    if (u->small != NULL) {

        if (u->digest.update != NULL && u->pos) {
            u->digest.update(u->digest.ctx, u->small, u->pos);
        }

        s3_upload_done(u);

        return S3_STORE_OK;
    }

    u->state = S3_UPLOAD_FINISHING;
    s3_holder_leave(&u->holder);

    if (stripe->state == S3_STRIPE_FILL) {
        s3_upload_full(u, stripe);
    }

    if (u->state == S3_UPLOAD_IS_FAILED) {
        return u->status;
    }

    /* shards that have written all there is need be told */

    n = (unsigned) u->geometry.k + u->geometry.m;

    for (i = 0; i < n; i++) {
        if (u->shards[i] != NULL) {
            s3_ushard_next(u->shards[i]);

            if (u->state == S3_UPLOAD_IS_FAILED) {
                return u->status;
            }
        }
    }

    return S3_STORE_OK;
}


/* whether what became of a shard ends the upload, well or badly */

static void
s3_upload_check(s3_upload_t *u)
{
    if (u->state != S3_UPLOAD_OPEN && u->state != S3_UPLOAD_FINISHING) {
        return;
    }

    if (u->nshards < s3_quorum(&u->geometry)) {

        if (u->error == ENOSPC || u->error == EDQUOT) {
            s3_upload_fail(u, S3_STORE_NO_SPACE);

        } else {
            s3_upload_fail(u, u->error == EAGAIN ? S3_STORE_BUSY
                                                 : S3_STORE_SHARDS_MISSING);
        }

        return;
    }

    if (u->nsynced == u->nshards) {
        s3_upload_done(u);
    }
}


static void
s3_upload_done(s3_upload_t *u)
{
    unsigned      i, n;
    s3_ushard_t  *us;

    n = (unsigned) u->geometry.k + u->geometry.m;

    for (i = 0; i < n; i++) {
        us = u->shards[i];

        if (us != NULL) {
            u->mask |= 1ULL << us->slot;
        }
    }

    s3_upload_free_stripe(u, &u->stripes[0]);
    s3_upload_free_stripe(u, &u->stripes[1]);

    if (u->mask) {
        s3_budget_free(u->client, &u->budget);
    }

    s3_holder_leave(&u->holder);

    u->state = S3_UPLOAD_IS_FINISHED;
    u->status = S3_STORE_OK;
    u->tell_end = 1;
    s3_client_event(u->client, &u->event);
}


static void
s3_upload_fail(s3_upload_t *u, int status)
{
    u->state = S3_UPLOAD_IS_FAILED;
    u->status = status;

    s3_upload_let_go(u);

    u->tell_end = 1;
    s3_client_event(u->client, &u->event);
}


/* everything that a failed or aborted upload holds, but itself */

static void
s3_upload_let_go(s3_upload_t *u)
{
    unsigned      i;
    s3_ushard_t  *us;

    for (i = 0; i < S3_MAX_DISKS; i++) {
        us = u->shards[i];

        if (us != NULL) {
            u->shards[i] = NULL;
            us->upload = NULL;
            s3_ushard_clean(us);
        }
    }

    u->nshards = 0;

    s3_link_remove(&u->wait.link);

    if (u->computing) {
        return;
    }

    s3_upload_free_stripe(u, &u->stripes[0]);
    s3_upload_free_stripe(u, &u->stripes[1]);
    s3_budget_free(u->client, &u->budget);
}


void
s3_upload_abort(s3_upload_t *u)
{
    assert(u->state != S3_UPLOAD_COMMITTING);

    u->client->active--;
    u->state = S3_UPLOAD_GONE;
    s3_holder_leave(&u->holder);

    s3_upload_let_go(u);
    s3_link_remove(&u->event.link);

    if (!u->computing) {
        s3_upload_free(u);
    }
}


static void
s3_upload_free(s3_upload_t *u)
{
    s3_upload_let_go(u);
    s3_link_remove(&u->event.link);

    if (u->digest.free != NULL) {
        u->digest.free(u->digest.ctx);
    }

    free(u->small);
    free(u);
}


int
s3_upload_commit(s3_upload_t *u, s3_call_t *call, s3_commit_t *commit)
{
    int  rc;

    if (u->state != S3_UPLOAD_IS_FINISHED) {
        return S3_STORE_BAD_REQUEST;
    }

    commit->op = u->part ? S3_COMMIT_PART : S3_COMMIT_PUT;
    commit->size = u->pos;
    commit->is_inline = (u->small != NULL && !u->part);
    commit->data.data = (u->small != NULL) ? u->small
                                           : (const uint8_t *) "";
    commit->data.len = (u->small != NULL) ? u->pos : 0;
    memcpy(commit->shard_id, u->shard_id, 16);
    commit->mask = u->mask;
    commit->generation = u->generation;
    commit->geometry = u->geometry;

    /* before it can be on its way */

    u->state = S3_UPLOAD_COMMITTING;

    rc = s3_client_commit_upload(u->client, call, commit, u);

    if (rc != S3_STORE_OK) {
        u->state = S3_UPLOAD_IS_FINISHED;
        return rc;
    }

    /* the bytes are in the message now */

    s3_budget_free(u->client, &u->budget);

    return S3_STORE_OK;
}


/* the commit was sent: its shards are the store process's, whatever comes */

void
s3_upload_answered(s3_upload_t *u)
{
    unsigned  i;

    for (i = 0; i < S3_MAX_DISKS; i++) {
        if (u->shards[i] != NULL) {
            assert(u->shards[i]->action == S3_USHARD_IDLE);
            s3_ushard_free(u->shards[i]);
            u->shards[i] = NULL;
        }
    }

    u->nshards = 0;
    u->client->active--;
    s3_upload_free(u);
}


/* the commit was cancelled before it was sent */

void
s3_upload_unsent(s3_upload_t *u)
{
    u->state = S3_UPLOAD_IS_FINISHED;
    s3_upload_abort(u);
}


/* shards */


static void
s3_ushard_next(s3_ushard_t *us)
{
    int           last;
    s3_upload_t  *u;
    s3_stripe_t  *stripe;

    u = us->upload;

    if (us->action != S3_USHARD_IDLE || us->synced) {
        return;
    }

    stripe = &u->stripes[us->next & 1];

    if (us->next < u->computed) {
        us->buffer = stripe->buffer;
        us->p = stripe->buffer->data + (size_t) us->info.shard * stripe->unit;
        us->len = stripe->unit;
        s3_buffer_ref(us->buffer);

        last = (u->state == S3_UPLOAD_FINISHING
                && us->next == u->filled - 1);

    } else if (u->state == S3_UPLOAD_FINISHING && us->next == u->filled) {
        us->len = 0;
        last = 1;

    } else {
        return;
    }

    us->action = last ? S3_USHARD_FINISH : S3_USHARD_WRITE;
    us->info.size = u->pos;
    us->created = 1;

    s3_ushard_post(us);
}


static void
s3_ushard_post(s3_ushard_t *us)
{
    int  clean;

    clean = (us->action == S3_USHARD_REMOVE);

    if (s3_disk_post(us->disk, S3_LANE_SHARDS, &us->op, clean) == 0) {
        return;
    }

    us->action = S3_USHARD_IDLE;

    if (us->buffer != NULL) {
        s3_buffer_unref(us->disk->client, us->buffer);
        us->buffer = NULL;
    }

    s3_ushard_leave(us, EAGAIN);
}


/* on a thread of the disk */

static void
s3_ushard_run(s3_op_t *op)
{
    s3_ushard_t *us = (s3_ushard_t *) op;

    int   rc;
    char  name[33];

    if (us->action == S3_USHARD_REMOVE) {

        if (us->writer != NULL) {
            s3_shard_abort(us->writer);
            us->writer = NULL;
        }

        s3_id_text(us->info.shard_id, name);

        if (s3_door->unlinkat(us->disk->session, name, 0) == -1
            && errno != ENOENT)
        {
            op->task.error = errno;
        }

        return;
    }

    rc = 0;

    if (us->writer == NULL) {
        rc = s3_shard_create(us->disk->session, &us->info, &us->writer);
    }

    if (rc == 0 && us->len) {
        rc = s3_shard_write(us->writer, us->p, us->len);
    }

    if (rc == 0 && us->action == S3_USHARD_FINISH) {
        rc = s3_shard_finish(us->writer, &us->info);
        us->writer = NULL;
    }

    op->task.error = rc;
}


static void
s3_ushard_done(s3_op_t *op)
{
    s3_ushard_t *us = (s3_ushard_t *) op;

    int                  error;
    s3_client_t         *c;
    s3_upload_t         *u;
    s3_stripe_t         *stripe;
    s3_ushard_action_e   action;

    c = us->disk->client;
    u = us->upload;
    error = op->task.error;

    action = us->action;
    us->action = S3_USHARD_IDLE;

    if (us->buffer != NULL) {
        s3_buffer_unref(c, us->buffer);
        us->buffer = NULL;
    }

    if (action == S3_USHARD_REMOVE) {
        s3_disk_error(us->disk, error, "remove");
        s3_ushard_free(us);

        return;
    }

    if (error == ENOENT) {

        /* the session's directory is gone: have it made again */

        us->disk->writable = 0;
    }

    s3_disk_error(us->disk, error, "write");

    if (u == NULL) {
        s3_ushard_clean(us);
        return;
    }

    if (error) {
        s3_ushard_leave(us, error);
        return;
    }

    if (us->len) {
        stripe = &u->stripes[us->next & 1];
        us->next++;
        s3_upload_written(u, stripe);
    }

    if (action == S3_USHARD_FINISH) {
        us->synced = 1;
        u->nsynced++;
        s3_upload_check(u);

        return;
    }

    s3_ushard_next(us);
}


static void
s3_ushard_late(s3_op_t *op)
{
    s3_ushard_t *us = (s3_ushard_t *) op;

    if (us->upload != NULL) {
        s3_ushard_leave(us, ETIMEDOUT);
    }
}


/* of an upload that goes on without it, if enough are left */

static void
s3_ushard_leave(s3_ushard_t *us, int error)
{
    uint64_t      i;
    s3_upload_t  *u;

    u = us->upload;

    if (error && (u->error == 0 || error == ENOSPC || error == EDQUOT)) {
        u->error = error;
    }

    u->shards[us->info.shard] = NULL;
    u->nshards--;
    us->upload = NULL;

    /* of stripes that are being written it is pending no longer */

    for (i = us->next; i < u->computed; i++) {
        s3_upload_written(u, &u->stripes[i & 1]);
    }

    s3_ushard_clean(us);

    if (error) {
        s3_upload_check(u);
    }
}


/* out of its upload: what it wrote is removed once no operation is out */

static void
s3_ushard_clean(s3_ushard_t *us)
{
    if (us->action != S3_USHARD_IDLE) {
        return;
    }

    if (!us->created) {
        s3_ushard_free(us);
        return;
    }

    us->action = S3_USHARD_REMOVE;
    s3_ushard_post(us);
}


static void
s3_ushard_free(s3_ushard_t *us)
{
    s3_disk_unref(us->disk);
    free(us);
}
