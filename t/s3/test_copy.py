"""CopyObject."""

import concurrent.futures
import datetime
import urllib.parse
import uuid

import pytest

import raw
from checks import DIGESTS, KIB, MIB, data, fails, md5, read


SIZES = [0, 1, 16 * KIB, 16 * KIB + 1, 300_000, 3 * MIB + 5]
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def attributes(head):
    """What a copy has of its source, of the answer to HeadObject."""

    return {k: v for k, v in head.items()
            if k not in ("ResponseMetadata", "LastModified")}


def head(s3, bucket, key):
    return s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")


@pytest.mark.parametrize("size", SIZES)
def test_copy(s3, bucket, size):
    body = data(size)
    s3.put_object(Bucket=bucket, Key="a", Body=body, ContentType="text/x",
                  CacheControl="no-cache", Metadata={"colour": "red"})

    answer = s3.copy_object(Bucket=bucket, Key="b",
                            CopySource={"Bucket": bucket, "Key": "a"})

    a, b = head(s3, bucket, "a"), head(s3, bucket, "b")
    assert attributes(a) == attributes(b)
    assert b["Metadata"] == {"colour": "red"}

    result = answer["CopyObjectResult"]
    assert result["ETag"] == b["ETag"] == f'"{md5(body)}"'
    assert result["LastModified"].replace(microsecond=0) == b["LastModified"]
    assert result["ChecksumCRC32"] == b["ChecksumCRC32"] == raw.crc32(body)
    assert result["ChecksumType"] == "FULL_OBJECT"

    assert read(s3, bucket, "b") == body

    # each of the two lives on without the other

    s3.delete_object(Bucket=bucket, Key="a")
    assert read(s3, bucket, "b") == body
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/b")
    s3.put_object(Bucket=bucket, Key="b", Body=b"another")
    assert read(s3, bucket, "c") == body


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ["SHA256", "CRC64NVME", "CRC32"])
def test_another_checksum(s3, bucket, size, algorithm):
    body = data(size)
    s3.put_object(Bucket=bucket, Key="a", Body=body, ContentType="text/x",
                  Metadata={"colour": "red"})

    result = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a",
                            ChecksumAlgorithm=algorithm)["CopyObjectResult"]

    b = head(s3, bucket, "b")
    assert b["ETag"] == result["ETag"] == f'"{md5(body)}"'
    assert b[f"Checksum{algorithm}"] == result[f"Checksum{algorithm}"]
    assert b["ContentType"] == "text/x"
    assert b["Metadata"] == {"colour": "red"}
    assert read(s3, bucket, "b") == body

    # the same as one that is computed by the client

    s3.put_object(Bucket=bucket, Key="c", Body=body,
                  ChecksumAlgorithm=algorithm if algorithm != "CRC64NVME"
                  else "CRC32")
    if algorithm != "CRC64NVME":
        assert head(s3, bucket, "c")[f"Checksum{algorithm}"] \
            == b[f"Checksum{algorithm}"]


def test_to_another_bucket(s3, bucket):
    other = bucket + "-2"
    s3.create_bucket(Bucket=other)
    body = data(200_000)
    s3.put_object(Bucket=bucket, Key="a", Body=body)

    s3.copy_object(Bucket=other, Key="b", CopySource=f"{bucket}/a")
    s3.delete_object(Bucket=bucket, Key="a")
    assert read(s3, other, "b") == body

    s3.delete_object(Bucket=other, Key="b")
    s3.delete_bucket(Bucket=other)


def test_replace(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"body", ContentType="text/x",
                  CacheControl="no-cache", Metadata={"colour": "red"})

    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a",
                   MetadataDirective="REPLACE", ContentType="text/y",
                   Metadata={"shape": "round"})

    b = head(s3, bucket, "b")
    assert b["ContentType"] == "text/y"
    assert b["Metadata"] == {"shape": "round"}
    assert "CacheControl" not in b
    assert read(s3, bucket, "b") == b"body"

    # without REPLACE what the request says of metadata is not the copy's

    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/a",
                   ContentType="text/y", Metadata={"shape": "round"})
    assert attributes(head(s3, bucket, "c")) \
        == attributes(head(s3, bucket, "a"))


