"""What clients read and delete out of habit: as of a bucket without it."""

import hashlib
import socket

import pytest

import raw
import s3_server
from checks import fails, read


OWNER = hashlib.sha256(s3_server.ACCESS_KEY.encode()).hexdigest()
OTHER = hashlib.sha256(s3_server.OTHER_KEY.encode()).hexdigest()

XSI = "{http://www.w3.org/2001/XMLSchema-instance}"

# sub-resource: (status, code) of the error, or the root of the document

BUCKET = {
    "acl": "AccessControlPolicy",
    "policy": (404, "NoSuchBucketPolicy"),
    "policyStatus": (404, "NoSuchBucketPolicy"),
    "cors": (404, "NoSuchCORSConfiguration"),
    "lifecycle": (404, "NoSuchLifecycleConfiguration"),
    "versioning": "VersioningConfiguration",
    "tagging": (404, "NoSuchTagSet"),
    "encryption": (404, "ServerSideEncryptionConfigurationNotFoundError"),
    "object-lock": (404, "ObjectLockConfigurationNotFoundError"),
    "notification": "NotificationConfiguration",
    "replication": (404, "ReplicationConfigurationNotFoundError"),
    "website": (404, "NoSuchWebsiteConfiguration"),
    "logging": "BucketLoggingStatus",
    "ownershipControls": "OwnershipControls",
    "publicAccessBlock": (404, "NoSuchPublicAccessBlockConfiguration"),
    "requestPayment": "RequestPaymentConfiguration",
    "accelerate": "AccelerateConfiguration",
    "analytics": "ListBucketAnalyticsConfigurationResult",
    "inventory": "ListInventoryConfigurationsResult",
    "metrics": "ListMetricsConfigurationsResult",
    "intelligent-tiering": "ListBucketIntelligentTieringConfigurationsOutput",
    "analytics&id=a": (404, "NoSuchConfiguration"),
    "inventory&id=a": (404, "NoSuchConfiguration"),
    "metrics&id=a": (404, "NoSuchConfiguration"),
    "intelligent-tiering&id=a": (404, "NoSuchConfiguration"),
}

OBJECT = {
    "acl": "AccessControlPolicy",
    "tagging": "Tagging",
    "retention": (400, "InvalidRequest"),
    "legal-hold": (400, "InvalidRequest"),
}

DELETED = ["policy", "cors", "lifecycle", "tagging", "encryption",
           "replication", "website", "publicAccessBlock"]


def answers(answer, expected):
    if isinstance(expected, tuple):
        answer.is_error(*expected)
        return

    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/xml"
    assert answer.xml.tag == \
        f"{{http://s3.amazonaws.com/doc/2006-03-01/}}{expected}"


@pytest.mark.parametrize("name", BUCKET)
def test_of_a_bucket(store, s3, bucket, name):
    with raw.Connection(store) as conn:
        answer = conn.request("GET", f"/{bucket}", name)
        answers(answer, BUCKET[name])

        if isinstance(BUCKET[name], tuple):
            assert answer.element("BucketName") == bucket

        conn.request("GET", "/none-such-bucket", name) \
            .is_error(404, "NoSuchBucket")
        conn.request("GET", f"/{bucket}", name, secret_key="x") \
            .is_error(403, "SignatureDoesNotMatch")
        assert conn.serves()


@pytest.mark.parametrize("name", OBJECT)
def test_of_an_object(store, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="a/k", Body=b"x")

    with raw.Connection(store) as conn:
        answers(conn.request("GET", f"/{bucket}/a/k", name), OBJECT[name])
        answers(conn.request("GET", f"/{bucket}/a/k",
                             name + "&versionId=null"), OBJECT[name])
        conn.request("GET", f"/{bucket}/none", name) \
            .is_error(404, "NoSuchKey")
        conn.request("GET", "/none-such-bucket/k", name) \
            .is_error(404, "NoSuchBucket")


