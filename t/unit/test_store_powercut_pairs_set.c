
/* Power cuts of the whole store (s3_cuts.h): two operations, every cut. */


#include "s3_cuts.h"


static void
pairs(s3_cuts_op_e first)
{
    s3_cuts_op_e  ops[2], second;

    for (second = 0; second <= S3_CUTS_DELETE; second++) {
        ops[0] = first;
        ops[1] = second;
        s3_cuts_run(ops, 2, 0);
    }
}


static void
test_put_first(void **state)
{
    pairs(S3_CUTS_PUT);
}


static void
test_put_inline_first(void **state)
{
    pairs(S3_CUTS_PUT_INLINE);
}


static void
test_overwrite_first(void **state)
{
    pairs(S3_CUTS_OVERWRITE);
}


static void
test_delete_first(void **state)
{
    pairs(S3_CUTS_DELETE);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_put_first),
        cmocka_unit_test(test_put_inline_first),
        cmocka_unit_test(test_overwrite_first),
        cmocka_unit_test(test_delete_first),
    };

    return s3_cuts_run_group_tests(tests);
}
