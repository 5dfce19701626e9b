"""More than anybody needs: headers, nesting, documents, and names of things
that are elsewhere."""

import base64
import contextlib
import hashlib
import socket

import pytest

import raw
import s3_server
from checks import KIB, MIB
from test_attack_documents import md5
from test_memory import END_HEADERS, END_STREAM, HEADERS, field, frame


CONTINUATION = 9
H2_PORT, = s3_server.free_ports(1)


@pytest.fixture(scope="module")
def one():
    """One worker, by HTTP/2 without TLS as well."""

    with s3_server.Store(disks=1, parity=0, workers=1,
                         server=f"listen 127.0.0.1:{H2_PORT} http2;") \
            as server:
        server.client().create_bucket(Bucket="flood")
        yield server


@pytest.fixture
def bounded(one):
    """Whatever happens, memory does not grow by more than this, and others
    are served afterwards."""

    before = one.rss()

    with one.watch_rss() as peak:
        yield one

    print(f"RSS: {(peak[0] - before) // KIB} KiB more")
    assert peak[0] - before < 48 * MIB
    assert raw.once(one, "GET", "/flood").status == 200


# ---- headers

@pytest.mark.parametrize("n", [100, 1000, 5000, 10_000])
def test_many_headers(bounded, n):
    """Of four bytes each."""

    with raw.Connection(bounded) as conn:
        head = conn.head("GET", "/flood", payload=raw.EMPTY_SHA256)
        conn.send(head[:-2] + n * b"a:\r\n" + b"\r\n")
        answer = conn.answer()

        if n == 100:
            assert answer.status == 200, answer
            assert conn.serves()
        else:
            answer.is_error(400, "RequestHeaderSectionTooLarge")
            assert conn.ends()


@pytest.mark.parametrize("n,names", [(2000, False), (1000, True)])
def test_many_signed_headers(bounded, n, names):
    """All of them go into the canonical request."""

    headers = [(f"x-amz-meta-{i}" if names else "x-amz-meta-a", "")
               for i in range(n)]

    with raw.Connection(bounded) as conn:
        head = conn.head("PUT", "/flood/k", headers=headers,
                         body_headers=[("Content-Length", 0)])
        with contextlib.suppress(OSError):
            conn.send(head)
        answer = conn.answer("PUT")
        assert answer.status == 400 or answer.status == 200 and not names


def test_header_without_end(bounded):
    """Megabytes of it; the answer comes after 32 KiB."""

    with raw.Connection(bounded) as conn:
        with contextlib.suppress(OSError):
            conn.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
            for _ in range(100):
                conn.send(b"X-A: " + b"a" * 100_000 + b"\r\n")

        with contextlib.suppress(OSError):
            conn.answer().is_error(400, "RequestHeaderSectionTooLarge")


@pytest.mark.parametrize("what", [field("a", ""), field("a" * 4000, "b"),
                                  field("a", "b" * 4000)],
                         ids=["small", "names", "values"])
def test_continuation_frames(bounded, what):
    """HTTP/2: headers that do not end, 16 MB of them."""

    begin = b"".join(field(n, v) for n, v in (
        (":method", "GET"), (":scheme", "http"), (":path", "/flood"),
        (":authority", "x")))
    more = frame(CONTINUATION, 0, 1, what * (16_000 // len(what)))

    with socket.create_connection(("127.0.0.1", H2_PORT), 30) as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
                  + frame(HEADERS, END_STREAM, 1, begin))

        # nginx may end the connection, or read on and keep nothing of it

        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(1000):
                s.sendall(more)

        assert raw.once(bounded, "GET", "/flood").status == 200


def test_hpack_bomb(bounded):
    """A field of 4 KB put into the table once, then named by a byte."""

    def literal(name, value):
        return b"\x40" + field(name, value)[1:]

    begin = b"".join(field(n, v) for n, v in (
        (":method", "GET"), (":scheme", "http"), (":path", "/flood"),
        (":authority", "x"))) + literal("a", "b" * 3900)

    with socket.create_connection(("127.0.0.1", H2_PORT), 30) as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))

        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for i in range(100):
                s.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 2 * i + 1,
                                (begin if i == 0 else begin[:0])
                                + b"\xbe" * 12_000))
                s.settimeout(5)
                if not s.recv(65536):
                    break


# ---- documents

