"""Multipart uploads: create, parts, complete, abort, lists, reading parts.

What S3 answers is taken from recordings of it (localstack's tests validated
against AWS) where its manual is silent."""

import base64
import concurrent.futures
import datetime
import hashlib
import threading

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import raw
from checks import MIB, crc, data, fails, md5, read


PART = 5 * MIB
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
NO_UPLOAD = "0" * 32


def create(s3, bucket, key="k", **kwargs):
    return s3.create_multipart_upload(Bucket=bucket, Key=key,
                                      **kwargs)["UploadId"]


def upload(s3, bucket, upload_id, number, body, key="k", **kwargs):
    """As Complete names it, without its checksum."""

    answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id,
                            PartNumber=number, Body=body, **kwargs)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3, bucket, upload_id, parts, key="k", **kwargs):
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id,
        MultipartUpload={"Parts": parts}, **kwargs)


def error(call, *args, **kwargs):
    """Everything that an error says."""

    with pytest.raises(ClientError) as e:
        call(*args, **kwargs)
    return e.value.response


def etag_of(*bodies):
    whole = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in bodies))
    return f'"{whole.hexdigest()}-{len(bodies)}"'


def sha256(body):
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def document(*parts):
    """Complete's, of (number, etag, more XML)."""

    return ("<CompleteMultipartUpload>" + "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag>{more}</Part>"
        for n, etag, more in parts) + "</CompleteMultipartUpload>").encode()


@pytest.fixture(scope="module")
def three():
    """Bodies of three parts: the smallest allowed, one byte more, the rest.
    """

    return [data(PART), data(PART + 1, 1), data(1234, 2)]


# ---- what it is for

def test_three_parts(s3, bucket, three):
    """Out of order, with a gap, and with metadata."""

    meta = {"under_score": "1", "dash-ed": "2"}
    upload_id = create(s3, bucket, ContentType="text/x-test", Metadata=meta,
                       ContentDisposition="inline", CacheControl="no-store")

    parts = [upload(s3, bucket, upload_id, n, three[i])
             for n, i in ((9, 2), (2, 0), (5, 1))]
    parts.sort(key=lambda p: p["PartNumber"])

    # nothing of it is to be seen

    assert fails(s3.head_object, Bucket=bucket, Key="k") == (404, "404")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    answer = complete(s3, bucket, upload_id, parts)

    assert answer["ETag"] == etag_of(*three)
    assert answer["Bucket"] == bucket
    assert answer["Key"] == "k"
    assert answer["Location"].endswith(f"/{bucket}/k")

    whole = b"".join(three)
    got = s3.get_object(Bucket=bucket, Key="k")

    assert got["Body"].read() == whole
    assert got["ETag"] == etag_of(*three)
    assert got["ContentType"] == "text/x-test"
    assert got["ContentDisposition"] == "inline"
    assert got["CacheControl"] == "no-store"
    assert got["Metadata"] == meta

    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(e["Key"], e["Size"], e["ETag"]) for e in listed] \
        == [("k", len(whole), etag_of(*three))]

    # across the borders of parts

    for first, last in ((0, 0), (PART - 1, PART), (PART - 3, 2 * PART + 5),
                        (2 * PART, 2 * PART + 2), (len(whole) - 1, None),
                        (1234567, len(whole) - 1)):
        end = "" if last is None else last
        part = s3.get_object(Bucket=bucket, Key="k",
                             Range=f"bytes={first}-{end}")["Body"].read()
        assert part == whole[first:None if last is None else last + 1]

    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_one_part(s3, bucket):
    """The last part, which may be of any size, empty as well."""

    for body in (b"abc", b"", data(20000)):
        upload_id = create(s3, bucket)
        part = upload(s3, bucket, upload_id, 1, body)
        assert complete(s3, bucket, upload_id, [part])["ETag"] \
            == etag_of(body)
        assert read(s3, bucket, "k") == body


def test_empty_last_part(s3, bucket, three):
    upload_id = create(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, three[0]),
             upload(s3, bucket, upload_id, 2, b"")]
    complete(s3, bucket, upload_id, parts)

    assert read(s3, bucket, "k") == three[0]

    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert got["Body"].read() == b""
    assert got["PartsCount"] == 2


def test_part_uploaded_again(s3, bucket):
    """The last one counts; parts that are not named go."""

    upload_id = create(s3, bucket)
    first = upload(s3, bucket, upload_id, 1, b"first")
    again = upload(s3, bucket, upload_id, 1, b"again")
    upload(s3, bucket, upload_id, 2, b"not named")

    assert fails(complete, s3, bucket, upload_id, [first]) \
        == (400, "InvalidPart")

    complete(s3, bucket, upload_id, [again])
    assert read(s3, bucket, "k") == b"again"


def test_overwrites(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"new")
    assert read(s3, bucket, "k") == b"old"
    complete(s3, bucket, upload_id, [part])
    assert read(s3, bucket, "k") == b"new"

    s3.put_object(Bucket=bucket, Key="k", Body=b"newer")
    assert read(s3, bucket, "k") == b"newer"


@pytest.mark.parametrize("key", ["a//b", "a b+c%41", "ü/€", "./x", "k/"])
def test_keys(s3, bucket, key):
    upload_id = create(s3, bucket, key)
    part = upload(s3, bucket, upload_id, 1, b"x", key)
    answer = complete(s3, bucket, upload_id, [part], key)
    assert answer["Key"] == key
    assert read(s3, bucket, key) == b"x"


