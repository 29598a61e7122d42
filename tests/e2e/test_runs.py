# SPDX-License-Identifier: Apache-2.0
"""Runs of jobs and crons in a cluster: on nodes that may have them, over the death of the node that runs one and of the one
that conducts, seen and cancelled from everywhere."""

import zl
from cluster import Cluster

from test_cron import seconds
from test_unique import beats, beating, lives
from zl import check, equal, wait_for

NAME = "shop/tidy"

def document(folder, schedule, rules="", args='"-x", "300:0"', extra=""):
    return f"""version: v1
deployment: shop
services:
  tidy:
    rtype: cron
    schedule: "{schedule}"
    cron: {{ {rules} }}
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/server", "-b", "/beats", {args}] }}
    storage: [ {{ type: bind, source: {folder}, target: /beats }} ]
    node: {{ selector: {{ labels: {{ run: job }} }} }}
    stop_grace_period: 1s
  long:
    rtype: job
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/sh", "-c", "sleep 3600"] }}
    stop_grace_period: 1s
  words:
    rtype: job
    image: {{ name: "test:1" }}
    command: {{ entrypoint: ["/bin/sh", "-c", "echo $*; exit 7"], args: ["sh"] }}
    node: {{ selector: {{ labels: {{ run: job }} }} }}
    stop_grace_period: 1s
{extra}"""

def firings(node):
    items = node.cli_json("cron", "ls", NAME)["items"]
    return items[0]["cron"]["firings"] if items else []


def heard(node):
    """None while its scheduler has just begun, and has not heard everything yet."""
    r = node.cli("-o", "json", "cron", "ls", NAME, status=None)
    return [] if r.returncode == 8 else firings(node)


def prepared(c):
    for node in c.nodes:
        node.import_image()
    for node in c.nodes[1:]:
        c[0].cli("node", "label", node.label, "run=job")

def runner(c, state="starting"):
    """The node on which a run of the cron is under way, as the first one sees it."""
    for r in c[0].get("/v1/replicas")["items"]:
        if r["service"] == "tidy" and r["state"] not in ("stopped", "failed", "pending", "creating"):
            return next(n for n in c.nodes if n.label == r["node"])
    return None

def test_times_go_on_without_a_node():
    """Each time once at most (on_loss: skip), whoever is killed but the node that takes the changes."""
    with beats(alone=False) as folder, Cluster(3) as c:
        prepared(c)
        c[0].deploy(document(folder, "*/2 * * * * * *", "on_loss: skip, overlap: allow"))
        wait_for(lambda: len(firings(c[1])) >= 3, "it runs")
        home = wait_for(lambda: runner(c) or None, "one is under way")
        check(home is not c[0], "it runs where it may not")
        c.kill(home)
        left = [n for n in c.nodes if n is not home]
        # The list is of the newest ones: what comes later has other times.
        known = {f["at"] for f in firings(c[0])}
        wait_for(lambda: len({f["at"] for f in firings(c[0])} - known) >= 8 or None, "times go on", seconds=120)
        for node in left:
            at = [f["at"] for f in firings(node)]
            equal(len(at), len(set(at)), at)
        c.start(home)
        c.wait_all_ready()
        known = {f["at"] for f in firings(c[0])}
        wait_for(lambda: len({f["at"] for f in heard(home)} - known) >= 3, "and with it again", seconds=120)

def open_run(node):
    found = [f for f in firings(node) if f["state"] in ("due", "running")]
    return found[0] if found else None

def times(first, last):
    return [first + k for k in range(last - first + 1)]


