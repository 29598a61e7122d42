# SPDX-License-Identifier: Apache-2.0
"""Nodes that are a cluster: tickets, members, what each knows of the others, and how it ends."""

import contextlib
import json
import os
import subprocess
import tempfile

import zl
from cluster import Cluster
from zl import check, equal, run, service, wait_for


def test_a_node_alone():
    """It says so; nothing listens for others, and nothing can be said about nodes that are not there."""
    with Cluster(1, join=False) as c:
        node = c[0]
        status = node.cli_json("status")
        equal(status["cluster"]["self"], None)
        equal(status["cluster"]["store"]["engine"], "alone")
        equal([(n["name"], n["self"], n["state"]) for n in status["nodes"]], [("edge-1", True, "alive")])
        equal(node.cli("-o", "name", "node", "ls").stdout, "edge-1\n")
        check("in no cluster" in node.cli("cluster", "show").stdout)
        check("9881" not in node.space.run("ss", "-Hlnut").stdout, "no gossip socket")
        check("NODE" not in node.cli("status").stdout)
        node.cli("leave", status=None)
        node.cli("node", "drain", "edge-9", status=4)
        node.cli("join", "nonsense", status=2)
        r = node.cli("join", "zl1-nonsense", status=None)
        check(r.returncode not in (0, 8), r.returncode, r.stderr)
        check("nonsense" not in r.stderr + node.tail(200), "a ticket was repeated")


