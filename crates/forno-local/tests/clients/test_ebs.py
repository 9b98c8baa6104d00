"""Snapshots block by block: the EBS direct APIs."""

import base64
import hashlib
import urllib.error
import urllib.request

import shapes
from botocore.exceptions import ClientError
from support import KEY, REGION, SECRET, URL, Case, client, unique

BLOCK = 512 * 1024


def digest(data):
    return hashlib.sha256(data).digest()


def text(raw):
    return base64.b64encode(raw).decode()


class Blocks(Case):
    def setUp(self):
        super().setUp()
        self.ebs = self.direct()

    def direct(self, **more):
        """A client whose every document is held against the shapes."""
        ebs = client("ebs", **more)

        def before(model, **kwargs):
            walk.operation = model

        def walk(response_dict, **kwargs):
            if response_dict is None or response_dict["status_code"] >= 300:
                return
            shape = walk.operation.output_shape
            if "payload" not in shape.serialization:
                Case.walked += 1
                self.faults.extend(shapes.walk_json(walk.operation, response_dict["body"]))

        ebs.meta.events.register("before-call.ebs", before)
        ebs.meta.events.register("response-received.ebs", walk)
        return ebs

    def put(self, snapshot, index, data, **more):
        request = {"DataLength": len(data), "Checksum": text(digest(data)), "ChecksumAlgorithm": "SHA256"} | more
        return self.ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=data, **request)

    def start(self, **more):
        made = self.ebs.start_snapshot(**({"VolumeSize": 1} | more))
        self.addCleanup(self.remove, made["SnapshotId"])
        return made

    def remove(self, snapshot):
        try:
            self.ec2.delete_snapshot(SnapshotId=snapshot)
        except ClientError as error:
            self.assertEqual(error.response["Error"]["Code"], "InvalidSnapshot.NotFound")

    def complete(self, snapshot, blocks):
        """Seals what was put: blocks by index."""
        whole = digest(b"".join(digest(blocks[index]) for index in sorted(blocks)))
        said = self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks), Checksum=text(whole),
                                          ChecksumAlgorithm="SHA256", ChecksumAggregationMethod="LINEAR")
        self.assertIn(said["Status"], ("pending", "completed"))
        self.completed(snapshot)

    def completed(self, snapshot):
        def reached():
            found = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
            self.assertIn(found["State"], ("pending", "completed"), found.get("StateMessage"))
            return found if found["State"] == "completed" else None

        return self.eventually(reached, f"{snapshot} completed")

    def made(self, blocks, **more):
        snapshot = self.start(**more)["SnapshotId"]
        for index, data in blocks.items():
            self.put(snapshot, index, data)
        self.complete(snapshot, blocks)
        return snapshot

    def content(self, snapshot):
        """All blocks that are there, by index."""
        found, more = {}, {}
        while True:
            page = self.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, **more)
            self.assertEqual(page["BlockSize"], BLOCK)
            for block in page["Blocks"]:
                got = self.ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=block["BlockIndex"],
                                                  BlockToken=block["BlockToken"])
                data = got["BlockData"].read()
                self.assertEqual((got["DataLength"], got["Checksum"], got["ChecksumAlgorithm"]),
                                 (BLOCK, text(digest(data)), "SHA256"))
                found[block["BlockIndex"]] = data
            if "NextToken" not in page:
                return found
            more = {"NextToken": page["NextToken"]}

    def test_what_was_put_is_what_is_got(self):
        blocks = {0: b"a" * BLOCK, 7: b"b" + bytes(BLOCK - 1), 2047: b"c" * BLOCK}
        started = self.start(Description="mine", Tags=[{"Key": "a", "Value": "b"}], Encrypted=True)
        snapshot = started["SnapshotId"]
        self.assertEqual((started["Status"], started["VolumeSize"], started["BlockSize"]), ("pending", 1, BLOCK))
        self.assertEqual(started["Tags"], [{"Key": "a", "Value": "b"}])
        shown = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        self.assertEqual((shown["State"], shown["Description"], shown["Tags"], shown["Encrypted"]),
                         ("pending", "mine", [{"Key": "a", "Value": "b"}], True))
        for index, data in blocks.items():
            self.assertEqual(self.put(snapshot, index, data)["Checksum"], text(digest(data)))
        # One that is put again counts once.
        self.put(snapshot, 7, blocks[7])
        self.refused("ValidationException", self.ebs.list_snapshot_blocks, SnapshotId=snapshot)
        count = self.ebs.complete_snapshot
        self.refused("ValidationException", count, SnapshotId=snapshot, ChangedBlocksCount=4)
        self.refused("ValidationException", count, SnapshotId=snapshot, ChangedBlocksCount=3,
                     Checksum=text(digest(b"x")), ChecksumAlgorithm="SHA256")
        self.complete(snapshot, blocks)
        self.assertEqual(self.content(snapshot), blocks)
        self.refused("ValidationException", self.put, snapshot, 1, b"d" * BLOCK)
        self.refused("ValidationException", count, SnapshotId=snapshot, ChangedBlocksCount=3)

    def test_what_is_no_block(self):
        snapshot, data = self.start()["SnapshotId"], b"a" * BLOCK
        for wrong in ({"Checksum": text(digest(b"b"))}, {"DataLength": 5}):
            error = self.refused("ValidationException", self.put, snapshot, 0, data, **wrong)
            self.assertEqual(error["Reason"], "INVALID_BLOCK")
        self.refused("ValidationException", self.put, snapshot, 2048, data)
        self.refused("ValidationException", self.put, snapshot, 0, b"short")
        self.refused("ResourceNotFoundException", self.put, "snap-12345678", 0, data)
        start = self.ebs.start_snapshot
        self.refused("ValidationException", start, VolumeSize=70_000)
        self.refused("ValidationException", start, VolumeSize=1, Tags=[{"Key": "aws:a", "Value": "b"}])
        self.refused("ResourceNotFoundException", start, VolumeSize=1, ParentSnapshotId="snap-12345678")
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        error = self.refused("ResourceNotFoundException", self.put, snapshot, 0, data)
        self.assertEqual(error["Reason"], "SNAPSHOT_NOT_FOUND")

    def test_client_tokens(self):
        token = unique()
        one = self.start(ClientToken=token, Description="x")
        again = self.ebs.start_snapshot(VolumeSize=1, ClientToken=token, Description="x")
        self.assertEqual(again["SnapshotId"], one["SnapshotId"])
        self.refused("ConflictException", self.ebs.start_snapshot, VolumeSize=2, ClientToken=token, Description="x")

    def test_tokens_of_blocks_and_pages(self):
        blocks = {index: bytes([index % 250 + 1]) * BLOCK for index in range(0, 240, 2)}
        snapshot = self.made(blocks)
        first = self.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)
        self.assertEqual([one["BlockIndex"] for one in first["Blocks"]], list(range(0, 200, 2)))
        rest = self.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, NextToken=first["NextToken"])
        self.assertEqual([one["BlockIndex"] for one in rest["Blocks"]], list(range(200, 240, 2)))
        self.assertNotIn("NextToken", rest)
        late = self.ebs.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=237)["Blocks"]
        self.assertEqual([one["BlockIndex"] for one in late], [238])
        token = first["Blocks"][0]["BlockToken"]
        get = self.ebs.get_snapshot_block
        self.assertEqual(get(SnapshotId=snapshot, BlockIndex=0, BlockToken=token)["BlockData"].read(), blocks[0])
        error = self.refused("ValidationException", get, SnapshotId=snapshot, BlockIndex=2, BlockToken=token)
        self.assertEqual(error["Reason"], "INVALID_BLOCK_TOKEN")
        error = self.refused("ValidationException", self.ebs.list_snapshot_blocks, SnapshotId=snapshot, NextToken="abcd")
        self.assertEqual(error["Reason"], "INVALID_PAGE_TOKEN")

    def test_what_has_changed(self):
        first = self.made({0: b"a" * BLOCK, 1: b"b" * BLOCK, 2: b"c" * BLOCK}, Description="parent")
        second = self.made({1: b"B" * BLOCK, 9: b"d" * BLOCK}, ParentSnapshotId=first, VolumeSize=2)
        self.assertEqual(self.content(second), {0: b"a" * BLOCK, 1: b"B" * BLOCK, 2: b"c" * BLOCK, 9: b"d" * BLOCK})
        changes = self.ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
        self.assertEqual(changes["VolumeSize"], 2)
        seen = {one["BlockIndex"]: ("FirstBlockToken" in one, "SecondBlockToken" in one) for one in changes["ChangedBlocks"]}
        self.assertEqual(seen, {1: (True, True), 9: (False, True)})
        data = self.ebs.get_snapshot_block(SnapshotId=first, BlockIndex=1,
                                           BlockToken=changes["ChangedBlocks"][0]["FirstBlockToken"])["BlockData"].read()
        self.assertEqual(data, b"b" * BLOCK)
        other = self.made({0: b"z" * BLOCK})
        error = self.refused("ValidationException", self.ebs.list_changed_blocks, FirstSnapshotId=first, SecondSnapshotId=other)
        self.assertEqual(error["Reason"], "UNRELATED_SNAPSHOTS")
        all_of_it = self.ebs.list_changed_blocks(SecondSnapshotId=other)["ChangedBlocks"]
        self.assertEqual([one["BlockIndex"] for one in all_of_it], [0])

    def test_an_image_of_a_snapshot_that_was_put_together(self):
        instance = self.running()
        machine, volume = instance["InstanceId"], instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        self.online(machine)
        self.assertEqual(self.run_command(machine, "echo baked > \"$HOME/marker\"")["Status"], "Success")
        self.ec2.stop_instances(InstanceIds=[machine])
        self.until(machine, "stopped")
        taken = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        self.addCleanup(self.remove, taken)
        self.completed(taken)
        blocks = self.content(taken)
        self.assertTrue(blocks)
        snapshot = self.made(blocks, VolumeSize=8)
        self.assertEqual(self.content(snapshot), blocks)
        image = self.ec2.register_image(
            Name=unique("blocks"), Architecture="x86_64", VirtualizationType="hvm", EnaSupport=True, RootDeviceName="/dev/xvda",
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}])["ImageId"]
        self.addCleanup(self.forget, image)
        second = self.running(ImageId=image)["InstanceId"]
        self.online(second)
        self.assertEqual(self.run_command(second, "cat \"$HOME/marker\"")["StandardOutputContent"], "baked\n")

    def test_who_may(self):
        source = self.ec2.describe_images(ImageIds=[self.source()])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        error = self.refused("AccessDeniedException", self.ebs.list_snapshot_blocks, SnapshotId=source)
        self.assertEqual(error["Reason"], "UNAUTHORIZED_ACCOUNT")
        self.refused("InvalidSignatureException", client("ebs", secret="x" * 40).start_snapshot, VolumeSize=1)
        self.refused("UnrecognizedClientException", client("ebs", key="AKIAOTHER").start_snapshot, VolumeSize=1)
        # A block whose hash is not signed, as clients send it that trust their connection.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        class Trusting(SigV4Auth):
            def payload(self, request):
                return "UNSIGNED-PAYLOAD"

        snapshot, data = self.start()["SnapshotId"], b"u" * BLOCK
        headers = {"x-amz-Data-Length": str(BLOCK), "x-amz-Checksum": text(digest(data)), "x-amz-Checksum-Algorithm": "SHA256"}
        for method, path, code in (("PUT", f"/snapshots/{snapshot}/blocks/3", 201), ("POST", "/snapshots", 403)):
            request = AWSRequest(method, URL + path, headers=headers, data=data)
            Trusting(Credentials(KEY, SECRET), "ebs", REGION).add_auth(request)
            sent = urllib.request.Request(request.url, data=data, headers=dict(request.headers), method=method)
            try:
                with urllib.request.urlopen(sent) as answer:
                    self.assertEqual(answer.status, code)
            except urllib.error.HTTPError as error:
                self.assertEqual(error.code, code)
        self.complete(snapshot, {3: data})
