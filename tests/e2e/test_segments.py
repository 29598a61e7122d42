# SPDX-License-Identifier: Apache-2.0
"""The networks of services and deployments: who reaches whom, by which names, what is said of the rest, and what changes
while everything runs."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading

import zl
from cluster import Cluster
from dnsmsg import NXDOMAIN, Message, query
from zl import Node, Space, check, equal, wait_for

OFF = {"enabled": False}

SHOP = {
    "web": {},
    "db": {},
    "lone": {"global": OFF},
    "open": {"global": OFF, "service": {"isolated": False}},
    "bare": {"service": OFF},
}
BLOG = {"web": {}, "shut": {"global": {"isolated": True}}}


def document(deployment, services, replicas=1, selectors={}):
    text = f"version: v1\ndeployment: {deployment}\nservices:\n"
    for name, overlays in services.items():
        text += f"""  {name}:
    image: {{ name: "test:1" }}
    endpoints: [ {{ name: http, protocol: http, port: 8080 }} ]
    scale: {{ mode: fixed, replicas: {replicas} }}
    stop_grace_period: 1s
    network: {{ overlays: {json.dumps(overlays)} }}
    health: {{ start_grace: 1s, interval: 1s, timeout: 1s, retries: 2, check: {{ type: http, url: /health }} }}
