/*
 * The index side of the commit protocol (docs/commit.md): one store
 * process, the indexes of N disks, the outcome of three writes of two
 * clients, and every crash and disk fault between any two steps.
 *
 * One process picks any enabled action, so all interleavings are explored.
 * An action is one step that a crash can not cut: a system call, or a
 * decision in the memory of one process.
 *
 * Index states are rows of a table of versions; the number of a version is
 * its digest (chained, so two versions are equal only if all before them
 * are), its parents are its history.
 *
 *      version   0     1 (formatted)   2          3          4
 *      parent    -     -               1          2          2 ...
 *      gs        -     gen 1, seq 1    gen 2, 2   gen 2, 3   gen 3, 3
 *      st        -     the key's value and the verdict row of each write
 *
 * The disks are alike, so their states (one packed int each) are sorted
 * after every action: a permutation of the disks is the same state.
 *
 * Switches: DISKS PARITY; bounds CRASHES (store process), CUTS (power),
 * WCRASHES (worker), FAULTS (disk away, hung, full, failed sync; a disk that
 * is away may also come back empty); FORK_COPY: recovery and the running
 * process replace a forked index by a copy, else forked disks stay out;
 * RO_COPY: in read-only mode disks get a copy of the newest index in sight,
 * emptied ones too, each followed by another recovery;
 * MUTATE_x leaves step x out; REACH_x asserts that a state is never reached,
 * which must fail.
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
#define WRITES    3
#endif

#define K         (DISKS - PARITY)

#ifdef MUTATE_QUORUM_K
#define Q         K
#elif DISKS - PARITY > PARITY
#define Q         K
#else
#define Q         (K + 1)
#endif

#define VERSIONS  16                    /* asserted; at most 5 bits */

/* What a disk is. */

#define UP        0
#define AWAY      1                     /* every call fails with EIO */
#define HUNG      2                     /* no call returns */

/*
 * A disk's state, packed:
 *
 *      0       5       10      15   17   18   19   20   21
 *      | ov    | dv    | fl    |pres|mem |prep|inc |sf  |bad |
 *
 *   ov    version of the index as any process reads it (page cache)
 *   dv    version that survives a power cut
 *   fl    version whose COMMIT has been given to the disk's thread and has
 *         not been answered
 *   mem   the running store process has it as a member
 *   prep  prepared for the running batch
 *   inc   its own incomplete mark: empty, or half copied
 *   sf    an fsync failed: what the cache shows will never reach the disk
 *   bad   ghost: rows are not those of the version it claims
 */

#define OV(d)     (D[d] & 31)
#define DV(d)     ((D[d] >> 5) & 31)
#define FL(d)     ((D[d] >> 10) & 31)
#define PRES(d)   ((D[d] >> 15) & 3)
#define MEM(d)    ((D[d] >> 17) & 1)
#define PREP(d)   ((D[d] >> 18) & 1)
#define INC(d)    ((D[d] >> 19) & 1)
#define SF(d)     ((D[d] >> 20) & 1)
#define BAD(d)    ((D[d] >> 21) & 1)

#define S_OV(d, v)    D[d] = (D[d] & ~31) | (v)
#define S_DV(d, v)    D[d] = (D[d] & ~(31 << 5)) | ((v) << 5)
#define S_FL(d, v)    D[d] = (D[d] & ~(31 << 10)) | ((v) << 10)
#define S_PRES(d, v)  D[d] = (D[d] & ~(3 << 15)) | ((v) << 15)
#define S_MEM(d, v)   D[d] = (D[d] & ~(1 << 17)) | ((v) << 17)
#define S_PREP(d, v)  D[d] = (D[d] & ~(1 << 18)) | ((v) << 18)
#define S_INC(d, v)   D[d] = (D[d] & ~(1 << 19)) | ((v) << 19)
#define S_SF(d, v)    D[d] = (D[d] & ~(1 << 20)) | ((v) << 20)
#define S_BAD(d, v)   D[d] = (D[d] & ~(1 << 21)) | ((v) << 21)

#if CUTS > 0
#define WRITTEN(d)    skip
#else
#define WRITTEN(d)    S_DV(d, OV(d))    /* without cuts dv is never read */
#endif

int   D[DISKS];

/* Versions. gs orders (generation, sequence) as one number. */

byte  vpar[VERSIONS];
byte  vgs[VERSIONS];
byte  vst[VERSIONS];
byte  nv;

#define NEXT_SEQ(gs)  ((gs) + 1)
#define NEXT_GEN(gs)  ((gs) + 16 + 1)

/* st: bits 0-1 the key's value (0 absent, w + 1), then two bits a write. */

#define NONE      0
#define APPLIED   1
#define REFUSED   2

