"""Who gets in when there is not enough for all: those that are slow make room
for those that wait, nobody else does, and whoever is turned away is told so."""

import contextlib
import json
import os
import select
import signal
import threading

import pytest

import raw
import s3_gateway
import s3_server
from checks import KIB, MIB, data
from test_attack_documents import complete, part
from test_memory import H2, Reader


# One worker.  Large uploads take 4 MiB each, of the 12 that uploads may have;
# downloads 64 KiB each, of as much.

MEMORY = "s3_memory 16m;"
UPLOADS = 3
DOWNLOADS = 12 * MIB // (64 * KIB)

# nobody here is ended by nginx

PATIENT = "send_timeout 300s; client_body_timeout 300s;"


@pytest.fixture
def make():
    with contextlib.ExitStack() as stack:
        def make(http="", server=PATIENT, **kwargs):
            store = stack.enter_context(s3_server.Store(
                workers=1, http=MEMORY + http, server=server, **kwargs))
            store.client().create_bucket(Bucket="memory")
            return store

        yield make


class Sender(threading.Thread):
    """A PUT of size bytes, piece of them each interval seconds until it is
    told to hurry; answer is what came of it."""

    def __init__(self, store, key, size=6 * MIB, piece=1, interval=0.1):
        super().__init__(daemon=True)
        self.conn = raw.Connection(store, timeout=60)
        self.body = data(MIB, 7) * (size // MIB)
        self.piece = piece
        self.interval = interval
        self.hurry = threading.Event()
        self.answer = None
        self.conn.send(self.conn.head(
            "PUT", f"/memory/{key}", body_headers=[("Content-Length", size)]))
        self.start()

    def run(self):
        at = 0

        # an answer that comes while it sends is that of who is ended; the
        # test may have ended, too

        with contextlib.suppress(OSError):
            while not self.hurry.wait(self.interval):
                if select.select([self.conn.socket], [], [], 0)[0]:
                    break

                self.conn.send(self.body[at:at + self.piece])
                at += self.piece
            else:
                self.conn.send(self.body[at:])

        with contextlib.suppress(OSError):
            self.answer = self.conn.answer("PUT")

    def finish(self):
        self.hurry.set()
        self.join(60)
        self.conn.close()
        return self.answer


@contextlib.contextmanager
def senders(store, *args):
    """Those that are given as arguments; they have their memory."""

    all_of_them = []

    try:
        for n, kwargs in enumerate(args):
            all_of_them.append(Sender(store, f"slow{n}", **kwargs))
            held = 4 * MIB * len(all_of_them)
            s3_server.wait_for(lambda held=held: workers(store)["upload_bytes"]
                               >= held, 20)
        yield all_of_them
    finally:
        for sender in all_of_them:
            sender.conn.close()
            sender.hurry.set()
            sender.join(60)


STATUS = "location = /status { s3_status; }"


def status(store):
    answer = raw.once(store, "GET", "/status", signed=False)
    assert answer.status == 200
    return json.loads(answer.body)["stores"][0]


def workers(store):
    """What they hold; looked at once a second."""

    return status(store)["workers"]


def rejected(store):
    return status(store)["requests"]["rejected"]


def cut_off(store):
    """How many answers were, for being taken too slowly."""

    return status(store)["requests"]["operations"]["GetObject"]["errors"] \
        .get("RequestTimeout", 0)


def test_slow_senders_make_room(make):
    """All memory is theirs.  Another upload is done, and costs no more of
    them than it takes."""

    store = make("s3_min_rate 16k grace=1s;", PATIENT + STATUS)
    body = data(5 * MIB)

    with senders(store, *[{}] * UPLOADS) as slow:
        assert raw.once(store, "PUT", "/memory/k", body=body).status == 200
        s3_server.wait_for(lambda: not all(s.is_alive() for s in slow), 20)

        ended = [s for s in slow if not s.is_alive()]
        assert len(ended) == 1
        ended[0].answer.is_error(400, "RequestTimeout")
        assert ended[0].answer.headers["connection"] == "close"

        # those that are left may go on

        for s in set(slow) - set(ended):
            assert s.finish().status == 200

    assert raw.once(store, "GET", "/memory/k").body == body


def test_slowest_first(make):
    """Who is fast enough stays, however many wait; who is not goes."""

    store = make("s3_min_rate 16k grace=1s;",
                 "client_body_timeout 4s;" + STATUS)
    fast = {"piece": 8 * KIB}                       # 80 KB/s
    body = data(5 * MIB)

    with senders(store, fast, {}, fast) as (one, slow, two):
        assert raw.once(store, "PUT", "/memory/k", body=body).status == 200
        slow.join(20)
        slow.answer.is_error(400, "RequestTimeout")

        with senders(store, fast) as (three,):
            answer = raw.once(store, "PUT", "/memory/new", body=body)
            answer.is_error(503, "SlowDown")
            assert answer.headers["retry-after"]

            for s in (one, two, three):
                assert s.finish().status == 200

    assert raw.once(store, "PUT", "/memory/new", body=body).status == 200


@pytest.mark.parametrize("rate", ["16k grace=1s", "off"])
def test_slow_sender_whom_nobody_waits_for(make, rate):
    """Others find memory enough, or all waits where no rate is asked for."""

    store = make(f"s3_min_rate {rate};", "client_body_timeout 4s;" + STATUS)
    n = UPLOADS - 1 if rate != "off" else UPLOADS

    with senders(store, *[{}] * n) as slow:
        for i in range(4):
            answer = raw.once(store, "PUT", f"/memory/{i}", body=data(5 * MIB))

            if rate != "off":
                assert answer.status == 200
                threading.Event().wait(0.5)
            else:
                answer.is_error(503, "SlowDown")
                break

        for s in slow:
            assert s.finish().status == 200


def test_slow_readers_make_room(make):
    """All slots are theirs, and in the way of an upload as well: as many as it
    takes are cut off, and no more."""

    store = make("s3_min_rate 16k grace=1s; s3_timeout 30s;",
                 PATIENT + STATUS)
    body = data(16 * MIB)
    s3 = store.client()
    s3.put_object(Bucket="memory", Key="k", Body=body)

    with contextlib.ExitStack() as stack:
        readers = []

        for _ in range(DOWNLOADS):
            readers.append(Reader(store))
            stack.callback(readers[-1].close)

        s3_server.wait_for(lambda: workers(store)["download_bytes"]
                           == 12 * MIB, 20)

        got = s3.get_object(Bucket="memory", Key="k", Range="bytes=5-70000")
        assert got["Body"].read() == body[5:70001]
        assert cut_off(store) == 1

        # 4 MiB of uploads' own; 4 more are readers' for the second

        with senders(store, {}, {}):
            assert cut_off(store) in (63, 64)

        # those who are left can have all of it: who came last

        for reader in readers[-5:]:
            reader.finish(body)


def test_slow_streams_make_room():
    """All slots are of one HTTP/2 connection, whose streams' windows are used
    up: one of them is reset, the others go on."""

    port, = s3_server.free_ports(1)
    slots = 3 * MIB // (64 * KIB)
    body = data(2 * MIB)

    with s3_server.Store(
            workers=1, http="s3_memory 4m; s3_timeout 30s;"
            "s3_min_rate 16k grace=1s;",
            server=f"listen 127.0.0.1:{port} http2;" + PATIENT + STATUS) \
            as store:
        s3 = store.client()
        s3.create_bucket(Bucket="memory")
        s3.put_object(Bucket="memory", Key="k", Body=body)

        h2 = H2(port, 100)
        path = "/memory/k?" + raw.presign("GET", h2.host, "/memory/k")
        streams = range(1, 2 * slots, 2)

        for stream in streams:
            h2.get(stream, path)
        while any(len(h2.bodies[s]) < 100 for s in streams):
            h2.step()

        got = s3.get_object(Bucket="memory", Key="k")["Body"].read()
        assert got == body
        assert cut_off(store) == 1

        while not h2.reset:
            h2.step()

        stream = next(s for s in streams if s not in h2.reset)
        h2.window(stream, len(body))
        while not h2.ended:
            h2.step()

        assert h2.bodies[stream] == body
        assert len(h2.reset) == 1
        h2.socket.close()


def test_slow_documents_make_room(make):
    """Lists of parts that stall, and pages of a list that nobody takes."""

    store = make("s3_min_rate 16k grace=1s; s3_document_memory 16m;",
                 PATIENT + STATUS)
    s3 = store.client()
    upload_id = s3.create_multipart_upload(Bucket="memory",
                                           Key="k")["UploadId"]
    body = complete("".join(map(part, range(1, 10001))))
    path, query = "/memory/k", f"uploadId={upload_id}"

    def again():
        answer = raw.once(store, "POST", path, query, body=body)
        return answer if answer.status != 503 else None

    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(raw.Connection(store))
                 for _ in range(32)]

        for conn in conns:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                conn.send(conn.head("POST", path, query, (),
                                    [("Content-Length", len(body))])
                          + body[:-30])

        s3_server.wait_for(again, 20).is_error(400, "InvalidPart")

        codes = []

        for conn in conns:
            conn.socket.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                codes.append(conn.answer("POST").code)

        # some were told at once that there is no room, some were ended, and
        # some are still there

        assert set(codes) == {"SlowDown", "RequestTimeout"}
        assert len(codes) < len(conns)

    assert rejected(store)["slow"] == codes.count("RequestTimeout")


