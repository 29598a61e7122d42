# SPDX-License-Identifier: Apache-2.0
"""tcp and udp endpoints balanced in the kernel, from a machine outside, in every mode.

    "client": pub1 -- pub0: test's namespace ("the host") -- XDP -- fabric -- tests/e2e/echo.c in containers
    203.0.113.2       203.0.113.1                      "zl-NAME" | "uplink" back
    2001:db8::2       2001:db8::1                      198.51.100.7, 2001:db8:7::7 are dataplane.vips
"""

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import select
import signal
import socket
import struct
import threading
import time
import urllib.request

import zl
from zl import Failure, Node, Space, check, equal, main, run, wait_for

HOST4, HOST6, CLIENT4, CLIENT6 = "203.0.113.1", "2001:db8::1", "203.0.113.2", "2001:db8::2"
VIP4, VIP6 = "198.51.100.7", "2001:db8:7::7"
PLAIN, NAMED, SILENT = 7100, 7101, 7102
STALLED_S = 60  # an emulated machine is slow


def config(mode, interfaces="[pub0]", extra=""):
    return f"""
listen: {{ http: ["0.0.0.0:8080", "[::]:8080"], https: [] }}
dataplane: {{ uplink: auto, mode: {mode}, interfaces: {interfaces}, vips: ["{VIP4}/32", "{VIP6}/128"]{extra} }}
proxy: {{ workers: 1 }}
"""


def document(replicas=3, more="", drain="5s", endpoint=""):
    return f"""version: v1
deployment: net
services:
  echo:
    image: {{ name: "test:1" }}
    command: {{ entrypoint: [/bin/echo-server, "7000"] }}
    endpoints:
      - {{ name: raw, protocol: tcp, port: {PLAIN}, target_port: 7000, expose: public{more} }}
      - {{ name: named, protocol: tcp, port: {NAMED}, target_port: 7001, expose: public{more} }}
      - {{ name: dgram, protocol: udp, port: {PLAIN}, target_port: 7000, expose: public{more} }}
{endpoint}    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 2s
    update: {{ drain: {drain}, monitor: 100ms }}
"""


# ---- the world

