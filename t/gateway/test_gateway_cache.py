"""An edge cache: proxy_cache in a gateway's location.

A signature is looked at before the cache answers, the cache's key says whose
answer it is, and what a cache gives is what the upstream would have given."""

import http.client
import io
import json
import uuid

import pytest

import raw
import s3_gateway
import s3_server
from ceph import Ceph
from checks import KIB, MIB, DIGESTS, data, fails, md5, read
from s3_server import ACCESS_KEY, DISABLED_KEY, OTHER_KEY, ROOT, SECRET_KEY


SAME_KEY = "TESTACCESSKEY0000004"

INCLUDE = f'include "{ROOT}/conf/s3_gateway_params";'
CACHE = """
    proxy_cache edge;
    proxy_cache_key $s3_cache_key;
    proxy_cache_valid 200 206 1h;
    add_header X-Cache $upstream_cache_status always;
    """
SLICE = """
    slice 1m;
    proxy_cache edge;
    proxy_cache_key $s3_cache_key$slice_range;
    proxy_set_header Range $slice_range;
    proxy_cache_valid 200 206 1h;
    add_header X-Cache $upstream_cache_status always;
    """

# one nginx: the cache at /, and others below a prefix of their own.  What is
# valid for a second is looked at again soon.

LOCATIONS = {
    "/plain/": "",
    "/slice/": SLICE,
    "/fresh/": CACHE.replace("1h", "1s") + """
        proxy_cache_revalidate on;
        proxy_cache_lock on;""",
    "/stale/": CACHE.replace("1h", "1s") + """
        proxy_cache_use_stale error timeout updating http_500 http_503;
        proxy_cache_background_update on;""",
    "/head/": CACHE.replace("$s3_cache_key", "$s3_cache_key$request_method")
        + "proxy_cache_convert_head off;",

    # all of it, as conf.examples has it

    "/edge/": SLICE.replace("1h", "1s") + """
        proxy_cache_bypass $not_cached;
        proxy_no_cache $not_cached;
        proxy_cache_revalidate on;
        proxy_cache_lock on;
        proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;""",
    "/seldom/": SLICE + "proxy_cache_min_uses 100;",
    "/unkeyed/": SLICE.replace("$s3_cache_key", "$uri"),
    "/any/": CACHE + "proxy_cache_valid any 1h;",
}


class Edge(s3_gateway.Gateway):
    """One worker: what it has answered it has in its cache."""

    def __init__(self, upstream):
        super().__init__(
            upstream, workers=1, gateway=CACHE,
            http="proxy_cache_path temp/cache keys_zone=edge:4m max_size=1g "
                 "inactive=1h use_temp_path=off; "
                 "map $s3_operation $not_cached { default 1; "
                 'GetObject ""; HeadObject ""; }',
            server="\n".join(f"""
            location {name} {{
                s3_gateway on;
                s3_upstream_credentials other;
                {INCLUDE}
                proxy_pass http://other;
                {text}
            }}""" for name, text in LOCATIONS.items()))

        self.more_keys = ()
        clients = [{"access_key": ACCESS_KEY}, {"access_key": SAME_KEY},
                   {"access_key": OTHER_KEY, "upstream": "second"},
                   {"access_key": DISABLED_KEY, "enabled": False}]
        upstreams = [("other", upstream.access_key, upstream.secret_key),
                     ("second", Ceph.other_key, Ceph.other_secret)]

        self.keys.write_text("".join(
            [json.dumps({**c, "secret_key": SECRET_KEY}) + "\n"
             for c in clients]
            + [json.dumps({"type": "upstream", "name": n, "access_key": k,
                           "secret_key": s}) + "\n"
               for n, k, s in upstreams]))


@pytest.fixture(scope="module")
def server(ceph):
    with Edge(ceph) as edge:
        yield edge


@pytest.fixture(scope="module")
def s3(server):
    """Past the cache."""

    return server.client(prefix="/plain")


@pytest.fixture(scope="module")
def bucket(s3):
    name = f"cache-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)

    yield name

    for entry in s3.list_objects_v2(Bucket=name).get("Contents", []):
        s3.delete_object(Bucket=name, Key=entry["Key"])
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def key():
    """Nobody has asked for it before."""

    return f"k-{uuid.uuid4().hex[:8]}"


def path_of(bucket, key, prefix=""):
    return f"{prefix}/{bucket}/{key}"


