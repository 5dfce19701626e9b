
/*
 * Range, entity tags, dates, conditions.
 *
 *     input = 8 bytes of object size, then the header's value
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_condition.h"
#include "s3_date.h"
#include "s3_range.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char          buf[S3_RANGE_TEXT], again[S3_DATE_BASIC_LEN + 32];
    time_t          t;
    uint64_t        n;
    ngx_str_t       value, etag = ngx_string("d41d8cd98f00b204e9800998ecf8427e");
    s3_error_e      rc;
    s3_range_t      r;
    s3_header_t     h[2];
    s3_condition_t  c;

    if (size < 8) {
        return 0;
    }

    (void) s3_test_log();

    ngx_memcpy(&n, data, 8);

    value.len = size - 8;
    value.data = malloc(value.len ? value.len : 1);
    ngx_memcpy(value.data, data + 8, value.len);

    rc = s3_range_parse(&value, n, &r);

    if (rc == S3_OK) {

        if (r.partial) {
            if (r.length == 0 || r.offset >= n || r.length > n - r.offset
                || (size_t) (s3_range_text(buf, &r, n) - buf) > sizeof(buf))
            {
                abort();
            }

        } else if (r.offset != 0 || r.length != n) {
            abort();
        }

    } else if (rc != S3_ERR_INVALID_RANGE) {
        abort();
    }

    /* what parses is what is written */

    if (s3_date_parse_basic(&value, &t) == NGX_OK) {
        if (s3_date_basic(again, t) != again + S3_DATE_BASIC_LEN
            || ngx_memcmp(again, value.data, S3_DATE_BASIC_LEN) != 0)
        {
            abort();
        }
    }

    (void) s3_date_parse_http(&value, &t);

    /* a strong match is a weak one too */

    if (s3_etag_match(&value, &etag, 0) && !s3_etag_match(&value, &etag, 1)) {
        abort();
    }

    ngx_str_set(&h[0].name, "If-Match");
    h[0].value = value;
    ngx_str_set(&h[1].name, "If-None-Match");
    h[1].value = value;

    (void) s3_condition_read(h, 2, &etag, 0, NULL);

    if (s3_condition_write(h, 1, &c, NULL) == S3_OK
        && c.type == S3_CONDITION_ETAG && c.etag.len == 0)
    {
        abort();
    }

    (void) s3_condition_write(h + 1, 1, &c, NULL);

    ngx_str_set(&h[0].name, "If-Modified-Since");
    ngx_str_set(&h[1].name, "If-Unmodified-Since");

    (void) s3_condition_read(h, 2, &etag, 0, NULL);

    free(value.data);

    return 0;
}
