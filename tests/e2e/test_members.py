# SPDX-License-Identifier: Apache-2.0
"""A node's membership through everything that may end a process in between, and what a node is before and after it."""

import contextlib
import os
import signal
import threading

import zl
from cluster import Cluster
from zl import check, equal, service, wait_for


def in_background(function, *args):
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)))
    thread.start()
    return thread, result


def kill_scheduler(node):
    with contextlib.suppress(zl.Failure, KeyError, OSError):
        os.kill(node.processes()[("scheduler", 0)], signal.SIGKILL)


def test_killed_while_it_joins():
    """Invitation and joining end as they should, whenever the scheduler of either node is killed."""
    with Cluster(2, join=False) as c:
        a, b = c
        for delay in (0.0, 0.01, 0.02, 0.04, 0.08):
            thread, result = in_background(lambda: a.cli("invite", status=None))
            thread.join(delay)  # in the middle of it, wherever that is
            kill_scheduler(a)
            thread.join()
            equal(result[0].returncode, 0, result[0].stderr)
        ticket = result[0].stdout.strip()
        for i, delay in enumerate((0.0, 0.01, 0.03, 0.06, 0.12)):
            thread, result = in_background(lambda: b.cli("join", "-", input=ticket, status=None))
            thread.join(delay)  # in the middle of it, wherever that is
            kill_scheduler(b if i % 2 else a)
            thread.join()
            if result[0].returncode != 0:  # the one that admits was not there: said, and nothing half done
                check("gave an answer" in result[0].stderr or "refused" not in result[0].stderr, result[0].stderr)
        wait_for(a.ready, "the one that admits is there")
        b.cli("join", "-", input=ticket)
        c.wait_all_ready()
        equal(sorted(a.nodes()), ["edge-1", "edge-2"])
        equal(b.cluster()["self"], 2)
        # The same again is no error; another cluster's is.
        equal(b.cli("join", "-", input=ticket).returncode, 0)


def test_it_stays_what_it_is():
    """Restarts of the scheduler, of all processes, and of the node. One can only dial out (node.advertise: none), which is no trouble."""
    with Cluster(2, hidden=(2,)) as c:
        a, b = c
        for node in c.nodes:
            check("node.advertise" not in node.cli("status").stdout, node.cli("status").stdout)
        one = a.cluster()["id"]
        for node in c.nodes:
            kill_scheduler(node)
            c.wait_all_ready()
        for node in c.nodes:
            before = wait_for(lambda node=node: node.processes().get(("scheduler", 0)), "its scheduler is there again")
            node.process.send_signal(signal.SIGUSR2)
            wait_for(lambda: node.processes().get(("scheduler", 0)) not in (None, before), "a new scheduler")
            wait_for(node.ready, "it is ready")
            c.wait_all_ready()
        for node in c.nodes:
            node.stop()
            node.start()
            c.wait_all_ready()
        equal([n.cluster()["id"] for n in c.nodes], [one, one])
        equal([n.cluster()["self"] for n in c.nodes], [1, 2])


def test_names_and_other_clusters():
    with Cluster(3, join=False) as c:
        a, b, d = c
        ticket = a.cli("invite", "--uses", "5").stdout.strip()
        r = b.cli("join", "-", "--name", "edge-1", input=ticket, status=None)
        check(r.returncode not in (0, 8) and "edge-1" in r.stderr, "two of one name", r.stderr)
        b.cli("join", "-", "--name", "other", input=ticket)
        wait_for(lambda: {"edge-1", "other"} <= c.alive(a), "it has the name that was asked for")
        # On itself, too.
        check(b.cli("status").stdout.startswith("other "), b.cli("status").stdout)
        equal((b.cli_json("status")["node"]["name"], b.get("/v1/version")["node"]), ("other", "other"))
        other = d.cli("invite").stdout.strip()
        r = b.cli("join", "-", input=other, status=None)
        check(r.returncode != 0 and "another cluster" in r.stderr, r.stderr)


def test_nobody_answers():
    """What a firewall drops gives no answer: it is said of each address, and the node is as it was."""
    with Cluster(3, join=False) as c:
        a, b, d = c
        c.join(b)
        wait_for(lambda: all(n["keeper"] for n in a.nodes().values()), "both admit others")
        ticket = a.cli("invite").stdout.strip()
        c.drop(a, f"ip saddr {d.address}")
        c.drop(b, f"ip saddr {d.address}")
        r = d.cli("join", "-", input=ticket, status=8)
        for word in ("no node of the cluster gave an answer", "10.77.0.1:9881", "10.77.0.2:9881", "let TCP pass"):
            check(word in r.stderr, word, r.stderr)
        c.heal()
        d.cli("join", "-", input=ticket)
        c.wait_all_ready()