@pytest.mark.parametrize("size", [4, 100_000])
def test_onto_itself(s3, bucket, size):
    body = data(size)
    s3.put_object(Bucket=bucket, Key="a", Body=body)
    itself = dict(Bucket=bucket, Key="a", CopySource=f"{bucket}/a")

    for more in ({}, {"MetadataDirective": "COPY"},
                 {"ChecksumAlgorithm": "SHA256"}):
        with pytest.raises(s3.exceptions.ClientError) as error:
            s3.copy_object(**itself, **more)
        assert error.value.response["Error"]["Code"] == "InvalidRequest"
        assert error.value.response["Error"]["Message"].startswith(
            "This copy request is illegal because it is trying to copy an "
            "object to itself without changing the object's metadata")

    # any storage class is a change, see github.com/minio/minio, issue 9357

    s3.copy_object(**itself, StorageClass="STANDARD")
    assert read(s3, bucket, "a") == body

    for i in range(3):
        s3.copy_object(**itself, MetadataDirective="REPLACE",
                       Metadata={"round": str(i)})
        assert head(s3, bucket, "a")["Metadata"] == {"round": str(i)}
        assert read(s3, bucket, "a") == body

    s3.copy_object(**itself, MetadataDirective="REPLACE",
                   ChecksumAlgorithm="SHA256")
    assert "ChecksumSHA256" in head(s3, bucket, "a")
    assert read(s3, bucket, "a") == body


@pytest.mark.parametrize("key", ["a b", "a+b", "a%2Fb", "é/\u20ac", "a?b",
                                 "a?versionId=null", "//x", "./a", "a/../b",
                                 "#", "k" * 1024])
def test_keys(store, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())

    s3.copy_object(Bucket=bucket, Key="copy",
                   CopySource={"Bucket": bucket, "Key": key})
    assert read(s3, bucket, "copy") == key.encode()

    # by hand: with and without a slash in front, with all of it escaped

    escaped = urllib.parse.quote(key)

    for source in (f"{bucket}/{escaped}", f"/{bucket}/{escaped}",
                   urllib.parse.quote(f"{bucket}/{key}", safe=""),
                   f"{bucket}/{escaped}?versionId=null"):
        answer = raw.once(store, "PUT", f"/{bucket}/by-hand",
                          headers=[("x-amz-copy-source", source)])
        assert answer.status == 200, answer
        assert answer.xml.tag == NS + "CopyObjectResult"
        assert read(s3, bucket, "by-hand") == key.encode()
        s3.delete_object(Bucket=bucket, Key="by-hand")


def test_plus_is_a_space(store, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"space")
    s3.put_object(Bucket=bucket, Key="a+b", Body=b"plus")

    raw.once(store, "PUT", f"/{bucket}/c",
             headers=[("x-amz-copy-source", f"{bucket}/a+b")])
    assert read(s3, bucket, "c") == b"space"


@pytest.mark.parametrize("source,code", [
    ("", "InvalidArgument"), ("/", "InvalidArgument"),
    ("bucket", "InvalidArgument"), ("/bucket/", "InvalidArgument"),
    ("//key", "InvalidArgument"), ("bucket/%ff", "InvalidArgument"),
    ("bucket/%zz", "InvalidArgument"), ("bucket/a?b=c", "InvalidArgument"),
    ("bucket/a?versionId=", "InvalidArgument"),
    ("bucket/a?versionId=3HL4kqtJ", "InvalidArgument"),
    ("BUCKET/a", "InvalidBucketName"),
    ("bucket/" + "k" * 1025, "KeyTooLongError"),
])
def test_bad_sources(store, bucket, source, code):
    raw.once(store, "PUT", f"/{bucket}/c",
             headers=[("x-amz-copy-source", source)]).is_error(400, code)


