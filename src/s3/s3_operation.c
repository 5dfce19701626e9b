
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_operation.h"


/*
 * Arguments that do not select an operation, and where they are looked at.
 * Anything that is neither here nor a selector means something we do not know
 * of and is refused: never a silent fall-through.
 */

typedef struct {
    const char                *name;
    ngx_uint_t                 methods;
    ngx_uint_t                 levels;
} s3_parameter_t;


/* What a header that we do not act upon here does to the request. */

typedef enum {
    S3_HEADER_OK = 0,
    S3_HEADER_ONCE,            /* decides something: not twice */
    S3_HEADER_NOT_IMPLEMENTED,
    S3_HEADER_ACL,
    S3_HEADER_STORAGE_CLASS,
    S3_HEADER_CHECKSUM,
    S3_HEADER_BYPASS,
    S3_HEADER_DEFAULT          /* right when its value is the default one */
} s3_header_rule_e;


typedef struct {
    const char                *name;      /* "*" at the end: a prefix */
    s3_header_rule_e           rule;
    const char                *value;     /* S3_HEADER_DEFAULT */
} s3_header_rule_t;


static s3_error_e s3_operation_select(ngx_pool_t *pool, s3_method_e method,
    s3_target_t *target, s3_header_t *headers, ngx_uint_t nheaders,
    const s3_operation_t **op, s3_failure_t *fail);
static ngx_uint_t s3_operation_fits(const s3_operation_t *op,
    s3_target_t *target, s3_header_t *headers, ngx_uint_t nheaders);
static ngx_uint_t s3_operation_selector(const char **p, ngx_str_t *name,
    ngx_str_t *value, ngx_uint_t *header);
static ngx_uint_t s3_operation_selects(const s3_operation_t *op,
    ngx_str_t *name);
static s3_error_e s3_operation_args(ngx_pool_t *pool, s3_face_e face,
    s3_method_e method, s3_target_t *target, const s3_operation_t *op,
    s3_failure_t *fail);
static s3_error_e s3_operation_headers(ngx_pool_t *pool, s3_face_e face,
    s3_header_t *headers, ngx_uint_t nheaders, s3_failure_t *fail);
static s3_error_e s3_operation_checksum(s3_header_t *h, s3_failure_t *fail);
static s3_error_e s3_operation_method_error(s3_failure_t *fail,
    s3_error_e error, ngx_str_t *method, s3_level_e level);


#define S3_READ   (S3_METHOD_GET|S3_METHOD_HEAD)
#define S3_ANY    (S3_READ|S3_METHOD_PUT|S3_METHOD_POST|S3_METHOD_DELETE)
#define S3_LEVELS (S3_LEVEL_SERVICE|S3_LEVEL_BUCKET|S3_LEVEL_OBJECT)


static const s3_operation_t  s3_operations[] = {

    { S3_OP_NONE, ngx_null_string, 0, 0, "", ngx_null_string, 0, 0 },

#define S3_OPERATION_ROW(symbol, name, method, level, selectors, action,     \
                         body, where)                                        \
    { S3_OP_##symbol, ngx_string(name), S3_METHOD_##method,                  \
      S3_LEVEL_##level, selectors, ngx_string(action), S3_BODY_##body,       \
      S3_OPERATION_##where },
    S3_OPERATION_TABLE(S3_OPERATION_ROW)
#undef S3_OPERATION_ROW
};


