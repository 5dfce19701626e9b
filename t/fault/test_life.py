"""Many clients, and everything that goes wrong in a long life at once: nginx
is reloaded every second, workers, the store process and the master are killed,
stopped and continued, nginx is upgraded, as many disks as may be lost go and
come back, a disk is full.  Only requests of killed processes fail, writes are
refused only while a disk is full, and all that was acknowledged is there.

    S3_LIFE_SECONDS     of a long run
    S3_LIFE_SEED        of the clients' and the order's random numbers
"""

import contextlib
import os
import random
import signal
import threading
import time

import pytest

import faults
from conftest import KILLED
from faults import BUCKET, INLINE_MAX, KIB, MIB, Load, connections_of, poll
from small_disk import SmallDisk

HEALED = 60


class Clients(Load):
    """Writes down when what failed was asked, and how long what did not
    took."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seconds = {"GET": [], "PUT": [], "DELETE": []}
        self.began = threading.local()
        self.bad = []        # (from, to, method, port, Failure or Answer)

    def size(self, rng):
        kind = rng.random()
        if kind < 0.6:
            return rng.randrange(INLINE_MAX + 1)
        if kind < 0.97:
            return rng.randrange(INLINE_MAX + 1, 200 * KIB)
        return rng.randrange(MIB, self.large)

    def check(self, client, key):
        self.began.time = time.monotonic()
        super().check(client, key)

    def write(self, client, key, state):
        self.began.time = time.monotonic()
        return super().write(client, key, state)

    def count(self, answer, method):
        super().count(answer, method)
        with self.lock:
            self.seconds[method].append(answer.seconds)

    def failed(self, e):
        self.note(str(e).split()[0], e.port, e)
        super().failed(e)

    def refuse(self, what, answer):
        self.note(what.split()[0], None, answer)
        super().refuse(what, answer)

    def note(self, method, port, what):
        with self.lock:
            self.bad.append((self.began.time, time.monotonic(), method, port,
                             what))


class Life:
    def __init__(self, store, load, rng):
        self.store, self.load, self.rng = store, load, rng
        self.killed = set()      # clients' ports of killed workers
        self.down = []           # (from, to): no master, or none that serves
        self.full = []           # (from, to): a disk is full
        self.reloads = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.reload, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join(60)

    def reload(self):
        """Every second, but when the master is another's matter."""

        while not self.over.wait(1):
            with self.lock:
                self.store.reload(wait=False)
                self.reloads += 1

    def go_on(self, requests=60):
        """Requests are answered, and that right."""

        self.load.wait(requests, 60)

    @contextlib.contextmanager
    def window(self, windows):
        begun = time.monotonic()
        windows.append((begun, float("inf")))
        yield
        windows[-1] = begun, time.monotonic()

    # ---- what happens

    def worker(self, old=False):

        # a process that was just forked has no name yet

        return self.rng.choice(poll(
            "a worker", lambda: self.store.worker_pids(old), 10))

    def kill_worker(self):
        victim = self.worker(old=True)

        # it stands still while it is looked at

        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(victim, signal.SIGSTOP)
            self.killed |= connections_of(victim, self.store.port)
            os.kill(victim, signal.SIGKILL)

        self.go_on()

    def kill_store_process(self):
        for pid in self.store.manager_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.go_on()

    def pause(self, pids, seconds):
        with contextlib.suppress(ProcessLookupError):
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)

        # this long it stands, whatever the others do

        time.sleep(seconds)

        with contextlib.suppress(ProcessLookupError):
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        self.go_on()

    def stop_worker(self):
        self.pause([self.worker()], 1.5)

    def stop_store_process(self):
        self.pause(self.store.manager_pids(), 1.5)

    def kill_master(self):
        with self.lock, self.window(self.down):
            os.kill(self.store.master, signal.SIGKILL)
            self.store.process.wait(10)
            poll("the killed master's children leave",
                 lambda: not self.store.processes(), 20)
            self.store.process = None
            self.store.start()
        self.go_on()

    def upgrade(self):
        with self.lock:
            self.store.upgrade(lambda: self.go_on(20))
        self.go_on()

    def lose_disks(self):
        """As many as may be, of those that can be renamed."""

        disks = self.rng.sample(self.store.disks[:-1], self.store.parity)

        for disk in disks:
            os.rename(disk, f"{disk}.away")
            poll("it is no member",
                 lambda: not faults.is_member(self.store, disk), 20)
        self.go_on()

        for disk in disks:
            os.rename(f"{disk}.away", disk)
            poll("it is a member",
                 lambda: faults.is_member(self.store, disk), 60)
        self.go_on()
        self.heal()

    def heal(self):
        """No other disk may go before these are whole again, which is seen
        when nobody writes.  A store process leaves what others have left in
        tmp/ alone for two seconds, so none has an end meanwhile."""

        self.load.going.clear()
        with self.lock:
            poll("all disks hold the same shards",
                 lambda: faults.alike(self.store.disks), HEALED, 0.2)
        self.load.going.set()

    def fill_disk(self):
        """Reads go on, writes may be refused; then they are not."""

        if not self.store.mounted:
            print("no file system to fill: may not mount")
            return

        refused = len(self.load.refused)
        reads = len(self.load.seconds["GET"])

        with self.window(self.full):
            filler = self.store.fill()

            # what fits into the room that its index has is taken, and shards
            # that have none are written later: not every write is refused

            poll("requests are answered", lambda: len(self.load.refused)
                 - refused + len(self.load.seconds["GET"]) - reads > 60, 60)
            filler.unlink()

            puts = len(self.load.seconds["PUT"])
            poll("writes are taken",
                 lambda: len(self.load.seconds["PUT"]) > puts + 20, 30)
        self.go_on()

    EVENTS = ["kill_worker", "kill_store_process", "stop_worker",
              "stop_store_process", "kill_master", "upgrade", "lose_disks",
              "fill_disk"]

    # ---- what may have failed

    def excused(self, begun, ended, method, port, what):
        def within(windows):
            return any(begun <= b and a <= ended for a, b in windows)

        if isinstance(what, faults.Failure):
            return port in self.killed or within(self.down)

        # without a master all processes leave, and the store process may
        # do so before workers that still have requests

        if what.code == "SlowDown":
            return within(self.down)

        return method == "PUT" and what.code == "ServiceUnavailable" \
            and within(self.full)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


