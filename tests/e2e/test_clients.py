# SPDX-License-Identifier: Apache-2.0
"""Clients of tcp and udp endpoints whose replica is on another node: the kernel carries their packets (docs/decisions/017).

    client 10.77.0.254, fd77::254 ---- bridge "cells" ---- edge-1, edge-2, edge-3 (10.77.0.N, fd77::N), XDP on each
                                                           the only replica of net/echo is on one of them
"""

import atexit
import itertools
import os
import select
import signal
import socket

import zl
from cluster import Cluster, config
from test_l4 import Load, ask, like_a_wire, line
from test_placing import images, ready
from zl import check, equal, run, stays, wait_for

PLAIN, WHO, DATAGRAM, HEADED, SECRET = 7100, 7104, 7104, 7102, b"zlayer-marker-in-clear"
CLIENT4, CLIENT6 = "10.77.0.254", "fd77::254"
EDGE = "uplink: auto, mode: {}, interfaces: [under0]"


def echo(replicas=1, drain="1s"):
    return f"""version: v1
deployment: net
services:
  echo:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: [/bin/echo-server, "7000"] }}
    endpoints:
      - {{ name: raw, protocol: tcp, port: {PLAIN}, target_port: 7000, expose: public }}
      - {{ name: who, protocol: tcp, port: {WHO}, target_port: 7004, expose: public }}
      - {{ name: dgram, protocol: udp, port: {DATAGRAM}, target_port: 7004, expose: public }}
      - {{ name: same, protocol: udp, port: {PLAIN}, target_port: 7000, expose: public }}
      - {{ name: headed, protocol: tcp, port: {HEADED}, target_port: 7002, expose: public, stream: {{ proxy_protocol: true }} }}
    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 2s
    update: {{ drain: {drain}, monitor: 100ms }}
"""


class World:
    def __init__(self, count=3, encrypt=True, extra="", edge=EDGE.format("native")):
        self.cluster = Cluster(count, encrypt=encrypt, edge=edge, extra=extra)
        self.cluster.__enter__()
        atexit.register(self.close)
        run("ip", "address", "add", CLIENT6 + "/64", "dev", "cells", "nodad")
        like_a_wire("cells")
        images(self.cluster)
        self.nodes = self.cluster.nodes
        self.nodes[0].deploy(echo())
        for node in self.nodes:
            ready(node, 1)
        wait_for(self.carry, lambda: f"the kernel carries: {[told(n) for n in self.nodes]}", seconds=120)

    def carry(self):
        """Whether each node's kernel brings clients to the replicas of all others."""
        return all(carries(n, len(self.nodes) - 1) for n in self.nodes)

    def close(self):
        atexit.unregister(self.close)
        self.cluster.__exit__(None, None, None)

    def home(self):
        """The node of the only replica, and the others."""
        (_, name, _), = [r for r in self.nodes[0].replicas() if r[2] == "ready"]
        node = next(n for n in self.nodes if n.label == name)
        return node, [n for n in self.nodes if n is not node]


def told(node):
    status = node.get("/v1/status")
    return (status["datapath"] or {}).get("xdp"), {p["name"]: p["clients"] for p in status["overlay"]["peers"]}


def carries(node, others):
    xdp, peers = told(node)
    return xdp not in (None, "off") and len(peers) == others and set(peers.values()) == {"kernel"}


setup = zl.shared(World)


def addresses(node):
    return ((node.address, CLIENT4), (f"fd77::{node.number}", CLIENT6))


def who(address, port=WHO):
    """(own address of the container, client as it sees it), and the client as it is."""
    with socket.create_connection((address, port), timeout=20) as s:
        own, seen, seen_port = line(s).split()
        return own, (seen, int(seen_port)), s.getsockname()[:2]


def sees(address, client):
    """Whether the container sees the client itself; None: no answer yet."""
    try:
        _, seen, is_ = who(address)
    except OSError:
        return None
    return seen == is_ and seen[0] == client


