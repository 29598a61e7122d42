# SPDX-License-Identifier: Apache-2.0
"""The kernel's WireGuard in place of the engine: by configuration, by reload, alone and with nodes that have the other one
(docs/decisions/021). Kernels that have it are seldom where tests run: tests/vm boots one."""

import contextlib
import glob
import json
import os
import secrets
import signal
import socket
import time
from base64 import b64encode

import test_load
import test_uplink
import zl
from cluster import Cluster
from load import Load
from test_hidden import relayed
from test_mesh import answers, own, pings
from test_overlay import addresses, metric
from test_placing import images, ready
from test_sealed import MARKER, all_sealed, change, device_mtu, interface, keys, sealed, served_by_another, traffic, uapi
from test_uplink import can_connect, serve, tcp_to, udp_to
from zl import Skip, Space, check, equal, run, service, wait_for

# On a machine without hardware acceleration everything takes its time.
LONG = 240
ECHO_PORT = 7007


def has_kernel():
    with Space() as space:
        return space.run("ip", "link", "add", "probe0", "type", "wireguard", check=False).returncode == 0


def needs_kernel():
    if not has_kernel():
        raise Skip("this kernel has no WireGuard")


def become(node, backend):
    """Has another backend from now on."""
    with open(node.config) as f:
        text = f.read()
    lines = [line for line in text.splitlines() if not line.startswith("overlay:")]
    with open(node.config, "w") as f:
        f.write("\n".join(lines + [f"overlay: {{ backend: {backend} }}"]) + "\n")
    node.process.send_signal(signal.SIGHUP)
    want = "engine" if backend == "auto" else backend
    wait_for(lambda: sealed(node).get("backend") == want and sealed(node).get("state") == "up", f"{node.label} has the {want}",
             seconds=LONG)


def fabric(node):
    return Space(node.processes()["probe", 0])


def kernel_shows(node):
    """What wg(8) says of the kernel's own device, in the fabric."""
    return fabric(node).run("wg", "show", "sealed", "dump").stdout.splitlines()


def handshakes(node):
    said = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout
    return next(int(line.split()[1]) for line in said.splitlines() if line.startswith("zlayer_overlay_handshakes_total "))


def all_well(c, what):
    wait_for(lambda: all_sealed(c.nodes), f"{what}: all have sealed ways to all", seconds=LONG)
    for a in c.nodes:
        for b in c.nodes:
            wait_for(lambda a=a, b=b: a is b or pings(a, b), f"{what}: {a.label} reaches {b.label}", seconds=LONG)
            equal(a.nodes()[b.label]["unreached_since"], None, f"{what}: {a.label} hears {b.label}")


def containers(c):
    return [Space(next(r["container"]["pid"] for r in n.cli_json("ps")["items"]
                       if r["container"] and r["node"] == n.label)) for n in c.nodes]


def check_containers(one, two, what):
    wait_for(lambda: one.call(can_connect, addresses(two)[0]), f"{what}: the first packet gets through", seconds=LONG)
    for here, there in ((one, two), (two, one)):
        for mine, theirs in zip(addresses(here), addresses(there)):
            equal(here.call(tcp_to, theirs, 100), (mine, 100), f"{what}: TCP")
            equal(here.call(udp_to, theirs), mine, f"{what}: UDP")
            equal(here.call(udp_to, theirs, 5000), mine, f"{what}: UDP in pieces")
            check(test_uplink.pings(here, theirs), what, "no ping to", theirs)
            equal(here.call(tcp_to, theirs, 1 << 20, LONG), (mine, 1 << 20), f"{what}: a big transfer")


def turn(c, node):
    """Its key becomes another one while requests are served."""
    old = sealed(node)["key"]
    c[0].cli("node", "rotate", node.label)
    new = wait_for(lambda: sealed(node).get("key") not in (None, old) and sealed(node)["key"], "another key", seconds=LONG)
    for other in c.nodes:
        if other is not node:
            wait_for(lambda other=other: new in uapi(other)[1] and old not in uapi(other)[1] and
                     int(uapi(other)[1][new][4]) > 0, f"{other.label} follows", seconds=LONG)
            check(own(node) in uapi(other)[1][new][3], "its prefixes went with it")
    wait_for(lambda: "next " not in keys(node), "the former one is forgotten")


