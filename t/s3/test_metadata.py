"""Metadata that is not ASCII: S3 answers RFC 2047's words."""

import email.header

import pytest

import raw


# what S3 itself has been seen to answer: bytes of a header are Latin-1

WORDS = [
    ("ÄMÄZÕÑ S3".encode(),
     "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="),
    ("café".encode("latin-1"), "=?UTF-8?Q?caf=C3=A9?="),
    (b"=?utf-8?b?Y2Fmw6k=?=", "=?UTF-8?Q?caf=C3=A9?="),
    (b"=?UTF-8?Q?actually-ascii?=", "actually-ascii"),
    (b"=?UTF-8?B?YQ0KSW5qZWN0ZWQ6IHllcw==?=",
     "=?UTF-8?Q?a=0D=0AInjected:_yes?="),
    (b"=?UTF-8?B?AAECAw==?=", "=?UTF-8?B?AAECAw==?="),
]


def words(conn, path, i):
    answer = conn.request("HEAD", path)
    assert answer.status == 200, answer
    assert answer.headers["x-amz-meta-a"] == WORDS[i][1]
    assert "injected" not in answer.headers


@pytest.mark.parametrize("i", range(len(WORDS)))
def test_metadata_beyond_ascii(store, bucket, s3, i):
    """By PutObject, CreateMultipartUpload and CopyObject alike."""

    lines = [("x-amz-meta-a", WORDS[i][0].decode("latin-1"))]

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        answer = conn.request("PUT", path, headers=lines, body=b"")
        assert answer.status == 200, answer
        words(conn, path, i)
        assert conn.request("GET", path).headers["x-amz-meta-a"] \
            == WORDS[i][1]

        # its text is copied, not its words

        s3.copy_object(Bucket=bucket, Key="copy",
                       CopySource={"Bucket": bucket, "Key": "k"})
        words(conn, f"/{bucket}/copy", i)

        answer = conn.request(
            "PUT", path, body=b"",
            headers=[*lines, ("x-amz-copy-source", path),
                     ("x-amz-metadata-directive", "REPLACE")])
        assert answer.status == 200, answer
        words(conn, path, i)

        answer = conn.request("POST", path, "uploads", headers=lines,
                              body=b"")
        assert answer.status == 200, answer
        upload = {"Bucket": bucket, "Key": "k", "UploadId":
                  s3.list_multipart_uploads(Bucket=bucket)
                  ["Uploads"][0]["UploadId"]}
        part = s3.upload_part(PartNumber=1, Body=b"x", **upload)
        s3.complete_multipart_upload(**upload, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        words(conn, path, i)


def test_metadata_beyond_ascii_of_a_presigned_query(store, bucket):
    """It is UTF-8 there."""

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("PUT", conn.host, path, "x-amz-meta-a="
                            + raw.quote("non-ascii-%E2%80%94_—_é_"))
        answer = conn.request("PUT", path, query, body=b"", signed=False)
        assert answer.status == 200, answer
        assert conn.request("HEAD", path).headers["x-amz-meta-a"] \
            == "=?UTF-8?Q?non-ascii-%E2%80%94=5F=E2=80=94=5F=C3=A9=5F?="


def test_metadata_limit_beyond_ascii(store, bucket):
    """The bytes of UTF-8 count, not those of the header."""

    with raw.Connection(store) as conn:
        for n, good in ((1023, True), (1024, False)):
            answer = conn.request("PUT", f"/{bucket}/k", body=b"", headers=[
                ("x-amz-meta-a", "é" * n)])

            if good:
                assert answer.status == 200, answer
                words = conn.request("HEAD", f"/{bucket}/k") \
                    .headers["x-amz-meta-a"]
                assert str(email.header.make_header(
                    email.header.decode_header(words))) == "é" * n
            else:
                answer.is_error(400, "MetadataTooLarge")


def test_content_headers_beyond_ascii(store, bucket):
    """They come back as the bytes that they were."""

    value = 'attachment; filename="grün €"'.encode() \
        .decode("latin-1")

    with raw.Connection(store) as conn:
        answer = conn.request("PUT", f"/{bucket}/k", body=b"", headers=[
            ("Content-Disposition", value), ("Cache-Control", "é"),
            ("Content-Language", "=?UTF-8?Q?de?=")])
        assert answer.status == 200, answer
        headers = conn.request("HEAD", f"/{bucket}/k").headers
        assert headers["content-disposition"] == value
        assert headers["cache-control"] == "é"
        assert headers["content-language"] == "=?UTF-8?Q?de?="


def test_override_in_latin1(store, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    path = f"/{bucket}/k"

    answer = raw.once(store, "GET", path,
                      "response-content-disposition=" + raw.quote("grün"))
    assert answer.status == 200, answer
    assert answer.headers["content-disposition"] == "grün"

    for value in (raw.quote("€"), "%FC"):
        answer = raw.once(store, "GET", path,
                          "response-content-disposition=" + value)
        answer.is_error(400, "InvalidArgument")
        assert answer.element("Message") \
            == "Header value cannot be represented using ISO-8859-1."
        assert answer.element("ArgumentName") \
            == "response-content-disposition"
