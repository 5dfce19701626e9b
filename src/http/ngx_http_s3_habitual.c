
/*
 * What clients read out of habit (terraform, rclone, mc, consoles), and what
 * they delete in passing: each answers as a bucket that never had the thing.
 * The bucket, or the object, must be there.
 *
 * Messages and elements are those that S3 gives, as recorded from it in
 * LocalStack's tests/aws/services/s3/test_s3.snapshot.json; the names of
 * empty documents are those of the S3 API Reference.
 *
 * Deleting what cannot be there is 204, as S3 answers for what is not there.
 * Ownership controls are there and stay: a bucket of ours is one with
 * BucketOwnerEnforced, whatever it is created with, so deleting them is not
 * implemented.
 */


#include "ngx_http_s3.h"
#include "s3_bucket.h"


typedef void (*ngx_http_s3_habitual_pt)(s3_xml_t *x, s3_owner_t *owner);


typedef struct {
    s3_operation_e               op;
    s3_error_e                   error;    /* S3_OK: the document, or 204 */
    const char                  *text;     /* of error, NULL: the table's; or
                                              the document's root */
    ngx_http_s3_habitual_pt      write;    /* what is in the root, or NULL */
} ngx_http_s3_habitual_t;


static void *ngx_http_s3_habit_of(ngx_http_s3_ctx_t *ctx);
static ngx_int_t ngx_http_s3_habitual_answer(ngx_http_request_t *r,
    ngx_http_s3_ctx_t *ctx, int status);
static void ngx_http_s3_habitual_acl(s3_xml_t *x, s3_owner_t *owner);
static void ngx_http_s3_habitual_ownership(s3_xml_t *x, s3_owner_t *owner);
static void ngx_http_s3_habitual_payer(s3_xml_t *x, s3_owner_t *owner);
static void ngx_http_s3_habitual_tags(s3_xml_t *x, s3_owner_t *owner);
static void ngx_http_s3_habitual_list(s3_xml_t *x, s3_owner_t *owner);


#define NGX_HTTP_S3_NO_LOCK  "Bucket is missing Object Lock Configuration"


