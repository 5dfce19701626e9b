"""What HTTP itself brings: nginx's own errors, connections that go on."""

import concurrent.futures
import contextlib
import socket
import uuid

import pytest

import raw
import s3_server
from checks import KIB, MIB, data, read


# ---- errors that nginx finds before S3 does

@pytest.mark.parametrize("request_line", [
    b"GET / HTTP/1.1\r\n\r\n",                      # no Host
    b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"GET /../.. HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
])
def test_bad_request(store, request_line):
    with raw.Connection(store) as conn:
        answer = conn.raw(request_line)
        assert answer.status == 400
        answer.is_error(400, answer.code)
        assert answer.code in ("BadRequest", "InvalidURI", "InvalidRequest")


def test_plain_http_to_the_tls_port(store):
    with socket.create_connection(("127.0.0.1", store.tls_port), 10) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = s.recv(100_000)
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_target_too_long(store):
    with raw.Connection(store) as conn:
        answer = conn.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n"
                          b"Host: x\r\n\r\n")
        assert answer.status in (400, 414)
        answer.is_error(answer.status, answer.code)


def test_headers_too_large(store):
    with raw.Connection(store) as conn:
        answer = conn.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX: "
                          + b"a" * 100_000 + b"\r\n\r\n")
        answer.is_error(400, "RequestHeaderSectionTooLarge")

    # a line that never ends, and many that do

    with raw.Connection(store) as conn:
        answer = conn.raw(b"GET / HTTP/1.1\r\nHost: x\r\n"
                          + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 900)
                                     for i in range(100)) + b"\r\n")
        answer.is_error(400, "RequestHeaderSectionTooLarge")


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PROPFIND", "LOCK",
                                    "NONSENSE", "CONNECT"])
def test_methods(store, bucket, method):
    answer = raw.once(store, method, f"/{bucket}/k")

    if method in ("TRACE", "CONNECT"):
        # nginx's own answers
        assert answer.status in (400, 405)
    else:
        answer.is_error(405, "MethodNotAllowed")
        assert answer.element("Method") == method


@pytest.mark.parametrize("path,kind", [("/{}/k", "OBJECT"),
                                       ("/{}", "BUCKET"), ("/", "SERVICE")])
def test_preflight(store, bucket, path, kind):
    """What a browser asks before a request; nobody signs it."""

    answer = raw.once(store, "OPTIONS", path.format(bucket), signed=False,
                      headers=[("Origin", "https://app.example.com"),
                               ("Access-Control-Request-Method", "PUT")])

    answer.is_error(403, "AccessForbidden")
    assert answer.element("Message") \
        == "CORSResponse: CORS is not enabled for this bucket."
    assert answer.element("Method") == "PUT"
    assert answer.element("ResourceType") == kind
    assert not [n for n in answer.headers if n.startswith("access-control")]


@pytest.mark.parametrize("method,path", [
    ("PUT", "/"), ("DELETE", "/"), ("POST", "/"), ("HEAD", "/"),
])
def test_methods_of_the_service(store, method, path):
    raw.once(store, method, path, body=b"").is_error(405, "MethodNotAllowed")


