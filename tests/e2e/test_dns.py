# SPDX-License-Identifier: Apache-2.0
"""Names as containers see them: services, replicas, nodes, and the world through the machine's resolvers.

    container --- fabric: the node's name server (overlay) --- sockets in the test's namespace --- 127.0.0.53: Upstream
"""

import atexit
import contextlib
import fcntl
import os
import pickle
import random
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import dnsmsg
import zl
from dnsmsg import A, AAAA, CNAME, PTR, SOA, SRV, TXT, Message, query
from zl import Node, check, equal, wait_for

CLONE_NEWNET = 0x40000000
RESOLVER = "127.0.0.53"

DOCUMENT = """version: v1
deployment: shop
services:
  web:
    image: { name: "test:1" }
    endpoints:
      - { name: http, protocol: http, port: 8080 }
      - { name: raw, protocol: http, port: 9000, target_port: 8080, path: /raw }
    scale: { mode: fixed, replicas: 3 }
    stop_grace_period: 1s
    health: { start_grace: 1s, interval: 1s, timeout: 1s, retries: 2, check: { type: http, url: /health } }
  client:
    image: { name: "test:1" }
    extra_hosts: { legacy.test: 10.0.0.9 }
    scale: { mode: fixed, replicas: 2 }
    stop_grace_period: 1s
  idle:
    image: { name: "test:1" }
    endpoints: [ { name: http, protocol: http, port: 8080 } ]
    stop_grace_period: 1s
"""
OTHER = """version: v1
deployment: blog
services:
  web:
    image: { name: "test:1" }
    endpoints: [ { name: http, protocol: http, port: 8080 } ]
    stop_grace_period: 1s
"""