@pytest.mark.parametrize("headers,status,code", [
    ([("x-amz-metadata-directive", "MOVE")], 400, "InvalidArgument"),
    ([("x-amz-metadata-directive", "replace")], 400, "InvalidArgument"),
    ([("x-amz-checksum-algorithm", "MD4")], 400, "InvalidRequest"),
    ([("x-amz-tagging", "a=b")], 501, "NotImplemented"),
    ([("x-amz-tagging-directive", "REPLACE")], 501, "NotImplemented"),
    ([("x-amz-copy-source-range", "bytes=0-1")], 501, "NotImplemented"),
    ([("x-amz-storage-class", "GLACIER")], 400, "InvalidStorageClass"),
    ([("x-amz-copy-source-server-side-encryption-customer-algorithm",
       "AES256")], 501, "NotImplemented"),
    ([("x-amz-website-redirect-location", "/")], 501, "NotImplemented"),
    ([("If-None-Match", '"abc"')], 501, "NotImplemented"),
    ([("x-amz-metadata-directive", "REPLACE"),
      ("x-amz-meta-large", "x" * 2100)], 400, "MetadataTooLarge"),
])
def test_bad_headers(store, s3, bucket, headers, status, code):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    raw.once(store, "PUT", f"/{bucket}/c",
             headers=[("x-amz-copy-source", f"{bucket}/a"), *headers]) \
        .is_error(status, code)
    assert fails(s3.head_object, Bucket=bucket, Key="c") == (404, "404")


def test_two_sources(store, bucket):
    raw.once(store, "PUT", f"/{bucket}/c",
             headers=[("x-amz-copy-source", f"{bucket}/a"),
                      ("x-amz-copy-source", f"{bucket}/b")]) \
        .is_error(400, "InvalidRequest")


def test_what_is_not_there(store, s3, bucket):
    """The error says which of the two it was."""

    none = "none-" + uuid.uuid4().hex[:8]
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")

    answer = raw.once(store, "PUT", f"/{bucket}/c",
                      headers=[("x-amz-copy-source", f"{bucket}/missing")])
    answer.is_error(404, "NoSuchKey")
    assert answer.element("Key") == "missing"

    answer = raw.once(store, "PUT", f"/{bucket}/c",
                      headers=[("x-amz-copy-source", f"{none}/a")])
    answer.is_error(404, "NoSuchBucket")
    assert answer.element("BucketName") == none

    for more in ({}, {"ChecksumAlgorithm": "SHA256"}):
        assert fails(s3.copy_object, Bucket=none, Key="c",
                     CopySource=f"{bucket}/a", **more) \
            == (404, "NoSuchBucket")


# ---- conditions


def test_source_conditions(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    a = s3.head_object(Bucket=bucket, Key="a")
    etag, other, mtime = a["ETag"], '"' + "0" * 32 + '"', a["LastModified"]
    before = mtime - datetime.timedelta(hours=1)
    after = mtime + datetime.timedelta(hours=1)

    def copies(**conditions):
        try:
            s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a",
                           **{"CopySource" + k: v
                              for k, v in conditions.items()})
            return True
        except s3.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 412
            return False

    assert copies(IfMatch=etag)
    assert copies(IfMatch="*")
    assert not copies(IfMatch=other)
    assert not copies(IfNoneMatch=etag)
    assert not copies(IfNoneMatch="*")
    assert copies(IfNoneMatch=other)
    assert copies(IfModifiedSince=before)
    assert not copies(IfModifiedSince=mtime)
    assert copies(IfModifiedSince=after)    # no date that can be meant
    assert copies(IfUnmodifiedSince=mtime)
    assert copies(IfUnmodifiedSince=after)
    assert not copies(IfUnmodifiedSince=before)

    # which of two decides

    assert copies(IfMatch=etag, IfUnmodifiedSince=before)
    assert not copies(IfMatch=other, IfUnmodifiedSince=after)
    assert not copies(IfNoneMatch=etag, IfModifiedSince=before)
    assert copies(IfNoneMatch=other, IfModifiedSince=mtime)


