"""RunInstances and the life of instances."""

import base64
import os
import subprocess
import tempfile

from support import ED25519, Case, client, tags, unique


class Launching(Case):
    def test_all_that_a_bake_asks_for(self):
        key, group, token = unique("key"), self.group(), unique("token")
        self.ec2.import_key_pair(KeyName=key, PublicKeyMaterial=ED25519)
        self.addCleanup(self.ec2.delete_key_pair, KeyName=key)
        made = self.launch(
            KeyName=key, SecurityGroupIds=[group], ClientToken=token, UserData="#cloud-config\n{}\n",
            InstanceInitiatedShutdownBehavior="terminate", EbsOptimized=True,
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"},
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {
                "VolumeSize": 16, "VolumeType": "gp3", "Throughput": 500, "Encrypted": True, "DeleteOnTermination": True}}],
            TagSpecifications=tags("instance", who="i") + tags("volume", who="v") + tags("network-interface", who="n"),
        )
        self.assertEqual(made["State"]["Name"], "pending")
        found = self.until(made["InstanceId"], "running", unlike=("terminated",))
        self.assertEqual((found["KeyName"], found["ClientToken"]), (key, token))
        self.assertEqual([group["GroupId"] for group in found["SecurityGroups"]], [group])
        self.assertEqual(found["MetadataOptions"]["HttpTokens"], "required")
        self.assertTrue(found["PublicIpAddress"].startswith("127."))
        self.assertTrue(found["PrivateIpAddress"].startswith("172.31."))
        self.assertIn({"Key": "who", "Value": "i"}, found["Tags"])
        interface = found["NetworkInterfaces"][0]
        self.assertEqual(interface["Association"]["PublicIp"], found["PublicIpAddress"])
        volume = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        volume = self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        self.assertEqual((volume["Size"], volume["Throughput"], volume["Encrypted"], volume["State"]),
                         (16, 500, True, "in-use"))
        self.assertEqual(volume["Tags"], [{"Key": "who", "Value": "v"}])
        kinds = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [interface["NetworkInterfaceId"]]}])
        self.assertEqual([tag["ResourceType"] for tag in kinds["Tags"]], ["network-interface"])
        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=group)
        self.terminate(made["InstanceId"])
        self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=[volume["VolumeId"]])
        over = self.describe(made["InstanceId"])
        self.assertEqual(over["StateReason"]["Code"], "Client.UserInitiatedShutdown")
        self.assertNotIn("PublicIpAddress", over)

    def test_network_interface_form(self):
        group, subnet = self.group(), self.ec2.describe_subnets()["Subnets"][0]
        interface = {"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "Groups": [group], "AssociatePublicIpAddress": False}
        found = self.running(NetworkInterfaces=[interface])
        self.assertEqual((found["SubnetId"], found["Placement"]["AvailabilityZone"]),
                         (subnet["SubnetId"], subnet["AvailabilityZone"]))
        self.assertNotIn("PublicIpAddress", found)
        self.refused("InvalidParameterCombination", self.launch, NetworkInterfaces=[interface], SecurityGroupIds=[group])
        self.refused("InvalidParameterCombination", self.launch, NetworkInterfaces=[interface], SubnetId=subnet["SubnetId"])
        self.terminate(found["InstanceId"])

    def test_client_token(self):
        token = unique("token")
        one, two = self.launch(ClientToken=token), self.launch(ClientToken=token)
        self.assertEqual(one["InstanceId"], two["InstanceId"])
        self.refused("IdempotentParameterMismatch", self.launch, ClientToken=token, InstanceType="t3.small")
        found = self.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])["Reservations"]
        self.assertEqual(len(found), 1)
        self.terminate(one["InstanceId"])
        self.refused("IdempotentInstanceTerminated", self.launch, ClientToken=token)

    def test_several_at_once(self):
        made = self.ec2.run_instances(ImageId=self.source(), InstanceType="t3.micro", MinCount=2, MaxCount=3)
        ids = [instance["InstanceId"] for instance in made["Instances"]]
        for instance in ids:
            self.addCleanup(self.terminate, instance)
        self.assertEqual([instance["AmiLaunchIndex"] for instance in made["Instances"]], [0, 1, 2])
        addresses = {instance["PrivateIpAddress"] for instance in made["Instances"]}
        self.assertEqual(len(addresses), 3)
        again = self.ec2.describe_instances(Filters=[{"Name": "reservation-id", "Values": [made["ReservationId"]]}])
        self.assertEqual(len(again["Reservations"][0]["Instances"]), 3)

    def test_resolve_ssm(self):
        made = self.launch(ImageId="resolve:ssm:/aws/service/debian/release/12/latest/amd64")
        self.assertEqual(made["ImageId"], self.source())

    def test_bad_input(self):
        for code, more in (
            ("InvalidAMIID.Malformed", {"ImageId": "ami-garbage"}),
            ("InvalidAMIID.NotFound", {"ImageId": "ami-0123456789abcdef0"}),
            ("InvalidParameterValue", {"InstanceType": "zz9.huge"}),
            ("InvalidParameterValue", {"InstanceType": "t4g.micro"}),
            ("InvalidKeyPair.NotFound", {"KeyName": "nobody"}),
            ("InvalidGroup.NotFound", {"SecurityGroupIds": ["sg-12345678"]}),
            ("InvalidGroupId.Malformed", {"SecurityGroupIds": ["x"]}),
            ("InvalidSubnetID.NotFound", {"SubnetId": "subnet-12345678"}),
            ("InvalidParameterValue", {"MinCount": 0}),
            ("InvalidParameterCombination", {"MinCount": 2}),
            ("InstanceLimitExceeded", {"MinCount": 1000, "MaxCount": 1000}),
            ("InvalidParameterValue", {"UserData": "x" * 17000}),
            ("InvalidBlockDeviceMapping", {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 1}}]}),
            ("InvalidParameterValue", {"BlockDeviceMappings": [{"DeviceName": "data", "Ebs": {"VolumeSize": 1}}]}),
            ("MissingParameter", {"BlockDeviceMappings": [{"DeviceName": "/dev/xvdb", "Ebs": {"VolumeType": "gp3"}}]}),
            ("InvalidSnapshot.NotFound", {"BlockDeviceMappings": [
                {"DeviceName": "/dev/xvdb", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]}),
            ("Unsupported", {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "persistent"}}}),
            ("InvalidParameterValue", {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "cheap"}}}),
            ("Unsupported", {"Placement": {"Tenancy": "host"}}),
            ("InvalidPlacementGroup.Unknown", {"Placement": {"GroupName": "nobody"}}),
            ("InvalidCapacityReservationId.NotFound", {"CapacityReservationSpecification": {
                "CapacityReservationTarget": {"CapacityReservationId": "cr-0123456789abcdef0"}}}),
            ("Unsupported", {"CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1}}),
            ("InvalidParameterValue", {"IamInstanceProfile": {"Name": "no body"}}),
            ("InvalidParameterValue", {"IamInstanceProfile": {"Arn": "arn:aws:iam::111122223333:role/baker"}}),
            ("InvalidParameterDependency", {"BlockDeviceMappings": [
                {"DeviceName": "/dev/xvda", "Ebs": {"KmsKeyId": "alias/images"}}]}),
            ("InvalidParameterValue", {"Placement": {"AvailabilityZone": "mars-1a"}}),
            ("InvalidParameterValue", {"TagSpecifications": tags("image", a="b")}),
            ("InvalidParameterValue", {"TagSpecifications": tags("spot-instances-request", a="b")}),
            ("InvalidParameterValue", {"MetadataOptions": {"HttpPutResponseHopLimit": 65}}),
        ):
            with self.subTest(code=code, more=more):
                self.refused(code, self.launch, **more)
        mine = self.ec2.describe_instances(Filters=[{"Name": "key-name", "Values": ["nobody"]}])
        self.assertEqual(mine["Reservations"], [])

    def test_bad_base64(self):
        raw = client()
        raw.meta.events.register("before-call.ec2.RunInstances",
                                 lambda params, **_: params["body"].update(UserData="%%%"))
        self.refused("InvalidUserData.Malformed", raw.run_instances, ImageId=self.source(), InstanceType="t3.micro",
                     MinCount=1, MaxCount=1, UserData="x")

    def test_dry_run(self):
        token = unique("token")
        self.refused("DryRunOperation", self.launch, ClientToken=token, DryRun=True)
        found = self.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])
        self.assertEqual(found["Reservations"], [])
        self.refused("InvalidAMIID.NotFound", self.launch, ImageId="ami-12345678", DryRun=True)

    def test_dry_run_of_reads(self):
        self.refused("DryRunOperation", self.ec2.describe_images, DryRun=True)
        self.refused("DryRunOperation", self.ec2.describe_regions, DryRun=True)


