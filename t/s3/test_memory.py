"""Memory when clients are slow: neither readers nor writers keep the others
from being served, and s3_memory bounds what all of them take."""

import concurrent.futures
import contextlib
import hashlib
import socket
import struct
import threading
import time

import pytest

import raw
import s3_server
from checks import KIB, MIB, data


LIMIT = 150 * MIB     # RSS of all nginx processes
SIZE = 16 * MIB       # more than the kernel takes from nginx at once

# no test here is about who is ended for being slow

PATIENT = "send_timeout 300s; client_body_timeout 300s;"


@pytest.fixture(scope="module")
def body():
    return data(SIZE, 1)


@pytest.fixture
def server(body):
    with s3_server.Store(server=PATIENT) as server:
        client = server.client()
        client.create_bucket(Bucket="memory")
        client.put_object(Bucket="memory", Key="k", Body=body)
        yield server


def target(store, method="GET", key="k"):
    host = f"127.0.0.1:{store.port}"
    return "/memory/" + key + "?" + raw.presign(method, host,
                                                "/memory/" + key)


class Reader:
    """A GET whose answer is read only as far as it is told; the client's
    system takes hardly anything ahead of it."""

    def __init__(self, store):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        self.socket.settimeout(120)
        self.socket.connect(("127.0.0.1", store.port))
        self.socket.sendall(f"GET {target(store)} HTTP/1.1\r\n"
                            f"Host: 127.0.0.1:{store.port}\r\n\r\n".encode())
        self.got = bytearray()

    def close(self):
        self.socket.close()

    def read(self, n):
        """Up to n bytes, if there are any now."""

        with contextlib.suppress(BlockingIOError):
            self.got += self.socket.recv(n, socket.MSG_DONTWAIT)

    def finish(self, body):
        """The rest; all of it must be the object."""

        while True:
            head, _, rest = bytes(self.got[:4096]).partition(b"\r\n\r\n")
            if rest:
                break
            piece = self.socket.recv(4096)
            assert piece, f"closed after {bytes(self.got)!r}"
            self.got += piece

        assert head.startswith(b"HTTP/1.1 200 "), head
        size = len(head) + 4 + len(body)

        # a large receive buffer again, else this takes long

        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)

        while len(self.got) < size:
            piece = self.socket.recv(MIB)
            assert piece, f"closed after {len(self.got)} bytes of {size}"
            self.got += piece

        assert self.got[len(head) + 4:] == body
        self.close()


def test_64_uploads_64_slow_readers(server, body):
    """Half of the readers are there first, half come while uploads are under
    way; half take 100 KB a second, half nothing at all until the end."""

    size = 64 * MIB
    bodies = [data(MIB, 10 + i) * 64 for i in range(4)]
    etags = [hashlib.md5(b).hexdigest() for b in bodies]
    readers = [Reader(server) for _ in range(32)]
    stop = threading.Event()
    failed = []

    def slow():
        while not stop.wait(0.1):
            for reader in list(readers)[::2]:
                reader.read(10 * KIB)

    def put(n):
        with server.connect(timeout=300) as s:
            s.sendall(f"PUT {target(server, 'PUT', str(n))} HTTP/1.1\r\n"
                      f"Host: 127.0.0.1:{server.port}\r\n"
                      f"Content-Length: {size}\r\n"
                      f"Connection: close\r\n\r\n".encode())
            try:
                s.sendall(bodies[n % 4])
            except OSError as error:
                failed.append((n, str(error)))
            answer = b"".join(iter(lambda: s.recv(KIB), b""))
        if not answer.startswith(b"HTTP/1.1 200 "):
            failed.append((n, answer))
        elif f'"{etags[n % 4]}"'.encode() not in answer:
            failed.append((n, "another ETag"))

    with server.watch_rss() as peak, \
         concurrent.futures.ThreadPoolExecutor(65) as pool:
        slowly = pool.submit(slow)
        try:
            uploads = [pool.submit(put, n) for n in range(64)]
            readers += [Reader(server) for _ in range(32)]
            began = time.monotonic()
            for upload in uploads:
                upload.result()
            took = time.monotonic() - began
        finally:
            stop.set()
            slowly.result()

        assert not failed, failed[:3]

        for reader in readers:
            reader.finish(body)

    print(f"uploads: {took:.1f} s; RSS: {peak[0] // MIB} MiB")
    assert peak[0] < LIMIT


