"""Disk directories are moved away while nginx runs, and come back: two of
four may be gone and everything reads, with one gone writes go on, with three
gone the answer is 503; what comes back catches up."""

import itertools
import os
import shutil
import time

import pytest

import s3_server
from faults import (BUCKET, INLINE_MAX, KIB, MIB, content, poll, shard_files,
                    shards_in_tmp, wait_settled)


# around what inline data, a page, a block of a checksum, a unit and a stripe
# of two units hold

SIZES = [0, 1, INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1,
         64 * KIB - 1, 64 * KIB, 64 * KIB + 1,
         512 * KIB - 1, 512 * KIB, 512 * KIB + 1,
         MIB - 1, MIB, MIB + 1, 2 * MIB + 12345, 5 * MIB + 3, 40 * MIB]

# first and last byte; where an object is shorter they say nothing

RANGES = [(0, 0), (4095, 4096), (64 * KIB - 1, 64 * KIB),
          (512 * KIB - 2, 512 * KIB + 1), (MIB - 1, MIB),
          (MIB + 512 * KIB - 100, MIB + 512 * KIB + 100),
          (64 * KIB, 3 * MIB + 5), (39 * MIB + 17, 40 * MIB - 1)]

NOTICED = 1            # seconds until a directory that is gone is out
CAUGHT_UP = 20


def away(disk):
    return disk.with_name(disk.name + ".away")


def move_away(*disks):
    for d in disks:
        os.rename(d, away(d))


def move_back(*disks):
    for d in disks:
        os.rename(away(d), d)


def drops(store, disk):
    return store.log().count(f'disk "{disk}" is dropped')


def wait_noticed(store, disk, before):
    """Until the store says that the disk is out: back before, it may be
    found to have been away only when others have gone as well."""

    poll("the disk is dropped", lambda: drops(store, disk) > before,
         NOTICED + 1)


def is_refusal(answer):
    """503 as S3 says it, with a time to try again."""

    return (answer.status == 503
            and answer.code in ("ServiceUnavailable", "SlowDown")
            and answer.headers.get("Retry-After", "").isdigit()
            and answer.headers.get("Content-Type") == "application/xml")


def put(client, key, tag, size):
    answer = client.put(BUCKET, key, content(tag, size))
    assert answer.status == 200, answer


@pytest.fixture
def objects(client):
    """{key: (tag, size)} of what stands in the store."""

    objects = {}

    for size in SIZES:
        key = f"size/{size}"
        objects[key] = (key, size)
        put(client, key, *objects[key])

    return objects


def check_object(client, key, tag, size):
    whole = content(tag, size)
    answer = client.get(BUCKET, key)
    assert answer.status == 200, answer
    assert answer.body == whole, key

    for first, last in RANGES:
        if first >= size:
            continue
        answer = client.get(BUCKET, key, first, last)
        assert answer.status == 206, answer
        assert answer.body == whole[first:last + 1], (key, first, last)


def check_all(client, objects, deleted=()):
    for key, (tag, size) in objects.items():
        check_object(client, key, tag, size)

    for key in deleted:
        answer = client.get(BUCKET, key)
        assert answer.status == 404 and answer.code == "NoSuchKey", answer

    listed = {k: size for k, (size, _) in client.list(BUCKET).items()}
    assert listed == {k: size for k, (_, size) in objects.items()}


def wait_refused(client):
    """Until a write is refused; before, it is either taken or refused."""

    start = time.monotonic()

    def refused():
        answer = client.put(BUCKET, "probe", b"probe")
        assert answer.status == 200 or is_refusal(answer), answer
        return answer.status == 503

    poll("writes are refused", refused, NOTICED + 1)
    return time.monotonic() - start


def wait_writable(client):
    def taken():
        answer = client.put(BUCKET, "probe", b"probe")
        assert answer.status == 200 or is_refusal(answer), answer
        return answer.status == 200

    poll("writes are taken again", taken, CAUGHT_UP)


