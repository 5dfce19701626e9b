"""Gateways before a real Ceph, for the tests of this folder.

    ceph        one for all of them; who breaks it starts another (own_ceph),
                or takes the one that is there to have its radosgw killed
                (frail)
    store       two gateways before it, on the same ports
    gateway     gateway(gateway="s3_...;", ...) -> one nginx before it, of the
                test's own, ended with it
    upstream    boto3's client of Ceph itself
    stranger    the same of another user
    bucket_name bucket_name("what") -> a name of a bucket, gone at the end
    service     a file's name for the bucket of records
    payloads_bucket
                what tests of test_payloads.py ask for as bucket
    fake        an upstream that answers what it is told to
"""

import contextlib
import http.server
import threading
import uuid

import botocore.config
import pytest

import s3_gateway
import s3_server


def pytest_ignore_collect(collection_path, config):
    """Elsewhere than here there is no gateway to test."""

    if s3_server.EXTERNAL or s3_server.THROUGH:
        return True


def client_of(ceph, access_key=None, secret_key=None):
    return s3_server.SESSION.client(
        "s3", endpoint_url=ceph.url, region_name="us-east-1",
        aws_access_key_id=access_key or ceph.access_key,
        aws_secret_access_key=secret_key or ceph.secret_key,
        config=botocore.config.Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1, "mode": "standard"}))


@pytest.fixture(scope="session")
def ceph():
    with s3_gateway.ceph() as ceph:
        yield ceph


@pytest.fixture
def own_ceph():
    """Of the test's own, to be broken."""

    with s3_gateway.Ceph() as ceph:
        yield ceph


@pytest.fixture(scope="session")
def frail():
    """Of those whose radosgw is killed or stopped.  They start it again."""

    with s3_gateway.Ceph() as ceph:
        yield ceph


@pytest.fixture(scope="session")
def store(ceph):
    with s3_gateway.Gateways("rgw", upstream=ceph) as gateways:
        yield gateways


@pytest.fixture
def gateway(ceph):
    with contextlib.ExitStack() as stack:
        yield lambda upstream=None, **kwargs: stack.enter_context(
            s3_gateway.Gateway(upstream or ceph, **kwargs))


@pytest.fixture(scope="session")
def upstream(ceph):
    client = client_of(ceph)
    yield client
    client.close()


# ---- in Ceph's place

class Fake(http.server.ThreadingHTTPServer):
    """An upstream that answers what it is told to.

    answer      (method, path, headers, body) -> (status, headers, body)
    requests    [(method, path, headers, body)] that have come; names of
                headers are in lower case
    """

    daemon_threads = True
    access_key, secret_key = "FAKEKEY", "fake/secret"

    EMPTY = (b'<?xml version="1.0"?><ListAllMyBucketsResult><Owner><ID>fake'
             b"</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>")

    def __init__(self):
        super().__init__(("127.0.0.1", 0), FakeHandler)
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        self.requests = []
        self.answer = lambda *_: (200, {}, self.EMPTY)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,),
                         daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass


class FakeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)

        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return

        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {n.lower(): v for n, v in self.headers.items()}

        request = self.command, self.path, headers, body
        self.server.requests.append(request)

        status, headers, body = self.server.answer(*request)

        self.send_response_only(status)

        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, value)

        self.end_headers()

        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def fake():
    with Fake() as fake:
        yield fake


@pytest.fixture(scope="session")
def stranger(ceph):
    """Another user of Ceph's."""

    client = client_of(ceph, s3_gateway.Ceph.other_key,
                       s3_gateway.Ceph.other_secret)
    yield client
    client.close()


def remove(client, bucket):
    """A bucket with all that is in it, where it is there."""

    def pages(what):
        return client.get_paginator(what).paginate(Bucket=bucket)

    try:
        for page in pages("list_multipart_uploads"):
            for entry in page.get("Uploads", []):
                client.abort_multipart_upload(
                    Bucket=bucket, Key=entry["Key"],
                    UploadId=entry["UploadId"])

        for page in pages("list_object_versions"):
            for entry in page.get("Versions", []) \
                    + page.get("DeleteMarkers", []):
                client.delete_object(Bucket=bucket, Key=entry["Key"],
                                     VersionId=entry["VersionId"])

        client.delete_bucket(Bucket=bucket)

    except client.exceptions.NoSuchBucket:
        pass


@pytest.fixture(scope="module")
def bucket_name(ceph, upstream):
    """bucket_name("what") -> a name that no other bucket has; of the bucket
    that gets it nothing is left behind, where Ceph itself is."""

    names = []

    def name(what):
        names.append(f"{what}-{uuid.uuid4().hex[:8]}")
        return names[-1]

    yield name

    for each in names if isinstance(ceph, s3_gateway.Running) else ():
        remove(upstream, each)


@pytest.fixture(scope="module")
def service(bucket_name):
    return bucket_name("records")


@pytest.fixture(scope="module")
def small_name(store, bucket_name):
    name = bucket_name("small")
    store.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def payloads_bucket(store, small_name):
    """Nothing is in it."""

    store.client().delete_object(Bucket=small_name, Key="k")
    return small_name
