#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/node.yaml.5 has every key of the node's configuration, in its order, with its default, and
calls reserved what spec/config_available.c refuses. Arguments: SOURCE BUILD PROGRAM (config_keys)."""

import os
import re
import subprocess
import sys

import tree

PAGE = "docs/node.yaml.5"
# Refused in part: the page says which values are possible.
IN_PART = {"runtime.seccomp"}


def defaults(program):
    """[path, default as the page writes it] of every key that is no map of keys."""
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    keys, stack = [], []
    for i, line in enumerate(lines):
        depth, word = (len(line) - len(line.lstrip())) // 2, line.strip()
        if word.startswith("- "):
            keys[-1][1].append(word[2:].strip('"'))
            continue
        key, _, value = word.partition(":")
        stack = stack[:depth] + [key]
        value = value.strip().strip('"')
        if not word.endswith(":"):
            keys.append((".".join(stack), [] if value in ("", "[]", "{}") else [value]))
        elif i + 1 < len(lines) and lines[i + 1].strip().startswith("- "):
            keys.append((".".join(stack), []))
    return [(path, "Ql " + ", ".join(values) if values else "empty") for path, values in keys]


def main():
    report = tree.Report()
    with open(os.path.join(tree.ROOT, PAGE)) as f:
        page = f.read()
    with open(os.path.join(tree.ROOT, "spec/config_available.c")) as f:
        refused = set(re.findall(r'(?:WORDS|DEFAULT)\("([^"]+)"', f.read())) - IN_PART
    items = re.split(r"^\.It Cm ", page.split(".Sh FILES")[0], flags=re.M)[1:]
    there = [tuple(item.split("\n")[0].split(" Pq ", 1)) for item in items]
    wanted = defaults(sys.argv[3])
    for path, value in wanted:
        if (path, value) not in there:
            report.add(PAGE, 0, f"{path} with its default ({value}) is missing")
    for pair in there:
        if pair not in wanted:
            report.add(PAGE, 0, f"{pair[0]} is no key with this default")
    reserved = {item.split(" ")[0] for item in items if "\nReserved." in item}
    for path in sorted(reserved ^ refused):
        report.add(PAGE, 0, f"{path} is " + ("" if path in refused else "not ") + "refused: say the same")
    report.finish()


main()
