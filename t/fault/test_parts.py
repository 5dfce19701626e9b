"""Multipart uploads while disks are away: a part is coded on its own, so each
of them has to survive what a whole object does."""

import itertools

import botocore.config
import pytest
from botocore.exceptions import ClientError

from faults import BUCKET, INLINE_MAX, KIB, MIB, content, wait_settled
from test_disks import (CAUGHT_UP, drops, forget_probe, move_away, move_back,
                        put, wait_noticed, wait_refused, wait_writable)


# parts of no size that units or stripes know

SIZES = [5 * MIB + 1, 6 * MIB - 17, 5 * MIB, 100 * KIB + 3]
PARTS = len(SIZES)


def wait_complete(store, shards):
    """Until each disk has that many shards: one a part."""

    wait_settled(store.disks, {n: (INLINE_MAX + 1, None)
                               for n in range(shards)},
                 CAUGHT_UP, strict=False)


def wait_back(store, client, shards):
    """Until every disk is a member again, and has all of them and one
    more."""

    wait_writable(client)
    put(client, "probe", "probe", INLINE_MAX + 1)
    wait_complete(store, shards + 1)
    forget_probe(client)


@pytest.fixture
def s3(store):
    return store.client(retries=5, config=botocore.config.Config(
        read_timeout=60))


def upload(s3, key, numbers):
    """Parts of SIZES under these numbers; (upload id, parts, their bytes)."""

    upload_id = s3.create_multipart_upload(Bucket=BUCKET,
                                           Key=key)["UploadId"]
    bodies = [content(f"{key}/{n}", size)
              for n, size in zip(numbers, SIZES)]
    parts = [{"PartNumber": n, "ETag": s3.upload_part(
        Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=n,
        Body=body)["ETag"]} for n, body in zip(numbers, bodies)]

    return upload_id, parts, bodies


def complete(s3, key, upload_id, parts):
    return s3.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=upload_id,
        MultipartUpload={"Parts": parts})


def check(s3, key, bodies, parts):
    """Whole, each part, and ranges across the borders of parts."""

    whole = b"".join(bodies)
    got = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert got == whole

    at = 0

    for part, body in zip(parts, bodies):
        got = s3.get_object(Bucket=BUCKET, Key=key,
                            PartNumber=part["PartNumber"])["Body"].read()
        assert got == body
        at += len(body)

        first, last = at - 70000, min(at + 70000, len(whole) - 1)
        got = s3.get_object(Bucket=BUCKET, Key=key,
                            Range=f"bytes={first}-{last}")["Body"].read()
        assert got == whole[first:last + 1]


def test_read_without_two(store, client, s3):
    upload_id, parts, bodies = upload(s3, "k", [1, 2, 3, 4])
    complete(s3, "k", upload_id, parts)
    wait_complete(store, PARTS)

    for pair in itertools.combinations(store.disks, 2):
        move_away(*pair)
        wait_refused(client)
        check(s3, "k", bodies, parts)
        move_back(*pair)
        wait_back(store, client, PARTS)

    check(s3, "k", bodies, parts)


def test_one_away_meanwhile(store, client, s3):
    """Parts before and after it went, completed without it; then it is back,
    made whole, and any other two may go."""

    # the upload's first half with all disks

    upload_id = s3.create_multipart_upload(Bucket=BUCKET,
                                           Key="k")["UploadId"]
    bodies = [content(str(n), size) for n, size in enumerate(SIZES)]
    parts = []

    def put(n):
        etag = s3.upload_part(Bucket=BUCKET, Key="k", UploadId=upload_id,
                              PartNumber=n + 1, Body=bodies[n])["ETag"]
        parts.append({"PartNumber": n + 1, "ETag": etag})

    put(0)
    put(1)

    lost = store.disks[2]
    before = drops(store, lost)
    move_away(lost)
    put(2)
    wait_noticed(store, lost, before)
    put(3)

    complete(s3, "k", upload_id, parts)
    check(s3, "k", bodies, parts)

    move_back(lost)
    wait_back(store, client, PARTS)
    wait_complete(store, PARTS)
    check(s3, "k", bodies, parts)

    for pair in itertools.combinations([d for d in store.disks
                                        if d != lost], 2):
        move_away(*pair)
        wait_refused(client)
        check(s3, "k", bodies, parts)
        move_back(*pair)
        wait_back(store, client, PARTS)


def test_refused_without_two(store, client, s3):
    """Nothing is written; what was begun goes on when they are back."""

    upload_id, parts, bodies = upload(s3, "k", [1, 2, 3, 4])
    pair = store.disks[:2]
    move_away(*pair)
    wait_refused(client)

    once = store.client(retries=1, config=botocore.config.Config())

    for call in (
            lambda: once.create_multipart_upload(Bucket=BUCKET, Key="x"),
            lambda: once.upload_part(Bucket=BUCKET, Key="k", PartNumber=9,
                                     UploadId=upload_id, Body=b"x"),
            lambda: complete(once, "k", upload_id, parts),
            lambda: once.abort_multipart_upload(Bucket=BUCKET, Key="k",
                                                UploadId=upload_id)):
        with pytest.raises(ClientError) as e:
            call()
        assert e.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503

    # lists are reads

    listed = s3.list_parts(Bucket=BUCKET, Key="k", UploadId=upload_id)
    assert [p["PartNumber"] for p in listed["Parts"]] == [1, 2, 3, 4]

    move_back(*pair)
    wait_back(store, client, PARTS)

    complete(s3, "k", upload_id, parts)
    check(s3, "k", bodies, parts)


def test_restart(store, client, s3):
    """An upload outlives nginx; so does what its Complete answered."""

    upload_id, parts, bodies = upload(s3, "k", [3, 5, 7, 9])
    done_id, done, _ = upload(s3, "done", [1])
    answer = complete(s3, "done", done_id, done)["ETag"]

    store.stop()
    store.start()
    s3 = store.client()

    assert complete(s3, "done", done_id, done)["ETag"] == answer
    assert [u["UploadId"] for u in
            s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] \
        == [upload_id]

    complete(s3, "k", upload_id, parts)
    check(s3, "k", bodies, parts)
