"""s3_health of a gateway: what balancers and orchestrators ask without a
signature, and what the gateway then asks the upstream with one."""

import contextlib
import json
import os
import signal
import socket
import uuid

import pytest

import raw
import s3_gateway
import s3_server
from s3_server import ROOT, wait_for


PROXY = f"""include "{ROOT}/conf/s3_gateway_params";
            proxy_pass http://other;"""

HEALTH = f"""
        s3_upstream_credentials other;
        s3_timeout 1s;

        location = /healthz {{ s3_health; {PROXY} }}
        location /minio/health/ {{ s3_health; {PROXY} }}
        location ~ ^/probe/ {{ s3_health; {PROXY} }}
        location /wrong/ {{
            s3_health;
            s3_upstream_credentials wrong;
            {PROXY}
        }}
        location /nobody/ {{
            s3_health;
            s3_upstream_credentials nobody;
            {PROXY}
        }}
        location /stranger/ {{
            s3_health;
            s3_upstream_credentials stranger;
            {PROXY}
        }}
        location /stranger-passes/ {{
            s3_health;
            s3_upstream_credentials stranger;
            s3_checksums pass;
            {PROXY}
        }}
        location /unsigned/ {{
            s3_health;
            proxy_pass http://other;
        }}
"""

LIVE = "/minio/health/live"
ASKING = ("/healthz", "/minio/health/ready", "/minio/health/cluster",
          "/minio/health/cluster/read", "/probe/ready", "/healthz?x=1")


class Gateway(s3_gateway.Gateway):
    def __init__(self, upstream, **kwargs):
        super().__init__(upstream, workers=1, server=HEALTH, **kwargs)

        def line(name, key, secret):
            return json.dumps({"type": "upstream", "name": name,
                               "access_key": key, "secret_key": secret})

        with open(self.keys, "a") as keys:
            print(line("wrong", upstream.access_key, "not/its/secret"),
                  line("nobody", "NOBODYKNOWSTHISKEY01", "s"),
                  line("stranger", s3_gateway.Ceph.other_key,
                       s3_gateway.Ceph.other_secret), sep="\n", file=keys)


@pytest.fixture(scope="module")
def server(ceph):
    with Gateway(ceph) as gateway:
        yield gateway


def ask(server, target, method="GET", **kwargs):
    path, _, query = target.partition("?")
    return raw.once(server, method, path, query, signed=False, **kwargs)


def is_healthy(server, target):
    answer = ask(server, target)
    assert (answer.status, answer.body) == (200, b"ok\n"), answer
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["cache-control"] == "no-store"

    head = ask(server, target, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == "3"


def is_not(server, target, reason):
    answer = ask(server, target)
    assert answer.status == 503, answer
    assert answer.body == reason + b"\n"
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["cache-control"] == "no-store"
    assert ask(server, target, "HEAD").status == 503


AWAY = b"the upstream does not answer"
REFUSED = b"the upstream refuses the request, the log says why"


@pytest.mark.parametrize("target", [LIVE, *ASKING])
def test_healthy(server, target):
    is_healthy(server, target)


def test_healthy_without_records(ceph):
    """Before the first record there is no bucket for them, and then there
    is."""

    with Gateway(ceph, http="s3_checksums_bucket "
                 f"health-{uuid.uuid4().hex[:8]};") as gateway:
        is_healthy(gateway, "/healthz")


@pytest.mark.parametrize("path", ["/minio/health/", "/minio/health/lives",
                                  "/minio/health/live/"])
def test_other_paths(server, path):
    assert ask(server, path).status == 404


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "OPTIONS"])
def test_other_methods(server, method):
    assert ask(server, "/healthz", method).status == 405


def test_one_connection(server):
    with raw.Connection(server) as conn:
        for _ in range(3):
            for path in ("/healthz", LIVE):
                assert conn.request("GET", path, body=b"x" * 5000,
                                    signed=False).status == 200


