
/*
 * Calls: what is asked of the store process, and what its answers say.
 * s3_client.c has the socket that they go over.
 */


#include "s3_client_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


static int s3_client_read(s3_call_t *call, unsigned type, const uint8_t *p,
    size_t len);
static int s3_client_read_buckets(s3_call_t *call, s3_reader_t *r);
static s3_ask_t *s3_ask_create(s3_client_t *c, unsigned type);
static int s3_ask_start(s3_client_t *c, s3_ask_t *ask, size_t at,
    s3_call_t *call);


static s3_ask_t *
s3_ask_create(s3_client_t *c, unsigned type)
{
    s3_ask_t  *ask;

    if (c->nasks >= s3_conf_queue(c->conf)
        || c->asks_bytes >= s3_conf_queue_size(c->conf))
    {
        return NULL;
    }

    ask = calloc(1, sizeof(s3_ask_t));
    if (ask == NULL) {
        return NULL;
    }

    s3_link_init(&ask->link);
    s3_link_init(&ask->unsent);
    s3_link_init(&ask->commit);

    ask->type = type;
    ask->request = ++c->request;
    ask->message.max = S3_PROTO_MAX_QUESTION;

    return ask;
}


static int
s3_ask_start(s3_client_t *c, s3_ask_t *ask, size_t at, s3_call_t *call)
{
    int        rc;
    s3_ask_t **head;

    s3_msg_end(&ask->message, at);

    if (ask->message.error) {
        rc = (ask->message.error == EMSGSIZE) ? S3_STORE_BAD_REQUEST
                                              : S3_STORE_BUSY;
        s3_ask_free(ask);

        return rc;
    }

    ask->call = call;
    call->ctx = ask;

    head = &c->hash[ask->request & (S3_CALLS_HASH - 1)];
    ask->next = *head;
    *head = ask;

    s3_link_add(&c->asks, &ask->link);
    s3_link_add(&c->unsent, &ask->unsent);

    if (ask->type == S3_MSG_COMMIT) {
        s3_link_add(&c->commits, &ask->commit);
    }

    c->nasks++;
    c->asks_bytes += ask->message.len;
    c->active++;

    if (c->fd == -1) {
        s3_client_wake(c);

    } else if (!c->processing) {
        s3_client_flush(c);
    }

    return S3_STORE_OK;
}


s3_ask_t *
s3_ask_find(s3_client_t *c, uint64_t request)
{
    s3_ask_t  *ask;

    ask = c->hash[request & (S3_CALLS_HASH - 1)];

    while (ask != NULL && ask->request != request) {
        ask = ask->next;
    }

    return ask;
}


void
s3_ask_unlink(s3_client_t *c, s3_ask_t *ask)
{
    s3_ask_t  **p;

    p = &c->hash[ask->request & (S3_CALLS_HASH - 1)];

    while (*p != ask) {
        p = &(*p)->next;
    }

    *p = ask->next;

    s3_link_remove(&ask->link);
    s3_link_remove(&ask->unsent);
    s3_link_remove(&ask->commit);

    c->nasks--;
    c->asks_bytes -= ask->message.len;
}


void
s3_ask_free(s3_ask_t *ask)
{
    s3_buf_free(&ask->message);
    free(ask);
}


int
s3_client_lookup(s3_client_t *c, s3_call_t *call, s3_slice_t bucket,
    s3_slice_t key)
{
    size_t     at;
    s3_ask_t  *ask;

    ask = s3_ask_create(c, S3_MSG_LOOKUP);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_LOOKUP, ask->request, 0);
    s3_buf_slice(&ask->message, bucket.data, bucket.len);
    s3_buf_slice(&ask->message, key.data, key.len);

    return s3_ask_start(c, ask, at, call);
}


int
s3_client_bucket(s3_client_t *c, s3_call_t *call, s3_slice_t bucket)
{
    size_t     at;
    s3_ask_t  *ask;

    ask = s3_ask_create(c, S3_MSG_BUCKET);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_BUCKET, ask->request, 0);
    s3_buf_slice(&ask->message, bucket.data, bucket.len);

    return s3_ask_start(c, ask, at, call);
}


