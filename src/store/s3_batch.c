
/*
 * Commits: one batch at a time, gathered while the one before it is synced.
 *
 *            lead                     other members
 *     DECIDE   begin, decide each         -
 *     PREPARE  seal, flush, sync      begin, apply, seal, flush, sync
 *              --- all answered or dropped, at least a quorum prepared ---
 *     COMMIT   commit                 commit
 *              --- all answered or dropped, at least a quorum committed ---
 *              answers, renames
 *
 * Fewer than a quorum prepared: all roll back and the commits are refused
 * (ruling 7).  Fewer than a quorum committed: undecided; recovery settles it
 * and its commits wait in limbo until then.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "s3_brain.h"


#define S3_GENERATION_AGAIN   1000      /* ms, where a disk is full */

/*
 * Bytes of effects past which a batch takes no more commits.  One alone may
 * have some 40,000 effects (COMPLETE of 10,000 parts over an object of as
 * many), so that a batch has at most half of what a change's number has room
 * for (an effect is not under 26 bytes).
 */
#define S3_BATCH_EFFECTS      (8 * 1024 * 1024)


static s3_question_t *s3_question_internal(s3_process_t *p,
    const s3_commit_t *commit);
static void s3_commit_check(s3_process_t *p, s3_commit_t *commit);
static void s3_batch_decide(s3_batch_t *b);
static void s3_batch_decide_run(s3_op_t *op);
static void s3_batch_decide_finish(s3_op_t *op);
static void s3_batch_put_back(s3_batch_t *b, unsigned n);
static void s3_batch_prepare(s3_batch_t *b, s3_disk_t *lead);
static void s3_batch_prepare_run(s3_op_t *op);
static void s3_batch_prepare_finish(s3_op_t *op);
static void s3_batch_prepared(s3_batch_t *b);
static void s3_batch_commit_run(s3_op_t *op);
static void s3_batch_commit_finish(s3_op_t *op);
static void s3_batch_committed(s3_batch_t *b);
static void s3_batch_rollback(s3_batch_t *b);
static void s3_batch_rollback_run(s3_op_t *op);
static void s3_batch_end(s3_batch_t *b);
static int s3_batch_apply(s3_batch_t *b, s3_index_t *index);
static uint64_t s3_batch_spare(s3_batch_t *b);
static s3_op_t *s3_batch_op(s3_batch_t *b, s3_disk_t *disk, s3_op_pt run,
    s3_op_pt finish);
static void s3_batch_op_free(s3_op_t *op);
static void s3_limbo_run(s3_op_t *op);
static void s3_limbo_finish(s3_op_t *op);


void
s3_commit_queue(s3_process_t *p, s3_question_t *q)
{
    /*
     * Read-only is an answer at once; while recovering, commits wait: a
     * reload costs a moment, not a failure
     */

    if (p->state == S3_STORE_READ_ONLY || p->state == S3_STORE_UNAVAILABLE) {
        s3_question_answer(q, p->state, NULL, 0);
        return;
    }

    if (p->queued >= S3_CONF_QUEUES * s3_conf_queue(&p->conf)
        || p->queued_bytes > S3_CONF_QUEUES * s3_conf_queue_size(&p->conf))
    {
        s3_question_answer(q, S3_STORE_BUSY, NULL, 0);
        return;
    }

    p->queued++;
    p->queued_bytes += q->len;
    STAILQ_INSERT_TAIL(&p->queue, q, link);

    s3_batch_start(p);
}


int
s3_commit_internal(s3_process_t *p, const s3_commit_t *commit,
    void (*answered)(s3_question_t *q, s3_verdict_t *verdict), void *context)
{
    s3_question_t  *q;

    if (p->state != S3_STORE_OK) {
        return -1;
    }

    q = s3_question_internal(p, commit);
    if (q == NULL) {
        return -1;
    }

    q->answered = answered;
    q->context = context;

    p->queued++;
    STAILQ_INSERT_TAIL(&p->queue, q, link);

    s3_batch_start(p);

    return 0;
}


static s3_question_t *
s3_question_internal(s3_process_t *p, const s3_commit_t *commit)
{
    s3_question_t  *q;

    q = calloc(1, sizeof(s3_question_t));
    if (q == NULL) {
        return NULL;
    }

    q->process = p;
    q->type = S3_MSG_COMMIT;
    q->refs = 1;
    q->commit = *commit;

    return q;
}


