# SPDX-License-Identifier: Apache-2.0
"""A cluster for end-to-end tests: n nodes, each in a network namespace of its own.

    node edge-1's namespace -- c1 ---+                  +--- c2 -- node edge-2's namespace
    10.77.0.1, fd77::1               |  bridge "cells"  |          10.77.0.2, fd77::2
                                     +-- test's own ns -+
                                                |
                                               c3 ...

The test itself is at 10.77.0.254. Between nodes packets are dropped by the receiver's nftables, before anything of the node
sees them. A line that is slow, loses, doubles or reorders is tests/support/impair.c between a node and the bridge:

    node edge-2's namespace -- c2 [impair] i2 -- b2 -- bridge "cells"
"""

import contextlib
import os
import socket
import subprocess
import tempfile

import test_survive
import zl
from zl import BUILD, Node, Space, check, run, wait_for

IMPAIR = os.path.join(BUILD, "tests", "e2e", "impair")


def private(number):
    """The address of a node behind a router."""
    return f"192.168.77.{number}"


def config(number, extra="", encrypt=False, hidden=False, cluster="", etcd=False, zone="", sealed=True,
           edge=""):
    """extra: NUMBER stands for the node's."""
    address = private(number) if hidden else f"10.77.0.{number}"
    here = '"0.0.0.0:{0}", "[::]:{0}"' if edge else f'"{address}:{{0}}", "127.0.0.1:{{0}}"'
    more = (", advertise: none" if hidden else "") + (f", zone: {zone}" if zone else "")
    overlay = "" if sealed is True else f', overlay: "0.0.0.0:{sealed}"' if sealed else ", overlay: off"
    return (f"node: {{ name: edge-{number}{more} }}\n"
            f'listen: {{ http: [{here.format(8080)}], https: [{here.format(8443)}], metrics: "127.0.0.1:9883"'
            f"{'' if etcd else ', store: off'}{overlay} }}\n"
            f"dataplane: {{ {edge or 'uplink: off, interfaces: []'} }}\n"
            f"cluster: {{ encrypt: {str(encrypt).lower()}{cluster} }}\n" + extra.replace("NUMBER", str(number)))


class Member(Node):
    """A node of the cluster; address, number and link besides."""

    def __init__(self, number, space, extra="", encrypt=False, hidden=False, cluster="", etcd=False, zone="", sealed=True,
                 edge=""):
        super().__init__(config(number, extra, encrypt, hidden, cluster, etcd, zone, sealed, edge), space=space)
        self.number = number
        self.zone = zone
        self.label = f"edge-{number}"
        self.address = private(number) if hidden else f"10.77.0.{number}"
        self.link = f"r{number}" if hidden else f"c{number}"

    def nodes(self):
        """name -> what this node knows of each, itself too."""
        return {n["name"]: n for n in self.get("/v1/nodes")["items"]}

    def cluster(self):
        return self.get("/v1/cluster")

    def sees(self, **states):
        """Whether exactly these nodes are in these states: sees(edge_1="alive")."""
        with contextlib.suppress(OSError, zl.Failure):
            return {n["name"]: n["state"] for n in self.get("/v1/nodes")["items"]} == \
                {k.replace("_", "-"): v for k, v in states.items()}
        return False

    def heard(self, kind):
        """Messages of gossip of that kind that came to this node."""
        r = self.space.run("curl", "-s", "http://127.0.0.1:9883/metrics")
        want = f'zlayer_gossip_messages_total{{kind="{kind}",direction="received"}} '
        return sum(float(line[len(want):]) for line in r.stdout.splitlines() if line.startswith(want))

    def replicas(self, deployment=""):
        """[(name, node, state)] as this node sees them."""
        items = self.get("/v1/replicas" + (f"?target={deployment}" if deployment else ""))["items"]
        return sorted((r["name"], r["node"], r["state"]) for r in items)


