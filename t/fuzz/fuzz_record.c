
/*
 * Records (src/store/s3_record.c) as an untrusted peer would send them.  The
 * first byte says which; what decodes must encode to the bytes it came from:
 * an encoding has one form.
 */


#include "s3_record.h"

#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                 rc;
    s3_buf_t            b;
    s3_reader_t         r;
    s3_commit_t         commit;
    s3_object_t         object;
    s3_bucket_t         bucket;
    s3_verdict_t        verdict;
    s3_list_page_t      page;
    s3_part_page_t      parts;
    s3_list_query_t     query;
    s3_part_query_t     part_query;
    s3_upload_page_t    uploads;
    s3_upload_query_t   upload_query;

    if (size == 0) {
        return 0;
    }

    memset(&b, 0, sizeof(s3_buf_t));
    s3_reader_init(&r, data + 1, size - 1);

    switch (data[0] % 10) {

    case 0:
        rc = s3_read_commit(&r, &commit);

        if (rc == 0) {
            s3_write_commit(&b, &commit);
        }

        break;

    case 1:
        rc = s3_read_object(&r, &object);

        if (rc == 0) {
            s3_write_object(&b, &object);
            s3_object_free(&object);
        }

        break;

    case 2:
        rc = s3_read_bucket(&r, &bucket);

        if (rc == 0) {
            s3_write_bucket(&b, &bucket);
        }

        break;

    case 3:
        rc = s3_read_verdict(&r, &verdict);

        if (rc == 0) {
            s3_write_verdict(&b, &verdict);
        }

        break;

    case 4:
        rc = s3_read_list_query(&r, &query);

        if (rc == 0) {
            s3_write_list_query(&b, &query);
        }

        break;

    case 6:
        rc = s3_read_part_query(&r, &part_query);

        if (rc == 0) {
            s3_write_part_query(&b, &part_query);
        }

        break;

    case 7:
        rc = s3_read_part_page(&r, &parts);

        if (rc == 0) {
            s3_write_part_page(&b, &parts);
            free(parts.parts);
        }

        break;

    case 8:
        rc = s3_read_upload_query(&r, &upload_query);

        if (rc == 0) {
            s3_write_upload_query(&b, &upload_query);
        }

        break;

    case 9:
        rc = s3_read_upload_page(&r, &uploads);

        if (rc == 0) {
            s3_write_upload_page(&b, &uploads);
            free(uploads.entries);
        }

        break;

    default:
        rc = s3_read_list_page(&r, &page);

        if (rc == 0) {
            s3_write_list_page(&b, &page);
            free(page.entries);
        }
    }

    if (rc == 0
        && (b.error || b.len != (size_t) (r.pos - data - 1)
            || memcmp(b.data, data + 1, b.len) != 0))
    {
        abort();
    }

    s3_buf_free(&b);

    return 0;
}
