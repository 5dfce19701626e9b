"""Requests that say two things, and clients that go away in the middle."""

import contextlib
import hashlib
import random
import socket
import struct

import pytest

import raw
import s3_server
from checks import MIB, data
from test_attack_documents import complete, delete, md5, part
from test_memory import (DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM,
                         field, frame)


# ---- a header that decides something, twice

@pytest.mark.parametrize("name,values", [
    ("x-amz-metadata-directive", ("COPY", "REPLACE")),
    ("x-amz-metadata-directive", ("REPLACE", "REPLACE")),
    ("x-amz-checksum-algorithm", ("SHA1", "SHA256")),
    ("x-amz-copy-source-if-modified-since",
     ("Mon, 01 Jan 1990 00:00:00 GMT", "Mon, 01 Jan 2091 00:00:00 GMT")),
    ("x-amz-copy-source-if-unmodified-since",
     ("Mon, 01 Jan 2091 00:00:00 GMT", "Mon, 01 Jan 1990 00:00:00 GMT")),
    ("X-Amz-Copy-Source", ("{}/a", "{}/b")),
])
def test_copy_with_a_header_twice(store, bucket, s3, name, values):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    headers = [("x-amz-copy-source", f"{bucket}/a")]

    if name.lower() == "x-amz-copy-source":
        headers = []

    headers += [(name, value.format(bucket)) for value in values]

    raw.once(store, "PUT", f"/{bucket}/c", headers=headers, body=b"") \
        .is_error(400, "InvalidRequest")
    raw.once(store, "HEAD", f"/{bucket}/c").is_error(404, None)


def test_part_with_a_header_twice(store, bucket, s3):
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    path, query = f"/{bucket}/k", f"uploadId={upload_id}"

    raw.once(store, "PUT", path, query + "&partNumber=1", body=b"", headers=[
        ("x-amz-copy-source", f"{bucket}/a"),
        ("x-amz-copy-source-range", "bytes=0-1"),
        ("x-amz-copy-source-range", "bytes=2-3")]) \
        .is_error(400, "InvalidRequest")

    for name, values in (("x-amz-mp-object-size", "12"),
                         ("x-amz-checksum-type", ("COMPOSITE",
                                                  "FULL_OBJECT"))):
        raw.once(store, "POST", path, query, body=complete(part(1)),
                 headers=[(name, v) for v in values]) \
            .is_error(400, "InvalidRequest")

    raw.once(store, "GET", path, "attributes", headers=[
        ("x-amz-object-attributes", "ObjectParts"), ("x-amz-max-parts", "1"),
        ("x-amz-max-parts", "2")]).is_error(400, "InvalidRequest")


@pytest.mark.parametrize("value", ["AAAAAA==", "x", ""])
def test_copy_with_a_checksum(store, bucket, s3, value):
    """Nothing of a copy would be compared with it."""

    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]

    for key, query in (("c", ""), ("k", f"uploadId={upload_id}&partNumber=1")):
        raw.once(store, "PUT", f"/{bucket}/{key}", query, body=b"", headers=[
            ("x-amz-copy-source", f"{bucket}/a"),
            ("x-amz-checksum-crc32", value)]).is_error(501, "NotImplemented")


# ---- clients that go away

H2_PORT, = s3_server.free_ports(1)


@pytest.fixture(scope="module")
def alone():
    """A server with nothing else to do, by HTTP/2 without TLS as well."""

    with s3_server.Store(server=f"listen 127.0.0.1:{H2_PORT} http2;"
                                "keepalive_requests 100000;") as server:
        s3 = server.client()
        s3.create_bucket(Bucket="alone")
        s3.put_object(Bucket="alone", Key="big", Body=data(3 * MIB))
        yield server


def descriptors(server):
    return sum(len(list(s3_server.pathlib.Path(f"/proc/{pid}/fd").iterdir()))
               for pid in server.worker_pids())


