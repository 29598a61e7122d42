# SPDX-License-Identifier: Apache-2.0
"""A hundred times deploy and rm, with endpoints in the proxy and in XDP: links, addresses, mounts, cgroups, BPF maps with
their entries and programs, files, descriptors and memory come back. And in a cluster, on all of its nodes."""

import glob
import json
import os
import re

import dnsmsg
import test_dns
import zl
from cluster import Cluster
from test_l4 import a_world, config
from test_mesh import meshed, own
from test_placing import images, ready
from zl import Node, Space, check, equal, service, wait_for

CYCLES = 100
CLUSTER_CYCLES = 20
WARM_UP = 5


def fabric_links(node):
    path = f"{node.run_folder}/netns/fabric"
    r = zl.run("nsenter", f"--net={path}", "ip", "-j", "link", check=False)
    return sorted(link["ifname"] for link in json.loads(r.stdout or "[]"))


def addresses(node):
    """replica -> address, of those that are in use."""
    path, = glob.glob(f"{node.data}/**/addresses", recursive=True)
    with open(path) as f:
        rows = [line.split() for line in f]
    return {replica: (v4, v6) for replica, v4, v6, freed in rows if freed == "0"}


def entries(node):
    """name -> entries, of the node's maps that have one for each of something."""
    return {m["name"]: len(zl.bpftool("map", "dump", "id", str(m["id"]))) for m in zl.bpftool("-f", "map")
            if m["type"] in ("hash", "lpm_trie", "devmap_hash") and
            any(f"/zlayer/{node.name}/" in pin for pin in m.get("pinned", []))}


def files(node):
    """Below the data folder, without what is a record or a log of the node's own."""
    found = set()
    for folder, _, names in os.walk(node.data):
        for name in names:
            path = os.path.join(folder, name)[len(node.data):]
            if not re.search(r"zlayer\.db|/images/", path):
                found.add(path)
    return found


def groups(node):
    return sorted(p for p in glob.glob(f"/sys/fs/cgroup/**/zlayer/{node.name}/**/", recursive=True)
                  if re.search(r"/[0-9]+/$", p))


def mounts(node):
    """Of this node, in its fabric's holder and its runtime: where containers' would be."""
    pids = set(node.processes().values())
    return {pid: open(f"/proc/{pid}/mountinfo").read().count("\n") for pid in pids}


def footprint(node):
    figures = {}
    for (role, index), pid in node.processes().items():
        text = open(f"/proc/{pid}/smaps_rollup").read()
        figures[role, index] = (len(os.listdir(f"/proc/{pid}/fd")),
                                int(re.search(r"^Pss_Anon:\s+(\d+)", text, re.M).group(1)))
    return figures


DOCUMENT = service(replicas=2, extra="    storage: [ { type: named, name: d, target: /data } ]\n"
                                     "    init: { steps: [ { id: a, uses: init.run, with: { command: 'true' } } ] }").replace(
    "    scale:", "      - { name: raw, protocol: tcp, port: 7100, target_port: 8080, expose: public }\n    scale:")


def cycle(node):
    node.deploy(DOCUMENT)
    node.cli("rm", "shop", "--volumes", "--yes", "-t", "1s")


