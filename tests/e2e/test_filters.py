# SPDX-License-Identifier: Apache-2.0
"""What a service may ask of a node, and how long a node that is away is waited for."""

import os
import time

import zl
from cluster import Cluster, config
from test_placing import images, ready
from zl import check, equal, service, wait_for

PATIENT = "deploy: { monitor: 100ms, health_timeout: 10m }\n"  # replicas that wait for a node are not given up meanwhile


def reasons(node, name="web"):
    """Why not, by node; what would take it is left out."""
    try:
        answer = node.get(f"/v1/services/shop/{name}/nodes")
    except zl.Failure:
        return None
    return None if answer["doubt"] else {i["node"]: i["why"] for i in answer["items"] if i["why"]}


def deploy(node, extra, replicas=1):
    node.cli("deploy", "--detach", "-", input=service(replicas=replicas, extra=extra))


def gone(c):
    c[0].cli("rm", "shop", "--yes")
    for node in c.nodes:
        wait_for(lambda node=node: not node.replicas() and not node.cli_json("status")["deployments"], "all of it is gone")


def test_what_is_asked_of_a_node():
    with Cluster(2) as c:
        images(c)
        c[0].cli("node", "label", "edge-2", "disk=ssd")
        # What is preferred, where it is; where it is nowhere, anywhere.
        for n in range(2):
            deploy(c[n], "    node: { selector: { prefer_labels: { disk: ssd } } }")
            ready(c[0], 1, {"edge-2"})
            gone(c)
        deploy(c[1], "    node: { selector: { prefer_labels: { disk: tape } } }")
        ready(c[0], 1)
        gone(c)
        # A taint, and who tolerates it.
        c[0].cli("node", "taint", "edge-2", "only=db")
        deploy(c[0], "    node: { selector: { labels: { disk: ssd } } }")
        want = {"edge-1": "label disk=ssd is asked, this node has no disk", "edge-2": "taint only=db is not tolerated"}
        for node in c.nodes:
            wait_for(lambda node=node: reasons(node) == want, f"{node.label} says why")
        gone(c)
        deploy(c[0], "    node: { selector: { labels: { disk: ssd } }, tolerate: [only=db] }")
        ready(c[1], 1, {"edge-2"})
        gone(c)
        c[0].cli("node", "taint", "edge-2", "only-")
        # Another platform: nobody has it.
        deploy(c[0], "    platform: linux/arm64" if os.uname().machine == "x86_64" else "    platform: linux/amd64")
        for node in c.nodes:
            wait_for(lambda node=node: all("is asked" in w and w.startswith("is linux/") for w in (reasons(node) or {"": ""}).values()),
                     f"{node.label}: the platform")
        gone(c)


def test_devices():
    with Cluster(2) as c:
        images(c)
        deploy(c[0], "    devices: [{ path: /dev/full }]", replicas=2)
        for name, _, _ in ready(c[1], 2, {"edge-1", "edge-2"}):
            check(c[0].cli("exec", name, "--", "test", "-c", "/dev/full", status=None).returncode == 0, name)
        gone(c)
        deploy(c[1], "    devices: [{ path: /dev/zlayer-has-none }]")
        want = {n.label: "device /dev/zlayer-has-none is not there" for n in c.nodes}
        for node in c.nodes:
            wait_for(lambda node=node: reasons(node) == want, f"{node.label} says why")


def of(node, deployment):
    return sorted(where for _, where, state in node.replicas(deployment) if state == "ready")


