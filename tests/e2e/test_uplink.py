# SPDX-License-Identifier: Apache-2.0
"""Containers reach the world through the node's machine, and the world does not reach them.

    container -- fabric -- "uplink" | "zl-NAME" -- test's namespace -- pub0 | pub1 -- world -- far0 | far1 -- far
                                                   192.0.2.1                192.0.2.2    mtu 1300       198.51.100.2
                                                   2001:db8::1              2001:db8::2                 2001:db8:1::2
"""

import contextlib
import errno
import json
import os
import signal
import socket
import threading

import zl
from zl import Node, Space, check, equal, run, service, wait_for

NO_UPLINK = "dataplane: { uplink: off, interfaces: [] }\n"
UPLINK = "dataplane: { uplink: auto, interfaces: [] }\n"
PORT = 7000
HOST4, HOST6, WORLD4, WORLD6, FAR4, FAR6 = ("192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2",
                                            "198.51.100.2", "2001:db8:1::2")


# ---- servers and clients

def serve(ready):
    """TCP and UDP, IPv4 and IPv6: TCP tells where the client comes from, then counts what it sends; UDP echoes."""
    tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("::", PORT))
    tcp.listen(64)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.bind(("::", PORT))

    def one(c, peer):
        with contextlib.suppress(OSError), c:
            c.sendall(peer[0].encode() + b"\n")
            total = 0
            while data := c.recv(65536):
                total += len(data)
            c.sendall(b"%d\n" % total)

    def datagrams():
        while True:
            data, peer = udp.recvfrom(65536)
            udp.sendto(peer[0].encode() + b" " + data, peer)

    threading.Thread(target=datagrams, daemon=True).start()
    ready()
    while True:
        c, peer = tcp.accept()
        threading.Thread(target=one, args=(c, peer), daemon=True).start()


def plain(text):
    return text.replace("::ffff:", "")


def tcp_to(address, nbytes=0, timeout=20):
    """(source that the server saw, bytes that it counted)"""
    with socket.create_connection((address, PORT), timeout) as c:
        f = c.makefile("rb")
        source = f.readline().decode().strip()
        block = bytes(65536)
        while nbytes > 0:
            c.sendall(block[:min(nbytes, 65536)])
            nbytes -= 65536
        c.shutdown(socket.SHUT_WR)
        return plain(source), int(f.readline())


def udp_to(address, nbytes=100, tries=20):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        for _ in range(tries):
            with contextlib.suppress(TimeoutError):
                s.sendto(bytes(nbytes), (address, PORT))
                data = s.recv(65536)
                equal(len(data.split(b" ", 1)[1]), nbytes, "the datagram's length")
                return plain(data.split(b" ", 1)[0].decode())
    raise zl.Failure(f"no datagram from {address}")


def can_connect(address, timeout=3):
    try:
        tcp_to(address, timeout=timeout)
        return True
    except OSError:
        return False


def pings(space, address):
    return space.run("busybox", "ping", "-6" if ":" in address else "-4", "-c", "2", "-W", "10", address,
                     check=False).returncode == 0


# ---- the world

@contextlib.contextmanager
def a_world(default_route=True):
    here = Space(os.getpid())
    with Space() as world, Space() as far:
        run("ip", "link", "add", "pub0", "type", "veth", "peer", "name", "pub1", "netns", str(world.pid))
        world.ip("link", "add", "far0", "mtu", "1300", "type", "veth", "peer", "name", "far1", "mtu", "1300",
                 "netns", str(far.pid))
        for space, link, *addresses in ((here, "pub0", HOST4 + "/24", HOST6 + "/64"),
                                        (world, "pub1", WORLD4 + "/24", WORLD6 + "/64"),
                                        (world, "far0", "198.51.100.1/24", "2001:db8:1::1/64"),
                                        (far, "far1", FAR4 + "/24", FAR6 + "/64")):
            for a in addresses:
                space.ip("address", "add", a, "dev", link, *(["nodad"] if ":" in a else []))
            space.ip("link", "set", link, "up")
        far.ip("route", "add", "default", "via", "198.51.100.1")
        far.ip("-6", "route", "add", "default", "via", "2001:db8:1::1")
        world.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if default_route:
            add_default()
        world.serve(serve)
        far.serve(serve)
        try:
            yield world, far
        finally:
            run("ip", "link", "del", "pub0", check=False)