def forget_probe(client):
    assert client.delete(BUCKET, "probe").status == 204


def wait_complete(store, client):
    # the store process's own session, that of repairs, stays on a disk that
    # was away until the next one starts

    wait_settled(store.disks, client.list(BUCKET), CAUGHT_UP, strict=False)


def wait_back(store, client):
    """Until every disk is a member again: a new shard is on each, or was
    repaired there."""

    wait_writable(client)
    put(client, "probe", f"probe{time.monotonic()}", INLINE_MAX + 1)
    wait_complete(store, client)
    forget_probe(client)


def test_any_two(store, client, objects):
    """Reads within a second of the move, on a connection that stands and on
    new ones; every write is refused; then they come back."""

    for pair in itertools.combinations(store.disks, 2):
        move_away(*pair)

        # at once, while the workers may not know it yet

        for key in ("size/1", f"size/{5 * MIB + 3}"):
            check_object(client, key, *objects[key])

        wait_refused(client)

        for answer in (client.put(BUCKET, "small", b"x"),
                       client.put(BUCKET, "large", content("x", 2 * MIB)),
                       client.put(BUCKET, "size/1", b"y"),
                       client.delete(BUCKET, "size/0"),
                       client.request("PUT", "/another-bucket")):
            assert is_refusal(answer), answer

        present = {**objects}
        answer = client.get(BUCKET, "probe")
        assert answer.status in (200, 404)
        if answer.status == 200:
            for key, (tag, size) in objects.items():
                check_object(client, key, tag, size)
        else:
            check_all(client, present)

        move_back(*pair)
        wait_back(store, client)

    check_all(client, objects)
    wait_complete(store, client)


def test_one_away(store, client, objects):
    """Writes go on; what was written, overwritten and deleted while a disk
    was away is on it after it came back: any other two may go then."""

    lost = store.disks[1]
    wait_complete(store, client)
    move_away(lost)

    # from the first moment on

    for size in (1, 100 * KIB, 3 * MIB + 1, 20 * MIB):
        key = f"while/{size}"
        objects[key] = (key, size)
        put(client, key, *objects[key])

    for key in (f"size/{MIB}", "size/1"):
        objects[key] = (key + "/new", objects[key][1] + 7)
        put(client, key, *objects[key])

    gone = [f"size/{2 * MIB + 12345}", f"size/{INLINE_MAX}"]
    for key in gone:
        assert client.delete(BUCKET, key).status == 204
        del objects[key]

    check_all(client, objects, gone)

    wait_noticed(store, lost, 0)
    move_back(lost)
    wait_back(store, client)
    check_all(client, objects, gone)

    others = [d for d in store.disks if d != lost]

    for pair in itertools.combinations(others, 2):
        move_away(*pair)
        wait_refused(client)
        answer = client.get(BUCKET, "probe")

        for key, (tag, size) in objects.items():
            check_object(client, key, tag, size)

        for key in gone:
            assert client.get(BUCKET, key).status == 404

        move_back(*pair)
        wait_back(store, client)

    assert answer.status in (200, 404)
    check_all(client, objects, gone)
    wait_complete(store, client)


def test_one_after_the_other(store, client):
    """Each disk misses something; in the end every disk has everything."""

    objects = {}

    for i, disk in enumerate(store.disks * 2):
        before = drops(store, disk)
        move_away(disk)
        for size in (100, 200 * KIB, 2 * MIB + i):
            key = f"round{i}/{size}"
            objects[key] = (key, size)
            put(client, key, *objects[key])
        wait_noticed(store, disk, before)
        move_back(disk)

        # the next one only when this one is a member again, or two are out
        # and nothing is written

        wait_back(store, client)

    check_all(client, objects)

    for pair in itertools.combinations(store.disks, 2):
        move_away(*pair)
        wait_refused(client)
        for key, (tag, size) in objects.items():
            check_object(client, key, tag, size)
        move_back(*pair)
        wait_back(store, client)


