
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_condition.h"
#include "s3_date.h"


/* the conditions of a request, or of a copy's source */

typedef struct {
    const char  *if_match;
    const char  *if_unmodified_since;
    const char  *if_none_match;
    const char  *if_modified_since;

    /* as the element Condition has them */
    const char  *text[4];

    s3_error_e   not_modified;
} s3_condition_names_t;


static const s3_condition_names_t  s3_condition_names_read = {
    "if-match", "if-unmodified-since", "if-none-match", "if-modified-since",
    { "If-Match", "If-Unmodified-Since", "If-None-Match",
      "If-Modified-Since" },
    S3_ERR_NOT_MODIFIED
};

static const s3_condition_names_t  s3_condition_names_copy = {
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    { "x-amz-copy-source-If-Match",
      "x-amz-copy-source-If-Unmodified-Since",
      "x-amz-copy-source-If-None-Match",
      "x-amz-copy-source-If-Modified-Since" },
    S3_ERR_PRECONDITION_FAILED
};


static s3_error_e s3_condition_check(s3_header_t *headers, ngx_uint_t n,
    const s3_condition_names_t *names, ngx_str_t *etag, time_t mtime,
    time_t future, s3_failure_t *fail);
static s3_header_t *s3_condition_header(s3_header_t *headers, ngx_uint_t n,
    const char *name);
static ngx_uint_t s3_condition_list(s3_header_t *headers, ngx_uint_t n,
    const char *name, size_t len, ngx_str_t *etag, ngx_uint_t weak);
static s3_error_e s3_condition_failed(s3_failure_t *fail, s3_error_e error,
    const char *condition);
static s3_error_e s3_condition_unsupported(s3_failure_t *fail,
    const char *header);
static void s3_condition_trim(ngx_str_t *s);


s3_error_e
s3_condition_read(s3_header_t *headers, ngx_uint_t n, ngx_str_t *etag,
    time_t mtime, s3_failure_t *fail)
{
    return s3_condition_check(headers, n, &s3_condition_names_read, etag,
                              mtime, NGX_MAX_TIME_T_VALUE, fail);
}


s3_error_e
s3_condition_copy(s3_header_t *headers, ngx_uint_t n, ngx_str_t *etag,
    time_t mtime, time_t now, s3_failure_t *fail)
{
    return s3_condition_check(headers, n, &s3_condition_names_copy, etag,
                              mtime, now, fail);
}


/* future: a date after it is no condition in if-modified-since */

static s3_error_e
s3_condition_check(s3_header_t *headers, ngx_uint_t n,
    const s3_condition_names_t *names, ngx_str_t *etag, time_t mtime,
    time_t future, s3_failure_t *fail)
{
    time_t        t;
    s3_header_t  *h;

    if (s3_condition_header(headers, n, names->if_match)) {

        if (!s3_condition_list(headers, n, names->if_match,
                               ngx_strlen(names->if_match), etag, 0))
        {
            return s3_condition_failed(fail, S3_ERR_PRECONDITION_FAILED,
                                       names->text[0]);
        }

    } else {
        h = s3_condition_header(headers, n, names->if_unmodified_since);

        if (h && s3_date_parse_http(&h->value, &t) == NGX_OK && mtime > t) {
            return s3_condition_failed(fail, S3_ERR_PRECONDITION_FAILED,
                                       names->text[1]);
        }
    }

    if (s3_condition_header(headers, n, names->if_none_match)) {

        if (s3_condition_list(headers, n, names->if_none_match,
                              ngx_strlen(names->if_none_match), etag, 1))
        {
            return s3_condition_failed(fail, names->not_modified,
                                       names->text[2]);
        }

    } else {
        h = s3_condition_header(headers, n, names->if_modified_since);

        if (h && s3_date_parse_http(&h->value, &t) == NGX_OK && mtime <= t
            && t <= future)
        {
            return s3_condition_failed(fail, names->not_modified,
                                       names->text[3]);
        }
    }

    return S3_OK;
}


static s3_header_t *
s3_condition_header(s3_header_t *headers, ngx_uint_t n, const char *name)
{
    return s3_header_find(headers, n, name, ngx_strlen(name), NULL);
}


ngx_uint_t
s3_condition_range(s3_header_t *headers, ngx_uint_t n, ngx_str_t *etag,
    time_t mtime)
{
    time_t        t;
    ngx_uint_t    count;
    ngx_str_t     value;
    s3_header_t  *h;

    h = s3_header_find(headers, n, "if-range", sizeof("if-range") - 1,
                       &count);

    if (h == NULL) {
        return 1;
    }

    if (count != 1) {
        return 0;
    }

    value = h->value;
    s3_condition_trim(&value);

    if (value.len && value.data[value.len - 1] == '"') {

        /* one tag, not a list; a weak one never matches */

        return value.len == etag->len + 2
               && value.data[0] == '"'
               && ngx_memcmp(value.data + 1, etag->data, etag->len) == 0;
    }

    return s3_date_parse_http(&value, &t) == NGX_OK && t == mtime;
}


