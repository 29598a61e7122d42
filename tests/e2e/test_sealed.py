# SPDX-License-Identifier: Apache-2.0
"""Traffic between nodes is sealed unless both of them say otherwise, whatever happens to who seals it."""

import json
import os
import re
import signal
import subprocess
import threading

import test_uplink
import zl
from cluster import Cluster
from load import Load
from test_mesh import known, overlay, own, pings
from test_overlay import addresses, metric
from test_placing import answer, images, ready
from test_uplink import can_connect, serve, tcp_to, udp_to
from zl import check, equal, run, service, wait_for

MARKER = "zlayer-payload-marker-7f3a"


def sealed(node):
    return (overlay(node) or {}).get("sealed") or {}


def ways(node):
    """name -> how what nothing else decides about goes there."""
    return {p["name"]: p["way"] for p in overlay(node)["peers"]}


def all_sealed(nodes):
    return all(ways(a) == {b.label: "sealed" for b in nodes if b is not a} and
               sealed(a).get("peers") == len(nodes) - 1 for a in nodes)


def uapi(node):
    """The device as wg(8) sees it: what stands before the first peer, and each peer."""
    said = run("wg", "show", interface(node), "dump").stdout.splitlines()
    return said[0].split("\t"), {line.split("\t")[0]: line.split("\t") for line in said[1:]}


def interface(node):
    """Long names of instances are hashed: it is known by its key."""
    key = sealed(node)["key"]
    for name in os.listdir("/run/wireguard"):
        if run("wg", "show", name[:-5], "public-key", check=False).stdout.strip() == key:
            return name[:-5]
    raise zl.Failure(f"wg shows no device of {node.label}")


