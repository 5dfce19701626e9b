
/*
 * Stripe buffers and the budget they are taken from.  A buffer is a mapping
 * of its own: given back it lowers the process's RSS for certain, which
 * free() of a large block does not, and pages of it that nobody touched cost
 * nothing.
 *
 * Budget: conf->memory, M, is shared by uploads and downloads.
 *
 *     0            M/4                         3M/4             M
 *     |  uploads'   |   whoever comes            |  downloads'  |
 *
 * A quarter is each one's own, which the other cannot take: neither can stop
 * the other for good.  For the rest they wait in the order they came, each in
 * its own queue.  What each takes, and who waits how long, is in
 * docs/design.md, "Memory".
 *
 *   - an upload asks once, for all it needs, before its body is read
 *   - a download asks once, for its slot of 64 KiB, and keeps it to its end:
 *     what has begun goes on with that alone and never waits for memory again
 *   - anything more a download only tries for: it gets it while nobody waits
 *     whom it could be given to
 *   - when somebody waits, what downloads hold beyond their slots is taken
 *     back from those whose clients are slower than the store: it is read
 *     again later.  For an upload no more is taken than what is over the
 *     downloads' own quarter
 *   - where that is not enough, uploads and downloads are ended whose clients
 *     are slower than they may be: the slowest first, no more of them than it
 *     takes, and none where all of them would not be enough
 *
 * Each class gets one request that is larger than all it may have, alone.
 * So the bound is M, or where M is small one such request of each class.
 */


#include "s3_client_internal.h"

#include <stdlib.h>
#include <sys/mman.h>


#define S3_BUFFERS_FREE   64
#define S3_BUFFERS_IDLE   1000     /* ms */

#define S3_HOLDERS_AGAIN  100      /* ms: between two looks at clients */
#define S3_HOLDERS_GOING  1000     /* ms: to give their memory back */


static void s3_buffer_room(s3_client_t *c, size_t size);
static void s3_buffer_destroy(s3_client_t *c, s3_buffer_t *buffer);

static size_t s3_budget_rest(s3_client_t *c, s3_budget_class_e class);
static int s3_budget_fits(s3_client_t *c, s3_budget_class_e class,
    size_t size);
static int s3_budget_own(s3_client_t *c, s3_budget_class_e class,
    size_t size);
static s3_budget_t *s3_budget_first(s3_client_t *c, s3_budget_class_e class);
static void s3_budget_give(s3_client_t *c, s3_budget_t *budget);
static void s3_holders_judge(s3_client_t *c, s3_budget_t *waiting);
static int s3_holders_fit(s3_client_t *c, s3_budget_t *waiting,
    size_t freed[S3_BUDGET_LAST]);
static int s3_holders_compare(const void *one, const void *two);


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

            s3_buffer_room(c, size - buffer->resident);

            c->resident += size - buffer->resident;
            buffer->resident = size;

            return buffer;
        }
    }

    s3_buffer_room(c, size);

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
    buffer->resident = size;
    buffer->refs = 1;

    c->resident += size;

    return buffer;
}


/* free buffers are kept only where they do not add to what may be used */

static void
s3_buffer_room(s3_client_t *c, size_t size)
{
    while (!s3_link_empty(&c->buffers)
           && (c->resident > c->conf->memory
               || size > c->conf->memory - c->resident))
    {
        s3_buffer_destroy(c, s3_link_data(c->buffers.next, s3_buffer_t,
                                          link));
    }
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

    s3_buffer_room(c, 0);

    if (c->nbuffers > S3_BUFFERS_FREE) {
        s3_buffer_destroy(c, s3_link_data(c->buffers.next, s3_buffer_t,
                                          link));
    }
}


size_t
s3_buffer_keep(s3_client_t *c, s3_buffer_t *buffer, size_t from, size_t to)
{
    from &= ~((size_t) S3_PAGE_SIZE - 1);
    to = (to + S3_PAGE_SIZE - 1) & ~((size_t) S3_PAGE_SIZE - 1);

    /* a failure leaves pages where they were: more than is counted, until
     * the buffer is used again */

    if (from) {
        (void) madvise(buffer->data, from, MADV_DONTNEED);
    }

    if (to < buffer->size) {
        (void) madvise(buffer->data + to, buffer->size - to, MADV_DONTNEED);
    }

    c->resident -= buffer->resident - (to - from);
    buffer->resident = to - from;

    return buffer->resident;
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
    c->resident -= buffer->resident;

    (void) munmap(buffer->data, buffer->size);
    free(buffer);
}


