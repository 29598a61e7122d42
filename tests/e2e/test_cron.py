# SPDX-License-Identifier: Apache-2.0
"""Crons: each time is run once, whatever ends meanwhile; on and off, by hand, overlap, what was missed, and why."""

import calendar
import contextlib
import glob
import json
import os
import signal
import sqlite3
import time

import zl
from test_survive import another_boot, restarted
from zl import Node, check, equal, wait_for

NAME = "shop/tidy"


def document(command, schedule="*/2 * * * * * *", rules="", extra="", grace="1s"):
    return f"""version: v1
deployment: shop
services:
  tidy:
    rtype: cron
    schedule: "{schedule}"
    cron: {{ {rules} }}
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/sh", "-c", "{command}"] }}
    storage: [ {{ type: named, name: d, target: /data }} ]
    stop_grace_period: {grace}
{extra}"""


KEEPER = ("  keeper:\n    image: { name: \"test:1\" }\n    storage: [ { type: named, name: d, target: /data } ]\n"
          "    stop_grace_period: 1s\n")
LATER = "0 0 0 1 1 * 2199"
OFTEN = ("  often:\n    rtype: cron\n    schedule: \"* * * * * * *\"\n    cron: { overlap: allow }\n"
         "    image: { name: \"test:1\" }\n    command: { entrypoint: [\"/bin/sh\", \"-c\", \"true\"] }\n")


def cron(n, name=NAME):
    return n.cli_json("cron", "ls", name)["items"][0]["cron"]


def runs(n, name=NAME):
    return n.cli_json("job", "ls", name)["items"]


def firings(n, name=NAME):
    return cron(n, name)["firings"]


@contextlib.contextmanager
def store(n):
    """The database of a node that was stopped: it is the scheduler's own, and stays so."""
    owner = os.stat(database(n))
    with contextlib.closing(sqlite3.connect(database(n))) as db:
        yield db
        db.commit()
    for path in glob.glob(database(n) + "*"):
        os.chown(path, owner.st_uid, owner.st_gid)


def stored(n):
    """Of all crons, by service."""
    times = {}
    with store(n) as db:
        for service, at in db.execute("SELECT name, at_s FROM firings LEFT JOIN services ON services.id = service"):
            times.setdefault(service, []).append(at)
    return times


def database(n):
    return os.path.join(n.folder, "data", "state", "zlayer.db")


def events(n, kind):
    return [json.loads(line) for line in n.cli("-o", "json", "events", "--type", kind).stdout.splitlines()]


def seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def once(n):
    """No time is there twice, and no two runs are of one time."""
    times = [f["at"] for f in firings(n)]
    equal(len(times), len(set(times)), "a firing of each time")
    due = [r["due"] for r in runs(n) if r["due"]]
    equal(len(due), len(set(due)), "a run of each time")


def lines(n, name):
    return n.cli("exec", "shop/keeper", "--", "cat", f"/data/{name}", status=None).stdout.split()


def keeper_is_ready(n):
    wait_for(lambda: [r for r in n.cli_json("ps")["items"] if r["service"] == "keeper" and r["state"] == "ready"],
             "the keeper is ready")


def let_go(n, what="go"):
    n.cli("exec", "shop/keeper", "--", "touch", f"/data/{what}")


def replaced(n, role):
    """It dies, and its successor is there: the table of processes shows the dead one for a moment."""
    old = n.kill(role)
    wait_for(lambda: old not in n.processes().values() and n.ready(), f"{role} is back")


WAITS = "echo $(date +%s) >> /data/ran; while ! test -e /data/go; do sleep 0.1; done"


