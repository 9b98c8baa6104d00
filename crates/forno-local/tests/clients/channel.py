"""A client of data channels, for tests alone: written from the published format, so
that the endpoint's own reading of it is judged by another."""

import hashlib
import json
import struct
import time
import urllib.parse
import uuid

import websocket
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support import KEY, REGION, SECRET

OUTPUT, SIZE, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE, FLAG = 1, 3, 5, 6, 7, 10
DISCONNECT, TERMINATE, REFUSED = 1, 2, 3
WINDOW = 64


class Message:
    def __init__(self, kind, sequence, flags, content, payload, id=None):
        self.kind, self.sequence, self.flags, self.content, self.payload = kind, sequence, flags, content, payload
        self.id = id or uuid.uuid4()

    def encode(self):
        raw = self.id.bytes
        return b"".join((
            struct.pack(">I", 116), self.kind.encode().ljust(32), struct.pack(">I", 1),
            struct.pack(">QqQ", int(time.time() * 1000), self.sequence, self.flags), raw[8:] + raw[:8],
            hashlib.sha256(self.payload).digest(), struct.pack(">II", self.content, len(self.payload)), self.payload))

    @classmethod
    def decode(cls, data):
        length, = struct.unpack_from(">I", data)
        assert length == 116, length
        kind = data[4:36].decode().strip(" \0")
        schema, = struct.unpack_from(">I", data, 36)
        assert schema == 1, schema
        created, sequence, flags = struct.unpack_from(">QqQ", data, 40)
        assert abs(created / 1000 - time.time()) < 600, created
        payload = data[120:]
        assert len(payload) == struct.unpack_from(">I", data, 116)[0]
        if payload:
            assert data[80:112] == hashlib.sha256(payload).digest()
        content, = struct.unpack_from(">I", data, 112)
        return cls(kind, sequence, flags, content, payload, uuid.UUID(bytes=data[72:80] + data[64:72]))


def signed(url, key=KEY, secret=SECRET, service="ssmmessages"):
    """Only the host is signed, and the date that goes with it."""
    plain = "http" + url.removeprefix("ws")
    request = AWSRequest("GET", plain)
    SigV4Auth(Credentials(key, secret), service, REGION).add_auth(request)
    return {name: request.headers[name] for name in ("Authorization", "X-Amz-Date")}


def connect(url, token, headers=None):
    """A websocket whose first frame has carried the token."""
    headers = signed(url) if headers is None else headers
    socket = websocket.create_connection(url, header=headers, timeout=60)
    if token is not None:
        socket.send(json.dumps({"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), "TokenValue": token,
                                "ClientId": str(uuid.uuid4()), "ClientVersion": "1.2.764.0"}))
    return socket


def farewell(socket):
    """The code with which the gateway closes, after any other frames."""
    while True:
        opcode, data = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return struct.unpack(">H", data[:2])[0], data[2:].decode()


class Channel:
    """One session: what is read is in order, what is written is sent until it is acknowledged."""

    def __init__(self, ssm, session):
        self.ssm, self.session, self.url = ssm, session["SessionId"], session["StreamUrl"]
        self.expected, self.next = 0, 0
        self.early, self.unacknowledged = {}, {}
        self.data, self.flags, self.words = bytearray(), [], []
        self.ready, self.closed, self.resumes, self.resent, self.most = False, None, 0, 0, 0
        self.socket = connect(self.url, session["TokenValue"])
        self.closes = []

    def resume(self):
        again = self.ssm.resume_session(SessionId=self.session)
        assert again["StreamUrl"] == self.url
        self.socket = connect(self.url, again["TokenValue"])
        self.resumes += 1

    def send(self, content, payload):
        message = Message("input_stream_data", self.next, 0, content, payload)
        self.next += 1
        self.unacknowledged[message.sequence] = [message.encode(), time.monotonic()]
        self.push(self.unacknowledged[message.sequence][0])

    def push(self, frame):
        try:
            self.socket.send_binary(frame)
        except (OSError, websocket.WebSocketException):
            pass  # It is read from next, which finds the same.

    def pump(self, patience=0.1):
        """One frame in, or the time in which none came; what is late is sent again."""
        self.socket.settimeout(patience)
        try:
            opcode, data = self.socket.recv_data()
        except websocket.WebSocketTimeoutException:
            opcode, data = None, b""
        except (OSError, websocket.WebSocketException):
            opcode, data = websocket.ABNF.OPCODE_CLOSE, b""
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.closes.append((struct.unpack(">H", data[:2])[0], data[2:].decode()) if data else None)
            if self.closed is None:
                self.resume()
        elif opcode == websocket.ABNF.OPCODE_BINARY:
            self.take(Message.decode(data))
        if self.unacknowledged:
            self.most = max(self.most, len(self.unacknowledged))
            entry = self.unacknowledged[min(self.unacknowledged)]
            if time.monotonic() - entry[1] > 0.3:
                entry[1] = time.monotonic()
                self.resent += 1
                self.push(entry[0])

    def take(self, message):
        if message.kind == "output_stream_data":
            acknowledged = {"AcknowledgedMessageType": message.kind, "AcknowledgedMessageId": str(message.id),
                            "AcknowledgedMessageSequenceNumber": message.sequence, "IsSequentialMessage": True}
            self.push(Message("acknowledge", 0, 3, 0, json.dumps(acknowledged).encode()).encode())
            if message.sequence >= self.expected:
                self.early[message.sequence] = message
            while self.expected in self.early:
                self.handle(self.early.pop(self.expected))
                self.expected += 1
        elif message.kind == "acknowledge":
            self.unacknowledged.pop(json.loads(message.payload)["AcknowledgedMessageSequenceNumber"], None)
        elif message.kind == "channel_closed":
            self.closed = json.loads(message.payload)
            assert self.closed["SessionId"] == self.session, self.closed
        else:
            self.words.append(message.kind)

    def handle(self, message):
        if message.content == OUTPUT:
            self.data += message.payload
        elif message.content == HANDSHAKE_REQUEST:
            assert (message.sequence, message.flags) == (0, 1)
            self.greeting = json.loads(message.payload)
            self.send(HANDSHAKE_RESPONSE, json.dumps({
                "ClientVersion": "1.2.764.0", "Errors": None, "ProcessedClientActions": [
                    {"ActionType": action["ActionType"], "ActionStatus": 1, "ActionResult": None, "Error": ""}
                    for action in self.greeting["RequestedClientActions"]]}).encode())
        elif message.content == HANDSHAKE_COMPLETE:
            self.ready = True
        elif message.content == FLAG:
            self.flags.append(struct.unpack(">I", message.payload)[0])

    def until(self, condition, patience=60):
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, (self.ready, self.closed, len(self.data), self.closes)
            self.pump()
        return self

    def open(self):
        return self.until(lambda: self.ready or self.closed)

    def write(self, data, size=4096):
        for at in range(0, len(data), size):
            self.until(lambda: len(self.unacknowledged) < WINDOW)
            self.send(OUTPUT, data[at:at + size])

    def read(self, count):
        self.until(lambda: len(self.data) >= count or self.closed)
        found = bytes(self.data[:count])
        del self.data[:count]
        return found

    def flag(self, flag):
        self.send(FLAG, struct.pack(">I", flag))
