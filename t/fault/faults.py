"""What the fault tests share: a client that knows what has failed, a load
whose every result is written down, and looks at the disks from outside."""

import contextlib
import http.client
import json
import os
import random
import re
import select
import socket
import subprocess
import threading
import time
import urllib.parse
import xml.etree.ElementTree as et

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KIB = 1 << 10
MIB = 1 << 20

INLINE_MAX = 16384
BUCKET = "bucket"
XMLNS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@contextlib.contextmanager
def serving(server, allow=()):
    """Starts it, and makes a bucket; in the end it is gone, and its log is
    looked at as stop() does."""

    try:
        server.start()
        server.client().create_bucket(Bucket=BUCKET)
        yield server
        server.stop(allow=allow)
    finally:
        server.stop(check=False)
        server.remove()


def check_whole(tool, store):
    """By code that shares nothing with the module, while nginx is away."""

    done = subprocess.run([tool, "verify", *store.disks], timeout=100,
                          capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])


def poll(what, check, timeout, interval=0.05):
    """Returns check()'s first true value; fails with its last one."""

    end = time.monotonic() + timeout

    while True:
        value = check()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(interval)


# Bytes that are told apart by their tag at any place: no unit or stripe of
# one content can stand in for another's

_NOISE = random.Random(3).randbytes(MIB)


def content(tag, size):
    """size bytes of their own for each tag (any text)."""

    seed = random.Random(tag)
    out = bytearray()

    while len(out) < size:
        cut = seed.randrange(MIB)
        out += seed.randbytes(16)
        out += _NOISE[cut:]
        out += _NOISE[:cut]

    return bytes(out[:size])


class Signature(S3SigV4Auth):
    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


class Failure(Exception):
    """No answer came, or not all of it."""

    def __init__(self, text, port=None):
        super().__init__(text)
        self.port = port


class Answer:
    def __init__(self, status, headers, body, seconds):
        self.status = status
        self.headers = headers
        self.body = body
        self.seconds = seconds

    @property
    def code(self):
        """S3's code of an error."""

        if not self.body:
            return None
        return et.fromstring(self.body).findtext("Code")

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """One keepalive connection (keep), or one for each request.

    A server may close an idle connection at any time (RFC 9112, section
    9.5), also just when a request is on its way to it.  Hence (again) a
    request on a connection that was used before, of which not one byte of an
    answer came, is sent once more on a new one, and counted in `repeated`.
    Nothing else is ever tried twice."""

    def __init__(self, port, access_key, secret_key, timeout=40, keep=True,
                 again=True):
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.timeout = timeout
        self.credentials = Credentials(access_key, secret_key)
        self.keep = keep
        self.again = again
        self.repeated = 0
        self.connection = None
        self.used = False

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None
        self.used = False

    def local_port(self):
        if self.connection is None or self.connection.sock is None:
            return None
        return self.connection.sock.getsockname()[1]

    def sign(self, method, path, query, headers):
        url = f"http://{self.host}{urllib.parse.quote(path)}"
        if query:
            url += "?" + urllib.parse.urlencode(query,
                                                quote_via=urllib.parse.quote)

        request = AWSRequest(method, url, headers=headers)
        Signature(self.credentials, "s3", "us-east-1").add_auth(request)
        return url[len(f"http://{self.host}"):], dict(request.headers)

    def connect(self):
        self.connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=self.timeout)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP,
                                        socket.TCP_NODELAY, 1)
        self.used = False

    def begin(self, method, path, query=None, headers=None, body=None):
        """Sends the request; the answer's body is not read."""

        target, signed = self.sign(method, path, query, headers or {})

        # an end that has come already is no request's failure

        if self.used and select.select([self.connection.sock], [], [], 0)[0]:
            self.close()

        while True:
            used = self.used
            port = None
            try:
                if self.connection is None:
                    self.connect()
                port = self.local_port()
                self.connection.request(method, target, body=body,
                                        headers=signed)
                response = self.connection.getresponse()
                break
            except (OSError, http.client.HTTPException) as e:
                self.close()

                # RemoteDisconnected: closed before the first byte

                if used and self.again \
                        and isinstance(e, (http.client.RemoteDisconnected,
                                           ConnectionResetError,
                                           BrokenPipeError)):
                    self.repeated += 1
                    continue
                raise Failure(f"{method} {path}: {e!r}", port) from e

        self.used = True
        return response

    def request(self, method, path, query=None, headers=None, body=None):
        start = time.monotonic()
        response = self.begin(method, path, query, headers, body)
        port = self.local_port()

        try:
            data = response.read()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Failure(f"{method} {path}: {e!r} in the body", port) from e

        if response.will_close or not self.keep:
            self.close()

        return Answer(response.status, dict(response.getheaders()), data,
                      time.monotonic() - start)

    def put(self, bucket, key, body):
        return self.request("PUT", f"/{bucket}/{key}", body=body)

    def get(self, bucket, key, first=None, last=None):
        headers = {}
        if first is not None:
            headers["Range"] = f"bytes={first}-{last}"
        return self.request("GET", f"/{bucket}/{key}", headers=headers)

    def delete(self, bucket, key):
        return self.request("DELETE", f"/{bucket}/{key}")

    def list(self, bucket):
        """Every object's size and ETag by key."""

        objects = {}
        query = {"list-type": "2", "max-keys": "400"}

        while True:
            answer = self.request("GET", f"/{bucket}", query)
            assert answer.status == 200, answer
            page = et.fromstring(answer.body)

            for entry in page.iter(XMLNS + "Contents"):
                key = entry.findtext(XMLNS + "Key")
                assert key not in objects, f"listed twice: {key}"
                objects[key] = (int(entry.findtext(XMLNS + "Size")),
                                entry.findtext(XMLNS + "ETag"))

            token = page.findtext(XMLNS + "NextContinuationToken")
            if not token:
                return objects
            query["continuation-token"] = token


