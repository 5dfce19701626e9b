/*
 * The data side of the commit protocol (docs/commit.md): the shards of two
 * uploads of one worker, their masks, the cleaning of the worker's session,
 * and a reader that looks a shard up while it is renamed.
 *
 * The index is abstract here (commit.pml shows that it may be): a commit is
 * absent, undecided (it stands on some disks, recovery may keep it or not)
 * or decided.
 *
 * A shard, two bits a write in sh[disk]:
 *
 *      0  not there        2  in tmp/SESSION, synced (file, then directory)
 *      1  not synced       3  in its final place
 */

#ifndef DISKS
#define DISKS     3
#endif
#ifndef PARITY
#define PARITY    1
#endif
#ifndef CRASHES
#define CRASHES   0
#endif
#ifndef CUTS
#define CUTS      0
#endif
#ifndef WCRASHES
#define WCRASHES  0
#endif
#ifndef FAULTS
#define FAULTS    0
#endif
#ifndef WRITES
#define WRITES    2
#endif

#define K         (DISKS - PARITY)

#if DISKS - PARITY > PARITY
#define Q         K
#else
#define Q         (K + 1)
#endif

#define SH(d, w)      ((sh[d] >> (2 * (w))) & 3)
#define S_SH(d, w, v) sh[d] = (sh[d] & ~(3 << (2 * (w)))) | ((v) << (2 * (w)))
#define BIT(m, d)     (((m) >> (d)) & 1)

/* A disk. */

byte  sh[DISKS];
bool  up[DISKS];
bool  blank[DISKS];         /* replaced: empty, to be copied */
bool  member[DISKS];        /* in the members table: survives the process */
byte  since[DISKS];         /* its generation of joining, in that table */

/* The store process. */

#define DOWN      0
#define RW        1
#define RONLY     2

byte  ph;
byte  gen;
byte  queue;                /* commits received, bit a write */

/* The index. */

#define ABSENT    0
#define UNDECIDED 1
#define DECIDED   2

byte  ix[WRITES];
byte  mask[WRITES];         /* of the row; a replaced disk's bit is void */

/* The worker, and its session's directory and lock. */

#define NEW       0
#define WRITING   1
#define SENT      2
#define OK        3
#define REFUSED   4
#define LEFT      5         /* 503, outcome unknown */

#define NO_DIR    0
#define NAMED     1         /* the directory can be seen, no lock is held */
#define LOCKED    2

bool  dead;
byte  session;
byte  wp[WRITES];
byte  ogen[WRITES];         /* generation when the shards were opened */
byte  wset[WRITES];         /* members then */
byte  wmask[WRITES];        /* shards the worker knows to be there */

/* The reader of write 0's shard on disk 0. */

byte  rd;

byte  crashes, cuts, faults;

hidden byte  di, wi, num, eff;


#if DISKS == 3
#define EACH(A, w)  A(0, w) A(1, w) A(2, w)
#else
#define EACH(A, w)  A(0, w) A(1, w) A(2, w) A(3, w)
#endif

#if DISKS == 3
#define BITS(m)     (BIT(m, 0) + BIT(m, 1) + BIT(m, 2))
#else
#define BITS(m)     (BIT(m, 0) + BIT(m, 1) + BIT(m, 2) + BIT(m, 3))
#endif


inline remove_shards(w)
{
    for (di : 0 .. DISKS - 1) {
        if
        :: up[di] && SH(di, w) < 3 -> S_SH(di, w, 0)
        :: else
        fi
    };
    skip
}


/* Of a session: what the index knows is renamed, the rest removed. */

inline clean_session(remove)
{
    for (di : 0 .. DISKS - 1) {
        for (wi : 0 .. WRITES - 1) {
            if
            :: up[di] && ix[wi] == DECIDED && SH(di, wi) == 2 ->
                S_SH(di, wi, 3)
            :: up[di] && ix[wi] != DECIDED && (remove) ->
                S_SH(di, wi, 0)
            :: else
            fi
        }
    };
    skip
}