static const s3_parameter_t  s3_parameters[] = {

    /* Signature Version 2 in the query; its place is authentication */
    { "AWSAccessKeyId",        S3_ANY,          S3_LEVELS },
    { "Signature",             S3_ANY,          S3_LEVELS },
    { "Expires",               S3_ANY,          S3_LEVELS },

    { "max-buckets",           S3_METHOD_GET,   S3_LEVEL_SERVICE },
    { "bucket-region",         S3_METHOD_GET,   S3_LEVEL_SERVICE },
    { "continuation-token",    S3_METHOD_GET,   S3_LEVEL_SERVICE
                                                |S3_LEVEL_BUCKET },
    { "prefix",                S3_METHOD_GET,   S3_LEVEL_SERVICE
                                                |S3_LEVEL_BUCKET },

    { "list-type",             S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "delimiter",             S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "max-keys",              S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "start-after",           S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "encoding-type",         S3_METHOD_GET,   S3_LEVEL_BUCKET
                                                |S3_LEVEL_OBJECT },
    { "fetch-owner",           S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "marker",                S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "key-marker",            S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "version-id-marker",     S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "upload-id-marker",      S3_METHOD_GET,   S3_LEVEL_BUCKET },
    { "max-uploads",           S3_METHOD_GET,   S3_LEVEL_BUCKET },

    /*
     * minio-go's listObjectsV2Query() adds "metadata=true" where user metadata
     * is wanted in lists, an extension of MinIO's; S3 leaves it out
     */
    { "metadata",              S3_METHOD_GET,   S3_LEVEL_BUCKET },

    { "partNumber",            S3_READ,         S3_LEVEL_OBJECT },
    { "max-parts",             S3_METHOD_GET,   S3_LEVEL_OBJECT },
    { "part-number-marker",    S3_METHOD_GET,   S3_LEVEL_OBJECT },
    { "versionId",             S3_READ|S3_METHOD_DELETE, S3_LEVEL_OBJECT },

    { "response-content-type", S3_READ,         S3_LEVEL_OBJECT },
    { "response-content-language", S3_READ,     S3_LEVEL_OBJECT },
    { "response-expires",      S3_READ,         S3_LEVEL_OBJECT },
    { "response-cache-control", S3_READ,        S3_LEVEL_OBJECT },
    { "response-content-disposition", S3_READ,  S3_LEVEL_OBJECT },
    { "response-content-encoding", S3_READ,     S3_LEVEL_OBJECT },

    { NULL, 0, 0 }
};


/* The first that fits is taken; an x-amz-* header in no row is refused. */

static const s3_header_rule_t  s3_header_rules[] = {

    { "x-amz-meta-*",                       S3_HEADER_OK, NULL },
    { "x-amz-content-sha256",               S3_HEADER_OK, NULL },
    { "x-amz-date",                         S3_HEADER_OK, NULL },
    { "x-amz-security-token",               S3_HEADER_OK, NULL },
    { "x-amz-decoded-content-length",       S3_HEADER_OK, NULL },
    { "x-amz-trailer",                      S3_HEADER_OK, NULL },
    { "x-amz-sdk-checksum-algorithm",       S3_HEADER_CHECKSUM, NULL },
    { "x-amz-checksum-algorithm",           S3_HEADER_ONCE, NULL },
    { "x-amz-checksum-type",                S3_HEADER_ONCE, NULL },
    { "x-amz-checksum-mode",                S3_HEADER_ONCE, NULL },
    { "x-amz-checksum-*",                   S3_HEADER_CHECKSUM, NULL },
    { "x-amz-user-agent",                   S3_HEADER_OK, NULL },
    { "x-amz-te",                           S3_HEADER_OK, NULL },
    { "x-amz-request-payer",                S3_HEADER_OK, NULL },

    /* compared where the request's owner is known */
    { "x-amz-expected-bucket-owner",        S3_HEADER_OK, NULL },
    { "x-amz-source-expected-bucket-owner", S3_HEADER_OK, NULL },

    /* needed where a bucket has MFA Delete, which versioning brings */
    { "x-amz-mfa",                          S3_HEADER_OK, NULL },
    { "x-amz-bypass-governance-retention",  S3_HEADER_BYPASS, NULL },

    { "x-amz-acl",                          S3_HEADER_ACL, NULL },
    { "x-amz-grant-*",                      S3_HEADER_ACL, NULL },
    { "x-amz-storage-class",                S3_HEADER_STORAGE_CLASS, NULL },
    { "x-amz-bucket-object-lock-enabled",   S3_HEADER_DEFAULT, "false" },
    { "x-amz-object-ownership",             S3_HEADER_DEFAULT,
                                            "BucketOwnerEnforced" },

    /* of operations whose own code reads them */
    { "x-amz-copy-source-server-side-*",    S3_HEADER_NOT_IMPLEMENTED, NULL },
    { "x-amz-copy-source-range",            S3_HEADER_ONCE, NULL },
    { "x-amz-copy-source-if-modified-since", S3_HEADER_ONCE, NULL },
    { "x-amz-copy-source-if-unmodified-since", S3_HEADER_ONCE, NULL },
    { "x-amz-copy-source*",                 S3_HEADER_OK, NULL },
    { "x-amz-metadata-directive",           S3_HEADER_ONCE, NULL },
    { "x-amz-tagging-directive",            S3_HEADER_DEFAULT, "COPY" },
    { "x-amz-object-attributes",            S3_HEADER_OK, NULL },
    { "x-amz-max-parts",                    S3_HEADER_ONCE, NULL },
    { "x-amz-part-number-marker",           S3_HEADER_ONCE, NULL },
    { "x-amz-mp-object-size",               S3_HEADER_ONCE, NULL },

    /* attributes that no object here has (RestoreStatus) are left out */
    { "x-amz-optional-object-attributes",   S3_HEADER_OK, NULL },

    /* added on the way by CloudFront and by clients that send back answers */
    { "x-amz-cf-id",                        S3_HEADER_OK, NULL },
    { "x-amz-id-2",                         S3_HEADER_OK, NULL },
    { "x-amz-request-id",                   S3_HEADER_OK, NULL },

    { "x-amz-*",                            S3_HEADER_NOT_IMPLEMENTED, NULL },

    { NULL, S3_HEADER_OK, NULL }
};


