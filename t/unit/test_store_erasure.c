
#include "s3_test.h"
#include "s3_erasure.h"

#include <pthread.h>


#define GUARD  64


/* --- a second opinion: GF(2^8) modulo 0x11d, bit by bit --- */

static uint8_t
gf_times(uint8_t a, uint8_t b)
{
    uint8_t   product;
    unsigned  i;

    product = 0;

    for (i = 0; i < 8; i++) {
        if (b & (1 << i)) {
            product ^= a;
        }

        a = (uint8_t) ((a << 1) ^ (a & 0x80 ? 0x1d : 0));
    }

    return product;
}


static uint8_t
gf_inverse(uint8_t a)
{
    unsigned  i;

    for (i = 1; i < 256; i++) {
        if (gf_times(a, (uint8_t) i) == 1) {
            return (uint8_t) i;
        }
    }

    return 0;
}


typedef struct {
    uint8_t   *memory;
    uint8_t   *units[S3_MAX_DISKS];
    size_t     len;
    unsigned   n;
} erasure_units_t;


/* with guards around each and the odd address */

static void
units_create(erasure_units_t *u, unsigned n, size_t len)
{
    unsigned  i;

    u->n = n;
    u->len = len;
    u->memory = malloc(n * (len + 2 * GUARD) + 1);
    assert_non_null(u->memory);
    memset(u->memory, 0xa5, n * (len + 2 * GUARD) + 1);

    for (i = 0; i < n; i++) {
        u->units[i] = u->memory + i * (len + 2 * GUARD) + GUARD + 1;
    }
}


static void
units_free(erasure_units_t *u)
{
    unsigned  i, j;

    for (i = 0; i < u->n; i++) {
        for (j = 1; j <= GUARD - 1; j++) {
            assert_int_equal(u->units[i][-(int) j], 0xa5);
            assert_int_equal(u->units[i][u->len + j - 1], 0xa5);
        }
    }

    free(u->memory);
}


/* the parity that docs/format.md promises */

static void
check_parity(const s3_geometry_t *g, erasure_units_t *u)
{
    size_t    b;
    uint8_t   want;
    unsigned  i, j;

    for (i = g->k; i < (unsigned) g->k + g->m; i++) {
        for (b = 0; b < u->len; b++) {
            want = 0;

            for (j = 0; j < g->k; j++) {
                want ^= gf_times(u->units[j][b],
                                 gf_inverse((uint8_t) (i ^ j)));
            }

            assert_int_equal(u->units[i][b], want);
        }
    }
}


static void
encode(void **state)
{
    size_t           i, j, len;
    unsigned         n;
    s3_geometry_t    g;
    erasure_units_t  u;

    static const uint8_t  km[][2] = { { 1, 0 }, { 1, 1 }, { 2, 1 }, { 2, 2 },
                                      { 3, 1 }, { 4, 2 }, { 8, 3 }, { 12, 4 },
                                      { 16, 16 }, { 31, 1 }, { 20, 12 } };
    static const size_t   lens[] = { 0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65,
                                     127, 129, 300 };

    for (i = 0; i < sizeof(km) / sizeof(km[0]); i++) {
        n = km[i][0] + km[i][1];
        g = s3_geometry(n, km[i][1]);

        for (j = 0; j < sizeof(lens) / sizeof(lens[0]); j++) {
            len = lens[j];
            units_create(&u, n, len);

            for (n = 0; n < g.k; n++) {
                s3_test_fill(u.units[n], len, i * 100 + n);
            }

            s3_erasure_encode(&g, u.units, len);
            check_parity(&g, &u);
            units_free(&u);

            n = km[i][0] + km[i][1];
        }
    }
}


/* every pattern of up to m lost shards: computed from what is left, in one
 * call, data and parity */

static unsigned
all_losses(unsigned k, unsigned m, size_t len)
{
    unsigned         i, n, patterns;
    uint64_t         lost, all;
    s3_geometry_t    g;
    erasure_units_t  u, whole;

    n = k + m;
    g = s3_geometry(n, m);
    all = ((uint64_t) 1 << n) - 1;
    patterns = 0;

    units_create(&u, n, len);
    units_create(&whole, n, len);

    for (i = 0; i < k; i++) {
        s3_test_fill(whole.units[i], len, i + len);
    }

    s3_erasure_encode(&g, whole.units, len);

    for (lost = 0; lost <= all; lost++) {
        if ((unsigned) __builtin_popcountll(lost) > m) {
            continue;
        }

        for (i = 0; i < n; i++) {
            if (lost & ((uint64_t) 1 << i)) {
                memset(u.units[i], 0xee, len);

            } else {
                memcpy(u.units[i], whole.units[i], len);
            }
        }

        assert_int_equal(s3_erasure_decode(&g, u.units, len, all & ~lost,
                                           lost),
                         0);

        for (i = 0; i < n; i++) {
            assert_memory_equal(u.units[i], whole.units[i], len);
        }

        patterns++;
    }

    units_free(&u);
    units_free(&whole);

    return patterns;
}


