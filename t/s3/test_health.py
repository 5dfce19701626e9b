"""s3_health: what balancers, orchestrators and mc ask without a signature."""

import os
import pathlib
import signal

import pytest

import raw
import s3_server


HEALTH = """
        location = /healthz { s3_health main; }
        location /minio/health/ { s3_health main; }
        location ~ ^/probe/ { s3_health main; }
        location /some/ {
            s3_health main;
            limit_except GET { deny all; }
            if ($arg_x) { set $y 1; }
        }
"""

LIVE = "/minio/health/live"
READY = "/minio/health/ready"
WRITE = "/minio/health/cluster"
READ = "/minio/health/cluster/read"
ALL = (LIVE, READY, WRITE, READ, "/healthz")


def ask(store, path, method="GET", query=""):
    return raw.once(store, method, path, query, signed=False)


def statuses(store):
    return {path: ask(store, path).status for path in ALL}


def becomes(store, expected):
    """A change is seen by a look at each disk now and then."""

    s3_server.wait_for(
        lambda: statuses(store) == dict(zip(ALL, expected)), 20,
        f"not {expected}: {statuses(store)}")


@pytest.fixture(scope="module")
def server():
    with s3_server.Store(server=HEALTH) as store:
        yield store


@pytest.mark.parametrize("path", [*ALL, "/probe/ready", "/some/ready",
                                  "/some/where/cluster", "/healthz?x=1"])
def test_healthy(server, path):
    path, _, query = path.partition("?")
    answer = ask(server, path, query=query)

    assert answer.status == 200
    assert answer.body == b"ok: 4 of 4 disks\n"
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["cache-control"] == "no-store"
    assert "x-minio-server-status" not in answer.headers

    head = ask(server, path, "HEAD", query)
    assert head.status == 200
    assert (head.headers["content-length"], head.body) == ("17", b"")


def test_headers_of_minio(server):
    """mc reads the quorum as a number, an empty text as none."""

    assert ask(server, WRITE).headers["x-minio-write-quorum"] == "3"
    assert ask(server, READ).headers["x-minio-read-quorum"] == "2"
    assert "x-minio-healing-drives" not in ask(server, WRITE).headers

    for path in (WRITE, READ):
        assert ask(server, path, query="maintenance=true").status == 412
        assert ask(server, path, query="maintenance=false").status == 200

    assert ask(server, READY, query="maintenance=true").status == 200


@pytest.mark.parametrize("path", ["/minio/health/", "/minio/health/lives",
                                  "/minio/health/live/", "/some/thing",
                                  "/minio/health/cluster/write"])
def test_other_paths(server, path):
    assert ask(server, path).status == 404


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "OPTIONS"])
def test_other_methods(server, method):
    assert ask(server, READY, method).status == 405
    assert raw.once(server, method, "/some/ready", body=b"x",
                    signed=False).status == 403


def test_body_is_dropped(server):
    with raw.Connection(server) as conn:
        for _ in range(3):
            assert conn.request("GET", READY, body=b"x" * 5000,
                                signed=False).status == 200


def test_not_s3s(server):
    """The locations beside it are S3 still, and want a signature."""

    ask(server, "/minio/healthy").is_error(403, "AccessDenied")
    assert raw.once(server, "GET", "/").status == 200
    assert "x-amz-request-id" not in ask(server, READY).headers


def test_disks_are_away():
    with s3_server.Store(disks=4, parity=2, server=HEALTH) as store:
        away = [d.with_name(d.name + ".away") for d in store.disks]

        becomes(store, (200, 200, 200, 200, 200))

        store.disks[0].rename(away[0])
        s3_server.wait_for(lambda: ask(store, WRITE).body
                           == b"ok: 3 of 4 disks\n", 20)
        becomes(store, (200, 200, 200, 200, 200))

        store.disks[1].rename(away[1])
        becomes(store, (200, 200, 503, 200, 200))
        answer = ask(store, WRITE)
        assert answer.body == b"too few disks to write: 2 of 4 disks\n"
        assert answer.headers["x-minio-server-status"] == "offline"
        assert answer.headers["x-minio-write-quorum"] == "3"
        assert ask(store, WRITE, "HEAD").status == 503

        store.disks[2].rename(away[2])
        becomes(store, (200, 503, 503, 503, 503))
        assert ask(store, READ).body \
            == b"too few disks to read: 1 of 4 disks\n"

        for there, gone in zip(store.disks, away):
            if gone.exists():
                gone.rename(there)

        becomes(store, (200, 200, 200, 200, 200))


def test_store_process_is_away():
    """Killed, another one comes."""

    with s3_server.Store(server=HEALTH) as store:
        becomes(store, (200, 200, 200, 200, 200))

        manager, = store.manager_pids()
        os.kill(manager, signal.SIGKILL)

        s3_server.wait_for(lambda: store.manager_pids()
                           not in ([], [manager]), 20)
        becomes(store, (200, 200, 200, 200, 200))

        store.stop(allow=(r"exited on signal 9",))


def test_nothing_to_run_on():
    """Disks that were never there: nginx runs, and says what is wrong."""

    store = s3_server.Store(server=HEALTH)

    try:
        for disk in store.disks:
            disk.rmdir()

        store.start(wait=False)
        s3_server.wait_for(lambda: pathlib.Path(store.path / "nginx.pid")
                           .exists(), 20)
        s3_server.wait_for(lambda: ask(store, READY).body
                           == b"too few disks to read: 0 of 4 disks\n", 20)
        becomes(store, (200, 503, 503, 503, 503))
        store.stop()
    finally:
        store.stop(check=False)
        store.remove()
