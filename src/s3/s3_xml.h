
/*
 * XML out: a small escaping writer into a chain of buffers.
 * XML in: a bounded reader on libxml2's SAX interface.
 */


#ifndef _S3_XML_H_INCLUDED_
#define _S3_XML_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"


#define S3_XML_NS  "http://s3.amazonaws.com/doc/2006-03-01/"


/*
 * The writer.  Errors (no memory) stick in "failed" and are looked at once,
 * by s3_xml_end(); no function in between needs checking.
 */

typedef struct {
    ngx_pool_t                *pool;
    ngx_chain_t               *first;
    ngx_chain_t               *last;
    size_t                     size;      /* bytes written so far */
    unsigned                   failed:1;
    unsigned                   replace:1; /* what XML 1.0 cannot carry becomes
                                             U+FFFD, not a reference */
} s3_xml_t;


/* Begin a document: the XML declaration. */
void s3_xml_begin(s3_xml_t *x, ngx_pool_t *pool);

/*
 * The chain of temporary buffers (no last_buf set), x->size bytes in all;
 * NULL when memory ran out on the way.
 */
ngx_chain_t *s3_xml_end(s3_xml_t *x);

/* "<name>", "<name xmlns="S3_XML_NS">", "</name>"; name is a constant. */
void s3_xml_open(s3_xml_t *x, const char *name);
void s3_xml_open_ns(s3_xml_t *x, const char *name);
void s3_xml_close(s3_xml_t *x, const char *name);

/*
 * "<name>value</name>", escaped.  Characters that XML 1.0 cannot carry are
 * written as numeric references (as S3 does; clients that need to parse them
 * ask for encoding-type=url), bytes that are not UTF-8 as U+FFFD.
 */
void s3_xml_text(s3_xml_t *x, const char *name, ngx_str_t *value);

/* The escaped value alone. */
void s3_xml_value(s3_xml_t *x, ngx_str_t *value);

/* Bytes that a value which is UTF-8 will take, or a few more. */
size_t s3_xml_value_size(ngx_str_t *value);

/* The same for a constant, a number, a boolean, a time in milliseconds. */
void s3_xml_cstr(s3_xml_t *x, const char *name, const char *value);
void s3_xml_number(s3_xml_t *x, const char *name, uint64_t value);
void s3_xml_bool(s3_xml_t *x, const char *name, ngx_uint_t value);
void s3_xml_time(s3_xml_t *x, const char *name, int64_t msec);

/* The value percent-encoded, "/" kept (encoding-type=url). */
void s3_xml_url(s3_xml_t *x, const char *name, ngx_str_t *value);

/* "<name>"value"</name>" with the quotes of an entity tag, escaped. */
void s3_xml_etag(s3_xml_t *x, const char *name, ngx_str_t *value);


/*
 * The error document, which every parser can read whatever the request held:
 * characters that XML 1.0 cannot carry are U+FFFD here.  resource: decoded
 * path; request_id, host_id: may be NULL or empty; bucket and key: written as
 * BucketName and Key where S3 does (NoSuchBucket..., NoSuchKey), NULL or
 * empty: not written.  All elements of "fail" follow.  Returns the
 * chain and its size, NULL without memory.
 */
ngx_chain_t *s3_xml_error(ngx_pool_t *pool, s3_failure_t *fail,
    ngx_str_t *resource, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *request_id, ngx_str_t *host_id, size_t *size);


/*
 * The reader.  handler is called at the start of each element (text NULL) and
 * at its end (text: the element's own character data, complete, whitespace
 * included, UTF-8; valid during the call only).  depth is 1 for the root, name
 * is the local name; namespaces are not looked at (clients differ).  It
 * returns S3_OK or the error that ends reading.
 *
 * Bounds: S3_XML_DEPTH levels, S3_XML_TEXT bytes of text in one element,
 * S3_XML_ATTRIBUTES attributes and namespaces in one tag, about S3_XML_MARKUP
 * bytes in one tag or comment.  So a reader never holds more than these, and
 * the time of a document is proportional to its size.  A document type
 * declaration is refused, entities but the five predefined ones too; nothing
 * is ever fetched.
 */

#define S3_XML_DEPTH           16
#define S3_XML_TEXT            65536
#define S3_XML_ATTRIBUTES      16
#define S3_XML_MARKUP          16384

typedef s3_error_e (*s3_xml_handler_pt)(void *ctx, ngx_uint_t depth,
    const char *name, ngx_str_t *text);

/*
 * Read a whole document given as a chain of memory buffers.  S3_OK,
 * MalformedXML, or what the handler returned.  The caller bounds the size.
 */
s3_error_e s3_xml_read(ngx_chain_t *in, s3_xml_handler_pt handler, void *ctx);

/*
 * The same for a document that comes in pieces and is too large to be kept:
 * create (NULL: no memory), feed (any number of times), end (the document is
 * over), and in every case destroy.  Feed and end return what s3_xml_read()
 * does, the same error again once there is one.
 */
typedef struct s3_xml_reader_s  s3_xml_reader_t;

s3_xml_reader_t *s3_xml_reader_create(s3_xml_handler_pt handler, void *ctx);
s3_error_e s3_xml_reader_feed(s3_xml_reader_t *r, const u_char *p,
    size_t len);
s3_error_e s3_xml_reader_end(s3_xml_reader_t *r);
void s3_xml_reader_destroy(s3_xml_reader_t *r);


#endif /* _S3_XML_H_INCLUDED_ */
