"""What benchmarks share: presigned targets, clients that are asked in turn, and
rows of ratios.

    bench = Bench(dir, args, {"ours": Side(port, target), "dav": ...})
    bench.row("GET", ("1 KiB", 1024, 64), ["ours", "dav"])

target(method, path) is what a request asks the side for.
"""

import argparse
import collections
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import platform
import pwd
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))

KIB = 1 << 10
MIB = 1 << 20
REGION = "us-east-1"
BUCKET = "bench"

# wrk asks for the targets one after the other, each with a range behind a tab
# or without; done() prints what we read

LUA = """\
local targets, i = {}, 0
init = function()  -- called by wrk.init(), which has set Host
    for line in io.lines(os.getenv("TARGETS")) do
        local target, range = line:match("^([^\t]*)\t?(.*)$")
        wrk.headers["Range"] = range ~= "" and range or nil
        targets[#targets + 1] = wrk.format("GET", target)
    end
end
request = function()
    i = i % #targets + 1
    return targets[i]
end
done = function(summary, latency)
    local e = summary.errors
    print(string.format(
        '{"requests": %d, "seconds": %.6f, "bytes": %.0f, "errors": %d, ' ..
        '"p50_us": %.0f, "p99_us": %.0f}',
        summary.requests, summary.duration / 1e6, summary.bytes,
        e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


def die(text):
    sys.exit(f"{os.path.relpath(sys.argv[0], ROOT)}: {text}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Key:
    def __init__(self, access=None, secret=None):
        self.access = access or "BENCH" + secrets.token_hex(8).upper()
        self.secret = secret or secrets.token_urlsafe(30)
        self.scope = None

    def presign(self, method, host, path, query=None, **more):
        """The target of a presigned URL (S3 manual, "Authenticating
        Requests: Using Query Parameters"); path needs no escaping.  query:
        parameters of the operation; more: further ones, "_" for "-", behind
        "X-Amz-"."""

        def mac(key, text):
            return hmac.new(key, text.encode(), hashlib.sha256).digest()

        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
        query = urllib.parse.urlencode(sorted({
            **(query or {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": "3600",
            "X-Amz-SignedHeaders": "host",
            **{f"X-Amz-{name.replace('_', '-')}": value
               for name, value in more.items()}}.items()),
            quote_via=urllib.parse.quote, safe="~")
        canonical = (f"{method}\n{path}\n{query}\nhost:{host}\n\nhost\n"
                     "UNSIGNED-PAYLOAD")
        text = (f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n"
                + hashlib.sha256(canonical.encode()).hexdigest())

        if self.scope != scope:
            self.signing = f"AWS4{self.secret}".encode()
            for part in scope.split("/"):
                self.signing = mac(self.signing, part)
            self.scope = scope

        signature = mac(self.signing, text).hex()
        return f"{path}?{query}&X-Amz-Signature={signature}"


Side = collections.namedtuple("Side", "port target")


def own(dir):
    """dir and all in it belong to the workers' user, whose name is
    returned."""

    for name in ("www-data", "nginx", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            break
        except KeyError:
            continue
    else:
        die("run it as another user than root")

    if os.getuid() == 0:
        os.chmod(dir, 0o755)
        for folder, _, files in os.walk(dir):
            for file in [folder] + [f"{folder}/{f}" for f in files]:
                os.chown(file, entry.pw_uid, entry.pw_gid)

    return name


class Nginx:
    """nginx with a configuration in a directory of its own.  {dir}, {module},
    {user} and {root} are filled in."""

    def __init__(self, dir, conf, **more):
        self.dir = dir
        self.process = None

        path = os.path.join(BUILD, "nginx.path")
        if not os.path.exists(path):
            die(f"{path} is missing: run \"make\" first")
        with open(path) as f:
            self.nginx = f.read().strip()

        user = ""
        if os.getuid() == 0:
            user = f"user {self.own()};"

        with open(f"{dir}/nginx.conf", "w") as f:
            f.write(conf.format(
                dir=dir, user=user, root=ROOT,
                module=os.path.join(BUILD, "ngx_http_s3_module.so"), **more))

    def own(self):
        """Everything belongs to the workers' user, whose name is returned."""

        return own(self.dir)

    def start(self):
        self.process = subprocess.Popen(
            [self.nginx, "-e", f"{self.dir}/error.log", "-p", self.dir,
             "-c", f"{self.dir}/nginx.conf"], stdin=subprocess.DEVNULL)

    def until(self, url, method="GET"):
        """Asks until the answer is good."""

        text = until(self.process, url, method, 20)
        if text:
            self.fail(f"nginx does not serve: {text}")

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def fail(self, text):
        with open(f"{self.dir}/error.log", errors="replace") as f:
            sys.stderr.write("".join(f.readlines()[-20:]))
        if self.process.poll() is None:
            self.__exit__()
        die(text)

    def version(self):
        done = subprocess.run([self.nginx, "-v"], capture_output=True,
                              text=True)
        return done.stderr.strip().split(": ")[-1]


def parsed(fail, command, **environment):
    """One run of wrk or bench/client: what it says, and requests and megabytes
    a second.  fail(text) ends the bench, by an answer that is no success as
    well."""

    done = subprocess.run(command, env=dict(os.environ, **environment),
                          capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        fail(f"{' '.join(command)}: {done.stderr}")

    result = json.loads(done.stdout.strip().splitlines()[-1])
    if result.get("errors") or not result["requests"]:
        fail(f"{' '.join(command)}: {result}")

    result["rate"] = result["requests"] / result["seconds"]
    return result


def wrk(fail, lua, port, targets, connections, seconds):
    result = parsed(fail, ["wrk", "-t", "2", "-c", str(connections), "-d",
                           f"{seconds}s", "--timeout", "20s", "--latency",
                           "-s", lua, f"http://127.0.0.1:{port}"],
                    TARGETS=targets)

    # it counts a large answer only when it is whole; its bytes are exact

    result["mb"] = result["bytes"] / result["seconds"] / 1e6
    return result


def client(fail, method, port, targets, connections, seconds, size,
           once=False):
    """once: each target, however long it takes."""

    result = parsed(fail, [f"{BUILD}/bench/client", *(["-1"] if once else []),
                           method, "127.0.0.1", str(port), str(connections),
                           str(3600 if once else seconds), str(size),
                           targets])
    result["mb"] = result["rate"] * size / 1e6
    return result


def until(process, url, method, seconds):
    """Asks until the answer is good: None, or what it was at last when the
    process has ended, or the time has."""

    end = time.monotonic() + seconds

    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(
                url, method=method), timeout=10).close()
            return None
        except urllib.error.HTTPError as e:
            last = f"{e.code} {e.read()!r}"
            e.close()
        except OSError as e:
            last = str(e)

        if process.poll() is not None or time.monotonic() > end:
            return last
        time.sleep(0.1)


def children(parent):
    found = []

    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat") as f:
                if int(f.read().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(pid))

    return found


def memory(pids):
    """MiB of these processes, each page once."""

    total = 0

    for pid in pids:
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f
                             if line.startswith("Pss:"))

    return total / KIB


