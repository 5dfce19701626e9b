/*
 * Multipart uploads, copies and conditional writes (docs/commit.md): what the
 * rows of one upload, two keys and four shards become when two clients, each
 * at a worker of its own, do to them whatever they like.
 *
 * That a batch is atomic, durable and decided once is commit.pml's; here a
 * batch is a second copy of the rows, which a crash may keep or not. How a
 * shard gets onto disks is shards.pml's; here it is a file or none.
 *
 *      shard 1, 2      part 1, uploaded by the one and by the other client
 *      shard 3         part 2
 *      shard 4         an object, put
 *      key A           what the upload and the put are for
 *      key B           what A is copied to
 */

#ifndef OPS
#define OPS       3         /* requests of the first client */
#endif
#ifndef OPS_1
#define OPS_1     OPS       /* and of the second */
#endif
#ifndef START
#define START     0         /* 1: the upload has its parts; 2: completed */
#endif
#ifndef CRASHES
#define CRASHES   0         /* of the store process */
#endif
#ifndef WCRASHES
#define WCRASHES  0
#endif
#ifndef CUTS
#define CUTS      0         /* of power: all three */
#endif

#define SHARDS    4
#define BIT(s)    (1 << (s))
#define HAS(m, s) (((m) >> (s)) & 1)

/* The rows: decided [0], and with the batch that is under way [1]. */

#define NONE      0
#define OPEN      1
#define COMPLETED 2
#define ABORTED   3         /* no row */

#define UPLOADED  1         /* data: the upload's, or shard 4 */
#define PUT_DATA  2

#define ETAG(a, b)    ((a) * 4 + (b))
#define ETAG_PUT      16

byte  up[2];
byte  p1[2], p2[2];         /* parts: their shard */
byte  result[2];            /* of the completed upload */
byte  a[2], ea[2];          /* object: data, etag */
byte  b[2], eb[2];
byte  refu[2], refp[2];     /* references of the data */
byte  garbage[2];           /* shards, bits */
byte  verdict[4];           /* [2 * client + copy], of its last request */

/* ghosts: shards whose end was decided; deletes that found A; the parts that
 * the upload was completed with, plus 1 */

byte  gone[2], deleted[2], done_as[2];

byte  files;                /* shards on disk */
byte  unlinked;             /* no more, but the directory is not synced */
byte  owner;                /* of client 1's sessions */
byte  left;                 /* by a worker that answered 503: its session's */

/* The store process. */

bool  running = 1;
bool  batch;                /* [1] is under way */

/* A client and its worker. */

#define IDLE      0
#define WRITING   1         /* shards are on disk, not yet sent */
#define QUEUED    2
#define DECIDED   3         /* in the batch */
#define COMMITTED 4
#define ANSWERED  5
#define LOST      6         /* the connection, before an answer */

#define CREATE    1
#define PART      2
#define COMPLETE  3
#define ABORT     4
#define PUT       5
#define COPY      6
#define DELETE_A  7
#define DELETE_B  8
#define COMPLETE2 9

#define OK        1
#define NO_UPLOAD 2
#define CONFLICT  3
#define FAILED    4         /* 412 */
#define NO_KEY    5

byte  st[2], op[2], sent[2], ans[2];
byte  sh[2];                /* the shard that goes with it */
byte  r1[2], r2[2];         /* COMPLETE: the parts named; ABORT: those seen */
byte  src[2], esrc[2];      /* COPY: what was looked at */
bool  cond[2];              /* If-None-Match: * */
bool  early[2];             /* whether it held when it was sent */
bool  dead[2];
byte  used;                 /* shards that were ever written */

byte  told;                 /* ghost: parts that were answered OK */
byte  wins;                 /* ghost: conditional writes of A, likewise */

byte  crashes, wcrashes, cuts;

hidden byte  i, old;


inline copy(to, from)
{
    up[to] = up[from];
    p1[to] = p1[from];
    p2[to] = p2[from];
    result[to] = result[from];
    a[to] = a[from];
    ea[to] = ea[from];
    b[to] = b[from];
    eb[to] = eb[from];
    refu[to] = refu[from];
    refp[to] = refp[from];
    garbage[to] = garbage[from];
    gone[to] = gone[from];
    deleted[to] = deleted[from];
    done_as[to] = done_as[from];
    verdict[to] = verdict[from];
    verdict[2 + to] = verdict[2 + from]
}