@pytest.mark.parametrize("name", DELETED)
def test_deleting_what_is_not_there(store, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    with raw.Connection(store) as conn:
        answer = conn.request("DELETE", f"/{bucket}", name)
        assert (answer.status, answer.body) == (204, b"")
        conn.request("DELETE", "/none-such-bucket", name) \
            .is_error(404, "NoSuchBucket")

    # neither the bucket nor what is in it

    assert read(s3, bucket, "k") == b"x"


def test_deleting_of_lists(store, bucket):
    for name in ("analytics", "inventory", "metrics", "intelligent-tiering"):
        raw.once(store, "DELETE", f"/{bucket}", f"{name}&id=a") \
            .is_error(404, "NoSuchConfiguration")


def test_ownership_controls_stay(store, s3, bucket):
    raw.once(store, "DELETE", f"/{bucket}", "ownershipControls") \
        .is_error(501, "NotImplemented")

    assert s3.get_bucket_ownership_controls(Bucket=bucket)[
        "OwnershipControls"] == {
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_deleting_tags_of_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    answer = s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert read(s3, bucket, "k") == b"x"
    assert fails(s3.delete_object_tagging, Bucket=bucket, Key="none") \
        == (404, "NoSuchKey")


def test_acl(store, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    owner = {"ID": OWNER, "DisplayName": s3_server.ACCESS_KEY}

    for acl in (s3.get_bucket_acl(Bucket=bucket),
                s3.get_object_acl(Bucket=bucket, Key="k")):
        assert acl["Owner"] == owner
        assert acl["Grants"] == [{"Grantee": {**owner,
                                              "Type": "CanonicalUser"},
                                  "Permission": "FULL_CONTROL"}]

    root = raw.once(store, "GET", f"/{bucket}", "acl").xml
    grantee = root.find(".//{*}Grantee")
    assert grantee.get(f"{XSI}type") == "CanonicalUser"


def test_boto3_understands(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert "Status" not in \
        s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] \
        == "BucketOwner"
    assert not {k for k in
                s3.get_bucket_notification_configuration(Bucket=bucket)
                if k.endswith("Configurations")}
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []

    for listing in (s3.list_bucket_analytics_configurations,
                    s3.list_bucket_inventory_configurations,
                    s3.list_bucket_metrics_configurations,
                    s3.list_bucket_intelligent_tiering_configurations):
        assert listing(Bucket=bucket)["IsTruncated"] is False

    error = fails(s3.get_object_retention, Bucket=bucket, Key="k")
    assert error == (400, "InvalidRequest")


# ---- headers

def test_expected_owner(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x",
                  ExpectedBucketOwner=OWNER)

    assert read(s3, bucket, "k", ExpectedBucketOwner=OWNER) == b"x"
    denied = (403, "AccessDenied")

    for owner in (OTHER, "111122223333", OWNER.upper(), OWNER + "0", "-"):
        assert fails(s3.get_object, Bucket=bucket, Key="k",
                     ExpectedBucketOwner=owner) == denied
        assert fails(s3.put_object, Bucket=bucket, Key="k", Body=b"y",
                     ExpectedBucketOwner=owner) == denied
        assert fails(s3.list_objects_v2, Bucket=bucket,
                     ExpectedBucketOwner=owner) == denied
        assert fails(s3.get_bucket_policy, Bucket=bucket,
                     ExpectedBucketOwner=owner) == denied

    assert read(s3, bucket, "k") == b"x"


@pytest.mark.parametrize("name", ["x-amz-expected-bucket-owner",
                                  "x-amz-source-expected-bucket-owner"])
def test_expected_owner_twice(store, bucket, name):
    """Each of them counts, in a presigned query as well."""

    path = f"/{bucket}"

    with raw.Connection(store) as conn:
        for values in ((OWNER, OTHER), (OTHER, OWNER)):
            answer = conn.request("HEAD", path,
                                  headers=[(name, v) for v in values])
            assert answer.status == 403

        assert conn.request("HEAD", path, headers=[(name, OWNER)]).status \
            == 200

        for owner, status in ((OWNER, 200), (OTHER, 403)):
            query = raw.presign("HEAD", conn.host, path, f"{name}={owner}")
            assert conn.request("HEAD", path, query, signed=False).status \
                == status


def test_owner_is_whose_key_it_is(store, bucket):
    other = store.client(access_key=s3_server.OTHER_KEY,
                         secret_key=s3_server.OTHER_SECRET)

    assert other.head_bucket(Bucket=bucket, ExpectedBucketOwner=OTHER)
    assert fails(other.get_bucket_acl, Bucket=bucket,
                 ExpectedBucketOwner=OWNER) == (403, "AccessDenied")


def test_headers_of_versions_and_locks(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    assert fails(s3.delete_object, Bucket=bucket, Key="k",
                 BypassGovernanceRetention=True) == (400, "InvalidArgument")
    assert read(s3, bucket, "k") == b"x"

    s3.delete_object(Bucket=bucket, Key="k", MFA="serial 123456")
    assert fails(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


@pytest.mark.parametrize("headers,status,code", [
    ({"x-amz-acl": "private"}, 200, None),
    ({"x-amz-acl": "bucket-owner-full-control"}, 200, None),
    ({"x-amz-acl": "public-read"}, 400, "AccessControlListNotSupported"),
    ({"x-amz-grant-read": "id=1"}, 400, "AccessControlListNotSupported"),
    ({"x-amz-storage-class": "STANDARD"}, 200, None),
    ({"x-amz-storage-class": "GLACIER"}, 400, "InvalidStorageClass"),
    ({"x-amz-tagging": "a=b"}, 501, "NotImplemented"),
    ({"x-amz-server-side-encryption": "AES256"}, 501, "NotImplemented"),
    ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, 501,
     "NotImplemented"),
    ({"x-amz-object-lock-mode": "GOVERNANCE"}, 501, "NotImplemented"),
    ({"x-amz-object-lock-legal-hold": "ON"}, 501, "NotImplemented"),
    ({"x-amz-website-redirect-location": "/x"}, 501, "NotImplemented"),
    ({"x-amz-checksum-md4": "AA=="}, 400, "InvalidRequest"),
    ({"x-amz-request-payer": "requester"}, 200, None),
])
def test_headers_of_a_put(store, s3, bucket, headers, status, code):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")

    answer = raw.once(store, "PUT", f"/{bucket}/k", body=b"new",
                      headers=list(headers.items()))

    if code:
        answer.is_error(status, code)
        assert read(s3, bucket, "k") == b"old"
    else:
        assert answer.status == status, answer
        assert read(s3, bucket, "k") == b"new"


def test_id_2(store, s3, bucket):
    """On every answer, and in every error document."""

    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    seen = set()

    with raw.Connection(store) as conn:
        for method, path in (("GET", "/"), ("GET", f"/{bucket}/k"),
                             ("HEAD", f"/{bucket}/none"),
                             ("PUT", f"/{bucket}/k"), ("GET", "/Bad_Name"),
                             ("DELETE", f"/{bucket}/none")):
            answer = conn.request(method, path)
            seen.add(answer.headers["x-amz-id-2"])

            if answer.code:
                assert answer.element("HostId") \
                    == answer.headers["x-amz-id-2"]

        # and where nginx finds the error itself

        answer = conn.raw(b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.element("HostId") == answer.headers["x-amz-id-2"]
        seen.add(answer.headers["x-amz-id-2"])

    assert len(seen) == 1
    assert len(seen.pop()) == 44
    assert socket.gethostname() not in answer.headers["x-amz-id-2"]
