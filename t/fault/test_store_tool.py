"""s3-store on disks that a real nginx has written: what is whole, what is
damaged, and that nothing is ever written to a disk."""

import ctypes
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import pty
import random
import re
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess

import pytest

import s3_server
from faults import BUCKET, INLINE_MAX, KIB, MIB, Client, content, \
    wait_settled


OK, DAMAGED, LOST, FAILED = 0, 1, 2, 3

PAGE = 4096
BLOCK = 65536

# key: size; none of them means anything to a store, and all to file systems

SIMPLE = {
    "empty": 0, "inline": 100, "edge": INLINE_MAX, "one": 300 * KIB + 5,
    "stripes": 3 * MIB + 77, "a": 20000, "a/b": 20001, "a/../c": 20002,
    "./d": 20003, "a//e": 20004, "f/": 20005, "/g": 20006, "/": 50,
    "esc\x1b[31m\x9b1m": 20007, "new\nline\ttab": 20008, "back\\slash": 51,
    "gr\u00fcn/\u65e5\u672c": 20009, "k" * 1024: 20010, "n" * 255: 20011,
    "m" * 256: 20012, "\u202egnp": 52, "overwritten": 70000,
}

PARTS = [5 * MIB + 1, 100 * KIB + 3]

# ---- the tool


@pytest.fixture(scope="session")
def tools():
    """Both builds: as installed, and with sanitizers."""

    paths = [s3_server.BUILD / "s3-store", s3_server.BUILD / "asan/s3-store"]
    subprocess.run(["make", "-s", f"BUILD={s3_server.BUILD}", *paths],
                   cwd=s3_server.ROOT, check=True, timeout=300)
    return paths


