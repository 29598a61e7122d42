# SPDX-License-Identifier: Apache-2.0
"""tcp and udp endpoints through the relay: bytes, ends, sessions, addresses, failures and changes.

    client in the host's namespace -- 127.0.0.1:PORT -- proxy -- fabric -- tests/e2e/echo.c in containers
"""

import contextlib
import hashlib
import http.client
import os
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import urllib.request

from zl import Failure, Node, PROGRAM, check, equal, main, wait_for

HOST = "127.0.0.1"
CONFIG = """
listen: { http: ["127.0.0.1:8080"], https: ["127.0.0.1:8443"] }
dataplane: { uplink: off, interfaces: [], mode: off }
proxy: { workers: 2 }
# Without "health" there are 30 s more.
deploy: { monitor: 100ms, health_timeout: 1s }
"""


def document(endpoints, replicas=1, deployment="net", name="echo", extra="", health="", update="drain: 5s"):
    lines = "\n".join(f"      - {{ {e} }}" for e in endpoints)
    return f"""version: v1
deployment: {deployment}
services:
  {name}:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: [/bin/echo-server, "7000"] }}
    endpoints:
{lines}
    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 2s
    update: {{ {update}, monitor: 100ms }}
    {health}
{extra}
"""


TCP = "name: raw, protocol: tcp, port: 7100, target_port: 7000, expose: public"
NAMED = "name: named, protocol: tcp, port: 7101, target_port: 7001, expose: public"
UDP = "name: dgram, protocol: udp, port: 7100, target_port: 7000, expose: public, stream: { session_timeout: 2s }"


@contextlib.contextmanager
def node(endpoints=(TCP, NAMED, UDP), replicas=1, config=CONFIG, **options):
    with Node(config) as n:
        n.import_image()
        n.deploy(document(endpoints, replicas, **options))
        yield n


def connect(port=7100, seconds=30):
    """A new port may take a moment to be opened."""
    def once():
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((HOST, port), timeout=seconds)

    s = wait_for(once, f"somebody listens on {port}")
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_all(s):
    data = b""
    while piece := s.recv(65536):
        data += piece
    return data


def echo(port=7100, data=b"hello"):
    with connect(port) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return read_all(s)


def who(port=7101):
    with connect(port) as s:
        return s.makefile().readline().strip()


def memory_kb(n, role="proxy"):
    total = 0
    for (name, _), pid in n.processes().items():
        if name == role:
            text = open(f"/proc/{pid}/smaps_rollup").read()
            total += int(text.split("Pss:")[1].split()[0])
    return total


# ---- tcp

def test_bytes_both_ways():
    with node():
        equal(echo(), b"hello", "an echo")
        # 100 MiB each way, at the same time; the client's end comes last and the answer is whole.
        block, count = os.urandom(1 << 20), 100
        sent, got = hashlib.sha256(), hashlib.sha256()
        with connect(seconds=120) as s:
            def write():
                for _ in range(count):
                    sent.update(block)
                    s.sendall(block)
                s.shutdown(socket.SHUT_WR)
            writer = threading.Thread(target=write)
            writer.start()
            total = 0
            while piece := s.recv(1 << 18):
                got.update(piece)
                total += len(piece)
            writer.join()
        equal(total, count << 20, "bytes back")
        equal(got.hexdigest(), sent.hexdigest(), "the digest")


