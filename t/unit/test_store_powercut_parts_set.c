
/*
 * Power cuts of the whole store (s3_cuts.h): uploads in parts, copies and
 * conditional writes.  Each alone, every cut; pairs and triples of these and
 * the others, sampled.
 */


#include "s3_cuts.h"


static void
test_singles(void **state)
{
    s3_cuts_op_e  op;

    for (op = S3_CUTS_MULTIPART; op < S3_CUTS_LAST; op++) {
        s3_cuts_run(&op, 1, 0);
    }
}


/* each of these after, and before, each of all */

static void
test_pairs(void **state)
{
    s3_cuts_op_e  ops[2], first, second;

    for (first = 0; first < S3_CUTS_LAST; first++) {
        for (second = 0; second < S3_CUTS_LAST; second++) {

            if (first <= S3_CUTS_DELETE && second <= S3_CUTS_DELETE) {
                continue;
            }

            ops[0] = first;
            ops[1] = second;
            s3_cuts_run(ops, 2, 12);
        }
    }
}


static void
test_triples(void **state)
{
    unsigned      i;
    s3_cuts_op_e  ops[3];

    for (i = 0; i < 6; i++) {
        ops[0] = s3_cuts_random(S3_CUTS_LAST);
        ops[1] = S3_CUTS_MULTIPART
                 + s3_cuts_random(S3_CUTS_LAST - S3_CUTS_MULTIPART);
        ops[2] = s3_cuts_random(S3_CUTS_LAST);
        s3_cuts_run(ops, 3, 20);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_singles),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_triples),
    };

    return s3_cuts_run_group_tests(tests);
}
