# SPDX-License-Identifier: Apache-2.0
"""The end of containers: killed after the grace, removed with their volumes; and what they are started with."""

import glob
import os

import zl
from zl import Node, check, equal, wait_for

STUBBORN = """version: v1
deployment: shop
services:
  web:
    image: { name: "test:1" }
    command: { entrypoint: ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"] }
    scale: { mode: fixed, replicas: 2 }
    stop_grace_period: 1s
"""

WITH_VOLUME = """version: v1
deployment: shop
services:
  web:
    image: { name: "test:1" }
    scale: { mode: fixed, replicas: 2 }
    storage:
      - { type: named, name: kept, target: /kept }
"""

WITH_ENV = """version: v1
deployment: shop
services:
  web:
    image: { name: "test:1" }
    env: { GREETING: "to $E:ZLAYER_TEST_WHO" }
"""


def monitors(node):
    return [p for p in node.pids() if open(f"/proc/{p}/comm").read().strip() == "zlayer-monitor"]


def no_monitor_was_lost(node):
    with open(node.log) as f:
        check("a monitor is gone" not in f.read(), "a monitor ended without its record")


def test_killed_after_the_grace():
    with Node() as node:
        node.import_image()
        node.deploy(STUBBORN)
        equal(len(monitors(node)), 2, "monitors")
        node.cli("stop", "shop")
        for r in node.cli_json("ps")["items"]:
            equal((r["state"], r["container"]["exit_signal"]), ("stopped", 9), r["name"])
        wait_for(lambda: not monitors(node), "the monitors have ended")
        node.cli("start", "shop")
        node.cli("rm", "shop", "--yes")
        wait_for(lambda: not monitors(node), "the monitors have ended")
        no_monitor_was_lost(node)


def test_killed_while_runtime_dies():
    """The order to stop is the monitor's: it is kept though its runtime dies before the end of the grace."""
    with Node() as node:
        node.import_image()
        node.deploy(STUBBORN)
        node.cli("stop", "shop", "--detach")
        old = node.kill("runtime")
        wait_for(lambda: old not in node.processes().values() and node.ready(), "runtime is back")
        wait_for(lambda: all(r["state"] == "stopped" for r in node.cli_json("ps")["items"]), "both have stopped")
        for r in node.cli_json("ps")["items"]:
            equal(r["container"]["exit_signal"], 9, r["name"])
        no_monitor_was_lost(node)
        node.cli("rm", "shop", "--yes")


def test_volumes_go_when_asked():
    with Node() as node:
        node.import_image()
        volume = os.path.join(node.data, "volumes", "shop", "kept")
        node.deploy(WITH_VOLUME)
        equal(node.cli("exec", "shop/web", "--", "sh", "-c", "echo 1 > /kept/file").returncode, 0)
        node.cli("rm", "shop", "--yes")
        check(os.path.exists(volume + "/file"), "a volume stays when its deployment goes")
        node.deploy(WITH_VOLUME)
        node.cli("rm", "shop", "--volumes", "--yes")
        check(not os.path.exists(os.path.dirname(volume)), "volumes that were to go:",
              glob.glob(node.data + "/volumes/*/*"))


def test_environment_of_the_node():
    os.environ["ZLAYER_TEST_WHO"] = "everybody"
    try:
        node = Node("node: { name: edge-1, env: [ZLAYER_TEST_WHO, ZLAYER_TEST_NOBODY] }\n")
        with node:
            node.import_image()
            node.deploy(WITH_ENV)
            equal(node.cli("exec", "shop/web", "--", "sh", "-c", "echo $GREETING").stdout, "to everybody\n")
            out = node.deploy(WITH_ENV.replace("_WHO", "_NOBODY"), status=None)
            check(out.returncode != 0, "a variable that is not set")
            for word in ("services.web.env.GREETING", "ZLAYER_TEST_NOBODY"):
                check(word in out.stdout + out.stderr, word, "is not named:", out.stdout, out.stderr)
            out = node.deploy(WITH_ENV.replace("_WHO", "_OTHER"), status=None)
            check(out.returncode != 0 and "node.env" in out.stdout + out.stderr, out.stdout, out.stderr)
    finally:
        del os.environ["ZLAYER_TEST_WHO"]


if __name__ == "__main__":
    zl.main(globals())
