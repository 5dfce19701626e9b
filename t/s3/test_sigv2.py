"""Signature Version 2: in the header, and in URLs that SDKs presign so."""

import hashlib
import urllib.parse

import botocore.config
import pytest

import raw
import s3_server
from checks import data, fails, read


V2 = botocore.config.Config(signature_version="s3")


@pytest.fixture
def v2(store):
    return store.client(config=V2)


@pytest.fixture
def key(s3, bucket):
    """Path of an object that every refusal must leave alone."""

    s3.put_object(Bucket=bucket, Key="dir/a b+c", Body=b"old")
    yield f"/{bucket}/dir/a%20b%2Bc"
    assert read(s3, bucket, "dir/a b+c") == b"old"


def split(url):
    parts = urllib.parse.urlsplit(url)
    return parts.path, parts.query


# ---- boto3

@pytest.mark.parametrize("prefix", ["", "/storage"])
def test_boto3(store, bucket, tls, prefix):
    client = store.client(tls, prefix, config=V2)
    body = data(100_000)

    assert bucket in [b["Name"] for b in client.list_buckets()["Buckets"]]

    client.put_object(Bucket=bucket, Key="ä/b c+d", Body=body,
                      ContentType="text/x", Metadata={"a": "1", "b": "2"})
    answer = client.get_object(Bucket=bucket, Key="ä/b c+d")
    assert answer["Body"].read() == body
    assert answer["ContentType"] == "text/x"
    assert answer["Metadata"] == {"a": "1", "b": "2"}

    answer = client.get_object(Bucket=bucket, Key="ä/b c+d",
                               ResponseContentType="a/b; c=\"d e\"")
    assert answer["ContentType"] == "a/b; c=\"d e\""

    page = client.list_objects_v2(Bucket=bucket, Prefix="ä/", Delimiter="/")
    assert [o["Key"] for o in page["Contents"]] == ["ä/b c+d"]
    assert client.get_bucket_location(Bucket=bucket)

    client.delete_object(Bucket=bucket, Key="ä/b c+d")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_boto3_sees_the_codes(store, bucket):
    def client(**kwargs):
        return store.client(config=V2, **kwargs)

    assert fails(client(access_key="NOBODY").list_buckets) \
        == (403, "InvalidAccessKeyId")
    assert fails(client(secret_key="wrong").list_buckets) \
        == (403, "SignatureDoesNotMatch")


def test_presigned_by_boto3(store, bucket, s3, v2):
    """What botocore does unless it is told otherwise."""

    body = data(100_000)

    url = s3.generate_presigned_url("put_object", Params={
        "Bucket": bucket, "Key": "a b", "ContentType": "text/x"})
    assert "AWSAccessKeyId=" in url

    # the header is signed, its copy in the query is not

    for more in [], [("Content-Type", "text/y")]:
        raw.once(store, "PUT", *split(url), body=body, signed=False,
                 headers=more).is_error(403, "SignatureDoesNotMatch")

    answer = raw.once(store, "PUT", *split(url), body=body, signed=False,
                      headers=[("Content-Type", "text/x")])
    assert answer.status == 200, answer

    url = s3.generate_presigned_url("get_object", Params={
        "Bucket": bucket, "Key": "a b",
        "ResponseContentDisposition": 'attachment; filename="x"'})
    answer = raw.once(store, "GET", *split(url), signed=False)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-disposition"] == 'attachment; filename="x"'

    url = s3.generate_presigned_url("get_object", Params={
        "Bucket": bucket, "Key": "a b"})
    raw.once(store, "DELETE", *split(url), signed=False) \
        .is_error(403, "SignatureDoesNotMatch")

    url = s3.generate_presigned_url("list_objects_v2", Params={
        "Bucket": bucket, "Prefix": "a"})
    answer = raw.once(store, "GET", *split(url), signed=False)
    assert answer.status == 200, answer
    assert b"<Key>a%20b</Key>" in answer.body   # encoding-type=url

    assert s3.head_object(Bucket=bucket, Key="a b")["ContentType"] \
        == "text/x"


def test_presigned_metadata(store, bucket, s3):
    """botocore moves x-amz-* headers into the query; they are signed."""

    url = s3.generate_presigned_url("put_object", Params={
        "Bucket": bucket, "Key": "k", "Metadata": {"a": "1"}})
    path, query = split(url)
    assert "x-amz-meta-a=1" in query

    raw.once(store, "PUT", path, query.replace("meta-a=1", "meta-a=2"),
             body=b"x", signed=False).is_error(403, "SignatureDoesNotMatch")
    raw.once(store, "PUT", path, query + "&x-amz-meta-b=2", body=b"x",
             signed=False).is_error(403, "SignatureDoesNotMatch")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    answer = raw.once(store, "PUT", path, query, body=b"x", signed=False)
    assert answer.status == 200, answer
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "1"}


# ---- by hand: the header

def signed(store, method, path, query="", body=None, more=(), **kwargs):
    headers = raw.sign_v2(method, path, query, **kwargs)
    return raw.once(store, method, path, query, headers=[*headers, *more],
                    body=body, signed=False)


@pytest.mark.parametrize("kwargs", [
    {}, {"date": "now"}, {"amz_date": "http"}, {"amz_date": "basic"},
    {"headers": [("x-amz-meta-a", "1"), ("X-Amz-Meta-A", "2")]},
    {"query": "response-content-type=a%2Fb&x-id=x"},
])
def test_forms_of_dates(store, key, kwargs):
    kwargs = dict(kwargs)

    if "date" in kwargs:
        kwargs["date"] = raw.http_date().replace("GMT", "+0000")
    if "amz_date" in kwargs:
        kwargs["amz_date"] = raw.http_date() \
            if kwargs["amz_date"] == "http" else raw.amz_date()

    answer = signed(store, "GET", key, **kwargs)
    assert (answer.status, answer.body) == (200, b"old"), answer


