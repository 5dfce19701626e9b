"""Checksums of multipart uploads, by S3's table and defaults."""

import base64
import hashlib
import zlib

import pytest
from botocore.config import Config

import raw
from checks import data, fails, md5
from test_multipart import (NS, PART, complete, create, document, error,
                            etag_of, read)


# without the AWS CRT: by hand where Python has none

def crc_table(polynomial, bits):
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (polynomial if i & 1 else 0)
        table.append(i)
    return table


TABLES = {"CRC32C": (crc_table(0x82f63b78, 32), 32),
          "CRC64NVME": (crc_table(0x9a6c9329ac4bc9b5, 64), 64)}


def slow_crc(name, body):
    table, bits = TABLES[name]
    crc = ones = (1 << bits) - 1
    for byte in body:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return (crc ^ ones).to_bytes(bits // 8, "big")


def digest(algorithm, body):
    if algorithm == "CRC32":
        return zlib.crc32(body).to_bytes(4, "big")
    if algorithm in TABLES:
        return slow_crc(algorithm, body)
    return hashlib.new(algorithm.lower(), body).digest()


def text(algorithm, body):
    return base64.b64encode(digest(algorithm, body)).decode()


def composite(algorithm, *bodies):
    whole = digest(algorithm, b"".join(digest(algorithm, b) for b in bodies))
    return base64.b64encode(whole).decode() + f"-{len(bodies)}"


ALGORITHMS = ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]
COMBINES = ["CRC32", "CRC32C", "CRC64NVME"]


@pytest.fixture(scope="module")
def plain(store):
    """A client that adds no checksum of its own."""

    return store.client(config=Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required"))


def part(client, bucket, upload_id, number, body, algorithm=None):
    kwargs = {f"Checksum{algorithm}": text(algorithm, body)} \
        if algorithm else {}
    answer = client.upload_part(Bucket=bucket, Key="k", UploadId=upload_id,
                                PartNumber=number, Body=body, **kwargs)
    return dict({"PartNumber": number, "ETag": answer["ETag"]}, **kwargs)


def checksums(answer):
    return {k[8:]: v for k, v in answer.items()
            if k.startswith("Checksum") and k != "ChecksumAlgorithm"}


# ---- the table

@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", [None, "COMPOSITE", "FULL_OBJECT"])
def test_create(s3, bucket, algorithm, kind):
    kwargs = {"ChecksumType": kind} if kind else {}
    good = kind is None or (
        algorithm in COMBINES if kind == "FULL_OBJECT"
        else algorithm != "CRC64NVME")

    if not good:
        answer = error(s3.create_multipart_upload, Bucket=bucket, Key="k",
                       ChecksumAlgorithm=algorithm, **kwargs)["Error"]
        assert answer["Code"] == "InvalidRequest"
        assert answer["Message"] == (
            f"The {kind} checksum type cannot be used with the "
            f"{algorithm.lower()} checksum algorithm.")
        return

    answer = s3.create_multipart_upload(Bucket=bucket, Key="k",
                                        ChecksumAlgorithm=algorithm,
                                        **kwargs)
    assert answer["ChecksumAlgorithm"] == algorithm
    assert answer["ChecksumType"] == kind or (
        "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")

    for listed in (s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0],
                   s3.list_parts(Bucket=bucket, Key="k",
                                 UploadId=answer["UploadId"])):
        assert listed["ChecksumAlgorithm"] == algorithm
        assert listed["ChecksumType"] == answer["ChecksumType"]

    s3.abort_multipart_upload(Bucket=bucket, Key="k",
                              UploadId=answer["UploadId"])


def test_create_with_nonsense(store, s3, bucket):
    def ask(*headers):
        return raw.once(store, "POST", f"/{bucket}/k", "uploads",
                        headers=headers).is_error(400, "InvalidRequest") \
            .element("Message")

    assert ask(("x-amz-checksum-algorithm", "TEST")).startswith(
        "Checksum algorithm provided is unsupported.")
    assert ask(("x-amz-checksum-type", "COMPOSITE")) == (
        "The x-amz-checksum-type header can only be used with the "
        "x-amz-checksum-algorithm header.")
    assert ask(("x-amz-checksum-type", "TEST"),
               ("x-amz-checksum-algorithm", "CRC32")) \
        == "Value for x-amz-checksum-type header is invalid."


# ---- through to the object

