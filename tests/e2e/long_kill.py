# SPDX-License-Identifier: Apache-2.0
"""Everything that may be killed, stopped, cut off from power or run out of room, under load on another node's public address.

    tools/test cluster-long
"""

import itertools
import os
import signal
import threading
import time

import test_survive
import wreck
import zl
from cluster import Cluster
from wreck import Load, agreed, begin, restarts
from zl import check, equal, run, service, wait_for

ROLES = test_survive.ROLES


def missed(c, victims, witness):
    wait_for(lambda: {witness.nodes()[v.label]["state"] for v in victims} == {"unreachable"}, "they are missed", seconds=60)


def whole(c, count, what):
    """All nodes that run know each other, and have the same."""
    c.wait_all_ready()
    return agreed(c.running(), count, what)


def test_every_process():
    """Each role of a node that has a replica, and of the one that clients come to; then node itself, and all of them at once."""
    with Cluster(3) as c:
        begin(c, 3)
        before = restarts(c[0])
        with Load(c[0]) as load:
            for victim in (c[1], c[0]):
                for role in ROLES:
                    with load.fault(f"{role} of {victim.label} killed"):
                        old = victim.kill(role)
                        wait_for(lambda: old not in victim.processes().values() and victim.ready(), f"{role} is back")
                        agreed(c.nodes, 3, f"all is as it was after {role} was killed")
                with load.fault(f"node of {victim.label} killed"):
                    os.kill(victim.process.pid, signal.SIGKILL)
                    victim.process.wait()
                    victim.start()
                    whole(c, 3, "all is as it was after node was killed")
                # Its own listeners are gone for a moment.
                with load.fault(f"all processes of {victim.label} killed", expected=victim is c[0]):
                    for pid in {victim.process.pid, *victim.processes().values()}:
                        os.kill(pid, signal.SIGKILL)
                    victim.process.wait()
                    victim.start()
                    whole(c, 3, "all is as it was after all was killed")
            load.judge()
        equal(restarts(c[0]), before, "containers and where they are")


def test_any_node():
    """Each of three in turn; a deploy through each survivor while it is away, if it is not the one that takes changes."""
    with Cluster(3) as c:
        begin(c, 3)
        size = itertools.cycle((4, 3))
        for victim in c.nodes:
            left = [n for n in c.nodes if n is not victim]
            with Load(left[0]) as load:
                with load.fault(f"{victim.label} killed"):
                    c.kill(victim)
                    missed(c, [victim], left[0])
                    print(f"# {victim.label} missed; all replicas elsewhere {agreed(left, 3, 'elsewhere'):.1f} s after", flush=True)
                for node in left if victim is not c[0] else []:
                    count = next(size)
                    with load.fault(f"deploy through {node.label}"):
                        node.deploy(service(replicas=count))
                        agreed(left, count, f"deployed through {node.label}")
                with load.fault(f"{victim.label} back"):
                    c.start(victim)
                    whole(c, 3, f"{victim.label} is back")
                load.judge()


def test_any_two_of_five():
    with Cluster(5) as c:
        begin(c, 5)
        for pair in itertools.combinations(c.nodes, 2):
            left = [n for n in c.nodes if n not in pair]
            with Load(left[-1]) as load:
                names = f"{pair[0].label} and {pair[1].label}"
                with load.fault(f"{names} killed"):
                    threads = [threading.Thread(target=c.kill, args=[v]) for v in pair]
                    began = time.monotonic()
                    for t in threads:
                        t.start()
                    for t in threads:
                        t.join()
                    missed(c, pair, left[0])
                    took = time.monotonic() - began
                    agreed(left, 5, "elsewhere")
                    print(f"# missed after {took:.1f} s, all replicas ready after {time.monotonic() - began:.1f} s", flush=True)
                for v in pair:
                    c.start(v)
                with load.fault(f"{names} back"):
                    whole(c, 5, f"{names} are back")
                load.judge()


def test_rolling_restart():
    """All nodes one after the other: as at an upgrade of the system, without a drain; then with."""
    with Cluster(3) as c:
        begin(c, 3)
        before = restarts(c[0])
        with Load(c[0]) as load:
            for node in c.nodes:
                with load.fault(f"{node.label} upgraded in place"):
                    old = node.processes()
                    node.process.send_signal(signal.SIGUSR2)
                    wait_for(lambda: not set(old.values()) & set(node.processes().values()) and node.ready(), "its successors")
                    whole(c, 3, f"{node.label} goes on")
            equal(restarts(c[0]), before, "nothing moves")
            load.judge(99.9)
        for node in c.nodes:
            other = c[1] if node is c[0] else c[0]
            with Load(other) as load:
                with load.fault(f"{node.label} drained, off and on"):
                    other.cli("node", "drain", node.label, "--wait", "--timeout", "60s")
                    if node is c[0]:
                        node.stop()
                        node.start()
                    else:
                        c.kill(node)
                        c.start(node)
                    c.wait_all_ready()
                    wait_for(lambda: other.cli("node", "undrain", node.label, status=None).returncode == 0, "changes are taken")
                    whole(c, 3, f"{node.label} is back")
                load.judge(99.9)


