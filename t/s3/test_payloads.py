"""Every payload form, length and chunked, every place of a checksum, over
HTTP/1.1, TLS and HTTP/2; and what one of them becomes when it is cut or
changed."""

import asyncio
import contextlib

import pytest

import forms
import http2
import raw
import s3_server
from checks import data, md5, read


@pytest.fixture(scope="module")
def store():
    """With an HTTP/2 port, and little patience."""

    h2, = s3_server.free_ports(1)

    with s3_server.Store(disks=1, server="client_body_timeout 20s;",
                         servers=f"""
    server {{
        listen 127.0.0.1:{h2} http2;
        include "{s3_server.ROOT}/conf/s3_params";
        location / {{ s3_serve main; }}
    }}""") as server:
        server.h2 = h2
        yield server


@pytest.fixture
def bucket(store, request):
    names = getattr(store, "names", 0)
    store.names = names + 1
    name = f"payloads-{names}"
    store.client().create_bucket(Bucket=name)
    return name


def put(store, transport, up, path):
    """(status, code, ETag) of an upload"""

    if transport != "h2":
        with raw.Connection(store, transport == "tls") as conn:
            conn.send(up.wire)
            answer = conn.answer("PUT")
            assert conn.serves() if answer.status == 200 else True
        return answer.status, answer.code, answer.headers.get("etag")

    answer = http2.put(f"http://127.0.0.1:{store.h2}", path, up)
    return answer.status, answer.code, answer.headers.get("etag")


@pytest.mark.parametrize("form,checksum", forms.CHECKSUMS)
@pytest.mark.parametrize("transport,chunked", [
    ("http", False), ("http", True), ("tls", False), ("tls", True),
    ("h2", False)], ids=["http", "http-chunked", "tls", "tls-chunked", "h2"])
def test_matrix(store, bucket, transport, chunked, form, checksum):
    client = store.client()
    path = f"/{bucket}/k"
    host = "127.0.0.1:%d" % {"http": store.port, "tls": store.tls_port,
                             "h2": store.h2}[transport]

    for size in (0, 1, 8192, 70_001):
        body = data(size)
        up = forms.upload(host, path, form, body, chunked, checksum,
                          chunk=8193, http_chunk=777,
                          framing=transport != "h2")
        assert put(store, transport, up, path) \
            == (200, None, f'"{md5(body)}"'), size

        head = client.get_object(Bucket=bucket, Key="k",
                                 ChecksumMode="ENABLED")
        assert head["Body"].read() == body
        assert "aws-chunked" not in head.get("ContentEncoding", "")
        if checksum:
            assert head["ChecksumCRC32"] == raw.crc32(body)

    if checksum:
        up = forms.upload(host, path, form, b"other", chunked, checksum,
                          value=raw.crc32(b"another"),
                          framing=transport != "h2")
        assert put(store, transport, up, path)[:2] \
            == (400, "BadDigest")
        assert read(client, bucket, "k") == body


@pytest.mark.parametrize("form", ["trailer", "signed", "signed-trailer"])
@pytest.mark.parametrize("value,stored", [
    ("aws-chunked", None), ("gzip,aws-chunked", "gzip"),
    ("aws-chunked, gzip", "gzip"), ("AWS-Chunked,a,  b", "a,b"),
    ("gzip", "gzip"), (None, None)])
def test_content_encoding(store, bucket, form, value, stored):
    """What the coding of the transfer was is no matter of the object."""

    path = f"/{bucket}/k"

    with raw.Connection(store) as conn:
        up = forms.upload(conn.host, path, form, b"x" * 100)
        old = b"Content-Encoding: aws-chunked\r\n"
        assert old in up.head
        conn.send(up.wire.replace(
            old, f"Content-Encoding: {value}\r\n".encode() if value else b""))
        assert conn.answer("PUT").status == 200
        answer = conn.request("GET", path)

    got = answer.headers.get("content-encoding")
    assert (got.replace(" ", "") if got else None) == stored


