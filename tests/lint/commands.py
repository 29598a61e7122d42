#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Commands that documents, messages and alerts tell people to type are in cli/table.c."""

import re

import tree

TABLE = re.compile(r'^\t\{\w+, "([a-z]+(?: [a-z]+)*)"', re.M)
# What is typed stands at the beginning of a text, behind its mark, or behind ':' or ';'.
TYPED = re.compile(r'(?:^|[`"]|[:;(] ?|\bor |, (?:then: )?)zlayer ((?:-{1,2}[a-z]+(?: json)? )*)([a-z]+)(?: ([a-z]+))?')
LITERAL = re.compile(r'"((?:\\.|[^"\\\n])*)"')
# Programs start these, not people; the others begin a sentence about zlayer.
KNOWN = {"serve", "role", "is", "works", "feed", "shows", "authority"}


def typed(path, text):
    """(line number, words) of everything that is to be typed."""
    for number, line in enumerate(text.split("\n"), 1):
        parts = LITERAL.findall(line) if path.endswith(".c") else [line]
        for part in parts:
            for match in TYPED.finditer(part):
                yield number, match.group(2), match.group(3)


def main():
    report = tree.Report()
    commands = set(TABLE.findall(tree.read("cli/table.c")))
    first = {c.split()[0] for c in commands}
    groups = {c.split()[0] for c in commands if " " in c}
    if len(commands) < 10:
        report.add("cli/table.c", 1, "this lint no longer understands the table")
    for path in tree.files():
        if not (path in ("README.md", "CHANGELOG.md") or path.startswith("docs/")
                or path.startswith("observability/") or path.endswith(".c")):
            continue
        if path.startswith("tests/") or not path.endswith((".c", ".md", ".yml", ".5", ".1")):
            continue
        for number, word, second in typed(path, tree.read(path)):
            if word in KNOWN:
                continue
            if word not in first or (word in groups and second and f"{word} {second}" not in commands):
                report.add(path, number, f"there is no command: zlayer {word} {second or ''}".rstrip())
    report.finish()


main()
