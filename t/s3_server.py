"""A real nginx with the module, on disks of its own, for tests to talk to.

    with Store(disks=4, parity=2) as store:
        store.client().create_bucket(Bucket="b")

What is served, on ports of its own on 127.0.0.1:

    http://127.0.0.1:PORT/              the store at the root
    http://127.0.0.1:PORT/storage/      the same store below a prefix
    https://127.0.0.1:TLS_PORT/...      both again, certificate of store.ca
    https://127.0.0.1:H2_PORT/...       the same, and HTTP/2 for who asks

All of it lives in one temporary directory, which goes with the server:

    d1, d2, ...       the disks              run, state     the module's own
    error.log         level info             access.log     format below
    nginx.conf        written once           keys.jsonl     the credentials

As root, nginx's workers are the distribution's user, as in production; as
anybody else they are that user.

Environment: BUILD is the folder of `make` (build), MODULE another
ngx_http_s3_module.so (one with a sanitizer, say), NGINX another nginx,
KEEP=1 leaves the temporary directories.

Another server: with S3_ENDPOINT (http://host:port), S3_ACCESS_KEY and
S3_SECRET_KEY, also S3_REGION and S3_CA_BUNDLE, no nginx is started. Tests
talk to that server, and what needs one of its own is skipped. With S3_THROUGH
they talk to gateways, s3_gateway.py.
"""

import contextlib
import functools
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse

import boto3
import botocore.config
import botocore.exceptions


ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / os.environ.get("BUILD", "build")

REGION = "us-east-1"
ACCESS_KEY = "TESTACCESSKEY0000001"
SECRET_KEY = "s3cr3t/of+the=tests/never+in+a+log/00001"

EXTERNAL = os.environ.get("S3_ENDPOINT")

# tests of t/s3 talk to gateways before this: "rgw" or "store"

THROUGH = os.environ.get("S3_THROUGH")

if EXTERNAL:
    REGION = os.environ.get("S3_REGION", REGION)
    ACCESS_KEY = os.environ["S3_ACCESS_KEY"]
    SECRET_KEY = os.environ["S3_SECRET_KEY"]

OTHER_KEY = "TESTACCESSKEY0000002"
OTHER_SECRET = "s3cr3t/of+another/user/never+in+a+log/02"
DISABLED_KEY = "TESTACCESSKEY0000003"

START = 30       # seconds to serve from the start
QUIT = 20        # seconds to leave gracefully

# of all clients: each would read all that botocore knows of S3

SESSION = boto3.session.Session()

# what an error log must never hold: nginx's own two highest levels, and the
# reports of sanitizers

BAD_LOG = re.compile(r"^[0-9/]+ [0-9:]+ \[(alert|emerg)\]|^nginx: \[emerg\]|"
                     r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|"
                     r"runtime error:|Assertion")


def module_path():
    if "MODULE" in os.environ:
        return pathlib.Path(os.environ["MODULE"]).resolve()
    return BUILD / "ngx_http_s3_module.so"


def skip(why):
    """Ends the test that runs: it is one for a server of our own."""

    import pytest

    pytest.skip(f"{why}, and "
                + ("S3_ENDPOINT is another's" if EXTERNAL
                   else "S3_THROUGH says which"))


def nginx_path():
    if EXTERNAL:
        skip("starts a server")
    return nginx_binary()


def nginx_binary():
    if "NGINX" in os.environ:
        return os.environ["NGINX"]
    return (BUILD / "nginx.path").read_text().strip()


def free_ports(n):
    """n ports that were free a moment ago, each another one."""

    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def workers_user(directory):
    """(name, uid, gid) of nginx's workers, None where we are not root."""

    if os.geteuid() != 0:
        return None

    # a directory that is closed to others is closed to nginx's user

    for part in [directory, *directory.parents]:
        if not part.stat().st_mode & 0o001:
            break
    else:
        for name in ("www-data", "nginx", "nobody"):
            with contextlib.suppress(KeyError):
                user = pwd.getpwnam(name)
                return name, user.pw_uid, user.pw_gid

    return "root", 0, 0


def wait_for(what, seconds, message="waited in vain", every=0.02):
    """Calls what() until it is true, and returns that."""

    end = time.monotonic() + seconds

    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{message} ({seconds} s)")
        time.sleep(every)


