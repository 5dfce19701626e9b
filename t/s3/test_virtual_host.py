"""Virtual-host style: the bucket is in the host's name."""

import contextlib
import socket
import subprocess
import uuid

import botocore.config
import pytest

import raw
import s3_server
from checks import MIB, data, fails, read


@pytest.fixture(scope="module")
def server():
    h2, = s3_server.free_ports(1)

    with s3_server.Store(
            http="s3_domain s3.test Other.Test;",
            servers=f"""
    server {{
        listen 127.0.0.1:{h2} http2;
        include "{s3_server.ROOT}/conf/s3_params";
        location / {{ s3_serve main; }}
    }}""") as store:
        store.h2 = h2
        yield store


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Every name is this machine's."""

    def getaddrinfo(host, *args, _real=socket.getaddrinfo, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        return _real("127.0.0.1" if host and host.endswith(".test") else host,
                     *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def client(server, domain="s3.test", prefix="", signature="s3v4"):
    return s3_server.SESSION.client(
        "s3", endpoint_url=f"http://{domain}:{server.port}{prefix}",
        region_name=server.region, aws_access_key_id=s3_server.ACCESS_KEY,
        aws_secret_access_key=s3_server.SECRET_KEY,
        config=botocore.config.Config(
            signature_version=signature, s3={"addressing_style": "virtual"},
            retries={"total_max_attempts": 1}))


@pytest.fixture(params=["photos", "a.b.c"])
def bucket(server, request):
    name = f"{request.param}-{uuid.uuid4().hex[:8]}"
    with contextlib.closing(client(server)) as s3:
        s3.create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("signature", ["s3v4", "s3"])
@pytest.mark.parametrize("prefix", ["", "/storage"])
@pytest.mark.parametrize("domain", ["s3.test", "S3.Test", "other.test"])
def test_boto3(server, bucket, domain, prefix, signature):
    with contextlib.closing(client(server, domain, prefix, signature)) as s3:
        body = data(MIB + 1)
        seen = []

        s3.meta.events.register("before-send.s3",
                                lambda request, **_: seen.append(request.url))

        for key in ("k", "a/b c+d%/é", "a//b", "./x", bucket):
            s3.put_object(Bucket=bucket, Key=key, Body=body)
            assert read(s3, bucket, key) == body

        assert [e["Key"] for e in
                s3.list_objects_v2(Bucket=bucket)["Contents"]] \
            == sorted(["k", "a/b c+d%/é", "a//b", "./x", bucket],
                      key=str.encode)

        for key in ("k", "a/b c+d%/é", "a//b", "./x", bucket):
            s3.delete_object(Bucket=bucket, Key=key)

        assert bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]]
        assert s3.head_bucket(Bucket=bucket)
        assert fails(s3.get_object, Bucket=bucket, Key="none") \
            == (404, "NoSuchKey")
        assert fails(s3.list_objects_v2, Bucket="none-such") \
            == (404, "NoSuchBucket")

    # it was what this is about

    assert f"//{bucket}.{domain}:".lower() in seen[0].lower()


@pytest.mark.parametrize("prefix", ["", "/storage"])
def test_sigv2(server, bucket, prefix):
    """The bucket is in what is signed, though not in the path."""

    with contextlib.closing(client(server, prefix=prefix,
                                   signature="s3")) as s3:
        s3.put_object(Bucket=bucket, Key="a/b c", Body=b"x")
        assert read(s3, bucket, "a/b c") == b"x"
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
        s3.delete_object(Bucket=bucket, Key="a/b c")
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_both_styles_are_one_store(server, bucket):
    path = server.client()
    path.put_object(Bucket=bucket, Key="k", Body=b"x")

    with contextlib.closing(client(server)) as s3:
        assert read(s3, bucket, "k") == b"x"
        s3.put_object(Bucket=bucket, Key="k", Body=b"y")

    assert read(path, bucket, "k") == b"y"


