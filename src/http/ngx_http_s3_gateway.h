
/*
 * A gateway: what its files share.
 *
 *     access       ngx_http_s3_gateway_create()   which keys sign upstream
 *     content      ngx_http_s3_gateway.c          what is done, by operation
 *                  ngx_http_s3_gateway_put.c      PutObject, UploadPart
 *                  ngx_http_s3_gateway_....c      operations that the gateway
 *                                                 answers itself, after it has
 *                                                 asked the upstream
 *                  nginx's proxy                  all others, and data
 *     body         ngx_http_s3_gateway_body.c     decode, check, hold back the
 *                                                 last byte
 *     create       ngx_http_s3_gateway_sign.c     Authorization, Host
 *     filters      ngx_http_s3_gateway_filter.c   checksums; errors
 *
 * Two ways to the upstream, both of them nginx's proxy with all it is told in
 * the location: the client's request itself, rewritten (pass), and requests of
 * our own (ask), which are background subrequests whose answers come to us and
 * to nobody else.
 */


#ifndef _NGX_HTTP_S3_GATEWAY_H_INCLUDED_
#define _NGX_HTTP_S3_GATEWAY_H_INCLUDED_


#include "ngx_http_s3.h"
#include "s3_mark.h"
#include "s3_upstream.h"
#include "s3_upstream_xml.h"


/* of an answer's body that we read: a page of a list, an error */
#define NGX_HTTP_S3_ASK_LIST    (2 * 1024 * 1024)
#define NGX_HTTP_S3_ASK_ERROR   (64 * 1024)