#define VAL(st)         ((st) & 3)
#define VERD(st, w)     (((st) >> (2 + 2 * (w))) & 3)
#define S_VERD(st, w, x)  st = (st) | ((x) << (2 + 2 * (w)))

/* The store process; all of it is lost with the process. */

#define DOWN      0
#define OPENING   1                     /* recovery reads the indexes */
#define CATCHUP   2                     /* laggards are brought forward */
#define OFF       3                     /* fewer than k disks: 503 */
#define RONLY     4                     /* no quorum at the newest state */
#define IDLE      5
#define PREPARE   6
#define COMMIT    7

byte  ph;
bit   rw;                               /* this recovery has been decided */
byte  cur;                              /* the decided version */
byte  bver;                             /* the running batch's version */
byte  queue;                            /* received, bit a write */
byte  inb;                              /* in the running batch */
bit   needgen;                          /* a disk was dropped or returned */

/* The workers' view of a write: what the client has been told. */

#define NEW       0
#define WAIT      1                     /* sent; connection may be lost */
#define OK        2
#define R412      3
#define R503      4                     /* a definite refusal */
#define DEAD      5                     /* the worker died: told nothing */

byte  ws[3];

/* Ghosts: what has been shown to anyone. */

byte  glast;                            /* last user version shown */
byte  gro;                              /* last one shown while read-only */
byte  grefused;                         /* definite refusals */
byte  budget;                           /* disks that may still be lost */

byte  crashes, cuts, wcrashes, faults;

#ifdef MUTATE_GEN_BELOW
byte  gens;         /* generations opened without a quorum; bounds the run */
#endif

hidden byte  di, dj, num, vx, vy, vz, best, most;
hidden int   tmp;
hidden byte  map[VERSIONS];


#if DISKS == 3
#define EACH(A)   A(0) A(1) A(2)
#else
#define EACH(A)   A(0) A(1) A(2) A(3)
#endif

#define FOR(v)    for (v : 0 .. DISKS - 1)


/* x = newest version at or above v that carries user writes */

inline user_version(v)
{
    vx = v;
    do
    :: vx > 1 && vst[vx] == vst[vpar[vx]] -> vx = vpar[vx]
    :: else -> break
    od
}


/* x == a if a is v or in v's history */

inline walk(v, a)
{
    vx = v;
    do
    :: vx > a -> vx = vpar[vx]
    :: else -> break
    od
}


inline members()
{
    num = 0;
    FOR(di) { if :: MEM(di) -> num++ :: else fi };
    skip
}


/* What is shown contains all that was shown before. */

inline reveal(v)
{
    walk(v, glast);
    assert(vx == glast);                 /* nothing shown is rolled back */

    if
    :: gro -> walk(v, gro); assert(vx == gro)
    :: else
    fi;

    for (di : 0 .. WRITES - 1) {
        if
        :: (grefused >> di) & 1 ->
            assert(VERD(vst[v], di) != APPLIED)
        :: else
        fi
    }
}


inline expose(v)
{
    reveal(v);
    user_version(v);
    glast = vx
}


inline new_version(parent, gs, st)
{
    assert(nv < VERSIONS && (gs & 15) < 15 && (gs >> 4) < 15);
    bver = nv;
    vpar[nv] = parent;
    vgs[nv] = gs;
    vst[nv] = st;
    nv++
}


/*
 * Conditions: 0 is an unconditional put, 1 a put If-None-Match: *, 2 a put
 * If-Match of what 0 wrote. Decided once, in batch order. y is the state.
 */

inline decide(w)
{
    assert(VERD(vy, w) == NONE);         /* never decided twice */

    if
#ifndef MUTATE_COND_EARLY
    :: (w == 1 && VAL(vy) != 0) || (w == 2 && VAL(vy) != 1) ->
        S_VERD(vy, w, REFUSED)
#else
    :: (w == 1 && VAL(vst[cur]) != 0) || (w == 2 && VAL(vst[cur]) != 1) ->
        S_VERD(vy, w, REFUSED)
#endif
    :: else ->
        assert(w != 1 || VAL(vy) == 0);
        assert(w != 2 || VAL(vy) == 1);
        S_VERD(vy, w, APPLIED);
        vy = (vy & ~3) | (w + 1)
    fi
}


inline decide_queue()
{
    vy = vst[cur];
    for (di : 0 .. WRITES - 1) {
        if
        :: (queue >> di) & 1 -> decide(di)
        :: else
        fi
    }

    inb = queue;
    queue = 0
}


inline start_generation()
{
    vy = vst[cur];
#ifdef MUTATE_GEN_USER
    decide_queue();
#endif
    new_version(cur, NEXT_GEN(vgs[cur]), vy);
    needgen = 0;
    ph = PREPARE
}


