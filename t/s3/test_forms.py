"""The forms a body comes in: what is signed of it, how its end is found."""

import base64
import hashlib

import pytest

import raw
from checks import KIB, MIB, data, md5, read


FORMS = ["hash", "unsigned", "trailer"]


def put(conn, path, form, chunked, body, headers=(), **kwargs):
    headers = list(headers)

    if form == "hash":
        payload = hashlib.sha256(body).hexdigest()

    elif form == "unsigned":
        payload = raw.UNSIGNED

    else:
        payload = raw.TRAILER
        headers += [("x-amz-decoded-content-length", str(len(body))),
                    ("x-amz-trailer", "x-amz-checksum-crc32"),
                    ("Content-Encoding", "aws-chunked")]
        body = raw.aws_chunked(body)

    return conn.request("PUT", path, headers=headers, body=body,
                        chunked=chunked, payload=payload, **kwargs)


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 64 * KIB + 1, 3 * MIB + 5])
@pytest.mark.parametrize("chunked", [False, True],
                         ids=["length", "chunked"])
@pytest.mark.parametrize("form", FORMS)
def test_forms(store, bucket, tls, form, chunked, size):
    body = data(size)

    with raw.Connection(store, tls) as conn:
        answer = put(conn, f"/{bucket}/k", form, chunked, body)
        assert answer.status == 200, answer
        assert answer.headers["etag"] == f'"{md5(body)}"'

        answer = conn.request("GET", f"/{bucket}/k")
        assert answer.body == body
        assert "content-encoding" not in answer.headers
        assert "transfer-encoding" not in answer.headers
        assert conn.serves()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("chunk", [8192, 8193, 65536, 100_000, 1_000_000])
def test_chunk_sizes(store, bucket, chunk, chunked):
    body = data(300_001)

    with raw.Connection(store) as conn:
        answer = conn.request(
            "PUT", f"/{bucket}/k", payload=raw.TRAILER, chunked=chunked,
            body=raw.aws_chunked(body, chunk),
            headers=[("x-amz-decoded-content-length", str(len(body))),
                     ("x-amz-trailer", "x-amz-checksum-crc32")])
        assert answer.status == 200, answer
        assert conn.request("GET", f"/{bucket}/k").body == body


def test_slowly(store, bucket):
    """Cut anywhere, even in the middle of a chunk's size."""

    body = data(20_000)
    wire = raw.http_chunked(raw.aws_chunked(body, 8192), 777)

    with raw.Connection(store) as conn:
        conn.send(conn.head(
            "PUT", f"/{bucket}/k", payload=raw.TRAILER,
            headers=[("x-amz-decoded-content-length", str(len(body))),
                     ("x-amz-trailer", "x-amz-checksum-crc32")],
            body_headers=[("Transfer-Encoding", "chunked")]))

        for i in range(0, len(wire), 13):
            conn.send(wire[i:i + 13])

        assert conn.answer("PUT").status == 200
        assert conn.request("GET", f"/{bucket}/k").body == body


# ---- what is refused