"""
        if name in selectors:
            text += f"    node: {{ selector: {{ labels: {{ at: {selectors[name]} }} }} }}\n"
    return text


def connects(address, seconds=1):
    """To the server of a container, which may not listen on IPv6: a refusal comes from there, too."""
    try:
        socket.create_connection((address, 8080), timeout=seconds).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def why_not(address):
    try:
        socket.create_connection((address, 8080), timeout=20).close()
    except OSError as e:
        return str(e)
    return ""


def ask(server, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(20)
        s.connect((server, 53))
        s.send(data)
        return s.recv(65536)


def addresses(container):
    """(IPv4, IPv6) of a container."""
    found = {a["family"]: a["local"] for link in json.loads(container.run("ip", "-j", "address").stdout)
             if link["ifname"] == "eth0" for a in link["addr_info"] if a["scope"] == "global"}
    return found["inet"], found["inet6"]


class Containers:
    """Those of some nodes, by name; who reaches whom."""

    def __init__(self, *nodes):
        self.spaces, self.at = {}, {}
        for node in nodes:
            for r in node.cli_json("ps")["items"]:
                if (r.get("container") or {}).get("pid"):
                    self.spaces[r["name"].rsplit(".", 1)[0]] = Space(r["container"]["pid"])
        for name, space in self.spaces.items():
            self.at[name] = addresses(space)

    def reach(self, a, b):
        return [self.spaces[a].call(connects, address) for address in self.at[b]]

    def names(self, asker, name):
        """The addresses of a name; None: there is no such name."""
        space = self.spaces[asker]
        with open(f"/proc/{space.pid}/root/etc/resolv.conf") as f:
            server = f.read().split("nameserver ")[1].split()[0]
        reply = Message(space.call(ask, server, query(name)))
        return None if reply.rcode == NXDOMAIN else sorted(reply.data())


def flows(node, *args):
    return node.cli_json("observe", "--last", "1000", *args)["items"]


def ends(flow):
    return tuple("{deployment}/{service}".format_map(flow[end]) if "service" in flow[end] else flow[end]["address"]
                 for end in ("source", "destination"))


@contextlib.contextmanager
def a_node():
    with Node() as n:
        n.import_image()
        n.deploy(document("shop", SHOP))
        n.deploy(document("blog", BLOG))
        yield n, Containers(n)


# Both ways: a packet does not say who began.
APART = [("shop/lone", "shop/web"), ("shop/lone", "blog/web"), ("shop/open", "blog/web"), ("blog/shut", "shop/web")]
TOGETHER = [("shop/web", "shop/db"), ("shop/web", "shop/open"), ("shop/open", "shop/lone"), ("shop/bare", "shop/web"),
            ("shop/web", "blog/web"), ("blog/web", "blog/shut")]


def test_who_reaches_whom():
    with a_node() as (n, c):
        for a, b in TOGETHER:
            equal((c.reach(a, b), c.reach(b, a)), ([True, True], [True, True]), f"{a} and {b}")
        for a, b in APART:
            equal((c.reach(a, b), c.reach(b, a)), ([False, False], [False, False]), f"{a} and {b}")
        # A drop is told with the names of both ends, why, and the key that decides.
        told = wait_for(lambda: [f for f in flows(n, "--verdict", "dropped", "--service", "shop/lone")
                                 if ends(f) == ("shop/lone", "shop/web")], "the drop is told")[0]
        equal((told["verdict"], told["reason"], told["rule"], told["protocol"], told["destination"]["port"]),
              ("dropped", "isolated", "network.overlays", "tcp", 8080))
        check(told["source"]["address"] in c.at["shop/lone"] and told["destination"]["index"] == 1, told)
        line = n.cli("observe", "--verdict", "dropped", "--service", "lone").stdout
        check("shop/lone.1" in line and "isolated: " in line and "dropped" in line, line)
        other = wait_for(lambda: [f for f in flows(n, "--service", "shut") if ends(f) == ("blog/shut", "shop/web")],
                         "the drop between deployments is told")[0]
        equal(other["rule"], "network.overlays.global")
        check(all("shop/open" in ends(f) for f in flows(n, "--service", "shop/open")), "others than were asked for")
        equal(flows(n, "--service", "shop/bare", "--verdict", "dropped"), [])
        check("verdict" in n.cli("observe", "--verdict", "maybe", status=2).stderr, "a wrong verdict is refused")
        check("no flow is kept that is asked for" in n.cli("observe", "--peer", "edge-9").stderr, "nothing is said to be nothing")


def test_a_device_without_a_program():
    """In the fabric's routes, and in no map: what is sent to it is dropped, and what nobody has is refused at once."""
    with a_node() as (n, c):
        v4 = c.at["shop/web"][0].rsplit(".", 1)[0]
        there, nobody = f"{v4}.251", f"{v4}.252"
        fabric = Space(n.processes()["dataplane", 0])
        fabric.run("ip", "link", "add", "lost", "type", "veth", "peer", "name", "behind")
        fabric.run("ip", "link", "set", "behind", "up")
        fabric.run("ip", "link", "set", "lost", "up")
        fabric.run("ip", "route", "add", there, "dev", "lost")
        check(not c.spaces["shop/web"].call(connects, there), "somebody answers")
        told = wait_for(lambda: [f for f in flows(n, "--verdict", "dropped") if f["destination"]["address"] == there],
                        "the drop is told")[0]
        equal((told["reason"], told["source"]["service"]), ("destination", "web"))
        check("No route to host" in c.spaces["shop/web"].call(why_not, nobody), "the stack does not refuse it")
        fabric.run("ip", "link", "del", "lost")


def test_a_device_that_cannot_be_judged():
    """A dataplane that comes and cannot put its program there: what runs behind it is stopped, and runs again when it can."""
    with Node() as n:
        n.import_image()
        n.deploy(document("shop", {"web": {}, "db": {}}))
        c = Containers(n)
        folder = f"/sys/fs/bpf/zlayer/{n.name}/1"
        device = {r["name"]: f"veth-{r['id']}" for r in n.cli_json("ps")["items"]}["shop/web.1"]
        if device not in os.listdir(folder):
            raise zl.Skip("this kernel has no tcx, whose links are pinned")
        # Its link ends with the process; a new one cannot be pinned.
        os.unlink(os.path.join(folder, device))
        os.mkdir(os.path.join(folder, device))
        pid = c.spaces["shop/web"].pid
        n.kill("dataplane")

        def told():
            return [r for r in n.cli_json("ps")["items"] if "cannot pin a program's link" in json.dumps(r)]
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "its container is stopped")
        equal([r["name"] for r in wait_for(told, "it says why")], ["shop/web.1"])
        equal(Containers(n).spaces["shop/db"].pid, c.spaces["shop/db"].pid, "the other one runs on")
        os.rmdir(os.path.join(folder, device))

        def again():
            there = Containers(n)
            return "shop/web" in there.at and there.reach("shop/web", "shop/db") == [True, True]
        wait_for(again, "it runs again")


