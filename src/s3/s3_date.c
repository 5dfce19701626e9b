
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_date.h"


static ngx_int_t s3_date_number(u_char *p, size_t n);


ngx_int_t
s3_date_parse_basic(ngx_str_t *s, time_t *t)
{
    u_char     *p;
    int64_t     days;
    ngx_int_t   year, month, day, hour, min, sec, y;
    ngx_uint_t  leap;

    static u_char  mdays[] = { 31, 28, 31, 30, 31, 30,
                               31, 31, 30, 31, 30, 31 };

    if (s->len != S3_DATE_BASIC_LEN) {
        return NGX_ERROR;
    }

    p = s->data;

    if (p[8] != 'T' || p[15] != 'Z') {
        return NGX_ERROR;
    }

    year = s3_date_number(p, 4);
    month = s3_date_number(p + 4, 2);
    day = s3_date_number(p + 6, 2);
    hour = s3_date_number(p + 9, 2);
    min = s3_date_number(p + 11, 2);
    sec = s3_date_number(p + 13, 2);

    if (year < 1970 || month < 1 || month > 12 || day < 1
        || hour < 0 || hour > 23 || min < 0 || min > 59
        || sec < 0 || sec > 59)
    {
        return NGX_ERROR;
    }

    leap = (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));

    if (day > mdays[month - 1] + (month == 2 && leap)) {
        return NGX_ERROR;
    }

    /*
     * Gauss' formula as in ngx_parse_http_time(): years begin in March, so
     * that a leap day is the last one; March is month 1.
     */

    y = year;
    month -= 2;

    if (month <= 0) {
        month += 12;
        y -= 1;
    }

    days = 365 * (int64_t) y + y / 4 - y / 100 + y / 400
           + 367 * month / 12 - 30 + day - 1 - 719527 + 31 + 28;

    *t = (time_t) (days * 86400 + hour * 3600 + min * 60 + sec);

    return NGX_OK;
}


static ngx_int_t
s3_date_number(u_char *p, size_t n)
{
    ngx_int_t  v;

    for (v = 0; n; n--, p++) {
        if (*p < '0' || *p > '9') {
            return -1;
        }

        v = v * 10 + (*p - '0');
    }

    return v;
}


ngx_int_t
s3_date_parse_http(ngx_str_t *s, time_t *t)
{
    if (s->len == 0) {
        return NGX_ERROR;
    }

    *t = ngx_parse_http_time(s->data, s->len);

    return (*t == (time_t) NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


u_char *
s3_date_basic(u_char *buf, time_t t)
{
    ngx_tm_t  tm;

    ngx_gmtime(t, &tm);

    return ngx_sprintf(buf, "%04d%02d%02dT%02d%02d%02dZ",
                       tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                       tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
}


u_char *
s3_date_extended(u_char *buf, int64_t msec)
{
    ngx_tm_t  tm;

    if (msec < 0) {
        msec = 0;
    }

    ngx_gmtime((time_t) (msec / 1000), &tm);

    return ngx_sprintf(buf, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                       tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                       tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec,
                       (int) (msec % 1000));
}


u_char *
s3_date_http(u_char *buf, time_t t)
{
    return ngx_http_time(buf, t);
}