def test_without_a_socket():
    with Cluster(1, join=False) as c:
        (a,) = c
        text = open(a.config).read()
        a.write_config(text.replace("listen: {", "listen: { gossip: off,"))
        a.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "listen.gossip" in a.cli("invite", status=None).stderr, "it says what to do")
        a.write_config(text.replace("listen: {", 'listen: { gossip: "10.77.0.1:9999",'))
        a.process.send_signal(signal.SIGHUP)
        wait_for(lambda: a.cli("invite", status=None).returncode == 0, "it invites")
        wait_for(lambda: "10.77.0.1:9999" in a.space.run("ss", "-Hlnut").stdout, "it listens there")
        # A reload moves it.
        a.write_config(text.replace("listen: {", 'listen: { gossip: "10.77.0.1:9998",'))
        a.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "10.77.0.1:9998" in a.space.run("ss", "-Hlnut").stdout, "it listens here")
        wait_for(a.ready, "it is ready")
        # A ticket of a node that hears nobody would be of no use.
        a.write_config(text.replace("listen: {", "listen: { gossip: off,"))
        a.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "hears no other one" in a.cli("invite", status=None).stderr, "it invites nobody")


def test_what_leaves_with_a_node():
    """A node of a cluster takes no deployment along; the only one keeps what it runs."""
    with Cluster(2, join=False) as c:
        a, b = c
        a.import_image()
        a.deploy(service())
        a.cli("invite")
        equal([d["name"] for d in a.cli_json("status")["deployments"]], ["shop"])
        a.cli("leave", "--yes")
        wait_for(a.ready, "it goes on alone")
        equal(a.cluster()["self"], None)
        equal([d["name"] for d in a.cli_json("status")["deployments"]], ["shop"])
        wait_for(lambda: a.cli_json("status")["deployments"][0]["state"] == "stable", "and runs it")
        # Again, as another cluster, with the other one; which then leaves.
        c.join(b)
        c.wait_all_ready()
        wait_for(lambda: [d["name"] for d in b.cli_json("status")["deployments"]] == ["shop"], "all know of it")
        r = a.cli("leave", "--yes", status=None)
        check(r.returncode != 0 and "store" in r.stderr, "the one that writes", r.stderr)
        b.cli("leave", "--yes", "--force")
        wait_for(b.ready, "it goes on alone")
        equal(b.cli_json("status")["deployments"], [])
        equal([d["name"] for d in a.cli_json("status")["deployments"]], ["shop"])
        b.import_image()
        b.deploy(service())


def test_labels_of_the_configuration():
    with Cluster(2) as c:
        a, b = c
        text = open(b.config).read()
        b.write_config(text.replace("name: edge-2", "name: edge-2, zone: west, labels: { disk: ssd, gpu: no }"))
        b.process.send_signal(signal.SIGHUP)
        a.cli("node", "label", "edge-2", "disk=hdd")
        for node in c.nodes:
            wait_for(lambda node=node: (node.nodes()["edge-2"]["labels"] == {"disk": "hdd", "gpu": "no"}
                                        and node.nodes()["edge-2"]["zone"] == "west"), "all know; by hand goes before")


def test_wrong_words():
    """Each says what is wrong with it, by the names that were given, and what to do."""
    with Cluster(2, join=False) as c:
        a, b = c
        words = [(("cluster", "admission", "open"), 4, "in no cluster", "zlayer invite"),
                 (("invite", "--ttl", "400d"), 2, "from 1s to 30d", "--ttl 1h"),
                 (("invite", "--uses", "99999999"), 2, "from 1 to 10000", "--uses 3")]
        for args, status, what, fix in words:
            text = a.cli(*args, status=status).stderr
            check(what in text and fix in text and "ttl_s" not in text, args, text)
        ticket = a.cli("invite").stdout.strip()
        text = b.cli("join", ticket, "--name", "edge-1", status=1).stderr
        check("another node" in text and "--name NAME" in text, text)
        b.cli("join", ticket)
        c.wait_all_ready()
        words = [(("label", "edge-2", "a=1", "b=1", "a-"), 2, '"a=1" and "a-"', "each key once"),
                 (("label", "edge-2", "gone-"), 4, "edge-2 has no label", "node show edge-2"),
                 (("taint", "edge-2", "gone-"), 4, "edge-2 has no taint", "node show edge-2"),
                 (("taint", "edge-2", "a b"), 2, "key of a taint", "letters, digits")]
        for args, status, what, fix in words:
            text = b.cli("node", *args, status=status).stderr
            check(what in text and fix in text and "JSON" not in text, args, text)
        equal(b.nodes()["edge-2"]["labels"], {})


def test_runs_that_ended():
    """They are kept to be read, and are nothing that has to leave a node."""
    with Cluster(2) as c:
        a, b = c
        b.import_image()
        b.deploy("version: v1\ndeployment: work\nservices:\n  once:\n    rtype: job\n    image: { name: test:1 }\n"
                 "    command: { entrypoint: [/bin/true] }\n")
        b.cli("job", "run", "once")
        wait_for(lambda: a.cli_json("job", "ls")["items"], "the other one hears of it")
        wait_for(lambda: [n.nodes()["edge-2"]["replicas"] for n in c.nodes] == [0, 0], "nothing runs any more")
        wait_for(lambda: a.cli("job", "ls").stdout.splitlines()[1].split()[1:3] == ["ended", "0"], "the other one hears of its end")
        wait_for(lambda: "run 1 ok" in a.cli("status").stdout, "status says how")
        a.cli("node", "drain", "edge-2", "--wait", "--timeout", "60s")
        b.cli("leave")


if __name__ == "__main__":
    zl.main(globals())