static const ngx_http_s3_habitual_t  ngx_http_s3_habits[] = {

    { S3_OP_GET_BUCKET_ACL, S3_OK, "AccessControlPolicy",
      ngx_http_s3_habitual_acl },
    { S3_OP_GET_BUCKET_POLICY, S3_ERR_NO_SUCH_BUCKET_POLICY, NULL, NULL },
    { S3_OP_DELETE_BUCKET_POLICY, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_POLICY_STATUS, S3_ERR_NO_SUCH_BUCKET_POLICY, NULL,
      NULL },
    { S3_OP_GET_BUCKET_CORS, S3_ERR_NO_SUCH_CORS_CONFIGURATION, NULL, NULL },
    { S3_OP_DELETE_BUCKET_CORS, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_LIFECYCLE_CONFIGURATION,
      S3_ERR_NO_SUCH_LIFECYCLE_CONFIGURATION, NULL, NULL },
    { S3_OP_DELETE_BUCKET_LIFECYCLE, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_VERSIONING, S3_OK, "VersioningConfiguration", NULL },
    { S3_OP_GET_BUCKET_TAGGING, S3_ERR_NO_SUCH_TAG_SET, NULL, NULL },
    { S3_OP_DELETE_BUCKET_TAGGING, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_ENCRYPTION, S3_ERR_SERVER_SIDE_ENCRYPTION_NOT_FOUND,
      NULL, NULL },
    { S3_OP_DELETE_BUCKET_ENCRYPTION, S3_OK, NULL, NULL },
    { S3_OP_GET_OBJECT_LOCK_CONFIGURATION,
      S3_ERR_OBJECT_LOCK_CONFIGURATION_NOT_FOUND, NULL, NULL },
    { S3_OP_GET_BUCKET_NOTIFICATION_CONFIGURATION, S3_OK,
      "NotificationConfiguration", NULL },
    { S3_OP_GET_BUCKET_REPLICATION,
      S3_ERR_REPLICATION_CONFIGURATION_NOT_FOUND, NULL, NULL },
    { S3_OP_DELETE_BUCKET_REPLICATION, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_WEBSITE, S3_ERR_NO_SUCH_WEBSITE_CONFIGURATION, NULL,
      NULL },
    { S3_OP_DELETE_BUCKET_WEBSITE, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_LOGGING, S3_OK, "BucketLoggingStatus", NULL },
    { S3_OP_GET_BUCKET_OWNERSHIP_CONTROLS, S3_OK, "OwnershipControls",
      ngx_http_s3_habitual_ownership },
    { S3_OP_GET_PUBLIC_ACCESS_BLOCK, S3_ERR_NO_SUCH_PUBLIC_ACCESS_BLOCK,
      NULL, NULL },
    { S3_OP_DELETE_PUBLIC_ACCESS_BLOCK, S3_OK, NULL, NULL },
    { S3_OP_GET_BUCKET_REQUEST_PAYMENT, S3_OK,
      "RequestPaymentConfiguration", ngx_http_s3_habitual_payer },
    { S3_OP_GET_BUCKET_ACCELERATE_CONFIGURATION, S3_OK,
      "AccelerateConfiguration", NULL },

    { S3_OP_GET_BUCKET_ANALYTICS_CONFIGURATION, S3_ERR_NO_SUCH_CONFIGURATION,
      NULL, NULL },
    { S3_OP_DELETE_BUCKET_ANALYTICS_CONFIGURATION,
      S3_ERR_NO_SUCH_CONFIGURATION, NULL, NULL },
    { S3_OP_LIST_BUCKET_ANALYTICS_CONFIGURATIONS, S3_OK,
      "ListBucketAnalyticsConfigurationResult", ngx_http_s3_habitual_list },
    { S3_OP_GET_BUCKET_INVENTORY_CONFIGURATION, S3_ERR_NO_SUCH_CONFIGURATION,
      NULL, NULL },
    { S3_OP_DELETE_BUCKET_INVENTORY_CONFIGURATION,
      S3_ERR_NO_SUCH_CONFIGURATION, NULL, NULL },
    { S3_OP_LIST_BUCKET_INVENTORY_CONFIGURATIONS, S3_OK,
      "ListInventoryConfigurationsResult", ngx_http_s3_habitual_list },
    { S3_OP_GET_BUCKET_METRICS_CONFIGURATION, S3_ERR_NO_SUCH_CONFIGURATION,
      NULL, NULL },
    { S3_OP_DELETE_BUCKET_METRICS_CONFIGURATION,
      S3_ERR_NO_SUCH_CONFIGURATION, NULL, NULL },
    { S3_OP_LIST_BUCKET_METRICS_CONFIGURATIONS, S3_OK,
      "ListMetricsConfigurationsResult", ngx_http_s3_habitual_list },
    { S3_OP_GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,
      S3_ERR_NO_SUCH_CONFIGURATION, NULL, NULL },
    { S3_OP_DELETE_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,
      S3_ERR_NO_SUCH_CONFIGURATION, NULL, NULL },
    { S3_OP_LIST_BUCKET_INTELLIGENT_TIERING_CONFIGURATIONS, S3_OK,
      "ListBucketIntelligentTieringConfigurationsOutput",
      ngx_http_s3_habitual_list },

    { S3_OP_GET_OBJECT_ACL, S3_OK, "AccessControlPolicy",
      ngx_http_s3_habitual_acl },
    { S3_OP_GET_OBJECT_TAGGING, S3_OK, "Tagging",
      ngx_http_s3_habitual_tags },
    { S3_OP_DELETE_OBJECT_TAGGING, S3_OK, NULL, NULL },
    { S3_OP_GET_OBJECT_RETENTION, S3_ERR_INVALID_REQUEST,
      NGX_HTTP_S3_NO_LOCK, NULL },
    { S3_OP_GET_OBJECT_LEGAL_HOLD, S3_ERR_INVALID_REQUEST,
      NGX_HTTP_S3_NO_LOCK, NULL },

    { S3_OP_NONE, S3_OK, NULL, NULL }
};


