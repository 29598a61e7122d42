# SPDX-License-Identifier: Apache-2.0
"""Adaptive services in a cluster: sized by what comes to all nodes, woken by a request to any of them."""

import contextlib
import threading

import zl
from cluster import Cluster
from load import Load
from test_placing import answer, images, ready
from zl import check, equal, service, wait_for


def document(scale):
    return service().replace("scale: { mode: fixed, replicas: 1 }", f"scale: {{ mode: adaptive, {scale} }}")


def row(node):
    return node.get("/v1/services/shop/web")


def settled(node, size):
    s = row(node)
    return s["desired"] == size == s["ready"] and s["running"] == size


def asleep(node):
    return row(node)["state"] == "idle" and not node.replicas()


def test_load_on_all_nodes():
    """None of the three has as much to do as would make it grow; together they have."""
    with Cluster(3) as c:
        images(c)
        c[0].deploy(document("min: 1, max: 3, cooldown: 4s, targets: { rps: 40 }"))
        for node in c.nodes:
            wait_for(lambda node=node: answer(node) == "200", f"{node.label} serves")
        with contextlib.ExitStack() as stack:
            # 50 ms each, one after the other: less than 20 a second of each node.
            loads = [stack.enter_context(Load(node, clients=1, path="/slow/50", address=node.address)) for node in c.nodes]
            wait_for(lambda: settled(c[0], 2) or settled(c[0], 3), "it has grown", seconds=120)
            for node in c.nodes:
                wait_for(lambda node=node: len([n for n in row(node)["scale"]["nodes"] if n["rps"]]) == 3,
                         f"{node.label} has the figures of all")
                said = wait_for(lambda node=node: shown(node), f"{node.label} says why")
                equal(sorted(n["node"] for n in row(node)["scale"]["nodes"]), ["edge-1", "edge-2", "edge-3"])
                check("requests/s of 40 of each replica; at" in said, said)
            for load in loads:
                equal(load.failed, [], "while it grew")
        for node in c.nodes:
            wait_for(lambda node=node: settled(node, 1), f"{node.label}: one again", seconds=120)
        for load in loads:
            equal(load.failed, [], "while it shrank")


def shown(node):
    said = node.cli("explain", "shop/web").stdout
    return said if all(f"{n}: " in said for n in ("edge-1", "edge-2", "edge-3")) and "last" in said else None


def test_woken_by_any_node():
    with Cluster(3) as c:
        images(c)
        c[1].deploy(document("min: 0, max: 2, cooldown: 2s"))
        for node in c.nodes:
            wait_for(lambda: asleep(c[0]), "it sleeps", seconds=120)
            equal(answer(node), "200", node.label)
            # The node that was asked has it, though it could have been any.
            for other in c.nodes:
                wait_for(lambda other=other: {r[1] for r in other.replicas()} == {node.label}, f"{other.label} knows where")
                equal(answer(other), "200", other.label)
            check(row(node)["scale"]["last"]["why"] == f"a request waits for it at {node.label}" or
                  row(node)["scale"]["last"]["to"] == 0, row(node)["scale"])
        # Its node dies while it sleeps: the others wake it all the same.
        wait_for(lambda: asleep(c[0]), "it sleeps", seconds=120)
        c.kill(c[2])
        equal(answer(c[1]), "200", "with one node less")


def test_nodes_that_reach_only_their_own():
    """No way between the nodes: each node that is asked gets a replica of its own, up to scale.max."""
    with Cluster(3, encrypt=True, sealed=False) as c:
        images(c)
        c[0].deploy(document("min: 0, max: 2, cooldown: 8s"))
        wait_for(lambda: asleep(c[0]) and asleep(c[1]), "it sleeps", seconds=120)
        answers = {}
        two = [threading.Thread(target=lambda n=n: answers.update({n.label: long_answer(n)})) for n in c.nodes[:2]]
        for t in two:
            t.start()
        for t in two:
            t.join(120)
        equal(answers, {"edge-1": "200", "edge-2": "200"})
        ready(c[2], 2, {"edge-1", "edge-2"})
        third = threading.Thread(target=lambda: answers.update({"edge-3": long_answer(c[2])}))
        third.start()
        said = wait_for(lambda: held(c[0]), "it says why that one waits")
        check("edge-3" in said and "scale.max" in said, said)
        third.join(120)
        equal(answers["edge-3"], "503")
        wait_for(lambda: asleep(c[0]), "it sleeps again", seconds=120)


def long_answer(node):
    r = zl.run("curl", "-sk", "--max-time", "90", "--resolve", f"web.test:8443:{node.address}", "-o", "/dev/null", "-w",
               "%{http_code}", "https://web.test:8443/health", check=False)
    return r.stdout


def held(node):
    said = node.cli("explain", "shop/web", status=None).stdout
    return said if "reaches no replica" in said else None


if __name__ == "__main__":
    zl.main(globals())
