"""Where checksums are kept that Ceph knows nothing of: metadata of the object,
and records in a bucket of the gateway's own.  Clients see what they say, and
neither of them.
"""

import base64
import concurrent.futures
import hashlib
import itertools

import botocore.config
import pytest

import raw
import s3_gateway
import s3_server
from checks import DIGESTS, KIB, data, fails, md5, read


BUFFER = 16 * KIB
MARK = "nginx-s3-checksum"
HEADER = f"x-amz-meta-{MARK}"

# its checksum is in its metadata; in a record

SMALL = data(1000)
LARGE = data(BUFFER + 1)

PART = 5 * 1024 * KIB

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def store(ceph, service):
    with s3_gateway.Gateway(
            ceph, gateway=f"s3_gateway_buffer {BUFFER};"
            f"s3_checksums_bucket {service};") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def s3(store):
    """A client that adds nothing of its own."""

    return store.client(config=botocore.config.Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required"))


@pytest.fixture(scope="module")
def bucket(s3, bucket_name):
    name = bucket_name("checksums")
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def key():
    return f"key-{next(numbers)}"


def checksums(answer):
    """{"SHA1": "...", "Type": "..."} of an answer"""

    return {n.removeprefix("Checksum"): v for n, v in answer.items()
            if n.startswith("Checksum") and n != "ChecksumAlgorithm"}


def full(algorithm, body):
    return {algorithm: DIGESTS[algorithm](body), "Type": "FULL_OBJECT"}


def composite(algorithm, bodies):
    digests = [base64.b64decode(DIGESTS[algorithm](b)) for b in bodies]
    return DIGESTS[algorithm](b"".join(digests)) + f"-{len(bodies)}"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def record(bucket, key, etag):
    """The name of a record, see src/gateway/s3_mark.h"""

    return f"o/{sha256(f'{bucket}/{key}')}/" + etag.strip('"')


def records(upstream, service, prefix=""):
    try:
        return {entry["Key"] for page in upstream.get_paginator(
            "list_objects_v2").paginate(Bucket=service, Prefix=prefix)
            for entry in page.get("Contents", [])}
    except upstream.exceptions.NoSuchBucket:
        return set()


def of(upstream, service, bucket, key):
    """Records of an object, whatever its entity tag."""

    return records(upstream, service, f"o/{sha256(f'{bucket}/{key}')}/")


# ---- answers

@pytest.mark.parametrize("body", [SMALL, LARGE, b""],
                         ids=["small", "large", "empty"])
@pytest.mark.parametrize("algorithm", [*DIGESTS, None])
def test_answers(s3, upstream, service, bucket, key, algorithm, body):
    kwargs = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    expected = full(algorithm or "CRC64NVME", body)

    put = s3.put_object(Bucket=bucket, Key=key, Body=body,
                        Metadata={"a": "b"}, **kwargs)
    assert checksums(put) == expected

    for call in (s3.head_object, s3.get_object):
        got = call(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert checksums(got) == expected
        assert got["Metadata"] == {"a": "b"}

        got = call(Bucket=bucket, Key=key)
        assert checksums(got) == {}
        assert got["Metadata"] == {"a": "b"}

        if body:
            got = call(Bucket=bucket, Key=key, ChecksumMode="ENABLED",
                       Range="bytes=0-9")
            assert checksums(got) == {}
            assert got["ContentLength"] == min(10, len(body))

        got = call(Bucket=bucket, Key=key, ChecksumMode="ENABLED",
                   PartNumber=1)
        assert checksums(got) == expected

    got = s3.get_object_attributes(
        Bucket=bucket, Key=key, ObjectAttributes=[
            "ETag", "Checksum", "ObjectSize", "ObjectParts", "StorageClass"])
    assert got["ETag"] == md5(body)
    assert got["ObjectSize"] == len(body)
    assert checksums(got["Checksum"]) == expected
    assert "ObjectParts" not in got

    got = s3.get_object_attributes(Bucket=bucket, Key=key,
                                   ObjectAttributes=["ObjectSize"])
    assert "Checksum" not in got

    # where it is

    assert of(upstream, service, bucket, key) \
        == ({record(bucket, key, put["ETag"])} if body == LARGE else set())

    mark = upstream.head_object(Bucket=bucket, Key=key)["Metadata"].pop(MARK)
    name = algorithm or "CRC64NVME"
    assert mark == ("record" if body == LARGE else
                    f"{md5(body)} {name} FULL_OBJECT {expected[name]}")


def upload(s3, bucket, key, bodies, algorithm=None, kind=None):
    """What Complete says of an upload of these parts."""

    kwargs = {n: v for n, v in (("ChecksumAlgorithm", algorithm),
                                ("ChecksumType", kind)) if v}
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = s3.create_multipart_upload(
        **names, **kwargs)["UploadId"]
    parts = []

    for number, body in enumerate(bodies, 1):
        part = s3.upload_part(**names, PartNumber=number, Body=body, **(
            {"ChecksumAlgorithm": algorithm} if algorithm else {}))
        parts.append({"PartNumber": number, "ETag": part["ETag"], **{
            n: v for n, v in part.items()
            if algorithm and n == f"Checksum{algorithm}"}})

    return s3.complete_multipart_upload(**names,
                                        MultipartUpload={"Parts": parts})


@pytest.fixture(scope="module")
def parts():
    return [data(PART), data(777)]


@pytest.mark.parametrize("algorithm,kind", [
    (None, None), ("CRC32C", "FULL_OBJECT"), ("SHA1", "COMPOSITE")])
def test_parts(s3, upstream, service, bucket, key, parts, algorithm, kind):
    before = records(upstream, service)

    done = upload(s3, bucket, key, parts, algorithm, kind)

    expected = full(algorithm or "CRC64NVME", b"".join(parts))
    if kind == "COMPOSITE":
        expected = {"SHA1": composite("SHA1", parts), "Type": kind}

    assert checksums(done) == expected

    for call in (s3.head_object, s3.get_object):
        assert checksums(call(Bucket=bucket, Key=key,
                              ChecksumMode="ENABLED")) == expected

    got = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=[
        "Checksum", "ObjectParts"])
    assert got["Checksum"]["ChecksumType"] == expected["Type"]
    assert got["ObjectParts"]["TotalPartsCount"] == 2

    if kind == "COMPOSITE":
        assert [(p["Size"], checksums(p))
                for p in got["ObjectParts"]["Parts"]] \
            == [(len(b), {"SHA1": DIGESTS["SHA1"](b)}) for b in parts]

    # of the upload nothing is left

    s3_server.wait_for(
        lambda: records(upstream, service) - before
        == {record(bucket, key, done["ETag"])}, 30,
        "records of an upload that is complete")


def test_abort(s3, upstream, service, bucket, key):
    before = records(upstream, service)
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = s3.create_multipart_upload(**names)["UploadId"]

    for number in (1, 2, 3):
        s3.upload_part(**names, PartNumber=number, Body=SMALL)

    upload = sha256(f"{bucket}/{key}?{names['UploadId']}")
    more = records(upstream, service) - before
    assert f"u/{upload}" in more and len(more) == 4
    assert all(name == f"u/{upload}" or name.startswith(f"p/{upload}/")
               for name in more)

    s3.abort_multipart_upload(**names)
    s3_server.wait_for(lambda: records(upstream, service) == before, 30,
                       "records of an upload that is gone")


@pytest.mark.parametrize("name", [
    "a b+c%d/\u00e9/\u65e5", "\U0001f600", '"\\\n', "./a/../b//", "k" * 900],
    ids=range(5))
def test_odd_names(s3, bucket, name):
    """Records are found by any name, and tell it to the sweep."""

    put = s3.put_object(Bucket=bucket, Key=name, Body=LARGE)
    assert checksums(s3.head_object(
        Bucket=bucket, Key=name, ChecksumMode="ENABLED")) == checksums(put)

    name = name[:-1] + "2"
    done = upload(s3, bucket, name, [SMALL], "CRC32", "FULL_OBJECT")
    assert checksums(s3.head_object(
        Bucket=bucket, Key=name, ChecksumMode="ENABLED")) \
        == checksums(done) == full("CRC32", SMALL)

    copied = s3.copy_object(Bucket=bucket, Key=name[:-1] + "3",
                            CopySource={"Bucket": bucket, "Key": name})
    assert checksums(copied["CopyObjectResult"]) == checksums(done)


def test_readers_and_writers(s3, bucket, key):
    """Whoever reads gets the checksum of what he reads, or none."""

    bodies = [SMALL, LARGE, data(BUFFER + 2), data(1001), data(50_000)]
    names = {"Bucket": bucket, "Key": key}
    expected = {f'"{md5(b)}"': (b, full("CRC64NVME", b)) for b in bodies}
    s3.put_object(**names, Body=SMALL)

    def write(n):
        for i in range(10):
            s3.put_object(**names, Body=bodies[(n + i) % len(bodies)])

    def read():
        seen = set()
        while not all(w.done() for w in writers):
            got = s3.get_object(**names, ChecksumMode="ENABLED")
            body, sums = expected[got["ETag"]]
            assert got["Body"].read() == body
            assert checksums(got) == sums
            seen.add(got["ETag"])
        return seen

    with concurrent.futures.ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, n) for n in range(3)]
        readers = [pool.submit(read) for _ in range(2)]

        for each in writers + readers:
            each.result()

    got = s3.get_object(**names, ChecksumMode="ENABLED")
    assert checksums(got) == expected[got["ETag"]][1]


