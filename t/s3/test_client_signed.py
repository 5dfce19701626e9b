"""Presigned URLs, payload forms, checksums and conditions, by each client."""

import base64
import hashlib
import http.client
import itertools
import ssl
import urllib.parse

import pytest

from checks import DIGESTS, KIB, data, md5, read
from clients import BY_NAME, Stream, code, feature
from clients.base import PART


# ---- presigned

def fetch(client, url, method="GET", body=None):
    """With no header of its own, which a signature would have to cover."""

    parts = urllib.parse.urlsplit(url)

    if client.ca:
        conn = http.client.HTTPSConnection(
            parts.netloc, timeout=30,
            context=ssl.create_default_context(cafile=client.ca))
    else:
        conn = http.client.HTTPConnection(parts.netloc, timeout=30)

    conn.request(method, url[url.index("/", 8):], body)
    answer = conn.getresponse()
    text = answer.read()
    conn.close()

    return answer.status, text


@feature("presigned GET", "presign_get")
def test_presigned_get(client, bucket, s3):
    s3.put_object(Bucket=bucket, Key="dir/a b+ü", Body=b"secret")
    url = client.presign_get(bucket, "dir/a b+ü")
    assert fetch(client, url) == (200, b"secret")
    assert fetch(client, url.replace("dir/a", "dir/b"))[0] == 403


@feature("presigned PUT", "presign_put")
def test_presigned_put(client, bucket, s3):
    """Also with what some clients add of themselves: for JavaScript's it is
    the checksum of nothing."""

    url = client.presign_put(bucket, "dir/a b+ü")
    body = data(100 * KIB)
    assert fetch(client, url, "PUT", body)[0] == 200
    assert read(s3, bucket, "dir/a b+ü") == body


@feature("presigned, SigV2", "presign_get",
         clients=["boto3-v2", "s3cmd-v2"])
def test_presigned_v2(client, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"secret")
    url = client.presign_get(bucket, "k")
    names = {n.lower() for n in
             urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)}
    assert names == {"awsaccesskeyid", "expires", "signature"}
    assert fetch(client, url) == (200, b"secret")


# ---- checksums and payload forms

def put_with(client, bucket, algorithm, body):
    """PutObject by each way a client has of giving its body."""

    answer = client.call("PutObject", Bucket=bucket, Key="k", Body=body,
                         ChecksumAlgorithm=algorithm)
    plain = body.path if isinstance(body, Stream) else body
    plain = plain if isinstance(plain, bytes) else plain.read_bytes()

    expected = DIGESTS[algorithm](plain)
    assert answer["Checksum" + algorithm] == expected

    head = client.call("HeadObject", Bucket=bucket, Key="k",
                       ChecksumMode="ENABLED")
    assert head["Checksum" + algorithm] == expected
    assert head["ETag"] == f'"{md5(plain)}"'


@feature("checksum CRC32", "call")
def test_crc32(client, bucket, up):
    put_with(client, bucket, "CRC32", up(data(70 * KIB)))


@feature("checksum CRC32C", "call")
def test_crc32c(client, bucket, up):
    put_with(client, bucket, "CRC32C", up(data(70 * KIB)))


@feature("checksum CRC64NVME", "call")
def test_crc64nvme(client, bucket, up):
    put_with(client, bucket, "CRC64NVME", up(data(70 * KIB)))


@feature("checksum SHA1", "call")
def test_sha1(client, bucket, up):
    put_with(client, bucket, "SHA1", up(data(70 * KIB)))


@feature("checksum SHA256", "call")
def test_sha256(client, bucket, up):
    put_with(client, bucket, "SHA256", up(data(70 * KIB)))


MATRIX = list(itertools.product(DIGESTS, ("signed", "unsigned"),
                                ("seekable", "stream"), (0, 70_000)))


