# SPDX-License-Identifier: Apache-2.0
"""What all lints share: the files of the source tree, C text without comments, reporting.

The working tree is read as it lies on the disk, with or without git, so that a lint says the same
in a checkout, in an archive and in a half-made change."""

import os
import re
import sys

ROOT = os.path.realpath(sys.argv[1])
SKIPPED = re.compile(r"^(build.*|\..*|__pycache__|corpus|node_modules)$")

# Layers of the source tree: an include may go to a lower number or stay in its folder.
LAYERS = {
    "base": 0,
    "ring": 1, "spec": 1, "wire": 1,
    "api": 2, "dataplane": 2, "observability": 2, "overlay": 2, "proxy": 2, "runtime": 2,
    "scheduler": 2,
    "node": 3,
    "cli": 4,  # its main() starts node
}


def files():
    """Paths of all files, relative to the root, sorted."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not SKIPPED.match(f))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name != ".git" and os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def c_files(product=False):
    """All .c and .h; only those of the layers when product is set."""
    for path in files():
        if path.endswith((".c", ".h")) and (not product or path.split(os.sep)[0] in LAYERS):
            yield path


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_lines(path):
    """(number, line) with comments and the insides of literals blanked."""
    def blank(match):
        text = match.group(0)
        if text[0] in "\"'":
            return text[0] + " " * (len(text) - 2) + text[0]
        return re.sub(r"[^\n]", " ", text)
    return enumerate(TOKEN.sub(blank, read(path)).split("\n"), 1)


class Report:
    def __init__(self):
        self.found = 0

    def add(self, path, line, what):
        self.found += 1
        print(f"{path}:{line}: {what}")

    def finish(self):
        if self.found:
            print(f"{self.found} found")
        sys.exit(1 if self.found else 0)