class Bytes:
    """What passes a node's interface, as it is."""

    def __init__(self, node):
        self.process = subprocess.Popen(["nsenter", f"--net=/proc/{node.space.pid}/ns/net", "--", "tcpdump", "-i", "under0", "-s", "0",
                                         "--immediate-mode", "-U", "-w", "-", "udp"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for line in self.process.stderr:
            if b"listening on" in line:
                break
        self.parts = []
        self.reader = threading.Thread(target=lambda: self.parts.extend(iter(lambda: self.process.stdout.read1(65536), b"")), daemon=True)
        self.reader.start()

    def size(self):
        return sum(len(p) for p in self.parts)

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        return b"".join(self.parts)


def ask(node, marker=MARKER):
    return run("curl", "-sk", "--max-time", "20", "-H", f"X-Marker: {marker}", "--resolve", f"web.test:8443:{node.address}", "-o",
               "/dev/null", "-w", "%{http_code}", "https://web.test:8443/health", check=False).stdout


def traffic(node):
    """What passes while requests are served there by a replica of another node."""
    seen = Bytes(node)
    for _ in range(20):
        equal(ask(node), "200")
    wait_for(lambda: seen.size() > 20000, "it is seen")
    return seen.end()


def served_by_another(c):
    """One replica; a node that is not its own, which serves it."""
    images(c)
    c[0].deploy(service(replicas=1))
    (_, where, _), = ready(c[0], 1)
    other = next(n for n in c.nodes if n.label != where)
    for node in c.nodes:
        wait_for(lambda node=node: answer(node) == "200", f"{node.label} serves")
    return other, next(n for n in c.nodes if n.label == where)


def test_every_node_serves():
    with Cluster(3, encrypt=True) as c:
        wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")
        for a in c.nodes:
            check(not a.cluster()["trouble"], a.cluster()["trouble"])
            for b in c.nodes:
                wait_for(lambda: a is b or pings(a, b), f"{a.label} reaches {b.label}")
        other, _ = served_by_another(c)
        check(MARKER.encode() not in traffic(other), "nothing of it can be read")
        # Those who look after it see it.
        (_, public, port, _), peers = uapi(other)
        equal((public, port), (sealed(other)["key"], "9882"), "what wg shows")
        equal(set(peers), {sealed(n)["key"] for n in c.nodes if n is not other}, "peers that wg shows")
        for n in c.nodes:
            if n is not other:
                check(own(n) in peers[sealed(n)["key"]][3], peers)
        secret = run("wg", "set", interface(other), "private-key", "/dev/zero", check=False)
        check(secret.returncode != 0 and uapi(other)[0][1] == public, "nobody changes it there")
        for n in c.nodes:
            if n is not other:
                wait_for(lambda n=n: metric(other, "zlayer_overlay_bytes_total", peer=n.label, direction="receive") > 0 and
                         metric(other, "zlayer_overlay_peer_last_seen_timestamp_seconds", peer=n.label) > 0, "it is counted")
        wait_for(lambda: metric(other, "zlayer_overlay_packets_total", direction="transmit") >= 20, "packets are counted")


def a_container_each(c):
    """A replica on each of two nodes, as spaces, when their ways are sealed."""
    images(c)
    c[0].deploy(service(replicas=2))
    ready(c[0], 2, {"edge-1", "edge-2"})
    wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")
    return [zl.Space(next(r["container"]["pid"] for r in n.cli_json("ps")["items"] if r["container"])) for n in c.nodes]


def test_containers():
    """Replicas of different nodes reach each other, with both families, of every size."""
    with Cluster(2, encrypt=True) as c:
        one, two = a_container_each(c)
        for container in (one, two):
            container.serve(serve)
        wait_for(lambda: one.call(can_connect, addresses(two)[0]), "the first packet gets through")
        for here, there in ((one, two), (two, one)):
            for mine, theirs in zip(addresses(here), addresses(there)):
                equal(here.call(tcp_to, theirs, 100), (mine, 100), "TCP")
                equal(here.call(udp_to, theirs), mine, "UDP")
                equal(here.call(udp_to, theirs, 5000), mine, "UDP in pieces")
                check(test_uplink.pings(here, theirs), "no ping to", theirs)
                equal(here.call(tcp_to, theirs, 16 << 20, 120), (mine, 16 << 20), "a big transfer")


def test_in_the_clear_where_both_want_it():
    with Cluster(2) as c:
        wait_for(lambda: all(set(ways(n).values()) == {"plain"} for n in c.nodes), "both ends trust the network")
        other, _ = served_by_another(c)
        check(MARKER.encode() in traffic(other), "what is not sealed can be read")
        # One of them wants it sealed: that is enough.
        change(c[0], "encrypt: false", "encrypt: true")
        wait_for(lambda: all_sealed(c.nodes) and {overlay(n)["state"] for n in c.nodes} == {"wireguard"}, "both ends seal")
        wait_for(lambda: ask(other) == "200", "it serves")
        wait_for(lambda: MARKER.encode() not in traffic(other), "nothing of it can be read any more")


def change(node, what, to):
    with open(node.config) as f:
        text = f.read()
    check(what in text, what, text)
    with open(node.config, "w") as f:
        f.write(text.replace(what, to))
    node.process.send_signal(signal.SIGHUP)


def device_mtu(node):
    space = zl.Space(node.processes()["probe", 0])
    return next((link["mtu"] for link in json.loads(space.run("ip", "-j", "link").stdout) if link["ifname"] == "sealed"), None)


def test_whatever_happens():
    """Under load: overlay is killed, its key is changed, the configuration is read again, node is replaced."""
    with Cluster(3, encrypt=True) as c:
        wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")
        other, its = served_by_another(c)
        with Load(other, address=other.address) as load:
            for node in (other, its):
                before = load.done
                pid = node.processes()["overlay", 0]
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: node.processes().get(("overlay", 0), pid) != pid, "it is there again")
                wait_for(lambda: sealed(node).get("state") == "up" and sealed(node)["peers"] == 2, "it seals again")
                wait_for(lambda: load.done > before + 20, "requests go on")
            old = sealed(its)["key"]
            other.cli("node", "rotate", its.label)
            # Announced is as good as done, whoever dies.
            wait_for(lambda: "next " in keys(its), "it has announced another key")
            os.kill(its.processes()["overlay", 0], signal.SIGKILL)
            new = wait_for(lambda: sealed(its).get("key") not in (None, old) and sealed(its)["key"], "another key", seconds=90)
            for node in c.nodes:
                if node is not its:
                    wait_for(lambda node=node: set(uapi(node)[1]) >= {new} and old not in uapi(node)[1], f"{node.label} follows")
                    wait_for(lambda node=node: int(uapi(node)[1][new][4]) > 0, "with a session")
            before = load.done
            wait_for(lambda: load.done > before + 20, "requests go on")
            change(other, "dataplane:", "overlay: { mtu: 1400 }\ndataplane:")
            wait_for(lambda: device_mtu(other) == 1320, "the device has another MTU")
            before = load.done
            wait_for(lambda: sealed(other).get("state") == "up" and load.done > before + 20, "requests go on")
            generations = its.processes()
            its.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: its.processes().get(("overlay", 0)) not in (None, generations["overlay", 0]), "its successor")
            wait_for(lambda: sealed(its).get("state") == "up" and sealed(its)["peers"] == 2, "it seals again")
            equal(sealed(its)["key"], new, "the key stays")
            before = load.done
            wait_for(lambda: load.done > before + 20, "requests go on")
        equal(load.failed, [], f"of {load.done} requests")


