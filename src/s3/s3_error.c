
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"


#define S3_ERROR_TEXT  1024


static const s3_error_t  s3_errors[] = {

    /* S3_OK: asking for the text of a success is a bug of ours */
    { ngx_string("InternalError"), 500,
      ngx_string("We encountered an internal error. Please try again.") },

#define S3_ERROR_ROW(symbol, code, status, message)                          \
    { ngx_string(code), status, ngx_string(message) },
    S3_ERROR_TABLE(S3_ERROR_ROW)
#undef S3_ERROR_ROW
};


const s3_error_t *
s3_error(s3_error_e error)
{
    if ((ngx_uint_t) error >= S3_ERR_LAST) {
        return &s3_errors[S3_ERR_INTERNAL_ERROR];
    }

    return &s3_errors[error];
}


s3_error_e
s3_error_by_code(const char *code)
{
    size_t      len;
    ngx_uint_t  i;

    len = ngx_strlen(code);

    for (i = S3_OK + 1; i < S3_ERR_LAST; i++) {
        if (s3_errors[i].code.len == len
            && ngx_memcmp(s3_errors[i].code.data, code, len) == 0)
        {
            return (s3_error_e) i;
        }
    }

    return S3_ERR_INTERNAL_ERROR;
}


s3_error_e
s3_error_by_status(ngx_uint_t status)
{
    switch (status) {

    case 304:
        return S3_ERR_NOT_MODIFIED;

    case 401:
    case 403:
        return S3_ERR_ACCESS_DENIED;

    case 404:
        return S3_ERR_NO_SUCH_KEY;

    case 405:
        return S3_ERR_METHOD_NOT_ALLOWED;

    case 408:
    case 499:
        return S3_ERR_REQUEST_TIMEOUT;

    case 409:
        return S3_ERR_OPERATION_ABORTED;

    case 411:
        return S3_ERR_MISSING_CONTENT_LENGTH;

    case 412:
        return S3_ERR_PRECONDITION_FAILED;

    case 413:
        return S3_ERR_ENTITY_TOO_LARGE;

    case 414:
        return S3_ERR_INVALID_URI;

    case 416:
        return S3_ERR_INVALID_RANGE;

    /* 494: nginx's own for header lines that do not fit its buffers */
    case 431:
    case 494:
        return S3_ERR_REQUEST_HEADER_SECTION_TOO_LARGE;

    case 501:
        return S3_ERR_NOT_IMPLEMENTED;

    case 502:
    case 504:
        return S3_ERR_SERVICE_UNAVAILABLE;

    /* limit_req and limit_conn */
    case 429:
    case 503:
        return S3_ERR_SLOW_DOWN;

    default:
        if (status >= 400 && status < 500) {
            return S3_ERR_BAD_REQUEST;
        }

        return S3_ERR_INTERNAL_ERROR;
    }
}


s3_error_e
s3_fail(s3_failure_t *fail, s3_error_e error, const char *message)
{
    if (fail == NULL) {
        return error;
    }

    fail->error = error;
    fail->status = 0;
    fail->nelements = 0;
    ngx_str_null(&fail->code);
    ngx_str_null(&fail->message);

    if (message) {
        fail->message.data = (u_char *) message;
        fail->message.len = ngx_strlen(message);
    }

    return error;
}


s3_error_e
s3_failf(ngx_pool_t *pool, s3_failure_t *fail, s3_error_e error,
    const char *fmt, ...)
{
    u_char   *p, *last;
    va_list   args;

    (void) s3_fail(fail, error, NULL);

    if (fail == NULL) {
        return error;
    }

    p = ngx_pnalloc(pool, S3_ERROR_TEXT);
    if (p == NULL) {
        /* the table's message will do */
        return error;
    }

    va_start(args, fmt);
    last = ngx_vslprintf(p, p + S3_ERROR_TEXT, fmt, args);
    va_end(args);

    fail->message.data = p;
    fail->message.len = last - p;

    return error;
}


void
s3_fail_foreign(s3_failure_t *fail, ngx_str_t *code, ngx_uint_t status,
    ngx_str_t *message)
{
    ngx_uint_t  i;

    for (i = S3_OK + 1; i < S3_ERR_LAST; i++) {
        if (s3_error(i)->code.len == code->len
            && ngx_memcmp(s3_error(i)->code.data, code->data, code->len) == 0)
        {
            break;
        }
    }

    /* kinds of errors, for whoever asks for one; the code is what it is */

    (void) s3_fail(fail, i < S3_ERR_LAST ? i : s3_error_by_status(status),
                   NULL);

    fail->code = *code;
    fail->status = status;
    fail->message = *message;

    if (message->len == 0 && i == S3_ERR_LAST) {
        fail->message = *code;
    }
}


void
s3_failure(s3_failure_t *fail, s3_error_t *error)
{
    *error = *s3_error(fail->error);

    if (fail->code.len) {
        error->code = fail->code;
    }

    if (fail->status) {
        error->status = fail->status;
    }

    if (fail->message.len) {
        error->message = fail->message;
    }
}


void
s3_fail_element(s3_failure_t *fail, const char *name, ngx_str_t *value)
{
    s3_failure_element_t  *e;

    if (fail == NULL || fail->nelements == S3_FAILURE_ELEMENTS) {
        return;
    }

    e = &fail->elements[fail->nelements++];

    e->name.data = (u_char *) name;
    e->name.len = ngx_strlen(name);
    e->value = *value;
}


s3_error_e
s3_fail_argument(s3_failure_t *fail, const char *message, const char *name,
    ngx_str_t *value)
{
    ngx_str_t  s;

    (void) s3_fail(fail, S3_ERR_INVALID_ARGUMENT, message);

    s.data = (u_char *) name;
    s.len = ngx_strlen(name);

    s3_fail_element(fail, "ArgumentName", &s);

    if (value) {
        s3_fail_element(fail, "ArgumentValue", value);
    }

    return S3_ERR_INVALID_ARGUMENT;
}
