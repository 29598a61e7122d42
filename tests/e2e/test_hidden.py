# SPDX-License-Identifier: Apache-2.0
"""Nodes behind routers, which nobody can send to first: they serve and are served like all others."""

import re
import urllib.request

import zl
from cluster import Cluster
from test_mesh import pings
from test_overlay import metric
from test_placing import images, ready
from zl import check, equal, service, wait_for


def ask(node):
    """A request at the node's own ingress."""
    return node.space.run("curl", "-sk", "--max-time", "10", "--resolve", "web.test:8443:127.0.0.1", "-o", "/dev/null", "-w",
                          "%{http_code}", "https://web.test:8443/health", check=False).stdout


def relayed(node):
    text = node.space.call(lambda: urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=20).read().decode())
    return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(r"zlayer_overlay_relayed_total[ {]", line))


def deploy_behind(c, *numbers):
    """One replica on one of these. Whoever places it reaches one of them, also if it is one itself."""
    for number in numbers:
        c[0].cli("node", "label", f"edge-{number}", "disk=ssd")
    for node in c.nodes:
        wait_for(lambda node=node: all(node.nodes()[f"edge-{n}"]["labels"] == {"disk": "ssd"} for n in numbers), f"{node.label} knows")
    images(c)
    c[0].cli("deploy", "--detach", "-", input=service(replicas=1, extra="    node: { selector: { labels: { disk: ssd } } }"))
    (_, where, _), = ready(c[0], 1)
    check(where in {f"edge-{n}" for n in numbers}, where)
    return where


def all_reach(nodes):
    for a in nodes:
        for b in nodes:
            wait_for(lambda a=a, b=b: a is b or pings(a, b), f"{a.label} reaches {b.label}", 120)


def test_they_serve():
    """3 and 4 are behind a router each: 1 and 2 they dial themselves, and what 3 and 4 say to each other 1 or 2 passes on."""
    with Cluster(4, encrypt=True, hidden=(3, 4)) as c:
        all_reach(c.nodes)
        wait_for(lambda: relayed(c[0]) + relayed(c[1]) > 0, "somebody passes on what 3 and 4 say to each other")
        equal(relayed(c[2]) + relayed(c[3]), 0, "nobody sends that to who is behind a router")
        for node in c.nodes:
            check(not node.cluster()["trouble"], node.label, node.cluster()["trouble"])
        # Who only dials out is called so by all, and by whom it is reached.
        wait_for(lambda: c[2].nodes()["edge-4"]["via"] and c[3].nodes()["edge-3"]["via"], "they say by whom")
        for node in c.nodes:
            known, hidden = node.nodes(), node in c.nodes[2:]
            equal([n for n in sorted(known) if known[n]["dials_out"]], ["edge-3", "edge-4"])
            peers = {p["name"]: p for p in node.cli_json("status")["overlay"]["peers"]}
            for name, peer in peers.items():
                behind = name in ("edge-3", "edge-4")
                equal(peer["address"] is None, behind, peer)
                equal(peer["via"] in ("edge-1", "edge-2"), behind and hidden, peer)
        far = c[2].nodes()["edge-4"]["via"]
        check(f"dials out, by way of {far}" in c[2].cli("node", "ls").stdout, c[2].cli("node", "ls").stdout)
        check(f"dials out, by way of {far}" in c[2].cli("node", "show", "edge-4").stdout, c[2].cli("node", "show", "edge-4").stdout)
        check("by way of" not in c[0].cli("node", "ls").stdout and "dials out" in c[0].cli("node", "ls").stdout,
              c[0].cli("node", "ls").stdout)
        where = deploy_behind(c, 3, 4)
        other = c[2] if where == "edge-4" else c[3]
        for node in c.nodes:
            wait_for(lambda node=node: ask(node) == "200", f"{node.label} serves what runs on {where}", 60)
        # The way there and back is measured between all of them.
        for a in c.nodes:
            for b in c.nodes:
                wait_for(lambda a=a, b=b: a is b or metric(a, "zlayer_overlay_peer_rtt_seconds", peer=b.label) > 0,
                         f"{a.label} knows how far {b.label} is", 60)
        # Who passes on dies: the other one does it.
        first, second = (c[0], c[1]) if relayed(c[0]) > relayed(c[1]) else (c[1], c[0])
        before = relayed(second)
        c.kill(first)
        wait_for(lambda: ask(other) == "200" and relayed(second) > before, "another one passes on", 180)
        wait_for(lambda: pings(c[3], c[2]) and pings(c[2], c[3]), "both ways", 60)


def test_nobody_passes_on():
    """Two behind routers, and one that all reach: while it seals nothing they have no way to each other, and say so."""
    with Cluster(3, join=False, encrypt=True, hidden=(2, 3)) as c:
        with open(c[0].config) as f:
            text = f.read()
        c[0].stop()
        c[0].write_config(text.replace("listen: {", "listen: { overlay: off,"))
        c[0].start()
        c.join(*c.nodes[1:])
        c.wait_all_ready()
        for node in c.nodes[1:]:
            wait_for(lambda node=node: "not reached from here" in str(node.cluster()["trouble"]), f"{node.label} says it", 60)
        check(not pings(c[1], c[2]), "there is no way")
        c[0].stop()
        c[0].write_config(text)
        c[0].start()
        c.wait_all_ready()
        all_reach(c.nodes)
        for node in c.nodes[1:]:
            wait_for(lambda node=node: not node.cluster()["trouble"], "that is over", 60)


if __name__ == "__main__":
    zl.main(globals())