def test_location(store, bucket):
    """The object's address, as this request came."""

    client = store.client(prefix="/storage")
    upload_id = create(client, bucket, "ü—x")
    part = upload(client, bucket, upload_id, 1, b"x", "ü—x")
    answer = complete(client, bucket, upload_id, [part], "ü—x")
    assert answer["Location"] == store.endpoint(prefix="/storage") \
        + f"/{bucket}/%C3%BC%E2%80%94x"


def test_etags_with_and_without_quotes(store, s3, bucket):
    upload_id = create(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"abc")

    for etag in (f"&quot;{md5(b'abc')}&quot;", md5(b"abc"),
                 md5(b"abc").upper()):
        answer = raw.once(store, "POST", f"/{bucket}/k",
                          f"uploadId={upload_id}",
                          body=document((1, etag, "")))
        assert answer.status == 200, answer


# ---- repeated, and at once

def test_completed_again(s3, bucket):
    """The same answer; other parts are told nothing."""

    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"abc")

    def answer():
        answer = complete(s3, bucket, upload_id, [part])
        answer.pop("ResponseMetadata")
        return answer

    first = answer()
    assert answer() == first

    s3.delete_object(Bucket=bucket, Key="k")
    assert answer() == first
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    assert fails(complete, s3, bucket, upload_id,
                 [part, {"PartNumber": 2, "ETag": md5(b"")}]) \
        == (404, "NoSuchUpload")
    assert fails(complete, s3, bucket, upload_id,
                 [dict(part, PartNumber=2)]) == (404, "NoSuchUpload")

    # and it is over

    assert fails(upload, s3, bucket, upload_id, 2, b"x") \
        == (404, "NoSuchUpload")
    assert fails(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload_id) \
        == (404, "NoSuchUpload")
    assert fails(s3.abort_multipart_upload, Bucket=bucket, Key="k",
                 UploadId=upload_id) == (404, "NoSuchUpload")


def test_completed_at_once(store, bucket):
    """Both get 200 and the same entity tag."""

    client = store.client()

    for i in range(10):
        upload_id = create(client, bucket)
        body = f"round {i}".encode()
        part = upload(client, bucket, upload_id, 1, body)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(
                lambda _: complete(client, bucket, upload_id, [part]),
                range(8)))

        assert {a["ETag"] for a in answers} == {etag_of(body)}
        assert read(client, bucket, "k") == body


def test_uploaded_again_while_completing(store, bucket):
    """Each Complete takes a part whole, as it was named, or refuses it."""

    client = store.client()
    bodies = [data(30000, i) for i in range(4)]

    for _ in range(6):
        upload_id = create(client, bucket)
        upload(client, bucket, upload_id, 1, bodies[0])
        stop = threading.Event()

        def again(body):
            while not stop.is_set():
                try:
                    upload(client, bucket, upload_id, 1, body)
                except ClientError as e:
                    assert e.response["Error"]["Code"] == "NoSuchUpload"
                    return

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(again, b) for b in bodies[1:]]

            try:
                for _ in range(200):
                    try:
                        etag = complete(client, bucket, upload_id,
                                        [{"PartNumber": 1,
                                          "ETag": md5(bodies[1])}])["ETag"]
                        break
                    except ClientError as e:
                        assert e.response["Error"]["Code"] in (
                            "InvalidPart", "ConditionalRequestConflict")
                else:
                    etag = None
            finally:
                stop.set()

            for w in writers:
                w.result()

        if etag:
            assert etag == etag_of(bodies[1])
            assert read(client, bucket, "k") == bodies[1]
        else:
            client.abort_multipart_upload(Bucket=bucket, Key="k",
                                          UploadId=upload_id)


