# SPDX-License-Identifier: Apache-2.0
"""What goes through the edge: many requests, WebSockets, slow peers, large bodies; memory stays bounded."""

import base64
import os
import re
import socket
import ssl
import subprocess
import threading

import zl
from zl import Node, check, equal, service, wait_for

MIB = 1 << 20


def started(replicas=3, **kw):
    node = Node()
    node.start()
    node.import_image()
    node.deploy(service(replicas=replicas, **kw))
    return node


def proxy_memory(node):
    """Peak resident memory of the workers, bytes."""
    peak = 0
    for (role, _), pid in node.processes().items():
        if role == "proxy":
            status = open(f"/proc/{pid}/status").read()
            peak = max(peak, int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024)
    return peak


def tls(node, alpn=("http/1.1",), host="web.test"):
    context = ssl.create_default_context(cafile=node.authority())
    context.set_alpn_protocols(list(alpn))
    raw = socket.create_connection(("127.0.0.1", 8443), timeout=60)
    return context.wrap_socket(raw, server_hostname=host)


def read_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(4096)
        check(piece, "closed within the head", data)
        data += piece
    return data.split(b"\r\n\r\n", 1)


def test_h2load():
    node = started()
    try:
        r = subprocess.run(["h2load", "-n", "10000", "-c", "10", "-m", "100", "--connect-to=127.0.0.1:8443",
                            "https://web.test/bytes/128"], capture_output=True, text=True, timeout=120)
        check("10000 succeeded, 0 failed, 0 errored" in r.stdout, r.stdout, r.stderr)
        check("10000 2xx" in r.stdout, r.stdout)
    finally:
        node.destroy()


def ws_frame(payload, opcode=1):
    mask = os.urandom(4)
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    head = bytes([0x80 | opcode])
    head += bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2, "big")
    return head + mask + body


def ws_read(s, buffered):
    data = bytearray(buffered)

    def need(n):
        while len(data) < n:
            piece = s.recv(65536)
            check(piece, "closed within a frame")
            data.extend(piece)

    need(2)
    length, at = data[1] & 0x7F, 2
    if length == 126:
        need(4)
        length, at = int.from_bytes(data[2:4], "big"), 4
    need(at + length)
    return data[0] & 0x0F, bytes(data[at:at + length]), bytes(data[at + length:])


