"""PutObject: sizes, sources, checksums, metadata, conditions."""

import base64
import concurrent.futures
import datetime
import hashlib
import io
import zlib

import awscrt.checksums
import pytest

import raw
from checks import KIB, MIB, crc, data, fails, md5, read


SIZES = [0, 1, 2, 1023, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1,
         64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 512 * KIB + 1, MIB - 1, MIB,
         MIB + 1, 2 * MIB, 5 * MIB, 17 * MIB + 3]


@pytest.mark.parametrize("size", SIZES)
def test_sizes(store, bucket, tls, size):
    client = store.client(tls)
    body = data(size)

    put = client.put_object(Bucket=bucket, Key="k", Body=body)
    assert put["ETag"] == f'"{md5(body)}"'
    assert put["ChecksumCRC32"] == crc(body)
    assert put["ChecksumType"] == "FULL_OBJECT"

    head = client.head_object(Bucket=bucket, Key="k")
    assert head["ContentLength"] == size
    assert head["ETag"] == put["ETag"]

    # boto3 verifies the checksum that it asks for

    got = client.get_object(Bucket=bucket, Key="k")
    assert got["ContentLength"] == size
    assert got["ETag"] == put["ETag"]
    assert got["ChecksumCRC32"] == crc(body)
    assert got["Body"].read() == body


class Unseekable(io.RawIOBase):
    """What a pipe is to boto3."""

    def __init__(self, body):
        self.inner = io.BytesIO(body)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.inner.read(size)

    def seekable(self):
        return False

    def tell(self):
        raise io.UnsupportedOperation("tell")

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")


@pytest.mark.parametrize("size", [0, 5, 64 * KIB, 3 * MIB + 1])
def test_file(store, bucket, tls, tmp_path, size):
    client = store.client(tls)
    (tmp_path / "f").write_bytes(data(size))

    with open(tmp_path / "f", "rb") as f:
        client.put_object(Bucket=bucket, Key="k", Body=f)

    assert read(client, bucket, "k") == data(size)


@pytest.mark.parametrize("size", [0, 5, 64 * KIB, 3 * MIB + 1])
def test_unseekable_stream(store, bucket, size):
    """Over TLS boto3 sends it in chunks of an unknown number."""

    client = store.client(tls=True)
    client.put_object(Bucket=bucket, Key="k", Body=Unseekable(data(size)))
    assert read(client, bucket, "k") == data(size)


@pytest.mark.parametrize("size", [5, 3 * MIB + 1])
def test_upload_fileobj(store, bucket, tls, size):
    """s3transfer's own way of one PUT."""

    client = store.client(tls)
    client.upload_fileobj(io.BytesIO(data(size)), bucket, "k")
    out = io.BytesIO()
    client.download_fileobj(bucket, "k", out)
    assert out.getvalue() == data(size)


def test_overwrite(s3, bucket):
    for i, size in enumerate([10, 3 * MIB, 0, 100 * KIB, 10, 2 * MIB]):
        body = data(size, i)
        s3.put_object(Bucket=bucket, Key="k", Body=body,
                      Metadata={"turn": str(i)})
        got = s3.get_object(Bucket=bucket, Key="k")
        assert got["Body"].read() == body
        assert got["Metadata"] == {"turn": str(i)}
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


# ---- checksums

def checksum(algorithm, body):
    value = {
        "CRC32": lambda: zlib.crc32(body).to_bytes(4, "big"),
        "CRC32C": lambda: awscrt.checksums.crc32c(body).to_bytes(4, "big"),
        "CRC64NVME":
            lambda: awscrt.checksums.crc64nvme(body).to_bytes(8, "big"),
        "SHA1": lambda: hashlib.sha1(body).digest(),
        "SHA256": lambda: hashlib.sha256(body).digest(),
    }[algorithm]()

    return base64.b64encode(value).decode()


ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
SOME = data(100 * KIB + 7)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithm(store, bucket, tls, algorithm):
    """As the SDK does it: a header over http, a trailer over TLS."""

    client = store.client(tls)
    field = "Checksum" + algorithm
    want = checksum(algorithm, SOME)

    put = client.put_object(Bucket=bucket, Key="k", Body=SOME,
                            ChecksumAlgorithm=algorithm)
    assert put[field] == want

    head = client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[field] == want
    assert head["ChecksumType"] == "FULL_OBJECT"
    assert field not in client.head_object(
        Bucket=bucket, Key="k", ChecksumMode="DISABLED")

    got = client.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[field] == want
    assert got["Body"].read() == SOME

    entry = client.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert entry["ChecksumAlgorithm"] == [algorithm]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksum_of_another_body(s3, bucket, algorithm):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")

    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=SOME,
                 **{"Checksum" + algorithm: checksum(algorithm, b"other")}) \
        == (400, "BadDigest")
    assert read(s3, bucket, "k") == b"old"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", ["", "AAAA", "not base64!", "A" * 200])
