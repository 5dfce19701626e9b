
#include <ngx_config.h>
#include <ngx_core.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include "s3_credentials.h"


struct s3_credentials_s {
    ngx_uint_t                 refs;
    ngx_uint_t                 n;
    ngx_uint_t                 max;
    s3_credential_t           *creds;

    s3_credential_t          **hash;      /* clients', by access key */
    s3_credential_t          **names;     /* upstreams', by name */
    ngx_uint_t                 mask;

    /*
     * All strings.  Text after JSON's unescaping is never longer than before,
     * so the file's size is enough.
     */
    u_char                    *arena;
    size_t                     size;
    size_t                     used;
};


static u_char *s3_credentials_read(const char *path,
    s3_credentials_stamp_t *stamp, size_t *size, char *err, char *warning);
static void s3_credentials_stamp(struct stat *st,
    s3_credentials_stamp_t *stamp);
static s3_credentials_t *s3_credentials_create(ngx_uint_t max, size_t size);
static ngx_int_t s3_credentials_line(s3_credentials_t *c, const char *path,
    ngx_uint_t line, u_char *data, size_t len, char *err);
static const char *s3_credentials_add(s3_credentials_t *c,
    s3_credential_t *new);
static const char *s3_credentials_named(s3_credentials_t *c,
    s3_credential_t *new);
static ngx_int_t s3_credentials_resolve(s3_credentials_t *c,
    const char *path, char *err);
static void s3_credentials_copy(s3_credentials_t *c, ngx_str_t *dst,
    ngx_str_t *src);
static void s3_credentials_error(char *err, const char *fmt, ...);


s3_credentials_t *
s3_credentials_load(const char *path, s3_credentials_stamp_t *stamp,
    char *err, char *warning)
{
    size_t             size;
    u_char            *data, *p, *last, *end;
    ngx_uint_t         lines, line;
    s3_credentials_t  *c;

    err[0] = '\0';
    warning[0] = '\0';

    data = s3_credentials_read(path, stamp, &size, err, warning);
    if (data == NULL) {
        return NULL;
    }

    last = data + size;

    /* lines that hold anything, so that blank ones cost no memory */

    for (p = data, lines = 0; p < last; p = end + 1) {
        end = ngx_strlchr(p, last, '\n');
        end = end ? end : last;

        lines += (end - p > 1);
    }

    c = NULL;

    if (lines > S3_CREDENTIALS_MAX) {
        s3_credentials_error(err, "%s: more than %d lines", path,
                             S3_CREDENTIALS_MAX);
        goto done;
    }

    c = s3_credentials_create(lines, size);
    if (c == NULL) {
        s3_credentials_error(err, "%s: out of memory", path);
        goto done;
    }

    for (p = data, line = 1; p < last; p = end + 1, line++) {
        end = ngx_strlchr(p, last, '\n');
        end = end ? end : last;

        if (s3_credentials_line(c, path, line, p, end - p, err) != NGX_OK) {
            s3_credentials_release(c);
            c = NULL;
            goto done;
        }
    }

    if (s3_credentials_resolve(c, path, err) != NGX_OK) {
        s3_credentials_release(c);
        c = NULL;
    }

done:

    OPENSSL_cleanse(data, size);
    free(data);

    return c;
}


static u_char *
s3_credentials_read(const char *path, s3_credentials_stamp_t *stamp,
    size_t *size, char *err, char *warning)
{
    int          fd;
    u_char      *data;
    size_t       len, max;
    ssize_t      n;
    struct stat  st;

    data = NULL;

    /* O_NONBLOCK: a FIFO must not stop a worker */

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NONBLOCK);
    if (fd == -1) {
        s3_credentials_error(err, "%s: %s", path, strerror(errno));
        return NULL;
    }

    if (fstat(fd, &st) == -1) {
        s3_credentials_error(err, "%s: %s", path, strerror(errno));
        goto failed;
    }

    if (!S_ISREG(st.st_mode)) {
        s3_credentials_error(err, "%s: not a regular file", path);
        goto failed;
    }

    if (st.st_size > S3_CREDENTIALS_FILE_MAX) {
        s3_credentials_error(err, "%s: larger than %d bytes", path,
                             S3_CREDENTIALS_FILE_MAX);
        goto failed;
    }

    if (st.st_mode & S_IROTH) {
        s3_credentials_error(warning, "%s: holds secrets and is readable for "
                             "everybody (mode %04o), chmod 600 it", path,
                             (unsigned) (st.st_mode & 07777));
    }

    if (stamp) {
        s3_credentials_stamp(&st, stamp);
    }

    /* a byte more than there should be: one that grows meanwhile shows */

    max = st.st_size + 1;

    data = malloc(max);
    if (data == NULL) {
        s3_credentials_error(err, "%s: out of memory", path);
        goto failed;
    }

    for (len = 0; len < max; len += n) {
        n = read(fd, data + len, max - len);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            s3_credentials_error(err, "%s: %s", path, strerror(errno));
            goto failed;
        }

        if (n == 0) {
            break;
        }
    }

    if (len != (size_t) st.st_size) {
        s3_credentials_error(err, "%s: changed while it was read", path);
        goto failed;
    }

    (void) close(fd);

    *size = len;

    return data;