def deaf(c):
    """Nodes hear nothing of each other any more, but what is sealed."""
    for a in c.nodes:
        for b in c.nodes:
            if a is not b:
                for source in (f"ip saddr {b.address}", f"ip6 saddr fd77::{b.number}"):
                    c.drop(a, f"{source} meta l4proto tcp")
                    c.drop(a, f"{source} udp dport != 9882")


def test_goes_on_without_being_told():
    """overlay, then scheduler with it, are killed while no gossip passes: sealed traffic goes on with what was known."""
    with Cluster(2, encrypt=True) as c:
        one, two = a_container_each(c)
        two.serve(serve)
        wait_for(lambda: one.call(can_connect, addresses(two)[0]), "the first packet gets through")
        for n in c.nodes:
            wait_for(lambda n=n: os.path.exists(os.path.join(n.data, "overlay", "mesh")), "what is known is kept")
        deaf(c)
        for roles in (("overlay",), ("overlay", "scheduler")):
            before = {(n, role): n.processes()[role, 0] for n in c.nodes for role in roles}
            for pid in before.values():
                os.kill(pid, signal.SIGKILL)
            for (n, role), pid in before.items():
                wait_for(lambda: n.processes().get((role, 0), pid) != pid, f"{role} of {n.label} is there again")
            wait_for(lambda: pings(c[0], c[1]) and pings(c[1], c[0]), "the nodes reach each other")
            wait_for(lambda: one.call(can_connect, addresses(two)[0]), "so do containers")
            equal(one.call(tcp_to, addresses(two)[0], 100), (addresses(one)[0], 100), "TCP")


def routes(node, *what):
    return zl.Space(node.processes()["probe", 0]).run("ip", "-j", *what).stdout


def test_nothing_takes_another_way():
    """Neither while overlay is replaced nor when the device is deleted: other nodes' prefixes are refused without it."""
    with Cluster(2, encrypt=True) as c:
        wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")
        one, two = c.nodes
        served_by_another(c)
        wait_for(lambda: "/64" in routes(one, "-6", "route", "show", "type", "unreachable") and
                 "10.200.0.0/16" in routes(one, "route", "show", "type", "unreachable"), "it is refused")
        index = json.loads(routes(one, "link", "show", "sealed"))[0]["ifindex"]
        zl.Space(one.processes()["probe", 0]).ip("link", "delete", "sealed")
        wait_for(lambda: device_mtu(one) and json.loads(routes(one, "link", "show", "sealed"))[0]["ifindex"] != index,
                 "there is another device")
        wait_for(lambda: pings(one, two) and all(ask(n) == "200" for n in c.nodes), "it carries")
        # Set down it has no routes either, and another MTU would cut what is sealed.
        index, mtu = (json.loads(routes(one, "link", "show", "sealed"))[0][what] for what in ("ifindex", "mtu"))
        for what in (("down",), ("mtu", "1290")):
            zl.Space(one.processes()["probe", 0]).ip("link", "set", "sealed", *what)
            wait_for(lambda: device_mtu(one) == mtu and "UP" in json.loads(routes(one, "link", "show", "sealed"))[0]["flags"],
                     "it is put back")
            wait_for(lambda: pings(one, two) and all(ask(n) == "200" for n in c.nodes), "it carries again")
        equal(json.loads(routes(one, "link", "show", "sealed"))[0]["ifindex"], index, "the device")


def keys(node):
    with open(os.path.join(node.data, "overlay", "keys")) as f:
        return f.read()


