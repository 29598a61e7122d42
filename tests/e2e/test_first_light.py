# SPDX-License-Identifier: Apache-2.0
"""The whole job of one node: an image from a registry, what it needs, its pages to a machine outside."""

import contextlib
import os

import zl
from load import Loop
from registry import Registry
from zl import Node, Space, check, equal, run, wait_for

PUBLIC, CLIENT = "203.0.113.1", "203.0.113.2"
CONFIG = f"""
listen: {{ http: ["{PUBLIC}:80"], https: ["{PUBLIC}:443"] }}
dataplane: {{ uplink: off, interfaces: [] }}
"""


def shop(host, tag="1"):
    return f"""version: v1
deployment: shop
services:
  web:
    image: {{ name: "{host}/shop/web:{tag}" }}
    endpoints:
      - {{ name: https, protocol: https, port: 443, target_port: 8080, host: shop.test, expose: public }}
      - {{ name: live, protocol: websocket, port: 443, target_port: 8080, host: shop.test, path: /ws, expose: public }}
    scale: {{ mode: fixed, replicas: 3 }}
    depends: [ {{ service: db, condition: healthy, timeout: 60s }} ]
    init:
      steps:
        - {{ id: wait-db, uses: init.wait_tcp, with: {{ host: db.global, port: 5432 }}, timeout: 60s }}
        - {{ id: migrate, uses: init.run, with: {{ command: "nslookup db.global > /tmp/found" }} }}
    health: {{ start_grace: 1s, interval: 1s, timeout: 1s, check: {{ type: http, url: /health }} }}
    stop_grace_period: 2s
    update: {{ monitor: 100ms }}
  db:
    image: {{ name: "{host}/shop/db:1" }}
    endpoints: [ {{ name: sql, protocol: tcp, port: 5432, expose: internal }} ]
    health: {{ start_grace: 1s, interval: 1s, check: {{ type: tcp, port: 5432 }} }}
    stop_grace_period: 2s
"""


@contextlib.contextmanager
def outside():
    """A client's machine, one cable away."""
    with Space() as client:
        run("ip", "link", "add", "pub0", "type", "veth", "peer", "name", "pub1", "netns", str(client.pid))
        try:
            run("ip", "addr", "add", PUBLIC + "/24", "dev", "pub0")
            run("ip", "link", "set", "pub0", "up")
            client.ip("addr", "add", CLIENT + "/24", "dev", "pub1")
            client.ip("link", "set", "pub1", "up")
            yield client
        finally:
            run("ip", "link", "del", "pub0", check=False)


def ask(client, node, path, *more):
    r = client.run("curl", "-sS", "--http2", "--max-time", "30", "--cacert", node.authority(),
                   "--resolve", f"shop.test:443:{PUBLIC}", *more, "https://shop.test" + path, check=False)
    check(r.returncode == 0, r.stderr)
    return r.stdout


def pages(client):
    out = client.run("h2load", "-n", "1000", "-c", "4", "-m", "4", f"--connect-to={PUBLIC}:443",
                     "https://shop.test/bytes/1000").stdout
    check("1000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out)


def test_whole_job():
    with outside() as client, Registry() as registry, Node(CONFIG) as node:
        registry.push("shop/web:1", node)
        registry.push("shop/web:2", node, files={"srv/new": b"new"})
        registry.push("shop/db:1", node, command=("/bin/server", "-p", "5432"))
        node.deploy(shop(registry.host))
        rows = node.cli_json("ps")["items"]
        equal(sorted(f"{r['service']}.{r['index']} {r['state']}" for r in rows),
              ["db.1 ready", "web.1 ready", "web.2 ready", "web.3 ready"])
        equal(ask(client, node, "/health", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"), "2 200")
        check(CLIENT in ask(client, node, "/echo"), "the replica is told who asks")
        db = [r["container"]["address"] for r in rows if r["service"] == "db"][0]
        for n in (1, 2, 3):
            check(db in node.cli("exec", f"shop/web.{n}", "--", "cat", "/tmp/found").stdout, f"web.{n} did not find db")
        # Another image, asked for by a name that moves, while somebody loads pages all the time.
        with Loop(lambda: pages(client)) as load:
            node.deploy(shop(registry.host, "2"))
            node.cli("rollback", "shop")
            node.deploy(shop(registry.host, "2"))
        print(f"# {load.done} times 1000 pages")
        equal((load.failed, load.done > 0), ([], True), "loads")
        equal(node.cli("exec", "shop/web", "--", "cat", "/srv/new").stdout, "new", "the new image")
        # Everything is killed at once; what ran runs on, and the page is there again.
        before = sorted(r["container"]["pid"] for r in node.cli_json("ps")["items"])
        for pid in [node.process.pid, *node.processes().values()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        node.process.wait()
        node.start()
        wait_for(lambda: client.run("curl", "-sk", "--http2", "--max-time", "5", "--resolve", f"shop.test:443:{PUBLIC}",
                                    "https://shop.test/health", check=False).returncode == 0, "the page is back")
        equal(sorted(r["container"]["pid"] for r in node.cli_json("ps")["items"]), before, "containers")


def test_page_that_is_not_there():
    """The first document with an nginx that has no /health."""
    with Registry() as registry, \
            Node(f'runtime: {{ mirrors: {{ docker.io: ["http://{registry.host}"] }} }}\ndeploy: {{ health_timeout: 5s }}\n') as node:
        # As nginx does, it ends when it is asked to.
        registry.push("library/nginx:latest", node,
                      command=("/bin/sh", "-c", "trap 'exit 0' TERM; httpd -f -p 80 -h /srv & wait"),
                      files={"srv/index.html": b"hello"})
        r = node.deploy("""version: v1
deployment: my-app
services:
  web:
    rtype: service
    image: { name: nginx:latest }
    endpoints:
      - { name: http, protocol: http, port: 80, expose: public }
    scale: { mode: adaptive, min: 1, max: 5 }
    health: { check: { type: http, url: /health, expect_status: 200 } }
""", status=1)
        check("/health answered 404" in r.stderr, r.stderr)


if __name__ == "__main__":
    zl.main(globals())