def test_at_its_times():
    with Node() as n:
        n.import_image()
        n.deploy(document("echo hello", rules="overlap: allow", extra=OFTEN))
        first = wait_for(lambda: runs(n), "the first run")[0]
        started = seconds(first["due"])
        # As many times as the clock says, each once.
        done = wait_for(lambda: [f for f in firings(n) if f["state"] == "ok" and seconds(f["at"]) >= started + 10]
                        and cron(n), "ten seconds of runs")
        times = sorted(seconds(f["at"]) for f in done["firings"] if started <= seconds(f["at"]) <= started + 10)
        check(4 <= len(times) <= 6, times)
        check(all(at % 2 == 0 for at in times), times)
        once(n)
        seen = [s for s in n.cli_json("status")["deployments"][0]["services"] if s["name"] == "tidy"][0]
        equal((seen["rtype"], seen["cron"]["state"], seen["cron"]["overlap"]), ("cron", "waiting", "allow"))
        check("next in" in n.cli("status").stdout, "status says when")
        listed = n.cli("cron", "ls").stdout.splitlines()
        check(listed[0].startswith("CRON") and NAME in listed[2] and "waiting" in listed[2], listed)
        check("hello" in n.cli("job", "logs", first["name"]).stdout, "logs of a run")
        said = n.cli("explain", NAME).stdout
        check("runs next at" in said, said)
        # History is bounded.
        n.cli("cron", "disable", NAME)
        wait_for(lambda: max(r["index"] for r in runs(n, "shop/often")) >= 22, "some runs more")
        equal(len(firings(n, "shop/often")), 10)
        check(len(runs(n, "shop/often")) <= 12, len(runs(n, "shop/often")))
        n.cli("scale", NAME + "=2", status=2)
        n.stop()
        times = stored(n)["often"]
        equal((len(times), len(set(times))), (20, 20), "twenty are kept")
        n.start()
        n.cli("rm", "shop", "--volumes", "--yes")
        equal(n.cli_json("ps", "-a")["items"], [])
        n.stop()
        equal(stored(n), {}, "nothing is left of it")


def test_on_off_and_by_hand():
    with Node() as n:
        n.import_image()
        n.deploy(document("echo \\\"$@\\\"; exit 3", schedule=LATER, extra=KEEPER))
        equal(cron(n)["next"], "2199-01-01T00:00:00Z")
        # By hand, with words of its own, and its end is ours.
        r = n.cli("cron", "trigger", "tidy", "-d")
        equal(r.stdout, f"{NAME}.1\n")
        wait_for(lambda: runs(n)[0]["state"] == "stopped", "it has ended")
        equal((runs(n)[0]["due"], runs(n)[0]["container"]["exit_status"]), (None, 3))
        n.cli("cron", "trigger", NAME, status=3)
        n.cli("job", "run", NAME, status=3)
        equal(firings(n), [], "no time was fired")
        r = n.cli("cron", "disable", NAME)
        check("is disabled" in r.stdout, r.stdout)
        check("already" in n.cli("cron", "disable", NAME).stdout, "a second time")
        n.cli("cron", "enable", "shop/keeper", status=2)
        n.cli("cron", "ls", "shop/keeper", status=2)
        # It stays so: over a deploy, the scheduler's death and a restart of the node.
        n.deploy(document("true", extra=KEEPER))
        n.kill("scheduler")
        equal(cron(n)["state"], "disabled", "asked in the moment of the scheduler's death")
        wait_for(n.ready, "the scheduler is back")
        n.stop()
        n.start()
        wait_for(n.ready, "the node is back")
        state = wait_for(lambda: cron(n), "the cron")
        equal((state["state"], state["enabled"], state["next"]), ("disabled", False, None))
        equal(firings(n), [], "nothing was run")
        said = n.cli("explain", NAME, status=1).stdout
        check("is disabled" in said and f"zlayer cron enable {NAME}" in said, said)
        check("; disabled" in n.cli("status").stdout, "status says so")
        n.cli("cron", "enable", NAME)
        wait_for(lambda: [f for f in firings(n) if f["state"] == "ok"], "it runs again")
        kinds = {e["type"] for e in events(n, "cron")}
        check({"cron.disabled", "cron.enabled"} <= kinds, kinds)
        # The whole deployment stands still.
        n.cli("stop", "shop")
        equal(cron(n)["state"], "stopped")
        said = n.cli("explain", NAME, status=1).stdout
        check("zlayer start shop" in said, said)
        once(n)


