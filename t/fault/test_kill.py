"""Processes are killed in a stream of uploads (invariants 1, 3 and 6): what
was acknowledged is there and equal, nothing else shows, tmp/ is empty in the
end; a reload and the death of the store process fail no request."""

import os
import signal
import time

import pytest

import s3_server
from faults import (BUCKET, Load, connections_of, poll, shards_in_tmp,
                    wait_settled)


# An answer's bound is 10 s; a reload or the store process's death costs
# requests a moment.  Far below the one, and what two loaded cores need

MOMENT = 4

KEY = "key"


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def first_manager(store):
    pids = store.manager_pids()
    return pids[0] if pids else None


def new_manager(store, old):
    return poll("a new cache manager process",
                lambda: [p for p in store.manager_pids() if p != old], 10)


def everything_is_there(store, load, client):
    objects = load.verify(client)
    wait_settled(store.disks, objects)


def no_failure(load, reloads=0):
    """A reload closes idle connections, each at most once; nothing else may
    close one."""

    assert load.repeated <= reloads * len(load.clients)
    assert not load.failures, load.failures[:5]
    assert not load.refused, load.refused[:5]
    assert not load.either
    assert load.slowest < MOMENT


def test_load_alone(store, connect):
    """The load itself: nothing is killed, nothing fails."""

    with Load(connect, BUCKET) as load:
        load.wait(750)

    no_failure(load)
    everything_is_there(store, load, connect())


def test_reload(store, connect):
    with Load(connect, BUCKET, seed=2) as load:
        load.wait(150)

        for _ in range(4):
            store.reload()
            load.wait(150)

    no_failure(load, reloads=4)
    everything_is_there(store, load, connect())


def test_reloads_on_top_of_each_other(store, connect):
    """The next one comes while workers of the one before still finish."""

    with Load(connect, BUCKET, seed=3, large=12 << 20) as load:
        load.wait(100)

        for _ in range(5):
            store.reload(wait=False)
            load.wait(20)

        load.wait(100)

    no_failure(load, reloads=5)
    poll("workers of old configurations leave",
         lambda: len(store.worker_pids(old=True)) == store.workers, 15)
    everything_is_there(store, load, connect())


def test_store_process(store, connect):
    with Load(connect, BUCKET, seed=4) as load:
        load.wait(150)

        for _ in range(4):
            old = poll("a cache manager process",
                       lambda: first_manager(store), 10)
            kill(old)
            new_manager(store, old)
            load.wait(150)

    no_failure(load)
    everything_is_there(store, load, connect())


def test_store_process_at_its_start(store, connect):
    """Killed again before it has recovered, at a few moments of it."""

    with Load(connect, BUCKET, seed=5) as load:
        load.wait(100)

        for after in (0, 0.002, 0.01, 0.03, 0.1):
            old = poll("a cache manager process",
                       lambda: first_manager(store), 10, 0.001)
            kill(old)
            new = new_manager(store, old)[0]

            # not for anything to happen: this is the moment of the kill

            time.sleep(after)
            kill(new)
            new_manager(store, new)

        load.wait(150)

    no_failure(load)
    everything_is_there(store, load, connect())


def test_reload_and_store_process(store, connect):
    """The new one takes over from one that is killed while it hands over."""

    with Load(connect, BUCKET, seed=6) as load:
        load.wait(100)

        for _ in range(3):
            managers = set(store.manager_pids())
            store.reload(wait=False)

            for pid in managers:
                kill(pid)

            load.wait(100)

        poll("one cache manager process",
             lambda: len(store.manager_pids()) == 1, 15)

    no_failure(load, reloads=3)
    everything_is_there(store, load, connect())


def test_worker(store, connect):
    """Requests of that worker fail, no others; a new one serves."""

    failed = 0

    with Load(connect, BUCKET, seed=7, again=False) as load:
        for _ in range(4):
            load.wait(150)

            before = len(load.failures)
            workers = store.worker_pids()
            assert len(workers) == store.workers
            victim = max(workers, key=lambda pid:
                         len(connections_of(pid, store.port)))

            # it stands still while it is looked at

            os.kill(victim, signal.SIGSTOP)
            ports = connections_of(victim, store.port)
            assert ports
            kill(victim)

            poll("a new worker", lambda: victim not in store.worker_pids()
                 and len(store.worker_pids()) == store.workers, 10)
            load.wait(150)

            others = {f.port for f in load.failures[before:]} - ports
            assert not others, load.failures[before:]
            failed += len(load.failures) - before

    # some requests were under way in four kills

    assert 0 < failed
    assert len(load.either) <= failed
    assert not load.refused, load.refused[:5]
    everything_is_there(store, load, connect())


def test_all_workers(store, connect):
    with Load(connect, BUCKET, seed=8) as load:
        for _ in range(2):
            load.wait(150)
            workers = store.worker_pids()

            for pid in workers:
                kill(pid)

            poll("new workers", lambda: not set(workers)
                 & set(store.worker_pids())
                 and len(store.worker_pids()) == store.workers, 10)

        load.wait(150)

    everything_is_there(store, load, connect())


