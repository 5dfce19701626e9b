"""GetObject, HeadObject, DeleteObject."""

import datetime
import uuid

import pytest

import raw
from checks import KIB, MIB, data, fails, md5, read


SIZES = {"inline": 9_000, "unit": 300 * KIB + 5, "stripes": 5 * MIB + 12_345}


@pytest.fixture(scope="module")
def objects(store):
    """A bucket of objects to be read, one of each of SIZES, and "empty"."""

    client = store.client()
    name = "get-" + uuid.uuid4().hex[:8]
    client.create_bucket(Bucket=name)

    for key, size in SIZES.items():
        client.put_object(Bucket=name, Key=key, Body=data(size))
    client.put_object(Bucket=name, Key="empty", Body=b"")

    yield name

    for key in [*SIZES, "empty"]:
        client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


# ---- ranges

def borders(size):
    """First and last bytes around every border that storage may have."""

    points = {0, size}

    for step in (64 * KIB, 512 * KIB, MIB):
        points |= set(range(0, size, step))

    # the finest only at the start and the end: there are many of them

    points = {p for p in points if p % (512 * KIB) == 0
              or p < 200 * KIB or p > size - 200 * KIB}

    return sorted(points)


@pytest.mark.parametrize("key", SIZES)
def test_ranges_at_borders(store, objects, key):
    client = store.client()
    whole = data(SIZES[key])

    for point in borders(len(whole)):
        for first, last in ((point - 1, point), (point, point),
                            (point - 70_000, point + 70_000),
                            (point - 1, point + 600_000)):
            first = max(first, 0)
            last = max(first, last)
            if first >= len(whole):
                continue

            got = client.get_object(Bucket=objects, Key=key,
                                    Range=f"bytes={first}-{last}")
            part = whole[first:last + 1]
            assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
            assert got["ContentRange"] == (
                f"bytes {first}-{first + len(part) - 1}/{len(whole)}")
            assert got["ContentLength"] == len(part)
            assert got["ETag"] == f'"{md5(whole)}"'
            assert got["Body"].read() == part, (first, last)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("form", [
    "bytes=0-0", "bytes=5-", "bytes=-1", "bytes=-7000", "bytes=-99999999",
    "bytes=0-99999999", "bytes=100-200", "BYTES=1-2",
    "bytes=0-18446744073709551615", "bytes=7-99999999999999999999999",
])
def test_range_forms(store, objects, tls, key, form):
    whole = data(SIZES[key])
    first, _, last = form[6:].partition("-")

    if first == "":
        part = whole[-int(last):]
        first = len(whole) - len(part)
    else:
        first = int(first)
        part = whole[first:int(last) + 1 if last else None]

    with raw.Connection(store, tls) as conn:
        answer = conn.request("GET", f"/{objects}/{key}",
                              headers=[("Range", form)])
        assert answer.status == 206
        assert answer.headers["content-range"] == (
            f"bytes {first}-{first + len(part) - 1}/{len(whole)}")
        assert answer.body == part

        answer = conn.request("HEAD", f"/{objects}/{key}",
                              headers=[("Range", form)])
        assert answer.status == 206
        assert int(answer.headers["content-length"]) == len(part)
        assert conn.serves()


@pytest.mark.parametrize("form", [
    "bytes=0-1,3-4", "bytes=5-2", "bytes=x-y", "bytes=", "bytes=-",
    "lines=0-1", "0-1", "bytes=1-2x", "bytes 0-1",
])
def test_ranges_that_are_none(store, objects, form):
    """S3 has no multipart/byteranges; what it cannot read it ignores."""

    answer = raw.once(store, "GET", f"/{objects}/inline",
                      headers=[("Range", form)])
    assert answer.status == 200
    assert answer.body == data(SIZES["inline"])