def test_forbid():
    with Node() as n:
        n.import_image()
        n.deploy(document(WAITS, extra=KEEPER))
        keeper_is_ready(n)
        wait_for(lambda: len([f for f in firings(n) if f["state"] == "passed"]) >= 2, "times are passed over")
        equal({f["reason"] for f in firings(n) if f["state"] == "passed"}, {"overlaps"})
        equal(len(runs(n)), 1)
        said = n.cli("explain", NAME).stdout
        check("a run was under way" in said and "overlap: allow" in said, said)
        r = n.cli("cron", "trigger", NAME, status=7)
        check("is under way" in r.stderr and f"zlayer job cancel {NAME}.1" in r.stderr, r.stderr)
        equal(len(events(n, "cron.passed")), 1, "told once")
        let_go(n)
        wait_for(lambda: len([f for f in firings(n) if f["state"] == "ok"]) >= 2, "it runs again")
        once(n)


def test_replace():
    with Node() as n:
        n.import_image()
        n.deploy(document("trap 'echo end >> /data/ran; exit 0' TERM; echo begin >> /data/ran; "
                          "while :; do sleep 0.1; done", schedule="*/3 * * * * * *", rules="overlap: replace",
                          extra=KEEPER, grace="20s"))
        keeper_is_ready(n)
        wait_for(lambda: lines(n, "ran").count("end") >= 3, "runs take each other's place")
        ran = lines(n, "ran")
        equal([a for a, b in zip(ran, ran[1:]) if a == b], [], "never two at once")
        n.cli("cron", "disable", NAME)
        # As the first process of its container it would not be told to end before it says that it wants to be.
        wait_for(lambda: lines(n, "ran").count("begin") == len(runs(n)), "the last one listens")
        before = len(lines(n, "ran"))
        name = n.cli("cron", "trigger", NAME, "-d").stdout.strip()
        wait_for(lambda: [r for r in runs(n) if r["name"] == name and (r["container"] or {}).get("state") == "running"],
                 "also by hand")
        wait_for(lambda: len(lines(n, "ran")) > before, "it writes")
        ran = lines(n, "ran")
        equal([a for a, b in zip(ran, ran[1:]) if a == b], [], "never two at once")
        check(events(n, "cron.replaced"), "it is said")
        once(n)


def test_deaths_of_processes():
    with Node() as n:
        n.import_image()
        n.deploy(document("echo $(date +%s) >> /data/ran", rules="on_loss: skip, overlap: allow", extra=KEEPER))
        keeper_is_ready(n)
        for role in ("scheduler", "scheduler", "runtime", "scheduler", "api"):
            ran = len(lines(n, "ran"))
            replaced(n, role)
            wait_for(lambda: len(lines(n, "ran")) > ran, "it goes on")
            once(n)
        # All of node: what it did not see is made up for by one run.
        os.kill(n.process.pid, signal.SIGKILL)
        n.process.wait()
        time_down = int(time.time())
        wait_for(lambda: time.time() > time_down + 5, "some times go by")
        n.start()
        wait_for(n.ready, "the node is back")
        wait_for(lambda: [f for f in firings(n) if f["skipped"] >= 1], "what was passed over is counted")
        once(n)
        # Each run wrote one line: none was run twice for its time.
        n.cli("cron", "disable", NAME)
        wait_for(lambda: all(r["state"] in ("stopped", "failed") for r in runs(n)), "all have ended")
        made = max(r["index"] for r in runs(n))
        check(len(lines(n, "ran")) <= made, "no run began twice")