def test_without_bpf_nobody_is_exposed():
    """Nobody judges packets there: who lets everybody in runs, the others say why they do not."""
    with Node(config="dataplane: { mode: off, uplink: off, interfaces: [] }\n") as n:
        n.import_image()
        n.deploy(document("blog", {"web": {}}))
        told = n.deploy(document("shop", {"lone": SHOP["lone"]}), status=None)
        check(told.returncode != 0 and "network.overlays" in told.stderr and "dataplane.mode is off" in told.stderr, told)
        equal(list(Containers(n).at), ["blog/web"], "those that run")
        # Who runs and is to be kept apart from now on is stopped, and says why it is not started again.
        n.deploy(document("blog", {"web": BLOG["shut"]}))
        told = wait_for(lambda: [r for r in n.cli_json("ps")["items"] if "network.overlays" in json.dumps(r)], "it says why")[0]
        check("dataplane.mode is off" in json.dumps(told), told)
        equal(list(Containers(n).at), [], "those that run")
        n.deploy(document("blog", {"web": {}}))
        wait_for(lambda: list(Containers(n).at) == ["blog/web"], "it is started again")


def test_names_are_for_who_may_reach():
    with a_node() as (_, c):
        def v4(name):
            return [c.at[name][0]]
        for asker, name, want in [
                ("shop/web", "db.global", v4("shop/db")), ("shop/web", "lone.global", None), ("shop/web", "lone.service", None),
                ("shop/lone", "lone.service", v4("shop/lone")), ("shop/lone", "lone.global", None),
                ("shop/lone", "web.global", None), ("shop/web", "open.service", v4("shop/open")),
                ("shop/web", "open.global", None), ("shop/bare", "bare.service", None),
                ("shop/web", "bare.global", v4("shop/bare")), ("blog/web", "web.shop.zlayer.internal", v4("shop/web")),
                ("blog/web", "lone.shop.zlayer.internal", None), ("blog/shut", "web.shop.zlayer.internal", None)]:
            wait_for(lambda a=asker, n=name, w=want: c.names(a, n) == w, f"{asker} asks {name}: {want}")


def test_a_change_restarts_nothing():
    with a_node() as (n, c):
        pids = {name: space.pid for name, space in c.spaces.items()}
        equal(c.reach("shop/lone", "shop/web"), [False, False])
        path = os.path.join(n.folder, "changed.zlayer.yaml")
        with open(path, "w") as f:
            f.write(document("shop", {**SHOP, "lone": {}, "db": {"global": OFF}}))
        shown = n.cli("diff", path).stdout
        check("~ lone network.overlays.global.enabled false -> true" in shown, shown)
        n.cli("deploy", path)
        wait_for(lambda: c.reach("shop/lone", "shop/web") == [True, True], "the network that was off is on")
        wait_for(lambda: c.reach("shop/web", "shop/db") == [False, False], "the one that was on is off")
        wait_for(lambda: c.names("shop/web", "db.global") is None, "its name is gone")
        wait_for(lambda: c.names("shop/web", "lone.global") == [c.at["shop/lone"][0]], "the other one's is there")
        n.cli("rollback", "shop")
        wait_for(lambda: c.reach("shop/lone", "shop/web") == [False, False], "and off again")
        wait_for(lambda: c.reach("shop/web", "shop/db") == [True, True], "and on again")
        equal({name: space.pid for name, space in Containers(n).spaces.items()}, pids, "containers that run")


def test_what_is_not_public():
    """An internal endpoint is for containers; the edge has neither its port nor its host."""
    text = document("shop", {"web": {}}).replace(
        "port: 8080 }", "port: 80, target_port: 8080, host: inner.test, expose: internal }").replace(
        "    image", '    labels: { a: b }\n    image', 1)
    client = document("client", {"c": {}})
    with Node() as n:
        n.import_image()
        n.deploy(text)
        n.deploy(client)
        n.deploy(zl.service("front", host="outer.test", deployment="pub"))
        c = Containers(n)
        wait_for(lambda: n.curl("/", "outer.test", status=None), "what is public answers")
        equal(n.curl("/", "inner.test", "-o", "/dev/null", "-w", "%{http_code}", http="--http1.1", port=8080, scheme="http"), "404")
        equal(c.reach("client/c", "shop/web"), [True, True])


