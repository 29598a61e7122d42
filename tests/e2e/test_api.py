# SPDX-License-Identifier: Apache-2.0
"""The REST API on its socket: events that resume, conflicts, readiness, routes."""

import json
import threading

import zl
from zl import Node, UnixConnection, check, equal, service, wait_for


class Stream(threading.Thread):
    """Reads server-sent events until it is closed; ids and data in order."""

    def __init__(self, node, path, last=None):
        super().__init__(daemon=True)
        self.connection = UnixConnection(node.socket, timeout=60)
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(last)} if last else {})}
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        equal(self.response.status, 200, path)
        self.events = []
        self.start()

    def run(self):
        event = {}
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line.startswith(":"):
                    continue
                if line:
                    key, _, value = line.partition(":")
                    event[key] = value.lstrip()
                elif event:
                    self.events.append(event)
                    event = {}
        except (OSError, ValueError, AttributeError):
            pass  # closed, or the process that served it is gone

    def ids(self):
        return [int(e["id"]) for e in self.events if "id" in e]


def test_events_resume_without_gap_or_duplicate():
    with Node() as node:
        first = Stream(node, "/v1/events/stream?since=0")
        node.import_image()
        node.deploy(service(replicas=2))
        wait_for(lambda: len(first.ids()) >= 5, "events arrive while they happen")
        node.kill("api")  # the stream ends; nothing of what it told is lost
        wait_for(lambda: not first.is_alive(), "the stream ended")
        wait_for(node.ready, "api is back")
        node.kill("scheduler")
        wait_for(node.ready, "scheduler is back")
        seen = first.ids()
        second = Stream(node, "/v1/events/stream", last=seen[-1])
        node.cli("rm", "shop", "--yes")
        total = [e["id"] for e in node.get("/v1/events?since=0")["items"]]
        wait_for(lambda: len(seen + second.ids()) >= len(total), "all events arrived")
        equal(seen + second.ids(), total, "ids over both streams")
        equal(total, list(range(total[0], total[0] + len(total))), "ids grow by one")


def test_conflict_and_dry_run():
    with Node() as node:
        node.import_image()
        document = service()
        node.deploy(document)
        status, body = node.get("/v1/deployments/shop", "PUT", document, {"If-Match": '"99"'}, raw=True)
        equal(status, 412, body)
        problem = json.loads(body)
        check({"type", "title", "status", "detail", "code"} <= set(problem), problem)
        plan = node.get("/v1/deployments/shop?dry_run=true", "PUT", service(replicas=2))
        check(plan["changes"], plan)
        equal(len(node.cli_json("ps")["items"]), 1, "a dry run changes nothing")
        status, body = node.get("/v1/deployments/shop", "PUT", document.replace("image:", "imagee:"), raw=True)
        equal(status, 400, body)
        check(json.loads(body)["diagnostics"], body)


def test_readiness_is_true():
    """A process that dies again and again waits longer before each start: that is seen as not ready."""
    with Node() as node:
        equal(node.get("/readyz", raw=True)[0], 200)
        for _ in range(20):
            node.kill("overlay")
            seen = set()
            for _ in range(200):
                seen.add(node.get("/readyz", raw=True)[0])
                if seen == {200, 503}:
                    break
            if 503 in seen:
                break
        check(503 in seen, "not ready while a process is away")
        wait_for(node.ready, "ready again")


def test_a_process_that_hangs_is_replaced():
    with Node() as node:
        pid = node.processes()[("overlay", 0)]
        zl.os.kill(pid, zl.signal.SIGSTOP)
        wait_for(lambda: node.processes().get(("overlay", 0), pid) != pid, "it was replaced")
        wait_for(node.ready, "ready")


def test_every_route_without_parameters_answers():
    with Node() as node:
        openapi = node.get("/v1/openapi.json")
        check(openapi["openapi"].startswith("3.1"), openapi["openapi"])
        for path, methods in openapi["paths"].items():
            if "{" in path or "get" not in methods or path.endswith("/stream") or "logs" in path:
                continue
            status, body = node.get(path, raw=True)
            check(status in (200, 404), path, status, body[:200])


if __name__ == "__main__":
    zl.main(globals())
