"""s3_abort_uploads: uploads that nobody completes in time are aborted."""

import contextlib

import s3_server
from checks import MIB, data, fails


@contextlib.contextmanager
def store(age):
    with s3_server.Store(http=f"s3_abort_uploads {age};") as server:
        yield server, server.client()


def begin(s3, key, parts=1):
    name = {"Bucket": "uploads", "Key": key}
    name["UploadId"] = s3.create_multipart_upload(**name)["UploadId"]

    done = [{"PartNumber": n, "ETag": s3.upload_part(
        **name, PartNumber=n, Body=data(5 * MIB))["ETag"]}
        for n in range(1, parts + 1)]

    return name, done


def uploads(s3):
    return {u["Key"] for u in
            s3.list_multipart_uploads(Bucket="uploads").get("Uploads", [])}


def test_old_ones_go():
    """With their shards; a completed one stays what it is, for who asks
    again."""

    with store("1s") as (server, s3):
        s3.create_bucket(Bucket="uploads")

        names = [begin(s3, f"old {n}")[0] for n in range(3)]
        done, parts = begin(s3, "done", 2)
        s3.complete_multipart_upload(**done, MultipartUpload={"Parts": parts})

        s3_server.wait_for(lambda: not uploads(s3), 20, "they stay")

        for name in names:
            assert fails(s3.list_parts, **name) == (404, "NoSuchUpload")
            assert fails(s3.upload_part, **name, PartNumber=1, Body=b"x") \
                == (404, "NoSuchUpload")

        s3_server.wait_for(lambda: len(server.shard_files()) == 4 * 2, 20,
                           "shards of aborted uploads stay")

        s3.complete_multipart_upload(**done, MultipartUpload={"Parts": parts})
        got = s3.get_object(Bucket="uploads", Key="done")["Body"].read()
        assert got == data(5 * MIB) * 2


def test_young_ones_stay():
    with store("1h") as (server, s3):
        s3.create_bucket(Bucket="uploads")
        name, parts = begin(s3, "young")

        # an hour is not over; a second is, after a restart

        assert uploads(s3) == {"young"}

        server.stop()
        conf = server.conf.read_text()
        server.conf.write_text(conf.replace("s3_abort_uploads 1h;",
                                            "s3_abort_uploads 1s;"))
        server.start()
        s3 = server.client()

        s3_server.wait_for(lambda: not uploads(s3), 20, "it stays")
        assert fails(s3.complete_multipart_upload, **name,
                     MultipartUpload={"Parts": parts}) \
            == (404, "NoSuchUpload")