def test_dies_between_record_and_start():
    for rules, state in (("on_loss: skip", "lost"), ("on_loss: retry", "ok")):
        with Node() as n:
            n.import_image()
            n.deploy(document("echo x >> /data/ran", schedule=LATER, rules=rules, extra=KEEPER))
            keeper_is_ready(n)
            wait_for(lambda: cron(n)["next"], "the schedule is known")
            n.stop()
            at = int(time.time()) - 60
            with store(n) as db:
                columns = [c[1] for c in db.execute("PRAGMA table_info(firings)") if c[1] != "id"]
                row = {c: "" if c.startswith("reason_w") or c == "reason_fix" else 0 for c in columns}
                service, = db.execute("SELECT service FROM crons").fetchone()
                row.update(version=1, service=service, at_s=at, state=1, reason=1, recorded_wall_ns=at * 10**9)
                db.execute(f"INSERT INTO firings({','.join(row)}) VALUES({','.join('?' * len(row))})",
                           list(row.values()))
            n.start()
            keeper_is_ready(n)
            wait_for(lambda: [f for f in firings(n) if f["state"] == state], f"it is {state}")
            equal(lines(n, "ran"), ["x"] if state == "ok" else [])
            said = n.cli("explain", NAME).stdout
            equal("ended before its run began" in said, state == "lost", said)
            # And not once more by another death.
            replaced(n, "scheduler")
            wait_for(lambda: cron(n)["next"], "it has looked")
            equal(lines(n, "ran"), ["x"] if state == "ok" else [])
            equal(len(firings(n)), 1)


def test_machine_ends_under_a_run():
    for rules, count in (("on_loss: skip", 1), ("on_loss: retry", 2)):
        with Node() as n:
            n.import_image()
            n.deploy(document(WAITS, rules=rules, extra=KEEPER))
            keeper_is_ready(n)
            wait_for(lambda: lines(n, "ran"), "it runs")
            due = [r for r in runs(n) if r["due"]][0]["due"]
            # No other time may come in between.
            n.deploy(document(WAITS, schedule=LATER, rules=rules, extra=KEEPER))
            equal([r["due"] for r in runs(n) if r["state"] == "starting"], [due], "it goes on")
            restarted(n)
            with another_boot(n):
                n.start()
                keeper_is_ready(n)
                if count == 1:
                    wait_for(lambda: [f for f in firings(n) if (f["at"], f["state"]) == (due, "lost")], "it is lost")
                else:
                    wait_for(lambda: [r for r in runs(n) if r["due"] == due and (r["container"] or {}).get("state") ==
                                      "running"], "it runs again")
                    equal([f["tries"] for f in firings(n) if f["at"] == due], [1])
                equal(len([r for r in runs(n) if r["due"] == due]), count)
                let_go(n)


def test_missed():
    with Node() as n:
        n.import_image()
        n.deploy(document("true", rules="catch_up: none"))
        wait_for(lambda: [f for f in firings(n) if f["state"] == "ok"], "it runs")
        n.deploy(document("true", schedule="* * * * * * *", rules="catch_up: none"))
        n.stop()
        # One more is due right after the start: whether some were passed over stands in the history.
        down = time.time()
        wait_for(lambda: time.time() > down + 10, "times go by")
        n.start()
        wait_for(n.ready, "the node is back")
        seen = wait_for(lambda: [f for f in firings(n) if f["skipped"] >= 8], "they are counted")
        check(all(f["reason"] != "caught_up" for f in seen), seen)
        check([e for e in events(n, "cron.passed") if "went by" in e["text"]], "and told")
        once(n)


def test_refused():
    with Node() as n:
        n.import_image()
        r = n.deploy(document("true", schedule="*/2 * * 32 * * *"), status=2)
        check("services.tidy.schedule" in r.stderr and '"32" is wrong for the day of month' in r.stderr, r.stderr)
        r = n.deploy(document("true", rules="overlap: wait"), status=2)
        check("is not one of forbid, allow, replace" in r.stderr, r.stderr)
        equal(n.cli_json("cron", "ls")["items"], [])
        equal(n.get("/v1/crons/shop/tidy/enable", "POST", raw=True)[0], 404)


if __name__ == "__main__":
    zl.main({k: v for k, v in globals().items() if k != "restarted"})