class Load:
    """Threads that put, overwrite, delete and read, each its own keys, and
    write down what was answered.

    A key's state is known from acknowledgements alone.  After a request that
    failed it may be the old or the new one (and the request may take effect
    yet): such a key is left alone from there on, with both in `either`.

    most: keys that a thread has at a time.
    """

    def __init__(self, connect, bucket, threads=6, seed=1, large=3 * MIB,
                 again=True, most=None):
        # every other one without keepalive, where no failure has an excuse

        self.clients = [connect(keep=n % 2 == 0, again=again)
                        for n in range(threads)]
        self.bucket = bucket
        self.large = large
        self.most = most
        self.going = threading.Event()
        self.going.set()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.known = {}          # key: (tag, size), or None: deleted
        self.either = {}         # key: the states it may be in
        self.failures = []       # Failure
        self.refused = []        # (request, Answer)
        self.wrong = []          # what must never be
        self.slowest = 0
        self.done = 0
        self.threads = [
            threading.Thread(target=self.run, args=(client, n, seed),
                             name=f"load-{n}", daemon=True)
            for n, client in enumerate(self.clients)]

    @property
    def repeated(self):
        return sum(c.repeated for c in self.clients)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self.going.set()
        for t in self.threads:
            t.join(60)
        assert not any(t.is_alive() for t in self.threads), "a request hangs"

    def wait(self, requests, timeout=30):
        """Until so many more were acknowledged."""

        target = self.done + requests
        poll(f"{requests} requests acknowledged",
             lambda: self.done >= target or self.wrong, timeout)
        assert not self.wrong, "\n".join(map(str, self.wrong[:5]))

    def size(self, rng):
        kind = rng.random()

        if kind < 0.5:
            return rng.randrange(INLINE_MAX + 1)
        if kind < 0.8:
            return rng.randrange(INLINE_MAX + 1, 256 * KIB)
        return rng.randrange(MIB, self.large)

    def run(self, client, thread, seed):
        rng = random.Random(f"{seed}-{thread}")
        mine = []
        count = 0

        while not self.stopping.is_set():
            self.going.wait()
            count += 1
            kind = rng.random()

            if kind < 0.3 and mine:
                self.check(client, rng.choice(mine))
                continue

            if kind < 0.45 and mine:
                key, state = rng.choice(mine), None
            elif mine and (kind < 0.7 or len(mine) == self.most):
                key = rng.choice(mine)
                state = (f"{key}#{count}", self.size(rng))
            else:
                key = f"t{thread}/k{count}"
                state = (f"{key}#{count}", self.size(rng))

            if not self.write(client, key, state):
                if key in mine:
                    mine.remove(key)
            elif key not in mine:
                mine.append(key)

        client.close()

    def check(self, client, key):
        state = self.known[key]

        try:
            answer = client.get(self.bucket, key)
        except Failure as e:
            self.failed(e)
            return

        if answer.status == 503:
            self.refuse(f"GET {key}", answer)
            return

        self.count(answer, "GET")

        if not matches(answer, state):
            with self.lock:
                self.wrong.append(f"GET {key}: not {state}: {answer}")

    def write(self, client, key, state):
        """True: acknowledged."""

        try:
            if state is None:
                answer = client.delete(self.bucket, key)
            else:
                answer = client.put(self.bucket, key, content(*state))
        except Failure as e:
            self.failed(e)
            self.open(key, state)
            return False

        if answer.status == (204 if state is None else 200):
            with self.lock:
                self.known[key] = state
            self.count(answer, "DELETE" if state is None else "PUT")
            return True

        if answer.status == 503:
            self.refuse(f"{'DELETE' if state is None else 'PUT'} {key}",
                        answer)
        else:
            with self.lock:
                self.wrong.append(f"write {key}: {answer}")

        self.open(key, state)
        return False

    def count(self, answer, method):
        with self.lock:
            self.done += 1
            self.slowest = max(self.slowest, answer.seconds)

    def failed(self, e):
        with self.lock:
            self.failures.append(e)

        # a server that is down refuses at once; the load is not to spin

        self.stopping.wait(0.05)

    def refuse(self, what, answer):
        with self.lock:
            self.refused.append((what, answer))
        self.stopping.wait(0.05)

    def open(self, key, state):
        with self.lock:
            self.either[key] = [self.known.pop(key, None), state]

    def verify(self, client):
        """After the load: every key is in a state it may be in, wholly, and
        the list says what GET says.  Returns the listed objects."""

        assert not self.wrong, "\n".join(map(str, self.wrong[:5]))

        found = {}
        allowed = {**{k: [s] for k, s in self.known.items()}, **self.either}

        for key, states in allowed.items():
            answer = client.get(self.bucket, key)
            assert any(matches(answer, s) for s in states), \
                f"{key}: {answer}, may be {states}"
            if answer.status == 200:
                found[key] = (len(answer.body), answer.headers["ETag"])

        listed = client.list(self.bucket)
        assert listed == found, (
            f"listed and not there: {sorted(set(listed) - set(found))[:5]}, "
            f"there and not listed: {sorted(set(found) - set(listed))[:5]}")
        return listed


