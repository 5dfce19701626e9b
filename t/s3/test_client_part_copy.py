"""Copies in parts, by each client."""

from checks import data, same
from clients import feature
from clients.base import PART


BIG = data(2 * PART + 100_001)


@feature("copy, multipart", "copy",
         clients=["boto3", "boto3-v2", "aws", "rclone"])
def test_copy_multipart(client, bucket, s3, tmp_path, up):
    """Above their threshold: UploadPartCopy."""

    s3.put_object(Bucket=bucket, Key="a", Body=BIG, Metadata={"m": "1"})

    if client.name.startswith("boto3"):
        client.client.copy({"Bucket": bucket, "Key": "a"}, bucket, "b",
                           Config=client.transfer)
    else:
        client.copy(bucket, "a", bucket, "b")

    head = s3.head_object(Bucket=bucket, Key="b")
    assert head["ETag"].count("-") == 1
    if client.name != "aws":       # version 1 forgets it in such copies
        assert head["Metadata"]["m"] == "1"
    same(client, bucket, "b", BIG, tmp_path)


@feature("UploadPartCopy", "compose")
def test_compose(client, bucket, s3, tmp_path):
    s3.put_object(Bucket=bucket, Key="1", Body=BIG[:PART])
    s3.put_object(Bucket=bucket, Key="2", Body=b"end")
    client.compose(bucket, ["1", "2"], "both")
    same(client, bucket, "both", BIG[:PART] + b"end", tmp_path)


@feature("UploadPartCopy", "call")
def test_upload_part_copy(client, bucket, s3, tmp_path):
    s3.put_object(Bucket=bucket, Key="from ü", Body=BIG)
    at = {"Bucket": bucket, "Key": "to"}
    upload = client.call("CreateMultipartUpload", **at)["UploadId"]
    source = client.copy_source(bucket, "from ü")

    first = client.call("UploadPartCopy", **at, UploadId=upload,
                        PartNumber=1, CopySource=source,
                        CopySourceRange=f"bytes=10-{PART + 9}")
    second = client.call("UploadPartCopy", **at, UploadId=upload,
                         PartNumber=2, CopySource=source,
                         CopySourceRange="bytes=0-4")

    client.call("CompleteMultipartUpload", **at, UploadId=upload,
                MultipartUpload={"Parts": [
                    {"PartNumber": n + 1,
                     "ETag": p["CopyPartResult"]["ETag"]}
                    for n, p in enumerate((first, second))]})

    same(client, bucket, "to", BIG[10:PART + 10] + BIG[:5], tmp_path)