#ifdef MUTATE_MASK_MEMBERS
#define STILL_MEMBER(d)  1
#else
#define STILL_MEMBER(d)  (member[d] && up[d])
#endif

#ifdef MUTATE_MASK_SINCE
#define SINCE(d, w)   1
#else
#define SINCE(d, w)   (since[d] <= ogen[w])
#endif


/* Which disks hold the row and a shard: mask and members together. */

inline effective(w)
{
    eff = 0;
    for (di : 0 .. DISKS - 1) {
        if
        :: BIT(wmask[w], di) && STILL_MEMBER(di) && SINCE(di, w) ->
            eff = eff | (1 << di)
        :: else
        fi
    };
    skip
}


/* A commit's row stands on a quorum, and so do shards that are there. */

inline decided(w)
{
    ix[w] = DECIDED;
    mask[w] = eff;
    num = 0;
    for (di : 0 .. DISKS - 1) {
        if
        :: BIT(eff, di) && member[di] && up[di] && SH(di, w) >= 2 -> num++
        :: else
        fi
    };
    assert(num >= Q)
}


/* Every bit of a row that is visible, or may become so, is true. */

inline check()
{
    for (di : 0 .. DISKS - 1) {
        for (wi : 0 .. WRITES - 1) {
            assert(ix[wi] == ABSENT || !BIT(mask[wi], di) || SH(di, wi) >= 2)
        }
    };
    di = 0; wi = 0; num = 0; eff = 0
}


inline lost_connection()
{
    ph = DOWN;
    queue = 0
}


#define WRITE_SHARD(d, w)                                                 \
    :: !dead && wp[w] == WRITING && BIT(wset[w], d) && up[d]              \
       && SH(d, w) == 0 && !BIT(wmask[w], d) ->                           \
        d_step { S_SH(d, w, 1); UNSYNCED(d, w) }                          \
    :: !dead && wp[w] == WRITING && BIT(wset[w], d) && up[d]              \
       && SH(d, w) == 1 ->                                                \
        d_step { S_SH(d, w, 2); wmask[w] = wmask[w] | (1 << d) }

#ifdef MUTATE_SHARD_SYNC
#define UNSYNCED(d, w)  wmask[w] = wmask[w] | (1 << d)
#else
#define UNSYNCED(d, w)  skip
#endif

#define RENAME(d, w)                                                      \
    :: ph == RW && ix[w] == DECIDED && up[d] && SH(d, w) == 2 ->          \
        S_SH(d, w, 3)