def get(server, path, query="", method="GET", presigned=False, **kwargs):
    if presigned:
        host = f"127.0.0.1:{server.port}"
        query = raw.presign(method, host, path, query,
                            **(presigned if presigned is not True else {}))
        kwargs["signed"] = False
    return raw.once(server, method, path, query, **kwargs)


def gives(answer, cache, body=None, status=200):
    """Asserts what the cache had to say to an answer, and what came."""

    assert answer.status == status, answer
    assert answer.headers.get("x-cache") == cache, answer.raw_headers

    if body is not None:
        assert answer.body == body

    # the gateway's own, and nobody else's

    assert "nginx-s3" not in str(answer.raw_headers)
    return answer


def becomes(server, path, cache, body, **kwargs):
    """The cache comes to say so: what fills it may go on behind an answer."""

    def asked():
        answer = get(server, path, **kwargs)
        return answer.headers["x-cache"] == cache and answer

    return gives(s3_server.wait_for(asked, 10, f"not {cache}", every=0.1),
                 cache, body)


def test_second_is_a_hit(server, s3, bucket, key):
    body = data(100 * KIB)
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/x",
                  Metadata={"one": "two"}, CacheControl="max-age=100")

    path = path_of(bucket, key)
    first = gives(get(server, path), "MISS", body)
    second = gives(get(server, path), "HIT", body)

    for name in ("etag", "content-type", "last-modified", "x-amz-meta-one",
                 "content-length", "cache-control", "accept-ranges"):
        assert first.headers[name] == second.headers[name]

    assert first.headers["etag"] == f'"{md5(body)}"'
    assert first.headers["x-amz-meta-one"] == "two"

    # however it is signed, whoever asks as the same one upstream

    gives(get(server, path, presigned=True), "HIT", body)
    gives(get(server, path, presigned={"access_key": SAME_KEY}), "HIT", body)
    gives(get(server, path, access_key=SAME_KEY), "HIT", body)
    gives(get(server, path, query="x-id=GetObject"), "HIT", body)
    gives(raw.once(server, "GET", path, signed=False,
                   query=raw.presign_v2("GET", path)), "HIT", body)
    gives(raw.once(server, "GET", path, signed=False,
                   headers=raw.sign_v2("GET", path)), "HIT", body)

    # each answer is one of its own

    ids = {get(server, path).headers["x-amz-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_presigned_comes_first(server, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    path = path_of(bucket, key)

    gives(get(server, path, presigned=True), "MISS", b"x")
    gives(get(server, path, presigned=True), "HIT", b"x")
    gives(get(server, path), "HIT", b"x")


def test_nobody_gets_in(server, s3, bucket, key):
    """What is in the cache is for those who might have asked for it."""

    secret = data(1000)
    s3.put_object(Bucket=bucket, Key=key, Body=secret)
    path = path_of(bucket, key)

    gives(get(server, path), "MISS", secret)
    gives(get(server, path), "HIT", secret)

    for code, request in (
            ("AccessDenied", {"signed": False}),
            ("InvalidAccessKeyId", {"access_key": "NOBODY"}),
            ("InvalidAccessKeyId", {"access_key": DISABLED_KEY}),
            ("SignatureDoesNotMatch", {"secret_key": "wrong"}),
            ("RequestTimeTooSkewed", {"date": raw.amz_date(-3600)}),
            ("InvalidAccessKeyId",
             {"presigned": {"access_key": DISABLED_KEY}}),
            ("SignatureDoesNotMatch", {"presigned": {"secret_key": "x"}}),
            ("AccessDenied", {"presigned": {"date": raw.amz_date(-7200)}})):

        for method in ("GET", "HEAD"):
            answer = get(server, path, method=method, **request)
            answer.is_error(403, code)
            assert secret not in answer.body
            assert "etag" not in answer.headers
            assert answer.headers.get("x-cache", "") == ""

    # a good signature of something else

    host = f"127.0.0.1:{server.port}"
    query = raw.presign("GET", host, path_of(bucket, "else"))
    answer = raw.once(server, "GET", path, query, signed=False)
    answer.is_error(403, "SignatureDoesNotMatch")

    query = raw.presign("PUT", host, path)
    answer = raw.once(server, "GET", path, query, signed=False)
    answer.is_error(403, "SignatureDoesNotMatch")


def test_other_rights_other_answers(server, s3, bucket, key):
    """Who is another one upstream is asked about there."""

    s3.put_object(Bucket=bucket, Key=key, Body=b"secret")
    path = path_of(bucket, key)

    gives(get(server, path), "MISS", b"secret")
    gives(get(server, path), "HIT", b"secret")

    for _ in range(2):
        answer = get(server, path, access_key=OTHER_KEY)
        answer.is_error(403, "AccessDenied")
        assert answer.headers["x-cache"] == "MISS"

    # once it may, it has an answer of its own

    s3.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
    gives(get(server, path, access_key=OTHER_KEY), "MISS", b"secret")
    gives(get(server, path, access_key=OTHER_KEY), "HIT", b"secret")
    gives(get(server, path), "HIT", b"secret")


def test_another_location_is_the_same(server, s3, bucket, key):
    """The key is about the upstream, and not about our own names."""

    s3.put_object(Bucket=bucket, Key=key, Body=b"x")

    gives(get(server, path_of(bucket, key)), "MISS", b"x")
    gives(get(server, path_of(bucket, key, "/storage")), "HIT", b"x")


def test_overrides_are_answers_of_their_own(server, s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=b"<script>",
                  ContentType="text/plain")
    path = path_of(bucket, key)

    gives(get(server, path, presigned=True), "MISS")

    html = "response-content-type=text%2Fhtml"
    down = "response-content-disposition=attachment"

    for query, name, value in ((html, "content-type", "text/html"),
                               (down, "content-disposition", "attachment")):
        for cache in ("MISS", "HIT"):
            answer = gives(get(server, path, query, presigned=True), cache,
                           b"<script>")
            assert answer.headers[name] == value

    answer = gives(get(server, path, presigned=True), "HIT", b"<script>")
    assert answer.headers["content-type"] == "text/plain"
    assert "content-disposition" not in answer.headers


def test_keys_that_look_alike(server, s3, bucket, key):
    """A name is a name, however it is written in a URL."""

    names = {f"{key}/a b": "a%20b", f"{key}/a+b": "a%2Bb",
             f"{key}/a%20b": "a%2520b", f"{key}//a": "/a",
             f"{key}/a?b": "a%3Fb", f"{key}/A b": "A%20b",
             f"{key}/é": "%C3%A9"}

    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())

    for cache in ("MISS", "HIT"):
        for name, written in names.items():
            gives(get(server, path_of(bucket, f"{key}/{written}")), cache,
                  name.encode())

    # and the other way round

    gives(get(server, path_of(bucket, f"{key}/%61%20%62")), "HIT",
          f"{key}/a b".encode())


# ---- conditions

def test_conditions(server, s3, bucket, key):
    body = data(1000)
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
    path = path_of(bucket, key)
    first = get(server, path)
    modified = first.headers["last-modified"]
    old, new = "Mon, 01 Jan 2024 00:00:00 GMT", raw.http_date(3600)

    for method in ("GET", "HEAD"):
        for headers, status in (
                ({"If-None-Match": etag}, 304),
                ({"If-None-Match": etag.strip('"')}, 304),
                ({"If-None-Match": '"other"'}, 200),
                ({"If-None-Match": "*"}, 304),
                ({"If-Match": etag}, 200),
                ({"If-Match": "*"}, 200),
                ({"If-Match": '"other"'}, 412),
                ({"If-Modified-Since": modified}, 304),
                ({"If-Modified-Since": old}, 200),
                ({"If-Unmodified-Since": old}, 412),
                ({"If-Unmodified-Since": new}, 200),
                ({"If-Match": etag, "If-Unmodified-Since": old}, 200),
                ({"If-None-Match": '"other"',
                  "If-Modified-Since": new}, 200)):
            answer = get(server, path, method=method,
                         headers=list(headers.items()))
            assert answer.status == status, (headers, answer)
            assert answer.headers["x-cache"] == "HIT"

            if status == 412:
                answer.is_error(412, "PreconditionFailed")
            elif status == 304:
                assert answer.body == b""
                assert answer.headers["etag"] == etag
                assert "content-length" not in answer.headers
                assert "nginx-s3" not in str(answer.raw_headers)
            elif method == "GET":
                assert answer.body == body

    # nothing of all this has been kept

    gives(get(server, path), "HIT", body)


def test_conditions_at_first(server, s3, bucket, key):
    """The upstream is asked without them, for all that come later."""

    body = data(1000)
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
    path = path_of(bucket, key)

    answer = get(server, path, headers=[("If-Match", '"other"')])
    answer.is_error(412, "PreconditionFailed")
    answer = get(server, path, headers=[("If-None-Match", etag)])
    assert answer.status == 304
    gives(get(server, path), "HIT", body)

    s3.put_object(Bucket=bucket, Key=key + "2", Body=body)
    answer = get(server, path_of(bucket, key + "2"),
                 headers=[("If-None-Match", etag)])
    assert answer.status == 304
    becomes(server, path_of(bucket, key + "2"), "HIT", body)


# ---- ranges

RANGES = [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=-7", -7, None),
          ("bytes=1048570-1048590", 1048570, 1048591),
          ("bytes=2097152-", 2097152, None), ("bytes=0-99999999", 0, None)]


@pytest.mark.parametrize("prefix", ["", "/slice"])
def test_ranges(server, s3, bucket, key, prefix):
    """Of what is there whole, or slice by slice."""

    body = data(3 * MIB + 100)
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/x")
    path = path_of(bucket, key, prefix)

    for _ in range(2):
        for text, start, end in RANGES:
            answer = get(server, path, headers=[("Range", text)])
            assert answer.status == 206, answer
            assert answer.body == body[start:end], text
            begin = start % len(body)
            assert answer.headers["content-range"] \
                == f"bytes {begin}-{begin + len(answer.body) - 1}" \
                   f"/{len(body)}"
            assert answer.headers["content-type"] == "text/x"
            assert answer.headers["etag"] == f'"{md5(body)}"'
            assert "nginx-s3" not in str(answer.raw_headers)

        answer = get(server, path)
        assert answer.status == 200
        assert answer.body == body
        assert answer.headers["content-length"] == str(len(body))

    assert get(server, path, headers=[("Range", "bytes=0-9")]) \
        .headers["x-cache"] == "HIT"

    for text in ("bytes=99999999-", "bytes=-0"):
        answer = get(server, path, headers=[("Range", text)])
        answer.is_error(416, "InvalidRange")

    # no range, or several: all of it, as S3 does

    for text in ("bytes=9-5", "lines=1-2", "bytes=0-1,5-6"):
        answer = get(server, path, headers=[("Range", text)])
        assert (answer.status, answer.body == body) == (200, True), text


@pytest.mark.parametrize("prefix", ["", "/slice"])
def test_if_range(server, s3, bucket, key, prefix):
    body = data(2 * MIB + 9)
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
    path = path_of(bucket, key, prefix)

    for _ in range(2):
        for value, status in ((etag, 206), ('"other"', 200),
                              (raw.http_date(-86400), 200)):
            answer = get(server, path, headers=[("Range", "bytes=5-9"),
                                                ("If-Range", value)])
            assert answer.status == status, answer
            assert answer.body == (body[5:10] if status == 206 else body)


@pytest.mark.parametrize("prefix", ["", "/slice"])
def test_if_range_of_another_object(server, s3, bucket, key, prefix):
    """A client that has the beginning of the new object gets no end of the
    old one, which is in the cache."""

    old, new = data(MIB, 1), data(MIB, 2)
    s3.put_object(Bucket=bucket, Key=key, Body=old)
    path = path_of(bucket, key, prefix)
    get(server, path)

    etag = s3.put_object(Bucket=bucket, Key=key, Body=new)["ETag"]
    answer = get(server, path, headers=[("Range", "bytes=1000-"),
                                        ("If-Range", etag)])

    if answer.status == 206:
        assert answer.body == new[1000:]
        assert answer.headers["etag"] == etag
    elif answer.status == 200:
        assert answer.body in (old, new)
    else:
        answer.is_error(503, "SlowDown")


@pytest.mark.parametrize("prefix", ["", "/slice"])
def test_conditions_and_ranges(server, s3, bucket, key, prefix):
    body = data(2 * MIB)
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
    path = path_of(bucket, key, prefix)

    for _ in range(2):
        for headers, status in (
                ({"If-Match": etag}, 206), ({"If-Match": '"other"'}, 412),
                ({"If-None-Match": etag}, 304),
                ({"If-None-Match": '"other"'}, 206)):
            answer = get(server, path, headers=[*headers.items(),
                                                ("Range", "bytes=5-9")])
            assert answer.status == status, (headers, answer)

            if status == 206:
                assert answer.body == body[5:10]


def only(conn):
    """Nothing comes behind the answer, and the next request has its own."""

    conn.socket.settimeout(0.5)

    try:
        assert not conn.socket.recv(65536)
    except TimeoutError:
        conn.socket.settimeout(30)
        assert conn.serves()


@pytest.mark.parametrize("headers", [[], [("Range", "bytes=5-")]])
@pytest.mark.parametrize("prefix,condition,status", [
    ("/slice", ("If-Match", '"other"'), 412),
    ("/slice", ("If-None-Match", "*"), 304), ("/unkeyed", None, 500)])
def test_error_in_place_of_slices(server, s3, bucket, key, prefix, condition,
                                  status, headers):
    """No slice follows it."""

    s3.put_object(Bucket=bucket, Key=key, Body=data(3 * MIB))
    path = path_of(bucket, key, prefix)

    if condition:
        get(server, path)

    for _ in range(2):
        with raw.Connection(server) as conn:
            answer = conn.request("GET", path, headers=[
                *headers, *([condition] if condition else [])])
            assert answer.status == status, answer
            only(conn)


@pytest.mark.parametrize("size", [3 * MIB, 9 * MIB])
@pytest.mark.parametrize("control", [None, "no-cache"])
@pytest.mark.parametrize("prefix", ["", "/slice", "/seldom"])
def test_range_of_what_is_not_kept(server, s3, bucket, key, prefix, control,
                                   size):
    """Whatever makes nginx change its mind about the cache."""

    body = data(size)
    more = {"CacheControl": control} if control else {}
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body,
                         ChecksumAlgorithm="CRC32", **more)["ETag"]
    path = path_of(bucket, key, prefix)
    mode = [("x-amz-checksum-mode", "ENABLED")]

    for _ in range(2):
        with raw.Connection(server) as conn:
            answer = conn.request("GET", path, headers=[
                *mode, ("Range", "bytes=1048570-2097160")])
            assert answer.status == 206, answer
            assert answer.body == body[1048570:2097161]
            assert "x-amz-checksum-crc32" not in answer.headers
            only(conn)

        get(server, path, headers=[("If-Match", '"other"')]).is_error(
            412, "PreconditionFailed")
        assert get(server, path,
                   headers=[("If-None-Match", etag)]).status == 304