def documents(name):
    deep = "<a>" * 300_000

    return {
        "open": deep.encode(),
        "closed": (deep + "</a>" * 300_000).encode(),
        "within": f"<{name}>{deep}".encode(),
        "of itself": f"<{name}>".encode() * 60_000,
        "laughs": b'<!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
            b'<!ENTITY %c "%s">' % (c + 1, b"&%c;" % c * 10)
            for c in range(ord("a"), ord("l"))) + b"]><%s>&l;</%s>" % (
                name.encode(), name.encode()),
        "quadratic": b'<!DOCTYPE l [<!ENTITY a "' + b"a" * 50_000 + b'">]><'
        + name.encode() + b">" + b"&a;" * 50_000 + b"</" + name.encode()
        + b">",
        "a file": b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><'
        + name.encode() + b"><Object><Key>&a;</Key></Object></"
        + name.encode() + b">",
        "a parameter": b'<!DOCTYPE l [<!ENTITY %% a SYSTEM '
        b'"http://127.0.0.1:1/"> %%a;]><%s/>' % name.encode(),
    }


@pytest.mark.parametrize("what", documents("x"))
@pytest.mark.parametrize("name,method,path,query", [
    ("Delete", "POST", "/flood", "delete"),
    ("CompleteMultipartUpload", "POST", "/flood/k", "uploadId={}"),
    ("CreateBucketConfiguration", "PUT", "/flood-2", "")])
def test_documents(bounded, name, method, path, query, what):
    s3 = bounded.client()
    upload_id = s3.create_multipart_upload(Bucket="flood",
                                           Key="k")["UploadId"]
    body = documents(name)[what]

    answer = raw.once(bounded, method, path, query.format(upload_id),
                      headers=md5(body), body=body)
    answer.is_error(400, answer.code)
    assert answer.code in ("MalformedXML", "MaxMessageLengthExceeded")
    assert b"root:" not in answer.body

    s3.abort_multipart_upload(Bucket="flood", Key="k", UploadId=upload_id)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path,query", [
    ("/flood", "delete"), ("/flood/k", "uploadId=x")])
def test_documents_of_100_megabytes(bounded, path, query, chunked):
    """Refused where it is said, or after 2 MiB (Complete: 8 MiB)."""

    piece = b"<Object><Key>k</Key></Object>" * 30_000
    digest = base64.b64encode(hashlib.md5(b"").digest()).decode()

    with raw.Connection(bounded) as conn:
        conn.send(conn.head(
            "POST", path, query, [("Content-MD5", digest)],
            [("Transfer-Encoding", "chunked")] if chunked
            else [("Content-Length", 100 * MIB)]))

        with contextlib.suppress(OSError):
            conn.send(b"%x\r\n" % (100 * MIB) if chunked else b"")
            for _ in range(100 * MIB // len(piece)):
                conn.send(piece)

        # the connection may have ended before all was sent, and the answer
        # with it

        with contextlib.suppress(ConnectionResetError):
            answer = conn.answer("POST")
            answer.is_error(answer.status, answer.code)
            assert answer.status in (400, 404)


# ---- names

@pytest.mark.parametrize("name", [
    "..", "../..", "%2e%2e%2f%2e%2e", "..%2f..%2fetc%2fpasswd", "%00",
    "a%00b", "%c0%ae%c0%ae%c0%af", "%e0%80%af", "%c0%80", "%f0%80%80%af",
    "..%5c..", "%ff%fe", "/etc/passwd"])
def test_names_in_arguments(bounded, name):
    """Keys, uploads and sources: nothing but names in the index."""

    s3 = bounded.client()
    s3.put_object(Bucket="flood", Key="real", Body=b"real")

    with raw.Connection(bounded) as conn:
        def ask(method, path, query="", headers=(), body=None):
            answer = conn.request(method, path, query, headers, body)
            assert answer.status < 500 or answer.status == 501, answer
            assert b"root:" not in answer.body
            return answer

        for query in ("prefix=", "start-after=", "delimiter=",
                      "continuation-token="):
            answer = ask("GET", "/flood", f"list-type=2&{query}{name}")
            assert answer.status in (200, 400)

        for query in ("uploadId={}", "uploadId={}&partNumber=1"):
            for method, body in (("GET", None), ("PUT", b"x"),
                                 ("POST", b"<CompleteMultipartUpload/>"),
                                 ("DELETE", None)):
                answer = ask(method, "/flood/none", query.format(name),
                             body=body)
                assert answer.status in (400, 404, 405, 501), answer

        for source in (f"/flood/{name}", f"/{name}/real", name,
                       f"flood/{name}/real", f"/flood/../{name}"):
            answer = ask("PUT", "/flood/none", "",
                         [("x-amz-copy-source", source)], b"")
            assert answer.status in (400, 403, 404), answer

    keys = [e["Key"] for e in s3.list_objects_v2(Bucket="flood")["Contents"]]
    assert set(keys) <= {"real", "k"}
