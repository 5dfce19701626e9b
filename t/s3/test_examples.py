"""conf.examples and docs/directives.md are what the module does.

The examples run as they stand: only the places that belong to a host are
moved below a directory of the test's own, and gateways' upstreams are a store
that the test has started. Directives and variables of the
documents are compared with the module's tables, and each directive is given
to nginx -t in every context, those in which it must be refused included.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest.mock

import botocore.config
import botocore.exceptions
import pytest
import yaml

import h3
import s3_gateway
import s3_server


ROOT = s3_server.ROOT
DOCUMENT = (ROOT / "docs/directives.md").read_text()
EXAMPLES = sorted((ROOT / "conf.examples").glob("*.conf"))
KUBERNETES = ROOT / "deploy/kubernetes/gateway.yaml"

CONTEXTS = {"http": "NGX_HTTP_MAIN_CONF", "server": "NGX_HTTP_SRV_CONF",
            "location": "NGX_HTTP_LOC_CONF"}


def nginx_t(prefix, conf):
    run = subprocess.run([s3_server.nginx_path(), "-e", "stderr",
                          "-p", f"{prefix}/", "-c", str(conf), "-t"],
                         capture_output=True, text=True, timeout=30)
    return run.returncode, run.stderr


# ---- the examples

class Upstream(s3_gateway.UpstreamStore):
    """What a gateway of the examples talks to, by the name that its
    certificate has."""

    name = "s3.example.com"

    def __init__(self, example):
        text = example.read_text()
        region = re.search(r"s3_upstream_region\s+(\S+);", text)

        super().__init__(server=f"s3_domain {self.name};",
                         region=region[1] if region else s3_server.REGION)

    def moved(self, text):
        """The example's upstream is this one."""

        https, = set(re.findall(r"proxy_pass (https?)://", text))
        port = self.tls_port if https == "https" else self.port

        text, n = re.subn(r"(?<=\n        server )[\w.-]+:\d+",
                          f"127.0.0.1:{port}", text)
        assert n >= 1

        host = re.search(r"s3_upstream_host\s+(\S+);", text)
        return text.replace(host[1], self.name) if host else text


