"""What nginx's proxy does for a gateway: connections, other servers, TLS,
limits; and what becomes of answers that are none of S3's."""

import concurrent.futures
import contextlib
import http.client
import itertools
import socket
import struct
import subprocess
import threading
import urllib.parse
import uuid

import botocore.config
import pytest

import forms
import raw
import s3_gateway
import s3_server
from checks import DIGESTS, KIB, MIB, data, fails, md5, read
from s3_server import ROOT


INCLUDE = f'include "{ROOT}/conf/s3_gateway_params";'

# what streams is more than this: small objects will do

SMALL = "s3_gateway_buffer 64k;"
LARGE = 300 * KIB


def location(name, more, include=INCLUDE, to="http://other"):
    return f"""location {name} {{
            s3_gateway on;
            s3_upstream_credentials other;
            {include}
            proxy_pass {to};
            {more}
        }}
"""


def overriding(name, more):
    """What s3_gateway_params says is for the server, and something else for
    the location: nginx takes no directive twice at one place."""

    return location(name, more, "")


@pytest.fixture(scope="module")
def server(ceph):
    with s3_gateway.Gateway(ceph, workers=1, gateway=SMALL) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def bucket(bucket_name, server):
    name = bucket_name("proxy")
    server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def key():
    return f"k-{uuid.uuid4().hex[:8]}"


class Lonely(s3_gateway.Gateway):
    """Its upstream need not be there."""

    def wait_ready(self, seconds=s3_server.START):
        def listens():
            with contextlib.suppress(OSError):
                self.connect().close()
                return True

        s3_server.wait_for(listens, seconds, "nginx does not listen")


@pytest.fixture
def started(ceph):
    """started(upstream_url=..., ...) -> a gateway of the test's own."""

    with contextlib.ExitStack() as stack:
        yield lambda **kwargs: stack.enter_context(
            Lonely(ceph, workers=1, **{"gateway": SMALL, **kwargs}))


def is_unavailable(answer):
    answer.is_error(503, "ServiceUnavailable")
    assert answer.headers["retry-after"] == "1"
    assert "location" not in answer.headers
    return answer


def put(server, path, body, form="trailer", checksum="trailer", value=None):
    """What today's SDKs send."""

    up = forms.upload(f"127.0.0.1:{server.port}", path, form, body,
                      checksum=checksum, value=value)
    with raw.Connection(server) as conn:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            conn.send(up.wire)
        return conn.answer("PUT")


# ---- connections

def wires(tap):
    return len({id(sent.wire) for sent in tap.sent})


def test_connections_are_kept(ceph, started, bucket, key):
    """One for all that is asked one after the other, errors and all."""

    with s3_gateway.Tap(ceph) as tap:
        server = started(upstream_url=tap.url)

        with raw.Connection(server) as conn:
            path = f"/{bucket}/{key}"

            etag = f'"{md5(b"x" * 100)}"'

            for _ in range(5):
                for status, request in (
                        (200, ("PUT", path, "", [], b"x" * 100)),
                        (200, ("GET", path)),
                        (206, ("GET", path, "", [("Range", "bytes=0-4")])),
                        (304, ("GET", path, "", [("If-None-Match", etag)])),
                        (200, ("HEAD", path)),
                        (404, ("GET", path + "-none")),
                        (404, ("HEAD", path + "-none")),
                        (200, ("GET", f"/{bucket}", "list-type=2")),
                        (200, ("GET", path, "acl")),
                        (204, ("DELETE", path))):
                    answer = conn.request(*request)
                    assert answer.status == status, (request, answer)

        assert wires(tap) == 1

        # a large one has a record, which is another request meanwhile, and
        # behind the answer the gateway looks at others

        for _ in range(10):
            assert put(server, path, data(LARGE)).status == 200
            assert read(server.client(), bucket, key) == data(LARGE)

        assert wires(tap) <= 5


def test_as_many_as_are_busy(ceph, started, bucket, key):
    with s3_gateway.Tap(ceph) as tap:
        server = started(upstream_url=tap.url)
        s3 = server.client()

        def work(i):
            for n in range(5):
                s3.put_object(Bucket=bucket, Key=f"{key}-{i}",
                              Body=data(100 + i))
                assert read(s3, bucket, f"{key}-{i}") == data(100 + i)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

        assert wires(tap) <= 8
        assert len(tap.sent) >= 80


