
/* Differences between the versions of nginx that we build against. */


#ifndef _NGX_HTTP_S3_COMPAT_H_INCLUDED_
#define _NGX_HTTP_S3_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* 1.23.0: headers of one name are linked, a pushed one must end the list */

#if (nginx_version >= 1023000)
#define ngx_http_s3_header_last(h)  (h)->next = NULL
#else
#define ngx_http_s3_header_last(h)
#endif


#endif /* _NGX_HTTP_S3_COMPAT_H_INCLUDED_ */
