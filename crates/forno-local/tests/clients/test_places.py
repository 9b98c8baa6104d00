"""Regions, zones, networks and instance types."""

from support import REGION, Case


class Places(Case):
    def test_regions(self):
        names = [region["RegionName"] for region in self.ec2.describe_regions()["Regions"]]
        self.assertIn(REGION, names)
        one = self.ec2.describe_regions(Filters=[{"Name": "region-name", "Values": ["us-east-?"]}])["Regions"]
        self.assertEqual([region["RegionName"] for region in one], ["us-east-1", "us-east-2"])
        self.refused("InvalidParameterValue", self.ec2.describe_regions, RegionNames=["mars-north-1"])

    def test_zones(self):
        zones = self.ec2.describe_availability_zones()["AvailabilityZones"]
        self.assertEqual([zone["ZoneName"] for zone in zones], [f"{REGION}{letter}" for letter in "abc"])
        self.refused("InvalidParameterValue", self.ec2.describe_availability_zones, ZoneNames=["us-east-1z"])

    def test_networks(self):
        vpc = self.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
        subnets = self.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        self.assertEqual(len(subnets), 3)
        self.assertEqual({subnet["VpcId"] for subnet in subnets}, {vpc["VpcId"]})
        self.refused("InvalidVpcID.NotFound", self.ec2.describe_vpcs, VpcIds=["vpc-12345678"])
        self.refused("InvalidSubnetID.NotFound", self.ec2.describe_subnets, SubnetIds=["subnet-12345678"])
        self.refused("InvalidSubnetID.Malformed", self.ec2.describe_subnets, SubnetIds=["net-1"])
        self.refused("InvalidParameterValue", self.ec2.describe_subnets, Filters=[{"Name": "vpc", "Values": ["x"]}])

    def test_instance_types(self):
        pages = self.ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 10})
        types = {kind["InstanceType"]: kind for page in pages for kind in page["InstanceTypes"]}
        self.assertGreater(len(types), 50)
        large = types["c7i.large"]
        self.assertEqual((large["VCpuInfo"]["DefaultVCpus"], large["MemoryInfo"]["SizeInMiB"]), (2, 4096))
        arm = self.ec2.describe_instance_types(
            Filters=[{"Name": "processor-info.supported-architecture", "Values": ["arm64"]}]
        )["InstanceTypes"]
        self.assertTrue(arm and all(kind["InstanceType"].split(".")[0].endswith("g") for kind in arm))
        self.refused("InvalidInstanceType", self.ec2.describe_instance_types, InstanceTypes=["m1.small"])

    def test_offerings(self):
        offers = self.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t3.micro"]}]
        )["InstanceTypeOfferings"]
        self.assertEqual([offer["Location"] for offer in offers], [f"{REGION}{letter}" for letter in "abc"])
        pages = self.ec2.get_paginator("describe_instance_type_offerings").paginate(PaginationConfig={"PageSize": 7})
        names = [offer["InstanceType"] for page in pages for offer in page["InstanceTypeOfferings"]]
        self.assertEqual(len(names), len(set(names)))