def add_default():
    run("ip", "route", "add", "default", "via", WORLD4)
    run("ip", "-6", "route", "add", "default", "via", WORLD6)


def uplink_of(node):
    return node.cli_json("status")["uplink"] or {}


def is_up(node):
    return uplink_of(node).get("state") == "up"


@contextlib.contextmanager
def a_node(config=UPLINK, up=True):
    with Node(config) as node:
        node.import_image()
        node.deploy(service())
        if up:
            wait_for(lambda: is_up(node), "the uplink is up")
        yield node, node.containers()["shop/web.1"]


SETTINGS = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.pub0.forwarding",
            "net.ipv6.conf.pub0.forwarding", "net.ipv6.conf.pub0.force_forwarding", "net.ipv6.conf.pub0.accept_ra",
            "net.ipv4.conf.pub0.rp_filter", "net.ipv4.conf.all.rp_filter")


def settings():
    out = {}
    for name in SETTINGS:
        with contextlib.suppress(OSError):
            out[name] = open("/proc/sys/" + name.replace(".", "/")).read().strip()
    return out


def nft(text):
    return run("nft", "-f", "-", input=text)


def traces(rules=True):
    """What an uplink leaves in the test's namespace."""
    links = [link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout)]
    routes = run("ip", "route").stdout + run("ip", "-6", "route").stdout
    return {"links": [n for n in links if n.startswith("zl-")], "rules": run("nft", "list", "ruleset").stdout if rules else "",
            "routes": [r for r in routes.splitlines() if "zl-" in r], "settings": settings()}


def check_reaches(container, world4=WORLD4, world6=WORLD6):
    equal(container.call(tcp_to, world4, 100), (HOST4, 100), "TCP over IPv4")
    equal(container.call(tcp_to, world6, 100), (HOST6, 100), "TCP over IPv6")


# ---- tests

def test_reaches_the_world():
    before = None
    with a_world() as (world, far):
        before = traces()
        with a_node() as (node, container):
            check_reaches(container)
            for address, source in ((WORLD4, HOST4), (WORLD6, HOST6)):
                equal(container.call(udp_to, address), source, "UDP")
                check(pings(container, address), "no ping to", address)
            # A path that is narrower than any link that the node knows.
            for address, source in ((FAR4, HOST4), (FAR6, HOST6)):
                equal(container.call(tcp_to, address, 3 << 20), (source, 3 << 20), "through a narrow path")
                equal(container.call(udp_to, address, 1350), source, "a datagram that must be cut on the way")
            # Downstream: the world sends more than a container's link takes.
            equal(container.call(udp_to, WORLD4, 1450), HOST4, "a datagram in pieces")
            # Names and states are told.
            up = uplink_of(node)
            check(up["link"].startswith("zl-") and up["reason"] is None, up)
            check("masquerade" in run("nft", "list", "table", "inet", "zlayer-" + node.name).stdout)
        after = traces()
    equal(after, before, "what is left")


def test_world_does_not_reach_containers():
    with a_world() as (world, far):
        with a_node() as (node, container):
            container.serve(serve)
            addresses = [a["local"] for link in json.loads(container.run("ip", "-j", "address").stdout)
                         if link["ifname"] == "eth0" for a in link["addr_info"] if a["scope"] == "global"]
            equal(len(addresses), 2, "addresses of the container")
            for a in addresses:
                world.ip("route", "add", a, "via", HOST6 if ":" in a else HOST4)
                check(not world.call(can_connect, a), "the world reaches", a)
            # Nor does the machine become a router between others.
            world.ip("address", "add", "203.0.113.9/32", "dev", "lo")
            run("ip", "route", "add", "203.0.113.9/32", "via", WORLD4)
            with Space() as neighbour:
                run("ip", "link", "add", "side0", "type", "veth", "peer", "name", "side1", "netns", str(neighbour.pid))
                run("ip", "address", "add", "10.77.0.1/24", "dev", "side0")
                run("ip", "link", "set", "side0", "up")
                neighbour.ip("address", "add", "10.77.0.2/24", "dev", "side1")
                neighbour.ip("link", "set", "side1", "up")
                neighbour.ip("route", "add", "default", "via", "10.77.0.1")
                world.ip("route", "add", "10.77.0.0/24", "via", HOST4)
                neighbour.serve(serve)
                check(not world.call(can_connect, "10.77.0.2"), "the machine has become a router")
                run("ip", "link", "del", "side0")
            # What the host itself asks is answered, and the page is served as ever.
            equal(node.curl("/status/200", http="--http1.1"), "status\n", "the page")