@feature("signed payload", clients=["boto3"])
@pytest.mark.parametrize("kind", ["http", "tls"])
def test_matrix_boto3(client, bucket, up, store, tmp_path, kind):
    """Every algorithm, signed payload or not, body that can be rewound or
    not, empty or not: STREAMING-UNSIGNED-PAYLOAD-TRAILER over TLS, hashes
    and headers over HTTP."""

    if kind not in store.kinds:
        pytest.skip(f"the server has no {kind}")

    for signed in (True, False):
        each = BY_NAME["boto3"](
            store, kind, tmp_path, client.access_key, client.secret_key,
            s3={"payload_signing_enabled": signed,
                "addressing_style": "path"})

        for algorithm, how, form, size in MATRIX:
            if (how == "signed") != signed:
                continue
            if form == "stream" and kind == "http":
                continue       # boto3 must read a body twice to sign it
            path = up(data(size))
            put_with(each, bucket, algorithm,
                     Stream(path) if form == "stream" else path)

        each.close()


@feature("unsigned payload", clients=["boto3"], kind="tls")
def test_unsigned(client, bucket, up, store, tmp_path):
    """No checksum at all: UNSIGNED-PAYLOAD."""

    each = BY_NAME["boto3"](
        store, "tls", tmp_path, client.access_key, client.secret_key,
        request_checksum_calculation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": "path"})
    each.call("PutObject", Bucket=bucket, Key="k", Body=up(data(70_000)))
    head = each.call("HeadObject", Bucket=bucket, Key="k",
                     ChecksumMode="ENABLED")
    each.close()

    # the server has added one of its own

    assert head["ChecksumCRC64NVME"] == DIGESTS["CRC64NVME"](data(70_000))


@feature("body of unknown length in one request", clients=["boto3", "go"],
         kind="tls")
@pytest.mark.parametrize("size", [0, 5, 70_000, PART])
def test_unknown_length(client, bucket, up, s3, size):
    """Transfer-Encoding: chunked around aws-chunked."""

    client.call("PutObject", Bucket=bucket, Key="k",
                Body=Stream(up(data(size))))
    assert read(s3, bucket, "k") == data(size)


@feature("Content-MD5", "call")
def test_content_md5(client, bucket, up, s3):
    body = data(1000)
    right = base64.b64encode(hashlib.md5(body).digest()).decode()
    wrong = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    at = {"Bucket": bucket, "Key": "k", "Body": up(body)}

    client.call("PutObject", **at, ContentMD5=right)
    assert code(client.call, "PutObject", **at, ContentMD5=wrong) \
        == "BadDigest"
    assert code(client.call, "PutObject", **at, ContentMD5="x") \
        == "InvalidDigest"
    assert read(s3, bucket, "k") == body


@feature("checksum that is wrong", "call")
def test_wrong_checksum(client, bucket, up, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    assert code(client.call, "PutObject", Bucket=bucket, Key="k",
                Body=up(b"new"), ChecksumSHA256=DIGESTS["SHA256"](b"x")) \
        == "BadDigest"
    assert read(s3, bucket, "k") == b"old"


# ---- conditions

@feature("conditional read", "call")
def test_conditional_read(client, bucket, s3):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    at = {"Bucket": bucket, "Key": "k"}

    assert client.call("GetObject", **at, IfMatch=etag)["ETag"] == etag
    assert code(client.call, "GetObject", **at, IfMatch='"no"') \
        == "PreconditionFailed"
    assert code(client.call, "HeadObject", **at, IfMatch='"no"') \
        in ("412", "PreconditionFailed", "UnknownError", "Unknown")


@feature("conditional write", "call")
def test_conditional_write(client, bucket, up, s3):
    at = {"Bucket": bucket, "Key": "k"}
    etag = client.call("PutObject", **at, Body=up(b"1"),
                       IfNoneMatch="*")["ETag"]

    assert code(client.call, "PutObject", **at, Body=up(b"2"),
                IfNoneMatch="*") == "PreconditionFailed"
    assert code(client.call, "PutObject", **at, Body=up(b"3"),
                IfMatch='"no"') == "PreconditionFailed"
    client.call("PutObject", **at, Body=up(b"4"), IfMatch=etag)
    assert read(s3, bucket, "k") == b"4"


@feature("conditional delete", "call")
def test_conditional_delete(client, bucket, s3):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    at = {"Bucket": bucket, "Key": "k"}
    assert code(client.call, "DeleteObject", **at, IfMatch='"no"') \
        == "PreconditionFailed"
    client.call("DeleteObject", **at, IfMatch=etag)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# ---- what else SDKs say in S3's own words

@feature("list, version 1", "call")
def test_list_v1(client, bucket, s3):
    for key in ("a", "b", "dir/c", "dir/d"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    page = client.call("ListObjects", Bucket=bucket, MaxKeys=2,
                       Delimiter="/")
    assert [e["Key"] for e in page["Contents"]] == ["a", "b"]
    assert page["IsTruncated"] and page["NextMarker"] == "b"

    page = client.call("ListObjects", Bucket=bucket, Marker="b",
                       Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["dir/"]
    assert not page["IsTruncated"]


@feature("ListObjectVersions", "call")
def test_versions(client, bucket, s3):
    for key in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    answer = client.call("ListObjectVersions", Bucket=bucket)
    assert [(v["Key"], v["VersionId"], v["IsLatest"])
            for v in answer["Versions"]] \
        == [("a", "null", True), ("b", "null", True)]


@feature("error BucketAlreadyOwnedByYou", "call")
def test_bucket_already_owned(client, bucket, store):
    """us-east-1 answers 200 to SDKs that name no other place; here it is the
    same error everywhere."""

    assert code(client.make_bucket, bucket) == "BucketAlreadyOwnedByYou"


@feature("error InvalidBucketName", clients=["js", "go"])
def test_invalid_bucket_name(client):
    assert code(client.call, "CreateBucket", Bucket="Under_Score") \
        == "InvalidBucketName"


@feature("error InvalidRange", "call")
def test_invalid_range(client, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"123")
    assert code(client.call, "GetObject", Bucket=bucket, Key="k",
                Range="bytes=3-") == "InvalidRange"


@feature("policy, of a bucket without", "call")
def test_no_policy(client, bucket):
    assert code(client.call, "GetBucketPolicy", Bucket=bucket) \
        == "NoSuchBucketPolicy"


@feature("tags, of a bucket without", "call")
def test_no_tags(client, bucket):
    assert code(client.call, "GetBucketTagging", Bucket=bucket) \
        == "NoSuchTagSet"


@feature("versioning: turning it on", "call", shows="501")
def test_versioning(client, bucket):
    assert not client.call("GetBucketVersioning", Bucket=bucket) \
        .get("Status")
    assert code(client.call, "PutBucketVersioning", Bucket=bucket,
                VersioningConfiguration={"Status": "Enabled"}) \
        == "NotImplemented"


@feature("tags: writing them", "call", shows="501")
def test_tagging(client, bucket, up):
    assert code(client.call, "PutObject", Bucket=bucket, Key="k",
                Body=up(b"x"), Tagging="a=b") == "NotImplemented"


@feature("error AccessControlListNotSupported", "call")
def test_acl(client, bucket, up):
    at = {"Bucket": bucket, "Key": "k", "Body": up(b"x")}
    client.call("PutObject", **at, ACL="private")
    assert code(client.call, "PutObject", **at, ACL="public-read") \
        == "AccessControlListNotSupported"


@feature("server-side encryption: asking for it", "call", shows="501")
def test_encryption(client, bucket, up):
    assert code(client.call, "PutObject", Bucket=bucket, Key="k",
                Body=up(b"x"), ServerSideEncryption="AES256") \
        == "NotImplemented"
