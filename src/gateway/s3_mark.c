
#include <ngx_config.h>
#include <ngx_core.h>
#include <jansson.h>
#include <openssl/evp.h>
#include "s3_mark.h"


#define S3_MARK_HASH           64      /* hex digits of a SHA-256 */
#define S3_MARK_ETAG_MAX       64


static ngx_uint_t s3_mark_word(ngx_str_t *rest, ngx_str_t *word);
static ngx_uint_t s3_mark_type(ngx_str_t *word, ngx_str_t *type);
static ngx_int_t s3_mark_hash(ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *upload_id, u_char hex[S3_MARK_HASH]);
static ngx_int_t s3_mark_key(ngx_pool_t *pool, const char *folder,
    u_char hex[S3_MARK_HASH], const char *end, ngx_str_t *name);
static u_char *s3_mark_sum_write(u_char *p, s3_part_sum_t *sum);
static ngx_int_t s3_mark_sum_read(ngx_str_t *text, s3_part_sum_t *sum);
static ngx_uint_t s3_mark_number(ngx_str_t *rest, u_char end,
    ngx_str_t *text);
static ngx_int_t s3_mark_string(ngx_pool_t *pool, json_t *root,
    const char *name, ngx_str_t *value);
static ngx_int_t s3_mark_parts(ngx_pool_t *pool, json_t *list,
    s3_mark_body_t *body);


