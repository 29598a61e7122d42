# SPDX-License-Identifier: Apache-2.0
"""Deploys that lose nothing: order of starting, history, roll-back, init steps, conditions, explain."""

import contextlib
import json
import os
import signal
import time

import zl
from test_survive import another_boot, restarted
from zl import Node, check, equal, service, wait_for

HEALTH = ("health: { start_grace: 1s, interval: 1s, timeout: 1s, retries: 2, "
          "check: { type: http, url: /health } }")


@contextlib.contextmanager
def node(config=""):
    with Node(config) as n:
        n.import_image()
        yield n


def rows(n, command="ps"):
    return {r["name"]: r for r in n.cli_json(command, "-a")["items"]} if command == "ps" else None


def events(n, prefix=""):
    return [e for e in n.cli_json("events")["items"] if e["type"].startswith(prefix)]


def order(n, *types):
    """(type, service) in the order of time."""
    return [(e["type"], e.get("service")) for e in events(n) if e["type"] in types]


def pair(db_gate=False, condition="healthy", timeout="40s", on_timeout="fail", db_args=()):
    """web depends on db. db_gate: db listens when open_gate() said so, each time that it starts."""
    program = ["/bin/sh", "-c", 'until test -e /tmp/open; do sleep 0.1; done; exec /bin/server "$@"'] if db_gate \
        else ["/bin/server"]
    args = json.dumps([*program, *db_args])
    return f"""version: v1
deployment: shop
services:
  db:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: {args} }}
    endpoints: [ {{ name: sql, protocol: http, port: 8080 }} ]
    stop_grace_period: 1s
    {HEALTH}
  web:
    image: {{ name: "test:1" }}
    endpoints: [ {{ name: https, protocol: https, port: 443, target_port: 8080, host: web.test, expose: public }} ]
    depends: [ {{ service: db, condition: {condition}, timeout: {timeout}, on_timeout: {on_timeout} }} ]
    stop_grace_period: 1s
    {HEALTH}
"""


def open_gate(n, db="shop/db"):
    wait_for(lambda: n.cli("exec", db, "--", "touch", "/tmp/open", status=None).returncode == 0, "db runs")


def all_ready(n, count):
    items = n.cli_json("ps")["items"]
    return len(items) == count and all(r["state"] == "ready" for r in items)


def settled(n):
    def still():
        status, data = n.get("/v1/operations", raw=True)
        return status == 200 and all(o["state"] != "running" for o in json.loads(data)["items"])
    wait_for(still, "nothing is under way")


def test_depends_keeps_the_order():
    with node() as n:
        n.deploy(pair(db_gate=True), "--detach")
        wait_for(lambda: "it waits for db to be healthy" in n.cli("ps").stdout, "ps says what web waits for")
        check("it waits for db to be healthy" in n.cli("status").stdout, n.cli("status").stdout)
        open_gate(n)
        wait_for(lambda: all_ready(n, 2), "both are ready")
        seen = order(n, "replica.ready", "replica.started")
        check(seen.index(("replica.ready", "db")) < seen.index(("replica.started", "web")), seen)

        # A stop and a start, in the same order.
        settled(n)
        n.cli("stop", "shop", "-t", "1s")
        before = len(events(n))
        n.cli("start", "shop", "--detach")
        open_gate(n)
        settled(n)
        seen = [(e["type"], e.get("service")) for e in events(n)[before:]]
        check(seen.index(("replica.ready", "db")) < seen.index(("replica.started", "web")), seen)
        check(("depends.waiting", "web") in seen, seen)

        # And after the machine was restarted.
        before = len(events(n))
        restarted(n)
        with another_boot(n):
            n.start()
            held = wait_for(lambda: [r for r in n.cli_json("ps")["items"] if r["service"] == "web" and r["reason"]],
                            "web waits")[0]
            equal(held["state"], "pending")
            equal(held["conditions"][0], {"type": "Scheduled", "status": False, "reason": "conflict",
                                          "message": "it waits for db to be healthy"})
            open_gate(n)
            wait_for(lambda: all_ready(n, 2), "both are ready again")
            wait_for(lambda: ("replica.ready", "web") in [(e["type"], e.get("service")) for e in events(n)[before:]], "the event")
            seen = [(e["type"], e.get("service")) for e in events(n)[before:]]
            check(seen.index(("replica.ready", "db")) < seen.index(("replica.started", "web")), seen)


