"""A disk on which not one byte is left: what is refused, and what is not."""

import threading

import pytest

from faults import BUCKET, INLINE_MAX, content, poll, serving
from small_disk import SmallDisk

OBJECTS = 400
DELETERS = 4


@pytest.fixture
def store():
    server = SmallDisk(disks=4, parity=2)

    if not server.mounted:
        server.remove()
        pytest.skip("may not mount a file system to fill")

    with serving(server):
        yield server


def body(key):
    return content(key, INLINE_MAX)


def test_deletes_beside_writes(store, connect):
    """A write for which there is no room takes no delete with it, though both
    are decided at once."""

    client = connect()

    for i in range(OBJECTS):
        assert client.put(BUCKET, f"old-{i}", body(f"old-{i}")).status == 200

    filler = store.fill()
    going = True
    written = []
    refused = []
    deleted = []
    lock = threading.Lock()

    def write(me):
        client = connect()
        n = 0

        while going:
            key = f"new-{me}-{n}"
            answer = client.put(BUCKET, key, body(key))
            n += 1

            with lock:
                if answer.status == 200:
                    written.append(key)
                else:
                    refused.append(answer)

    def delete(me):
        client = connect()

        for i in range(me, OBJECTS, DELETERS):
            answer = client.delete(BUCKET, f"old-{i}")
            with lock:
                deleted.append(answer)

    writers = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in writers:
        thread.start()

    try:
        poll("writes are refused", lambda: len(refused) > 4, 60)
        deleters = [threading.Thread(target=delete, args=(i,))
                    for i in range(DELETERS)]
        for thread in deleters:
            thread.start()
        for thread in deleters:
            thread.join()
    finally:
        going = False
        for thread in writers:
            thread.join()

    assert [a for a in deleted if a.status != 204] == []
    assert len(deleted) == OBJECTS
    assert {(a.status, a.code) for a in refused} \
        == {(503, "ServiceUnavailable")}

    filler.unlink()

    assert set(client.list(BUCKET)) == set(written)

    # there is room again

    assert client.put(BUCKET, "last", body("last")).status == 200

    for key in [*written, "last"]:
        assert client.get(BUCKET, key).body == body(key)