def test_aborted_while_uploading(store, s3, bucket):
    """A part whose body is still on its way when its upload goes."""

    upload_id = create(s3, bucket)
    body = data(MIB)

    with raw.Connection(store) as conn:
        conn.send(conn.head("PUT", f"/{bucket}/k",
                            f"partNumber=1&uploadId={upload_id}",
                            body_headers=[("Content-Length", len(body))]))
        conn.send(body[:MIB // 2])

        # it is under way when its first bytes lie in tmp/, or are taken

        s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)

        conn.send(body[MIB // 2:])
        conn.answer("PUT").is_error(404, "NoSuchUpload")
        assert conn.serves()

    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_told_before_the_body(store, bucket):
    """An upload that is not there: no byte of the body is asked for."""

    with raw.Connection(store) as conn:
        conn.send(conn.head("PUT", f"/{bucket}/k",
                            f"partNumber=1&uploadId={NO_UPLOAD}",
                            body_headers=[("Content-Length", 100 * MIB),
                                          ("Expect", "100-continue")]))
        conn.answer("PUT").is_error(404, "NoSuchUpload")


# ---- uploads that are not there

@pytest.mark.parametrize("upload_id", [NO_UPLOAD, "fakeid", "x" * 2000,
                                       "../../etc", "%00"])
def test_no_such_upload(s3, bucket, upload_id):
    calls = [
        lambda: upload(s3, bucket, upload_id, 1, b"x"),
        lambda: complete(s3, bucket, upload_id,
                         [{"PartNumber": 1, "ETag": md5(b"")}]),
        lambda: s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id),
        lambda: s3.abort_multipart_upload(Bucket=bucket, Key="k",
                                          UploadId=upload_id)]

    for call in calls:
        answer = error(call)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert answer["Error"]["Code"] == "NoSuchUpload"
        assert answer["Error"]["UploadId"] == upload_id


def test_of_another_key_or_bucket(s3, bucket):
    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"x")
    other = bucket + "-2"
    s3.create_bucket(Bucket=other)

    try:
        for b, k in ((bucket, "other"), (other, "k")):
            assert fails(upload, s3, b, upload_id, 1, b"x", k) \
                == (404, "NoSuchUpload")
            assert fails(complete, s3, b, upload_id, [part], k) \
                == (404, "NoSuchUpload")
            assert fails(s3.list_parts, Bucket=b, Key=k,
                         UploadId=upload_id) == (404, "NoSuchUpload")
            assert fails(s3.abort_multipart_upload, Bucket=b, Key=k,
                         UploadId=upload_id) == (404, "NoSuchUpload")
    finally:
        s3.delete_bucket(Bucket=other)

    complete(s3, bucket, upload_id, [part])


def test_no_such_bucket(s3, bucket):
    b = bucket + "-none"
    told = (404, "NoSuchBucket")
    part = {"PartNumber": 1, "ETag": md5(b"")}

    assert fails(create, s3, b) == told
    assert fails(upload, s3, b, NO_UPLOAD, 1, b"x") == told
    assert fails(complete, s3, b, NO_UPLOAD, [part]) == told
    assert fails(s3.list_parts, Bucket=b, Key="k", UploadId=NO_UPLOAD) \
        == told
    assert fails(s3.list_multipart_uploads, Bucket=b) == told
    assert fails(s3.abort_multipart_upload, Bucket=b, Key="k",
                 UploadId=NO_UPLOAD) == told


def test_abort(s3, bucket):
    upload_id = create(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")

    answer = s3.abort_multipart_upload(Bucket=bucket, Key="k",
                                       UploadId=upload_id)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204

    assert fails(s3.abort_multipart_upload, Bucket=bucket, Key="k",
                 UploadId=upload_id) == (404, "NoSuchUpload")
    assert fails(upload, s3, bucket, upload_id, 1, b"x") \
        == (404, "NoSuchUpload")
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_uploads_do_not_keep_a_bucket(s3, bucket):
    name = bucket + "-3"
    s3.create_bucket(Bucket=name)
    upload_id = create(s3, name)
    s3.delete_bucket(Bucket=name)

    s3.create_bucket(Bucket=name)
    assert s3.list_multipart_uploads(Bucket=name).get("Uploads", []) == []
    assert fails(upload, s3, name, upload_id, 1, b"x") \
        == (404, "NoSuchUpload")
    s3.delete_bucket(Bucket=name)


# ---- parts

@pytest.mark.parametrize("number", ["0", "-1", "10001", "x", "",
                                    "99999999999999999999"])
def test_part_number(store, s3, bucket, number):
    upload_id = create(s3, bucket)

    answer = raw.once(store, "PUT", f"/{bucket}/k",
                      f"partNumber={number}&uploadId={upload_id}", body=b"x")
    answer.is_error(400, "InvalidArgument")
    assert answer.element("ArgumentName") == "partNumber"
    assert answer.element("Message") == \
        "Part number must be an integer between 1 and 10000, inclusive"


def test_highest_part_number(s3, bucket):
    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 10000, b"x")
    complete(s3, bucket, upload_id, [part])
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=10000)
    assert got["Body"].read() == b"x"


def test_part_number_without_upload(store, s3, bucket):
    raw.once(store, "PUT", f"/{bucket}/k", "partNumber=1", body=b"x") \
        .is_error(400, "InvalidArgument")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_part_that_is_not_what_it_says(store, s3, bucket):
    upload_id = create(s3, bucket)
    query = f"partNumber=1&uploadId={upload_id}"
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()

    with raw.Connection(store) as conn:
        for headers, told in (
                ([("Content-MD5", wrong)], "BadDigest"),
                ([("Content-MD5", "x")], "InvalidDigest"),
                ([("x-amz-checksum-crc32", crc(b"other"))], "BadDigest"),
                ([("x-amz-checksum-crc32", "x")], "InvalidRequest"),
                ([("x-amz-checksum-crc32", crc(b"abc")),
                  ("x-amz-checksum-sha256", sha256(b"abc"))],
                 "InvalidRequest")):
            conn.request("PUT", f"/{bucket}/k", query, headers=headers,
                         body=b"abc").is_error(400, told)
            assert conn.serves()

        conn.request("PUT", f"/{bucket}/k", query, body=b"abc",
                     payload=hashlib.sha256(b"other").hexdigest()) \
            .is_error(400, "XAmzContentSHA256Mismatch")

    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k",
                                        UploadId=upload_id)


def test_part_too_large(store, s3, bucket):
    upload_id = create(s3, bucket)

    with raw.Connection(store) as conn:
        conn.send(conn.head("PUT", f"/{bucket}/k",
                            f"partNumber=1&uploadId={upload_id}",
                            body_headers=[("Content-Length",
                                           5 * 1024 * MIB + 1)]))
        conn.answer("PUT").is_error(400, "EntityTooLarge")


