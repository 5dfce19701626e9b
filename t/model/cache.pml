/*
 * The shared page (docs/commit.md): what workers cache, and what the
 * collector may unlink. One key, overwritten twice; its value is the
 * sequence it was written at and names its data.
 *
 *      counter     odd while the key's slot is in a batch
 *      epoch       new at each start of the store process
 *      sequence    the last decided one
 *      slot        a worker's: sequence of its oldest running read, 0 none
 *
 * Every statement is one access to shared memory (sequentially consistent);
 * the cache entry itself is read and written under the zone's lock.
 */

#ifndef READERS
#define READERS   2
#endif
#ifndef CRASHES
#define CRASHES   0
#endif
#define LAST      3
#ifndef COLLECTOR
#define COLLECTOR 1
#endif
#define GONE      7         /* the value of a batch that is rolled back */

byte  counter, epoch = 1, sequence = 1;
byte  slot[READERS];

byte  e_value, e_counter, e_epoch;      /* the cache entry */

byte  value = 1;                        /* decided in the index */
byte  acked = 1;                        /* ghost: answered */
byte  files = (1 << 1) | (1 << GONE);
bool  serving = 1;
bool  ro;
byte  crashes;

#define ODD(c)    ((c) & 1)

#if defined(MUTATE_EPOCH) || defined(MUTATE_EPOCH_LATE)
#define NEW_EPOCH       skip
#else
#define NEW_EPOCH       epoch++
#endif

#ifdef MUTATE_COUNTER_RESET
#define COUNTER_START   counter = 0
#else
#define COUNTER_START   counter = counter + (counter & 1)
#endif


active [READERS] proctype reader()
{
    byte  need, s, c, e, got;
    bool  rw;
    byte  seen;

end:
    do
    :: atomic {                         /* the request begins */
           need = acked;
           rw = serving && !ro;
           seen = crashes
       };

#if COLLECTOR && !defined(MUTATE_SLOT_LATE)
        s = sequence;
        slot[_pid] = s;
#endif

        e = epoch;
        c = counter;

        if
        :: atomic {
               e_value && e_epoch == e && e_counter == c && !ODD(c) ->
               got = e_value
           }
        :: atomic {
               (serving && !ODD(counter) &&
                !(e_value && e_epoch == e && e_counter == c && !ODD(c))) ->
               got = (ro -> GONE : value)
           };
#ifdef MUTATE_FILL_AFTER
           e = epoch;
           c = counter;
#endif
           if
           :: atomic {
                  !ODD(c) -> e_value = got; e_counter = c; e_epoch = e
              }
           :: else
           fi
        fi;

        assert(got >= need);            /* read after write */
        assert(got != GONE || !rw || crashes > seen);

#ifdef MUTATE_SLOT_LATE
        s = sequence;
        slot[_pid] = s;
#endif
#if COLLECTOR
        assert((files >> got) & 1);     /* what is being read is there */
#endif
        atomic {
            slot[_pid] = 0; need = 0; s = 0; c = 0; e = 0; got = 0;
            rw = 0; seen = 0
        }
    od
}


active proctype store()
{
    byte  v, i;
    bool  half;                         /* a batch is half committed */

end:
    do
    :: value < LAST ->

        /* a batch */

#ifndef MUTATE_COUNTER_ODD
        counter++;
#endif
        half = 1;
        if
        :: crashes < CRASHES -> goto crash
        :: d_step {
               half = 0;
               value++;
               files = files | (1 << value)
           }
        fi;
        if
        :: crashes < CRASHES -> goto crash
        :: sequence = value
        fi;
#ifdef MUTATE_COUNTER_ODD
        acked = value;
        counter = counter + 2
#elif defined(MUTATE_COUNTER_ANSWER)
        acked = value;
        counter++
#else
        counter++;
        if
        :: crashes < CRASHES -> goto crash
        :: acked = value
        fi
#endif

#if COLLECTOR
    :: v + 1 < value ->

        /* the collector: v + 1 died when v + 2 was decided */

        i = 0;
        do
#ifndef MUTATE_COLLECT
        :: i < READERS && (slot[i] == 0 || slot[i] > v + 1) -> i++
#else
        :: i < READERS -> i++
#endif
        :: i < READERS && slot[i] != 0 && slot[i] <= v + 1 -> break
        :: i == READERS ->
            atomic { v++; files = files & ~(1 << v); break }
        od
#endif

    :: crashes < CRASHES ->
crash:
        atomic { crashes++; serving = 0 };

        /*
         * Locks taken, then the epoch, then recovery. Counters are never
         * set back: an odd one is made even by adding one.
         */

        NEW_EPOCH;
        COUNTER_START;

        if
        :: half ->

            /* read-only first: the half batch reads as committed ... */

            d_step { ro = 1; serving = 1 };
            d_step { serving = 0; half = 0 };

            /* ... and the disk it stood on is gone: not in the new state */

            NEW_EPOCH;
            ro = 0
        :: half ->
            d_step {
                half = 0;
                value++;
                files = files | (1 << value)
            }
        :: half = 0
        fi;
        sequence = value;
        serving = 1;
        acked = value                   /* outcomes are answered */
#ifdef MUTATE_EPOCH_LATE
        ; epoch++
#endif
    od
}
