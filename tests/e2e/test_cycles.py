# SPDX-License-Identifier: Apache-2.0
"""Fifty times deploy and rm, with endpoints in the proxy and in XDP: links, mounts, cgroups, BPF maps and programs,
files, descriptors and memory come back."""

import glob
import json
import os
import re

import zl
from test_l4 import a_world, config
from zl import Node, check, equal, service, wait_for

CYCLES = 50
WARM_UP = 5


def fabric_links(node):
    path = f"{node.run_folder}/netns/fabric"
    r = zl.run("nsenter", f"--net={path}", "ip", "-j", "link", check=False)
    return sorted(link["ifname"] for link in json.loads(r.stdout or "[]"))


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
            return {"links": fabric_links(node), "groups": groups(node), "mounts": mounts(node),
                    "files": sorted(files(node)), "rows": sorted(r["name"] for r in node.cli_json("ps", "-a")["items"]),
                    "own": len(node.pids())}
        before, memory = state(), footprint(node)
        for _ in range(CYCLES):
            cycle(node)
        wait_for(lambda: groups(node) == before["groups"], "cgroups are gone")
        after = state()
        for what in before:
            equal(after[what], before[what], what)
        wait_for(lambda: node.bpf() == bpf, f"BPF maps and programs are gone: {bpf}")
        now = footprint(node)
        for who, (fds, kib) in now.items():
            if who not in memory:
                continue
            check(fds - memory[who][0] < CYCLES / 2, who, "descriptors", memory[who][0], fds)
            # api keeps the last events, a bounded number.
            check(kib - memory[who][1] < 6144, who, "KiB", memory[who][1], kib)


if __name__ == "__main__":
    zl.main(globals())