#define UPLOAD(w)                                                         \
    :: !dead && session == LOCKED && wp[w] == NEW && ph == RW ->          \
        d_step {                                                          \
            wp[w] = WRITING;                                              \
            ogen[w] = gen;                                                \
            for (di : 0 .. DISKS - 1) {                                   \
                if                                                        \
                :: member[di] -> wset[w] = wset[w] | (1 << di)            \
                :: else                                                   \
                fi                                                        \
            };                                                            \
            skip                                                          \
        }                                                                 \
    EACH(WRITE_SHARD, w)                                                  \
    EACH(RENAME, w)                                                       \
                                                                          \
    /* sent, or given up before sending: then the worker cleans up */     \
                                                                          \
    :: !dead && wp[w] == WRITING && BITS(wmask[w]) >= Q && ph == RW ->    \
        d_step { wp[w] = SENT; queue = queue | (1 << w) }                 \
    :: !dead && wp[w] == WRITING ->                                       \
        d_step { wp[w] = REFUSED; remove_shards(w) }                      \
                                                                          \
    /* the batch: committed, refused, or undecided */                     \
                                                                          \
    :: ph == RW && BIT(queue, w) && ix[w] == ABSENT ->                    \
        d_step {                                                          \
            effective(w);                                                 \
            queue = queue & ~(1 << w);                                    \
            if                                                            \
            :: BITS(eff) >= Q -> decided(w)                               \
            :: else -> REFUSE(w)                                          \
            fi                                                            \
        }                                                                 \
    :: ph == RW && BIT(queue, w) && ix[w] == ABSENT ->                    \
        d_step {                /* fewer than a quorum committed */       \
            effective(w);                                                 \
            if                                                            \
            :: BITS(eff) >= Q ->                                          \
                ix[w] = UNDECIDED;                                        \
                mask[w] = eff;                                            \
                lost_connection()                                         \
            :: else                                                       \
            fi                                                            \
        }                                                                 \
    :: ph == RW && BIT(queue, w) ->                                       \
        d_step {                /* fewer than a quorum prepared */        \
            queue = queue & ~(1 << w);                                    \
            REFUSE(w)                                                     \
        }                                                                 \
                                                                          \
    /* the answer or the outcome */                                       \
                                                                          \
    :: !dead && ph == RW && wp[w] == SENT && !BIT(queue, w)               \
       && ix[w] == DECIDED -> wp[w] = OK                                  \
    :: !dead && ph == RW && wp[w] == SENT && !BIT(queue, w)               \
       && ix[w] == ABSENT -> queue = queue | (1 << w)                     \
    :: !dead && ph != RW && wp[w] == SENT ->                              \
        d_step { wp[w] = LEFT; LEAVE(w) }

#define REFUSE(w)                                                         \
    if                                                                    \
    :: !dead && wp[w] == SENT -> wp[w] = REFUSED; remove_shards(w)        \
    :: else                                                               \
    fi

#ifdef MUTATE_WORKER_REMOVES
#define LEAVE(w)      remove_shards(w)
#else
#define LEAVE(w)      skip
#endif

#define RESOLVE(w)                                                        \
    :: ph == DOWN && ix[w] == UNDECIDED -> ix[w] = DECIDED                \
    :: ph == DOWN && ix[w] == UNDECIDED ->                                \
        d_step { ix[w] = ABSENT; mask[w] = 0 }

/* A session may be removed when its lock is free. */

#define UNLOCKED      (dead || session == NAMED)

#ifdef MUTATE_CLEAN_QUEUED
#define SETTLED       1
#else
#define SETTLED       (queue == 0)
#endif

#ifdef MUTATE_RETURN_GENERATION
#define JOIN(d)       member[d] = 1
#else
#define JOIN(d)       gen++; since[d] = gen; member[d] = 1
#endif

#define FAULT(d, w)                                                       \
    :: faults < FAULTS && up[d] -> d_step { faults++; up[d] = 0 }         \
    :: !up[d] -> up[d] = 1                                                \
    :: !up[d] && !member[d] && !blank[d] ->                               \
        d_step {                                                          \
            blank[d] = 1;                                                 \
            sh[d] = 0;                                                    \
            for (wi : 0 .. WRITES - 1) {                                  \
                mask[wi] = mask[wi] & ~(1 << d)                           \
            };                                                            \
            skip                                                          \
        }                                                                 \
    :: ph == RW && member[d] && !up[d] ->                                 \
        d_step {                                                          \
            member[d] = 0;                                                \
            if                                                            \
            :: MEMBERS < Q -> lost_connection()                           \
            :: else                                                       \
            fi                                                            \
        }                                                                 \
    :: ph == RW && !member[d] && up[d] ->                                 \
        d_step { blank[d] = 0; JOIN(d) }

#if DISKS == 3
#define MEMBERS       (member[0] + member[1] + member[2])
#define ALIVE(d)      (up[d] && !blank[d])
#define OPENED        (ALIVE(0) + ALIVE(1) + ALIVE(2))
#else
#define MEMBERS       (member[0] + member[1] + member[2] + member[3])
#define ALIVE(d)      (up[d] && !blank[d])
#define OPENED        (ALIVE(0) + ALIVE(1) + ALIVE(2) + ALIVE(3))
#endif

