"""Multipart uploads, and whole trees."""

import hashlib

import pytest

from checks import DIGESTS, KIB, data, md5, same
from clients import code, feature
from clients.base import PART


BIG = data(2 * PART + 100_001)
BIG_ETAG = hashlib.md5(b"".join(
    hashlib.md5(BIG[i:i + PART]).digest()
    for i in range(0, len(BIG), PART))).hexdigest() + "-3"


@feature("multipart upload", "put", "get")
def test_multipart(client, bucket, up, tmp_path, s3):
    client.put(bucket, "big", up(BIG), metadata={"a": "b"},
               content_type="text/x-test")

    head = s3.head_object(Bucket=bucket, Key="big")
    assert head["ETag"] == f'"{BIG_ETAG}"'
    assert head["ContentType"] == "text/x-test"
    assert head["Metadata"]["a"] == "b"

    same(client, bucket, "big", BIG, tmp_path)


@feature("over TLS", "put", "get", kind="tls")
def test_multipart_tls(client, bucket, up, tmp_path, s3):
    client.put(bucket, "big", up(BIG))
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"] \
        == f'"{BIG_ETAG}"'
    same(client, bucket, "big", BIG, tmp_path)


@feature("over HTTP/2", "put", "get", kind="h2")
def test_multipart_http2(client, bucket, up, tmp_path, s3):
    client.put(bucket, "big", up(BIG))
    assert s3.head_object(Bucket=bucket, Key="big")["ETag"] \
        == f'"{BIG_ETAG}"'
    same(client, bucket, "big", BIG, tmp_path)


@feature("upload of unknown length", "put_stream", "get")
def test_stream(client, bucket, up, tmp_path):
    for body in (data(70 * KIB), BIG):
        client.put_stream(bucket, "k", up(body))
        same(client, bucket, "k", body, tmp_path)


@feature("multipart upload, operation by operation", "call")
def test_operations(client, bucket, up, tmp_path):
    at = {"Bucket": bucket, "Key": "k"}
    upload = client.call("CreateMultipartUpload", **at)["UploadId"]

    uploads = client.call("ListMultipartUploads", Bucket=bucket)["Uploads"]
    assert [(u["Key"], u["UploadId"]) for u in uploads] == [("k", upload)]

    parts = []

    for number, body in ((2, data(100)), (1, BIG[:PART])):
        answer = client.call("UploadPart", **at, UploadId=upload,
                             PartNumber=number, Body=up(body))
        assert answer["ETag"] == f'"{md5(body)}"'
        parts.insert(0, {"PartNumber": number, "ETag": answer["ETag"]})

    listed = client.call("ListParts", **at, UploadId=upload)["Parts"]
    assert [(p["PartNumber"], p["ETag"], p["Size"]) for p in listed] \
        == [(1, parts[0]["ETag"], PART), (2, parts[1]["ETag"], 100)]

    bad = [parts[0], {"PartNumber": 2, "ETag": parts[0]["ETag"]}]
    assert code(client.call, "CompleteMultipartUpload", **at,
                UploadId=upload, MultipartUpload={"Parts": bad}) \
        == "InvalidPart"
    assert code(client.call, "CompleteMultipartUpload", **at,
                UploadId=upload, MultipartUpload={"Parts": parts[::-1]}) \
        == "InvalidPartOrder"

    done = client.call("CompleteMultipartUpload", **at, UploadId=upload,
                       MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-2"')
    same(client, bucket, "k", BIG[:PART] + data(100), tmp_path)

    part = client.call("HeadObject", **at, PartNumber=2)
    assert (part["ContentLength"], part["PartsCount"]) == (100, 2)

    # another one is aborted

    other = client.call("CreateMultipartUpload", **at)["UploadId"]
    client.call("AbortMultipartUpload", **at, UploadId=other)
    assert not client.call("ListMultipartUploads",
                           Bucket=bucket).get("Uploads")


@feature("error NoSuchUpload", "call")
def test_no_such_upload(client, bucket, up):
    at = {"Bucket": bucket, "Key": "k"}
    upload = client.call("CreateMultipartUpload", **at)["UploadId"]
    client.call("AbortMultipartUpload", **at, UploadId=upload)
    assert code(client.call, "UploadPart", **at, UploadId=upload,
                PartNumber=1, Body=up(b"x")) == "NoSuchUpload"


@feature("error EntityTooSmall", "call")
def test_too_small(client, bucket, up):
    at = {"Bucket": bucket, "Key": "k"}
    upload = client.call("CreateMultipartUpload", **at)["UploadId"]
    parts = [{"PartNumber": n,
              "ETag": client.call("UploadPart", **at, UploadId=upload,
                                  PartNumber=n, Body=up(b"x"))["ETag"]}
             for n in (1, 2)]
    assert code(client.call, "CompleteMultipartUpload", **at,
                UploadId=upload, MultipartUpload={"Parts": parts}) \
        == "EntityTooSmall"
    client.call("AbortMultipartUpload", **at, UploadId=upload)


@feature("sync", "sync_up", "sync_down")
def test_sync(client, bucket, tmp_path, s3):
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)

    for i in range(4):
        (tree / f"f{i}").write_bytes(data(100 + i))
        (tree / f"sub dir/g{i} +ü").write_bytes(data(50 * KIB + i))

    (tree / "big").write_bytes(BIG)

    assert client.sync_up(tree, bucket, "tree") == 9
    assert client.sync_up(tree, bucket, "tree") == 0

    (tree / "f1").write_bytes(b"longer than it was" * 20)
    assert client.sync_up(tree, bucket, "tree") == 1

    client.sync_down(bucket, "tree", tmp_path / "back")

    for path in tree.rglob("*"):
        if path.is_file():
            back = tmp_path / "back" / path.relative_to(tree)
            assert back.read_bytes() == path.read_bytes(), path


