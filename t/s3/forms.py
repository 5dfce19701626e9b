"""Uploads in every payload form, as the bytes a client sends.

    up = forms.upload(host, "/bucket/key", "signed-trailer", b"...",
                      chunked=True, checksum="trailer")
    up.head, up.body, up.lines (the headers), up.wire (head and body)
"""

import dataclasses
import hashlib
import hmac
import re

import raw
import s3_server


SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"

FORMS = {"hash": None, "unsigned": raw.UNSIGNED, "trailer": raw.TRAILER,
         "signed": SIGNED, "signed-trailer": SIGNED_TRAILER}

# what each form can hold: the checksum nowhere, in a header, in the trailer

CHECKSUMS = [(form, checksum) for form in FORMS
             for checksum in (None, "header", "trailer")
             if checksum != "trailer" or form.endswith("trailer")]


class Signer:
    """The signatures of chunks, each made with the one before."""

    def __init__(self, authorization, date, secret):
        self.scope = re.search(r"Credential=[^/]+/([^,]+)",
                               authorization)[1]
        self.date = date
        self.previous = re.search("Signature=([0-9a-f]{64})",
                                  authorization)[1]
        day, region = self.scope.split("/")[:2]
        self.key = raw.signing_key(secret, day, region)

    def sign(self, kind, *hashes):
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", self.date, self.scope,
                          self.previous, *hashes])
        self.previous = hmac.new(self.key, text.encode(),
                                 hashlib.sha256).hexdigest()
        return self.previous

    def chunk(self, data):
        signature = self.sign("PAYLOAD", raw.EMPTY_SHA256,
                              hashlib.sha256(data).hexdigest())
        return f"{len(data):x};chunk-signature={signature}\r\n".encode()

    def trailer(self, text):
        return self.sign("TRAILER", hashlib.sha256(text).hexdigest())


def signed_chunks(signer, data, chunk, trailer=None):
    """trailer: None: a form without; else its line, b"" for an empty one."""

    out = bytearray()

    for i in range(0, len(data), chunk):
        piece = data[i:i + chunk]
        out += signer.chunk(piece) + piece + b"\r\n"

    out += signer.chunk(b"")

    if trailer is not None:
        if trailer:
            out += trailer + b"\r\n"
        signature = signer.trailer(trailer + b"\n" if trailer else b"")
        out += f"x-amz-trailer-signature:{signature}\r\n".encode()

    return bytes(out + b"\r\n")


@dataclasses.dataclass
class Upload:
    lines: list
    head: bytes
    body: bytes

    @property
    def wire(self):
        return self.head + self.body


def upload(host, path, form, data, chunked=False, checksum=None, value=None,
           chunk=65536, http_chunk=50_000, headers=(), framing=True,
           length=None, secret_key=s3_server.SECRET_KEY):
    """value: what the checksum says instead; length: what
    x-amz-decoded-content-length says instead; framing: with Content-Length
    or Transfer-Encoding, which HTTP/2 has no need of."""

    value = raw.crc32(data) if value is None else value
    line = f"x-amz-checksum-crc32:{value}".encode()
    lines = [("Host", host), *headers]

    if checksum == "header":
        lines.append(("x-amz-checksum-crc32", value))

    if form in ("hash", "unsigned"):
        payload = FORMS[form] or hashlib.sha256(data).hexdigest()

    else:
        payload = FORMS[form]
        lines += [("Content-Encoding", "aws-chunked"),
                  ("x-amz-decoded-content-length",
                   str(len(data) if length is None else length))]
        if checksum == "trailer":
            lines.append(("x-amz-trailer", "x-amz-checksum-crc32"))

    date = raw.amz_date()
    lines = raw.sign("PUT", path, "", lines, payload, date=date,
                     secret_key=secret_key)

    if form in ("hash", "unsigned"):
        body = data

    elif form == "trailer":
        body = raw.aws_chunked(data, chunk, checksum == "trailer", value)

    else:
        body = signed_chunks(
            Signer(dict(lines)["Authorization"], date, secret_key), data,
            chunk, None if form == "signed"
            else line if checksum == "trailer" else b"")

    if framing and chunked:
        lines.append(("Transfer-Encoding", "chunked"))
        body = raw.http_chunked(body, http_chunk)

    elif framing:
        lines.append(("Content-Length", str(len(body))))

    head = f"PUT {path} HTTP/1.1\r\n"
    head += "".join(f"{n}: {v}\r\n" for n, v in lines) + "\r\n"

    return Upload(lines, head.encode("latin-1"), body)
