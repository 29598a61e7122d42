#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Manual pages are installed, and mdoc that mandoc has nothing to say about. Exit status 77 (skipped) without it.
Cross references are not looked up: what is installed here says nothing about the page."""

import os
import re
import shutil
import subprocess
import sys

import tree

FINDING = re.compile(r"^mandoc: (.*?):(\d+):\d+: (.*)$")


def main():
    if shutil.which("mandoc") is None:
        print("mandoc is not installed")
        sys.exit(77)
    report = tree.Report()
    installed = tree.read("docs/meson.build")
    for path in tree.files():
        if not re.search(r"^docs/[^/]*\.[1-9]$", path):
            continue
        if f"'{os.path.basename(path)}'" not in installed:
            report.add("docs/meson.build", 1, f"{path} is not installed")
        full = os.path.join(tree.ROOT, path)
        result = subprocess.run(["mandoc", "-T", "lint", full], capture_output=True, text=True)
        for line in (result.stdout + result.stderr).split("\n"):
            match = FINDING.match(line)
            if match and "lacks" not in line and "referenced manual" not in line:
                report.add(path, int(match.group(2)), match.group(3))
    report.finish()


main()