def datagram(address, port=DATAGRAM, data=b"hello"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect((address, port))
        try:
            s.send(data)
            return s.recv(65536), s.getsockname()[:2]
        except OSError:
            return None


def samples(node, name, **labels):
    text = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout
    return sum(float(row.rsplit(" ", 1)[1]) for row in text.splitlines()
               if row.startswith(name + "{") and all(f'{k}="{v}"' in row for k, v in labels.items()))


def carried(node):
    return samples(node, "zlayer_dataplane_packets_total", interface="uplink")


def ways(node, reasons=False):
    """endpoint -> by which way clients that come to this node reach the only replica, and what it learns of them; with the reasons:
    why the kernel does not balance the endpoint, and why it does not bring packets to the replica."""
    found = {}
    for e in node.get("/v1/services/net/echo/clients")["items"]:
        r, = e["replicas"]
        found[e["endpoint"]] = (e["xdp"], r["node"], r["by"], r["sees"])
        if reasons:
            found[e["endpoint"]] += tuple((x["reason"] or {}).get("what") for x in (e, r))
    return found


def explained(node):
    """The lines of `zlayer explain` that tell of clients, without what they begin with."""
    lines = node.cli("explain", "net/echo").stdout.splitlines()
    return [" ".join(line.split()) for line in lines if " clients " in line]


def says(node, *lines):
    """Whether these lines are among them, whatever comes before and after."""
    found = explained(node)
    return all(any(line in one for one in found) for line in lines)


def endpoints(*names):
    ports = {"raw": ("tcp", PLAIN), "who": ("tcp", WHO), "dgram": ("udp", DATAGRAM), "same": ("udp", PLAIN), "headed": ("tcp", HEADED)}
    return {n: f"{n} ({ports[n][0]} {ports[n][1]})" for n in names or ports}


BALANCED = ("raw", "who", "dgram", "same")


# ---- tests

def test_clients_are_seen():
    w = setup()
    for node in w.nodes:
        for address, client in addresses(node):
            wait_for(lambda address=address, client=client: sees(address, client), f"{client} by {address}")

            def told_so(address=address, client=client):
                got = datagram(address)
                return got and got[0].split()[1:] == [client.encode(), str(got[1][1]).encode()]
            wait_for(told_so, f"udp by {address}")  # sessions of the relay stay there for a while
    _, others = w.home()
    for node in others:
        before = carried(node)
        for address, client in addresses(node):
            for _ in range(20):
                check(sees(address, client), f"{client} by {address}")
        wait_for(lambda: carried(node) > before, f"{node.label} has counted them")


def test_ways_are_told():
    """By which way clients come, and what the replica learns of them, is said by every node, of itself."""
    w = setup()
    home, _ = w.home()
    for node in w.nodes:
        want = {n: ("native", home.label, "kernel", "client", None, None) for n in BALANCED}
        want["headed"] = ("off", home.label, "relay", "header", "stream.proxy_protocol is true", None)
        equal(ways(node, True), want, node.label)
        at = f"echo.1 on {home.label}"
        lines = [f"{e}: by the kernel, XDP native: {at} sees them" for e in endpoints(*BALANCED).values()]
        lines.append(f"{endpoints('headed')['headed']}: by the relay: {at} is told of them (stream.proxy_protocol is true)")
        check(says(node, *lines), node.label, explained(node))
        equal(len(explained(node)), len(lines), node.label)


def test_much_goes_through():
    """Both ways, more than fits into one packet: no segment is lost for its size, super-packets are cut."""
    w = setup()
    for node in w.nodes:
        for address, _ in addresses(node):
            with socket.create_connection((address, PLAIN), timeout=60) as s:
                s.setblocking(False)
                ask(s, os.urandom(4 << 20))


def datagrams_come_back(address):
    """One that fits the path, and one that does not."""
    for size in (1300, 4000):
        data = os.urandom(size)

        def back(data=data):
            got = datagram(address, PLAIN, data)
            return got and got[0].split(b" ", 1)[1] == data
        wait_for(back, f"{size} bytes by {address}")


def test_large_datagrams():
    """What is too long for the path goes by the relay, joined there."""
    w = setup()
    for node in w.nodes:
        for address, _ in addresses(node):
            datagrams_come_back(address)


def test_errors_find_their_way():
    """A datagram to a port of the container that nobody has: the client hears it from the address that it asked."""
    w = setup()
    w.nodes[0].deploy(echo().replace("udp, port: 7100, target_port: 7000", "udp, port: 7100, target_port: 7999"))

    def refuses(address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.connect((address, PLAIN))
            try:
                s.send(b"hello")
                s.recv(100)
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
    for node in w.nodes:
        for address, _ in addresses(node):
            wait_for(lambda address=address: refuses(address), f"{address} refuses")
    w.nodes[0].deploy(echo())
    for node in w.nodes:
        ready(node, 1)
        for address, client in addresses(node):
            wait_for(lambda address=address, client=client: sees(address, client), f"{client} by {address}")


def connect(address, port=PLAIN, source_port=0):
    """source_port: other connections may have it, to other addresses."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(60)
    if source_port:
        s.bind(("", source_port))
    s.connect((address, port))
    return s


def load_of(nodes):
    """Connections by every address of every node."""
    return Load([lambda a=a: connect(a) for n in nodes for a, _ in addresses(n)], pace=0.01)


def pinned(node):
    return samples(node, "zlayer_dataplane_flows", port=str(PLAIN))


def test_equal_ports():
    """Connections of one client with the same source port, to addresses of different nodes, whose container is one: it cannot tell them
    apart, and each of them lives, whichever comes first, whichever ends first."""
    w = setup()
    home, others = w.home()
    for n, nodes in enumerate(itertools.permutations((home, *others))):
        for family in range(2):
            at = [addresses(node)[family][0] for node in nodes]
            source_port = 21000 + 10 * n + family
            held = []
            for a in at:
                held.append(connect(a, source_port=source_port))
                for s in held:
                    ask(s, b"x" * 5000)
            for _ in range(3):
                for s in held:
                    ask(s, b"y" * 20000)
            held.pop(n % len(held)).close()
            for s in held:
                ask(s)
                s.close()
    for node in others:
        wait_for(lambda node=node: pinned(node) > 0, f"{node.label} tells of connections that are the relay's")
    for node in w.nodes:
        for address, client in addresses(node):
            wait_for(lambda address=address, client=client: sees(address, client), f"{client} by {address}, as ever")


def test_processes_die():
    w = setup()
    home, others = w.home()
    with load_of(w.nodes) as load:
        for role in ("dataplane", "overlay", "scheduler"):
            for node in (home, others[0]):
                load.more()
                pid = node.kill(role)
                load.more(what=f"{role} of {node.label}, {'the home' if node is home else 'another'}, was killed")
                wait_for(lambda node=node, pid=pid: pid not in node.processes().values() and node.ready(),
                         f"{role} of {node.label} is back")
        wait_for(w.carry, lambda: f"it is as before: {[told(n) for n in w.nodes]}")
        load.more()


def test_replicas_come_and_go():
    """A replica drains until its connections, which came by other nodes, are silent; new ones never fail."""
    w = setup()
    with load_of(w.nodes) as load:
        load.more()
        w.nodes[0].cli("scale", "net/echo=3", "--force")
        for node in w.nodes:
            ready(node, 3)
        load.more()
        seen = set()

        def all_three():
            seen.update(who(w.nodes[0].address)[0] for _ in range(20))
            return len(seen) == 3
        wait_for(all_three, "all three are asked")
        load.more()


def open_many(nodes, count):
    """[(socket, own address of its container)] by every node and family."""
    many = []
    for node in nodes:
        for address, _ in addresses(node):
            for _ in range(count):
                s = socket.create_connection((address, WHO), timeout=20)
                many.append((s, line(s).split()[0]))
    return many


def test_replicas_drain():
    """Connections that came by other nodes hold a replica that drains; new ones go to the others."""
    w = setup()
    for count in (1, 3):  # replicas have the time to drain of the document that they were made from
        w.nodes[0].deploy(echo(count, drain="60s"))
        for node in w.nodes:
            ready(node, count)
    many = open_many(w.nodes, 6)
    wait_for(lambda: len({own for _, own in many}) == 3 or many.extend(open_many(w.nodes, 6)), "all three have some")
    w.nodes[0].cli("scale", "net/echo=1", "--force", "--detach", status=None)

    def one_is_asked():
        for s, _ in many:
            ask(s)
        return {who(a)[0] for n in w.nodes for a, _ in addresses(n) for _ in range(10)}
    wait_for(lambda: len(one_is_asked()) == 1, "new connections go to one")
    left, = one_is_asked()
    stays(lambda: [ask(s) for s, _ in many], "they speak", seconds=5, every=1)
    for s, own in many:
        if own != left:
            s.close()
    for node in w.nodes:
        ready(node, 1)
    for s, own in many:
        if own == left:
            ask(s)
            s.close()


def test_the_clear_is_sealed():
    """Between the nodes nothing of what a client says can be read."""
    w = setup()
    ours, clear = 0, []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        for node in w.nodes:
            with socket.create_connection((node.address, PLAIN), timeout=20) as s:
                for _ in range(10):
                    ask(s, SECRET)
        for _ in range(20000):
            if not select.select([sniffer], [], [], 0)[0]:
                break
            frame = sniffer.recv(65536)
            if frame[12:14] != b"\x08\x00" or SECRET not in frame:
                continue
            ends = [socket.inet_ntoa(frame[at:at + 4]) for at in (26, 30)]
            if CLIENT4 in ends:
                ours += 1
            else:
                clear.append(ends)
    check(ours > 30, ours)
    equal(clear, [], "in the clear between nodes")


def test_a_node_without_bpf():
    """Its replicas are the relay's, and the others are told so."""
    w = setup()
    w.nodes[0].cli("scale", "net/echo=1", "--force")
    for node in w.nodes:
        ready(node, 1)
    home, others = w.home()
    home.write_config(config(home.number, encrypt=True, edge=EDGE.format("off")))
    home.process.send_signal(signal.SIGHUP)

    def by_relay():
        return all(told(n)[1].get(home.label) == "relay" for n in others)
    wait_for(by_relay, lambda: f"it is known: {[told(n) for n in others]}")
    at, why = f"echo.1 on {home.label}", f"{home.label} does not take clients' packets"
    for node in others:
        wait_for(lambda node=node: sees(node.address, CLIENT4) is False, f"the relay of {node.label} serves")
        equal({n: way for n, way in ways(node, True).items() if n in BALANCED},
              {n: ("native", home.label, "relay", "node", None, why) for n in BALANCED}, node.label)
        check(says(node, *(f"{e}: by the relay: {at} sees this node ({why})" for e in endpoints(*BALANCED).values())), explained(node))
        check("stream.proxy_protocol: true in the document tells" in node.cli("explain", "net/echo").stdout, "what to do about it")
    equal({n: way for n, way in ways(home, True).items() if n in BALANCED},
          {n: ("off", home.label, "relay", "node", "dataplane.mode is off", None) for n in BALANCED}, home.label)
    check(says(home, *(f"{e}: by the relay: {at} sees this node (dataplane.mode is off)" for e in endpoints(*BALANCED).values())),
          explained(home))
    home.write_config(config(home.number, encrypt=True, edge=EDGE.format("native")))
    home.process.send_signal(signal.SIGHUP)
    wait_for(w.carry, lambda: f"it is as before: {[told(n) for n in w.nodes]}")
    for node in others:
        wait_for(lambda node=node: sees(node.address, CLIENT4), f"the client is seen again by {node.label}")


def test_end():
    setup().close()


if __name__ == "__main__":
    zl.main(globals())
