
/*
 * An upstream's list with encoding-type=url, mended: as large as it may be,
 * still the document that it was, and with what was asked for in it.
 *
 *     input = prefix LF delimiter LF marker LF token LF document
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_target.h"
#include "s3_upstream_list.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


typedef struct {
    ngx_pool_t        *pool;
    s3_list_params_t  *params;         /* NULL: as it came */
    ngx_array_t        rest;           /* u_char: all but what is mended */
    ngx_str_t          token;          /* NextContinuationToken, the last */
    ngx_uint_t         tokens;
} fuzz_document_t;


static void
fuzz_check(int ok)
{
    if (!ok) {
        abort();
    }
}


static int
fuzz_same(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}


/* the text of a value that was asked for */

static void
fuzz_encoded(ngx_pool_t *pool, ngx_str_t *text, ngx_str_t *value)
{
    ngx_str_t  encoded;

    encoded.data = ngx_pnalloc(pool, 3 * value->len + 1);
    encoded.len = s3_uri_encode(encoded.data, value, 1);

    fuzz_check(fuzz_same(text, &encoded));
}


static s3_error_e
fuzz_element(void *ctx, ngx_uint_t depth, const char *name, ngx_str_t *text)
{
    size_t             len;
    u_char            *p;
    s3_list_params_t  *params;
    fuzz_document_t   *d = ctx;

    params = d->params;

    if (depth == 2) {

        if (ngx_strcmp(name, "Prefix") == 0) {
            if (params && text) {
                fuzz_encoded(d->pool, text, &params->prefix);
            }

            return S3_OK;
        }

        if (ngx_strcmp(name, "Delimiter") == 0) {
            if (params && text) {
                fuzz_encoded(d->pool, text, &params->delimiter);
            }

            return S3_OK;
        }

        if (ngx_strcmp(name, "Marker") == 0
            || ngx_strcmp(name, "KeyMarker") == 0
            || ngx_strcmp(name, "StartAfter") == 0)
        {
            if (params && text) {
                fuzz_encoded(d->pool, text, &params->start_after);
            }

            return S3_OK;
        }

        if (ngx_strcmp(name, "NextMarker") == 0
            || ngx_strcmp(name, "NextKeyMarker") == 0
            || ngx_strcmp(name, "NextVersionIdMarker") == 0
            || ngx_strcmp(name, "ContinuationToken") == 0)
        {
            fuzz_check(params == NULL || params->delimiter.len
                       || ngx_strcmp(name, "NextMarker") != 0);
            return S3_OK;
        }

        if (ngx_strcmp(name, "NextContinuationToken") == 0) {

            if (text) {
                d->tokens++;
                d->token.len = text->len;
                d->token.data = ngx_pnalloc(d->pool, text->len + 1);
                ngx_memcpy(d->token.data, text->data, text->len);
            }

            return S3_OK;
        }
    }

    /* the reader gives the text behind the last element that is in another */

    if (text && depth == 1) {
        text->len = 0;
    }

    len = ngx_strlen(name) + 1;
    p = ngx_array_push_n(&d->rest, 2 + len + (text ? text->len : 0));

    *p++ = (u_char) depth;
    *p++ = text ? 1 : 0;
    p = ngx_cpymem(p, name, len);

    if (text) {
        ngx_memcpy(p, text->data, text->len);
    }

    return S3_OK;
}


static s3_error_e
fuzz_read(fuzz_document_t *d, ngx_pool_t *pool, s3_list_params_t *params,
    ngx_chain_t *in)
{
    ngx_memzero(d, sizeof(fuzz_document_t));

    d->pool = pool;
    d->params = params;

    fuzz_check(ngx_array_init(&d->rest, pool, 1024, 1) == NGX_OK);

    return s3_xml_read(in, fuzz_element, d);
}


/*
 * Lists have no comments, sections, instructions but the first, and no ">" in
 * an attribute: documents that have are gone through by other tags than an
 * XML reader would.
 */

static ngx_uint_t
fuzz_plain(ngx_str_t *document)
{
    u_char  *p, *last, quote, named;

    last = document->data + document->len;

    for (p = document->data; p < last; p++) {

        if (*p != '<') {
            continue;
        }

        if (last - p > 1 && (p[1] == '!' || (p[1] == '?'
                                             && p != document->data)))
        {
            return 0;
        }

        quote = 0;
        named = 0;

        for (p++; p < last && (*p != '>' || quote); p++) {

            if (*p == '>') {
                return 0;
            }

            if (quote) {
                quote = (*p == quote) ? 0 : quote;

            } else if (*p == '"' || *p == '\'') {
                quote = *p;
            }

            /* the local name is looked at by an XML reader, all of it here */

            if (*p == ':' && !named) {
                return 0;
            }

            if (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n') {
                named = 1;
            }
        }
    }

    return 1;
}


