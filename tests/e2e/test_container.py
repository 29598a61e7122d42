# SPDX-License-Identifier: Apache-2.0
"""What a container sees and may do: one deployment, a service per question, each asked with `exec`."""

import os
import re
import socket
import stat
import subprocess
import urllib.request

import zl
from zl import Node, check, equal, wait_for

DEFAULT_CAPS = 0xA80425FB  # 14 of them


def document(*services):
    return "version: v1\ndeployment: box\nservices:\n" + "".join(services)


def plain(name, extra="", image="box:1"):
    return f"""  {name}:
    image: {{ name: "{image}" }}
    stop_grace_period: 0s
    update: {{ monitor: 100ms }}
{extra}"""


def sh(node, name, text, status=0, *args):
    return node.cli("exec", *args, f"box/{name}", "--", "/bin/sh", "-c", text, status=status).stdout


def status_of(node, name, key, pid="self"):
    text = sh(node, name, f"cat /proc/{pid}/status")
    return re.search(rf"^{key}:\s*(.*)$", text, re.M).group(1)


def caps_of(node, name, pid="self"):
    return {k: int(status_of(node, name, k, pid), 16) for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


def sleeper(node):
    """An image whose process 1 only waits, with links that would lead out of it."""
    ways = os.path.join(node.folder, "root", "ways")
    os.makedirs(ways, exist_ok=True)
    outside = os.path.join(node.folder, "outside")
    os.makedirs(outside)
    busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["cp", busybox, os.path.join(outside, "echo")], check=True)
    for fd in range(3, 40):
        os.makedirs(os.path.join(ways, str(fd)))
        for up in ("../" * 16 + outside.lstrip("/"), "../" * 16 + "proc/1/root" + outside):
            name = "echo" if up.startswith("../") and "proc/1/root" not in up else "cat"
            os.symlink(f"/proc/self/fd/{fd}/{up}/echo", os.path.join(ways, str(fd), name))
        os.symlink(f"/proc/self/fd/{fd}", os.path.join(ways, str(fd), "folder"))
    node.import_image("box:1", ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"))


def test_inside():
    with Node() as node:
        sleeper(node)
        os.makedirs(os.path.join(node.folder, "shared"))
        with open(os.path.join(node.folder, "shared", "file"), "w") as f:
            f.write("from the host\n")
        text = document(
            plain("a", "    hostname: my-box\n    extra_hosts: { legacy.test: 10.0.0.9 }\n"
                       "    sysctls: { net.core.somaxconn: 777, kernel.shmmni: 99 }\n"
                       "    resources: { ulimits: { nofile: { soft: 123, hard: 456 } } }\n"),
            plain("user", "    user: web\n    command: { workdir: /home }\n"),
            plain("few", "    cap_drop: [ALL]\n    cap_add: [NET_BIND_SERVICE]\n    read_only_root_fs: true\n"
                         "    storage: [ { type: tmpfs, target: /tmp, size: 1Mi, mode: 0700 } ]\n"),
            plain("less", "    cap_drop: [NET_RAW, MKNOD]\n    cap_add: [SYS_PTRACE]\n"),
            plain("disks", "    storage:\n"
                           f"      - {{ type: bind, source: {node.folder}/shared, target: /bound, readonly: true }}\n"
                           "      - { type: named, name: keep, target: /keep }\n"
                           "      - { type: anonymous, target: /scratch }\n"),
        )
        node.deploy(text)
        namespaces(node)
        descriptors(node)
        no_way_out(node)
        hidden(node)
        privileges(node)
        storage(node, text)
        commands(node)
        # What it may write of ours is on the disk of the data folder, not in the node's memory.
        sh(node, "a", "echo mine >>/etc/hosts && echo mine >>/etc/resolv.conf && echo mine >>/etc/hostname")
        for line in sh(node, "a", "grep -E ' /etc/(hosts|resolv.conf|hostname) ' /proc/self/mountinfo").splitlines():
            check(" - tmpfs " not in line or os.statvfs(node.data).f_fsid == os.statvfs("/run").f_fsid, line)
        # Nothing of all this came near the host.
        equal(open(os.path.join(node.folder, "shared", "file")).read(), "from the host\n")


def namespaces(node):
    equal(sh(node, "a", "cat /proc/1/comm").strip(), "sh")
    equal(sh(node, "a", "hostname; cat /etc/hostname").split(), ["my-box", "my-box"])
    check("10.0.0.9\tlegacy.test" in sh(node, "a", "cat /etc/hosts"), "extra_hosts")
    equal(sh(node, "a", "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni").split(), ["777", "99"])
    equal(sh(node, "a", "ulimit -Sn; ulimit -Hn").split(), ["123", "456"])
    theirs = sh(node, "a", "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done").split()
    ours = [os.readlink(f"/proc/self/ns/{n}") for n in ("cgroup", "ipc", "mnt", "net", "pid", "uts")]
    equal(set(theirs) & set(ours), set(), "namespaces shared with the host")
    firsts = sh(node, "a", "for n in cgroup ipc mnt net pid uts; do readlink /proc/1/ns/$n; done").split()
    equal(theirs, firsts, "namespaces of a command and of process 1")
    # Only its own processes, and no part of the host's mounts.
    pids = [int(p) for p in sh(node, "a", "cd /proc; ls -d [0-9]*").split()]
    check(max(pids) < 1000 and len(pids) < 10, pids)
    mounts = sh(node, "a", "cat /proc/self/mountinfo")
    for line in mounts.splitlines():
        root = line.split()[3]
        check(node.folder not in root or "/runtime/" in root or root.endswith(("hosts", "hostname", "resolv.conf")), line)
        check(" shared:" not in line and " master:" not in line, "propagation", line)
    for line in sh(node, "a", "cat /proc/self/cgroup").splitlines():
        # A hierarchy without a controller of ours is the node's own.
        if re.search(r":(memory|pids|devices|cpu[a-z,]*)?:", line) and "cpuset" not in line:
            equal(line.split(":")[2], "/", line)


def descriptors(node):
    for name in ("a", "user"):
        equal(sh(node, name, "ls /proc/1/fd").split(), ["0", "1", "2"], name)
    # The list itself is read through a fourth.
    equal(sh(node, "a", "exec ls /proc/self/fd").split(), ["0", "1", "2", "3"])
    equal(sh(node, "a", "readlink /proc/self/fd/3", 1), "", "a fourth descriptor")
    equal(sh(node, "a", "readlink /proc/1/exe").strip(), "/bin/busybox")
    links = sh(node, "a", "for f in 0 1 2; do readlink /proc/1/fd/$f; done").split()
    equal(links[0], "/dev/null")
    check(all(x.startswith("pipe:") for x in links[1:]), links)


def no_way_out(node):
    """CVE-2024-21626 and its like: a path of the image, resolved while a descriptor of the host's is open."""
    for fd in range(3, 40):
        for name in ("echo", "cat"):
            r = node.cli("exec", "box/a", "--", f"/ways/{fd}/{name}", "got out", status=None)
            check(r.returncode in (126, 127), f"descriptor {fd} leads out:", r.returncode, r.stdout, r.stderr)
        r = node.cli("exec", "--workdir", f"/ways/{fd}/folder", "box/a", "--", "/bin/ls", "-a", ".", status=None)
        check(r.returncode != 0, f"descriptor {fd} as a working folder:", r.stdout)
        if fd < 30:
            escape = plain("out", f"    command: {{ entrypoint: [/ways/{fd}/echo], args: [got, out] }}\n")
            if fd in (4, 5, 6, 8, 9, 10, 12, 14):
                r = node.deploy("version: v1\ndeployment: way\nservices:\n" + escape, "--timeout", "20s", status=None)
                check(r.returncode != 0 and "got out" not in r.stdout + r.stderr, f"descriptor {fd}", r.stdout, r.stderr)
                logs = node.cli("logs", "way/out", status=None)
                check("got out" not in logs.stdout, f"descriptor {fd} led process 1 out", logs.stdout)
                node.cli("rm", "way", "--yes", status=None)


def hidden(node):
    sizes = sh(node, "a", "for f in kcore keys timer_list; do [ ! -e /proc/$f ] || wc -c </proc/$f; done; ls -A /sys/firmware")
    equal(set(sizes.split()) - {"0"}, set(), "what stands in masked files")
    for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"):
        check("ok" not in sh(node, "a", f"echo x 2>&- >{path} && echo ok", None), path, "can be written")
    for path in ("/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs",
                 "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/devices/devices.allow",
                 "/sys/fs/cgroup/memory/release_agent"):
        check("ok" not in sh(node, "a", f"echo 1 2>&- >>{path} && echo ok", None), path, "can be written")
    devices = sh(node, "a", "ls /dev").split()
    equal(sorted(devices), sorted("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()))
    # A node may be made, but not opened.
    equal(sh(node, "a", "mknod /tmp/mem c 1 1 && (head -c 1 /tmp/mem || echo refused) 2>&-").strip(), "refused")
    equal(sh(node, "a", "mknod /tmp/tun c 10 200 && (true </tmp/tun || echo refused) 2>&-").strip(), "refused")
    # ... neither by the node itself, when it looks a user up.
    for trap in (["/bin/ln", "-sf", "/dev/zero", "/etc/passwd"], ["/bin/mkfifo", "/etc/group"]):
        node.cli("exec", "box/less", "--", "/bin/rm", "-f", trap[-1])
        node.cli("exec", "box/less", "--", *trap)
        equal(node.cli("exec", "box/less", "--", "/bin/echo", "there").stdout, "there\n", trap)


def privileges(node):
    for pid in ("self", "1"):
        equal(caps_of(node, "a", pid), dict(CapInh=0, CapPrm=DEFAULT_CAPS, CapEff=DEFAULT_CAPS, CapBnd=DEFAULT_CAPS,
                                            CapAmb=0), pid)
        equal(status_of(node, "a", "Seccomp", pid), "2")
        equal(caps_of(node, "user", pid), dict(CapInh=0, CapPrm=0, CapEff=0, CapBnd=DEFAULT_CAPS, CapAmb=0), pid)
        bind = 1 << 10
        equal(caps_of(node, "few", pid), dict(CapInh=0, CapPrm=bind, CapEff=bind, CapBnd=bind, CapAmb=0), pid)
    want = DEFAULT_CAPS & ~(1 << 13) & ~(1 << 27) | 1 << 19
    equal(caps_of(node, "less", "1")["CapEff"], want)
    equal(sh(node, "user", "id; pwd").splitlines(), ["uid=1000(web) gid=1000(web) groups=1000(web)", "/home"])
    for command in ("mount -t tmpfs none /mnt", "unshare -U true", "unshare -m true", "umount /proc", "mount -o remount,rw /sys",
                    "mount -o bind / /mnt", "dmesg", "swapoff -a", "reboot -f", "hostname other", "nsenter -t 1 -m true"):
        check("ok" not in sh(node, "user", f"{command} >/dev/null 2>&1 && echo ok", None), command)
        if command != "reboot -f":
            check("ok" not in sh(node, "a", f"{command} >/dev/null 2>&1 && echo ok", None), command)
    # The outcome by number: keyctl, bpf, io_uring_setup, clone3 and what no table knows.
    numbers = "250:1 321:1 425:1 435:38 999:38 308:1 175:1 246:1 155:1 167:1"
    got = sh(node, "a", f"/bin/server -s {numbers}")
    equal(got.split(), numbers.split())


def commands(node):
    """A command ends when it ends, and no process that a tracer sees has more rights than the container."""
    equal(sh(node, "a", "yes & echo first; exit 3", 3)[:6], "first\n")
    sh(node, "less", "mkdir -p /watch; (while [ ! -e /watch/stop ]; do cat /proc/[0-9]*/status; done 2>&- "
                     "| grep CapPrm >/watch/seen; touch /watch/done) >/dev/null 2>&1 &")
    for _ in range(30):
        sh(node, "less", "true")
    sh(node, "less", "touch /watch/stop; while [ ! -e /watch/done ]; do sleep 0.1; done")
    seen = {int(line.split()[1], 16) for line in sh(node, "less", "sort -u /watch/seen").splitlines() if ":" in line}
    allowed = DEFAULT_CAPS & ~(1 << 13) & ~(1 << 27) | 1 << 19
    equal([hex(caps) for caps in seen if caps & ~allowed], [], "capabilities seen in the container")
    check(allowed in seen, "the watcher has seen something:", seen)


def storage(node, text):
    check("ok" not in sh(node, "few", "echo x 2>&- >/etc/x && echo ok", None), "a read-only root can be written")
    equal(sh(node, "few", "stat -c %a /tmp; cat /proc/mounts | grep ' /tmp ' | grep -c nosuid,nodev").split(), ["700", "1"])
    equal(sh(node, "few", "dd if=/dev/zero of=/tmp/x bs=64k count=64 2>&-; stat -c %s /tmp/x").strip(), str(1 << 20))
    equal(sh(node, "disks", "cat /bound/file").strip(), "from the host")
    check("ok" not in sh(node, "disks", "echo x 2>&- >>/bound/file && echo ok", None), "a read-only bind can be written")
    sh(node, "disks", "echo kept >/keep/x; echo gone >/scratch/x")
    node.deploy(text.replace("name: keep, target: /keep }", "name: keep, target: /keep }\n      - { type: tmpfs, target: /more }"))
    equal(sh(node, "disks", "cat /keep/x").strip(), "kept")
    equal(sh(node, "disks", "ls /scratch").strip(), "")


def test_strange_images():
    """Links where the runtime mounts: it follows them inside the image only, and hides what it mounted."""
    strange = {
        "proc": [("proc", "/elsewhere"), ("elsewhere/x", None)],
        "up": [("proc", "../../../../../../proc"), ("etc/hosts", "../../../../../../../../etc/hosts")],
        "dev": [("dev", "/sys"), ("etc/resolv.conf", "/dev/null")],
        "sys": [("sys", "proc")],
        "hosts": [("etc/hosts", "/proc/self/fd/1"), ("etc/hostname", "/proc/1/root/etc/hostname")],
    }
    before = open("/etc/hosts").read()
    with Node() as node:
        for name, links in strange.items():
            root = os.path.join(node.folder, "root")
            subprocess.run(["rm", "-rf", root], check=True)
            for path, to in links:
                at = os.path.join(root, path)
                os.makedirs(os.path.dirname(at), exist_ok=True)
                if to is None:
                    os.makedirs(at)
                else:
                    os.symlink(to, at)
            node.import_image(f"{name}:1", ("/bin/sh", "-c", "while :; do sleep 1000; done"))
            r = node.deploy(document(plain("it", image=f"{name}:1")), "--timeout", "30s", status=None)
            if r.returncode:
                check("cannot" in r.stdout + r.stderr, name, r.stdout, r.stderr)
            else:
                for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/elsewhere/sysrq-trigger",
                             "/elsewhere/sys/kernel/core_pattern", "/sys/sysrq-trigger", "/dev/sysrq-trigger"):
                    check("ok" not in sh(node, "it", f"[ -e {path} ] && echo h 2>&- >>{path} && echo ok", None), name, path)
                for path in ("/proc/kcore", "/elsewhere/kcore", "/sys/kcore"):
                    check("ok" not in sh(node, "it", f"[ -s {path} ] && echo ok", None), name, path)
            node.cli("rm", "box", "--yes", status=None)
    equal(open("/etc/hosts").read(), before)


def cgroup_file(node, pid, controller, v1, v2):
    for line in open(f"/proc/{pid}/cgroup"):
        number, names, path = line.strip().split(":", 2)
        if controller in names.split(","):
            return f"/sys/fs/cgroup/{names}{path}/{v1}" if os.path.exists(f"/sys/fs/cgroup/{names}") \
                else f"/sys/fs/cgroup/{controller}{path}/{v1}"
        if number == "0" and not names and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return f"/sys/fs/cgroup{path}/{v2}"
    raise zl.Failure("no cgroup of " + controller)


def first_pid(node, name):
    """The host's pid of process 1 of a container."""
    for pid in node.pids():
        try:
            words = open(f"/proc/{pid}/status").read()
            text = open(f"/proc/{pid}/environ").read()
        except OSError:
            continue
        levels = re.search(r"^NSpid:\s*(.*)$", words, re.M).group(1).split()
        if levels[-1] == "1" and len(levels) > 1 and f"NAME={name}\0" in text:
            return pid
    raise zl.Failure("no process of " + name)


def test_no_mount_on_proc():
    """Neither by name nor through a link that another container has left in a volume."""
    with Node() as node:
        sleeper(node)
        keep = "    storage: [ { type: named, name: keep, target: /keep }%s ]\n"
        node.deploy(document(plain("a", keep % "")))
        sh(node, "a", "ln -s /proc /keep/sub; ln -s ../../proc/self /keep/self")
        for target in ("/proc/acpi", "/proc", "/keep/sub", "/keep/self"):
            extra = keep % f", {{ type: tmpfs, target: {target} }}"
            r = node.deploy(document(plain("a"), plain("b", extra)), "--timeout", "20s", status=None)
            check(r.returncode != 0 and "/proc" in r.stdout + r.stderr, target, r.stdout, r.stderr)


def test_limits():
    with Node() as node:
        sleeper(node)
        node.deploy(document(
            plain("cpu", "    env: { NAME: cpu }\n    resources: { cpu: 0.1 }\n"),
            plain("pids", "    env: { NAME: pids }\n    resources: { pids: 12 }\n"),
        ))
        stat = cgroup_file(node, first_pid(node, "cpu"), "cpu", "cpu.stat", "cpu.stat")
        for _ in range(10):  # a machine that is busy with other things may give it less than its quota
            sh(node, "cpu", "timeout 2 sh -c 'while :; do :; done'", None)
            throttled = int(re.search(r"nr_throttled (\d+)", open(stat).read()).group(1))
            if throttled > 0:
                break
        check(throttled > 0, "the CPU quota is not in force", open(stat).read())
        r = node.cli("exec", "box/pids", "--", "/bin/sh", "-c",
                     "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; echo all", status=None)
        check("all" not in r.stdout, r.stdout, r.stderr)
        peak = cgroup_file(node, first_pid(node, "pids"), "pids", "pids.max", "pids.max")
        equal(open(peak).read().strip(), "12")


def test_memory():
    with Node() as node:
        sleeper(node)
        eater = plain("eater", "    resources: { memory: 16Mi }\n"
                               "    command: { entrypoint: [tail, /dev/zero], args: [] }\n")
        # Watched for longer than the slowest machine needs to fill it.
        eater = eater.replace("monitor: 100ms", "monitor: 30s")
        r = node.deploy(document(eater), "--timeout", "60s", status=None)
        check(r.returncode != 0, r.stdout, r.stderr)
        text = (r.stdout + r.stderr).lower()
        check("memory" in text or "oom" in text, "the limit is not named:", r.stdout, r.stderr)


def test_memory_of_a_child():
    """Process 1 lives, one of its children does not: told as an event, with the replica, in the figures."""
    with Node() as node:
        sleeper(node)
        child = "trap 'exit 0' TERM; tail /dev/zero; while :; do sleep 1000 & wait $!; done"
        node.deploy(document(plain("a", "    resources: { memory: 16Mi }\n"
                                        f"    command: {{ entrypoint: [/bin/sh], args: [-c, \"{child}\"] }}\n")))
        def told():
            row = node.cli_json("ps")["items"][0]
            return row["container"]["oom_killed"] and row["reason"] and row
        row = wait_for(told, "the node has seen it, and says why")
        equal((row["state"], row["restarts"]), ("ready", 0))
        check("memory" in row["reason"]["what"] and "16Mi" in row["reason"]["fix"], row["reason"])
        check("memory" in node.cli("ps", "-o", "wide").stdout)
        wait_for(lambda: "of its processes" in node.cli("events").stdout, "the event")

        def counted():
            with urllib.request.urlopen("http://127.0.0.1:9883/metrics") as page:
                return re.search(r"zlayer_container_oom_kills_total\{[^}]*\} 1\b", page.read().decode())
        wait_for(counted, "the count")


def test_device_when_listed():
    if not os.path.exists("/dev/net/tun"):
        return
    with Node() as node:
        sleeper(node)
        node.deploy(document(plain("tun", "    devices: [ { path: /dev/net/tun } ]\n"), plain("no")))
        equal(sh(node, "tun", ": </dev/net/tun && echo opened").strip(), "opened")
        check("opened" not in sh(node, "no", ": 2>&- </dev/net/tun && echo opened", None))


def forge(node, sender, source, to, port):
    """As a program with CAP_NET_RAW in the container would."""
    text = f"""if 1:
        import socket, struct
        six = ":" in "{to}"
        s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        data = struct.pack("!HHHH", 1, {port}, 13, 0) + b"hello"
        if six:
            a, b = socket.inet_pton(socket.AF_INET6, "{source}"), socket.inet_pton(socket.AF_INET6, "{to}")
            whole = a + b + struct.pack("!II", len(data), 17) + data
            whole += b"\\0" * (len(whole) % 2)
            total = sum(struct.unpack("!%dH" % (len(whole) // 2), whole))
            while total >> 16:
                total = (total & 0xffff) + (total >> 16)
            data = data[:6] + struct.pack("!H", ~total & 0xffff) + data[8:]
            s.sendto(struct.pack("!IHBB", 6 << 28, len(data), 17, 64) + a + b + data, ("{to}", 0))
        else:
            a, b = socket.inet_aton("{source}"), socket.inet_aton("{to}")
            s.sendto(struct.pack("!BBHHHBBH", 69, 0, 20 + len(data), 0, 0, 64, 17, 0) + a + b + data, ("{to}", 0))
    """
    zl.run("nsenter", f"--net={node.run_folder}/netns/{sender}", "/usr/bin/python3", "-c", text)


def listener(node, replica, address):
    """A socket in the container's network."""
    stay = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"{node.run_folder}/netns/{replica}", os.O_RDONLY)
    zl.libc.setns(there, zl.CLONE_NEWNET)
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.bind((address, 0))
    check(zl.libc.setns(stay, zl.CLONE_NEWNET) == 0)
    os.close(stay)
    os.close(there)
    return s


def forged_sources(config):
    with Node(config=config) as node:
        sleeper(node)
        node.deploy(document(plain("a"), plain("b"), plain("c")))
        a, b, c = sorted(node.cli_json("ps")["items"], key=lambda r: r["name"])
        for key in ("address", "address6"):
            address = [r["container"][key] for r in (a, b, c)]
            if not address[0]:
                continue
            with listener(node, b["id"], address[1]) as s:
                port = s.getsockname()[1]
                forge(node, a["id"], address[2], address[1], port)
                forge(node, a["id"], address[0], address[1], port)
                # What is sent later comes later: had the first one come, it would be here first.
                equal(s.recvfrom(100)[1][0], address[0], "who spoke")


def test_forged_sources():
    forged_sources("")


def test_forged_sources_without_bpf():
    forged_sources("dataplane: { mode: off, uplink: off, interfaces: [] }\n")


def test_privileged_has_the_devices_of_the_node():
    with Node() as node:
        sleeper(node)
        node.deploy(document(plain("all", "    privileged: true\n"), plain("no")))
        ours = {os.path.join(d, f) for d, _, files in os.walk("/dev") for f in files
                if os.lstat(d).st_dev == os.lstat("/dev").st_dev
                and stat.S_IFMT(os.lstat(os.path.join(d, f)).st_mode) in (stat.S_IFCHR, stat.S_IFBLK)}
        listed = "find /dev -xdev -type c -o -xdev -type b"
        equal(ours - {"/dev/console", "/dev/ptmx"} - set(sh(node, "all", listed).split()), set(), "devices that are missing")
        check(len(sh(node, "no", listed).split()) == 6, "the six of everybody")
        sh(node, "all", "[ ! -c /dev/net/tun ] || : </dev/net/tun")


if __name__ == "__main__":
    zl.main(globals())
