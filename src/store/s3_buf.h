#ifndef _S3_BUF_H_INCLUDED_
#define _S3_BUF_H_INCLUDED_


/*
 * Bytes written one after the other, and read back without trusting a length.
 * Integers are little endian.  A writer that runs out of memory or over its
 * bound remembers it (error); a reader that runs over the end likewise: the
 * caller looks once, at the end.
 */


#include <stddef.h>
#include <stdint.h>


typedef struct {
    const uint8_t   *data;
    size_t           len;
} s3_slice_t;


typedef struct {
    uint8_t         *data;
    size_t           len;
    size_t           size;      /* allocated */
    size_t           max;       /* bound, 0: 64 MiB */
    int              error;     /* 0, ENOMEM or EMSGSIZE */
} s3_buf_t;


typedef struct {
    const uint8_t   *pos;
    const uint8_t   *last;
    int              error;     /* 0 or EBADMSG */
} s3_reader_t;


void s3_buf_free(s3_buf_t *b);               /* and zeroes it: usable again */

/* appends len bytes, for the caller to fill before the next call; NULL: error
 * is set */
uint8_t *s3_buf_reserve(s3_buf_t *b, size_t len);
void s3_buf_bytes(s3_buf_t *b, const void *p, size_t len);
void s3_buf_u8(s3_buf_t *b, uint8_t v);
void s3_buf_u16(s3_buf_t *b, uint16_t v);
void s3_buf_u32(s3_buf_t *b, uint32_t v);
void s3_buf_u64(s3_buf_t *b, uint64_t v);
void s3_buf_slice(s3_buf_t *b, const void *p, size_t len);   /* u32, bytes */

void s3_reader_init(s3_reader_t *r, const void *p, size_t len);
uint8_t s3_read_u8(s3_reader_t *r);
uint16_t s3_read_u16(s3_reader_t *r);
uint32_t s3_read_u32(s3_reader_t *r);
uint64_t s3_read_u64(s3_reader_t *r);
/* points into the reader's bytes */
s3_slice_t s3_read_slice(s3_reader_t *r);     /* .data is never NULL */
/* len bytes copied to dst; zeros after an error */
void s3_read_bytes(s3_reader_t *r, void *dst, size_t len);


#endif /* _S3_BUF_H_INCLUDED_ */
