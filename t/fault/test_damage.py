"""Shards that rot, are cut short or vanish while nginx runs: readers get the
right bytes, and the shard is written anew, byte for byte what it was; what
cannot be healed is left alone until it can."""

import contextlib
import json
import os
import re
import urllib.request

import pytest

import s3_server
from faults import BUCKET, KIB, MIB, Client, content, poll, shard_files
from test_disks import (away, check_object, move_away, move_back, put,
                        wait_back, wait_complete, wait_noticed)


HEALED = 20            # seconds
SIZE = 3 * MIB + 1


def shard(disk, name):
    return disk / "data" / name[:2] / name


def originals(store):
    """{path: bytes} of all shards that are in their final places."""

    return {path: path.read_bytes() for d in store.disks
            for path in d.glob("data/??/" + 32 * "[0-9a-f]")}


def number(bytes):
    """Of the shard; the footer says it (docs/format.md)."""

    return bytes[len(bytes) - 4096 + 14]


def talk(store):
    return contextlib.closing(Client(store.port, s3_server.ACCESS_KEY,
                                     s3_server.SECRET_KEY))


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x40]))


# what happens to a file, given its length

DAMAGE = {
    "first byte": lambda path, n: flip(path, 0),
    "a byte in the middle": lambda path, n: flip(path, n // 2),
    "table": lambda path, n: flip(path, n - 8000),
    "footer": lambda path, n: flip(path, n - 4096 + 20),
    "padding of the footer": lambda path, n: flip(path, n - 100),
    "cut short": lambda path, n: os.truncate(path, n - 4096),
    "empty": lambda path, n: os.truncate(path, 0),
    "longer": lambda path, n: os.truncate(path, n + 4096),
    "gone": lambda path, n: os.unlink(path),
}


def wait_healed(files):
    def healed():
        return all(p.exists() and p.read_bytes() == b
                   for p, b in files.items())

    poll("what is damaged is written anew", healed, HEALED)


@pytest.fixture
def idle(store, client):
    """An object, all of whose shards are in place."""

    put(client, "key", "key", SIZE)
    wait_complete(store, client)

    return originals(store)


@pytest.mark.parametrize("how", DAMAGE)
def test_reading_repairs(store, client, idle, how):
    """Both shards of data, of which a reader reads; those of parity are for
    the scrub to find."""

    damaged = {p: b for p, b in idle.items() if number(b) < 2}
    assert len(damaged) == 2

    for path, bytes in damaged.items():
        DAMAGE[how](path, len(bytes))

    check_object(client, "key", "key", SIZE)
    wait_healed(damaged)

    assert originals(store) == idle
    check_object(client, "key", "key", SIZE)


@pytest.fixture
def scrubbed():
    """Makes stores that are scrubbed."""

    servers = []

    def make(how):
        server = s3_server.Store(
            disks=4, parity=2, http=f"s3_scrub {how};",
            server="location = /status { s3_status; }")
        servers.append(server)
        server.start()
        server.client().create_bucket(Bucket=BUCKET)
        return server

    try:
        yield make
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.stop(check=False)
            server.remove()


def status(store):
    with urllib.request.urlopen(
            f"http://127.0.0.1:{store.port}/status") as answer:
        return json.load(answer)["stores"][0]["counts"]


def rounds(store):
    return len(re.findall(r'disk "[^"]*" is scrubbed', store.log()))


def wait_round(store):
    """Until each disk has had a whole round from here on."""

    before = rounds(store)
    poll("a round", lambda: rounds(store) >= before + 2 * len(store.disks),
         HEALED)


def test_scrub_repairs(scrubbed):
    """What nobody reads: every way of damage, in objects of all kinds."""

    store = scrubbed("1s rate=900m")
    s3 = store.client()

    for n in range(len(DAMAGE)):
        s3.put_object(Bucket=BUCKET, Key=f"object {n}",
                      Body=content(f"object {n}", 200 * KIB + n))

    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")
    name = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload["UploadId"]}
    body = content("part", 5 * MIB)
    parts = [{"PartNumber": n, "ETag": s3.upload_part(
        **name, PartNumber=n, Body=body)["ETag"]} for n in (1, 2)]

    poll("all shards are in place",
         lambda: len(originals(store)) == 4 * (len(DAMAGE) + 2)
         and not store.tmp_files(), HEALED)

    idle = originals(store)

    # two of each id's four, each way once at least

    damaged = {}
    seen = {}

    for path, bytes in sorted(idle.items()):
        n = seen.setdefault(path.name, len(seen))

        if sum(p.name == path.name for p in damaged) < 2:
            damaged[path] = bytes
            list(DAMAGE.values())[n % len(DAMAGE)](path, len(bytes))

    wait_healed(damaged)
    assert originals(store) == idle

    s3.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=BUCKET,
                         Key="parts")["Body"].read() == 2 * body

    # it is counted

    counts = s3_server.wait_for(
        lambda: (c := status(store))["damage_waiting"] == 0 and c, HEALED)
    assert counts["damage_stuck"] == 0
    assert counts["shards_damaged"] == counts["shards_repaired"] \
        == len(damaged)
    assert counts["scrub_bytes"] > 0 and counts["scrub_rounds"] > 0

    # and then there is nothing to do

    count = store.log().count("is damaged")
    wait_round(store)
    assert store.log().count("is damaged") == count


def test_all_are_damaged(scrubbed):
    """Each of the four in another stripe: nothing is lost, and all are
    healed."""

    store = scrubbed("1s rate=900m")

    with talk(store) as client:
        put(client, "key", "key", 4 * MIB)
        wait_complete(store, client)

        idle = originals(store)
        assert len(idle) == 4

        for stripe, path in enumerate(idle):
            flip(path, stripe * 512 * KIB + 100)

        check_object(client, "key", "key", 4 * MIB)
        wait_healed(idle)
        check_object(client, "key", "key", 4 * MIB)


