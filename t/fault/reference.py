"""What S3 says of buckets, objects, uploads and lists, as a model without any
I/O, and which answers some order of requests allows.

A state is {bucket: Bucket}; nothing that stands in one is ever changed, an
operation makes another state.  Op.apply(state) is what S3 answers and what is
then there; Op.seen(answer) is what a server answered, in the same form.

A History holds all that may be true: pairs of a state and of the requests
that may still take effect.  A request may do so from the moment it is sent
to that of its answer; without an answer at any later moment, or never.
"""

import base64
import binascii
import collections
import hashlib
import urllib.parse
import zlib

import awscrt.checksums

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PART_MIN = 5 << 20
CHECKSUMS = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")

Object = collections.namedtuple("Object", "body etag meta checksum parts")
Upload = collections.namedtuple("Upload", "key meta algorithm type parts")
Part = collections.namedtuple("Part", "body etag checksum")
Bucket = collections.namedtuple("Bucket", "objects uploads done")


def digest(algorithm, body):
    if algorithm == "crc32":
        return zlib.crc32(body).to_bytes(4, "big")
    if algorithm == "crc32c":
        return awscrt.checksums.crc32c(body).to_bytes(4, "big")
    if algorithm == "crc64nvme":
        return awscrt.checksums.crc64nvme(body).to_bytes(8, "big")
    return hashlib.new(algorithm, body).digest()


def b64(value):
    return base64.b64encode(value).decode()