def test_gateway_bodies():
    """Bodies that a gateway keeps whole, of unknown length: they are refused
    where there is no memory, until the slow ones are ended."""

    body = data(4 * MIB)

    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(s3_gateway.UpstreamStore(workers=1))
        gateway = stack.enter_context(s3_gateway.Gateway(
            upstream, gateway="s3_checksums pass;", workers=1,
            http="s3_memory 8m; s3_min_rate 16k grace=1s;", server=PATIENT))
        gateway.client().create_bucket(Bucket="memory")

        conns = [stack.enter_context(raw.Connection(gateway))
                 for _ in range(2)]

        for n, conn in enumerate(conns):
            conn.send(conn.head("PUT", f"/memory/slow{n}", body_headers=[
                ("Content-Length", 4 * MIB)]) + body[:1000])

        def again():
            answer = raw.once(gateway, "PUT", "/memory/new", body=body,
                              chunked=True)
            return answer if answer.status != 503 else None

        assert s3_server.wait_for(again, 20).status == 200
        assert raw.once(gateway, "GET", "/memory/new").body == body

        conns[0].answer("PUT").is_error(400, "RequestTimeout")


# ---- more at a time than there is room for

def test_all_at_once(make):
    """Of 300 requests each is done, or told to come again, and then all is
    as it was."""

    store = make("s3_queue 32;", "client_body_timeout 4s;" + STATUS)
    body = data(700 * KIB)
    assert raw.once(store, "PUT", "/memory/k", body=body).status == 200

    with contextlib.ExitStack() as stack, store.watch_rss() as peak:
        before = store.rss()
        conns = [stack.enter_context(raw.Connection(store, timeout=60))
                 for _ in range(300)]

        for n, conn in enumerate(conns):
            if n % 3 == 0:
                head = conn.head("PUT", f"/memory/{n}", body_headers=[
                    ("Content-Length", len(body))])
                conn.send(head + body[:100 * KIB])
            elif n % 3 == 1:
                conn.send(conn.head("GET", "/memory/k",
                                    payload=raw.EMPTY_SHA256))
            else:
                conn.send(conn.head("PUT", f"/memory/{n}", body_headers=[
                    ("Content-Length", 5)]) + b"small")

        for n, conn in enumerate(conns):
            if n % 3 == 0:
                with contextlib.suppress(BrokenPipeError,
                                         ConnectionResetError):
                    conn.send(body[100 * KIB:])

        done, turned_away = [], []

        for n, conn in enumerate(conns):
            answer = conn.answer("GET" if n % 3 == 1 else "PUT")

            if answer.status == 200:
                done.append(n)
            else:
                answer.is_error(503, "SlowDown")
                assert answer.headers["retry-after"]
                turned_away.append(n)

        assert peak[0] - before < 64 * MIB

    assert done
    assert sum(rejected(store)[k] for k in ("memory", "queue", "timeout")) \
        == len(turned_away)

    for n in done[:30]:
        if n % 3 != 1:
            assert raw.once(store, "GET", f"/memory/{n}").body \
                == (body if n % 3 == 0 else b"small")

    assert raw.once(store, "PUT", "/memory/after", body=body).status == 200
    s3_server.wait_for(lambda: workers(store)["upload_bytes"] == 0
                       and workers(store)["waiting_for_memory"] == 0, 10)


