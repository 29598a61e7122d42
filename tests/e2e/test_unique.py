# SPDX-License-Identifier: Apache-2.0
"""What is unique (scale.unique) never lives twice at once: partitions, deaths and standstills of its node, moves, roll-outs.
Each program writes down when it lived, in one folder of the machine for all nodes; the lives of a number must not touch."""

import contextlib
import glob
import os
import shutil
import signal
import tempfile
import time

import zl
from cluster import Cluster
from test_survive import left_of, signalled
from zl import check, equal, wait_for


@contextlib.contextmanager
def beats(alone=True):
    folder = tempfile.mkdtemp(prefix="zlayer-e2e-beats-")
    os.chmod(folder, 0o777)
    try:
        yield folder
        if alone:
            lives(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lives(folder):
    """[(first, last)] of all that ever lived, one behind the other."""
    found = []
    for path in glob.glob(folder + "/*"):
        with open(path) as f:
            # The last line may be half written.
            times = [int(line) for line in f.read().rsplit("\n", 1)[0].split() if line]
        if times:
            found.append((times[0], times[-1]))
    found.sort()
    for (_, end), (begin, _) in zip(found, found[1:]):
        check(begin > end, f"two lived at once, for {(end - begin) / 1e6:.0f} ms:", found)
    return found


def beating(folder):
    """Somebody lives now."""
    known = lives(folder)
    return bool(known) and time.time_ns() - known[-1][1] < 1_000_000_000


def document(folder, extra="", name="db", unique="true", args="", user=""):
    return f"""version: v1
deployment: shop
services:
  {name}:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/server"{user}, "-b", "/beats"{args}] }}
    scale: {{ mode: fixed, replicas: 1, unique: {unique} }}
    storage: [ {{ type: bind, source: {folder}, target: /beats }} ]
    stop_grace_period: 1s
    {extra}
"""


ELSEWHERE = "node: { selector: { labels: { run: db } } }"


def rows(node, target="shop/db"):
    with contextlib.suppress(zl.Failure, OSError):
        return {r["node"]: r for r in node.get("/v1/replicas?target=" + target)["items"]}
    return {}


def state(node, where):
    return rows(node).get(where, {}).get("state")


def one_ready(node, but=(), target="shop/db"):
    """Where the only one is, when it is ready there."""
    found = rows(node, target)
    if len(found) == 1:
        (where, row), = found.items()
        if row["state"] == "ready" and where not in but:
            return where
    return None


def reason(node, where):
    return str(rows(node).get(where, {}).get("reason", ""))


OTHER_USER = ', "-u", "1000"'  # for such a program the kernel forgets that it is to end with its monitor


def spread(c, folder, user=""):
    """The service on a node that does not write the store; gives its node, and the other one that may have it."""
    for node in c.nodes:
        node.import_image()
    for node in c.nodes[1:3]:
        c[0].cli("node", "label", node.label, "run=db")
    c[0].deploy(document(folder, ELSEWHERE, user=user))
    where = wait_for(lambda: one_ready(c[0]), "one is ready")
    wait_for(lambda: beating(folder), "it lives")
    home = next(n for n in c.nodes if n.label == where)
    return home, next(n for n in c.nodes[1:3] if n is not home)


def explained(node, words):
    return words in node.cli("explain", "shop/db", status=None).stdout


def settled(c, folder, count, where=None):
    """All see the same one, it lives, and so many have lived."""
    for node in c.running():
        wait_for(lambda node=node: one_ready(node) in ([where] if where else [n.label for n in c.nodes]),
                 f"{node.label} sees one", seconds=120)
    wait_for(lambda: beating(folder), "it lives")
    equal(len(lives(folder)), count, lives(folder))


def taken_over(c, folder, by, since):
    wait_for(lambda: state(c[0], by.label) == "ready" and lives(folder)[-1][0] > since, f"{by.label} has it", seconds=120)


def test_partition_of_its_node():
    with beats() as folder, Cluster(3) as c:
        home, other = spread(c, folder)
        c.partition(home, [n for n in c.nodes if n is not home])
        cut = time.time_ns()
        taken_over(c, folder, other, cut)
        wait_for(lambda: "its lease ran out" in reason(home, home.label), "its node says why")
        check(explained(home, "its lease ran out"))
        kinds = {e["type"] for e in home.cli_json("events")["items"]}
        check("replica.lease_over" in kinds, kinds)
        c.heal()
        settled(c, folder, 2, other.label)
        # A cut that is shorter than the lease is none.
        c.partition(other, [n for n in c.nodes if n is not other])
        wait_for(lambda: not other.sees(edge_1="alive", edge_2="alive", edge_3="alive"), "it is alone")
        c.heal()
        settled(c, folder, 2)


def container_of(node):
    return next(r["container"]["pid"] for r in rows(node).values() if r["node"] == node.label and r.get("container"))


def dies(pid, what):
    # A parent that stands still reaps nobody.
    wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe") or zl.describe(pid) == "gone" or ended(pid), what, seconds=60)


def ended(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def test_nobody_else_is_left():
    """Every process of zlayer on its node is killed, but for the monitor: that one ends it in time."""
    with beats() as folder, Cluster(3) as c:
        home, other = spread(c, folder)
        pid = container_of(home)
        since = time.time_ns()
        signalled({home.process.pid, *home.processes().values()}, signal.SIGKILL)
        home.process.wait()
        check(not ended(pid), "it ended with them")
        dies(pid, "its monitor ends it")
        taken_over(c, folder, other, since)
        home.start()
        settled(c, folder, 2, other.label)


def named(node, name):
    found = []
    for pid in node.pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
            if f.read().strip() == name:
                found.append(pid)
    return found


def test_all_stand_still():
    """The whole node is stopped and goes on later, as a machine that was suspended does; but for the monitor, which is gone."""
    with beats() as folder, Cluster(3) as c:
        home, other = spread(c, folder, OTHER_USER)
        pid = container_of(home)
        since = time.time_ns()
        stopped = set()
        while new := left_of(home) - stopped:
            signalled(new, signal.SIGSTOP)
            stopped |= new
        signalled(named(home, "zlayer-monitor"), signal.SIGKILL)
        # Unless all that took so long that its lease is over.
        check(not ended(pid) or time.time_ns() - since > 4_000_000_000, "it ended with its monitor")
        dies(pid, "its watchdog ends it")
        wait_for(lambda: not named(home, "zlayer-watchdog"), "its watchdog ends with it")
        taken_over(c, folder, other, since)
        signalled(stopped, signal.SIGCONT)
        settled(c, folder, 2, other.label)


def test_the_monitor_stands_still():
    """All of zlayer on the node is stopped; the program is not."""
    with beats() as folder, Cluster(3) as c:
        home, other = spread(c, folder, OTHER_USER)
        pid = container_of(home)
        since = time.time_ns()
        stopped = left_of(home) - {pid}
        check(set(named(home, "zlayer-watchdog")) & stopped)
        signalled(stopped, signal.SIGSTOP)
        dies(pid, "its watchdog ends it")
        taken_over(c, folder, other, since)
        signalled(stopped, signal.SIGCONT)
        settled(c, folder, 2, other.label)


def replaced(node, role):
    old = node.kill(role)
    wait_for(lambda: node.ready() and node.processes().get((role, 0), old) != old, f"{role} has a successor")


def test_successors_keep_it():
    """Processes of zlayer end and begin anew, on its node and on the one that writes the store: it notices nothing."""
    with beats() as folder, Cluster(3) as c:
        home, _ = spread(c, folder)
        for role in ("scheduler", "runtime", "scheduler"):
            replaced(home, role)
        replaced(c[0], "scheduler")
        signalled({home.process.pid, *home.processes().values()}, signal.SIGKILL)
        home.process.wait()
        home.start()
        settled(c, folder, 1, home.label)
        # Beyond what the last process before had asked for.
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() > begin + 12, "a lease is over")
        settled(c, folder, 1, home.label)


def test_the_writer_dies():
    with beats() as folder, Cluster(3) as c:
        home, _ = spread(c, folder)
        check("what is unique ends on them" in home.cli("status").stdout, home.cli("status").stdout)
        row = rows(home)[home.label]
        equal(row["lease_epoch"], 1)
        check(home.cli_json("status")["deployments"][0]["services"][0]["scale"]["unique"])
        c.kill(c[0])
        wait_for(lambda: "its lease ran out" in reason(home, home.label), "it is ended, and that is said", seconds=60)
        check("edge-1" in reason(home, home.label), reason(home, home.label))
        check(not beating(folder) or wait_for(lambda: not beating(folder), "nothing lives"))
        c.start(c[0])
        settled(c, folder, 2)


def test_moves_and_rolls():
    """What is planned: the one ends, gives its lease back, and the next one begins."""
    with beats() as folder, Cluster(3) as c:
        home, other = spread(c, folder)
        c[0].cli("node", "drain", home.label, "--wait")
        settled(c, folder, 2, other.label)
        c[0].cli("node", "undrain", home.label)
        c[1].deploy(document(folder, ELSEWHERE, args=', "-x", "3600000:0"'))
        settled(c, folder, 3)
        c[2].cli("restart", "shop/db")
        settled(c, folder, 4)
        # Killed by hand it is started again at once, on the same lease.
        where = one_ready(c[0])
        os.kill(container_of(next(n for n in c.nodes if n.label == where)), signal.SIGKILL)
        wait_for(lambda: len(lives(folder)) == 5, "it is started again")
        settled(c, folder, 5, where)
        # Not unique any more: no lease, and nothing is restarted for that.
        c[0].deploy(document(folder, ELSEWHERE, unique="false", args=', "-x", "3600000:0"'))
        settled(c, folder, 5, where)
        c[0].deploy(document(folder, ELSEWHERE, args=', "-x", "3600000:0"'))
        settled(c, folder, 5, where)
        c[0].cli("rm", "shop", "--yes")
        c[0].deploy(document(folder, ELSEWHERE))
        settled(c, folder, 6)


def test_alone():
    """One node: no lease, one after the other all the same. When it founds a cluster nothing ends."""
    with beats() as folder, Cluster(2, join=False) as c:
        node = c[0]
        for n in c.nodes:
            n.import_image()
        node.deploy(document(folder))
        node.deploy(document(folder, args=', "-x", "3600000:0"'))
        node.cli("restart", "shop")
        wait_for(lambda: one_ready(node) and beating(folder), "it lives")
        equal(len(lives(folder)), 3)
        pid = container_of(node)
        c.join(c[1])
        c.wait_all_ready()
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() > begin + 12, "a lease is over")
        settled(c, folder, 3, "edge-1")
        equal(container_of(node), pid)
        since = time.time_ns()
        c.partition(c[0], c[1])
        # It takes the changes: it keeps its lease, and the other one waits for it.
        wait_for(lambda: "its lease" in reason(c[1], "edge-2"), "the other one waits", seconds=60)
        c.heal()
        settled(c, folder, 3, "edge-1")
        check(since < lives(folder)[-1][1])


if __name__ == "__main__":
    zl.main(globals())