def test_300_readers_that_never_read(server, body):
    """Others are served meanwhile: a reader, a writer, small and large; and
    in the end each of the 300 could have had its object."""

    client = server.client()

    with server.watch_rss() as peak, contextlib.ExitStack() as stack:
        readers = []
        for _ in range(300):
            readers.append(Reader(server))
            stack.callback(readers[-1].close)

        for n in range(20):
            client.put_object(Bucket="memory", Key="new",
                              Body=body[:5 * MIB + n])
            got = client.get_object(Bucket="memory", Key="new")["Body"].read()
            assert got == body[:5 * MIB + n]

            got = client.get_object(Bucket="memory", Key="k",
                                    Range=f"bytes={n}-{MIB}")["Body"].read()
            assert got == body[n:MIB + 1]

        for reader in readers[::30]:
            reader.finish(body)

    print(f"RSS: {peak[0] // MIB} MiB")
    assert peak[0] < LIMIT


def test_slow_readers_of_a_store_that_lost_two_disks(server, body):
    """What is missing is computed, whatever the others hold."""

    server.stop()

    for disk in server.disks[:2]:
        disk.rename(disk.with_name(disk.name + "-away"))

    server.start()

    with contextlib.ExitStack() as stack:
        readers = []
        for _ in range(100):
            readers.append(Reader(server))
            stack.callback(readers[-1].close)

        got = server.client().get_object(Bucket="memory", Key="k")
        assert got["Body"].read() == body

        for reader in readers[::10]:
            reader.finish(body)


# HTTP/2, as little of it as needed here (RFC 9113; RFC 7541, section 6.2.2:
# a literal field, not indexed)

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags, stream, payload=b""):
    return (struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
            + struct.pack(">I", stream) + payload)


def field(name, value):
    def text(s):
        n = len(s) - 127
        if n < 0:
            return bytes([len(s)]) + s.encode()
        more = b"\x7f"
        while n > 127:
            more += bytes([n % 128 + 128])
            n //= 128
        return more + bytes([n]) + s.encode()

    return b"\0" + text(name) + text(value)


class H2:
    """A connection whose streams have windows of so many bytes."""

    def __init__(self, port, window):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.host = f"127.0.0.1:{port}"
        self.bodies = {}
        self.ended = set()
        self.reset = set()
        self.socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE,
                                                window))
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 2**16)))

    def get(self, stream, target):
        self.bodies[stream] = bytearray()
        self.socket.sendall(frame(
            HEADERS, END_STREAM | END_HEADERS, stream,
            field(":method", "GET") + field(":scheme", "http")
            + field(":authority", self.host) + field(":path", target)))

    def window(self, stream, n):
        self.socket.sendall(frame(WINDOW_UPDATE, 0, stream,
                                  struct.pack(">I", n)))

    def exactly(self, n):
        got = bytearray()
        while len(got) < n:
            piece = self.socket.recv(n - len(got))
            assert piece, "the connection was closed"
            got += piece
        return bytes(got)

    def step(self):
        """Takes a frame."""

        head = self.exactly(9)
        payload = self.exactly(int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        stream = int.from_bytes(head[5:], "big")

        assert kind != GOAWAY, (stream, payload)

        if kind == RST_STREAM:
            self.reset.add(stream)
        if kind == DATA:
            self.bodies[stream] += payload
        if kind == SETTINGS and not flags & 1:
            self.socket.sendall(frame(SETTINGS, 1, 0))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)


def test_http2_tiny_windows(body):
    """64 streams of one connection take 100 bytes each and stall: others are
    served, and each stream goes on when its window opens."""

    port, = s3_server.free_ports(1)
    more = f"""
        listen 127.0.0.1:{port} http2;
        http2_max_concurrent_streams 64;
        {PATIENT}"""

    with s3_server.Store(server=more, workers=1) as server:
        client = server.client()
        client.create_bucket(Bucket="memory")
        client.put_object(Bucket="memory", Key="k", Body=body)

        h2 = H2(port, 100)
        path = "/memory/k?" + raw.presign("GET", h2.host, "/memory/k")
        streams = range(1, 129, 2)

        with server.watch_rss() as peak:
            for stream in streams:
                h2.get(stream, path)
            while any(len(h2.bodies[s]) < 100 for s in streams):
                h2.step()

            for n in range(8):
                client.put_object(Bucket="memory", Key="new", Body=body)
                got = client.get_object(Bucket="memory", Key="new")["Body"]
                assert got.read() == body

            for stream in streams[::8]:
                h2.window(stream, SIZE)
            while len(h2.ended) < 8:
                h2.step()

        assert h2.ended == set(streams[::8])
        assert not h2.reset
        for stream in streams:
            want = SIZE if stream in h2.ended else 100
            assert h2.bodies[stream] == body[:want]

        h2.socket.close()

        print(f"RSS: {peak[0] // MIB} MiB")
        assert peak[0] < LIMIT
