
#include <ngx_config.h>
#include <ngx_core.h>
#include <libxml/parser.h>
#include "s3_date.h"
#include "s3_target.h"
#include "s3_xml.h"


/* libxml2 2.12 made it const */
#if (LIBXML_VERSION >= 21200)
#define S3_XML_ERROR_ARG     const xmlError *
#else
#define S3_XML_ERROR_ARG     xmlErrorPtr
#endif

/* an error document fits the first, 1,000 keys take some 20 more */
#define S3_XML_BUFFER_FIRST  1024
#define S3_XML_BUFFER        16384

/* bytes that libxml2 is given at a time */
#define S3_XML_PIECE         4096


struct s3_xml_reader_s {
    s3_xml_handler_pt          handler;
    void                      *ctx;
    xmlParserCtxtPtr           parser;
    s3_error_e                 error;
    ngx_uint_t                 depth;

    /*
     * Text of the innermost element that is open.  Text around children is
     * white space in every document S3 takes, so one buffer is enough:
     * opening an element empties it.
     */
    u_char                    *text;
    size_t                     len;
    size_t                     size;
};


static void s3_xml_write(s3_xml_t *x, const void *data, size_t len);
static void s3_xml_puts(s3_xml_t *x, const char *s);
static ngx_uint_t s3_xml_error_has(s3_failure_t *fail, const char *name);

static void s3_xml_fail(s3_xml_reader_t *r, s3_error_e error);
static void s3_xml_start_element(void *data, const xmlChar *name,
    const xmlChar *prefix, const xmlChar *uri, int nb_namespaces,
    const xmlChar **namespaces, int nb_attributes, int nb_defaulted,
    const xmlChar **attributes);
static void s3_xml_end_element(void *data, const xmlChar *name,
    const xmlChar *prefix, const xmlChar *uri);
static void s3_xml_characters(void *data, const xmlChar *ch, int len);
static void s3_xml_doctype(void *data, const xmlChar *name,
    const xmlChar *external_id, const xmlChar *system_id);
static void s3_xml_error_handler(void *data, S3_XML_ERROR_ARG error);