static void
losses(void **state)
{
    assert_int_equal(all_losses(1, 0, 100), 1);
    assert_int_equal(all_losses(1, 1, 100), 3);
    assert_int_equal(all_losses(2, 1, 33), 4);
    assert_int_equal(all_losses(2, 2, 4096), 11);
    assert_int_equal(all_losses(3, 2, 1), 16);
    assert_int_equal(all_losses(3, 3, 65), 42);
    assert_int_equal(all_losses(4, 2, 4097), 22);
    assert_int_equal(all_losses(4, 4, 17), 163);
    assert_int_equal(all_losses(6, 3, 129), 130);
    assert_int_equal(all_losses(8, 3, 255), 232);
    assert_int_equal(all_losses(12, 4, 67), 2517);
}


static void
some_of_many(void **state)
{
    unsigned         i, round, n;
    uint32_t         random[2 * S3_MAX_DISKS];
    uint64_t         have, want;
    s3_geometry_t    g;
    erasure_units_t  u, whole;

    /* the largest set: random halves, and of what is lost only some wanted */

    n = 32;
    g = s3_geometry(n, 16);

    units_create(&u, n, 100);
    units_create(&whole, n, 100);

    for (i = 0; i < g.k; i++) {
        s3_test_fill(whole.units[i], 100, i);
    }

    s3_erasure_encode(&g, whole.units, 100);

    for (round = 0; round < 300; round++) {
        s3_test_fill(random, sizeof(random), round);

        have = 0;

        for (i = 0; __builtin_popcountll(have) < 16; i++) {
            have |= (uint64_t) 1 << (random[i % 64] + i / 64) % n;
        }

        want = random[63] & ~have & 0xffffffff;

        for (i = 0; i < n; i++) {
            if (have & ((uint64_t) 1 << i)) {
                memcpy(u.units[i], whole.units[i], 100);

            } else {
                memset(u.units[i], 0xee, 100);
            }
        }

        assert_int_equal(s3_erasure_decode(&g, u.units, 100, have, want), 0);

        for (i = 0; i < n; i++) {
            if ((have | want) & ((uint64_t) 1 << i)) {
                assert_memory_equal(u.units[i], whole.units[i], 100);

            } else {
                assert_int_equal(u.units[i][0], 0xee);
                assert_int_equal(u.units[i][99], 0xee);
            }
        }
    }

    units_free(&u);
    units_free(&whole);
}


static void
refusals(void **state)
{
    unsigned         i;
    s3_geometry_t    g;
    erasure_units_t  u;

    g = s3_geometry(4, 2);
    units_create(&u, 4, 10);

    for (i = 0; i < 4; i++) {
        memset(u.units[i], 'x', 10);
    }

    assert_int_equal(s3_erasure_decode(&g, u.units, 10, 1, 2), -1);
    assert_int_equal(s3_erasure_decode(&g, u.units, 10, 0, 0), -1);
    assert_int_equal(s3_erasure_decode(&g, u.units, 10, 3, 1 << 4), -1);
    assert_int_equal(s3_erasure_decode(&g, u.units, 10, 3 | 1 << 4, 4), -1);

    /* what is there stays as it is, wanted or not */

    assert_int_equal(s3_erasure_decode(&g, u.units, 10, 3, 3), 0);

    for (i = 0; i < 4; i++) {
        assert_int_equal(u.units[i][0], 'x');
    }

    units_free(&u);
}


static void
geometry(void **state)
{
    unsigned       n, m;
    s3_geometry_t  g, bad;

    for (n = 1; n <= S3_MAX_DISKS; n++) {
        for (m = 0; m <= n / 2; m++) {
            g = s3_geometry(n, m);

            assert_true(s3_geometry_valid(&g));
            assert_int_equal(g.k, n - m);
            assert_int_equal(g.m, m);
            assert_int_equal(g.unit % S3_BLOCK_SIZE, 0);
            assert_true(g.unit >= S3_BLOCK_SIZE);
            assert_true(s3_stripe_size(&g) >= S3_STRIPE_SIZE);
            assert_true((uint64_t) g.k * (g.unit - S3_BLOCK_SIZE)
                        < S3_STRIPE_SIZE);

            assert_true(s3_quorum(&g) <= n);
            assert_true(2 * s3_quorum(&g) > n);
            assert_true(s3_quorum(&g) >= g.k);
        }
    }

    g = s3_geometry(4, 2);
    assert_int_equal(g.unit, 512 * 1024);
    g = s3_geometry(9, 3);
    assert_int_equal(g.unit, 192 * 1024);

    bad = g; bad.k = 0;
    assert_false(s3_geometry_valid(&bad));
    bad = g; bad.m = 7;
    assert_false(s3_geometry_valid(&bad));
    bad = g; bad.k = 30;
    assert_false(s3_geometry_valid(&bad));
    bad = g; bad.k = 255; bad.m = 255;
    assert_false(s3_geometry_valid(&bad));
    bad = g; bad.unit = 0;
    assert_false(s3_geometry_valid(&bad));
    bad = g; bad.unit = 4096;
    assert_false(s3_geometry_valid(&bad));
    bad = g; bad.unit = 0xffff0000;
    assert_false(s3_geometry_valid(&bad));
}


