# SPDX-License-Identifier: Apache-2.0
"""Containers of others on a node's mesh: the CNI plugin, called as container engines call it (environment, JSON on
standard input), with network namespaces that `ip netns` makes (with real engines: test_cni_engines.py).

Topology:

    namespace "g1" (an engine's container)        fabric of the node         container of a replica
      eth0 10.200.x.2/32  ------------ v<id> ------ routes, tc_veth ------ v<id> ---- eth0 10.200.x.3/32
"""

import concurrent.futures
import contextlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import tempfile

import zl
from cluster import Cluster
from test_cycles import fabric_links, footprint
from test_dns import RESOLVER, Upstream
from test_mesh import meshed
from zl import Node, Space, check, equal, service, wait_for

VERSIONS = ["0.4.0", "1.0.0", "1.1.0"]
CYCLES = 100
SERVES = """
import http.server, socket
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6  # and IPv4 with it
Server(("::", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


class Guest:
    """A container as far as a network knows: a namespace with a path."""

    count = 0

    def __init__(self):
        Guest.count += 1
        self.name = f"zl-cni-{os.getpid()}-{Guest.count}"
        self.id = f"c{Guest.count:04d}" + "ab" * 30
        self.path = f"/run/netns/{self.name}"
        self.there = False
        self.make()

    def make(self):
        zl.run("ip", "netns", "add", self.name)
        self.there = True

    def remove(self):
        if self.there:
            zl.run("ip", "netns", "del", self.name)
            self.there = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def run(self, *command, **options):
        return zl.run("ip", "netns", "exec", self.name, *command, **options)

    def ip(self, *args):
        return [x for x in json.loads(self.run("ip", "-j", *args).stdout or "[]") if x]

    def curl(self, url):
        return self.run("curl", "-gsS", "--max-time", "10", url, check=False).stdout

    def ask(self, name, server, kind="a"):
        return self.run("busybox", "nslookup", f"-type={kind}", name, server, check=False).stdout

    @contextlib.contextmanager
    def serving(self, folder):
        with subprocess.Popen(["ip", "netns", "exec", self.name, "/usr/bin/python3", "-c", SERVES], cwd=folder,
                              stderr=subprocess.DEVNULL) as p:
            try:
                yield
            finally:
                p.kill()


class Plugin:
    def __init__(self, node, network="mesh", version="1.1.0", **conf):
        self.folder = tempfile.mkdtemp(prefix="zlayer-cni-")
        self.program = os.path.join(self.folder, "zlayer-cni")
        os.symlink(zl.PROGRAM, self.program)  # as it is installed
        self.conf = {"cniVersion": version, "name": network, "type": "zlayer-cni", "instance": node.name, **conf}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def raw(self, environment, text):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CNI_")}
        r = subprocess.run([self.program], input=text, capture_output=True, text=True, timeout=120,
                           env={**clean, "CNI_PATH": self.folder, **environment})
        return r.returncode, json.loads(r.stdout) if r.stdout else None

    def call(self, verb, guest=None, interface="eth0", code=0, netns=None, args=None, **more):
        """The answer; code: of the error that is to come."""
        environment = {"CNI_COMMAND": verb}
        if guest:
            environment.update(CNI_CONTAINERID=guest.id, CNI_IFNAME=interface,
                               CNI_NETNS=guest.path if netns is None else netns)
        if args:
            environment["CNI_ARGS"] = args
        status, answer = self.raw(environment, json.dumps({**self.conf, **more}))
        if code:
            equal((status, answer and answer.get("code")), (1, code), f"{verb}: {answer}")
            check(answer["msg"], answer)
        else:
            equal(status, 0, f"{verb}: {answer}")
        return answer


def address(result, version=4):
    return next(i["address"].split("/")[0] for i in result["ips"] if (":" in i["address"]) == (version == 6))


def attached(node):
    return {(a["network"], a["container"], a["interface"]): a for a in node.get("/v1/attachments")["items"]}


def reached(guest, url, text="health"):
    wait_for(lambda: text in guest.curl(url), f"{url} is reached: {guest.curl(url)!r}")


def replica_of(node):
    return next(r for r in node.cli_json("ps")["items"])


# ---- the protocol


def test_versions_and_errors():
    with Node() as node, Plugin(node) as p, Guest() as g:
        for version in VERSIONS:
            _, answer = p.raw({"CNI_COMMAND": "VERSION"}, json.dumps({"cniVersion": version}))
            equal(answer, {"cniVersion": version, "supportedVersions": VERSIONS})
        equal(p.raw({"CNI_COMMAND": "VERSION"}, "")[1]["supportedVersions"], VERSIONS)
        p.call("STATUS")

        good = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": g.id, "CNI_NETNS": g.path, "CNI_IFNAME": "eth0"}
        for change, code in [({"CNI_COMMAND": ""}, 4), ({"CNI_COMMAND": "add"}, 4), ({"CNI_CONTAINERID": ""}, 4),
                             ({"CNI_CONTAINERID": "../x"}, 4), ({"CNI_CONTAINERID": "x" * 128}, 4), ({"CNI_NETNS": ""}, 4),
                             ({"CNI_NETNS": "relative"}, 4), ({"CNI_IFNAME": "a/b"}, 4), ({"CNI_IFNAME": "x" * 16}, 4),
                             ({"CNI_ARGS": "novalue"}, 4), ({"CNI_ARGS": "ZLAYER_NAME=Not_A_Label"}, 4),
                             ({"CNI_NETNS": "/run/netns/none-such"}, 3), ({"CNI_NETNS": "/etc/passwd"}, 7),
                             ({"CNI_NETNS": "/dev/zero"}, 7), ({"CNI_NETNS": f"/proc/{node.process.pid}/ns/net"}, 7),
                             ({"CNI_NETNS": "/proc/self/ns/mnt"}, 7),
                             ({"CNI_NETNS": f"{node.run_folder}/netns/fabric"}, 7)]:
            status, answer = p.raw({**good, **change}, json.dumps(p.conf))
            equal((status, answer["code"]), (1, code), f"{change}: {answer}")
        for text, code in [("", 6), ("{", 6), ("[]", 6), ('{"cniVersion":1}', 1), ("[" * 3000, 6),
                           (json.dumps({**p.conf, "cniVersion": "0.2.0"}), 1),
                           (json.dumps({**p.conf, "name": ""}), 7), (json.dumps({**p.conf, "name": "a b"}), 4),
                           (json.dumps({**p.conf, "ipam": {"type": "host-local"}}), 2),
                           (json.dumps({**p.conf, "runtimeConfig": {"ips": ["10.0.0.1/8"]}}), 2),
                           (json.dumps({**p.conf, "names": "yes"}), 7),
                           (json.dumps({**p.conf, "socket": "/x"}), 7),  # beside "instance"
                           (json.dumps({**p.conf, "instance": "A"}), 7),
                           (json.dumps({**p.conf, "prevResult": {"ips": []}}), 7),
                           (json.dumps({**p.conf, "instance": "nobody"}), 11),
                           (json.dumps({**p.conf, "args": {"x": "y" * (1 << 20)}}), 5)]:
            status, answer = p.raw(good, text)
            equal((status, answer["code"]), (1, code), f"{text[:200]}: {answer}")
            check(answer["msg"] and answer["cniVersion"] in VERSIONS, answer)
        p.call("GC", code=7)
        p.call("GC", code=1, cniVersion="1.0.0", **{"cni.dev/valid-attachments": []})
        p.call("STATUS", code=1, cniVersion="0.4.0")
        p.call("STATUS", code=50, instance="nobody")
        p.call("CHECK", g, code=7)  # without what it is to be compared with
        equal(attached(node), {}, "nothing of all this is attached")
        equal(fabric_links(node), ["lo"])
        equal(g.ip("link", "show", "up"), [], "the namespace is as it was")


# ---- one container


def look_inside(guest, result):
    device = guest.ip("address", "show", "eth0")[0]
    equal(sorted(f"{a['local']}/{a['prefixlen']}" for a in device["addr_info"] if a["scope"] == "global"),
          sorted(i["address"] for i in result["ips"]))
    mine = next(i for i in result["interfaces"] if i["name"] == "eth0")
    equal((mine["sandbox"], mine["mac"]), (guest.path, device["address"]))
    for family in ("-4", "-6"):
        route = guest.ip(family, "route", "show", "default")[0]
        gateway = next(r["gw"] for r in result["routes"] if (":" in r["dst"]) == (family == "-6"))
        equal((route["gateway"], route["dev"]), (gateway, "eth0"))
    return device


def a_life(node, version):
    with Plugin(node, version=version) as p, Guest() as g:
        result = p.call("ADD", g, args="IgnoreUnknown=1;K8S_POD_NAME=guest")
        equal(result["cniVersion"], version)
        equal([i.get("version") for i in result["ips"]], ["4", "6"] if version == "0.4.0" else [None, None])
        device = look_inside(g, result)
        equal([i.get("mtu") for i in result["interfaces"] if i["name"] == "eth0"],
              [device["mtu"] if version == "1.1.0" else None])
        row = attached(node)["mesh", g.id, "eth0"]
        equal((row["netns"], row["name"], row["addr4"]), (g.path, "guest", address(result)))
        server = result["dns"]["nameservers"][0]

        # A replica and the container reach each other, by both families.
        r = replica_of(node)["container"]
        reached(g, f"http://{r['address']}:8080/health")
        wait_for(lambda: r["address"] in g.ask("web.shop.zlayer.internal", server), "the replica's name")
        wait_for(lambda: address(result) in g.ask("guest.mesh.cni.zlayer.internal", server), "its own name")
        with open(os.path.join(p.folder, "it"), "w") as f:
            f.write("a guest's file")
        with g.serving(p.folder):
            inside = Space(r["pid"])
            for host in (address(result), f"[{address(result, 6)}]"):
                wait_for(lambda: inside.run("curl", "-gsS", "--max-time", "10", f"http://{host}:8000/it",  # noqa: B023
                                            check=False).stdout == "a guest's file", f"the guest is reached at {host}")

        p.call("CHECK", g, prevResult=result)
        p.call("CHECK", g, code=101, prevResult={**result, "ips": []})
        p.call("CHECK", g, code=101, prevResult={**result, "interfaces": []})
        p.call("ADD", g, code=101)  # twice
        p.call("ADD", g, interface="eth1", code=101)  # it has a default route
        equal(len(attached(node)), 1)
        look_inside(g, result)
        p.call("DEL", g, prevResult=result)
        equal(attached(node), {})
        equal([d["ifname"] for d in g.ip("link")], ["lo"])
        p.call("DEL", g)  # twice
        p.call("CHECK", g, code=3, prevResult=result)
        p.call("DEL", g, netns="")
        again = p.call("ADD", g)
        check(address(again) != address(result), "an address rests before somebody else has it")
        equal(attached(node)["mesh", g.id, "eth0"]["name"], None)
        p.call("DEL", g)


@contextlib.contextmanager
def resolver():
    """A resolver of the machine that knows the world, for nodes that are started meanwhile."""
    upstream = Upstream()
    with tempfile.NamedTemporaryFile("w") as f:
        f.write(f"nameserver {RESOLVER}\n")
        f.flush()
        zl.run("mount", "--bind", f.name, "/etc/resolv.conf")
        try:
            yield upstream
        finally:
            zl.run("umount", "/etc/resolv.conf")


def test_names_of_the_world():
    """Containers of others are sent on for, with a name of their own and without, also when runtime begins anew."""
    with resolver() as upstream, Node() as node, Plugin(node) as p, Guest() as named, Guest() as nameless:
        result = p.call("ADD", named, args="ZLAYER_NAME=guest")
        server = result["dns"]["nameservers"][0]
        p.call("ADD", nameless)
        for i, g in enumerate((named, nameless)):
            wait_for(lambda: "192.0.2.7" in g.ask(f"g{i}.up.test", server), "a name of the world")  # noqa: B023
        check({"g0.up.test", "g1.up.test"} <= {name for name, *_ in upstream.seen}, upstream.seen)
        old = node.kill("runtime")
        wait_for(lambda: old not in node.processes().values() and node.ready(), "a new runtime")
        wait_for(lambda: "192.0.2.7" in named.ask("again.up.test", server), "a name after the death of runtime")
        wait_for(lambda: address(result) in nameless.ask("guest.mesh.cni.zlayer.internal", server), "its own name")


def test_names_of_the_isolated():
    """A deployment that keeps others out has no names for a container of others, and finds none of it."""
    shut = service(deployment="alone", host="alone.test", extra="    network: { overlays: { global: { isolated: true } } }")
    with Node() as node, Plugin(node) as p, Guest() as g:
        node.import_image()
        node.deploy(service())
        node.deploy(shut)
        result = p.call("ADD", g, args="ZLAYER_NAME=guest")
        server = result["dns"]["nameservers"][0]
        replicas = {r["name"]: r["container"] for r in node.cli_json("ps")["items"]}
        shop, alone = (Space(replicas[f"{d}/web.1"]["pid"]) for d in ("shop", "alone"))

        def asked(space, name):
            return space.run("busybox", "nslookup", "-type=a", name, server, check=False).stdout

        own = "guest.mesh.cni.zlayer.internal"
        wait_for(lambda: address(result) in asked(shop, own), "its name for who may reach it")
        wait_for(lambda: replicas["shop/web.1"]["address"] in g.ask("web.shop.zlayer.internal", server), "a name")
        wait_for(lambda: replicas["alone/web.1"]["address"] in asked(alone, "web.alone.zlayer.internal"), "its own name")
        for text in (asked(alone, own), g.ask("web.alone.zlayer.internal", server), g.ask("alone.zlayer.internal", server),
                     asked(shop, "alone.zlayer.internal"), asked(shop, "web.alone.zlayer.internal")):
            check("NXDOMAIN" in text, text)


def test_a_life():
    with Node() as node:
        node.import_image()
        node.deploy(service())
        for version in VERSIONS:
            a_life(node, version)


def fabric_end(node):
    """The only link of a guest, as the fabric sees it; None before it is there."""
    shown = json.loads(zl.run("nsenter", f"--net={node.run_folder}/netns/fabric", "ip", "-j", "-s", "link", "show").stdout)
    mine = [x for x in shown if x["ifname"].startswith("v") and x["ifname"] != "vxlan"]
    return mine[0] if mine else None


def test_nothing_passes_unjudged():
    """A program that is in the namespace already speaks as soon as there is a link: into the void, until it is judged."""
    with Node() as node, Plugin(node) as p, Guest() as g, concurrent.futures.ThreadPoolExecutor() as pool:
        dataplane = node.processes()["dataplane", 0]
        os.kill(dataplane, signal.SIGSTOP)
        try:
            adding = pool.submit(p.call, "ADD", g)
            wait_for(lambda: any(d["ifname"] == "eth0" and any(a["family"] == "inet6" and a["scope"] == "global"
                                                               for a in d["addr_info"]) for d in g.ip("address", "show")),
                     "the namespace has its addresses")
            for target in ("169.254.1.1", "10.200.255.1"):
                check(g.run("ping", "-c", "2", "-i", "0.2", "-W", "1", target, check=False).returncode != 0, "somebody answers")
            end = fabric_end(node)
            equal(("UP" in end["flags"], end["stats64"]["rx"]["packets"]), (False, 0), "the fabric's end")
            check(not adding.done(), "it is answered with before it is judged")
        finally:
            os.kill(dataplane, signal.SIGCONT)
        result = adding.result()
        check("UP" in fabric_end(node)["flags"], "the fabric's end is down")
        with Guest() as other:
            reply = p.call("ADD", other)
            with other.serving(p.folder):
                reached(g, f"http://{address(reply)}:8000/", "zlayer-cni")
            p.call("DEL", other)
        p.call("CHECK", g, prevResult=result)
        p.call("DEL", g)


def test_cut_off_while_nobody_judges():
    """A dataplane that comes and cannot put its program on the link: it carries nothing until there is one that can."""
    with Node() as node, Plugin(node) as p, Guest() as g:
        result = p.call("ADD", g)
        pin = f"/sys/fs/bpf/zlayer/{node.name}/1/veth-{attached(node)['mesh', g.id, 'eth0']['id']}"
        if not os.path.exists(pin):
            raise zl.Skip("this kernel has no tcx, whose links are pinned")
        os.unlink(pin)
        os.mkdir(pin)
        node.kill("dataplane")
        wait_for(lambda: "UP" not in fabric_end(node)["flags"], "it is cut off")
        p.call("CHECK", g, code=101, prevResult=result)
        os.rmdir(pin)
        wait_for(lambda: "UP" in fabric_end(node)["flags"], "it is connected again")
        p.call("CHECK", g, prevResult=result)
        with Guest() as other:
            reply = p.call("ADD", other)
            with other.serving(p.folder):
                reached(g, f"http://{address(reply)}:8000/", "zlayer-cni")
            p.call("DEL", other)
        p.call("DEL", g)


def test_check_finds_what_is_missing():
    with Node() as node, Plugin(node) as p:
        for harm in (["ip", "address", "flush", "dev", "eth0", "scope", "global"], ["ip", "link", "set", "eth0", "down"],
                     ["ip", "route", "del", "default"], ["ip", "-6", "route", "del", "default"],
                     ["ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"]):
            with Guest() as g:
                result = p.call("ADD", g)
                p.call("CHECK", g, prevResult=result)
                g.run(*harm)
                p.call("CHECK", g, code=101, prevResult=result)
                p.call("DEL", g)
        with Guest() as g:
            result = p.call("ADD", g)
            fabric = f"--net={node.run_folder}/netns/fabric"
            zl.run("nsenter", fabric, "ip", "route", "del", address(result))
            p.call("CHECK", g, code=101, prevResult=result)
            with Guest() as other:
                p.call("CHECK", g, code=101, prevResult=result, netns=other.path)


# ---- many


def test_at_once():
    with Node() as node, Plugin(node) as p, contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Guest()) for _ in range(16)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda g: p.call("ADD", g), guests))
            equal(len({address(r) for r in results}), 16)
            equal(len({address(r, 6) for r in results}), 16)
            equal(len(attached(node)), 16)
            # They reach each other.
            for g, other in zip(guests, guests[1:]):
                with other.serving(p.folder):
                    reached(g, f"http://{address(results[guests.index(other)])}:8000/", "zlayer-cni")
            list(pool.map(lambda g: p.call("DEL", g), guests))
        equal(attached(node), {})
        # One key, many at a time: one of them has it.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tries = list(pool.map(lambda _: p.raw({"CNI_COMMAND": "ADD", "CNI_CONTAINERID": guests[0].id, "CNI_IFNAME": "eth0",
                                                   "CNI_NETNS": guests[0].path}, json.dumps(p.conf)), range(8)))
        equal(sorted(status for status, _ in tries), [0] + 7 * [1])
        equal({answer["code"] for status, answer in tries if status}, {101})


def test_garbage():
    with Node() as node, Plugin(node) as p, Plugin(node, network="other") as q, contextlib.ExitStack() as stack:
        a, b, c, d = (stack.enter_context(Guest()) for _ in range(4))
        for g in (a, b, c):
            p.call("ADD", g)
        q.call("ADD", d)
        p.call("GC", **{"cni.dev/valid-attachments": [{"containerID": a.id, "ifname": "eth0"},
                                                      {"containerID": b.id, "ifname": "eth1"}]})
        equal(set(attached(node)), {("mesh", a.id, "eth0"), ("other", d.id, "eth0")})
        equal([link["ifname"] for link in b.ip("link")], ["lo"])
        p.call("GC", **{"cni.dev/valid-attachments": []})
        equal(set(attached(node)), {("other", d.id, "eth0")})
        equal([x["network"] for x in node.get("/v1/attachments?network=other")["items"]], ["other"])
        equal(node.get("/v1/attachments?network=mesh")["items"], [])


def test_on_two_nodes():
    with Cluster(2) as c, Plugin(c[0]) as p, Plugin(c[1]) as q, Guest() as a, Guest() as b:
        wait_for(lambda: meshed(c.nodes), "everybody knows where everybody's containers are")
        near, far = p.call("ADD", a, args="ZLAYER_NAME=near"), q.call("ADD", b, args="ZLAYER_NAME=far")
        for guest, result, name, other in ((a, near, "far", far), (b, far, "near", near)):
            server = result["dns"]["nameservers"][0]
            whole = f"{name}.mesh.cni.zlayer.internal"
            wait_for(lambda: address(other) in guest.ask(whole, server), f"{whole} on the other node")  # noqa: B023
            for ip in (address(other), address(other, 6)):
                pointer = ipaddress.ip_address(ip).reverse_pointer
                wait_for(lambda: whole in guest.ask(pointer, server, "ptr"), f"whose {ip} is")  # noqa: B023
        for guest, host in ((a, address(far)), (b, address(near))):
            other = b if guest is a else a
            with other.serving(p.folder):
                reached(guest, f"http://{host}:8000/", "zlayer-cni")
        p.call("DEL", a)
        server = far["dns"]["nameservers"][0]
        wait_for(lambda: "NXDOMAIN" in b.ask("near.mesh.cni.zlayer.internal", server), "its name has gone with it")
        q.call("DEL", b)


# ---- what dies


def whole(p, g, result, when):
    """Soon: a node that is up may still be told to try again, while its data path is loaded."""
    def checked():
        return p.raw({"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": g.id, "CNI_NETNS": g.path, "CNI_IFNAME": "eth0"},
                     json.dumps({**p.conf, "prevResult": result}))
    wait_for(lambda: checked()[0] == 0, lambda: f"it is whole {when}: {checked()}")


def test_it_stays():
    with Node() as node, Plugin(node) as p, Guest() as g, Guest() as gone, Guest() as also_gone:
        node.import_image()
        node.deploy(service())
        result, other = p.call("ADD", g), p.call("ADD", gone)
        p.call("ADD", also_gone)
        url = f"http://{replica_of(node)['container']['address']}:8080/health"
        reached(g, url)
        rows = attached(node)

        for role in ("runtime", "dataplane", "api"):
            old = node.kill(role)
            wait_for(lambda: old not in node.processes().values() and node.ready(), f"a new {role}")  # noqa: B023
            wait_for(lambda: attached(node) == rows, "they are told again")
            reached(g, url)
            whole(p, g, result, f"after the death of {role}")

        # The node is killed; two containers end meanwhile, and their engine says so to nobody.
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        wait_for(lambda: p.raw({"CNI_COMMAND": "STATUS"}, json.dumps(p.conf))[1]["code"] == 50, "it is down")
        p.call("DEL", gone, code=11, prevResult=other)
        gone.remove()
        also_gone.remove()
        p.call("DEL", gone, prevResult=other)
        reached(g, url)  # packets do not need the node
        node.start()
        wait_for(lambda: set(attached(node)) == {("mesh", g.id, "eth0")}, lambda: f"the others are swept: {attached(node)}")
        equal(attached(node)["mesh", g.id, "eth0"], rows["mesh", g.id, "eth0"])
        reached(g, url)
        whole(p, g, result, "after the death of the node")

        # Stopped and started, as by a system's manager.
        node.stop()
        node.start()
        equal(attached(node)["mesh", g.id, "eth0"], rows["mesh", g.id, "eth0"])
        whole(p, g, result, "after a stop")
        p.call("DEL", g)
        equal(attached(node), {})


def test_a_namespace_that_goes():
    with Node() as node, Plugin(node) as p, Guest() as g:
        p.call("ADD", g)
        links = len(fabric_links(node))
        g.remove()
        wait_for(lambda: attached(node) == {}, "it is swept")
        equal(len(fabric_links(node)), links - 1)
        p.call("DEL", g)
        g.make()
        p.call("ADD", g)
        p.call("DEL", g)


def test_cycles():
    with Node() as node, Plugin(node) as p, Guest() as stays, Guest() as g:
        p.call("ADD", stays)

        def cycle():
            p.call("ADD", g)
            p.call("DEL", g)

        def addresses():
            with open(os.path.join(node.data, "containers", "addresses")) as f:
                return sum(line.endswith(" 0\n") for line in f)  # in use

        def routes():
            """Without those that refuse what is for other nodes: they come by themselves."""
            lines = zl.run("nsenter", f"--net={node.run_folder}/netns/fabric", "ip", "route").stdout.split("\n")
            return sorted(x for x in lines if x and not x.startswith("unreachable "))

        def state():
            return {"links": fabric_links(node), "rows": len(attached(node)), "addresses": addresses(),
                    "routes": routes(),
                    "pins": sorted(os.path.basename(f) for f in node.traces()["pins"]), "bpf": node.bpf()}
        for _ in range(5):
            cycle()
        before, memory = state(), footprint(node)
        for _ in range(CYCLES):
            cycle()
        wait_for(lambda: state() == before, lambda: f"all is as before: {before}, {state()}")
        for who, (fds, kib) in footprint(node).items():
            check(fds - memory[who][0] < CYCLES / 2, who, "descriptors", memory[who][0], fds)
            check(kib - memory[who][1] < 6144, who, "KiB", memory[who][1], kib)


if __name__ == "__main__":
    zl.main(globals())
