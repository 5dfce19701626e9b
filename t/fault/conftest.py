import os
import subprocess
import sys

import pytest

import s3_server

sys.path.insert(0, os.path.dirname(__file__))

import faults                                               # noqa: E402


# what nginx itself says of a process that a test has killed

KILLED = (r"exited on signal 9",)


@pytest.fixture
def store():
    """A server of the test's own: it will be broken."""

    with faults.serving(s3_server.Store(disks=4, parity=2), KILLED) as server:
        yield server


@pytest.fixture(scope="session")
def tool():
    """s3-store, as it is installed."""

    path = s3_server.BUILD / "s3-store"
    subprocess.run(["make", "-s", f"BUILD={s3_server.BUILD}", path],
                   cwd=s3_server.ROOT, check=True, timeout=300)
    return path


@pytest.fixture
def connect(store):
    """Makes clients, each with one connection."""

    made = []

    def connect(**how):
        made.append(faults.Client(store.port, s3_server.ACCESS_KEY,
                                  s3_server.SECRET_KEY, **how))
        return made[-1]

    yield connect

    for client in made:
        client.close()


@pytest.fixture
def client(connect):
    return connect()