@pytest.mark.parametrize("algorithm", [None, "SHA256"])
def test_target_conditions(s3, bucket, algorithm):
    more = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    s3.put_object(Bucket=bucket, Key="a", Body=data(100_000))
    s3.put_object(Bucket=bucket, Key="b", Body=b"b")

    def copy(key, **conditions):
        return s3.copy_object(Bucket=bucket, Key=key,
                              CopySource=f"{bucket}/a", **conditions, **more)

    assert fails(copy, "b", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert fails(copy, "b", IfMatch='"' + "0" * 32 + '"') \
        == (412, "PreconditionFailed")
    assert fails(copy, "none", IfMatch=f'"{md5(b"b")}"') \
        == (404, "NoSuchKey")
    assert read(s3, bucket, "b") == b"b"

    copy("b", IfMatch=f'"{md5(b"b")}"')
    copy("c", IfNoneMatch="*")
    assert read(s3, bucket, "b") == read(s3, bucket, "c") == data(100_000)


# ---- at once


def test_source_that_changes(store, bucket):
    """Copies of an object that others write: each is one of the writes."""

    client = store.client()
    bodies = {md5(data(200_000, i)): data(200_000, i) for i in range(4)}
    client.put_object(Bucket=bucket, Key="a", Body=data(200_000, 0))
    stop = []

    def write(n):
        while not stop:
            client.put_object(Bucket=bucket, Key="a", Body=data(200_000, n))

    def copy(n):
        more = {"ChecksumAlgorithm": "SHA1"} if n % 2 else {}
        for i in range(25):
            key = f"{n}-{i}"
            result = store.client(retries=8).copy_object(
                Bucket=bucket, Key=key, CopySource=f"{bucket}/a", **more)
            etag = result["CopyObjectResult"]["ETag"].strip('"')
            assert read(client, bucket, key) == bodies[etag]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, n) for n in range(4)]
        try:
            for future in [pool.submit(copy, n) for n in range(4)]:
                future.result()
        finally:
            stop.append(True)
        for future in writers:
            future.result()


def test_many_at_once(store, bucket):
    """More copies with bytes to move than there is memory for: they wait for
    their turn."""

    client = store.client()
    body = data(4 * MIB + 3)
    client.put_object(Bucket=bucket, Key="a", Body=body)

    def copy(n):
        client.copy_object(Bucket=bucket, Key=str(n),
                           CopySource=f"{bucket}/a",
                           ChecksumAlgorithm="CRC32C")
        assert read(client, bucket, str(n)) == body

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(copy, range(32)))


def test_client_that_leaves(store, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=data(2 * MIB))

    for algorithm in ("SHA1", "SHA256") * 4:
        conn = raw.Connection(store)
        conn.send(conn.head("PUT", f"/{bucket}/b", "", [
            ("x-amz-copy-source", f"{bucket}/a"),
            ("x-amz-checksum-algorithm", algorithm)], [], raw.UNSIGNED))
        conn.close()

    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/a",
                   ChecksumAlgorithm="SHA256")
    assert read(s3, bucket, "c") == data(2 * MIB)


# ---- UploadPartCopy


@pytest.fixture
def upload(s3, bucket):
    """What begins an upload of the key "m", which is gone in the end."""

    begun = []

    def begin(**more):
        begun.append(s3.create_multipart_upload(Bucket=bucket, Key="m",
                                                **more)["UploadId"])
        return dict(Bucket=bucket, Key="m", UploadId=begun[-1])

    yield begin

    for upload_id in begun:
        try:
            s3.abort_multipart_upload(Bucket=bucket, Key="m",
                                      UploadId=upload_id)
        except s3.exceptions.NoSuchUpload:
            pass


