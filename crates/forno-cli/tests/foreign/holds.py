"""What the foreign EC2 holds, said by a client that is not forno: `holds.py URL`."""

import json
import sys

import boto3

ec2 = boto3.client("ec2", "us-east-1", endpoint_url=sys.argv[1], aws_access_key_id="test", aws_secret_access_key="test")
instances = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
tagged = {"Filters": [{"Name": "tag-key", "Values": ["forno:bake"]}]}
print(json.dumps({
    "launched": len(instances),
    "instances": [one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"],
    "key_pairs": [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]],
    "security_groups": [one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]
                        if one["GroupName"] != "default"],
    "volumes": [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]],
    "images": [{"name": one["Name"], "description": one.get("Description"), "state": one["State"],
                "tags": {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}}
               for one in ec2.describe_images(Owners=["self"])["Images"]],
    "snapshots": [{tag["Key"]: tag["Value"] for tag in one["Tags"]}
                  for one in ec2.describe_snapshots(OwnerIds=["self"], **tagged)["Snapshots"]],
}))
