# SPDX-License-Identifier: Apache-2.0
"""The table "A crash's life" of docs/architecture.md: kill -9 of each process in turn, of node, of all."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import socket
import threading
import uuid

import zl
from wreck import Load
from zl import Node, check, equal, service, stays, wait_for

ROLES = ["dataplane", "overlay", "signer", "fetch", "unpack", "runtime", "probe", "scheduler", "observability", "api", "proxy"]


def replicas(node):
    return {r["name"]: r for r in node.cli_json("ps")["items"]}


def container_pids(node):
    return sorted((r["container"] or {}).get("pid") or 0 for r in replicas(node).values())


def served(node):
    try:
        return node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}", status=None) == "200"
    except zl.Failure:
        return False


def all_ready(node):
    r = node.cli("-o", "json", "ps", status=None)
    if r.returncode == 8:  # the api just gives way to its successor
        return False
    check(r.returncode == 0, r.stderr)
    rows = json.loads(r.stdout)["items"]
    return len(rows) == 3 and all(r["state"] == "ready" for r in rows)


class Asker(threading.Thread):
    """Asks what is there, again and again: whatever dies meanwhile, what is said is so."""

    def __init__(self, node, paths):
        super().__init__(daemon=True)
        self.node, self.paths = node, paths
        self.over, self.wrong, self.answers = threading.Event(), [], dict.fromkeys(paths, 0)

    def ask(self, path):
        try:
            status, body = self.node.get(path, raw=True)
        except (OSError, http.client.HTTPException):
            return  # the api itself was killed
        if status != 503 and not self.paths[path](status, json.loads(body)):
            self.wrong.append((path, status, body[:2000]))
        self.answers[path] += status == 200

    def run(self):
        while not self.over.wait(0.05):
            for path in self.paths:
                self.ask(path)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)


def asked_over_deaths(node):
    def three(status, answer):
        return status == 200 and len(answer["items"]) == 3

    def one(status, answer):
        return status == 200 and [s["name"] for s in answer["items"]] in (["web"], ["shop"])
    return Asker(node, {
        "/v1/replicas": three,
        "/v1/services": one,
        "/v1/deployments": one,
        "/v1/crons": lambda status, answer: status == 200 and answer["items"] == [],
        "/v1/services/shop/web": lambda status, answer: status == 200 and answer["name"] == "web",
        "/v1/nodes": lambda status, answer: status == 200 and len(answer["items"]) == 1,
        "/v1/cluster": lambda status, answer: status == 200 and answer["nodes"]["total"] == 1,
        "/v1/images": lambda status, answer: status == 200 and len(answer["items"]) == 1,
        "/v1/certificates": lambda status, answer: status == 200 and len(answer["items"]) >= 1,
        # The one that does not wait for ever: what is not known is not nothing.
        "/v1/status": lambda status, answer: status == 200 and (
            answer["deployments"] is None or len(answer["deployments"][0]["services"]) == 1),
    })


class Here:
    address = "127.0.0.1"


def started():
    node = Node()
    node.start()
    node.import_image()
    node.deploy(service(replicas=3))
    return node


def test_each_role_killed():
    node = started()
    try:
        pids = container_pids(node)
        events = len(node.cli_json("events")["items"])
        with asked_over_deaths(node) as asker:
            for role in ROLES:
                old = node.kill(role)
                wait_for(lambda: old not in node.processes().values() and node.ready(), f"{role} is back")
                wait_for(lambda: served(node), f"served again after {role} was killed")
                wait_for(lambda: all_ready(node), f"status is right after {role} was killed")
                equal(container_pids(node), pids, f"containers after {role} was killed")
        equal(asker.wrong, [], "answers while processes were killed")
        check(all(asker.answers.values()), "all were answered", asker.answers)
        check(len(node.cli_json("events")["items"]) >= events, "events are kept")
        # What a restarted runtime took over still works.
        equal(node.cli("exec", "shop/web", "--", "sh", "-c", "exit 7", status=None).returncode, 7)
        node.cli("rm", "shop", "--yes")
        equal(node.cli_json("ps")["items"], [])
    finally:
        node.destroy()


def test_node_killed():
    node = started()
    try:
        pids = container_pids(node)
        context = ssl.create_default_context(cafile=node.authority())
        s = context.wrap_socket(socket.create_connection(("127.0.0.1", 8443), timeout=60), server_hostname="web.test")
        os.kill(node.process.pid, signal.SIGKILL)
        node.process.wait()

        def serves():
            s.sendall(b"GET /health HTTP/1.1\r\nHost: web.test\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nhealth\n"):  # head and body may come in two records
                piece = s.recv(65536)
                check(piece, "the open connection was cut after", answer)
                answer += piece
            return answer.startswith(b"HTTP/1.1 200")
        stays(serves, "the connection that was open serves, while there is no node", 1)
        node.start()
        wait_for(lambda: served(node), "served again")
        # New connections wait for the next node's workers: none is refused or cut.
        with Load(Here) as load:
            load.more(40)
            os.kill(node.process.pid, signal.SIGKILL)
            node.process.wait()
            node.start()
            load.more(40)
        equal(load.bad, [], "requests while node was killed")
        wait_for(lambda: all_ready(node), "status is right")
        equal(container_pids(node), pids, "containers after node was killed")
    finally:
        node.destroy()


def test_everything_killed():
    node = started()
    try:
        pids = container_pids(node)
        authority = node.cli("cert", "authority").stdout
        victims = [node.process.pid, *node.processes().values()]
        for pid in set(victims):
            os.kill(pid, signal.SIGKILL)
        node.process.wait()
        for pid in pids:
            check(os.path.exists(f"/proc/{pid}"), "a container ended")
        node.start()
        wait_for(lambda: served(node), "served again")
        wait_for(lambda: all_ready(node), "status is right")
        equal(container_pids(node), pids, "containers after everything was killed")
        equal(node.cli("cert", "authority").stdout, authority, "the authority")
    finally:
        node.destroy()


def test_machine_restarted():
    """What a reboot leaves: the data folder."""
    node = started()
    try:
        authority = node.cli("cert", "authority").stdout
        names = sorted(replicas(node))
        restarted(node)
        node.start()
        wait_for(lambda: all_ready(node), "all are ready again")
        wait_for(lambda: served(node), "served again")
        equal(sorted(replicas(node)), names, "replicas")
        equal(node.cli("cert", "authority").stdout, authority, "the authority")
        equal(node.cli("exec", "shop/web", "--", "true").returncode, 0)
        node.cli("rm", "shop", "--yes")
        equal(node.cli_json("ps")["items"], [])
    finally:
        node.destroy()


def left_of(node):
    return node.pids() | ({node.process.pid} if node.process.poll() is None else set())


def signalled(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def restarted(node):
    """Ends every process of the node at once, as when the power goes, and removes all that is not on disk. All stand
    still before the first one ends: nobody may see another one's end and write it down."""
    stopped = set()
    while new := left_of(node) - stopped:
        signalled(new, signal.SIGSTOP)
        stopped |= new

    def gone():
        left = left_of(node)
        signalled(left, signal.SIGKILL)
        return not left
    wait_for(gone, "all its processes end")
    # Other nodes of this machine have seen its mounts, and would keep its fabric: with a device that the next one wants.
    zl.run("nsenter", f"--net={node.run_folder}/netns/fabric", "--", "ip", "link", "del", "vxlan", check=False)
    traces = node.traces()
    for path in reversed(traces["mounts"]):
        zl.run("umount", "-l", path)
    for path in traces["cgroups"]:
        for folder, _, _ in os.walk(path, topdown=False):
            wait_for(lambda: removed(folder), f"{folder} is removed")
    shutil.rmtree(node.run_folder)
    shutil.rmtree(f"/sys/fs/bpf/zlayer/{node.name}", ignore_errors=True)


