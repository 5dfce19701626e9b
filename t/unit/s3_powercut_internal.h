#ifndef _S3_POWERCUT_INTERNAL_H_INCLUDED_
#define _S3_POWERCUT_INTERNAL_H_INCLUDED_


/*
 * A log of calls, as s3_powercut.c writes it and s3_powercut_replay.c reads
 * it.
 *
 * A name is an entry: a directory's node and a string, numbered when first
 * seen.  A node is a file or directory, numbered when created, whatever it is
 * called later.  Calls on names are replayed over an array of nodes by entry;
 * calls on a file's bytes only for files that have a name in the end.
 */


#include "s3_powercut.h"

#include <stdlib.h>
#include <sys/types.h>


#define S3_NO_NODE    -1
#define S3_NO_ENTRY   -1


typedef struct {
    int                  disk;
    int                  is_dir;
    dev_t                dev;
    ino_t                ino;        /* 0: no longer its own */
    int                  entry;      /* its name now, while recording */
    int                  first;      /* a directory's entries, by next */
    uint8_t             *base;       /* a file's bytes at the start */
    size_t               size;
    size_t              *events;     /* a file's: WRITE, TRUNCATE, SYNC */
    size_t               nevents;
    size_t               max;

    /* of the bytes after hashed - 1 of its writes: s3_powercut_hash() */
    size_t               hashed;
    uint8_t              hash[S3_POWERCUT_HASH];
} powercut_node_t;


typedef struct {
    int                  dir;        /* node */
    int                  next;       /* of the same directory */
    char                *name;
    int                  base;       /* node at the start */
    int                  now;        /* while recording */
} powercut_entry_t;


typedef struct {
    s3_powercut_event_t  event;
    int                  node;
    int                  entry;      /* CREATE, MKDIR, UNLINK, RENAME */
    int                  entry2;     /* RENAME */
    uint8_t             *data;       /* WRITE */
} powercut_event_t;


struct s3_powercut_s {
    powercut_node_t     *nodes;
    size_t               nnodes;
    size_t               max_nodes;

    powercut_entry_t    *entries;
    size_t               nentries;
    size_t               max_entries;

    powercut_event_t    *events;
    size_t               nevents;
    size_t               max_events;

    int                  roots[S3_POWERCUT_MAX_DISKS];      /* nodes */
    int                  ndisks;
};


/* aborts without memory */
static inline void *
powercut_alloc(size_t size)
{
    void  *p;

    p = malloc(size ? size : 1);
    if (p == NULL) {
        abort();
    }

    return p;
}


#endif /* _S3_POWERCUT_INTERNAL_H_INCLUDED_ */