const s3_operation_t *
s3_operation(s3_operation_e id)
{
    if (id == S3_OP_NONE || (ngx_uint_t) id >= S3_OP_LAST) {
        return NULL;
    }

    return &s3_operations[id];
}


s3_error_e
s3_operation_parse(ngx_pool_t *pool, s3_face_e face, ngx_str_t *method,
    s3_target_t *target, s3_header_t *headers, ngx_uint_t nheaders,
    const s3_operation_t **op, s3_failure_t *fail)
{
    s3_error_e    rc;
    ngx_uint_t    i;
    s3_header_t  *asked;

    static const struct {
        ngx_str_t    name;
        s3_method_e  method;
    } methods[] = {
        { ngx_string("GET"), S3_METHOD_GET },
        { ngx_string("HEAD"), S3_METHOD_HEAD },
        { ngx_string("PUT"), S3_METHOD_PUT },
        { ngx_string("POST"), S3_METHOD_POST },
        { ngx_string("DELETE"), S3_METHOD_DELETE },
        { ngx_string("OPTIONS"), S3_METHOD_OPTIONS },
        { ngx_null_string, 0 }
    };

    *op = NULL;

    for (i = 0; methods[i].name.len; i++) {
        if (method->len == methods[i].name.len
            && ngx_memcmp(method->data, methods[i].name.data, method->len)
               == 0)
        {
            break;
        }
    }

    if (methods[i].name.len == 0) {
        return s3_operation_method_error(fail, S3_ERR_METHOD_NOT_ALLOWED,
                                         method, target->level);
    }

    /* a browser's question before a request: no bucket here has CORS */

    if (methods[i].method == S3_METHOD_OPTIONS
        && s3_header(headers, nheaders, "origin"))
    {
        asked = s3_header(headers, nheaders, "access-control-request-method");

        return s3_operation_method_error(fail, S3_ERR_ACCESS_FORBIDDEN,
                                         asked ? &asked->value : method,
                                         target->level);
    }

    rc = s3_operation_select(pool, methods[i].method, target, headers,
                             nheaders, op, fail);

    if (rc == S3_ERR_METHOD_NOT_ALLOWED) {
        return s3_operation_method_error(fail, rc, method, target->level);
    }

    if (rc != S3_OK) {
        return rc;
    }

    if ((*op)->where < (face == S3_FACE_GATEWAY ? S3_OPERATION_PASSED
                                                : S3_OPERATION_SERVED))
    {
        return s3_failf(pool, fail, S3_ERR_NOT_IMPLEMENTED,
                        "The operation %V is not implemented.", &(*op)->name);
    }

    rc = s3_operation_args(pool, face, methods[i].method, target, *op, fail);
    if (rc != S3_OK) {
        return rc;
    }

    return s3_operation_headers(pool, face, headers, nheaders, fail);
}


