"""Who asks, and may they: everything that is refused before a body."""

import email.utils
import hashlib

import pytest

import raw
import s3_server
from checks import fails, read


@pytest.fixture
def key(s3, bucket):
    """Bucket and path of an object that every refusal must leave alone."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    yield f"/{bucket}/k"
    assert read(s3, bucket, "k") == b"old"


METHODS = [("GET", None), ("HEAD", None), ("PUT", b"new"), ("DELETE", None)]


def refused(store, path, status, code, tls=False, **kwargs):
    """Every method is refused so, and the connection goes on."""

    for method, body in METHODS:
        with raw.Connection(store, tls) as conn:
            answer = conn.request(method, path, body=body, **kwargs)
            answer.is_error(status, code)
            assert conn.serves()


def test_anonymous(store, key):
    refused(store, key, 403, "AccessDenied", signed=False)


def test_unknown_key(store, key):
    refused(store, key, 403, "InvalidAccessKeyId", access_key="NOBODY")


def test_disabled_key(store, key):
    refused(store, key, 403, "InvalidAccessKeyId",
            access_key=s3_server.DISABLED_KEY)


def test_wrong_secret(store, key, tls):
    refused(store, key, 403, "SignatureDoesNotMatch", tls=tls,
            secret_key="wrong")


def test_secret_of_another(store, key):
    refused(store, key, 403, "SignatureDoesNotMatch",
            secret_key=s3_server.OTHER_SECRET)


def test_another_user_is_served(store, s3, bucket):
    other = store.client(access_key=s3_server.OTHER_KEY,
                         secret_key=s3_server.OTHER_SECRET)
    other.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert read(s3, bucket, "k") == b"x"


def test_boto3_sees_the_codes(store, bucket, tls):
    client = store.client(tls, access_key="NOBODY", cached=False)
    assert fails(client.list_buckets) == (403, "InvalidAccessKeyId")

    client = store.client(tls, secret_key="wrong", cached=False)
    assert fails(client.list_objects_v2, Bucket=bucket) \
        == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("seconds", [-901 - 60, 901 + 60, -86400 * 3])
def test_skewed(store, key, seconds):
    refused(store, key, 403, "RequestTimeTooSkewed",
            date=raw.amz_date(seconds))


@pytest.mark.parametrize("seconds", [-800, 800])
def test_clocks_may_differ(store, key, seconds):
    answer = raw.once(store, "GET", key, date=raw.amz_date(seconds))
    assert answer.status == 200, answer


@pytest.mark.parametrize("date", [
    lambda: raw.http_date(),
    lambda: raw.http_date().replace("GMT", "+0000"),
    lambda: raw.amz_date(),
])
def test_date_for_x_amz_date(store, key, date):
    """Of the two x-amz-date counts, whatever Date says."""

    def get(headers, signed, now):
        value = raw.signature(
            s3_server.SECRET_KEY, store.region, now, "GET", key, "", headers,
            signed, raw.EMPTY_SHA256)
        return raw.once(store, "GET", key, signed=False, headers=[
            *headers[1:], ("Authorization",
                           "AWS4-HMAC-SHA256 Credential="
                           f"{s3_server.ACCESS_KEY}/{now[:8]}/{store.region}"
                           f"/s3/aws4_request, SignedHeaders="
                           f"{';'.join(signed)}, Signature={value}")])

    host = ("Host", f"127.0.0.1:{store.port}")
    content = ("x-amz-content-sha256", raw.EMPTY_SHA256)
    text = date()
    now = text if text.endswith("Z") else email.utils.parsedate_to_datetime(
        text).strftime("%Y%m%dT%H%M%SZ")

    answer = get([host, content, ("Date", text)],
                 ["date", "host", "x-amz-content-sha256"], now)
    assert (answer.status, answer.body) == (200, b"old"), answer

    answer = get([host, content, ("Date", raw.http_date(-86400)),
                  ("x-amz-date", now)],
                 ["host", "x-amz-content-sha256", "x-amz-date"], now)
    assert answer.status == 200, answer

    get([host, content, ("Date", text), ("x-amz-date", raw.amz_date(-1000))],
        ["host", "x-amz-content-sha256", "x-amz-date"],
        raw.amz_date(-1000)).is_error(403, "RequestTimeTooSkewed")


@pytest.mark.parametrize("text", ["", "yesterday", "20260101T000000",
                                  "Thu, 01 Jan 1970 00:00:00 +0x00"])
@pytest.mark.parametrize("name", ["Date", "x-amz-date"])
def test_no_date(store, key, name, text):
    value = f"AWS4-HMAC-SHA256 Credential={scope()}, {NAMES}, {ZEROES}"

    with raw.Connection(store) as conn:
        lines = [("x-amz-content-sha256", raw.EMPTY_SHA256), (name, text),
                 ("Authorization", value)]
        conn.raw(conn.head("GET", key, headers=lines, signed=False)) \
            .is_error(403, "AccessDenied")


def test_another_region(store, key):
    with raw.Connection(store) as conn:
        answer = conn.request("GET", key, region="eu-west-1")
        answer.is_error(400, "AuthorizationHeaderMalformed")
        assert answer.element("Region") == store.region


def test_boto3_of_another_region(store, s3, bucket):
    """It asks again for the region it is told, which a HEAD tells as well."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")

    for ask in (lambda c: c.head_object(Bucket=bucket, Key="k"),
                lambda c: c.get_object(Bucket=bucket, Key="k")):
        client = store.client(region="eu-west-1", retries=3, cached=False)
        assert ask(client)["ContentLength"] == 5
        client.close()

    client = store.client(region="eu-west-1", retries=3, cached=False)
    assert client.head_bucket(Bucket=bucket)["BucketRegion"] == store.region
    client.close()


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-meta-a",
                                  "x-amz-content-sha256"])