def test_malformed_checksum(s3, bucket, algorithm, value):
    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"x",
                 **{"Checksum" + algorithm: value}) \
        == (400, "InvalidRequest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_two_checksums(store, bucket):
    raw.once(store, "PUT", f"/{bucket}/k", body=b"x", headers=[
        ("x-amz-checksum-crc32", checksum("CRC32", b"x")),
        ("x-amz-checksum-sha1", checksum("SHA1", b"x")),
    ]).is_error(400, "InvalidRequest")


def test_unknown_checksum(store, bucket):
    raw.once(store, "PUT", f"/{bucket}/k", body=b"x", headers=[
        ("x-amz-checksum-adler32", "AAAAAA=="),
    ]).is_error(400, "InvalidRequest")


def test_no_checksum_gets_one(store, s3, bucket):
    """What came without any has a CRC64NVME, as in S3."""

    answer = raw.once(store, "PUT", f"/{bucket}/k", body=SOME)
    assert answer.status == 200, answer
    assert answer.headers["x-amz-checksum-crc64nvme"] \
        == checksum("CRC64NVME", SOME)

    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == checksum("CRC64NVME", SOME)


# ---- Content-MD5

def test_md5(store, s3, bucket):
    value = base64.b64encode(hashlib.md5(SOME).digest()).decode()
    answer = raw.once(store, "PUT", f"/{bucket}/k", body=SOME,
                      headers=[("Content-MD5", value)])
    assert answer.status == 200, answer
    assert read(s3, bucket, "k") == SOME


def test_md5_of_another_body(store, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    value = base64.b64encode(hashlib.md5(b"other").digest()).decode()

    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}/k", body=SOME,
                     headers=[("Content-MD5", value)]) \
            .is_error(400, "BadDigest")
        assert conn.serves()

    assert read(s3, bucket, "k") == b"old"


@pytest.mark.parametrize("value", ["x", "", "AAAA", "A" * 23 + "=",
                                   "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_malformed_md5(store, s3, bucket, value):
    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}/k", body=b"x",
                     headers=[("Content-MD5", value)]) \
            .is_error(400, "InvalidDigest")
        assert conn.serves()

    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# ---- metadata

def test_metadata(s3, bucket):
    meta = {"a": "1", "under_score": "2", "dot.ted": "3", "dash-ed": "4",
            "empty": "", "spaces": "a  b", "quoted": "\"<&>'",
            "number": "007"}

    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata=meta)

    want = dict(meta, spaces="a  b")
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == want
    assert s3.get_object(Bucket=bucket, Key="k")["Metadata"] == want


def test_metadata_names_are_lower_case(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"CaSe": "V"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] \
        == {"case": "V"}


def test_metadata_of_several_headers(store, bucket):
    with raw.Connection(store) as conn:
        answer = conn.request("PUT", f"/{bucket}/k", body=b"", headers=[
            ("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")])
        assert answer.status == 200, answer
        answer = conn.request("HEAD", f"/{bucket}/k")
        assert answer.headers["x-amz-meta-a"] == "1,2"