/*
 * What the index can't know: whether enough of the shards lie on disks that
 * stayed members from the shards' opening until now (ruling 11).
 */

static void
s3_commit_check(s3_process_t *p, s3_commit_t *commit)
{
    unsigned  slot;
    uint64_t  valid;

    if (commit->op != S3_COMMIT_REPAIRED
        && ((commit->op != S3_COMMIT_PUT && commit->op != S3_COMMIT_PART)
            || commit->is_inline || commit->size == 0))
    {
        return;
    }

    valid = 0;

    for (slot = 0; slot < p->conf.ndisks; slot++) {
        if (((commit->mask >> slot) & 1) && p->since[slot]
            && p->since[slot] <= commit->generation)
        {
            valid |= (uint64_t) 1 << slot;
        }
    }

    if (commit->op == S3_COMMIT_REPAIRED) {
        commit->mask = valid;
        commit->refuse = valid ? 0 : S3_STORE_SHARDS_MISSING;
        return;
    }

    if (commit->geometry.k + commit->geometry.m != (int) p->conf.ndisks
        || commit->geometry.k != p->geometry.k)
    {
        commit->refuse = S3_STORE_BAD_REQUEST;
        return;
    }

    if ((unsigned) __builtin_popcountll(valid) < p->quorum) {
        commit->refuse = S3_STORE_SHARDS_MISSING;
        return;                  /* mask as it was: what is to be unlinked */
    }

    commit->mask = valid;
}


