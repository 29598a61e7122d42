# SPDX-License-Identifier: Apache-2.0
"""Roll-outs over several nodes, with clients of every kind on every node's address: what serves leaves only when no proxy
of any node has anything under way to it, within its budget, whatever happens to the node that conducts."""

import contextlib
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.events

import zl
from cluster import Cluster
from load import Load, Loop, WebSocket, talk, upload_slowly
from test_placing import answer, images, ready
from zl import Node, check, equal, service, stays, wait_for

UPDATE = "    update: { monitor: 100ms, drain: 30s }\n"


def document(replicas, marker="", update=UPDATE, **more):
    return service(replicas=replicas, extra=update + (f"    env: {{ MARKER: {marker} }}\n" if marker else ""), **more)


class Streams:
    """An HTTP/2 connection that asks one thing after the other, several at a time; a GOAWAY ends it in peace."""

    def __init__(self, load):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self.sock = context.wrap_socket(socket.create_connection((load.address, load.port), timeout=30),
                                        server_hostname=load.host)
        self.host = load.host
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()

    def round(self, count=5):
        """False: the server sends no more over this one, and none of these was cut."""
        status, open_, refused = {}, set(), set()
        for _ in range(count):
            n = self.h2.get_next_available_stream_id()
            self.h2.send_headers(n, [(":method", "GET"), (":path", "/slow/300"), (":scheme", "https"),
                                     (":authority", self.host)], end_stream=True)
            open_.add(n)
        self.sock.sendall(self.h2.data_to_send())
        away = None
        while open_:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(f"an HTTP/2 connection was cut with {len(open_)} streams open")
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status[event.stream_id] = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.StreamEnded):
                    open_.discard(event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    raise EOFError(f"a stream was reset: {event.error_code}")
                elif isinstance(event, h2.events.ConnectionTerminated):
                    away = event.last_stream_id
                    refused = {n for n in open_ if n > away}
                    open_ -= refused
            out = self.h2.data_to_send()
            if out:
                self.sock.sendall(out)
        bad = [s for s in status.values() if s != "200"]
        if bad:
            raise ValueError(f"status {bad}")
        return away is None

    def close(self):
        self.sock.close()


def streams(load):
    s = Streams(load)
    try:
        for _ in range(5):
            if not s.round():
                return
    finally:
        s.close()


@contextlib.contextmanager
def clients(nodes):
    """Of every kind, at every one of these nodes; afterwards nothing failed and nothing was cut."""
    running = []
    with contextlib.ExitStack() as stack:
        for node in nodes:
            load = stack.enter_context(Load(node, clients=2, path="/slow/20", address=node.address))
            running.append((node.label, "h1", load))
            for kind, turn in (("h2", streams), ("ws", talk), ("post", upload_slowly)):
                loop = stack.enter_context(Loop(lambda turn=turn, load=load: turn(load)))
                running.append((node.label, kind, loop))
        for label, kind, r in running:
            wait_for(lambda r=r: r.done > 0 or r.failed, f"{kind} at {label} runs")
        yield running
    for label, kind, r in running:
        print(f"# {label} {kind}: {r.done} done, {len(r.failed)} failed", flush=True)
    equal([(label, kind, r.failed[:5]) for label, kind, r in running if r.failed], [])


def serves_everywhere(c, nodes=None):
    for node in nodes or c.nodes:
        wait_for(lambda node=node: answer(node) == "200", f"{node.label} serves")


def revision(node):
    return node.get("/v1/deployments/shop")["revision"]


class Watch:
    """The fewest replicas that were ready at a time, as one node sees it."""

    def __init__(self, node):
        self.node, self.least, self.most = node, 10 ** 6, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(0.1):
            with contextlib.suppress(Exception):
                rows = self.node.replicas()
                self.least = min(self.least, sum(1 for r in rows if r[2] == "ready"))
                self.most = max(self.most, len(rows))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)


