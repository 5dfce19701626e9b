
#include <ngx_config.h>
#include <ngx_core.h>
#include "s3_rfc2047.h"
#include "s3_target.h"


/* RFC 2047, section 2: of 75 characters "=?UTF-8?B?" and "?=" are 12 */

#define S3_RFC2047_AROUND      12
#define S3_RFC2047_ENCODED     (75 - S3_RFC2047_AROUND)
#define S3_RFC2047_REPLACEMENT 0xfffd


typedef enum {
    S3_RFC2047_LATIN1 = 0,
    S3_RFC2047_ASCII,
    S3_RFC2047_UTF8
} s3_rfc2047_charset_e;


static ngx_int_t s3_rfc2047_word(u_char **d, u_char *p, u_char *last);
static ngx_int_t s3_rfc2047_charset(u_char *p, u_char *last,
    s3_rfc2047_charset_e *charset);
static ngx_int_t s3_rfc2047_base64(u_char *d, u_char *p, u_char *last,
    size_t *len);
static ngx_int_t s3_rfc2047_q(u_char *d, u_char *p, u_char *last,
    size_t *len);
static u_char *s3_rfc2047_text(u_char *d, u_char *p, u_char *last,
    s3_rfc2047_charset_e charset);
static u_char *s3_rfc2047_put(u_char *d, uint32_t ch);
static ngx_uint_t s3_rfc2047_plain(ngx_str_t *value);
static ngx_uint_t s3_rfc2047_q_plain(u_char ch);
static size_t s3_rfc2047_words(u_char *d, u_char *p, u_char *last,
    ngx_uint_t b64, ngx_uint_t first);


#define s3_rfc2047_space(ch)  ((ch) == ' ' || (ch) == '\t')


ngx_int_t
s3_rfc2047_decode(ngx_pool_t *pool, ngx_str_t *value, ngx_uint_t utf8,
    ngx_str_t *text)
{
    u_char                *p, *d, *end, *last, *space, *token;
    ngx_uint_t             word, prev;
    s3_rfc2047_charset_e   charset;

    p = value->data;
    last = p + value->len;

    if (s3_rfc2047_plain(value)
        && ngx_strnstr(value->data, "=?", value->len) == NULL)
    {
        *text = *value;
        return NGX_OK;
    }

    /* a byte of Latin-1 makes 2, one that is not UTF-8 U+FFFD's 3 */

    d = ngx_pnalloc(pool, 3 * value->len);
    if (d == NULL) {
        return NGX_ERROR;
    }

    text->data = d;
    charset = utf8 ? S3_RFC2047_UTF8 : S3_RFC2047_LATIN1;
    prev = 0;

    while (p < last) {

        for (space = p; p < last && s3_rfc2047_space(*p); p++) { /* void */ }
        for (token = p; p < last && !s3_rfc2047_space(*p); p++) { /* void */ }

        /* the space before a token is not written between two words */

        word = 0;

        if (token < p) {
            end = d + (prev ? 0 : token - space);
            word = s3_rfc2047_word(&end, token, p) == NGX_OK;

            if (word) {
                if (!prev) {
                    ngx_memcpy(d, space, token - space);
                }

                d = end;
            }
        }

        if (!word) {
            d = ngx_cpymem(d, space, token - space);
            d = s3_rfc2047_text(d, token, p, charset);
        }

        prev = word;
    }

    text->len = d - text->data;

    return NGX_OK;
}


/*
 * "=?" charset "?" encoding "?" encoded-text "?=".  NGX_DECLINED: the token
 * is none, nothing was written that counts.  Writes at most 3 times the
 * token's length.
 */

static ngx_int_t
s3_rfc2047_word(u_char **d, u_char *p, u_char *last)
{
    size_t                 len;
    u_char                *name, *end, *bytes, encoding;
    ngx_int_t              rc;
    s3_rfc2047_charset_e   charset;

    if (last - p < 7 || p[0] != '=' || p[1] != '?' || last[-1] != '='
        || last[-2] != '?')
    {
        return NGX_DECLINED;
    }

    name = p + 2;
    last -= 2;

    end = ngx_strlchr(name, last, '?');

    /* the encoding, "?", and a character at least */

    if (end == NULL || last - end < 4 || end[2] != '?') {
        return NGX_DECLINED;
    }

    if (s3_rfc2047_charset(name, end, &charset) != NGX_OK) {
        return NGX_DECLINED;
    }

    encoding = end[1];
    p = end + 3;

    if (ngx_strlchr(p, last, '?') != NULL) {
        return NGX_DECLINED;
    }

    /*
     * The bytes go to the end of the room, the text in front of them catches
     * up only with what was read: of n bytes left at most 3n are written.
     */

    bytes = *d + 2 * (last - p);

    switch (encoding) {

    case 'B':
    case 'b':
        rc = s3_rfc2047_base64(bytes, p, last, &len);
        break;

    case 'Q':
    case 'q':
        rc = s3_rfc2047_q(bytes, p, last, &len);
        break;

    default:
        return NGX_DECLINED;
    }

    if (rc != NGX_OK) {
        return NGX_DECLINED;
    }

    *d = s3_rfc2047_text(*d, bytes, bytes + len, charset);

    return NGX_OK;
}


