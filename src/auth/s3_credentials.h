
/*
 * Access keys and their secrets, from a file of JSON lines:
 *
 *     {"access_key": "AK...", "secret_key": "...", "enabled": true,
 *      "created_at": "2026-01-31T23:59:59Z", "description": "backup",
 *      "upstream": "rgw"}
 *     {"type": "upstream", "name": "rgw", "access_key": "...",
 *      "secret_key": "..."}
 *
 * one object a line, blank lines allowed; access_key and secret_key are
 * required, enabled defaults to true, other members are ignored.
 *
 * type is "client" where it is not given: somebody who may sign requests to
 * us.  "upstream" is a pair that a gateway signs its own requests with, found
 * by its name; it opens nothing here.  A client's member "upstream" names the
 * one that signs for it, where that is not the location's own.
 *
 * Event-loop side: a set is loaded, used and released by one thread.
 */


#ifndef _S3_CREDENTIALS_H_INCLUDED_
#define _S3_CREDENTIALS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define S3_CREDENTIALS_FILE_MAX  (16 * 1024 * 1024)
#define S3_CREDENTIALS_MAX       100000
#define S3_ACCESS_KEY_MAX        128     /* bytes; IAM's own bound */
#define S3_SECRET_KEY_MAX        128
#define S3_UPSTREAM_NAME_MAX     64

/* as a client's "upstream": its own pair signs upstream, too */
#define S3_UPSTREAM_SELF         "self"


typedef struct s3_credential_s   s3_credential_t;
typedef struct s3_credentials_s  s3_credentials_t;


struct s3_credential_s {
    ngx_str_t                  access_key;
    ngx_str_t                  secret_key;
    ngx_str_t                  created_at;   /* as in the file */
    ngx_str_t                  description;
    ngx_str_t                  name;         /* of one of type upstream */
    ngx_str_t                  upstream;     /* of a client's; or empty */
    unsigned                   enabled:1;
    unsigned                   is_upstream:1;

    s3_credential_t           *next;         /* in its hash */

    /*
     * SigV4's signing key is the same for a day: the last one is kept
     * (s3_sigv4_key() fills it; not part of what was loaded).
     */
    u_char                     key_date[8];
    u_char                     key_region[32];
    size_t                     key_region_len;
    u_char                     key[32];
};


/* What a file looked like when it was read; zeroed: never read. */
typedef struct {
    dev_t                      dev;
    ino_t                      ino;
    off_t                      size;
    time_t                     mtime;
    long                       mtime_nsec;
    time_t                     ctime;
    long                       ctime_nsec;
} s3_credentials_stamp_t;


/*
 * Load a file.  The set with one reference, or NULL and a text "file:line:
 * what is wrong" in err.  A key named twice is an error.  warning receives a
 * text or an empty string: the file is readable for everybody.  Both buffers
 * have S3_CREDENTIALS_TEXT bytes and are NUL-terminated.  stamp (may be NULL)
 * is that of the bytes that were read.  No secret is ever in a text.
 */
#define S3_CREDENTIALS_TEXT    1024

s3_credentials_t *s3_credentials_load(const char *path,
    s3_credentials_stamp_t *stamp, char *err, char *warning);

/*
 * A set of one, for configuration by environment: a client's, or with a name
 * an upstream's.  NULL without memory or when something is not what a file
 * could hold.
 */
s3_credentials_t *s3_credentials_pair(ngx_str_t *access_key,
    ngx_str_t *secret_key, ngx_str_t *upstream_name);

/* NULL-safe.  The last release wipes the secrets. */
s3_credentials_t *s3_credentials_ref(s3_credentials_t *c);
void s3_credentials_release(s3_credentials_t *c);

/*
 * A client's, by its access key; one of type upstream, by its name.  NULL
 * when there is none; a disabled one is found, look at "enabled".
 */
s3_credential_t *s3_credentials_find(s3_credentials_t *c,
    ngx_str_t *access_key);
s3_credential_t *s3_credentials_upstream(s3_credentials_t *c,
    ngx_str_t *name);

ngx_uint_t s3_credentials_count(s3_credentials_t *c);

/*
 * 1 when the file at path differs from stamp (or cannot be looked at: loading
 * it will say why), 0 when it is the same.  One stat().
 */
ngx_uint_t s3_credentials_changed(const char *path,
    s3_credentials_stamp_t *stamp);


#endif /* _S3_CREDENTIALS_H_INCLUDED_ */
