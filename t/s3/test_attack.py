"""Requests of somebody who means harm.  (Signatures: test_auth.py, presigned
URLs: test_presigned.py, paths: test_keys.py.)"""

import re
import socket
import uuid

import pytest

import raw
import s3_server
from checks import MIB, data


def at(conn, method, target, headers=(), body=None):
    """A request whose target goes out as it is, with no header added but
    Host and Content-Length."""

    lines = [f"{method} {target} HTTP/1.1", f"Host: {conn.host}"]
    lines += [f"{n}: {v}" for n, v in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")

    conn.send("\r\n".join(lines + ["", ""]).encode("latin-1")
              + (body or b""))
    return conn.answer(method)


# ---- what is stored comes back as headers

@pytest.mark.parametrize("name", ["a%0d%0aInjected%3a%20yes", "a%00b",
                                  "a%20b", "a%3ab", "%c3%a9", "a%22"])
def test_metadata_names_of_a_presigned_query(store, bucket, name):
    """Arguments of a query may hold any byte, names of headers may not."""

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("PUT", conn.host, path, f"X-Amz-Meta-{name}=v")
        at(conn, "PUT", f"{path}?{query}", body=b"x") \
            .is_error(400, "InvalidArgument")
        conn.request("GET", path).is_error(404, "NoSuchKey")


@pytest.mark.parametrize("value", ["a%0d%0aInjected: yes", "a%00", "%1b[2J"])
@pytest.mark.parametrize("name", ["response-content-type",
                                  "response-cache-control"])
def test_overrides_hold_no_control_characters(store, bucket, s3, name, value):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("GET", conn.host, path,
                            f"{name}={raw.quote(raw.unescaped(value))}")
        at(conn, "GET", f"{path}?{query}").is_error(400, "InvalidArgument")


# ---- locations

def test_bucket_whose_name_begins_alike(store, bucket):
    """nginx chooses the location by "/bucketx/k", S3 would see "bucket"."""

    path = f"/{bucket}/../{bucket}x/k"

    with raw.Connection(store) as conn:
        for method in ("PUT", "GET", "DELETE"):
            conn.request(method, path, body=b"x" if method == "PUT"
                         else None).is_error(400, "InvalidURI")


# ---- bodies

def test_create_bucket_without_the_body_that_was_signed(store):
    """Somebody on the way has taken it, and the region it names."""

    for body in (None, b""):
        raw.once(store, "PUT", "/stripped-of-its-body", body=body,
                 payload="0" * 64) \
            .is_error(400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("method, path, query", [
    ("GET", "/", ""), ("GET", "/{}", "list-type=2"), ("HEAD", "/{}", ""),
    ("GET", "/{}", "policy"), ("DELETE", "/{}", ""), ("GET", "/{}/k", ""),
    ("DELETE", "/{}/k", ""), ("POST", "/{}/k", "uploads")])
def test_no_body_where_one_was_signed(store, s3, bucket, method, path, query):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        for body in (None, b""):
            conn.request(method, path.format(bucket), query, body=body,
                         payload="0" * 64) \
                .is_error(400, "XAmzContentSHA256Mismatch")

        assert conn.serves()

    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


# ---- logs

def test_error_log_is_not_written_by_clients(store, bucket):
    """The scope of a credential is quoted in the message."""

    evil = "us\n[warn] not from here \x1b[31m\x7f\xff"

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("GET", conn.host, path, region=evil)
        at(conn, "GET", f"{path}?{query}") \
            .is_error(400, "AuthorizationQueryParametersError")

    log = s3_server.wait_for(lambda: "not from here" in store.log()
                             and store.log(), 5)
    assert "\\x0A[warn] not from here \\x1B[31m\\x7F\\xC3" in log
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\uffff]", log)


def test_access_log_is_not_written_by_clients(store, bucket):
    """Its variables hold keys and arguments as they are, decoded: a line of
    it is a line all the same, and its quotes are its own."""

    mark = uuid.uuid4().hex
    evil = f'{mark}\n200 GetObject "GET /" \x1b[31m\x7f\\\r\0'

    for key in (evil[:-1], evil):
        raw.once(store, "PUT", f"/{bucket}/{raw.quote(key)}", body=b"x")
        raw.once(store, "GET", f"/{bucket}",
                 "list-type=2&prefix=" + raw.quote(key))

    def lines():
        return [line for line in store.access_lines() if mark in line]

    s3_server.wait_for(lambda: len(lines()) == 4, 5)
    text = "\n".join(lines())

    assert not [c for c in text if c != "\n" and not " " <= c < "\x7f"]
    assert all(bucket in line for line in lines())
    assert all(line.count('"') == 14 for line in lines())

    log = store.log()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\uffff]", log)
    assert not [line for line in log.splitlines()
                if line.startswith("200 GetObject")]