class Host:
    """A directory that is the example's /, and nginx on it."""

    def __init__(self, path, example, upstream=None):
        path.chmod(0o755)
        self.path = path
        self.user = s3_server.workers_user(path)
        self.port, = s3_server.free_ports(1)
        self.conf = path / "etc/nginx/nginx.conf"
        self.process = None

        text = example.read_text()

        for d in ("etc/nginx", "etc/ssl/certs", "run", "var/lib/nginx",
                  "var/cache/nginx", "temp", "srv/www"):
            (path / d).mkdir(parents=True)

        for name in ("s3_params", "s3_gateway_params"):
            shutil.copy(ROOT / "conf" / name, path / "etc/nginx")

        certificates = s3_server.certificates()
        self.ca = path / "ca.pem"
        self.ca.write_bytes(certificates[0])

        for name in re.findall(r"ssl_certificate\s+(\S+);", text):
            (path / name[1:]).write_bytes(certificates[1])

        for name in re.findall(r"ssl_certificate_key\s+(\S+);", text):
            (path / name[1:]).write_bytes(certificates[2])

        for name in re.findall(r"ssl_trusted_certificate\s+(\S+);", text):
            (path / name[1:]).write_bytes(certificates[0])

        for name in re.findall(r"\bs3_credentials\s+(\S+)", text):
            keys = path / name[1:]
            keys.write_text("".join(json.dumps(line) + "\n"
                                    for line in self._keys(text, upstream)))
            keys.chmod(0o600)
            self._give(keys)

        for name in re.findall(r"disk\s+(\S+);", text):
            (path / name[1:]).mkdir(parents=True)
            self._give(path / name[1:])

        (path / "srv/www/index.html").write_text("not S3\n")

        self.prefix = re.search(
            r"location (\S+) \{[^{}]*(s3_serve|s3_gateway)",
            text)[1].rstrip("/")
        self.region = re.search(r"s3_region\s+(\S+);", text)[1]

        # what belongs to a host; whatever else there is stays

        if upstream:
            text = upstream.moved(text)

        text, n = re.subn(r"(?<=\s)/(?=(etc|run|srv|var)/)", f"{path}/", text)
        assert n >= (3 if upstream else 5)

        text, n = re.subn(r"listen 443 (ssl|quic)",
                          rf"listen 127.0.0.1:{self.port} \1", text)
        assert 1 <= n <= 2

        self.status_port, = s3_server.free_ports(1)
        text = text.replace("listen 127.0.0.1:9100;",
                            f"listen 127.0.0.1:{self.status_port};")

        module = "modules/ngx_http_s3_module.so"
        assert text.count(module) == 1
        text = text.replace(module, str(s3_server.module_path()))

        text = re.sub(r"worker_processes auto;", "worker_processes 2;", text)
        text = re.sub(r"\nhttp \{\n", f"""
http {{
    access_log             off;
    client_body_temp_path  {path}/temp/body;
    proxy_temp_path        {path}/temp/proxy;
    fastcgi_temp_path      {path}/temp/fastcgi;
    uwsgi_temp_path        {path}/temp/uwsgi;
    scgi_temp_path         {path}/temp/scgi;
""", text)

        user = f"user {self.user[0]};\n" if self.user else ""
        self.conf.write_text(f"{user}daemon off;\npid {path}/run/nginx.pid;\n"
                             f"error_log {path}/error.log info;\n{text}")

    def _keys(self, text, upstream):
        """What the example's file of keys holds."""

        client = {"access_key": s3_server.ACCESS_KEY,
                  "secret_key": s3_server.SECRET_KEY}

        if "--upstream self" in text:
            client["upstream"] = "self"

        return [client] + [
            {"type": "upstream", "name": name,
             "access_key": upstream.access_key,
             "secret_key": upstream.secret_key}
            for name in set(re.findall(r"s3_upstream_credentials\s+(\S+);",
                                       text))]

    def _give(self, path):
        if self.user:
            os.chown(path, self.user[1], self.user[2])

    def __enter__(self):
        self.stderr = open(self.path / "stderr", "wb")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "QUIT", s3_server.nginx_path(), "-e",
             "stderr", "-p", f"{self.path}/", "-c", str(self.conf)],
            stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr,
            start_new_session=True)
        return self

    def __exit__(self, *exception):
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(s3_server.QUIT)
        finally:
            self.process.kill()
            self.process.wait(10)
            self.stderr.close()

    def client(self):
        return s3_server.SESSION.client(
            "s3", endpoint_url=f"https://127.0.0.1:{self.port}{self.prefix}",
            region_name=self.region, aws_access_key_id=s3_server.ACCESS_KEY,
            aws_secret_access_key=s3_server.SECRET_KEY, verify=str(self.ca),
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, signature_version="s3v4",
                retries={"total_max_attempts": 1}))

    def ready(self, client):
        def ready():
            assert self.process.poll() is None, "nginx did not start"
            try:
                return client.list_buckets()
            except (botocore.exceptions.ClientError,
                    botocore.exceptions.HTTPClientError,
                    botocore.exceptions.ConnectionError):
                return None

        s3_server.wait_for(ready, s3_server.START, "nginx does not serve")


def test_there_are_examples():
    assert {e.name for e in EXAMPLES} >= {"single-host.conf",
                                          "storage-location.conf",
                                          "rate-limits.conf", "http3.conf",
                                          "virtual-hosts.conf",
                                          "gateway-ceph-tls.conf",
                                          "gateway-aws.conf",
                                          "gateway-own-store.conf",
                                          "gateway-edge-cache.conf",
                                          "gateway-several-rgws.conf"}