# ---- nobody sees them

def test_metadata_is_hidden(store, s3, upstream, bucket, key):
    """In no header of any answer, whatever it is to."""

    for body in (SMALL, LARGE):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        assert MARK in upstream.head_object(Bucket=bucket,
                                            Key=key)["Metadata"]

        etag = f'"{md5(body)}"'
        path = f"/{bucket}/{key}"
        mode = ("x-amz-checksum-mode", "ENABLED")

        for method in ("HEAD", "GET"):
            for status, query, headers in (
                    (200, "", []), (200, "", [mode]),
                    (206, "", [("Range", "bytes=1-2"), mode]),
                    (206, "partNumber=1", [mode]),
                    (304, "", [("If-None-Match", etag)]),
                    (200, "", [("If-Match", etag)]),
                    (412, "", [("If-Match", '"other"')]),
                    (416, "", [("Range", "bytes=100000-")]),
                    (206, "", [("Range", "bytes=1-2"), ("If-Range", etag)]),
                    (200, "response-content-type=a%2Fb", [mode])):
                answer = raw.once(store, method, path, query,
                                  headers=headers)
                assert answer.status == status, (query, headers, answer)
                assert "nginx-s3" not in repr(answer.raw_headers).lower()
                assert b"nginx-s3" not in answer.body

        for query in ("list-type=2", "", "versions"):
            answer = raw.once(store, "GET", f"/{bucket}", query)
            assert answer.status == 200
            assert key.encode() in answer.body
            assert MARK.encode() not in answer.body


