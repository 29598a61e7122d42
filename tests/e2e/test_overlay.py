# SPDX-License-Identifier: Apache-2.0
"""Two nodes with peers written by hand: containers reach each other over VXLAN, and nobody else gets in.

    node a's namespace -- under_a ---+                      +--- under_b -- node b's namespace
    192.0.2.1, 2001:db8::1           |   bridge of the      |    192.0.2.2, 2001:db8::2
    containers 10.200.7.0/24         +--- test's own ns ----+    containers 10.200.8.0/24
                                               |
                                      stranger 192.0.2.3
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request

import test_uplink
import zl
from test_uplink import can_connect, pings, serve, tcp_to, udp_to
from zl import Node, Space, check, equal, run, service, wait_for

PORT, VNI = 9884, 4711
NODES = {"a": dict(address="192.0.2.1", address6="2001:db8::1", prefix4="10.200.7.0/24", prefix6="fd00:aa:7::/64"),
         "b": dict(address="192.0.2.2", address6="2001:db8::2", prefix4="10.200.8.0/24", prefix6="fd00:aa:8::/64")}


def config(name, others, listen="0.0.0.0:9884", v6=False, mtu=1500, mode="auto"):
    me = NODES[name]
    peers = [{"name": o, "address": NODES[o]["address6" if v6 else "address"], "prefix4": NODES[o]["prefix4"],
              "prefix6": NODES[o]["prefix6"]} for o in others]
    return (f'node: {{ name: node-{name} }}\n'
            f'listen: {{ http: ["127.0.0.1:8080"], https: ["127.0.0.1:8443"], metrics: "127.0.0.1:9883", '
            f'vxlan: "{listen}" }}\n'
            f'dataplane: {{ uplink: off, interfaces: [], mode: {mode} }}\n'
            "cluster: { encrypt: false }\n"
            f'overlay: {{ prefix4: {me["prefix4"]}, prefix6: "{me["prefix6"]}", vni: {VNI}, mtu: {mtu}, '
            f"peers: {json.dumps(peers)} }}\n")


@contextlib.contextmanager
def a_network(*names):
    """A namespace per name, on one bridge."""
    with contextlib.ExitStack() as stack:
        run("ip", "link", "add", "under", "type", "bridge")
        run("ip", "link", "set", "under", "up")
        stack.callback(run, "ip", "link", "del", "under", check=False)
        spaces = {}
        for i, name in enumerate(names, 1):
            space = stack.enter_context(Space())
            run("ip", "link", "add", "under_" + name, "type", "veth", "peer", "name", "under0", "netns", str(space.pid))
            stack.callback(run, "ip", "link", "del", "under_" + name, check=False)
            run("ip", "link", "set", "under_" + name, "master", "under", "up")
            space.ip("address", "add", f"192.0.2.{i}/24", "dev", "under0")
            space.ip("address", "add", f"2001:db8::{i}/64", "dev", "under0", "nodad")
            space.ip("link", "set", "under0", "up")
            spaces[name] = space
        yield spaces


@contextlib.contextmanager
def two_nodes(spaces, mtu_b=1500, **options):
    with Node(config("a", ["b"], **options), space=spaces["a"]) as a, \
            Node(config("b", ["a"], mtu=mtu_b, **options), space=spaces["b"]) as b:
        for node in (a, b):
            node.import_image()
            node.deploy(service())
        for node in (a, b):
            wait_for(lambda node=node: overlay(node)["state"] == "vxlan", "the overlay is up")
        yield a, b


def overlay(node):
    return node.cli_json("status")["overlay"] or {"state": None}


def addresses(container):
    """(IPv4, IPv6) of a container."""
    found = {a["family"]: a["local"] for link in json.loads(container.run("ip", "-j", "address").stdout)
             if link["ifname"] == "eth0" for a in link["addr_info"] if a["scope"] == "global"}
    return found["inet"], found["inet6"]


def pair(a, b):
    """Both containers, and what each is reached at; servers run in both."""
    one, two = a.containers()["shop/web.1"], b.containers()["shop/web.1"]
    for c in (one, two):
        c.serve(serve)
    wait_for(lambda: one.call(can_connect, addresses(two)[0]), "the first packet gets through")
    return one, two


def metric(node, name, **labels):
    """The sum of a family's series that have these labels."""
    text = node.space.call(lambda: urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=20).read().decode())
    total = 0.0
    for line in text.splitlines():
        m = re.match(r"([a-z_0-9]+)\{(.*)\} ([0-9.e+]+)$", line)
        if m and m[1] == name and all(f'{k}="{v}"' in m[2] for k, v in labels.items()):
            total += float(m[3])
    return total


def drops(node, reason):
    return metric(node, "zlayer_dataplane_drops_total", interface="vxlan", reason=reason)


# ---- packets of a stranger

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def inner_v4(source, to, mac=b"\x02\0\0\0\0\1"):
    payload = struct.pack("!HHHH", 4000, 7000, 12, 0) + b"evil"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0, socket.inet_aton(source),
                       socket.inet_aton(to))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return mac + b"\x02\0\0\0\0\2" + b"\x08\0" + head + payload