@contextlib.contextmanager
def another_boot(n):
    """As the kernel says after a start of the machine; seen by this test's processes alone."""
    path, name = "/proc/sys/kernel/random/boot_id", os.path.join(n.folder, "boot_id")
    with open(name, "w") as f:
        f.write(str(uuid.uuid4()) + "\n")
    zl.run("mount", "--bind", name, path)
    try:
        yield
    finally:
        zl.run("umount", path)


def removed(folder):
    try:
        os.rmdir(folder)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


def test_clean_restart_keeps_containers():
    node = started()
    try:
        pids = container_pids(node)
        node.stop()
        for pid in pids:
            check(os.path.exists(f"/proc/{pid}"), "a container ended with its node")
        node.start()
        wait_for(lambda: served(node) and all_ready(node), "served again")
        equal(container_pids(node), pids, "containers after a restart")
    finally:
        node.destroy()


def test_upgrades_in_quick_succession():
    """The second is asked for while the first is under way: each role has one process in the end."""
    node = started()
    try:
        pids = container_pids(node)
        before = node.processes()
        for i in range(40):
            node.process.send_signal(signal.SIGUSR2)
            for _ in range(4 * (i % 7)):  # so many looks later: in the middle of it, wherever that is
                node.ready()

        def replaced():
            now = node.processes()
            return len(now) == len(before) and not set(now.values()) & set(before.values())
        wait_for(lambda: node.ready() and replaced(), "every process was replaced, and none is left over")

        def roles():
            found = 0
            for pid in node.pids():
                with contextlib.suppress(OSError):
                    found += b"role" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
            return found
        wait_for(lambda: roles() == len(before), "each role has one process")
        wait_for(lambda: served(node) and all_ready(node), "served")
        equal(container_pids(node), pids, "containers")
    finally:
        node.destroy()