def test_slices_of_one_object(server, s3, bucket, key):
    """A slice of the old object and one of the new are no object: nobody can
    take what comes for a whole one."""

    old, new = data(3 * MIB, 1), data(3 * MIB, 2)
    s3.put_object(Bucket=bucket, Key=key, Body=old)
    path = path_of(bucket, key, "/slice")

    answer = get(server, path, headers=[("Range", "bytes=0-9")])
    assert answer.body == old[:10]

    s3.put_object(Bucket=bucket, Key=key, Body=new)

    with pytest.raises(http.client.IncompleteRead) as cut:
        get(server, path)

    assert cut.value.partial == old[:MIB]


def test_slices_of_all(server, s3, bucket, key):
    """What the gateway asks first takes nothing of the range away."""

    body = data(3 * MIB)
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    path = path_of(bucket, key, "/slice")
    owner = "x-amz-expected-bucket-owner"
    asks = [(owner, s3.list_buckets()["Owner"]["ID"])]

    gives(get(server, path), "MISS", body)

    for _ in range(2):
        answer = get(server, path, headers=asks)
        assert (answer.status, answer.body) == (200, body)
        answer = get(server, path, headers=[*asks,
                                            ("Range", "bytes=2000000-")])
        assert (answer.status, answer.body) == (206, body[2000000:])
        get(server, path, headers=[(owner, "nobody")]).is_error(
            403, "AccessDenied")