#if WRITES > 1
#define ALL_SETTLED   (ix[0] != UNDECIDED && ix[1] != UNDECIDED)
#else
#define ALL_SETTLED   (ix[0] != UNDECIDED)
#endif


init {
    d_step {
        for (di : 0 .. DISKS - 1) {
            up[di] = 1;
            member[di] = 1;
            since[di] = 1
        };
        gen = 1;
        ph = RW;
        di = 0
    };

end:
    do
    :: atomic {
        if

        /* the worker's session: locked before it gets its name */

        :: !dead && session == NO_DIR ->
#ifdef MUTATE_LOCK_LATE
            session = NAMED
        :: !dead && session == NAMED ->
#endif
            session = LOCKED
#ifdef MUTATE_LOCK_LATE
        :: !dead && session == NAMED && wp[0] == NEW && ph == RW ->
            d_step { wp[0] = WRITING; ogen[0] = gen; wset[0] = 15 }
#endif

        UPLOAD(0)
#if WRITES > 1
        UPLOAD(1)
#endif

#if WCRASHES > 0
        :: !dead -> dead = 1
#endif

        /* the store process */

        RESOLVE(0)
#if WRITES > 1
        RESOLVE(1)
#endif
        :: ph != RW && OPENED >= Q && ALL_SETTLED ->
            d_step {
                ph = RW;
                for (di : 0 .. DISKS - 1) {
                    if
                    :: ALIVE(di) && !member[di] -> JOIN(di)
                    :: !ALIVE(di) -> member[di] = 0
                    :: else
                    fi
                };

                /* live sessions: renamed only, nothing removed */

#ifdef MUTATE_CLEAN_LIVE
                clean_session(1)
#else
                clean_session(UNLOCKED)
#endif
            }
        :: ph == DOWN && OPENED >= K && OPENED < Q ->
            d_step {
                ph = RONLY;
#ifdef MUTATE_CLEAN_READ_ONLY
                clean_session(UNLOCKED)
#endif
            }
        :: ph == RONLY -> ph = DOWN         /* tries again */
        :: ph == RW && UNLOCKED && SETTLED ->
            d_step { clean_session(1) }

        /* a reader: final place, tmp, the final place again */

        :: rd == 0 && ix[0] == DECIDED && BIT(mask[0], 0) && up[0] &&
           SH(0, 0) == 2 -> rd = 1
        :: rd == 1 && up[0] && SH(0, 0) == 2 -> rd = 0
        :: rd == 1 && up[0] && SH(0, 0) != 2 && BIT(mask[0], 0) ->
#ifdef MUTATE_READ_TWICE
            assert(0)
#else
            rd = 2
#endif
        :: rd == 2 && up[0] && BIT(mask[0], 0) ->
            d_step { assert(SH(0, 0) == 3); rd = 0 }
        :: rd && !BIT(mask[0], 0) -> rd = 0

        /* crashes and faults */

#if CRASHES > 0
        :: crashes < CRASHES && ph != DOWN ->
            d_step { crashes++; lost_connection() }
#endif
#if CUTS > 0
        :: cuts < CUTS ->

            /* unsynced shards are lost or torn; a rename may be undone */

            d_step {
                cuts++;
                dead = 1;
                rd = 0;
                lost_connection();
                for (di : 0 .. DISKS - 1) {
                    for (wi : 0 .. WRITES - 1) {
                        if
                        :: SH(di, wi) == 1 -> S_SH(di, wi, 0)
                        :: SH(di, wi) == 3 -> S_SH(di, wi, 2)
                        :: else
                        fi
                    }
                };
                skip
            }
#endif
#if FAULTS > 0
        EACH(FAULT, 0)
#endif
        fi;

        d_step { check() }
      }
    od
}
