"""s3_status over a reload, and over deaths of what counts."""

import os
import signal

import pytest

import s3_server
from s3_server import wait_for
from test_status import (STATUS, disk, ended, half_put, in_flight, operations,
                         settled, since, store_status)


pytestmark = pytest.mark.skipif(
    bool(s3_server.EXTERNAL or s3_server.THROUGH),
    reason="starts servers of its own")


def test_reload_and_death():
    """Counts go on over a reload; what a killed worker had under way ends
    with it."""

    with s3_server.Store(server=STATUS) as store:
        settled(store)
        client = store.client()
        client.create_bucket(Bucket="bkt")
        wait_for(lambda: "CreateBucket" in operations(store), 20)
        before = operations(store)

        for _ in range(5):
            client.head_bucket(Bucket="bkt")

        store.reload()

        for _ in range(7):
            client.head_bucket(Bucket="bkt")

        after = ended(store, before, 12)
        assert since(before, after, "HeadBucket")[0] == {"200": 12}

        wait_for(lambda: in_flight(store) == 0, 20)
        conn = half_put(store, "k")
        wait_for(lambda: in_flight(store) == 1, 20)

        workers = store.worker_pids(old=True)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

        wait_for(lambda: len(store.worker_pids()) == 2
                 and not set(store.worker_pids()) & set(workers), 20)
        wait_for(lambda: in_flight(store) == 0, 20)
        assert since(before, operations(store), "HeadBucket")[0] \
            == {"200": 12}
        conn.close()

        store.stop(allow=(r"exited on signal 9",))


@pytest.mark.parametrize("how", ["reload", "kill"])
def test_store_process_takes_over(how):
    """What a store process has counted its successor goes on with."""

    with s3_server.Store(server=STATUS) as store:
        settled(store)
        client = store.client()
        client.create_bucket(Bucket="bkt")
        gone = store.disks[1]
        away = gone.with_name("away")

        gone.rename(away)
        settled(store, 3)
        client.put_object(Bucket="bkt", Key="k", Body=b"x" * 100_000)
        away.rename(gone)

        wait_for(lambda: store_status(store)["counts"]["shards_repaired"]
                 == 1, 30)
        before = settled(store, 4)
        errors = disk(before, gone)["errors"]
        assert errors >= 1

        managers = store.manager_pids()

        if how == "reload":
            store.reload()
        else:
            os.kill(managers[0], signal.SIGKILL)

        wait_for(lambda: store.manager_pids()
                 and not set(store.manager_pids()) & set(managers), 30)

        # the new one begins a generation, by which it is known

        wait_for(lambda: (store_status(store) or before)["generation"]
                 > before["generation"], 30)
        one = settled(store, 4)
        assert disk(one, gone)["errors"] >= errors
        assert one["counts"]["shards_repaired"] == 1

        store.stop(allow=(r"exited on signal 9",) if how == "kill" else ())