# ---- what has changed

def test_revalidated(server, s3, bucket, key):
    """With proxy_cache_revalidate what is old is asked about by its ETag:
    what was written through the gateway is seen, "not modified" costs no
    data."""

    first, second = data(100 * KIB, 1), data(100 * KIB, 2)
    places = {prefix: path_of(bucket, key + prefix[1:], prefix)
              for prefix in ("/fresh", "/edge")}

    def each(do):
        for prefix, path in places.items():
            do(server.client(prefix=prefix), key + prefix[1:], path)

    def fill(edge, name, path):
        edge.put_object(Bucket=bucket, Key=name, Body=first)
        gives(get(server, path), "MISS", first)

    def write(edge, name, path):
        becomes(server, path, "REVALIDATED", first)
        edge.put_object(Bucket=bucket, Key=name, Body=second)

    def remove(edge, name, path):
        answer = becomes(server, path, "EXPIRED", second)
        assert answer.headers["etag"] == f'"{md5(second)}"'
        assert read(edge, bucket, name, ChecksumMode="ENABLED") == second
        edge.delete_object(Bucket=bucket, Key=name)

    def gone(edge, name, path):
        s3_server.wait_for(lambda: get(server, path).status != 200, 10,
                           every=0.1)
        get(server, path).is_error(404, "NoSuchKey")

    for do in (fill, write, remove, gone):
        each(do)


