"""s3-store beside a running nginx: what it sees is one state of the set, in
which nothing is missing that clients deleted meanwhile, and nothing passes
that is damaged."""

import json
import os
import pty
import signal
import socket
import struct
import subprocess

import pytest

import s3_server
from faults import BUCKET, KIB, MIB, Load, content, poll, serving, \
    wait_settled
from test_disks import away, move_away, move_back, put, wait_complete, \
    wait_noticed, drops
from test_store_tool import DAMAGED, FAILED, LOST, OK, call, exchange, \
    flip, shard_of, tools                                 # noqa: F401


@pytest.fixture
def store():
    """No scrub: what is damaged stays so."""

    with serving(s3_server.Store(disks=4, parity=2,
                                 http="s3_scrub off;")) as server:
        yield server


@pytest.fixture
def run(tools, store):                                    # noqa: F811
    def run(status, command, *args, disks=None):
        done = call(tools[1], "--json", *command.split(),
                    *(disks or store.disks), *args, watch=False)
        assert done.returncode == status, (done.stdout[-3000:],
                                           done.stderr[-3000:])
        run.stderr = done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def kinds(lines, kind):
    return [line for line in lines if line["type"] == kind]


def wrong(lines):
    return {o["key"]: (o["verdict"], o["short_of"])
            for o in lines if o["type"] == "object"
            and o["verdict"] != "whole"}


def ask_socket(store, disk=0):
    """A connection to the store process."""

    name = json.loads((store.disks[disk] / "format").read_text())["set"]
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)

    def let_in():
        try:
            s.connect(b"\0s3-store/" + name.encode())
            return True
        except BlockingIOError:              # others wait before it
            return False

    poll("a place in the queue", let_in, 20)
    return s


def ask(s, **question):
    s.sendall(json.dumps(question).encode() + b"\n")
    data = b""
    while not data.endswith(b"\n"):
        data += s.recv(65536)
        assert data, "closed"
    return json.loads(data)


class Halted:
    """verify that has read the indexes, and is stopped before it has looked
    at all objects."""

    def __init__(self, tool, store):
        mine, its = pty.openpty()
        self.process = subprocess.Popen(
            [tool, "--json", "verify", *store.disks], stdout=its,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(its)
        self.out = open(mine, "rb", buffering=0)
        self.read = self.out.read(1)
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        data = self.read
        while True:
            try:
                piece = self.out.read(65536)
            except OSError:                      # the other end is closed
                break
            if not piece:
                break
            data += piece
        self.out.close()
        errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        assert "Sanitizer" not in errors, errors
        return (self.process.wait(60),
                [json.loads(line) for line in data.splitlines()], errors)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)


@pytest.fixture
def halted(tools, store):                                 # noqa: F811
    made = []

    def halted():
        made.append(Halted(tools[1], store))
        return made[-1]

    yield halted

    for h in made:
        h.end()


def test_whole_under_load(store, client, connect, run):
    for i in range(8):
        put(client, f"stays/{i}", f"stays/{i}", 300 * KIB)

    with Load(connect, BUCKET, threads=4, seed=5) as load:
        load.wait(60)

        for _ in range(2):
            lines = run(OK, "verify")
            assert wrong(lines) == {} and run.stderr == ""
            assert {f"stays/{i}" for i in range(8)} \
                <= {o["key"] for o in kinds(lines, "object")}
            assert kinds(lines, "stray") == kinds(lines, "index") == []
            assert [d["state"] for d in kinds(lines, "disk")] \
                == ["current"] * 4

            assert run(OK, "list-damaged") == []

            status, = run(OK, "status")
            assert status["in_use"] and status["objects"] >= 8
            load.wait(20)

    # nobody was turned away for it

    assert not load.refused, load.refused[:3]
    assert not load.failures, load.failures[:3]
    load.known.update({f"stays/{i}": (f"stays/{i}", 300 * KIB)
                       for i in range(8)})
    load.verify(client)