def send_vxlan(to, frame, vni=VNI, times=5):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _ in range(times):
            s.sendto(struct.pack("!II", 0x08000000, vni << 8) + frame, (to, PORT))


class Capture:
    """tcpdump in a namespace; lines() gives what it wrote."""

    def __init__(self, space, *expression):
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{space.pid}/ns/net", "--", "tcpdump", "-i", "under0", "-n", "-l", "-T", "vxlan", "-c", "200000",
             *expression], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                break
        self.text = []
        self.reader = threading.Thread(target=lambda: self.text.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def lines(self):
        return list(self.text)

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        return self.text


# ---- tests

def test_containers_of_two_nodes():
    with a_network("a", "b") as spaces:
        with two_nodes(spaces) as (a, b):
            one, two = pair(a, b)
            seen = Capture(spaces["a"], "udp", "port", str(PORT))
            pieces = Capture(spaces["a"], "ip[6:2] & 0x3fff != 0")
            for here, there in ((one, two), (two, one)):
                for mine, theirs in zip(addresses(here), addresses(there)):
                    equal(here.call(tcp_to, theirs, 100), (mine, 100), "TCP")
                    equal(here.call(udp_to, theirs), mine, "UDP")
                    equal(here.call(udp_to, theirs, 5000), mine, "UDP in pieces")
                    check(pings(here, theirs), "no ping to", theirs)
            big = 64 << 20
            for here, there in ((one, two), (two, one)):
                for mine, theirs in zip(addresses(here), addresses(there)):
                    equal(here.call(tcp_to, theirs, big, 120), (mine, big), "a big transfer")
            wait_for(lambda: any(f"vni {VNI}" in line for line in seen.lines()), "VXLAN with our number is seen")
            # The last line may be cut; tcpdump takes what is inside for VXLAN as well.
            others = [line for line in seen.end()[:-1] if "IP 192.0.2." in line and f"vni {VNI}\n" not in line]
            equal(others[:3], [], "packets with another number")
            equal([line for line in pieces.end() if line.strip()], [], "packets between nodes in pieces")
            # Nodes have names, the own and those of peers, for the addresses that answer.
            for name, there in (("node-a", "10.200.7.1"), ("b", "10.200.8.1")):
                equal(looked_up(a, f"{name}.node.zlayer.internal"), there, "a node's address by name")
                check(pings(one, there), "no ping to", name)
            # The fabric's own packets find their way too: what the node itself asks of a container there.
            fabric = fabric_of(a)
            equal(fabric.call(tcp_to, addresses(two)[0], 100), ("10.200.7.1", 100), "from the node itself")
            equal(fabric.call(tcp_to, addresses(two)[1], 100), ("fd00:aa:7::1", 100), "from the node itself")
            wait_for(lambda: metric(a, "zlayer_overlay_bytes_total", peer="b", direction="transmit") > 2 * big,
                     "bytes are counted")
            check(metric(a, "zlayer_overlay_peer_last_seen_timestamp_seconds", peer="b") > time.time() - 600)
            # Nobody is judged wrongly: peers by hand have no identities, and their containers pass all the same.
            for node in (a, b):
                for reason in ("isolated", "unknown", "unsealed", "no_way", "too_large", "source"):
                    equal(metric(node, "zlayer_dataplane_drops_total", reason=reason), 0.0, f"dropped as {reason}")
                equal(metric(node, "zlayer_dataplane_packets_total", verdict="sealed"), 0.0, "sealed packets")
            said = overlay(a)
            equal((said["prefix4"], said["mtu"], [p["name"] for p in said["peers"]]), ("10.200.7.0/24", 1420, ["b"]),
                  "what status says")
        for space in spaces.values():
            links = [link["ifname"] for link in json.loads(space.run("ip", "-j", "link").stdout)]
            equal(sorted(links), ["lo", "under0"], "what is left in the nodes' namespaces")


def looked_up(node, name):
    """As a container of the node sees it; None: there is no such name."""
    said = node.cli("exec", "shop/web", "--", "nslookup", "-type=a", name, status=None).stdout
    found = re.findall(r"Address(?: \d+)?: (\S+)", said.split("Name:")[-1]) if "Name:" in said else []
    return found[0] if found else None


def fabric_of(node):
    """The fabric has no process that can be named but those of the roles."""
    return Space(node.processes()["probe", 0])


def test_over_ipv6():
    with a_network("a", "b") as spaces:
        with two_nodes(spaces, v6=True, listen="[::]:9884") as (a, b):
            one, two = pair(a, b)
            for mine, theirs in zip(addresses(one), addresses(two)):
                equal(one.call(tcp_to, theirs, 8 << 20, 120), (mine, 8 << 20), "TCP")
                equal(one.call(udp_to, theirs), mine, "UDP")


def test_a_narrow_node():
    """What is too large for a container of the other node is said to be, to the sender."""
    with a_network("a", "b") as spaces:
        with two_nodes(spaces, mtu_b=1400) as (a, b):
            one, two = pair(a, b)
            for mine, theirs in zip(addresses(one), addresses(two)):
                equal(one.call(tcp_to, theirs, 8 << 20, 120), (mine, 8 << 20), "TCP")
                equal(one.call(udp_to, theirs, 1350), mine, "UDP")
                equal(mtu_to(one, theirs), 1320, "what the sender has learnt")
            for mine, theirs in zip(addresses(two), addresses(one)):
                equal(two.call(tcp_to, theirs, 8 << 20, 120), (mine, 8 << 20), "TCP the other way")


def mtu_to(space, address):
    told = re.search(r"\bmtu (\d+)", space.ip("route", "get", address).stdout)
    return int(told[1]) if told else None


def sent_of(sent, reason, times=5):
    sent[reason] += times
    return times


def test_strangers_do_not_get_in():
    with a_network("a", "b", "stranger") as spaces:
        with two_nodes(spaces) as (a, b):
            one, two = pair(a, b)
            mine, theirs = addresses(one)[0], addresses(two)[0]
            before = {r: drops(b, r) for r in ("peer", "source", "tunnel", "destination")}
            sent = dict.fromkeys(before, 0)
            # From nowhere known, with a source that would be right.
            spaces["stranger"].call(send_vxlan, NODES["b"]["address"], inner_v4(mine, theirs), VNI, sent_of(sent, "peer"))
            # From a peer's machine: another source than its own, another network, somebody who is not there. VXLAN's own
            # socket has the port, so that these come from another one: the outer address is what counts.
            for source, to, vni, reason in (("10.200.9.9", theirs, VNI, "source"), (theirs, theirs, VNI, "source"),
                                            (mine, theirs, VNI + 1, "tunnel"),
                                            (mine, "10.200.8.250", VNI, "destination"),
                                            (mine, "192.0.2.3", VNI, "destination")):
                spaces["a"].call(send_vxlan, NODES["b"]["address"], inner_v4(source, to), vni, sent_of(sent, reason))
            # They are told every few seconds: all of them are waited for at once.
            for reason, count in sent.items():
                wait_for(lambda: drops(b, reason) >= before[reason] + count, f"{count} are dropped as {reason}")
            # Who is no peer is reached by nobody, and the way between peers is as before.
            equal(one.call(tcp_to, theirs, 100), (mine, 100), "TCP")


def test_transfer_outlives_dataplane():
    with a_network("a", "b") as spaces:
        with two_nodes(spaces) as (a, b):
            one, two = pair(a, b)
            result = []

            def transfer():
                result.append(one.call(tcp_to, addresses(two)[0], 600 << 20, 120))

            worker = threading.Thread(target=transfer)
            worker.start()
            for node, role in ((a, "dataplane"), (b, "dataplane"), (a, "overlay"), (b, "overlay")):
                old = node.kill(role)
                wait_for(lambda: old not in node.processes().values() and node.ready(), role + " is back")
            os.kill(a.process.pid, signal.SIGKILL)
            a.process.wait()
            a.start()
            worker.join(180)
            equal(result, [(addresses(one)[0], 600 << 20)], "the transfer")
            for mine, theirs in zip(addresses(one), addresses(two)):
                equal(one.call(tcp_to, theirs, 1 << 20), (mine, 1 << 20), "TCP afterwards")


def test_peers_come_and_go():
    with a_network("a", "b") as spaces:
        with two_nodes(spaces) as (a, b):
            one, two = pair(a, b)
            a.write_config(config("a", []))
            a.process.send_signal(signal.SIGHUP)
            wait_for(lambda: overlay(a)["state"] == "off" and not overlay(a)["peers"], "the overlay is off")
            wait_for(lambda: not one.call(can_connect, addresses(two)[0], 1), "a peer that is gone is not reached")
            wait_for(lambda: looked_up(a, "b.node.zlayer.internal") is None, "a peer that is gone has no name")
            a.write_config(config("a", ["b"]))
            a.process.send_signal(signal.SIGHUP)
            wait_for(lambda: one.call(can_connect, addresses(two)[0], 1), "the peer is back")
            wait_for(lambda: looked_up(a, "b.node.zlayer.internal") == "10.200.8.1", "its name is back")
            equal(two.call(tcp_to, addresses(one)[1], 100), (addresses(two)[1], 100), "TCP the other way")


def test_failure_is_named():
    """The port is somebody else's."""
    with a_network("a", "b") as spaces:
        spaces["a"].serve(hold_port)
        with Node(config("a", ["b"]), space=spaces["a"]) as a:
            failed = wait_for(lambda: overlay(a)["state"] == "failed" and overlay(a), "the overlay failed")
            check("9884" in json.dumps(failed["reason"]), failed)
            check(any("overlay" in w["text"] for w in a.cli_json("status")["warnings"]))
        with Node(config("b", ["a"], mode="off"), space=spaces["b"]) as b:
            failed = wait_for(lambda: overlay(b)["state"] == "failed" and overlay(b), "nobody drives the device")
            check("dataplane.mode" in json.dumps(failed["reason"]), failed)


def hold_port(ready):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", PORT))
        ready()
        threading.Event().wait()


if __name__ == "__main__":
    zl.main({k: v for k, v in globals().items() if not hasattr(test_uplink, k)})