@pytest.mark.parametrize("name", [
    HEADER, "X-Amz-Meta-Nginx-S3-Checksum",
    # Ceph takes "_" for "-"
    "x-amz-meta-nginx_s3_checksum", "x-amz-meta-nginx-s3_checksum"])
def test_metadata_is_reserved(store, s3, upstream, bucket, key, name):
    """Who could write it could say of any bytes what their checksum is."""

    mark = f"{md5(SMALL)} CRC32 FULL_OBJECT AAAAAA=="
    forged = (name, mark)
    upstream.put_object(Bucket=bucket, Key=key, Body=SMALL)
    path = f"/{bucket}/{key}-new"

    for method, query, headers in (
            ("PUT", "", []), ("POST", "uploads", []),
            ("PUT", "", [("x-amz-copy-source", f"/{bucket}/{key}"),
                         ("x-amz-metadata-directive", "REPLACE")])):
        for body in (SMALL, LARGE)[:1 if headers or query else 2]:
            answer = raw.once(store, method, path, query,
                              headers=[*headers, forged],
                              body=b"" if headers or query else body)
            answer.is_error(400, "InvalidArgument")

    with raw.Connection(store) as conn:
        query = raw.presign("PUT", conn.host, path,
                            f"{name}={raw.quote(mark)}")
        conn.request("PUT", path, query, body=SMALL, signed=False) \
            .is_error(400, "InvalidArgument")

    assert fails(upstream.head_object, Bucket=bucket, Key=f"{key}-new") \
        == (404, "404")


def test_bucket_is_hidden(store, s3, upstream, service, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=LARGE)

    there = {b["Name"] for b in upstream.list_buckets()["Buckets"]}
    seen = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert {service, bucket} <= there
    assert bucket in seen and service not in seen

    pages = s3.get_paginator("list_buckets").paginate(
        PaginationConfig={"PageSize": 1})
    assert service not in [b["Name"] for page in pages
                           for b in page["Buckets"]]
    assert s3.list_buckets(Prefix=service)["Buckets"] == []