def test_what_is_deleted_meanwhile(store, client, halted):
    """Its rows name shards that are gone when it gets there, and files have
    come that they do not name.  Nor does a reload end it."""

    for i in range(48):
        put(client, f"{i:02}", f"{i:02}", MIB)
    wait_complete(store, client)

    tool = halted()

    for i in range(24, 36):
        assert client.delete(BUCKET, f"{i:02}").status == 204
    for i in range(36, 48):
        put(client, f"{i:02}", f"new {i}", MIB)
    for i in range(5):
        put(client, f"new/{i}", f"new/{i}", 100 * KIB)

    poll("shards of the old ones are unlinked",
         lambda: [len(list(d.glob("data/*/*"))) for d in store.disks]
         == [41] * 4, 20)
    store.reload()

    status, lines, errors = tool.go_on()
    assert (status, wrong(lines), errors) == (OK, {}, "")
    summary = lines[-1]
    assert summary["strays"] == 0 and summary["shard_files"] == 4 * 41
    assert summary["changed"] > 0
    assert summary["objects"]["whole"] + summary["changed"] == 48


def test_what_is_damaged(store, client, run, connect):
    for i in range(4):
        put(client, f"o{i}", f"o{i}", 300 * KIB)
    put(client, "whole", "whole", 3 * MIB)
    wait_complete(store, client)

    flip(shard_of(store.disks[1], "o0"), 10)
    shard_of(store.disks[2], "o1").unlink()
    for disk in store.disks[:3]:
        shard_of(disk, "o2").unlink()
    stray = store.disks[3] / "data/00" / ("00" * 16)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")

    with Load(connect, BUCKET, seed=6) as load:
        load.wait(20)
        lines = run(LOST, "verify")
        assert wrong(lines) == {"o0": ("short", 1), "o1": ("short", 1),
                                "o2": ("lost", 3)}
        found, = kinds(lines, "stray")
        assert stray.name in found["problem"]
        assert wrong(run(LOST, "list-damaged")) == wrong(lines)

        assert client.delete(BUCKET, "o2").status == 204
        stray.unlink()
        lines = run(DAMAGED, "verify")
        assert wrong(lines) == {"o0": ("short", 1), "o1": ("short", 1)}
        bad, = [p for o in lines if o.get("key") == "o0"
                for p in o["problems"]]
        assert bad["disk"] == str(store.disks[1])
        assert bad["problem"] == "a block does not match its checksum"
        load.wait(20)

    assert not load.refused and not load.failures


def test_log_is_damaged(store, client, run):
    """A frame that the store process has no reason to read again: what it
    has in memory is all that a later start would not find."""

    put(client, "k", "k", 300 * KIB)
    log = store.disks[0] / "index.db-wal"
    assert log.stat().st_size > 32 + 6 * 4120
    run(OK, "verify")

    flip_in_place(log, 32 + 2 * 4120 + 1000)
    lines = run(DAMAGED, "verify")
    assert [d["state"] for d in kinds(lines, "disk")] \
        == ["broken", "current", "current", "current"]
    assert "its index: " in kinds(lines, "disk")[0]["why"]
    assert wrong(lines) == {}
    flip_in_place(log, 32 + 2 * 4120 + 1000)
    run(OK, "verify")


def flip_in_place(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 1]))


def test_disk_that_is_out(store, client, run):
    put(client, "k", "k", 300 * KIB)
    wait_complete(store, client)
    lost = store.disks[1]
    before = drops(store, lost)
    move_away(lost)
    wait_noticed(store, lost, before)

    lines = run(DAMAGED, "verify")
    assert wrong(lines) == {"k": ("short", 1)}
    assert [d["state"] for d in kinds(lines, "disk")] \
        == ["current", "unreadable", "current", "current"]

    # it is there, and not where nginx looks

    disks = [store.disks[0], away(lost), *store.disks[2:]]
    status, = run(DAMAGED, "status", disks=disks)
    assert [d["state"] for d in status["disks"]] \
        == ["current", "out", "current", "current"]

    move_back(lost)
    poll("all are members", lambda: call_status(store) == 4, 30)
    wait_complete(store, client)
    assert wrong(run(OK, "verify")) == {}