ngx_int_t
ngx_http_s3_habitual(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    int           status;
    s3_call_t    *call;
    s3_client_t  *client;

    ctx->data = ngx_http_s3_habit_of(ctx);

    if (ctx->data == NULL) {
        return ngx_http_s3_refuse(r, ctx, S3_ERR_NOT_IMPLEMENTED, NULL);
    }

    client = ngx_http_s3_client(r);
    status = s3_client_state(client);

    if (status != S3_STORE_UNAVAILABLE) {
        call = ngx_http_s3_call(ctx, ngx_http_s3_habitual_answer);

        if (ctx->target.level == S3_LEVEL_OBJECT) {
            status = s3_client_lookup(client, call,
                                      ngx_http_s3_slice(ctx->target.bucket),
                                      ngx_http_s3_slice(ctx->target.key));

        } else {
            status = s3_client_bucket(client, call,
                                      ngx_http_s3_slice(ctx->target.bucket));
        }
    }

    return ngx_http_s3_asked(r, ctx, status);
}


ngx_int_t
ngx_http_s3_habit(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx)
{
    ctx->data = ngx_http_s3_habit_of(ctx);

    if (ctx->data == NULL) {
        (void) s3_fail(&ctx->fail, S3_ERR_NOT_IMPLEMENTED, NULL);
        return NGX_DECLINED;
    }

    return ngx_http_s3_habitual_answer(r, ctx, S3_STORE_OK);
}


/* NULL: it has none */

static void *
ngx_http_s3_habit_of(ngx_http_s3_ctx_t *ctx)
{
    const ngx_http_s3_habitual_t  *h;

    for (h = ngx_http_s3_habits; h->op != S3_OP_NONE; h++) {
        if (h->op == ctx->operation->id) {
            return (void *) h;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_s3_habitual_answer(ngx_http_request_t *r, ngx_http_s3_ctx_t *ctx,
    int status)
{
    s3_xml_t                       x;
    s3_owner_t                     owner;
    ngx_chain_t                   *out;
    const ngx_http_s3_habitual_t  *h;

    if (status != S3_STORE_OK) {
        return ngx_http_s3_failed(ctx, status);
    }

    h = ctx->data;

    if (h->error != S3_OK) {
        (void) s3_fail(&ctx->fail, h->error, h->text);
        return NGX_DECLINED;
    }

    if (h->text == NULL) {
        return ngx_http_s3_send_empty(r, ctx, NGX_HTTP_NO_CONTENT);
    }

    if (s3_owner(&owner, &ctx->auth.access_key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s3_xml_begin(&x, r->pool);
    s3_xml_open_ns(&x, h->text);

    if (h->write) {
        h->write(&x, &owner);
    }

    s3_xml_close(&x, h->text);

    out = s3_xml_end(&x);

    return ngx_http_s3_send_document(r, ctx, out, x.size);
}


static void
ngx_http_s3_habitual_acl(s3_xml_t *x, s3_owner_t *owner)
{
    s3_owner_write(x, owner);

    s3_xml_open(x, "AccessControlList");
    s3_xml_open(x, "Grant");

    /* clients tell users from groups by the attribute */

    s3_xml_open(x, "Grantee "
                   "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
                   "xsi:type=\"CanonicalUser\"");
    s3_xml_text(x, "ID", &owner->id);
    s3_xml_text(x, "DisplayName", &owner->display_name);
    s3_xml_close(x, "Grantee");

    s3_xml_cstr(x, "Permission", "FULL_CONTROL");
    s3_xml_close(x, "Grant");
    s3_xml_close(x, "AccessControlList");
}


static void
ngx_http_s3_habitual_ownership(s3_xml_t *x, s3_owner_t *owner)
{
    s3_xml_open(x, "Rule");
    s3_xml_cstr(x, "ObjectOwnership", "BucketOwnerEnforced");
    s3_xml_close(x, "Rule");
}


static void
ngx_http_s3_habitual_payer(s3_xml_t *x, s3_owner_t *owner)
{
    s3_xml_cstr(x, "Payer", "BucketOwner");
}


static void
ngx_http_s3_habitual_tags(s3_xml_t *x, s3_owner_t *owner)
{
    s3_xml_cstr(x, "TagSet", "");
}


static void
ngx_http_s3_habitual_list(s3_xml_t *x, s3_owner_t *owner)
{
    s3_xml_bool(x, "IsTruncated", 0);
}