@functools.cache
def certificates():
    """Bytes of (CA, leaf, leaf's key): one throw-away CA a test run."""

    with tempfile.TemporaryDirectory(prefix="s3-ca-") as name:
        d = pathlib.Path(name)

        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=d, check=True,
                           capture_output=True, timeout=60)

        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes"]

        openssl("req", "-x509", *ec, "-days", "2",
                "-subj", "/CN=throw-away CA of the tests",
                "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                "-keyout", "ca.key", "-out", "ca.pem")
        openssl("req", "-new", *ec, "-subj", "/CN=localhost",
                "-keyout", "key.pem", "-out", "leaf.csr")
        (d / "leaf.ext").write_text(
            "basicConstraints=CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth\n"
            "subjectAltName=IP:127.0.0.1,DNS:localhost,"
            "DNS:s3.example.com,DNS:*.s3.example.com\n")
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem",
                "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "leaf.ext", "-out", "cert.pem")

        return tuple((d / f).read_bytes()
                     for f in ("ca.pem", "cert.pem", "key.pem"))


class Server:
    """What tests of clients need of a server."""

    region = REGION
    ca = None              # file of the CAs that are trusted; None: usual ones
    kinds = ()

    def __init__(self):
        self.clients = {}
        self.lock = threading.Lock()

    def url(self, kind):
        """Of a kind of server: http, tls, or h2 (TLS that offers HTTP/2)."""

        raise NotImplementedError

    def endpoint(self, tls=False, prefix=""):
        return self.url("tls" if tls else "http") + prefix

    def client(self, tls=False, prefix="", access_key=ACCESS_KEY,
               secret_key=SECRET_KEY, retries=1, config=None, region=None,
               cached=True):
        """boto3's S3 client, with its defaults but for retries: a test wants
        to see what a server answers.  One of each kind, shared by threads."""

        region = region or self.region
        kind = (tls, prefix, access_key, secret_key, retries, region)

        with self.lock:
            if cached and config is None and kind in self.clients:
                return self.clients[kind]

            settings = botocore.config.Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": retries, "mode": "standard"},
                max_pool_connections=64)

            if config is not None:
                settings = settings.merge(config)

            client = SESSION.client(
                "s3", endpoint_url=self.endpoint(tls, prefix),
                region_name=region, aws_access_key_id=access_key,
                aws_secret_access_key=secret_key, config=settings,
                verify=str(self.ca) if tls and self.ca else None)

            if cached and config is None:
                self.clients[kind] = client

            return client

    def connect(self, tls=False, timeout=30):
        """A socket to the server."""

        url = urllib.parse.urlsplit(self.endpoint(tls))
        s = socket.create_connection((url.hostname, url.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        if tls:
            context = ssl.create_default_context(
                cafile=str(self.ca) if self.ca else None)
            s = context.wrap_socket(s, server_hostname=url.hostname)

        return s

    def close_clients(self):
        for client in self.clients.values():
            client.close()

        self.clients.clear()


class Endpoint(Server):
    """The server of S3_ENDPOINT.  Whatever only a Store has skips the test
    that asks for it."""

    def __init__(self):
        super().__init__()
        url = urllib.parse.urlsplit(EXTERNAL)
        assert url.scheme in ("http", "https") and url.path in ("", "/")

        kind = "tls" if url.scheme == "https" else "http"
        port = url.port or {"tls": 443, "http": 80}[kind]

        self.kinds = (kind, "h2") if kind == "tls" else (kind,)
        self.address = f"{url.scheme}://{url.hostname}:{port}"
        setattr(self, "tls_port" if kind == "tls" else "port", port)

        if "S3_CA_BUNDLE" in os.environ:
            self.ca = pathlib.Path(os.environ["S3_CA_BUNDLE"]).resolve()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        skip(f"needs the server's {name}")

    def url(self, kind):
        if kind not in self.kinds:
            skip(f"needs a server of {kind}")
        return self.address

    def endpoint(self, tls=False, prefix=""):
        if prefix:
            skip("needs the server below a prefix")
        return self.address

    def client(self, tls=False, **kwargs):
        return super().client(self.kinds[0] == "tls", **kwargs)


class Daemon:
    """What Popen is to a child, for a master that has left its parent."""

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        """None while it runs."""

        try:
            stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return 0
        return 0 if stat.rpartition(")")[2].split()[0] in "ZX" else None

    def wait(self, seconds):
        wait_for(lambda: self.poll() is not None, seconds,
                 "the master does not leave")


class Nginx(Server):
    """One nginx, in a directory of its own.  start() and stop() are what `with`
    calls.  What it serves is a subclass's: directories(), configuration().

    workers                  a number
    main, http, server, location
                             further directives, at those places
    servers                  further server blocks
    region                   of s3_region
    daemon                   it leaves its parent, as an nginx must that is
                             to be upgraded; who is killed leaves it behind
    """

    kinds = ("http", "tls", "h2")

    # more members of each line in the file of keys, and more lines

    client_keys = {}
    more_keys = ()

    def __init__(self, workers=2, main="", http="", server="", location="",
                 servers="", region=REGION, ports=None, daemon=False):
        super().__init__()
        self.region = region
        self.daemon = daemon
        self.workers = workers
        self.more = {"main": main, "http": http, "server": server,
                     "location": location, "servers": servers}

        # 0755 and not 0700: nginx's user must get through

        self.path = pathlib.Path(tempfile.mkdtemp(prefix="s3-test-"))
        self.path.chmod(0o755)

        self.error_log = self.path / "error.log"
        self.access_log = self.path / "access.log"
        self.ca = self.path / "tls/ca.pem"
        self.conf = self.path / "nginx.conf"
        self.process = None
        self.seen = 0      # bytes of the error log that were judged
        self.user = workers_user(self.path)
        self.port, self.tls_port, self.h2_port = ports or free_ports(3)

        self._make_directories()
        self._write_conf()

    def url(self, kind):
        return {"http": f"http://127.0.0.1:{self.port}",
                "tls": f"https://127.0.0.1:{self.tls_port}",
                "h2": f"https://127.0.0.1:{self.h2_port}"}[kind]

    # ---- what lies in the directory

    def directories(self):
        """Those that belong to the workers' user."""

        return []

    def configuration(self):
        """(what stands in http{}, before the server; its locations)."""

        raise NotImplementedError

    def _make_directories(self):
        for d in ["temp", "tls"]:
            (self.path / d).mkdir()

        for name, data in zip(("ca.pem", "cert.pem", "key.pem"),
                              certificates()):
            (self.path / "tls" / name).write_bytes(data)

        keys = [{"access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
                {"access_key": OTHER_KEY, "secret_key": OTHER_SECRET},
                {"access_key": DISABLED_KEY, "secret_key": SECRET_KEY,
                 "enabled": False}]
        keys = [{**k, **self.client_keys} for k in keys] \
            + list(self.more_keys)
        self.keys = self.path / "keys.jsonl"
        self.keys.write_text("".join(json.dumps(k) + "\n" for k in keys))
        self.keys.chmod(0o600)

        own = self.directories()

        for d in own:
            d.mkdir()

        if self.user:
            for path in [*own, self.keys]:
                os.chown(path, self.user[1], self.user[2])

    def listen(self):
        """{"http": ..., "tls": ..., "h2": ...}: arguments of listen."""

        return {"http": f"127.0.0.1:{self.port} default_server",
                "tls": f"127.0.0.1:{self.tls_port} ssl default_server",
                "h2": f"127.0.0.1:{self.h2_port} ssl http2 default_server"}

    def _write_conf(self):
        user = f"user {self.user[0]};" if self.user else ""
        http, locations = self.configuration()
        listen = "\n        ".join(f"listen {v};"
                                   for v in self.listen().values())

        self.conf.write_text(f"""
load_module "{module_path()}";
{user}
daemon {"on" if self.daemon else "off"};
worker_processes {self.workers};
worker_shutdown_timeout 10s;
pid nginx.pid;
error_log error.log info;
{self.more["main"]}

events {{
    worker_connections 1024;
}}

http {{
    log_format s3 '$status $s3_operation "$request" "$request_uri" "$args" '
                  '"$s3_bucket" "$s3_key" "$s3_access_key" "$s3_error_code" '
                  '$s3_request_id $body_bytes_sent $request_time $pid';

    access_log             access.log s3;
    client_body_temp_path  temp/body;
    proxy_temp_path        temp/proxy;
    fastcgi_temp_path      temp/fastcgi;
    uwsgi_temp_path        temp/uwsgi;
    scgi_temp_path         temp/scgi;

    s3_region              {self.region};
    s3_credentials         keys.jsonl;
    {self.more["http"]}

    {http}

    server {{
        {listen}

        ssl_certificate      tls/cert.pem;
        ssl_certificate_key  tls/key.pem;

        include "{ROOT}/conf/s3_params";
        {self.more["server"]}

        {locations}
    }}
    {self.more["servers"]}
}}
""")

    # ---- start and stop

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.print_log()
        try:
            self.stop(check=kind is None)
        finally:
            self.remove()

    def start(self, wait=True):
        """Starts nginx; with wait, returns when it answers ListBuckets."""

        assert self.process is None, "it runs already"

        # nginx takes NGINX for descriptors that it inherits

        env = {k: v for k, v in os.environ.items() if k != "NGINX"}

        command = [nginx_path(), "-e", "stderr", "-p", f"{self.path}/", "-c",
                   str(self.conf)]

        with open(self.path / "stderr", "ab") as stderr:
            how = dict(stdin=subprocess.DEVNULL, stdout=stderr,
                       stderr=stderr, env=env)

            # a session of its own, by which its processes are found; setpriv:
            # the kernel asks it to leave should this process be killed

            if self.daemon:
                self._daemon(command, how)
            else:
                self.process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "QUIT", *command],
                    start_new_session=True, **how)

        self.session = self.master = self.process.pid

        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.print_log()
                with contextlib.suppress(AssertionError):
                    self.stop(check=False)
                raise

        return self

    def _daemon(self, command, how):
        (self.path / "nginx.pid").unlink(missing_ok=True)
        subprocess.run(command, check=True, timeout=START, **how)
        self.process = Daemon(wait_for(self._written_pid, START,
                                       "no master"))

    def _written_pid(self):
        """What nginx.pid says; None while nobody has written it."""

        with contextlib.suppress(OSError, ValueError):
            return int((self.path / "nginx.pid").read_text())

    def wait_ready(self, seconds=START):
        """Until a signed ListBuckets is answered with 200."""

        client = self.client(retries=1)

        def ready():
            assert self.process.poll() is None, "nginx did not start"
            try:
                client.list_buckets()
                return True
            except (botocore.exceptions.ClientError,
                    botocore.exceptions.ConnectionError,
                    botocore.exceptions.HTTPClientError):
                return False

        wait_for(ready, seconds, "nginx does not serve")

    def reload(self, wait=True):
        """HUP; with wait, returns when workers of the new generation are
        there (old ones may still be shutting down)."""

        old = set(self.worker_pids(old=True))
        os.kill(self.master_pid(), signal.SIGHUP)

        if wait:
            wait_for(lambda: len(set(self.worker_pids()) - old)
                     == self.workers, START, "no new workers")

    def upgrade(self, meanwhile=lambda: None):
        """Another nginx takes over, of a daemon: USR2, and QUIT to the old
        one when the new one's workers are there.  meanwhile() is called
        while both serve, and while the old one leaves."""

        old = self.master
        os.kill(old, signal.SIGUSR2)
        meanwhile()

        # the old one may still be at a reload: whose a worker is says its
        # parent

        def ready():
            master = self._written_pid()
            if master not in (None, old) and len(
                    [p for p in self.worker_pids()
                     if self._parent(p) == master]) == self.workers:
                return master

        self.master = wait_for(ready, START, "no new workers")
        self.process = Daemon(self.master)
        os.kill(old, signal.SIGQUIT)
        meanwhile()

        wait_for(lambda: not [p for p in self.processes()
                              if p != self.master
                              and self._parent(p) != self.master],
                 QUIT, "the old nginx does not leave")

    def stop(self, check=True, allow=()):
        """Ends what start() started: gracefully, then by force, which is an
        error.  check: the error log must be free of alerts but for lines
        that one of the patterns in allow is found in."""

        if self.process is None:
            return

        # where the master was killed the others are told themselves

        if self.master in self.processes():
            os.kill(self.master, signal.SIGQUIT)
        else:
            self._signal(signal.SIGQUIT)

        forced = False

        try:
            wait_for(self._gone, QUIT, "nginx does not leave")
        except AssertionError:
            forced = True
            left = self.processes()
            self._signal(signal.SIGKILL)
            wait_for(self._gone, 10, "nginx cannot be killed")
        finally:
            self.process.wait(10)
            self.process = None

        self.close_clients()

        if forced and check:
            self.print_log()
            raise AssertionError(f"nginx did not leave in {QUIT} s: {left}")

        if check:
            self.check_log(allow)

    def _gone(self):
        self.process.poll()
        return not self.processes()

    def _signal(self, number):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self):
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.path, ignore_errors=True)

    # ---- logs

    def log(self):
        text = ""
        for f in (self.path / "stderr", self.error_log):
            if f.exists():
                text += f.read_text(errors="replace")
        return text

    def print_log(self, lines=60):
        text = self.log().splitlines()
        notable = [line for line in text if BAD_LOG.search(line)]
        print(f"---- nginx's error log, {self.path}")
        print("\n".join(notable[-20:]))
        print("---- its end")
        print("\n".join(text[-lines:]))
        print("----")

    def check_log(self, allow=()):
        allowed = [re.compile(a) for a in allow]
        bad = [line for line in self.log().splitlines()
               if BAD_LOG.search(line)
               and not any(a.search(line) for a in allowed)]

        if bad:
            self.print_log()

        assert not bad, "\n".join(bad[:20])

    def access_lines(self):
        if not self.access_log.exists():
            return []
        return self.access_log.read_text(errors="replace").splitlines()

    # ---- processes

    def processes(self):
        """{pid: title} of nginx's session, zombies left out."""

        found = {}

        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                # after the name: state, ppid, pgrp, session
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) != self.session or fields[0] in "ZX":
                    continue
                title = (stat.parent / "cmdline").read_bytes()
            except OSError:
                continue
            found[int(stat.parent.name)] = \
                title.replace(b"\0", b" ").decode(errors="replace").strip()

        return found

    @staticmethod
    def _parent(pid):
        with contextlib.suppress(OSError):
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            return int(stat.rpartition(")")[2].split()[1])

    def _titled(self, *titles):
        return [pid for pid, title in sorted(self.processes().items())
                if any(title.startswith(f"nginx: {t}") for t in titles)]

    def master_pid(self):
        return self.master

    def worker_pids(self, old=False):
        """Workers; old: those that are shutting down as well."""

        shutting = self._titled("worker process is shutting down")
        pids = self._titled("worker process")
        return pids if old else [p for p in pids if p not in shutting]

    def manager_pids(self):
        """The cache manager process, in which the store process lives."""

        return self._titled("cache manager process")

    def rss(self):
        """Bytes of resident memory, all of nginx's processes."""

        total = 0

        for pid in self.processes():
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{pid}/status").read_text()
                match = re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)
                if match:
                    total += int(match[1]) * 1024

        return total

    @contextlib.contextmanager
    def watch_rss(self, every=0.05):
        """with store.watch_rss() as peak: ...; peak[0] is the highest."""

        peak = [self.rss()]
        stop = threading.Event()

        def watch():
            while not stop.wait(every):
                peak[0] = max(peak[0], self.rss())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield peak
        finally:
            stop.set()
            thread.join()