void
s3_xml_begin(s3_xml_t *x, ngx_pool_t *pool)
{
    ngx_memzero(x, sizeof(s3_xml_t));

    x->pool = pool;

    s3_xml_puts(x, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}


ngx_chain_t *
s3_xml_end(s3_xml_t *x)
{
    return x->failed ? NULL : x->first;
}


static void
s3_xml_write(s3_xml_t *x, const void *data, size_t len)
{
    size_t         n;
    ngx_buf_t     *b;
    ngx_chain_t   *cl;
    const u_char  *p;

    p = data;

    while (len && !x->failed) {

        b = x->last ? x->last->buf : NULL;

        if (b == NULL || b->last == b->end) {

            b = ngx_create_temp_buf(x->pool, x->first ? S3_XML_BUFFER
                                                      : S3_XML_BUFFER_FIRST);
            cl = ngx_alloc_chain_link(x->pool);

            if (b == NULL || cl == NULL) {
                x->failed = 1;
                return;
            }

            cl->buf = b;
            cl->next = NULL;

            if (x->last) {
                x->last->next = cl;

            } else {
                x->first = cl;
            }

            x->last = cl;
        }

        n = ngx_min(len, (size_t) (b->end - b->last));

        b->last = ngx_cpymem(b->last, p, n);

        x->size += n;
        p += n;
        len -= n;
    }
}


static void
s3_xml_puts(s3_xml_t *x, const char *s)
{
    s3_xml_write(x, s, ngx_strlen(s));
}


void
s3_xml_open(s3_xml_t *x, const char *name)
{
    s3_xml_write(x, "<", 1);
    s3_xml_puts(x, name);
    s3_xml_write(x, ">", 1);
}


void
s3_xml_open_ns(s3_xml_t *x, const char *name)
{
    s3_xml_write(x, "<", 1);
    s3_xml_puts(x, name);
    s3_xml_puts(x, " xmlns=\"" S3_XML_NS "\">");
}


void
s3_xml_close(s3_xml_t *x, const char *name)
{
    s3_xml_write(x, "</", 2);
    s3_xml_puts(x, name);
    s3_xml_write(x, ">", 1);
}


void
s3_xml_text(s3_xml_t *x, const char *name, ngx_str_t *value)
{
    s3_xml_open(x, name);
    s3_xml_value(x, value);
    s3_xml_close(x, name);
}


void
s3_xml_value(s3_xml_t *x, ngx_str_t *value)
{
    u_char      *p, *last, *run, *start;
    u_char       ref[sizeof("&#x10ffff;")];
    uint32_t     ch;
    const char  *s;

    if (value->len == 0) {
        return;
    }

    p = value->data;
    last = p + value->len;
    run = p;

    while (p < last) {

        start = p;
        ch = s3_utf8_next(&p, last);
        s = NULL;

        switch (ch) {
        case '&':
            s = "&amp;";
            break;
        case '<':
            s = "&lt;";
            break;
        case '>':
            s = "&gt;";
            break;
        case '"':
            s = "&quot;";
            break;
        case '\'':
            s = "&apos;";
            break;
        case S3_UTF8_INVALID:
            s = "\xef\xbf\xbd";
            break;
        default:
            /*
             * XML 1.0, 2.2 "Characters" and 2.11: a parser would turn CR into
             * LF and refuse the others.
             */
            if (ch >= 0x20 && ch != 0x7f && ch != 0xfffe && ch != 0xffff) {
                continue;
            }

            /* 0x7f, tab, LF and CR are legal as references */

            if (x->replace && ch != 0x7f && ch != '\t' && ch != LF
                && ch != CR)
            {
                s = "\xef\xbf\xbd";
            }
        }

        s3_xml_write(x, run, start - run);
        run = p;

        if (s) {
            s3_xml_puts(x, s);

        } else {
            s3_xml_write(x, ref, ngx_sprintf(ref, "&#x%uxD;", ch) - ref);
        }
    }

    s3_xml_write(x, run, last - run);
}


size_t
s3_xml_value_size(ngx_str_t *value)
{
    u_char  ch;
    size_t  i, size;

    size = value->len;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if (ch < 0x20 || ch == 0x7f || ch == '&' || ch == '<' || ch == '>'
            || ch == '"' || ch == '\'')
        {
            size += sizeof("&quot;") - 2;
        }
    }

    return size;
}


void
s3_xml_cstr(s3_xml_t *x, const char *name, const char *value)
{
    ngx_str_t  s;

    s.data = (u_char *) value;
    s.len = ngx_strlen(value);

    s3_xml_text(x, name, &s);
}


void
s3_xml_number(s3_xml_t *x, const char *name, uint64_t value)
{
    u_char  buf[NGX_INT64_LEN + 1];

    s3_xml_open(x, name);
    s3_xml_write(x, buf, ngx_sprintf(buf, "%uL", value) - buf);
    s3_xml_close(x, name);
}


void
s3_xml_bool(s3_xml_t *x, const char *name, ngx_uint_t value)
{
    s3_xml_cstr(x, name, value ? "true" : "false");
}


void
s3_xml_time(s3_xml_t *x, const char *name, int64_t msec)
{
    /* room for a year of more than four digits */
    u_char  buf[S3_DATE_EXTENDED_LEN + NGX_INT64_LEN];

    s3_xml_open(x, name);
    s3_xml_write(x, buf, s3_date_extended(buf, msec) - buf);
    s3_xml_close(x, name);
}


void
s3_xml_url(s3_xml_t *x, const char *name, ngx_str_t *value)
{
    u_char     buf[256 * 3];
    ngx_str_t  s;

    s3_xml_open(x, name);

    for (s = *value; s.len; /* void */) {
        s.len = ngx_min(value->data + value->len - s.data, 256);
        s3_xml_write(x, buf, s3_uri_encode(buf, &s, 1));
        s.data += s.len;
        s.len = value->data + value->len - s.data;
    }

    s3_xml_close(x, name);
}


void
s3_xml_etag(s3_xml_t *x, const char *name, ngx_str_t *value)
{
    s3_xml_open(x, name);
    s3_xml_puts(x, "&quot;");
    s3_xml_value(x, value);
    s3_xml_puts(x, "&quot;");
    s3_xml_close(x, name);
}


