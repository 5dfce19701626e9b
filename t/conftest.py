import itertools
import os
import subprocess
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


# what tests of clients have shown: {(feature, client): "passed" or worse}

shown = {}


def note(item, report):
    feature = item.get_closest_marker("feature")

    if feature is None or report.when == "teardown" and report.passed:
        return

    if report.when == "call" or not report.passed:
        cell = feature.args[0], item.callspec.params["client"][0].name
        outcome = "failed" if hasattr(report, "wasxfail") else report.outcome
        before = shown.get(cell, outcome)
        shown[cell] = (before if report.passed else outcome) \
            if before != "failed" else before


def pytest_sessionfinish(session):
    """S3_COMPATIBILITY is the file that the table is written to, or what is
    shown itself (.json)."""

    path = os.environ.get("S3_COMPATIBILITY")

    if path and not session.config.option.collectonly:
        import clients.compatibility

        if path.endswith(".json"):
            clients.compatibility.save(path, shown)
        else:
            clients.compatibility.write(path, shown)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What nginx said goes into the report of the test that failed."""

    report = (yield).get_result()
    note(item, report)

    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, s3_server.Store):
                lines = value.log().splitlines()[-40:]
                report.sections.append(("nginx's error log",
                                        "\n".join(lines)))


def pytest_collection_modifyitems(items):
    """Before a Ceph: what stays different is expected to, by name."""

    if s3_server.THROUGH == "rgw":
        import differences

        differences.mark(items)


@pytest.fixture(scope="session")
def store():
    """The server that tests share; what breaks things has one of its own."""

    if s3_server.EXTERNAL:
        server = s3_server.Endpoint()
        yield server
        server.close_clients()
        return

    if s3_server.THROUGH:
        import s3_gateway

        with s3_gateway.Gateways(s3_server.THROUGH) as server:
            yield server
        return

    with s3_server.Store() as server:
        yield server


@pytest.fixture(params=["http", "tls"])
def tls(request, store):
    if request.param not in store.kinds:
        pytest.skip(f"the server has no {request.param}")
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

    def gone():
        try:
            for page in pages.paginate(Bucket=name):
                for entry in page.get("Contents", []):
                    client.delete_object(Bucket=name, Key=entry["Key"])
            client.delete_bucket(Bucket=name)
        except client.exceptions.NoSuchBucket:
            pass
        except client.exceptions.ClientError as e:

            # a write whose client has left may end after the list

            if e.response["Error"]["Code"] != "BucketNotEmpty":
                raise
            return False
        return True

    s3_server.wait_for(gone, 30, f"{name} does not get empty")


@pytest.fixture(scope="session")
def clients_of(store, tmp_path_factory):
    """clients_of(class, kind) -> the client of t/clients, made once."""

    made = {}

    def client(kind_of_client, kind=None, access_key=s3_server.ACCESS_KEY,
               secret_key=s3_server.SECRET_KEY):
        kind = kind or store.kinds[0]

        if kind not in store.kinds:
            pytest.skip(f"the server has no {kind}")

        key = kind_of_client, kind, access_key, secret_key

        if key not in made:
            path = tmp_path_factory.mktemp(kind_of_client.name)
            made[key] = kind_of_client(store, kind, path, access_key,
                                       secret_key)

        return made[key]

    yield client

    for each in made.values():
        each.close()


@pytest.fixture
def client(request, clients_of):
    """What clients.feature() asks for."""

    return clients_of(*request.param)


@pytest.fixture
def up(tmp_path):
    """up(body) -> a file that holds it."""

    def write(body, name="up"):
        (tmp_path / name).write_bytes(body)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def tool():
    """s3-credential."""

    path = s3_server.BUILD / "s3-credential"
    subprocess.run(["make", "-s", f"BUILD={s3_server.BUILD}", str(path)],
                   cwd=s3_server.ROOT, check=True, timeout=120)
    return path


@pytest.fixture
def run(tool, tmp_path):
    """run("add", "AK", stdin="secret"): what it printed; of tmp_path/keys"""

    def run(command, *args, stdin="", status=0, path=tmp_path / "keys"):
        done = subprocess.run([tool, command, path, *args], text=True,
                              input=stdin, capture_output=True, timeout=60)
        assert done.returncode == status, done
        assert (done.stderr == "") == (status == 0), done
        return done.stdout if status == 0 else done.stderr

    run.path = tmp_path / "keys"
    return run