def echo(ready):
    with socket.create_server(("", ECHO_PORT)) as listener:
        ready()
        c, _ = listener.accept()
        while data := c.recv(64):
            c.sendall(data)


def converse(ready, address, path):
    """One connection, on which something is always said and answered; what came back is counted in a file, and why it ended."""
    with socket.create_connection((address, ECHO_PORT), LONG) as c, open(path, "r+b", buffering=0) as told:
        ready()
        with contextlib.suppress(OSError):
            for count in range(1, 1 << 32):
                c.sendall(b"%8d" % count)
                check(c.recv(8, socket.MSG_WAITALL) == b"%8d" % count, "another answer")
                os.pwrite(told.fileno(), b"%8d" % count, 0)
                time.sleep(0.05)
        os.pwrite(told.fileno(), b"ended at", 0)


class Talk:
    """A connection between two containers that is never silent and must never end."""

    def __init__(self, c, one, two):
        self.path = os.path.join(c[0].folder, "talk")
        with open(self.path, "wb") as f:
            f.write(b"%8d" % 0)
        two.serve(echo)
        one.serve(converse, addresses(two)[0], self.path)

    def said(self):
        with open(self.path, "rb") as f:
            return int(f.read())

    def goes_on(self, what):
        before = self.said()
        wait_for(lambda: self.said() > before + 10, f"{what}: containers go on to speak", seconds=LONG)


def door(node):
    """The process between overlay and the kernel: it stands in the fabric."""
    own_ns = os.readlink(f"/proc/{node.processes()['probe', 0]}/ns/net")
    for path in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            with open(f"{path}/comm") as f:
                comm = f.read().strip()
            if comm == "zlayer:wgdoor" and os.readlink(f"{path}/ns/net") == own_ns:
                return int(path[6:])
    return None


def device_index(node):
    return json.loads(fabric(node).run("ip", "-j", "link", "show", "sealed").stdout)[0]["ifindex"]


def setting(node):
    """What the kernel's device is to be, without what changes by itself: places, counters, handshakes."""
    head, *peers = (line.split("\t") for line in kernel_shows(node))
    link = json.loads(fabric(node).run("ip", "-j", "link", "show", "sealed").stdout)[0]
    return head, {p[0]: (p[1], set(p[3].split(",")), p[7]) for p in peers}, link["mtu"], "UP" in link["flags"]


def test_none_there():
    """Asked for where there is none: it is said, nothing else seals instead, and the way back is a reload."""
    if has_kernel():
        raise Skip("this kernel has WireGuard")
    with Cluster(2, encrypt=True) as c:
        wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")
        equal([sealed(n)["backend"] for n in c.nodes], ["engine", "engine"])
        change(c[1], "dataplane:", "overlay: { backend: kernel }\ndataplane:")
        wait_for(lambda: sealed(c[1]).get("state") == "failed" and sealed(c[1])["backend"] == "kernel", "it fails")
        wait_for(lambda: "this kernel has no WireGuard" in (sealed(c[1])["reason"] or {}).get("what", ""), "it says why")
        check("modprobe wireguard" in sealed(c[1])["reason"]["fix"], sealed(c[1]))
        wait_for(lambda: device_mtu(c[1]) is None, "nothing is left of the engine")
        wait_for(lambda: ":9882" not in c[1].space.run("ss", "-uln").stdout, "its port is free")
        wait_for(lambda: "this kernel has no WireGuard" in str(c[1].cluster()["trouble"]), "the cluster's trouble names it")
        change(c[1], "backend: kernel", "backend: auto")
        wait_for(lambda: all_sealed(c.nodes) and sealed(c[1])["backend"] == "engine", "sealed again")
        wait_for(lambda: all(pings(a, b) for a in c.nodes for b in c.nodes if a is not b), "it carries")


