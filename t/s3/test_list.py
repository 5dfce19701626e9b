"""ListObjectsV2, ListObjects, ListObjectVersions, each page against what
Python's own sorting says."""

import concurrent.futures
import urllib.parse
import uuid
import xml.etree.ElementTree as et

import pytest

import raw
from checks import fails, md5


NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"

KEYS = ["a", "a/", "a/b", "a/b/c", "a/b/d", "a//", "a/c", "ab", "a-b", "a.b",
        "b/1", "b/2", "b/3/4", "c", "c d", "c+d", "c%d", "c&d<e>\"f'",
        "d/é", "d/ü/x", "e\u20acf", "z\U0001f600z", "é", "\uffee", "~",
        "\u0001ctl", "Z", "0"]


def page_of(keys, prefix="", delimiter="", after=""):
    """(keys, common prefixes) of the list of all that comes after; a common
    prefix comes after its keys, but not after itself."""

    found, prefixes = [], []

    for key in sorted(keys, key=lambda k: k.encode()):
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        if delimiter:
            at = key.find(delimiter, len(prefix))
            if at >= 0:
                common = key[:at + len(delimiter)]
                if common != after and common not in prefixes:
                    prefixes.append(common)
                continue
        found.append(key)

    return found, prefixes


def walk(client, bucket, **kwargs):
    """All pages of a list: (keys, prefixes, number of pages)."""

    keys, prefixes, pages, token = [], [], 0, None

    while True:
        more = {"ContinuationToken": token} if token else {}
        page = client.list_objects_v2(Bucket=bucket, **kwargs, **more)
        pages += 1

        ours = [e["Key"] for e in page.get("Contents", [])]
        theirs = [p["Prefix"] for p in page.get("CommonPrefixes", [])]

        assert page["KeyCount"] == len(ours) + len(theirs)
        assert page["KeyCount"] <= page["MaxKeys"]

        keys += ours
        prefixes += theirs

        if not page["IsTruncated"]:
            assert "NextContinuationToken" not in page
            return keys, prefixes, pages

        assert page["KeyCount"] == page["MaxKeys"]
        token = page["NextContinuationToken"]


def walk_v1(client, bucket, **kwargs):
    """The same by ListObjects: by NextMarker, which is there with a delimiter
    only, else by the last key."""

    keys, prefixes, pages, marker = [], [], 0, ""

    while True:
        page = client.list_objects(Bucket=bucket, Marker=marker, **kwargs)
        pages += 1

        ours = [e["Key"] for e in page.get("Contents", [])]
        theirs = [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert page["Marker"] == marker
        assert len(ours) + len(theirs) <= page["MaxKeys"]

        keys += ours
        prefixes += theirs

        if not page["IsTruncated"]:
            assert "NextMarker" not in page
            return keys, prefixes, pages

        assert len(ours) + len(theirs) == page["MaxKeys"]

        if kwargs.get("Delimiter"):
            marker = page["NextMarker"]
            assert marker == max(ours + theirs, key=str.encode)
        else:
            assert "NextMarker" not in page
            marker = ours[-1]


def walk_versions(client, bucket, **kwargs):
    """The same by ListObjectVersions."""

    keys, prefixes, pages, more = [], [], 0, {}

    while True:
        page = client.list_object_versions(Bucket=bucket, **kwargs, **more)
        pages += 1

        for entry in page.get("Versions", []):
            assert entry["VersionId"] == "null"
            assert entry["IsLatest"] is True
            keys.append(entry["Key"])

        assert "DeleteMarkers" not in page
        prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]

        if not page["IsTruncated"]:
            assert "NextKeyMarker" not in page
            return keys, prefixes, pages

        more = {"KeyMarker": page["NextKeyMarker"]}

        if page["NextKeyMarker"] not in prefixes:
            assert page["NextVersionIdMarker"] == "null"
            more["VersionIdMarker"] = "null"
        else:
            assert "NextVersionIdMarker" not in page


WALKS = [walk, walk_v1, walk_versions]