ngx_chain_t *
s3_xml_error(ngx_pool_t *pool, s3_failure_t *fail, ngx_str_t *resource,
    ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *request_id,
    ngx_str_t *host_id, size_t *size)
{
    s3_xml_t           x;
    ngx_uint_t         i;
    s3_error_t         error;
    ngx_chain_t       *out;

    s3_failure(fail, &error);

    s3_xml_begin(&x, pool);
    x.replace = 1;

    s3_xml_open(&x, "Error");

    s3_xml_text(&x, "Code", &error.code);
    s3_xml_text(&x, "Message", &error.message);

    for (i = 0; i < fail->nelements; i++) {
        /* names are constants of ours, or another server's; they end in NUL */
        s3_xml_text(&x, (char *) fail->elements[i].name.data,
                    &fail->elements[i].value);
    }

    if (key && key->len && !s3_xml_error_has(fail, "Key")) {
        s3_xml_text(&x, "Key", key);
    }

    if (bucket && bucket->len && !s3_xml_error_has(fail, "BucketName")) {
        s3_xml_text(&x, "BucketName", bucket);
    }

    if (resource && resource->len) {
        s3_xml_text(&x, "Resource", resource);
    }

    if (request_id && request_id->len) {
        s3_xml_text(&x, "RequestId", request_id);
    }

    if (host_id && host_id->len) {
        s3_xml_text(&x, "HostId", host_id);
    }

    s3_xml_close(&x, "Error");

    out = s3_xml_end(&x);

    if (out) {
        *size = x.size;
    }

    return out;
}


static ngx_uint_t
s3_xml_error_has(s3_failure_t *fail, const char *name)
{
    ngx_uint_t  i;

    for (i = 0; i < fail->nelements; i++) {
        if (ngx_strcmp(fail->elements[i].name.data, name) == 0) {
            return 1;
        }
    }

    return 0;
}