def test_scrub_goes_on_after_a_restart(scrubbed):
    """A round that was cut is finished, not begun again."""

    store = scrubbed("1h rate=1m")
    s3 = store.client()

    for n in range(12):
        s3.put_object(Bucket=BUCKET, Key=str(n),
                      Body=content(str(n), 400 * KIB))

    def state():
        return [dict(line.split(" ", 1) for line in
                     (d / "scrub").read_text().splitlines())
                for d in store.disks if (d / "scrub").exists()]

    poll("a round begins", lambda: len(state()) == 4, HEALED)
    began = [s["started"] for s in state()]

    store.stop()
    store.start()

    poll("it ends", lambda: all(s["finished"] != "0" for s in state()),
         2 * HEALED)
    assert [s["started"] for s in state()] == began

    # the next one is an hour away

    assert rounds(store) == 4


def test_files_without_an_object(scrubbed):
    """Go when they are older than an hour; others stay, and what is no shard
    at all."""

    store = scrubbed("1s rate=900m")
    s3 = store.client()
    s3.put_object(Bucket=BUCKET, Key="key", Body=content("key", SIZE))

    with talk(store) as client:
        wait_complete(store, client)

    idle = originals(store)
    sample = next(iter(idle.values()))
    old, new, other = [], [], []

    for n, disk in enumerate(store.disks):
        names = [f"{n}0{i:030x}" for i in range(3)] + [f"ff{i:030x}"
                                                       for i in range(2)]
        for i, name in enumerate(names):
            path = shard(disk, name)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            owner = os.stat(disk / "data")
            os.chown(path.parent, owner.st_uid, owner.st_gid)
            path.write_bytes(sample if i % 2 else b"")
            (new if i == 1 else old).append(path)
            if i != 1:
                os.utime(path, (1, 1))

        for path in (disk / "data" / "README", shard(disk, "ff" + "0" * 31)):
            path.write_bytes(b"x")
            os.utime(path, (1, 1))
            other.append(path)

    poll("they go", lambda: not any(p.exists() for p in old), HEALED)
    wait_round(store)

    assert all(p.exists() for p in new + other)
    assert {p: b for p, b in originals(store).items() if p in idle} == idle


def test_state_of_a_scrub_is_nonsense(scrubbed):
    """It begins anew."""

    store = scrubbed("1h rate=900m")
    poll("first rounds", lambda: rounds(store) == 4, HEALED)
    store.stop()

    for disk, text in zip(store.disks, [
            b"", b"\0" * 5000, b"s3scrub 1\nstarted -5\nfinished 7\n",
            b"s3scrub 1\nstarted 99999999999999999999\nfinished 0\nshards 1\n"
            b"bytes 1\ndamaged 0\nafter " + b"f" * 4000]):
        (disk / "scrub").write_bytes(text)

    store.start()
    poll("rounds of all disks", lambda: rounds(store) == 8, HEALED)


def test_off(scrubbed):
    store = scrubbed("off")
    s3 = store.client()
    s3.put_object(Bucket=BUCKET, Key="key", Body=content("key", SIZE))

    with talk(store) as client:
        wait_complete(store, client)

    assert not any((d / "scrub").exists() for d in store.disks)


def test_too_much_is_damaged(scrubbed):
    """Three of four: an error, no bytes, no work without end; when one of
    them is as it was again, the other two are written anew."""

    store = scrubbed("1s rate=900m")

    with talk(store) as client:
        put(client, "key", "key", SIZE)
        put(client, "other", "other", SIZE)
        wait_complete(store, client)

        idle = originals(store)
        name = sorted(shard_files(store.disks[0]))[0]
        damaged = {p: b for p, b in idle.items()
                   if p.name == name and p != shard(store.disks[3], name)}

        for path in damaged:
            flip(path, 70000)

        poll("it is said", lambda: f"shard {name} cannot be repaired now"
             in store.log(), HEALED)
        wait_round(store)
        poll("it is counted", lambda: status(store)["damage_stuck"] == 1,
             HEALED)

        answers = [client.get(BUCKET, key) for key in ("key", "other")]
        assert sorted(a.status for a in answers)[0] == 200
        assert sorted(a.status for a in answers)[1] in (500, 503)

        path, bytes = damaged.popitem()
        path.write_bytes(bytes)

        wait_healed(damaged)
        check_object(client, "key", "key", SIZE)
        check_object(client, "other", "other", SIZE)


def test_disks_are_away(store, client, idle):
    """A damaged shard while too few others are there: it is healed when they
    are back."""

    move_away(store.disks[3])
    wait_noticed(store, store.disks[3], 0)

    paths = [p for p in idle if not p.is_relative_to(store.disks[3])]
    damaged = {p: idle[p] for p in paths[:2]}

    for path in damaged:
        flip(path, 5)

    answer = client.get(BUCKET, "key")
    assert answer.status in (500, 503), answer

    assert away(store.disks[3]).exists()
    move_back(store.disks[3])
    wait_back(store, client)

    check_object(client, "key", "key", SIZE)
    wait_healed(damaged)


def test_deleted_while_it_is_damaged(store, client, idle):
    """Nothing is left of it."""

    for path in idle:
        flip(path, 5)

    client.get(BUCKET, "key")
    assert client.delete(BUCKET, "key").status == 204

    poll("no shard is left",
         lambda: not any(shard_files(d) for d in store.disks), HEALED)
    wait_complete(store, client)
