"""Whose keys sign upstream: a client's own, one of the file's, the
location's; files that change, the environment; and s3-credential, which
writes such files."""

import json
import subprocess
import uuid

import pytest

import raw
import s3_gateway
import s3_server
from ceph import Ceph
from checks import fails, read
from s3_server import ACCESS_KEY, DISABLED_KEY, OTHER_KEY, SECRET_KEY, \
    wait_for


REFUSED_KEY = "TESTACCESSKEY0000004"
UNKNOWN_KEY = "TESTACCESSKEY0000005"
OFF_KEY = "TESTACCESSKEY0000006"

REFUSED = [(REFUSED_KEY, "wrong-secret", "SignatureDoesNotMatch"),
           (UNKNOWN_KEY, "unknown-key", "InvalidAccessKeyId")]


def lines_of(upstream):
    """Of a file of keys: a client for each way to be signed for."""

    def client(key, **more):
        return {"access_key": key, "secret_key": SECRET_KEY, **more}

    def named(name, key, secret, **more):
        return {"type": "upstream", "name": name, "access_key": key,
                "secret_key": secret, **more}

    return [
        client(ACCESS_KEY),
        client(OTHER_KEY, upstream="second"),
        client(DISABLED_KEY, enabled=False),
        client(REFUSED_KEY, upstream="wrong-secret"),
        client(UNKNOWN_KEY, upstream="unknown-key"),
        client(OFF_KEY, upstream="off"),

        # known to Ceph as well, and not by the secret that clients have

        {"access_key": Ceph.other_key, "secret_key": Ceph.other_secret,
         "upstream": "self"},

        named("other", upstream.access_key, upstream.secret_key),
        named("second", Ceph.other_key, Ceph.other_secret),
        named("wrong-secret", upstream.access_key, "not/the/secret/of/it"),
        named("unknown-key", "NOBODYKNOWSTHISKEY01", "s"),
        named("off", upstream.access_key, upstream.secret_key,
              enabled=False)]


def write(gateway, lines):
    """As an administrator would: all of a file at once."""

    new = gateway.keys.with_suffix(".new")
    new.write_text("".join(json.dumps(line) + "\n" for line in lines))
    new.chmod(0o644)
    new.rename(gateway.keys)


@pytest.fixture(scope="module")
def server(ceph):
    gateway = s3_gateway.Gateway(ceph, workers=1)
    write(gateway, lines_of(ceph))

    with gateway:
        yield gateway


@pytest.fixture
def names(server):
    """names("a") -> a bucket's name; they go with all that is in them."""

    made = []

    def name(text):
        made.append(f"cred-{text}-{uuid.uuid4().hex[:8]}")
        return made[-1]

    yield name

    for client in (server.client(), other(server)):
        for bucket in made:
            try:
                for entry in client.list_objects_v2(
                        Bucket=bucket).get("Contents", []):
                    client.delete_object(Bucket=bucket, Key=entry["Key"])
                client.delete_bucket(Bucket=bucket)
            except client.exceptions.ClientError:
                pass


def other(server):
    return server.client(access_key=OTHER_KEY, secret_key=SECRET_KEY)


def own(server):
    return server.client(access_key=Ceph.other_key,
                         secret_key=Ceph.other_secret)


def test_who_is_who(server, upstream, names):
    """Each client is who its upstream credential is, and owns what that
    owns."""

    first, second = server.client(), other(server)
    one, two = names("one"), names("two")

    first.create_bucket(Bucket=one)
    second.create_bucket(Bucket=two)
    first.put_object(Bucket=one, Key="k", Body=b"one")
    second.put_object(Bucket=two, Key="k", Body=b"two")

    owners = [c.list_objects_v2(Bucket=b, FetchOwner=True)
              ["Contents"][0]["Owner"]["ID"]
              for c, b in ((first, one), (second, two))]

    assert owners[0] != owners[1]
    assert upstream.list_buckets()["Owner"]["ID"] == owners[0]
    assert first.list_buckets()["Owner"]["ID"] == owners[0]
    assert second.list_buckets()["Owner"]["ID"] == owners[1]
    assert own(server).list_buckets()["Owner"]["ID"] == owners[1]

    def buckets(client):
        return [b["Name"] for b in client.list_buckets()["Buckets"]]

    assert one in buckets(upstream) and two not in buckets(upstream)
    assert one in buckets(first) and two not in buckets(first)
    assert two in buckets(second) and one not in buckets(second)
    assert two in buckets(own(server)) and one not in buckets(own(server))

    assert read(upstream, one, "k") == b"one"
    assert read(own(server), two, "k") == b"two"

    # one has no rights at what is the other's

    for client, bucket in ((first, two), (second, one), (own(server), one)):
        assert fails(client.get_object, Bucket=bucket, Key="k") \
            == (403, "AccessDenied")
        assert fails(client.put_object, Bucket=bucket, Key="k", Body=b"x") \
            == (403, "AccessDenied")
        assert fails(client.delete_object, Bucket=bucket, Key="k") \
            == (403, "AccessDenied")
        assert fails(client.list_objects_v2, Bucket=bucket) \
            == (403, "AccessDenied")

    assert read(first, one, "k") == b"one"
    assert read(second, two, "k") == b"two"