def test_bucket_is_unreachable(s3, upstream, service, bucket, key):
    """By no operation."""

    s3.put_object(Bucket=bucket, Key=key, Body=LARGE)
    before = records(upstream, service)
    name = next(iter(before))
    here = {"Bucket": service}
    it = {"Bucket": service, "Key": name}
    gone = (404, "NoSuchBucket")

    calls = [
        (s3.list_objects, here), (s3.list_objects_v2, here),
        (s3.list_object_versions, here), (s3.list_multipart_uploads, here),
        (s3.get_bucket_acl, here), (s3.get_bucket_location, here),
        (s3.get_bucket_versioning, here), (s3.delete_bucket, here),
        (s3.get_object, it), (s3.delete_object, it),
        (s3.get_object_acl, it), (s3.get_object_tagging, it),
        (s3.put_object, dict(it, Body=b"x")),
        (s3.put_object, dict(it, Body=LARGE)),
        (s3.create_multipart_upload, it),
        (s3.upload_part, dict(it, UploadId="x", PartNumber=1, Body=b"x")),
        (s3.list_parts, dict(it, UploadId="x")),
        (s3.abort_multipart_upload, dict(it, UploadId="x")),
        (s3.complete_multipart_upload, dict(
            it, UploadId="x", MultipartUpload={"Parts": [
                {"PartNumber": 1, "ETag": "x"}]})),
        (s3.get_object_attributes, dict(it, ObjectAttributes=["ETag"])),
        (s3.delete_objects, dict(here, Delete={"Objects": [{"Key": name}]})),
        (s3.copy_object, dict(it, CopySource=f"{bucket}/{key}")),
        (s3.copy_object, {"Bucket": bucket, "Key": "copied",
                          "CopySource": f"{service}/{name}"}),
    ]

    for call, kwargs in calls:
        status, code = fails(call, **kwargs)
        assert (status, code) == gone or code == "NotImplemented", \
            (call.__name__, kwargs)

    for call, kwargs in ((s3.head_bucket, here), (s3.head_object, it)):
        assert fails(call, **kwargs) == (404, "404")

    upload_id = s3.create_multipart_upload(Bucket=bucket,
                                           Key="copied")["UploadId"]
    assert fails(s3.upload_part_copy, Bucket=bucket, Key="copied",
                 UploadId=upload_id, PartNumber=1,
                 CopySource=f"{service}/{name}") == gone
    s3.abort_multipart_upload(Bucket=bucket, Key="copied",
                              UploadId=upload_id)

    assert fails(s3.create_bucket, **here) == (409, "BucketAlreadyExists")

    s3_server.wait_for(lambda: records(upstream, service) >= before
                       and "u/" not in str(records(upstream, service)), 30,
                       "records have changed")
    assert "copied" not in records(upstream, bucket)


def test_bucket_by_other_names(store, s3, upstream, service, bucket, key):
    """As a path or a source may be written, by Ceph's own rules as well:
    "tenant:bucket"."""

    s3.put_object(Bucket=bucket, Key=key, Body=LARGE)
    name = record(bucket, key, md5(LARGE))
    assert name in records(upstream, service)
    letter = f"%{ord(service[0]):02x}{service[1:]}"

    for path in (service, letter, f":{service}", f"%3A{service}",
                 f"x:{service}", f"{bucket}/../{service}"):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            for more in ("", f"/{name}", "/"):
                answer = raw.once(store, method, f"/{path}{more}",
                                  body=b"x" if method == "PUT" and more
                                  else None)
                assert answer.status in (400, 404, 409), (method, path, more)

        for slash in ("", "/", "%2F", "//"):
            answer = raw.once(
                store, "PUT", f"/{bucket}/copied",
                headers=[("x-amz-copy-source", f"{slash}{path}/{name}")])
            assert answer.status in (400, 404), (slash, path)

    assert name in records(upstream, service)
    assert fails(upstream.head_object, Bucket=bucket, Key="copied") \
        == (404, "404")


# ---- stale

