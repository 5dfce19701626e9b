
/*
 * AWS Signature Version 2 as S3 has it (S3 User Guide, "Signing and
 * authenticating REST requests"), which s3cmd and SDKs still presign with.
 *
 *     StringToSign =
 *         PUT                                      method
 *         1B2M2Y8AsgTpgAmY7PhCfg==                 Content-MD5, or empty
 *         image/jpeg                               Content-Type, or empty
 *         Tue, 27 Mar 2007 21:15:45 +0000          Date; empty where there is
 *                                                  x-amz-date; in a query
 *                                                  the value of Expires
 *         x-amz-meta-a:1,2                         every x-amz-*, lower case,
 *         x-amz-meta-b:3                           sorted, repeated ones
 *                                                  joined
 *         /bucket/a%20b?acl&versionId=null         path as sent, with the
 *                                                  bucket; sub-resources and
 *                                                  response-*, sorted,
 *                                                  decoded
 *
 *     signature = base64(HMAC-SHA1(secret, StringToSign))
 *
 *     Authorization: AWS AKID:signature
 * or
 *     ?AWSAccessKeyId=AKID&Expires=1175139620&Signature=signature
 *
 * What of the query is no sub-resource is not signed (prefix, max-keys), nor
 * is Host, nor the payload.  Arguments x-amz-* of the query are taken for
 * headers by us, as botocore presigns them, and are signed as such.
 */


#ifndef _S3_SIGV2_H_INCLUDED_
#define _S3_SIGV2_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define S3_SIGV2_SIGNATURE_LEN  28      /* base64 of SHA-1's 20 bytes */


/*
 * base64(HMAC-SHA1(secret, string)).  NGX_OK or NGX_ERROR.  Public for its
 * tests.
 */
ngx_int_t s3_sigv2_sign(ngx_str_t *secret, ngx_str_t *string,
    u_char signature[S3_SIGV2_SIGNATURE_LEN]);


#endif /* _S3_SIGV2_H_INCLUDED_ */
