# SPDX-License-Identifier: Apache-2.0
"""Partitions that last, in one direction, and that come and go: what each part does meanwhile, and that one is made of them again.

    tools/test cluster-long
"""

import contextlib
import random
import time

import wreck
import zl
from cluster import Cluster
from test_cluster_etcd import etcd_here, until_etcd
from test_unique import beating, beats, lives, spread
from wreck import Load, agreed, begin, restarts
from zl import check, equal, service, stays, wait_for


def parted(seconds, size, small, replicas, etcd=False):
    """The small part is cut off for so long; clients come to either part. With etcd the other part takes changes meanwhile."""
    with Cluster(size, etcd=etcd) as c:
        begin(c, replicas)
        if etcd:
            until_etcd(c, size)
        minority = [c[i] for i in small]
        majority = [n for n in c.nodes if n not in minority]
        name = f"{', '.join(n.label for n in minority)} of {size} cut off for {seconds} s"
        with Load(majority[0]) as one, Load(minority[0]) as other:
            with one.fault(name), other.fault(name + ", in the small part"):
                c.partition(minority, majority)
                cut = time.monotonic()
                for node in (majority[0], minority[0]):
                    wait_for(lambda node=node: len(c.alive(node)) == len(majority if node in majority else minority), "missed")
                print(f"# missed after {time.monotonic() - cut:.1f} s", flush=True)
                for part in (majority, minority):
                    agreed(part, replicas, "each part has all replicas")
                if etcd:
                    for node in majority:
                        wait_for(lambda node=node: node.cli("node", "label", "edge-2", f"by={node.number}", status=None).returncode == 0,
                                 f"a change through {node.label}")
                    r = minority[0].cli("node", "label", "edge-2", "by=nobody", status=8)
                    check("quorum" in r.stderr, r.stderr)
                print(f"# both parts complete after {time.monotonic() - cut:.1f} s", flush=True)
                stays(lambda: not any(c.alive(n) & {m.label for m in others} for n, others in
                                      ((majority[0], minority), (minority[0], majority))),
                      "neither part takes one of the other to be alive", seconds - (time.monotonic() - cut), every=0.5)
                for part in (majority, minority):
                    agreed(part, replicas, "each part still has all replicas")
            with one.fault("healed"), other.fault("healed, in what was the small part"):
                c.heal()
                healed = time.monotonic()
                c.wait_all_ready()
                print(f"# all know each other {time.monotonic() - healed:.1f} s after healing", flush=True)
                wait_for(lambda: wreck.mistaken(c.nodes) is None, lambda: f"names and endpoints: {wreck.mistaken(c.nodes)}")
                print(f"# names and endpoints right {time.monotonic() - healed:.1f} s after healing", flush=True)
                wait_for(lambda: all(wreck.served(n) for n in c.nodes), "all serve")
                agreed(c.nodes, replicas, "one again")
                print(f"# no replica twice, the same names everywhere {time.monotonic() - healed:.1f} s after healing", flush=True)
            before = restarts(c[0])
            one.more(500)
            equal(restarts(c[0]), before, "nothing moves afterwards")
            for load in (one, other):
                load.judge()
        minority[0].deploy(service(replicas=replicas + 1))
        agreed(c.nodes, replicas + 1, "a deploy through the part that was small")


def test_one_of_three_for_a_minute():
    parted(60, 3, [2], 3)


def test_the_writer_for_a_minute():
    parted(60, 3, [0], 3)


def test_two_of_five_for_a_minute():
    parted(60, 5, [3, 4], 5)


def test_two_of_five_in_etcd():
    etcd_here()
    parted(60, 5, [0, 1], 5, etcd=True)


def test_ten_minutes():
    parted(600, 3, [2], 3)


def test_ten_minutes_in_etcd():
    etcd_here()
    parted(600, 3, [0], 3, etcd=True)


def test_changes_of_one_part():
    """What was changed while a node was cut off holds there, too, once it is back: a new size, a new service, one that is gone."""
    with Cluster(3) as c:
        begin(c, 3)
        c[0].deploy(service(name="old", host="old.test", deployment="away", replicas=2))
        agreed_total(c.nodes, 5)
        c.partition(c[2], c[:2])
        wait_for(lambda: c[0].nodes()["edge-3"]["state"] == "unreachable", "it is missed")
        c[0].cli("rm", "away", "--yes")
        c[1].deploy(service(replicas=2))
        c[1].deploy(service(name="new", host="new.test", deployment="here", replicas=2))
        agreed_total(c[:2], 4)
        c.heal()
        healed = time.monotonic()
        c.wait_all_ready()
        agreed_total(c.nodes, 4)
        print(f"# what changed meanwhile holds everywhere {time.monotonic() - healed:.1f} s after healing", flush=True)
        equal({r[1].split("/")[0] for r in wreck.table(c[2])}, {"shop", "here"})


