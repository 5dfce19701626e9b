"""Buckets and objects, with each client in its own words."""

import concurrent.futures

import pytest

from checks import KIB, data, md5, same
from clients import code, feature


@feature("buckets: create, list, head, delete", "make_bucket", "buckets",
         "remove_bucket")
def test_buckets(client, bucket):
    name = bucket + "-more"
    client.make_bucket(name)

    try:
        assert {name, bucket} <= set(client.buckets())
        if client.can("has_bucket"):
            assert client.has_bucket(name)
    finally:
        client.remove_bucket(name)

    assert name not in client.buckets()
    if client.can("has_bucket"):
        assert not client.has_bucket(name)


@feature("GetBucketLocation", "location")
def test_location(client, bucket, store):
    expected = None if store.region == "us-east-1" else store.region
    assert client.location(bucket) == expected


def up_and_down(client, bucket, up, tmp_path, sizes):
    for size in sizes:
        key = f"dir/of {size}"
        client.put(bucket, key, up(data(size)))
        same(client, bucket, key, data(size), tmp_path)

    client.put(bucket, key, up(data(11, 1)))
    same(client, bucket, key, data(11, 1), tmp_path)


@feature("objects up and down, small and empty", "put", "get")
def test_up_and_down(client, bucket, up, tmp_path):
    up_and_down(client, bucket, up, tmp_path, (0, 1, 300 * KIB))


@feature("over TLS", "put", "get", kind="tls")
def test_tls(client, bucket, up, tmp_path):
    up_and_down(client, bucket, up, tmp_path, (0, 300 * KIB))


@feature("over HTTP/2", "put", "get", kind="h2")
def test_http2(client, bucket, up, tmp_path, store):
    up_and_down(client, bucket, up, tmp_path, (0, 300 * KIB))
    assert any(f"/{bucket}/" in line and "HTTP/2.0" in line
               for line in store.access_lines())


@feature("head: size, ETag, Content-Type", "head")
def test_head(client, bucket, up, s3):
    body = data(1234)
    client.put(bucket, "k", up(body), content_type="text/x-test")
    head = client.head(bucket, "k")
    assert head["size"] == 1234
    assert head["etag"] in (md5(body), None)
    assert head["content_type"] == "text/x-test"
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] \
        == "text/x-test"


@feature("metadata", "head")
def test_metadata(client, bucket, up, s3):
    metadata = {"name": "a value", "with-dash": "1;2=3"}
    client.put(bucket, "k", up(b"x"), metadata=metadata)

    there = s3.head_object(Bucket=bucket, Key="k")["Metadata"]
    seen = client.head(bucket, "k")["metadata"]

    for name, value in metadata.items():
        assert there[name] == value
        assert seen[name] == value


@feature("metadata, not ASCII", "head")
def test_metadata_words(client, bucket, up, s3):
    """RFC 2047's words, which is how S3 has it. Some clients decode them."""

    client.put(bucket, "k", up(b"x"), metadata={
        "name": "=?utf-8?b?Y2Fmw6k=?=", "ascii": "=?UTF-8?Q?a_b?="})

    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"].items() \
        >= {"name": "=?UTF-8?Q?caf=C3=A9?=", "ascii": "a b"}.items()

    seen = client.head(bucket, "k")["metadata"]
    assert seen["name"] in ("=?UTF-8?Q?caf=C3=A9?=", "café")
    assert seen["ascii"] == "a b"


