"""rclone; the first one in PATH."""

import functools
import json
import os
import re
import subprocess

from clients.base import MIB, PART, Command


class Rclone(Command):
    name = label = "rclone"
    kinds = ("http", "tls", "h2")

    # whatever stands before the code: rclone nests "failed to ...: "

    codes = (r"\b((?:NoSuch|Bucket|Access|Invalid|Signature|NotImplemented|"
             r"Precondition)[A-Za-z]*): ", r"\bstatus code: (\d\d\d)",
             r"(directory not found|doesn't exist)")

    def __init__(self, *args):
        super().__init__(*args)
        self.config = self.path / "rclone.conf"
        self.config.write_text(f"""[s3]
type = s3
provider = Other
access_key_id = {self.access_key}
secret_access_key = {self.secret_key}
endpoint = {self.url}
region = {self.region}
force_path_style = true
chunk_size = {PART // MIB}M
upload_cutoff = {PART // MIB}M
copy_cutoff = {PART // MIB}M
""")

    @classmethod
    @functools.cache
    def version(cls):
        out = subprocess.run(["rclone", "version"], check=True, timeout=60,
                             env=os.environ | {"HOME": "/nonexistent"},
                             capture_output=True).stdout
        return re.match(rb"rclone v([0-9.]+)", out)[1].decode()

    def command(self):
        command = ["rclone", "--config", str(self.config), "--retries", "1",
                   "--low-level-retries", "1", "--stats", "0"]
        if self.ca:
            command += ["--ca-cert", str(self.ca)]
        if self.kind == "tls":
            command += ["--disable-http2"]
        return command

    def make_bucket(self, bucket):
        self.run("mkdir", f"s3:{bucket}")

    def remove_bucket(self, bucket):
        self.run("rmdir", f"s3:{bucket}")

    def buckets(self):
        return [e["Name"] for e in json.loads(self.run("lsjson", "s3:"))]

    def put(self, bucket, key, path, metadata=None, content_type=None):
        args = ["--metadata"] if metadata or content_type else []
        for name, value in (metadata or {}).items():
            args += ["--metadata-set", f"{name}={value}"]
        if content_type:
            args += ["--metadata-set", f"content-type={content_type}"]
        self.run("copyto", "--ignore-times", *args, path,
                 f"s3:{bucket}/{key}")

    def put_stream(self, bucket, key, path):
        with open(path, "rb") as f:
            self.run("rcat", "--streaming-upload-cutoff", "1M",
                     f"s3:{bucket}/{key}", stdin=f)

    def get(self, bucket, key, path):
        self.run("copyto", "--ignore-times", f"s3:{bucket}/{key}", path)

    def read(self, bucket, key, first, last):
        return self.run("cat", f"s3:{bucket}/{key}", "--offset", first,
                        "--count", last - first + 1)

    def head(self, bucket, key):
        entry = json.loads(self.run("lsjson", "--stat", "--metadata",
                                    f"s3:{bucket}/{key}"))
        metadata = entry.get("Metadata") or {}
        return {"size": entry["Size"], "etag": None,
                "metadata": {k: v for k, v in metadata.items()
                             if k not in ("btime", "content-type", "mtime",
                                          "tier")},
                "content_type": entry.get("MimeType")}

    def list(self, bucket, prefix=""):
        entries = json.loads(self.run("lsjson", "--recursive",
                                      "--files-only", "--no-modtime",
                                      f"s3:{bucket}/{prefix}"))
        return [(prefix + e["Path"], e["Size"]) for e in entries]

    def folders(self, bucket, prefix=""):
        entries = json.loads(self.run("lsjson", "--no-modtime",
                                      f"s3:{bucket}/{prefix}"))
        return [prefix + e["Path"] + ("/" if e["IsDir"] else "")
                for e in entries]

    def delete(self, bucket, key):
        self.run("deletefile", f"s3:{bucket}/{key}")

    def copy(self, bucket, key, to_bucket, to_key):
        self.run("copyto", f"s3:{bucket}/{key}", f"s3:{to_bucket}/{to_key}")

    def move(self, bucket, key, to_bucket, to_key):
        self.run("moveto", f"s3:{bucket}/{key}", f"s3:{to_bucket}/{to_key}")

    def presign_get(self, bucket, key):
        return self.run("link", f"s3:{bucket}/{key}").decode().strip()

    def sync_up(self, directory, bucket, prefix):
        self.run("sync", "-v", directory, f"s3:{bucket}/{prefix}",
                 "--log-file", self.path / "log")
        log = self.path / "log"
        sent = log.read_text().count(": Copied (")
        log.unlink()
        return sent

    def sync_down(self, bucket, prefix, directory):
        self.run("sync", f"s3:{bucket}/{prefix}", directory)

    def check(self, directory, bucket, prefix):
        self.run("check", directory, f"s3:{bucket}/{prefix}")
