"""Processes that are killed or stopped, clients that leave: a client sees an
error, or that what came is not all; never another object, nor half of one."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import random
import signal
import socket
import threading
import time
import uuid

import pytest

import forms
import raw
import s3_gateway
import s3_server
from checks import KIB, MIB, DIGESTS, data, fails, md5, read
from s3_server import wait_for


BIG = 24 * MIB          # more than is anywhere between client and upstream

# what an answer may be that never came

NO_ANSWER = (http.client.HTTPException, OSError)


@pytest.fixture(scope="module")
def server(frail):
    """Before a Ceph that may be broken."""

    with s3_gateway.Gateway(
            frail, workers=1,
            gateway="proxy_read_timeout 2s; proxy_send_timeout 2s;",
            server=f"""location /patient/ {{
            s3_gateway on;
            s3_upstream_credentials other;
            include "{s3_server.ROOT}/conf/s3_gateway_params";
            proxy_pass http://other;
        }}""") as one:
        yield one


@pytest.fixture(scope="module")
def bucket(server):
    name = f"faults-{uuid.uuid4().hex[:8]}"

    # Ceph makes its pools when they are first needed, which takes longer than
    # the other locations wait

    s3 = server.client(prefix="/patient")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="large", Body=data(9 * MIB))
    return name


@pytest.fixture
def key():
    return f"k-{uuid.uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def mended(request):
    """radosgw runs when a test begins, and when it ends."""

    if "frail" not in request.fixturenames:
        yield
        return

    frail = request.getfixturevalue("frail")
    yield

    if "rgw" not in frail.running:
        frail.start_rgw()


@contextlib.contextmanager
def stopped(ceph):
    """radosgw does nothing meanwhile, and has its connections."""

    pid = ceph.running["rgw"].pid
    os.killpg(pid, signal.SIGSTOP)

    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGCONT)


class Upload:
    """A PUT of which a part has been sent."""

    def __init__(self, server, path, body, form="trailer", query=""):
        if query:
            with raw.Connection(server) as conn:
                self.wire = conn.head(
                    "PUT", path, query,
                    [("x-amz-checksum-crc32", raw.crc32(body))],
                    [("Content-Length", len(body))]) + body
        else:
            self.wire = forms.upload(
                f"127.0.0.1:{server.port}", path, form, body,
                checksum="trailer" if "trailer" in form else "header").wire

        self.conn = raw.Connection(server)
        self.sent = len(self.wire) // 2
        self.conn.send(self.wire[:self.sent])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def rest(self):
        """Sends what is left: an answer, or None where there is none."""

        with contextlib.suppress(OSError):
            self.conn.send(self.wire[self.sent:])

        try:
            return self.conn.answer("PUT")
        except NO_ANSWER:
            return None


class Download:
    """A GET of which a part has been read."""

    def __init__(self, server, path, n=64 * KIB):
        self.conn = raw.Connection(server)
        self.conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                    64 * KIB)
        self.conn.send(self.conn.head("GET", path))
        self.answer = http.client.HTTPResponse(self.conn.socket, method="GET")
        self.answer.begin()
        self.length = int(self.answer.headers["content-length"])
        self.got = self.answer.read(n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answer.close()
        self.conn.close()

    def rest(self):
        """What came, whole or not."""

        try:
            self.got += self.answer.read()
        except http.client.IncompleteRead as cut:
            self.got += cut.partial
        except OSError:
            pass
        return self.got


# ---- radosgw

FORMS = ["trailer", "signed-trailer", "unsigned"]


@pytest.mark.parametrize("form", FORMS)
def test_killed_in_mid_upload(frail, server, bucket, key, form):
    s3 = server.client()
    path = f"/{bucket}/{key}"
    s3.put_object(Bucket=bucket, Key=key, Body=b"old")

    with Upload(server, path, data(BIG), form) as upload:
        frail.kill()
        answer = upload.rest()

    # the gateway says so, unless the client was still sending by then

    if answer:
        answer.is_error(503, "ServiceUnavailable")
        assert answer.headers["retry-after"] == "1"

    raw.once(server, "GET", path).is_error(503, "ServiceUnavailable")

    frail.start_rgw()
    assert read(s3, bucket, key, ChecksumMode="ENABLED") == b"old"

    with Upload(server, path, data(BIG), form) as upload:
        assert upload.rest().status == 200

    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == data(BIG)
    assert got["ChecksumCRC32"] == DIGESTS["CRC32"](data(BIG))


def test_killed_while_it_has_all(frail, server, bucket, key):
    """Nobody knows what has become of it: an error, and then one or the
    other."""

    s3 = server.client()
    path = f"/{bucket}/{key}"
    s3.put_object(Bucket=bucket, Key=key, Body=b"old")

    for size in (1000, 9 * MIB):
        before = read(s3, bucket, key)

        with stopped(frail), raw.Connection(server) as conn:
            up = forms.upload(conn.host, path, "trailer", data(size),
                              checksum="trailer")
            sender = threading.Thread(target=quietly, args=(conn, up.wire))
            sender.start()
            time.sleep(0.2)        # it may have all of it, or not yet
            frail.kill()
            sender.join()

            with contextlib.suppress(*NO_ANSWER):
                conn.answer("PUT").is_error(503, "ServiceUnavailable")

        frail.start_rgw()
        assert read(s3, bucket, key, ChecksumMode="ENABLED") \
            in (before, data(size))


def quietly(conn, data):
    with contextlib.suppress(OSError):
        conn.send(data)


def test_killed_in_mid_download(frail, server, bucket, key):
    s3 = server.client()
    path = f"/{bucket}/{key}"
    body = data(MIB) * 32
    s3.put_object(Bucket=bucket, Key=key, Body=body)

    with Download(server, path) as download:
        frail.kill()
        got = download.rest()

    assert len(got) < download.length == len(body)
    assert got == body[:len(got)]

    frail.start_rgw()
    assert read(s3, bucket, key) == body


def test_killed_between_parts(frail, server, bucket, key):
    """What was there before is there after: parts, and their records."""

    s3 = server.client()
    made = s3.create_multipart_upload(Bucket=bucket, Key=key,
                                      ChecksumAlgorithm="CRC32")
    names = {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"]}
    bodies = [data(9 * MIB, 1), data(5 * MIB, 2), data(1000, 3)]
    parts = []

    for n, body in enumerate(bodies, 1):
        put = s3.upload_part(**names, PartNumber=n, Body=body,
                             ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": n, "ETag": put["ETag"],
                      "ChecksumCRC32": put["ChecksumCRC32"]})

        # one more of the same number, cut short

        query = f"partNumber={n}&uploadId={made['UploadId']}"

        with Upload(server, f"/{bucket}/{key}", data(BIG, n),
                    query=query) as upload:
            frail.kill()
            answer = upload.rest()
            assert answer is None or answer.status == 503

        assert fails(s3.list_parts, **names) == (503, "ServiceUnavailable")
        frail.start_rgw()

    listed = s3.list_parts(**names)["Parts"]
    assert [(p["PartNumber"], p["ETag"], p["ChecksumCRC32"])
            for p in listed] \
        == [(p["PartNumber"], p["ETag"], p["ChecksumCRC32"]) for p in parts]

    frail.kill()
    assert fails(s3.complete_multipart_upload, **names,
                 MultipartUpload={"Parts": parts}) \
        == (503, "ServiceUnavailable")
    frail.start_rgw()

    s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(bodies)
    assert got["ETag"].endswith('-3"')


def test_stopped(frail, server, bucket, key):
    """It has its connections, takes what its kernel takes, and answers
    nothing."""

    s3 = server.client()
    path = f"/{bucket}/{key}"
    body = data(MIB) * 32
    s3.put_object(Bucket=bucket, Key=key, Body=body)

    with stopped(frail), concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(raw.once, server, method, path, body=sent)
                   for method, sent in (("GET", None), ("DELETE", None),
                                        ("PUT", b"new"))]

        # a client that is faster than the upstream fills no memory

        with server.watch_rss() as peak:
            before = peak[0]
            upload = Upload(server, path, body)
            with upload, contextlib.suppress(*NO_ANSWER):
                upload.conn.send(upload.wire[upload.sent:])
                upload.conn.answer("PUT").is_error(503, "ServiceUnavailable")

        assert peak[0] - before < 8 * MIB

        for answer in answers:
            answer.result().is_error(503, "ServiceUnavailable")
            assert answer.result().headers["retry-after"] == "1"

    # what had reached it may be done now

    def settled():
        there = raw.once(server, "GET", path)
        return there.body if there.status == 200 else there.code

    assert wait_for(settled, 20) in (body, b"new", "NoSuchKey")

    s3.put_object(Bucket=bucket, Key=key, Body=body)

    with Download(server, path) as download:
        with stopped(frail):
            got = download.rest()
        assert len(got) < download.length
        assert got == body[:len(got)]


def test_cache_while_it_is_away(frail, server, bucket, key):
    """What is cached is answered, to those whose signature is good; the
    checksums that are with the upstream are not."""

    s3 = server.client()
    bodies = {"small": data(1000), "large": data(9 * MIB)}
    mode = [("x-amz-checksum-mode", "ENABLED")]

    with s3_gateway.Gateway(
            frail, workers=1,
            http="proxy_cache_path temp/cache keys_zone=edge:1m;",
            gateway="proxy_cache edge; proxy_cache_key $s3_cache_key; "
                    "proxy_cache_valid 1h;") as edge:

        def get(name, **kwargs):
            return raw.once(edge, "GET", f"/{bucket}/{key}-{name}", **kwargs)

        for name, body in bodies.items():
            s3.put_object(Bucket=bucket, Key=f"{key}-{name}", Body=body)
            assert get(name, headers=mode).body == body

        frail.kill()

        for name, body in bodies.items():
            for headers in ([], mode):
                answer = get(name, headers=headers)
                assert (answer.status, answer.body) == (200, body)

            assert answer.headers.get("x-amz-checksum-crc32") \
                == (DIGESTS["CRC32"](body) if name == "small" else None)
            assert get(name, headers=[("Range", "bytes=5-9")]).body \
                == body[5:10]
            get(name, secret_key="wrong").is_error(
                403, "SignatureDoesNotMatch")

        get("none").is_error(503, "ServiceUnavailable")
        frail.start_rgw()
        get("none").is_error(404, "NoSuchKey")


def test_killed_again_and_again(frail, server, bucket):
    """Many clients meanwhile: what was answered with 200 is there, and what
    is there is whole."""

    rand = random.Random(1)
    stop = threading.Event()
    kept = {}
    counts = {"put": 0, "failed": 0}

    def work(i):
        n = 0

        while not stop.is_set():
            key, n = f"load-{i}-{n % 3}", n + 1
            body = data(rand.choice((100, 100 * KIB, 9 * MIB)), 1000 * i + n)

            try:
                with Upload(server, f"/{bucket}/{key}", body) as upload:
                    answer = upload.rest()
            except OSError:
                answer = None

            if answer is not None and answer.status == 200:
                kept[key] = [md5(body)]
                counts["put"] += 1
            else:
                kept.setdefault(key, ["none"]).append(md5(body))
                counts["failed"] += 1
                assert answer is None or answer.status == 503, answer

            try:
                got = raw.once(server, "GET", f"/{bucket}/{key}")
            except NO_ANSWER:
                continue

            if got.status == 200:
                assert hashlib.md5(got.body).hexdigest() in kept[key]
            else:
                assert got.code in ("ServiceUnavailable", "NoSuchKey"), got

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, i) for i in range(4)]

        for _ in range(5):
            done = counts["put"]
            wait_for(lambda: counts["put"] > done + 3
                     or any(w.done() for w in workers), 30)
            frail.kill()
            time.sleep(0.05)
            frail.start_rgw()

        stop.set()

        for worker in workers:
            worker.result()

    s3 = server.client()

    for key, bodies in kept.items():
        try:
            got = md5(read(s3, bucket, key, ChecksumMode="ENABLED"))
        except s3.exceptions.NoSuchKey:
            got = "none"
        assert got in bodies

    assert counts["put"] and counts["failed"]


# ---- nginx

@pytest.fixture
def worker(ceph):
    """A gateway whose worker may be killed."""

    gateway = s3_gateway.Gateway(ceph, workers=1)

    try:
        gateway.start()
        gateway.client().create_bucket(Bucket=f"worker-{gateway.port}")
        yield gateway
        gateway.stop(allow=(r"exited on signal 9",))
    finally:
        gateway.stop(check=False)
        gateway.remove()


def kill_worker(gateway):
    old = gateway.worker_pids()

    for pid in old:
        os.kill(pid, signal.SIGKILL)

    wait_for(lambda: gateway.worker_pids()
             and not set(gateway.worker_pids()) & set(old), 20)


def remove(s3, bucket):
    for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=entry["Key"])
    s3.delete_bucket(Bucket=bucket)


def test_worker_killed(worker, upstream):
    bucket = f"worker-{worker.port}"
    s3 = worker.client(retries=3)
    body = data(MIB) * 32
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    path = f"/{bucket}/k"

    # an upload: what was there stays, and nothing is left of it

    for form in FORMS:
        with Upload(worker, path, data(BIG), form) as upload:
            kill_worker(worker)
            assert upload.rest() is None

        assert md5(read(upstream, bucket, "k")) == md5(body)

    # a download: the client sees that it is short

    with Download(worker, path) as download:
        kill_worker(worker)
        got = download.rest()

    assert len(got) < download.length
    assert got == body[:len(got)]

    # another works

    s3.put_object(Bucket=bucket, Key="k", Body=data(BIG))
    assert read(s3, bucket, "k", ChecksumMode="ENABLED") == data(BIG)
    assert [e["Key"] for e in
            upstream.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    remove(upstream, bucket)


def test_reload_under_load(gateway, upstream):
    """Every request is answered as if there had been none."""

    server = gateway()
    bucket = f"reload-{server.port}"
    upstream.create_bucket(Bucket=bucket)
    bodies = {size: data(size) for size in (100, 300 * KIB, 10 * MIB)}
    stop = threading.Event()
    done = []

    def work(i):
        n = 0

        while not stop.is_set():
            size = list(bodies)[n % 3]
            path, n = f"/{bucket}/k-{i}", n + 1

            with Upload(server, path, bodies[size],
                        FORMS[n % 3]) as upload:
                answer = upload.rest()

            assert answer is not None and answer.status == 200, answer

            answer = raw.once(server, "GET", path)
            assert (answer.status, answer.body == bodies[size]) \
                == (200, True)
            answer = raw.once(server, "GET", f"/{bucket}", "list-type=2")
            assert answer.status == 200
            done.append(n)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        workers = [pool.submit(work, i) for i in range(6)]

        for _ in range(5):
            before = len(done)
            server.reload()
            wait_for(lambda: len(done) > before + 6
                     or any(w.done() for w in workers), 60)

        stop.set()

        for each in workers:
            each.result()

    # those that are kept between requests may be closed meanwhile, and SDKs
    # know how to go on

    s3 = server.client(retries=3)

    for _ in range(3):
        s3.put_object(Bucket=bucket, Key="sdk", Body=bodies[100])
        server.reload()
        assert read(s3, bucket, "sdk") == bodies[100]

    remove(upstream, bucket)


# ---- clients

@pytest.fixture(scope="module")
def slow(ceph, bucket_name):
    with s3_gateway.Gateway(ceph, workers=1, server="send_timeout 60s;") \
            as gateway:
        s3 = gateway.client()
        gateway.bucket = bucket_name("slow")
        gateway.body = data(MIB) * 32
        s3.create_bucket(Bucket=gateway.bucket)
        s3.put_object(Bucket=gateway.bucket, Key="k", Body=gateway.body)
        yield gateway


def test_slow_readers(slow):
    """The upstream is fast, clients are not: each costs its buffers."""

    path = f"/{slow.bucket}/k"
    n = 16

    with contextlib.ExitStack() as stack, slow.watch_rss() as peak:
        before = peak[0]
        downloads = [stack.enter_context(Download(slow, path))
                     for _ in range(n)]

        for _ in range(5):
            for download in downloads:
                download.got += download.answer.read(100 * KIB)

        # proxy_buffers: 8 of 32k, with proxy_buffer_size and a margin

        assert peak[0] - before < n * 600 * KIB

        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            for got in pool.map(Download.rest, downloads):
                assert md5(got) == md5(slow.body)

        assert peak[0] - before < n * 600 * KIB

    assert not list((slow.path / "temp/proxy").glob("**/*.*"))


def test_clients_that_leave(slow):
    """In the middle of answers and of bodies, without a word: nothing of it
    is left, and the next are served."""

    path = f"/{slow.bucket}/k"
    before = sockets(slow)

    for _ in range(3):
        for _ in range(8):
            with Download(slow, path):
                pass
            with Upload(slow, path, data(10 * MIB)):
                pass
            with raw.Connection(slow) as conn:
                conn.send(conn.head("GET", path))

        assert md5(read(slow.client(), slow.bucket, "k")) == md5(slow.body)

    # but for those to the upstream that are kept

    wait_for(lambda: sockets(slow) <= before + 32, 20,
             "connections of clients that have left")
    assert "[alert]" not in slow.log()


def sockets(server):
    pid, = server.worker_pids()
    found = 0

    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")

    return found
