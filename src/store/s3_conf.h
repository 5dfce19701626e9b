#ifndef _S3_CONF_H_INCLUDED_
#define _S3_CONF_H_INCLUDED_


/*
 * What the configuration says of a store: shared by the store process and the
 * workers.
 */


#include "s3_erasure.h"


/*
 * levels as nginx's NGX_LOG_*: 1 emerg .. 4 err, 5 warn, 6 notice, 7 info, 8
 * debug.  Called on the owner's loop only (store process: on its brain
 * thread)
 */
typedef void (*s3_log_pt)(void *data, int level, const char *text);


typedef struct {
    const char     *name;            /* of the store: [A-Za-z0-9_-]{1,32} */
    const char     *runtime;         /* directory: socket, page, lock */
    const char     *state;           /* directory: record of the set */
    unsigned        ndisks;
    const char    **disks;           /* absolute paths */
    unsigned        parity;

    unsigned        late;            /* ms after which a disk is left out */
    unsigned        threads;         /* a disk's for shards, in each process */
    unsigned        compute;         /* threads for hashing and coding, worker */
    size_t          memory;          /* bytes of stripe buffers, a worker */
    size_t          cache;           /* bytes of an index connection's cache */
    unsigned        upload_age;      /* s after which uploads are aborted; 0:
                                        never */
    unsigned        scrub_interval;  /* s between two rounds' beginnings; 0:
                                        none */
    size_t          scrub_rate;      /* bytes/s a disk, not 0 */

    s3_log_pt       log;
    void           *log_data;
} s3_conf_t;


#endif /* _S3_CONF_H_INCLUDED_ */
