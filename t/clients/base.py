"""What a client must have to be driven by the tests of t/s3.

A client is a class with the methods below that it can do; what it leaves out
is "not by this client" in docs/compatibility.md. Data go through files.

Clients that speak S3's operations by their names (boto3, aws s3api, the SDKs
for JavaScript and Go) have one method, call(), and the rest from Sdk.
"""

import json
import os
import pathlib
import re
import subprocess

from clients import prefork


ROOT = pathlib.Path(__file__).resolve().parents[2]

MIB = 1024 * 1024
PART = 5 * MIB         # every client's parts, S3's smallest


class Failure(Exception):
    """A client's call has failed.  code: S3's, or the status as a string
    where the answer has no document (HEAD); None: the client said neither."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = str(code) if code is not None else None


class Stream:
    """A body whose length the client is not told.  path: the file."""

    def __init__(self, path):
        self.path = path


class Client:
    name = None            # in tests' names: "s3cmd"
    label = None           # in documents: "s3cmd"

    # kinds of server it can talk to: http, tls, h2 (HTTP/2 over TLS)

    kinds = ("http", "tls")

    def __init__(self, server, kind, path, access_key, secret_key):
        """server: s3_server's; path: a directory of the client's own."""

        self.server = server
        self.kind = kind
        self.path = path
        self.access_key = access_key
        self.secret_key = secret_key
        self.url = server.url(kind)
        self.ca = server.ca if kind != "http" else None
        self.region = server.region

    def close(self):
        pass

    @classmethod
    def version(cls):
        raise NotImplementedError

    @classmethod
    def can(cls, method):
        return getattr(cls, method, None) is not None

    # What a client may have:
    #
    #   make_bucket(bucket)          remove_bucket(bucket)
    #   buckets() -> names           has_bucket(bucket) -> bool
    #   location(bucket) -> region, None where it is the first one
    #   put(bucket, key, path, metadata={}, content_type=None)
    #                                multipart where the file is larger
    #                                than PART
    #   put_stream(bucket, key, path)    of unknown length
    #   get(bucket, key, path)       read(bucket, key, first, last) -> bytes
    #   head(bucket, key) -> {"size", "etag", "metadata", "content_type"}
    #   list(bucket, prefix="") -> [(key, size)], all of them
    #   folders(bucket, prefix="") -> [key or prefix] down to the next "/"
    #   delete(bucket, key)          delete_many(bucket, keys)
    #   copy(bucket, key, to_bucket, to_key)
    #   move(bucket, key, to_bucket, to_key)    modify(bucket, key, metadata)
    #   presign_get(bucket, key) -> URL     presign_put(bucket, key) -> URL
    #   sync_up(directory, bucket, prefix) -> number of files sent
    #   sync_down(bucket, prefix, directory)


class Command(Client):
    """A client that is a command.  run() raises Failure."""

    # name of prefork.py, where the command is written in Python

    python = None

    # S3's code in what it says, by the first of these that is found

    codes = ()

    def environment(self):
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("AWS_", "RCLONE_", "S3_"))}
        return env | {"HOME": str(self.path), "LC_ALL": "C.UTF-8"}

    def command(self):
        """Its words; without the first of them where that is python's."""

        raise NotImplementedError

    def code(self, text):
        for pattern in self.codes:
            match = re.search(pattern, text, re.M)
            if match:
                return match[1]
        return None

    def run(self, *args, stdin=None, timeout=120):
        """Its standard output, bytes."""

        command = [*self.command(), *map(str, args)]

        if self.python:
            done = prefork.run(self.python, command, self.environment(),
                               self.path, stdin, timeout)
        else:
            done = subprocess.run(
                command, env=self.environment(), cwd=self.path,
                stdin=stdin or subprocess.DEVNULL, capture_output=True,
                timeout=timeout)

        if done.returncode != 0:
            text = (done.stderr + done.stdout).decode(errors="replace")
            raise Failure(text, self.code(text))

        return done.stdout


