# SPDX-License-Identifier: Apache-2.0
"""An interface that carries an XDP program of somebody else (bpf/count.bpf.c)."""

import contextlib
import json
import os
import shutil
import signal
import sys

from test_l4 import Client, a_world, answers, config, datapath, document, redirected, xdp_of
from zl import Node, check, equal, main, run, wait_for

OBJECT = os.path.join(os.path.abspath(sys.argv[1]), "tests", "e2e", "count.bpf.o")


def own_bpffs():
    """libxdp's folder of pins is the same for everybody on a machine: not so here."""
    run("mount", "-t", "bpf", "-o", "nosuid,nodev,noexec,mode=0755", "bpf", "/sys/fs/bpf")


def others_count():
    return json.loads(run("bpftool", "-j", "map", "dump", "name", "others_packets").stdout)[0]["formatted"]["value"]


def on_pub0():
    """Names and numbers of the programs under the dispatcher of pub0."""
    rows = [line.split() for line in run("xdp-loader", "status", "pub0").stdout.splitlines()]
    return {row[2]: int(row[3]) for row in rows if row and row[0] == "=>"}


@contextlib.contextmanager
def shared():
    own_bpffs()
    with a_world() as space:
        run("xdp-loader", "load", "-m", "native", "pub0", OBJECT)
        try:
            if "others_count" in on_pub0():
                with Node(config("auto")) as n:
                    n.import_image()
                    yield n, Client(space)
            else:
                yield None, None
        finally:
            run("umount", "-l", "/sys/fs/bpf", check=False)


def both(client):
    """Others see each packet, and the balancer takes what is its own."""
    seen, taken = others_count(), redirected()
    wait_for(lambda: answers(client) and redirected() > taken, "packets are redirected")
    check(others_count() > seen, "the other program counts")


def is_shared(n):
    return (datapath(n) or {}).get("attached") == [{"interface": "pub0", "xdp": "native", "shared": True}]


def test_shared():
    if not shutil.which("xdp-loader"):
        print("# SKIP there is no xdp-loader")
        return
    with shared() as (n, client):
        if not n:
            print("# SKIP this kernel refuses libxdp's dispatcher")
            return
        other = on_pub0()["others_count"]
        n.deploy(document(1))
        wait_for(lambda: is_shared(n), f"the interface is shared: {datapath(n)}")
        check("XDP native pub0 (shared)" in n.cli("status").stdout, n.cli("status").stdout)
        programs = on_pub0()
        equal(sorted(programs), ["others_count", "xdp_shared"], "programs")
        both(client)

        pid = n.kill("dataplane")
        wait_for(lambda: answers(client), "an answer")
        wait_for(lambda: pid not in n.processes().values() and n.ready(), "dataplane is back")
        wait_for(lambda: is_shared(n), "the successor of dataplane adopts it")
        both(client)
        equal(on_pub0(), programs, "programs")

        os.kill(n.process.pid, signal.SIGKILL)
        n.process.wait()
        seen = others_count()
        wait_for(lambda: answers(client), "an answer without a node")
        check(others_count() > seen, "the other program counts")
        n.start()
        wait_for(lambda: is_shared(n), "the successor of node adopts it")
        both(client)
        equal(on_pub0(), programs, "programs")

        n.cli("rm", "net", "--yes")
        wait_for(lambda: on_pub0() == {"others_count": other}, "the balancer leaves, the other stays")
        n.deploy(document(1))
        wait_for(lambda: is_shared(n), "the interface is shared again")
        both(client)
        n.cli("rm", "net", "--yes")
        n.stop()
        equal(on_pub0(), {"others_count": other}, "programs")
        equal(n.traces()["pins"], [], "pins")
        seen = others_count()
        wait_for(lambda: not answers(client) and others_count() > seen, "the other program counts")


def test_plain():
    """A program that was attached without libxdp is left alone, and told."""
    own_bpffs()
    with a_world() as space, Node(config("auto")) as n:
        n.import_image()
        run("ip", "link", "set", "dev", "pub0", "xdpdrv", "object", OBJECT, "section", "xdp")
        program = xdp_of("pub0")
        n.deploy(document(1))
        wait_for(lambda: datapath(n)["xdp_reason"], "a reason")
        reason = datapath(n)["xdp_reason"]
        equal(reason["what"], "another XDP program is on it", "what")
        check("xdp-loader" in reason["fix"], reason)
        equal(datapath(n)["attached"], [], "attached")
        wait_for(lambda: answers(Client(space)), "the relay answers")
        equal(xdp_of("pub0"), program, "what is on the interface")
        run("ip", "link", "set", "dev", "pub0", "xdpdrv", "off")
        wait_for(lambda: datapath(n)["attached"] == [{"interface": "pub0", "xdp": "generic", "shared": False}],
                 f"the interface is its own: {datapath(n)}", 60)
        equal(datapath(n)["xdp_reason"], None, "the reason")


if __name__ == "__main__":
    main(globals())
