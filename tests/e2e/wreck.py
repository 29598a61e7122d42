# SPDX-License-Identifier: Apache-2.0
"""What a broken cluster is judged by: what clients get meanwhile, and that all nodes say the same when it is whole again."""

import contextlib
import http.client
import socket
import ssl
import threading
import time

import dnsmsg
import zl
from zl import Space, check, service, wait_for

CLIENTS = 4
PAUSE_S = 0.02  # of a client between two requests: what is measured is the cluster, not how many a client can make
PATIENCE_S = 15


def now():
    return time.monotonic()


def at_most(seconds, noted):
    """What is shorter than is noted is not known."""
    return f"{seconds:.1f} s" if seconds else f"< {noted} s"


class Load:
    """New TLS connections, one request each, from several threads, to the address of one node. Counts what came back; a fault is
    what happens in `with load.fault(name)`, and is printed with its figures."""

    def __init__(self, node, host="web.test"):
        self.address, self.host = node.address, host
        self.good, self.bad = 0, []
        self.slow = []  # (when it began, how long it took) of each that took long
        self.last = now()
        self.gaps = []  # (when it began, how long) without any good answer
        self.faults = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CLIENTS)]

    def ask(self):
        with socket.create_connection((self.address, 8443), timeout=PATIENCE_S) as plain:
            c = http.client.HTTPSConnection(self.host, 8443, timeout=PATIENCE_S, context=self.context)
            c.sock = self.context.wrap_socket(plain, server_hostname=self.host)
            with contextlib.closing(c):
                c.request("GET", "/health")
                return c.getresponse().status

    def run(self):
        while not self.over.is_set():
            began = now()
            try:
                status = self.ask()
            except (OSError, http.client.HTTPException) as e:
                status = type(e).__name__
            self.note(began, status)
            self.over.wait(PAUSE_S)

    def note(self, began, status):
        with self.lock:
            end = now()
            if status != 200:
                self.bad.append((began, end - began, status))
                return
            self.good += 1
            if end - began > 0.5:
                self.slow.append((began, end - began))
            if end - self.last > 0.2:
                self.gaps.append((self.last, end - self.last))
            self.last = end

    def __enter__(self):
        self.began = now()
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

    def more(self, count, seconds=120):
        goal = self.good + count
        wait_for(lambda: self.good >= goal, f"{count} more answers", seconds=seconds)

    @contextlib.contextmanager
    def fault(self, name, expected=False):
        """Requests that were asked for within it; with those that are under way at its end. expected: clients come to what is broken,
        so the figures are no judgement."""
        with self.lock:
            good, bad, began = self.good, len(self.bad), now()
        yield
        self.more(2 * CLIENTS)
        with self.lock:
            failed = self.bad[bad:]
            if expected:
                del self.bad[bad:]
            asked = self.good - good + len(failed)
            gap = max([g for at, g in self.gaps if at + g > began], default=0)
            slowest = max([s for at, s in self.slow if at + s > began], default=0)
        kinds = {}
        for _, _, status in failed:
            kinds[status] = kinds.get(status, 0) + 1
        self.faults.append((name, asked, len(failed)))
        print(f"# {name}: {asked} requests, {len(failed)} failed {kinds or '-'}, {100 * (1 - len(failed) / max(asked, 1)):.3f} %, "
              f"longest gap {at_most(gap, 0.2)}, slowest answer {at_most(slowest, 0.5)}", flush=True)

    def judge(self, percent=99.0):
        """All of it, and each fault that was long enough to have a percentage."""
        print(f"# in all: {self.asked()} requests, {len(self.bad)} failed, {self.availability():.3f} %", flush=True)
        check(self.availability() >= percent, [(round(at - self.began, 1), round(took, 1), s) for at, took, s in self.bad[:20]])


# ---- what nodes say


def table(node):
    """[(id, name, node, state)] of all replicas, as this node has them."""
    return sorted((r["id"], r["name"], r["node"], r["state"]) for r in node.get("/v1/replicas")["items"])


def own(node):
    """[(name, id, address)] of what this node runs, as its own rows tell."""
    return sorted((r["name"], r["id"], (r["container"] or {}).get("address") or "") for r in node.get("/v1/replicas")["items"]
                  if r["here"])


