
/*
 * What an upstream answers in XML: rows of leaves.
 *
 *     <ListPartsResult>                      top: leaves of the root
 *       <IsTruncated>false</IsTruncated>
 *       <Part>                               a row, wherever it stands
 *         <PartNumber>1</PartNumber>         leaves of the row
 *         <ETag>"9e10..."</ETag>
 *       </Part>
 *     </ListPartsResult>
 *
 * Whatever else is in a document is passed over: servers add elements.
 */


#ifndef _S3_UPSTREAM_XML_H_INCLUDED_
#define _S3_UPSTREAM_XML_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_xml.h"


/* value: in the pool, len 0 where there was no such leaf; the last counts */

typedef struct {
    const char                *name;
    ngx_str_t                  value;
} s3_upstream_leaf_t;

/* NGX_OK or NGX_ERROR; leaves are those of the row, valid in the pool */
typedef ngx_int_t (*s3_upstream_row_pt)(void *data,
    s3_upstream_leaf_t *leaves);

typedef struct {
    ngx_pool_t                *pool;
    const char                *root;      /* its name; NULL: any */

    s3_upstream_leaf_t        *top;
    ngx_uint_t                 ntop;

    const char                *row;       /* or NULL */
    s3_upstream_leaf_t        *leaves;
    ngx_uint_t                 nleaves;
    s3_upstream_row_pt         handler;
    void                      *data;

    /* private */
    ngx_uint_t                 depth;     /* of the row that is open, or 0 */
    ngx_uint_t                 failed;
} s3_upstream_xml_t;


/*
 * NGX_OK; NGX_DECLINED: no such document, or none at all; NGX_ERROR: memory,
 * or what the handler returned.
 */
ngx_int_t s3_upstream_read(s3_upstream_xml_t *x, ngx_chain_t *in);

/*
 * An error's document, noted in fail under the upstream's own code, with all of
 * its elements but those that we write ourselves.  NGX_OK; NGX_DECLINED: it is
 * none; NGX_ERROR: no memory.
 */
ngx_int_t s3_upstream_failure(ngx_pool_t *pool, ngx_chain_t *in,
    ngx_uint_t status, s3_failure_t *fail);

/* An entity tag without its quotes. */
void s3_upstream_unquote(ngx_str_t *etag);

/* "2026-01-31T23:59:59.000Z" as ms since the epoch; 0: it is none. */
int64_t s3_upstream_time(ngx_str_t *text);


#endif /* _S3_UPSTREAM_XML_H_INCLUDED_ */