# ---- servers that are away

class Broken:
    """A server that takes connections and does one thing to them.

    ends      when something has come
    resets    when the request's head has come
    hangs     takes what comes, and never says a word
    deaf      takes nothing either
    """

    def __init__(self, how):
        self.how = how
        self.accepted = 0
        self.kept = []
        self.listener = socket.create_server(("127.0.0.1", 0))

        if how == "deaf":
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                     4096)

        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()

        for s in [*self.kept, self.listener]:
            s.close()

    def serve(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return

            self.accepted += 1

            if self.how in ("hangs", "deaf"):
                self.kept.append(s)

                if self.how == "hangs":
                    threading.Thread(target=self.swallow, args=(s,),
                                     daemon=True).start()
                continue

            s.settimeout(10)

            with s, contextlib.suppress(OSError):
                s.recv(65536)

                if self.how == "resets":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))

    @staticmethod
    def swallow(s):
        with contextlib.suppress(OSError):
            while s.recv(65536):
                pass


@pytest.fixture
def broken():
    with contextlib.ExitStack() as stack:
        yield lambda how: stack.enter_context(Broken(how))


def refuses():
    port, = s3_server.free_ports(1)
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize("how", ["refuses", "ends", "resets", "hangs"])
@pytest.mark.parametrize("buffering", ["off", "on"])
def test_next_server(ceph, started, server, broken, bucket, key, how,
                     buffering):
    """What can be sent once more is; nobody hears of it.  The one that is
    broken is always asked first."""

    dead = broken(how) if how != "refuses" else None
    first = dead.address if dead else refuses()
    late = "proxy_read_timeout 100ms;" if how == "hangs" else ""

    many = started(
        servers_of_upstream=[f"{first} max_fails=0",
                             ceph.url.partition("://")[2] + " backup"],
        server=INCLUDE + overriding(
            "/more/",
            f"{SMALL} proxy_request_buffering {buffering}; {late}"))

    s3 = many.client(prefix="/more")

    for i in range(2):
        body = data(1000, i)
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        assert read(s3, bucket, key) == body
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] \
            == len(body)
        assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] == 1
        s3.delete_object(Bucket=bucket, Key=key)

    # a large body is gone once it was sent, unless nginx has it in a file

    there = server.client()
    there.put_object(Bucket=bucket, Key=key, Body=b"old")

    answer = put(many, f"/more/{bucket}/{key}", data(LARGE))

    if buffering == "on" or how == "refuses":
        assert answer.status == 200, answer
        assert read(there, bucket, key) == data(LARGE)
    else:
        is_unavailable(answer)
        assert read(there, bucket, key) == b"old"

    if dead:
        assert dead.accepted


REQUESTS = [
    ("GET", "/"), ("GET", "/bucket"), ("GET", "/bucket/k"),
    ("HEAD", "/bucket/k"), ("HEAD", "/bucket"), ("PUT", "/bucket"),
    ("DELETE", "/bucket/k"), ("GET", "/bucket/k?acl"),
    ("POST", "/bucket/k?uploads"), ("GET", "/bucket/k?uploadId=x"),
    ("DELETE", "/bucket/k?uploadId=x"), ("GET", "/bucket/k?attributes"),
    ("GET", "/bucket/k?partNumber=1"),
]


def ask_all(server):
    """Each kind of request; yields what was answered."""

    for method, target in REQUESTS:
        path, _, query = target.partition("?")
        headers = []

        if query == "attributes":
            headers = [("x-amz-object-attributes", "ETag")]

        yield raw.once(server, method, path, query, headers=headers)

    yield raw.once(server, "PUT", "/bucket/k", body=b"x" * 1000)
    yield raw.once(server, "PUT", "/bucket/k",
                   headers=[("x-amz-copy-source", "/bucket/k2")])
    yield raw.once(server, "PUT", "/bucket/k", "partNumber=1&uploadId=x",
                   body=b"x")
    yield raw.once(server, "POST", "/bucket/k", "uploadId=x",
                   body=b"<CompleteMultipartUpload><Part><PartNumber>1"
                   b"</PartNumber><ETag>e</ETag></Part>"
                   b"</CompleteMultipartUpload>")

    delete = b"<Delete><Object><Key>k</Key></Object></Delete>"
    yield raw.once(server, "POST", "/bucket", "delete", body=delete,
                   headers=[("x-amz-checksum-crc32", raw.crc32(delete))])

    yield put(server, "/bucket/k", data(LARGE))


