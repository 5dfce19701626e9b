"""Requests within requests: whatever two parsers might read in two ways is
read in one, or refused with the end of the connection.  On connections that
have served before, and with more behind on the same one."""

import contextlib
import re

import pytest

import raw
import s3_gateway
import s3_server


@pytest.fixture(scope="module", params=["store", "gateway"])
def server(request):
    if s3_server.EXTERNAL or s3_server.THROUGH:
        s3_server.skip("starts a server")

    with contextlib.ExitStack() as stack:
        if request.param == "store":
            server = stack.enter_context(s3_server.Store(workers=1))
        else:
            upstream = stack.enter_context(s3_gateway.UpstreamStore())
            server = stack.enter_context(s3_gateway.Gateway(
                upstream, workers=1, gateway="s3_checksums pass;"))

        server.client().create_bucket(Bucket="smuggled")
        yield server


@pytest.fixture
def conn(server):
    """One that has served already.  At the end nothing but "k" is there."""

    server.client().put_object(Bucket="smuggled", Key="k", Body=b"old")

    with raw.Connection(server) as conn:
        assert conn.request("GET", "/smuggled/k").body == b"old"
        yield conn

    listed = server.client().list_objects_v2(Bucket="smuggled")
    assert [e["Key"] for e in listed["Contents"]] == ["k"]
    assert raw.once(server, "GET", "/smuggled/k").body in (b"old", b"hello")


def inner(conn):
    """What nobody may take for a request: signed well, it would be done."""

    return conn.head("PUT", "/smuggled/inner",
                     body_headers=[("Content-Length", "0")])


def put(conn, lines, body, payload=raw.UNSIGNED):
    """A PUT of "k" with those lines, as they are, for its framing."""

    head = conn.head("PUT", "/smuggled/k", payload=payload)
    assert head.endswith(b"\r\n\r\n")
    return head[:-2] + b"".join(line + b"\r\n" for line in lines) \
        + b"\r\n" + body


def everything(conn, seconds):
    """What comes until the connection ends, and whether it has."""

    conn.socket.settimeout(seconds)
    text, ended = b"", True

    try:
        while piece := conn.socket.recv(65536):
            text += piece
    except TimeoutError:
        ended = False
    except ConnectionResetError:
        pass

    return text, ended


def statuses(conn, seconds=3):
    """Of all answers until the connection ends, and whether it has."""

    text, ended = everything(conn, seconds)
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d+) ", text)], ended


def is_followed(conn):
    """One answer, then that to the GET behind it, or the end."""

    answers, ended = statuses(conn, 1)
    return len(answers) == 2 and answers[1] == 404 \
        or len(answers) == 1 and ended


def chunked(body):
    return b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


# ---- refused: the connection ends, what follows is never looked at

