
/* Credentials: the file of JSON lines, its errors, and the set it becomes. */

#include "s3_test.h"
#include "s3_credentials.h"

#include <sys/stat.h>


typedef struct {
    char                      *dir;
    char                       path[512];
    char                       err[S3_CREDENTIALS_TEXT];
    char                       warning[S3_CREDENTIALS_TEXT];
    s3_credentials_stamp_t     stamp;
} test_t;


static void
test_write(test_t *t, const char *text, size_t len)
{
    FILE  *f;

    f = fopen(t->path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(t->path, 0600), 0);
}


static s3_credentials_t *
test_load(test_t *t, const char *text)
{
    test_write(t, text, strlen(text));

    return s3_credentials_load(t->path, &t->stamp, t->err, t->warning);
}


static void
test_init(test_t *t)
{
    (void) s3_test_log();

    t->dir = s3_test_dir();
    snprintf(t->path, sizeof(t->path), "%s/s3.jsonl", t->dir);
}


static void
test_load_file(void **state)
{
    test_t             t;
    ngx_str_t          key;
    s3_credential_t   *cr;
    s3_credentials_t  *c;

    test_init(&t);

    c = test_load(&t,
        "{\"access_key\": \"A1\", \"secret_key\": \"one\", \"enabled\": true,"
        " \"created_at\": \"2026-01-31T23:59:59Z\","
        " \"description\": \"b\\u00fccher\", \"other\": {\"x\": [1]}}\n"
        "\n  \t\r\n"
        "{\"access_key\":\"A2\",\"secret_key\":\"tw\\\"o\",\"enabled\":false}"
        "\r\n"
        "{\"secret_key\":\"three\",\"access_key\":\"a/3+\"}");

    assert_non_null(c);
    assert_string_equal(t.err, "");
    assert_string_equal(t.warning, "");
    assert_int_equal(s3_credentials_count(c), 3);

    key = s3_test_str("A1");
    cr = s3_credentials_find(c, &key);
    assert_non_null(cr);
    assert_str(cr->secret_key, "one");
    assert_str(cr->created_at, "2026-01-31T23:59:59Z");
    assert_str(cr->description, "b\303\274cher");
    assert_true(cr->enabled);

    key = s3_test_str("A2");
    cr = s3_credentials_find(c, &key);
    assert_non_null(cr);
    assert_str(cr->secret_key, "tw\"o");
    assert_false(cr->enabled);

    key = s3_test_str("a/3+");
    assert_non_null(s3_credentials_find(c, &key));

    key = s3_test_str("A");
    assert_null(s3_credentials_find(c, &key));
    key = s3_test_str("");
    assert_null(s3_credentials_find(c, &key));
    assert_null(s3_credentials_find(NULL, &key));

    /* a second owner keeps it */
    assert_ptr_equal(s3_credentials_ref(c), c);
    s3_credentials_release(c);
    assert_int_equal(s3_credentials_count(c), 3);
    s3_credentials_release(c);
    s3_credentials_release(NULL);

    /* nothing in it */
    c = test_load(&t, "");
    assert_non_null(c);
    assert_int_equal(s3_credentials_count(c), 0);
    assert_null(s3_credentials_find(c, &key));
    s3_credentials_release(c);

    s3_test_dir_free(t.dir);
}