@pytest.fixture(scope="module")
def full(store):
    """A bucket that holds KEYS; tests here only read it."""

    client = store.client()
    name = "list-" + uuid.uuid4().hex[:8]
    client.create_bucket(Bucket=name)

    for key in KEYS:
        client.put_object(Bucket=name, Key=key, Body=key.encode())

    yield name

    for key in KEYS:
        client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("prefix,delimiter", [
    ("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("a/b", "/"),
    ("a/b/", "/"), ("b/", ""), ("nothing", "/"), ("c", " "), ("", "b"),
    ("d/", "/"), ("", "é"), ("", "//"), ("a", "zz"), ("é", ""),
    ("z", "\U0001f600"),
])
@pytest.mark.parametrize("by", WALKS)
def test_pages(s3, full, size, prefix, delimiter, by):
    keys, prefixes, pages = by(s3, full, MaxKeys=size, Prefix=prefix,
                               Delimiter=delimiter)
    assert (keys, prefixes) == page_of(KEYS, prefix, delimiter)
    assert pages == max(1, -(-(len(keys) + len(prefixes)) // size))


@pytest.mark.parametrize("after", ["a", "a/b", "a/b/zzz", "b", "e", "~~",
                                   "\U0001f600", "a/"])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_start_after(s3, full, after, delimiter):
    keys, prefixes, _ = walk(s3, full, MaxKeys=2, StartAfter=after,
                             Delimiter=delimiter)
    want, want_prefixes = page_of(KEYS, "", delimiter, after)
    assert keys == want
    assert prefixes == want_prefixes


def test_entries(s3, full):
    page = s3.list_objects_v2(Bucket=full, Prefix="a/b")

    assert page["Name"] == full
    assert page["Prefix"] == "a/b"
    assert page["MaxKeys"] == 1000

    for entry in page["Contents"]:
        body = entry["Key"].encode()
        head = s3.head_object(Bucket=full, Key=entry["Key"])
        assert entry["Size"] == len(body)
        assert entry["ETag"] == head["ETag"] == f'"{md5(body)}"'
        assert entry["StorageClass"] == "STANDARD"
        assert entry["ChecksumAlgorithm"] == ["CRC32"]
        assert entry["ChecksumType"] == "FULL_OBJECT"
        assert entry["LastModified"].replace(microsecond=0) \
            == head["LastModified"]
        assert "Owner" not in entry


def test_fetch_owner(s3, full):
    page = s3.list_objects_v2(Bucket=full, Prefix="b/", FetchOwner=True)
    assert len(page["Contents"]) == 3
    assert all(e["Owner"]["ID"] for e in page["Contents"])


def test_max_keys_0(s3, full):
    page = s3.list_objects_v2(Bucket=full, MaxKeys=0)
    assert page["KeyCount"] == 0
    assert not page["IsTruncated"]
    assert "Contents" not in page


@pytest.mark.parametrize("after", ["a", "a/b", "a/b/zzz", "b", "~~",
                                   "\U0001f600", "a/"])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_markers(s3, full, after, delimiter):
    want = page_of(KEYS, "", delimiter, after)

    page = s3.list_objects(Bucket=full, Marker=after, Delimiter=delimiter)
    assert [e["Key"] for e in page.get("Contents", [])] == want[0]
    assert [p["Prefix"] for p in page.get("CommonPrefixes", [])] == want[1]
    assert page["Marker"] == after

    for more in ({}, {"VersionIdMarker": "null"}):
        page = s3.list_object_versions(Bucket=full, KeyMarker=after,
                                       Delimiter=delimiter, **more)
        assert [e["Key"] for e in page.get("Versions", [])] == want[0]
        assert [p["Prefix"] for p in page.get("CommonPrefixes", [])] \
            == want[1]
        assert page["KeyMarker"] == after
        assert page.get("VersionIdMarker", "") \
            == more.get("VersionIdMarker", "")


def test_entries_of_the_others(s3, full):
    """What a V2 entry has, they have; and the owner, always."""

    entries = s3.list_objects_v2(Bucket=full, FetchOwner=True)["Contents"]
    assert s3.list_objects(Bucket=full)["Contents"] == entries

    versions = s3.list_object_versions(Bucket=full)["Versions"]
    assert versions == [{**e, "VersionId": "null", "IsLatest": True}
                        for e in entries]


def test_max_keys_0_of_the_others(s3, full):
    page = s3.list_objects(Bucket=full, MaxKeys=0)
    assert page["MaxKeys"] == 0 and not page["IsTruncated"]
    assert "Contents" not in page

    page = s3.list_object_versions(Bucket=full, MaxKeys=0)
    assert page["MaxKeys"] == 0 and not page["IsTruncated"]
    assert "Versions" not in page


def test_optional_attributes(s3, full):
    page = s3.list_objects_v2(Bucket=full, Prefix="b/",
                              OptionalObjectAttributes=["RestoreStatus"])
    assert len(page["Contents"]) == 3
    assert "RestoreStatus" not in page["Contents"][0]

    assert fails(s3.list_objects_v2, Bucket=full,
                 OptionalObjectAttributes=["Colour"]) \
        == (400, "InvalidArgument")


def test_max_keys_is_1000_at_most(s3, full):
    page = s3.list_objects_v2(Bucket=full, MaxKeys=100_000)
    assert page["MaxKeys"] == 1000
    assert page["KeyCount"] == len(KEYS)


def test_encoding_type(store, full):
    """boto3 asks for it silently and decodes: look at the XML itself."""

    page = raw.once(store, "GET", f"/{full}", "list-type=2&encoding-type=url"
                    "&delimiter=%2F&start-after=c%20&prefix=c")
    root = page.xml

    assert root.tag == NS + "ListBucketResult"
    assert root.findtext(NS + "EncodingType") == "url"
    assert root.findtext(NS + "Delimiter") in ("/", "%2F")
    assert urllib.parse.unquote(root.findtext(NS + "StartAfter")
                                .replace("+", " ")) == "c "

    keys = [e.findtext(NS + "Key") for e in root.iter(NS + "Contents")]
    assert keys and all(k.isascii() for k in keys)
    assert not any(c in k for k in keys for c in " <>&\"")
    assert [urllib.parse.unquote_plus(k) for k in keys] \
        == page_of(KEYS, "c", "/", "c ")[0]


@pytest.mark.parametrize("query,marker", [
    ("", "Marker"), ("marker=c%20&", "Marker"),
    ("versions&key-marker=c%20&", "KeyMarker")])
def test_encoding_type_of_the_others(store, full, query, marker):
    root = raw.once(store, "GET", f"/{full}", query + "encoding-type=url"
                    "&delimiter=%20&max-keys=2&prefix=c").xml

    assert root.findtext(NS + "EncodingType") == "url"
    assert root.findtext(NS + "Delimiter") in ("%20", "+")

    after = "c " if "marker" in query else ""
    assert urllib.parse.unquote_plus(root.findtext(NS + marker)) == after

    name = "Version" if "versions" in query else "Contents"
    keys = [e.findtext(NS + "Key") for e in root.iter(NS + name)]
    prefixes = [e.findtext(NS + "Prefix")
                for e in root.iter(NS + "CommonPrefixes")]
    assert not any(c in k for k in keys + prefixes for c in " <>&\"")

    keys = [urllib.parse.unquote_plus(k) for k in keys]
    prefixes = [urllib.parse.unquote_plus(p) for p in prefixes]
    want, want_prefixes = page_of(KEYS, "c", " ", after)
    assert sorted(keys + prefixes, key=str.encode) \
        == sorted(want + want_prefixes, key=str.encode)[:2]

    following = root.findtext(NS + f"Next{marker}")
    assert urllib.parse.unquote_plus(following) \
        == max(keys + prefixes, key=str.encode)


def test_without_encoding_type(store, full):
    page = raw.once(store, "GET", f"/{full}", "list-type=2&prefix=c")
    keys = [e.findtext(NS + "Key") for e in page.xml.iter(NS + "Contents")]
    assert keys == page_of(KEYS, "c")[0]


def test_controls_survive_url_encoding(s3, full):
    """XML 1.0 cannot hold U+0001, hence encoding-type=url."""

    for by in WALKS:
        keys, _, _ = by(s3, full, Prefix="\u0001")
        assert keys == ["\u0001ctl"]


@pytest.mark.parametrize("change", [
    lambda t: t[:-1], lambda t: t + "A", lambda t: "x" + t[1:],
    lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), lambda t: "!" + t,
    lambda t: t + "=", lambda t: "a" * 5000, lambda t: "",
])
def test_tampered_token(s3, full, change):
    token = s3.list_objects_v2(Bucket=full,
                               MaxKeys=3)["NextContinuationToken"]

    assert fails(s3.list_objects_v2, Bucket=full,
                 ContinuationToken=change(token)) == (400, "InvalidArgument")


@pytest.mark.parametrize("query", [
    "max-keys=-1", "max-keys=x", "max-keys=99999999999", "max-keys=1.5",
    "encoding-type=base64", "fetch-owner=maybe", "prefix=%FF",
])
def test_bad_arguments(store, full, query):
    raw.once(store, "GET", f"/{full}", "list-type=2&" + query) \
        .is_error(400, "InvalidArgument")


@pytest.mark.parametrize("query", [
    "list-type=1", "list-type=3", "list-type=", "marker=%FF", "max-keys=-1",
    "versions&version-id-marker=null", "versions&key-marker=a&"
    "version-id-marker=", "versions&key-marker=a&version-id-marker=1",
    "versions&key-marker=%FF", "versions&max-keys=x",
    "versions&encoding-type=x",
])
def test_bad_arguments_of_the_others(store, full, query):
    raw.once(store, "GET", f"/{full}", query).is_error(400, "InvalidArgument")


def test_missing_bucket_of_the_others(s3):
    name = "none-" + uuid.uuid4().hex[:8]
    assert fails(s3.list_objects, Bucket=name) == (404, "NoSuchBucket")
    assert fails(s3.list_object_versions, Bucket=name) \
        == (404, "NoSuchBucket")


def test_token_outlives_deletes(s3, bucket):
    """A page goes on after a key that is gone."""

    for i in range(9):
        s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"")

    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=4)

    for i in (3, 4):
        s3.delete_object(Bucket=bucket, Key=f"k{i}")

    page = s3.list_objects_v2(
        Bucket=bucket, ContinuationToken=page["NextContinuationToken"])
    assert [e["Key"] for e in page["Contents"]] == ["k5", "k6", "k7", "k8"]