def test_three_away(store, client, objects):
    """Nothing can be read: said within two seconds, and nothing wrong is
    read before."""

    for kept in (store.disks[0], store.disks[3]):
        lost = [d for d in store.disks if d != kept]
        start = time.monotonic()
        move_away(*lost)

        for key in ("size/1", f"size/{MIB + 1}"):
            tag, size = objects[key]

            def refused():
                answer = client.get(BUCKET, key)
                assert (answer.status == 200
                        and answer.body == content(tag, size)) \
                    or is_refusal(answer), answer
                return answer.status == 503

            poll("reads are refused", refused, 2)

        assert time.monotonic() < start + 2

        answer = client.request("GET", f"/{BUCKET}", {"list-type": "2"})
        assert is_refusal(answer), answer
        answer = client.put(BUCKET, "new", b"x")
        assert is_refusal(answer), answer
        answer = client.request("HEAD", f"/{BUCKET}/size/1")
        assert answer.status == 503 and not answer.body

        move_back(*lost)
        wait_back(store, client)

    check_all(client, objects)
    wait_complete(store, client)


def test_all_away(store, client, objects):
    move_away(*store.disks)

    poll("reads are refused",
         lambda: is_refusal(client.get(BUCKET, "size/1")), 2)

    move_back(*store.disks)
    wait_back(store, client)
    check_all(client, objects)
    wait_complete(store, client)


def test_restart_without_two(store, client, objects):
    """Read-only from the start on, nothing is written to any disk; with one
    away it serves."""

    wait_complete(store, client)
    lost = store.disks[:2]

    store.stop()
    move_away(*lost)
    store.start()
    client.close()
    check_all(client, objects)
    assert is_refusal(client.put(BUCKET, "new", b"x"))

    move_back(lost[0])
    wait_writable(client)
    forget_probe(client)
    put(client, "new", "new", 3 * MIB)
    objects["new"] = ("new", 3 * MIB)

    move_back(lost[1])
    wait_back(store, client)
    move_away(store.disks[0], store.disks[2])
    wait_refused(client)
    for key, (tag, size) in objects.items():
        check_object(client, key, tag, size)
    move_back(store.disks[0], store.disks[2])


def test_emptied(store, client, objects):
    """A directory that is deleted, and an empty one in its place, is out: it
    is never formatted, neither while nginx runs nor by a reload or a start.
    The rest serves, and bears the loss of one more."""

    wait_complete(store, client)
    lost = store.disks[2]
    owner = lost.stat()
    shutil.rmtree(lost)

    check_all(client, objects)
    put(client, "after", "after", 2 * MIB)
    objects["after"] = ("after", 2 * MIB)
    assert not lost.exists()

    lost.mkdir()
    os.chown(lost, owner.st_uid, owner.st_gid)

    for turn in ("as it is", "reload", "restart"):
        if turn == "reload":
            store.reload()
        elif turn == "restart":
            store.stop()
            store.start()
            client.close()

        # a disk that comes back is looked at within a second; what is to be
        # seen here is that nothing happens then, nor by the writes

        end = time.monotonic() + 1.5
        i = 0

        while time.monotonic() < end:
            key = f"{turn}/{i % 5}"
            objects[key] = (f"{key}#{i}", 100 * KIB + i)
            put(client, key, *objects[key])
            i += 1

        assert os.listdir(lost) == [], turn
        check_all(client, objects)

    move_away(store.disks[0])
    wait_refused(client)

    for key, (tag, size) in objects.items():
        check_object(client, key, tag, size)

    move_back(store.disks[0])


def tree(directory):
    """{path: bytes} of all files."""

    return {os.path.join(folder, f)[len(str(directory)):]:
            open(os.path.join(folder, f), "rb").read()
            for folder, _, files in os.walk(directory) for f in files}