int
s3_client_buckets(s3_client_t *c, s3_call_t *call, s3_slice_t after,
    uint32_t max)
{
    size_t     at;
    s3_ask_t  *ask;

    ask = s3_ask_create(c, S3_MSG_BUCKETS);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_BUCKETS, ask->request, 0);
    s3_buf_slice(&ask->message, after.data, after.len);
    s3_buf_u32(&ask->message, max);

    return s3_ask_start(c, ask, at, call);
}


int
s3_client_list(s3_client_t *c, s3_call_t *call, const s3_list_query_t *query)
{
    size_t     at;
    s3_ask_t  *ask;

    ask = s3_ask_create(c, S3_MSG_LIST);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_LIST, ask->request, 0);
    s3_write_list_query(&ask->message, query);

    return s3_ask_start(c, ask, at, call);
}


int
s3_client_parts(s3_client_t *c, s3_call_t *call, const s3_part_query_t *query)
{
    size_t     at;
    s3_ask_t  *ask;

    ask = s3_ask_create(c, S3_MSG_PARTS);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_PARTS, ask->request, 0);
    s3_write_part_query(&ask->message, query);

    return s3_ask_start(c, ask, at, call);
}


int
s3_client_uploads(s3_client_t *c, s3_call_t *call,
    const s3_upload_query_t *query)
{
    size_t     at;
    s3_ask_t  *ask;

    ask = s3_ask_create(c, S3_MSG_UPLOADS);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_UPLOADS, ask->request, 0);
    s3_write_upload_query(&ask->message, query);

    return s3_ask_start(c, ask, at, call);
}


int
s3_client_commit(s3_client_t *c, s3_call_t *call, const s3_commit_t *commit)
{
    return s3_client_commit_upload(c, call, commit, NULL);
}


int
s3_client_commit_upload(s3_client_t *c, s3_call_t *call,
    const s3_commit_t *commit, s3_upload_t *upload)
{
    size_t        at;
    s3_ask_t     *ask, *first;
    s3_commit_t   copy;

    ask = s3_ask_create(c, S3_MSG_COMMIT);
    if (ask == NULL) {
        return S3_STORE_BUSY;
    }

    copy = *commit;

    memcpy(copy.session, c->session, sizeof(copy.session));
    copy.request = ask->request;

    /* the store process forgets verdicts below it: a commit whose answer
     * did not come may still be asked for by OUTCOME */

    copy.acked = ask->request;

    if (!s3_link_empty(&c->commits)) {
        first = s3_link_data(c->commits.next, s3_ask_t, commit);
        copy.acked = first->request;
    }

    at = s3_msg_begin(&ask->message, S3_MSG_COMMIT, ask->request, 0);
    s3_write_commit(&ask->message, &copy);

    ask->upload = upload;

    return s3_ask_start(c, ask, at, call);
}


void
s3_client_cancel(s3_client_t *c, s3_call_t *call)
{
    s3_ask_t     *ask;
    s3_upload_t  *upload;

    ask = call->ctx;

    if (ask == NULL) {
        return;
    }

    call->ctx = NULL;
    ask->call = NULL;
    c->active--;

    upload = ask->upload;
    ask->upload = NULL;

    if (ask->pin != NULL) {
        s3_pin_release(c, ask->pin);
        ask->pin = NULL;
    }

    if (!ask->sent) {
        s3_ask_unlink(c, ask);
        s3_ask_free(ask);

        if (upload != NULL) {
            s3_upload_unsent(upload);
        }

        return;
    }

    /* a commit stays until it is decided, over reconnects too: it would
     * leave shards behind that belong to nobody.  Of anything else the
     * number is kept, to know the answer by. */

    if (ask->type != S3_MSG_COMMIT) {
        c->asks_bytes -= ask->message.len;
        s3_buf_free(&ask->message);
    }

    if (upload != NULL) {
        s3_upload_answered(upload);
    }
}


/* answers */


