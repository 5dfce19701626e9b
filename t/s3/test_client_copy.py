"""Copies, and deletes of many, by each client."""

from checks import KIB, data, md5, same
from clients import feature


@feature("delete many", "delete_many")
def test_delete_many(client, bucket, s3):
    keys = [f"k {i} <&> ü" for i in range(25)]

    for key in [*keys, "stays"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    client.delete_many(bucket, keys)
    assert [e["Key"] for e in
            s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["stays"]


@feature("copy", "copy")
def test_copy(client, bucket, s3, tmp_path):
    body = data(100 * KIB)
    s3.put_object(Bucket=bucket, Key="a b+ü", Body=body,
                  Metadata={"m": "1"}, ContentType="text/x-test")

    client.copy(bucket, "a b+ü", bucket, "to/c d+ü")

    head = s3.head_object(Bucket=bucket, Key="to/c d+ü")
    assert head["ContentType"] == "text/x-test"
    assert head["Metadata"]["m"] == "1"
    assert head["ETag"] == f'"{md5(body)}"'
    same(client, bucket, "to/c d+ü", body, tmp_path)


@feature("copy, metadata replaced", "call")
def test_copy_replace(client, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"old": "1"})
    client.call("CopyObject", Bucket=bucket, Key="k",
                CopySource=client.copy_source(bucket, "k"),
                MetadataDirective="REPLACE", Metadata={"new": "2"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"new": "2"}


@feature("copy, metadata replaced", "modify")
def test_modify(client, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"old": "1"})
    client.modify(bucket, "k", {"new": "2"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"]["new"] == "2"


@feature("move", "move")
def test_move(client, bucket, s3):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Metadata={"m": "1"})
    client.move(bucket, "a", bucket, "dir/b")
    assert [e["Key"] for e in
            s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["dir/b"]
    assert s3.head_object(Bucket=bucket, Key="dir/b")["Metadata"]["m"] == "1"
