# SPDX-License-Identifier: Apache-2.0
"""Logs of and commands in replicas of other nodes: from any node as on their own."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import time

import zl
from cluster import Cluster
from test_placing import images, ready
from test_terminal import Terminal
from zl import PROGRAM, check, equal, service, wait_for

BIG_LINES = 108 * 1024  # of 1 KiB each


@contextlib.contextmanager
def two(replicas=2, extra=""):
    """A cluster of two, and a service with a replica on each: (cluster, node -> its replica)."""
    with Cluster(2) as c:
        images(c)
        c[0].deploy(service(replicas=replicas, extra=extra))
        rows = ready(c[0], replicas)
        ready(c[1], replicas)
        yield c, {where: name for name, where, _ in rows}


def start(node, *args, socket=None, **options):
    return subprocess.Popen([PROGRAM, "--socket", socket or node.socket, *args], **options)


class Way:
    """Another socket of a node, which can be cut."""

    def __init__(self, node):
        self.node = node
        self.path = os.path.join(node.folder, "way")
        self.open()

    def open(self):
        self.process = subprocess.Popen(["socat", f"UNIX-LISTEN:{self.path},fork,unlink-early", f"UNIX-CONNECT:{self.node.socket}"],
                                        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.path), "the way is open")

    def cut(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.unlink(self.path)

    def close(self):
        if self.process.poll() is None:
            self.cut()


class Follow:
    """`logs -f`, or `events -f`, into a file."""

    def __init__(self, node, *args, command="logs", socket=None):
        self.path = os.path.join(node.folder, f"follow.{time.monotonic_ns()}")
        with open(self.path, "wb") as f:
            self.process = start(node, command, "-f", *args, socket=socket, stdout=f, stderr=subprocess.STDOUT)

    def lines(self):
        with open(self.path, encoding="utf-8", errors="replace") as f:
            return f.read().splitlines()

    def has(self, text):
        return any(text in line for line in self.lines())

    def wait(self, text):
        try:
            wait_for(lambda: self.has(text), f"the log has {text}")
        except zl.Failure as failure:
            raise zl.Failure(f"{failure}: {self.lines()[-20:]}")

    def end(self):
        self.process.terminate()
        self.process.wait(zl.WAIT_S)


def say(node, replica, text):
    """The replica's own process writes a line."""
    node.cli("exec", replica, "--", "/bin/sh", "-c", f"echo {text} > /proc/1/fd/1")



