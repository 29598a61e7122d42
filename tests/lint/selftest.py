#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each lint is run over a small tree with one fault of each kind, and must name file and line."""

import os
import subprocess
import sys
import tempfile

LINTS = sys.argv[1]
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
NOTE = "TO" + "DO"
FILES = {
    "base/good.c": SPDX + '#include "base/good.h"\n#include <uv.h>\n#include <linux/fs.h>\n'
                   "/* malloc(1), #include <x.h> */\n",
    "base/up.c": SPDX + '#include "ring/ring.h"\n',
    "base/lib.c": SPDX + "#include <openssl/ssl.h>\n",
    "proxy/side.c": SPDX + '#include "ring/ring.h"\n#include "runtime/image.h"\n',
    "proxy/deep/up.c": SPDX + '\n#include "node/node.h"\n',
    "proxy/short.c": SPDX + '#include "conn.h"\n',
    "proxy/memory.c": SPDX + "void *p = malloc (3);\nint q = pool->free(1);\n",
    "proxy/string.c": SPDX + 'const char *s = "free(1)"; // free(2)\nchar *d = strdup(s);\n',
    "proxy/bare.c": "int x;\n",
    "proxy/bpf/edge.bpf.c": "/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */\n",
    "tools/run": "#!/bin/sh\necho\n",
    "tools/odd": "#!/usr/bin/python3\n# SPDX-License-Identifier: Apache-2.0\nprint(nobody)\n",
    "tests/unused.py": "# SPDX-License-Identifier: Apache-2.0\nimport os\n",
    "docs/note.md": f"text\n{NOTE}: more\n" + "see /ho" + "me/somebody/src\n",
    "proxy/ugly.c": SPDX + "int   x ;\n",
    "ring/part.h": SPDX,
    "ring/part.c": SPDX + "int part_new(void);\nint part_new(void) { return 1; }\n"
                   "int other_new(void);\nint other_new(void) { return 1; }\n",
    "ring/part_more.c": SPDX + "int part_old(void);\nint part_old(void) { return 1; }\n",
    "wire/sub/core.c": SPDX + "#include <time.h>\nlong core_now(void);\n"
                       "long core_now(void)\n{\n\treturn time(NULL);\n}\n",
    "scheduler/order.c": SPDX + "int map_init(void *), map_next(void *), printf(const char *, ...);\n"
                    "int order_all(void *m);\nint order_all(void *m)\n{\n\tmap_init(m);\n"
                    "\tprintf(\"%4p 50%\", m); /* %p */\n"
                    "\treturn (__UINTPTR_TYPE__)m > 5 && map_next(m); /* uintptr_t */\n}\n"
                    "typedef unsigned long uintptr_t;\n",
    "tests/lint/cores.txt": "# cores\nwire/sub/core.c\nwire/gone.c # not there\nscheduler/order.c\n",
}
# lint: what it must report, and nothing else.
EXPECTED = {
    "layers": {"base/up.c:2", "base/lib.c:2", "proxy/side.c:3", "proxy/deep/up.c:3",
               "proxy/short.c:2"},
    "malloc": {"proxy/memory.c:2", "proxy/string.c:3"},
    "python": {"tools/odd:3", "tests/unused.py:2"},
    "spdx": {"proxy/bare.c:1", "tools/run:1"},
    "words": {"docs/note.md:2", "docs/note.md:3"},
    "symbols": {"ring/part.c:4"},
    "cores": {"wire/sub/core.c:6", "tests/lint/cores.txt:3", "scheduler/order.c:2", "scheduler/order.c:7",
              "scheduler/order.c:10"},
}


def compile_objects(root):
    """As meson lays them out."""
    cc = os.environ.get("CC", "cc").split()
    for source, name in (("ring/part.c", "ring/libr.a.p/part.c.o"),
                         ("ring/part_more.c", "ring/libr.a.p/part_more.c.o"),
                         ("wire/sub/core.c", "wire/libw.a.p/sub_core.c.o"),
                         ("scheduler/order.c", "scheduler/libs.a.p/order.c.o")):
        out = os.path.join(root, "build", name)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run([*cc, "-c", "-o", out, os.path.join(root, source)], check=True)


def run(lint, root):
    result = subprocess.run(["/usr/bin/python3", "-B", os.path.join(LINTS, lint + ".py"), root,
                             os.path.join(root, "build")], capture_output=True, text=True)
    lines = [line for line in result.stdout.split("\n") if line.count(":") >= 2]
    return result, {":".join(line.split(":")[:2]) for line in lines}


def main():
    failed = False
    with tempfile.TemporaryDirectory() as root:
        for path, text in FILES.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        compile_objects(root)
        for lint, expected in EXPECTED.items():
            result, found = run(lint, root)
            if found != expected or result.returncode != 1:
                print(f"{lint}: missing {sorted(expected - found)}, "
                      f"too much {sorted(found - expected)}\n{result.stdout}{result.stderr}")
                failed = True
        result, found = run("format", root)
        if result.returncode != 77 and "proxy/ugly.c:2" not in found:
            print(f"format: {result.stdout}{result.stderr}")
            failed = True
    sys.exit(1 if failed else 0)


main()