void
s3_batch_start(s3_process_t *p)
{
    unsigned          max, slot;
    int64_t           mtime;
    s3_batch_t       *b;
    struct timespec   ts;
    s3_commit_t       commit;
    s3_questions_t    refused;
    s3_question_t    *q;
    s3_verdict_t      verdict;
    size_t            bytes;

    if (p->batch || s3_view_pauses(p)) {
        return;
    }

    if (p->state == S3_STORE_READ_ONLY || p->state == S3_STORE_UNAVAILABLE) {

        /* what waited for a recovery that found no quorum */

        STAILQ_INIT(&refused);
        STAILQ_CONCAT(&refused, &p->queue);
        p->queued = 0;
        p->queued_bytes = 0;

        while ((q = STAILQ_FIRST(&refused)) != NULL) {
            STAILQ_REMOVE_HEAD(&refused, link);

            if (q->answered) {
                memset(&verdict, 0, sizeof(s3_verdict_t));
                verdict.status = p->state;
                q->answered(q, &verdict);
            }

            s3_question_answer(q, p->state, NULL, 0);
        }

        return;
    }

    if (p->recovering == 1 || p->recovery_due || p->paused
        || (p->state != S3_STORE_OK && p->recovering != 2)
        || s3_members(p, NULL) < p->quorum)
    {
        return;
    }

    /* while recovering, users' commits wait for the generation */

    if (!p->generation_due && (p->recovering || STAILQ_EMPTY(&p->queue))) {
        return;
    }

    /*
     * A full disk has no room for a generation either: with users' commits it
     * is tried at once, by itself in a while
     */

    if (p->generation_due && p->now < p->next_generation
        && (p->recovering || STAILQ_EMPTY(&p->queue)))
    {
        return;
    }

    b = calloc(1, sizeof(s3_batch_t));
    if (b == NULL) {
        abort();
    }

    b->process = p;
    b->refs = 1;
    b->effects.max = 256 * 1024 * 1024;
    b->before = p->position;
    b->position = p->position;
    b->position.sequence++;
    b->keep_from = b->position.sequence > S3_HISTORY
                       ? b->position.sequence - S3_HISTORY : 0;

    p->batch = b;

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    mtime = (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;

    if (p->generation_due) {
        b->position.generation++;

        memset(&commit, 0, sizeof(s3_commit_t));
        commit.op = S3_COMMIT_GENERATION;
        commit.generation = b->position.generation;
        (void) s3_members(p, &commit.mask);

        for (slot = 0; slot < p->conf.ndisks; slot++) {
            if (p->since[slot] == 0) {
                commit.fresh |= (uint64_t) 1 << slot;
            }
        }

        q = s3_question_internal(p, &commit);
        if (q == NULL) {
            abort();
        }

        b->questions[b->n++] = q;
    }

    bytes = 0;
    max = S3_BATCH_MAX;

    if (STAILQ_EMPTY(&p->queue)) {
        p->alone = 0;

    } else if (p->alone && p->recovering == 0) {
        p->alone--;
        b->alone = 1;
        max = b->n + 1;
    }

    while (p->recovering == 0 && b->n < max
           && bytes < S3_BATCH_BYTES
           && (q = STAILQ_FIRST(&p->queue)) != NULL)
    {
        STAILQ_REMOVE_HEAD(&p->queue, link);
        p->queued--;
        p->queued_bytes -= q->len;
        bytes += q->len;

        q->commit.mtime = mtime;
        s3_commit_check(p, &q->commit);

        b->questions[b->n++] = q;
    }

    b->spare = s3_batch_spare(b);
    b->taken = b->n;
    b->deciding = 1;
    s3_batch_decide(b);
}


/*
 * Room in the database that a batch must leave: what is removed is written
 * down as well, and has to find room when nothing else does.
 */

static uint64_t
s3_batch_spare(s3_batch_t *b)
{
    unsigned  i;

    for (i = 0; i < b->n; i++) {

        switch (b->questions[i]->commit.op) {

        case S3_COMMIT_DELETE:
        case S3_COMMIT_DELETE_BUCKET:
        case S3_COMMIT_ABORT:
        case S3_COMMIT_GENERATION:
        case S3_COMMIT_SESSION_END:
        case S3_COMMIT_GARBAGE:
        case S3_COMMIT_REAP:
        case S3_COMMIT_VOID:
            break;

        default:
            return S3_BATCH_SPARE;
        }
    }

    return 0;
}


static s3_op_t *
s3_batch_op(s3_batch_t *b, s3_disk_t *disk, s3_op_pt run, s3_op_pt finish)
{
    s3_op_t  *op;

    op = s3_op_create(disk->drive, S3_LANE_WRITER, run, finish, b);
    op->free = s3_batch_op_free;
    op->late = 1;
    op->mask = (uint64_t) 1 << disk->index;
    b->refs++;

    return op;
}


/* a batch lives until the last thread that reads its effects is back */

static void
s3_batch_op_free(s3_op_t *op)
{
    unsigned     i;
    s3_batch_t  *b;

    b = op->data;

    if (--b->refs == 0) {
        for (i = 0; i < b->taken; i++) {
            s3_question_free(b->questions[i]);
        }

        s3_buf_free(&b->effects);
        free(b);
    }
}


static void
s3_batch_decide(s3_batch_t *b)
{
    unsigned       i;
    s3_op_t       *op;
    s3_process_t  *p;

    p = b->process;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (p->disks[i].member) {
            op = s3_batch_op(b, &p->disks[i], s3_batch_decide_run,
                             s3_batch_decide_finish);
            op->position = b->position;
            s3_op_post(op);
            return;
        }
    }

    b->refused = EIO;
    s3_batch_end(b);
}


/*
 * the lead's thread: effects and verdicts go into the op, a lead that hangs
 * must not write into the batch later; nor read what the next one's answer
 * changes there, hence the position it has in the op
 */

static void
s3_batch_decide_run(s3_op_t *op)
{
    int           rc;
    unsigned      i;
    s3_batch_t   *b;
    s3_index_t   *index;
    s3_slice_t    effects;
    s3_verdict_t  verdict;

    b = op->data;
    index = op->drive->writer;

    op->out.max = b->effects.max;

    /* the verdicts stand before the effects, behind a place of fixed size */

    if (s3_buf_reserve(&op->out, b->taken * sizeof(s3_verdict_t)) == NULL) {
        op->task.error = ENOMEM;
        return;
    }

    rc = s3_index_begin(index);

    for (i = 0;
         rc == 0 && i < b->taken && op->out.len < S3_BATCH_EFFECTS;
         i++)
    {
        memset(&verdict, 0, sizeof(s3_verdict_t));

        rc = s3_index_decide(index, &b->questions[i]->commit,
                             op->position.sequence, &op->out, &verdict);

        memcpy(op->out.data + i * sizeof(s3_verdict_t), &verdict,
               sizeof(s3_verdict_t));
    }

    op->cursor = i;

    if (rc == 0) {
        rc = op->out.error;
    }

    if (rc == 0) {
        effects.data = op->out.data + b->taken * sizeof(s3_verdict_t);
        effects.len = op->out.len - b->taken * sizeof(s3_verdict_t);

        s3_index_digest(&b->before, &op->position, effects);

        rc = s3_index_seal(index, &op->position, effects, b->keep_from);
    }

    if (rc != 0) {
        s3_index_rollback(index);
    }

    op->task.error = rc;
}


