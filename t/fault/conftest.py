import os
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

    server = s3_server.Store(disks=4, parity=2)

    try:
        server.start()
        server.client().create_bucket(Bucket=faults.BUCKET)
        yield server
        server.stop(allow=KILLED)
    finally:
        server.stop(check=False)
        server.remove()


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