static s3_error_e
s3_operation_select(ngx_pool_t *pool, s3_method_e method, s3_target_t *target,
    s3_header_t *headers, ngx_uint_t nheaders, const s3_operation_t **op,
    s3_failure_t *fail)
{
    s3_arg_t              *arg;
    ngx_str_t              name, value;
    ngx_uint_t             i, j, header, known;
    const char            *p;
    const s3_operation_t  *row;

    row = NULL;

    for (i = S3_OP_NONE + 1; i < S3_OP_LAST; i++) {

        if (s3_operations[i].method == method
            && s3_operations[i].level == target->level
            && s3_operation_fits(&s3_operations[i], target, headers,
                                 nheaders))
        {
            row = &s3_operations[i];
            break;
        }
    }

    if (row == NULL) {
        return S3_ERR_METHOD_NOT_ALLOWED;
    }

    /* a sub-resource that is not this operation's? */

    for (i = 0; i < target->nargs; i++) {
        arg = &target->args[i];
        known = 0;

        if (s3_operation_selects(row, &arg->name)) {
            continue;
        }

        for (j = S3_OP_NONE + 1; j < S3_OP_LAST; j++) {

            if (s3_operations[j].level != target->level
                || !s3_operation_selects(&s3_operations[j], &arg->name))
            {
                continue;
            }

            known |= s3_operations[j].method;
        }

        /* list-type with another value: the first version of the list */

        if (known == 0
            || (arg->name.len == sizeof("list-type") - 1
                && ngx_memcmp(arg->name.data, "list-type", arg->name.len)
                   == 0))
        {
            continue;
        }

        /* part of an object that is read, and of no upload */

        if ((row->id == S3_OP_GET_OBJECT || row->id == S3_OP_HEAD_OBJECT)
            && arg->name.len == sizeof("partNumber") - 1
            && ngx_memcmp(arg->name.data, "partNumber", arg->name.len) == 0)
        {
            continue;
        }

        if (row->id == S3_OP_PUT_OBJECT
            && arg->name.len == sizeof("partNumber") - 1
            && ngx_memcmp(arg->name.data, "partNumber", arg->name.len) == 0
            && s3_target_arg(target, "uploadId") == NULL)
        {
            return s3_fail_argument(fail,
                                    "This operation does not accept "
                                    "partNumber without uploadId",
                                    "partNumber", &arg->value);
        }

        p = row->selectors;

        while (s3_operation_selector(&p, &name, &value, &header)) {
            if (!header && value.len == 0) {
                (void) s3_failf(pool, fail, S3_ERR_INVALID_ARGUMENT,
                                "Conflicting query string parameters: %V, %V",
                                &name, &arg->name);
                s3_fail_element(fail, "ArgumentName", &arg->name);
                return S3_ERR_INVALID_ARGUMENT;
            }
        }

        if (!(known & method)) {
            return S3_ERR_METHOD_NOT_ALLOWED;
        }

        /* "uploadId" without "partNumber", "partNumber" on a GET, ... */

        *op = NULL;

        (void) s3_failf(pool, fail, S3_ERR_NOT_IMPLEMENTED,
                        "The query parameter %V is not implemented for %V.",
                        &arg->name, &row->name);
        s3_fail_element(fail, "ArgumentName", &arg->name);
        return S3_ERR_NOT_IMPLEMENTED;
    }

    *op = row;

    return S3_OK;
}


static ngx_uint_t
s3_operation_fits(const s3_operation_t *op, s3_target_t *target,
    s3_header_t *headers, ngx_uint_t nheaders)
{
    s3_arg_t    *arg;
    ngx_str_t    name, value;
    ngx_uint_t   i, header;
    const char  *p;

    p = op->selectors;

    while (s3_operation_selector(&p, &name, &value, &header)) {

        if (header) {
            if (s3_header_find(headers, nheaders, (char *) name.data,
                               name.len, NULL)
                == NULL)
            {
                return 0;
            }

            continue;
        }

        for (i = 0; i < target->nargs; i++) {
            arg = &target->args[i];

            if (arg->name.len == name.len
                && ngx_memcmp(arg->name.data, name.data, name.len) == 0
                && (value.len == 0
                    || (arg->value.len == value.len
                        && ngx_memcmp(arg->value.data, value.data, value.len)
                           == 0)))
            {
                break;
            }
        }

        if (i == target->nargs) {
            return 0;
        }
    }

    return 1;
}


/* The next of a row's selectors: "name", "name=value" or ":header". */

static ngx_uint_t
s3_operation_selector(const char **p, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t *header)
{
    const char  *s, *eq;

    s = *p;

    while (*s == ' ') { s++; }

    if (*s == '\0') {
        return 0;
    }

    *header = (*s == ':');
    s += *header;

    name->data = (u_char *) s;
    eq = NULL;

    for ( /* void */ ; *s && *s != ' '; s++) {
        if (*s == '=') {
            eq = s;
        }
    }

    name->len = (eq ? eq : s) - (char *) name->data;

    value->data = (u_char *) (eq ? eq + 1 : s);
    value->len = (u_char *) s - value->data;

    *p = s;

    return 1;
}


