# SPDX-License-Identifier: Apache-2.0
"""tools/bench idle [--json] [--seconds N]

Starts a node in namespaces of its own, deploys three replicas with a health check every 10 s, waits until
all is quiet and then sums, over node, roles and monitors (not what runs in the containers), proportional
memory (PSS) and CPU time. The peer is the budget of the project: 40 MiB and 0.5 % of a core.
"""

import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "e2e"))
os.environ["ZLAYER_BUILD"] = os.path.abspath(sys.argv[1])
import zl  # noqa: E402

BUDGET_PSS_MIB, BUDGET_CPU_PERCENT = 40.0, 0.5
TICKS = os.sysconf("SC_CLK_TCK")


def ours(node):
    """pid -> name, of processes that are the program or its monitors."""
    found = {}
    for pid in node.pids() | {node.process.pid}:
        try:
            name = open(f"/proc/{pid}/comm").read().strip()
        except OSError:
            continue
        if name.startswith("zlayer"):
            found[pid] = name
    return found


def pss_bytes(pid):
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main():
    as_json = "--json" in sys.argv
    seconds = int(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 30
    zl.isolate()
    with zl.Node() as node:
        layout = os.path.join(node.folder, "hello")
        subprocess.run([os.path.join(zl.SOURCE, "tools", "busybox-image"), layout, "test:1"], check=True)
        node.cli("image", "import", layout, "--name", "test:1")
        node.deploy(zl.service(replicas=3, check_="health: { check: { type: http, url: /health } }"))
        time.sleep(40)  # a young container is looked at more often
        before = {pid: cpu_seconds(pid) for pid in ours(node)}
        time.sleep(seconds)
        rows = sorted((name, pid, pss_bytes(pid), (cpu_seconds(pid) - before.get(pid, 0)) / seconds * 100)
                      for pid, name in ours(node).items())
    pss = sum(r[2] for r in rows) / (1 << 20)
    cpu = sum(r[3] for r in rows)
    if as_json:
        for row, unit, value, budget in (("pss", "MiB", pss, BUDGET_PSS_MIB), ("cpu", "% of a core", cpu, BUDGET_CPU_PERCENT)):
            print(json.dumps({"bench": "idle", "row": row, "unit": unit, "ours": round(value, 3),
                              "peer_name": "budget", "peer": budget, "ratio": round(value / budget, 3)}))
        return
    print(f"{'process':<20} {'PSS KiB':>10} {'% of a core':>12}")
    for name, _, memory, percent in rows:
        print(f"{name:<20} {memory / 1024:>10.0f} {percent:>12.3f}")
    print(f"{'all':<20} {pss * 1024:>10.0f} {cpu:>12.3f}   ({pss:.1f} MiB of {BUDGET_PSS_MIB:.0f}, {cpu:.2f} % of {BUDGET_CPU_PERCENT})")


if __name__ == "__main__":
    main()
