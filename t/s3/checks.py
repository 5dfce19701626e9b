"""What tests of t/s3 share: data to store, errors to expect."""

import base64
import hashlib
import random
import zlib

import awscrt.checksums
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


def b64(number, size):
    return base64.b64encode(number.to_bytes(size, "big")).decode()


# S3's checksums, as their headers have them

DIGESTS = {
    "CRC32": lambda b: b64(awscrt.checksums.crc32(b), 4),
    "CRC32C": lambda b: b64(awscrt.checksums.crc32c(b), 4),
    "CRC64NVME": lambda b: b64(awscrt.checksums.crc64nvme(b), 8),
    "SHA1": lambda b: base64.b64encode(hashlib.sha1(b).digest()).decode(),
    "SHA256": lambda b:
    base64.b64encode(hashlib.sha256(b).digest()).decode(),
}


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


def same(client, bucket, key, body, tmp_path):
    """Asserts that a client of t/clients gets body."""

    client.get(bucket, key, tmp_path / "down")
    down = (tmp_path / "down").read_bytes()
    (tmp_path / "down").unlink()
    assert (len(down), md5(down)) == (len(body), md5(body))
