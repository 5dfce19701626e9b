"""The aws command."""

import json
import os
import re

import awscli
from botocore import xform_name

from clients.base import PART, Command, Sdk, Stream


class Aws(Command, Sdk):
    name = python = "aws"
    label = "aws cli"
    codes = (r"An error occurred \((\w+)\)",)

    def __init__(self, *args, signature="s3v4"):
        super().__init__(*args)
        self.config = self.path / "config"
        self.config.write_text(
            "[default]\ns3 =\n"
            f"    multipart_threshold = {PART + 1}\n"
            f"    multipart_chunksize = {PART}\n"
            "    addressing_style = path\n"
            f"    signature_version = {signature}\n")

    @classmethod
    def version(cls):
        return awscli.__version__

    def environment(self):
        return super().environment() | {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_CONFIG_FILE": str(self.config),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": ""}

    def command(self):
        command = ["--output", "json", "--endpoint-url", self.url]
        if self.ca:
            command += ["--ca-bundle", str(self.ca)]
        return command

    # ---- aws s3api

    def call(self, operation, Out=None, **kwargs):
        args = ["s3api", xform_name(operation, "-")]
        body = kwargs.pop("Body", None)

        assert not isinstance(body, Stream), "s3api wants a file"

        if isinstance(body, (bytes, bytearray)):
            (self.path / "body").write_bytes(body)
            body = self.path / "body"

        if body is not None:
            args += ["--body", body]

        if operation.startswith("List"):
            args += ["--no-paginate"]

        for parameter, value in kwargs.items():
            args.append("--" + xform_name(parameter, "-"))
            args.append(value if isinstance(value, str)
                        else json.dumps(value))

        if operation == "GetObject":
            args += [Out or os.devnull]

        out = self.run(*args)
        return json.loads(out) if out.strip() else {}

    @staticmethod
    def copy_source(bucket, key):
        """botocore escapes it."""

        return f"{bucket}/{key}"

    # ---- aws s3

    def put(self, bucket, key, path, metadata=None, content_type=None):
        args = []
        if metadata:
            args += ["--metadata", json.dumps(metadata)]
        if content_type:
            args += ["--content-type", content_type]
        self.run("s3", "cp", "--only-show-errors", path, f"s3://{bucket}/{key}", *args)

    def put_stream(self, bucket, key, path):
        with open(path, "rb") as f:
            self.run("s3", "cp", "--only-show-errors", "-", f"s3://{bucket}/{key}",
                     stdin=f)

    def list(self, bucket, prefix=""):
        answer = self.run("s3api", "list-objects-v2", "--bucket", bucket,
                          "--prefix", prefix)
        entries = json.loads(answer or "{}").get("Contents") or []
        return [(e["Key"], e["Size"]) for e in entries]

    def folders(self, bucket, prefix=""):
        text = self.run("s3", "ls", f"s3://{bucket}/{prefix}").decode()
        return [prefix + re.sub(r"^ +PRE |^\S+ +\S+ +\d+ ", "", line)
                for line in text.splitlines()]

    def copy(self, bucket, key, to_bucket, to_key):
        self.run("s3", "cp", "--only-show-errors", f"s3://{bucket}/{key}",
                 f"s3://{to_bucket}/{to_key}")

    def move(self, bucket, key, to_bucket, to_key):
        self.run("s3", "mv", "--only-show-errors", f"s3://{bucket}/{key}",
                 f"s3://{to_bucket}/{to_key}")

    def presign_get(self, bucket, key):
        return self.run("s3", "presign",
                        f"s3://{bucket}/{key}").decode().strip()

    def sync_up(self, directory, bucket, prefix):
        out = self.run("s3", "sync", "--no-progress", directory,
                       f"s3://{bucket}/{prefix}")
        return out.count(b"upload: ")

    def sync_down(self, bucket, prefix, directory):
        self.run("s3", "sync", "--no-progress", f"s3://{bucket}/{prefix}",
                 directory)
