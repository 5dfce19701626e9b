
/*
 * One byte range of an object.
 *
 *     Range: bytes=0-499        the first 500 bytes
 *     Range: bytes=500-         all but the first 500
 *     Range: bytes=-500         the last 500
 *
 * As S3 has it: a syntax error and more than one range are as if there were
 * no header (200, the whole object); a range that begins at or past the end
 * is InvalidRange (416), and so is any range of an empty object.
 */


#ifndef _S3_RANGE_H_INCLUDED_
#define _S3_RANGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"


typedef struct {
    uint64_t                   offset;    /* first byte */
    uint64_t                   length;    /* bytes */
    unsigned                   partial:1; /* 206 and Content-Range */
} s3_range_t;


/*
 * header NULL or empty: the whole object.  S3_OK, or S3_ERR_INVALID_RANGE
 * (answer with "Content-Range: bytes [star]/SIZE"; elements ActualObjectSize
 * and RangeRequested are the caller's).
 */
s3_error_e s3_range_parse(ngx_str_t *header, uint64_t size,
    s3_range_t *range);

/* "bytes 0-499/1234"; buf has S3_RANGE_TEXT bytes; returns the end. */
#define S3_RANGE_TEXT          (sizeof("bytes -/") + 3 * NGX_INT64_LEN)

u_char *s3_range_text(u_char *buf, s3_range_t *range, uint64_t size);


#endif /* _S3_RANGE_H_INCLUDED_ */