def test_websocket_echo():
    node = started()
    try:
        s = tls(node)
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall(f"GET /ws HTTP/1.1\r\nHost: web.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        head, rest = read_head(s)
        check(head.startswith(b"HTTP/1.1 101"), head)
        for i in range(1000):
            message = os.urandom(i * 7 % 3000)
            s.sendall(ws_frame(message, 2))
            opcode, got, rest = ws_read(s, rest)
            equal((opcode, got), (2, message), f"frame {i}")
        s.close()
    finally:
        node.destroy()


def test_large_bodies_and_bounded_memory():
    node = started(replicas=1)
    try:
        node.curl("/health")
        before = proxy_memory(node)
        for http in ("--http2", "--http1.1"):
            size = node.curl(f"/bytes/{100 * MIB}", "web.test", "-o", "/dev/null", "-w", "%{size_download}", http=http)
            equal(size, str(100 * MIB), f"download by {http}")
            path = os.path.join(node.folder, "body")
            with open(path, "wb") as f:
                f.write(os.urandom(MIB) * 100)
            got = node.curl("/upload", "web.test", "-T", path, http=http)
            equal(got.split()[0], str(100 * MIB), f"upload by {http}")
        grown = proxy_memory(node) - before
        check(zl.SANITIZED or grown < 16 * MIB, f"the workers grew by {grown / MIB:.1f} MiB")
    finally:
        node.destroy()


def test_slow_reader_and_slow_writer():
    node = started(replicas=1)
    try:
        before = proxy_memory(node)
        slow = []
        for _ in range(20):  # each asks for 50 MiB and reads nothing for a while
            s = tls(node)
            s.sendall(f"GET /bytes/{50 * MIB} HTTP/1.1\r\nHost: web.test\r\n\r\n".encode())
            slow.append(s)
        equal(node.curl("/who", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "others are served")
        grown = proxy_memory(node) - before
        check(zl.SANITIZED or grown < 40 * MIB, f"20 readers that do not read cost {grown / MIB:.1f} MiB")
        head, rest = read_head(slow[0])
        got = len(rest)
        while got < 50 * MIB:
            piece = slow[0].recv(1 << 20)
            check(piece, "the body was cut after", got)
            got += len(piece)
        for s in slow:
            s.close()
        # A writer that sends its body byte by byte is waited for.
        s = tls(node)
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: web.test\r\nContent-Length: 40\r\n\r\n")
        for _ in range(40):
            s.sendall(b"x")
            equal(node.curl("/who", "web.test", "-o", "/dev/null", "-w", "%{http_code}"), "200", "others are served meanwhile")
        head, rest = read_head(s)
        check(head.startswith(b"HTTP/1.1 200"), head)
    finally:
        node.destroy()


def test_forwarding_fields():
    node = started(replicas=1)
    try:
        text = node.curl("/echo", "web.test", "-H", "X-Forwarded-For: 6.6.6.6", "-H", "Connection: x-secret",
                         "-H", "X-Secret: 1", http="--http1.1").lower()
        check("x-forwarded-for: 127.0.0.1" in text, text)
        check("6.6.6.6" not in text and "x-secret" not in text, text)
        check("x-forwarded-proto: https" in text and "x-forwarded-host: web.test" in text, text)
        check(re.search(r"x-request-id: \S+", text), text)
        # Plain HTTP is sent to HTTPS.
        r = node.curl("/a?b=1", "web.test", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", http="--http1.1",
                      port=8080, scheme="http")
        code, url = r.split()
        equal(code, "308")
        check(url.startswith("https://web.test") and url.endswith("/a?b=1"), url)
    finally:
        node.destroy()


def test_certificate_files_are_reloaded():
    node = started(replicas=1)
    try:
        def serial():
            s = tls_any(node)
            pem = ssl.DER_cert_to_PEM_cert(s.getpeercert(True))
            s.close()
            out = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, text=True)
            return int(out.stdout.strip().split("=")[1], 16)

        def tls_any(node):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context.wrap_socket(socket.create_connection(("127.0.0.1", 8443), timeout=30),
                                       server_hostname="web.test")

        def write(n):
            base = os.path.join(node.folder, "tls", "web")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048" if n % 2 else "ec", *(
                [] if n % 2 else ["-pkeyopt", "ec_paramgen_curve:P-256"]), "-nodes", "-days", "30", "-subj", "/CN=web.test",
                "-addext", "subjectAltName=DNS:web.test", "-set_serial", str(4000 + n), "-keyout", base + ".key.new",
                "-out", base + ".crt.new"], check=True, capture_output=True)
            os.rename(base + ".key.new", base + ".key")
            os.rename(base + ".crt.new", base + ".crt")

        local = serial()
        stop, failures, count = threading.Event(), [], [0]

        def load():
            while not stop.is_set():
                try:
                    s = tls_any(node)
                    s.sendall(b"GET /health HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
                    head, _ = read_head(s)
                    if not head.startswith(b"HTTP/1.1 200"):
                        failures.append(head)
                    s.close()
                    count[0] += 1
                except Exception as e:  # counted, not raised: it is another thread
                    failures.append(repr(e))

        thread = threading.Thread(target=load)
        thread.start()
        for n in range(6):
            write(n)
            wait_for(lambda: serial() == 4000 + n, f"certificate {n} serves")
        # A wrong file leaves the one before it.
        with open(os.path.join(node.folder, "tls", "web.crt"), "w") as f:
            f.write("not a certificate\n")
        wait_for(lambda: "not taken over" in node.tail(200), "the wrong file is in the log")
        equal(serial(), 4005, "after a wrong file")
        stop.set()
        thread.join()
        equal(failures, [], "failed handshakes or requests")
        check(count[0] > 20, count)
        check(local != serial())
    finally:
        node.destroy()


if __name__ == "__main__":
    zl.main(globals())
