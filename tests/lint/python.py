#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Names that nobody defines, and what is imported or set for nothing, in Python: pyflakes."""

import os
import re
import subprocess
import sys

import tree

LINE = re.compile(r"(.*?):(\d+):\d+:? (.*)")


def is_python(path):
    if path.endswith(".py"):
        return True
    with open(os.path.join(tree.ROOT, path), "rb") as f:
        return b"python3" in f.readline() and not path.endswith((".md", ".txt"))


def main():
    report = tree.Report()
    paths = [p for p in tree.files() if is_python(p)]
    result = subprocess.run([sys.executable, "-m", "pyflakes", *paths], cwd=tree.ROOT, capture_output=True, text=True)
    if result.stderr:
        sys.exit(f"pyflakes (package python3-pyflakes): {result.stderr}")
    for line in result.stdout.splitlines():
        if match := LINE.match(line):
            report.add(match[1], int(match[2]), match[3])
    report.finish()


main()