def test_exec():
    with two() as (c, by):
        far = by["edge-2"]
        near = c[0]
        for node in c.nodes:
            for replica in by.values():
                equal(node.cli("exec", replica, "--", "hostname").stdout.strip(), replica.split("/")[1].replace(".", "-"))
        # Exit codes, both outputs, what is not there, another user, a folder.
        equal(near.cli("exec", far, "--", "sh", "-c", "exit 42", status=None).returncode, 42)
        equal(near.cli("exec", far, "--", "sh", "-c", "kill -9 $$", status=None).returncode, 137)
        r = near.cli("exec", far, "--", "sh", "-c", "echo out; echo err >&2; exit 3", status=None)
        equal((r.stdout, r.stderr, r.returncode), ("out\n", "err\n", 3))
        r = near.cli("exec", far, "--", "/no/such", status=None)
        check(r.returncode == 127 and "cannot run" in r.stderr, r.stderr)
        equal(near.cli("exec", "-u", "7:8", "-w", "/tmp", far, "--", "sh", "-c", "id -u; pwd").stdout, "7\n/tmp\n")
        # Binary input and output, larger than what is kept on the way, and its end.
        data = os.urandom(3 << 20)
        p = start(near, "exec", "-i", far, "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out, _ = p.communicate(data, timeout=120)
        equal((p.returncode, hashlib.sha256(out).digest()), (0, hashlib.sha256(data).digest()))
        p = start(near, "exec", "-i", far, "--", "sha256sum", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out, _ = p.communicate(data, timeout=120)
        equal(out.split()[0].decode(), hashlib.sha256(data).hexdigest())
        # A signal goes to the command.
        p = start(near, "exec", far, "--", "sh", "-c", 'trap "echo hung up; exit 9" TERM; echo there; while :; do sleep 0.1; done',
                  stdout=subprocess.PIPE, text=True)
        equal(p.stdout.readline(), "there\n")
        p.send_signal(signal.SIGTERM)
        equal((p.stdout.read(), p.wait(zl.WAIT_S)), ("hung up\n", 9))
        # A replica that is named as a service: some replica of it, on whichever node.
        check(near.cli("exec", "shop/web", "--", "hostname").stdout.startswith("web-"), "by service")
        # The client goes: so does the command.
        p = start(near, "exec", far, "--", "sh", "-c", "echo there; exec sleep 987", stdout=subprocess.PIPE, text=True)
        equal(p.stdout.readline(), "there\n")
        p.kill()
        p.wait()
        wait_for(lambda: near.cli("exec", far, "--", "sh", "-c", "ps | grep -c '[s]leep 987'", status=None).stdout.strip() == "0",
                 "the command ends with its client")


def test_terminal():
    with two() as (c, by):
        t = Terminal(c[0], "exec", "-it", by["edge-2"], "--", "/bin/sh", rows=31, columns=97)
        t.type("stty size\n")
        t.expect(r"31 97")
        t.resize(41, 117)
        t.process.send_signal(signal.SIGWINCH)

        def resized():
            t.type("stty size\n")
            t.read()
            return "41 117" in t.out
        wait_for(resized, "the size follows")
        t.type("echo be''gin; sleep 100\n")
        t.expect(r"begin")
        t.type("\x03")
        t.type("echo $?-interrupted; exit 5\n")
        t.expect(r"130-interrupted")
        t.end(5)


def test_logs():
    with two(replicas=4) as (c, by):
        rows = c[0].replicas()
        equal({r[1] for r in rows}, {"edge-1", "edge-2"})
        follow = [Follow(node, "shop/web") for node in c.nodes]
        for f in follow:
            for name, _, _ in rows:
                f.wait(f"{name.split('/')[1]}  ready on port 8080")
        # Lines of all replicas of all nodes in the order in which they were written, from every node.
        for n in range(12):
            say(c[n % 2], rows[n % 4][0], f"line-{n}-")
            for f in follow:
                f.wait(f"line-{n}-")
        want = [f"{rows[n % 4][0].split('/')[1]}  line-{n}-" for n in range(12)]
        for f in follow:
            equal([line for line in f.lines() if "line-" in line], want)
            f.end()
        for node in c.nodes:
            equal([line for line in node.cli("logs", "shop").stdout.splitlines() if "line-" in line], want)
            tail = node.cli("logs", "-n", "1", "shop").stdout.splitlines()
            equal(sorted(tail), sorted(want[8:]))
            lines = [json.loads(x) for x in node.cli("-o", "json", "logs", rows[1][0]).stdout.splitlines()]
            check(all(x["replica"] == rows[1][0] for x in lines) and lines[-1]["text"] == "line-9-", lines)
        # Replicas that come later are taken in, wherever they come up.
        f = Follow(c[0], "shop")
        f.wait("line-11-")
        c[1].cli("scale", "shop/web=6", "--force")
        for name, _, _ in ready(c[0], 6):
            f.wait(f"{name.split('/')[1]}  ready on port 8080")
        f.end()
        # --previous, of an attempt that ended.
        far = next(name for name, where, _ in rows if where == "edge-2")
        say(c[1], far, "the-first-life")
        c[1].cli("exec", far, "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/exit/3", status=None)
        wait_for(lambda: any(r["name"] == far and r["restarts"] and r["state"] == "ready"
                             for r in c[0].get("/v1/replicas")["items"]), "it is started again")
        check("the-first-life" in c[0].cli("logs", "--previous", far).stdout, "--previous")
        what_all_said(c)


def what_all_said(c):
    """Events of both nodes from each: by time; of one alone with its name."""
    for node in c.nodes:
        answer = node.get("/v1/events?limit=1000")
        times = [e["ts"] for e in answer["items"]]
        equal(times, sorted(times))
        equal(answer["away"], [])
        for name in ("edge-1", "edge-2"):
            check(any(e["node"] == name and e["type"] == "replica.ready" for e in answer["items"]), name, answer)
        for other in c.nodes:
            own = other.get("/v1/events?since=0&limit=1000")["items"]
            wait_for(lambda own=own, node=node, other=other: own == node.get(f"/v1/events?node={other.label}&limit=1000")["items"][:len(own)],
                     f"{node.label} tells what {other.label} said")
            lines = node.cli("events", "--node", other.label, "--type", "replica.ready").stdout.splitlines()
            check(lines and all(f"  {other.label}  replica.ready  shop/web." in line for line in lines), lines)
    check("no node" in c[0].cli("events", "--node", "edge-9", status=4).stderr)
    f = Follow(c[0], "--since", "1h", "--node", "edge-2", command="events")
    f.wait("edge-2  replica.ready  shop/web.")
    f.end()
    check(not any("  edge-1  " in line for line in f.lines()), f.lines())


def rss(node, role):
    with open(f"/proc/{node.processes()[role, 0]}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


def write_much(node, replica, lines):
    node.cli("exec", replica, "--", "sh", "-c", f"yes $(printf %01000d 7) | head -n {lines} > /proc/1/fd/1")


def test_a_slow_reader():
    """100 MiB of a log, read by nobody for a while: what is between keeps little of it, and all of it comes."""
    with two(extra="    logs: { max_size: 64Mi, max_files: 4 }") as (c, by):
        far = by["edge-2"]
        write_much(c[1], far, BIG_LINES)
        say(c[1], far, "the-end")
        before = [rss(n, "scheduler") for n in c.nodes] + [rss(c[0], "api")]
        p = start(c[0], "logs", far, stdout=subprocess.PIPE)
        digest = hashlib.sha256(p.stdout.read(1 << 20))
        # Nothing is read: until every buffer on the way is full, and a while more.
        full = time.monotonic() + 3
        wait_for(lambda: time.monotonic() > full, "it is full")
        after = [rss(n, "scheduler") for n in c.nodes] + [rss(c[0], "api")]
        for was, now in zip(before, after):
            check(now - was < 24 << 20, "memory grew by", now - was)
        # Others are served meanwhile.
        equal(c[0].cli("exec", far, "--", "echo", "yes").stdout, "yes\n")
        check("ready on port" in c[0].cli("logs", by["edge-1"]).stdout, "another log")
        # And then all of it comes, as it is read on its own node.
        got = 1 << 20
        while data := p.stdout.read(1 << 20):
            digest.update(data)
            got += len(data)
        equal(p.wait(zl.WAIT_S), 0)
        own = hashlib.sha256()
        q = start(c[1], "logs", far, stdout=subprocess.PIPE)
        while data := q.stdout.read(1 << 20):
            own.update(data)
        equal(q.wait(zl.WAIT_S), 0)
        check(got > 100 << 20, "so many bytes came:", got)
        equal(digest.digest(), own.digest())


def test_a_cut():
    """The way is lost in the middle: a followed log goes on after it, a command ends and says why."""
    with two() as (c, by), contextlib.closing(Way(c[0])) as way:
        far = by["edge-2"]
        f = Follow(c[0], "shop")
        f.wait(f"{far.split('/')[1]}  ready on port 8080")
        say(c[1], far, "before-1")
        say(c[1], far, "before-2")
        f.wait("before-2")
        p = start(c[0], "exec", far, "--", "sh", "-c", "echo there; exec sleep 987", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                  text=True)
        equal(p.stdout.readline(), "there\n")
        e = Follow(c[0], "--since", "1h", command="events", socket=way.path)
        e.wait("edge-1  replica.ready  shop/web.")
        e.wait("edge-2  replica.ready  shop/web.")
        c.partition(c[0], c[1])
        f.wait("it goes on when that is back")
        out, err = p.communicate(timeout=60)
        equal(p.returncode, 125)
        check("edge-2" in err, err)
        # The command has ended on its node, too: it does not run for nobody.
        wait_for(lambda: c[1].cli("exec", far, "--", "sh", "-c", "ps | grep -c '[s]leep 987'", status=None).stdout.strip() == "0",
                 "the command has ended")
        # Nobody waits for a node that is known to be away.
        wait_for(lambda: c[0].nodes()["edge-2"]["state"] == "unreachable", "it is known")
        say(c[1], far, "meanwhile")
        # What the other one said cannot be had, and that is said; it comes when it is back, and what it said comes then, once.
        e.wait("edge-2 is left out: ")
        r = c[0].cli("events")
        check("edge-2 is left out: " in r.stderr and "  edge-1  node.dead" in r.stdout, r.stderr, r.stdout)
        check("edge-2 is not reachable" in c[0].cli("events", "--node", "edge-2", status=8).stderr)
        # The stream breaks meanwhile, after this node has said something later than the other one.
        wait_for(lambda: c[1].nodes()["edge-1"]["state"] == "unreachable", "the other one has said so")
        c[0].deploy("version: v1\ndeployment: other\nservices:\n  once:\n    rtype: job\n    image: { name: test:1 }\n")
        e.wait("  edge-1  deploy.committed  other")
        way.cut()
        c.heal()
        c.wait_all_ready()
        way.open()
        e.wait("  edge-2  node.dead")
        e.end()
        said = [line for line in e.lines() if not line.startswith("zlayer: ")]
        equal(len([line for line in said if "  edge-2  node.dead" in line]), 1)
        equal(len(set(said)), len(said))
        say(c[1], far, "after")
        if any(r[0] == far and r[1] == "edge-2" for r in c[1].replicas()):
            f.wait("after")
            own = [line.split()[-1] for line in f.lines() if re.search("before-|meanwhile|after", line)]
            equal(own, ["before-1", "before-2", "meanwhile", "after"])
        f.end()


def test_the_other_process_dies():
    """Schedulers of either side and the other's api: the stream is lost, and comes again; nothing hangs."""
    with two() as (c, by):
        far = by["edge-2"]
        f = Follow(c[0], far)
        f.wait("ready on port 8080")
        for n, (node, role) in enumerate(((c[0], "scheduler"), (c[1], "scheduler"), (c[1], "api"), (c[1], "runtime"))):
            node.kill(role)
            c.wait_all_ready()
            wait_for(lambda: c[1].cli("exec", far, "--", "true", status=None).returncode == 0, "its own node answers")
            say(c[1], far, f"after-{n}-")
            f.wait(f"after-{n}-")
        f.end()
        lines = [line.split()[-1] for line in f.lines() if "after-" in line]
        equal(lines, [f"after-{n}-" for n in range(4)])


def test_refusals():
    with two() as (c, by):
        far = by["edge-2"]
        r = c[0].cli("exec", "shop/web.9", "--", "true", status=None)
        check(r.returncode == 125 and "no replica" in r.stderr, r.stderr)
        # No more than so many at a time, and then it says so.
        many = [start(c[0], "exec", "-i", far, "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                      stderr=subprocess.PIPE, text=True) for _ in range(70)]
        wait_for(lambda: any(p.poll() is not None for p in many), "some are refused")
        refused = [p for p in many if p.poll() is not None]
        check(all("too many" in p.stderr.read() or p.returncode == 125 for p in refused), "it says why")
        for p in many:
            p.kill()
            p.wait()
        wait_for(lambda: c[0].cli("exec", far, "--", "true", status=None).returncode == 0, "and then there is room again")
        # A node that is gone: at once, with the reason.
        c.kill(c[1])
        r = c[0].cli("logs", far, status=None)
        check(r.returncode != 0 and ("edge-2" in r.stderr or "no replica" in r.stderr), r.stderr)


def why(node, deployment="shop"):
    """What it says of each node: name -> why not."""
    try:
        answer = node.get(f"/v1/services/{deployment}/web/nodes")
    except zl.Failure:
        return None
    return {i["node"]: i["why"] for i in answer["items"]} if not answer["doubt"] else None


def events(c, kind):
    return [e for n in c.running() for e in node_events(n) if e["type"] == kind]


def node_events(node):
    with contextlib.suppress(zl.Failure, OSError):
        return node.get("/v1/events?since=0")["items"]
    return []


def test_explain():
    """Every node says the same of every node; why a replica moved is told, too."""
    with Cluster(3) as c:
        images(c)
        c[0].cli("node", "taint", "edge-3", "only=db")
        text = service(extra="    node: { selector: { labels: { disk: ssd } } }")
        c[0].cli("deploy", "--detach", "-", input=text)
        want = {"edge-1": "label disk=ssd is asked, this node has no disk", "edge-2": "label disk=ssd is asked, this node has no disk",
                "edge-3": "label disk=ssd is asked, this node has no disk"}
        for node in c.nodes:
            wait_for(lambda node=node: why(node) == want, f"{node.label} says why")
        for node in c.nodes:
            shown = wait_for(lambda node=node: (lambda r: r.stdout if "WHY NOT" in r.stdout else None)(
                node.cli("explain", "shop/web", status=None)), "the table")
            for name, reason in want.items():
                check(re.search(rf"{name} .*{reason}", shown), shown)
            items = json.loads(node.cli("-o", "json", "explain", "shop/web", status=None).stdout)["items"]
            equal({i["node"]: i["why"] for i in items if i["name"] == "node"}, want)
        c[0].cli("node", "label", "edge-3", "disk=ssd")
        for node in c.nodes:
            wait_for(lambda node=node: (why(node) or {}).get("edge-3") == "taint only=db is not tolerated", f"{node.label}: the taint")
        c[0].cli("node", "label", "edge-1", "disk=ssd")
        ready(c[2], 1, {"edge-1"})
        # It moves since its node is not as it asks any more; one node tells of it, with the reason.
        c[0].cli("node", "label", "edge-2", "disk=ssd")
        c[0].cli("node", "label", "edge-1", "disk-")
        ready(c[2], 1, {"edge-2"})
        moved, = events(c, "placement.moved")
        equal(moved["text"], "web.1 leaves edge-1: label disk=ssd is asked, this node has no disk")
        # And since its node died.
        c[0].cli("node", "label", "edge-1", "disk=ssd")
        c.kill(c[1])
        ready(c[0], 1, {"edge-1"})
        lost, = events(c, "placement.lost")
        check(lost["text"].startswith("web.1 is placed anew: edge-2"), lost)


if __name__ == "__main__":
    zl.main(globals())
