"""Requests made by hand, for what no SDK sends.

    conn = raw.Connection(store, tls=False)
    answer = conn.request("PUT", "/bucket/key", body=b"...")
    answer.status, answer.code, answer.headers["etag"], answer.body

Paths and queries go out as they are given: escape them yourself.
"""

import base64
import contextlib
import datetime
import email.utils
import hashlib
import hmac
import http.client
import socket
import ssl
import time
import urllib.parse
import xml.etree.ElementTree as et
import zlib

import s3_server


UNSIGNED = "UNSIGNED-PAYLOAD"
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def aws_chunked(data, chunk=64 * 1024, trailer=True, value=None):
    """data in aws-chunked form, with a trailer of its CRC32 (or of value)."""

    out = bytearray()

    for i in range(0, len(data), chunk):
        piece = data[i:i + chunk]
        out += b"%x\r\n" % len(piece) + piece + b"\r\n"

    out += b"0\r\n"

    if trailer:
        value = crc32(data) if value is None else value
        out += f"x-amz-checksum-crc32:{value}\r\n".encode()

    return bytes(out + b"\r\n")


def http_chunked(data, chunk=50_000):
    """data as Transfer-Encoding: chunked has it (RFC 9112, section 7.1)."""

    out = bytearray()

    for i in range(0, len(data), chunk):
        piece = data[i:i + chunk]
        out += b"%x\r\n" % len(piece) + piece + b"\r\n"

    return bytes(out + b"0\r\n\r\n")


def quote(text):
    return urllib.parse.quote(text, safe="-._~")


def unescaped(text):
    return urllib.parse.unquote_to_bytes(text.replace("+", " "))


def canonical_query(query):
    """The query as SigV4 signs it: decoded, encoded again, sorted."""

    if not query:
        return ""

    pairs = []

    for piece in query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            pairs.append((quote(unescaped(name)), quote(unescaped(value))))

    return "&".join(f"{n}={v}" for n, v in sorted(pairs))


def signing_key(secret, day, region):
    key = ("AWS4" + secret).encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def signature(secret, region, now, method, path, query, headers, signed,
              payload):
    """headers: [(name, value)], signed: lower-case names, sorted."""

    values = {}

    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))

    path = urllib.parse.quote(urllib.parse.unquote_to_bytes(path),
                              safe="/-._~")
    canonical = "\n".join(
        [method, path, canonical_query(query),
         *(f"{n}:{','.join(values.get(n, ['']))}" for n in signed), "",
         ";".join(signed), payload])

    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                      hashlib.sha256(canonical.encode("latin-1"))
                      .hexdigest()])

    return hmac.new(signing_key(secret, now[:8], region), text.encode(),
                    hashlib.sha256).hexdigest()


def amz_date(seconds=0):
    """x-amz-date of now, or of so many seconds from now."""

    then = (datetime.datetime.now(datetime.timezone.utc)
            + datetime.timedelta(seconds=seconds))
    return then.strftime("%Y%m%dT%H%M%SZ")


def sign(method, path, query, headers, payload, region=s3_server.REGION,
         access_key=s3_server.ACCESS_KEY, secret_key=s3_server.SECRET_KEY,
         date=None, leave_unsigned=()):
    """headers with x-amz-date, x-amz-content-sha256 and Authorization."""

    date = date or amz_date()
    headers = list(headers)
    names = {name.lower() for name, _ in headers}

    if "x-amz-date" not in names:
        headers.append(("x-amz-date", date))

    if payload is not None and "x-amz-content-sha256" not in names:
        headers.append(("x-amz-content-sha256", payload))

    signed = sorted({name.lower() for name, _ in headers
                     if name.lower() in ("host", "content-type",
                                         "content-md5", "range")
                     or name.lower().startswith("x-amz-")}
                    - {name.lower() for name in leave_unsigned})

    value = signature(secret_key, region, date, method, path, query, headers,
                      signed, payload if payload is not None
                      else EMPTY_SHA256)

    headers.append(("Authorization",
                    "AWS4-HMAC-SHA256 "
                    f"Credential={access_key}/{date[:8]}/{region}/s3/"
                    f"aws4_request, SignedHeaders={';'.join(signed)}, "
                    f"Signature={value}"))

    return headers


def presign(method, host, path, query="", expires=3600, date=None,
            region=s3_server.REGION, access_key=s3_server.ACCESS_KEY,
            secret_key=s3_server.SECRET_KEY):
    """The query of a presigned URL, signed for host alone."""

    date = date or amz_date()
    args = ["X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Credential=" + quote(f"{access_key}/{date[:8]}/{region}"
                                        "/s3/aws4_request"),
            f"X-Amz-Date={date}", f"X-Amz-Expires={expires}",
            "X-Amz-SignedHeaders=host"]

    query = "&".join(([query] if query else []) + args)
    value = signature(secret_key, region, date, method, path, query,
                      [("host", host)], ["host"], UNSIGNED)

    return f"{query}&X-Amz-Signature={value}"


# ---- Signature Version 2

SUB_RESOURCES = {
    "acl", "cors", "delete", "lifecycle", "location", "logging",
    "notification", "partNumber", "policy", "requestPayment", "restore",
    "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning",
    "versions", "website", "response-cache-control",
    "response-content-disposition", "response-content-encoding",
    "response-content-language", "response-content-type",
    "response-expires"}


