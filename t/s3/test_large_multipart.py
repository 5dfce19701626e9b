"""The aws command with large objects: parts up and down, and how little
memory nginx takes.  10 GiB take minutes: only with S3_LARGE=1."""

import os
import subprocess
import sys
import threading

import pytest

import s3_server
from checks import MIB
from test_large import LIMIT, SIZE, block, compare


@pytest.fixture
def server():
    """Its memory is that of these requests alone."""

    with s3_server.Store() as server:
        server.client().create_bucket(Bucket="large")
        yield server


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [
    1024 * MIB,
    pytest.param(10 * 1024 * MIB, marks=pytest.mark.skipif(
        "S3_LARGE" not in os.environ, reason="S3_LARGE is not set"))],
    ids=["1 GiB", "10 GiB"])
def test_aws_cp(server, size):
    """From a pipe and to a pipe, with what is configured by default."""

    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env |= {"AWS_ACCESS_KEY_ID": s3_server.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": s3_server.SECRET_KEY,
            "AWS_REGION": server.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true"}

    command = [sys.executable, "-m", "awscli", "--endpoint-url",
               server.endpoint(), "s3", "cp", "--no-progress"]

    def feed(pipe):
        with pipe:
            for i in range(size // SIZE):
                pipe.write(block(0, i))

    with server.watch_rss() as peak:
        with subprocess.Popen([*command, "--expected-size", str(size), "-",
                               "s3://large/k"], env=env,
                              stdin=subprocess.PIPE) as up:
            thread = threading.Thread(target=feed, args=(up.stdin,))
            thread.start()
            thread.join()
            assert up.wait() == 0

        first = peak[0]

        head = server.client().head_object(Bucket="large", Key="k")
        assert head["ContentLength"] == size
        assert int(head["ETag"].strip('"').partition("-")[2]) > 100

        with subprocess.Popen([*command, "s3://large/k", "-"], env=env,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) as down:
            compare(down.stdout, size)
            assert down.wait() == 0

    print(f"RSS: {first // MIB} MiB up, {peak[0] // MIB} MiB in all")
    assert peak[0] < LIMIT
