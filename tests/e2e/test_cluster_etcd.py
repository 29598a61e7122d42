# SPDX-License-Identifier: Apache-2.0
"""Nodes whose store is in etcd: how it comes there by itself, and what each node is then without any other."""

import contextlib
import random
import shutil
import time

import zl
from cluster import Cluster
from test_placing import answer, images, ready
from wreck import Load
from zl import Skip, check, equal, service, wait_for

QUICK = ", replace_after: 10s"
LONG_S = 180  # etcd takes a new member some seconds after the one before, and there are two cores


def etcd_here():
    if not shutil.which("etcd"):
        raise Skip("there is no etcd on this machine")


def store(node):
    """What a node says of its store; {} while it says nothing."""
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return node.cluster()["store"]
    return {}


def voters(node):
    return {m["name"] for m in store(node).get("members", []) if m["votes"]}


def in_etcd(node, count=3):
    s = store(node)
    return s.get("engine") == "etcd" and s["writable"] and s["writer"] is None and \
        s["voters"] == s["voters_up"] == len(voters(node)) == count and any(m["leads"] for m in s["members"])


def until_etcd(c, count=3):
    for node in c.running():
        wait_for(lambda node=node: in_etcd(node, count), lambda node=node: f"{node.label}: etcd of {count}: {store(node)}", seconds=LONG_S)


def leads(node, among):
    """Another one leads, after who led has died."""
    wait_for(lambda: {m["name"] for m in store(node).get("members", []) if m["leads"] and m["up"]} & among, "one leads", seconds=60)


def label(node, key):
    """Any change, through that node."""
    wait_for(lambda: node.cli("node", "label", "edge-2", f"{key}=1", status=None).returncode == 0, f"a change through {node.label}")


def labels(node):
    """Of edge-2; none while this node cannot say, for its scheduler has just begun."""
    with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
        return set(node.nodes()["edge-2"]["labels"])
    return set()


def labelled(c, *keys):
    for node in c.running():
        wait_for(lambda node=node: set(keys) <= labels(node), f"{node.label} has {keys}")


def one_store(c):
    """All that run have the same number of changes: there are not two."""
    wait_for(lambda: len({store(n).get("sequence") for n in c.running()}) == 1, "all have the same store", seconds=60)


def without_a_majority(c):
    """Changes are refused, and say why; all else goes on, and changes, too, when one is back."""
    c[0].cli("node", "taint", "edge-4", "only=db")  # what runs has one place to go
    c[2].deploy(service(replicas=1))
    ready(c[2], 1)
    c.kill(c[0])
    c.kill(c[1])
    wait_for(lambda: store(c[2]).get("writable") is False, "it is known")
    began = time.monotonic()
    r = c[2].deploy(service(replicas=2), status=8)
    check(time.monotonic() - began < 20 and "quorum" in r.stderr, time.monotonic() - began, r.stderr)
    check("changes are refused" in c[2].cli("cluster", "show").stdout)
    ready(c[2], 1, {"edge-3"})
    c[2].kill("scheduler")
    wait_for(c[2].ready, "it is there again")
    ready(c[2], 1, {"edge-3"})
    c.start(c[1])
    wait_for(lambda: store(c[2]).get("writable"), "changes are taken again", seconds=60)
    label(c[1], "again")
    c.start(c[0])
    c.wait_all_ready()
    until_etcd(c)
    labelled(c, "again")


