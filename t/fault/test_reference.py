"""The model that stores are compared with (reference.py) takes what S3 may
answer, in any order that requests may have had, and nothing else."""

import random
import time

import pytest

import reference as ref


@pytest.fixture
def history():
    h = ref.History()
    do(h, ref.CreateBucket("b"), (200,))
    return h


def put(body, **how):
    return ref.Put("b", "k", body, **how)


def stored(op):
    return 200, op.made.etag, op.made.checksum


def do(history, op, answer):
    history.sent(op)
    history.keep(op, answer)


def read(body):
    """A GET and the answer that has body, or None: none is there."""

    op = ref.Get("b", "k")
    if body is None:
        return op, (404, "NoSuchKey")
    made = put(body).made
    return op, (200, made.etag, len(body), None, made.meta, made.checksum,
                None, body)


def wrong(history, op, answer):
    with pytest.raises(ref.Wrong):
        do(history, op, answer)


def test_one_after_the_other(history):
    first, second = put(b"1"), put(b"2")
    do(history, first, stored(first))
    do(history, *read(b"1"))
    do(history, second, stored(second))
    do(history, *read(b"2"))
    wrong(history, *read(b"1"))


def test_deleted(history):
    first = put(b"1")
    do(history, first, stored(first))
    do(history, ref.Delete("b", "k"), (204,))
    do(history, *read(None))
    wrong(history, *read(b"1"))


@pytest.mark.parametrize("last", [b"1", b"2"])
def test_either_of_two_at_once(history, last):
    """The last one may be either, and stays."""

    first, second = put(b"1"), put(b"2")
    history.sent(first)
    history.sent(second)
    history.keep(second, stored(second))
    history.keep(first, stored(first))
    do(history, *read(last))
    wrong(history, *read(b"1" if last == b"2" else b"2"))


def test_read_while_it_is_written(history):
    """Old or new before the answer, but not old after new."""

    first = put(b"1")
    history.sent(first)
    do(history, *read(None))
    do(history, *read(b"1"))
    wrong(history, *read(None))


def test_never_before_it_was_sent(history):
    wrong(history, *read(b"1"))


def test_of_two_conditional_writes_one(history):
    first, second = (put(b, if_none_match="*") for b in (b"1", b"2"))
    history.sent(first)
    history.sent(second)
    history.keep(first, stored(first))

    with pytest.raises(ref.Wrong):
        history.keep(second, stored(second))


def test_one_of_them_must_win(history):
    first, second = (put(b, if_none_match="*") for b in (b"1", b"2"))
    history.sent(first)
    history.sent(second)
    history.keep(first, (412, "PreconditionFailed"))

    with pytest.raises(ref.Wrong):
        history.keep(second, (412, "PreconditionFailed"))


def test_without_an_answer(history):
    """It may take effect at any later time, once."""

    lost, later = put(b"lost"), put(b"later")
    history.sent(lost)
    history.lost(lost, time.monotonic())
    do(history, *read(None))
    do(history, later, stored(later))
    do(history, *read(b"later"))
    do(history, *read(b"lost"))
    wrong(history, *read(b"later"))


def test_without_an_answer_for_too_long(history):
    lost = put(b"lost")
    history.sent(lost)
    history.lost(lost, 1)
    do(history, *read(None))
    history.expire(2)
    wrong(history, *read(b"lost"))


def test_refused(history):
    refused = put(b"1")
    history.sent(refused)
    history.refused(refused)
    wrong(history, *read(b"1"))


def test_refused_and_seen_before(history):
    refused = put(b"1")
    history.sent(refused)
    do(history, *read(b"1"))

    with pytest.raises(ref.Wrong):
        history.refused(refused)


def test_each_of_deleted_objects(history):
    """A DeleteObjects without an answer may have deleted some."""

    for key in "xy":
        op = ref.Put("b", key, b"")
        do(history, op, stored(op))

    op = ref.DeleteObjects("b", ["x", "y"])
    history.sent(op)
    history.lost(op, time.monotonic())

    etag = ref.etag_of(b"")
    do(history, ref.List("b"), (200, "false", (("x", etag, 0),), ()))
    wrong(history, ref.List("b"),
          (200, "false", (("x", etag, 0), ("y", etag, 0)), ()))


