"""XML of somebody who means harm: it costs no more time and memory than its
size allows, and nobody else waits for it."""

import base64
import contextlib
import hashlib
import http.client
import select
import socket

import pytest

import raw
import s3_server
from checks import KIB, MIB


def complete(parts):
    return ("<CompleteMultipartUpload>" + parts
            + "</CompleteMultipartUpload>").encode()


def part(number, etag="0" * 32):
    return (f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
            "</Part>")


def delete(keys):
    return ("<Delete>" + "".join(f"<Object><Key>{k}</Key></Object>"
                                 for k in keys) + "</Delete>").encode()


def md5(body):
    return [("Content-MD5",
             base64.b64encode(hashlib.md5(body).digest()).decode())]


def up_to(size, begin, piece, end=""):
    """begin, piece % 0, piece % 1, ... for about so many bytes, end."""

    return (begin + "".join(piece % i for i in range(
        (size - len(begin) - len(end)) // len(piece % 1_000_000)))
            + end).encode()


ATTRIBUTES = {"attributes": 'a%d="" ', "namespaces": 'xmlns:a%d="b" '}


@pytest.fixture
def upload_id(s3, bucket):
    """An upload of the key "k"."""

    return s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]


# A parser that compares each attribute with each is at it for minutes (and is
# the worker's only thread): raw.Connection gives up after 30 s.

@pytest.mark.parametrize("what", ATTRIBUTES)
def test_complete_with_many_attributes(store, bucket, upload_id, what):
    body = up_to(8 * MIB, "<CompleteMultipartUpload ", ATTRIBUTES[what], "/>")

    raw.once(store, "POST", f"/{bucket}/k", f"uploadId={upload_id}",
             body=body).is_error(400, "MalformedXML")


@pytest.mark.parametrize("what", ATTRIBUTES)
def test_delete_with_many_attributes(store, bucket, what):
    body = up_to(2 * MIB, "<Delete ", ATTRIBUTES[what], "/>")

    raw.once(store, "POST", f"/{bucket}", "delete", headers=md5(body),
             body=body).is_error(400, "MalformedXML")


# what has no end is kept until it comes: no more of it than is of any use

@pytest.mark.parametrize("begin,end", [
    ("<!--", "-->"), ("<?x ", "?>"), ("<Part a='", "'></Part>"),
    ("<Part><ETag>&", ";</ETag></Part>"), ("<", "/>")],
    ids=["comment", "instruction", "attribute", "entity", "name"])
def test_markup_that_does_not_end(store, bucket, upload_id, begin, end):
    body = complete(part(1) + begin + "x" * MIB + end)

    with raw.Connection(store) as conn:
        conn.request("POST", f"/{bucket}/k", f"uploadId={upload_id}",
                     body=body).is_error(400, "MalformedXML")

    # the same, of a size that means nothing

    if begin in ("<!--", "<?x "):
        body = complete(part(1) + begin + "x" * 8 * KIB + end)
        raw.once(store, "POST", f"/{bucket}/k", f"uploadId={upload_id}",
                 body=body).is_error(400, "InvalidPart")


@pytest.mark.parametrize("key", [b"\xff", b"\xc1\x9e", b"\xed\xa0\x80",
                                 b"<![CDATA[\xff]]>",
                                 b"<![CDATA[\xc1\x9e]]>"])
def test_key_that_is_not_utf8(store, bucket, key):
    """0xC1 0x9E is too long a form of "^", which no decoder may take."""

    body = delete(["?"]).replace(b"?", key)

    raw.once(store, "POST", f"/{bucket}", "delete", headers=md5(body),
             body=body).is_error(400, "MalformedXML")


# ---- many at a time: 32 MiB of documents a worker

@pytest.fixture(scope="module")
def one():
    # nobody here is ended for being slow: that is in test_admission.py

    with s3_server.Store(disks=1, parity=0, workers=1,
                         http="s3_min_rate off;") as server:
        server.client().create_bucket(Bucket="shared")
        yield server


def opened(server, stack):
    conn = stack.enter_context(raw.Connection(server))
    conn.socket.settimeout(30)
    return conn


def early(conn):
    """What it has been answered so far, None: nothing."""

    conn.socket.settimeout(0.05)

    try:
        return conn.answer("POST")
    except TimeoutError:
        return None


def test_lists_of_parts_that_stall(one):
    s3 = one.client()
    upload_id = s3.create_multipart_upload(Bucket="shared",
                                           Key="k")["UploadId"]
    body = complete("".join(map(part, range(1, 10001))))
    path, query = "/shared/k", f"uploadId={upload_id}"

    with contextlib.ExitStack() as stack, one.watch_rss() as peak:
        before = one.rss()
        conns = [opened(one, stack) for _ in range(60)]

        for conn in conns:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                conn.send(conn.head("POST", path, query, (),
                                    [("Content-Length", len(body))],
                                    hashlib.sha256(body).hexdigest())
                          + body[:-30])

        # once one is refused the server has looked at all before it

        s3_server.wait_for(lambda: select.select(
            [conn.socket for conn in conns], [], [], 0)[0], 30)
        answers = [early(conn) for conn in conns]
        refused = [a for a in answers if a is not None]

        assert 0 < len(refused) < len(conns)

        for answer in refused:
            answer.is_error(503, "SlowDown")

        # others are served; those who were let in can go on

        assert s3.list_objects_v2(Bucket="shared")["KeyCount"] == 0
        conn = conns[answers.index(None)]
        conn.socket.settimeout(30)
        conn.raw(body[-30:], "POST").is_error(400, "InvalidPart")
        assert peak[0] - before < 200 * MIB

    # and all of it is given back

    s3_server.wait_for(lambda: raw.once(one, "POST", path, query, body=body)
                       .status == 400, 10)
    s3.abort_multipart_upload(Bucket="shared", Key="k", UploadId=upload_id)


def statuses(server, n, method, path, query, headers=(), body=None):
    """What n clients are answered that then take no more."""

    length = [("Content-Length", len(body))] if body else []
    found = set()

    with contextlib.ExitStack() as stack:
        conns = [opened(server, stack) for _ in range(n)]

        for conn in conns:
            conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            conn.send(conn.head(method, path, query, headers, length,
                                hashlib.sha256(body or b"").hexdigest())
                      + (body or b""))

        for conn in conns:
            response = http.client.HTTPResponse(conn.socket, method=method)
            response.begin()
            found.add(response.status)

    return found


def test_lists_that_nobody_takes(one):
    """Pages of 5 MB.  Those who take theirs do not wait for the others."""

    with raw.Connection(one) as conn:
        for i in range(1000):
            key = "%22" * 900 + f"{i:04}"
            answer = conn.request("PUT", f"/shared/{key}", body=b"x")
            assert answer.status == 200

    assert statuses(one, 20, "GET", "/shared", "list-type=2") == {200, 503}

    with raw.Connection(one) as conn:

        # when the server has seen that the last of them is gone

        s3_server.wait_for(lambda: conn.request(
            "GET", "/shared", "list-type=2").status == 200, 10)

        for _ in range(8):
            answer = conn.request("GET", "/shared", "list-type=2")
            assert len(answer.xml.findall("{*}Contents")) == 1000

        body = delete(['"' * 900 + f"{i:04}" for i in range(1000)])
        answer = conn.request("POST", "/shared", "delete",
                              headers=md5(body), body=body)
        assert len(answer.xml.findall("{*}Deleted")) == 1000


def test_answers_that_nobody_takes(one):
    """2 MB of keys that take six times as much when they are escaped."""

    body = delete(["\x7f" * 1900] * 1000)

    assert statuses(one, 8, "POST", "/shared", "delete", md5(body), body) \
        == {200, 503}

    def again():
        answer = raw.once(one, "POST", "/shared", "delete",
                          headers=md5(body), body=body)
        return answer.status == 200 and answer

    answer = s3_server.wait_for(again, 10)
    assert len(answer.xml.findall("{*}Error")) == 1000
