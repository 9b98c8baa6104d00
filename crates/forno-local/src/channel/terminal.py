#!/usr/bin/env python3
"""A terminal of one session, in the machine.

Says on which port of the loopback it is reached, lets in the one who knows the nonce, and joins
the connection with a pseudo terminal in which the command runs. What comes in is framed, a kind,
a length and so many bytes, because sizes come among what is typed; what goes out is as it is.
"""

import fcntl
import hmac
import os
import pty
import signal
import socket
import struct
import sys
import termios
import threading

KEYS, SIZE = 0, 1
PATIENCE = 30


def receive(client, length):
    data = b""
    while len(data) < length:
        more = client.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def admit(nonce):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            client.settimeout(PATIENCE)
            try:
                if hmac.compare_digest(receive(client, len(nonce)), nonce):
                    client.settimeout(None)
                    return client
            except (EOFError, OSError):
                pass
            client.close()


def take_keys(client, terminal, child):
    try:
        while True:
            kind, length = struct.unpack(">BI", receive(client, 5))
            data = receive(client, length)
            if kind == SIZE:
                columns, rows = struct.unpack(">HH", data)
                size = struct.pack("HHHH", rows, columns, 0, 0)
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
            while kind == KEYS and data:
                data = data[os.write(terminal, data) :]
    except (EOFError, OSError):
        pass
    # Nobody is there any more.
    try:
        os.killpg(child, signal.SIGHUP)
    except ProcessLookupError:
        pass


def main():
    nonce = os.environ.pop("FORNO_NONCE").encode()
    command = os.environ.pop("FORNO_COMMAND")
    client = admit(nonce)
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp("sh", ["sh", "-c", command] if command else ["sh"])
    threading.Thread(target=take_keys, args=(client, terminal, child), daemon=True).start()
    while True:
        try:
            shown = os.read(terminal, 65536)
        except OSError:
            # Everybody there has closed it.
            break
        if not shown:
            break
        client.sendall(shown)
    os.waitpid(child, 0)
    client.shutdown(socket.SHUT_WR)


try:
    main()
except (OSError, EOFError) as error:
    sys.exit(f"{error}")
