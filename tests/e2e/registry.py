# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry for end-to-end tests, on a loopback port, with its access log."""

import contextlib
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from zl import SERVER, SOURCE, check, run, wait_for


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """Use as a context manager. tls: (certificate, key) files; users: htpasswd file; token: settings of
    `auth.token`."""

    def __init__(self, tls=None, users=None, token=None, port=None):
        self.folder = tempfile.mkdtemp(prefix="zlayer-registry-")
        self.port = port or free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.tls = tls
        self.process = None
        self.log = os.path.join(self.folder, "log")
        self.config = os.path.join(self.folder, "config.yml")
        config = {
            "version": "0.1",
            "log": {"level": "info", "formatter": "json"},
            "storage": {"filesystem": {"rootdirectory": os.path.join(self.folder, "data")},
                        "delete": {"enabled": True}},
            "http": {"addr": self.host, "secret": "test"},
        }
        if tls:
            config["http"]["tls"] = {"certificate": tls[0], "key": tls[1]}
        if users:
            config["auth"] = {"htpasswd": {"realm": "test", "path": users}}
        if token:
            config["auth"] = {"token": token}
        with open(self.config, "w") as f:
            json.dump(config, f)  # YAML is a superset

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.config], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"})
        wait_for(self.listens, "the registry listens")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.process = None

    def listens(self):
        check(self.process.poll() is None, "the registry ended:", open(self.log).read()[-2000:])
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    # ---- what it has

    def push(self, name, node, command=("/bin/server",), files=None, login=None):
        """An image of busybox and tests/e2e/server.c; `files` (path -> bytes) make it another one."""
        root = tempfile.mkdtemp(dir=self.folder)
        layout = tempfile.mkdtemp(dir=self.folder)
        os.makedirs(os.path.join(root, "bin"))
        shutil.copy(SERVER, os.path.join(root, "bin", "server"))
        for path, data in (files or {}).items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "wb") as f:
                f.write(data)
        run(os.path.join(SOURCE, "tools", "busybox-image"), layout, "x:1", "--root", root, "--", *command)
        self.copy(f"oci:{layout}", name, login)
        shutil.rmtree(root)
        return layout

    def copy(self, source, name, login=None):
        more = ["--dest-creds", login] if login else []
        run("skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", *more, source,
            f"docker://{self.host}/{name}")

    def digest(self, name, login=None):
        more = ["--creds", login] if login else []
        return run("skopeo", "inspect", "--tls-verify=false", *more, "--format", "{{.Digest}}",
                   f"docker://{self.host}/{name}").stdout.strip()

    # ---- what was asked of it

    def requests(self):
        """(method, path, status) of every request of zlayer."""
        found = []
        for line in open(self.log):
            m = re.search(r'"(GET|HEAD|POST) (\S+) HTTP/[0-9.]+" (\d+) \d+ "[^"]*" "zlayer', line.replace('\\"', '"'))
            if m:
                found.append((m[1], m[2], int(m[3])))
        return found

    def count(self, kind):
        """Requests for "manifests" or "blobs" that had an answer."""
        return len([r for r in self.requests() if f"/{kind}/" in r[1] and r[2] in (200, 206)])


class Faulty:
    """A small HTTP server in front of a registry. `rule(request)` says what becomes of a request: None (pass it on),
    ("status", n, headers), ("cut", bytes), ("unfinished",) (all comes, its end does not), ("change",), ("slow", bytes a second) or ("endless", status); each is kept
    in `seen`."""

    def __init__(self, registry, rule=None):
        self.registry = registry
        self.rule = rule or (lambda request: None)
        self.seen = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                outer.serve(self)

            do_GET = do_HEAD

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that left

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, h):
        request = {"method": h.command, "path": h.path, "range": h.headers.get("Range"),
                   "authorization": h.headers.get("Authorization")}
        self.seen.append(request)
        fault = self.rule(request)
        if fault and fault[0] == "status":
            h.send_response(fault[1])
            for name, value in fault[2].items():
                h.send_header(name, value)
            h.send_header("Content-Length", "0")
            h.end_headers()
            return
        if fault and fault[0] == "endless":
            h.close_connection = True
            h.send_response(fault[1])
            h.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            h.end_headers()
            while h.command == "GET":
                h.wfile.write(b" " * 65536)
            return
        self.pass_on(h, fault)

    def pass_on(self, h, fault):
        up = http.client.HTTPConnection("127.0.0.1", self.registry.port, timeout=60)
        up.request(h.command, h.path, headers={k: v for k, v in h.headers.items() if k != "Host"})
        r = up.getresponse()
        unfinished = fault and fault[0] == "unfinished" and r.status in (200, 206)
        h.send_response(r.status)
        for name, value in r.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server") and not (
                    unfinished and name.lower() == "content-length"):
                h.send_header(name, value)
        if unfinished:
            h.send_header("Transfer-Encoding", "chunked")
            h.close_connection = True
        h.end_headers()
        passed = 0
        while h.command == "GET":
            data = r.read(16384)
            if not data:
                break
            if fault and fault[0] == "cut" and passed + len(data) > fault[1]:
                h.wfile.write(data[:max(0, fault[1] - passed)])
                h.wfile.flush()
                h.close_connection = True
                with contextlib.suppress(OSError):
                    h.connection.shutdown(socket.SHUT_RDWR)
                break
            if fault and fault[0] == "change" and passed == 0:
                data = bytes([data[0] ^ 1]) + data[1:]
            h.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if unfinished else data)
            passed += len(data)
            if fault and fault[0] == "slow":
                time.sleep(len(data) / fault[1])
        up.close()
