"""The AWS CLI as a client: another program, its own retries and its own output."""

import json
import os
import subprocess
import sys
import time
import unittest

from support import KEY, REGION, SECRET, SOURCE, URL, unique


class Cli(unittest.TestCase):
    def aws(self, *words, fails=None):
        command = [os.path.join(os.path.dirname(sys.executable), "aws"), "--endpoint-url", URL, "--output", "json", *words]
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
               "AWS_DEFAULT_REGION": REGION, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if fails:
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn(f"({fails})", done.stderr)
            return None
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def test_a_life(self):
        self.assertRegex(self.aws("sts", "get-caller-identity")["Account"], r"^\d{12}$")
        image = self.aws("ssm", "get-parameter", "--name", SOURCE)["Parameter"]["Value"]
        made = self.aws("ec2", "run-instances", "--image-id", image, "--instance-type", "t3.micro",
                        "--user-data", "#!/bin/sh\ntrue\n", "--metadata-options", "HttpTokens=required",
                        "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=cli}]")
        instance = made["Instances"][0]["InstanceId"]
        try:
            self.aws("ec2", "wait", "instance-running", "--instance-ids", instance)
            name = self.aws("ec2", "describe-instances", "--instance-ids", instance,
                            "--query", "Reservations[].Instances[].Tags[?Key=='Name'].Value[]")
            self.assertEqual(name, ["cli"])
            self.aws("ec2", "run-instances", "--image-id", image, "--instance-type", "t3.micro", "--dry-run",
                     fails="DryRunOperation")
            agents = ["ssm", "describe-instance-information", "--filters", f"Key=InstanceIds,Values={instance}",
                      "--query", "InstanceInformationList[].PingStatus"]
            while self.aws(*agents) != ["Online"]:
                time.sleep(0.1)
            command = self.aws("ssm", "send-command", "--instance-ids", instance, "--document-name", "AWS-RunShellScript",
                               "--parameters", "commands=[echo a,exit 4]", "--query", "Command.CommandId")
            told = {"Status": "Pending"}
            while told["Status"] != "Failed":
                told = self.aws("ssm", "get-command-invocation", "--command-id", command, "--instance-id", instance)
            self.assertEqual((told["StandardOutputContent"], told["ResponseCode"]), ("a\n", 4))
            new = self.aws("ec2", "create-image", "--instance-id", instance, "--name", unique("cli"), "--no-reboot")["ImageId"]
            self.aws("ec2", "wait", "image-available", "--image-ids", new)
            self.aws("ec2", "deregister-image", "--image-id", new, "--delete-associated-snapshots")
        finally:
            self.aws("ec2", "terminate-instances", "--instance-ids", instance)
        self.aws("ec2", "wait", "instance-terminated", "--instance-ids", instance)

    def test_refusals(self):
        self.aws("ec2", "describe-images", "--image-ids", "ami-12345678", fails="InvalidAMIID.NotFound")
        self.aws("ec2", "describe-fleets", fails="InvalidAction")
        self.aws("ec2", "describe-instances", "--filters", "Name=colour,Values=red", fails="InvalidParameterValue")