class Line:
    """What is between a node and the others (tests/support/impair.c): a good line until it is said otherwise."""

    UNITS = {"delay_ms": ("delay_us", 1000), "jitter_ms": ("jitter_us", 1000), "loss": ("loss_ppm", 1_000_000),
             "duplicate": ("duplicate_ppm", 1_000_000), "reorder": ("reorder_ppm", 1_000_000),
             "rate_mbit": ("rate_bps", 1_000_000), "cut": ("cut", 1)}

    def __init__(self, node):
        self.outer, self.inner, self.port = (f"{c}{node.number}" for c in "cib")

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "control")
        run("ip", "link", "add", self.inner, "type", "veth", "peer", "name", self.port)
        # What stands at its ends hears nothing itself: it would answer for the addresses of the test.
        for link in (self.outer, self.inner):
            with open(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6", "w") as f:
                f.write("1")
            run("ip", "link", "set", link, "nomaster", "arp", "off")
        self.process = subprocess.Popen([IMPAIR, self.outer, self.inner, path], stdout=subprocess.PIPE)
        check(self.process.stdout.readline() == b"ready\n", "impair did not start")
        run("ip", "link", "set", self.port, "master", "cells", "up")
        run("ip", "link", "set", self.inner, "up")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.path.join(self.folder.name, "own"))
        self.socket.connect(path)
        self.socket.settimeout(20)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.socket.close()
        self.folder.cleanup()
        run("ip", "link", "del", self.inner, check=False)

    def ask(self, words):
        self.socket.send(words.encode())
        answer = self.socket.recv(4096).decode()
        check(not answer.startswith("error"), words, answer)
        return answer

    def set(self, side, **what):
        words = [f"{self.UNITS[k][0]}={round(v * self.UNITS[k][1])}" for k, v in what.items()]
        self.ask(f"set {dict(out='a', both='both', **{'in': 'b'})[side]} {' '.join(words)}")

    def counters(self):
        """side -> name -> count: "a" is what the node sent."""
        return {line.split()[0]: {k: int(v) for k, v in (w.split("=") for w in line.split()[1:])}
                for line in self.ask("show").splitlines()}


