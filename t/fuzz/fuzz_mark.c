
/*
 * What a gateway finds in its service bucket: header values, names of parts,
 * bodies.  What is taken for its own comes out the same when it is written
 * again, and counts for its own entity tag only.
 *
 *     input = kind, bytes at a time (of a body), text
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_mark.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


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


static void
fuzz_value(ngx_pool_t *pool, ngx_str_t *text)
{
    u_char              *p;
    s3_mark_e            mark;
    ngx_str_t            etag, other, value;
    ngx_uint_t           i;
    s3_checksum_text_t   sum, again;

    /* of the object whose entity tag it names */

    p = ngx_strlchr(text->data, text->data + text->len, ' ');

    etag.data = text->data;
    etag.len = p ? (size_t) (p - text->data) : text->len;

    mark = s3_mark_read(text, &etag, &sum);

    if (mark != S3_MARK_HERE) {
        fuzz_check(mark == S3_MARK_NONE
                   || (text->len == 6
                       && ngx_memcmp(text->data, "record", 6) == 0));
        return;
    }

    fuzz_check(s3_checksum_info(sum.algorithm) != NULL);
    fuzz_check(sum.text.len >= s3_checksum_info(sum.algorithm)->text_len);
    fuzz_check(sum.text.data >= text->data
               && sum.text.data + sum.text.len <= text->data + text->len);

    for (i = 0; i < sum.text.len; i++) {
        fuzz_check(sum.text.data[i] > 0x20 && sum.text.data[i] < 0x7f);
    }

    /* the same but for the case of the algorithm and a space at the end */

    fuzz_check(s3_mark_write(pool, &etag, &sum, &value) == NGX_OK);
    fuzz_check(value.len == text->len
               || (value.len + 1 == text->len
                   && text->data[value.len] == ' '));
    fuzz_check(ngx_strncasecmp(value.data, text->data, value.len) == 0);

    fuzz_check(s3_mark_read(&value, &etag, &again) == S3_MARK_HERE);
    fuzz_check(again.algorithm == sum.algorithm
               && fuzz_same(&again.type, &sum.type)
               && fuzz_same(&again.text, &sum.text));

    /* of none whose is longer, or shorter */

    other.len = etag.len + 1;
    other.data = ngx_pnalloc(pool, other.len);
    ngx_memcpy(other.data, etag.data, etag.len);
    other.data[etag.len] = 'x';
    fuzz_check(s3_mark_read(text, &other, &again) == S3_MARK_NONE);

    other.len = etag.len - 1;
    fuzz_check(s3_mark_read(text, &other, &again) == S3_MARK_NONE);
}


static void
fuzz_upload(ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_str_t              value;
    s3_upload_checksum_t   sum, again;

    if (s3_mark_upload_read(text, &sum) != NGX_OK) {
        return;
    }

    fuzz_check(s3_mark_upload_write(pool, &sum, &value) == NGX_OK);
    fuzz_check(value.len <= text->len
               || sum.algorithm == S3_CHECKSUM_NONE);

    fuzz_check(s3_mark_upload_read(&value, &again) == NGX_OK);
    fuzz_check(again.algorithm == sum.algorithm
               && again.composite == sum.composite);
}


static void
fuzz_part(ngx_pool_t *pool, ngx_str_t *text)
{
    ngx_str_t          prefix, name;
    ngx_uint_t         i;
    s3_stored_part_t   part, again;

    ngx_str_set(&prefix, "");

    if (s3_mark_part_read(text, &part) != NGX_OK) {
        return;
    }

    fuzz_check(part.number >= 1 && part.number <= S3_PART_NUMBER_MAX);
    fuzz_check(part.nsums <= S3_PART_SUMS);

    for (i = 0; i < part.nsums; i++) {
        fuzz_check(s3_checksum_info(part.sums[i].algorithm) != NULL);
    }

    fuzz_check(s3_mark_part_write(pool, &prefix, &part, &name) == NGX_OK);
    fuzz_check(s3_mark_part_read(&name, &again) == NGX_OK);
    fuzz_check(ngx_memcmp(&part, &again, sizeof(part)) == 0);

    /* names that are in order are parts in order: five digits */

    fuzz_check(name.len > 6 && name.data[5] == '-');
}


static void
fuzz_body_same(s3_mark_body_t *a, s3_mark_body_t *b)
{
    ngx_uint_t  i;

    fuzz_check(fuzz_same(&a->bucket, &b->bucket)
               && fuzz_same(&a->key, &b->key)
               && fuzz_same(&a->upload_id, &b->upload_id)
               && a->nparts == b->nparts
               && (a->parts == NULL) == (b->parts == NULL));

    for (i = 0; i < a->nparts; i++) {
        fuzz_check(a->parts[i].number >= 1
                   && a->parts[i].number <= S3_PART_NUMBER_MAX);
        fuzz_check(a->parts[i].number == b->parts[i].number
                   && a->parts[i].size == b->parts[i].size
                   && fuzz_same(&a->parts[i].checksum.text,
                                &b->parts[i].checksum.text));
    }
}


static void
fuzz_body(ngx_pool_t *pool, ngx_str_t *text, size_t piece)
{
    u_char          *p, *last;
    ngx_buf_t       *b, one;
    ngx_int_t        rc;
    ngx_str_t        written;
    ngx_chain_t     *in, **next, *cl, whole;
    s3_mark_body_t   body, again;

    in = NULL;
    next = &in;
    last = text->data + text->len;

    for (p = text->data; p < last; p = b->last) {
        b = ngx_calloc_buf(pool);
        cl = ngx_alloc_chain_link(pool);

        b->pos = p;
        b->last = p + ngx_min(piece, (size_t) (last - p));
        b->memory = 1;

        cl->buf = b;
        cl->next = NULL;
        *next = cl;
        next = &cl->next;
    }

    rc = s3_mark_body_read(pool, in, text->len, &body);
    fuzz_check(rc == NGX_OK || rc == NGX_DECLINED);

    ngx_memzero(&one, sizeof(ngx_buf_t));
    whole.buf = &one;
    whole.next = NULL;

    one.pos = text->data;
    one.last = last;
    fuzz_check(s3_mark_body_read(pool, &whole, text->len, &again) == rc);

    if (rc != NGX_OK) {
        return;
    }

    fuzz_body_same(&body, &again);

    fuzz_check(s3_mark_body_write(pool, &body, &written) == NGX_OK);

    one.pos = written.data;
    one.last = written.data + written.len;
    fuzz_check(s3_mark_body_read(pool, &whole, written.len, &again)
               == NGX_OK);
    fuzz_body_same(&body, &again);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_str_t    text;
    ngx_pool_t  *pool;

    if (size < 2) {
        return 0;
    }

    pool = s3_test_pool();

    text.len = size - 2;
    text.data = ngx_pnalloc(pool, text.len + 1);
    ngx_memcpy(text.data, data + 2, text.len);

    /* strings have no end of their own */

    text.data[text.len] = 'A';

    switch (data[0] & 3) {

    case 0:
        fuzz_value(pool, &text);
        break;

    case 1:
        fuzz_upload(pool, &text);
        break;

    case 2:
        fuzz_part(pool, &text);
        break;

    default:
        fuzz_body(pool, &text, data[1] ? data[1] : 65536);
        break;
    }

    s3_test_pool_free(pool);

    return 0;
}