@pytest.mark.parametrize("algorithm", [None, "SHA256", "CRC64NVME"])
def test_parts(s3, bucket, upload, algorithm):
    """An object put together from another, a small one and its own bytes."""

    body = data(12 * MIB + 77)
    s3.put_object(Bucket=bucket, Key="a", Body=body)
    s3.put_object(Bucket=bucket, Key="small", Body=b"the end")

    more = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    ours = upload(**more)
    parts = []

    def copied(number, want, **source):
        result = s3.upload_part_copy(**ours, PartNumber=number,
                                     **source)["CopyPartResult"]
        assert result["ETag"] == f'"{md5(want)}"'
        assert result["LastModified"]
        assert "ChecksumType" not in result
        part = {"PartNumber": number, "ETag": result["ETag"]}
        if algorithm:
            part[f"Checksum{algorithm}"] = result[f"Checksum{algorithm}"]
        else:
            assert not any(k.startswith("Checksum") for k in result)
        parts.append(part)
        return want

    want = copied(1, body, CopySource=f"{bucket}/a")
    want += copied(2, body[100:100 + 5 * MIB], CopySource=f"{bucket}/a",
                   CopySourceRange=f"bytes=100-{100 + 5 * MIB - 1}")
    want += copied(3, b"end", CopySource={"Bucket": bucket, "Key": "small"},
                   CopySourceRange="bytes=4-6")

    s3.complete_multipart_upload(**ours, MultipartUpload={"Parts": parts})
    assert read(s3, bucket, "m") == want

    # and the copy of that is the same, parts and all

    s3.copy_object(Bucket=bucket, Key="n", CopySource=f"{bucket}/m")
    s3.delete_object(Bucket=bucket, Key="m")
    assert read(s3, bucket, "n") == want
    assert head(s3, bucket, "n")["ETag"].endswith('-3"')
    assert s3.get_object(Bucket=bucket, Key="n", PartNumber=3)["Body"].read() \
        == b"end"

    # a range over the seam of two parts

    seam = len(body)
    assert s3.get_object(Bucket=bucket, Key="n",
                         Range=f"bytes={seam - 3}-{seam + 3}")["Body"].read() \
        == want[seam - 3:seam + 4]

    # with another checksum it is an object of one part

    s3.copy_object(Bucket=bucket, Key="o", CopySource=f"{bucket}/n",
                   ChecksumAlgorithm="SHA1")
    o = head(s3, bucket, "o")
    assert o["ETag"] == f'"{md5(want)}"'
    assert o["ChecksumType"] == "FULL_OBJECT" and "ChecksumSHA1" in o
    assert read(s3, bucket, "o") == want


def test_source_of_parts(s3, bucket, upload):
    """Ranges of an object of many parts, at their seams."""

    body = data(15 * MIB + 9)
    source = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    parts = []

    for number, at in ((2, 0), (5, 5), (9, 10), (10000, 15)):
        piece = body[at * MIB:min(at + 5, 16) * MIB]
        parts.append({"PartNumber": number, "ETag": s3.upload_part(
            Bucket=bucket, Key="a", UploadId=source, PartNumber=number,
            Body=piece)["ETag"]})

    s3.complete_multipart_upload(Bucket=bucket, Key="a", UploadId=source,
                                 MultipartUpload={"Parts": parts})

    ours = upload(ChecksumAlgorithm="SHA256")

    for first, last in ((0, 0), (5 * MIB - 1, 5 * MIB), (5 * MIB, 10 * MIB),
                        (5 * MIB - 7, 15 * MIB + 3), (15 * MIB, 15 * MIB + 8),
                        (1, len(body) - 1), (0, len(body) - 1)):
        result = s3.upload_part_copy(
            **ours, PartNumber=1, CopySource=f"{bucket}/a",
            CopySourceRange=f"bytes={first}-{last}")["CopyPartResult"]
        want = body[first:last + 1]
        assert result["ETag"] == f'"{md5(want)}"', (first, last)
        assert result["ChecksumSHA256"] == DIGESTS["SHA256"](want)

    parts = s3.list_parts(**ours)["Parts"]
    assert [(p["PartNumber"], p["Size"]) for p in parts] == [(1, len(body))]