def test_unsigned_header(store, key, name):
    """What is not signed can be changed on the way."""

    refused(store, key, 403, "AccessDenied", leave_unsigned=[name],
            headers=[("x-amz-meta-a", "1")])


def test_unsigned_headers_are_named(store, key):
    """All of them."""

    answer = raw.once(store, "GET", key, headers=[
        ("X-Amz-Meta-B", "1"), ("x-amz-meta-c", "2"), ("x-amz-meta-a", "3")],
        leave_unsigned=["x-amz-meta-a", "x-amz-meta-b"])
    answer.is_error(403, "AccessDenied")
    assert answer.element("HeadersNotSigned") \
        == "x-amz-meta-b, x-amz-meta-a"


def test_unsigned_content_type_is_tolerated(store, bucket):
    with raw.Connection(store) as conn:
        answer = conn.request("PUT", f"/{bucket}/k", body=b"x",
                              headers=[("Content-Type", "text/x")],
                              leave_unsigned=["content-type"])
        assert answer.status == 200, answer
        answer = conn.request("GET", f"/{bucket}/k")
        assert answer.headers["content-type"] == "text/x"


def change(head, old, new):
    assert old in head, (old, head)
    return head.replace(old, new)


@pytest.mark.parametrize("old,new", [
    (b"GET ", b"HEAD "),
    (b"x-amz-meta-a: 1", b"x-amz-meta-a: 2"),
    (b"prefix=a", b"prefix=b"),
    (b"list-type=2", b"list-type=2&max-keys=1"),
    (b"/s3/aws4_request, ", b"/s3/aws4_request, "),
])
def test_changed_on_the_way(store, bucket, old, new):
    with raw.Connection(store) as conn:
        head = conn.head("GET", f"/{bucket}", "list-type=2&prefix=a",
                         [("x-amz-meta-a", "1")], payload=raw.EMPTY_SHA256)
        conn.send(change(head, old, new))
        answer = conn.answer(new.split()[0].decode()
                             if old == b"GET " else "GET")

        if old == new:
            assert answer.status == 200, answer
        elif answer.method == "HEAD":
            assert answer.status in (403, 405, 501), answer
        else:
            answer.is_error(403, "SignatureDoesNotMatch")


def test_host_changed(store, key):
    with raw.Connection(store) as conn:
        head = conn.head("GET", key, payload=raw.EMPTY_SHA256)
        conn.send(change(head, b"Host: 127.0.0.1", b"Host: 127.0.0.2"))
        conn.answer().is_error(403, "SignatureDoesNotMatch")


def authorization(store, path, value, method="GET", more=()):
    with raw.Connection(store) as conn:
        lines = [("x-amz-date", raw.amz_date()),
                 ("x-amz-content-sha256", raw.EMPTY_SHA256), *more]
        if value is not None:
            lines.append(("Authorization", value))
        return conn.raw(conn.head(method, path, headers=lines, signed=False))


def scope(**changed):
    parts = {"key": s3_server.ACCESS_KEY, "day": raw.amz_date()[:8],
             "region": "us-east-1", "service": "s3", "end": "aws4_request",
             **changed}
    return "/".join(parts.values())


NAMES = "SignedHeaders=host;x-amz-content-sha256;x-amz-date"
ZEROES = "Signature=" + "0" * 64


@pytest.mark.parametrize("value", [
    "AWS4-HMAC-SHA256",
    "AWS4-HMAC-SHA256 ",
    "AWS4-HMAC-SHA256 nonsense",
    f"AWS4-HMAC-SHA256 Credential={scope()}",
    f"AWS4-HMAC-SHA256 Credential={scope()}, {NAMES}",
    f"AWS4-HMAC-SHA256 {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential=, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential=AK, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential={scope(service='ec2')}, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential={scope(end='aws3')}, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential={scope(day='20x')}, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential={scope(day='19990101')}, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential={scope()}, {NAMES}, {ZEROES}, {ZEROES}",
])
def test_malformed_authorization(store, key, value):
    authorization(store, key, value) \
        .is_error(400, "AuthorizationHeaderMalformed")