s3_error_e
s3_xml_read(ngx_chain_t *in, s3_xml_handler_pt handler, void *ctx)
{
    s3_error_e        rc;
    s3_xml_reader_t  *r;

    r = s3_xml_reader_create(handler, ctx);
    if (r == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    rc = S3_OK;

    for ( /* void */ ; in && rc == S3_OK; in = in->next) {
        rc = s3_xml_reader_feed(r, in->buf->pos, in->buf->last - in->buf->pos);
    }

    rc = s3_xml_reader_end(r);

    s3_xml_reader_destroy(r);

    return rc;
}


s3_xml_reader_t *
s3_xml_reader_create(s3_xml_handler_pt handler, void *ctx)
{
    xmlSAXHandler     sax;
    s3_xml_reader_t  *r;

    r = calloc(1, sizeof(s3_xml_reader_t));
    if (r == NULL) {
        return NULL;
    }

    ngx_memzero(&sax, sizeof(xmlSAXHandler));

    r->handler = handler;
    r->ctx = ctx;

    /*
     * No entity and no external handlers: an entity that is not predefined is
     * an error of well-formedness, a document type ends reading at once.
     */

    sax.initialized = XML_SAX2_MAGIC;
    sax.startElementNs = s3_xml_start_element;
    sax.endElementNs = s3_xml_end_element;
    sax.characters = s3_xml_characters;
    sax.ignorableWhitespace = s3_xml_characters;
    sax.cdataBlock = s3_xml_characters;
    sax.internalSubset = s3_xml_doctype;
    sax.serror = s3_xml_error_handler;

    r->parser = xmlCreatePushParserCtxt(&sax, r, NULL, 0, NULL);
    if (r->parser == NULL) {
        free(r);
        return NULL;
    }

    (void) xmlCtxtUseOptions(r->parser,
                             XML_PARSE_NONET|XML_PARSE_NOERROR
                             |XML_PARSE_NOWARNING);

    return r;
}


s3_error_e
s3_xml_reader_feed(s3_xml_reader_t *r, const u_char *p, size_t len)
{
    size_t             n;
    xmlParserInputPtr  in;

    for ( /* void */ ; len && r->error == S3_OK; p += n, len -= n) {

        n = ngx_min(len, S3_XML_PIECE);

        if (xmlParseChunk(r->parser, (char *) p, (int) n, 0) != 0) {
            s3_xml_fail(r, S3_ERR_MALFORMED_XML);
            break;
        }

        /*
         * libxml2 keeps a tag, a comment or a reference until its end has
         * come, and then compares each attribute of a tag with each.
         */

        in = r->parser->input;

        if (in && in->end - in->cur > S3_XML_MARKUP) {
            s3_xml_fail(r, S3_ERR_MALFORMED_XML);
        }
    }

    return r->error;
}


s3_error_e
s3_xml_reader_end(s3_xml_reader_t *r)
{
    if (r->error == S3_OK
        && (xmlParseChunk(r->parser, NULL, 0, 1) != 0
            || !r->parser->wellFormed))
    {
        s3_xml_fail(r, S3_ERR_MALFORMED_XML);
    }

    return r->error;
}


void
s3_xml_reader_destroy(s3_xml_reader_t *r)
{
    xmlFreeParserCtxt(r->parser);
    free(r->text);
    free(r);
}


static void
s3_xml_fail(s3_xml_reader_t *r, s3_error_e error)
{
    /* the first error is the one that is told */

    if (r->error == S3_OK) {
        r->error = error;
        xmlStopParser(r->parser);
    }
}


static void
s3_xml_start_element(void *data, const xmlChar *name, const xmlChar *prefix,
    const xmlChar *uri, int nb_namespaces, const xmlChar **namespaces,
    int nb_attributes, int nb_defaulted, const xmlChar **attributes)
{
    s3_error_e        rc;
    s3_xml_reader_t  *r = data;

    if (r->error != S3_OK) {
        return;
    }

    if (++r->depth > S3_XML_DEPTH
        || nb_attributes + nb_namespaces > S3_XML_ATTRIBUTES)
    {
        s3_xml_fail(r, S3_ERR_MALFORMED_XML);
        return;
    }

    r->len = 0;

    rc = r->handler(r->ctx, r->depth, (const char *) name, NULL);
    if (rc != S3_OK) {
        s3_xml_fail(r, rc);
    }
}


static void
s3_xml_end_element(void *data, const xmlChar *name, const xmlChar *prefix,
    const xmlChar *uri)
{
    ngx_str_t         text;
    s3_error_e        rc;
    s3_xml_reader_t  *r = data;

    if (r->error != S3_OK) {
        return;
    }

    text.data = r->text ? r->text : (u_char *) "";
    text.len = r->len;

    /* libxml2's xmlCheckCdataPush() takes characters that are too long */

    if (!s3_utf8_valid(&text)) {
        s3_xml_fail(r, S3_ERR_MALFORMED_XML);
        return;
    }

    rc = r->handler(r->ctx, r->depth, (const char *) name, &text);
    if (rc != S3_OK) {
        s3_xml_fail(r, rc);
        return;
    }

    r->depth--;
    r->len = 0;
}


static void
s3_xml_characters(void *data, const xmlChar *ch, int len)
{
    u_char           *p;
    size_t            size;
    s3_xml_reader_t  *r = data;

    if (r->error != S3_OK || len <= 0) {
        return;
    }

    if ((size_t) len > S3_XML_TEXT - r->len) {
        s3_xml_fail(r, S3_ERR_MALFORMED_XML);
        return;
    }

    if (r->len + len > r->size) {
        size = ngx_max(r->size * 2, 256);

        while (size < r->len + len) {
            size *= 2;
        }

        p = realloc(r->text, size);
        if (p == NULL) {
            s3_xml_fail(r, S3_ERR_INTERNAL_ERROR);
            return;
        }

        r->text = p;
        r->size = size;
    }

    ngx_memcpy(r->text + r->len, ch, len);
    r->len += len;
}


static void
s3_xml_doctype(void *data, const xmlChar *name, const xmlChar *external_id,
    const xmlChar *system_id)
{
    s3_xml_fail(data, S3_ERR_MALFORMED_XML);
}


static void
s3_xml_error_handler(void *data, S3_XML_ERROR_ARG error)
{
    /* xmlParseChunk() returns it; libxml2's own handler would print it */
}