def over_http3(client, host):
    def url(operation, **params):
        return client.generate_presigned_url(
            operation, Params={"Bucket": "photos", "Key": "h3", **params})

    body = os.urandom(3 * 1024 * 1024 + 17)

    status, headers, answer = h3.request("PUT", url("put_object"), host.ca,
                                         body=body)
    assert (status, answer) == (200, b"")
    assert headers["etag"] == client.head_object(Bucket="photos",
                                                 Key="h3")["ETag"]

    status, headers, answer = h3.request("GET", url("get_object"), host.ca)
    assert (status, answer) == (200, body)

    status, headers, answer = h3.request(
        "GET", url("get_object", VersionId="no"), host.ca)
    assert status == 400 and b"<Code>InvalidArgument</Code>" in answer

    status, headers, answer = h3.request(
        "GET", url("get_object"), host.ca, {"range": "bytes=5-9"})
    assert (status, answer) == (206, body[5:10])


def over_names(host, domain):
    """The buckets as hosts, all of which are this machine."""

    def getaddrinfo(name, *args, _real=socket.getaddrinfo, **kwargs):
        return _real("127.0.0.1", *args, **kwargs)

    with unittest.mock.patch("socket.getaddrinfo", getaddrinfo):
        client = s3_server.SESSION.client(
            "s3", endpoint_url=f"https://{domain}:{host.port}",
            region_name="us-east-1", aws_access_key_id=s3_server.ACCESS_KEY,
            aws_secret_access_key=s3_server.SECRET_KEY, verify=str(host.ca),
            config=botocore.config.Config(
                s3={"addressing_style": "virtual"},
                retries={"total_max_attempts": 1}))

        url = client.generate_presigned_url(
            "get_object", Params={"Bucket": "photos", "Key": "v"})
        assert url.startswith(f"https://photos.{domain}:{host.port}/v?")

        client.put_object(Bucket="photos", Key="v", Body=b"x")
        assert client.get_object(Bucket="photos", Key="v")["Body"].read() \
            == b"x"
        assert {e["Key"] for e in
                client.list_objects_v2(Bucket="photos")["Contents"]} \
            == {"v", "2026/a.jpg"}

        client.close()


def from_the_cache(client, body):
    """Asked for twice, the second answer is nginx's own, whether RGW was asked
    for its entity tag again or not."""

    for cache in ({"MISS"}, {"HIT", "REVALIDATED"}):
        got = client.get_object(Bucket="photos", Key="2026/b.jpg",
                                Range="bytes=1000000-2000000")
        assert got["Body"].read() == body[1000000:2000001]
        assert got["ResponseMetadata"]["HTTPHeaders"]["x-cache-status"] \
            in cache


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.stem)
def test_example(example):
    with contextlib.ExitStack() as stack:
        upstream = None

        if "s3_gateway on;" in example.read_text():
            upstream = stack.enter_context(Upstream(example))

        run_example(example, upstream)