def matches(answer, state):
    if state is None:
        return answer.status == 404 and answer.code == "NoSuchKey"
    return answer.status == 200 and answer.body == content(*state)


# ---- what the store says of itself

STATUS = "location = /status { s3_status; }"


def status(store):
    """The first store's, of s3_status (a server with STATUS)."""

    connection = http.client.HTTPConnection("127.0.0.1", store.port,
                                            timeout=40)
    try:
        connection.request("GET", "/status",
                           headers={"Accept": "application/json"})
        return json.loads(connection.getresponse().read())["stores"][0]
    finally:
        connection.close()


def is_member(store, disk):
    return any(d["path"] == str(disk) and d["state"] == "member"
               for d in status(store)["disks"])


# ---- the disks, from outside

_NAME = re.compile(r"[0-9a-f]{32}\Z")
_NEW = re.compile(r"\.[0-9a-f]{32}\.new\Z")


def shard_files(disk):
    """Names of the shards in data/."""

    names = set()

    for folder, _, files in os.walk(os.path.join(disk, "data")):
        names.update(files)
    return names


def shards_in_tmp(disks):
    """Shards under way, on any disk; a walk that does not mind renames."""

    return [name for d in disks
            for _, _, files in os.walk(os.path.join(d, "tmp"))
            for name in files if _NAME.match(name)]


def locked(path):
    """Somebody holds a flock() of it; to try would be to hold it oneself,
    and in the way."""

    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return False

    name = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:" \
           f"{stat.st_ino}"

    with open("/proc/locks") as f:
        return any("FLOCK" in line and "->" not in line
                   and line.split()[5] == name for line in f)


def tmp_left(disk, strict):
    """What stands in tmp/ beyond session directories that a living process
    holds the lock of, with nothing but the lock in them.  Not strict: of
    which one may have held it, before the disk was away.  Nor .SESSION.new,
    which a worker leaves that dies as it makes its session: nothing removes
    that yet (docs/reliability.md)."""

    tmp = os.path.join(disk, "tmp")
    left = []

    for name in os.listdir(tmp):
        path = os.path.join(tmp, name)
        try:
            files = os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            files = None

        if files == ["lock"] and _NAME.match(name) \
                and (not strict or locked(path + "/lock")):
            continue

        if files is None and not os.path.exists(path):
            continue

        if files in ([], ["lock"]) and _NEW.match(name):
            continue

        left.append((path, files))

    return left


def settled(disks, objects, strict):
    """None where every disk holds exactly one shard of every listed object
    that has shards, and nothing is left in tmp/; else what is wrong."""

    want = sum(1 for size, _ in objects.values() if size > INLINE_MAX)
    sets = [shard_files(d) for d in disks]

    for disk, names in zip(disks, sets):
        left = tmp_left(disk, strict)
        if left:
            return f"tmp: {left[:3]}"
        if names != sets[0]:
            return f"{disk} and {disks[0]} differ: " \
                   f"{sorted(names ^ sets[0])[:5]}"
        if len(names) != want:
            return f"{disk}: {len(names)} shards of {want} objects"

    return None


def alike(disks):
    """Every disk has the same shards, and nothing is under way."""

    sets = [shard_files(d) for d in disks]
    return all(s == sets[0] for s in sets) \
        and not any(tmp_left(d, strict=False) for d in disks)


def wait_settled(disks, objects, timeout=15, strict=True):
    last = None

    def check():
        nonlocal last
        last = settled(disks, objects, strict)
        return last is None

    try:
        poll("tmp/ empty, data/ complete", check, timeout, 0.1)
    except AssertionError as e:
        raise AssertionError(f"{e}: {last}") from None


def connections_of(pid, port):
    """The clients' ports of the connections to port that a process holds."""

    inodes = set()

    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])

    ports = set()

    with open("/proc/net/tcp") as f:
        next(f)
        for line in f:
            fields = line.split()
            local = int(fields[1].rsplit(":", 1)[1], 16)
            if local == port and fields[9] in inodes:
                ports.add(int(fields[2].rsplit(":", 1)[1], 16))

    return ports