def agreed_total(nodes, count):
    last = []

    def look():
        with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
            tables = [wreck.table(n) for n in nodes]
            mine = sorted(i for n in nodes for _, i, _ in wreck.own(n))
            last[:] = [*tables, mine]
            return (all(t == tables[0] for t in tables) and len(tables[0]) == count and
                    all(r[3] == "ready" for r in tables[0]) and mine == [r[0] for r in tables[0]])
        return False
    wait_for(look, lambda: f"{count} replicas, the same on {[n.label for n in nodes]}: {last}", seconds=90)


def nobody_is_lost(c):
    """No node holds another one to be dead; which of them suspect one."""
    states = [{m["state"] for m in node.nodes().values()} for node in c.nodes]
    check(not any("unreachable" in s for s in states), states)
    return ["suspect" in s for s in states]


def test_one_way_for_a_minute():
    """In five nodes nothing of one reaches another one; then nothing of one reaches anybody."""
    with Cluster(5) as c:
        begin(c, 5)
        before = restarts(c[0])
        with Load(c[0]) as load:
            with load.fault("edge-2 not heard by edge-3 for a minute"):
                c.one_way(c[1], c[2])
                stays(lambda: nobody_is_lost(c), "all are there", 60, every=0.5)
            equal(restarts(c[0]), before, "nothing has moved")
            c.heal()
            with load.fault("edge-5 hears all, is heard by none, for a minute"):
                for node in c.nodes[:4]:
                    c.one_way(c[4], node)
                began = time.monotonic()
                wait_for(lambda: c[0].nodes()["edge-5"]["state"] == "unreachable", "it is missed")
                agreed(c[:4], 5, "elsewhere")
                stays(lambda: c[0].nodes()["edge-5"]["state"] == "unreachable", "it is missed",
                      60 - (time.monotonic() - began), every=0.5)
            with load.fault("healed"):
                c.heal()
                c.wait_all_ready()
                agreed(c.nodes, 5, "one again")
            load.judge()


def test_flapping():
    """A node's line is up for two seconds and down for two, for two minutes."""
    with Cluster(3) as c:
        begin(c, 3)
        before = restarts(c[0])
        c.impair(c[2])
        with Load(c[0]) as load:
            with load.fault("edge-3's line flaps for two minutes"):
                began = time.monotonic()
                states = set()

                def looks():
                    states.add(c[0].nodes()["edge-3"]["state"])
                    return True
                while time.monotonic() - began < 120:
                    c.impair(c[2], cut=1)
                    stays(looks, "it is looked at", 2)
                    c.impair(c[2], cut=0)
                    stays(looks, "it is looked at", 2)
                print(f"# edge-3 was {sorted(states)}", flush=True)
            with load.fault("quiet again"):
                c.heal()
                c.wait_all_ready()
                agreed(c.nodes, 3, "one again")
            load.judge()
        after = restarts(c[0])
        print(f"# {len(set(after) - set(before))} of 3 replicas have moved", flush=True)


def through_cuts(etcd, seconds, lengths):
    """What is unique never lives twice, whichever way and however long its node is cut off."""
    draw = random.Random(4)
    with beats() as folder, Cluster(3, etcd=etcd) as c:
        if etcd:
            until_etcd(c)
        spread(c, folder)
        began = time.monotonic()

        def one_lives():
            lives(folder)  # says so when two lived at once
            return True
        while time.monotonic() - began < seconds:
            node = draw.choice(c.nodes if etcd else c.nodes[1:])
            c.impair(node, draw.choice(("in", "out", "both")), cut=1)
            stays(one_lives, "one lives", draw.choice(lengths), every=0.5)
            c.heal()
            stays(one_lives, "one lives", draw.choice((1, 3, 10)), every=0.5)
        c.wait_all_ready()
        wait_for(lambda: beating(folder), "it lives", seconds=90)
        print(f"# it has lived {len(lives(folder))} times, one after the other", flush=True)


def test_unique_through_cuts():
    through_cuts(False, 240, (1, 3, 8, 20, 40))


def test_unique_through_cuts_in_etcd():
    etcd_here()
    through_cuts(True, 300, (1, 3, 8, 20, 60))


def test_bad_line_for_five_minutes():
    """300 ms there and back, 1 % loss: nobody is called dead, nothing moves."""
    with Cluster(3, join=False) as c:
        c.impair(c[2], delay_ms=150, loss=0.01)
        c.join(*c[1:])
        c.wait_all_ready()
        begin(c, 3, by=2)
        before = restarts(c[0])
        suspected = []

        def looks():
            suspected.append(nobody_is_lost(c).count(True))
            return True
        with Load(c[0]) as load, load.fault("300 ms, 1 % loss for five minutes"):
            stays(looks, "nobody is called dead", 300, every=0.5)
        print(f"# suspected in {sum(suspected)} of {3 * len(suspected)} looks", flush=True)
        equal(restarts(c[0]), before, "nothing has moved")
        check(c[0].cli("logs", "shop/web", status=None).returncode in (0, 1, 6), "logs")
        load.judge()


if __name__ == "__main__":
    zl.main(globals())