def test_one_of_each():
    """The kernel on one node and the engine on the other: containers, requests, keys, a death, a restart."""
    needs_kernel()
    with Cluster(2, encrypt=True) as c:
        all_well(c, "the engine on both")
        images(c)
        c[0].deploy(service(replicas=2))
        ready(c[0], 2, {"edge-1", "edge-2"})
        one, two = containers(c)
        for container in (one, two):
            container.serve(serve)
        before = handshakes(c[1])
        become(c[1], "kernel")
        all_well(c, "one of each")
        check("wireguard" in fabric(c[1]).run("ip", "-d", "link", "show", "sealed").stdout, "it is the kernel's")
        equal(len(kernel_shows(c[1])), 2, "peers of it")
        for node in c.nodes:
            wait_for(lambda node=node: {n["name"]: n["backend"] for n in node.nodes().values()} ==
                     {"edge-1": "engine", "edge-2": "kernel"}, f"{node.label} knows who seals where", seconds=LONG)
        # Those who look after it see it as ever, by the name that it has on the machine.
        (_, public, port, _), peers = uapi(c[1])
        equal((public, port), (sealed(c[1])["key"], "9882"), "what wg shows")
        equal(set(peers), {sealed(c[0])["key"]}, "peers that wg shows")
        check(interface(c[1]).startswith("zl-"), interface(c[1]))
        check_containers(one, two, "one of each")
        wait_for(lambda: metric(c[1], "zlayer_overlay_bytes_total", peer="edge-1", direction="receive") > 1 << 20 and
                 handshakes(c[1]) > before, "it is counted")
        for node in reversed(c.nodes):
            turn(c, node)
        # Sessions are the kernel's: they outlive who looks after them.
        before = kernel_shows(c[1])[1].split("\t")
        pid = c[1].processes()["overlay", 0]
        os.kill(pid, signal.SIGKILL)
        check(one.call(can_connect, addresses(two)[0]), "it carries while overlay is away")
        wait_for(lambda: c[1].processes().get(("overlay", 0), pid) != pid, "overlay is there again", seconds=LONG)
        all_well(c, "after a death")
        after = kernel_shows(c[1])[1].split("\t")
        equal((after[0], after[3]), (before[0], before[3]), "the peer is the same")
        c[1].stop()
        c[1].start()
        all_well(c, "after a restart")
        equal(sealed(c[1])["backend"], "kernel")
        check_containers(one, two, "after a restart")
        become(c[1], "auto")
        all_well(c, "back to the engine")
        check("wireguard" not in fabric(c[1]).run("ip", "-d", "link", "show", "sealed").stdout, "nothing is left of the kernel's")
        check_containers(one, two, "back to the engine")


def test_both():
    """The kernel on both nodes: requests by either one, nothing of them to be read, reloads under load."""
    needs_kernel()
    with Cluster(2, encrypt=True, extra="overlay: { backend: kernel }\n") as c:
        all_well(c, "the kernel on both")
        equal([sealed(n)["backend"] for n in c.nodes], ["kernel", "kernel"])
        other, its = served_by_another(c)
        check(MARKER.encode() not in traffic(other), "nothing of it can be read")
        with Load(other, address=other.address) as load:
            turn(c, its)
            turn(c, other)
            for backend in ("engine", "kernel"):
                become(its, backend)
                before = load.done
                wait_for(lambda: load.done > before + 20, f"requests go on with the {backend}", seconds=LONG)
            fabric(its).run("ip", "link", "delete", "sealed")
            before = load.done
            wait_for(lambda: load.done > before + 20 and device_mtu(its), "requests go on with another device", seconds=LONG)
        equal(load.failed, [], f"of {load.done} requests")
        # In a cluster no more: no device, no port.
        c[1].cli("leave", "--force")
        wait_for(lambda: sealed(c[1]).get("state") == "off" and device_mtu(c[1]) is None, "nothing is left", seconds=LONG)
        wait_for(lambda: ":9882" not in c[1].space.run("ss", "-uln").stdout, "its port is closed", seconds=LONG)


def test_no_tun():
    """With auto the kernel seals where there is no TUN device, and says why; a start with one has the engine again."""
    needs_kernel()
    if run("rmmod", "tun", check=False).returncode != 0:
        raise Skip("TUN devices cannot be taken from this kernel")
    try:
        with Cluster(2, encrypt=True) as c:
            all_well(c, "without TUN")
            for node in c.nodes:
                equal(sealed(node)["backend"], "kernel")
                check("/dev/net/tun" in sealed(node)["reason"]["what"], sealed(node))
            run("modprobe", "tun")
            c[1].stop()
            c[1].start()
            wait_for(lambda: sealed(c[1]).get("backend") == "engine", "it has the engine", seconds=LONG)
            all_well(c, "with TUN again")
    finally:
        run("modprobe", "tun")


