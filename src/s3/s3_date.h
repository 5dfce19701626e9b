
/*
 * Dates as S3 writes them.
 *
 *     20260131T235959Z                  ISO 8601 basic: x-amz-date
 *     2026-01-31T23:59:59.000Z          ISO 8601 extended: lists
 *     Sat, 31 Jan 2026 23:59:59 GMT     RFC 9110 (IMF-fixdate): headers
 *
 * Pure functions, no cached time, no locale, no time zone.
 */


#ifndef _S3_DATE_H_INCLUDED_
#define _S3_DATE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define S3_DATE_BASIC_LEN      (sizeof("20260131T235959Z") - 1)
#define S3_DATE_EXTENDED_LEN   (sizeof("2026-01-31T23:59:59.000Z") - 1)
#define S3_DATE_HTTP_LEN       (sizeof("Sat, 31 Jan 2026 23:59:59 GMT") - 1)


/* NGX_OK and seconds since the epoch, or NGX_ERROR: not such a date. */
ngx_int_t s3_date_parse_basic(ngx_str_t *s, time_t *t);

/*
 * The three forms RFC 9110 section 5.6.7 makes recipients accept, as
 * ngx_parse_http_time() reads them.
 */
ngx_int_t s3_date_parse_http(ngx_str_t *s, time_t *t);

/* Write exactly S3_DATE_..._LEN bytes, no NUL; returns the byte after. */
u_char *s3_date_basic(u_char *buf, time_t t);
u_char *s3_date_extended(u_char *buf, int64_t msec);
u_char *s3_date_http(u_char *buf, time_t t);


#endif /* _S3_DATE_H_INCLUDED_ */
