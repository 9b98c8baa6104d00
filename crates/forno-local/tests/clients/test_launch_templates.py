"""Launch templates: what they are made of, which versions name an image."""

import unittest

from support import Case, client, tags, unique


class LaunchTemplates(Case):
    def template(self, name=None, **data):
        name = name or unique("lt")
        made = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]
        self.addCleanup(lambda: name in self.names() and self.ec2.delete_launch_template(LaunchTemplateName=name))
        return made

    def names(self):
        return [found["LaunchTemplateName"] for found in self.ec2.describe_launch_templates()["LaunchTemplates"]]

    def versions(self, **more):
        return [
            (found["LaunchTemplateName"], found["VersionNumber"])
            for found in self.ec2.describe_launch_template_versions(**more)["LaunchTemplateVersions"]
        ]

    def test_life(self):
        name, image = unique("lt"), self.source()
        reply = self.ec2.create_launch_template(
            LaunchTemplateName=name, VersionDescription="the first",
            LaunchTemplateData={
                "ImageId": image, "InstanceType": "t3.small", "SecurityGroupIds": ["sg-12345678"],
                "IamInstanceProfile": {"Name": "role"}, "UserData": "dHJ1ZQ==", "EbsOptimized": True,
                "DisableApiTermination": True, "InstanceInitiatedShutdownBehavior": "terminate",
            },
            TagSpecifications=tags("launch-template", a="b"),
        )
        self.assertNotIn("Warning", reply)
        made = reply["LaunchTemplate"]
        self.assertEqual((made["DefaultVersionNumber"], made["LatestVersionNumber"]), (1, 1))
        self.assertEqual(made["Tags"], [{"Key": "a", "Value": "b"}])
        found = self.ec2.describe_launch_templates(Filters=[{"Name": "tag:a", "Values": ["b"]}])["LaunchTemplates"]
        self.assertIn(made["LaunchTemplateId"], [one["LaunchTemplateId"] for one in found])
        version = self.ec2.describe_launch_template_versions(LaunchTemplateName=name)["LaunchTemplateVersions"][0]
        data = version["LaunchTemplateData"]
        self.assertEqual((data["ImageId"], data["IamInstanceProfile"]), (image, {"Name": "role"}))
        self.assertEqual((version["VersionDescription"], version["DefaultVersion"]), ("the first", True))
        gone = self.ec2.delete_launch_template(LaunchTemplateId=made["LaunchTemplateId"])["LaunchTemplate"]
        self.assertEqual(gone["LaunchTemplateName"], name)
        self.refused("InvalidLaunchTemplateId.NotFound", self.ec2.delete_launch_template,
                     LaunchTemplateId=made["LaunchTemplateId"])
        self.refused("InvalidLaunchTemplateName.NotFoundException", self.ec2.describe_launch_template_versions,
                     LaunchTemplateName=name)

    def test_versions_are_found_by_their_image(self):
        image, name = self.source(), unique("lt")
        self.template(name, InstanceType="t3.small")
        for data in ({"ImageId": image}, {"ImageId": "resolve:ssm:/some/parameter"}):
            self.ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data)
        by_image = [{"Name": "image-id", "Values": [image]}]
        self.assertEqual(self.versions(LaunchTemplateName=name, Filters=by_image), [(name, 2)])
        # Of all templates only the newest and the default versions can be asked for.
        both = {"Versions": ["$Latest", "$Default"]}
        self.assertNotIn(name, [found for found, _ in self.versions(Filters=by_image, **both)])
        mine = [number for found, number in self.versions(**both) if found == name]
        self.assertEqual(mine, [1, 3])
        self.refused("MissingParameter", self.ec2.describe_launch_template_versions, Filters=by_image)
        self.refused("MissingParameter", self.ec2.describe_launch_template_versions, Versions=["1"])
        self.assertEqual(self.versions(LaunchTemplateName=name, MinVersion="2"), [(name, 2), (name, 3)])
        self.assertEqual(self.versions(LaunchTemplateName=name, Versions=["$Latest", "1"]), [(name, 1), (name, 3)])
        self.refused("InvalidLaunchTemplateId.VersionNotFound", self.ec2.describe_launch_template_versions,
                     LaunchTemplateName=name, Versions=["4"])

    def test_refusals(self):
        name = self.template(InstanceType="t3.small")["LaunchTemplateName"]
        create = self.ec2.create_launch_template
        data = {"InstanceType": "t3.small"}
        self.refused("InvalidLaunchTemplateName.AlreadyExistsException", create, LaunchTemplateName=name,
                     LaunchTemplateData=data)
        self.refused("InvalidLaunchTemplateName.MalformedException", create, LaunchTemplateName="no blanks",
                     LaunchTemplateData=data)
        self.refused("MissingParameter", client(check=False).create_launch_template, LaunchTemplateName=unique())
        self.refused("DryRunOperation", create, LaunchTemplateName=unique(), LaunchTemplateData=data, DryRun=True)
        self.refused("InvalidLaunchTemplateId.Malformed", self.ec2.describe_launch_templates, LaunchTemplateIds=["lt-1"])
        self.refused("MissingParameter", self.ec2.delete_launch_template)
        self.refused("InvalidParameterCombination", self.ec2.delete_launch_template, LaunchTemplateName=name,
                     LaunchTemplateId="lt-12345678")

    def test_a_repeated_call_makes_no_second_one(self):
        name, token = unique("lt"), unique("token")
        once = {"LaunchTemplateName": name, "ClientToken": token, "LaunchTemplateData": {"InstanceType": "t3.small"}}
        one = self.ec2.create_launch_template(**once)["LaunchTemplate"]
        self.addCleanup(self.ec2.delete_launch_template, LaunchTemplateName=name)
        self.assertEqual(self.ec2.create_launch_template(**once)["LaunchTemplate"], one)
        self.refused("IdempotentParameterMismatch", self.ec2.create_launch_template, **(once | {"LaunchTemplateName": unique()}))

    def test_what_no_launch_could_use_is_warned_of(self):
        name = unique("lt")
        reply = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": "ami-12345678"})
        self.addCleanup(self.ec2.delete_launch_template, LaunchTemplateName=name)
        self.assertEqual([error["Code"] for error in reply["Warning"]["Errors"]], ["InvalidAMIID.NotFound"])

    def test_pages(self):
        mine = {self.template(unique("page"), InstanceType="t3.small")["LaunchTemplateId"] for _ in range(3)}
        pages = self.ec2.get_paginator("describe_launch_templates").paginate(PaginationConfig={"PageSize": 2})
        found = [one["LaunchTemplateId"] for page in pages for one in page["LaunchTemplates"]]
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(mine, set(found))


if __name__ == "__main__":
    unittest.main()
