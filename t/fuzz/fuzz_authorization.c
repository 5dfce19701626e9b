
/*
 * Signatures of Version 4 and 2: whatever the client sends, a verdict and
 * no crash, and never S3_OK for what was not signed by us.
 *
 *     input = lines: method, path, query, then headers "name: value"
 *
 * The key's secret is one no seed was signed with, so S3_OK is a bug.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_auth.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char             *p, *last, *end, *colon;
    ngx_str_t           line, access, secret;
    ngx_uint_t          n;
    s3_auth_t           auth;
    ngx_pool_t         *pool;
    s3_error_e          rc;
    s3_header_t         headers[600];
    s3_failure_t        fail;
    s3_auth_request_t   ar;

    static s3_credentials_t  *credentials;

    if (credentials == NULL) {
        access = s3_test_str("AKIAIOSFODNN7EXAMPLE");
        secret = s3_test_str("not the secret of the seeds");
        credentials = s3_credentials_pair(&access, &secret, NULL);

        if (credentials == NULL) {
            abort();
        }
    }

    pool = s3_test_pool();

    ngx_memzero(&ar, sizeof(s3_auth_request_t));
    ngx_memzero(&fail, sizeof(s3_failure_t));

    ar.pool = pool;
    ar.headers = headers;
    ar.now = 1369353600;
    ar.skew = S3_AUTH_SKEW;
    ngx_str_set(&ar.region, "us-east-1");

    /* a copy of the exact size, so that reading past it is seen */

    p = ngx_pnalloc(pool, size ? size : 1);
    ngx_memcpy(p, data, size);
    last = p + size;

    for (n = 0; p < last; p = end + 1, n++) {

        end = ngx_strlchr(p, last, '\n');
        end = end ? end : last;

        line.data = p;
        line.len = end - p;

        if (n == 0) {
            ar.method = line;

        } else if (n == 1) {
            ar.paths[0] = line;
            ar.paths[1] = line;
            ar.npaths = 2;

        } else if (n == 2) {
            ar.query = line;

        } else if (ar.nheaders < 600) {

            colon = ngx_strlchr(p, end, ':');

            if (colon) {
                headers[ar.nheaders].name.data = p;
                headers[ar.nheaders].name.len = colon - p;
                colon++;
                while (colon < end && *colon == ' ') { colon++; }
                headers[ar.nheaders].value.data = colon;
                headers[ar.nheaders].value.len = end - colon;
                ar.nheaders++;
            }
        }
    }

    rc = s3_auth_verify(&ar, credentials, &auth, &fail);

    if (rc == S3_OK || rc == S3_ERR_INTERNAL_ERROR || fail.error != rc
        || fail.nelements > S3_FAILURE_ELEMENTS)
    {
        abort();
    }

    s3_test_pool_free(pool);

    return 0;
}
