# SPDX-License-Identifier: Apache-2.0
"""Clients of replicas on another node where the network between nodes is trusted (cluster.encrypt: false): in the clear, by VXLAN.
Nodes have prefixes beside those of their clients, as on a site that numbers everything out of one network.

    client 10.77.0.254, fd77::254 ---- bridge "cells" ---- edge-1, edge-2 (10.77.0.N, fd77::N)
                                                           containers 10.77.10N.0/24, fd77:0:0:N::/64
"""

import os
import select
import socket

import zl
from test_clients import BALANCED, DATAGRAM, PLAIN, SECRET, World, addresses, carried, datagram, datagrams_come_back, explained, sees, ways, who
from test_l4 import ask
from test_placing import ready
from zl import check, equal, wait_for

PREFIXES = 'overlay: { prefix4: 10.77.10NUMBER.0/24, prefix6: "fd77:0:0:NUMBER::/64" }\n'

setup = zl.shared(lambda: World(2, encrypt=False, extra=PREFIXES))


def test_clients_are_seen():
    w = setup()
    home, (other,) = w.home()
    for node in w.nodes:
        for address, client in addresses(node):
            wait_for(lambda address=address, client=client: sees(address, client), f"{client} by {address}")

            def told_so(address=address, client=client):
                got = datagram(address, DATAGRAM)
                return got and got[0].split()[1:] == [client.encode(), str(got[1][1]).encode()]
            wait_for(told_so, f"udp by {address}")
        equal({n: way for n, way in ways(node).items() if n in BALANCED},
              {n: ("native", home.label, "kernel", "client") for n in BALANCED}, node.label)
        check(explained(node), "it is explained")
    before = carried(other)
    for address, client in addresses(other):
        for _ in range(20):
            check(sees(address, client), f"{client} by {address}")
    wait_for(lambda: carried(other) > before, "they are counted")


def test_they_go_in_the_clear():
    w = setup()
    home, (other,) = w.home()
    ends = {home.address, other.address}
    found = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        with socket.create_connection((other.address, PLAIN), timeout=20) as s:
            for _ in range(10):
                ask(s, SECRET)
        for _ in range(20000):
            if not select.select([sniffer], [], [], 0)[0]:
                break
            frame = sniffer.recv(65536)
            is_udp = frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP
            found += is_udp and SECRET in frame and {socket.inet_ntoa(frame[at:at + 4]) for at in (26, 30)} == ends
    check(found >= 20, "there and back, between the nodes", found)


def test_much_goes_through():
    w = setup()
    for node in w.nodes:
        for address, _ in addresses(node):
            with socket.create_connection((address, PLAIN), timeout=60) as s:
                s.setblocking(False)
                ask(s, os.urandom(4 << 20))
            datagrams_come_back(address)


def test_a_replica_on_each():
    """One of a node's own, and one of another's: the same client is seen by both."""
    w = setup()
    w.nodes[0].cli("scale", "net/echo=2", "--force")
    for node in w.nodes:
        ready(node, 2, {n.label for n in w.nodes})
        for address, client in addresses(node):
            seen = set()

            def both(address=address, client=client, seen=seen):
                for _ in range(10):
                    own, as_seen, is_ = who(address)
                    equal(as_seen, is_, f"{client} by {address}")
                    seen.add(own)
                return len(seen) == 2
            wait_for(both, f"{address}: both replicas are asked")


def test_end():
    setup().close()


if __name__ == "__main__":
    zl.main(globals())
