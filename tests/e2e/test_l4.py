# SPDX-License-Identifier: Apache-2.0
"""tcp and udp endpoints balanced in the kernel, from a machine outside, in every mode.

    "client": pub1 -- pub0: test's namespace ("the host") -- XDP -- fabric -- tests/e2e/echo.c in containers
    203.0.113.2       203.0.113.1                      "zl-NAME" | "uplink" back
    2001:db8::2       2001:db8::1                      198.51.100.7, 2001:db8:7::7 are dataplane.vips
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import threading
import time
import urllib.request

import zl
from zl import Failure, Node, Space, check, equal, main, run, wait_for

HOST4, HOST6, CLIENT4, CLIENT6 = "203.0.113.1", "2001:db8::1", "203.0.113.2", "2001:db8::2"
VIP4, VIP6 = "198.51.100.7", "2001:db8:7::7"
PLAIN, NAMED = 7100, 7101


def config(mode, interfaces="[pub0]", extra=""):
    return f"""
listen: {{ http: ["0.0.0.0:8080", "[::]:8080"], https: [] }}
dataplane: {{ uplink: auto, mode: {mode}, interfaces: {interfaces}, vips: ["{VIP4}/32", "{VIP6}/128"]{extra} }}
proxy: {{ workers: 1 }}
"""


def document(replicas=3, more="", drain="5s"):
    return f"""version: v1
deployment: net
services:
  echo:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: [/bin/echo-server, "7000"] }}
    endpoints:
      - {{ name: raw, protocol: tcp, port: {PLAIN}, target_port: 7000, expose: public{more} }}
      - {{ name: named, protocol: tcp, port: {NAMED}, target_port: 7001, expose: public{more} }}
      - {{ name: dgram, protocol: udp, port: {PLAIN}, target_port: 7000, expose: public{more} }}
    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 2s
    update: {{ drain: {drain}, monitor: 1s }}
"""


# ---- the world

def like_a_wire(link):
    """Partial checksums do not survive native XDP, and no card sends any; what XDP sends needs a receiver with GRO."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command, value in ((0x17, 0), (0x2c, 1)):  # ETHTOOL_STXCSUM, ETHTOOL_SGRO
            data = ctypes.create_string_buffer(struct.pack("II", command, value))
            request = struct.pack("16sP", link.encode(), ctypes.addressof(data))
            fcntl.ioctl(s, 0x8946, request)  # SIOCETHTOOL


@contextlib.contextmanager
def a_world():
    here = Space(os.getpid())
    with Space() as client:
        run("ip", "link", "add", "pub0", "type", "veth", "peer", "name", "pub1", "netns", str(client.pid))
        try:
            for space, link, *addresses in ((here, "pub0", HOST4 + "/24", HOST6 + "/64"),
                                            (client, "pub1", CLIENT4 + "/24", CLIENT6 + "/64")):
                for address in addresses:
                    space.ip("addr", "add", address, "dev", link, "nodad")
                space.ip("link", "set", link, "up")
            client.call(like_a_wire, "pub1")
            client.ip("route", "add", VIP4 + "/32", "via", HOST4)
            client.ip("-6", "route", "add", VIP6 + "/128", "via", HOST6)
            yield client
        finally:
            run("ip", "link", "del", "pub0", check=False)


class Client:
    """Sockets of the client's namespace: where they were made is where they stay."""

    def __init__(self, space):
        self.space = space

    def socket(self, address, kind):
        home = open("/proc/self/ns/net")
        with home:
            self.space.enter()
            try:
                s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            finally:
                check(zl.libc.setns(home.fileno(), zl.CLONE_NEWNET) == 0, "setns")
        s.settimeout(20)
        return s

    def connect(self, address, port):
        s = self.socket(address, socket.SOCK_STREAM)
        try:
            s.connect((address, port))
        except BaseException:
            s.close()
            raise
        return s

    def who(self, address):
        with self.connect(address, NAMED) as s:
            return line(s)

    def datagram(self, address, data=b"hello"):
        """(own address of the container, what it sent back)"""
        with self.socket(address, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect((address, PLAIN))
            for _ in range(10):
                s.send(data)
                with contextlib.suppress(TimeoutError):
                    return s.recv(65536).split(b" ", 1)
        raise Failure(f"no answer from {address}")


def line(s):
    data = b""
    while not data.endswith(b"\n"):
        piece = s.recv(1)
        if not piece:
            raise ConnectionError("ended early")
        data += piece
    return data.decode().strip()


def ask(s, data=b"ping\n"):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = s.recv(len(data) - len(got))
        if not piece:
            raise ConnectionError("ended early")
        got += piece
    equal(got, data, "an echo")


# ---- what the node says

def datapath(n):
    return n.get("/v1/status")["datapath"]


def samples(name, **labels):
    text = urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=30).read().decode()
    total = 0
    for row in text.splitlines():
        if row.startswith(name + "{") and all(f'{k}="{v}"' in row for k, v in labels.items()):
            total += int(float(row.rsplit(" ", 1)[1]))
    return total


def redirected():
    return samples("zlayer_dataplane_packets_total", interface="pub0", verdict="redirect")


def answers(client, address=HOST4):
    try:
        return client.who(address)
    except OSError:
        return None


@contextlib.contextmanager
def balanced(mode, replicas=3, **options):
    """(node, client): the kernel balances, or the relay does with mode off."""
    with a_world() as space, Node(config(mode)) as n:
        client = Client(space)
        n.import_image()
        n.deploy(document(replicas, **options))
        if mode == "off":
            equal(datapath(n)["xdp"], "off", "the mode")
        else:
            wait_for(lambda: datapath(n)["xdp"] == mode, f"XDP is attached: {datapath(n)}")
            wait_for(lambda: answers(client) and redirected() > 0, "packets are redirected")
        wait_for(lambda: answers(client), "an answer")
        yield n, client


# ---- tests

def serves(mode):
    with balanced(mode) as (n, client):
        for address in (HOST4, HOST6) + ((VIP4, VIP6) if mode != "off" else ()):
            seen = {client.who(address) for _ in range(40)}
            check(len(seen) == 3, address, "is served by", seen)
            equal(client.datagram(address)[1], b"hello", f"a datagram to {address}")
            with client.connect(address, PLAIN) as s:
                ask(s, os.urandom(1 << 20))


def test_native():
    serves("native")


def test_generic():
    serves("generic")


def test_off():
    serves("off")


if __name__ == "__main__":
    main(globals())