def test_nothing_is_cut():
    """Deploys, sizes and drains of nodes, while every node's address has clients of every kind."""
    with Cluster(3) as c:
        images(c)
        c[0].deploy(document(3))
        ready(c[2], 3)
        serves_everywhere(c)
        with clients(c.nodes):
            with Watch(c[1]) as watch:
                c[1].deploy(document(3, "two"))
                ready(c[0], 3)
            check(watch.least >= 3 and watch.most <= 4, "ready at least, there at most:", watch.least, watch.most)
            c[2].cli("scale", "shop/web=1", "--force")
            ready(c[0], 1)
            c[0].cli("scale", "shop/web=3", "--force")
            ready(c[1], 3, {"edge-1", "edge-2", "edge-3"})
            with Watch(c[1]) as watch:
                c[0].cli("node", "drain", "edge-3", "--wait")
                ready(c[1], 3, {"edge-1", "edge-2"})
            check(watch.least >= 3, "ready at least:", watch.least)
            c[0].cli("node", "undrain", "edge-3")
            c[2].cli("restart", "shop")
            ready(c[0], 3)


def test_nodes_that_serve_only_their_own():
    """Without a way between containers of different nodes: each node has one all the time, old or new."""
    with Cluster(3, encrypt=True, sealed=False) as c:
        images(c)
        c[0].deploy(document(3))
        ready(c[2], 3, {"edge-1", "edge-2", "edge-3"})
        serves_everywhere(c)
        with clients(c.nodes):
            c[1].deploy(document(3, "two"))
            ready(c[0], 3, {"edge-1", "edge-2", "edge-3"})
            c[2].cli("restart", "shop")
            ready(c[1], 3, {"edge-1", "edge-2", "edge-3"})


def test_two_drains_at_once():
    """Two of three nodes are drained in one moment, by the third and by one of them: never fewer than there should be."""
    with Cluster(3) as c:
        images(c)
        c[0].deploy(document(3))
        ready(c[2], 3, {"edge-1", "edge-2", "edge-3"})
        serves_everywhere(c)
        with clients(c.nodes), Watch(c[0]) as watch:
            c[0].cli("node", "drain", "edge-3")
            c[2].cli("node", "drain", "edge-2")
            ready(c[0], 3, {"edge-1"})
        check(watch.least >= 3 and watch.most <= 4, "ready at least, there at most:", watch.least, watch.most)


def conductor(c):
    """The node that decided last: it tells of what it does."""
    told = []
    for node in c.running():
        with contextlib.suppress(Exception):
            items = node.get("/v1/events?since=0&limit=1000")["items"]
            told += [(e["ts"], node) for e in items if e["type"] == "deploy.committed"]
    return max(told, key=lambda t: t[0])[1] if told else None


def test_the_conductor_goes():
    """In the midst of a roll-out the node that conducts it is drained, then (another time) dies."""
    with Cluster(3) as c:
        images(c)
        # By another node than the first, which takes the changes of the store and has to stay.
        for _ in range(10):
            c[0].deploy(document(3))
            who = wait_for(lambda: conductor(c), "somebody conducts")
            if who is not c[0]:
                break
            c[0].cli("rm", "shop", "--yes")
            wait_for(lambda: not c[0].replicas(), "all of it is gone")
        check(who is not c[0], "ten ids in a row that one node conducts")
        ready(c[2], 3)
        serves_everywhere(c)
        asked = next(n for n in c.nodes if n is not who)
        with clients(c.nodes):
            asked.cli("deploy", "--detach", "-", input=document(3, "two"))
            asked.cli("node", "drain", who.label)
            wait_for(lambda: revision(asked) == 2, "it is rolled out", seconds=120)
            ready(asked, 3, {n.label for n in c.nodes if n is not who})
            asked.cli("node", "undrain", who.label)
        victim = who
        left = [n for n in c.nodes if n is not victim]
        with clients(left) as running:
            begun = revision(c[0])
            c[0].cli("deploy", "--detach", "-", input=document(3, "three"))
            wait_for(lambda: c[0].get("/v1/deployments/shop")["target_revision"] > begun, "it has begun")
            c.kill(victim)
            wait_for(lambda: revision(c[0]) == begun + 1, "somebody else goes on with it", seconds=120)
            ready(c[0], 3, {n.label for n in left})
            # What was under way to the dead node's replicas is cut: that is no failure of the roll-out. Afterwards none is.
            before = [(label, kind, r, r.done) for label, kind, r in running]
            for _, _, r in running:
                r.failed.clear()
            for label, kind, r, done in before:
                wait_for(lambda r=r, done=done: r.done > done + 2, f"{kind} at {label} goes on")


