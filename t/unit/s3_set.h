#ifndef _S3_SET_H_INCLUDED_
#define _S3_SET_H_INCLUDED_


/*
 * A whole store for tests: a set of disks in a directory of its own, its
 * store process (a real process, to be killed), and a client, waited for.
 */


#include <sys/types.h>
#include "s3_client.h"
#include "s3_process.h"


typedef struct {
    char            *dir;
    unsigned         ndisks;
    unsigned         parity;
    unsigned         late;
    unsigned         scrub;         /* s between rounds, 0: none */
    s3_conf_t        conf;
    char            *disks[S3_MAX_DISKS];
    pid_t            pid;           /* of the store process, 0: none */
    s3_client_t     *client;
} s3_set_t;


/*
 * dir: of s3_test_dir(), the caller's; makes disk directories where missing
 */
s3_set_t *s3_set_create(const char *dir, unsigned ndisks, unsigned parity);
void s3_set_free(s3_set_t *set);

/* the store process: another process (exec of this program), or, for the
 * power cut, in this one (never ends) */
void s3_set_start(s3_set_t *set);
void s3_set_kill(s3_set_t *set);
/*
 * the store process dies in us microseconds, and the one whose pid is
 * returned takes its place; then reap
 */
pid_t s3_set_respawn(s3_set_t *set, unsigned us);
void s3_set_reap(s3_set_t *set, pid_t next);
void s3_set_start_here(s3_set_t *set);

void s3_set_client(s3_set_t *set);
void s3_set_client_close(s3_set_t *set);

/* turns of the client's loop until done(data) or ms are over; whether done */
int s3_set_until(s3_set_t *set, int (*done)(void *data), void *data,
    unsigned ms);

/* the state of the set is that within ms; whether */
int s3_set_state(s3_set_t *set, int state, unsigned ms);

/* a disk's directory is moved away, and back */
void s3_set_away(s3_set_t *set, unsigned i);
void s3_set_back(s3_set_t *set, unsigned i);

/*
 * each waits up to ten seconds, -1: it took longer; else s3_store_status_e.
 * Data is bytes of s3_test_fill(seed)
 */
int s3_set_bucket_create(s3_set_t *set, const char *bucket);
int s3_set_bucket_delete(s3_set_t *set, const char *bucket);
int s3_set_put(s3_set_t *set, const char *bucket, const char *key,
    uint64_t seed, size_t size);
/* meanwhile: between the last shard's sync and the commit */
int s3_set_put_after(s3_set_t *set, const char *bucket, const char *key,
    uint64_t seed, size_t size, void (*meanwhile)(s3_set_t *set));
int s3_set_delete(s3_set_t *set, const char *bucket, const char *key);
/*
 * compares offset, length of the object with what put wrote;
 * S3_STORE_DAMAGED: other bytes
 */
int s3_set_get(s3_set_t *set, const char *bucket, const char *key,
    uint64_t seed, size_t size, size_t offset, size_t length);
/* what is there: the size, or -1 none, -2 error */
ssize_t s3_set_head(s3_set_t *set, const char *bucket, const char *key);
/* number of keys under prefix, -1: error */
int s3_set_list(s3_set_t *set, const char *bucket, const char *prefix);

/* session, request and acked are filled in */
int s3_set_commit(s3_set_t *set, s3_commit_t *commit);
int s3_set_upload_create(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16]);
/*
 * Bytes offset to offset + size of what put would write for seed and total.
 * known: the size is told beforehand.  refs: what COMPLETE calls the part is
 * appended
 */
int s3_set_part(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16], uint32_t number, uint64_t seed,
    size_t total, size_t offset, size_t size, int known, s3_buf_t *refs);
int s3_set_complete(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16], const s3_buf_t *refs);
int s3_set_upload_abort(s3_set_t *set, const char *bucket, const char *key,
    const uint8_t upload_id[16]);
/* the current data of source gets the name key */
int s3_set_copy(s3_set_t *set, const char *bucket, const char *source,
    const char *key);
/* scalars of the page, and what COMPLETE calls its parts */
int s3_set_parts(s3_set_t *set, const s3_part_query_t *query,
    s3_part_page_t *page, s3_buf_t *refs);
/* entries of the first page, -1: error */
int s3_set_uploads(s3_set_t *set, const char *bucket, const char *prefix);


/* whether all disks are members again within ms */
int s3_set_whole(s3_set_t *set, unsigned ms);

/*
 * whether every disk's data/ has the same shards, that many, and tmp/ none,
 * within ms: all is repaired, and all garbage is gone
 */
int s3_set_repaired(s3_set_t *set, unsigned shards, unsigned ms);

/* files under DISK/sub of all disks, but locks: tmp or data */
unsigned s3_set_files(s3_set_t *set, const char *sub);


#endif /* _S3_SET_H_INCLUDED_ */
