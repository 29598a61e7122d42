# SPDX-License-Identifier: Apache-2.0
"""Clients that mean harm. Whatever they send, no replica sees a request that was not meant for it, the workers
are the same processes afterwards, and they are no larger.

Every malformed or smuggled request asks for /exit/9: the replica that sees one ends."""

import contextlib
import re
import socket
import ssl
import struct
import time

import hpack
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame,
                              RstStreamFrame, SettingsFrame, WindowUpdateFrame)

import zl
from zl import Node, UnixConnection, check, equal, service, wait_for

HOST = b"Host: web.test\r\n"
BAD = b"GET /exit/9 HTTP/1.1\r\n"
POST = b"POST /exit/9 HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
NEXT = b"GET /exit/9 HTTP/1.1\r\nHost: web.test\r\n\r\n"

MALFORMED = {
    "no host": BAD + b"\r\n",
    "two hosts": BAD + HOST + HOST + b"\r\n",
    "two hosts, one other": BAD + HOST + b"Host: other.test\r\n\r\n",
    "host with a space": BAD + b"Host: web.test evil\r\n\r\n",
    "host with a user": BAD + b"Host: a@web.test\r\n\r\n",
    "host with a path": BAD + b"Host: web.test/x\r\n\r\n",
    "host with a bad port": BAD + b"Host: web.test:8x\r\n\r\n",
    "host with a list": BAD + b"Host: web.test, other.test\r\n\r\n",
    "bare line feed after the line": b"GET /exit/9 HTTP/1.1\n" + HOST + b"\r\n",
    "bare line feed after a field": BAD + b"Host: web.test\n\r\n",
    "bare line feed at the end": BAD + HOST + b"\n",
    "bare carriage return in the line": b"GET /exit/9\r HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare carriage return in a value": BAD + HOST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n",
    "two empty lines first": b"\r\n\r\n" + BAD + HOST + b"\r\n",
    "folded field": BAD + HOST + b"X: a\r\n b\r\n\r\n",
    "folded with a tab": BAD + HOST + b"X: a\r\n\tb\r\n\r\n",
    "folded first field": BAD + b" " + HOST + b"\r\n",
    "space before the colon": BAD + HOST + b"X : a\r\n\r\n",
    "space before the colon of the length": POST + HOST + b"Content-Length : 5\r\n\r\nhello",
    "no name": BAD + HOST + b": a\r\n\r\n",
    "no colon": BAD + HOST + b"X\r\n\r\n",
    "a quote in a name": BAD + HOST + b"X\"Y: a\r\n\r\n",
    "zero in a name": BAD + HOST + b"X\x00: a\r\n\r\n",
    "zero in a value": BAD + HOST + b"X: a\x00b\r\n\r\n",
    "high byte in a name": BAD + HOST + b"X\xff: a\r\n\r\n",
    "length and chunked": POST + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked and length": POST + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two different lengths": POST + HOST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "a list of lengths": POST + HOST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": POST + HOST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + HOST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + HOST + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": POST + HOST + b"Content-Length:\r\n\r\n",
    "a huge length": POST + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length with an underscore of digits": POST + HOST + b"Content-Length: 1_0\r\n\r\n",
    "xchunked": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + HOST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked, identity": POST + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked with a vertical tab": POST + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": POST + HOST + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "an empty coding": POST + HOST + b"Transfer-Encoding:\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /exit/9 HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n",
    "HTTP/0.9": b"GET /exit/9\r\n\r\n",
    "HTTP/1.2": b"GET /exit/9 HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": b"GET /exit/9 http/1.1\r\n" + HOST + b"\r\n",
    "two spaces": b"GET  /exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab": b"GET\t/exit/9\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /exit/9 x HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space at the end": b"GET /exit/9 HTTP/1.1 \r\n" + HOST + b"\r\n",
    "a fragment": b"GET /exit/9#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "no slash": b"GET exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "another scheme": b"GET ftp://web.test/exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "zero in the path": b"GET /exit/9\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "encoded zero": b"GET /exit/9%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "half an escape": b"GET /exit/9%2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "above the root": b"GET /../exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method with a comma": b"GE,T /exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long method": b"G" * 40 + b" /exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk without OPTIONS": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT web.test:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE /exit/9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an expectation": BAD + HOST + b"Expect: 200-ok\r\n\r\n",
    "a long line": b"GET /exit/9?" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a large block": BAD + HOST + b"X: " + b"a" * 40000 + b"\r\n\r\n",
    "many fields": BAD + HOST + b"X: y\r\n" * 200 + b"\r\n",
}

