# SPDX-License-Identifier: Apache-2.0
"""Jobs by command: status and output, history, cancel, and that no death of a process runs one twice."""

import os
import signal

import zl
from test_survive import restarted
from zl import Node, check, equal, wait_for


def document(command, extra=""):
    return f"""version: v1
deployment: shop
services:
  report:
    rtype: job
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/sh", "-c", "{command}"] }}
    storage: [ {{ type: named, name: d, target: /data }} ]
    stop_grace_period: 1s
{extra}"""


def runs(n):
    return {r["name"]: r for r in n.cli_json("job", "ls")["items"]}


def ran(n):
    """What the run wrote, read through another service once that one is there."""
    wait_for(lambda: [r for r in n.cli_json("ps")["items"] if r["service"] == "keeper" and r["state"] == "ready"],
             "the keeper is ready")
    return wait_for(lambda: n.cli("exec", "shop/keeper", "--", "cat", "/data/ran", status=None).stdout, "the file is read")


def test_run_and_history():
    with Node() as n:
        n.import_image()
        n.deploy(document("echo hello; echo $((6 * 7)); exit 3"))
        equal(runs(n), {}, "a deploy runs nothing")
        equal(n.cli_json("status")["deployments"][0]["state"], "stable")
        r = n.cli("job", "run", "shop/report", status=3)
        said = n.cli("explain", "shop").stdout
        check("zlayer job logs shop/report.1" in said, said)
        check("hello" in r.stdout and "42" in r.stdout, r.stdout)
        n.deploy(document("exit 0"))
        n.cli("job", "run", "shop/report")
        n.deploy(document("exit 200"))
        n.cli("job", "run", "report", status=200)
        n.deploy(document("exit 0").replace("/bin/sh", "/bin/nothing"))
        n.cli("job", "run", "report", status=127)
        listed = n.cli("job", "ls", "shop").stdout.splitlines()
        equal([(line.split()[0], line.split()[2]) for line in listed[1:]],
              [("shop/report.1", "3"), ("shop/report.2", "0"), ("shop/report.3", "200"), ("shop/report.4", "127")])
        check("42" in n.cli("job", "logs", "shop/report.1").stdout, "logs are kept")
        # Not a service: neither started again nor scaled; only so many runs are kept.
        n.cli("scale", "shop/report=2", status=2)
        n.deploy(document("exit 0"))
        for _ in range(9):
            n.cli("job", "run", "shop/report")
        wait_for(lambda: len(runs(n)) == 10, "ten runs are kept")
        check("shop/report.13" in runs(n) and "shop/report.1" not in runs(n), runs(n).keys())
        equal(n.cli("job", "run", "shop/nothing", status=None).returncode, 4)
        n.cli("rm", "shop", "--volumes", "--yes")
        equal(n.cli_json("ps", "-a")["items"], [])


def test_cancel():
    with Node() as n:
        n.import_image()
        n.deploy(document("sleep 1000"))
        name = n.cli("job", "run", "shop/report", "--detach").stdout.strip()
        equal(name, "shop/report.1")
        wait_for(lambda: (runs(n)[name]["container"] or {}).get("state") == "running", "it runs")
        n.cli("job", "cancel", name, "-t", "1s")
        equal(runs(n)[name]["state"], "stopped")
        check(runs(n)[name]["container"]["exit_signal"] or runs(n)[name]["container"]["exit_status"], runs(n))


def test_runs_once():
    with Node() as n:
        n.import_image()
        n.deploy(document("echo x >> /data/ran; while ! test -e /data/go; do sleep 0.1; done; exit 5",
                          "  keeper:\n    image: { name: \"test:1\" }\n"
                          "    storage: [ { type: named, name: d, target: /data } ]\n"))
        name = n.cli("job", "run", "shop/report", "--detach").stdout.strip()
        wait_for(lambda: (runs(n)[name]["container"] or {}).get("state") == "running", "it runs")
        for role in ("scheduler", "runtime"):
            old = n.kill(role)
            wait_for(lambda: old not in n.processes().values() and n.ready(), f"{role} is back")
        os.kill(n.process.pid, signal.SIGKILL)
        n.process.wait()
        n.start()
        equal(ran(n), "x\n")
        n.cli("exec", "shop/keeper", "--", "touch", "/data/go")
        wait_for(lambda: runs(n)[name]["state"] == "stopped", "it has ended")
        equal(runs(n)[name]["container"]["exit_status"], 5)
        n.kill("scheduler")
        wait_for(n.ready, "the scheduler is back")
        wait_for(lambda: name in runs(n) and runs(n)[name]["state"] == "stopped", "history is kept")
        equal(ran(n), "x\n")
        # The whole machine: what has ended stays ended.
        restarted(n)
        n.start()
        wait_for(lambda: name in runs(n) and runs(n)[name]["state"] == "stopped", "history is kept")
        equal(ran(n), "x\n")


if __name__ == "__main__":
    zl.main({k: v for k, v in globals().items() if k != "restarted"})