def signature_v2(secret, method, path, query, headers, date):
    """headers: [(name, value)]; date: what stands in the Date's place."""

    values = {}

    for name, value in headers:
        values.setdefault(name.lower(), []).append(value.strip())

    args = []

    for piece in query.split("&"):
        name, equals, value = piece.partition("=")
        if name in SUB_RESOURCES:
            args.append(name + equals + unescaped(value).decode())

    text = "\n".join(
        [method, *(values.get(n, [""])[0] for n in ("content-md5",
                                                    "content-type")), date,
         *(f"{n}:{','.join(values[n])}" for n in sorted(values)
           if n.startswith("x-amz-")),
         path + ("?" + "&".join(sorted(args)) if args else "")])

    return base64.b64encode(hmac.new(
        secret.encode(), text.encode("latin-1"), hashlib.sha1).digest()
    ).decode()


def http_date(seconds=0):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def sign_v2(method, path, query="", headers=(), date=None, amz_date=None,
            access_key=s3_server.ACCESS_KEY,
            secret_key=s3_server.SECRET_KEY):
    """headers with Date (or x-amz-date) and Authorization."""

    headers = list(headers)

    if amz_date is not None:
        headers.append(("x-amz-date", amz_date))
        date = ""

    elif date is None:
        date = http_date()

    if date:
        headers.append(("Date", date))

    value = signature_v2(secret_key, method, path, query, headers, date)

    return [*headers, ("Authorization", f"AWS {access_key}:{value}")]


def presign_v2(method, path, query="", headers=(), expires=3600,
               access_key=s3_server.ACCESS_KEY,
               secret_key=s3_server.SECRET_KEY):
    """The query of a presigned URL."""

    if isinstance(expires, int):
        expires = str(int(time.time()) + expires)

    value = signature_v2(secret_key, method, path, query, headers, expires)

    return "&".join([*([query] if query else []),
                     f"AWSAccessKeyId={access_key}", f"Expires={expires}",
                     "Signature=" + quote(value)])


class Answer:
    def __init__(self, method, response):
        self.status = response.status
        self.reason = response.reason
        self.raw_headers = response.getheaders()
        self.headers = {n.lower(): v for n, v in self.raw_headers}
        self.body = response.read()
        self.closes = response.will_close
        self.method = method

    def __repr__(self):
        return f"{self.status} {self.raw_headers} {self.body[:2000]!r}"

    @property
    def xml(self):
        return et.fromstring(self.body)

    @property
    def code(self):
        """Code of an S3 error document, None of anything else."""

        if not self.body.lstrip().startswith(b"<"):
            return None

        root = self.xml
        return root.findtext("Code") if root.tag == "Error" else None

    def element(self, name):
        return self.xml.findtext(name)

    def is_error(self, status, code):
        """Asserts that it is that error, whole: status, document, id."""

        assert self.status == status, self
        assert self.headers.get("x-amz-request-id"), self
        assert self.headers.get("x-amz-id-2"), self

        if self.method == "HEAD":
            assert self.body == b"", self
            return self

        assert self.headers["content-type"] == "application/xml", self
        assert self.body.startswith(b'<?xml version="1.0"'), self
        assert self.code == code, self
        assert self.element("Message"), self
        assert self.element("RequestId") == \
            self.headers["x-amz-request-id"], self
        assert int(self.headers["content-length"]) == len(self.body), self

        return self


class Connection:
    """One connection, which stays the same from request to request."""

    def __init__(self, store, tls=False, timeout=30):
        self.store = store
        self.tls = tls
        self.host = urllib.parse.urlsplit(
            store.url("tls" if tls else "http")).netloc
        self.socket = store.connect(tls, timeout)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def head(self, method, path, query="", headers=(), body_headers=(),
             payload=UNSIGNED, host=None, signed=True, **kwargs):
        """The request's head as bytes.  payload None: no such header."""

        target = path + ("?" + query if query else "")
        lines = [("Host", host or self.host), *headers]

        if signed:
            lines = sign(method, path, query, lines, payload, **kwargs)

        lines += body_headers

        text = f"{method} {target} HTTP/1.1\r\n"
        text += "".join(f"{n}: {v}\r\n" for n, v in lines)

        return (text + "\r\n").encode("latin-1")

    def request(self, method, path, query="", headers=(), body=None,
                chunked=False, payload=None, length=None, **kwargs):
        """Sends a whole request, returns the answer.

        body None: no body and no length.  payload None: body's hash, or
        what a request without any has.  length: another Content-Length.
        """

        lines = []

        if body is not None:
            if chunked:
                lines.append(("Transfer-Encoding", "chunked"))
            else:
                lines.append(("Content-Length",
                              len(body) if length is None else length))

        if payload is None:
            payload = hashlib.sha256(body or b"").hexdigest()

        head = self.head(method, path, query, headers, lines, payload,
                         **kwargs)

        if body is not None and chunked:
            body = http_chunked(body)

        # a refusal may come, and the connection end, while a body is sent

        with contextlib.suppress(BrokenPipeError, ConnectionResetError,
                                 ssl.SSLEOFError):
            self.send(head + (body or b""))

        return self.answer(method)

    def answer(self, method="GET"):
        response = http.client.HTTPResponse(self.socket, method=method)
        try:
            response.begin()
            return Answer(method, response)
        finally:
            response.close()

    def raw(self, data, method="GET"):
        self.send(data)
        return self.answer(method)

    def ends(self, seconds=10):
        """The server ends the connection, cleanly: end of file, no reset."""

        self.socket.settimeout(seconds)
        return self.socket.recv(1) == b""

    def serves(self):
        """It still answers, and the answer is that to this request."""

        answer = self.request("GET", "/")
        return answer.status == 200 and b"ListAllMyBucketsResult" \
            in answer.body


def once(store, method, path, query="", tls=False, **kwargs):
    """One request on a connection of its own."""

    with Connection(store, tls) as conn:
        return conn.request(method, path, query, **kwargs)
