
/*
 * The shards that a download reads from: opened when they are first wanted,
 * read one operation at a time, closed with the extent.
 *
 * A read that is late still writes into the buffer it was given, and holds a
 * reference to it; its window goes on without it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "s3_download.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


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


s3_extread_t *
s3_extread_create(const s3_extent_t *extent)
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


void
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


int
s3_window_read(s3_window_t *w, unsigned shard, uint32_t lo, uint32_t hi,
    s3_buffer_t *buffer, uint8_t *p)
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
    rop->buffer = buffer;
    s3_buffer_ref(buffer);
    rop->p = p;
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

        s3_client_send_shard(rop->client, w->er->extent.shard_id,
                             s3_shard_slot(&w->er->extent.geometry,
                                           w->er->extent.shard_id,
                                           rop->shard));
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