def test_depends_in_vain():
    with node() as n:
        r = n.deploy(pair(db_args=["-p", "9"], timeout="3s"), status=None)
        equal(r.returncode, 1, r.stderr)
        check("web waited for db in vain" in r.stderr, r.stderr)
        # The same that only warns: web comes up, db decides.
        with n.impatient():
            r = n.deploy(pair(db_args=["-p", "9"], timeout="1s", on_timeout="warn"), status=None)
        check(("depends.late", "web") in order(n, "depends.late"), order(n, "depends.late"))
        n.deploy(pair(db_args=["-p", "9"], condition="started"), "--detach")
        wait_for(lambda: ("replica.ready", "web") in order(n, "replica.ready"), "web needs db only started")


def page(n):
    """What answers at web.test, by the argument of its server."""
    return n.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}", status=None)


def image_of(n):
    return {i["service"]: i["digest"] for i in
            [r for r in n.get("/v1/deployments/shop/revisions")["items"] if r["serving"]][0]["images"]}["web"]


def test_history_diff_rollback():
    with node() as n:
        n.deploy(service(replicas=2))
        first = image_of(n)
        n.deploy(service(replicas=2))
        equal(n.cli("diff", os.path.join(n.folder, "test.zlayer.yaml")).stdout, "", "nothing differs after a deploy")

        with open(os.path.join(n.folder, "root", "marker"), "w") as f:
            f.write("second")
        n.import_image("test:2")
        path = os.path.join(n.folder, "other.zlayer.yaml")
        with open(path, "w") as f:
            f.write(service(replicas=2, image="test:2"))
        r = n.cli("diff", path, "--exit-code", status=3)
        equal(r.stdout, "  ~ web image test:1 -> test:2\n")
        n.deploy(service(replicas=2, image="test:2"))
        second = image_of(n)
        check(first != second, first, second)
        equal(n.cli("exec", "shop/web", "--", "cat", "/marker").stdout, "second")

        # A failed one is not what a roll-back goes to.
        with n.impatient():
            n.deploy(service(replicas=2, image="test:2").replace("url: /health", "url: /status/500"), status=6)
        r = n.cli("rollback", "--dry-run")
        check("Nothing was changed" in r.stdout and "image test:2 -> test:1" in r.stderr, r.stdout, r.stderr)
        n.cli("rollback", "shop")
        equal(image_of(n), first)
        check(n.cli("exec", "shop/web", "--", "test", "-e", "/marker", status=None).returncode == 1, "the old image")
        equal(page(n), "200")

        history = n.cli("history", "shop").stdout.splitlines()
        equal([line.split()[0:2] for line in history[1:]],
              [["4", "*"], ["3", "rolled_back"], ["2", "ok"], ["1", "ok"]])
        check("rollback to 1" in history[1] and "root" in history[1] and "test:1@" + first[7:19] in history[1], history)
        equal([r["copy_of"] for r in n.cli_json("history", "shop")["items"]], [None, None, None, 1])
        n.cli("rollback", "--to", "2")
        equal(image_of(n), second)
        n.cli("rollback", "--to", "77", status=4)
        n.deploy(service(replicas=2), "--expect", "2", status=7)

        # Drift: by hand.
        n.deploy(service(replicas=2, image="test:2"))
        n.cli("scale", "shop/web=3", "--force")
        r = n.cli("diff", os.path.join(n.folder, "test.zlayer.yaml"), "--exit-code", status=3)
        check("! web runs 3 replicas, set by hand; the document says 2" in r.stdout, r.stdout)
        # A deploy of the same document puts the size back, and says so; another one then has nothing to do.
        before = {r["id"] for r in n.cli_json("ps")["items"]}
        check("! web runs 3 replicas" in n.deploy(service(replicas=2, image="test:2")).stderr, "what it does is said")
        after = {r["id"] for r in n.cli_json("ps")["items"]}
        equal((len(after), after < before), (2, True), "two of the three stay as they are")
        equal(n.cli_json("status")["deployments"][0]["services"][0]["desired"], 2)
        check("unchanged" in n.deploy(service(replicas=2, image="test:2")).stdout, "and then nothing")
        # With mode manual it is the document that says so.
        manual = service(replicas=2, image="test:2").replace("mode: fixed", "mode: manual")
        n.deploy(manual)
        n.cli("scale", "shop/web=3")
        check("unchanged" in n.deploy(manual).stdout, "what was set by hand stays")
        equal(n.cli_json("status")["deployments"][0]["services"][0]["desired"], 3)
        n.deploy(service(replicas=2, image="test:2"))
        n.cli("stop", "shop")
        check("! web is stopped" in n.cli("diff", os.path.join(n.folder, "test.zlayer.yaml")).stdout)
        n.cli("restart", "shop", status=7)
        n.cli("start", "shop")

        # A restart: other processes, the same revision.
        pids = {r["container"]["pid"] for r in n.cli_json("ps")["items"]}
        n.cli("restart", "shop/web")
        check(not pids & {r["container"]["pid"] for r in n.cli_json("ps")["items"]}, "other processes")
        equal(page(n), "200")