failed:

    if (data) {
        OPENSSL_cleanse(data, st.st_size + 1);
        free(data);
    }

    (void) close(fd);

    return NULL;
}


static void
s3_credentials_stamp(struct stat *st, s3_credentials_stamp_t *stamp)
{
    ngx_memzero(stamp, sizeof(s3_credentials_stamp_t));

    stamp->dev = st->st_dev;
    stamp->ino = st->st_ino;
    stamp->size = st->st_size;
    stamp->mtime = st->st_mtim.tv_sec;
    stamp->mtime_nsec = st->st_mtim.tv_nsec;
    stamp->ctime = st->st_ctim.tv_sec;
    stamp->ctime_nsec = st->st_ctim.tv_nsec;
}


ngx_uint_t
s3_credentials_changed(const char *path, s3_credentials_stamp_t *stamp)
{
    struct stat             st;
    s3_credentials_stamp_t  now;

    if (stat(path, &st) == -1) {
        return 1;
    }

    s3_credentials_stamp(&st, &now);

    return now.dev != stamp->dev
           || now.ino != stamp->ino
           || now.size != stamp->size
           || now.mtime != stamp->mtime
           || now.mtime_nsec != stamp->mtime_nsec
           || now.ctime != stamp->ctime
           || now.ctime_nsec != stamp->ctime_nsec;
}


static s3_credentials_t *
s3_credentials_create(ngx_uint_t max, size_t size)
{
    ngx_uint_t         slots;
    s3_credentials_t  *c;

    for (slots = 16; slots < max * 2; slots *= 2) { /* void */ }

    c = calloc(1, sizeof(s3_credentials_t));
    if (c == NULL) {
        return NULL;
    }

    c->refs = 1;
    c->max = max;
    c->mask = slots - 1;
    c->size = size;

    /* calloc(0) may give NULL */

    c->creds = calloc(max + 1, sizeof(s3_credential_t));
    c->hash = calloc(slots, sizeof(s3_credential_t *));
    c->names = calloc(slots, sizeof(s3_credential_t *));
    c->arena = malloc(size + 1);

    if (c->creds == NULL || c->hash == NULL || c->names == NULL
        || c->arena == NULL)
    {
        s3_credentials_release(c);
        return NULL;
    }

    return c;
}


static ngx_int_t
s3_credentials_line(s3_credentials_t *c, const char *path, ngx_uint_t line,
    u_char *data, size_t len, char *err)
{
    size_t            i;
    json_t           *root, *v;
    ngx_str_t         type, *s;
    const char       *text;
    json_error_t      error;
    s3_credential_t   new;

    /* the first two are required */

    const struct {
        const char   *name;
        ngx_str_t    *value;
    } members[] = {
        { "access_key", &new.access_key },
        { "secret_key", &new.secret_key },
        { "created_at", &new.created_at },
        { "description", &new.description },
        { "type", &type },
        { "name", &new.name },
        { "upstream", &new.upstream }
    };

    for (i = 0; i < len; i++) {
        if (data[i] != ' ' && data[i] != '\t' && data[i] != '\r') {
            break;
        }
    }

    if (i == len) {
        return NGX_OK;
    }

    root = json_loadb((char *) data, len, JSON_REJECT_DUPLICATES, &error);

    if (root == NULL) {

        /*
         * jansson's text ends with "near '...'", which may be a piece of a
         * secret: only the reason's code and place are told.
         */

        switch (json_error_code(&error)) {
        case json_error_invalid_utf8:
            text = "invalid UTF-8";
            break;
        case json_error_premature_end_of_input:
            text = "the JSON object does not end on this line";
            break;
        case json_error_end_of_input_expected:
            text = "text after the JSON object";
            break;
        case json_error_duplicate_key:
            text = "a member is named twice";
            break;
        case json_error_out_of_memory:
            text = "out of memory";
            break;
        default:
            text = "not a JSON object";
            break;
        }

        s3_credentials_error(err, "%s:%lu: %s (column %d)", path,
                             (unsigned long) line, text, error.column);
        return NGX_ERROR;
    }

    text = NULL;

    ngx_memzero(&new, sizeof(s3_credential_t));
    new.enabled = 1;

    if (!json_is_object(root)) {
        text = "not a JSON object";
        goto done;
    }

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        v = json_object_get(root, members[i].name);
        s = members[i].value;

        s->data = (u_char *) json_string_value(v);
        s->len = json_string_length(v);

        if (v == NULL && i >= 2) {
            continue;
        }

        if (s->data == NULL) {
            s3_credentials_error(err, v ? "%s:%lu: \"%s\" is not a string"
                                        : "%s:%lu: \"%s\" is missing",
                                 path, (unsigned long) line,
                                 members[i].name);
            json_decref(root);
            return NGX_ERROR;
        }
    }

    v = json_object_get(root, "enabled");

    if (v) {
        if (!json_is_boolean(v)) {
            text = "\"enabled\" is neither true nor false";
            goto done;
        }

        new.enabled = json_is_true(v);
    }

    if (type.len == sizeof("upstream") - 1
        && ngx_memcmp(type.data, "upstream", type.len) == 0)
    {
        new.is_upstream = 1;

    } else {
        if (type.data
            && (type.len != sizeof("client") - 1
                || ngx_memcmp(type.data, "client", type.len) != 0))
        {
            text = "\"type\" is neither \"client\" nor \"upstream\"";
            goto done;
        }

        /* somebody's note */

        ngx_str_null(&new.name);
    }

    text = s3_credentials_add(c, &new);

