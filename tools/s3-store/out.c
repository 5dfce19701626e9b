/*
 * What people and programs get to see.  Text goes through st_escape(): names
 * are anybody's, and a terminal obeys what it is sent.
 */


#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


#define ST_BAR             30          /* characters */
#define ST_BAR_EVERY       100         /* ms */


static void st_bar_clear(void);
static size_t st_utf8(const uint8_t *p, size_t len);
static void st_wrote(int failed);


int  st_json;
int  st_output;

static struct {
    const char  *what;
    uint64_t     total;
    uint64_t     next;                 /* ms */
    int          shown;
} st_bar;


void
st_error(const char *fmt, ...)
{
    va_list  args;

    st_bar_clear();
    fputs("s3-store: ", stderr);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fputc('\n', stderr);
}


void
st_no_memory(void)
{
    st_error("out of memory");
    exit(ST_FAILED);
}


void
st_print(const char *fmt, ...)
{
    int      rc;
    va_list  args;

    st_bar_clear();

    va_start(args, fmt);
    rc = vprintf(fmt, args);
    va_end(args);

    st_wrote(rc < 0 || putchar('\n') == EOF);
}


static void
st_wrote(int failed)
{
    if (failed && st_output == 0) {
        st_output = errno ? errno : EIO;
    }
}


/* RFC 3629, section 4: bytes of the character at p, 0: none */

static size_t
st_utf8(const uint8_t *p, size_t len)
{
    size_t   n, i;
    uint8_t  first, last;

    first = 0x80;
    last = 0xbf;

    if (p[0] < 0x80) {
        return 1;

    } else if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;

    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        first = p[0] == 0xe0 ? 0xa0 : first;
        last = p[0] == 0xed ? 0x9f : last;

    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        first = p[0] == 0xf0 ? 0x90 : first;
        last = p[0] == 0xf4 ? 0x8f : last;

    } else {
        return 0;
    }

    if (n > len || p[1] < first || p[1] > last) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}


/*
 * Not only bytes below 32: U+0080 to U+009F are control characters as well
 * (C2 80 to C2 9F), and U+2028, U+202A to U+202E, U+2066 to U+2069 turn lines
 * around (E2 80 A8 to E2 80 AE, E2 81 A6 to E2 81 A9).
 */

char *
st_escape(const void *data, size_t len)
{
    char           *text, *d;
    size_t          i, n;
    const uint8_t  *p;

    p = data;

    text = malloc(len * 4 + 1);
    if (text == NULL) {
        st_no_memory();
    }

    d = text;

    while (len) {
        n = st_utf8(p, len);

        if (n == 1 && *p == '\\') {
            *d++ = '\\';
            *d++ = '\\';
            p++;
            len--;
            continue;
        }

        if (n == 0 || (n == 1 && (*p < 0x20 || *p == 0x7f))
            || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)
            || (n == 3 && p[0] == 0xe2
                && ((p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae)
                    || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9))))
        {
            n = n ? n : 1;

            for (i = 0; i < n; i++) {
                d += sprintf(d, "\\x%02x", p[i]);
            }

        } else {
            memcpy(d, p, n);
            d += n;
        }

        p += n;
        len -= n;
    }

    *d = '\0';

    return text;
}


void
st_hex(const void *data, size_t len, char *text)
{
    size_t          i;
    const uint8_t  *p;

    p = data;
    text[0] = '\0';

    for (i = 0; i < len; i++) {
        (void) sprintf(text + 2 * i, "%02x", p[i]);
    }
}


void
st_json_set(json_t *object, const char *name, json_t *value)
{
    /* a value that is no UTF-8 is NULL, too: those go to st_json_bytes() */

    if (value == NULL || json_object_set_new(object, name, value) != 0) {
        st_no_memory();
    }
}


void
st_json_bytes(json_t *object, const char *name, const void *p, size_t len)
{
    char    *hex, hex_name[320];
    size_t   n, i;

    for (i = 0; i < len; i += n) {
        n = st_utf8((const uint8_t *) p + i, len - i);
        if (n == 0) {
            break;
        }
    }

    if (i == len) {
        st_json_set(object, name, json_stringn(len ? p : "", len));
        return;
    }

    hex = malloc(2 * len + 1);
    if (hex == NULL) {
        st_no_memory();
    }

    st_hex(p, len, hex);
    (void) snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
    st_json_set(object, hex_name, json_string(hex));
    free(hex);
}


void
st_json_line(json_t *json)
{
    char  *text;

    text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        st_no_memory();
    }

    st_bar_clear();
    st_wrote(puts(text) == EOF);

    free(text);
    json_decref(json);
}


/* ---- progress */


void
st_progress_start(const char *what, uint64_t total)
{
    st_bar.what = what;
    st_bar.total = isatty(STDERR_FILENO) ? total : 0;
    st_bar.next = 0;
}


void
st_progress(uint64_t done)
{
    int       n, percent;
    char      bar[ST_BAR + 1];
    uint64_t  now;

    if (st_bar.total == 0) {
        return;
    }

    now = st_now();

    if (now < st_bar.next) {
        return;
    }

    st_bar.next = now + ST_BAR_EVERY;

    /* what is in the index is not to be believed: more may come */

    if (done > st_bar.total) {
        done = st_bar.total;
    }

    n = (int) ((double) done / (double) st_bar.total * ST_BAR);
    percent = (int) ((double) done / (double) st_bar.total * 100);

    memset(bar, '#', (size_t) n);
    memset(bar + n, '.', (size_t) (ST_BAR - n));
    bar[ST_BAR] = '\0';

    fprintf(stderr, "\r%s [%s] %3d %%, %.1f of %.1f MiB", st_bar.what, bar,
            percent, (double) done / 1048576,
            (double) st_bar.total / 1048576);
    fflush(stderr);

    st_bar.shown = 1;
}


void
st_progress_end(void)
{
    st_bar_clear();
    st_bar.total = 0;
}


static void
st_bar_clear(void)
{
    if (st_bar.shown) {
        st_bar.shown = 0;
        st_bar.next = 0;
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}


uint64_t
st_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}
