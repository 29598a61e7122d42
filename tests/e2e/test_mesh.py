# SPDX-License-Identifier: Apache-2.0
"""The nodes of a cluster learn where each other's containers are, and no two have the same addresses."""

import contextlib
import json
import os
import signal
import socket
import time

import test_load
import test_overlay
import test_placing
import test_uplink
import zl
from cluster import Cluster, config
from zl import Space, check, equal, service, wait_for


def overlay(node):
    return node.cli_json("status")["overlay"]


def known(node):
    """name -> (prefix, address) of each node that this one sends packets to."""
    return {p["name"]: (p["prefix4"], p["address"]) for p in overlay(node)["peers"] if p["way"]}


def own(node):
    return wait_for(lambda: overlay(node), f"{node.label} has addresses")["prefix4"]


def meshed(nodes):
    for a in nodes:
        want = {b.label: (own(b), b.address) for b in nodes if b is not a}
        if known(a) != want or overlay(a)["state"] != "vxlan":
            return False
    return True


def answers(address):
    """A refusal is an answer, too."""
    try:
        socket.create_connection((address, 9), timeout=2).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def pings(a, b):
    """From the fabric of a to the address that b has among its containers."""
    pid = a.processes()["overlay", 0]
    return Space(pid).call(answers, own(b).replace(".0/24", ".1"))


def test_nodes_find_each_other():
    with Cluster(3) as c:
        wait_for(lambda: meshed(c.nodes), "everybody knows where everybody's containers are")
        for a in c.nodes:
            for b in c.nodes:
                wait_for(lambda: a is b or pings(a, b), f"{a.label} reaches {b.label}")
        # Who restarts is found again, with the same addresses.
        before = own(c[2])
        c.kill(c[2])
        equal(set(known(c[0])), {"edge-2", "edge-3"}, "a dead node keeps its addresses")
        c.start(c[2])
        equal(own(c[2]), before)
        wait_for(lambda: pings(c[0], c[2]) and pings(c[2], c[1]), "edge-3 is reached again")
        # Who leaves is forgotten by all.
        c[2].cli("leave")
        wait_for(lambda: set(known(c[0])) == {"edge-2"} and set(known(c[1])) == {"edge-1"}, "edge-3 is forgotten")
        wait_for(lambda: not known(c[2]), "edge-3 has forgotten the others")


def test_same_addresses():
    with Cluster(3, join=False) as c:
        def file(node):
            return os.path.join(node.data, "overlay", "prefix")
        for node in c.nodes:
            node.stop()
        with open(file(c[0])) as f:
            first = f.read().splitlines()[0]
        for node in c.nodes[1:]:
            with open(file(node)) as f:
                second = f.read().splitlines()[1]
            with open(file(node), "w") as f:
                f.write(f"{first}\n{second}\n")
        for node in c.nodes:
            node.start()
        equal(len({own(node) for node in c.nodes}), 1, "prefixes before they meet")
        kept = own(c[0])
        c.join(*c.nodes[1:])
        c.wait_all_ready()
        wait_for(lambda: len({own(node) for node in c.nodes}) == 3, "each has addresses of its own")
        equal(own(c[0]), kept, "the first one keeps its own")
        wait_for(lambda: meshed(c.nodes), "everybody knows where everybody's containers are")
        wait_for(lambda: pings(c[1], c[2]) and pings(c[2], c[0]), "they reach each other")


def test_same_addresses_by_hand():
    """What node.yaml says is not changed: it is said that it does not go together."""
    by_hand = 'overlay: { prefix4: 10.201.7.0/24 }\n'
    with Cluster(2, extra=by_hand) as c:
        def trouble():
            return (c[1].cluster()["trouble"] or {}).get("what", "")
        wait_for(lambda: "edge-1 gives its containers the addresses of this node's" in trouble(), "the second one says so")
        check("overlay.prefix4" in c[1].cli("status").stdout, c[1].cli("status").stdout)
        # The way is chosen when the node knows whether it can seal.
        wait_for(lambda: known(c[1]).get("edge-1", ("", ""))[0] == "10.201.7.0/24", "the first one is sent to")
        equal(known(c[0]), {}, "nothing is sent to the second one")


