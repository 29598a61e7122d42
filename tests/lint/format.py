#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clang-format decides. Exit status 77 (skipped) where the program is not installed.

Other major versions than the one below break lines differently in a few places: there is one
reference, and tools/ installs it."""

import os
import re
import shutil
import subprocess
import sys

import tree

MAJOR = "14"
FINDING = re.compile(r"^(.*?):(\d+):\d+: error: ")


def program():
    for name in ("clang-format-" + MAJOR, "clang-format"):
        path = shutil.which(name)
        if path is None:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if f"version {MAJOR}." in version:
            return path
    print(f"clang-format {MAJOR} is not installed")
    sys.exit(77)


def main():
    report = tree.Report()
    paths = [p for p in tree.c_files() if not p.endswith(".skel.h")]
    result = subprocess.run([program(), "--dry-run", "-Werror", *paths], cwd=tree.ROOT,
                            capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    seen = set()
    for line in result.stderr.split("\n"):
        match = FINDING.match(line)
        if match and match.group(1) not in seen:
            seen.add(match.group(1))
            report.add(match.group(1), match.group(2), f"run: clang-format -i {match.group(1)}")
    if result.returncode != 0 and not seen:
        print(result.stderr)
        sys.exit(1)
    report.finish()


main()