def run_example(example, upstream):
    # not tmp_path: that one is closed to nginx's user

    needs = re.findall(r"--with-\w+", example.read_text())
    built = subprocess.run([s3_server.nginx_path(), "-V"], check=True,
                           capture_output=True, text=True).stderr

    if not set(needs) <= set(re.findall(r"--with-\w+", built)):
        pytest.skip(f"this nginx is built without {needs}")

    host = Host(pathlib.Path(tempfile.mkdtemp(prefix="s3-example-")), example,
                upstream)

    try:
        code, said = nginx_t(host.path, host.conf)
        assert code == 0, said

        # what nginx 1.25 takes for old is what 1.22 takes at all

        warnings = [line for line in said.splitlines() if "[warn]" in line
                    and '"listen ... http2" directive' not in line]
        assert warnings == []

        # -t makes nothing on the disks

        for disk in re.findall(r"disk (\S+);", host.conf.read_text()):
            assert os.listdir(disk) == []

        with host:
            client = host.client()
            host.ready(client)

            body = os.urandom(3 * 1024 * 1024 + 17)
            client.create_bucket(Bucket="photos")
            client.put_object(Bucket="photos", Key="2026/a.jpg", Body=body,
                              Metadata={"my_camera.name": "x"})

            got = client.get_object(Bucket="photos", Key="2026/a.jpg")
            assert got["Body"].read() == body
            assert got["Metadata"] == {"my_camera.name": "x"}

            assert got["ChecksumCRC32"]

            if upstream:
                assert upstream.client(
                    access_key=upstream.access_key,
                    secret_key=upstream.secret_key).get_object(
                        Bucket="photos", Key="2026/a.jpg"
                    )["Body"].read() == body

            if "proxy_cache " in host.conf.read_text():
                client.put_object(Bucket="photos", Key="2026/b.jpg",
                                  Body=body)
                from_the_cache(client, body)

            if "quic" in host.conf.read_text():
                over_http3(client, host)

            for path in re.findall(r"location (?:= )?(\S+) \{\s*s3_health",
                                   host.conf.read_text()):
                path += "cluster" if path.endswith("/") else ""
                plain = http.client.HTTPSConnection(
                    "127.0.0.1", host.port, timeout=30,
                    context=ssl.create_default_context(cafile=str(host.ca)))
                plain.request("GET", path)
                answer = plain.getresponse()
                assert answer.status == 200
                assert answer.read().startswith(b"ok")
                plain.close()

            if "s3_status;" in host.conf.read_text():
                for path, word in (("/metrics", b"s3_requests_total{"),
                                   ("/minio/v2/metrics/cluster",
                                    b"minio_s3_requests_total{"),
                                   ("/", b'"disks":[')):
                    plain = http.client.HTTPConnection(
                        "127.0.0.1", host.status_port, timeout=30)
                    plain.request("GET", path)
                    answer = plain.getresponse()
                    assert answer.status == 200
                    assert word in answer.read()
                    plain.close()

            domain = re.search(r"s3_domain (\S+);", host.conf.read_text())

            if domain:
                over_names(host, domain[1])

            if host.prefix:
                plain = http.client.HTTPSConnection(
                    "127.0.0.1", host.port, timeout=30,
                    context=ssl.create_default_context(cafile=str(host.ca)))
                plain.request("GET", "/")
                answer = plain.getresponse()
                assert (answer.status, answer.read()) == (200, b"not S3\n")
                plain.close()

            client.close()

        log = (host.path / "error.log").read_text()
        assert not [line for line in log.splitlines()
                    if s3_server.BAD_LOG.search(line)], log

    finally:
        shutil.rmtree(host.path, ignore_errors=True)