def test_followed():
    """Flows that are let through are told while somebody follows, and only then."""
    with a_node() as (n, c):
        equal(c.reach("shop/web", "shop/db"), [True, True])
        equal(flows(n, "--verdict", "forwarded"), [])
        seen = []
        follower = subprocess.Popen([zl.PROGRAM, "--socket", n.socket, "-o", "json", "observe", "-f", "--service", "shop/db"],
                                    stdout=subprocess.PIPE, text=True)
        reader = threading.Thread(target=lambda: seen.extend(json.loads(line) for line in follower.stdout), daemon=True)
        reader.start()
        try:
            def told():
                c.reach("shop/web", "shop/db")
                return [f for f in list(seen) if f["verdict"] == "forwarded" and ends(f) == ("shop/web", "shop/db")]
            one = wait_for(told, "a flow is told")[0]
            equal((one["way"], one["protocol"], one["destination"]["port"]), ("local", "tcp", 8080))
            c.reach("shop/lone", "shop/db")
            wait_for(lambda: [f for f in list(seen) if f.get("reason") == "isolated"], "a drop is told, too")
            check(all("shop/db" in ends(f) for f in list(seen)), seen)
        finally:
            follower.kill()
            follower.communicate()


def test_observed_from_another_node():
    """What one node drops is shown by any, by the node that saw it and by the one at the other end."""
    at = {"web": "one", "db": "two", "lone": "two"}
    with Cluster(2, encrypt=True) as cluster:
        for node, label in zip(cluster.nodes, ("one", "two")):
            node.import_image()
            cluster[0].cli("node", "label", node.label, f"at={label}")
        cluster[0].deploy(document("shop", {name: SHOP[name] for name in at}, selectors=at))
        c = Containers(*cluster.nodes)
        wait_for(lambda: c.reach("shop/web", "shop/db")[0], "web reaches db")
        equal(c.reach("shop/web", "shop/lone"), [False, False])

        def seen(asked, *args):
            return [f for f in flows(cluster[asked], "--verdict", "dropped", *args) if ends(f) == ("shop/web", "shop/lone")]
        for asked in (0, 1):
            one = wait_for(lambda asked=asked: seen(asked, "--node", "edge-1"), f"node {asked} shows it")[0]
            equal((one["node"], one["reason"], one["rule"], one["peer"], one["source"]["node"], one["destination"]["node"]),
                  ("edge-1", "isolated", "network.overlays", "edge-2", "edge-1", "edge-2"))
            equal(seen(asked, "--node", "edge-2"), [], "edge-2 has not seen it")
            # Either end's node is a peer; one that has nothing to do with it is not.
            check(seen(asked, "--peer", "edge-2") and seen(asked, "--peer", "edge-1"), "not by its peers")
            equal(seen(asked, "--peer", "edge-3"), [])
            check(seen(asked, "--node", "edge-1", "--peer", "edge-2", "--service", "shop/lone"), "not by all of it")
            line = cluster[asked].cli("observe", "--node", "edge-1", "--service", "lone").stdout
            check("edge-1" in line and "shop/web.1" in line and "isolated: " in line, line)
        told = cluster[0].cli("observe", "--node", "edge-9", status=None)
        check(told.returncode != 0 and "edge-9" in told.stderr, told)

        # Followed at a node that sees nothing of it itself.
        equal(flows(cluster[1], "--verdict", "forwarded", "--node", "edge-1"), [])
        rows = []
        follower = subprocess.Popen([zl.PROGRAM, "--socket", cluster[1].socket, "-o", "json", "observe", "-f", "--node", "edge-1"],
                                    stdout=subprocess.PIPE, text=True)
        reader = threading.Thread(target=lambda: rows.extend(json.loads(line) for line in follower.stdout), daemon=True)
        reader.start()
        try:
            def told_of():
                c.reach("shop/web", "shop/db")
                return [f for f in list(rows) if f["verdict"] == "forwarded" and ends(f) == ("shop/web", "shop/db")]
            one = wait_for(told_of, "a flow of the other node is told")[0]
            equal((one["node"], one["way"], one["peer"]), ("edge-1", "sealed", "edge-2"))
            check(all(f["node"] == "edge-1" for f in list(rows)), rows)
        finally:
            follower.kill()
            follower.communicate()