def etag_of(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


def quote(text):
    return urllib.parse.quote(text, safe="-._~")


def path_of(bucket, key=None):
    return f"/{bucket}" + ("" if key is None
                           else "/" + urllib.parse.quote(key, safe="/-._~"))


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;") \
        .replace(">", "&gt;")


def meta_of(headers):
    return tuple(sorted(
        (n, v) for n, v in headers.items()
        if n in ("content-type", "cache-control")
        or n.startswith("x-amz-meta-")))


def checksum_of(headers):
    """(algorithm, value, type) that an answer has, or None."""

    for name in CHECKSUMS:
        value = headers.get(f"x-amz-checksum-{name}")
        if value:
            return name, value, headers.get("x-amz-checksum-type")
    return None


def stored_meta(headers):
    meta = dict(headers)
    meta.setdefault("content-type", "binary/octet-stream")
    return meta_of(meta)


class Op:
    """A request: method, path, query, headers and body are what is sent,
    touches what it depends on or changes.  unknown: no answer will come."""

    method = "GET"
    query = ""
    headers = ()
    body = None
    reads = False
    payload = None

    def __init__(self):
        self.unknown = False
        self.ended = None

    def __repr__(self):
        return f"<{type(self).__name__} {self.path}" \
               + (f"?{self.query}" if self.query else "") \
               + "".join(f" {n}: {v}" for n, v in self.headers) \
               + (f" {len(self.body)} bytes {self.body[:60]!r}"
                  if self.body is not None else "") + ">"

    def error(self, answer):
        if self.method == "HEAD" or answer.status in (304,):
            return answer.status, None
        return answer.status, answer.code

    def seen(self, answer):
        if answer.status // 100 != 2:
            return self.error(answer)
        return self.good(answer)

    def good(self, answer):
        return (answer.status,)

    def split(self):
        """What takes effect one by one."""

        return [self]


def no_bucket(head=False):
    return 404, None if head else "NoSuchBucket"


def no_key(head=False):
    return 404, None if head else "NoSuchKey"


def with_bucket(state, name, **changes):
    new = dict(state)
    new[name] = state[name]._replace(**changes)
    return new


def with_item(items, name, value):
    new = dict(items)
    if value is None:
        new.pop(name, None)
    else:
        new[name] = value
    return new


def with_object(state, bucket, key, obj):
    return with_bucket(state, bucket,
                       objects=with_item(state[bucket].objects, key, obj))


def with_upload(state, bucket, upload_id, upload):
    return with_bucket(state, bucket,
                       uploads=with_item(state[bucket].uploads, upload_id,
                                         upload))


def condition(obj, if_match, if_none_match):
    """Why a write is refused, or None."""

    if if_match is not None:
        if obj is None:
            return no_key()
        if obj.etag != if_match:
            return 412, "PreconditionFailed"

    if if_none_match is not None and obj is not None:
        return 412, "PreconditionFailed"

    return None


# ---- buckets


class CreateBucket(Op):
    method = "PUT"

    def __init__(self, bucket):
        super().__init__()
        self.bucket = bucket
        self.path = path_of(bucket)
        self.touches = {("b", bucket)}

    def apply(self, state):
        if self.bucket in state:
            return (409, "BucketAlreadyOwnedByYou"), state
        return (200,), {**state, self.bucket: Bucket({}, {}, {})}


class DeleteBucket(CreateBucket):
    method = "DELETE"

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(), state
        if state[self.bucket].objects:
            return (409, "BucketNotEmpty"), state
        new = dict(state)
        del new[self.bucket]
        return (204,), new


class HeadBucket(CreateBucket):
    method = "HEAD"
    reads = True

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(True), state
        return (200,), state


class ListBuckets(Op):
    path = "/"
    reads = True

    def __init__(self):
        super().__init__()
        self.touches = {("b", None)}

    def good(self, answer):
        return 200, tuple(b.findtext(NS + "Name")
                          for b in answer.xml.iter(NS + "Bucket"))

    def apply(self, state):
        return (200, tuple(sorted(state))), state


# ---- objects


class KeyOp(Op):
    def __init__(self, bucket, key):
        super().__init__()
        self.bucket = bucket
        self.key = key
        self.path = path_of(bucket, key)
        self.touches = {("k", bucket, key)}

    def object(self, state):
        return state[self.bucket].objects.get(self.key)


class Put(KeyOp):
    method = "PUT"

    def __init__(self, bucket, key, body, meta=(), algorithm=None,
                 if_match=None, if_none_match=None, chunked=False):
        super().__init__(bucket, key)
        self.data = self.body = body
        self.meta = dict(meta)
        self.algorithm = algorithm or "crc64nvme"
        self.if_match = if_match
        self.if_none_match = if_none_match

        value = b64(digest(self.algorithm, body))
        headers = dict(meta)
        if algorithm and not chunked:
            headers[f"x-amz-checksum-{algorithm}"] = value
        if if_match:
            headers["If-Match"] = if_match
        if if_none_match:
            headers["If-None-Match"] = if_none_match

        # as SDKs send what they stream

        if chunked:
            self.algorithm = "crc32"
            value = b64(digest("crc32", body))
            self.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
            headers["x-amz-decoded-content-length"] = str(len(body))
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
            headers["Content-Encoding"] = "aws-chunked"
            out = bytearray()
            for i in range(0, len(body), 65536):
                piece = body[i:i + 65536]
                out += b"%x\r\n" % len(piece) + piece + b"\r\n"
            out += f"0\r\nx-amz-checksum-crc32:{value}\r\n\r\n".encode()
            self.body = bytes(out)

        self.headers = tuple(headers.items())
        self.made = Object(body, etag_of(body), stored_meta(self.meta),
                           (self.algorithm, value, "FULL_OBJECT"), None)

    def good(self, answer):
        return 200, answer.headers["etag"], checksum_of(answer.headers)

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(), state

        refused = condition(self.object(state), self.if_match,
                            self.if_none_match)
        if refused:
            return refused, state

        return (200, self.made.etag, self.made.checksum), \
            with_object(state, self.bucket, self.key, self.made)


class Get(KeyOp):
    """GET or HEAD, of all or a range, with conditions."""

    reads = True

    def __init__(self, bucket, key, first=None, last=None, head=False,
                 if_match=None, if_none_match=None, part=None):
        super().__init__(bucket, key)
        self.first, self.last, self.part = first, last, part
        self.if_match, self.if_none_match = if_match, if_none_match
        headers = {"x-amz-checksum-mode": "ENABLED"}

        if head:
            self.method = "HEAD"
        if first is not None:
            headers["Range"] = f"bytes={first}-" \
                + ("" if last is None else str(last))
        if if_match:
            headers["If-Match"] = if_match
        if if_none_match:
            headers["If-None-Match"] = if_none_match
        if part:
            self.query = f"partNumber={part}"

        self.headers = tuple(headers.items())

    def good(self, answer):
        h = answer.headers
        return (answer.status, h["etag"], int(h["content-length"]),
                h.get("content-range"), meta_of(h),
                checksum_of(h) if answer.status == 200 else None,
                h.get("x-amz-mp-parts-count"),
                None if self.method == "HEAD" else answer.body)

    def apply(self, state):
        head = self.method == "HEAD"

        if self.bucket not in state:
            return no_bucket(head), state

        obj = self.object(state)

        if obj is None:
            return no_key(head), state

        if self.if_match and obj.etag != self.if_match:
            return (412, None if head else "PreconditionFailed"), state

        if self.if_none_match and obj.etag == self.if_none_match:
            return (304, None), state

        size = len(obj.body)
        status, body, content_range, count = 200, obj.body, None, None

        if self.first is not None:
            if self.first >= size:
                return (416, None if head else "InvalidRange"), state
            last = size - 1 if self.last is None \
                else min(self.last, size - 1)
            status = 206
            body = body[self.first:last + 1]
            content_range = f"bytes {self.first}-{last}/{size}"

        if self.part:
            sizes = dict(obj.parts) if obj.parts else {1: size}
            if self.part not in sizes:
                return (416, None if head else "InvalidPartNumber"), state
            if size:
                first = sum(s for n, s in sizes.items() if n < self.part)
                body = body[first:first + sizes[self.part]]
                status = 206
                content_range = f"bytes {first}-{first + len(body) - 1}" \
                                f"/{size}"
            count = str(len(sizes)) if obj.parts else None

        return (status, obj.etag, len(body), content_range, obj.meta,
                obj.checksum if status == 200 else None, count,
                None if head else body), state


class Delete(KeyOp):
    method = "DELETE"

    def __init__(self, bucket, key, if_match=None):
        super().__init__(bucket, key)
        self.if_match = if_match
        if if_match:
            self.headers = (("If-Match", if_match),)

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(), state

        if self.if_match:
            refused = condition(self.object(state), self.if_match, None)
            if refused:
                return refused, state

        return (204,), with_object(state, self.bucket, self.key, None)


class DeleteObjects(Op):
    """Each key by itself; the answer says nothing of what was there."""

    method = "POST"
    query = "delete"

    def __init__(self, bucket, keys):
        super().__init__()
        self.keys = sorted(set(keys))
        self.bucket = bucket
        self.path = path_of(bucket)
        self.touches = {("k", bucket, k) for k in self.keys}
        self.body = ("<Delete>" + "".join(
            f"<Object><Key>{escaped(k)}</Key></Object>"
            for k in self.keys) + "</Delete>").encode()
        self.headers = (("Content-MD5",
                         b64(hashlib.md5(self.body).digest())),)
        self.single = [DeleteOne(self, k) for k in self.keys]

    def split(self):
        return self.single

    def good(self, answer):
        if answer.xml.find(NS + "Error") is not None:
            return "errors", answer.body
        assert [d.findtext(NS + "Key")
                for d in answer.xml.iter(NS + "Deleted")] == self.keys
        return (204,)


class DeleteOne(Delete):
    def __init__(self, whole, key):
        super().__init__(whole.bucket, key)
        self.whole = whole

    def seen(self, answer):
        return self.whole.seen(answer)


class Copy(KeyOp):
    method = "PUT"

    def __init__(self, bucket, key, source_bucket, source_key, replace=None,
                 if_none_match=None, if_match=None, source_if_match=None):
        super().__init__(bucket, key)
        self.source = source_bucket, source_key
        self.touches |= {("k", *self.source)}
        self.replace = replace
        self.if_match, self.if_none_match = if_match, if_none_match
        self.source_if_match = source_if_match

        headers = {"x-amz-copy-source": path_of(*self.source)}
        if replace is not None:
            headers["x-amz-metadata-directive"] = "REPLACE"
            headers.update(replace)
        if if_none_match:
            headers["If-None-Match"] = if_none_match
        if if_match:
            headers["If-Match"] = if_match
        if source_if_match:
            headers["x-amz-copy-source-if-match"] = source_if_match
        self.headers = tuple(headers.items())

    def good(self, answer):
        return 200, answer.element(NS + "ETag")

    def apply(self, state):
        source_bucket, source_key = self.source

        # S3 does not say what is looked at first; here it is the source

        if source_bucket not in state:
            return no_bucket(), state

        source = state[source_bucket].objects.get(source_key)
        if source is None:
            return no_key(), state

        if self.source_if_match and source.etag != self.source_if_match:
            return (412, "PreconditionFailed"), state

        if self.bucket not in state:
            return no_bucket(), state

        refused = condition(self.object(state), self.if_match,
                            self.if_none_match)
        if refused:
            return refused, state

        if self.replace is not None:
            source = source._replace(meta=stored_meta(self.replace))

        return (200, source.etag), \
            with_object(state, self.bucket, self.key, source)


# ---- lists


class List(Op):
    """One page, version 1 or 2; after: a key, or the common prefix that the
    page before ended with."""

    reads = True

    def __init__(self, bucket, prefix="", delimiter="", max_keys=1000,
                 after="", token=None, version=2):
        super().__init__()
        self.bucket = bucket
        self.prefix, self.delimiter = prefix, delimiter
        self.max_keys, self.after = max_keys, after
        self.version = version
        self.path = path_of(bucket)
        self.touches = {("k", bucket, None)}

        query = {"prefix": prefix, "delimiter": delimiter,
                 "max-keys": str(max_keys)}
        if version == 2:
            query["list-type"] = "2"
            if token:
                query["continuation-token"] = token
            elif after:
                query["start-after"] = after
        elif after:
            query["marker"] = after

        self.query = "&".join(f"{n}={quote(v)}" for n, v in query.items()
                              if v)

    def good(self, answer):
        root = answer.xml
        self.token = root.findtext(NS + "NextContinuationToken")
        return (200, root.findtext(NS + "IsTruncated"),
                tuple((e.findtext(NS + "Key"), e.findtext(NS + "ETag"),
                       int(e.findtext(NS + "Size")))
                      for e in root.iter(NS + "Contents")),
                tuple(p.findtext(NS + "Prefix")
                      for p in root.iter(NS + "CommonPrefixes")))

    def page(self, state):
        """[(name, object or None: a common prefix)], whether there is
        more."""

        objects = state[self.bucket].objects
        after = self.after.encode()
        page = []
        last = None

        for key in sorted(objects, key=str.encode):
            if not key.startswith(self.prefix):
                continue

            obj = objects[key]
            name = key

            if self.delimiter:
                at = key.find(self.delimiter, len(self.prefix))
                if at >= 0:
                    name = key[:at + len(self.delimiter)]
                    obj = None

            # a common prefix that was given is behind

            if obj is None:
                if name == last or name == self.after:
                    continue
                if key.encode() <= after:
                    continue
            elif key.encode() <= after:
                continue

            if len(page) == self.max_keys:
                return page, True

            page.append((name, obj))
            last = name if obj is None else None

        return page, False

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(), state

        page, more = self.page(state)

        return (200, "true" if more else "false",
                tuple((n, o.etag, len(o.body)) for n, o in page if o),
                tuple(n for n, o in page if o is None)), state


# ---- multipart uploads


class Create(KeyOp):
    method = "POST"
    query = "uploads"
    number = 0

    def __init__(self, bucket, key, meta=(), algorithm=None, type=None):
        super().__init__(bucket, key)
        self.meta, self.algorithm = dict(meta), algorithm
        self.type = type or (None if algorithm is None
                             else "FULL_OBJECT" if algorithm == "crc64nvme"
                             else "COMPOSITE")
        self.touches = {("u", bucket)}
        headers = dict(meta)
        if algorithm:
            headers["x-amz-checksum-algorithm"] = algorithm.upper()
        if type:
            headers["x-amz-checksum-type"] = type
        self.headers = tuple(headers.items())

        # until the answer says which, or a list does

        Create.number += 1
        self.upload_id = f"?{Create.number}"

    def good(self, answer):
        self.upload_id = answer.element(NS + "UploadId")
        return (200,)

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(), state
        return (200,), with_upload(
            state, self.bucket, self.upload_id,
            Upload(self.key, stored_meta(self.meta), self.algorithm,
                   self.type, ()))


class UploadOp(KeyOp):
    def __init__(self, bucket, key, upload_id):
        super().__init__(bucket, key)
        self.upload_id = upload_id
        self.query = f"uploadId={upload_id}"
        self.touches = {("u", bucket)}

    def upload(self, state):
        """(upload, None) or (None, the error)."""

        if self.bucket not in state:
            return None, no_bucket()

        upload = state[self.bucket].uploads.get(self.upload_id)

        if upload is None or upload.key != self.key:
            return None, (404, "NoSuchUpload")
        return upload, None


class PartPut(UploadOp):
    method = "PUT"

    def __init__(self, bucket, key, upload_id, number, body, algorithm):
        super().__init__(bucket, key, upload_id)
        self.query = f"partNumber={number}&{self.query}"
        self.number, self.body = number, body
        value = algorithm and b64(digest(algorithm, body))
        if algorithm:
            self.headers = ((f"x-amz-checksum-{algorithm}", value),)
        self.made = Part(body, etag_of(body), value)

    def good(self, answer):
        checksum = checksum_of(answer.headers)
        return 200, answer.headers["etag"], checksum and checksum[1]

    def apply(self, state):
        upload, error = self.upload(state)
        if error:
            return error, state

        parts = dict(upload.parts)
        parts[self.number] = self.made

        return (200, self.made.etag, self.made.checksum), with_upload(
            state, self.bucket, self.upload_id,
            upload._replace(parts=tuple(sorted(parts.items()))))


class PartCopy(UploadOp):
    method = "PUT"

    def __init__(self, bucket, key, upload_id, number, source, first, last):
        super().__init__(bucket, key, upload_id)
        self.query = f"partNumber={number}&{self.query}"
        self.number, self.source = number, source
        self.first, self.last = first, last
        self.touches |= {("k", *source)}
        self.headers = (("x-amz-copy-source", path_of(*source)),
                        ("x-amz-copy-source-range", f"bytes={first}-{last}"))

    def good(self, answer):
        return 200, answer.element(NS + "ETag")

    def apply(self, state):
        upload, error = self.upload(state)

        bucket, key = self.source
        if self.bucket not in state or bucket not in state:
            return no_bucket(), state
        if error:
            return error, state

        source = state[bucket].objects.get(key)
        if source is None:
            return no_key(), state
        if self.last >= len(source.body):
            return (400, "InvalidArgument"), state

        body = source.body[self.first:self.last + 1]
        made = Part(body, etag_of(body), upload.algorithm and b64(
            digest(upload.algorithm, body)))
        parts = dict(upload.parts)
        parts[self.number] = made

        return (200, made.etag), with_upload(
            state, self.bucket, self.upload_id,
            upload._replace(parts=tuple(sorted(parts.items()))))


class ListParts(UploadOp):
    reads = True

    def __init__(self, bucket, key, upload_id, max_parts=1000, marker=0):
        super().__init__(bucket, key, upload_id)
        self.query = f"max-parts={max_parts}&part-number-marker={marker}" \
                     f"&{self.query}"
        self.max_parts, self.marker = max_parts, marker

    def good(self, answer):
        return (200, answer.element(NS + "IsTruncated"), tuple(
            (int(p.findtext(NS + "PartNumber")), p.findtext(NS + "ETag"),
             int(p.findtext(NS + "Size")))
            for p in answer.xml.iter(NS + "Part")))

    def apply(self, state):
        upload, error = self.upload(state)
        if error:
            return error, state

        rows = [(n, p.etag, len(p.body)) for n, p in upload.parts
                if n > self.marker]

        return (200, "true" if len(rows) > self.max_parts else "false",
                tuple(rows[:self.max_parts])), state


class ListUploads(Op):
    query = "uploads"
    reads = True

    def __init__(self, bucket):
        super().__init__()
        self.bucket = bucket
        self.path = path_of(bucket)
        self.touches = {("u", bucket)}

    def good(self, answer):
        return 200, frozenset(
            (u.findtext(NS + "Key"), u.findtext(NS + "UploadId"))
            for u in answer.xml.iter(NS + "Upload"))

    def apply(self, state):
        if self.bucket not in state:
            return no_bucket(), state
        return (200, frozenset(
            (u.key, i) for i, u in state[self.bucket].uploads.items())), \
            state


class Complete(UploadOp):
    method = "POST"

    def __init__(self, bucket, key, upload_id, parts, algorithm,
                 if_none_match=None):
        """parts: [(number, etag, checksum or None)]"""

        super().__init__(bucket, key, upload_id)
        self.touches |= {("k", bucket, key)}
        self.named = tuple(parts)
        self.if_none_match = if_none_match
        tag = algorithm and "Checksum" + algorithm.upper()
        self.body = ("<CompleteMultipartUpload>" + "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag>"
            + (f"<{tag}>{c}</{tag}>" if c else "") + "</Part>"
            for n, e, c in parts) + "</CompleteMultipartUpload>").encode()
        if if_none_match:
            self.headers = (("If-None-Match", if_none_match),)

    def good(self, answer):
        return 200, answer.element(NS + "ETag")

    def apply(self, state):
        upload, error = self.upload(state)

        if error:
            if self.bucket in state:
                done = state[self.bucket].done.get(self.upload_id)
                if done and done[0] == (self.key, self.named):
                    return done[1], state
            return error, state

        parts = dict(upload.parts)

        for number, etag, checksum in self.named:
            if number not in parts or parts[number].etag != etag \
                    or upload.algorithm and parts[number].checksum \
                    != checksum:
                return (400, "InvalidPart"), state

        chosen = [parts[n] for n, _, _ in self.named]

        if any(len(p.body) < PART_MIN for p in chosen[:-1]):
            return (400, "EntityTooSmall"), state

        refused = condition(self.object(state), None, self.if_none_match)
        if refused:
            return refused, state

        body = b"".join(p.body for p in chosen)
        etag = hashlib.md5(b"".join(binascii.unhexlify(p.etag[1:-1])
                                    for p in chosen)).hexdigest()
        etag = f'"{etag}-{len(chosen)}"'

        if upload.type == "COMPOSITE":
            value = digest(upload.algorithm, b"".join(
                base64.b64decode(p.checksum) for p in chosen))
            checksum = (upload.algorithm, f"{b64(value)}-{len(chosen)}",
                        "COMPOSITE")
        else:
            algorithm = upload.algorithm or "crc64nvme"
            checksum = (algorithm, b64(digest(algorithm, body)),
                        "FULL_OBJECT")

        made = Object(body, etag, upload.meta, checksum,
                      tuple((n, len(parts[n].body))
                            for n, _, _ in self.named))
        answer = 200, etag
        bucket = state[self.bucket]

        return answer, with_bucket(
            state, self.bucket,
            objects=with_item(bucket.objects, self.key, made),
            uploads=with_item(bucket.uploads, self.upload_id, None),
            done=with_item(bucket.done, self.upload_id,
                           ((self.key, self.named), answer,
                            upload.algorithm)))


