"""What of a gateway's configuration nginx -t refuses, and what only shows with
the first request: where it says so, and what it says to write."""

import uuid

import pytest

import forms
import nginx_t
import raw
import s3_gateway
import s3_server
from checks import KIB, data, read
from nginx_t import line_of


ROOT = s3_server.ROOT

KEYS = """\
{"access_key": "AK", "secret_key": "SK"}
{"type": "upstream", "name": "rgw", "access_key": "UK", "secret_key": "US"}
"""

CREDS = "s3_credentials keys.jsonl;"
NAME = "s3_upstream_credentials rgw;"
PARAMS = "ignore_invalid_headers off; client_max_body_size 0;"
PASS = "proxy_pass http://127.0.0.1:1;"


def within(text, name="/"):
    return f"location {name} {{ {text} }}"


def http(location=None, creds=CREDS, name=NAME, params=PARAMS, more=""):
    """A configuration's http{}, each piece on a line of its own."""

    if location is None:
        location = within(f"s3_gateway on; {PASS}")

    return "\n".join([creds, name, more, "server { listen 127.0.0.1:1;",
                      params, location, "}"])


@pytest.fixture
def nginx(tmp_path):
    return nginx_t.Checked(tmp_path, KEYS)


# name: (http{}, a piece of the line that is to blame, words of the message)

