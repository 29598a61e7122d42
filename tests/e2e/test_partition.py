# SPDX-License-Identifier: Apache-2.0
"""Lines that are cut, and lines that are bad: short ones. tests/e2e/long_*.py have those that take minutes."""

import os
import signal
import socket
import time

import wreck
import zl
from cluster import Cluster
from wreck import Load, agreed, begin, restarts
from zl import check, equal, run, service, wait_for

ECHO_PORT = 7777
SO_RCVBUFFORCE = 33


def datagrams():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)  # all that is sent at once
    return s


def echo(ready, address):
    with datagrams() as s:
        s.bind((address, ECHO_PORT))
        ready()
        while True:
            data, client = s.recvfrom(2048)
            s.sendto(data, client)


def echoes(address, count, all_of_them, patience=1.5):
    """(numbers that came back, shortest time there and back). Their order is not looked at: the kernel's own lines keep none when
    the sender moves to another processor."""
    came, shortest = [], 1e9
    with datagrams() as s:
        s.connect((address, ECHO_PORT))
        s.settimeout(patience)
        sent = []
        for i in range(count):
            sent.append(time.monotonic())
            s.send(i.to_bytes(4, "big"))
        try:
            while not all_of_them or len(came) < count:
                number = int.from_bytes(s.recv(64), "big")
                shortest = min(shortest, time.monotonic() - sent[number])
                came.append(number)
        except TimeoutError:
            pass
    return sorted(came), shortest


def test_lines():
    """What the others are made with does what it says."""
    with Cluster(2, join=False) as c:
        a, b = c
        b.space.serve(echo, b.address)

        def ask(count, side="both", **what):
            c.impair(b, side, **what)
            exact = not what.keys() & {"loss", "duplicate", "cut"}
            came, shortest = a.space.call(echoes, b.address, count, exact)
            c.heal()
            return came, shortest
        equal(ask(50)[0], list(range(50)), "a good line")
        came, shortest = ask(10, delay_ms=100)
        equal(came, list(range(10)))
        check(shortest >= 0.2, shortest)
        came, shortest = ask(50, "in", delay_ms=30, jitter_ms=60)
        equal(came, list(range(50)))
        check(shortest >= 0.03, shortest)
        came, _ = ask(400, "in", loss=0.3)
        check(200 <= len(came) <= 360, len(came))
        came, _ = ask(400, "in", duplicate=0.3)
        check(440 <= len(came) <= 600 and sorted(set(came)) == list(range(400)), len(came))
        came, _ = ask(200, "out", delay_ms=50, reorder=0.1)
        equal(came, list(range(200)))
        check(c.lines[b].counters()["a"]["overtook"] > 0, c.lines[b].counters())
        equal(ask(5, "in", cut=1)[0], [])
        equal(ask(5, "out", cut=1)[0], [])
        equal(ask(50)[0], list(range(50)), "a good line again")


def test_cut_off():
    """One of three for ten seconds: both parts serve, and are one again without anybody's help."""
    with Cluster(3) as c:
        begin(c, 3)
        with Load(c[0]) as load:
            with load.fault("edge-3 cut off for 10 s"):
                c.partition(c[2], c[:2])
                cut = time.monotonic()
                wait_for(lambda: c[0].nodes()["edge-3"]["state"] == "unreachable", "it is missed")
                print(f"# missed after {time.monotonic() - cut:.1f} s", flush=True)
                agreed(c[:2], 3, "the larger part has all replicas")
                agreed(c[2:], 3, "and so has the smaller one")
                check(wreck.served(c[2]), "the smaller part does not serve")
                r = c[2].cli("scale", "shop/web=4", "--force", status=None)
                check(r.returncode == 8 and "edge-1" in r.stderr, r.returncode, r.stdout, r.stderr)
                wait_for(lambda: time.monotonic() - cut > 10, "ten seconds")
            with load.fault("healed"):
                c.heal()
                healed = time.monotonic()
                wait_for(lambda: wreck.mistaken(c.nodes) is None, lambda: f"names and endpoints: {wreck.mistaken(c.nodes)}")
                print(f"# names and endpoints right {time.monotonic() - healed:.1f} s after", flush=True)
                agreed(c.nodes, 3, "one again")
                print(f"# one again {time.monotonic() - healed:.1f} s after", flush=True)
            load.judge()
        c[2].deploy(service(replicas=4))
        agreed(c.nodes, 4, "a deploy through the one that was cut off")


def test_one_way():
    """Nothing of edge-2 reaches edge-3: through edge-1 they know that both are there, and nothing moves."""
    with Cluster(3) as c:
        begin(c, 3)
        before = restarts(c[0])
        with Load(c[0]) as load:
            with load.fault("edge-2 not heard by edge-3"):
                c.one_way(c[1], c[2])
                goals = [n.heard("ack") + 16 for n in c.nodes]

                def nobody_is_lost():
                    for node in c.nodes:
                        check("unreachable" not in {m["state"] for m in node.nodes().values()}, node.label, node.nodes())
                    return all(n.heard("ack") >= goal for n, goal in zip(c.nodes, goals))
                wait_for(nobody_is_lost, "probes go on")
                equal(restarts(c[0]), before, "nothing moves")
            with load.fault("healed"):
                c.heal()
                agreed(c.nodes, 3, "all the same")
            load.judge()
        equal(restarts(c[0]), before, "nothing has moved")