LENGTHS = {
    "CL and TE": [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    "TE and CL": [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
    "CL twice": [b"Content-Length: 5", b"Content-Length: 6"],
    "the same CL twice": [b"Content-Length: 5", b"Content-Length: 5"],
    "CL with a list": [b"Content-Length: 5, 5"],
    "CL with a sign": [b"Content-Length: +5"],
    "negative CL": [b"Content-Length: -5"],
    "hexadecimal CL": [b"Content-Length: 0x5"],
    "no CL in it": [b"Content-Length:"],
    "CL with a space within": [b"Content-Length: 5 0"],
    "CL of 2^64": [b"Content-Length: 18446744073709551621"],
    "TE twice": [b"Transfer-Encoding: chunked",
                 b"Transfer-Encoding: chunked"],
    "TE twice, another": [b"Transfer-Encoding: chunked",
                          b"Transfer-Encoding: identity"],
    "TE that is a list": [b"Transfer-Encoding: gzip, chunked"],
    "TE of chunked twice": [b"Transfer-Encoding: chunked, chunked"],
    "TE that is unknown": [b"Transfer-Encoding: xchunked"],
    "TE with a tab": [b"Transfer-Encoding:\tchunked"],
    "TE with a vertical tab": [b"Transfer-Encoding: \x0bchunked"],
    "TE with a quote": [b'Transfer-Encoding: "chunked"'],
    "space before the colon": [b"Transfer-Encoding : chunked"],
    "folded TE": [b"Transfer-Encoding:", b" chunked"],
    "folded CL": [b"Content-Length: 5", b" 0"],
    "folded by a tab": [b"X-A: b", b"\tContent-Length: 5"],
    "a line that is none": [b"Content-Length"],
    "NUL in a name": [b"Content-Length\x00: 5"],
    "NUL in a value": [b"Content-Length: 5\x00"],
    "bare CR": [b"X-A: b\rContent-Length: 5"],
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths(conn, name):
    """Behind the head stands a body by either reading, then a request."""

    for body in (b"hello", chunked(b"hello")):
        with raw.Connection(conn.store) as other:
            assert other.request("GET", "/smuggled/k").status == 200
            other.send(put(other, LENGTHS[name], body + inner(other)))
            answers, ended = statuses(other)
            assert answers in ([400], [501]) and ended


@pytest.mark.parametrize("size", [
    b"5x", b"-5", b"+5", b"0x5", b" 5", b"", b";a", b"5\r5",
    b"ffffffffffffffff", b"7fffffffffffffff5", b"10000000000000005",
    b"\x005"])
def test_chunks_that_are_none(conn, size):
    conn.send(put(conn, [b"Transfer-Encoding: chunked"],
                  size + b"\r\nhello\r\n0\r\n\r\n" + inner(conn)))

    answers, ended = statuses(conn)
    assert answers == [400] and ended


@pytest.mark.parametrize("body", [
    b"5\r\nhelloX\r\n0\r\n\r\n", b"4\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r\n0\r\nX"])
def test_chunks_of_another_size(conn, body):
    conn.send(put(conn, [b"Transfer-Encoding: chunked"], body + inner(conn)))

    answers, ended = statuses(conn)
    assert answers in ([400], [200])
    assert ended or body.endswith(b"X")


# ---- read in one way: what follows is the next request, and no other

@pytest.mark.parametrize("body", [
    b"5;a=b\r\nhello\r\n0\r\n\r\n",
    b'5;a="b;c"\r\nhello\r\n0;d\r\n\r\n',
    b"5 ; a\r\nhello\r\n0 \r\n\r\n",
    b"0000000005\r\nhello\r\n00\r\n\r\n",
    b"1\r\nh\r\n4\r\nello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
    b"5;" + b"a" * 3000 + b"\r\nhello\r\n0\r\n\r\n"])
def test_extensions_and_trailers(conn, body):
    conn.send(put(conn, [b"Transfer-Encoding: chunked"], body)
              + conn.head("GET", "/smuggled/k", payload=raw.EMPTY_SHA256))

    text, ended = everything(conn, 1)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", text) == [b"200", b"200"]
    assert text.endswith(b"\r\n\r\nhello") and not ended
    assert conn.serves()


@pytest.mark.parametrize("begin", [b"5\r\nhello\r\n0\r\n",
                                   b"5\r\nhello\r\n0;a\r\nB: c\r\n"])
def test_request_in_trailers(conn, begin):
    """Its lines are trailers, which nobody looks at."""

    conn.send(put(conn, [b"Transfer-Encoding: chunked"],
                  begin + inner(conn)))

    assert statuses(conn, 1) == ([200], False)
    assert conn.serves()


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method,path,query,more", [
    ("GET", "/smuggled/k", "", {}), ("HEAD", "/smuggled/k", "", {}),
    ("GET", "/smuggled", "list-type=2", {}), ("GET", "/", "", {}),
    ("DELETE", "/smuggled/none", "", {}),
    ("GET", "/smuggled/k", "torrent", {}),
    ("PUT", "/smuggled/x", "", {"secret_key": "wrong"}),
    ("PUT", "/smuggled/x", "", {"signed": False}),
    ("PUT", "/Bad_Name/x", "", {}), ("PUT", "/smuggled/x", "acl", {}),
    ("POST", "/smuggled", "delete", {}), ("PATCH", "/smuggled/x", "", {})])
def test_request_in_a_body(conn, method, path, query, more, framing):
    """Is none, whether the body was wanted or refused.  What follows the
    body is answered as what it is, or the connection ends."""

    body = inner(conn)
    lines = [("Content-Length", len(body))]

    if framing == "chunked":
        lines = [("Transfer-Encoding", "chunked")]
        body = chunked(body)

    conn.send(conn.head(method, path, query, body_headers=lines,
                        payload=raw.EMPTY_SHA256, **more) + body
              + conn.head("GET", "/smuggled/none"))

    assert is_followed(conn)


@pytest.mark.parametrize("form", ["trailer", "signed"])
def test_behind_the_last_aws_chunk(conn, form):
    """Within Content-Length, but not of the payload."""

    if form == "trailer":
        body = raw.aws_chunked(b"hello")
        payload, more = raw.TRAILER, [("x-amz-trailer",
                                       "x-amz-checksum-crc32")]
    else:
        body = b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n"
        payload, more = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", []

    body += inner(conn)
    conn.send(conn.head(
        "PUT", "/smuggled/k", headers=more + [
            ("x-amz-decoded-content-length", "5"),
            ("Content-Encoding", "aws-chunked")],
        body_headers=[("Content-Length", len(body))], payload=payload) + body
        + conn.head("GET", "/smuggled/none"))

    assert is_followed(conn)
    assert raw.once(conn.store, "GET", "/smuggled/k").body == b"old"


@pytest.mark.parametrize("line", [
    b"GET /smuggled/k\r\n", b"PUT /smuggled/inner HTTP/1.0\r\n",
    b"PUT /smuggled/inner HTTP/1.1 HTTP/1.1\r\n",
    b"PUT /smuggled/inner\tHTTP/1.1\r\n",
    b"PUT\x0b/smuggled/inner HTTP/1.1\r\n", b"\x00\r\n",
    b"PUT http://x@y/smuggled/inner HTTP/1.1\r\n"])
def test_lines_that_begin_no_request(conn, line):
    """Old, odd or wrong; none has a signature, and "inner" is not made."""

    conn.send(line + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
              + chunked(inner(conn)))

    answers, ended = statuses(conn)
    assert ended and all(400 <= s < 600 for s in answers)
    assert len(answers) <= 1


# ---- the one who waits for "100 Continue" and does not

def test_body_that_comes_unasked(conn):
    """Refused: the body that follows all the same is no request."""

    body = inner(conn)
    conn.send(conn.head("PUT", "/smuggled/x", body_headers=[
        ("Content-Length", len(body)), ("Expect", "100-continue")],
        secret_key="wrong") + body)

    assert statuses(conn, 1)[0] == [403]
