"""s3cmd, with Signature Version 4 and with 2."""

import importlib.metadata
import pathlib
import re
import urllib.parse

from clients.base import PART, Command, MIB


class S3cmd(Command):
    name = label = python = "s3cmd"
    codes = (r"S3 error: \d\d\d \((\w+)\)", r"S3 error: (\d\d\d)",
             "(does not exist)")
    signature_v2 = False

    def __init__(self, *args):
        super().__init__(*args)
        host = urllib.parse.urlsplit(self.url).netloc
        self.config = self.path / "s3cfg"
        self.config.write_text(f"""[default]
access_key = {self.access_key}
secret_key = {self.secret_key}
host_base = {host}
host_bucket = {host}
bucket_location = {self.region}
use_https = {self.kind != "http"}
ca_certs_file = {self.ca or ""}
signature_v2 = {self.signature_v2}
multipart_chunk_size_mb = {PART // MIB}
max_retries = 1
use_mime_magic = False
""")

    @classmethod
    def version(cls):
        return importlib.metadata.version("s3cmd")

    def command(self):
        return ["-c", str(self.config)]

    def make_bucket(self, bucket):
        self.run("mb", f"s3://{bucket}")

    def remove_bucket(self, bucket):
        self.run("rb", f"s3://{bucket}")

    def buckets(self):
        return [line.rpartition("s3://")[2]
                for line in self.run("ls").decode().splitlines()]

    def location(self, bucket):
        text = self.run("info", f"s3://{bucket}").decode()
        return re.search(r"Location: +(\S+)", text)[1].replace(
            "us-east-1", "") or None

    def put(self, bucket, key, path, metadata=None, content_type=None):
        args = [f"--add-header=x-amz-meta-{name}:{value}"
                for name, value in (metadata or {}).items()]
        if content_type:
            args += ["--mime-type", content_type]
        self.run("put", "--no-progress", *args, path, f"s3://{bucket}/{key}")

    def put_stream(self, bucket, key, path):
        with open(path, "rb") as f:
            self.run("put", "--no-progress", "-", f"s3://{bucket}/{key}",
                     stdin=f)

    def get(self, bucket, key, path):
        self.run("get", "--force", "--no-progress", f"s3://{bucket}/{key}",
                 path)

    def head(self, bucket, key):
        text = self.run("info", f"s3://{bucket}/{key}").decode()

        def field(name):
            return re.search(rf"^\s*{name}:\s+(.*)$", text, re.M)[1]

        return {"size": int(field("File size")),
                "etag": field("MD5 sum"),
                "metadata": dict(re.findall(
                    r"^\s*x-amz-meta-(\S+?):\s+(.*)$", text, re.M)),
                "content_type": field("MIME type")}

    def list(self, bucket, prefix=""):
        text = self.run("ls", "--recursive",
                        f"s3://{bucket}/{prefix}").decode()
        return [(key, int(size)) for size, key in re.findall(
            rf"^\S+ \S+ +(\d+) +s3://{bucket}/(.*)$", text, re.M)]

    def folders(self, bucket, prefix=""):
        text = self.run("ls", f"s3://{bucket}/{prefix}").decode()
        return re.findall(rf" s3://{bucket}/(.*)$", text, re.M)

    def delete(self, bucket, key):
        self.run("del", f"s3://{bucket}/{key}")

    def delete_many(self, bucket, keys):
        self.run("del", *(f"s3://{bucket}/{k}" for k in keys))

    def copy(self, bucket, key, to_bucket, to_key):
        self.run("cp", f"s3://{bucket}/{key}", f"s3://{to_bucket}/{to_key}")

    def move(self, bucket, key, to_bucket, to_key):
        self.run("mv", f"s3://{bucket}/{key}", f"s3://{to_bucket}/{to_key}")

    def modify(self, bucket, key, metadata):
        self.run("modify", *(f"--add-header=x-amz-meta-{name}:{value}"
                             for name, value in metadata.items()),
                 f"s3://{bucket}/{key}")

    def presign_get(self, bucket, key):
        return self.run("signurl", f"s3://{bucket}/{key}",
                        "+3600").decode().strip()

    def sync_up(self, directory, bucket, prefix):
        out = self.run("sync", "--no-progress", f"{directory}/",
                       f"s3://{bucket}/{prefix}/")
        return out.count(b"upload: ")

    def sync_down(self, bucket, prefix, directory):
        pathlib.Path(directory).mkdir(exist_ok=True)
        self.run("sync", "--no-progress", f"s3://{bucket}/{prefix}/",
                 f"{directory}/")


class S3cmdV2(S3cmd):
    name = "s3cmd-v2"
    label = "s3cmd --signature-v2"
    signature_v2 = True
