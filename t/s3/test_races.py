"""Many clients that want the same key."""

import time

import raw
from checks import read


def test_races_for_a_key(store, s3, bucket):
    """32 clients, If-None-Match: *, 1,000 rounds: one of them has it, and the
    others are told so."""

    conns = [raw.Connection(store, timeout=120) for _ in range(32)]
    head, signed = None, -60.0

    for round_ in range(1000):

        # the body is not signed, so one signature does for all of them

        if time.monotonic() - signed > 60:
            signed = time.monotonic()
            head = conns[0].head("PUT", f"/{bucket}/k",
                                 headers=[("If-None-Match", "*")],
                                 body_headers=[("Content-Length", "6")])
            gone = conns[0].head("DELETE", f"/{bucket}/k")

        for n, conn in enumerate(conns):
            conn.send(head + f"{round_:03}.{n:02}".encode()[-6:])

        # a refusal has a document, the winner has none

        won = []

        for n, conn in enumerate(conns):
            answer = conn.answer("PUT")
            if answer.status == 200:
                won.append(n)
            else:
                assert (answer.status, answer.code) in (
                    (412, "PreconditionFailed"),
                    (409, "ConditionalRequestConflict")), answer

        assert len(won) == 1, (round_, won)

        if round_ % 20 == 0:
            assert read(s3, bucket, "k") \
                == f"{round_:03}.{won[0]:02}".encode()[-6:]

        assert conns[0].raw(gone, "DELETE").status == 204

        # connections are good for 1,000 requests, nginx's default

        if round_ % 400 == 399:
            for conn in conns:
                conn.close()
            conns = [raw.Connection(store, timeout=120) for _ in range(32)]

    for conn in conns:
        conn.close()
