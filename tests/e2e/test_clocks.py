# SPDX-License-Identifier: Apache-2.0
"""Wall clocks that jump, and machines that were off for longer than their certificates are good: tests/support/clock.c is the
wall clock of each node, and what only goes forward goes on as it is."""

import contextlib
import os
import re
import struct
import subprocess
import tempfile

import zl
from cluster import Cluster
from test_unique import beating, beats, lives, spread
from wreck import Load, agreed, begin, restarts
from zl import BUILD, Skip, check, equal, run, service, stays, wait_for

LIBRARY = os.path.join(BUILD, "tests", "e2e", "libclock.so")
FOLDER = "/etc/zlayer-e2e-clocks"
HOUR_S, DAY_S = 3600, 86400
LONGER_THAN_A_LEASE_S = 12


@contextlib.contextmanager
def clocks():
    """Before the first node starts: from then on each of them has a clock of its own."""
    if "libasan" in run("ldd", zl.PROGRAM).stdout:
        raise Skip("the sanitizer wants to be loaded before any other library")
    with tempfile.TemporaryDirectory() as top:
        run("mount", "-t", "tmpfs", "clocks", top)
        for name in ("upper", "work"):
            os.mkdir(os.path.join(top, name), 0o755)
        run("mount", "-t", "overlay", "clocks", "-o", f"lowerdir=/etc,upperdir={top}/upper,workdir={top}/work", "/etc")
        try:
            os.mkdir(FOLDER, 0o755)
            with open("/etc/ld.so.preload", "w") as f:
                f.write(LIBRARY + "\n")
            yield
        finally:
            os.unlink("/etc/ld.so.preload")
            run("umount", "-l", "/etc")
            run("umount", "-l", top)


def set_clocks(nodes, seconds):
    for node in nodes:
        path = os.path.join(FOLDER, node.name)
        with open(path, "r+b" if os.path.exists(path) else "wb") as f:
            f.write(struct.pack("=q", seconds * 10 ** 9))
        os.chmod(path, 0o644)


class Clocks(Cluster):
    """Its nodes have clocks from the first moment on."""

    def add(self, number):
        super().add(number)
        set_clocks(self.nodes[-1:], 0)


def at(node, *command):
    """What a program in that node's cgroup gets."""
    return run("sh", "-c", f'echo $$ >"$(find /sys/fs/cgroup -path "*/zlayer/{node.name}/*" -name cgroup.procs | head -n 1)" && '
               'exec "$@"', "sh", *command).stdout


def until_s(node):
    """When its certificate ends."""
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return subprocess.run(["date", "-ud", node.cluster()["certificate_not_after"], "+%s"], capture_output=True, text=True).stdout
    return ""