def reload(node, network, by_hand=""):
    node.write_config(config(node.number, extra=f"overlay: {{ network: {network}{by_hand} }}\n"))
    node.process.send_signal(signal.SIGHUP)


def test_more_nodes_than_prefixes():
    """A network of two: the third one says that there is none left, and what to do is enough, without a start."""
    with Cluster(3, extra="overlay: { network: 10.201.4.0/22 }\n") as c:
        one_too_many = c[2]

        def trouble():
            return c[2].cluster()["trouble"] or {}
        wait_for(lambda: "no addresses left" in trouble().get("what", ""), lambda: f"it is said: {trouble()}")
        check("10.201.4.0/22" in trouble()["what"] and "2 prefixes" in trouble()["why"][0], trouble())
        check("overlay.network" in trouble()["fix"] and trouble()["fix"] in one_too_many.cli("status").stdout, trouble())
        equal({own(n) for n in c.nodes}, {"10.201.5.0/24", "10.201.6.0/24"}, "what there is")
        wait_for(lambda: set(known(c[0])) == {"edge-2"} and set(known(c[1])) == {"edge-1"}, "the first two reach each other")
        before = own(c[0]), own(c[1])
        routes = [Space(n.processes()["probe", 0]) for n in c.nodes]
        wait_for(lambda: all("10.201.4.0/22" in r.run("ip", "route", "show", "type", "unreachable").stdout for r in routes),
                 "all of it stays inside")
        # One after the other: nodes with and without the wider one go together.
        for node in reversed(c.nodes):
            reload(node, "10.201.0.0/16")
            wait_for(lambda: meshed(c.nodes), "each has addresses of its own")
        equal((own(c[0]), own(c[1])), before, "who had some keeps them")
        check(own(one_too_many).startswith("10.201.") and own(one_too_many) not in before, own(one_too_many))
        equal(c[2].cluster()["trouble"], None)
        wait_for(lambda: pings(c[2], c[0]) and pings(c[1], c[2]), "they reach each other")
        wait_for(lambda: all("10.201.0.0/16" in r.run("ip", "route", "show", "type", "unreachable").stdout for r in routes),
                 "and all of the wider one")


def test_another_network():
    """Addresses that containers have are not changed while a node runs: one that starts takes some of the network."""
    with Cluster(2) as c:
        wait_for(lambda: meshed(c.nodes), "they are known to each other")
        before, node = own(c[1]), c[1]
        reload(node, "10.64.0.0/10")

        def refused():
            said = node.tail(20)
            return "overlay.network: the addresses of containers are not changed" in said and before in said
        wait_for(refused, lambda: f"it is refused: {node.tail(20)}")
        equal(own(node), before)
        node.stop()
        node.start()
        wait_for(lambda: own(node) != before and meshed(c.nodes), "it has others, and they are known")
        check(10 * 256 + 64 <= int(own(node).split(".")[0]) * 256 + int(own(node).split(".")[1]) < 10 * 256 + 128, own(node))
        wait_for(lambda: pings(c[0], node) and pings(node, c[0]), "nodes of two networks reach each other")


def test_not_without_leave():
    """Nothing leaves a node in the clear where node.yaml does not accept that."""
    with Cluster(2, encrypt=True, sealed=False) as c:
        trouble = wait_for(lambda: c[1].cluster()["trouble"], "it is said")
        check("no sealed way" in trouble["what"] and "listen.overlay" in trouble["fix"], trouble)
        equal(known(c[0]), {})
        equal(overlay(c[1])["state"], "off")
        # Where the other one's containers are is known all the same: what is for them stays inside.
        there = wait_for(lambda: [p for p in overlay(c[0])["peers"] if p["name"] == "edge-2"], "it is told of")[0]
        equal((there["way"], there["prefix4"], there["prefix6"]), (None, own(c[1]), overlay(c[1])["prefix6"]))
        told = c[0].cli("explain", "edge-2", status=None).stdout
        check("its containers are not reached from here" in told, told)
        c[0].import_image()
        c[0].cli("node", "label", c[0].label, "at=one")
        c[0].deploy("version: v1\ndeployment: shop\nservices:\n  web:\n    image: { name: \"test:1\" }\n"
                    "    scale: { mode: fixed, replicas: 1 }\n    node: { selector: { labels: { at: one } } }\n")
        container = Space(c[0].cli_json("ps")["items"][0]["container"]["pid"])
        for prefix in (there["prefix4"], there["prefix6"]):
            node = prefix.replace(".0/24", ".1").replace("::/64", "::1")
            check(not container.call(answers, node), f"{node} answers")
            flow = wait_for(lambda to=node: [f for f in c[0].cli_json("observe", "--last", "1000", "--peer", "edge-2")["items"]
                                             if f["destination"]["address"] == to], f"the drop of what is for {node}")[0]
            equal((flow["verdict"], flow["reason"], flow["peer"]), ("dropped", "no_way", "edge-2"))
            family = "-6" if ":" in prefix else "-4"
            fabric = ["nsenter", f"--net={c[0].run_folder}/netns/fabric", "--", "ip", family, "route", "show", "type", "unreachable"]
            wait_for(lambda of=prefix, how=fabric: of in zl.run(*how).stdout, f"the fabric refuses {prefix}")