@pytest.fixture
def old(s3, bucket):
    """An object that no refused upload may change."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    yield f"/{bucket}/k"
    assert read(s3, bucket, "k") == b"old"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


@pytest.mark.parametrize("size", [1, 100 * KIB, 3 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_hash_of_another_body(store, old, tls, chunked, size):
    body = data(size)
    other = bytes([body[0] ^ 1]) + body[1:]

    with raw.Connection(store, tls) as conn:
        conn.request("PUT", old, body=body, chunked=chunked,
                     payload=hashlib.sha256(other).hexdigest()) \
            .is_error(400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("size", [1, 100 * KIB, 3 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_trailer_of_another_body(store, old, tls, chunked, size):
    body = data(size)

    with raw.Connection(store, tls) as conn:
        conn.request(
            "PUT", old, payload=raw.TRAILER, chunked=chunked,
            body=raw.aws_chunked(body, value=raw.crc32(b"other")),
            headers=[("x-amz-decoded-content-length", str(size)),
                     ("x-amz-trailer", "x-amz-checksum-crc32")]) \
            .is_error(400, "BadDigest")


WIRE = raw.aws_chunked(data(20_000), 10_000)


@pytest.mark.parametrize("wire,code", [
    (WIRE[:-2], "IncompleteBody"),
    (WIRE[:-30], "IncompleteBody"),
    (WIRE[:10_000], "IncompleteBody"),
    (b"", "IncompleteBody"),
    (b"nonsense", "IncompleteBody"),
    (b"-1\r\n", "IncompleteBody"),
    (b"ffffffffffffffffff\r\n", "IncompleteBody"),
    (WIRE.replace(b"\r\n", b"\n"), "IncompleteBody"),
    (WIRE + b"more", "IncompleteBody"),
    (raw.aws_chunked(data(20_000), 10_000, trailer=False),
     "MalformedTrailerError"),
    (raw.aws_chunked(data(20_000), 10_000, value="!!"), "InvalidRequest"),
    (WIRE.replace(b"crc32:", b"sha1:"), "MalformedTrailerError"),
    (raw.aws_chunked(data(19_999), 10_000), "IncompleteBody"),
    (raw.aws_chunked(data(20_001), 10_000), "IncompleteBody"),
    (raw.aws_chunked(data(20_000), 100), "InvalidChunkSizeError"),
], ids=range(15))
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bad_framing(store, old, wire, code, chunked):
    with raw.Connection(store) as conn:
        answer = conn.request(
            "PUT", old, payload=raw.TRAILER, body=wire, chunked=chunked,
            headers=[("x-amz-decoded-content-length", "20000"),
                     ("x-amz-trailer", "x-amz-checksum-crc32")])

        answer.is_error(403 if code == "InvalidChunkSizeError" else 400,
                        code)


def test_trailer_without_length(store, old):
    """Of a body whose Content-Length is known the decoded one is, too."""

    with raw.Connection(store) as conn:
        conn.request("PUT", old, payload=raw.TRAILER,
                     body=raw.aws_chunked(b"x"),
                     headers=[("x-amz-trailer", "x-amz-checksum-crc32")]) \
            .is_error(411, "MissingContentLength")


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "99999999999999999999"])
def test_bad_decoded_length(store, old, length):
    with raw.Connection(store) as conn:
        conn.request("PUT", old, payload=raw.TRAILER,
                     body=raw.aws_chunked(b"x"),
                     headers=[("x-amz-trailer", "x-amz-checksum-crc32"),
                              ("x-amz-decoded-content-length", length)]) \
            .is_error(400, "InvalidArgument")


@pytest.mark.parametrize("trailer", ["x-amz-checksum-none", "x-amz-meta-a",
                                     "x-amz-checksum-crc32,x-amz-meta-a"])
def test_unknown_trailer(store, old, trailer):
    with raw.Connection(store) as conn:
        conn.request("PUT", old, payload=raw.TRAILER,
                     body=raw.aws_chunked(b"x"),
                     headers=[("x-amz-trailer", trailer),
                              ("x-amz-decoded-content-length", "1")]) \
            .is_error(400, "InvalidRequest")


def test_no_length_at_all(store, old):
    with raw.Connection(store) as conn:
        conn.request("PUT", old).is_error(411, "MissingContentLength")
        assert conn.serves()


def test_too_large(store, old):
    """More than 5 GiB in one PUT, refused before a byte of it is sent."""

    with raw.Connection(store) as conn:
        conn.send(conn.head("PUT", old, payload=raw.UNSIGNED, body_headers=[
            ("Content-Length", 5 * 1024 * MIB + 1)]))
        answer = conn.answer("PUT")
        answer.is_error(400, "EntityTooLarge")
        assert answer.element("MaxSizeAllowed") == str(5 * 1024 * MIB)

    with raw.Connection(store) as conn:
        conn.send(conn.head(
            "PUT", old, payload=raw.TRAILER,
            headers=[("x-amz-decoded-content-length",
                      str(5 * 1024 * MIB + 1)),
                     ("x-amz-trailer", "x-amz-checksum-crc32")],
            body_headers=[("Content-Length", 6 * 1024 * MIB)]))
        conn.answer("PUT").is_error(400, "EntityTooLarge")


@pytest.mark.parametrize("size", [100 * KIB, 3 * MIB])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_client_goes_away(store, old, form, chunked, size):
    """Half a body, then the end: nothing of it is ever seen."""

    body = data(size)
    headers = []
    payload = hashlib.sha256(body).hexdigest()
    wire = body

    if form == "unsigned":
        payload = raw.UNSIGNED
    elif form == "trailer":
        payload = raw.TRAILER
        wire = raw.aws_chunked(body)
        headers = [("x-amz-decoded-content-length", str(size)),
                   ("x-amz-trailer", "x-amz-checksum-crc32")]

    framing = ("Transfer-Encoding", "chunked") if chunked \
        else ("Content-Length", len(wire))
    if chunked:
        wire = raw.http_chunked(wire)

    with raw.Connection(store) as conn:
        conn.send(conn.head("PUT", old, headers=headers, payload=payload,
                            body_headers=[framing]))
        conn.send(wire[:len(wire) // 2])


def test_signed_md5(store, bucket):
    """All checks at once on one body."""

    body = data(100_000)

    with raw.Connection(store) as conn:
        answer = put(conn, f"/{bucket}/k", "hash", False, body, headers=[
            ("Content-MD5",
             base64.b64encode(hashlib.md5(body).digest()).decode()),
            ("x-amz-checksum-crc32", raw.crc32(body))])
        assert answer.status == 200, answer
        assert answer.headers["x-amz-checksum-crc32"] == raw.crc32(body)