def ask_name(server, name, kind=dnsmsg.A):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect((server, 53))
        s.send(dnsmsg.query(name, kind))
        return sorted(dnsmsg.Message(s.recv(65536)).data(kind))


def resolve(node, name):
    """What a container of this node would be told."""
    server = node.get("/v1/status")["overlay"]["prefix4"].replace(".0/24", ".1")
    with contextlib.suppress(OSError):
        return Space(node.processes()["overlay", 0]).call(ask_name, server, name)
    return None


def served(node, host="web.test"):
    r = zl.run("curl", "-sk", "--max-time", "5", "--resolve", f"{host}:8443:{node.address}", "-o", "/dev/null", "-w", "%{http_code}",
               f"https://{host}:8443/health", check=False)
    return r.stdout == "200"


def disagreement(nodes, count, service="web"):
    """What is not as it should be of a service with so many replicas, all of which are ready; None: all is well."""
    try:
        for n in nodes:
            way = n.get("/v1/status")["overlay"]
            if way["state"] != "vxlan":  # after a power cut the kernel takes the old fabric apart later
                return f"{n.label} does not reach the containers of others: {way}"
        tables = {n.label: table(n) for n in nodes}
        first = tables[nodes[0].label]
        for label, rows in tables.items():
            if rows != first:
                return f"{nodes[0].label} has {first}, {label} has {rows}"
        if len(first) != count or any(state != "ready" for _, _, _, state in first):
            return f"all have {first}"
        if len({name for _, name, _, _ in first}) != count:
            return f"two of one name: {first}"
        run = sorted(i for n in nodes for _, i, _ in own(n))
        if run != [i for i, _, _, _ in first]:
            return f"all have {first}, but those that run are {run}"
        names = {n.label: resolve(n, f"{service}.shop.zlayer.internal") for n in nodes}
        if any(v is None or v != names[nodes[0].label] or len(v) != count for v in names.values()):
            return f"names: {names}"
    except (OSError, zl.Failure, http.client.HTTPException, KeyError) as e:
        return repr(e)
    return None


def serving(nodes):
    """id -> address of what is ready on these nodes, as each says of itself."""
    return {r["id"]: r["container"]["address"] for n in nodes for r in n.get("/v1/replicas")["items"] if r["here"] and r["state"] == "ready"}


def mistaken(nodes, service="web"):
    """What a node has wrong of who serves, by its table or its names: all that serve are there, and nothing else is, but for what
    came or went while it was asked; None: all is well. A duplicate that still serves is no mistake."""
    try:
        before = serving(nodes)
        said = [(n.label, {r[0] for r in table(n) if r[3] == "ready"}, set(resolve(n, f"{service}.shop.zlayer.internal") or [])) for n in nodes]
        after = serving(nodes)
        for label, ids, names in said:
            if not before.keys() & after.keys() <= ids <= before.keys() | after.keys():
                return f"{label} has {ids}; those that serve are {before}, then {after}"
            if not set(before.values()) & set(after.values()) <= names <= set(before.values()) | set(after.values()):
                return f"{label} names {names}; those that serve are {before}, then {after}"
    except (OSError, zl.Failure, http.client.HTTPException, KeyError, TypeError) as e:
        return repr(e)
    return None


def agreed(nodes, count, what, seconds=90, service="web"):
    """Waits until all nodes say the same of all replicas, and are right; gives how long that took."""
    began, last = now(), None

    def look():
        nonlocal last
        last = disagreement(nodes, count, service)
        return last is None
    wait_for(look, lambda: f"{what}: {last}", seconds=seconds)
    return now() - began


def restarts(node):
    """id -> where, and how often it was begun: what must not change where nothing was lost."""
    return {r["id"]: (r["name"], r["node"], r["restarts"], r["attempt"]) for r in node.get("/v1/replicas")["items"]}


def images(c):
    """On all nodes at once."""
    threads = [threading.Thread(target=node.import_image) for node in c.nodes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def begin(c, replicas, by=0, extra=""):
    images(c)
    c[by].deploy(service(replicas=replicas, extra=extra))
    agreed(c.running(), replicas, "all replicas are ready everywhere")
    for node in c.running():
        wait_for(lambda node=node: served(node), f"{node.label} serves")
