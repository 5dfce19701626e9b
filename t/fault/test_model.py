"""A store is asked at random, over several connections and two workers, and
each answer compared with those that S3's model (reference.py) allows: one
request at a time, and bursts of requests that want the same keys.  In between
processes are killed, disks are lost, return or are replaced, nginx is reloaded
and upgraded.  In the end everything is read, and s3-store finds it whole.

    S3_MODEL_SEED       of the random numbers; printed
    S3_MODEL_OPS        requests of a long run, and s3-store every 20,000
    S3_MODEL_SECONDS    of the short one; a long one has ended by then
    S3_MODEL_SET        disks,parity instead of what the seed takes
"""

import collections
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as et

import faults
import raw
import reference as ref
import s3_server
from conftest import KILLED
from faults import Failure, KIB, MIB, connections_of, content, poll


SETS = [(5, 2), (4, 2), (3, 1)]
BUCKETS = ["alpha", "beta", "gamma"]
FOLDERS = ["", "a/", "a/b/", "b//", "gr\u00fcn/", "z&<>/"]
CHECKED = 20000        # requests between two looks of s3-store
SETTLED = 60           # seconds for all disks to be whole again
LOST = 2               # seconds after which what was lost is taken for it


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.root = None

    @property
    def xml(self):
        if self.root is None:
            self.root = et.fromstring(self.body)
        return self.root

    @property
    def code(self):
        return self.xml.findtext("Code") if self.body else None

    def element(self, name):
        return self.xml.findtext(name)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:500]!r}>"


class Wire(raw.Connection):
    """A connection that is made anew when its end has come."""

    def __init__(self, store):
        self.store, self.tls, self.socket = store, False, None
        self.host = f"127.0.0.1:{store.port}"
        self.used = False

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def ask(self, op):
        lines = []
        if op.body is not None:
            lines.append(("Content-Length", len(op.body)))

        data = self.head(op.method, op.path, op.query, op.headers, lines,
                         op.payload or raw.UNSIGNED) + (op.body or b"")

        if self.socket and select.select([self.socket], [], [], 0)[0]:
            self.close()

        if self.socket is None:
            self.socket = self.store.connect(timeout=40)
            self.rest = b""
            self.used = False

        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass        # an answer may have come all the same

    def more(self):
        piece = self.socket.recv(262144)
        if not piece:
            raise ConnectionResetError("closed")
        return piece

    def answered(self, op):
        """Its Answer; Failure, with `idle` where nothing at all came over a
        connection that was used before."""

        data = self.rest
        try:
            while b"\r\n\r\n" not in data:
                data += self.more()

            head, _, data = data.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {n.lower(): v for n, _, v in
                       (line.partition(": ") for line in lines)}
            status = int(first.split()[1])
            length = int(headers["content-length"]) \
                if status not in (204, 304) and op.method != "HEAD" else 0
            body = [data]
            left = length - len(data)

            while left > 0:
                body.append(self.more())
                left -= len(body[-1])

            data = b"".join(body)
        except OSError as e:
            self.close()
            failure = Failure(f"{op!r}: {e!r}")
            failure.idle = self.used and not data
            raise failure from e

        self.rest = data[length:]
        self.used = True

        if headers.get("connection") == "close":
            self.close()

        return Answer(status, headers, data[:length])


