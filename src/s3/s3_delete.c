
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_delete.h"
#include "s3_target.h"


typedef struct {
    ngx_pool_t                *pool;
    s3_delete_t               *request;
    s3_delete_object_t        *object;    /* the one that is open */
    s3_failure_t              *fail;
    unsigned                   has_key:1;
} s3_delete_reader_t;


static s3_error_e s3_delete_element(void *ctx, ngx_uint_t depth,
    const char *name, ngx_str_t *text);
static s3_error_e s3_delete_object(s3_delete_reader_t *r, ngx_str_t *text);
static s3_error_e s3_delete_field(s3_delete_reader_t *r, const char *name,
    ngx_str_t *text);


s3_error_e
s3_delete_read(ngx_pool_t *pool, ngx_chain_t *in, s3_delete_t *request,
    s3_failure_t *fail)
{
    s3_error_e          rc;
    s3_delete_reader_t  r;

    ngx_memzero(request, sizeof(s3_delete_t));
    ngx_memzero(&r, sizeof(s3_delete_reader_t));

    if (in == NULL) {
        return s3_fail(fail, S3_ERR_MISSING_REQUEST_BODY, NULL);
    }

    if (ngx_array_init(&request->objects, pool, 16,
                       sizeof(s3_delete_object_t))
        != NGX_OK)
    {
        return s3_fail(fail, S3_ERR_INTERNAL_ERROR, NULL);
    }

    r.pool = pool;
    r.request = request;
    r.fail = fail;

    fail->error = S3_OK;

    rc = s3_xml_read(in, s3_delete_element, &r);

    if (rc == S3_OK && request->objects.nelts == 0) {
        rc = S3_ERR_MALFORMED_XML;
    }

    if (rc != S3_OK && fail->error != rc) {
        return s3_fail(fail, rc, NULL);
    }

    return rc;
}


static s3_error_e
s3_delete_element(void *ctx, ngx_uint_t depth, const char *name,
    ngx_str_t *text)
{
    s3_delete_reader_t  *r = ctx;

    switch (depth) {

    case 1:
        return ngx_strcmp(name, "Delete") == 0 ? S3_OK
                                               : S3_ERR_MALFORMED_XML;

    case 2:
        if (ngx_strcmp(name, "Object") == 0) {
            return s3_delete_object(r, text);
        }

        if (ngx_strcmp(name, "Quiet") != 0) {
            return S3_ERR_MALFORMED_XML;
        }

        if (text == NULL) {
            return S3_OK;
        }

        if (text->len == 4
            && ngx_strncasecmp(text->data, (u_char *) "true", 4) == 0)
        {
            r->request->quiet = 1;
            return S3_OK;
        }

        return text->len == 0
               || (text->len == 5
                   && ngx_strncasecmp(text->data, (u_char *) "false", 5)
                      == 0)
               ? S3_OK : S3_ERR_MALFORMED_XML;

    case 3:
        return r->object ? s3_delete_field(r, name, text)
                         : S3_ERR_MALFORMED_XML;

    default:
        return S3_ERR_MALFORMED_XML;
    }
}


static s3_error_e
s3_delete_object(s3_delete_reader_t *r, ngx_str_t *text)
{
    s3_delete_object_t  *object;

    if (text == NULL) {

        if (r->request->objects.nelts == S3_DELETE_MAX) {
            return S3_ERR_MALFORMED_XML;
        }

        object = ngx_array_push(&r->request->objects);
        if (object == NULL) {
            return S3_ERR_INTERNAL_ERROR;
        }

        ngx_memzero(object, sizeof(s3_delete_object_t));

        r->object = object;
        r->has_key = 0;

        return S3_OK;
    }

    object = r->object;
    r->object = NULL;

    if (!r->has_key || object->key.len == 0) {
        return S3_ERR_MALFORMED_XML;
    }

    if (object->key.len > S3_KEY_MAX) {
        object->error = S3_ERR_KEY_TOO_LONG;

    } else if (object->version_id.len
               && (object->version_id.len != 4
                   || ngx_memcmp(object->version_id.data, "null", 4) != 0))
    {
        /* an unversioned bucket never gave out another id */

        object->error = S3_ERR_NO_SUCH_VERSION;
    }

    return S3_OK;
}


static s3_error_e
s3_delete_field(s3_delete_reader_t *r, const char *name, ngx_str_t *text)
{
    ngx_str_t  *value;

    if (ngx_strcmp(name, "Key") == 0) {

        if (text == NULL) {
            if (r->has_key) {
                return S3_ERR_MALFORMED_XML;
            }

            r->has_key = 1;
        }

        value = &r->object->key;

    } else if (ngx_strcmp(name, "VersionId") == 0) {
        value = &r->object->version_id;

    } else if (ngx_strcmp(name, "ETag") == 0) {
        value = &r->object->etag;

    } else if (ngx_strcmp(name, "Size") == 0
               || ngx_strcmp(name, "LastModifiedTime") == 0)
    {
        /* S3 API Reference, ObjectIdentifier: "only supported for directory
         * buckets" */

        return s3_failf(r->pool, r->fail, S3_ERR_NOT_IMPLEMENTED,
                        "The element %s of Object is not implemented.", name);

    } else {
        return S3_ERR_MALFORMED_XML;
    }

    if (text == NULL) {
        return S3_OK;
    }

    value->len = text->len;
    value->data = ngx_pstrdup(r->pool, text);

    return value->data || value->len == 0 ? S3_OK : S3_ERR_INTERNAL_ERROR;
}


size_t
s3_delete_answer_size(s3_delete_t *request)
{
    size_t               size;
    ngx_uint_t           i;
    s3_delete_object_t  *object;

    size = 0;
    object = request->objects.elts;

    for (i = 0; i < request->objects.nelts; i++) {
        size += sizeof("<Deleted><Key></Key></Deleted>")
                + s3_xml_value_size(&object[i].key)
                + s3_xml_value_size(&object[i].version_id);
    }

    return size;
}


ngx_chain_t *
s3_delete_write(ngx_pool_t *pool, s3_delete_t *request, size_t *size)
{
    s3_xml_t             x;
    ngx_str_t            value;
    ngx_uint_t           i;
    ngx_chain_t         *out;
    const char          *element;
    const s3_error_t    *error;
    s3_delete_object_t  *object;

    s3_xml_begin(&x, pool);
    s3_xml_open_ns(&x, "DeleteResult");

    object = request->objects.elts;

    for (i = 0; i < request->objects.nelts; i++, object++) {

        if (object->error == S3_OK && request->quiet) {
            continue;
        }

        element = object->error == S3_OK ? "Deleted" : "Error";

        s3_xml_open(&x, element);
        s3_xml_text(&x, "Key", &object->key);

        if (object->version_id.len) {
            s3_xml_text(&x, "VersionId", &object->version_id);
        }

        if (object->error != S3_OK) {
            error = s3_error(object->error);

            value = error->code;
            s3_xml_text(&x, "Code", &value);

            value = object->message.len ? object->message : error->message;
            s3_xml_text(&x, "Message", &value);
        }

        s3_xml_close(&x, element);
    }

    s3_xml_close(&x, "DeleteResult");

    out = s3_xml_end(&x);

    if (out) {
        *size = x.size;
    }

    return out;
}
