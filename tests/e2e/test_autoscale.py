# SPDX-License-Identifier: Apache-2.0
"""Adaptive services: sizes that follow requests and processor time; services that sleep and are woken.

The replicas of the sleeping services come up as slowly as a test wants: their program says on /health what a file in a
folder of the machine says (FOLDER/flags, mounted at /flags).
"""

import contextlib
import datetime
import os
import socket
import ssl
import threading
import time
import urllib.request

import h2.connection
import h2.events

from load import Load, WebSocket
from zl import Node, check, equal, main, service, wait_for

COMMAND = ('    command: { entrypoint: ["/bin/sh", "-c", '
           '"test -e /flags/slow && echo 503 > /tmp/health; exec /bin/server $0 $@"] }\n'
           '    storage: [ { type: bind, source: "FOLDER/flags", target: /flags, readonly: true } ]\n')


def document(node, scale, extra="", endpoints=""):
    flags = os.path.join(node.folder, "flags")
    os.makedirs(flags, exist_ok=True)
    text = service(extra=(COMMAND + extra).replace("FOLDER", node.folder))
    text = text.replace("    scale: { mode: fixed, replicas: 1 }", f"    scale: {{ mode: adaptive, {scale} }}")
    return text.replace("    endpoints:\n", "    endpoints:\n" + endpoints)


@contextlib.contextmanager
def running(scale, extra="", config="", endpoints=""):
    with Node(config) as node:
        node.import_image()
        node.deploy(document(node, scale, extra, endpoints))
        yield node


def row(node):
    return node.get("/v1/services/shop/web")


def events(node):
    """(type, text, seconds) of every change of size, oldest first."""
    items = node.get("/v1/events?limit=1000")["items"]
    found = [e for e in items if e["type"] in ("scale.up", "scale.down", "scale.asleep", "scale.woken")]
    return [(e["type"], e["text"], datetime.datetime.fromisoformat(e["ts"].replace("Z", "+00:00")).timestamp())
            for e in found]


def settled(node, size):
    s = row(node)
    return s if s["desired"] == size == s["ready"] and s["state"] in ("ready", "idle") else None


def asleep(node):
    """... and nothing of it is left: the next request finds no replica at all."""
    s = row(node)
    return s["state"] == "idle" and s["running"] == 0 and not node.cli_json("ps", "shop/web")["items"]


def slow(node, yes):
    path = os.path.join(node.folder, "flags", "slow")
    if yes:
        open(path, "w").close()
    else:
        os.unlink(path)


def get_well(node):
    """The replica that came up slowly becomes ready."""
    def try_it():
        return node.cli("exec", "shop/web.1", "--", "/bin/sh", "-c", "echo 200 > /tmp/health", status=None).returncode == 0
    wait_for(try_it, "a replica to speak to")


def metric(node, name, *labels):
    with urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=60) as answer:
        text = answer.read().decode()
    for line in text.splitlines():
        if line.startswith(name + "{") and all(label in line for label in labels):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