def test_updated_behind_an_answer(server, s3, bucket, key):
    """The update is a request of nginx's own, signed as the client's was."""

    first, second = data(100 * KIB, 1), data(100 * KIB, 2)
    path = path_of(bucket, key, "/stale")

    s3.put_object(Bucket=bucket, Key=key, Body=first)
    gives(get(server, path), "MISS", first)
    s3.put_object(Bucket=bucket, Key=key, Body=second)

    becomes(server, path, "STALE", first)
    becomes(server, path, "HIT", second)
    get(server, path, secret_key="wrong").is_error(403,
                                                   "SignatureDoesNotMatch")


# ---- checksums

@pytest.mark.parametrize("algorithm", DIGESTS)
@pytest.mark.parametrize("size", [1000, 9 * MIB])
def test_checksums(server, s3, bucket, key, algorithm, size):
    """In the answer's metadata, or in a record: who asks gets them, from the
    cache as from the upstream."""

    body = data(size)
    s3.put_object(Bucket=bucket, Key=key, Body=body,
                  ChecksumAlgorithm=algorithm)
    path = path_of(bucket, key)
    name = f"x-amz-checksum-{algorithm.lower()}"
    mode = [("x-amz-checksum-mode", "ENABLED")]

    for cache in ("MISS", "HIT", "HIT"):
        for method in ("GET", "HEAD"):
            answer = get(server, path, method=method, headers=mode)
            assert answer.headers[name] == DIGESTS[algorithm](body)
            assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
            assert answer.status == 200
            assert "nginx-s3" not in str(answer.raw_headers)

            if method == "GET":
                assert answer.headers["x-cache"] == cache
                assert answer.body == body

        answer = gives(get(server, path), "HIT", body)
        assert name not in answer.headers

        answer = get(server, path, headers=[*mode, ("Range", "bytes=0-9")])
        assert answer.body == body[:10]
        assert name not in answer.headers


