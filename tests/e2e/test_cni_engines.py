# SPDX-License-Identifier: Apache-2.0
"""Containers of real engines on a node's mesh: podman and containerd, each with folders of its own, call the plugin
themselves (what it does in itself: test_cni.py)."""

import ipaddress
import json
import os
import shutil
import subprocess
import tempfile

import zl
from test_cni import Plugin, attached, replica_of
from zl import Node, Space, check, equal, service, wait_for


def make_rootfs(folder):
    for name in ("bin", "dev", "proc", "sys", "etc"):
        os.makedirs(os.path.join(folder, name))
    shutil.copy(shutil.which("busybox"), os.path.join(folder, "bin", "busybox"))
    return folder


class Podman:
    """Podman with CNI and folders of its own."""

    def __init__(self, plugin):
        self.folder = tempfile.mkdtemp(prefix="zlayer-podman-")
        self.file("50-mesh.conflist", json.dumps({"cniVersion": "1.0.0", "name": "mesh", "plugins": [
            {k: v for k, v in plugin.conf.items() if k not in ("name", "cniVersion")}]}))
        conf = self.file("containers.conf", f"""
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
network_config_dir = "{self.folder}"
cni_plugin_dirs = ["{plugin.folder}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
""")
        self.environment = {**os.environ, "CONTAINERS_CONF": conf, "HOME": self.folder}
        # crun takes no machine that has controllers in both versions of cgroups; it need not see them.
        hybrid = "/sys/fs/cgroup/unified/cgroup.controllers"
        if os.path.exists(hybrid) and open(hybrid).read().strip():
            zl.run("mount", "--bind", "/dev/null", hybrid)  # in this test's own mount namespace
        self.rootfs = make_rootfs(os.path.join(self.folder, "rootfs"))

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def __call__(self, *args, good=True):
        r = zl.run("podman", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--tmpdir",
                      f"{self.folder}/tmp", "--storage-driver", "vfs", *args, env=self.environment, check=False)
        check(r.returncode == 0 or not good, f"podman {' '.join(args)}: {r.returncode} {r.stderr}")
        return r

    def start(self, name, *command):
        self("run", "-d", "--network", "mesh", "--name", name, "--cgroups=disabled", "--rootfs", self.rootfs,
             "/bin/busybox", *command)

    def __enter__(self):
        r = self("run", "--rm", "--network", "none", "--cgroups=disabled", "--rootfs", self.rootfs, "/bin/busybox", "true",
                 good=False)
        if r.returncode:
            self.__exit__()
            raise zl.Skip(f"podman runs no container here: {r.stderr.strip()[:200]}")
        return self

    def __exit__(self, *_):
        self("rm", "-fa", "-t", "0", good=False)
        for line in open("/proc/self/mountinfo").read().split("\n"):
            if self.folder in line:
                zl.run("umount", "-l", line.split()[4], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def test_podman():
    if not shutil.which("podman"):
        raise zl.Skip("podman is not installed")
    with Node() as node, Plugin(node) as p, Podman(p) as podman:
        node.import_image()
        node.deploy(service())
        replica = replica_of(node)["container"]
        podman.start("web", "httpd", "-f", "-p", "8000", "-h", "/bin")
        podman.start("idle", "sleep", "1000")
        rows = {a["name"]: a for a in attached(node).values()}
        equal(set(rows), {"web", "idle"})
        inside = Space(int(podman("inspect", "-f", "{{.State.Pid}}", "idle").stdout))
        equal(inside.run("curl", "-sS", "--max-time", "20", f"http://{replica['address']}:8080/health").stdout, "health\n",
              "podman's container reaches a replica")
        server = podman("exec", "idle", "/bin/busybox", "cat", "/etc/resolv.conf").stdout.split()[1]
        check(replica["address"] in inside.run("busybox", "nslookup", "-type=a", "web.shop.zlayer.internal", server).stdout,
              "its name server", server)
        for who in (rows["web"]["addr4"], f"[{rows['web']['addr6']}]"):
            got = Space(replica["pid"]).run("curl", "-gsS", "--max-time", "20", "-o", "/dev/null", "-w", "%{size_download}",
                                            f"http://{who}:8000/busybox").stdout
            equal(int(got), os.path.getsize(shutil.which("busybox")), "a replica reaches podman's container")
        # What the engine shows of it.
        shown = json.loads(podman("inspect", "web").stdout)[0]["NetworkSettings"]["Networks"]["mesh"]
        equal(shown["IPAddress"], rows["web"]["addr4"])
        podman("stop", "-t", "0", "idle")
        wait_for(lambda: {a["name"] for a in attached(node).values()} == {"web"}, "the other one is gone")
        podman("rm", "-f", "-t", "0", "web")
        equal(attached(node), {})


class Containerd:
    """containerd with CNI and folders of its own; those whose names are built into it are covered, for this test's
    processes alone."""

    def __init__(self, plugin):
        self.folder = tempfile.mkdtemp(prefix="zlayer-containerd-")
        self.mounts, self.made, self.runs = [], [], {}
        self.cover("/opt")
        os.makedirs("/opt/cni/bin")
        os.symlink(zl.PROGRAM, "/opt/cni/bin/zlayer-cni")
        self.cover("/etc/cni")
        os.makedirs("/etc/cni/net.d")
        with open("/etc/cni/net.d/50-mesh.conflist", "w") as f:
            json.dump({"cniVersion": "1.0.0", "name": "mesh", "plugins": [
                {k: v for k, v in plugin.conf.items() if k not in ("name", "cniVersion")}]}, f)
        self.cover("/run/containerd")
        self.rootfs = make_rootfs(os.path.join(self.folder, "rootfs"))
        self.socket = os.path.join(self.folder, "socket")
        conf = os.path.join(self.folder, "config.toml")
        with open(conf, "w") as f:
            f.write(f"""
version = 2
root = "{self.folder}/root"
state = "{self.folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{self.socket}"
[ttrpc]
address = "{self.socket}.ttrpc"
""")
        self.process = subprocess.Popen(["containerd", "-c", conf], stderr=subprocess.PIPE, text=True)

    def cover(self, path):
        if not os.path.isdir(path):
            os.makedirs(path)
            self.made.append(path)
        zl.run("mount", "-t", "tmpfs", "tmpfs", path)  # in this test's own mount namespace
        self.mounts.append(path)

    def __call__(self, *args, good=True):
        r = zl.run("ctr", "-a", self.socket, *args, check=False)
        check(r.returncode == 0 or not good, f"ctr {' '.join(args)}: {r.returncode} {r.stderr}")
        return r

    def run(self, name, *command):
        return ["ctr", "-a", self.socket, "run", "--rm", "--cni", "--cgroup", "", "--rootfs", self.rootfs, name,
                "/bin/busybox", *command]

    def start(self, name, *command):
        """Attached: it takes the container's network away when it ends."""
        self.runs[name] = subprocess.Popen(self.run(name, *command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def stop(self, name):
        self("tasks", "kill", "-s", "SIGKILL", name)
        self.runs.pop(name).wait(zl.WAIT_S)

    def forget(self, name):
        self("tasks", "rm", "-f", name, good=False)
        self("containers", "rm", name, good=False)

    def __enter__(self):
        for line in self.process.stderr:
            if "containerd successfully booted" in line:
                break
        r = zl.run("ctr", "-a", self.socket, "run", "--rm", "--cgroup", "", "--rootfs", self.rootfs, "try", "/bin/busybox",
                   "true", check=False)
        if r.returncode:
            self.__exit__()
            raise zl.Skip(f"containerd runs no container here: {r.stderr.strip()[:200]}")
        return self

    def __exit__(self, *_):
        for name, run in self.runs.items():
            run.kill()
            run.wait()
            self.forget(name)
        self.process.terminate()
        self.process.stderr.close()
        self.process.wait(zl.WAIT_S)
        for path in reversed(self.mounts):
            zl.run("umount", "-l", path)
        for path in reversed(self.made):
            os.rmdir(path)
        shutil.rmtree(self.folder, ignore_errors=True)


def pid_of(row):
    """ctr says /proc/PID/ns/net."""
    return int(row["netns"].split("/")[2])


def test_containerd():
    if not shutil.which("containerd") or not shutil.which("runc"):
        raise zl.Skip("containerd is not installed")
    with Node() as node, Plugin(node) as p, Containerd(p) as ctr:
        node.import_image()
        node.deploy(service())
        replica = replica_of(node)["container"]
        ctr.start("web", "httpd", "-f", "-p", "8000", "-h", "/bin")
        wait_for(lambda: len(attached(node)) == 1 and ctr.runs["web"].poll() is None, "containerd's container is attached")
        (network, container, interface), row = attached(node).popitem()
        equal((network, container, interface), ("mesh", "default-web", "eth0"))
        inside = Space(pid_of(row))
        server = str(ipaddress.ip_network(f"{row['addr4']}/24", strict=False)[1])
        equal(inside.run("curl", "-sS", "--max-time", "20", f"http://{replica['address']}:8080/health").stdout, "health\n",
              "containerd's container reaches a replica")
        wait_for(lambda: replica["address"] in inside.run("busybox", "nslookup", "-type=a", "web.shop.zlayer.internal",
                                                          server, check=False).stdout, "a replica's name")
        for who in (row["addr4"], f"[{row['addr6']}]"):
            got = wait_for(lambda: Space(replica["pid"]).run(
                "curl", "-gsS", "--max-time", "20", "-o", "/dev/null", "-w", "%{size_download}",
                f"http://{who}:8000/busybox", check=False).stdout, f"an answer of {who}")  # noqa: B023
            equal(int(got), os.path.getsize(shutil.which("busybox")), "a replica reaches containerd's container")

        # A second one, and a node that is started again below them.
        ctr.start("idle", "sleep", "1000")
        wait_for(lambda: len(attached(node)) == 2, "the second one is attached")
        rows = attached(node)
        node.stop()
        refused = zl.run(*ctr.run("late", "true"), check=False)
        check(refused.returncode != 0 and "zlayer" in refused.stderr, f"without a node: {refused}")
        ctr.forget("late")
        node.start()
        equal(attached(node), rows)
        ctr.stop("web")  # it calls DEL
        wait_for(lambda: {key[1] for key in attached(node)} == {"default-idle"}, "the first one is gone")

        # ctr dies, then the container: nobody calls DEL.
        ctr.runs["idle"].kill()
        ctr.runs["idle"].wait()
        ctr("tasks", "kill", "-s", "SIGKILL", "idle")
        ctr.forget("idle")
        wait_for(lambda: attached(node) == {}, "what nobody took off is swept")


if __name__ == "__main__":
    zl.main(globals())