METHODS = [("GET", None), ("HEAD", None), ("PUT", b"new"), ("DELETE", None)]


@pytest.mark.parametrize("kwargs,status,code", [
    ({"access_key": "NOBODY"}, 403, "InvalidAccessKeyId"),
    ({"access_key": s3_server.DISABLED_KEY}, 403, "InvalidAccessKeyId"),
    ({"secret_key": "wrong"}, 403, "SignatureDoesNotMatch"),
    ({"secret_key": s3_server.OTHER_SECRET}, 403, "SignatureDoesNotMatch"),
    ({"date": -960}, 403, "RequestTimeTooSkewed"),
    ({"date": 960}, 403, "RequestTimeTooSkewed"),
    ({"date": ""}, 403, "AccessDenied"),
    ({"date": "yesterday"}, 403, "AccessDenied"),
    ({"amz_date": "yesterday"}, 403, "AccessDenied"),
    ({"headers": [("x-amz-security-token", "t")]}, 400, "InvalidToken"),
])
def test_refused(store, key, kwargs, status, code):
    kwargs = dict(kwargs)
    if isinstance(kwargs.get("date"), int):
        kwargs["date"] = raw.http_date(kwargs["date"])

    for method, body in METHODS:
        signed(store, method, key, body=body, **kwargs) \
            .is_error(status, code)


@pytest.mark.parametrize("method,query,more", [
    ("PUT", "", []),
    ("GET", "versionId=null", []),
    ("GET", "response-content-type=a%2Fb", []),
    ("GET", "", [("x-amz-meta-a", "1")]),
    ("GET", "", [("Content-Type", "a/b")]),
    ("GET", "", [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")]),
])
def test_changed_on_the_way(store, key, method, query, more):
    headers = raw.sign_v2("GET", key)

    raw.once(store, method, key, query, headers=[*headers, *more],
             body=b"new" if method == "PUT" else None, signed=False) \
        .is_error(403, "SignatureDoesNotMatch")


def test_string_to_sign_is_shown(store, key):
    date = raw.http_date()
    answer = signed(store, "GET", key, secret_key="wrong", date=date)
    answer.is_error(403, "SignatureDoesNotMatch")
    assert answer.element("StringToSign") == f"GET\n\n\n{date}\n{key}"
    assert answer.element("AWSAccessKeyId") == s3_server.ACCESS_KEY
    assert answer.element("SignatureProvided")


@pytest.mark.parametrize("body,content,status,code", [
    (b"new", hashlib.sha256(b"new").hexdigest(), 200, None),
    (b"new", raw.UNSIGNED, 200, None),
    (b"new", hashlib.sha256(b"other").hexdigest(), 400,
     "XAmzContentSHA256Mismatch"),
    (raw.aws_chunked(b"new"), raw.TRAILER, 400, "InvalidArgument"),
    (b"3\r\nnew\r\n0\r\n\r\n", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 400,
     "InvalidArgument"),
    (b"3\r\nnew\r\n0\r\n\r\n", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
     501, "NotImplemented"),
])
def test_content_sha256(store, bucket, s3, body, content, status, code):
    """It is no part of Version 2, but what it says must be true."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"old")

    answer = signed(store, "PUT", f"/{bucket}/k", body=body,
                    headers=[("x-amz-content-sha256", content)])

    if code:
        answer.is_error(status, code)
        assert read(s3, bucket, "k") == b"old"
    else:
        assert answer.status == status, answer
        assert read(s3, bucket, "k") == b"new"


# ---- by hand: the query

@pytest.mark.parametrize("kwargs,status,code,text", [
    ({"expires": -1}, 403, "AccessDenied", "Request has expired"),
    ({"expires": "x"}, 403, "AccessDenied", "seconds since epoch"),
    ({"secret_key": "wrong"}, 403, "SignatureDoesNotMatch", ""),
    ({"access_key": "NOBODY"}, 403, "InvalidAccessKeyId", ""),
    ({"access_key": s3_server.DISABLED_KEY}, 403, "InvalidAccessKeyId", ""),
])
def test_presigned_refused(store, key, kwargs, status, code, text):
    for method, body in METHODS:
        query = raw.presign_v2(method, key, **kwargs)
        answer = raw.once(store, method, key, query, body=body, signed=False)
        answer.is_error(status, code)
        assert method == "HEAD" or text in answer.element("Message")


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Signature", "Expires"])
def test_argument_missing(store, key, name):
    query = "&".join(p for p in raw.presign_v2("GET", key).split("&")
                     if not p.startswith(name + "="))
    raw.once(store, "GET", key, query, signed=False) \
        .is_error(403, "AccessDenied")


def test_no_signature_in_a_log(store, key):
    query = raw.presign_v2("GET", key)
    value = query.rpartition("=")[2]

    assert raw.once(store, "GET", key, query, signed=False).status == 200
    raw.once(store, "GET", key + "none", query, signed=False)

    text = store.log() + "\n".join(store.access_lines())
    assert key in text
    assert value not in text and urllib.parse.unquote(value) not in text
    assert "AWSAccessKeyId=" + s3_server.ACCESS_KEY not in text