def test_each_second():
    """A cron of each second, while a node loses its power and comes back, and while one is cut off: each time is on record once, and
    is run at most once; what was on the node that died is said to be lost, and nothing else is."""
    with beats(alone=False) as folder, Cluster(3) as c:
        prepared(c)
        c[0].deploy(document(folder, "* * * * * * *", "on_loss: skip, overlap: allow, catch_up: all", '"-x", "200:0"'))
        seen, started, oldest = {}, set(), 0

        def look():
            nonlocal oldest
            shown = {seconds(f["at"]): f["state"] for f in firings(c[0])}
            for t, state in shown.items():
                seen.setdefault(t, set()).add(state)
            oldest = min(shown, default=oldest)
            return seen

        def more(count):
            goal = max(look()) + count
            wait_for(lambda: max(look()) >= goal, f"{count} times more", seconds=60 + count)
        wait_for(look, "it begins", seconds=60)
        begun = min(seen)
        more(5)
        c.kill(c[2])
        more(12)
        c.start(c[2])
        more(5)
        c.partition(c[1], [c[0], c[2]])
        more(12)
        c.heal()
        c.wait_all_ready()
        more(5)
        last = max(seen)

        def open_ones():  # as far as they are still listed: on a slow machine not each state of each is seen
            look()
            return [(t, sorted(seen.get(t, ()))) for t in times(begun, last) if t >= oldest and not seen.get(t, set()) & {"ok", "lost"}]
        wait_for(lambda: not open_ones(), lambda: f"all are over, but for {open_ones()}: {firings(c[0])}", seconds=60)
        lost = [t for t in times(begun, last) if "lost" in seen.get(t, ())]
        check(len(lost) <= 6, "more was lost than was on the two nodes", lost)
        told = set()
        for node in c.nodes:
            for e in node.get("/v1/events?since=0&limit=1000")["items"]:
                if e["type"] in ("job.started", "cron.lost") and e["node"] == node.label:
                    at = seconds(e["text"].split(" for ")[1])
                    told.add(at)
                    if e["type"] == "job.started":
                        check(at not in started, f"run twice: {at}")
                        started.add(at)
        equal([t for t in times(begun, last) if not (seen.get(t, set()) & {"ok", "lost"} or t in told)], [], "each time is on record")
        equal([t for t in times(begun, last) if "ok" in seen.get(t, ()) and t not in started], [], "what is ok was run")
        equal([t for t in times(begun, last) if {"ok", "lost"} <= seen.get(t, set())], [], "what is over stays so")


def conductor(c, name):
    """Who conducts says that times went by."""
    said = [e["node"] for e in c[0].get("/v1/events")["items"] if e["type"] in ("cron.passed", "cron.replaced") and e["deployment"] == name]
    return next((n for n in c.nodes if said and n.label == said[-1]), None)


def conducted_elsewhere(c, folder, rules):
    """The name of a deployment that the node which takes the changes does not conduct, and who does."""
    for k in range(10):
        name = f"shop{k}"
        c[0].deploy(document(folder, "* * * * * * *", rules, '"-x", "3000:0"').replace("deployment: shop", f"deployment: {name}"))
        who = wait_for(lambda: conductor(c, name), "somebody conducts it", seconds=60)
        if who is not c[0]:
            return name, who
        c[0].cli("rm", name, "--force")
    raise AssertionError("the first node conducts all of them")


def started_once(c, name):
    """No time has begun twice, on whichever node."""
    seen = set()
    for node in c.nodes:
        for e in node.get("/v1/events?since=0&limit=1000")["items"]:
            if e["type"] == "job.started" and e["node"] == node.label and e["deployment"] == name:
                at = e["text"].split(" for ")[1]
                check(at not in seen, f"run twice: {at}")
                seen.add(at)


def test_one_at_a_time():
    """overlap: forbid. Whoever loses its power or is cut off, that who conducts or that who runs it: no two live at once, and times
    go on."""
    with beats() as folder, Cluster(3) as c:
        prepared(c)
        name, who = conducted_elsewhere(c, folder, "overlap: forbid")

        def begun_elsewhere(than):
            """One that begins from now on, on another node."""
            known = len(lives(folder))
            def look():
                home = runner(c)
                return home if len(lives(folder)) > known and home and home is not than else None
            return wait_for(look, "it runs on another node", seconds=90)
        home = wait_for(lambda: runner(c), "a run is under way", seconds=60)
        for victim in (who, home):
            c.kill(victim)
            begun_elsewhere(victim)
            c.start(victim)
            c.wait_all_ready()
        home = wait_for(lambda: runner(c), "a run is under way", seconds=60)
        wait_for(lambda: beating(folder), "it lives")
        c.partition(home, [n for n in c.nodes if n is not home])
        begun_elsewhere(home)
        c.heal()
        c.wait_all_ready()
        known = len(lives(folder))
        wait_for(lambda: len(lives(folder)) >= known + 3, "times go on", seconds=60)
        at = [f["at"] for f in c[0].cli_json("cron", "ls", f"{name}/tidy")["items"][0]["cron"]["firings"]]
        equal(len(at), len(set(at)), at)
        started_once(c, name)


