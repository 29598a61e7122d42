# SPDX-License-Identifier: Apache-2.0
"""Five nodes under load on the address of one of them, while others die: what clients see."""

import http.client
import socket
import ssl
import threading
import time

import zl
from cluster import Cluster
from test_placing import answer, images, ready
from zl import check, service, wait_for

CLIENTS = 4


class Load:
    """New connections, one request each, from several threads; counts what came back."""

    def __init__(self, node):
        self.address = node.address
        self.good, self.bad = 0, []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]

    def ask(self):
        c = http.client.HTTPSConnection("web.test", 8443, timeout=15, context=self.context)
        c.sock = self.context.wrap_socket(socket.create_connection((self.address, 8443), timeout=15),
                                          server_hostname="web.test")
        try:
            c.request("GET", "/health")
            return c.getresponse().status
        finally:
            c.close()

    def run(self):
        while not self.over.is_set():
            try:
                status = self.ask()
            except (OSError, http.client.HTTPException) as e:
                status = type(e).__name__
            with self.lock:
                if status == 200:
                    self.good += 1
                else:
                    self.bad.append((round(time.monotonic(), 1), status))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()

    def asked(self):
        return self.good + len(self.bad)

    def availability(self):
        return 100.0 * self.good / max(self.asked(), 1)


def more(load, count):
    goal = load.good + count
    wait_for(lambda: load.good >= goal, f"{count} more answers", seconds=120)


def test_two_of_five_die():
    with Cluster(5) as c:
        images(c)
        c[2].deploy(service(replicas=5))
        ready(c[3], 5)
        wait_for(lambda: answer(c[3]) == "200", "edge-4 serves")
        with Load(c[3]) as load:
            more(load, 200)
            for victim in (c[1], c[4]):
                c.kill(victim)
                wait_for(lambda: victim.label not in {r[1] for r in c[3].replicas()}, f"{victim.label} is known to be dead",
                         seconds=60)
                ready(c[3], 5)
                more(load, 200)
            # What changes the store is alive: any survivor takes a deploy.
            c[3].deploy(service(replicas=4))
            ready(c[2], 4)
            more(load, 200)
        print(f"# {load.asked()} requests while two of five nodes died: {load.availability():.3f} % answered, "
              f"failed {load.bad[:8]}", flush=True)
        check(load.availability() >= 99.0, load.bad)


def test_the_writer_dies():
    """What runs goes on without the node that takes changes, and what it had comes up on others."""
    with Cluster(3) as c:
        images(c)
        c[1].deploy(service(replicas=3))
        ready(c[2], 3)
        wait_for(lambda: answer(c[2]) == "200", "edge-3 serves")
        with Load(c[2]) as load:
            more(load, 200)
            c.kill(c[0])
            wait_for(lambda: "edge-1" not in {r[1] for r in c[2].replicas()}, "it is known", seconds=60)
            ready(c[2], 3, {"edge-2", "edge-3"})
            more(load, 200)
            r = c[2].cli("scale", "shop/web=4", "--force", status=None)
            check(r.returncode == 8 and "edge-1" in r.stderr, r.returncode, r.stdout, r.stderr)
            c.start(c[0])
            c.wait_all_ready()
            ready(c[2], 3)
            wait_for(lambda: c[2].cli("scale", "shop/web=4", "--force", status=None).returncode == 0, "changes are taken again")
            ready(c[0], 4)
            more(load, 200)
        print(f"# {load.asked()} requests while the writing node died and came back: {load.availability():.3f} % answered, "
              f"failed {load.bad[:8]}", flush=True)
        check(load.availability() >= 99.0, load.bad)


if __name__ == "__main__":
    zl.main(globals())
