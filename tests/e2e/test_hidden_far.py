# SPDX-License-Identifier: Apache-2.0
"""Logs, commands and whatever else is asked of nodes that nobody can connect to: from every node as on their own."""

import contextlib
import hashlib
import os
import subprocess

import zl
from cluster import Cluster
from test_overlay import metric
from test_placing import images, ready
from test_remote import Follow, say, start, why
from zl import check, equal, service, wait_for


@contextlib.contextmanager
def four():
    """1 and 2 are reached, 3 and 4 are behind a router each; a replica on every one: (cluster, node -> its replica)."""
    with Cluster(4, encrypt=True, hidden=(3, 4)) as c:
        images(c)
        c[0].deploy(service(replicas=4))
        for node in c.nodes:
            rows = ready(node, 4)
        by = {where: name for name, where, _ in rows}
        equal(set(by), {n.label for n in c.nodes})
        yield c, by


def through(node, far, other):
    """Binary input and output, more than is kept on the way, and its end; exit codes, and both outputs."""
    data = os.urandom(3 << 20)
    p = start(node, "exec", "-i", far, "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = p.communicate(data, timeout=120)
    equal((p.returncode, hashlib.sha256(out).digest()), (0, hashlib.sha256(data).digest()))
    r = node.cli("exec", far, "--", "sh", "-c", "echo out; echo err >&2; exit 42", status=None)
    equal((r.stdout, r.stderr, r.returncode), ("out\n", "err\n", 42))
    # The client goes: so does the command.
    p = start(node, "exec", far, "--", "sh", "-c", "echo there; exec sleep 987", stdout=subprocess.PIPE, text=True)
    equal(p.stdout.readline(), "there\n")
    p.kill()
    p.wait()
    wait_for(lambda: other.cli("exec", far, "--", "sh", "-c", "ps | grep -c '[s]leep 987'", status=None).stdout.strip() == "0",
             "the command ends with its client")


def test_from_everywhere():
    with four() as (c, by):
        for node in c.nodes:
            for replica in by.values():
                equal(node.cli("exec", replica, "--", "hostname").stdout.strip(), replica.split("/")[1].replace(".", "-"))
                check("ready on port 8080" in node.cli("logs", replica).stdout, node.label, "reads the log of", replica)
            # What all nodes said, and saw: nobody is left out.
            answer = node.get("/v1/events?limit=1000")
            equal(answer["away"], [])
            equal({e["node"] for e in answer["items"] if e["type"] == "replica.ready"}, set(by))
            equal(node.get("/v1/flows?limit=1000")["away"], [])
            for other in c.nodes:
                node.cli("observe", "--last", "10", "--node", other.label)
        through(c[0], by["edge-3"], c[2])
        through(c[2], by["edge-4"], c[3])
        through(c[3], by["edge-2"], c[1])
        # Many at once, by the one or the other third node.
        many = [start(c[2], "exec", by["edge-4"], "--", "echo", str(n), stdout=subprocess.PIPE, text=True) for n in range(30)]
        equal([p.communicate(timeout=120)[0] for p in many], [f"{n}\n" for n in range(30)])
        # Lines of all, in the order in which they were written, on each; and what is said later.
        follow = [Follow(node, "shop/web") for node in c.nodes]
        for f in follow:
            for name in by.values():
                f.wait(f"{name.split('/')[1]}  ready on port 8080")
        want = []
        for n in range(8):
            name = by[c[n % 4].label]
            say(c[(n + 1) % 4], name, f"line-{n}-")
            want.append(f"{name.split('/')[1]}  line-{n}-")
        for f in follow:
            f.wait("line-7-")
            equal([line for line in f.lines() if "line-" in line], want)
            f.end()


def test_why():
    """Whoever conducts, every node says the same of every node: also where both are behind routers."""
    with Cluster(4, encrypt=True, hidden=(3, 4)) as c:
        images(c)
        reason = "label disk=ssd is asked, this node has no disk"
        for n in range(4):
            text = service(extra="    node: { selector: { labels: { disk: ssd } } }", host=f"web{n}.test", deployment=f"shop{n}")
            c[n].cli("deploy", "--detach", "-", input=text)
            for node in c.nodes:
                wait_for(lambda node=node, n=n: why(node, f"shop{n}") == {f"edge-{i}": reason for i in (1, 2, 3, 4)},
                         f"{node.label} says why shop{n} has no node")


def test_placed():
    """Whoever conducts places what is for a node behind a router, also where it is behind one itself."""
    with Cluster(4, encrypt=True, hidden=(3, 4)) as c:
        images(c)
        for n in (3, 4):
            c[0].cli("node", "label", f"edge-{n}", f"behind=r{n}")
        for n in range(8):
            behind = 3 + n % 2
            text = service(extra=f"    node: {{ selector: {{ labels: {{ behind: r{behind} }} }} }}", host=f"web{n}.test", deployment=f"shop{n}")
            c[n % 4].cli("deploy", "-", input=text)
            rows = c[n % 4].replicas(f"shop{n}")
            equal([(where, state) for _, where, state in rows], [(f"edge-{behind}", "ready")])
        # And they leave: their node waits for all others to let go of them.
        for n in range(8):
            c[(n + 1) % 4].cli("rm", f"shop{n}", "--yes")
        for node in c.nodes:
            wait_for(lambda node=node: not node.replicas(), f"{node.label} knows that all are gone")
        passed = [metric(node, "zlayer_gossip_passed_total", outcome="passed") for node in c.nodes]
        check(passed[0] + passed[1] > 0 and passed[2:] == [0, 0], "those that are reached pass on:", passed)


def test_killed():
    """A node behind a router dies while its log is followed, from one that is reached and from one that is not."""
    with four() as (c, by):
        far = by["edge-3"]
        follow = [Follow(node, far) for node in (c[0], c[3])]
        say(c[2], far, "before")
        for f in follow:
            f.wait("before")
        p = start(c[3], "exec", far, "--", "sh", "-c", "echo there; exec sleep 987", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                  text=True)
        equal(p.stdout.readline(), "there\n")
        c.kill(c[2])
        _, err = p.communicate(timeout=60)
        equal(p.returncode, 125)
        check("edge-3" in err, err)
        for f in follow:
            f.wait("it goes on when that is back")
        # At once, with the reason.
        wait_for(lambda: all(n.nodes()["edge-3"]["state"] == "unreachable" for n in c.running()), "it is known")
        for node in c.running():
            check("edge-3 is not reachable" in node.cli("events", "--node", "edge-3", status=8).stderr)
        c.start(c[2])
        c.wait_all_ready()
        for node in c.nodes:
            wait_for(lambda node=node: not node.get("/v1/events?limit=1")["away"], f"{node.label} asks all again")
        for f in follow:
            f.end()


def test_who_passes_on_dies():
    """Between two behind routers: what was under way is lost with the third one, and then goes by another."""
    with four() as (c, by):
        far = by["edge-3"]
        f = Follow(c[3], far)
        say(c[2], far, "first")
        f.wait("first")
        c.kill(c[0])
        wait_for(lambda: c[3].cli("exec", far, "--", "true", status=None).returncode == 0, "it goes on by edge-2", 60)
        say(c[2], far, "second")
        f.wait("second")
        f.end()
        equal([line.split()[-1] for line in f.lines() if "first" in line or "second" in line], ["first", "second"])


if __name__ == "__main__":
    zl.main(globals())