/* a batch that is not under way is no state of its own */

inline forget_batch()
{
    batch = 0;
    up[1] = 0; p1[1] = 0; p2[1] = 0; result[1] = 0; a[1] = 0; ea[1] = 0;
    b[1] = 0; eb[1] = 0; refu[1] = 0; refp[1] = 0; garbage[1] = 0;
    gone[1] = 0; deleted[1] = 0; done_as[1] = 0; verdict[1] = 0;
    verdict[3] = 0
}


inline bury(s)
{
    if
    :: s -> garbage[1] = garbage[1] | BIT(s); gone[1] = gone[1] | BIT(s)
    :: else
    fi
}


#ifdef MUTATE_UNREF_BLIND
#define LAST_REF(r)   1
#else
#define LAST_REF(r)   ((r) == 0)
#endif

inline unref(data)
{
    if
    :: data == UPLOADED ->
        refu[1]--;
        if
        :: LAST_REF(refu[1]) -> bury(p1[1]); bury(p2[1]); p1[1] = 0; p2[1] = 0
        :: else
        fi
    :: data == PUT_DATA ->
        refp[1]--;
        if
        :: LAST_REF(refp[1]) -> bury(4)
        :: else
        fi
    :: else
    fi
}


#define NUMBER(s)     ((s) == 3 -> 2 : 1)

#ifdef MUTATE_PART_UNCHECKED
#define MAY_PART      1
#else
#define MAY_PART      (up[1] == OPEN)
#endif

#ifdef MUTATE_NO_SHARD_ID
#define SAME(r, p)    ((r) == 0 || (p) != 0)
#else
#define SAME(r, p)    ((r) == 0 || (p) == (r))
#endif

#ifdef MUTATE_COND_EARLY
#define HOLDS(c)      (!cond[c] || early[c])
#else
#define HOLDS(c)      (!cond[c] || a[1] == NONE)
#endif

#ifdef MUTATE_COPY_SEEN
#define SOURCE(c)     1
#else
#define SOURCE(c)     (a[1] == src[c])
#endif


/* a refused commit's shards are the store process's to remove (ruling 3) */

inline refuse(c, why)
{
    ans[c] = why;
#ifndef MUTATE_REFUSED_LEFT
    if
    :: sh[c] -> bury(sh[c])
    :: else
    fi
#endif
}


inline put_object(data, etag)
{
    old = a[1];
    a[1] = data;
    ea[1] = etag;
    unref(old)
}


/* in batch order, against the rows that those before it have left */

