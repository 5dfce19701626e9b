
#include "s3_buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


#define S3_BUF_MAX    (64 * 1024 * 1024)
#define S3_BUF_FIRST  256


void
s3_buf_free(s3_buf_t *b)
{
    free(b->data);
    memset(b, 0, sizeof(s3_buf_t));
}


uint8_t *
s3_buf_reserve(s3_buf_t *b, size_t len)
{
    size_t    max, size;
    uint8_t  *p;

    if (b->error) {
        return NULL;
    }

    max = b->max ? b->max : S3_BUF_MAX;

    /* b->len never exceeds max, but max may have been lowered since */

    if (b->len > max || len > max - b->len) {
        b->error = EMSGSIZE;
        return NULL;
    }

    if (b->data == NULL || len > b->size - b->len) {
        size = b->size ? b->size : S3_BUF_FIRST;

        while (size < b->len + len) {
            size = (size > max / 2) ? b->len + len : size * 2;
        }

        p = realloc(b->data, size);
        if (p == NULL) {
            b->error = ENOMEM;
            return NULL;
        }

        b->data = p;
        b->size = size;
    }

    p = b->data + b->len;
    b->len += len;

    return p;
}


void
s3_buf_bytes(s3_buf_t *b, const void *p, size_t len)
{
    uint8_t  *dst;

    dst = s3_buf_reserve(b, len);

    if (dst != NULL && len) {
        memcpy(dst, p, len);
    }
}


static void
s3_buf_uint(s3_buf_t *b, uint64_t v, size_t len)
{
    size_t    i;
    uint8_t  *dst;

    dst = s3_buf_reserve(b, len);

    if (dst == NULL) {
        return;
    }

    for (i = 0; i < len; i++) {
        dst[i] = (uint8_t) (v >> (8 * i));
    }
}


void
s3_buf_u8(s3_buf_t *b, uint8_t v)
{
    s3_buf_uint(b, v, 1);
}


void
s3_buf_u16(s3_buf_t *b, uint16_t v)
{
    s3_buf_uint(b, v, 2);
}


void
s3_buf_u32(s3_buf_t *b, uint32_t v)
{
    s3_buf_uint(b, v, 4);
}


void
s3_buf_u64(s3_buf_t *b, uint64_t v)
{
    s3_buf_uint(b, v, 8);
}


void
s3_buf_slice(s3_buf_t *b, const void *p, size_t len)
{
    if (len > UINT32_MAX) {
        if (b->error == 0) {
            b->error = EMSGSIZE;
        }

        return;
    }

    s3_buf_u32(b, (uint32_t) len);
    s3_buf_bytes(b, p, len);
}


void
s3_reader_init(s3_reader_t *r, const void *p, size_t len)
{
    /* never NULL: pos == last == NULL would be passed on to memcpy() */

    r->pos = (p != NULL) ? p : (const void *) "";
    r->last = r->pos + (p != NULL ? len : 0);
    r->error = 0;
}


/* len bytes of the reader, or NULL */

static const uint8_t *
s3_read_take(s3_reader_t *r, size_t len)
{
    const uint8_t  *p;

    if (r->error) {
        return NULL;
    }

    if (len > (size_t) (r->last - r->pos)) {
        r->error = EBADMSG;
        return NULL;
    }

    p = r->pos;
    r->pos += len;

    return p;
}


static uint64_t
s3_read_uint(s3_reader_t *r, size_t len)
{
    size_t          i;
    uint64_t        v;
    const uint8_t  *p;

    p = s3_read_take(r, len);

    if (p == NULL) {
        return 0;
    }

    v = 0;

    for (i = 0; i < len; i++) {
        v |= (uint64_t) p[i] << (8 * i);
    }

    return v;
}


uint8_t
s3_read_u8(s3_reader_t *r)
{
    return (uint8_t) s3_read_uint(r, 1);
}


uint16_t
s3_read_u16(s3_reader_t *r)
{
    return (uint16_t) s3_read_uint(r, 2);
}


uint32_t
s3_read_u32(s3_reader_t *r)
{
    return (uint32_t) s3_read_uint(r, 4);
}


uint64_t
s3_read_u64(s3_reader_t *r)
{
    return s3_read_uint(r, 8);
}


s3_slice_t
s3_read_slice(s3_reader_t *r)
{
    uint32_t        len;
    s3_slice_t      s;
    const uint8_t  *p;

    len = s3_read_u32(r);
    p = s3_read_take(r, len);

    if (p == NULL) {
        s.data = (const uint8_t *) "";
        s.len = 0;
        return s;
    }

    s.data = p;
    s.len = len;

    return s;
}


void
s3_read_bytes(s3_reader_t *r, void *dst, size_t len)
{
    const uint8_t  *p;

    p = s3_read_take(r, len);

    if (p == NULL) {
        memset(dst, 0, len);
        return;
    }

    memcpy(dst, p, len);
}
