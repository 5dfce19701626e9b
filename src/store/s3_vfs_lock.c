/*
 * Locks and the WAL index of an index's connections.  All of them are this
 * process's: no file is locked and nothing is shared by way of one.
 */


#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "s3_vfs_internal.h"


/* --- locks: of this process's connections among themselves --- */


int
s3_vfs_lock(sqlite3_file *file, int level)
{
    int             rc;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    if (f->lock >= level) {
        return SQLITE_OK;
    }

    rc = SQLITE_OK;

    pthread_mutex_lock(&vfs->mutex);

    if (f->lock == SQLITE_LOCK_NONE) {

        if (vfs->pending) {
            rc = SQLITE_BUSY;
            goto done;
        }

        vfs->nshared++;
        f->lock = SQLITE_LOCK_SHARED;
    }

    if (level == SQLITE_LOCK_SHARED) {
        goto done;
    }

    if (vfs->reserved != NULL && vfs->reserved != f) {
        rc = SQLITE_BUSY;
        goto done;
    }

    vfs->reserved = f;

    if (level == SQLITE_LOCK_RESERVED) {
        f->lock = SQLITE_LOCK_RESERVED;
        goto done;
    }

    /* pending: no new readers, while those there are let out */

    vfs->pending = 1;
    f->lock = SQLITE_LOCK_PENDING;

    if (vfs->nshared > 1) {
        rc = SQLITE_BUSY;
        goto done;
    }

    f->lock = level;

done:

    pthread_mutex_unlock(&vfs->mutex);

    return rc;
}


int
s3_vfs_unlock(sqlite3_file *file, int level)
{
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    if (f->lock <= level) {
        return SQLITE_OK;
    }

    pthread_mutex_lock(&vfs->mutex);

    if (vfs->reserved == f) {
        vfs->reserved = NULL;
        vfs->pending = 0;
    }

    if (level == SQLITE_LOCK_NONE) {
        vfs->nshared--;
    }

    f->lock = level;

    pthread_mutex_unlock(&vfs->mutex);

    return SQLITE_OK;
}


int
s3_vfs_reserved(sqlite3_file *file, int *out)
{
    s3_vfs_t  *vfs;

    vfs = ((s3_vfs_file_t *) file)->vfs;

    pthread_mutex_lock(&vfs->mutex);
    *out = vfs->reserved != NULL;
    pthread_mutex_unlock(&vfs->mutex);

    return SQLITE_OK;
}


/* --- the WAL index --- */


int
s3_vfs_shm_map(sqlite3_file *file, int region, int size, int extend,
    void volatile **p)
{
    int             rc;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;
    rc = SQLITE_OK;
    *p = NULL;

    pthread_mutex_lock(&vfs->mutex);

    if (!f->shm) {
        f->shm = 1;
        vfs->shm_refs++;
    }

    if (region >= S3_VFS_SHM_REGIONS) {
        rc = SQLITE_IOERR_SHMSIZE;
        goto done;
    }

    while (vfs->nshm <= region) {

        if (!extend) {
            goto done;
        }

        vfs->shm[vfs->nshm] = calloc(1, (size_t) size);

        if (vfs->shm[vfs->nshm] == NULL) {
            rc = SQLITE_IOERR_NOMEM;
            goto done;
        }

        vfs->nshm++;
    }

    *p = vfs->shm[region];

done:

    pthread_mutex_unlock(&vfs->mutex);

    return rc;
}