ngx_uint_t
s3_mark_reserved(s3_header_t *headers, ngx_uint_t n)
{
    u_char      ch;
    ngx_uint_t  i, k;

    for (i = 0; i < n; i++) {

        if (headers[i].name.len != sizeof(S3_MARK_HEADER) - 1) {
            continue;
        }

        for (k = 0; k < headers[i].name.len; k++) {
            ch = ngx_tolower(headers[i].name.data[k]);

            if ((ch == '_' ? '-' : ch) != S3_MARK_HEADER[k]) {
                break;
            }
        }

        if (k == headers[i].name.len) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
s3_mark_write(ngx_pool_t *pool, ngx_str_t *etag, s3_checksum_text_t *checksum,
    ngx_str_t *value)
{
    const char  *name;

    name = s3_checksum_info(checksum->algorithm)->name;

    value->data = ngx_pnalloc(pool, etag->len + ngx_strlen(name)
                                    + checksum->type.len + checksum->text.len
                                    + 3);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    value->len = ngx_sprintf(value->data, "%V %s %V %V", etag, name,
                             &checksum->type, &checksum->text)
                 - value->data;

    return NGX_OK;
}


s3_mark_e
s3_mark_read(ngx_str_t *value, ngx_str_t *etag, s3_checksum_text_t *checksum)
{
    ngx_str_t                  rest, word[4];
    ngx_uint_t                 i;
    const s3_checksum_info_t  *info;

    if (value->len == sizeof(S3_MARK_RECORD_VALUE) - 1
        && ngx_memcmp(value->data, S3_MARK_RECORD_VALUE, value->len) == 0)
    {
        return S3_MARK_RECORD;
    }

    rest = *value;

    for (i = 0; i < 4; i++) {
        if (!s3_mark_word(&rest, &word[i])) {
            return S3_MARK_NONE;
        }
    }

    if (rest.len || word[0].len != etag->len
        || ngx_strncasecmp(word[0].data, etag->data, etag->len) != 0)
    {
        return S3_MARK_NONE;
    }

    checksum->algorithm = s3_checksum_by_name((char *) word[1].data,
                                              word[1].len);
    info = s3_checksum_info(checksum->algorithm);

    if (info == NULL || !s3_mark_type(&word[2], &checksum->type)
        || word[3].len < info->text_len)
    {
        return S3_MARK_NONE;
    }

    /* it becomes a header again: base64, and "-12" of a COMPOSITE one */

    for (i = 0; i < word[3].len; i++) {
        if (word[3].data[i] <= 0x20 || word[3].data[i] >= 0x7f) {
            return S3_MARK_NONE;
        }
    }

    checksum->text = word[3];

    return S3_MARK_HERE;
}


/* what is before the next space; 0: there is nothing */

static ngx_uint_t
s3_mark_word(ngx_str_t *rest, ngx_str_t *word)
{
    u_char  *p, *last;

    last = rest->data + rest->len;

    for (p = rest->data; p < last && *p != ' '; p++) { /* void */ }

    word->data = rest->data;
    word->len = p - rest->data;

    if (p < last) {
        p++;
    }

    rest->data = p;
    rest->len = last - p;

    return word->len != 0;
}


static ngx_uint_t
s3_mark_type(ngx_str_t *word, ngx_str_t *type)
{
    if (word->len == sizeof("FULL_OBJECT") - 1
        && ngx_memcmp(word->data, "FULL_OBJECT", word->len) == 0)
    {
        ngx_str_set(type, "FULL_OBJECT");
        return 1;
    }

    if (word->len == sizeof("COMPOSITE") - 1
        && ngx_memcmp(word->data, "COMPOSITE", word->len) == 0)
    {
        ngx_str_set(type, "COMPOSITE");
        return 1;
    }

    return 0;
}


ngx_int_t
s3_mark_upload_write(ngx_pool_t *pool, s3_upload_checksum_t *checksum,
    ngx_str_t *value)
{
    if (checksum->algorithm == S3_CHECKSUM_NONE) {
        ngx_str_set(value, "NONE NONE");
        return NGX_OK;
    }

    value->data = ngx_pnalloc(pool, sizeof("CRC64NVME FULL_OBJECT"));
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    value->len = ngx_sprintf(value->data, "%s %s",
                             s3_checksum_info(checksum->algorithm)->name,
                             checksum->composite ? "COMPOSITE"
                                                 : "FULL_OBJECT")
                 - value->data;

    return NGX_OK;
}


ngx_int_t
s3_mark_upload_read(ngx_str_t *value, s3_upload_checksum_t *checksum)
{
    ngx_str_t  rest, word[2], type;

    rest = *value;

    if (!s3_mark_word(&rest, &word[0]) || !s3_mark_word(&rest, &word[1])) {
        return NGX_DECLINED;
    }

    checksum->composite = 0;
    checksum->algorithm = s3_checksum_by_name((char *) word[0].data,
                                              word[0].len);

    if (checksum->algorithm == S3_CHECKSUM_NONE) {
        return word[0].len == sizeof("NONE") - 1
               && ngx_memcmp(word[0].data, "NONE", word[0].len) == 0
               ? NGX_OK : NGX_DECLINED;
    }

    if (!s3_mark_type(&word[1], &type)) {
        return NGX_DECLINED;
    }

    checksum->composite = (type.len == sizeof("COMPOSITE") - 1);

    return NGX_OK;
}


ngx_int_t
s3_mark_record_key(ngx_pool_t *pool, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *etag, ngx_str_t *name)
{
    u_char      ch, hex[S3_MARK_HASH], end[S3_MARK_HASH + 1];
    ngx_str_t   none;
    ngx_uint_t  i;

    ngx_str_null(&none);

    for (i = 0; i < etag->len; i++) {
        ch = etag->data[i] | 0x20;

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || etag->data[i] == '-'))
        {
            break;
        }
    }

    if (i == etag->len && i > 0 && i <= S3_MARK_ETAG_MAX) {
        (void) ngx_cpystrn(end, etag->data, i + 1);

    } else {
        if (s3_mark_hash(etag, &none, NULL, end) != NGX_OK) {
            return NGX_ERROR;
        }

        end[S3_MARK_HASH] = '\0';
    }

    if (s3_mark_hash(bucket, key, NULL, hex) != NGX_OK) {
        return NGX_ERROR;
    }

    return s3_mark_key(pool, S3_MARK_OBJECTS, hex, (char *) end, name);
}


ngx_int_t
s3_mark_records_prefix(ngx_pool_t *pool, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *prefix)
{
    u_char  hex[S3_MARK_HASH];

    return s3_mark_hash(bucket, key, NULL, hex) == NGX_OK
           ? s3_mark_key(pool, S3_MARK_OBJECTS, hex, "", prefix) : NGX_ERROR;
}