class Cluster:
    """Use as a context manager: all nodes are ready; with join=True (the default) they are one cluster."""

    def __init__(self, count, join=True, extra="", encrypt=False, data_mib=None, hidden=(), cluster="",
                 etcd=False, zones=0, sealed=True, edge=""):
        """data_mib: each node's data folder is a file system of that size; {number: size}: those of these. hidden: numbers of nodes that only dial out. cluster:
        more of that section. sealed: with listen.overlay, or its port.
        etcd: nodes may keep the store in it; without, the first one writes. zones: they are spread over so many.
        edge: of section dataplane, for nodes that clients come to."""
        self.cluster, self.etcd, self.zones, self.sealed, self.edge = cluster, etcd, zones, sealed, edge
        self.count, self.join_all, self.extra, self.encrypt, self.data_mib = count, join, extra, encrypt, data_mib
        self.hidden = hidden
        self.stack = contextlib.ExitStack()
        self.nodes = []
        self.lines = {}
        self.off = set()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.show)
            self.make()
            stack.pop_all()
        return self

    def show(self):
        """What is only asked for when something went wrong."""
        for node in self.nodes:
            node.show_log()
        self.close()

    def __exit__(self, kind, *_):
        if kind:
            for node in self.nodes:
                node.show_log()
        self.close()

    def close(self):
        """All nodes end at the same time."""
        for node in reversed(self.nodes):
            node.remove_all()
        for node in self.nodes:
            node.end()
        self.stack.close()

    def make(self):
        run("ip", "link", "add", "cells", "type", "bridge")
        self.stack.callback(run, "ip", "link", "del", "cells", check=False)
        run("ip", "address", "add", "10.77.0.254/24", "dev", "cells")
        run("ip", "link", "set", "cells", "up")
        for number in range(1, self.count + 1):
            self.add(number)
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            wait_for(node.ready, f"{node.label} is ready")
        if self.join_all:
            self.join(*self.nodes[1:])
            self.wait_all_ready()

    def add(self, number):
        space = self.stack.enter_context(Space())
        if number in self.hidden:
            self.connect_behind_router(number, space)
        else:
            self.connect(number, space)
        zone = f"z{number % self.zones}" if self.zones else ""
        node = Member(number, space, self.extra, self.encrypt, number in self.hidden, self.cluster, self.etcd, zone,
                      self.sealed, self.edge)
        mib = self.data_mib.get(number) if isinstance(self.data_mib, dict) else self.data_mib
        if mib:
            os.mkdir(node.data)
            run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "disk", node.data)
            self.stack.callback(run, "umount", "-l", node.data, check=False)
        self.stack.callback(node.destroy)
        self.nodes.append(node)

    def connect(self, number, space):
        run("ip", "link", "add", f"c{number}", "type", "veth", "peer", "name", "under0", "netns", str(space.pid))
        self.stack.callback(run, "ip", "link", "del", f"c{number}", check=False)
        run("ip", "link", "set", f"c{number}", "master", "cells", "up")
        space.ip("address", "add", f"10.77.0.{number}/24", "dev", "under0")
        space.ip("address", "add", f"fd77::{number}/64", "dev", "under0", "nodad")
        space.ip("link", "set", "under0", "up")

    def connect_behind_router(self, number, space):
        """Its packets leave with the router's address; nothing comes in but answers."""
        router = self.stack.enter_context(Space())
        run("ip", "link", "add", f"r{number}", "type", "veth", "peer", "name", "out0", "netns", str(router.pid))
        self.stack.callback(run, "ip", "link", "del", f"r{number}", check=False)
        run("ip", "link", "set", f"r{number}", "master", "cells", "up")
        router.ip("link", "add", "in0", "type", "veth", "peer", "name", "under0", "netns", str(space.pid))
        router.ip("address", "add", f"10.77.0.{100 + number}/24", "dev", "out0")
        router.ip("address", "add", f"{private(254)}/24", "dev", "in0")
        router.ip("link", "set", "out0", "up")
        router.ip("link", "set", "in0", "up")
        router.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        rules = """table ip nat { chain leave { type nat hook postrouting priority 100; oifname "out0" masquerade random; }; }
table inet filter { chain through { type filter hook forward priority 0; policy drop; iifname "in0" accept;
ct state established,related accept; }; }
"""
        router.run("nft", "-f", "-", input=rules)
        space.ip("address", "add", f"{private(number)}/24", "dev", "under0")
        space.ip("link", "set", "under0", "up")
        space.ip("route", "add", "default", "via", private(254))

    def __getitem__(self, i):
        return self.nodes[i]

    def running(self):
        return [n for n in self.nodes if n not in self.off]

    # ---- members

    def join(self, *nodes, by=None):
        """Each with a ticket of its own, from the first node unless said."""
        for node in nodes:
            ticket = (by or self.nodes[0]).cli("invite").stdout.strip()
            node.cli("join", "-", input=ticket + "\n")

    def wait_all_ready(self):
        """Every node that runs sees every node that runs as alive."""
        want = {n.label for n in self.running()}
        for node in self.running():
            wait_for(lambda node=node: self.alive(node) >= want, f"{node.label} sees {want} alive")

    @staticmethod
    def alive(node):
        with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
            return {name for name, n in node.nodes().items() if n["state"] == "alive"}
        return set()

    def told(self, kind):
        """Whether a node that runs has told of that (docs/events.md)."""
        return any(e["type"] == kind for n in self.running() for e in n.get("/v1/events?since=0&limit=1000")["items"])

    # ---- what goes wrong

    @staticmethod
    def nft(node, text):
        r = subprocess.run(["nsenter", f"--net=/proc/{node.space.pid}/ns/net", "--", "nft", "-f", "-"], input=text,
                           capture_output=True, text=True, timeout=60)
        check(r.returncode == 0, "nft:", r.stderr)

    def drop(self, node, what):
        self.nft(node, "table inet cut { chain arrive { type filter hook prerouting priority -400; policy accept; }; }\n"
                       f"add rule inet cut arrive iifname \"under0\" {what} drop\n")

    def one_way(self, a, b):
        """Nothing of a reaches b; what b sends arrives."""
        self.drop(b, f"ip saddr {a.address}")
        self.drop(b, f"ip6 saddr fd77::{a.number}")

    def partition(self, a, b):
        """Of two nodes, or lists of nodes: nothing passes between the sides."""
        for x in a if isinstance(a, (list, tuple)) else [a]:
            for y in b if isinstance(b, (list, tuple)) else [b]:
                self.one_way(x, y)
                self.one_way(y, x)

    def impair(self, node, side="both", **what):
        """The line of one node: delay_ms and jitter_ms (each way), loss, duplicate, reorder (of 1), rate_mbit, cut (0 or 1). side:
        "out" what it sends, "in" what it gets. What is not named stays as it was; heal() makes all lines good again."""
        if node not in self.lines:
            self.lines[node] = self.stack.enter_context(Line(node))
        self.lines[node].set(side, **what)

    def heal(self):
        for node in self.nodes:
            self.nft(node, "table inet cut\ndelete table inet cut\n")
        for line in self.lines.values():
            line.ask("clear")

    def kill(self, node):
        """As when the power goes: no process of it ends by itself, and nothing answers for it any more."""
        run("ip", "link", "set", node.link, "down")
        self.off.add(node)
        test_survive.restarted(node)

    def start(self, node):
        """Again, after kill: with what was on its disk."""
        run("ip", "link", "set", node.link, "up")
        self.off.discard(node)
        node.start()
