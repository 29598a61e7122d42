# SPDX-License-Identifier: Apache-2.0
"""A node for end-to-end tests: the real program, in a network and mount namespace of the test's own.

Topology of every test (nothing of the machine is touched):

    test's namespace ("the host" of the node)       fabric of the node
      lo 127.0.0.1  <- listeners 8080, 8443, 9883     veths of containers
      veth "pub" 192.0.2.1 -- 192.0.2.2 in namespace "client" when a test asks for one

A test file defines functions test_NAME(); main(globals()) runs them and speaks TAP.
"""

import atexit
import contextlib
import ctypes
import glob
import hashlib
import http.client
import json
import os
import pickle
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.path.abspath(os.environ.get("ZLAYER_BUILD") or sys.argv[1])
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(BUILD, "zlayer")
SERVER = os.path.join(BUILD, "tests", "e2e", "server")
ECHO = os.path.join(BUILD, "tests", "e2e", "echo")
WAIT_S = int(os.environ.get("ZLAYER_WAIT_S", 60))  # no test waits longer than this for a condition
# What a program built with sanitizers says before it ends; its node would only start another one.
SANITIZED = b"__asan_init" in open(PROGRAM, "rb").read()  # memory that was freed is then kept for a while
FINDING = re.compile(r"(Address|UndefinedBehavior)Sanitizer|runtime error:")

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Failure(AssertionError):
    pass


class Skip(Exception):
    """What a test needs is not on this machine; says what."""


def check(condition, *what):
    if not condition:
        raise Failure(" ".join(str(w) for w in what) or "check failed")


def equal(got, want, what=""):
    check(got == want, f"{what}: got {got!r}, want {want!r}")


def wait_for(condition, what, seconds=WAIT_S):
    """Polls until condition() is true, and gives its value. what: words, or a function that gives them. Asked the less often the
    longer it takes, for most questions are a program that is started."""
    begin = time.monotonic()
    end = begin + seconds
    while True:
        value = condition()
        if value:
            return value
        now = time.monotonic()
        check(now < end, f"not within {seconds} s:", what() if callable(what) else what)
        time.sleep(min(max(0.05, (now - begin) / 20), 0.2))


def stays(condition, what, seconds, every=0.1):
    """For what lasts so long, such as a fault: condition() is true all the while."""
    end = time.monotonic() + seconds
    while True:
        check(condition(), f"no more within {seconds} s: {what}")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(every, left))


def shared(kind):
    """Gives what the tests of a file share: made for the first that asks; when that fails, it fails all."""
    made = []

    def get():
        if not made:
            made.append(None)
            made[0] = kind()
        check(made[0], kind.__name__, "did not come up")
        return made[0]
    return get


def run(*command, **options):
    options.setdefault("check", True)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def isolate():
    """Leaves the machine's network and mounts behind."""
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mount --make-rprivate")
    run("ip", "link", "set", "lo", "up")