ngx_int_t
s3_mark_upload_key(ngx_pool_t *pool, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *upload_id, ngx_str_t *name)
{
    u_char  hex[S3_MARK_HASH];

    if (s3_mark_hash(bucket, key, upload_id, hex) != NGX_OK) {
        return NGX_ERROR;
    }

    return s3_mark_key(pool, S3_MARK_UPLOADS, hex, NULL, name);
}


ngx_int_t
s3_mark_parts_prefix(ngx_pool_t *pool, ngx_str_t *bucket, ngx_str_t *key,
    ngx_str_t *upload_id, ngx_str_t *prefix)
{
    u_char  hex[S3_MARK_HASH];

    if (s3_mark_hash(bucket, key, upload_id, hex) != NGX_OK) {
        return NGX_ERROR;
    }

    return s3_mark_key(pool, S3_MARK_PARTS, hex, "", prefix);
}


static ngx_int_t
s3_mark_hash(ngx_str_t *bucket, ngx_str_t *key, ngx_str_t *upload_id,
    u_char hex[S3_MARK_HASH])
{
    u_char         digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX    *md;
    unsigned int   len;

    md = EVP_MD_CTX_new();
    if (md == NULL) {
        return NGX_ERROR;
    }

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1
        || EVP_DigestUpdate(md, bucket->data, bucket->len) != 1
        || EVP_DigestUpdate(md, "/", 1) != 1
        || EVP_DigestUpdate(md, key->data, key->len) != 1
        || (upload_id
            && (EVP_DigestUpdate(md, "?", 1) != 1
                || EVP_DigestUpdate(md, upload_id->data, upload_id->len)
                   != 1))
        || EVP_DigestFinal_ex(md, digest, &len) != 1)
    {
        EVP_MD_CTX_free(md);
        return NGX_ERROR;
    }

    EVP_MD_CTX_free(md);

    (void) ngx_hex_dump(hex, digest, S3_MARK_HASH / 2);

    return NGX_OK;
}


static ngx_int_t
s3_mark_key(ngx_pool_t *pool, const char *folder, u_char hex[S3_MARK_HASH],
    const char *end, ngx_str_t *name)
{
    name->data = ngx_pnalloc(pool, ngx_strlen(folder) + S3_MARK_HASH + 1
                                   + (end ? ngx_strlen(end) : 0));
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    name->len = ngx_sprintf(name->data, "%s%*s%s%s", folder,
                            (size_t) S3_MARK_HASH, hex, end ? "/" : "",
                            end ? end : "")
                - name->data;

    return NGX_OK;
}


ngx_int_t
s3_mark_part_write(ngx_pool_t *pool, ngx_str_t *prefix,
    s3_stored_part_t *part, ngx_str_t *name)
{
    u_char      *p;
    ngx_uint_t   i;

    p = ngx_pnalloc(pool, prefix->len + 5 + 1 + 32 + 1 + NGX_INT64_LEN
                          + S3_PART_SUMS * (3 + S3_CHECKSUM_TEXT_MAX));
    if (p == NULL) {
        return NGX_ERROR;
    }

    name->data = p;

    p = ngx_cpymem(p, prefix->data, prefix->len);
    p = ngx_sprintf(p, "%05uD-", part->number);
    p = ngx_hex_dump(p, part->md5, 16);
    p = ngx_sprintf(p, "-%uL", part->size);

    for (i = 0; i < part->nsums; i++) {
        *p++ = '-';
        p = s3_mark_sum_write(p, &part->sums[i]);
    }

    name->len = p - name->data;

    return NGX_OK;
}


static u_char *
s3_mark_sum_write(u_char *p, s3_part_sum_t *sum)
{
    ngx_str_t  src, dst;

    src.data = sum->digest;
    src.len = s3_checksum_info(sum->algorithm)->size;

    *p++ = '0' + sum->algorithm;
    *p++ = '.';

    dst.data = p;
    ngx_encode_base64url(&dst, &src);

    /* "-" separates, "_" and "~" do not stand in base64url's place of it */

    for (p = dst.data; p < dst.data + dst.len; p++) {
        if (*p == '-') {
            *p = '~';
        }
    }

    return p;
}