@pytest.mark.parametrize("meta,good", [
    ({"n": "v" * 2047}, True),
    ({"n": "v" * 2048}, False),
    ({"n" * 255: "v" * 1793}, True),
    ({"n" * 255: "v" * 1794}, False),
    ({f"n{i:02}": "v" * 29 for i in range(64)}, True),
    ({f"n{i:02}": "v" * 30 for i in range(64)}, False),
])
def test_metadata_limit(s3, bucket, meta, good):
    """2 KB of names and values (S3 user guide)."""

    if good:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata=meta)
        assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == meta
    else:
        assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"x",
                     Metadata=meta) == (400, "MetadataTooLarge")
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_metadata_name_too_long(s3, bucket):
    """The longest name that is taken has 255 bytes."""

    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"x",
                 Metadata={"n" * 256: "v"}) == (400, "InvalidArgument")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_content_headers(store, bucket, tls):
    client = store.client(tls)

    expires = datetime.datetime(2030, 1, 2, 3, 4, 5,
                                tzinfo=datetime.timezone.utc)

    client.put_object(
        Bucket=bucket, Key="k", Body=SOME, ContentType="text/x-test",
        ContentEncoding="gzip", ContentLanguage="de, en",
        ContentDisposition='attachment; filename="a b.txt"',
        CacheControl="max-age=60, private", Expires=expires)

    for answer in (client.head_object(Bucket=bucket, Key="k"),
                   client.get_object(Bucket=bucket, Key="k")):
        assert answer["ContentType"] == "text/x-test"
        assert answer["ContentEncoding"] == "gzip"
        assert answer["ContentLanguage"] == "de, en"
        assert answer["ContentDisposition"] \
            == 'attachment; filename="a b.txt"'
        assert answer["CacheControl"] == "max-age=60, private"
        assert answer["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT" \
            or answer["Expires"] == expires

    assert read(client, bucket, "k") == SOME


def test_default_content_type(store, bucket):
    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}/k", body=b"x")
        answer = conn.request("GET", f"/{bucket}/k")
        assert answer.headers["content-type"] == "binary/octet-stream"


def test_storage_class(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass="STANDARD")
    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"y",
                 StorageClass="GLACIER") == (400, "InvalidStorageClass")
    assert read(s3, bucket, "k") == b"x"


def test_acl(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="private")
    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"y",
                 ACL="public-read") \
        == (400, "AccessControlListNotSupported")
    assert read(s3, bucket, "k") == b"x"


@pytest.mark.parametrize("arguments", [
    {"ServerSideEncryption": "AES256"},
    {"ServerSideEncryption": "aws:kms"},
    {"Tagging": "a=b"},
    {"WebsiteRedirectLocation": "/x"},
    {"ObjectLockLegalHoldStatus": "ON"},
    {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
], ids=lambda a: next(iter(a)))
def test_not_implemented(store, bucket, arguments):
    """A promise that is not kept must not be made silently."""

    client = store.client(tls=True)
    assert fails(client.put_object, Bucket=bucket, Key="k", Body=b"x",
                 **arguments) == (501, "NotImplemented")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# ---- conditions

@pytest.mark.parametrize("size", [3, 3 * MIB])
def test_if_none_match(s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="k", Body=data(size), IfNoneMatch="*")

    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"new",
                 IfNoneMatch="*") == (412, "PreconditionFailed")
    assert read(s3, bucket, "k") == data(size)

    s3.delete_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfNoneMatch="*")
    assert read(s3, bucket, "k") == b"new"


def test_if_match(s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2",
                           IfMatch=first)["ETag"]

    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"3",
                 IfMatch=first) == (412, "PreconditionFailed")
    assert read(s3, bucket, "k") == b"2"

    # with and without quotes

    s3.put_object(Bucket=bucket, Key="k", Body=b"4",
                  IfMatch=second.strip('"'))
    assert read(s3, bucket, "k") == b"4"

    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"5",
                 IfMatch='"nonsense"') == (412, "PreconditionFailed")
    assert read(s3, bucket, "k") == b"4"


def test_if_match_of_nothing(s3, bucket):
    assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"3",
                 IfMatch='"' + md5(b"") + '"') == (404, "NoSuchKey")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("name,value", [
    ("If-None-Match", '"abc"'), ("If-None-Match", '"a", "b"'),
    ("If-Match", 'W/"abc"'), ("If-Match", '"a", "b"'),
    ("If-Modified-Since", "Wed, 02 Jan 2030 03:04:05 GMT"),
    ("If-Unmodified-Since", "Wed, 02 Jan 2030 03:04:05 GMT"),
])
def test_conditions_that_do_not_exist(store, bucket, name, value):
    raw.once(store, "PUT", f"/{bucket}/k", body=b"x",
             headers=[(name, value)]).is_error(501, "NotImplemented")


def test_one_of_many_creates(store, bucket):
    """If-None-Match: * from many connections at once: one wins."""

    client = store.client()

    def put(i):
        try:
            client.put_object(Bucket=bucket, Key="k", Body=str(i).encode(),
                              IfNoneMatch="*")
            return i
        except client.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] in (
                "PreconditionFailed", "ConditionalRequestConflict")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        won = [i for i in pool.map(put, range(64)) if i is not None]

    assert len(won) == 1
    assert read(client, bucket, "k") == str(won[0]).encode()
