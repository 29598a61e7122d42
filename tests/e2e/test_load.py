# SPDX-License-Identifier: Apache-2.0
"""Death, upgrade and reload of processes while clients ask: who loses what, counted."""

import collections
import json
import os
import signal
import subprocess

import zl
from load import Load, WebSocket
from zl import Node, check, equal, service, wait_for

ROLES = ["dataplane", "overlay", "signer", "fetch", "unpack", "runtime", "probe", "scheduler", "observability", "api"]
ROUNDS = 3
CLIENTS = 4


def started(replicas=2):
    node = Node()
    node.start()
    node.import_image()
    node.deploy(service(replicas=replicas))
    return node


def pids(node):
    rows = node.cli_json("ps")["items"]
    return sorted((r["container"] or {}).get("pid") or 0 for r in rows)


def gone(node, pid):
    """The process has ended and its successor is at work."""
    return pid not in node.processes().values() and node.ready()


def more(load, count=50):
    """Some requests later."""
    target = load.done + count
    wait_for(lambda: load.done >= target, f"{count} more requests")


def generation(node):
    rows = json.loads(node.get("/readyz", raw=True)[1])["processes"]
    return {p["role"]: p["generation"] for p in rows}


def upgraded(node, before):
    """Every role runs in a newer generation, and none is leaving or starting."""
    if not node.ready():
        return False
    rows = json.loads(node.get("/readyz", raw=True)[1])["processes"]
    last = max(before.values())
    return all(p["generation"] > last or p["state"] == "leaving" for p in rows) and any(
        p["role"] == "proxy" and p["state"] == "up" for p in rows)


def test_roles_killed_again_and_again():
    node = started()
    try:
        containers = pids(node)
        with Load(node, CLIENTS) as load:
            more(load)
            ws = WebSocket(load)
            for _ in range(ROUNDS):
                for role in ROLES:
                    old = node.kill(role)
                    wait_for(lambda: gone(node, old), f"{role} is back")
                    check(ws.echoes(), f"the websocket ended when {role} was killed")
            more(load)
        print(f"# {ROUNDS} x {len(ROLES)} roles killed: {load.text()}")
        equal(load.failed, [], "requests that failed though no proxy was killed")
        equal(pids(node), containers, "containers")
        ws.close()
    finally:
        node.destroy()


def test_workers_killed_again_and_again():
    node = started()
    try:
        kills = 0
        with Load(node, CLIENTS) as load:
            more(load)
            for _ in range(ROUNDS):
                for index in [i for role, i in node.processes() if role == "proxy"]:
                    before = len(load.failed)
                    old = node.kill("proxy", index)
                    kills += 1
                    wait_for(lambda: gone(node, old), "the worker is back")
                    more(load)
                    check(len(load.failed) - before <= CLIENTS,
                          "more failed than one request of each client:", load.failed[before:])
        print(f"# {kills} workers killed: {load.text()}")
        check(len(load.failed) <= kills * CLIENTS, load.failed)
    finally:
        node.destroy()


def test_node_killed_again_and_again():
    """Connections stay, new ones wait: only handshakes that were under way may fail."""
    node = started()
    try:
        containers = pids(node)
        with Load(node, CLIENTS) as load:
            more(load)
            for _ in range(ROUNDS):
                before = len(load.failed)
                os.kill(node.process.pid, signal.SIGKILL)
                node.process.wait()
                node.start()
                more(load)
                check(len(load.failed) - before <= CLIENTS, load.failed[before:])
        print(f"# node killed {ROUNDS} times: {load.text()}")
        equal(pids(node), containers, "containers")
    finally:
        node.destroy()


def test_everything_killed_under_load():
    """Nobody is there to answer for a moment; from the new node on every request is answered, by the same containers."""
    node = started()
    try:
        containers = pids(node)
        with Load(node, CLIENTS) as load:
            more(load)
            for pid in {node.process.pid, *node.processes().values()}:
                os.kill(pid, signal.SIGKILL)
            node.process.wait()
            node.start()
            wait_for(lambda: node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}", status=None) == "200",
                     "served again")
            more(load)  # those that had begun before have their end
            before = len(load.failed)
            more(load, 200)
        print(f"# everything killed: {load.text()}")
        equal(load.failed[before:], [], "requests that failed with the new node")
        equal(pids(node), containers, "containers")
    finally:
        node.destroy()


def test_upgrade_under_load():
    node = started()
    try:
        containers = pids(node)
        with Load(node, CLIENTS) as load:
            more(load)
            ws = WebSocket(load)
            for _ in range(ROUNDS):
                before = generation(node)
                node.process.send_signal(signal.SIGUSR2)
                wait_for(lambda: upgraded(node, before), "every process was replaced")
                check(ws.echoes(), "the websocket ended in an upgrade")
                more(load)
        print(f"# {ROUNDS} upgrades: {load.text()}")
        equal(load.failed, [], "requests that failed in an upgrade")
        equal(pids(node), containers, "containers")
        ws.close()
    finally:
        node.destroy()


def test_upgrade_under_h2_load():
    """Eight streams at a time over HTTP/2: GOAWAY says which of them to ask again, curl does."""
    node = started()
    try:
        client = subprocess.Popen(
            ["curl", "-sS", "--no-progress-meter", "--http2", "--parallel", "--parallel-max", "8",
             "--cacert", node.authority(),
             "--resolve", "web.test:8443:127.0.0.1", "--max-time", "60", "-o", "/dev/null",
             "-w", "%{http_version} %{http_code}\n", "https://web.test:8443/slow/20?[1-1500]"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2):
            before = generation(node)
            node.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: upgraded(node, before), "every process was replaced")
        check(client.poll() is None, "the requests ended before the upgrades did")
        lines = collections.Counter(client.communicate(timeout=120)[0].splitlines())
        print("#", dict(lines))
        equal(lines, {"2 200": 1500}, "answers")
    finally:
        node.destroy()


def test_reload_under_load():
    node = started()
    try:
        with Load(node, CLIENTS) as load:
            more(load)
            ws = WebSocket(load)
            for turn in range(2 * ROUNDS):
                node.write_config('listen: { http: ["127.0.0.1:8080"], https: ["127.0.0.1:8443", "127.0.0.1:8444"] }\n'
                                  if turn % 2 == 0 else "")
                node.process.send_signal(signal.SIGHUP)
                second = lambda: node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}",
                                           status=None, port=8444) == "200"
                wait_for(lambda: second() == (turn % 2 == 0), "the new configuration is in force")
                check(ws.echoes(), "the websocket ended in a reload")
                more(load)
        print(f"# {2 * ROUNDS} reloads: {load.text()}")
        equal(load.failed, [], "requests that failed in a reload")
        ws.close()
    finally:
        node.destroy()


if __name__ == "__main__":
    zl.main(globals())
