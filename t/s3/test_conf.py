"""nginx -t: what it refuses, where it says so, and what it says to write."""

import json
import os
import pathlib
import subprocess
import time

import pytest

import nginx_t
from nginx_t import line_of


ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build")

KEYS = '{"access_key": "AK", "secret_key": "SK"}\n'

STORE = "s3_store main { disk d1; disk d2; disk d3; disk d4; }"
CREDS = "s3_credentials keys.jsonl;"
PARAMS = "ignore_invalid_headers off; client_max_body_size 0;"
SERVE = "location / { s3_serve main; }"


def http(store=STORE, creds=CREDS, params=PARAMS, location=SERVE, more=""):
    """A configuration's http{}, each piece on a line of its own."""

    return "\n".join([store, creds, more,
                      "server { listen 127.0.0.1:1;", params, location, "}"])


@pytest.fixture
def nginx(tmp_path):
    return nginx_t.Checked(tmp_path, KEYS)


def disks(n):
    return "".join(f"disk d{i}; " for i in range(n))


# name: (http{}, a piece of the line that is to blame, words of the message)

BAD = {
    "disk twice": (
        http("s3_store main { disk d1; disk d1; }"),
        "s3_store main", ['d1" is named twice', "directory of its own"]),

    "disk twice, written differently": (
        http("s3_store main { disk d1; disk .//d1/./; }"),
        "s3_store main", ['d1" is named twice']),

    "disk of another store": (
        http("s3_store other { disk d1; } s3_store main { disk d1; }"),
        "s3_store main", ['d1" is named twice']),

    "disk in a disk": (
        http("s3_store main { disk a/d1; disk a/d1/d2; }"),
        "s3_store main", ["are one within the other", "of its own"]),

    "disk around a disk": (
        http("s3_store main { disk a/d1; disk a; }"),
        "s3_store main", ["are one within the other"]),

    "disk in a disk of another store": (
        http("s3_store other { disk /; } s3_store main { disk d1; }"),
        "s3_store main", ["are one within the other"]),

    "parity over half": (
        http("s3_store main { disk d1; disk d2; disk d3; parity 2; }"),
        "s3_store main", ["parity 2", "more than half", '"parity 1;"']),

    "parity no number": (
        http("s3_store main { disk d1; parity many; }"),
        "s3_store main", ['invalid "parity"']),

    "parity twice": (
        http("s3_store main { disk d1; parity 0; parity 0; }"),
        "s3_store main", ['"parity" is duplicate']),

    "negative parity": (
        http("s3_store main { disk d1; disk d2; parity -1; }"),
        "s3_store main", ['invalid "parity"']),

    "no disk": (
        http("s3_store main { parity 0; }"),
        "s3_store main", ["has no disks", "disk PATH"]),

    "33 disks": (
        http("s3_store main { " + disks(33) + "}"),
        "s3_store main", ["more than 32 disks"]),

    "several paths": (
        http("s3_store main { disk d1 d2; }"),
        "s3_store main", ["takes one path"]),

    "unknown directive in a store": (
        http("s3_store main { disc d1; }"),
        "s3_store main", ['unknown directive "disc"', '"disk"']),

    "store named twice": (
        http("s3_store main { disk d1; }\ns3_store main { disk d2; }"),
        "disk d2", ["defined twice", "nginx.conf:6"]),

    "store name": (
        http("s3_store ma/in { disk d1; }"),
        "s3_store ma/in", ["invalid store name", "letters"]),

    "long store name": (
        http("s3_store " + 33 * "m" + " { disk d1; }"),
        "s3_store", ["invalid store name"]),

    "store never defined": (
        http(location="location / { s3_serve other; }"),
        "s3_serve other", ['"other" is not defined', "s3_store other"]),

    "no credentials": (
        http(creds=""),
        "s3_serve", ["without credentials", "s3_credentials FILE"]),

    "credentials missing": (
        http(creds="s3_credentials nowhere.jsonl;"),
        "nowhere", ["credentials not loaded", "nowhere.jsonl"]),

    "refresh": (
        http(creds="s3_credentials keys.jsonl refresh=soon;"),
        "refresh", ["invalid parameter", "refresh=30s"]),

    "parameter of credentials": (
        http(creds="s3_credentials keys.jsonl every=1s;"),
        "every", ["invalid parameter", "refresh=TIME"]),

    "satisfy any": (
        http(location="location / { s3_serve main; satisfy any; }"),
        "s3_serve", ["satisfy any", "satisfy all"]),

    "satisfy any of the server": (
        http(params=PARAMS + " satisfy any;"),
        "s3_serve", ["satisfy any"]),

    "regex location": (
        http(location="location ~ ^/x { s3_serve main; }"),
        "s3_serve", ["prefix location", "location /storage/"]),

    "exact location": (
        http(location="location = /x { s3_serve main; }"),
        "s3_serve", ["prefix location"]),

    "named location": (
        http(location="location @x { s3_serve main; }"),
        "s3_serve", ["prefix location"]),

    "s3_serve twice": (
        http(location="location / { s3_serve main; s3_serve main; }"),
        "s3_serve", ["is duplicate"]),

    "memory": (
        http(more="s3_memory 64k;"), "64k", ["s3_memory", "s3_memory 32m"]),

    "cache": (
        http(more="s3_index_cache 64k;"), "64k", ["s3_index_cache 8m"]),

    "region with a slash": (
        http(more="s3_region us/east;"),
        "us/east", ["s3_region", "us-east-1"]),

    "empty region": (
        http(more='s3_region "";'), "s3_region", ["us-east-1"]),

    "health of a store never defined": (
        http(location=SERVE + "\nlocation = /healthz { s3_health other; }"),
        "s3_health", ['"other" is not defined', "s3_store other"]),

    "health twice": (
        http(location="location = /healthz { s3_health main; "
                      "s3_health main; }"),
        "s3_health", ["is duplicate"]),

    "health where something is served": (
        http(location="location / { s3_serve main; s3_health main; }"),
        "s3_health", ["s3_serve", "location of its own"]),

    "served where health is": (
        http(location="location / { s3_health main; s3_serve main; }"),
        "s3_health", ["location of its own"]),

    "health where something would be served": (
        http(location="location / { s3_health main; "
                      "proxy_pass http://127.0.0.1:1; }"),
        "s3_health", ["proxy_pass", "location of its own"]),

    "status of a store never defined": (
        http(location=SERVE + "\nlocation = /status { s3_status other; }"),
        "s3_status", ['"other" is not defined', "s3_store other"]),

    "status of two stores": (
        http(location="location = /status { s3_status main other; }"),
        "s3_status", ["invalid number of arguments"]),

    "status twice": (
        http(location="location = /status { s3_status; s3_status main; }"),
        "s3_status", ["is duplicate"]),

    "status where something is served": (
        http(location="location / { s3_serve main; s3_status; }"),
        "s3_status", ["s3_serve", "location of its own"]),

    "served where status is": (
        http(location="location / { s3_status; s3_serve main; }"),
        "s3_status", ["location of its own"]),

    "status where something would be served": (
        http(location="location / { s3_status; "
                      "proxy_pass http://127.0.0.1:1; }"),
        "s3_status", ["proxy_pass", "location of its own"]),

    "status and health": (
        http(location="location / { s3_health main; s3_status; }"),
        "s3_status", ["location of its own"]),

    "health and status": (
        http(location="location / { s3_status; s3_health main; }"),
        "s3_status", ["location of its own"]),

    "status of nothing": (
        http(store="", creds="", location="location / { s3_status; }"),
        "s3_status", ["no store", "no gateway", "s3_store NAME"]),

    "domain with a port": (
        http(more="s3_domain s3.example.com:80;"),
        "s3_domain", ["leave out scheme, port"]),

    "domain with a scheme": (
        http(more="s3_domain http://s3.example.com;"),
        "s3_domain", ["leave out scheme, port"]),

    "domain with a wildcard": (
        http(more="s3_domain *.s3.example.com;"),
        "s3_domain", ["wildcard"]),

    "domain with a dot before it": (
        http(more="s3_domain .s3.example.com;"),
        "s3_domain", ["wildcard"]),

    "domain that is an address": (
        http(more="s3_domain 127.0.0.1;"),
        "s3_domain", ["is an address"]),

    "domain of nonsense": (
        http(more="s3_domain s3..example.com;"),
        "s3_domain", ["no name of a host", "s3.example.com"]),

    "domain of more nonsense": (
        http(more="s3_domain s3_example-.com;"),
        "s3_domain", ["no name of a host"]),

    "domain that ends in a dot": (
        http(more="s3_domain s3.example.com.;"),
        "s3_domain", ["no name of a host"]),

    "long label": (
        http(more="s3_domain " + 64 * "a" + ".com;"),
        "s3_domain", ["no name of a host"]),

    "long domain": (
        http(more="s3_domain " + 127 * "a." + "com;"),
        "s3_domain", ["longer than"]),

    "empty domain": (
        http(more='s3_domain "";'), "s3_domain", ["no name of a host"]),

    "domain twice": (
        http(more="s3_domain s3.test S3.Test;"),
        "s3_domain", ["is named twice"]),

    "s3_domain twice": (
        http(more="s3_domain a.test; s3_domain b.test;"),
        "s3_domain", ["is duplicate", "one directive"]),

    "another directive serves the location": (
        http(location="location / { proxy_pass http://127.0.0.1:1; "
                      "s3_serve main; }"),
        "s3_serve", ["proxy_pass", "location of its own"]),

    "another directive would serve the location": (
        http(location="location / { s3_serve main; "
                      "proxy_pass http://127.0.0.1:1; }"),
        "s3_serve", ["proxy_pass", "location of its own"]),

    "threads": (
        http(more="s3_disk_threads 0;"),
        "s3_disk_threads", ["between 1 and 32"]),

    "age of uploads": (
        http(more="s3_abort_uploads never;"), "s3_abort_uploads",
        ["s3_abort_uploads 7d", "off"]),

    "age of uploads is none": (
        http(more="s3_abort_uploads 0;"), "s3_abort_uploads",
        ["at least 1s"]),

    "scrub": (
        http(more="s3_scrub often;"), "s3_scrub", ["s3_scrub 7d", "off"]),

    "scrub without an interval": (
        http(more="s3_scrub 0;"), "s3_scrub", ["at least 1s"]),

    "scrub at no rate": (
        http(more="s3_scrub 7d rate=0;"), "s3_scrub", ["rate=8m"]),

    "scrub at a rate that is none": (
        http(more="s3_scrub 7d rate=fast;"), "s3_scrub", ["rate=8m"]),

    "scrub with something else": (
        http(more="s3_scrub 7d speed=8m;"), "s3_scrub", ["rate=SIZE"]),

    "scrub off, at a rate": (
        http(more="s3_scrub off rate=8m;"), "s3_scrub",
        ["s3_scrub off", "rate=8m"]),

    "scrub twice": (
        http(more="s3_scrub off;\ns3_scrub 1d;"), "s3_scrub 1d",
        ["duplicate"]),

    "documents": (
        http(more="s3_document_memory 1m;"), "s3_document_memory",
        ["s3_document_memory 32m"]),

    "queue": (
        http(more="s3_queue 3;"), "s3_queue", ["s3_queue 4096", "16 to 65536"]),

    "queue that is no number": (
        http(more="s3_queue 4k;"), "s3_queue", ["s3_queue 4096"]),

    "queue of no size": (
        http(more="s3_queue 64 size=4k;"), "s3_queue",
        ["size=16m", "1m to 1g"]),

    "queue with something else": (
        http(more="s3_queue 64 bytes=4m;"), "s3_queue", ["size=SIZE"]),

    "queue twice": (
        http(more="s3_queue 64;\ns3_queue 4096 size=16m;"),
        "s3_queue 4096", ["duplicate"]),

    "rate of none": (
        http(more="s3_min_rate 0;"), "s3_min_rate",
        ["s3_min_rate 16k", "s3_min_rate off"]),

    "rate nobody has": (
        http(more="s3_min_rate 1g;"), "s3_min_rate", ["1 to 16m"]),

    "rate without a grace": (
        http(more="s3_min_rate 16k grace=10ms;"), "s3_min_rate",
        ["grace=10s", "1s to 1h"]),

    "rate with something else": (
        http(more="s3_min_rate 16k after=10s;"), "s3_min_rate",
        ["grace=TIME"]),

    "rate off, with a grace": (
        http(more="s3_min_rate off grace=10s;"), "s3_min_rate",
        ["s3_min_rate off", "grace=10s"]),

    "rate twice": (
        http(more="s3_min_rate off;\ns3_min_rate 1k;"), "s3_min_rate 1k",
        ["duplicate"]),

    "late disk": (
        http(more="s3_disk_timeout 0;"),
        "s3_disk_timeout", ["s3_disk_timeout 2s"]),

    "answer bound": (
        http(more="s3_timeout 0;"), "s3_serve", ["s3_timeout", "10s"]),

    "runtime path is the state path": (
        http(more="s3_runtime_path x; s3_state_path x;"),
        None, ["the same path name"]),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(nginx, name):
    body, where, words = BAD[name]
    ok, text = nginx.check(body)

    assert not ok, text

    for word in words:
        assert word in text

    if where:
        assert f"nginx.conf:{line_of(body, where)}" in text


def test_same_directory(nginx):
    (nginx.path / "d1").mkdir()
    (nginx.path / "d2").symlink_to(nginx.path / "d1")

    ok, text = nginx.check(http())

    assert not ok
    assert "are the same directory" in text
    assert "nginx.conf:6" in text


def test_nested_by_a_link(nginx):
    """What is a name's beginning only is no directory around it."""

    (nginx.path / "d1/x").mkdir(parents=True)
    (nginx.path / "d10").mkdir()

    ok, text = nginx.check(http("s3_store main { disk d1; disk d10; }"))
    assert ok, text

    (nginx.path / "link").symlink_to(nginx.path / "d1/x")

    ok, text = nginx.check(http("s3_store main { disk d1; disk link; }"))
    assert not ok
    assert "are one within the other" in text
    assert "nginx.conf:6" in text


@pytest.mark.parametrize("line", [
    "{", "[]", '{"access_key": "AK"}', '{"secret_key": "SK"}',
    '{"access_key": 1, "secret_key": "SK"}',
    '{"access_key": "", "secret_key": "SK"}',
    '{"access_key": "AK", "secret_key": "again"}',
])
def test_malformed_credentials(nginx, line):
    (nginx.path / "keys.jsonl").write_text(KEYS + line + "\n")

    ok, text = nginx.check(http())

    assert not ok
    assert "keys.jsonl:2" in text
    assert "nginx.conf:7" in text
    assert "again" not in text


def test_readable_credentials_warn(nginx):
    (nginx.path / "keys.jsonl").chmod(0o644)

    ok, text = nginx.check(http())

    assert ok, text
    assert "[warn]" in text and "keys.jsonl" in text


def test_good(nginx):
    ok, text = nginx.check(http())

    assert ok, text
    assert "[warn]" not in text

    # under -t nothing of the store is made but its own two directories

    assert (nginx.path / "s3/run").is_dir()
    assert (nginx.path / "s3/state").is_dir()
    assert not list((nginx.path / "s3/run").iterdir())
    assert not list((nginx.path / "s3/state").iterdir())
    assert not (nginx.path / "d1").exists()


def test_paths(nginx):
    ok, text = nginx.check(http(more="s3_runtime_path a/b/run; "
                                     "s3_state_path a/b/c/state;"))

    assert ok, text
    assert (nginx.path / "a/b/run").is_dir()
    assert (nginx.path / "a/b/c/state").is_dir()
    assert not (nginx.path / "s3").exists()


def test_store_defined_after_use(nginx):
    body = "\n".join([CREDS, "server { listen 127.0.0.1:1;", PARAMS, SERVE,
                      "}", STORE])
    ok, text = nginx.check(body)

    assert ok, text


def test_without_any_store(nginx):
    ok, text = nginx.check("server { listen 127.0.0.1:1; }")

    assert ok, text
    assert not (nginx.path / "s3").exists()


@pytest.mark.parametrize("n,parity,good", [
    (1, 0, True), (1, 1, False), (2, 1, True), (5, 2, True), (5, 3, False),
    (32, 16, True), (32, 17, False),
])
def test_parity(nginx, n, parity, good):
    ok, text = nginx.check(
        http("s3_store main { " + disks(n) + f"parity {parity}; " + "}"))

    assert ok == good, text


@pytest.mark.parametrize("params,words", [
    ("client_max_body_size 0;", ["include s3_params", '"_"']),
    ("ignore_invalid_headers off;", ["client_max_body_size", "5g"]),
    ("ignore_invalid_headers off; client_max_body_size 4g;",
     ["client_max_body_size is 4294967296", "include s3_params"]),
])
def test_without_params_warns(nginx, params, words):
    body = http(params=params)
    ok, text = nginx.check(body)

    assert ok, text
    assert "[warn]" in text
    assert f"nginx.conf:{line_of(body, 's3_serve')}" in text

    for word in words:
        assert word in text


def test_with_five_gigabytes(nginx):
    ok, text = nginx.check(
        http(params="ignore_invalid_headers off; client_max_body_size 5g;"))

    assert ok, text
    assert "[warn]" not in text


OTHER = "server { listen 127.0.0.1:1 default_server; server_name other; }"


@pytest.mark.parametrize("names,others,warned", [
    ("server_name s3.example.com;", OTHER, True),
    ("server_name s3.example.com *.example.org;", OTHER, True),
    ("server_name *.xs3.example.com;", OTHER, True),
    ("server_name *.b.s3.example.com;", OTHER, True),
    ("", OTHER, True),
    ("server_name *.s3.example.com;", OTHER, False),
    ("server_name .s3.example.com;", OTHER, False),
    ("server_name *.example.com;", OTHER, False),
    ('server_name "~^.*$";', OTHER, False),

    # the listen's default gets them anyway
    ("server_name s3.example.com;", "", False),
])
def test_names_of_buckets(nginx, names, others, warned):
    body = http(params=PARAMS + " s3_domain S3.Example.com; " + names,
                more=others)
    ok, text = nginx.check(body)

    assert ok, text
    assert ("[warn]" in text) == warned, text

    if warned:
        assert 'no server_name covers "*.s3.example.com"' in text
        assert f"nginx.conf:{line_of(body, 's3_serve')}" in text


def test_params_file(nginx):
    ok, text = nginx.check(
        http(params=f'include "{ROOT}/conf/s3_params";'))

    assert ok, text
    assert "[warn]" not in text


def test_limit_except_and_if(nginx):
    ok, text = nginx.check(http(location="""location /a/ {
        s3_serve main;
        limit_except GET { deny all; }
        if ($arg_x) { set $y 1; }
    }
    location /health/ {
        s3_health main;
        limit_except GET { deny all; }
        if ($arg_x) { set $y 1; }
    }
    location /status/ {
        s3_status;
        limit_except GET { deny all; }
        if ($arg_x) { set $y 1; }
        location /status/s3/ { s3_serve main; }
    }"""))

    assert ok, text


def test_variables(nginx):
    ok, text = nginx.check(http(more=(
        "log_format s3 '$s3_operation $s3_bucket $s3_key $s3_access_key "
        "$s3_error_code $s3_request_id';")))

    assert ok, text


@pytest.mark.parametrize("state", ["garbage", "file", "gone"])
def test_state_of_disks_never_fails(nginx, state):
    for i in range(1, 5):
        disk = nginx.path / f"d{i}"

        if state == "garbage":
            disk.mkdir()
            (disk / "format").write_bytes(b"\x00\xff garbage")

        elif state == "file":
            disk.write_text("")

    ok, text = nginx.check(http())

    assert ok, text


def test_format_says_another_set(nginx):
    """A set that was formed with other numbers is another set."""

    disk = nginx.path / "d1"
    disk.mkdir()

    # formed by a store of one disk, as nginx itself would

    started = start(nginx, http("s3_store main { disk d1; }"))

    try:
        wait_for(lambda: (disk / "format").exists())
    finally:
        started.terminate()
        started.wait(30)

    formed = json.loads((disk / "format").read_text())
    assert isinstance(formed, dict)

    ok, text = nginx.check(http())

    assert not ok, text
    assert "belongs to a set of 1 disks with parity 0" in text
    assert "nginx.conf:6" in text


def start(nginx, body):
    conf = nginx.path / "run.conf"
    conf.write_text(
        f'load_module "{BUILD}/ngx_http_s3_module.so";\n'
        "pid nginx.pid; error_log stderr; daemon off;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "events {}\n"
        "http {\n"
        "access_log off;\n"
        f"{body.replace('127.0.0.1:1;', 'unix:' + str(nginx.path) + '/s;')}\n"
        "}\n")

    binary = (BUILD / "nginx.path").read_text().strip()

    return subprocess.Popen([binary, "-p", nginx.path, "-c", conf],
                            stderr=subprocess.DEVNULL)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds

    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
