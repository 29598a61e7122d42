# SPDX-License-Identifier: Apache-2.0
"""Who keeps the store, where it takes minutes: five of seven nodes in three zones, any two of five nodes that die, etcds that are
killed while the store moves to them, and a store that is recovered from one node's copy when etcd's majority is lost for good.

    tools/test cluster-long
"""

import contextlib
import glob
import itertools
import os
import random
import signal
import threading
import time

import zl
from cluster import Cluster
from test_cluster_etcd import LONG_S, etcd_here, in_etcd, label, labelled, leads, one_store, store, until_etcd, voters
from test_etcd import processes
from wreck import Load, agreed, begin
from zl import check, service, wait_for


def test_five_of_seven():
    """Two of each zone at most; two of them may die; one that is sent away has a successor."""
    etcd_here()
    with Cluster(7, etcd=True, zones=3) as c:
        until_etcd(c, 5)
        by_label = {n.label: n for n in c.nodes}

        def zones_of(names):
            return sorted(sum(by_label[v].zone == z for v in names) for z in {n.zone for n in c.nodes})
        check(zones_of(voters(c[0])) == [1, 2, 2], voters(c[0]))
        dead = [by_label[v] for v in sorted(voters(c[0]))[:2]]
        rest = [n for n in c.nodes if n not in dead]
        for node in dead:
            c.kill(node)
        leads(rest[0], {n.label for n in rest})
        for node in rest:
            label(node, f"without-two-{node.number}")
        c.start(dead[1])
        c.wait_all_ready()
        wait_for(lambda: rest[0].nodes()[dead[0].label]["state"] == "unreachable", "one is still missed")
        rest[0].cli("node", "rm", dead[0].label, "--yes")
        wait_for(lambda: dead[0].label not in voters(rest[0]) and in_etcd(rest[0], 5), "another one keeps it now", seconds=LONG_S)
        until_etcd(c, 5)
        check(zones_of(voters(rest[0])) == [1, 2, 2], voters(rest[0]))
        labelled(c, *(f"without-two-{n.number}" for n in rest))
        one_store(c)


def test_any_two_of_five():
    """Each pair at once, under load on another node's address: a deploy through each survivor, and one store afterwards."""
    etcd_here()
    with Cluster(5, etcd=True) as c:
        begin(c, 5)
        until_etcd(c, 5)
        sizes = itertools.cycle((4, 6, 5))
        for pair in itertools.combinations(c.nodes, 2):
            left = [n for n in c.nodes if n not in pair]
            names = " and ".join(n.label for n in pair)
            with Load(left[-1]) as load:
                with load.fault(f"{names} killed, a deploy through each of the others"):
                    threads = [threading.Thread(target=c.kill, args=[n]) for n in pair]
                    for t in threads:
                        t.start()
                    for t in threads:
                        t.join()
                    began = time.monotonic()
                    leads(left[0], {n.label for n in left})
                    for node in left:
                        wait_for(lambda node=node: store(node).get("writable"), f"{node.label} takes changes")
                    print(f"# changes are taken by all of the others {time.monotonic() - began:.1f} s after", flush=True)
                    for node in left:
                        size = next(sizes)
                        node.deploy(service(replicas=size))
                        agreed(left, size, f"deployed through {node.label}")
                with load.fault(f"{names} back"):
                    for node in pair:
                        c.start(node)
                    c.wait_all_ready()
                    until_etcd(c, 5)
                    agreed(c.nodes, size, f"{names} are back")
                load.judge()
            one_store(c)


def test_etcd_killed_while_it_moves():
    """kill -9 of etcds, from the first one on until some seconds after the store has moved."""
    etcd_here()
    with Cluster(3, etcd=True) as c:
        kept, turn, end = {}, 0, time.monotonic() + 60
        while time.monotonic() < end:
            if all(in_etcd(n) for n in c.nodes):
                end = min(end, time.monotonic() + 10)
            turn, key = turn + 1, f"k{turn % 20}"
            if random.choice(c.nodes).cli("node", "label", "edge-2", f"{key}={turn}", status=None).returncode == 0:
                kept[key] = turn
            victim = random.choice(c.nodes)
            pids = processes(victim)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not pids or processes(victim) not in ([], pids), "another process")
        until_etcd(c)
        labelled(c, *kept)
        one_store(c)
        labels = c[0].nodes()["edge-2"]["labels"]
        # What was not said to be kept may be, too.
        check(all(int(labels[key]) >= value for key, value in kept.items()), labels, kept)
        for node in c.nodes:
            label(node, f"by-{node.number}")


def ends_of_records(log):
    """Where the records of a log of etcd's end (node/etcd_wal.h)."""
    ends, at = [], 0
    while head := int.from_bytes(log[at:at + 8], "little"):
        at += 8 + head % (1 << 56) + (head >> 56 & 7)
        ends.append(at)
    return ends


def test_etcd_killed_before_its_first_entry():
    """The first member leaves a log that names nobody who may vote, as after a power cut in its first moment."""
    etcd_here()
    with Cluster(3, etcd=True) as c:
        def begun():
            logs = ((n, glob.glob(f"{n.folder}/data/etcd/*/member/wal/*-0000000000000000.wal")) for n in c.nodes)
            return next(((n, log[0]) for n, log in logs if log and processes(n)), None)
        node, path = wait_for(begun, "an etcd is begun", seconds=LONG_S)
        node.process.send_signal(signal.SIGSTOP)
        try:
            for pid in processes(node):
                os.kill(pid, signal.SIGKILL)
            with open(path, "r+b") as f:
                log = f.read(1 << 20)
                # A checksum, the member's name, a snapshot of nothing; what follows was not on the disk yet.
                end = ends_of_records(log)[2]
                f.seek(end)
                f.write(bytes(len(log) - end))
        finally:
            node.process.send_signal(signal.SIGCONT)
        until_etcd(c)
        one_store(c)
        label(c[0], "after")


def test_recovered_from_a_copy():
    """A majority of etcd's members is lost for good: a survivor's copy is the store, and goes into another etcd with those that come
    back, which know that theirs was given up."""
    etcd_here()
    with Cluster(3, etcd=True) as c:
        until_etcd(c)
        label(c[0], "before")
        labelled(c, "before")
        wait_for(lambda: "of the 3 nodes that keep the store are there" in
                 c[2].cli("recover", "--force-single", "--yes", status=None).stderr, "nothing is to be recovered")
        c.kill(c[0])
        c.kill(c[1])
        wait_for(lambda: c[2].nodes()["edge-1"]["state"] == c[2].nodes()["edge-2"]["state"] == "unreachable", "they are missed")
        wait_for(lambda: c[2].cli("recover", "--force-single", "--yes", status=None).returncode == 0, "it is recovered")
        wait_for(lambda: store(c[2]).get("writer") == "edge-3" and store(c[2])["writable"], "it writes")
        label(c[2], "alone")
        for node in c.nodes[:2]:
            c.start(node)
        c.wait_all_ready()
        labelled(c, "before", "alone")
        until_etcd(c)
        for node in c.nodes:
            label(node, f"by-{node.number}")
        labelled(c, "by-1", "by-2", "by-3")
        one_store(c)


if __name__ == "__main__":
    zl.main(globals())