def like_a_wire(link):
    """Partial checksums do not survive native XDP, and no card sends any; what XDP sends needs a receiver with GRO."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command, value in ((0x17, 0), (0x2c, 1)):  # ETHTOOL_STXCSUM, ETHTOOL_SGRO
            data = ctypes.create_string_buffer(struct.pack("II", command, value))
            request = struct.pack("16sP", link.encode(), ctypes.addressof(data))
            fcntl.ioctl(s, 0x8946, request)  # SIOCETHTOOL


@contextlib.contextmanager
def a_world():
    here = Space(os.getpid())
    with Space() as client:
        run("ip", "link", "add", "pub0", "type", "veth", "peer", "name", "pub1", "netns", str(client.pid))
        try:
            for space, link, *addresses in ((here, "pub0", HOST4 + "/24", HOST6 + "/64"),
                                            (client, "pub1", CLIENT4 + "/24", CLIENT6 + "/64")):
                for address in addresses:
                    space.ip("addr", "add", address, "dev", link, "nodad")
                space.ip("link", "set", link, "up")
            client.call(like_a_wire, "pub1")
            client.ip("route", "add", VIP4 + "/32", "via", HOST4)
            client.ip("-6", "route", "add", VIP6 + "/128", "via", HOST6)
            yield client
        finally:
            run("ip", "link", "del", "pub0", check=False)


class Client:
    """Sockets of the client's namespace: where they were made is where they stay."""

    def __init__(self, space):
        self.space = space

    def socket(self, address, kind):
        home = open("/proc/self/ns/net")
        with home:
            self.space.enter()
            try:
                s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            finally:
                check(zl.libc.setns(home.fileno(), zl.CLONE_NEWNET) == 0, "setns")
        s.settimeout(STALLED_S)
        return s

    def connect(self, address, port, source_port=0):
        s = self.socket(address, socket.SOCK_STREAM)
        try:
            if source_port:  # others may have it, to other addresses
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("", source_port))
            s.connect((address, port))
        except BaseException:
            s.close()
            raise
        return s

    def who(self, address):
        with self.connect(address, NAMED) as s:
            return line(s)

    def datagram(self, address, data=b"hello"):
        """(own address of the container, what it sent back)"""
        with self.socket(address, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect((address, PLAIN))
            for _ in range(10):
                s.send(data)
                with contextlib.suppress(TimeoutError):
                    return s.recv(65536).split(b" ", 1)
        raise Failure(f"no answer from {address}")


def line(s):
    data = b""
    while not data.endswith(b"\n"):
        piece = s.recv(1)
        if not piece:
            raise ConnectionError("ended early")
        data += piece
    return data.decode().strip()


def ask(s, data=b"ping\n"):
    """An echo, read while it is sent: what is on its way would not fit into buffers otherwise. Fails when nothing moves."""
    left, got = memoryview(data), b""
    while len(got) < len(data):
        can_read, can_write, _ = select.select([s], [s] if left else [], [], STALLED_S)
        check(can_read or can_write, f"nothing moved for {STALLED_S} s: {len(left)} bytes unsent, {len(got)} came back")
        if can_write:
            left = left[s.send(left[:65536]):]
        if can_read:
            piece = s.recv(len(data) - len(got))
            if not piece:
                raise ConnectionError("ended early")
            got += piece
    equal(got, data, "an echo")


# ---- what the node says

def datapath(n):
    return n.get("/v1/status")["datapath"]


def metrics():
    return urllib.request.urlopen("http://127.0.0.1:9883/metrics", timeout=30).read().decode()


def samples(name, **labels):
    total = 0
    for row in metrics().splitlines():
        if row.startswith(name + "{") and all(f'{k}="{v}"' in row for k, v in labels.items()):
            total += float(row.rsplit(" ", 1)[1])
    return total


def redirected():
    return samples("zlayer_dataplane_packets_total", interface="pub0", verdict="redirect")


def answers(client, address=HOST4):
    try:
        return client.who(address)
    except OSError:
        return None


@contextlib.contextmanager
def balanced(mode, replicas=3, **options):
    """(node, client): the kernel balances, or the relay does with mode off."""
    with a_world() as space, Node(config(mode)) as n:
        client = Client(space)
        n.import_image()
        n.deploy(document(replicas, **options))
        if mode == "off":
            equal(datapath(n)["xdp"], "off", "the mode")
        else:
            wait_for(lambda: datapath(n)["xdp"] == mode, f"XDP is attached: {datapath(n)}")
            wait_for(lambda: answers(client) and redirected() > 0, "packets are redirected")
        wait_for(lambda: answers(client), "an answer")
        yield n, client


# ---- tests

def serves(mode):
    with balanced(mode) as (n, client):
        for address in (HOST4, HOST6) + ((VIP4, VIP6) if mode != "off" else ()):
            seen = set()

            def asked(address=address, seen=seen):
                seen.update(client.who(address) for _ in range(40))
                return len(seen) == 3
            wait_for(asked, f"{address} is served by all three")
            equal(client.datagram(address)[1], b"hello", f"a datagram to {address}")
            with client.connect(address, PLAIN) as s:
                ask(s, os.urandom(1 << 20))


def test_native():
    serves("native")


def test_generic():
    serves("generic")


def test_off():
    serves("off")


def test_counters_are_what_was_sent():
    with balanced("native") as (n, client):
        with client.socket(HOST4, socket.SOCK_DGRAM) as s:
            s.connect((HOST4, PLAIN))
            for _ in range(200):
                s.send(b"x" * 100)
                s.recv(1000)
        wait_for(lambda: service_packets(endpoint="dgram") >= 200, "they are counted")
        equal(service_packets(endpoint="dgram"), 200, "packets of the service")
        wait_for(lambda: redirected() == service_packets(), "what was redirected went to services, and nothing else")
        check(samples("zlayer_dataplane_map_entries", map="backends") == 9, "three endpoints of three replicas")


@contextlib.contextmanager
def kernel_measures():
    """As with sysctl kernel.bpf_stats_enabled=1, but gone with this descriptor."""
    bpf = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    fd = zl.libc.syscall(bpf, 32, ctypes.byref(ctypes.c_uint64(0)), 8)  # BPF_ENABLE_STATS, BPF_STATS_RUN_TIME
    check(fd >= 0, "BPF_ENABLE_STATS")
    try:
        yield
    finally:
        os.close(fd)


def seconds(program):
    return samples("zlayer_dataplane_program_runtime_seconds_total", program=program)


def test_flows_and_time():
    programs = ("xdp_root", "tc_uplink", "tc_veth_in")
    with balanced("native") as (n, client):
        many = open_many(client, 30)  # while the relay's slots become the containers': each of them is kept
        for address in (HOST4, HOST6, VIP4, VIP6):
            check(f'vip="{address}",port="{NAMED}"' in metrics(), f"flows of {address}")
        wait_for(lambda: samples("zlayer_dataplane_flows", vip=HOST4, port=NAMED) >= 30, "flows are told")
        with kernel_measures(), load_of(client) as load:
            def all_grow():
                before = {p: seconds(p) for p in programs}
                for program in programs:
                    wait_for(lambda: seconds(program) > before[program], f"the time of {program} grows")
            load.more()
            all_grow()
            before = {p: seconds(p) for p in programs}
            pid = n.kill("dataplane")
            wait_for(lambda: pid not in n.processes().values() and n.ready(), "dataplane is back")
            all_grow()
            for program in programs:
                check(seconds(program) > before[program], f"the time of {program} goes on")
            wait_for(lambda: samples("zlayer_dataplane_flows", vip=HOST4, port=NAMED) >= 30, "the successor tells flows")
        for s, _ in many:
            s.close()
        n.cli("rm", "net", "--yes")
        wait_for(lambda: "zlayer_dataplane_flows{" not in metrics(), "no flows of what is gone")


def service_packets(**labels):
    return samples("zlayer_dataplane_service_packets_total", service="net/echo", **labels)


def names(client, count=60):
    return {client.who(HOST4) for _ in range(count)}


def open_many(client, count=60):
    many = []
    for _ in range(count):
        s = client.connect(HOST4, NAMED)
        many.append((s, line(s)))
    return many


def check_all(many, alive=None):
    for s, name in many:
        if alive is None or name in alive:
            ask(s)


def test_connections_stay():
    """Replicas are added, and drained: those that stay keep every connection, those that go until they are idle."""
    with balanced("native", drain="20s") as (n, client):
        old = open_many(client)
        n.cli("scale", "net/echo=5", "--force")
        wait_for(lambda: len(names(client)) == 5, "new connections go to five")
        check_all(old)
        more = open_many(client)
        check_all(more)
        n.cli("scale", "net/echo=2", "--force", "--detach", status=None)
        # While they drain: nothing is cut, and nothing new comes to them.
        wait_for(lambda: len(names(client)) == 2, "new connections go to two")
        left = names(client)
        check_all(old, left)
        check_all(more, left)
        wait_for(lambda: len(n.cli_json("ps")["items"]) == 2, "three replicas are gone")
        check_all(old, left)
        check_all(more, left)
        for s, _ in old + more:
            s.close()


def test_equal_ports():
    """Two connections of one client with the same source port, to two addresses of the node: their container cannot tell them apart."""
    source_ports = itertools.count(22000)
    with balanced("native", replicas=1) as (n, client):
        wait_for(lambda: samples("zlayer_dataplane_map_entries", map="backends") == 3, "the only replica")
        pairs = []

        def two(first, second):
            """The second one is somebody else's: of another replica, or the relay's."""
            port = next(source_ports)
            pairs.append([])
            for address in (first, second):
                pairs[-1].append(client.connect(address, PLAIN, port))
                for s in pairs[-1]:
                    ask(s, b"x" * 5000)

        def all_go_on():
            for pair in pairs:
                for s in pair:
                    ask(s, b"x" * 20000)
        two(VIP4, HOST4)
        two(VIP6, HOST6)
        # There is no relay at addresses that are none of the machine's: refused at once, not left without an answer.
        for first, second in ((HOST4, VIP4), (HOST6, VIP6)):
            port = next(source_ports)
            with client.connect(first, PLAIN, port) as s:
                ask(s)
                try:
                    client.connect(second, PLAIN, port).close()
                    raise Failure(f"{second}: connected")
                except ConnectionRefusedError:
                    pass
                ask(s, b"x" * 5000)
        wait_for(lambda: samples("zlayer_dataplane_flows", port=str(PLAIN)) >= 2, "those that are the relay's are told")
        n.cli("scale", "net/echo=3", "--force")
        wait_for(lambda: len(names(client)) == 3, "there are three replicas")
        all_go_on()
        for _ in range(6):
            two(HOST4, VIP4)
            two(HOST6, VIP6)
        pid = n.kill("dataplane")
        wait_for(lambda: pid not in n.processes().values() and n.ready(), "dataplane is back")
        all_go_on()
        for i, pair in enumerate(pairs):
            pair[i % 2].close()
            ask(pair[1 - i % 2], b"x" * 20000)
            pair[1 - i % 2].close()


class Load:
    """Connections that speak all the time, and new ones. opens: each opens one; each: so many of them speak."""

    def __init__(self, opens, each=1, pace=0):
        self.failed, self.done, self.stop, self.pace = [], 0, threading.Event(), pace
        # Sockets are made by this thread: namespaces belong to threads.
        self.old = [o() for o in opens for _ in range(each)]
        self.threads = [threading.Thread(target=self.speak, args=(s,)) for s in self.old]
        self.threads += [threading.Thread(target=self.connect, args=(o,)) for o in opens]

    def speak(self, s):
        try:
            while not self.stop.wait(self.pace):
                ask(s, b"x" * 5000)
                self.done += 1
        except Exception as e:
            self.failed.append("old: " + repr(e))

    def connect(self, opens):
        while not self.stop.wait(self.pace):
            try:
                with opens() as s:
                    ask(s)
                self.done += 1
            except Exception as e:
                self.failed.append("new: " + repr(e))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def more(self, count=200, what=""):
        before = self.done
        wait_for(lambda: self.done > before + count or self.failed, f"the load goes on {what}")
        check(not self.failed, what, self.failed[:3])

    def __exit__(self, kind, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        for s in self.old:
            s.close()
        # What hung when the others went on has ended only now.
        check(kind or not self.failed, "in the end", self.failed[:3])


def load_of(client):
    return Load([lambda: client.connect(HOST4, PLAIN)], each=8)


def test_dataplane_killed():
    with balanced("native") as (n, client), load_of(client) as load:
        for _ in range(5):
            load.more()
            pid = n.kill("dataplane")
            load.more()
            wait_for(lambda: pid not in n.processes().values() and n.ready(), "dataplane is back")
        load.more()
        wait_for(lambda: (datapath(n) or {}).get("xdp") == "native", "the successor has it all")


def test_node_killed():
    """Nobody is there but containers and kernel; what is balanced goes on."""
    with balanced("native") as (n, client):
        with load_of(client) as load:
            load.more()
            os.kill(n.process.pid, signal.SIGKILL)
            n.process.wait()
            load.more()
            n.start()
            wait_for(lambda: (datapath(n) or {}).get("xdp") == "native", "the successor has it all")
            load.more()
        n.cli("scale", "net/echo=4", "--force")
        wait_for(lambda: len(names(client)) == 4, "the successor balances")


def refusal(client, address):
    """Whether the client hears that nobody is at the port."""
    with client.socket(address, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect((address, SILENT))
        try:
            s.send(b"hello")
            s.recv(100)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            pass
    return False


def test_errors_reach_clients():
    """What a container says about a client's packet speaks of the address that the client sent it to."""
    silent = f"      - {{ name: silent, protocol: udp, port: {SILENT}, target_port: 7999, expose: public }}\n"
    for mode in ("native", "generic"):
        with balanced(mode, replicas=1, endpoint=silent) as (_, client):
            for address in (HOST4, HOST6, VIP4, VIP6):
                wait_for(lambda address=address: refusal(client, address), f"{address} refuses")


def test_host_reaches_containers():
    """The machine's own connections to a container are not taken for replies to clients."""
    with balanced("native") as (n, _):
        for r in n.cli_json("ps")["items"]:
            for address in (r["container"]["address"], r["container"]["address6"]):
                with socket.create_connection((address, 7000), 20) as s:
                    ask(s)


def test_a_service_that_sleeps():
    """Its first client waits in the relay; what the kernel balances keeps it awake."""
    text = document().replace("mode: fixed, replicas: 3", "mode: adaptive, min: 0, max: 1, cooldown: 2s")
    with a_world() as space, Node(config("native")) as n:
        def row():
            return n.get("/v1/services/net/echo")
        client = Client(space)
        n.import_image()
        n.deploy(text)
        wait_for(lambda: datapath(n)["xdp"] == "native", "XDP is attached")
        wait_for(lambda: row()["state"] == "idle" and row()["running"] == 0, "it sleeps")
        before = redirected()
        with client.connect(HOST4, NAMED) as s:
            check(line(s), "an answer")
        wait_for(lambda: client.who(HOST4) and redirected() > before, "the kernel balances it")
        with client.connect(HOST4, PLAIN) as s:
            end = time.monotonic() + 7

            def talked():
                ask(s)
                return time.monotonic() > end
            wait_for(talked, "three cooldowns with something to do")
            equal((row()["desired"], row()["ready"]), (1, 1), "while packets come")
        wait_for(lambda: row()["state"] == "idle" and row()["running"] == 0, "it sleeps again")
        equal(client.datagram(HOST4)[1], b"hello", "a datagram wakes it")


def test_upgrade():
    with balanced("native") as (n, client), load_of(client) as load:
        load.more()
        before = n.processes()
        n.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: len(n.processes()) == len(before) and
                 not set(before.values()) & set(n.processes().values()), "every process is another", 120)
        load.more()
        wait_for(lambda: (datapath(n) or {}).get("xdp") == "native", "the successor has it all")
        load.more()


def xdp_of(link):
    return json.loads(run("ip", "-j", "-d", "link", "show", link).stdout)[0].get("xdp")


def test_follows_the_configuration():
    with balanced("native") as (n, client):
        check(xdp_of("pub0"), "XDP is on the interface")
        for mode in ("generic", "auto", "off", "auto"):
            n.write_config(config(mode))
            n.process.send_signal(signal.SIGHUP)
            # auto keeps what stands, and takes generic on a veth.
            want = {"auto": ("native", "generic"), "off": ("off",)}.get(mode, (mode,))
            wait_for(lambda: datapath(n)["xdp"] in want, f"mode {mode}: {datapath(n)}")
            wait_for(lambda: answers(client), f"an answer, mode {mode}")
        n.write_config(config("native", interfaces="[]"))
        n.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not xdp_of("pub0"), "XDP is taken off")
        n.write_config(config("native", interfaces="[nothere]"))
        n.process.send_signal(signal.SIGHUP)
        wait_for(lambda: (datapath(n)["xdp_reason"] or {}).get("what") == "there is no interface nothere", "why not")


def test_auto_follows_routes():
    with a_world() as space, Node(config("auto", interfaces="auto")) as n:
        client = Client(space)
        n.import_image()
        run("ip", "route", "add", "default", "via", CLIENT4)
        wait_for(lambda: (n.cli_json("status")["uplink"] or {}).get("state") == "up", "the uplink")
        equal(xdp_of("pub0"), None, "without an endpoint nothing is attached")
        n.deploy(document(1))
        wait_for(lambda: datapath(n)["interfaces"] == ["pub0"], "XDP is attached")
        wait_for(lambda: answers(client) and redirected() > 0, "packets are redirected")
        check("XDP generic pub0" in n.cli("status").stdout, "the first line of status")
        n.cli("rm", "net", "--yes")
        wait_for(lambda: not xdp_of("pub0"), "nothing to balance any more")


def test_who_may():
    limits = f', limits: {{ deny: ["{CLIENT4}/32", "{CLIENT6}/128"] }}'
    with a_world() as space, Node(config("native")) as n:
        client = Client(space)
        n.import_image()
        n.deploy(document(1))
        wait_for(lambda: datapath(n)["xdp"] == "native", "XDP is attached")
        wait_for(lambda: answers(client), "an answer")
        n.deploy(document(1, limits))
        for address in (HOST4, HOST6):
            wait_for(lambda address=address: refused(client, address), f"{address} refuses a denied client")
        # The first ones may have met a replica on its way out: what is counted is what comes from now on.
        wait_for(lambda: refused(client, HOST4) and
                 samples("zlayer_dataplane_drops_total", interface="pub0", reason="denied") >= 2, "drops")
        for address, own in ((CLIENT4, HOST4), (CLIENT6, HOST6)):
            one = told_denied(n, address, own)
            equal((one["reason"], one["rule"], one["seen"], one["protocol"], one["destination"]["port"], one["node"]),
                  ("denied", "endpoints.limits", "edge", "tcp", PLAIN, None))
            check("port" in one["source"] and "service" not in one["source"], one)
        check("(endpoints.limits)" in n.cli("observe", "--verdict", "dropped", "--service", "echo").stdout, "the line")
        # By a successor that begins while all of it stands.
        old = n.kill("dataplane")
        wait_for(lambda: old not in n.processes().values() and n.ready(), "a new dataplane")
        before = told_denied(n, CLIENT4, HOST4)

        def again():
            refused(client, HOST4)
            return told_denied(n, CLIENT4, HOST4)["ts"] > before["ts"]
        wait_for(again, "the successor tells")


def told_denied(node, client, own):
    """The newest one."""
    def told():
        return [f for f in node.cli_json("observe", "--last", "1000", "--verdict", "dropped", "--service", "net/echo")["items"]
                if (f["source"]["address"], f["destination"]["address"]) == (client, own)]
    return max(wait_for(told, f"denied {client} is told"), key=lambda f: f["ts"])


def refused(client, address):
    with client.socket(address, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        try:
            s.connect((address, PLAIN))
        except TimeoutError:
            return True
        except OSError:
            pass
    return False


def test_leaves_nothing():
    with a_world() as space, Node(config("native")) as n:
        client = Client(space)
        n.import_image()
        n.deploy(document(1))
        wait_for(lambda: datapath(n)["xdp"] == "native", "XDP is attached")
        wait_for(lambda: answers(client), "an answer")
        n.cli("rm", "net", "--yes")
        n.stop()
        traces = n.traces()
        equal(traces["pins"], [], "pins")
        equal(xdp_of("pub0"), None, "XDP")


if __name__ == "__main__":
    main(globals())
