"""The clients people use, and which test drives which of them.

    @feature("CopyObject", "copy")
    def test_copy(client, bucket): ...

runs once for each client that has a method copy(), and is a row of
docs/compatibility.md: "ok" where it passed, "-" where no test ran.
"""

import pytest

from clients.base import Failure, Stream
from clients.cli_aws import Aws
from clients.cli_rclone import Rclone
from clients.cli_s3cmd import S3cmd, S3cmdV2
from clients.sdk_boto3 import Boto3, Boto3V2
from clients.sdk_go import Go
from clients.sdk_js import Js
from clients.sdk_minio import Minio


# the columns, in order

CLIENTS = (Boto3, Boto3V2, Aws, S3cmd, S3cmdV2, Rclone, Minio, Js, Go)

BY_NAME = {c.name: c for c in CLIENTS}

# the rows, in order

ROWS = (
    "buckets: create, list, head, delete",
    "GetBucketLocation",
    "objects up and down, small and empty",
    "over TLS",
    "over HTTP/2",
    "multipart upload",
    "upload of unknown length",
    "multipart upload, operation by operation",
    "UploadPartCopy",
    "range",
    "head: size, ETag, Content-Type",
    "metadata",
    "metadata, not ASCII",
    "odd keys",
    "list, more than a page",
    "list, version 1",
    "list by folder",
    "ListObjectVersions",
    "delete",
    "delete many",
    "copy",
    "copy, metadata replaced",
    "copy, multipart",
    "move",
    "sync",
    "check of what is there",
    "presigned GET",
    "presigned PUT",
    "presigned, SigV2",
    "conditional read",
    "conditional write",
    "conditional delete",
    "checksum CRC32",
    "checksum CRC32C",
    "checksum CRC64NVME",
    "checksum SHA1",
    "checksum SHA256",
    "Content-MD5",
    "checksum of a multipart upload",
    "checksum that is wrong",
    "signed payload",
    "unsigned payload",
    "body of unknown length in one request",
    "GetObjectAttributes",
    "error NoSuchKey",
    "error NoSuchBucket",
    "error BucketNotEmpty",
    "error BucketAlreadyOwnedByYou",
    "error InvalidBucketName",
    "error SignatureDoesNotMatch",
    "error InvalidAccessKeyId",
    "error NoSuchUpload",
    "error EntityTooSmall",
    "error InvalidRange",
    "error AccessControlListNotSupported",
    "tags, of a bucket without",
    "policy, of a bucket without",
    "versioning: turning it on",
    "tags: writing them",
    "server-side encryption: asking for it",
)

# {row: {client: what its tests show, "ok" or "501"}}

FEATURES = {}


def feature(row, *needs, clients=None, kind=None, shows="ok"):
    """needs: methods a client must have.  clients: names, where it is not for
    all.  kind: of server, else the usual one.  shows: "501" where the test
    is that the server refuses as not implemented."""

    assert row in ROWS, row

    chosen = [c for c in CLIENTS
              if (clients is None or c.name in clients)
              and all(c.can(n) for n in needs)
              and (kind is None or kind in c.kinds)]

    assert chosen, f"{row}: by no client"

    for c in chosen:
        cells = FEATURES.setdefault(row, {})
        assert cells.setdefault(c.name, shows) == shows, (row, c.name)

    def mark(function):
        function = pytest.mark.parametrize(
            "client", [(c, kind) for c in chosen], indirect=True,
            ids=[c.name for c in chosen])(function)
        return pytest.mark.feature(row)(function)

    return mark


def code(call, *args, **kwargs):
    """S3's code of the error that a client's call ends in."""

    with pytest.raises(Failure) as error:
        call(*args, **kwargs)

    return error.value.code