@pytest.mark.parametrize("how", ["refuses", "ends", "resets"])
def test_all_servers_down(started, broken, how):
    down = started(servers_of_upstream=[
        f"{broken(how).address if how != 'refuses' else refuses()} "
        "max_fails=0" for _ in range(2)])

    for answer in ask_all(down):
        is_unavailable(answer)


@pytest.mark.parametrize("how", ["hangs", "deaf"])
def test_too_slow(started, broken, how):
    slow = started(servers_of_upstream=[broken(how).address],
                   gateway=SMALL + "proxy_read_timeout 100ms; "
                   "proxy_send_timeout 100ms; proxy_connect_timeout 1s;")

    for answer in ask_all(slow):
        is_unavailable(answer)

    is_unavailable(put(slow, "/bucket/k", data(8 * MIB)))


def test_no_live_upstreams(started):
    """nginx does not even try."""

    down = started(servers_of_upstream=[f"{refuses()} fail_timeout=60s"
                                        for _ in range(2)])

    for _ in range(4):
        is_unavailable(raw.once(down, "GET", "/bucket/k"))

    assert "no live upstreams" in down.log()


# ---- TLS

@pytest.fixture(scope="module")
def other_ca(tmp_path_factory):
    """Nobody's."""

    d = tmp_path_factory.mktemp("ca")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/CN=another CA", "-keyout", d / "key", "-out", d / "ca.pem"],
        check=True, capture_output=True, timeout=60)
    return d / "ca.pem"


@pytest.fixture(scope="module")
def secure(other_ca):
    """A gateway before a store of our own, over TLS."""

    with s3_gateway.UpstreamStore(workers=1, disks=1) as store:
        to = store.url("tls").partition("://")[2]

        def tls(name, ca, more, upstream="other"):
            return location(name, f"""s3_checksums pass;
            {SMALL}
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate "{ca}";
            {more}""", to=f"https://{upstream}")

        class Gateway(s3_gateway.Gateway):
            def location(self, name):
                return tls(name, store.ca, "proxy_ssl_name localhost;")

        # connections that are kept have been verified: each its own

        with Gateway(
                store, workers=1, upstream_url=store.url("tls"),
                http="".join(f"upstream u{i} {{ server {to}; keepalive 4; }}"
                             for i in range(3)),
                server=tls("/wrong-ca/", other_ca,
                           "proxy_ssl_name localhost;", "u0")
                + tls("/wrong-name/", store.ca,
                      "proxy_ssl_name elsewhere.example.com;", "u1")
                + tls("/host/", store.ca, """
                proxy_ssl_name s3.example.com;
                proxy_ssl_server_name on;
                s3_upstream_host s3.example.com;""", "u2")) as gateway:
            gateway.client().create_bucket(Bucket="secure")
            yield gateway


@pytest.mark.parametrize("prefix", ["", "/host"])
def test_verified(secure, key, prefix):
    s3 = secure.client(prefix=prefix)

    for size in (10, LARGE):
        body = data(size)
        s3.put_object(Bucket="secure", Key=key, Body=body)
        assert read(s3, "secure", key) == body
        assert put(secure, f"{prefix}/secure/{key}", body).status == 200
        assert read(s3, "secure", key) == body
        assert put(secure, f"{prefix}/secure/{key}", body,
                   value="AAAAAA==").code == "BadDigest"
        assert read(s3, "secure", key) == body


