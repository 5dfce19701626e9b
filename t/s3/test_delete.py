"""DeleteObjects, and what versionId=null means where there are no versions."""

import base64
import concurrent.futures
import hashlib
import uuid
from xml.sax.saxutils import escape

import botocore.config
import pytest

import raw
from checks import MIB, fails, md5, read


def keys(s3, bucket):
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        found += [e["Key"] for e in page.get("Contents", [])]
    return found


def put(s3, bucket, *names):
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())


def named(*names, **more):
    return {"Objects": [{"Key": n} for n in names], **more}


def content_md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def post(store, bucket, body, headers=None, **kwargs):
    """POST ?delete with Content-MD5, or with these headers."""

    if headers is None:
        headers = [("Content-MD5", content_md5(body))]

    return raw.once(store, "POST", f"/{bucket}", "delete", headers=headers,
                    body=body, **kwargs)


def document(*names, more=""):
    return ("<Delete>" + more
            + "".join(f"<Object><Key>{escape(n)}</Key></Object>"
                      for n in names) + "</Delete>").encode()


def test_some_and_one_that_is_not_there(s3, bucket):
    put(s3, bucket, "a", "b", "c", "d")

    answer = s3.delete_objects(Bucket=bucket,
                               Delete=named("c", "none", "a"))

    assert [d["Key"] for d in answer["Deleted"]] == ["c", "none", "a"]
    assert "Errors" not in answer
    assert keys(s3, bucket) == ["b", "d"]


def test_quiet(s3, bucket):
    put(s3, bucket, "a", "b")
    answer = s3.delete_objects(Bucket=bucket, Delete=named("a", Quiet=True))
    assert "Deleted" not in answer and "Errors" not in answer
    assert keys(s3, bucket) == ["b"]


def test_duplicates(s3, bucket):
    put(s3, bucket, "a")
    answer = s3.delete_objects(Bucket=bucket, Delete=named("a", "a", "a"))
    assert [d["Key"] for d in answer["Deleted"]] == ["a", "a", "a"]
    assert keys(s3, bucket) == []


def test_keys_of_all_kinds(s3, bucket):
    names = ["a//b", "trailing/", "./x", "a/../b", "a b+c%d", "é/\u20ac",
             "\U0001f600", "<&>\"'", "k" * 1024, "a\rb", "tab\tnl\n"]
    put(s3, bucket, *names)

    answer = s3.delete_objects(Bucket=bucket, Delete=named(*names))

    assert [d["Key"] for d in answer["Deleted"]] == names
    assert keys(s3, bucket) == []


def test_1000(store, bucket):
    client = store.client()
    names = [f"{i:04}" for i in range(1000)]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: put(client, bucket, n), names + ["left"]))

    # half of the thousand is not there any more when its turn comes

    assert len(client.delete_objects(
        Bucket=bucket, Delete=named(*names[::2]))["Deleted"]) == 500

    answer = client.delete_objects(Bucket=bucket, Delete=named(*names))

    assert [d["Key"] for d in answer["Deleted"]] == names
    assert keys(client, bucket) == ["left"]


def test_the_largest_document(store, s3, bucket):
    """1,000 keys of 1,024 bytes each, as long as XML makes them within S3's
    2 MiB; all but one are not there."""

    names = [f"{i:04}" + "x" * 1020 for i in range(1000)]
    put(s3, bucket, names[999])

    body = document(*names)
    assert MIB < len(body) < 2 * MIB

    answer = post(store, bucket, body)
    assert answer.status == 200
    assert answer.body.count(b"<Deleted>") == 1000
    assert keys(s3, bucket) == []


def test_too_many(store, s3, bucket):
    put(s3, bucket, "0000")

    post(store, bucket, document(*(f"{i:04}" for i in range(1001)))) \
        .is_error(400, "MalformedXML")

    assert keys(s3, bucket) == ["0000"]


def test_too_large(store, s3, bucket):
    body = document("a", more=" " * (2 * MIB))
    post(store, bucket, body).is_error(400, "MaxMessageLengthExceeded")


def test_one_key_is_too_long(s3, store, bucket):
    put(s3, bucket, "a", "b")

    answer = post(store, bucket, document("a", "k" * 1025, "b"))
    assert answer.status == 200

    root = answer.xml
    ns = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert root.tag == ns + "DeleteResult"
    assert [(e.tag[len(ns):], e.findtext(ns + "Key"),
             e.findtext(ns + "Code")) for e in root] \
        == [("Deleted", "a", None), ("Error", "k" * 1025, "KeyTooLongError"),
            ("Deleted", "b", None)]
    assert keys(s3, bucket) == []