@pytest.mark.parametrize("key,form", [
    ("inline", "bytes=9000-"), ("inline", "bytes=9000-9001"),
    ("inline", "bytes=-0"), ("stripes", "bytes=99999999-"),
    ("empty", "bytes=0-"), ("empty", "bytes=0-0"), ("empty", "bytes=-1"),
])
def test_range_beyond_the_end(store, objects, key, form):
    size = SIZES.get(key, 0)

    with raw.Connection(store) as conn:
        answer = conn.request("GET", f"/{objects}/{key}",
                              headers=[("Range", form)])
        answer.is_error(416, "InvalidRange")
        assert answer.headers["content-range"] == f"bytes */{size}"
        assert answer.element("ActualObjectSize") == str(size)
        assert answer.element("RangeRequested") == form

        conn.request("HEAD", f"/{objects}/{key}",
                     headers=[("Range", form)]).is_error(416, None)
        assert conn.serves()


def test_many_ranges_on_one_connection(store, objects):
    whole = data(SIZES["stripes"])

    with raw.Connection(store) as conn:
        for i in range(200):
            first = (i * 7_919_001) % len(whole)
            last = min(first + (i * 1117) % 40_000, len(whole) - 1)
            answer = conn.request("GET", f"/{objects}/stripes", headers=[
                ("Range", f"bytes={first}-{last}")])
            assert answer.body == whole[first:last + 1]


# ---- conditions

OLD = "Wed, 01 Jan 2020 00:00:00 GMT"
FUTURE = "Tue, 01 Jan 2069 00:00:00 GMT"


