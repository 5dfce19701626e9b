"""s3-credential, and s3_credentials from a file that changes and from the
environment."""

import concurrent.futures
import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest

import raw
import s3_server


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()
            if line.strip()]


def only(path, names=("keys",)):
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(names)


# ---- the tool

def test_life_of_a_key(run):
    run("add", "AK1", "--description", "one", stdin="secret/1\n")
    run("add", "AK2", stdin="secret 2 ü")

    one, two = entries(run.path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
                        one.pop("created_at"))
    assert one == {"access_key": "AK1", "secret_key": "secret/1",
                   "enabled": True, "description": "one"}
    assert two["secret_key"] == "secret 2 ü"
    assert run.path.stat().st_mode & 0o7777 == 0o600

    run("disable", "AK1")
    run("disable", "AK1")
    assert [e["enabled"] for e in entries(run.path)] == [False, True]

    lines = run("list").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["AK1", "disabled"], ["AK2", "enabled"]]
    assert lines[0].endswith("\tone")
    assert "secret" not in run("list")
    assert "secret/1" in run("list", "--show-secrets")

    stats = dict(line.split() for line in run("stats").splitlines())
    assert (stats["keys"], stats["enabled"], stats["disabled"]) \
        == ("2", "1", "1")
    assert stats["mode"] == "0600"

    run("enable", "AK1")
    assert [e["enabled"] for e in entries(run.path)] == [True, True]
    run("remove", "AK1")
    assert [e["access_key"] for e in entries(run.path)] == ["AK2"]
    run("remove", "AK2")
    assert entries(run.path) == []
    only(run.path)


def test_generate(run):
    made = [dict(line.split() for line in run("generate").splitlines())
            for _ in range(5)]

    assert [(e["access_key"], e["secret_key"]) for e in entries(run.path)] \
        == [(m["access_key"], m["secret_key"]) for m in made]
    assert len({m["access_key"] for m in made}) == 5
    assert all(re.fullmatch("[A-Z2-7]{20}", m["access_key"])
               and re.fullmatch("[A-Za-z0-9]{40}", m["secret_key"])
               for m in made)


@pytest.mark.parametrize("key", ["", "a b", "a,b", "a=b", "ä", "a\nb",
                                 "a" * 129])
def test_bad_access_keys(run, key):
    assert "access key" in run("add", key, stdin="s", status=1)
    assert not run.path.exists()


@pytest.mark.parametrize("secret", ["", "\n", "a" * 129, "a\tb", "a\x00"])
def test_bad_secrets(run, secret):
    assert "secret" in run("add", "AK", stdin=secret, status=1)
    assert not run.path.exists()


def test_what_is_there_stays(run):
    first = ('{ "secret_key":"s1",  "access_key":"AK1", "x": [1, {"y": 2}],'
             ' "enabled": true }')
    text = f'\n{first}\n  \n{{"access_key": "AK2", "secret_key": "s2"}}'
    run.path.write_text(text)
    run.path.chmod(0o647)

    run("add", "AK3", stdin="s3")
    assert run.path.read_text().startswith(text + "\n")
    assert run.path.stat().st_mode & 0o7777 == 0o640

    run("remove", "AK2")
    assert run.path.read_text().startswith(f"\n{first}\n  \n{{")
    assert [e["access_key"] for e in entries(run.path)] == ["AK1", "AK3"]

    run("disable", "AK1")
    assert entries(run.path)[0] == {
        "access_key": "AK1", "secret_key": "s1", "x": [1, {"y": 2}],
        "enabled": False}


def test_refused(run):
    run("add", "AK1", stdin="other secret")
    before = run.path.read_text()

    assert "there already" in run("add", "AK1", stdin="s", status=1)
    assert "no such key" in run("disable", "AK9", status=1)
    assert "no such key" in run("remove", "AK9", status=1)
    assert run.path.read_text() == before

    for line in ("{", "[]", '{"access_key": "AK2"}', '# comment',
                 '{"access_key": "AK1", "secret_key": "zzz"}',
                 '{"access_key": "AK2", "secret_key": "zzz", "enabled": 1}'):
        run.path.write_text(before + line + "\n")
        text = run("add", "AK3", stdin="s", status=1)
        assert "keys:2" in text and "zzz" not in text
        run("list", status=1)
        run("remove", "AK1", status=1)
        assert run.path.read_text() == before + line + "\n"

    only(run.path)