def gone(store):
    """The killed master is reaped; the others leave by themselves."""

    store.process.wait(10)
    poll("the killed master's children leave",
         lambda: not store.processes(), 15)
    store.process = None


def test_master(store, connect):
    with Load(connect, BUCKET, seed=9) as load:
        for _ in range(2):
            load.wait(150)
            kill(store.master_pid())
            gone(store)
            store.start()

        load.wait(150)

    assert not load.refused, load.refused[:5]
    everything_is_there(store, load, connect())


def test_master_started_at_once(store, connect):
    """The new nginx starts over the old one's workers, which still finish
    what they have."""

    with Load(connect, BUCKET, seed=10, large=12 << 20) as load:
        load.wait(150)

        old = store.processes()
        kill(store.master_pid())
        store.process.wait(10)
        store.process = None
        store.start()

        load.wait(150)

        poll("the killed master's children leave",
             lambda: not [p for p in old if os.path.exists(f"/proc/{p}")],
             15)

    everything_is_there(store, load, connect())


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_everything(store, connect, seed):
    """All processes at one blow, as a power cut of which the page cache
    survives (the replay of power cuts looks at those of which it does
    not)."""

    with Load(connect, BUCKET, seed=seed) as load:
        load.wait(300)

        for pid in store.processes():
            try:
                kill(pid)
            except ProcessLookupError:
                pass

        gone(store)

    store.start()
    everything_is_there(store, load, connect())


class Upload:
    """A PUT of KEY of which half is sent, and is on the disks."""

    def __init__(self, store, connect, size):
        self.client = connect()
        self.body = os.urandom(size)
        target, headers = self.client.sign("PUT", f"/{BUCKET}/{KEY}", None,
                                           {})
        headers.setdefault("Host", self.client.host)
        headers["Content-Length"] = str(size)

        self.client.connect()
        self.client.connection.putrequest("PUT", target, skip_host=True,
                                          skip_accept_encoding=True)

        for name, value in headers.items():
            self.client.connection.putheader(name, value)

        self.client.connection.endheaders()
        self.client.connection.send(self.body[:size // 2])
        poll("shards in tmp/", lambda: shards_in_tmp(store.disks), 10)

    def finish(self):
        """It is acknowledged."""

        self.client.connection.send(self.body[len(self.body) // 2:])
        response = self.client.connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        self.client.close()


def upload_is_there(store, upload):
    """When nginx, which has left, is started again."""

    gone(store)
    store.start()

    answer = store.client().get_object(Bucket=BUCKET, Key=KEY)
    assert answer["Body"].read() == upload.body
    wait_settled(store.disks, {KEY: (len(upload.body), None)})


def test_worker_with_an_upload_under_way(store, connect):
    """Half of an object is on the disks when its worker dies: the key stays
    what it was, and what was written is removed."""

    client = connect()
    assert client.put(BUCKET, KEY, b"old" * 10000).status == 200

    upload = Upload(store, connect, 8 << 20).client

    victims = [pid for pid in store.worker_pids()
               if upload.local_port() in connections_of(pid, store.port)]
    assert len(victims) == 1
    kill(victims[0])
    upload.close()

    client.close()      # it may have been that worker's
    answer = client.get(BUCKET, KEY)
    assert answer.status == 200 and answer.body == b"old" * 10000

    objects = client.list(BUCKET)
    assert {k: v[0] for k, v in objects.items()} == {KEY: 30000}
    wait_settled(store.disks, objects)


def test_quit_finishes_an_upload(store, connect):
    """nginx -s quit: what is under way is finished and acknowledged; the
    store process stays for it."""

    upload = Upload(store, connect, 6 << 20)

    os.kill(store.master_pid(), signal.SIGQUIT)
    poll("workers shut down",
         lambda: not store.worker_pids(), 10)

    upload.finish()
    upload_is_there(store, upload)


@pytest.mark.parametrize("end", ["quit", "quit later", "master killed"])
def test_end_at_a_reload(store, connect, end):
    """Told to leave while it hands over to another, which is as well: one of
    the two stays for what is under way."""

    upload = Upload(store, connect, 6 << 20)
    old, = store.manager_pids()
    store.reload(wait=False)
    new = new_manager(store, old)[0]

    if end == "quit later":
        poll("it has left to the other",
             lambda: not os.path.exists(f"/proc/{old}"), 10, 0.001)

    os.kill(store.master_pid(),
            signal.SIGKILL if end == "master killed" else signal.SIGQUIT)
    poll("workers shut down", lambda: not store.worker_pids(), 10)
    poll("one of the two leaves",
         lambda: {old, new} - set(store.manager_pids()), 10)

    upload.finish()
    upload_is_there(store, upload)