def test_copy_and_source_at_once(history):
    """Old bytes or new ones, with their entity tag."""

    old, new = put(b"old"), put(b"new")
    do(history, old, stored(old))
    copy = ref.Copy("b", "copy", "b", "k")
    history.sent(new)
    history.sent(copy)
    history.keep(new, stored(new))
    history.keep(copy, (200, old.made.etag))
    wrong(history, ref.Get("b", "copy", head=True),
          (200, new.made.etag, 3, None, new.made.meta, new.made.checksum,
           None, None))


def test_pages(history):
    for key in ("a/1", "a/2", "b", "c/1"):
        op = ref.Put("b", key, b"")
        do(history, op, stored(op))

    etag = ref.etag_of(b"")
    do(history, ref.List("b", delimiter="/", max_keys=2),
       (200, "true", (("b", etag, 0),), ("a/",)))
    do(history, ref.List("b", delimiter="/", max_keys=2, after="a/"),
       (200, "false", (("b", etag, 0),), ("c/",)))
    do(history, ref.List("b", prefix="a/", after="a/1"),
       (200, "false", (("a/2", etag, 0),), ()))
    wrong(history, ref.List("b", delimiter="/", max_keys=2, after="a/"),
          (200, "false", (("b", etag, 0),), ("a/", "c/")))


def test_upload(history):
    create = ref.Create("b", "k")
    create.upload_id = "u"
    do(history, create, (200,))
    part = ref.PartPut("b", "k", "u", 1, b"body", None)
    do(history, part, (200, part.made.etag, None))
    do(history, *read(None))

    named = [(1, part.made.etag, None)]
    again = [ref.Complete("b", "k", "u", named, None) for _ in range(2)]
    answer = again[0].apply(history.state)[0]
    assert answer[1].endswith('-1"')

    for op in again:
        do(history, op, answer)

    do(history, ref.Abort("b", "k", "u"), (404, "NoSuchUpload"))
    do(history, ref.ListUploads("b"), (200, frozenset()))
    wrong(history, *read(None))


class Server:
    """Takes requests at any moment between their coming and their answer;
    forget: what it does with some writes."""

    def __init__(self, rng, forget=0):
        self.rng, self.forget = rng, forget
        self.state = {}

    def burst(self, history, ops):
        singles = [s for op in ops for s in op.split()]
        answers, sent, done = {}, set(), set()

        while len(done) < len(singles):
            op = self.rng.choice([s for s in singles if s not in done])

            if op not in sent:
                history.sent_one(op)
                sent.add(op)
            elif op not in answers:
                answers[op], state = op.apply(self.state)
                if self.rng.random() >= self.forget:
                    self.state = state
            else:
                history.keep(op, answers[op])
                done.add(op)


def some(rng):
    """Requests that want the same two keys and one upload."""

    def key():
        return "b", rng.choice("xy")

    def one():
        kind = rng.randrange(8)
        if kind < 3:
            return ref.Put(*key(), bytes([rng.randrange(256)]) * 2,
                           if_none_match=rng.choice([None, "*"]))
        if kind < 5:
            return ref.Get(*key())
        return [lambda: ref.Delete(*key()),
                lambda: ref.Copy(*key(), *key(), replace={}),
                lambda: rng.choice([ref.List("b"),
                                    ref.DeleteObjects("b", "xy")])
                ][kind - 5]()

    ops = [one() for _ in range(rng.randrange(1, 6))]
    return ref.few(ops)


@pytest.mark.parametrize("seed", range(5))
def test_bursts(seed):
    rng = random.Random(seed)
    server, history = Server(rng), ref.History()
    server.burst(history, [ref.CreateBucket("b")])

    for _ in range(40):
        server.burst(history, some(rng))
        server.burst(history, [ref.List("b")])
        assert [w.state for w in history.worlds] == [server.state]


@pytest.mark.parametrize("seed", range(5))
def test_bursts_of_which_one_is_forgotten(seed):
    rng = random.Random(seed)
    server, history = Server(rng), ref.History()
    server.burst(history, [ref.CreateBucket("b")])
    server.forget = 0.05

    with pytest.raises(ref.Wrong):
        for _ in range(200):
            server.burst(history, some(rng))
            server.burst(history, [ref.List("b")])
