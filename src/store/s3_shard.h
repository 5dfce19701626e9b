#ifndef _S3_SHARD_H_INCLUDED_
#define _S3_SHARD_H_INCLUDED_


/*
 * A shard file, and where it lies on its disk:
 *
 *     DISK/tmp/SESSION/ID      while it is written; until after its commit
 *     DISK/data/XX/ID          in the end; XX: the first byte of ID
 *
 * SESSION and ID are 32 hexadecimal digits (16 random bytes).  A disk holds
 * at most one shard of an id.
 *
 *     0            data: units, block after block, zeros up to a page
 *     ...          table: pages of 1023 CRC32C (little endian), one a block
 *                  of 64 KiB of data (the last may be shorter), and the CRC32C
 *                  of shard id, page number and the page's 4092 bytes
 *     end - 4096   footer: what this is, see s3_shard.c
 *
 * All functions block and run on the disk's own threads; they return 0 or an
 * errno: EBADMSG where bytes do not match their checksum or the footer
 * names other data.
 */


#include "s3_erasure.h"


typedef struct {
    uint8_t          set_id[16];
    uint8_t          shard_id[16];
    uint8_t          session[16];
    s3_geometry_t    geometry;
    uint8_t          shard;      /* number, 0 .. k + m - 1 */
    uint64_t         size;       /* of the data, not of the shard */
} s3_shard_info_t;


typedef struct s3_shard_writer_s   s3_shard_writer_t;
typedef struct s3_shard_reader_s   s3_shard_reader_t;


void s3_id_text(const uint8_t id[16], char text[33]);
int s3_id_parse(const char *text, uint8_t id[16]);     /* 0 or -1 */


/*
 * dir: descriptor of DISK/tmp/SESSION, the caller's, not needed after the
 * call; creates ID there (EEXIST is an error).  info->size need not be known
 * before finish.
 */
int s3_shard_create(int dir, const s3_shard_info_t *info,
    s3_shard_writer_t **writer);

/*
 * The next len bytes of the shard: a whole unit, or the last stripe's (a
 * multiple of S3_PAGE_SIZE).  Every call but the last takes a multiple of
 * S3_BLOCK_SIZE.  EFBIG past S3_EXTENT_MAX.  An error stays: finish gives it.
 */
int s3_shard_write(s3_shard_writer_t *w, const void *buf, size_t len);

/*
 * Writes table and footer and syncs the file, then the directory.  info->size
 * must now agree with what was written (EINVAL; also 0, which is inline).
 * The writer is gone on success and failure, and on failure its file, too.
 */
int s3_shard_finish(s3_shard_writer_t *w, const s3_shard_info_t *info);

/* closes and unlinks */
void s3_shard_abort(s3_shard_writer_t *w);


/*
 * root: descriptor of DISK.  Looks in data/, tmp/SESSION, data/ again (the
 * store process renames meanwhile); checks the footer against info.  ENOENT
 * where it is in none.
 */
int s3_shard_open(int root, const s3_shard_info_t *info,
    s3_shard_reader_t **reader);

/*
 * len bytes at offset, of which offset is a multiple of S3_BLOCK_SIZE and
 * offset + len is one or the shard's end: verified.  Any number of threads of
 * the disk, one at a time for a reader.
 */
int s3_shard_read(s3_shard_reader_t *r, void *buf, size_t len,
    uint64_t offset);

void s3_shard_close(s3_shard_reader_t *r);

/* of a disk that was dropped: frees both, either may be NULL; their descriptors
 * have gone with its threads.  Any thread */
void s3_shard_forget(s3_shard_reader_t *r, s3_shard_writer_t *w);


/*
 * tmp/SESSION/ID -> data/XX/ID (XX is made, and synced in data/, when
 * missing). The rename is not synced: both places are looked in after a
 * crash.  0 also where it is there already; ENOENT when in neither.
 */
int s3_shard_settle(int root, const uint8_t session[16],
    const uint8_t shard_id[16]);

/* 0 also where it is not there */
int s3_shard_unlink_tmp(int root, const uint8_t session[16],
    const uint8_t shard_id[16]);

/* unlinks in both places; 0 also where there is none */
int s3_shard_remove(int root, const uint8_t session[16],
    const uint8_t shard_id[16]);


#endif /* _S3_SHARD_H_INCLUDED_ */
