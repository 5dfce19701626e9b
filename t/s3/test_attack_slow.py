"""Two thousand clients that send, or take, a byte now and then: others are
served, and the server's memory and descriptors stay within bounds.

make test has fewer of them (S3_SLOW_CLIENTS), four times as fast."""

import contextlib
import os
import resource
import socket
import threading

import pytest

import raw
import s3_gateway
import s3_server
from checks import KIB, MIB, data
from test_attack_requests import descriptors


CLIENTS = int(os.environ.get("S3_SLOW_CLIENTS", 2000))
PAUSE = 1 if CLIENTS > 500 else 0.25    # seconds between a client's bytes
SERVED = 30            # seconds in which others have their answer
SIZE = 16 * MIB        # more than the kernel takes from nginx at once

# two workers' s3_memory, and for each connection what nginx itself has of it

LIMIT = 2 * 32 * MIB + CLIENTS * 16 * KIB

# a gateway's answers go through nginx's proxy_buffers (s3_gateway_params)

PROXY_LIMIT = LIMIT + CLIENTS * (16 + 8 * 32) * KIB


@pytest.fixture(scope="module")
def enough_descriptors():
    """For our own ends of the connections."""

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 2 * CLIENTS

    if soft < want:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE,
                               (want, max(want, hard)))

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < want:
        pytest.skip(f"{want} descriptors are not to be had")

    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def patient(server):
    """Takes as many connections as it is asked for.  Timeouts are short, so
    that who is ended by them is within a test."""

    server.conf.write_text(server.conf.read_text().replace(
        "worker_connections 1024", f"worker_connections {2 * CLIENTS}"))
    return server


MANY = {
    "main": f"worker_rlimit_nofile {4 * CLIENTS};",
    "server": "client_header_timeout 8s; client_body_timeout 5s;"
              "send_timeout 5s;",
}


@pytest.fixture(scope="module", params=["store", "gateway"])
def server(request, enough_descriptors):
    if s3_server.EXTERNAL or s3_server.THROUGH:
        s3_server.skip("starts a server")

    with contextlib.ExitStack() as stack:
        if request.param == "store":
            server = s3_server.Store(**MANY)
        else:
            upstream = stack.enter_context(patient(
                s3_gateway.UpstreamStore(main=MANY["main"])))
            server = s3_gateway.Gateway(
                upstream, gateway="s3_checksums pass;", **MANY)

        stack.enter_context(patient(server))

        s3 = server.client()
        s3.create_bucket(Bucket="slow")
        s3.put_object(Bucket="slow", Key="large", Body=data(SIZE))
        s3.put_object(Bucket="slow", Key="small", Body=b"small")
        yield server


def opened(server):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    s.settimeout(SERVED)
    s.connect(("127.0.0.1", server.port))
    return s


class Head:
    """Makes heads of requests."""

    def __init__(self, server):
        self.host = f"127.0.0.1:{server.port}"

    def __call__(self, *args, **kwargs):
        return raw.Connection.head(self, *args, **kwargs)


# ---- kinds of slow clients: (what is sent first, what again and again)

def headers(head, n):
    return f"GET /slow/small HTTP/1.1\r\nHost: {head.host}\r\nX-A: ".encode()


def forged(head, n):
    return head("PUT", f"/slow/new{n}", body_headers=[
        ("Content-Length", 1 << 30)], secret_key="wrong")


def body(head, n):
    return head("PUT", f"/slow/new{n}",
                body_headers=[("Content-Length", 1000)])


def large_body(head, n):
    return head("PUT", f"/slow/new{n}",
                body_headers=[("Content-Length", 1 << 30)])


def chunk_header(head, n):
    return head("PUT", f"/slow/new{n}", body_headers=[
        ("Transfer-Encoding", "chunked")]) + b"5;"


