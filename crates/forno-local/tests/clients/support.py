"""Clients of the endpoint under test, and small things that tests share."""

import os
import time
import unittest
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import shapes

URL = os.environ["FORNO_TEST_URL"]
KEY = os.environ["FORNO_TEST_ACCESS_KEY"]
SECRET = os.environ["FORNO_TEST_SECRET_KEY"]
REGION = os.environ["FORNO_TEST_REGION"]
SOURCE = "/aws/service/debian/release/12/latest/amd64"
ED25519 = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJd4rNEgvEVVSbYA6nMBHsVgvNDIVtrwkYEbpe0yJgMX someone"
)


def client(service="ec2", region=REGION, key=KEY, secret=SECRET, check=True, signature=None, url=URL, token=None):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        # A test wants to see the first answer, not the third; and, where it asks
        # for nonsense, the endpoint's refusal rather than the client's own.
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=check, signature_version=signature),
    )


def unique(prefix="test"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


class Case(unittest.TestCase):
    """A test whose every EC2 reply is held against the official shapes."""

    walked = 0

    def setUp(self):
        self.ec2 = client()
        self.faults = []
        self.ec2.meta.events.register("response-received.ec2", self.walk)

    def walk(self, response_dict, operation_name=None, **kwargs):
        if response_dict is None or response_dict["status_code"] != 200:
            return
        operation = self.ec2.meta.service_model.operation_model(
            kwargs.get("model_name") or self.operation_of(response_dict["body"])
        )
        Case.walked += 1
        for fault in shapes.walk_reply(operation, response_dict["body"]):
            self.faults.append(f"{operation.name}: {fault}")

    def systems(self, **more):
        """A client of Systems Manager whose replies are held against its shapes."""
        systems = client("ssm", **more)

        def walk(response_dict, model=None, **kwargs):
            if response_dict is None or response_dict["status_code"] != 200:
                return
            Case.walked += 1
            self.faults.extend(shapes.walk_json(walk.operation, response_dict["body"]))

        def before(model, **kwargs):
            walk.operation = model

        systems.meta.events.register("before-call.ssm", before)
        systems.meta.events.register("response-received.ssm", walk)
        return systems

    def online(self, instance):
        """What Systems Manager says of an instance, once its agent is connected."""
        systems = self.systems()

        def look():
            filters = [{"Key": "InstanceIds", "Values": [instance]}]
            found = systems.describe_instance_information(Filters=filters)["InstanceInformationList"]
            return found[0] if found and found[0]["PingStatus"] == "Online" else None

        return self.eventually(look, f"{instance} online")

    def send(self, instance, *lines, **more):
        """A command to one instance; its id."""
        parameters = {"commands": list(lines)} | more.pop("Parameters", {})
        sent = self.systems().send_command(
            InstanceIds=[instance], DocumentName="AWS-RunShellScript", Parameters=parameters, **more
        )
        return sent["Command"]["CommandId"]

    def ended(self, command, instance):
        """The invocation, once it has ended."""
        systems = self.systems()

        def look():
            found = systems.get_command_invocation(CommandId=command, InstanceId=instance)
            over = found["Status"] not in ("Pending", "Delayed", "InProgress", "Cancelling")
            if not over:
                self.assertEqual((found["StandardOutputContent"], found["StandardErrorContent"]), ("", ""))
            return found if over else None

        return self.eventually(look, f"{command} ended")

    def run_command(self, instance, *lines, **more):
        return self.ended(self.send(instance, *lines, **more), instance)

    @staticmethod
    def operation_of(body):
        root = shapes.ElementTree.fromstring(body)
        return shapes.local(root).removesuffix("Response")

    def tearDown(self):
        self.assertEqual(self.faults, [], "replies that differ from the service model")

    def refused(self, code, call, *args, **kwargs):
        with self.assertRaises(ClientError) as caught:
            call(*args, **kwargs)
        error = caught.exception.response
        self.assertEqual(error["Error"]["Code"], code, error["Error"])
        self.assertTrue(error["Error"]["Message"] or code == "ParameterNotFound")
        self.assertTrue(error["ResponseMetadata"]["RequestId"])
        return error

    def source(self):
        return client("ssm").get_parameter(Name=SOURCE)["Parameter"]["Value"]

    def launch(self, **more):
        request = {"ImageId": self.source(), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1} | more
        instance = self.ec2.run_instances(**request)["Instances"][0]
        self.addCleanup(self.terminate, instance["InstanceId"])
        return instance

    def terminate(self, instance):
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.until(instance, "terminated")

    def describe(self, instance):
        found = self.ec2.describe_instances(InstanceIds=[instance])
        return found["Reservations"][0]["Instances"][0]

    def until(self, instance, state, unlike=()):
        def reached():
            found = self.describe(instance)
            self.assertNotIn(found["State"]["Name"], unlike, found.get("StateReason"))
            return found if found["State"]["Name"] == state else None

        return self.eventually(reached, f"{instance} {state}")

    def running(self, **more):
        instance = self.launch(**more)["InstanceId"]
        return self.until(instance, "running", unlike=("terminated", "stopped"))

    def eventually(self, look, what):
        """Waits on a condition; the deadline is for hanging, not for timing."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(0.05)
        self.fail(f"in vain: {what}")

    def image(self, instance, **more):
        image = self.ec2.create_image(InstanceId=instance, Name=unique("image"), **more)["ImageId"]
        self.addCleanup(self.forget, image)
        return image

    def available(self, image):
        def reached():
            found = self.ec2.describe_images(ImageIds=[image])["Images"][0]
            self.assertIn(found["State"], ("pending", "available"), found.get("StateReason"))
            return found if found["State"] == "available" else None

        return self.eventually(reached, f"{image} available")

    def forget(self, image):
        try:
            self.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
        except ClientError as error:
            self.assertIn("InvalidAMIID", error.response["Error"]["Code"])

    def group(self, **more):
        group = self.ec2.create_security_group(GroupName=unique("group"), Description="a test", **more)["GroupId"]
        self.addCleanup(self.ec2.delete_security_group, GroupId=group)
        return group


def tags(resource, **values):
    return [{"ResourceType": resource, "Tags": [{"Key": k, "Value": v} for k, v in values.items()]}]
