# SPDX-License-Identifier: Apache-2.0
"""What crosses from one node to another: names of replicas there, and clients' addresses.

    client 10.77.0.254 ---- edge-1 (10.77.0.1) ---- edge-2 (10.77.0.2)
                               each may be the one that a client comes to, and the replica on the other one
"""

import atexit
import socket
import struct

import dnsmsg
import test_dns
import zl
from cluster import Cluster
from dnsmsg import A, AAAA, PTR, SOA, SRV, Message, query
from test_mesh import meshed, own
from test_placing import images, ready
from zl import check, equal, run, service, wait_for

CLIENT = "10.77.0.254"
HEADED, DATAGRAM, NAMED = 7102, 7103, 7101
LINE = b"\r\n\r\n\0\r\nQUIT\n"

ECHO = f"""version: v1
deployment: net
services:
  echo:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: [/bin/echo-server, "7000"] }}
    endpoints:
      - {{ name: headed, protocol: tcp, port: {HEADED}, target_port: 7002, expose: public, stream: {{ proxy_protocol: true }} }}
      - {{ name: dgram, protocol: udp, port: {DATAGRAM}, target_port: 7001, expose: public, stream: {{ proxy_protocol: true }} }}
      - {{ name: named, protocol: tcp, port: {NAMED}, target_port: 7001, expose: public }}
    scale: {{ mode: fixed, replicas: 1 }}
    stop_grace_period: 1s
"""


class World:
    """Two nodes: three replicas of shop/web on both, one of net/echo and of one/web on one."""

    def __init__(self):
        self.cluster = Cluster(2)
        self.cluster.__enter__()
        atexit.register(self.close)
        images(self.cluster)
        self.nodes = self.cluster.nodes
        self.nodes[0].deploy(service(replicas=3))
        self.nodes[1].deploy(service(host="one.test", deployment="one"))
        self.nodes[0].deploy(ECHO)
        for node in self.nodes:
            ready(node, 5)
        wait_for(lambda: meshed(self.nodes), "everybody knows where everybody's containers are")

    def close(self):
        atexit.unregister(self.close)
        self.cluster.__exit__(None, None, None)

    def containers(self, service=None):
        """name -> (its node, address, address6, pid), as its own node tells."""
        found = {}
        for node in self.nodes:
            for r in node.get("/v1/replicas")["items"]:
                if r["node"] == node.label and r["container"] and (not service or r["name"].startswith(service + ".")):
                    c = r["container"]
                    found[r["name"]] = (node, c["address"], c["address6"], c["pid"])
        return found

    def home(self, service):
        """The node of a service's only replica, and the other one."""
        (node, *_), = self.containers(service).values()
        return node, next(n for n in self.nodes if n is not node)

    def ask(self, node, name, kind=A, **more):
        """Of the node's name server, by a container of shop/web there."""
        pid = next(c[3] for c in self.containers("shop/web").values() if c[0] is node)
        server = own(node).replace(".0/24", ".1")
        reply = test_dns.inside(pid, lambda: test_dns.udp(server, query(name, kind, **more), seconds=5, tries=4))
        check(reply is not None, "no answer for", name)
        return Message(reply)


setup = zl.shared(World)


def reverse(address):
    if ":" in address:
        return ".".join(reversed(socket.inet_pton(socket.AF_INET6, address).hex())) + ".ip6.arpa"
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


# ---- names

def test_local_first():
    w = setup()
    web = w.containers("shop/web")
    equal({c[0] for c in web.values()}, set(w.nodes), "web is on both nodes")
    for node in w.nodes:
        here = {c[1] for c in web.values() if c[0] is node}
        there = {c[1] for c in web.values() if c[0] is not node}
        for name in ("web.service", "web.global", "web.shop.zlayer.internal"):
            wait_for(lambda: set(w.ask(node, name).data()) == here | there, f"{name} of both nodes at {node.label}")
            for _ in range(6):
                data = w.ask(node, name).data()
                equal((set(data[:len(here)]), set(data[len(here):])), (here, there), f"{name} at {node.label}")
        m = w.ask(node, "_https._tcp.web.service", SRV, edns=1232)
        local = sorted(n.rsplit(".", 1)[1] + ".web.service" for n, c in web.items() if c[0] is node)
        equal(sorted(d[3] for d in m.data(SRV)[:len(here)]), local)
        equal({d[2] for d in m.data(SRV)}, {8080})


def test_replicas_elsewhere():
    w = setup()
    web = w.containers("shop/web")
    for node in w.nodes:
        for full, (home, address, address6, _) in web.items():
            number = full.rsplit(".", 1)[1]
            name = f"{number}.web.shop.zlayer.internal"
            equal(w.ask(node, f"{number}.web.service").data(), [address], f"{full} at {node.label}")
            equal(w.ask(node, name).data(), [address])
            equal(w.ask(node, reverse(address), PTR).data(PTR), [name], f"{address} of {home.label} at {node.label}")
            equal(w.ask(node, reverse(address6), PTR).data(PTR), [name], f"{address6} of {home.label} at {node.label}")


