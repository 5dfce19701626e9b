"""Copies whose bytes are moved, while their source, their disks or their
client go away."""

import concurrent.futures

import pytest

import raw
import s3_server
from checks import DIGESTS, MIB, data, fails, md5, read


SIZE = 64 * MIB + 5


@pytest.fixture(scope="module")
def big():
    return data(SIZE)


@pytest.fixture(scope="module")
def own():
    """One worker, so that copies meet."""

    with s3_server.Store(workers=1) as store:
        store.client().create_bucket(Bucket="bucket")
        yield store


def put_source(store, body):
    """Until it has left tmp/: what is seen there next is a copy."""

    store.client().put_object(Bucket="bucket", Key="source", Body=body)
    s3_server.wait_for(lambda: not store.tmp_files(), 30, "left in tmp/")


def under_way(store):
    """Until a copy has written some of its bytes."""

    def some():
        sizes = 0
        for f in store.tmp_files():
            try:
                sizes += f.stat().st_size
            except FileNotFoundError:
                pass
        return sizes > MIB

    s3_server.wait_for(some, 30, "no copy has begun", every=0.002)


@pytest.mark.parametrize("how", ["object", "part"])
@pytest.mark.parametrize("what", ["deleted", "overwritten"])
def test_source_goes(own, big, what, how):
    """What a copy has begun to read it reads to the end."""

    s3 = own.client()
    put_source(own, big)

    def copy_object():
        return s3.copy_object(
            Bucket="bucket", Key="k", CopySource="bucket/source",
            ChecksumAlgorithm="SHA1")["CopyObjectResult"]

    def copy_part():
        upload_id = s3.create_multipart_upload(
            Bucket="bucket", Key="k", ChecksumAlgorithm="SHA1")["UploadId"]
        result = s3.upload_part_copy(
            Bucket="bucket", Key="k", UploadId=upload_id, PartNumber=1,
            CopySource="bucket/source")["CopyPartResult"]
        s3.complete_multipart_upload(
            Bucket="bucket", Key="k", UploadId=upload_id,
            MultipartUpload={"Parts": [{
                "PartNumber": 1, "ETag": result["ETag"],
                "ChecksumSHA1": result["ChecksumSHA1"]}]})
        return result

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(copy_part if how == "part" else copy_object)
        under_way(own)
        if what == "deleted":
            s3.delete_object(Bucket="bucket", Key="source")
        else:
            s3.put_object(Bucket="bucket", Key="source", Body=b"other")
        assert result.result()["ETag"] == f'"{md5(big)}"'
        assert result.result()["ChecksumSHA1"] == DIGESTS["SHA1"](big)

    assert md5(read(s3, "bucket", "k")) == md5(big)
    s3.delete_object(Bucket="bucket", Key="k")
    s3_server.wait_for(lambda: not own.tmp_files(), 30, "left in tmp/")


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_clients_go(own, big, tls, part):
    """A copy ends when its client does, also one that waits for its turn; the
    next has it then."""

    s3 = own.client()
    put_source(own, big)
    upload_id = s3.create_multipart_upload(
        Bucket="bucket", Key="m", ChecksumAlgorithm="SHA1")["UploadId"]

    conns = []
    for n in range(1, 11):
        conn = raw.Connection(own, tls=tls)
        path, query = ("/bucket/m", f"partNumber={n}&uploadId={upload_id}") \
            if part else (f"/bucket/gone{n}", "")
        conn.send(conn.head("PUT", path, query, [
            ("x-amz-copy-source", "bucket/source"),
            ("x-amz-checksum-algorithm", "SHA1")], [], raw.UNSIGNED))
        conns.append(conn)

    under_way(own)

    for conn in conns:
        conn.close()

    # they take turns in the order they came: by now all had theirs

    result = s3.copy_object(
        Bucket="bucket", Key="k", CopySource="bucket/source",
        ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    assert result["ChecksumSHA256"] == DIGESTS["SHA256"](big)

    # the first may have been done before

    if part:
        listed = s3.list_parts(Bucket="bucket", Key="m", UploadId=upload_id)
        assert 10 not in [p["PartNumber"] for p in listed.get("Parts", [])]
    else:
        assert fails(s3.head_object, Bucket="bucket", Key="gone10") \
            == (404, "404")

    s3_server.wait_for(lambda: not own.tmp_files(), 30, "left in tmp/")
    s3.abort_multipart_upload(Bucket="bucket", Key="m", UploadId=upload_id)


def test_disks_go(big):
    """With a disk less a copy goes on; with two less than four it is refused,
    and what it has written goes when they are back."""

    with s3_server.Store() as store:
        s3 = store.client()
        s3.create_bucket(Bucket="bucket")
        put_source(store, big)
        upload = dict(Bucket="bucket", Key="m")
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        away = [d.with_name(d.name + ".away") for d in store.disks]

        def copy():
            return s3.copy_object(
                Bucket="bucket", Key="k", CopySource="bucket/source",
                ChecksumAlgorithm="SHA1")

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            result = pool.submit(copy)
            under_way(store)
            store.disks[0].rename(away[0])
            result.result()

        assert md5(read(s3, "bucket", "k")) == md5(big)
        s3.delete_object(Bucket="bucket", Key="k")

        store.disks[1].rename(away[1])
        s3_server.wait_for(lambda: "is read-only" in store.log(), 30)

        assert fails(copy) == (503, "ServiceUnavailable")
        assert fails(s3.upload_part_copy, **upload, PartNumber=1,
                     CopySource="bucket/source") \
            == (503, "ServiceUnavailable")
        assert fails(s3.head_object, Bucket="bucket", Key="k") == (404, "404")
        assert md5(read(s3, "bucket", "source")) == md5(big)

        for i in range(2):
            away[i].rename(store.disks[i])

        s3_server.wait_for(lambda: writes(s3), 60, "it stays read-only")
        copy()
        s3.upload_part_copy(**upload, PartNumber=1,
                            CopySource="bucket/source")
        assert md5(read(s3, "bucket", "k")) == md5(big)
        s3_server.wait_for(lambda: not store.tmp_files(), 60, "left in tmp/")


def writes(s3):
    try:
        s3.put_object(Bucket="bucket", Key="w", Body=b"w")
    except s3.exceptions.ClientError:
        return False
    return True