def test_power_cut():
    """All of them at once, also in the middle of a roll-out: what was wanted is there again."""
    with Cluster(5) as c:
        begin(c, 5)
        for what in ("while all is quiet", "in the middle of a roll-out"):
            if "roll-out" in what:
                c[3].cli("restart", "shop/web", "--detach", status=None)
            threads = [threading.Thread(target=c.kill, args=[n]) for n in c.nodes]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            began = time.monotonic()
            for n in c.nodes:
                run("ip", "link", "set", f"c{n.number}", "up")
                c.off.discard(n)
                n.start(wait=False)
            for n in c.nodes:
                wait_for(n.ready, f"{n.label} is ready")
            whole(c, 5, f"power is back ({what})")
            for n in c.nodes:
                wait_for(lambda n=n: wreck.served(n), f"{n.label} serves")
            print(f"# all five without power {what}: whole after {time.monotonic() - began:.1f} s", flush=True)
        # The restart that was under way goes on: until it has ended another change is refused.
        path = os.path.join(c[4].data, "more.zlayer.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(service(replicas=6))
        wait_for(lambda: c[4].cli("deploy", path, status=None).returncode == 0, "the restart has ended, a deploy is taken")
        agreed(c.nodes, 6, "a deploy afterwards")


def test_stopped():
    """All processes of a node stand still for 30 s: it is missed, replaced, and one of the others again."""
    with Cluster(3) as c:
        begin(c, 3)
        for victim in (c[2], c[0]):
            witness = c[1]
            with Load(witness) as load:
                with load.fault(f"{victim.label} stands still for 30 s"):
                    stopped = set()
                    while new := test_survive.left_of(victim) - stopped:
                        test_survive.signalled(new, signal.SIGSTOP)
                        stopped |= new
                    began = time.monotonic()
                    missed(c, [victim], witness)
                    print(f"# {victim.label} missed after {time.monotonic() - began:.1f} s", flush=True)
                    left = [n for n in c.nodes if n is not victim]
                    agreed(left, 3, "elsewhere")
                    wait_for(lambda: time.monotonic() - began > 30, "30 s")
                with load.fault(f"{victim.label} goes on"):
                    test_survive.signalled(stopped, signal.SIGCONT)
                    print(f"# {victim.label} goes on: one again after {whole(c, 3, 'one again'):.1f} s", flush=True)
                load.judge()


def test_disk_full():
    """No room on one node: what runs there goes on, changes elsewhere are taken, and it follows when there is room."""
    with Cluster(3, data_mib=96) as c:
        begin(c, 3)
        victim = c[2]
        before = restarts(c[0])
        with Load(c[0]) as load:
            with load.fault("no room on edge-3"):
                fill(victim)
                c[1].cli("node", "label", "edge-2", "disk=ssd")
                wait_for(lambda: c[0].nodes()["edge-2"]["labels"] == {"disk": "ssd"}, "a change is taken")
                load.more(200)
                equal(restarts(c[0]), before, "nothing moves")
                check(wreck.served(victim), "edge-3 does not serve")
            with load.fault("killed scheduler without room"):
                victim.kill("scheduler")
                load.more(200)
            with load.fault("room on edge-3"):
                os.unlink(os.path.join(victim.data, "filler"))
                wait_for(victim.ready, "edge-3 is ready")
                whole(c, 3, "all the same")
                wait_for(lambda: victim.nodes()["edge-2"]["labels"] == {"disk": "ssd"}, "it has what came meanwhile")
            load.judge()
        # And where changes are taken: refused with the reason, nothing half done.
        fill(c[0])
        answers = [c[1].cli("node", "label", "edge-2", f"n{i}=" + "x" * 60, status=None) for i in range(40)]
        refused = [r for r in answers if r.returncode != 0]
        print(f"# no room where changes are taken: {len(refused)} of 40 refused: "
              f"{refused[-1].stderr.splitlines()[:3] if refused else '-'}", flush=True)
        check(wreck.served(c[0]), "edge-1 does not serve")
        os.unlink(os.path.join(c[0].data, "filler"))
        wait_for(lambda: c[1].cli("node", "label", "edge-2", "disk=hdd", status=None).returncode == 0, "changes are taken again")
        whole(c, 3, "all the same")


def fill(node):
    with open(os.path.join(node.data, "filler"), "wb", buffering=0) as f:
        size = 1 << 20
        while size >= 512:
            try:
                f.write(bytes(size))
            except OSError:
                size //= 2


if __name__ == "__main__":
    zl.main(globals())
