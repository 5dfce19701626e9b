"""Good bodies: in every form, of every size, below the buffer's bound and
above it, Ceph gets the very bytes with their length and nothing of their
framing.
"""

import base64
import hashlib
import pathlib
import select
import time

import pytest

import forms
import http2
import raw
import s3_gateway
import s3_server
import test_payloads
from checks import DIGESTS, KIB, MIB, data, md5, read

# the same test, of a gateway that lets through all bodies as they come

from test_payloads import test_content_encoding


BUFFER = 16 * KIB
SIZES = [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * MIB + 1]


@pytest.fixture(scope="module")
def tap(ceph):
    with s3_gateway.Tap(ceph) as tap:
        yield tap


@pytest.fixture(scope="module")
def make(ceph, tap, bucket_name):
    """make(...) -> a gateway; what goes up from it is written down"""

    service = bucket_name("records")

    def make(buffer=BUFFER, kind=s3_gateway.Gateway, **kwargs):
        return kind(ceph, upstream_url=tap.url,
                    gateway=f"s3_gateway_buffer {buffer};"
                    f"s3_checksums_bucket {service};", **kwargs)

    return make


@pytest.fixture(scope="module")
def store(make):
    """With an HTTP/2 port without TLS, as test_payloads.py wants it."""

    h2, = s3_server.free_ports(1)

    class Gateway(s3_gateway.Gateway):
        def configuration(self):
            http, locations = super().configuration()
            return http + f"""
    server {{
        listen 127.0.0.1:{h2} http2;
        include "{s3_server.ROOT}/conf/s3_params";
        {self.location("/")}
    }}
""", locations

    with make(buffer=1, kind=Gateway) as gateway:
        gateway.h2 = h2
        yield gateway


@pytest.fixture(scope="module")
def bounded(make):
    with make() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def name(bounded, bucket_name):
    """Of a bucket that all of them share."""

    name = bucket_name("bodies")
    bounded.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def bucket(payloads_bucket):
    return payloads_bucket


def content_md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def arrived(tap, path, body):
    """The one PUT of that path, with that body and nothing but it."""

    put, = tap.puts(path)
    assert put.whole and put.length == len(body)
    assert put.body == body
    assert put.headers["content-length"] == str(len(body))
    assert put.headers["x-amz-content-sha256"] == raw.UNSIGNED

    for header in ("x-amz-decoded-content-length", "x-amz-trailer",
                   "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm",
                   "transfer-encoding", "expect", "trailer", "te"):
        assert header not in put.headers, header

    assert "aws-chunked" not in put.headers.get("content-encoding", "")

    return put


# ---- forms and sizes

@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("form,checksum", forms.CHECKSUMS)
def test_forms(bounded, tap, upstream, name, form, checksum, chunked, size):
    key = f"{form}-{checksum}-{chunked}-{size}"
    path = f"/{name}/{key}"
    body = data(size)
    headers = []
    encoding = None

    if form in ("hash", "unsigned"):
        encoding = "gzip"
        headers.append(("Content-Encoding", encoding))

    if size % 2:
        headers.append(("Content-MD5", content_md5(body)))

    with raw.Connection(bounded) as conn:
        up = forms.upload(conn.host, path, form, body, chunked, checksum,
                          chunk=64 * KIB, headers=headers)

        # of unknown length nothing is taken that does not fit in the buffer

        if chunked and form in ("hash", "unsigned") and size > BUFFER:
            return

        answer = conn.raw(up.wire, "PUT")
        assert answer.status == 200, answer
        assert answer.headers["etag"] == f'"{md5(body)}"'

        if checksum:
            assert answer.headers["x-amz-checksum-crc32"] == raw.crc32(body)
        else:
            assert answer.headers["x-amz-checksum-crc64nvme"] \
                == DIGESTS["CRC64NVME"](body)

        assert conn.serves()

    put = arrived(tap, path, body)
    assert put.headers.get("content-encoding") == encoding

    got = upstream.get_object(Bucket=name, Key=key)
    assert got["Body"].read() == body
    assert got.get("ContentEncoding") == encoding


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize("algorithm", [*DIGESTS, "MD5"])
def test_algorithms(bounded, tap, name, tls, algorithm):
    """As an SDK sends them: in a header, over TLS in a trailer."""

    client = bounded.client(tls)

    for size in SIZES:
        key = f"{algorithm}-{tls}-{size}"
        body = data(size)

        if algorithm == "MD5":
            kwargs = {"ContentMD5": content_md5(body)}
            expected = "CRC32"
        else:
            kwargs = {"ChecksumAlgorithm": algorithm}
            expected = algorithm

        answer = client.put_object(Bucket=name, Key=key, Body=body, **kwargs)
        assert answer[f"Checksum{expected}"] == DIGESTS[expected](body)
        assert answer["ChecksumType"] == "FULL_OBJECT"
        arrived(tap, f"/{name}/{key}", body)

        # verified by the SDK as well

        got = client.get_object(Bucket=name, Key=key)
        assert got["Body"].read() == body
        assert got[f"Checksum{expected}"] == DIGESTS[expected](body)


