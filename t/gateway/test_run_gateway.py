"""`make run-gateway`, the second thing that README shows: it says when it is
ready and what to type, serves, and leaves nothing behind."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import uuid

import botocore.config
import pytest

import raw
import s3_gateway
import s3_server
from checks import DIGESTS, MIB, data, md5
from s3_server import ROOT, wait_for


class Run:
    """One `make run-gateway`."""

    def __init__(self, upstream, path, **more):
        self.path = path
        self.port = more.pop("PORT", None) or s3_server.free_ports(1)[0]
        self.settings = {"UPSTREAM": upstream.url,
                         "UPSTREAM_ACCESS_KEY": upstream.access_key,
                         "UPSTREAM_SECRET_KEY": upstream.secret_key,
                         "DATA": str(path), "PORT": str(self.port),
                         "WORKERS": "1", **more}
        self.lines = []
        self.command = ["make", "--no-print-directory", "run-gateway",
                        *(f"{k}={v}" for k, v in self.settings.items()
                          if v is not None)]

    def refused(self):
        """What it says when it does not begin at all."""

        done = subprocess.run(self.command, cwd=ROOT, text=True, timeout=300,
                              stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def __enter__(self):
        # a group of its own, as a terminal's: Ctrl-C goes to all of it, also
        # where we were told to ignore it ("&" of a shell without jobs)

        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        return self

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def ready(self):
        """What was printed by then: {"endpoint": ...}, and the lines."""

        wait_for(lambda: self.said("ready: ")
                 or self.process.poll() is not None, 300, "not ready")
        assert self.said("ready: "), self.lines

        self.endpoint = self.said("ready: ").partition(" ")[2]
        words = dict(re.match(r"(\S+(?: \S+)?) {2,}(.+)", line).groups()
                     for line in self.lines
                     if re.match(r"(endpoint|access key|secret key|region|"
                                 r"upstream|CA) {2,}", line))
        assert words["endpoint"] == self.endpoint
        return words

    def said(self, text):
        return next((line for line in list(self.lines)
                     if line.startswith(text)), None)

    def end(self, number=signal.SIGINT):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        status = self.process.wait(60)
        self.reader.join(10)
        return status

    def __exit__(self, *exception):
        self.end(signal.SIGTERM)

        if any(exception):
            print("\n".join(self.lines[-40:]))

        left = self.processes()

        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        assert not left

    def processes(self):
        """Those that have anything to do with its directory."""

        found = []

        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    line = f.read()
                cwd = os.readlink(f"/proc/{pid}/cwd")
                with open(f"/proc/{pid}/stat") as f:
                    state = f.read().rpartition(")")[2].split()[0]
            except OSError:
                continue

            if state != "Z" and (str(self.path).encode() in line
                                 or cwd.startswith(str(self.path))):
                found.append(int(pid))

        return found

    def client(self, words):
        return s3_server.SESSION.client(
            "s3", endpoint_url=self.endpoint, region_name=words["region"],
            aws_access_key_id=words["access key"],
            aws_secret_access_key=words["secret key"],
            verify=words.get("CA"), config=botocore.config.Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1}))


def round_trip(s3):
    """A bucket, objects with checksums, and nothing of it is left."""

    bucket = f"run-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)

    for key, body in (("small", data(1000)), ("large", data(9 * MIB))):
        put = s3.put_object(Bucket=bucket, Key=key, Body=body)
        assert put["ChecksumCRC32"] == DIGESTS["CRC32"](body)

        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == body
        assert got["ChecksumCRC32"] == DIGESTS["CRC32"](body)
        s3.delete_object(Bucket=bucket, Key=key)

    s3.delete_bucket(Bucket=bucket)


def test_as_documented(ceph, tmp_path):
    with Run(ceph, tmp_path) as run:
        words = run.ready()

        assert run.endpoint == f"http://127.0.0.1:{run.port}"
        assert words["upstream"] == ceph.url
        assert ceph.secret_key not in "\n".join(run.lines)

        with contextlib.closing(run.client(words)) as s3:
            round_trip(s3)

        # the line to type, with another bucket

        bucket = f"run-{uuid.uuid4().hex[:8]}"
        line = next(line for line in run.lines if " s3 mb s3://" in line)
        typed = shlex.split(line.replace("s3://test", f"s3://{bucket}"))
        env = dict(word.split("=", 1) for word in typed
                   if re.match("AWS_[A-Z_]+=", word))
        command = [word for word in typed
                   if not re.match("AWS_[A-Z_]+=", word)]
        aws = f"{os.path.dirname(sys.executable)}/aws"
        assert command[0] == "aws"

        def cli(*args):
            return subprocess.run(
                [aws, *args], env={**os.environ, **env}, check=True,
                timeout=120, capture_output=True, text=True).stdout

        (tmp_path / "up").write_bytes(data(9 * MIB))
        place = f"s3://{bucket}/k"

        cli(*command[1:])
        cli(*command[1:-3], "s3", "cp", str(tmp_path / "up"), place)
        cli(*command[1:-3], "s3", "cp", place, str(tmp_path / "down"))
        assert md5((tmp_path / "down").read_bytes()) == md5(data(9 * MIB))
        cli(*command[1:-3], "s3", "rb", "--force", f"s3://{bucket}")

        # for balancers

        assert raw.once(Server(run), "GET", "/healthz",
                        signed=False).body == b"ok\n"

        # where it is, it is

        assert f"port {run.port} is taken" in Run(
            ceph, tmp_path / "other", PORT=str(run.port)).refused()
        assert "in use by another run" in Run(ceph, tmp_path).refused()
        assert run.process.poll() is None

        run.end()
        assert run.said("tools/run: stopped")

    # keys are kept, and nobody else reads them

    keys = next(tmp_path.glob("**/credentials.jsonl"))
    assert keys.stat().st_mode & 0o077 == 0

    with Run(ceph, tmp_path) as run:
        again = run.ready()
        assert (again["access key"], again["secret key"]) \
            == (words["access key"], words["secret key"])
        run.end(signal.SIGTERM)
        assert run.said("tools/run: stopped")


class Server(s3_server.Server):
    """What raw.once() needs."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def url(self, kind):
        return self.run.endpoint


