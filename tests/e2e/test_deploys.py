# SPDX-License-Identifier: Apache-2.0
"""Deploys that lose nothing: order of starting, history, roll-back, init steps, conditions, explain."""

import contextlib
import os
import signal
import time

import zl
from test_survive import restarted
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


def pair(db_delay="2000", condition="healthy", timeout="40s", on_timeout="fail", db_args=()):
    args = ", ".join(f'"{a}"' for a in ("-d", db_delay, *db_args))
    return f"""version: v1
deployment: shop
services:
  db:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/server", {args}] }}
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


def all_ready(n, count):
    items = n.cli_json("ps")["items"]
    return len(items) == count and all(r["state"] == "ready" for r in items)


def settled(n):
    wait_for(lambda: all(o["state"] != "running" for o in n.get("/v1/operations")["items"]), "nothing is under way")


def test_depends_keeps_the_order():
    with node() as n:
        n.deploy(pair(db_delay="4000"), "--detach")
        wait_for(lambda: "it waits for db to be healthy" in n.cli("ps").stdout, "ps says what web waits for")
        check("it waits for db to be healthy" in n.cli("status").stdout, n.cli("status").stdout)
        wait_for(lambda: all_ready(n, 2), "both are ready")
        seen = order(n, "replica.ready", "replica.started")
        check(seen.index(("replica.ready", "db")) < seen.index(("replica.started", "web")), seen)

        # A stop and a start, in the same order.
        settled(n)
        n.cli("stop", "shop", "-t", "1s")
        before = len(events(n))
        n.cli("start", "shop")
        seen = [(e["type"], e.get("service")) for e in events(n)[before:]]
        check(seen.index(("replica.ready", "db")) < seen.index(("replica.started", "web")), seen)
        check(("depends.waiting", "web") in seen, seen)

        # And after the machine was restarted.
        before = len(events(n))
        restarted(n)
        n.start()
        held = wait_for(lambda: [r for r in n.cli_json("ps")["items"] if r["service"] == "web" and r["reason"]],
                        "web waits")[0]
        equal(held["state"], "pending")
        equal(held["conditions"][0], {"type": "Scheduled", "status": False, "reason": "conflict",
                                      "message": "it waits for db to be healthy"})
        wait_for(lambda: all_ready(n, 2), "both are ready again")
        seen = [(e["type"], e.get("service")) for e in events(n)[before:]]
        check(seen.index(("replica.ready", "db")) < seen.index(("replica.started", "web")), seen)


def test_depends_in_vain():
    with node() as n:
        r = n.deploy(pair(db_args=["-p", "9"], timeout="3s"), status=None)
        equal(r.returncode, 1, r.stderr)
        check("web waited for db in vain" in r.stderr, r.stderr)
        # The same that only warns: web comes up, db decides.
        r = n.deploy(pair(db_args=["-p", "9"], timeout="1s", on_timeout="warn"), status=None)
        check(("depends.late", "web") in order(n, "depends.late"), order(n, "depends.late"))
        n.deploy(pair(db_args=["-p", "9"], condition="started"), "--detach")
        wait_for(lambda: ("replica.ready", "web") in order(n, "replica.ready"), "web needs db only started")


if __name__ == "__main__":
    zl.main({k: v for k, v in globals().items() if k != "restarted"})