def test_whoever_dies():
    """Under load all that stands around the kernel's device is killed or replaced: the device, its peers and what goes by it stay."""
    needs_kernel()
    with Cluster(2, encrypt=True, extra="overlay: { backend: kernel }\n") as c:
        all_well(c, "the kernel on both")
        images(c)
        c[0].deploy(service(replicas=2))
        ready(c[0], 2, {"edge-1", "edge-2"})
        one, two = containers(c)
        two.serve(serve)
        wait_for(lambda: one.call(can_connect, addresses(two)[0]), "the first packet gets through", seconds=LONG)
        talk, node = Talk(c, one, two), c[1]
        index, received = device_index(node), lambda: int(kernel_shows(node)[1].split("\t")[5])
        with Load(c[0], clients=2, address=c[0].address, pause_s=0.2) as load:
            for role in ("overlay", "wgdoor", "overlay"):
                before, find = received(), (lambda: door(node)) if role == "wgdoor" else (lambda: node.processes().get(("overlay", 0)))
                pid = wait_for(find, f"there is a process {role}", seconds=LONG)
                os.kill(pid, signal.SIGKILL)
                talk.goes_on(f"without {role}")
                wait_for(lambda: find() not in (None, pid) and door(node) and sealed(node).get("state") == "up", f"{role} is there again",
                         seconds=LONG)
                talk.goes_on(f"with another {role}")
                check(received() > before, "the peer is the one it was")
            before, generation = received(), test_load.generation(node)
            node.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: test_load.upgraded(node, generation), "all of it is replaced", seconds=LONG)
            wait_for(lambda: sealed(node).get("state") == "up", "it seals", seconds=LONG)
            talk.goes_on("upgraded")
            check(received() > before, "the peer is the one it was")
        equal(load.failed, [], f"of {load.done} requests")
        # Without node there is nobody who looks after anything; then everything else of it dies, too.
        for whole in (False, True):
            before, victims = received(), [node.process.pid] + (list(node.processes().values()) if whole else [])
            for pid in set(victims):
                os.kill(pid, signal.SIGKILL)
            node.process.wait()
            talk.goes_on("without node")
            node.start()
            all_well(c, "with another node")
            talk.goes_on("with another node")
            check(received() > before, "the peer is the one it was")
            equal((device_index(node), sealed(node)["backend"]), (index, "kernel"), "the device")


