# SPDX-License-Identifier: Apache-2.0
"""Jobs by command: status and output, history, cancel, and that no death of a process runs one twice."""

import os
import signal
import subprocess

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
        row = [line.split(None, 2)[-1] for line in n.cli("status").stdout.splitlines() if " report " in line]
        check("0 runs" in row[0] and "never run" in row[0], row)
        r = n.cli("job", "run", "shop/report", status=3)
        row = [line for line in n.cli("status").stdout.splitlines() if " report " in line]
        check("1 run " in row[0] and "run 1 failed (3), " in row[0], row)
        seen = n.cli_json("status")["deployments"][0]["services"][0]
        equal((seen["rtype"], seen["runs"]["kept"], seen["runs"]["running"], seen["runs"]["last"]["name"],
               seen["runs"]["last"]["container"]["exit_status"]), ("job", 1, 0, "shop/report.1", 3))
        said = n.cli("explain", "shop").stdout
        check("zlayer job logs shop/report.1" in said, said)
        check("hello" in r.stdout and "42" in r.stdout, r.stdout)
        n.deploy(document("exit 0"))
        n.cli("job", "run", "shop/report")
        check("run 2 ok, " in n.cli("status").stdout, "the last run and its result")
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


def job_run(n, *args, **options):
    """The command as a process of its own: what it prints can be read while it runs."""
    return subprocess.Popen([zl.PROGRAM, "--socket", n.socket, "job", "run", "shop/report", *args], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def let_go(n, what):
    n.cli("exec", "shop/keeper", "--", "touch", f"/data/{what}")


KEEPER = ("  keeper:\n    image: { name: \"test:1\" }\n    storage: [ { type: named, name: d, target: /data } ]\n"
          "    stop_grace_period: 1s\n")


def test_output_as_it_comes():
    with Node() as n:
        n.import_image()
        n.deploy(document("echo one; echo two >&2; while ! test -e /data/$1; do sleep 0.1; done; echo \\\"$@\\\"; exit 7", KEEPER)
                 .replace('; exit 7"]', '; exit 7"], args: ["sh"]'))
        wait_for(lambda: [r for r in n.cli_json("ps")["items"] if r["service"] == "keeper" and r["state"] == "ready"],
                 "the keeper is ready")
        # Each line while the run goes on, two runs at once, each with its own words; the api's death is not noticed.
        runs_ = [job_run(n, "--", name, "a b", "-x") for name in ("first", "second")]
        for r in runs_:
            equal((r.stdout.readline(), "two" in r.stderr.readline() + r.stderr.readline()), ("one\n", True))
            equal(r.poll(), None)
        old = n.kill("api")
        wait_for(lambda: old not in n.processes().values() and n.ready(), "the api is back")
        let_go(n, "second")
        equal((runs_[1].stdout.read(), runs_[1].wait(timeout=60)), ("second a b -x\n", 7))
        equal(runs_[0].poll(), None)
        let_go(n, "first")
        equal((runs_[0].stdout.read(), runs_[0].wait(timeout=60)), ("first a b -x\n", 7))
        for r in runs_:
            equal(r.stderr.read(), "", "no second copy of a line, no explanation of a plain status")
        # Every word as it is, behind those of the document.
        r = n.cli("job", "run", "shop/report", "--", "first", "--", "", status=7)
        equal(r.stdout, "one\nfirst -- \n")
        many = n.cli("job", "run", "shop/report", "--", "first", *["x"] * 255, status=7)
        equal(many.stdout.split(), ["one", "first"] + ["x"] * 255)
        refused = n.cli("job", "run", "shop/report", "--", *["x"] * 300, status=1)
        check("too long" in refused.stderr, refused.stderr)
        # A follower of one run ends with it.
        name = n.cli("job", "run", "shop/report", "-d", "--", "third").stdout.strip()
        follower = subprocess.Popen([zl.PROGRAM, "--socket", n.socket, "job", "logs", name, "-f"], text=True,
                                    stdout=subprocess.PIPE)
        check("one" in follower.stdout.readline(), "the follower reads")
        let_go(n, "third")
        check("third" in follower.stdout.read() and follower.wait(timeout=60) == 0, "the follower has ended")
        # What could not be run says why.
        n.deploy(document("true").replace("/bin/sh", "/bin/nothing"))
        r = n.cli("job", "run", "shop/report", status=127)
        check("/bin/nothing" in r.stderr and "command.entrypoint" in r.stderr, r.stderr)
        n.deploy(document("true").replace("{ name: \"test:1\" }", "{ name: \"none:1\", pull_policy: never }"))
        r = n.cli("job", "run", "shop/report", status=125)
        check("none:1" in r.stderr, r.stderr)


def test_interrupted():
    with Node() as n:
        n.import_image()
        n.deploy(document("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"))
        for number in (signal.SIGINT, signal.SIGTERM):
            r = job_run(n)
            equal(r.stdout.readline(), "up\n")
            r.send_signal(number)
            equal((r.stdout.read(), r.wait(timeout=60)), ("bye\n", 130), "its last words are waited for")
            check("is being stopped" in r.stderr.read(), "it is said")
        n.deploy(document("trap '' TERM; echo up; while :; do sleep 0.1; done").replace("period: 1s", "period: 60s"))
        r = job_run(n)
        equal(r.stdout.readline(), "up\n")
        r.send_signal(signal.SIGINT)
        while "is being stopped" not in r.stderr.readline():
            pass
        r.send_signal(signal.SIGINT)
        equal(r.wait(timeout=30), 130, "a second one leaves at once")
        r = job_run(n)
        equal(r.stdout.readline(), "up\n")
        r.send_signal(signal.SIGHUP)
        equal(r.wait(timeout=30), -signal.SIGHUP)
        name = sorted(runs(n))[-1]
        wait_for(lambda: runs(n)[name]["container"]["state"] == "running", "without a terminal it runs on")
        r = n.cli("job", "run", "shop/report", "--timeout", "2s", status=5)
        check("goes on" in r.stderr, r.stderr)
        n.cli("rm", "shop", "--yes", "-t", "1s")


def test_cancel():
    with Node() as n:
        n.import_image()
        n.deploy(document("sleep 1000"))
        name = n.cli("job", "run", "shop/report", "--detach").stdout.strip()
        equal(name, "shop/report.1")
        wait_for(lambda: (runs(n)[name]["container"] or {}).get("state") == "running", "it runs")
        check("run 1 is running" in n.cli("status").stdout, "a run under way")
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
