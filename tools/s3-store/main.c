/*
 * s3-store: status, verification, healing and salvage of a store's disks.
 * docs/s3-store.md is the manual.
 */


#include "store.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


enum {
    ST_RATE = 1,
    ST_SLOT = 2,
    ST_NO_WAIT = 4
};


static int st_options(unsigned known, int *argc, char **argv);
static int st_size(const char *text, uint64_t *size);
static void st_usage(FILE *out);


static const struct {
    const char  *name;
    int        (*handler)(st_set_t *set, char **args);
    int          nargs;                /* before the disks */
    st_how_e     how;
    unsigned     options;
    const char  *help;
} st_commands[] = {
    { "status", st_status, 0, ST_IN_PLACE, 0, "DISK..." },
    { "verify", st_verify, 0, ST_COPIED, ST_RATE, "[--rate SIZE] DISK..." },
    { "list-damaged", st_list_damaged, 0, ST_COPIED, ST_RATE,
      "[--rate SIZE] DISK..." },
    { "heal", st_heal, 0, ST_COPIED, ST_RATE, "[--rate SIZE] DISK..." },
    { "replace", st_replace, 1, ST_ASKED, ST_SLOT|ST_NO_WAIT,
      "[--slot N] [--no-wait] DISK DISK..." },
    { "salvage", st_salvage, 1, ST_ALONE, 0, "DIR DISK..." },
    { NULL, NULL, 0, ST_ALONE, 0, NULL }
};


int
main(int argc, char **argv)
{
    int              c, i, rc;
    static st_set_t  set;

    static const struct option  options[] = {
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };

    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            st_json = 1;
            break;
        case 'h':
            st_usage(stdout);
            return ST_OK;
        default:
            st_usage(stderr);
            return ST_FAILED;
        }
    }

    argc -= optind;
    argv += optind;

    for (i = 0; st_commands[i].name; i++) {
        if (argc > 0 && strcmp(argv[0], st_commands[i].name) == 0) {
            break;
        }
    }

    /* nginx alone makes what is on a disk */

    if (argc > 0 && strcmp(argv[0], "format") == 0) {
        st_error("a set is formed by nginx, when it is started with all its "
                 "disks empty: nothing is to be done before.  An empty disk "
                 "of a set that was formed is taken with \"replace\"");
        return ST_FAILED;
    }

    if (st_commands[i].name == NULL
        || st_options(st_commands[i].options, &argc, argv) != 0
        || argc < 2 + st_commands[i].nargs)
    {
        st_usage(stderr);
        return ST_FAILED;
    }

    if (st_index_init() != 0) {
        st_error("SQLite cannot be set up");
        return ST_FAILED;
    }

    argv++;
    argc -= 1 + st_commands[i].nargs;

    rc = ST_FAILED;

    if (st_set_open(&set, argv + st_commands[i].nargs, (unsigned) argc,
                    st_commands[i].how)
        == 0)
    {
        rc = st_commands[i].handler(&set, argv);
    }

    st_progress_end();
    st_set_close(&set);
    st_ask_close(set.ask);

    if (fflush(stdout) != 0 && st_output == 0) {
        st_output = errno;
    }

    if (st_output) {
        st_error("standard output: %s", strerror(st_output));
        return ST_FAILED;
    }

    return rc;
}


/* behind the command's name, and gone from there; -1: there is no such one */

static int
st_options(unsigned known, int *argc, char **argv)
{
    int   i;
    char *end;
    long  n;

    for (i = 1; i < *argc && strncmp(argv[i], "--", 2) == 0; i++) {

        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }

        if ((known & ST_NO_WAIT) && strcmp(argv[i], "--no-wait") == 0) {
            st_no_wait = 1;

        } else if ((known & ST_RATE) && strcmp(argv[i], "--rate") == 0
                   && i + 1 < *argc)
        {
            if (st_size(argv[++i], &st_rate) != 0) {
                return -1;
            }

        } else if ((known & ST_SLOT) && strcmp(argv[i], "--slot") == 0
                   && i + 1 < *argc)
        {

            n = strtol(argv[++i], &end, 10);

            if (end == argv[i] || *end || n < 0 || n >= ST_DISKS_MAX) {
                return -1;
            }

            st_slot = (int) n;

        } else {
            return -1;
        }
    }

    memmove(argv + 1, argv + i, (size_t) (*argc - i) * sizeof(char *));
    *argc -= i - 1;

    return 0;
}


/* bytes; k, m and g as nginx has them.  -1: it is none, or 0 */

static int
st_size(const char *text, uint64_t *size)
{
    int                  shift;
    char                *end;
    unsigned long long   n;

    errno = 0;
    n = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;

    if (n == 0 || errno || n > (1ULL << 40)) {
        return -1;
    }

    shift = *end == 'k' || *end == 'K' ? 10
            : *end == 'm' || *end == 'M' ? 20
            : *end == 'g' || *end == 'G' ? 30 : 0;

    if (end[shift != 0] || n > (1ULL << 50) >> shift) {
        return -1;
    }

    *size = n << shift;

    return 0;
}


static void
st_usage(FILE *out)
{
    int  i;

    fprintf(out, "usage:\n");

    for (i = 0; st_commands[i].name; i++) {
        fprintf(out, "  s3-store [--json] %-12s %s\n",
                st_commands[i].name, st_commands[i].help);
    }
}
