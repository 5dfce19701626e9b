
/*
 * The file with the store process's status, as the host's memory has it, of
 * one machine and one boot like the page's:
 *
 *     0        8        12    16
 *     +--------+--------+-----+--------------------------------
 *     | magic  | change | pad | status
 *     +--------+--------+-----+--------------------------------
 */


#include <sys/mman.h>
#include "s3_status.h"


_Static_assert(sizeof(s3_status_t) % sizeof(uint64_t) == 0,
               "the status is copied word by word");
_Static_assert(S3_COUNT_LAST <= S3_STATUS_COUNTS, "the format has no more");


s3_status_page_t *
s3_status_map(const char *runtime, const char *name)
{
    return s3_shared_map(runtime, name, S3_STATUS_SUFFIX,
                         sizeof(s3_status_page_t), S3_STATUS_MAGIC);
}


void
s3_status_unmap(s3_status_page_t *page)
{
    (void) munmap(page, sizeof(s3_status_page_t));
}


int
s3_status_read(s3_status_page_t *page, s3_status_t *status)
{
    unsigned  i;
    uint32_t  change;

    if (s3_shared_read(&page->change, &page->status, status,
                       sizeof(s3_status_t), &change)
        != 0
        || status->updated == 0 || status->ndisks > S3_MAX_DISKS)
    {
        return -1;
    }

    /* who reads it does not trust it more than it must */

    for (i = 0; i < S3_MAX_DISKS; i++) {
        status->disks[i].path[S3_STATUS_PATH - 1] = '\0';
        status->disks[i].reason[S3_STATUS_REASON - 1] = '\0';
    }

    return 0;
}


void
s3_status_write(s3_status_page_t *page, const s3_status_t *status)
{
    s3_shared_write(&page->change, &page->status, status,
                    sizeof(s3_status_t));
}


const s3_count_info_t *
s3_count_info(s3_count_e count)
{
    static const s3_count_info_t  table[] = {
#define S3_COUNT_ROW(symbol, name, grows, help)  { name, grows, help },
        S3_COUNT_TABLE(S3_COUNT_ROW)
#undef S3_COUNT_ROW
    };

    return &table[count];
}


const char *
s3_status_disk_text(unsigned state)
{
    static const char *const  names[] = {
        "away", "foreign", "behind", "waiting", "member"
    };

    return state < sizeof(names) / sizeof(names[0]) ? names[state]
                                                    : "unknown";
}
