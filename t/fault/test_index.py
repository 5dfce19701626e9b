"""Indexes that are damaged, cut short or gone, found when nginx starts or
while it serves: the disk gets a copy of the others' index, its shards stay,
and no object is missed by anybody."""

import json
import os
import re
import shutil
import sqlite3
import urllib.error
import urllib.request

import pytest

import s3_server
from faults import BUCKET, KIB, MIB, STATUS, Client, Load, check_whole, \
    content, poll, serving
from test_damage import flip, originals, wait_round
from test_disks import check_all, own, put, wait_complete
from test_replace import check_read
from test_store_tool import PAGE, edit_all


COPIED = 30            # seconds for an index to be copied, on a busy machine


@pytest.fixture
def store():
    with serving(s3_server.Store(disks=4, parity=2, server=STATUS)) as server:
        yield server


def long(n):
    return f"long/{n:03}/" + "x" * 600


@pytest.fixture
def objects(store, client):
    """Enough rows for pages of every kind, and shards."""

    objects = {}

    for size in (0, 100, 20 * KIB, 64 * KIB + 1, MIB, 3 * MIB + 3):
        objects[f"size/{size}"] = (f"size/{size}", size)

    for n in range(30):
        objects[long(n)] = (long(n), 2000 + n)
        objects[f"wide/{n}"] = (f"wide/{n}", 12000 + n)

    for key, (tag, size) in objects.items():
        put(client, key, tag, size)

    wait_complete(store, client)
    return objects


def states(store):
    try:
        with urllib.request.urlopen(
                f"http://127.0.0.1:{store.port}/status") as answer:
            disks = json.load(answer)["stores"][0]["disks"]
    except urllib.error.URLError:
        return None              # nginx has just been started

    return [(d["state"], d["slot"], d["reason"]) for d in disks]


def copies(store, disk):
    return store.log().count(f'disk "{disk}" has a fresh copy of the index')


def members(store):
    return [s[0] for s in states(store) or []] == 4 * ["member"]


def wait_copied(store, disk, before=0):
    poll(f"{disk} has a copy", lambda: copies(store, disk) > before, COPIED)
    poll("all are members", lambda: members(store), COPIED)


def one_file(store):
    """All rows are in index.db, on all disks alike; no log."""

    owner = (store.disks[0] / "index.db").stat()
    edit_all(store.disks)

    for disk in store.disks:
        own(disk, owner)


def page_of(disk, table, kind):
    """Number, from 0, of the table's last page of that kind."""

    db = sqlite3.connect(f"file:{disk / 'index.db'}?immutable=1", uri=True)

    try:
        (number,), = db.execute(
            "SELECT max(pageno) FROM dbstat WHERE name = ? AND pagetype = ?",
            (table, kind))
    finally:
        db.close()

    assert number, f"no page of {table} that is {kind}"
    return number - 1


def damage_page(disk, table, kind):
    flip(disk / "index.db", page_of(disk, table, kind) * PAGE + 3000)


def cut(disk, name, part):
    path = disk / name
    os.truncate(path, int(path.stat().st_size * part))


def rot(path):
    """A byte of every page, or frame."""

    with open(path, "r+b") as f:
        for at in range(500, path.stat().st_size, PAGE):
            byte = os.pread(f.fileno(), 1, at)[0]
            os.pwrite(f.fileno(), bytes([byte ^ 0x40]), at)


def page(table, kind):
    return lambda disk: damage_page(disk, table, kind)


# Two disks at a time; readers find what is not found by who opens it.  With a
# log: it must not be taken for the new index's.

DAMAGES = {
    "no log": [
        (lambda d: flip(d / "index.db", 1000), page("state", "leaf")),
        (lambda d: flip(d / "index.db", 50), lambda d: rot(d / "index.db")),
        (page("object", "internal"), page("object", "leaf")),
        (page("inline", "internal"), page("inline", "overflow")),
        (page("data", "leaf"), page("inline", "leaf")),
    ],
    "log": [
        (lambda d: cut(d, "index.db", 0), lambda d: cut(d, "index.db", 0.5)),
        (lambda d: cut(d, "index.db", 0.0001),
         lambda d: (d / "index.db").unlink()),
    ],
}


