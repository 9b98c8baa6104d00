"""A machine behind each of moto's running instances: a root file system in a folder, and an sshd in it.

It is one as long as moto says `running`. Of its user data it takes what cloud-init would: the SSH host
keys. It leaves `bootcmd` alone, having no init whose timers could be armed. Whom it lets in it asks moto at
every login, for the instance's key pair: a deleted one opens nothing. What an image is made of is a
copy of its instance's folder, and the machines of that image begin with it.

The programs are this computer's, its /usr read-only; everything else is the machine's own. Mounts and
processes are in namespaces, and end with the first process.
"""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

ASK_KEY = """#!/bin/sh
exec 2>/dev/null
curl --silent --max-time 10 {moto}/ \\
    -H 'Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=0' \\
    -d 'Action=DescribeKeyPairs&Version=2016-11-15&IncludePublicKey=true&KeyName.1={key}' |
    sed -n 's:.*<publicKey>\\(.*\\)</publicKey>.*:\\1:p'
"""

SSHD = """ListenAddress {address}:22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile none
AuthorizedKeysCommand /etc/ssh/ask-key
AuthorizedKeysCommandUser root
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""

# An overlay of two is read-only, and a file system of its own: who looks
# through the machine's root does not look through this computer's programs.
BOOT = """set -eu
mount --make-rprivate /
hostname localhost
mount -t overlay overlay -o lowerdir=/usr:"$1/empty" "$1/usr"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/dev"
mkdir "$1/run/sshd" "$1/dev/shm" "$1/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$1/dev/pts"
chmod 1777 "$1/dev/shm"
mknod -m 666 "$1/dev/null" c 1 3
mknod -m 666 "$1/dev/zero" c 1 5
mknod -m 666 "$1/dev/full" c 1 7
mknod -m 666 "$1/dev/random" c 1 8
mknod -m 666 "$1/dev/urandom" c 1 9
mknod -m 666 "$1/dev/tty" c 5 0
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
exec chroot "$1" /usr/sbin/sshd -D -e
"""

OF_THE_COMPUTER = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "login.defs", "nsswitch.conf",
                   "pam.d", "security")


class Machines:
    def __init__(self, folder, ec2, address_of):
        self.folder, self.ec2, self.address_of = folder, ec2, address_of
        self.running, self.going = {}, True
        (folder / "disks").mkdir()

    def disk(self, id):
        return self.folder / "disks" / id

    def capture(self, instance, image):
        while instance in self.running:
            time.sleep(0.05)
        copy(self.disk(instance), self.disk(image))

    def follow(self):
        while self.going:
            reservations = self.ec2.describe_instances()["Reservations"]
            instances = {one["InstanceId"]: one for reservation in reservations for one in reservation["Instances"]
                         if one["State"]["Name"] == "running"}
            for id in self.running.keys() - instances.keys():
                self.halt(id)
            for id in instances.keys() - self.running.keys():
                self.running[id] = self.boot(instances[id])
            time.sleep(0.1)

    def halt(self, id):
        process = self.running.pop(id)
        process.kill()
        process.wait()

    def end(self):
        self.going = False
        for id in list(self.running):
            self.halt(id)

    def boot(self, instance):
        root = self.disk(instance["InstanceId"])
        image = self.disk(instance["ImageId"])
        if not root.exists():
            copy(image, root) if image.exists() else new_disk(root)
        self.first_boot(instance, root)
        with (self.folder / "sshd.log").open("ab") as log:
            return subprocess.Popen(["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
                                     "sh", "-c", BOOT, "boot", str(root)],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def first_boot(self, instance, root):
        ssh = root / "etc/ssh"
        data = self.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
        text = base64.b64decode(data["UserData"]["Value"]).decode()
        keys = json.loads(text.removeprefix("#cloud-config\n"))["ssh_keys"]
        private = ssh / "ssh_host_ed25519_key"
        private.write_text(keys["ed25519_private"])
        private.chmod(0o600)
        (ssh / "ssh_host_ed25519_key.pub").write_text(keys["ed25519_public"] + "\n")
        (ssh / "sshd_config").write_text(SSHD.format(address=self.address_of(instance["PublicIpAddress"])))
        meta = self.ec2.meta
        ask = ssh / "ask-key"
        ask.write_text(ASK_KEY.format(moto=meta.endpoint_url, region=meta.region_name, key=instance["KeyName"]))
        ask.chmod(0o755)


def copy(disk, to):
    subprocess.run(["cp", "--archive", disk, to], check=True)


def new_disk(root):
    for folder in ("etc/ssh", "etc/sudoers.d", "dev", "empty", "home/ec2-user", "proc", "root", "run", "tmp", "usr",
                   "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "var/tmp", "var/cache"):
        (root / folder).mkdir(parents=True)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    for link in ("bin", "lib", "lib64", "sbin"):
        (root / link).symlink_to(f"usr/{link}")
    etc = root / "etc"
    for name in OF_THE_COMPUTER:
        path = Path("/etc") / name
        if path.is_dir():
            shutil.copytree(path, etc / name, symlinks=True)
        elif path.exists():
            shutil.copy(path, etc / name)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n"
                                "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n"
                                "ec2-user:x:1000:1000::/home/ec2-user:/bin/bash\n"
                                "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")
    (etc / "group").write_text("root:x:0:\ntty:x:5:\nec2-user:x:1000:\nnogroup:x:65534:\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    (etc / "shadow").write_text("root:*:20000::::::\nec2-user:*:20000::::::\n")
    (etc / "shadow").chmod(0o600)
    (etc / "machine-id").write_text("0" * 31 + "1\n")
    (etc / "sudoers").write_text("root ALL=(ALL:ALL) ALL\nec2-user ALL=(ALL) NOPASSWD: ALL\n")
    (etc / "sudoers").chmod(0o440)
    (root / "var/lib/dpkg/status").touch()
    shutil.chown(root / "home/ec2-user", 1000, 1000)
    (root / "root").chmod(0o700)