inline decide(c)
{
    ans[c] = OK;
    if
    :: op[c] == CREATE ->
        if
        :: up[1] == NONE -> up[1] = OPEN
        :: else -> ans[c] = CONFLICT
        fi

    :: op[c] == PART && !MAY_PART -> refuse(c, NO_UPLOAD)
    :: op[c] == PART && MAY_PART && NUMBER(sh[c]) == 1 ->
#ifndef MUTATE_REPLACED_LEFT
        bury(p1[1]);
#endif
        p1[1] = sh[c]
    :: op[c] == PART && MAY_PART && NUMBER(sh[c]) == 2 -> p2[1] = sh[c]

    :: op[c] == COMPLETE && up[1] == COMPLETED -> ans[c] = CONFLICT
    :: op[c] == COMPLETE && up[1] != COMPLETED && up[1] != OPEN ->
        ans[c] = NO_UPLOAD
    :: op[c] == COMPLETE && up[1] == OPEN ->
        if
        :: !HOLDS(c) -> ans[c] = FAILED
        :: HOLDS(c) && (!SAME(r1[c], p1[1]) || !SAME(r2[c], p2[1])) ->
            ans[c] = CONFLICT
        :: HOLDS(c) && SAME(r1[c], p1[1]) && SAME(r2[c], p2[1]) ->
#ifndef MUTATE_UNNAMED_LEFT
            if
            :: r1[c] == 0 -> bury(p1[1]); p1[1] = 0
            :: else
            fi;
            if
            :: r2[c] == 0 -> bury(p2[1]); p2[1] = 0
            :: else
            fi;
#endif
            done_as[1] = ETAG(r1[c], r2[c]) + 1;
#ifdef MUTATE_FORGET_COMPLETED
            up[1] = ABORTED;
#else
            up[1] = COMPLETED;
            result[1] = ETAG(r1[c], r2[c]);
#endif
#ifndef MUTATE_COMPLETE_SPLIT
            refu[1] = 1;
            put_object(UPLOADED, ETAG(r1[c], r2[c]))
#else
            ans[c] = 0
#endif
        fi
#ifdef MUTATE_COMPLETE_SPLIT
    :: op[c] == COMPLETE2 ->
        refu[1] = 1;
        put_object(UPLOADED, ETAG(r1[c], r2[c]))
#endif

    :: op[c] == ABORT && up[1] != OPEN -> ans[c] = NO_UPLOAD
    :: op[c] == ABORT && up[1] == OPEN ->
#ifdef MUTATE_ABORT_FORGETS
        bury(r1[c]); bury(r2[c]);
#else
        bury(p1[1]); bury(p2[1]);
#endif
        p1[1] = 0; p2[1] = 0;
        up[1] = ABORTED

    :: op[c] == PUT && !HOLDS(c) -> refuse(c, FAILED)
    :: op[c] == PUT && HOLDS(c) ->
        refp[1] = 1;
        put_object(PUT_DATA, ETAG_PUT)

    :: op[c] == COPY && a[1] == NONE -> ans[c] = NO_KEY
    :: op[c] == COPY && a[1] != NONE && !SOURCE(c) -> ans[c] = CONFLICT
    :: op[c] == COPY && a[1] != NONE && SOURCE(c) ->
        old = b[1];
        b[1] = a[1];
        eb[1] = esrc[c];
#ifndef MUTATE_COPY_UNCOUNTED
        if
        :: b[1] == UPLOADED -> refu[1]++
        :: else -> refp[1]++
        fi;
#endif
        unref(old)

    :: op[c] == DELETE_A ->
        old = a[1];
        if
        :: old -> deleted[1]++
        :: else
        fi;
        a[1] = NONE; ea[1] = 0;
        unref(old)
    :: op[c] == DELETE_B ->
        old = b[1];
        b[1] = NONE; eb[1] = 0;
        unref(old)
    fi;
    verdict[2 * c + 1] = ans[c];
    old = 0
}


/* --- what must hold --- */

/* the rows name it */

#define LISTED(v, s)  (p1[v] == (s) || p2[v] == (s))
#define KNOWN(v, s)   ((LISTED(v, s) && (up[v] == OPEN || refu[v]))       \
                       || ((s) == 4 && refp[v]))

#define THERE(s)      ((s) == 0 || HAS(files, s))

/* its commit may still come */

#define MINE(c, s)    (sh[c] == (s) && st[c] != IDLE)

/* it waits for the end of its session */

#define IN_SESSION(s) ((dead[HAS(owner, s)] || HAS(left, s))             \
                       && !HAS(gone[0], s))

inline check_rows(v)
{
    /* whole: every shard is there, and the bytes are those of the etag */

    assert(a[v] != UPLOADED || ea[v] == ETAG(p1[v], p2[v]));
    assert(b[v] != UPLOADED || eb[v] == ETAG(p1[v], p2[v]));
    assert(a[v] != PUT_DATA || ea[v] == ETAG_PUT);
    assert(b[v] != PUT_DATA || eb[v] == ETAG_PUT);
    assert((a[v] != UPLOADED && b[v] != UPLOADED && up[v] != OPEN)
           || (THERE(p1[v]) && THERE(p2[v])));
    assert((a[v] != PUT_DATA && b[v] != PUT_DATA) || THERE(4));

    /* and stays: nothing that is named is garbage */

    for (i : 1 .. SHARDS) {
        assert(!KNOWN(v, i) || !HAS(garbage[v], i))
    };
    i = 0
}