def used(dir):
    """Bytes of the files in dir."""

    return sum(os.lstat(f"{folder}/{file}").st_size
               for folder, _, files in os.walk(dir) for file in files)


class Bench:
    def __init__(self, nginx, args, sides):
        self.nginx = nginx
        self.args = args
        self.sides = sides
        self.lua = f"{nginx.dir}/targets.lua"
        self.rows = []

        with open(self.lua, "w") as f:
            f.write(LUA)

    def targets(self, side, method, size):
        """A file of the targets of one side of a row."""

        name, _, n = size
        target = self.sides[side].target
        file = f"{self.nginx.dir}/{side.replace(' ', '-')}-{method}-{size[1]}"

        with open(file, "w") as f:
            for i in range(n):
                path = f"/{name.replace(' ', '')}-{i}"
                f.write(target(method, path) + "\n")

        return file

    def run(self, side, method, size, seconds=None):
        """One run; megabytes and requests a second, latencies in us."""

        seconds = seconds or self.args.seconds
        file = self.targets(side, method, size)
        connections = min(self.args.connections, size[2])
        port = self.sides[side].port

        if method == "PUT":
            return client(self.nginx.fail, method, port, file, connections,
                          seconds, size[1])

        return wrk(self.nginx.fail, self.lua, port, file, connections,
                   seconds)

    def row(self, method, size, sides, note=""):
        """Runs of all sides in turn; what the first does, by the others."""

        ours, *peers = sides
        runs = {side: [] for side in sides}

        for _ in range(self.args.runs):
            for side in runs:
                runs[side].append(self.run(side, method, size))

        unit = "mb" if size[1] >= MIB else "rate"
        name = "MB/s" if unit == "mb" else "requests/s"
        median = {side: statistics.median(r[unit] for r in done)
                  for side, done in runs.items()}
        spread = {side: [min(r[unit] for r in done),
                         max(r[unit] for r in done)]
                  for side, done in runs.items()}
        p99 = {side: statistics.median(r["p99_us"] for r in done)
               for side, done in runs.items()}

        def figure(side):
            low, high = spread[side]
            return (f"{side} {median[side]:9,.0f} ({low:,.0f} .. {high:,.0f})"
                    f" p99 {p99[side] / 1e3:,.1f} ms")

        print(f"{method} {size[0]:8} {name:10} {figure(ours)}"
              + (f"  [{note}]" if note else ""))

        for peer in peers:
            ratio = median[ours] / median[peer]
            print(f"{'':23} {figure(peer)}  ratio {ratio:.2f}", flush=True)
            self.rows.append({
                "row": f"{method} {size[0]}", "peer": peer, "unit": name,
                "ours": median[ours], "theirs": median[peer], "ratio": ratio,
                "spread": spread, "p99_us": p99, "note": note, "runs": runs})

    def fill(self, side, size):
        """What a PUT row left out when it was short; and the GET rows compare
        the same bytes on all sides."""

        body = (b"0123456789abcdef" * (size[1] // 16))

        with open(self.targets(side, "PUT", size)) as f:
            for target in f.read().splitlines():
                urllib.request.urlopen(urllib.request.Request(
                    f"http://127.0.0.1:{self.sides[side].port}{target}",
                    data=body, method="PUT",
                    headers={"Content-Type": "application/octet-stream"}),
                    timeout=60).close()


def sync_rate(dir):
    """Appends of 4 KiB, each synced, a second: what the drive gives."""

    fd = os.open(f"{dir}/sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    n = 0
    start = time.monotonic()
    while time.monotonic() < start + 1:
        os.write(fd, b"x" * 4096)
        os.fdatasync(fd)
        n += 1
    rate = n / (time.monotonic() - start)
    os.close(fd)
    os.unlink(f"{dir}/sync")
    return rate


def machine(dir):
    cpu = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break

    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024

    system = "unknown"
    best = -1
    with open("/proc/mounts") as f:
        for line in f:
            _, at, kind = line.split()[:3]
            if (dir + "/").startswith(at.rstrip("/") + "/") \
                    and len(at) > best:
                system, best = kind, len(at)

    return {"cpu": cpu, "cores": os.cpu_count(), "memory_mib": memory,
            "kernel": platform.release(), "file_system": system,
            "load_before": os.getloadavg()[0],
            "synced_4k_appends": sync_rate(dir)}


def number(low, high):
    def check(text):
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{low} to {high}")
        return value
    return check


def arguments(**more):
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=number(1, 100), default=5)
    parser.add_argument("--seconds", type=number(1, 600), default=2)
    parser.add_argument("--connections", type=number(1, 256), default=16)

    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)

    args = parser.parse_args()

    if shutil.which("wrk") is None:
        die("wrk is missing: apt-get install wrk")

    os.makedirs(f"{BUILD}/bench", exist_ok=True)
    compiler = os.environ.get("CC", "gcc")
    subprocess.run([compiler, "-std=gnu11", "-O2", "-o",
                    f"{BUILD}/bench/client", f"{HERE}/client.c",
                    "-lpthread"], check=True)

    return args


def head(facts, args, large):
    print(f"{facts['cpu']}, {facts['cores']} cores, "
          f"{facts['memory_mib']} MiB, Linux {facts['kernel']}, "
          f"{facts['file_system']}, {facts['nginx']}, 2 workers")
    print(f"client: wrk and bench/client on the same machine, "
          f"{args.connections} connections ({large[2]} for {large[0]}); "
          f"{args.runs} runs of {args.seconds} s a side, in turn; medians "
          "(lowest .. highest)")


def save(file, **result):
    result["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat()

    with open(f"{BUILD}/bench/{file}", "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")

    print(f"\n{result['took_seconds']:.0f} s; {BUILD}/bench/{file}")