static void
test_bad_lines(void **state)
{
    test_t       t;
    size_t       i;
    char         expect[1024];

    static struct {
        const char  *text;
        const char  *error;         /* after the path */
    } cases[] = {
        { "x", ":1: not a JSON object (column 1)" },
        { "\n\n[1]", ":3: not a JSON object" },
        { "{\"access_key\":\"a\",\"secret_key\":\"s3cret\"",
          ":1: the JSON object does not end on this line (column 39)" },
        { "{\"access_key\":\"a\",\"secret_key\":\"s\"} x",
          ":1: text after the JSON object (column 37)" },
        { "{\"access_key\":\"a\"}", ":1: \"secret_key\" is missing" },
        { "{\"secret_key\":\"a\"}", ":1: \"access_key\" is missing" },
        { "{\"access_key\":1,\"secret_key\":\"s\"}",
          ":1: \"access_key\" is not a string" },
        { "{\"access_key\":\"a\",\"secret_key\":null}",
          ":1: \"secret_key\" is not a string" },
        { "{\"access_key\":\"a\",\"secret_key\":\"s\",\"description\":1}",
          ":1: \"description\" is not a string" },
        { "{\"access_key\":\"a\",\"secret_key\":\"s\",\"enabled\":\"no\"}",
          ":1: \"enabled\" is neither true nor false" },
        { "{\"access_key\":\"\",\"secret_key\":\"s\"}",
          ":1: \"access_key\" must have 1 to 128 characters" },
        { "{\"access_key\":\"a b\",\"secret_key\":\"s\"}",
          ":1: \"access_key\" must be printable ASCII without space, comma "
          "and equals sign" },
        { "{\"access_key\":\"a,b\",\"secret_key\":\"s\"}",
          ":1: \"access_key\" must be printable ASCII without space, comma "
          "and equals sign" },
        { "{\"access_key\":\"a\",\"secret_key\":\"\"}",
          ":1: \"secret_key\" must have 1 to 128 bytes" },
        { "{\"access_key\":\"a\",\"secret_key\":\"s\"}\n"
          "{\"access_key\":\"b\",\"secret_key\":\"s\"}\n"
          "{\"access_key\":\"a\",\"secret_key\":\"t\"}",
          ":3: \"access_key\" was used before in this file" },
    };

    test_init(&t);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_null(test_load(&t, cases[i].text));
        snprintf(expect, sizeof(expect), "%s%s", t.path, cases[i].error);
        assert_string_equal(t.err, expect);
        assert_null(strstr(t.err, "s3cret"));
    }

    assert_null(test_load(&t, "{\"access_key\":\"a\",\"access_key\":\"b\","
                              "\"secret_key\":\"s\"}"));
    assert_non_null(strstr(t.err, ":1: a member is named twice"));

    /* NUL and bytes that are not UTF-8 */
    test_write(&t, "{\"access_key\":\"a\",\"secret_key\":\"s\377\"}", 36);
    assert_null(s3_credentials_load(t.path, NULL, t.err, t.warning));
    assert_non_null(strstr(t.err, ":1: invalid UTF-8"));

    test_write(&t, "{\"access_key\":\"a\0b\",\"secret_key\":\"s\"}", 37);
    assert_null(s3_credentials_load(t.path, NULL, t.err, t.warning));

    assert_null(test_load(&t, "{\"access_key\":\"a\\u0000\","
                              "\"secret_key\":\"s\"}"));

    s3_test_dir_free(t.dir);
}


static void
test_bad_files(void **state)
{
    test_t             t;
    s3_credentials_t  *c;

    test_init(&t);

    assert_null(s3_credentials_load(t.path, NULL, t.err, t.warning));
    assert_non_null(strstr(t.err, "No such file"));

    assert_null(s3_credentials_load(t.dir, NULL, t.err, t.warning));
    assert_non_null(strstr(t.err, "not a regular file"));

    assert_int_equal(mkfifo(t.path, 0600), 0);
    assert_null(s3_credentials_load(t.path, NULL, t.err, t.warning));
    assert_non_null(strstr(t.err, "not a regular file"));
    assert_int_equal(unlink(t.path), 0);

    test_write(&t, "", 0);
    assert_int_equal(truncate(t.path, S3_CREDENTIALS_FILE_MAX + 1), 0);
    assert_null(s3_credentials_load(t.path, NULL, t.err, t.warning));
    assert_non_null(strstr(t.err, "larger than 16777216 bytes"));

    test_write(&t, "{\"access_key\":\"a\",\"secret_key\":\"s\"}", 35);
    assert_int_equal(chmod(t.path, 0644), 0);
    c = s3_credentials_load(t.path, NULL, t.err, t.warning);
    assert_non_null(c);
    assert_non_null(strstr(t.warning, "readable for everybody (mode 0644)"));
    s3_credentials_release(c);

    s3_test_dir_free(t.dir);
}