def test_rollback_without_a_registry():
    """The name means another image by now, everything unused was pruned: the old one is still there."""
    with node() as n:
        n.deploy(service())
        first = image_of(n)
        with open(os.path.join(n.folder, "root", "marker"), "w") as f:
            f.write("second")
        n.import_image("test:1")
        path = os.path.join(n.folder, "test.zlayer.yaml")
        check("~ web image test:1 (sha256:" in n.cli("diff", path, "--exit-code", status=3).stdout)
        n.deploy(service())
        check(image_of(n) != first, "another image")
        n.cli("image", "prune", "--yes")
        n.cli("rollback", "shop")
        equal(image_of(n), first)
        equal(page(n), "200")


def test_rollback_survives():
    """kill -9 of the scheduler, the runtime and the node in the middle of a roll-back."""
    with node() as n:
        n.deploy(service(replicas=2))
        n.deploy(service(replicas=2, extra="    env: { A: b }"))
        for victim in ("scheduler", "runtime", "node"):
            n.cli("rollback", "shop", "--detach")
            if victim == "node":
                os.kill(n.process.pid, signal.SIGKILL)
                n.process.wait()
                n.start()
            else:
                n.kill(victim)
            settled(n)
            wait_for(lambda: all_ready(n, 2), f"both are ready after {victim} was killed")
            done = n.get("/v1/operations")["items"]
            equal({o["state"] for o in done}, {"done"}, victim)
            equal(page(n), "200")


def test_pause_resume_abort():
    with node() as n:
        n.deploy(service())
        bad = service(extra="    update: { on_failure: pause }").replace("url: /health", "url: /status/500")
        with n.impatient():
            r = n.deploy(bad, status=None)
        check(r.returncode == 1 and "is paused" in r.stderr, r.returncode, r.stderr)
        equal(n.cli_json("status")["deployments"][0]["state"], "paused")
        equal(len(n.cli_json("ps")["items"]), 2, "both are there to be looked at")
        equal(page(n), "200")
        r = n.cli("rollout", "abort", "shop", status=6)
        check("was rolled back" in r.stderr or "is paused" in r.stderr, r.stderr)
        wait_for(lambda: all_ready(n, 1), "the old one is alone again")
        equal(n.cli_json("status")["deployments"][0]["state"], "stable")
        n.deploy(service(extra="    update: { monitor: 3s }\n    env: { A: b }"), "--detach")
        n.cli("rollout", "pause", "shop")
        equal(n.cli_json("status")["deployments"][0]["state"], "paused")
        n.cli("rollout", "resume", "shop")
        settled(n)
        equal(n.cli_json("status")["deployments"][0]["revision"], 3)