def test_failures_over_nodes():
    """A revision that never comes up, and one that fails in its monitor window: turned back; paused and resumed by any node."""
    with Cluster(3) as c:
        images(c)
        c[0].deploy(document(3))
        ready(c[2], 3)
        serves_everywhere(c)
        bad = document(3, "bad").replace("    stop_grace", '    command: { entrypoint: ["/bin/sh", "-c", "exit 3"] }\n    stop_grace')
        with clients(c.nodes), Watch(c[1]) as watch:
            r = c[1].deploy(bad, status=None)
            equal(r.returncode, 6, r.stdout + r.stderr)
            ready(c[0], 3)
            equal(revision(c[2]), 1)
        check(watch.least >= 3, "ready at least:", watch.least)
        # Passes its checks, and ends a moment later: what is under way to it then is cut, of nothing else.
        late = document(3, "late", update="    update: { monitor: 15s, drain: 30s }\n").replace(
            "    stop_grace", '    command: { entrypoint: ["/bin/sh", "-c", "/bin/server $0 $@ & sleep 5; exit 4"] }\n    stop_grace')
        with Watch(c[1]) as watch:
            r = c[2].deploy(late, status=None)
            equal(r.returncode, 6, r.stdout + r.stderr)
            wait_for(lambda: len(c[0].replicas()) == 3, "only the old ones are left", seconds=120)
            ready(c[0], 3)
            equal(revision(c[2]), 1)
        # Two of the old ones had made room for new ones that were ready then; the last one serves until all are proven.
        check(watch.least >= 1, "ready at least:", watch.least)
        # Stopped by hand at one node, gone on with at another.
        slow = document(3, "slow", update="    update: { monitor: 6s, drain: 30s }\n")
        with clients(c.nodes):
            c[0].cli("deploy", "--detach", "-", input=slow)
            wait_for(lambda: c[1].get("/v1/deployments/shop")["target_revision"] > 1, "it has begun")
            c[1].cli("rollout", "pause", "shop")
            wait_for(lambda: c[2].get("/v1/deployments/shop")["state"] == "paused", "all know that it is paused")
            stays(lambda: revision(c[0]) == 1, "it is paused, for longer than what was left of it would take", 8)
            c[2].cli("rollout", "resume", "shop")
            wait_for(lambda: revision(c[0]) > 1, "it is rolled out", seconds=120)
            ready(c[1], 3)


def test_workers_of_a_killed_node():
    """A node is killed and begun again: what its old workers serve out counts, for a roll-out and for a service that sleeps."""
    with Node() as node:
        node.import_image()
        node.deploy(document(1))
        load = Load(node)
        got = {}

        def long_request():
            try:
                got["status"] = load.connect().ask("/slow/12000")[0]
            except Exception as e:
                got["status"] = e

        thread = threading.Thread(target=long_request)
        thread.start()
        ws = WebSocket(load)
        wait_for(lambda: ws.echoes(), "the WebSocket works")
        node.process.kill()
        node.process.wait(30)
        node.start()
        check(ws.echoes() and thread.is_alive(), "the old worker serves on")
        node.cli("deploy", "--detach", "-", input=document(1, "two"))
        wait_for(lambda: revision(node) == 2, "it is rolled out")
        thread.join(60)
        equal(got["status"], 200, "the request that the old worker had")
        check(ws.echoes(), "the WebSocket that the old worker has")
        ws.close()
        wait_for(lambda: len(node.get("/v1/replicas")["items"]) == 1, "the old replica has gone")


if __name__ == "__main__":
    zl.main(globals())