static void
test_changed(void **state)
{
    test_t             t;
    char               other[600];
    s3_credentials_t  *c;

    test_init(&t);

    c = test_load(&t, "{\"access_key\":\"a\",\"secret_key\":\"s\"}");
    assert_non_null(c);
    assert_false(s3_credentials_changed(t.path, &t.stamp));

    /* replaced by one of the same size and time */

    snprintf(other, sizeof(other), "%s.new", t.path);
    assert_int_equal(rename(t.path, other), 0);
    assert_true(s3_credentials_changed(t.path, &t.stamp));
    test_write(&t, "{\"access_key\":\"b\",\"secret_key\":\"s\"}", 35);
    assert_true(s3_credentials_changed(t.path, &t.stamp));

    s3_credentials_release(c);
    s3_test_dir_free(t.dir);
}


static void
test_many(void **state)
{
    char              *text, *p;
    test_t             t;
    ngx_str_t          key;
    ngx_uint_t         i;
    s3_credentials_t  *c;

    test_init(&t);

    text = malloc((S3_CREDENTIALS_MAX + 1) * 64);
    assert_non_null(text);

    for (i = 0, p = text; i < S3_CREDENTIALS_MAX; i++) {
        p += sprintf(p, "{\"access_key\":\"AK%lu\",\"secret_key\":\"s%lu\"}\n",
                     (unsigned long) i, (unsigned long) i);
    }

    c = test_load(&t, text);
    assert_non_null(c);
    assert_int_equal(s3_credentials_count(c), S3_CREDENTIALS_MAX);

    key = s3_test_str("AK99999");
    assert_str(s3_credentials_find(c, &key)->secret_key, "s99999");
    s3_credentials_release(c);

    sprintf(p, "{\"access_key\":\"one\",\"secret_key\":\"more\"}\n");
    assert_null(test_load(&t, text));
    assert_non_null(strstr(t.err, "more than 100000 lines"));

    free(text);
    s3_test_dir_free(t.dir);
}


static void
test_pair(void **state)
{
    ngx_str_t          key, secret, none = ngx_null_string;
    s3_credential_t   *cr;
    s3_credentials_t  *c;

    key = s3_test_str("minioadmin");
    secret = s3_test_str("minio secret");

    c = s3_credentials_pair(&key, &secret, NULL);
    assert_non_null(c);
    assert_int_equal(s3_credentials_count(c), 1);

    cr = s3_credentials_find(c, &key);
    assert_non_null(cr);
    assert_str(cr->secret_key, "minio secret");
    assert_true(cr->enabled);
    s3_credentials_release(c);

    assert_null(s3_credentials_pair(&none, &secret, NULL));
    assert_null(s3_credentials_pair(&key, &none, NULL));
}


/* pairs that a gateway signs with, and clients that name them */

