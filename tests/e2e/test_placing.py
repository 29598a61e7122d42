# SPDX-License-Identifier: Apache-2.0
"""Where replicas are in a cluster: over the nodes, away from dead and drained ones, where labels say."""

import json
import subprocess

import wreck
import zl
from cluster import Cluster
from zl import check, equal, run, service, stays, wait_for


def ready(node, count, where=None):
    """As this node sees it: so many are ready, and there are no others."""
    rows = []

    def look():
        nonlocal rows
        try:
            rows = node.replicas()
        except zl.Failure:
            return False
        good = [r for r in rows if r[2] == "ready"]
        return len(rows) == count == len(good) and (where is None or {r[1] for r in rows} == where)
    want = f"{node.label}: {count} replicas{' on ' + ', '.join(sorted(where)) if where else ''}"
    wait_for(look, lambda: f"{want}, not {rows}", seconds=90)
    return rows


def ids(node):
    return sorted((r["id"], r["restarts"]) for r in node.get("/v1/replicas")["items"])


def images(c):
    """The same on each, and all at the same time: most of it is waiting for disks."""
    layout = c[0].make_layout()
    started = [subprocess.Popen([zl.PROGRAM, "--socket", node.socket, "image", "import", layout, "--name", "test:1"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for node in c.nodes]
    for node, p in zip(c.nodes, started):
        said = p.communicate(timeout=180)[0]
        equal(p.returncode, 0, f"image import at {node.label}: {said}")


def explained(node):
    return node.cli("explain", "shop/web", status=None).stdout


def test_spread_die_drain():
    with Cluster(3) as c:
        images(c)
        c[1].deploy(service(replicas=3))
        for node in c.nodes:
            ready(node, 3, {"edge-1", "edge-2", "edge-3"})
        # What they use is known everywhere.
        for node in c.nodes:
            wait_for(lambda node=node: all(r["memory_bytes"] for r in node.get("/v1/replicas")["items"]), "the memory of all")
            rows = [line.split() for line in node.cli("ps").stdout.splitlines()[1:]]
            check(rows and all("MiB" in row or "KiB" in row for row in rows), rows)
        # A scheduler that begins anew moves nothing.
        before = ids(c[0])
        for node in c.nodes:
            node.kill("scheduler")
        c.wait_all_ready()
        ready(c[0], 3, {"edge-1", "edge-2", "edge-3"})
        equal(ids(c[0]), before)
        # One is drained: what it had is somewhere else, and it says so.
        c[0].cli("node", "drain", "edge-2")
        for node in c.nodes:
            ready(node, 3, {"edge-1", "edge-3"})
            wait_for(lambda node=node: "leaves edge-2: is being drained" in explained(node), lambda node=node: explained(node))
        c[0].cli("node", "undrain", "edge-2")
        # One dies.
        c.kill(c[2])
        wait_for(lambda: "edge-3" not in {r[1] for r in c[0].replicas()}, "it is known")
        ready(c[0], 3)
        ready(c[1], 3)
        for node in c.nodes[:2]:
            said = explained(node)
            check("is placed anew: edge-3, where it was, is not reachable" in said, said)
        # What it had is elsewhere: it can be sent away without a word more, unlike one that lives.
        r = c[0].cli("node", "rm", "edge-2", status=7)
        check("edge-2 is alive" in r.stderr and "it has" in r.stderr, r.stderr)
        c[0].cli("node", "rm", "edge-3")
        wait_for(lambda: set(c[1].nodes()) == {"edge-1", "edge-2"}, "edge-3 is gone")
        # Who has removed something sees at once that it is gone.
        c[0].cli("rm", "shop", "--yes")
        equal(c[0].nodes()["edge-1"]["replicas"], 0)
        wait_for(lambda: all(n["replicas"] == 0 for n in c[0].nodes().values()), "and soon what others had")


def waits(node):
    r = node.cli("explain", "shop/web", status=None)
    return r.stdout + r.stderr if "cannot place" in r.stdout + r.stderr else None


def test_labels_and_reasons():
    with Cluster(2) as c:
        images(c)
        text = service(replicas=2, extra="    node: { selector: { labels: { disk: ssd } } }")
        c[0].cli("deploy", "--detach", "-", input=text)
        told = wait_for(lambda: waits(c[1]), "it says that it waits")
        check("label disk=ssd is asked" in told and "edge-2" in told, told)
        c[0].cli("node", "label", "edge-2", "disk=ssd")
        ready(c[0], 2, {"edge-2"})
        c[1].cli("node", "label", "edge-1", "disk=ssd")
        c[1].cli("node", "label", "edge-2", "disk-")
        ready(c[1], 2, {"edge-1"})
        c[1].cli("rm", "shop", "--yes")
        for node in c.nodes:
            wait_for(lambda node=node: not node.replicas(), "all of it is gone")


SAYS = {"edge-1": "label disk=ram is asked, this node has disk=ssd", "edge-2": "label disk=ram is asked, this node has no disk",
        "edge-3": "label disk=ram is asked, this node has disk=hdd"}


def told_of(node):
    """What explain says at this node: of the service, and node -> why not; each as text and for machines."""
    text = node.cli("explain", "shop/web", status=None).stdout
    rows = json.loads(node.cli("-o", "json", "explain", "shop/web", status=None).stdout)["items"]
    return {"what": [r["text"] for r in rows if r["name"] == "place"],
            "why": {r["node"]: r.get("why", "") for r in rows if r["name"] == "node"},
            "table": {words[0]: line.strip() for line in text.splitlines() for words in [line.split()] if words and words[0] in SAYS}}


def test_every_node_says_why():
    """An update has no place. As many replicas as are wanted run, so only who conducts it can know; all the others say the same."""
    with Cluster(3) as c:
        images(c)
        c[0].cli("node", "label", "edge-1", "disk=ssd")
        disk = "    node: { selector: { labels: { disk: %s } } }\n"
        c[0].deploy(service(replicas=2, extra=disk % "ssd"))
        for node in c.nodes:
            ready(node, 2, {"edge-1"})
        c[0].cli("node", "label", "edge-3", "disk=hdd")
        c[1].cli("deploy", "--detach", "-", input=service(replicas=2, extra=disk % "ram"))
        for node in c.nodes:
            wait_for(lambda node=node: told_of(node)["why"] == SAYS, lambda node=node: f"{node.label}: {told_of(node)}")
            told = told_of(node)
            check(len(told["what"]) == 1 and "cannot place web: " in told["what"][0], told)
            for name, why in SAYS.items():
                check(why in told["table"][name], told)
            row, = (s for s in node.get("/v1/services")["items"] if s["name"] == "web")
            check(row["unplaced"] and row["reason"]["what"] in told["what"][0], row, told)
            check(row["reason"]["what"] in node.cli("status", "shop").stdout, "status says it")
            check(any(e["type"] == "placement.waiting" for e in node.get("/v1/events?limit=1000")["items"]), "it is an event")
        equal(len({json.dumps(told_of(node), sort_keys=True) for node in c.nodes}), 1)
        # Another one conducts: those that are left go on saying it.
        by = c[0].get("/v1/services/shop/web/nodes")["by"]
        gone = next(n for n in c.nodes if n.label == by)
        c.kill(gone)
        left = [n for n in c.nodes if n is not gone]
        for node in left:
            wait_for(lambda node=node: "not reachable since" in told_of(node)["why"].get(by, ""),
                     lambda node=node: f"{node.label}: {told_of(node)}")
            check("cannot place web" in told_of(node)["what"][0], told_of(node))


def test_a_founder_keeps_what_it_has():
    with Cluster(2, join=False) as c:
        images(c)
        c[0].deploy(service(replicas=2))
        before = ids(c[0])
        c.join(c[1])
        c.wait_all_ready()
        ready(c[1], 2, {"edge-1"})
        equal(ids(c[0]), before)
        c[1].cli("scale", "shop/web=4", "--force")
        ready(c[0], 4, {"edge-1", "edge-2"})
        wait_for(lambda: c[0].cli("scale", "shop/web=1", "--force", status=None).returncode == 0, "and back")
        for node in c.nodes:
            ready(node, 1)


def answer(node):
    r = run("curl", "-sk", "--max-time", "10", "--resolve", f"web.test:8443:{node.address}", "-o", "/dev/null", "-w", "%{http_code}",
            "https://web.test:8443/health", check=False)
    return r.stdout


def test_every_node_serves():
    """Whichever node a client comes to: requests go on to the replicas, wherever they are."""
    with Cluster(3) as c:
        images(c)
        c[2].deploy(service(replicas=1))
        (_, where, _), = ready(c[0], 1)
        for node in c.nodes:
            wait_for(lambda node=node: answer(node) == "200", f"{node.label} serves")
        # Its node dies: the two others go on with another one.
        home = next(n for n in c.nodes if n.label == where)
        c.kill(home)
        left = [n for n in c.nodes if n is not home]
        wait_for(lambda: all(r[1] != where and r[2] == "ready" for r in left[0].replicas()) and left[0].replicas(),
                 "it runs elsewhere")
        for node in left:
            wait_for(lambda node=node: answer(node) == "200", f"{node.label} serves again")
        for _ in range(10):
            equal([answer(n) for n in left], ["200", "200"])


DB = ('    command: { entrypoint: ["/bin/sh", "-c", "echo 503 > /tmp/health; exec /bin/server"] }\n'
      "    node: { selector: { labels: { on: db } } }\n")


def test_depends_and_health_over_nodes():
    """A service waits for one of another node; what is unhealthy on a node is given nothing by any of them, and names leave it out."""
    with Cluster(2) as c:
        images(c)
        c[0].cli("node", "label", "edge-1", "on=db")
        web = service(replicas=2, extra="    depends: [ { service: db, condition: healthy, timeout: 120s } ]\n")
        text = service(name="db", host="db.test", extra=DB) + web[web.index("  web:"):]
        c[1].cli("deploy", "--detach", "-", input=text)

        def there(node):
            return {name for name, _, _ in node.replicas("shop")}
        wait_for(lambda: "shop/db.1" in there(c[1]), "db is begun")
        wait_for(lambda: c.told("depends.waiting"), "web waits, and that is told")
        stays(lambda: there(c[1]) == {"shop/db.1"}, "web waits", 3)
        # Its node's command comes from the other one.
        wait_for(lambda: c[1].cli("exec", "shop/db.1", "--", "sh", "-c", "echo 200 > /tmp/health", status=None).returncode == 0, "it is told")
        for node in c.nodes:
            wait_for(lambda node=node: of_service(node, "web") == {"edge-1": "ready", "edge-2": "ready"}, f"{node.label}: one on each")
            wait_for(lambda node=node: len(names(node)) == 2, f"{node.label} names both")
            wait_for(lambda node=node: answer(node) == "200", f"{node.label} serves")
        sick = next(name for name, where, _ in c[0].replicas("shop/web") if where == "edge-2")
        c[0].cli("exec", sick, "--", "sh", "-c", "echo 503 > /tmp/health")
        for node in c.nodes:
            wait_for(lambda node=node: len(names(node)) == 1, f"{node.label} names one")
        wait_for(lambda: [answer(n) for n in c.nodes] == ["200", "200"], "both serve")
        # It answers its own /health with 503: nobody is sent there.
        equal([answer(n) for n in c.nodes * 10], ["200"] * 20)
        wait_for(lambda: c[0].cli("exec", sick, "--", "sh", "-c", "echo 200 > /tmp/health", status=None).returncode == 0, "it is told")
        for node in c.nodes:
            wait_for(lambda node=node: len(names(node)) == 2, f"{node.label} names both again")


def of_service(node, name):
    return {where: state for _, where, state in node.replicas(f"shop/{name}")}


def names(node):
    return wreck.resolve(node, "web.shop.zlayer.internal") or []


if __name__ == "__main__":
    zl.main(globals())