class Upstream(threading.Thread):
    """The machine's resolver: what it answers is in the name."""

    def __init__(self, address=RESOLVER):
        super().__init__(daemon=True)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, 53))
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((address, 53))
        self.tcp.listen(64)
        self.seen = []  # (name, client's port, id)
        self.loop_to = None
        self.start()
        threading.Thread(target=self.accept, daemon=True).start()

    def run(self):
        while True:
            data, client = self.udp.recvfrom(4096)
            for reply in self.replies(data, client[1], False):
                self.udp.sendto(reply, client)

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=(self.tcp.accept()[0],), daemon=True).start()

    def serve(self, sock):
        with contextlib.suppress(OSError, ConnectionError), sock:
            for reply in self.replies(dnsmsg.read_stream(sock), 0, True):
                sock.sendall(struct.pack(">H", len(reply)) + reply)

    def replies(self, data, port, tcp):
        name = dnsmsg.get_name(data, 12)[0].lower()
        self.seen.append((name, port, struct.unpack(">H", data[:2])[0]))
        a = (name, A, socket.inet_aton("192.0.2.7"))
        first = name.split(".")[0]
        if first == "dead":
            return []
        if first == "servfail":
            return [dnsmsg.answer(data, rcode=dnsmsg.SERVFAIL)]
        if first == "none":
            return [dnsmsg.answer(data, rcode=dnsmsg.NXDOMAIN)]
        if first == "cname":
            target = dnsmsg.put_name("a.up.test")
            return [dnsmsg.answer(data, [(name, CNAME, target), ("a.up.test", A, a[2])])]
        if first == "big":
            many = [(name, A, bytes([10, 9, i // 256, i % 256])) for i in range(1500)]
            return [dnsmsg.answer(data, many) if tcp else dnsmsg.answer(data, cut=True)]
        if first == "forged":
            wrong = [(name, A, socket.inet_aton("6.6.6.6"))]
            other = bytearray(dnsmsg.answer(data, wrong))
            other[0] ^= 1
            asked = dnsmsg.answer(query("other.up.test", ident=struct.unpack(">H", data[:2])[0]), wrong)
            return [bytes(other), asked, b"\xff" * 40, dnsmsg.answer(data, wrong)[:-3], dnsmsg.answer(data, [a])]
        if first == "loop":
            threading.Thread(target=self.loop, args=(data,), daemon=True).start()
            return []
        return [dnsmsg.answer(data, [a])]

    def loop(self, data):
        """Sends the question back to where it came from: to the node's name server."""
        again = struct.pack(">H", random.randrange(65536)) + data[2:]
        self.looped = self.loop_to(again)


def inside(pid, function):
    """What function() gives in the network namespace of a process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fd = os.open(f"/proc/{pid}/ns/net" if isinstance(pid, int) else pid, os.O_RDONLY)
            if zl.libc.setns(fd, CLONE_NEWNET) != 0:
                raise OSError("setns")
            result = (True, function())
        except BaseException as e:
            result = (False, repr(e))
        with os.fdopen(write, "wb") as f:
            pickle.dump(result, f)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as f:
        ok, value = pickle.load(f)
    os.waitpid(child, 0)
    if not ok:
        raise zl.Failure(value)
    return value


def udp(server, data, seconds=20, tries=1):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    for i in range(tries):
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.settimeout(seconds)
            s.connect((server, 53))
            s.send(data)
            try:
                return s.recv(65536)
            except TimeoutError:
                if i == tries - 1:
                    return None
    return None


def tcp(server, *messages, cut=False):
    with socket.create_connection((server, 53), timeout=20) as s:
        s.sendall(b"".join(struct.pack(">H", len(m)) + m for m in messages))
        if cut:
            s.shutdown(socket.SHUT_WR)
        return [dnsmsg.read_stream(s) for _ in messages]


class World:
    """A node with two deployments, its own resolver, and questions from its containers."""

    def __init__(self):
        self.upstream = Upstream()
        self.node = Node()
        atexit.register(self.close)
        self.resolv = os.path.join(self.node.folder, "resolv.conf")
        self.resolvers(RESOLVER)
        zl.run("mount", "--bind", self.resolv, "/etc/resolv.conf")
        self.node.start()
        self.node.import_image()
        self.node.deploy(DOCUMENT)
        self.node.deploy(OTHER)
        self.node.cli("stop", "shop/idle")
        wait_for(lambda: len(self.ready("shop/web")) == 3 and len(self.ready("shop/client")) == 2, "replicas are ready")
        self.pid = self.replica("shop/client.1")["container"]["pid"]
        text = self.sh("cat /etc/resolv.conf")
        self.server = text.split("nameserver ")[1].split()[0]
        self.text = text

    def resolvers(self, *addresses):
        with open(self.resolv, "w") as f:
            f.write("# the test's\n" + "".join(f"nameserver {a}\n" for a in addresses))

    def close(self):
        atexit.unregister(self.close)
        if self.node.process and self.node.process.poll() is not None:
            self.node.show_log()
        self.node.destroy()
        zl.run("umount", "/etc/resolv.conf", check=False)

    def sh(self, text, status=0, name="shop/client.1"):
        return self.node.cli("exec", name, "--", "/bin/sh", "-c", text, status=status).stdout

    def replicas(self):
        return {r["name"]: r for r in self.node.cli_json("ps")["items"]}

    def replica(self, name):
        return self.replicas()[name]

    def ready(self, service):
        return sorted(r["container"]["address"] for n, r in self.replicas().items()
                      if n.startswith(service + ".") and r["state"] == "ready")

    def ask(self, name, kind=A, pid=None, **more):
        data = query(name, kind, **more)
        reply = inside(pid or self.pid, lambda: udp(self.server, data, tries=3))
        check(reply is not None, "no answer for", name)
        return Message(reply)

    def metric(self, name, **labels):
        text = self.metrics()
        want = [f'{k}="{v}"' for k, v in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name + "{") and all(w in line for w in want))

    def metrics(self):
        return subprocess.run(["curl", "-sS", "http://127.0.0.1:9883/metrics"], capture_output=True, text=True,
                              timeout=60, check=True).stdout


setup = zl.shared(World)


def test_forms():
    w = setup()
    web = w.ready("shop/web")
    equal(len(web), 3)
    check("search shop.zlayer.internal" in w.text and "ndots:1" in w.text, w.text)
    for name in ("web.service", "web.global", "WEB.Global", "web.shop.zlayer.internal"):
        m = w.ask(name)
        equal((m.rcode, m.own, sorted(m.data())), (0, True, web), name)
        check(all(row[2] <= 5 for row in m.answers), m.answers)
    # The asker's deployment decides.
    blog = w.ready("blog/web")
    pid = w.replica("blog/web.1")["container"]["pid"]
    equal(w.ask("web.global", pid=pid).data(), blog)
    equal(w.ask("web.blog.zlayer.internal").data(), blog)
    # One replica, its name by its address, and the node's.
    row = w.replica("shop/web.2")["container"]
    for name in ("2.web.service", "2.web.global", "2.web.shop.zlayer.internal"):
        equal(w.ask(name).data(), [row["address"]], name)
        m = w.ask(name, AAAA)  # readiness is seen at the other address
        equal((m.rcode, m.data(AAAA)), (0, []), name)
    reverse = ".".join(reversed(row["address"].split("."))) + ".in-addr.arpa"
    equal(w.ask(reverse, PTR).data(PTR), ["2.web.shop.zlayer.internal"])
    packed = socket.inet_pton(socket.AF_INET6, row["address6"]).hex()
    equal(w.ask(".".join(reversed(packed)) + ".ip6.arpa", PTR).data(PTR), ["2.web.shop.zlayer.internal"])
    equal(w.ask("edge-1.node.zlayer.internal").data(), [w.server])
    reverse = ".".join(reversed(w.server.split("."))) + ".in-addr.arpa"
    equal(w.ask(reverse, PTR).data(PTR), ["edge-1.node.zlayer.internal"])
    # Endpoints.
    for name in ("_http._tcp.web.service", "_raw._tcp.web.shop.zlayer.internal"):
        m = w.ask(name, SRV, edns=1232)
        equal(sorted(d[2] for d in m.data(SRV)), [8080] * 3, name)
        suffix = name.split("._tcp.")[1]
        equal(sorted(d[3] for d in m.data(SRV)), [f"{i}.{suffix}" for i in (1, 2, 3)])
        equal(sorted(r[3] for r in m.additional if r[1] == A), web)
    # Records take turns.
    check(len({tuple(w.ask("web.global").data()) for _ in range(20)}) == 3, "rotation")


def test_negative():
    w = setup()
    for name in ("nobody.global", "nobody.service", "4.web.global", "02.web.global", "x.web.global", "a.b.c.web.global",
                 "_none._tcp.web.global", "_http._udp.web.global", "web.nobody.zlayer.internal", "nobody.zlayer.internal",
                 "nobody.node.zlayer.internal", "x.zlayer.internal"):
        m = w.ask(name)
        equal((m.rcode, m.answers, m.own), (dnsmsg.NXDOMAIN, [], True), name)
        equal([row[1] for row in m.authorities], [SOA], name)
        check(struct.unpack(">I", m.authorities[0][3][-4:])[0] <= 5, "SOA minimum")
    # What is there but has no such record, or no ready replica.
    for name, kind in (("web.global", TXT), ("_http._tcp.web.global", A), ("global", A), ("zlayer.internal", A),
                       ("shop.zlayer.internal", A), ("idle.global", A), ("1.idle.global", A),
                       ("_http._tcp.idle.global", SRV), ("_tcp.web.global", A)):
        m = w.ask(name, kind)
        equal((m.rcode, m.answers), (dnsmsg.NOERROR, []), name)
        equal([row[1] for row in m.authorities], [SOA], name)
    check(not any(n.endswith((".global", ".service", ".internal")) for n, *_ in w.upstream.seen), "an own name was sent on")


def test_programs():
    """What programs in containers make of it."""
    w = setup()
    for name in ("web.service", "web.global", "web.shop.zlayer.internal", "web"):
        text = w.sh(f"nslookup {name}")
        check(all(a in text for a in w.ready("shop/web")), name, text)
    w.sh("wget -q -O - http://web.global:8080/status/200 && wget -q -O - http://web:8080/who", name="shop/client.2")
    check("10.0.0.9" in w.sh("cat /etc/hosts"), "extra_hosts")
    # The C library of the machine, with the container's network and resolv.conf.
    copy = os.path.join(w.node.folder, "copy.conf")
    with open(copy, "w") as f:
        f.write(w.text)
    for name in ("web.service", "web.global", "web", "cname.up.test"):
        text = zl.run("nsenter", "-t", str(w.pid), "-n", "unshare", "-m", "sh", "-c",
                      f"mount --bind {copy} /etc/resolv.conf && getent ahostsv4 {name}").stdout
        want = ["192.0.2.7"] if "up.test" in name else w.ready("shop/web")
        equal(sorted({line.split()[0] for line in text.splitlines()}), want, name)


def test_transport():
    w = setup()
    web = w.ready("shop/web")
    # Two questions in one connection, the second half closed.
    both = inside(w.pid, lambda: tcp(w.server, query("web.global", ident=1), query("a.up.test", ident=2), cut=True))
    equal([Message(b).id for b in both], [1, 2])
    equal((sorted(Message(both[0]).data()), Message(both[1]).data()), (web, ["192.0.2.7"]))
    # EDNS: answered where asked for, an unknown version refused.
    m = w.ask("web.global", edns=4096)
    check(m.edns and not w.ask("web.global").edns, "OPT")
    bad = bytearray(query("web.global", edns=4096))
    bad[-5] = 1
    m = Message(inside(w.pid, lambda: udp(w.server, bytes(bad))))
    equal((m.rcode, [row[2] >> 24 for row in m.additional]), (0, [1]))
    # By IPv6 too.
    v6 = w.ask("edge-1.node.zlayer.internal", AAAA).data(AAAA)[0]
    equal(sorted(Message(inside(w.pid, lambda: udp(v6, query("web.global")))).data()), web)


def test_one_connection():
    """A question in pieces, and another one when the first was answered."""
    w = setup()

    def ask():
        got = []
        with socket.create_connection((w.server, 53), timeout=20) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(3):
                m = query("web.shop.zlayer.internal", ident=i)
                for byte in struct.pack(">H", len(m)) + m:
                    s.sendall(bytes([byte]))
                    wait_for(lambda: unsent(s) == 0, "the other side has it")
                got.append(dnsmsg.read_stream(s))
        return got
    equal([Message(m).id for m in inside(w.pid, ask)], [0, 1, 2])


def unsent(s):
    """Bytes that the other side has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]


def test_slow_reader():
    """Questions one after the other by TCP, of a client that reads late and little at a time: all are answered, in their order."""
    w = setup()
    count = 2500

    def ask():
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            s.settimeout(60)
            s.connect((w.server, 53))
            messages = [query("web.shop.zlayer.internal", ident=i) for i in range(count)]
            sender = threading.Thread(target=s.sendall, args=(b"".join(struct.pack(">H", len(m)) + m for m in messages),))
            sender.start()
            wait_for(lambda: len(s.recv(65536, socket.MSG_PEEK)) >= 1000, "what the client's socket takes")
            ids, data = [], b""
            while len(ids) < count and (piece := s.recv(1500)):
                data += piece
                while len(data) >= 2 and len(data) >= 2 + (length := struct.unpack_from(">H", data)[0]):
                    m = Message(data[2:2 + length])
                    check(len(m.data()) == 3, m.data())
                    ids.append(m.id)
                    data = data[2 + length:]
            sender.join()
            return ids
    equal(inside(w.pid, ask), list(range(count)))


def test_garbage():
    w = setup()
    good = query("web.global")
    cases = {
        "answer": (b"\x12\x34\x81\x00" + good[4:], None),
        "short": (good[:7], None),
        "no question": (good[:4] + b"\0\0" + good[6:12], dnsmsg.FORMERR),
        "two questions": (good[:4] + b"\0\2" + good[6:] + good[12:], dnsmsg.FORMERR),
        "cut": (good[:-2], dnsmsg.FORMERR),
        "bytes behind": (good + b"x", dnsmsg.FORMERR),
        "pointer to itself": (good[:12] + b"\xc0\x0c\0\1\0\1", dnsmsg.FORMERR),
        "label type": (good[:12] + b"\x80" + good[13:], dnsmsg.FORMERR),
        "update": (b"\x12\x34\x28\x00" + good[4:], dnsmsg.NOTIMP),
        "class": (good[:-1] + b"\3", dnsmsg.REFUSED),
    }
    for what, (data, want) in cases.items():
        reply = inside(w.pid, lambda: udp(w.server, data, seconds=0.3 if want is None else 20))
        equal(reply and Message(reply).rcode, want, what)
    rng = random.Random(7)
    noise = [bytes(rng.randrange(256) for _ in range(rng.randrange(120))) for _ in range(300)]
    noise += [good[:12] + bytes(rng.randrange(256) for _ in range(rng.randrange(60))) for _ in range(300)]

    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for data in noise:
                s.sendto(data, (w.server, 53))
        for data in noise[:50]:
            with contextlib.suppress(OSError), socket.create_connection((w.server, 53), timeout=20) as s:
                s.sendall(data)
    inside(w.pid, flood)
    equal(sorted(w.ask("web.global").data()), w.ready("shop/web"))
    wait_for(lambda: w.metric("zlayer_dns_queries_total", result="malformed") > 10, "garbage is counted")


def test_forwarding():
    w = setup()
    equal(w.ask("a.up.test").data(), ["192.0.2.7"])
    m = w.ask("cname.up.test")
    equal((m.data(CNAME), m.data(A)), (["a.up.test"], ["192.0.2.7"]))
    equal(w.ask("none.up.test").rcode, dnsmsg.NXDOMAIN)
    equal(w.ask("servfail.up.test").rcode, dnsmsg.SERVFAIL)
    # As it was asked: id and spelling.
    m = w.ask("MiXeD.Up.Test", ident=0xbeef)
    equal((m.id, m.question[0], m.data()), (0xbeef, "MiXeD.Up.Test", ["192.0.2.7"]))
    # Cut by UDP, whole by TCP.
    check(w.ask("big.up.test").cut, "TC")
    big = Message(inside(w.pid, lambda: tcp(w.server, query("big.up.test")))[0])
    equal((len(big.data()), big.cut), (1500, False))
    # Only the true answer is taken; ports and ids cannot be guessed.
    equal(w.ask("forged.up.test").data(), ["192.0.2.7"])
    for i in range(20):
        w.ask(f"n{i}.up.test")
    mine = [s for s in w.upstream.seen if s[0].startswith("n")]
    check(len({p for _, p, _ in mine}) > 10 and len({i for *_, i in mine}) > 10, mine)
    # Names under our addresses' prefix are answered here, others' are sent on.
    w.ask("1.2.0.192.in-addr.arpa", PTR)
    check(any(n == "1.2.0.192.in-addr.arpa" for n, *_ in w.upstream.seen), "a foreign address")
    # Many at once, several the same.
    names = [f"m{i % 40}.up.test" for i in range(120)]

    def many():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(20)
            s.connect((w.server, 53))
            got = set()
            for part in range(0, len(names), 30):
                for i in range(part, part + 30):
                    s.send(query(names[i], ident=i))
                for _ in range(30):
                    m = Message(s.recv(4096))
                    if m.question[0] == names[m.id] and m.data() == ["192.0.2.7"]:
                        got.add(m.id)
            return len(got)
    equal(inside(w.pid, many), len(names))


def test_strangers_are_not_forwarded():
    """A resolver that sends our questions back does so from the machine, not from a container."""
    w = setup()
    fabric = f"{w.node.run_folder}/netns/fabric"
    m = Message(inside(fabric, lambda: udp(w.server, query("a.up.test"))))
    equal(m.rcode, dnsmsg.REFUSED)
    equal(Message(inside(fabric, lambda: udp(w.server, query("web.global")))).rcode, dnsmsg.REFUSED)
    equal(sorted(Message(inside(fabric, lambda: udp(w.server, query("web.shop.zlayer.internal")))).data()), w.ready("shop/web"))
    # Another address of the fabric is not where names are asked for.
    equal(inside(fabric, lambda: udp("127.0.0.1", query("web.shop.zlayer.internal"), seconds=0.3)), None)
    w.upstream.loop_to = lambda data: Message(inside(fabric, lambda: udp(w.server, data))).rcode
    equal(w.ask("loop.up.test").rcode, dnsmsg.SERVFAIL)
    equal(w.upstream.looped, dnsmsg.REFUSED)
    # One that runs in a container of this node: its question joins ours, and both end.
    other = w.replica("shop/client.2")["container"]["pid"]
    w.upstream.loop_to = lambda data: inside(other, lambda: udp(w.server, data, seconds=30))
    before = len(w.upstream.seen)
    equal(w.ask("loop.two.up.test").rcode, dnsmsg.SERVFAIL)
    check(len(w.upstream.seen) - before < 20, "questions in a circle", w.upstream.seen[before:])
    wait_for(lambda: w.metric("zlayer_dns_queries_total", result="loop") >= 1, "the loop is counted")


def test_upstream_gone():
    w = setup()
    equal(w.ask("dead.up.test").rcode, dnsmsg.SERVFAIL)
    # The next one is asked, and then first.
    w.resolvers("127.0.0.54", RESOLVER)
    wait_for(lambda: w.metric("zlayer_dns_upstream_queries_total", resolver="127.0.0.54") > 0 or
             w.ask("a.up.test").data() != ["192.0.2.7"], "the file is read again")
    equal(w.ask("b.up.test").data(), ["192.0.2.7"])
    # None at all.
    w.resolvers()
    wait_for(lambda: w.ask("c.up.test").rcode == dnsmsg.SERVFAIL, "no resolver is left")
    equal(sorted(w.ask("web.global").data()), w.ready("shop/web"))
    w.resolvers(RESOLVER)
    wait_for(lambda: w.ask("d.up.test").data() == ["192.0.2.7"], "the resolver is back")


def test_killed_replica():
    w = setup()
    row = w.replica("shop/web.1")["container"]
    equal(sorted(w.ask("web.global").data()), w.ready("shop/web"))

    def gone():
        """The first restarts are at once, too fast to be seen from here: it is killed until it has to wait."""
        pid = (w.replica("shop/web.1")["container"] or {}).get("pid")
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return row["address"] not in w.ask("web.global").data()
    wait_for(gone, "the dead replica is not named")
    wait_for(lambda: len(w.ready("shop/web")) == 3 and sorted(w.ask("web.global").data()) == w.ready("shop/web"),
             "its successor is")


def test_overlay_killed():
    w = setup()
    wrong = []
    web = w.ready("shop/web")

    def client():
        def loop():
            bad = []
            end = time.monotonic() + 120
            while not os.path.exists(flag) and time.monotonic() < end:
                for name, want in (("web.global", web), ("a.up.test", ["192.0.2.7"])):
                    # As the container's own resolver does: tries of two seconds.
                    reply = udp(w.server, query(name), seconds=2, tries=10)
                    if reply is None:
                        bad.append("no answer for " + name)
                    elif sorted(Message(reply).data()) != want:
                        bad.append(f"{name}: {Message(reply).rcode} {Message(reply).data()}")
            return bad
        wrong.extend(inside(w.pid, loop))

    flag = os.path.join(w.node.folder, "stop")
    thread = threading.Thread(target=client)
    thread.start()
    for _ in range(3):
        old = w.node.kill("overlay")
        wait_for(lambda: old not in w.node.processes().values() and w.node.ready(), "overlay is back")
        equal(sorted(w.ask("web.global").data()), web)
    old = w.node.kill("scheduler")
    wait_for(lambda: old not in w.node.processes().values() and w.node.ready(), "scheduler is back")
    old = w.node.kill("runtime")
    wait_for(lambda: old not in w.node.processes().values() and w.node.ready(), "runtime is back")
    open(flag, "w").close()
    thread.join()
    os.unlink(flag)
    equal(wrong, [], "wrong or missing answers")


def replaced(w, before):
    with contextlib.suppress(OSError, zl.http.client.HTTPException, ValueError):
        return w.node.ready() and not before & set(w.node.processes().values())
    return False


def test_node_again():
    """An upgrade keeps the sockets; a node that was killed gets them anew."""
    w = setup()
    before = set(w.node.processes().values())
    w.node.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: replaced(w, before), "every process was replaced")
    equal(sorted(w.ask("web.global").data()), w.ready("shop/web"))
    before = set(w.node.processes().values())
    w.node.process.kill()
    w.node.process.wait()
    w.node.start(wait=False)
    wait_for(lambda: replaced(w, before), "processes of the new node")
    wait_for(lambda: sorted(w.ask("web.global").data()) == w.ready("shop/web") != [], "names after a killed node")
    wait_for(lambda: w.ask("a.up.test").data() == ["192.0.2.7"], "the world too")


def test_rate():
    """A container that asks too much is not heard; its neighbour is."""
    w = setup()

    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for _ in range(20000):
                with contextlib.suppress(OSError):
                    s.sendto(query("web.global"), (w.server, 53))
    pid = w.replica("shop/client.2")["container"]["pid"]
    equal(sorted(w.ask("web.global").data()), w.ready("shop/web"))

    def limited():
        inside(pid, flood)
        return w.metric("zlayer_dns_queries_total", result="limited") > 0
    wait_for(limited, "the limit")
    equal(sorted(w.ask("web.global").data()), w.ready("shop/web"))
    # So many connections, and no more, of one container; idle ones are closed.

    def hold():
        socks = [socket.create_connection((w.server, 53), timeout=30) for _ in range(12)]
        closed = 0
        for s in socks:
            try:
                closed += s.recv(1) == b""
            except OSError:
                closed += 1
        return closed
    equal(inside(pid, hold), 12)


def test_end():
    w = setup()
    w.close()
    equal(w.node.traces()["run"], [])


if __name__ == "__main__":
    zl.main(globals())