inline forget_batch()
{
    FOR(di) { S_PREP(di, 0) }
    bver = 0;
    inb = 0
}


/* All roll back: a refusal, and the workers may remove their shards. */

inline refuse_batch()
{
    for (di : 0 .. WRITES - 1) {
        if
        :: (inb >> di) & 1 && ws[di] == WAIT ->
            ws[di] = R503;
            grefused = grefused | (1 << di)
        :: (inb >> di) & 1 && ws[di] != WAIT ->
            grefused = grefused | (1 << di)
        :: else
        fi
    }

    forget_batch()
}


/* V: disks that can be locked and opened and are complete. */

#ifdef MUTATE_LOCK
#define OPENED(d)   (PRES(d) == UP)
#else
#define OPENED(d)   (PRES(d) == UP && FL(d) == 0)
#endif

#ifdef MUTATE_INCOMPLETE
#define USABLE(d)   (OPENED(d))
#else
#define USABLE(d)   (OPENED(d) && !INC(d))
#endif


/*
 * Opening an index: sync it first, then read it past the page cache. A
 * commit that only the cache holds must not be believed (the process died
 * between write and sync, or the sync failed).
 */

inline open_index(d)
{
    if
    :: SF(d) ->
#ifndef MUTATE_PAGE_CACHE
        S_OV(d, DV(d));
        S_SF(d, 0)
#endif
    :: else ->
#ifndef MUTATE_RECOVERY_SYNC
        S_DV(d, OV(d))
#endif
    fi
}


inline recover()
{
    forget_batch();
    rw = 0;
    cur = 0;
    needgen = 0;
    best = 0;
    most = 0;
    num = 0;

    FOR(di) {
        S_MEM(di, 0);
        if
        :: USABLE(di) ->
            open_index(di);
            num++
        :: else
        fi
    }

    /* the newest; equal with another digest: the side with more disks */

    FOR(di) {
        if
        :: USABLE(di) ->
            vz = 0;
            FOR(dj) {
                if
                :: USABLE(dj) && OV(dj) == OV(di) -> vz++
                :: else
                fi
            };
            if
#ifdef MUTATE_BACKWARD
            :: best == 0 || vgs[OV(di)] < vgs[best] ->
                best = OV(di); most = vz
#else
            :: best == 0 || vgs[OV(di)] > vgs[best] ->
                best = OV(di); most = vz
#endif
#ifdef MUTATE_TIE
            :: best && vgs[OV(di)] == vgs[best] && vz < most ->
                best = OV(di); most = vz
#else
            :: best && vgs[OV(di)] == vgs[best] && vz > most ->
                best = OV(di); most = vz
#endif
            :: else
            fi
        :: else
        fi
    };

    /* members: those whose state stands in the newest one's history */

    vz = 0;
    tmp = 0;
    FOR(di) {
        if
        :: USABLE(di) ->
            if
            :: vgs[OV(di)] == vgs[best] ->
                vy = 0;
                FOR(dj) {
                    if
                    :: USABLE(dj) && OV(dj) == OV(di) -> vy++
                    :: else
                    fi
                };
                if :: vy > tmp -> tmp = vy :: else fi
            :: else
            fi;

            walk(best, OV(di));
            if
            :: vx == OV(di) -> S_MEM(di, 1); vz++
#ifdef FORK_COPY
            :: vx != OV(di) && num >= Q -> S_MEM(di, 1); vz++
#endif
#ifdef MUTATE_DIGEST
            :: vx != OV(di) && vgs[OV(di)] <= vgs[best] -> S_MEM(di, 1); vz++
#endif
            :: else
            fi
        :: else
        fi
    };

    assert(tmp < Q || vz >= Q);         /* a quorum at one newest state */
#if defined(FORK_COPY) || defined(CHECK_ALL)
    assert(num < DISKS || vz >= Q);     /* all disks are always enough */
#endif
#ifdef REACH_FORK_STUCK
    assert(num < Q || vz >= Q);
#endif

    if
#ifdef MUTATE_BELOW_K
    :: num < 1 -> ph = OFF
    :: num >= 1 && num < K -> ph = RONLY; cur = best
#else
    :: num < K -> ph = OFF
#endif
    :: num >= K && vz >= Q -> ph = CATCHUP; cur = best
    :: num >= K && vz < Q -> ph = RONLY; cur = best
    fi;

    if
    :: ph != CATCHUP ->
        FOR(di) {
#ifdef MUTATE_BELOW_FORWARD
            if
            :: MEM(di) && ph == RONLY -> S_OV(di, cur); WRITTEN(di)
            :: else
            fi;
#endif
#ifdef MUTATE_GEN_BELOW
            if
            :: MEM(di) && ph == RONLY && gens < 4 ->
                if
                :: bver == 0 -> new_version(cur, NEXT_GEN(vgs[cur]), vst[cur])
                :: else
                fi;
                S_OV(di, bver); WRITTEN(di)
            :: else
            fi;
#endif
            S_MEM(di, 0);

            /* prep here: opened and synced, may be read */

            if
            :: ph == RONLY && USABLE(di) -> S_PREP(di, 1)
            :: else
            fi
        };
#ifdef MUTATE_GEN_BELOW
        if
        :: bver -> cur = bver; bver = 0; gens++
        :: else
        fi;
#endif
        skip
    :: else
    fi
}


