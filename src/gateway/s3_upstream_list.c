
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_upstream_list.h"


#define S3_UPSTREAM_LIST_TOKEN  "nginx."

/* of the root that are looked at: a list has each at most once */
#define S3_UPSTREAM_LIST_LEAVES  16


/* between a leaf's tags; name NULL: there is none any more */

typedef struct {
    ngx_str_t                  name;
    ngx_str_t                  text;
    ngx_uint_t                 depth;      /* of the leaf, 1 is the root's */
    u_char                    *start;      /* "<" of its tag */
    u_char                    *end;        /* behind its closing tag */
} s3_upstream_leaf_text_t;


typedef struct {
    u_char                    *pos;
    u_char                    *last;
    ngx_uint_t                 depth;
    ngx_str_t                  open;       /* name of the tag that is open */
    u_char                    *start;      /* its "<" */
    u_char                    *inner;      /* behind its ">"; NULL: something
                                              has come since */
} s3_upstream_walk_t;


/* what a page ends with, as it stands there */

typedef struct {
    ngx_str_t                  key;        /* the last one */
    ngx_str_t                  prefix;     /* the last common one */
    ngx_str_t                  marker;     /* NextMarker, NextKeyMarker */
} s3_upstream_list_ends_t;


static ngx_uint_t s3_upstream_list_next(s3_upstream_walk_t *w,
    s3_upstream_leaf_text_t *leaf);
static ngx_uint_t s3_upstream_list_is(ngx_str_t *name, const char *is);
static ngx_int_t s3_upstream_list_leaf(ngx_pool_t *pool,
    s3_list_params_t *params, s3_upstream_leaf_text_t *leaf,
    s3_upstream_list_ends_t *ends, ngx_str_t *value);
static ngx_int_t s3_upstream_list_is_marker(ngx_pool_t *pool,
    s3_upstream_list_ends_t *ends, ngx_str_t *encoded);
static ngx_int_t s3_upstream_list_next_token(ngx_pool_t *pool,
    ngx_str_t *text, ngx_str_t *value);
static ngx_uint_t s3_upstream_list_in_xml(ngx_str_t *text);
static ngx_uint_t s3_upstream_list_wrapped(ngx_str_t *token);
static ngx_int_t s3_upstream_list_encode(ngx_pool_t *pool, ngx_str_t *value,
    ngx_str_t *encoded);
static ngx_int_t s3_upstream_list_unescape(ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *value);
static u_char *s3_upstream_list_entity(u_char *p, u_char *last, u_char **dst);
static ngx_int_t s3_upstream_list_add(ngx_pool_t *pool, ngx_chain_t ***next,
    u_char *start, u_char *end, size_t *size);