def is_left_out(store, client, objects, lost, what):
    """Whatever stands in the place of a disk that is away is no part of the
    set: it is not written, the others serve, and the disk may come back."""

    before = tree(lost)

    for turn in ("running", "reload", "restart"):
        if turn == "reload":
            store.reload()
        elif turn == "restart":
            store.stop()
            store.start()
            client.close()

        # as above: long enough for a look at the directory

        end = time.monotonic() + 1.5
        i = 0

        while time.monotonic() < end:
            key = f"{what}/{turn}/{i % 5}"
            objects[key] = (f"{key}#{i}", 100 * KIB + i)
            put(client, key, *objects[key])
            i += 1

        check_all(client, objects)
        assert tree(lost) == before, turn

    shutil.rmtree(lost)
    move_back(lost)
    wait_complete(store, client)
    check_all(client, objects)


def own(directory, owner):
    for folder, _, files in os.walk(directory):
        for path in [folder] + [os.path.join(folder, f) for f in files]:
            os.chown(path, owner.st_uid, owner.st_gid)


@pytest.fixture
def some(client):
    objects = {}

    for size in (0, 100, INLINE_MAX + 1, 3 * MIB + 5):
        key = f"size/{size}"
        objects[key] = (key, size)
        put(client, key, *objects[key])

    return objects


def test_disk_of_another_store(store, client, some):
    wait_complete(store, client)
    lost = store.disks[1]

    with s3_server.Store(disks=4, parity=2) as other:
        other.client().create_bucket(Bucket="other")
        other.stop()
        owner = lost.stat()
        move_away(lost)
        shutil.copytree(other.disks[1], lost)

    own(lost, owner)
    is_left_out(store, client, some, lost, "foreign")


@pytest.mark.parametrize("n", [0, 3])
def test_copy_of_another_disk(store, client, some, n):
    """A directory copied to the place of another, before or after its own:
    one shard of each object would be there twice."""

    wait_complete(store, client)
    lost = store.disks[n]
    copied = store.disks[2]
    owner = lost.stat()
    store.stop()
    move_away(lost)
    shutil.copytree(copied, away(copied))
    own(away(copied), owner)
    store.start()
    client.close()
    check_all(client, some)

    os.rename(away(copied), lost)
    end = time.monotonic() + 1.5
    before = tree(lost)
    i = 0

    while time.monotonic() < end:
        some["new"] = (f"new#{i}", 100 * KIB + i)
        put(client, "new", *some["new"])
        i += 1

    check_all(client, some)
    assert tree(lost) == before

    shutil.rmtree(lost)
    move_back(lost)
    wait_complete(store, client)
    check_all(client, some)


def test_swapped(store, client, objects):
    """Identity is the format file's: directories that changed places are the
    same disks."""

    wait_complete(store, client)
    one, two = store.disks[0], store.disks[3]
    store.stop()
    move_away(one, two)
    os.rename(away(one), two)
    os.rename(away(two), one)
    store.start()
    client.close()

    check_all(client, objects)
    put(client, "new", "new", MIB)
    objects["new"] = ("new", MIB)
    wait_complete(store, client)

    move_away(store.disks[1], store.disks[2])
    wait_refused(client)
    for key, (tag, size) in objects.items():
        check_object(client, key, tag, size)
    move_back(store.disks[1], store.disks[2])


@pytest.mark.parametrize("n", [1, 2])
def test_download_under_way(store, client, connect, n):
    """Disks go in the middle of an answer: the rest is computed."""

    size = 40 * MIB
    put(client, "key", "key", size)
    wait_complete(store, client)

    # a client that reads slowly: the socket's buffers are full, and most is
    # still to be read from the disks

    downloads = []
    for _ in range(3):
        reader = connect()
        response = reader.begin("GET", f"/{BUCKET}/key")
        assert response.status == 200
        downloads.append((response, response.read(MIB)))

    move_away(*store.disks[:n])

    if n == 2:
        wait_refused(client)
    else:
        wait_writable(client)

    for response, first in downloads:
        assert first + response.read() == content("key", size)

    move_back(*store.disks[:n])