inline down()
{
    ph = DOWN;
    rw = 0;
    cur = 0;
    queue = 0;
    needgen = 0;
    forget_batch();
    FOR(di) {
        S_MEM(di, 0);

        /* a thread stuck in a call outlives its process, and so does its
         * lock; others end with it */

        if
        :: PRES(di) != HUNG -> S_FL(di, 0)
        :: else
        fi
    };
    skip
}


#ifdef TRACE

/* For reading a counter-example: spin -DTRACE -t; disks change places. */

#define TRACE_STATE()                                                     \
    printf("ph %d rw %d cur %d bver %d queue %d inb %d ", ph, rw, cur,    \
           bver, queue, inb);                                             \
    printf("ws %d%d%d last %d ro %d |", ws[0], ws[1], ws[2], glast, gro); \
    FOR(di) {                                                             \
        printf(" %d/%d>%d p%d%c%c%c%c |", OV(di), DV(di), FL(di), PRES(di), \
               (MEM(di) -> 'm' : '-'), (PREP(di) -> 'p' : '-'),           \
               (INC(di) -> 'i' : '-'), (SF(di) -> 'f' : '-'))             \
    };                                                                    \
    for (di : 2 .. nv - 1) {                                              \
        printf(" %d:%d.%d<%d", di, vgs[di] >> 4, vgs[di] & 15, vpar[di])  \
    };                                                                    \
    printf("\n")

#else
#define TRACE_STATE()  skip
#endif


/* x = the last version both x and v descend from */

inline join(v)
{
    vy = v;
    if
    :: vx == 0 -> vx = vy
    :: else ->
        do
        :: vy && vx > vy -> vx = vpar[vx]
        :: vy > vx -> vy = vpar[vy]
        :: else -> break
        od
    fi
}


inline keep(v)
{
    vy = v;
    do
    :: vy > vx && map[vy] == 0 -> map[vy] = 1; vy = vpar[vy]
    :: else -> break
    od
}


/*
 * After every action: forgets what can not matter any more, so that states
 * that differ only in it are one. The last version that all others descend
 * from becomes version 1 (the orders and the histories of those above it do
 * not change), versions no one refers to go, the disks are sorted.
 */

inline settle()
{
    vx = 0;
    FOR(di) {
        join(OV(di));
        join(DV(di));
        join(FL(di))
    };
    join(cur);
    join(bver);

    /* what all descend from is shown by all: nothing left to compare */

    vz = vx;
    do
    :: vz > glast -> vz = vpar[vz]
    :: else -> break
    od;
    if
    :: vz == glast -> glast = vx
    :: else -> join(glast)
    fi;

    vz = vx;
    do
    :: vz > gro -> vz = vpar[vz]
    :: else -> break
    od;
    if
    :: vz == gro -> gro = 0
    :: else -> join(gro)
    fi;

    for (di : 0 .. VERSIONS - 1) { map[di] = 0 };
    map[vx] = 1;
    FOR(di) {
        keep(OV(di));
        keep(DV(di));
        keep(FL(di))
    };
    keep(cur);
    keep(bver);
    keep(glast);
    keep(gro);

    tmp = vgs[vx] - (16 + 1);
    num = 1;
    for (di : vx .. nv - 1) {
        if
        :: map[di] ->
            map[di] = num;
            vpar[num] = (di == vx -> 0 : map[vpar[di]]);
            vgs[num] = vgs[di] - tmp;
            vst[num] = vst[di];
            num++
        :: else
        fi
    };
    for (di : num .. nv - 1) { vpar[di] = 0; vgs[di] = 0; vst[di] = 0 };
    nv = num;

    FOR(di) {
        S_OV(di, map[OV(di)]);
        S_DV(di, map[DV(di)]);
        S_FL(di, map[FL(di)])
    };
    cur = map[cur];
    bver = map[bver];
    glast = map[glast];
    gro = map[gro];

    FOR(di) {
        for (dj : 0 .. DISKS - 2) {
            if
            :: D[dj] > D[dj + 1] ->
                tmp = D[dj]; D[dj] = D[dj + 1]; D[dj + 1] = tmp
            :: else
            fi
        }
    };

    if
    :: rw ->
        for (di : 0 .. DISKS - 2) {
            for (dj : di + 1 .. DISKS - 1) {
                if
                :: MEM(di) && MEM(dj) && vgs[OV(di)] == vgs[OV(dj)] ->
                    assert(OV(di) == OV(dj))
                :: else
                fi
            }
        }
    :: else
    fi;

    TRACE_STATE();
    di = 0; dj = 0; num = 0; vx = 0; vy = 0; vz = 0;
    best = 0; most = 0; tmp = 0
}