@pytest.mark.parametrize("line,headers", [
    ("HTTP/1.1", "Host: x\r\nHost: y\r\n"),
    ("HTTP/1.1", ""),
    ("HTTP/1.1", "Host: x\r\nContent-Length: z\r\n"),
    ("HTTP/1.1", "Host: x\r\nTransfer-Encoding: z\r\n"),
    ("HTTP/1.1", "Host: x\r\nLarge: " + "a" * 50_000 + "\r\n"),
    ("HTTP/9.1", "Host: x\r\n"),
], ids=["hosts", "no host", "length", "encoding", "large", "version"])
def test_no_signature_of_a_request_that_nginx_refused(store, line, headers):
    """What is wrong may not be the URL, which stays valid for days."""

    signature = uuid.uuid4().hex * 2
    mark = uuid.uuid4().hex

    with raw.Connection(store) as conn:
        answer = conn.raw(f"GET /b/k?X-Amz-Signature={signature}&m={mark} "
                          f"{line}\r\n{headers}\r\n".encode())
        assert answer.status >= 400

    def logged():
        return [one for one in store.access_lines() if mark in one]

    s3_server.wait_for(logged, 5)
    assert signature not in "".join(logged())


# ---- nginx's own machinery around a location: nothing reaches data without
# ---- a verdict, and S3's clients never read nginx's pages

@pytest.fixture(scope="module")
def around():
    """A store, and a server with a location for each of nginx's ways in."""

    port, = s3_server.free_ports(1)

    with s3_server.Store(disks=1, parity=0, http="""
            limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
            error_page 500 502 503 504 /50x.html;
        """, servers=f"""
            server {{
                listen 127.0.0.1:{port};
                include "{s3_server.ROOT}/conf/s3_params";

                root www;
                error_page 403 404 405 413 /40x.html;
                location ~ ^/[45]0x.html$ {{ return 200 "for people"; }}

                location /s/ {{ s3_serve main; }}
                location /ssi/ {{ ssi on; ssi_types *; alias www/; }}
                location /auth/ {{
                    auth_request /s/shared/secret;
                    alias www/;
                }}
                location /mirror/ {{
                    s3_serve main;
                    mirror /s/shared/secret;
                }}
                location /copied/ {{ s3_serve main; mirror /null; }}
                location = /null {{ return 204; }}
                location /try/ {{ try_files /none /s/shared/secret; }}
                location /rewrite/ {{ rewrite ^ /s/shared/secret last; }}
                location /limited/ {{ s3_serve main; limit_req zone=one; }}
                location /denied/ {{ s3_serve main; deny all; }}
                location /basic/ {{
                    s3_serve main;
                    auth_basic people;
                    auth_basic_user_file users;
                }}
                location /except/ {{
                    s3_serve main;
                    limit_except GET {{ deny all; }}
                }}
                location /if/ {{
                    s3_serve main;
                    if ($request_method = PUT) {{ return 403; }}
                }}
                location /small/ {{
                    s3_serve main;
                    client_max_body_size 100;
                }}
                location /page/ {{
                    s3_serve main;
                    deny all;
                    error_page 403 /40x.html;
                }}
            }}
        """) as server:
        www = server.path / "www"
        www.mkdir(mode=0o755)
        (www / "page.shtml").write_text(
            '(<!--# include virtual="/s/shared/secret" -->)')
        (server.path / "users").write_text("u:{PLAIN}p\n")

        server.around = port
        server.client().create_bucket(Bucket="shared")
        server.client().put_object(Bucket="shared", Key="secret",
                                   Body=b"top secret")
        yield server


