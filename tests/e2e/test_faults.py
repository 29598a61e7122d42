# SPDX-License-Identifier: Apache-2.0
"""The store when what it stands on fails: disks that are full or cannot be written, files that are damaged or removed, a process
that hangs."""

import contextlib
import os
import shutil
import signal
import time

import zl
from cluster import Cluster
from test_etcd import lives, processes, wait_for_etcd
from zl import check, equal, service, wait_for


def fill(node):
    """No byte more finds room on its disk."""
    with open(os.path.join(node.data, "ballast"), "wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(1 << 16))
    with open(os.path.join(node.data, "ballast"), "ab", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(1))


def label(node, text, status=None):
    return node.cli("node", "label", node.label, text, status=status)


def labels(node, of):
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return node.nodes()[of.label]["labels"]
    return {}


def is_refused(node):
    """At once, as failed, with all that is to be known."""
    begin = time.monotonic()
    r = label(node, f"try={time.monotonic_ns()}")
    if r.returncode == 5:
        check("is kept" in r.stderr and "no space left" in r.stderr, "what is kept is not told as failed", r.stderr)
    if r.returncode in (0, 5):
        return False
    equal(r.returncode, 1, r.stderr)
    check(time.monotonic() - begin < 6, "no waiting for what does not come by itself", time.monotonic() - begin)
    return r.stderr


def is_full(node, at):
    """Changes through `node` are refused for want of room at `at`, and that is said."""
    text = wait_for(lambda: is_refused(node), f"{node.label} refuses changes")
    check(f"no space left on {at.data}/state of node {at.label}" in text and "fix" in text, text)
    wait_for(lambda: "no space left" in at.cli("status").stdout, "its status says so")
    check(not at.cluster()["store"]["writable"], at.cluster())


def goes_on(c, node, at):
    os.unlink(os.path.join(at.data, "ballast"))
    wait_for(lambda: label(node, "room=again").returncode == 0, "it goes on by itself")
    for other in c.nodes:
        wait_for(lambda other=other: labels(other, node).get("room") == "again", f"{other.label} hears of it")
    check("no space left" not in at.cli("status").stdout, at.cli("status").stdout)


def test_full_disks():
    """Of who writes the store, and of who follows."""
    with Cluster(2, data_mib=48) as c:
        a, b = c
        wait_for(lambda: b.cluster()["store"]["writable"], "changes are taken everywhere")
        fill(a)
        is_full(a, a)
        check("of node edge-1" in wait_for(lambda: is_refused(b), "so does the other one"))
        # Whoever asks the other one hears it, too, without a change.
        wait_for(lambda: f"no space left on {a.data}/state of node edge-1" in b.cli("status").stdout, "its status names the node")
        check(not b.cluster()["store"]["writable"], b.cluster())
        goes_on(c, b, a)
        wait_for(lambda: "no space left" not in b.cli("status").stdout, "and that it is over")
        fill(b)
        is_full(b, b)
        label(a, "still=taken", status=0)
        check(a.nodes()["edge-2"]["state"] == "alive", a.nodes())
        label(a, "room=", status=0)
        goes_on(c, b, b)
        wait_for(lambda: labels(b, a).get("still") == "taken", "what it missed is there")


def test_full_disk_with_etcd():
    with Cluster(3, etcd=True, data_mib=256) as c:
        wait_for_etcd(c)
        a, b, d = c
        fill(d)
        is_full(d, d)
        label(a, "still=taken", status=0)
        wait_for(lambda: labels(b, a).get("still") == "taken", "the others go on")
        goes_on(c, d, d)
        wait_for(lambda: labels(d, a).get("still") == "taken", "what it missed is there")
        wait_for_etcd(c)


def test_emptied_member():
    """A member of etcd that has lost its folder is never the same one again: it goes, and its node begins another."""
    with Cluster(3, etcd=True) as c:
        wait_for_etcd(c)
        b, d = c[1], c[2]
        (pid,), (life,) = processes(b), lives(b)
        shutil.rmtree(f"{b.data}/etcd/{life}/member")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "the data of etcd is gone" in open(b.log).read(), "it is noticed")
        wait_for(lambda: lives(b) not in ([], [life]), "another life", seconds=120)
        wait_for_etcd(c)
        equal(label(b, "by=b").returncode, 0)
        # All of it, while the node does not run.
        d.stop()
        (life,) = lives(d)
        shutil.rmtree(f"{d.data}/etcd")
        d.start()
        wait_for(lambda: "the data of etcd is gone" in open(d.log).read(), "it is noticed")
        wait_for(lambda: lives(d) not in ([], [life]), "another life", seconds=120)
        wait_for_etcd(c)
        equal(label(d, "by=d").returncode, 0)
        check(c.told("store.member_goes") and c.told("store.member_gone"), "it is told")