def test_checksum_in_a_trailer(store, s3, bucket):
    upload_id = create(s3, bucket, ChecksumAlgorithm="CRC32")

    with raw.Connection(store) as conn:
        body = raw.aws_chunked(b"abc")
        answer = conn.request(
            "PUT", f"/{bucket}/k", f"partNumber=1&uploadId={upload_id}",
            headers=[("x-amz-trailer", "x-amz-checksum-crc32"),
                     ("x-amz-decoded-content-length", "3"),
                     ("Content-Encoding", "aws-chunked")],
            payload=raw.TRAILER, body=body)
        assert answer.status == 200, answer
        assert answer.headers["x-amz-checksum-crc32"] == crc(b"abc")
        assert "x-amz-checksum-type" not in answer.headers

    part = {"PartNumber": 1, "ETag": md5(b"abc"),
            "ChecksumCRC32": crc(b"abc")}
    complete(s3, bucket, upload_id, [part])
    assert read(s3, bucket, "k") == b"abc"


# ---- Complete's refusals

def test_bad_parts(s3, bucket):
    """InvalidPart and what it says about the part."""

    upload_id = create(s3, bucket)
    good = upload(s3, bucket, upload_id, 1, b"x")

    for part, number, etag in (
            ({"PartNumber": 2, "ETag": good["ETag"]}, "2", md5(b"x")),
            ({"PartNumber": 1, "ETag": md5(b"y")}, "1", md5(b"y")),
            ({"PartNumber": 1, "ETag": "nonsense"}, "1", "nonsense"),
            ({"PartNumber": 1, "ETag": md5(b"x") + "-1"}, "1",
             md5(b"x") + "-1"),
            ({"PartNumber": 10001, "ETag": md5(b"y")}, "10001", md5(b"y"))):
        answer = error(complete, s3, bucket, upload_id, [part])
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert answer["Error"]["Code"] == "InvalidPart"
        assert answer["Error"]["PartNumber"] == number
        assert answer["Error"]["ETag"] == etag
        assert answer["Error"]["UploadId"] == upload_id

    complete(s3, bucket, upload_id, [good])


def test_order(s3, bucket):
    upload_id = create(s3, bucket)
    parts = [upload(s3, bucket, upload_id, n, b"x") for n in (1, 2)]

    for order in (parts[::-1], [parts[0], parts[0]]):
        answer = error(complete, s3, bucket, upload_id, order)
        assert answer["Error"]["Code"] == "InvalidPartOrder"
        assert answer["Error"]["UploadId"] == upload_id


def test_too_small(s3, bucket, three):
    upload_id = create(s3, bucket)
    parts = [upload(s3, bucket, upload_id, 1, three[0]),
             upload(s3, bucket, upload_id, 2, three[0][:-1]),
             upload(s3, bucket, upload_id, 3, b"x")]

    answer = error(complete, s3, bucket, upload_id, parts)["Error"]
    assert answer["Code"] == "EntityTooSmall"
    assert answer["PartNumber"] == "2"
    assert answer["ProposedSize"] == str(PART - 1)
    assert answer["MinSizeAllowed"] == str(PART)
    assert answer["ETag"] == md5(three[0][:-1])

    # the upload is as it was

    complete(s3, bucket, upload_id, parts[:2])
    assert read(s3, bucket, "k") == three[0] + three[0][:-1]


@pytest.mark.parametrize("body,code", [
    (b"", "InvalidRequest"),
    (b"<CompleteMultipartUpload/>", "MalformedXML"),
    (b"<CompleteMultipartUpload>", "MalformedXML"),
    (b"nonsense", "MalformedXML"),
    (b"<Other><Part/></Other>", "MalformedXML"),
    (b"<CompleteMultipartUpload><Part><ETag>x</ETag></Part>"
     b"</CompleteMultipartUpload>", "MalformedXML"),
    (b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part>"
     b"</CompleteMultipartUpload>", "MalformedXML"),
    (b'<!DOCTYPE x [<!ENTITY a "b">]><CompleteMultipartUpload/>',
     "MalformedXML"),
    (document(("x", "x", "")), "MalformedXML"),
    (document((0, "x", "")), "InvalidArgument"),
    (document((-4, "x", "")), "InvalidArgument"),
    (document((1, "x", "<ChecksumCRC32>x</ChecksumCRC32>")),
     "InvalidArgument"),
    (document((1, "x", "<ChecksumCRC32>NSRBwg==</ChecksumCRC32>"
               "<ChecksumCRC32C>Nks/tw==</ChecksumCRC32C>")),
     "InvalidArgument"),
])
def test_malformed(store, s3, bucket, body, code):
    upload_id = create(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")

    with raw.Connection(store) as conn:
        conn.request("POST", f"/{bucket}/k", f"uploadId={upload_id}",
                     body=body).is_error(400, code)
        assert conn.serves()

    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_document_too_large(store, s3, bucket):
    upload_id = create(s3, bucket)

    with raw.Connection(store) as conn:
        conn.send(conn.head("POST", f"/{bucket}/k", f"uploadId={upload_id}",
                            body_headers=[("Content-Length", 9 * MIB)]))
        conn.answer("POST").is_error(400, "MaxMessageLengthExceeded")


def test_document_with_md5(store, s3, bucket):
    """Content-MD5 is the document's; x-amz-checksum-* are the object's."""

    upload_id = create(s3, bucket)
    upload(s3, bucket, upload_id, 1, b"x")
    body = document((1, md5(b"x"), ""))
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    right = base64.b64encode(hashlib.md5(body).digest()).decode()

    for value, status in ((wrong, 400), (right, 200)):
        answer = raw.once(store, "POST", f"/{bucket}/k",
                          f"uploadId={upload_id}", body=body,
                          headers=[("Content-MD5", value)])
        assert answer.status == status, answer


def test_size(s3, bucket):
    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"aaaa")

    answer = error(complete, s3, bucket, upload_id, [part],
                   MpuObjectSize=5)["Error"]
    assert answer["Code"] == "InvalidRequest"
    assert answer["Message"] == ("The provided 'x-amz-mp-object-size' header "
                                 "value 5 does not match what was computed: "
                                 "4")
    assert fails(complete, s3, bucket, upload_id, [part], MpuObjectSize=-1) \
        == (400, "InvalidRequest")

    complete(s3, bucket, upload_id, [part], MpuObjectSize=4)