static void
sizes(void **state)
{
    size_t         i;
    uint64_t       size, stripe, sum, rest, start;
    unsigned       n, m;
    s3_geometry_t  g;

    static const uint64_t  edges[] = { 0, 1, 4095, 4096, 4097, 65536, 100000,
                                       1048575, 1048576, 1048577, 1572864,
                                       10 * 1048576 + 1, 50000000 };

    for (n = 1; n <= S3_MAX_DISKS; n++) {
        m = n / 2;
        g = s3_geometry(n, m);

        for (i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
            size = edges[i];
            sum = 0;

            for (stripe = 0; /* void */ ; stripe++) {
                start = stripe * s3_stripe_size(&g);

                if (start >= size) {
                    break;
                }

                rest = size - start;

                if (rest >= s3_stripe_size(&g)) {
                    assert_int_equal(s3_unit_size(&g, size, stripe), g.unit);
                    sum += g.unit;
                    continue;
                }

                /* room for the rest, and not a page more */

                sum += s3_unit_size(&g, size, stripe);
                assert_true((uint64_t) g.k * s3_unit_size(&g, size, stripe)
                            >= rest);
                assert_true((uint64_t) g.k * (s3_unit_size(&g, size, stripe)
                                              - S3_PAGE_SIZE)
                            < rest);
                assert_true(s3_unit_size(&g, size, stripe) <= g.unit);
                assert_int_equal(s3_unit_size(&g, size, stripe)
                                 % S3_PAGE_SIZE, 0);
            }

            assert_int_equal(s3_unit_size(&g, size, stripe), 0);
            assert_int_equal(s3_unit_size(&g, size, stripe + 1), 0);
            assert_int_equal(s3_unit_size(&g, size, UINT64_MAX), 0);
            assert_int_equal(s3_shard_size(&g, size), sum);
        }
    }

    g = s3_geometry(4, 2);
    assert_int_equal(s3_shard_size(&g, S3_EXTENT_MAX), S3_EXTENT_MAX / 2);
    assert_int_equal(s3_unit_size(&g, 1, 0), 4096);
    assert_int_equal(s3_unit_size(&g, 1048576 + 8193, 1), 8192);
}


static void
slots(void **state)
{
    uint8_t        id[16];
    uint64_t       seen;
    unsigned       n, i, slot, round;
    s3_geometry_t  g;

    for (n = 1; n <= S3_MAX_DISKS; n++) {
        g = s3_geometry(n, n / 2);

        for (round = 0; round < 50; round++) {
            s3_test_fill(id, 16, round);
            seen = 0;

            for (i = 0; i < n; i++) {
                slot = s3_shard_slot(&g, id, i);
                assert_true(slot < n);
                assert_int_equal(s3_slot_shard(&g, id, slot), i);
                seen |= (uint64_t) 1 << slot;
            }

            assert_int_equal(seen, ((uint64_t) 1 << n) - 1);
        }
    }

    /* the rule, for it is on disk */

    memset(id, 0, 16);
    id[15] = 3;
    id[14] = 1;
    g = s3_geometry(5, 2);
    assert_int_equal(s3_shard_slot(&g, id, 0), 259 % 5);
    assert_int_equal(s3_shard_slot(&g, id, 4), 263 % 5);
}


static void *
encode_thread(void *data)
{
    size_t         len;
    uint8_t        memory[17][64], *units[17];
    unsigned       i;
    s3_geometry_t  g;

    len = 64;
    g = s3_geometry(17, 6);

    for (i = 0; i < 17; i++) {
        units[i] = memory[i];
        s3_test_fill(memory[i], len, i);
    }

    s3_erasure_encode(&g, units, len);
    memcpy(data, memory, sizeof(memory));

    return NULL;
}


static void
threads(void **state)
{
    unsigned         i;
    pthread_t        tid[4];
    s3_geometry_t    g;
    erasure_units_t  u;
    static uint8_t   result[4][17][64];

    /* no table of 11 + 6 has been made before */

    for (i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&tid[i], NULL, encode_thread,
                                        result[i]),
                         0);
    }

    for (i = 0; i < 4; i++) {
        pthread_join(tid[i], NULL);
        assert_memory_equal(result[i], result[0], sizeof(result[0]));
    }

    g = s3_geometry(17, 6);
    units_create(&u, 17, 64);

    for (i = 0; i < 17; i++) {
        memcpy(u.units[i], result[0][i], 64);
    }

    check_parity(&g, &u);
    units_free(&u);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode),
        cmocka_unit_test(losses),
        cmocka_unit_test(some_of_many),
        cmocka_unit_test(refusals),
        cmocka_unit_test(geometry),
        cmocka_unit_test(sizes),
        cmocka_unit_test(slots),
        cmocka_unit_test(threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
