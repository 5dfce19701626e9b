
/*
 * User metadata as text: what S3 makes of a header's bytes, and back.
 *
 *     x-amz-meta-a:              stored            answered
 *
 *     =?UTF-8?B?Y2Fmw6k=?=       caf\xc3\xa9       =?UTF-8?Q?caf=C3=A9?=
 *     caf\xe9                    caf\xc3\xa9       =?UTF-8?Q?caf=C3=A9?=
 *     \xc3\xa9                   \xc3\x83\xc2\xa9  =?UTF-8?B?w4PCqQ==?=
 *     cafe                       cafe              cafe
 *
 * S3 takes the bytes of a header for ISO 8859-1, UTF-8 among them: so says
 * the example in the S3 user guide ("User-defined object metadata"), and so
 * it has been seen to answer.  An argument of a presigned URL is UTF-8.
 *
 * The words S3 answers with are Java's (MimeUtility.encodeText of JavaMail):
 * Q where most characters are ASCII, else B, and a word that would be longer
 * than RFC 2047's 75 characters is two, each of one half of the characters
 * (UTF-16 units).
 */


#ifndef _S3_RFC2047_H_INCLUDED_
#define _S3_RFC2047_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * "value" (a header's, bounded by the caller) as UTF-8: its encoded words
 * decoded, the rest read as UTF-8 (utf8) or as ISO 8859-1.  White space
 * between two words goes (RFC 2047, section 6.2).  What is no word, or one in
 * a charset other than UTF-8, ISO-8859-1, US-ASCII, stays as it came; bytes
 * that are none of the charset's become U+FFFD.  The text may hold control
 * characters.  It is "value" itself, or in the pool, at most 3 times as long.
 * "text" may be "value".  NGX_OK or NGX_ERROR (no memory).
 */
ngx_int_t s3_rfc2047_decode(ngx_pool_t *pool, ngx_str_t *value,
    ngx_uint_t utf8, ngx_str_t *text);

/*
 * Text as a header's value: itself where it is ASCII without a control
 * character but tab, else encoded words, in the pool.  "value" may be "text".
 * NGX_OK or NGX_ERROR (no memory).
 */
ngx_int_t s3_rfc2047_encode(ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *value);


#endif /* _S3_RFC2047_H_INCLUDED_ */
