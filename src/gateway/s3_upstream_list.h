
/*
 * A list of an upstream's, with encoding-type=url, as S3 writes it.
 *
 *     <ListBucketResult>
 *       <Prefix>a+</Prefix>                    escaped: as it was asked for
 *       <NextMarker>a%2Fb</NextMarker>         escaped, where it is not
 *       <Contents><Key>a%252Fb</Key></Contents>
 *     </ListBucketResult>
 *
 * Ceph up to 16 escapes Key, and nothing else: clients that unescape all of it
 * go on from another key than the last.  What XML cannot hold makes the
 * document unreadable then.
 *
 * The document is gone through by its tags, and all else in it is kept byte by
 * byte: there are no comments or sections in lists.
 */


#ifndef _S3_UPSTREAM_LIST_H_INCLUDED_
#define _S3_UPSTREAM_LIST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_list.h"


/*
 * The whole document in one buffer; params: what was asked for, with
 * encoding_url.  NGX_OK: *out, *size; NGX_DECLINED: nothing is wrong with it,
 * or it is no such list; NGX_ERROR: no memory.
 */
ngx_int_t s3_upstream_list_mend(ngx_pool_t *pool, s3_list_params_t *params,
    ngx_str_t *document, ngx_chain_t **out, size_t *size);

/*
 * A continuation token that a document cannot hold is wrapped, in there; this
 * takes it out again.  NGX_OK; NGX_DECLINED: it is not wrapped, or not by us;
 * NGX_ERROR: no memory.
 */
ngx_int_t s3_upstream_list_token(ngx_pool_t *pool, ngx_str_t *token,
    ngx_str_t *raw);


#endif /* _S3_UPSTREAM_LIST_H_INCLUDED_ */