@pytest.mark.parametrize("size", [BUFFER, BUFFER + 1, 3 * MIB])
@pytest.mark.parametrize("form", forms.FORMS)
def test_http2(bounded, tap, name, form, size):
    path = f"/{name}/h2-{form}-{size}"
    body = data(size)
    up = forms.upload(f"127.0.0.1:{bounded.h2_port}", path, form, body,
                      framing=False, checksum="trailer"
                      if form.endswith("trailer") else "header")

    answer = http2.put(bounded.url("h2"), path, up, bounded.ca)
    assert (answer.status, answer.headers["etag"]) == (200, f'"{md5(body)}"')
    arrived(tap, path, body)


@pytest.mark.parametrize("size", [BUFFER, BUFFER + 1, MIB])
def test_parts(bounded, tap, upstream, name, size):
    """A part is no other body than an object."""

    client = bounded.client(tls=True)
    names = {"Bucket": name, "Key": f"parts-{size}"}
    names["UploadId"] = client.create_multipart_upload(
        **names, ChecksumAlgorithm="SHA256")["UploadId"]
    body = data(size)

    part = client.upload_part(**names, PartNumber=1, Body=body,
                              ChecksumAlgorithm="SHA256")
    assert part["ChecksumSHA256"] == DIGESTS["SHA256"](body)
    arrived(tap, f"/{name}/{names['Key']}", body)

    client.complete_multipart_upload(**names, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": part["ETag"],
         "ChecksumSHA256": part["ChecksumSHA256"]}]})
    assert read(upstream, name, names["Key"]) == body


@pytest.mark.parametrize("encoding,kept", [
    ("aws-chunked", None), ("gzip,aws-chunked", "gzip"),
    ("aws-chunked, br", "br"), ("gzip", "gzip")], ids=range(4))
@pytest.mark.parametrize("size", [100, BUFFER + 1])
def test_content_encoding_upstream(bounded, tap, upstream, name, encoding,
                                   kept, size):
    key = f"encoding-{raw.quote(encoding)}-{size}".replace("%", "")
    path = f"/{name}/{key}"
    body = data(size)

    with raw.Connection(bounded) as conn:
        up = forms.upload(conn.host, path, "trailer", body,
                          checksum="trailer")
        wire = up.wire.replace(b"Content-Encoding: aws-chunked",
                               f"Content-Encoding: {encoding}".encode())
        assert conn.raw(wire, "PUT").status == 200

    put = arrived(tap, path, body)
    assert put.headers.get("content-encoding") == kept
    head = upstream.head_object(Bucket=name, Key=key)
    assert head.get("ContentEncoding") == kept


# of unknown length it lets through nothing

@pytest.mark.parametrize("form,checksum,chunked", [
    (form, checksum, chunked) for form, checksum in forms.CHECKSUMS
    for chunked in (False, True)
    if not chunked or form not in ("hash", "unsigned")])
@pytest.mark.parametrize("transport", ["http", "tls", "h2"])
def test_matrix(store, bucket, transport, form, checksum, chunked):
    if not (transport == "h2" and chunked):
        test_payloads.test_matrix(store, bucket, transport, chunked, form,
                                  checksum)


@pytest.mark.parametrize("form,checksum,chunked", [
    ("trailer", "trailer", True), ("signed-trailer", "trailer", False)])
def test_split_at_every_byte(store, bucket, form, checksum, chunked):
    test_payloads.test_split_at_every_byte(store, bucket, form, checksum,
                                           chunked)


# ---- length

def unknown(gateway, path, form, body):
    """The answer to a body of which nobody says how much it will be."""

    headers = []
    payload = {"hash": hashlib.sha256(body).hexdigest(),
               "unsigned": raw.UNSIGNED, "trailer": raw.TRAILER}[form]
    wire = body

    if form == "trailer":
        headers = [("x-amz-trailer", "x-amz-checksum-crc32"),
                   ("Content-Encoding", "aws-chunked")]
        wire = raw.aws_chunked(body, 8192)

    with raw.Connection(gateway) as conn:
        answer = conn.request("PUT", path, body=wire, chunked=True,
                              headers=headers, payload=payload)
        assert conn.ends() if answer.closes else conn.serves()
        return answer


@pytest.mark.parametrize("size", [0, 1, BUFFER - 1, BUFFER])
@pytest.mark.parametrize("form", ["hash", "unsigned", "trailer"])
def test_unknown_length(bounded, tap, name, form, size):
    path = f"/{name}/unknown-{form}-{size}"
    body = data(size)
    answer = unknown(bounded, path, form, body)
    assert answer.status == 200, answer
    arrived(tap, path, body)


