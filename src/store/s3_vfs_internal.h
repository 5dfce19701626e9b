#ifndef _S3_VFS_INTERNAL_H_INCLUDED_
#define _S3_VFS_INTERNAL_H_INCLUDED_


/*
 * What the files of the VFS share: s3_vfs.c (files), s3_vfs_sum.c (sums of
 * pages and frames), s3_vfs_lock.c (locks and the WAL index, which are memory
 * of this process).
 */


#include <pthread.h>
#include <stdatomic.h>

#include "s3_vfs.h"


#define S3_VFS_PAGE           4096
#define S3_VFS_MAGIC_AT       4080
#define S3_VFS_CRC_AT         4092

#define S3_VFS_WAL_HEADER     32
#define S3_VFS_FRAME_HEADER   24
#define S3_VFS_FRAME          (S3_VFS_FRAME_HEADER + S3_VFS_PAGE)

/* bounds the memory of the frames' sums (128 MiB) and the log (64 GiB) */
#define S3_VFS_MAX_FRAMES     (1u << 24)

/* an entry of the frames' sums is known */
#define S3_VFS_KNOWN          (1ull << 32)

/* file space is reserved in steps of so many bytes */
#define S3_VFS_RESERVE        (1024 * 1024)

/* what the frames of a commit may need after sqlite3_db_cacheflush(), which
 * leaves out pages in use: page 1, and rarely another */
#define S3_VFS_COMMIT_ROOM    (16 * S3_VFS_FRAME)

#define S3_VFS_SHM_REGIONS    4096
#define S3_VFS_PATH           64


typedef enum {
    S3_VFS_DB = 0,
    S3_VFS_WAL,
    S3_VFS_JOURNAL,
    S3_VFS_NFILES
} s3_vfs_kind_e;


/* a file, however many connections have it open */
typedef struct {
    atomic_int                fd;         /* to read, -1: there is none */
    atomic_int                wfd;        /* to write, -1 */
    unsigned                  refs;
    atomic_int                entry;      /* its name is not synced yet */
    uint64_t                  reserved;   /* bytes from 0 */
} s3_vfs_inode_t;


struct s3_vfs_s {
    sqlite3_vfs               vfs;        /* first: a cast away from ours */
    char                      name[32];
    int                       dir;

    atomic_int                dropped;
    atomic_int                error;      /* the first failure */
    atomic_int                unsynced;   /* errno of the failed sync */

    pthread_mutex_t           mutex;      /* of all below */

    char                      base[S3_VFS_PATH];      /* the database */
    s3_vfs_inode_t            files[S3_VFS_NFILES];

    uint64_t                 *frames;
    size_t                    nframes;    /* entries */
    size_t                    sframes;    /* allocated */
    uint64_t                  wal_next;   /* where the last frame ended */
    uint32_t                  max_pgno;   /* of all frames written */

    /* SQLite's lock levels, for the rollback journal at creation */
    unsigned                  nshared;
    void                     *reserved;   /* the file that holds it */
    int                       pending;

    /* the WAL index */
    unsigned                  shm_refs;
    void                     *shm[S3_VFS_SHM_REGIONS];
    int                       nshm;
    unsigned                  shm_shared[SQLITE_SHM_NLOCK];
    int                       shm_exclusive[SQLITE_SHM_NLOCK];
};


typedef struct {
    sqlite3_file              file;       /* first */
    s3_vfs_t                 *vfs;
    s3_vfs_inode_t           *inode;
    s3_vfs_kind_e             kind;
    const char               *name;       /* SQLite's, until xClose */
    int                       writer;
    int                       lock;
    int                       persist;

    int                       shm;        /* joined */
    uint16_t                  shared;     /* slots held */
    uint16_t                  exclusive;
} s3_vfs_file_t;


/* s3_vfs_sum.c */

/* the sum into a page of the database; whether it is right, and that page's */
void s3_vfs_stamp(uint8_t *page, uint32_t pgno);
int s3_vfs_verify(const uint8_t *page, uint32_t pgno);
/* with the mutex held: what is written to the log (before and, done, after),
 * and what was read of it */
int s3_vfs_wal_note(s3_vfs_t *vfs, const uint8_t *p, uint64_t offset,
    uint64_t size, int done);
int s3_vfs_wal_check(s3_vfs_t *vfs, const uint8_t *p, uint64_t offset,
    uint64_t size);

/* s3_vfs_lock.c: of sqlite3_io_methods */

int s3_vfs_lock(sqlite3_file *file, int level);
int s3_vfs_unlock(sqlite3_file *file, int level);
int s3_vfs_reserved(sqlite3_file *file, int *out);
int s3_vfs_shm_map(sqlite3_file *file, int region, int size, int extend,
    void volatile **p);
int s3_vfs_shm_lock(sqlite3_file *file, int slot, int n, int flags);
void s3_vfs_shm_barrier(sqlite3_file *file);
int s3_vfs_shm_unmap(sqlite3_file *file, int remove);


#endif /* _S3_VFS_INTERNAL_H_INCLUDED_ */
