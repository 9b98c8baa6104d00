"""Key pairs, security groups and tags."""

import base64
import hashlib
import os
import subprocess
import tempfile

from support import ED25519, Case, client, tags, unique


class Keys(Case):
    def imported(self, **more):
        name = unique("key")
        pair = self.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=ED25519, **more)
        self.addCleanup(self.ec2.delete_key_pair, KeyName=name)
        return pair

    def test_import(self):
        pair = self.imported(TagSpecifications=tags("key-pair", a="b"))
        blob = base64.b64decode(ED25519.split()[1])
        self.assertEqual(pair["KeyFingerprint"], base64.b64encode(hashlib.sha256(blob).digest()).decode())
        found = self.ec2.describe_key_pairs(KeyNames=[pair["KeyName"]], IncludePublicKey=True)["KeyPairs"][0]
        self.assertEqual(found["PublicKey"].split()[:2], ED25519.split()[:2])
        self.assertEqual((found["KeyType"], found["Tags"]), ("ed25519", [{"Key": "a", "Value": "b"}]))
        self.refused("InvalidKeyPair.Duplicate", self.ec2.import_key_pair, KeyName=pair["KeyName"],
                     PublicKeyMaterial=ED25519)

    def test_bad_material(self):
        for bad in ("", "nonsense", "ssh-ed25519 AAAA", "-----BEGIN RSA PRIVATE KEY-----"):
            code = "MissingParameter" if not bad else "InvalidKey.Format"
            self.refused(code, self.ec2.import_key_pair, KeyName=unique(), PublicKeyMaterial=bad)

    def made(self, kind):
        name = unique("made")
        pair = self.ec2.create_key_pair(KeyName=name, KeyType=kind)
        self.addCleanup(self.ec2.delete_key_pair, KeyPairId=pair["KeyPairId"])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "key")
            with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
                file.write(pair["KeyMaterial"])
            public = subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True, text=True)
        found = self.ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"][0]
        self.assertEqual(found["PublicKey"].split()[:2], public.stdout.split()[:2])
        return pair

    def test_create_ed25519(self):
        self.assertIn("OPENSSH PRIVATE KEY", self.made("ed25519")["KeyMaterial"])

    def test_create_rsa(self):
        pair = self.made("rsa")
        self.assertIn("BEGIN RSA PRIVATE KEY", pair["KeyMaterial"])
        self.assertRegex(pair["KeyFingerprint"], r"^([0-9a-f]{2}:){19}[0-9a-f]{2}$")

    def test_import_rsa(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "key")
            subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", path], check=True)
            line = open(path + ".pub").read()
            export = ["ssh-keygen", "-e", "-m", "PKCS8", "-f", path + ".pub"]
            pem = subprocess.run(export, check=True, capture_output=True, text=True).stdout
            rfc4716 = subprocess.run(["ssh-keygen", "-e", "-f", path + ".pub"], check=True, capture_output=True, text=True)
        der = base64.b64decode("".join(pem.splitlines()[1:-1]))
        expected = ":".join(f"{byte:02x}" for byte in hashlib.md5(der).digest())
        for material in (line, rfc4716.stdout):
            name = unique("key")
            pair = self.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=material)
            self.addCleanup(self.ec2.delete_key_pair, KeyName=name)
            self.assertEqual(pair["KeyFingerprint"], expected)

    def test_delete(self):
        pair = self.imported()
        self.assertEqual(self.ec2.delete_key_pair(KeyName=pair["KeyName"])["KeyPairId"], pair["KeyPairId"])
        self.assertTrue(self.ec2.delete_key_pair(KeyName=pair["KeyName"])["Return"])
        self.refused("InvalidKeyPair.NotFound", self.ec2.describe_key_pairs, KeyNames=[pair["KeyName"]])

    def test_dry_run(self):
        name = unique("key")
        self.refused("DryRunOperation", self.ec2.import_key_pair, KeyName=name, PublicKeyMaterial=ED25519, DryRun=True)
        self.refused("DryRunOperation", self.ec2.create_key_pair, KeyName=name, DryRun=True)
        self.refused("InvalidKeyPair.NotFound", self.ec2.describe_key_pairs, KeyNames=[name])