def call_status(store, disk=0):
    with ask_socket(store, disk) as s:
        return [d["state"] for d in ask(s, ask="status")["status"]["disks"]] \
            .count("member")


def test_nobody_else_may_ask(store):
    """Another user gets nothing; nor does who sends what is no question."""

    if os.geteuid() != 0:
        pytest.skip("needs another user")

    with ask_socket(store) as s:
        assert ask(s, ask="status")["status"]["state"] == "ok"

    pid = os.fork()

    if pid == 0:
        try:
            name = json.loads((store.disks[0] / "format").read_text())["set"]
            os.setgid(64999)
            os.setuid(64999)
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(20)
            s.connect(b"\0s3-store/" + name.encode())
            try:
                s.sendall(b'{"ask":"status"}\n')
                data = s.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                data = b""
            os._exit(len(data) > 0)
        except BaseException:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    for line in [b"\n", b"[]\n", b"{}\n", b'{"ask":"x"}\n', b"\xff\n",
                 b'{"ask":"look","shards":[["0",1]]}\n',
                 b'{"ask":"look","shards":[["' + b"0" * 32 + b'",99]]}\n']:
        with ask_socket(store) as s:
            s.sendall(line)
            assert "error" in json.loads(s.recv(1000)), line

    with ask_socket(store) as s:
        s.sendall(b"x" * 20000)
        try:
            assert s.recv(100) == b""
        except ConnectionResetError:
            pass


def test_name_that_is_taken(store, client, run):
    """By another user, while nginx is down: he is not asked, nginx serves,
    and has the name when he is gone."""

    if os.geteuid() != 0:
        pytest.skip("needs another user")

    put(client, "k", "k", 100 * KIB)
    wait_complete(store, client)
    store.stop()

    name = json.loads((store.disks[0] / "format").read_text())["set"]
    listening, told = os.pipe()
    pid = os.fork()

    if pid == 0:
        try:
            os.setgid(64999)
            os.setuid(64999)
            s = socket.socket(socket.AF_UNIX)
            s.bind(b"\0s3-store/" + name.encode())
            s.listen(8)
            os.write(told, b"x")
            signal.pause()
        finally:
            os._exit(1)

    try:
        assert os.read(listening, 1) == b"x"

        run(OK, "verify")
        assert "user 64999 answers in place of" in run.stderr

        store.start()
        client.close()
        put(client, "k2", "k2", 100 * KIB)
        assert run(FAILED, "verify") == []
        assert "user 64999 answers in place of" in run.stderr
        assert "no store process answers" in run.stderr
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(listening)
        os.close(told)

    poll("nginx has the name", lambda: answers(store), 20)
    assert wrong(run(OK, "verify")) == {}


def answers(store):
    try:
        return call_status(store) == 4
    except ConnectionRefusedError:
        return False


def test_slow_ones_stop_nobody(store, client, run):
    """Connections that ask and take nothing, that hold a view, that leave
    with one: clients go on, and so does whoever asks next."""

    put(client, "k", "k", 100 * KIB)
    slow = []

    for _ in range(12):
        s = ask_socket(store)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        s.setblocking(False)
        slow.append(s)
        try:
            while True:
                s.send(b'{"ask":"status"}\n' * 100)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass

    for i in range(20):
        put(client, f"k{i}", f"k{i}", 20 * KIB)

    for s in slow:
        # with a reset, not by and by
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                     struct.pack("ii", 1, 0))
        s.close()

    for _ in range(5):
        with ask_socket(store) as s:
            assert "view" in ask_until(s)
            assert ask(s, ask="held") == {"held": True}
            put(client, "k", "k", 100 * KIB)

    with ask_socket(store) as s:
        s.sendall(b'{"ask":"view"}\n')           # and is gone

    assert wrong(run(OK, "verify")) == {}


