
/*
 * Stripe buffers and the budget they are taken from.  A buffer is a mapping
 * of its own: given back it lowers the process's RSS for certain, which
 * free() of a large block does not, and pages of it that nobody touched cost
 * nothing.
 */


#include "s3_client_internal.h"

#include <stdlib.h>
#include <sys/mman.h>


#define S3_BUFFERS_FREE   8
#define S3_BUFFERS_IDLE   1000     /* ms */


static void s3_buffer_destroy(s3_client_t *c, s3_buffer_t *buffer);


s3_buffer_t *
s3_buffer_get(s3_client_t *c, size_t size)
{
    s3_link_t    *l;
    s3_buffer_t  *buffer;

    size = (size + S3_PAGE_SIZE - 1) & ~((size_t) S3_PAGE_SIZE - 1);

    /* the newest first: its pages are warm */

    for (l = c->buffers.prev; l != &c->buffers; l = l->prev) {
        buffer = s3_link_data(l, s3_buffer_t, link);

        if (buffer->size == size) {
            s3_link_remove(&buffer->link);
            c->nbuffers--;
            buffer->refs = 1;

            return buffer;
        }
    }

    buffer = malloc(sizeof(s3_buffer_t));
    if (buffer == NULL) {
        return NULL;
    }

    buffer->data = mmap(NULL, size, PROT_READ|PROT_WRITE,
                        MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (buffer->data == MAP_FAILED) {
        free(buffer);
        return NULL;
    }

    s3_link_init(&buffer->link);
    buffer->size = size;
    buffer->refs = 1;

    return buffer;
}


void
s3_buffer_ref(s3_buffer_t *buffer)
{
    buffer->refs++;
}


void
s3_buffer_unref(s3_client_t *c, s3_buffer_t *buffer)
{
    if (--buffer->refs) {
        return;
    }

    buffer->freed = s3_now();
    s3_link_add(&c->buffers, &buffer->link);
    c->nbuffers++;

    if (c->nbuffers > S3_BUFFERS_FREE) {
        s3_buffer_destroy(c, s3_link_data(c->buffers.next, s3_buffer_t,
                                          link));
    }
}


void
s3_buffer_trim(s3_client_t *c, int all)
{
    uint64_t      now;
    s3_buffer_t  *buffer;

    now = s3_now();

    while (!s3_link_empty(&c->buffers)) {
        buffer = s3_link_data(c->buffers.next, s3_buffer_t, link);

        if (!all && now - buffer->freed < S3_BUFFERS_IDLE) {
            break;
        }

        s3_buffer_destroy(c, buffer);
    }
}


static void
s3_buffer_destroy(s3_client_t *c, s3_buffer_t *buffer)
{
    s3_link_remove(&buffer->link);
    c->nbuffers--;

    (void) munmap(buffer->data, buffer->size);
    free(buffer);
}


/* what is larger than all of the budget has it alone */

static int
s3_budget_fits(s3_client_t *c, size_t size)
{
    return c->reserved == 0
           || (c->reserved <= c->conf->memory
               && size <= c->conf->memory - c->reserved);
}


void
s3_budget_ask(s3_client_t *c, s3_budget_t *budget, size_t size,
    void (*handler)(s3_budget_t *budget))
{
    budget->size = 0;
    budget->wanted = size;
    budget->handler = handler;

    s3_link_add(&c->budgets, &budget->link);
    s3_client_wake(c);
}


int
s3_budget_try(s3_client_t *c, s3_budget_t *budget, size_t size)
{
    if (!s3_link_empty(&c->budgets) || !s3_budget_fits(c, size)) {
        return -1;
    }

    s3_link_init(&budget->link);
    budget->size = size;
    c->reserved += size;

    return 0;
}


void
s3_budget_free(s3_client_t *c, s3_budget_t *budget)
{
    s3_link_remove(&budget->link);

    if (budget->size) {
        c->reserved -= budget->size;
        budget->size = 0;

        if (!s3_link_empty(&c->budgets)) {
            s3_client_wake(c);
        }
    }
}


void
s3_budget_grant(s3_client_t *c)
{
    s3_budget_t  *budget;

    while (!s3_link_empty(&c->budgets)) {
        budget = s3_link_data(c->budgets.next, s3_budget_t, link);

        if (!s3_budget_fits(c, budget->wanted)) {
            break;
        }

        s3_link_remove(&budget->link);
        budget->size = budget->wanted;
        c->reserved += budget->size;

        budget->handler(budget);
    }
}