static void
s3_batch_decide_finish(s3_op_t *op)
{
    size_t         head;
    s3_disk_t     *disk;
    s3_batch_t    *b;
    s3_process_t  *p;

    b = op->data;
    p = b->process;

    if (op->error) {

        disk = op->drive->disk;

        if (op->error == ENOSPC) {
            b->refused = ENOSPC;
            s3_batch_end(b);
            return;
        }

        if (disk) {
            s3_disk_drop(disk, op->error, "a batch could not be decided");
        }

        if (s3_members(p, NULL) < p->quorum) {
            b->refused = EIO;
            s3_batch_end(b);
            return;
        }

        s3_batch_decide(b);
        return;
    }

    head = b->taken * sizeof(s3_verdict_t);
    memcpy(b->verdicts, op->out.data, head);

    s3_batch_put_back(b, (unsigned) op->cursor);
    b->position = op->position;
    b->effects.len = 0;
    s3_buf_bytes(&b->effects, op->out.data + head, op->out.len - head);

    if (b->effects.error) {
        abort();
    }

    b->deciding = 0;
    s3_batch_prepare(b, op->drive->disk);
}


/*
 * Those that found no room are the next batch's first.  They stay this one's
 * too, until its last thread is back: a lead that hangs may still read them.
 */

static void
s3_batch_put_back(s3_batch_t *b, unsigned n)
{
    unsigned        i;
    s3_process_t   *p;
    s3_question_t  *q;

    p = b->process;

    for (i = b->n; i > n; i--) {
        q = b->questions[i - 1];
        q->refs++;

        STAILQ_INSERT_HEAD(&p->queue, q, link);
        p->queued++;
        p->queued_bytes += q->len;
    }

    b->n = n;
}


static void
s3_batch_prepare(s3_batch_t *b, s3_disk_t *lead)
{
    unsigned       i;
    s3_op_t       *ops[S3_MAX_DISKS];
    unsigned       n;
    s3_process_t  *p;

    p = b->process;
    n = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (!p->disks[i].member) {
            continue;
        }

        ops[n] = s3_batch_op(b, &p->disks[i], s3_batch_prepare_run,
                             s3_batch_prepare_finish);
        ops[n]->flag = (&p->disks[i] == lead);
        b->waiting |= ops[n]->mask;
        n++;
    }

    for (i = 0; i < n; i++) {
        s3_op_post(ops[i]);
    }
}


static void
s3_batch_prepare_run(s3_op_t *op)
{
    int          rc;
    s3_batch_t  *b;
    s3_index_t  *index;

    b = op->data;
    index = op->drive->writer;

    rc = op->flag ? 0 : s3_batch_apply(b, index);

    if (rc == 0) {
        rc = s3_index_flush(index, b->spare);
    }

    if (rc == ENOSPC) {

        /* the log may start over after that, and have room */

        s3_index_rollback(index);
        rc = s3_batch_apply(b, index);

        if (rc == 0) {
            rc = s3_index_flush(index, b->spare);
        }
    }

    if (rc != 0) {
        s3_index_rollback(index);
    }

    op->task.error = rc;
}


static int
s3_batch_apply(s3_batch_t *b, s3_index_t *index)
{
    int         rc;
    s3_slice_t  effects;

    effects.data = b->effects.data;
    effects.len = b->effects.len;

    rc = s3_index_begin(index);

    if (rc == 0) {
        rc = s3_index_apply(index, effects);
    }

    if (rc == 0) {
        rc = s3_index_seal(index, &b->position, effects, b->keep_from);
    }

    return rc;
}


static void
s3_batch_prepare_finish(s3_op_t *op)
{
    s3_batch_t  *b;

    b = op->data;
    b->waiting &= ~op->mask;

    if (op->error == 0) {
        b->prepared |= op->mask;

    } else if (op->error == ENOSPC) {
        b->refused = ENOSPC;

    } else if (op->drive->disk) {
        s3_disk_drop(op->drive->disk, op->error,
                     "a batch could not be prepared");
    }

    if (b->waiting == 0) {
        s3_batch_prepared(b);
    }
}