def test_conditions_of_parts(s3, bucket, upload):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    etag = f'"{md5(b"x")}"'
    time = head(s3, bucket, "a")["LastModified"]
    day = datetime.timedelta(days=1)
    ours = upload()

    def copy(**conditions):
        return s3.upload_part_copy(**ours, PartNumber=1,
                                   CopySource=f"{bucket}/a", **conditions)

    for conditions in (
            {"CopySourceIfMatch": '"0"'},
            {"CopySourceIfNoneMatch": etag},
            {"CopySourceIfUnmodifiedSince": time - day},
            {"CopySourceIfModifiedSince": time},
            {"CopySourceIfNoneMatch": etag,
             "CopySourceIfModifiedSince": time - day}):
        assert fails(copy, **conditions) == (412, "PreconditionFailed")

    assert "Parts" not in s3.list_parts(**ours)

    for conditions in (
            {"CopySourceIfMatch": etag},
            {"CopySourceIfNoneMatch": '"0"'},
            {"CopySourceIfUnmodifiedSince": time},
            {"CopySourceIfModifiedSince": time - day},
            {"CopySourceIfMatch": etag,
             "CopySourceIfUnmodifiedSince": time - day}):
        copy(**conditions)


def test_checksum_of_the_whole(s3, bucket, upload):
    """An algorithm that is named is the whole's, also where the source has a
    COMPOSITE one of that algorithm; without, the copy has the source's."""

    ours = upload(ChecksumAlgorithm="SHA256")
    part = s3.upload_part(**ours, PartNumber=1, Body=b"body",
                          ChecksumAlgorithm="SHA256")
    s3.complete_multipart_upload(**ours, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": part["ETag"],
         "ChecksumSHA256": part["ChecksumSHA256"]}]})

    result = s3.copy_object(Bucket=bucket, Key="same",
                            CopySource=f"{bucket}/m")["CopyObjectResult"]
    assert result["ChecksumType"] == "COMPOSITE"
    assert result["ChecksumSHA256"].endswith("-1")

    result = s3.copy_object(Bucket=bucket, Key="whole",
                            CopySource=f"{bucket}/m",
                            ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    assert result["ChecksumType"] == "FULL_OBJECT"
    assert result["ChecksumSHA256"] == DIGESTS["SHA256"](b"body")
    assert result["ETag"] == f'"{md5(b"body")}"'


@pytest.mark.parametrize("range_", [
    "0-1", "bytes=0", "bytes=0-", "bytes=-1", "bytes=1-0", "bytes=0-1,3-4",
    "bytes=0-5", "bytes=5-5", "bytes=a-b"])
def test_bad_ranges(store, s3, bucket, upload, range_):
    s3.put_object(Bucket=bucket, Key="a", Body=b"five!")
    ours = upload()

    answer = raw.once(store, "PUT", f"/{bucket}/m",
                      f"partNumber=1&uploadId={ours['UploadId']}",
                      headers=[("x-amz-copy-source", f"{bucket}/a"),
                               ("x-amz-copy-source-range", range_)])
    answer.is_error(400, "InvalidArgument")
    assert answer.element("ArgumentName") == "x-amz-copy-source-range"
    assert "Parts" not in s3.list_parts(**ours)


def test_bad_part_copies(store, s3, bucket, upload):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    ours = upload()
    copy = s3.upload_part_copy

    assert fails(copy, **ours, PartNumber=1, CopySource=f"{bucket}/none") \
        == (404, "NoSuchKey")
    assert fails(copy, **{**ours, "UploadId": "0" * 32}, PartNumber=1,
                 CopySource=f"{bucket}/a") == (404, "NoSuchUpload")
    assert fails(copy, **ours, PartNumber=10001, CopySource=f"{bucket}/a") \
        == (400, "InvalidArgument")
    assert fails(copy, **ours, PartNumber=1, CopySource=f"{bucket}/a",
                 CopySourceIfMatch='"0"') == (412, "PreconditionFailed")
    assert fails(copy, **ours, PartNumber=1, CopySource=f"{bucket}/a",
                 CopySourceIfNoneMatch="*") == (412, "PreconditionFailed")
    raw.once(store, "PUT", f"/{bucket}/m",
             f"partNumber=1&uploadId={ours['UploadId']}",
             headers=[("x-amz-copy-source", "nonsense")]) \
        .is_error(400, "InvalidArgument")

    assert "Parts" not in s3.list_parts(**ours)