static ngx_uint_t
s3_operation_selects(const s3_operation_t *op, ngx_str_t *arg)
{
    ngx_str_t    name, value;
    ngx_uint_t   header;
    const char  *p;

    p = op->selectors;

    while (s3_operation_selector(&p, &name, &value, &header)) {
        if (!header
            && name.len == arg->len
            && ngx_memcmp(name.data, arg->data, name.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static s3_error_e
s3_operation_args(ngx_pool_t *pool, s3_face_e face, s3_method_e method,
    s3_target_t *target, const s3_operation_t *op, s3_failure_t *fail)
{
    s3_arg_t              *arg;
    ngx_uint_t             i;
    const s3_parameter_t  *p;

    for (i = 0; i < target->nargs; i++) {
        arg = &target->args[i];

        /*
         * S3 user guide: parameters that begin with "x-" are ignored by S3,
         * for users to put into logs; SDKs send "x-id=GetObject".  X-Amz-* is
         * the signature's, or a header, see s3_target_hoisted().
         */

        if (arg->name.len >= 2
            && ngx_strncasecmp(arg->name.data, (u_char *) "x-", 2) == 0)
        {
            continue;
        }

        /*
         * botocore writes both headers into URLs that it presigns by Version
         * 2, which signs the headers: they must come for the URL to be valid.
         */

        if (s3_target_arg(target, "AWSAccessKeyId")
            && ((arg->name.len == sizeof("content-type") - 1
                 && ngx_memcmp(arg->name.data, "content-type", arg->name.len)
                    == 0)
                || (arg->name.len == sizeof("content-md5") - 1
                    && ngx_memcmp(arg->name.data, "content-md5",
                                  arg->name.len)
                       == 0)))
        {
            continue;
        }

        if (s3_operation_selects(op, &arg->name)) {
            continue;
        }

        /* sub-resources of objects are those of a version, written as read */

        if (op->where == S3_OPERATION_PASSED
            && target->level == S3_LEVEL_OBJECT
            && arg->name.len == sizeof("versionId") - 1
            && ngx_memcmp(arg->name.data, "versionId", arg->name.len) == 0)
        {
            continue;
        }

        for (p = s3_parameters; p->name; p++) {
            if ((p->methods & method) && (p->levels & target->level)
                && arg->name.len == ngx_strlen(p->name)
                && ngx_memcmp(arg->name.data, p->name, arg->name.len) == 0)
            {
                break;
            }
        }

        if (p->name == NULL) {
            (void) s3_failf(pool, fail, S3_ERR_NOT_IMPLEMENTED,
                            "The query parameter %V is not implemented.",
                            &arg->name);
            s3_fail_element(fail, "ArgumentName", &arg->name);
            return S3_ERR_NOT_IMPLEMENTED;
        }

        /*
         * An unversioned bucket has one version of each object, "null"; other
         * ids were never given out.
         */

        if (face == S3_FACE_SERVE
            && ngx_strcmp(p->name, "versionId") == 0
            && !(arg->value.len == 4
                 && ngx_memcmp(arg->value.data, "null", 4) == 0))
        {
            return s3_fail_argument(fail, "Invalid version id specified",
                                    "versionId", &arg->value);
        }
    }

    return S3_OK;
}


static s3_error_e
s3_operation_headers(ngx_pool_t *pool, s3_face_e face, s3_header_t *headers,
    ngx_uint_t nheaders, s3_failure_t *fail)
{
    size_t                   len;
    ngx_uint_t               i, n;
    s3_error_e               rc;
    s3_header_t             *h;
    const s3_header_rule_t  *r;

    for (i = 0; i < nheaders; i++) {
        h = &headers[i];

        if (!s3_header_has_prefix(h, "x-amz-", 6)) {
            continue;
        }

        for (r = s3_header_rules; r->name; r++) {
            len = ngx_strlen(r->name);

            if (r->name[len - 1] == '*') {
                if (s3_header_has_prefix(h, r->name, len - 1)) {
                    break;
                }

                continue;
            }

            if (h->name.len == len
                && ngx_strncasecmp(h->name.data, (u_char *) r->name, len)
                   == 0)
            {
                break;
            }
        }

        /* what the store does not have an upstream may */

        if (face == S3_FACE_GATEWAY && r->rule != S3_HEADER_ONCE
            && r->rule != S3_HEADER_CHECKSUM)
        {
            continue;
        }

        switch (r->rule) {

        case S3_HEADER_OK:
            break;

        case S3_HEADER_ONCE:
            (void) s3_header_find(headers, nheaders, r->name, len, &n);

            if (n > 1) {
                return s3_failf(pool, fail, S3_ERR_INVALID_REQUEST,
                                "Expecting a single %s header.", r->name);
            }

            break;

        case S3_HEADER_CHECKSUM:
            rc = s3_operation_checksum(h, fail);
            if (rc != S3_OK) {
                return rc;
            }

            break;

        case S3_HEADER_BYPASS:

            /* the words of S3, for a bucket without Object Lock */

            return s3_fail_argument(fail,
                                    "x-amz-bypass-governance-retention is "
                                    "only applicable to Object Lock enabled "
                                    "buckets.",
                                    "x-amz-bypass-governance-retention",
                                    NULL);

        case S3_HEADER_ACL:

            /* what a bucket with BucketOwnerEnforced accepts */

            if (h->name.len == sizeof("x-amz-acl") - 1
                && ((h->value.len == sizeof("private") - 1
                     && ngx_memcmp(h->value.data, "private", h->value.len)
                        == 0)
                    || (h->value.len == sizeof("bucket-owner-full-control")
                                        - 1
                        && ngx_memcmp(h->value.data,
                                      "bucket-owner-full-control",
                                      h->value.len)
                           == 0)))
            {
                break;
            }

            return s3_fail(fail, S3_ERR_ACCESS_CONTROL_LIST_NOT_SUPPORTED,
                           NULL);

        case S3_HEADER_STORAGE_CLASS:

            if (h->value.len == sizeof("STANDARD") - 1
                && ngx_memcmp(h->value.data, "STANDARD", h->value.len) == 0)
            {
                break;
            }

            (void) s3_fail(fail, S3_ERR_INVALID_STORAGE_CLASS, NULL);
            s3_fail_element(fail, "StorageClassRequested", &h->value);
            return S3_ERR_INVALID_STORAGE_CLASS;

        case S3_HEADER_DEFAULT:

            if (h->value.len == ngx_strlen(r->value)
                && ngx_strncasecmp(h->value.data, (u_char *) r->value,
                                   h->value.len)
                   == 0)
            {
                break;
            }

            /* fall through */

        case S3_HEADER_NOT_IMPLEMENTED:
            (void) s3_fail(fail, S3_ERR_NOT_IMPLEMENTED, NULL);
            s3_fail_element(fail, "Header", &h->name);
            return S3_ERR_NOT_IMPLEMENTED;
        }
    }

    return S3_OK;
}


static s3_error_e
s3_operation_checksum(s3_header_t *h, s3_failure_t *fail)
{
    ngx_str_t    s;
    ngx_uint_t   i;

    static const char  *names[] = {
        "crc32", "crc32c", "crc64nvme", "sha1", "sha256",
        /* no algorithm: what to answer, what an upload will use */
        "mode", "algorithm", "type"
    };

    s = h->name;

    if (s3_header_has_prefix(h, "x-amz-checksum-",
                             sizeof("x-amz-checksum-") - 1))
    {
        s.data += sizeof("x-amz-checksum-") - 1;
        s.len -= sizeof("x-amz-checksum-") - 1;
        i = sizeof(names) / sizeof(names[0]);

    } else {
        /* x-amz-sdk-checksum-algorithm: CRC32 */
        s = h->value;
        i = 5;
    }

    while (i--) {
        if (s.len == ngx_strlen(names[i])
            && ngx_strncasecmp(s.data, (u_char *) names[i], s.len) == 0)
        {
            return S3_OK;
        }
    }

    return s3_fail(fail, S3_ERR_INVALID_REQUEST,
                   "Checksum algorithm provided is unsupported. Please try "
                   "again with any of the valid types: [CRC32, CRC32C, "
                   "CRC64NVME, SHA1, SHA256]");
}


static s3_error_e
s3_operation_method_error(s3_failure_t *fail, s3_error_e error,
    ngx_str_t *method, s3_level_e level)
{
    ngx_str_t  type;

    (void) s3_fail(fail, error, NULL);
    s3_fail_element(fail, "Method", method);

    switch (level) {
    case S3_LEVEL_SERVICE:
        ngx_str_set(&type, "SERVICE");
        break;
    case S3_LEVEL_BUCKET:
        ngx_str_set(&type, "BUCKET");
        break;
    default:
        ngx_str_set(&type, "OBJECT");
        break;
    }

    s3_fail_element(fail, "ResourceType", &type);

    return error;
}
