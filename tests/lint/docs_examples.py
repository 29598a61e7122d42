#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every example in the documentation is valid.

A fenced block marked ```yaml is a deployment document when it says `version:`, else a node.yaml;
```yaml service is what stands below a service. Also: docs/spec.md has every key of the document.

usage: docs_examples.py SOURCE BUILD VALIDATOR"""

import glob
import os
import re
import subprocess
import sys

FENCE = re.compile(r"^```yaml( service)?\n(.*?)^```$", re.M | re.S)
KEY = re.compile(r'(?:\.key = |DOC_\w+\([^,"]*,[^,"]*, )"(\w+)"')


def examples(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for block in FENCE.finditer(text):
        line = text.count("\n", 0, block.start()) + 2
        body = block.group(2)
        kind = "service" if block.group(1) else "doc" if re.search(r"^version:", body, re.M) else "node"
        yield line, kind, body


def main():
    source, _, validator = sys.argv[1:4]
    wrong = count = 0
    for path in ["README.md"] + sorted(glob.glob("docs/*.md", root_dir=source)):
        full = os.path.join(source, path)
        if not os.path.exists(full):
            continue
        for line, kind, body in examples(full):
            count += 1
            run = subprocess.run([validator, kind, f"{path}:{line}"], input=body.encode(),
                                 stdout=subprocess.PIPE, check=False)
            if run.returncode != 0:
                print(f"{path}:{line}: this example is not valid\n{run.stdout.decode()}")
                wrong += 1
    with open(os.path.join(source, "docs/spec.md"), encoding="utf-8") as f:
        page = f.read()
    for name in sorted(glob.glob(os.path.join(source, "spec/doc*.c"))):
        with open(name, encoding="utf-8") as f:
            for key in KEY.findall(f.read()):
                if not re.search(rf"\b{key}\b", page):
                    print(f"docs/spec.md: the key {key} of {os.path.basename(name)} is missing")
                    wrong += 1
    print(f"{count} examples, {wrong} findings")
    sys.exit(1 if wrong else 0)


main()