@pytest.mark.parametrize("value", [
    f"AWS4-HMAC-SHA256 Credential={scope()}, {NAMES}, Signature=abc",
    f"AWS4-HMAC-SHA256 Credential={scope()}, {NAMES}, {ZEROES}",
    f"AWS4-HMAC-SHA256 Credential={scope()}, {NAMES}, "
    "Signature=" + "G" * 64,
])
def test_signature_that_is_none(store, key, value):
    answer = authorization(store, key, value)
    assert (answer.status, answer.code) in (
        (403, "SignatureDoesNotMatch"), (400, "AuthorizationHeaderMalformed"))


@pytest.mark.parametrize("value,code", [
    ("Basic dXNlcjpwYXNz", "InvalidArgument"),
    ("Bearer x", "InvalidArgument"),
    ("AWS nonsense", "InvalidArgument"),
    ("AWS4-ECDSA-P256-SHA256 Credential=x", "NotImplemented"),
])
def test_other_mechanisms(store, key, value, code):
    answer = authorization(store, key, value)
    answer.is_error(501 if code == "NotImplemented" else 400, code)


def test_two_mechanisms(store, bucket):
    with raw.Connection(store) as conn:
        query = raw.presign("GET", conn.host, f"/{bucket}", "list-type=2")
        conn.request("GET", f"/{bucket}", query) \
            .is_error(400, "InvalidArgument")


def test_without_content_sha256(store, key):
    with raw.Connection(store) as conn:
        conn.raw(conn.head("GET", key, payload=None)) \
            .is_error(400, "InvalidRequest")


@pytest.mark.parametrize("value", ["nonsense", "a" * 63, "Z" * 64,
                                   "unsigned-payload"])
def test_bad_content_sha256(store, key, value):
    refused(store, key, 400, "InvalidArgument", payload=value)


def test_session_token(store, key):
    refused(store, key, 400, "InvalidToken",
            headers=[("x-amz-security-token", "token")])


def test_string_to_sign_is_shown(store, key):
    """To find out why: S3 answers what it signed itself."""

    with raw.Connection(store) as conn:
        answer = conn.request("GET", key, secret_key="wrong")
        answer.is_error(403, "SignatureDoesNotMatch")
        assert answer.element("StringToSign").startswith(
            "AWS4-HMAC-SHA256\n")
        assert answer.element("CanonicalRequest").startswith("GET\n" + key)
        assert answer.element("AWSAccessKeyId") == s3_server.ACCESS_KEY


def test_secrets_are_never_shown(store, key):
    """Not in answers, not in logs."""

    with raw.Connection(store) as conn:
        answer = conn.request("GET", key, secret_key="wrong")
        assert s3_server.SECRET_KEY.encode() not in answer.body

    day = raw.amz_date()[:8]
    signing = raw.signing_key(s3_server.SECRET_KEY, day, "us-east-1")
    text = store.log() + "".join(store.access_lines())
    assert s3_server.SECRET_KEY not in text
    assert signing.hex() not in text


# ---- Expect: 100-continue

@pytest.mark.parametrize("more,status", [
    ({"secret_key": "wrong"}, 403), ({"signed": False}, 403),
    ({"headers": [("If-None-Match", '"x"')]}, 501),
    ({"headers": [("Content-MD5", "x")]}, 400),
])
def test_refused_before_the_body(store, key, tls, more, status):
    """A client that waits for "100 Continue" need not send anything."""

    more = dict(more)

    with raw.Connection(store, tls) as conn:
        conn.send(conn.head(
            "PUT", key, headers=more.pop("headers", ()), body_headers=[
                ("Content-Length", 1 << 30), ("Expect", "100-continue")],
            payload=raw.UNSIGNED, **more))

        conn.socket.settimeout(10)
        first = conn.socket.recv(13)
        assert first == b"HTTP/1.1 %d " % status


def test_refused_put_into_missing_bucket(store):
    """The store is asked when the body is there; S3 says NoSuchBucket."""

    body = b"x" * 100_000

    with raw.Connection(store) as conn:
        conn.request("PUT", "/no-such-bucket-here/k", body=body) \
            .is_error(404, "NoSuchBucket")
        assert conn.serves()


def test_continue(store, s3, bucket, tls):
    body = b"x" * 100_000

    with raw.Connection(store, tls) as conn:
        conn.send(conn.head(
            "PUT", f"/{bucket}/k", body_headers=[
                ("Content-Length", len(body)), ("Expect", "100-continue")],
            payload=hashlib.sha256(body).hexdigest()))

        want = b"HTTP/1.1 100 Continue\r\n\r\n"
        got = b""
        while len(got) < len(want):
            got += conn.socket.recv(len(want) - len(got))
        assert got == want

        conn.send(body)
        assert conn.answer("PUT").status == 200
        assert conn.serves()

    assert read(s3, bucket, "k") == body
