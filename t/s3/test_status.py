"""s3_status: what is counted and shown, as JSON, for Prometheus, and under
MinIO's names; promtool and a real Prometheus read it.  What a reload keeps is
in test_status_reload.py."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import botocore.exceptions
import pytest

import raw
import s3_gateway
import s3_server
from s3_server import wait_for


pytestmark = pytest.mark.skipif(
    bool(s3_server.EXTERNAL or s3_server.THROUGH),
    reason="starts servers of its own")

STATUS = """
        location /status { s3_status; }
        location /minio/v2/metrics/ { s3_status; }
"""

ONE = """
        location /one/ {
            s3_status main;
            limit_except GET { deny all; }
            if ($arg_x) { set $y 1; }
        }
"""

CLUSTER = "/minio/v2/metrics/cluster"
NODE = "/minio/v2/metrics/node"

BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]


def ask(server, path="/status", query="", method="GET", **kwargs):
    return raw.once(server, method, path, query, signed=False, **kwargs)


def status(server, path="/status"):
    answer = ask(server, path)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.body)


def store_status(server):
    """Of the one store; None while its store process has told nothing."""

    one, = status(server)["stores"]
    return one if one["disks"] is not None else None


def settled(server, members=4):
    """Returns when that many disks take part, with what is shown then."""

    def found():
        one = store_status(server)
        return one if one and one["quorum"]["members"] == members \
            and one["state"] == "ok" else None

    return wait_for(found, 30, "the set is not what it should be")


def operations(server):
    return status(server)["stores"][0]["requests"]["operations"]


def requests(found):
    return sum(op["requests"] for op in found.values())


def ended(server, before, n, what=operations):
    """Returns what was counted when n more requests have ended: an answer is
    here before its request is counted."""

    after = wait_for(lambda: (lambda now: now if requests(now)
                              >= requests(before) + n else None)
                     (what(server)), 20, f"{n} requests are not counted")
    assert requests(after) == requests(before) + n, (before, after)
    return after


def samples(text):
    """{(name, frozenset of labels): value} of Prometheus' text."""

    found = {}

    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line)
        assert match, line
        labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
        assert ",".join(f'{n}="{v}"' for n, v in labels) \
            == (match[2] or ""), line
        key = match[1], frozenset(labels)
        assert key not in found, line
        found[key] = float(match[3])

    return found


def metrics(server, path="/status/metrics"):
    answer = ask(server, path)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] \
        == "text/plain; version=0.0.4; charset=utf-8"
    return samples(answer.body.decode())


def value(found, name, **labels):
    """The sum of those that have these labels; None where there are none."""

    values = [v for (n, ls), v in found.items()
              if n == name and set(labels.items()) <= ls]
    return sum(values) if values else None


def since(before, after, operation):
    """What was counted of an operation between two answers:
    (status, errors, canceled, received, sent)."""

    a = before.get(operation, {"status": {}, "errors": {}, "canceled": 0,
                               "received_bytes": 0, "sent_bytes": 0})
    b = after.get(operation, a)

    def grown(what):
        grown = {k: n - a[what].get(k, 0) for k, n in b[what].items()}
        return {k: n for k, n in grown.items() if n}

    return (grown("status"), grown("errors"), b["canceled"] - a["canceled"],
            b["received_bytes"] - a["received_bytes"],
            b["sent_bytes"] - a["sent_bytes"])


@pytest.fixture(scope="module")
def server():
    with s3_server.Store(server=STATUS + ONE) as store:
        store.client().create_bucket(Bucket="bkt")
        wait_for(lambda: "CreateBucket" in operations(store), 20)
        yield store


# ---- how it is asked

