"""Symbolic links that somebody has put on a disk, with all the rights that
nginx's user has: nothing outside the disk is read, written or removed."""

import contextlib
import os
import shutil

import pytest

from faults import BUCKET, MIB, Failure, content, poll, shard_files
from test_damage import originals, shard, talk
from test_disks import check_object, put, wait_complete


SIZE = 3 * MIB + 1
SEEN = 30              # seconds


def own(store, *paths):
    """They become the workers' user's: no permission keeps it from them."""

    if store.user:
        for path in paths:
            os.chown(path, *store.user[1:], follow_symlinks=False)


@pytest.fixture
def outside(store):
    path = store.path / "outside"
    path.mkdir(mode=0o700)
    own(store, path)
    return path


def picture(path):
    """All that stands there: whatever is written, made or removed changes
    it."""

    found = {}

    for p in [path, *sorted(path.rglob("*"))]:
        st = os.lstat(p)
        found[str(p)] = (st.st_ino, st.st_mode, st.st_nlink, st.st_mtime_ns,
                         p.read_bytes() if p.is_file() else None)

    return found


def move_out(store, path, outside, n):
    """What is at the path goes outside, a link to it takes its place."""

    target = outside / f"{n}"
    os.rename(path, target)
    path.symlink_to(target, target_is_directory=target.is_dir())
    own(store, path)
    return target


def got(client, key):
    """Its body, None: it cannot be had."""

    with contextlib.suppress(Failure):
        answer = client.get(BUCKET, key)
        if answer.status == 200:
            return answer.body
        assert answer.status in (500, 503), answer

    return None


@pytest.fixture
def idle(store, client):
    """The name of the only shard there is, on each disk."""

    put(client, "key", "key", SIZE)
    wait_complete(store, client)
    name, = shard_files(store.disks[0])
    return name


PLACES = pytest.mark.parametrize("place", [
    lambda disk, name: shard(disk, name),
    lambda disk, name: shard(disk, name).parent,
    lambda disk, name: disk / "data",
], ids=["shard", "data-XX", "data"])


@PLACES
def test_reads(store, client, outside, idle, place):
    """Of three of four, where they are good: they do not count.  Hence the
    object cannot be had; with the shards in their places it can."""

    paths = [place(d, idle) for d in store.disks[:3]]
    targets = [move_out(store, p, outside, n) for n, p in enumerate(paths)]
    before = picture(outside)

    assert got(client, "key") is None
    assert picture(outside) == before

    for path, target in zip(paths, targets):
        if path.is_symlink():
            path.unlink()
            os.rename(target, path)

    poll("it is back", lambda: got(client, "key") == content("key", SIZE),
         SEEN)


@PLACES
def test_delete(store, client, outside, idle, place):
    """Takes nothing with it that is outside.  One disk is left as it was, by
    which it is seen when the shards go."""

    for n, disk in enumerate(store.disks[:3]):
        move_out(store, place(disk, idle), outside, n)

    last = shard(store.disks[3], idle)
    before = picture(outside)

    assert client.delete(BUCKET, "key").status == 204
    poll("the last shard goes", lambda: not last.exists(), SEEN)

    # what was done to the other disks was begun at the same time; a commit
    # that follows says that it has ended

    poll("it is over", lambda: client.put(BUCKET, "next", b"x").status == 200,
         SEEN)

    assert picture(outside) == before


@pytest.mark.parametrize("made", [
    lambda store, outside: [d / "data" / f"{n:02x}" for d in store.disks[:2]
                            for n in range(256)],
], ids=["data-XX"])
def test_writes(store, client, outside, made):
    """Every place that a shard may get is outside, on two disks."""

    for n, path in enumerate(made(store, outside)):
        target = outside / f"{n}"
        target.mkdir(mode=0o700)
        path.symlink_to(target)
        own(store, path, target)

    before = picture(outside)

    for n in range(4):
        client.put(BUCKET, f"key{n}", content(f"key{n}", 100_000))

    poll("shards are in their places", lambda: all(
        len(shard_files(d)) >= 4 for d in store.disks[2:]), SEEN)

    assert picture(outside) == before


