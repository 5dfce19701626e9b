"""Bytes that belong to no request: neither the upstream nor nginx may take them
for one."""

import contextlib
import socket
import subprocess

import pytest

import raw
import s3_gateway
from s3_server import wait_for


KIB = 1 << 10
MIB = 1 << 20

NONE = [("GET", "", ""), ("GET", "", "list-type=2"), ("GET", "k", ""),
        ("HEAD", "k", ""), ("DELETE", "k", ""), ("GET", "", "versions"),
        ("DELETE", "none", "tagging"), ("GET", "", "uploads")]


@pytest.fixture(scope="module")
def tap(ceph):
    with s3_gateway.Tap(ceph) as tap:
        yield tap


@pytest.fixture(scope="module", params=["emulate", "pass"])
def server(request, ceph, tap):
    with s3_gateway.Gateway(ceph, upstream_url=tap.url, workers=1,
                            gateway=f"s3_checksums {request.param};") as g:
        yield g


@pytest.fixture
def bucket(upstream, bucket_name):
    name = bucket_name("smuggling")
    upstream.create_bucket(Bucket=name)
    upstream.put_object(Bucket=name, Key="k", Body=b"old")
    return name


def lengths(tap):
    return [s.headers.get("content-length", "0") for s in tap.sent]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method,key,query", NONE)
def test_body_of_what_has_none(server, tap, bucket, method, key, query,
                               framing):
    """Held back by the client: the upstream is not told to wait for it, and
    answers the next request as ever."""

    tap.sent.clear()
    body = ("Content-Length", "5") if framing == "length" \
        else ("Transfer-Encoding", "chunked")

    with raw.Connection(server) as conn:
        conn.send(conn.head(method, f"/{bucket}" + (f"/{key}" if key else ""),
                            query, body_headers=[body]))
        conn.answer(method)

    assert set(lengths(tap)) <= {"0"}

    # the same connections to the upstream, for somebody else

    for _ in range(3):
        answer = raw.once(server, "GET", f"/{bucket}/k-2")
        answer.is_error(404, "NoSuchKey")


@pytest.mark.parametrize("method", ["DELETE", "GET"])
def test_body_in_http2(server, tap, bucket, tmp_path, method):
    tap.sent.clear()
    (tmp_path / "body").write_bytes(b"hello")
    host = f"127.0.0.1:{server.h2_port}"
    path = f"/{bucket}/k"
    query = raw.presign(method, host, path)

    done = subprocess.run(
        ["curl", "-sS", "-i", "--http2", "--noproxy", "*", "--cacert",
         server.ca, "-X", method, "--data-binary", f"@{tmp_path}/body",
         "-H", "Content-Type:", f"{server.url('h2')}{path}?{query}"],
        capture_output=True, timeout=60)

    assert b"HTTP/2 20" in done.stdout, done
    assert set(lengths(tap)) <= {"0"}


@pytest.mark.parametrize("method,key,query,headers", [
    ("POST", "new", "uploads", []),
    ("PUT", "copy", "", [("x-amz-copy-source", "{bucket}/k")]),
    ("GET", "k", "", []), ("DELETE", "none", "", []),
    ("GET", "", "list-type=2", [])])
def test_request_in_a_body(server, tap, bucket, method, key, query, headers):
    """Is none."""

    path = f"/{bucket}" + (f"/{key}" if key else "")
    headers = [(n, v.format(bucket=bucket)) for n, v in headers]

    with raw.Connection(server) as conn:
        inner = conn.head("DELETE", f"/{bucket}/k")
        conn.send(conn.head(method, path, query, headers,
                            [("Content-Length", str(len(inner)))]) + inner)
        conn.answer(method)

        with contextlib.suppress(OSError):
            assert everything(conn).count(b"HTTP/1.1 ") == 0

    answer = raw.once(server, "GET", f"/{bucket}/k")
    assert (answer.status, answer.body) == (200, b"old")


def everything(conn):
    """What else comes, until the connection ends or says no more."""

    conn.socket.settimeout(1)
    text = b""

    with contextlib.suppress(socket.timeout):
        while piece := conn.socket.recv(65536):
            text += piece

    return text