@pytest.mark.parametrize("path,query,accept,text", [
    ("/status", "", None, False),
    ("/status", "", "*/*", False),
    ("/status", "", "application/json", False),
    ("/status", "", "text/plain", True),
    ("/status", "", "text/html, Application/JSON, text/plain", False),
    ("/status", "", "application/openmetrics-text;version=1.0.0,"
                    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
    ("/status/metrics", "", None, True),
    ("/status/metrics", "", "application/json", True),
    ("/status/x.json", "", "text/plain", False),
    ("/status/metrics", "format=json", None, False),
    ("/status/x.json", "format=prometheus", None, True),
    (CLUSTER, "", None, True),
    (NODE, "", "application/json", True),
    (CLUSTER, "format=json", None, True),
    ("/status" + CLUSTER, "", None, True),
    ("/one/", "", None, False),
    ("/one/metrics", "x=1", None, True),
])
def test_formats(server, path, query, accept, text):
    answer = ask(server, path, query,
                 headers=[("Accept", accept)] if accept else [])

    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == (
        "text/plain; version=0.0.4; charset=utf-8" if text
        else "application/json")

    if text:
        found = samples(answer.body.decode())
        names = {name for name, _ in found}
        minio = "/minio/" in path
        assert ("s3_store_up" in names) != minio
        assert ("minio_s3_traffic_sent_bytes" in names) == minio
    else:
        assert "stores" in json.loads(answer.body)

    head = ask(server, path, query, "HEAD",
               headers=[("Accept", accept)] if accept else [])
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == answer.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("query", ["format=xml", "format=", "format=jso"])
def test_other_formats(server, query):
    assert ask(server, query=query).status == 400


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "OPTIONS"])
def test_other_methods(server, method):
    assert ask(server, method=method).status == 405
    assert ask(server, CLUSTER, method=method).status == 405
    assert ask(server, "/one/", method=method, body=b"x").status == 403


def test_not_s3s(server):
    """No signature is asked for, and nothing of it is counted."""

    before = operations(server)

    with raw.Connection(server) as conn:
        for _ in range(3):
            answer = conn.request("GET", "/status", body=b"x" * 5000,
                                  signed=False)
            assert answer.status == 200
            assert "x-amz-request-id" not in answer.headers

    assert ask(server, method="PUT").status == 405
    assert ask(server, query="format=xml").status == 400
    assert operations(server) == before


# ---- what is counted

def test_by_operation_and_code(server):
    client = server.client()
    before = operations(server)

    client.put_object(Bucket="bkt", Key="a", Body=b"0123456789")
    client.put_object(Bucket="bkt", Key="b", Body=b"x" * 1_500_000)
    etag = client.head_object(Bucket="bkt", Key="a")["ETag"]
    client.get_object(Bucket="bkt", Key="a")["Body"].read()
    client.get_object(Bucket="bkt", Key="a", Range="bytes=2-4")["Body"].read()
    client.list_objects_v2(Bucket="bkt")
    client.copy_object(Bucket="bkt", Key="c", CopySource="bkt/a")
    client.delete_object(Bucket="bkt", Key="c")

    upload = client.create_multipart_upload(Bucket="bkt", Key="m")["UploadId"]
    part = client.upload_part(Bucket="bkt", Key="m", UploadId=upload,
                              PartNumber=1, Body=b"part")
    client.complete_multipart_upload(
        Bucket="bkt", Key="m", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})

    for bucket, key, more in (("bkt", "none", {}), ("none", "none", {}),
                              ("bkt", "a", {"IfMatch": '"x"'}),
                              ("bkt", "a", {"Range": "bytes=100-"}),
                              ("bkt", "a", {"IfNoneMatch": etag})):
        with pytest.raises(botocore.exceptions.ClientError):
            client.get_object(Bucket=bucket, Key=key, **more)

    with pytest.raises(botocore.exceptions.ClientError):
        client.create_bucket(Bucket="bkt")

    after = ended(server, before, 17)

    assert since(before, after, "PutObject")[:3] == ({"200": 2}, {}, 0)
    assert since(before, after, "HeadObject")[:3] == ({"200": 1}, {}, 0)
    assert since(before, after, "GetObject")[:3] == (
        {"200": 1, "206": 1, "404": 2, "412": 1, "416": 1, "304": 1},
        {"NoSuchKey": 1, "NoSuchBucket": 1, "PreconditionFailed": 1,
         "InvalidRange": 1}, 0)
    assert since(before, after, "ListObjectsV2")[0] == {"200": 1}
    assert since(before, after, "CopyObject")[0] == {"200": 1}
    assert since(before, after, "DeleteObject")[0] == {"204": 1}
    assert since(before, after, "CreateMultipartUpload")[0] == {"200": 1}
    assert since(before, after, "UploadPart")[0] == {"200": 1}
    assert since(before, after, "CompleteMultipartUpload")[0] == {"200": 1}
    assert since(before, after, "CreateBucket")[:2] \
        == ({"409": 1}, {"BucketAlreadyOwnedByYou": 1})


def rejected(server):
    return status(server)["stores"][0]["requests"]["rejected"]


