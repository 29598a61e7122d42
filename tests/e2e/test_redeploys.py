# SPDX-License-Identifier: Apache-2.0
"""New images again and again while clients ask, upload and talk: nobody notices."""

import subprocess

from load import Load, Loop, talk, upload_slowly
from zl import Node, check, equal, service

DEPLOYS = 20


def h2load():
    r = subprocess.run(["h2load", "-n", "400", "-c", "2", "-m", "10", "--connect-to=127.0.0.1:8443",
                        "https://web.test/bytes/100"], capture_output=True, text=True, timeout=120)
    check("400 succeeded, 0 failed, 0 errored, 0 timeout" in r.stdout, r.stdout + r.stderr)


def test_redeploys_lose_nothing():
    update = "    update: { monitor: 100ms, drain: 20s, max_surge: 3 }"
    with Node() as node:
        node.import_image("test:1")
        node.import_image("test:2", ("/bin/server", "-p", "8080"))
        node.deploy(service(replicas=3, image="test:1", extra=update))
        with Load(node, 4) as load, Loop(h2load) as h2, Loop(lambda: talk(load), 3) as talks, \
                Loop(lambda: upload_slowly(load), 3) as uploads:
            for n in range(DEPLOYS):
                node.deploy(service(replicas=3, image=f"test:{2 - n % 2}", extra=update))
        print(f"# {DEPLOYS} deploys: {load.text()}; {h2.done} times 400 over HTTP/2, "
              f"{talks.done} WebSockets, {uploads.done} slow uploads")
        for what, failed in (("requests", load.failed), ("HTTP/2", h2.failed), ("WebSockets", talks.failed),
                             ("uploads", uploads.failed)):
            equal(failed, [], what + " that failed")
        check(min(load.done, h2.done, talks.done, uploads.done) >= DEPLOYS, "clients were at work all the time")
        status = node.cli_json("status", "shop")
        equal(status["deployments"][0]["revision"], DEPLOYS + 1, "revision")


if __name__ == "__main__":
    import zl
    zl.main(globals())
