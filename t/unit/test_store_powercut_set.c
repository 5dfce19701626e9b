
/*
 * Power cuts of the whole store (s3_cuts.h): each operation alone, every cut;
 * triples of them, sampled.
 */


#include "s3_cuts.h"


static void
test_singles(void **state)
{
    s3_cuts_op_e  op;

    for (op = 0; op <= S3_CUTS_DELETE; op++) {
        s3_cuts_run(&op, 1, 0);
    }
}


static void
test_triples(void **state)
{
    unsigned      i;
    s3_cuts_op_e  ops[3];

    for (i = 0; i < 6; i++) {
        ops[0] = s3_cuts_random(S3_CUTS_DELETE + 1);
        ops[1] = s3_cuts_random(S3_CUTS_DELETE + 1);
        ops[2] = s3_cuts_random(S3_CUTS_DELETE + 1);
        s3_cuts_run(ops, 3, 25);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_singles),
        cmocka_unit_test(test_triples),
    };

    return s3_cuts_run_group_tests(tests);
}