class Store(Nginx):
    """A store on disks of its own: disks and parity are numbers, all else is
    Nginx's.  upstream: it is what tests' gateways stand before."""

    def __init__(self, disks=4, parity=None, upstream=False, **kwargs):
        if (EXTERNAL or THROUGH) and not upstream:
            skip("starts a server")

        self.ndisks = disks
        self.parity = disks // 2 if parity is None else parity

        super().__init__(**kwargs)

    def directories(self):
        self.disks = [self.path / f"d{i}" for i in range(1, self.ndisks + 1)]

        return [*self.disks, self.path / "run", self.path / "state"]

    def configuration(self):
        disks = "\n        ".join(f'disk "{d}";' for d in self.disks)

        return f"""s3_runtime_path        run/s3;
    s3_state_path          state/s3;

    s3_store main {{
        {disks}
        parity {self.parity};
    }}""", f"""location / {{
            s3_serve main;
            {self.more["location"]}
        }}

        location /storage/ {{
            s3_serve main;
            {self.more["location"]}
        }}"""

    # ---- disks

    def tmp_files(self):
        """Files below the disks' tmp/, but for the sessions' lock files."""

        return [f for d in self.disks for f in d.glob("tmp/**/*")
                if f.name != "lock" and not f.is_dir()]

    def shard_files(self):
        return [f for d in self.disks for f in d.glob("data/**/*")
                if f.is_file()]
