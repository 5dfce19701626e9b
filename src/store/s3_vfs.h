#ifndef _S3_VFS_H_INCLUDED_
#define _S3_VFS_H_INCLUDED_


/*
 * SQLite's way to the disk: a VFS whose every call goes through s3_door.
 *
 * - Files are opened relative to a disk's directory descriptor.
 * - Every page of the database ends in a checksum (reserved bytes), written
 *   with the page and verified when it is read; a page read from the WAL is
 *   verified against the checksum kept in memory of its frame (the WAL has no
 *   other writer; SQLite itself verifies frames at recovery).  A mismatch is
 *   SQLITE_IOERR (SQLITE_IOERR_DATA) and the disk's errno EBADMSG.
 * - The WAL index is memory of the process, shared by the connections of one
 *   s3_vfs_t; there are no file locks: the flock of the format file stands
 *   for all (one process opens it).
 * - After s3_vfs_drop() every read, write and sync fails with EIO and nothing
 *   reaches the disk (ruling 10): sqlite3_close() can't checkpoint any more.
 * - Temporary files are not made on the disk (temp_store=MEMORY).
 *
 * One s3_vfs_t an open disk and one database in it; a connection opened with
 * the URI parameter s3_reader=1 writes nothing, whatever is missing; all its
 * connections are used on that disk's threads, a connection by one thread at
 * a time.
 */


#include <sqlite3.h>
#include <stdint.h>


#define S3_VFS_RESERVED    16       /* bytes at a page's end */


typedef struct s3_vfs_s   s3_vfs_t;


/*
 * dir: descriptor of the disk, valid on the calling thread; stays the
 * caller's. NULL: no memory
 */
s3_vfs_t *s3_vfs_create(int dir);

/* its name for sqlite3_open_v2() */
const char *s3_vfs_name(s3_vfs_t *vfs);

/* writes nothing from now on; any thread */
void s3_vfs_drop(s3_vfs_t *vfs);

/* syncs the WAL: what sqlite3_db_cacheflush() wrote (it syncs nothing
 * itself), after it has reserved room for the commit's frames, for what the
 * checkpoint will add to the database, and for so many bytes more there.  0 or
 * errno; ENOSPC: the batch can be rolled back and the disk stays good.  A
 * failed sync is remembered: all later writes and syncs fail */
int s3_vfs_sync_wal(s3_vfs_t *vfs, uint64_t spare);

/* errno of the first failure since create, 0: none; ENOSPC is an answer and
 * does not count; any thread */
int s3_vfs_error(s3_vfs_t *vfs);

/*
 * Reads up to n pages of the database's file from pgno (from 1) on and
 * verifies them: how many are right up to the first that is not, and whether
 * there is such a one (*bad): 1, or 2 where the file has lost it with its end.
 * None of both: the file's end.  A page is not right either while a checkpoint
 * writes it, or where it was torn in one and stands in the log.  One of zeros
 * passes, unless strict: it was got and given back in one transaction, and
 * never written; who reads it as part of a tree refuses it.  Any thread of the
 * disk's, while a connection is open
 */
unsigned s3_vfs_pages(s3_vfs_t *vfs, uint32_t pgno, unsigned n, int strict,
    int *bad);

/* SQLite found whole pages that make no database: a failure as a page's wrong
 * sum is, EBADMSG; any thread */
void s3_vfs_damaged(s3_vfs_t *vfs);

/* frames that its log has, whoever still reads them; any thread */
uint64_t s3_vfs_frames(s3_vfs_t *vfs);

/* of a connection's database, in a read, while nothing is written: the bytes
 * of the log that it reads; 0: it reads the database alone */
uint64_t s3_vfs_log(sqlite3_file *file);

/* when its last connection is closed */
void s3_vfs_destroy(s3_vfs_t *vfs);


#endif /* _S3_VFS_H_INCLUDED_ */