def test_each_half_ends_alone():
    endpoints = (
        "name: a, protocol: tcp, port: 7109, target_port: 7003, expose: public",
        "name: b, protocol: tcp, port: 7110, target_port: 7003, host: bye.test, expose: public, stream: { tls: true }")
    with node(endpoints) as n:
        # The replica ends first; what the client sends afterwards still comes, all of it.
        with connect(7109) as s:
            equal(read_all(s), b"bye", "until the replica's end")
            s.sendall(b"x" * 3000000)
        wait_for(lambda: "end after 3000000 bytes" in n.cli("logs", "net/echo").stdout, "the rest came")
        # A reset is told as one.
        with connect(7109) as s:
            equal(read_all(s), b"bye", "until the replica's end")
            s.sendall(b"y" * 1000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: "reset after " in n.cli("logs", "net/echo").stdout, "a reset")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def over_tls():
            try:
                with context.wrap_socket(connect(7110), server_hostname="bye.test", suppress_ragged_eofs=False) as s:
                    equal(read_all(s), b"bye", "until the replica's end")  # with TLS's own end, or this fails
                    return True
            except OSError:
                return False
        wait_for(over_tls, "the end over TLS")


def test_slow_reader_costs_no_memory():
    with node() as n:
        echo()
        before = memory_kb(n)
        slow = []
        for _ in range(20):
            s = connect()
            s.setblocking(False)
            slow.append(s)
        # They send and never read: everything on the way fills up and stays as it is.
        def filled(s):
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += s.send(b"x" * 65536)
            return not sent
        wait_for(lambda: all([filled(s) for s in slow]), "nobody takes more")
        grown = memory_kb(n) - before
        check(grown < 20 * 512, f"memory grew by {grown} KiB for 20 connections")
        for s in slow:
            s.close()
        equal(echo(), b"hello", "afterwards")


def test_a_thousand_connections():
    with node(replicas=2):
        conns = []
        try:
            for _ in range(1000):
                conns.append(connect())
            for i, s in enumerate(conns):
                s.sendall(b"%04d" % i)
            for i, s in enumerate(conns):
                got = b""
                while len(got) < 4:
                    piece = s.recv(4 - len(got))
                    check(piece, f"connection {i} was ended")
                    got += piece
                equal(got, b"%04d" % i, "an echo")
        finally:
            for s in conns:
                s.close()
        wait_for(lambda: len({who() for _ in range(20)}) == 2, "both replicas are used")


# ---- udp

def ask(s, data=b"x", tries=20):
    for _ in range(tries):
        s.send(data)
        try:
            return s.recv(65536)
        except (socket.timeout, ConnectionRefusedError):
            continue
    raise Failure("no answer over udp")


def udp(port=7100, source=None, address=HOST):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    if source:
        s.bind((source, 0))
    s.connect((address, port))
    return s


def test_udp_sessions():
    with node(replicas=3):
        with udp() as s:
            first = ask(s, b"hello")
            check(first.endswith(b" hello"), first)
            # The same replica as long as the session lasts, and large datagrams come whole.
            for i in range(50):
                equal(ask(s, b"%d" % i).split()[0], first.split()[0], "the session's replica")
            big = ask(s, b"b" * 30000)
            equal(len(big.split()[1]), 30000, "a large datagram")
        names = set()
        socks = [udp() for _ in range(40)]
        for s in socks:
            names.add(ask(s).split()[0])
        check(len(names) == 3, "sessions are spread over the replicas", names)
        for s in socks:
            s.close()
        # Answers come from the address that was asked: a connected socket takes no others.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.sendto(b"ping", (HOST, 7100))
            equal(s.recvfrom(100), (b"pong", (HOST, 7100)), "from where the answer comes")


def metrics():
    return urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=30).read().decode()


def test_udp_session_timeout():
    with node() as n:
        def gauge():
            return sum(float(line.rsplit(" ", 1)[1]) for line in metrics().splitlines()
                       if line.startswith("zlayer_connections_active{") and 'listener="udp"' in line)
        with udp() as s:
            first = ask(s)
            wait_for(lambda: gauge() == 1, "one session")
            # It ends by itself, and the next datagram makes a new one.
            wait_for(lambda: gauge() == 0, "the session ends after session_timeout")
            equal(ask(s), first, "the same replica, as there is no other")
            # A replica that is gone: the session moves.
            n.deploy(document((TCP, NAMED, UDP), extra="    env: { A: b }"))
            wait_for(lambda: ask(s) != first, "the new replica answers")
        # Without a replica: what asks for nobody is forgotten, too.
        wait_for(lambda: gauge() == 0, "no session before")
        n.cli("scale", "net/echo=0", "--force")
        wait_for(lambda: not n.get("/v1/replicas")["items"], "there is no replica")
        with udp() as s:
            wait_for(lambda: s.send(b"anybody?") and gauge() == 1, "a session without a replica")
            wait_for(lambda: gauge() == 0, "it ends as others do")