/* Guards over all disks. */

#if DISKS == 3
#define ALL(P)    (P(0) && P(1) && P(2))
#define COUNT(P)  (P(0) + P(1) + P(2))
#else
#define ALL(P)    (P(0) && P(1) && P(2) && P(3))
#define COUNT(P)  (P(0) + P(1) + P(2) + P(3))
#endif

#define P_PREPARED(d)  (!MEM(d) || PREP(d))
#define P_DONE(d)      (!MEM(d) || FL(d) == 0)
#define P_AT_CUR(d)    (!MEM(d) || OV(d) == cur)
#define P_COMMITTED(d) (MEM(d) && FL(d) == 0)

#ifdef MUTATE_QUORUM_MEMBERS
/* a majority of those that are members now, not of all disks */
#define ENOUGH(n)      ((n) >= 1)
#else
#define ENOUGH(n)      ((n) >= Q)
#endif


/* Recovery brings a member forward: one transaction. */

#ifdef MUTATE_DIGEST
#define CATCH(d)                                                          \
    :: ph == CATCHUP && MEM(d) && OV(d) != cur && PRES(d) == UP ->        \
        d_step { walk(cur, OV(d)); MIXED(d); S_OV(d, cur); WRITTEN(d) }
#elif defined(MUTATE_CATCHUP_PIECES)
#define CATCH(d)                                                          \
    :: ph == CATCHUP && MEM(d) && OV(d) != cur && PRES(d) == UP ->        \
        d_step { S_OV(d, cur); WRITTEN(d); S_BAD(d, 1) }                  \
    :: ph == CATCHUP && MEM(d) && OV(d) == cur && BAD(d)                  \
       && PRES(d) == UP -> S_BAD(d, 0)
#undef P_AT_CUR
#define P_AT_CUR(d)    (!MEM(d) || (OV(d) == cur && !BAD(d)))
#else
#define CATCH(d)                                                          \
    :: ph == CATCHUP && MEM(d) && OV(d) != cur && PRES(d) == UP ->        \
        d_step { S_OV(d, cur); WRITTEN(d) }
#endif

#define CATCH_FAIL(d)                                                     \
    :: ph == CATCHUP && MEM(d) && PRES(d) != UP -> ph = OPENING

/* Prepare: statements, pages into the WAL, sync. Nothing is visible. */

#define DO_PREPARE(d)                                                     \
    :: ph == PREPARE && MEM(d) && !PREP(d) && PRES(d) == UP ->            \
        d_step { S_PREP(d, 1);                                            \
                 if :: !SF(d) -> S_DV(d, OV(d)) :: else fi }

/* The medium is full: the write is refused, the disk stays. */

#define NO_SPACE(d)                                                       \
    :: faults < FAULTS && ph == PREPARE && inb && MEM(d) && !PREP(d)      \
       && PRES(d) == UP ->                                                \
        d_step { faults++; refuse_batch(); ph = IDLE }

/* A member fails: out of the set in memory, whatever the batch does. */

#ifdef MUTATE_KEEP_FAILED
#define DROP(d)                                                           \
    :: ph == COMMIT && MEM(d) && PRES(d) == AWAY && FL(d) ->              \
        S_FL(d, 0)
#else
#define DROP(d)                                                           \
    :: ph >= IDLE && MEM(d) && PRES(d) == AWAY                            \
       && !(ph == COMMIT && FL(d) == 0) ->                                \
        d_step { S_MEM(d, 0); S_PREP(d, 0); S_FL(d, 0); needgen = 1;      \
                 members();                                               \
                 if :: ph == IDLE && num < Q -> ph = OPENING; rw = 0      \
                    :: else fi }
#endif

/* A member is late: dropped only while a quorum remains. */

#define DROP_LATE(d)                                                      \
    :: MEM(d) && PRES(d) == HUNG && COUNT(MEM) > Q                        \
       && ((ph == PREPARE && !PREP(d)) || (ph == COMMIT && FL(d))) ->     \
        d_step { S_MEM(d, 0); S_PREP(d, 0); needgen = 1 }

/*
 * The commit frame is in the file. Where its thread was stuck while the
 * disk was dropped or the process died, this comes late.
 */

