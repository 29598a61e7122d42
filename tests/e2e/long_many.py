# SPDX-License-Identifier: Apache-2.0
"""Twenty nodes, with the store in etcd on five of them: they join, know of each other's deaths, survive losses and partitions, take
deploys, and serve.

    tools/test cluster-long
"""

import random
import threading
import time

import zl
from cluster import Cluster
from test_cluster_etcd import etcd_here, one_store, store, until_etcd, voters
from wreck import Load, agreed, begin, restarts
from zl import check, equal, run, service, stays, wait_for

COUNT = 20
REPLICAS = 10


def memory_mib(node):
    """What its processes have, shared pages divided among those that share them."""
    total = 0
    for pid in node.pids():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return total / 1024


def at_once(function, nodes):
    threads = [threading.Thread(target=function, args=[n]) for n in nodes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def cut_and_kill(c, victims):
    """All of them at once, and seconds until each of the others has missed all of them."""
    began = time.monotonic()
    for v in victims:
        run("ip", "link", "set", f"c{v.number}", "down")  # to end their processes takes a while
    c.off.update(victims)
    names = {v.label for v in victims}
    for node in c.running():
        wait_for(lambda node=node: not names & c.alive(node) and c.alive(node), f"{node.label} misses {names}")
    took = time.monotonic() - began
    at_once(c.kill, victims)
    return took


def deployed(c, by, replicas):
    """Through any node, while most of those that keep the store are there; refused with the reason otherwise."""
    kept = voters(by)
    gone = kept & {n.label for n in c.off}
    if 2 * len(gone) < len(kept):
        wait_for(lambda: store(by).get("writable"), f"{by.label} takes changes")
        by.deploy(service(replicas=replicas))
        return replicas
    r = by.deploy(service(replicas=replicas), status=8)
    check("quorum" in r.stderr, r.stderr)
    return None


def test_twenty():
    etcd_here()
    with Cluster(COUNT, join=False, etcd=True) as c:
        began = time.monotonic()
        ticket = c[0].cli("invite", "--uses", str(COUNT)).stdout.strip()
        at_once(lambda n: n.cli("join", "-", input=ticket), c[1:])
        c.wait_all_ready()
        print(f"# {COUNT} nodes are a cluster {time.monotonic() - began:.1f} s after the invitation", flush=True)
        until_etcd(c, 5)
        print(f"# etcd on five of them {time.monotonic() - began:.1f} s after the invitation", flush=True)
        began = time.monotonic()
        begin(c, REPLICAS, by=7)
        print(f"# {REPLICAS} replicas, known to all, {time.monotonic() - began:.1f} s after", flush=True)
        sizes = sorted(memory_mib(n) for n in c.nodes)
        print(f"# memory of a node: {sizes[0]:.1f} to {sizes[-1]:.1f} MiB", flush=True)
        draw = random.Random(20)
        witness = c[4]
        with Load(witness) as load:
            size = REPLICAS
            for count in (1, 1, 3, 6):
                victims = draw.sample([n for n in c.nodes if n is not witness], count)
                names = ", ".join(v.label for v in victims)
                with load.fault(f"{names} killed"):
                    print(f"# known to all {cut_and_kill(c, victims):.1f} s after", flush=True)
                    agreed(c.running(), size, "elsewhere")
                    by = draw.choice(c.running())
                    size = deployed(c, by, size + 1) or size
                    agreed(c.running(), size, f"deployed through {by.label}")
                with load.fault(f"{names} back"):
                    at_once(c.start, victims)
                    c.wait_all_ready()
                    until_etcd(c, 5)
                    agreed(c.nodes, size, "all the same")
            load.judge()
        c[11].deploy(service(replicas=REPLICAS))
        agreed(c.nodes, REPLICAS, "as before")
        one_store(c)
        parted(c, draw)
        lossy(c)


def parted(c, draw):
    """Halves, then one again."""
    half = [c[4], *draw.sample([n for n in c.nodes if n is not c[4]], COUNT // 2 - 1)]
    rest = [n for n in c.nodes if n not in half]
    with Load(c[4]) as load:
        with load.fault("two halves of ten"):
            c.partition(half, rest)
            for part in (half, rest):
                want = {n.label for n in part}
                for node in part:
                    wait_for(lambda node=node, want=want: c.alive(node) == want, f"{node.label} misses the other half")
                agreed(part, REPLICAS, "each half has all replicas")
        with load.fault("healed"):
            c.heal()
            healed = time.monotonic()
            c.wait_all_ready()
            print(f"# all know each other {time.monotonic() - healed:.1f} s after healing", flush=True)
            agreed(c.nodes, REPLICAS, "one again")
            print(f"# no replica twice, the same names everywhere {time.monotonic() - healed:.1f} s after", flush=True)
        load.judge()


def lossy(c):
    """30 % of what comes to each node is lost, for a minute: no false death."""
    before = restarts(c[0])
    for node in c.nodes:
        c.drop(node, "numgen random mod 10 < 3")
    looks = []

    def nobody_is_lost():
        for node in c.nodes:
            looks.extend(m["state"] for m in node.nodes().values())
            check("unreachable" not in looks, node.label, node.nodes())
        return True
    stays(nobody_is_lost, "no node is called dead", 60)
    c.heal()
    print(f"# 30 % loss for a minute: no node called dead, suspected in {looks.count('suspect')} of {len(looks)} looks", flush=True)
    equal(restarts(c[0]), before, "nothing has moved")


if __name__ == "__main__":
    zl.main(globals())