@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_overwritten_past_us(s3, upstream, bucket, key, body):
    """Of what others wrote nobody here knows a checksum; least of all that
    of what was there before."""

    put = s3.put_object(Bucket=bucket, Key=key, Body=body)
    before = upstream.head_object(Bucket=bucket, Key=key)["Metadata"]
    other = bytes([body[0] ^ 1]) + body[1:]

    def nothing(body):
        for call in (s3.head_object, s3.get_object):
            got = call(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            assert checksums(got) == {}
            assert got["ETag"] == f'"{md5(body)}"'
            assert MARK not in got["Metadata"]

        got = s3.get_object_attributes(
            Bucket=bucket, Key=key, ObjectAttributes=["Checksum", "ETag"])
        assert got["ETag"] == md5(body) and "Checksum" not in got

        assert checksums(s3.head_object(
            Bucket=bucket, Key=key, PartNumber=1,
            ChecksumMode="ENABLED")) == {}

    upstream.put_object(Bucket=bucket, Key=key, Body=other)
    nothing(other)

    # not even where the mark came with it, or the bytes are the same

    upstream.put_object(Bucket=bucket, Key=key, Body=other, Metadata=before)
    nothing(other)
    upstream.put_object(Bucket=bucket, Key=key, Body=body)
    nothing(body)

    # back to what it was, by somebody who copies everything

    upstream.put_object(Bucket=bucket, Key=key, Body=body, Metadata=before)
    assert checksums(s3.head_object(
        Bucket=bucket, Key=key, ChecksumMode="ENABLED")) == checksums(put)

    # and the copy of what is stale has none

    upstream.put_object(Bucket=bucket, Key=key, Body=other, Metadata=before)
    copied = s3.copy_object(Bucket=bucket, Key=f"{key}-copy",
                            CopySource=f"{bucket}/{key}")
    assert checksums(copied["CopyObjectResult"]) == {}
    assert checksums(s3.head_object(Bucket=bucket, Key=f"{key}-copy",
                                    ChecksumMode="ENABLED")) == {}


@pytest.mark.parametrize("mark", [
    "", "record", "nonsense", "{etag}", "{etag} CRC32", "{etag} CRC32 NONE x",
    "{etag} CRC32 FULL_OBJECT AA", "{etag} MD5 FULL_OBJECT AAAAAA==",
    "{other} CRC32 FULL_OBJECT AAAAAA==",
    "{etag} CRC32 FULL_OBJECT AAAAAA== x"])
@pytest.mark.parametrize("where", ["object", "record"])
def test_mark_is_nonsense(s3, upstream, service, bucket, key, where, mark):
    """Of the object, or of its record."""

    value = mark.format(etag=md5(SMALL), other=md5(LARGE))
    name = record(bucket, key, md5(SMALL))

    upstream.create_bucket(Bucket=service)     # no record has been written yet?
    upstream.put_object(
        Bucket=bucket, Key=key, Body=SMALL,
        Metadata={MARK: value if where == "object" else "record"})

    if where == "record":
        upstream.put_object(Bucket=service, Key=name, Body=b"{}",
                            Metadata={MARK: value})

    for call in (s3.head_object, s3.get_object):
        got = call(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert checksums(got) == {}
        assert MARK not in got["Metadata"]

    got = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=[
        "Checksum", "ObjectParts", "ObjectSize"])
    assert "Checksum" not in got and got["ObjectSize"] == len(SMALL)

    upstream.delete_object(Bucket=service, Key=name)


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[]", '{"parts": 1}',
                                  '{"parts": [[1]]}'])
def test_record_is_nonsense(s3, upstream, service, bucket, key, parts, text):
    """Its text: the parts are not known."""

    done = upload(s3, bucket, key, [SMALL])
    name = record(bucket, key, done["ETag"])
    mark = upstream.head_object(Bucket=service, Key=name)["Metadata"]
    upstream.put_object(Bucket=service, Key=name, Body=text.encode(),
                        Metadata=mark)

    assert checksums(s3.head_object(
        Bucket=bucket, Key=key, ChecksumMode="ENABLED")) == checksums(done)

    got = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=[
        "Checksum", "ObjectParts"])
    assert checksums(got["Checksum"]) == checksums(done)
    assert got["ObjectParts"]["TotalPartsCount"] == 1

    assert fails(s3.get_object, Bucket=bucket, Key=key, PartNumber=1) \
        == (501, "NotImplemented")


def test_record_is_gone(store, s3, upstream, service, bucket, key):
    """An object without its record is one without a checksum."""

    put = s3.put_object(Bucket=bucket, Key=key, Body=LARGE)
    upstream.delete_object(Bucket=service,
                           Key=record(bucket, key, put["ETag"]))

    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == LARGE
    assert checksums(got) == {}
    assert s3.get_object(Bucket=bucket, Key=key, PartNumber=1)["Body"] \
        .read() == LARGE
    copied = s3.copy_object(Bucket=bucket, Key=f"{key}-copy",
                            CopySource=f"{bucket}/{key}")
    assert checksums(copied["CopyObjectResult"]) == {}


