#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The units of systemd in packaging/: as they are installed, but with the program of the build folder.

  tests/lint/units.py SOURCE BUILD"""

import os
import shutil
import subprocess
import sys
import tempfile

source, build = (os.path.abspath(p) for p in sys.argv[1:3])
if not shutil.which("systemd-analyze"):
    print("systemd-analyze is not here: nothing was looked at")
    sys.exit(77)
folder = os.path.join(source, "packaging")
units = sorted(n for n in os.listdir(folder) if n.endswith(".service.in"))
wrong = 0 if units else 1
with tempfile.TemporaryDirectory() as copy:
    for name in units:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            text = f.read().replace("@bindir@", build)
        with open(os.path.join(copy, name[:-3]), "w", encoding="utf-8") as f:
            f.write(text)
    for name in units:
        r = subprocess.run(["systemd-analyze", "verify", "--man=no", os.path.join(copy, name[:-3])], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        said = [line for line in r.stdout.splitlines() if copy in line]
        if r.returncode or said:
            wrong += 1
            print(f"packaging/{name}: systemd-analyze verify:\n{r.stdout}")
# What the program relies on.
needed = {"zlayer.service.in": ("Type=notify", "KillMode=process", "Restart=always", "ExecReload=", "TimeoutStopSec="),
          "zlayer-containers.service.in": ("Delegate=yes", "RemainAfterExit=yes")}
for name, lines in needed.items():
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        text = f.read()
    for line in lines:
        if "\n" + line not in text:
            wrong += 1
            print(f"packaging/{name}: {line} is missing")
sys.exit(1 if wrong else 0)
