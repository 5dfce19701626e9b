"""minio, the Python SDK of that name."""

import urllib.parse

import minio
import minio.commonconfig
import minio.deleteobjects
import minio.error
import urllib3

from clients.base import PART, Client, Failure


def failing(method):
    """S3's errors as Failure."""

    def call(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except minio.error.S3Error as e:
            raise Failure(str(e), e.code) from e

    return call


class Minio(Client):
    name = "minio"
    label = "minio (Python)"

    def __init__(self, *args):
        super().__init__(*args)
        url = urllib.parse.urlsplit(self.url)

        self.pool = urllib3.PoolManager(
            retries=False, timeout=60,
            **({"ca_certs": str(self.ca), "cert_reqs": "CERT_REQUIRED"}
               if self.ca else {}))

        self.client = minio.Minio(
            url.netloc, access_key=self.access_key,
            secret_key=self.secret_key, secure=url.scheme == "https",
            region=self.region, http_client=self.pool)

    @classmethod
    def version(cls):
        return minio.__version__

    def close(self):
        self.pool.clear()

    @failing
    def make_bucket(self, bucket):
        self.client.make_bucket(bucket)

    @failing
    def remove_bucket(self, bucket):
        self.client.remove_bucket(bucket)

    @failing
    def buckets(self):
        return [b.name for b in self.client.list_buckets()]

    @failing
    def has_bucket(self, bucket):
        return self.client.bucket_exists(bucket)

    @failing
    def put(self, bucket, key, path, metadata=None, content_type=None):
        more = {"content_type": content_type} if content_type else {}
        self.client.fput_object(bucket, key, str(path), part_size=PART,
                                metadata=metadata, **more)

    @failing
    def put_stream(self, bucket, key, path):
        with open(path, "rb") as f:
            self.client.put_object(bucket, key, f, length=-1, part_size=PART)

    @failing
    def get(self, bucket, key, path):
        self.client.fget_object(bucket, key, str(path))

    @failing
    def read(self, bucket, key, first, last):
        answer = self.client.get_object(bucket, key, offset=first,
                                        length=last - first + 1)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    @failing
    def head(self, bucket, key):
        stat = self.client.stat_object(bucket, key)
        prefix = "x-amz-meta-"
        return {"size": stat.size, "etag": stat.etag,
                "content_type": stat.content_type,
                "metadata": {k.lower()[len(prefix):]: v
                             for k, v in stat.metadata.items()
                             if k.lower().startswith(prefix)}}

    @failing
    def list(self, bucket, prefix=""):
        return [(o.object_name, o.size) for o in
                self.client.list_objects(bucket, prefix, recursive=True)]

    @failing
    def folders(self, bucket, prefix=""):
        return [o.object_name for o in
                self.client.list_objects(bucket, prefix)]

    @failing
    def delete(self, bucket, key):
        self.client.remove_object(bucket, key)

    @failing
    def delete_many(self, bucket, keys):
        errors = list(self.client.remove_objects(
            bucket, [minio.deleteobjects.DeleteObject(k) for k in keys]))
        assert not errors, errors

    @failing
    def copy(self, bucket, key, to_bucket, to_key):
        self.client.copy_object(
            to_bucket, to_key, minio.commonconfig.CopySource(bucket, key))

    @failing
    def modify(self, bucket, key, metadata):
        self.client.copy_object(
            bucket, key, minio.commonconfig.CopySource(bucket, key),
            metadata=metadata,
            metadata_directive=minio.commonconfig.REPLACE)

    @failing
    def compose(self, bucket, keys, to_key):
        """One object of several, by UploadPartCopy."""

        self.client.compose_object(
            bucket, to_key,
            [minio.commonconfig.ComposeSource(bucket, k) for k in keys])

    def presign_get(self, bucket, key):
        return self.client.presigned_get_object(bucket, key)

    def presign_put(self, bucket, key):
        return self.client.presigned_put_object(bucket, key)