def test_survives_deaths():
    with a_world():
        with a_node() as (node, container):
            for role in ("runtime", "dataplane", "overlay"):
                old = node.kill(role)
                check_reaches(container)
                wait_for(lambda: old not in node.processes().values() and node.ready(), role + " is back")
                check_reaches(container)
            link = uplink_of(node)["link"]
            index = socket.if_nametoindex(link)
            os.kill(node.process.pid, signal.SIGKILL)
            node.process.wait()
            check_reaches(container)
            node.start()
            wait_for(lambda: is_up(node), "the uplink is known again")
            equal(socket.if_nametoindex(link), index, "the link is another one")
            check_reaches(container)
            # Somebody flushes the machine's rules, or switches a setting back.
            run("nft", "flush", "ruleset")
            run("sysctl", "-q", "-w", "net.ipv4.conf.pub0.forwarding=0")
            wait_for(lambda: container.call(can_connect, WORLD4), "the rules are back")
            check_reaches(container)


def test_stops_without_traces():
    with a_world():
        before = traces()
        with a_node() as (node, container):
            # Containers stay over a stop, and so does their way out.
            node.stop()
            check_reaches(container)
            node.start()
            wait_for(lambda: is_up(node), "the uplink is up again")
            node.cli("rm", "shop", "--yes")
            wait_for(lambda: not node.cli_json("ps")["items"], "no container is left")
            node.stop()
            equal(traces(), before, "what is left")


def test_comes_and_goes():
    with a_world(default_route=False):
        before = traces()
        with a_node(up=False) as (node, container):
            wait_for(lambda: uplink_of(node).get("state") == "no default route", "the uplink waits")
            equal(traces(), before, "without a default route nothing is made")
            add_default()
            wait_for(lambda: is_up(node), "the uplink is up")
            check_reaches(container)
            node.write_config(NO_UPLINK)
            node.process.send_signal(signal.SIGHUP)
            wait_for(lambda: uplink_of(node).get("state") == "off", "the uplink is off")
            now = traces()
            equal((now["links"], now["rules"], now["settings"]), ([], before["rules"], before["settings"]), "what is left")
            check(not container.call(can_connect, WORLD4), "a container reaches the world without an uplink")


def refused_to(address):
    try:
        tcp_to(address)
    except OSError as e:
        return e.errno
    return 0


def test_what_is_for_other_nodes_stays_inside():
    """Nobody has told of a node that has the address: its packets would tell the world what nodes say to each other."""
    nobody = "10.200.99.9"
    with a_world() as (world, far):
        # Whoever listens there must not get it.
        world.ip("address", "add", nobody + "/32", "dev", "lo")
        with a_node(UPLINK + "overlay: { prefix4: 10.200.7.0/24 }\n") as (node, container):
            nft("table ip watch { chain seen { type filter hook prerouting priority -400; "
                'iifname "zl-*" ip daddr 10.200.0.0/16 counter; }\n}\n')
            try:
                equal(container.call(refused_to, nobody), errno.EHOSTUNREACH, "what a container is told")
                fabric = run("nsenter", f"--net={node.run_folder}/netns/fabric", "--", "busybox", "ping", "-4", "-c", "1", nobody,
                             check=False)
                check(fabric.returncode != 0, "the fabric reaches", nobody)
                check("counter packets 0 " in run("nft", "list", "table", "ip", "watch").stdout, "it came out")
                check_reaches(container)
            finally:
                run("nft", "delete", "table", "ip", "watch")


