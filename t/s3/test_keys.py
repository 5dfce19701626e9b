"""Keys are bytes of UTF-8, and none of them means anything to a server."""

import urllib.parse

import pytest

import raw
from checks import fails, read


KEYS = [
    "a", "a/b", "a//b", "//a", "/", "//", "a/", "a//", "./x",
    "a/../b", "a/./b", "a/..", ".", "...", "a/.../b", "~a", "a~",
    "with space", " leading", "trailing ", "a+b", "a%2Fb", "100%", "%", "%%",
    "%20", "a&b=c", "a=b", "a?b", "a#b", "a;b", "a:b", "a,b", "a@b", "$", "!",
    "*", "'", "(a)", "\"q\"", "<x>", "[1]", "{2}", "back\\slash", "pipe|",
    "^", "`", "grün", "日本語/キー", "\U0001f600", "e\u0301", "\u00e9",
    "\u200b", "tab\there", "new\nline", "cr\rlf", "\x7f", "\x01",
    "list-type=2", "index.html", "favicon.ico", "storagex",
    "UPPER", "upper",
]


def escaped(key):
    return urllib.parse.quote(key, safe="/-._~")


@pytest.mark.parametrize("key", KEYS, ids=[ascii(k) for k in KEYS])
def test_key(store, bucket, tls, key):
    """By hand: SDKs would take some of them apart."""

    path = f"/{bucket}/{escaped(key)}"

    with raw.Connection(store, tls) as conn:
        answer = conn.request("PUT", path, body=key.encode())
        assert answer.status == 200, answer

        answer = conn.request("GET", path)
        assert answer.status == 200, answer
        assert answer.body == key.encode()

        assert conn.request("HEAD", path).status == 200

    # boto3 asks for encoding-type=url, and decodes

    listed = store.client().list_objects_v2(Bucket=bucket)
    assert [e["Key"] for e in listed["Contents"]] == [key]

    with raw.Connection(store, tls) as conn:
        assert conn.request("DELETE", path).status == 204
        conn.request("GET", path).is_error(404, "NoSuchKey")


@pytest.mark.parametrize("key", [k for k in KEYS
                                 if not set(k.split("/")) & {".", ".."}
                                 and not k.startswith("/")])
def test_key_through_boto3(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert read(s3, bucket, key) == key.encode()
    s3.delete_object(Bucket=bucket, Key=key)
    assert fails(s3.head_object, Bucket=bucket, Key=key) == (404, "404")


def test_all_are_different(s3, store, bucket):
    """No two of them are the same object."""

    with raw.Connection(store) as conn:
        for key in KEYS:
            answer = conn.request("PUT", f"/{bucket}/{escaped(key)}",
                                  body=key.encode())
            assert answer.status == 200, (key, answer)

        for key in KEYS:
            answer = conn.request("GET", f"/{bucket}/{escaped(key)}")
            assert answer.body == key.encode()

        found = s3.list_objects_v2(Bucket=bucket)["Contents"]
        assert [e["Key"] for e in found] == sorted(
            KEYS, key=lambda k: k.encode())

        for key in KEYS:
            conn.request("DELETE", f"/{bucket}/{escaped(key)}")


@pytest.mark.parametrize("key,good", [
    ("k" * 1024, True), ("k" * 1025, False),
    ("é" * 512, True), ("é" * 512 + "x", False),
    ("/" * 1024, True), ("a/" * 512, True), ("k" * 5000, False),
], ids=lambda v: str(v)[:3] + str(len(str(v))))
def test_longest_key(store, bucket, key, good):
    path = f"/{bucket}/{escaped(key)}"

    with raw.Connection(store) as conn:
        answer = conn.request("PUT", path, body=b"x")

        if good:
            assert answer.status == 200, answer
            assert conn.request("GET", path).body == b"x"
            listed = store.client().list_objects_v2(Bucket=bucket)
            assert listed["Contents"][0]["Key"] == key
            assert conn.request("DELETE", path).status == 204
        else:
            answer.is_error(400, "KeyTooLongError")
            assert answer.element("MaxSizeAllowed") == "1024"
            conn.request("GET", path).is_error(400, "KeyTooLongError")

        assert conn.serves()


@pytest.mark.parametrize("path", [
    "/{b}/%FF", "/{b}/a%C0%80", "/{b}/%ED%A0%80", "/{b}/a%F4%90%80%80",
])
def test_keys_that_are_not_utf8(store, bucket, path):
    with raw.Connection(store) as conn:
        conn.request("PUT", path.format(b=bucket), body=b"x") \
            .is_error(400, "InvalidURI")
        assert conn.serves()


def test_escapes_are_of_one_key(store, bucket):
    """Any escaping of the same bytes is the same key."""

    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}/a%2fb%7E", body=b"x")
        assert conn.request("GET", f"/{bucket}/a/b~").body == b"x"
        assert conn.request("GET", f"/{bucket}/%61%2Fb%7e").body == b"x"


@pytest.mark.parametrize("path", [
    "/{b}/../../etc/passwd", "/{b}/..%2f..%2f..%2fetc/passwd",
    "/storage/../{b}/../../x", "/{b}/%00",
    "/../x",
])
def test_climbing_out(store, bucket, path):
    """Above the root nginx refuses (400); nothing else is reached."""

    answer = raw.once(store, "GET", path.format(b=bucket))
    assert answer.status in (400, 404), answer
    assert b"root:" not in answer.body


@pytest.mark.parametrize("key", ["..", "../x", "a/../../b"])
def test_climbing_out_of_the_bucket(store, bucket, key):
    """The one kind of key that cannot be: nginx takes the path for one of
    another bucket, hence maybe of another location."""

    for method, body in (("PUT", b"x"), ("GET", None), ("DELETE", None)):
        with raw.Connection(store) as conn:
            conn.request(method, f"/{bucket}/{key}", body=body) \
                .is_error(400, "InvalidURI")
            assert conn.serves()


def test_path_of_another_location(store, bucket):
    """nginx picks the location by the normalised path, we serve the raw
    one: where they differ in the bucket nobody is served."""

    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}/x", body=b"secret")
        answer = conn.request("GET", f"/storage/../{bucket}/x")
        assert answer.status == 400, answer
        assert answer.code == "InvalidURI"
