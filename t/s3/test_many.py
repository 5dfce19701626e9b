"""A hundred thousand keys."""

import concurrent.futures
import multiprocessing
import re
import threading
import time
import types
import uuid

import raw


KEYS = 100_000
PREFIXES = 2_000
CONNECTIONS = 64      # of a process: nginx ends one after 1,000 requests
PIPELINED = 8         # requests on a connection that wait for answers
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def answers(sock, n):
    """Status of each of n answers without bodies, as they come in."""

    text = b""

    while text.count(b"\r\n\r\n") < n:
        piece = sock.recv(65536)
        assert piece, "the server has closed the connection"
        text += piece

    found = re.findall(rb"HTTP/1\.1 (\d+) ", text)
    assert len(found) == n and text.endswith(b"\r\n\r\n"), text
    return found


def write_keys(port, bucket, keys):
    """A byte each, with many requests under way: what runs in a process."""

    store = types.SimpleNamespace(
        url=lambda kind: f"{kind}://127.0.0.1:{port}")
    store.connect = lambda tls, timeout: \
        raw.socket.create_connection(("127.0.0.1", port), timeout)

    conns = [raw.Connection(store, timeout=120) for _ in range(CONNECTIONS)]
    step = CONNECTIONS * PIPELINED

    for at in range(0, len(keys), step):
        busy = []

        for i, conn in enumerate(conns):
            mine = keys[at + i * PIPELINED:
                        min(at + (i + 1) * PIPELINED, at + step)]
            if mine:
                conn.send(b"".join(
                    conn.head("PUT", f"/{bucket}/{key}",
                              body_headers=[("Content-Length", "1")]) + b"x"
                    for key in mine))
                busy.append((conn, len(mine)))

        for conn, n in busy:
            assert set(answers(conn.socket, n)) == {b"200"}

    for conn in conns:
        conn.close()


def walk(conn, bucket, size, delimiter=""):
    """Keys and prefixes of all pages of ListObjectsV2."""

    keys, prefixes, query = [], [], ""

    while True:
        page = conn.request("GET", f"/{bucket}", "list-type=2"
                            f"&max-keys={size}{delimiter}{query}").xml
        ours = [e.findtext(NS + "Key") for e in page.iter(NS + "Contents")]
        theirs = [e.findtext(NS + "Prefix")
                  for e in page.iter(NS + "CommonPrefixes")]

        keys += ours
        prefixes += theirs

        if page.findtext(NS + "IsTruncated") == "false":
            return keys, prefixes

        assert len(ours) + len(theirs) == size
        query = "&continuation-token=" + raw.quote(
            page.findtext(NS + "NextContinuationToken"))


def test_100_000_keys(store):
    """Pages are complete and in order, by keys and by prefixes, while others
    write before, between and behind what is listed."""

    each = KEYS // PREFIXES
    keys = [f"{i:04}/{j:02}" for i in range(PREFIXES) for j in range(each)]
    client = store.client()

    # not the fixture's, which would delete what is left one by one

    bucket = "many-" + uuid.uuid4().hex[:8]
    client.create_bucket(Bucket=bucket)

    # two processes: Python signs no faster

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        began = time.monotonic()
        for future in [pool.submit(write_keys, store.port, bucket, keys[i::2])
                       for i in range(2)]:
            future.result()
        print(f"{KEYS} keys in {time.monotonic() - began:.1f} s")

    stop = threading.Event()
    rounds = [0] * 4

    def write(n):
        """Keys that end in "~" come and go."""

        while not stop.is_set():
            for at in range(n, PREFIXES, PREFIXES // 8):
                for key in (f"{at:04}/{n}~", f"{at:04}{n}~", f"!{n}~",
                            f"~{n}~"):
                    client.put_object(Bucket=bucket, Key=key, Body=b"")
                    if rounds[n] % 2:
                        client.delete_object(Bucket=bucket, Key=key)
                if stop.is_set():
                    break
            rounds[n] += 1

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, n) for n in range(4)]

        try:
            with raw.Connection(store) as conn:
                found, prefixes = walk(conn, bucket, 1000)
                assert prefixes == []
                assert found == sorted(found)
                assert [k for k in found if not k.endswith("~")] == keys

                found, prefixes = walk(conn, bucket, 300, "&delimiter=%2F")
                assert found == sorted(found)
                assert all(k.endswith("~") for k in found)
                assert prefixes == [f"{i:04}/" for i in range(PREFIXES)]

                # a delimiter inside of what is common to them

                _, prefixes = walk(conn, bucket, 7, "&delimiter=%2F4"
                                   "&prefix=000")
                assert prefixes == [f"{i:04}/4" for i in range(10)]
        finally:
            stop.set()

        for writer in writers:
            writer.result()

    with raw.Connection(store) as conn:
        found, _ = walk(conn, bucket, 1000)

    for at in range(0, len(found), 1000):
        answer = client.delete_objects(Bucket=bucket, Delete={
            "Quiet": True,
            "Objects": [{"Key": k} for k in found[at:at + 1000]]})
        assert "Errors" not in answer

    client.delete_bucket(Bucket=bucket)