def hang(node):
    (pid,) = [p for (role, _), p in node.processes().items() if role == "scheduler"]
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_hanging_writer():
    """What it may have kept is never told as failed; what comes after waits for it, and is refused when it does not come."""
    with Cluster(2) as c:
        a, b = c
        wait_for(lambda: b.cluster()["store"]["writable"], "changes are taken everywhere")
        pid = hang(a)
        begin = time.monotonic()
        r = label(b, "in=doubt")
        took = time.monotonic() - begin
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGCONT)
        if r.returncode == 0:  # node has replaced what hung before the time was over
            check(labels(b, b).get("in") == "doubt", b.nodes())
        elif r.returncode == 5:
            check("not known yet" in r.stderr and took > 5, took, r.stderr)
        else:
            equal(r.returncode, 8, r.stderr)
            check("does not answer" in r.stderr or "cannot be reached" in r.stderr, r.stderr)
        wait_for(lambda: label(b, "after=that").returncode == 0, "it goes on")
        for node in c.nodes:
            wait_for(lambda node=node: labels(node, b).get("after") == "that", "all know")
        equal(labels(a, b).get("in"), labels(b, b).get("in"), "both say the same of it")


def damage(node):
    """Its scheduler finds, when it begins again, that the file is none of its own any more."""
    state = os.path.join(node.data, "state")
    with open(os.path.join(state, "zlayer.db"), "r+b") as f:
        f.write(os.urandom(os.fstat(f.fileno()).st_size))
    os.truncate(os.path.join(state, "zlayer.db-wal"), 0)
    node.kill("scheduler")


def says(node, *words):
    text = node.cli("status", status=None).stdout
    return all(w in text for w in words) and text


def test_damaged_files():
    """Of a node alone, of who follows, of who writes: what is damaged, where, and what is to be done; what runs goes on."""
    with zl.Node() as n:
        n.import_image()
        n.deploy(service(replicas=1))
        n.cli("backup", f"{n.folder}/b")
        pid = n.cli_json("ps")["items"][0]["container"]["pid"]
        damage(n)
        wait_for(lambda: says(n, f"{n.data}/state/zlayer.db is damaged", "zlayer restore", "scheduler"), "its status says so")
        r = n.cli("scale", "shop/web=2", "--force", status=8)
        check("is damaged" in r.stderr and "zlayer restore" in r.stderr, r.stderr)
        equal(n.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "it serves")
        check(os.path.exists(f"/proc/{pid}"), "and runs")
        os.rename(f"{n.data}/state/zlayer.db", f"{n.folder}/damaged")
        wait_for(n.ready, "it begins anew")
        n.cli("restore", f"{n.folder}/b", "--yes", status=None)
        wait_for(lambda: [r["state"] for r in n.cli_json("ps")["items"]] == ["ready"], "what was there is there again")
    with Cluster(2) as c:
        a, b = c
        wait_for(lambda: b.cluster()["store"]["writable"], "changes are taken everywhere")
        label(a, "before=it", status=0)
        wait_for(lambda: labels(b, a).get("before") == "it", "both have it")
        damage(b)
        wait_for(lambda: label(b, "after=it").returncode == 0, "who follows begins anew by itself")
        equal(labels(b, a).get("before"), "it")
        check(os.path.exists(f"{b.data}/state/zlayer.db.damaged"), os.listdir(f"{b.data}/state"))
        wait_for(lambda: c.told("store.anew"), "it is told")
        damage(a)
        wait_for(lambda: says(a, "zlayer.db is damaged", "zlayer recover --force-single"), "who writes does not")
        wait_for(lambda: b.nodes()["edge-1"]["state"] == "unreachable", "it is missed")
        b.cli("recover", "--force-single", "--yes")
        os.rename(f"{a.data}/state/zlayer.db", f"{a.folder}/damaged")
        wait_for(lambda: label(a, "again=here").returncode == 0, "it follows")
        wait_for(lambda: labels(b, a).get("again") == "here" and labels(a, b).get("after") == "it", "both have all")


def test_removed_folder():
    """A state folder that is deleted under a node: nothing more is taken that would be lost, and what was taken can be saved."""
    with zl.Node() as n:
        n.import_image()
        n.deploy(service(replicas=1))
        shutil.rmtree(f"{n.data}/state")
        r = n.cli("scale", "shop/web=2", "--force", status=1)
        check("the store's file is gone" in r.stderr and "zlayer backup" in r.stderr, r.stderr)
        wait_for(lambda: says(n, "the store's file is gone", "zlayer backup"), "its status says so")
        equal(n.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "it serves")
        n.cli("backup", f"{n.folder}/b")
        n.stop()
        n.start()
        n.cli("restore", f"{n.folder}/b", "--yes")
        wait_for(lambda: [r["state"] for r in n.cli_json("ps")["items"]] == ["ready"], "all is there again")
        n.cli("scale", "shop/web=2", "--force")


def test_read_only_folder():
    """A process that begins with a state folder that it may not write to says that."""
    with zl.Node() as n:
        n.import_image()
        n.deploy(service(replicas=1))
        state = f"{n.data}/state"
        zl.run("mount", "--bind", state, state)
        try:
            zl.run("mount", "-o", "remount,bind,ro", state)
            n.kill("scheduler")
            wait_for(lambda: says(n, f"{state}", "cannot be written", "scheduler"), "its status says so")
            equal(n.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "it serves")
            r = n.cli("scale", "shop/web=2", "--force", status=8)
            check("cannot be written" in r.stderr, r.stderr)
        finally:
            zl.run("umount", state)
        wait_for(lambda: n.cli("scale", "shop/web=2", "--force", status=None).returncode == 0, "it goes on")


if __name__ == "__main__":
    zl.main(globals())
