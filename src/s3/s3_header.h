
/*
 * Headers of a request or of a response, outside of nginx's lists.
 *
 * nginx keeps request headers in an ngx_list_t of ngx_table_elt_t; whoever
 * calls the libraries copies name and value (two ngx_str_t, no bytes) into an
 * array of s3_header_t in the order received.  Names are compared without
 * regard to case (RFC 9110, section 5.1).
 */


#ifndef _S3_HEADER_H_INCLUDED_
#define _S3_HEADER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    ngx_str_t                  name;
    ngx_str_t                  value;
} s3_header_t;


/*
 * The first header of that name, or NULL.  "name" is lower-case, len its
 * length.  When count is not NULL it receives how many there are: a header
 * that decides anything and comes twice is refused, not guessed at.
 */
s3_header_t *s3_header_find(s3_header_t *headers, ngx_uint_t n,
    const char *name, size_t len, ngx_uint_t *count);

#define s3_header(headers, n, name)                                          \
    s3_header_find(headers, n, name, sizeof(name) - 1, NULL)

/* Whether the header's name begins with "prefix" (lower-case). */
ngx_uint_t s3_header_has_prefix(s3_header_t *h, const char *prefix,
    size_t len);

/*
 * The values of all headers of that name (lower-case; there is one at least),
 * joined by commas (RFC 9110, section 5.2).  NGX_OK, or NGX_ERROR without
 * memory.
 */
ngx_int_t s3_header_join(ngx_pool_t *pool, s3_header_t *headers, ngx_uint_t n,
    ngx_str_t *name, ngx_str_t *value);

/*
 * 1 when the bytes may stand in a header's value of a response: no control
 * character but a tab (RFC 9110, section 5.5).  What comes from a query
 * string (response-content-type, x-amz-meta-* of a presigned URL) may hold
 * CR LF after decoding.
 */
ngx_uint_t s3_header_value_ok(ngx_str_t *value);


#endif /* _S3_HEADER_H_INCLUDED_ */
