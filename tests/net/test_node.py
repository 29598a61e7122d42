#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""node from outside: start, crash, stop, upgrade, with roles made for the test (node_fixture.c).

    this test ---- signals ----> node ---- starts ----> proxy x2, observability, signer, probe, api
        |                                                 |            |
        +------------- HTTP over 127.0.0.1 ---------------+------------+   ("metrics": what the
                                                                            ring says, as text)
Needs root. Every instance, namespace, cgroup and folder that it makes is removed again.
"""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

FIXTURE = os.path.abspath(sys.argv[1])
PATIENCE = 60


def wait_for(what, condition):
    """Polls: gives the first true value."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(port, timeout=20):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        c.request("GET", "/")
        return c.getresponse().read().decode()
    finally:
        c.close()


class Node:
    """An instance with a folder, a configuration and, most of the time, a process."""

    count = 0

    def __init__(self):
        Node.count += 1
        self.name = f"test-{os.getpid()}-{Node.count}"
        self.folder = tempfile.mkdtemp(prefix="zlayer-node-")
        os.chmod(self.folder, 0o755)
        self.http, self.metrics, self.api = free_port(), free_port(), free_port()
        self.tls = self.folder + "/tls"
        os.mkdir(self.tls)
        self.log = open(self.folder + "/log", "w+")
        self.process = None
        self.program = FIXTURE
        self.configure()

    def configure(self, more_http=(), extra=""):
        addresses = ", ".join(f'"127.0.0.1:{p}"' for p in (self.http, *more_http))
        with open(self.folder + "/node.yaml", "w") as f:
            f.write(f"listen:\n  http: [{addresses}]\n  https: []\n"
                    f"  api: 127.0.0.1:{self.api}\n  metrics: 127.0.0.1:{self.metrics}\n"
                    f"tls: {{certificates: {self.tls}}}\nproxy: {{workers: 2}}\n"
                    f"logs: {{format: json}}\n{extra}")

    def command(self, name=None, data=None):
        return [self.program, "serve", "--instance", name or self.name, "--data-dir",
                data or self.folder + "/data", "--config", self.folder + "/node.yaml"]

    def start(self):
        self.process = subprocess.Popen(self.command(), stderr=self.log)
        self.wait_up()

    def wait_up(self):
        self.rows()

    def logged(self):
        with open(self.folder + "/log") as f:
            return f.read()

    def page(self):
        try:
            return get(self.metrics)
        except (OSError, http.client.HTTPException):
            return ""

    def processes(self):
        """name -> dict of the process table's row."""
        rows = {}
        for line in self.page().splitlines():
            m = re.match(r"process (\S+) pid=(\d+) state=(\d+) restarts=(\d+) generation=(\d+)",
                         line)
            if m:
                rows[m[1]] = dict(zip(("pid", "state", "restarts", "generation"),
                                      map(int, m.groups()[1:])))
        return rows

    def all_up(self):
        rows = self.processes()
        names = {n.split(".")[0] for n in rows}
        if names >= {"proxy", "observability", "signer", "probe", "api"} and \
                sum(n.startswith("proxy") for n in rows) == 2 and \
                all(r["state"] == 2 for r in rows.values()):
            return rows
        return None

    def rows(self):
        """As processes(), when all are up."""
        return wait_for("all processes", self.all_up)

    def counted(self, sample):
        wait_for(sample, lambda: sample in self.page())

    def requests(self):
        m = re.search(r"^requests (\d+)$", self.page(), re.M)
        return int(m[1]) if m else -1

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.logged()

    def remains(self):
        """What the instance still has on the machine."""
        found = []
        for path in (f"/run/zlayer/{self.name}", f"/sys/fs/bpf/zlayer/{self.name}"):
            if os.path.exists(path):
                found.append(path)
        with open("/proc/self/mountinfo") as f:
            found += [line for line in f if f"/{self.name}/" in line]
        for folder, folders, _ in os.walk("/sys/fs/cgroup"):
            if folder.count("/") > 6:
                folders.clear()
            if self.name in folders:
                found.append(f"{folder}/{self.name}")
        for file in os.listdir("/run/zlayer") if os.path.isdir("/run/zlayer") else []:
            if file.startswith("uids."):
                with open("/run/zlayer/" + file) as f:
                    if self.name in f.read():
                        found.append(file)
        return found

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.remains():  # a test failed in between: a start and a stop put it right
            p = subprocess.Popen(self.command(), stderr=self.log)
            wait_for("a node that can be stopped", lambda: self.all_up() or p.poll() is not None)
            p.send_signal(signal.SIGTERM)
            p.wait(PATIENCE)
        self.log.close()
        shutil.rmtree(self.folder)