def test_nodes_and_their_addresses():
    w = setup()
    for node in w.nodes:
        for other in w.nodes:
            name = f"{other.label}.node.zlayer.internal"
            mine = own(other).replace(".0/24", ".1")
            equal(w.ask(node, name).data(), [mine])
            six, = w.ask(node, name, AAAA).data(AAAA)
            equal([w.ask(node, reverse(a), PTR).data(PTR) for a in (mine, six)], [[name]] * 2)
            # What is nobody's is not asked of the world, and the zone says so itself.
            used = {c[1] for c in w.containers().values()}
            free = next(a for a in (own(other).replace(".0/24", f".{i}") for i in range(250, 2, -1)) if a not in used)
            m = w.ask(node, reverse(free), PTR)
            equal((m.rcode, m.own, [(r[0], r[1]) for r in m.authorities]),
                  (dnsmsg.NXDOMAIN, True, [(reverse(free).split(".", 1)[1], SOA)]))


# ---- clients' addresses

def curl(node, host, path):
    return run("curl", "-sk", "--max-time", "20", "--interface", CLIENT, "--resolve", f"{host}:8443:{node.address}",
               f"https://{host}:8443{path}", check=False).stdout


def test_forwarded_for():
    """A request's client, whichever node it came to."""
    w = setup()
    home, other = w.home("one/web")
    for node in (home, other):
        text = wait_for(lambda: "x-forwarded-for" in (said := curl(node, "one.test", "/echo").lower()) and said,
                        f"{node.label} serves one.test")
        check(f"x-forwarded-for: {CLIENT}\r\n" in text or f"x-forwarded-for: {CLIENT}\n" in text, node.label, text)


def header(protocol, client, node, port):
    return (LINE + bytes([0x21, 0x10 | protocol, 0, 12]) + socket.inet_aton(client[0]) + socket.inet_aton(node.address) +
            struct.pack(">HH", client[1], port)).hex()


def connect(node, port):
    """A stream's listener is opened when the node has heard of it."""
    def go():
        try:
            return socket.create_connection((node.address, port), timeout=20, source_address=(CLIENT, 0))
        except OSError:
            return None
    return wait_for(go, f"{node.label}:{port}")


def test_proxy_protocol():
    """PROXY headers tell a replica on another node whose connection or datagram it is."""
    w = setup()
    for node in w.home("net/echo"):
        def once():
            with connect(node, HEADED) as s:
                s.sendall(b"hello")
                s.shutdown(socket.SHUT_WR)
                got = read_echo(s)
                return got and (got, header(1, s.getsockname(), node, HEADED))
        (line, rest), want = wait_for(once, f"tcp by {node.label}")
        equal((line, rest), (want, b"hello"), f"tcp by {node.label}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((CLIENT, 0))
            s.connect((node.address, DATAGRAM))
            s.settimeout(1)

            def answer():
                try:
                    s.send(b"hi")
                    return s.recv(65536)
                except OSError:
                    return None
            text = wait_for(answer, f"udp by {node.label}").split()[1].decode()
            equal(text, header(2, s.getsockname(), node, DATAGRAM) + b"hi".hex(), f"udp by {node.label}")


def read_echo(s):
    """(header line, rest) of a connection to the echo; None when it was cut before."""
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except OSError:
        return None
    line, _, rest = data.partition(b"\n")
    return (line.decode(), rest) if line else None


def peers_of(pid, port):
    """Who is connected to a port of a container, as its kernel tells."""
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}") as f:
            for row in f.read().splitlines()[1:]:
                local, remote, state = row.split()[1:4]
                if state == "01" and int(local.split(":")[1], 16) == port:
                    found.add(socket.inet_ntoa(struct.pack("=I", int(remote.split(":")[0][-8:], 16))))
    return found


def test_without_a_header():
    """Through the relay a replica sees the node that the client came to, by its address among the containers: it says which node
    it was, and nothing of the client."""
    w = setup()
    (_, _, _, pid), = w.containers("net/echo").values()
    for node in w.home("net/echo"):
        with connect(node, NAMED) as s:
            s.sendall(b"x")
            check(s.recv(1), "no answer by", node.label)
            wait_for(lambda: own(node).replace(".0/24", ".1") in peers_of(pid, 7001),
                     lambda: f"{node.label}: {peers_of(pid, 7001)}")


def test_end():
    setup().close()


if __name__ == "__main__":
    zl.main(globals())