@pytest.mark.parametrize("size", [BUFFER + 1, MIB])
@pytest.mark.parametrize("form", ["hash", "unsigned", "trailer"])
def test_unknown_length_too_large(bounded, tap, upstream, name, form, size):
    key = f"too-large-{form}-{size}"
    upstream.put_object(Bucket=name, Key=key, Body=b"old")

    unknown(bounded, f"/{name}/{key}", form, data(size)) \
        .is_error(411, "MissingContentLength")

    assert tap.puts(f"/{name}/{key}") == []
    assert read(upstream, name, key) == b"old"


# ---- Expect

@pytest.mark.parametrize("size", [1, BUFFER, MIB])
@pytest.mark.parametrize("form", ["unsigned", "signed-trailer"])
def test_expect(bounded, tap, name, form, size):
    path = f"/{name}/expect-{form}-{size}"
    body = data(size)
    expect = b"Expect: 100-continue\r\n\r\n"

    with raw.Connection(bounded) as conn:
        up = forms.upload(conn.host, path, form, body)
        conn.send(up.head[:-2] + expect)
        assert conn.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = conn.raw(up.body, "PUT")
        assert answer.status == 200, answer
        assert conn.serves()

        # who may not is told so before it sends anything

        up = forms.upload(conn.host, path, form, body, secret_key="wrong")
        conn.send(up.head[:-2] + expect)
        conn.answer("PUT").is_error(403, "SignatureDoesNotMatch")

    arrived(tap, path, body)


# ---- on the way

def temporary(gateway):
    """Files in the gateway's folder for them, and those that workers have
    open there: nginx removes their names at once."""

    root = gateway.path / "temp"
    found = [f for f in root.rglob("*") if not f.is_dir()]

    for pid in gateway.worker_pids():
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = fd.readlink()
            except OSError:
                continue

            if root in target.parents:
                found.append(target)

    return found


@pytest.mark.parametrize("form,checksum", [
    ("unsigned", "header"), ("trailer", "trailer"),
    ("signed-trailer", "trailer")])
def test_streams(bounded, tap, name, form, checksum):
    """What has come has gone on, while the rest is yet to come; all but the
    last byte, until the end is known to be good.  Nothing is in a file."""

    path = f"/{name}/streams-{form}"
    body = data(4 * MIB)

    def gone():
        put = tap.puts(path)
        return len(put[0].body) if put else 0

    with raw.Connection(bounded) as conn:
        up = forms.upload(conn.host, path, form, body, checksum=checksum)
        half = len(up.body) // 2

        conn.send(up.head + up.body[:half])
        s3_server.wait_for(lambda: gone() > len(body) * 4 // 10, 30,
                           "it does not go on")
        assert temporary(bounded) == []

        # all of the payload, or all but a byte of it where that is the end

        end = len(up.body) - 1 if form == "unsigned" \
            else up.body.rindex(b"\r\n0") if form == "trailer" \
            else up.body.rindex(b"\r\n0;")

        conn.send(up.body[half:end])
        s3_server.wait_for(lambda: gone() == len(body) - 1, 30,
                           "it does not go on")
        assert temporary(bounded) == []
        assert not select.select([conn.socket], [], [], 0)[0]
        assert gone() == len(body) - 1

        conn.send(up.body[end:])
        assert conn.answer("PUT").status == 200
        assert conn.serves()

    arrived(tap, path, body)
    assert temporary(bounded) == []
    assert "temporary file" not in bounded.log()