inline check()
{
    check_rows(0);
    if
    :: batch -> check_rows(1)
    :: else
    fi;

    for (i : 1 .. SHARDS) {

        /* a part that was answered is there until its end was decided */

        assert(!HAS(told, i) || HAS(gone[0], i) || KNOWN(0, i));

        /* nothing is left over: what is on disk has a row, or will get one,
         * or lies in the session of a worker that is dead */

        assert(!HAS(files, i) || KNOWN(0, i) || HAS(garbage[0], i)
               || (batch && (KNOWN(1, i) || HAS(garbage[1], i)))
               || MINE(0, i) || MINE(1, i) || IN_SESSION(i))
    };
    i = 0;

    /* a key that was deleted may be won again */

    assert(wins <= 1 + deleted[0]);

#ifdef REACH_COPY_ALONE
    assert(wins == 0 || !gone[0] || a[0] != NONE || b[0] != UPLOADED)
#endif
}


/* --- a client --- */

#define SEND(c, o)    op[c] = o; st[c] = QUEUED; sent[c]++

#define FREE(c)       (!dead[c] && st[c] == IDLE                          \
                       && sent[c] < (c -> OPS_1 : OPS))

#define CLIENT(c)                                                         \
    :: FREE(c) && running && up[0] == NONE && c == 0 ->                   \
        d_step { SEND(c, CREATE) }                                        \
                                                                          \
    /* shards first, then the commit, or they are given up */             \
                                                                          \
    :: FREE(c) && up[0] != NONE && !HAS(used, 1 + c) ->                   \
        d_step { WRITE(c, 1 + c) }                                        \
    :: FREE(c) && up[0] != NONE && !HAS(used, 3) ->                       \
        d_step { WRITE(c, 3) }                                            \
    :: FREE(c) && !HAS(used, 4) -> d_step { WRITE(c, 4) }                 \
    :: !dead[c] && st[c] == WRITING && running && sh[c] != 4 ->           \
        d_step { SEND(c, PART) }                                          \
    :: !dead[c] && st[c] == WRITING && running && sh[c] == 4 ->           \
        d_step { CONDITION(c, 0); SEND(c, PUT) }                          \
    :: !dead[c] && st[c] == WRITING && running && sh[c] == 4 ->           \
        d_step { CONDITION(c, 1); SEND(c, PUT) }                          \
    :: !dead[c] && st[c] == WRITING ->                                    \
        d_step {                                                          \
            files = files & ~BIT(sh[c]);                                  \
            sh[c] = 0;                                                    \
            st[c] = IDLE;                                                 \
            sent[c]++                                                     \
        }                                                                 \
                                                                          \
    /* looks at the parts, names all or one of them */                    \
                                                                          \
    :: FREE(c) && running && up[0] == OPEN && (p1[0] || p2[0]) ->         \
        d_step { r1[c] = p1[0]; r2[c] = p2[0]; CONDITION(c, 0);           \
                 SEND(c, COMPLETE) }                                      \
    :: FREE(c) && running && up[0] == OPEN && (p1[0] || p2[0]) ->         \
        d_step { r1[c] = p1[0]; r2[c] = p2[0]; CONDITION(c, 1);           \
                 SEND(c, COMPLETE) }                                      \
    :: FREE(c) && running && up[0] == OPEN && p1[0] && p2[0] ->           \
        d_step { r2[c] = p2[0]; CONDITION(c, 0); SEND(c, COMPLETE) }      \
    :: FREE(c) && running && up[0] == OPEN ->                             \
        d_step { r1[c] = p1[0]; r2[c] = p2[0]; SEND(c, ABORT) }           \
    :: FREE(c) && running && a[0] ->                                      \
        d_step { src[c] = a[0]; esrc[c] = ea[0]; SEND(c, COPY) }          \
    :: FREE(c) && running && a[0] -> d_step { SEND(c, DELETE_A) }         \
    :: FREE(c) && running && b[0] -> d_step { SEND(c, DELETE_B) }         \
                                                                          \
    /* the batch takes it */                                              \
                                                                          \
    :: running && st[c] == QUEUED ->                                      \
        d_step {                                                          \
            if                                                            \
            :: !batch -> copy(1, 0); batch = 1                            \
            :: else                                                       \
            fi;                                                           \
            decide(c);                                                    \
            st[c] = DECIDED                                               \
        }                                                                 \
                                                                          \
    :: running && st[c] == COMMITTED -> st[c] = ANSWERED                  \
    :: !dead[c] && st[c] == ANSWERED -> d_step { TELL(c) }                \
                                                                          \
    /* what became of it, by its number; only then is it sent again */    \
                                                                          \
    :: !dead[c] && st[c] == LOST && running && verdict[2 * c] && ASK ->   \
        d_step { ans[c] = verdict[2 * c]; st[c] = ANSWERED }              \
    :: !dead[c] && st[c] == LOST && running                               \
       && (!verdict[2 * c] || !ASK) -> d_step { AGAIN(c) }                \
    :: !dead[c] && st[c] == LOST -> d_step { GIVE_UP(c); DONE(c) }        \
                                                                          \
    /* a session whose worker is dead is emptied; then comes another */   \
                                                                          \
    :: dead[c] && st[c] != IDLE && st[c] != QUEUED && st[c] != DECIDED -> \
        d_step { DONE(c) }                                                \
    :: dead[c] && st[c] == IDLE && running && !batch ->                   \
        d_step {                                                          \
            for (i : 1 .. SHARDS) {                                       \
                if                                                        \
                :: HAS(owner, i) == c && HAS(files, i) && !SETTLED(i)     \
                   && !HAS(garbage[0], i) -> files = files & ~BIT(i)      \
                :: else                                                   \
                fi                                                        \
            };                                                            \
            i = 0;                                                        \
            left = left & (c -> ~owner : owner);                          \
            dead[c] = 0                                                   \
        }

