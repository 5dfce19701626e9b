
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_range.h"


static u_char *s3_range_number(u_char *p, u_char *last, uint64_t *value);


s3_error_e
s3_range_parse(ngx_str_t *header, uint64_t size, s3_range_t *range)
{
    u_char      *p, *last, *q;
    uint64_t     first, end;
    ngx_uint_t   suffix;

    range->offset = 0;
    range->length = size;
    range->partial = 0;

    if (header == NULL || header->len < sizeof("bytes=-0") - 1) {
        return S3_OK;
    }

    p = header->data;
    last = p + header->len;

    /* RFC 9110, 14.1: range units are compared without regard to case */

    if (ngx_strncasecmp(p, (u_char *) "bytes=", 6) != 0) {
        return S3_OK;
    }

    p += 6;

    while (p < last && *p == ' ') { p++; }
    while (p < last && last[-1] == ' ') { last--; }

    if (p == last) {
        return S3_OK;
    }

    suffix = 0;
    first = 0;
    end = UINT64_MAX;

    if (*p == '-') {
        suffix = 1;
        p++;

    } else {
        p = s3_range_number(p, last, &first);

        if (p == NULL || p == last || *p != '-') {
            return S3_OK;
        }

        p++;
    }

    if (p < last) {
        q = s3_range_number(p, last, &end);

        /* garbage, or a second range */
        if (q != last) {
            return S3_OK;
        }

    } else if (suffix) {
        /* "bytes=-" */
        return S3_OK;
    }

    if (suffix) {

        if (end == 0 || size == 0) {
            return S3_ERR_INVALID_RANGE;
        }

        if (end > size) {
            end = size;
        }

        range->offset = size - end;
        range->length = end;
        range->partial = 1;

        return S3_OK;
    }

    if (first > end) {
        return S3_OK;
    }

    if (first >= size) {
        return S3_ERR_INVALID_RANGE;
    }

    if (end >= size) {
        end = size - 1;
    }

    range->offset = first;
    range->length = end - first + 1;
    range->partial = 1;

    return S3_OK;
}


/*
 * Digits up to the first byte that is none; NULL when there are none.  A
 * number that does not fit is larger than any object: it stays at the
 * maximum.
 */

static u_char *
s3_range_number(u_char *p, u_char *last, uint64_t *value)
{
    u_char      *start;
    uint64_t     v;
    ngx_uint_t   d;

    v = 0;

    for (start = p; p < last && *p >= '0' && *p <= '9'; p++) {
        d = *p - '0';

        if (v > (UINT64_MAX - d) / 10) {
            v = UINT64_MAX;

        } else if (v != UINT64_MAX) {
            v = v * 10 + d;
        }
    }

    if (p == start) {
        return NULL;
    }

    *value = v;

    return p;
}


u_char *
s3_range_text(u_char *buf, s3_range_t *range, uint64_t size)
{
    return ngx_sprintf(buf, "bytes %uL-%uL/%uL", range->offset,
                       range->offset + range->length - 1, size);
}
