# SPDX-License-Identifier: Apache-2.0
"""A state folder that was copied to a second machine: the copy is held back, and the first one does not notice; what looks like it
and is none: a machine that moved, one that was started again."""

import os
import signal

import zl
from cluster import Cluster
from test_survive import another_boot
from wreck import Load, agreed, begin, restarts
from zl import check, equal, run, service, stays, wait_for


def copied(c, node, number=4):
    """Another machine with what is on the disk of that one, not begun yet."""
    c.add(number)
    copy = c.nodes.pop()
    run("cp", "-a", node.data, copy.data)
    c.stack.callback(copy.destroy)
    return copy


def state(node):
    return [line for line in node.cli("status", status=None).stdout.splitlines() if line.startswith("! ")]


def events(node, kind):
    return [e["text"] for e in node.get("/v1/events?since=0&limit=1000")["items"] if e["node"] == node.label and e["type"] == kind]


def twins(node):
    text = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout
    return [line.split()[1] for line in text.splitlines() if line.startswith("zlayer_cluster_twins ")]


def held(copy):
    return any("this one is held back" in line for line in state(copy))


def test_a_copy_is_held_back():
    """Of a node that follows, and of the one that takes the changes."""
    with Cluster(3) as c:
        begin(c, 4)
        with Load(c[2]) as load:
            for number, first in enumerate((c[1], c[0]), 4):
                others = [n for n in c.nodes if n is not first]
                before = restarts(c[0])
                copy = copied(c, first, number)
                with load.fault(f"a copy of {first.label} begins"):
                    copy.start(wait=False)
                    wait_for(lambda copy=copy: held(copy), "the copy is held back", seconds=60)
                check(first.address in "".join(copy.cli("status").stdout.splitlines()), copy.cli("status").stdout)
                wait_for(lambda first=first, copy=copy: any(copy.address in line for line in state(first)), f"{first.label} says so")
                check(any(copy.address in e for e in events(first, "node.twin")), events(first, "node.twin"))
                for node in c.nodes:
                    wait_for(lambda node=node, first=first, copy=copy: node.nodes()[first.label]["twin"] == copy.address,
                             f"{node.label} says where {first.label} is, too")
                    wait_for(lambda node=node: twins(node) == ["1"], f"{node.label} counts it")
                check("twice" in c[2].cli("node", "ls").stdout, c[2].cli("node", "ls").stdout)
                # It does nothing, and the first one all that it did.
                r = copy.cli("node", "label", first.label, "by=copy", status=None)
                check(r.returncode != 0 and "held back" in r.stderr, r.stdout, r.stderr)
                check(copy.deploy(service(replicas=1), status=None).returncode != 0, "no deploy through it")
                equal(copy.pids() & {p for p in copy.pids() if "server" in zl.describe(p)}, set(), "it runs nothing")
                equal(restarts(c[0]), before, "nothing has moved or begun anew")
                others[0].cli("node", "label", first.label, f"twice={copy.number}")
                wait_for(lambda first=first, copy=copy: first.nodes()[first.label]["labels"].get("twice") == str(copy.number), "it hears of it")
                # It stays so over all that ends there.
                copy.kill("scheduler")
                wait_for(lambda copy=copy: held(copy), "a successor is held back, too", seconds=60)
                copy.stop()
                copy.start(wait=False)
                wait_for(lambda copy=copy: held(copy), "and a start", seconds=60)
                agreed(c.nodes, 4, "all is well")
                equal(events(first, "node.twin_gone"), [], "it is still there")
                # As it says.
                copy.cli("leave", "--force")
                equal(len(copy.nodes()), 1, "it is in no cluster")
                check(all(set(Cluster.alive(n)) == {"edge-1", "edge-2", "edge-3"} for n in c.nodes), "nobody has left")
                for node in c.nodes:
                    wait_for(lambda node=node, first=first: node.nodes()[first.label]["twin"] is None, f"{node.label} says it is over", seconds=120)
                    wait_for(lambda node=node: twins(node) == ["0"], f"{node.label} counts none")
                equal(events(first, "node.twin_gone"), [f"nothing is heard any more of a second {first.label}"])
                equal([state(first), len(events(first, "node.twin"))], [[], 1], f"{first.label} is well, and said it once")
                check("twice" not in c[2].cli("node", "ls").stdout, c[2].cli("node", "ls").stdout)
                copy.stop()
            load.judge()
        c[1].deploy(service(replicas=5))
        agreed(c.nodes, 5, "a deploy afterwards")


def test_two_that_did_not_hear_each_other():
    """The copy begins where nobody is reached. When all reach each other again the first one stays, with what it has."""
    with Cluster(3) as c:
        begin(c, 4)
        first = c[1]
        copy = copied(c, first)
        before = restarts(c[0])
        for node in c.nodes:
            c.partition(copy, node)
        copy.start()
        stays(lambda: not held(copy), "nobody says that it is a copy", 6, every=1)
        own = first.pids()
        c.heal()
        c.nft(copy, "table inet cut\ndelete table inet cut\n")
        wait_for(lambda: held(copy), "the copy is held back", seconds=60)
        wait_for(lambda: any(copy.address in line for line in state(first)), f"{first.label} says so", seconds=60)
        c.wait_all_ready()
        agreed(c.nodes, 4, "all is as it was", seconds=120)
        equal({r: n for r, n in restarts(c[0]).items() if r in before}, before, "nothing has begun anew")
        check(first.processes()[("runtime", 0)] in own, "its other processes live")
        # Afterwards it can be told that the first one is the one to go.
        c.kill(first)
        copy.stop()
        os.unlink(os.path.join(copy.data, "state", "cluster", "twin"))
        copy.start()
        wait_for(lambda: copy.address in c[0].nodes()[first.label]["address"] and c[0].nodes()[first.label]["state"] == "alive",
                 "it is the node now", seconds=60)
        equal(state(copy), [], copy.cli("status").stdout)


def test_what_is_no_copy():
    """A machine that moved to another address, one that was switched on again, a process that was replaced, an upgrade."""
    with Cluster(3) as c:
        begin(c, 3)
        c.kill(c[1])
        moved = copied(c, c[1])
        moved.label = c[1].label
        moved.start()
        wait_for(lambda: c[0].nodes()["edge-2"]["address"].startswith(moved.address + ":") and
                 c[0].nodes()["edge-2"]["state"] == "alive", "it is where it moved to", seconds=60)
        equal(state(moved), [], moved.cli("status").stdout)
        nodes = [c[0], moved, c[2]]
        agreed(nodes, 3, "it has moved")
        for how in ("scheduler", "upgrade", "boot"):
            if how == "scheduler":
                old = c[2].kill("scheduler")
                wait_for(lambda old=old: old not in c[2].processes().values() and c[2].ready(), "it is replaced")
            elif how == "upgrade":
                c[2].process.send_signal(signal.SIGUSR2)
                wait_for(c[2].ready, "it is upgraded")
            else:
                c.kill(c[2])
                with another_boot(c[2]):
                    c.start(c[2])
            wait_for(lambda: Cluster.alive(c[0]) >= {"edge-1", "edge-2", "edge-3"}, f"{how}: it is there")
            agreed(nodes, 3, how)
            for node in nodes:
                wait_for(lambda node=node: twins(node) == ["0"] and state(node) == [], f"{how}: all is well on {node.label}")
                equal(events(node, "node.twin"), [], f"{how}: {node.label}")


if __name__ == "__main__":
    zl.main(globals())