@feature("check of what is there", "check")
def test_check(client, bucket, tmp_path, s3):
    """By size and MD5, that of multipart objects included."""

    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "small").write_bytes(b"small")
    (tree / "big").write_bytes(BIG)
    client.sync_up(tree, bucket, "tree")
    client.check(tree, bucket, "tree")

    s3.put_object(Bucket=bucket, Key="tree/small", Body=b"SMALL")
    with pytest.raises(Exception, match="differences"):
        client.check(tree, bucket, "tree")


@feature("checksum of a multipart upload", "call")
def test_multipart_checksum(client, bucket, up):
    """The parts' CRCs are combined to that of the whole."""

    at = {"Bucket": bucket, "Key": "k"}
    body = data(PART + 1000)
    upload = client.call("CreateMultipartUpload", **at,
                         ChecksumAlgorithm="CRC32",
                         ChecksumType="FULL_OBJECT")["UploadId"]
    parts = []

    for n, piece in ((1, body[:PART]), (2, body[PART:])):
        answer = client.call("UploadPart", **at, UploadId=upload,
                             PartNumber=n, Body=up(piece),
                             ChecksumAlgorithm="CRC32")
        assert answer["ChecksumCRC32"] == DIGESTS["CRC32"](piece)
        parts.append({"PartNumber": n, "ETag": answer["ETag"],
                      "ChecksumCRC32": answer["ChecksumCRC32"]})

    done = client.call("CompleteMultipartUpload", **at, UploadId=upload,
                       MultipartUpload={"Parts": parts},
                       ChecksumType="FULL_OBJECT")
    assert done["ChecksumCRC32"] == DIGESTS["CRC32"](body)

    head = client.call("HeadObject", **at, ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == DIGESTS["CRC32"](body)


@feature("GetObjectAttributes", "call")
def test_attributes(client, bucket, up):
    """JavaScript's SDK separates their names by commas and blanks."""

    body = data(1000)
    client.call("PutObject", Bucket=bucket, Key="k", Body=up(body),
                ChecksumAlgorithm="SHA256")
    got = client.call("GetObjectAttributes", Bucket=bucket, Key="k",
                      ObjectAttributes=["ETag", "Checksum", "ObjectSize",
                                        "StorageClass", "ObjectParts"])
    assert got["ETag"] == md5(body)
    assert got["ObjectSize"] == 1000
    assert got["StorageClass"] == "STANDARD"
    assert got["Checksum"]["ChecksumSHA256"] == DIGESTS["SHA256"](body)
