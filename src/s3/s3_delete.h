
/*
 * DeleteObjects: the document that names the objects, and the answer.
 *
 *     <Delete>                                <DeleteResult>
 *       <Quiet>false</Quiet>                    <Deleted>
 *       <Object>                                  <Key>a/b</Key>
 *         <Key>a/b</Key>                        </Deleted>
 *         <VersionId>null</VersionId>           <Error>
 *         <ETag>"9e107d9d..."</ETag>              <Key>c</Key>
 *       </Object>                                 <Code>PreconditionFailed</Code>
 *       ...                                       <Message>...</Message>
 *     </Delete>                                 </Error>
 *                                             </DeleteResult>
 */


#ifndef _S3_DELETE_H_INCLUDED_
#define _S3_DELETE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_error.h"
#include "s3_xml.h"


#define S3_DELETE_MAX          1000

/* of the document: S3's own bound on XML (userguide, "Deleting multiple
 * objects": a request of up to 2 MB) */
#define S3_DELETE_MAX_XML      (2 * 1024 * 1024)


typedef struct {
    ngx_str_t                  key;
    ngx_str_t                  version_id;  /* "null", or empty: not given */
    ngx_str_t                  etag;        /* as given; empty: not given */

    /* what became of it: S3_OK, or why it is still there */
    s3_error_e                 error;
    ngx_str_t                  message;     /* empty: the error's own */
} s3_delete_object_t;


typedef struct {
    ngx_array_t                objects;     /* s3_delete_object_t, 1..1000 */
    unsigned                   quiet:1;
} s3_delete_t;


/*
 * S3_OK, or MalformedXML (no object or more than S3_DELETE_MAX, an object
 * without a key, elements that S3 does not know), MissingRequestBodyError (in
 * is NULL), NotImplemented (Size and LastModifiedTime, which belong to
 * directory buckets), InternalError (memory).  The caller bounds the size.
 *
 * What is wrong with one object alone (a key of more than 1,024 bytes, a
 * version there can't be) is noted in its error.
 */
s3_error_e s3_delete_read(ngx_pool_t *pool, ngx_chain_t *in,
    s3_delete_t *request, s3_failure_t *fail);

/*
 * About the bytes of the answer, before it is known what becomes of the
 * objects: escaped, a key takes up to six times its own size.
 */
size_t s3_delete_answer_size(s3_delete_t *request);

/*
 * The answer, objects in the order they were asked for; with quiet only those
 * that failed.  NULL without memory.
 */
ngx_chain_t *s3_delete_write(ngx_pool_t *pool, s3_delete_t *request,
    size_t *size);


#endif /* _S3_DELETE_H_INCLUDED_ */