class Load:
    """Requests without pause; counts answers and failures."""

    def __init__(self, port):
        self.port, self.answers, self.failures, self.running = port, 0, [], True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while self.running:
            try:
                assert get(self.port).strip().isdigit()
                self.answers += 1
            except (OSError, AssertionError, http.client.HTTPException) as e:
                self.failures.append(repr(e))

    def more(self, n=20):
        goal = self.answers + n
        wait_for("answers", lambda: self.answers >= goal)

    def stop(self):
        self.running = False
        self.thread.join()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# ---- the tests ----


def test_start_and_clean_stop(node):
    node.start()
    rows = node.processes()
    assert len(rows) == 6, rows
    pids = {int(get(node.http)) for _ in range(40)}
    assert pids <= {r["pid"] for n, r in rows.items() if n.startswith("proxy")}
    node.counted("listener admin")
    node.stop()
    assert not node.remains(), node.remains()
    for row in rows.values():
        assert not alive(row["pid"])


def test_every_role_comes_back(node):
    node.start()
    before = node.rows()
    for name in sorted(before):
        os.kill(before[name]["pid"], signal.SIGKILL)
        wait_for(f"{name} again", lambda: (r := node.all_up()) and
                 r[name]["pid"] != before[name]["pid"] and r[name]["restarts"] == 1)
        assert node.rows()[name]["generation"] > before[name]["generation"]
    node.counted('zlayer_process_restarts_total{component="signer",reason="signal"} 1')


def test_counters_survive_a_crash(node):
    node.start()
    for _ in range(30):
        get(node.http)
    assert wait_for("counters", lambda: node.requests() == 30)
    for name, row in node.rows().items():
        if name.startswith("proxy"):
            os.kill(row["pid"], signal.SIGKILL)
    wait_for("proxies", lambda: (r := node.all_up()) and
             all(r[n]["restarts"] == 1 for n in r if n.startswith("proxy")))
    assert node.requests() == 30
    for _ in range(5):
        get(node.http)
    wait_for("all counted", lambda: node.requests() == 35)