@pytest.mark.parametrize("prefix,words", [
    ("/wrong-ca", ["upstream SSL certificate verify error"]),
    ("/wrong-name", ["upstream SSL certificate does not match",
                     "elsewhere.example.com"]),
])
def test_not_verified(secure, key, prefix, words):
    """Nothing is said to who is not the one."""

    for method, body in (("GET", None), ("PUT", b"x"), ("HEAD", None)):
        is_unavailable(raw.once(secure, method, f"{prefix}/secure/{key}",
                                body=body))

    is_unavailable(put(secure, f"{prefix}/secure/{key}", data(LARGE)))

    for word in words:
        assert word in secure.log()

    assert fails(secure.client().get_object, Bucket="secure", Key=key) \
        == (404, "NoSuchKey")


# ---- limits

def test_limits(started, bucket, key):
    server = started(
        http="limit_req_zone $server_port zone=req:1m rate=1r/m; "
             "limit_req_zone $s3_operation zone=op:1m rate=1r/m; "
             "limit_conn_zone $server_port zone=conn:1m;",
        server=location("/req/", "limit_req zone=req;")
        + location("/req429/", "limit_req zone=req; limit_req_status 429;")
        + location("/op/", "limit_req zone=op;")
        + location("/conn/", "limit_conn conn 1; limit_rate 100k;"))

    s3 = server.client()
    s3.put_object(Bucket=bucket, Key=key, Body=data(4 * MIB))

    def is_slow_down(answer):
        answer.is_error(503, "SlowDown")
        assert answer.headers["retry-after"] == "1"

    assert raw.once(server, "HEAD", f"/req/{bucket}/{key}").status == 200

    for prefix in ("/req", "/req429"):
        for method in ("GET", "HEAD", "DELETE"):
            is_slow_down(raw.once(server, method, f"{prefix}/{bucket}/{key}"))

        is_slow_down(put(server, f"{prefix}/{bucket}/{key}", data(100)))
        is_slow_down(put(server, f"{prefix}/{bucket}/{key}", data(LARGE)))

    # by what is asked

    assert raw.once(server, "GET", f"/op/{bucket}",
                    "list-type=2").status == 200
    is_slow_down(raw.once(server, "GET", f"/op/{bucket}", "list-type=2"))
    assert raw.once(server, "HEAD", f"/op/{bucket}/{key}").status == 200

    # one at a time: another is told so as long as the first is on its way

    with raw.Connection(server) as conn:
        conn.send(conn.head("GET", f"/conn/{bucket}/{key}"))
        conn.socket.recv(1)
        is_slow_down(raw.once(server, "GET", f"/conn/{bucket}/{key}"))
        is_slow_down(put(server, f"/conn/{bucket}/{key}", data(LARGE)))

    s3_server.wait_for(
        lambda: raw.once(server, "HEAD", f"/conn/{bucket}/{key}").status
        == 200, 10)

    assert read(s3, bucket, key) == data(4 * MIB)


def test_denied(started, bucket, key):
    """What nginx itself refuses is S3's AccessDenied."""

    server = started(
        server=location("/ro/", "limit_except GET { deny all; }")
        + location("/no/", "deny all;"))
    s3 = server.client()
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    read_only = server.client(prefix="/ro")
    assert read(read_only, bucket, key) == b"x"
    assert read_only.head_object(Bucket=bucket, Key=key)
    assert fails(read_only.delete_object, Bucket=bucket, Key=key) \
        == (403, "AccessDenied")
    put(server, f"/ro/{bucket}/{key}", data(LARGE)).is_error(
        403, "AccessDenied")
    put(server, f"/no/{bucket}/{key}", data(100)).is_error(
        403, "AccessDenied")
    raw.once(server, "GET", f"/no/{bucket}/{key}").is_error(
        403, "AccessDenied")
    assert read(s3, bucket, key) == b"x"


# ---- nginx's settings

SETTINGS = {
    "buffered": "proxy_request_buffering on;",
    "file": "proxy_request_buffering on; client_body_in_file_only clean;",
    "single": "proxy_request_buffering on; "
              "client_body_in_single_buffer on; client_body_buffer_size 1m;",
    "tiny": "client_body_buffer_size 1k;",
    "unbuffered": "proxy_buffering off;",
    "spooled": "proxy_max_temp_file_size 512m;",
    "http10": 'proxy_http_version 1.0;',
    "rate": "limit_rate 20m; proxy_limit_rate 20m;",
    "directio": "aio threads; sendfile on; proxy_max_temp_file_size 512m;",
    "gzip": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
    "postpone": "postpone_output 0; output_buffers 2 1k;",
    "keepalive": "proxy_socket_keepalive on; "
                 "proxy_ignore_client_abort on;",
    "host": "s3_upstream_host localhost;",
}