@feature("metadata, not ASCII", "head", clients=["go"])
def test_metadata_utf8(client, bucket, up, s3):
    """Go sends UTF-8 as it is, which S3 takes for Latin-1; so its answer."""

    client.put(bucket, "k", up(b"x"), metadata={"name": "café"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"]["name"] \
        == client.head(bucket, "k")["metadata"]["name"] \
        == "=?UTF-8?Q?caf=C3=83=C2=A9?="


@feature("range", "read")
def test_range(client, bucket, up):
    body = data(200 * KIB)
    client.put(bucket, "k", up(body))
    assert client.read(bucket, "k", 0, 0) == body[:1]
    assert client.read(bucket, "k", 65_530, 70_000) == body[65_530:70_001]


ODD = ["sp ace+plus%25% ", "ünï/日本 語", "a//b", "q?x=1&y=2#z;:@$,'()!*~[]"]

# rclone's paths have no empty element; aws s3's none that ends in a blank

LEFT_OUT = {"rclone": ("a//b",)}


@feature("odd keys", "put", "get", "list")
def test_odd_keys(client, bucket, up, tmp_path):
    keys = [k for k in ODD if k not in LEFT_OUT.get(client.name, ())]

    for i, key in enumerate(keys):
        client.put(bucket, key, up(data(100 + i)))

    assert sorted(client.list(bucket)) \
        == sorted((k, 100 + i) for i, k in enumerate(keys))

    for i, key in enumerate(keys):
        same(client, bucket, key, data(100 + i), tmp_path)

    for key in keys:
        client.delete(bucket, key)

    assert client.list(bucket) == []


@feature("delete", "delete", "list")
def test_delete(client, bucket, up):
    client.put(bucket, "a", up(b"a"))
    client.put(bucket, "b", up(b"b"))
    client.delete(bucket, "a")
    assert client.list(bucket) == [("b", 1)]


@pytest.fixture(scope="module")
def many(store):
    """A bucket of 2,100 keys, a tenth of them in folders."""

    client = store.client()
    name = f"test-many-{store.endpoint(store.kinds[0] != 'http')[-5:]}"
    client.create_bucket(Bucket=name)
    keys = [f"folder {i % 7}/ü{i}" if i % 10 == 0 else f"key {i:04}"
            for i in range(2100)]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda k: client.put_object(
            Bucket=name, Key=k, Body=b"x"), keys))

    yield name, sorted(keys)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda k: client.delete_object(Bucket=name, Key=k),
                      keys))
    client.delete_bucket(Bucket=name)


@feature("list, more than a page", "list")
def test_list(client, many):
    name, keys = many
    listed = client.list(name)
    assert sorted(k for k, _ in listed) == keys
    assert {size for _, size in listed} == {1}
    assert sorted(k for k, _ in client.list(name, "folder 3/")) \
        == [k for k in keys if k.startswith("folder 3/")]


@feature("list by folder", "folders")
def test_folders(client, many):
    name, keys = many
    assert sorted(client.folders(name)) \
        == [f"folder {i}/" for i in range(7)] \
        + [k for k in keys if "/" not in k]
    assert sorted(client.folders(name, "folder 3/")) \
        == [k for k in keys if k.startswith("folder 3/")]


MISSING = ("NoSuchKey", "404", "NotFound", "doesn't exist",
           "does not exist")


@feature("error NoSuchKey", "get")
def test_no_such_key(client, bucket, tmp_path):
    if client.name == "rclone":
        # to it that may be a directory, which it then copies
        assert code(client.delete, bucket, "no") in MISSING
    else:
        assert code(client.get, bucket, "no", tmp_path / "x") in MISSING


@feature("error NoSuchBucket", "list")
def test_no_such_bucket(client, bucket, up):
    assert code(client.list, bucket + "-no") \
        in ("NoSuchBucket", "directory not found")

    # rclone makes the bucket

    if client.name != "rclone":
        assert code(client.put, bucket + "-no", "k", up(b"x")) \
            == "NoSuchBucket"


@feature("error BucketNotEmpty", "remove_bucket")
def test_bucket_not_empty(client, bucket, up):
    client.put(bucket, "k", up(b"x"))
    assert code(client.remove_bucket, bucket) == "BucketNotEmpty"


@feature("error SignatureDoesNotMatch", "put")
def test_wrong_secret(client, clients_of, bucket, up, s3):
    other = clients_of(type(client), secret_key="x" * 40)
    assert code(other.put, bucket, "k", up(b"x")) \
        in ("SignatureDoesNotMatch", "403")
    assert code(other.list, bucket) == "SignatureDoesNotMatch"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@feature("error InvalidAccessKeyId", "list")
def test_wrong_key(client, clients_of, bucket):
    other = clients_of(type(client), access_key="NOBODYSKEY0000000001")
    assert code(other.list, bucket) == "InvalidAccessKeyId"