@pytest.mark.parametrize("log", DAMAGES)
def test_found(store, client, tool, objects, log):
    for n, damages in enumerate(DAMAGES[log]):
        store.stop()
        one_file(store)

        if log == "log":
            store.start()
            client.close()

            # its pages are others than those of a copy

            for i in range(15):
                key = f"new/{n}/{i}"
                objects[key] = (key, 2000)
                put(client, key, *objects[key])

            for key in [k for k in objects if "long/" in k][:10]:
                assert client.delete(BUCKET, key).status == 204
                del objects[key]

            wait_complete(store, client)
            store.stop()

        shards = {p: p.stat().st_ino for p in originals(store)}
        disks = [store.disks[(n + i) % 4] for i in (0, 1)]
        before = [copies(store, d) for d in disks]

        for disk, damage in zip(disks, damages):
            if log == "log":
                assert (disk / "index.db-wal").stat().st_size > PAGE
            damage(disk)

        store.start()
        client.close()

        def found():
            check_read(client, objects)
            return all(copies(store, d) > b for d, b in zip(disks, before))

        try:
            poll("they have copies", found, COPIED)
            poll("all are members", lambda: members(store), COPIED)
        except AssertionError as e:
            raise AssertionError(f"{n}: {e}") from e

        check_read(client, objects)
        assert [copies(store, d) - 1 for d in disks] == before
        assert {p: p.stat().st_ino for p in originals(store)} == shards
        assert not any((d / "copy").exists() for d in disks)

    wait_complete(store, client)
    check_all(client, objects)
    store.stop()
    check_whole(tool, store)


LIVE = {
    "index gone": lambda d: (d / "index.db").unlink(),
    "log cut": lambda d: os.truncate(d / "index.db-wal", 0),
    "log rots": lambda d: rot(d / "index.db-wal"),
}


def test_while_clients_write(store, client, connect, tool, objects):
    with Load(connect, BUCKET, seed=7) as load:
        for n, (name, damage) in enumerate(LIVE.items()):
            disk = store.disks[n]
            before = copies(store, disk)
            load.wait(30)
            damage(disk)

            try:
                wait_copied(store, disk, before)
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from e

    assert not load.refused, load.refused[:3]
    assert not load.failures, load.failures[:3]
    assert len(load.known) > 10

    for key, (tag, size) in objects.items():
        load.known[key] = (tag, size)

    load.verify(client)
    wait_complete(store, client)
    store.stop()
    check_whole(tool, store)


def test_older_index(store, client, tool, objects):
    """That opens well: its log is gone, or it is another disk's.  It is
    brought forward like that of any disk that was away."""

    first, second = store.disks[0], store.disks[1]
    store.stop()
    one_file(store)
    shutil.copy(first / "index.db", first / "saved")
    owner = (first / "index.db").stat()
    store.start()
    client.close()

    for n in range(5):
        objects[f"later/{n}"] = (f"later/{n}", 20 * KIB)
        put(client, f"later/{n}", *objects[f"later/{n}"])

    wait_complete(store, client)
    store.stop()
    (first / "index.db-wal").unlink()
    os.rename(first / "saved", first / "index.db")

    for name in ("index.db", "index.db-wal"):
        shutil.copy(store.disks[2] / name, second / name)

    own(first, owner)
    own(second, owner)
    store.start()
    client.close()
    check_all(client, objects)
    put(client, "last", "last", 100)
    objects["last"] = ("last", 100)
    poll("all are members", lambda: members(store), COPIED)
    check_all(client, objects)
    wait_complete(store, client)
    store.stop()
    check_whole(tool, store)


def test_as_many_as_may_be_lost(store, client, tool, objects):
    """And one more: nothing is served, and nothing made up."""

    store.stop()
    saved = [d.with_name(d.name + ".index") for d in store.disks[:3]]

    for disk, path in zip(store.disks, saved):
        os.rename(disk / "index.db", path)

    store.start(wait=False)
    poll("they wait for a copy", lambda: states(store) == [
        ("behind", n, "its index is damaged") for n in range(3)]
        + [("waiting", 3, "too few disks are there")], COPIED)
    answer = client.get(BUCKET, "size/100")
    assert answer.status == 503, answer
    store.stop()
    assert not any((d / "index.db").exists() for d in store.disks[:3])

    # one of the three is found again: these are k

    os.rename(saved[1], store.disks[1] / "index.db")
    store.start()
    client.close()
    wait_copied(store, store.disks[0])
    wait_copied(store, store.disks[2])
    check_read(client, objects)
    put(client, "last", "last", MIB)
    objects["last"] = ("last", MIB)
    wait_complete(store, client)
    check_all(client, objects)
    store.stop()
    check_whole(tool, store)


@pytest.fixture
def scrubbed():
    with serving(s3_server.Store(disks=4, parity=2, server=STATUS,
                                 http="s3_scrub 1s rate=900m;")) as server:
        yield server


