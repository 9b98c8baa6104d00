"""Images and snapshots."""

from support import Case, client, tags, unique


class Public(Case):
    def test_found_as_on_aws(self):
        mine = {"Owners": ["136693071363"], "Filters": [
            {"Name": "name", "Values": ["debian-12-amd64-*"]}, {"Name": "architecture", "Values": ["x86_64"]},
            {"Name": "root-device-type", "Values": ["ebs"]}, {"Name": "virtualization-type", "Values": ["hvm"]},
            {"Name": "state", "Values": ["available"]}]}
        images = self.ec2.describe_images(**mine)["Images"]
        self.assertEqual([image["ImageId"] for image in images], [self.source()])
        image = images[0]
        self.assertEqual((image["RootDeviceName"], image["Public"], image["ImageOwnerAlias"]), ("/dev/xvda", True, "amazon"))
        self.assertEqual(self.ec2.describe_images(Owners=["amazon"])["Images"], images)
        self.assertNotIn(image["ImageId"], [i["ImageId"] for i in self.ec2.describe_images(Owners=["self"])["Images"]])

    def test_bad_questions(self):
        find = self.ec2.describe_images
        self.refused("InvalidAMIID.Malformed", find, ImageIds=["ami-x"])
        self.refused("InvalidAMIID.NotFound", find, ImageIds=["ami-12345678"])
        self.refused("InvalidUserID.Malformed", find, Owners=["debian"])
        self.refused("InvalidParameterValue", find, Filters=[{"Name": "nmae", "Values": ["x"]}])

    def test_not_ours(self):
        self.refused("AuthFailure", self.ec2.deregister_image, ImageId=self.source())
        snapshot = self.ec2.describe_images(ImageIds=[self.source()])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        self.refused("UnauthorizedOperation", self.ec2.delete_snapshot, SnapshotId=snapshot)