def test_kubernetes(tmp_path):
    """What the manifest mounts and names is there, and nginx takes its
    configuration: but for the name of Rook's Service, which no DNS here
    knows."""

    objects = [o for o in yaml.safe_load_all(KUBERNETES.read_text()) if o]
    found = {}

    for o in objects:
        found.setdefault(o["kind"], {})[o["metadata"]["name"]] = o

    assert set(found) == {"ObjectBucketClaim", "Secret", "ConfigMap",
                          "Deployment", "Service"}

    deployment = found["Deployment"]["s3-gateway"]["spec"]
    service = found["Service"]["s3-gateway"]["spec"]
    pod = deployment["template"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    init, = pod["initContainers"]
    nginx, = pod["containers"]

    assert service["selector"].items() <= labels.items()
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert {p["targetPort"] for p in service["ports"]} \
        <= {p["name"] for p in nginx["ports"]}
    assert init["image"] == nginx["image"]

    volumes = {v["name"]: v for v in pod["volumes"]}

    for container in (init, nginx):
        assert {m["name"] for m in container["volumeMounts"]} <= set(volumes)

    # Rook makes a Secret of each claim's name

    assert {e["valueFrom"]["secretKeyRef"]["name"] for e in init["env"]} \
        == set(found["ObjectBucketClaim"])
    assert volumes["clients"]["secret"]["secretName"] in found["Secret"]

    conf = found["ConfigMap"][volumes["conf"]["configMap"]["name"]]
    conf = conf["data"]["nginx.conf"]

    assert f"listen {nginx['ports'][0]['containerPort']} " in conf
    assert "".join(re.findall(r"s3_checksums_bucket\s+(\S+);", conf)) \
        in {c["spec"]["bucketName"]
            for c in found["ObjectBucketClaim"].values()}

    for probe in ("livenessProbe", "readinessProbe"):
        assert f"location = {nginx[probe]['httpGet']['path']} {{" in conf

    # the file of keys, as the init container makes it; another nginx has the
    # same tool

    tool = s3_server.BUILD / "s3-credential"

    if not tool.exists():
        tool = ROOT / "build/s3-credential"

    keys = tmp_path / "s3.jsonl"
    script = init["command"][-1].replace("/keys/s3.jsonl", str(keys)) \
        .replace("/clients/clients.jsonl", str(tmp_path / "clients.jsonl")) \
        .replace("s3-credential", str(tool))
    (tmp_path / "clients.jsonl").write_text(
        found["Secret"]["s3-gateway-clients"]["stringData"]["clients.jsonl"])

    subprocess.run([*init["command"][:-1], script], check=True, timeout=30,
                   env={**os.environ,
                        **{e["name"]: f"{e['name']}-1" for e in init["env"]}})

    for name in ("s3_params", "s3_gateway_params"):
        shutil.copy(ROOT / "conf" / name, tmp_path)

    conf = re.sub(r"/(tmp|dev)/", f"{tmp_path}/", conf)
    conf = conf.replace("/keys/s3.jsonl", str(keys))
    conf = conf.replace("modules/ngx_http_s3_module.so",
                        str(s3_server.module_path()))
    conf = re.sub(r"(?<= server )rook-ceph-rgw-my-store\.\S+;",
                  "127.0.0.1:80;", conf)

    (tmp_path / "nginx.conf").write_text(conf)

    code, said = nginx_t(tmp_path, tmp_path / "nginx.conf")
    assert code == 0, said
    assert "[warn]" not in said


# ---- the documents

def documented():
    """{directive: (contexts, default or None)} of the sections."""

    found = {}

    for name, text in re.findall(r"^## (s3_\w+)\n(.*?)(?=^## |\Z)", DOCUMENT,
                                 re.M | re.S):
        context = re.search(r"^\| Context: \| (.*?) \|$", text, re.M)[1]
        default = re.search(r"^\| Default: \| (.*?) \|$", text, re.M)[1]
        default = re.fullmatch(rf"`{name} ([^`]+)`|none", default)
        assert default, f"{name}: Default"
        found[name] = (set(re.findall(r"`(\w+)`", context)), default[1])

    return found


def commands():
    """{directive: contexts} of the module's table."""

    text = (ROOT / "src/ngx_http_s3_module.c").read_text()
    table = re.search(r"ngx_http_s3_commands\[\] = \{(.*?)ngx_null_command",
                      text, re.S)[1]

    return {name: {c for c, flag in CONTEXTS.items() if flag in flags}
            for name, flags in re.findall(
                r'\{ ngx_string\("(\w+)"\),\s*([A-Z0-9_|\s]+),', table)}


def test_directives_are_documented():
    assert {n: c for n, (c, _) in documented().items()} == commands()


def test_directives_list():
    """The table at the top of the document says what its sections say."""

    rows = re.findall(r"^\| \[(s3_\w+)\]\(#(\w+)\) \| (.*?) \| (.*?) \|$",
                      DOCUMENT, re.M)

    assert [anchor for _, anchor, _, _ in rows] == [n for n, *_ in rows]
    assert {n: (set(re.findall(r"`(\w+)`", context)),
                None if default == "none" else default.strip("`"))
            for n, _, context, default in rows} == documented()


def test_store_block_is_documented():
    text = (ROOT / "src/http/ngx_http_s3_conf.c").read_text()
    words = re.findall(r'ngx_strcmp\(value\[0\]\.data, "(\w+)"\) == 0', text)
    section = DOCUMENT.split("\n## s3_store\n")[1].split("\n## ")[0]
    syntax = re.search(r"^\| Syntax: \| `(.*?)` \|$", section, re.M)[1]

    assert set(words) == {"disk", "parity"}
    assert set(words) == set(re.findall(r"(\w+) \w+;", syntax))


def test_variables_are_documented():
    text = (ROOT / "src/http/ngx_http_s3_variables.c").read_text()
    section = DOCUMENT.split("\n## Variables\n")[1].split("\n## ")[0]

    assert set(re.findall(r'ngx_string\("(s3_\w+)"\)', text)) \
        == set(re.findall(r"^\| `\$(s3_\w+)` \|", section, re.M))


def test_operations_are_documented():
    """Those that are implemented, in the directives and in the README; what
    is answered as of a bucket without it, in the directives alone."""

    text = (ROOT / "src/s3/s3_operation.h").read_text()
    rows = re.findall(r'_\((\w+),\s*"(\w+)",[^()]*\b(SERVED|PASSED|REFUSED)\)',
                      text.replace("\\\n", "\n"))

    text = (ROOT / "src/http/ngx_http_s3_habitual.c").read_text()
    symbols = set(re.findall(r"\{ S3_OP_(\w+),", text)) - {"NONE"}
    habitual = {name for symbol, name, flag in rows if symbol in symbols}
    assert len(habitual) == len(symbols)
    assert habitual <= {name for _, name, flag in rows if flag == "SERVED"}

    implemented = {name for _, name, flag in rows if flag == "SERVED"} - habitual
    assert len(implemented) >= 10

    answered = re.search(r"^Answered as .*?: (.*?)\.", DOCUMENT,
                         re.M | re.S)[1]
    assert set(re.findall(r"\w+", answered)) == habitual

    supported = re.search(r"^Supported: (.*?)\.", DOCUMENT, re.M | re.S)[1]
    assert set(re.findall(r"\w+", supported)) == implemented

    readme = (ROOT / "README.md").read_text()
    exists = re.search(r"^\| Operations \| (.*?) \|$", readme, re.M)[1]
    assert set(re.findall(r"\w+", exists)) == implemented


SAMPLES = {
    "s3_store": "s3_store other { disk e1; }",
    "s3_serve": "s3_serve main;",
    "s3_domain": "s3_domain s3.example.com;",
    "s3_health": "s3_health main;",
    "s3_status": "s3_status;",
    "s3_credentials": "s3_credentials keys.jsonl refresh=5s;",
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", sorted(documented()))
def test_directive_in_context(tmp_path, name, context):
    contexts, default = documented()[name]
    sample = SAMPLES.get(name, f"{name} {default};")
    at = dict.fromkeys(CONTEXTS, "")
    at[context] = sample

    # what the directive under test sets must not be there a second time

    keys = "" if (name, context) == ("s3_credentials", "http") \
        else "s3_credentials keys.jsonl;"
    serve = "" if (name, context) in (("s3_serve", "location"),
                                      ("s3_health", "location"),
                                      ("s3_status", "location")) \
        else "s3_serve main;"

    (tmp_path / "logs").mkdir()
    (tmp_path / "keys.jsonl").write_text(
        '{"access_key": "AK", "secret_key": "SK"}\n')
    (tmp_path / "keys.jsonl").chmod(0o600)

    conf = tmp_path / "nginx.conf"
    conf.write_text(f"""
load_module "{s3_server.module_path()}";
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    s3_store main {{ disk d1; disk d2; }}
    {keys}
    {at["http"]}
    server {{
        listen 127.0.0.1:1;
        include "{ROOT}/conf/s3_params";
        {at["server"]}
        location / {{
            {serve}
            {at["location"]}
        }}
    }}
}}
""")

    code, said = nginx_t(tmp_path, conf)

    if context in contexts:
        assert code == 0, said
    else:
        assert code != 0
        assert f'"{name}" directive is not allowed here' in said
