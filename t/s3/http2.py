"""A request over HTTP/2, by h2: curl 7.88 sends a body other than it was given
where the connection takes less of it at once than it wants to send."""

import contextlib
import socket
import ssl
import urllib.parse

import h2.config
import h2.connection
import h2.events

import raw


class Answer(raw.Answer):
    def __init__(self, method, headers, body):
        self.raw_headers = [(n, v) for n, v in headers if n != ":status"]
        self.headers = dict(self.raw_headers)
        self.status = int(dict(headers)[":status"])
        self.body, self.method = body, method


class Connection:
    """Over TLS with a CA's certificate, else one that knows it is HTTP/2."""

    def __init__(self, url, ca=None):
        url = urllib.parse.urlsplit(url)
        self.scheme, self.authority = url.scheme, url.netloc
        self.sock = socket.create_connection((url.hostname, url.port), 60)

        if ca:
            context = ssl.create_default_context(cafile=str(ca))
            context.set_alpn_protocols(["h2"])
            self.sock = context.wrap_socket(self.sock,
                                            server_hostname=url.hostname)
            assert self.sock.selected_alpn_protocol() == "h2"

        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.headers, self.body, self.ended = None, b"", False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def receive(self):
        """What comes next; an end of the connection ends the answer."""

        data = self.sock.recv(65536)
        self.ended = not data

        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = event.headers
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.h2.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded,
                                    h2.events.StreamReset)):
                self.ended = True

    def send(self, method, path, headers, body, end=True):
        """A request with all of body that is wanted: who answers first, and
        gives the stream no more room, gets no more."""

        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [
            (":method", method), (":scheme", self.scheme),
            (":authority", self.authority), (":path", path),
            *((n.lower(), v) for n, v in headers)])

        while not self.ended:
            n = min(self.h2.local_flow_control_window(stream),
                    self.h2.max_outbound_frame_size, len(body))
            last = end and n == len(body)

            if n or last:
                self.h2.send_data(stream, body[:n], end_stream=last)
                body = body[n:]

            # who has answered may have closed as well

            with contextlib.suppress(*() if self.headers is None
                                     else (BrokenPipeError,
                                           ConnectionResetError)):
                self.flush()

            if not body:
                return

            if n == 0:
                self.receive()

    def answer(self, method):
        while not self.ended:
            self.flush()
            self.receive()

        assert self.headers, "no answer"
        return Answer(method, self.headers, self.body)


def put(url, path, up, ca=None):
    """The answer to an upload that has no framing of its own (forms)."""

    with Connection(url, ca) as conn:
        conn.send("PUT", path, lines(up), up.body)
        return conn.answer("PUT")


def leave(url, path, up, ca, sent):
    """That many bytes of an upload, and gone."""

    assert sent < len(up.body)

    with Connection(url, ca) as conn:
        conn.send("PUT", path, lines(up), up.body[:sent], end=False)


def lines(up):
    return [(n, v) for n, v in up.lines
            if n not in ("Host", "Content-Length")] \
        + [("content-length", str(len(up.body)))]
