# SPDX-License-Identifier: Apache-2.0
"""node's etcd in a cluster of real nodes: it comes back with its data, there is one on each node and never two, its certificates are
renewed while it runs, and nothing of it is left where it is not wanted any more."""

import contextlib
import glob
import os
import re
import shutil
import signal

import zl
from cluster import Cluster
from zl import check, equal, wait_for


def processes(node):
    """Pids of etcd with data of this node."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                name = f.read().split(b"\0")[0]
            if name == b"etcd" and os.readlink(f"/proc/{pid}/cwd") == os.path.join(node.data, "etcd"):
                found.append(int(pid))
        except OSError:
            continue
    return found


def lives(node):
    return sorted(e for e in os.listdir(os.path.join(node.data, "etcd")) if e != "shown")


def in_etcd(node, voters):
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        store = node.cluster()["store"]
        return store["engine"] == "etcd" and store["voters"] == voters and store["voters_up"] == voters and store["writable"]
    return False


def it_serves(node):
    """The etcd that runs has told its node so."""
    with open(node.log) as f:
        text = f.read()
    return all(f'"msg":"etcd serves","component":"node","node":"{node.label}","pid":{pid}}}' in text for pid in processes(node))


def wait_for_etcd(c, voters=3):
    if not shutil.which("etcd") or "voters" not in c[0].cluster()["store"]:
        raise zl.Skip("no etcd keeps the store here")
    for node in c.running():
        wait_for(lambda node=node: in_etcd(node, voters), f"{node.label}: the store is in etcd, with {voters} voters", seconds=180)


def gauges(node):
    """name -> value of what it says of the store and its part of it."""
    lines = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout.splitlines()
    return {name: float(value) for name, _, value in (line.partition(" ") for line in lines)
            if name.startswith(("zlayer_etcd_", "zlayer_store_"))}


def says_how_it_is(c):
    """One leads, all know it, none is behind for long."""
    all_of = [gauges(node) for node in c.nodes]
    return sum(g.get("zlayer_etcd_is_leader", 9) for g in all_of) == 1 and all(
        g["zlayer_etcd_has_leader"] == 1 and g["zlayer_etcd_is_learner"] == 0 and g["zlayer_etcd_behind_entries"] == 0 and
        g["zlayer_etcd_data_bytes"] > 0 and g["zlayer_store_writable"] == 1 for g in all_of)


def changes(node, value):
    """A change of the store through this node."""
    node.cli("node", "label", node.label, f"turn={value}")


def in_no_cluster(node):
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return node.cluster()["self"] is None
    return False


def nothing_is_left(c):
    """On a node that leaves: no process, no data, no certificates."""
    gone = next(n for n in c.nodes[1:] if processes(n))
    gone.cli("leave", "--force")
    wait_for(lambda: in_no_cluster(gone), "it is in no cluster")
    wait_for(lambda: processes(gone) == [], "no etcd runs there")
    wait_for(lambda: os.listdir(os.path.join(gone.data, "etcd")) == [], "nothing is left of it")
    check("9885" not in gone.space.run("ss", "-Hlnt").stdout, "nothing listens")
    equal(os.path.exists(os.path.join(gone.data, "state", "cluster", "etcd")), False)


def test_it_comes_back():
    with Cluster(3, etcd=True) as c:
        wait_for_etcd(c)
        for node in c.nodes:
            equal(len(processes(node)), 1, node.label)
        wait_for(lambda: says_how_it_is(c), "their metrics", seconds=60)
        text = c[0].cli("cluster", "show").stdout
        check(re.search(r"this node's part takes \d.* of 2 GiB and is \d+ changes behind", text), text)
        text = [c[0].cli("explain", node.label).stdout for node in c.nodes]
        check(all("it keeps the store" in t for t in text) and sum("leads" in t for t in text) == 1, text)
        check("of 2 GiB, " in text[0] and "of 2 GiB, " not in text[1], text)
        # Killed, it is there again, with what it had.
        b = c[1]
        (pid,), had = processes(b), lives(b)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: processes(b) not in ([], [pid]), "another process")
        wait_for_etcd(c)
        wait_for(lambda: it_serves(b), "it serves")
        equal(lives(b), had, "the same data")
        changes(b, 1)
        # A node that dies leaves it; the next one finds it. So does one that gives way to a newer program.
        (pid,) = processes(b)
        b.process.kill()
        b.process.wait()
        equal(processes(b), [pid])
        b.start()
        b.process.send_signal(signal.SIGUSR2)
        wait_for_etcd(c)
        equal(processes(b), [pid], "the one that was there")
        changes(b, 2)
        # New certificates, while it runs: a new scheduler makes some.
        path = os.path.join(b.data, "etcd", "shown", "server.crt")
        with open(path, "rb") as f:
            before = f.read()
        b.kill("scheduler")

        def renewed():
            with open(path, "rb") as f:
                return f.read() != before
        wait_for(renewed, "new certificates")
        wait_for_etcd(c)
        equal(processes(b), [pid], "it was not started again for that")
        changes(b, 3)
        # A node that stops in order ends it, and the next start begins it with its data.
        b.stop()
        equal(processes(b), [])
        equal(lives(b), had)
        b.start()
        c.wait_all_ready()
        wait_for_etcd(c)
        changes(b, 4)
        nothing_is_left(c)


def damage(path):
    with open(path, "r+b") as f:
        f.write(os.urandom(8192))


def test_damaged_data():
    """A member whose files are damaged goes, and its node begins another one: by itself, and with no other node to take its place."""
    with Cluster(3, etcd=True) as c:
        wait_for_etcd(c)
        for turn, (node, name) in enumerate(((c[1], "wal/*.wal"), (c[2], "snap/db"))):
            (pid,), (life,) = processes(node), lives(node)
            os.kill(pid, signal.SIGSTOP)
            for path in glob.glob(os.path.join(node.data, "etcd", life, "member", name)):
                damage(path)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda node=node: "the data of etcd is damaged" in open(node.log).read(), "it is noticed", seconds=60)
            wait_for(lambda node=node, life=life: lives(node) not in ([], [life]), "another life", seconds=120)
            wait_for_etcd(c)
            for other in c.nodes:
                changes(other, turn)


if __name__ == "__main__":
    zl.main(globals())
