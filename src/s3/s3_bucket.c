
#include <ngx_config.h>
#include <ngx_core.h>
#include <openssl/evp.h>
#include "s3_bucket.h"
#include "s3_list.h"




typedef struct {
    ngx_pool_t                *pool;
    ngx_str_t                  region;
    s3_failure_t              *fail;
} s3_bucket_configuration_t;


static s3_error_e s3_bucket_configuration_element(void *ctx,
    ngx_uint_t depth, const char *name, ngx_str_t *text);


ngx_int_t
s3_owner(s3_owner_t *owner, ngx_str_t *access_key)
{
    u_char        digest[EVP_MAX_MD_SIZE];
    unsigned int  len;

    if (EVP_Digest(access_key->data, access_key->len, digest, &len,
                   EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    owner->id.data = owner->hex;
    owner->id.len = ngx_hex_dump(owner->hex, digest, len) - owner->hex;
    owner->display_name = *access_key;

    return NGX_OK;
}


void
s3_owner_write(s3_xml_t *x, s3_owner_t *owner)
{
    s3_xml_open(x, "Owner");
    s3_xml_text(x, "ID", &owner->id);
    s3_xml_text(x, "DisplayName", &owner->display_name);
    s3_xml_close(x, "Owner");
}


s3_error_e
s3_list_buckets_parse(ngx_pool_t *pool, s3_target_t *target,
    s3_list_buckets_t *params, s3_failure_t *fail)
{
    s3_arg_t    *arg;
    ngx_int_t    n, rc;
    ngx_uint_t   is_prefix;

    ngx_memzero(params, sizeof(s3_list_buckets_t));

    params->max_buckets = S3_LIST_BUCKETS_MAX;

    arg = s3_target_arg(target, "prefix");
    if (arg) {
        params->prefix = arg->value;
        params->regions = 1;
    }

    arg = s3_target_arg(target, "bucket-region");
    if (arg) {
        params->bucket_region = arg->value;
        params->regions = 1;
    }

    arg = s3_target_arg(target, "max-buckets");
    if (arg && arg->value.len) {
        n = ngx_atoi(arg->value.data, arg->value.len);

        if (n == NGX_ERROR || n < 1 || n > S3_LIST_BUCKETS_MAX) {
            return s3_fail_argument(fail,
                                    "Argument max-buckets must be an integer "
                                    "between 1 and 10000",
                                    "max-buckets", &arg->value);
        }

        params->max_buckets = n;
        params->regions = 1;
    }

    arg = s3_target_arg(target, "continuation-token");
    if (arg && arg->value.len) {
        rc = s3_list_token_decode(pool, &arg->value, &params->after,
                                  &is_prefix);

        if (rc == NGX_ERROR) {
            return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
        }

        if (rc == NGX_DECLINED || is_prefix) {
            return s3_fail_argument(fail,
                                    "The continuation token provided is "
                                    "incorrect", "continuation-token",
                                    &arg->value);
        }

        params->regions = 1;
    }

    return S3_OK;
}


ngx_chain_t *
s3_list_buckets_write(ngx_pool_t *pool, s3_list_buckets_t *params,
    s3_owner_t *owner, s3_list_bucket_t *buckets, ngx_uint_t n,
    ngx_uint_t truncated, ngx_str_t *region, size_t *size)
{
    s3_xml_t      x;
    ngx_str_t     token;
    ngx_uint_t    i;
    ngx_chain_t  *out;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "ListAllMyBucketsResult");
    s3_owner_write(&x, owner);
    s3_xml_open(&x, "Buckets");

    for (i = 0; i < n; i++) {
        s3_xml_open(&x, "Bucket");
        s3_xml_text(&x, "Name", &buckets[i].name);
        s3_xml_time(&x, "CreationDate", buckets[i].created);

        if (params->regions) {
            s3_xml_text(&x, "BucketRegion", region);
        }

        s3_xml_close(&x, "Bucket");
    }

    s3_xml_close(&x, "Buckets");

    if (params->prefix.len) {
        s3_xml_text(&x, "Prefix", &params->prefix);
    }

    if (truncated && n) {
        if (s3_list_token_encode(pool, &buckets[n - 1].name, 0, &token)
            != NGX_OK)
        {
            return NULL;
        }

        s3_xml_text(&x, "ContinuationToken", &token);
    }

    s3_xml_close(&x, "ListAllMyBucketsResult");

    out = s3_xml_end(&x);

    if (out) {
        *size = x.size;
    }

    return out;
}


ngx_chain_t *
s3_bucket_location_write(ngx_pool_t *pool, ngx_str_t *region, size_t *size)
{
    s3_xml_t      x;
    ngx_str_t     value;
    ngx_chain_t  *out;

    value = *region;

    /* GetBucketLocation: "Buckets in us-east-1 have a ... null" */

    if (value.len == sizeof("us-east-1") - 1
        && ngx_memcmp(value.data, "us-east-1", value.len) == 0)
    {
        value.len = 0;
    }

    s3_xml_begin(&x, pool);

    s3_xml_open_ns(&x, "LocationConstraint");
    s3_xml_value(&x, &value);
    s3_xml_close(&x, "LocationConstraint");

    out = s3_xml_end(&x);

    if (out) {
        *size = x.size;
    }

    return out;
}


s3_error_e
s3_bucket_configuration_read(ngx_pool_t *pool, ngx_chain_t *in,
    ngx_str_t *region, s3_failure_t *fail)
{
    s3_error_e                 rc;
    ngx_chain_t               *cl;
    s3_bucket_configuration_t  conf;

    for (cl = in; cl; cl = cl->next) {
        if (cl->buf->pos != cl->buf->last) {
            break;
        }
    }

    if (cl == NULL) {
        return S3_OK;
    }

    conf.pool = pool;
    conf.region = *region;
    conf.fail = fail;

    if (fail) {
        fail->error = S3_OK;
    }

    rc = s3_xml_read(in, s3_bucket_configuration_element, &conf);

    if (rc != S3_OK && fail && fail->error != rc) {
        /* found by the reader, not by the handler */
        return s3_fail(fail, rc, NULL);
    }

    return rc;
}


static s3_error_e
s3_bucket_configuration_element(void *ctx, ngx_uint_t depth, const char *name,
    ngx_str_t *text)
{
    u_char                     *p;
    ngx_str_t                   value;
    s3_bucket_configuration_t  *conf = ctx;

    if (depth == 1) {
        return ngx_strcmp(name, "CreateBucketConfiguration") == 0
               ? S3_OK : S3_ERR_MALFORMED_XML;
    }

    if (depth != 2) {
        return S3_ERR_MALFORMED_XML;
    }

    if (ngx_strcmp(name, "Location") == 0 || ngx_strcmp(name, "Bucket") == 0
        || ngx_strcmp(name, "Tags") == 0)
    {
        return s3_failf(conf->pool, conf->fail, S3_ERR_NOT_IMPLEMENTED,
                        "The element %s of CreateBucketConfiguration is not "
                        "implemented.", name);
    }

    if (ngx_strcmp(name, "LocationConstraint") != 0) {
        return S3_ERR_MALFORMED_XML;
    }

    if (text == NULL) {
        return S3_OK;
    }

    /* an empty one means us-east-1, and is what some SDKs send for it */

    if (text->len == 0
        || (text->len == conf->region.len
            && ngx_memcmp(text->data, conf->region.data, text->len) == 0))
    {
        return S3_OK;
    }

    value.len = ngx_min(text->len, 128);
    value.data = text->data;

    p = ngx_pstrdup(conf->pool, &value);
    if (p == NULL) {
        return S3_ERR_INTERNAL_ERROR;
    }

    value.data = p;

    (void) s3_failf(conf->pool, conf->fail,
                    S3_ERR_ILLEGAL_LOCATION_CONSTRAINT,
                    "The %V location constraint is incompatible for the "
                    "region specific endpoint this request was sent to.",
                    &value);
    s3_fail_element(conf->fail, "LocationConstraint", &value);

    return S3_ERR_ILLEGAL_LOCATION_CONSTRAINT;
}