def test_tls_on_both_sides(tmp_path):
    """An upstream over https, checked by a CA of its own; keys as given."""

    with s3_gateway.UpstreamStore(disks=1, workers=1) as store:

        # nginx looks for a name in a certificate, and for no address

        url = store.url("tls").replace("127.0.0.1", "localhost")
        given = {"ACCESS_KEY": "GIVENKEY", "SECRET_KEY": "given/secret+1",
                 "UPSTREAM": url, "UPSTREAM_CA": str(store.ca), "TLS": "1"}

        with Run(Upstream(store), tmp_path, **given) as run:
            words = run.ready()

            assert run.endpoint == f"https://127.0.0.1:{run.port}"
            assert words["access key"] == "GIVENKEY"

            with contextlib.closing(run.client(words)) as s3:
                round_trip(s3)

            with open(words["CA"]) as f:
                assert "PRIVATE" not in f.read()


class Upstream:
    def __init__(self, store):
        self.url = store.url("http")
        self.access_key = store.access_key
        self.secret_key = store.secret_key


@pytest.mark.parametrize("settings,words", [
    ({"UPSTREAM": None}, "UPSTREAM="),
    ({"UPSTREAM": "127.0.0.1:7480"}, "must be http://HOST"),
    ({"UPSTREAM": "http://127.0.0.1:7480/bucket"}, "no path"),
    ({"UPSTREAM": "ftp://127.0.0.1"}, "must be http://HOST"),
    ({"UPSTREAM": "http://127.0.0.1:99999"}, "port of UPSTREAM"),
    ({"UPSTREAM_ACCESS_KEY": None}, "UPSTREAM_ACCESS_KEY"),
    ({"UPSTREAM_SECRET_KEY": None}, "UPSTREAM_SECRET_KEY"),
    ({"UPSTREAM_REGION": "us/east"}, "UPSTREAM_REGION=us/east"),
    ({"TLS": "maybe"}, "TLS=maybe"),
    ({"PORT": "none"}, "PORT=none"),
])
def test_refused(tmp_path, settings, words):
    """Before anything is built or made."""

    class Nobody:
        url, access_key, secret_key = "http://127.0.0.1:1", "K", "secret/1"

    said = Run(Nobody, tmp_path / "data", **settings).refused()

    assert words in said
    assert "secret/1" not in said
    assert not (tmp_path / "data").exists()