def forge(source, target, data):
    """A datagram on loopback with another's port as its source."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as s:
        s.sendto(struct.pack("!HHHH", source, target, 8 + len(data), 0) + data, (HOST, 0))


def test_endpoints_do_not_answer_each_other():
    other = "name: other, protocol: udp, port: 7102, target_port: 7000, expose: public"

    def refused():
        return sum(float(line.rsplit(" ", 1)[1]) for line in metrics().splitlines()
                   if line.startswith("zlayer_http_rejected_total{") and 'reason="denied"' in line)

    with node((UDP, other)):
        for port in (7100, 7102):
            with udp(port) as s:
                ask(s)
        forge(7100, 7102, b"round and round")
        wait_for(lambda: refused() >= 1, "it was refused")


def test_every_address_answers():
    config = CONFIG.replace('"127.0.0.1:8080"', '"0.0.0.0:8080", "[::]:8080"')
    with node(config=config):
        equal(echo(), b"hello", "IPv4")
        with socket.create_connection(("::1", 7100), timeout=30) as s:
            s.sendall(b"six")
            s.shutdown(socket.SHUT_WR)
            equal(read_all(s), b"six", "IPv6")
        # What comes back comes from the address that was asked, not from the first of the machine.
        for family, address in ((socket.AF_INET, HOST), (socket.AF_INET, "127.7.7.7"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.connect((address, 7100))
                s.settimeout(2)
                equal(ask(s, b"ping"), b"pong", f"an answer from {address}")


def test_addresses_follow_a_reload():
    with node() as n:
        equal(echo(), b"hello", "before")
        with connect() as held:
            n.write_config(CONFIG.replace("127.0.0.1:8080", "127.0.0.3:8080").replace("127.0.0.1:8443", "127.0.0.3:8443"))
            n.process.send_signal(signal.SIGHUP)
            wait_for(lambda: accepts(7100, "127.0.0.3"), "the new address")
            wait_for(lambda: not accepts(7100), "the old address is closed")
            held_echo(held)
        with udp(7100, address="127.0.0.3") as s:
            equal(ask(s, b"ping"), b"pong", "udp at the new address")


def test_sessions_have_a_limit():
    most = 4500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < most + 500:
        print("# SKIP too few descriptors")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    endpoint = UDP.replace("2s", "300s")
    with node((endpoint,), config=CONFIG.replace("workers: 2", "workers: 1")):
        socks = []
        try:
            with udp() as first:
                ask(first)
                for _ in range(most):
                    s = udp()
                    s.send(b"x")
                    socks.append(s)
                    if len(socks) % 50 == 0:
                        ask(first)  # what is answered stays
            answered = 0
            for s in socks:
                s.setblocking(False)
            for s in socks:
                with contextlib.suppress(BlockingIOError):
                    answered += bool(s.recv(100))
            check(answered <= 4096, answered, "sessions")
            check('reason="sessions"' in metrics(), "what found no place is counted")
        finally:
            for s in socks:
                s.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- what replicas and clients are told

def header(protocol, source, port):
    return (b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x10 | protocol, 0, 12]) + socket.inet_aton(HOST) * 2 +
            struct.pack(">HH", source, port))


def test_proxy_protocol():
    endpoints = (
        "name: a, protocol: tcp, port: 7102, target_port: 7002, expose: public, stream: { proxy_protocol: true }",
        "name: b, protocol: udp, port: 7103, target_port: 7001, expose: public, stream: { proxy_protocol: true }")
    with node(endpoints):
        with connect(7102) as s:
            s.sendall(b"hello")
            s.shutdown(socket.SHUT_WR)
            line, rest = read_all(s).split(b"\n", 1)
            equal(line.decode(), header(1, s.getsockname()[1], 7102).hex(), "the header")
            equal(rest, b"hello", "what follows it")
        with udp(7103) as s:
            want = header(2, s.getsockname()[1], 7103) + b"hi"
            equal(ask(s, b"hi").split()[1].decode(), want.hex(), "each datagram has a header")


def tls_echo(s, data):
    """Sends and receives in one thread: what OpenSSL keeps of a connection is not for two."""
    s.setblocking(False)
    view, sent, got = memoryview(data), 0, bytearray()
    while len(got) < len(data):
        moved = False
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if sent < len(data):
                sent += s.send(view[sent:sent + 65536])
                moved = True
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            piece = s.recv(1 << 16)
            check(piece, "cut after", len(got))
            got += piece
            moved = True
        if not moved:
            ready = select.select([s], [s] if sent < len(data) else [], [], 60)
            check(any(ready), "nothing moves any more, after", len(got))
    return bytes(got)


def test_tls():
    endpoints = (
        "name: a, protocol: tcp, port: 7104, target_port: 7000, host: sql.test, expose: public, stream: { tls: true }",
        "name: b, protocol: tcp, port: 7105, target_port: 7000, expose: public, stream: { tls: true }")
    with node(endpoints) as n:
        connect(7104).close()
        wait_for(lambda: n.cli("cert", "authority", status=None).returncode == 0, "there is an authority")
        authority = n.authority()

        def client(*args):
            p = subprocess.Popen(["openssl", "s_client", "-connect", f"{HOST}:7104", "-CAfile", authority, "-quiet",
                                  "-verify_return_error", "-verify_hostname", "sql.test", *args],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                with contextlib.suppress(BrokenPipeError):
                    p.stdin.write("hello\n")
                    p.stdin.flush()
                return p.stdout.readline() == "hello\n"
            finally:
                p.kill()
                p.communicate()
        # With the name, without one, and whatever protocols the client offers.
        wait_for(lambda: client("-servername", "sql.test"), "openssl s_client")
        check(client("-noservername"), "a client that names nobody")
        check(client("-servername", "sql.test", "-alpn", "postgresql,h2"), "a client with protocols")
        check(not client("-servername", "other.test"), "another name is served")
        context = ssl.create_default_context(cafile=authority)
        block = os.urandom(1 << 20)
        with context.wrap_socket(connect(7104, 60), server_hostname="sql.test") as s:
            for _ in range(10):
                equal(hashlib.sha256(tls_echo(s, block)).digest(), hashlib.sha256(block).digest(), "bytes over TLS")
        # An endpoint of any host has the node's own names.
        context.check_hostname = False

        def any_host():
            try:
                return context.wrap_socket(connect(7105)).version()
            except OSError:
                return None
        wait_for(any_host, "a certificate for any host")


def test_allow_and_deny():
    endpoints = (
        "name: a, protocol: tcp, port: 7106, target_port: 7000, expose: public, "
        "limits: { allow: [127.0.0.0/30], deny: [127.0.0.2/32] }",
        "name: b, protocol: udp, port: 7106, target_port: 7000, expose: public, limits: { deny: [127.0.0.2/32] }")
    with node(endpoints):
        equal(echo(7106), b"hello", "allowed")
        for source in ("127.0.0.2", "127.0.0.9"):
            with contextlib.suppress(ConnectionError), \
                    socket.create_connection((HOST, 7106), timeout=20, source_address=(source, 0)) as s:
                s.sendall(b"x")
                equal(s.recv(1), b"", f"{source} is refused")
        with udp(7106) as s:
            ask(s)
        with udp(7106, "127.0.0.2") as s:
            s.settimeout(1)
            s.send(b"x")
            try:
                raise Failure(f"denied, and answered {s.recv(100)!r}")
            except socket.timeout:
                pass
        check('zlayer_http_rejected_total{service="net/echo",reason="denied"}' in metrics(), "refusals are counted")


# ---- ports

def free():
    with socket.socket() as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as d:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, 7100))
            s.listen()
            d.bind((HOST, 7100))
            return True
        except OSError:
            return False


def test_ports_have_one_owner():
    with node() as n:
        r = n.deploy(document((TCP,), deployment="other"), status=None)
        check(r.returncode != 0 and "tcp port 7100 is served by deployment net already" in r.stderr, r.stderr)
        mine = "name: a, protocol: tcp, port: 8443, target_port: 7000, expose: public"
        r = n.deploy(document((mine,), deployment="other"), status=None)
        check(r.returncode != 0 and "tcp port 8443 is the node's own" in r.stderr, r.stderr)
        # Internal ports are nobody's business.
        n.deploy(document(("name: a, protocol: tcp, port: 7100, target_port: 7000",), deployment="other"))
        equal(echo(), b"hello", "afterwards")
        # A removed deployment gives its ports back.
        n.cli("rm", "net", "--yes")
        wait_for(free, "the ports are closed")
        n.deploy(document((TCP, UDP), deployment="third"))
        wait_for(lambda: echo() == b"hello", "the port has a new owner")


def test_port_in_use():
    taken = "name: b, protocol: tcp, port: 7107, target_port: 7001, expose: public"
    with socket.socket() as s, Node(CONFIG) as n:
        s.bind((HOST, 7107))
        s.listen()
        n.import_image()
        n.deploy(document((TCP, taken)), status=None)
        wait_for(lambda: echo() == b"hello", "the other port is served")

        def trouble():
            row = n.get("/v1/services/net/echo")
            return row["state"] == "degraded" and row
        row = wait_for(trouble, "the service is degraded")
        check("cannot listen on 127.0.0.1:7107 for tcp" in row["reason"]["what"], row)
        check(any("python3" in why for why in row["reason"]["why"]), "who has the port is named", row["reason"])
        s.close()
        wait_for(lambda: n.get("/v1/services/net/echo")["state"] == "ready", "it is tried again")
        check(who(7107), "served")


# ---- failures and changes

class Load:
    """Short connections and datagrams without a pause; what fails is kept."""

    def __init__(self, threads=4):
        self.failures, self.done, self.over = [], 0, False
        self.threads = [threading.Thread(target=self.tcp if i % 4 else self.udp) for i in range(threads)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for t in self.threads:
            t.join()

    def tcp(self):
        while not self.over:
            try:
                equal(echo(), b"hello", "an echo")
                self.done += 1
            except Exception as e:
                self.failures.append(repr(e))

    def udp(self):
        with udp() as s:
            while not self.over:
                try:
                    ask(s)
                    self.done += 1
                except Exception as e:
                    self.failures.append(repr(e))

    def proceed(self, count=200):
        until = self.done + count
        wait_for(lambda: self.done >= until, f"{count} more echoes")


def probed(expect):
    endpoint = ("name: dgram, protocol: udp, port: 7108, target_port: 7000, expose: public, stream: "
                f"{{ health_check: {{ type: udp_probe, request: ping, expect: {expect} }} }}")
    return document((endpoint,), deployment="probed", extra=f"    env: {{ EXPECT: {expect} }}")


def test_redeploys_lose_nothing():
    """Meanwhile another deployment is turned back: what it answers to a probe is not what is expected."""
    with node(replicas=2) as n:
        n.deploy(probed("pong"))
        with udp(7108) as s:
            equal(ask(s, b"ping"), b"pong", "an answer")
        path = os.path.join(n.folder, "probed.zlayer.yaml")
        with open(path, "w") as f:
            f.write(probed("other"))
        other = subprocess.Popen([PROGRAM, "--socket", n.socket, "deploy", path], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        echo()
        with Load() as load:
            load.proceed()
            for i in range(4):
                n.deploy(document((TCP, NAMED, UDP), 2, extra=f"    env: {{ N: n{i} }}", update="drain: 5s, max_surge: 2"))
                load.proceed(50)
        equal(load.failures[:5], [], f"failures among {load.done}")
        said = other.communicate(timeout=120)[0]
        equal(other.returncode, 6, said)
        check("UDP port 7000" in said, said)


def test_replica_killed_under_load():
    with node(replicas=3) as n:
        echo()
        with Load() as load:
            load.proceed()
            victim = n.cli_json("ps")["items"][0]
            os.kill(victim["container"]["pid"], signal.SIGKILL)

            def back():
                rows = n.cli_json("ps")["items"]
                return all(r["state"] == "ready" for r in rows) and sum(r["restarts"] for r in rows) > 0
            wait_for(back, "it is back")
            load.proceed()
        # What was under way on it is cut; what is new goes to the others.
        check(len(load.failures) <= 20, len(load.failures), "failures", load.failures[:5])


def held_echo(s, data=b"still here"):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = s.recv(len(data) - len(got))
        check(piece, "the connection was cut")
        got += piece
    equal(got, data, "an echo")


def test_processes_killed():
    with node(replicas=2) as n:
        echo()
        for role in ("scheduler", "runtime", "dataplane", "signer"):
            with connect() as held:
                old = n.kill(role)
                held_echo(held)
                wait_for(lambda: old not in n.processes().values() and n.ready(), f"{role} is back")
                held_echo(held)
            equal(echo(), b"hello", f"after {role}")
        for index in (0, 1):
            old = n.kill("proxy", index)
            wait_for(lambda: old not in n.processes().values() and n.ready(), "the worker is back")
            for _ in range(20):
                equal(echo(), b"hello", "after a worker")
            for _ in range(8):
                with udp() as s:
                    ask(s)


def accepts(port, address=HOST):
    try:
        socket.create_connection((address, port), timeout=5).close()
        return True
    except OSError:
        return False


def test_node_killed():
    with node(replicas=2) as n:
        echo()
        with connect() as held, udp() as s:
            first = ask(s)
            os.kill(n.process.pid, signal.SIGKILL)
            n.process.wait()
            held_echo(held)
            equal(echo(), b"hello", "without a node")
            equal(ask(s), first, "udp without a node")
            n.start()
            held_echo(held)
            for _ in range(20):
                equal(echo(), b"hello", "with the new node")
            equal(ask(s), first, "the client keeps its replica")
        # The ports are the new node's: they can be given up.
        n.deploy(document((NAMED,), 2))
        wait_for(lambda: not accepts(7100), "the port is closed")
        check(who(), "the other is served")


def replaced(n, before):
    try:
        now = n.processes()
    except (OSError, ValueError, http.client.HTTPException):
        return False  # api is being replaced
    return n.ready() and len({role for role, _ in now}) > 5 and len(set(now.values()) & before) <= 2


def test_upgrades_and_reloads():
    with node(replicas=2) as n:
        echo()
        with connect() as held, Load() as load:
            load.proceed()
            for _ in range(2):
                before = set(n.processes().values())
                n.process.send_signal(signal.SIGUSR2)
                wait_for(lambda: replaced(n, before), "all but those that drain were replaced")
                held_echo(held)  # on a worker that drains
                n.process.send_signal(signal.SIGHUP)
                load.proceed()
            held_echo(held)
        equal(load.failures[:5], [], f"failures among {load.done}")


if __name__ == "__main__":
    main(globals())