def test_far_away():
    """300 ms there and back, one packet of a hundred lost: it joins, runs and is managed as any other."""
    with Cluster(3, join=False) as c:
        c.impair(c[2], delay_ms=150, loss=0.01)
        c.join(*c[1:])
        c.wait_all_ready()
        begin(c, 3, by=2)
        before = restarts(c[0])
        goals = [n.heard("ack") + 30 for n in c.nodes]

        def nobody_is_lost():
            for node in c.nodes:
                check("unreachable" not in {m["state"] for m in node.nodes().values()}, node.label, node.nodes())
            return all(n.heard("ack") >= goal for n, goal in zip(c.nodes, goals))
        wait_for(nobody_is_lost, "no flapping")
        equal(restarts(c[0]), before, "nothing moves")
        check(wreck.served(c[2]), "it serves")
        c[2].deploy(service(replicas=4))
        agreed(c.nodes, 4, "a change through it")


def test_what_is_left_of_before():
    """A node dies but for its containers; what they are of is gone when it comes back, and so are they."""
    with Cluster(3) as c:
        begin(c, 3)
        victim = c[2]
        containers = [r["container"]["pid"] for r in victim.get("/v1/replicas")["items"] if r["here"]]
        equal(len(containers), 1)
        run("ip", "link", "set", victim.link, "down")
        for pid in {victim.process.pid, *victim.processes().values()}:
            os.kill(pid, signal.SIGKILL)
        victim.process.wait()
        wait_for(lambda: c[0].nodes()["edge-3"]["state"] == "unreachable", "it is missed")
        agreed(c.nodes[:2], 3, "elsewhere")
        c[1].cli("rm", "shop", "--yes")
        check(os.path.exists(f"/proc/{containers[0]}"), "the container ended with its node")
        run("ip", "link", "set", victim.link, "up")
        victim.start()
        c.wait_all_ready()
        wait_for(lambda: not os.path.exists(f"/proc/{containers[0]}"), "the container is removed")
        for node in c.nodes:
            wait_for(lambda node=node: not node.replicas(), "nothing is left")


def test_only_dials_out():
    """A node behind a router: it joins, is heard and told, gets replicas, and is as any other for who asks about it."""
    with Cluster(3, hidden=(3,)) as c:
        a, b, d = c
        begin_hidden(c)
        before = restarts(a)
        goals = [n.heard("ack") + 20 for n in c.nodes]

        def nobody_is_lost():
            for node in c.nodes:
                check("unreachable" not in {m["state"] for m in node.nodes().values()}, node.label, node.nodes())
            return all(n.heard("ack") >= goal for n, goal in zip(c.nodes, goals))
        wait_for(nobody_is_lost, "they hear each other")
        equal(restarts(a), before, "nothing moves")
        check("node.advertise" not in d.cli("status").stdout, "there is nothing to be said about that")
        # It is asked for changes as any other, and follows.
        d.cli("node", "label", "edge-1", "disk=ssd")
        wait_for(lambda: a.nodes()["edge-1"]["labels"] == {"disk": "ssd"}, "its change is known")
        # It serves as any other (tests/e2e/test_hidden.py has more of that).
        with Load(a) as load:
            load.more(100)
        equal(load.bad, [], "requests to a node that is reached")
        # Each side begins anew, and finds the other one again.
        for node in (a, d):
            old = node.kill("scheduler")
            wait_for(lambda node=node, old=old: old not in node.processes().values() and node.ready(), "its successor")
            c.wait_all_ready()
            wait_for(lambda: placed(c) == 3, "all is as it was")
        equal(restarts(a), before, "nothing has moved")
        c.kill(d)
        wait_for(lambda: a.nodes()["edge-3"]["state"] == "unreachable", "it is missed")
        wait_for(lambda: {r[1] for r in a.replicas()} == {"edge-1", "edge-2"} and len(a.replicas()) == 3, "its replica is elsewhere")
        c.start(d)
        c.wait_all_ready()


def begin_hidden(c):
    wreck.images(c)
    c[2].deploy(service(replicas=3))
    wait_for(lambda: placed(c) == 3, "a replica on each of the three nodes")


def placed(c):
    """Nodes that have a replica that is ready, when all nodes say the same."""
    try:
        tables = [[r for r in wreck.table(n) if r[3] == "ready"] for n in c.nodes]
    except (OSError, zl.Failure, zl.http.client.HTTPException):
        return 0
    return len({r[2] for r in tables[0]}) if all(t == tables[0] for t in tables) and len(tables[0]) == 3 else 0


if __name__ == "__main__":
    zl.main(globals())
