
/*
 * Access keys and their secrets, from a file of JSON lines:
 *
 *     {"access_key": "AK...", "secret_key": "...", "enabled": true,
 *      "created_at": "2026-01-31T23:59:59Z", "description": "backup"}
 *
 * one object a line, blank lines allowed; access_key and secret_key are
 * required, enabled defaults to true, other members are ignored.
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


typedef struct s3_credential_s   s3_credential_t;
typedef struct s3_credentials_s  s3_credentials_t;


struct s3_credential_s {
    ngx_str_t                  access_key;
    ngx_str_t                  secret_key;
    ngx_str_t                  created_at;   /* as in the file */
    ngx_str_t                  description;
    unsigned                   enabled:1;

    s3_credential_t           *next;         /* in the hash */

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
 * A set of one, for configuration by environment.  NULL without memory or
 * when one of the two is not what a file could hold.
 */
s3_credentials_t *s3_credentials_pair(ngx_str_t *access_key,
    ngx_str_t *secret_key);

/* NULL-safe.  The last release wipes the secrets. */
s3_credentials_t *s3_credentials_ref(s3_credentials_t *c);
void s3_credentials_release(s3_credentials_t *c);

/* NULL when there is none; a disabled one is found, look at "enabled". */
s3_credential_t *s3_credentials_find(s3_credentials_t *c,
    ngx_str_t *access_key);

ngx_uint_t s3_credentials_count(s3_credentials_t *c);

/*
 * 1 when the file at path differs from stamp (or cannot be looked at: loading
 * it will say why), 0 when it is the same.  One stat().
 */
ngx_uint_t s3_credentials_changed(const char *path,
    s3_credentials_stamp_t *stamp);


#endif /* _S3_CREDENTIALS_H_INCLUDED_ */
