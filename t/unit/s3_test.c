
#include "s3_test.h"

#include <ftw.h>


static ngx_cycle_t      s3_test_cycle;
static ngx_log_t        s3_test_log_obj;
static ngx_open_file_t  s3_test_log_file;


static void
s3_test_init(void)
{
    if (ngx_cycle != NULL) {
        return;
    }

    ngx_pagesize = getpagesize();
    ngx_cacheline_size = NGX_CPU_CACHE_LINE;
    ngx_pid = ngx_getpid();
    ngx_time_init();

    s3_test_log_file.fd = ngx_stderr;
    s3_test_log_obj.file = &s3_test_log_file;
    s3_test_log_obj.log_level = NGX_LOG_WARN;

    if (getenv("S3_TEST_DEBUG") != NULL) {
        s3_test_log_obj.log_level = NGX_LOG_DEBUG_CONNECTION
                                    |NGX_LOG_DEBUG_ALL;
    }

    s3_test_cycle.log = &s3_test_log_obj;
    ngx_cycle = &s3_test_cycle;

    /* ngx_crc32() reads the table through an aligned pointer */

    if (ngx_crc32_table_init() != NGX_OK) {
        abort();
    }
}


ngx_log_t *
s3_test_log(void)
{
    s3_test_init();

    return &s3_test_log_obj;
}


ngx_pool_t *
s3_test_pool(void)
{
    ngx_pool_t  *pool;

    s3_test_init();

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, &s3_test_log_obj);
    if (pool == NULL) {
        abort();
    }

    return pool;
}


void
s3_test_pool_free(ngx_pool_t *pool)
{
    ngx_destroy_pool(pool);
}


char *
s3_test_dir(void)
{
    char        *dir;
    const char  *tmp;

    tmp = getenv("TMPDIR");

    if (tmp == NULL || tmp[0] != '/') {
        tmp = "/tmp";
    }

    if (asprintf(&dir, "%s/s3_test.XXXXXX", tmp) == -1
        || mkdtemp(dir) == NULL)
    {
        perror("s3_test_dir");
        abort();
    }

    return dir;
}


static int
s3_test_remove(const char *path, const struct stat *st, int flag,
    struct FTW *ftw)
{
    return remove(path);
}


void
s3_test_dir_free(char *dir)
{
    /* FTW_PHYS: a symlink is removed, never followed */

    (void) nftw(dir, s3_test_remove, 16, FTW_DEPTH|FTW_PHYS);

    free(dir);
}


void
s3_test_fill(void *p, size_t len, uint64_t seed)
{
    size_t    i;
    uint64_t  x;
    u_char   *q;

    q = p;
    x = seed * 0x9e3779b97f4a7c15ULL + 0x9e3779b97f4a7c15ULL;

    if (x == 0) {
        x = 1;
    }

    for (i = 0; i < len; i++) {
        q[i] = (u_char) (s3_test_random(&x) >> 56);
    }
}


uint64_t
s3_test_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;

    return *seed * 0x2545f4914f6cdd1dULL;
}


ngx_str_t
s3_test_str(const char *s)
{
    ngx_str_t  str;

    str.data = (u_char *) s;
    str.len = strlen(s);

    return str;
}