def test_usage(tool, run):
    for args in ([], ["nonsense", "f"], ["add"], ["add", "f"],
                 ["list"], ["list", "f", "x"], ["generate", "f", "x"],
                 ["remove", "f"], ["stats", "--show-secrets", "f"],
                 ["list", "--description", "x", "f"], ["--nonsense"]):
        done = subprocess.run([tool, *args], capture_output=True, timeout=10,
                              text=True, cwd=run.path.parent)
        assert done.returncode == 2 and "usage:" in done.stderr, args

    for command in ("list", "stats"):
        run(command, status=1)
    for command in ("disable", "enable", "remove"):
        run(command, "AK", status=1)

    assert not run.path.exists()


def test_link_and_directory(run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("keys")
    run.path.write_text("")

    run("add", "AK", stdin="s", path=link)
    assert link.is_symlink()
    assert entries(run.path)[0]["access_key"] == "AK"

    run("add", "AK", stdin="s", path=tmp_path, status=1)
    run("add", "AK", stdin="s", path=tmp_path / "none/keys", status=1)


def test_terminal_escapes(run):
    run("add", "AK", "--description", "\x1b[31m\n\u009b", stdin="s")
    assert "\x1b" not in run("list") and "\u009b" not in run("list")
    assert len(run("list").splitlines()) == 1


def test_asks_on_a_terminal(tool, run):
    """Twice, without an echo."""

    for answers, status in (("typed\ntyped\n", 0), ("typed\ntapped\n", 1)):
        run.path.unlink(missing_ok=True)
        main, other = pty.openpty()

        with subprocess.Popen([tool, "add", run.path, "AK"], stdin=other,
                              stderr=subprocess.PIPE) as process:
            os.close(other)
            seen = b""

            for answer in answers.splitlines():
                while not seen.endswith((b"key: ", b"Again: ")):
                    seen += process.stderr.read(1)
                os.write(main, answer.encode() + b"\n")
                seen += b" "

            rest = process.stderr.read()
            assert process.wait(10) == status, rest

        os.set_blocking(main, False)
        try:
            echoed = os.read(main, 1000)
        except OSError:
            echoed = b""
        os.close(main)
        assert b"typed" not in echoed

        if status == 0:
            assert entries(run.path)[0]["secret_key"] == "typed"
        else:
            assert not run.path.exists()


def test_twenty_at_once(run):
    """On a file that none has made yet: nothing is lost, all is whole."""

    def edit(i):
        for n in range(5):
            run("add", f"AK-{i}-{n}", stdin=f"secret {i} {n}")
        run("disable", f"AK-{i}-1")
        run("remove", f"AK-{i}-0")

    def watch():
        while not done:
            if run.path.exists():
                entries(run.path)
            time.sleep(0.001)

    done = []

    with concurrent.futures.ThreadPoolExecutor(21) as pool:
        watcher = pool.submit(watch)
        try:
            list(pool.map(edit, range(20)))
        finally:
            done.append(1)
        watcher.result()

    assert sorted((e["access_key"], e["secret_key"], e["enabled"])
                  for e in entries(run.path)) \
        == sorted((f"AK-{i}-{n}", f"secret {i} {n}", n != 1)
                  for i in range(20) for n in range(1, 5))
    only(run.path)


# ---- nginx

def lists(store, **kwargs):
    """The code of a ListBuckets on a new connection, or None."""

    answer = raw.once(store, "GET", "/", **kwargs)
    return None if answer.status == 200 else answer.code


def always(store, code, **kwargs):
    """Every worker says so: many connections, one after another."""

    s3_server.wait_for(
        lambda: all(lists(store, **kwargs) == code for _ in range(12)), 20,
        f"not {code}")


def test_nginx_takes_the_change(run):
    with s3_server.Store(disks=1, location="s3_credentials keys.jsonl "
                         "refresh=100ms;") as store:
        new = {"access_key": "NEWKEY", "secret_key": "new secret"}

        assert lists(store, **new) == "InvalidAccessKeyId"
        run("add", "NEWKEY", stdin="new secret", path=store.keys)
        always(store, None, **new)
        run("disable", "NEWKEY", path=store.keys)
        always(store, "InvalidAccessKeyId", **new)
        run("enable", "NEWKEY", path=store.keys)
        always(store, None, **new)
        run("remove", "NEWKEY", path=store.keys)
        always(store, "InvalidAccessKeyId", **new)

        # the others were never away

        assert lists(store) is None
        assert "not reloaded" not in store.log()


PAIRS = [("S3_ACCESS_KEY", "S3_SECRET_KEY"),
         ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
         ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")]


@pytest.fixture
def environment(monkeypatch):
    for name in sum(PAIRS, ()):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_environment_outlives_reload_and_upgrade(environment):
    """nginx hands a new binary no variable that it was not told of."""

    keys = {"access_key": "ENVKEY", "secret_key": "env secret"}
    environment.setenv("S3_ACCESS_KEY", keys["access_key"])
    environment.setenv("S3_SECRET_KEY", keys["secret_key"])
    environment.delenv("NGINX", raising=False)

    store = s3_server.Store(disks=1, location="s3_credentials env;")

    # upgraded is only who has left his parent

    store.conf.write_text(store.conf.read_text().replace("daemon off;", ""))
    pidfile = store.path / "nginx.pid"

    def master():
        try:
            return int(pidfile.read_text())
        except (FileNotFoundError, ValueError):
            return None     # of an upgrade: renamed, or not yet written

    def serves():
        try:
            return lists(store, **keys) is None
        except OSError:
            return False

    def is_running(pid):
        try:
            stat = open(f"/proc/{pid}/stat").read()
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def leave(pid):
        os.kill(pid, signal.SIGQUIT)
        s3_server.wait_for(lambda: not is_running(pid), s3_server.QUIT)

    masters = []

    try:
        subprocess.run([s3_server.nginx_path(), "-e", "stderr", "-p",
                        f"{store.path}/", "-c", store.conf], check=True,
                       timeout=30, stderr=subprocess.DEVNULL)
        masters.append(s3_server.wait_for(master, s3_server.START))
        s3_server.wait_for(serves, s3_server.START)
        store.session = store.master = masters[0]    # its processes

        # of the file's keys none

        assert lists(store) == "InvalidAccessKeyId"

        store.reload()
        always(store, None, **keys)

        os.kill(masters[0], signal.SIGUSR2)
        masters.append(s3_server.wait_for(
            lambda: master() not in (None, masters[0]) and master(),
            s3_server.START))
        leave(masters.pop(0))

        s3_server.wait_for(serves, s3_server.START)
        always(store, None, **keys)
        assert lists(store, secret_key="wrong", access_key="ENVKEY") \
            == "SignatureDoesNotMatch"
    finally:
        for pid in masters:
            leave(pid)
        store.remove()


def check(environment, settings):
    """nginx -t's verdict and text"""

    for name, value in settings.items():
        environment.setenv(name, value)

    store = s3_server.Store(disks=1, location="s3_credentials env;")
    try:
        done = subprocess.run(
            [s3_server.nginx_path(), "-t", "-e", "stderr", "-p",
             f"{store.path}/", "-c", store.conf], text=True, timeout=60,
            capture_output=True)
        return done.returncode == 0, done.stderr
    finally:
        store.remove()


@pytest.mark.parametrize("pair", PAIRS)
def test_each_pair(environment, pair):
    ok, text = check(environment, {pair[0]: "AK", pair[1]: "the secret"})
    assert ok, text


@pytest.mark.parametrize("settings,words", [
    ({}, ["no keys", "S3_ACCESS_KEY", "S3_SECRET_KEY", "MINIO_ROOT_USER"]),
    ({"S3_ACCESS_KEY": "", "S3_SECRET_KEY": ""}, ["no keys"]),
    ({"S3_ACCESS_KEY": "AK"}, ["S3_ACCESS_KEY is set", "S3_SECRET_KEY is"]),
    ({"S3_SECRET_KEY": "the secret", "MINIO_ROOT_USER": "AK",
      "MINIO_ROOT_PASSWORD": "the secret"},
     ["S3_SECRET_KEY is set", "S3_ACCESS_KEY is not"]),
    ({"S3_ACCESS_KEY": "A K", "S3_SECRET_KEY": "the secret"},
     ["S3_ACCESS_KEY must"]),
    ({"S3_ACCESS_KEY": "AK", "S3_SECRET_KEY": "the secret" * 20},
     ["S3_SECRET_KEY 1 to 128"]),
])
def test_missing(environment, settings, words):
    ok, text = check(environment, settings)
    assert not ok
    assert "nginx.conf:" in text
    for word in words:
        assert word in text, text
    assert "the secret" not in text