def test_replica_killed():
    node = started()
    try:
        victim = sorted(replicas(node).values(), key=lambda r: r["name"])[0]
        os.kill(victim["container"]["pid"], signal.SIGKILL)
        wait_for(lambda: replicas(node).get(victim["name"], {}).get("restarts", 0) >= 1, "it was started again")
        wait_for(lambda: all_ready(node), "all are ready again")
    finally:
        node.destroy()


def test_replica_without_a_way():
    """What the kernel refuses at once is refused: another replica answers."""
    node = started()
    try:
        victim = sorted(replicas(node).values(), key=lambda r: r["name"])[0]["container"]["address"]
        zl.run("nsenter", f"--net={node.run_folder}/netns/fabric", "ip", "route", "replace", "unreachable", victim)
        codes = [node.curl("/health", "web.test", "-o", "/dev/null", "-w", "%{http_code}") for _ in range(24)]
        equal(set(codes), {"200"}, "answers")
    finally:
        node.destroy()


def group_of(pid):
    with open(f"/proc/{pid}/cgroup") as f:
        return next(line.strip()[3:] for line in f if line.startswith("0::"))


def test_as_a_unit():
    """With a second unit for the containers' cgroup nothing but the node stands in its own: it can be started again
    while containers run."""
    root = next((m.split()[1] for m in open("/proc/mounts") if m.split()[2] == "cgroup2"), None)
    if not root:
        print("# no cgroup v2 here")
        return
    slice_ = f"/zlayer/unit-{os.getpid()}.slice"
    own, holder = f"{slice_}/edge.service", f"{slice_}/edge-containers.service"
    for path in (own, holder):
        os.makedirs(root + path)
    n = Node()
    n.group = root + own
    try:
        n.start()
        n.import_image()
        n.deploy(service())
        processes = n.processes()
        equal(group_of(n.process.pid), own, "the node stays where systemd put it")
        equal(group_of(processes["scheduler", 0]), f"{holder}/zlayer/{n.name}/roles")
        pid = container_pids(n)[0]
        check(group_of(pid).startswith(holder + "/"), group_of(pid))
        n.process.kill()
        n.process.wait()
        wait_for(lambda: not open(f"{root}{own}/cgroup.procs").read() and not [e for e in os.scandir(root + own) if e.is_dir()],
                 "nothing is left in its own group")
        n.start()
        equal(container_pids(n), [pid], "the container runs on")
        wait_for(lambda: served(n), "it serves again")
        n.cli("rm", "shop", "--yes")
    finally:
        n.destroy()
        for folder, _, _ in sorted(os.walk(root + slice_), key=lambda f: -len(f[0])):
            wait_for(lambda: removed(folder), f"{folder} is empty")


def test_as_a_unit_with_a_parent():
    """The parent that node.yaml names is the group the node was started in: it leaves it for one below."""
    root = next((m.split()[1] for m in open("/proc/mounts") if m.split()[2] == "cgroup2"), None)
    if not root:
        print("# no cgroup v2 here")
        return
    own = f"/zlayer/unit-{os.getpid()}.scope"
    os.makedirs(root + own)
    n = Node(f"runtime: {{ cgroup_parent: {own} }}\n")
    n.group = root + own
    try:
        n.start()
        equal(group_of(n.process.pid), own + "/node", "a group with controllers holds no process")
        equal(group_of(n.processes()["scheduler", 0]), f"{own}/zlayer/{n.name}/roles")
    finally:
        n.destroy()
        for folder, _, _ in sorted(os.walk(root + own), key=lambda f: -len(f[0])):
            wait_for(lambda: removed(folder), f"{folder} is empty")


if __name__ == "__main__":
    zl.main(globals())
