"""Parameter Store."""

import unittest

from support import SOURCE, Case, client, unique

IMAGE = "aws:ec2:image"


class Parameters(Case):
    def setUp(self):
        super().setUp()
        self.ssm = self.systems()

    def put(self, name=None, value="1", **more):
        name = name or "/" + unique("p")
        self.ssm.put_parameter(**{"Name": name, "Value": value, "Type": "String"} | more)
        self.addCleanup(client("ssm").delete_parameters, Names=[name])
        return name

    def value(self, name):
        return self.ssm.get_parameter(Name=name)["Parameter"]["Value"]

    def test_a_parameter_and_its_versions(self):
        name = "/" + unique("p")
        self.refused("ParameterNotFound", self.ssm.get_parameter, Name=name)
        first = self.ssm.put_parameter(Name=name, Value="a,b", Type="StringList", Description="letters")
        self.addCleanup(client("ssm").delete_parameters, Names=[name])
        self.assertEqual((first["Version"], first["Tier"]), (1, "Standard"))
        put = self.ssm.put_parameter
        self.refused("ParameterAlreadyExists", put, Name=name, Value="c", Type="StringList")
        self.refused("HierarchyTypeMismatchException", put, Name=name, Value="c", Type="String", Overwrite=True)
        self.assertEqual(put(Name=name, Value="c", Overwrite=True)["Version"], 2)
        found = self.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        self.assertEqual((found["Value"], found["Version"], found["Type"], found["DataType"]), ("c", 2, "StringList", "text"))
        self.assertRegex(found["ARN"], rf"^arn:aws:ssm:[a-z0-9-]+:\d{{12}}:parameter{name}$")
        self.assertEqual(self.value(found["ARN"]), "c")
        old = self.ssm.get_parameter(Name=name + ":1")["Parameter"]
        self.assertEqual((old["Value"], old["Version"], old["Selector"]), ("a,b", 1, ":1"))
        self.refused("ParameterVersionNotFound", self.ssm.get_parameter, Name=name + ":7")
        self.refused("ParameterVersionNotFound", self.ssm.get_parameter, Name=name + ":label")
        both = self.ssm.get_parameters(Names=[name + ":1", SOURCE, name + ":9", "/none"])
        self.assertEqual([one["Name"] for one in both["Parameters"]], [name, SOURCE])
        self.assertEqual(both["InvalidParameters"], [name + ":9", "/none"])
        described = self.ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [name]}])["Parameters"]
        self.assertEqual([(one["Version"], one["Description"]) for one in described], [(2, "letters")])
        self.ssm.delete_parameter(Name=name)
        self.refused("ParameterNotFound", self.ssm.delete_parameter, Name=name)
        gone = self.ssm.delete_parameters(Names=[name])
        self.assertEqual((gone["DeletedParameters"], gone["InvalidParameters"]), ([], [name]))

    def test_a_hundred_versions_are_kept(self):
        name = self.put()
        for n in range(2, 103):
            self.ssm.put_parameter(Name=name, Value=str(n), Overwrite=True)
        self.assertEqual([self.value(name), self.value(name + ":3")], ["102", "3"])
        self.refused("ParameterVersionNotFound", self.ssm.get_parameter, Name=name + ":2")

    def test_paths_and_filters(self):
        root = "/" + unique("root")
        for part, more in (("a", {"Tags": [{"Key": "Stage", "Value": "test"}]}), ("b/c", {"Tier": "Advanced"}), ("b/d", {})):
            self.put(f"{root}/{part}", **more)

        def by_path(path=root, **more):
            pages = self.ssm.get_paginator("get_parameters_by_path").paginate(
                Path=path, PaginationConfig={"PageSize": 1}, **more)
            return [one["Name"].removeprefix(root) for page in pages for one in page["Parameters"]]

        self.assertEqual(by_path(), ["/a"])
        self.assertEqual(by_path(Recursive=True), ["/a", "/b/c", "/b/d"])
        self.assertEqual(by_path(f"{root}/b/"), ["/b/c", "/b/d"])
        self.assertEqual(by_path(Recursive=True, ParameterFilters=[{"Key": "Type", "Values": ["StringList"]}]), [])

        def described(*filters, **more):
            filters = [dict(zip(("Key", "Option", "Values"), one)) for one in filters]
            pages = self.ssm.get_paginator("describe_parameters").paginate(
                ParameterFilters=filters, PaginationConfig={"PageSize": 1}, **more)
            return [one["Name"].removeprefix(root) for page in pages for one in page["Parameters"]]

        below = ("Path", "Recursive", [root])
        self.assertEqual(described(below), ["/a", "/b/c", "/b/d"])
        self.assertEqual(described(below, ("Tier", "Equals", ["Advanced"])), ["/b/c"])
        self.assertEqual(described(below, ("tag:Stage", "Equals", ["test"])), ["/a"])
        self.assertEqual(described(below, ("Name", "Contains", ["/d"])), ["/b/d"])
        self.assertEqual(described(("Name", "BeginsWith", [root + "/b"])), ["/b/c", "/b/d"])
        self.assertEqual(described(("Path", "OneLevel", ["/aws/service/debian/release/12/latest"])), [], "not public ones")
        older = self.ssm.describe_parameters(Filters=[{"Key": "Name", "Values": [root]}])["Parameters"]
        self.assertEqual(len(older), 3)
        refused = lambda code, **one: self.refused(code, client("ssm", check=False).describe_parameters, ParameterFilters=[one])
        refused("InvalidFilterKey", Key="Colour", Values=["red"])
        refused("InvalidFilterOption", Key="Type", Option="Contains", Values=["x"])
        refused("InvalidFilterValue", Key="Name")
        self.refused("InvalidNextToken", self.ssm.describe_parameters, NextToken="x")
        self.refused("ValidationException", self.ssm.get_parameters_by_path, Path="no/slash")

    def test_tags(self):
        name = self.put(Tags=[{"Key": "a", "Value": "1"}])
        resource = {"ResourceType": "Parameter", "ResourceId": name}
        self.ssm.add_tags_to_resource(Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}], **resource)
        listed = lambda: {tag["Key"]: tag["Value"] for tag in self.ssm.list_tags_for_resource(**resource)["TagList"]}
        self.assertEqual(listed(), {"a": "3", "b": "2"})
        self.ssm.remove_tags_from_resource(TagKeys=["a", "none"], **resource)
        self.assertEqual(listed(), {"b": "2"})
        many = [{"Key": str(n), "Value": ""} for n in range(50)]
        self.refused("TooManyTagsError", self.ssm.add_tags_to_resource, Tags=many, **resource)
        self.refused("InvalidResourceId", self.ssm.list_tags_for_resource, ResourceType="Parameter", ResourceId="/none")
        self.refused("InvalidResourceType", self.ssm.list_tags_for_resource, ResourceType="Document", ResourceId="x")

    def test_an_image_is_looked_at_later(self):
        source = self.source()
        name = self.put(value=source, DataType=IMAGE)
        found = self.eventually(lambda: self.ssm.get_parameters(Names=[name])["Parameters"], "the image is looked at")
        self.assertEqual((found[0]["Value"], found[0]["DataType"]), (source, IMAGE))
        # What is no image is taken and does nothing.
        bad = self.ssm.put_parameter(Name=name, Value="ami-00000000000000000", DataType=IMAGE, Overwrite=True)
        self.assertEqual(bad["Version"], 2)
        self.ssm.put_parameter(Name=name, Value=source, DataType=IMAGE, Overwrite=True)
        self.eventually(lambda: self.ssm.get_parameter(Name=name)["Parameter"]["Version"] == 2, "the next one")
        self.assertEqual(self.value(name), source)
        machine = self.launch(ImageId=f"resolve:ssm:{name}")
        self.assertEqual(machine["ImageId"], source)
        self.refused("InvalidParameterValue", self.ec2.run_instances, ImageId=f"resolve:ssm:{name}:9",
                     InstanceType="t3.micro", MinCount=1, MaxCount=1)

    def test_refusals(self):
        loose = client("ssm", check=False)

        def refused(code, **more):
            self.refused(code, loose.put_parameter, **{"Name": "/" + unique("p"), "Value": "1", "Type": "String"} | more)

        refused("UnsupportedParameterType", Type="SecureString")
        refused("UnsupportedParameterType", KeyId="alias/aws/ssm")
        refused("ValidationException", Type="Number")
        refused("ValidationException", Value="")
        refused("ValidationException", Value="x" * 4097)
        refused("ValidationException", Value="x" * 8193, Tier="Intelligent-Tiering")
        refused("ValidationException", Name="ssm-name")
        refused("ValidationException", Name="a/b")
        refused("AccessDeniedException", Name="/aws/service/x")
        refused("HierarchyLevelLimitExceededException", Name="/a" * 16)
        refused("ValidationException", AllowedPattern="x")
        refused("ValidationException", DataType="aws:other")
        refused("ValidationException", Tags=[{"Key": "a", "Value": "b"}], Overwrite=True)
        self.refused("ValidationException", loose.put_parameter, Name="/" + unique("p"), Value="x")
        big = self.put(value="x" * 4097, Tier="Intelligent-Tiering")
        self.assertEqual(len(self.value(big)), 4097)


if __name__ == "__main__":
    unittest.main()