def ask_until(s):
    answer = {}

    def got():
        nonlocal answer
        answer = ask(s, ask="view")
        return "view" in answer

    poll("a view", got, 20)
    return answer


def test_store_process_that_hangs(store, run, halted):
    pids = store.manager_pids()

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    try:
        assert run(FAILED, "status") == []
        assert "store process does not answer" in run.stderr
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    poll("it answers again", lambda: call_status(store) == 4, 20)


def test_nginx_that_ends(store, client, halted):
    """What cannot be asked for again is not taken for damage."""

    for i in range(48):
        put(client, f"{i:02}", f"{i:02}", MIB)
    wait_settled(store.disks, client.list(BUCKET), 20)

    tool = halted()
    shard_of(store.disks[0], "47").unlink()
    store.stop()

    status, lines, errors = tool.go_on()
    assert status == FAILED
    assert wrong(lines) == {}
    assert "nginx's store process is gone" in errors

    store.start()


# ---- heal


def test_heal(store, client, connect, run):
    """By object: what is written anew, and what cannot be."""

    for i in range(5):
        put(client, f"o{i}", f"o{i}", 300 * KIB)
    wait_complete(store, client)

    s3 = store.client()
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="up")["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key="up", UploadId=upload, PartNumber=1,
                   Body=content("part", 400 * KIB))
    objects = {shard_of(store.disks[3], f"o{i}").name for i in range(5)}

    def settled():
        return [f.name for f in store.disks[3].glob("data/*/*")
                if f.name not in objects]

    poll("the part's shard has its place", settled, 10)
    part, = settled()

    flip(shard_of(store.disks[1], "o0"), 10)
    shard_of(store.disks[2], "o1").unlink()
    for disk in store.disks[:3]:
        shard_of(disk, "o2").unlink()
    flip(shard_of(store.disks[0], "o3"), 10)
    flip(shard_of(store.disks[3], "o3"), 4)
    flip(store.disks[3] / "data" / part[:2] / part, 10)

    with Load(connect, BUCKET, seed=8) as load:
        load.wait(20)
        lines = run(LOST, "heal")
        load.wait(20)

    assert not load.refused and not load.failures
    assert {line["key"]: line["verdict"] for line in lines[:-1]} == {
        "o0": "healed", "o1": "healed", "o3": "healed", "o2": "lost",
        "up": "healed"}
    lost, = [line for line in lines if line.get("key") == "o2"]
    assert "it is not there" in {p["problem"] for p in lost["problems"]}
    summary = lines[-1]
    assert (summary["healed"], summary["short"], summary["lost"]) == (4, 0, 1)

    # and verify says so, too

    lines = run(LOST, "verify")
    assert wrong(lines) == {"o2": ("lost", 3)}
    assert kinds(lines, "part")[0]["verdict"] == "whole"

    assert client.delete(BUCKET, "o2").status == 204
    lines = run(OK, "heal")
    assert len(lines) == 1 and lines[0]["healed"] == 0
    assert wrong(run(OK, "verify")) == {}


def test_heal_what_disks_do_not_take(store, client, run):
    """A disk is away: what it has cannot be healed, the rest is."""

    put(client, "o", "o", 300 * KIB)
    wait_complete(store, client)
    before = drops(store, store.disks[0])
    move_away(store.disks[0])
    wait_noticed(store, store.disks[0], before)
    shard_of(store.disks[1], "o").unlink()

    line, _ = run(DAMAGED, "heal")
    assert (line["key"], line["verdict"], line["short_of"]) \
        == ("o", "short", 1)
    problem, = line["problems"]
    assert problem["problem"] == "its disk is not there"

    move_back(store.disks[0])
    poll("all are members", lambda: call_status(store, 1) == 4, 30)
    wait_complete(store, client)
    assert run(OK, "heal")[-1]["healed"] == 0


