#!/usr/bin/env python3
"""The point of baking them: one machine from the image `controller`, one from
the image `worker`; the worker joins, a build runs on it and succeeds.

Endpoint, region and credentials come from the environment, as for any AWS
client: `forno local serve` prints them for the pocket EC2, and without
AWS_ENDPOINT_URL it is AWS. Images are found by their tag `forno:image`, the
newest of each. Everything made carries the tags `forno:test` and
`forno:expires`, and is gone at the end, also after a failure or a signal.

    controller_and_worker.py
    controller_and_worker.py --ssh-from 203.0.113.7/32 --subnet subnet-0123 --keep-on-failure

Needs boto3 and OpenSSH's client.
"""

import argparse
import base64
import contextlib
import dataclasses
import datetime
import ipaddress
import json
import os
import pathlib
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

import boto3
import botocore.exceptions

WORKER = "worker-1"
PERSON = "nightly"
DEADLINE = datetime.timedelta(minutes=15)


class Failed(Exception):
    """What did not happen, for people."""


def say(text):
    print(f"[{time.monotonic() - START:6.1f}s] {text}", flush=True)


START = time.monotonic()


def wait_until(what, condition, every=1.0, deadline=DEADLINE):
    """The first true value of `condition`, asked again and again."""
    end = time.monotonic() + deadline.total_seconds()
    say(f"waiting: {what}")
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {deadline}: {what}")
        time.sleep(every)


