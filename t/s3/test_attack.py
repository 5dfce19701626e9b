"""Requests of somebody who means harm.  (Signatures: test_auth.py, presigned
URLs: test_presigned.py, paths: test_keys.py.)"""

import re

import pytest

import raw
import s3_server


def at(conn, method, target, headers=(), body=None):
    """A request whose target goes out as it is, with no header added but
    Host and Content-Length."""

    lines = [f"{method} {target} HTTP/1.1", f"Host: {conn.host}"]
    lines += [f"{n}: {v}" for n, v in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")

    conn.send("\r\n".join(lines + ["", ""]).encode("latin-1")
              + (body or b""))
    return conn.answer(method)


# ---- what is stored comes back as headers

@pytest.mark.parametrize("name", ["a%0d%0aInjected%3a%20yes", "a%00b", "a%20b",
                                  "a%3ab", "%c3%a9", "a%22"])
def test_metadata_names_of_a_presigned_query(store, bucket, name):
    """Arguments of a query may hold any byte, names of headers may not."""

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("PUT", conn.host, path, f"X-Amz-Meta-{name}=v")
        at(conn, "PUT", f"{path}?{query}", body=b"x") \
            .is_error(400, "InvalidArgument")
        conn.request("GET", path).is_error(404, "NoSuchKey")


@pytest.mark.parametrize("value", ["a%0d%0aInjected: yes", "a%00", "%1b[2J"])
@pytest.mark.parametrize("name", ["response-content-type",
                                  "response-cache-control"])
def test_overrides_hold_no_control_characters(store, bucket, s3, name, value):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("GET", conn.host, path,
                            f"{name}={raw.quote(raw.unescaped(value))}")
        at(conn, "GET", f"{path}?{query}").is_error(400, "InvalidArgument")


# ---- locations

def test_bucket_whose_name_begins_alike(store, bucket):
    """nginx chooses the location by "/bucketx/k", S3 would see "bucket"."""

    path = f"/{bucket}/../{bucket}x/k"

    with raw.Connection(store) as conn:
        for method in ("PUT", "GET", "DELETE"):
            conn.request(method, path, body=b"x" if method == "PUT"
                         else None).is_error(400, "InvalidURI")


# ---- bodies

def test_create_bucket_without_the_body_that_was_signed(store):
    """Somebody on the way has taken it, and the region it names."""

    for body in (None, b""):
        raw.once(store, "PUT", "/stripped-of-its-body", body=body,
                 payload="0" * 64) \
            .is_error(400, "XAmzContentSHA256Mismatch")


# ---- logs

def test_error_log_is_not_written_by_clients(store, bucket):
    """The scope of a credential is quoted in the message."""

    evil = "us\n[warn] not from here \x1b[31m\x7f\xff"

    with raw.Connection(store) as conn:
        path = f"/{bucket}/k"
        query = raw.presign("GET", conn.host, path, region=evil)
        at(conn, "GET", f"{path}?{query}") \
            .is_error(400, "AuthorizationQueryParametersError")

    log = s3_server.wait_for(lambda: "not from here" in store.log()
                             and store.log(), 5)
    assert "\\x0A[warn] not from here \\x1B[31m\\x7F\\xC3" in log
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\uffff]", log)
