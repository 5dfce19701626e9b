"""The servers that ours is compared with, built here and started on
directories beside ours: MinIO on four, and versitygw, which stores files."""

import os
import shutil
import signal
import subprocess

import bench

BIN = f"{bench.BUILD}/bench/bin"

MODULES = {"minio": "github.com/minio/minio@latest",
           "versitygw": "github.com/versity/versitygw/cmd/versitygw@latest"}


def build(name):
    """Its program, built when it is not there yet; None where there is no Go
    or no network: its rows say so."""

    path = f"{BIN}/{name}"

    if os.path.exists(path):
        return path

    go = (shutil.which("go") or shutil.which("/usr/local/go/bin/go")
          or shutil.which("go", path=f"{bench.BUILD}/venv/bin"))
    if go is None:
        print(f"no {name}: it is built by Go (golang.org)")
        return None

    os.makedirs(BIN, exist_ok=True)
    print(f"building {MODULES[name]}", flush=True)
    done = subprocess.run([go, "install", MODULES[name]],
                          env=dict(os.environ, GOBIN=os.path.abspath(BIN)),
                          capture_output=True, text=True)
    if done.returncode != 0:
        print(f"no {name}: {done.stderr.strip().splitlines()[-1]}")
        return None

    return path


class Peer:
    """A server of one process; command() starts it in the foreground."""

    def __init__(self, dir):
        self.dir = dir
        self.port = bench.free_port()
        self.key = bench.Key()
        self.process = None
        os.makedirs(dir)

    def __enter__(self):
        self.log = open(f"{self.dir}/log", "w")
        self.process = subprocess.Popen(
            self.command(), env=dict(os.environ, **self.environment()),
            stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT, cwd=self.dir)
        try:
            self.create_bucket()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def create_bucket(self):
        text = bench.until(self.process, f"http://127.0.0.1:{self.port}"
                           + self.presign("PUT", f"/{bench.BUCKET}"), "PUT",
                           60)
        if text:
            with open(f"{self.dir}/log") as f:
                bench.die(f"{self.name} does not serve: {text}\n"
                          + f.read()[-2000:])

    def presign(self, method, path, **more):
        return self.key.presign(method, f"127.0.0.1:{self.port}", path,
                                **more)

    def pids(self):
        return [self.process.pid]


class MinIO(Peer):
    name = "MinIO"

    def __init__(self, dir, disks=4):
        super().__init__(dir)
        self.disks = [f"{dir}/d{n + 1}" for n in range(disks)]

    def command(self):
        return [f"{BIN}/minio", "server", "--quiet", "--address",
                f"127.0.0.1:{self.port}", "--console-address",
                f"127.0.0.1:{bench.free_port()}", *self.disks]

    def environment(self):

        # it takes no directories of the system's own drive, but for tests

        return {"MINIO_ROOT_USER": self.key.access,
                "MINIO_ROOT_PASSWORD": self.key.secret,
                "MINIO_CI_CD": "1", "MINIO_UPDATE": "off",
                "HOME": self.dir}


class Versitygw(Peer):
    name = "versitygw"

    def command(self):
        os.makedirs(f"{self.dir}/files", exist_ok=True)
        return [f"{BIN}/versitygw", "--port", f"127.0.0.1:{self.port}",
                "--quiet", "posix", f"{self.dir}/files"]

    def environment(self):
        return {"ROOT_ACCESS_KEY": self.key.access,
                "ROOT_SECRET_KEY": self.key.secret}
