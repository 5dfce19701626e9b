
/*
 * Conditional requests, in S3's order (GetObject, "Conditional requests",
 * which is RFC 9110 section 13.2.2):
 *
 *     If-Match            false: 412      (present: If-Unmodified-Since is
 *                                          not looked at)
 *     If-Unmodified-Since false: 412
 *     If-None-Match       false: 304      (present: If-Modified-Since is
 *                                          not looked at)
 *     If-Modified-Since   false: 304
 *
 * A copy has the same four for its source, x-amz-copy-source-if-match and so
 * on; there all that is false is 412.
 */


#ifndef _S3_CONDITION_H_INCLUDED_
#define _S3_CONDITION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_header.h"


/*
 * For GET and HEAD.  etag: the object's, without quotes; mtime: seconds.
 * S3_OK, S3_ERR_PRECONDITION_FAILED or S3_ERR_NOT_MODIFIED; fail receives
 * the element Condition with the header's name.  A date that cannot be parsed
 * is as if it were not there (RFC 9110).
 */
s3_error_e s3_condition_read(s3_header_t *headers, ngx_uint_t n,
    ngx_str_t *etag, time_t mtime, s3_failure_t *fail);


/*
 * For the source of a copy: the same, of x-amz-copy-source-if-*.  S3_OK or
 * S3_ERR_PRECONDITION_FAILED.  A date in the future (after now) is no
 * condition in x-amz-copy-source-if-modified-since: RFC 2616, section 14.25,
 * and so does S3.
 */
s3_error_e s3_condition_copy(s3_header_t *headers, ngx_uint_t n,
    ngx_str_t *etag, time_t mtime, time_t now, s3_failure_t *fail);


/*
 * Whether If-Range lets Range hold (RFC 9110, section 13.1.5): there is none,
 * or it is the object's strong entity tag or exactly its date.
 */
ngx_uint_t s3_condition_range(s3_header_t *headers, ngx_uint_t n,
    ngx_str_t *etag, time_t mtime);


/* Conditional writes: PutObject, later Copy, Complete, DeleteObject. */

typedef enum {
    S3_CONDITION_NONE = 0,
    S3_CONDITION_ABSENT,       /* If-None-Match: "*" */
    S3_CONDITION_EXISTS,       /* If-Match: "*" */
    S3_CONDITION_ETAG          /* If-Match: etag */
} s3_condition_e;

typedef struct {
    s3_condition_e             type;
    ngx_str_t                  etag;      /* without quotes */
} s3_condition_t;

/*
 * S3_OK and the condition for the store to decide, or NotImplemented:
 * If-None-Match with an entity tag, lists, both headers, the date forms (S3
 * answers these so, too), weak tags.
 */
s3_error_e s3_condition_write(s3_header_t *headers, ngx_uint_t n,
    s3_condition_t *condition, s3_failure_t *fail);


/*
 * Whether "etag" is in a field value of If-Match (weak 0) or If-None-Match
 * (weak 1).  Tags without quotes are taken as S3 takes them.
 */
ngx_uint_t s3_etag_match(ngx_str_t *list, ngx_str_t *etag, ngx_uint_t weak);


#endif /* _S3_CONDITION_H_INCLUDED_ */