@pytest.fixture
def store():
    with faults.serving(SmallDisk(disks=5, parity=2, daemon=True,
                                  server=faults.STATUS), KILLED) as server:
        yield server


@pytest.mark.timeout(3600)
def test_life(store, connect):
    seed = os.environ.get("S3_LIFE_SEED") or str(random.getrandbits(32))
    print(f"S3_LIFE_SEED={seed}")
    end = time.monotonic() + float(os.environ.get("S3_LIFE_SECONDS", 0))
    begun = time.monotonic()
    rng = random.Random(seed)
    rounds = 0
    events = dict.fromkeys(Life.EVENTS, 0)

    with Clients(connect, BUCKET, threads=8, seed=seed, most=40) as load, \
            Life(store, load, rng) as life:
        load.wait(100)

        while rounds == 0 or time.monotonic() < end:
            rounds += 1
            names = Life.EVENTS + ["kill_worker", "kill_store_process"]
            rng.shuffle(names)

            for name in names:
                events[name] += 1
                print(f"{time.monotonic() - begun:.1f} {name}", flush=True)
                getattr(life, name)()

        life.over.set()
        life.thread.join(60)

    for method, values in load.seconds.items():
        print(f"{method}: {len(values)}, p50 {percentile(values, .5):.3f} s,"
              f" p99 {percentile(values, .99):.3f} s,"
              f" longest {max(values):.3f} s")

    print(f"{time.monotonic() - begun:.0f} s, {life.reloads} reloads, "
          + ", ".join(f"{n} {c}" for n, c in events.items())
          + f"; {len(load.failures)} requests failed, "
          f"{len(load.refused)} were refused, {load.repeated} sent again")

    bad = [b for b in load.bad if not life.excused(*b)]
    assert not bad, bad[:5]

    client = connect()
    objects = load.verify(client)
    print(f"{len(load.known)} keys as acknowledged, {len(load.either)} of "
          "which a write had no answer")
    faults.wait_settled(store.disks, objects, HEALED, strict=False)