def snapshot(disks):
    """Everything that stands there.  Nobody writes without a new ctime but
    within a tick of the clock: bytes tell of what is small."""

    def look(path):
        stat = path.lstat()
        return (stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns,
                stat.st_size, stat.st_ino,
                hashlib.sha256(path.read_bytes()).digest()
                if path.is_file() and stat.st_size < MIB // 2 else None)

    return {str(p): look(p) for d in disks for p in [d, *d.rglob("*")]}


def call(tool, *args, watch=True, **kwargs):
    """Runs it, whatever it answers: no disk is written to.  watch=False:
    somebody else does."""

    env = {**os.environ, "LC_ALL": "C",
           "ASAN_OPTIONS": "exitcode=99:detect_leaks=1"}
    disks = [pathlib.Path(a) for a in args if watch and os.path.isdir(a)]
    before = snapshot(disks)

    done = subprocess.run([tool, *args], capture_output=True, timeout=200,
                          stdin=subprocess.DEVNULL, env=env, **kwargs)

    assert not re.search(rb"Sanitizer|runtime error", done.stderr), \
        done.stderr.decode(errors="replace")[:4000]
    assert done.returncode in (OK, DAMAGED, LOST, FAILED), done
    assert snapshot(disks) == before
    return done


@pytest.fixture
def run(tools):
    """run(status, "verify", disk, ...): what it prints, as text."""

    def run(status, *args, tool=tools[1]):
        done = call(tool, *args)
        assert done.returncode == status, (done.stdout[-3000:],
                                           done.stderr[-3000:])
        run.stderr = done.stderr.decode()
        return done.stdout.decode()

    return run


@pytest.fixture
def lines(run):
    """The same, of the objects it prints with --json."""

    def lines(status, *args):
        return [json.loads(line)
                for line in run(status, "--json", *args).splitlines()]

    return lines


@pytest.fixture
def verify(lines):
    """verify(status, disks): ({key: its line}, [all the others])."""

    def verify(status, disks, command="verify"):
        objects, others = {}, []

        for line in lines(status, command, *disks):
            if line["type"] == "object":
                objects[line["key"]] = line
            else:
                others.append(line)

        return objects, others

    return verify


def wrong(objects):
    return {k: (o["verdict"], o["short_of"]) for k, o in objects.items()
            if o["verdict"] != "whole"}


def only(others, kind):
    return [o for o in others if o["type"] == kind]


# ---- disks


class Filled:
    """Four disks with everything on them; old: the last one as it was
    before the last writes."""

    def __init__(self, path):
        self.path = path
        self.bodies = {}
        self.etags = {}
        self.parts = 1                     # of uploads: that of "begun"

        with s3_server.Store(disks=4, parity=2) as store:
            self.fill(store)
            store.stop()
            shutil.copytree(store.disks[3], path / "old")
            store.start()
            self.put(store.client(), "late", 20013)
            self.put(store.client(), "late inline", 20)
            self.wait(store)
            store.stop()

            for disk in store.disks:
                shutil.copytree(disk, path / disk.name)

    def put(self, s3, key, size, **how):
        body = content(key, size)
        self.etags[key] = s3.put_object(Bucket=BUCKET, Key=key, Body=body,
                                        **how)["ETag"].strip('"')
        self.bodies[key] = body

    def upload(self, s3, key, sizes=PARTS, **how):
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key,
                                            **how)["UploadId"]
        names = {k: v for k, v in how.items() if k == "ChecksumAlgorithm"}
        parts, bodies = [], []

        for n, size in enumerate(sizes, 1):
            bodies.append(content(f"{key} {n}", size))
            answer = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload,
                                    PartNumber=n, Body=bodies[-1], **names)
            self.parts += 1
            parts.append({k: v for k, v in answer.items()
                          if k == "ETag" or k.startswith("Checksum")}
                         | {"PartNumber": n})

        self.etags[key] = s3.complete_multipart_upload(
            Bucket=BUCKET, Key=key, UploadId=upload,
            MultipartUpload={"Parts": parts})["ETag"].strip('"')
        self.bodies[key] = b"".join(bodies)

    def fill(self, store):
        s3 = store.client()
        s3.create_bucket(Bucket=BUCKET)
        hand = Client(store.port, s3_server.ACCESS_KEY, s3_server.SECRET_KEY)

        for key, size in SIMPLE.items():
            body = content(key, size)
            answer = hand.put(BUCKET, key, body)
            assert answer.status == 200, (key, answer)
            self.bodies[key] = body
            self.etags[key] = answer.headers["ETag"].strip('"')

        hand.close()

        self.put(s3, "overwritten", 60000)
        self.put(s3, "deleted", 60000)
        s3.delete_object(Bucket=BUCKET, Key="deleted")
        del self.bodies["deleted"], self.etags["deleted"]

        for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
            self.put(s3, algorithm, 20020, ChecksumAlgorithm=algorithm)
            self.upload(s3, f"parts {algorithm}",
                        PARTS if algorithm in ("CRC32C", "SHA256")
                        else PARTS[1:], ChecksumAlgorithm=algorithm)

        self.upload(s3, "parts full", ChecksumAlgorithm="CRC32C",
                    ChecksumType="FULL_OBJECT")
        self.put(s3, "headers", 10, ContentType="text/x-\u00fc",
                 Metadata={"color": "blue"})

        for source, target in [("one", "copy"), ("inline", "inline copy"),
                               ("parts SHA1", "copy of parts")]:
            s3.copy_object(Bucket=BUCKET, Key=target,
                           CopySource={"Bucket": BUCKET, "Key": source})
            self.bodies[target] = self.bodies[source]
            self.etags[target] = self.etags[source]

        upload = s3.create_multipart_upload(Bucket=BUCKET,
                                            Key="begun")["UploadId"]
        s3.upload_part(Bucket=BUCKET, Key="begun", UploadId=upload,
                       PartNumber=7, Body=content("begun", 70000))
        s3.abort_multipart_upload(
            Bucket=BUCKET, Key="x", UploadId=s3.create_multipart_upload(
                Bucket=BUCKET, Key="x")["UploadId"])
        self.wait(store)

    def wait(self, store):
        """What is deleted is unlinked, what is written has its place."""

        runs = sum(1 for k, b in self.bodies.items()
                   if len(b) > INLINE_MAX and "copy" not in k
                   and not k.startswith("parts ")) + self.parts
        wait_settled(store.disks, {n: (INLINE_MAX + 1, None)
                                   for n in range(runs)}, strict=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return Filled(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def disks(filled, tmp_path):
    """Copies of them, of the test's own."""

    for n in range(1, 5):
        shutil.copytree(filled.path / f"d{n}", tmp_path / f"d{n}")

    return [tmp_path / f"d{n}" for n in range(1, 5)]


def query(disk, sql, *args):
    """Rows of the index, of a copy, so that no log is touched."""

    copy = disk.parent / "query"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()

    for name in ["index.db", "index.db-wal"]:
        if (disk / name).exists():
            shutil.copy(disk / name, copy / name)

    db = sqlite3.connect(copy / "index.db")
    try:
        return db.execute(sql, args).fetchall()
    finally:
        db.close()
        shutil.rmtree(copy)


def shard_of(disk, key, part=None):
    """The shard that the disk has of it."""

    if part:
        (shard,), = query(disk, "SELECT shard_id FROM part, object WHERE"
                          " key = ? AND part.data_id = object.data_id AND"
                          " part_number = ?", key.encode(), part)
    else:
        (shard,), = query(disk, "SELECT data_id FROM object WHERE key = ?",
                          key.encode())

    path = disk / "data" / shard.hex()[:2] / shard.hex()
    assert path.is_file()
    return path


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def clear(path):
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


ISAL = ctypes.CDLL("libisal.so.2")
ISAL.crc32_iscsi.restype = ctypes.c_uint32


def crc32c(data):
    return ISAL.crc32_iscsi(bytes(data), len(data),
                            ctypes.c_uint32(0xffffffff)) ^ 0xffffffff


def edit(disk, *statements):
    """SQL on the index, by somebody who knows the format: no log is left,
    and all checksums are right."""

    db = sqlite3.connect(disk / "index.db", isolation_level=None)

    for statement in statements:
        if isinstance(statement, str):
            statement = (statement,)
        db.execute(*statement)

    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()

    data = bytearray((disk / "index.db").read_bytes())

    for at in range(0, len(data), PAGE):
        data[at + 4080:at + 4092] = b"S3P1" + bytes(8)
        number = struct.pack("<I", at // PAGE + 1)
        crc = crc32c(number + data[at:at + 4092])
        data[at + 4092:at + 4096] = struct.pack("<I", crc)

    (disk / "index.db").write_bytes(data)


def edit_all(disks, *statements):
    """The same on all: made once, so that they stay alike."""

    edit(disks[0], *statements)

    for disk in disks[1:]:
        shutil.copy(disks[0] / "index.db", disk / "index.db")
        (disk / "index.db-wal").unlink(missing_ok=True)


# ---- what is whole


def test_all_is_whole(filled, disks, verify, lines):
    objects, others = verify(OK, disks)

    assert wrong(objects) == {}
    assert {k: (o["size"], o["etag"], o["bucket"])
            for k, o in objects.items()} \
        == {k: (len(b), filled.etags[k], BUCKET)
            for k, b in filled.bodies.items()}

    part, = only(others, "part")
    assert (part["key"], part["part"], part["size"], part["verdict"]) \
        == ("begun", 7, 70000, "whole")

    summary = others[-1]
    assert summary["type"] == "summary" and summary["status"] == OK
    assert summary["objects"]["whole"] == len(filled.bodies)
    assert summary["strays"] == summary["index_problems"] == 0

    # both directions: each shard file is one that a row has

    files = sum(1 for d in disks for f in d.glob("data/*/*"))
    assert summary["shard_files"] == files > 0

    assert lines(OK, "list-damaged", *disks) == []


@pytest.mark.parametrize("build", [0, 1], ids=["plain", "asan"])
def test_text(filled, disks, run, tools, build):
    text = run(OK, "verify", *disks, tool=tools[build])
    assert f"{len(filled.bodies)} objects: {len(filled.bodies)} whole, " \
        "0 short, 0 lost\n" in text
    assert run.stderr == ""

    text = run(OK, "status", *disks, tool=tools[build])
    assert [f"disk {d}: slot {n}, current" in text
            for n, d in enumerate(disks)] == [True] * 4
    assert f"objects {len(filled.bodies)}\n" in text
    assert run(OK, "list-damaged", *disks, tool=tools[build]) == ""


def test_status(filled, disks, lines):
    status, = lines(OK, "status", *reversed(disks))

    assert (status["slots"], status["parity"], status["uploads"]) == (4, 2, 1)
    assert status["objects"] == len(filled.bodies)
    assert status["bytes"] == sum(map(len, filled.bodies.values()))
    assert status["set"] == json.loads(
        (disks[0] / "format").read_text())["set"]

    # slots are the disks' own, whatever the order of arguments

    assert [(d["slot"], d["state"]) for d in status["disks"]] \
        == [(n, "current") for n in (3, 2, 1, 0)]
    assert len({(d["generation"], d["sequence"], d["digest"])
                for d in status["disks"]}) == 1


def test_log_is_read(filled, disks, run):
    """What was written last stands in the logs alone."""

    assert all((d / "index.db-wal").stat().st_size > PAGE for d in disks)
    assert not any(b"late inline" in (d / "index.db").read_bytes()
                   for d in disks)

    assert f"objects {len(filled.bodies)}\n" in run(OK, "status", *disks)

    for disk in disks:
        (disk / "index.db-wal").unlink()

    assert f"objects {len(filled.bodies)}\n" not in \
        run(LOST, "status", *disks)


def test_without_log(filled, disks, verify):
    for disk in disks:
        edit(disk)
        assert not (disk / "index.db-wal").exists()

    objects, others = verify(OK, disks)
    assert len(objects) == len(filled.bodies)


def test_page_that_is_torn(filled, disks, verify):
    """What was being moved from the log when the power went: the log has
    it."""

    edit_all(disks, "PRAGMA user_version = 1")
    db = sqlite3.connect(disks[0] / "index.db", isolation_level=None)
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA user_version = 2")
    db.execute("PRAGMA user_version = 1")
    log = (disks[0] / "index.db-wal").read_bytes()
    db.close()
    assert log

    for disk in disks[1:]:
        shutil.copy(disk / "index.db", disks[0] / "index.db")
        (disks[0] / "index.db-wal").write_bytes(log)

    flip(disks[0] / "index.db", 1000)
    objects, others = verify(OK, disks)
    assert len(objects) == len(filled.bodies)

    # without the log it is damage

    (disks[0] / "index.db-wal").unlink()
    objects, others = verify(DAMAGED, disks)
    assert wrong(objects) == {}
    assert "page 1 " in only(others, "disk")[0]["why"]


# ---- shards


def data_byte(path):
    flip(path, 10)


def table_byte(path):
    flip(path, path.stat().st_size - 2 * PAGE + 1)


def footer_byte(path):
    flip(path, path.stat().st_size - PAGE + 100)


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def remove(path):
    path.unlink()


def link(path):
    """To what was there, outside of the disk."""

    disk = next(p for p in path.parents if (p / "data").is_dir())
    elsewhere = disk.parent / f"elsewhere-{disk.name}-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def folder(path):
    path.unlink()
    path.mkdir()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def linked_folder(path):
    elsewhere = path.parents[3] / f"folder-{path.parents[2].name}"
    path.parent.rename(elsewhere)
    path.parent.symlink_to(elsewhere)


SAYS = {
    data_byte: "block does not match", table_byte: "table of checksums",
    footer_byte: "footer", cut: "wrong size", remove: "not there",
    link: "not a file", folder: "not a file", pipe: "not a file",
    linked_folder: "not a file",
}


@pytest.mark.parametrize("damage", SAYS, ids=lambda d: d.__name__)
def test_shards(disks, verify, damage):
    """Of m of them nothing is lost, of one more the object is."""

    shards = [shard_of(d, "one") for d in disks]

    # others may lie in the same folder

    some = {"one", "copy"}

    for n, (disk, shard) in enumerate(zip(disks, shards), 1):
        damage(shard)

        if n > 3:
            break

        objects, _ = verify(DAMAGED if n <= 2 else LOST, disks)
        bad = wrong(objects)

        assert {k: bad[k] for k in some} \
            == {k: ("short", n) if n <= 2 else ("lost", n) for k in some}

        if damage is not linked_folder:
            assert set(bad) == some

        problems = [p for p in objects["one"]["problems"]
                    if p.get("disk") == str(disk)]
        assert [p["id"] for p in problems] == [shard.name]
        assert SAYS[damage] in problems[0]["problem"]

        objects, _ = verify(DAMAGED if n <= 2 else LOST, disks,
                            "list-damaged")
        assert wrong(objects) == bad == {
            k: (o["verdict"], o["short_of"]) for k, o in objects.items()}


def test_all_shards_in_other_places(disks, verify):
    """Each of four is damaged, and everything can be had: what is good is
    decided for each block."""

    for disk, block in zip(disks, [0, 0, 9, 9]):
        flip(shard_of(disk, "stripes"), block * BLOCK + 5)

    objects, _ = verify(DAMAGED, disks)
    assert wrong(objects) == {"stripes": ("short", 4)}
    assert [p["block"] for p in objects["stripes"]["problems"]
            if p["disk"] in map(str, disks[:2])] == [0, 0]

    flip(shard_of(disks[0], "stripes"), 9 * BLOCK)
    objects, _ = verify(LOST, disks)
    assert wrong(objects) == {"stripes": ("lost", 4)}


def exchange(disks, key):
    """A block of a parity shard, and its checksums with it: which shard."""

    for disk in disks:
        shard = shard_of(disk, key)
        data = bytearray(shard.read_bytes())
        if data[-PAGE + 14] >= 2:          # parity
            break

    size = len(data) - 2 * PAGE
    data[0] ^= 1
    table = size
    data[table:table + 4] = struct.pack("<I", crc32c(data[:BLOCK]))
    number = bytes(data[-PAGE + 32:-PAGE + 48]) + bytes(4)
    data[table + 4092:table + 4096] = struct.pack(
        "<I", crc32c(number + data[table:table + 4092]))
    shard.write_bytes(data)
    return shard


def test_shard_with_good_sums_and_other_bytes(disks, verify):
    """Parity tells."""

    shard = exchange(disks, "one")

    objects, _ = verify(DAMAGED, disks)
    assert wrong(objects) == {"one": ("short", 1), "copy": ("short", 1)}
    problem, = objects["one"]["problems"]
    assert "parity" in problem["problem"] and problem["id"] == shard.name


def test_parts(disks, verify):
    shard_of(disks[1], "parts SHA256", 2).unlink()
    objects, _ = verify(DAMAGED, disks)
    assert wrong(objects) == {"parts SHA256": ("short", 1)}
    assert objects["parts SHA256"]["problems"][0]["part"] == 2

    shard_of(disks[0], "parts SHA256", 2).unlink()
    shard_of(disks[3], "parts SHA256", 1).unlink()
    objects, _ = verify(DAMAGED, disks)
    assert wrong(objects) == {"parts SHA256": ("short", 2)}

    shard_of(disks[2], "parts SHA256", 2).unlink()
    objects, _ = verify(LOST, disks)
    assert wrong(objects) == {"parts SHA256": ("lost", 3)}


def test_part_of_upload(disks, verify):
    (shard,), = query(disks[0], "SELECT shard_id FROM part WHERE"
                      " part_number = 7")

    for n, disk in enumerate(disks[:3], 1):
        next(disk.glob(f"data/*/{shard.hex()}")).unlink()
        objects, others = verify(DAMAGED if n < 3 else LOST, disks)
        part, = only(others, "part")
        assert part["verdict"] == ("short" if n < 3 else "lost")
        assert wrong(objects) == {}


def test_shard_in_tmp(disks, verify):
    """Committed, and not renamed yet when the power went; and one that no
    row has, which the next start removes."""

    shard = shard_of(disks[0], "one")
    (session,), = query(disks[0], "SELECT session FROM data WHERE"
                        " data_id = ?", bytes.fromhex(shard.name))
    tmp = disks[0] / "tmp" / session.hex()
    tmp.mkdir(exist_ok=True)
    shard.rename(tmp / shard.name)
    (tmp / ("ab" * 16)).write_bytes(b"x")

    objects, others = verify(OK, disks)
    assert wrong(objects) == {}
    assert others[-1]["left_in_tmp"] == 1


def test_strays(disks, verify, run):
    stray = disks[0] / "data/ab" / ("ab" * 16)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    (disks[1] / "data/readme\x1b[2J").write_text("x")
    (disks[2] / "data/zz").mkdir()
    (disks[3] / "data/00").mkdir(exist_ok=True)
    (disks[3] / "data/00/etc").symlink_to("/etc")

    objects, others = verify(DAMAGED, disks)
    assert wrong(objects) == {}
    found = {(o["disk"], o["problem"].split(":")[0])
             for o in only(others, "stray")}
    assert found == {
        (str(disks[0]), f"data/ab/{stray.name}"),
        (str(disks[1]), "data/readme\\x1b[2J"),
        (str(disks[2]), "data/zz"), (str(disks[3]), "data/00/etc")}
    assert others[-1]["strays"] == 4

    assert "\x1b" not in run(DAMAGED, "verify", *disks)


# ---- disks that are not there, or others


def salvage(run, status, disks, tmp_path):
    target = tmp_path / "out"
    shutil.rmtree(target, ignore_errors=True)
    run(status, "salvage", target, *disks)

    manifest = [json.loads(line) for line in
                (target / "_manifest.jsonl").read_text().splitlines()]
    return target, {m["key"]: m for m in manifest}


def check_salvaged(target, manifest, bodies):
    """Each file, each byte, and no file more."""

    files = set()

    for key, body in bodies.items():
        file = target / manifest[key]["file"]
        assert file.read_bytes() == body
        files.add(file)

    assert {p for p in target.rglob("*") if not p.is_dir()} \
        == files | {target / "_manifest.jsonl"}


@pytest.mark.parametrize("away", [
    *itertools.combinations(range(4), 1),
    *itertools.combinations(range(4), 2)], ids=str)
def test_disks_away(filled, disks, verify, lines, run, tmp_path, away):
    """Any one, any two: all of it is there."""

    left = [d for n, d in enumerate(disks) if n not in away]
    sharded = {k for k, b in filled.bodies.items()
               if len(b) > INLINE_MAX or k.startswith("parts ")}

    status, = lines(DAMAGED, "status", *left)
    assert status["slots_without_disk"] == list(away)
    assert status["objects"] == len(filled.bodies)

    objects, _ = verify(DAMAGED, left)
    assert wrong(objects) == {k: ("short", len(away)) for k in sharded}

    target, manifest = salvage(run, DAMAGED, left, tmp_path)
    assert set(manifest) == set(filled.bodies)
    check_salvaged(target, manifest, filled.bodies)


@pytest.mark.parametrize("left", range(4))
def test_three_away(filled, disks, verify, run, tmp_path, left):
    """What stands in the index is there, the rest is said to be lost."""

    one = [disks[left]]
    inline = {k: b for k, b in filled.bodies.items()
              if len(b) <= INLINE_MAX}

    objects, _ = verify(LOST, one)
    assert {k: v for k, (v, n) in wrong(objects).items()} \
        == {k: "lost" for k in filled.bodies if k not in inline}
    assert "1 of 4 indexes can be read" in run.stderr

    target, manifest = salvage(run, LOST, one, tmp_path)
    check_salvaged(target, manifest, inline)
    assert {k for k, m in manifest.items() if m["file"] is None} \
        == set(filled.bodies) - set(inline)


def test_laggard(filled, disks, verify, lines):
    """A disk as it was before the last writes: it lacks them, and is said
    to."""

    shutil.rmtree(disks[3])
    shutil.copytree(filled.path / "old", disks[3])

    status, = lines(DAMAGED, "status", *disks)
    assert [d["state"] for d in status["disks"]] \
        == ["current"] * 3 + ["laggard"]

    objects, _ = verify(DAMAGED, disks)
    assert set(objects) == set(filled.bodies)
    assert wrong(objects) == {"late": ("short", 1)}

    # alone it is all there is

    status, = lines(LOST, "status", disks[3])
    assert status["objects"] == len(filled.bodies) - 2


def test_forked(filled, disks, verify, lines):
    (value,), = query(disks[2], "SELECT value FROM state")
    value = value[:-1] + bytes([value[-1] ^ 1])
    edit(disks[2], ("UPDATE state SET value = ?", [value]),
         ("UPDATE batch SET digest = ? WHERE sequence = ?",
          [value[16:], struct.unpack_from("<Q", value, 8)[0]]))

    status, = lines(DAMAGED, "status", *disks)
    assert [d["state"] for d in status["disks"]] \
        == ["current", "current", "forked", "current"]

    objects, _ = verify(DAMAGED, disks)
    assert wrong(objects) == {}


def format_with(disk, **members):
    """Somebody's DISK/format, with a checksum that is right."""

    f = {**json.loads((disk / "format").read_text()), **members}
    del f["crc32c"]
    text = json.dumps(f, sort_keys=True, separators=(",", ":"))
    f["crc32c"] = f"{crc32c(text.encode()):08x}"
    (disk / "format").write_text(json.dumps(f) + "\n")


def test_other_disks(filled, disks, verify, lines, run, tmp_path):
    def states(status, *paths):
        out, = lines(status, "status", *paths)
        return [d["state"] for d in out["disks"]]

    good = ["current"] * 4

    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("x")
    twin = tmp_path / "twin"
    shutil.copytree(disks[1], twin)

    assert states(DAMAGED, *disks, empty) == good + ["empty"]
    assert states(DAMAGED, *disks, other) == good + ["foreign"]
    assert states(DAMAGED, *disks, twin) == good + ["foreign"]
    assert states(DAMAGED, *disks, tmp_path / "none") \
        == good + ["unreadable"]
    assert states(DAMAGED, *disks, other / "file") == good + ["unreadable"]

    format_with(twin, set="00" * 16)
    assert states(DAMAGED, twin, *disks) == ["foreign"] + good
    format_with(twin, state="forming")
    assert states(DAMAGED, twin, *disks) == ["forming"] + good

    # of a disk with a wrong format nothing is taken

    for damage in [
            lambda p: p.write_text(p.read_text().replace("formed", "former")),
            lambda p: p.write_text(""), lambda p: p.write_bytes(bytes(9000)),
            lambda p: p.write_text("[" * 8000), lambda p: p.write_text("1"),
            lambda p: format_with(p.parent, slot=4),
            lambda p: format_with(p.parent, slot=-1),
            lambda p: format_with(p.parent, disks=2 ** 40),
            lambda p: format_with(p.parent, set="x" * 32),
            link, folder, pipe]:

        shutil.copy(filled.path / "d1/format", disks[0] / "format")
        damage(disks[0] / "format")
        assert states(DAMAGED, *disks) == ["unreadable"] + good[1:]
        clear(disks[0] / "format")

    objects, _ = verify(DAMAGED, disks)
    assert {n for _, n in wrong(objects).values()} == {1}

    # and no set at all

    run(FAILED, "verify", empty, other)
    assert "none of these is a disk of a set" in run.stderr
    run(FAILED, "verify", disks[1], disks[1])
    assert "given twice" in run.stderr


def test_refused_while_in_use(tools, run):
    with s3_server.Store(disks=2, parity=1) as store:
        s3 = store.client()
        s3.create_bucket(Bucket=BUCKET)

        target = store.path / "out"

        done = call(tools[1], "salvage", target, *store.disks, watch=False)
        assert (done.returncode, done.stdout) == (FAILED, b"")
        assert b"is in use: nginx" in done.stderr
        assert b"stop nginx" in done.stderr
        assert not target.exists()

        # and the store has not noticed

        s3.put_object(Bucket=BUCKET, Key="k", Body=b"x" * 20000)
        store.stop()

        assert "1 objects: 1 whole" in run(OK, "verify", *store.disks)

        # the other way round: nginx takes them when they are free

        held = [os.open(d, os.O_RDONLY) for d in store.disks]

        for fd in held:
            fcntl.flock(fd, fcntl.LOCK_EX)

        # somebody has them who does not answer

        for command in ["status", "verify", "list-damaged", "heal"]:
            assert run(FAILED, command, *store.disks) == ""
            assert "is in use, and no store process answers" in run.stderr

        store.start(wait=False)
        s3_server.wait_for(lambda: "is unavailable: 0 of 2" in store.log(),
                           60, "it does not miss them")

        for fd in held:
            os.close(fd)

        store.wait_ready()
        assert store.client().get_object(
            Bucket=BUCKET, Key="k")["Body"].read() == b"x" * 20000


# ---- indexes


def test_index_page(filled, disks, verify, run, tmp_path):
    """Another page on each disk: nothing is lost.  The same on all: those of
    that page, and no more."""

    edit_all(disks)
    pages = (disks[0] / "index.db").stat().st_size // PAGE

    # the last leaf of the objects' tree, by what stands in it

    data = (disks[0] / "index.db").read_bytes()
    page = max(n for n in range(pages)
               if b"stripes" in data[n * PAGE:n * PAGE + 4080]
               and data[n * PAGE] in (2, 10))

    flip(disks[0] / "index.db", page * PAGE + 2000)

    objects, others = verify(DAMAGED, disks)
    assert wrong(objects) == {} and set(objects) == set(filled.bodies)
    assert f"page {page + 1} does not match its checksum" in [
        o["problem"] for o in only(others, "index")
        if o["disk"] == str(disks[0])]
    assert {o["disk"] for o in only(others, "index")} == {str(disks[0])}

    for disk in disks[1:]:
        other = random.Random(disk.name).randrange(1, pages)
        flip(disk / "index.db", (other if other != page else 1) * PAGE + 99)

    target, manifest = salvage(run, OK, disks, tmp_path)
    check_salvaged(target, manifest, filled.bodies)

    for disk in disks[1:]:
        shutil.copy(disks[0] / "index.db", disk / "index.db")

    objects, others = verify(LOST, disks)
    assert "stripes" not in objects and len(objects) > 0
    assert wrong(objects) == {} and "no index has all rows" in run.stderr

    target, manifest = salvage(run, LOST, disks, tmp_path)
    assert set(manifest) == set(objects)
    check_salvaged(target, manifest,
                   {k: filled.bodies[k] for k in objects})


def test_index_of_one_disk(filled, disks, verify, run, tmp_path):
    """Gone, empty, garbage, a link, a pipe: the others have it all."""

    index = disks[0] / "index.db"

    def garbage(path):
        path.write_bytes(random.Random(1).randbytes(10 * PAGE))

    def empty(path):
        path.write_bytes(b"")

    def sparse(path):
        os.truncate(path, 1 << 41)

    for damage in [remove, empty, garbage, link, folder, pipe, sparse]:
        damage(index)
        objects, others = verify(DAMAGED, disks)
        assert wrong(objects) == {}, damage
        disk = only(others, "disk")[0]
        assert disk["state"] == "broken" and "its index" in disk["why"]

        clear(index)
        shutil.copy(filled.path / "d1/index.db", index)

    for damage in [folder, pipe, link]:
        damage(disks[0] / "index.db-wal")
        objects, others = verify(DAMAGED, disks)
        assert wrong(objects) == {}
        clear(disks[0] / "index.db-wal")
        shutil.copy(filled.path / "d1/index.db-wal",
                    disks[0] / "index.db-wal")

    verify(OK, disks)

    # none at all

    for disk in disks:
        (disk / "index.db").unlink()

    run(LOST, "verify", *disks)
    assert "no index can be read" in run.stderr
    run(LOST, "salvage", tmp_path / "none", *disks)
    assert not (tmp_path / "none").exists()


def test_log_of_one_disk(filled, disks, verify, lines):
    """A damaged frame ends the log: that index is an older one."""

    log = disks[1] / "index.db-wal"
    flip(log, log.stat().st_size // 2)

    status, = lines(DAMAGED, "status", *disks)
    assert status["disks"][1]["state"] in ("laggard", "broken")
    assert status["objects"] == len(filled.bodies)

    objects, _ = verify(DAMAGED, disks)
    assert wrong(objects) == {}


def test_rows_that_differ(disks, verify):
    """Good pages with other rows."""

    edit(disks[2], ("UPDATE object SET mtime = mtime + 1 WHERE key = ?",
                    [b"one"]))
    objects, others = verify(DAMAGED, disks)
    assert wrong(objects) == {}
    problem, = only(others, "index")
    assert problem["disk"] == str(disks[2])
    assert "table object" in problem["problem"]


def test_rows_that_make_no_sense(filled, disks, verify, run, tmp_path):
    """On all disks, with good checksums: said of those objects, and the
    others stay whole."""

    def obj(what, key, *args):
        return (f"UPDATE object SET {what} WHERE key = ?",
                [*args, key.encode()])

    def dat(what, key, *args):
        return (f"UPDATE data SET {what} WHERE data_id ="
                " (SELECT data_id FROM object WHERE key = ?)",
                [*args, key.encode()])

    def part(what, key, number=2):
        return (f"UPDATE part SET {what} WHERE data_id = (SELECT data_id"
                " FROM object WHERE key = ?) AND part_number = ?",
                [key.encode(), number])

    for key in ["gone 1", "gone 2", "gone 3"]:
        assert key not in filled.bodies

    edit_all(
        disks,
        obj("etag = x'00'", "CRC32"),
        obj("checksum = x'0600'", "CRC32C"),
        obj("checksum = x'0300' || checksum", "SHA1"),
        obj("size = -1", "SHA256"),
        obj("data_id = x'00'", "CRC64NVME"),
        obj("meta = x'01ff7f00'", "headers"),
        dat("size = 9223372036854775807", "a/b"),
        dat("geometry = -1", "overwritten"),
        dat("geometry = 0", "late"),
        dat("geometry = 1 | 1 << 8 | 65536 << 16", "a//e"),
        dat("session = x''", "f/"),
        dat("inline = 12345", "/g"),
        dat("parts = 1 << 40", "stripes"),
        dat("mask = 0", "./d"),
        obj("etag = x'00112233445566778899aabbccddeeff'", "a"),
        part('"offset" = 1', "parts SHA256"),
        part("geometry = 77", "parts CRC32", 1),
        part("part_number = 3", "parts CRC32C"),
        part("size = -5", "parts CRC64NVME", 1))

    objects, others = verify(LOST, disks)
    lost = {"CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME", "a/b",
            "overwritten", "late", "a//e", "f/", "/g", "stripes", "a",
            "parts SHA256", "parts CRC32", "parts CRC64NVME"}

    # a mask says too little, a number is only one; headers are no data

    assert {k for k, (v, _) in wrong(objects).items() if v == "lost"} == lost
    assert wrong({k: o for k, o in objects.items() if k not in lost}) == {}
    assert only(others, "references")        # of CRC64NVME's data

    target, manifest = salvage(run, LOST, disks, tmp_path)
    check_salvaged(target, manifest, {
        k: b for k, b in filled.bodies.items() if k not in lost})
    assert manifest["headers"]["metadata"] is None


def test_references(disks, verify):
    edit_all(disks, ("UPDATE data SET refs = 7 WHERE data_id ="
                     " (SELECT data_id FROM object WHERE key = 'x')",),
             ("UPDATE data SET refs = 7 WHERE data_id ="
              " (SELECT data_id FROM object WHERE key = ?)", [b"one"]))

    objects, others = verify(DAMAGED, disks)
    assert wrong(objects) == {}
    problem, = only(others, "references")
    assert "7 objects have it, there are 2" in problem["problem"]


@pytest.mark.parametrize("sql", [
    "CREATE VIEW v AS SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON object BEGIN SELECT 1; END",
    "CREATE TABLE more (x)",
    "CREATE INDEX more ON object (size + 1)",
    "DROP INDEX part_by_shard_id",
    "ALTER TABLE inline ADD COLUMN x AS (length(bytes))",
    "PRAGMA user_version = 2", "PRAGMA application_id = 1"])
def test_foreign_sql(disks, lines, sql):
    """None but the format's is run."""

    edit(disks[0], sql)
    status, = lines(DAMAGED, "status", *disks)
    assert [d["state"] for d in status["disks"]] \
        == ["broken"] + ["current"] * 3
    assert "its index: " in status["disks"][0]["why"]


def test_page_that_is_everywhere(disks, tools):
    """A tree whose inner pages all name one page hundreds of times, twelve of
    them deep, with good checksums: it ends, long before it is walked."""

    edit_all(disks, (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " LIMIT 400) INSERT INTO object SELECT bucket, CAST('x' || i AS BLOB),"
        " version, flags, size, mtime, etag, checksum, data_id, attrs, meta"
        " FROM object, n WHERE key = ?", [b"inline"]))
    data = bytearray((disks[0] / "index.db").read_bytes())
    (root,), = query(disks[0], "SELECT rootpage FROM sqlite_master"
                     " WHERE name = 'object'")
    at = (root - 1) * PAGE
    inner = bytearray(data[at:at + PAGE])
    assert inner[0] == 2, "objects fill more than a page"
    cells, = struct.unpack_from(">H", inner, 3)
    leaf, = struct.unpack_from(">I", inner, 8)
    pages = len(data) // PAGE
    levels = 12

    def page(number, child):
        for n in range(cells):
            cell, = struct.unpack_from(">H", inner, 12 + 2 * n)
            struct.pack_into(">I", inner, cell, child)
        struct.pack_into(">I", inner, 8, child)
        crc = crc32c(struct.pack("<I", number) + inner[:4092])
        return inner[:4092] + struct.pack("<I", crc)

    data[at:at + PAGE] = page(root, pages + 1)

    for n in range(1, levels + 1):
        data += page(pages + n, pages + n + 1 if n < levels else leaf)

    struct.pack_into(">I", data, 28, pages + levels)
    crc = crc32c(struct.pack("<I", 1) + data[:4092])
    data[4092:4096] = struct.pack("<I", crc)

    for disk in disks:
        (disk / "index.db").write_bytes(data)

    # (cells + 1) to the power of levels: what a walk of it would take

    assert cells >= 5

    for command in ["status", "verify"]:
        done = call(tools[0], command, *disks[:2])
        assert done.returncode in (DAMAGED, LOST)


def test_bytes_at_random(filled, tmp_path, tools):
    """Whatever is there: an answer, in bounded memory, and no file of
    anybody else's is touched."""

    seed = os.environ.get("S3_STORE_TOOL_SEED") or str(
        random.SystemRandom().randrange(10 ** 9))
    print(f"S3_STORE_TOOL_SEED={seed}")
    rng = random.Random(seed)
    rounds = int(os.environ.get("S3_STORE_TOOL_ROUNDS", "10"))
    small = tmp_path / "small"

    for n in range(rounds):
        shutil.rmtree(small, ignore_errors=True)

        for d in range(1, 5):
            shutil.copytree(filled.path / f"d{d}", small / f"d{d}")

        if n % 2:
            for d in sorted(small.iterdir()):
                edit(d)

        files = [p for p in sorted(small.rglob("*")) if p.is_file()]
        indexes = [p for p in files if p.parent.parent == small]

        for _ in range(rng.choice([1, 3, 30])):
            path = rng.choice(indexes if rng.random() < 0.7 else files)
            size = path.stat().st_size
            if size == 0:
                continue

            data = bytearray(path.read_bytes())
            kind = rng.random()
            where = rng.randrange(size)

            if kind < 0.6:
                data[where] ^= 1 << rng.randrange(8)
            elif kind < 0.8:
                data[where:where + 8] = rng.choice(
                    [bytes(8), b"\xff" * 8, rng.randbytes(8)])
            elif kind < 0.9:
                del data[where:]
            else:
                data += rng.randbytes(rng.randrange(PAGE))

            # half of them by somebody who knows about checksums

            if path.name == "index.db" and rng.random() < 0.5:
                at = where // PAGE * PAGE
                crc = crc32c(struct.pack("<I", at // PAGE + 1)
                             + data[at:at + 4092])
                data[at + 4092:at + 4096] = struct.pack("<I", crc)

            path.write_bytes(data)

        target = tmp_path / f"out{n}"
        call(tools[1], "verify", *small.iterdir())
        done = call(tools[1], "--json", "salvage", target,
                    *sorted(small.iterdir()))

        # right, or not at all

        if (target / "_manifest.jsonl").exists():
            for line in (target / "_manifest.jsonl").read_text() \
                    .splitlines():
                m = json.loads(line)
                if m["file"] and m.get("key") in filled.bodies:
                    md5 = m["etag"].split("-")[0]
                    body = (target / m["file"]).read_bytes()
                    if md5 == filled.etags[m["key"]].split("-")[0]:
                        assert body == filled.bodies[m["key"]], (n, m)
        else:
            assert done.returncode in (LOST, FAILED)

        shutil.rmtree(target, ignore_errors=True)


def test_memory(disks, tools):
    """With 128 MiB of address space beyond what it begins with: an object is
    not kept, nor is a list of them."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (256 * MIB, 256 * MIB))

    done = call(tools[0], "verify", *disks, preexec_fn=limit)
    assert done.returncode == OK, done


# ---- salvage


def test_salvage(filled, disks, run, tmp_path):
    target, manifest = salvage(run, OK, disks, tmp_path)

    assert set(manifest) == set(filled.bodies)
    check_salvaged(target, manifest, filled.bodies)

    for key, m in manifest.items():
        assert (m["bucket"], m["size"], m["etag"], m["verdict"]) == (
            BUCKET, len(filled.bodies[key]), filled.etags[key], "whole")

    # names that a file may have are kept, others are looked up

    kept = {k for k, m in manifest.items()
            if m["file"] == f"{BUCKET}/{k}"}
    assert {"one", "stripes", "back\\slash", "gr\u00fcn/\u65e5\u672c",
            "n" * 255, "a"} <= kept
    assert not kept & {"a/b", "a/../c", "./d", "a//e", "f/", "/g", "/",
                       "k" * 1024, "m" * 256, "new\nline\ttab",
                       "esc\x1b[31m\x9b1m"}
    assert all(re.fullmatch("_other/[0-9a-f]{64}", m["file"])
               for k, m in manifest.items() if k not in kept)

    m = manifest["headers"]
    assert m["metadata"]["x-amz-meta-color"] == "blue"
    assert target.stat().st_mode & 0o777 == 0o700
    assert (target / BUCKET / "one").stat().st_mode & 0o777 == 0o600

    # no second one over it

    before = snapshot([target])
    run(FAILED, "salvage", target, *disks)
    assert "is not empty" in run.stderr
    assert snapshot([target]) == before


def test_salvage_names_of_an_enemy(filled, disks, run, tmp_path):
    """Rows that no S3 request can make."""

    keys = [b"../x", b"../../../x", b"/etc/x", b"a\0b", b"..", b".",
            b"\xff\xfe", b"x" * 256, b"", b"_manifest.jsonl", b".partial"]
    (row,), = query(disks[0], "SELECT data_id FROM object WHERE key = ?",
                    b"inline")
    edit_all(
        disks,
        *[("INSERT INTO object SELECT bucket, ?, version, flags, size, mtime,"
           " etag, checksum, data_id, attrs, meta FROM object WHERE key = ?",
           [k, b"inline"]) for k in keys],
        ("INSERT INTO bucket VALUES (?, 77, 0, x'')", [b"../up"]),
        ("INSERT INTO bucket VALUES (?, 78, 0, x'')", [b"_other"]),
        ("INSERT INTO bucket VALUES (?, 79, 0, x'')", [b"a/b"]),
        ("INSERT INTO bucket VALUES (?, 80, 0, x'')", [b"n" * 300]),
        *[("INSERT INTO object SELECT ?, key, version, flags, size, mtime,"
           " etag, checksum, data_id, attrs, meta FROM object WHERE key = ?"
           " AND bucket > 1000", [n, b"inline"]) for n in range(77, 82)],
        ("UPDATE data SET refs = refs + ? WHERE data_id = ?",
         [len(keys) + 5, row]))

    area = tmp_path / "area"
    area.mkdir()
    outside = {p for p in tmp_path.iterdir() if p != area}
    target = area / "deep/out"
    target.parent.mkdir()

    run(DAMAGED, "salvage", target, *disks)

    assert {p for p in tmp_path.iterdir() if p != area} == outside
    assert list(area.iterdir()) == [target.parent]
    assert list(target.parent.iterdir()) == [target]
    assert not any(p.is_symlink() for p in target.rglob("*"))

    manifest = [json.loads(line) for line in
                (target / "_manifest.jsonl").read_text().splitlines()]
    assert len(manifest) == len(filled.bodies) + len(keys) + 5

    files = {m["file"] if "file" in m
             else os.fsdecode(bytes.fromhex(m["file_hex"])): m["size"]
             for m in manifest}
    assert len(files) == len(manifest)

    for name, size in files.items():
        path = target / name
        assert path.resolve().is_relative_to(target)
        assert path.stat().st_size == size

    assert "fffe" in [m.get("key_hex") for m in manifest]
    assert {d.name for d in target.iterdir()} \
        == {BUCKET, "_other", "_manifest.jsonl"}


def test_salvage_is_not_to_a_disk(disks, run):
    for target in [disks[1], disks[1] / "new", disks[1] / "data/new",
                   disks[1] / "data/../tmp"]:
        run(FAILED, "salvage", target, *disks)
        assert "on one of the disks" in run.stderr
        assert not (disks[1] / "new").exists()


def test_salvage_without_room(disks, tools, tmp_path):
    """It stops, and says that it has not seen all."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = call(tools[0], "salvage", tmp_path / "out", *disks,
                preexec_fn=limit)
    assert done.returncode == FAILED
    assert b"not all objects were looked at" in done.stderr
    assert not (tmp_path / "out/.partial").exists()


@pytest.mark.parametrize("n,m", [(1, 0), (2, 1), (3, 1), (5, 2)])
def test_other_shapes(run, verify, tmp_path, n, m):
    """Units that are no power of two, one disk, no parity: with all disks,
    and with the first m of them away."""

    bodies = {}

    with s3_server.Store(disks=n, parity=m) as store:
        s3 = store.client()
        s3.create_bucket(Bucket=BUCKET)

        for size in [0, 1, INLINE_MAX, INLINE_MAX + 1, MIB - 1, MIB, MIB + 1,
                     2 * MIB + BLOCK, 5 * MIB + 4097]:
            bodies[str(size)] = content(str(size), size)
            s3.put_object(Bucket=BUCKET, Key=str(size),
                          Body=bodies[str(size)])

        store.stop()

        objects, _ = verify(OK, store.disks)
        assert wrong(objects) == {} and set(objects) == set(bodies)

        target, manifest = salvage(run, DAMAGED if m else OK,
                                   store.disks[m:], tmp_path)
        check_salvaged(target, manifest, bodies)

        # one byte more than parity makes up for

        for disk in store.disks[:m + 1]:
            flip(shard_of(disk, str(MIB)), 0)

        objects, _ = verify(LOST, store.disks)
        assert wrong(objects) == {str(MIB): ("lost", m + 1)}


# ---- people


def test_progress_on_a_terminal_alone(disks, tools):
    for terminal in (True, False):
        ours, theirs = pty.openpty()
        other = subprocess.PIPE
        done = subprocess.Popen(
            [tools[0], "verify", *disks], stdout=other,
            stderr=theirs if terminal else other, stdin=subprocess.DEVNULL)
        os.close(theirs)

        seen = b""

        while terminal:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece

        out, err = done.communicate(timeout=100)
        os.close(ours)

        assert done.returncode == OK
        assert b"\r" not in out
        assert (b"MiB" in seen) == terminal
        assert not err


def test_names_are_escaped(disks, run):
    """A key is anybody's, and a terminal obeys."""

    key = "esc\x1b[31m\x9b1m"

    for disk in disks[:3]:
        shard_of(disk, key).unlink()
        shard_of(disk, "new\nline\ttab").unlink()

    for command in ["verify", "list-damaged"]:
        text = run(LOST, command, *disks)
        assert f"lost: {BUCKET}/esc\\x1b[31m\\xc2\\x9b1m\n" in text
        assert f"lost: {BUCKET}/new\\x0aline\\x09tab\n" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


def test_usage(run, disks):
    for args in [[], ["verify"], ["salvage"], ["salvage", "x"], ["nonsense"],
                 ["--nonsense", "verify", disks[0]], ["verify", *disks * 9],
                 ["verify", "--nonsense", disks[0]], ["replace", disks[0]],
                 ["verify", "--slot", "1", disks[0]],
                 ["replace", "--slot", "x", *disks],
                 ["replace", "--slot", "99", *disks], ["replace", "--slot"],
                 ["verify", "--rate", "0", disks[0]],
                 ["verify", "--rate", "1x", disks[0]],
                 ["verify", "--rate", "99999999999g", disks[0]],
                 ["status", "--rate", "1m", disks[0]]]:
        assert run(FAILED, *args) == ""
        assert run.stderr

    assert "s3-store [--json] verify" in run(OK, "--help")

    run(OK, "list-damaged", "--rate", "1g", *disks)

    # no status that could be taken for done

    assert run(FAILED, "format", disks[0]) == ""
    assert "a set is formed by nginx" in run.stderr


def test_output_that_nobody_takes(disks, tools):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([tools[0], "status", *disks], stdout=full,
                              stderr=subprocess.PIPE, timeout=60)

    assert done.returncode == FAILED
    assert b"standard output" in done.stderr
