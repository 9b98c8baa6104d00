"""A connection that forno has: commands and files go through the forno that runs the play.

For machines that nothing but forno's own link reaches. Each call is a connection
to forno's socket: one line of JSON, then the command's input; what comes back is
in frames of a kind, a length and content. Works with ansible-core 2.14 and later.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
    name: forno_link
    short_description: the link that forno has to the machine
    description:
      - Hands commands and files to the program that runs Ansible.
    author: forno
    options: {}
"""

OUT, ERR, CODE, FAILED, LOST = range(1, 6)


class Connection(ConnectionBase):
    transport = "forno_link"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def close(self):
        self._connected = False

    def reset(self):
        self.close()

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if sudoable and self.become and self.become.expect_prompt():
            raise AnsibleError("a password for become cannot be given over this connection")
        request = {"do": "exec", "command": to_text(cmd)}
        return self._call(request, to_bytes(in_data or b""))

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        self._call({"do": "put", "local": os.path.abspath(in_path), "path": out_path})

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        self._call({"do": "fetch", "local": os.path.abspath(out_path), "path": in_path})

    def _call(self, request, content=b""):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as forno:
                forno.connect(os.environ["FORNO_LINK"])
                request["input"] = len(content)
                forno.sendall(json.dumps(request).encode() + b"\n")
                # Beside the reading: a command may talk before it has heard all.
                sender = threading.Thread(target=self._send, args=(forno, content), daemon=True)
                sender.start()
                return self._answer(forno)
        except OSError as error:
            raise AnsibleConnectionFailure("forno does not answer: %s" % error) from error

    @staticmethod
    def _send(forno, content):
        try:
            forno.sendall(content)
        except OSError:
            pass

    def _answer(self, forno):
        said = {OUT: b"", ERR: b""}
        reader = forno.makefile("rb")
        while True:
            head = reader.read(5)
            if len(head) < 5:
                raise AnsibleConnectionFailure("forno broke off")
            kind, length = struct.unpack(">BI", head)
            content = reader.read(length)
            if len(content) < length:
                raise AnsibleConnectionFailure("forno broke off")
            if kind in said:
                said[kind] += content
            elif kind == CODE:
                return int(content), said[OUT], said[ERR]
            elif kind == LOST:
                raise AnsibleConnectionFailure(to_text(content))
            else:
                raise AnsibleError(to_text(content))