/*
 * What the class may have yet.  Its own quarter is there whatever the other
 * has taken, even were that too much.
 */

static size_t
s3_budget_rest(s3_client_t *c, s3_budget_class_e class)
{
    size_t  share, used, other, rest, own;

    share = c->conf->memory / 4;
    other = c->held[!class];

    used = c->reserved + (other < share ? share - other : 0);
    rest = (used < c->conf->memory) ? c->conf->memory - used : 0;
    own = (c->held[class] < share) ? share - c->held[class] : 0;

    return (rest > own) ? rest : own;
}


static int
s3_budget_fits(s3_client_t *c, s3_budget_class_e class, size_t size)
{
    size_t  share;

    if (size <= s3_budget_rest(c, class)) {
        return 1;
    }

    /* what is larger than all of it has it alone */

    share = c->conf->memory / 4;

    return c->held[class] == 0 && size > c->conf->memory - share;
}


/* within its own quarter, where it is in nobody's way */

static int
s3_budget_own(s3_client_t *c, s3_budget_class_e class, size_t size)
{
    size_t  share;

    share = c->conf->memory / 4;

    return c->held[class] <= share && size <= share - c->held[class];
}


/* who waits longest, or NULL */

static s3_budget_t *
s3_budget_first(s3_client_t *c, s3_budget_class_e class)
{
    if (s3_link_empty(&c->budgets[class])) {
        return NULL;
    }

    return s3_link_data(c->budgets[class].next, s3_budget_t, link);
}


static void
s3_budget_give(s3_client_t *c, s3_budget_t *budget)
{
    c->nwaiting -= !s3_link_empty(&budget->link);
    s3_link_remove(&budget->link);
    budget->size = budget->wanted;
    c->held[budget->class] += budget->size;
    c->reserved += budget->size;
}


int
s3_budget_ask(s3_client_t *c, s3_budget_t *budget, s3_budget_class_e class,
    size_t size, void (*handler)(s3_budget_t *budget))
{
    if (c->nwaiting >= s3_conf_queue(c->conf)) {
        return -1;
    }

    budget->class = class;
    budget->size = 0;
    budget->wanted = size;
    budget->asked = ++c->nasked;
    budget->handler = handler;

    s3_link_add(&c->budgets[class], &budget->link);
    c->nwaiting++;
    s3_client_wake(c);

    return 0;
}


int
s3_budget_try(s3_client_t *c, s3_budget_t *budget, s3_budget_class_e class,
    size_t size)
{
    if (!s3_link_empty(&c->budgets[class])
        || (s3_budget_waited(c) && !s3_budget_own(c, class, size))
        || size > s3_budget_rest(c, class))
    {
        return -1;
    }

    budget->class = class;
    budget->wanted = size;
    s3_budget_give(c, budget);

    return 0;
}


void
s3_budget_shrink(s3_client_t *c, s3_budget_t *budget, size_t size)
{
    if (size < budget->size) {
        c->held[budget->class] -= budget->size - size;
        c->reserved -= budget->size - size;
        budget->size = size;

        if (s3_budget_waited(c)) {
            s3_client_wake(c);
        }
    }
}


void
s3_budget_free(s3_client_t *c, s3_budget_t *budget)
{
    int  waiting;

    waiting = !s3_link_empty(&budget->link);

    c->nwaiting -= waiting;
    s3_link_remove(&budget->link);
    s3_budget_shrink(c, budget, 0);

    /* whoever stood behind it may want less */

    if (waiting && s3_budget_waited(c)) {
        s3_client_wake(c);
    }
}


int
s3_budget_waited(s3_client_t *c)
{
    return c->nwaiting != 0;
}


void
s3_budget_grant(s3_client_t *c)
{
    s3_budget_t  *first, *other, *u, *d;

    for ( ;; ) {
        u = s3_budget_first(c, S3_BUDGET_UPLOADS);
        d = s3_budget_first(c, S3_BUDGET_DOWNLOADS);

        first = (u == NULL || (d != NULL && d->asked < u->asked)) ? d : u;
        other = (first == d) ? u : d;

        if (first == NULL) {
            return;
        }

        if (!s3_budget_fits(c, first->class, first->wanted)) {

            /* who came later takes nothing of what the first waits for */

            if (other != NULL
                && s3_budget_own(c, other->class, other->wanted))
            {
                first = other;

            } else if ((d != NULL || c->held[S3_BUDGET_DOWNLOADS]
                                     > c->conf->memory / 4)
                       && s3_download_squeeze(c))
            {
                continue;

            } else {

                /* large windows that are being read are taken first; what
                 * holders have comes back with a turn of its own */

                if (s3_link_empty(&c->large)) {
                    s3_holders_judge(c, first);
                }

                return;
            }
        }

        s3_budget_give(c, first);
        first->handler(first);
    }
}


