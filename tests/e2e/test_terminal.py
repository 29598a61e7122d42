# SPDX-License-Identifier: Apache-2.0
"""What a person sees on a terminal, and what a program sees without one."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import zl
from zl import Node, PROGRAM, check, equal, service, wait_for

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """The command line on a terminal of its own."""

    def __init__(self, node, *args, rows=33, columns=101, env=None):
        self.out = ""
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        environment.update({"TERM": "xterm", **(env or {})})
        self.process = subprocess.Popen([PROGRAM, "--socket", node.socket, *args], stdin=slave, stdout=slave,
                                        stderr=slave, env=environment, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self):
        """Takes what is there; false at the end."""
        if select.select([self.master], [], [], 0.1)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return False
            self.out += data.decode(errors="replace")
            return bool(data)
        return True

    def expect(self, pattern):
        def there():
            self.read()
            return re.search(pattern, self.out)
        try:
            return wait_for(there, pattern)
        except zl.Failure as failure:
            raise zl.Failure(f"{failure}: {self.out!r}")

    def end(self, status=0):
        limit = time.monotonic() + zl.WAIT_S
        while self.read():
            check(time.monotonic() < limit, "it does not end:", repr(self.out))
        self.process.wait(zl.WAIT_S)
        os.close(self.master)
        equal(self.process.returncode, status, repr(self.out))
        return self.out


def stable(text):
    """Without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\b\d+(\.\d+)?(ms|s)\b", "DUR", text)
    return re.sub(r"[^ ]*/test\.zlayer\.yaml", "FILE", text)


def test_deploy_without_a_terminal():
    with Node() as node:
        node.import_image()
        r = node.deploy(service())
        equal(stable(r.stderr).splitlines(),
              ["FILE: shop revision 1", "  + web",
               "TIME web.1 creating revision=1 node=edge-1",
               "TIME web.1 starting revision=1 node=edge-1",
               "TIME web.1 ready revision=1 node=edge-1 after=DUR",
               "TIME shop watched revision=1 ready=1"], "progress")
        equal(stable(r.stdout).splitlines(),
              ["shop revision 1 serves.  DUR", "  https://web.test:8443  -> web (1 replica)"], "result")
        check("\x1b" not in r.stdout + r.stderr, "escapes without a terminal")
        r = node.deploy(service())
        equal((r.stdout, r.returncode), ("shop is unchanged.\n", 0))
        # -o json: every line is JSON, the last one is the result.
        r = node.deploy(service(replicas=2), "-o", "json")
        lines = [json.loads(line) for line in r.stdout.splitlines()]
        equal((lines[-1]["state"], lines[-1]["revision"]), ("done", 2), "the last line")
        equal(node.deploy(service(), "-q").stderr, "", "-q")


def test_deploy_on_a_terminal():
    with Node() as node:
        node.import_image()
        path = os.path.join(node.folder, "shop.zlayer.yaml")
        with open(path, "w") as f:
            f.write(service(replicas=2))
        t = Terminal(node, "deploy", path)
        out = t.end()
        check("\x1b[32mready" in out, "colour", repr(out))
        check("Ctrl-C for choices" in out, repr(out))
        # What stays on the screen: everything after the last time the lines were erased.
        last = [line.rstrip() for line in ESCAPE.sub("", re.split(r"\x1b\[\d+A\x1b\[J", out)[-1]).splitlines()]
        equal([stable(line) for line in last],
              ["  web.1        edge-1      ready DUR", "  web.2        edge-1      ready DUR",
               "  [============================] 2/2", "shop revision 1 serves.  DUR",
               "  https://web.test:8443  -> web (2 replicas)"], "the screen")
        for env, args in (({"NO_COLOR": "1"}, ()), ({"TERM": "dumb"}, ()), ({}, ("--no-color",))):
            out = Terminal(node, "ps", *args, env=env).end()
            check("\x1b[3" not in out and "shop/web.1" in out, env, args, repr(out))
        check("\x1b[32m" in Terminal(node, "ps").end(), "colour on a terminal")


def test_interrupt():
    with Node() as node:
        node.import_image("slow:1", ("/bin/server", "-p", "9999"))
        path = os.path.join(node.folder, "shop.zlayer.yaml")
        with open(path, "w") as f:
            f.write(service(image="slow:1"))
        t = Terminal(node, "deploy", path)
        t.expect("starting")
        t.type("\x03")
        t.expect(r"Leave it running \(r\), wait \(w\)\?")
        t.type("r\n")
        check("zlayer status shop" in t.end(130), t.out)
        equal(node.cli_json("status")["deployments"][0]["name"], "shop", "it goes on in the node")
        # A time limit of the command: 5, and what is known so far.
        node.cli("rm", "shop", "--yes")
        wait_for(lambda: not node.cli_json("status")["deployments"], "it is gone")
        r = node.cli("deploy", path, "--timeout", "8s", status=5)
        for word in ("still under way", "9999", "target_port", "zlayer status shop"):
            check(word in r.stderr, word, r.stderr)