def says(address, text):
    """A request with this in its path; the answer's first line."""
    with socket.create_connection((address, 8080), timeout=20) as s:
        s.sendall(f"GET /{text} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        return s.makefile().readline()


def super_packets():
    """The most bytes that this container's link takes at once."""
    told = subprocess.run(["ip", "-d", "-j", "link", "show", "eth0"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return json.loads(told)[0]["gso_max_size"]


@contextlib.contextmanager
def captured(space):
    """What passes between nodes: a function that gives the bytes so far."""
    with tempfile.NamedTemporaryFile() as f:
        p = subprocess.Popen(["nsenter", f"--net=/proc/{space.pid}/ns/net", "--", "tcpdump", "-i", "under0", "-n", "-U", "-s", "0",
                              "-Z", "root", "-w", f.name, "udp"], stderr=subprocess.PIPE, text=True)
        try:
            line = p.stderr.readline()
            while "listening on" not in line:
                check(line, "tcpdump ended")
                line = p.stderr.readline()

            def sofar():
                with open(f.name, "rb") as again:
                    return again.read()
            yield sofar
        finally:
            p.terminate()
            p.communicate()


def test_in_the_clear_where_both_say_so():
    """Between nodes of a cluster that encrypts: sealed, but where the network of both ends says that it need not be."""
    open_ = {"service": {"encrypted": False}, "global": {"encrypted": False}}
    services = {"web": {}, "db": {}, "plain": open_, "other": open_}
    at = {"web": "one", "plain": "one", "db": "two", "other": "two"}
    with Cluster(2, encrypt=True) as cluster:
        for node, label in zip(cluster.nodes, ("one", "two")):
            node.import_image()
            cluster[0].cli("node", "label", node.label, f"at={label}")
        cluster[0].deploy(document("shop", services, selectors=at))
        c = Containers(*cluster.nodes)
        for a in ("web", "plain"):
            for b in ("db", "other"):
                wait_for(lambda a=a, b=b: c.reach(f"shop/{a}", f"shop/{b}")[0], f"{a} reaches {b}")

        # What is to be sealed is made no larger than one send takes, the rest as large as may be.
        equal(c.spaces["shop/plain"].call(super_packets), 65536)
        check(c.spaces["shop/web"].call(super_packets) < 65536, "what is sealed needs two sends")

        def speak(a, b):
            check("HTTP/1.1" in c.spaces[f"shop/{a}"].call(says, c.at[f"shop/{b}"][0], f"marker-{a}-{b}"), "no answer")
        with captured(cluster[0].space) as sofar:
            for a, b in (("web", "db"), ("web", "other"), ("plain", "db")):
                speak(a, b)
            speak("plain", "other")
            wait_for(lambda: b"marker-plain-other" in sofar(), "what need not be sealed is seen")
            for hidden in (b"marker-web-db", b"marker-web-other", b"marker-plain-db"):
                check(hidden not in sofar(), hidden, "is seen between the nodes")
        # The switch alone, while all runs.
        cluster[0].deploy(document("shop", {**services, "other": {}}, selectors=at))
        with captured(cluster[0].space) as sofar:
            wait_for(lambda: c.reach("shop/plain", "shop/other")[0], "they still reach each other")

            def sealed():
                before = len(sofar())
                speak("plain", "other")
                wait_for(lambda: len(sofar()) > before, "something passes")
                return b"marker-plain-other" not in sofar()[before:]
            wait_for(sealed, "it is sealed from now on")


if __name__ == "__main__":
    zl.main(globals())