@pytest.mark.parametrize("who", [ACCESS_KEY, OTHER_KEY, Ceph.other_key])
def test_checksums_of_each(server, names, who):
    """The gateway's own records are the location's credential's, whoever it
    is that has rights at the object."""

    secret = Ceph.other_secret if who == Ceph.other_key else SECRET_KEY
    client = server.client(access_key=who, secret_key=secret)
    bucket = names("sums")
    client.create_bucket(Bucket=bucket)

    body = b"x" * (9 << 20)
    put = client.put_object(Bucket=bucket, Key="large", Body=body,
                            ChecksumAlgorithm="SHA256")
    head = client.head_object(Bucket=bucket, Key="large",
                              ChecksumMode="ENABLED")

    assert put["ChecksumSHA256"] == head["ChecksumSHA256"]
    assert read(client, bucket, "large", ChecksumMode="ENABLED") == body


@pytest.mark.parametrize("key,name,code", REFUSED)
def test_refused_upstream(server, key, name, code):
    """It is not the client that can mend it: InternalError, and the log says
    which line of the file it is about."""

    message = f's3_gateway: the upstream refuses the credential "{name}": ' \
              f"{code}"
    client = server.client(access_key=key, secret_key=SECRET_KEY)
    seen = server.log().count(message)

    for call, more in ((client.list_buckets, {}),
                       (client.get_object, {"Bucket": "bucket", "Key": "k"}),
                       (client.put_object, {"Bucket": "bucket", "Key": "k",
                                            "Body": b"x"}),
                       (client.delete_object, {"Bucket": "bucket",
                                               "Key": "k"})):
        assert fails(call, **more) == (500, "InternalError")
        assert server.log().count(message) == seen + 1
        seen += 1

    answer = raw.once(server, "GET", "/bucket/k", access_key=key)
    answer.is_error(500, "InternalError")

    for secret in ("wrong-secret", "unknown-key", "NOBODYKNOWS",
                   server.upstream.access_key, code):
        assert secret not in str(answer)


@pytest.mark.parametrize("key,name,code", REFUSED)
def test_refused_upstream_large(server, key, name, code):
    """The answer comes before all of the body has been sent."""

    message = f'refuses the credential "{name}": {code}'
    client = server.client(access_key=key, secret_key=SECRET_KEY)
    seen = server.log().count(message)

    assert fails(client.put_object, Bucket="bucket", Key="k",
                 Body=b"x" * (9 << 20)) == (500, "InternalError")
    assert server.log().count(message) == seen + 1


@pytest.mark.parametrize("key,name,code", REFUSED)
def test_refused_upstream_head(server, key, name, code):
    """An answer to HEAD has no code, and is told from "no rights" all the
    same."""

    message = f'refuses the credential "{name}": {code}'
    seen = server.log().count(message)

    for path in ("/bucket/k", "/bucket"):
        raw.once(server, "HEAD", path,
                 access_key=key).is_error(500, "InternalError")

    assert server.log().count(message) == seen + 2


def test_disabled_upstream(server):
    client = server.client(access_key=OFF_KEY, secret_key=SECRET_KEY)

    assert fails(client.list_buckets) == (500, "InternalError")
    assert 'credential "off" for the upstream is disabled' in server.log()


@pytest.fixture
def tap(ceph):
    with s3_gateway.Tap(ceph) as tap:
        yield tap