@pytest.mark.parametrize("form", ["trailer", "signed", "signed-trailer"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("more", [-1, 1, 100_000])
def test_decoded_length(store, bucket, form, chunked, more):
    path = f"/{bucket}/k"
    body = data(20_000)

    with raw.Connection(store) as conn:
        up = forms.upload(conn.host, path, form, body, chunked, chunk=10_000,
                          length=len(body) + more)
        with contextlib.suppress(ConnectionError):
            conn.send(up.wire)
        conn.answer("PUT").is_error(400, "IncompleteBody")

    raw.once(store, "GET", path).is_error(404, "NoSuchKey")


# ---- hundreds of connections at once

SMALL = b"0123456789"


def small(store, path, form, checksum, chunked):
    """Of a few bytes; each piece of its framing is there."""

    return forms.upload(f"127.0.0.1:{store.port}", path, form, SMALL,
                        chunked, checksum, http_chunk=100,
                        headers=[("x-amz-meta-a", "1")])


KINDS = [(form, checksum, chunked) for form, checksum in forms.CHECKSUMS
         for chunked in (False, True)
         if checksum == "trailer" or checksum is None
         and not form.endswith("trailer")]

IDS = ["-".join([form, "chunked" if chunked else "length"])
       for form, checksum, chunked in KINDS]


def in_parallel(store, jobs, at_once=150):
    """jobs: coroutine functions of (reader, writer), a connection each"""

    async def one(job, gate):
        async with gate:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", store.port)
            try:
                # generous: a hang is what this is to find
                return await asyncio.wait_for(job(reader, writer), 60)
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def everything():
        gate = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(one(job, gate) for job in jobs))

    return asyncio.run(everything())


async def answer_of(reader):
    """An answer's status, code and whether the connection goes on; None
    where the connection ended without."""

    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as e:
        assert not getattr(e, "partial", b"").startswith(b"HTTP/1.1 2"), e
        return None

    text = head.decode("latin-1").lower()
    length = int(text.partition("content-length: ")[2].partition("\r")[0]
                 or 0)
    try:
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        body = b""

    code = body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()

    return int(text.split()[1]), code, "connection: close" not in text


def head_request(store, path):
    """HEAD, signed, as bytes"""

    lines = raw.sign("HEAD", path, "", [("Host", f"127.0.0.1:{store.port}")],
                     raw.EMPTY_SHA256)
    return (f"HEAD {path} HTTP/1.1\r\n"
            + "".join(f"{n}: {v}\r\n" for n, v in lines) + "\r\n").encode()


async def head_status(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


@pytest.mark.parametrize("form,checksum,chunked", KINDS, ids=IDS)
def test_split_at_every_byte(store, bucket, form, checksum, chunked):
    """In two segments, the second one later: all the same upload.  The
    connection serves the next request."""

    path = f"/{bucket}/k"
    up = small(store, path, form, checksum, chunked)
    probe = head_request(store, path)

    # the head of one kind, the body of each

    first = 1 if (form, chunked) == ("signed-trailer", True) \
        else len(up.head) - 4

    def job(i):
        async def run(reader, writer):
            writer.write(up.wire[:i])
            await writer.drain()
            await asyncio.sleep(0.01)   # apart, most times; right in any case
            writer.write(up.wire[i:])
            answer = await answer_of(reader)
            assert answer == (200, "", True), (i, up.wire[:i], answer)
            writer.write(probe)
            assert await head_status(reader) == 200
            return i
        return run

    cuts = range(first, len(up.wire))
    assert in_parallel(store, [job(i) for i in cuts]) == list(cuts)
    assert read(store.client(), bucket, "k") == SMALL


@pytest.mark.parametrize("form,checksum,chunked", KINDS, ids=IDS)
def test_closed_at_every_byte(store, bucket, form, checksum, chunked):
    """The end of the connection is not the end of the body."""

    client = store.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"old")
    up = small(store, f"/{bucket}/k", form, checksum, chunked)

    def job(i):
        async def run(reader, writer):
            writer.write(up.wire[:i])
            writer.write_eof()
            answer = await answer_of(reader)
            assert answer is None or answer[0] >= 400, (i, answer)
            assert await reader.read() == b""
        return run

    in_parallel(store, [job(i) for i in range(len(up.head) - 4,
                                              len(up.wire))])

    assert read(client, bucket, "k") == b"old"
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def corrupted(up, form, chunked):
    """(what, wire, codes): each field in turn, each byte of it changed."""

    def change(at, by=1):
        wire = bytearray(up.wire)
        wire[at] ^= by
        return bytes(wire)

    denied = {"SignatureDoesNotMatch", "AccessDenied", "InvalidAccessKeyId",
              "RequestTimeTooSkewed", "AuthorizationHeaderMalformed",
              "InvalidArgument", "InvalidRequest", "NotImplemented",
              "InvalidBucketName", "InvalidURI", "BadRequest",
              "MethodNotAllowed", "MissingContentLength", "InvalidDigest"}

    # every byte of what is signed in the head

    names = {"Host", "x-amz-date", "x-amz-content-sha256", "x-amz-meta-a",
             "x-amz-decoded-content-length", "x-amz-trailer",
             "Authorization"}

    for name, value in up.lines:
        if name in names:
            at = up.head.index(f"{name}: {value}\r\n".encode()) \
                + len(name) + 2
            for i in range(len(value)):
                yield f"{name} {i}", change(at + i), denied

    for i in range(4, up.head.index(b" HTTP/1.1")):
        yield f"path {i}", change(i), denied

    for method in (b"GET", b"PUS", b"POST", b"DELETE"):
        yield "method", method + up.wire[3:], denied

    # every byte of the body, its framing included

    wrong = {"SignatureDoesNotMatch", "IncompleteBody", "BadDigest",
             "InvalidRequest", "MalformedTrailerError", "BadRequest",
             "XAmzContentSHA256Mismatch", "InvalidChunkSizeError",
             "EntityTooLarge", "InvalidArgument"}

    if form == "unsigned" and not chunked:
        return

    start = len(up.head)
    framing = range(0)
    free = range(0)

    if chunked:
        framing = http_framing(up)

    if form == "unsigned":
        # of its payload nothing is known
        at = up.wire.index(SMALL, start)
        free = range(at, at + len(SMALL))

    for i in range(start, len(up.wire)):
        if i in free:
            continue

        # nginx takes LF for CRLF around HTTP's chunks, and more; what matters
        # is that it finds the same payload in them

        codes = wrong | {"stored"} if i in framing else wrong

        yield f"body {i - start}", change(i), codes

        # of two that are the same, the last of a chunk's data and the CR
        # after it, either may be the one that is missing

        if i + 1 in framing and up.wire[i] == up.wire[i + 1]:
            codes = wrong | {"stored"}

        yield (f"byte {i - start} left out",
               up.wire[:i] + up.wire[i + 1:], codes)


def http_framing(up):
    """The places in up.wire that are Transfer-Encoding's own."""

    places = set()
    at = len(up.head)

    while True:
        end = up.wire.index(b"\r\n", at) + 2
        size = int(up.wire[at:end], 16)
        places |= {*range(at, end), end + size, end + size + 1}
        if size == 0:
            assert end + 2 == len(up.wire)
            return places
        at = end + size + 2


@pytest.mark.parametrize("form,checksum,chunked", KINDS, ids=IDS)
def test_corrupted(store, bucket, form, checksum, chunked):
    """Never stored, never a hang, a code that says it, and a connection that
    is closed or goes on with the next request and no other."""

    client = store.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"old")
    up = small(store, f"/{bucket}/k", form, checksum, chunked)
    probe = head_request(store, f"/{bucket}/k")

    def job(what, wire, codes):
        async def run(reader, writer):
            writer.write(wire)

            # of a length that became larger more is awaited: tell the end

            waiting = asyncio.ensure_future(answer_of(reader))
            done, _ = await asyncio.wait([waiting], timeout=3)
            if not done:
                writer.write_eof()
            answer = await waiting

            if answer is None:
                assert not done, (what, "closed without an answer")
                return

            status, code, goes_on = answer

            if status == 200 and "stored" in codes:
                assert goes_on
                return

            assert 400 <= status < 502, (what, answer)
            assert code in codes or wire[:4] == b"HEAD", (what, answer)

            if not done or not goes_on:
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                return

            # one byte too many or too few may be left over: then it is a bad
            # request, but never an answer to something else

            with contextlib.suppress(ConnectionError,
                                     asyncio.IncompleteReadError):
                writer.write(probe)
                writer.write_eof()
                assert await head_status(reader) in (200, 400, 405, 501), what

        return run

    in_parallel(store, [job(*one) for one in corrupted(up, form, chunked)])

    assert read(client, bucket, "k") in ([b"old", SMALL] if chunked
                                         else [b"old"])
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1

    with raw.Connection(store) as conn:
        conn.send(up.wire)
        assert conn.answer("PUT").status == 200
    assert read(client, bucket, "k") == SMALL