def test_a_node_for_itself():
    """node.mode: one that finds no node says why of each, and goes to the next one that joins; nothing else moves for it."""
    with Cluster(4, join=False, extra=PATIENT) as c:
        c.join(*c[1:3])
        c.off.add(c[3])
        c.wait_all_ready()
        images(c)
        deploy(c[0], "    node: { mode: dedicated }", replicas=4)
        wait_for(lambda: of(c[0], "shop") == ["edge-1", "edge-2", "edge-3"], "one on each of three nodes")
        want = {n.label: "has a replica of shop/web already (node.mode dedicated)" for n in c.running()}
        for node in c.running():
            wait_for(lambda node=node: reasons(node) == want, f"{node.label} says why")
        for node in c.running():
            def says(node=node):
                said = node.cli("explain", "shop/web", status=None).stdout
                return "cannot place" in said and all(f"{name} " in said for name in want) and said.count(want[node.label]) == len(want)
            wait_for(says, lambda node=node: node.cli("explain", "shop/web", status=None).stdout)
        before = {(r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"] if r["state"] == "ready"}
        c.off.discard(c[3])
        c.join(c[3])
        c.wait_all_ready()
        ready(c[3], 4, {"edge-1", "edge-2", "edge-3", "edge-4"})
        check(before <= {(r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"]}, "one has moved")
        # Who wants a node for itself finds none where others are, and is found by nobody where it is.
        alone = service(deployment="solo", host="solo.test", extra="    node: { mode: exclusive }")
        c[1].cli("deploy", "--detach", "-", input=alone)
        answer = "/v1/services/solo/web/nodes"

        def why(node):
            return {i["node"]: i["why"] for i in node.get(answer)["items"] if i["why"]}
        occupied = {n.label: "runs others, and solo/web wants a node for itself" for n in c.nodes}
        wait_for(lambda: not of(c[1], "solo") and why(c[1]) == occupied, "all are occupied")
        c[2].cli("scale", "shop/web=3", "--force")
        wait_for(lambda: len(of(c[0], "solo")) == 1, "the one that is free is its own")
        where, = of(c[0], "solo")
        equal(sorted([where, *of(c[0], "shop")]), [n.label for n in c.nodes])
        c[3].cli("scale", "shop/web=4", "--force", "--detach", status=None)
        want = {n.label: "has a replica of shop/web already (node.mode dedicated)" for n in c.nodes if n.label != where} | \
            {where: "runs a service that has the node for itself"}
        wait_for(lambda: reasons(c[0]) == want, lambda: f"nobody takes the fourth: {reasons(c[0])}")


def test_room():
    """What is reserved on a node is not given twice, whoever asks; the first that leaves makes room for who waits."""
    with Cluster(2, extra=PATIENT) as c:
        images(c)
        mib = c[0].nodes()["edge-1"]["memory_bytes"] * 6 // 10 >> 20
        large = f"    resources: {{ memory: {mib}Mi }}"
        deploy(c[0], large, replicas=3)
        wait_for(lambda: of(c[1], "shop") == ["edge-1", "edge-2"], "one on each of two nodes")
        for node in c.nodes:
            wait_for(lambda node=node: len(reasons(node) or {}) == 2 and all(w.startswith("needs memory") and "short" in w
                                                                            for w in reasons(node).values()), f"{node.label} says why")
        c[1].cli("deploy", "--detach", "-", input=service(deployment="more", host="more.test", extra=large))
        wait_for(lambda: {i["node"] for i in c[1].get("/v1/services/more/web/nodes")["items"] if "needs memory" in i["why"]} ==
                 {"edge-1", "edge-2"}, "another one waits, too")
        c[0].cli("rm", "shop", "--yes")
        wait_for(lambda: len(of(c[0], "more")) == 1, "it has its room", seconds=90)


def test_zones_and_taints():
    """node.spread: zone makes up for zones of different size; a taint sends away all who do not tolerate it, one at a time."""
    with Cluster(3, zones=2) as c:  # edge-2 is alone in its zone
        images(c)
        deploy(c[0], "    node: { spread: zone }", replicas=6)
        ready(c[1], 6)
        equal(of(c[1], "shop").count("edge-2"), 3, of(c[1], "shop"))
        gone(c)
        deploy(c[1], "", replicas=6)
        ready(c[0], 6)
        equal([of(c[0], "shop").count(n.label) for n in c.nodes], [2, 2, 2])
        stay = {(r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"] if r["node"] != "edge-2"}
        c[2].cli("node", "taint", "edge-2", "only=db")
        for node in c.nodes:
            ready(node, 6, {"edge-1", "edge-3"})
        check(stay <= {(r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"]}, "others have moved")
        # Without it nothing goes back: there is no cause.
        before = {(r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"]}
        c[2].cli("node", "taint", "edge-2", "only-")
        wait_for(lambda: not c[0].nodes()["edge-2"]["taints"], "it is free")
        c[0].cli("scale", "shop/web=7", "--force")
        ready(c[1], 7)
        after = {(r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"]}
        check(before <= after and {where for _, where in after - before} == {"edge-2"}, before, after)


def test_a_volume_keeps_its_node():
    with Cluster(2) as c:
        images(c)
        volume = "    storage: [{ type: named, name: data, target: /data }]"
        c[0].deploy(service(extra=volume))
        (name, where, _), = ready(c[0], 1)
        c[0].cli("exec", name, "--", "sh", "-c", "echo kept > /data/x")
        other = next(n for n in c.nodes if n.label != where)
        other.cli("restart", "shop/web")
        ready(other, 1, {where})
        equal(other.cli("exec", "shop/web.1", "--", "cat", "/data/x").stdout, "kept\n")
        # Its node is away: it waits for it, and says so.
        c.kill(next(n for n in c.nodes if n.label == where))
        want = f"volume shop/data is on {where}"
        wait_for(lambda: (reasons(other) or {}).get(other.label) == want, "it says where the data is", seconds=90)


def test_reschedule_after():
    """A node that is back in time keeps what it has; one that is not loses it then."""
    with Cluster(3, cluster=", reschedule_after: 25s") as c:
        images(c)
        c[0].deploy(service(replicas=3))
        ready(c[0], 3, {"edge-1", "edge-2", "edge-3"})
        before = sorted((r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"])
        c.partition(c[2], c.nodes[:2])
        wait_for(lambda: c[0].nodes()["edge-3"]["state"] == "unreachable", "it is known")
        c.heal()
        c.wait_all_ready()
        ready(c[0], 3, {"edge-1", "edge-2", "edge-3"})
        equal(sorted((r["id"], r["node"]) for r in c[0].get("/v1/replicas")["items"]), before)
        c.kill(c[2])
        wait_for(lambda: c[0].nodes()["edge-3"]["state"] == "unreachable", "it is known")
        dead = time.monotonic()
        ready(c[0], 3, {"edge-1", "edge-2"})
        check(time.monotonic() - dead > 15, "it was waited for:", time.monotonic() - dead)


def test_all_have_moved():
    """All machines get other addresses at once: `cluster.join` says where one of them is."""
    with Cluster(2) as c:
        for node in c.nodes:
            node.stop()
        for node in c.nodes:
            new = f"10.77.0.{100 + node.number}"
            node.space.ip("address", "del", f"10.77.0.{node.number}/24", "dev", "under0")
            node.space.ip("address", "del", f"fd77::{node.number}/64", "dev", "under0")
            node.space.ip("address", "add", f"{new}/24", "dev", "under0")
            text = config(node.number).replace(f"10.77.0.{node.number}:", f"{new}:")
            if node.number == 2:
                text = text.replace("cluster: {", 'cluster: { join: ["10.77.0.101:9881"],')
            node.write_config(text)
            node.start(wait=False)
        for node in c.nodes:
            wait_for(node.ready, f"{node.label} is ready")
        c.wait_all_ready()


if __name__ == "__main__":
    zl.main(globals())