/* what a client sends back is what the upstream said */

static void
fuzz_tokens(ngx_pool_t *pool, ngx_str_t *before, ngx_str_t *after)
{
    ngx_str_t  raw;

    if (s3_upstream_list_token(pool, after, &raw) != NGX_OK) {
        raw = *after;
    }

    fuzz_check(before->len > S3_KEY_MAX || fuzz_same(&raw, before));
}


static void
fuzz_mend(ngx_pool_t *pool, s3_list_params_t *params, ngx_str_t *document)
{
    size_t            size, n, most, leaves;
    u_char           *p;
    ngx_buf_t         b;
    ngx_int_t         rc;
    s3_error_e        read;
    ngx_chain_t      *out, *cl, in;
    fuzz_document_t   before, after;

    size = 0;
    out = NULL;

    rc = s3_upstream_list_mend(pool, params, document, &out, &size);

    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc != NGX_OK) {
        return;
    }

    for (cl = out, n = 0; cl; cl = cl->next) {
        fuzz_check(cl->buf->last > cl->buf->pos);
        n += cl->buf->last - cl->buf->pos;
    }

    fuzz_check(n == size);

    /* each leaf with the longest value there is: escaped, another's, a token
     * in base64 */

    for (p = document->data, leaves = 0;
         p < document->data + document->len; p++)
    {
        leaves += (*p == '<');
    }

    most = ngx_max(document->len, 2 * S3_KEY_MAX);
    most = ngx_max(most, 3 * params->prefix.len);
    most = ngx_max(most, 3 * params->delimiter.len);
    most = ngx_max(most, 3 * params->start_after.len);
    most = ngx_max(most, params->continuation_token.len);

    fuzz_check(size <= document->len + leaves * most);

    /* the document that it was */

    if (!fuzz_plain(document)) {
        return;
    }

    ngx_memzero(&b, sizeof(ngx_buf_t));
    b.pos = document->data;
    b.last = document->data + document->len;
    in.buf = &b;
    in.next = NULL;

    if (fuzz_read(&before, pool, NULL, &in) != S3_OK) {
        return;
    }

    read = fuzz_read(&after, pool, params, out);

    fuzz_check(read == S3_OK);
    fuzz_check(before.rest.nelts == after.rest.nelts
               && ngx_memcmp(before.rest.elts, after.rest.elts,
                             before.rest.nelts) == 0);
    fuzz_check(before.tokens == after.tokens);

    if (before.tokens) {
        fuzz_tokens(pool, &before.token, &after.token);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char            *p, *end;
    ngx_str_t          text, raw, *values[4];
    ngx_uint_t         i;
    ngx_pool_t        *pool;
    s3_list_params_t   params;

    pool = s3_test_pool();

    ngx_memzero(&params, sizeof(s3_list_params_t));
    params.encoding_url = 1;

    values[0] = &params.prefix;
    values[1] = &params.delimiter;
    values[2] = &params.start_after;
    values[3] = &params.continuation_token;

    text.len = size;
    text.data = ngx_pnalloc(pool, size ? size : 1);
    ngx_memcpy(text.data, data, size);

    for (i = 0; i < 4; i++) {
        end = ngx_strlchr(text.data, text.data + text.len, LF);

        if (end == NULL) {
            s3_test_pool_free(pool);
            return 0;
        }

        values[i]->data = text.data;
        values[i]->len = end - text.data;

        text.len -= end + 1 - text.data;
        text.data = end + 1;
    }

    /* a token of a client's: ours, or nobody's */

    if (s3_upstream_list_token(pool, &params.continuation_token, &raw)
        == NGX_OK)
    {
        fuzz_check(raw.len >= 1 && raw.len <= S3_KEY_MAX);
    }

    /* bytes of its own, nothing behind them */

    p = ngx_pnalloc(pool, text.len ? text.len : 1);
    ngx_memcpy(p, text.data, text.len);
    text.data = p;

    fuzz_mend(pool, &params, &text);

    s3_test_pool_free(pool);

    return 0;
}