# ---- copies

@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("replace", [False, True], ids=["copy", "replace"])
def test_copy(s3, upstream, service, bucket, key, bucket_name, body, replace):
    """Its checksum follows, to another bucket and back."""

    other = bucket_name("other")
    s3.create_bucket(Bucket=other)
    put = s3.put_object(Bucket=bucket, Key=key, Body=body,
                        ChecksumAlgorithm="SHA256", Metadata={"a": "b"})
    expected = full("SHA256", body)
    assert checksums(put) == expected

    kwargs = {"MetadataDirective": "REPLACE", "Metadata": {"c": "d"}} \
        if replace else {}

    for target, source in (((other, "x"), (bucket, key)),
                           ((bucket, f"{key}-2"), (other, "x"))):
        copied = s3.copy_object(Bucket=target[0], Key=target[1],
                                CopySource="/".join(source), **kwargs)
        assert checksums(copied["CopyObjectResult"]) == expected

        got = s3.get_object(Bucket=target[0], Key=target[1],
                            ChecksumMode="ENABLED")
        assert checksums(got) == expected
        assert got["Body"].read() == body
        assert got["Metadata"] == ({"c": "d"} if replace else {"a": "b"})

        # of its own: the source may go

        s3.delete_object(Bucket=source[0], Key=source[1])
        assert of(upstream, service, *target) \
            == ({record(*target, put["ETag"])} if body == LARGE else set())
        assert checksums(s3.head_object(
            Bucket=target[0], Key=target[1], ChecksumMode="ENABLED")) \
            == expected


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_copy_onto_itself(s3, bucket, key, body):
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"a": "b"})
    s3.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/{key}",
                   MetadataDirective="REPLACE", Metadata={"c": "d"})
    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert checksums(got) == full("CRC64NVME", body)
    assert got["Metadata"] == {"c": "d"}
    assert got["Body"].read() == body


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("known", [True, False], ids=["ours", "others'"])
def test_copy_with_another_algorithm(s3, upstream, bucket, key, known, body):
    (s3 if known else upstream).put_object(
        Bucket=bucket, Key=key, Body=body, Metadata={"a": "b"})

    copied = s3.copy_object(Bucket=bucket, Key=f"{key}-2",
                            CopySource=f"{bucket}/{key}",
                            ChecksumAlgorithm="SHA1")
    assert checksums(copied["CopyObjectResult"]) == full("SHA1", body)

    got = s3.get_object(Bucket=bucket, Key=f"{key}-2",
                        ChecksumMode="ENABLED")
    assert checksums(got) == full("SHA1", body)
    assert got["Metadata"] == {"a": "b"}
    assert got["Body"].read() == body


def test_copy_of_parts(s3, upstream, service, bucket, key, parts):
    """The copy knows them as well."""

    done = upload(s3, bucket, key, parts, "SHA256", "COMPOSITE")
    copied = s3.copy_object(Bucket=bucket, Key=f"{key}-2",
                            CopySource=f"{bucket}/{key}")
    assert checksums(copied["CopyObjectResult"]) == checksums(done)
    s3.delete_object(Bucket=bucket, Key=key)

    got = s3.head_object(Bucket=bucket, Key=f"{key}-2",
                         ChecksumMode="ENABLED")
    assert checksums(got) == checksums(done)
    got = s3.get_object_attributes(
        Bucket=bucket, Key=f"{key}-2",
        ObjectAttributes=["Checksum", "ObjectParts"])
    assert [(p["Size"], p["ChecksumSHA256"])
            for p in got["ObjectParts"]["Parts"]] \
        == [(len(b), DIGESTS["SHA256"](b)) for b in parts]


# ---- the end

