#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No notes to ourselves in the tree, and no path of the machine somebody worked on."""

import re

import tree

# In two halves, so that this file passes.
NOTES = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
MACHINE = re.compile(r"(?<![\w.$}/-])/(?:work|home/[a-z]\w*|Users/\w+)/")


def main():
    report = tree.Report()
    for path in tree.files():
        text = tree.read(path)
        if "\0" in text:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            match = NOTES.search(line)
            if match:
                report.add(path, number, f"{match.group(1)}: do it now, or say in the text what "
                                         "the limit is and why")
            match = MACHINE.search(line)
            if match:
                report.add(path, number, f"{match.group(0)}: a path of one machine; derive it or "
                                         "take it as an argument")
    report.finish()


main()
