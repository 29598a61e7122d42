#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Global functions of foo.c begin with foo_.

A noun may be spread over several files when one header declares it: text_code.c may define text_*
because text.h is beside it. A function with exactly the noun's name is fine too."""

import os
import re

import objects
import tree

# Named by somebody else, or by a macro of base/dl.h.
ANYWHERE = re.compile(r"^(main|LLVMFuzzer\w+|dl_load_\w+)$")

# source: other nouns it may have. Each with its reason.
MORE_NOUNS = {
    "base/buf.c": ["cursor"],  # reader and writer of one format stand in one file
}


def nouns(source):
    folder, name = os.path.split(source)
    words = name[:-2].split("_")
    yield name[:-2]
    for n in range(len(words) - 1, 0, -1):
        noun = "_".join(words[:n])
        if os.path.exists(os.path.join(tree.ROOT, folder, noun + ".h")):
            yield noun


def main():
    report = tree.Report()
    for path, source in objects.objects():
        allowed = list(nouns(source)) + MORE_NOUNS.get(source, [])
        for kind, name in objects.symbols(path, "--defined-only"):
            if kind not in "TW" or ANYWHERE.match(name):
                continue
            if any(name == noun or name.startswith(noun + "_") for noun in allowed):
                continue
            report.add(source, objects.line_of(source, name),
                       f"{name}(): make it static, or begin it with {allowed[0]}_")
    report.finish()


main()