static void
test_upstreams(void **state)
{
    test_t             t;
    ngx_str_t          key;
    s3_credential_t   *cr;
    s3_credentials_t  *c;

    test_init(&t);

    c = test_load(&t,
        "{\"access_key\":\"A1\",\"secret_key\":\"one\","
        "\"upstream\":\"rgw\"}\n"
        "{\"type\":\"upstream\",\"name\":\"rgw\",\"access_key\":\"A1\","
        "\"secret_key\":\"of rgw\",\"description\":\"d\","
        "\"created_at\":\"2026-01-31T23:59:59Z\"}\n"
        "{\"type\":\"client\",\"access_key\":\"A2\","
        "\"secret_key\":\"two\",\"upstream\":\"self\",\"name\":\"a b\"}\n"
        "{\"secret_key\":\"three\",\"access_key\":\"A3\","
        "\"name\":\"rgw\"}\n"
        "{\"type\":\"upstream\",\"name\":\"!~\",\"access_key\":\"A1\","
        "\"secret_key\":\"of aws\",\"enabled\":false}\n");

    assert_string_equal(t.err, "");
    assert_non_null(c);
    assert_int_equal(s3_credentials_count(c), 5);

    /* by access key: clients, and none of them by a name */

    key = s3_test_str("A1");
    cr = s3_credentials_find(c, &key);
    assert_non_null(cr);
    assert_false(cr->is_upstream);
    assert_str(cr->secret_key, "one");
    assert_str(cr->upstream, "rgw");
    assert_int_equal(cr->name.len, 0);
    assert_null(s3_credentials_upstream(c, &key));

    key = s3_test_str("A2");
    cr = s3_credentials_find(c, &key);
    assert_non_null(cr);
    assert_str(cr->upstream, S3_UPSTREAM_SELF);
    assert_int_equal(cr->name.len, 0);

    key = s3_test_str("A3");
    cr = s3_credentials_find(c, &key);
    assert_non_null(cr);
    assert_int_equal(cr->upstream.len, 0);
    assert_int_equal(cr->name.len, 0);

    /* by name: upstreams, which open nothing here */

    key = s3_test_str("rgw");
    assert_null(s3_credentials_find(c, &key));
    cr = s3_credentials_upstream(c, &key);
    assert_non_null(cr);
    assert_true(cr->is_upstream);
    assert_true(cr->enabled);
    assert_str(cr->name, "rgw");
    assert_str(cr->access_key, "A1");
    assert_str(cr->secret_key, "of rgw");
    assert_str(cr->description, "d");
    assert_str(cr->created_at, "2026-01-31T23:59:59Z");

    key = s3_test_str("!~");
    cr = s3_credentials_upstream(c, &key);
    assert_non_null(cr);
    assert_str(cr->secret_key, "of aws");
    assert_false(cr->enabled);

    key = s3_test_str("rg");
    assert_null(s3_credentials_upstream(c, &key));
    key = s3_test_str("rgw2");
    assert_null(s3_credentials_upstream(c, &key));
    key = s3_test_str("RGW");
    assert_null(s3_credentials_upstream(c, &key));
    key = s3_test_str("");
    assert_null(s3_credentials_upstream(c, &key));
    key = s3_test_str("self");
    assert_null(s3_credentials_upstream(c, &key));
    assert_null(s3_credentials_upstream(NULL, &key));

    s3_credentials_release(c);
    s3_test_dir_free(t.dir);
}


#define UP(name)                                                             \
    "{\"type\":\"upstream\",\"name\":\"" name "\","                          \
    "\"access_key\":\"k\",\"secret_key\":\"s3cret\"}\n"
#define CLIENT(key, upstream)                                                \
    "{\"access_key\":\"" key "\",\"secret_key\":\"s3cret\","                 \
    "\"upstream\":\"" upstream "\"}\n"