class Asker(threading.Thread):
    """One GET over a TLS connection of its own; (status, head) in .answer, or what went wrong in .error."""

    def __init__(self, node, context, path="/who", body=None):
        super().__init__(daemon=True)
        self.node, self.context, self.path, self.body = node, context, path, body
        self.answer = self.error = None
        self.start()

    def run(self):
        try:
            raw = socket.create_connection(("127.0.0.1", 8443), timeout=120)
            self.sock = self.context.wrap_socket(raw, server_hostname="web.test")
            method, extra = ("GET", "") if self.body is None else ("POST", f"Content-Length: {len(self.body)}\r\n")
            self.sock.sendall(f"{method} {self.path} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{extra}\r\n".encode())
            if self.body:
                self.sock.sendall(self.body)
            data = b""
            while more := self.sock.recv(65536):
                data += more
            head, _, self.content = data.partition(b"\r\n\r\n")
            self.answer = int(head.split()[1]), head.decode("latin-1").lower()
        except Exception as e:
            self.error = e
        self.ended = time.monotonic()

    def drop(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        # Closed only then: its number may be another connection's at once, and the thread would read from that.
        self.join(120)
        self.sock.close()


def context_of(node):
    return ssl.create_default_context(cafile=node.authority())


class Streams:
    """Many GETs over one HTTP/2 connection; {stream: status} in .answers."""

    def __init__(self, node, count):
        context = context_of(node)
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", 8443), timeout=120)
        self.sock = context.wrap_socket(raw, server_hostname="web.test")
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.answers = {}
        self.ids = []
        for _ in range(count):
            self.ids.append(self.h2.get_next_available_stream_id())
            self.h2.send_headers(self.ids[-1], [(":method", "GET"), (":path", "/who"), (":scheme", "https"),
                                                (":authority", "web.test")], end_stream=True)
        self.sock.sendall(self.h2.data_to_send())

    def reset(self, count):
        for _ in range(count):
            self.h2.reset_stream(self.ids.pop(), 8)  # CANCEL
        self.sock.sendall(self.h2.data_to_send())

    def finish(self):
        ended = set()
        while not ended >= set(self.ids):
            data = self.sock.recv(65536)
            check(data, "the connection ended", self.answers)
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.answers[event.stream_id] = int(dict(event.headers)[b":status"])
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    ended.add(event.stream_id)
            self.sock.sendall(self.h2.data_to_send())
        self.sock.close()


# ---- by load

def cooldown_kept(changes, seconds):
    times = [at for _, _, at in changes]
    gaps = [b - a for a, b in zip(times, times[1:])]
    # Events carry the wall clock; a little for its being set meanwhile.
    check(all(gap > seconds - 0.2 for gap in gaps), "inside the cooldown:", gaps, changes)


def test_requests_make_it_grow_and_fall_back():
    with running("min: 1, max: 3, cooldown: 2s, targets: { rps: 2 }") as node:
        equal(row(node)["desired"], 1)
        with Load(node, clients=3, path="/slow/20") as load:
            wait_for(lambda: settled(node, 3), "as many as allowed")
            wait_for(lambda: row(node)["scale"]["decision"] == "at_max", "it would grow on")
            said = node.cli("explain", "shop/web").stdout
            check("3 of 1 to 3: needs more than max" in said and "of 2" in said, said)
            check("adaptive 1-3 at_max" in node.cli("-o", "wide", "status").stdout, "status")
        equal(load.failed, [], "while it grew")
        wait_for(lambda: settled(node, 1), "back to the least")
        changes = events(node)
        check([c[0] for c in changes][0] == "scale.up" and "requests/s of 2 of each replica" in changes[0][1], changes)
        check("web from 1 to " in changes[0][1], changes)
        equal([c[1].split(":")[0] for c in changes][-2:], ["web from 3 to 2", "web from 2 to 1"])
        cooldown_kept(changes, 2)
        last = row(node)["scale"]["last"]
        equal((last["from"], last["to"]), (2, 1))
        check("half of the targets or less" in last["why"], last)
        check(metric(node, "zlayer_scheduler_decisions_total", 'outcome="scale_up"', 'service="shop/web"') >= 1)
        check(metric(node, "zlayer_scheduler_decisions_total", 'outcome="scale_down"', 'service="shop/web"') >= 2)
        # By hand: only between min and max, and load goes on deciding afterwards.
        r = node.cli("scale", "shop/web=4", status=None)
        check(r.returncode != 0 and "1 to 3 replicas" in r.stderr, r.stderr)
        node.cli("scale", "shop/web=2")
        wait_for(lambda: settled(node, 1), "back to the least again")


def test_processor_time_makes_it_grow():
    with running("min: 1, max: 2, cooldown: 2s, targets: { cpu: 50% }",
                 extra="    resources: { cpu: 0.1, memory: 64Mi }\n") as node:
        with Load(node, clients=2, path="/burn/20") as load:
            wait_for(lambda: settled(node, 2), "a second one")
        equal(load.failed, [], "while it grew")
        check("cpu " in events(node)[0][1] and "of 50% of each replica" in events(node)[0][1], events(node))
        wait_for(lambda: settled(node, 1), "one again")


def test_memory_makes_it_grow():
    with running("min: 1, max: 2, cooldown: 2s, targets: { memory: 50% }", extra="    resources: { memory: 96Mi }\n") as node:
        wait_for(lambda: row(node)["scale"]["decision"] in ("fits", "idle"), "it was judged")
        equal(row(node)["desired"], 1)
        check(node.curl("/memory/60"), "an answer")
        wait_for(lambda: settled(node, 2), "a second one")
        check("memory " in events(node)[0][1] and "of 50% of each replica" in events(node)[0][1], events(node))
        node.cli("restart", "shop/web")
        wait_for(lambda: settled(node, 1), "what it had taken is free: one again")


def test_without_targets_it_stays():
    with running("min: 1, max: 3, cooldown: 1s") as node:
        with Load(node, clients=3) as load:
            wait_for(lambda: row(node)["scale"]["decision"] == "no_target", "it was judged")
            done = load.done
            wait_for(lambda: load.done > done + 200, "some requests")
        equal((row(node)["desired"], events(node)), (1, []))


# ---- asleep

def test_sleeps_and_is_woken_by_every_protocol():
    tcp = "      - { name: raw, protocol: tcp, port: 7300, target_port: 8080, expose: public }\n"
    with running("min: 0, max: 2, cooldown: 1s", endpoints=tcp) as node:
        wait_for(lambda: asleep(node), "it sleeps")
        said = node.cli("status").stdout
        check("0/0" in said and "idle" in said and "starting" not in said, said)
        equal(node.cli_json("status")["deployments"][0]["state"], "stable")
        check("sleeps: the next request wakes it" in node.cli("explain", "https://web.test:8443/").stdout)
        r = node.cli("start", "shop/web", status=None)
        check(r.returncode != 0 and "has the size 0" in r.stderr and "runs already" not in r.stdout, r.stdout, r.stderr)
        for http in ("--http2", "--http1.1"):
            check(node.curl("/who", http=http), "an answer")
            wait_for(lambda: asleep(node), "it sleeps again")
        load = Load(node)
        ws = WebSocket(load)
        check(ws.echoes(), "the WebSocket that woke it")
        equal(row(node)["desired"], 1, "while the WebSocket is open")
        ws.close()
        wait_for(lambda: asleep(node), "it sleeps after the WebSocket")
        # Many at once, bodies too: none is lost.
        context = context_of(node)
        body = os.urandom(300000)
        askers = [Asker(node, context) for _ in range(20)] + [Asker(node, context, "/upload", body) for _ in range(4)]
        for a in askers:
            a.join(120)
        equal([(a.answer or [None])[0] for a in askers], [200] * 24, f"{[a.error for a in askers]}")
        check(all(a.content.startswith(b"300000 ") for a in askers[20:]), [a.content for a in askers[20:]])
        wait_for(lambda: asleep(node), "it sleeps after many")
        large = os.path.join(node.folder, "large")
        with open(large, "wb") as f:
            f.write(os.urandom(3 << 20))
        check(node.curl("/upload", "web.test", "--data-binary", "@" + large).startswith(f"{3 << 20} "), "a large body")
        wait_for(lambda: asleep(node), "it sleeps after a large body")
        with socket.create_connection(("127.0.0.1", 7300), timeout=60) as s:
            s.sendall(b"GET /slow/500 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            check(s.recv(4096).startswith(b"HTTP/1.1 200"), "tcp")
        kinds = [c[0] for c in events(node)]
        check(kinds.count("scale.woken") >= 5 and kinds.count("scale.asleep") >= 5, kinds)
        check(metric(node, "zlayer_scheduler_decisions_total", 'outcome="wake"', 'service="shop/web"') >= 5)
        # What was stopped by hand is not woken, and does not let anybody wait.
        wait_for(lambda: asleep(node), "it sleeps at last")
        r = node.cli("stop", "shop/web", status=None)
        check(r.returncode != 0 and "zlayer stop shop" in r.stderr, r.stdout, r.stderr)
        node.cli("stop", "shop")
        equal(row(node)["state"], "stopped")
        begin = time.monotonic()
        equal(node.curl("/", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "503")
        check(time.monotonic() - begin < 25, "it waited")
        node.cli("start", "shop")
        check(node.curl("/who"), "an answer after the start")


def waiting(node):
    return row(node)["scale"]["waiting"]


def test_queue_is_bounded_and_clients_may_go():
    with running("min: 0, max: 1, cooldown: 1s", config="proxy: { workers: 1 }\n") as node:
        wait_for(lambda: asleep(node), "it sleeps")
        slow(node, True)
        context = context_of(node)
        begin = time.monotonic()
        streams = Streams(node, 10)
        askers = [Asker(node, context) for _ in range(10)]
        wait_for(lambda: waiting(node) == 20, "twenty wait")
        check(row(node)["state"] != "idle", row(node)["state"])
        for a in askers[:4]:
            a.drop()
        streams.reset(3)
        wait_for(lambda: waiting(node) == 13, "seven have gone")
        askers = askers[4:] + [Asker(node, context) for _ in range(87 + 5)]
        full = wait_for(lambda: [a for a in askers if a.answer][4:] and [a for a in askers if a.answer],
                        "five are refused")
        for a in full:
            equal(a.answer[0], 503)
            check("retry-after:" in a.answer[1] and b"too many" in a.content, a.answer, a.content)
        wait_for(lambda: waiting(node) == 100, "a hundred wait")
        equal(metric(node, "zlayer_http_rejected_total", 'reason="wake_full"', 'service="shop/web"'), 5)
        get_well(node)
        for a in askers:
            a.join(120)
        streams.finish()
        answers = [(a.answer or [a.error])[0] for a in askers]
        if max(a.ended for a in askers) - begin < 28:  # a machine as slow as that has let some wait too long
            equal((answers.count(200), answers.count(503), len(answers)), (93, 5, 98), f"{answers}")
            equal([streams.answers[i] for i in streams.ids], [200] * 7)
        # Too late: the replica never comes up.
        wait_for(lambda: asleep(node), "it sleeps")
        late = Asker(node, context)
        late.join(120)
        check(late.answer and late.answer[0] == 503 and "retry-after:" in late.answer[1], late.answer, late.error)
        check(b"did not wake in time" in late.content, late.content)
        slow(node, False)


def test_deaths_while_asleep():
    with running("min: 0, max: 1, cooldown: 1s") as node:
        wait_for(lambda: asleep(node), "it sleeps")
        node.process.kill()
        node.process.wait(30)
        node.start()
        equal((row(node)["desired"], row(node)["state"]), (0, "idle"), "after the node's death")
        check(node.curl("/who"), "an answer from the next node")
        # The scheduler dies while somebody waits: its successor hears of it.
        wait_for(lambda: asleep(node), "it sleeps again")
        slow(node, True)
        asker = Asker(node, context_of(node))
        wait_for(lambda: waiting(node) == 1, "it waits")
        pid = node.kill("scheduler")
        wait_for(lambda: node.processes().get(("scheduler", 0)) not in (None, pid) and node.ready(), "a new scheduler")
        slow(node, False)
        get_well(node)
        asker.join(120)
        equal((asker.answer or [asker.error])[0], 200, "the request that waited")


def test_a_deploy_proves_what_sleeps():
    with running("min: 0, max: 1, cooldown: 1s") as node:
        wait_for(lambda: asleep(node), "it sleeps")
        text = document(node, "min: 0, max: 1, cooldown: 1s", extra="    env: { NEW: revision }\n")
        r = node.deploy(text.replace("exec /bin/server", "exit 3"), status=None)
        equal(r.returncode, 6, r.stdout + r.stderr)
        wait_for(lambda: asleep(node), "it sleeps again")
        check(node.curl("/who"), "the old revision answers")
        r = node.deploy(text)
        wait_for(lambda: asleep(node), "the new one sleeps")
        equal(row(node)["revision"], 3)


# ---- what cannot grow

def test_a_size_that_cannot_be_made_is_refused():
    config = "node: { name: edge-1, env: [ZLAYER_TEST_WHO] }\n"
    os.environ["ZLAYER_TEST_WHO"] = "me"
    try:
        with Node(config) as node:
            node.import_image()
            node.deploy(service(extra="    env: { WHO: $E:ZLAYER_TEST_WHO }\n"))
            node.stop()
            del os.environ["ZLAYER_TEST_WHO"]
            node.start()
            r = node.cli("scale", "shop/web=2", "--force", status=None)
            check(r.returncode != 0 and "ZLAYER_TEST_WHO has no value" in r.stderr, r.stdout, r.stderr)
            r = node.cli("restart", "shop", status=None)
            check(r.returncode != 0 and "ZLAYER_TEST_WHO has no value" in r.stderr, r.stdout, r.stderr)
            equal(node.curl("/", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "what is there serves on")
    finally:
        os.environ.pop("ZLAYER_TEST_WHO", None)


if __name__ == "__main__":
    main(globals())
