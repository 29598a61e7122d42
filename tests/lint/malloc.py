#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Only base/mem.c calls the malloc family, and functions that call it for the caller."""

import re

import tree

CALLS = re.compile(
    r"(?<![\w.>])(malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf|"
    r"aligned_alloc|posix_memalign|memalign|valloc|getline|getdelim|open_memstream)\s*\(")

# file: the calls it may make. Each with its reason.
ALLOWED = {
    "base/mem.c": {"malloc", "calloc", "realloc", "free"},  # the only one
}


def main():
    report = tree.Report()
    for path in tree.c_files(product=True):
        for number, line in tree.code_lines(path):
            for match in CALLS.finditer(line):
                call = match.group(1)
                if call not in ALLOWED.get(path, ()):
                    report.add(path, number, f"{call}(): use base/mem.h (memory that a library "
                                             "wants freed: its own free function)")
    report.finish()


main()
