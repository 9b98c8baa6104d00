"""Buckets and objects, with boto3, the AWS CLI, and plain HTTP where a presigned
request is followed by somebody who knows nothing of AWS."""

import base64
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import zlib

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

import shapes
from support import KEY, REGION, SECRET, URL, client, unique

MIB = 1 << 20


class S3(unittest.TestCase):
    """A test with a bucket of its own, whose every reply is held against the model."""

    def setUp(self):
        # Without being told, boto3 presigns as nobody should any more.
        self.s3 = client("s3", signature="s3v4")
        self.faults, self.walked = [], 0
        self.s3.meta.events.register("before-call.s3", self.note)
        self.s3.meta.events.register("response-received.s3", self.walk)
        self.bucket = unique("forno")
        self.s3.create_bucket(Bucket=self.bucket)
        self.addCleanup(self.empty, self.bucket)

    def note(self, model, context, **kwargs):
        context["forno"] = model

    def walk(self, response_dict, context, **kwargs):
        if response_dict is None or response_dict["status_code"] >= 300:
            return
        operation = context["forno"]
        if operation.has_streaming_output or operation.name == "GetBucketLocation":
            return
        self.walked += 1
        for fault in shapes.walk_document(operation, response_dict["body"]):
            self.faults.append(f"{operation.name}: {fault}")

    def doCleanups(self):
        done = super().doCleanups()
        self.assertEqual(self.faults, [], "replies that differ from the service model")
        return done

    def empty(self, bucket):
        for upload in self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            self.s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        keys = [one["Key"] for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
                for one in page.get("Contents", [])]
        for at in range(0, len(keys), 1000):
            self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[at:at + 1000]]})
        self.s3.delete_bucket(Bucket=bucket)
        self.assertGreater(self.walked, 2)

    def refused(self, code, call, *args, **kwargs):
        with self.assertRaises(ClientError) as caught:
            call(*args, **kwargs)
        error = caught.exception.response
        self.assertEqual(error["Error"]["Code"], code, error)
        self.assertTrue(error["ResponseMetadata"]["RequestId"])
        return error

    def put(self, key, body=b"x", **more):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key, **more):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)

    def presigned(self, call, **parameters):
        more = {name: parameters.pop(name) for name in ("ExpiresIn", "HttpMethod") if name in parameters}
        return self.s3.generate_presigned_url(call, {"Bucket": self.bucket, **parameters}, **more)


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def fetch(url, method="GET", body=None, **headers):
    """Status, headers and body of a request that nobody signs."""
    request = urllib.request.Request(url, data=body, method=method, headers={
        name.replace("_", "-"): value for name, value in headers.items()})
    # What urllib adds by itself would be kept as the object's own.
    request.add_unredirected_header("Content-Type", headers.get("Content_Type", "application/x-test"))
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, lower(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        return error.code, lower(error.headers), error.read()


class Buckets(S3):
    def test_a_life(self):
        names = [one["Name"] for one in self.s3.list_buckets()["Buckets"]]
        self.assertIn(self.bucket, names)
        found = self.s3.list_buckets(Prefix=self.bucket, BucketRegion=REGION)["Buckets"]
        self.assertEqual([one["BucketRegion"] for one in found], [REGION])
        self.assertEqual(self.s3.head_bucket(Bucket=self.bucket)["BucketRegion"], REGION)
        self.assertIsNone(self.s3.get_bucket_location(Bucket=self.bucket)["LocationConstraint"])
        # As it was before there were other regions.
        self.s3.create_bucket(Bucket=self.bucket)
        self.put("full")
        self.refused("BucketNotEmpty", self.s3.delete_bucket, Bucket=self.bucket)

    def test_elsewhere(self):
        there, name = client("s3", region="sa-east-1"), unique("forno")
        place = {"LocationConstraint": "sa-east-1"}
        self.refused("IllegalLocationConstraintException", there.create_bucket, Bucket=name)
        there.create_bucket(Bucket=name, CreateBucketConfiguration=place)
        self.addCleanup(there.delete_bucket, Bucket=name)
        self.refused("BucketAlreadyOwnedByYou", there.create_bucket, Bucket=name, CreateBucketConfiguration=place)
        self.assertEqual(self.s3.get_bucket_location(Bucket=name)["LocationConstraint"], "sa-east-1")
        # The client follows to the bucket's own region by itself.
        self.s3.put_object(Bucket=name, Key="k", Body=b"far")
        self.assertEqual(there.get_object(Bucket=name, Key="k")["Body"].read(), b"far")
        there.delete_object(Bucket=name, Key="k")

    def test_refusals(self):
        for name in ("Upper", "ab", "127.0.0.1", "a..b"):
            self.refused("InvalidBucketName", client("s3", check=False).create_bucket, Bucket=name)
        for call in (self.s3.list_objects_v2, self.s3.delete_bucket, self.s3.get_bucket_tagging):
            self.refused("NoSuchBucket", call, Bucket="forno-nowhere")
        self.refused("404", self.s3.head_bucket, Bucket="forno-nowhere")
        self.refused("NotImplemented", self.s3.get_bucket_versioning, Bucket=self.bucket)
        self.refused("NotImplemented", self.s3.list_objects, Bucket=self.bucket)
        self.refused("AccessDenied", self.s3.list_objects_v2, Bucket=self.bucket, ExpectedBucketOwner="999999999999")

    def test_documents(self):
        here = {"Bucket": self.bucket}
        self.refused("NoSuchTagSet", self.s3.get_bucket_tagging, **here)
        tags = [{"Key": "forno:bake", "Value": "b & c"}, {"Key": "x", "Value": ""}]
        self.s3.put_bucket_tagging(**here, Tagging={"TagSet": tags})
        self.assertEqual(self.s3.get_bucket_tagging(**here)["TagSet"], tags)
        self.refused("InvalidTag", self.s3.put_bucket_tagging, **here, Tagging={"TagSet": tags[:1] * 2})
        self.s3.delete_bucket_tagging(**here)
        self.refused("NoSuchTagSet", self.s3.get_bucket_tagging, **here)
        self.refused("NoSuchLifecycleConfiguration", self.s3.get_bucket_lifecycle_configuration, **here)
        rules = [{"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1},
                  "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}]
        self.s3.put_bucket_lifecycle_configuration(**here, LifecycleConfiguration={"Rules": rules})
        self.assertEqual(self.s3.get_bucket_lifecycle_configuration(**here)["Rules"], rules)
        self.s3.delete_bucket_lifecycle(**here)
        self.refused("NoSuchLifecycleConfiguration", self.s3.get_bucket_lifecycle_configuration, **here)
        block = self.s3.get_public_access_block(**here)["PublicAccessBlockConfiguration"]
        self.assertEqual(list(block.values()), [True] * 4)
        self.s3.put_public_access_block(**here, PublicAccessBlockConfiguration=block | {"IgnorePublicAcls": False})
        self.assertFalse(self.s3.get_public_access_block(**here)["PublicAccessBlockConfiguration"]["IgnorePublicAcls"])
        by_default = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
        self.s3.put_bucket_encryption(**here, ServerSideEncryptionConfiguration=by_default)
        self.assertEqual(self.s3.get_bucket_encryption(**here)["ServerSideEncryptionConfiguration"], by_default)
        by_default["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] = "aws:kms"
        self.refused("NotImplemented", self.s3.put_bucket_encryption, **here, ServerSideEncryptionConfiguration=by_default)


class Objects(S3):
    def test_what_is_put_is_got(self):
        data = random.Random(1).randbytes(3 * MIB + 17)
        made = self.put("a/b", data, ContentType="text/x", Metadata={"note": "n o"}, CacheControl="no-store")
        self.assertEqual(made["ETag"], f'"{hashlib.md5(data).hexdigest()}"')
        found = self.get("a/b")
        self.assertEqual(found["Body"].read(), data)
        head = self.s3.head_object(Bucket=self.bucket, Key="a/b")
        for reply in (found, head):
            self.assertEqual((reply["ContentLength"], reply["ContentType"], reply["Metadata"], reply["CacheControl"]),
                             (len(data), "text/x", {"note": "n o"}, "no-store"))
            self.assertEqual(reply["ETag"], made["ETag"])
        for header, part in (("bytes=10-19", data[10:20]), ("bytes=-5", data[-5:]), ("bytes=3145000-", data[3145000:])):
            reply = self.get("a/b", Range=header)
            self.assertEqual(reply["Body"].read(), part)
            self.assertEqual(reply["ResponseMetadata"]["HTTPStatusCode"], 206)
        self.refused("InvalidRange", self.get, "a/b", Range="bytes=9999999-")
        self.put("empty", b"")
        self.assertEqual(self.get("empty")["Body"].read(), b"")

    def test_conditions(self):
        etag = self.put("k", b"1")["ETag"]
        self.refused("PreconditionFailed", self.put, "k", b"2", IfNoneMatch="*")
        self.refused("PreconditionFailed", self.put, "k", b"2", IfMatch='"other"')
        self.assertEqual(self.get("k")["Body"].read(), b"1")
        self.put("k", b"3", IfMatch=etag)
        self.put("new", b"4", IfNoneMatch="*")
        self.refused("PreconditionFailed", self.get, "k", IfMatch=etag)
        self.refused("304", self.get, "new", IfNoneMatch=f'"{hashlib.md5(b"4").hexdigest()}"')
        self.refused("NoSuchKey", self.get, "none")
        self.refused("404", self.s3.head_object, Bucket=self.bucket, Key="none")

    def test_odd_keys(self):
        for key in ("a b+c&d=e/ü<>'\"%20.txt", "../../../tmp/forno-climbed", "//", "a/./b", "x" * 1024, "~tilde*(!)"):
            with self.subTest(key=key):
                self.put(key, key.encode())
                self.assertEqual(self.get(key)["Body"].read(), key.encode())
                listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=key)["Contents"]
                self.assertEqual([one["Key"] for one in listed], [key])
                status, _, body = fetch(self.presigned("get_object", Key=key))
                self.assertEqual((status, body), (200, key.encode()))
        self.refused("KeyTooLongError", self.put, "x" * 1025)
        self.assertFalse(os.path.lexists("/tmp/forno-climbed"))

    def test_lists(self):
        keys = sorted(f"{folder}/{n:02}" for folder in ("a", "b", "c") for n in range(4)) + ["z"]
        for key in keys:
            self.put(key)
        here = {"Bucket": self.bucket}
        pages = list(self.s3.get_paginator("list_objects_v2").paginate(**here, PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(page["Contents"]) for page in pages], [5, 5, 3])
        self.assertEqual([one["Key"] for page in pages for one in page["Contents"]], keys)
        folders = self.s3.list_objects_v2(**here, Delimiter="/")
        self.assertEqual([one["Prefix"] for one in folders["CommonPrefixes"]], ["a/", "b/", "c/"])
        self.assertEqual(([one["Key"] for one in folders["Contents"]], folders["KeyCount"]), (["z"], 4))
        later = self.s3.list_objects_v2(**here, StartAfter="b/02", Prefix="b/", FetchOwner=True)["Contents"]
        self.assertEqual([(one["Key"], one["Owner"]["ID"]) for one in later], [("b/03", "123456789012")])
        done = self.s3.delete_objects(**here, Delete={"Objects": [{"Key": "z"}, {"Key": "never"}]})
        self.assertEqual([one["Key"] for one in done["Deleted"]], ["z", "never"])
        self.s3.delete_object(**here, Key="never")

    def test_checksums(self):
        for algorithm, value in (("CRC32", zlib.crc32(b"abc").to_bytes(4, "big")),
                                 ("SHA1", hashlib.sha1(b"abc").digest()), ("SHA256", hashlib.sha256(b"abc").digest())):
            name, value = f"Checksum{algorithm}", base64.b64encode(value).decode()
            self.assertEqual(self.put("k", b"abc", ChecksumAlgorithm=algorithm)[name], value)
            self.assertEqual(self.get("k", ChecksumMode="ENABLED")[name], value)
            self.refused("BadDigest", self.put, "k", b"abd", **{name: value})
        self.refused("BadDigest", self.put, "k", b"abc", ContentMD5=base64.b64encode(bytes(16)).decode())
        self.refused("InvalidDigest", self.put, "k", b"abc", ContentMD5="x")
        self.assertEqual(self.get("k")["Body"].read(), b"abc")

    def test_chunks_with_a_trailer(self):
        def send(trailer, size=9):
            body = f"4\r\n1234\r\n5\r\n56789\r\n0\r\n{trailer}\r\n\r\n".encode()
            return fetch(self.presigned("put_object", Key="chunks"), "PUT", body, Content_Encoding="aws-chunked",
                         X_Amz_Decoded_Content_Length=str(size), X_Amz_Trailer="x-amz-checksum-crc32c")
        # By this value catalogues know the code.
        status, headers, body = send("x-amz-checksum-crc32c:4waSgw==")
        self.assertEqual(status, 200, body)
        found = self.get("chunks")
        self.assertEqual(found["Body"].read(), b"123456789")
        self.assertNotIn("ContentEncoding", found)
        for trailer, size, code in (("x-amz-checksum-crc32c:AAAAAA==", 9, b"BadDigest"), ("nothing", 9, b"InvalidRequest"),
                                    ("x-amz-checksum-crc32c:4waSgw==", 10, b"IncompleteBody")):
            self.assertIn(code, send(trailer, size)[2])

    def test_refusals(self):
        self.refused("NotImplemented", self.s3.copy_object, Bucket=self.bucket, Key="k", CopySource=f"{self.bucket}/k")
        self.refused("NotImplemented", self.put, "k", ACL="public-read")
        self.refused("NotImplemented", self.put, "k", ServerSideEncryption="aws:kms")
        self.refused("NotImplemented", self.put, "k", Tagging="a=b")
        self.refused("MetadataTooLarge", self.put, "k", Metadata={"m": "x" * 2100})
        self.refused("SignatureDoesNotMatch", client("s3", secret="x" * 40).list_buckets)
        self.refused("InvalidAccessKeyId", client("s3", key="AKIAOTHER").list_buckets)
        self.refused("AuthorizationHeaderMalformed", client("s3", region="mars-north-1").list_buckets)
        old = client("s3").generate_presigned_url("get_object", {"Bucket": self.bucket, "Key": "k"})
        self.assertIn(b"Please use AWS4-HMAC-SHA256", fetch(old)[2])
        status, headers, body = fetch(f"{URL}/{self.bucket}/k")
        self.assertEqual((status, headers["content-type"]), (403, "application/xml"))
        self.assertIn(b"<Code>AccessDenied</Code>", body)


class Presigned(S3):
    def test_put_and_get(self):
        data = random.Random(2).randbytes(MIB)
        status, headers, _ = fetch(self.presigned("put_object", Key="p"), "PUT", data)
        self.assertEqual((status, headers["etag"]), (200, f'"{hashlib.md5(data).hexdigest()}"'))
        self.assertEqual(fetch(self.presigned("get_object", Key="p"))[2], data)
        shown = fetch(self.presigned("get_object", Key="p", ResponseContentType="text/mine"))
        self.assertEqual(shown[1]["content-type"], "text/mine")
        self.assertEqual(fetch(self.presigned("head_object", Key="p"), "HEAD")[1]["content-length"], str(MIB))
        self.assertEqual(fetch(self.presigned("delete_object", Key="p"), "DELETE")[0], 204)
        self.assertEqual(fetch(self.presigned("get_object", Key="p"))[0], 404)
        # What was signed with a header needs it.
        typed = self.presigned("put_object", Key="p", ContentType="text/signed")
        self.assertEqual(fetch(typed, "PUT", b"x")[0], 403)
        self.assertEqual(fetch(typed, "PUT", b"x", Content_Type="text/signed")[0], 200)

    def test_only_what_was_signed(self):
        self.put("p", b"secret")
        self.put("q", b"secret")
        url = self.presigned("get_object", Key="p")
        self.assertEqual(fetch(url)[0], 200)
        for changed, method in ((url.replace("/p?", "/q?"), "GET"), (url, "PUT"), (url + "&prefix=x", "GET"),
                                (url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"), "GET")):
            status, _, body = fetch(changed, method, b"" if method == "PUT" else None)
            self.assertEqual(status, 403)
            self.assertIn(b"SignatureDoesNotMatch", body)
        elsewhere = fetch(url, Host="169.254.169.254:9000")
        self.assertEqual(elsewhere[0], 403)
        short = self.presigned("get_object", Key="p", ExpiresIn=1)
        self.assertEqual(fetch(short)[0], 200)
        time.sleep(2.1)
        status, _, body = fetch(short)
        self.assertEqual(status, 403)
        self.assertIn(b"Request has expired", body)

    def test_parts(self):
        made = self.s3.create_multipart_upload(Bucket=self.bucket, Key="m")["UploadId"]
        data, parts = random.Random(3).randbytes(5 * MIB + 5), []
        for number, part in ((1, data[:5 * MIB]), (2, data[5 * MIB:])):
            url = self.presigned("upload_part", Key="m", UploadId=made, PartNumber=number)
            parts.append({"PartNumber": number, "ETag": fetch(url, "PUT", part)[1]["etag"]})
        listed = self.s3.list_parts(Bucket=self.bucket, Key="m", UploadId=made)["Parts"]
        self.assertEqual([one["Size"] for one in listed], [5 * MIB, 5])
        self.s3.complete_multipart_upload(Bucket=self.bucket, Key="m", UploadId=made, MultipartUpload={"Parts": parts})
        across = fetch(self.presigned("get_object", Key="m"), Range=f"bytes={5 * MIB - 3}-{5 * MIB + 2}")
        self.assertEqual((across[0], across[2]), (206, data[5 * MIB - 3:5 * MIB + 3]))


class Multipart(S3):
    def test_files_of_many_parts(self):
        data = random.Random(4).randbytes(12 * MIB + 1)
        config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
        with tempfile.TemporaryDirectory() as folder:
            there, back = os.path.join(folder, "there"), os.path.join(folder, "back")
            with open(there, "wb") as file:
                file.write(data)
            self.s3.upload_file(there, self.bucket, "big", Config=config)
            self.s3.download_file(self.bucket, "big", back, Config=config)
            with open(back, "rb") as file:
                self.assertEqual(hashlib.sha256(file.read()).digest(), hashlib.sha256(data).digest())
        head = self.s3.head_object(Bucket=self.bucket, Key="big", ChecksumMode="ENABLED")
        self.assertTrue(head["ETag"].endswith('-3"') and head["ChecksumCRC32"].endswith("-3"), head)

    def test_a_checksum_of_the_whole(self):
        data, here = random.Random(5).randbytes(5 * MIB + 9), {"Bucket": self.bucket, "Key": "k"}
        made = self.s3.create_multipart_upload(**here, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
        parts = [{"PartNumber": number, "ETag": self.s3.upload_part(
            **here, UploadId=made, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32")["ETag"]}
            for number, part in ((1, data[:5 * MIB]), (2, data[5 * MIB:]))]
        whole = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        finish = {**here, "UploadId": made, "MultipartUpload": {"Parts": parts}}
        self.refused("BadDigest", self.s3.complete_multipart_upload, **finish, ChecksumCRC32="AAAAAA==")
        done = self.s3.complete_multipart_upload(**finish, ChecksumCRC32=whole, MpuObjectSize=len(data))
        self.assertEqual((done["ChecksumCRC32"], done["ChecksumType"]), (whole, "FULL_OBJECT"))

    def test_refusals(self):
        here = {"Bucket": self.bucket, "Key": "k"}
        made = {**here, "UploadId": self.s3.create_multipart_upload(**here)["UploadId"]}
        one, two = (self.s3.upload_part(**made, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2))
        listed = self.s3.list_multipart_uploads(Bucket=self.bucket)["Uploads"]
        self.assertEqual([upload["UploadId"] for upload in listed], [made["UploadId"]])

        def complete(*parts):
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
            return self.s3.complete_multipart_upload(**made, MultipartUpload={"Parts": parts})
        for code, parts in (("EntityTooSmall", ((1, one), (2, two))), ("InvalidPartOrder", ((2, two), (1, one))),
                            ("InvalidPart", ((1, '"other"'),)), ("InvalidPart", ((1, one), (3, two))), ("MalformedXML", ())):
            self.refused(code, complete, *parts)
        self.refused("NoSuchUpload", self.s3.list_parts, **here, UploadId="x")
        self.refused("InvalidArgument", self.s3.upload_part, **made, PartNumber=10_001, Body=b"x")
        complete((2, two))
        self.refused("NoSuchUpload", self.s3.abort_multipart_upload, **made)
        self.assertEqual(self.get("k")["Body"].read(), b"small")


class Cli(S3):
    def aws(self, *words):
        command = [os.path.join(os.path.dirname(sys.executable), "aws"), "--endpoint-url", URL, *words]
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
               "AWS_DEFAULT_REGION": REGION, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_twenty_megabytes_there_and_back(self):
        data = random.Random(6).randbytes(20 * 1000 * 1000)
        with tempfile.TemporaryDirectory() as folder:
            there, back = os.path.join(folder, "there"), os.path.join(folder, "back")
            with open(there, "wb") as file:
                file.write(data)
            self.aws("s3", "cp", there, f"s3://{self.bucket}/in/file")
            self.assertIn("20000000 file", self.aws("s3", "ls", f"s3://{self.bucket}/in/"))
            self.aws("s3", "cp", f"s3://{self.bucket}/in/file", back)
            with open(back, "rb") as file:
                self.assertEqual(hashlib.sha256(file.read()).digest(), hashlib.sha256(data).digest())
            self.aws("s3", "rm", "--recursive", f"s3://{self.bucket}/")


if __name__ == "__main__":
    unittest.main()
