# SPDX-License-Identifier: Apache-2.0
"""Eleven ways in which a deploy fails. Each has its cause named with a fix, leaves what served before, and ends with
exit status 6; 1 when it was the first deploy and nothing served."""

import os
import struct

import zl
from zl import Node, check, equal, service, wait_for

CONFIG = "deploy: { monitor: 1s, health_timeout: 20s }\n"


def elf_of(machine):
    """The head of a 64-bit program for another processor (gABI: e_machine)."""
    little = machine != 22
    head = bytes([0x7f, 69, 76, 70, 2, 1 if little else 2, 1, 0] + [0] * 8)
    return head + struct.pack(("<" if little else ">") + "HHIQQQIHHHHHH", 2, machine, 1, 0x400000, 64, 0, 0, 64, 56, 1, 64,
                              0, 0) + struct.pack(("<" if little else ">") + "IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120, 120,
                                                  4096)


def add_file(node, path, data, mode):
    path = os.path.join(node.folder, "root", path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


FAULTS = [
    # name, command, what else the service says, words of the message
    ("status", ("/bin/sh", "-c", "echo 500 >/tmp/health; exec /bin/server"), "", ["GET /health", "answered 500", "expected 200"]),
    ("memory", ("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"), "    resources: { memory: 32Mi }\n",
     ["ran out of memory", "32", "resources.memory"]),
    ("absent", ("/bin/absent",), "", ["/bin/absent", "No such file", "command"]),
    ("data", ("/etc/passwd",), "", ["/etc/passwd", "no permission to be executed", "chmod"]),
    ("script", ("/bin/script",), "", ["/bin/script", "interpreter"]),
    ("foreign", ("/bin/foreign",), "", ["/bin/foreign", "s390x"]),
    ("done", ("/bin/true",), "", ["status 0", "go on running"]),
    ("crash", ("/bin/server", "-x", "0:3"), "", ["status 3", "zlayer logs"]),
    ("filter", ("/bin/server", "-k"), "", ["seccomp"]),
    ("loopback", ("/bin/server", "-a", "127.0.0.1"), "", ["127.0.0.1:8080", "0.0.0.0"]),
    ("port", ("/bin/server", "-p", "9999"), "", ["9999", "8080", "target_port"]),
]


def all_fail(node, code):
    before = {r["id"] for r in node.cli_json("ps", "shop")["items"]}
    wrong = []
    for name, command, extra, words in FAULTS:
        node.import_image(f"{name}:1", command)
        for deployment, status in (("shop", 6), ("first", 1)):
            text = service(image=f"{name}:1", deployment=deployment, extra=extra,
                           host="web.test" if deployment == "shop" else "first.test")
            r = node.deploy(text, "--timeout", "120s", status=None)
            said = r.stdout + r.stderr
            equal(r.returncode, status, f"{name} of {deployment}:\n{said}")
            missing = [word for word in words + ["fix"] if word not in said]
            if missing:
                wrong.append(f"{name} of {deployment}: {missing} not in:\n{said}")
            equal(node.curl("/health", "web.test", *code), "200", f"{name}: the old revision")
        node.cli("rm", "first", "--yes")
        equal({r["id"] for r in node.cli_json("ps", "shop")["items"]}, before, f"{name}: replicas of the old revision")
    check(not wrong, "\n".join(wrong))


def test_causes():
    with Node(CONFIG) as node:
        node.import_image()
        node.deploy(service())
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        wait_for(lambda: node.curl("/health", "web.test", *code, status=None) == "200", "the good one serves")
        add_file(node, "bin/script", b"#!/bin/nothing\n", 0o755)
        add_file(node, "bin/foreign", elf_of(22), 0o755)
        with node.impatient():
            all_fail(node, code)


if __name__ == "__main__":
    zl.main(globals())
