"""Many clients at once, each of whom knows what it must find."""

import concurrent.futures
import random
import time

import pytest

from checks import KIB, MIB, data


SECONDS = 15


@pytest.mark.parametrize("tls_", [False, True], ids=["http", "tls"])
def test_mixed(store, bucket, tls_):
    """16 threads, each on keys of its own: put, get, ranges, delete, list;
    after each step what is read is what was written last."""

    client = store.client(tls_)
    end = time.monotonic() + SECONDS
    sizes = [0, 1, 5_000, 16 * KIB + 1, 70_000, 300_000, MIB + 1, 5 * MIB]

    def run(n):
        chance = random.Random(n)
        mine = {}
        steps = 0

        while time.monotonic() < end:
            steps += 1
            key = f"{n:02}/{chance.randrange(12)}"
            what = chance.random()

            if what < 0.4:
                body = data(chance.choice(sizes), n * 1000 + steps % 7)
                client.put_object(Bucket=bucket, Key=key, Body=body)
                mine[key] = body

            elif what < 0.5:
                client.delete_object(Bucket=bucket, Key=key)
                mine.pop(key, None)

            elif what < 0.6:
                page = client.list_objects_v2(Bucket=bucket,
                                              Prefix=f"{n:02}/")
                found = {e["Key"]: e["Size"]
                         for e in page.get("Contents", [])}
                assert found == {k: len(v) for k, v in mine.items()}

            elif key not in mine:
                with pytest.raises(client.exceptions.NoSuchKey):
                    client.get_object(Bucket=bucket, Key=key)

            elif what < 0.8 and mine[key]:
                first = chance.randrange(len(mine[key]))
                last = first + chance.randrange(200_000)
                got = client.get_object(Bucket=bucket, Key=key,
                                        Range=f"bytes={first}-{last}")
                assert got["Body"].read() == mine[key][first:last + 1]

            else:
                got = client.get_object(Bucket=bucket, Key=key)
                assert got["Body"].read() == mine[key]

        return mine, steps

    everything = {}
    steps = 0

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for mine, n in pool.map(run, range(16)):
            everything.update(mine)
            steps += n

    assert steps > 16 * 5

    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket):
        found |= {e["Key"]: e["Size"] for e in page.get("Contents", [])}

    assert found == {k: len(v) for k, v in everything.items()}


def test_one_key(store, bucket):
    """Writers of one key: what is read is always one of the writes, whole.
    The first 8 bytes say which."""

    client = store.client()
    end = time.monotonic() + 6
    sizes = [20, 20_000, 400_000, 2 * MIB + 7]

    def body(n):
        return n.to_bytes(8, "big") + data(sizes[n % 4], n % 8)

    client.put_object(Bucket=bucket, Key="k", Body=body(0))

    def write(n):
        i = n
        while time.monotonic() < end:
            client.put_object(Bucket=bucket, Key="k", Body=body(i))
            i += 4

    def read(_):
        count = 0
        while time.monotonic() < end:
            got = client.get_object(Bucket=bucket, Key="k")["Body"].read()
            assert got == body(int.from_bytes(got[:8], "big"))
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, n) for n in range(1, 5)]
        readers = [pool.submit(read, n) for n in range(4)]

        for future in writers:
            future.result()

        assert sum(future.result() for future in readers) > 20


def test_reload_under_requests(store, bucket):
    """Old and new workers serve the same disks; no request fails.  (An old
    worker closes idle connections, which SDKs meet by trying again.)"""

    client = store.client(retries=4)
    end = time.monotonic() + 6
    failed = []

    def run(n):
        i = 0
        while time.monotonic() < end:
            body = data(30_000 if n % 2 else 500_000, i % 5)
            try:
                client.put_object(Bucket=bucket, Key=str(n), Body=body)
                got = client.get_object(Bucket=bucket, Key=str(n))
                if got["Body"].read() != body:
                    failed.append((n, i, "another body"))
            except client.exceptions.ClientError as error:
                failed.append((n, i, str(error)))
            i += 1

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(run, n) for n in range(8)]
        for _ in range(2):
            store.reload()
            time.sleep(1)
        for future in futures:
            future.result()

    assert not failed, failed[:5]