def test_keys_are_kept_and_checked():
    with Cluster(2, encrypt=True) as c:
        wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")
        key = sealed(c[1])["key"]
        path = os.path.join(c[1].data, "overlay", "keys")
        equal(os.stat(path).st_mode & 0o777, 0o600)
        check(re.fullmatch(r"key [0-9a-f]{64} \d+\n", keys(c[1])), "the file")
        c[1].stop()
        c[1].start()
        wait_for(lambda: all_sealed(c.nodes), "sealed again")
        equal(sealed(c[1])["key"], key, "over a restart")
        # By age: it is an old one.
        change(c[1], "dataplane:", "overlay: { rotate: 30m }\ndataplane:")
        c[1].stop()
        old = re.sub(r"\d+\n$", lambda at: f"{int(at[0]) - 3600}\n", keys(c[1]))
        with open(path, "r+") as f:
            f.write(old)
        c[1].start()
        new = wait_for(lambda: sealed(c[1]).get("key") not in (None, key) and sealed(c[1])["key"], "another key", seconds=90)
        wait_for(lambda: new in uapi(c[0])[1] and pings(c[0], c[1]), "it is followed")

        def told():
            return [(e["type"], e["node"]) for e in c[0].cli_json("events")["items"]
                    if e["type"] in ("node.rotating", "node.rotated")]
        wait_for(lambda: told() == [("node.rotating", "edge-2"), ("node.rotated", "edge-2")], told)
        # In a cluster no more: no device, no port.
        c[1].cli("leave")
        wait_for(lambda: sealed(c[1]).get("state") == "off" and device_mtu(c[1]) is None, "nothing is left")
        wait_for(lambda: ":9882" not in c[1].space.run("ss", "-uln").stdout, "its port is closed")
        wait_for(lambda: not known(c[0]), "it is forgotten")


PORT = 9912  # another one than usual: whoever names it has it from the configuration


def test_a_port_that_does_not_pass():
    """Gossip passes between two nodes and what is sealed does not: both say which port, the third one nothing."""
    with Cluster(3, encrypt=True, sealed=PORT) as c:
        wait_for(lambda: all_sealed(c.nodes), "all have sealed ways to all")

        def since(node, other):
            return node.nodes()[other.label]["unreached_since"]

        def told(node):
            return [e["type"] for e in c[2].cli_json("events")["items"]
                    if e["node"] == node.label and e["type"] in ("node.unreached", "node.reached")]

        def unreached(node):
            text = node.space.run("curl", "-s", "http://127.0.0.1:9883/metrics").stdout
            return re.findall(r"^zlayer_overlay_peers_unreached (\d+)$", text, re.M)

        check(not any(since(a, b) for a in c.nodes for b in c.nodes), "at first")
        equal([n["sealed_port"] for n in c[0].nodes().values()], [None, PORT, PORT])
        c.drop(c[0], f"ip saddr {c[1].address} udp dport {PORT}")
        c.drop(c[1], f"ip saddr {c[0].address} udp dport {PORT}")
        for node, other in ((c[0], c[1]), (c[1], c[0])):
            wait_for(lambda a=node, b=other: since(a, b), f"{node.label} knows", 240)
            equal(node.nodes()[other.label]["state"], "alive")
            wait_for(lambda a=node: a.cluster()["trouble"], "it is said")
            trouble = node.cluster()["trouble"]
            check(f"{other.label} answers, but no sealed packet" in trouble["what"] and f"{other.address}:{PORT}" in str(trouble["why"]) and
                  f"UDP port {PORT}" in trouble["fix"], trouble)
            check(trouble["fix"] in node.cli("status").stdout, node.cli("status").stdout)
            for words in (("node", "ls"), ("node", "show", other.label), ("explain", other.label)):
                check("no sealed packet" in node.cli(*words, status=None).stdout, words, node.cli(*words, status=None).stdout)
            check(f"let UDP port {PORT} (listen.overlay) pass to and from {other.label}" in
                  node.cli("explain", other.label, status=None).stdout, node.cli("explain", other.label, status=None).stdout)
            wait_for(lambda a=node: unreached(a) == ["1"], "it is counted")
            equal(told(node), ["node.unreached"])
        equal((c[2].cluster()["trouble"], since(c[2], c[0]), told(c[2])), (None, None, []))
        # An overlay that begins anew has heard of nobody: that is no news.
        pid, when = c[0].kill("overlay"), since(c[0], c[1])
        wait_for(lambda: c[0].processes().get(("overlay", 0)) not in (None, pid) and pings(c[0], c[2]), "another one serves")
        equal((since(c[0], c[1]), told(c[0])), (when, ["node.unreached"]))
        c.heal()
        for node, other in ((c[0], c[1]), (c[1], c[0])):
            wait_for(lambda a=node, b=other: not since(a, b) and not a.cluster()["trouble"], f"{node.label} hears it again", 120)
            equal(told(node), ["node.unreached", "node.reached"])
            wait_for(lambda a=node: unreached(a) == ["0"], "nor counted")


if __name__ == "__main__":
    zl.main(globals())