def test_queue_survives_a_worker(node):
    node.start()
    load = Load(node.http)
    try:
        load.more()
        proxies = [row["pid"] for name, row in node.rows().items() if name.startswith("proxy")]
        for pid in proxies:
            os.kill(pid, signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", node.http)) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            for pid in proxies:
                os.kill(pid, signal.SIGKILL)
            s.settimeout(PATIENCE)
            assert s.recv(100).startswith(b"HTTP/1.0 200")
    finally:
        load.stop()


def test_silent_role_is_replaced(node):
    node.start()
    before = node.rows()["probe.0"]
    os.kill(before["pid"], signal.SIGSTOP)
    wait_for("a new probe", lambda: (r := node.all_up()) and
             r["probe.0"]["pid"] != before["pid"])
    node.counted('zlayer_process_restarts_total{component="probe",reason="heartbeat"} 1')


def test_second_serve_is_refused(node):
    node.start()
    p = subprocess.run(node.command(name=node.name + "-b"), capture_output=True, text=True)
    assert p.returncode == 7, p
    assert str(node.process.pid) in p.stderr and "data folder" in p.stderr, p.stderr
    p = subprocess.run(node.command(data=node.folder + "/other"), capture_output=True, text=True)
    assert p.returncode == 7 and str(node.process.pid) in p.stderr, p.stderr
    assert node.all_up()


def test_two_instances_share_nothing(node):
    node.start()
    other = Node()
    try:
        other.start()
        uids = set()
        for n in (node, other):
            for row in n.all_up().values():
                with open(f"/proc/{row['pid']}/status") as f:
                    uids.add(re.search(r"^Uid:\s+(\d+)", f.read(), re.M)[1])
        assert len(uids) == 12, uids
        other.stop()
        assert not other.remains(), other.remains()
        assert node.all_up()
    finally:
        other.close()


def test_port_in_use(node):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        node.configure(more_http=[port])
        node.start()
        page = node.page()
        line = next(x for x in page.splitlines() if f":{port} " in x)
        assert "up=0" in line and f"(pid {os.getpid()})" in line, line
        get(node.http)
    wait_for("the listener", lambda: re.search(rf"listener http \S+:{port} up=1", node.page()))
    wait_for("an answer", lambda: get(port).strip().isdigit())


def test_no_root(node):
    p = subprocess.run(node.command(), capture_output=True, text=True,
                       preexec_fn=lambda: (os.setgid(65534), os.setuid(65534)),
                       cwd="/")
    assert p.returncode == 1, p
    assert "CAP_SYS_ADMIN" in p.stderr and "CAP_NET_ADMIN" in p.stderr, p.stderr
    assert not node.remains()


def test_wrong_words(node):
    p = subprocess.run([FIXTURE, "serve", "--frobnicate"], capture_output=True, text=True)
    assert p.returncode == 2 and "--frobnicate" in p.stderr, p
    node.configure(extra="nonsense: 1\n")
    p = subprocess.run(node.command(), capture_output=True, text=True)
    assert p.returncode == 2 and "nonsense" in p.stderr, p
    assert not node.remains()


def test_reload(node):
    node.start()
    extra = free_port()
    load = Load(node.http)
    try:
        before = node.rows()
        node.configure(extra="wrong: yes\n")
        node.process.send_signal(signal.SIGHUP)
        wait_for("the refusal", lambda: "the old one stays" in node.logged())
        node.configure(more_http=[extra])
        node.process.send_signal(signal.SIGHUP)
        wait_for("the new listener", lambda: f":{extra} up=1" in node.page())
        wait_for("an answer", lambda: get(extra).strip().isdigit())
        wait_for("the roles", lambda: '"configuration"' in node.logged())
        for result in ("failure", "success"):
            node.counted(f'zlayer_config_reloads_total{{result="{result}"}} 1')
        after = node.rows()
        assert {n: r["pid"] for n, r in before.items()} == {n: r["pid"] for n, r in after.items()}
    finally:
        load.stop()
    assert not load.failures, load.failures


def test_certificates_are_passed(node):
    node.start()
    wait_for("the sealing key", lambda: '"name":"seal","what":3' in node.logged())
    with open(node.tls + "/a.test.crt", "w") as f:
        f.write("certificate\n")
    with open(node.tls + "/a.test.key", "w") as f:
        f.write("key\n")
    wait_for("the pair", lambda: '"name":"a.test","what":1,"fds":2' in node.logged())
    ends = node.logged().count("files end")
    os.unlink(node.tls + "/a.test.crt")
    wait_for("another round", lambda: node.logged().count("files end") > ends)


def test_kill_of_node(node):
    node.start()
    load = Load(node.http)
    try:
        load.more()
        before = node.rows()
        old_node = node.process.pid
        node.process.kill()
        node.process.wait()
        for name, row in before.items():
            if not name.startswith("proxy"):
                wait_for(f"{name} to leave", lambda: not alive(row["pid"]))
        load.more()
        for name, row in before.items():
            if name.startswith("proxy"):
                assert alive(row["pid"])
        node.start()
        assert node.process.pid != old_node
        load.more()
        for row in before.values():
            wait_for("the old ones to leave", lambda: not alive(row["pid"]))
        load.more()
        after = node.rows()
        assert min(r["generation"] for r in after.values()) > \
            max(r["generation"] for r in before.values())
    finally:
        load.stop()
    assert not load.failures, load.failures[:3]
    wait_for("every request counted", lambda: node.requests() == load.answers)
    node.stop()
    assert not node.remains(), node.remains()


def test_roles_that_do_not_leave_are_ended(node):
    node.start()
    probe = node.rows()["probe.0"]["pid"]
    os.kill(probe, signal.SIGSTOP)
    node.process.kill()
    node.process.wait()
    assert alive(probe)
    node.start()
    assert not alive(probe)
    assert "did not leave and were killed" in node.logged()


def test_proxy_that_does_not_hand_over_is_ended(node):
    node.start()
    before = {n: r["pid"] for n, r in node.rows().items() if n.startswith("proxy")}
    os.kill(before["proxy.0"], signal.SIGSTOP)
    node.process.kill()
    node.process.wait()
    node.start()
    assert not alive(before["proxy.0"])
    wait_for("the other one to drain", lambda: not alive(before["proxy.1"]))
    for _ in range(20):
        get(node.http)
    assert "did not hand over" in node.logged()


def test_upgrade(node):
    node.start()
    load = Load(node.http)
    try:
        load.more()
        before = node.rows()
        node.process.send_signal(signal.SIGUSR2)
        after = wait_for("new processes", lambda: (r := node.all_up()) and
                         not {x["pid"] for x in r.values()} & {x["pid"] for x in before.values()}
                         and r)
        assert node.process.poll() is None
        wait_for("the old ones to leave", lambda: not any(alive(r["pid"]) for r in before.values()))
        load.more()
        # And once more: nothing wears out.
        node.process.send_signal(signal.SIGUSR2)
        wait_for("newer processes", lambda: (r := node.all_up()) and
                 not {x["pid"] for x in r.values()} & {x["pid"] for x in after.values()})
        load.more()
    finally:
        load.stop()
    assert not load.failures, load.failures[:3]
    wait_for("every request counted", lambda: node.requests() == load.answers)
    os.kill(node.all_up()["signer.0"]["pid"], signal.SIGKILL)
    wait_for("signer again", lambda: node.all_up())
    node.stop()
    assert not node.remains(), node.remains()


def test_upgrade_to_another_file(node):
    node.program = node.folder + "/program"
    shutil.copy(FIXTURE, node.program)
    node.start()
    before = node.rows()
    # One that cannot be run: the running one goes on.
    with open(node.program + ".new", "w") as f:
        f.write("not a program\n")
    os.chmod(node.program + ".new", 0o755)
    os.rename(node.program + ".new", node.program)
    node.process.send_signal(signal.SIGUSR2)
    wait_for("the refusal", lambda: "no upgrade" in node.logged())
    assert node.all_up() == before
    os.kill(before["probe.0"]["pid"], signal.SIGKILL)
    wait_for("the old program's probe", lambda: (r := node.all_up()) and
             r["probe.0"]["restarts"] == 1)
    # One that can.
    shutil.copy(FIXTURE, node.program + ".new")
    os.rename(node.program + ".new", node.program)
    node.process.send_signal(signal.SIGUSR2)
    wait_for("new processes", lambda: (r := node.all_up()) and
             all(r.get(n, {}).get("pid") != before[n]["pid"] for n in before))
    assert os.readlink(f"/proc/{node.process.pid}/exe") == node.program
    for row in node.all_up().values():
        assert os.readlink(f"/proc/{row['pid']}/exe") == node.program
    node.stop()
    assert not node.remains(), node.remains()


def test_kill_of_everything(node):
    node.start()
    rows = node.rows()
    node.process.kill()
    for row in rows.values():
        try:
            os.kill(row["pid"], signal.SIGKILL)
        except ProcessLookupError:
            pass
    node.process.wait()
    node.start()
    get(node.http)
    node.stop()
    assert not node.remains(), node.remains()


def test_service_manager_is_told(node):
    with tempfile.TemporaryDirectory() as folder, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(folder + "/notify")
        s.settimeout(PATIENCE)
        os.environ["NOTIFY_SOCKET"] = folder + "/notify"
        try:
            node.start()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        told = lambda: s.recv(4096).decode()
        assert "READY=1" in told()
        node.process.send_signal(signal.SIGHUP)
        assert told().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert "READY=1" in told()
        # The socket's name outlives an upgrade.
        node.process.send_signal(signal.SIGUSR2)
        assert "RELOADING=1" in told() and "READY=1" in told()
        node.process.send_signal(signal.SIGTERM)
        assert "STOPPING=1" in told()
        assert node.process.wait(PATIENCE) == 0


def test_stop_twice_is_at_once(node):
    node.start()
    rows = node.rows()
    os.kill(rows["probe.0"]["pid"], signal.SIGSTOP)
    node.process.send_signal(signal.SIGTERM)
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(PATIENCE) == 0
    assert not node.remains(), node.remains()


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root")
        return 0
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    only = sys.argv[2:]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        if only and name not in only:
            print(f"ok {number} - {name} # SKIP not asked for")
            continue
        node = Node()
        try:
            test(node)
            print(f"ok {number} - {name}", flush=True)
        except Exception as e:  # the next test is worth trying
            failed += 1
            print(f"not ok {number} - {name}: {type(e).__name__}: {e}", flush=True)
            for line in node.logged().splitlines()[-40:]:
                print("#", line, flush=True)
        finally:
            node.close()
    return 1 if failed else 0


sys.exit(main())
