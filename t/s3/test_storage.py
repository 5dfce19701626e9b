"""location /storage/: a store below a prefix, which is stripped."""

import io
import urllib.parse

import botocore.config
import pytest

import raw
import s3_server
from checks import MIB, data, fails, read


@pytest.fixture
def below(store, tls):
    return store.client(tls, prefix="/storage")


def test_operations(store, below, bucket, tls):
    """All of it, by the endpoint http://host/storage."""

    plain = store.client(tls)

    assert bucket in [b["Name"] for b in below.list_buckets()["Buckets"]]

    below.create_bucket(Bucket=bucket + "-2")
    assert below.head_bucket(Bucket=bucket + "-2")
    assert below.get_bucket_location(Bucket=bucket)
    below.delete_bucket(Bucket=bucket + "-2")
    assert fails(below.head_bucket, Bucket=bucket + "-2") == (404, "404")

    for key, size in (("a/b c", 10), ("storage/x", 3 * MIB), ("s//", 0)):
        body = data(size)
        below.put_object(Bucket=bucket, Key=key, Body=body)
        assert read(below, bucket, key) == body
        assert read(plain, bucket, key) == body
        assert below.head_object(Bucket=bucket, Key=key)

    page = below.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] \
        == ["a/", "s/", "storage/"]

    assert fails(below.get_object, Bucket=bucket, Key="none") \
        == (404, "NoSuchKey")

    below.delete_object(Bucket=bucket, Key="a/b c")
    assert fails(plain.get_object, Bucket=bucket, Key="a/b c") \
        == (404, "NoSuchKey")


def test_stream(store, bucket):
    client = store.client(tls=True, prefix="/storage")
    client.upload_fileobj(io.BytesIO(data(MIB)), bucket, "k")
    assert read(client, bucket, "k") == data(MIB)


@pytest.mark.parametrize("path", ["/storage", "/storage/"])
def test_its_root(store, path):
    answer = raw.once(store, "GET", path)
    assert answer.status == 200, answer
    assert b"ListAllMyBucketsResult" in answer.body


def test_presigned(store, bucket):
    client = store.client(prefix="/storage", config=botocore.config.Config(
        signature_version="s3v4"))
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = client.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "k"})
    parts = urllib.parse.urlsplit(url)
    assert parts.path == f"/storage/{bucket}/k"

    answer = raw.once(store, "GET", parts.path, parts.query, signed=False)
    assert answer.body == b"x"

    signature = parts.query.rpartition("=")[2]
    assert signature not in "\n".join(store.access_lines())
    assert signature not in store.log()


def test_signed_without_the_prefix(store, bucket):
    """A client before a proxy that adds it: it signs what it sees."""

    with raw.Connection(store) as conn:
        head = conn.head("PUT", f"/{bucket}/k", payload=raw.UNSIGNED,
                         body_headers=[("Content-Length", 1)])
        conn.send(head.replace(f"PUT /{bucket}".encode(),
                               f"PUT /storage/{bucket}".encode(), 1) + b"x")
        assert conn.answer("PUT").status == 200
        assert conn.request("GET", f"/{bucket}/k").body == b"x"


def test_location_of_a_new_bucket(store, bucket):
    """Location names the bucket, as S3 does."""

    with raw.Connection(store) as conn:
        answer = conn.request("PUT", f"/storage/{bucket}-3")
        assert answer.status == 200, answer
        assert answer.headers["location"].endswith(f"/{bucket}-3")
        assert conn.request("DELETE", f"/{bucket}-3").status == 204


def test_log_variables(store, bucket):
    """$s3_* for log formats: what was asked, by whom, how it ended."""

    with raw.Connection(store) as conn:
        conn.request("GET", f"/storage/{bucket}/no%20ne") \
            .is_error(404, "NoSuchKey")
        answer = conn.request("HEAD", f"/{bucket}")

    want = [("404 GetObject ",
             f'"{bucket}" "no ne" "TESTACCESSKEY0000001" "NoSuchKey"'),
            ("200 HeadBucket ", answer.headers["x-amz-request-id"])]

    def logged():
        lines = [line for line in store.access_lines() if bucket in line]
        return all(any(line.startswith(start) and part in line
                       for line in lines) for start, part in want)

    s3_server.wait_for(logged, 5, "not in the log")