def test_cycles():
    with a_world(), Node(config("native") + "deploy: { monitor: 100ms, health_timeout: 30s }\n") as node:
        node.import_image()
        # One that stays: without any the balancer's maps go together, whatever was forgotten in them.
        without = node.bpf()
        node.deploy(DOCUMENT.replace("shop", "stays").replace("web.test", "stays.test").replace("7100", "7200"))
        wait_for(lambda: node.bpf()["maps"] > without["maps"] + 2, "the balancer's maps are there and counted")
        bpf = node.bpf()
        for _ in range(WARM_UP):
            cycle(node)

        def state():
            return {"links": fabric_links(node), "addresses": addresses(node), "groups": groups(node), "mounts": mounts(node),
                    "files": sorted(files(node)), "rows": sorted(r["name"] for r in node.cli_json("ps", "-a")["items"]),
                    "own": len(node.pids())}
        before, memory, kept = state(), footprint(node), entries(node)
        check(kept and len(before["addresses"]) == 2, kept, before["addresses"])
        for _ in range(CYCLES):
            cycle(node)
        wait_for(lambda: groups(node) == before["groups"], "cgroups are gone")
        after = state()
        for what in before:
            equal(after[what], before[what], what)
        wait_for(lambda: node.bpf() == bpf, f"BPF maps and programs are gone: {bpf}")
        wait_for(lambda: entries(node) == kept, lambda: f"entries of maps: {entries(node)}, before {kept}")
        now = footprint(node)
        for who, (fds, kib) in now.items():
            if who not in memory:
                continue
            check(fds - memory[who][0] < CYCLES / 2, who, "descriptors", memory[who][0], fds)
            # api keeps the last events, a bounded number.
            check(kib - memory[who][1] < 6144, who, "KiB", memory[who][1], kib)


def test_orphans():
    """What a start that was cut off has left, of a replica that nobody knows, is swept by the next runtime."""
    with Node() as node:
        node.import_image()
        node.deploy(service())
        before = fabric_links(node), addresses(node)
        orphan = 0xabc123
        zl.run("nsenter", f"--net={node.run_folder}/netns/fabric", "ip", "link", "add", f"v{orphan:x}", "type", "veth", "peer",
               "name", "nobody")
        path, = glob.glob(f"{node.data}/**/addresses", recursive=True)
        (mine, _), = before[1].values()
        free = mine.rsplit(".", 1)[0] + ".200"
        with open(path, "a") as f:
            f.write(f"{orphan} {free} - 0\n")
        check(f"v{orphan:x}" in fabric_links(node) and str(orphan) in addresses(node), "the orphan is there")
        node.kill("runtime")
        wait_for(lambda: (fabric_links(node), addresses(node)) == before,
                 lambda: f"{fabric_links(node)}, {addresses(node)}, before {before}")
        equal([r["state"] for r in node.cli_json("ps")["items"]], ["ready"], "the one that is known")


def exists(node, name):
    """Whether the node's name server, asked from its fabric, knows the name."""
    server = own(node).replace(".0/24", ".1")
    reply = Space(node.processes()["overlay", 0]).call(test_dns.udp, server, dnsmsg.query(name), 5, 4)
    return reply is not None and dnsmsg.Message(reply).rcode == dnsmsg.NOERROR


def test_cluster_cycles():
    """Each node has a replica; what it knows of the other's comes back, too."""
    with Cluster(2) as c:
        images(c)
        c[0].deploy(service(replicas=2, deployment="stays", host="stays.test"))
        for node in c.nodes:
            ready(node, 2, {"edge-1", "edge-2"})
        wait_for(lambda: meshed(c.nodes), "everybody knows where everybody's containers are")

        def cycle_all():
            c[1].deploy(service(replicas=2))
            for node in c.nodes:
                ready(node, 4, {"edge-1", "edge-2"})
                wait_for(lambda: exists(node, "web.shop.zlayer.internal"), f"its name at {node.label}")
            c[0].cli("rm", "shop", "--yes", "-t", "1s")
            for node in c.nodes:
                ready(node, 2)
                wait_for(lambda: not exists(node, "web.shop.zlayer.internal"), f"no name at {node.label}")

        def state(node):
            return {"links": fabric_links(node), "addresses": addresses(node), "entries": entries(node),
                    "groups": groups(node)}
        cycle_all()
        before = {node.label: state(node) for node in c.nodes}
        check(all(len(s["addresses"]) == 1 and s["entries"] for s in before.values()), before)
        for _ in range(CLUSTER_CYCLES):
            cycle_all()
        for node in c.nodes:
            wait_for(lambda: state(node) == before[node.label],
                     lambda: f"{node.label}: {state(node)}, before {before[node.label]}")


if __name__ == "__main__":
    zl.main(globals())