def test_up_and_down():
    with node() as n:
        folder = os.path.join(n.folder, "project")
        os.mkdir(folder)
        with open(os.path.join(folder, "zlayer.yaml"), "w") as f:
            f.write(service())
        here = os.getcwd()
        try:
            os.chdir(folder)
            zl_ = os.path.join(here, zl.PROGRAM) if not os.path.isabs(zl.PROGRAM) else zl.PROGRAM
            zl.run(zl_, "--socket", n.socket, "up")
            equal(page(n), "200")
            zl.run(zl_, "--socket", n.socket, "down", "-t", "1s", "--yes")
            equal(n.cli_json("ps")["items"], [])
        finally:
            os.chdir(here)


def address_of(n, name):
    return [r["container"]["address"] for r in n.cli_json("ps")["items"] if r["service"] == name][0]


def test_init_steps():
    with node() as n:
        # What the container's own hosts file says is found; the data base listens late.
        n.deploy(pair(db_gate=True).split("  web:")[0].replace("shop", "data"), "--detach")
        open_gate(n, "data/db")
        settled(n)
        address = address_of(n, "db")
        n.cli("stop", "data", "-t", "1s")
        n.cli("start", "data", "--detach")
        doc = f"""version: v1
deployment: shop
services:
  web:
    image: {{ name: "test:1" }}
    endpoints: [ {{ name: https, protocol: https, port: 443, target_port: 8080, host: web.test, expose: public }} ]
    stop_grace_period: 1s
    extra_hosts: {{ db.global: {address} }}
    storage: [ {{ type: tmpfs, target: /job, size: 1Mi }} ]
    init:
      steps:
        - {{ id: wait-db, uses: init.wait_tcp, with: {{ host: db.global, port: 8080 }}, timeout: 40s }}
        - {{ id: ask-db, uses: init.wait_http, with: {{ url: "http://db.global:8080/status/204?x=1", expect_status: 204 }} }}
        - {{ id: count, uses: init.run, with: {{ command: "echo try >> /job/tries; test $(wc -l < /job/tries) = 3" }}, retry: 5 }}
        - {{ id: lame, uses: init.run, with: {{ command: ["/bin/false"] }}, on_failure: warn }}
        - {{ id: hang, uses: init.run, with: {{ command: "sleep 100 & sleep 100" }}, timeout: 1s, on_failure: continue }}
        - {{ id: user, uses: init.run, with: {{ command: "id -u > /job/uid; hostname >> /job/uid; cat /job/tries" }} }}
    {HEALTH}
"""
        n.deploy(doc, "--detach")
        wait_for(lambda: "init step wait-db runs" in n.cli("-o", "wide", "ps", "shop").stdout, "the first step waits")
        open_gate(n, "data/db")
        settled(n)
        equal(n.cli("exec", "shop/web", "--", "cat", "/job/tries", "/job/uid").stdout, "try\n" * 3 + "0\nweb-1\n")
        seen = [e["text"] for e in events(n, "init.") if e["service"] == "web"]
        for text in ("web.1: init step wait-db is over", "web.1: init step ask-db is over",
                     "web.1: init step lame failed; it goes on without", "web.1: init step user is over"):
            check(text in seen, seen)
        check("try" in n.cli("logs", "shop/web").stdout, "output of steps is in the log")
        equal(n.cli("exec", "shop/web", "--", "sh", "-c", "ps | grep -c [s]leep", status=None).stdout.strip(), "0",
              "nothing of a step is left")
        init = [r["container"]["init"] for r in n.cli_json("ps")["items"] if r["service"] == "web"][0]
        equal(init, {"steps": 6, "done": 6, "step": None})