def test_the_others_never_get_there(ceph, gateway, tap):
    """Who is not let in by the gateway is none of the upstream's business."""

    server = gateway(upstream_url=tap.url)
    server.client().list_buckets()

    before = len(tap.sent)
    host = f"127.0.0.1:{server.port}"

    def presigned(path, **kwargs):
        return {"query": raw.presign("GET", host, path, **kwargs),
                "signed": False}

    for path in ("/", "/bucket", "/bucket/k"):
        for code, request in (
                ("InvalidAccessKeyId", {"access_key": "NOBODY"}),
                ("InvalidAccessKeyId", {"access_key": DISABLED_KEY}),

                # what the upstream knows is not what we know

                ("InvalidAccessKeyId",
                 {"access_key": ceph.access_key,
                  "secret_key": ceph.secret_key}),
                ("InvalidAccessKeyId", {"access_key": "other"}),
                ("SignatureDoesNotMatch", {"secret_key": "wrong"}),
                ("AccessDenied", {"signed": False}),
                ("InvalidAccessKeyId",
                 presigned(path, access_key=DISABLED_KEY)),
                ("SignatureDoesNotMatch",
                 presigned(path, secret_key="wrong")),
                ("AccessDenied",
                 presigned(path, date=raw.amz_date(-7200)))):
            raw.once(server, "GET", path, **request).is_error(403, code)

    raw.once(server, "PUT", "/bucket/k", body=b"x", secret_key="wrong") \
        .is_error(403, "SignatureDoesNotMatch")

    assert len(tap.sent) == before


# ---- files that change

def always(server, code, key, secret=SECRET_KEY):
    """Every worker says so: many connections, one after another."""

    def says():
        for _ in range(8):
            answer = raw.once(server, "GET", "/", access_key=key,
                              secret_key=secret)
            if (None if answer.status == 200 else answer.code) != code:
                return False
        return True

    wait_for(says, 20, f"not {code}")


def test_a_changed_file(ceph, gateway):
    """Clients and upstreams come and go without a reload of nginx."""

    server = gateway(http="", location="s3_credentials keys.jsonl "
                     "refresh=100ms;")
    lines = lines_of(ceph)

    always(server, "InvalidAccessKeyId", REFUSED_KEY)

    write(server, lines)
    always(server, None, OTHER_KEY)
    always(server, "InternalError", REFUSED_KEY)

    # its upstream's secret is mended

    right = [{**line, "secret_key": ceph.secret_key}
             if line.get("name") == "wrong-secret" else line
             for line in lines]
    write(server, right)
    always(server, None, REFUSED_KEY)

    # the location's own is away, and comes back disabled

    write(server, [line for line in right if line.get("name") != "other"])
    always(server, "InternalError", ACCESS_KEY)
    assert 'credential "other" for the upstream is not there any more' \
        in server.log()

    write(server, [{**line, "enabled": False}
                   if line.get("name") == "other" else line
                   for line in right])
    wait_for(lambda: raw.once(server, "GET", "/").code == "InternalError"
             and 'credential "other" for the upstream is disabled'
             in server.log(), 20)

    # what is no file of keys changes nothing

    server.keys.write_text('{"access_key": "A"}\n')
    wait_for(lambda: "not reloaded, the old ones stay" in server.log(), 20)
    always(server, "InternalError", ACCESS_KEY)

    write(server, right)
    always(server, None, ACCESS_KEY)
    always(server, None, REFUSED_KEY)
    always(server, "InvalidAccessKeyId", DISABLED_KEY)


# ---- environment

def test_environment(ceph, monkeypatch):
    """Both sides' keys; they are there after a reload."""

    for name, value in (("S3_ACCESS_KEY", "ENVKEY"),
                        ("S3_SECRET_KEY", "env secret"),
                        ("S3_UPSTREAM_ACCESS_KEY", ceph.access_key),
                        ("S3_UPSTREAM_SECRET_KEY", ceph.secret_key)):
        monkeypatch.setenv(name, value)

    class Gateway(s3_gateway.Gateway):
        def client(self, *args, **kwargs):
            return super().client(*args, access_key="ENVKEY",
                                  secret_key="env secret", **kwargs)

    gateway = Gateway(ceph, location="s3_credentials env;")
    gateway.conf.write_text(gateway.conf.read_text().replace(
        "s3_upstream_credentials other;", "s3_upstream_credentials env;"))

    with gateway as server:
        bucket = f"cred-{uuid.uuid4().hex[:8]}"
        client = server.client()
        client.create_bucket(Bucket=bucket)

        try:
            client.put_object(Bucket=bucket, Key="k", Body=b"x")
            assert read(client, bucket, "k") == b"x"

            server.reload()
            always(server, None, "ENVKEY", "env secret")
            assert read(client, bucket, "k") == b"x"
            always(server, "InvalidAccessKeyId", ACCESS_KEY)
        finally:
            client.delete_object(Bucket=bucket, Key="k")
            client.delete_bucket(Bucket=bucket)


# ---- s3-credential