def test_versions(s3, bucket):
    put(s3, bucket, "a", "b")

    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
        {"Key": "a", "VersionId": "null"},
        {"Key": "b", "VersionId": "3HL4kqtJlcpXroDTDmJ"}]})

    assert answer["Deleted"] == [{"Key": "a", "VersionId": "null"}]
    assert [(e["Key"], e["VersionId"], e["Code"]) for e in answer["Errors"]] \
        == [("b", "3HL4kqtJlcpXroDTDmJ", "NoSuchVersion")]
    assert keys(s3, bucket) == ["b"]


def test_etags(s3, bucket):
    put(s3, bucket, "a", "b", "c", "d")

    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
        {"Key": "a", "ETag": f'"{md5(b"a")}"'},
        {"Key": "b", "ETag": f'"{md5(b"a")}"'},
        {"Key": "c", "ETag": md5(b"c")},
        {"Key": "d", "ETag": "*"},
        {"Key": "none", "ETag": f'"{md5(b"a")}"'}], "Quiet": True})

    assert "Deleted" not in answer
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] \
        == [("b", "PreconditionFailed"), ("none", "NoSuchKey")]
    assert keys(s3, bucket) == ["b"]


@pytest.mark.parametrize("field", [
    "<Size>1</Size>", "<LastModifiedTime>2026-01-01T00:00:00Z"
    "</LastModifiedTime>"])
def test_conditions_of_directory_buckets(store, s3, bucket, field):
    put(s3, bucket, "a")
    body = (f"<Delete><Object><Key>a</Key>{field}</Object></Delete>").encode()
    post(store, bucket, body).is_error(501, "NotImplemented")
    assert keys(s3, bucket) == ["a"]


@pytest.mark.parametrize("name,value,status,code", [
    ("If-Match", '"x"', 412, "PreconditionFailed"),
    ("If-Match", '"a", "b"', 501, "NotImplemented"),
    ("If-None-Match", "*", 501, "NotImplemented"),
    ("If-None-Match", '"x"', 501, "NotImplemented"),
    ("If-Unmodified-Since", "Thu, 01 Jan 2026 00:00:00 GMT", 501,
     "NotImplemented"),
    ("x-amz-if-match-size", "1", 501, "NotImplemented"),
    ("x-amz-if-match-last-modified-time", "Thu, 01 Jan 2026 00:00:00 GMT",
     501, "NotImplemented")])
def test_conditions_of_one(store, s3, bucket, name, value, status, code):
    put(s3, bucket, "a")

    with raw.Connection(store) as conn:
        answer = conn.request("DELETE", f"/{bucket}/a",
                              headers=[(name, value)])
        answer.is_error(status, code)

        if status == 501:
            assert answer.element("Header") == name

        assert keys(s3, bucket) == ["a"]

        # and one that holds

        conn.request("DELETE", f"/{bucket}/none",
                     headers=[("If-Match", "*")]).is_error(404, "NoSuchKey")
        assert conn.request("DELETE", f"/{bucket}/a",
                            headers=[("If-Match", md5(b"a"))]).status == 204

    assert keys(s3, bucket) == []


@pytest.mark.parametrize("body", [
    b"<Delete></Delete>", b"<Delete><Object></Object></Delete>",
    b"<Delete><Object><Key></Key></Object></Delete>",
    b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
    b"<Delete><Object><Key>a</Key></Object>",
    b"<Remove><Object><Key>a</Key></Object></Remove>",
    b"<Delete><Object><Key>a</Key><Colour>red</Colour></Object></Delete>",
    b"<Delete><Quiet>perhaps</Quiet><Object><Key>a</Key></Object></Delete>",
    b"<Delete><Object><Key>a<b/></Key></Object></Delete>",
    b"<!DOCTYPE x [<!ENTITY a 'a'>]><Delete><Object><Key>&a;</Key></Object>"
    b"</Delete>",
    b"<Delete><Object><Key>a&#1;</Key></Object></Delete>",
    b"not xml", b"<Delete><Object><Key>\xff</Key></Object></Delete>"])
def test_malformed(store, s3, bucket, body):
    put(s3, bucket, "a")
    post(store, bucket, body).is_error(400, "MalformedXML")
    assert keys(s3, bucket) == ["a"]


def test_empty_document(store, bucket):
    post(store, bucket, b"").is_error(400, "MissingRequestBodyError")


def test_no_bucket(store, s3):
    name = "none-" + uuid.uuid4().hex[:8]
    assert fails(s3.delete_objects, Bucket=name, Delete=named("a")) \
        == (404, "NoSuchBucket")
    post(store, name, document("k" * 1025)).is_error(404, "NoSuchBucket")


# ---- what says that the document is whole


def test_without_a_digest(store, s3, bucket):
    """A payload hash that is signed is none, as S3 sees it."""

    put(s3, bucket, "a")
    answer = post(store, bucket, document("a"), headers=[])
    answer.is_error(400, "InvalidRequest")
    assert answer.element("Message") == ("Missing required header for this "
                                         "request: Content-MD5 OR "
                                         "x-amz-checksum-*")
    assert keys(s3, bucket) == ["a"]


