"""Roles, their policies, and the instance profiles that machines get them by."""

import json
import unittest
from unittest import mock

import shapes
from support import Case, client, unique

TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]}
READ = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}}
MANAGED = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"


class Iam(Case):
    def setUp(self):
        super().setUp()
        self.iam = client("iam", region="us-east-1")
        self.iam.meta.events.register("before-call.iam", self.before)
        self.iam.meta.events.register("response-received.iam", self.hold)

    def before(self, model, **kwargs):
        self.operation = model

    def hold(self, response_dict, **kwargs):
        """Against the model, but for the envelope that the older services have."""
        if response_dict is None or response_dict["status_code"] != 200:
            return
        Case.walked += 1
        operation, root = self.operation, shapes.ElementTree.fromstring(response_dict["body"])
        self.assertEqual(root.tag, f"{{https://iam.amazonaws.com/doc/2010-05-08/}}{operation.name}Response")
        inside = [child for child in root if shapes.local(child) != "ResponseMetadata"]
        self.assertEqual(len(root) - len(inside), 1)
        if operation.output_shape is None:
            self.assertEqual(inside, [])
            return
        self.assertEqual([shapes.local(child) for child in inside], [f"{operation.name}Result"])
        with mock.patch.object(shapes, "TIMESTAMP", shapes.re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")):
            shapes.structure(operation.output_shape, list(inside[0]), operation.name, self.faults)

    def role(self, **more):
        name = unique("role")
        role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), **more)["Role"]
        self.addCleanup(self.forget_role, name)
        return role

    def forget_role(self, name):
        try:
            for policy in self.iam.list_role_policies(RoleName=name)["PolicyNames"]:
                self.iam.delete_role_policy(RoleName=name, PolicyName=policy)
            for policy in self.iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                self.iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
            self.iam.delete_role(RoleName=name)
        except self.iam.exceptions.NoSuchEntityException:
            pass

    def test_a_role_and_what_it_may(self):
        iam = self.iam
        role = self.role(Path="/forno/", Description="d", Tags=[{"Key": "forno:bake", "Value": "b"}],
                         PermissionsBoundary="arn:aws:iam::aws:policy/PowerUserAccess")
        name = role["RoleName"]
        self.assertTrue(role["Arn"].endswith(f":role/forno/{name}"))
        self.assertEqual(role["AssumeRolePolicyDocument"], TRUST)
        self.assertEqual(iam.get_role(RoleName=name)["Role"]["Tags"], [{"Key": "forno:bake", "Value": "b"}])
        self.assertEqual(iam.list_role_tags(RoleName=name)["Tags"], [{"Key": "forno:bake", "Value": "b"}])
        self.assertIn(name, [one["RoleName"] for one in iam.list_roles(PathPrefix="/forno/")["Roles"]])
        self.assertNotIn(name, [one["RoleName"] for one in iam.list_roles(PathPrefix="/other/")["Roles"]])
        iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=json.dumps(READ))
        iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=json.dumps(READ))
        self.assertEqual(iam.get_role_policy(RoleName=name, PolicyName="read")["PolicyDocument"], READ)
        iam.attach_role_policy(RoleName=name, PolicyArn=MANAGED)
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        self.assertEqual(attached, [{"PolicyName": "AmazonSSMManagedInstanceCore", "PolicyArn": MANAGED}])
        self.refused("DeleteConflict", iam.delete_role, RoleName=name)
        iam.detach_role_policy(RoleName=name, PolicyArn=MANAGED)
        self.refused("DeleteConflict", iam.delete_role, RoleName=name)
        iam.delete_role_policy(RoleName=name, PolicyName="read")
        iam.delete_role(RoleName=name)
        self.refused("NoSuchEntity", iam.get_role, RoleName=name)

    def test_what_is_refused(self):
        iam, name = self.iam, self.role()["RoleName"]
        trust = json.dumps(TRUST)
        self.refused("EntityAlreadyExists", iam.create_role, RoleName=name, AssumeRolePolicyDocument=trust)
        self.refused("MalformedPolicyDocument", iam.create_role, RoleName=unique(), AssumeRolePolicyDocument=json.dumps(READ))
        self.refused("ValidationError", iam.create_role, RoleName="a b", AssumeRolePolicyDocument=trust)
        put = {"RoleName": name, "PolicyName": "p"}
        self.refused("MalformedPolicyDocument", iam.put_role_policy, **put, PolicyDocument="{}")
        large = {**READ, "Statement": {**READ["Statement"], "Resource": ["x" * 100 for _ in range(200)]}}
        self.refused("LimitExceeded", iam.put_role_policy, **put, PolicyDocument=json.dumps(large))
        self.refused("NoSuchEntity", iam.put_role_policy, **{**put, "RoleName": "none"}, PolicyDocument=json.dumps(READ))
        self.refused("NoSuchEntity", iam.attach_role_policy, RoleName=name, PolicyArn="arn:aws:iam::123456789012:policy/mine")
        self.refused("NoSuchEntity", iam.detach_role_policy, RoleName=name, PolicyArn=MANAGED)
        self.refused("NoSuchEntity", iam.get_instance_profile, InstanceProfileName="none")
        self.refused("SignatureDoesNotMatch", client("iam", secret="x" * 40).list_roles)

    def test_pages(self):
        names = sorted(self.role(Path="/pages/")["RoleName"] for _ in range(3))
        pages = self.iam.get_paginator("list_roles").paginate(PathPrefix="/pages/", PaginationConfig={"PageSize": 2})
        found = [[one["RoleName"] for one in page["Roles"]] for page in pages]
        self.assertEqual(found, [names[:2], names[2:]])

    def test_a_machine_is_its_role(self):
        iam, role, name = self.iam, self.role()["RoleName"], unique("profile")
        profile = iam.create_instance_profile(InstanceProfileName=name, Path="/forno/", Tags=[{"Key": "a", "Value": "b"}])
        arn = profile["InstanceProfile"]["Arn"]
        self.assertTrue(arn.endswith(f":instance-profile/forno/{name}"))
        self.refused("EntityAlreadyExists", iam.create_instance_profile, InstanceProfileName=name)
        both = {"InstanceProfileName": name, "RoleName": role}
        iam.add_role_to_instance_profile(**both)
        self.refused("LimitExceeded", iam.add_role_to_instance_profile, **both)
        shown = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        self.assertEqual(([one["RoleName"] for one in shown["Roles"]], shown["Tags"]), ([role], [{"Key": "a", "Value": "b"}]))
        of_role = iam.list_instance_profiles_for_role(RoleName=role)["InstanceProfiles"]
        self.assertEqual([one["InstanceProfileName"] for one in of_role], [name])
        listed = iam.list_instance_profiles(PathPrefix="/forno/")["InstanceProfiles"]
        self.assertIn(name, [one["InstanceProfileName"] for one in listed])
        instance = self.launch(IamInstanceProfile={"Name": name})
        self.assertEqual(instance["IamInstanceProfile"], {"Arn": arn, "Id": shown["InstanceProfileId"]})
        self.refused("DeleteConflict", iam.delete_instance_profile, InstanceProfileName=name)
        self.refused("DeleteConflict", iam.delete_role, RoleName=role)
        iam.remove_role_from_instance_profile(**both)
        self.refused("NoSuchEntity", iam.remove_role_from_instance_profile, **both)
        iam.delete_instance_profile(InstanceProfileName=name)
        # One that was made here and is gone is not there; of others nothing is known.
        self.refused("InvalidParameterValue", self.launch, IamInstanceProfile={"Name": name})
        self.launch(IamInstanceProfile={"Name": "made-elsewhere"})


if __name__ == "__main__":
    unittest.main()