def test_refused(server):
    """Without a verdict, and before there is an operation."""

    def grown(before):
        return {k: n - before[k] for k, n in rejected(server).items()
                if k in ("auth", "time", "invalid")}

    before, refused = operations(server), rejected(server)

    raw.once(server, "GET", "/bkt/a", secret_key="x" * 40) \
        .is_error(403, "SignatureDoesNotMatch")
    raw.once(server, "GET", "/bkt/a", access_key="NOBODY0000000000") \
        .is_error(403, "InvalidAccessKeyId")
    ask(server, "/bkt/a").is_error(403, "AccessDenied")
    ended(server, before, 3)
    assert grown(refused) == {"auth": 3, "time": 0, "invalid": 0}

    raw.once(server, "GET", "/bkt/a", date="20200101T000000Z") \
        .is_error(403, "RequestTimeTooSkewed")
    ended(server, before, 4)
    assert grown(refused) == {"auth": 3, "time": 1, "invalid": 0}

    raw.once(server, "GET", "/bkt", "torrents=1&session") \
        .is_error(501, "NotImplemented")

    # what nginx refuses before it knows a location

    with raw.Connection(server) as conn:
        answer = conn.raw(b"GET /bkt/%zz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.status == 400

    with raw.Connection(server) as conn:
        answer = conn.raw(b"GET / HTTP/1.1\r\nHost: x\r\nA: "
                          + b"a" * 60000 + b"\r\n\r\n")
        answer.is_error(400, "RequestHeaderSectionTooLarge")

    after = ended(server, before, 7)

    assert since(before, after, "GetObject")[:2] == (
        {"403": 4},
        {"SignatureDoesNotMatch": 1, "InvalidAccessKeyId": 1,
         "AccessDenied": 1, "RequestTimeTooSkewed": 1})
    assert since(before, after, "CreateSession")[:2] \
        == ({"501": 1}, {"NotImplemented": 1})

    assert grown(refused) == {"auth": 3, "time": 1, "invalid": 2}

    codes, errors = since(before, after, "Unknown")[:2]
    assert codes == {"400": 2}
    assert errors["RequestHeaderSectionTooLarge"] == 1
    assert sum(errors.values()) == 2


class Counted:
    """A connection that knows how many bytes went each way."""

    def __init__(self, server):
        self.conn = raw.Connection(server)
        self.sent = self.received = 0

    def request(self, method, path, body=b"", chunked=False):
        lines = [("Transfer-Encoding", "chunked") if chunked
                 else ("Content-Length", len(body))]
        head = self.conn.head(method, path, body_headers=lines,
                              payload=hashlib.sha256(body).hexdigest())
        data = head + (raw.http_chunked(body) if chunked else body)
        self.conn.send(data)
        self.sent += len(data)

        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.conn.socket.recv(1)

        match = re.search(rb"\r\nContent-Length: (\d+)", answer, re.I)
        length = int(match[1]) if match and method != "HEAD" else 0

        rest = length
        while rest:
            got = self.conn.socket.recv(min(rest, 65536))
            assert got
            rest -= len(got)

        self.received += len(answer) + length
        return answer, length


@pytest.mark.parametrize("size", [0, 10, 20_000, 3_000_000])
def test_bytes(server, size):
    body = os.urandom(size)

    with contextlib.ExitStack() as stack:
        counted = {}

        for what in ("PutObject", "GetObject", "HeadObject", "ListBuckets"):
            counted[what] = Counted(server)
            stack.callback(counted[what].conn.close)

        before = operations(server)

        for chunked in (False, True):
            answer, _ = counted["PutObject"].request("PUT", "/bkt/bytes",
                                                     body, chunked)
            assert b" 200 " in answer
            answer, length = counted["GetObject"].request("GET",
                                                          "/bkt/bytes")
            assert (b" 200 " in answer, length) == (True, size)
            counted["HeadObject"].request("HEAD", "/bkt/bytes")
            counted["ListBuckets"].request("GET", "/")

        after = ended(server, before, 8)

        for what, c in counted.items():
            assert since(before, after, what)[3:] == (c.sent, c.received), \
                what

    found = metrics(server)
    assert value(found, "s3_received_bytes_total", operation="PutObject",
                 face="store", store="main") \
        == after["PutObject"]["received_bytes"]


def test_two_workers(server):
    """Whichever worker answers, all is counted, and any of them tells it."""

    before, lines = operations(server), len(server.access_lines())
    conns, pids = [], set()

    def some(conn):
        for _ in range(10):
            assert conn.request("HEAD", "/bkt").status == 200

    with contextlib.ExitStack() as stack:

        while len(pids) < 2:
            assert len(conns) < 200, "all connections go to one worker"

            new = [stack.enter_context(raw.Connection(server))
                   for _ in range(8)]
            threads = [threading.Thread(target=some, args=(c,)) for c in new]

            for t in threads:
                t.start()
            for t in threads:
                t.join()

            conns += new
            ended(server, before, 10 * len(conns))
            pids = {line.split()[-1]
                    for line in server.access_lines()[lines:]
                    if " HeadBucket " in line}

        for conn in conns:
            answer = conn.request("GET", "/status", signed=False)
            one, = json.loads(answer.body)["stores"]
            assert since(before, one["requests"]["operations"],
                         "HeadBucket")[:2] == ({"200": 10 * len(conns)}, {})


def histogram(found, name, operation):
    series = {}

    for bound in [*BUCKETS, "+Inf"]:
        le = bound if bound == "+Inf" else f"{bound:g}"
        series[bound] = value(found, name + "_bucket", operation=operation,
                              le=le)

    return series


def test_times(server):
    """A request that takes longer than another is counted above it: its body
    comes in two halves, 0.6 s apart."""

    wait_for(lambda: in_flight(server) == 0, 20)
    before = metrics(server)

    with raw.Connection(server) as conn:
        body = b"x" * 1000
        head = conn.head("PUT", "/bkt/slow",
                         body_headers=[("Content-Length", 1000)],
                         payload=hashlib.sha256(body).hexdigest())
        conn.send(head + body[:500])

        # its time runs; that passes, and no less

        wait_for(lambda: in_flight(server) == 1, 20)
        time.sleep(0.6)
        conn.send(body[500:])
        assert conn.answer().status == 200

    wait_for(lambda: value(metrics(server), "s3_requests_total",
                           operation="PutObject")
             == (value(before, "s3_requests_total", operation="PutObject")
                 or 0) + 1, 10)

    after = metrics(server)

    for name in ("s3_request_duration_seconds", "s3_request_ttfb_seconds"):
        old = histogram(before, name, "PutObject")
        new = histogram(after, name, "PutObject")
        grown = {b: new[b] - (old[b] or 0) for b in new}

        assert grown[0.5] == 0 and grown["+Inf"] == 1, grown
        assert list(grown.values()) == sorted(grown.values())

        assert value(after, name + "_count", operation="PutObject") \
            == new["+Inf"]
        assert value(after, name + "_sum", operation="PutObject") \
            - (value(before, name + "_sum", operation="PutObject") or 0) \
            >= 0.6


def in_flight(server):
    return status(server)["stores"][0]["requests"]["in_flight"]


def half_put(server, key):
    """A connection on which half of a PUT has gone out."""

    conn = raw.Connection(server)
    conn.send(conn.head("PUT", f"/bkt/{key}",
                        body_headers=[("Content-Length", 2_000_000)])
              + b"x" * 1_000_000)
    return conn


def test_under_way_and_canceled(server):
    before = operations(server)
    wait_for(lambda: in_flight(server) == 0, 20)

    conns = [half_put(server, f"half{i}") for i in range(3)]
    wait_for(lambda: in_flight(server) == 3, 20)

    found = metrics(server)
    assert value(found, "s3_requests_in_flight", face="store") == 3
    assert value(metrics(server, CLUSTER),
                 "minio_s3_requests_inflight_total") == 3

    # memory of uploads is told once a second

    wait_for(lambda: status(server)["stores"][0]["workers"]["upload_bytes"],
             20)

    for conn in conns:
        conn.close()

    wait_for(lambda: in_flight(server) == 0, 20)
    wait_for(lambda: status(server)["stores"][0]["workers"]["upload_bytes"]
             == 0, 20)

    codes, errors, canceled, received, _ = \
        since(before, ended(server, before, 3), "PutObject")
    assert sum(codes.values()) == 3
    assert canceled == 3 and errors == {}, (codes, errors)
    assert received >= 3_000_000


# ---- disks

def disk(one, path):
    found, = [d for d in one["disks"] if d["path"] == str(path)]
    return found


def test_disks(server):
    one = settled(server)

    assert (one["name"], one["store_process"]) == ("main", True)
    assert (one["data"], one["parity"]) == (2, 2)
    assert one["quorum"] == {"read": 2, "write": 3, "members": 4}
    assert one["connections"] == 2
    assert {d["slot"] for d in one["disks"]} == {0, 1, 2, 3}
    assert not one["catching_up"] and not one["repairing"]

    one = wait_for(lambda: (lambda s: s if all(
        d["capacity"] for d in s["disks"]) else None)(settled(server)), 20)

    # what statvfs() says; others write there meanwhile

    for path in server.disks:
        d = disk(one, path)
        st = os.statvfs(path)
        total = (st.f_blocks - st.f_bfree + st.f_bavail) * st.f_frsize

        assert (d["state"], d["reason"], d["errors"]) == ("member", None, 0)
        assert abs(d["capacity"] - total) < total / 10
        assert 0 < d["free"] <= d["capacity"]

    capacity = one["capacity"]
    totals = [d["capacity"] for d in one["disks"]]
    frees = [d["free"] for d in one["disks"]]

    assert capacity == {"raw": sum(totals), "raw_free": sum(frees),
                        "usable": 2 * min(totals),
                        "usable_free": 2 * min(frees)}


def test_disk_is_away():
    with s3_server.Store(server=STATUS) as store:
        settled(store)
        client = store.client()
        client.create_bucket(Bucket="bkt")
        gone = store.disks[1]
        away = gone.with_name("away")

        gone.rename(away)
        one = settled(store, 3)
        client.put_object(Bucket="bkt", Key="k", Body=b"x" * 100_000)

        d = wait_for(lambda: (lambda d: d if d["reason"] ==
                     "No such file or directory" else None)
                     (disk(store_status(store), gone)), 20)
        assert d["state"] == "away"
        assert (d["capacity"], d["free"]) == (None, None)
        assert d["errors"] == 1
        assert one["state"] == "ok"

        found = metrics(store)
        assert value(found, "s3_disk_info", disk=str(gone), state="away",
                     reason="No such file or directory") == 1
        assert value(found, "s3_disk_member", disk=str(gone)) == 0
        assert value(found, "s3_disk_member") == 3
        assert value(found, "s3_disk_capacity_bytes",
                     disk=str(gone)) is None

        found = metrics(store, CLUSTER)
        assert value(found, "minio_cluster_drive_total") == 4
        assert value(found, "minio_cluster_drive_online_total") == 3
        assert value(found, "minio_cluster_drive_offline_total") == 1
        assert value(found, "minio_cluster_health_status") == 1
        assert value(found, "minio_cluster_health_erasure_set_online_drives",
                     pool="0", set="0") == 3

        # an empty directory in its place: a drive that is not mounted

        gone.mkdir()
        if store.user:
            os.chown(gone, *store.user[1:])

        wait_for(lambda: disk(store_status(store), gone)["reason"]
                 == "is empty: not mounted?", 20)
        d = disk(store_status(store), gone)
        assert (d["state"], d["slot"]) == ("foreign", None)

        gone.rmdir()
        away.rename(gone)
        settled(store, 4)
        d = disk(store_status(store), gone)
        assert (d["state"], d["reason"]) == ("member", None)
        assert d["errors"] >= 1

        # the shard that it missed

        wait_for(lambda: store_status(store)["counts"]["shards_repaired"]
                 == 1, 30)
        assert value(metrics(store), "s3_store_shards_repaired_total") == 1


def test_nobody_invents(server):
    """What is not counted is null, and no metric."""

    counts = settled(server)["counts"]
    names = {name for name, _ in metrics(server)}

    for name, n in counts.items():
        assert (n is not None) == any(
            full in names for full in (f"s3_store_{name}",
                                       f"s3_store_{name}_total")), name


def test_too_few_disks():
    with s3_server.Store(server=STATUS) as store:
        settled(store)

        for n, state, writable, readable in ((2, "read_only", 0, 1),
                                             (3, "unavailable", 0, 0)):
            for d in store.disks[:n]:
                if d.exists():
                    d.rename(d.with_name(d.name + ".away"))

            wait_for(lambda: store_status(store)["state"] == state, 20)

            found = metrics(store)
            assert value(found, "s3_store_writable") == writable
            assert value(found, "s3_store_readable") == readable

            found = metrics(store, CLUSTER)
            assert value(found, "minio_cluster_health_status") == 0
            assert value(found,
                         "minio_cluster_health_erasure_set_status") == 0


def test_store_process_hangs():
    """What it has told last is shown, with its age; the answer waits for
    nobody."""

    with s3_server.Store(server=STATUS) as store:
        settled(store)
        manager, = store.manager_pids()

        os.kill(manager, signal.SIGSTOP)
        try:
            one = wait_for(lambda: (lambda s: s if s["age_ms"] > 1000
                                    else None)(store_status(store)), 30)
            assert one["quorum"]["members"] == 4
            assert value(metrics(store), "s3_store_status_age_seconds") > 1
        finally:
            os.kill(manager, signal.SIGCONT)

        wait_for(lambda: store_status(store)["age_ms"] < 1000, 30)


def test_nothing_to_run_on():
    store = s3_server.Store(server=STATUS)

    try:
        for d in store.disks:
            d.rmdir()

        store.start(wait=False)
        wait_for(lambda: pathlib.Path(store.path / "nginx.pid").exists(), 20)
        wait_for(lambda: (store_status(store) or {}).get("state")
                 == "unavailable", 20)
        one = store_status(store)
        assert {d["state"] for d in one["disks"]} == {"away"}
        assert one["capacity"] == {"raw": 0, "raw_free": 0, "usable": 0,
                                   "usable_free": 0}
        store.stop()
    finally:
        store.stop(check=False)
        store.remove()


class Odd(s3_server.Store):
    """A disk's name with what must be escaped."""

    def directories(self):
        own = super().directories()
        odd = self.path / 'd"\\ü'
        own[0] = self.disks[0] = odd
        return own

    def configuration(self):
        http, locations = super().configuration()
        plain = str(self.disks[0])
        escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
        assert plain in http
        return http.replace(plain, escaped), locations


def test_names_are_escaped():
    with Odd(server=STATUS) as store:
        one = settled(store)
        assert one["disks"][0]["path"] == str(store.disks[0])

        escaped = str(store.disks[0]).replace("\\", "\\\\") \
            .replace('"', '\\"')
        assert value(metrics(store), "s3_disk_member", disk=escaped) == 1
        assert promtool(ask(store, "/status/metrics").body) == (0, [])


# ---- several stores, gateways

def test_one_of_several():
    second = """
    s3_store second { disk "e1"; disk "e2"; parity 0; }
"""
    more = """
        location /second/ { s3_serve second; }
        location /of/second/ { s3_status second; }
"""
    store = s3_server.Store(server=STATUS + more, http=second)

    for name in ("e1", "e2"):
        (store.path / name).mkdir()
        if store.user:
            os.chown(store.path / name, *store.user[1:])

    with store:
        wait_for(lambda: [s["state"] for s in status(store)["stores"]]
                 == ["ok", "ok"], 20)
        wait_for(lambda: all(s["disks"] and s["quorum"]["members"]
                             == len(s["disks"])
                             for s in status(store)["stores"]), 20)

        def second(store):
            one, = status(store, "/of/second/")["stores"]
            return one["requests"]["operations"]

        before = second(store)
        store.client(prefix="/second").list_buckets()

        both = status(store)
        assert [s["name"] for s in both["stores"]] == ["second", "main"]
        assert "gateways" not in both

        one, = status(store, "/of/second/")["stores"]
        assert one["name"] == "second"
        assert since(before, ended(store, before, 1, second),
                     "ListBuckets")[0] == {"200": 1}

        found = metrics(store)
        assert value(found, "s3_store_disks", store="main") == 4
        assert value(found, "s3_store_disks", store="second") == 2

        found = metrics(store, CLUSTER)
        assert value(found, "minio_cluster_drive_total") == 6
        assert value(found, "minio_cluster_health_erasure_set_write_quorum",
                     pool="0", set="0") == 2
        assert value(found, "minio_cluster_health_erasure_set_write_quorum",
                     pool="1", set="0") == 3

        found = metrics(store, "/of/second" + CLUSTER)
        assert value(found, "minio_cluster_drive_total") == 2


def test_gateway():
    """Its clients' requests, and not those that it asks the upstream; there
    is no store to tell of."""

    with s3_gateway.UpstreamStore(server=STATUS) as upstream, \
            s3_gateway.Gateway(upstream, server=STATUS) as gateway:

        client = gateway.client()
        client.create_bucket(Bucket="bkt")
        assert status(gateway)["stores"] == []

        def counted(gateway):
            return status(gateway)["gateways"]["requests"]["operations"]

        wait_for(lambda: "CreateBucket" in counted(gateway), 20)
        before = counted(gateway)
        behind = operations(upstream)

        body = os.urandom(9 * 1024 * 1024)
        client.put_object(Bucket="bkt", Key="large", Body=body,
                          ChecksumAlgorithm="SHA256")
        assert client.get_object(Bucket="bkt", Key="large")["Body"].read() \
            == body

        with pytest.raises(botocore.exceptions.ClientError):
            client.get_object(Bucket="bkt", Key="none")

        after = ended(gateway, before, 3, counted)

        assert set(after) <= {"ListBuckets", "CreateBucket", "PutObject",
                              "GetObject"}
        codes, errors, canceled, received, _ = \
            since(before, after, "PutObject")
        assert (codes, errors, canceled) == ({"200": 1}, {}, 0)
        assert received >= len(body)
        assert since(before, after, "GetObject")[:2] \
            == ({"200": 1, "404": 1}, {"NoSuchKey": 1})

        # that large a body has a record of its own, which was asked for

        assert since(behind, operations(upstream), "PutObject")[0]["200"] \
            == 2

        found = metrics(gateway)
        assert value(found, "s3_requests_total", face="gateway",
                     operation="PutObject", status="200") == 1
        assert value(found, "s3_store_up") is None

        found = metrics(gateway, CLUSTER)
        assert value(found, "minio_cluster_nodes_online_total") == 1
        assert value(found, "minio_cluster_drive_total") is None
        assert value(found, "minio_s3_requests_total", api="putobject") == 1

        assert promtool(ask(gateway, "/status/metrics").body) == (0, [])


def test_minio_names(server):
    """The numbers under MinIO's names are those under ours."""

    client = server.client()
    before = operations(server)
    client.put_object(Bucket="bkt", Key="minio", Body=b"x")

    upload = client.create_multipart_upload(Bucket="bkt", Key="n")
    client.abort_multipart_upload(Bucket="bkt", Key="n",
                                  UploadId=upload["UploadId"])

    with pytest.raises(botocore.exceptions.ClientError):
        client.get_object(Bucket="bkt", Key="none")

    ended(server, before, 4)

    one = settled(server)
    ours = metrics(server)

    for path in (CLUSTER, NODE):
        found = metrics(server, path)

        for api, operation in (("putobject", "PutObject"),
                               ("newmultipartupload",
                                "CreateMultipartUpload"),
                               ("getobject", "GetObject")):
            assert value(found, "minio_s3_requests_total", api=api) \
                == value(ours, "s3_requests_total", operation=operation)

        assert value(found, "minio_s3_requests_4xx_errors_total",
                     api="getobject") \
            == sum(value(ours, "s3_requests_total", operation="GetObject",
                         status=s) or 0 for s in ("403", "404", "412", "416"))
        assert value(found, "minio_s3_requests_5xx_errors_total",
                     api="getobject") == 0
        assert value(found, "minio_s3_traffic_received_bytes") \
            == value(ours, "s3_received_bytes_total")
        assert value(found, "minio_s3_traffic_sent_bytes") \
            == value(ours, "s3_sent_bytes_total")
        assert value(found, "minio_s3_requests_ttfb_seconds_distribution",
                     api="putobject", le="+Inf") \
            == value(ours, "s3_request_ttfb_seconds_count",
                     operation="PutObject")
        assert value(found, "minio_cluster_nodes_online_total") == 1

    assert value(metrics(server, NODE), "minio_node_drive_total_bytes",
                 drive=str(server.disks[0])) == one["disks"][0]["capacity"]
    assert value(metrics(server, NODE), "minio_node_drive_online_total") == 4
    assert value(metrics(server, CLUSTER),
                 "minio_cluster_capacity_usable_total_bytes") \
        == one["capacity"]["usable"]


# ---- Prometheus' own programs

def promtool(text):
    run = subprocess.run(["promtool", "check", "metrics"], input=text,
                         capture_output=True, timeout=60)
    return run.returncode, (run.stdout + run.stderr).decode().splitlines()


# promtool's advice about names that MinIO has given

ADVICE = re.compile(
    r'minio_\w+ (non-counter metrics should not have "_total" suffix|'
    r'counter metrics should have "_total" suffix|'
    r'non-histogram metrics should not have "le" label)')


def test_promtool(server):
    """Ours has nothing to be said against it."""

    before = operations(server)

    with pytest.raises(botocore.exceptions.ClientError):
        server.client().get_object(Bucket="bkt", Key="none")

    ended(server, before, 1)
    settled(server)

    assert promtool(ask(server, "/status/metrics").body) == (0, [])

    for path in (CLUSTER, NODE):
        code, lines = promtool(ask(server, path).body)
        assert code in (0, 3), lines
        assert [x for x in lines if not ADVICE.fullmatch(x)] == []

    # it does look

    code, lines = promtool(b"a_metric{ 1\n")
    assert code == 1 and lines


class Prometheus:
    """A real one, in a directory of its own.  MinIO's own alert is among its
    rules (docs/metrics/prometheus/alerts.md), without the five minutes."""

    RULES = """
groups:
- name: test
  rules:
  - alert: MinIOClusterTolerance
    expr: minio_cluster_health_erasure_set_status < 1
  - alert: DiskOut
    expr: s3_disk_member == 0
"""

    def __init__(self, path, targets):
        self.port, = s3_server.free_ports(1)
        self.path = path
        (path / "rules.yml").write_text(self.RULES)
        (path / "data").mkdir()
        jobs = "".join(f"""
- job_name: {name}
  metrics_path: {metrics_path}
  static_configs: [{{targets: ["{target}"]}}]
""" for name, (target, metrics_path) in targets.items())
        (path / "prometheus.yml").write_text(f"""
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [rules.yml]
scrape_configs:{jobs}""")

    def __enter__(self):
        check = subprocess.run(["promtool", "check", "config",
                                self.path / "prometheus.yml"],
                               capture_output=True, text=True, timeout=60)
        assert check.returncode == 0, check.stdout + check.stderr

        self.log = open(self.path / "log", "wb")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "prometheus",
             f"--config.file={self.path}/prometheus.yml",
             f"--storage.tsdb.path={self.path}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.log.close()

    def get(self, path, **args):
        assert self.process.poll() is None, \
            (self.path / "log").read_text()[-2000:]

        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?" \
            + urllib.parse.urlencode(args)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        try:
            with opener.open(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except (OSError, socket.timeout):
            return None

    def query(self, expression):
        """[(labels, value)]"""

        data = self.get("query", query=expression)
        return data and [(r["metric"], float(r["value"][1]))
                         for r in data["result"]]

    def firing(self):
        data = self.get("alerts") or {"alerts": []}
        return {a["labels"]["alertname"] for a in data["alerts"]
                if a["state"] == "firing"}


def test_prometheus(tmp_path):
    with s3_server.Store(server=STATUS) as store:
        settled(store)
        client = store.client()
        client.create_bucket(Bucket="bkt")

        for i in range(7):
            client.put_object(Bucket="bkt", Key=str(i), Body=b"x" * 1000)

        wait_for(lambda: operations(store)["PutObject"]["requests"] == 7, 20)

        target = f"127.0.0.1:{store.port}"

        with Prometheus(tmp_path, {"ours": (target, "/status"),
                                   "cluster": (target, CLUSTER),
                                   "node": (target, NODE)}) as prometheus:

            wait_for(lambda: sorted(
                (labels["job"], n) for labels, n
                in prometheus.query("up") or [])
                == [("cluster", 1), ("node", 1), ("ours", 1)],
                60, "Prometheus does not scrape")

            def one(expression):
                found = prometheus.query(expression)
                return found[0][1] if found and len(found) == 1 else None

            assert one('sum(s3_requests_total{operation="PutObject"})') == 7
            assert one('minio_s3_requests_total{job="cluster",'
                       'api="putobject"}') == 7
            assert one('minio_cluster_drive_online_total') == 4
            assert one('sum(s3_received_bytes_total'
                       '{operation="PutObject"})') > 7000
            assert 0 < one('histogram_quantile(0.9, sum by (le) '
                           '(s3_request_duration_seconds_bucket'
                           '{operation="PutObject"}))') <= 60
            assert one(f'minio_node_drive_total_bytes'
                       f'{{drive="{store.disks[0]}"}}') > 0
            assert prometheus.firing() == set()

            # as MinIO's dashboard asks (minio-dashboard.json)

            for expression in (
                    "time() - max(minio_node_process_starttime_seconds)",
                    "topk(1, sum(minio_cluster_capacity_usable_total_bytes) "
                    "by (instance)) - topk(1, "
                    "sum(minio_cluster_capacity_usable_free_bytes) "
                    "by (instance))",
                    'sum by (server,api) (increase('
                    'minio_s3_requests_total{job="cluster"}[1m]))',
                    'sum by (server) (rate('
                    'minio_s3_traffic_sent_bytes{job="cluster"}[1m]))'):
                wait_for(lambda e=expression: prometheus.query(e), 60,
                         expression)

            for d in store.disks[:2]:
                d.rename(d.with_name(d.name + ".away"))

            wait_for(lambda: prometheus.firing()
                     == {"MinIOClusterTolerance", "DiskOut"}, 60)
            assert one("minio_cluster_health_status") == 0