#define WRITE(c, s)                                                       \
    used = used | BIT(s);                                                 \
    files = files | BIT(s);                                               \
    owner = owner | ((c) << (s));                                         \
    sh[c] = s;                                                            \
    st[c] = WRITING

#define CONDITION(c, yes)                                                 \
    cond[c] = yes;                                                        \
    early[c] = (yes && a[0] == NONE)

#ifdef MUTATE_RESEND
#define ASK           0
#else
#define ASK           1
#endif

#ifdef MUTATE_WORKER_REMOVES
#define GIVE_UP(c)    files = files & ~BIT(sh[c])
#else
#define GIVE_UP(c)    left = left | (sh[c] -> BIT(sh[c]) : 0)
#endif

#ifdef MUTATE_CLEAN_PARTS
#define SETTLED(s)    ((LISTED(0, s) && refu[0]) || ((s) == 4 && refp[0]))
#else
#define SETTLED(s)    KNOWN(0, s)
#endif

#define AGAIN(c)                                                          \
    st[c] = QUEUED;                                                       \
    if                                                                    \
    :: op[c] == COMPLETE2 -> op[c] = COMPLETE                             \
    :: else                                                               \
    fi

#define DONE(c)                                                           \
    st[c] = IDLE; op[c] = 0; ans[c] = 0; sh[c] = 0; r1[c] = 0; r2[c] = 0; \
    src[c] = 0; esrc[c] = 0; cond[c] = 0; early[c] = 0;                   \
    verdict[2 * c] = 0;                                                   \
    verdict[2 * c + 1] = 0

/*
 * What the client hears. Its own Complete has named r1 and r2: where the
 * upload turns out to be completed with just these, by whomever, it is told
 * what the one who did it was told.
 */

#define HEARS_OK(c)                                                       \
    (ans[c] == OK || (op[c] == COMPLETE && ans[c] == CONFLICT             \
                      && up[0] == COMPLETED                               \
                      && result[0] == ETAG(r1[c], r2[c])))

#define ENDED(s)      ((s) == 0 || KNOWN(0, s) || HAS(gone[0], s))