class Living(Case):
    def test_stop_start_reboot_terminate(self):
        found = self.running()
        instance = found["InstanceId"]
        ids = {"InstanceIds": [instance]}
        self.refused("DryRunOperation", self.ec2.stop_instances, DryRun=True, **ids)
        self.ec2.reboot_instances(**ids)
        change = self.ec2.stop_instances(**ids)["StoppingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "stopping"))
        stopped = self.until(instance, "stopped")
        self.assertEqual(stopped["StateReason"]["Code"], "Client.UserInitiatedShutdown")
        self.assertRegex(stopped["StateTransitionReason"], r"^User initiated \(.* GMT\)$")
        self.assertNotIn("PublicIpAddress", stopped)
        self.refused("IncorrectInstanceState", self.ec2.reboot_instances, **ids)
        again = self.ec2.stop_instances(**ids)["StoppingInstances"][0]
        self.assertEqual(again["CurrentState"]["Name"], "stopped")
        change = self.ec2.start_instances(**ids)["StartingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("stopped", "pending"))
        running = self.until(instance, "running", unlike=("terminated",))
        self.assertNotIn("StateReason", running)
        change = self.ec2.terminate_instances(**ids)["TerminatingInstances"][0]
        self.assertEqual(change["CurrentState"]["Name"], "shutting-down")
        self.until(instance, "terminated")
        for call in (self.ec2.start_instances, self.ec2.stop_instances, self.ec2.reboot_instances):
            self.refused("IncorrectInstanceState", call, **ids)
        change = self.ec2.terminate_instances(**ids)["TerminatingInstances"][0]
        self.assertEqual(change["CurrentState"]["Name"], "terminated")

    def test_profiles_and_keys_are_told(self):
        found = self.running(IamInstanceProfile={"Name": "baker"}, BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": "alias/images"}}])
        self.assertRegex(found["IamInstanceProfile"]["Arn"], r":instance-profile/baker$")
        self.assertRegex(found["IamInstanceProfile"]["Id"], r"^AIPA[0-9A-F]{17}$")
        by = [{"Name": "iam-instance-profile.arn", "Values": [found["IamInstanceProfile"]["Arn"]]}]
        told, = self.ec2.describe_instances(Filters=by)["Reservations"]
        self.assertEqual(told["Instances"][0]["InstanceId"], found["InstanceId"])
        volume, = self.ec2.describe_volumes(
            Filters=[{"Name": "attachment.instance-id", "Values": [found["InstanceId"]]}])["Volumes"]
        self.assertRegex(volume["KmsKeyId"], r"^arn:aws:kms:.*:key/[0-9a-f-]{36}$")
        # Its image has the key, and so it may be shared; a copy that names none has the default key.
        image = self.image(found["InstanceId"])
        self.available(image)
        snapshot = self.snapshot_of(image)
        self.assertEqual(snapshot["KmsKeyId"], volume["KmsKeyId"])
        self.ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": "111122223333"}]})
        region = self.ec2.meta.region_name
        copy = self.ec2.copy_image(Name=unique("copy"), SourceImageId=image, SourceRegion=region)["ImageId"]
        self.addCleanup(self.forget, copy)
        self.available(copy)
        self.assertNotEqual(self.snapshot_of(copy)["KmsKeyId"], volume["KmsKeyId"])
        self.refused("InvalidParameterValue", self.ec2.modify_image_attribute, ImageId=copy,
                     LaunchPermission={"Add": [{"UserId": "111122223333"}]})

    def snapshot_of(self, image):
        found = self.ec2.describe_images(ImageIds=[image])["Images"][0]
        snapshot = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        return self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]

    def test_a_spot_instance_is_never_stopped(self):
        found = self.running(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.05"}},
                             TagSpecifications=tags("spot-instances-request", made="here"))
        instance, request = found["InstanceId"], found["SpotInstanceRequestId"]
        self.assertEqual(found["InstanceLifecycle"], "spot")
        by = {"Filters": [{"Name": "instance-id", "Values": [instance]}]}
        told, = self.ec2.describe_spot_instance_requests(**by)["SpotInstanceRequests"]
        self.assertEqual((told["SpotInstanceRequestId"], told["State"], told["Status"]["Code"]),
                         (request, "active", "fulfilled"))
        self.assertEqual(told["Tags"], [{"Key": "made", "Value": "here"}])
        self.refused("UnsupportedOperation", self.ec2.stop_instances, InstanceIds=[instance])
        image = self.image(instance)
        self.available(image)
        self.until(instance, "running", unlike=("terminated", "stopped"))
        self.terminate(instance)
        told, = self.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"]
        self.assertEqual((told["State"], told["Status"]["Code"]), ("closed", "instance-terminated-by-user"))
        self.refused("InvalidSpotInstanceRequestID.NotFound", self.ec2.describe_spot_instance_requests,
                     SpotInstanceRequestIds=["sir-0123456789abcdef0"])

    def test_unknown_and_malformed(self):
        for call in (self.ec2.describe_instances, self.ec2.stop_instances, self.ec2.start_instances,
                     self.ec2.reboot_instances, self.ec2.terminate_instances, self.ec2.describe_instance_status):
            self.refused("InvalidInstanceID.NotFound", call, InstanceIds=["i-0123456789abcdef0"])
            self.refused("InvalidInstanceID.Malformed", call, InstanceIds=["instance-1"])

    def test_waiters_and_status(self):
        instance = self.launch()["InstanceId"]
        ids = {"InstanceIds": [instance]}
        quick = {"WaiterConfig": {"Delay": 1, "MaxAttempts": 120}}
        self.ec2.get_waiter("instance_exists").wait(**ids, **quick)
        self.ec2.get_waiter("instance_running").wait(**ids, **quick)
        self.ec2.get_waiter("instance_status_ok").wait(**ids, **quick)
        self.ec2.stop_instances(**ids)
        self.ec2.get_waiter("instance_stopped").wait(**ids, **quick)
        self.assertEqual(self.ec2.describe_instance_status(**ids)["InstanceStatuses"], [])
        status = self.ec2.describe_instance_status(IncludeAllInstances=True, **ids)["InstanceStatuses"][0]
        self.assertEqual(status["InstanceStatus"]["Status"], "not-applicable")
        self.ec2.terminate_instances(**ids)
        self.ec2.get_waiter("instance_terminated").wait(**ids, **quick)

    def powered_off_by_its_guest(self, **more):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "key")
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
            name = unique("key")
            with open(path + ".pub", encoding="ascii") as file:
                self.ec2.import_key_pair(KeyName=name, PublicKeyMaterial=file.read())
            self.addCleanup(self.ec2.delete_key_pair, KeyName=name)
            found = self.running(KeyName=name, **more)
            port = next((tag["Value"] for tag in found.get("Tags", []) if tag["Key"] == "forno:ssh-port"), "22")
            ssh = ["ssh", "-i", path, "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", f"admin@{found['PublicIpAddress']}"]
            said = subprocess.run([*ssh, "echo hello; poweroff"], capture_output=True, text=True, check=False,
                                  stdin=subprocess.DEVNULL)
            self.assertEqual(said.stdout, "hello\n", said.stderr)
        return found["InstanceId"]

    def test_a_guest_that_stops_itself(self):
        instance = self.powered_off_by_its_guest()
        stopped = self.until(instance, "stopped", unlike=("terminated",))
        self.assertEqual(stopped["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")
        self.terminate(instance)

    def test_a_guest_that_ends_itself(self):
        instance = self.powered_off_by_its_guest(InstanceInitiatedShutdownBehavior="terminate")
        over = self.until(instance, "terminated", unlike=("stopped",))
        self.assertEqual(over["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")
        left = self.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])
        self.assertEqual(left["Volumes"], [])

    def test_terminated_at_once(self):
        instance = self.launch()["InstanceId"]
        self.terminate(instance)

    def test_protection(self):
        # Nothing here can lift the protection again; the endpoint's end does.
        made = self.ec2.run_instances(ImageId=self.source(), InstanceType="t3.micro", MinCount=1, MaxCount=1,
                                      DisableApiTermination=True)
        instance = made["Instances"][0]["InstanceId"]
        self.refused("OperationNotPermitted", self.ec2.terminate_instances, InstanceIds=[instance])

    def test_volume_that_stays(self):
        found = self.running(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}])
        volume = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        self.refused("VolumeInUse", self.ec2.delete_volume, VolumeId=volume)
        self.terminate(found["InstanceId"])
        left = self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        self.assertEqual((left["State"], left["Attachments"]), ("available", []))
        self.ec2.delete_volume(VolumeId=volume)
        self.refused("InvalidVolume.NotFound", self.ec2.delete_volume, VolumeId=volume)

    def test_further_volumes(self):
        found = self.running(BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 3}},
            {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 200, "VolumeType": "st1", "DeleteOnTermination": True}},
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}], TagSpecifications=tags("volume", who="v"))
        instance = found["InstanceId"]
        by_device = {one["DeviceName"]: one["Ebs"] for one in found["BlockDeviceMappings"]}
        self.assertEqual(list(by_device), ["/dev/xvda", "/dev/sdf", "/dev/sdg"], "no type has an instance store")
        self.assertEqual([one["DeleteOnTermination"] for one in by_device.values()], [True, False, True])
        volume = self.ec2.describe_volumes(VolumeIds=[by_device["/dev/sdf"]["VolumeId"]])["Volumes"][0]
        self.assertEqual((volume["Size"], volume["VolumeType"], volume["SnapshotId"], volume["Tags"]),
                         (3, "gp2", "", [{"Key": "who", "Value": "v"}]))
        found = self.ec2.describe_instances(
            Filters=[{"Name": "block-device-mapping.device-name", "Values": ["/dev/sdg"]}])["Reservations"]
        self.assertIn(instance, [one["InstanceId"] for each in found for one in each["Instances"]])
        self.terminate(instance)
        gone = by_device["/dev/sdg"]["VolumeId"]
        self.refused("InvalidVolume.NotFound", self.ec2.describe_volumes, VolumeIds=[gone])
        left, = self.ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"]
        self.assertEqual(left["State"], "available")
        self.ec2.delete_volume(VolumeId=volume["VolumeId"])

    def test_filters(self):
        mark = unique("mark")
        instance = self.running(TagSpecifications=tags("instance", mark=mark))["InstanceId"]

        def found(**filters):
            filters = [{"Name": name.replace("_", "-"), "Values": values} for name, values in filters.items()]
            reply = self.ec2.describe_instances(Filters=filters + [{"Name": "tag:mark", "Values": [mark]}])
            return [i["InstanceId"] for r in reply["Reservations"] for i in r["Instances"]]

        self.assertEqual(found(instance_state_name=["pending", "running"]), [instance])
        self.assertEqual(found(instance_state_name=["stopped"]), [])
        self.assertEqual(found(instance_type=["t3.*"], tag_key=["ma?k"]), [instance])
        self.assertEqual(found(image_id=["ami-*"], private_ip_address=["172.31.*"]), [instance])
        self.refused("InvalidParameterValue", self.ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}])

    def test_pages(self):
        mark = unique("page")
        for _ in range(6):
            self.launch(TagSpecifications=tags("instance", mark=mark))
        pages = list(self.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "tag:mark", "Values": [mark]}], PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(page["Reservations"]) for page in pages], [5, 1])
        self.refused("InvalidParameterCombination", self.ec2.describe_instances, InstanceIds=["i-12345678"], MaxResults=5)

    def test_console(self):
        instance = self.running()["InstanceId"]
        reply = self.ec2.get_console_output(InstanceId=instance)
        self.assertEqual(reply["InstanceId"], instance)
        self.assertIn("Timestamp", reply)
        self.assertIsInstance(reply.get("Output", ""), str)
        base64.b64encode(reply.get("Output", "").encode())
        self.refused("InvalidInstanceID.NotFound", self.ec2.get_console_output, InstanceId="i-12345678")
