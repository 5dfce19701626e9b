"""Disks that earlier versions have written, t/samples/*.tar.xz: each is served
and goes on as a store of this version.  t/samples/make has what is in them."""

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import tarfile

import pytest

import s3_server
from faults import check_whole, poll


SAMPLES = sorted((s3_server.ROOT / "t/samples").glob("*.tar.xz"))


def script():
    """t/samples/make, as a module."""

    path = str(s3_server.ROOT / "t/samples/make")
    loader = importlib.machinery.SourceFileLoader("make_sample", path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("make_sample", loader))
    loader.exec_module(module)
    return module


MAKE = script()


def test_there_are_samples():
    assert SAMPLES


@pytest.fixture(params=SAMPLES, ids=lambda p: p.name.partition(".")[0])
def sample(request):
    """A store that is yet to start, on the sample's disks."""

    server = s3_server.Store(disks=4, parity=2)

    try:
        for path in [*server.disks, server.path / "state"]:
            shutil.rmtree(path)

        with tarfile.open(request.param) as tar:
            tar.extractall(server.path)

        for path in [*server.disks, server.path / "state"]:
            for p in [path, *path.rglob("*")]:
                if server.user:
                    os.chown(p, *server.user[1:])

        server.expected = json.loads(
            (server.path / "expected.json").read_text())
        yield server
        server.stop()
    finally:
        server.stop(check=False)
        server.remove()


def same(store):
    """All that a client sees is what one of then has seen."""

    assert MAKE.describe(store.client()) == store.expected["buckets"]


def all_shards(store):
    """Waits until no disk has fewer than another."""

    data = [d / "data" for d in store.disks]
    poll("shards on all disks", lambda: len(
        {len(list(d.glob("*/*"))) for d in data}) == 1, 30)


def test_reads(sample):
    sample.start()
    same(sample)
    sample.stop()

    # a log of theirs has become this version's database

    sample.start()
    same(sample)


def test_disk_that_was_away(sample, tool):
    """What it missed is brought to it; then s3-store has nothing to say, and
    any two disks are enough."""

    sample.start()

    all_shards(sample)
    sample.stop()
    check_whole(tool, sample)

    for lost in ((0, 1), (1, 3)):
        disks = [sample.disks[i] for i in lost]

        for disk in disks:
            disk.rename(disk.with_suffix(".away"))

        sample.start()
        same(sample)
        sample.stop()

        for disk in disks:
            disk.with_suffix(".away").rename(disk)


def test_goes_on(sample, tool):
    """An upload of then is completed, its objects are copied, overwritten and
    deleted, and new ones written."""

    sample.start()
    client = sample.client()
    upload = sample.expected["upload"]
    where = {"Bucket": upload["bucket"], "Key": upload["key"],
             "UploadId": upload["id"]}
    parts = client.list_parts(**where)["Parts"]

    assert {str(p["PartNumber"]): p["ETag"].strip('"') for p in parts} \
        == upload["parts"]

    second = MAKE.content("new part", 5 * MAKE.MIB)
    etag = client.upload_part(**where, PartNumber=2, Body=second)["ETag"]
    tags = {**{p["PartNumber"]: p["ETag"] for p in parts}, 2: etag}
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": [
        {"PartNumber": n, "ETag": tags[n]} for n in sorted(tags)]})

    whole = (MAKE.content("unfinished/1", 5 * MAKE.MIB) + second
             + MAKE.content("unfinished/7", 1000))
    answer = client.get_object(Bucket=upload["bucket"], Key=upload["key"])

    assert answer["Body"].read() == whole
    assert answer["Metadata"] == {"later": "yes"}

    client.copy_object(Bucket="empty", Key="copy of stripes",
                       CopySource={"Bucket": "first", "Key": "stripes"})

    for name, bucket in sample.expected["buckets"].items():
        for i, key in enumerate(bucket["objects"]):
            if i % 2:
                client.delete_object(Bucket=name, Key=key)
            else:
                client.put_object(Bucket=name, Key=key,
                                  Body=MAKE.content(f"again {key}", 20000 * i))

    for name, bucket in sample.expected["buckets"].items():
        seen = [e["Key"] for e in client.list_objects_v2(
            Bucket=name).get("Contents", ())]
        kept = [k for i, k in enumerate(bucket["objects"]) if i % 2 == 0]

        assert set(kept) <= set(seen)
        assert not set(bucket["objects"]) - set(kept) & set(seen)

        for i, key in enumerate(bucket["objects"]):
            if i % 2 == 0:
                body = client.get_object(Bucket=name, Key=key)["Body"].read()
                assert body == MAKE.content(f"again {key}", 20000 * i)

    copy = client.get_object(Bucket="empty", Key="copy of stripes")
    stripes = sample.expected["buckets"]["first"]["objects"]["stripes"]
    assert hashlib.sha256(copy["Body"].read()).hexdigest() \
        == stripes["sha256"]

    all_shards(sample)
    sample.stop()
    check_whole(tool, sample)