def test_one_takes_the_place_of_another():
    """overlap: replace: the next one begins when the one before is dead, also when the node of that one is not heard."""
    with beats() as folder, Cluster(3) as c:
        prepared(c)
        c[0].deploy(document(folder, "*/5 * * * * * *", "overlap: replace", args='"-x", "3600000:0"'))
        wait_for(lambda: len(lives(folder)) >= 3, "runs take each other's place", seconds=90)
        for cut in (True, False):
            home = wait_for(lambda: runner(c), "a run is under way", seconds=60)
            wait_for(lambda: beating(folder), "it lives")
            known = len(lives(folder))
            if cut:
                c.partition(home, [n for n in c.nodes if n is not home])
            else:
                c.kill(home)
            wait_for(lambda: len(lives(folder)) >= known + 3, "others take its place", seconds=90)
            if cut:
                c.heal()
            else:
                c.start(home)
            c.wait_all_ready()
        known = len(lives(folder))
        wait_for(lambda: len(lives(folder)) >= known + 3, "and so it goes on", seconds=90)
        started_once(c, "shop")


def test_a_lost_run_is_made_again():
    """on_loss: retry: on another node, and not before the first one is dead."""
    with beats() as folder, Cluster(3) as c:
        prepared(c)
        c[0].deploy(document(folder, "*/30 * * * * * *", "on_loss: retry, overlap: forbid", '"-x", "20000:0"'))
        home = wait_for(lambda: runner(c), "a run is under way", seconds=90)
        wait_for(lambda: beating(folder), "it lives")
        at = open_run(c[0])["at"]
        c.partition(home, [n for n in c.nodes if n is not home])
        again = wait_for(lambda: next((f for f in firings(c[0]) if f["at"] == at and f["tries"]), None), "it is tried again",
                         seconds=60)
        equal(again["tries"], 1)
        wait_for(lambda: len(lives(folder)) == 2, "it lives again", seconds=60)
        wait_for(lambda: next(f for f in firings(c[0]) if f["at"] == at)["state"] == "ok", "it is done", seconds=90)
        c.heal()
        c.wait_all_ready()
        wait_for(lambda: next((f for f in heard(home) if f["at"] == at), {}).get("state") == "ok", "all know", seconds=60)
        equal([f for f in firings(home) if f["at"] == at][0]["tries"], 1)

def test_seen_and_cancelled_from_everywhere():
    with beats() as folder, Cluster(3) as c:
        prepared(c)
        c[0].deploy(document(folder, "0 0 0 1 1 * 2199"))
        c[1].cli("job", "run", "shop/long", "--detach")
        for node in c.nodes:
            def under_way(node=node):
                items = node.cli_json("job", "ls", "shop/long")["items"]
                return len(items) == 1 and items[0]["node"] == "edge-2" and items[0]["state"] == "starting"
            wait_for(under_way, f"{node.label} sees it")
        c[2].cli("job", "cancel", "shop/long.1")
        for node in c.nodes:
            wait_for(lambda node=node: [r["state"] for r in node.cli_json("job", "ls", "shop/long")["items"]] == ["stopped"],
                     f"{node.label} sees that it has ended")
        # Where it may not be run it is run elsewhere, and its output and its end come here.
        r = c[0].cli("cron", "trigger", NAME, "--detach")
        equal([x["node"] == "edge-1" for x in c[0].cli_json("job", "ls", NAME)["items"]], [False], r.stdout)
        wait_for(lambda: lives(folder), "it has run")
        r = c[0].cli("job", "run", "shop/words", "--", "a b", "-x", status=7)
        equal(r.stdout, "a b -x\n")
        where, = [x for x in c[0].cli_json("job", "ls", "shop/words")["items"]]
        check(where["node"] != "edge-1" and where["container"]["exit_status"] == 7, where)
        # On and off from any node.
        for node, verb, enabled in ((c[2], "disable", False), (c[1], "enable", True)):
            node.cli("cron", verb, NAME)
            for other in c.nodes:
                wait_for(lambda: other.cli_json("cron", "ls", NAME)["items"][0]["cron"]["enabled"] == enabled, f"{verb}d everywhere")
        # What has no place at all says why.
        for node in c.nodes[1:]:
            c[0].cli("node", "label", node.label, "run-")
        def refused():
            r = c[0].cli("job", "run", "shop/words", status=None)
            return r if "no node takes a run of words" in r.stderr else None
        r = wait_for(refused, "nobody may run it")
        check("label run=job" in r.stderr, r.stderr)

if __name__ == "__main__":
    zl.main(globals())
