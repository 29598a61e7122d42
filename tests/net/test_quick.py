#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's wg-quick(8) with our engine in place of wireguard-go, and wireguard-go on the other side.

    netns a: wg-quick up zla -> quick_rig ---- veth ---- netns b: wg-quick up zlb -> wireguard-go

Needs root, and a network and a mount namespace of its own (alone.sh): /run is an empty one."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

RIG = os.path.abspath(sys.argv[1])
FOLDER = "/run/wireguard"
PATIENCE = 60


def sh(*words, ns=None, given=None):
    if ns:
        words = ("ip", "netns", "exec", ns, *words)
    done = subprocess.run(words, input=given, text=True, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
    return done.stdout


def wait_for(what, why):
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.05)


class End:
    def __init__(self, files, name, number, program):
        self.ns, self.interface, self.number, self.program = name, "zl" + name, number, program
        self.conf = os.path.join(files, self.interface + ".conf")
        self.log = os.path.join(files, self.interface + ".counts")
        self.private = sh("wg", "genkey").strip()
        self.public = sh("wg", "pubkey", given=self.private + "\n").strip()

    def write(self, other, psk, allowed):
        with open(self.conf, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
            f.write(f"[Interface]\nAddress = 10.9.0.{self.number}/32, fd09::{self.number}/128\nListenPort = {51820 + self.number}\n"
                    f"PrivateKey = {self.private}\nMTU = 1420\n\n[Peer]\nPublicKey = {other.public}\nPresharedKey = {psk}\n"
                    f"AllowedIPs = {allowed}\nEndpoint = 10.8.0.{other.number}:{51820 + other.number}\n")

    def quick(self, verb):
        """To files: what it starts keeps its ends of pipes."""
        env = {**os.environ, "WG_QUICK_USERSPACE_IMPLEMENTATION": self.program, "QUICK_RIG_LOG": self.log, "LOG_LEVEL": "error"}
        with open(self.conf + ".said", "w+") as said:
            done = subprocess.run(["ip", "netns", "exec", self.ns, "wg-quick", verb, self.conf], env=env, stdin=subprocess.DEVNULL,
                                  stdout=said, stderr=said, timeout=PATIENCE, check=False)
            said.seek(0)
            assert done.returncode == 0, said.read()

    def is_there(self):
        return os.path.exists(f"{FOLDER}/{self.interface}.sock")


class Cable:
    """Two namespaces, and who is at their ends."""

    def __enter__(self):
        self.files = tempfile.mkdtemp()
        sh("ip", "netns", "add", "a")
        sh("ip", "netns", "add", "b")
        sh("ip", "link", "add", "eth0", "netns", "a", "type", "veth", "peer", "name", "eth0", "netns", "b")
        self.a = End(self.files, "a", 1, RIG)
        self.b = End(self.files, "b", 2, "wireguard-go")
        self.psk = sh("wg", "genpsk").strip()
        for end in (self.a, self.b):
            sh("ip", "link", "set", "lo", "up", ns=end.ns)
            sh("ip", "link", "set", "eth0", "up", ns=end.ns)
            sh("ip", "addr", "add", f"10.8.0.{end.number}/24", "dev", "eth0", ns=end.ns)
        return self

    def __exit__(self, *_):
        # Deleting the device is what ends both programs.
        for end in (self.a, self.b):
            if os.path.exists(f"/run/netns/{end.ns}"):
                subprocess.run(["ip", "-n", end.ns, "link", "del", end.interface], stderr=subprocess.DEVNULL, check=False)
        for end in (self.a, self.b):
            sh("ip", "netns", "del", end.ns)
        shutil.rmtree(self.files)
        wait_for(lambda: not self.a.is_there() and not self.b.is_there(), "both are gone")

    def up(self, allowed_a, allowed_b):
        self.a.write(self.b, self.psk, allowed_a)
        self.b.write(self.a, self.psk, allowed_b)
        self.a.quick("up")
        self.b.quick("up")


SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.bind((sys.argv[1], 7777)); s.listen(); print("ready", flush=True)
c = s.accept()[0]; n = 0
while part := c.recv(1 << 16): n += len(part)
c.close(); print(n)
"""
CLIENT = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7777), 60)
for _ in range(64): s.sendall(bytes(1 << 16))
s.shutdown(socket.SHUT_WR); s.recv(1)
"""


def speaks(one, other, address):
    """Bytes by TCP from one to the other's address."""
    server = subprocess.Popen(["ip", "netns", "exec", other.ns, "python3", "-c", SERVER, address], text=True, stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == "ready\n"
        sh("python3", "-c", CLIENT, address, ns=one.ns)
        assert int(server.communicate(timeout=PATIENCE)[0]) == 64 << 16
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def test_up_and_down():
    """All that it does of itself: addresses, MTU, routes, and away with it."""
    with Cable() as c:
        c.up("10.9.0.2/32, fd09::2/128", "10.9.0.1/32, fd09::1/128")
        for one, other in ((c.a, c.b), (c.b, c.a)):
            speaks(one, other, f"10.9.0.{other.number}")
            speaks(one, other, f"fd09::{other.number}")
        shown = sh("wg", "show", c.a.interface, ns="a")
        assert f"peer: {c.b.public}" in shown and "latest handshake:" in shown and "listening port: 51821" in shown, shown
        c.a.quick("down")
        wait_for(lambda: os.path.exists(c.a.log), "it has ended")
        counts = dict(line.split() for line in open(c.a.log))
        assert int(counts["handshakes"]) >= 1 and int(counts["in_packets"]) > 0 and int(counts["out_packets"]) > 0, counts
        assert c.a.interface not in sh("ip", "link", ns="a")
        assert "10.9.0" not in sh("ip", "route", ns="a")
        wait_for(lambda: not c.a.is_there(), "its socket is gone")
        # And once more.
        c.a.quick("up")
        speaks(c.b, c.a, "10.9.0.1")


def test_save_strip_sync():
    """What wg-quick asks of a device that is up."""
    with Cable() as c:
        c.up("10.9.0.2/32", "10.9.0.1/32")
        speaks(c.a, c.b, "10.9.0.2")
        sh("wg", "set", c.a.interface, "peer", c.b.public, "persistent-keepalive", "25", ns="a")
        c.a.quick("save")
        saved = open(c.a.conf).read()
        assert "PersistentKeepalive = 25" in saved and c.b.public in saved and c.psk in saved and "Address = 10.9.0.1/32" in saved, saved
        stripped = sh("wg-quick", "strip", c.a.conf, ns="a")
        assert "Address" not in stripped and c.a.private in stripped, stripped
        before = sh("wg", "show", c.a.interface, "latest-handshakes", ns="a")
        sh("wg", "syncconf", c.a.interface, "/dev/stdin", ns="a", given=stripped.replace("PersistentKeepalive = 25\n", "PersistentKeepalive = 7\n"))
        assert sh("wg", "show", c.a.interface, "persistent-keepalive", ns="a").split()[1] == "7"
        assert sh("wg", "show", c.a.interface, "latest-handshakes", ns="a") == before, "the session stays"
        speaks(c.a, c.b, "10.9.0.2")


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    if not shutil.which("wg-quick") or not shutil.which("wireguard-go"):
        print("1..0 # SKIP there is no wg-quick(8) or wireguard-go: apt-get install wireguard-tools wireguard-go")
        return 0
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    if subprocess.run(["ip", "link", "add", "wg-probe", "type", "wireguard"], capture_output=True, check=False).returncode == 0:
        print("1..0 # SKIP this kernel has WireGuard, and wg-quick takes that")
        return 0
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Exception as e:  # the next test is worth trying
            failed += 1
            print(f"not ok {number} - {name}: {type(e).__name__}: {e}", flush=True)
    return 1 if failed else 0


sys.exit(main())