class Abort(UploadOp):
    method = "DELETE"

    def apply(self, state):
        _, error = self.upload(state)
        if error:
            return error, state
        return (204,), with_upload(state, self.bucket, self.upload_id, None)


def few(ops, most=4):
    """Those of ops of which at most so many write: there are as many orders
    as permutations."""

    taken, writes = [], 0

    for op in ops:
        new = 0 if op.reads else len(op.split())
        if writes + new <= most:
            taken.append(op)
            writes += new

    return taken


# ---- what may be true


def overlap(x, y):
    """Of two things that are touched: ("b", bucket), all that is in it too;
    ("k", bucket, key); ("u", bucket), its uploads.  None is any."""

    if x[1] != y[1] and x[1] is not None and y[1] is not None:
        return False
    if None in (x[1], y[1]):
        return x[0] == y[0]
    if "b" in (x[0], y[0]):
        return True
    if x[0] != y[0]:
        return False
    return x[0] == "u" or x[2] == y[2] or None in (x[2], y[2])


def meets(a, b):
    return any(overlap(x, y) for x in a for y in b)


class Wrong(AssertionError):
    """An answer that no order of the requests allows."""


class World:
    """A state, and operations that may still take effect.  owed: answers
    that are still to be compared, (operation, answer): of a write, the one
    that it was given; of a read, those that it would have got so far."""

    __slots__ = ("state", "open", "owed")

    def __init__(self, state, open=frozenset(), owed=frozenset()):
        self.state = state
        self.open = open
        self.owed = owed

    def same(self, other):
        return (self.open == other.open and self.owed == other.owed
                and (self.state is other.state or self.state == other.state))

    def after(self, op):
        """(op's answer, the world in which it has taken effect)."""

        answer, state = op.apply(self.state)
        owed = self.owed

        # what is read at the same time may have been read before

        if state is not self.state:
            more = {(o, o.apply(self.state)[0]) for o in self.open
                    if o.reads and o is not op
                    and meets(o.touches, op.touches)}
            if more:
                owed = owed | more

        return answer, World(state, self.open - {op}, owed)

    def print_of(self, touched):
        """What tells it from others that came of the same one, by operations
        that touch this."""

        found = []

        for kind, bucket, *key in touched:
            there = self.state.get(bucket)
            if there is None:
                found.append(None)
            elif kind == "k" and key[0] is not None:
                found.append((1, there.objects.get(key[0])))
            elif kind != "k":
                found.append((2, frozenset(there.uploads.items()),
                              frozenset(there.done)))

        return self.open, self.owed, tuple(found)


