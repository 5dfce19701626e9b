"""Uploads in parts that come through two gateways by turns, neither of which
knows of the other: one buffers its parts, and one lets them through as they
come.
"""

import base64
import hashlib
import itertools

import boto3.s3.transfer
import botocore.config
import pytest

import s3_gateway
import s3_server
from checks import DIGESTS, MIB, data, fails, md5, read
from test_multipart import etag_of
from test_multipart_checksums import checksums


PART = 5 * MIB
FULL = ["CRC32", "CRC32C", "CRC64NVME"]
COMPOSITE = ["CRC32", "CRC32C", "SHA1", "SHA256"]
KINDS = [*((a, "FULL_OBJECT") for a in FULL),
         *((a, "COMPOSITE") for a in COMPOSITE)]


@pytest.fixture(scope="module")
def gateways(ceph, service):
    with s3_gateway.Gateway(
            ceph, gateway=f"s3_checksums_bucket {service};") as one, \
            s3_gateway.Gateway(
                ceph, gateway=f"s3_checksums_bucket {service};"
                "s3_gateway_buffer 16k;") as two:
        yield one, two


@pytest.fixture(scope="module")
def plain(gateways):
    """Clients that add nothing of their own."""

    return [gateway.client(config=botocore.config.Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required"))
        for gateway in gateways]


@pytest.fixture(params=[0, 1], ids=["one first", "two first"])
def turns(request, plain):
    """next(turns): the client of the other gateway, each time"""

    return itertools.cycle(plain[request.param:] + plain[:request.param])


@pytest.fixture(scope="module")
def bucket(plain, bucket_name):
    name = bucket_name("parts")
    plain[0].create_bucket(Bucket=name)
    return name


numbers = itertools.count(1)


@pytest.fixture
def key():
    return f"key-{next(numbers)}"


@pytest.fixture(scope="module")
def three():
    return [data(PART), data(PART + 1, 1), data(1234, 2)]


class Upload:
    """One, each request of which goes to the gateway whose turn it is."""

    def __init__(self, turns, bucket, key, algorithm=None, kind=None):
        self.turns = turns
        self.algorithm = algorithm
        self.names = {"Bucket": bucket, "Key": key}
        kwargs = {n: v for n, v in (("ChecksumAlgorithm", algorithm),
                                    ("ChecksumType", kind)) if v}
        self.names["UploadId"] = next(turns).create_multipart_upload(
            **self.names, **kwargs)["UploadId"]

    def named(self, number, etag, body, algorithm):
        return {"PartNumber": number, "ETag": etag, **(
            {f"Checksum{algorithm}": text_of(algorithm, body)}
            if algorithm else {})}

    def part(self, number, body, algorithm=None):
        """As Complete names it."""

        algorithm = algorithm or self.algorithm
        kwargs = {f"Checksum{algorithm}": text_of(algorithm, body)} \
            if algorithm else {}
        answer = next(self.turns).upload_part(
            **self.names, PartNumber=number, Body=body, **kwargs)
        assert answer["ETag"] == f'"{md5(body)}"'
        assert checksums(answer) == ({algorithm: text_of(algorithm, body)}
                                     if algorithm else {})
        return self.named(number, answer["ETag"], body, self.algorithm)

    def copy(self, number, source, body, span=None):
        kwargs = {"CopySourceRange": "bytes=%d-%d" % span} if span else {}
        answer = next(self.turns).upload_part_copy(
            **self.names, PartNumber=number, CopySource=source,
            **kwargs)["CopyPartResult"]
        assert answer["ETag"] == f'"{md5(body)}"'
        assert checksums(answer) == (
            {self.algorithm: text_of(self.algorithm, body)}
            if self.algorithm else {})
        return self.named(number, answer["ETag"], body, self.algorithm)

    def listed(self):
        answer = next(self.turns).list_parts(**self.names)
        assert answer.get("ChecksumAlgorithm") == self.algorithm
        return [(p["PartNumber"], p["ETag"], p["Size"], checksums(p))
                for p in answer.get("Parts", [])]

    def expected(self, *parts):
        """What is listed of (number, body)."""

        return [(n, f'"{md5(b)}"', len(b),
                 {self.algorithm: text_of(self.algorithm, b)}
                 if self.algorithm else {}) for n, b in parts]

    def complete(self, parts, **kwargs):
        return next(self.turns).complete_multipart_upload(
            **self.names, MultipartUpload={"Parts": parts}, **kwargs)

    def abort(self):
        return next(self.turns).abort_multipart_upload(**self.names)


def text_of(algorithm, body):
    return DIGESTS[algorithm](body)


def composite(algorithm, bodies):
    digests = [base64.b64decode(text_of(algorithm, b)) for b in bodies]
    return text_of(algorithm, b"".join(digests)) + f"-{len(bodies)}"


def whole(algorithm, kind, bodies):
    """The checksum of an object of these parts."""

    if algorithm is None:
        algorithm, kind = "CRC64NVME", "FULL_OBJECT"

    return {algorithm: composite(algorithm, bodies) if kind == "COMPOSITE"
            else text_of(algorithm, b"".join(bodies)), "Type": kind}


def is_there(plain, upstream, bucket, key, algorithm, kind, bodies):
    """The object, as both gateways and Ceph have it."""

    expected = whole(algorithm, kind, bodies)
    body = b"".join(bodies)

    for client in plain:
        got = client.get_object(Bucket=bucket, Key=key,
                                ChecksumMode="ENABLED")
        assert got["Body"].read() == body
        assert got["ETag"] == etag_of(*bodies)
        assert checksums(got) == expected

    assert read(upstream, bucket, key) == body


# ---- by turns

@pytest.mark.parametrize("algorithm,kind", [*KINDS, (None, None)])
def test_by_turns(turns, plain, upstream, bucket, key, three, algorithm,
                  kind):
    """Create, parts, list and Complete, each at another gateway than the one
    before."""

    bodies = [three[0], three[2]]
    up = Upload(turns, bucket, key, algorithm, kind)
    parts = [up.part(n, b) for n, b in enumerate(bodies, 1)]

    for _ in plain:
        assert up.listed() == up.expected(*enumerate(bodies, 1))

    done = up.complete(parts)
    assert done["ETag"] == etag_of(*bodies)
    assert checksums(done) == whole(algorithm, kind, bodies)

    is_there(plain, upstream, bucket, key, algorithm, kind, bodies)


@pytest.mark.parametrize("algorithm,kind", [
    ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")])
def test_out_of_order(turns, plain, upstream, bucket, key, three, algorithm,
                      kind):
    """With gaps, from the last to the first; listed in pages."""

    up = Upload(turns, bucket, key, algorithm, kind)
    numbers = [9, 5, 2]
    parts = [up.part(n, b) for n, b in zip(numbers, reversed(three))]
    expected = up.expected(*zip(reversed(numbers), three))

    assert up.listed() == expected

    for after, want in ((0, expected[0]), (2, expected[1]), (5, expected[2])):
        page = next(turns).list_parts(**up.names, MaxParts=1,
                                      PartNumberMarker=after)
        assert [(p["PartNumber"], p["ETag"], p["Size"], checksums(p))
                for p in page["Parts"]] == [want]
        assert page["IsTruncated"] == (want is not expected[2])

    up.complete(parts[::-1], **{
        f"Checksum{algorithm}": whole(algorithm, kind, three)[algorithm],
        "ChecksumType": kind})
    is_there(plain, upstream, bucket, key, algorithm, kind, three)


@pytest.mark.parametrize("algorithm,kind", [
    ("CRC32", "FULL_OBJECT"), ("SHA1", "COMPOSITE"), (None, None)])
def test_copied_parts(turns, plain, upstream, bucket, key, three, algorithm,
                      kind):
    """Between those that were sent: of an object whole, and of a piece."""

    source = f"{bucket}/{key}-source"
    next(turns).put_object(Bucket=bucket, Key=f"{key}-source",
                           Body=b"".join(three))

    up = Upload(turns, bucket, key, algorithm, kind)
    bodies = [three[0], b"".join(three), three[1], three[2][:7]]
    first = len(three[0])
    last = first + len(three[1])

    parts = [up.part(1, bodies[0]),
             up.copy(2, source, bodies[1]),
             up.copy(3, source, bodies[2], (first, last - 1)),
             up.copy(4, source, bodies[3], (last, last + 6))]

    assert up.listed() == up.expected(*enumerate(bodies, 1))
    done = up.complete(parts)
    assert checksums(done) == whole(algorithm, kind, bodies)
    is_there(plain, upstream, bucket, key, algorithm, kind, bodies)


# ---- a part twice

@pytest.mark.parametrize("algorithm,kind", [
    ("CRC32C", "FULL_OBJECT"), ("SHA256", "COMPOSITE"), (None, None)])
def test_overwritten(turns, plain, upstream, bucket, key, algorithm, kind):
    """At the other gateway: the last one counts, and no other."""

    bodies = [data(100, n) for n in range(3)]
    up = Upload(turns, bucket, key, algorithm, kind)
    old, older, new = [up.part(1, b) for b in bodies]

    assert up.listed() == up.expected((1, bodies[2]))

    for part in (old, older):
        assert fails(up.complete, [part]) == (400, "InvalidPart")

    up.complete([new])
    is_there(plain, upstream, bucket, key, algorithm, kind, bodies[2:])


def test_overwritten_with_the_same(turns, plain, upstream, bucket, key):
    """With one checksum, then with another: each is known."""

    body = data(100)
    up = Upload(turns, bucket, key)
    up.part(1, body, "SHA1")
    part = up.part(1, body, "CRC32C")

    for algorithm in ("SHA1", "CRC32C"):
        wrong = dict(part, **{f"Checksum{algorithm}":
                              text_of(algorithm, b"other")})
        assert fails(up.complete, [wrong]) == (400, "InvalidPart")

    up.complete([dict(part, ChecksumSHA1=text_of("SHA1", body))])
    is_there(plain, upstream, bucket, key, None, None, [body])


def test_overwritten_past_us(turns, plain, upstream, bucket, key):
    """Of a part that came to Ceph directly no checksum is known: it is not
    listed, and the upload does not become an object with a wrong one."""

    up = Upload(turns, bucket, key, "CRC32", "FULL_OBJECT")
    mine = up.part(1, data(100))
    other = data(100, 1)
    part = upstream.upload_part(**up.names, PartNumber=1, Body=other)

    assert up.listed() == [(1, part["ETag"], 100, {})]
    assert fails(up.complete, [mine]) == (400, "InvalidPart")

    named = {"PartNumber": 1, "ETag": part["ETag"],
             "ChecksumCRC32": text_of("CRC32", other)}
    try:
        up.complete([named])
    except plain[0].exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "InvalidPart"
        return

    for client in plain:
        got = client.get_object(Bucket=bucket, Key=key,
                                ChecksumMode="ENABLED")
        assert got["Body"].read() == other
        assert checksums(got) in (
            {}, {"CRC32": text_of("CRC32", other), "Type": "FULL_OBJECT"})


# ---- Complete

@pytest.mark.parametrize("algorithm,kind", KINDS)
def test_wrong_checksum(turns, plain, upstream, bucket, key, algorithm, kind):
    """Of a part, or of the whole, as it is named in Complete: refused, and
    the upload goes on."""

    name = f"Checksum{algorithm}"
    body = data(1000)
    upstream.put_object(Bucket=bucket, Key=key, Body=b"old")
    up = Upload(turns, bucket, key, algorithm, kind)
    part = up.part(1, body)
    wrong = text_of(algorithm, b"other")

    for _ in plain:
        assert fails(up.complete, [dict(part, **{name: wrong})]) \
            == (400, "InvalidPart")
        assert fails(up.complete, [part], ChecksumType=kind, **{
            name: wrong + ("-1" if kind == "COMPOSITE" else "")}) \
            == (400, "BadDigest")
        assert fails(up.complete, [dict(part, ETag=md5(b"other"))]) \
            == (400, "InvalidPart")

    assert read(upstream, bucket, key) == b"old"
    assert up.listed() == up.expected((1, body))

    up.complete([part])
    is_there(plain, upstream, bucket, key, algorithm, kind, [body])


def test_part_is_corrupt(turns, plain, upstream, bucket, key, three):
    """The part that was there stays, at both gateways."""

    up = Upload(turns, bucket, key, "CRC32", "FULL_OBJECT")
    bodies = [three[0], data(20_000)]
    parts = [up.part(n, b) for n, b in enumerate(bodies, 1)]

    for number in (1, 2, 2, 1):
        for size in (1000, 20_000):
            assert fails(next(turns).upload_part, **up.names,
                         PartNumber=number, Body=data(size, 5),
                         ChecksumCRC32=text_of("CRC32", b"other")) \
                == (400, "BadDigest")

    assert up.listed() == up.expected(*enumerate(bodies, 1))
    up.complete(parts)
    is_there(plain, upstream, bucket, key, "CRC32", "FULL_OBJECT", bodies)


@pytest.mark.parametrize("algorithm", [None, "CRC64NVME", "SHA256"])
def test_complete_twice(turns, plain, upstream, service, bucket, key,
                        algorithm):
    """Who has not heard that it was done asks the other gateway."""

    up = Upload(turns, bucket, key, algorithm)
    parts = [up.part(1, data(1000))]

    # its records, see src/gateway/s3_mark.h

    name = hashlib.sha256(
        f"{bucket}/{key}?{up.names['UploadId']}".encode()).hexdigest()
    kept = upstream.get_object(Bucket=service, Key=f"u/{name}")
    text = kept["Body"].read()

    def records():
        return sum(upstream.list_objects_v2(
            Bucket=service, Prefix=prefix)["KeyCount"]
            for prefix in (f"u/{name}", f"p/{name}/"))

    assert records() == 2
    done = up.complete(parts)
    assert checksums(done)
    s3_server.wait_for(lambda: records() == 0, 30,
                       "records of an upload that is complete")

    for _ in plain:
        again = up.complete(parts)
        assert again["ETag"] == done["ETag"]
        assert checksums(again) == checksums(done)

    # while those of its parts are on their way out

    upstream.put_object(Bucket=service, Key=f"u/{name}", Body=text,
                        Metadata=kept["Metadata"])
    again = up.complete(parts)
    assert again["ETag"] == done["ETag"]
    assert checksums(again) in ({}, checksums(done))

    for client in plain:
        got = client.head_object(Bucket=bucket, Key=key,
                                 ChecksumMode="ENABLED")
        assert checksums(got) == checksums(done)

    s3_server.wait_for(lambda: records() == 0, 30,
                       "records of an upload that is complete")


def test_abort(turns, plain, upstream, bucket, key):
    up = Upload(turns, bucket, key, "CRC32")
    parts = [up.part(n, data(100, n)) for n in (1, 2)]
    up.abort()

    for _ in plain:
        for call, kwargs in ((next(turns).list_parts, {}),
                             (next(turns).upload_part,
                              {"PartNumber": 1, "Body": b"x",
                               "ChecksumCRC32": text_of("CRC32", b"x")}),
                             (next(turns).abort_multipart_upload, {})):
            assert fails(call, **up.names, **kwargs) == (404, "NoSuchUpload")

        assert fails(up.complete, parts) == (404, "NoSuchUpload")
        assert fails(next(turns).head_object, Bucket=bucket, Key=key) \
            == (404, "404")

    assert "Uploads" not in upstream.list_multipart_uploads(Bucket=bucket,
                                                            Prefix=key)


# ---- reading

@pytest.mark.parametrize("algorithm,kind", [
    ("CRC32", "FULL_OBJECT"), ("CRC32", "COMPOSITE"),
    ("SHA256", "COMPOSITE"), (None, None)])
def test_part_numbers(turns, plain, bucket, key, three, algorithm, kind):
    up = Upload(turns, bucket, key, algorithm, kind)
    numbers = [3, 4, 8]
    up.complete([up.part(n, b) for n, b in zip(numbers, three)])
    at = 0

    for number, body in zip(numbers, three):
        for client in plain:
            got = client.get_object(Bucket=bucket, Key=key,
                                    PartNumber=number,
                                    ChecksumMode="ENABLED")
            assert got["Body"].read() == body
            head = client.head_object(Bucket=bucket, Key=key,
                                      PartNumber=number,
                                      ChecksumMode="ENABLED")

            for answer in (got, head):
                assert answer["ContentLength"] == len(body)
                assert answer["PartsCount"] == 3
                assert answer["ETag"] == etag_of(*three)
                assert checksums(answer) == (
                    {algorithm: text_of(algorithm, body), "Type": kind}
                    if kind == "COMPOSITE" else {})

            assert got["ContentRange"] == "bytes %d-%d/%d" % (
                at, at + len(body) - 1, sum(map(len, three)))

            assert fails(client.get_object, Bucket=bucket, Key=key,
                         PartNumber=number + 10) \
                == (416, "InvalidPartNumber")

        at += len(body)


# ---- an SDK

class Alternating:
    """A client of boto3's, each call of which goes to another one."""

    def __init__(self, clients):
        self.clients = clients
        self.turns = itertools.cycle(clients)
        self.meta = clients[0].meta
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            client = next(self.turns)
            self.calls.append((name, self.clients.index(client)))
            return getattr(client, name)(*args, **kwargs)
        return call


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_upload_file(gateways, upstream, bucket, key, tmp_path, tls):
    """20 MiB, and back, as an SDK of today does it."""

    body = data(20 * MIB)
    up, down = tmp_path / "up", tmp_path / "down"
    up.write_bytes(body)

    client = Alternating([g.client(tls) for g in gateways])
    config = boto3.s3.transfer.TransferConfig(
        multipart_chunksize=5 * MIB, use_threads=False)

    with boto3.s3.transfer.create_transfer_manager(client, config) as manager:
        manager.upload(str(up), bucket, key).result()

    assert client.calls == [
        ("create_multipart_upload", 0), ("upload_part", 1),
        ("upload_part", 0), ("upload_part", 1), ("upload_part", 0),
        ("complete_multipart_upload", 1)]

    with boto3.s3.transfer.create_transfer_manager(client, config) as manager:
        manager.download(bucket, key, str(down)).result()

    assert down.read_bytes() == body
    assert md5(read(upstream, bucket, key)) == md5(body)

    expected = whole("CRC32", "COMPOSITE",
                     [body[i:i + 5 * MIB] for i in range(0, 20 * MIB,
                                                         5 * MIB)])
    for gateway in gateways:
        got = gateway.client().head_object(Bucket=bucket, Key=key,
                                           ChecksumMode="ENABLED")
        assert checksums(got) == expected
