# SPDX-License-Identifier: Apache-2.0
"""Clients at every node, of tcp endpoints (carried by the kernel) and of HTTP, while replicas are replaced, nodes are reloaded, upgraded,
killed and lose their power, and an address that all nodes serve moves between them. What could be kept is kept.

    client 10.77.0.254, fd77::254 ---- bridge "cells" ---- edge-1, edge-2, edge-3 (10.77.0.N, fd77::N), XDP on each,
                                                           10.78.0.80 and fd78::80 on each: routed to one of them

    tools/test cluster-long
"""

import contextlib
import os
import signal
import socket
import threading
import time

import zl
from test_clients import EDGE, PLAIN, WHO, World, addresses, echo, who
from test_l4 import Load as Streams, ask, line
from test_placing import ready
from wreck import Load as Requests, served
from zl import check, equal, run, service, wait_for

VIP4, VIP6 = "10.78.0.80", "fd78::80"
VIPS = (VIP4, VIP6)
PATIENCE_S = 30


class Shared(World):
    """Three nodes with a replica of net/echo and of shop/web each, and an address that all of them serve."""

    def __init__(self, encrypt):
        self.sealed = encrypt
        super().__init__(3, encrypt=encrypt, edge=EDGE.format("native") + f', vips: ["{VIP4}/32", "{VIP6}/128"]')
        for node in self.nodes:
            for vip in VIPS:
                node.space.ip("address", "add", vip, "dev", "lo", *(["nodad"] if ":" in vip else []))
        self.nodes[0].deploy(service(replicas=3))
        self.scale(3)
        for node in self.nodes:
            ready(node, 6)
            wait_for(lambda node=node: served(node), f"{node.label} serves")
        self.route(self.nodes[0])

    def scale(self, count):
        self.nodes[0].cli("scale", f"net/echo={count}", "--force")
        for node in self.cluster.running():
            wait_for(lambda node=node: self.has(node, count), lambda node=node: f"{count} at {node.label}: {node.replicas('net')}",
                     seconds=90)

    @staticmethod
    def has(node, count):
        rows = node.replicas("net")
        return len(rows) == count and all(r[2] == "ready" for r in rows)

    def carried(self, count):
        """Every node's kernel brings clients to so many replicas."""
        for node in self.cluster.running():
            for address, client in addresses(node):
                seen = set()

                def all_of_them(address=address, client=client, seen=seen):
                    for _ in range(2 * count):
                        own, saw, _ = who(address)
                        if saw[0] == client:
                            seen.add(own)
                    return len(seen) == count
                wait_for(all_of_them, lambda address=address, seen=seen: f"{count} by {address}: {seen}")

    def route(self, node):
        """The shared address leads to that node from now on."""
        for vip, by in ((VIP4, node.address), (VIP6, f"fd77::{node.number}")):
            run("ip", "-6" if ":" in vip else "-4", "route", "replace", vip, "via", by)

    def where(self):
        """own address of a container -> its node."""
        return {r["container"]["address"]: node for node in self.cluster.running() for r in node.get("/v1/replicas?target=net")["items"]
                if r["here"] and r["container"]}


@contextlib.contextmanager
def a_world(encrypt):
    w = Shared(encrypt)
    try:
        yield w
    except BaseException:
        for node in w.nodes:
            node.show_log()
        raise
    finally:
        w.close()


# ---- clients

class Everybody:
    """Clients of all kinds at these addresses; `held`: connections that are kept by address and family."""

    def __init__(self, nodes, held, vips=()):
        at = [a for n in nodes for a, _ in addresses(n)] + list(vips)
        self.streams = Streams([lambda a=a: socket.create_connection((a, PLAIN), timeout=PATIENCE_S) for a in at], each=held, pace=0.01)
        self.requests = [Requests(n) for n in nodes]

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for load in (self.streams, *self.requests):
                stack.enter_context(load)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def more(self, what):
        """All of them go on, and nothing has failed since they began."""
        self.streams.more(what=what)
        for load in self.requests:
            load.more(20)
            equal(load.bad, [], f"{what}: requests to {load.address}")
        check(not self.streams.failed, what, self.streams.failed[:5])


def hold(address, count):
    """[(socket, own address of its container)] of those that the kernel carries: what is the relay's ends with its node."""
    held = []

    def enough():
        s = socket.create_connection((address, WHO), timeout=PATIENCE_S)
        own, seen, _ = line(s).split()
        if seen == s.getsockname()[0]:
            held.append((s, own))
        else:
            s.close()
        return len(held) == count
    wait_for(enough, f"the kernel carries {count} clients of {address}")
    return held


def speak(held, what):
    """Each of them, all at the same time."""
    failed = []

    def one(s, own):
        try:
            ask(s, b"x" * 3000)
        except Exception as e:
            failed.append((own, repr(e)))
    threads = [threading.Thread(target=one, args=h) for h in held]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not failed, what, f"{len(failed)} of {len(held)}:", failed[:5])


def part(held):
    for s, _ in held:
        s.close()


# ---- what happens to them