@pytest.fixture(scope="module")
def settings(ceph):
    variable = f"""location /variable/ {{
            set $where {ceph.url.partition("://")[2]};
            s3_gateway on;
            s3_upstream_credentials other;
            {INCLUDE}
            {SMALL}
            proxy_pass http://$where;
        }}
"""
    with s3_gateway.Gateway(
            ceph, workers=1, gateway=SMALL,
            server=INCLUDE + variable
            + "".join(overriding(f"/{name}/", SMALL + text)
                      for name, text in SETTINGS.items())) as gateway:
        yield gateway


@pytest.mark.parametrize("name", [*SETTINGS, "variable"])
def test_settings(settings, bucket, key, name):
    """Whatever an administrator writes for other reasons."""

    prefix = f"/{name}"
    path = f"{prefix}/{bucket}/{key}"
    s3 = settings.client(prefix=prefix)
    plain = settings.client()

    for size in (0, 1, 64 * KIB, 64 * KIB + 1, MIB):
        body = data(size)

        for form, checksum in (("trailer", "trailer"),
                               ("signed-trailer", "trailer"),
                               ("unsigned", None)):
            answer = put(settings, path, body, form, checksum)
            assert answer.status == 200, (size, form, answer)
            assert answer.headers["etag"] == f'"{md5(body)}"'

        got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert got["Body"].read() == body
        assert got["ChecksumCRC64NVME"] == DIGESTS["CRC64NVME"](body)
        assert read(plain, bucket, key) == body

        # what is bad is refused, and what was there stays

        for form in ("trailer", "signed-trailer"):
            answer = put(settings, path, data(size, 1), form, "trailer",
                         "////" + "/w==")
            answer.is_error(400, "BadDigest")

        assert read(plain, bucket, key) == body

    assert not list((settings.path / "temp/body").glob("*"))


def test_spooled_body_is_checked_before(ceph, started, bucket, key):
    """With proxy_request_buffering nothing of a bad body goes up."""

    with s3_gateway.Tap(ceph) as tap:
        server = started(
            upstream_url=tap.url, server=INCLUDE + overriding(
                "/spooled/", SMALL + "proxy_request_buffering on;"))
        path = f"/spooled/{bucket}/{key}"

        put(server, path, data(LARGE), value="AAAAAA==").is_error(
            400, "BadDigest")
        assert tap.puts(f"/{bucket}/{key}") == []

        assert put(server, path, data(LARGE)).status == 200
        sent, = tap.puts(f"/{bucket}/{key}")
        assert sent.body == data(LARGE)
        assert sent.headers["content-length"] == str(LARGE)


# ---- names

