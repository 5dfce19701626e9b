"""CreateBucket, HeadBucket, DeleteBucket, ListBuckets, GetBucketLocation."""

import datetime
import uuid

import pytest

import raw
from checks import fails


def new_name():
    return "new-" + uuid.uuid4().hex[:12]


def test_life_of_a_bucket(store, tls):
    client = store.client(tls)
    name = new_name()

    assert fails(client.head_bucket, Bucket=name) == (404, "404")

    before = datetime.datetime.now(datetime.timezone.utc)
    answer = client.create_bucket(Bucket=name)
    assert answer["Location"] == f"/{name}"

    answer = client.head_bucket(Bucket=name)
    assert answer["BucketRegion"] == store.region

    assert client.get_bucket_location(Bucket=name)["LocationConstraint"] \
        is None

    listed = {b["Name"]: b for b in client.list_buckets()["Buckets"]}
    assert name in listed
    assert abs(listed[name]["CreationDate"] - before) \
        < datetime.timedelta(seconds=60)

    answer = client.delete_bucket(Bucket=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204

    assert fails(client.head_bucket, Bucket=name) == (404, "404")
    assert name not in [b["Name"] for b in client.list_buckets()["Buckets"]]


def test_location_constraint(store, s3):
    """us-east-1 itself is no constraint for S3, but clients send it."""

    name = new_name()

    with raw.Connection(store) as conn:
        answer = conn.request(
            "PUT", f"/{name}", body=b"<CreateBucketConfiguration xmlns="
            b'"http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<LocationConstraint>us-east-1</LocationConstraint>"
            b"</CreateBucketConfiguration>")
        assert answer.status == 200, answer

    s3.head_bucket(Bucket=name)
    s3.delete_bucket(Bucket=name)


def test_bad_location_constraint(s3):
    name = new_name()

    assert fails(s3.create_bucket, Bucket=name, CreateBucketConfiguration={
        "LocationConstraint": "eu-west-1"}) \
        == (400, "IllegalLocationConstraintException")
    assert fails(s3.head_bucket, Bucket=name) == (404, "404")


@pytest.mark.parametrize("body", [
    b"<", b"hello", b"<CreateBucketConfiguration>", b"<a></a>",
    b'<!DOCTYPE x [<!ENTITY e "us-east-1">]><CreateBucketConfiguration>'
    b"<LocationConstraint>&e;</LocationConstraint>"
    b"</CreateBucketConfiguration>",
    b"<CreateBucketConfiguration><Nonsense/></CreateBucketConfiguration>",
])
def test_malformed_configuration(store, body):
    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{new_name()}", body=body) \
            .is_error(400, "MalformedXML")
        assert conn.serves()


def test_configuration_too_large(store):
    with raw.Connection(store) as conn:
        answer = conn.request("PUT", f"/{new_name()}", body=b" " * 3_000_000)
        assert answer.status == 400
        assert answer.code in ("MaxMessageLengthExceeded", "MalformedXML")


def test_bucket_that_is_there(store, s3, bucket):
    assert fails(s3.create_bucket, Bucket=bucket) \
        == (409, "BucketAlreadyOwnedByYou")

    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert fails(s3.create_bucket, Bucket=bucket) \
        == (409, "BucketAlreadyOwnedByYou")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_delete_missing_bucket(s3):
    assert fails(s3.delete_bucket, Bucket=new_name()) \
        == (404, "NoSuchBucket")


def test_delete_bucket_that_is_not_empty(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")

    assert fails(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    assert s3.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"x"

    s3.delete_object(Bucket=bucket, Key="a/b")
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_missing_bucket(s3):
    name = new_name()
    missing = (404, "NoSuchBucket")

    assert fails(s3.get_bucket_location, Bucket=name) == missing
    assert fails(s3.list_objects_v2, Bucket=name) == missing
    assert fails(s3.get_object, Bucket=name, Key="k") == missing
    assert fails(s3.put_object, Bucket=name, Key="k", Body=b"x") == missing
    assert fails(s3.put_object, Bucket=name, Key="k",
                 Body=b"x" * 3_000_000) == missing
    assert fails(s3.delete_object, Bucket=name, Key="k") == missing
    assert fails(s3.head_object, Bucket=name, Key="k") == (404, "404")


@pytest.mark.parametrize("name", [
    "ab", "Capital", "under_score", "a" * 64, "-dash", "dash-", "a..b",
    "192.168.5.4", "xn--punycode", "with%20space", "a*b",
])
def test_bucket_names(store, name):
    with raw.Connection(store) as conn:
        conn.request("PUT", "/" + name).is_error(400, "InvalidBucketName")
        assert conn.serves()


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c.9", "0abc0"])
def test_good_bucket_names(store, s3, name):
    s3.create_bucket(Bucket=name)
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket=name)


def test_list_buckets_in_pages(s3):
    names = sorted(f"page-{i:02}-{uuid.uuid4().hex[:6]}" for i in range(7))

    for name in names:
        s3.create_bucket(Bucket=name)

    try:
        found, token, pages = [], None, 0

        while True:
            more = {"ContinuationToken": token} if token else {}
            page = s3.list_buckets(MaxBuckets=3, Prefix="page-", **more)
            assert len(page["Buckets"]) <= 3
            assert page["Prefix"] == "page-"
            found += [b["Name"] for b in page["Buckets"]]
            pages += 1
            token = page.get("ContinuationToken")
            if not token:
                break

        assert found == names
        assert pages == 3

        page = s3.list_buckets(Prefix="page-", BucketRegion=s3.meta.region_name)
        assert [b["Name"] for b in page["Buckets"]] == names
        assert {b["BucketRegion"] for b in page["Buckets"]} \
            == {s3.meta.region_name}
        assert s3.list_buckets(BucketRegion="eu-west-1")["Buckets"] == []

        everything = s3.list_buckets()
        assert "BucketRegion" not in everything["Buckets"][0]
        assert [b["Name"] for b in everything["Buckets"]] \
            == sorted(b["Name"] for b in everything["Buckets"])
        assert everything["Owner"]["ID"]

    finally:
        for name in names:
            s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize("query", [
    "max-buckets=0", "max-buckets=10001", "max-buckets=x",
    "continuation-token=nonsense",
])
def test_list_buckets_bad_arguments(store, query):
    raw.once(store, "GET", "/", query).is_error(400, "InvalidArgument")