typedef ngx_int_t (*ngx_http_s3_asked_pt)(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
typedef void (*ngx_http_s3_resume_pt)(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
typedef ngx_int_t (*ngx_http_s3_take_pt)(ngx_http_s3_ask_t *ask,
    const u_char *p, size_t len);


/*
 * A request of our own.  The caller fills in the question and one of answer
 * and resume; all of it lives in the pool of the client's request.
 */

struct ngx_http_s3_ask_s {
    ngx_str_t                     method;
    ngx_str_t                     bucket;
    ngx_str_t                     key;
    ngx_str_t                     query;      /* encoded, without "?" */
    ngx_array_t                   headers;    /* s3_header_t; Host and those
                                                 of the signature are added */
    ngx_chain_t                  *body;
    size_t                        body_size;
    size_t                        max;        /* of the answer's body kept */
    ngx_http_s3_take_pt           take;       /* gets it instead */
    unsigned                      service:1;  /* signed by the location's own
                                                 credential, not the client's */
    unsigned                      once:1;     /* not to be sent twice */

    /*
     * answer: the request waits for it, as for the store; what it returns,
     * ngx_http_s3_result() takes.  resume: goes on without it meanwhile.
     */
    ngx_http_s3_asked_pt          answer;
    ngx_http_s3_resume_pt         resume;
    void                         *data;
    ngx_msec_t                    timeout;    /* or 0: that of the proxy */

    /* the answer; status 0: none, nginx has said why in its log */
    ngx_uint_t                    status;
    ngx_chain_t                  *out;
    ngx_chain_t                  *out_last;
    size_t                        size;
    unsigned                      too_large:1;
    unsigned                      whole:1;    /* to its end */
    unsigned                      done:1;

    ngx_http_request_t           *request;    /* the client's */
    ngx_http_request_t           *sr;
    ngx_str_t                     uri;
    ngx_str_t                     host;
    ngx_event_t                   event;
    ngx_http_s3_ctx_t            *ctx;        /* its; it has another where
                                                 nginx redirects it */
    ngx_http_s3_ask_t            *next;       /* of the request's others */
};


typedef enum {
    NGX_HTTP_S3_BODY_PASSED = 0,  /* no body, or one read by us before */
    NGX_HTTP_S3_BODY_READ,
    NGX_HTTP_S3_BODY_RECORD,      /* good; its record is being written */
    NGX_HTTP_S3_BODY_GOOD,
    NGX_HTTP_S3_BODY_SENT,        /* to its last byte */
    NGX_HTTP_S3_BODY_BAD
} ngx_http_s3_body_e;


typedef enum {
    NGX_HTTP_S3_HEADER_NEW = 0,
    NGX_HTTP_S3_HEADER_WAITS,     /* for an ask of ours */
    NGX_HTTP_S3_HEADER_ERROR,     /* for the whole error document */
    NGX_HTTP_S3_HEADER_DONE
} ngx_http_s3_header_e;


struct ngx_http_s3_gateway_s {
    ngx_http_handler_pt           proxy;      /* the location's */

    s3_credentials_t             *set;        /* in which these are */
    s3_credential_t              *client;     /* signs what was asked for */
    s3_credential_t              *service;    /* signs records */

    ngx_uint_t                    http_version; /* of the client's request */

    /* the request as it is sent */
    ngx_str_t                     uri;
    ngx_str_t                     host;
    ngx_str_t                     cache_key;  /* once it was asked for */
    ngx_array_t                   more;       /* s3_header_t, besides those of
                                                 the client */
    unsigned                      rewritten:1;
    unsigned                      signed_once:1;
    unsigned                      emulate:1;
    unsigned                      no_range:1; /* it is none, or not to be
                                                 held to */
    unsigned                      no_if_range:1;
    unsigned                      part:1;     /* partNumber is a range */
    unsigned                      own_match:1; /* If-Match is not the
                                                 client's */
    unsigned                      for_cache:1; /* asked for without conditions
                                                 and ranges */

    ngx_http_s3_ask_t            *asks;

    /* a body on its way through */
    ngx_http_s3_body_e            body;
    uint64_t                      length;     /* decoded */
    uint64_t                      passed;
    u_char                        last[1];    /* the byte that is held back */
    ngx_str_t                     head;       /* of the one chunk that it is */
    ngx_str_t                     tail;       /* sent in; or both are empty */
    unsigned                      has_last:1;
    unsigned                      begun:1;    /* something of it was sent */
    unsigned                      ended:1;    /* all of it has come */
    unsigned                      late:1;     /* the client was too slow */
    unsigned                      record:1;   /* there is to be one */
    ngx_int_t                   (*create_request)(ngx_http_request_t *r);
    ngx_http_event_handler_pt     read_event_handler;

    /* what is known of the body or, on reads, of the object */
    s3_checksum_text_t            checksum;
    ngx_str_t                     etag;       /* MD5 in hex, no quotes */
    ngx_uint_t                    parts;      /* of the object, or 0 */

    /* the answer on its way back */
    ngx_http_s3_header_e          header;
    ngx_chain_t                  *out;        /* held back with the header */
    ngx_chain_t                  *error;      /* document that came */
    ngx_chain_t                 **error_last;
    size_t                        error_size;
    ngx_http_s3_asked_pt          before;     /* the header: UploadPart */

    void                         *data;       /* the operation's */
};


/* ngx_http_s3_gateway.c */

/*
 * The end of the access phase: ctx->gateway, with its credentials.  S3_OK, or
 * the error, noted in ctx->fail (and logged where it is ours).
 */
s3_error_e ngx_http_s3_gateway_create(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* The same for the location's own credential alone, and nobody's request:
 * NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_open(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_gateway_handler(ngx_http_request_t *r);
/* ngx_http_s3_gateway_health.c */
ngx_int_t ngx_http_s3_gateway_health(ngx_http_request_t *r);
/*
 * The client's request, rewritten, goes to nginx's proxy.  Its body is still
 * to be read (ngx_http_s3_gateway_stream()), or is there: body, size bytes in
 * buffers in memory, or none.  What it returns is a content handler's result.
 */
ngx_int_t ngx_http_s3_gateway_pass(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_pass_none(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_pass_body(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_chain_t *body, size_t size);
/* A header of the request that is passed, in place of the client's of that
 * name: NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_add(ngx_http_s3_ctx_t *ctx, const char *name,
    ngx_str_t *value);
/* Bytes of a document in memory. */
size_t ngx_http_s3_gateway_size(ngx_chain_t *in);
/* The Content-MD5 of the body, which has been read.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_content_md5(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/*
 * The client's request as one of our own, with its query and headers; NULL:
 * no memory.
 */
ngx_http_s3_ask_t *ngx_http_s3_gateway_own_ask(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, const char *method);
/*
 * What the upstream's answer to that has in its headers for the client, among
 * those of ours.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_s3_gateway_adopt(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
/* The owner in such an answer.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_owner(ngx_http_request_t *r,
    ngx_http_s3_ask_t *ask, s3_owner_t *owner);
/* An answer that is none of S3's: logged, NGX_DECLINED. */
ngx_int_t ngx_http_s3_gateway_strange(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


/* ngx_http_s3_gateway_check.c: before run(), whose result it returns */
ngx_int_t ngx_http_s3_gateway_check(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_run(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/*
 * Which object is there now: found() gets a HEAD's answer, of which holds()
 * says whether ctx->condition does: NGX_OK, or what an operation returns.
 */
ngx_int_t ngx_http_s3_gateway_find(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_asked_pt found);
ngx_int_t ngx_http_s3_gateway_holds(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
/* The last of run(): what no file of ours does anything about. */
ngx_int_t ngx_http_s3_gateway_run_passed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


/* ngx_http_s3_ask.c */

/* A question with nothing in it but method (a constant) and names. */
ngx_http_s3_ask_t *ngx_http_s3_ask_create(ngx_http_request_t *r,
    const char *method, ngx_str_t *bucket, ngx_str_t *key);
/* A body of one buffer.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_ask_body(ngx_http_request_t *r, ngx_http_s3_ask_t *ask,
    ngx_str_t *body);
/*
 * Asks.  With answer: NGX_DONE, a count is held, or an error that a content
 * handler returns.  With resume: NGX_OK, or NGX_ERROR.
 */
ngx_int_t ngx_http_s3_ask(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_http_s3_ask_t *ask);
/* Takes a header (lower-case; "x-*": all that begin so) out of the question.
 */
void ngx_http_s3_ask_drop(ngx_http_s3_ask_t *ask, const char *name);
/* The answer's header of that (lower-case) name, or NULL. */
ngx_str_t *ngx_http_s3_ask_header(ngx_http_s3_ask_t *ask, const char *name);
/* The first of a list that has not been taken out ("x-*": begins so), or
 * NULL. */
ngx_table_elt_t *ngx_http_s3_find_header(ngx_list_t *headers,
    const char *name);
/* What the upstream refused, or that it is not there: ctx->fail, and
 * NGX_DECLINED. */
ngx_int_t ngx_http_s3_ask_failed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
/* filters of such a subrequest: of its header, of its body */
ngx_int_t ngx_http_s3_ask_answers(ngx_http_request_t *sr,
    ngx_http_s3_ask_t *ask);
ngx_int_t ngx_http_s3_ask_take(ngx_http_request_t *sr,
    ngx_http_s3_ask_t *ask, ngx_chain_t *in);
/* of all of a request: nothing resumes any more */
void ngx_http_s3_ask_cancel(ngx_http_s3_ctx_t *ctx);


/* ngx_http_s3_gateway_record.c */

/*
 * A record to be written: key, mark and body; answer or resume gets what the
 * upstream said at last, with ask->data set to data.
 */
typedef struct {
    ngx_str_t                     key;
    ngx_str_t                     mark;
    ngx_str_t                     body;
    ngx_http_s3_asked_pt          answer;
    ngx_http_s3_resume_pt         resume;
    void                         *data;

    unsigned                      bucket_asked:1;
} ngx_http_s3_record_t;

/* As ngx_http_s3_ask(). */
ngx_int_t ngx_http_s3_record_put(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_record_t *rec);
/* A question about the bucket of records, or (key NULL) of it. */
ngx_http_s3_ask_t *ngx_http_s3_record_create(ngx_http_request_t *r,
    const char *method, ngx_str_t *key);
/* ctx->fail says why one was not written: logged, and made an answer. */
void ngx_http_s3_record_failed(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);
/*
 * A question about the record of the client's object with that entity tag,
 * "HEAD" or, for its parts, "GET"; NULL: no memory.  read: its answer's
 * checksum, NGX_OK, or NGX_DECLINED where there is none.
 */
ngx_http_s3_ask_t *ngx_http_s3_record_find(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_str_t *etag, const char *method);
ngx_int_t ngx_http_s3_record_read(ngx_http_s3_ask_t *ask, ngx_str_t *etag,
    s3_checksum_text_t *checksum);
/* Of the body that is on its way through.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_write_record(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


/*
 * A page of the names that begin so, behind one of them (or NULL).  listed: row
 * for each, leaves Key and LastModified; NGX_OK, NGX_ERROR, or NGX_DECLINED:
 * the upstream did not answer with one.
 */
ngx_http_s3_ask_t *ngx_http_s3_record_list(ngx_http_request_t *r,
    ngx_str_t *prefix, ngx_str_t *after, ngx_uint_t max);
ngx_int_t ngx_http_s3_record_listed(ngx_http_s3_ask_t *ask,
    s3_upstream_row_pt row, void *data, ngx_uint_t *truncated);


/* ngx_http_s3_gateway_sweep.c: what goes on behind an answer, if it can */

/* All records of the client's object, which is gone. */
void ngx_http_s3_sweep_object(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);
/* All records of an upload that is gone. */
void ngx_http_s3_sweep_upload(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *upload_id);
/* A few others, wherever: whatever has no object or upload any more. */
void ngx_http_s3_sweep_some(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);


/* ngx_http_s3_gateway_multipart.c and others: operations */

ngx_int_t ngx_http_s3_gateway_list_buckets(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_create_bucket(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_get_location(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_uint_t ngx_http_s3_gateway_is_late(ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_ask_sub(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_list_objects(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_delete_objects(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_get_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_create_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_abort_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_list_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_complete_upload(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_copy_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_copy_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_get_attributes(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);

/*
 * The upload that uploadId names, and its parts as far as they have records.
 * find, parts: as ngx_http_s3_ask() with answer; found() is one, too.  parts:
 * those with numbers from first to last, and maybe others.
 */
typedef struct ngx_http_s3_upload_s  ngx_http_s3_upload_t;

typedef ngx_int_t (*ngx_http_s3_upload_pt)(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload);

struct ngx_http_s3_upload_s {
    s3_upload_checksum_t          checksum;
    ngx_array_t                   parts;      /* s3_stored_part_t, in order */
    ngx_str_t                     prefix;     /* of their keys */
    unsigned                      recorded:1; /* else: begun past us */

    ngx_http_s3_upload_pt         found;
    ngx_uint_t                    last;
    ngx_str_t                     after;
};

ngx_int_t ngx_http_s3_upload_find(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_pt found);
ngx_int_t ngx_http_s3_upload_parts(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_upload_t *upload, ngx_uint_t first,
    ngx_uint_t last, ngx_http_s3_upload_pt found);
/* The one with that number and entity tag, or NULL. */
s3_stored_part_t *ngx_http_s3_upload_part_of(ngx_http_s3_upload_t *upload,
    ngx_uint_t number, ngx_str_t *etag);
ngx_int_t ngx_http_s3_sum_words(ngx_pool_t *pool, s3_part_sum_t *sum,
    s3_checksum_text_t *text);


/* ngx_http_s3_gateway_sign.c: variables that create_request evaluates */
ngx_int_t ngx_http_s3_authorization(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_s3_amz_date(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_s3_content_sha256(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_s3_upstream_host(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_s3_cache_key(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
/* 0: a cache is in use whose key is without that one */
ngx_uint_t ngx_http_s3_cache_keyed(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/*
 * What will be sent of a request: its target and its headers (s3_header_t,
 * names in lower case), besides those that are set by variables.  target: of
 * a subrequest of ours.  NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_s3_gateway_address(ngx_http_request_t *r, ngx_str_t *uri,
    ngx_array_t *headers);
ngx_int_t ngx_http_s3_gateway_target(ngx_http_request_t *sr,
    ngx_http_s3_ask_t *ask);


/* ngx_http_s3_gateway_body.c */

/*
 * ctx->payload is there, its length known: the body will be decoded and
 * checked as it goes through, its last byte held back until it is good.
 */
ngx_int_t ngx_http_s3_gateway_stream(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
void ngx_http_s3_gateway_init_body(void);
/* Its record is written, or not (ctx->fail): the last byte goes, or does not. */
void ngx_http_s3_gateway_recorded(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t written);


/* ngx_http_s3_gateway_put.c */

ngx_int_t ngx_http_s3_gateway_put_object(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
ngx_int_t ngx_http_s3_gateway_upload_part(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* The header of a part that the upstream has: NGX_OK, it waits for the part's
 * record, or as ngx_http_s3_gateway_header(). */
ngx_int_t ngx_http_s3_gateway_part_stored(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/* Entity tag and checksum of a body that is good.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_sums(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);


/*
 * ngx_http_s3_gateway_filter.c
 *
 * refused: an upstream's error document (NULL: none came), noted in ctx->fail.
 * take_header: out of the answer, all of that (lower-case) name; the first
 * one's value, or NULL.  header, output: NGX_DECLINED: goes on as it is.
 */
void ngx_http_s3_gateway_refused(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_uint_t status, ngx_chain_t *document);
ngx_str_t *ngx_http_s3_gateway_take_header(ngx_http_request_t *r,
    const char *name);
ngx_int_t ngx_http_s3_gateway_header(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx);
/*
 * From within header: the answer is held back until go(), or until ask is
 * answered, whose resume() calls it.  wait returns what header does.
 */
ngx_int_t ngx_http_s3_gateway_wait(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_http_s3_ask_t *ask);
void ngx_http_s3_gateway_hold(ngx_http_request_t *r);
void ngx_http_s3_gateway_go(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx);
/* gw->checksum, with its type or not.  NGX_DECLINED or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_add_checksum(ngx_http_request_t *r,
    ngx_http_s3_gateway_t *gw, ngx_uint_t type);
/* x-amz-bucket-region, for an upstream's.  NGX_OK or NGX_ERROR. */
ngx_int_t ngx_http_s3_gateway_region(ngx_http_request_t *r);
ngx_int_t ngx_http_s3_gateway_output(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, ngx_chain_t *in);


#endif /* _NGX_HTTP_S3_GATEWAY_H_INCLUDED_ */