done:

    OPENSSL_cleanse(new.secret_key.data, new.secret_key.len);

    json_decref(root);

    if (text) {
        s3_credentials_error(err, "%s:%lu: %s", path, (unsigned long) line,
                             text);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NULL, or what is wrong with it.  The set gets copies of all strings. */

static const char *
s3_credentials_add(s3_credentials_t *c, s3_credential_t *new)
{
    size_t            i;
    u_char            ch;
    const char       *text;
    ngx_uint_t        h;
    s3_credential_t  *cr, **hash;

    if (new->access_key.len == 0 || new->access_key.len > S3_ACCESS_KEY_MAX) {
        return "\"access_key\" must have 1 to 128 characters";
    }

    for (i = 0; i < new->access_key.len; i++) {
        ch = new->access_key.data[i];

        /* would not be found again in an Authorization header */

        if (ch <= 0x20 || ch >= 0x7f || ch == ',' || ch == '=') {
            return "\"access_key\" must be printable ASCII without space, "
                   "comma and equals sign";
        }
    }

    if (new->secret_key.len == 0 || new->secret_key.len > S3_SECRET_KEY_MAX) {
        return "\"secret_key\" must have 1 to 128 bytes";
    }

    text = s3_credentials_named(c, new);
    if (text) {
        return text;
    }

    if (c->n == c->max
        || c->size - c->used < new->access_key.len + new->secret_key.len
                               + new->created_at.len + new->description.len
                               + new->name.len + new->upstream.len)
    {
        return "out of memory";
    }

    cr = &c->creds[c->n++];
    *cr = *new;

    s3_credentials_copy(c, &cr->access_key, &new->access_key);
    s3_credentials_copy(c, &cr->secret_key, &new->secret_key);
    s3_credentials_copy(c, &cr->created_at, &new->created_at);
    s3_credentials_copy(c, &cr->description, &new->description);
    s3_credentials_copy(c, &cr->name, &new->name);
    s3_credentials_copy(c, &cr->upstream, &new->upstream);

    if (cr->is_upstream) {
        hash = c->names;
        h = ngx_hash_key(cr->name.data, cr->name.len) & c->mask;

    } else {
        hash = c->hash;
        h = ngx_hash_key(cr->access_key.data, cr->access_key.len) & c->mask;
    }

    cr->next = hash[h];
    hash[h] = cr;

    return NULL;
}


/* An access key may be a client's and, besides, upstreams'. */

static const char *
s3_credentials_named(s3_credentials_t *c, s3_credential_t *new)
{
    size_t      i;
    ngx_str_t  *name;

    if (!new->is_upstream) {

        if (s3_credentials_find(c, &new->access_key)) {
            return "\"access_key\" was used before in this file";
        }

        if (new->upstream.data == NULL) {
            return NULL;
        }
    }

    name = new->is_upstream ? &new->name : &new->upstream;

    for (i = 0; i < name->len; i++) {
        if (name->data[i] <= 0x20 || name->data[i] >= 0x7f) {
            break;
        }
    }

    if (i == 0 || i > S3_UPSTREAM_NAME_MAX || i != name->len) {
        return new->is_upstream
               ? "\"name\" of an upstream's must have 1 to 64 printable "
                 "characters without space"
               : "\"upstream\" must be the \"name\" of an upstream's, or "
                 "\"" S3_UPSTREAM_SELF "\"";
    }

    if (!new->is_upstream) {
        return NULL;
    }

    if (name->len == sizeof(S3_UPSTREAM_SELF) - 1
        && ngx_memcmp(name->data, S3_UPSTREAM_SELF, name->len) == 0)
    {
        return "\"" S3_UPSTREAM_SELF "\" is no name of an upstream's: it "
               "means a client's own pair";
    }

    if (s3_credentials_upstream(c, name)) {
        return "\"name\" was used before in this file";
    }

    return NULL;
}


/* An upstream may stand below the client that it signs for. */

static ngx_int_t
s3_credentials_resolve(s3_credentials_t *c, const char *path, char *err)
{
    ngx_uint_t        i;
    s3_credential_t  *cr;

    for (i = 0; i < c->n; i++) {
        cr = &c->creds[i];

        if (cr->upstream.len == 0
            || (cr->upstream.len == sizeof(S3_UPSTREAM_SELF) - 1
                && ngx_memcmp(cr->upstream.data, S3_UPSTREAM_SELF,
                              cr->upstream.len)
                   == 0)
            || s3_credentials_upstream(c, &cr->upstream))
        {
            continue;
        }

        s3_credentials_error(err, "%s: no line of type \"upstream\" has the "
                             "name \"%.*s\", which signs for the key "
                             "\"%.*s\"", path, (int) cr->upstream.len,
                             cr->upstream.data, (int) cr->access_key.len,
                             cr->access_key.data);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
s3_credentials_copy(s3_credentials_t *c, ngx_str_t *dst, ngx_str_t *src)
{
    dst->data = c->arena + c->used;
    dst->len = src->len;

    if (src->len) {
        ngx_memcpy(dst->data, src->data, src->len);
        c->used += src->len;
    }
}


s3_credentials_t *
s3_credentials_pair(ngx_str_t *access_key, ngx_str_t *secret_key,
    ngx_str_t *upstream_name)
{
    s3_credential_t    new;
    s3_credentials_t  *c;

    ngx_memzero(&new, sizeof(s3_credential_t));

    new.access_key = *access_key;
    new.secret_key = *secret_key;
    new.enabled = 1;

    if (upstream_name) {
        new.is_upstream = 1;
        new.name = *upstream_name;
    }

    c = s3_credentials_create(1, new.access_key.len + new.secret_key.len
                                 + new.name.len);

    if (c && s3_credentials_add(c, &new)) {
        s3_credentials_release(c);
        return NULL;
    }

    return c;
}


s3_credentials_t *
s3_credentials_ref(s3_credentials_t *c)
{
    if (c) {
        c->refs++;
    }

    return c;
}


void
s3_credentials_release(s3_credentials_t *c)
{
    if (c == NULL || --c->refs) {
        return;
    }

    if (c->arena) {
        OPENSSL_cleanse(c->arena, c->size);
    }

    /* signing keys */

    if (c->creds) {
        OPENSSL_cleanse(c->creds, (c->max + 1) * sizeof(s3_credential_t));
    }

    free(c->arena);
    free(c->creds);
    free(c->hash);
    free(c->names);
    free(c);
}


s3_credential_t *
s3_credentials_find(s3_credentials_t *c, ngx_str_t *access_key)
{
    ngx_uint_t        h;
    s3_credential_t  *cr;

    if (c == NULL) {
        return NULL;
    }

    h = ngx_hash_key(access_key->data, access_key->len) & c->mask;

    for (cr = c->hash[h]; cr; cr = cr->next) {
        if (cr->access_key.len == access_key->len
            && ngx_memcmp(cr->access_key.data, access_key->data,
                          access_key->len)
               == 0)
        {
            return cr;
        }
    }

    return NULL;
}


s3_credential_t *
s3_credentials_upstream(s3_credentials_t *c, ngx_str_t *name)
{
    ngx_uint_t        h;
    s3_credential_t  *cr;

    if (c == NULL) {
        return NULL;
    }

    h = ngx_hash_key(name->data, name->len) & c->mask;

    for (cr = c->names[h]; cr; cr = cr->next) {
        if (cr->name.len == name->len
            && ngx_memcmp(cr->name.data, name->data, name->len) == 0)
        {
            return cr;
        }
    }

    return NULL;
}


ngx_uint_t
s3_credentials_count(s3_credentials_t *c)
{
    return c ? c->n : 0;
}


static void
s3_credentials_error(char *err, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    (void) vsnprintf(err, S3_CREDENTIALS_TEXT, fmt, args);
    va_end(args);
}