def test_put_back():
    """Three nodes, two of them with the kernel's: what others do to its device does not last, and a member that goes is no peer at once."""
    needs_kernel()
    with Cluster(3, encrypt=True, extra="overlay: { backend: kernel }\n") as c:
        become(c[2], "engine")
        all_well(c, "two kernels and an engine")
        node, wg = c[0], lambda *words, **more: fabric(c[0]).run("wg", "set", "sealed", *words, **more)
        was = setting(node)
        equal(len(was[1]), 2, "peers")
        first, second = was[1]
        stranger, random = run("wg", "pubkey", input=run("wg", "genkey").stdout).stdout.strip(), b64encode(secrets.token_bytes(32)).decode()
        theirs = next(p for p in was[1][first][1] if "." in p)
        for what, words, more in (
                ("a stranger", ("peer", stranger, "allowed-ips", "10.99.0.0/24"), {}),
                ("a stranger with a member's prefix", ("peer", stranger, "endpoint", "10.77.0.254:9", "allowed-ips", theirs), {}),
                ("a member with another one's prefix", ("peer", second, "allowed-ips", theirs), {}),
                ("no prefixes", ("peer", first, "allowed-ips", ""), {}),
                ("another pre-shared key", ("peer", first, "preshared-key", "/dev/stdin"), {"input": random + "\n"}),
                ("no pre-shared key", ("peer", second, "preshared-key", "/dev/null"), {}),
                ("keepalives", ("peer", second, "persistent-keepalive", "7"), {}),
                ("a member gone", ("peer", first, "remove"), {}),
                ("another private key", ("private-key", "/dev/stdin"), {"input": random + "\n"}),
                ("no private key", ("private-key", "/dev/null"), {}),
                ("another port", ("listen-port", "4242"), {}),
                ("a mark", ("fwmark", "0x2a"), {})):
            wg(*words, **more)
            wait_for(lambda: setting(node) == was, lambda what=what: f"put back: {what}; {setting(node)} {was}", seconds=LONG)
        index = device_index(node)
        for words in (("down",), ("mtu", "1290")):
            fabric(node).ip("link", "set", "sealed", *words)
            wait_for(lambda: setting(node) == was, f"put back: {words}", seconds=LONG)
        equal(device_index(node), index, "the device")
        # Where a peer is it says itself.
        wg("peer", first, "endpoint", "10.77.0.254:9")
        all_well(c, "after all of that")
        fabric(node).ip("link", "delete", "sealed")
        wait_for(lambda: device_mtu(node) and setting(node) == was, "it is made again", seconds=LONG)
        all_well(c, "with another device")
        # One member less.
        gone = sealed(c[2])["key"]
        check(all(gone in setting(n)[1] for n in c.nodes[:2]), "it is a peer")
        c[0].cli("node", "rm", "edge-3", "--yes", "--force")
        for n in c.nodes[:2]:
            wait_for(lambda n=n: set(setting(n)[1]) == {sealed(m)["key"] for m in c.nodes[:2] if m is not n}, f"no peer of {n.label}",
                     seconds=LONG)
        wg("peer", gone, "allowed-ips", "10.99.0.0/24")
        wait_for(lambda: gone not in setting(node)[1], "it stays away", seconds=LONG)
        wait_for(lambda: pings(c[0], c[1]) and pings(c[1], c[0]), "the others go on", seconds=LONG)


def test_hidden():
    """3 and 4 only dial out, all have the kernel: nobody passes on between these two, which is said, until one has the engine."""
    needs_kernel()
    with Cluster(4, encrypt=True, hidden=(3, 4), extra="overlay: { backend: kernel }\n") as c:
        reached = [(a, b) for a in c.nodes for b in c.nodes if a is not b and c[0] in (a, b) or c[1] in (a, b)]
        for a, b in reached:
            wait_for(lambda a=a, b=b: a is b or pings(a, b), f"{a.label} reaches {b.label}", seconds=LONG)
        for a, b in ((c[2], c[3]), (c[3], c[2])):
            wait_for(lambda a=a, b=b: f"{b.label}" in str(a.cluster()["trouble"]) and "not reached from here" in str(a.cluster()["trouble"]),
                     lambda a=a: f"{a.label} says it: {a.cluster()['trouble']}", seconds=LONG)
            check(not pings(a, b), "there is no way")
        become(c[0], "engine")
        for a in c.nodes:
            for b in c.nodes:
                wait_for(lambda a=a, b=b: a is b or pings(a, b), f"{a.label} reaches {b.label}", seconds=LONG)
        check(relayed(c[0]) > 0, "it passes on")
        equal([relayed(n) for n in c.nodes[1:]], [0, 0, 0], "nobody else does")
        for node in c.nodes:
            wait_for(lambda node=node: not node.cluster()["trouble"], lambda node=node: f"that is over: {node.cluster()['trouble']}", seconds=LONG)
        # Where its peer is the kernel goes on to know.
        index, here, there = device_index(c[2]), fabric(c[2]), own(c[3]).replace(".0/24", ".1")
        pid = c[2].processes()["overlay", 0]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: here.call(answers, there), "while overlay is away", seconds=LONG)
        wait_for(lambda: c[2].processes().get(("overlay", 0), pid) != pid, "overlay is there again", seconds=LONG)
        c[3].stop()
        c[3].start()
        for a, b in ((c[2], c[3]), (c[3], c[2])):
            wait_for(lambda a=a, b=b: pings(a, b), f"{a.label} reaches {b.label} again", seconds=LONG)
        equal(device_index(c[2]), index, "the device")


if __name__ == "__main__":
    zl.main(globals())
