"""What is corrupt becomes no object and no part, whatever form it came in,
however large it is, wherever it is wrong, cut or left off: Ceph keeps what it
had.  The client is told so, on a connection that goes on or ends cleanly, and
no connection to Ceph is used again on which something was cut short.
"""

import base64
import contextlib
import hashlib
import http.client
import itertools
import select
import socket
import struct
import threading
import unittest.mock
import urllib.parse

import pytest

import forms
import http2
import raw
import s3_gateway
import s3_server
import test_payloads
from checks import KIB, data, md5

# the same tests, of a gateway

from test_payloads import (test_chunks_belong_together, test_decoded_length,
                           test_trailers)


BUFFER = 16 * KIB

# below the bound and above it; each of more than one chunk

SIZES = {"buffered": 15_000, "streamed": 70_001}
CHUNK = {"buffered": 8192, "streamed": 32 * KIB}

DENIED = {"SignatureDoesNotMatch", "InvalidArgument", "InvalidRequest",
          "InvalidDigest", "AuthorizationHeaderMalformed"}

# of framing that is not what it was

WRONG = {"IncompleteBody", "SignatureDoesNotMatch", "InvalidChunkSizeError",
         "InvalidRequest", "MalformedTrailerError", "BadDigest",
         "EntityTooLarge"}

names = itertools.count(1)


@pytest.fixture(scope="module")
def tap(ceph):
    """What goes up from all of them; no connection went on behind a request
    that was cut short."""

    with s3_gateway.Tap(ceph) as tap:
        yield tap
        tap.cut(*tap.sent)


def conf(service, buffer=BUFFER):
    return f"s3_gateway_buffer {buffer}; s3_checksums_bucket {service};"