def test_three_nodes_get_it():
    """Nothing stops while the store moves; then any node takes changes, also without the one that began it all; and none does without
    a majority."""
    etcd_here()
    with Cluster(4, join=False, etcd=True) as c:
        images(c)
        c.join(c[1])
        c[0].deploy(service(replicas=2))
        ready(c[1], 2)
        wait_for(lambda: answer(c[0]) == "200", "edge-1 serves")
        check(store(c[1])["engine"] == "follower")
        with Load(c[0]) as load:
            c.join(c[2])
            # Changes all the while: each is taken, by whoever takes them then.
            began, keys = time.monotonic(), []
            while not all(in_etcd(n) for n in c.nodes[:3]):
                check(time.monotonic() - began < LONG_S, [store(n) for n in c.nodes[:3]])
                keys.append(f"k{len(keys) % 40}")
                c[1].cli("node", "label", "edge-2", f"{keys[-1]}=1")
                time.sleep(0.1)
            load.more(100)
        load.judge()
        for kind in ("store.moving", "store.moved", "store.member"):
            wait_for(lambda kind=kind: c.told(kind), f"{kind} is told")
        c.off.add(c[3])  # is in no cluster yet
        labelled(c, *set(keys))
        one_store(c)
        for node in c.running():
            label(node, f"by-{node.number}")
        labelled(c, "by-1", "by-2", "by-3")
        # Each through another node than the one before, which has just heard that that one is done, or not yet.
        for turn in range(12):
            c[turn % 3].deploy(service(replicas=1 + turn % 2))
        ready(c[0], 2)
        text = c[1].cli("cluster", "show").stdout
        check("etcd on" in text and "(leads)" in text and "changes need 2 of 3" in text, text)
        check("takes changes" not in c[2].cli("status").stdout)
        c.kill(c[0])  # it leads, most often
        for node in c.running():  # each waits for another leader
            node.cli("node", "label", "edge-2", f"at-once-{node.number}=1")
        labelled(c, "at-once-2", "at-once-3")
        leads(c[1], {"edge-2", "edge-3"})
        for node in c.running():
            label(node, f"without-{node.number}")
            node.deploy(service(replicas=node.number))
            ready(node, node.number)
        # Others may join, too.
        c.off.discard(c[3])
        c.join(c[3], by=c[1])
        wait_for(lambda: store(c[3]).get("engine") == "etcd" and store(c[3])["writable"], "edge-4 is in etcd, too", seconds=60)
        label(c[3], "by-4")
        c.start(c[0])
        c.wait_all_ready()
        until_etcd(c)
        labelled(c, "by-4")
        label(c[0], "back")
        one_store(c)
        without_a_majority(c)


def conductor(node):
    """As that node has it, and who was passed over for it."""
    said = node.get("/v1/services/shop/web/nodes")
    return said["by"], said["passed_over"]


def committed(c, revision):
    """Who said, as its conductor, that this revision serves."""
    return [n.label for n in c.nodes for e in n.get("/v1/events?since=0&limit=1000")["items"]
            if e["type"] == "deploy.committed" and e["node"] == n.label and f"revision {revision} " in e["text"]]


def test_cut_off_from_etcd_alone():
    """A node that lives, by gossip, and cannot reach etcd conducts nothing: another one does what it would have held up."""
    etcd_here()
    with Cluster(3, etcd=True) as c:
        until_etcd(c)
        images(c)
        c[0].deploy(service(replicas=2))
        ready(c[1], 2)
        who = next(n for n in c.nodes if n.label == conductor(c[0])[0])
        others = [n for n in c.nodes if n is not who]
        equal({conductor(n) for n in c.nodes}, {(who.label, None)})
        for port in ("dport", "sport"):
            c.drop(who, f"tcp {port} {{ 9885, 9886 }}")
        wait_for(lambda: not store(who)["writable"], "it is cut off")
        for node in others:
            wait_for(lambda node=node: conductor(node)[0] not in (None, who.label) and conductor(node)[1] == who.label,
                     lambda node=node: f"another one conducts: {conductor(node)}", seconds=60)
            seen = node.nodes()[who.label]
            equal(seen["state"], "alive")
            check(seen["refused_since"], seen)
            said = node.cli("explain", "shop/web", status=None).stdout
            check(f"conducts it: the store takes no changes of {who.label}" in said, said)
            said = node.cli("explain", who.label, status=None).stdout
            check("the store takes no changes of it since" in said, said)
        r = others[0].deploy(service(replicas=2, extra='    env: { TURN: "2" }'), status=None)
        equal(r.returncode, 0, r.stdout + r.stderr)
        ready(others[1], 2)
        equal([n in {o.label for o in others} for n in committed(c, 2)], [True], "one of the others has conducted it")
        # It hears of it, and conducts again.
        c.heal()
        until_etcd(c)
        for node in c.nodes:
            wait_for(lambda node=node: conductor(node) == (who.label, None), f"{node.label}: it conducts again", seconds=60)
        check(not c[0].nodes()[who.label]["refused_since"])
        r = others[1].deploy(service(replicas=2, extra='    env: { TURN: "3" }'), status=None)
        equal(r.returncode, 0, r.stdout + r.stderr)
        ready(who, 2)
        equal((len(committed(c, 2)), committed(c, 3)), (1, [who.label]))


TIDY = """version: v1
deployment: tidy
services:
  tidy:
    rtype: cron
    schedule: "*/2 * * * * * *"
    image: { name: "test:1" }
    command: { entrypoint: ["/bin/true"] }
    stop_grace_period: 1s
"""