ngx_int_t
s3_mark_part_read(ngx_str_t *name, s3_stored_part_t *part)
{
    off_t       size;
    ngx_int_t   n;
    ngx_str_t   rest, text;
    ngx_uint_t  i;

    ngx_memzero(part, sizeof(s3_stored_part_t));

    rest = *name;

    if (!s3_mark_number(&rest, '-', &text)) {
        return NGX_DECLINED;
    }

    n = ngx_atoi(text.data, text.len);

    if (n < 1 || n > S3_PART_NUMBER_MAX) {
        return NGX_DECLINED;
    }

    part->number = (uint32_t) n;

    if (!s3_mark_number(&rest, '-', &text) || text.len != 32) {
        return NGX_DECLINED;
    }

    for (i = 0; i < 16; i++) {
        n = ngx_hextoi(text.data + 2 * i, 2);

        if (n == NGX_ERROR) {
            return NGX_DECLINED;
        }

        part->md5[i] = (u_char) n;
    }

    if (!s3_mark_number(&rest, '-', &text)) {
        return NGX_DECLINED;
    }

    size = ngx_atoof(text.data, text.len);

    if (size == NGX_ERROR) {
        return NGX_DECLINED;
    }

    part->size = size;

    while (rest.len) {

        if (part->nsums == S3_PART_SUMS
            || !s3_mark_number(&rest, '-', &text)
            || s3_mark_sum_read(&text, &part->sums[part->nsums]) != NGX_OK)
        {
            return NGX_DECLINED;
        }

        part->nsums++;
    }

    return NGX_OK;
}


static ngx_int_t
s3_mark_sum_read(ngx_str_t *text, s3_part_sum_t *sum)
{
    u_char                     src[S3_CHECKSUM_TEXT_MAX + 4];
    u_char                     out[S3_CHECKSUM_TEXT_MAX + 4];
    ngx_str_t                  s, dst;
    ngx_uint_t                 i;
    const s3_checksum_info_t  *info;

    if (text->len < 3 || text->len > 2 + S3_CHECKSUM_TEXT_MAX
        || text->data[1] != '.')
    {
        return NGX_DECLINED;
    }

    info = s3_checksum_info(text->data[0] - '0');

    if (info == NULL) {
        return NGX_DECLINED;
    }

    s.data = src;
    s.len = text->len - 2;

    for (i = 0; i < s.len; i++) {
        src[i] = text->data[i + 2] == '~' ? '-' : text->data[i + 2];
    }

    dst.data = out;

    if (ngx_decode_base64url(&dst, &s) != NGX_OK || dst.len != info->size) {
        return NGX_DECLINED;
    }

    sum->algorithm = text->data[0] - '0';
    ngx_memcpy(sum->digest, out, info->size);

    return NGX_OK;
}


/* the next piece of a name, up to "end" or its own end; 0: it is empty */

static ngx_uint_t
s3_mark_number(ngx_str_t *rest, u_char end, ngx_str_t *text)
{
    u_char  *p, *last;

    last = rest->data + rest->len;

    for (p = rest->data; p < last && *p != end; p++) { /* void */ }

    text->data = rest->data;
    text->len = p - rest->data;

    if (p < last) {
        p++;
    }

    rest->data = p;
    rest->len = last - p;

    return text->len != 0;
}