#define LAND(d)                                                           \
    :: FL(d) && OV(d) != FL(d) && PRES(d) == UP ->                        \
        d_step { S_OV(d, FL(d)); WRITTEN(d);                              \
                 if :: !MEM(d) || ph != COMMIT -> UNLOCK(d) :: else fi }  \
    :: FL(d) && PRES(d) == UP && (!MEM(d) || ph != COMMIT) ->             \
        d_step { UNLOCK(d) }

/* The last call of the old thread has ended, its lock is free. */

#define UNLOCK(d)                                                         \
    S_FL(d, 0); gro = 0; if :: ph == RONLY -> ph = OPENING :: else fi

#define SYNC(d)                                                           \
    :: ph == COMMIT && MEM(d) && FL(d) && OV(d) == FL(d)                  \
       && PRES(d) == UP ->                                                \
        d_step { if :: !SF(d) -> SYNCED(d) :: else fi; S_FL(d, 0) }

#ifdef MUTATE_COMMIT_SYNC
#define SYNCED(d)     skip
#else
#define SYNCED(d)     S_DV(d, OV(d))
#endif

#if CUTS > 0

/* fsync reports an error once; the pages are clean then, and lost. */

#ifdef MUTATE_SYNC_RETRY
#define SYNC_FAIL(d)                                                      \
    :: faults < FAULTS && ph == COMMIT && MEM(d) && FL(d)                 \
       && OV(d) == FL(d) && DV(d) != OV(d) && PRES(d) == UP ->            \
        d_step { faults++; S_SF(d, 1) }
#else
#define SYNC_FAIL(d)                                                      \
    :: faults < FAULTS && ph == COMMIT && MEM(d) && FL(d)                 \
       && OV(d) == FL(d) && DV(d) != OV(d) && PRES(d) == UP ->            \
        d_step { faults++; S_SF(d, 1); S_MEM(d, 0); S_PREP(d, 0);         \
                 S_FL(d, 0); needgen = 1 }
#endif

/* The kernel writes pages back when it likes. */

#define WRITE_BACK(d)                                                     \
    :: OV(d) != DV(d) && !SF(d) && PRES(d) != AWAY -> S_DV(d, OV(d))

#else
#define SYNC_FAIL(d)
#define WRITE_BACK(d)
#endif

/* A disk comes back while the process runs. */

#ifdef MUTATE_DIGEST
#define MIXED(d)      if :: vx != OV(d) -> S_BAD(d, 1) :: else fi
#else
#define MIXED(d)      skip
#endif

#ifdef FORK_COPY
#define IN_HISTORY(d) 1
#elif defined(MUTATE_DIGEST)
#define IN_HISTORY(d) (vgs[OV(d)] <= vgs[cur])
#else
#define IN_HISTORY(d) (vx == OV(d))
#endif

#define REJOIN(d)                                                         \
    :: ph == IDLE && rw && !MEM(d) && !INC(d) && OPENED(d) ->             \
        d_step { open_index(d); walk(cur, OV(d));                         \
                 if                                                       \
                 :: IN_HISTORY(d) ->                                      \
                     MIXED(d); S_OV(d, cur); S_DV(d, cur);                \
                     S_MEM(d, 1); needgen = 1                             \
                 :: else                                                  \
                 fi }

/* A fresh copy ends; until here the mark stood. */

#define COPY_END(d)                                                       \
    :: ph == IDLE && rw && !MEM(d) && INC(d) && OPENED(d) ->              \
        d_step { S_OV(d, cur); S_DV(d, cur); S_BAD(d, 0); S_INC(d, 0);    \
                 S_MEM(d, 1); needgen = 1 }

/* A reader's snapshot, released only when its sequence is decided. */

#ifdef MUTATE_READ_UNDECIDED
#define RELEASED(d)   (ph == IDLE || ph == COMMIT)
#else
#define RELEASED(d)   (ph == IDLE)
#endif

#define READ(d)                                                           \
    :: rw && MEM(d) && PRES(d) == UP && RELEASED(d) ->                    \
        d_step { assert(!BAD(d) && !INC(d)); expose(OV(d)) }

/* Read-only: from the newest complete index alone. */

#ifdef MUTATE_RO_ANY
#define RO_SOURCE(d)  1
#else
#define RO_SOURCE(d)  (OV(d) == cur)
#endif

#define RO_READ(d)                                                        \
    :: ph == RONLY && PREP(d) && USABLE(d) && RO_SOURCE(d) ->             \
        d_step { assert(!BAD(d) && !INC(d)); reveal(OV(d));               \
                 user_version(OV(d)); gro = vx }

#ifdef RO_COPY

/*
 * A copy in read-only mode, from a disk that has the newest index in sight.
 * Laggards may get one here as well, which makes no difference to them.
 */

#define P_SOURCE(d)   (PREP(d) && USABLE(d) && OV(d) == cur)