class Run:
    def __init__(self, store, seed):
        self.store = store
        self.rng = random.Random(seed)
        self.history = ref.History()
        self.wires = [Wire(store) for _ in range(6)]
        self.lost_creates = []
        self.weak = {}           # disk: "away", or "back", not yet whole
        self.counts = collections.Counter()
        self.done = 0
        self.tag = 0
        self.kills = False       # no answer may come
        self.resets = False      # idle connections are closed

    # ---- requests

    @property
    def state(self):
        return self.history.state

    def finish(self, op, wire, alone=True):
        """Takes op's answer, or that none came."""

        try:
            try:
                answer = wire.answered(op)
            except Failure as e:
                if not (e.idle and self.resets and not self.kills):
                    raise
                self.counts["sent again"] += 1
                wire.ask(op)
                answer = wire.answered(op)
        except Failure as e:
            if not self.kills:
                raise ref.Wrong(f"no answer: {e}") from e
            self.counts["no answer"] += 1
            self.gone(op)
            return None

        self.done += 1
        self.counts[type(op).__name__] += 1
        code = answer.code if answer.status in (409, 503) \
            and op.method != "HEAD" else None

        if answer.status == 503:
            self.counts[f"503 {code}"] += 1
            if not self.may_refuse(op):
                raise ref.Wrong(f"{op!r}: {answer!r}")
            if op.reads or code == "ServiceUnavailable":
                self.history.refused(op)
            else:
                self.gone(op)
            return None

        if code == "ConditionalRequestConflict" and not alone:
            self.counts["409"] += 1
            self.history.refused(op)
            return answer

        if isinstance(op, ref.ListUploads) and answer.status == 200:
            self.recognise(op, answer)

        self.history.answered(op, answer)

        if not op.reads and answer.status // 100 == 2:
            self.history.expire(op.begun - LOST)

        return answer

    def gone(self, op):
        if op.reads:
            self.history.refused(op)
            return
        if isinstance(op, ref.Create):
            self.lost_creates.append(op)
        self.history.lost(op, time.monotonic())

    def may_refuse(self, op):
        """Where as many disks are away as a write needs."""

        n, m = self.store.ndisks, self.store.parity
        quorum = n - m if n - m > m else n - m + 1
        away = sum(1 for w in self.weak.values() if w != "back")
        return not op.reads and n - away < quorum

    def recognise(self, op, answer):
        """Uploads whose ids nobody was told."""

        known = {i for w in self.history.worlds
                 if op.bucket in w.state
                 for i in w.state[op.bucket].uploads}

        for key, upload_id in op.seen(answer)[1] - known:
            for create in self.lost_creates:
                if (create.bucket, create.key) == (op.bucket, key):
                    self.history.rename_upload(op.bucket, create.upload_id,
                                               upload_id)
                    create.upload_id = upload_id
                    self.lost_creates.remove(create)
                    break

    def begin(self, op, wire=None):
        wire = wire or self.rng.choice(self.wires)
        op.begun = time.monotonic()
        self.history.sent(op)
        wire.ask(op)
        return wire

    def one(self, op):
        return self.finish(op, self.begin(op))

    def look(self, ops):
        """Reads what ops may have changed."""

        touched = sorted({t for op in ops for t in op.touches},
                         key=repr)
        for t in touched:
            if t[0] == "k" and t[2] is not None:
                self.one(ref.Get(*t[1:]))
            elif t[0] == "b":
                self.one(ref.HeadBucket(t[1]))
            if t[0] in "bu":
                self.one(ref.ListUploads(t[1]))

        for create in list(self.lost_creates):
            if create not in self.history.open():
                self.lost_creates.remove(create)

    # ---- what is asked

    def key(self, bucket=None, there=0.7):
        """(bucket, key), most often of an object that is there."""

        rng = self.rng
        bucket = bucket or rng.choice(BUCKETS)
        found = self.state.get(bucket)

        if found and found.objects and rng.random() < there:
            return bucket, rng.choice(list(found.objects))
        return bucket, rng.choice(FOLDERS) + f"k{rng.randrange(12)}"

    def etag(self, bucket, key):
        """Most often the object's."""

        found = self.state.get(bucket)
        obj = found and found.objects.get(key)
        if obj is None or self.rng.random() < 0.3:
            return f'"{self.rng.getrandbits(128):032x}"'
        return obj.etag

    def body(self, size=None):
        rng = self.rng
        self.tag += 1

        if size is None:
            kind = rng.random()
            if kind < 0.65:
                size = rng.choice([0, 1, 16384, rng.randrange(16384)])
            elif kind < 0.97:
                size = rng.randrange(16385, 200 * KIB)
            else:
                size = rng.randrange(MIB, 3 * MIB)
        return content(f"{self.tag}", size)

    def meta(self):
        rng = self.rng
        meta = {}
        if rng.random() < 0.5:
            meta["content-type"] = rng.choice(["text/plain", "image/png"])
        if rng.random() < 0.2:
            meta["cache-control"] = "no-cache"
        if rng.random() < 0.5:
            meta["x-amz-meta-n"] = str(self.tag)
        return meta

    def conditions(self, bucket, key, chance):
        """Of a write."""

        kind = self.rng.random() / chance
        if kind < 0.5:
            return {"if_none_match": "*"}
        if kind < 1:
            return {"if_match": self.etag(bucket, key)}
        return {}

    def put(self, bucket, key, chance=0.2, size=None):
        rng = self.rng
        return ref.Put(bucket, key, self.body(size), self.meta(),
                       rng.choice([None, None, *ref.CHECKSUMS]),
                       chunked=rng.random() < 0.1,
                       **self.conditions(bucket, key, chance))

    def get(self, bucket, key):
        rng = self.rng
        more = {}
        kind = rng.random()

        if kind < 0.3:
            found = self.state.get(bucket)
            obj = found and found.objects.get(key)
            size = len(obj.body) if obj else 10
            more["first"] = rng.randrange(size + size // 8 + 1)
            if rng.random() < 0.8:
                more["last"] = more["first"] + rng.randrange(size + 100)
        elif kind < 0.4:
            more["if_match"] = self.etag(bucket, key)
        elif kind < 0.5:
            more["if_none_match"] = self.etag(bucket, key)
        elif kind < 0.55:
            more["part"] = rng.randrange(1, 4)

        return ref.Get(bucket, key, head=rng.random() < 0.3, **more)

    def copy(self, bucket, key, chance=0.1):
        source = self.key()
        replace = self.meta() if self.rng.random() < 0.4 else None

        # onto itself only where something changes

        if source == (bucket, key):
            replace = self.meta()

        more = {}
        if self.rng.random() < chance:
            more["source_if_match"] = self.etag(*source)
        return ref.Copy(bucket, key, *source, replace,
                        **self.conditions(bucket, key, chance), **more)

    def uploads(self):
        return [(b, i, u) for b, found in self.state.items()
                for i, u in found.uploads.items() if i[0] != "?"]

    def list(self):
        """A page, and those behind it."""

        rng = self.rng
        args = dict(bucket=rng.choice(BUCKETS),
                    prefix=rng.choice(["", "", *FOLDERS, "a/k"]),
                    delimiter=rng.choice(["", "/", "/", "k"]),
                    max_keys=rng.choice([1, 3, 10, 1000]),
                    version=rng.choice([1, 2, 2]))
        after = self.key(args["bucket"])[1] if rng.random() < 0.2 else ""
        token = None

        for _ in range(30):
            op = ref.List(after=after, token=token, **args)
            answer = self.one(op)
            if answer is None or answer.status != 200 \
                    or answer.element(ref.NS + "IsTruncated") == "false":
                break

            _, _, keys, prefixes = op.seen(answer)
            after = max([k for k, _, _ in keys] + list(prefixes),
                        key=str.encode)
            token = op.token

            # between two pages anything may happen

            if rng.random() < 0.2:
                self.one(self.put(*self.key(args["bucket"]), size=100))

    def multipart(self, bucket=None, key=None):
        """A step of some upload."""

        rng = self.rng
        known = self.uploads()

        if key is not None or len(known) < 3 or rng.random() < 0.1:
            b, k = (bucket, key) if key is not None else self.key(bucket)
            if any((c.bucket, c.key) == (b, k) for c in self.lost_creates):
                return ref.Get(b, k)
            algorithm, type = rng.choice([
                (None, None), (None, None), ("crc32", None),
                ("crc32", "FULL_OBJECT"), ("sha256", None),
                ("crc64nvme", None)])
            return ref.Create(b, k, self.meta(), algorithm, type)

        b, i, u = rng.choice(known)
        kind = rng.random()

        if kind < 0.45:
            source = self.key()
            found = self.state.get(source[0])
            obj = found and found.objects.get(source[1])
            number = rng.randrange(1, 5)

            if rng.random() < 0.2 and obj and obj.body:
                first = rng.randrange(len(obj.body))
                return ref.PartCopy(b, u.key, i, number, source, first,
                                    rng.randrange(first, len(obj.body)))

            size = rng.randrange(300 * KIB)
            if rng.random() < 0.05:
                size = ref.PART_MIN + rng.randrange(100)
            return ref.PartPut(b, u.key, i, number, self.body(size),
                               u.algorithm)

        if kind < 0.6:
            return ref.ListParts(b, u.key, i, rng.choice([1, 2, 1000]),
                                 rng.randrange(3))
        if kind < 0.65:
            return ref.ListUploads(b)
        if kind < 0.72:
            return ref.Abort(b, u.key, i)

        done = self.state[b].done
        if done and rng.random() < 0.1:
            i, ((k, named), _, algorithm) = rng.choice(list(done.items()))
            return ref.Complete(b, k, i, named, algorithm)

        # one part, or those from the first that is large enough

        parts = list(u.parts)
        rng.shuffle(parts)
        large = [p for p in parts if len(p[1].body) >= ref.PART_MIN]
        parts = sorted(large[:2] + parts[:1] if large else parts[:1]) \
            if rng.random() < 0.9 else sorted(parts[:2])
        parts = sorted(dict(parts).items())
        if not parts:
            return ref.ListParts(b, u.key, i)
        return ref.Complete(
            b, u.key, i, [(n, p.etag, p.checksum) for n, p in parts],
            u.algorithm, "*" if rng.random() < 0.2 else None)

    def operation(self):
        rng = self.rng
        kind = rng.random()
        b, k = self.key()

        if kind < 0.26:
            return self.put(b, k)
        if kind < 0.56:
            return self.get(b, k)
        if kind < 0.65:
            return ref.Delete(b, k, self.etag(b, k)
                              if rng.random() < 0.1 else None)
        if kind < 0.68:
            return ref.DeleteObjects(b, [self.key(b)[1] for _ in range(
                rng.randrange(1, 5))])
        if kind < 0.76:
            return self.copy(b, k)
        if kind < 0.93:
            return self.multipart()
        if kind < 0.95:
            return ref.ListBuckets()
        if kind < 0.97:
            return ref.HeadBucket(b)
        if kind < 0.985 or b not in self.state:
            return ref.CreateBucket(b)
        return ref.DeleteBucket(b)

    def burst(self, n=None, kill=None):
        """Some at once, most of them of two keys."""

        rng = self.rng
        keys = [self.key() for _ in range(2)]
        ops = []

        for _ in range(n or rng.randrange(2, 6)):
            b, k = rng.choice(keys)
            kind = rng.random()
            if kind < 0.4:
                op = self.put(b, k, 0.5)
            elif kind < 0.6:
                op = self.get(b, k)
            elif kind < 0.7:
                op = ref.Delete(b, k)
            elif kind < 0.75:
                op = ref.DeleteObjects(b, [k for _, k in keys])
            elif kind < 0.85:
                op = self.copy(b, k, 0.3)
            elif kind < 0.9:
                op = ref.List(b)
            else:
                op = self.multipart()
                if isinstance(op, (ref.PartCopy, ref.ListUploads)):
                    op = ref.Get(b, k)       # two steps; unknown ids
            ops.append(op)

        ops = ref.few(ops)
        wires = rng.sample(self.wires, len(ops))
        waiting = {}

        for op, wire in zip(ops, wires):
            self.begin(op, wire)
            waiting[wire] = op

        if kill:
            kill(waiting)

        while waiting:
            ready = [w for w in waiting if w.socket] or list(waiting)
            came = select.select([w.socket for w in ready], [], [], 40)[0]
            assert came, f"no answer: {list(waiting.values())}"
            for wire in ready:
                if wire.socket in came:
                    self.finish(waiting.pop(wire), wire, alone=False)

        return ops

    def some(self, n):
        """So many steps."""

        for _ in range(n):
            kind = self.rng.random()
            if kind < 0.05:
                self.list()
            elif kind < 0.2:
                self.burst()
            else:
                op = self.operation()
                self.one(op)
                if op.unknown:
                    self.look([op])

    # ---- what happens meanwhile

    def wait_disk(self, disk, member):
        """Requests go on until the store says that it is one, or is none."""

        def noticed():
            self.some(1)
            return faults.is_member(self.store, disk) == member

        poll(f"{disk} is {'a' if member else 'no'} member", noticed,
             SETTLED, 0.02)

    def killing(self, kill):
        """A burst in which kill(waiting) ends processes: who calls it looks
        at its requests when nginx serves again."""

        self.kills = True
        return self.burst(self.rng.randrange(1, 4), kill)

    def pause(self):
        time.sleep(self.rng.choice([0, 0.001, 0.003, 0.01, 0.03]))

    def kill_worker(self):
        def kill(waiting):
            wire = self.rng.choice(list(waiting))
            self.pause()
            for pid in self.store.worker_pids():
                if wire.port in connections_of(pid, self.store.port):
                    os.kill(pid, signal.SIGKILL)
                    poll("it is gone", lambda: pid not in
                         self.store.processes(), 10, 0.001)

        ops = self.killing(kill)
        poll("a new worker", lambda: len(self.store.worker_pids())
             == self.store.workers, 10)
        self.kills = False
        self.look(ops)

    def kill_store(self):
        """No request fails."""

        def kill(waiting):
            self.pause()
            for pid in self.store.manager_pids():
                os.kill(pid, signal.SIGKILL)

        self.burst(3, kill)
        if self.rng.random() < 0.3:      # at its start
            self.burst(2, kill)

    def over(self):
        """The master was killed: the others leave."""

        self.store.process.wait(10)
        poll("all processes are gone", lambda: not self.store.processes(),
             15)
        self.store.process = None

    def kill_master(self):
        def kill(waiting):
            self.pause()
            os.kill(self.store.master, signal.SIGKILL)

        ops = self.killing(kill)
        self.over()
        self.start()
        self.look(ops)

    def kill_all(self):
        def kill(waiting):
            self.pause()
            for pid in self.store.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

        ops = self.killing(kill)
        self.over()
        self.start()
        self.look(ops)

    def start(self):
        self.store.start()
        self.kills = False

        # whatever was not decided by all those processes is not any more

        self.look([o for o in self.history.open()])
        self.history.expire(time.monotonic())

        for wire in self.wires:
            wire.close()

    def restart(self):
        self.store.stop(allow=KILLED)
        self.start()

    def reload(self):
        self.resets = True
        old = set(self.store.worker_pids(old=True))
        self.store.reload(wait=False)
        self.some(20)
        poll("old workers leave", lambda: not old
             & set(self.store.worker_pids(old=True)), 20)
        self.some(2)
        self.resets = False

    def upgrade(self):
        self.resets = True
        self.store.upgrade(lambda: self.some(20))
        self.some(2)
        self.resets = False

    # ---- disks

    def away(self, disk):
        return disk.with_name(disk.name + ".away")

    def lose(self):
        """A disk goes: at most m are away or not whole at a time."""

        if len(self.weak) == self.store.parity:
            self.heal()

        disk = self.rng.choice([d for d in self.store.disks
                                if d not in self.weak])
        self.weak[disk] = "going"
        os.rename(disk, self.away(disk))
        self.wait_disk(disk, member=False)
        self.weak[disk] = "away"

    def bring_back(self):
        gone = [d for d, how in self.weak.items() if how == "away"]
        if not gone:
            return self.lose()

        disk = self.rng.choice(gone)

        if self.rng.random() < 0.4:
            owner = self.away(disk).stat()
            slot = re.search(r'"slot": *(\d+)',
                             (self.away(disk) / "format").read_text())[1]
            disk.mkdir()
            os.chown(disk, owner.st_uid, owner.st_gid)

            # after a restart with several away it must be said which it was

            (disk / "replace").write_text(slot if len(gone) > 1 else "")
            shutil.rmtree(self.away(disk))
            self.counts["replaced"] += 1
        else:
            os.rename(self.away(disk), disk)

        self.weak[disk] = "coming"
        self.wait_disk(disk, member=True)
        self.weak[disk] = "back"

    def heal(self):
        """All disks are there, and hold the same shards."""

        while any(how == "away" for how in self.weak.values()):
            self.bring_back()

        poll("all disks hold the same shards",
             lambda: faults.alike(self.store.disks), SETTLED, 0.1)
        self.weak.clear()

    EVENTS = {"kill_worker": 4, "kill_store": 4, "kill_master": 1,
              "kill_all": 2, "restart": 1, "reload": 2, "upgrade": 1,
              "lose": 4, "bring_back": 3, "heal": 1}

    def event(self, name=None):
        name = name or self.rng.choices(list(self.EVENTS),
                                        self.EVENTS.values())[0]
        self.counts[f"! {name}"] += 1
        getattr(self, name)()

    # ---- the end

    def everything(self):
        """Lists and reads all there is."""

        self.one(ref.ListBuckets())

        for bucket in list(self.state):
            self.one(ref.ListUploads(bucket))
            self.one(ref.List(bucket))

            for upload_id, upload in list(self.state[bucket]
                                          .uploads.items()):
                self.one(ref.ListParts(bucket, upload.key, upload_id))

            for key in list(self.state[bucket].objects):
                self.one(ref.Get(bucket, key))

    def verify(self, tool):
        """s3-store finds everything whole; nginx is stopped for it."""

        self.heal()
        self.everything()
        self.store.stop(allow=KILLED)
        done = subprocess.run([tool, "--json", "verify",
                               *self.store.disks], capture_output=True,
                              text=True, timeout=300)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        bad = [line for line in lines if line["type"] not in
               ("disk", "index", "summary") and
               line.get("verdict") != "whole"]
        assert done.returncode == 0, (done.stderr, bad[:20], lines[-1])

        listed = sorted((line["bucket"], line["key"], line["size"],
                         f'"{line["etag"]}"') for line in lines
                        if line["type"] == "object")
        assert listed == sorted((b, k, len(o.body), o.etag)
                                for b, found in self.state.items()
                                for k, o in found.objects.items())


def test_model(tool):
    seed = os.environ.get("S3_MODEL_SEED") or str(random.getrandbits(32))
    print(f"S3_MODEL_SEED={seed}")
    ops = int(os.environ.get("S3_MODEL_OPS", 0))
    seconds = float(os.environ.get("S3_MODEL_SECONDS",
                                   1e9 if ops else 20))
    rng = random.Random(seed)
    disks, parity = SETS[rng.randrange(len(SETS))]

    if "S3_MODEL_SET" in os.environ:
        disks, parity = map(int, os.environ["S3_MODEL_SET"].split(","))

    print(f"{disks} disks, parity {parity}")
    server = s3_server.Store(disks=disks, parity=parity, daemon=True,
                             server=faults.STATUS)

    try:
        server.start()
        run = Run(server, seed)
        begun = time.monotonic()
        end = begun + seconds
        checked = 0

        # in a short run each event once, in an order of its own

        names = list(Run.EVENTS)
        rng.shuffle(names)

        try:
            while names or time.monotonic() < end \
                    and (not ops or run.done < ops):
                if ops:
                    run.some(rng.randrange(2, 600))
                else:
                    run.some(rng.randrange(2, 40))

                run.event(names.pop() if names else None)

                if run.done - checked > CHECKED:
                    checked = run.done
                    run.verify(tool)
                    run.start()
                    report(run, begun)

            run.verify(tool)
        finally:
            report(run, begun)
    finally:
        server.stop(check=False)
        server.remove()


def report(run, begun):
    seconds = time.monotonic() - begun
    print(f"{run.done} requests in {seconds:.0f} s, "
          f"{run.done / seconds:.0f} a second: "
          + re.sub(r"[{}']", "", str(dict(sorted(run.counts.items())))),
          flush=True)