ngx_int_t
s3_mark_body_write(ngx_pool_t *pool, s3_mark_body_t *body, ngx_str_t *text)
{
    char            *dump;
    json_t          *root, *list, *item;
    ngx_uint_t       i;
    s3_list_part_t  *part;

    root = json_pack("{s:s%, s:s%}", "bucket", body->bucket.data,
                     body->bucket.len, "key", body->key.data, body->key.len);
    if (root == NULL) {
        return NGX_ERROR;
    }

    dump = NULL;

    if (body->upload_id.len
        && json_object_set_new(root, "upload_id",
                               json_stringn((char *) body->upload_id.data,
                                            body->upload_id.len))
           != 0)
    {
        goto done;
    }

    if (body->parts) {
        list = json_array();

        if (json_object_set_new(root, "parts", list) != 0) {
            goto done;
        }

        for (i = 0; i < body->nparts; i++) {
            part = &body->parts[i];

            item = part->checksum.text.len
                   ? json_pack("[i, I, s%]", (int) part->number,
                               (json_int_t) part->size,
                               part->checksum.text.data,
                               part->checksum.text.len)
                   : json_pack("[i, I]", (int) part->number,
                               (json_int_t) part->size);

            if (json_array_append_new(list, item) != 0) {
                goto done;
            }
        }
    }

    dump = json_dumps(root, JSON_COMPACT);

done:

    json_decref(root);

    if (dump == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_strlen(dump);
    text->data = ngx_pnalloc(pool, text->len);

    if (text->data) {
        ngx_memcpy(text->data, dump, text->len);
    }

    free(dump);

    return text->data ? NGX_OK : NGX_ERROR;
}


ngx_int_t
s3_mark_body_read(ngx_pool_t *pool, ngx_chain_t *in, size_t size,
    s3_mark_body_t *body)
{
    u_char     *p, *text;
    json_t     *root;
    ngx_int_t   rc;

    ngx_memzero(body, sizeof(s3_mark_body_t));

    text = malloc(size + 1);
    if (text == NULL) {
        return NGX_ERROR;
    }

    for (p = text; in; in = in->next) {

        if ((size_t) (in->buf->last - in->buf->pos)
            > size - (size_t) (p - text))
        {
            break;
        }

        p = ngx_cpymem(p, in->buf->pos, in->buf->last - in->buf->pos);
    }

    root = json_loadb((char *) text, p - text, JSON_REJECT_DUPLICATES, NULL);

    free(text);

    rc = NGX_DECLINED;

    if (json_is_object(root)) {
        rc = s3_mark_string(pool, root, "bucket", &body->bucket);

        if (rc == NGX_OK) {
            rc = s3_mark_string(pool, root, "key", &body->key);
        }

        if (rc == NGX_OK && json_object_get(root, "upload_id")) {
            rc = s3_mark_string(pool, root, "upload_id", &body->upload_id);
        }

        if (rc == NGX_OK && json_object_get(root, "parts")) {
            rc = s3_mark_parts(pool, json_object_get(root, "parts"), body);
        }
    }

    json_decref(root);

    return rc;
}


static ngx_int_t
s3_mark_string(ngx_pool_t *pool, json_t *root, const char *name,
    ngx_str_t *value)
{
    json_t  *v;

    v = json_object_get(root, name);

    if (!json_is_string(v)) {
        return NGX_DECLINED;
    }

    value->len = json_string_length(v);
    value->data = ngx_pnalloc(pool, value->len + 1);

    if (value->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(value->data, json_string_value(v), value->len);

    return NGX_OK;
}


static ngx_int_t
s3_mark_parts(ngx_pool_t *pool, json_t *list, s3_mark_body_t *body)
{
    json_t          *item, *v;
    size_t           i, n;
    json_int_t       number, size;
    s3_list_part_t  *part;

    n = json_array_size(list);

    if (!json_is_array(list) || n > S3_PART_NUMBER_MAX) {
        return NGX_DECLINED;
    }

    part = ngx_pcalloc(pool, (n + 1) * sizeof(s3_list_part_t));
    if (part == NULL) {
        return NGX_ERROR;
    }

    body->parts = part;
    body->nparts = n;

    for (i = 0; i < n; i++, part++) {

        item = json_array_get(list, i);

        number = json_integer_value(json_array_get(item, 0));
        size = json_integer_value(json_array_get(item, 1));

        if (number < 1 || number > S3_PART_NUMBER_MAX || size < 0) {
            return NGX_DECLINED;
        }

        part->number = number;
        part->size = size;

        v = json_array_get(item, 2);

        if (json_is_string(v)) {
            part->checksum.text.len = json_string_length(v);
            part->checksum.text.data = ngx_pnalloc(pool,
                                                   json_string_length(v));
            if (part->checksum.text.data == NULL) {
                return NGX_ERROR;
            }

            ngx_memcpy(part->checksum.text.data, json_string_value(v),
                       part->checksum.text.len);
        }
    }

    return NGX_OK;
}