def test_virtual_hosts_on_both_sides(ceph, started, bucket, key,
                                     monkeypatch):
    """Clients say bucket.s3.test, and Ceph (whose "rgw dns name" that is)
    hears bucket.localhost."""

    port = urllib.parse.urlsplit(ceph.url).port

    def getaddrinfo(host, *args, _real=socket.getaddrinfo, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        return _real("127.0.0.1" if host.endswith(".test") else host, *args,
                     **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with s3_gateway.Tap(ceph) as tap:
        server = started(
            upstream_url=tap.url, http="s3_domain s3.test;",
            gateway=SMALL + "s3_upstream_style virtual; "
            f"s3_upstream_host localhost:{port};")

        for prefix in ("", "/storage"):
            client = s3_server.SESSION.client(
                "s3", endpoint_url=f"http://s3.test:{server.port}{prefix}",
                region_name=server.region,
                aws_access_key_id=s3_server.ACCESS_KEY,
                aws_secret_access_key=s3_server.SECRET_KEY,
                config=botocore.config.Config(
                    s3={"addressing_style": "virtual"},
                    retries={"total_max_attempts": 1}))

            with contextlib.closing(client) as s3:
                for name, size in ((key, 10), ("a/b c+d%/é", LARGE),
                                   (f"{bucket}/x", 10)):
                    tap.sent.clear()
                    body = data(size)
                    s3.put_object(Bucket=bucket, Key=name, Body=body)
                    assert read(s3, bucket, name) == body
                    hosts = {s.headers["host"] for s in tap.sent}
                    assert f"{bucket}.localhost:{port}" in hosts
                    assert all(host.endswith(f".localhost:{port}")
                               for host in hosts)

                assert s3.list_objects_v2(Bucket=bucket,
                                          Prefix=key)["KeyCount"] == 1
                assert bucket in [b["Name"] for b in
                                  s3.list_buckets()["Buckets"]]
                s3.copy_object(Bucket=bucket, Key=key + "-2",
                               CopySource={"Bucket": bucket, "Key": key})
                assert read(s3, bucket, key + "-2") == data(10)
                s3.delete_object(Bucket=bucket, Key=key + "-2")
                assert fails(s3.get_object, Bucket=bucket,
                             Key=key + "-2") == (404, "NoSuchKey")
                assert fails(s3.list_objects_v2, Bucket="no-such-" + bucket) \
                    == (404, "NoSuchBucket")

        # the same in path style

        assert read(server.client(), bucket, "a/b c+d%/é") == data(LARGE)


def test_names_are_the_clients(server, bucket_name, key):
    """No answer says where the upstream is, or how it is told."""

    s3 = server.client(prefix="/storage")
    name = bucket_name("names")
    upstream = urllib.parse.urlsplit(server.upstream.url).netloc

    for client, prefix in ((server.client(prefix="/storage"), "/storage"),
                           (server.client(), "")):
        made = raw.once(server, "PUT", f"{prefix}/{name}")
        assert made.status == 200
        assert made.headers.get("location") in (None, f"/{name}")

        upload = client.create_multipart_upload(Bucket=name, Key=key)
        part = client.upload_part(Bucket=name, Key=key, PartNumber=1,
                                  UploadId=upload["UploadId"], Body=b"x")
        done = client.complete_multipart_upload(
            Bucket=name, Key=key, UploadId=upload["UploadId"],
            MultipartUpload={"Parts": [{"PartNumber": 1,
                                        "ETag": part["ETag"]}]})
        assert upstream not in str(done)
        assert done["Location"].endswith(f"/{name}/{key}")
        assert done["Location"].startswith(
            f"http://127.0.0.1:{server.port}{prefix}/")

    for target in (f"/storage/{name}", f"/storage/{name}/{key}",
                   f"/storage/{name}/none", "/storage/none-such/k"):
        answer = raw.once(server, "GET", target)
        assert upstream not in str(answer.raw_headers)
        assert upstream.encode() not in answer.body

    assert s3.get_bucket_location(Bucket=name)


def test_http2(server, bucket, key, tmp_path):
    """Presigned, with curl: several at once on one connection."""

    host = f"127.0.0.1:{server.h2_port}"
    (tmp_path / "up").write_bytes(data(2 * MIB))

    def url(method, name):
        path = f"/{bucket}/{name}"
        return f"https://{host}{path}?" + raw.presign(method, host, path)

    def curl(*args):
        done = subprocess.run(
            ["curl", "-sS", "--http2", "--noproxy", "*", "--cacert",
             server.ca, "-w", "%{http_version} %{http_code}\n", *args],
            capture_output=True, timeout=60, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]

    names = [f"{key}-{i}" for i in range(8)]

    assert curl("--parallel", *itertools.chain.from_iterable(
        ("-T", tmp_path / "up", "-o", "/dev/null", url("PUT", n))
        for n in names)) == ["2 200"] * 8

    assert curl("--parallel", *itertools.chain.from_iterable(
        ("-o", tmp_path / n, url("GET", n)) for n in names)) == ["2 200"] * 8

    for n in names:
        assert (tmp_path / n).read_bytes() == data(2 * MIB)

    answer = curl(url("GET", key + "-none"))
    assert answer[-1].endswith("2 404")
    assert "<Code>NoSuchKey</Code>" in "".join(answer)

    answer = curl("-H", "x-amz-checksum-crc32: AAAAAA==", "-T",
                  tmp_path / "up", url("PUT", names[0]))
    assert answer[-1].endswith(("2 400", "2 403")), answer
    assert read(server.client(), bucket, names[0]) == data(2 * MIB)


# ---- errors of the upstream's

def test_errors_of_the_upstream(server, bucket, bucket_name, key):
    s3 = server.client()
    other = bucket_name("errors")
    s3.create_bucket(Bucket=other)
    s3.put_object(Bucket=bucket, Key=key, Body=b"x" * 100)

    for expected, call, more in (
            ((404, "NoSuchKey"), s3.get_object, {"Key": "none"}),
            ((404, "404"), s3.head_object, {"Key": "none"}),
            ((409, "BucketNotEmpty"), s3.delete_bucket, {}),
            ((416, "InvalidRange"), s3.get_object,
             {"Key": key, "Range": "bytes=200-"}),
            ((412, "PreconditionFailed"), s3.get_object,
             {"Key": key, "IfMatch": '"x"'}),
            ((404, "NoSuchUpload"), s3.list_parts,
             {"Key": key, "UploadId": "2~none"}),
            ((404, "NoSuchUpload"), s3.abort_multipart_upload,
             {"Key": key, "UploadId": "2~none"}),
            ((404, "NoSuchKey"), s3.get_object_tagging, {"Key": "none"}),
            ((404, "NoSuchLifecycleConfiguration"),
             s3.get_bucket_lifecycle_configuration, {}),
            ((404, "NoSuchCORSConfiguration"), s3.get_bucket_cors, {}),
            ((404, "NoSuchBucketPolicy"), s3.get_bucket_policy, {})):
        assert fails(call, Bucket=bucket, **more) == expected, more

    assert fails(s3.delete_bucket, Bucket="no-such-" + bucket) \
        == (404, "NoSuchBucket")

    answer = raw.once(server, "GET", f"/{bucket}/none")
    answer.is_error(404, "NoSuchKey")
    assert answer.element("Key") == "none"
    assert answer.element("Resource") == f"/{bucket}/none"


@pytest.fixture(scope="module")
def before_fake(fake):
    with s3_gateway.Gateway(
            fake, workers=1, gateway=SMALL,
            server="location /inside/ { internal; return 200 inside; }"
    ) as gateway:
        yield gateway

    fake.answer = lambda *_: (200, {}, fake.EMPTY)


HTML = b"<html><body>a proxy's page</body></html>"


@pytest.mark.parametrize("status,expected", [
    (400, (400, "BadRequest")), (401, (403, "AccessDenied")),
    (403, (403, "AccessDenied")), (404, (404, "NoSuchKey")),
    (405, (405, "MethodNotAllowed")), (413, (400, "EntityTooLarge")),
    (429, (503, "SlowDown")), (500, (500, "InternalError")),
    (501, (501, "NotImplemented")), (502, (503, "ServiceUnavailable")),
    (503, None), (504, (503, "ServiceUnavailable")),
])
def test_pages(before_fake, fake, status, expected):
    """A proxy between us and the upstream speaks: what its status means."""

    fake.answer = lambda *_: (status, {"Content-Type": "text/html"}, HTML)

    for method in ("GET", "PUT"):
        answer = raw.once(before_fake, method, "/bucket/k",
                          body=b"x" if method == "PUT" else None)
        assert answer.code, answer
        assert b"a proxy's page" not in answer.body

        if expected:
            answer.is_error(*expected)
        else:
            assert answer.status == 503

    answer = raw.once(before_fake, "HEAD", "/bucket/k")
    assert answer.status >= 400
    assert answer.body == b""
    answer.is_error(answer.status, None)


def test_codes_that_nobody_knows(before_fake, fake):
    fake.answer = lambda *_: (
        418, {"Content-Type": "application/xml", "x-amz-request-id": "ID-1"},
        b"<Error><Code>ImATeapot</Code><Message>Short and stout</Message>"
        b"<RequestId>ID-1</RequestId><HostId>rgw7.inside</HostId></Error>")

    answer = raw.once(before_fake, "GET", "/bucket/k")
    answer.is_error(418, "ImATeapot")
    assert answer.element("Message") == "Short and stout"
    assert answer.element("RequestId") == "ID-1"
    assert "rgw7.inside" not in str(answer)


def test_what_is_for_nginx_is_not(before_fake, fake):
    """An upstream cannot send a client elsewhere within this nginx, or change
    what nginx does."""

    seen = {}

    def answer(method, path, headers, body):
        if path == "/":
            return 200, {}, fake.EMPTY
        return 200, {"ETag": '"e"', **seen}, b"object"

    fake.answer = answer

    for headers in ({"X-Accel-Redirect": "/inside/"},
                    {"X-Accel-Redirect": "/storage/bucket/k"},
                    {"X-Accel-Limit-Rate": "1"},
                    {"X-Accel-Buffering": "no"},
                    {"X-Accel-Charset": "utf-16"},
                    {"X-Accel-Expires": "0"},
                    {"Refresh": "0; url=http://127.0.0.1/"}):
        seen.clear()
        seen.update(headers)

        got = raw.once(before_fake, "GET", "/bucket/k")
        assert (got.status, got.body) == (200, b"object")
        assert "x-accel" not in str(got.raw_headers).lower()

    seen.clear()


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirects(before_fake, fake, status):
    """A client does not learn where the upstream wants to be asked: it could
    not sign for it.  Who has set up the gateway does."""

    where = "http://rgw7.inside:8080/bucket/k"
    fake.answer = lambda *_: (
        status, {"Location": where, "Content-Type": "application/xml"},
        b"<Error><Code>TemporaryRedirect</Code><Endpoint>rgw7.inside:8080"
        b"</Endpoint></Error>")

    for method in ("GET", "HEAD", "PUT"):
        answer = raw.once(before_fake, method, "/bucket/k",
                          body=b"x" if method == "PUT" else None)
        answer.is_error(500, "InternalError")
        assert "rgw7.inside" not in str(answer.raw_headers)
        assert b"rgw7.inside" not in answer.body

    assert f"the upstream answers {status} and sends us elsewhere" \
        in before_fake.log()


@pytest.fixture
def saying(started):
    """saying(bytes) -> a gateway whose upstream says that, whatever comes."""

    said = []

    def serve():
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            with s, contextlib.suppress(OSError):
                s.settimeout(10)
                s.recv(65536)
                s.sendall(said[-1])

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()

    server = started(servers_of_upstream=[
        "127.0.0.1:%d" % listener.getsockname()[1]])

    try:
        yield lambda text: said.append(text) or server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.mark.parametrize("text", [
    b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
], ids=["nothing", "begun", "ssh", "no end", "large"])
def test_no_http(saying, text):
    server = saying(text)

    for method, path in (("GET", "/bucket/k"), ("HEAD", "/bucket/k"),
                         ("GET", "/"), ("DELETE", "/bucket/k")):
        is_unavailable(raw.once(server, method, path))

    is_unavailable(put(server, "/bucket/k", b"x"))


def test_cut_short(saying):
    """A body that is short is one that the client sees to be."""

    server = saying(b'HTTP/1.1 200 OK\r\nETag: "e"\r\n'
                    b"Content-Length: 10\r\n\r\n12345")

    with pytest.raises(http.client.IncompleteRead):
        raw.once(server, "GET", "/bucket/k")

    server = saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n"
                    b"<Error><Code>NoSuchKey</Code>")

    with contextlib.suppress(http.client.HTTPException):
        answer = raw.once(server, "GET", "/bucket/k")
        assert answer.status >= 400 and answer.code


@pytest.mark.parametrize("path,query", [
    ("/", ""), ("/bucket", "list-type=2"), ("/bucket", "versions"),
    ("/bucket/k", "uploadId=x"), ("/bucket/k", "attributes")])
def test_cut_short_what_is_read_whole(saying, path, query):
    """It is no answer."""

    server = saying(
        b'HTTP/1.1 200 OK\r\nETag: "0cc175b9c0f1b6a831c399e269772661-2"'
        b"\r\nx-amz-meta-nginx-s3-checksum: record\r\n"
        b"Content-Length: 1000\r\n\r\n"
        b"<ListAllMyBucketsResult><Owner><ID>x</ID></Owner>")

    with contextlib.suppress(http.client.IncompleteRead):
        is_unavailable(raw.once(
            server, "GET", path, query,
            headers=[("x-amz-object-attributes", "ETag,ObjectParts")]))
