import itertools
import os
import uuid

import pytest

import s3_server


# a developer's own profiles, keys, proxies and endpoints are none of ours

for name in [n for n in os.environ if n.startswith("AWS_")
             or n.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
    del os.environ[name]

os.environ["AWS_CONFIG_FILE"] = os.devnull
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


numbers = itertools.count(1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What nginx said goes into the report of the test that failed."""

    report = (yield).get_result()

    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, s3_server.Store):
                lines = value.log().splitlines()[-40:]
                report.sections.append(("nginx's error log",
                                        "\n".join(lines)))


@pytest.fixture(scope="session")
def store():
    """The server that tests share; what breaks things has one of its own."""

    with s3_server.Store() as server:
        yield server


@pytest.fixture(params=["http", "tls"])
def tls(request):
    return request.param == "tls"


@pytest.fixture
def s3(store):
    return store.client()


@pytest.fixture
def bucket(store):
    """A bucket of the test's own, gone with all that is in it."""

    name = f"test-{next(numbers)}-{uuid.uuid4().hex[:8]}"
    client = store.client()
    client.create_bucket(Bucket=name)

    yield name

    pages = client.get_paginator("list_objects_v2")

    try:
        for page in pages.paginate(Bucket=name):
            for entry in page.get("Contents", []):
                client.delete_object(Bucket=name, Key=entry["Key"])
        client.delete_bucket(Bucket=name)
    except client.exceptions.NoSuchBucket:
        pass
