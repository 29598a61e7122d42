# SPDX-License-Identifier: Apache-2.0
"""The completion scripts in the shells they are for: what each offers for a line. Speaks TAP."""

import os
import shutil
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])

# The line up to the cursor, and words that must be offered or (with "!") must not be.
LINES = [
    ("zlayer d", ["deploy", "!status"]),
    ("zlayer sta", ["status", "start", "!stop"]),
    ("zlayer image ", ["ls", "import", "rm", "!deploy"]),
    ("zlayer image i", ["import", "!ls"]),
    ("zlayer completion z", ["zsh", "!bash"]),
    ("zlayer -o json st", ["status", "stop"]),
    ("zlayer --instance two ev", ["events"]),
    ("zlayer -o ", ["table", "json", "yaml", "!deploy"]),
    ("zlayer deploy --d", ["--detach", "--dry-run", "!--follow"]),
    ("zlayer logs --f", ["--follow", "!--detach"]),
    ("zlayer validate fi", ["file.yaml", "!deploy"]),
    ("zlayer ps ", ["shop", "rival", "!edge-2"]),
    ("zlayer node ", ["ls", "drain", "!deploy"]),
    ("zlayer node drain ", ["edge-2", "!shop"]),
    ("zlayer node ro", ["rotate", "!rm"]),
    ("zlayer node rotate ", ["edge-2", "!shop"]),
    ("zlayer observe --", ["--peer", "--verdict", "--last", "!--uses"]),
    ("zlayer cluster admission ", ["token", "closed", "!edge-2"]),
]

BASH = r"""
source ./bash.sh
line=$1
COMP_WORDS=($line)
case $line in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_zlayer
printf '%s\n' "${COMPREPLY[@]}"
"""

# The shell on the other side of the terminal writes what would be added to the file "matches".
ZSH_SETUP = r"""
PS1=
autoload -Uz compinit
compinit -u -D
source ./zsh.sh
compadd() { local -a got; builtin compadd -A got "$@"; builtin print -rl -- $got >>matches.new }
capture() { _zlayer; : >>matches.new; mv matches.new matches }
zle -C capture complete-word capture
bindkey '^X' capture
: >ready
"""

ZSH = r"""
zmodload zsh/zpty zsh/datetime
wait_for() {
    local end=$((EPOCHREALTIME + 60)) text
    until [ -e $1 ]; do
        zpty -r -t z text || sleep 0.02
        ((EPOCHREALTIME < end)) || { print -u2 "no $1"; exit 1 }
    done
}
rm -f ready matches matches.new
zpty z zsh -f -i
zpty -w z 'source ./setup.zsh'
wait_for ready
zpty -w -n z "$1"$'\x18'
wait_for matches
cat matches
zpty -d z
"""


def run(command, folder):
    r = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                       env={**os.environ, "PATH": folder + ":" + os.environ["PATH"], "TERM": "dumb", "HOME": folder,
                            "LC_ALL": "C.UTF-8"})
    return r.returncode, r.stdout, r.stderr


def offered(shell, line, folder):
    if shell == "bash":
        command = ["bash", "--norc", "-c", BASH, "bash", line]
    elif shell == "zsh":
        command = ["zsh", "-f", "-c", ZSH, "zsh", line]
    else:
        command = ["fish", "--no-config", "-c", "source ./fish.sh; complete -C $argv[1]", line]
    status, out, err = run(command, folder)
    return status, [word.split("\t")[0].split()[0] for word in out.splitlines() if word.strip()], err


def main():
    shells = [s for s in ("bash", "zsh", "fish") if shutil.which(s)]
    print(f"1..{len(shells) * len(LINES)}" if shells else "1..0 # SKIP no shell")
    folder = tempfile.mkdtemp(prefix="zlayer-completion-")
    failed = number = 0
    try:
        # A program that answers as the node would.
        with open(os.path.join(folder, "zlayer"), "w") as f:
            f.write("#!/bin/sh\n[ \"$*\" = 'status -o name' ] && printf 'shop\\nrival\\n'\n"
                    "[ \"$*\" = 'node ls -o name' ] && printf 'edge-1\\nedge-2\\n'\n")
        os.chmod(os.path.join(folder, "zlayer"), 0o755)
        open(os.path.join(folder, "file.yaml"), "w").close()
        with open(os.path.join(folder, "setup.zsh"), "w") as f:
            f.write(ZSH_SETUP)
        for shell in shells:
            with open(os.path.join(folder, shell + ".sh"), "wb") as f:
                f.write(subprocess.run([PROGRAM, "completion", shell], check=True, capture_output=True, timeout=60).stdout)
            for line, words in LINES:
                number += 1
                status, got, err = offered(shell, line, folder)
                wrong = [w for w in words if (w[1:] in got if w.startswith("!") else w not in got)]
                good = status == 0 and not wrong and not err.strip()
                failed += not good
                print(("ok" if good else "not ok") + f" {number} - {shell}: {line!r}")
                if not good:
                    print(f"# status {status}, wrong: {wrong}, offered: {got}")
                    for text in err.splitlines():
                        print("# " + text)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