int
s3_vfs_shm_lock(sqlite3_file *file, int slot, int n, int flags)
{
    int             i, rc;
    uint16_t        bit;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;
    rc = SQLITE_OK;

    assert(slot >= 0 && n >= 1 && slot + n <= SQLITE_SHM_NLOCK);

    pthread_mutex_lock(&vfs->mutex);

    if (flags & SQLITE_SHM_LOCK) {

        for (i = slot; i < slot + n; i++) {
            bit = (uint16_t) (1u << i);

            if (f->exclusive & bit) {
                continue;
            }

            if (vfs->shm_exclusive[i]
                || ((flags & SQLITE_SHM_EXCLUSIVE)
                    && vfs->shm_shared[i] > (f->shared & bit ? 1u : 0u)))
            {
                rc = SQLITE_BUSY;
                goto done;
            }
        }
    }

    for (i = slot; i < slot + n; i++) {
        bit = (uint16_t) (1u << i);

        if (flags & SQLITE_SHM_UNLOCK) {

            if (f->shared & bit) {
                vfs->shm_shared[i]--;
            }

            if (f->exclusive & bit) {
                vfs->shm_exclusive[i] = 0;
            }

            f->shared &= (uint16_t) ~bit;
            f->exclusive &= (uint16_t) ~bit;

        } else if (flags & SQLITE_SHM_SHARED) {

            if (!(f->shared & bit)) {
                vfs->shm_shared[i]++;
                f->shared |= bit;
            }

        } else {
            vfs->shm_exclusive[i] = 1;
            f->exclusive |= bit;
        }
    }

done:

    pthread_mutex_unlock(&vfs->mutex);

    return rc;
}


/*
 * The WAL index begins with the header that the last commit wrote, native
 * integers (sqlite.org/walformat.html, 2.1): frames that are valid at 16.
 * Locks from 3 on are a reader's marks, the first of them of those who have
 * no need of the log.
 */

#define S3_VFS_SHM_FRAMES    16
#define S3_VFS_SHM_MARK      3


static uint32_t
s3_vfs_shm_frames(s3_vfs_t *vfs)
{
    uint32_t  n;

    if (vfs->nshm == 0) {
        return 0;
    }

    memcpy(&n, (uint8_t *) vfs->shm[0] + S3_VFS_SHM_FRAMES, 4);

    return n;
}


uint64_t
s3_vfs_frames(s3_vfs_t *vfs)
{
    uint64_t  end;

    /* not from the WAL index, which is the writer's while it writes */

    pthread_mutex_lock(&vfs->mutex);
    end = vfs->wal_next;
    pthread_mutex_unlock(&vfs->mutex);

    return end / S3_VFS_FRAME;
}


uint64_t
s3_vfs_log(sqlite3_file *file)
{
    uint32_t        n;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;

    pthread_mutex_lock(&f->vfs->mutex);
    n = (f->shared & (1u << S3_VFS_SHM_MARK)) ? 0 : s3_vfs_shm_frames(f->vfs);
    pthread_mutex_unlock(&f->vfs->mutex);

    return n ? S3_VFS_WAL_HEADER + (uint64_t) n * S3_VFS_FRAME : 0;
}


void
s3_vfs_shm_barrier(sqlite3_file *file)
{
    s3_vfs_t  *vfs;

    vfs = ((s3_vfs_file_t *) file)->vfs;

    atomic_thread_fence(memory_order_seq_cst);
    pthread_mutex_lock(&vfs->mutex);
    pthread_mutex_unlock(&vfs->mutex);
}


int
s3_vfs_shm_unmap(sqlite3_file *file, int remove)
{
    int             i;
    s3_vfs_t       *vfs;
    s3_vfs_file_t  *f;

    f = (s3_vfs_file_t *) file;
    vfs = f->vfs;

    if (!f->shm) {
        return SQLITE_OK;
    }

    (void) s3_vfs_shm_lock(file, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_UNLOCK);

    pthread_mutex_lock(&vfs->mutex);

    f->shm = 0;

    if (--vfs->shm_refs == 0) {

        /* the next connection recovers it from the log */

        for (i = 0; i < vfs->nshm; i++) {
            free(vfs->shm[i]);
            vfs->shm[i] = NULL;
        }

        vfs->nshm = 0;
    }

    pthread_mutex_unlock(&vfs->mutex);

    return SQLITE_OK;
}