static void
s3_batch_prepared(s3_batch_t *b)
{
    unsigned       i, n;
    s3_op_t       *ops[S3_MAX_DISKS];
    s3_process_t  *p;

    p = b->process;
    n = 0;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (((b->prepared >> i) & 1) && !p->disks[i].member) {
            b->prepared &= ~((uint64_t) 1 << i);      /* dropped since */
        }
    }

    if (b->refused
        || (unsigned) __builtin_popcountll(b->prepared) < p->quorum)
    {
        if (!b->refused) {
            b->refused = EIO;
        }

        s3_batch_rollback(b);
        s3_batch_end(b);
        return;
    }

    b->committing = 1;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (!((b->prepared >> i) & 1)) {
            continue;
        }

        ops[n] = s3_batch_op(b, &p->disks[i], s3_batch_commit_run,
                             s3_batch_commit_finish);
        b->waiting |= ops[n]->mask;
        n++;
    }

    for (i = 0; i < n; i++) {
        s3_op_post(ops[i]);
    }
}


static void
s3_batch_commit_run(s3_op_t *op)
{
    op->task.error = s3_index_commit(op->drive->writer);
}


static void
s3_batch_commit_finish(s3_op_t *op)
{
    s3_batch_t  *b;

    b = op->data;
    b->waiting &= ~op->mask;

    if (op->error == 0) {
        b->committed |= op->mask;
        op->drive->position = b->position;

    } else if (op->drive->disk) {
        s3_disk_drop(op->drive->disk, op->error,
                     "a batch could not be committed");
    }

    if (b->waiting == 0) {
        s3_batch_committed(b);
    }
}


static void
s3_batch_committed(s3_batch_t *b)
{
    unsigned       i;
    uint64_t       members;
    s3_process_t  *p;

    p = b->process;

    if ((unsigned) __builtin_popcountll(b->committed) < p->quorum) {

        /* undecided: some disk may have it, no one may be told anything */

        s3_log(p, 4, "store \"%s\": batch %lu is undecided", p->conf.name,
               (unsigned long) b->position.sequence);

        for (i = 0; i < b->n; i++) {
            if (b->questions[i]->commit.request) {
                b->questions[i]->refs++;
                STAILQ_INSERT_TAIL(&p->limbo, b->questions[i], link);
            }
        }

        b->undecided = 1;

        p->recovery_due = 1;
        s3_state_set(p, S3_STORE_BUSY);
        s3_batch_end(b);
        return;
    }

    p->position = b->position;
    atomic_store(&p->page->decided, b->position.sequence);

    for (i = 0; i < b->n; i++) {

        if (b->questions[i]->commit.op == S3_COMMIT_GENERATION) {

            p->generation_due = 0;
            members = b->questions[i]->commit.mask;

            for (unsigned slot = 0; slot < p->conf.ndisks; slot++) {
                s3_disk_t  *disk = s3_disk_by_slot(p, slot);

                if (!((members >> slot) & 1)) {
                    p->since[slot] = 0;

                } else if (disk == NULL || !disk->member) {
                    p->since[slot] = 0;
                    p->generation_due = 1;        /* dropped since */

                } else if (s3_vacant(disk)) {
                    disk->dropped = 0;

                } else if (p->since[slot] == 0) {
                    p->since[slot] = b->position.generation;
                    disk->dropped = 0;
                }
            }

            s3_page_update(p);
            continue;
        }

        s3_settle(p, &b->questions[i]->commit);
    }

    s3_batch_end(b);
}


static void
s3_batch_rollback(s3_batch_t *b)
{
    unsigned       i;
    s3_process_t  *p;

    p = b->process;

    for (i = 0; i < p->conf.ndisks; i++) {
        if (((b->prepared >> i) & 1) && p->disks[i].drive) {
            s3_op_post(s3_op_create(p->disks[i].drive, S3_LANE_WRITER,
                                    s3_batch_rollback_run, NULL, NULL));
        }
    }
}


static void
s3_batch_rollback_run(s3_op_t *op)
{
    s3_index_rollback(op->drive->writer);
}


/* answers what is not answered, and lets the next one start */