# The head is good and reaches the replica; the body must not become a request.
BODIES = {
    "a chunk size in words": b"zz\r\n",
    "a chunk size with a sign": b"+1\r\na\r\n0\r\n\r\n",
    "a chunk size with 0x": b"0x1\r\na\r\n0\r\n\r\n",
    "a chunk size with a space": b"1 \r\na\r\n0\r\n\r\n",
    "a huge chunk size": b"10000000000000001\r\na\r\n0\r\n\r\n",
    "an empty chunk size": b"\r\na\r\n0\r\n\r\n",
    "a chunk that is longer": b"1\r\nab\r\n0\r\n\r\n",
    "a bare line feed after a size": b"1\na\r\n0\r\n\r\n",
    "a bare line feed after a chunk": b"1\r\na\n0\r\n\r\n",
    "a bare line feed in an extension": b"1;x\na\r\n0\r\n\r\n",
    "a long extension": b"1;" + b"x" * 70000 + b"\r\na\r\n0\r\n\r\n",
    "a framing trailer": b"0\r\nContent-Length: 5\r\n\r\n",
    "a folded trailer": b"0\r\nX: a\r\n b\r\n\r\n",
    "a trailer with a bare carriage return": b"0\r\nX: a\rb\r\n\r\n",
}


class Connection:
    def __init__(self, protocol="http/1.1"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        plain = socket.create_connection(("127.0.0.1", 8443), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(plain, server_hostname="web.test")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def read_all(self, seconds=20):
        got = b""
        self.sock.settimeout(seconds)
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                got += data
        return got


def ask(request):
    with Connection() as c:
        c.send(request)
        return c.read_all()


def workers(node):
    return {k: pid for k, pid in node.processes().items() if k[0] == "proxy"}


def memory(pids):
    return sum(int(re.search(r"VmRSS:\s*(\d+)", open(f"/proc/{p}/status").read()).group(1)) for p in pids.values())


def replicas(node):
    """The host's pids of the containers' first processes."""
    found = set()
    for pid in node.pids():
        with contextlib.suppress(OSError):
            levels = re.search(r"^NSpid:\s*(.*)$", open(f"/proc/{pid}/status").read(), re.M).group(1).split()
            if len(levels) > 1 and levels[-1] == "1":
                found.add(pid)
    return found


@contextlib.contextmanager
def under_attack():
    with Node() as node:
        node.import_image()
        node.deploy(service())
        before, first = workers(node), replicas(node)
        check(before and first, "there is something to attack")
        size = memory(before)
        yield node
        equal(node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "served afterwards")
        equal(workers(node), before, "the workers are the same")
        equal(replicas(node), first, "no replica saw /exit")
        check(zl.SANITIZED or memory(before) < size + (32 << 10), "grew by kB:", memory(before) - size)


# ---- TLS

def test_many_handshakes_at_once():
    """All begin before one ends: each gets its turn."""
    with under_attack():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        clients = []
        for _ in range(60):
            plain = socket.create_connection(("127.0.0.1", 8443), timeout=30)
            came, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(came, out, server_hostname="web.test")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            clients.append((plain, tls, came, out))
        for plain, _, _, out in clients:
            plain.sendall(out.read())
        clients[0][0].close()  # one leaves in the middle
        for plain, tls, came, out in clients[1:]:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    data = plain.recv(65536)
                    check(data, "a handshake was dropped")
                    came.write(data)
            plain.sendall(out.read())
            plain.close()


# ---- HTTP/1.1

def test_malformed():
    with under_attack():
        for name, request in MALFORMED.items():
            # Where the framing is sound and only the target is refused, what follows is a request.
            sound = name in ("encoded zero", "half an escape", "above the root", "CONNECT", "TRACE")
            answer = ask(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) if sound else request + NEXT)
            check(answer == b"" or re.match(rb"HTTP/1\.1 (4\d\d|50[15]) ", answer), name, answer[:100])
            check(answer.count(b"HTTP/1.1 ") <= 1, name, answer)
            check(answer == b"" or b"connection: close" in answer.lower(), name, answer[:200])


def test_ambiguous_bodies():
    with under_attack():
        for name, body in BODIES.items():
            answer = ask(b"POST /upload HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + body + NEXT)
            check(answer == b"" or answer.startswith(b"HTTP/1.1 400 "), name, answer[:100])
            check(answer.count(b"HTTP/1.1 ") <= 1, name, answer)
        # A request that ends before its body: the replica must not take the next one for the rest.
        with Connection() as c:
            c.send(b"POST /upload HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\nhalf")
        # A request inside a body is a body.
        answer = ask(b"POST /upload HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT)
        check(answer.startswith(b"HTTP/1.1 200 ") and (b"%d " % len(NEXT)) in answer, answer)
        # ... also when the answer comes before it, and when it is an upgrade that is refused.
        ask(b"POST /status/200 HTTP/1.1\r\n" + HOST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT)
        ask(b"GET /status/200 HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
            b"Content-Length: %d\r\n\r\n" % len(NEXT) + NEXT)


def test_what_a_replica_is_told():
    with under_attack():
        def echo(*fields, target=b"/echo", host=HOST):
            answer = ask(b"GET " + target + b" HTTP/1.1\r\n" + host + b"".join(f + b"\r\n" for f in fields) +
                         b"Connection: close\r\n\r\n")
            return answer.partition(b"\r\n\r\n")[2].lower()
        seen = echo(b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6",
                    b"X-Forwarded-Proto: gopher", b"X-Forwarded-Host: evil.test", b"Transfer_Encoding: chunked",
                    b"Content_Length: 5", b"Proxy-Connection: keep-alive", b"Keep-Alive: 5", b"TE: trailers")
        for word in (b"6.6.6.6", b"gopher", b"evil.test", b"transfer_encoding", b"content_length", b"proxy-connection"):
            check(word not in seen, word, seen)
        check(b"x-forwarded-for: 127.0.0.1\r\n" in seen and b"x-forwarded-proto: https\r\n" in seen, seen)
        # What Connection names goes no further, but what we say ourselves stays.
        with Connection() as c:
            c.send(b"GET /echo HTTP/1.1\r\n" + HOST + b"Secret: x\r\nConnection: close, Secret, Host, X-Forwarded-For\r\n\r\n")
            seen = c.read_all().partition(b"\r\n\r\n")[2].lower()
        check(b"secret" not in seen and seen.count(b"\r\nhost: web.test\r\n") == 1 and b"x-forwarded-for" in seen, seen)
        # The target's authority counts (RFC 9112 3.2.2).
        seen = echo(target=b"https://web.test/echo", host=b"Host: evil.test\r\n")
        check(b"evil.test" not in seen and b"\r\nhost: web.test\r\n" in seen, seen)


# ---- HTTP/2

class H2:
    def __init__(self, window=65535):
        self.c = Connection("h2")
        self.encoder = hpack.Encoder()
        self.id = -1
        settings = SettingsFrame(0, settings={4: window})
        self.c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings.serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.sock.close()

    def head(self, fields=(), path="/health", method="GET", authority="web.test", end=True, **pseudo):
        self.id += 2
        head = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        head = [(k, v) for k, v in head if v is not None] + list(pseudo.items()) + list(fields)
        f = HeadersFrame(self.id, data=self.encoder.encode(head, huffman=False), flags=["END_HEADERS"])
        if end:
            f.flags.add("END_STREAM")
        return f.serialize()

    def frames(self, seconds=20, until=lambda f: False):
        """What came until the connection ended, or a frame that was waited for."""
        data, found = b"", []
        self.c.sock.settimeout(seconds)
        with contextlib.suppress(OSError):
            while more := self.c.sock.recv(65536):
                data += more
                while len(data) >= 9:
                    f, length = Frame.parse_frame_header(memoryview(data[:9]))
                    if len(data) < 9 + length:
                        break
                    f.parse_body(memoryview(data[9:9 + length]))
                    data = data[9 + length:]
                    found.append(f)
                    if until(f):
                        return found
        return found


def ends_calm(h, name):
    """The connection ended; when the goodbye arrived it names an error."""
    last = [f for f in h.frames() if isinstance(f, GoAwayFrame)]
    check(not last or last[-1].error_code != 0, name, last)
    h.c.sock.settimeout(20)
    with contextlib.suppress(OSError):
        equal(h.c.sock.recv(1), b"", name)


def test_h2_floods():
    def rst(h):
        for _ in range(500):
            yield h.head(path="/slow/500") + RstStreamFrame(h.id, error_code=8).serialize()

    def made_you_reset(h):
        for _ in range(500):
            yield h.head(path="/slow/500") + WindowUpdateFrame(h.id, window_increment=0x7fffffff).serialize()

    def made_you_reset_by_zero(h):
        for _ in range(500):
            yield h.head(path="/slow/500") + bytes([0, 0, 4, 8, 0]) + struct.pack(">II", h.id, 0)

    def made_you_reset_by_data(h):
        for _ in range(500):
            yield h.head(path="/slow/500") + DataFrame(h.id, data=b"x").serialize()

    def made_you_reset_by_itself(h):
        for _ in range(500):
            yield h.head(path="/slow/500") + bytes([0, 0, 5, 2, 0]) + struct.pack(">IIB", h.id, h.id, 1)

    def pings(h):
        for _ in range(100):
            yield PingFrame(0, opaque_data=b"12345678").serialize() * 1000

    def settings(h):
        for _ in range(100):
            yield SettingsFrame(0, settings={4: 65535}).serialize() * 1000

    def priorities(h):
        for _ in range(100):
            yield PriorityFrame(99, depends_on=0, stream_weight=1).serialize() * 1000

    def empty_data(h):
        yield h.head(path="/upload", method="POST", end=False)
        for _ in range(100):
            yield DataFrame(h.id, data=b"").serialize() * 1000

    def windows(h):
        for _ in range(100):
            yield WindowUpdateFrame(0, window_increment=1).serialize() * 1000

    def unknown(h):
        for _ in range(100):
            yield bytes([0, 0, 1, 77, 0, 0, 0, 0, 0, 0]) * 1000

    def continuations(h):
        yield HeadersFrame(1, data=b"\x82", flags=[]).serialize()
        for _ in range(10000):
            yield ContinuationFrame(1, data=b"").serialize()

    def long_block(h):
        yield HeadersFrame(1, data=b"\x82" * 1000, flags=[]).serialize()
        for _ in range(1000):
            yield ContinuationFrame(1, data=b"\x00\x01a\x7f\x80\x01" + b"b" * 16000).serialize()

    with under_attack() as node:
        for attack in (rst, made_you_reset, made_you_reset_by_zero, made_you_reset_by_data, made_you_reset_by_itself, pings,
                       settings, priorities, empty_data, windows, unknown, continuations, long_block):
            with H2() as h:
                try:
                    for data in attack(h):
                        h.c.sock.sendall(data)
                except OSError:
                    pass  # it was ended while we wrote
                ends_calm(h, attack.__name__)
        wait_for(lambda: metric(node, "zlayer_http_requests_in_flight") == 0, "no request is left")


def metric(node, name):
    text = zl.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{") and "shop/web" in line)


def test_h2_heads():
    """Heads that would become others in HTTP/1.1."""
    bad = {
        "line in a value": dict(fields=[("x", "a\r\ny: b")]),
        "line in a name": dict(fields=[("x\r\ny", "b")]),
        "colon in a name": dict(fields=[("x:y", "b")]),
        "upper case": dict(fields=[("X-Y", "b")]),
        "zero in a value": dict(fields=[("x", "a\0b")]),
        "connection": dict(fields=[("connection", "keep-alive")]),
        "transfer-encoding": dict(fields=[("transfer-encoding", "chunked")]),
        "upgrade": dict(fields=[("upgrade", "websocket")]),
        "te": dict(fields=[("te", "gzip")]),
        "two lengths": dict(fields=[("content-length", "1"), ("content-length", "2")], method="POST", end=False),
        "a length without a body": dict(fields=[("content-length", "5")], method="POST"),
        "a signed length": dict(fields=[("content-length", "+5")], method="POST", end=False),
        "another host": dict(fields=[("host", "evil.test")]),
        "line in the path": dict(path="/exit/9 HTTP/1.1\r\nx: y"),
        "space in the path": dict(path="/exit/9 HTTP/1.1"),
        "space in the query": dict(path="/exit/9?a b"),
        "fragment": dict(path="/exit/9#x"),
        "no slash": dict(path="exit/9"),
        "empty path": dict(path=""),
        "absolute path": dict(path="https://web.test/exit/9"),
        "no path": dict(path=None),
        "line in the method": dict(method="GET /exit/9 HTTP/1.1\r\nx:", path="/exit/9"),
        "space in the method": dict(method="GET /exit/9", path="/exit/9"),
        "empty method": dict(method=""),
        "line in the authority": dict(authority="web.test\r\nx: y"),
        "user in the authority": dict(authority="a@web.test"),
        "path in the authority": dict(authority="web.test/exit/9"),
        "unknown pseudo": dict(fields=[(":evil", "x")]),
        "pseudo after a field": dict(fields=[("x", "y"), (":path", "/exit/9")]),
        "status": dict(fields=[(":status", "200")]),
        "protocol without CONNECT": dict(fields=[(":protocol", "websocket")]),
        "connect": dict(method="CONNECT", path="/exit/9"),
    }
    with under_attack():
        for name, request in bad.items():
            with H2() as h:
                if "path" not in request:
                    request["path"] = "/exit/9"
                h.c.send(h.head(**request))
                got = h.frames(until=lambda f: isinstance(f, (RstStreamFrame, GoAwayFrame, HeadersFrame)))
                check(got, name, "no answer at all")
                if isinstance(got[-1], HeadersFrame):
                    status = dict(hpack.Decoder().decode(got[-1].data))[":status"]
                    check(status in ("400", "404", "405", "421", "431"), name, status)
        # More or less of a body than was said.
        for data in (b"123456", b"1234"):
            with H2() as h:
                h.c.send(h.head(fields=[("content-length", "5")], method="POST", path="/upload", end=False) +
                         DataFrame(h.id, data=data, flags=["END_STREAM"]).serialize())
                got = h.frames(until=lambda f: isinstance(f, (RstStreamFrame, GoAwayFrame, HeadersFrame)))
                check(isinstance(got[-1], (RstStreamFrame, GoAwayFrame)), data, got)
        # A table of compressed fields that unfolds to megabytes.
        with H2() as h:
            h.c.send(h.head(fields=[("x", "y" * 3500)]))
            block = h.encoder.encode([(":method", "GET"), (":scheme", "https"), (":authority", "web.test"),
                                      (":path", "/exit/9")], huffman=False) + b"\xbe" * 10000
            h.c.send(HeadersFrame(3, data=block, flags=["END_HEADERS", "END_STREAM"]).serialize())
            got = h.frames(until=lambda f: f.stream_id == 3 or isinstance(f, GoAwayFrame))
            check(isinstance(got[-1], (RstStreamFrame, GoAwayFrame, HeadersFrame)), got)


def test_slow_clients():
    with under_attack():
        # Answers that are never taken, with a ping now and then: the connection must not stay for ever.
        stalled = H2(window=0)
        for _ in range(20):
            stalled.c.send(stalled.head(path="/bytes/1000"))
        open_requests = H2()
        for _ in range(20):
            open_requests.c.send(open_requests.head(method="POST", path="/nowhere", authority="other.test", end=False))
        slow = [Connection() for _ in range(100)]
        for c in slow:
            c.send(b"GET /exit/9 HTTP/1.1\r\nHost: web.t")
        bodies = [Connection() for _ in range(20)]
        for c in bodies:
            c.send(b"POST /upload HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")
        readers = [Connection() for _ in range(20)]
        for c in readers:
            c.send(b"GET /bytes/100000000 HTTP/1.1\r\n" + HOST + b"\r\n")
        wanted = {id(c.sock): c for c in slow + bodies + readers}
        wanted.update({id(h.c.sock): h.c for h in (stalled, open_requests)})
        waiting = dict.fromkeys(wanted)
        end = time.monotonic() + 200
        tick = 0
        while waiting and time.monotonic() < end:
            tick += 1
            for key in list(waiting):
                c = wanted[key]
                try:
                    c.sock.settimeout(5)
                    if c in slow:
                        c.sock.sendall(b"e")
                    elif c in bodies:
                        c.sock.sendall(b"b")
                    elif c in (stalled.c, open_requests.c) and tick % 5 == 0:
                        c.sock.sendall(PingFrame(0, opaque_data=b"12345678").serialize())
                    if c not in readers:
                        c.sock.setblocking(False)
                        while c.sock.recv(65536):
                            pass
                        del waiting[key]
                except (BlockingIOError, ssl.SSLWantReadError):
                    pass
                except OSError:
                    del waiting[key]
            if all(wanted[k] in readers for k in waiting):
                break
            time.sleep(1)
        left = [("stalled", "open")[c is open_requests.c] if c in (stalled.c, open_requests.c) else "slow" if c in slow else "body"
                for c in (wanted[k] for k in waiting) if c not in readers]
        equal(left, [], "connections that were not ended")
        for c in list(wanted.values()):
            c.sock.close()


def test_hostile_replica():
    """What a replica sends is not trusted either."""
    with under_attack():
        get = "GET /interim/%d HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n"
        answer = ask((get % 5).encode())
        check(answer.count(b"HTTP/1.1 103 ") == 5 and answer.endswith(b"after\n"), answer)
        for _ in range(3):
            answer = ask((get % 100000).encode())
            check(b"HTTP/1.1 502 " in answer and answer.count(b"HTTP/1.1 103 ") < 100, answer[-300:])
            with H2() as h:
                h.c.send(h.head(path="/interim/100000"))
                got = h.frames(until=lambda f: "END_STREAM" in f.flags or isinstance(f, GoAwayFrame))
                check("END_STREAM" in got[-1].flags, got[-1])


# ---- the socket of the API

def test_api():
    with under_attack() as node:
        pid = node.processes()[("api", 0)]
        for request in list(MALFORMED.values()):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(20)
                s.connect(node.socket)
                with contextlib.suppress(OSError):
                    s.sendall(request.replace(b"/exit/9", b"/v1/status"))
                    s.shutdown(socket.SHUT_WR)
                    answer = s.recv(65536)
                    check(answer == b"" or answer.startswith(b"HTTP/1.1 "), request[:60], answer[:60])
        size = memory({0: pid})
        idle = []
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(5)
            try:
                s.connect(node.socket)
                s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            except OSError:
                s.close()
                continue
            idle.append(s)
        # They read nothing while much happens.
        for s in idle:
            s.close()
        wait_for(lambda: node.get("/healthz", raw=True)[0] == 200, "the API answers again")
        for _ in range(3):
            c = UnixConnection(node.socket)
            c.putrequest("POST", "/v1/deployments")
            c.putheader("Content-Length", "100000000000")
            with contextlib.suppress(OSError):
                c.endheaders(b"x" * 1000000)
            c.close()
        equal(node.processes()[("api", 0)], pid, "the same process")
        check(zl.SANITIZED or memory({0: pid}) < size + (32 << 10), "grew by kB:", memory({0: pid}) - size)
        equal(node.cli_json("status")["deployments"][0]["name"], "shop")


if __name__ == "__main__":
    zl.main(globals())
