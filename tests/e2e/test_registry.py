#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images from registries: a real docker-registry on the namespace's loopback, filled by skopeo."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import zl
from zl import check, equal, run, wait_for
from registry import Registry


def test_pull_over_plain_http_on_loopback():
    with Registry() as reg, zl.Node() as node:
        reg.push("app:1", node)
        node.deploy(zl.service(image=f"{reg.host}/app:1"))
        check("pong" in node.curl("/ping") or node.curl("/health") is not None)
        images = node.cli_json("image", "ls")["items"]
        equal([i["name"] for i in images], [f"{reg.host}/app:1"])
        print(node.cli("image", "ls").stdout)


if __name__ == "__main__":
    zl.main(globals())
