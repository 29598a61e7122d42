#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One proxy worker between real clients and real replicas (proxy_rig.c has the picture).

    curl, h2, raw sockets -> worker -> replica 1, 2, 3 (tests/e2e/server.c)
"""

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback

import h2.config
import h2.connection
import h2.events
import h2.settings

RIG, REPLICA = sys.argv[1], sys.argv[2]


def free_port():
    """None that the kernel gives to a connection of somebody else in the meantime."""
    while True:
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_for(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain for " + what)


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Rig:
    def __init__(self, replicas=3, env=None):
        self.http, self.https = free_port(), free_port()
        self.replicas = {}
        for n in range(replicas):
            self.start_replica(n + 1)
        ports = [str(port) for port, _ in self.replicas.values()]
        self.process = subprocess.Popen(
            [RIG, str(self.http), str(self.https), *ports],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, **(env or {})))
        assert self.process.stdout.readline() == "ready\n"

    def start_replica(self, n):
        port = free_port()
        process = subprocess.Popen([REPLICA, "-p", str(port)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        wait_for("replica", lambda: is_open(port))
        self.replicas[n] = (port, process)
        return port

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        self.order(line)
        out = []
        while True:
            answer = self.process.stdout.readline()
            if not answer or answer == "end\n":
                return out
            out.append(answer.rstrip("\n"))

    def metric(self, name, **labels):
        want = ",".join('%s="%s"' % (k, v) for k, v in labels.items())
        for line in self.ask("metrics"):
            if line.startswith("%s{%s}" % (name, want)):
                return int(line.rsplit(" ", 1)[1])
        return 0

    def applied(self):
        for line in self.ask("rows"):
            if line.startswith("applied"):
                return line.split()
        return "applied 0 0 connections 0 draining 0".split()

    def close(self):
        if self.process.poll() is None:
            self.order("quit")
            self.process.wait(20)
        self.process.stdin.close()
        self.process.stdout.close()
        for _, process in self.replicas.values():
            process.kill()
            process.wait()


def tls_context(*protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def connect(rig, tls=False, host="shop.test", protocols=("http/1.1",)):
    s = socket.create_connection(("127.0.0.1", rig.https if tls else rig.http), timeout=15)
    return tls_context(*protocols).wrap_socket(s, server_hostname=host) if tls else s


def read_all(s):
    data = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return data
            data += piece
    except ConnectionResetError:
        return data


def read_answer(s, head_only=False):
    """One answer with a length: (status, head, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(65536)
        if not piece:
            return None
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while not head_only and len(body) < length:
        piece = s.recv(65536)
        if not piece:
            raise OSError("closed in the middle of an answer")
        body += piece
    return int(head.split()[1]), head.decode("latin1"), body


def get(rig, path, host="shop.test", tls=False, headers=""):
    with connect(rig, tls) as s:
        s.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (path, host, headers)).encode())
        return read_answer(s)


# ---- tests: each gets a fresh rig ----

def test_headers(rig):
    status, head, body = get(rig, "/echo", headers="X-Forwarded-For: 6.6.6.6\r\n"
                             "Forwarded: for=6.6.6.6\r\nX-Request-ID: spoof\r\n", tls=True)
    text = body.decode().lower()
    assert status == 200, head
    assert "x-forwarded-for: 127.0.0.1" in text and "6.6.6.6" not in text, text
    assert "x-forwarded-proto: https" in text and "spoof" not in text
    assert "x-request-id: " in text and "strict-transport-security" not in head.lower()
    ours = [line for line in head.lower().split("\r\n") if line.startswith("x-request-id")]
    assert ours[0] in text
    # a route that is https only says so for the future
    _, head, _ = get(rig, "/echo", host="secure.test", tls=True)
    assert "strict-transport-security: max-age=" in head.lower()


def test_redirect(rig):
    status, head, _ = get(rig, "/a/b?c=d", host="secure.test")
    assert status == 308
    assert "location: https://secure.test:%d/a/b?c=d" % rig.https in head, head