def test_10000_parts(store, bucket):
    """As many as there may be.  Of the smallest size that Complete takes they
    would be 50 GB, so these are of one byte: Complete judges all of them, and
    then refuses the first for its size."""

    client = store.client()
    upload_id = create(client, bucket)
    body = b"x"

    def put(numbers):
        with raw.Connection(store) as conn:
            for n in numbers:
                answer = conn.request(
                    "PUT", f"/{bucket}/k",
                    f"partNumber={n}&uploadId={upload_id}", body=body,
                    payload=raw.UNSIGNED)
                assert answer.status == 200, answer

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(put, [range(1 + i, 10001, 32) for i in range(32)]))

    parts = [{"PartNumber": n, "ETag": f'"{md5(body)}"'}
             for n in range(1, 10001)]

    answer = error(complete, client, bucket, upload_id, parts)["Error"]
    assert answer["Code"] == "EntityTooSmall"
    assert answer["PartNumber"] == "1"

    pages = client.get_paginator("list_parts").paginate(
        Bucket=bucket, Key="k", UploadId=upload_id)
    numbers = [p["PartNumber"] for page in pages for p in page["Parts"]]
    assert numbers == list(range(1, 10001))

    # one part that is not there, the last of all

    parts[-1] = dict(parts[-1], ETag=md5(b"y"))
    answer = error(complete, client, bucket, upload_id, parts)["Error"]
    assert answer["Code"] == "InvalidPart"
    assert answer["PartNumber"] == "10000"

    client.abort_multipart_upload(Bucket=bucket, Key="k",
                                  UploadId=upload_id)


# ---- conditions

def test_if_none_match(s3, bucket):
    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"new")
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")

    answer = error(complete, s3, bucket, upload_id, [part], IfNoneMatch="*")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert answer["Error"]["Code"] == "PreconditionFailed"
    assert read(s3, bucket, "k") == b"old"

    s3.delete_object(Bucket=bucket, Key="k")
    complete(s3, bucket, upload_id, [part], IfNoneMatch="*")
    assert read(s3, bucket, "k") == b"new"

    # by then it is there, but this is the answer to who made it

    complete(s3, bucket, upload_id, [part], IfNoneMatch="*")


def test_if_match(s3, bucket):
    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"new")

    assert fails(complete, s3, bucket, upload_id, [part],
                 IfMatch=md5(b"old")) == (404, "NoSuchKey")

    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    assert fails(complete, s3, bucket, upload_id, [part],
                 IfMatch=md5(b"other")) == (412, "PreconditionFailed")
    assert read(s3, bucket, "k") == b"old"

    etag = complete(s3, bucket, upload_id, [part],
                    IfMatch=md5(b"old"))["ETag"]

    # an entity tag of parts

    upload_id = create(s3, bucket)
    part = upload(s3, bucket, upload_id, 1, b"newer")
    assert fails(complete, s3, bucket, upload_id, [part],
                 IfMatch=etag.replace("-1", "-2")) \
        == (412, "PreconditionFailed")
    complete(s3, bucket, upload_id, [part], IfMatch=etag)
    assert read(s3, bucket, "k") == b"newer"


def test_one_of_many_completes(store, bucket):
    """If-None-Match: * of many uploads of a key: one wins."""

    client = store.client()
    uploads = [(i, create(client, bucket)) for i in range(16)]
    parts = {i: upload(client, bucket, u, 1, str(i).encode())
             for i, u in uploads}

    def one(job):
        i, upload_id = job
        try:
            complete(client, bucket, upload_id, [parts[i]], IfNoneMatch="*")
            return i
        except ClientError as e:
            assert e.response["Error"]["Code"] == "PreconditionFailed"

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        won = [i for i in pool.map(one, uploads) if i is not None]

    assert len(won) == 1
    assert read(client, bucket, "k") == str(won[0]).encode()


# ---- lists

