"""A WebSocket client of a page: text messages and closes, over TCP or a Unix socket. Enough to see what wsd does."""

import base64
import json
import os
import socket
import struct


class Closed(Exception):
    """The server's close frame came, or, with code 1006, the link ended without one."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason}")
        self.code = code


class WebSocket:
    """One connection; `where` is a TCP port of the loopback or a path."""

    def __init__(self, where, path="/chat", patience=10):
        self.socket = connect(where, patience)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionRefusedError(head.splitlines()[0].decode())

    def send(self, text):
        data = text.encode()
        assert len(data) < 126
        self._frame(0x81, data)

    def receive(self):
        """The next message's text; pings are answered on the way."""
        while True:
            first, length = self._take(2)
            if length == 126:
                (length,) = struct.unpack("!H", self._take(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._take(8))
            data = self._take(length)
            kind = first & 0x0F
            if kind == 0x8:
                code = struct.unpack("!H", data[:2])[0] if data else 1005
                self._frame(0x88, data)
                self.socket.close()
                raise Closed(code, data[2:].decode())
            if kind == 0x9:
                self._frame(0x8A, data)
            elif kind in (0x1, 0x2):
                return data.decode()

    def ask(self, text):
        self.send(text)
        return self.receive()

    def bye(self):
        """Closes with 1000 and waits for the answer."""
        self._frame(0x88, struct.pack("!H", 1000))
        return self.close_code()

    def close_code(self):
        """Reads until the server closes, and says with which code."""
        try:
            while True:
                self.receive()
        except Closed as closed:
            return closed.code

    def _frame(self, first, data):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.socket.sendall(bytes([first, 0x80 | len(data)]) + mask + masked)

    def _take(self, count):
        while len(self.buffer) < count:
            self._more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(1006)
        self.buffer += data


def connect(where, patience=10):
    """A stream socket to a TCP port of the loopback or to a path."""
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), patience)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(patience)
    made.connect(where)
    return made


def http_status(where, path):
    """The status code of a GET."""
    with connect(where) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(stream.makefile("rb").readline().split()[1])


def parse_journal(text):
    """Records of `journalctl -o json`."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