/* A list may be spread over several headers of the name. */

static ngx_uint_t
s3_condition_list(s3_header_t *headers, ngx_uint_t n, const char *name,
    size_t len, ngx_str_t *etag, ngx_uint_t weak)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        if (headers[i].name.len == len
            && s3_header_has_prefix(&headers[i], name, len)
            && s3_etag_match(&headers[i].value, etag, weak))
        {
            return 1;
        }
    }

    return 0;
}


static s3_error_e
s3_condition_failed(s3_failure_t *fail, s3_error_e error,
    const char *condition)
{
    ngx_str_t  s;

    (void) s3_fail(fail, error, NULL);

    s.data = (u_char *) condition;
    s.len = ngx_strlen(condition);

    s3_fail_element(fail, "Condition", &s);

    return error;
}


s3_error_e
s3_condition_write(s3_header_t *headers, ngx_uint_t n,
    s3_condition_t *condition, s3_failure_t *fail)
{
    ngx_str_t     value;
    ngx_uint_t    match, none;
    s3_header_t  *h;

    condition->type = S3_CONDITION_NONE;
    ngx_str_null(&condition->etag);

    if (s3_header(headers, n, "if-modified-since")) {
        return s3_condition_unsupported(fail, "If-Modified-Since");
    }

    if (s3_header(headers, n, "if-unmodified-since")) {
        return s3_condition_unsupported(fail, "If-Unmodified-Since");
    }

    h = s3_header_find(headers, n, "if-none-match",
                       sizeof("if-none-match") - 1, &none);

    if (h) {
        value = h->value;
        s3_condition_trim(&value);

        if (none != 1 || value.len != 1 || value.data[0] != '*') {
            return s3_condition_unsupported(fail, "If-None-Match");
        }

        condition->type = S3_CONDITION_ABSENT;
    }

    h = s3_header_find(headers, n, "if-match", sizeof("if-match") - 1,
                       &match);

    if (h == NULL) {
        return S3_OK;
    }

    value = h->value;
    s3_condition_trim(&value);

    if (match != 1 || none != 0 || value.len == 0) {
        return s3_condition_unsupported(fail, "If-Match");
    }

    if (value.len == 1 && value.data[0] == '*') {
        condition->type = S3_CONDITION_EXISTS;
        return S3_OK;
    }

    if (value.len >= 2 && value.data[0] == '"'
        && value.data[value.len - 1] == '"')
    {
        value.data++;
        value.len -= 2;
    }

    /* a second tag, a weak one, or nothing that could be one */

    if (value.len == 0
        || ngx_strlchr(value.data, value.data + value.len, '"')
        || ngx_strlchr(value.data, value.data + value.len, ','))
    {
        return s3_condition_unsupported(fail, "If-Match");
    }

    condition->type = S3_CONDITION_ETAG;
    condition->etag = value;

    return S3_OK;
}


static s3_error_e
s3_condition_unsupported(s3_failure_t *fail, const char *header)
{
    ngx_str_t  s;

    (void) s3_fail(fail, S3_ERR_NOT_IMPLEMENTED, NULL);

    s.data = (u_char *) header;
    s.len = ngx_strlen(header);

    s3_fail_element(fail, "Header", &s);

    return S3_ERR_NOT_IMPLEMENTED;
}


static void
s3_condition_trim(ngx_str_t *s)
{
    while (s->len && (s->data[0] == ' ' || s->data[0] == '\t')) {
        s->data++;
        s->len--;
    }

    while (s->len && (s->data[s->len - 1] == ' '
                      || s->data[s->len - 1] == '\t'))
    {
        s->len--;
    }
}


ngx_uint_t
s3_etag_match(ngx_str_t *list, ngx_str_t *etag, ngx_uint_t weak)
{
    u_char     *p, *last, *start;
    ngx_str_t   tag;
    ngx_uint_t  is_weak;

    tag = *list;
    s3_condition_trim(&tag);

    if (tag.len == 1 && tag.data[0] == '*') {
        return 1;
    }

    if (list->len == 0) {
        return 0;
    }

    p = list->data;
    last = p + list->len;

    while (p < last) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            p++;
            continue;
        }

        is_weak = 0;

        if (last - p >= 2 && p[0] == 'W' && p[1] == '/') {
            is_weak = 1;
            p += 2;
        }

        if (p < last && *p == '"') {

            start = ++p;

            p = ngx_strlchr(p, last, '"');
            if (p == NULL) {
                return 0;
            }

            tag.data = start;
            tag.len = p - start;
            p++;

        } else {
            start = p;

            while (p < last && *p != ',') { p++; }

            tag.data = start;
            tag.len = p - start;
            s3_condition_trim(&tag);
        }

        if (tag.len == etag->len
            && ngx_memcmp(tag.data, etag->data, tag.len) == 0
            && (weak || !is_weak))
        {
            return 1;
        }
    }

    return 0;
}