def conditions(etag, modified):
    return [
        ({"If-Match": etag}, 200),
        ({"If-Match": etag.strip('"')}, 200),
        ({"If-Match": f'"x", {etag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Modified-Since": OLD}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Unmodified-Since": OLD}, 412),
        ({"If-Unmodified-Since": modified}, 200),
        ({"If-Unmodified-Since": FUTURE}, 200),
        # S3's table of combinations (GetObject)
        ({"If-Match": etag, "If-Unmodified-Since": OLD}, 200),
        ({"If-None-Match": etag, "If-Modified-Since": OLD}, 304),
        ({"If-None-Match": '"x"', "If-Modified-Since": modified}, 200),
        ({"If-Match": '"x"', "If-None-Match": etag}, 412),
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("key", ["inline", "stripes"])
def test_conditions(store, objects, method, key):
    with raw.Connection(store) as conn:
        head = conn.request("HEAD", f"/{objects}/{key}")
        modified = head.headers["last-modified"]

        for headers, status in conditions(head.headers["etag"], modified):
            answer = conn.request(method, f"/{objects}/{key}",
                                  headers=list(headers.items()))
            assert answer.status == status, (headers, answer)

            if status == 304:
                assert answer.body == b""
                assert answer.headers["etag"] == head.headers["etag"]
                assert answer.headers["last-modified"] == modified
                assert answer.headers["x-amz-request-id"]

            elif status == 412:
                answer.is_error(412, "PreconditionFailed")

            elif method == "GET":
                assert answer.body == data(SIZES[key])

        assert conn.serves()


def test_condition_before_range(store, objects):
    answer = raw.once(store, "GET", f"/{objects}/inline", headers=[
        ("Range", "bytes=99999-"), ("If-Match", '"x"')])
    answer.is_error(412, "PreconditionFailed")


# ---- headers

def test_answer(store, objects, tls):
    with raw.Connection(store, tls) as conn:
        head = conn.request("HEAD", f"/{objects}/unit")
        get = conn.request("GET", f"/{objects}/unit")

    assert get.body == data(SIZES["unit"])

    for answer in (head, get):
        assert answer.status == 200
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-length"] == str(SIZES["unit"])
        assert "x-amz-checksum-crc32" not in answer.headers
        assert "content-encoding" not in answer.headers
        then = datetime.datetime.strptime(answer.headers["last-modified"],
                                          "%a, %d %b %Y %H:%M:%S GMT")
        now = datetime.datetime.now(datetime.timezone.utc)
        assert abs(now.replace(tzinfo=None) - then) \
            < datetime.timedelta(minutes=10)

    names = {n for n in get.headers} - {"date"}
    assert names == {n for n in head.headers} - {"date"}
    assert get.headers["x-amz-request-id"] \
        != head.headers["x-amz-request-id"]


def test_no_gzip(store, objects):
    answer = raw.once(store, "GET", f"/{objects}/inline",
                      headers=[("Accept-Encoding", "gzip")])
    assert answer.body == data(SIZES["inline"])


def test_checksum_mode_of_a_range(store, objects):
    """The checksum is the whole's: a part does not carry it."""

    answer = raw.once(store, "GET", f"/{objects}/unit", headers=[
        ("Range", "bytes=0-9"), ("x-amz-checksum-mode", "ENABLED")])
    assert "x-amz-checksum-crc32" not in answer.headers

    answer = raw.once(store, "GET", f"/{objects}/unit", headers=[
        ("x-amz-checksum-mode", "ENABLED")])
    assert "x-amz-checksum-crc32" in answer.headers


def test_overrides(store, bucket, tls):
    client = store.client(tls)
    client.put_object(Bucket=bucket, Key="k", Body=b"x",
                      ContentType="text/old", CacheControl="old")

    want = {"ContentType": "text/new; charset=x", "CacheControl": "no-cache",
            "ContentDisposition": 'attachment; filename="ü.txt"'
            .encode().decode("latin-1"),
            "ContentEncoding": "identity", "ContentLanguage": "fr"}
    want.pop("ContentDisposition")

    got = client.get_object(
        Bucket=bucket, Key="k",
        **{"Response" + name: value for name, value in want.items()})

    assert {name: got[name] for name in want} == want

    got = client.get_object(Bucket=bucket, Key="k")
    assert got["ContentType"] == "text/old"
    assert got["CacheControl"] == "old"


@pytest.mark.parametrize("value", ["a%0d%0aX-Injected:%20yes", "a%0Ab",
                                   "a%00b"])
def test_override_cannot_inject(store, objects, value):
    answer = raw.once(store, "GET", f"/{objects}/inline",
                      "response-content-type=" + value)
    assert "x-injected" not in answer.headers
    assert answer.status == 400
    assert answer.code in ("InvalidArgument", "InvalidURI")


# ---- missing

def test_missing_key(store, bucket, tls):
    client = store.client(tls)

    assert fails(client.get_object, Bucket=bucket, Key="none") \
        == (404, "NoSuchKey")
    assert fails(client.get_object, Bucket=bucket, Key="none",
                 Range="bytes=0-1") == (404, "NoSuchKey")
    assert fails(client.head_object, Bucket=bucket, Key="none") \
        == (404, "404")

    with raw.Connection(store, tls) as conn:
        answer = conn.request("GET", f"/{bucket}/no%3Cne%26")
        answer.is_error(404, "NoSuchKey")
        assert answer.element("Key") == "no<ne&"
        assert answer.element("Resource") == f"/{bucket}/no<ne&"
        conn.request("HEAD", f"/{bucket}/none").is_error(404, None)
        assert conn.serves()


# ---- DeleteObject

@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
def test_delete(store, bucket, tls, size):
    client = store.client(tls)
    client.put_object(Bucket=bucket, Key="k", Body=data(size))

    answer = client.delete_object(Bucket=bucket, Key="k")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204

    assert fails(client.get_object, Bucket=bucket, Key="k") \
        == (404, "NoSuchKey")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0

    # again: 204, as if it had been there

    answer = client.delete_object(Bucket=bucket, Key="k")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_delete_leaves_neighbours(s3, bucket):
    for key in ("a", "a/", "a/b", "a0"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())

    s3.delete_object(Bucket=bucket, Key="a/")

    for key in ("a", "a/b", "a0"):
        assert read(s3, bucket, key) == key.encode()


def test_version_ids(store, objects):
    """An unversioned bucket knows one, "null"."""

    answer = raw.once(store, "GET", f"/{objects}/inline", "versionId=null")
    assert answer.body == data(SIZES["inline"])

    raw.once(store, "GET", f"/{objects}/inline", "versionId=abc") \
        .is_error(400, "InvalidArgument")