ngx_int_t
s3_upstream_list_mend(ngx_pool_t *pool, s3_list_params_t *params,
    ngx_str_t *document, ngx_chain_t **out, size_t *size)
{
    u_char                   *kept;
    ngx_int_t                 rc;
    ngx_str_t                 value;
    ngx_uint_t                encoded, leaves;
    ngx_chain_t             **next;
    s3_upstream_walk_t        w;
    s3_upstream_leaf_text_t   leaf;
    s3_upstream_list_ends_t   ends;

    ngx_memzero(&ends, sizeof(s3_upstream_list_ends_t));

    encoded = 0;

    ngx_memzero(&w, sizeof(s3_upstream_walk_t));

    w.pos = document->data;
    w.last = document->data + document->len;

    while (s3_upstream_list_next(&w, &leaf)) {

        if (leaf.depth == 2 && s3_upstream_list_is(&leaf.name, "EncodingType"))
        {
            encoded = 1;

        } else if (leaf.depth == 2
                   && (s3_upstream_list_is(&leaf.name, "NextMarker")
                       || s3_upstream_list_is(&leaf.name, "NextKeyMarker")))
        {
            ends.marker = leaf.text;

        } else if (leaf.depth == 3 && s3_upstream_list_is(&leaf.name, "Key")) {
            ends.key = leaf.text;

        } else if (leaf.depth == 3
                   && s3_upstream_list_is(&leaf.name, "Prefix"))
        {
            ends.prefix = leaf.text;
        }
    }

    if (!encoded) {
        return NGX_DECLINED;
    }

    *size = 0;
    leaves = 0;
    next = out;
    kept = document->data;

    ngx_memzero(&w, sizeof(s3_upstream_walk_t));

    w.pos = document->data;
    w.last = document->data + document->len;

    while (s3_upstream_list_next(&w, &leaf)) {

        if (leaf.depth != 2) {
            continue;
        }

        rc = s3_upstream_list_leaf(pool, params, &leaf, &ends, &value);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (leaves++ == S3_UPSTREAM_LIST_LEAVES) {
            break;
        }

        if (rc == NGX_DECLINED) {
            continue;
        }

        if (value.data == NULL) {

            /* the leaf goes */

            rc = s3_upstream_list_add(pool, &next, kept, leaf.start, size);
            kept = leaf.end;

        } else {
            rc = s3_upstream_list_add(pool, &next, kept, leaf.text.data,
                                      size);

            if (rc == NGX_OK) {
                rc = s3_upstream_list_add(pool, &next, value.data,
                                          value.data + value.len, size);
            }

            kept = leaf.text.data + leaf.text.len;
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (kept == document->data) {
        return NGX_DECLINED;
    }

    rc = s3_upstream_list_add(pool, &next, kept, w.last, size);
    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the next element that has text, or nothing, and no elements in it */

static ngx_uint_t
s3_upstream_list_next(s3_upstream_walk_t *w, s3_upstream_leaf_text_t *leaf)
{
    u_char  *p, *end, *name;

    for ( ;; ) {

        p = ngx_strlchr(w->pos, w->last, '<');
        if (p == NULL) {
            return 0;
        }

        end = ngx_strlchr(p, w->last, '>');
        if (end == NULL) {
            return 0;
        }

        w->pos = end + 1;

        if (p[1] == '?' || p[1] == '!') {
            continue;
        }

        if (p[1] == '/') {

            if (w->depth == 0) {
                return 0;
            }

            leaf->depth = w->depth--;

            if (w->inner == NULL) {
                continue;
            }

            leaf->name = w->open;
            leaf->start = w->start;
            leaf->text.data = w->inner;
            leaf->text.len = p - w->inner;
            leaf->end = w->pos;

            w->inner = NULL;

            return 1;
        }

        if (end[-1] == '/') {
            w->inner = NULL;
            continue;
        }

        name = p + 1;

        for (p = name; p < end && *p != ' ' && *p != '\t' && *p != '\r'
                       && *p != '\n'; p++)
        {
            /* void */
        }

        w->open.data = name;
        w->open.len = p - name;
        w->start = name - 1;
        w->inner = w->pos;
        w->depth++;
    }
}


static ngx_uint_t
s3_upstream_list_is(ngx_str_t *name, const char *is)
{
    return name->len == ngx_strlen(is)
           && ngx_memcmp(name->data, is, name->len) == 0;
}


/*
 * NGX_OK: value is to be there instead; data NULL: the whole leaf is not;
 * NGX_DECLINED: it stays.
 */

static ngx_int_t
s3_upstream_list_leaf(ngx_pool_t *pool, s3_list_params_t *params,
    s3_upstream_leaf_text_t *leaf, s3_upstream_list_ends_t *ends,
    ngx_str_t *value)
{
    ngx_int_t   rc;
    ngx_str_t  *name, raw;

    name = &leaf->name;

    if (s3_upstream_list_is(name, "Prefix")) {
        return s3_upstream_list_encode(pool, &params->prefix, value);
    }

    if (s3_upstream_list_is(name, "Delimiter")) {
        return s3_upstream_list_encode(pool, &params->delimiter, value);
    }

    if (s3_upstream_list_is(name, "Marker")
        || s3_upstream_list_is(name, "KeyMarker")
        || s3_upstream_list_is(name, "StartAfter"))
    {
        return s3_upstream_list_encode(pool, &params->start_after, value);
    }

    if (s3_upstream_list_is(name, "ContinuationToken")) {
        *value = params->continuation_token;
        return s3_upstream_list_token(pool, value, &raw);
    }

    if (s3_upstream_list_is(name, "NextContinuationToken")) {
        return s3_upstream_list_next_token(pool, &leaf->text, value);
    }

    if (s3_upstream_list_is(name, "NextMarker") && params->delimiter.len == 0)
    {
        /* "returned only if you have the delimiter request parameter
         * specified" (ListObjects) */

        ngx_str_null(value);
        return NGX_OK;
    }

    if (s3_upstream_list_is(name, "NextMarker")
        || s3_upstream_list_is(name, "NextKeyMarker"))
    {
        *value = ends->key;
        rc = s3_upstream_list_is_marker(pool, ends, &ends->key);

        if (rc == NGX_DECLINED) {
            *value = ends->prefix;
            rc = s3_upstream_list_is_marker(pool, ends, &ends->prefix);
        }

        return rc;
    }

    if (s3_upstream_list_is(name, "NextVersionIdMarker")) {

        /* a common prefix has no versions */

        ngx_str_null(value);
        return s3_upstream_list_is_marker(pool, ends, &ends->prefix);
    }

    return NGX_DECLINED;
}


/* NGX_OK: the marker is that key or prefix; NGX_DECLINED, NGX_ERROR */

static ngx_int_t
s3_upstream_list_is_marker(ngx_pool_t *pool, s3_upstream_list_ends_t *ends,
    ngx_str_t *encoded)
{
    size_t      len;
    u_char     *p;
    ngx_str_t   raw;

    if (encoded->len == 0 || ends->marker.len == 0) {
        return NGX_DECLINED;
    }

    if (encoded->len == ends->marker.len
        && ngx_memcmp(encoded->data, ends->marker.data, encoded->len) == 0)
    {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, encoded->len);

    if (p == NULL
        || s3_upstream_list_unescape(pool, &ends->marker, &raw) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return s3_uri_decode(p, &len, encoded, 1) == NGX_OK
           && len == raw.len && ngx_memcmp(p, raw.data, len) == 0
           ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
s3_upstream_list_next_token(ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *value)
{
    u_char     *p;
    ngx_str_t   raw, token;

    if (s3_upstream_list_unescape(pool, text, &raw) != NGX_OK) {
        return NGX_ERROR;
    }

    if ((!s3_upstream_list_wrapped(&raw) && s3_upstream_list_in_xml(&raw))
        || raw.len > S3_KEY_MAX)
    {
        return NGX_DECLINED;
    }

    if (s3_list_token_encode(pool, &raw, 0, &token) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(pool, sizeof(S3_UPSTREAM_LIST_TOKEN) + token.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;
    value->len = ngx_sprintf(p, S3_UPSTREAM_LIST_TOKEN "%V", &token) - p;

    return NGX_OK;
}


/* control characters are none that XML can hold, nor are U+FFFE and U+FFFF */

static ngx_uint_t
s3_upstream_list_in_xml(ngx_str_t *text)
{
    u_char  *p, *last;

    last = text->data + text->len;

    for (p = text->data; p < last; p++) {

        if (*p < 0x20
            || (*p == 0xef && last - p >= 3 && p[1] == 0xbf && p[2] >= 0xbe))
        {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
s3_upstream_list_wrapped(ngx_str_t *token)
{
    return token->len >= sizeof(S3_UPSTREAM_LIST_TOKEN) - 1
           && ngx_memcmp(token->data, S3_UPSTREAM_LIST_TOKEN,
                         sizeof(S3_UPSTREAM_LIST_TOKEN) - 1)
              == 0;
}


ngx_int_t
s3_upstream_list_token(ngx_pool_t *pool, ngx_str_t *token, ngx_str_t *raw)
{
    ngx_str_t   rest;
    ngx_uint_t  is_prefix;

    if (!s3_upstream_list_wrapped(token)) {
        return NGX_DECLINED;
    }

    rest.data = token->data + sizeof(S3_UPSTREAM_LIST_TOKEN) - 1;
    rest.len = token->len - (sizeof(S3_UPSTREAM_LIST_TOKEN) - 1);

    return s3_list_token_decode(pool, &rest, raw, &is_prefix);
}


static ngx_int_t
s3_upstream_list_encode(ngx_pool_t *pool, ngx_str_t *value,
    ngx_str_t *encoded)
{
    encoded->data = ngx_pnalloc(pool, s3_uri_encode(NULL, value, 1) + 1);

    if (encoded->data == NULL) {
        return NGX_ERROR;
    }

    encoded->len = s3_uri_encode(encoded->data, value, 1);

    return NGX_OK;
}


/* references, to what a key may hold: bytes up to 0x7f */

static ngx_int_t
s3_upstream_list_unescape(ngx_pool_t *pool, ngx_str_t *text, ngx_str_t *value)
{
    u_char  *p, *dst, *last;

    dst = ngx_pnalloc(pool, text->len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    value->data = dst;

    last = text->data + text->len;

    for (p = text->data; p < last; /* void */ ) {

        if (*p == '&') {
            p = s3_upstream_list_entity(p, last, &dst);

        } else {
            *dst++ = *p++;
        }
    }

    value->len = dst - value->data;

    return NGX_OK;
}


/* what is no reference stays as it is */

static u_char *
s3_upstream_list_entity(u_char *p, u_char *last, u_char **dst)
{
    u_char      *end;
    size_t       len;
    ngx_int_t    n;
    ngx_uint_t   i;

    static const struct {
        const char  *name;
        u_char       ch;
    } entities[] = {
        { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' },
        { "apos", '\'' }
    };

    end = ngx_strlchr(p, ngx_min(last, p + 10), ';');

    if (end == NULL || end - p < 2) {
        *(*dst)++ = *p++;
        return p;
    }

    len = end - p - 1;

    for (i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {

        if (len == ngx_strlen(entities[i].name)
            && ngx_memcmp(p + 1, entities[i].name, len) == 0)
        {
            *(*dst)++ = entities[i].ch;
            return end + 1;
        }
    }

    n = NGX_ERROR;

    if (p[1] == '#' && len > 1) {
        n = (p[2] == 'x' || p[2] == 'X') ? ngx_hextoi(p + 3, len - 2)
                                         : ngx_atoi(p + 2, len - 1);
    }

    if (n < 0 || n > 0x7f) {
        *(*dst)++ = *p++;
        return p;
    }

    *(*dst)++ = (u_char) n;

    return end + 1;
}


static ngx_int_t
s3_upstream_list_add(ngx_pool_t *pool, ngx_chain_t ***next, u_char *start,
    u_char *end, size_t *size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (start == end) {
        return NGX_OK;
    }

    b = ngx_calloc_buf(pool);
    cl = ngx_alloc_chain_link(pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->start = start;
    b->pos = start;
    b->last = end;
    b->end = end;
    b->memory = 1;

    cl->buf = b;

    cl->next = NULL;
    **next = cl;
    *next = &cl->next;

    *size += end - start;

    return NGX_OK;
}
