"""Somebody else's EC2 with machines: moto, a thin proxy before it, and an sshd behind each instance.

    endpoint.py FOLDER

Prints `http://HOST:PORT` once it answers, and serves until SIGTERM. Moto judges the
calls: whatever it does not mind goes through as it came. The proxy departs from moto here, and
nowhere else:

1. Moto answers an action or parameter that it does not know with an HTML page and status 500, which
   any SDK repeats. EC2 says InvalidAction or UnsupportedOperation, with status 400, and so does this.
2. Moto makes public addresses up, and nobody lives there. Their first number becomes 127, in every
   reply: a loopback address of that instance's own, where its machine's sshd listens.
3. Moto's CreateImage cannot tag snapshots. Those tags are taken out of the call and asked of moto
   itself, by CreateTags on the snapshots that it made.
"""

import logging
import re
import signal
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import boto3
from botocore import xform_name
from moto.ec2.responses import EC2Response
from moto.server import ThreadedMotoServer

from machines import Machines

REGION = "us-east-1"
ADDRESS = re.compile(rb"<(ipAddress|publicIp)>\d+\.")
NO_ACTION = "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>proxy</RequestID></Response>"


def loopback(address):
    """Where the machine of a made-up address listens."""
    return "127." + address.split(".", 1)[1]


def refusal(action):
    if hasattr(EC2Response, xform_name(action)):
        return NO_ACTION.format("UnsupportedOperation", f"{action} cannot do this here")
    return NO_ACTION.format("InvalidAction", f"The action {action} is not valid for this web service.")


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        of_ec2 = "/ec2/aws4_request" in self.headers.get("Authorization", "")
        form = dict(parse_qsl(body.decode(), keep_blank_values=True)) if of_ec2 else {}
        action = form.get("Action")
        form, snapshot_tags = without_snapshot_tags(form)
        body = urlencode(form).encode() if snapshot_tags else body
        status, headers, reply = self.server.ask(self.command, self.path, self.headers, body)
        if status == 500 and reply.lstrip().startswith(b"<!doctype html>") and of_ec2:
            status, headers, reply = 400, {"Content-Type": "text/xml"}, refusal(action).encode()
        if action == "CreateImage" and status == 200:
            image = re.search(rb"<imageId>(.*?)</imageId>", reply)[1].decode()
            self.server.machines.capture(form["InstanceId"], image)
            if snapshot_tags:
                self.server.tag_snapshots(image, snapshot_tags)
        if of_ec2:
            reply = ADDRESS.sub(rb"<\1>127.", reply)
            self.server.calls.write(f"{action} {status}\n")
            self.server.calls.flush()
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer


def without_snapshot_tags(form):
    """The form without TagSpecifications of snapshots, and their tags."""
    if form.get("Action") != "CreateImage":
        return form, []
    of_snapshots = [key.removesuffix("ResourceType") for key, value in form.items()
                    if key.endswith(".ResourceType") and value == "snapshot"]
    tags = [{"Key": value, "Value": form.get(key.removesuffix("Key") + "Value", "")} for key, value in form.items()
            if key.startswith(tuple(of_snapshots)) and key.endswith(".Key")] if of_snapshots else []
    kept = {key: value for key, value in form.items() if not (of_snapshots and key.startswith(tuple(of_snapshots)))}
    return kept, tags


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Proxy)
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        self.moto = f"http://{host}:{port}"
        self.ec2 = boto3.client("ec2", REGION, endpoint_url=self.moto,
                                aws_access_key_id="test", aws_secret_access_key="test")
        self.machines = Machines(folder, self.ec2, loopback)
        self.calls = (folder / "calls").open("w")

    def ask(self, method, path, headers, body):
        request = urllib.request.Request(self.moto + path, body or None, method=method)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "accept-encoding"):
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as reply:
            return reply.code, dict(reply.headers), reply.read()

    def tag_snapshots(self, image, tags):
        mappings = self.ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
        self.ec2.create_tags(Resources=[one["Ebs"]["SnapshotId"] for one in mappings if "Ebs" in one], Tags=tags)


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    endpoint = Endpoint(Path(sys.argv[1]))
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    threading.Thread(target=endpoint.machines.follow, daemon=True).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print(f"http://127.0.0.1:{endpoint.server_port}", flush=True)
    ended.wait()
    endpoint.machines.end()


main()