def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_life_of_a_name(run):
    run("add", "--name", "rgw", "UK", stdin="secret/1\n")
    run("add", "--name", "second", "--description", "two", "UK",
        stdin="secret 2")
    run("add", "--upstream", "rgw", "AK1", stdin="s1")
    run("add", "--upstream", "self", "AK2", stdin="s2")
    run("add", "UK", stdin="a client's")

    made = [{k: v for k, v in e.items() if k != "created_at"}
            for e in entries(run.path)]

    assert made == [
        {"type": "upstream", "name": "rgw", "access_key": "UK",
         "secret_key": "secret/1", "enabled": True},
        {"type": "upstream", "name": "second", "access_key": "UK",
         "secret_key": "secret 2", "enabled": True, "description": "two"},
        {"access_key": "AK1", "secret_key": "s1", "enabled": True,
         "upstream": "rgw"},
        {"access_key": "AK2", "secret_key": "s2", "enabled": True,
         "upstream": "self"},
        {"access_key": "UK", "secret_key": "a client's", "enabled": True}]

    listed = run("list")
    assert "name rgw" in listed and "name second" in listed
    assert "upstream rgw" in listed and "upstream self" in listed
    assert "secret" not in listed

    # a name and a key are two things

    run("disable", "--name", "rgw")
    assert [e["enabled"] for e in entries(run.path)] \
        == [False, True, True, True, True]
    run("enable", "--name", "rgw")
    run("disable", "UK")
    assert [e["enabled"] for e in entries(run.path)] \
        == [True, True, True, True, False]
    run("remove", "UK")
    assert len(entries(run.path)) == 4
    run("remove", "--name", "second")
    assert [e.get("name") for e in entries(run.path)] \
        == ["rgw", None, None]


def test_generate_for_an_upstream(run):
    run("add", "--name", "rgw", "UK", stdin="s")
    made = dict(line.split() for line in
                run("generate", "--upstream", "rgw").splitlines())

    assert entries(run.path)[1]["access_key"] == made["access_key"]
    assert entries(run.path)[1]["upstream"] == "rgw"


def test_refused_by_the_tool(run, tool):
    run("add", "--name", "rgw", "UK", stdin="s")
    run("add", "--upstream", "rgw", "AK", stdin="s")
    before = run.path.read_text()

    for args, words in (
            (["add", "--name", "rgw", "UK2"], ['"rgw" is there already']),
            (["add", "--name", "self", "UK2"], ["self"]),
            (["add", "--name", "a b", "UK2"], ["name"]),
            (["add", "--name", "", "UK2"], ["name"]),
            (["add", "--name", "n" * 65, "UK2"], ["name"]),
            (["add", "--upstream", "none", "AK2"],
             ['no upstream has the name "none"', "add it first"]),
            (["generate", "--upstream", "none"], ['the name "none"']),
            (["disable", "--name", "none"], ['no such name, "none"']),
            (["remove", "--name", "UK"], ['no such name, "UK"']),
            (["remove", "UK"], ['no such key, "UK"'])):
        text = run(args[0], *args[1:], stdin="s2", status=1)
        assert "s2" not in text

        for word in words:
            assert word in text, (args, text)

    assert run.path.read_text() == before

    for args in (["add", "--name", "a", "--upstream", "rgw", run.path, "K"],
                 ["list", "--name", "rgw", run.path],
                 ["disable", "--upstream", "rgw", run.path, "AK"],
                 ["disable", "--name", "rgw", run.path, "AK"],
                 ["generate", "--name", "rgw", run.path]):
        done = subprocess.run([tool, *args], capture_output=True, timeout=10,
                              text=True, input="s")
        assert done.returncode == 2 and "usage:" in done.stderr, args

    assert run.path.read_text() == before


def test_removal_of_a_name_in_use(run):
    """nginx would not take the file any more."""

    run("add", "--name", "rgw", "UK", stdin="s")
    run("add", "--upstream", "rgw", "AK", stdin="s")
    before = run.path.read_text()

    assert "rgw" in run("remove", "--name", "rgw", status=1)
    assert run.path.read_text() == before

    run("remove", "AK")
    run("remove", "--name", "rgw")
    assert entries(run.path) == []


def test_nginx_takes_what_the_tool_writes(ceph, gateway, run):
    server = gateway(location="s3_credentials keys.jsonl refresh=100ms;")

    def tool(*args, **kwargs):
        run(*args, path=server.keys, **kwargs)

    tool("add", "--name", "new", ceph.access_key, stdin=ceph.secret_key)
    tool("add", "--upstream", "new", "NEWKEY", stdin="new secret")
    always(server, None, "NEWKEY", "new secret")

    tool("disable", "--name", "new")
    always(server, "InternalError", "NEWKEY", "new secret")
    tool("enable", "--name", "new")
    always(server, None, "NEWKEY", "new secret")
    assert "not reloaded" not in server.log()
