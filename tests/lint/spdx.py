#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every source, script and build file names its licence in one of its first three lines."""

import os

import tree

SUFFIXES = (".c", ".h", ".py", ".sh", ".js", ".css", ".mjs", ".mk")
NAMES = {"meson.build", "meson_options.txt", "Makefile"}
PRODUCT = "SPDX-License-Identifier: Apache-2.0"
BPF = "SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause"


def is_script(path):
    with open(os.path.join(tree.ROOT, path), "rb") as f:
        return f.read(2) == b"#!"


def main():
    report = tree.Report()
    for path in tree.files():
        name = os.path.basename(path)
        if not (path.endswith(SUFFIXES) or name in NAMES or is_script(path)):
            continue
        head = "\n".join(tree.read(path).split("\n")[:3])
        folders = path.split(os.sep)[:-1]
        wanted = BPF if "bpf" in folders and path.endswith((".c", ".h")) else PRODUCT
        if wanted not in head and not ("bpf" in folders and PRODUCT in head):
            report.add(path, 1, f"the first lines must have: {wanted}")
    report.finish()


main()