@pytest.fixture(scope="module")
def store(ceph, tap, service):
    """Streams whatever has two bytes: what test_payloads.py sends."""

    with s3_gateway.Gateway(ceph, upstream_url=tap.url,
                            gateway=conf(service, 1)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def bounded(ceph, tap, service):
    with s3_gateway.Gateway(ceph, upstream_url=tap.url,
                            gateway=conf(service)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def spooling(ceph, tap, service):
    with s3_gateway.Spooling(ceph, upstream_url=tap.url,
                             gateway=conf(service)) as gateway:
        yield gateway


@pytest.fixture
def bucket(payloads_bucket):
    return payloads_bucket


def keys(upstream, bucket, prefix=""):
    return {entry["Key"] for page in upstream.get_paginator(
        "list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for entry in page.get("Contents", [])}


class Watch:
    """Looks, all the time, at what Ceph has by a name: nothing that was not
    one of the bodies which may be there."""

    def __init__(self, upstream, bucket):
        self.upstream = upstream
        self.bucket = bucket
        self.allowed = {}
        self.wrong = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def allow(self, key, *bodies):
        self.allowed[key] = {md5(b) for b in bodies}

    def look(self, key):
        try:
            answer = self.upstream.get_object(Bucket=self.bucket, Key=key)
            body = answer["Body"].read()
        except self.upstream.exceptions.NoSuchKey:
            return

        if md5(body) not in self.allowed[key]:
            self.wrong.append((key, len(body), answer["ETag"]))

    def run(self):
        while not self.stop.wait(0.2):
            for key in list(self.allowed)[-2:]:
                self.look(key)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

        for key in self.allowed:
            self.look(key)

        assert not self.wrong

        # and nothing else is there

        assert keys(self.upstream, self.bucket) <= set(self.allowed)


@pytest.fixture(scope="module")
def watch(bounded, upstream, bucket_name):
    bucket = bucket_name("corrupt")
    bounded.client().create_bucket(Bucket=bucket)

    with Watch(upstream, bucket) as watch:
        yield watch


def upload(host, target, *args, **kwargs):
    """forms.upload() of a target that may have a query."""

    path, _, query = target.partition("?")
    real = raw.sign

    def sign(method, path, _, *args, **kwargs):
        return real(method, path, query, *args, **kwargs)

    with unittest.mock.patch.object(raw, "sign", sign):
        up = forms.upload(host, path, *args, framing=False, **kwargs)

    up.head = up.head.replace(path.encode(), target.encode(), 1)

    return up


def framed(up, chunked, body=None):
    """An upload as it is sent, with another body or its own."""

    body = up.body if body is None else body
    line = "Transfer-Encoding: chunked" if chunked \
        else f"Content-Length: {len(body)}"

    return (up.head[:-2] + line.encode() + b"\r\n\r\n",
            raw.http_chunked(body, 10_000) if chunked else body)


# ---- what can be wrong

def fields(form, body):
    """(kind, first, last) of all there is in a body, but for CRLFs"""

    if form in ("hash", "unsigned"):
        yield "data", 0, len(body) - 1
        return

    at = 0

    while True:
        end = body.index(b"\r\n", at)
        size, semicolon, signature = body[at:end].partition(b";")
        yield "size", at, at + len(size) - 1

        if semicolon:
            at += len(size) + 1
            yield "name of a signature", at, at + 14
            yield "signature", at + 16, end - 1
            assert body[at + 15:at + 16] == b"=" and end - at == 16 + 64

        at = end + 2
        n = int(size, 16)
        if n == 0:
            break

        yield "data", at, at + n - 1
        assert body[at + n:at + n + 2] == b"\r\n"
        at += n + 2

    for line in body[at:].split(b"\r\n")[:-2]:
        name, _, value = line.partition(b":")
        kind = "trailer's signature" if name.endswith(b"-signature") \
            else "trailer"
        yield f"name of a {kind}", at, at + len(name) - 1
        yield kind, at + len(name) + 1, at + len(line) - 1
        at += len(line) + 2

    assert body[at:] == b"\r\n"


def codes(kind, form, checksum):
    """What is said of a field with another value; empty: nothing can tell"""

    if kind == "data":
        if form == "hash":
            return {"XAmzContentSHA256Mismatch"}
        if form.startswith("signed"):
            return {"SignatureDoesNotMatch"}
        return {"BadDigest"} if checksum else set()

    if kind in ("signature", "trailer's signature"):
        return {"SignatureDoesNotMatch", "IncompleteBody"}

    if kind == "trailer":
        return {"SignatureDoesNotMatch", "InvalidRequest"} \
            if form.startswith("signed") else {"BadDigest", "InvalidRequest"}

    return WRONG


def changed(text, at):
    text = bytearray(text)
    text[at] ^= 1
    return bytes(text)


def bodies(up, form, checksum):
    """(what, body, codes): each field in turn has another first byte, and
    another last one"""

    for kind, first, last in fields(form, up.body):
        expected = codes(kind, form, checksum)

        if expected:
            for at in {first, last}:
                yield f"{kind} at {at}", changed(up.body, at), expected

    if form not in ("hash", "unsigned"):
        for at in (up.body.index(b"\r\n"), len(up.body) - 1):
            yield f"CRLF at {at}", changed(up.body, at), WRONG


def heads(up):
    """(what, head, codes): each signed header in turn has another value"""

    for name in ("x-amz-content-sha256", "x-amz-decoded-content-length",
                 "x-amz-checksum-crc32", "x-amz-trailer", "Content-MD5",
                 "Authorization"):
        value = dict(up.lines).get(name)

        if value:
            at = up.head.index(f"{name}: {value}\r\n".encode()) \
                + len(name) + 2 + len(value) - 1
            yield name, changed(up.head, at), DENIED


def lies(form, checksum, body):
    """(what, arguments of upload(), codes): well signed, as by a client that
    has it wrong"""

    other = hashlib.md5(b"other").digest()

    yield "Content-MD5", {"headers": [
        ("Content-MD5", base64.b64encode(other).decode())]}, {"BadDigest"}
    yield "no Content-MD5", {"headers": [
        ("Content-MD5", base64.b64encode(other[1:]).decode())]}, \
        {"InvalidDigest"}

    if checksum:
        yield "checksum", {"value": raw.crc32(b"other")}, {"BadDigest"}
        yield "no checksum", {"value": "nonsense"}, {"InvalidRequest"}

    if form not in ("hash", "unsigned"):
        for more in (-1, 1):
            yield f"length {more:+}", {"length": len(body) + more}, \
                {"IncompleteBody"}


class Sender:
    """A client that sends one upload after the other, on one connection as
    long as that goes on.  begun(): how many of them Ceph has seen the begin
    of."""

    def __init__(self, store, begun=None):
        self.store = store
        self.begun = begun
        self.conn = raw.Connection(store)
        self.host = self.conn.host

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def send_and_wait(self, conn, wire):
        """Sends that much; returns when Ceph has the begin of it, or there is
        an answer already."""

        n = self.begun and self.begun()
        conn.send(wire)

        if self.begun:
            s3_server.wait_for(
                lambda: self.begun() > n
                or select.select([conn.socket], [], [], 0)[0],
                30, "nothing goes on to Ceph", every=0.001)

    def send(self, head, body):
        # a refusal may come while it is being sent

        half = len(head) + len(body) // 2
        wire = head + body

        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_and_wait(self.conn, wire[:half])
            self.conn.send(wire[half:])

        answer = self.conn.answer("PUT")

        if answer.closes:
            assert self.conn.ends()
            self.conn.close()
            self.conn = raw.Connection(self.store)

        return answer

    def leave(self, wire, how):
        """Sends that much and no more."""

        with raw.Connection(self.store) as conn:
            self.send_and_wait(conn, wire)

            if how == "reset":
                conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack("ii", 1, 0))

            elif how == "half":
                conn.socket.shutdown(socket.SHUT_WR)
                try:
                    answer = conn.answer("PUT")
                except (http.client.RemoteDisconnected, ConnectionError):
                    return
                assert answer.status >= 400, answer
                assert conn.ends()


def cuts(form, body, chunked):
    """Places where a client leaves: within all fields, where they are known,
    and at the ends of the body"""

    places = {0, 1, len(body) // 2, len(body) - 1, len(body) - 2}

    if not chunked:
        for _, first, last in fields(form, body):
            places |= {first, last}

    return sorted(places)


# ---- where it goes

class Object:
    """One that is there, with its checksum, and what it would become."""

    def __init__(self, store, upstream, watch, body):
        self.upstream = upstream
        self.bucket = watch.bucket
        self.key = f"object-{next(names)}"
        self.target = self.path = f"/{self.bucket}/{self.key}"

        # large: its checksum is in a record, as that of the new one would be

        self.old = data(20_000, 7)
        watch.allow(self.key, self.old, body)
        store.client().put_object(
            Bucket=self.bucket, Key=self.key, Body=self.old,
            ContentType="text/old", Metadata={"is": "old"})
        self.kept = self.state(store)
        assert self.kept["Metadata"]["is"] == "old"
        assert self.kept["ContentType"] == "text/old"
        assert self.kept["ETag"] == f'"{md5(self.old)}"'

    def state(self, store):
        head = self.upstream.get_object(Bucket=self.bucket, Key=self.key)
        through = store.client().head_object(
            Bucket=self.bucket, Key=self.key, ChecksumMode="ENABLED")
        return {"Body": head["Body"].read(),
                "Checksum": through.get("ChecksumCRC32"),
                **{n: head[n] for n in ("ETag", "Metadata", "ContentType",
                                        "LastModified", "ContentLength")}}

    def is_old(self, store):
        assert self.state(store) == self.kept
        assert self.kept["Body"] == self.old
        assert self.kept["Checksum"] == raw.crc32(self.old)

    def is_new(self, store, body):
        state = self.state(store)
        assert state["Body"] == body
        assert state["ETag"] == f'"{md5(body)}"'
        assert "is" not in state["Metadata"]

    def end(self, store):
        pass


class Part:
    """One that is there, of an upload that has another one."""

    def __init__(self, store, upstream, watch, body):
        self.upstream = upstream
        self.bucket = watch.bucket
        self.key = f"part-{next(names)}"
        self.path = f"/{self.bucket}/{self.key}"
        self.old = data(20_000, 7)
        watch.allow(self.key, self.old)

        client = store.client()
        self.names = {"Bucket": self.bucket, "Key": self.key}
        self.begin(client, ChecksumAlgorithm="CRC32",
                   ChecksumType="FULL_OBJECT")
        client.upload_part(**self.names, PartNumber=1, Body=self.old)
        self.kept = self.state(store)

    def state(self, store):
        """As Ceph and as the gateway list it."""

        return [listed["Parts"][0]
                for listed in (self.upstream.list_parts(**self.names),
                               store.client().list_parts(**self.names))
                if len(listed["Parts"]) == 1]

    def begin(self, client, **kwargs):
        self.names.pop("UploadId", None)
        self.names["UploadId"] = client.create_multipart_upload(
            **self.names, **kwargs)["UploadId"]
        self.target = f"{self.path}?partNumber=1&uploadId=" \
            + urllib.parse.quote(self.names["UploadId"], safe="-._~")

    def is_old(self, store):
        assert self.state(store) == self.kept
        assert len(self.kept) == 2
        assert self.kept[0]["ETag"] == f'"{md5(self.old)}"'
        assert self.kept[1]["ChecksumCRC32"] == raw.crc32(self.old)

        # its very bytes become an object

        client = store.client()
        client.complete_multipart_upload(
            **self.names, MultipartUpload={"Parts": [
                {"PartNumber": 1, "ETag": self.kept[0]["ETag"]}]})
        got = self.upstream.get_object(Bucket=self.bucket, Key=self.key)
        assert got["Body"].read() == self.old

        # and there is another upload for what is good

        self.begin(client)

    def is_new(self, store, body):
        for listed in self.state(store):
            assert listed["ETag"] == f'"{md5(body)}"'
            assert listed["Size"] == len(body)

    def end(self, store):
        store.client().abort_multipart_upload(**self.names)


PLACES = {"object": Object, "part": Part}


KINDS = [(form, checksum, chunked) for form, checksum in forms.CHECKSUMS
         for chunked in (False, True)]


def check(store, tap, upstream, watch, service, place, size, form, checksum,
          chunked):
    """service: None where none is written to"""

    body = data(SIZES[size])
    target = PLACES[place](store, upstream, watch, body)
    before = service and keys(upstream, service, "o/")
    chunk = CHUNK[size]

    def make(**kwargs):
        return upload(sender.host, target.target, form, body,
                      checksum=checksum, chunk=chunk, **kwargs)

    def begun():
        return len(tap.puts(target.path))

    sent = begun()

    # where the begin of a body goes on before its end is there

    streams = size == "streamed" \
        and not isinstance(store, s3_gateway.Spooling)

    with Sender(store, begun if streams else None) as sender:
        up = make()

        for what, head, expected in heads(up):
            answer = sender.send(*framed(
                forms.Upload(up.lines, head, up.body), chunked))
            assert answer.status in (400, 403) and answer.code in expected, \
                (what, answer)

        # so far nothing has gone any further

        assert len(tap.puts(target.path)) == sent

        for what, wrong, expected in bodies(up, form, checksum):
            answer = sender.send(*framed(up, chunked, wrong))
            assert answer.status in (400, 403) and answer.code in expected, \
                (what, answer)

        for what, kwargs, expected in lies(form, checksum, body):
            answer = sender.send(*framed(make(**kwargs), chunked))
            assert answer.status == 400 and answer.code in expected, \
                (what, answer)

        head, wire = framed(up, chunked)
        ways = itertools.cycle(["close", "half", "reset"])

        for at, how in zip(cuts(form, wire, chunked), ways):
            sender.leave(head + wire[:at], how)

        # it is still the connection it was

        assert sender.conn.serves()

        puts = tap.puts(target.path)[sent:]
        cut = tap.cut(*puts)

        if not streams:
            assert puts == []

        else:
            # all but the last byte at most, and not one of them is whole

            assert cut == puts != []

        assert before == (service and keys(upstream, service, "o/"))
        target.is_old(store)

        # the same, with nothing wrong in it

        answer = sender.send(*framed(make(), chunked))
        assert answer.status == 200, answer
        target.is_new(store, body)
        target.end(store)
        assert sender.conn.serves()

    put, = [s for s in tap.puts(target.path)[sent:] if s.whole]
    assert put.body == body or service is None and body in put.body


# Of unknown length none is taken that is larger than the buffer.  A part is
# no other body than an object: one framing of each kind will do.

def has_length(form):
    return form in ("hash", "unsigned")


CASES = [("object", size, *kind) for size in SIZES for kind in KINDS
         if not (size == "streamed" and kind[2] and has_length(kind[0]))]

CASES += [("part", size, form, checksum, n % 2 == 1 and not has_length(form))
          for size in SIZES
          for n, (form, checksum) in enumerate(forms.CHECKSUMS)]


def case_id(case):
    place, size, form, checksum, chunked = case
    return "-".join([place, size, form, checksum or "none",
                     "chunked" if chunked else "length"])


@pytest.mark.parametrize("place,size,form,checksum,chunked", CASES,
                         ids=map(case_id, CASES))
def test_matrix(bounded, tap, upstream, watch, service, place, size, form,
                checksum, chunked):
    check(bounded, tap, upstream, watch, service, place, size, form,
          checksum, chunked)


@pytest.mark.parametrize("place,size,form,checksum,chunked", [
    ("object", "streamed", "hash", "header", False),
    ("object", "streamed", "unsigned", "header", False),
    ("object", "streamed", "trailer", "trailer", True),
    ("object", "streamed", "signed", None, True),
    ("object", "streamed", "signed-trailer", "trailer", False),
    ("part", "streamed", "signed-trailer", "trailer", True)])
def test_spooled(spooling, tap, upstream, watch, service, place, size, form,
                 checksum, chunked):
    """With proxy_request_buffering nothing is sent of what is bad."""

    check(spooling, tap, upstream, watch, service, place, size, form,
          checksum, chunked)


# ---- before a server that knows checksums

@pytest.fixture(scope="module")
def knowing():
    with s3_gateway.UpstreamStore(disks=2) as store:
        yield store


@pytest.fixture(scope="module")
def knowing_tap(knowing):
    with s3_gateway.Tap(knowing) as tap:
        yield tap
        tap.cut(*tap.sent)


@pytest.fixture(scope="module")
def passing(knowing, knowing_tap):
    with s3_gateway.Gateway(
            knowing, upstream_url=knowing_tap.url,
            gateway=f"s3_checksums pass; s3_gateway_buffer {BUFFER};") \
            as gateway:
        yield gateway


@pytest.fixture(scope="module")
def knowing_watch(knowing, passing):
    upstream = knowing.client(access_key=knowing.access_key,
                              secret_key=knowing.secret_key)
    passing.client().create_bucket(Bucket="corrupt")

    with Watch(upstream, "corrupt") as watch:
        yield watch


@pytest.mark.parametrize("place,size,form,checksum,chunked", [
    *(("object", "streamed", form, checksum,
       n % 2 == 0 and not has_length(form))
      for n, (form, checksum) in enumerate(forms.CHECKSUMS)),
    ("object", "buffered", "signed-trailer", "trailer", False),
    ("part", "streamed", "trailer", "trailer", False)])
def test_passed(passing, knowing_tap, knowing_watch, place, size, form,
                checksum, chunked):
    """Trailers go on as trailers; what is bad stops here all the same."""

    check(passing, knowing_tap, knowing_watch.upstream, knowing_watch, None,
          place, size, form, checksum, chunked)


# ---- HTTP/2

@pytest.mark.parametrize("form", forms.FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_http2(bounded, tap, upstream, watch, size, form):
    """Streams of one connection: none of them takes another with it."""

    body = data(SIZES[size])
    host = f"127.0.0.1:{bounded.h2_port}"
    target = Object(bounded, upstream, watch, body)
    begun = len(tap.puts(target.path))

    up = upload(host, target.path, form, body, chunk=CHUNK[size],
                checksum="trailer" if form.endswith("trailer") else "header")

    # the last byte of the data

    _, _, last = [f for f in fields(form, up.body) if f[0] == "data"][-1]
    wrong = forms.Upload(up.lines, up.head, changed(up.body, last))

    url = bounded.url("h2")
    answer = http2.put(url, target.path, wrong, bounded.ca)
    assert answer.status == (403 if form.startswith("signed") else 400)
    assert {answer.code} <= codes("data", form, "header")

    # who leaves in the middle of it

    http2.leave(url, target.path, up, bounded.ca, len(up.body) // 2)
    http2.leave(url, target.path, up, bounded.ca, len(up.body) - 1)

    puts = tap.puts(target.path)[begun:]
    assert tap.cut(*puts) == puts
    assert puts or size == "buffered"
    target.is_old(bounded)

    assert http2.put(url, target.path, up, bounded.ca).status == 200
    target.is_new(bounded, body)


# ---- every byte, of small bodies that go through as they come

SOME = [("hash", None, False), ("trailer", "trailer", True),
        ("signed", None, False), ("signed-trailer", "trailer", False)]


@pytest.mark.parametrize("form,checksum,chunked", SOME)
def test_corrupted(store, bucket, form, checksum, chunked):
    test_payloads.test_corrupted(store, bucket, form, checksum, chunked)


@pytest.mark.parametrize("form,checksum,chunked", SOME)
def test_closed_at_every_byte(store, bucket, form, checksum, chunked):
    test_payloads.test_closed_at_every_byte(store, bucket, form, checksum,
                                            chunked)
