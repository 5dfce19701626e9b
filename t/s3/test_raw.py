"""The tests' own tools: what they sign by hand is what botocore signs."""

import http.client
import io

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import raw
import s3_server


@pytest.mark.parametrize("path,query", [
    ("/", ""), ("/b/k", ""), ("/b/a//b/../c%20d%2B%C3%A9", ""),
    ("/b", "list-type=2&prefix=a%2Fb%20c&delimiter=%2F"),
    ("/b/k", "x-id=PutObject"),
])
def test_signature_is_that_of_botocore(path, query):
    headers = [("Host", "127.0.0.1:1"), ("x-amz-meta-a", "b  c")]

    request = botocore.awsrequest.AWSRequest(
        method="PUT", url="https://127.0.0.1:1" + path
        + ("?" + query if query else ""), headers=dict(headers))
    botocore.auth.S3SigV4Auth(
        botocore.credentials.Credentials(s3_server.ACCESS_KEY,
                                         s3_server.SECRET_KEY),
        "s3", "us-east-1").add_auth(request)

    theirs = request.headers["Authorization"]
    ours = dict(raw.sign("PUT", path, query, headers,
                         raw.EMPTY_SHA256,
                         date=request.context["timestamp"]))

    assert ours["Authorization"] == theirs


@pytest.mark.parametrize("data", [b"", b"a", b"ab" * 50_000])
def test_framing(data):
    class Socket:
        def makefile(self, mode):
            return io.BytesIO(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                              b"chunked\r\n\r\n" + raw.http_chunked(data))

    response = http.client.HTTPResponse(Socket())
    response.begin()
    assert response.read() == data
