"""Run Command on a real machine: run as a program by the container test."""

import sys
import unittest

from support import KEY, Case


class ThroughTheAgent(Case):
    def said(self, instance, *lines):
        told = self.run_command(instance, *lines)
        self.assertEqual(told["Status"], "Success", told)
        return told["StandardOutputContent"].splitlines()

    def lost_and_back(self, instance, before):
        systems = self.systems()

        def ping():
            filters = [{"Key": "InstanceIds", "Values": [instance]}]
            return systems.describe_instance_information(Filters=filters)["InstanceInformationList"][0]

        self.eventually(lambda: ping()["PingStatus"] == "ConnectionLost", "the agent is lost")
        back = self.online(instance)
        self.assertGreater(back["LastPingDateTime"], before["LastPingDateTime"])
        self.assertEqual(back["RegistrationDate"], before["RegistrationDate"])
        return back

    def test_a_machine_without_ssh(self):
        # No key pair: nobody could log in.
        found = self.running(UserData="#!/bin/sh\necho told > /var/lib/user-data-ran\n")
        instance = found["InstanceId"]
        info = self.online(instance)
        self.assertEqual((info["PlatformName"], info["PlatformVersion"]), ("Debian GNU/Linux", "12"))

        # It is root in the guest, among its processes, in its network and on its disk.
        said = self.said(instance, "id -u; cat /proc/1/comm; hostname -I; stat -c %U /root",
                         "ps -e -o comm= | grep -c '^systemd-journal'; cat /etc/debian_version | cut -d. -f1")
        self.assertEqual(said[:2], ["0", "systemd"])
        self.assertIn(found["PrivateIpAddress"], said[2].split())
        self.assertEqual(said[3:6], ["root", "1", "12"])
        self.assertFalse(any(KEY in line for line in self.said(instance, "env; ps -eww; cat /proc/*/environ | tr '\\0' '\\n'")))
        self.eventually(lambda: self.said(instance, "cat /var/lib/user-data-ran || true") == ["told"], "user data ran")
        self.said(instance, "apt-get --version > /dev/null; systemctl restart ssh; touch /var/marker /run/marker")

        told = self.run_command(instance, "seq 1 50000; exit 3")
        self.assertEqual((told["Status"], told["ResponseCode"], len(told["StandardOutputContent"])), ("Failed", 3, 24000))

        command = self.send(instance, "sleep 4748 & setsid sleep 4748 & sleep 4748")
        systems = self.systems()
        status = lambda: systems.get_command_invocation(CommandId=command, InstanceId=instance)["Status"]
        self.eventually(lambda: status() == "InProgress", "it runs")
        self.assertEqual(len(self.said(instance, "pgrep -x sleep")), 3)
        systems.cancel_command(CommandId=command)
        self.assertEqual(self.ended(command, instance)["Status"], "Cancelled")
        self.assertEqual(self.said(instance, "pgrep -x sleep || true"), [])

        # A restart takes a command along, and the agent comes back.
        command = self.send(instance, "sleep 4749")
        self.eventually(lambda: status() == "InProgress", "it runs")
        self.ec2.reboot_instances(InstanceIds=[instance])
        before = self.lost_and_back(instance, info)
        self.assertEqual(self.ended(command, instance)["StatusDetails"], "Failed")
        self.assertEqual(self.said(instance, "ls /var/marker /run/marker 2>&1 | grep -c cannot"), ["1"])
        # From inside too.
        self.send(instance, "systemctl reboot")
        self.lost_and_back(instance, before)
        # Nothing of the agent is on the disk.
        self.assertEqual(self.said(instance, "find / -xdev -iname '*forno*' -o -xdev -name _script.sh"), [])


if __name__ == "__main__":
    sys.exit(not unittest.main(verbosity=2, exit=False).result.wasSuccessful())