#define TELL(c)                                                           \
    if                                                                    \
    :: op[c] == PART && ans[c] == OK -> told = told | BIT(sh[c])          \
    :: op[c] == PART && ans[c] != OK -> assert(!KNOWN(0, sh[c]))          \
    :: op[c] == PUT && ans[c] == OK ->                                    \
        assert(ENDED(4));                                                 \
        wins = wins + cond[c]                                             \
    :: op[c] == PUT && ans[c] != OK -> assert(!KNOWN(0, 4))               \
    :: IS_COMPLETE(c) && HEARS_OK(c) ->                                   \
        assert(ENDED(r1[c]) && ENDED(r2[c]));                             \
        wins = wins + (cond[c] && ans[c] == OK)                           \
    :: IS_COMPLETE(c) && !HEARS_OK(c) && ans[c] != FAILED ->              \
        assert(done_as[0] != ETAG(r1[c], r2[c]) + 1)                      \
    :: else                                                               \
    fi;                                                                   \
    DONE(c)

#define IS_COMPLETE(c)  (op[c] == COMPLETE || op[c] == COMPLETE2)


/* --- the store process --- */

inline commit(c)
{
    if
    :: st[c] == DECIDED ->
        st[c] = COMMITTED;
#ifdef MUTATE_COMPLETE_SPLIT
        if
        :: ans[c] == 0 -> op[c] = COMPLETE2; st[c] = QUEUED
        :: else
        fi
#endif
    :: else
    fi
}


inline lose(c)
{
    if
    :: st[c] == QUEUED || st[c] == DECIDED || st[c] == COMMITTED ->
        st[c] = LOST
    :: else
    fi
}


inline crash(keep)
{
    running = 0;
    if
    :: batch && (keep) -> copy(0, 1)
    :: else
    fi;
    forget_batch();
    lose(0);
    lose(1)
}


inline cut(keep)
{
    cuts++;
    crash(keep);
    dead[0] = 1;
    dead[1] = 1;

    /* names that were removed and not synced away */

    files = files | unlinked;
    unlinked = 0
}


#ifdef MUTATE_COLLECT_EARLY
#define DEAD          (garbage[0] | garbage[1])
#else
#define DEAD          garbage[0]
#endif

#ifdef MUTATE_GARBAGE_SYNC
#define SYNCED(s)     1
#else
#define SYNCED(s)     (!HAS(unlinked, s))
#endif

#define COLLECT(s)                                                        \
    :: running && HAS(DEAD, s) && HAS(files, s) ->                        \
        d_step { files = files & ~BIT(s); unlinked = unlinked | BIT(s) }  \
    :: HAS(unlinked, s) -> unlinked = unlinked & ~BIT(s)                  \
    :: running && !batch && HAS(garbage[0], s) && !HAS(files, s)          \
       && SYNCED(s) -> garbage[0] = garbage[0] & ~BIT(s)


init {
#if START > 0
    d_step {
        up[0] = OPEN;
        p1[0] = 1;
        p2[0] = 3;
        used = BIT(1) | BIT(3);
        files = used;
        told = used
    };
#endif
#if START > 1
    d_step {
        up[0] = COMPLETED;
        a[0] = UPLOADED;
        ea[0] = ETAG(1, 3);
        result[0] = ETAG(1, 3);
        done_as[0] = ETAG(1, 3) + 1;
        refu[0] = 1
    };
#endif

end:
    do
    :: atomic {
        if
        CLIENT(0)
        CLIENT(1)

        :: running && batch ->
            d_step {
                copy(0, 1);
                forget_batch();
                commit(0);
                commit(1)
            }
        :: !running -> running = 1

        COLLECT(1)
        COLLECT(2)
        COLLECT(3)
        COLLECT(4)

#if CRASHES > 0
        :: running && crashes < CRASHES -> d_step { crashes++; crash(1) }
        :: running && batch && crashes < CRASHES ->
            d_step { crashes++; crash(0) }
#endif
#if WCRASHES > 0
        :: !dead[0] && wcrashes < WCRASHES ->
            d_step { wcrashes++; dead[0] = 1 }
        :: !dead[1] && wcrashes < WCRASHES ->
            d_step { wcrashes++; dead[1] = 1 }
#endif
#if CUTS > 0
        :: cuts < CUTS -> d_step { cut(1) }
        :: batch && cuts < CUTS -> d_step { cut(0) }
#endif
        fi;

        d_step { check() }
      }
    od
}