class Groups(Case):
    def test_create_and_delete(self):
        name = unique("group")
        made = self.ec2.create_security_group(GroupName=name, Description="d", TagSpecifications=tags("security-group", a="b"))
        self.assertEqual(made["Tags"], [{"Key": "a", "Value": "b"}])
        self.refused("InvalidGroup.Duplicate", self.ec2.create_security_group, GroupName=name, Description="d")
        found = self.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
        self.assertEqual([group["GroupId"] for group in found], [made["GroupId"]])
        self.ec2.delete_security_group(GroupId=made["GroupId"])
        self.refused("InvalidGroup.NotFound", self.ec2.delete_security_group, GroupId=made["GroupId"])
        self.refused("InvalidGroup.NotFound", self.ec2.describe_security_groups, GroupIds=[made["GroupId"]])
        self.refused("InvalidGroupId.Malformed", self.ec2.describe_security_groups, GroupIds=["group-1"])

    def test_bad_names(self):
        create = self.ec2.create_security_group
        self.refused("InvalidParameterValue", create, GroupName="sg-mine", Description="d")
        self.refused("InvalidParameterValue", create, GroupName="é", Description="d")
        self.refused("InvalidGroup.Reserved", create, GroupName="default", Description="d")
        self.refused("InvalidVpcID.NotFound", create, GroupName=unique(), Description="d", VpcId="vpc-12345678")

    def test_rules(self):
        group = self.group()
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                "IpRanges": [{"CidrIp": "203.0.113.7/32", "Description": "me"}]}
        made = self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])["SecurityGroupRules"]
        self.assertEqual((made[0]["CidrIpv4"], made[0]["Description"]), ("203.0.113.7/32", "me"))
        self.refused("InvalidPermission.Duplicate", self.ec2.authorize_security_group_ingress, GroupId=group,
                     IpPermissions=[rule])
        self.ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
        found = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
        self.assertEqual([p["FromPort"] for p in found["IpPermissions"]], [22, 80])
        self.assertEqual(found["IpPermissions"][0]["IpRanges"], rule["IpRanges"])
        self.ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[made[0]["SecurityGroupRuleId"]])
        self.refused("InvalidPermission.NotFound", self.ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=[rule])

    def test_bad_rules(self):
        group = self.group()
        allow = self.ec2.authorize_security_group_ingress
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
        self.refused("InvalidParameterValue", allow, GroupId=group, IpPermissions=[ssh | {"IpRanges": [{"CidrIp": "1.2.3.4/40"}]}])
        self.refused("MissingParameter", allow, GroupId=group, IpPermissions=[ssh])
        self.refused("InvalidGroup.NotFound", allow, GroupId="sg-12345678", IpPermissions=[ssh])
        self.refused("MissingParameter", allow, IpPermissions=[ssh | {"IpRanges": [{"CidrIp": "1.2.3.4/32"}]}])

    def test_rules_between_groups_hold_them(self):
        one, two = self.group(), self.ec2.create_security_group(GroupName=unique(), Description="d")["GroupId"]
        self.ec2.authorize_security_group_ingress(
            GroupId=one, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": two}]}]
        )
        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=two)
        self.ec2.revoke_security_group_ingress(
            GroupId=one, IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": two}]}]
        )
        self.ec2.delete_security_group(GroupId=two)

    def test_default_group_stays(self):
        default = self.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]
        self.refused("CannotDelete", self.ec2.delete_security_group, GroupId=default["GroupId"])

    def test_waiter_and_pages(self):
        mark = unique("page")
        groups = {self.group(TagSpecifications=tags("security-group", mark=mark)) for _ in range(7)}
        self.ec2.get_waiter("security_group_exists").wait(GroupIds=sorted(groups))
        pages = list(
            self.ec2.get_paginator("describe_security_groups").paginate(
                Filters=[{"Name": "tag:mark", "Values": [mark]}], PaginationConfig={"PageSize": 5}
            )
        )
        self.assertEqual([len(page["SecurityGroups"]) for page in pages], [5, 2])
        self.assertEqual({group["GroupId"] for page in pages for group in page["SecurityGroups"]}, groups)
        self.refused("InvalidNextToken", self.ec2.describe_security_groups, MaxResults=5, NextToken="x")
        self.refused("InvalidParameterValue", client(check=False).describe_security_groups, MaxResults=1)


class Tags(Case):
    def test_life_of_tags(self):
        group = self.group()
        self.ec2.create_tags(Resources=[group], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
        self.ec2.create_tags(Resources=[group], Tags=[{"Key": "a", "Value": "3"}])
        mine = [{"Name": "resource-id", "Values": [group]}]
        found = {tag["Key"]: tag["Value"] for tag in self.ec2.describe_tags(Filters=mine)["Tags"]}
        self.assertEqual(found, {"a": "3", "b": "2"})
        self.ec2.delete_tags(Resources=[group], Tags=[{"Key": "a", "Value": "other"}, {"Key": "b"}])
        left = self.ec2.describe_tags(Filters=mine)["Tags"]
        self.assertEqual([(tag["Key"], tag["ResourceType"]) for tag in left], [("a", "security-group")])
        self.ec2.delete_tags(Resources=[group])
        self.assertEqual(self.ec2.describe_tags(Filters=mine)["Tags"], [])

    def test_bad_tags(self):
        group = self.group()
        create = self.ec2.create_tags
        self.refused("InvalidParameterValue", create, Resources=[group], Tags=[{"Key": "aws:x", "Value": ""}])
        self.refused("InvalidParameterValue", create, Resources=[group], Tags=[{"Key": "k" * 129, "Value": ""}])
        self.refused("InvalidParameterValue", create, Resources=[group], Tags=[{"Key": "k", "Value": "v" * 257}])
        self.refused("InvalidID", create, Resources=["thing-1"], Tags=[{"Key": "k", "Value": ""}])
        self.refused("InvalidInstanceID.NotFound", create, Resources=["i-12345678"], Tags=[{"Key": "k", "Value": ""}])
        many = [{"Key": str(n), "Value": ""} for n in range(51)]
        self.refused("TagLimitExceeded", create, Resources=[group], Tags=many)
        create(Resources=[group], Tags=many[:50])
        self.refused("TagLimitExceeded", create, Resources=[group], Tags=many[50:])
        create(Resources=[group], Tags=many[:1])
        self.refused("InvalidParameterValue", self.ec2.create_security_group, GroupName=unique(), Description="d",
                     TagSpecifications=tags("instance", a="b"))

    def test_odd_characters(self):
        group = self.group()
        odd = "ü <&>\"' \U0001f35e"
        self.ec2.create_tags(Resources=[group], Tags=[{"Key": odd, "Value": odd}])
        found = self.ec2.describe_security_groups(Filters=[{"Name": f"tag:{odd}", "Values": [odd]}])["SecurityGroups"]
        self.assertEqual([group["GroupId"] for group in found], [group])
        self.assertEqual(found[0]["Tags"], [{"Key": odd, "Value": odd}])