class Made(Case):
    def test_from_a_stopped_instance(self):
        found = self.running(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 12}}])
        instance = found["InstanceId"]
        self.ec2.stop_instances(InstanceIds=[instance])
        self.until(instance, "stopped")
        name = unique("image")
        reply = self.ec2.create_image(InstanceId=instance, Name=name, Description="d",
                                      TagSpecifications=tags("image", a="i") + tags("snapshot", a="s"))
        image = reply["ImageId"]
        self.addCleanup(self.forget, image)
        self.refused("InvalidAMIName.Duplicate", self.ec2.create_image, InstanceId=instance, Name=name)
        made = self.available(image)
        self.assertEqual(made["Tags"], [{"Key": "a", "Value": "i"}])
        self.assertEqual((made["Name"], made["Description"], made["SourceInstanceId"]), (name, "d", instance))
        self.assertEqual(made["SourceImageId"], found["ImageId"])
        disk = made["BlockDeviceMappings"][0]
        self.assertEqual((disk["DeviceName"], disk["Ebs"]["VolumeSize"]), ("/dev/xvda", 12))
        snapshot = disk["Ebs"]["SnapshotId"]
        shown = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        self.assertEqual((shown["State"], shown["Progress"], shown["VolumeSize"]), ("completed", "100%", 12))
        self.assertEqual(shown["Tags"], [{"Key": "a", "Value": "s"}])
        self.assertEqual(shown["Description"], f"Created by CreateImage({instance}) for {image}")
        self.assertEqual(self.describe(instance)["State"]["Name"], "stopped")
        self.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot])
        self.terminate(instance)

        second = self.running(ImageId=image)
        self.assertEqual(second["ImageId"], image)
        size = self.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [second["InstanceId"]]}])
        self.assertEqual([(v["Size"], v["SnapshotId"]) for v in size["Volumes"]], [(12, snapshot)])
        self.refused("InvalidBlockDeviceMapping", self.launch, ImageId=image,
                     BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}])
        self.terminate(second["InstanceId"])

        self.refused("InvalidSnapshot.InUse", self.ec2.delete_snapshot, SnapshotId=snapshot)
        self.ec2.deregister_image(ImageId=image)
        self.refused("InvalidAMIID.Unavailable", self.ec2.deregister_image, ImageId=image)
        self.refused("InvalidAMIID.Unavailable", self.launch, ImageId=image)
        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[image])
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.refused("InvalidSnapshot.NotFound", self.ec2.delete_snapshot, SnapshotId=snapshot)

    def test_with_further_volumes(self):
        """Each has a snapshot, unless the call leaves it out; a copy copies them all."""
        instance = self.running(BlockDeviceMappings=[
            {"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": size, "VolumeType": "gp3", "DeleteOnTermination": True}}
            for letter, size in (("f", 2), ("g", 3))])["InstanceId"]
        image = self.ec2.create_image(
            InstanceId=instance, Name=unique("image"), TagSpecifications=tags("snapshot", a="s"), BlockDeviceMappings=[
                {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": False}},
                {"DeviceName": "/dev/sdg", "NoDevice": ""},
                {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 5}}])["ImageId"]
        made = self.available(image)
        self.terminate(instance)
        shown = [(one["DeviceName"], one["Ebs"]["VolumeSize"], one["Ebs"]["DeleteOnTermination"], "SnapshotId" in one["Ebs"])
                 for one in made["BlockDeviceMappings"]]
        self.assertEqual(shown, [("/dev/xvda", 8, True, True), ("/dev/sdf", 2, False, True), ("/dev/sdh", 5, False, False)])
        snapshots = [one["Ebs"]["SnapshotId"] for one in made["BlockDeviceMappings"][:2]]
        for one in self.ec2.describe_snapshots(SnapshotIds=snapshots)["Snapshots"]:
            self.assertEqual((one["State"], one["Tags"]), ("completed", [{"Key": "a", "Value": "s"}]))
        found = self.ec2.describe_images(Filters=[{"Name": "block-device-mapping.snapshot-id", "Values": snapshots[1:]}])
        self.assertEqual([one["ImageId"] for one in found["Images"]], [image])

        copy = self.ec2.copy_image(SourceImageId=image, SourceRegion=self.ec2.meta.region_name, Name=unique("copy"),
                                   Encrypted=True)["ImageId"]
        copied = self.available(copy)["BlockDeviceMappings"]
        self.assertEqual([(one["DeviceName"], one["Ebs"]["Encrypted"]) for one in copied],
                         [("/dev/xvda", True), ("/dev/sdf", True), ("/dev/sdh", False)])
        second = self.running(ImageId=image, BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}, {"DeviceName": "/dev/sdh", "NoDevice": ""}])
        volumes = self.ec2.describe_volumes(
            Filters=[{"Name": "attachment.instance-id", "Values": [second["InstanceId"]]}])["Volumes"]
        self.assertEqual(sorted((one["Size"], one["SnapshotId"]) for one in volumes), [(2, snapshots[1]), (8, snapshots[0])])
        self.terminate(second["InstanceId"])
        self.refused("InvalidSnapshot.InUse", self.ec2.delete_snapshot, SnapshotId=snapshots[1])
        gone = self.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
        self.assertEqual([(one["SnapshotId"], one["ReturnCode"]) for one in gone], [(id, "success") for id in snapshots])
        self.ec2.deregister_image(ImageId=copy, DeleteAssociatedSnapshots=True)

    def test_from_a_running_instance(self):
        instance = self.running()["InstanceId"]
        image = self.image(instance)
        self.available(image)
        self.until(instance, "running", unlike=("stopped", "terminated"))
        live = self.image(instance, NoReboot=True)
        self.ec2.get_waiter("image_available").wait(ImageIds=[live], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        self.assertEqual(self.describe(instance)["State"]["Name"], "running")

    def test_deregister_with_snapshots(self):
        instance = self.running()["InstanceId"]
        image = self.image(instance, NoReboot=True)
        snapshot = self.available(image)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        self.refused("DryRunOperation", self.ec2.deregister_image, ImageId=image, DryRun=True)
        reply = self.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
        self.assertEqual(reply["DeleteSnapshotResults"], [{"SnapshotId": snapshot, "ReturnCode": "success"}])
        self.refused("InvalidSnapshot.NotFound", self.ec2.describe_snapshots, SnapshotIds=[snapshot])

    def test_deregistered_while_pending(self):
        instance = self.running()["InstanceId"]
        image = self.ec2.create_image(InstanceId=instance, Name=unique("image"))["ImageId"]
        self.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[image])
        self.until(instance, "running")

    def test_bad_input(self):
        instance = self.running()["InstanceId"]
        create = client(check=False).create_image
        self.refused("InvalidAMIName.Malformed", create, InstanceId=instance, Name="a")
        self.refused("InvalidAMIName.Malformed", create, InstanceId=instance, Name="a:b:c")
        self.refused("InvalidInstanceID.NotFound", create, InstanceId="i-12345678", Name=unique())
        self.refused("InvalidParameterValue", create, InstanceId=instance, Name=unique(), TagSpecifications=tags("volume", a="b"))
        self.refused("Unsupported", create, InstanceId=instance, Name=unique(), SnapshotLocation="local")
        self.refused("DryRunOperation", create, InstanceId=instance, Name=unique(), DryRun=True)
        self.terminate(instance)
        self.refused("IncorrectInstanceState", create, InstanceId=instance, Name=unique())

    def test_attributes(self):
        instance = self.running()["InstanceId"]
        image = self.image(instance, NoReboot=True)
        self.available(image)
        modify = self.ec2.modify_image_attribute
        modify(ImageId=image, Description={"Value": "new"})
        modify(ImageId=image, LaunchPermission={"Add": [{"UserId": "111122223333"}]})
        shared = self.ec2.describe_images(ExecutableUsers=["111122223333"])["Images"]
        self.assertEqual([(i["ImageId"], i["Description"]) for i in shared], [(image, "new")])
        self.refused("InvalidAMIAttributeItemValue", modify, ImageId=image, LaunchPermission={"Add": [{"UserId": "x"}]})

        # Everybody: not before the region allows it.
        everybody = {"Add": [{"Group": "all"}]}
        self.refused("OperationNotPermitted", modify, ImageId=image, LaunchPermission=everybody)
        state = self.ec2.get_image_block_public_access_state()["ImageBlockPublicAccessState"]
        self.assertEqual(state, "block-new-sharing")
        self.ec2.disable_image_block_public_access()
        modify(ImageId=image, LaunchPermission=everybody)
        self.ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
        organization = "arn:aws:organizations::111122223333:organization/o-abcdefghij"
        unit = "arn:aws:organizations::111122223333:ou/o-abcdefghij/ou-ab12-cdefghij"
        modify(ImageId=image, LaunchPermission={
            "Add": [{"OrganizationArn": organization}, {"OrganizationalUnitArn": unit}]})
        who = self.ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
        self.assertEqual(who, [{"Group": "all"}, {"UserId": "111122223333"}, {"OrganizationArn": organization},
                               {"OrganizationalUnitArn": unit}])
        modify(ImageId=image, LaunchPermission={"Remove": [{"Group": "all"}, {"OrganizationArn": organization}]})
        who = self.ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
        self.assertEqual(who, [{"UserId": "111122223333"}, {"OrganizationalUnitArn": unit}])
        self.ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission")
        who = self.ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")["LaunchPermissions"]
        self.assertEqual(who, [])
        said = self.ec2.describe_image_attribute(ImageId=image, Attribute="description")["Description"]
        self.assertEqual(said, {"Value": "new"})

    def completed(self, snapshot, ec2=None):
        def reached():
            found = (ec2 or self.ec2).describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
            self.assertIn(found["State"], ("pending", "completed"), found.get("StateMessage"))
            return found if found["State"] == "completed" else None

        return self.eventually(reached, f"{snapshot} completed")

    def test_snapshots_of_volumes_become_an_image(self):
        instance = self.running(BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": True}}])
        volumes = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in instance["BlockDeviceMappings"]}
        create = self.ec2.create_snapshot
        self.refused("InvalidVolume.NotFound", create, VolumeId="vol-12345678")
        self.refused("DryRunOperation", create, VolumeId=volumes["/dev/xvda"], DryRun=True)
        # Of a machine that runs, and goes on running.
        made = create(VolumeId=volumes["/dev/xvda"], Description="root", TagSpecifications=tags("snapshot", a="s"))
        root, data = made["SnapshotId"], create(VolumeId=volumes["/dev/sdf"])["SnapshotId"]
        self.assertEqual((made["State"], made["VolumeSize"], made["Tags"]), ("pending", 8, [{"Key": "a", "Value": "s"}]))
        shown = self.completed(root)
        self.assertEqual((shown["Description"], shown["VolumeId"], shown["Encrypted"]), ("root", volumes["/dev/xvda"], False))
        self.completed(data)
        self.assertEqual(self.describe(instance["InstanceId"])["State"]["Name"], "running")
        self.terminate(instance["InstanceId"])

        register, name = self.ec2.register_image, unique("registered")
        known = {"Name": name, "Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/xvda"}
        disks = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": root, "VolumeType": "gp3", "VolumeSize": 9}},
                 {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": data, "DeleteOnTermination": True}}]
        self.refused("InvalidBlockDeviceMapping", register, **known)
        self.refused("InvalidBlockDeviceMapping", register, **known, BlockDeviceMappings=disks[1:])
        self.refused("InvalidSnapshot.NotFound", register, **known, BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-12345678"}}])
        self.refused("InvalidAMIName.Malformed", register, **{**known, "Name": "a:b:c"}, BlockDeviceMappings=disks)
        self.refused("InvalidParameterCombination", register, **known, BlockDeviceMappings=disks, TpmSupport="v2.0")
        self.refused("InvalidParameterCombination", register, **known, BlockDeviceMappings=disks, UefiData="AAAA")
        self.refused("DryRunOperation", register, **known, BlockDeviceMappings=disks, DryRun=True)
        image = register(**known, BlockDeviceMappings=disks, Description="d", EnaSupport=True, BootMode="uefi",
                         TpmSupport="v2.0", UefiData="QU1aTlVFRkk=", ImdsSupport="v2.0",
                         TagSpecifications=tags("image", a="i"))["ImageId"]
        self.addCleanup(self.forget, image)
        self.refused("InvalidAMIName.Duplicate", register, **known, BlockDeviceMappings=disks)
        found = self.ec2.describe_images(ImageIds=[image])["Images"][0]
        self.assertEqual([found[key] for key in ("State", "BootMode", "TpmSupport", "ImdsSupport", "EnaSupport", "Tags")],
                         ["available", "uefi", "v2.0", "v2.0", True, [{"Key": "a", "Value": "i"}]])
        self.assertEqual([(one["DeviceName"], one["Ebs"]["VolumeSize"], one["Ebs"]["VolumeType"], one["Ebs"]["DeleteOnTermination"])
                          for one in found["BlockDeviceMappings"]], [("/dev/xvda", 9, "gp3", True), ("/dev/sdf", 2, "gp2", True)])
        data_of = self.ec2.describe_image_attribute(ImageId=image, Attribute="uefiData")["UefiData"]
        self.assertEqual(data_of, {"Value": "QU1aTlVFRkk="})
        second = self.running(ImageId=image)
        self.assertEqual(second["BootMode"], "uefi")
        self.terminate(second["InstanceId"])
        self.refused("InvalidSnapshot.InUse", self.ec2.delete_snapshot, SnapshotId=root)
        # One that cannot use the network of today's types is not launched as one.
        old = register(**{**known, "Name": unique("old")}, BlockDeviceMappings=disks)["ImageId"]
        self.assertNotIn("BootMode", self.ec2.describe_images(ImageIds=[old])["Images"][0])
        self.refused("InvalidParameterCombination", self.launch, ImageId=old)
        self.ec2.deregister_image(ImageId=old)

        copy = self.ec2.copy_image(SourceImageId=image, SourceRegion=self.ec2.meta.region_name, Name=unique("copy"))["ImageId"]
        copied = self.available(copy)
        self.assertEqual([copied[key] for key in ("BootMode", "TpmSupport", "EnaSupport")], ["uefi", "v2.0", True])
        self.ec2.deregister_image(ImageId=copy, DeleteAssociatedSnapshots=True)
        gone = self.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
        self.assertEqual([one["ReturnCode"] for one in gone], ["success", "success"])

    def test_copies_of_snapshots(self):
        instance = self.running()
        volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        snapshot = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        self.completed(snapshot)
        self.terminate(instance["InstanceId"])
        there, here = client("ec2", region="sa-east-1"), self.ec2.meta.region_name
        copy = there.copy_snapshot
        self.refused("InvalidSnapshot.NotFound", copy, SourceRegion=here, SourceSnapshotId="snap-12345678")
        self.refused("InvalidParameterDependency", copy, SourceRegion=here, SourceSnapshotId=snapshot, KmsKeyId="alias/x")
        self.refused("InvalidParameterValue", copy, SourceRegion=here, SourceSnapshotId=snapshot, CompletionDurationMinutes=16)
        made = copy(SourceRegion=here, SourceSnapshotId=snapshot, Encrypted=True, TagSpecifications=tags("snapshot", a="c"))
        self.assertEqual(made["Tags"], [{"Key": "a", "Value": "c"}])
        shown = self.completed(made["SnapshotId"], there)
        self.assertEqual((shown["Description"], shown["Encrypted"]), (f"[Copied {snapshot} from {here}]", True))
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        there.delete_snapshot(SnapshotId=made["SnapshotId"])

    def test_public_snapshots(self):
        snapshot = self.available(self.image(self.running()["InstanceId"], NoReboot=True))["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        modify, everybody = self.ec2.modify_snapshot_attribute, {"Add": [{"Group": "all"}]}
        state = self.ec2.get_snapshot_block_public_access_state
        self.assertEqual(state()["State"], "unblocked")
        for blocked in ("block-new-sharing", "block-all-sharing"):
            self.ec2.enable_snapshot_block_public_access(State=blocked)
            self.assertEqual(state()["State"], blocked)
            self.refused("OperationNotPermitted", modify, SnapshotId=snapshot, CreateVolumePermission=everybody)
        self.refused("InvalidParameterValue", self.ec2.enable_snapshot_block_public_access, State="unblocked")
        self.assertEqual(self.ec2.disable_snapshot_block_public_access()["State"], "unblocked")
        modify(SnapshotId=snapshot, CreateVolumePermission=everybody)
        who = self.ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
        self.assertEqual(who["CreateVolumePermissions"], [{"Group": "all"}])

    def test_machines_of_an_image_want_imdsv2(self):
        image = self.image(self.running()["InstanceId"], NoReboot=True)
        self.assertNotIn("ImdsSupport", self.available(image))
        modify = self.ec2.modify_image_attribute
        self.refused("InvalidParameterValue", modify, ImageId=image, ImdsSupport={"Value": "v1.0"})
        modify(ImageId=image, ImdsSupport={"Value": "v2.0"})
        self.assertEqual(self.available(image)["ImdsSupport"], "v2.0")
        said = self.ec2.describe_image_attribute(ImageId=image, Attribute="imdsSupport")["ImdsSupport"]
        self.assertEqual(said, {"Value": "v2.0"})
        # What the launch says goes before the image.
        for options, tokens, hops in (
            ({}, "required", 2),
            ({"HttpEndpoint": "enabled"}, "required", 2),
            ({"HttpTokens": "optional", "HttpPutResponseHopLimit": 1}, "optional", 1),
        ):
            with self.subTest(options=options):
                more = {"MetadataOptions": options} if options else {}
                found = self.running(ImageId=image, **more)["MetadataOptions"]
                self.assertEqual((found["HttpTokens"], found["HttpPutResponseHopLimit"]), (tokens, hops))

    def test_snapshots_are_shared_apart(self):
        instance = self.running()["InstanceId"]
        image = self.available(self.image(instance, NoReboot=True))
        snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        modify = self.ec2.modify_snapshot_attribute
        modify(SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add", UserIds=["111122223333"])
        modify(SnapshotId=snapshot, CreateVolumePermission={"Add": [{"UserId": "444455556666"}, {"Group": "all"}]})
        who = self.ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
        self.assertEqual(who["CreateVolumePermissions"],
                         [{"Group": "all"}, {"UserId": "111122223333"}, {"UserId": "444455556666"}])
        self.refused("InvalidParameterValue", modify, SnapshotId=snapshot, CreateVolumePermission={"Add": [{"UserId": "x"}]})

    def test_what_is_encrypted_by_the_default_key_is_not_shared(self):
        disk = [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}]
        instance = self.running(BlockDeviceMappings=disk)["InstanceId"]
        image = self.available(self.image(instance, NoReboot=True))
        with_you = {"Add": [{"UserId": "111122223333"}]}
        self.refused("InvalidParameterValue", self.ec2.modify_image_attribute, ImageId=image["ImageId"],
                     LaunchPermission=with_you)
        snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        self.refused("InvalidParameterCombination", self.ec2.modify_snapshot_attribute, SnapshotId=snapshot,
                     CreateVolumePermission=with_you)

    def test_deprecation_and_protection(self):
        instance = self.running()["InstanceId"]
        image = self.image(instance, NoReboot=True)
        self.available(image)
        deprecate = self.ec2.enable_image_deprecation
        deprecate(ImageId=image, DeprecateAt="2031-01-02T03:04:31Z")
        self.assertEqual(self.available(image)["DeprecationTime"], "2031-01-02T03:05:00.000Z")
        for bad in ("2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"):
            self.refused("InvalidParameterValue", deprecate, ImageId=image, DeprecateAt=bad)
        self.ec2.disable_image_deprecation(ImageId=image)
        self.assertNotIn("DeprecationTime", self.available(image))

        enable = self.ec2.enable_image_deregistration_protection
        self.assertEqual(enable(ImageId=image)["Return"], "enabled-without-cooldown")
        self.assertEqual(self.available(image)["DeregistrationProtection"], "enabled-without-cooldown")
        self.refused("OperationNotPermitted", self.ec2.deregister_image, ImageId=image)
        self.ec2.disable_image_deregistration_protection(ImageId=image)
        self.assertEqual(self.available(image)["DeregistrationProtection"], "disabled")

        # With a cooldown it goes on for a day, so another image.
        other = self.ec2.create_image(InstanceId=instance, Name=unique("image"), NoReboot=True)["ImageId"]
        enable(ImageId=other, WithCooldown=True)
        self.ec2.disable_image_deregistration_protection(ImageId=other)
        self.refused("OperationNotPermitted", self.ec2.deregister_image, ImageId=other)

    def test_copies_in_another_region(self):
        instance = self.running()["InstanceId"]
        image = self.image(instance, NoReboot=True, TagSpecifications=tags("image", mine="yes"))
        there = client(region="sa-east-1")
        name = unique("copy")
        wanted = {"Name": name, "SourceImageId": image, "SourceRegion": self.ec2.meta.region_name}
        self.available(image)
        self.refused("DryRunOperation", there.copy_image, DryRun=True, **wanted)
        self.refused("InvalidAMIID.NotFound", there.copy_image, **wanted | {"SourceImageId": "ami-12345678"})
        self.refused("InvalidRegion", there.copy_image, **wanted | {"SourceRegion": "mars-1"})
        self.refused("InvalidParameterValue", there.copy_image, SnapshotCopyCompletionDurationMinutes=20, **wanted)
        self.refused("InvalidParameterDependency", there.copy_image, KmsKeyId="alias/mine", **wanted)
        more = {"ClientToken": unique("token"), "CopyImageTags": True, "Description": "d", "Encrypted": True,
                "TagSpecifications": tags("snapshot", a="s")}
        copy = there.copy_image(**wanted, **more)["ImageId"]
        self.assertEqual(there.copy_image(**wanted, **more)["ImageId"], copy)
        self.refused("IdempotentParameterMismatch", there.copy_image, **wanted, **more | {"Description": "other"})
        self.refused("InvalidAMIName.Duplicate", there.copy_image, **wanted)

        def reached():
            found = there.describe_images(ImageIds=[copy])["Images"][0]
            return found if found["State"] == "available" else None

        made = self.eventually(reached, f"{copy} available")
        self.assertEqual((made["Name"], made["SourceImageId"], made["SourceImageRegion"]), (name, image, self.ec2.meta.region_name))
        self.assertEqual((made["Tags"], made["Description"]), ([{"Key": "mine", "Value": "yes"}], "d"))
        disk = made["BlockDeviceMappings"][0]["Ebs"]
        self.assertTrue(disk["Encrypted"])
        shown = there.describe_snapshots(SnapshotIds=[disk["SnapshotId"]])["Snapshots"][0]
        self.assertEqual((shown["State"], shown["Tags"]), ("completed", [{"Key": "a", "Value": "s"}]))
        self.assertIn(f"from SourceAmi {image}", shown["Description"])
        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[copy])
        # The copy stands by itself.
        self.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
        started = there.run_instances(ImageId=copy, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
        self.eventually(lambda: there.describe_instances(InstanceIds=[started["InstanceId"]])["Reservations"][0][
            "Instances"][0]["State"]["Name"] == "running", "the copy runs")
        there.terminate_instances(InstanceIds=[started["InstanceId"]])
        self.eventually(lambda: there.describe_instances(InstanceIds=[started["InstanceId"]])["Reservations"][0][
            "Instances"][0]["State"]["Name"] == "terminated", "it ends")
        there.deregister_image(ImageId=copy, DeleteAssociatedSnapshots=True)

    def test_pages(self):
        instance = self.running()["InstanceId"]
        mark = unique("page")
        images = {self.image(instance, NoReboot=True, TagSpecifications=tags("image", mark=mark)) for _ in range(3)}
        pages = list(self.ec2.get_paginator("describe_images").paginate(
            Filters=[{"Name": "tag:mark", "Values": [mark]}], PaginationConfig={"PageSize": 2}))
        self.assertEqual([len(page["Images"]) for page in pages], [2, 1])
        self.assertEqual({image["ImageId"] for page in pages for image in page["Images"]}, images)
        snapshots = self.ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 5})
        self.assertGreaterEqual(sum(len(page["Snapshots"]) for page in snapshots), 3)
        for image in images:
            self.available(image)