class Sdk(Client):
    """call(operation, **input) -> output, with S3's own names, is enough."""

    def call(self, operation, **kwargs):
        """Body: bytes, a path, or a Stream. Out: a path that the answer's
        body is written to."""

        raise NotImplementedError

    def make_bucket(self, bucket):
        more = {}
        if self.region != "us-east-1":
            more["CreateBucketConfiguration"] = {
                "LocationConstraint": self.region}
        self.call("CreateBucket", Bucket=bucket, **more)

    def remove_bucket(self, bucket):
        self.call("DeleteBucket", Bucket=bucket)

    def buckets(self):
        return [b["Name"] for b in self.call("ListBuckets")["Buckets"]]

    def has_bucket(self, bucket):
        try:
            self.call("HeadBucket", Bucket=bucket)
            return True
        except Failure as e:
            if e.code not in ("404", "NotFound", "NoSuchBucket"):
                raise
            return False

    def location(self, bucket):
        answer = self.call("GetBucketLocation", Bucket=bucket)
        return answer.get("LocationConstraint") or None

    def get(self, bucket, key, path):
        self.call("GetObject", Bucket=bucket, Key=key, Out=path)

    def read(self, bucket, key, first, last):
        out = self.path / "range"
        self.call("GetObject", Bucket=bucket, Key=key, Out=out,
                  Range=f"bytes={first}-{last}")
        return out.read_bytes()

    def head(self, bucket, key):
        answer = self.call("HeadObject", Bucket=bucket, Key=key)
        return {"size": answer.get("ContentLength", 0),
                "etag": answer["ETag"].strip('"'),
                "metadata": answer.get("Metadata") or {},
                "content_type": answer.get("ContentType")}

    def _pages(self, **kwargs):
        token = {}

        while True:
            page = self.call("ListObjectsV2", **kwargs, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def list(self, bucket, prefix=""):
        return [(e["Key"], e.get("Size", 0))
                for page in self._pages(Bucket=bucket, Prefix=prefix)
                for e in page.get("Contents") or []]

    def folders(self, bucket, prefix=""):
        return [name
                for page in self._pages(Bucket=bucket, Prefix=prefix,
                                        Delimiter="/")
                for name in [*(e["Key"] for e in page.get("Contents") or []),
                             *(e["Prefix"] for e in
                               page.get("CommonPrefixes") or [])]]

    def delete(self, bucket, key):
        self.call("DeleteObject", Bucket=bucket, Key=key)

    def delete_many(self, bucket, keys):
        answer = self.call("DeleteObjects", Bucket=bucket, Delete={
            "Objects": [{"Key": k} for k in keys]})
        assert not answer.get("Errors"), answer
        assert sorted(d["Key"] for d in answer["Deleted"]) == sorted(keys)

    def copy(self, bucket, key, to_bucket, to_key):
        self.call("CopyObject", Bucket=to_bucket, Key=to_key,
                  CopySource=self.copy_source(bucket, key))

    @staticmethod
    def copy_source(bucket, key):
        """The header's value: SDKs leave escaping it to their user."""

        from urllib.parse import quote

        return quote(f"{bucket}/{key}", safe="/-._~")


class Driver(Sdk):
    """An SDK in another language: a program that takes a request a line on
    its standard input and answers each with a line, both JSON:

        {"operation": "GetObject", "input": {...}, "out": path}
        {"output": {...}}    or    {"error": {"code", "message"}}

    A body is {"file": path} or {"stream": path}.  Besides S3's operations:
    "upload" and "download" (the SDK's transfer library) and "presign"."""

    def command(self):
        raise NotImplementedError

    def __init__(self, *args):
        super().__init__(*args)
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("AWS_", "S3_"))}

        with open(self.path / "stderr", "ab") as stderr:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=stderr, cwd=self.path,
                env=env | {
                    "HOME": str(self.path),
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "S3_URL": self.url, "S3_KIND": self.kind,
                    "S3_REGION": self.region,
                    "S3_ACCESS_KEY": self.access_key,
                    "S3_SECRET_KEY": self.secret_key,
                    "S3_PART": str(PART),
                    "S3_CA": str(self.ca or ""),
                    "NODE_EXTRA_CA_CERTS": str(self.ca or "")})

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def ask(self, operation, input, **more):
        line = json.dumps({"operation": operation, "input": input, **more})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

        line = self.process.stdout.readline()
        if not line:
            raise Failure("the client's program has ended: "
                          + (self.path / "stderr").read_text()[-2000:])

        answer = json.loads(line)
        if "error" in answer:
            raise Failure(answer["error"]["message"],
                          answer["error"].get("code"))
        return answer["output"]

    def body(self, body):
        if isinstance(body, Stream):
            return {"stream": str(body.path)}
        if isinstance(body, (bytes, bytearray)):
            (self.path / "body").write_bytes(body)
            body = self.path / "body"
        return {"file": str(body)}

    def call(self, operation, Out=None, **kwargs):
        if "Body" in kwargs:
            kwargs["Body"] = self.body(kwargs["Body"])
        more = {"out": str(Out)} if Out is not None else {}
        return self.ask(operation, kwargs, **more)

    def put(self, bucket, key, path, metadata=None, content_type=None):
        more = {"Metadata": metadata or {}}
        if content_type:
            more["ContentType"] = content_type
        self.ask("upload", {"Bucket": bucket, "Key": key,
                            "Body": {"file": str(path)}, **more})

    def put_stream(self, bucket, key, path):
        self.ask("upload", {"Bucket": bucket, "Key": key,
                            "Body": {"stream": str(path)}})

    def presign_get(self, bucket, key):
        return self.ask("presign", {"Bucket": bucket, "Key": key},
                        command="GetObject")["url"]

    def presign_put(self, bucket, key):
        return self.ask("presign", {"Bucket": bucket, "Key": key},
                        command="PutObject")["url"]