def test_no_nginx_page_anywhere(store):
    """Nobody who speaks S3 can read nginx's HTML."""

    with raw.Connection(store) as conn:
        for head in (b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",):
            assert b"<html" not in conn.raw(head).body


# ---- connections

def test_request_ids(store, bucket):
    """One a request, and it is that of the log."""

    seen = set()

    with raw.Connection(store) as conn:
        for path in ("/", f"/{bucket}/none", "/%00/", "/Bad_Name"):
            answer = conn.request("GET", path)
            seen.add(answer.headers["x-amz-request-id"])
            if answer.closes:
                break

    assert len(seen) >= 3

    # nginx logs a request when its answer has been sent

    s3_server.wait_for(
        lambda: all(i in "\n".join(store.access_lines()) for i in seen),
        5, "not in the log")


def test_errors_leave_the_connection(store, s3, bucket):
    """One connection, errors of all kinds, each answer to its request."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    path = f"/{bucket}/k"

    with raw.Connection(store) as conn:
        for _ in range(3):
            conn.request("GET", path + "none").is_error(404, "NoSuchKey")
            assert conn.request("GET", path).body == b"old"
            conn.request("PUT", path, body=b"x" * 5000, secret_key="x") \
                .is_error(403, "SignatureDoesNotMatch")
            assert conn.request("GET", path).body == b"old"
            conn.request("PUT", path, body=data(700 * KIB),
                         payload="0" * 64) \
                .is_error(400, "XAmzContentSHA256Mismatch")
            assert conn.request("GET", path).body == b"old"
            conn.request("PUT", path, body=b"x" * 5000, chunked=True,
                         payload="0" * 64) \
                .is_error(400, "XAmzContentSHA256Mismatch")
            assert conn.request("GET", path).body == b"old"
            conn.request("GET", path, "torrent") \
                .is_error(501, "NotImplemented")
            conn.request("GET", path, headers=[("Range", "bytes=9-")]) \
                .is_error(416, "InvalidRange")
            conn.request("PUT", path, body=b"y",
                         headers=[("If-None-Match", "*")]) \
                .is_error(412, "PreconditionFailed")
            assert conn.request("HEAD", path).status == 200
            assert conn.request("GET", path).body == b"old"


@pytest.mark.parametrize("more", [{"secret_key": "x"}, {"signed": False},
                                  {"headers": [("Content-MD5", "x")]}])
def test_large_body_that_is_refused(store, bucket, tls, more):
    """20 MiB that nobody wants: the client reads the refusal, not a reset,
    and the connection ends or goes on cleanly."""

    body = data(20 * MIB)

    with raw.Connection(store, tls) as conn:
        answer = conn.request("PUT", f"/{bucket}/k", body=body, **more)
        assert answer.status in (400, 403), answer
        assert answer.code
        if not answer.closes:
            assert conn.serves()


def test_boto3_reads_the_refusal_of_a_large_body(store, bucket, tls):
    client = store.client(tls, secret_key="wrong", cached=False)

    with pytest.raises(client.exceptions.ClientError) as error:
        client.put_object(Bucket=bucket, Key="k", Body=data(20 * MIB))

    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_pipelining(store, bucket):
    """Several requests at once; answers come in their order."""

    with raw.Connection(store) as conn:
        wire = b""

        for i in range(20):
            body = b"%d" % i
            wire += conn.head("PUT", f"/{bucket}/{i}", payload=raw.UNSIGNED,
                              body_headers=[("Content-Length", len(body))])
            wire += body
        for i in range(20):
            wire += conn.head("GET", f"/{bucket}/{i}",
                              payload=raw.EMPTY_SHA256)

        conn.send(wire)

        stream = conn.socket.makefile("rb")

        def answer():
            status = int(stream.readline().split()[1])
            length = 0
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            return status, stream.read(length)

        assert [answer() for _ in range(20)] == [(200, b"")] * 20
        assert [answer() for _ in range(20)] \
            == [(200, b"%d" % i) for i in range(20)]


def test_http_1_0(store, bucket, s3):
    s3.put_object(Bucket=bucket, Key="k", Body=data(2 * MIB))

    with raw.Connection(store) as conn:
        head = conn.head("GET", f"/{bucket}/k", payload=raw.EMPTY_SHA256)
        conn.send(head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
        answer = conn.answer()
        assert answer.body == data(2 * MIB)
        assert conn.ends()


def test_download_that_stops(store, bucket, s3):
    """A client that goes in the middle of 17 MiB takes nothing with it."""

    body = data(17 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=body)

    for _ in range(20):
        with raw.Connection(store) as conn:
            conn.send(conn.head("GET", f"/{bucket}/k",
                                payload=raw.EMPTY_SHA256))
            conn.socket.recv(100_000)

    assert read(s3, bucket, "k") == body


@pytest.mark.parametrize("count,good", [(4, True), (20, False)])
def test_slow_readers(store, bucket, count, good):
    """Clients that ask for much and read nothing.  Each may hold two stripes
    of a worker's s3_memory until nginx's send_timeout; when there is no more,
    others are told SlowDown, and what has begun is never cut off."""

    body = data(17 * MIB)
    client = store.client()
    client.put_object(Bucket=bucket, Key="k", Body=body)

    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(raw.Connection(store))
                for _ in range(count)]

        for conn in slow:
            conn.send(conn.head("GET", f"/{bucket}/k",
                                payload=raw.EMPTY_SHA256))

        try:
            assert read(client, bucket, "k") == body
        except client.exceptions.ClientError as error:
            assert not good
            assert error.response["Error"]["Code"] == "SlowDown"

        for conn in slow:
            answer = conn.answer()
            if good or answer.status == 200:
                assert answer.status == 200
                assert answer.body == body
            else:
                answer.is_error(503, "SlowDown")
                assert answer.headers["retry-after"]
            assert conn.serves()

    assert read(client, bucket, "k") == body


# ---- workers

def test_read_after_write_of_another_worker(store, bucket):
    """Each write is read back at once over other connections, which are
    other workers' as often as not."""

    def run(n):
        with raw.Connection(store) as one, raw.Connection(store) as two, \
             raw.Connection(store) as three:
            for i in range(15):
                body = data(100 * n + i + (40 * KIB if n % 2 else 0), i)
                path = f"/{bucket}/{n}"

                assert one.request("PUT", path, body=body).status == 200
                assert two.request("GET", path).body == body
                assert three.request("GET", path).body == body

                listed = three.request("GET", f"/{bucket}",
                                       f"list-type=2&prefix={n}&max-keys=1")
                assert f"<Key>{n}</Key>".encode() in listed.body

                assert three.request("DELETE", path).status == 204
                two.request("GET", path).is_error(404, "NoSuchKey")
                one.request("HEAD", path).is_error(404, None)

    # the kernel chooses the worker; that one of them had all is unlikely,
    # and not the server's fault

    for _ in range(5):
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            for future in [pool.submit(run, n) for n in range(10, 34)]:
                future.result()

        pids = {line.rsplit(" ", 1)[1] for line in store.access_lines()
                if bucket in line}
        if len(pids) == store.workers:
            return

    raise AssertionError(f"only worker {pids} was asked")


def test_buckets_of_another_worker(store):
    def run(n):
        with raw.Connection(store) as one, raw.Connection(store) as two:
            for _ in range(5):
                path = "/w-" + uuid.uuid4().hex
                assert one.request("PUT", path).status == 200
                assert two.request("HEAD", path).status == 200
                assert two.request("PUT", path + "/k", body=b"x").status \
                    == 200
                one.request("DELETE", path).is_error(409, "BucketNotEmpty")
                assert one.request("DELETE", path + "/k").status == 204
                assert two.request("DELETE", path).status == 204
                one.request("HEAD", path).is_error(404, None)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(run, n) for n in range(8)]:
            future.result()