@pytest.mark.parametrize("algorithm,kind", [
    *((a, "COMPOSITE") for a in ALGORITHMS if a != "CRC64NVME"),
    *((a, "FULL_OBJECT") for a in COMBINES)])
def test_one_part(plain, bucket, algorithm, kind):
    name = f"Checksum{algorithm}"
    body = data(1000)
    upload_id = create(plain, bucket, ChecksumAlgorithm=algorithm,
                       ChecksumType=kind)
    named = part(plain, bucket, upload_id, 1, body, algorithm)

    listed = plain.list_parts(Bucket=bucket, Key="k",
                              UploadId=upload_id)["Parts"][0]
    assert listed[name] == text(algorithm, body)

    want = text(algorithm, body) if kind == "FULL_OBJECT" \
        else composite(algorithm, body)

    answer = complete(plain, bucket, upload_id, [named],
                      ChecksumType=kind, **{name: want})
    assert checksums(answer) == {algorithm: want, "Type": kind}

    for call in (plain.get_object, plain.head_object):
        got = call(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert checksums(got) == {algorithm: want, "Type": kind}
        assert checksums(call(Bucket=bucket, Key="k")) == {}
        got = call(Bucket=bucket, Key="k", ChecksumMode="ENABLED",
                   Range="bytes=0-9")
        assert checksums(got) == {}

        # the only part: its own, or what is the same

        got = call(Bucket=bucket, Key="k", ChecksumMode="ENABLED",
                   PartNumber=1)
        assert checksums(got) == {algorithm: text(algorithm, body),
                                  "Type": kind}

    listed = plain.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert listed["ChecksumAlgorithm"] == [algorithm]
    assert listed["ChecksumType"] == kind


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_two_parts(plain, bucket, kind):
    bodies = [data(PART), data(777)]
    upload_id = create(plain, bucket, ChecksumAlgorithm="CRC32",
                       ChecksumType=kind)
    parts = [part(plain, bucket, upload_id, n + 1, b, "CRC32")
             for n, b in enumerate(bodies)]

    want = text("CRC32", b"".join(bodies)) if kind == "FULL_OBJECT" \
        else composite("CRC32", *bodies)

    answer = complete(plain, bucket, upload_id, parts)
    assert checksums(answer) == {"CRC32": want, "Type": kind}
    assert answer["ETag"] == etag_of(*bodies)

    got = plain.head_object(Bucket=bucket, Key="k", PartNumber=2,
                            ChecksumMode="ENABLED")
    assert checksums(got) == ({"CRC32": text("CRC32", bodies[1]),
                               "Type": kind} if kind == "COMPOSITE" else {})


def test_two_parts_default(plain, bucket):
    """CRC64NVME of all bytes, combined of the parts'; the same as a PUT's."""

    bodies = [data(PART), data(777)]
    upload_id = create(plain, bucket)
    parts = [part(plain, bucket, upload_id, n + 1, b, given)
             for n, (b, given) in enumerate(zip(bodies, ("CRC32", None)))]
    for p in parts:
        p.pop("ChecksumCRC32", None)

    plain.put_object(Bucket=bucket, Key="put", Body=b"".join(bodies))
    put = plain.head_object(Bucket=bucket, Key="put", ChecksumMode="ENABLED")

    answer = complete(plain, bucket, upload_id, parts)
    assert checksums(answer) == checksums(put)
    assert answer["ChecksumType"] == "FULL_OBJECT"
    assert answer["ChecksumCRC64NVME"]


# ---- parts' checksums

@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_where_none_is_named(plain, bucket, algorithm):
    """Verified, answered, not listed; and may be named in Complete."""

    body = b"aaa"
    upload_id = create(plain, bucket)
    named = part(plain, bucket, upload_id, 1, body, algorithm)

    listed = plain.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert checksums(listed["Parts"][0]) == {}
    assert "ChecksumAlgorithm" not in listed

    wrong = dict(named, **{f"Checksum{algorithm}": text(algorithm, b"bbb")})
    assert fails(complete, plain, bucket, upload_id, [wrong]) \
        == (400, "InvalidPart")

    other = "SHA1" if algorithm == "SHA256" else "SHA256"
    assert fails(complete, plain, bucket, upload_id,
                 [{"PartNumber": 1, "ETag": named["ETag"],
                   f"Checksum{other}": text(other, body)}]) \
        == (400, "InvalidPart")

    for kind in ("FULL_OBJECT", "COMPOSITE"):
        answer = error(complete, plain, bucket, upload_id, [named],
                       ChecksumType=kind)["Error"]
        assert answer["Message"] == (
            "The upload was created using the null checksum mode. The "
            "complete request must use the same checksum mode.")

    answer = complete(plain, bucket, upload_id, [named])
    assert checksums(answer) == {"CRC64NVME": text("CRC64NVME", body),
                                 "Type": "FULL_OBJECT"}


def test_answer_to_a_part(plain, bucket):
    upload_id = create(plain, bucket)
    answer = plain.upload_part(Bucket=bucket, Key="k", UploadId=upload_id,
                               PartNumber=1, Body=b"abc",
                               ChecksumSHA1=text("SHA1", b"abc"))
    assert checksums(answer) == {"SHA1": text("SHA1", b"abc")}


@pytest.mark.parametrize("given", [None, "CRC32", "SHA1"])
def test_part_with_another_algorithm(plain, bucket, given):
    upload_id = create(plain, bucket, ChecksumAlgorithm="SHA256")
    kwargs = {f"Checksum{given}": text(given, b"abc")} if given else {}

    answer = error(plain.upload_part, Bucket=bucket, Key="k", Body=b"abc",
                   UploadId=upload_id, PartNumber=1, **kwargs)["Error"]
    assert answer["Code"] == "InvalidRequest"
    assert answer["Message"] == (
        "Checksum Type mismatch occurred, expected checksum Type: sha256, "
        f"actual checksum Type: {given.lower() if given else 'null'}")


@pytest.mark.parametrize("algorithm", COMBINES)
def test_part_without_in_full_object(plain, bucket, algorithm):
    """It is computed."""

    upload_id = create(plain, bucket, ChecksumAlgorithm=algorithm,
                       ChecksumType="FULL_OBJECT")
    answer = plain.upload_part(Bucket=bucket, Key="k", UploadId=upload_id,
                               PartNumber=1, Body=b"abc")
    assert checksums(answer) == {algorithm: text(algorithm, b"abc")}

    # and need not be named

    answer = complete(plain, bucket, upload_id,
                      [{"PartNumber": 1, "ETag": md5(b"abc")}])
    assert checksums(answer) == {algorithm: text(algorithm, b"abc"),
                                 "Type": "FULL_OBJECT"}


def test_missing_in_complete(plain, bucket):
    upload_id = create(plain, bucket, ChecksumAlgorithm="SHA256")
    named = part(plain, bucket, upload_id, 1, b"abc", "SHA256")
    bare = {"PartNumber": 1, "ETag": named["ETag"]}

    answer = error(complete, plain, bucket, upload_id, [bare])["Error"]
    assert answer["Code"] == "InvalidRequest"
    assert answer["Message"] == (
        "The upload was created using a sha256 checksum. The complete "
        "request must include the checksum for each part. It was missing "
        "for part 1 in the request.")

    answer = error(complete, plain, bucket, upload_id, [
        dict(bare, ChecksumSHA256=text("SHA256", b"x"))])["Error"]
    assert answer["Code"] == "InvalidPart"

    answer = error(complete, plain, bucket, upload_id, [
        dict(bare, ChecksumCRC32=text("CRC32", b"abc"))])["Error"]
    assert answer["Code"] == "BadDigest"
    assert answer["Message"] == ("The crc32 you specified for part 1 did "
                                 "not match what we received.")

    complete(plain, bucket, upload_id, [named])


# ---- the object's checksum in Complete

def test_whole_full_object(plain, bucket):
    upload_id = create(plain, bucket, ChecksumAlgorithm="CRC32C",
                       ChecksumType="FULL_OBJECT")
    named = part(plain, bucket, upload_id, 1, b"abc", "CRC32C")
    right = text("CRC32C", b"abc")

    answer = error(complete, plain, bucket, upload_id, [named],
                   ChecksumType="COMPOSITE")["Error"]
    assert answer["Code"] == "InvalidRequest"
    assert answer["Message"] == (
        "The upload was created using the FULL_OBJECT checksum mode. The "
        "complete request must use the same checksum mode.")

    for wrong in ({"ChecksumCRC32C": text("CRC32C", b"x")},
                  {"ChecksumCRC32C": composite("CRC32C", b"abc")},
                  {"ChecksumCRC32C": right + "-1"},
                  {"ChecksumCRC32": text("CRC32", b"abc")},
                  {"ChecksumCRC64NVME": text("CRC64NVME", b"abc")}):
        answer = error(complete, plain, bucket, upload_id, [named],
                       ChecksumType="FULL_OBJECT", **wrong)["Error"]
        assert answer["Code"] == "BadDigest"
        assert answer["Message"] == ("The crc32c you specified did not match "
                                     "the calculated checksum.")

    complete(plain, bucket, upload_id, [named], ChecksumCRC32C=right,
             ChecksumType="FULL_OBJECT")


def test_whole_composite(plain, bucket):
    upload_id = create(plain, bucket, ChecksumAlgorithm="SHA256")
    named = part(plain, bucket, upload_id, 1, b"abc", "SHA256")
    right = composite("SHA256", b"abc")

    for wrong in (text("SHA256", b"abc"), right[:-1] + "2",
                  composite("SHA256", b"x")):
        assert fails(complete, plain, bucket, upload_id, [named],
                     ChecksumSHA256=wrong) == (400, "BadDigest")

    for wrong in ("invalid", right[:-1] + "x", right + "-1", right[:-2] + "-",
                  right[:-1] + "0"):
        answer = error(complete, plain, bucket, upload_id, [named],
                       ChecksumSHA256=wrong)["Error"]
        assert answer["Code"] == "InvalidRequest"
        assert answer["Message"] \
            == "Value for x-amz-checksum-sha256 header is invalid."

    complete(plain, bucket, upload_id, [named], ChecksumSHA256=right,
             ChecksumType="COMPOSITE")


def test_whole_where_none_is_named(plain, bucket):
    """S3 passes over it; here it is verified as far as it is known."""

    upload_id = create(plain, bucket)
    named = part(plain, bucket, upload_id, 1, b"abc", "CRC32")

    for wrong in ({"ChecksumCRC64NVME": text("CRC64NVME", b"x")},
                  {"ChecksumCRC32": text("CRC32", b"x")},
                  {"ChecksumCRC32": composite("CRC32", b"x")}):
        assert fails(complete, plain, bucket, upload_id, [named], **wrong) \
            == (400, "BadDigest")

    assert fails(complete, plain, bucket, upload_id, [named],
                 ChecksumSHA1=text("SHA1", b"abc")) \
        == (400, "InvalidRequest")

    answer = complete(plain, bucket, upload_id, [named],
                      ChecksumCRC32=text("CRC32", b"abc"))
    assert checksums(answer) == {"CRC64NVME": text("CRC64NVME", b"abc"),
                                 "Type": "FULL_OBJECT"}


def test_two_whole_checksums(store, s3, bucket):
    upload_id = create(s3, bucket)
    raw.once(store, "POST", f"/{bucket}/k", f"uploadId={upload_id}",
             body=document((1, md5(b""), "")),
             headers=[("x-amz-checksum-crc32", text("CRC32", b"abc")),
                      ("x-amz-checksum-sha1", text("SHA1", b"abc"))]) \
        .is_error(400, "InvalidRequest")


def test_type_is_nonsense(store, s3, bucket):
    upload_id = create(s3, bucket)
    answer = raw.once(store, "POST", f"/{bucket}/k", f"uploadId={upload_id}",
                      body=document((1, md5(b""), "")),
                      headers=[("x-amz-checksum-type", "invalid_type")])
    answer.is_error(400, "InvalidRequest")
    assert answer.element("Message") \
        == "Value for x-amz-checksum-type header is invalid."


def test_answer_is_a_document(store, s3, bucket):
    """The whole of Complete's answer, as it is sent."""

    upload_id = create(s3, bucket, ChecksumAlgorithm="CRC32")
    named = part(s3, bucket, upload_id, 1, b"abc", "CRC32")
    more = f"<ChecksumCRC32>{named['ChecksumCRC32']}</ChecksumCRC32>"
    answer = raw.once(store, "POST", f"/{bucket}/k", f"uploadId={upload_id}",
                      body=document((1, md5(b"abc"), more)))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/xml"
    assert [(e.tag.replace(NS, ""), e.text) for e in answer.xml] == [
        ("Location", f"http://127.0.0.1:{store.port}/{bucket}/k"),
        ("Bucket", bucket), ("Key", "k"), ("ETag", etag_of(b"abc")),
        ("ChecksumCRC32", composite("CRC32", b"abc")),
        ("ChecksumType", "COMPOSITE")]
    assert read(s3, bucket, "k") == b"abc"