#define NAME64                                                               \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
test_bad_upstreams(void **state)
{
    test_t             t;
    size_t             i;
    char               expect[1024];
    s3_credentials_t  *c;

    static const char  name[] =
        "\"name\" of an upstream's must have 1 to 64 printable characters "
        "without space";
    static const char  upstream[] =
        "\"upstream\" must be the \"name\" of an upstream's, or \"self\"";

    static const struct {
        const char  *text;
        const char  *where;            /* after the path */
        const char  *error;
    } cases[] = {
        { "{\"type\":\"upstream\",\"access_key\":\"k\","
          "\"secret_key\":\"s3cret\"}", ":1: ", name },
        { UP(""), ":1: ", name },
        { UP("a b"), ":1: ", name },
        { UP(" a"), ":1: ", name },
        { UP("a\\t"), ":1: ", name },
        { UP("a\\u007f"), ":1: ", name },
        { UP("\303\274"), ":1: ", name },
        { UP("a") UP(NAME64 "0"), ":2: ", name },
        { UP("self"), ":1: ", "\"self\" is no name of an upstream's: it means "
          "a client's own pair" },
        { UP("a") UP("b") "\n" UP("a"), ":4: ",
          "\"name\" was used before in this file" },
        { "{\"type\":\"upstream\",\"name\":\"a\",\"secret_key\":\"s\"}",
          ":1: ", "\"access_key\" is missing" },
        { "{\"type\":\"upstream\",\"name\":\"a\",\"access_key\":\"k\"}",
          ":1: ", "\"secret_key\" is missing" },
        { "{\"type\":\"upstream\",\"name\":7,\"access_key\":\"k\","
          "\"secret_key\":\"s3cret\"}", ":1: ", "\"name\" is not a string" },

        { UP("a") "{\"type\":\"server\",\"access_key\":\"k\","
          "\"secret_key\":\"s3cret\"}", ":2: ",
          "\"type\" is neither \"client\" nor \"upstream\"" },
        { "{\"type\":\"\",\"access_key\":\"k\",\"secret_key\":\"s3cret\"}",
          ":1: ", "\"type\" is neither \"client\" nor \"upstream\"" },
        { "{\"type\":\"Upstream\",\"access_key\":\"k\","
          "\"secret_key\":\"s3cret\"}", ":1: ",
          "\"type\" is neither \"client\" nor \"upstream\"" },
        { "{\"type\":null,\"access_key\":\"k\",\"secret_key\":\"s3cret\"}",
          ":1: ", "\"type\" is not a string" },

        { CLIENT("k", ""), ":1: ", upstream },
        { UP("a") CLIENT("k", "a b"), ":2: ", upstream },
        { CLIENT("k", NAME64 "0"), ":1: ", upstream },
        { "{\"access_key\":\"k\",\"secret_key\":\"s3cret\","
          "\"upstream\":true}", ":1: ", "\"upstream\" is not a string" },
        { UP("a") CLIENT("k", "a") CLIENT("k", "a"), ":3: ",
          "\"access_key\" was used before in this file" },

        /* of the whole file, as a name may stand below */
        { UP("a") CLIENT("k", "a") CLIENT("k2", "b"), ": ",
          "no line of type \"upstream\" has the name \"b\", which signs for "
          "the key \"k2\"" },
        { CLIENT("k", NAME64), ": ", "no line of type \"upstream\" has the "
          "name \"" NAME64 "\", which signs for the key \"k\"" },
        { UP("a") CLIENT("k", "A"), ": ", "no line of type \"upstream\" has "
          "the name \"A\", which signs for the key \"k\"" },
        { UP("a") CLIENT("k", "k"), ": ", "no line of type \"upstream\" has "
          "the name \"k\", which signs for the key \"k\"" },
    };

    test_init(&t);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_null(test_load(&t, cases[i].text));
        snprintf(expect, sizeof(expect), "%s%s%s", t.path, cases[i].where,
                 cases[i].error);
        assert_string_equal(t.err, expect);
        assert_null(strstr(t.err, "s3cret"));
    }

    /* as long as a name may be */

    c = test_load(&t, CLIENT("k", NAME64) UP(NAME64));
    assert_non_null(c);
    assert_int_equal(s3_credentials_count(c), 2);
    s3_credentials_release(c);

    s3_test_dir_free(t.dir);
}


static void
test_pair_upstream(void **state)
{
    ngx_str_t          key, secret, name, none = ngx_null_string;
    s3_credential_t   *cr;
    s3_credentials_t  *c;

    key = s3_test_str("rgwkey");
    secret = s3_test_str("rgw secret");
    name = s3_test_str("env");

    c = s3_credentials_pair(&key, &secret, &name);
    assert_non_null(c);
    assert_int_equal(s3_credentials_count(c), 1);

    /* it opens nothing */
    assert_null(s3_credentials_find(c, &key));

    cr = s3_credentials_upstream(c, &name);
    assert_non_null(cr);
    assert_true(cr->is_upstream);
    assert_true(cr->enabled);
    assert_str(cr->access_key, "rgwkey");
    assert_str(cr->secret_key, "rgw secret");
    s3_credentials_release(c);

    assert_null(s3_credentials_pair(&key, &secret, &none));
    assert_null(s3_credentials_pair(&none, &secret, &name));
    assert_null(s3_credentials_pair(&key, &none, &name));

    name = s3_test_str("a b");
    assert_null(s3_credentials_pair(&key, &secret, &name));
    name = s3_test_str("self");
    assert_null(s3_credentials_pair(&key, &secret, &name));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_load_file),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_upstreams),
        cmocka_unit_test(test_bad_upstreams),
        cmocka_unit_test(test_pair_upstream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