@dataclasses.dataclass
class Machine:
    """A machine that ssh reaches, its host key known before it started."""

    role: str
    id: str
    private_address: str
    ssh: list

    def run(self, command, stdin=None, check=True):
        done = subprocess.run([*self.ssh, command], input=stdin, capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise Failed(f"{self.role}: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if check else done

    def answers(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.run("true", check=False).returncode == 0
        return False


class Stage:
    """What the test makes in the cloud; leaving it takes everything down."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.ec2 = boto3.client("ec2", region_name=options.region)
        self.id = f"forno-test-{secrets.token_hex(4)}"
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
        self.tags = [
            {"Key": "Name", "Value": self.id},
            {"Key": "forno:test", "Value": "controller-and-worker"},
            {"Key": "forno:expires", "Value": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
        ]
        self.instances = []
        self.key = self.group = None

    def tagged(self, *kinds):
        return [{"ResourceType": kind, "Tags": self.tags} for kind in kinds]

    def image(self, name):
        images = self.ec2.describe_images(
            Owners=["self"],
            Filters=[{"Name": "tag:forno:image", "Values": [name]}, {"Name": "state", "Values": ["available"]}],
        )["Images"]
        if not images:
            raise Failed(f"no image {name}: bake it first")
        newest = max(images, key=lambda image: image["CreationDate"])
        say(f"{name} is {newest['ImageId']} ({newest.get('Name')})")
        return newest["ImageId"]

    def make_key(self):
        public, self.identity = make_key(self.folder / "identity")
        self.ec2.import_key_pair(KeyName=self.id, PublicKeyMaterial=public.encode(), TagSpecifications=self.tagged("key-pair"))
        self.key = self.id

    def make_group(self):
        vpc = {}
        if self.options.subnet:
            vpc = {"VpcId": self.ec2.describe_subnets(SubnetIds=[self.options.subnet])["Subnets"][0]["VpcId"]}
        self.group = self.ec2.create_security_group(
            GroupName=self.id, Description="forno: controller and worker",
            TagSpecifications=self.tagged("security-group"), **vpc)["GroupId"]
        # From here by ssh; among themselves nginx and Buildbot's own port.
        among = {"UserIdGroupPairs": [{"GroupId": self.group}]}
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": self.options.ssh_from}]},
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, **among},
            {"IpProtocol": "tcp", "FromPort": 9989, "ToPort": 9989, **among},
        ])

    def launch(self, role, image, files):
        """A machine of the image, with `files` written by its user data."""
        host_public, host_key = make_key(self.folder / f"host-{role}")
        document = {
            "ssh_deletekeys": True,
            "ssh_genkeytypes": [],
            "ssh_keys": {"ed25519_private": host_key.read_text(), "ed25519_public": host_public},
            "write_files": [
                {"path": path, "permissions": "0600", "content": content} for path, content in files.items()
            ],
        }
        # JSON is YAML, and needs no second thought about quoting.
        user_data = "#cloud-config\n" + json.dumps(document, indent=1)
        network = {"SecurityGroupIds": [self.group]}
        if self.options.subnet:
            network["SubnetId"] = self.options.subnet
        instance = self.ec2.run_instances(
            ImageId=image, InstanceType=self.options.instance_type, MinCount=1, MaxCount=1, KeyName=self.key,
            UserData=user_data, ClientToken=f"{self.id}-{role}",
            MetadataOptions={"HttpTokens": "required", "HttpEndpoint": "enabled"},
            InstanceInitiatedShutdownBehavior="terminate",
            TagSpecifications=self.tagged("instance", "volume"), **network)["Instances"][0]["InstanceId"]
        self.instances.append(instance)
        say(f"{role} is {instance}")

        def running():
            try:
                found = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
            except botocore.exceptions.ClientError as error:
                # EC2 may not show for a moment what it has just made.
                if error.response["Error"]["Code"] == "InvalidInstanceID.NotFound":
                    return None
                raise
            state = found["State"]["Name"]
            if state not in ("pending", "running"):
                raise Failed(f"{role} {instance} is {state}: {found.get('StateReason', {}).get('Message')}")
            return found if state == "running" else None

        found = wait_until(f"{role} runs", running)
        address = found.get("PublicIpAddress") or found["PrivateIpAddress"]
        port = next((tag["Value"] for tag in found.get("Tags", []) if tag["Key"] == "forno:ssh-port"), "22")
        known = self.folder / f"known-{role}"
        known.write_text(f"[{address}]:{port} {host_public}\n{address} {host_public}\n")
        machine = Machine(role, instance, found["PrivateIpAddress"], [
            "ssh", "-F", "none", "-i", str(self.identity), "-p", port,
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=/dev/null",
            f"{self.options.user}@{address}",
        ])
        wait_until(f"{role} answers at {address}, port {port}", machine.answers)
        machine.run("cloud-init status --wait >/dev/null")
        return machine

    def take_down(self):
        """Everything, whatever fails on the way; what remains is an error."""
        left = []

        def attempt(what, action):
            try:
                action()
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, Failed) as error:
                left.append(f"{what}: {error}")

        def terminated():
            found = self.ec2.describe_instances(InstanceIds=self.instances)["Reservations"]
            return all(one["State"]["Name"] == "terminated" for each in found for one in each["Instances"])

        if self.instances:
            attempt("instances", lambda: self.ec2.terminate_instances(InstanceIds=self.instances))
            attempt("instances", lambda: wait_until("both are terminated", terminated))
        if self.group:
            attempt(f"security group {self.group}", lambda: self.ec2.delete_security_group(GroupId=self.group))
        if self.key:
            attempt(f"key pair {self.key}", lambda: self.ec2.delete_key_pair(KeyName=self.key))
        if left:
            raise Failed("left behind:\n" + "\n".join(left))
        say("everything is taken down")


def make_key(path):
    """A new ed25519 key pair: its public line, and the file of the private half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip(), path


class Buildbot:
    """The controller's HTTP interface, asked on the controller itself, through nginx."""

    def __init__(self, controller, password):
        self.controller = controller
        self.password = password

    def curl(self, path, *arguments, config=""):
        # What is secret goes by standard input: arguments are seen by others.
        words = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", *arguments,
                 "--config", "-", f"http://127.0.0.1/api/v2/{path}"]
        return self.controller.run(shlex.join(words), stdin=config, check=False)

    def get(self, path):
        done = self.curl(path)
        if done.returncode != 0:
            raise Failed(f"GET {path}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def serves(self):
        return self.curl("masters").returncode == 0

    def online(self, worker):
        for found in self.get("workers")["workers"]:
            if found["name"] == worker and found["connected_to"]:
                return found
        return None

    def force(self, builder):
        """The id of a new build request."""
        builders = self.get(f"builders?name={urllib.parse.quote(builder)}")["builders"]
        if len(builders) != 1:
            raise Failed(f"{len(builders)} builders are named {builder}")
        request = {"id": 1, "jsonrpc": "2.0", "method": "force", "params": {"builderid": str(builders[0]["builderid"])}}
        arguments = ("--header", "Content-Type: application/json", "--data", json.dumps(request))
        if self.curl("forceschedulers/force", *arguments).returncode == 0:
            raise Failed("a build was started without a password")
        done = self.curl("forceschedulers/force", *arguments, config=f'user = "{PERSON}:{self.password}"\n')
        if done.returncode != 0:
            raise Failed(f"no build could be started: {done.stderr.strip()}")
        (request_id,) = json.loads(done.stdout)["result"][1].values()
        return request_id

    def finished(self, request_id):
        builds = self.get(f"buildrequests/{request_id}/builds")["builds"]
        return next((build for build in builds if build["complete"]), None)

    def tell(self, build):
        """Each step with its result, and the end of what it said."""
        for step in self.get(f"builds/{build['buildid']}/steps")["steps"]:
            result = "success" if step["results"] == 0 else f"result {step['results']}"
            say(f"  {step['name']}: {result}")
            if step["results"] == 0:
                continue
            for log in self.get(f"steps/{step['stepid']}/logs")["logs"]:
                chunks = self.get(f"logs/{log['logid']}/contents")
                print(chunks.get("content", "")[-4000:], flush=True)


def controller_settings(worker_password, person_password):
    return "\n".join([
        'title = "controller and worker"',
        "[workers]", f'{WORKER} = "{worker_password}"',
        "[users]", f'{PERSON} = "{person_password}"', "",
    ])


def worker_settings(controller, password):
    return f"CONTROLLER={controller.private_address}\nWORKER_NAME={WORKER}\nWORKER_PASSWORD={password}\n"


def examine(stage, machines):
    """For a failure: what the machines say of themselves."""
    units = {"controller": "controller-setup buildbot@ci nginx", "worker": "worker-join buildbot-worker@ci"}
    for machine in machines:
        journal = " ".join(f"--unit {unit}" for unit in units[machine.role].split())
        done = machine.run(f"sudo -n journalctl --boot --no-pager --lines 40 {journal}; systemctl --failed --no-legend", check=False)
        print(f"--- journal of {machine.role} {machine.id}\n{done.stdout}{done.stderr}", flush=True)
    for instance in stage.instances:
        if instance not in [machine.id for machine in machines]:
            with contextlib.suppress(botocore.exceptions.ClientError):
                output = stage.ec2.get_console_output(InstanceId=instance).get("Output", "")
                # botocore decodes it; an older one does not.
                with contextlib.suppress(ValueError):
                    output = base64.b64decode(output, validate=True).decode(errors="replace")
                print(f"--- console of {instance}\n{output[-4000:]}", flush=True)


def play(stage, machines):
    images = {name: stage.image(name) for name in ("controller", "worker")}
    passwords = {name: secrets.token_urlsafe(24) for name in ("worker", "person")}
    stage.make_key()
    stage.make_group()

    controller = stage.launch("controller", images["controller"], {
        "/etc/buildbot-master/controller.toml": controller_settings(passwords["worker"], passwords["person"]),
    })
    machines.append(controller)
    buildbot = Buildbot(controller, passwords["person"])
    wait_until("Buildbot serves", buildbot.serves)
    if buildbot.online(WORKER):
        raise Failed("a worker is online before any was started")

    worker = stage.launch("worker", images["worker"], {
        "/etc/buildbot-worker/join.env": worker_settings(controller, passwords["worker"]),
    })
    machines.append(worker)
    joined = wait_until(f"{WORKER} joins", lambda: buildbot.online(WORKER))
    say(f"{WORKER} is online, version {joined['workerinfo'].get('version')}")

    request = buildbot.force("hello")
    build = wait_until(f"build request {request} is done", lambda: buildbot.finished(request))
    buildbot.tell(build)
    if build["results"] != 0 or build["workerid"] != joined["workerid"]:
        raise Failed(f"the build ended with: {build['state_string']} (result {build['results']}, worker {build['workerid']})")
    # Seen from the worker's side too: it holds what the build made.
    made = worker.run("sudo -n find /var/lib/buildbot/workers/ci -name Hello.class")
    if not made.strip():
        raise Failed("the worker holds nothing that the build made")
    say(f"build {build['number']} of hello on {WORKER}: {build['state_string']}")


def own_endpoint():
    """Whether the endpoint is on this machine, so that we come from loopback."""
    host = urllib.parse.urlsplit(os.environ.get("AWS_ENDPOINT_URL_EC2") or os.environ.get("AWS_ENDPOINT_URL", "")).hostname
    with contextlib.suppress(ValueError):
        return host is not None and ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    # botocore reads AWS_DEFAULT_REGION alone, other clients AWS_REGION.
    parser.add_argument("--region", default=os.environ.get("AWS_REGION"), help="default: the environment's")
    parser.add_argument("--instance-type", default="t3.medium")
    parser.add_argument("--subnet", help="default: one of the default VPC")
    parser.add_argument("--user", default="admin", help="the images' login user (default: %(default)s)")
    parser.add_argument("--ssh-from", metavar="CIDR", help="who may connect by ssh; needed on AWS: this machine's public address")
    parser.add_argument("--keep-on-failure", action="store_true", help="leave the machines for a look")
    options = parser.parse_args()
    if not options.ssh_from:
        if not own_endpoint():
            parser.error("--ssh-from is needed when the endpoint is not on this machine")
        options.ssh_from = "127.0.0.0/8"
    return options


def main():
    options = parse_options()
    # So that a signal, too, takes everything down.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    with tempfile.TemporaryDirectory(prefix="forno-test-") as folder:
        stage = Stage(options, pathlib.Path(folder))
        machines = []
        keep = False
        try:
            play(stage, machines)
        except Exception as error:
            say(f"failed: {error}")
            keep = options.keep_on_failure
            with contextlib.suppress(Exception):
                examine(stage, machines)
            raise
        finally:
            if keep:
                say(f"kept: {', '.join(stage.instances)}, security group {stage.group}, key pair {stage.key}")
            else:
                stage.take_down()


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