#define RO_COPY_END(d)                                                    \
    :: ph == RONLY && OPENED(d) && (INC(d) || OV(d) != cur)               \
       && COUNT(P_SOURCE) > 0 ->                                          \
        d_step { S_OV(d, cur); S_DV(d, cur); S_SF(d, 0); S_BAD(d, 0);     \
                 S_INC(d, 0); ph = OPENING }
#else
#define RO_COPY_END(d)
#endif

/*
 * Disk faults. A disk hangs while it has a call to answer; at any other time
 * that is no different from being away. What was shown read-only holds while
 * the disks stay.
 */

#if FAULTS > 0
#define FAULT(d)                                                          \
    :: faults < FAULTS && PRES(d) == UP ->                                \
        d_step { faults++; gro = 0; S_PRES(d, AWAY);                      \
                 if :: ph == RONLY -> S_PREP(d, 0) :: else fi }           \
    :: faults < FAULTS && PRES(d) == UP && MEM(d)                         \
       && ((ph == PREPARE && !PREP(d)) || (ph == COMMIT && FL(d))) ->     \
        d_step { faults++; gro = 0; S_PRES(d, HUNG) }                     \
    :: PRES(d) != UP ->                                                   \
        d_step { gro = 0; S_PRES(d, UP);                                  \
                 if :: ph == RONLY -> ph = OPENING :: else fi }           \
    :: PRES(d) == AWAY && !MEM(d) && FL(d) == 0 && !INC(d) && budget ->   \
        d_step { budget--; gro = 0; S_OV(d, 0); S_DV(d, 0); S_SF(d, 0);   \
                 S_INC(d, 1); WIPED(d) }
#ifdef MUTATE_INCOMPLETE
#define WIPED(d)      S_OV(d, 1); S_DV(d, 1); S_BAD(d, 1)
#else
#define WIPED(d)      skip
#endif
#else
#define FAULT(d)
#define NO_FAULTS
#endif


#define FIRST_COMMIT   (ph == PREPARE && (COUNT(MEM) < Q || ALL(P_PREPARED)))

#ifdef MUTATE_ANSWER_QUORUM
#define LAST_COMMIT    (ph == COMMIT && (ALL(P_DONE)                      \
                                         || COUNT(P_COMMITTED) >= Q))
#else
#define LAST_COMMIT    (ph == COMMIT && ALL(P_DONE))
#endif

#define KNOWN(w)       (ws[w] == WAIT && !(((queue | inb) >> w) & 1))

/*
 * A message received, a read or an answer in the middle of a batch is the
 * same as one before it, so these are tried between batches only.
 */

#ifdef MUTATE_VERDICT
/* verdicts stand in the memory of the process that decided them */
#define VERDICT(w)     ((lost >> w) & 1 -> NONE : VERD(vst[cur], w))
byte  lost;
#define FORGET_VERDICTS  lost = 7
#else
#define VERDICT(w)     VERD(vst[cur], w)
#define FORGET_VERDICTS  skip
#endif

/* The answer, or after a lost connection the outcome. */

#define ANSWER(w)                                                         \
    :: ph == IDLE && KNOWN(w) && VERDICT(w) == APPLIED ->                 \
        d_step { ws[w] = OK; expose(cur) }                                \
    :: ph == IDLE && KNOWN(w) && VERDICT(w) == REFUSED ->                 \
        d_step { ws[w] = R412; expose(cur) }                              \
    :: ph == IDLE && KNOWN(w) && VERDICT(w) == NONE ->                    \
        queue = queue | (1 << w)        /* unknown: sent again */

#ifdef MUTATE_UNKNOWN_EARLY
#define EARLY(w)                                                          \
    :: ph == RONLY && KNOWN(w) && VERDICT(w) == NONE ->                   \
        d_step { ws[w] = R503; grefused = grefused | (1 << w) }
#elif defined(MUTATE_OK_READ_ONLY)
#define EARLY(w)                                                          \
    :: ph == RONLY && KNOWN(w) && VERDICT(w) == APPLIED ->                \
        d_step { ws[w] = OK; expose(cur) }
#elif defined(MUTATE_RESEND)
#define EARLY(w)                                                          \
    :: ph == IDLE && KNOWN(w) -> queue = queue | (1 << w)
#elif defined(MUTATE_412_EARLY)
#define EARLY(w)                                                          \
    :: rw && ((inb >> w) & 1) && ws[w] == WAIT && bver                    \
       && VERD(vst[bver], w) == REFUSED ->                                \
        d_step { ws[w] = R412; expose(bver) }
#else
#define EARLY(w)
#endif

#ifdef MUTATE_GEN_USER
#define ACCEPTS        (ph == IDLE || ph == CATCHUP)
#else
#define ACCEPTS        (ph == IDLE && !needgen)
#endif