class Sweeper:
    """A gateway with a bucket of records of its own, in which what is a
    second old without an object goes."""

    def __init__(self, gateway, upstream, bucket_name):
        self.upstream = upstream
        self.service = bucket_name("swept")
        self.bucket = bucket_name("sweeping")
        self.gateway = gateway(
            gateway=f"s3_gateway_buffer {BUFFER};"
            f"s3_checksums_bucket {self.service} orphans=1s;")
        self.s3 = self.gateway.client()
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_object(Bucket=self.bucket, Key="tick", Body=LARGE)

    def late(self, what, bucket=None):
        """A key whose record comes late in the order of all of them: a look
        from anywhere gets to it, most times."""

        for i in itertools.count():
            key = f"{what}-{i}"
            if sha256(f"{bucket or self.bucket}/{key}") > "f":
                return key

    def records(self, prefix=""):
        return records(self.upstream, self.service, prefix)

    def sweep(self, how="put"):
        """Writes a record, behind which others are looked at, one time in
        eight."""

        if how == "copy":
            self.s3.copy_object(Bucket=self.bucket, Key="tock",
                                CopySource=f"{self.bucket}/tick")
        elif how == "put":
            self.s3.put_object(Bucket=self.bucket, Key="tock", Body=LARGE)
        else:
            upload(self.s3, self.bucket, "tock", [LARGE])

    def until(self, done, how="put"):
        def step():
            self.sweep(how)
            return done()

        s3_server.wait_for(step, 60, "records without an object stay")


@pytest.fixture
def sweeper(gateway, upstream, bucket_name):
    return Sweeper(gateway, upstream, bucket_name)


def knows(s3, bucket, key, body):
    assert checksums(s3.head_object(
        Bucket=bucket, Key=key, ChecksumMode="ENABLED"))["CRC32"] \
        == DIGESTS["CRC32"](body)


@pytest.mark.parametrize("how,behind", [
    ("delete", "put"), ("delete many", "complete"), ("overwrite", "copy"),
    ("overwrite with a large one", "put"), ("copy over", "complete"),
    ("delete past us", "copy")])
def test_record_dies_with_its_object(sweeper, how, behind):
    """behind: what else has records written"""

    s3, bucket = sweeper.s3, sweeper.bucket
    key = sweeper.late("dies")
    other = data(BUFFER + 2)

    s3.put_object(Bucket=bucket, Key="lives", Body=other)
    put = s3.put_object(Bucket=bucket, Key=key, Body=LARGE)
    name = record(bucket, key, put["ETag"])
    assert name in sweeper.records()

    if how == "delete":
        s3.delete_object(Bucket=bucket, Key=key)
    elif how == "delete many":
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [
            {"Key": key}, {"Key": "what was never there"}]})
    elif how == "overwrite":
        s3.put_object(Bucket=bucket, Key=key, Body=SMALL)
    elif how == "overwrite with a large one":
        s3.put_object(Bucket=bucket, Key=key, Body=other)
    elif how == "copy over":
        s3.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/lives")
    else:
        sweeper.upstream.delete_object(Bucket=bucket, Key=key)

    sweeper.until(lambda: name not in sweeper.records(), behind)

    # what is in use stays

    knows(s3, bucket, "lives", other)
    knows(s3, bucket, "tick", LARGE)

    if how in ("overwrite with a large one", "copy over"):
        knows(s3, bucket, key, other)


def test_upload_that_ends_past_us(sweeper):
    """Its record, and those of its parts; an upload under way keeps them."""

    s3, bucket = sweeper.s3, sweeper.bucket
    text = "{bucket}/{key}?{upload_id}"

    def begin(key):
        names = {"Bucket": bucket, "Key": key}
        names["UploadId"] = s3.create_multipart_upload(
            **names, ChecksumAlgorithm="CRC32")["UploadId"]
        part = s3.upload_part(**names, PartNumber=1, Body=SMALL)
        return names, sha256(text.format(
            bucket=bucket, key=key, upload_id=names["UploadId"])), part

    live, live_hash, part = begin("live")

    # one that comes late, as above

    for i in itertools.count():
        names, upload, _ = begin(f"gone-{i}")
        if upload > "c":
            break
        s3.abort_multipart_upload(**names)

    def there(upload):
        return {name for name in sweeper.records() if upload in name}

    assert len(there(upload)) == len(there(live_hash)) == 2
    sweeper.upstream.abort_multipart_upload(**names)
    sweeper.until(lambda: not there(upload))

    assert len(there(live_hash)) == 2
    done = s3.complete_multipart_upload(**live, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": part["ETag"],
         "ChecksumCRC32": part["ChecksumCRC32"]}]})
    assert done["ChecksumType"] == "COMPOSITE"


