# SPDX-License-Identifier: Apache-2.0
"""Clients that never stop: while they run, a test does something to the node; then they are counted.

Half of the clients keep their connection, half make a new one for each request. A request that was
sent on a kept connection which the server had just closed is asked again on a new one, as every
client does with a GET (RFC 9112, 9.3.1); any other error is a failed request.
"""

import base64
import contextlib
import os
import socket
import ssl
import struct
import threading
import time


class Closed(Exception):
    """The connection ended before the first byte of an answer."""


class Connection:
    def __init__(self, context, host, port, address="127.0.0.1"):
        raw = socket.create_connection((address, port), timeout=30)
        try:
            self.sock = context.wrap_socket(raw, server_hostname=host)
        except BaseException:
            raw.close()
            raise
        self.host = host
        self.kept = b""

    def close(self):
        self.sock.close()

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the connection ended in an answer")
        self.kept += data

    def ask(self, path):
        """(status, whether the server goes on)."""
        try:
            self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLError) as e:
            raise Closed(e)
        if not data:
            raise Closed("end of the connection")
        self.kept += data
        while b"\r\n\r\n" not in self.kept:
            self.more()
        head, self.kept = self.kept.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        length = int(fields["content-length"])
        while len(self.kept) < length:
            self.more()
        self.kept = self.kept[length:]
        return int(lines[0].split()[1]), fields.get("connection", "").lower() != "close"


class Load:
    """with Load(node) as load: ...; then load.done, load.failed (texts), load.slowest_s. pause_s: of each client between two."""

    def __init__(self, node, clients=4, host="web.test", path="/health", port=8443, address="127.0.0.1", pause_s=0):
        self.context = ssl.create_default_context(cafile=node.authority())
        self.address, self.pause_s = address, pause_s
        self.host, self.path, self.port = host, path, port
        self.done, self.again, self.failed, self.slowest_s = 0, 0, [], 0.0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.begin = time.monotonic()
        self.threads = [threading.Thread(target=self.client, args=(i % 2 == 0,), daemon=True)
                        for i in range(clients)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for t in self.threads:
            t.join(60)

    def connect(self):
        return Connection(self.context, self.host, self.port, self.address)

    def request(self, connection, keep):
        fresh = connection is None
        connection = connection or self.connect()
        try:
            status, goes_on = connection.ask(self.path)
        except Closed:
            connection.close()
            if fresh:
                raise
            with self.lock:
                self.again += 1
            return self.request(None, keep)
        except BaseException:
            connection.close()
            raise
        if status != 200:
            connection.close()
            raise ValueError(f"status {status}")
        if keep and goes_on:
            return connection
        connection.close()
        return None

    def client(self, keep):
        connection = None
        while not self.stopping.wait(self.pause_s):
            begin = time.monotonic()
            try:
                connection = self.request(connection, keep)
                with self.lock:
                    self.done += 1
                    self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
            except Exception as e:
                connection = None
                with self.lock:
                    self.failed.append(f"{begin - self.begin:.2f} s +{time.monotonic() - begin:.2f}: {e!r}")
        if connection:
            connection.close()

    def text(self):
        return (f"{self.done} requests, {len(self.failed)} failed, {self.again} asked again, "
                f"slowest {self.slowest_s:.2f} s")


class WebSocket:
    """Echoes text over a route of protocol websocket."""

    def __init__(self, load, path="/ws"):
        self.c = load.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        self.c.sock.sendall((f"GET {path} HTTP/1.1\r\nHost: {load.host}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             f"Sec-WebSocket-Key: {key}\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.c.kept:
            self.c.more()
        head, self.c.kept = self.c.kept.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise ValueError(head[:80])

    def echoes(self, text=b"hello"):
        """False when the connection has ended."""
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(text))
        try:
            self.c.sock.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + mask + masked)
            while len(self.c.kept) < 2 + len(text):
                self.c.more()
        except (OSError, EOFError):
            return False
        frame, self.c.kept = self.c.kept[: 2 + len(text)], self.c.kept[2 + len(text):]
        return frame == struct.pack("!BB", 0x81, len(text)) + text

    def close(self):
        with contextlib.suppress(OSError):
            self.c.close()


class Loop(threading.Thread):
    """Calls turn() again and again; what it raises is a failure. with Loop(f) as l: ...; l.done, l.failed.
    pause: seconds between two turns of a client."""

    def __init__(self, turn, clients=1, pause=0):
        super().__init__(daemon=True)
        self.turn, self.pause = turn, pause
        self.done, self.failed = 0, []
        self.stopping = threading.Event()
        self.more = [threading.Thread(target=self.run, daemon=True) for _ in range(clients - 1)]

    def __enter__(self):
        for t in [self, *self.more]:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for t in [self, *self.more]:
            t.join(120)

    def run(self):
        while not self.stopping.is_set():
            try:
                self.turn()
                self.done += 1
            except Exception as e:
                self.failed.append(repr(e))
            self.stopping.wait(self.pause)


def talk(load, turns=15):
    """A WebSocket that lives for a while and is never silent."""
    ws = WebSocket(load)
    try:
        for n in range(turns):
            if not ws.echoes(b"message %d" % n):
                raise EOFError(f"the websocket was cut after {n} messages")
            load.stopping.wait(0.1)  # the pace of a person
    finally:
        ws.close()


def upload_slowly(load, pieces=12):
    """A POST whose body comes a little at a time."""
    c = load.connect()
    try:
        c.sock.sendall((f"POST /upload HTTP/1.1\r\nHost: {load.host}\r\nConnection: close\r\n"
                        f"Content-Length: {pieces * 10}\r\n\r\n").encode())
        for _ in range(pieces):
            c.sock.sendall(b"0123456789")
            load.stopping.wait(0.1)  # the pace of a bad line
        while b"\r\n\r\n" not in c.kept:
            c.more()
        if not c.kept.startswith(b"HTTP/1.1 200 "):
            raise ValueError(c.kept[:60])
    finally:
        c.close()