def test_init_step_fails():
    with node() as n:
        good = service()
        n.deploy(good)
        fail = '{ id: migrate, uses: init.run, with: { command: "echo no such table >&2; exit 3" } }'
        r = n.deploy(good + f"    init: {{ steps: [ {fail} ] }}\n", status=6)
        check('init step "migrate" failed' in r.stderr and "it ended with status 3: no such table" in r.stderr, r.stderr)
        equal(page(n), "200")
        wait = "{ id: wait, uses: init.wait_tcp, with: { host: nowhere.invalid, port: 1 }, timeout: 2s }"
        r = n.deploy(good + f"    init: {{ steps: [ {wait} ] }}\n", status=6)
        check('init step "wait" failed' in r.stderr and "did not end within 2 s" in r.stderr, r.stderr)

        # While a step runs it is named; a stop ends it at once.
        slow = '{ id: slow, uses: init.run, with: { command: "sleep 1000" } }'
        n.deploy(good.replace("shop", "other").replace("web.test", "other.test") +
                 f"    init: {{ steps: [ {slow} ] }}\n", "--detach")
        wait_for(lambda: "init step slow runs (1 of 1)" in n.cli("-o", "wide", "ps", "other").stdout, "ps names the step")
        n.kill("runtime")
        n.kill("scheduler")
        wait_for(n.ready, "all are back")
        wait_for(lambda: "init step slow runs (1 of 1)" in n.cli("-o", "wide", "ps", "other").stdout, "still the same step")
        begin = time.monotonic()
        n.cli("rm", "other", "--yes", "-t", "60s")
        check(time.monotonic() - begin < 50, "a stop ends a step")


def test_init_failure_backs_off():
    with node() as n:
        doc = service() + """    init: { steps: [ { id: late, uses: init.run, with: { command: "date +%s >> /data/t; test $(wc -l < /data/t) = 4" } } ] }
    errors: { on_init_failure: { action: backoff } }
    storage: [ { type: named, name: d, target: /data } ]
"""
        n.deploy(doc)
        times = [int(x) for x in n.cli("exec", "shop/web", "--", "cat", "/data/t").stdout.split()]
        gaps = [b - a for a, b in zip(times, times[1:])]
        equal(len(gaps), 3)
        check(gaps[0] >= 1 and gaps[1] >= 2 and gaps[2] >= 4, gaps)
        n.cli("rm", "shop", "--volumes", "--yes")
        r = n.deploy(doc.replace("backoff", "restart").replace("= 4", "= 9"), status=None)
        check('init step "late" failed' in r.stderr, r.stderr)
        equal(len(events(n, "replica.start_failed")), 3 + 4, "one and three more at once")


def explained(n, what, status=1):
    r = n.cli("explain", what, status=status)
    return r.stdout


def explained_unhealthy(n, what):
    """Its deploy has failed before the replica has had its grace and its tries."""
    wait_for(lambda: n.cli("explain", what, status=None).returncode == 1, f"{what} is unhealthy")
    return explained(n, what)