class Space:
    """A network namespace of the test's own; the test's is Space(os.getpid())."""

    def __init__(self, pid=None):
        self.holder = None
        if pid is None:
            self.holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
            own = os.readlink("/proc/self/ns/net")
            wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, "a network namespace")
            pid = self.holder.pid
        self.pid = pid
        self.workers = []
        if self.holder:
            self.ip("link", "set", "lo", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if self.holder:
            self.holder.kill()
            self.holder.communicate()

    def run(self, *command, **options):
        return run("nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command, **options)

    def ip(self, *args):
        return self.run("ip", *args)

    def enter(self):
        with open(f"/proc/{self.pid}/ns/net") as ns:
            if libc.setns(ns.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def call(self, function, *args):
        """The function's value, or exception, from a process in the namespace."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            try:
                self.enter()
                answer = (True, function(*args))
            except BaseException as e:  # what the caller shall see
                answer = (False, e)
            with open(theirs, "wb") as f:
                pickle.dump(answer, f)
            os._exit(0)
        os.close(theirs)
        with open(ours, "rb") as f:
            data = f.read()
        os.waitpid(pid, 0)
        good, value = pickle.loads(data)
        if not good:
            raise value
        return value

    def serve(self, function, *args):
        """The function in a process in the namespace, until the end; it is given what to call when it is ready."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            try:
                self.enter()
                function(lambda: os.write(theirs, b"r"), *args)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(theirs)
        self.workers.append(pid)
        check(os.read(ours, 1) == b"r", "a server in a namespace did not start")
        os.close(ours)
        return pid


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


NAMES_OTHERS = {"array_of_maps": "map", "hash_of_maps": "map", "prog_array": "prog"}


def bpftool(*args, into=()):
    """A list, empty where what was asked for has just gone."""
    r = run(*into, "bpftool", "-j", *args, check=False)
    found = json.loads(r.stdout) if r.returncode == 0 and r.stdout.strip() else []
    return found if isinstance(found, list) else []


def named_by(number, kind):
    """(map or prog, id) of what the entries of such a map are: the kernel tells ids."""
    def integer(value):
        return value if isinstance(value, int) else int.from_bytes(bytes(int(b, 0) for b in value), sys.byteorder)
    return [(NAMES_OTHERS[kind], entry.get("inner_map_id") or integer(entry["value"]))
            for entry in bpftool("map", "dump", "id", str(number)) if "error" not in str(entry.get("value"))]


LAYOUTS = {}  # what contents() says -> the layout made of it


def contents(folder):
    """All that an image of a folder depends on."""
    for where, folders, files in os.walk(folder):
        for path in (os.path.join(where, n) for n in sorted(folders + files)):
            s = os.lstat(path)
            yield path[len(folder):], s.st_mode, s.st_uid, s.st_gid, s.st_rdev
            if stat.S_ISLNK(s.st_mode):
                yield os.readlink(path)
            elif stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    yield hashlib.sha256(f.read()).digest()


def describe(pid):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/status").read().split("\n")[0].split()[1] + " " + \
            open(f"/proc/{pid}/cgroup").read().strip().split("\n")[-1]
    return "gone"


class Node:
    """One `zlayer serve` with a data folder of its own. Use as a context manager."""

    count = 0

    def __init__(self, config="", name=None, space=None):
        Node.count += 1
        self.space = space
        self.group = None
        self.name = name or f"e2e-{os.getpid()}-{Node.count:03d}"  # none begins with another one
        self.folder = tempfile.mkdtemp(prefix="zlayer-e2e-")
        os.chmod(self.folder, 0o711)  # etcd, as a user of its own, passes through to its data
        self.data = os.path.join(self.folder, "data")
        self.run_folder = f"/run/zlayer/{self.name}"
        self.socket = f"{self.run_folder}/zlayer.sock"
        self.config = os.path.join(self.folder, "node.yaml")
        self.log = os.path.join(self.folder, "node.log")
        self.process = None
        self.ending = False
        os.mkdir(os.path.join(self.folder, "tls"))
        self.write_config(config)

    def write_config(self, extra=""):
        with open(self.config, "w") as f:
            f.write("node: { name: edge-1 }\n" if "node:" not in extra else "")
            if "listen:" not in extra:
                f.write('listen: { http: ["127.0.0.1:8080"], https: ["127.0.0.1:8443"] }\n')
            f.write("dataplane: { uplink: off, interfaces: [] }\n" if "dataplane:" not in extra else "")
            f.write("deploy: { monitor: 100ms, health_timeout: 15s }\n" if "deploy:" not in extra else "")
            f.write(f"tls: {{ certificates: {self.folder}/tls }}\n" if "tls:" not in extra else "")
            f.write(extra.replace("FOLDER", self.folder))

    @contextlib.contextmanager
    def impatient(self, timeout="3s"):
        """Meanwhile a replica has only that long to become healthy: for deploys that are to fail."""
        with open(self.config) as f:
            patient = f.read()
        text, found = re.subn(r"health_timeout: \w+", f"health_timeout: {timeout}", patient)
        text, named = re.subn(r"node: { ", f"node: {{ labels: {{ patience: {timeout} }}, ", text)
        equal((found, named), (1, 1), patient)
        self.reload(text, timeout)
        yield
        self.reload(patient, None)

    def reload(self, text, label):
        """The scheduler has the configuration when it tells the node's label "patience"."""
        with open(self.config, "w") as f:
            f.write(text)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: next(n for n in self.get("/v1/nodes")["items"] if n["self"])["labels"].get("patience") == label,
                 "the configuration is in force")

    def __enter__(self):
        try:
            self.start()
        except BaseException:  # nobody calls __exit__ then
            self.show_log()
            self.destroy()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.show_log()
        self.destroy()

    def start(self, wait=True):
        with open(self.log, "a") as log:
            into = ["nsenter", f"--net=/proc/{self.space.pid}/ns/net", "--"] if self.space else []
            if self.group:  # as systemd starts a unit: in its cgroup
                into += ["sh", "-c", f'echo $$ >"{self.group}/cgroup.procs" && exec "$@"', "sh"]
            self.process = subprocess.Popen(
                [*into, PROGRAM, "serve", "--instance", self.name, "--data-dir", self.data, "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        if wait:
            wait_for(self.ready, "the node is ready")

    def ready(self):
        check(self.process.poll() is None, "the node ended:", self.tail())
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            return self.get("/readyz", raw=True)[0] == 200
        return False

    def tail(self, lines=30):
        with open(self.log) as f:
            return "".join(f.readlines()[-lines:])

    def finding(self):
        text = ""
        with contextlib.suppress(FileNotFoundError), open(self.log, errors="replace") as f:
            text = f.read()
        found = FINDING.search(text)
        return text[max(0, found.start() - 500):found.start() + 6000] if found else ""

    def show_log(self):
        print("# ---- the node's log", file=sys.stderr)
        print(self.tail(80), file=sys.stderr)

    # ---- talking to it

    def get(self, path, method="GET", body=None, headers=None, raw=False):
        c = UnixConnection(self.socket)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        if raw:
            return r.status, data
        check(r.status < 300, f"{method} {path}: {r.status} {data[:400]!r}")
        return json.loads(data) if data else None

    def cli(self, *args, status=0, input=None, env=None):
        r = subprocess.run([PROGRAM, "--socket", self.socket, *args], capture_output=True, text=True,
                           input=input, timeout=180, env={**os.environ, "NO_COLOR": "1", **(env or {})})
        if status is not None:
            check(r.returncode == status,
                  f"zlayer {' '.join(args)}: status {r.returncode}, want {status}\n{r.stdout}{r.stderr}")
        return r

    def containers(self):
        """name of a replica -> the namespace of its container."""
        return {r["name"]: Space(r["container"]["pid"]) for r in self.cli_json("ps")["items"]}

    def cli_json(self, *args):
        return json.loads(self.cli("-o", "json", *args).stdout)

    def deploy(self, text, *args, status=0):
        path = os.path.join(self.folder, "test.zlayer.yaml")
        with open(path, "w") as f:
            f.write(text)
        return self.cli("deploy", path, *args, status=status)

    def import_image(self, name="test:1", command=("/bin/server",)):
        layout = self.make_layout(name, command)
        self.cli("image", "import", layout, "--name", name)
        return layout

    def make_layout(self, name="test:1", command=("/bin/server",)):
        """A layout to import: busybox, tests/e2e/server.c and echo.c."""
        root = os.path.join(self.folder, "root")
        os.makedirs(os.path.join(root, "bin"), exist_ok=True)
        shutil.copy(SERVER, os.path.join(root, "bin", "server"))
        shutil.copy(ECHO, os.path.join(root, "bin", "echo-server"))
        key = (name, *command, *contents(root))
        if key not in LAYOUTS:  # half a second of work, and most nodes of a file want the same
            made = tempfile.mkdtemp(prefix="zlayer-e2e-layout-")
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            run(os.path.join(SOURCE, "tools", "busybox-image"), made, name, "--root", root, "--", *command)
            LAYOUTS[key] = made
        return shutil.copytree(LAYOUTS[key], tempfile.mkdtemp(dir=self.folder), dirs_exist_ok=True)

    # ---- its processes

    def processes(self):
        """(role, index) -> pid, from what node publishes. Who answers may just give way to a successor."""
        def ask():
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                return json.loads(self.get("/readyz", raw=True)[1])
        answer = wait_for(ask, "the processes are told")
        return {(p["role"], p["index"]): p["pid"] for p in answer["processes"] if p.get("pid")}

    def pids(self):
        """Every process of this instance, monitors and containers too, by its command line or cgroup."""
        found = set()
        for path in glob.glob("/proc/[0-9]*/cgroup"):
            with contextlib.suppress(OSError):
                if f"/zlayer/{self.name}" not in open(path).read():
                    continue
                # What has ended and waits for a slow init to be reaped is gone.
                if open(path.replace("cgroup", "stat")).read().rsplit(")", 1)[1].split()[0] != "Z":
                    found.add(int(path.split("/")[2]))
        return found

    def bpf(self):
        """How many BPF maps and programs of the kernel are this instance's, by what keeps them: descriptors, pins, hooks
        in its namespaces and groups, and the maps and programs that these name in turn. Others' do not count."""
        held = {"map": set(), "prog": set(), "link": set()}
        for path in (f for pid in self.pids() for f in glob.glob(f"/proc/{pid}/fdinfo/*")):
            with contextlib.suppress(OSError), open(path) as f:
                for kind, number in re.findall(r"^(map|prog|link)_id:\s+(\d+)$", f.read(), re.M):
                    held[kind].add(int(number))
        known = {kind: {o["id"]: o for o in bpftool("-f", kind)} for kind in held}
        for kind, objects in known.items():
            held[kind] |= {i for i, o in objects.items()
                           if any(f"/zlayer/{self.name}/" in pin for pin in o.get("pinned", []))}
        for net in (f"{self.run_folder}/netns/fabric", f"/proc/{self.process.pid}/ns/net"):
            for hooks in bpftool("net", into=("nsenter", f"--net={net}", "--")):
                held["prog"] |= {hook["id"] for hook in hooks["xdp"] + hooks["tc"]}
        for group in glob.glob(f"/sys/fs/cgroup/**/zlayer/{self.name}", recursive=True):
            held["prog"] |= {p["id"] for g in bpftool("cgroup", "tree", group) for p in g["programs"]}
        maps, programs = set(), set()
        new_maps = held["map"]
        new_programs = held["prog"] | {known["link"][i].get("prog_id", 0) for i in held["link"] & known["link"].keys()}
        while new_maps or new_programs:
            maps |= new_maps
            programs |= new_programs
            named = [n for i in new_maps if known["map"].get(i, {}).get("type") in NAMES_OTHERS
                     for n in named_by(i, known["map"][i]["type"])]
            new_maps = {n for kind, n in named if kind == "map"} | \
                {n for i in new_programs for n in known["prog"].get(i, {}).get("map_ids", [])}
            new_programs = {n for kind, n in named if kind == "prog"}
            new_maps, new_programs = new_maps - maps, new_programs - programs
        return {"maps": len(maps), "programs": len(programs)}

    def kill(self, role, index=None):
        def one():
            for (name, i), pid in self.processes().items():
                if name == role and index in (None, i):
                    with contextlib.suppress(ProcessLookupError):  # it has ended, and that is not told yet
                        os.kill(pid, signal.SIGKILL)
                        return pid
            return None
        return wait_for(one, f"a process of role {role} is there")

    def stop(self, seconds=60):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)

    def remove_all(self):
        with contextlib.suppress(Exception):
            for d in self.cli_json("status").get("deployments", []):
                self.cli("rm", d["name"], "--yes", status=None)

    def end(self):
        """It begins to, and is not waited for: that is destroy()."""
        self.ending = True
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def destroy(self):
        if not self.ending:
            self.remove_all()
            self.end()
        if self.process and self.process.poll() is None:
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.kill(self.process.pid, signal.SIGKILL)
        for pid in self.pids():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        finding = self.finding()
        shutil.rmtree(self.folder, ignore_errors=True)
        check(not finding, "a sanitizer's finding:\n" + finding)

    # ---- what it leaves on the machine

    def traces(self):
        """Everything of this instance outside its data folder."""
        name = self.name
        mounts = [line.split()[4] for line in open("/proc/self/mountinfo") if name in line or self.folder in line]
        cgroups = [p for p in glob.glob("/sys/fs/cgroup/*/zlayer/*") + glob.glob("/sys/fs/cgroup/zlayer/*")
                   if p.endswith("/" + name)]
        pins = [p for p in glob.glob(f"/sys/fs/bpf/zlayer/{name}/**", recursive=True) if os.path.exists(p)]
        runs = [p for p in glob.glob(self.run_folder + "/**", recursive=True) if os.path.exists(p)]
        links = [link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout) if link["ifname"] != "lo"]
        return {"mounts": mounts, "cgroups": cgroups, "pins": pins, "run": runs, "links": links,
                "processes": sorted(map(describe, self.pids()))}

    # ---- clients

    def authority(self):
        path = os.path.join(self.folder, "authority.pem")
        with open(path, "w") as f:
            f.write(self.cli("cert", "authority").stdout)
        return path

    def curl(self, path="/", host="web.test", *args, status=0, http="--http2", port=8443, scheme="https"):
        command = ["curl", "-sS", "--max-time", "30", http, "--resolve", f"{host}:{port}:127.0.0.1", *args]
        if scheme == "https":
            command += ["--cacert", self.authority()]
        r = subprocess.run([*command, f"{scheme}://{host}:{port}{path}"], capture_output=True, text=True, timeout=60)
        if status is not None:
            equal(r.returncode, status, f"curl {path} ({r.stderr.strip()})")
        return r.stdout


def service(name="web", replicas=1, image="test:1", host="web.test", extra="", check_="health: { start_grace: 1s, "
            "interval: 1s, timeout: 1s, retries: 2, check: { type: http, url: /health } }", deployment="shop"):
    """A document with one service behind https."""
    return f"""version: v1
deployment: {deployment}
services:
  {name}:
    image: {{ name: "{image}" }}
    endpoints:
      - {{ name: https, protocol: https, port: 443, target_port: 8080, host: {host}, expose: public }}
      - {{ name: live, protocol: websocket, port: 443, target_port: 8080, host: {host}, path: /ws, expose: public }}
    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 2s
    {check_}
{extra}
"""


def cpu_seconds():
    """Of this program and of all that it has started and that has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(scope):
    """Runs the tests of a file, each named test_*, and speaks TAP."""
    if os.getuid() != 0:
        print("1..0 # SKIP needs root for namespaces and containers")
        return
    # Who started the tests may have it ignored (nohup), and programs would inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    isolate()
    tests = [(n, f) for n, f in scope.items() if n.startswith("test_") and callable(f)]
    wanted = sys.argv[2:]
    tests = [(n, f) for n, f in tests if not wanted or n in wanted]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for i, (name, function) in enumerate(tests, 1):
        begin, used = time.monotonic(), cpu_seconds()
        try:
            function()
            print(f"ok {i} - {name}  # {time.monotonic() - begin:.1f} s, {cpu_seconds() - used:.1f} s of a core", flush=True)
        except Skip as reason:
            print(f"ok {i} - {name} # SKIP {reason}", flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            print(f"not ok {i} - {name}", flush=True)
    sys.exit(1 if failed else 0)