def test_list_parts(s3, bucket):
    upload_id = create(s3, bucket)

    empty = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert "Parts" not in empty
    assert empty["NextPartNumberMarker"] == 0
    assert empty["MaxParts"] == 1000
    assert empty["IsTruncated"] is False
    assert empty["StorageClass"] == "STANDARD"
    assert empty["Owner"]["ID"] == empty["Initiator"]["ID"]

    for n in (7, 1, 3):
        upload(s3, bucket, upload_id, n, bytes(n))

    def page(**kwargs):
        page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id,
                             **kwargs)
        return ([(p["PartNumber"], p["Size"], p["ETag"].strip('"'))
                 for p in page.get("Parts", [])],
                page["NextPartNumberMarker"], page["IsTruncated"])

    rows = [(n, n, md5(bytes(n))) for n in (1, 3, 7)]

    assert page() == (rows, 7, False)
    assert page(MaxParts=3) == (rows, 7, False)
    assert page(MaxParts=2) == (rows[:2], 3, True)
    assert page(MaxParts=2, PartNumberMarker=3) == (rows[2:], 7, False)
    assert page(PartNumberMarker=2) == (rows[1:], 7, False)
    assert page(PartNumberMarker=20000) == ([], 0, False)

    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id,
                           MaxParts=5000)
    assert listed["MaxParts"] == 1000

    age = (datetime.datetime.now(datetime.timezone.utc)
           - listed["Parts"][0]["LastModified"])
    assert abs(age.total_seconds()) < 600


@pytest.mark.parametrize("query", ["max-parts=-3", "max-parts=x",
                                   "max-parts=2147483648",
                                   "part-number-marker=-1",
                                   "part-number-marker=x",
                                   "encoding-type=base64"])
def test_list_parts_arguments(store, s3, bucket, query):
    upload_id = create(s3, bucket)
    answer = raw.once(store, "GET", f"/{bucket}/k",
                      f"{query}&uploadId={upload_id}")
    answer.is_error(400, "InvalidArgument")
    assert answer.element("ArgumentName") == query.partition("=")[0]


def test_list_parts_empty_arguments(store, s3, bucket):
    upload_id = create(s3, bucket)
    answer = raw.once(store, "GET", f"/{bucket}/k",
                      "max-parts=&part-number-marker="
                      f"&uploadId={upload_id}")
    assert answer.status == 200
    assert answer.xml.findtext(NS + "MaxParts") == "1000"


def test_list_uploads(s3, bucket):
    """Order of keys, then of their beginning; pages."""

    empty = s3.list_multipart_uploads(Bucket=bucket)
    assert empty.get("Uploads", []) == []
    assert empty["NextKeyMarker"] == empty["NextUploadIdMarker"] == ""
    assert empty["MaxUploads"] == 1000

    ids = {}
    for key in ("c", "b", "a", "a", "a"):
        ids.setdefault(key, []).append(create(s3, bucket, key))

    want = [(k, u) for k in sorted(ids) for u in sorted(ids[k])]

    def listed(page):
        return [(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])]

    whole = s3.list_multipart_uploads(Bucket=bucket)
    assert listed(whole) == want
    assert whole["NextKeyMarker"] == "c"
    assert whole["NextUploadIdMarker"] == ids["c"][0]
    assert whole["Uploads"][0]["StorageClass"] == "STANDARD"
    assert whole["Uploads"][0]["Initiator"]["ID"]
    assert "ChecksumAlgorithm" not in whole["Uploads"][0]

    # a key marker alone is past all uploads of it

    assert listed(s3.list_multipart_uploads(Bucket=bucket, KeyMarker="a")) \
        == want[3:]
    assert listed(s3.list_multipart_uploads(Bucket=bucket, KeyMarker="c")) \
        == []
    assert listed(s3.list_multipart_uploads(
        Bucket=bucket, KeyMarker="a", UploadIdMarker=want[0][1])) == want[1:]

    # without a key it says nothing

    assert listed(s3.list_multipart_uploads(
        Bucket=bucket, UploadIdMarker=want[3][1])) == want

    for size in (1, 2, 3):
        pages = list(s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}))
        assert [u for p in pages for u in listed(p)] == want
        assert all(len(p["Uploads"]) == size for p in pages[:-1])

    assert fails(s3.list_multipart_uploads, Bucket=bucket, KeyMarker="a",
                 UploadIdMarker="nonsense") == (400, "InvalidArgument")
    assert fails(s3.list_multipart_uploads, Bucket=bucket, MaxUploads=-3) \
        == (400, "InvalidArgument")
    assert fails(s3.list_multipart_uploads, Bucket=bucket,
                 EncodingType="base64") == (400, "InvalidArgument")
    assert fails(s3.list_multipart_uploads, Bucket=bucket,
                 Prefix="p" * 1025) == (400, "KeyTooLongError")


