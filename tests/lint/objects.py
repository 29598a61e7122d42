# SPDX-License-Identifier: Apache-2.0
"""Object files of the static libraries in a build folder, each with its source file."""

import functools
import os
import re
import subprocess
import sys

import tree

BUILD = os.path.realpath(sys.argv[2]) if len(sys.argv) > 2 else None


def sources_by_object():
    """(folder, name that meson gives the object) -> source path."""
    known = {}
    for path in tree.c_files(product=True):
        if not path.endswith(".c"):
            continue
        parts = path.split("/")
        for depth in range(1, len(parts)):
            known["/".join(parts[:depth]), "_".join(parts[depth:]) + ".o"] = path
    return known


def objects():
    """(object file, source path) of every lib*.a; objects whose source is gone are left out."""
    known = sources_by_object()
    for folder, folders, names in os.walk(BUILD):
        folders[:] = sorted(f for f in folders if f not in ("meson-private", "meson-logs"))
        if not re.search(r"/lib[^/]*\.a\.p$", folder):
            continue
        layer = os.path.relpath(os.path.dirname(folder), BUILD)
        for name in sorted(names):
            source = known.get((layer, name))
            if source is not None:
                yield os.path.join(folder, name), source


@functools.cache
def all_symbols(*options):
    """object file -> [(type, name)]: one nm for all, for to start one takes longer than its work."""
    paths = [path for path, _ in objects()]
    out = subprocess.run(["nm", "--extern-only", "--print-file-name", *options, *paths], capture_output=True, text=True,
                         check=True).stdout
    found = {path: [] for path in paths}
    for line in out.split("\n"):
        path, colon, rest = line.partition(":")
        words = rest.split()
        if colon and len(words) >= 2:
            found[path].append((words[-2], words[-1]))
    return found


def symbols(path, *options):
    """[(type, name)] of an object's global symbols."""
    return all_symbols(*options)[path]


def line_of(source, name):
    """Where the function is defined, else called, else named; 1 when a macro hides it."""
    lines = list(tree.code_lines(source))
    for shape in (rf"^{name}\(", rf"(?<!\w){name}\s*\(", rf"(?<!\w){name}\b"):
        for number, line in lines:
            if re.search(shape, line):
                return number
    return 1
