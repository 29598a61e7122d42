# SPDX-License-Identifier: Apache-2.0
"""tcp and udp endpoints through the relay: bytes, ends, sessions, addresses, failures and changes.

    client in the host's namespace -- 127.0.0.1:PORT -- proxy -- fabric -- tests/e2e/echo.c in containers
"""

import contextlib
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

from zl import Failure, Node, check, equal, main, run, wait_for

HOST = "127.0.0.1"
CONFIG = """
listen: { http: ["127.0.0.1:8080"], https: ["127.0.0.1:8443"] }
dataplane: { uplink: off, interfaces: [], mode: off }
proxy: { workers: 2 }
"""


def document(endpoints, replicas=1, deployment="net", name="echo", extra="", health=""):
    lines = "\n".join(f"      - {{ {e} }}" for e in endpoints)
    return f"""version: v1
deployment: {deployment}
services:
  {name}:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: [/bin/echo-server, "7000"] }}
    endpoints:
{lines}
    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 2s
    update: {{ drain: 5s, monitor: 1s }}
    {health}
{extra}
"""


TCP = "name: raw, protocol: tcp, port: 7100, target_port: 7000, expose: public"
NAMED = "name: named, protocol: tcp, port: 7101, target_port: 7001, expose: public"
UDP = "name: dgram, protocol: udp, port: 7100, target_port: 7000, expose: public, stream: { session_timeout: 2s }"


@contextlib.contextmanager
def node(endpoints=(TCP, NAMED, UDP), replicas=1, config=CONFIG, **options):
    with Node(config) as n:
        n.import_image()
        n.deploy(document(endpoints, replicas, **options))
        yield n


def connect(port=7100, seconds=30):
    """A new port may take a moment to be opened."""
    end = time.monotonic() + 20
    while True:
        try:
            s = socket.create_connection((HOST, port), timeout=seconds)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return s
        except ConnectionRefusedError:
            check(time.monotonic() < end, f"nothing listens on {port}")
            time.sleep(0.1)


def read_all(s):
    data = b""
    while piece := s.recv(65536):
        data += piece
    return data


def echo(port=7100, data=b"hello"):
    with connect(port) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return read_all(s)


def who(port=7101):
    with connect(port) as s:
        return s.makefile().readline().strip()


def memory_kb(n, role="proxy"):
    total = 0
    for (name, _), pid in n.processes().items():
        if name == role:
            text = open(f"/proc/{pid}/smaps_rollup").read()
            total += int(text.split("Pss:")[1].split()[0])
    return total


# ---- tcp

def test_bytes_both_ways():
    with node() as n:
        equal(echo(), b"hello", "an echo")
        # 100 MiB each way, at the same time; the client's end comes last and the answer is whole.
        block, count = os.urandom(1 << 20), 100
        sent, got = hashlib.sha256(), hashlib.sha256()
        with connect(seconds=120) as s:
            def write():
                for _ in range(count):
                    sent.update(block)
                    s.sendall(block)
                s.shutdown(socket.SHUT_WR)
            writer = threading.Thread(target=write)
            writer.start()
            total = 0
            while piece := s.recv(1 << 18):
                got.update(piece)
                total += len(piece)
            writer.join()
        equal(total, count << 20, "bytes back")
        equal(got.hexdigest(), sent.hexdigest(), "the digest")


def test_slow_reader_costs_no_memory():
    with node() as n:
        echo()
        before = memory_kb(n)
        slow = []
        for _ in range(20):
            s = connect()
            s.setblocking(False)
            slow.append(s)
        # They send and never read: everything on the way fills up and stays as it is.
        full = 0
        end = time.monotonic() + 20
        while full < len(slow) and time.monotonic() < end:
            full = 0
            for s in slow:
                try:
                    while s.send(b"x" * 65536):
                        pass
                except BlockingIOError:
                    full += 1
            time.sleep(0.2)
        grown = memory_kb(n) - before
        check(grown < 20 * 512, f"memory grew by {grown} KiB for 20 connections")
        for s in slow:
            s.close()
        equal(echo(), b"hello", "afterwards")


def test_a_thousand_connections():
    with node(replicas=2) as n:
        conns = []
        try:
            for _ in range(1000):
                conns.append(connect())
            for i, s in enumerate(conns):
                s.sendall(b"%04d" % i)
            for i, s in enumerate(conns):
                got = b""
                while len(got) < 4:
                    piece = s.recv(4 - len(got))
                    check(piece, f"connection {i} was ended")
                    got += piece
                equal(got, b"%04d" % i, "an echo")
        finally:
            for s in conns:
                s.close()
        wait_for(lambda: len({who() for _ in range(20)}) == 2, "both replicas are used")


# ---- udp

def ask(s, data=b"x", tries=20):
    for _ in range(tries):
        s.send(data)
        try:
            return s.recv(65536)
        except (socket.timeout, ConnectionRefusedError):
            continue
    raise Failure("no answer over udp")


def udp(port=7100, source=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    if source:
        s.bind((source, 0))
    s.connect((HOST, port))
    return s


def test_udp_sessions():
    with node(replicas=3) as n:
        with udp() as s:
            first = ask(s, b"hello")
            check(first.endswith(b" hello"), first)
            # The same replica as long as the session lasts, and large datagrams come whole.
            for i in range(50):
                equal(ask(s, b"%d" % i).split()[0], first.split()[0], "the session's replica")
            big = ask(s, b"b" * 30000)
            equal(len(big.split()[1]), 30000, "a large datagram")
        names = set()
        socks = [udp() for _ in range(40)]
        for s in socks:
            names.add(ask(s).split()[0])
        check(len(names) == 3, "sessions are spread over the replicas", names)
        for s in socks:
            s.close()
        # Answers come from the address that was asked: a connected socket takes no others.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.sendto(b"ping", (HOST, 7100))
            equal(s.recvfrom(100), (b"pong", (HOST, 7100)), "from where the answer comes")


if __name__ == "__main__":
    main(globals())
