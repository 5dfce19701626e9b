"""Gateways before another S3, for tests to talk to.

    with Gateway(upstream) as gateway: ...     one nginx
    with Gateways("rgw") as gateways: ...      two of them before one Ceph,
                                               their own or upstream=...

An upstream is what has a url, an access_key and a secret_key: Ceph of ceph.py,
or UpstreamStore, a store of our own; with S3_UPSTREAM (http://host:port),
S3_UPSTREAM_ACCESS_KEY and S3_UPSTREAM_SECRET_KEY one that runs already takes
Ceph's place.  Two gateways listen to the same ports, and
the kernel gives each connection to one of them: whatever is kept for later must
be with the upstream.
"""

import asyncio
import collections
import contextlib
import os
import threading
import urllib.parse

import s3_server
from ceph import Ceph
from s3_server import ROOT, Nginx, Server, Store, free_ports, wait_for


UPSTREAM_KEY = "UPSTREAMACCESSKEY001"
UPSTREAM_SECRET = "s3cr3t/of+the/upstream/never+in+a+log/03"


class Running:
    """An upstream that others have started."""

    def __init__(self):
        self.url = os.environ["S3_UPSTREAM"]
        self.access_key = os.environ["S3_UPSTREAM_ACCESS_KEY"]
        self.secret_key = os.environ["S3_UPSTREAM_SECRET_KEY"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def ceph():
    return Running() if "S3_UPSTREAM" in os.environ else Ceph()


class UpstreamStore(Store):
    """A store of our own, with keys that its gateways' clients have not."""

    access_key = UPSTREAM_KEY
    secret_key = UPSTREAM_SECRET
    more_keys = ({"access_key": UPSTREAM_KEY, "secret_key": UPSTREAM_SECRET},)

    def __init__(self, **kwargs):
        super().__init__(upstream=True, **kwargs)
        self.upstream_url = self.url("http")


class Gateway(Nginx):
    """One nginx with s3_gateway.

    upstream       see above
    checksums      of s3_checksums
    shared         ports that others listen to as well
    gateway        further directives of the locations with s3_gateway
    own_keys       clients' requests are signed by their own pairs
    """

    def __init__(self, upstream, shared=None, gateway="", upstream_url=None,
                 servers_of_upstream=None, own_keys=False, **kwargs):
        self.upstream = upstream
        self.shared = shared
        self.gateway = gateway
        self.more_keys = [{"type": "upstream", "name": "other",
                           "access_key": upstream.access_key,
                           "secret_key": upstream.secret_key}]

        if own_keys:
            self.client_keys = {"upstream": "self"}

        url = upstream_url or getattr(upstream, "upstream_url", None) \
            or upstream.url
        self.servers_of_upstream = servers_of_upstream \
            or [url.partition("://")[2]]

        super().__init__(**kwargs)

    def listen(self):
        own = super().listen()

        if not self.shared:
            return own

        http, tls, h2 = self.shared

        return own | {
            "shared": f"127.0.0.1:{http} default_server reuseport",
            "shared tls": f"127.0.0.1:{tls} ssl default_server reuseport",
            "shared h2": f"127.0.0.1:{h2} ssl http2 default_server "
                         f"reuseport"}

    def location(self, name):
        return f"""location {name} {{
            s3_gateway on;
            s3_upstream_credentials other;
            include "{ROOT}/conf/s3_gateway_params";
            proxy_pass http://other;
            {self.gateway}
            {self.more["location"]}
        }}
"""

    def configuration(self):
        servers = "\n        ".join(f"server {s};"
                                    for s in self.servers_of_upstream)

        return f"""upstream other {{
        {servers}
        keepalive 32;
    }}""", self.location("/") + "\n        " + self.location("/storage/")


class Gateways(Server):
    """Two gateways before one upstream, "rgw" or "store", on the same ports."""

    kinds = ("http", "tls", "h2")

    def __init__(self, kind, upstream=None, **kwargs):
        super().__init__()
        self.kind = kind
        self.upstream = upstream
        self.more = kwargs
        self.port, self.tls_port, self.h2_port = free_ports(3)
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with self.stack:
            self.upstream = self.upstream or self.stack.enter_context(
                ceph() if self.kind == "rgw" else UpstreamStore())

            # a store knows checksums, and what belongs to whom goes by keys

            more = {} if self.kind == "rgw" \
                else {"gateway": "s3_checksums pass;", "own_keys": True}

            self.gateways = [
                self.stack.enter_context(Gateway(
                    self.upstream, workers=1,
                    shared=(self.port, self.tls_port, self.h2_port),
                    **more, **self.more))
                for _ in range(2)]

            self.ca = self.gateways[0].ca
            self.stack = self.stack.pop_all()

        return self

    def __exit__(self, *args):
        self.close_clients()
        return self.stack.__exit__(*args)

    def url(self, kind):
        return {"http": f"http://127.0.0.1:{self.port}",
                "tls": f"https://127.0.0.1:{self.tls_port}",
                "h2": f"https://127.0.0.1:{self.h2_port}"}[kind]

    def log(self):
        return "".join(g.log() for g in self.gateways)

    def access_lines(self):
        return [line for g in self.gateways for line in g.access_lines()]

    def processes(self):
        return {pid: title for g in self.gateways
                for pid, title in g.processes().items()}

    def rss(self):
        return sum(g.rss() for g in self.gateways)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        s3_server.skip(f"needs the server's {name}")


class Spooling(Gateway):
    """With proxy_request_buffering: nginx has the whole body, in a file where
    it is large, before it sends any of it."""

    def location(self, name):
        path = ROOT / "conf/s3_gateway_params"
        off = "proxy_request_buffering  off;"
        params = path.read_text()
        include = f'include "{path}";'
        text = super().location(name)
        assert off in params and include in text

        return text.replace(include, params.replace(
            off, "proxy_request_buffering on;"))


# ---- what a gateway sends

class Sent:
    """A request as the upstream got it, as far as it came."""

    def __init__(self, wire, head):
        line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, version = line.split(" ")
        assert version == "HTTP/1.1", head

        pairs = [line.partition(":")[::2] for line in lines]
        self.headers = {n.lower(): v.strip() for n, v in pairs}
        assert len(self.headers) == len(lines), head

        self.path = self.target.partition("?")[0]
        self.wire = wire
        self.length = int(self.headers.get("content-length", 0))
        self.body = bytearray()

    @property
    def whole(self):
        return len(self.body) == self.length

    def __repr__(self):
        return f"{self.method} {self.target}: {len(self.body)} of " \
            f"{self.length} bytes"


class Wire:
    """A connection to the upstream: the requests on it, one after the other.
    Whatever does not begin one where the one before has its end is an error,
    and so no request follows one that was cut short."""

    def __init__(self, tap):
        self.tap = tap
        self.sent = []
        self.rest = b""
        self.ended = False     # by the gateway

    def feed(self, data):
        data = self.rest + data

        while data:
            if self.sent and not self.sent[-1].whole:
                last = self.sent[-1]
                n = last.length - len(last.body)
                last.body += data[:n]
                data = data[n:]
                continue

            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                break

            request = Sent(self, head)
            assert "transfer-encoding" not in request.headers, head
            self.sent.append(request)
            self.tap.sent.append(request)
            self.tap.by_path[request.path].append(request)
            data = rest

        self.rest = data


class Tap:
    """Stands before an upstream and writes down what is sent to it.

        with Tap(ceph) as tap, Gateway(ceph, upstream_url=tap.url) as gateway:
            tap.puts("/bucket/key")
    """

    def __init__(self, upstream):
        self.upstream = urllib.parse.urlsplit(
            getattr(upstream, "upstream_url", None) or upstream.url)
        self.sent = []
        self.by_path = collections.defaultdict(list)
        self.errors = []

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1", 0))
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()

        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(task)
        self.loop.close()

        assert kind or not self.errors, self.errors

    async def _connected(self, reader, writer):
        wire = Wire(self)
        back = None

        try:
            from_upstream, to_upstream = await asyncio.open_connection(
                self.upstream.hostname, self.upstream.port)

            try:
                back = asyncio.ensure_future(
                    self._back(from_upstream, writer))

                while data := await reader.read(1 << 18):
                    wire.feed(data)
                    to_upstream.write(data)
                    await to_upstream.drain()

            finally:
                to_upstream.close()

        except ConnectionError:
            pass

        except (AssertionError, ValueError) as e:
            self.errors.append(repr(e))

        finally:
            wire.ended = True
            if back:
                back.cancel()
            writer.close()

    async def _back(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 18):
                writer.write(data)
                await writer.drain()
            writer.close()

    def puts(self, path):
        """PUTs of that path, with whatever query."""

        return [s for s in self.by_path[path] if s.method == "PUT"]

    def cut(self, *puts):
        """Those of the requests that were not sent to their end.  Each of
        them, by now or soon, has ended its connection, and was its last."""

        cut = [s for s in puts if not s.whole]

        for request in cut:
            wait_for(lambda: request.wire.ended, 30,
                     f"the connection is kept: {request!r}")
            assert request.wire.sent[-1] is request
            assert not request.whole and not request.wire.rest

        assert not self.errors, self.errors

        return cut