@pytest.mark.parametrize("size", [2 * MIB + 9, 9 * MIB])
def test_checksums_of_slices(server, s3, bucket, key, size):
    body = data(size)
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    path = path_of(bucket, key, "/slice")
    mode = [("x-amz-checksum-mode", "ENABLED")]
    client = server.client(prefix="/slice")

    for _ in range(2):
        for method in ("GET", "HEAD"):
            answer = get(server, path, method=method, headers=mode)
            assert answer.status == 200
            assert answer.headers["x-amz-checksum-crc32"] \
                == DIGESTS["CRC32"](body)
            assert method == "HEAD" or answer.body == body

        answer = get(server, path, headers=[*mode, ("Range", "bytes=0-9")])
        assert answer.body == body[:10]
        assert "x-amz-checksum-crc32" not in answer.headers

        assert read(client, bucket, key) == body
        assert read(client, bucket, key, Range="bytes=7-") == body[7:]


@pytest.mark.parametrize("prefix", ["", "/slice"])
def test_parts(server, s3, bucket, key, prefix):
    """partNumber, of an object that is in the cache and of one that has been
    written over it since."""

    def upload(*parts):
        made = s3.create_multipart_upload(Bucket=bucket, Key=key,
                                          ChecksumAlgorithm="CRC32")
        upload_id = made["UploadId"]
        done = [{**{k: v for k, v in s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=n,
            Body=part, ChecksumAlgorithm="CRC32").items()
            if k in ("ETag", "ChecksumCRC32")}, "PartNumber": n}
            for n, part in enumerate(parts, 1)]
        return s3.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload_id,
            MultipartUpload={"Parts": done})["ETag"]

    client = server.client(prefix=prefix)
    first = [data(5 * MIB, 1), data(1 * MIB, 2)]
    upload(*first)

    for _ in range(2):
        for n in (1, 2):
            answer = client.get_object(Bucket=bucket, Key=key, PartNumber=n,
                                       ChecksumMode="ENABLED")
            assert answer["Body"].read() == first[n - 1]
            assert answer["PartsCount"] == 2
            assert answer["ChecksumCRC32"] == DIGESTS["CRC32"](first[n - 1])

        assert read(client, bucket, key) == b"".join(first)

    # those of the one or of the other, or none

    second = [data(6 * MIB, 3), data(2 * MIB, 4)]
    etag = upload(*second)

    for n in (1, 2):
        answer = raw.once(server, "GET", path_of(bucket, key, prefix),
                          f"partNumber={n}",
                          headers=[("x-amz-checksum-mode", "ENABLED")])

        if answer.status != 206:
            answer.is_error(503, "SlowDown")
            continue

        parts = second if answer.headers["etag"] == etag else first
        assert answer.body == parts[n - 1]
        assert answer.headers.get("x-amz-checksum-crc32") \
            in (None, DIGESTS["CRC32"](parts[n - 1]))