class History:
    limit = 50000

    def __init__(self):
        self.worlds = [World({})]

    @property
    def state(self):
        """One that may be true."""

        return self.worlds[0].state

    def open(self):
        return set().union(*(w.open for w in self.worlds))

    def sent(self, op):
        for single in op.split():
            self.sent_one(single)

    def sent_one(self, single):
        for w in self.worlds:
            w.open |= {single}

    def answered(self, op, answer):
        """Keeps the worlds in which that is the answer."""

        for single in op.split():
            self.keep(single, single.seen(answer))

    def keep(self, op, seen):
        found = []
        wanted = []

        for world in self.worlds:
            owed = {(o, a) for o, a in world.owed if o is op}
            wanted += [a for _, a in owed]

            # it had taken effect, or been read, before another

            if (op, seen) in owed:
                self.add(found, World(world.state, world.open - {op},
                                      world.owed - owed))
            elif op in world.open:
                self.explore(World(world.state, world.open,
                                   world.owed - owed),
                             op, seen, found, wanted)

        if not found:
            raise Wrong(f"{op!r}\n  answered {short(seen)}\n  allowed "
                        + "\n          ".join(
                            sorted({short(w) for w in wanted})[:8])
                        + "\n  open " + "\n       ".join(
                            map(repr, sorted(self.open() - {op},
                                             key=id)[:20])))

        self.worlds = self.best(found)

    def explore(self, world, op, seen, found, wanted):
        """op takes effect, behind any of the writes that are open."""

        near = self.near({o for o in world.open if not o.reads} - {op}, op)
        touched = sorted(set().union(op.touches,
                                     *(o.touches for o in near)), key=repr)
        known = {world.print_of(touched)}
        todo = [world]

        while todo:
            w = todo.pop()
            answer, new = w.after(op)

            if answer == seen:
                self.add(found, World(new.state, new.open, frozenset(
                    x for x in new.owed if x[0] is not op)))
            else:
                wanted.append(answer)

            for other in near & w.open:
                answer, new = w.after(other)

                if other.unknown:
                    if new.state is w.state:
                        continue
                else:
                    new.owed |= {(other, answer)}

                mark = new.print_of(touched)
                if mark not in known:
                    known.add(mark)
                    todo.append(new)
                    if len(known) > self.limit:
                        raise RuntimeError("too many orders")

    @staticmethod
    def near(ops, op):
        """Those of ops that op's answer may depend on, over others too."""

        near, grown = set(), [op]

        while grown:
            one = grown.pop()
            new = {o for o in ops - near if meets(o.touches, one.touches)}
            near |= new
            grown += new

        return near

    @staticmethod
    def add(worlds, new):
        if not any(new.same(w) for w in worlds):
            worlds.append(new)

    def best(self, worlds):
        """Without those of which another can become whatever they can: who
        will never be answered may also never take effect."""

        def less(a, b):
            return (a is not b and a.owed == b.owed and a.open < b.open
                    and all(o.unknown for o in b.open - a.open)
                    and a.state == b.state)

        if len(worlds) == 1:
            return worlds
        return [a for a in worlds if not any(less(a, b) for b in worlds)]

    def refused(self, op):
        """It had no effect, and will have none.  A read never has one."""

        for single in op.split():
            self.worlds = [
                World(w.state, w.open - {single},
                      frozenset(x for x in w.owed if x[0] is not single))
                for w in self.worlds if single in w.open]
        if not self.worlds:
            raise Wrong(f"{op!r}: refused, and seen to have taken effect")

    def lost(self, op, now):
        """No answer will come."""

        for single in op.split():
            single.unknown = True
            single.ended = now

            for w in self.worlds:
                w.owed = frozenset((o, a) for o, a in w.owed
                                   if o is not single)

        self.merge()

    def expire(self, before):
        """What was lost before will take effect no more."""

        old = {o for o in self.open()
               if o.unknown and o.ended is not None and o.ended < before}
        if old:
            for w in self.worlds:
                w.open -= old
            self.merge()

    def merge(self):
        worlds = []
        for w in self.worlds:
            self.add(worlds, w)
        self.worlds = self.best(worlds)

    def rename_upload(self, bucket, old, new):
        """An upload whose id nobody was told is now known."""

        for w in self.worlds:
            if bucket in w.state and old in w.state[bucket].uploads:
                upload = w.state[bucket].uploads[old]
                w.state = with_upload(
                    with_upload(w.state, bucket, old, None), bucket, new,
                    upload)


def short(value):
    text = repr(tuple(v if not isinstance(v, bytes) or len(v) < 80
                      else f"{len(v)} bytes {v[:40]!r}"
                      for v in value))
    return text if len(text) < 1500 else text[:1500] + "..."
