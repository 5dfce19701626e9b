"""A request over HTTP/3: what boto3 and the others do not speak yet."""

import asyncio
import ssl
import urllib.parse

import aioquic.asyncio
import aioquic.h3.connection
import aioquic.h3.events
import aioquic.quic.configuration


class Client(aioquic.asyncio.QuicConnectionProtocol):

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = aioquic.h3.connection.H3Connection(self._quic)
        self.headers, self.body = [], bytearray()
        self.done = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        for e in self.h3.handle_event(event):
            if isinstance(e, aioquic.h3.events.HeadersReceived):
                self.headers += e.headers
            elif isinstance(e, aioquic.h3.events.DataReceived):
                self.body += e.data
            else:
                continue

            if e.stream_ended and not self.done.done():
                self.done.set_result(None)

    async def request(self, method, url, headers, body):
        target = url.path + ("?" + url.query if url.query else "")
        stream = self._quic.get_next_available_stream_id()

        self.h3.send_headers(stream, [
            (b":method", method.encode()), (b":scheme", b"https"),
            (b":authority", url.netloc.encode()),
            (b":path", target.encode()),
            *((k.lower().encode(), v.encode()) for k, v in headers.items()),
        ], end_stream=body is None)

        if body is not None:
            self.h3.send_data(stream, body, end_stream=True)

        self.transmit()
        await self.done

        headers = {k.decode(): v.decode() for k, v in self.headers}
        return int(headers[":status"]), headers, bytes(self.body)


async def _request(method, url, ca, headers, body):
    configuration = aioquic.quic.configuration.QuicConfiguration(
        alpn_protocols=aioquic.h3.connection.H3_ALPN, cafile=str(ca),
        verify_mode=ssl.CERT_REQUIRED)

    async with aioquic.asyncio.connect(
            url.hostname, url.port, configuration=configuration,
            create_protocol=Client) as client:
        return await asyncio.wait_for(
            client.request(method, url, headers, body), 60)


def request(method, url, ca, headers=None, body=None):
    """status, headers, body of one request on a connection of its own."""

    return asyncio.run(_request(method, urllib.parse.urlsplit(url), ca,
                                headers or {}, body))