def test_list_uploads_by_prefix(store, s3, bucket):
    for key in ("folder/aSub/1", "folder/aSub/2", "folder/file1",
                "folder/file2", "other", "ü/x"):
        create(s3, bucket, key)

    page = s3.list_multipart_uploads(Bucket=bucket, Prefix="folder/",
                                     Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["folder/aSub/"]
    assert [u["Key"] for u in page["Uploads"]] == ["folder/file1",
                                                   "folder/file2"]
    assert page["Prefix"] == "folder/"
    assert page["Delimiter"] == "/"

    # page by page, past a common prefix as well

    found, key, upload_id = [], "", ""

    while True:
        page = s3.list_multipart_uploads(
            Bucket=bucket, Prefix="folder/", Delimiter="/", MaxUploads=1,
            KeyMarker=key, UploadIdMarker=upload_id)
        found += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        found += [u["Key"] for u in page.get("Uploads", [])]
        if not page["IsTruncated"]:
            break
        key, upload_id = page["NextKeyMarker"], page["NextUploadIdMarker"]

    assert found == ["folder/aSub/", "folder/file1", "folder/file2"]

    answer = raw.once(store, "GET", f"/{bucket}",
                      "encoding-type=url&prefix=%C3%BC&uploads")
    assert answer.xml.findtext(NS + "Prefix") == "%C3%BC"
    assert answer.xml.findtext(f"{NS}Upload/{NS}Key") == "%C3%BC/x"


# ---- reading parts

def test_get_a_part(store, s3, bucket, three):
    upload_id = create(s3, bucket)
    parts = [upload(s3, bucket, upload_id, n + 1, b)
             for n, b in enumerate(three)]
    complete(s3, bucket, upload_id, parts)
    whole = sum(map(len, three))
    at = 0

    for n, body in enumerate(three):
        for call in (s3.get_object, s3.head_object):
            answer = call(Bucket=bucket, Key="k", PartNumber=n + 1)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            assert answer["PartsCount"] == 3
            assert answer["ContentLength"] == len(body)
            assert answer["ETag"] == etag_of(*three)

            if call == s3.get_object:
                assert answer["Body"].read() == body

        answer = raw.once(store, "HEAD", f"/{bucket}/k",
                          f"partNumber={n + 1}")
        assert answer.headers["content-range"] \
            == f"bytes {at}-{at + len(body) - 1}/{whole}"
        at += len(body)

    answer = error(s3.get_object, Bucket=bucket, Key="k", PartNumber=4)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 416
    assert answer["Error"]["Code"] == "InvalidPartNumber"
    assert answer["Error"]["ActualPartCount"] == "3"
    assert answer["Error"]["PartNumberRequested"] == "4"

    answer = error(s3.get_object, Bucket=bucket, Key="k", PartNumber=1,
                   Range="bytes=0-8")["Error"]
    assert answer["Code"] == "InvalidRequest"
    assert answer["Message"] == ("Cannot specify both Range header and "
                                 "partNumber query parameter")

    assert fails(s3.get_object, Bucket=bucket, Key="k", PartNumber=0) \
        == (400, "InvalidArgument")
    assert fails(s3.get_object, Bucket=bucket, Key="none", PartNumber=1) \
        == (404, "NoSuchKey")
    assert fails(s3.get_object, Bucket=bucket, Key="k", PartNumber=1,
                 IfMatch=md5(b"")) == (412, "PreconditionFailed")

    # the whole object does not say how many

    assert "PartsCount" not in s3.head_object(Bucket=bucket, Key="k")


def test_part_of_an_object_without(s3, bucket):
    """It is its own part 1."""

    for body in (b"test-123", data(300000)):
        s3.put_object(Bucket=bucket, Key="k", Body=body)
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=1,
                            ChecksumMode="ENABLED")
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes 0-{len(body) - 1}/{len(body)}"
        assert got["ChecksumCRC32"] == crc(body)
        assert "PartsCount" not in got
        assert got["Body"].read() == body

        answer = error(s3.head_object, Bucket=bucket, Key="k", PartNumber=2)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 416

        answer = error(s3.get_object, Bucket=bucket, Key="k", PartNumber=2)
        assert answer["Error"]["Code"] == "InvalidPartNumber"
        assert answer["Error"]["ActualPartCount"] == "1"

    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert read(s3, bucket, "k", PartNumber=1) == b""


def test_part_of_what_is_overwritten(store, bucket):
    """A part is of the object that is named with it, never of another."""

    client = store.client()
    stop = threading.Event()
    bodies = {b: data(20000, b) for b in range(3)}
    etags = {etag_of(b): b for b in bodies.values()}
    etags |= {f'"{md5(b)}"': b for b in bodies.values()}

    def write(n):
        while not stop.is_set():
            if n:
                upload_id = create(client, bucket)
                part = upload(client, bucket, upload_id, 1, bodies[n])
                complete(client, bucket, upload_id, [part])
            else:
                client.put_object(Bucket=bucket, Key="k", Body=bodies[n])

    client.put_object(Bucket=bucket, Key="k", Body=bodies[0])

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, n) for n in bodies]

        try:
            for _ in range(150):
                got = client.get_object(Bucket=bucket, Key="k", PartNumber=1)
                assert got["Body"].read() == etags[got["ETag"]]
        finally:
            stop.set()

        for w in writers:
            w.result()


