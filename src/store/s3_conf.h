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


#define S3_CONF_QUEUE        4096
#define S3_CONF_QUEUE_SIZE   (16 * 1024 * 1024)
#define S3_CONF_QUEUES       4       /* of workers fit into that of commits */


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
    unsigned        queue;           /* see s3_conf_queue(); 0: default */
    size_t          queue_size;
    size_t          cache;           /* bytes of an index connection's cache */
    unsigned        upload_age;      /* s after which uploads are aborted; 0:
                                        never */
    unsigned        scrub_interval;  /* s between two rounds' beginnings; 0:
                                        none */
    size_t          scrub_rate;      /* bytes/s a disk, not 0 */

    s3_log_pt       log;
    void           *log_data;
} s3_conf_t;


/*
 * What may wait in a worker: that many questions to the store process, of so
 * many bytes (a question more), requests for memory, and operations of each
 * disk.  In the store process commits may, S3_CONF_QUEUES times as many.
 */

static inline unsigned
s3_conf_queue(const s3_conf_t *conf)
{
    return conf->queue ? conf->queue : S3_CONF_QUEUE;
}


static inline size_t
s3_conf_queue_size(const s3_conf_t *conf)
{
    return conf->queue_size ? conf->queue_size : S3_CONF_QUEUE_SIZE;
}


#endif /* _S3_CONF_H_INCLUDED_ */
