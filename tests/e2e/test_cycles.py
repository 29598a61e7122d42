# SPDX-License-Identifier: Apache-2.0
"""Fifty times deploy and rm: links, mounts, cgroups, BPF maps, files, descriptors and memory come back."""

import glob
import json
import os
import re

import zl
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


def maps():
    r = zl.run("bpftool", "-j", "map", check=False)
    return len(json.loads(r.stdout)) if r.returncode == 0 and r.stdout else 0


def footprint(node):
    figures = {}
    for (role, index), pid in node.processes().items():
        text = open(f"/proc/{pid}/smaps_rollup").read()
        figures[role, index] = (len(os.listdir(f"/proc/{pid}/fd")),
                                int(re.search(r"^Pss_Anon:\s+(\d+)", text, re.M).group(1)))
    return figures


def cycle(node):
    node.deploy(service(replicas=2, extra="    storage: [ { type: named, name: d, target: /data } ]\n"
                                          "    init: { steps: [ { id: a, uses: init.run, with: { command: 'true' } } ] }"))
    node.cli("rm", "shop", "--volumes", "--yes", "-t", "1s")


def test_cycles():
    with Node("deploy: { monitor: 100ms, health_timeout: 30s }\n") as node:
        node.import_image()
        for _ in range(WARM_UP):
            cycle(node)

        def state():
            return {"links": fabric_links(node), "groups": groups(node), "mounts": mounts(node),
                    "files": sorted(files(node)), "rows": node.cli_json("ps", "-a")["items"],
                    "own": len(node.pids())}
        before, memory = state(), footprint(node)
        maps_before = maps()
        for _ in range(CYCLES):
            cycle(node)
        wait_for(lambda: groups(node) == before["groups"], "cgroups are gone")
        after = state()
        for what in before:
            equal(after[what], before[what], what)
        # Other tests of the machine have maps of their own: only growth by cycle counts.
        check(maps() - maps_before < CYCLES, "BPF maps", maps_before, maps())
        now = footprint(node)
        for who, (fds, kib) in now.items():
            if who not in memory:
                continue
            check(fds - memory[who][0] < CYCLES / 2, who, "descriptors", memory[who][0], fds)
            # api keeps the last events, a bounded number.
            check(kib - memory[who][1] < 6144, who, "KiB", memory[who][1], kib)


if __name__ == "__main__":
    zl.main(globals())