def test_part_beside_the_whole(server, s3, bucket, key):
    """A part is an answer of its own, and no range of an old one is one."""

    body = data(100 * KIB)
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    edge = server.client()

    for _ in range(2):
        answer = edge.get_object(Bucket=bucket, Key=key, PartNumber=1)
        assert answer["Body"].read() == body
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert read(edge, bucket, key) == body
        assert fails(edge.get_object, Bucket=bucket, Key=key, PartNumber=2) \
            == (416, "InvalidPartNumber")


# ---- HEAD, errors, the rest

@pytest.mark.parametrize("prefix", ["", "/head"])
def test_head(server, s3, bucket, key, prefix):
    """nginx makes a GET of it, where it is not told otherwise."""

    body = data(100 * KIB)
    s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"a": "b"})
    path = path_of(bucket, key, prefix)

    # the rest of nginx's GET goes on behind the first answer

    for answer in (gives(get(server, path, method="HEAD"), "MISS", b""),
                   becomes(server, path, "HIT", b"", method="HEAD")):
        assert answer.headers["content-length"] == str(len(body))
        assert answer.headers["etag"] == f'"{md5(body)}"'
        assert answer.headers["x-amz-meta-a"] == "b"

    gives(get(server, path), "HIT" if prefix == "" else "MISS", body)
    gives(get(server, path, method="HEAD"), "HIT", b"")


def test_head_of_a_large_one(server, s3, bucket, key):
    """As soon as the headers are there, and the next GET has it all."""

    body = data(20 * MIB)
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    path = path_of(bucket, key)

    answer = get(server, path, method="HEAD",
                 headers=[("x-amz-checksum-mode", "ENABLED")])
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-amz-checksum-crc32"] == DIGESTS["CRC32"](body)

    assert get(server, path).body == body
    gives(get(server, path), "HIT", body)


@pytest.mark.parametrize("prefix", ["", "/any"])
def test_errors(server, s3, bucket, key, prefix):
    """404 is S3's document, cached or not, and never an object."""

    path = path_of(bucket, key, prefix)

    for cache in ("MISS", "HIT" if prefix else "MISS"):
        answer = get(server, path)
        answer.is_error(404, "NoSuchKey")
        assert answer.headers["x-cache"] == cache
        assert answer.element("Key") == key

        answer = get(server, path, method="HEAD")
        answer.is_error(404, None)

    if prefix == "":
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        gives(get(server, path), "MISS", b"x")

    answer = get(server, f"{prefix}/no-such-{bucket}/k")
    answer.is_error(404, "NoSuchBucket")

    for _ in range(2):
        answer = get(server, path_of(bucket, key, prefix), "tagging",
                     access_key=OTHER_KEY)
        answer.is_error(403, "AccessDenied")


@pytest.mark.parametrize("prefix", ["", "/slice", "/edge"])
def test_lists_and_subresources(server, s3, bucket, key, prefix):
    """Each is an answer of its own."""

    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={
        "TagSet": [{"Key": "a", "Value": "b"}]})
    edge = server.client(prefix=prefix)

    for _ in range(2):
        assert read(edge, bucket, key) == b"x"
        assert edge.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] \
            == [{"Key": "a", "Value": "b"}]
        assert key in [e["Key"] for e in edge.list_objects_v2(
            Bucket=bucket, Prefix=key)["Contents"]]
        assert edge.list_objects_v2(Bucket=bucket, Prefix=key + "x")[
            "KeyCount"] == 0
        assert edge.get_object_acl(Bucket=bucket, Key=key)["Owner"]


@pytest.mark.parametrize("prefix", ["", "/slice", "/edge"])
def test_writes_go_through(server, s3, bucket, key, prefix):
    """All but GET and HEAD, on the very path that is in the cache."""

    edge = server.client(prefix=prefix)
    body = data(9 * MIB)
    edge.put_object(Bucket=bucket, Key=key, Body=body)
    path = path_of(bucket, key, prefix)
    gives(get(server, path), "MISS", body)

    for _ in range(2):
        edge.put_object(Bucket=bucket, Key=key, Body=b"new")
        edge.copy_object(Bucket=bucket, Key=key + "-copy",
                         CopySource={"Bucket": bucket, "Key": key})
        assert read(s3, bucket, key + "-copy") == b"new"
        edge.delete_object(Bucket=bucket, Key=key)
        assert fails(s3.get_object, Bucket=bucket, Key=key) \
            == (404, "NoSuchKey")