def test_errors(rig):
    assert get(rig, "/../x")[0] == 400
    assert get(rig, "/%2e%2e/x")[0] == 400
    assert get(rig, "/a%2fb")[0] == 400
    assert get(rig, "/", host="closed.test")[0] == 403
    status, head, body = get(rig, "/", host="closed.test", headers="Accept: application/json\r\n")
    assert status == 403 and "application/problem+json" in head and b'"status":403' in body
    with connect(rig) as s:
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: limited.test\r\nContent-Length: 1001\r\n\r\n")
        assert read_answer(s)[0] == 413
    with connect(rig) as s:
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: limited.test\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n" + (b"200\r\n" + b"x" * 512 + b"\r\n") * 2)
        assert read_answer(s)[0] == 413
    with connect(rig) as s:
        s.sendall(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
        assert read_answer(s)[0] == 405


def test_malformed_requests(rig):
    host = b"Host: shop.test\r\n"
    bad = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
        b"GET / HTTP/1.1\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X : y\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: y\r\n z\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: \x00\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: xchunked\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx",
        b"GET / HTTP/3.0\r\n" + host + b"\r\n",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 40000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: y\r\n" * 120 + b"\r\n",
    ]
    for request in bad:
        with connect(rig) as s:
            # A second request must never be seen as one.
            s.sendall(request + b"GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            answer = read_all(s)
            assert answer[:10] == b"HTTP/1.1 4" or answer[:12] == b"HTTP/1.1 505", \
                (request[:60], answer[:60])
            assert b"smuggled" not in answer and answer.count(b"HTTP/1.1 ") == 1, request[:60]
    assert get(rig, "/who")[0] == 200


def test_pipelining(rig):
    with connect(rig, tls=True) as s:
        s.sendall(b"".join(b"GET /status/2%02d HTTP/1.1\r\nHost: shop.test\r\n\r\n" % n
                           for n in range(1, 4)) +
                  b"POST /upload HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"5\r\nhello\r\n0\r\n\r\n"
                  b"GET /who HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
        answer = read_all(s)
    assert answer.count(b"HTTP/1.1 2") == 5, answer
    assert [int(x[:3]) for x in answer.split(b"HTTP/1.1 ")[1:4]] == [201, 202, 203], answer


def test_split_bytes(rig):
    request = b"POST /upload HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello"
    with connect(rig) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(len(request)):
            s.sendall(request[n:n + 1])
        assert read_answer(s)[0] == 200


def test_half_close(rig):
    with connect(rig) as s:
        s.sendall(b"GET /slow/200 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        assert read_all(s).startswith(b"HTTP/1.1 200")


def test_expect(rig):
    with connect(rig) as s:
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"hello")
        assert read_answer(s)[0] == 200


def test_websocket(rig):
    key = b"dGhlIHNhbXBsZSBub25jZQ=="
    with connect(rig, tls=True) as s:
        s.sendall(b"GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\n"
                  b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  b"Sec-WebSocket-Key: " + key + b"\r\n\r\n")
        status, head, rest = read_answer(s, head_only=True)
        assert status == 101 and "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
        for n in range(1000):
            text = b"message %d" % n
            s.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            want = bytes([0x81, len(text)]) + text
            while len(rest) < len(want):
                piece = s.recv(65536)
                assert piece, "cut after message %d" % n
                rest += piece
            assert rest == want, (n, rest)
            rest = b""
    # gone: nothing is in flight any more
    wait_for("the end", lambda: rig.metric("zlayer_http_requests_in_flight", service="rig/web",
                                           endpoint="http") == 0)


def frames(sock):
    """Frames as they come: (type, flags, stream, payload)."""
    data = b""
    while True:
        while len(data) >= 9:
            length = int.from_bytes(data[:3], "big")
            if len(data) < 9 + length:
                break
            yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + length]
            data = data[9 + length:]
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            return
        if not piece:
            return
        data += piece


def goaway_code(sock):
    return next((int.from_bytes(p[4:8], "big") for t, _, _, p in frames(sock) if t == 7), None)


class H2:
    """A small HTTP/2 client over one connection."""

    def __init__(self, rig, tls=True):
        self.sock = connect(rig, tls, protocols=("h2",))
        assert not tls or self.sock.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        self.h2.initiate_connection()
        self.flush()
        self.events = {}
        self.connection_events = []

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def pump(self):
        data = self.sock.recv(65536)
        for event in self.h2.receive_data(data) if data else []:
            stream = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            if stream:
                self.events.setdefault(stream, []).append(event)
            else:
                self.connection_events.append(event)
        self.flush()
        return bool(data)

    def ending(self):
        """Reads to the end of the connection: the code of GOAWAY, None when there was none."""
        try:
            data = self.sock.recv(65536)
            while data:
                self.connection_events += self.h2.receive_data(data)
                data = self.sock.recv(65536)
        except TimeoutError:
            raise
        except (OSError, h2.exceptions.ProtocolError):
            pass
        ends = [e for e in self.connection_events if isinstance(e, h2.events.ConnectionTerminated)]
        return ends[0].error_code if ends else None

    def request(self, path, method="GET", extra=(), end=True, host="shop.test"):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", method), (":scheme", "https"),
                                      (":authority", host), (":path", path), *extra],
                             end_stream=end)
        self.flush()
        return stream

    def has(self, stream, kind):
        return [e for e in self.events.get(stream, []) if isinstance(e, kind)]

    def wait(self, stream, kind):
        while not self.has(stream, kind):
            if not self.pump():
                raise AssertionError("connection closed")
        return self.has(stream, kind)[0]

    def answer(self, stream):
        while not self.has(stream, h2.events.StreamEnded):
            assert not self.has(stream, h2.events.StreamReset), "reset"
            assert self.pump(), "closed"
        headers = dict(self.has(stream, h2.events.ResponseReceived)[0].headers)
        return headers, b"".join(e.data for e in self.has(stream, h2.events.DataReceived))

    def close(self):
        self.sock.close()


