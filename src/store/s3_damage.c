
/*
 * Shards that are known to be damaged: their masks say that they are there,
 * and they cannot be read.  s3_scrub.c finds them, s3_repair.c writes them
 * anew.
 *
 *     waiting --> in work --> gone: written anew, or deleted meanwhile
 *        ^           |
 *        |           +--> stuck: too few others can be read, or the disk
 *        |                  |    can't be written to
 *        +-- other members --+
 *
 * Stuck ones are not tried again until other disks are members, a round of
 * the scrub finds them again, or a disk may be well that was not (the repair's
 * tries, which end): what cannot be healed is no work for ever.  The
 * list is bounded; what has no room in it is found again by whoever reads it
 * next.
 */


#include <stdlib.h>
#include <string.h>
#include "s3_brain.h"


static s3_damage_t *s3_damage_find(s3_process_t *p, const uint8_t id[16]);


static s3_damage_t *
s3_damage_find(s3_process_t *p, const uint8_t id[16])
{
    unsigned  i;

    for (i = 0; i < p->ndamage; i++) {
        if (memcmp(p->damage[i].shard_id, id, 16) == 0) {
            return &p->damage[i];
        }
    }

    return NULL;
}


void
s3_damage_add(s3_process_t *p, const uint8_t id[16], unsigned slot)
{
    s3_damage_t  *d;

    d = s3_damage_find(p, id);

    if (d == NULL) {

        if (p->ndamage == S3_DAMAGE_MAX) {
            return;
        }

        d = &p->damage[p->ndamage++];
        memset(d, 0, sizeof(s3_damage_t));
        memcpy(d->shard_id, id, 16);
    }

    if (!((d->slots >> slot) & 1)) {
        s3_count_add(p, S3_COUNT_SHARDS_DAMAGED, 1);
    }

    d->slots |= (uint64_t) 1 << slot;
    d->stuck = 0;
    p->repair_due = 1;
}


int
s3_damage_known(s3_process_t *p, const uint8_t id[16], unsigned slot)
{
    s3_damage_t  *d;

    d = s3_damage_find(p, id);

    return d && ((d->slots >> slot) & 1);
}


s3_damage_t *
s3_damage_next(s3_process_t *p)
{
    unsigned  i;
    uint64_t  members;

    (void) s3_members(p, &members);

    if (members != p->damage_members) {
        p->damage_members = members;
        s3_damage_again(p);
    }

    for (i = 0; i < p->ndamage; i++) {
        if (!p->damage[i].stuck) {
            return &p->damage[i];
        }
    }

    return NULL;
}


void
s3_damage_again(s3_process_t *p)
{
    unsigned  i;

    for (i = 0; i < p->ndamage; i++) {
        p->damage[i].stuck = 0;
    }
}


void
s3_damage_done(s3_process_t *p, const uint8_t id[16], uint64_t slots)
{
    s3_damage_t  *d;

    d = s3_damage_find(p, id);

    if (d == NULL) {
        return;
    }

    d->slots &= ~slots;

    if (d->slots == 0) {
        *d = p->damage[--p->ndamage];
    }
}


int
s3_damage_stuck(s3_process_t *p, const uint8_t id[16])
{
    s3_damage_t  *d;

    d = s3_damage_find(p, id);

    if (d == NULL || d->stuck) {
        return 0;
    }

    d->stuck = 1;

    return 1;
}


void
s3_damage_count(s3_process_t *p)
{
    unsigned  i, stuck;

    stuck = 0;

    for (i = 0; i < p->ndamage; i++) {
        stuck += p->damage[i].stuck;
    }

    s3_count_set(p, S3_COUNT_DAMAGE_STUCK, stuck);
    s3_count_set(p, S3_COUNT_DAMAGE_WAITING, p->ndamage - stuck);
}