# ---- whole chunks

def chunk_streams():
    """name: what is made of the pieces of a stream of three chunks and the
    last one; of another request's pieces as well"""

    return {
        "in order": lambda p, q: p,
        "two swapped": lambda p, q: [p[1], p[0], *p[2:]],
        "one twice": lambda p, q: [p[0], p[0], *p[1:]],
        "one missing": lambda p, q: [p[0], *p[2:]],
        "the last missing": lambda p, q: p[:3],
        "only the last": lambda p, q: p[3:],
        "one of another request": lambda p, q: [p[0], q[1], *p[2:]],
        "all of another request": lambda p, q: q,
        "the end of another request": lambda p, q: [*p[:3], q[3]],
        "data after the end": lambda p, q: [*p, p[0]],
        "the end twice": lambda p, q: [*p, p[3]],
    }


@pytest.mark.parametrize("name", chunk_streams())
@pytest.mark.parametrize("form", ["signed", "signed-trailer"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_chunks_belong_together(store, bucket, form, chunked, name):
    """Each chunk's signature is made with the one before, the first with the
    request's: no stream can be made of others' pieces."""

    path = f"/{bucket}/k"
    body = data(8192) * 2 + b"end"      # the first two are the same
    store.client().put_object(Bucket=bucket, Key="k", Body=b"old")

    def pieces(up):
        """Three chunks with their data, and what follows."""

        out, at = [], 0
        for size in (8192, 8192, 3):
            end = up.body.index(b"\r\n", at) + 2 + size + 2
            out.append(up.body[at:end])
            at = end
        return [*out, up.body[at:]]

    with raw.Connection(store) as conn:
        make = dict(form=form, data=body, chunk=8192, framing=False,
                    checksum="trailer" if form == "signed-trailer" else None)
        up = forms.upload(conn.host, path, **make)
        other = forms.upload(conn.host, path + "2", **make)

        wire = b"".join(chunk_streams()[name](pieces(up), pieces(other)))
        framing = "Transfer-Encoding: chunked" if chunked \
            else f"Content-Length: {len(wire)}"

        with contextlib.suppress(ConnectionError):
            conn.send(up.head[:-2] + framing.encode() + b"\r\n\r\n"
                      + (raw.http_chunked(wire, 1000) if chunked else wire))

        answer = conn.answer("PUT")

        if name == "in order":
            assert answer.status == 200, answer
        else:
            assert (answer.status, answer.code) in (
                (403, "SignatureDoesNotMatch"), (400, "IncompleteBody")), \
                answer

    assert read(store.client(), bucket, "k") \
        == (body if name == "in order" else b"old")


@pytest.mark.parametrize("form", ["trailer", "signed-trailer"])
@pytest.mark.parametrize("announced,lines,status,code", [
    ("x-amz-checksum-crc32", [], 400, "MalformedTrailerError"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32c:AAAAAA=="], 400,
     "MalformedTrailerError"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32:{crc32}"] * 2, 400,
     "MalformedTrailerError"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32:{crc32}", "x-a:b"], 400,
     "MalformedTrailerError"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32"], 400,
     "MalformedTrailerError"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32:"], 400,
     "MalformedTrailerError"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32:nonsense"], 400,
     "InvalidRequest"),
    ("x-amz-checksum-crc32", ["x-amz-checksum-crc32:AAAAAA=="], 400,
     "BadDigest"),
    (None, ["x-amz-checksum-crc32:{crc32}"], 400, "MalformedTrailerError"),
    ("x-amz-meta-a", ["x-amz-meta-a:b"], 400, "InvalidRequest"),
    ("x-amz-checksum-crc32", ["X-Amz-Checksum-CRC32: {crc32} "], 200, None),
    ("X-Amz-Checksum-Crc32", ["x-amz-checksum-crc32:{crc32}"], 200, None),
])
def test_trailers(store, bucket, form, announced, lines, status, code):
    """Well signed all of them, as by a client that has it wrong."""

    path = f"/{bucket}/k"
    store.client().put_object(Bucket=bucket, Key="k", Body=b"old")
    lines = [line.format(crc32=raw.crc32(SMALL)) for line in lines]
    headers = [("x-amz-decoded-content-length", str(len(SMALL)))]
    if announced:
        headers.append(("x-amz-trailer", announced))

    with raw.Connection(store) as conn:
        date = raw.amz_date()
        signed = raw.sign("PUT", path, "", [("Host", conn.host), *headers],
                          forms.FORMS[form], date=date)
        out = "".join(line + "\r\n" for line in lines).encode()

        if form == "trailer":
            wire = raw.aws_chunked(SMALL, trailer=False)[:-2] + out + b"\r\n"

        else:
            signer = forms.Signer(dict(signed)["Authorization"], date,
                                  s3_server.SECRET_KEY)
            wire = signer.chunk(SMALL) + SMALL + b"\r\n" \
                + signer.chunk(b"") + out

            # canonical: lower case, no space around the value

            text = "".join(
                n.lower() + ":" + v.strip() + "\n" for n, _, v in
                (line.partition(":") for line in lines))
            wire += ("x-amz-trailer-signature:"
                     + signer.trailer(text.encode()) + "\r\n\r\n").encode()

        head = f"PUT {path} HTTP/1.1\r\n" + "".join(
            f"{n}: {v}\r\n" for n, v in
            [*signed, ("Content-Length", len(wire))]) + "\r\n"

        with contextlib.suppress(ConnectionError):
            conn.send(head.encode() + wire)
        answer = conn.answer("PUT")
        assert (answer.status, answer.code) == (status, code), answer

    assert read(store.client(), bucket, "k") \
        == (SMALL if status == 200 else b"old")
