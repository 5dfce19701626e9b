"""Large objects, and how little memory they take."""

import concurrent.futures
import hashlib
import io

import botocore.config
import pytest

import s3_server
from checks import MIB


LIMIT = 150 * MIB     # RSS of all nginx processes

# a block that no two places of an object share: 16 bytes of its number
# stand at the front of each

SIZE = 64 * 1024
BLOCK = hashlib.shake_128(b"pattern").digest(SIZE - 16)


def block(seed, i):
    return seed.to_bytes(8, "big") + i.to_bytes(8, "big") + BLOCK


class Pattern(io.RawIOBase):
    """A file of so many bytes that is never in memory; it can be sought in,
    which boto3 needs to sum it up before it sends it."""

    def __init__(self, size, seed=0):
        self.size = size
        self.seed = seed
        self.at = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=io.SEEK_SET):
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at,
                io.SEEK_END: self.size}[whence]
        self.at = base + offset
        return self.at

    def readinto(self, buffer):
        n = min(len(buffer), self.size - self.at)
        done = 0
        while done < n:
            i, offset = divmod(self.at, SIZE)
            piece = block(self.seed, i)[offset:offset + n - done]
            buffer[done:done + len(piece)] = piece
            self.at += len(piece)
            done += len(piece)
        return n


def compare(body, size, seed=0):
    """Reads a download to its end; each byte is the pattern's."""

    i = 0
    for piece in iter(lambda: body.read(SIZE), b""):
        want = block(seed, i)
        if len(piece) != SIZE:
            want = want[:size - i * SIZE]
        assert piece == want, f"differs in the 64 KiB at {i * SIZE}"
        i += 1

    assert i == -(-size // SIZE)


@pytest.fixture
def server():
    """Its memory is that of these requests alone."""

    with s3_server.Store() as server:
        server.client().create_bucket(Bucket="large")
        yield server


def test_1_gib(server):
    size = 1024 * MIB
    client = server.client(config=botocore.config.Config(
        read_timeout=300, tcp_keepalive=True))

    with server.watch_rss() as peak:
        client.put_object(Bucket="large", Key="k", Body=Pattern(size),
                          ContentLength=size)
        put = peak[0]

        head = client.head_object(Bucket="large", Key="k")
        assert head["ContentLength"] == size

        compare(client.get_object(Bucket="large", Key="k")["Body"], size)

        # across what must be stripes' borders, deep inside

        for first in (0, 512 * MIB - 5, size - 100_000):
            got = client.get_object(
                Bucket="large", Key="k",
                Range=f"bytes={first}-{first + 99_999}")["Body"].read()
            pattern = Pattern(size)
            pattern.seek(first)
            assert got == pattern.read(100_000)

    print(f"RSS: {put // MIB} MiB up, {peak[0] // MIB} MiB in all")
    assert peak[0] < LIMIT


def test_32_parallel(server):
    """32 uploads of 64 MiB at once, then as many downloads."""

    size = 64 * MIB
    count = 32
    client = server.client(config=botocore.config.Config(
        read_timeout=300, max_pool_connections=count))

    def put(n):
        client.put_object(Bucket="large", Key=str(n), Body=Pattern(size, n),
                          ContentLength=size)

    def get(n):
        compare(client.get_object(Bucket="large", Key=str(n))["Body"], size,
                n)

    with server.watch_rss() as peak, \
         concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(put, range(count)))
        up = peak[0]
        list(pool.map(get, range(count)))

    print(f"RSS: {up // MIB} MiB up, {peak[0] // MIB} MiB in all")
    assert peak[0] < LIMIT


def test_nothing_is_left(server):
    """What uploads leave on disks after overwriting and deleting: nothing."""

    client = server.client()

    for i in range(3):
        client.put_object(Bucket="large", Key="k", Body=Pattern(20 * MIB, i),
                          ContentLength=20 * MIB)

    compare(client.get_object(Bucket="large", Key="k")["Body"], 20 * MIB, 2)

    shards = len(server.disks)
    s3_server.wait_for(lambda: len(server.shard_files()) == shards, 30,
                       "old shards are still there")

    client.delete_object(Bucket="large", Key="k")

    s3_server.wait_for(lambda: not server.shard_files(), 30,
                       "shards of a deleted object are still there")
    s3_server.wait_for(lambda: not server.tmp_files(), 30,
                       "files in tmp/ are still there")
