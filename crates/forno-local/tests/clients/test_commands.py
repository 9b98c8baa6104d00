"""Run Command: scripts through the agents of machines."""

import datetime
import unittest

from botocore.exceptions import ClientError

from support import Case, client, tags, unique

DOCUMENT = "AWS-RunShellScript"
SETTING = "/ssm/managed-instance/default-ec2-instance-management-role"


class Commands(Case):
    def setUp(self):
        super().setUp()
        self.ssm = self.systems()

    def managed(self, **more):
        instance = self.running(**more)["InstanceId"]
        self.online(instance)
        return instance

    def test_agents_register(self):
        instance = self.running(TagSpecifications=tags("instance", Role=unique()))
        told = self.online(instance["InstanceId"])
        self.assertEqual(told["ResourceType"], "EC2Instance")
        self.assertEqual(told["PlatformType"], "Linux")
        self.assertEqual(told["IPAddress"], instance["PrivateIpAddress"])
        self.assertTrue(told["PlatformName"] and told["ComputerName"])
        self.assertEqual(told["AgentVersion"], "3.3.3572.0")
        role = next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == "Role")

        def listed(**request):
            pages = self.ssm.get_paginator("describe_instance_information").paginate(**request)
            return {node["InstanceId"] for page in pages for node in page["InstanceInformationList"]}

        mine = {instance["InstanceId"]}
        self.assertEqual(listed(Filters=[{"Key": "tag:Role", "Values": [role]}]), mine)
        online = [{"key": "PingStatus", "valueSet": ["Online"]}, {"key": "InstanceIds", "valueSet": list(mine)}]
        self.assertEqual(listed(InstanceInformationFilterList=online), mine)
        self.assertGreaterEqual(listed(PaginationConfig={"PageSize": 5}), mine)
        self.assertEqual(listed(Filters=[{"Key": "PingStatus", "Values": ["ConnectionLost"]},
                                         {"Key": "tag:Role", "Values": [role]}]), set())
        describe = self.ssm.describe_instance_information
        self.refused("InvalidFilterKey", describe, Filters=[{"Key": "Colour", "Values": ["red"]}])
        self.refused("InvalidInstanceInformationFilterValue", describe,
                     Filters=[{"Key": "InstanceIds", "Values": ["i-x"]}])
        self.refused("InvalidNextToken", describe, NextToken="x")
        loose = client("ssm", check=False)
        self.refused("ValidationException", loose.describe_instance_information, MaxResults=4)

        self.ec2.stop_instances(InstanceIds=list(mine))
        self.until(instance["InstanceId"], "stopped")
        lost = describe(Filters=[{"Key": "InstanceIds", "Values": list(mine)}])["InstanceInformationList"]
        self.assertEqual([node["PingStatus"] for node in lost], ["ConnectionLost"])
        self.refused("InvalidInstanceId", self.send, instance["InstanceId"], "true")
        self.ec2.start_instances(InstanceIds=list(mine))
        again = self.online(instance["InstanceId"])
        self.assertEqual(again["RegistrationDate"], told["RegistrationDate"])
        self.assertGreater(again["LastPingDateTime"], told["LastPingDateTime"])

    def test_a_command_runs(self):
        instance = self.managed()
        before = datetime.datetime.now(datetime.timezone.utc)
        sent = self.ssm.send_command(
            InstanceIds=[instance], DocumentName=DOCUMENT, Comment="a test", TimeoutSeconds=60,
            Parameters={"commands": ["echo out", "echo err >&2; echo $AWS_SSM_INSTANCE_ID; pwd"],
                        "workingDirectory": ["/"], "executionTimeout": ["120"]},
        )["Command"]
        self.assertEqual((sent["Status"], sent["StatusDetails"]), ("Pending", "Pending"))
        self.assertEqual((sent["TargetCount"], sent["CompletedCount"], sent["TimeoutSeconds"]), (1, 0, 60))
        patience = sent["ExpiresAfter"] - sent["RequestedDateTime"]
        self.assertEqual(patience, datetime.timedelta(seconds=180))
        told = self.ended(sent["CommandId"], instance)
        self.assertEqual((told["Status"], told["StatusDetails"], told["ResponseCode"]), ("Success", "Success", 0))
        self.assertEqual(told["StandardOutputContent"], f"out\n{instance}\n/\n")
        self.assertEqual(told["StandardErrorContent"], "err\n")
        self.assertEqual((told["Comment"], told["PluginName"]), ("a test", "aws:runShellScript"))
        started = datetime.datetime.fromisoformat(told["ExecutionStartDateTime"].replace("Z", "+00:00"))
        ended = datetime.datetime.fromisoformat(told["ExecutionEndDateTime"].replace("Z", "+00:00"))
        self.assertLessEqual(before - datetime.timedelta(seconds=1), started)
        self.assertLessEqual(started, ended)
        self.assertRegex(told["ExecutionElapsedTime"], r"^PT[\d.HMS]+$")
        self.ssm.get_waiter("command_executed").wait(CommandId=sent["CommandId"], InstanceId=instance)

        listed = self.ssm.list_command_invocations(CommandId=sent["CommandId"], Details=True)["CommandInvocations"]
        (plugin,) = listed[0]["CommandPlugins"]
        self.assertEqual((plugin["Status"], plugin["ResponseCode"]), ("Success", 0))
        self.assertEqual(plugin["Output"], f"out\n{instance}\n/\n\n----------ERROR-------\nerr\n")
        (command,) = self.ssm.list_commands(CommandId=sent["CommandId"])["Commands"]
        self.assertEqual((command["Status"], command["CompletedCount"], command["ErrorCount"]), ("Success", 1, 0))
        self.assertEqual(command["Parameters"]["workingDirectory"], ["/"])

    def test_failures(self):
        instance = self.managed()
        failed = self.run_command(instance, "#!/usr/bin/env python3", "import sys", "sys.exit('no luck')")
        self.assertEqual((failed["Status"], failed["StatusDetails"], failed["ResponseCode"]), ("Failed", "Failed", 1))
        self.assertEqual(failed["StandardErrorContent"], "no luck\nfailed to run commands: exit status 1")
        nowhere = self.run_command(instance, "true", Parameters={"workingDirectory": ["/no/such/place"]})
        self.assertEqual(nowhere["Status"], "Failed")
        late = self.run_command(instance, "echo begun; sleep 4744", Parameters={"executionTimeout": ["5"]})
        self.assertEqual((late["Status"], late["StatusDetails"], late["ResponseCode"]),
                         ("TimedOut", "ExecutionTimedOut", 137))
        self.assertEqual(late["StandardOutputContent"], "begun\n")

    def test_output_is_cut_without_a_word(self):
        instance = self.managed()
        told = self.run_command(instance, "seq 1 20000; yes error | head -c 20000 >&2")
        self.assertEqual(told["Status"], "Success")
        whole = "".join(f"{n}\n" for n in range(1, 20001))
        self.assertEqual(told["StandardOutputContent"], whole[:24000])
        self.assertEqual(told["StandardErrorContent"], ("error\n" * 4000)[:8000])
        listed = self.ssm.list_command_invocations(CommandId=told["CommandId"], Details=True)
        output = listed["CommandInvocations"][0]["CommandPlugins"][0]["Output"]
        self.assertEqual(len(output), 2500)
        self.assertTrue(output.endswith("---Output truncated---"))

    def test_a_command_is_cancelled(self):
        instance = self.managed()
        command = self.send(instance, "sleep 4745 & sleep 4745")
        invocation = lambda: self.ssm.get_command_invocation(CommandId=command, InstanceId=instance)
        running = self.eventually(lambda: (i := invocation())["Status"] == "InProgress" and i, "it runs")
        self.assertEqual((running["ResponseCode"], running["ExecutionEndDateTime"]), (-1, ""))
        self.assertTrue(running["ExecutionStartDateTime"])
        self.refused("InvalidInstanceId", self.ssm.cancel_command, CommandId=command, InstanceIds=["i-00000000000000000"])
        self.refused("InvalidCommandId", self.ssm.cancel_command, CommandId="x" * 36)
        self.ssm.cancel_command(CommandId=command)
        told = self.ended(command, instance)
        self.assertEqual((told["Status"], told["StatusDetails"]), ("Cancelled", "Cancelled"))
        left = self.run_command(instance, "pgrep -f '^sleep 4745$' || echo none")
        self.assertEqual(left["StandardOutputContent"], "none\n")
        # What has ended stays as it is.
        self.ssm.cancel_command(CommandId=command, InstanceIds=[instance])
        self.assertEqual(invocation()["Status"], "Cancelled")

    def test_a_restart_in_the_midst(self):
        instance = self.managed()
        command = self.send(instance, "echo begun; sleep 4746")
        invocation = lambda: self.ssm.get_command_invocation(CommandId=command, InstanceId=instance)
        self.eventually(lambda: invocation()["Status"] == "InProgress", "it runs")
        self.ec2.reboot_instances(InstanceIds=[instance])
        told = self.ended(command, instance)
        self.assertEqual((told["Status"], told["StatusDetails"]), ("Failed", "Failed"))
        self.assertIn("document process failed unexpectedly", told["StandardErrorContent"])
        self.online(instance)
        self.assertEqual(self.run_command(instance, "echo back")["StandardOutputContent"], "back\n")

    def test_targets(self):
        role = unique()
        mine = {self.managed(TagSpecifications=tags("instance", Role=role, Name="one")) for _ in range(2)}
        by_tag = [{"Key": "tag:Role", "Values": [role, "other"]}]
        sent = self.ssm.send_command(Targets=by_tag, DocumentName=DOCUMENT, Parameters={"commands": ["true"]},
                                     MaxConcurrency="1", MaxErrors="100%")["Command"]
        self.assertEqual((sent["TargetCount"], sent["InstanceIds"], sent["Targets"]), (2, [], by_tag))
        for instance in mine:
            self.assertEqual(self.ended(sent["CommandId"], instance)["Status"], "Success")
        pages = self.ssm.get_paginator("list_command_invocations").paginate(
            CommandId=sent["CommandId"], PaginationConfig={"PageSize": 1})
        pages = [page["CommandInvocations"] for page in pages]
        self.assertEqual([len(page) for page in pages], [1, 1])
        self.assertEqual({page[0]["InstanceId"] for page in pages}, mine)
        self.assertEqual({page[0]["InstanceName"] for page in pages}, {"one"})
        one = mine.pop()
        sent = self.ssm.send_command(Targets=[{"Key": "InstanceIds", "Values": [one]}], DocumentName=DOCUMENT,
                                     Parameters={"commands": ["true"]})["Command"]
        self.assertEqual(self.ended(sent["CommandId"], one)["Status"], "Success")
        none = self.ssm.send_command(Targets=[{"Key": "tag:Role", "Values": [unique()]}], DocumentName=DOCUMENT,
                                     Parameters={"commands": ["true"]})["Command"]
        self.assertEqual((none["Status"], none["StatusDetails"]), ("Success", "NoInstancesInTag"))

    def test_lists(self):
        instance = self.managed()
        commands = [self.send(instance, f"exit {n % 2}") for n in range(3)]
        for command in commands:
            self.ended(command, instance)
        pages = self.ssm.get_paginator("list_commands").paginate(InstanceId=instance, PaginationConfig={"PageSize": 2})
        listed = [command["CommandId"] for page in pages for command in page["Commands"]]
        self.assertEqual(listed, commands[::-1], "the newest first")

        def ids(*filters):
            wanted = [{"key": key, "value": value} for key, value in filters]
            found = self.ssm.list_command_invocations(InstanceId=instance, Filters=wanted)
            return [one["CommandId"] for one in found["CommandInvocations"]]

        self.assertEqual(ids(("Status", "Failed")), [commands[1]])
        self.assertEqual(ids(("DocumentName", DOCUMENT), ("Status", "Success")), [commands[2], commands[0]])
        self.assertEqual(ids(("DocumentName", "AWS-Other")), [])
        self.assertEqual(ids(("InvokedAfter", "2020-01-01T00:00:00Z")), commands[::-1])
        self.assertEqual(ids(("InvokedBefore", "2020-01-01T00:00:00Z")), [])
        loose = client("ssm", check=False)
        self.refused("ValidationException", loose.list_commands, Filters=[{"key": "Colour", "value": "x"}])
        self.refused("InvalidCommandId", self.ssm.list_commands, CommandId="x" * 36)
        self.refused("InvalidNextToken", self.ssm.list_commands, NextToken="x")
        get = self.ssm.get_command_invocation
        self.refused("InvocationDoesNotExist", get, CommandId=commands[0], InstanceId="i-00000000000000000")
        self.refused("InvocationDoesNotExist", get, CommandId="0" * 36, InstanceId=instance)
        self.refused("InvalidPluginName", get, CommandId=commands[0], InstanceId=instance, PluginName="aws:other")
        elsewhere = client("ssm", region="eu-west-1").list_commands()
        self.assertEqual(elsewhere["Commands"], [])

    def test_refusals(self):
        instance = self.managed()

        def refused(code, **more):
            request = {"InstanceIds": [instance], "DocumentName": DOCUMENT, "Parameters": {"commands": ["true"]}} | more
            return self.refused(code, client("ssm", check=False).send_command, **request)

        refused("InvalidDocument", DocumentName="AWS-RunPowerShellScript")
        refused("InvalidDocumentVersion", DocumentVersion="7")
        refused("InvalidInstanceId", InstanceIds=["i-00000000000000000"])
        refused("DuplicateInstanceId", InstanceIds=[instance, instance])
        refused("InvalidParameters", Parameters={})
        refused("InvalidParameters", Parameters={"commands": ["true"], "command": ["true"]})
        refused("MaxDocumentSizeExceeded", Parameters={"commands": ["x" * 65000]})
        refused("ValidationException", TimeoutSeconds=29)
        refused("ValidationException", Comment="x" * 101)
        refused("ValidationException", MaxConcurrency="0")
        refused("ValidationException", InstanceIds=["i-x"])
        refused("ValidationException", InstanceIds=[])
        refused("ValidationException", Targets=[{"Key": "InstanceIds", "Values": [instance]}])
        refused("ValidationException", OutputS3BucketName="bucket")
        arn = f"arn:aws:ssm:{self.ec2.meta.region_name}::document/{DOCUMENT}"
        sent = self.ssm.send_command(InstanceIds=[instance], DocumentName=arn, DocumentVersion="$LATEST",
                                     Parameters={"commands": ["true"]})["Command"]
        self.assertEqual((sent["DocumentName"], sent["DocumentVersion"]), (DOCUMENT, "$LATEST"))
        self.assertEqual(self.ended(sent["CommandId"], instance)["Status"], "Success")

    def test_instances_are_managed_by_default(self):
        # In a region of its own: other tests want their agents.
        elsewhere = "sa-east-1"
        ssm = self.systems(region=elsewhere)
        setting = ssm.get_service_setting(SettingId=SETTING)["ServiceSetting"]
        self.assertEqual(setting["Status"], "Default")
        self.assertIn("AWSSystemsManagerDefaultEC2InstanceManagementRole", setting["SettingValue"])
        ssm.update_service_setting(SettingId=setting["ARN"], SettingValue="$None")
        changed = ssm.get_service_setting(SettingId=SETTING)["ServiceSetting"]
        self.assertEqual((changed["SettingValue"], changed["Status"]), ("$None", "Customized"))
        self.assertEqual(ssm.reset_service_setting(SettingId=SETTING)["ServiceSetting"], setting)
        self.refused("ServiceSettingNotFound", ssm.get_service_setting, SettingId="/ssm/other")


if __name__ == "__main__":
    unittest.main()