def test_exec():
    with Node() as node:
        node.import_image()
        node.deploy(service())
        t = Terminal(node, "exec", "-it", "shop/web", "--", "sh")
        t.expect("# ")
        t.type("stty size\n")
        t.expect("\r\n33 101\r\n")
        t.resize(50, 120)
        t.type("stty size\n")
        t.expect("\r\n50 120\r\n")
        t.type("sh -c 'echo be''gan; exec sleep 1000'\n")
        t.expect("\r\nbegan\r\n")
        t.type("\x03")
        t.type("exit 5\n")
        t.end(5)
        # A terminal without a size is one of 24 by 80; without a command it is a shell.
        t = Terminal(node, "exec", "web", rows=0, columns=0)
        t.expect("# ")
        t.type("stty size; exit 0\n")
        check("\r\n24 80\r\n" in t.end(), repr(t.out))
        # No terminal: the status of the command, its two outputs apart, its input.
        r = node.cli("exec", "-i", "web", "--", "sh", "-c", "cat; echo bad >&2; exit 3", input="words", status=3)
        equal((r.stdout, r.stderr), ("words", "bad\n"))
        node.cli("exec", "web", "--", "sh", "-c", "kill -9 $$", status=137)
        r = node.cli("exec", "web", "--", "nonesuch", status=127)
        equal([line[:9] for line in r.stderr.splitlines()], ["zlayer: c", "  why    ", "  fix    "], r.stderr)
        r = node.cli("exec", "-t", "web", "--", "true", status=125, input="")
        check("-t needs a terminal" in r.stderr, r.stderr)


def test_what_is_shown_is_what_runs():
    with Node() as node:
        node.import_image()
        node.deploy(service(replicas=3))
        replicas = node.cli_json("ps")["items"]
        equal([r["name"] for r in replicas], ["shop/web.1", "shop/web.2", "shop/web.3"])
        for r in replicas:
            pid = r["container"]["pid"]
            check(b"/bin/server" in open(f"/proc/{pid}/cmdline", "rb").read(), r["name"], pid)
        shown = {name for name in node.cli("ps", "-o", "name").stdout.split()}
        equal(shown, {r["name"] for r in replicas}, "-o name")
        answers = {node.curl("/who").strip() for _ in range(30)}
        equal(len(answers), 3, "replicas that answer")
        status = node.cli_json("status")
        web = status["deployments"][0]["services"][0]
        equal((web["desired"], web["running"], web["ready"], web["url"]), (3, 3, 3, "https://web.test:8443"))
        for p in status["processes"]:
            equal(p["state"], "up", p["role"])
            check(os.path.exists(f"/proc/{p['pid']}"), p)
            check(f"\nUid:\t{p['uid']}\t" in open(f"/proc/{p['pid']}/status").read(), p)
        node.cli("stop", "shop")
        equal([r for r in node.cli_json("ps")["items"] if r["state"] == "ready"], [], "after stop")
        for r in replicas:
            check(not os.path.exists(f"/proc/{r['container']['pid']}"), "a process is left", r)
        node.cli("start", "shop")
        equal(len([r for r in node.cli_json("ps")["items"] if r["state"] == "ready"]), 3, "after start")


def test_words():
    with Node() as node:
        check("Usage: zlayer deploy" in node.cli("help", "deploy").stdout)
        check("image import" in node.cli("help", "image").stdout)
        check("Usage: zlayer COMMAND" in node.cli("help").stdout)
        for args, status, words in (
                (["depoly"], 2, ["depoly", "did you mean: zlayer deploy?"]),
                (["help", "depoly"], 2, ["did you mean: zlayer deploy?"]),
                (["ps", "-o", "xml"], 2, ["xml", "json"]),
                (["status", "absent"], 4, ["absent", "fix"]),
                (["logs", "absent"], 4, ["absent"]),
                (["image", "rm", "absent:1"], 4, ["absent:1"]),
                (["scale", "web=2"], 4, ["web"]),
                (["--timeout", "5", "ps"], 2, ["duration"])):
            r = node.cli(*args, status=status)
            for word in words:
                check(word in r.stderr, args, word, r.stderr)
            equal(r.stdout, "", args)


def test_reader_that_leaves():
    """`logs -f | head -1` ends with its reader, also when no further line comes."""
    with Node() as node:
        node.import_image()
        node.deploy(service())
        p = subprocess.Popen([zl.PROGRAM, "--socket", node.socket, "logs", "-f", "shop/web"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        check("ready on port" in p.stdout.readline(), "the first line")
        p.stdout.close()
        equal(p.wait(60), 0, p.stderr.read())


if __name__ == "__main__":
    zl.main(globals())
