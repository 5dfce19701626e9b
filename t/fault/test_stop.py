"""Processes that stand still (SIGSTOP), and nginx that is upgraded (USR2),
while clients write and read: whoever is not asked of the one that stands is
served, nothing is lost, and an upgrade fails no request."""

import contextlib
import os
import signal
import threading

import pytest

import s3_server
from conftest import KILLED
from faults import (BUCKET, Client, Load, connections_of, content, poll,
                    serving, wait_settled)
from test_kill import Upload, no_failure, upload_is_there


@contextlib.contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def impatient():
    """Its workers wait for two seconds only."""

    with serving(s3_server.Store(disks=4, parity=2,
                                 location="s3_timeout 2s;"), KILLED) as server:
        yield server


def of_worker(store, connect, pid):
    """A client whose connection is that worker's."""

    while True:
        client = connect(again=False)
        assert client.put(BUCKET, "seen", b"").status == 200
        if client.local_port() in connections_of(pid, store.port):
            return client


def idle(load):
    """Until nothing is answered any more."""

    seen = []

    def same():
        seen.append(load.done)
        return seen[-2:] == [load.done] * 2

    poll("all requests wait", same, 10, 0.3)


def test_worker(store, connect):
    """Who is connected to it waits, and is answered when it goes on; others
    never notice."""

    first, second = store.worker_pids()
    waiting = of_worker(store, connect, first)
    answers = []

    def ask():
        answers.append(waiting.put(BUCKET, "key", content("new", 300_000)))

    thread = threading.Thread(target=ask)

    with stopped(first):
        thread.start()

        other = of_worker(store, connect, second)

        for n in range(50):
            assert other.put(BUCKET, f"k{n}", content(f"{n}", n * 2000)) \
                .status == 200
            answer = other.get(BUCKET, f"k{n}")
            assert answer.body == content(f"{n}", n * 2000)

        assert other.get(BUCKET, "key").status == 404
        assert not answers

    thread.join(30)
    assert answers[0].status == 200, answers
    assert other.get(BUCKET, "key").body == content("new", 300_000)
    wait_settled(store.disks, other.list(BUCKET))


def test_worker_that_stands_at_a_reload(store, connect):
    """New workers serve; it has its answer to give, and leaves, when it goes
    on."""

    old = store.worker_pids()
    waiting = of_worker(store, connect, old[0])
    answers = []

    def ask():
        answers.append(waiting.put(BUCKET, "key", content("new", 300_000)))

    thread = threading.Thread(target=ask)

    with stopped(old[0]):
        thread.start()
        poll("the request is there", lambda: waiting.connection, 10)
        store.reload()
        client = connect()
        assert client.put(BUCKET, "other", b"1").status == 200

    thread.join(30)
    assert answers[0].status == 200, answers
    assert client.get(BUCKET, "key").body == content("new", 300_000)
    poll("it leaves", lambda: old[0] not in store.processes(), 20)
    wait_settled(store.disks, client.list(BUCKET))


def test_store_process(store, connect):
    """For less than clients are made to wait: nothing fails."""

    with Load(connect, BUCKET, seed=31) as load:
        for _ in range(2):
            load.wait(100)

            with stopped(*store.manager_pids()):
                idle(load)

        load.wait(100)

    assert load.repeated == 0
    assert not load.failures, load.failures[:5]
    assert not load.refused, load.refused[:5]
    wait_settled(store.disks, load.verify(connect()))


def test_store_process_for_too_long(impatient):
    """SlowDown; what became of a write is seen later, and is one or the
    other."""

    clients = [Client(impatient.port, s3_server.ACCESS_KEY,
                      s3_server.SECRET_KEY) for _ in range(8)]
    old = content("old", 50_000)
    answers = {}

    def ask(n):
        if n % 2:
            answers[n] = clients[n].get(BUCKET, f"k{n}")
        else:
            answers[n] = clients[n].put(BUCKET, f"k{n}",
                                        content(f"new{n}", 50_000))

    for n, client in enumerate(clients):
        assert client.put(BUCKET, f"k{n}", old).status == 200

    with stopped(*impatient.manager_pids()):
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    for n, answer in sorted(answers.items()):
        assert (answer.status, answer.code) == (503, "SlowDown"), answer
        assert answer.headers["Retry-After"] == "1"

    assert len(answers) == 8

    # what comes now is decided behind what was sent before

    for n, client in enumerate(clients):
        assert client.put(BUCKET, f"later{n}", b"").status == 200
        body = client.get(BUCKET, f"k{n}").body
        assert body == old or n % 2 == 0 \
            and body == content(f"new{n}", 50_000)

    wait_settled(impatient.disks, clients[0].list(BUCKET))

    for client in clients:
        client.close()


def test_upgrade():
    """USR2 and QUIT under load, twice: no request fails."""

    store = s3_server.Store(disks=4, parity=2, daemon=True)

    def connect(**how):
        return Client(store.port, s3_server.ACCESS_KEY, s3_server.SECRET_KEY,
                      **how)

    try:
        store.start()
        store.client().create_bucket(Bucket=BUCKET)

        with Load(connect, BUCKET, seed=32) as load:
            for _ in range(2):
                load.wait(100)
                store.upgrade(lambda: load.wait(50))
            load.wait(100)

        no_failure(load, reloads=2)
        client = connect()
        wait_settled(store.disks, load.verify(client))
        client.close()
        store.stop()
    finally:
        store.stop(check=False)
        store.remove()


def test_upgrade_taken_back():
    """QUIT to the new nginx: the old one's store process, which knew of a
    successor, does its whole duty again."""

    store = s3_server.Store(disks=4, parity=2, daemon=True)

    def connect():
        return Client(store.port, s3_server.ACCESS_KEY, s3_server.SECRET_KEY)

    try:
        store.start()
        store.client().create_bucket(Bucket=BUCKET)
        own = set(store.processes())

        os.kill(store.master, signal.SIGUSR2)
        poll("the new one is there", lambda: len(store.manager_pids()) == 2
             and len(store.worker_pids()) == 2 * store.workers, 20)

        new = int((store.path / "nginx.pid").read_text())
        os.kill(new, signal.SIGQUIT)
        poll("the new one leaves", lambda: set(store.processes()) <= own, 20)

        upload = Upload(store, connect, 6 << 20)
        os.kill(store.master, signal.SIGQUIT)
        poll("workers shut down", lambda: not store.worker_pids(), 10)
        upload.finish()
        upload_is_there(store, upload)
        store.stop()
    finally:
        store.stop(check=False)
        store.remove()