def start_upload(client, key, size):
    target, headers = client.sign("PUT", f"/{BUCKET}/{key}", None, {})
    client.connect()
    client.connection.putrequest("PUT", target, skip_host=True,
                                 skip_accept_encoding=True)
    headers.setdefault("Host", client.host)
    headers["Content-Length"] = str(size)

    for name, value in headers.items():
        client.connection.putheader(name, value)

    client.connection.endheaders()


def test_upload_with_one_lost(store, client, connect):
    """A disk goes in the middle of an upload: it is taken all the same, and
    the disk gets its shard when it is back."""

    size = 24 * MIB
    body = content("key", size)
    upload = connect()
    start_upload(upload, "key", size)
    upload.connection.send(body[:size // 2])
    poll("shards in tmp/", lambda: shards_in_tmp(store.disks), 10)

    move_away(store.disks[1])
    wait_writable(client)
    forget_probe(client)

    upload.connection.send(body[size // 2:])
    response = upload.connection.getresponse()
    assert response.status == 200, response.read()
    response.read()

    check_object(client, "key", "key", size)
    wait_noticed(store, store.disks[1], 0)
    move_back(store.disks[1])
    wait_back(store, client)

    for pair in ((0, 2), (2, 3)):
        disks = [store.disks[i] for i in pair]
        move_away(*disks)
        wait_refused(client)
        check_object(client, "key", "key", size)
        move_back(*disks)
        wait_back(store, client)


def test_upload_with_two_lost(store, client, connect):
    """Refused, and the key is what it was."""

    put(client, "key", "old", MIB)
    wait_complete(store, client)

    size = 24 * MIB
    body = content("new", size)
    upload = connect()
    start_upload(upload, "key", size)
    upload.connection.send(body[:size // 2])
    poll("shards in tmp/", lambda: shards_in_tmp(store.disks), 10)

    move_away(*store.disks[:2])
    wait_refused(client)

    # it may be refused, and the connection closed, at any byte from here on

    try:
        upload.connection.send(body[size // 2:])
        response = upload.connection.getresponse()
    except (BrokenPipeError, ConnectionResetError):
        response = None

    if response is not None:
        assert response.status == 503, response.read()

    upload.close()

    check_object(client, "key", "old", MIB)
    move_back(*store.disks[:2])
    wait_back(store, client)
    check_object(client, "key", "old", MIB)
    wait_complete(store, client)


def test_a_single_missing_file(store, client):
    """Shard files that are deleted by hand are computed for the reader."""

    for n in (1, 2):
        size = 3 * MIB + n
        put(client, f"key{n}", f"key{n}", size)
    wait_complete(store, client)

    for disk in (store.disks[0], store.disks[2]):
        for name in shard_files(disk):
            os.unlink(disk / "data" / name[:2] / name)

    for n in (1, 2):
        check_object(client, f"key{n}", f"key{n}", 3 * MIB + n)


def test_damaged_bytes(store, client):
    """A byte flipped in every block of every shard on two disks is never
    served (invariant 2); on three disks the answer is an error, not bytes."""

    size = 3 * MIB + 1
    put(client, "key", "key", size)
    wait_complete(store, client)

    def damage(disk):
        for name in shard_files(disk):
            with open(disk / "data" / name[:2] / name, "r+b") as f:
                length = f.seek(0, os.SEEK_END)
                for at in range(1000, length - 4096, 64 * KIB):
                    f.seek(at)
                    byte = f.read(1)
                    f.seek(at)
                    f.write(bytes([byte[0] ^ 1]))

    damage(store.disks[1])
    damage(store.disks[3])
    check_object(client, "key", "key", size)

    # what has been read may be well again

    for disk in (store.disks[0], store.disks[1], store.disks[3]):
        for name in shard_files(disk):
            os.truncate(disk / "data" / name[:2] / name, 0)

    # no byte has been sent when the first block turns out to be lost: an
    # error in S3's form, and not one that says that there is no such key

    answer = client.get(BUCKET, "key")
    assert answer.status in (500, 503) and answer.code, answer