def test_jumps():
    """An hour ahead, and behind, and back: of a node, and of the one that takes the changes. Nothing moves, nothing lives twice."""
    with clocks(), beats() as folder, Clocks(3) as c:
        begin(c, 3)
        with Load(c[0]) as load:
            before = restarts(c[0])
            for node in (c[2], c[0]):
                for seconds in (HOUR_S, -HOUR_S // 2, 0):
                    goals = [n.heard("ack") + 6 for n in c.nodes]
                    with load.fault(f"{node.label}'s clock set to {seconds} s ahead"):
                        set_clocks([node], seconds)

                        def nobody_is_lost():
                            check(all("unreachable" not in {m["state"] for m in n.nodes().values()} for n in c.nodes))
                            return all(n.heard("ack") >= goal for n, goal in zip(c.nodes, goals))
                        wait_for(nobody_is_lost, "probes go on")
                    equal(restarts(c[0]), before, "nothing has moved")
                    c[1].cli("node", "label", "edge-2", f"ahead={seconds}")
                    for n in c.nodes:
                        wait_for(lambda n=n: n.nodes()["edge-2"]["labels"] == {"ahead": str(seconds)}, f"{n.label} knows of a change")
            load.judge()
        c[0].cli("rm", "shop", "--yes")
        wait_for(lambda: not any(n.replicas() for n in c.nodes), "all of it is gone")
        home, _ = spread(c, folder)
        for node in (home, c[0]):
            for seconds in (HOUR_S, -HOUR_S // 2):
                set_clocks([node], seconds)
                stays(lambda: len(lives(folder)) == 1, "it keeps its lease", LONGER_THAN_A_LEASE_S, every=0.5)
            set_clocks([node], 0)
        check(beating(folder), "it lives")


def test_slept():
    """A node that is no keeper is off for longer than its certificate is good; then all of them for more than a year."""
    with clocks(), Clocks(4) as c:
        begin(c, 3)
        check(c[1].nodes()["edge-4"]["keeper"] is False, "it would give itself a certificate")
        now = int(at(c[1], "date", "+%s"))
        c.kill(c[3])
        ended = until_s(c[1])
        for days in (8, 16):
            set_clocks(c.nodes, days * DAY_S)
            for node in c.running():
                wait_for(lambda node=node: int(until_s(node) or 0) > now + (days + 13) * DAY_S, f"{node.label} has another certificate",
                         seconds=90)
        check(int(at(c[1], "date", "+%s")) > int(ended), "what edge-4 has has ended")
        agreed(c.running(), 3, "all is well without it")
        c.start(c[3])
        c.wait_all_ready()
        wait_for(lambda: int(until_s(c[3]) or 0) > now + 29 * DAY_S, "it has another certificate, too", seconds=90)
        c[3].deploy(service(replicas=4))
        agreed(c.nodes, 4, "a deploy through it")
        for node in c.nodes:
            c.kill(node)
        set_clocks(c.nodes, 500 * DAY_S)
        for node in c.nodes:
            run("ip", "link", "set", node.link, "up")
            c.off.discard(node)
            node.start(wait=False)
        for node in c.nodes:
            wait_for(node.ready, f"{node.label} is ready")
        c.wait_all_ready()
        for node in c.nodes:
            wait_for(lambda node=node: int(until_s(node) or 0) > now + 513 * DAY_S, f"{node.label} has another certificate", seconds=90)
        agreed(c.nodes, 4, "what was wanted is there again")
        c[1].deploy(service(replicas=3))
        agreed(c.nodes, 3, "a deploy")


def told(node, kind):
    return [e for e in node.get("/v1/events?since=0&limit=1000")["items"] if e["node"] == node.label and e["type"] == kind]


def skew(node):
    """Seconds that the clock of a node is ahead, by its metrics."""
    text = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout
    return [float(line.split()[1]) for line in text.splitlines() if line.startswith("zlayer_cluster_clock_skew_seconds ")]


def far_s(text):
    """"365 days ahead", "86400 s behind", as seconds; and the step in which that is said."""
    found = re.fullmatch(r"(\d+) (days|s) (ahead|behind)", text)
    check(found, text)
    step = DAY_S if found[2] == "days" else 1
    return int(found[1]) * step * (1 if found[3] == "ahead" else -1), step


def check_shown(node, wrong, seconds):
    """What `node ls` and `node show` say on a node, of each one's clock; seconds 0: it is right."""
    rows = {line.split()[0].rstrip("*"): line for line in node.cli("node", "ls").stdout.splitlines()[1:]}
    equal(set(node.nodes()), set(rows), "a row of each")
    equal({name for name, line in rows.items() if "clock" in line}, {wrong.label} if seconds else set(), f"node ls on {node.label}")
    for label in rows:
        shown = re.findall(r"^\s*clock\s+(\S.*?)\s*$", node.cli("node", "show", label).stdout, re.M)
        equal(len(shown), 1 if seconds and label == wrong.label else 0, f"node show {label} on {node.label}")
        for text in [re.search(r"clock (\d+ \S+ \S+)", rows[label])[1], *shown] if shown else []:
            far, step = far_s(text)
            check(abs(far - seconds) <= max(step, 5), f"{node.label} says of {label}: {text}; it is {seconds} s")


def test_one_is_wrong():
    """A node that starts with a clock that is far off is a node like others: it follows the store, takes deploys, drains in time. All
    say that its clock is wrong, and that it is right again."""
    with clocks(), Clocks(3) as c:
        begin(c, 3)
        wrong = c[2]
        replicas = 3
        for days in (365, -1):
            c.kill(wrong)
            set_clocks([wrong], days * DAY_S)
            c.start(wrong)
            c.wait_all_ready()
            for node in c.nodes:
                wait_for(lambda node=node: abs((node.nodes()[wrong.label]["clock_ahead_ms"] or 0) - days * DAY_S * 1000) < 5000,
                         f"{node.label} says whose clock it is", seconds=60)
                equal([n["clock_ahead_ms"] for name, n in node.nodes().items() if name != wrong.label], [None, None])
            for node in c.nodes:
                check_shown(node, wrong, days * DAY_S)
            said = "the clock of this machine is " + ("365 days ahead of" if days > 0 else "24 hours behind")
            check(said in wrong.cli("status").stdout, wrong.cli("status").stdout)
            check("the clock of edge-3 is" in c[1].cli("status").stdout, c[1].cli("status").stdout)
            wait_for(lambda: [round(s / 60) for n in (wrong, c[0]) for s in skew(n)] == [days * DAY_S // 60, 0],
                     lambda: f"the metric: {[skew(n) for n in c.nodes]}")
            check(told(wrong, "node.clock") and not told(c[0], "node.clock"), "it says so itself")
            for by in (c[0], wrong):
                replicas = 8 - replicas
                by.deploy(service(replicas=replicas))
                agreed(c.nodes, replicas, f"{days} days: a deploy by {by.label}")
            wrong.cli("node", "label", "edge-1", f"days={days}")
            # When it is to be over another node writes.
            c[0].cli("node", "drain", wrong.label, "--grace", "60s", "--wait")
            wait_for(lambda: not any(r[1] == wrong.label for r in c[0].replicas()), "it has nothing any more")
            agreed(c.nodes, replicas, "what it had has moved")
            c[0].cli("node", "undrain", wrong.label)
        set_clocks([wrong], 0)
        for node in c.nodes:
            wait_for(lambda node=node: node.nodes()[wrong.label]["clock_ahead_ms"] is None, f"{node.label}: it is right", seconds=60)
        wait_for(lambda: told(wrong, "node.clock_right"), "it says so")
        check("clock" not in wrong.cli("status").stdout)
        for node in c.nodes:
            check_shown(node, wrong, 0)


if __name__ == "__main__":
    zl.main(globals())