@pytest.mark.parametrize("headers,status,code", [
    ([("Content-MD5", content_md5(b"another"))], 400, "BadDigest"),
    ([("Content-MD5", "!")], 400, "InvalidDigest"),
    ([("x-amz-checksum-crc32", raw.crc32(b"another"))], 400, "BadDigest"),
    ([("x-amz-checksum-crc32", "!")], 400, "InvalidRequest"),
])
def test_wrong_digests(store, s3, bucket, headers, status, code):
    put(s3, bucket, "a")
    post(store, bucket, document("a"), headers=headers).is_error(status, code)
    assert keys(s3, bucket) == ["a"]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums(s3, bucket, algorithm):
    put(s3, bucket, "a", "b")
    s3.delete_objects(Bucket=bucket, Delete=named("a"),
                      ChecksumAlgorithm=algorithm)
    assert keys(s3, bucket) == ["b"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_aws_chunked(store, s3, bucket, chunked, wrong):
    put(s3, bucket, "a", "b")
    plain = document("a", *("x" * 900 + str(i) for i in range(100)))
    body = raw.aws_chunked(plain, chunk=8192,
                           value=raw.crc32(b"another") if wrong else None)

    answer = post(store, bucket, body, chunked=chunked, payload=raw.TRAILER,
                  headers=[("x-amz-trailer", "x-amz-checksum-crc32"),
                           ("x-amz-decoded-content-length", str(len(plain))),
                           ("Content-Encoding", "aws-chunked")])

    if wrong:
        answer.is_error(400, "BadDigest")
        assert keys(s3, bucket) == ["a", "b"]
    else:
        assert answer.status == 200
        assert keys(s3, bucket) == ["b"]


def test_without_a_length(store, s3, bucket):
    put(s3, bucket, "a")
    body = document("a")

    with raw.Connection(store) as conn:
        conn.send(conn.head("POST", f"/{bucket}", "delete",
                            [("Content-MD5", content_md5(body))]))
        conn.answer("POST").is_error(411, "MissingContentLength")

    assert keys(s3, bucket) == ["a"]


def test_document_in_pieces(store, s3, bucket):
    """Sent a few bytes at a time, as a slow client's comes."""

    put(s3, bucket, "a", "b")
    body = document("a", "k" * 900)

    with raw.Connection(store) as conn:
        head = conn.head("POST", f"/{bucket}", "delete",
                         [("Content-MD5", content_md5(body))],
                         [("Content-Length", len(body))], raw.UNSIGNED)
        conn.send(head)
        for i in range(0, len(body), 50):
            conn.send(body[i:i + 50])
        assert conn.answer("POST").status == 200
        assert conn.serves()

    assert keys(s3, bucket) == ["b"]


def test_client_that_leaves(store, s3, bucket):
    """Nothing waits for who has gone, and everybody else is served."""

    names = [f"{i:04}" for i in range(1000)]
    body = document(*names)

    for _ in range(20):
        conn = raw.Connection(store)
        conn.send(conn.head("POST", f"/{bucket}", "delete",
                            [("Content-MD5", content_md5(body))],
                            [("Content-Length", len(body))], raw.UNSIGNED)
                  + body)
        conn.close()

    put(s3, bucket, "a")
    assert s3.delete_objects(Bucket=bucket, Delete=named("a"))["Deleted"] \
        == [{"Key": "a"}]


def test_old_sdks(store, bucket):
    """SDKs before checksums: Content-MD5 by hand of botocore."""

    config = botocore.config.Config(
        request_checksum_calculation="when_required")
    client = store.client(config=config)
    put(client, bucket, "a")
    client.delete_objects(Bucket=bucket, Delete=named("a"))
    assert keys(client, bucket) == []
    client.close()


# ---- versionId=null


def test_null_version(store, s3, bucket):
    put(s3, bucket, "a")

    got = s3.get_object(Bucket=bucket, Key="a", VersionId="null")
    assert got["Body"].read() == b"a"
    assert got["VersionId"] == "null"
    assert s3.head_object(Bucket=bucket, Key="a",
                          VersionId="null")["VersionId"] == "null"

    # who does not ask is told nothing

    assert "VersionId" not in s3.get_object(Bucket=bucket, Key="a")
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="b", Body=b"")
    assert "VersionId" not in s3.delete_object(Bucket=bucket, Key="b")

    gone = s3.delete_object(Bucket=bucket, Key="a", VersionId="null")
    assert gone["VersionId"] == "null"
    assert "DeleteMarker" not in gone
    assert keys(s3, bucket) == []


@pytest.mark.parametrize("version", ["1", "NULL", "", "nullx"])
def test_other_versions(store, s3, bucket, version):
    put(s3, bucket, "a")

    for method in ("GET", "DELETE"):
        raw.once(store, method, f"/{bucket}/a", f"versionId={version}") \
            .is_error(400, "InvalidArgument")

    assert read(s3, bucket, "a") == b"a"