def wait_cleaned(store, disk):
    """Until what a dead worker might have left there is removed."""

    left = disk / "tmp" / ("3" * 32)
    left.mkdir(mode=0o700)
    (left / ("a" * 32)).write_bytes(b"x")
    own(store, left, left / ("a" * 32))

    poll("it is removed", lambda: not left.exists(), SEEN)


def test_sessions(store, client, outside):
    """What a dead worker has left in tmp/ is removed, but not what lies where
    its directory points to."""

    disk = store.disks[0]
    target = outside / ("2" * 32)
    target.mkdir(mode=0o700)
    (target / ("a" * 32)).write_bytes(b"x")
    link = disk / "tmp" / ("2" * 32)
    before = picture(outside)

    link.symlink_to(target)
    own(store, target, target / ("a" * 32), link)

    # the second time all of it was done while the link was there

    wait_cleaned(store, disk)
    wait_cleaned(store, disk)

    assert picture(outside) == before


@pytest.mark.parametrize("name", [
    "index.db", "index.db-wal", "format", "tmp"])
def test_start(store, client, outside, idle, name):
    """The disk is left out, the others serve."""

    store.stop()

    disk = store.disks[0]
    path = disk / name

    if not path.exists():
        path.write_bytes(b"")
        own(store, path)

    if name == "tmp":
        for left in (path / ("1" * 32), path / ("1" * 32) / ("a" * 32)):
            left.mkdir(mode=0o700) if left.parent == path \
                else left.write_bytes(b"x")
            own(store, left)

    move_out(store, path, outside, 0)
    before = picture(outside)
    store.start()

    with talk(store) as other:
        check_object(other, "key", "key", SIZE)
        for n in range(20):
            put(other, f"key{n}", f"key{n}", 50_000 * (n % 2))

    # what is done at leisure was done when it was twice on another disk

    wait_cleaned(store, store.disks[1])
    wait_cleaned(store, store.disks[1])

    store.stop()
    assert picture(outside) == before


@pytest.mark.parametrize("name", ["scrub", "scrub.new"])
def test_scrub(outside, store, name):
    """Its place is not written through a link."""

    store.stop()
    store.conf.write_text(store.conf.read_text().replace(
        "s3_store main {", "s3_scrub 1s rate=900m;\n    s3_store main {"))

    for n, disk in enumerate(store.disks):
        target = outside / f"{n}"
        target.write_bytes(b"not yours")
        path = disk / name
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        own(store, target, path)

    before = picture(outside)
    store.start()

    with talk(store) as client:
        put(client, "key", "key", SIZE)

    poll("each disk was scrubbed", lambda: all(
        store.log().count(f'disk "{d}" is scrubbed') > 1
        for d in store.disks), SEEN)

    assert picture(outside) == before


@pytest.mark.parametrize("name", ["format.new", "index.db", "data", "tmp"])
def test_new_disks(outside, store, name):
    """Directories that are to become a store's, with a link in them."""

    store.stop()

    for n, disk in enumerate(store.disks):
        shutil.rmtree(disk)
        disk.mkdir(mode=0o700)
        target = outside / f"{n}"

        if name in ("data", "tmp"):
            target.mkdir(mode=0o700)
        else:
            target.write_bytes(b"not yours")

        path = disk / name
        path.symlink_to(target)
        own(store, disk, target, path)

    for path in (store.path / "state").glob("**/*.json"):
        path.unlink()

    before = picture(outside)
    said = store.log().count("is not formed")
    store.start(wait=False)

    poll("it has tried", lambda: store.log().count("is not formed") > said,
         SEEN)

    assert picture(outside) == before

    if name == "format.new":
        assert all(f'disk "{d}" can\'t be formed: Too many levels'
                   in store.log() for d in store.disks)