# ---- GetObjectAttributes

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def test_attributes(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")

    got = s3.get_object_attributes(Bucket=bucket, Key="k",
                                   ObjectAttributes=ALL)
    got.pop("ResponseMetadata")
    assert abs((datetime.datetime.now(datetime.timezone.utc)
                - got.pop("LastModified")).total_seconds()) < 600
    assert got == {"ETag": md5(b"abc"), "ObjectSize": 3,
                   "StorageClass": "STANDARD",
                   "Checksum": {"ChecksumCRC32": crc(b"abc"),
                                "ChecksumType": "FULL_OBJECT"}}

    got = s3.get_object_attributes(Bucket=bucket, Key="k",
                                   ObjectAttributes=["ObjectSize"])
    assert got["ObjectSize"] == 3
    assert "ETag" not in got and "Checksum" not in got

    assert fails(s3.get_object_attributes, Bucket=bucket, Key="none",
                 ObjectAttributes=ALL) == (404, "NoSuchKey")
    assert fails(s3.get_object_attributes, Bucket=bucket + "-none", Key="k",
                 ObjectAttributes=ALL) == (404, "NoSuchBucket")


def test_attributes_header(store, s3, bucket):
    """JS puts blanks after the commas."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")

    def ask(*values):
        return raw.once(store, "GET", f"/{bucket}/k", "attributes",
                        headers=[("x-amz-object-attributes", v)
                                 for v in values])

    for values in (("ETag, ObjectSize",), ("ETag,ObjectSize",),
                   ("ETag", "ObjectSize")):
        answer = ask(*values)
        assert answer.status == 200, answer
        assert [e.tag for e in answer.xml] == [NS + "ETag",
                                               NS + "ObjectSize"]
        assert answer.headers["last-modified"]

    answer = ask("ETag,Invalid_argument").is_error(400, "InvalidArgument")
    assert answer.element("ArgumentName") == "x-amz-object-attributes"
    assert answer.element("ArgumentValue") == "Invalid_argument"

    ask().is_error(400, "InvalidRequest")
    ask("").is_error(400, "InvalidRequest")

    for name in ("x-amz-max-parts", "x-amz-part-number-marker"):
        raw.once(store, "GET", f"/{bucket}/k", "attributes",
                 headers=[("x-amz-object-attributes", "ObjectParts"),
                          (name, "-1")]).is_error(400, "InvalidArgument")

    raw.once(store, "GET", f"/{bucket}/k", "attributes",
             headers=[("x-amz-object-attributes", "ETag"),
                      ("If-Match", '"x"')]) \
        .is_error(412, "PreconditionFailed")


def test_attributes_of_parts(s3, bucket, three):
    """S3 lists parts for COMPOSITE checksums alone."""

    for algorithm, listed in (("SHA256", True), ("CRC32", True),
                              ("CRC64NVME", False), (None, False)):
        kwargs = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        name = f"Checksum{algorithm}"
        upload_id = create(s3, bucket, **kwargs)
        parts = []

        for n, body in enumerate(three):
            answer = s3.upload_part(Bucket=bucket, Key="k", Body=body,
                                    UploadId=upload_id, PartNumber=n + 1,
                                    **kwargs)
            parts.append({"PartNumber": n + 1, "ETag": answer["ETag"]})
            if algorithm:
                parts[n][name] = answer[name]

        complete(s3, bucket, upload_id, parts)

        got = s3.get_object_attributes(Bucket=bucket, Key="k",
                                       ObjectAttributes=ALL)
        assert got["ETag"] == etag_of(*three).strip('"')
        assert got["ObjectSize"] == sum(map(len, three))
        assert got["ObjectParts"]["TotalPartsCount"] == 3

        if not listed:
            assert got["ObjectParts"] == {"TotalPartsCount": 3}
            assert got["Checksum"]["ChecksumType"] == "FULL_OBJECT"
            continue

        assert got["Checksum"]["ChecksumType"] == "COMPOSITE"
        assert "-" not in got["Checksum"][name]

        rows = [{"PartNumber": p["PartNumber"], "Size": len(b),
                 name: p[name]} for p, b in zip(parts, three)]
        assert got["ObjectParts"]["Parts"] == rows
        assert got["ObjectParts"]["NextPartNumberMarker"] == 3

        got = s3.get_object_attributes(
            Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"],
            MaxParts=1, PartNumberMarker=1)["ObjectParts"]
        assert got == {"TotalPartsCount": 3, "PartNumberMarker": 1,
                       "NextPartNumberMarker": 2, "MaxParts": 1,
                       "IsTruncated": True, "Parts": rows[1:2]}


# ---- what boto3 does by itself

def test_upload_file(store, bucket, tls, tmp_path):
    """s3transfer's defaults: parts of 8 MiB, 10 at a time, CRC32."""

    client = store.client(tls)
    body = data(27 * MIB + 5)
    (tmp_path / "up").write_bytes(body)

    client.upload_file(str(tmp_path / "up"), bucket, "k")

    head = client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ETag"].endswith('-4"')
    assert head["ChecksumCRC32"].endswith("-4")
    assert head["ChecksumType"] == "COMPOSITE"

    client.download_file(bucket, "k", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == body


def test_upload_without_checksums(store, bucket):
    """SDKs of before 2025, and those told so."""

    client = store.client(config=Config(
        request_checksum_calculation="when_required"))
    body = data(11 * MIB)
    upload_id = create(client, bucket)
    parts = [upload(client, bucket, upload_id, n, body[at:at + 6 * MIB])
             for n, at in ((1, 0), (2, 6 * MIB))]

    answer = client.upload_part(Bucket=bucket, Key="k", UploadId=upload_id,
                                PartNumber=2, Body=body[6 * MIB:])
    assert not [k for k in answer if k.startswith("Checksum")]

    answer = complete(client, bucket, upload_id, parts)
    assert answer["ChecksumType"] == "FULL_OBJECT"
    assert answer["ChecksumCRC64NVME"]
    assert read(client, bucket, "k") == body