def test_store_process_that_hangs(make):
    """Everybody is told within s3_timeout, or at once where as many wait as
    may; when it goes on, so do all."""

    store = make("s3_queue 32; s3_timeout 2s;", PATIENT + STATUS)
    assert raw.once(store, "PUT", "/memory/k", body=b"k").status == 200
    pid, = store.manager_pids()

    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(raw.Connection(store, timeout=30))
                 for _ in range(200)]
        os.kill(pid, signal.SIGSTOP)

        try:
            for n, conn in enumerate(conns):
                if n % 2:
                    conn.send(conn.head("GET", "/memory/k",
                                        payload=raw.EMPTY_SHA256))
                else:
                    conn.send(conn.head("PUT", f"/memory/{n}", body_headers=[
                        ("Content-Length", 5)]) + b"small")

            for n, conn in enumerate(conns):
                answer = conn.answer("GET" if n % 2 else "PUT")
                answer.is_error(503, "SlowDown")
                assert answer.headers["retry-after"]

            why = rejected(store)
            assert why["timeout"] and why["queue"]
            assert why["timeout"] + why["queue"] == 200

        finally:
            os.kill(pid, signal.SIGCONT)

    def again():
        return raw.once(store, "PUT", "/memory/k", body=b"again").status == 200

    s3_server.wait_for(again, 20)
    assert raw.once(store, "GET", "/memory/k").body == b"again"


def test_limit_conn_is_counted(make):
    store = make("limit_conn_zone $binary_remote_addr zone=c:1m;",
                 PATIENT + STATUS, location="limit_conn c 1;")

    with raw.Connection(store) as one:
        one.send(one.head("PUT", "/memory/k", body_headers=[
            ("Content-Length", 2)]) + b"a")
        s3_server.wait_for(lambda: status(store)["requests"]["in_flight"], 10)

        raw.once(store, "GET", "/memory/k").is_error(503, "SlowDown")
        assert rejected(store)["limit"] == 1
        assert one.raw(b"b", "PUT").status == 200