def test_h2(rig):
    c = H2(rig)
    streams = [c.request("/bytes/%d" % (n * 1000)) for n in range(50)]
    for n, stream in enumerate(streams):
        headers, body = c.answer(stream)
        assert headers[":status"] == "200" and len(body) == n * 1000
    # cookies are joined, hop-by-hop names refused
    stream = c.request("/echo", extra=[("cookie", "a=1"), ("cookie", "b=2")])
    assert b"cookie: a=1; b=2" in c.answer(stream)[1]
    stream = c.request("/echo", extra=[("connection", "close")])
    assert c.wait(stream, h2.events.StreamReset).error_code == 1
    # a body without a length, with trailers
    stream = c.request("/upload", "POST", end=False)
    c.h2.send_data(stream, b"hello")
    c.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
    c.flush()
    assert c.answer(stream)[1].startswith(b"5 ")
    c.close()
    wait_for("streams", lambda: rig.metric("zlayer_h2_streams_active", listener="https") == 0)


def test_h2_refusals(rig):
    for path in ("x", "/a b", "/%00", "/..", "/#"):
        c = H2(rig)
        stream = c.request(path)
        while not c.has(stream, (h2.events.StreamReset, h2.events.ResponseReceived)):
            assert c.pump()
        answer = c.has(stream, h2.events.ResponseReceived)
        assert not answer or dict(answer[0].headers)[":status"] == "400"
        c.close()
    c = H2(rig)
    stream = c.request("/", extra=[("x", "y" * 20000), ("z", "y" * 20000)])
    assert c.answer(stream)[0][":status"] == "431"
    c.close()


def test_h2_floods(rig):
    # rapid reset
    c = H2(rig)
    try:
        for _ in range(400):
            stream = c.request("/slow/1000")
            c.h2.reset_stream(stream, 8)
            c.flush()
    except (OSError, h2.exceptions.ProtocolError):
        pass  # it has hung up already: what it said before is read below
    # GOAWAY, or a reset that overtook it: the connection has ended.
    assert c.ending() in (11, None), c.connection_events[-3:]
    c.close()
    # pings
    c = H2(rig)
    ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"12345678"
    try:
        for _ in range(100):
            c.sock.sendall(ping * 1000)
    except OSError:
        pass
    # GOAWAY, or a reset that overtook it: the connection has ended.
    assert goaway_code(c.sock) in (11, None)
    c.close()
    # endless header block
    c = H2(rig)
    try:
        c.sock.sendall(bytes([0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]))
        for _ in range(50):
            c.sock.sendall(bytes([0, 0, 0, 9, 0, 0, 0, 0, 1]))
        while c.pump():
            pass
    except OSError:
        pass
    c.close()
    assert get(rig, "/who", tls=True)[0] == 200
    wait_for("in flight", lambda: rig.metric("zlayer_http_requests_in_flight", service="rig/web",
                                             endpoint="http") == 0)