BAD = {
    "no upstream": (
        http(within("s3_gateway on;")),
        "s3_gateway on", ["s3_gateway without an upstream",
                          '"proxy_pass http://HOST;"']),

    "no credentials for the upstream": (
        http(name=""),
        "s3_gateway on", ["s3_gateway without keys for its upstream",
                          '"s3_upstream_credentials NAME;"',
                          '"type": "upstream"',
                          '"s3_upstream_credentials env;"']),

    "no clients": (
        http(creds=""),
        "s3_gateway on", ["s3_gateway without credentials",
                          '"s3_credentials FILE;"']),

    "unknown name": (
        http(name="s3_upstream_credentials ceph;"),
        "s3_gateway on", ['the name "ceph"', 'keys.jsonl" for s3_gateway',
                          '{"type": "upstream", "name": "ceph", '
                          '"access_key": "...", "secret_key": "..."}']),

    "name of a client": (
        http(name="s3_upstream_credentials AK;"),
        "s3_gateway on", ['the name "AK"', '"type": "upstream"']),

    "empty name": (
        http(name='s3_upstream_credentials "";'),
        "s3_upstream_credentials", ["has no name", '"env"']),

    "name twice": (
        http(name=NAME + " " + NAME),
        "s3_upstream_credentials", ["is duplicate"]),

    "environment without keys": (
        http(name="s3_upstream_credentials env;"),
        "s3_upstream_credentials", ["finds no keys",
                                    "S3_UPSTREAM_ACCESS_KEY",
                                    "S3_UPSTREAM_SECRET_KEY"]),

    "neither on nor off": (
        http(within(f"s3_gateway yes; {PASS}")),
        "s3_gateway yes", ["invalid value", '"on"', '"off"']),

    "twice": (
        http(within(f"s3_gateway on; s3_gateway on; {PASS}")),
        "s3_gateway on", ["s3_gateway", "is duplicate"]),

    "of a server": (
        http(params=PARAMS + "\ns3_gateway on;", location=""),
        "s3_gateway on", ["s3_gateway", "not allowed here"]),

    "beside a store": (
        http(within("s3_serve main; s3_gateway on;")),
        "s3_gateway on", ['"s3_serve" cannot be in one location']),

    "a store beside it": (
        http(within("s3_gateway on; s3_serve main;")),
        "s3_gateway on", ['"s3_gateway" cannot be in one location']),

    "a store beside its upstream": (
        http(within(f"s3_gateway on; {PASS} s3_serve main;")),
        "s3_gateway on", ["proxy_pass", "location of its own"]),

    "regex location": (
        http(within(f"s3_gateway on; {PASS}", "~ ^/x")),
        "s3_gateway on", ["prefix location", "location /storage/"]),

    "exact location": (
        http(within(f"s3_gateway on; {PASS}", "= /x")),
        "s3_gateway on", ["prefix location"]),

    "named location": (
        http(within(f"s3_gateway on; {PASS}", "@x")),
        "s3_gateway on", ["prefix location"]),

    "satisfy any": (
        http(within(f"s3_gateway on; satisfy any; {PASS}")),
        "s3_gateway on", ["satisfy any", "satisfy all",
                          "location of s3_gateway"]),

    "no bound": (
        http(more="s3_timeout 0;"),
        "s3_gateway on", ["s3_timeout is 0", '"10s"']),

    "style": (
        http(more="s3_upstream_style host;"),
        "s3_upstream_style", ['invalid value "host"']),

    "virtual without a host": (
        http(more="s3_upstream_style virtual;"),
        "s3_gateway on", ['"s3_upstream_style virtual" needs the name',
                          '"s3_upstream_host NAME;"']),

    "checksums": (
        http(more="s3_checksums off;"),
        "s3_checksums", ['invalid value "off"']),

    "region with a slash": (
        http(more="s3_upstream_region us/east;"),
        "us/east", ["s3_upstream_region", "us-east-1"]),

    "empty region": (
        http(more='s3_upstream_region "";'),
        "s3_upstream_region", ["us-east-1"]),

    "host with a scheme": (
        http(more="s3_upstream_host http://rgw.example.com;"),
        "s3_upstream_host", ["is no host", '"rgw.example.com:7480"']),

    "host with a path": (
        http(more="s3_upstream_host rgw.example.com/bucket;"),
        "s3_upstream_host", ["is no host"]),

    "empty host": (
        http(more='s3_upstream_host "";'),
        "s3_upstream_host", ["is no host"]),

    "long host": (
        http(more=f"s3_upstream_host {256 * 'a'};"),
        "s3_upstream_host", ["is no host"]),

    "host twice": (
        http(more="s3_upstream_host a.test; s3_upstream_host b.test;"),
        "s3_upstream_host", ["is duplicate"]),

    "bucket": (
        http(more="s3_checksums_bucket Checksums;"),
        "s3_checksums_bucket", ["is no name of a bucket",
                                '"nginx-s3-checksums"']),

    "short bucket": (
        http(more="s3_checksums_bucket cs;"),
        "s3_checksums_bucket", ["is no name of a bucket"]),

    "bucket twice": (
        http(more="s3_checksums_bucket sums-1; s3_checksums_bucket sums-2;"),
        "s3_checksums_bucket", ["is duplicate"]),

    "parameter of the bucket": (
        http(more="s3_checksums_bucket sums age=1h;"),
        "s3_checksums_bucket", ['invalid parameter "age=1h"',
                                '"orphans=TIME"']),

    "orphans": (
        http(more="s3_checksums_bucket sums orphans=soon;"),
        "s3_checksums_bucket", ['"orphans=soon"', '"orphans=1h"']),

    "orphans at once": (
        http(more="s3_checksums_bucket sums orphans=0;"),
        "s3_checksums_bucket", ["invalid time", '"orphans=1h"']),

    "buffer": (
        http(more="s3_gateway_buffer much;"),
        "s3_gateway_buffer", ["invalid value"]),

    "health without an upstream": (
        http(within("s3_health;", "= /healthz")),
        "s3_health", ["s3_health without an upstream",
                      '"proxy_pass http://HOST;"']),

    "health without credentials": (
        http(within(f"s3_health; {PASS}", "= /healthz"), name=""),
        "s3_health", ["s3_health without keys for its upstream",
                      '"s3_upstream_credentials NAME;"']),

    "health without a file": (
        http(within(f"s3_health; {PASS}", "= /healthz"), creds=""),
        "s3_health", ['without a file with the credential "rgw"',
                      '"s3_credentials FILE;"']),

    "health of an unknown name": (
        http(within(f"s3_health; {PASS}", "= /healthz"),
             name="s3_upstream_credentials ceph;"),
        "s3_health", ['the name "ceph"', 'keys.jsonl" for s3_health']),

    "health twice": (
        http(within(f"s3_health; s3_health; {PASS}", "= /healthz")),
        "s3_health", ["s3_health", "is duplicate"]),

    "health where objects are": (
        http(within(f"s3_gateway on; s3_health; {PASS}")),
        "s3_health", ["s3_gateway", "location of its own"]),

    "status where objects are": (
        http(within(f"s3_gateway on; s3_status; {PASS}")),
        "s3_status", ["s3_gateway", "location of its own"]),

    "status where health is": (
        http(within(f"s3_status; s3_health; {PASS}", "= /healthz")),
        "s3_status", ["s3_health", "location of its own"]),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(nginx, name):
    body, where, words = BAD[name]
    ok, text = nginx.check(body)

    assert not ok, text

    for word in words:
        assert word in text

    assert f"nginx.conf:{line_of(body, where)}" in text


@pytest.mark.parametrize("line,words", [
    ('{"type": "upstream", "access_key": "A", "secret_key": "again"}',
     ['"name"', "1 to 64"]),
    ('{"type": "upstream", "name": "rgw", "access_key": "A", '
     '"secret_key": "again"}', ['"name" was used before']),
    ('{"type": "upstream", "name": "self", "access_key": "A", '
     '"secret_key": "again"}', ['"self" is no name']),
    ('{"type": "upstream", "name": "a b", "access_key": "A", '
     '"secret_key": "again"}', ["without space"]),
    ('{"type": "backend", "access_key": "A", "secret_key": "again"}',
     ['"type" is neither "client" nor "upstream"']),
    ('{"access_key": "A", "secret_key": "again", "upstream": ""}',
     ['"upstream" must be', '"self"']),
    ('{"access_key": "A", "secret_key": "again", "upstream": 1}',
     ['"upstream" is not a string']),
])
def test_malformed_credentials(nginx, line, words):
    (nginx.path / "keys.jsonl").write_text(KEYS + line + "\n")

    ok, text = nginx.check(http())

    assert not ok
    assert "keys.jsonl:3" in text
    assert f"nginx.conf:{line_of(http(), CREDS)}" in text
    assert "again" not in text

    for word in words:
        assert word in text


def test_client_of_an_unknown_upstream(nginx):
    (nginx.path / "keys.jsonl").write_text(
        KEYS + '{"access_key": "A", "secret_key": "again", '
        '"upstream": "ceph"}\n')

    ok, text = nginx.check(http())

    assert not ok
    assert 'has the name "ceph"' in text and 'the key "A"' in text
    assert "again" not in text


def test_half_an_environment(nginx):
    ok, text = nginx.check(http(name="s3_upstream_credentials env;"),
                           S3_UPSTREAM_ACCESS_KEY="A")

    assert not ok
    assert "S3_UPSTREAM_ACCESS_KEY is set" in text
    assert "S3_UPSTREAM_SECRET_KEY is not" in text
    assert f"nginx.conf:{line_of(http(), CREDS) + 1}" in text


ALL = """
s3_upstream_region   eu-central-1;
s3_upstream_host     RGW.example.com:7480;
s3_upstream_style    virtual;
s3_checksums         pass;
s3_checksums_bucket  our-sums orphans=1d;
s3_gateway_buffer    0;
"""


@pytest.mark.parametrize("body", [
    http(),
    http(within(f"{PASS} s3_gateway on;")),
    http(within(f"s3_gateway on; {PASS}", "/storage/")),
    http(within(f"s3_gateway on; {PASS} {ALL}")),
    http(more=ALL),
    http(params=PARAMS + ALL),

    # what a location says takes the place of what stands around it

    http(within(f"s3_gateway on; {NAME} {PASS}"),
         name="s3_upstream_credentials none;"),
    http(within(f"s3_gateway off; {PASS}"), creds="", name=""),
    http(within(f"s3_health; {PASS}", "= /healthz")),
    http(within(f"s3_health; {PASS}", "~ ^/minio/health/")),
    http(within(f"s3_gateway on; {PASS}"),
         more="server { listen 127.0.0.1:2; location / { s3_status; } }"),
    http(within(f"""s3_gateway on; {PASS}
        limit_except GET {{ deny all; }}
        if ($arg_x) {{ set $y 1; }}""")),
    http(more="log_format s3 '$s3_upstream_host $s3_amz_date "
              "$s3_content_sha256 $s3_authorization $s3_cache_key';"),
    http(within(f'include "{ROOT}/conf/s3_gateway_params"; s3_gateway on; '
                f"{PASS}")),
    http(params=f'include "{ROOT}/conf/s3_params";'),
])
def test_good(nginx, body):
    ok, text = nginx.check(body)

    assert ok, text
    assert "[warn]" not in text

    # a gateway has no state, and no paths for one

    assert not (nginx.path / "s3").exists()


def test_environment(nginx):
    """Its clients are in the file, or in the environment as well."""

    keys = {"S3_UPSTREAM_ACCESS_KEY": "UK", "S3_UPSTREAM_SECRET_KEY": "US"}
    body = http(name="s3_upstream_credentials env;")

    ok, text = nginx.check(body, **keys)
    assert ok, text

    ok, text = nginx.check(body.replace("keys.jsonl", "env"), **keys,
                           S3_ACCESS_KEY="AK", S3_SECRET_KEY="SK")
    assert ok, text


@pytest.mark.parametrize("params,words", [
    ("client_max_body_size 0;", ["include s3_params", '"_"']),
    ("ignore_invalid_headers off;", ["client_max_body_size", "5g"]),
])
def test_without_params_warns(nginx, params, words):
    body = http(params=params)
    ok, text = nginx.check(body)

    assert ok, text
    assert "[warn]" in text
    assert "s3_gateway in" in text
    assert f"nginx.conf:{line_of(body, 's3_gateway')}" in text

    for word in words:
        assert word in text


# ---- what only the first request shows

PARAMS_FILE = f'include "{ROOT}/conf/s3_gateway_params";'

WRONG = {
    "no include": (
        "/no-include/", "s3_gateway on; proxy_pass http://other;",
        'the request was sent without a signature; add "include '
        's3_gateway_params;" to the location'),

    # nginx takes proxy_set_header from around a location that has none

    "a header of one's own": (
        "/own-header/",
        "s3_gateway on; proxy_set_header X-Own 1; proxy_pass http://other;",
        'add "include s3_gateway_params;" to the location'),

    "a cache with nginx's key": (
        "/no-key/",
        f"s3_gateway on; {PARAMS_FILE} proxy_pass http://other; "
        "proxy_cache edge; proxy_cache_valid 1m;",
        'write "proxy_cache_key $s3_cache_key;"'),

    "a cache with a key of the path": (
        "/path-key/",
        f"s3_gateway on; {PARAMS_FILE} proxy_pass http://other; "
        "proxy_cache edge; proxy_cache_valid 1m; proxy_cache_key $uri;",
        'write "proxy_cache_key $s3_cache_key;"'),

    "a path for the upstream": (
        "/path/", f"s3_gateway on; {PARAMS_FILE} proxy_pass http://other/x/;",
        'write "proxy_pass" without a path'),
}


@pytest.fixture(scope="module")
def wrong(fake):
    """One nginx with all of it, each in a location of its own."""

    locations = "\n".join(f"location {prefix} {{ {text} }}"
                          for prefix, text, _ in WRONG.values())

    with s3_gateway.Gateway(
            fake, workers=1, server=locations,
            http="s3_upstream_credentials other; "
                 "proxy_cache_path temp/cache keys_zone=edge:1m;") as gateway:
        yield gateway


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("presigned", [False, True])
def test_first_request(wrong, fake, name, presigned):
    prefix, _, message = WRONG[name]
    path = prefix + "bucket/k"
    query = ""

    if presigned:
        query = raw.presign("GET", f"127.0.0.1:{wrong.port}", path)

    before = wrong.log().count(message)
    fake.requests.clear()

    for _ in range(2):
        raw.once(wrong, "GET", path, query, signed=not presigned).is_error(
            500, "InternalError")

    assert wrong.log().count(message) == before + 2

    # what the client has signed with is nobody else's

    for _, target, headers, _ in fake.requests:
        assert s3_server.ACCESS_KEY not in target + str(headers)
        assert not query or query.rpartition("=")[2] not in target


@pytest.mark.parametrize("form", ["hash", "unsigned", "trailer"])
@pytest.mark.parametrize("size", [100, 100 * KIB])
def test_body_read_by_somebody_else(ceph, gateway, form, size):
    """What cannot be checked is not sent: the old object stays."""

    server = gateway(workers=1, gateway="s3_gateway_buffer 64k; mirror /copy;",
                     server="location = /copy { return 204; }")
    s3 = server.client()
    bucket = f"conf-{uuid.uuid4().hex[:8]}"
    host = f"127.0.0.1:{server.port}"

    s3.create_bucket(Bucket=bucket)

    try:
        s3.put_object(Bucket=bucket, Key="k", Body=b"old")

        bodies = {None: data(size)}

        if form != "hash":
            bodies["AAAAAA=="] = data(size, 1)

        for value, body in bodies.items():
            up = forms.upload(host, f"/{bucket}/k", form, body, value=value,
                              checksum=None if form == "hash" else
                              "trailer" if form == "trailer" else "header")

            with raw.Connection(server) as conn:
                answer = conn.raw(up.wire, "PUT")

            there = read(s3, bucket, "k")

            if size <= 64 * KIB:
                assert answer.status == 200 or value, answer
                assert there == bodies[None]
                continue

            answer.is_error(500, "InternalError")
            assert there == b"old"
            assert '("mirror"?)' in server.log()
    finally:
        s3.delete_object(Bucket=bucket, Key="k")
        s3.delete_bucket(Bucket=bucket)
