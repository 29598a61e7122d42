# SPDX-License-Identifier: Apache-2.0
"""Death, upgrade and reload of processes while clients ask: who loses what, counted."""

import collections
import contextlib
import http.client
import json
import os
import signal
import subprocess
import urllib.request

import zl
from load import Load, Loop, WebSocket
from zl import Node, check, equal, service, wait_for

ROLES = ["dataplane", "overlay", "signer", "fetch", "unpack", "runtime", "probe", "scheduler", "observability", "api"]
ROUNDS = 3
CLIENTS = 4
H2_REQUESTS_MAX = 100000


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


def processes(node):
    status, body = node.get("/readyz", raw=True)
    check(status in (200, 503) and b'"processes"' in body, status, body)
    return json.loads(body)["processes"]


def generation(node):
    return {p["role"]: p["generation"] for p in processes(node)}


def upgraded(node, before):
    """Every role runs in a newer generation, and none is leaving or starting."""
    if not node.ready():
        return False
    rows = processes(node)
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


def scrape():
    """On a connection of its own; any status but 200 is a failure."""
    with urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=30) as answer:
        check(b"zlayer_build_info" in answer.read())


def test_upgrade_under_load():
    node = started()
    try:
        containers = pids(node)
        # A user of the API has SERVER_RATE requests a second; these ask for a quarter of that.
        with Load(node, CLIENTS) as load, Loop(scrape, 2) as scraped, \
                Loop(lambda: node.get("/v1/deployments"), 2, pause=0.02) as asked:
            more(load)
            ws = WebSocket(load)
            for _ in range(ROUNDS):
                before = generation(node)
                node.process.send_signal(signal.SIGUSR2)
                wait_for(lambda: upgraded(node, before), "every process was replaced")
                check(ws.echoes(), "the websocket ended in an upgrade")
                more(load)
        print(f"# {ROUNDS} upgrades: {load.text()}; {asked.done} requests of the API, {scraped.done} scrapes")
        equal(load.failed, [], "requests that failed in an upgrade")
        equal(asked.failed, [], "requests of the API that failed in an upgrade")
        equal(scraped.failed, [], "scrapes that failed in an upgrade")
        equal(pids(node), containers, "containers")
        ws.close()
    finally:
        node.destroy()


def test_upgrade_under_h2_load():
    """Eight streams at a time over HTTP/2, until the upgrades are over: GOAWAY says which of them to ask again, curl does."""
    node = started()
    said = os.path.join(node.folder, "answers")

    def answers():
        """Whole lines: the last one may be on its way."""
        with open(said) as f:
            return f.read().split("\n")[:-1]

    def many_more(client):
        check(client.poll() is None, "the requests ended before the upgrades did:", answers()[-3:])
        target = len(answers()) + 100
        wait_for(lambda: len(answers()) >= target, "100 more answers")

    try:
        with open(said, "w") as out, contextlib.ExitStack() as stack:
            # Of stderr every line is there when it is said.
            client = subprocess.Popen(
                ["curl", "-sS", "--no-progress-meter", "--http2", "--parallel", "--parallel-max", "8",
                 "--cacert", node.authority(),
                 "--resolve", "web.test:8443:127.0.0.1", "--max-time", "60", "-o", "/dev/null",
                 "-w", "%{stderr}%{http_version} %{http_code}\n", f"https://web.test:8443/slow/20?[1-{H2_REQUESTS_MAX}]"],
                stdout=subprocess.DEVNULL, stderr=out)
            stack.callback(client.wait)
            stack.callback(client.kill)
            for _ in range(2):
                many_more(client)
                before = generation(node)
                node.process.send_signal(signal.SIGUSR2)
                wait_for(lambda: upgraded(node, before), "every process was replaced")
            many_more(client)
        lines = collections.Counter(answers())
        print("#", dict(lines))
        equal(set(lines), {"2 200"}, "answers")
    finally:
        node.destroy()


def first_request(connection):
    """On a connection that has been there: its status, and whether the server ends it."""
    connection.request("GET", "/readyz" if isinstance(connection, zl.UnixConnection) else "/metrics")
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.will_close


def test_first_requests_after_the_upgrade_began():
    """Who was accepted by the old process and says nothing before it is to leave has its answer of it."""
    node = started()
    try:
        for _ in range(ROUNDS):
            before = generation(node)
            api = [zl.UnixConnection(node.socket) for _ in range(8)]
            metrics = [http.client.HTTPConnection("127.0.0.1", 9883, timeout=30) for _ in range(8)]
            used, stream = http.client.HTTPConnection("127.0.0.1", 9883, timeout=30), zl.UnixConnection(node.socket)
            for c in [*api, *metrics]:
                c.connect()
            equal(first_request(used), (200, False), "metrics, before")
            stream.request("GET", "/v1/events/stream")
            node.process.send_signal(signal.SIGUSR2)
            # An idle connection of the one ends first, and a stream of the other, when they have been told.
            equal(used.sock.recv(1), b"", "an idle connection")
            equal({first_request(c) for c in metrics}, {(200, True)}, "metrics, in the upgrade")
            stream.getresponse().read()
            equal({first_request(c) for c in api}, {(200, True)}, "the API, in the upgrade")
            for c in [*api, *metrics, used, stream]:
                c.close()
            wait_for(lambda: upgraded(node, before), "every process was replaced")
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
