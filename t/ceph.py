"""A real Ceph with a RADOS Gateway on this machine: one monitor, one OSD in
memory, one radosgw, in a directory of its own.

    with Ceph() as ceph:
        ceph.url, ceph.access_key, ceph.secret_key

Debian's packages: ceph-mon ceph-osd ceph-common radosgw.  16.2, which Debian 12
has, knows nothing of checksums: a gateway's reason to be.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid

from s3_server import free_ports, wait_for


START = 60


class Ceph:
    access_key = "upstreamkey"
    secret_key = "upstreamsecret"

    # another user, who owns nothing of the first one's

    other_key = "altkey"
    other_secret = "altsecret"

    def __init__(self, memory=8 << 30):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="s3-ceph-"))
        self.conf = self.path / "ceph.conf"
        self.memory = memory
        self.running = {}
        self.port, self.mon_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, *command, timeout=60):
        return subprocess.run(
            [command[0], "-c", str(self.conf), *map(str, command[1:])],
            cwd=self.path, capture_output=True, text=True, timeout=timeout,
            check=True).stdout

    def _start(self, name, *command):
        """In a session of its own; the kernel ends it should we be killed."""

        with open(self.path / f"{name}.out", "ab") as out:
            self.running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", command[0], "-c",
                 str(self.conf), *map(str, command[1:]), "-f"],
                cwd=self.path, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True)

    def _until(self, *command):
        def works():
            try:
                return self.run(*command, timeout=10) or True
            except (subprocess.CalledProcessError,
                    subprocess.TimeoutExpired):
                return None

        return wait_for(works, START, f"{command} does not work", every=0.2)

    def start(self):
        fsid = uuid.uuid4()

        for d in ("mon", "osd", "rgw"):
            (self.path / d).mkdir()

        self.conf.write_text(f"""
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{self.mon_port}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
osd class update on start = false
osd crush update on start = false
osd objectstore = memstore
memstore device bytes = {self.memory}
run dir = {self.path}
log file = {self.path}/$name.log
admin socket = {self.path}/$name.asok
keyring = {self.path}/keyring
mon data = {self.path}/mon
osd data = {self.path}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1
rgw data = {self.path}/rgw
rgw dns name = localhost
""")

        def tool(*args):
            subprocess.run(args, cwd=self.path, check=True, timeout=60,
                           capture_output=True)

        keyring = self.path / "keyring"
        monmap = self.path / "monmap"

        tool("ceph-authtool", "--create-keyring", keyring, "--gen-key",
             "-n", "mon.", "--cap", "mon", "allow *")
        tool("ceph-authtool", keyring, "--gen-key", "-n", "client.admin",
             *[w for what in ("mon", "osd", "mgr")
               for w in ("--cap", what, "allow *")])
        tool("monmaptool", "--create", "--clobber", "--fsid", str(fsid),
             "--addv", "a", f"[v1:127.0.0.1:{self.mon_port}]", monmap)

        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap,
                 "--keyring", keyring)
        self._start("mon", "ceph-mon", "-i", "a")
        self._until("ceph", "mon", "stat")

        osd = uuid.uuid4()

        # a monitor that has just begun has no fsid for who comes first, and
        # an OSD that meets it leaves

        self._until("ceph", "osd", "new", osd, 0)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._until("ceph", "osd", "crush", "add", "osd.0", "1.0",
                    "host=localhost", "root=default")
        def up():
            process = self.running.get("osd")

            if process is None or process.poll() is not None:
                self._start("osd", "ceph-osd", "-i", "0")

            return "1 up" in self._until("ceph", "osd", "stat")

        wait_for(up, START, "the OSD does not come up", every=0.2)

        self.start_rgw()

        for uid, key, secret in (
                ("upstream", self.access_key, self.secret_key),
                ("other", self.other_key, self.other_secret)):
            self.run("radosgw-admin", "user", "create", f"--uid={uid}",
                     f"--display-name={uid}", f"--access-key={key}",
                     f"--secret-key={secret}")

    def version(self):
        return self.run("radosgw", "--version").partition(" (")[0]

    def start_rgw(self, wait=True):
        self._start("rgw", "radosgw", "-n", "client.rgw")

        if wait:
            wait_for(self.answers, START, "radosgw does not answer",
                     every=0.1)

    def answers(self):
        try:
            with urllib.request.urlopen(self.url + "/", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def kill(self, name="rgw"):
        """kill -9, and no other is started."""

        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def stop(self):
        for name in reversed(list(self.running)):
            process = self.running.pop(name)

            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

            process.wait(30)

        if os.environ.get("KEEP"):
            print(f"ceph: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)