def test_presigned(server, bucket):
    server.client().put_object(Bucket=bucket, Key="k", Body=b"x")

    host = f"{bucket}.s3.test"
    query = raw.presign("GET", host, "/k")

    with raw.Connection(server) as conn:
        def ask(name, path="/k"):
            return conn.request("GET", path, query, host=name, signed=False)

        assert ask(host).body == b"x"
        ask("s3.test", f"/{bucket}/k") \
            .is_error(403, "SignatureDoesNotMatch")
        ask(f"{bucket}.other.test").is_error(403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("host,status,code", [
    ("none.s3.test", 404, "NoSuchBucket"),
    ("a_b.s3.test", 400, "InvalidBucketName"),
    ("ab.s3.test", 400, "InvalidBucketName"),
    ("xn--a.s3.test", 400, "InvalidBucketName"),
    (".s3.test", 400, "InvalidBucketName"),
    ("-ab.s3.test", 400, "InvalidBucketName"),
])
def test_hosts(server, host, status, code):
    raw.once(server, "GET", "/k", host=host).is_error(status, code)


@pytest.mark.parametrize("host", ["s3.test", "S3.TEST:1", "elsewhere.org",
                                  "as3.test", "127.0.0.1", "s3.test."])
def test_path_style_stays(server, bucket, host):
    server.client().put_object(Bucket=bucket, Key="k", Body=b"x")

    assert raw.once(server, "GET", f"/{bucket}/k", host=host).body == b"x"
    assert b"ListAllMyBucketsResult" in raw.once(server, "GET", "/",
                                                 host=host).body


@pytest.mark.parametrize("host", ["{}.s3.test", "{}.S3.Test:80",
                                  "{}.s3.test.:80"])
def test_forms_of_a_host(server, bucket, host):
    server.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    host = host.format(bucket)

    assert raw.once(server, "GET", "/k", host=host).body == b"x"
    assert raw.once(server, "GET", "/k", host=host.upper()).body == b"x"

    # the bucket itself, and a key that looks like a path of the other style

    raw.once(server, "GET", f"/{bucket}/k", host=host) \
        .is_error(404, "NoSuchKey")
    listing = raw.once(server, "GET", "/", "list-type=2", host=host)
    assert listing.xml.findtext("{*}Name") == bucket


def test_signed_host_counts(server, bucket):
    """A request line with another host than the signed header's: nginx goes
    by the line, the bucket is that of the signature."""

    with contextlib.closing(client(server)) as s3:
        secret = f"secret-{uuid.uuid4().hex[:8]}"
        s3.create_bucket(Bucket=secret)
        s3.put_object(Bucket=secret, Key="k", Body=b"secret")
        s3.put_object(Bucket=bucket, Key="k", Body=b"open")

    query = raw.presign("GET", f"{bucket}.s3.test", "/k")

    with raw.Connection(server) as conn:
        answer = conn.raw(
            (f"GET http://{secret}.s3.test/k?{query} HTTP/1.1\r\n"
             f"Host: {bucket}.s3.test\r\n\r\n").encode())

    assert answer.body != b"secret"
    assert (answer.status, answer.body) == (200, b"open")


def test_path_of_nothing_else(server, bucket):
    """A path that nginx takes for another location's."""

    host = f"{bucket}.s3.test"

    with raw.Connection(server) as conn:
        conn.request("PUT", "/storage/../k", body=b"x", host=host)
        assert conn.request("GET", "/storage/../k", host=host).body == b"x"

    keys = [e["Key"] for e in server.client().list_objects_v2(
        Bucket=bucket)["Contents"]]
    assert keys == ["storage/../k"]

    # in /storage/ the key begins after it, and the raw path does not

    raw.once(server, "GET", "/x/../storage/k", host=host) \
        .is_error(400, "InvalidURI")


def test_http2(server, bucket):
    """:authority instead of Host."""

    server.client().put_object(Bucket=bucket, Key="k", Body=b"x")

    host = f"{bucket}.s3.test:{server.h2}"
    query = raw.presign("GET", host, "/k")

    run = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "--noproxy", "*",
         "--resolve", f"{host}:127.0.0.1", "-w", "%{http_version}",
         f"http://{host}/k?{query}"],
        capture_output=True, timeout=30, check=True)

    assert run.stdout == b"x2"
