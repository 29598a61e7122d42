# SPDX-License-Identifier: Apache-2.0
"""errors.on_panic: isolate. What crashed gets no requests, keeps its files and is open to exec, whatever ends around
it, until it is restarted, stopped or replaced."""

import os
import signal

import zl
from test_survive import restarted
from zl import Node, check, equal, service, wait_for

ISOLATE = "    errors: { on_panic: { action: isolate } }\n"
CODE = ("-o", "/dev/null", "-w", "%{http_code}")


def replicas(node):
    return {r["name"].rsplit("/", 1)[-1]: r for r in node.cli_json("ps")["items"]}


def pid_of(row):
    return (row["container"] or {}).get("pid") or 0


def is_isolated(node, name="web.1"):
    row = replicas(node).get(name)
    return row if row and row["state"] == "isolated" and pid_of(row) else None


def serves(node):
    return node.curl("/health", "web.test", *CODE, status=None) == "200"


def all_ready(node, count=2):
    rows = replicas(node).values()
    return len(rows) == count and all(r["state"] == "ready" for r in rows)


def crash(node, name="web.1"):
    node.cli("exec", f"shop/{name}", "--", "sh", "-c", "echo found >/tmp/evidence")
    node.cli("exec", f"shop/{name}", "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/exit/3", status=None)
    return wait_for(lambda: is_isolated(node, name), f"{name} is isolated")


def evidence(node, name="web.1"):
    return node.cli("exec", f"shop/{name}", "--", "cat", "/tmp/evidence").stdout.strip()


def check_isolated(node):
    row = wait_for(lambda: is_isolated(node), "web.1 is isolated")
    check("is isolated after exit status 3" in row["reason"]["what"], row)
    equal(evidence(node), "found")
    # Nothing but what holds the place runs there, and nobody replaces it.
    listed = node.cli("exec", "shop/web.1", "--", "ps", "-o", "pid,comm").stdout
    check("zlayer-hold" in listed and "server" not in listed, listed)
    equal(len(replicas(node)), 2, "replicas")
    equal({node.curl("/health", "web.test", *CODE) for _ in range(20)}, {"200"}, "answers")
    return row


def started():
    node = Node()
    node.start()
    node.import_image()
    node.deploy(service(replicas=2, extra=ISOLATE))
    wait_for(lambda: all_ready(node) and serves(node), "it serves")
    return node


def test_isolated():
    node = started()
    try:
        crash(node)
        first = check_isolated(node)
        equal(first["restarts"], 0)
        kept = [e for e in node.cli_json("events")["items"] if e["type"] == "replica.isolated"]
        equal(len(kept), 1, "events")
        check("exit status 3" in str(kept[0]), kept)
        check("isolated" in node.cli("status").stdout, node.cli("status").stdout)
        said = node.cli("explain", "shop/web", status=None).stdout
        check("isolated after exit status 3" in said, said)
        state = node.get("/v1/deployments/shop")["services"]
        equal((state[0]["state"], state[0]["ready"]), ("degraded", 1), "the service")
        equal(node.cli("logs", "shop/web.1").returncode, 0)

        for role in ("runtime", "scheduler"):
            old = node.kill(role)
            wait_for(lambda: old not in node.processes().values() and node.ready(), f"{role} is back")
            equal(pid_of(check_isolated(node)), pid_of(first), f"process 1 after {role} was killed")
        kept = [e for e in node.cli_json("events")["items"] if e["type"] == "replica.isolated"]
        equal(len(kept), 1, "events")

        # Even what holds the place may end.
        os.kill(pid_of(first), signal.SIGTERM)
        wait_for(lambda: (is_isolated(node) or {}).get("attempt", 0) > first["attempt"], "it is held again")
        check_isolated(node)

        node.cli("restart", "shop/web")
        wait_for(lambda: all_ready(node), "restart brings it back")
        crash(node, "web.1")
        node.cli("stop", "shop")
        node.cli("start", "shop")
        wait_for(lambda: all_ready(node), "start brings it back")
        crash(node, "web.2")
        node.cli("scale", "shop/web=1", "--force")
        wait_for(lambda: all_ready(node, 1), "one is left")
        crash(node, "web.1")
        node.cli("rm", "shop", "--yes")
        equal(node.cli_json("ps")["items"], [])
    finally:
        node.destroy()


def test_machine_restarted():
    node = started()
    try:
        crash(node)
        restarted(node)
        node.start()
        wait_for(lambda: serves(node), "the other one serves again")
        check_isolated(node)
        # A deploy of something else ends it.
        node.deploy(service(replicas=2, extra=ISOLATE + "    env: { NEW: revision }\n"))
        wait_for(lambda: all_ready(node), "the new revision is ready")
    finally:
        node.destroy()


def test_bad_revision():
    with Node("deploy: { monitor: 1s, health_timeout: 20s }\n") as node:
        node.import_image()
        node.import_image("bad:1", ("/bin/server", "-x", "0:3"))
        node.deploy(service(extra=ISOLATE))
        wait_for(lambda: serves(node), "it serves")
        before = {r["id"] for r in node.cli_json("ps")["items"]}
        r = node.deploy(service(image="bad:1", extra=ISOLATE), "--timeout", "120s", status=None)
        equal(r.returncode, 6, r.stdout + r.stderr)
        check("status 3" in r.stdout + r.stderr, r.stdout + r.stderr)
        wait_for(lambda: {i["id"] for i in node.cli_json("ps")["items"]} == before, "what was isolated is removed")
        equal(node.curl("/health", "web.test", *CODE), "200", "the old revision")


if __name__ == "__main__":
    zl.main(globals())