int
s3_client_answer(s3_client_t *c, s3_ask_t *ask, const s3_msg_t *msg,
    const uint8_t *p)
{
    int               rc;
    s3_call_t        *call, answer;
    s3_upload_t      *upload;
    s3_bucket_t      *buckets;
    s3_list_entry_t  *entries;
    s3_part_t        *parts;
    s3_upload_entry_t  *uploads;

    if (ask->type == S3_MSG_COMMIT && ask->outcome
        && msg->status == S3_STORE_UNKNOWN)
    {
        ask->outcome = 0;
        ask->sent = 0;
        s3_link_add(&c->unsent, &ask->unsent);

        return 0;
    }

    memset(&answer, 0, sizeof(s3_call_t));
    answer.status = (int) msg->status;

    /* what nobody waits for is looked at all the same, but for its rows */

    if (ask->call != NULL) {
        rc = s3_client_read(&answer, ask->type, p,
                            msg->length - S3_PROTO_HEADER);
        if (rc == -1) {
            return -1;
        }
    }

    call = ask->call;
    upload = ask->upload;

    s3_ask_unlink(c, ask);

    if (call == NULL) {
        s3_ask_free(ask);
        return 0;
    }

    call->status = answer.status;
    call->verdict = answer.verdict;
    call->object = answer.object;
    call->bucket = answer.bucket;
    call->page = answer.page;
    call->buckets = answer.buckets;
    call->nbuckets = answer.nbuckets;
    call->parts = answer.parts;
    call->uploads = answer.uploads;
    call->ctx = NULL;

    /* the call may be gone when its handler returns */

    entries = call->page.entries;
    buckets = call->buckets;
    parts = call->parts.parts;
    uploads = call->uploads.entries;

    c->active--;

    if (upload != NULL) {

        switch (call->status) {

        case S3_STORE_READ_ONLY:
        case S3_STORE_UNAVAILABLE:
        case S3_STORE_NO_SPACE:
        case S3_STORE_BUSY:

            /* a refusal that left no row, and there will be none: the shards
             * are ours to remove again (ruling 3) */

            s3_upload_unsent(upload);
            break;

        default:
            s3_upload_answered(upload);
        }
    }

    c->pin = ask->pin;
    call->handler(call);
    c->pin = NULL;

    free(entries);
    free(buckets);
    free(parts);
    free(uploads);

    if (ask->pin != NULL) {
        s3_pin_release(c, ask->pin);
        ask->pin = NULL;
    }

    s3_ask_free(ask);

    return 0;
}


/* 0, or -1: not an answer to that */

static int
s3_client_read(s3_call_t *call, unsigned type, const uint8_t *p, size_t len)
{
    int          rc;
    s3_reader_t  r;

    if (call->status >= S3_STORE_LAST || call->status < 0) {
        return -1;
    }

    s3_reader_init(&r, p, len);

    if (type == S3_MSG_COMMIT) {

        /* refused before it could be decided: a status alone */

        if (len == 0) {
            return call->status == S3_STORE_OK ? -1 : 0;
        }

        if (s3_read_verdict(&r, &call->verdict)
            || call->verdict.status >= S3_STORE_LAST)
        {
            return -1;
        }

        if (call->status == S3_STORE_OK) {
            call->status = call->verdict.status;
        }

        return 0;
    }

    if (call->status != S3_STORE_OK) {
        return 0;
    }

    switch (type) {

    case S3_MSG_LOOKUP:
        rc = s3_read_object(&r, &call->object);
        break;

    case S3_MSG_BUCKET:
        rc = s3_read_bucket(&r, &call->bucket);
        break;

    case S3_MSG_BUCKETS:
        rc = s3_client_read_buckets(call, &r);
        break;

    case S3_MSG_PARTS:
        rc = s3_read_part_page(&r, &call->parts);
        break;

    case S3_MSG_UPLOADS:
        rc = s3_read_upload_page(&r, &call->uploads);
        break;

    default: /* S3_MSG_LIST */
        rc = s3_read_list_page(&r, &call->page);
        break;
    }

    if (rc == ENOMEM) {
        call->status = S3_STORE_ERROR;
        return 0;
    }

    return rc ? -1 : 0;
}


static int
s3_client_read_buckets(s3_call_t *call, s3_reader_t *r)
{
    int           rc;
    uint32_t      i, n;
    s3_bucket_t  *buckets;

    n = s3_read_u32(r);

    /* no bucket is shorter than its time and two lengths */

    if (r->error || n > (size_t) (r->last - r->pos) / 16) {
        return EBADMSG;
    }

    if (n == 0) {
        return 0;
    }

    buckets = calloc(n, sizeof(s3_bucket_t));
    if (buckets == NULL) {
        return ENOMEM;
    }

    for (i = 0; i < n; i++) {
        rc = s3_read_bucket(r, &buckets[i]);

        if (rc) {
            free(buckets);
            return rc;
        }
    }

    call->buckets = buckets;
    call->nbuckets = n;

    return 0;
}
