
/*
 * Keys: any bytes, through encoding, the token, the list document and the
 * reader that clients have.
 *
 *     input = a key (a byte longer than S3_KEY_MAX at most)
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_test.h"
#include "s3_list.h"
#include "s3_metadata.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


typedef struct {
    ngx_str_t    key;
    ngx_uint_t   seen;
    ngx_uint_t   url;
} fuzz_reader_t;


static void
fuzz_check(int ok)
{
    if (!ok) {
        abort();
    }
}


static s3_error_e
fuzz_element(void *ctx, ngx_uint_t depth, const char *name, ngx_str_t *text)
{
    u_char         *p;
    size_t          len;
    fuzz_reader_t  *r = ctx;

    if (text == NULL || ngx_strcmp(name, "Key") != 0) {
        return S3_OK;
    }

    if (r->url) {
        p = malloc(text->len ? text->len : 1);
        fuzz_check(s3_uri_decode(p, &len, text, 1) == NGX_OK);
        fuzz_check(len == r->key.len
                   && ngx_memcmp(p, r->key.data, len) == 0);
        free(p);

    } else {
        fuzz_check(text->len == r->key.len
                   && ngx_memcmp(text->data, r->key.data, text->len) == 0);
    }

    r->seen++;

    return S3_OK;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t             len;
    u_char            *p, *q;
    uint32_t           ch;
    ngx_str_t          key, enc, token, name, bucket, blob;
    ngx_uint_t         is_prefix, plain;
    ngx_pool_t        *pool;
    ngx_chain_t       *cl;
    s3_error_e         rc;
    ngx_array_t       *headers;
    fuzz_reader_t      r;
    s3_list_params_t   params;
    s3_list_object_t   entry;
    s3_list_result_t   page;

    if (size == 0 || size > S3_KEY_MAX + 1) {
        return 0;
    }

    pool = s3_test_pool();

    key.data = ngx_pnalloc(pool, size);
    key.len = size;
    ngx_memcpy(key.data, data, size);

    /* the bytes as a token and as a blob of metadata: refused or sound */

    if (s3_list_token_decode(pool, &key, &name, &is_prefix) == NGX_OK) {
        fuzz_check(name.len >= 1 && name.len <= S3_KEY_MAX);
        fuzz_check(s3_list_token_encode(pool, &name, is_prefix, &token)
                   == NGX_OK);
        fuzz_check(token.len == key.len
                   && ngx_memcmp(token.data, key.data, key.len) == 0);
    }

    blob = key;
    headers = ngx_array_create(pool, 4, sizeof(s3_header_t));
    (void) s3_metadata_headers(pool, &blob, headers);

    /* a key that is taken comes back whole */

    if (key.len > S3_KEY_MAX || !s3_utf8_valid(&key)
        || ngx_strlchr(key.data, key.data + key.len, '\0'))
    {
        s3_test_pool_free(pool);
        return 0;
    }

    enc.len = s3_uri_encode(NULL, &key, 1);
    enc.data = ngx_pnalloc(pool, enc.len);
    fuzz_check(s3_uri_encode(enc.data, &key, 1) == enc.len);

    p = ngx_pnalloc(pool, enc.len);
    fuzz_check(s3_uri_decode(p, &len, &enc, 0) == NGX_OK);
    fuzz_check(len == key.len && ngx_memcmp(p, key.data, len) == 0);

    fuzz_check(s3_list_token_encode(pool, &key, 1, &token) == NGX_OK);
    fuzz_check(s3_list_token_decode(pool, &token, &name, &is_prefix)
               == NGX_OK);
    fuzz_check(is_prefix && name.len == key.len
               && ngx_memcmp(name.data, key.data, name.len) == 0);

    /* XML 1.0 cannot carry some of them but in encoding-type=url */

    plain = 1;

    for (q = key.data; q < key.data + key.len; /* void */ ) {
        ch = s3_utf8_next(&q, key.data + key.len);

        if ((ch < 0x20 && ch != '\t' && ch != '\n' && ch != '\r')
            || ch == 0xfffe || ch == 0xffff)
        {
            plain = 0;
        }
    }

    ngx_memzero(&params, sizeof(s3_list_params_t));
    ngx_memzero(&page, sizeof(s3_list_result_t));
    ngx_memzero(&entry, sizeof(s3_list_object_t));

    ngx_str_set(&bucket, "abc");
    params.prefix = key;
    params.start_after = key;
    params.has_start_after = 1;
    entry.key = key;
    page.entries = &entry;
    page.nentries = 1;
    page.prefixes = &key;
    page.nprefixes = 1;
    page.truncated = 1;
    page.last = key;

    r.key = key;

    for (r.url = 0; r.url < 2; r.url++) {
        params.encoding_url = r.url;
        r.seen = 0;

        cl = s3_list_write(pool, &params, &bucket, &page, NULL, &len);
        fuzz_check(cl != NULL);

        rc = s3_xml_read(cl, fuzz_element, &r);

        if (plain || r.url) {
            fuzz_check(rc == S3_OK && r.seen == 1);

        } else {
            fuzz_check(rc == S3_ERR_MALFORMED_XML);
        }
    }

    s3_test_pool_free(pool);

    return 0;
}
