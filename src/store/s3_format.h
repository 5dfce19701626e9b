#ifndef _S3_FORMAT_H_INCLUDED_
#define _S3_FORMAT_H_INCLUDED_


/*
 * DISK/format: what the directory is (JSON, one object, written by jansson;
 * replaced by rename).  Next to it: index.db, data/, tmp/.
 *
 * STATE/NAME.json: the set as it was formed, off the disks: while it exists
 * an empty directory is "not mounted", never a new disk.
 */


#include "s3_erasure.h"


typedef struct {
    uint8_t       set_id[16];
    uint8_t       disk_id[16];
    unsigned      slot;          /* 0 .. ndisks - 1 */
    unsigned      ndisks;
    unsigned      parity;
    int           formed;        /* 0: forming: others may not be
                                    synced yet; or copying */
    int           copying;       /* takes a lost disk's place: its index is
                                    not whole */
    int           vacant;        /* does: masks may still say that the lost
                                    disk's shards are there */
} s3_format_t;


/* root: descriptor of DISK, on the disk's thread.  0; ENOENT: none; EBADMSG:
 * not one; errno */
int s3_format_read(int root, s3_format_t *f);
/* writes, syncs, renames, syncs; makes data/ and tmp/ before */
int s3_format_write(int root, const s3_format_t *f);
/* whether the directory is empty but for lost+found, S3_REPLACE_FILE and what
 * an interrupted s3_format_write() leaves: 0, ENOTEMPTY, errno */
int s3_format_empty(int root);

/*
 * Whether the operator has asked for the directory to become a disk in a lost
 * one's place: a file of that name.  slot: the number in it, -1 where it is
 * empty; S3_MAX_DISKS where it says something else
 */
#define S3_REPLACE_FILE   "replace"

int s3_format_asked(int root, int *slot);

/*
 * For nginx -t: blocking, any thread.  0 also where there is no disk or
 * format; EINVAL where a readable format says another number of disks or
 * parity: its values are in f
 */
int s3_format_check(const char *path, unsigned ndisks, unsigned parity,
    s3_format_t *f);

/* the record off the disks; disk_id by slot.  0, ENOENT, EBADMSG, errno */
typedef struct {
    uint8_t       set_id[16];
    unsigned      ndisks;
    unsigned      parity;
    uint8_t       disk_ids[S3_MAX_DISKS][16];
} s3_set_record_t;

int s3_set_record_read(const char *state, const char *name,
    s3_set_record_t *r);
int s3_set_record_write(const char *state, const char *name,
    const s3_set_record_t *r);


#endif /* _S3_FORMAT_H_INCLUDED_ */