@pytest.mark.parametrize("value", ["no-store", "private", "max-age=0"])
def test_object_says_no(server, s3, bucket, key, value):
    s3.put_object(Bucket=bucket, Key=key, Body=b"x", CacheControl=value)

    for _ in range(2):
        gives(get(server, path_of(bucket, key)), "MISS", b"x")


def test_sdk(server, s3, bucket, key):
    """As the SDKs ask for it: with checksums, in pieces, several at once."""

    body = data(20 * MIB, 3)
    s3.upload_fileobj(io.BytesIO(body), bucket, key)

    for prefix in ("", "/slice", "/edge"):
        client = server.client(prefix=prefix)

        for _ in range(2):
            out = io.BytesIO()
            client.download_fileobj(bucket, key, out)
            assert md5(out.getvalue()) == md5(body)


# ---- an upstream that knows checksums

@pytest.fixture(scope="module")
def passing():
    with s3_gateway.UpstreamStore(workers=1) as store, s3_gateway.Gateway(
            store, gateway="s3_checksums pass; " + CACHE, workers=1,
            http="proxy_cache_path temp/cache keys_zone=edge:1m;") as edge:
        edge.client().create_bucket(Bucket="passing")
        yield edge


@pytest.mark.parametrize("first", [False, True])
def test_checksums_of_the_upstream(passing, key, first):
    """Who does not ask gets none, whatever the one before has asked."""

    body = data(100 * KIB)
    s3 = passing.client()
    s3.put_object(Bucket="passing", Key=key, Body=body)
    path = path_of("passing", key)
    name = "x-amz-checksum-crc32"
    mode = [("x-amz-checksum-mode", "ENABLED")]

    def ask(wanted):
        answer = get(passing, path, headers=mode if wanted else [])
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers.get(name) \
            == (DIGESTS["CRC32"](body) if wanted else None)
        return answer.headers["x-cache"]

    # with and without are two answers

    assert [ask(wanted) for wanted in (first, not first, first, not first)] \
        == ["MISS", "MISS", "HIT", "HIT"]

    assert read(s3, "passing", key) == body


@pytest.mark.parametrize("first", ["whole", "range"])
def test_no_checksum_of_the_whole_for_a_range(passing, key, first):
    """Clients would take it for that of what they have asked for."""

    body = data(100 * KIB)
    s3 = passing.client()
    s3.put_object(Bucket="passing", Key=key, Body=body)

    if first == "whole":
        assert read(s3, "passing", key) == body

    for _ in range(2):
        answer = get(passing, path_of("passing", key),
                     headers=[("x-amz-checksum-mode", "ENABLED"),
                              ("Range", "bytes=5-9")])
        assert (answer.status, answer.body) == (206, body[5:10])
        assert "x-amz-checksum-crc32" not in answer.headers

        assert read(s3, "passing", key, Range="bytes=5-") == body[5:]


# ---- objects with a key of the client's

@pytest.fixture(scope="module")
def locked(fake):
    """An upstream that shows an object to who has the key to it."""

    def answer(method, path, headers, body):
        if path == "/":
            return 200, {}, fake.EMPTY
        if headers.get(CUSTOMER + "key") != "k":
            return 400, {}, b"<Error><Code>InvalidRequest</Code></Error>"
        return 200, {"ETag": '"e"', CUSTOMER + "algorithm": "AES256"}, b"open"

    fake.answer = answer

    with s3_gateway.Gateway(
            fake, gateway=CACHE, workers=1,
            http="proxy_cache_path temp/cache keys_zone=edge:1m;") as edge:
        yield edge


CUSTOMER = "x-amz-server-side-encryption-customer-"


def test_keys_of_clients(locked):
    path = "/bucket/k"
    key = [(CUSTOMER + "algorithm", "AES256"), (CUSTOMER + "key", "k"),
           (CUSTOMER + "key-md5", "m")]

    for _ in range(2):
        answer = get(locked, path, headers=key)
        assert (answer.status, answer.body) == (200, b"open")

        for headers in ([], [*key[:1], (CUSTOMER + "key", "x"), key[2]]):
            get(locked, path, headers=headers).is_error(400,
                                                        "InvalidRequest")