#define SEND(w)                                                           \
    d_step { queue = queue | (1 << w); ws[w] = WAIT }


init {
    d_step {
        nv = 2;
        vgs[1] = 16 + 1;
        glast = 1;
        budget = PARITY;
        FOR(di) { D[di] = 1 | (1 << 5) };
        di = 0
    };

end:
    do
    :: atomic {
        if

        /* workers */

        :: ACCEPTS && ws[0] == NEW -> SEND(0)
#if WRITES > 1
        :: ACCEPTS && ws[1] == NEW -> SEND(1)
#endif
#if WRITES > 2
        :: ACCEPTS && ws[2] == NEW && ws[0] >= OK && ws[0] != DEAD -> SEND(2)
#endif
        ANSWER(0)
        EARLY(0)
#if WRITES > 1
        ANSWER(1)
        EARLY(1)
#endif
#if WRITES > 2
        ANSWER(2)
        EARLY(2)
#endif
#if WCRASHES > 0
        :: wcrashes < WCRASHES && (ws[0] == WAIT || ws[2] == WAIT) ->
            d_step {
                wcrashes++;
                if :: ws[0] == WAIT -> ws[0] = DEAD
                   :: else -> ws[2] = DEAD fi
            }
        :: wcrashes < WCRASHES && ws[1] == WAIT ->
            d_step { wcrashes++; ws[1] = DEAD }
#endif

        EACH(READ)
        EACH(RO_READ)

        /* recovery */

        :: ph < CATCHUP || ph == OFF || ph == RONLY -> d_step { recover() }
        EACH(CATCH)
        EACH(CATCH_FAIL)
        :: ph == CATCHUP && ALL(P_AT_CUR) ->
#ifdef MUTATE_NO_GENERATION
            d_step { ph = IDLE; rw = 1; members(); budget = num - K }
#else
            d_step { start_generation() }
#endif

        /* batches */

        :: ph == IDLE && needgen ->
#ifdef MUTATE_DROP_GENERATION
            needgen = 0
#else
            d_step { start_generation() }
#endif
        :: ph == IDLE && !needgen && queue ->
            d_step {
                decide_queue();
                new_version(cur, NEXT_SEQ(vgs[cur]), vy);
                ph = PREPARE
            }
        EACH(DO_PREPARE)
        EACH(NO_SPACE)
        EACH(DROP)
        EACH(DROP_LATE)
        :: FIRST_COMMIT ->
            d_step {
                members();
                if
                :: ENOUGH(num) ->
                    ph = COMMIT;
                    FOR(di) {
                        if :: MEM(di) -> S_FL(di, bver) :: else fi
                    };
                    skip
                :: else ->
                    refuse_batch();
                    ph = OPENING;
                    rw = 0
                fi
            }
#ifdef MUTATE_COMMIT_EARLY
        :: ph == PREPARE && PREP(0) && MEM(0) && PRES(0) == UP ->
            d_step { S_OV(0, bver); WRITTEN(0) }
#endif
        EACH(LAND)
        EACH(SYNC)
        EACH(SYNC_FAIL)
        EACH(WRITE_BACK)
        :: LAST_COMMIT ->
            d_step {
                members();
                if
                :: ENOUGH(num) ->
                    cur = bver;
                    rw = 1;
                    ph = IDLE;
                    budget = (num > K -> num - K : 0);
                    forget_batch()
                :: else ->
                    ph = OPENING;
                    rw = 0;
#ifdef MUTATE_UNDECIDED_REFUSED
                    refuse_batch()
#else
                    forget_batch()
#endif
                fi
            }
        EACH(REJOIN)
        EACH(COPY_END)
        EACH(RO_COPY_END)

        /* crashes and faults */

#if CRASHES > 0
        :: crashes < CRASHES && ph != DOWN ->
            d_step { crashes++; FORGET_VERDICTS; down() }
#endif
#if CUTS > 0
        :: cuts < CUTS ->
            d_step {
                cuts++;
                FORGET_VERDICTS;
                down();
                FOR(di) {
                    S_OV(di, DV(di));
                    S_FL(di, 0);
                    S_SF(di, 0);
                    if :: PRES(di) == HUNG -> S_PRES(di, UP) :: else fi
                };
                for (di : 0 .. 2) {
                    if :: ws[di] == WAIT -> ws[di] = DEAD :: else fi
                };
                skip
            }
#endif
        EACH(FAULT)
        fi;

        d_step { settle() }

#ifdef REACH_ALL_OK
        ; assert(!(ws[0] == OK && ws[2] == OK && ws[1] == R412
                   && crashes == CRASHES && faults == FAULTS))
#endif
      }
    od
}
