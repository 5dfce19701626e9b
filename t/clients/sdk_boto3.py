"""boto3, with its defaults but for retries and the size of parts."""

import io

import boto3
import boto3.s3.transfer
import botocore.config
import botocore.exceptions

from clients.base import PART, Failure, Sdk, Stream


class Unseekable(io.RawIOBase):
    """A file that can only be read on."""

    def __init__(self, path):
        self.file = open(path, "rb")

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.file.readinto(buffer)

    def close(self):
        self.file.close()
        super().close()


class Boto3(Sdk):
    name = label = "boto3"
    session = boto3.session.Session()    # which reads what it knows of S3 once

    def __init__(self, *args, **config):
        super().__init__(*args)

        settings = botocore.config.Config(
            s3={"addressing_style": "path"}, signature_version="s3v4",
            retries={"total_max_attempts": 1, "mode": "standard"}) \
            .merge(botocore.config.Config(**config))

        self.client = self.session.client(
            "s3", endpoint_url=self.url, region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key, config=settings,
            verify=str(self.ca) if self.ca else None)

        self.transfer = boto3.s3.transfer.TransferConfig(
            multipart_threshold=PART + 1, multipart_chunksize=PART)

    @classmethod
    def version(cls):
        return boto3.__version__

    def close(self):
        self.client.close()

    def _try(self, method, *args, **kwargs):
        try:
            return method(*args, **kwargs)
        except botocore.exceptions.ClientError as e:
            raise Failure(str(e), e.response["Error"]["Code"]) from e
        except boto3.exceptions.S3UploadFailedError as e:
            cause = e.__context__
            code = None
            if isinstance(cause, botocore.exceptions.ClientError):
                code = cause.response["Error"]["Code"]
            raise Failure(str(e), code) from e

    def call(self, operation, Out=None, **kwargs):
        method = botocore.xform_name(operation)
        body = kwargs.get("Body")
        file = None

        if isinstance(body, Stream):
            file = kwargs["Body"] = Unseekable(body.path)
        elif body is not None and not isinstance(body, (bytes, bytearray)):
            file = kwargs["Body"] = open(body, "rb")

        try:
            answer = self._try(getattr(self.client, method), **kwargs)
        finally:
            if file:
                file.close()

        if Out is not None:
            with open(Out, "wb") as f:
                for piece in answer["Body"].iter_chunks():
                    f.write(piece)

        return answer

    @staticmethod
    def copy_source(bucket, key):
        """botocore escapes it."""

        return f"{bucket}/{key}"

    def put(self, bucket, key, path, metadata=None, content_type=None):
        more = {"Metadata": metadata or {}}
        if content_type:
            more["ContentType"] = content_type
        self._try(self.client.upload_file, str(path), bucket, key,
                  ExtraArgs=more, Config=self.transfer)

    def put_stream(self, bucket, key, path):
        with Unseekable(path) as file:
            self._try(self.client.upload_fileobj, file, bucket, key,
                      Config=self.transfer)

    def get(self, bucket, key, path):
        self._try(self.client.download_file, bucket, key, str(path),
                  Config=self.transfer)

    def presign_get(self, bucket, key):
        return self.client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key})

    def presign_put(self, bucket, key):
        return self.client.generate_presigned_url(
            "put_object", Params={"Bucket": bucket, "Key": key})


class Boto3V2(Boto3):
    """With Signature Version 2, which it still has."""

    name = "boto3-v2"
    label = "boto3, SigV2"

    def __init__(self, *args):
        super().__init__(*args, signature_version="s3")
