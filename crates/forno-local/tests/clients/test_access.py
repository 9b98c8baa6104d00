"""Who may ask, and how refusals look in each protocol."""

import datetime
import os
import socket
import unittest
import urllib.error
import urllib.parse
import urllib.request
from unittest import mock

import botocore.auth
from botocore.exceptions import ClientError

from support import ED25519, KEY, REGION, SECRET, SOURCE, URL, Case, client


class Access(Case):
    def test_caller_identity(self):
        identity = client("sts").get_caller_identity()
        self.assertRegex(identity["Account"], r"^\d{12}$")
        self.assertTrue(identity["Arn"].startswith(f"arn:aws:iam::{identity['Account']}:"))

    def test_roles(self):
        sts = client("sts")
        account = sts.get_caller_identity()["Account"]
        role = f"arn:aws:iam::{account}:role/path/baker"
        reply = sts.assume_role(RoleArn=role, RoleSessionName="me", DurationSeconds=900, ExternalId="x1",
                                Tags=[{"Key": "a", "Value": "b"}], TransitiveTagKeys=["a"])
        self.assertEqual(reply["AssumedRoleUser"]["Arn"], f"arn:aws:sts::{account}:assumed-role/baker/me")
        left = reply["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
        self.assertTrue(850 < left.total_seconds() <= 900, left)
        known = {"key": reply["Credentials"]["AccessKeyId"], "secret": reply["Credentials"]["SecretAccessKey"]}
        token = reply["Credentials"]["SessionToken"]
        session = client("sts", token=token, **known)
        self.assertEqual(session.get_caller_identity()["UserId"], reply["AssumedRoleUser"]["AssumedRoleId"])
        client(token=token, **known).describe_regions()
        client("ssm", token=token, **known).get_parameter(Name=SOURCE)
        url = client("sts", token=token, **known).generate_presigned_url("get_caller_identity", HttpMethod="GET")
        with urllib.request.urlopen(url) as answer:
            self.assertIn(b"assumed-role/baker/me", answer.read())
        for wrong in (None, "x"):
            self.refused("AuthFailure", client(token=wrong, **known).describe_regions)
            self.refused("InvalidClientTokenId", client("sts", token=wrong, **known).get_caller_identity)
        chained = session.assume_role(RoleArn=role, RoleSessionName="next")
        self.assertTrue(chained["AssumedRoleUser"]["Arn"].endswith("assumed-role/baker/next"))
        for code, asked in (
            ("ValidationError", {"RoleArn": role, "RoleSessionName": "me", "DurationSeconds": 7200}),
            ("ValidationError", {"RoleArn": role, "RoleSessionName": "me/you"}),
            ("ValidationError", {"RoleArn": role, "RoleSessionName": "me", "SerialNumber": "GAHT12345678"}),
            ("AccessDenied", {"RoleArn": role, "RoleSessionName": "me", "SerialNumber": "GAHT12345678", "TokenCode": "000000"}),
            ("AccessDenied", {"RoleArn": "arn:aws:iam::999999999999:role/baker", "RoleSessionName": "me"}),
            ("MalformedPolicyDocument", {"RoleArn": role, "RoleSessionName": "me", "Policy": "x"}),
        ):
            self.refused(code, session.assume_role, **asked)

    def test_codes_of_nobody(self):
        self.refused("InvalidAuthorizationMessageException", client("sts").decode_authorization_message, EncodedMessage="eyJ4IjoxfQ")

    def test_presigned_request(self):
        url = client("sts").generate_presigned_url("get_caller_identity", HttpMethod="GET")
        with urllib.request.urlopen(url) as reply:
            self.assertIn(b"<Account>", reply.read())
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url.replace("GetCallerIdentity", "GetSessionToken"))
        self.assertEqual(caught.exception.code, 403)

    def test_wrong_secret(self):
        error = self.refused("AuthFailure", client(secret="x" * 40).describe_regions)
        self.assertEqual(error["ResponseMetadata"]["HTTPStatusCode"], 401)
        self.refused("SignatureDoesNotMatch", client("sts", secret="x" * 40).get_caller_identity)
        self.refused("InvalidSignatureException", client("ssm", secret="x" * 40).get_parameter, Name=SOURCE)

    def test_unknown_key(self):
        self.refused("AuthFailure", client(key="AKIAOTHER").describe_regions)
        self.refused("InvalidClientTokenId", client("sts", key="AKIAOTHER").get_caller_identity)
        self.refused("UnrecognizedClientException", client("ssm", key="AKIAOTHER").get_parameter, Name=SOURCE)

    def test_unsigned(self):
        request = urllib.request.Request(URL, data=b"Action=DescribeRegions&Version=2016-11-15")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        self.assertEqual(caught.exception.code, 403)
        self.assertIn(b"<Code>MissingAuthenticationToken</Code>", caught.exception.read())

    def test_old_request(self):
        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=20)
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: past.replace(tzinfo=None)):
            self.refused("RequestExpired", self.ec2.describe_regions)

    def test_unknown_region(self):
        self.refused("AuthFailure", client(region="mars-north-1").describe_regions)

    def test_unknown_action(self):
        self.refused("InvalidAction", self.ec2.describe_fleets)

    def test_unknown_parameter(self):
        self.refused("UnknownParameter", self.ec2.run_instances, ImageId=self.source(), InstanceType="t3.micro",
                     MinCount=1, MaxCount=1, KernelId="aki-12345678")

    def test_other_paths_and_sizes(self):
        for path, code in (("/x", 403), ("/latest/meta-data/", 403)):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(URL + path)
            self.assertEqual(caught.exception.code, code)
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(URL, data=b"x" * 300_000))
        self.assertEqual(caught.exception.code, 413)

    def answer(self, head, body=b""):
        """The status line of a reply to bytes that no client would send."""
        host, port = urllib.parse.urlsplit(URL).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            try:
                connection.sendall(head.encode() + b"\r\n\r\n" + body)
            except ConnectionError:
                pass  # It has read enough.
            return connection.makefile("rb").readline()

    def test_bounds_of_a_request(self):
        start = "POST / HTTP/1.1\r\nHost: x"
        many = "".join(f"\r\nx-{n}: 1" for n in range(200))
        self.assertIn(b" 431 ", self.answer(start + many))
        self.assertIn(b" 431 ", self.answer(start + "\r\nx: " + "1" * 1_000_000))
        self.assertIn(b" 414 ", self.answer(f"GET /?{'a' * 70_000} HTTP/1.1\r\nHost: x"))
        # One that only claims to be long is not waited for.
        self.assertIn(b" 413 ", self.answer(start + "\r\nContent-Length: 999999999"))
        # Many parameters are refused like any that are not known, after the signature.
        form = "&".join(f"p{n}=1" for n in range(20_000)).encode()
        self.assertIn(b" 403 ", self.answer(f"{start}\r\nContent-Length: {len(form)}", form))

    def test_no_request_names_a_file(self):
        for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/state.json"):
            self.assertIn(b" 403 ", self.answer(f"GET {path} HTTP/1.1\r\nHost: x"))
        climb = "../../../../tmp/forno-climbed"
        for call in (
            lambda: self.ec2.terminate_instances(InstanceIds=[climb]),
            lambda: self.ec2.delete_snapshot(SnapshotId=climb),
            lambda: self.ec2.delete_volume(VolumeId=climb),
            lambda: self.ec2.run_instances(ImageId=climb, InstanceType="t3.micro", MinCount=1, MaxCount=1),
        ):
            with self.assertRaises(ClientError):
                call()
        self.ec2.import_key_pair(KeyName=climb, PublicKeyMaterial=ED25519.encode())
        self.addCleanup(self.ec2.delete_key_pair, KeyName=climb)
        self.assertFalse(os.path.lexists("/tmp/forno-climbed"))

    def test_it_listens_on_loopback_only(self):
        port = urllib.parse.urlsplit(URL).port
        heard = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table, encoding="ascii") as lines:
                for line in list(lines)[1:]:
                    address, state = line.split()[1], line.split()[3]
                    if state == "0A" and int(address.split(":")[1], 16) == port:
                        heard.append(address.split(":")[0])
        self.assertEqual(heard, ["0100007F"])

    def test_other_regions_share_nothing(self):
        elsewhere = client(region="eu-west-1" if REGION != "eu-west-1" else "us-east-1")
        self.assertEqual(elsewhere.describe_images()["Images"], [])
        self.assertEqual(elsewhere.describe_instances()["Reservations"], [])
        mine, theirs = self.ec2.describe_vpcs(), elsewhere.describe_vpcs()
        self.assertNotEqual(mine["Vpcs"][0]["VpcId"], theirs["Vpcs"][0]["VpcId"])

    def test_parameters(self):
        ssm = client("ssm")
        found = ssm.get_parameter(Name=SOURCE)["Parameter"]
        self.assertEqual((found["Type"], found["DataType"]), ("String", "aws:ec2:image"))
        image = self.ec2.describe_images(ImageIds=[found["Value"]])["Images"][0]
        self.assertRegex(image["Name"], r"^debian-12-amd64-\d{8}-\d{4}$")
        both = ssm.get_parameters(Names=[SOURCE, "/aws/service/none"])
        self.assertEqual([p["Value"] for p in both["Parameters"]], [found["Value"]])
        self.assertEqual(both["InvalidParameters"], ["/aws/service/none"])
        self.refused("ParameterNotFound", ssm.get_parameter, Name="/aws/service/none")
        self.refused("UnknownOperationException", ssm.list_documents)
        pages = ssm.get_paginator("get_parameters_by_path").paginate(
            Path="/aws/service/debian", Recursive=True, PaginationConfig={"PageSize": 1}
        )
        names = [p["Name"] for page in pages for p in page["Parameters"]]
        self.assertIn(SOURCE, names)
        self.assertEqual(len(names), 2)

    def test_secret_is_not_the_key(self):
        self.assertNotEqual(KEY, SECRET)


if __name__ == "__main__":
    unittest.main()
