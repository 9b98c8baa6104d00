"""A bake by hand, on real machines: run as a program by the container test."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import unittest

from botocore.exceptions import ClientError

import channel
from support import Case, client, tags, unique

KEY = os.environ.get("FORNO_TEST_KEY", "")


class WholeLife(Case):
    def ssh(self, address, port, script):
        command = ["ssh", "-i", KEY, "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", f"admin@{address}", script]
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    def reach(self, found):
        port = next((tag["Value"] for tag in found.get("Tags", []) if tag["Key"] == "forno:ssh-port"), 22)

        def says(script):
            done = self.ssh(found["PublicIpAddress"], port, script)
            return done.stdout.strip() if done.returncode == 0 else None

        self.eventually(lambda: says("cloud-init status --wait >/dev/null; echo up") == "up", "ssh with the imported key")
        return says

    def boot(self, image, key, *volumes, **more):
        found = self.running(**more, ImageId=image, KeyName=key, MetadataOptions={"HttpTokens": "required"},
                             UserData="#!/bin/sh\necho told > /var/lib/user-data-ran\n",
                             BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 10}}, *volumes],
                             TagSpecifications=tags("instance", Name="whole life"))
        return found, self.reach(found)

    def objects(self, says):
        """Objects from inside, by requests that were signed for where the machine sees them."""
        s3, bucket = client("s3", signature="s3v4"), unique("forno")
        inside = client("s3", signature="s3v4", url=os.environ["FORNO_TEST_MACHINE_URL"])
        s3.create_bucket(Bucket=bucket)
        data = os.urandom(3_000_000)
        s3.put_object(Bucket=bucket, Key="in", Body=data)

        def url(call, key):
            return shlex.quote(inside.generate_presigned_url(call, {"Bucket": bucket, "Key": key}))
        self.assertEqual(says(f"curl -fsS {url('get_object', 'in')} | sha256sum | cut -c -64"), hashlib.sha256(data).hexdigest())
        digest = says(f"head -c 3000000 /dev/urandom > f; curl -fsS -T f {url('put_object', 'out')}; sha256sum f | cut -c -64")
        back = s3.get_object(Bucket=bucket, Key="out")["Body"].read()
        self.assertEqual(hashlib.sha256(back).hexdigest(), digest)
        # Whoever has no such URL gets nothing, and none leads to anything but objects.
        for other in (f"{inside.meta.endpoint_url}/{bucket}/in", inside.generate_presigned_url("list_buckets")):
            self.assertEqual(says(f"curl -s -o /dev/null -w '%{{http_code}}' {shlex.quote(other)}"), "403")
        for key in ("in", "out"):
            s3.delete_object(Bucket=bucket, Key=key)
        s3.delete_bucket(Bucket=bucket)

    def session(self, instance):
        """The machine's own SSH server through a session, though it is asked at its loopback."""
        ssm = client("ssm")

        def started():
            try:
                return ssm.start_session(Target=instance, DocumentName="AWS-StartSSHSession")
            except ClientError as error:
                self.assertEqual(error.response["Error"]["Code"], "TargetNotConnected")
                return None
        shell = channel.Channel(ssm, self.eventually(started, "an agent")).open()
        self.assertEqual(shell.read(8), b"SSH-2.0-")
        ssm.terminate_session(SessionId=shell.session)
        shell.until(lambda: shell.closed)
        refused = channel.Channel(ssm, ssm.start_session(
            Target=instance, DocumentName="AWS-StartSSHSession", Parameters={"portNumber": ["1"]}))
        refused.until(lambda: refused.closed)
        self.assertIn("connection refused", refused.closed["Output"])

    def registered(self, snapshot):
        """An image of a snapshot, once that is completed."""
        self.eventually(lambda: self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] == "completed",
                        "the snapshot")
        image = self.ec2.register_image(
            Name=unique("registered"), Architecture="x86_64", VirtualizationType="hvm", EnaSupport=True,
            RootDeviceName="/dev/xvda", BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}])["ImageId"]
        self.addCleanup(self.forget, image)
        return image

    def carried_over(self, snapshot):
        """Another snapshot of the same blocks, by the EBS direct APIs."""
        ebs = client("ebs")
        listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)
        made = ebs.start_snapshot(VolumeSize=listed["VolumeSize"])["SnapshotId"]
        for block in listed["Blocks"]:
            got = ebs.get_snapshot_block(SnapshotId=snapshot, **block)
            data = got["BlockData"].read()
            ebs.put_snapshot_block(SnapshotId=made, BlockIndex=block["BlockIndex"], BlockData=data, DataLength=len(data),
                                   Checksum=got["Checksum"], ChecksumAlgorithm="SHA256")
        ebs.complete_snapshot(SnapshotId=made, ChangedBlocksCount=len(listed["Blocks"]))
        return made

    def test_whole_life(self):
        iam, role = client("iam"), unique("role")
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}}))
        iam.create_instance_profile(InstanceProfileName=role)
        iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        key = unique("key")
        with open(KEY + ".pub", encoding="ascii") as file:
            self.ec2.import_key_pair(KeyName=key, PublicKeyMaterial=file.read())
        self.addCleanup(self.ec2.delete_key_pair, KeyName=key)
        first, says = self.boot(self.source(), key, {
            "DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3", "DeleteOnTermination": True}}, IamInstanceProfile={"Name": role})
        self.assertEqual(says("cat /var/lib/user-data-ran"), "told")
        self.assertEqual(says("cloud-init query instance_id"), first["InstanceId"])
        self.assertEqual(says("cloud-init query region"), first["Placement"]["AvailabilityZone"][:-1])
        # The metadata service as the guest sees it: version 1 is refused.
        status = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/instance-id"
        self.assertEqual(says(status), "401")
        gib = int(says("df --output=size -B1G / | tail -1"))
        self.assertGreaterEqual(gib, 9, "the root follows the size of its volume")
        self.eventually(
            lambda: self.ec2.describe_instance_status(InstanceIds=[first["InstanceId"]])["InstanceStatuses"][0][
                "InstanceStatus"]["Status"] == "ok", "status checks")
        self.assertEqual(says("echo baked | sudo tee /etc/marker"), "baked")
        token = "$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)"
        asks = f'curl -fsH "X-aws-ec2-metadata-token: {token}" http://169.254.169.254/latest/meta-data/block-device-mapping'
        # Credentials of its role, with which it could sign.
        folder = asks.replace("block-device-mapping", "iam")
        self.assertEqual(says(f"{folder}/security-credentials/"), role)
        given = json.loads(says(f"{folder}/security-credentials/{role}"))
        who = client("sts", key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["Token"]).get_caller_identity()
        self.assertTrue(who["Arn"].endswith(f":assumed-role/{role}/{first['InstanceId']}"), who)
        self.assertEqual(json.loads(says(f"{folder}/info"))["InstanceProfileArn"], first["IamInstanceProfile"]["Arn"])
        self.assertEqual(says(f"{asks}/").split(), ["ami", "ebs1", "root"])
        self.assertEqual(says(f"{asks}/ebs1"), "sdf")
        self.assertEqual(says("lsblk -bndo SIZE /dev/sdf"), str(1 << 30))
        self.assertEqual(says("sudo mkfs.ext4 -q /dev/sdf && sudo mount /dev/sdf /mnt && echo data | sudo tee /mnt/f"), "data")
        self.objects(says)
        self.session(first["InstanceId"])
        self.assertIn("login:", self.ec2.get_console_output(InstanceId=first["InstanceId"])["Output"])

        self.ec2.stop_instances(InstanceIds=[first["InstanceId"]])
        self.until(first["InstanceId"], "stopped")
        image = self.image(first["InstanceId"])
        self.available(image)
        self.terminate(first["InstanceId"])

        second, says = self.boot(image, key)
        self.assertEqual(says("cat /etc/marker"), "baked")
        self.assertEqual(says("sudo mount /dev/sdf /mnt && cat /mnt/f"), "data", "the other volume is in the image too")
        self.assertEqual(says("cloud-init query instance_id"), second["InstanceId"])
        # The same disk by the other way: a snapshot of a machine that runs, and an image of it.
        says("echo again | sudo tee /etc/marker && sudo sync")
        volume = next(one["Ebs"]["VolumeId"] for one in second["BlockDeviceMappings"] if one["DeviceName"] == "/dev/xvda")
        snapshot = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        third, asked = self.boot(self.registered(snapshot), key)
        self.assertEqual(asked("cat /etc/marker"), "again")
        self.terminate(third["InstanceId"])
        # And once more, carried over block by block.
        fourth, asked = self.boot(self.registered(self.carried_over(snapshot)), key)
        self.assertEqual(asked("cat /etc/marker"), "again")
        self.terminate(fourth["InstanceId"])
        # A guest that shuts itself down stops, and says why.
        says("sudo systemctl poweroff")
        stopped = self.until(second["InstanceId"], "stopped")
        self.assertEqual(stopped["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")
        self.terminate(second["InstanceId"])


if __name__ == "__main__":
    if not KEY:
        sys.exit("FORNO_TEST_KEY names no key")
    unittest.main(verbosity=2)