def test_spooled(make, tap, name):
    """Where it is asked for, a file holds a large body until all of it has
    come: so those of above would have been seen."""

    path = f"/{name}/spooled"
    body = data(4 * MIB)

    with make(kind=s3_gateway.Spooling) as gateway, \
            raw.Connection(gateway) as conn:
        up = forms.upload(conn.host, path, "trailer", body,
                          checksum="trailer")
        conn.send(up.wire[:len(up.wire) // 2])
        s3_server.wait_for(lambda: temporary(gateway), 30,
                           "there is no temporary file")
        assert tap.puts(path) == []

        conn.send(up.wire[len(up.wire) // 2:])
        assert conn.answer("PUT").status == 200
        assert conn.serves()
        assert temporary(gateway) == []

    arrived(tap, path, body)


def test_many_at_once(bounded, tap, name):
    """Large bodies of many clients, a piece of each in turn."""

    body = data(MIB)
    paths = [f"/{name}/many-{i}" for i in range(30)]
    conns = [raw.Connection(bounded) for _ in paths]

    try:
        ups = [forms.upload(conn.host, path, "trailer", body,
                            checksum="trailer")
               for conn, path in zip(conns, paths)]

        step = 100_000
        for at in range(0, max(len(u.wire) for u in ups), step):
            for conn, up in zip(conns, ups):
                conn.send(up.wire[at:at + step])

        for conn in conns:
            assert conn.answer("PUT").status == 200
            assert conn.serves()

    finally:
        for conn in conns:
            conn.close()

    for path in paths:
        arrived(tap, path, body)

    assert "temporary file" not in bounded.log()


def test_no_memory(make, tap, name):
    """Bodies that would be buffered go through as they come where the
    worker's memory is held by a client that does not go on."""

    body = data(MIB)
    mark = "x-amz-meta-nginx-s3-checksum"

    with make("8m", workers=1, http="s3_memory 4m;") as gateway, \
            raw.Connection(gateway) as idle, raw.Connection(gateway) as conn:

        held = forms.upload(idle.host, f"/{name}/idle", "unsigned",
                            data(4 * MIB))
        idle.send(held.wire[:-1])

        for form in forms.FORMS:
            path = f"/{name}/no-memory-{form}"
            up = forms.upload(conn.host, path, form, body, checksum="header")
            answer = conn.raw(up.wire, "PUT")
            assert answer.status == 200, answer
            assert answer.headers["x-amz-checksum-crc32"] == raw.crc32(body)
            assert arrived(tap, path, body).headers[mark] == "record"

        # it is there again

        idle.send(held.wire[-1:])
        assert idle.answer("PUT").status == 200

        path = f"/{name}/memory"
        up = forms.upload(conn.host, path, "hash", body)
        assert conn.raw(up.wire, "PUT").status == 200
        assert arrived(tap, path, body).headers[mark] != "record"


# ---- refused by the upstream, before it has all of a body or behind it

@pytest.mark.parametrize("size", [BUFFER, 3 * MIB])
@pytest.mark.parametrize("form", ["unsigned", "trailer", "signed-trailer"])
def test_refused(bounded, tap, upstream, name, form, size):
    """Its own error; the connection goes on, or says that it does not."""

    key = f"refused-{form}-{size}"
    upstream.put_object(Bucket=name, Key=key, Body=b"old")
    body = data(size)

    for path, headers, status, code in (
            (f"/{name}-missing/{key}", [], 404, "NoSuchBucket"),
            (f"/{name}/{key}", [("If-None-Match", "*")], 412,
             "PreconditionFailed"),
            (f"/{name}/{key}", [("If-Match", '"other"')], 412,
             "PreconditionFailed"),
            (f"/{name}/{key}-new", [("If-Match", '"other"')], 404,
             "NoSuchKey")):
        with raw.Connection(bounded) as conn:
            up = forms.upload(conn.host, path, form, body, headers=headers,
                              checksum="trailer" if "trailer" in form
                              else "header")
            answer = conn.raw(up.wire, "PUT")
            answer.is_error(status, code)
            assert conn.ends() if answer.closes else conn.serves()

        puts = tap.puts(path)
        assert all(not s.whole for s in tap.cut(*puts))

    assert read(upstream, name, key) == b"old"


# ---- slow clients

@pytest.fixture(scope="module")
def impatient(make):
    with make(server="client_body_timeout 1s;") as gateway:
        yield gateway


@pytest.mark.parametrize("form,chunked,size", [
    ("hash", False, BUFFER), ("unsigned", False, MIB),
    ("unsigned", True, BUFFER), ("trailer", True, MIB),
    ("signed-trailer", False, BUFFER), ("signed-trailer", False, MIB)])
def test_slow(impatient, tap, upstream, name, form, chunked, size):
    """Half of a body, and no more."""

    key = f"slow-{form}-{chunked}-{size}"
    path = f"/{name}/{key}"
    upstream.put_object(Bucket=name, Key=key, Body=b"old")

    with raw.Connection(impatient) as conn:
        up = forms.upload(conn.host, path, form, data(size), chunked)
        conn.send(up.head + up.body[:len(up.body) // 2])
        answer = conn.answer("PUT")
        answer.is_error(400, "RequestTimeout")
        assert answer.closes and conn.ends()

    puts = tap.puts(path)
    assert len(puts) == (1 if size > BUFFER else 0)
    assert tap.cut(*puts) == puts
    assert read(upstream, name, key) == b"old"


def test_slow_but_not_too_slow(make, tap, name):
    """Each wait is shorter than the timeout, all of them are longer."""

    path = f"/{name}/not-too-slow"
    body = data(100_000)

    with make(server="client_body_timeout 2s;") as gateway, \
            raw.Connection(gateway) as conn:
        up = forms.upload(conn.host, path, "signed-trailer", body,
                          checksum="trailer")
        step = len(up.wire) // 5 + 1

        for at in range(0, len(up.wire), step):
            time.sleep(0.6)
            conn.send(up.wire[at:at + step])

        assert conn.answer("PUT").status == 200

    arrived(tap, path, body)