def test_two_nodes_share_the_machine():
    with a_world():
        before = traces()
        # By hand: of 254 prefixes both could choose the same.
        other = (UPLINK + 'listen: { http: ["127.0.0.1:8090"], https: ["127.0.0.1:8453"], api: off, metrics: off }\n'
                 "overlay: { prefix4: 10.201.7.0/24 }\n")
        with a_node() as (_, first):
            with a_node(other) as (node, second):
                check_reaches(first)
                check_reaches(second)
                # The first one's containers are not the second one's to ask.
                second.serve(serve)
                address = [a["local"] for link in json.loads(second.run("ip", "-j", "-4", "address").stdout)
                           if link["ifname"] == "eth0" for a in link["addr_info"]][0]
                check(not first.call(can_connect, address), "nodes of one machine reach each other's containers")
                del node
            # What one switched on stays while the other needs it.
            check_reaches(first)
        equal(traces(), before, "what is left")


def test_the_same_prefix_twice():
    yaml = UPLINK + "overlay: { prefix4: 10.200.7.0/24 }\n"
    with a_world():
        before = traces()
        with a_node(yaml) as (there, first):
            check_reaches(first)
            with Node(yaml + 'listen: { http: ["127.0.0.1:8090"], https: ["127.0.0.1:8453"], api: off, metrics: off }\n') as node:
                failed = wait_for(lambda: uplink_of(node).get("state") == "failed" and uplink_of(node), "the uplink failed")
                check("10.200.7.0/24 belongs to another node" in json.dumps(failed["reason"]), failed)
                check("overlay.prefix4" in json.dumps(failed["reason"]), failed)
                # Whoever looks is told, with what to do; so is who reads the log.
                check(failed["reason"]["fix"] in node.cli("status").stdout, node.cli("status").stdout)
                check(failed["reason"]["fix"] in open(node.log).read(), "the log")
                check_reaches(first)
                equal(there.cli_json("status")["warnings"], [], "the first one is well")
                # And so it is mended: another one, and a start.
                node.stop()
                with open(node.config) as f:
                    text = f.read()
                with open(node.config, "w") as f:
                    f.write(text.replace("prefix4: 10.200.7.0/24", "prefix4: 10.200.8.0/24"))
                node.start()
                wait_for(lambda: is_up(node), "the uplink of the second one is up")
                check_reaches(first)
            check_reaches(first)
        equal(traces(), before, "what is left")


def test_failures_are_named():
    with a_world():
        before = traces()
        # A mount namespace of the test's own: nft is hidden there only.
        run("mount", "--bind", "/dev/null", "/usr/sbin/nft")
        try:
            with Node(UPLINK) as node:
                node.import_image()
                node.deploy(service())
                failed = wait_for(lambda: uplink_of(node).get("state") == "failed" and uplink_of(node), "the uplink failed")
                check("nft" in json.dumps(failed["reason"]), failed)
                status = node.cli_json("status")
                check(any("uplink" in w["text"] for w in status["warnings"]), status["warnings"])
                container = node.containers()["shop/web.1"]
                check(not container.call(can_connect, WORLD4), "a container got out")
                equal(traces(rules=False), {**before, "rules": ""}, "what a failed uplink leaves")
                equal(node.curl("/status/200", http="--http1.1"), "status\n", "the page")
                run("umount", "/usr/sbin/nft")
                wait_for(lambda: is_up(node), "the uplink is up")
                check_reaches(container)
        finally:
            run("umount", "/usr/sbin/nft", check=False)
        equal(traces(), before, "what is left")


def test_firewall_of_the_machine():
    """A chain that drops what is forwarded is the administrator's word: containers stay inside until it lets them."""
    with a_world():
        nft("table inet site { chain gate { type filter hook forward priority 0; policy drop; }\n}\n")
        try:
            with a_node() as (node, container):
                check(not container.call(can_connect, WORLD4), "the firewall was passed by")
                equal(node.curl("/status/200", http="--http1.1"), "status\n", "the page")
                nft('add rule inet site gate iifname "zl-*" accept\n'
                    'add rule inet site gate oifname "zl-*" ct state established,related accept\n')
                check_reaches(container)
        finally:
            nft("delete table inet site\n")


if __name__ == "__main__":
    zl.main(globals())
