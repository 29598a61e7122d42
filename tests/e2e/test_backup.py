# SPDX-License-Identifier: Apache-2.0
"""Backups of what is deployed, under writes, and their way back: onto a new machine, over what is there, through a cluster."""

import contextlib
import difflib
import json
import os
import random
import socket
import subprocess
import tempfile
import threading

import zl
from cluster import Cluster
from test_etcd import wait_for_etcd
from zl import Node, check, equal, service, wait_for


def wanted(node):
    """What is wanted, without what only a running replica tells."""
    def get(path):
        return node.get(path)["items"]
    out = {"deployments": [{k: d[k] for k in ("name", "revision", "target_revision") if k in d}
                           for d in get("/v1/deployments")],
           "services": [{k: s[k] for k in ("deployment", "name", "desired", "image") if k in s}
                        for s in get("/v1/services")],
           "routes": [{k: v for k, v in r.items() if k in ("deployment", "service", "endpoint", "host", "path")}
                      for r in get("/v1/routes")]}
    for d in out["deployments"]:
        d["revisions"] = get(f"/v1/deployments/{d['name']}/revisions")
        d["documents"] = [node.get(f"/v1/deployments/{d['name']}/revisions/{r['revision']}", raw=True)[1].decode()
                          for r in d["revisions"]]
    return json.dumps(out, sort_keys=True, indent=1)


def same(got, want, what):
    lines = difflib.unified_diff(want.splitlines(), got.splitlines(), "before", "after", lineterm="", n=1)
    check(got == want, what, "\n".join(list(lines)[:40]))


def shop(node):
    return next(d for d in node.cli_json("status")["deployments"] if d["name"] == "shop")


def other(name, replicas=1):
    return service(name=name, replicas=replicas, host=f"{name}.test").replace("deployment: shop", f"deployment: {name}")