def test_h2_websocket(rig):
    c = H2(rig)
    while not c.h2.remote_settings.enable_connect_protocol:
        assert c.pump()
    stream = c.request("/ws", "CONNECT", end=False,
                       extra=[(":protocol", "websocket"), ("sec-websocket-version", "13")])
    # pseudo-fields must come first
    headers = dict(c.wait(stream, h2.events.ResponseReceived).headers)
    assert headers[":status"] == "200" and "sec-websocket-accept" not in headers, headers
    for n in range(100):
        text = b"message %d" % n
        c.h2.send_data(stream, bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        c.flush()
        want = bytes([0x81, len(text)]) + text
        while b"".join(e.data for e in c.has(stream, h2.events.DataReceived))[-len(want):] != want:
            assert c.pump()
    c.close()


def test_slow_readers_cost_no_memory(rig):
    """Clients that do not read: the worker holds bounded memory for each."""
    def resident():
        out = subprocess.run(["pgrep", "-P", str(rig.process.pid)], capture_output=True, text=True)
        with open("/proc/%d/statm" % int(out.stdout.split()[0])) as f:
            return int(f.read().split()[1]) * 4096

    before = resident()
    clients = []
    for n in range(10):
        s = connect(rig, tls=n % 2 == 0)
        s.sendall(b"GET /bytes/100000000 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        clients.append(s)
    c = H2(rig)
    for _ in range(10):
        c.request("/bytes/100000000")
    last, same = 0, 0
    while same < 10:  # until it has settled
        now = resident()
        same = same + 1 if now == last else 0
        last = now
        time.sleep(0.05)
    assert last - before < 64 << 20, last - before
    for s in clients:
        s.close()
    c.close()


def test_unknown_name(rig):
    for host in ("nobody.test", "x.y.wild.test"):
        try:
            connect(rig, tls=True, host=host)
            raise AssertionError(host)
        except ssl.SSLError as e:
            assert "UNRECOGNIZED_NAME" in str(e).upper().replace(" ", "_"), e
    try:
        connect(rig, tls=True, host=None)
        raise AssertionError("no name")
    except ssl.SSLError:
        pass
    connect(rig, tls=True, host="x.wild.test").close()


def serial(rig):
    with connect(rig, tls=True) as s:
        return hash(s.getpeercert(binary_form=True))


def test_certificate_reload(rig):
    first = serial(rig)
    with connect(rig, tls=True) as kept:
        rig.order("certificate")
        wait_for("the new certificate", lambda: serial(rig) != first)
        kept.sendall(b"GET /who HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert read_answer(kept)[0] == 200


def test_resumption(rig):
    context = tls_context("http/1.1")

    def once(session):
        raw = socket.create_connection(("127.0.0.1", rig.https), timeout=15)
        with context.wrap_socket(raw, server_hostname="shop.test", session=session) as s:
            s.sendall(b"GET /who HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            assert read_answer(s)[0] == 200
            return s.session, s.session_reused

    session, reused = once(None)
    assert not reused
    assert once(session)[1]


def test_aborted_handshakes(rig):
    """Clients that leave while signer is asked: everything is given back."""
    for n in range(200):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls_context("h2").wrap_bio(incoming, outgoing, server_hostname="shop.test")
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = outgoing.read()
        with socket.create_connection(("127.0.0.1", rig.https)) as s:
            s.sendall(hello[:len(hello) if n % 3 else n])
            if n % 2:  # a reset instead of an end
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert get(rig, "/who", tls=True)[0] == 200
    wait_for("connections", lambda: rig.applied()[4] == "0")


def test_replica_restarts(rig):
    """Idle connections to a replica that went and came again are not used."""
    rig.order("remove 2")
    rig.order("remove 3")
    wait_for("applied", lambda: int(rig.applied()[2]) >= 5)
    assert get(rig, "/who")[0] == 200
    port, process = rig.replicas[1]
    for _ in range(5):
        process.kill()
        process.wait()
        process = subprocess.Popen([REPLICA, "-p", str(port)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        rig.replicas[1] = (port, process)
        wait_for("replica", lambda: is_open(port))
        assert get(rig, "/who")[0] == 200


class Load(threading.Thread):
    """Requests in a loop; counts what was not 200."""

    def __init__(self, rig, path="/who", tls=False):
        super().__init__(daemon=True)
        self.rig, self.path, self.tls = rig, path, tls
        self.done = self.failed = 0
        self.go = True
        self.errors = []
        self.start()

    def run(self):
        s = None
        while self.go:
            try:
                s = s or connect(self.rig, self.tls)
                s.sendall(("GET %s HTTP/1.1\r\nHost: shop.test\r\n\r\n" % self.path).encode())
                answer = read_answer(s)
                if answer is None:
                    raise OSError("closed without an answer")
                if answer[0] != 200:
                    raise OSError(str(answer[0]))
                if "connection: close" in answer[1].lower():
                    s.close()
                    s = None
                self.done += 1
            except OSError as e:
                self.failed += 1
                self.errors.append(str(e))
                s = None

    def stop(self):
        self.go = False
        self.join()
        return self


def test_replica_dies(rig):
    loads = [Load(rig) for _ in range(8)]
    wait_for("load", lambda: all(x.done > 20 for x in loads))
    rig.replicas[2][1].kill()
    rig.replicas[2][1].wait()
    marks = [x.done for x in loads]
    wait_for("more load", lambda: all(x.done > m + 50 for x, m in zip(loads, marks)))
    failed = sum(x.stop().failed for x in loads)
    assert failed <= len(loads), (failed, [x.errors for x in loads])


def timers_to(port):
    """Of the connections to a replica: 2 is the kernel's asking whether its machine is there (Linux: proc_net_tcp)."""
    with open("/proc/net/tcp") as f:
        lines = [line.split() for line in f.readlines()[1:]]
    return [int(x[5].split(":")[0], 16) for x in lines if x[3] == "01" and int(x[2].split(":")[1], 16) == port]


def test_doubt_ends_with_the_request(rig):
    """What the kernel asks while a request waits for a silent node, it does not ask of a connection in the pool."""
    rig.order("remove 2")
    rig.order("remove 3")
    wait_for("applied", lambda: int(rig.applied()[2]) >= 5)
    assert get(rig, "/who")[0] == 200
    port, process = rig.replicas[1]
    wait_for("nothing is asked", lambda: timers_to(port) == [0])
    # All its threads: until one of them has begun to stop, another one may answer.
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    with connect(rig) as s:
        s.sendall(b"GET /who HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        wait_for("in flight", lambda: rig.metric(
            "zlayer_http_requests_in_flight", service="rig/web", endpoint="http") == 1)
        rig.order("doubt 1")
        wait_for("the kernel asks", lambda: timers_to(port) == [2])
        process.send_signal(signal.SIGCONT)
        assert read_answer(s)[0] == 200
    wait_for("it asks no more", lambda: timers_to(port) == [0])


def test_no_replica(rig):
    for n in (1, 2, 3):
        rig.order("remove %d" % n)
    status, head, _ = wait_for("503", lambda: get(rig, "/who")[0] == 503 and get(rig, "/who"))
    assert "retry-after: 1" in head.lower()


def test_drain_of_a_replica(rig):
    rig.order("remove 2")
    rig.order("remove 3")
    wait_for("applied", lambda: int(rig.applied()[2]) >= 5)
    slow = Load(rig, "/slow/1500")
    wait_for("in flight", lambda: rig.metric(
        "zlayer_http_requests_in_flight", service="rig/web", endpoint="http") == 1)
    slow.go = False
    rig.order("add %d" % rig.start_replica(4))
    rig.order("drain 1")
    wait_for("drain row", lambda: "drain 1 1 0" in rig.ask("rows"))
    loads = [Load(rig) for _ in range(4)]
    wait_for("empty", lambda: "drain 1 0 0" in rig.ask("rows"))
    rig.replicas[1][1].kill()
    wait_for("load", lambda: all(x.done > 50 for x in loads))
    assert sum(x.stop().failed for x in loads) == 0, [x.errors for x in loads]
    assert slow.stop().done == 1 and slow.failed == 0
    rig.order("remove 1")
    wait_for("row gone", lambda: not any(r.startswith("drain 1 ") for r in rig.ask("rows")))


def test_swaps_under_load(rig):
    loads = [Load(rig, tls=n % 2 == 0) for n in range(6)]
    for n in range(200):
        rig.order("swap")
        assert get(rig, "/who")[0] == 200
    wait_for("load", lambda: all(x.done > 50 for x in loads))
    assert sum(x.stop().failed for x in loads) == 0, [x.errors for x in loads]
    wait_for("applied", lambda: int(rig.applied()[1]) >= 201)


def test_leaving(rig):
    c = H2(rig)
    slow = c.request("/slow/1500")
    kept = connect(rig)
    kept.sendall(b"GET /who HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    assert read_answer(kept)[0] == 200
    rig.order("stop 20000")
    seen = frames(c.sock)
    assert any(t == 7 for t, _, _, _ in seen), "no GOAWAY"
    # One more request on a kept connection is answered, and told that it was the last.
    kept.sendall(b"GET /who HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    status, head, _ = read_answer(kept)
    assert status == 200 and "connection: close" in head.lower()
    assert not is_open(rig.http)
    assert any(t == 0 and flags & 1 and stream == slow for t, flags, stream, _ in seen), "cut"
    c.close()
    kept.close()
    assert rig.process.wait(20) == 0


def test_slow_headers(rig):
    with connect(rig) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\n")
        began = time.monotonic()
        answer = read_all(s)
        assert answer.startswith(b"HTTP/1.1 408"), answer
        assert time.monotonic() - began > 5
    with connect(rig) as s:
        assert read_all(s) == b""


def test_counts(rig):
    for n in range(20):
        assert get(rig, "/who", tls=n % 2 == 0)[0] == 200
    labels = {"service": "rig/web", "endpoint": "http", "method": "GET", "code": "200"}
    wait_for("counter", lambda: rig.metric("zlayer_http_requests_total", **labels) == 20)
    before = len(rig.ask("metrics"))
    for n in range(300):
        get(rig, "/who", host="h%d.example" % n)
    assert len(rig.ask("metrics")) == before
    records = wait_for("records", lambda: [r for r in rig.ask("records") if " /who id " in r])
    assert any(r.startswith("11 200 shop.test /who id 01") for r in records), records


def test_random_bytes(rig):
    random.seed(int(os.environ.get("ZLAYER_SEED", "1")))
    for n in range(300):
        with connect(rig, tls=False) as s:
            data = bytes(random.randrange(256) for _ in range(random.randrange(1, 2000)))
            if n % 3 == 0:
                data = b"GET / HTTP/1.1\r\nHost: shop.test\r\n" + data
            if n % 3 == 1:
                data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused and closed before all of it was sent
            read_all(s)
    assert get(rig, "/who")[0] == 200


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    only = sys.argv[3:]
    tests = [t for t in tests if not only or t[0] in only]
    print("1..%d" % len(tests), flush=True)
    failed = 0
    for number, (name, f) in enumerate(tests, 1):
        rig = None
        try:
            rig = Rig(env={"RIG_RSA": "1"} if name == "test_resumption" else None)
            f(rig)
            if name != "test_leaving":
                assert rig.process.poll() is None, "the worker died"
            print("ok %d %s" % (number, name), flush=True)
        except Exception:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print("not ok %d %s" % (number, name), flush=True)
        finally:
            if rig:
                rig.close()
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())