def test_orphans_do_not_heap_up(sweeper):
    """Two others are looked at for each record that is written: what is left
    over comes down to less than what is in use."""

    s3, bucket = sweeper.s3, sweeper.bucket

    for n in range(30):
        s3.put_object(Bucket=bucket, Key=f"{n}", Body=LARGE)

    used = {record(bucket, key, md5(LARGE))
            for key in ["tick", *map(str, range(22, 30))]}
    gone = {record(bucket, f"{n}", md5(LARGE)) for n in range(22)}

    # a look behind the last of them may take place as late as below

    assert sweeper.records() >= used | gone

    for n in range(22):
        sweeper.upstream.delete_object(Bucket=bucket, Key=f"{n}")

    sweeper.until(lambda: len(sweeper.records() & gone) <= len(used) // 2)

    assert sweeper.records() >= used
    for n in range(22, 30):
        knows(s3, bucket, f"{n}", LARGE)


@pytest.mark.parametrize("how", ["overwrite", "delete"])
def test_versions_keep_theirs(sweeper, bucket_name, how):
    """The record may be that of an older version."""

    s3 = sweeper.s3
    bucket = bucket_name("versions")
    s3.create_bucket(Bucket=bucket)
    sweeper.upstream.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    key = sweeper.late("versions", bucket)
    first = s3.put_object(Bucket=bucket, Key=key, Body=LARGE)

    if how == "overwrite":
        s3.put_object(Bucket=bucket, Key=key, Body=data(BUFFER + 2))
    else:
        s3.delete_object(Bucket=bucket, Key=key)

    # until another one goes, and for a while

    orphan = sweeper.late("orphan")
    put = s3.put_object(Bucket=sweeper.bucket, Key=orphan, Body=LARGE)
    s3.delete_object(Bucket=sweeper.bucket, Key=orphan)
    sweeper.until(lambda: record(sweeper.bucket, orphan, put["ETag"])
                  not in sweeper.records())

    for _ in range(40):
        sweeper.sweep()

    assert record(bucket, key, first["ETag"]) in sweeper.records()
    got = s3.head_object(Bucket=bucket, Key=key, VersionId=first["VersionId"],
                         ChecksumMode="ENABLED")
    assert got["ChecksumCRC32"] == DIGESTS["CRC32"](LARGE)


# ---- the bucket itself

def test_bucket_is_made(gateway, upstream, bucket, bucket_name, key):
    """When it is needed, by whoever is first, and again when it is gone."""

    service = bucket_name("made")
    s3 = gateway(gateway=f"s3_gateway_buffer {BUFFER};"
                 f"s3_checksums_bucket {service};").client()

    def there():
        return service in [b["Name"]
                           for b in upstream.list_buckets()["Buckets"]]

    put = s3.put_object(Bucket=bucket, Key=key, Body=SMALL)
    s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert not there()

    for _ in range(2):
        put = s3.put_object(Bucket=bucket, Key=key, Body=LARGE)
        assert records(upstream, service) == {record(bucket, key,
                                                     put["ETag"])}
        upstream.delete_object(Bucket=service,
                               Key=record(bucket, key, put["ETag"]))
        upstream.delete_bucket(Bucket=service)

    got = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert checksums(got) == {}
    upload(s3, bucket, f"{key}-2", [SMALL])
    assert there()


def test_bucket_is_not_ours(gateway, upstream, stranger, bucket, bucket_name,
                            key):
    """What needs no record is as ever; what does is refused, and nothing is
    there of it."""

    service = bucket_name("not-ours")
    stranger.create_bucket(Bucket=service)

    nginx = gateway(gateway=f"s3_gateway_buffer {BUFFER};"
                    f"s3_checksums_bucket {service};")
    s3 = nginx.client()

    put = s3.put_object(Bucket=bucket, Key=key, Body=SMALL)
    other = data(BUFFER + 2)

    assert fails(s3.put_object, Bucket=bucket, Key=key, Body=LARGE) \
        == (500, "InternalError")
    assert fails(s3.create_multipart_upload, Bucket=bucket, Key=f"{key}-2") \
        == (500, "InternalError")

    assert read(upstream, bucket, key) == SMALL
    knows(s3, bucket, key, SMALL)
    assert put["ETag"] == s3.head_object(Bucket=bucket, Key=key)["ETag"]
    s3.delete_object(Bucket=bucket, Key=key)

    assert f'no record could be written to the bucket "{service}"' \
        in nginx.log()
    assert stranger.list_objects_v2(Bucket=service)["KeyCount"] == 0
    stranger.delete_bucket(Bucket=service)

    # and all is well again

    assert s3.put_object(Bucket=bucket, Key=key, Body=other)["ChecksumCRC32"]
    knows(s3, bucket, key, other)
