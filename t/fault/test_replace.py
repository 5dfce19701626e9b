"""A disk that is lost is replaced by an empty one, which is taken for it only
when the operator says so; a disk with a history of its own gets the others'
index.  Both while clients write, and then other disks may go."""

import itertools
import os
import shutil

import pytest

from faults import BUCKET, KIB, MIB, Load, content, poll, wait_settled
from test_disks import (away, check_all, move_away, move_back, own, put,
                        wait_complete, wait_noticed, wait_refused,
                        wait_writable, drops, forget_probe)


MEMBER = 30            # seconds for an index to be copied, on a busy machine


@pytest.fixture
def objects(client):
    objects = {}

    for size in (0, 100, 20 * KIB, 64 * KIB + 1, MIB, 5 * MIB + 3):
        key = f"size/{size}"
        objects[key] = (key, size)
        put(client, key, *objects[key])

    return objects


def lose(store, disk):
    """Its directory is an empty one from now on; the lost one is aside."""

    before = drops(store, disk)
    owner = disk.stat()
    move_away(disk)
    wait_noticed(store, disk, before)
    disk.mkdir()
    os.chown(disk, owner.st_uid, owner.st_gid)


def ask(disk, text=""):
    (disk / "replace").write_text(text)


def wait_member(store, disk, times=1):
    poll(f"{disk} is a member again",
         lambda: store.log().count(f'disk "{disk}" is a member again')
         >= times, MEMBER)


def check_read(client, objects):
    for key, (tag, size) in objects.items():
        def right():
            answer = client.get(BUCKET, key)
            assert answer.status == 503 or (
                answer.status == 200
                and answer.body == content(tag, size)), (key, answer)
            return answer.status == 200

        # a worker may not have opened a disk that has just come back

        poll(f"{key} is read", right, 5)


def check_any_two(store, client, objects, kept):
    """Whichever two others are away, what kept has is needed and right."""

    others = [d for d in store.disks if d not in kept]

    for pair in itertools.combinations(others, 2):
        move_away(*pair)
        wait_refused(client)
        check_read(client, objects)
        move_back(*pair)
        wait_writable(client)
        forget_probe(client)
        wait_complete(store, client)


def test_lost_disk_is_replaced(store, client, connect, objects):
    lost = store.disks[1]
    wait_complete(store, client)
    lose(store, lost)

    poll("the log says what to do",
         lambda: f'disk "{lost}" is empty: not mounted?' in store.log()
         and 'needs a file "replace" in it' in store.log(), 5)

    with Load(connect, BUCKET, seed=1) as load:
        load.wait(30)
        assert os.listdir(lost) == []
        ask(lost)
        wait_member(store, lost)
        load.wait(30)

    # one was away all the time: nothing is refused, nothing is lost

    assert not load.refused, load.refused[:3]
    assert not load.failures, load.failures[:3]
    assert len(load.known) > 10

    for key, (tag, size) in objects.items():
        load.known[key] = (tag, size)

    load.verify(client)

    for key, state in load.known.items():
        if state is not None:
            objects[key] = state

    wait_settled(store.disks, client.list(BUCKET), MEMBER, strict=False)
    assert not (lost / "replace").exists()
    check_any_two(store, client, objects, [lost])

    # and so it is for the next process

    store.stop()
    store.start()
    client.close()
    wait_writable(client)
    forget_probe(client)
    check_all(client, objects)
    check_any_two(store, client, objects, [lost])


def test_as_many_as_may_be_lost(store, client, objects):
    """Two of four are gone for good: nothing is written until both places
    are taken, and then all data stands on the new disks as well."""

    wait_complete(store, client)
    lost = [store.disks[0], store.disks[2]]

    for disk in lost:
        lose(store, disk)

    wait_refused(client)
    check_all(client, objects)

    for disk in lost:
        ask(disk)

    # small objects have no shards, which need the new disks' masks clear

    def taken():
        return client.put(BUCKET, "after",
                          content("after", 3 * MIB)).status == 200

    poll("writes are taken again", taken, MEMBER)
    objects["after"] = ("after", 3 * MIB)
    wait_settled(store.disks, client.list(BUCKET), MEMBER, strict=False)
    check_any_two(store, client, objects, lost)


def test_killed_in_between(store, client, objects):
    """kill -9 of the store process while a disk is being replaced."""

    wait_complete(store, client)
    lost = store.disks[3]
    lose(store, lost)
    ask(lost)
    poll("it has begun", lambda: (lost / "format").exists(), 5)

    for pid in store.manager_pids():
        os.kill(pid, 9)

    wait_writable(client)
    forget_probe(client)
    wait_settled(store.disks, client.list(BUCKET), MEMBER, strict=False)
    check_any_two(store, client, objects, [lost])


def test_the_lost_one_is_found(store, client, objects):
    """Its place is another's: it is left alone, and the set with it."""

    wait_complete(store, client)
    lost = store.disks[0]
    lose(store, lost)
    ask(lost)
    wait_member(store, lost)
    wait_settled(store.disks, client.list(BUCKET), MEMBER, strict=False)

    store.stop()
    new = lost.with_name("new")
    os.rename(lost, new)
    move_back(lost)
    store.start()
    client.close()
    wait_writable(client)
    forget_probe(client)
    check_all(client, objects)
    assert f'disk "{lost}" is of another set' in store.log()

    store.stop()
    shutil.rmtree(lost)
    os.rename(new, lost)
    store.start()
    client.close()
    wait_writable(client)
    forget_probe(client)
    wait_complete(store, client)
    check_any_two(store, client, objects, [lost])


def test_a_history_of_its_own(store, client, objects):
    """The first two disks are put back to what they were before disk 3 saw
    more writes with them: its index says what theirs never heard of."""

    a, b, c, d = store.disks
    wait_complete(store, client)
    store.stop()

    for disk in (a, b):
        shutil.copytree(disk, disk.with_name(disk.name + ".saved"))
        own(disk.with_name(disk.name + ".saved"), disk.stat())

    move_away(c)
    store.start()
    client.close()
    wait_writable(client)
    forget_probe(client)
    put(client, "never", "never", 3 * MIB)
    put(client, "never/small", "never/small", 100)
    store.stop()

    for disk in (a, b):
        shutil.rmtree(disk)
        os.rename(disk.with_name(disk.name + ".saved"), disk)

    move_back(c)
    move_away(d)
    store.start()
    client.close()
    wait_writable(client)
    forget_probe(client)

    for i in range(10):
        put(client, f"after/{i}", f"after/{i}", 200 * KIB)
        objects[f"after/{i}"] = (f"after/{i}", 200 * KIB)

    move_back(d)
    wait_member(store, d)
    assert f'disk "{d}" is out until it has a copy of the index' \
        in store.log()
    assert not away(d).exists()

    check_all(client, objects, ["never", "never/small"])
    put(client, "last", "last", 2 * MIB)
    objects["last"] = ("last", 2 * MIB)

    # a shard that no row names is left in data/ of a disk that was in
    # another set's hands, hence not wait_complete()

    def whole():
        names = [set(f for _, _, files in os.walk(x / "data") for f in files)
                 for x in store.disks]
        return names[0] <= names[3] and names[0] == names[1] == names[2]

    poll("disk 3 has what the others have", whole, MEMBER)

    for pair in itertools.combinations([a, b, c], 2):
        move_away(*pair)
        wait_refused(client)
        check_read(client, objects)
        move_back(*pair)
        wait_writable(client)
        forget_probe(client)
        poll("all are members", whole, MEMBER)
