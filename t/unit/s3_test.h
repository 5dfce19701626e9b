
/*
 * What every unit test (t/unit/test_*.c) needs: cmocka with the headers it
 * wants before it, and, for libraries that use nginx's core types, pools.
 */


#ifndef _S3_TEST_H_INCLUDED_
#define _S3_TEST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>


/*
 * A new pool, the caller's to destroy by s3_test_pool_free().  The first call
 * sets up what nginx's main() would have: page size, cached time, ngx_cycle
 * with a log to stderr.  Under `make asan` every allocation of the pool is a
 * malloc() of its own.  Not thread-safe; never returns NULL.
 */

ngx_pool_t *s3_test_pool(void);
void s3_test_pool_free(ngx_pool_t *pool);


/* The log that pools and ngx_cycle have: NGX_LOG_DEBUG with S3_TEST_DEBUG
 * in the environment, NGX_LOG_WARN else. */

ngx_log_t *s3_test_log(void);


/*
 * A directory of the test's own, new and empty, under $TMPDIR or /tmp;
 * removed with everything in it by s3_test_dir_free().  Absolute path in
 * static memory of the call's own malloc(); never returns NULL.
 */

char *s3_test_dir(void);
void s3_test_dir_free(char *dir);


/*
 * Bytes that look random and are the same for the same seed (xorshift64*), so
 * that a failure can be repeated: tests print the seed they take.
 */

void s3_test_fill(void *p, size_t len, uint64_t seed);


/* The next number behind a seed that is not 0, which goes on (the same). */

uint64_t s3_test_random(uint64_t *seed);


/* An ngx_str_t of a C string, which must outlive it. */

ngx_str_t s3_test_str(const char *s);


#define assert_str(s, text)                                                   \
    do {                                                                      \
        assert_int_equal((s).len, strlen(text));                              \
        assert_memory_equal((s).data, text, strlen(text));                    \
    } while (0)


#endif /* _S3_TEST_H_INCLUDED_ */