def test_explain():
    with node() as n:
        bad = service().replace("8080", "3000").replace("deployment: shop", "deployment: port")
        with n.impatient():
            n.deploy(bad.replace("web.test", "port.test"), "--no-rollback", status=None)
        said = explained_unhealthy(n, "port")
        check("FAIL" in said and "the process listens on port 8080" in said and "fix" in said, said)

        with n.impatient():
            n.deploy(service(deployment="local", host="local.test").replace(
                "    endpoints:", '    command: { entrypoint: ["/bin/server", "-a", "127.0.0.1"] }\n    endpoints:'),
                "--no-rollback", status=None)
        said = explained_unhealthy(n, "local/web")
        check("127.0.0.1" in said, said)

        n.deploy(service(deployment="crash", host="crash.test").replace(
            "    endpoints:", '    command: { entrypoint: ["/bin/sh", "-c", "echo no such table; exit 3"] }\n    endpoints:'),
            "--no-rollback", status=None)
        said = explained(n, "crash/web.1")
        check("status 3" in said and "no such table" in said, said)

        # Also when nothing is left of it.
        n.cli("rm", "crash", "--yes")
        r = n.deploy(service(deployment="crash", host="crash.test").replace(
            "    endpoints:", '    command: { entrypoint: ["/bin/sh", "-c", "echo no such table; exit 3"] }\n    endpoints:'),
            status=None)
        equal(r.returncode, 1, r.stdout + r.stderr)
        check("log    web.1  > no such table" in r.stderr and "--no-rollback" in r.stderr, r.stderr)
        n.deploy(service(deployment="crash", host="crash.test").replace(
            "    endpoints:", '    command: { entrypoint: ["/bin/sh", "-c", "echo no such table; exit 3"] }\n    endpoints:'),
            "--no-rollback", status=None)

        n.deploy(service(deployment="exec", host="exec.test").replace(
            "    endpoints:", '    command: { entrypoint: ["/bin/nothing"] }\n    endpoints:'), "--no-rollback", status=None)
        said = explained(n, "exec/web")
        check('cannot run "/bin/nothing"' in said, said)

        with n.impatient():
            n.deploy(service(deployment="answer", host="answer.test").replace("/health", "/status/404"), "--no-rollback",
                     status=None)
        said = explained_unhealthy(n, "answer")
        check("404" in said, said)

        n.deploy(service(deployment="image", host="image.test", image="absent:1").replace(
            "absent:1\"", "absent:1\", pull_policy: never"), "--no-rollback", status=None)
        said = explained(n, "image", status=None)
        check("absent:1" in said, said)

        n.deploy(service(deployment="init", host="init.test") +
                 '    init: { steps: [ { id: migrate, uses: init.run, with: { command: "exit 4" } } ] }\n',
                 "--no-rollback", status=None)
        said = explained(n, "init/web")
        check('init step "migrate" failed' in said and "status 4" in said, said)

        n.deploy(pair(db_args=["-p", "9"], timeout="300s").replace("shop", "waits").replace("web.test", "waits.test"),
                 "--detach")
        said = wait_for(lambda: [s for s in [n.cli("explain", "waits/web", status=None).stdout] if "waits for db" in s],
                        "web waits")[0]
        check("FAIL" in said, said)

        # URLs.
        n.deploy(service(deployment="good", host="good.test"))
        url = "https://good.test:8443/x?y"
        said = n.cli("explain", url).stdout
        check("FAIL" not in said and "route" in said and "in balancing" in said, said)
        equal(n.cli_json("explain", url)["good"], True)
        for address, text in ((url.replace("8443", "444"), "nothing of this node listens on port 444"),
                              (url.replace("good", "other"), "no deployment has the host other.test"),
                              ("http://good.test:8080/", "is served, but not over http"),
                              ("https://crash.test:8443/", "status 3")):
            check(text in explained(n, address), address, explained(n, address, status=None))
        n.deploy(service(deployment="inside", host="inside.test").replace("expose: public", "expose: internal"))
        said = explained(n, "https://inside.test:8443/")
        check("is not public" in said and "expose: public" in said, said)
        n.cli("scale", "good/web=0", "--force")
        check("has the size 0" in explained(n, url) and "scale good/web=1" in explained(n, url), "no replica")
        n.cli("scale", "good/web=1", "--force")
        n.cli("stop", "good", "-t", "1s")
        check("is stopped" in explained(n, url), "stopped")
        n.cli("explain", "nothing-there", status=4)
        n.cli("explain", "https:///", status=2)


if __name__ == "__main__":
    zl.main({k: v for k, v in globals().items() if k != "restarted"})