class Writer(threading.Thread):
    """Sets a service's size again and again."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.going, self.done = node, True, 0

    def run(self):
        while self.going:
            self.done += self.node.cli("scale", f"shop/web={1 + self.done % 2}", "--force", status=None).returncode == 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.join()


def test_new_machine():
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/all.zlayer"
        with Node() as node:
            node.import_image("test:1")
            node.import_image("test:2", ("/bin/server", "-p", "8080"))
            node.deploy(service(replicas=1))
            node.deploy(service(replicas=1, image="test:2"))
            node.deploy(other("blog"))
            said = node.cli("backup", f"{folder}/").stdout
            check(said.startswith(f"{folder}/edge-1-"), said)
            with Writer(node) as writer:
                wait_for(lambda: writer.done > 2, "it is written to")
                begun = writer.done
                made = 0
                while writer.done < begun + 2 or made < 5:
                    out = node.cli("backup", f"{folder}/under-{made}.zlayer").stdout
                    check("whole" in out and "2 deployments" in out, out)
                    made += 1
            for n in range(made):
                node.cli("backup", "verify", f"{folder}/under-{n}.zlayer")
            wait_for(lambda: all(r["state"] == "ready" for r in node.get("/v1/replicas")["items"]), "all is still")
            node.cli("scale", "shop/web=2", "--force")
            said = json.loads(node.cli("backup", file, "-o", "json").stdout)
            equal((said["deployments"], said["services"], said["revisions"], said["keys"]), (2, 2, 3, False))
            equal(os.stat(file).st_mode & 0o777, 0o600, "who may read it")
            before = wanted(node)
            equal([n for n in os.listdir(folder) if "part" in n], [], "nothing is left of the way there")
        with Node() as node:  # wiped: another data folder
            node.import_image("test:1")
            node.import_image("test:2", ("/bin/server", "-p", "8080"))
            out = node.cli("restore", file).stdout
            check("2 deployments" in out, out)
            same(wanted(node), before, "what is wanted")
            wait_for(lambda: shop(node)["services"][0]["ready"] == 2, "it serves")
            equal(shop(node)["revision"], 2)
            node.curl()
            # Again: only if that is said, and with a word of what goes.
            r = node.cli("restore", file, status=7)
            check("2 deployments here already" in r.stderr and "--replace" in r.stderr, r.stderr)
            node.cli("rm", "blog", "--yes")
            node.deploy(service(replicas=1, image="test:1"))
            r = node.cli("restore", file, "--replace")
            check("Removed: shop" in r.stderr, r.stderr)
            same(wanted(node), before, "what is wanted, again")
            wait_for(lambda: shop(node)["services"][0]["ready"] == 2, "it serves")
            # And life goes on: a roll-back to what the backup knows, a new revision.
            node.cli("rollback", "shop")
            node.deploy(service(replicas=1, image="test:2"))
            node.curl()


def test_damaged():
    """Whatever is wrong with the file is found before anything changes."""
    with tempfile.TemporaryDirectory() as folder, Node() as node:
        node.import_image("test:1")
        node.deploy(service())
        node.cli("backup", f"{folder}/good")
        with open(f"{folder}/good", "rb") as f:
            good = f.read()
        dice = random.Random(7)

        def refused(data, *words):
            with open(f"{folder}/bad", "wb") as f:
                f.write(data)
            for command in (("backup", "verify"), ("restore",), ("restore", "--replace")):
                r = node.cli(command[0], *command[1:], f"{folder}/bad", status=1)
                check("byte " in r.stderr and all(w in r.stderr for w in words), command, r.stderr)
        refused(good[:-1], "cut off")
        refused(good[:100], "cut off")
        refused(good[:7], "cut off")
        refused(good + b"x", "damaged", "behind its end")
        refused(b"not a backup at all, but a text of some length\n" * 9, "no backup")
        for _ in range(5):
            at = dice.randrange(16, len(good))
            refused(good[:at] + bytes([good[at] ^ 1 << dice.randrange(8)]) + good[at + 1:])
        # The node does not take the command line's word for it.
        status, problem = post(node, "/v1/restore?replace=true", good[:-40])
        check(status >= 400 and "cut off" in problem["detail"], status, problem)
        status, problem = post(node, "/v1/restore?replace=true", good[:300] + b"?" + good[301:])
        check(status >= 400 and "damaged" in problem["detail"] and problem["where"], status, problem)
        equal([d["name"] for d in node.get("/v1/deployments")["items"]], ["shop"])
        equal(node.get("/v1/deployments")["items"][0]["revision"], 1)


def post(node, path, data):
    r = subprocess.run(["curl", "-s", "--unix-socket", node.socket, "-H", "content-type: application/vnd.zlayer.backup",
                        "--data-binary", "@-", "-w", "\n%{http_code}", "http://node" + path], input=data, capture_output=True,
                       timeout=60)
    body, status = r.stdout.rsplit(b"\n", 1)
    return int(status), json.loads(body)


def test_where_it_goes():
    """To a pipe, a folder, a full disk, a folder that cannot be written; ended in the middle."""
    with tempfile.TemporaryDirectory() as folder, Node() as node:
        node.import_image("test:1")
        node.deploy(service())
        env = {**os.environ, "ZLAYER_SOCKET": node.socket}
        out = subprocess.run([zl.PROGRAM, "backup", "-"], env=env, capture_output=True, timeout=60)
        equal(out.returncode, 0, out.stderr)
        check(out.stdout.startswith(b"zlayer backup 1\n") and b"whole" in out.stderr, out.stderr)
        r = subprocess.run([zl.PROGRAM, "backup", "verify", "-"], env=env, input=out.stdout, capture_output=True, timeout=60)
        equal(r.returncode, 0, r.stderr)
        node.cli("backup", folder)
        names = os.listdir(folder)
        equal(len(names), 1)
        check(names[0].endswith("Z.zlayer"), names)
        os.mkdir(f"{folder}/full")
        with mounted(f"{folder}/full", "size=4k"):
            with open(f"{folder}/full/ballast", "wb", buffering=0) as f, contextlib.suppress(OSError):
                f.write(b"x" * 4096)
            r = node.cli("backup", f"{folder}/full/b", status=1)
            check("space" in r.stderr.lower(), r.stderr)
            equal(os.listdir(f"{folder}/full"), ["ballast"])
        with mounted(f"{folder}/full", "ro"):
            r = node.cli("backup", f"{folder}/full/b", status=1)
            check("read-only" in r.stderr.lower(), r.stderr)
        r = node.cli("backup", f"{folder}/nowhere/b", status=4)
        with open("/dev/full", "wb") as full:
            r = subprocess.run([zl.PROGRAM, "backup", "-"], env=env, stdout=full, stderr=subprocess.PIPE, timeout=60)
        check(r.returncode != 0, "to a device that is full", r.stderr)
        r = node.cli("backup", f"{folder}/k", "--with-keys", status=4)
        check("authority" in r.stderr, r.stderr)
        check(not os.path.exists(f"{folder}/k"))


class HalfNode(threading.Thread):
    """Answers one request for a backup with the first half of one; then closes, or says no more."""

    def __init__(self, path, data, close):
        super().__init__(daemon=True)
        self.data, self.close, self.sent, self.over = data, close, threading.Event(), threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        peer, _ = self.listener.accept()
        while b"\r\n\r\n" not in peer.recv(65536):
            pass
        half = self.data[:len(self.data) // 2]
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.zlayer.backup\r\ntransfer-encoding: chunked\r\n\r\n"
                     + b"%x\r\n" % len(half) + half + b"\r\n" + (b"0\r\n\r\n" if self.close else b""))
        self.sent.set()
        if not self.close:
            self.over.wait(60)
        peer.close()
        self.listener.close()


def test_ended_in_the_middle():
    """Nothing has the name of a backup that is not whole: the node's end, or the command's, comes first."""
    with tempfile.TemporaryDirectory() as folder, Node() as node:
        node.import_image("test:1")
        node.deploy(service())
        node.cli("backup", f"{folder}/good")
        with open(f"{folder}/good", "rb") as f:
            good = f.read()
        for name in ("good", "new"):  # one that is there stays as it was
            half = HalfNode(f"{folder}/socket", good, close=True)
            r = subprocess.run([zl.PROGRAM, "--socket", f"{folder}/socket", "backup", f"{folder}/{name}"],
                               capture_output=True, text=True, timeout=60)
            half.join()
            os.unlink(f"{folder}/socket")
            check(r.returncode == 1 and "cut off" in r.stderr, r.returncode, r.stderr)
            equal(os.listdir(folder), ["good"])
        half = HalfNode(f"{folder}/socket", good, close=False)
        command = subprocess.Popen([zl.PROGRAM, "--socket", f"{folder}/socket", "backup", f"{folder}/new"])
        half.sent.wait(60)
        wait_for(lambda: any(n.endswith(".part") and os.stat(f"{folder}/{n}").st_size for n in os.listdir(folder)), "it writes")
        command.kill()
        command.wait()
        half.over.set()
        half.join()
        check(not os.path.exists(f"{folder}/new"))
        node.cli("backup", "verify", f"{folder}/good")


def test_killed_while_restoring():
    """The scheduler's process ends at any moment: what is there is what was there, or what was restored."""
    with tempfile.TemporaryDirectory() as folder, Node() as node:
        node.deploy(service(replicas=0))
        node.cli("backup", f"{folder}/b")
        dice = random.Random(11)
        for turn in range(6):
            node.cli("rm", names(node)[0], "--yes")
            node.deploy(other(f"later-{turn}", replicas=0))
            command = subprocess.Popen([zl.PROGRAM, "--socket", node.socket, "restore", f"{folder}/b", "--replace"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(dice.random() * 0.06)
            with contextlib.suppress(zl.Failure, ProcessLookupError):  # it may be on its way to its successor
                node.kill("scheduler")
            out, err = command.communicate(timeout=120)
            wait_for(node.ready, "it is up again")
            now = names(node)
            check(now in (["shop"], [f"later-{turn}"]), now)
            check(command.returncode != 0 or now == ["shop"], "it was said to be restored", now, out, err)
            if now != ["shop"]:
                node.cli("restore", f"{folder}/b", "--replace")
            equal(names(node), ["shop"])


def names(node):
    return sorted(d["name"] for d in node.get("/v1/deployments")["items"])


def test_through_a_cluster():
    """A backup of any node; restored on another one it is there for all, with what belongs to it."""
    with tempfile.TemporaryDirectory() as folder, Cluster(3) as c:
        a, b, d = c
        for node in c.nodes:
            node.import_image()
        a.deploy(service(replicas=2))
        wait_for(lambda: names(d) == ["shop"], "all know of it")
        d.cli("backup", f"{folder}/b")
        r = d.cli("backup", "verify", f"{folder}/b", "-o", "json")
        said = json.loads(r.stdout)
        check(said["node"] == "edge-3" and len(said["cluster"]) == 64 and said["sequence"] > 0, said)
        wait_for(lambda: c.told("node.backup"), "it is told")
        before = wanted(a)
        a.cli("rm", "shop", "--yes")
        b.deploy(other("blog"))
        wait_for(lambda: names(d) == ["blog"], "all know of that")
        r = b.cli("restore", f"{folder}/b", status=7)
        check("--replace" in r.stderr, r.stderr)
        b.cli("restore", f"{folder}/b", "--replace", "--yes")
        for node in c.nodes:
            wait_for(lambda node=node: node.ready() and names(node) == ["shop"], f"{node.label} has what was restored")
            wait_for(lambda node=node: [s for _, _, s in node.replicas()] == ["ready"] * 2,
                     f"{node.label} sees it run: {node.replicas()}")
            same(wanted(node), before, node.label)
            equal(set(node.nodes()), {"edge-1", "edge-2", "edge-3"}, "nobody has left")
        # Changes go on everywhere.
        d.deploy(service(replicas=1))
        b.deploy(other("blog"))
        wait_for(lambda: all(names(n) == ["blog", "shop"] for n in c.nodes), "all have both")


def test_etcd_under_writes():
    """In a cluster with etcd: backups while others change the store are whole, and one is restored while they go on."""
    with tempfile.TemporaryDirectory() as folder, Cluster(3, etcd=True) as c:
        wait_for_etcd(c)
        a, b, d = c
        for node in c.nodes:
            node.import_image()
        a.deploy(service(replicas=1))
        wait_for(lambda: names(d) == ["shop"], "all know of it")
        d.cli("backup", f"{folder}/first")
        with Writer(b) as w:
            for i in range(5):
                (a, d)[i % 2].cli("backup", f"{folder}/{i}")
                check("whole" in d.cli("backup", "verify", f"{folder}/{i}").stdout, i)
                wait_for(lambda n=w.done: w.done > n, "changes go on")
            a.deploy(other("blog", replicas=0))
            wait_for(lambda: names(d) == ["blog", "shop"], "all know of that")
            d.cli("restore", f"{folder}/first", "--replace", "--yes")
            wait_for(lambda n=w.done: w.done > n, "changes go on")
        for node in c.nodes:
            wait_for(lambda node=node: names(node) == ["shop"], f"{node.label} has what was restored")
        wait_for(lambda: len({n.cluster()["store"]["sequence"] for n in c.nodes}) == 1, "nothing is under way")
        want = wanted(a)
        for node in (b, d):
            same(wanted(node), want, node.label)
        # The file of one cluster on a node that begins another.
        with Node() as n:
            n.cli("restore", f"{folder}/4", "--yes")
            wait_for(lambda: names(n) == ["shop"], "it is there")
            check(n.cli("invite").stdout.startswith("zl1-"), "and may become a cluster's")
            wait_for(lambda: names(n) == ["shop"], "it stays there")


def test_writer_lost():
    """Its disk may be gone for good: a survivor goes on, the other one follows; if it comes back it is told what to do."""
    with tempfile.TemporaryDirectory() as folder, Cluster(3) as c:
        a, b, d = c
        for node in c.nodes:
            node.import_image()
        a.deploy(service(replicas=1))
        wait_for(lambda: names(b) == names(d) == ["shop"], "all have it")
        a.cli("backup", f"{folder}/keys", "--with-keys")
        equal(os.stat(f"{folder}/keys").st_mode & 0o777, 0o600)
        r = b.cli("recover", "--force-single", "--yes", status=7)
        check("edge-1 takes the changes of the store, and is there" in r.stderr, r.stderr)
        b.cli("recover", status=2)
        a.cli("recover", "--force-single", "--yes")  # is so already: nothing happens
        equal(a.cluster()["store"]["engine"], "writer")
        d.cli("recover", "--rejoin", "--yes")
        level_now = a.cluster()["store"]["sequence"]
        wait_for(lambda: b.cluster()["store"]["sequence"] >= level_now, "it has all")
        # What only the writer has: nobody hears of it before its end.
        c.partition(a, [b, d])
        wait_for(lambda: b.nodes()["edge-1"]["state"] == d.nodes()["edge-1"]["state"] == "unreachable", "it is missed")
        a.deploy(other("lost"))
        c.kill(a)
        c.heal()
        # The last change that both heard of may have reached one of them alone: that one is the survivor.
        if d.cluster()["store"]["sequence"] > b.cluster()["store"]["sequence"]:
            b, d = d, b
        b.deploy(service(replicas=2), status=8)
        r = b.cli("recover", "--force-single", "--keys", f"{folder}/keys", "--yes")
        check("becomes the store" in r.stderr and "edge-1" in r.stderr, r.stderr)
        wait_for(lambda: b.ready() and b.cluster()["store"]["engine"] == "writer", "it writes")
        check(b.nodes()[b.label]["keeper"], "and admits")
        for node in (b, d):
            wait_for(lambda node=node: node.cluster()["store"]["writable"] and node.cluster()["store"]["writer"] == b.label,
                     f"{node.label} takes changes")
            wait_for(lambda node=node: node.nodes()["edge-1"]["state"] == "unreachable", "the dead one stays in the list")
        d.deploy(service(replicas=2))
        b.deploy(other("blog"))
        wait_for(lambda: names(b) == names(d) == ["blog", "shop"], "both have both")
        # It comes back: with what it had, and takes nothing.
        c.start(a)
        wait_for(lambda: not a.cluster()["store"]["writable"], "it is fenced")
        r = a.deploy(other("more"), status=8)
        check(f"{b.label} takes the changes" in r.stderr and "--rejoin" in r.stderr, r.stderr)
        check("--rejoin" in a.cli("cluster", "show").stdout or "--rejoin" in a.cli("status").stdout)
        equal(names(a), ["lost", "shop"], "it says what it knows")
        a.kill("scheduler")
        wait_for(lambda: a.ready() and not a.cluster()["store"]["writable"], "and so it stays after a restart")
        a.cli("recover", "--rejoin", "--yes")
        wait_for(lambda: a.ready() and a.cluster()["store"]["writable"], "it follows")
        wait_for(lambda: names(a) == ["blog", "shop"], "and has what the others have")
        aside = [n for n in os.listdir(f"{a.folder}/data/state") if n.startswith("set-aside-")]
        equal(len(aside), 1, "what it had is kept")
        r = a.cli("backup", "verify", f"{a.folder}/data/state/{aside[0]}")
        check("2 deployments" in r.stdout, r.stdout)
        a.deploy(other("more"))
        wait_for(lambda: all(names(n) == ["blog", "more", "shop"] for n in c.nodes), "deploys work on each")
        ticket = b.cli("invite").stdout.strip()
        check(ticket.startswith("zl1-"))


def test_copies_that_do_not_fit():
    """A survivor that has more than the one where the store was recovered is set back, because somebody said so."""
    with Cluster(3) as c:
        a, b, d = c
        a.deploy(service(replicas=0))
        wait_for(lambda: names(b) == names(d) == ["shop"], "all have it")
        c.partition(b, [a, d])
        wait_for(lambda: d.nodes()["edge-2"]["state"] == "unreachable", "edge-2 is cut off")
        a.deploy(other("unseen", replicas=0))
        wait_for(lambda: names(d) == ["shop", "unseen"], "edge-3 has it")
        c.kill(a)
        wait_for(lambda: b.nodes()["edge-1"]["state"] == "unreachable", "edge-2 misses it")
        b.cli("recover", "--force-single", "--yes")
        wait_for(lambda: b.ready() and b.cluster()["store"]["writable"], "it writes")
        b.deploy(other("blog", replicas=0))
        c.heal()
        wait_for(lambda: d.ready() and names(d) == ["blog", "shop"], "edge-3 follows")
        wait_for(lambda: d.cluster()["store"]["writable"], "and takes changes")
        d.deploy(other("more", replicas=0))
        wait_for(lambda: names(b) == ["blog", "more", "shop"], "which are for both")
        check(any(n.startswith("set-aside-") for n in os.listdir(f"{d.folder}/data/state")), "what it had is kept")


@contextlib.contextmanager
def mounted(path, options):
    zl.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", path)
    try:
        yield
    finally:
        zl.run("umount", path)


if __name__ == "__main__":
    zl.main(globals())