def speak(ready, address, path):
    """A datagram each 5 ms, and each is to be answered; what became of them stands in the file."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((address, test_uplink.PORT))
        s.setblocking(False)
        ready()
        sent, answered, all_before, heard, longest = 0, set(), 0, time.monotonic(), 0.0
        while True:
            with contextlib.suppress(OSError):
                s.send(b"%d" % sent)
                sent += 1
            with contextlib.suppress(OSError):
                while data := s.recv(100):
                    answered.add(int(data.split()[-1]))
                    longest, heard = max(longest, time.monotonic() - heard), time.monotonic()
            while all_before in answered:
                all_before += 1
            if sent % 20 == 0:
                with open(path + ".new", "w") as f:
                    json.dump([sent, all_before, longest], f)
                os.rename(path + ".new", path)
            time.sleep(0.005)


def spoken(path):
    """(how many were sent, the first that is not answered, longest time between two answers)"""
    with open(path) as f:
        return json.load(f)


def counted(node, name, **labels):
    return test_overlay.metric(node, f"zlayer_dataplane_{name}_total", **labels)


def kept_back(node):
    return {why: counted(node, "drops", reason=why) for why in ("no_way", "tunnel", "unknown", "destination")}


def test_upgrades_keep_the_ways():
    """The kernel's way between nodes stays as it is while all processes are replaced, and no packet of it is dropped."""
    with Cluster(2) as c:
        wait_for(lambda: meshed(c.nodes), "everybody knows where everybody's containers are")
        test_placing.images(c)
        c[0].deploy(service(replicas=2))
        test_placing.ready(c[0], 2, {"edge-1", "edge-2"})
        one, two = (Space(next(r["container"]["pid"] for r in n.cli_json("ps")["items"] if r["container"])) for n in c.nodes)
        address = test_overlay.addresses(two)[0]
        two.serve(test_uplink.serve)
        wait_for(lambda: one.call(test_uplink.can_connect, address), "the first packet gets through")
        path = os.path.join(c.nodes[0].folder, "spoken")
        one.serve(speak, address, path)
        wait_for(lambda: os.path.exists(path), "they speak")
        before = [kept_back(n) for n in c.nodes]
        for n in c.nodes:
            generation = test_load.generation(n)
            n.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: test_load.upgraded(n, generation), "every process was replaced")
            wait_for(lambda: one.call(test_uplink.can_connect, address), "containers reach each other")
            check("sealed traffic is not as it should be" not in open(n.log).read(), "sealed traffic stood still:", n.tail())
        sent, _, longest = spoken(path)
        print(f"# {sent} datagrams while both were upgraded; at most {longest * 1000:.0f} ms between two answers")
        wait_for(lambda: spoken(path)[1] >= sent, lambda: f"none of {sent} is lost: {spoken(path)}")
        for n in c.nodes:  # counters are looked at every few seconds
            passed = counted(n, "packets")
            wait_for(lambda: counted(n, "packets") > passed, "packets are counted")
        equal([kept_back(n) for n in c.nodes], before, "packets between containers that were dropped")


if __name__ == "__main__":
    zl.main(globals())
