"""What is not implemented says so: never another operation's answer."""

import pytest

import raw
from checks import fails, read


# what can be written to a bucket, but not here; POST is nobody's

BUCKET = ["acl", "policy", "cors", "lifecycle", "versioning", "tagging",
          "encryption", "object-lock", "notification", "replication",
          "website", "logging", "ownershipControls", "publicAccessBlock",
          "requestPayment", "accelerate", "analytics&id=a", "inventory&id=a",
          "metrics&id=a", "intelligent-tiering&id=a"]


@pytest.mark.parametrize("name", BUCKET)
def test_writing_a_sub_resource_of_a_bucket(store, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}", name, body=b"<x/>") \
            .is_error(501, "NotImplemented")
        conn.request("POST", f"/{bucket}", name, body=b"<x/>") \
            .is_error(405, "MethodNotAllowed")
        assert conn.serves()

    # the bucket is there still, with what is in it

    assert read(s3, bucket, "k") == b"x"


@pytest.mark.parametrize("name", ["acl", "tagging", "retention",
                                  "legal-hold"])
def test_writing_a_sub_resource_of_an_object(store, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        conn.request("PUT", f"/{bucket}/k", name, body=b"<x/>") \
            .is_error(501, "NotImplemented")
        conn.request("POST", f"/{bucket}/k", name, body=b"<x/>") \
            .is_error(405, "MethodNotAllowed")
        assert conn.serves()

    assert read(s3, bucket, "k") == b"x"


@pytest.mark.parametrize("method,name", [
    ("GET", "torrent"), ("POST", "restore"), ("POST", "select&select-type=2"),
    ("PUT", "renameObject"), ("DELETE", "uploads"), ("PUT", "uploadId=1"),
    ("DELETE", "partNumber=1"),
])
def test_not_there_at_all(store, s3, bucket, method, name):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        answer = conn.request(method, f"/{bucket}/k", name, body=b"<x/>")
        assert answer.status in (501, 405), answer
        answer.is_error(answer.status, {501: "NotImplemented",
                                        405: "MethodNotAllowed"}
                        [answer.status])
        assert conn.serves()

    assert read(s3, bucket, "k") == b"x"


@pytest.mark.parametrize("query", ["nonsense", "nonsense=1", "prefix=x",
                                   "ACL"])
def test_unknown_query(store, s3, bucket, query):
    """What may mean something is not passed over in silence."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    for method, body in (("PUT", b"y"), ("DELETE", None)):
        raw.once(store, method, f"/{bucket}/k", query, body=body) \
            .is_error(501, "NotImplemented")

    assert read(s3, bucket, "k") == b"x"


@pytest.mark.parametrize("query", ["x-id=GetObject", "x-my-own=1", "&&",
                                   "x-id=GetObject&x-a=%26"])
def test_queries_that_mean_nothing(store, s3, bucket, query):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert raw.once(store, "GET", f"/{bucket}/k", query).body == b"x"


def test_boto3_is_told(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    told = (501, "NotImplemented")

    assert fails(s3.put_bucket_versioning, Bucket=bucket,
                 VersioningConfiguration={"Status": "Enabled"}) == told
    assert fails(s3.put_bucket_policy, Bucket=bucket, Policy="{}") == told
    assert fails(s3.put_object_tagging, Bucket=bucket, Key="k",
                 Tagging={"TagSet": []}) == told

    assert [e["Key"] for e in
            s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert read(s3, bucket, "k") == b"x"
