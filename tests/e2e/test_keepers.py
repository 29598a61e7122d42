# SPDX-License-Identifier: Apache-2.0
"""Who admits nodes and renews certificates: three nodes have the authority's key, and any of them does. Without etcd: the store has
one writing node, and what needs no change of it goes on without that node."""

import contextlib
import os
import stat

import zl
from cluster import Cluster
from zl import check, equal, wait_for


def keepers(node):
    """None while it cannot say: its scheduler has just begun."""
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return {name for name, n in node.nodes().items() if n["keeper"]}
    return None


def has_key(node):
    """In the identity's file, which nobody else can read."""
    path = os.path.join(node.data, "state", "cluster", "identity")
    mode = stat.S_IMODE(os.stat(path).st_mode)
    equal(oct(mode), "0o600", path)
    with open(path, "rb") as f:
        return b"PRIVATE KEY" in f.read()


def wait_for_keepers(c, want):
    for node in c.running():
        wait_for(lambda node=node: keepers(node) == want, f"{node.label} knows keepers {want}")
    for node in c.running():
        wait_for(lambda node=node: has_key(node) == (node.label in want), f"{node.label} has the key, or has it not")


def test_three_have_the_key():
    """The founder and the two that came next; the key is in no other file and no log."""
    with Cluster(4) as c:
        a = c[0]
        wait_for_keepers(c, {"edge-1", "edge-2", "edge-3"})
        check("admits others" in a.cli("node", "show", "edge-2").stdout)
        check("admits others" not in a.cli("node", "show", "edge-4").stdout)
        for node in c.nodes:
            if node is not c[2]:
                wait_for(lambda node=node: "edge-3 is to have the authority's key" in
                         node.cli("events", "--type", "node", "--node", node.label).stdout, "events tell of it")
            equal(node.cluster()["trouble"], None, node.label)
            for folder, _, files in os.walk(os.path.join(node.data, "state")):
                for name in files:
                    if name == "identity":
                        continue
                    with open(os.path.join(folder, name), "rb") as f:
                        content = f.read()
                    check(b"PRIVATE KEY" not in content or name == "server.key", f"{node.label}: a key is in {folder}/{name}")
            check("PRIVATE KEY" not in node.tail(1000), "a key is in the log")
        # It stays where it is over the end of the process, and a node that leaves takes it with it.
        for node in c.nodes[1:]:
            node.kill("scheduler")
        c.wait_all_ready()
        wait_for_keepers(c, {"edge-1", "edge-2", "edge-3"})
        # It has just begun: its way to the store may not be there yet.
        wait_for(lambda: c[2].cli("leave", status=None).returncode == 0, "it leaves")
        wait_for(lambda: not os.path.exists(os.path.join(c[2].data, "state", "cluster", "identity")), "the identity is gone")
        c.off.add(c[2])
        wait_for_keepers(c, {"edge-1", "edge-2", "edge-4"})


def test_any_keeper_admits():
    """The founder cannot be reached by who joins: another keeper admits it, and the founder writes the row."""
    with Cluster(4, join=False) as c:
        a, b, d, e = c
        c.join(b, d)
        c.off.add(e)
        c.wait_all_ready()
        wait_for_keepers(c, {"edge-1", "edge-2", "edge-3"})
        c.off.discard(e)
        c.partition(a, e)
        ticket = d.cli("invite").stdout.strip()
        e.cli("join", ticket)
        for node in (a, b, d):
            wait_for(lambda node=node: "edge-4" in node.nodes(), f"{node.label} knows the new node")
        wait_for(lambda: c.alive(e) >= {"edge-2", "edge-3"}, "it sees who it can reach")
        c.heal()
        c.wait_all_ready()
        equal(e.cluster()["id"], a.cluster()["id"])


def test_the_founder_is_away():
    """Nobody is admitted then, for the store takes no changes; it says why. What members ask for is given by the others."""
    with Cluster(5, join=False) as c:
        a, b, d, e, f = c
        c.join(b, d, e)
        c.off.add(f)
        c.wait_all_ready()
        wait_for_keepers(c, {"edge-1", "edge-2", "edge-3"})
        path = os.path.join(e.data, "state", "cluster", "pass")
        wait_for(lambda: os.path.exists(path), "edge-4 was given a certificate to call the store with")
        ticket = a.cli("invite", "--uses", "2").stdout.strip()
        c.kill(a)
        r = f.cli("join", ticket, status=None)
        check(r.returncode != 0 and "no node of the cluster gave an answer" not in r.stderr, r.returncode, r.stderr)
        # Lost, it is asked for again, and given.
        os.unlink(path)
        e.kill("scheduler")
        wait_for(lambda: os.path.exists(path), "edge-4 was given another one")
        c.start(a)
        c.wait_all_ready()
        f.cli("join", ticket)
        c.off.discard(f)
        c.wait_all_ready()


if __name__ == "__main__":
    zl.main(globals())