def test_a_cron_beside_one_that_is_cut_off():
    """overlap: forbid. Times go on, on the others, while a node that lives cannot reach etcd, and when it can again."""
    etcd_here()
    with Cluster(3, etcd=True) as c:
        until_etcd(c)
        images(c)
        c[0].deploy(TIDY)

        def run_since(at):
            return {f["at"] for f in c[0].cli_json("cron", "ls", "tidy/tidy")["items"][0]["cron"]["firings"]
                    if f["state"] == "ok" and f["at"] > at}

        def runs(count, after):
            """So many times later than that."""
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + after))
            wait_for(lambda: len(run_since(at)) >= count, lambda: f"runs: {c[0].cli('cron', 'ls', 'tidy/tidy').stdout}", seconds=120)
        runs(5, 0)
        for victim in c.nodes[1:]:
            for port in ("dport", "sport"):
                c.drop(victim, f"tcp {port} {{ 9885, 9886 }}")
            wait_for(lambda victim=victim: c[0].nodes()[victim.label]["refused_since"], "it is cut off")
            equal(c[0].nodes()[victim.label]["state"], "alive")
            runs(8, 20)
            c.heal()
            until_etcd(c)
            runs(3, 0)


def test_a_dead_one_is_replaced():
    etcd_here()
    with Cluster(4, cluster=QUICK, etcd=True) as c:
        until_etcd(c)
        spare = next(n for n in c.nodes if n.label not in voters(c[0]))
        victim = next(n for n in c.nodes if n.label in voters(c[0]) and n.number != 1)
        c.kill(victim)
        wait_for(lambda: spare.label in voters(c[0]) and victim.label not in voters(c[0]), "another one takes its place",
                 seconds=LONG_S)
        for kind in ("store.member_goes", "store.member_gone"):
            wait_for(lambda kind=kind: c.told(kind), f"{kind} is told")
        until_etcd(c)
        label(spare, "new")
        c.start(victim)
        c.wait_all_ready()
        labelled(c, "new")
        wait_for(lambda: victim.nodes()[victim.label]["etcd"]["state"] == "none", "it keeps it no more")
        # One that is drained gives it up; one that leaves, too.
        c[0].cli("node", "drain", spare.label)
        wait_for(lambda: victim.label in voters(c[0]) and spare.label not in voters(c[0]), "it is given back", seconds=LONG_S)
        until_etcd(c)
        spare.cli("leave", "--yes")
        c.off.add(spare)
        leaver = c[1] if c[1] is not spare else c[2]
        leaver.cli("leave", "--yes")
        c.off.add(leaver)
        until_etcd(c, 2)
        for node in c.running():
            node.cli("node", "taint", node.label, "last=1")


def test_one_that_never_starts():
    """Its disk has no room for etcd: the other three keep the store, it says why it does not, and takes that back."""
    etcd_here()
    with Cluster(4, etcd=True, data_mib={2: 48}) as c:
        def said(node):
            with contextlib.suppress(OSError, zl.Failure, zl.http.client.HTTPException):
                return node.nodes()["edge-2"]["etcd"]
            return {"able": None, "reason": None}

        def gives_up(node):
            return said(node)["able"] is False and "etcd does not start on this node: make room on the disk" in (said(node)["reason"] or "")
        wait_for(lambda: gives_up(c[1]) and gives_up(c[2]), lambda: f"it says so: {said(c[1])} {said(c[2])}", seconds=LONG_S)
        shown = c[2].cli("node", "show", "edge-2").stdout
        check("etcd does not start" in shown, shown)
        until_etcd(c)
        equal([voters(n) for n in c.nodes], [{"edge-1", "edge-3", "edge-4"}] * 4)
        wait_for(lambda: c.told("store.member_gone"), "store.member_gone is told")
        label(c[1], "small")
        labelled(c, "small")
        wait_for(lambda: all(said(n)["able"] for n in c.nodes), lambda: f"it is taken back: {said(c[0])}", seconds=LONG_S)
        equal(voters(c[0]), {"edge-1", "edge-3", "edge-4"})


def test_killed_while_it_moves():
    """kill -9 of schedulers and etcds at any moment: one store in the end, with all that was said to be kept."""
    etcd_here()
    for _ in range(2):
        with Cluster(3, etcd=True) as c:
            keys, end = [], time.monotonic() + 25
            while time.monotonic() < end and not all(in_etcd(n) for n in c.nodes):
                node = random.choice(c.nodes)
                if node.cli("node", "label", "edge-2", f"k{len(keys)}=1", status=None).returncode == 0:
                    keys.append(f"k{len(keys)}")
                time.sleep(random.random())
                with contextlib.suppress(OSError, zl.Failure):
                    random.choice(c.nodes).kill("scheduler")
            until_etcd(c)
            labelled(c, *keys)
            one_store(c)


if __name__ == "__main__":
    zl.main(globals())