@pytest.fixture
def requests(alone):
    """(method, path, query, headers, body) of all that works for a while.
    Afterwards nothing of it is left."""

    s3 = alone.client()
    upload_id = s3.create_multipart_upload(Bucket="alone", Key="m")["UploadId"]
    etag = s3.upload_part(Bucket="alone", Key="m", UploadId=upload_id,
                          PartNumber=1, Body=b"last")["ETag"].strip('"')
    names = delete([f"x{i}" for i in range(300)])
    copy = ("x-amz-copy-source", "alone/big")
    before = descriptors(alone)

    yield [
        ("PUT", "/alone/p", "", [], data(400_000)),
        ("PUT", "/alone/m", f"uploadId={upload_id}&partNumber=2", [],
         data(400_000)),
        ("PUT", "/alone/m", f"uploadId={upload_id}&partNumber=3",
         [copy, ("x-amz-copy-source-range", "bytes=7-2000000")], b""),
        ("PUT", "/alone/c", "", [copy], b""),
        ("PUT", "/alone/d", "", [copy, ("x-amz-checksum-algorithm", "SHA1")],
         b""),
        ("POST", "/alone", "delete", md5(names), names),
        ("POST", "/alone/m", f"uploadId={upload_id}", [],
         complete(part(1, etag))),
        ("GET", "/alone/big", "", [], None),
        ("GET", "/alone", "list-type=2", [], None),
        ("POST", "/alone/n", "uploads", [], b""),
    ]

    assert raw.once(alone, "GET", "/alone/big").body == data(3 * MIB)
    s3_server.wait_for(lambda: not alone.tmp_files(), 30, "tmp/ is not empty")
    s3_server.wait_for(lambda: descriptors(alone) <= before + 2, 30,
                       "descriptors are not given back")
    alone.check_log()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_connections_that_end(alone, requests, tls):
    """At any byte, by an end or by a reset."""

    rng = random.Random(1)

    for method, path, query, headers, body in requests:

        length = [("Content-Length", len(body))] if body is not None else []
        payload = hashlib.sha256(body or b"").hexdigest()

        for i in range(8):
            with raw.Connection(alone, tls) as conn:
                whole = conn.head(method, path, query, headers, length,
                                  payload) + (body or b"")
                n = rng.choice([len(whole), len(whole) - 1,
                                rng.randrange(1, len(whole))])

                with contextlib.suppress(OSError):
                    conn.send(whole[:n])

                    if i % 4 == 3 and n == len(whole):
                        conn.socket.recv(1)

                if i % 2:
                    conn.socket.setsockopt(socket.SOL_SOCKET,
                                           socket.SO_LINGER,
                                           struct.pack("ii", 1, 0))


def test_http2_streams_that_are_reset(alone, requests):
    """At any byte, with others of the same connection going on."""

    rng = random.Random(2)
    host = f"127.0.0.1:{H2_PORT}"

    for _ in range(8):
        with socket.create_connection(("127.0.0.1", H2_PORT), 30) as s:
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))

            for i, request in enumerate(requests * 2):
                method, path, query, headers, body = request
                body = body and body[:6000]
                stream = 2 * i + 1

                lines = raw.sign(method, path, query,
                                 [("host", host)] + headers,
                                 hashlib.sha256(body or b"").hexdigest())
                target = path + ("?" + query if query else "")

                out = frame(HEADERS, END_HEADERS | (0 if body else END_STREAM),
                            stream, field(":method", method)
                            + field(":scheme", "http")
                            + field(":authority", host)
                            + field(":path", target)
                            + b"".join(field(n.lower(), v) for n, v in lines
                                       if n != "host"))

                if body:
                    n = rng.choice([len(body), rng.randrange(len(body))])
                    out += frame(DATA, END_STREAM if n == len(body) else 0,
                                 stream, body[:n])

                if rng.random() < 0.7:
                    out += frame(RST_STREAM, 0, stream, struct.pack(">I", 8))

                with contextlib.suppress(OSError):
                    s.sendall(out)