def replaced(w):
    """Replicas give way to new ones. Connections that are kept end with the replica when its time to drain is over; all others do not
    notice."""
    with Everybody(w.nodes, held=0) as all_:
        for what in ("net/echo", "shop/web"):
            w.nodes[1].cli("restart", what)
            all_.more(f"{what} was restarted")
        for count in (5, 3):
            w.scale(count)
            all_.more(f"{count} replicas")
        w.nodes[2].deploy(echo(3).replace('"7000"', '"7000", "again"'))
        for node in w.nodes:
            wait_for(lambda node=node: w.has(node, 3), f"the new ones at {node.label}", seconds=90)
        all_.more("a new revision")


def signalled(w):
    """Reloaded, and upgraded in place, one node after the other."""
    with Everybody(w.nodes, held=2, vips=VIPS) as all_:
        for node in w.nodes:
            node.process.send_signal(signal.SIGHUP)
            all_.more(f"SIGHUP to {node.label}")
            before = node.processes()
            node.process.send_signal(signal.SIGUSR2)
            wait_for(lambda node=node, before=before: not set(before.values()) & set(node.processes().values()) and node.ready(),
                     f"every process of {node.label} is another", seconds=120)
            all_.more(f"SIGUSR2 to {node.label}")
        wait_for(w.carry, "it is as before")
        all_.more("the kernel carries as before")


def moved(w):
    """The shared address goes from node to node, all of which live."""
    with Everybody(w.nodes, held=1, vips=VIPS) as all_:
        held = [h for vip in VIPS for h in hold(vip, 12)]
        for node in (*w.nodes[1:], w.nodes[0]):
            w.route(node)
            speak(held, f"kept by {node.label}")
            all_.more(f"the shared address is at {node.label}")
        part(held)


def moved_in_a_change(w):
    """The same while replicas come: connections of before and of the change, and those that begin at the next node."""
    held = [h for vip in VIPS for h in hold(vip, 12)]
    w.scale(5)
    w.carried(5)
    began = len(held)

    def all_five():
        held.extend(h for vip in VIPS for h in hold(vip, 8))
        return len({own for _, own in held[began:]}) == 5
    wait_for(all_five, "all five are asked")
    for node in (*w.nodes[1:], w.nodes[0]):
        w.route(node)
        speak(held, f"kept by {node.label} in a change")
        held.extend(h for vip in VIPS for h in hold(vip, 6))
    part(held)
    w.scale(3)


def killed(w):
    """kill -9 of every process of the node that the shared address leads to, node's too. In the clear the kernel goes on alone; what is
    sealed waits for the process that seals. Clients of its proxies are lost."""
    victim = w.nodes[1]
    w.route(victim)
    held = [h for vip in VIPS for h in hold(vip, 12)] + [h for a, _ in addresses(victim) for h in hold(a, 6)]
    for pid in {victim.process.pid, *victim.processes().values()}:
        os.kill(pid, signal.SIGKILL)
    victim.process.wait()
    if not w.sealed:
        speak(held, "kept by the kernel alone")
        w.route(w.nodes[2])
        speak(held, "kept by another node")
        w.route(victim)
    victim.start()
    speak(held, "kept when it is back")
    w.cluster.wait_all_ready()
    wait_for(w.carry, "it is as before")
    with Everybody(w.nodes, held=1, vips=VIPS) as all_:
        all_.more(f"{victim.label} is back")
        speak(held, "kept when all is as before")
    part(held)


def powerless(w):
    """The node that the shared address leads to is gone, its replicas with it. Connections of other replicas stay, and when it is
    known nothing fails any more."""
    victim = w.nodes[2]
    w.route(victim)
    where = w.where()
    held = [h for vip in VIPS for h in hold(vip, 18)]
    kept = [h for h in held if where[h[1]] is not victim]
    check(len({own for _, own in kept}) == 2, "others have some", len(kept))
    left = [n for n in w.nodes if n is not victim]
    w.cluster.kill(victim)
    w.route(left[0])
    speak(kept, "of replicas that live")
    for node in left:
        wait_for(lambda node=node: w.has(node, 3), lambda node=node: f"three at {node.label}: {node.replicas('net')}", seconds=90)
    with Everybody(left, held=1, vips=VIPS) as all_:
        all_.more("without it")
        speak(kept, "while it is away")
        w.cluster.start(victim)
        for vip in VIPS:
            victim.space.ip("address", "replace", vip, "dev", "lo")
        w.cluster.wait_all_ready()
        wait_for(w.carry, "it is as before", seconds=120)
        all_.more("it is back")
        w.route(victim)
        speak(kept, "by who was away")
        all_.more("it serves again")
    part(held)


def all_of_it(encrypt):
    with a_world(encrypt) as w:
        for happens in (moved_in_a_change, moved, replaced, signalled, killed, powerless):
            began = time.monotonic()
            happens(w)
            print(f"# {'sealed' if encrypt else 'plain'}: {happens.__name__} {time.monotonic() - began:.0f} s", flush=True)


def test_sealed():
    all_of_it(True)


def test_plain():
    all_of_it(False)


if __name__ == "__main__":
    zl.main(globals())