@pytest.fixture
def conn(around):
    with raw.Connection(around) as connection:
        connection.socket.close()
        connection.socket = socket.create_connection(
            ("127.0.0.1", around.around), 30)
        connection.host = f"127.0.0.1:{around.around}"
        yield connection


@pytest.mark.parametrize("path", ["/ssi/page.shtml", "/auth/page.shtml",
                                  "/try/x", "/rewrite/x"])
@pytest.mark.parametrize("signed", [False, True])
def test_no_way_around_the_verdict(conn, path, signed):
    answer = conn.request("GET", path, signed=signed)
    assert b"secret" not in answer.body, answer
    assert answer.status != 200 or answer.body.startswith(b"("), answer


def test_mirrored(around, conn):
    """The mirror gets nothing, the request itself all."""

    assert conn.request("GET", "/mirror/shared/secret").body == b"top secret"
    conn.request("GET", "/mirror/shared/secret", signed=False) \
        .is_error(403, "AccessDenied")

    body = data(3 * MIB)    # nginx reads it first, into a file

    assert conn.request("PUT", "/copied/shared/m", body=body).status == 200
    assert conn.request("GET", "/copied/shared/m").body == body
    conn.request("PUT", "/copied/shared/n", body=body, payload="0" * 64) \
        .is_error(400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("method,path,status,code", [
    ("GET", "/denied/shared/secret", 403, "AccessDenied"),
    ("PUT", "/except/shared/x", 403, "AccessDenied"),
    ("PUT", "/if/shared/x", 403, "AccessDenied"),
    ("PUT", "/small/shared/x", 400, "EntityTooLarge"),
    ("GET", "/basic/shared/secret", 403, "AccessDenied"),
])
def test_refused_by_nginx(conn, method, path, status, code):
    body = b"x" * 1000 if method == "PUT" else None
    conn.request(method, path, body=body).is_error(status, code)


def test_allowed_by_nginx(conn):
    assert conn.request("GET", "/except/shared/secret").body == b"top secret"
    assert conn.request("GET", "/if/shared/secret").body == b"top secret"
    conn.request("GET", "/except/shared/secret", signed=False) \
        .is_error(403, "AccessDenied")


def test_too_many_requests(conn):
    assert conn.request("GET", "/limited/shared/secret").status == 200
    answer = conn.request("GET", "/limited/shared/secret")
    answer.is_error(503, "SlowDown")
    assert answer.headers["retry-after"] == "1"


def test_error_page_of_the_location(conn):
    answer = conn.request("GET", "/page/shared/secret")
    assert answer.body == b"for people"


# ---- headers that change what an answer means

def test_if_range(store, bucket, s3):
    """Who resumes a download must not get the end of another object."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    path = f"/{bucket}/k"

    with raw.Connection(store) as conn:
        head = conn.request("HEAD", path).headers
        etag, date = head["etag"], head["last-modified"]

        def get(*values):
            answer = conn.request(
                "GET", path, headers=[("Range", "bytes=5-")]
                + [("If-Range", v) for v in values])
            assert (answer.status, answer.body) in (
                (206, b"56789"), (200, b"0123456789")), answer
            return answer.status

        assert get() == 206
        assert get(etag) == 206
        assert get(date) == 206
        assert get('"another"') == 200
        assert get("W/" + etag) == 200
        assert get(f'{etag}, "another"') == 200
        assert get("Mon, 01 Jan 1990 00:00:00 GMT") == 200
        assert get("Mon, 01 Jan 2091 00:00:00 GMT") == 200
        assert get("x") == 200