def test_scrub(scrubbed, tool):
    """Pages that nobody reads: of a table that no client has use for, and
    free ones; what the log has is no damage."""

    store = scrubbed
    client = Client(store.port, s3_server.ACCESS_KEY, s3_server.SECRET_KEY)
    objects = {f"wide/{n}": (f"wide/{n}", 12000 + n) for n in range(40)}

    for key, (tag, size) in objects.items():
        put(client, key, tag, size)

    for n in range(20):
        assert client.delete(BUCKET, f"wide/{n}").status == 204
        del objects[f"wide/{n}"]

    wait_complete(store, client)
    store.stop()
    one_file(store)

    db = sqlite3.connect(f"file:{store.disks[0] / 'index.db'}?immutable=1",
                         uri=True)
    used = {n for n, in db.execute("SELECT pageno FROM dbstat")}
    pages = (store.disks[0] / "index.db").stat().st_size // PAGE
    db.close()
    free = max(set(range(1, pages + 1)) - used)

    damage_page(store.disks[0], "part", "leaf")
    flip(store.disks[1] / "index.db", (free - 1) * PAGE + 3000)
    store.start()
    client.close()

    for disk, n in zip(store.disks,
                       [page_of(store.disks[2], "part", "leaf") + 1, free]):
        wait_copied(store, disk)
        assert f'disk "{disk}": page {n} of its index is damaged' \
            in store.log()

    # one that every batch writes: what the log has of it is written there

    store.stop()
    one_file(store)
    at = page_of(store.disks[2], "state", "leaf") * PAGE
    store.start()
    client.close()
    put(client, "new", "new", 3000)
    objects["new"] = ("new", 3000)

    path = store.disks[2] / "index.db"
    flip(path, at + 3000)
    damaged = path.read_bytes()[at:at + PAGE]
    poll("it is written", lambda: path.read_bytes()[at:at + PAGE] != damaged,
         COPIED)

    # the end is lost, which nobody has read

    os.truncate(store.disks[3] / "index.db", pages // 2 * PAGE)
    wait_copied(store, store.disks[3])
    n = pages // 2 + 1
    assert f'disk "{store.disks[3]}": page {n} of its index is damaged' \
        in store.log()
    wait_round(store)

    assert len(re.findall(r"page \d+ of its index", store.log())) == 3
    check_all(client, objects)
    client.close()
    store.stop()
    check_whole(tool, store)


def test_no_other_to_copy_from():
    """The only disk there is: what its index still has is served."""

    with s3_server.Store(disks=1, parity=0,
                         http="s3_scrub 1s rate=900m;") as store:
        store.client().create_bucket(Bucket=BUCKET)
        client = Client(store.port, s3_server.ACCESS_KEY,
                        s3_server.SECRET_KEY)

        for n in range(30):
            put(client, f"wide/{n}", f"wide/{n}", 12000)

        put(client, "large", "large", MIB)
        store.stop()
        one_file(store)

        # the last data that was put there: some of them go

        damage_page(store.disks[0], "inline", "overflow")
        store.start()
        client.close()

        # the scrub says so, goes on, and leaves the disk where it is

        wait_round(store)
        assert "of its index is damaged" in store.log()
        assert "is dropped" not in store.log()
        there = {f"wide/{n}": (f"wide/{n}", 12000) for n in range(30)}
        lost = set()

        for key, (tag, size) in there.items():
            def answered():
                answer = client.get(BUCKET, key)
                if answer.status == 200:
                    assert answer.body == content(tag, size)
                    return True

                # the disk was just dropped for another, or is for this one

                assert answer.status in (500, 503), answer
                tries.append(key)
                return len(tries) > 4

            tries = []
            poll("an answer", answered, COPIED, 0.6)

            if len(tries) > 4:
                lost.add(key)

        assert 0 < len(lost) < 10, lost
        check_read(client, {"large": ("large", MIB)})
        client.close()


@pytest.mark.parametrize("damage", ["gone", "a bit"])
def test_format_file(store, client, damage):
    """Whose disk it is cannot be known without: it is left alone, whatever
    its index says."""

    put(client, "key", "key", MIB)
    wait_complete(store, client)
    store.stop()
    disk = store.disks[2]
    saved = disk.with_name("format.saved")
    shutil.copy2(disk / "format", saved)
    index = (disk / "index.db").stat()

    if damage == "gone":
        (disk / "format").unlink()
    else:
        flip(disk / "format", (disk / "format").stat().st_size // 2)

    store.start()
    client.close()
    put(client, "other", "other", MIB)
    check_all(client, {"key": ("key", MIB), "other": ("other", MIB)})

    why = "is not empty and has no format file" if damage == "gone" \
        else "is left out: its format file is damaged"

    poll("the log says so", lambda: f'disk "{disk}" {why}' in store.log(), 5)

    store.stop()
    assert (disk / "index.db").stat() == index
    (disk / "format").unlink(missing_ok=True)
    shutil.move(saved, disk / "format")
    own(disk, (disk / "index.db").stat())
    store.start()
    client.close()
    poll("all are members", lambda: members(store), COPIED)
    wait_complete(store, client)
