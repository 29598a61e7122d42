# SPDX-License-Identifier: Apache-2.0
"""The main job: an image, a document, a page over HTTPS/2 from a container; and nothing left after."""

import os
import re

import zl
from zl import Node, check, equal, service, wait_for


def hooks(node):
    """How our program stands on the containers' links: (tcx, clsact)."""
    pinned = [link for link in zl.bpftool("-f", "link")
              if any(f"/zlayer/{node.name}/" in pin for pin in link.get("pinned", []))]
    fabric = ("nsenter", f"--net={node.run_folder}/netns/fabric", "--")
    return len(pinned), sum(len(there["tc"]) for there in zl.bpftool("net", into=fabric))


def test_page_over_https():
    with Node() as node:
        node.import_image()
        out = node.deploy(service(replicas=3))
        check("serves" in out.stdout + out.stderr, out.stdout, out.stderr)
        answer = node.curl("/health", "web.test", "-w", "%{http_version} %{http_code}", "-o", "/dev/null")
        equal(answer, "2 200")
        hosts = set()
        wait_for(lambda: hosts.add(node.curl("/who")) or len(hosts) == 3, "each replica has answered")
        # Without it the page would be served as well.
        has_tcx = [int(n) for n in re.findall(r"\d+", os.uname().release)[:2]] >= [6, 6]
        wait_for(lambda: hooks(node)[0 if has_tcx else 1] >= 3, f"the program on each link: {hooks(node)}")
        # An unknown name is refused in the handshake, never served by a default certificate.
        node.curl("/", "other.test", status=35)
        again = node.deploy(service(replicas=3))
        check("unchanged" in again.stdout + again.stderr, again.stdout, again.stderr)


def test_nothing_is_left():
    node = Node()
    try:
        before = node.traces()
        node.start()
        node.import_image()
        node.deploy(service(replicas=2))
        node.cli("rm", "shop", "--yes")
        node.stop()
        # A monitor that has handed over its record is on its way out.
        try:
            wait_for(lambda: node.traces() == before, "nothing is left", 5)
        except zl.Failure:
            equal(node.traces(), before)
    finally:
        node.destroy()


if __name__ == "__main__":
    zl.main(globals())
