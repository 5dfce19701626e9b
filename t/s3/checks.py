"""What tests of t/s3 share: data to store, errors to expect."""

import base64
import hashlib
import random
import zlib

import pytest
from botocore.exceptions import ClientError


KIB = 1024
MIB = 1024 * KIB


def data(size, seed=0):
    """size bytes that look random and are the same each time."""

    return random.Random(size * 1_000_003 + seed).randbytes(size)


def md5(body):
    return hashlib.md5(body).hexdigest()


def crc(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def fails(call, *args, **kwargs):
    """(status, code) of the error that a call ends in."""

    with pytest.raises(ClientError) as error:
        call(*args, **kwargs)

    answer = error.value.response
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
    return (answer["ResponseMetadata"]["HTTPStatusCode"],
            answer["Error"]["Code"])


def read(client, bucket, key, **kwargs):
    return client.get_object(Bucket=bucket, Key=key, **kwargs)["Body"].read()
