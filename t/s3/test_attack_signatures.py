"""Signatures that are nearly right, and requests that were changed after they
were signed."""

import re

import pytest

import raw
import s3_server
from checks import read


@pytest.fixture
def key(s3, bucket):
    """Path of an object that every refusal must leave alone."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    yield f"/{bucket}/k"
    assert read(s3, bucket, "k") == b"old"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def ended(conn, head):
    """The status of what it is answered, whoever answers."""

    conn.send(head)
    return conn.answer().status


REFUSED = (400, 403, 405)


# ---- headers that were added to what was signed

@pytest.mark.parametrize("line", [
    b"x-amz-meta-a: 2", b"X-Amz-Meta-A: 1", b"x-amz-meta-a:",
    b"x-amz-meta-b: 2", b"x-amz-acl: public-read",
    b"x-amz-copy-source: /other/secret", b"x-amz-date: 20200101T000000Z",
    b"x-amz-content-sha256: UNSIGNED-PAYLOAD",
    b"x-amz-decoded-content-length: 3", b"x-amz-trailer: x",
    b"x-amz-storage-class: GLACIER", b"x-amz-security-token: t",
    b"Host: 127.0.0.1", b"Authorization: AWS4-HMAC-SHA256 x",
    b"Authorization: AWS " + s3_server.ACCESS_KEY.encode() + b":x"])
@pytest.mark.parametrize("first", [False, True], ids=["behind", "before"])
def test_header_is_added(store, key, line, first):
    for method in ("PUT", "GET"):
        with raw.Connection(store) as conn:
            head = conn.head(method, key, headers=[("x-amz-meta-a", "1")],
                             body_headers=[("Content-Length", "0")])
            begin, _, rest = head.partition(b"\r\n")
            head = begin + b"\r\n" + line + b"\r\n" + rest if first \
                else head[:-2] + line + b"\r\n\r\n"

            assert ended(conn, head) in REFUSED


@pytest.mark.parametrize("name", ["x-amz-meta-a", "Host", "x-amz-date",
                                  "x-amz-content-sha256"])
def test_header_is_taken_away(store, key, name):
    with raw.Connection(store) as conn:
        head = conn.head("PUT", key, headers=[("x-amz-meta-a", "1")],
                         body_headers=[("Content-Length", "0")])
        less = re.sub(rb"(?i)\r\n%s: [^\r]*" % name.encode(), b"", head)
        assert less != head
        assert ended(conn, less) in REFUSED


def test_values_change_places(store, key):
    """Two lines of one name are signed in their order."""

    with raw.Connection(store) as conn:
        head = conn.head("PUT", key, headers=[("x-amz-meta-a", "1"),
                                              ("x-amz-meta-a", "2")],
                         body_headers=[("Content-Length", "0")])
        swapped = head.replace(b"a: 1", b"a: 3").replace(b"a: 2", b"a: 1") \
            .replace(b"a: 3", b"a: 2")
        assert swapped != head
        assert ended(conn, swapped) in REFUSED


# ---- arguments twice

@pytest.mark.parametrize("more", [
    "prefix=b", "prefix=", "prefix", "%70refix=a", "max-keys=1", "delete",
    "list-type=1", "X-Amz-Signature=0"])
@pytest.mark.parametrize("first", [False, True], ids=["behind", "before"])
@pytest.mark.parametrize("presigned", [False, True], ids=["header", "query"])
def test_argument_is_added(store, bucket, more, first, presigned):
    path, query = f"/{bucket}", "list-type=2&prefix=a"

    with raw.Connection(store) as conn:
        if presigned:
            query = raw.presign("GET", conn.host, path, query)
            head = conn.head("GET", path, query, signed=False)
        else:
            head = conn.head("GET", path, query, payload=raw.EMPTY_SHA256)

        old = query.encode()
        new = more.encode() + b"&" + old if first \
            else old + b"&" + more.encode()

        conn.send(head.replace(old, new, 1))
        answer = conn.answer()
        assert answer.status in REFUSED, answer


@pytest.mark.parametrize("name", [
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
    "X-Amz-SignedHeaders", "X-Amz-Signature"])
@pytest.mark.parametrize("how", ["same", "another", "empty"])
def test_argument_of_the_signature_twice(store, key, name, how):
    with raw.Connection(store) as conn:
        query = raw.presign("GET", conn.host, key)
        pairs = query.split("&")
        own = next(p for p in pairs if p.startswith(name + "="))
        more = {"same": own, "another": own[:-1] + "1",
                "empty": name + "="}[how]

        for each in (query + "&" + more, more + "&" + query):
            conn.request("GET", key, each, signed=False) \
                .is_error(400, "AuthorizationQueryParametersError")


# ---- the signature itself

def signed(conn, key):
    head = conn.head("GET", key, payload=raw.EMPTY_SHA256)
    return head, re.search(rb"Signature=([0-9a-f]{64})", head)[1]


def test_cut_short(store, key):
    """At each length, and longer."""

    with raw.Connection(store) as conn:
        for n in [*range(64), 65, 128, 1000]:
            head, good = signed(conn, key)
            bad = (good * 16)[:n]
            assert ended(conn, head.replace(good, bad)) in REFUSED, n

        query = raw.presign("GET", conn.host, key)

        for n in range(1, 65):
            answer = conn.request("GET", key, query[:-n], signed=False)
            assert answer.status in REFUSED, answer


@pytest.mark.parametrize("change", [
    bytes.upper, lambda s: b"0x" + s[2:], lambda s: s[:-1] + b"\x00",
    lambda s: s[:-1] + b" ", lambda s: b'"' + s + b'"',
    lambda s: s + b", Signature=" + s, lambda s: b"%" + s, lambda s: s[::-1]])
def test_written_otherwise(store, key, change):
    with raw.Connection(store) as conn:
        head, good = signed(conn, key)
        bad = change(good)

        if bad != good:
            assert ended(conn, head.replace(good, bad)) in REFUSED


def test_answer_says_nothing_of_how_near_it_was(store, key):
    """(That the comparison takes the same time is in the code: CRYPTO_memcmp
    of a whole signature, docs/security.md.)"""

    found = set()

    with raw.Connection(store) as conn:
        date = raw.amz_date()

        for at in range(64):
            head = conn.head("GET", key, payload=raw.EMPTY_SHA256, date=date)
            good = re.search(rb"Signature=([0-9a-f]{64})", head)[1]
            bad = bytearray(good)
            bad[at] = ord("0") if good[at] != ord("0") else ord("1")
            conn.send(head.replace(good, bytes(bad)))
            answer = conn.answer().is_error(403, "SignatureDoesNotMatch")
            assert good not in answer.body

            text = answer.body.replace(bytes(bad), b"")
            found.add(re.sub(rb"<(RequestId|HostId)>.*?</\1>", b"", text))

    assert len(found) == 1


@pytest.mark.parametrize("access_key", [
    s3_server.ACCESS_KEY, s3_server.DISABLED_KEY, "NOBODY", ""])
@pytest.mark.parametrize("secret_key", ["", "\0", "null"])
def test_empty_secret(store, key, access_key, secret_key):
    """No key has one, and none that is not there is taken for one."""

    with raw.Connection(store) as conn:
        for head in (
                conn.head("GET", key, payload=raw.EMPTY_SHA256,
                          access_key=access_key, secret_key=secret_key),
                conn.head("GET", key, raw.presign(
                    "GET", conn.host, key, access_key=access_key,
                    secret_key=secret_key), signed=False),
                conn.head("GET", key, signed=False, headers=raw.sign_v2(
                    "GET", key, access_key=access_key,
                    secret_key=secret_key)),
                conn.head("GET", key, raw.presign_v2(
                    "GET", key, access_key=access_key,
                    secret_key=secret_key), signed=False)):
            assert ended(conn, head) in REFUSED


# ---- replay

def test_replay(store, key):
    """Within the window a request is as good as the first time, which S3
    has no means against; a second outside, and with another method, path or
    host, it is not."""

    with raw.Connection(store) as conn:
        date = raw.amz_date(-840)
        head = conn.head("GET", key, payload=raw.EMPTY_SHA256, date=date)

        assert ended(conn, head) == 200
        assert ended(conn, head) == 200

        for old, new in ((b"GET ", b"DELETE "), (b"GET ", b"POST "),
                         (b"/k ", b"/other "), (b"/k ", b"/k/ "),
                         (b"/k ", b"//k "), (b"/k ", b"/%6B%20 "),
                         (b"/k ", b"/k?acl "),
                         (b"Host: 127.0.0.1", b"Host: localhost"),
                         (date.encode(), raw.amz_date(-600).encode())):
            changed = head.replace(old, new)
            assert changed != head
            assert ended(conn, changed) in REFUSED, (old, new)

        for seconds in (-902, 960):
            head = conn.head("GET", key, payload=raw.EMPTY_SHA256,
                             date=raw.amz_date(seconds))
            conn.send(head)
            conn.answer().is_error(403, "RequestTimeTooSkewed")