void
s3_holder_join(s3_client_t *c, s3_holder_t *holder, s3_budget_t *budget,
    s3_slow_pt slow, void *data, void (*end)(s3_holder_t *holder))
{
    holder->budget = budget;
    holder->slow = slow;
    holder->data = data;
    holder->end = end;

    s3_link_add(&c->holders, &holder->link);
}


void
s3_holder_leave(s3_holder_t *holder)
{
    s3_link_remove(&holder->link);
}


/*
 * Ends slow clients, where the one that waits can have its memory by that.
 * It is looked at not at each turn, but at the latest with the timer.
 */

static void
s3_holders_judge(s3_client_t *c, s3_budget_t *waiting)
{
    size_t         i, n, freed[S3_BUDGET_LAST], slow[S3_BUDGET_LAST];
    uint64_t       now;
    s3_link_t     *l;
    s3_holder_t   *holder, **list;

    now = s3_now();

    if (now - c->judged < S3_HOLDERS_AGAIN) {
        return;
    }

    c->judged = now;

    freed[S3_BUDGET_UPLOADS] = 0;
    freed[S3_BUDGET_DOWNLOADS] = 0;
    n = 0;

    /* those that were ended, and have not let go yet */

    for (l = c->holders.next; l != &c->holders; l = l->next) {
        holder = s3_link_data(l, s3_holder_t, link);

        if (holder->ended) {
            if (now - holder->ended < S3_HOLDERS_GOING) {
                freed[holder->budget->class] += holder->budget->size;
            }

        } else if (holder->budget->size) {
            n++;
        }
    }

    if (n == 0 || s3_holders_fit(c, waiting, freed)) {
        return;
    }

    list = malloc(n * sizeof(s3_holder_t *));
    if (list == NULL) {
        return;
    }

    slow[S3_BUDGET_UPLOADS] = freed[S3_BUDGET_UPLOADS];
    slow[S3_BUDGET_DOWNLOADS] = freed[S3_BUDGET_DOWNLOADS];
    n = 0;

    for (l = c->holders.next; l != &c->holders; l = l->next) {
        holder = s3_link_data(l, s3_holder_t, link);

        if (holder->ended || holder->budget->size == 0) {
            continue;
        }

        holder->rate = holder->slow(holder->data);

        if (holder->rate >= 0) {
            list[n++] = holder;
            slow[holder->budget->class] += holder->budget->size;
        }
    }

    if (s3_holders_fit(c, waiting, slow)) {

        qsort(list, n, sizeof(s3_holder_t *), s3_holders_compare);

        for (i = 0; i < n && !s3_holders_fit(c, waiting, freed); i++) {
            holder = list[i];

            /* of the others' quarter nothing is had */

            if (holder->budget->class != waiting->class
                && c->held[holder->budget->class]
                   - freed[holder->budget->class]
                   <= c->conf->memory / 4)
            {
                continue;
            }

            freed[holder->budget->class] += holder->budget->size;
            holder->ended = now;

            s3_client_log(c, S3_LOG_INFO, "a client is slower than others "
                          "can wait for: %lld bytes/s",
                          (long long) holder->rate);

            holder->end(holder);
        }
    }

    free(list);
}


/* were that much not held */

static int
s3_holders_fit(s3_client_t *c, s3_budget_t *waiting,
    size_t freed[S3_BUDGET_LAST])
{
    int       fits;
    unsigned  i;

    for (i = 0; i < S3_BUDGET_LAST; i++) {
        c->held[i] -= freed[i];
        c->reserved -= freed[i];
    }

    fits = s3_budget_fits(c, waiting->class, waiting->wanted);

    for (i = 0; i < S3_BUDGET_LAST; i++) {
        c->held[i] += freed[i];
        c->reserved += freed[i];
    }

    return fits;
}


/* the slowest first; of two the one that came first */

static int
s3_holders_compare(const void *one, const void *two)
{
    const s3_holder_t  *a = *(s3_holder_t *const *) one;
    const s3_holder_t  *b = *(s3_holder_t *const *) two;

    if (a->rate != b->rate) {
        return (a->rate < b->rate) ? -1 : 1;
    }

    return (a->budget->asked < b->budget->asked) ? -1 : 1;
}
