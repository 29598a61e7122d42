# SPDX-License-Identifier: Apache-2.0
"""What is unique, with its leases in etcd: several of them on a node, while etcds, nodes and the majority are lost."""

import contextlib
import os
import signal
import time

import zl
from cluster import Cluster
from test_cluster_etcd import etcd_here, until_etcd
from test_etcd import processes
from test_unique import ELSEWHERE, beating, beats, document, lives, one_ready, rows, settled, spread, taken_over
from zl import check, equal, stays, wait_for

FOUR = ("db", "ab", "bb", "cb")


def test_cut_off_and_killed():
    """Leases in etcd: any node may be cut off or lose its etcd; those of a node are kept together, and end without a majority."""
    etcd_here()
    with contextlib.ExitStack() as stack:
        folders = {name: stack.enter_context(beats()) for name in FOUR}
        c = stack.enter_context(Cluster(3, etcd=True))
        until_etcd(c)
        for node in c.nodes:
            node.import_image()
        for node in c.nodes[1:]:
            c[0].cli("node", "label", node.label, "run=db")
        for name, folder in folders.items():
            c[0].deploy(document(folder, ELSEWHERE, name=name).replace("deployment: shop", f"deployment: {name}"))

        def all_live(by=c[0], but=()):
            for name, folder in folders.items():
                wait_for(lambda: one_ready(by, but, f"{name}/{name}") and beating(folder), f"{name} lives, and is seen by {by.label}",
                         seconds=120)

        def counts():
            return {name: len(lives(folder)) for name, folder in folders.items()}
        all_live()
        # Four on two nodes: one of these keeps several at a time, for longer than any of them would last.
        check(max([one_ready(c[0], (), f"{n}/{n}") for n in FOUR].count(n.label) for n in c.nodes) >= 2)
        stays(lambda: set(counts().values()) == {1}, "all are kept", 15)
        # Its etcd is gone for a moment on each node, on the one that leads, too: nobody notices.
        for node in c.nodes:
            old = processes(node)
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: processes(node) not in ([], old), "another process")
            until_etcd(c)
        stays(lambda: set(counts().values()) == {1}, "nobody notices", 15)
        for node in c.nodes[1:]:
            there = {n for n in FOUR if one_ready(c[0], (), f"{n}/{n}") == node.label}
            before = counts()
            others = [n for n in c.nodes if n is not node]
            c.partition(node, others)
            for by in others:
                all_live(by, {node.label})
            c.heal()
            c.wait_all_ready()
            for by in c.nodes:
                all_live(by)
            equal({n for n, count in counts().items() if count > before[n]}, there, "those that were there have moved")
        # Nobody can say any more whose they are.
        c.kill(c[0])
        c.kill(c[1])
        wait_for(lambda: not any(beating(f) for f in folders.values()), "all have ended", seconds=60)
        left = {n for n in FOUR if c[2].label in rows(c[2], f"{n}/{n}")}
        wait_for(lambda: all("its lease ran out" in str(rows(c[2], f"{n}/{n}")[c[2].label].get("reason", "")) for n in left),
                 "its node says why")
        c.start(c[0])
        c.start(c[1])
        c.wait_all_ready()
        for by in c.nodes:
            all_live(by)


def test_cut_off_from_etcd_alone():
    """The others hear it, so it is not dead: what is unique leaves it all the same, and does not come back with etcd."""
    etcd_here()
    with beats() as folder, Cluster(3, etcd=True) as c:
        until_etcd(c)
        home, other = spread(c, folder)
        for port in ("dport", "sport"):
            c.drop(home, f"tcp {port} {{ 9885, 9886 }}")
        taken_over(c, folder, other, time.time_ns())
        equal(c[0].nodes()[home.label]["state"], "alive")
        check(c[0].nodes()[home.label]["refused_since"])
        wait_for(lambda: one_ready(c[0]) == other.label, "the former one is gone")
        moved = [e["text"] for e in c[0].cli_json("events")["items"] if e["type"] == "placement.moved"]
        check(any("cannot write the store" in text for text in moved), moved)
        c.heal()
        until_etcd(c)
        settled(c, folder, 2, other.label)


if __name__ == "__main__":
    zl.main(globals())