def test_list_after_write(s3, bucket):
    for i in range(30):
        s3.put_object(Bucket=bucket, Key=f"k{i:02}", Body=b"")
        keys, _, _ = walk(s3, bucket)
        assert keys == [f"k{j:02}" for j in range(i + 1)]

    for i in range(30):
        s3.delete_object(Bucket=bucket, Key=f"k{i:02}")
        keys, _, _ = walk(s3, bucket)
        assert keys == [f"k{j:02}" for j in range(i + 1, 30)]


def test_2500_keys(store, bucket):
    client = store.client()
    keys = [f"dir{i % 50:02}/{i:05}" for i in range(2500)]

    def request(method, status, body, some):
        with raw.Connection(store) as conn:
            for key in some:
                answer = conn.request(method, f"/{bucket}/{key}", body=body)
                assert answer.status == status, answer

    some = [keys[i::16] for i in range(16)]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda s: request("PUT", 200, b"x", s), some))

        found, _, pages = walk(client, bucket)
        assert found == sorted(keys)
        assert pages == 3

        found, prefixes, pages = walk(client, bucket, Delimiter="/",
                                      MaxKeys=20)
        assert found == []
        assert prefixes == [f"dir{i:02}/" for i in range(50)]
        assert pages == 3

        list(pool.map(lambda s: request("DELETE", 204, None, s), some))