static void
s3_batch_end(s3_batch_t *b)
{
    int             status;
    unsigned        i, n;
    s3_op_t         last;
    s3_verdict_t    verdict;
    s3_process_t   *p;
    s3_question_t  *q;

    p = b->process;
    p->batch = NULL;

    /* what needs no room is refused for want of it by what else was taken */

    if (b->refused == ENOSPC && !b->alone) {
        n = (b->n && b->questions[0]->commit.op == S3_COMMIT_GENERATION);
        p->alone = b->n - n;
        s3_batch_put_back(b, n);
    }

    if (b->refused == ENOSPC && p->generation_due) {
        p->full = p->recovering == 2;
        p->next_generation = p->now + S3_GENERATION_AGAIN;
    }

    /*
     * A refusal that left no row: the worker removes the shards (ruling 3).
     * Not we: were we to die before it hears of it, it would ask our
     * successor, be told that nothing is known, and send the commit again.
     */

    status = (b->refused == ENOSPC) ? S3_STORE_NO_SPACE
             : (s3_members(p, NULL) < p->quorum) ? S3_STORE_READ_ONLY
             : S3_STORE_BUSY;

    for (i = 0; i < b->n; i++) {
        q = b->questions[i];

        if (b->undecided && q->commit.request) {
            continue;
        }

        if (b->refused || b->undecided) {
            memset(&verdict, 0, sizeof(s3_verdict_t));
            verdict.status = status;

        } else {
            verdict = b->verdicts[i];
        }

        if (q->answered) {
            q->answered(q, &verdict);
        }

        s3_answer_verdict(q, &verdict);
    }

    last.data = b;
    s3_batch_op_free(&last);

    s3_held_release(p);
    s3_batch_start(p);
}


/*
 * After recovery the truth about an undecided batch stands in the index: its
 * verdicts are there, all of them, or it never happened.
 */

void
s3_limbo_settle(s3_process_t *p)
{
    s3_op_t         *op;
    s3_disk_t       *disk;
    s3_question_t   *q;
    s3_questions_t   limbo;

    STAILQ_INIT(&limbo);
    STAILQ_CONCAT(&limbo, &p->limbo);

    while ((q = STAILQ_FIRST(&limbo)) != NULL) {
        STAILQ_REMOVE_HEAD(&limbo, link);

        disk = (p->state == S3_STORE_OK) ? s3_disk_reader(p) : NULL;

        if (disk == NULL) {
            s3_question_answer(q, S3_STORE_UNDECIDED, NULL, 0);
            continue;
        }

        op = s3_op_create(disk->drive, S3_LANE_READER, s3_limbo_run,
                          s3_limbo_finish, q);
        memcpy(op->session, q->commit.session, 16);
        op->cursor = q->commit.request;
        op->late = 1;
        s3_op_post(op);
    }
}


static void
s3_limbo_run(s3_op_t *op)
{
    op->task.error = s3_index_outcome(op->drive->reader, op->session,
                                      op->cursor, &op->sequence, &op->status,
                                      &op->verdict);
}


static void
s3_limbo_finish(s3_op_t *op)
{
    s3_process_t   *p;
    s3_question_t  *q;

    q = op->data;
    p = q->process;

    if (op->error) {
        STAILQ_INSERT_TAIL(&p->limbo, q, link);

        if (op->drive->disk && op->error != EAGAIN) {
            s3_disk_drop(op->drive->disk, op->error, "look-up failed");
        }

        p->recovery_due = 1;
        return;
    }

    if (op->status == S3_STORE_UNKNOWN) {
        /* it was rolled back everywhere: decided now, for the first time */
        q->commit.refuse = 0;
        s3_commit_queue(p, q);
        return;
    }

    s3_answer_verdict(q, &op->verdict);
    s3_question_free(q);
}


int
s3_session_pending(s3_process_t *p, const uint8_t session[16])
{
    unsigned        i;
    s3_question_t  *q;

    STAILQ_FOREACH(q, &p->queue, link) {
        if (memcmp(q->commit.session, session, 16) == 0) {
            return 1;
        }
    }

    STAILQ_FOREACH(q, &p->limbo, link) {
        if (memcmp(q->commit.session, session, 16) == 0) {
            return 1;
        }
    }

    if (p->batch) {
        for (i = 0; i < p->batch->n; i++) {
            q = p->batch->questions[i];

            if (memcmp(q->commit.session, session, 16) == 0) {
                return 1;
            }
        }
    }

    return 0;
}