static ngx_int_t
s3_rfc2047_charset(u_char *p, u_char *last, s3_rfc2047_charset_e *charset)
{
    u_char      *end;
    ngx_uint_t   i;

    static const struct {
        ngx_str_t              name;
        s3_rfc2047_charset_e   charset;
    } charsets[] = {
        { ngx_string("utf-8"), S3_RFC2047_UTF8 },
        { ngx_string("iso-8859-1"), S3_RFC2047_LATIN1 },
        { ngx_string("us-ascii"), S3_RFC2047_ASCII }
    };

    /* RFC 2231, section 5: a language may follow */

    end = ngx_strlchr(p, last, '*');
    if (end == NULL) {
        end = last;
    }

    for (i = 0; i < sizeof(charsets) / sizeof(charsets[0]); i++) {
        if (charsets[i].name.len == (size_t) (end - p)
            && ngx_strncasecmp(charsets[i].name.data, p, end - p) == 0)
        {
            *charset = charsets[i].charset;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
s3_rfc2047_base64(u_char *d, u_char *p, u_char *last, size_t *len)
{
    ngx_str_t    src, dst;
    ngx_uint_t   pad;

    src.data = p;
    src.len = last - p;

    if (src.len % 4) {
        return NGX_DECLINED;
    }

    for (pad = 0; pad < 2 && last[-1] == '='; pad++) {
        last--;
    }

    /* ngx_decode_base64() stops at a "=" and would not see what follows */

    if (ngx_strlchr(p, last, '=') != NULL) {
        return NGX_DECLINED;
    }

    dst.data = d;

    if (ngx_decode_base64(&dst, &src) != NGX_OK) {
        return NGX_DECLINED;
    }

    *len = dst.len;

    return NGX_OK;
}


static ngx_int_t
s3_rfc2047_q(u_char *d, u_char *p, u_char *last, size_t *len)
{
    u_char     *start;
    ngx_int_t   n;

    start = d;

    while (p < last) {

        if (*p == '_') {
            *d++ = ' ';
            p++;
            continue;
        }

        if (*p != '=') {
            *d++ = *p++;
            continue;
        }

        if (last - p < 3) {
            return NGX_DECLINED;
        }

        n = ngx_hextoi(p + 1, 2);
        if (n == NGX_ERROR) {
            return NGX_DECLINED;
        }

        *d++ = (u_char) n;
        p += 3;
    }

    *len = d - start;

    return NGX_OK;
}


/* The bytes as UTF-8: at most 3 for each of them; d may run up to p. */

static u_char *
s3_rfc2047_text(u_char *d, u_char *p, u_char *last,
    s3_rfc2047_charset_e charset)
{
    uint32_t  ch;

    while (p < last) {

        if (charset == S3_RFC2047_UTF8) {
            ch = s3_utf8_next(&p, last);

            if (ch == S3_UTF8_INVALID) {
                ch = S3_RFC2047_REPLACEMENT;
            }

        } else {
            ch = *p++;

            if (ch >= 0x80 && charset == S3_RFC2047_ASCII) {
                ch = S3_RFC2047_REPLACEMENT;
            }
        }

        d = s3_rfc2047_put(d, ch);
    }

    return d;
}


static u_char *
s3_rfc2047_put(u_char *d, uint32_t ch)
{
    if (ch < 0x80) {
        *d++ = (u_char) ch;
        return d;
    }

    if (ch < 0x800) {
        *d++ = (u_char) (0xc0 | ch >> 6);

    } else {
        if (ch < 0x10000) {
            *d++ = (u_char) (0xe0 | ch >> 12);

        } else {
            *d++ = (u_char) (0xf0 | ch >> 18);
            *d++ = (u_char) (0x80 | (ch >> 12 & 0x3f));
        }

        *d++ = (u_char) (0x80 | (ch >> 6 & 0x3f));
    }

    *d++ = (u_char) (0x80 | (ch & 0x3f));

    return d;
}


/* Whether it may stand in a header as it is. */

static ngx_uint_t
s3_rfc2047_plain(ngx_str_t *value)
{
    size_t  i;
    u_char  ch;

    for (i = 0; i < value->len; i++) {
        ch = value->data[i];

        if ((ch < 0x20 && ch != '\t') || ch >= 0x7f) {
            return 0;
        }
    }

    return 1;
}


ngx_int_t
s3_rfc2047_encode(ngx_pool_t *pool, ngx_str_t *text, ngx_str_t *value)
{
    u_char     *p, *last;
    uint32_t    ch;
    ngx_str_t   valid;
    ngx_uint_t  ascii, other;

    if (s3_rfc2047_plain(text)) {
        *value = *text;
        return NGX_OK;
    }

    valid = *text;

    if (!s3_utf8_valid(text)) {
        valid.data = ngx_pnalloc(pool, 3 * text->len);
        if (valid.data == NULL) {
            return NGX_ERROR;
        }

        valid.len = s3_rfc2047_text(valid.data, text->data,
                                    text->data + text->len, S3_RFC2047_UTF8)
                    - valid.data;
    }

    ascii = 0;
    other = 0;
    p = valid.data;
    last = p + valid.len;

    while (p < last) {
        ch = s3_utf8_next(&p, last);

        if ((ch >= 0x20 && ch < 0x7f) || ch == '\t') {
            ascii++;

        } else {
            other += ch < 0x10000 ? 1 : 2;
        }
    }

    value->len = s3_rfc2047_words(NULL, valid.data, last, ascii <= other, 1);

    value->data = ngx_pnalloc(pool, value->len);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    (void) s3_rfc2047_words(value->data, valid.data, last, ascii <= other, 1);

    return NGX_OK;
}


/*
 * The words of valid UTF-8, written at d unless it is NULL; returns their
 * length.  The depth is that of halving: 11 for 2 KB.
 */

static size_t
s3_rfc2047_words(u_char *d, u_char *p, u_char *last, ngx_uint_t b64,
    ngx_uint_t first)
{
    size_t       len, left;
    u_char      *s, *split;
    uint32_t     ch;
    ngx_str_t    src, dst;
    ngx_uint_t   units, n;

    static const u_char  hex[] = "0123456789ABCDEF";

    units = 0;
    len = b64 ? ngx_base64_encoded_length(last - p) : 0;

    for (s = p; s < last; /* void */ ) {
        units += s3_utf8_next(&s, last) < 0x10000 ? 1 : 2;
    }

    if (!b64) {
        for (s = p; s < last; s++) {
            len += *s == ' ' || s3_rfc2047_q_plain(*s) ? 1 : 3;
        }
    }

    if (len > S3_RFC2047_ENCODED && units > 1) {

        split = p;

        for (n = 0, s = p; n < units / 2; /* void */ ) {
            split = s;
            ch = s3_utf8_next(&s, last);
            n += ch < 0x10000 ? 1 : 2;
        }

        /* a pair of surrogates is not parted, it goes to the right */

        if (n == units / 2) {
            split = s;
        }

        left = s3_rfc2047_words(d, p, split, b64, first);

        return left + s3_rfc2047_words(d ? d + left : NULL, split, last, b64,
                                       0);
    }

    len += S3_RFC2047_AROUND + (first ? 0 : 1);

    if (d == NULL) {
        return len;
    }

    if (!first) {
        *d++ = ' ';
    }

    d = ngx_cpymem(d, b64 ? "=?UTF-8?B?" : "=?UTF-8?Q?",
                   sizeof("=?UTF-8?B?") - 1);

    if (b64) {
        src.data = p;
        src.len = last - p;
        dst.data = d;
        ngx_encode_base64(&dst, &src);
        d += dst.len;

    } else {
        for (s = p; s < last; s++) {

            if (*s == ' ') {
                *d++ = '_';

            } else if (s3_rfc2047_q_plain(*s)) {
                *d++ = *s;

            } else {
                *d++ = '=';
                *d++ = hex[*s >> 4];
                *d++ = hex[*s & 0xf];
            }
        }
    }

    *d++ = '?';
    *d = '=';

    return len;
}


/* Of RFC 2047's "Q" in a text (section 5, 1); a space is "_" there. */

static ngx_uint_t
s3_rfc2047_q_plain(u_char ch)
{
    return ch > 0x20 && ch < 0x7f && ch != '=' && ch != '?' && ch != '_';
}