def aws_chunk_header(head, n):
    return head("PUT", f"/slow/new{n}", headers=[
        ("x-amz-decoded-content-length", "1000"),
        ("Content-Encoding", "aws-chunked")],
        body_headers=[("Content-Length", 2000)], payload=raw.TRAILER) + b"5;"


def read(head, n):
    return head("GET", "/slow/large", payload=raw.EMPTY_SHA256)


class Slow(threading.Thread):
    """Sends a byte on each of them, and takes one of the answer, each PAUSE.
    rounds: how often it has; ended: how many of them the server has."""

    def __init__(self, sockets):
        super().__init__()
        self.sockets = sockets
        self.stopping = threading.Event()
        self.rounds = 0
        self.ended = 0

    def run(self):
        alive = list(self.sockets)

        while not self.stopping.wait(PAUSE):
            for s in list(alive):
                try:
                    s.send(b"0", socket.MSG_DONTWAIT)
                    if s.recv(1, socket.MSG_DONTWAIT) == b"":
                        alive.remove(s)
                except BlockingIOError:
                    pass
                except OSError:
                    alive.remove(s)
            self.rounds += 1
            self.ended = len(self.sockets) - len(alive)


@contextlib.contextmanager
def slow(server, kind):
    head = Head(server)

    with contextlib.ExitStack() as stack:
        sockets = []

        for n in range(CLIENTS):
            sockets.append(stack.enter_context(opened(server)))
            sockets[-1].sendall(kind(head, n))

        thread = Slow(sockets)
        thread.start()

        try:
            yield thread
        finally:
            thread.stopping.set()
            thread.join()


def others(server):
    """What somebody else is answered: [(what, status, code)]."""

    answers = []

    with raw.Connection(server, timeout=SERVED) as conn:
        for method, path, query, body in (
                ("GET", "/slow/small", "", None),
                ("HEAD", "/slow/large", "", None),
                ("GET", "/slow", "list-type=2&max-keys=1", None),
                ("PUT", "/slow/mine", "", b"mine"),
                ("GET", "/slow/large", "", None)):
            answer = conn.request(method, path, query, body=body)
            answers.append((f"{method} {path}", answer.status, answer.code))

    return answers


# Who has a key and sends large bodies slowly takes the uploads' memory, who
# reads slowly the downloads': others are told so, or wait.

UPLOADS = {"PUT /slow/mine"}
DOWNLOADS = {"GET /slow/large"}


KINDS = {headers: (), forged: (), body: UPLOADS, large_body: UPLOADS,
         chunk_header: UPLOADS, aws_chunk_header: (), read: DOWNLOADS}


@pytest.mark.parametrize("kind,may_wait", KINDS.items(),
                         ids=[kind.__name__ for kind in KINDS])
def test_slow(server, kind, may_wait):
    before = server.rss()
    handles = descriptors(server)
    answers = []

    with server.watch_rss() as peak, slow(server, kind) as thread:
        s3_server.wait_for(lambda: descriptors(server)
                           >= handles + CLIENTS * 9 // 10, SERVED)

        while thread.rounds < 4:
            answers += others(server)

        # those that say nothing whole in time are ended

        if kind in (headers, read):
            s3_server.wait_for(lambda: thread.ended > CLIENTS // 2, SERVED)

        answers += others(server)

    print(f"RSS: {(peak[0] - before) // MIB} MiB; {len(answers)} answers")

    for what, status, code in answers:
        assert status == 200 or (
            what in may_wait and (status, code) == (503, "SlowDown")), \
            (what, status, code)

    assert peak[0] - before < (LIMIT if isinstance(server, s3_server.Store)
                               else PROXY_LIMIT)

    # and when they have gone, all of it is as it was

    s3_server.wait_for(lambda: all(s == 200 for _, s, _ in others(server)),
                       SERVED)

    # but for connections to an upstream, of which a worker keeps 32

    s3_server.wait_for(lambda: descriptors(server)
                       <= handles + 32 * server.workers + 8, SERVED)
