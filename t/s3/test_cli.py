"""The aws command: what people type."""

import json
import os

import pytest

import s3_server
from checks import KIB, MIB, data
from clients import prefork


@pytest.fixture
def aws(store, tls, tmp_path):
    """aws(*arguments) -> (exit status, stdout, stderr)."""

    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env |= {"AWS_ACCESS_KEY_ID": s3_server.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": s3_server.SECRET_KEY,
            "AWS_REGION": store.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": ""}

    command = ["--endpoint-url", store.endpoint(tls)]

    if tls:
        command += ["--ca-bundle", str(store.ca)]

    def run(*args, check=True, stdin=None):
        done = prefork.run("aws", [*command, *args], env, tmp_path, stdin)
        if check:
            assert done.returncode == 0, done.stderr.decode()
        return done

    return run


def test_cp_and_ls(aws, bucket, tmp_path):
    for name, size in (("small", 10), ("some", 300 * KIB), ("big", 9 * MIB)):
        (tmp_path / name).write_bytes(data(size))
        aws("s3", "cp", name, f"s3://{bucket}/dir/{name}")
        aws("s3", "cp", f"s3://{bucket}/dir/{name}", name + ".back")
        assert (tmp_path / (name + ".back")).read_bytes() == data(size)

    listed = aws("s3", "ls", f"s3://{bucket}/dir/").stdout.decode()
    assert [line.split()[2:] for line in listed.splitlines()] \
        == [[str(9 * MIB), "big"], ["10", "small"],
            [str(300 * KIB), "some"]]

    assert aws("s3", "ls", f"s3://{bucket}").stdout.split() \
        == [b"PRE", b"dir/"]
    assert bucket.encode() in aws("s3", "ls").stdout


def test_multipart(aws, store, bucket, tmp_path):
    """What is configured by default: parts of 8 MiB, ten at a time."""

    (tmp_path / "f").write_bytes(data(65 * MIB + 3))

    aws("s3", "cp", "f", f"s3://{bucket}/f", "--no-progress")

    head = store.client().head_object(Bucket=bucket, Key="f",
                                      ChecksumMode="ENABLED")
    assert head["ETag"].endswith('-9"')
    assert head["ContentLength"] == 65 * MIB + 3

    aws("s3", "cp", f"s3://{bucket}/f", "back", "--no-progress")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "f").read_bytes()


def test_buckets(aws, bucket):
    name = bucket + "-cli"
    aws("s3", "mb", f"s3://{name}")
    assert aws("s3", "mb", f"s3://{name}", check=False).returncode == 1
    aws("s3", "rb", f"s3://{name}")

    gone = aws("s3", "ls", f"s3://{name}", check=False)
    assert gone.returncode != 0
    assert b"NoSuchBucket" in gone.stderr


def test_sync(aws, bucket, tmp_path):
    (tmp_path / "tree/sub dir").mkdir(parents=True)

    for i in range(5):
        (tmp_path / f"tree/f{i}").write_bytes(data(100 + i))
        (tmp_path / f"tree/sub dir/g{i} +ü").write_bytes(data(50 * KIB + i))

    aws("s3", "sync", "tree", f"s3://{bucket}/tree")
    assert aws("s3", "sync", "tree", f"s3://{bucket}/tree").stdout == b""

    aws("s3", "sync", f"s3://{bucket}/tree", "back")

    for path in (tmp_path / "tree").rglob("*"):
        if path.is_file():
            back = tmp_path / "back" / path.relative_to(tmp_path / "tree")
            assert back.read_bytes() == path.read_bytes()

    aws("s3", "rm", "--recursive", f"s3://{bucket}/tree")
    assert aws("s3", "ls", f"s3://{bucket}", check=False).stdout == b""


def test_pipe(aws, bucket, tmp_path):
    """From standard input and to standard output."""

    (tmp_path / "f").write_bytes(data(2 * MIB))

    with open(tmp_path / "f", "rb") as f:
        aws("s3", "cp", "-", f"s3://{bucket}/piped", stdin=f)

    assert aws("s3", "cp", f"s3://{bucket}/piped", "-").stdout \
        == data(2 * MIB)


def test_s3api(aws, bucket, tmp_path):
    (tmp_path / "f").write_bytes(data(70 * KIB))

    def api(*args):
        out = aws("s3api", *args, "--bucket", bucket, "--output",
                  "json").stdout
        return json.loads(out) if out.strip() else {}

    put = api("put-object", "--key", "k", "--body", "f",
              "--checksum-algorithm", "CRC64NVME", "--metadata", "a=1",
              "--content-type", "text/x")
    assert put["ChecksumCRC64NVME"]

    head = api("head-object", "--key", "k", "--checksum-mode", "ENABLED")
    assert head["ChecksumCRC64NVME"] == put["ChecksumCRC64NVME"]
    assert head["Metadata"] == {"a": "1"}
    assert head["ContentType"] == "text/x"

    got = api("get-object", "--key", "k", "--range", "bytes=10-19", "out")
    assert got["ContentRange"] == f"bytes 10-19/{70 * KIB}"
    assert (tmp_path / "out").read_bytes() == data(70 * KIB)[10:20]

    assert api("get-bucket-location")["LocationConstraint"] is None
    assert api("list-objects-v2")["Contents"][0]["Key"] == "k"

    missing = aws("s3api", "head-object", "--bucket", bucket, "--key", "no",
                  check=False)
    assert missing.returncode != 0
    assert b"404" in missing.stderr

    again = aws("s3api", "put-object", "--bucket", bucket, "--key", "k",
                "--if-none-match", "*", check=False)
    assert again.returncode != 0
    assert b"PreconditionFailed" in again.stderr