def test_heal_what_nobody_can_tell(store, client, run):
    """All checksums of a shard are right, and its bytes are not: the store
    process finds nothing wrong, and it is not called healed."""

    put(client, "o", "o", 300 * KIB)
    wait_complete(store, client)
    exchange(store.disks, "o")

    line, _ = run(DAMAGED, "heal")
    assert (line["key"], line["verdict"]) == ("o", "short")
    assert line["problems"][0]["problem"] == "data and parity do not match"
    assert wrong(run(DAMAGED, "verify")) == {"o": ("short", 1)}


def test_nobody_has_the_set(store, client, run):
    put(client, "o", "o", 300 * KIB)
    wait_complete(store, client)
    store.stop()
    assert run(FAILED, "heal") == []
    assert "Start nginx" in run.stderr
    empty = store.path / "empty"
    empty.mkdir()
    assert run(FAILED, "replace", disks=[empty, *store.disks]) == []
    assert "Start nginx" in run.stderr and os.listdir(empty) == []
    assert run(FAILED, "format", disks=[empty]) == []
    assert "formed by nginx" in run.stderr and os.listdir(empty) == []
    store.start()


# ---- replace


def lose(store, *disks):
    for disk in disks:
        owner = disk.stat()
        move_away(disk)
        disk.mkdir()
        os.chown(disk, owner.st_uid, owner.st_gid)


def test_replace(store, client, connect, run):
    for i in range(4):
        put(client, f"o{i}", f"o{i}", MIB)
    wait_complete(store, client)
    lost = store.disks[1]
    others = [d for d in store.disks if d != lost]
    before = drops(store, lost)
    lose(store, lost)
    wait_noticed(store, lost, before)

    def refused(why, *args, disks=None):
        assert run(FAILED, " ".join(["replace", *args]),
                   disks=disks or [lost, *others]) == []
        assert why in run.stderr
        assert not (lost / "replace").exists()

    refused("slot 0 is none that a disk is missing for: these are 1",
            "--slot", "0")
    refused("is not empty", disks=[others[0], *others])
    elsewhere = store.path / "elsewhere"
    elsewhere.mkdir()
    os.chown(elsewhere, lost.stat().st_uid, lost.stat().st_gid)
    refused("nginx has no disk at", disks=[elsewhere, *others])
    refused("usage", "--slot", "x")
    refused("usage", "--wait")

    if os.geteuid() == 0 and lost.stat().st_uid:
        owner = lost.stat()
        os.chown(lost, 0, 0)
        refused("chown")
        os.chown(lost, owner.st_uid, owner.st_gid)

    with Load(connect, BUCKET, seed=9) as load:
        load.wait(20)
        lines = run(OK, "replace", disks=[lost, *others])
        load.wait(20)

    assert not load.refused and not load.failures
    assert lines[-1] == {"type": "replaced", "state": "member", "slot": 1,
                         "computed": lines[-1]["computed"], "missing": 0,
                         "path": str(lost)}
    assert lines[-1]["computed"] >= 4
    assert [line["phase"] for line in lines[:-1]][-1] in ("masks", "shards")

    assert wrong(run(OK, "verify")) == {}
    refused("is not empty")


def test_replace_two(store, client, run):
    """Which is which nobody can tell after a restart: it is asked for."""

    put(client, "o", "o", MIB)
    wait_complete(store, client)
    store.stop()
    a, b, *others = store.disks
    lose(store, a, b)
    store.start(wait=False)
    poll("it is read-only", lambda: read_only(store, others), 30)

    assert run(FAILED, "replace", disks=[a, *others]) == []
    assert "--slot" in run.stderr and not (a / "replace").exists()

    assert run(OK, "replace --slot 0 --no-wait", disks=[a, *others]) == []
    assert run(OK, "replace --slot 1",
               disks=[b, *others])[-1]["missing"] == 0
    client.close()
    wait_complete(store, client)
    poll("all are members", lambda: call_status(store, 2) == 4, 20)
    assert wrong(run(OK, "verify")) == {}


def read_only(store, others):
    try:
        with ask_socket(store, store.disks.index(others[0])) as s:
            return ask(s, ask="status")["status"]["state"] == "read_only"
    except ConnectionRefusedError:
        return False