def test_nobody_gets_further(server):
    """It is about health: whatever is asked, objects are not there."""

    bucket = f"health-{uuid.uuid4().hex[:8]}"
    s3 = server.client()
    s3.create_bucket(Bucket=bucket)

    try:
        s3.put_object(Bucket=bucket, Key="ready", Body=b"secret")

        for target in (f"/minio/health/{bucket}/ready",
                       f"/healthz?list-type=2&prefix={bucket}"):
            answer = ask(server, target)
            assert answer.body == b"ok\n"
            assert "etag" not in answer.headers

        ask(server, f"/{bucket}/ready").is_error(403, "AccessDenied")
    finally:
        s3.delete_object(Bucket=bucket, Key="ready")
        s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("prefix,name,code", [
    ("/wrong", "wrong", "SignatureDoesNotMatch"),
    ("/nobody", "nobody", "InvalidAccessKeyId"),
])
def test_refused(server, prefix, name, code):
    """The upstream answers, and knows us not."""

    message = f'the upstream refuses the credential "{name}": {code}'
    before = server.log().count(message)

    is_not(server, f"{prefix}/ready", REFUSED)
    assert server.log().count(message) == before + 2
    is_healthy(server, f"{prefix}/live")
    is_healthy(server, "/healthz")


def test_bucket_of_somebody_else(server):
    """The service bucket is there, and is not ours: records could not be
    written."""

    # it is made with the first of them

    bucket = f"health-{uuid.uuid4().hex[:8]}"
    s3 = server.client()
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * (9 << 20))
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)

    is_not(server, "/stranger/ready", b"the upstream does not let the "
           b"credential at the bucket of s3_checksums_bucket")
    is_healthy(server, "/stranger-passes/ready")


def test_without_params(server):
    """Unsigned, the upstream need not say anything of worth."""

    answer = ask(server, "/unsigned/ready")
    assert answer.status == 503, answer


# ---- an upstream that is away

@pytest.fixture(scope="module")
def before_frail(frail):
    with Gateway(frail) as gateway:
        yield gateway


def test_killed(frail, before_frail):
    is_healthy(before_frail, "/healthz")
    frail.kill()

    try:
        for target in ASKING:
            is_not(before_frail, target, AWAY)

        is_healthy(before_frail, LIVE)
    finally:
        frail.start_rgw()

    is_healthy(before_frail, "/healthz")


def test_stopped(frail, before_frail):
    """It hangs, with its connections: an answer comes within s3_timeout, and
    not when nginx's proxy has waited for a minute, as who asks does not."""

    is_healthy(before_frail, "/healthz")
    pid = frail.running["rgw"].pid
    os.killpg(pid, signal.SIGSTOP)

    try:
        is_not(before_frail, "/healthz", AWAY)

        # those who ask again and again do not pile up

        with contextlib.ExitStack() as stack:
            conns = [stack.enter_context(raw.Connection(before_frail))
                     for _ in range(20)]

            for conn in conns:
                conn.send(conn.head("GET", "/healthz", signed=False))
            for conn in conns[:10]:
                conn.close()
            for conn in conns[10:]:
                assert conn.answer().status == 503

        is_healthy(before_frail, LIVE)
    finally:
        os.killpg(pid, signal.SIGCONT)

    wait_for(lambda: ask(before_frail, "/healthz").status == 200, 20)
    is_healthy(before_frail, "/healthz")
    assert before_frail.client().list_buckets()


def test_never_there():
    """nginx runs, and says so."""

    class Nobody:
        url = "http://127.0.0.1:%d" % s3_server.free_ports(1)[0]
        access_key, secret_key = "K", "S"

    gateway = Gateway(Nobody)

    try:
        gateway.start(wait=False)

        def listens():
            with contextlib.suppress(OSError):
                return socket.create_connection(
                    ("127.0.0.1", gateway.port)).close() or True

        wait_for(listens, s3_server.START)
        is_not(gateway, "/healthz", AWAY)
        is_healthy(gateway, LIVE)
        gateway.stop()
    finally:
        gateway.stop(check=False)
        gateway.remove()