@contextlib.contextmanager
def without_etcd():
    """As on a machine where it is not installed: what is called etcd cannot be run, in the mounts of this test."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(tempfile.NamedTemporaryFile())
        os.chmod(plain.name, 0o644)
        for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"):
            path = os.path.join(folder, "etcd")
            if os.path.exists(path):
                run("mount", "--bind", plain.name, path)
                stack.callback(run, "umount", path)
        yield


def test_three_nodes():
    with without_etcd(), Cluster(3, etcd=True) as c:
        a, b, d = c
        # Each says what is to be installed, and where.
        for node in c.nodes:
            wait_for(lambda node=node: "with etcd on 3 nodes any of them could take changes; edge-" in node.cli("status").stdout and
                     "etcd is not installed: apt-get install etcd-server" in node.cli("status").stdout, f"{node.label} says so")
        wait_for(lambda: "apt-get install etcd-server" in a.cli("node", "show", "edge-3").stdout, "edge-1 knows it of edge-3")
        for node in c.nodes:
            equal({n["name"]: n["self"] for n in node.nodes().values()},
                  {m.label: m is node for m in c.nodes}, node.label)
        one = a.cluster()
        equal({n.cluster()["id"] for n in c.nodes}, {one["id"]}, "one cluster")
        equal([n.cluster()["self"] for n in c.nodes], [1, 2, 3])
        equal([n.cluster()["nodes"]["alive"] for n in c.nodes], [3, 3, 3])
        text = b.cli("status").stdout
        check("3 nodes: 3 alive" in text and "edge-2*" in text, text)
        for node in c.nodes:
            wait_for(lambda node=node: all(n["cpu_milli"] and n["memory_bytes"] and n["platform"] and n["version"]
                                           for n in node.nodes().values()), "each knows what the others have")
        equal(b.cli("node", "ls", "-o", "name").stdout.split(), ["edge-1", "edge-2", "edge-3"])
        check("edge-3 is alive" in b.cli("explain", "edge-3").stdout)
        check("edge-3   node 3" in a.cli("node", "show", "edge-3").stdout)
        equal(a.cli("node", "show", "edge-9", status=4).stdout, "")


def test_tickets():
    with Cluster(3, join=False) as c:
        a, b, d = c
        r = a.cli("invite")
        ticket = r.stdout.strip()
        check(r.stdout == ticket + "\n" and " " not in ticket and ticket not in r.stderr, r.stdout, r.stderr)
        check("zlayer join TICKET" in r.stderr, r.stderr)
        out = b.cli("join", ticket)
        check("node 2" in out.stdout, out.stdout)
        # Once; and it is told why.
        r = d.cli("join", "-", input=ticket, status=None)
        check(r.returncode not in (0, 8) and ticket not in r.stderr, r.returncode, r.stderr)
        answer = json.loads(a.cli("-o", "json", "invite", "--uses", "2", "--ttl", "10m").stdout)
        equal(answer["uses"], 2)
        a.cli("cluster", "admission", "closed")
        r = d.cli("join", "-", input=answer["ticket"], status=None)
        check(r.returncode not in (0, 8) and "zlayer cluster admission token" in r.stderr, r.returncode, r.stderr)
        check("Nobody is let in now" in a.cli("invite").stderr, "a ticket that is of no use yet")
        a.cli("cluster", "admission", "token")
        # A node that has deployments does not become part of another cluster by accident.
        d.import_image()
        d.deploy(service())
        r = d.cli("join", "-", input=answer["ticket"], status=None)
        check(r.returncode not in (0, 8) and "deployment" in r.stderr, r.stderr)
        d.cli("rm", "shop", "--yes")
        d.cli("join", "-", input=answer["ticket"])
        c.wait_all_ready()
        # Open: one that was used up is good again; no other word is.
        d.cli("leave", "--yes")
        wait_for(lambda: d.ready() and d.cluster()["self"] is None, "it goes on alone")
        r = d.cli("join", "-", input=ticket, status=None)
        check(r.returncode not in (0, 8), r.returncode, r.stderr)
        a.cli("cluster", "admission", "open")
        wait_for(lambda: b.cluster()["admission"] == "open", "all know it")
        other = ticket[:-8] + ("A" if ticket[-8] != "A" else "B") + ticket[-7:]
        r = d.cli("join", "-", input=other, status=None)
        check(r.returncode not in (0, 8), r.returncode, r.stderr)
        d.cli("join", "-", input=ticket)
        c.wait_all_ready()
        for node in c.nodes:
            log = open(node.log).read()
            check(ticket not in log and answer["ticket"] not in log, "a ticket is in the log")
            for text in (ticket, answer["ticket"]):
                found = subprocess.run(["grep", "-rlF", text[4:], node.data], capture_output=True, text=True).stdout
                check(not found, "a ticket is on the disk:", found)


def test_a_node_dies_and_comes_back():
    with Cluster(3) as c:
        a, b, d = c
        c.kill(d)
        for node in (a, b):
            wait_for(lambda node=node: node.nodes()["edge-3"]["state"] == "unreachable", "it is missed")
        text = a.cli("status").stdout
        check("1 unreachable" in text and "node edge-3: does not answer" in text and "zlayer node rm edge-3" in text, text)
        a.cli("explain", "edge-3", status=1)
        c.start(d)
        c.wait_all_ready()
        check("does not answer" not in a.cli("status").stdout)


def test_partitions():
    """Nobody is lost by one, of any kind; whoever is reached in some way is not called dead."""
    with Cluster(3) as c:
        a, b, d = c
        c.partition(a, b)  # edge-3 reaches both
        goal = a.heard("ack") + 12  # of other probes: enough to be called dead in

        def nobody_is_lost():
            check({"edge-2", "edge-3"} <= c.alive(a) | {n for n, m in a.nodes().items() if m["state"] == "suspect"})
            return a.heard("ack") >= goal
        wait_for(nobody_is_lost, "it goes on")
        c.heal()
        c.wait_all_ready()
        c.partition(d, [a, b])
        wait_for(lambda: a.nodes()["edge-3"]["state"] == "unreachable", "edge-3 is missed")
        wait_for(lambda: {m["state"] for n, m in d.nodes().items() if n != "edge-3"} == {"unreachable"},
                 "edge-3 misses both")
        equal(c.alive(a), {"edge-1", "edge-2"})
        c.heal()
        c.wait_all_ready()


def test_loss():
    with Cluster(3) as c:
        for node in c.nodes:
            c.impair(node, "in", loss=0.05)
        goals = [node.heard("ack") + 10 for node in c.nodes]

        def nobody_is_lost():
            for node in c.nodes:
                states = {m["state"] for m in node.nodes().values()}
                check(states <= {"alive", "suspect"}, node.label, states)
            return all(node.heard("ack") >= goal for node, goal in zip(c.nodes, goals))
        wait_for(nobody_is_lost, "it goes on")


if __name__ == "__main__":
    zl.main(globals())
